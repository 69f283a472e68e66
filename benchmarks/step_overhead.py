"""What a training step costs beside the passes it consists of: the time of the whole step over that of bare passes.

    python benchmarks/step_overhead.py [WORD ...] [--result FILE]

A step is all that ``fit`` does between two steps: reading, views, passes, losses, optimizer, teachers, thresholds,
ledger, log. The bare passes are those that the step was seen to make: each network on the same inputs, in its mode,
with a backward pass where there was one, and nothing else. Both are timed in turns within one process, by its processor
time, on one thread; what is compared is each step with the bare passes right after it. Rows that the file has are kept:
one of other versions of the code is to be taken out first. WORDs choose rows by strategy, network or batch.
"""

from __future__ import annotations

import argparse
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import stored
import torch
from peers.networks import WideResNet
from torch import Tensor, nn
from torch.nn import functional as F

import selftrain as st
from selftrain import catalog, data, pretrain
from selftrain.handlers import Handler, Progress, SelfCheck
from selftrain.networks import student

RESULT = Path(__file__).parent / "results" / "step_overhead.json"
SEEN = 3  # the step whose passes are recorded; the first two build what is built once
MAIN = ("fixmatch", "mean_teacher", "freematch", "softmatch", "supervised")


@dataclass(frozen=True)
class Kind:
    """A network and the inputs it is timed on; ``masks``: a class for each pixel."""

    network: Callable[[int], nn.Module]
    shape: tuple[int, ...]
    classes: int = 10
    masks: bool = False
    plans: dict[tuple[int, int], tuple[int, tuple[str, ...] | None]] = field(default_factory=dict)  # steps, strategies


def _vit(outputs: int) -> nn.Module:
    return st.Classifier(pretrain.ViT(32, 4, channels=3, width=192, depth=12, heads=3), outputs)


KINDS = {
    "ConvNet 28 px": Kind(
        lambda outputs: st.Classifier(st.ConvEncoder(28), outputs),
        (1, 28, 28),
        plans={(16, 112): (24, None), (64, 448): (14, (*MAIN, "mixmatch", "fst_d", "ensemble"))},
    ),
    "MLP 20-64-64-4": Kind(
        lambda outputs: st.toy.mlp(20, outputs),
        (20,),
        4,
        plans={(16, 112): (60, None)},
    ),
    "WRN-28-2 32 px": Kind(
        lambda outputs: WideResNet(outputs),
        (3, 32, 32),
        plans={(4, 28): (10, (*MAIN, "fst_d", "fst_w")), (16, 112): (6, ("fixmatch", "mean_teacher"))},
    ),
    "U-Net 90x120, masks": Kind(st.networks.UNet, (3, 90, 120), 11, True, plans={(8, 8): (10, MAIN)}),
    "ViT-tiny 32 px": Kind(_vit, (3, 32, 32), plans={(4, 28): (8, ("fixmatch", "mean_teacher", "freematch"))}),
}


@dataclass
class Pass:
    """A pass that a step has made."""

    network: Callable[..., Any]
    inputs: tuple[Tensor, ...]
    settings: tuple[Any, ...]
    training: dict[nn.Module, bool]
    grad: bool

    def again(self) -> None:
        """The same, and nothing else."""
        for module, training in self.training.items():
            module.training = training
        with torch.set_grad_enabled(self.grad):
            output = student_alone(self.network, self.inputs[0], *self.settings, *self.inputs[1:])
        first = output[0] if isinstance(output, tuple) else output
        if first.requires_grad:
            first.sum().backward()


student_alone = student.run_alone


class Turns(Handler):
    """Time each step and then its bare passes.

    Args:
        now: The clock.

    Attributes:
        last: The last step that is timed.
    """

    def __init__(self, now: Callable[[], float] = time.process_time) -> None:
        self.now, self.last = now, 10**9
        self.steps, self.raw, self.passes = list[float](), list[float](), list[Pass]()
        self.recording = False

    def record(self, network: Any, x: Tensor, precision: Any, channels_last: bool, *more: Tensor) -> Any:
        """Take note of a pass of the step ``SEEN``."""
        if self.recording:
            training = {m: m.training for one in self.context.strategy.learners() for m in one.model.modules()}
            inputs = tuple(y.detach().clone().requires_grad_(y.requires_grad) for y in (x, *more))
            self.passes.append(Pass(network, inputs, (precision, channels_last), training, torch.is_grad_enabled()))
        return student_alone(network, x, precision, channels_last, *more)

    def begin(self, context: Any) -> None:
        """Look at this run."""
        self.context = context

    def before_step(self, step: int) -> None:
        """Record one step."""
        self.recording = step == SEEN
        if self.recording:
            self.passes = []

    def after_step(self, step: int, report: Any) -> None:
        """The step itself is over."""
        self.recording = False

    def end_step(self, step: int) -> None:
        """All of it is over: now the bare passes."""
        if step > self.last:
            return
        now = self.now()
        if step > SEEN + 1:
            self.steps.append(now - self.mark)
            modes = {m: m.training for m in self.context.strategy.modules()}
            before = self.now()
            for one in self.passes:
                one.again()
            self.raw.append(self.now() - before)
            for module, training in modes.items():
                module.training = training
            for one in self.context.strategy.learners():
                one.optimizer.zero_grad(set_to_none=True)
        self.mark = self.now()


def measure(name: str, kind: Kind, batch: tuple[int, int], steps: int) -> dict[str, float]:
    """Ratios of each step to its bare passes, and medians of both in milliseconds."""
    torch.manual_seed(0)
    labeled, unlabeled = batch
    rows = 32 * unlabeled
    x = torch.randint(0, 256, (rows + 320, *kind.shape), dtype=torch.uint8)
    y = torch.arange(len(x)) % kind.classes
    if kind.masks:  # blocks of classes, the last of them void
        coarse = torch.randint(0, kind.classes + 1, (len(x), 1, 9, 12)).float()
        y = F.interpolate(coarse, kind.shape[1:]).squeeze(1).to(torch.uint8)
    if len(kind.shape) == 1:
        x = torch.randn(len(x), *kind.shape)  # type: ignore[assignment]
    pile = data.Pile(
        data.ArraySet(x[:320], y[:320]), data.ArraySet(x[320:]), classes=list(map(str, range(kind.classes)))
    )
    make = st.learner(lambda: kind.network(kind.classes * catalog.METHODS[name].outputs))
    task = st.Segmentation(kind.classes, void=kind.classes) if kind.masks else st.Classification(kind.classes)
    few: dict[str, Any] = {"min_labeled": labeled} if name == "soft_labels" else {}
    strategy = catalog.build(name, task, make, unlabeled=rows, label_shape=task.output_shape(kind.shape), **few)
    turns = Turns()
    plan = st.BatchPlan(labeled=labeled, unlabeled_ratio=unlabeled / labeled)
    with patch.object(student, "run_alone", turns.record):
        handlers = [turns, Progress(False), SelfCheck(False)]
        st.fit(strategy, pile, steps=steps + SEEN + 2, plan=plan, handlers=handlers, evaluation=st.Evaluation(10**6))
    ratios = sorted(
        step / raw for step, raw in zip(turns.steps[:-1], turns.raw[:-1], strict=True)
    )  # the last: all ends
    return {
        "ratio_min": round(ratios[0], 3),
        "ratio_median": round(statistics.median(ratios), 3),
        "ratio_max": round(ratios[-1], 3),
        "step_ms": round(1e3 * statistics.median(turns.steps), 3),
        "raw_ms": round(1e3 * statistics.median(turns.raw), 3),
    }


def jobs() -> list[tuple[str, str, tuple[int, int], int]]:
    """Strategy, network, batch and number of steps of each row."""
    return [
        (name, network, batch, steps)
        for network, kind in KINDS.items()
        for batch, (steps, some) in kind.plans.items()
        for name in some or catalog.METHODS
    ]


def main() -> None:
    """Measure what is missing, and store each row as it comes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", metavar="WORD")
    parser.add_argument("--result", type=Path, default=RESULT)
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows, places = stored.read(given.result), [(name, network, f"{a}+{b}") for name, network, (a, b), _ in jobs()]
    done = {(row["strategy"], row["network"], row["batch"]) for row in rows}
    for (name, network, batch, steps), place in zip(jobs(), places, strict=True):
        if place in done or any(word not in " ".join(place) for word in given.words):
            continue
        rows.append(
            dict(zip(("strategy", "network", "batch"), place, strict=True))
            | measure(name, KINDS[network], batch, steps)
        )
        print(rows[-1], flush=True)
        command = "python benchmarks/step_overhead.py"
        stored.store(
            given.result, rows, lambda row: places.index((row["strategy"], row["network"], row["batch"])), command
        )


if __name__ == "__main__":
    main()
