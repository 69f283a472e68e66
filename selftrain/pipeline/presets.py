"""Ready-made pipelines of published methods: each returns the list of its stages."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

from selftrain.handlers.snapshots import Snapshots
from selftrain.labels.table import PseudoLabelTable
from selftrain.networks.student import MakeLearner
from selftrain.pipeline.labeling import Labeling, Refine
from selftrain.pipeline.reliable import ReliableLabeling
from selftrain.pipeline.running import Part
from selftrain.pipeline.stages import Best, Stage, Which
from selftrain.pipeline.state import Past
from selftrain.strategies.curriculum_labeling import CurriculumLabeling
from selftrain.strategies.noisy_student import NoisyStudent
from selftrain.strategies.supervised import Supervised
from selftrain.strategy.base import Strategy
from selftrain.tasks import Task
from selftrain.types import BatchPlan, plain_settings

MakeFrom = Callable[..., MakeLearner]  # called with init_from=..., such as partial(learner, network, lr=0.01)
MakeStrategy = Callable[..., Strategy]  # called as (task, make_learner) or (task, make_learner, labels=...)


@plain_settings
def complementary(
    task: Task,
    learner: MakeFrom,
    *,
    pretrain: Callable[[], Strategy],
    steps: Mapping[str, int],
    student: MakeFrom | None = None,
    restart: Literal["pretrained", "scratch"] = "pretrained",
    finetune: MakeStrategy = Supervised,
    retrain: MakeStrategy = NoisyStudent,
    refine: Refine | None = None,
    which: Which = "last",
    plan: BatchPlan | None = None,
    options: Mapping[str, Any] | None = None,
) -> list[Part]:
    """Pretrain, fine-tune, label, and train once more on labels and pseudo-labels.

    Source: Xu et al., "Self-training and pre-training are complementary for speech recognition", 2020,
    arXiv:2010.11430: one round, every pseudo-label is used, the last stage starts from the same pretrained weights or
    from scratch.

    Args:
        task: Kind of output.
        learner: Called as ``learner(init_from=...)``: ``partial(selftrain.learner, network, lr=0.01)``.
        pretrain: Builds the label-free stage, such as ``lambda: MAE(encoder())``.
        steps: Of the stages ``"pretrain"``, ``"finetune"`` and ``"retrain"``.
        student: Another (larger) student for the last stage; ``None``: ``learner``.
        restart: Where the last stage starts: ``"pretrained"`` or ``"scratch"``. A student whose encoder is another
            needs ``"scratch"``.
        finetune: Called as ``finetune(task, make_learner)``.
        retrain: Called as ``retrain(task, make_learner, labels=table)``.
        refine: Of the labels, see ``Labeling``.
        which: Weights that the stages with labels hand on.
        plan: Of all training stages, see ``Stage``.
        options: Of all training stages, see ``Stage``.

    Raises:
        ValueError: for an unknown ``restart``, or steps that name other stages.
    """
    stages = _Stages(task, _lengths(steps, "pretrain", "finetune", "retrain"), which, plan, options or {})
    # From the pretrained weights and not from the fine-tuned ones, as in the paper.
    start = _start(restart, pretrain)
    return [
        stages.without_labels(pretrain),
        stages.train("finetune", learner, finetune, "pretrain"),
        Labeling("label", by="finetune", refine=refine),
        stages.train("retrain", student or learner, retrain, start, "label"),
    ]


@plain_settings
def pseudo_first(
    task: Task,
    learner: MakeFrom,
    *,
    steps: Mapping[str, int],
    pretrain: Callable[[], Strategy] | None = None,
    student: MakeFrom | None = None,
    restart: Literal["pretrained", "scratch"] = "pretrained",
    finetune: MakeStrategy = Supervised,
    pseudo: MakeStrategy | None = None,
    last: MakeStrategy = Supervised,
    refine: Refine | None = None,
    which: Which = "last",
    plan: BatchPlan | None = None,
    options: Mapping[str, Any] | None = None,
) -> list[Part]:
    """Learn pseudo-labels alone first, the clean labels last.

    Source: Guo, "Predictions for pre-training language models", 2020, arXiv:2011.09031: fine-tune, label with
    decisions, train on those alone from the pretrained weights, fine-tune on the labels.

    Args:
        task: Kind of output.
        learner: See ``complementary``.
        steps: Of the stages ``"finetune"``, ``"pseudo"``, ``"last"`` and, with one, ``"pretrain"``.
        pretrain: Builds a label-free first stage; ``None``: networks start from scratch.
        student: Another (larger) student for the last two stages; ``None``: ``learner``.
        restart: Where the stage on pseudo-labels starts if there was pretraining.
        finetune: Called as ``finetune(task, make_learner)``.
        pseudo: Called as ``pseudo(task, make_learner, labels=table)``; ``None``: ``NoisyStudent`` with hard labels and
            ``labeled_weight=0``.
        last: Called as ``last(task, make_learner)``.
        refine: See ``complementary``.
        which: See ``complementary``.
        plan: See ``complementary``.
        options: See ``complementary``.

    Raises:
        ValueError: for an unknown ``restart``, or steps that name other stages.
    """
    names = [*(["pretrain"] if pretrain else []), "finetune", "pseudo", "last"]
    stages = _Stages(task, _lengths(steps, *names), which, plan, options or {})
    start, make = _start(restart, pretrain), student or learner
    return [
        *([stages.without_labels(pretrain)] if pretrain else []),
        stages.train("finetune", learner, finetune, _start("pretrained", pretrain)),
        Labeling("label", by="finetune", refine=refine),
        stages.train("pseudo", make, pseudo or _pseudo_only, start, "label"),
        # The order is the method: pseudo-labels first, so that the clean labels have the last word.
        stages.train("last", make, last, "pseudo"),
    ]


@plain_settings
def noisy_student(
    task: Task,
    learner: MakeFrom,
    *,
    steps: Mapping[str, int],
    generations: int = 3,
    students: Sequence[MakeFrom] | None = None,
    teacher: MakeStrategy = Supervised,
    student: MakeStrategy = NoisyStudent,
    threshold: float = 0.3,
    balance: bool = True,
    per_class: int | None = None,
    which: Which = "last",
    plan: BatchPlan | None = None,
    options: Mapping[str, Any] | None = None,
) -> list[Part]:
    """A teacher, then generations of noisy students; each student labels for the next.

    Source: Xie et al., "Noisy Student", 2020, arXiv:1911.04252: labels above 0.3, classes balanced, soft, three times.

    Args:
        task: Kind of output.
        learner: See ``complementary``; builds the teacher.
        steps: Of the stages ``"teacher"`` and ``"student"`` (each generation).
        generations: Students, one after another, at least 1.
        students: The learner of each generation, as large as the teacher's or larger; ``None``: ``learner``.
        teacher: Called as ``teacher(task, make_learner)``.
        student: Called as ``student(task, make_learner, labels=table)``.
        threshold: Confidence that a label needs.
        balance: Whether predicted classes are balanced; keypoints need False.
        per_class: See ``PseudoLabelTable.balanced``.
        which: See ``complementary``.
        plan: See ``complementary``.
        options: See ``complementary``.

    Raises:
        ValueError: for fewer than 1 generation, another number of learners, or steps that name other stages.
    """
    if generations < 1:
        raise ValueError(f"generations is {generations}; there must be at least 1")
    if students is not None and len(students) != generations:
        raise ValueError(f"{len(students)} learners for {generations} generations; give one for each")

    def refine(table: PseudoLabelTable) -> PseudoLabelTable:
        kept = table.above(threshold)
        # Normalized last: a mean weight of 1 keeps the scale of the loss, however many labels were dropped or repeated.
        return (kept.balanced(per_class) if balance else kept).normalized()

    stages, by = _Stages(task, _lengths(steps, "teacher", "student"), which, plan, options or {}), "teacher"
    parts: list[Part] = [stages.train(by, learner, teacher)]
    for i, make in enumerate(students or [learner] * generations, 1):
        parts.append(Labeling(f"label-{i}", by=by, refine=refine))
        by = f"student-{i}"  # who labels for the next generation
        parts.append(stages.train(by, make, student, None, f"label-{i}", length="student"))
    return parts


@plain_settings
def curriculum_labeling(
    task: Task,
    learner: MakeFrom,
    *,
    steps: Mapping[str, int],
    rounds: int = 5,
    first: MakeStrategy = Supervised,
    round: MakeStrategy = CurriculumLabeling,
    which: Which = "best",
    plan: BatchPlan | None = None,
    options: Mapping[str, Any] | None = None,
) -> list[Part]:
    """Rounds from scratch on ever more of the most confident labels; the round that is best on validation is shipped.

    Source: Cascante-Bonilla et al., "Curriculum Labeling", 2021, arXiv:2001.06001: five rounds, a fifth more labels in
    each, every network built anew. Differs: round 0 has no mixup (give another ``first`` for that).

    Args:
        task: Kind of output.
        learner: See ``complementary``; builds the network of every round.
        steps: Of the stages ``"first"`` and ``"round"`` (each).
        rounds: Rounds with pseudo-labels, at least 1; round r keeps the top ``100 r / rounds`` percent.
        first: Called as ``first(task, make_learner)``.
        round: Called as ``round(task, make_learner, labels=table)``.
        which: ``"best"``: the best weights of a round label the next, and the best round is shipped, as in the paper;
            ``"last"``: the last weights and the last round, for piles without validation data.
        plan: See ``complementary``.
        options: See ``complementary``.

    Raises:
        ValueError: for fewer than 1 round, or steps that name other stages.
    """
    if rounds < 1:
        raise ValueError(f"rounds is {rounds}; there must be at least 1")
    stages = _Stages(task, _lengths(steps, "first", "round"), which, plan, options or {})
    parts: list[Part] = [stages.train("round-0", learner, first, length="first")]
    for r in range(1, rounds + 1):
        parts.append(
            Labeling(
                f"label-{r}",
                by=f"round-{r - 1}",
                # partial keeps this round's percent; a lambda would read the last one's when it is called.
                refine=partial(PseudoLabelTable.top_percent, percent=100 * r / rounds),
            )
        )
        # from scratch: what the round before got wrong must not stay in the weights
        parts.append(stages.train(f"round-{r}", learner, round, None, f"label-{r}", length="round"))
    return parts + ([Best("final", [f"round-{r}" for r in range(rounds + 1)])] if which == "best" else [])


@plain_settings
def st_plus_plus(
    task: Task,
    learner: MakeFrom,
    *,
    steps: Mapping[str, int],
    snapshots: int = 3,
    share: float = 0.5,
    supervised: MakeStrategy | None = None,
    retrain: MakeStrategy | None = None,
    which: Which = "last",
    plan: BatchPlan | None = None,
    options: Mapping[str, Any] | None = None,
) -> list[Part]:
    """Learn first from the pictures on which the network had settled, then from all: easy to hard.

    Source: Yang et al., "ST++: Make Self-training Work Better for Semi-supervised Semantic Segmentation", CVPR 2022,
    arXiv:2106.05095, algorithm 2: labels alone with three snapshots; the more stable half of the pile is labeled, and a
    new network learns it; that one labels the other half, and a last new network learns everything. Differs: strong
    views are those of the pile, and the labeled share of a batch is the plan's (about half of it in the released code).
    The pipeline needs a folder, for the snapshots.

    Args:
        task: Kind of output. Of classes and joints the stability is coarser than of masks, see
            ``selftrain.labels.stability.stability``.
        learner: See ``complementary``; builds the network of every stage.
        steps: Of the stages ``"supervised"``, ``"reliable"`` and ``"all"``.
        snapshots: Moments of the first stage, evenly spaced up to its end, at least 2.
        share: Of the pile that counts as reliable, in (0, 1].
        supervised: Called as ``supervised(task, make_learner)``; ``None``: ``Supervised`` that ships its last weights.
        retrain: Called as ``retrain(task, make_learner, labels=table)``; ``None``: ``CurriculumLabeling`` without
            mixup, with labeled samples in their weak view: decisions join the labels, and other samples are not shown.
        which: See ``complementary``.
        plan: See ``complementary``.
        options: See ``complementary``.

    Raises:
        ValueError: for fewer than 2 snapshots or steps for them, a ``share`` out of its range, or steps that name other
            stages.
    """
    lengths = _lengths(steps, "supervised", "reliable", "all")
    if not 2 <= snapshots <= lengths["supervised"]:
        raise ValueError(f"snapshots is {snapshots}; it must be at least 2, and at most {lengths['supervised']} steps")
    stages = _Stages(task, lengths, which, plan, options or {})
    watchers = [*stages.options.get("handlers", ()), Snapshots(snapshots, spacing="even")]
    first = replace(stages, options={**stages.options, "handlers": watchers})
    return [
        first.train("supervised", learner, supervised or _last_weights),
        ReliableLabeling("label-reliable", by="supervised", share=share),
        stages.train("reliable", learner, retrain or _joined, None, "label-reliable"),
        # as in the released code: what was reliable keeps the labels that it was learned with
        Labeling("label-all", by="reliable", completes="label-reliable"),
        stages.train("all", learner, retrain or _joined, None, "label-all"),
    ]


@dataclass(frozen=True)
class _Stages:
    """Builds the stages of a pipeline from what all of them share: task, lengths, and the arguments of ``Stage``."""

    task: Task
    steps: Mapping[str, int]
    which: Which
    plan: BatchPlan | None
    options: Mapping[str, Any]

    def without_labels(self, pretrain: Callable[[], Strategy]) -> Stage:
        """The stage that pretrains."""
        return Stage("pretrain", lambda past: pretrain(), self.steps["pretrain"], plan=self.plan, options=self.options)

    def train(
        self,
        name: str,
        make: MakeFrom,
        strategy: MakeStrategy,
        start: str | None = None,
        labels: str | None = None,
        *,
        length: str | None = None,
    ) -> Stage:
        """A stage whose learner starts from another stage and which reads a table, if they are named."""

        def build(past: Past) -> Strategy:
            ready = make(init_from=None if start is None else past[start])
            more = {} if labels is None else {"labels": past.labels[labels]}
            return strategy(self.task, ready, **more)

        steps = self.steps[length or name]
        return Stage(name, build, steps, plan=self.plan, which=self.which, options=self.options)


def _pseudo_only(task: Task, make_learner: MakeLearner, *, labels: PseudoLabelTable) -> Strategy:
    return NoisyStudent(task, make_learner, labels=labels, hard=True, labeled_weight=0.0)


def _last_weights(task: Task, make_learner: MakeLearner) -> Strategy:
    return Supervised(task, make_learner, decay=None)


def _joined(task: Task, make_learner: MakeLearner, *, labels: PseudoLabelTable) -> Strategy:
    return CurriculumLabeling(task, make_learner, labels=labels, alpha=0.0, labeled_view="weak", decay=None)


def _start(restart: str, pretrain: object) -> str | None:
    if restart not in ("pretrained", "scratch"):
        raise ValueError(f"restart is {restart!r}; choose 'pretrained' or 'scratch'")
    return "pretrain" if pretrain is not None and restart == "pretrained" else None


def _lengths(steps: Mapping[str, int], *names: str) -> Mapping[str, int]:
    if set(steps) != set(names):
        raise ValueError(f"steps are given for {sorted(steps)}; the stages are {sorted(names)}")
    return steps
