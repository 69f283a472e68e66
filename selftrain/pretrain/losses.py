"""What a stage compares by: distances of predictions from targets, and losses of several views of each sample.

A distance takes two (M, B, N, K), predictions and targets, and gives their mean distance. A loss of views takes
embeddings (V, B, K) of V >= 2 views, as the head gives them, and returns the loss, a scalar, and its parts: detached
scalars without their factors. Losses are computed in float32, or float64 if the embeddings are.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import combinations, permutations
from typing import ClassVar, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from selftrain.pretrain.regularizers import (
    SIGReg,
    check_temperature,
    covariance_term,
    precise,
    uniformity_term,
    unit,
    variance_term,
)
from selftrain.types import Recorded

Distance = Callable[[Tensor, Tensor], Tensor]
LossAndParts: TypeAlias = "tuple[Tensor, dict[str, Tensor]]"


def mse(predicted: Tensor, target: Tensor) -> Tensor:
    """Squared difference."""
    return F.mse_loss(predicted, target)


def l1(predicted: Tensor, target: Tensor) -> Tensor:
    """Absolute difference."""
    return F.l1_loss(predicted, target)


def smooth_l1(predicted: Tensor, target: Tensor, beta: float = 1.0) -> Tensor:
    """``r^2 / (2 beta)`` where the difference r is below ``beta``, ``|r| - beta / 2`` beyond."""
    return F.smooth_l1_loss(predicted, target, beta=beta)


def cosine(predicted: Tensor, target: Tensor) -> Tensor:
    """One minus the cosine of the angle between them."""
    return (1 - F.cosine_similarity(predicted, target, dim=-1)).mean()


def unit_smooth_l1(predicted: Tensor, target: Tensor) -> Tensor:
    """Smooth L1 (beta 1) of both at length 1, summed over K: CNN-JEPA's."""
    # summed over K, not averaged: at length 1, single numbers are so small that their mean has hardly a gradient
    sides = F.normalize(predicted, dim=-1), F.normalize(target, dim=-1)
    return F.smooth_l1_loss(*sides, reduction="none").sum(-1).mean()


DISTANCES: dict[str, Distance] = {
    "mse": mse,
    "l1": l1,
    "smooth_l1": smooth_l1,
    "cosine": cosine,
    "unit_smooth_l1": unit_smooth_l1,
}


def as_distance(distance: str | Distance) -> Distance:
    """The distance of this name, or the function itself; raises ``ValueError`` for another name."""
    if not isinstance(distance, str):
        return distance
    if distance not in DISTANCES:
        raise ValueError(f"distance is {distance!r}; choose one of {', '.join(DISTANCES)} or pass a function")
    return DISTANCES[distance]


class InfoNCE(Recorded, nn.Module):
    """Tell another view of a sample from all views of the batch's other samples.

    ``-log(exp(<z_i, z_i+> / temperature) / sum_{j != i} exp(<z_i, z_j> / temperature))`` on unit vectors, for each two
    views over their 2 B embeddings, averaged over i. Of more than two views, all ordered pairs are averaged.

    Source: Chen et al. 2020, "A Simple Framework for Contrastive Learning of Visual Representations" (SimCLR),
    arXiv:2002.05709, eq. 1. Differs: temperature 0.2, for batches of some hundreds (0.1 in the released settings for
    4,096). Parts: ``alignment`` + ``uniformity``, numerator and denominator, sum to the loss.

    Args:
        temperature: Of the similarities, > 0; towards infinity the loss is log(2 B - 1).

    Gradient: to both embeddings of a pair. A zero vector counts as 0 and gets none. With one sample the loss is 0.

    Raises:
        ValueError: for a temperature <= 0, or (at a call) embeddings of another shape.
    """

    needs_predictor: ClassVar[bool] = False

    def __init__(self, *, temperature: float = 0.2) -> None:
        super().__init__()
        check_temperature(temperature)
        self.temperature = temperature

    def forward(self, z: Tensor) -> LossAndParts:
        """Loss of embeddings (V, B, K)."""
        _check_views(z)
        rows = unit(precise(z))
        # the loss of two views looks from either at the other: half of the ordered pairs tell all
        pairs = [self._compare(torch.cat([rows[a], rows[b]])) for a, b in combinations(range(len(rows)), 2)]
        alignment, uniformity = torch.stack(pairs).mean(0)
        return alignment + uniformity, {"alignment": alignment.detach(), "uniformity": uniformity.detach()}

    def _compare(self, rows: Tensor) -> Tensor:
        """Alignment and uniformity (2,) of two views one below the other (2 B, K)."""
        with torch.autocast(rows.device.type, enabled=False):
            logits = rows @ rows.T / self.temperature
        # a sample is always most like itself: left in, it would be the answer to every question
        others = logits.masked_fill(torch.eye(len(rows), dtype=torch.bool, device=rows.device), -math.inf)
        positive = logits.diagonal(len(rows) // 2)  # both directions have the same
        return torch.stack([-positive.mean(), others.logsumexp(1).mean()])


class VICRegLoss(Recorded, nn.Module):
    """Pull views together; keep every dimension's spread above 1 and dimensions uncorrelated.

    ``invariance mean (z - z')^2 + variance (v(z) + v(z')) + covariance (c(z) + c(z'))``, averaged over all ordered
    pairs of views; v and c are ``variance_term`` and ``covariance_term``. The parts have the three names.

    Source: Bardes et al. 2022, "VICReg", arXiv:2105.04906, eq. 6. The squared difference is averaged over the K
    dimensions, as in the paper's listing and the released code (eq. 5 sums, K times as much); v is added for both
    views, as in eq. 6 (the released code halves that sum, which is ``variance=12.5`` here).

    Args:
        invariance, variance, covariance: Factors, >= 0.

    Gradient: to all views.

    Raises:
        ValueError: for a negative factor, or (at a call) embeddings of another shape or of fewer than 2 samples.
    """

    needs_predictor: ClassVar[bool] = False

    def __init__(self, *, invariance: float = 25.0, variance: float = 25.0, covariance: float = 1.0) -> None:
        super().__init__()
        if min(invariance, variance, covariance) < 0:
            raise ValueError(
                f"invariance is {invariance}, variance {variance} and covariance {covariance}; none may be negative"
            )
        self.invariance, self.variance, self.covariance = invariance, variance, covariance

    def forward(self, z: Tensor) -> LossAndParts:
        """Loss of embeddings (V, B, K), B >= 2."""
        _check_views(z)
        z = precise(z)
        apart = torch.stack([F.mse_loss(a, b) for a, b in combinations(z, 2)]).mean()
        spread, together = 2 * variance_term(z), 2 * covariance_term(z)  # a pair has two views
        loss = self.invariance * apart + self.variance * spread + self.covariance * together
        parts = {"invariance": apart, "variance": spread, "covariance": together}
        return loss, {name: part.detach() for name, part in parts.items()}


class LeJEPALoss(Recorded, nn.Module):
    """Pull views to the center of the global ones while each view's embeddings are held to an isotropic Gaussian.

    ``(1 - weight) inv + weight mean_v SIGReg(z_v)`` with ``inv = mean (z_v - c)^2`` over views, samples and dimensions,
    and ``c`` the mean of a sample's first ``global_views`` embeddings. The parts are ``invariance`` and ``sigreg``.

    Source: Balestriero & LeCun 2025, "LeJEPA", arXiv:2511.08544, listing of section 5.1 (its eq. 8 sums over the K
    dimensions instead, K times as much). Two other conventions are about, and weights do not carry over: the authors'
    minimal script takes the mean of all views for ``c``, with weight 0.02 (``global_views`` = V here); their library
    ``stable-pretraining`` has ``inv + 0.02 SIGReg``, with SIGReg of all views pooled into V B rows, which is up to V
    times as much. SIGReg itself grows with the batch while embeddings are not Gaussian.

    Args:
        weight: Share of SIGReg, in [0, 1].
        slices: Random directions at each call, >= 1, the same for all views.
        global_views: How many views, from the first on, make the center; >= 1.

    Gradient: to all views, also through the center: nothing is stopped.

    Raises:
        ValueError: for an argument out of range, or (at a call) embeddings of another shape or of fewer views than
            ``global_views``.
    """

    needs_predictor: ClassVar[bool] = False

    def __init__(self, *, weight: float = 0.05, slices: int = 256, global_views: int = 2) -> None:
        super().__init__()
        if not 0 <= weight <= 1:
            raise ValueError(f"weight is {weight}; it is SIGReg's share of the loss and must be in [0, 1]")
        if global_views < 1:
            raise ValueError(f"global_views is {global_views}; at least 1 view must make the center")
        self.sigreg = SIGReg(slices)
        self.weight, self.global_views = weight, global_views

    def forward(self, z: Tensor) -> LossAndParts:
        """Loss of embeddings (V, B, K); draws directions from the CPU's global random numbers."""
        _check_views(z)
        if len(z) < self.global_views:
            raise ValueError(
                f"global_views is {self.global_views}, but there are {len(z)} views; give more or lower it"
            )
        z = precise(z)
        # nothing is stopped here: SIGReg, not a teacher, keeps the center from running away
        center = z[: self.global_views].mean(0)
        apart, gauss = (z - center).square().mean(), self.sigreg(z)
        loss = (1 - self.weight) * apart + self.weight * gauss
        return loss, {"invariance": apart.detach(), "sigreg": gauss.detach()}


class UniSiamLoss(Recorded, nn.Module):
    """Predict the direction of one view's embedding from another's, and spread embeddings over the sphere.

    ``-mean cos(q_a, stop z_b) + weight uniformity_term(z, temperature)``, the cosine over all ordered pairs of views a
    and b. The parts are ``cosine`` (without the minus) and ``uniformity``.

    Source: Lu et al. 2022, "Self-Supervision Can Be a Good Few-Shot Learner" (UniSiam), arXiv:2207.09176. Left out: the
    distillation from a larger teacher.

    Args:
        weight: Factor of the uniformity term, >= 0.
        temperature: Of the uniformity term, > 0; large ones suit small batches.

    Gradient: of the cosine, to the predictions ``q`` only (and through them to the embeddings they were made of); of
        the uniformity, to ``z``. A zero vector counts as 0 and gets none.

    Raises:
        ValueError: for an argument out of range, or (at a call) shapes that differ, another shape or a single sample.
    """

    needs_predictor: ClassVar[bool] = True

    def __init__(self, *, weight: float = 0.1, temperature: float = 2.0) -> None:
        super().__init__()
        if weight < 0:
            raise ValueError(f"weight is {weight}; it must be 0 or more")
        check_temperature(temperature)
        self.weight, self.temperature = weight, temperature

    def forward(self, z: Tensor, q: Tensor) -> LossAndParts:
        """Loss of embeddings z and of what the predictor makes of them q, both (V, B, K), B >= 2."""
        _check_views(z)
        if q.shape != z.shape:
            raise ValueError(
                f"predictions have shape {tuple(q.shape)}, embeddings {tuple(z.shape)}; both must be alike"
            )
        # gradient to the prediction alone: to both sides, they would meet in one point
        predicted, target = unit(precise(q)), unit(precise(z.detach()))
        cosine = torch.stack([(predicted[a] * target[b]).sum(-1) for a, b in permutations(range(len(z)), 2)]).mean()
        crowding = uniformity_term(z, self.temperature)
        loss = self.weight * crowding - cosine
        return loss, {"cosine": cosine.detach(), "uniformity": crowding.detach()}


def _check_views(z: Tensor) -> None:
    if z.dim() != 3 or len(z) < 2 or 0 in z.shape:
        raise ValueError(
            f"embeddings have shape {tuple(z.shape)}; they must be (views, samples, width) with at least 2 views and "
            "no empty axis"
        )
