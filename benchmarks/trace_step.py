"""What runs in one step of each method: a reader of its file should find there what the step does.

    python benchmarks/trace_step.py [METHOD ...]

Trains each method for three steps on the toy pictures, and counts in the third step the calls of functions of this
package (``frames``), the files they are in, how deep they go below ``fit``, and how many of the calls are made by the
method's own file, or by that of the method it varies; with one METHOD also the names of the files.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import selftrain as st
from selftrain import strategies, toy
from selftrain.labels.teacher_pass import label_pile
from selftrain.strategies import fixmatch

STEPS = 3
PACKAGE = Path(st.__file__).parent
PLACES = (PACKAGE, Path(fixmatch.__file__).parent)


@dataclass
class Trace:
    """The calls of one step: who is called by whom, each as (file, function); the lowest depth is 1."""

    calls: list[tuple[tuple[str, str], tuple[str, str]]] = field(default_factory=list)
    depth: int = 0

    @property
    def files(self) -> list[str]:
        """Files whose functions are called."""
        return sorted({called[0] for _, called in self.calls})

    def called_by(self, files: set[str]) -> list[str]:
        """What those files call themselves, each as ``module.function``."""
        return [f"{Path(called[0]).stem}.{called[1]}" for caller, called in self.calls if caller[0] in files]


def methods() -> Mapping[str, Callable[[], Any]]:
    """Every method on the toy pictures, by name."""
    task, pile, memory = toy.task("classification"), toy.pile("classification"), {"unlabeled": 24, "label_shape": (3,)}
    make = toy.learner("classification")

    def stored(method: Any) -> Any:
        return method(task, make, labels=label_pile(strategies.Supervised(task, make, decay=None), pile))

    own: dict[str, Callable[[], Any]] = {
        "FlexMatch": partial(strategies.FlexMatch, task, make, unlabeled=24),
        "LabelPropagation": partial(strategies.LabelPropagation, task, make, **memory),  # type: ignore[arg-type]
        "SoftLabels": partial(strategies.SoftLabels, task, make, min_labeled=1, **memory),  # type: ignore[arg-type]
        "TemporalEnsembling": partial(strategies.TemporalEnsembling, task, make, **memory),  # type: ignore[arg-type]
        "TwoHeadedMeanTeacher": partial(
            strategies.TwoHeadedMeanTeacher, task, toy.learner("classification", outputs=2)
        ),
        "FutureSelfTraining": partial(strategies.FutureSelfTraining, task, make, depth=3),
        "CurriculumLabeling": partial(stored, strategies.CurriculumLabeling),
        "NoisyStudent": partial(stored, strategies.NoisyStudent),
    }
    return {name: own.get(name, partial(getattr(strategies, name), task, make)) for name in strategies.__all__}


def files_of(strategy: object) -> set[str]:
    """Files of a strategy's class and of the methods that it varies."""
    return {
        str(Path(sys.modules[base.__module__].__file__ or ""))
        for base in type(strategy).__mro__
        if base.__module__.startswith("selftrain.strategies.")
    }


@contextmanager
def traced(strategy: Any, trace: Trace) -> Iterator[None]:
    """Record the last of ``STEPS`` steps."""
    seen, step = 0, type(strategy).step.__code__

    def product(frame: FrameType | None) -> bool:
        return frame is not None and any(Path(frame.f_code.co_filename).is_relative_to(p) for p in PLACES)

    def name(frame: FrameType) -> tuple[str, str]:
        return frame.f_code.co_filename, frame.f_code.co_name

    def ours(frame: FrameType | None) -> Iterator[FrameType]:
        """A frame and those below it as far as ``fit``, without those of libraries."""
        while frame is not None and not (frame.f_code.co_name == "fit" and "engine" in frame.f_code.co_filename):
            if product(frame):
                yield frame
            frame = frame.f_back

    def listen(frame: FrameType, event: str, _: object) -> None:
        nonlocal seen
        if frame.f_code is step and event == "call" and frame.f_locals["self"] is strategy:  # not a copy of it
            seen += 1
        if event == "call" and seen == STEPS and product(frame):
            stack = list(ours(frame))
            if any(below.f_code is step for below in stack):  # what the engine does after the step is not the method's
                trace.calls.append((name(stack[1]), name(frame)))
                trace.depth = max(trace.depth, len(stack))

    sys.setprofile(listen)
    try:
        yield
    finally:
        sys.setprofile(None)


def trace_of(make: Callable[[], Any]) -> tuple[Trace, set[str]]:
    """The third step of a method, and its own files."""
    strategy, trace = make(), Trace()
    plan = st.BatchPlan(labeled=4, unlabeled_ratio=1.5)
    with traced(strategy, trace):
        st.fit(strategy, toy.pile("classification"), steps=STEPS, plan=plan, handlers=[])
    return trace, files_of(strategy)


def main() -> None:
    """Print a table."""
    known = methods()
    print(f"{'method':24}{'frames':>8}{'files':>8}{'depth':>8}{'by its file':>13}")
    for name in sys.argv[1:] or known:
        trace, files = trace_of(known[name])
        print(
            f"{name:24}{len(trace.calls):8}{len(trace.files):8}{trace.depth:8}{len(trace.called_by(files)):13}",
            flush=True,
        )
    if len(sys.argv) == 2:
        print("\n".join(sorted(f"  {Path(file).relative_to(PACKAGE.parent)}" for file in trace.files)))


if __name__ == "__main__":
    main()
