"""What all label-free stages share: one view, an encoder to hand on, and figures about its features."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeGuard

import torch
from torch import Tensor, nn

from selftrain.metrics.features import feature_spread, feature_std, knn_accuracy, rankme, standardized
from selftrain.networks.encoders import Encoder
from selftrain.networks.fitting import as_input, asked_for, check_encoder_runs
from selftrain.networks.modes import eval_mode
from selftrain.networks.optim import copied_weights
from selftrain.networks.student import Learner, run_network
from selftrain.networks.token_grid import Layout
from selftrain.strategy.base import Strategy
from selftrain.types import Annotated, Batch, Clock, Report

_CONTRACT = ("embed_dim", "token_dim", "shape", "grid", "tokens")


class Pretraining(Strategy):
    """Base of the methods that fill an encoder without labels.

    Attributes:
        student: Learner of a network that has the encoder as ``encoder``.

    Args:
        views: Names of the views of an unlabeled sample that are looked at.
    """

    student: Learner
    monitor = "knn"
    judged_on = ("validation", "unlabeled")

    def __init__(self, *views: str) -> None:
        super().__init__()
        self.views = views

    def objective(self, batch: Batch, clock: Clock) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss of a step, with gradient, and what to log of it."""
        raise NotImplementedError

    def check_networks(self, x: Tensor) -> None:
        """Refuse inputs that do not fit the encoder, and an encoder that gives no features."""
        encoder = self.student.model.encoder
        assert isinstance(encoder, nn.Module)
        check_inputs(x, encoder)
        check_encoder_runs(self.student, encoder, x, check_encoder(encoder, ("embed_dim",)).embed_dim)

    def after_step(self, clock: Clock) -> dict[str, Tensor]:
        """Called when the weights have moved; returns what to log."""
        return {}

    def step(self, batch: Batch, clock: Clock, *extra: Batch) -> Report:
        """Learn from the unlabeled samples of the batch."""
        loss, scalars = self.objective(batch, clock)
        # while gradients gather, and after a step that overflowed, nothing may follow weights that have not moved
        if self.student.update(loss):
            scalars |= self.after_step(clock)
        return Report(scalars)

    def shipped(self) -> nn.Module:
        """The encoder that ``predict`` uses and ``export`` hands on."""
        encoder: nn.Module = self.student.model.encoder  # type: ignore[assignment]
        return encoder

    def inputs(self, batch: Batch) -> Tensor:
        """All views of the unlabeled samples of a step, one behind the other, (V * B, *shape).

        Raises:
            ValueError: if they do not fit the encoder.
        """
        # one tensor: all views pass the network at once and share BatchNorm's statistics
        x = torch.cat([batch.unlabeled[view].x for view in self.views])
        check_inputs(x, self.shipped())
        return x

    @torch.no_grad()
    def predict(self, x: Tensor) -> Tensor:
        """Features (B, embed_dim) of plain inputs ``x``, in evaluation mode and without gradient."""
        encoder = self.shipped()
        with eval_mode(encoder):
            return asked_for(
                lambda x: run_network(encoder, x, self.student.precision, self.student.channels_last),
                as_input(x, encoder, self.input_shape),
                self.input_shape,
            )

    def evaluate(self, data: Iterable[Annotated], reference: Iterable[Annotated] | None = None) -> dict[str, float]:
        """Figures about the features of held-out samples.

        Args:
            data: Samples to judge by.
            reference: Labeled samples that the neighbor probe learns from.

        Returns:
            ``rankme`` and ``rankme_centered`` (effective rank, see ``probes.rankme``), ``feature_std``,
            ``feature_spread`` and, if both sets have class numbers as annotations (-1: none), ``knn``: accuracy of a
            nearest-neighbor probe on features standardized by the reference, in [0, 1].
        """
        features, labels = self._features(data)
        figures = {
            "rankme": rankme(features),
            "rankme_centered": rankme(features, center=True),
            "feature_std": feature_std(features),
            "feature_spread": feature_spread(features),
        }
        if reference is None or not _any_class(labels):
            return figures
        known, classes = self._features(reference)
        if not _any_class(classes):
            return figures
        has, asked = classes >= 0, labels >= 0
        # by the reference alone: the mean feature of a fresh transformer is nearly one vector, and unscaled neighbors
        # are those in its noise
        known = known[has]
        queries, reference_rows = standardized(features[asked], known), standardized(known, known)
        return figures | {"knn": knn_accuracy(reference_rows, classes[has], queries, labels[asked])}

    def _features(self, data: Iterable[Annotated]) -> tuple[Tensor, Tensor | None]:
        """Features of all samples (n, D), and their class numbers (n,) if that is what the annotations are."""
        rows = [(self.predict(batch.x), batch.annotation) for batch in data]
        # masks and points are annotations too, but no classes that neighbors could share
        labels = [a for _, a in rows if a.dim() == 1 and not a.is_floating_point()]
        return torch.cat([f for f, _ in rows]), torch.cat(labels) if len(labels) == len(rows) else None

    def export(self) -> dict[str, Tensor]:
        """The weights of the encoder, named ``encoder.*`` as ``Classifier`` has them."""
        return {f"encoder.{name}": tensor for name, tensor in copied_weights(self.shipped()).items()}


def _any_class(labels: Tensor | None) -> TypeGuard[Tensor]:
    """Whether there is at least one class number among ``labels``; -1 means unlabeled."""
    return labels is not None and bool((labels >= 0).any())


def check_encoder(encoder: nn.Module, needed: Sequence[str] = _CONTRACT) -> Encoder:
    """Return ``encoder`` if it has these parts of the contract, else raise ``ValueError`` naming what it lacks."""
    missing = [name for name in needed if not hasattr(encoder, name)]
    if missing:
        raise ValueError(
            f"{type(encoder).__name__} lacks {missing}; wrap it: ConvNetEncoder(model, shape) if it is a ConvNet, "
            "TimmEncoder(model) if it is a vision transformer of timm, FeatureEncoder(model, shape) for stages of two "
            "views; or give it what networks.Encoder lists"
        )
    return encoder  # type: ignore[return-value]


def check_inputs(x: Tensor, encoder: nn.Module) -> None:
    """Raise ``ValueError`` unless inputs (B, *shape) have the shape the encoder was built for."""
    shape = check_encoder(encoder, ("shape",)).shape
    if tuple(x.shape[1:]) != tuple(shape):
        raise ValueError(
            f"inputs are {tuple(x.shape[1:])} but the encoder was built for {tuple(shape)}; build it with the shape of "
            "the data, or resize the data"
        )


def layout_of(encoder: nn.Module, x: Tensor) -> Layout:
    """Where the tokens of ``x`` are: what the encoder says, or its grid."""
    special = getattr(encoder, "layout", None)
    layout: Layout = Layout(check_encoder(encoder).grid) if special is None else special(x)
    return layout
