"""The one interface of every method: a strategy owns the update, the engine owns time, data, evaluation, storage."""

from __future__ import annotations

import contextlib
import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from selftrain.arguments import bind, check
from selftrain.errors import DataError
from selftrain.networks.fitting import as_input, asked_for, check_learner
from selftrain.networks.modes import eval_mode
from selftrain.networks.student import Learner
from selftrain.strategy.pseudo_labeling import PseudoLabeling
from selftrain.tasks import Task, decided
from selftrain.tasks.geometry import enlarged
from selftrain.types import Annotated, Batch, Clock, Labeled, Needs, Report, plain_setting

Predictor = Callable[[Tensor], Tensor]


_ARGS = re.compile(r"^Args:((?:\n {4}.*)+)", re.MULTILINE)
_ARGUMENT = re.compile(r"^ {4}(\w+): .*(?:\n {8}.*)*", re.MULTILINE)


def _explained(doc: str | None) -> dict[str, str]:
    """Entries of a docstring's ``Args:`` by name."""
    section = _ARGS.search(inspect.cleandoc(doc or ""))
    return {entry[1]: entry[0] for entry in _ARGUMENT.finditer(section[1])} if section else {}


class StrategyType(type):
    """Of what kind the classes of strategies are: what one is built with is checked, and kept with what was built."""

    def __init__(cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any]) -> None:
        """Complete the docstring: settings that many strategies share are explained once, in ``PseudoLabeling``."""
        super().__init__(name, bases, namespace)
        text, own = inspect.cleandoc(cls.__doc__ or ""), _explained(cls.__doc__)
        known: dict[str, str] = {}
        # The nearest class last, so that its explanation wins as its methods do.
        for source in (PseudoLabeling, *reversed(cls.__mro__[1:])):
            known |= _explained(source.__doc__)
        more = [known[name] for name in cls.__signature__.parameters if name in known and name not in own]
        if "__doc__" in namespace and more:
            section = _ARGS.search(text)
            end = section.end() if section else len(text)
            cls.__doc__ = "\n".join([text[:end] + ("" if section else "\n\nArgs:"), *more]) + text[end:]

    @property
    def __signature__(cls) -> inspect.Signature:
        """That of the constructor; without it ``inspect.signature`` would show ``__call__`` below."""
        init = inspect.signature(cls.__init__)  # type: ignore[misc]
        return init.replace(parameters=list(init.parameters.values())[1:], return_annotation=init.empty)

    def __call__(cls, *values: Any, **settings: Any) -> Any:
        """Build one; its ``arguments`` say with what.

        Raises:
            TypeError: for a setting that it does not take (the message has the nearest that it does), or one missing.
        """
        values = tuple(map(plain_setting, values))
        settings = {name: plain_setting(value) for name, value in settings.items()}
        bound = bind(cls, values, settings, cls.__name__)
        check(cls.__init__, bound.arguments)  # type: ignore[misc]
        made = super().__call__(*values, **settings)
        bound.apply_defaults()  # another version may have others
        arguments = dict(bound.arguments)
        # What a class takes as **settings counts by name like any other: a resumed run is compared with it.
        for p in cls.__signature__.parameters.values():
            if p.kind is p.VAR_KEYWORD:
                arguments |= arguments.pop(p.name)
        made.arguments = arguments
        return made


class Strategy(nn.Module, metaclass=StrategyType):
    """A training method. Subclasses are final: they build their parts in ``__init__`` and say what a step does.

    Students, teachers, thresholds and label banks are sub-modules and buffers, so that ``state_dict`` holds all a run
    needs to continue.

    Attributes:
        views: Views of an unlabeled sample that a step reads.
        labeled_view: View that labeled samples are shown in.
        extra_batches: Future batches drawn at each step and passed to ``step`` as ``extra``.
        monitor: Name of the evaluation figure that picks the best checkpoint; larger is better.
        judged_on: Parts of the pile evaluated during training; the best checkpoint is picked on ``"validation"``.
        arguments: What the constructor was called with, by name and with defaults: enough to build the like again.
        input_shape: Of one plain input that was learned from; ``None`` before ``fit``.
    """

    arguments: dict[str, object]
    input_shape: tuple[int, ...] | None = None
    views: tuple[str, ...] = ("weak", "strong")
    labeled_view: str = "weak"
    extra_batches: int = 0
    monitor: str = ""
    judged_on: tuple[str, ...] = ("validation",)

    def needs(self) -> Needs:
        """What the stream must deliver."""
        names, seen, ahead = self.views, self.labeled_view, self.extra_batches
        return Needs(views=names, labeled_view=seen, extra_batches=ahead, places=False)

    def learners(self) -> Iterable[Learner]:
        """Every network that learns, in a fixed order."""
        return [m for m in self.modules() if isinstance(m, Learner)]

    def step(self, batch: Batch, clock: Clock, *extra: Batch) -> Report:
        """One iteration of the method's algorithm."""
        raise NotImplementedError

    def step_labeled(self, batch: Batch, clock: Clock) -> Report:
        """One iteration when there are no unlabeled samples at all."""
        raise NotImplementedError

    def check_networks(self, x: Tensor) -> None:
        """Refuse inputs ``x`` (two plain samples, (2, ...)) that the networks cannot learn from; ``fit`` asks first."""

    def end_epoch(self, clock: Clock) -> Mapping[str, Tensor]:
        """Called after each pass over the unlabeled set; returns scalars to log."""
        return {}

    def predict(self, x: Tensor) -> Tensor:
        """What the method ships: probabilities or heatmaps (B, C, *S) of plain inputs, without gradient."""
        raise NotImplementedError

    def evaluate(self, data: Iterable[Annotated], reference: Iterable[Annotated] | None) -> dict[str, float]:
        """Figures on held-out ``data``; ``reference`` holds labeled samples that a probe may learn from."""
        raise NotImplementedError

    @contextlib.contextmanager
    def evaluating(self) -> Iterator[None]:
        """Evaluation mode; on exit each module has its mode of before."""
        with eval_mode(self):
            yield

    def pictures(self, batch: Batch) -> Mapping[str, Tensor]:
        """Images worth looking at, each (N, channels, H, W), for the log."""
        return {}

    def export(self) -> dict[str, Tensor]:
        """Weights to hand to the next stage or to a user, named as in the network given to ``learner``."""
        raise NotImplementedError


class SupervisedStrategy(Strategy):
    """Base of the methods that predict targets: they share a task and are judged by its figures.

    Args:
        task: Classification, segmentation or keypoints.

    Attributes:
        without_labels: Whether its step learns where a batch has no labeled sample.
    """

    without_labels: bool = True

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.task = task
        self.monitor = task.monitor

    def needs(self) -> Needs:
        """What the stream must deliver: the declared views, and targets encoded by the task."""
        return Needs(
            views=self.views,
            encode=self.task.encode,
            warp=self.task.warp,
            labeled_view=self.labeled_view,
            extra_batches=self.extra_batches,
            places=not self.task.one_unit,
            sides=getattr(self.task, "pairs", None) is not None,
        )

    def needs_without_labels(self) -> Needs:
        """What the stream must deliver of a pile without labels: the rest, beside a labeled part of no samples.

        Raises:
            DataError: it compares with labeled samples, or a network of it is not trained.
        """
        name, needs = type(self).__name__, self.needs()
        parts = [type(m).__name__ for m in self.modules() if getattr(m, "reads_labeled", False)]
        if not (self.without_labels and needs.views) or parts:
            what = f"{parts[-1]} of {name}" if parts else name
            raise DataError(
                f"no sample has a label, and {what} reads labeled ones; take MeanTeacher or FixMatch, with rules and "
                "mixes that read the unlabeled samples alone"
            )
        if not all(learner.trained for learner in self.learners()):
            raise DataError(
                f"no sample has a label, and {name} starts from weights that have learned none: start it from a run, "
                "head and all, st.learner(network, init_from=run), or from a network that is trained, "
                "st.learner(network, trained=True)"
            )
        return replace(needs, no_labels=self._no_labels)

    def _no_labels(self, x: Tensor) -> Labeled:
        """A labeled part without samples, for inputs like ``x``: its loss is 0, with a path for gradients."""
        value = x.new_zeros(0, *self.task.output_shape(tuple(x.shape[1:])), dtype=torch.float32)
        # rows of no samples need no network: steps concatenate them with their unlabeled ones
        target = decided(self.task, value, self.task.confidence(value))
        return Labeled(x[:0], target, torch.zeros(0, dtype=torch.long, device=x.device))

    @torch.no_grad()
    def check_networks(self, x: Tensor) -> None:
        """Refuse networks whose outputs the task cannot read.

        Raises:
            DataError: see ``check_learner``; or a prediction has another shape than the task's.
        """
        given = [check_learner(learner, x, classes=self.task.has_classes) for learner in self.learners()]
        needed = (len(x), *self.task.output_shape(tuple(x.shape[1:])))
        try:
            with self.evaluating():
                found = tuple(self.predict(x).shape)
        except (IndexError, RuntimeError):  # where outputs lack the axis of classes
            found = ()
        if found != needed:
            raise DataError(
                f"{'; '.join(dict.fromkeys(given))} for {len(x)} samples of shape {tuple(x.shape[1:])}; "
                f"{type(self.task).__name__} and {type(self).__name__} need predictions of shape {needed}: one logit "
                "a class along axis 1, also for two classes, and sites (pixels) only where the task has them"
            )

    def step_labeled(self, batch: Batch, clock: Clock) -> Report:
        """Every student takes a supervised step."""
        losses = []
        for learner in self.learners():
            loss = self.task.loss(learner(batch.labeled.x), batch.labeled.target)
            learner.update(loss)
            losses.append(loss.detach())
        return Report({"loss/supervised": torch.stack(losses).mean()})

    def predictors(self) -> dict[str, Predictor]:
        """What can be evaluated, by name: plain inputs -> probabilities or heatmaps; ``predict`` ships the first."""
        raise NotImplementedError

    @torch.no_grad()
    def predict(self, x: Tensor) -> Tensor:
        """Probabilities or heatmaps (B, C, *S) of plain inputs ``x``, of any type of number, without gradient.

        Raises:
            DataError: no numbers, or inputs of another shape than those that were learned from.
        """
        x = as_input(x, self, self.input_shape)
        value = asked_for(next(iter(self.predictors().values())), x, self.input_shape)
        # of fewer pixels than the picture has, as many networks give them
        return enlarged(value, self.task.output_shape(tuple(x.shape[1:]))[1:]) if self.task.has_classes else value

    @torch.no_grad()
    def evaluate(self, data: Iterable[Annotated], reference: Iterable[Annotated] | None = None) -> dict[str, float]:
        """The task's figures: of what ``predict`` ships under their own names, of each network as ``name/network``."""
        predictors = self.predictors()
        # Sums and no list of predictions: masks of a whole part, times the classes, may not fit into memory.
        tallies: dict[str, Tensor] = {}
        for batch in data:
            target = self.task.encode(batch.annotation)
            for name, predictor in predictors.items():
                tally = self.task.update(predictor(batch.x), target)
                tallies[name] = tallies[name] + tally if name in tallies else tally
        # From the summed counts: a mean of the batches' figures would weigh a small last batch as a full one.
        figures = {name: self.task.compute(tally) for name, tally in tallies.items()}
        # The plain names belong to what is shipped: `monitor` picks the best weights by one of them.
        shipped = dict(next(iter(figures.values()), {}))
        return shipped | {f"{key}/{name}": v for name, row in figures.items() for key, v in row.items()}
