"""Ensemble: N networks label for one another.

After the joint pseudo-label in Stojnic et al., "Training Ensembles with Inliers and Outliers for Semi-supervised Active
Learning", WACV 2024, arXiv:2307.03741.

Algorithm: 1. every member predicts the weak view; 2. members that side with the consensus are inliers; the consensus is
the mean of probabilities; 3. units with at least a ``quorum`` of inliers are used; 4. every member learns labels and
the strong view under that one target.

Left out: the outlier class, the entropy weight and acquisition (active learning). Differs: members are trained together
step by step, not in rounds.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from selftrain.learner import LabelMode, Learner, check_label_mode
from selftrain.objectives import Guess, guided_loss
from selftrain.schedule import Schedule, ramp_linear
from selftrain.select import Select, everything
from selftrain.solo import check_unlabeled
from selftrain.strategy import MakeLearner, Predictor, SupervisedStrategy
from selftrain.tasks import Task
from selftrain.types import Batch, Clock, PseudoLabels, Report, Target


class Ensemble(SupervisedStrategy):
    """Let the agreement of several networks decide which pseudo-labels count.

    Args:
        task: Kind of output; it says what agreement means.
        make_learner: Builds one member; pass a *function* to ``learner`` so that members start differently.
        members: Number of networks N >= 2.
        quorum: Share of members that must side with the consensus, in (0, 1].
        graded: Weight used units by the share of agreeing members instead of 1.
        inliers_only: Average the inliers' predictions instead of all members'.
        unlabeled_weight: Factor of the unsupervised loss, >= 0.
        rampup: Growth of that factor; ``None``: at full height from the start.
        select: Rule on the consensus' confidence, on top of the quorum; ``None``: everything.
        hard: Whether decisions or soft predictions are the targets.
        label_mode: How the weak passes treat BatchNorm and dropout, see ``Learner.label``.

    Raises:
        ValueError: for fewer than two members or a quorum outside (0, 1].
    """

    def __init__(
        self,
        task: Task,
        make_learner: MakeLearner,
        *,
        members: int = 3,
        quorum: float = 0.6,
        graded: bool = False,
        inliers_only: bool = False,
        unlabeled_weight: float = 1.0,
        rampup: Schedule | None = None,
        select: Select | None = None,
        hard: bool = False,
        label_mode: LabelMode = "eval",
    ) -> None:
        super().__init__(task)
        if members < 2:
            raise ValueError(f"members is {members}; an ensemble needs at least 2")
        if not 0 < quorum <= 1:
            raise ValueError(f"quorum is {quorum}; it must be in (0, 1]")
        check_unlabeled(unlabeled_weight, 1.0)
        check_label_mode(label_mode)
        self.members = nn.ModuleList(make_learner() for _ in range(members))
        self.quorum, self.graded, self.inliers_only = quorum, graded, inliers_only
        self.unlabeled_weight, self.rampup = unlabeled_weight, rampup or ramp_linear(0)
        self.select, self.hard, self.label_mode = select or everything(), hard, label_mode

    def step(self, batch: Batch, clock: Clock, *extra: Batch) -> Report:
        """One joint pseudo-label, one gradient step a member."""
        guess, inliers = self._consensus(batch)
        weight = self.unlabeled_weight * self.rampup(clock.progress)
        outcomes = []
        for member in self._learners():
            outcome = guided_loss(self.task, member, batch, guess, weight=weight, distance=self.task.loss)
            member.update(outcome.loss)
            outcomes.append(outcome)
        supervised = torch.stack([o.supervised.detach() for o in outcomes]).mean()
        unsupervised = torch.stack([o.unsupervised.detach() for o in outcomes]).mean()
        used = (guess.labels.weight > 0).float().mean()
        scalars = {"loss/supervised": supervised, "loss/unsupervised": unsupervised, "used": used, "agreement": inliers}
        return Report(scalars, guess.labels)

    def predictors(self) -> dict[str, Predictor]:
        """The mean of the members, and each member."""
        members = {f"member{i}": self._alone(member) for i, member in enumerate(self._learners())}
        return {"ensemble": lambda x: torch.stack([predict(x) for predict in members.values()]).mean(0)} | members

    def export(self) -> dict[str, Tensor]:
        """Weights of the first member (networks that started apart cannot be averaged)."""
        return {name: t.detach().clone() for name, t in self._learners()[0].model.state_dict().items()}

    @torch.no_grad()
    def _consensus(self, batch: Batch) -> tuple[Guess, Tensor]:
        """The joint pseudo-label of the weak view, and the mean share of inliers."""
        weak = batch.pile["weak"].x
        values = torch.stack([self.task.probs(m.label(weak, self.label_mode)) for m in self._learners()])
        inlier = self.task.agree(values).to(values)  # (N, B, *U)
        share = inlier.mean(0)
        heard = inlier if self.inliers_only else torch.ones_like(inlier)
        spread = torch.stack([self.task.spread(h) for h in heard])
        value = (values * spread).sum(0) / spread.sum(0).clamp(min=1)
        weight = self.select(self.task.confidence(value), self.task.label(value)) * (share >= self.quorum)
        if self.graded:
            weight = weight * share
        made = self.task.harden(value) if self.hard else value
        return Guess(Target(made, weight), PseudoLabels(batch.pile.index, value, weight)), share.mean()

    def _alone(self, member: Learner) -> Predictor:
        return lambda x: self.task.probs(member.label(x))

    def _learners(self) -> list[Learner]:
        return [m for m in self.members if isinstance(m, Learner)]
