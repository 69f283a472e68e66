"""The self-check of a run: alarms when self-training does nothing, goes wrong, or is worse than the labels alone.

An alarm is raised once a run for each kind, and only on enough evidence: steps behind it, samples behind it, and more
than noise. It knows no method: it reads the reports of steps, the ledger and the figures of evaluations, and tries one
step on a copy of the strategy (``selftrain.handlers.gradcheck``).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Mapping, Sequence, Sized
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from selftrain.evaluation.agreement import FEW_LOOKED
from selftrain.evaluation.class_shares import labeled_shares
from selftrain.evaluation.cross_fitted import CrossFitted, cross_fitted
from selftrain.evaluation.paired import clearly_worse
from selftrain.handlers.base import Context, Handler
from selftrain.handlers.gradcheck import NotMeasured, unsupervised_grad_norm
from selftrain.handlers.resumecheck import AFTER, ResumeCheck
from selftrain.metrics.significance import (
    FEW,
    MARGIN,
    class_distance,
    collapsed,
    drifted,
    effective_classes,
)
from selftrain.runtime.distributed import here, is_first
from selftrain.runtime.rng import step_key
from selftrain.select import Selector
from selftrain.storage.fields import COUNT, check
from selftrain.strategy.base import SupervisedStrategy
from selftrain.types import Annotated, Batch, Clock, Report

PROBES, APART, LATE = 3, 5, 0.9  # steps on a copy a run, steps before and between them, moment they are told
STREAK, SHARE = 50, 0.2  # a streak counts from so many steps, and so large a share of the stage
FOLLOWS = 200  # steps after which a teacher should have caught up with its student
MOSTLY_RIGHT = 0.9  # validation figure from which a rule that rejects nothing does no harm
_ASKED = 2000  # samples of a part that simple models read at most
ROWS = 50  # accepted pseudo-labels whose classes are compared with those of the labels
FEW_DIRECTIONS, CONSTANT = 2.0, 0.05  # centered rank, and spread against size, of features that look collapsed
FALLEN = {"rankme_centered": 0.25, "feature_spread": 0.1}  # and what then is left of them since the first step
LOST, SEEN = 0.1, 20  # what is left of a class that is gone, and of how many samples' worth of decisions it was
LITTLE, REST = 0.1, 0.2  # spread of embeddings, and its share of that of the first step, that are a collapse
(
    NO_GRADIENT, COLLAPSE, KEEPS_NOTHING, KEEPS_EVERYTHING, TEACHER_WORSE, WORSE_THAN_SUPERVISED, CLASS_DRIFT, FEATURES,
    WORSE_THAN_START,
) = KINDS = (
    "no_gradient", "collapse", "keeps_nothing", "keeps_everything", "teacher_worse", "worse_than_supervised",
    "class_drift", "features_collapsed", "worse_than_start",
)  # fmt: skip
HARMFUL = (COLLAPSE, KEEPS_NOTHING, WORSE_THAN_SUPERVISED, CLASS_DRIFT, WORSE_THAN_START)
REMEDIES = {
    NO_GRADIENT: "Check that the unsupervised loss is computed from the student's own output with gradients on "
    "(no detach, no torch.no_grad), that it is part of the loss given to update(), and that its factor is above 0.",
    COLLAPSE: "Lower unlabeled_weight, lengthen its ramp-up, raise the threshold, or align predictions to the class "
    "shares; if the unlabeled samples really are so one-sided, make the labels follow the same shares.",
    KEEPS_NOTHING: "Lower the threshold, train on the labels longer before, or sharpen the predictions: as it is, the "
    "unlabeled samples are not used.",
    KEEPS_EVERYTHING: "Raise the threshold, or calibrate the confidences (more augmentation, less training on few "
    "labels); if every pseudo-label is meant to count, choose select.everything().",
    TEACHER_WORSE: "Lower the teacher's decay so that it follows sooner, or check how it gets its BatchNorm "
    "statistics (buffers='copy' or 'ema'); until then ship the student.",
    WORSE_THAN_SUPERVISED: "Look at the pseudo-labels that were accepted (pseudo_labels.csv), raise the threshold or "
    "lower unlabeled_weight, or ship the labels alone (on_alarm='fallback'); unlabeled samples of other classes than "
    "the labels' also do this.",
    CLASS_DRIFT: "Align predictions to the class shares, raise the threshold, lower unlabeled_weight, or ship the "
    "labels alone (on_alarm='fallback'); it may be right if the classes of the pile are far from even.",
    FEATURES: "Train longer if the rank is rising (JEPA first collapses and then climbs out); else raise the target "
    "encoder's decay, strengthen the regularizer (of views: the variance term or SIGReg), or use masked autoencoding, "
    "which cannot collapse.",
    WORSE_THAN_START: "Lower the learning rate, down to 1e-7, by which BatchNorm's statistics adapt and weights hardly "
    "move, take fewer steps, or ship the start (on_alarm='fallback'); without labels nothing but such signs can be "
    "had: label some dozens to know.",
}


class SelfTrainingWarning(UserWarning):
    """The self-check of a run found something wrong; ``warnings.filterwarnings`` can select this category."""


@dataclass(frozen=True)
class Alarm:
    """One finding of the self-check.

    Args:
        kind: One of ``KINDS``.
        step: Steps behind the run when it was found.
        message: What is wrong, with numbers.
        remedy: What to do about it.
        figures: The numbers it rests on.
    """

    kind: str
    step: int
    message: str
    remedy: str
    figures: dict[str, float]

    @property
    def harmful(self) -> bool:
        """Whether it speaks against the weights: such an alarm stops a run or acts, see ``Evaluation``."""
        return self.kind in HARMFUL

    @property
    def text(self) -> str:
        """Message and remedy in one."""
        return f"{self.message} {self.remedy}"


_ALARM = {"kind": str, "step": COUNT, "message": str, "remedy": str, "figures": {str: float}}
_STATE = {  # what a checkpoint holds of the self-check
    "probes": dict.fromkeys(("tries", "silent", "first", "done"), COUNT),
    "streaks": {"nothing": Tensor, "everything": Tensor},
    "one_sided": COUNT,
    "below_start": (COUNT, ...),
    "start": {str: float},
    "embedded": {"first": (Tensor, ...), "last": (Tensor, ...)},
    "alarms": [_ALARM],
    "unchecked": {str: str},
}


@dataclass
class Findings:
    """What one look at the run gave: scalars to log, alarms to raise, and what could not be checked."""

    scalars: dict[str, float] = field(default_factory=dict)
    alarms: list[Alarm] = field(default_factory=list)
    unchecked: dict[str, str] = field(default_factory=dict)

    def alarm(self, kind: str, step: int, message: str, **figures: float) -> None:
        """Add an alarm with the remedy of its kind."""
        self.alarms.append(Alarm(kind, step, message, REMEDIES[kind], figures))


class SelfCheck(Handler):
    """Watch a run and raise an alarm, at most once for each kind, where it does nothing or goes wrong.

    Kinds: ``no_gradient``, ``collapse``, ``keeps_nothing``, ``keeps_everything``, ``teacher_worse``,
    ``features_collapsed``, with a baseline ``worse_than_supervised`` and ``class_drift``, and without any label
    ``worse_than_start``: by what the network that the run starts from said of the same samples. An alarm is a
    ``SelfTrainingWarning``, a text in the log and an entry of ``Run.alarms``. Costs up to three steps on a copy of the
    strategy, and two more where checkpoints are kept: a ``SelfTrainingWarning`` and a text in the log
    (``not_resumable``) say if a resumed run would be another one. Training is the same bit for bit.

    Args:
        on: Whether anything is watched.
    """

    def __init__(self, on: bool = True) -> None:
        self.on = on
        self.probes = {"tries": 0, "silent": 0, "first": 0, "done": 0}
        self.streaks = {kind: torch.zeros((), dtype=torch.long) for kind in ("nothing", "everything")}
        self.one_sided = self.below_start = 0  # evaluations in a row
        self.start: dict[str, float] = {}  # figures of features before the first step
        self.embedded: dict[str, Tensor] = {}  # spread of embeddings at the first and the last step
        self._prior: Tensor | None = None
        self._prior_known = False

    def begin(self, context: Context) -> None:
        """Forget an earlier run; keep the figures of features before the first step."""
        self.__init__(self.on)  # type: ignore[misc]
        self.context, self.strategy, self.ledger = context, context.strategy, context.ledger
        self.total, self.per_epoch, self.device = context.total, context.steps_per_epoch, context.device
        self.streaks = {kind: count.to(self.device) for kind, count in self.streaks.items()}
        self._prepare_resume()
        # A resumed run has these from its checkpoint: measured now they would be of trained features.
        if self.on and context.start == 0:
            known, judged = (context.before or {}).get("unlabeled"), self.strategy.judged_on
            if known is None and "unlabeled" in judged:
                known = context.measure("unlabeled")
            self.keep_start(known or {})

    # -- a stop and a resume ---------------------------------------------------------------------------------------
    def _prepare_resume(self) -> None:
        """Make ready to try it, where checkpoints are kept; several processes would have to try it together."""
        context = self.context
        self.resume: ResumeCheck | None = None
        if not self.on or context.out is None or context.start or context.total <= AFTER or here() is not None:
            return
        try:
            self.resume = ResumeCheck(context)
        except NotMeasured as error:
            context.unchecked["not_resumable"] = str(error)  # the log may not have begun

    def before_step(self, step: int) -> None:
        """Try a stop and a resume, once."""
        if self.resume is None or step <= AFTER:
            return
        resume, self.resume = self.resume, None
        try:
            complaint = resume.complaint()
        except NotMeasured as error:
            self.log(Findings(unchecked={"not_resumable": str(error)}), step - 1)
            return
        if complaint is not None:
            text = (
                f"a run that is stopped and resumed will not be this run: {complaint} Keep what it depends on in a "
                "buffer, in plain attributes or in a generator of its own (see docs/runs.md)."
            )
            # No alarm of `Run.alarms`: it says nothing of the weights.
            self.context.log_alarm("not_resumable", text, step - 1)
            warnings.warn(text, SelfTrainingWarning, stacklevel=2)

    # -- events ----------------------------------------------------------------------------------------------------
    def after_step(self, step: int, report: Report | None) -> None:
        """Look at the step, unless it was left out."""
        if self.on and report is not None:
            due = self.context.evaluation_due(step)
            self.log(self.watch(step, self.context.batches, report, judged=due), step)

    def after_evaluation(self, step: int, figures: Mapping[str, Mapping[str, float]]) -> None:
        """Look at the figures."""
        if self.on:
            held_out = figures.get("validation", {})
            self.log(self.judge(step, held_out, self.context.samples), step)
            # The rank of features cannot exceed the number of samples, and validation sets may be small.
            self.log(self.judge_features(step, figures.get("unlabeled", held_out)), step)
            self.log(self.judge_start(step, figures.get("unlabeled", {})), step)

    def after_baseline(self, step: int, figures: Mapping[str, Mapping[str, float]]) -> None:
        """Hold the run against its baseline."""
        if self.on:
            here, there = self.context.figures.get("validation", {}), figures.get("validation", {})
            found, classes = self.compare(step, here, there, self.context.samples), self.compare_classes(step)
            if self.context.samples < FEW:
                found = self.cross_fit(step, found)
            self.log(found, step)
            self.log(classes, step)

    def sound(self) -> bool:
        """Whether the newest evaluation saw no one-sided classes, and nothing worse than the start; alarms take two."""
        return not self.one_sided and not self.below_start

    def log(self, found: Findings, step: int) -> None:
        """Log what was found; an alarm whose kind is new is kept and warned of."""
        context = self.context
        context.log_scalars(found.scalars, step)
        for kind, reason in found.unchecked.items():
            context.unchecked[kind] = reason
            context.log_text(f"unchecked/{kind}", reason, step)
        known = {alarm.kind for alarm in context.alarms}
        for alarm in found.alarms:
            if alarm.kind not in known:
                context.alarms.append(alarm)
                context.log_alarm(alarm.kind, alarm.text, step)
                if is_first():
                    warnings.warn(f"{alarm.kind} at step {step}: {alarm.text}", SelfTrainingWarning, stacklevel=2)

    # -- every step ------------------------------------------------------------------------------------------------
    def watch(self, step: int, batches: Sequence[Batch], report: Report, *, judged: bool) -> Findings:
        """Look at a step; ``step`` counts it in, ``judged`` says that an evaluation follows."""
        self._count(step, report)
        # A step that keeps nothing has no unlabeled gradient, and rightly so: probing it would tell nothing.
        if not self._probe_due(step, judged) or not _keeps(report):
            return Findings()
        self.probes["tries"] += 1
        self.probes["first"] = self.probes["first"] or step
        return self._probe(step, batches)

    def _probe_due(self, step: int, judged: bool) -> bool:
        tries = self.probes["tries"]
        earliest = self.probes["first"] + APART * tries if tries else APART
        if self.probes["done"] or tries >= PROBES or step < earliest:
            return False
        return judged or tries < PROBES - 1

    def _probe(self, step: int, batches: Sequence[Batch]) -> Findings:
        found, late = Findings(), max(step, math.ceil(LATE * self.total))
        # A ramp-up that begins at 0 would make a sound method silent in its first steps.
        clock = Clock(late, (step - 1) // self.per_epoch, self.total)
        try:
            norm = unsupervised_grad_norm(self.strategy, batches, clock, step_key(self.context.seed, step), self.device)
        except NotMeasured as error:
            self.probes["done"] = 1
            found.unchecked[NO_GRADIENT] = str(error)
            return found
        if norm is not None:
            found.scalars["check/unsupervised_grad_norm"] = norm
            self.probes["silent"] += int(norm == 0)
            # One exact zero may be chance, two are not; any gradient at all settles the matter.
            self.probes["done"] = int(norm != 0 or self.probes["silent"] >= 2)
        if self.probes["done"] and norm == 0:
            message = f"{self.probes['silent']} times the unlabeled samples sent no gradient at all to a network, "
            found.alarm(NO_GRADIENT, step, message + "although pseudo-labels were kept.", unsupervised_grad_norm=0.0)
        elif self.probes["tries"] >= PROBES and not self.probes["done"]:
            found.unchecked[NO_GRADIENT] = f"{PROBES} steps on a copy did not tell whether a gradient arrives"
        return found

    def _count(self, step: int, report: Report) -> None:
        """Lengthen or break the streaks, keep the spread of embeddings; no number leaves the device."""
        spread = report.scalars.get("embedding_std")
        if spread is not None:
            self.embedded = {"first": self.embedded.get("first", spread), "last": spread}
        used = _used(report)
        if used is None or step <= self._streaks_begin():
            return
        for name, holds in zip(("nothing", "everything"), used, strict=True):
            self.streaks[name] = (self.streaks[name] + 1) * holds.to(self.device)

    def _streaks_begin(self) -> int:
        """After a fifth of the stage; where that is before the end of the first epoch, after it or half the stage."""
        return max(math.floor(SHARE * self.total), min(self.per_epoch, self.total // 2))

    # -- evaluations -----------------------------------------------------------------------------------------------
    def judge(self, step: int, figures: Mapping[str, float], samples: int) -> Findings:
        """Look at the run at an evaluation with these ``figures`` of so many validation ``samples`` (0: none)."""
        found = Findings()
        monitor = self.strategy.monitor
        self._judge_streaks(step, found, figures.get(monitor) if samples else None)
        self._judge_classes(step, found)
        teacher, student = figures.get(f"{monitor}/teacher"), figures.get(f"{monitor}/student")
        # An average of weights lags behind a student that still learns fast: early on that is no fault.
        late_enough = 2 * step > self.total and step >= FOLLOWS
        if late_enough and teacher is not None and student is not None and self._teacher_behind(student - teacher):
            message = f"On validation the teacher reaches {monitor} {teacher:.3f}, its student {student:.3f}."
            found.alarm(TEACHER_WORSE, step, message, teacher=teacher, student=student, samples=float(samples))
        return found

    def _teacher_behind(self, by: float) -> bool:
        """Whether the student's figure is better by more than noise; ``by``: how much better."""
        strategy = self.strategy
        told = any(alarm.kind == TEACHER_WORSE for alarm in self.context.alarms)
        # samples are asked one by one only where something could be told, and until it is
        if told or by <= MARGIN or not isinstance(strategy, SupervisedStrategy):
            return False
        teacher, student = (strategy.predictors().get(name) for name in ("teacher", "student"))
        batches = self.context.pile.evaluation("validation", 500, self.device)
        if teacher is None or student is None or batches is None:
            return False
        with strategy.evaluating():
            return clearly_worse(teacher, student, strategy.task, batches)

    def keep_start(self, figures: Mapping[str, float]) -> None:
        """Keep the ``figures`` of features before the first step, for ``judge_features`` to compare with."""
        self.start = {name: figures[name] for name in FALLEN if name in figures}

    def judge_features(self, step: int, figures: Mapping[str, float]) -> Findings:
        """Look at ``figures`` of features, if they are, and at embeddings, from the middle of the stage on.

        Features have collapsed if they differ by almost nothing and in few directions, or if one of the two has also
        fallen far since the first step. One alone says little: the features of an untrained network may be one large
        constant and sound differences, and two classes need no more than a direction.
        """
        found = Findings()
        # A JEPA may first collapse and then climb out of it by itself.
        if 2 * step < self.total:
            return found
        rank, spread = figures.get("rankme_centered"), figures.get("feature_spread")
        if rank is not None and spread is not None:
            self._judge_collapse(step, found, rank, spread)
        # 1.0 where there are no embeddings: above every bound, so that nothing is said.
        first, last = (float(self.embedded[key]) if key in self.embedded else 1.0 for key in ("first", "last"))
        # Small from the start is a matter of scale; a collapse has lost what was there.
        if not found.alarms and last < LITTLE and last < REST * first:
            message = (
                f"The projector gives different samples almost the same embedding: their standard deviation is "
                f"{last:.4f}, at the first step it was {first:.4f}."
            )
            found.alarm(FEATURES, step, message, embedding_std=last, embedding_std_first=first)
        return found

    def judge_start(self, step: int, figures: Mapping[str, float]) -> Findings:
        """Hold ``figures`` of the pile against those of the start, where no label tells which is better.

        More confidence proves nothing: a network that learns its own decisions gains it in any case. Views that are
        decided alike less often than before, and classes that are gone, are signs that it has lost what it knew.
        """
        found, start = Findings(), (self.context.before or {}).get("unlabeled", {})
        if "confidence" not in start or "confidence" not in figures:
            return found
        rows = min(_ASKED, len(self.context.pile.unlabeled_ids()))
        agree, agreed = figures.get("views_agree", 1.0), start.get("views_agree", 0.0)
        signs, told = [], {"views_agree": agree, "views_agree_start": agreed}
        # two standard errors between shares of so many samples, and no less than counts elsewhere
        mean = (agree + agreed) / 2
        if agreed - agree > max(MARGIN, 2 * math.sqrt(2 * mean * (1 - mean) / max(1, min(rows, FEW_LOOKED)))):
            signs.append(f"views of a sample agree for {100 * agree:.1f} %, at the start {100 * agreed:.1f} %")
        for name in [name for name, share in start.items() if name[:6] == "share/" and share * rows >= SEEN]:
            if figures[name] < LOST * start[name]:
                signs.append(
                    f"{name[6:]} is {100 * figures[name]:.1f} % of decisions, at the start {100 * start[name]:.1f} %"
                )
                told |= {name: figures[name], f"{name}_start": start[name]}
        self.below_start = self.below_start + 1 if signs else 0
        # one evaluation may be chance, or a step that is on its way; the last one has no successor
        if signs and (self.below_start >= 2 or step == self.total):
            message = f"On the {rows} unlabeled samples that are asked {' and '.join(signs)}."
            found.alarm(WORSE_THAN_START, step, message, **told)
        return found

    def _judge_collapse(self, step: int, found: Findings, rank: float, spread: float) -> None:
        figures = {"rankme_centered": rank, "feature_spread": spread}
        low = {"rankme_centered": rank < FEW_DIRECTIONS, "feature_spread": spread < CONSTANT}
        fell = {name: value < FALLEN[name] * self.start.get(name, 0.0) for name, value in figures.items()}
        blamed = [name for name in figures if low[name] and (all(low.values()) or fell[name])]
        words = {
            "rankme_centered": f"they differ in effectively {rank:.2f} directions",
            "feature_spread": f"they spread by {spread:.4f} of their size",
        }
        if blamed:
            said = " and ".join(
                words[n] + (f" (at the start {self.start[n]:.4g})" if n in self.start else "") for n in blamed
            )
            shown = {name: figures[name] for name in blamed}
            shown |= {f"{name}_start": self.start[name] for name in blamed if name in self.start}
            found.alarm(FEATURES, step, f"Features of different samples are almost the same: {said}.", **shown)

    def _judge_streaks(self, step: int, found: Findings, figure: float | None) -> None:
        needed = max(STREAK, math.ceil(SHARE * self.total))
        nothing, everything = (int(count) for count in self.streaks.values())
        if nothing >= needed:
            message = f"Not one pseudo-label was used in the last {nothing} steps."
            found.alarm(KEEPS_NOTHING, step, message, steps=float(nothing))
        rules = [m for m in self.strategy.modules() if isinstance(m, Selector)]
        harmless = figure is not None and figure >= MOSTLY_RIGHT
        # Rules that are meant to reject nothing, and soft weights, say so by `rejects`.
        if everything >= needed and any(getattr(rule, "rejects", True) for rule in rules) and not harmless:
            message = f"Every pseudo-label of the last {everything} steps was used: the rule that selects rejects none."
            found.alarm(KEEPS_EVERYTHING, step, message, steps=float(everything))

    def _judge_classes(self, step: int, found: Findings) -> None:
        accepted = int(self.ledger.accepted.sum())
        shares = self.ledger.class_shares().double()
        if not len(shares) or not accepted:
            return
        effective = effective_classes(shares)
        found.scalars["check/effective_classes"] = effective
        prior = self._labeled_shares(len(shares)) if accepted >= ROWS and step >= SHARE * self.total else None
        one_sided = prior is not None and self._one_sided(step, shares, prior.to(shares), accepted)
        self.one_sided = self.one_sided + 1 if one_sided else 0
        # A network that has hardly learned says one class of nearly everything, and most leave that behind.
        confirmed = self.one_sided >= 2 and step >= STREAK
        # One evaluation may be chance; the last one has no successor that could confirm it.
        if prior is not None and (confirmed or (one_sided and step == self.total)):
            expected = effective_classes(prior)
            message = (
                f"The {accepted} accepted pseudo-labels fall to effectively {effective:.2f} classes "
                f"(exp of the entropy of their shares); the labels have {expected:.2f}."
            )
            found.alarm(COLLAPSE, step, message, effective=effective, labels=expected, accepted=float(accepted))

    def _one_sided(self, step: int, shares: Tensor, prior: Tensor, accepted: int) -> bool:
        """Easy classes are accepted first: before half of the stage all decisions must be as one-sided.

        So they must later where a sample has several units: of pixels the large classes stay the sure ones.
        """
        # All decisions, not the accepted ones: a network that has collapsed says the same of rejected samples.
        every = self.ledger.class_shares(accepted=False).to(shares)
        early, said = 2 * step < self.total or self.ledger.units is not None, int((self.ledger.seen > 0).sum())
        return collapsed(shares, prior, accepted) and (not early or collapsed(every, prior, said))

    def _labeled_shares(self, classes: int) -> Tensor | None:
        """Share of each class among the labels; ``None`` where there are no such classes."""
        if not self._prior_known:
            task = getattr(self.strategy, "task", None)
            self._prior = None if task is None else labeled_shares(self.context.pile, task, self.device)
            self._prior_known = True
        return self._prior if self._prior is not None and len(self._prior) == classes else None

    # -- the end ---------------------------------------------------------------------------------------------------
    def compare(self, step: int, figures: Mapping[str, float], control: Mapping[str, float], samples: int) -> Findings:
        """Hold the validation ``figures`` of the run against those of its supervised ``control``."""
        found, monitor = Findings(), self.strategy.monitor
        here, there = figures.get(monitor), control.get(monitor)
        if here is None or there is None or not samples:
            found.unchecked[WORSE_THAN_SUPERVISED] = f"there is no validation set with a figure named {monitor!r}"
        elif self._run_behind(there - here, found):
            message = f"On validation self-training reaches {monitor} {here:.3f}, the labels alone {there:.3f}."
            found.alarm(WORSE_THAN_SUPERVISED, step, message, run=here, baseline=there, samples=float(samples))
        return found

    def _run_behind(self, by: float, found: Findings) -> bool:
        """Whether the control's figure is better by more than noise; ``by``: how much better."""
        control, task = self.context.control, getattr(self.strategy, "task", None)
        if by <= MARGIN:
            return False
        batches = self.context.pile.evaluation("validation", 500, self.device)
        if control is None or task is None or batches is None:
            found.unchecked[WORSE_THAN_SUPERVISED] = (
                f"{type(self.strategy).__name__} has no task that makes its {self.strategy.monitor} of samples, and "
                "noise cannot be told"
            )
            return False
        with self.strategy.evaluating(), control.evaluating():
            return clearly_worse(self.strategy.predict, control.predict, task, batches)

    def cross_fit(self, step: int, found: Findings) -> Findings:
        """Ask simple models about run and control where held-out labels are too few, or none, to tell which is better.

        Args:
            step: Steps behind the run.
            found: What held-out labels say.
        """
        try:
            fitted = self._cross_fitted()
        except ValueError as error:
            reason = f"simple models cannot tell: {error}"
            return replace(found, unchecked=found.unchecked | {WORSE_THAN_SUPERVISED: reason})
        if fitted is None:
            return found
        self.context.cross_fitted = fitted
        alarms = list(found.alarms)
        if fitted.worse and not alarms:
            message = (
                f"Too few labels are held out, so simple models of {fitted.form} were asked. A forest that learned the "
                f"labels alone ({100 * fitted.forest:.1f} % right out of fold) agrees with self-training on "
                f"{100 * fitted.agrees:.1f} % of {fitted.rows} rows, with the labels alone on "
                f"{100 * fitted.alone_agrees:.1f} %; a logistic regression that learned the classes of self-training "
                f"has {100 * fitted.taught:.1f} % of the labels right, of the labels alone "
                f"{100 * fitted.alone_taught:.1f} %."
            )
            figures = {"agrees": fitted.agrees, "baseline_agrees": fitted.alone_agrees, "rows": float(fitted.rows)}
            figures |= {"taught": fitted.taught, "baseline_taught": fitted.alone_taught, "labels": float(fitted.labels)}
            alarms.append(Alarm(WORSE_THAN_SUPERVISED, step, message, REMEDIES[WORSE_THAN_SUPERVISED], figures))
        kept = {kind: reason for kind, reason in found.unchecked.items() if kind != WORSE_THAN_SUPERVISED}
        return Findings(found.scalars, alarms, kept)

    def _cross_fitted(self) -> CrossFitted | None:
        """What simple models say; ``None``: annotations are no classes of samples, or there are no unlabeled ones."""
        pile, control, task = self.context.pile, self.context.control, getattr(self.strategy, "task", None)
        if control is None or task is None or not (task.has_classes and task.one_unit):
            return None
        labeled, asked = (_excerpt(pile.evaluation(part, 500, self.device) or ()) for part in ("labeled", "unlabeled"))
        if not labeled or not asked:
            return None
        with self.strategy.evaluating(), control.evaluating(), torch.no_grad():
            said = [
                torch.cat([task.label(predict(batch.x)).cpu() for batch in asked])
                for predict in (self.strategy.predict, control.predict)
            ]
        x, rows = (torch.cat([batch.x.cpu() for batch in part]) for part in (labeled, asked))
        y = torch.cat([batch.annotation.cpu() for batch in labeled])
        pictures = None
        if x.dim() == 4 and x.shape[1] == 3:
            card: Mapping[str, Any] = getattr(pile, "card", dict)()  # a pile of the user's own kind has none
            plain = {"mean": 0.0, "std": 1.0}
            mean, std = (torch.as_tensor(card.get(name) or value).float() for name, value in plain.items())
            pictures = (torch.cat([x, rows]) * std.view(-1, 1, 1) + mean.view(-1, 1, 1)).clamp(0, 1)
        return cross_fitted(x, y, rows, *said, pictures=pictures)

    def compare_classes(self, step: int) -> Findings:
        """Hold the classes that the run sees in the pile against those that its supervised control sees there."""
        found, classes, control = Findings(), len(self.ledger.classes), self.context.control
        batches = self.context.pile.evaluation("unlabeled", 500, self.device)
        prior = self._labeled_shares(classes) if classes else None
        if control is None or batches is None or prior is None:
            return found
        task: Any = self.strategy.task  # it has classes
        counts, rows = torch.zeros(2, classes, dtype=torch.double, device=self.device), 0
        with self.strategy.evaluating(), control.evaluating(), torch.no_grad():
            for batch in batches:
                for count, predict in zip(counts, (self.strategy.predict, control.predict), strict=True):
                    count += torch.bincount(task.label(predict(batch.x)).flatten(), minlength=classes)
                rows += len(batch.x)  # pixels of one picture are no independent draws
        prior, shares = prior.to(counts), counts / counts[0].sum().clamp(min=1)
        if drifted(shares[0], shares[1], prior, rows):
            run, baseline = (class_distance(each, prior) for each in shares)
            message = (
                f"On {rows} samples of the pile the class shares of the run are {run:.2f} away from those of the "
                f"labels (total variation), the shares that the labels alone lead to {baseline:.2f}."
            )
            found.alarm(CLASS_DRIFT, step, message, run=run, baseline=baseline, rows=float(rows))
        return found

    # -- storage ---------------------------------------------------------------------------------------------------
    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs to raise the same alarms at the same steps."""
        state = {"probes": self.probes, "streaks": self.streaks, "one_sided": self.one_sided, "start": self.start}
        state |= {"below_start": self.below_start}
        alarms = [asdict(alarm) for alarm in self.context.alarms]
        return state | {"embedded": self.embedded, "alarms": alarms, "unchecked": self.context.unchecked}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what ``state_dict`` gave."""
        self.context.alarms[:] = stored_alarms(state)
        self.probes = dict(state["probes"])
        self.one_sided, self.start = state["one_sided"], dict(state["start"])
        self.below_start = state.get("below_start", 0)
        # Numbers that are none of that kind fail here, and not in an evaluation.
        self.streaks, self.embedded = (
            {
                name: torch.as_tensor(kind(value), dtype=value.dtype, device=self.device)
                for name, value in state[key].items()
            }
            for key, kind in (("streaks", int), ("embedded", float))
        )
        self.context.unchecked.update(state["unchecked"])


def stored_alarms(state: Mapping[str, Any]) -> list[Alarm]:
    """The alarms in what a checkpoint holds of the self-check.

    Raises:
        ValueError: it is of another form; names the field.
    """
    check(state, _STATE, "the state of the self-check")
    return [Alarm(**{name: alarm[name] for name in _ALARM}) for alarm in state["alarms"]]


def _keeps(report: Report) -> bool:
    return report.pseudo_labels is not None and bool((report.pseudo_labels.weight > 0).any())


def _excerpt(batches: Iterable[Annotated]) -> list[Annotated]:
    """Up to ``_ASKED`` evenly spaced samples: they are held in memory, and a set may be larger than that."""
    total = 500 * len(batches) if isinstance(batches, Sized) else sum(len(batch.index) for batch in batches)
    step = max(1, -(-total // _ASKED))
    return [Annotated(*(rows[::step].clone() for rows in (b.x, b.annotation, b.index))) for b in batches]


def _used(report: Report) -> tuple[Tensor, Tensor] | None:
    """Whether a step used no unit, and whether all of them alike; ``None`` where it does not say."""
    # One unit alone is always all of them, which is no sign of a rule that rejects none.
    if report.pseudo_labels is not None and report.pseudo_labels.weight.numel() > 1:
        least, most = report.pseudo_labels.weight.aminmax()
        # Weights that differ are a selection, though every one of them is above 0.
        return most <= 0, (least > 0) & (least == most)
    share = report.scalars.get("used")
    return None if share is None else (share == 0, share >= 1)
