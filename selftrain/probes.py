"""How good features are, without training on them: effective rank, and nearest neighbors from a few labels."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


@torch.no_grad()
def rankme(features: Tensor, *, center: bool = False, eps: float = 1e-7) -> float:
    """Effective rank of features: the exponential of the entropy of their singular values.

    Near 1: all features lie on one line (collapse); ``min(n, D)``: spread evenly. A high rank is needed, not enough:
    noise has the highest. Compare it between checkpoints or settings of one method, on the same samples.

    Source: Garrido et al., "RankMe", 2023, arXiv:2210.02885, section 3: ``p_k = sigma_k / sum(sigma) + eps``, not
    normalized again.

    Args:
        features: Shape (n, D), n >= 1. The paper uses n = 25,600; the rank of fewer samples is at most n.
        center: Subtract the mean feature first (not in the paper), which shows the spread behind a large constant part.
        eps: Added to each share.

    Raises:
        ValueError: for features that are not (n, D), or that are not finite.
    """
    _check_matrix(features)
    z = features.double()
    values = torch.linalg.svdvals(z - z.mean(0) if center else z)
    share = values / values.sum().clamp(min=torch.finfo(values.dtype).tiny) + eps
    return float(torch.exp(-(share * share.log()).sum()))


@torch.no_grad()
def feature_std(features: Tensor) -> float:
    """Standard deviation of features (n, D) over the samples, averaged over D; near 0 after a collapse."""
    _check_matrix(features)
    return float(features.double().std(0, correction=0).mean())


@torch.no_grad()
def feature_spread(features: Tensor) -> float:
    """Standard deviation of features (n, D) over the samples as a share of their size, in [0, 1].

    Root mean square of the deviations over root mean square of the features: 0 if all samples have one feature vector,
    1 if features are centered. 0 for features that are all zero.
    """
    _check_matrix(features)
    z = features.double()
    size = z.square().mean()
    return 0.0 if size == 0 else float((z.var(0, correction=0).mean() / size).sqrt())


@torch.no_grad()
def knn_predict(
    reference: Tensor, labels: Tensor, queries: Tensor, *, neighbors: int | None = None, temperature: float = 0.07
) -> Tensor:
    """Classify by a vote of the nearest labeled features.

    Cosine similarity ``s``; each neighbor votes with weight ``exp(s / temperature)``.

    Source: Wu et al. 2018, arXiv:1805.01978, section 3.4, with the 20 neighbors of DINO (Caron et al. 2021,
    arXiv:2104.14294, section 3.2). Differs: by default never more neighbors than the rarest class has labels.

    Args:
        reference: Features with labels, shape (n, D).
        labels: Their classes, shape (n,), integers >= 0.
        queries: Features to classify, shape (m, D).
        neighbors: Votes k, >= 1; ``None``: 20, or the label count of the rarest class if that is smaller.
        temperature: Of the votes, > 0.

    Returns:
        Classes, shape (m,).

    Raises:
        ValueError: if there is no labeled feature, or an argument is out of range.
    """
    _check_matrix(reference)
    _check_matrix(queries)
    if temperature <= 0 or (neighbors is not None and neighbors < 1):
        raise ValueError(f"neighbors is {neighbors} and temperature {temperature}; both must be above 0")
    if len(labels) != len(reference) or labels.is_floating_point() or int(labels.min()) < 0:
        raise ValueError(f"labels {tuple(labels.shape)} must be {len(reference)} class numbers from 0")
    counts = torch.bincount(labels)
    votes = min(20, int(counts[counts > 0].min())) if neighbors is None else min(neighbors, len(reference))
    similarity = F.normalize(queries.float(), dim=1) @ F.normalize(reference.float(), dim=1).T
    nearest, index = similarity.topk(votes, dim=1)
    weight = ((nearest - nearest[:, :1]) / temperature).exp()
    score = weight.new_zeros(len(queries), len(counts)).scatter_add_(1, labels[index], weight)
    return score.argmax(1)


def knn_accuracy(reference: Tensor, labels: Tensor, queries: Tensor, truth: Tensor) -> float:
    """Share of ``queries`` (m, D) that ``knn_predict`` classifies as ``truth`` (m,) says, in [0, 1]."""
    return float((knn_predict(reference, labels, queries) == truth).double().mean())


def _check_matrix(features: Tensor) -> None:
    if features.dim() != 2 or not len(features):
        raise ValueError(f"features have shape {tuple(features.shape)}; they must be (n, D) with n >= 1")
    if not bool(torch.isfinite(features).all()):
        raise ValueError("features are not finite; the encoder has diverged: lower its learning rate")
