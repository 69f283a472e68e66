"""What watches a run: handlers, called by the loop at each event, and the context that shows them the run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from selftrain.evaluation.cross_fitted import CrossFitted
from selftrain.labels.ledger import Ledger
from selftrain.runtime.attributes import Attributes
from selftrain.strategy.base import Strategy
from selftrain.types import Batch, Pile, Report, plain_settings

Figures = dict[str, float]


class Handler:
    """Watch a run: a subclass overrides the events it wants, in a file of its own; the loop knows none of them.

    A handler looks and logs; it changes neither the strategy nor random numbers. What it must remember over a stop it
    gives away in ``state_dict``. Numbers of steps count the step in: the first one is 1.

    Pass it to ``selftrain.fit(handlers=[...])``. One of the class of a handler that ``fit`` has by itself, or derived
    from it, takes its place.
    """

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "__init__" in vars(cls):
            plain_settings(cls)

    def begin(self, context: Context) -> None:
        """A run begins or goes on (``context.start`` steps are done): forget what an earlier run has left here."""

    def before_step(self, step: int) -> None:
        """A step is about to be taken, on ``context.batches``."""

    def after_step(self, step: int, report: Report | None) -> None:
        """A step is done, and this is what it reports; ``None``: it was left out, and nothing has changed."""

    def after_failure(self, step: int, error: Exception) -> int | None:
        """A step met numbers that are not finite.

        Returns:
            After how many steps the run is now again, as this handler has brought back that state: the loop takes the
            steps since then once more, unseen, and leaves this one out. ``None``: this handler knows none.
        """
        return None

    def after_evaluation(self, step: int, figures: Mapping[str, Figures]) -> None:
        """The strategy was evaluated; ``figures`` by part, such as ``figures["validation"]["accuracy"]``."""

    def after_baseline(self, step: int, figures: Mapping[str, Figures]) -> None:
        """The supervised baseline of the finished run was trained as well; ``figures`` of its last evaluation."""

    def sound(self) -> bool:
        """Whether nothing that this handler has seen speaks against the weights as they are."""
        return True

    def wants_evaluation(self, step: int) -> bool:
        """Whether the strategy must be evaluated after this step, beside the times when it is anyway."""
        return False

    def end_step(self, step: int) -> None:
        """All that was due after a step is done."""

    def end(self) -> None:
        """The run is finished; called once, also where a run is resumed."""

    def close(self) -> None:
        """The run ends, finished or not: give back files and the like."""

    # -- what others log -------------------------------------------------------------------------------------------
    def accumulate(self, values: Mapping[str, Tensor]) -> None:
        """Numbers of one step, whose means are of interest; NaN of an accuracy of the ledger: there is none."""

    def log_scalars(self, values: Mapping[str, float], step: int) -> None:
        """Numbers under their names: rows of training, figures of evaluations, findings of other handlers."""

    def log_text(self, name: str, content: str, step: int) -> None:
        """Markdown."""

    def log_alarm(self, kind: str, content: str, step: int) -> None:
        """An alarm."""

    # -- storage ---------------------------------------------------------------------------------------------------
    def state_dict(self) -> dict[str, Any]:
        """What must outlive a stop: tensors, numbers, text, lists and dicts."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what ``state_dict`` gave; after ``begin``."""

    def settings(self) -> dict[str, Any]:
        """What a run can be resumed with alike only; goes into ``run.json``."""
        return {}

    def for_baseline(self) -> Handler | None:
        """What watches the supervised baseline of the run in this one's place; ``None``: nothing."""
        return None


@dataclass
class Context:
    """What a handler sees of a run, and how it logs.

    Args:
        strategy, pile, ledger: Of the run.
        out: Its folder, or ``None``.
        folder: The same in the process that writes files, ``None`` in the others.
        device: Where the strategy is.
        seed: Key of all random numbers.
        total: Steps of the stage.
        steps_per_epoch: Steps of an epoch.
        evaluate_every: Steps between evaluations.
        parts: Names of what is evaluated.
        settings: What the user chose, as in ``run.json``.
        handlers: All of the run.

    Attributes:
        start: Steps that were done before.
        resumed_at: The same where the run is resumed, else ``None``: later entries of logs are to be dropped.
        batches, report: Of the newest step.
        waited: Seconds in which the newest step waited for the next batch, which is made before its end.
        figures: Of the newest evaluation, by part.
        samples: Of the newest validation.
        before: Figures before the first step, of a run that continues another.
        train: The newest row of training.
        alarms, unchecked: What the self-check has found, and what it could not look at.
        control: The trained supervised baseline, once the run is held against it.
        cross_fitted: What simple models say of run and control where few labels or none are held out.
        left_out: Steps, counted from 0, that were left out as they met numbers that are not finite.
        attributes: What the run changes of the strategy and no ``state_dict`` holds.
    """

    strategy: Strategy
    pile: Pile
    ledger: Ledger
    out: Path | None
    folder: Path | None
    device: torch.device
    seed: int
    total: int
    steps_per_epoch: int
    evaluate_every: int
    parts: Sequence[str]
    settings: Mapping[str, Any]
    handlers: Sequence[Handler] = ()
    start: int = 0
    resumed_at: int | None = None
    batches: Sequence[Batch] = ()
    waited: float = 0.0
    report: Report | None = None
    figures: dict[str, Figures] = field(default_factory=dict)
    samples: int = 0
    before: dict[str, Figures] | None = None
    train: Figures = field(default_factory=dict)
    alarms: list[Any] = field(default_factory=list)
    unchecked: dict[str, str] = field(default_factory=dict)
    control: Strategy | None = None
    cross_fitted: CrossFitted | None = None
    # Part of the stored state: a replay and a resumed run must leave out the same steps.
    left_out: list[int] = field(default_factory=list)
    speed: str | None = None
    attributes: Attributes = field(init=False)

    def __post_init__(self) -> None:
        """Remember the attributes as they are before training."""
        optimizers = [learner.optimizer for learner in self.strategy.learners()]
        self.attributes = Attributes(self.strategy, optimizers, self.device)

    def accumulate(self, values: Mapping[str, Tensor]) -> None:
        """Add scalars of a step to the means that the next row of the log will hold."""
        for handler in self.handlers:
            handler.accumulate(values)

    def log_scalars(self, values: Mapping[str, float], step: int) -> None:
        """Log numbers, finite or not, under their names."""
        for handler in self.handlers:
            handler.log_scalars(values, step)

    def log_text(self, name: str, content: str, step: int) -> None:
        """Log Markdown."""
        for handler in self.handlers:
            handler.log_text(name, content, step)

    def log_alarm(self, kind: str, content: str, step: int) -> None:
        """Log an alarm of this kind."""
        for handler in self.handlers:
            handler.log_alarm(kind, content, step)

    def evaluation_due(self, step: int) -> bool:
        """Whether the run is evaluated once so many steps are done."""
        raise NotImplementedError

    def measure(self, part: object) -> Figures | None:
        """Figures of a part of the pile, now; ``None`` where it is empty."""
        raise NotImplementedError

    def run(self) -> Any:
        """The run as its user gets it, see ``selftrain.Run``."""
        raise NotImplementedError

    def save(self, step: int) -> None:
        """Store the state now, beside the times when that is due."""
        raise NotImplementedError

    def card(self, step: int) -> dict[str, Any]:
        """What travels with the weights of a step, see ``selftrain.read_card``."""
        raise NotImplementedError
