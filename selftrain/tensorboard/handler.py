"""The dashboard of one run: asked by the engine at its start, at its evaluations and at its end."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from selftrain.labels.ledger import Ledger
from selftrain.strategy.base import Strategy
from selftrain.tasks import Classification, Task
from selftrain.tensorboard import figures, hparams, tags
from selftrain.tensorboard.class_names import ALL, RIGHT, group_names, shown_groups, worst_groups
from selftrain.tensorboard.held_out import HeldOut, held_out, part_of
from selftrain.tensorboard.mixes import Mixed
from selftrain.tensorboard.projector import points, write_points
from selftrain.tensorboard.settings import Dashboard
from selftrain.tensorboard.tiles import WIDE, captioned, grid, tiles, with_labels
from selftrain.tensorboard.writer import Board
from selftrain.types import Annotated, Batch, Pile, PseudoLabels, Report

_VALIDATION, _UNLABELED = "validation", "unlabeled"


class Show:
    """Draw one run. It reads reports, the ledger and predictions, and changes none of them.

    Args:
        settings: How much of it.
        board: Where it is drawn; without a folder nothing is done.
        strategy: Asked for predictions in evaluation mode; one that makes none is shown as one without a task.
        pile: The data.
        ledger: Pseudo-labels of the unlabeled set.
        device: Where the strategy is.
        total: Steps of the stage.
        eval_every: Steps between evaluations.
    """

    def __init__(
        self,
        settings: Dashboard,
        board: Board,
        strategy: Strategy,
        pile: Pile,
        ledger: Ledger,
        *,
        device: torch.device,
        total: int,
        eval_every: int,
    ) -> None:
        self.settings, self.board, self.strategy, self.pile, self.ledger = settings, board, strategy, pile, ledger
        self.device, self.total, self.eval_every = device, total, eval_every
        predicts = type(strategy).predict is not Strategy.predict
        self.task: Task | None = getattr(strategy, "task", None) if predicts else None
        groups = 0 if self.task is None else self.task.groups
        self.names = group_names(pile.classes, groups)
        self.shown = shown_groups(groups, settings.classes)
        self.mixed = Mixed()

    # -- when ------------------------------------------------------------------------------------------------------
    def begin(self, settings: Mapping[str, Any], parts: Iterable[str]) -> None:
        """At the start of a run with these settings, evaluated on these parts: what TensorBoard lays out by."""
        features = self.task is None or _UNLABELED in self.strategy.judged_on
        left_out = (() if features else (tags.FEATURES,)) + (
            (tags.RIGHT, tags.CLASSES, tags.TEACHER) if self.task is None else ()
        )
        questions = [question for question in tags.QUESTIONS if question not in left_out]
        self.board.layout(tags.layout(questions, self.strategy.monitor))
        finals = hparams.final_figures(parts, self.strategy.monitor)
        self.board.hparams(hparams.settings_of_run(settings), finals)
        if len(self.shown) < len(self.names):
            names = ", ".join(self.names[i] for i in self.shown)
            text = f"{len(self.shown)} of {len(self.names)} classes are shown one by one: {names}"
            self.board.text("classes/shown", text, 0)

    @contextlib.contextmanager
    def watching(self, judged: bool) -> Iterator[None]:
        """Around a step: keep what is mixed in it if an evaluation follows."""
        if not judged or not self._pictured:
            yield
            return
        self.mixed = Mixed()
        with self.mixed.watching(self.strategy):
            yield

    def evaluated(self, step: int, found: Mapping[str, Mapping[str, float]], batch: Batch, report: Report) -> None:
        """After an evaluation with these figures by part, whose step had this batch and this report."""
        if self.board.folder is None:
            return
        self._pictures(step, batch, report)
        self._confidence(step)
        self._teacher(step, found.get(_VALIDATION, {}))
        asked = self._ask()
        self._classes(step, asked)
        before = step - self.eval_every if step % self.eval_every == 0 else step
        if self.settings.due(step, before, self.total):
            self._figures(step, asked)
            self._project(step)

    # -- samples ---------------------------------------------------------------------------------------------------
    @property
    def _pictured(self) -> bool:
        return self.board.folder is not None and self.settings.pictures > 0

    def _pictures(self, step: int, batch: Batch, report: Report) -> None:
        if not self._pictured:
            return
        for name, images in self.strategy.pictures(batch).items():
            self._picture(name, tiles(images), step)
        if report.pseudo_labels is not None and batch.has_unlabeled:
            view = next(iter(batch.unlabeled.views.values())).x[: self.settings.pictures]
            self._pseudo_labels(step, view, batch.unlabeled.index, report.pseudo_labels)
        if self.mixed.x is not None and self.task is not None:
            x = self.mixed.x[: self.settings.pictures]
            self._picture("mixed", tiles(x), step, self.mixed.captions(self.task, self.pile.classes, len(x)))

    def _pseudo_labels(self, step: int, view: Tensor, index: Tensor, said: PseudoLabels) -> None:
        rows = index[: len(view)]
        shown = tiles(view)
        if torch.equal(said.index[: len(view)].to(rows), rows):
            shown = with_labels(shown, said.value[: len(view)], said.weight[: len(view)])
        self._picture("pseudo_labels", shown, step, self.ledger.captions(rows))

    def _picture(self, name: str, shown: Tensor, step: int, captions: list[str] | None = None) -> None:
        if not len(shown):
            return
        if captions:
            shown = captioned(shown, captions)
            self.board.image(name, grid(shown, max(1, WIDE // (shown.shape[-1] + 2))), step)  # to be read
        else:
            self.board.image(name, grid(shown), step)

    # -- figures of classes and of trust -----------------------------------------------------------------------------
    def _ask(self) -> HeldOut | None:
        """Decisions about held-out samples; ``None`` where there are none."""
        if self.task is None:
            return None
        batches = part_of(self.pile, _VALIDATION, self.device, self.settings.samples)
        return held_out(self.strategy, self.task, batches)

    def _confidence(self, step: int) -> None:
        """How sure the pseudo-labels are, of all classes and of each that is shown."""
        seen = self.ledger.seen > 0
        if not bool(seen.any()):
            return
        label, confidence = self.ledger.label[seen].cpu(), self.ledger.confidence[seen].cpu()
        self.board.histogram(f"confidence/{ALL}", confidence, step)
        for group in self.shown if len(self.ledger.classes) else ():
            if bool((label == group).any()):
                self.board.histogram(f"confidence/{self.names[group]}", confidence[label == group], step)

    def _teacher(self, step: int, found: Mapping[str, float]) -> None:
        teacher, student = (found.get(f"{self.strategy.monitor}/{name}") for name in ("teacher", "student"))
        if teacher is not None and student is not None:
            self.board.scalars({"teacher/lead": teacher - student}, step)

    def _classes(self, step: int, asked: HeldOut | None) -> None:
        shares = self._shares(asked)
        row = {
            f"classes/{kind}/{self.names[group]}": float(values[group])
            for kind, values in shares.items()
            for group in self.shown
            if not bool(values[group].isnan())
        }
        accuracy = shares.get("accuracy", torch.zeros(0))
        known = accuracy[~accuracy.isnan()]
        self.board.scalars(({"classes/lowest_accuracy": float(known.min())} if len(known) else {}) | row, step)

    def _shares(self, asked: HeldOut | None) -> dict[str, Tensor]:
        """Of each class the accuracy of held-out samples; of its pseudo-labels the share accepted and their precision.

        NaN where it is not known; a figure that is known of no class is left out.
        """
        found = {} if asked is None else {"accuracy": asked.accuracy(len(self.names))}
        rows = self.ledger.per_class()
        if len(rows) == len(self.names):
            nan = float("nan")
            found["accepted"] = torch.tensor([r.accepted / r.count if r.count else nan for r in rows])
            found["precision"] = torch.tensor([nan if r.precision is None else r.precision for r in rows])
        return {name: values for name, values in found.items() if not bool(values.isnan().all())}

    def _figures(self, step: int, asked: HeldOut | None) -> None:
        if asked is not None:
            self.board.curve(f"pr/{RIGHT}", asked.right, asked.confidence, step)
            self._per_class_curves(step, asked)
            self._confusion(step, asked)
        parts = [] if asked is None else [("held-out samples", asked.confidence, asked.right)]
        known = self._known()
        if known is not None:
            parts.append(("pseudo-labels", *known))
        if parts:
            self.board.image("figures/reliability", figures.reliability(parts), step)
        shares = self._shares(asked)
        if shares:
            rows = worst_groups(next(iter(shares.values())), self.settings.classes)
            series = {name: values[rows] for name, values in shares.items()}
            picture = figures.class_bars([self.names[i] for i in rows], series, self._title(len(rows)))
            self.board.image("figures/classes", picture, step)

    def _per_class_curves(self, step: int, asked: HeldOut) -> None:
        for group in self.shown if asked.scores is not None else ():
            assert asked.scores is not None
            self.board.curve(f"pr/{self.names[group]}", asked.truth == group, asked.scores[:, group], step)

    def _confusion(self, step: int, asked: HeldOut) -> None:
        if not isinstance(self.task, Classification):
            return
        groups = len(self.names)
        rows = worst_groups(asked.accuracy(groups), self.settings.classes)
        names = [self.names[i] for i in rows] + (["all others"] if len(rows) < groups else [])
        counts = figures.kept(asked.confusion(groups), rows)
        self.board.image("figures/confusion", figures.confusion(counts, names, self._title(len(rows))), step)

    def _title(self, shown: int) -> str:
        groups = len(self.names)
        return "all classes" if shown == groups else f"the {shown} of {groups} classes with the lowest accuracy"

    def _known(self) -> tuple[Tensor, Tensor] | None:
        """Confidence of the pseudo-labels whose truth is known, and whether they are right."""
        truth = self.ledger.truth
        if truth is None:
            return None
        known = (self.ledger.seen > 0) & (truth >= 0)
        if not bool(known.any()):
            return None
        return self.ledger.confidence[known].cpu(), (self.ledger.label[known] == truth[known]).cpu()

    # -- features --------------------------------------------------------------------------------------------------
    def _project(self, step: int) -> None:
        if not self.settings.points or self.board.folder is None:
            return
        decides = isinstance(self.task, Classification)
        found = points(self.strategy, self._samples(), self.pile.classes, decides=decides)
        if found is not None:
            write_points(found, self.board.folder, step)

    def _samples(self) -> Iterator[tuple[str, Annotated]]:
        """Held-out and unlabeled samples, half of the points each at most."""
        half = self.settings.points // 2
        for part, room in ((_VALIDATION, self.settings.points - half), (_UNLABELED, half)):
            for batch in part_of(self.pile, part, self.device, room) if room else ():
                yield part, batch
