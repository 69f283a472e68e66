"""How good features are, without training on them: figures that need no labels, and nearest neighbors from a few.

Figures without labels compare checkpoints or settings of one method, on the same samples; rank and LiDAR do not tell
signal from noise. Probes that are trained are in ``selftrain.evaluation.probing``.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

Spectrum = Literal["singular", "covariance"]


class Lidar(NamedTuple):
    """Rank of what tells samples apart, and how much larger it is than what tells views of one sample apart.

    Attributes:
        rank: Effective rank, in [1, D] but for ``eps``.
        ratio: trace(between) / trace(within), >= 0.
    """

    rank: float
    ratio: float


@torch.no_grad()
def rankme(features: Tensor, *, center: bool = False, eps: float = 1e-7, spectrum: Spectrum = "singular") -> float:
    """Effective rank of features: the exponential of the entropy of their singular values.

    Near 1: all features lie on one line (collapse); ``min(n, D)``: spread evenly. A high rank is needed, not enough:
    noise has the highest. Compare it between checkpoints or settings of one method, on the same samples. Published
    implementations differ by 10 to 25 % on the same features; ``center`` and ``spectrum`` name the variant.

    Source: Garrido et al., "RankMe", 2023, arXiv:2210.02885, section 3: ``p_k = sigma_k / sum(sigma) + eps``, not
    normalized again.

    Args:
        features: Shape (n, D), n >= 1. The paper uses n = 25,600; the rank of fewer samples is at most n.
        center: Subtract the mean feature first (not in the paper), which shows the spread behind a large constant part.
        eps: Added to each share, >= 0.
        spectrum: ``"singular"``: of the features, as in the paper; ``"covariance"``: the squares of these, which are
            the eigenvalues of the covariance up to a factor if ``center`` (not in the paper); never the larger rank.

    Raises:
        ValueError: for features that are not (n, D), or that are not finite, or another spectrum.
    """
    _check_matrix(features)
    if spectrum not in ("singular", "covariance"):
        raise ValueError(f"spectrum is {spectrum!r}; choose 'singular' (the paper) or 'covariance'")
    z = features.double()
    values = torch.linalg.svdvals(z - z.mean(0) if center else z)
    return _effective_rank(values.square() if spectrum == "covariance" else values, eps)


@torch.no_grad()
def lidar(views: Tensor, *, delta: float = 1e-4, eps: float = 1e-7) -> Lidar:
    """Effective rank of what tells samples apart, measured in units of what tells views of one sample apart.

    It does not detect noise: where features depend on the view alone, the chance differences between samples are
    normalized like any others and the rank is as high as it gets. ``ratio`` tells: it is then about ``1 / q``.

    Source: Thilak et al., "LiDAR", 2024, arXiv:2312.04000: eigenvalues of ``within ** -1/2 between within ** -1/2``,
    shares and entropy as in ``rankme``. ``ratio`` is not in the paper.

    Args:
        views: Features of q >= 2 views (augmented, or masked differently, as in training) of each of n >= 2 samples,
            shape (n, q, D). The rank is at most n - 1, so take n above D; the paper: n = 1,000 and q = 50.
        delta: Added to the diagonal of the covariance within samples, > 0; ``ratio`` includes it.
        eps: Added to each share, >= 0.

    Raises:
        ValueError: for another shape, features that are not finite, or a ``delta`` that is not above 0.
    """
    if views.dim() != 3 or views.shape[0] < 2 or views.shape[1] < 2:
        raise ValueError(f"views have shape {tuple(views.shape)}; they must be (n, q, D) with n >= 2 and q >= 2")
    if delta <= 0:
        raise ValueError(f"delta is {delta}; it must be above 0")
    _check_matrix(views.flatten(0, 1))
    n, q, width = views.shape
    e = views.double()
    middle = e.mean(1)
    apart, inside = middle - middle.mean(0), (e - middle[:, None]).flatten(0, 1)
    between = apart.T @ apart / (n - 1)
    # q - 1: the mean of a sample takes one of its views; delta: views that coincide would leave no root
    within = inside.T @ inside / (n * (q - 1)) + delta * torch.eye(width).to(e)
    # with L L' = within, inv(L) between inv(L)' has the eigenvalues of within^-1/2 between within^-1/2, without a root
    root = torch.linalg.cholesky(within)
    half = torch.linalg.solve_triangular(root, between, upper=False)
    # rounding may leave eigenvalues just below 0, where the entropy is not defined
    values = torch.linalg.eigvalsh(torch.linalg.solve_triangular(root, half.T, upper=False)).clamp(min=0)
    return Lidar(_effective_rank(values, eps), float(between.trace() / within.trace()))


@torch.no_grad()
def uniformity(features: Tensor, *, t: float = 2.0) -> float:
    """How evenly features cover the sphere: the logarithm of the mean potential of all pairs; lower is more even.

    0: all features point the same way (collapse). Least for points spread evenly: about -4 for ``t = 2`` and large D.

    Source: Wang & Isola 2020, arXiv:2005.10242, section 4.1.2: ``log mean exp(-t |u - v|^2)`` of features of length 1,
    over pairs of different samples.

    Args:
        features: Shape (n, D), n >= 2; scaled to length 1. Memory grows with n^2: 16 MB for 2,000.
        t: Sharpness, > 0.

    Raises:
        ValueError: for features that are not (n, D), n >= 2, or not finite, or a ``t`` that is not above 0.
    """
    _check_matrix(features)
    if len(features) < 2 or t <= 0:
        raise ValueError(f"there are {len(features)} samples and t is {t}; at least 2 samples and t above 0 are needed")
    potential = -t * F.pdist(F.normalize(features.double(), dim=1)).square()
    return float(potential.logsumexp(0)) - math.log(len(potential))


@torch.no_grad()
def alignment(first: Tensor, second: Tensor, *, power: float = 2.0) -> float:
    """How far apart two views of a sample are on the sphere, on average: in [0, 2^power], 0 if all coincide.

    Source: Wang & Isola 2020, arXiv:2005.10242, section 4.1.1: mean of ``|u - v|^power`` of features of length 1.

    Args:
        first: Features of one view of each sample, shape (n, D); scaled to length 1.
        second: Those of another view, in the same order.
        power: Of the distance, > 0.

    Raises:
        ValueError: for features that are not (n, D), not finite or of different shapes, or ``power`` not above 0.
    """
    _check_matrix(first)
    _check_matrix(second)
    if first.shape != second.shape or power <= 0:
        raise ValueError(
            f"views are {tuple(first.shape)} and {tuple(second.shape)} and power is {power}; shapes must be equal and "
            "power above 0"
        )
    u, v = F.normalize(first.double(), dim=1), F.normalize(second.double(), dim=1)
    return float((u - v).norm(dim=1).pow(power).mean())


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
    # with more votes than the rarest class has labels, that class could never win
    votes = min(20, int(counts[counts > 0].min())) if neighbors is None else min(neighbors, len(reference))
    similarity = F.normalize(queries.float(), dim=1) @ F.normalize(reference.float(), dim=1).T
    nearest, index = similarity.topk(votes, dim=1)
    # less the largest, so that exp cannot overflow; a common factor changes no vote
    weight = ((nearest - nearest[:, :1]) / temperature).exp()
    score = weight.new_zeros(len(queries), len(counts)).scatter_add_(1, labels[index], weight)
    return score.argmax(1)


def knn_accuracy(reference: Tensor, labels: Tensor, queries: Tensor, truth: Tensor) -> float:
    """Share of ``queries`` (m, D) that ``knn_predict`` classifies as ``truth`` (m,) says, in [0, 1]."""
    return float((knn_predict(reference, labels, queries) == truth).double().mean())


@torch.no_grad()
def standardized(features: Tensor, reference: Tensor) -> Tensor:
    """Features (m, D) in units of a reference (n, D): its columns have mean 0 and standard deviation 1.

    Columns that are constant in the reference, up to rounding (a deviation of 1e-6 of their size), are only centered.
    Neighbors by cosine need it where features are one large constant and little else.

    Raises:
        ValueError: for features that are not matrices, or that are not finite.
    """
    _check_matrix(features)
    _check_matrix(reference)
    known = reference.double()
    # a column that is constant but for rounding would be blown up to noise of full size
    spread = known.std(0, correction=0)
    varies = spread > 1e-6 * known.abs().amax(0)
    return (features.double() - known.mean(0)) / torch.where(varies, spread, 1.0)


def _check_matrix(features: Tensor) -> None:
    if features.dim() != 2 or not len(features):
        raise ValueError(f"features have shape {tuple(features.shape)}; they must be (n, D) with n >= 1")
    if not bool(torch.isfinite(features).all()):
        raise ValueError("features are not finite; the encoder has diverged: lower its learning rate")


def _effective_rank(values: Tensor, eps: float) -> float:
    """Exponential of the entropy of ``values`` (k,), >= 0, as shares, each plus ``eps``."""
    # the paper adds eps to each share and does not normalize again, so neither do we
    # features that are all zero have a sum of 0
    share = values / values.sum().clamp(min=torch.finfo(values.dtype).tiny) + eps
    # entr is 0 for a share of 0, where p log p would be NaN
    return float(torch.exp(torch.special.entr(share).sum()))


def color_histograms(images: Tensor, levels: int = 4) -> Tensor:
    """How often each color occurs in each image, (N, levels ** C): roots of shares, so that rare colors count, too.

    Args:
        images: Shape (N, C, H, W), bytes, or floats in [0, 1].
        levels: Of each channel; ``levels ** C`` colors.

    Source: histograms of colors after Swain & Ballard 1991, Color Indexing; roots after Arandjelovic & Zisserman 2012.
    Gradient: none.
    """
    count, channels = images.shape[:2]
    scaled = images.float() / 255 if images.dtype == torch.uint8 else images.float()
    numbers = (scaled * levels).long().clamp(0, levels - 1)  # (N, C, H, W)
    weights = levels ** torch.arange(channels, device=images.device)
    color = (numbers * weights[:, None, None]).sum(1).flatten(1)  # (N, H * W)
    found = torch.zeros(count, levels**channels, device=images.device)
    shares = torch.full_like(color, 1 / color.shape[1], dtype=torch.float32)
    return found.scatter_add_(1, color, shares).sqrt()
