"""Methods with a name that embed two or more views: each is a loss for ``JointEmbedding``."""

from __future__ import annotations

from typing import Any

from torch import nn

from selftrain.networks.optim import Training
from selftrain.pretrain.joint_embedding import JointEmbedding
from selftrain.pretrain.view_losses import InfoNCE, LeJEPALoss, UniSiamLoss, VICRegLoss


def LeJEPA(
    encoder: nn.Module,
    *,
    weight: float = 0.05,
    slices: int = 256,
    projector: tuple[int, ...] = (512, 128),
    views: tuple[str, ...] = ("strong", "strong2"),
    global_views: int = 2,
    training: Training | None = None,
) -> JointEmbedding:
    """Pull views of a sample together while embeddings are held to an isotropic Gaussian; no teacher, no negatives.

    Source: Balestriero & LeCun 2025, "LeJEPA", arXiv:2511.08544: ``(1 - weight) invariance + weight SIGReg``, see
    ``LeJEPALoss``. Differs: views of one size, two by default (there 2 large and 6 small crops), a small projector.

    Args:
        encoder: Any with the contract; it is copied.
        weight: Share of SIGReg in the loss, in [0, 1].
        slices: Random directions a step.
        projector: Widths of the head.
        views: Names of the views; the first ``global_views`` make the center.
        global_views: At least 1.
        training: See ``JointEmbedding``.

    Raises:
        ValueError: for an argument out of range, or an encoder without the contract.
    """
    if global_views > len(views):
        raise ValueError(f"global_views is {global_views}, there are {len(views)} views")
    loss = LeJEPALoss(weight=weight, slices=slices, global_views=global_views)
    return JointEmbedding(encoder, loss, projector=projector, views=views, training=training, name="lejepa")


def SimCLR(
    encoder: nn.Module,
    *,
    temperature: float = 0.2,
    projector: tuple[int, ...] = (512, 128),
    views: tuple[str, ...] = ("strong", "strong2"),
    training: Training | None = None,
) -> JointEmbedding:
    """Tell the other view of a sample from all other samples of the batch.

    Source: Chen et al. 2020, "A Simple Framework for Contrastive Learning of Visual Representations", arXiv:2002.05709,
    eq. 1. Differs: AdamW (LARS there), temperature 0.2 (0.1 there with batches of 4,096).

    Args:
        encoder: Any with the contract; it is copied.
        temperature: Of the similarities, > 0.
        projector: Widths of the head.
        views: Names of the views.
        training: See ``JointEmbedding``.

    Raises:
        ValueError: for an argument out of range, or an encoder without the contract.
    """
    loss = InfoNCE(temperature=temperature)
    return JointEmbedding(encoder, loss, projector=projector, views=views, training=training, name="simclr")


def VICReg(
    encoder: nn.Module,
    *,
    invariance: float = 25.0,
    variance: float = 25.0,
    covariance: float = 1.0,
    projector: tuple[int, ...] = (512, 512),
    views: tuple[str, ...] = ("strong", "strong2"),
    training: Training | None = None,
) -> JointEmbedding:
    """Pull views together; keep each dimension's spread above 1 and dimensions uncorrelated.

    Source: Bardes et al. 2022, "VICReg", arXiv:2105.04906, eq. 6. Differs: AdamW (LARS there) and a smaller projector
    (three layers of 8,192 there).

    Args:
        encoder: Any with the contract; it is copied.
        invariance: Factors of the three terms, >= 0.
        variance: Factors of the three terms, >= 0.
        covariance: Factors of the three terms, >= 0.
        projector: Widths of the head.
        views: Names of the views.
        training: See ``JointEmbedding``.

    Raises:
        ValueError: for an argument out of range, or an encoder without the contract.
    """
    loss = VICRegLoss(invariance=invariance, variance=variance, covariance=covariance)
    return JointEmbedding(encoder, loss, projector=projector, views=views, training=training, name="vicreg")


def UniSiam(
    encoder: nn.Module,
    *,
    weight: float = 0.1,
    temperature: float = 2.0,
    projector: tuple[int, ...] = (512, 512, 128),
    predictor: int | None = None,
    views: tuple[str, ...] = ("strong", "strong2"),
    training: Training | None = None,
) -> JointEmbedding:
    """Predict one view's embedding from the other's, with a term that spreads embeddings over the sphere.

    Source: Lu et al. 2022, "Self-Supervision Can Be a Good Few-Shot Learner" (UniSiam), arXiv:2207.09176. Differs:
    AdamW (SGD there), smaller projector.

    Args:
        encoder: Any with the contract; it is copied.
        weight: Factor of the uniformity term, >= 0.
        temperature: Of the uniformity term, > 0; large ones suit small batches.
        projector: Widths of the head, which ends in BatchNorm.
        predictor: Hidden width of the predictor; ``None``: a quarter of the embedding.
        views: Names of the views.
        training: See ``JointEmbedding``.

    Raises:
        ValueError: for an argument out of range, or an encoder without the contract.
    """
    loss = UniSiamLoss(weight=weight, temperature=temperature)
    settings: dict[str, Any] = {"views": views, "training": training, "name": "unisiam"}
    return JointEmbedding(encoder, loss, projector=projector, norm_last=True, predictor=predictor, **settings)
