"""The handler that shows a run in TensorBoard: what is logged, and at evaluations the dashboard."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from selftrain.handlers.base import Context, Handler
from selftrain.labels.ledger import SHARE, SURE
from selftrain.runtime.distributed import alone, is_sharded
from selftrain.strategy.base import Strategy, SupervisedStrategy
from selftrain.strategy.label_memory import LabelMemory
from selftrain.tasks import Task
from selftrain.tensorboard import figures, hparams, tags
from selftrain.tensorboard.class_names import ALL, RIGHT, group_names, shown_groups, worst_groups
from selftrain.tensorboard.held_out import HeldOut, held_out, part_of
from selftrain.tensorboard.mixes import Mixed
from selftrain.tensorboard.projector import points, write_points
from selftrain.tensorboard.settings import Dashboard
from selftrain.tensorboard.speed import EVALUATING, TRAINING, WAITING, Stopwatch
from selftrain.tensorboard.tiles import WIDE, captioned, compared, grid, tiles, with_labels
from selftrain.tensorboard.writer import TensorBoardWriter
from selftrain.types import Annotated, Batch, PseudoLabels, Report, View

_FIXED = 8  # held-out samples that are compared at each evaluation
_VALIDATION, _UNLABELED = "validation", "unlabeled"


class TensorBoard(Handler):
    """Write all that is logged to TensorBoard, and draw pictures, figures, curves, histograms and the projector.

    It reads reports, the ledger and predictions, and changes none of them: training is the same bit for bit. Strategies
    that make no predictions are shown as such without a task.

    Args:
        dashboard: How much is drawn; ``False``: nothing, scalars and texts stay.
    """

    def __init__(self, dashboard: Dashboard | bool = True) -> None:
        self.dashboard = dashboard
        self.writer, self.compared = TensorBoardWriter(None), True

    def begin(self, context: Context) -> None:
        """At the start of a run: its settings, and what TensorBoard lays the page out by."""
        self.context, self.strategy, self.pile, self.ledger = context, context.strategy, context.pile, context.ledger
        self.device = context.device
        self.task: Task | None = None
        self.writer = TensorBoardWriter(context.folder, context.resumed_at)
        self.watch, self.inside, self.row_at = Stopwatch(self.device), False, 0
        self.mixed, self.watching = Mixed(), contextlib.ExitStack()
        # a resumed run has them in its first file
        if context.start == 0:
            self.log_text("settings", f"```\n{json.dumps(hparams.in_short(context.settings), indent=1)}\n```", 0)
        self.draws = Dashboard() if isinstance(self.dashboard, bool) else self.dashboard
        self.drawing = self.dashboard is not False and context.folder is not None
        self.compared = bool(context.train)  # a resumed run has them in its first file
        if not self.drawing:
            return
        # a strategy may have a task and predict nothing: then it is not asked
        predicts = type(self.strategy).predict is not Strategy.predict
        self.task = getattr(self.strategy, "task", None) if predicts else None
        groups = 0 if self.task is None else self.task.groups
        self.names = group_names(self.pile.classes, groups)
        own = self.draws.skeleton
        self.bones = [tuple(pair) for pair in (getattr(self.pile, "skeleton", ()) if own is None else own)]
        self.shown = shown_groups(groups, self.draws.classes)
        if context.start == 0:
            self._lay_out()

    def _lay_out(self) -> None:
        features = self.task is None or _UNLABELED in self.strategy.judged_on
        left_out = (
            *(() if features else (tags.FEATURES,)),
            *(() if self.context.settings.get("baseline") else (tags.ALONE,)),
            *((tags.PILE, tags.CLASSES, tags.TEACHER) if self.task is None else ()),
            *(() if self.strategy.needs().views else (tags.PILE,)),
        )
        questions = [question for question in tags.QUESTIONS if question not in left_out]
        # a strategy names its parts, and the pile may have none of them: no chart waits for what will have no value
        held = [part for part in self.context.parts if part != _UNLABELED and self._has(part)]
        judged = self.task is not None and bool(held)
        charts = tags.layout(questions, self.strategy.monitor if judged else "", self._lacking(held))
        self.writer.layout(charts)
        if len(self.shown) < len(self.names):
            names = ", ".join(self.names[i] for i in self.shown)
            text = f"{len(self.shown)} of {len(self.names)} classes are shown one by one: {names}"
            self.log_text("classes/shown", text, 0)

    def _has(self, part: str) -> bool:
        """Whether it has samples; what is monitored by a name of the user's own always has."""
        return part not in self.strategy.judged_on or self.pile.evaluation(part, 1, self.device) is not None

    def _lacking(self, held: Sequence[str]) -> set[str]:
        """Tags that a run of this strategy on this pile has no value of."""
        masks = self.task is not None and not self.task.one_unit and self.task.has_classes
        networks = self.strategy.predictors() if isinstance(self.strategy, SupervisedStrategy) else {}
        absent = (
            (tags.BY_CLASS, _VALIDATION not in held),
            (("classes/iou/CLASS",), not masks),
            (tags.OF_PILE, not self.strategy.needs().views),
            (tags.RIGHT_OR_NOT, self.ledger.truth is None and self.ledger.unit_truth is None),
            (tags.MEAN_IOU, self.ledger.unit_truth is None or not masks),
            (("ledger/calibration_error",), self.ledger.truth is None),
            (("PART/FIGURE/NETWORK",), len(networks) < 2),
            (("teacher/lead",), _VALIDATION not in held or not {"teacher", "student"} <= networks.keys()),
            (("train/bank/written",), not any(isinstance(part, LabelMemory) for part in self.strategy.modules())),
        )
        return {name for names, missing in absent if missing for name in names}

    # -- events ----------------------------------------------------------------------------------------------------
    def before_step(self, step: int) -> None:
        """Keep what is mixed in the step if an evaluation follows."""
        self.watch.lap(TRAINING if self.inside else WAITING)  # inside: a step that failed, and those taken once more
        self.inside = True
        # a step that failed never came to its end: its hooks are still there
        self.watching.close()
        if self._pictured and self.context.evaluation_due(step):
            # anew: a step that mixes nothing must not show an older mixture
            self.mixed = Mixed()
            self.watching.enter_context(self.mixed.watching(self.strategy))

    def after_step(self, step: int, report: Report | None) -> None:
        """Stop the watch."""
        self.watching.close()
        samples = sum(len(part.index) for part in self.context.batches[0].parts)
        # a GPU runs behind: the time it needs to catch up belongs to the steps, not to the evaluation
        self.watch.step(samples, settle=self.context.evaluation_due(step), waited=self.context.waited)
        self.inside = False

    def after_evaluation(self, step: int, figures: Mapping[str, Mapping[str, float]]) -> None:
        """Draw."""
        if not self.drawing or is_sharded():  # no rank can run a network of which it has a share
            return
        with alone():  # the first rank's own affair: the others have no folder to draw into
            self._pictures(step, self.context.batches[0], self.context.report or Report({}))
            self._confidence(step)
            self._teacher(step, figures.get(_VALIDATION, {}))
            asked = self._ask()
            self._compared(step)
            self._classes(step, asked)
            # found from the step, not remembered: a resumed run draws what it would have drawn
            every = self.context.evaluate_every
            # an evaluation between two regular ones leaves to the next of these what is due meanwhile
            before = step - every if step % every == 0 else step
            if self.draws.due(step, before, self.context.total):
                self._figures(step, asked)
                self._project(step)

    def end_step(self, step: int) -> None:
        """The time since the step went into logs, evaluations, figures and checkpoints."""
        self.watch.lap(EVALUATING)
        if self.row_at == step:
            self.writer.scalars(self.watch.row(), step)  # here alone: no two runs share them

    def log_scalars(self, values: Mapping[str, float], step: int) -> None:
        """Write numbers."""
        self.row_at = step if "train/lr" in values else self.row_at  # figures of speed come with rows of training
        if any(name.startswith("train/") for name in values):
            self._compare([name for name in values if name.startswith("train/loss/")])
        self.writer.scalars(values, step)

    def _compare(self, losses: Sequence[str]) -> None:
        """Once: the settings that runs are compared by, and their figures; losses, as every run has these at least."""
        if not self.compared:
            self.compared = True
            monitor = self.strategy.monitor or getattr(self.task, "monitor", "")
            finals = hparams.final_figures(self.context.parts, monitor)
            figures = list(dict.fromkeys([*finals, *losses]))
            self.writer.hparams(hparams.settings_of_run(self.context.settings), figures)

    def log_text(self, name: str, content: str, step: int) -> None:
        """Write Markdown."""
        self.writer.text(name, content, step)

    def log_alarm(self, kind: str, content: str, step: int) -> None:
        """Write a text ``alarm/kind``."""
        self.writer.text(f"alarm/{kind}", content, step)

    def end(self) -> None:
        """The run whose settings were written is done."""
        self._compare([])
        self.writer.finished()

    def close(self) -> None:
        """Close the file."""
        self.writer.close()

    def for_baseline(self) -> TensorBoard:
        """The baseline has scalars, texts, and a row beside its run where runs are compared."""
        return TensorBoard(False)

    # -- samples ---------------------------------------------------------------------------------------------------
    @property
    def _pictured(self) -> bool:
        return self.drawing and self.draws.pictures > 0

    def _pictures(self, step: int, batch: Batch, report: Report) -> None:
        if not self._pictured:
            return
        for name, images in self.strategy.pictures(batch).items():
            self._picture(name, tiles(images), step)
        if report.pseudo_labels is not None and batch.has_unlabeled:
            view = next(iter(batch.unlabeled.views.values()))
            self._pseudo_labels(step, view, batch.unlabeled.index, report.pseudo_labels)
        if self.mixed.x is not None and self.task is not None:
            x = self.mixed.x[: self.draws.pictures]
            self._picture("mixed", tiles(x), step, self.mixed.captions(self.task, self.pile.classes, len(x)))

    def _pseudo_labels(self, step: int, view: View, index: Tensor, said: PseudoLabels) -> None:
        x = view.x[: self.draws.pictures]
        rows, shown = index[: len(x)], tiles(x)
        # a method may label other rows, or in another order, than those of its first view, or pixels elsewhere
        if torch.equal(said.index[: len(x)].to(rows), rows) and not (said.unmoved and view.moved):
            shown = with_labels(shown, said.value[: len(x)], said.weight[: len(x)], self.bones)
        self._picture("pseudo_labels", shown, step, self.ledger.captions(rows))

    @torch.no_grad()
    def _compared(self, step: int) -> None:
        """The same held-out samples each time, of tasks with several units: truth, what is said, doubt and error."""
        if not self._pictured or self.task is None or self.task.one_unit:
            return
        rows: list[Tensor] = []
        with self.strategy.evaluating():
            for batch in part_of(self.pile, _VALIDATION, self.device, min(_FIXED, self.draws.pictures)):
                value, shown = self.strategy.predict(batch.x), tiles(batch.x)
                target = self.task.encode(batch.annotation)
                rows += [compared(shown, value, target, self.task, self.bones)] if len(shown) else []
        if rows:
            self.writer.image("held_out", grid(torch.cat(rows)[:_FIXED], 1), step)

    def _picture(self, name: str, shown: Tensor, step: int, captions: list[str] | None = None) -> None:
        if not len(shown):
            return
        if captions:
            shown = captioned(shown, captions)
            self.writer.image(name, grid(shown, max(1, WIDE // (shown.shape[-1] + 2))), step)  # to be read
        else:
            self.writer.image(name, grid(shown), step)

    # -- figures of classes and of trust -----------------------------------------------------------------------------
    def _ask(self) -> HeldOut | None:
        """Decisions about held-out samples; ``None`` where there are none."""
        if self.task is None:
            return None
        batches = part_of(self.pile, _VALIDATION, self.device, self.draws.samples)
        return held_out(self.strategy, self.task, batches)

    def _confidence(self, step: int) -> None:
        """How sure the pseudo-labels are, of all classes and of each that is shown."""
        seen = self.ledger.seen > 0
        if not bool(seen.any()):
            return
        label, confidence = self.ledger.label[seen].cpu(), self.ledger.confidence[seen].cpu()
        self.writer.histogram(f"confidence/{ALL}", confidence, step)
        for group in self.shown if len(self.ledger.classes) or self.ledger.units is not None else ():
            own = confidence[label == group]
            if self.ledger.units is not None:  # of each sample that has such pixels, or this joint
                said = self.ledger.units[seen, group].float().cpu()
                own = said[said[:, SHARE] > 0, SURE]
            if len(own):
                self.writer.histogram(f"confidence/{self.names[group]}", own, step)

    def _teacher(self, step: int, found: Mapping[str, float]) -> None:
        teacher, student = (found.get(f"{self.strategy.monitor}/{name}") for name in ("teacher", "student"))
        if teacher is not None and student is not None:
            self.context.log_scalars({"teacher/lead": teacher - student}, step)

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
        self.context.log_scalars(({"classes/lowest_accuracy": float(known.min())} if len(known) else {}) | row, step)

    def _shares(self, asked: HeldOut | None) -> dict[str, Tensor]:
        """Of each class the accuracy of held-out samples; of its pseudo-labels the share accepted and their precision.

        NaN where it is not known; a figure that is known of no class is left out.
        """
        found = {} if asked is None else {"accuracy": asked.accuracy(len(self.names))}
        iou = None if asked is None else asked.iou()
        found |= {} if iou is None else {"iou": iou}
        rows = self.ledger.per_class()
        if len(rows) == len(self.names):
            nan = float("nan")
            found["accepted"] = torch.tensor([r.accepted / r.count if r.count else nan for r in rows])
            found["precision"] = torch.tensor([nan if r.precision is None else r.precision for r in rows])
        return {name: values for name, values in found.items() if not bool(values.isnan().all())}

    def _figures(self, step: int, asked: HeldOut | None) -> None:
        if asked is not None:
            self.writer.curve(f"pr/{RIGHT}", asked.right, asked.confidence, step)
            self._per_class_curves(step, asked)
            self._confusion(step, asked)
        parts = [] if asked is None else [("held-out samples", asked.confidence, asked.right)]
        known = self._known()
        if known is not None:
            parts.append(("pseudo-labels", *known))
        if parts:
            self.writer.image("figures/reliability", figures.reliability(parts), step)
        shares = self._shares(asked)
        if shares:
            # by accuracy where it is known: it is the first of the figures
            rows = worst_groups(next(iter(shares.values())), self.draws.classes)
            series = {name: values[rows] for name, values in shares.items()}
            picture = figures.class_bars([self.names[i] for i in rows], series, self._title(len(rows)))
            self.writer.image("figures/classes", picture, step)

    def _per_class_curves(self, step: int, asked: HeldOut) -> None:
        for group in self.shown if asked.scores is not None else ():
            assert asked.scores is not None
            self.writer.curve(f"pr/{self.names[group]}", asked.truth == group, asked.scores[:, group], step)

    def _confusion(self, step: int, asked: HeldOut) -> None:
        if self.task is None or not self.task.has_classes:
            return
        groups = len(self.names)
        rows = worst_groups(asked.accuracy(groups), self.draws.classes)
        names = [self.names[i] for i in rows] + (["all others"] if len(rows) < groups else [])
        counts = asked.confusion(rows, groups)
        self.writer.image("figures/confusion", figures.confusion(counts, names, self._title(len(rows))), step)

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
        if not self.draws.points or self.writer.folder is None:
            return
        decides = self.task is not None and self.task.has_classes
        found = points(self.strategy, self._samples(), self.pile.classes, decides=decides)
        if found is not None:
            write_points(found, self.writer.folder, step)

    def _samples(self) -> Iterator[tuple[str, Annotated]]:
        """Held-out and unlabeled samples, half of the points each at most."""
        half = self.draws.points // 2
        for part, room in ((_VALIDATION, self.draws.points - half), (_UNLABELED, half)):
            for batch in part_of(self.pile, part, self.device, room) if room else ():
                yield part, batch
