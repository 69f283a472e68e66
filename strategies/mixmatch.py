"""MixMatch.

Berthelot et al., "MixMatch: A Holistic Approach to Semi-Supervised Learning", NeurIPS 2019, arXiv:1905.02249.

Algorithm: 1. the student predicts K weak views of each unlabeled sample; their mean, sharpened, is the label of all K;
2. labeled and unlabeled samples are shuffled together and mixed, each pair by a share of its own, the larger one for
the sample itself; 3. cross-entropy on the mixed labeled rows + a growing weight x the squared difference on the mixed
unlabeled rows.

Left out: weight decay on the averaged weights. Differs: all rows go through one pass (the paper interleaves batches so
that BatchNorm sees the same mixture).
"""

from __future__ import annotations

from typing import Any

import torch

from selftrain.evaluation.agreement import siding
from selftrain.mix import Mix, Mixup, cat, pick
from selftrain.networks.student import LabelMode, MakeLearner
from selftrain.schedule import Schedule, ramp_linear
from selftrain.strategy.losses import Guess, Outcome, unmoved
from selftrain.strategy.pseudo_labeling import Distance
from selftrain.strategy.single import SelfGuided
from selftrain.tasks import Task
from selftrain.types import Batch, Clock, Labeled, View


class MixMatch(SelfGuided):
    """Learn mixtures of labeled samples and of sharpened mean predictions.

    Source: the paper's algorithm 1 and eq. 2 to 5. Defaults: K 2, temperature 0.5, alpha 0.75, weight 75 (CIFAR-10)
    after a linear rise over the first 1/64 of the stage, decay 0.999.

    Args:
        task: Kind of output.
        make_learner: Builds the student.
        looks: Weak views K >= 1 of each unlabeled sample.
        unlabeled_weight: Final weight of the unsupervised loss, >= 0.
        rampup: Growth of that weight; ``None``: ``ramp_linear(1 / 64)``.
        temperature: Sharpening of the mean prediction, > 0.
        mix: How all rows are mixed with one another; ``None``: ``Mixup(0.75, biased=True, per_sample=True)``.
        distance: ``"mse"`` between values, or ``"ce"``.
        hard: Whether the decision or the sharpened mean is the label.
        label_mode: How the labeling passes treat BatchNorm and dropout, see ``Learner.label``. With ``"frozen"``, the
            paper's, they have statistics of their own batch: the running ones are those of mixed samples.
        settings: See ``SelfGuided`` and ``Lesson``: decay, buffers, select, align, align_targets, together.

    Raises:
        ValueError: for ``looks`` below 1.
    """

    def __init__(
        self,
        task: Task,
        make_learner: MakeLearner,
        *,
        looks: int = 2,
        unlabeled_weight: float = 75.0,
        rampup: Schedule | None = None,
        temperature: float = 0.5,
        mix: Mix | None = None,
        distance: Distance = "mse",
        hard: bool = False,
        label_mode: LabelMode = "frozen",
        **settings: Any,
    ) -> None:
        if looks < 1:
            raise ValueError(f"looks is {looks}; it must be at least 1")
        own: dict[str, Any] = {"distance": distance, "hard": hard, "temperature": temperature}
        own |= {"unlabeled_weight": unlabeled_weight, "rampup": rampup or ramp_linear(1 / 64)}
        mixing = mix or Mixup(0.75, biased=True, per_sample=True)
        super().__init__(task, make_learner, label_mode=label_mode, mix=mixing, **own, **settings)
        self.views = ("weak", *(f"weak{i}" for i in range(2, looks + 1)))

    def objective(self, batch: Batch, clock: Clock) -> Outcome:
        """Guess, mix everything with everything, compare."""
        looks = [batch.unlabeled[name] for name in self.views]
        guess = self.mean_guess(batch, looks)
        x = torch.cat([batch.labeled.x, *(look.x for look in looks)])
        labels = [self.task.warp(guess.target, look) for look in looks]
        assert self.lesson.mix is not None  # the constructor sets one
        mixed, target = self.lesson.mix(x, cat(batch.labeled.target, *labels), self.task)
        first = len(batch.labeled.x)
        logits, learned = self.lesson.answers(self.student, mixed[:first], mixed[first:])
        given, rest = pick(target, slice(None, first)), pick(target, slice(first, None))
        return self.lesson.grade(
            logits, learned, Labeled(mixed[:first], given, batch.labeled.index), rest, guess, clock
        )

    def mean_guess(self, batch: Batch, looks: list[View]) -> Guess:
        """The sharpened mean of the predictions of all looks, brought back to the unmoved image.

        A unit is the mean of the looks that show it, and weighs 0 if none does. The ledger hears how many of them side
        with that mean.
        """
        plain = [unmoved(self.task, self.look(view.x), view) for view in looks]
        given = self.look(batch.labeled.x) if self.lesson.reads_labeled else None
        shown = torch.stack([said.mask() for said in plain])
        spread = torch.stack([self.task.spread(mask) for mask in shown])
        values = torch.stack([said.value for said in plain])
        mean = (values * spread).sum(0) / spread.sum(0).clamp(min=1)
        sides = siding(self.task, values, shown) if len(looks) > 1 else None
        guess = self.lesson.judge(mean, batch.unlabeled.index, given, sides)
        return guess.scaled(shown.amax(0))
