"""Where the time of a run goes."""

from __future__ import annotations

import time

import torch

TRAINING, WAITING, EVALUATING = "training", "waiting", "evaluating"


class Stopwatch:
    """Add up seconds and samples between two rows of the log.

    Args:
        device: Where the strategy is; what it was asked to compute is waited for before a long pause only.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seconds = dict.fromkeys((TRAINING, WAITING, EVALUATING), 0.0)
        self.steps = self.samples = 0
        self.mark = time.perf_counter()

    def lap(self, kind: str) -> None:
        """The time since the last call went into this."""
        # not the time of day, which may be set while a run goes on
        now = time.perf_counter()
        self.seconds[kind] += now - self.mark
        self.mark = now

    def step(self, samples: int, *, settle: bool, waited: float = 0.0) -> None:
        """A step on so many samples is done, ``waited`` seconds of it for the next batch.

        Args:
            samples: Labeled and unlabeled ones.
            settle: Wait until the device has done it too.
            waited: In [0, seconds since the last lap].
        """
        if settle and self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self.lap(TRAINING)
        self.seconds[TRAINING] -= waited
        self.seconds[WAITING] += waited
        self.steps, self.samples = self.steps + 1, self.samples + samples

    def row(self) -> dict[str, float]:
        """Figures since the last row: steps and samples a second without evaluations, and shares of all time."""
        # a rate must not depend on how often a run is evaluated
        working = self.seconds[TRAINING] + self.seconds[WAITING]
        whole = working + self.seconds[EVALUATING]
        if not self.steps or working <= 0:
            return {}
        row = {
            "speed/steps_per_second": self.steps / working,
            "speed/samples_per_second": self.samples / working,
            "speed/waiting": self.seconds[WAITING] / whole,
            "speed/evaluating": self.seconds[EVALUATING] / whole,
        }
        self.seconds = dict.fromkeys(self.seconds, 0.0)
        self.steps = self.samples = 0
        return row
