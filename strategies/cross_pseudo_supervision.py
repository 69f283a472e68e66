"""CPS: Chen et al., "Semi-Supervised Semantic Segmentation with Cross Pseudo Supervision", CVPR 2021, arXiv:2106.01226.

Algorithm: 1. two networks with different starts predict all samples; 2. each one's decisions are the labels of the
other, on labeled and unlabeled samples alike, without threshold; 3. both step on supervised + weighted cross loss.
With ``mix=CutMix()`` it is the paper's CutMix variant.

Left out: nothing. Differs: decisions come from a pass of their own without gradient; with a mix each network draws its
own mixtures; the shipped prediction is the mean of both networks (the paper tests the first alone: ``export``).
"""

from __future__ import annotations

from typing import Any, Literal

from torch import Tensor

from selftrain.networks.student import LabelMode, Learner, MakeLearner
from selftrain.select import everything
from selftrain.strategy.losses import Guess, Outcome, pseudo_label
from selftrain.strategy.pseudo_labeling import Lesson
from selftrain.strategy.several import PeerStrategy, joint_report
from selftrain.tasks import Task
from selftrain.types import Batch, Clock, Labeled, Report, Target


class CrossPseudoSupervision(PeerStrategy):
    """Let two networks label for each other.

    Source: the paper's eq. 1 to 4. Default weight 1.5 (Pascal VOC), hard labels, no threshold.

    Args:
        task: Kind of output.
        make_learner: Builds one network; pass a *function* to ``learner`` so that the two start differently.
        unlabeled_weight: Factor of the cross loss, >= 0.
        on_labeled: Cross-label the labeled samples too, as the paper does without CutMix; all of them count, unmixed
            and unaligned, whatever ``select`` keeps of the others.
        label_mode: How the labeling passes treat BatchNorm and dropout, see ``Learner.label``.
        decay: Decay of a moving average of each network, which then predicts in its place; ``None``: none.
        buffers: See ``Teacher``.
        lesson: Further settings of ``Lesson``: rampup, distance, select, hard, temperature, align, align_targets, mix,
            together.
    """

    views = ("weak",)

    def __init__(
        self,
        task: Task,
        make_learner: MakeLearner,
        *,
        unlabeled_weight: float = 1.5,
        on_labeled: bool = True,
        label_mode: LabelMode = "eval",
        decay: float | None = None,
        buffers: Literal["copy", "ema"] = "ema",
        **lesson: Any,
    ) -> None:
        super().__init__(task, make_learner, label_mode=label_mode, decay=decay, buffers=buffers)
        self.lesson = Lesson(task, unlabeled_weight=unlabeled_weight, **lesson)
        self.on_labeled = on_labeled

    def step(self, batch: Batch, clock: Clock, *extra: Batch) -> Report:
        """Both networks label, then each learns from the other."""
        values = self.look(batch.unlabeled["weak"].x)
        given = self.look(batch.labeled.x) if self.on_labeled or self.lesson.reads_labeled else [None, None]
        shares = self.task.agree(values).to(values).mean(0)
        outcomes = []
        for i, learner in enumerate(self.learners()):
            peer = 1 - i
            guess = self.lesson.judge(values[peer], batch.unlabeled.index, given[peer], shares)
            outcomes.append(self._crossed(learner, batch, guess, given[peer], clock))
            self.advance(i, outcomes[-1].loss)
        return joint_report(outcomes)

    def _crossed(self, learner: Learner, batch: Batch, guess: Guess, given: Tensor | None, clock: Clock) -> Outcome:
        """Supervised loss + the cross losses on unlabeled and, if wanted, on labeled samples."""
        x, target = self.lesson.exercise(batch, guess.target, "weak", "weak")
        logits, learned = self.lesson.answers(learner, batch.labeled.x, x)
        outcome = self.lesson.grade(logits, learned, batch.labeled, target, guess, clock)
        if not self.on_labeled or given is None:
            return outcome
        return outcome.plus(self.lesson.weight(clock) * self._crossed_labeled(logits, batch.labeled, given))

    def _crossed_labeled(self, logits: Tensor, given: Labeled, value: Tensor) -> Tensor:
        """Distance of the labeled samples' logits to the other network's prediction of them."""
        lesson, valid = self.lesson, given.target
        guess = pseudo_label(
            self.task, value, given.index, everything(), hard=lesson.hard, temperature=lesson.temperature
        )
        return lesson.compare(logits, Target(guess.target.value, valid.mask(), valid.valid))
