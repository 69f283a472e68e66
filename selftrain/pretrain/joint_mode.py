"""Joint mode: labels, pseudo-labels and hidden parts are learned in one stage, by one encoder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor, nn

from selftrain.networks.student import Learner
from selftrain.pretrain.base import Pretraining
from selftrain.strategy.base import Predictor, SupervisedStrategy
from selftrain.types import Batch, Clock, Needs, Report


class Joint(SupervisedStrategy):
    """Add the loss of a label-free stage to every step of a strategy; both share the encoder.

    The encoder takes one step along the sum of the gradients, with the strategy's optimizer; predictor, projector and
    the like are stepped by the stage's own. Target encoders follow after the step. The way of M3I (Su et al. 2023,
    arXiv:2211.09807): supervised, self-supervised and pseudo-labeled pretraining in a single stage.

    Args:
        strategy: A method with one student whose network has an ``encoder``, such as a ``Classifier``.
        stage: Builds the label-free stage of that encoder: ``MAE``, or ``partial(IJEPA, noise=0.25)``.
        weight: Factor of the stage's loss, >= 0.

    Gradient: to the encoder from all losses, to the head from the strategy's, to the predictor from the stage's.

    Raises:
        ValueError: for a strategy without such a student, for fp16 (whose gradients are scaled; use bf16), or a
            negative weight.
    """

    def __init__(
        self, strategy: SupervisedStrategy, stage: Callable[[nn.Module], Pretraining], *, weight: float = 1.0
    ) -> None:
        super().__init__(strategy.task)
        student = getattr(strategy, "student", None)
        encoder = getattr(getattr(student, "model", None), "encoder", None)
        if not isinstance(student, Learner) or not isinstance(encoder, nn.Module):
            name = type(strategy).__name__
            raise ValueError(f"{name} has no single student with an encoder; give one whose network is a Classifier")
        if weight < 0:
            raise ValueError(f"weight is {weight}; it must be 0 or more")
        self.inner, self.weight = strategy, weight
        self.stage = stage(encoder)
        # the stage has copied the encoder; its own optimizer keeps the copy, which never gets a gradient
        self.stage.student.model.encoder = encoder  # shared from here on
        # both losses would be scaled by factors of their own, and their sum by neither
        if "fp16" in (student.precision, self.stage.student.precision):
            raise ValueError("joint mode cannot add up the scaled gradients of fp16; use precision='bf16' or 'fp32'")
        self.views = tuple(dict.fromkeys((*strategy.views, *self.stage.views)))
        self.labeled_view, self.extra_batches = strategy.labeled_view, strategy.extra_batches

    @property
    def student(self) -> Learner:
        """The strategy's student."""
        return cast(Learner, self.inner.student)

    def check_networks(self, x: Tensor) -> None:
        """Refuse networks that the strategy or the stage cannot use; the network of the stage takes other arguments."""
        self.inner.check_networks(x)
        self.stage.check_networks(x)

    def needs(self) -> Needs:
        """What both need."""
        own = self.inner.needs()
        return replace(own, views=self.views, share=(0, 1))

    def step(self, batch: Batch, clock: Clock, *extra: Batch) -> Report:
        """The strategy's step, with the gradient of the stage's loss on the encoder."""
        loss, scalars = self.stage.objective(batch, clock)
        self.student.gather(self.weight * loss)
        report = self.inner.step(batch, clock, *extra)
        # no gradient is left on the encoder once the strategy's optimizer has taken its step; while it gathers, the
        # stage waits too
        encoder: nn.Module = self.student.model.encoder  # type: ignore[assignment]
        if not any(isinstance(p.grad, torch.Tensor) for p in encoder.parameters()):
            self.stage.student.flush()
            scalars |= self.stage.after_step(clock)
        return Report({**scalars, **report.scalars}, report.pseudo_labels)

    def step_labeled(self, batch: Batch, clock: Clock) -> Report:
        """The strategy's step: without unlabeled samples there is nothing to hide."""
        return self.inner.step_labeled(batch, clock)

    def end_epoch(self, clock: Clock) -> Mapping[str, Tensor]:
        """The strategy's."""
        return self.inner.end_epoch(clock)

    def predictors(self) -> dict[str, Predictor]:
        """The strategy's."""
        return self.inner.predictors()

    def pictures(self, batch: Batch) -> Mapping[str, Tensor]:
        """Those of both."""
        return {**self.stage.pictures(batch), **self.inner.pictures(batch)}

    def export(self) -> dict[str, Tensor]:
        """Weights of what the strategy ships."""
        return self.inner.export()
