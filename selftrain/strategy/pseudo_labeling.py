"""Pseudo-labels: how a prediction becomes a target with a weight for each unit, and how much that counts."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn

from selftrain.mix import Mix
from selftrain.schedule import Schedule, ramp_linear
from selftrain.select import Selector, everything, score
from selftrain.select.alignment import Align
from selftrain.tasks import Task, decided
from selftrain.types import Clock, Labeled, PseudoLabels, Report, Target

Distance = Literal["mse", "ce"]


@dataclass(frozen=True)
class PseudoLabel:
    """What a student learns of unlabeled samples, and what the ledger is told of it.

    Args:
        target: In the geometry of the view it was made on.
        labels: For the ledger.
    """

    target: Target
    labels: PseudoLabels

    def scaled(self, factor: Tensor) -> PseudoLabel:
        """The same with unit weights multiplied by ``factor`` (B, *U)."""
        # In both: the ledger counts a unit as accepted by the weight it is learned with.
        weight = self.target.weight * factor
        return PseudoLabel(self.target.weighted(weight), replace(self.labels, weight=weight))

    def report(self, *, supervised: Tensor, unsupervised: Tensor, **more: Tensor) -> Report:
        """What a step says of itself: these labels, the share of units used, and its losses by name.

        Args:
            supervised: Loss on the labels.
            unsupervised: Loss on the pseudo-labels, before its factor.
            more: Further losses.
        """
        scalars = {
            "loss/supervised": supervised.detach(),
            "loss/unsupervised": unsupervised.detach(),
            "used": self.labels.weight.gt(0).float().mean(),
        }
        return Report(scalars | {f"loss/{name}": term.detach() for name, term in more.items()}, self.labels)


class PseudoLabeling(nn.Module):
    """Turn predictions into pseudo-labels. The settings are those of nearly every strategy, under the same names.

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

    @property
    def reads_labeled(self) -> bool:
        """Whether pseudo-labels depend on predictions for the labeled batch."""
        return self.select.reads_labeled or (self.align is not None and self.align.reads_labeled)

    @torch.no_grad()
    def make(
        self,
        value: Tensor,
        index: Tensor,
        labeled: Tensor | None = None,
        agreement: Tensor | None = None,
        *,
        unmoved: bool = False,
    ) -> PseudoLabel:
        """Align, select, then harden or sharpen a prediction.

        Args:
            value: Prediction, shape (B, C, *S), in [0, 1].
            index: Rows of the unlabeled set, shape (B,).
            labeled: Prediction of the labeled batch, if ``reads_labeled``.
            agreement: Share of members that agree, shape (B, *U), for the ledger; ``None``: one member.
            unmoved: Whether it is of the image as it is, and not of the first view.
        Gradient: none.
        """
        # Class shares come first, for a decision that the alignment turns must be judged as what it has become.
        aligned = value if self.align is None else self.align(value, labeled)
        # Confidence is that of the prediction, never of the target: sharpening and hardening would make all sure.
        weight = self.select(score(self._task, aligned, index, labeled, entropy=self.select.reads_entropy))
        learned = aligned if self.align_targets else value
        return PseudoLabel(
            self.target(learned, weight),
            # the ledger keeps the soft value: a person may lower bars
            PseudoLabels(index, learned, weight, agreement, unmoved),
        )

    def target(self, value: Tensor, weight: Tensor, valid: Tensor | None = None) -> Target:
        """Decisions, or soft values sharpened by the temperature."""
        if self.hard:
            return decided(self._task, value, weight, valid)
        # At 1 as it is: logarithm and softmax would change its last bits.
        return Target(value if self.temperature == 1.0 else self._task.sharpen(value, self.temperature), weight, valid)

    def mixed(
        self, x: Tensor, target: Target, labeled: Labeled | None = None, said: PseudoLabel | None = None
    ) -> tuple[Tensor, Target]:
        """Inputs and targets after the mix, if there is one; the target must be in the geometry of ``x``.

        Args:
            x: Inputs, shape (B, ...).
            target: Their targets.
            labeled: The labeled samples of the step, for a mix that reads them; ``None``: they are in ``x``.
            said: The pseudo-labels that the target was made of, for a mix that asks how sure they are.
        """
        if self.mix is None:
            return x, target
        # Inputs and targets are cut at the same places: a label that was not carried into the view would not fit.
        return self.mix.in_step(x, target, self._task, labeled, None if said is None else said.labels.value)

    def mixed_alike(
        self, x: Tensor, targets: Sequence[Target], labeled: Labeled | None = None, said: PseudoLabel | None = None
    ) -> list[tuple[Tensor, Target]]:
        """As ``mixed`` for several targets of the same inputs, all of which get one mixture; see ``Mix.alike``."""
        if self.mix is None:
            return [(x, target) for target in targets]
        return self.mix.alike(x, targets, self._task, labeled, None if said is None else said.labels.value)

    def loss(self, logits: Tensor, target: Target) -> Tensor:
        """The distance that was chosen, divided by all valid units; gradients flow to ``logits``."""
        return self._task.consistency(logits, target) if self.distance == "mse" else self._task.loss(logits, target)

    def weight(self, clock: Clock) -> float:
        """Factor of the unsupervised loss at this moment."""
        return self.unlabeled_weight * self.rampup(clock.progress)

    @contextlib.contextmanager
    def still(self) -> Iterator[None]:
        """Make labels without moving thresholds and priors: for virtual steps."""
        # Rule and alignment are like BatchNorm, in evaluation mode they only judge: FST asks several times a step, and
        # thresholds that move each time would have another decay than the one that was set.
        before = self.training
        self.eval()
        try:
            yield
        finally:
            self.train(before)
