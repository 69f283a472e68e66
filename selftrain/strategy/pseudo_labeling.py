"""How pseudo-labels are made and learned: the settings that every method with an unsupervised loss shares."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Literal

import torch
from torch import Tensor, nn

from selftrain.mix import Mix
from selftrain.networks.student import Learner
from selftrain.schedule import Schedule, ramp_linear
from selftrain.select import Selector, everything
from selftrain.select.alignment import Align
from selftrain.strategy.losses import Guess, Outcome, carry, pseudo_label
from selftrain.tasks import Task
from selftrain.types import Batch, Clock, Labeled, Target, View

Distance = Literal["mse", "ce"]
Predict = Callable[[Tensor], Tensor]
Trust = Callable[[Tensor, Labeled], Tensor]


class Lesson(nn.Module):
    """Turn predictions into pseudo-labels, and pseudo-labels into a loss.

    Args:
        task: Kind of output.
        unlabeled_weight: Factor of the unsupervised loss, >= 0.
        rampup: Growth of that factor over the stage; ``None``: at full height from the start.
        distance: ``"ce"``: the task's own loss; ``"mse"``: squared difference of values.
        select: Rule from confidence to the weight of a unit; ``None``: everything.
        hard: Whether decisions or soft predictions are the targets.
        temperature: Sharpening of soft targets, > 0; 1 leaves them. Without effect on hard ones.
        align: Distribution alignment of the predictions, before anything else; ``None``: none.
        align_targets: Whether targets, and what the ledger hears, are aligned too; ``False``: the selection rule alone
            sees the aligned prediction.
        mix: Mixing of the learned view's samples with one another; ``None``: none.
        together: One concatenated pass for labeled and unlabeled samples (one set of BatchNorm statistics), or two.

    Raises:
        ValueError: for a negative weight, a temperature that is not positive or an unknown distance.
    """

    def __init__(
        self,
        task: Task,
        *,
        unlabeled_weight: float = 1.0,
        rampup: Schedule | None = None,
        distance: Distance = "ce",
        select: Selector | None = None,
        hard: bool = True,
        temperature: float = 1.0,
        align: Align | None = None,
        align_targets: bool = True,
        mix: Mix | None = None,
        together: bool = True,
    ) -> None:
        super().__init__()
        if not unlabeled_weight >= 0:
            raise ValueError(f"unlabeled_weight is {unlabeled_weight}; it must be 0 or more")
        if not temperature > 0:
            raise ValueError(f"temperature is {temperature}; it must be above 0 (use hard=True for the limit of 0)")
        if distance not in ("mse", "ce"):
            raise ValueError(f"distance is {distance!r}; choose 'mse' or 'ce'")
        self._task = task
        self.unlabeled_weight, self.rampup, self.distance = unlabeled_weight, rampup or ramp_linear(0), distance
        self.select, self.align, self.align_targets, self.mix = select or everything(), align, align_targets, mix
        self.hard, self.temperature, self.together = hard, temperature, together

    def weight(self, clock: Clock) -> float:
        """Factor of the unsupervised loss at this moment."""
        return self.unlabeled_weight * self.rampup(clock.progress)

    @contextlib.contextmanager
    def still(self) -> Iterator[None]:
        """Judge without moving thresholds and priors: for virtual steps."""
        before = self.training
        self.eval()
        try:
            yield
        finally:
            self.train(before)

    @torch.no_grad()
    def guess(self, predict: Predict, batch: Batch, *, view: str = "weak") -> Guess:
        """The pseudo-label of one view.

        Args:
            predict: Inputs (B, ...) -> values (B, C, *S), without gradient.
            batch: With that view; its labeled samples are predicted too if the rule or the alignment asks for them.
            view: Name of the view.
        """
        value = predict(batch.unlabeled[view].x)
        given = predict(batch.labeled.x) if self.reads_labeled else None
        return self.judge(value, batch.unlabeled.index, given)

    @property
    def reads_labeled(self) -> bool:
        """Whether pseudo-labels depend on predictions for the labeled batch."""
        return self.select.reads_labeled or (self.align is not None and self.align.reads_labeled)

    @torch.no_grad()
    def judge(
        self, value: Tensor, index: Tensor, given: Tensor | None = None, agreement: Tensor | None = None
    ) -> Guess:
        """Align, select, then harden or sharpen a prediction (as it was before the alignment, if that is chosen).

        Args:
            value: Prediction, shape (B, C, *S), in [0, 1].
            index: Rows of the unlabeled set, shape (B,).
            given: Prediction of the labeled batch, if ``reads_labeled``.
            agreement: Share of members that agree, shape (B, *U), for the ledger; ``None``: one member.
        """
        aligned = value if self.align is None else self.align(value, given)
        return pseudo_label(
            self._task,
            aligned if self.align_targets else value,
            index,
            self.select,
            hard=self.hard,
            temperature=self.temperature,
            given=given,
            agreement=agreement,
            judged=aligned,
        )

    def loss(
        self,
        student: Learner,
        batch: Batch,
        guess: Guess,
        clock: Clock,
        *,
        source: str | None = "weak",
        view: str = "strong",
        trust: Trust | None = None,
    ) -> Outcome:
        """Supervised loss on the labels plus the weighted distance of the student's view to the pseudo-label.

        Args:
            student: Learner that gets the gradient.
            batch: Labeled samples and the two views.
            guess: Pseudo-label made on the view ``source``.
            clock: Says how far the ramp-up is.
            source: View whose geometry the pseudo-label has; ``None``: that of the unmoved image.
            view: View that is learned.
            trust: Weights of the labeled units (B, *U) from the student's values on them; ``None``: 1.
        Gradient: to the student, through the labeled and the learned pass.
        """
        x, target = self.exercise(batch, guess.target, source, view)
        logits, learned = self.answers(student, batch.labeled.x, x)
        return self.grade(logits, learned, batch.labeled, target, guess, clock, trust)

    def exercise(self, batch: Batch, target: Target, source: str | None, view: str) -> tuple[Tensor, Target]:
        """Inputs of the learned view and the pseudo-label in its geometry, mixed if there is a mix."""
        shown = batch.unlabeled[view]
        origin = View(shown.x) if source is None else batch.unlabeled[source]
        return self.mixed(shown.x, carry(self._task, target, origin, shown))

    def mixed(self, x: Tensor, target: Target) -> tuple[Tensor, Target]:
        """Inputs and targets after the mix, if there is one."""
        if self.mix is None:
            return x, target
        mixed: tuple[Tensor, Target] = self.mix(x, target, self._task)
        return mixed

    def answers(self, student: Learner, given: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """The student's logits of labeled and learned inputs, in one pass or two."""
        if not self.together:
            return student(given), student(x)
        logits, learned = student.together(given, x)
        return logits, learned

    def compare(self, logits: Tensor, target: Target) -> Tensor:
        """The distance that was chosen; gradients flow to ``logits``."""
        return self._task.consistency(logits, target) if self.distance == "mse" else self._task.loss(logits, target)

    def grade(
        self,
        logits: Tensor,
        learned: Tensor,
        given: Labeled,
        target: Target,
        guess: Guess,
        clock: Clock,
        trust: Trust | None = None,
    ) -> Outcome:
        """Both losses of the student's answers, and their sum."""
        labels = given.target
        if trust is not None:
            labels = labels.scaled(trust(self._task.probs(logits).detach(), given))
        supervised = self._task.loss(logits, labels)
        unsupervised = self.compare(learned, target)
        loss = supervised + self.weight(clock) * unsupervised
        return Outcome(loss, supervised, unsupervised, guess, learned)
