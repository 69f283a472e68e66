"""How long a run is, and when what is due."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from selftrain.types import BatchPlan, plain_settings

OnAlarm = Literal["stop", "fallback", "warn"]  # what a run does about an alarm that speaks against its weights
EPOCHS = 10  # of a run whose length is not given
MOST = 10**15  # steps of a run: more than anyone has time for, and exact as a float
EVALUATIONS = 10  # in a run, unless it is said how often


@plain_settings
@dataclass(frozen=True)
class Evaluation:
    """When a run is evaluated, on what, and what it does about an alarm.

    Args:
        every: Steps between evaluations; ``None``: ten in a run.
        monitor: Further data to evaluate on, by name (not ``"validation"``), for watching only: it never picks a
            checkpoint.
        on_alarm: What an alarm of collapse, keeps-nothing, class-drift or worse-than-supervised does. ``"warn"``: it is
            told. ``"stop"``: the state is stored, and the run ends with ``TrainingError``. ``"fallback"``: at the end
            the baseline is trained if it was not, and the run ships that, unless figures on validation are clearly for
            the best weights of the run; a method without a baseline ships its last weights from before anything spoke
            against them. ``Run.fallback`` says so; costs the memory of one more state.
        batch_size: Samples asked at a time; of masks and joints fewer where so many would not fit, see
            ``Pile.evaluation``.

    Raises:
        ValueError: for a number below 1, a monitored set named like the pile's own, or another ``on_alarm``.
    """

    every: int | None = None
    monitor: Mapping[str, object] = field(default_factory=dict)
    on_alarm: OnAlarm = "warn"
    batch_size: int = 500

    def __post_init__(self) -> None:
        check_counts(eval_every=self.every, batch_size=self.batch_size)
        if self.on_alarm not in get_args(OnAlarm):
            words = ", ".join(map(repr, get_args(OnAlarm)))
            raise ValueError(f"on_alarm is {self.on_alarm!r}; choose one of {words}")
        # A watched set under this name would take the place of the set that picks the best weights.
        if "validation" in self.monitor:
            raise ValueError("monitor holds a set named 'validation', which is the pile's own; give it another name")


@plain_settings
@dataclass(frozen=True)
class Checkpoints:
    """When a run is stored.

    Args:
        every: Steps between checkpoints; ``None``: at each evaluation.
        stop_after: End after this many steps of the whole stage, with a checkpoint: the rest is for ``resume``. Leaves
            no mark in the log: rows and evaluations stay where they are without it.
        note: Plain values to find again in the run folder, under ``note`` in ``rebuild.json``.

    Raises:
        ValueError: for a number below 1.
    """

    every: int | None = None
    stop_after: int | None = None
    note: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_counts(checkpoint_every=self.every, stop_after=self.stop_after)


def check_counts(**counts: int | None) -> None:
    """Refuse numbers of steps or samples below 1."""
    for name, count in counts.items():
        if count is not None and count < 1:
            raise ValueError(f"{name} is {count}; it must be at least 1")


def total_steps(epochs: int | None, steps: int | None, per_epoch: int, default: int | None = None) -> int:
    """Steps of a stage: as given, or so many epochs.

    Args:
        epochs: Passes over the unlabeled set, or
        steps: number of steps.
        per_epoch: Steps of a pass.
        default: Steps where neither is given; ``None``: ten epochs.

    Raises:
        ValueError: for both, less than one step, or more than ``MOST``.
    """
    if epochs is not None and steps is not None:
        raise ValueError(f"give epochs ({epochs}) or steps ({steps}), not both")
    if steps is None and epochs is None:
        steps = default
    total = steps if steps is not None else (EPOCHS if epochs is None else epochs) * per_epoch
    if total < 1:
        raise ValueError(f"the run has {total} steps; epochs or steps must be at least 1")
    if total > MOST:
        raise ValueError(f"the run has more than {MOST:.0e} steps; give fewer epochs or steps")
    return total


def steps_per_epoch(unlabeled: int, labeled: int, plan: BatchPlan) -> int:
    """Steps of a pass over so many unlabeled rows; over the labeled ones where there are no others."""
    # Rounded up: the last batch of a pass is filled up, and every row is seen.
    rows, size = (unlabeled, plan.unlabeled) if unlabeled else (labeled, plan.labeled)
    return -(-rows // size)
