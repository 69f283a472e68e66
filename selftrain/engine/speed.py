"""In which formats a run computes: tried on copies before its first step, stored, and the same when it goes on.

What is fastest depends on the processor and its neighbors, so that two runs with one seed may choose differently; hence
nobody is given this unasked. A run that has chosen is as exact as any other.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from selftrain.engine.spec import read_record
from selftrain.errors import NonFiniteError, TrainingError, setting
from selftrain.handlers.gradcheck import fingerprint, unchanged
from selftrain.networks.formats import Formats, has_convolutions, set_formats
from selftrain.networks.student import knows_bf16, set_mode
from selftrain.runtime.distributed import from_first, here
from selftrain.runtime.finite import finite_step
from selftrain.runtime.rng import own_randomness, seed_step, step_key
from selftrain.storage.run_dir import RECORD
from selftrain.strategy.base import Strategy
from selftrain.types import Batch, Clock, Stream

STEPS, FEWEST = 10, 3  # timed steps of each of two formats that are compared
SHARE = 0.05  # of the steps of a run that the trial may take, and of its time that compiling may
COMPILING = 120.0  # seconds that torch.compile may need
GAIN = 0.9  # of the time of the other format: what does not save a tenth is not worth other digits


@dataclass(frozen=True)
class Chosen:
    """What a run computes in.

    Args:
        formats: Of its networks.
        told: What was chosen and why, in a line.
    """

    formats: Formats
    told: str

    def stored(self) -> dict[str, Any]:
        """As plain values, for the record of the run."""
        return asdict(self.formats) | {"told": self.told}


def choose(
    strategy: Strategy,
    stream: Stream,
    folder: Path | None,
    total: int,
    seed: int,
    device: torch.device,
    *,
    again: bool,
) -> Chosen | None:
    """The formats of a run: those that it began with, or the fastest of a trial, in which the networks then compute.

    ``None``: no student asks for that (``Training(speed="auto")``), and nothing is changed.

    Args:
        strategy: Before its first step; its weights, optimizer and random state stay.
        stream: Its batches.
        folder: Of the run.
        total: Its steps.
        seed: Of its random numbers.
        device: Where it trains.
        again: Whether it goes on, perhaps after a stop before its first checkpoint.

    Raises:
        ValueError: the strategy cannot be copied, or several processes work together.
        TrainingError: a step of the copy changes the strategy.
    """
    if all(one.speed is None for one in strategy.learners()):
        return None
    found = from_first(lambda: _begun_with(folder) if again else None)
    if found is None:
        if here() is not None:
            told = setting("speed", "auto", of="training")
            raise ValueError(
                f"{told} tries steps in one process, and several work together; set precision, channels_last and "
                "compile instead"
            )
        chosen = _Trial(strategy, stream, total, seed, device).result()
    else:
        told = str(found["told"])
        chosen = Chosen(Formats(*(found[name] for name in ("precision", "channels_last", "compile"))), told)
    set_formats(strategy, chosen.formats)
    return chosen


def _begun_with(folder: Path | None) -> dict[str, Any] | None:
    """What the record of a run says of its formats, if there is one yet."""
    if folder is None or not (folder / RECORD).is_file():
        return None
    found: dict[str, Any] | None = read_record(folder).get("speed")
    return found


class _Trial:
    """Pairs of formats, each on a copy of the strategy, whose steps take turns on the batches of the first step."""

    def __init__(self, strategy: Strategy, stream: Stream, total: int, seed: int, device: torch.device) -> None:
        self.strategy, self.stream, self.total, self.seed, self.device = strategy, stream, total, seed, device
        self.learners = list(strategy.learners())
        self.told: list[str] = []

    def result(self) -> Chosen:
        """The fastest formats, one question after the other."""
        found, questions = Formats(), self._questions()
        # two formats a question, and a step of each before those that are timed
        turns = min(STEPS, int(SHARE * self.total / (2 * max(1, len(questions)))) - 1)
        if not questions or turns < FEWEST:
            short = f"a run of {self.total:,} steps is too short for a trial"
            return Chosen(found, f"{self._plain()}; {short if questions else 'there is no other format to try'}")
        epoch = self.stream.epoch(0)
        batches, before = next(iter(epoch)), fingerprint(self.strategy)
        getattr(epoch, "close", lambda: None)()  # of loader processes, too
        step = math.inf
        with own_randomness(self.device):
            for mine, other in questions:
                found, step = self._asked(found, mine, other, batches, turns)
            if step * self.total * SHARE >= COMPILING and not any(one.compiles for one in self.learners):
                found, _ = self._asked(found, Formats(compile=False), Formats(compile=True), batches, turns)
        if not unchanged(before, fingerprint(self.strategy)):
            raise TrainingError(
                f"a step of a copy of {type(self.strategy).__name__} changes the strategy itself: a function among its "
                f"attributes holds on to it; make it a method, or leave out {setting('speed', 'auto', of='training')}"
            )
        return Chosen(found, "; ".join(self.told))

    def _questions(self) -> list[tuple[Formats, Formats]]:
        """What the networks compute in as they are, and what else they could."""
        found = []
        # a user's fp16 or bf16 stays, and "auto" is asked in place of its rule
        if knows_bf16(self.device) and all(one.precision in ("fp32", "auto") for one in self.learners):
            found.append((Formats("fp32"), Formats("bf16")))
        # Moments lie as their weights do, and frozen weights are shared with the copies: both must stay as they are.
        fixed = any(one.optimizer.state or one.frozen() for one in self.learners)
        layouts = {one.channels_last for one in self.learners if has_convolutions(one.model)}
        if len(layouts) == 1 and not fixed:
            now = layouts.pop()
            found.append((Formats(channels_last=now), Formats(channels_last=not now)))
        return found

    def _plain(self) -> str:
        return ", ".join(dict.fromkeys(one.precision for one in self.learners))

    def _asked(
        self, so_far: Formats, mine: Formats, other: Formats, batches: Sequence[Batch], turns: int
    ) -> tuple[Formats, float]:
        """The better of two formats beside those that were chosen so far, and seconds of its step."""
        pair = [_joined(so_far, mine), _joined(so_far, other)]
        copies = [self._copy(formats) for formats in pair]
        seconds = [math.inf, math.inf]
        for turn in range(turns + 1):
            for number, twin in enumerate(copies):
                taken = self._step(twin, batches)
                # the first step builds what is built once; of the others the least, as other programs only add
                seconds[number] = min(seconds[number], taken) if turn else seconds[number]
        ratio = seconds[1] / seconds[0] if seconds[0] < math.inf else 1.0
        better = int(ratio <= GAIN)
        names = _name(mine), _name(other)
        why = f"{ratio:.2f} of the time of {names[0]}" if better else f"{names[1]} takes {ratio:.2f} of its time"
        self.told.append(f"{names[better]} ({why})")
        return pair[better], seconds[better]

    def _copy(self, formats: Formats) -> Strategy:
        try:
            twin = copy.deepcopy(self.strategy)
        except Exception as error:  # copying runs code of every part: any error may come out
            raise ValueError(
                f"{type(self.strategy).__name__} cannot be copied: {error!r:.200}; leave out "
                f"{setting('speed', 'auto', of='training')}, and set precision of Training"
            ) from error
        set_formats(twin, formats)
        return twin

    def _step(self, twin: Strategy, batches: Sequence[Batch]) -> float:
        """Seconds of a step in the middle of the run; infinite where its numbers are not finite."""
        half = self.total // 2
        clock = Clock(half, half // self.stream.steps_per_epoch, self.total)
        seed_step(step_key(self.seed, half), self.device)
        set_mode(twin, True)
        for learner in twin.learners():
            learner.set_lr(clock.progress)
        batch, *extra = batches
        begun = self._now()
        try:
            with finite_step():  # as in a run: numbers are read when the step is over
                if not batch.has_unlabeled and twin.views:
                    twin.step_labeled(batch, clock)
                else:
                    twin.step(batch, clock, *extra)
        except NonFiniteError:
            return math.inf
        return self._now() - begun

    def _now(self) -> float:
        if self.device.type != "cpu":
            torch.get_device_module(self.device).synchronize()
        return time.perf_counter()


def _joined(first: Formats, second: Formats) -> Formats:
    """The second, and of the first what it leaves open."""
    return replace(first, **{name: value for name, value in asdict(second).items() if value is not None})


def _name(one: Formats) -> str:
    """The one format that is set."""
    if one.channels_last is not None:
        return "channels_last" if one.channels_last else "channels first"
    return str(one.precision) if one.precision is not None else "compiled" if one.compile else "not compiled"
