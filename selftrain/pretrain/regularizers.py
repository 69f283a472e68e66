"""Terms that keep embeddings from collapsing: SIGReg, VICReg's variance and covariance, UniSiam's uniformity.

All are computed in float32, or float64 if the embeddings are, also under autocast; gradients flow to the embeddings.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from selftrain.types import Recorded

_SHORT = 1e-12  # a shorter vector has no direction


class SIGReg(Recorded, nn.Module):
    """Hold embeddings to an isotropic Gaussian: every projection on a line should be N(0, 1).

    ``mean over random unit vectors a of N * integral |phi_a(t) - exp(-t^2 / 2)|^2 exp(-t^2 / 2) dt`` with ``phi_a(t) =
    mean_n exp(i t <z_n, a>)``, the Epps-Pulley statistic. Of N(0, I) it expects a constant (about 1.05) whatever N is;
    of anything else it grows with N: about 0.40 N if all is 0, 0.24 N for N(0, 4 I). All zeros is a stationary point
    with gradient exactly 0, so the embeddings should come out of a head with BatchNorm.

    Source: Balestriero & LeCun 2025, "LeJEPA", arXiv:2511.08544, section 4. The integrand is even: the trapezoid rule
    covers [0, limit] and counts twice. The defaults are the released code's; the paper's 17 points on [-5, 5] are
    ``points=9, limit=5.0``. Differs: 1,024 directions as in the library (256 in the listing of the paper).

    Args:
        slices: Random directions at each call, >= 1.
        points: Knots of the trapezoid rule on [0, limit], >= 2.
        limit: Where the integral ends, > 0.

    Raises:
        ValueError: for a setting out of range, or (at a call) embeddings of fewer than two axes or without rows.
    """

    def __init__(self, slices: int = 1024, points: int = 17, limit: float = 3.0) -> None:
        super().__init__()
        if slices < 1 or points < 2:
            raise ValueError(f"slices is {slices} and points {points}; they must be at least 1 and 2")
        if not 0 < limit < math.inf:
            raise ValueError(f"limit is {limit}; it must be above 0 and finite")
        self.slices, self.points, self.limit = slices, points, limit

    def forward(self, z: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Distance of embeddings from N(0, I), a scalar >= 0.

        Args:
            z: Shape (..., N, K). Each (N, K) is judged on its own, by the same directions; their mean is returned.
            generator: Of the CPU; draws the directions. ``None``: the global one, so that a seed gives the same on
                every device.
        """
        _check_rows(z, 1)
        cos_mean, sin_mean = self.means(z, self.directions(z.shape[-1], generator))
        return epps_pulley(cos_mean, sin_mean, z.shape[-2], self.limit).mean()

    def directions(self, width: int, generator: torch.Generator | None = None) -> Tensor:
        """Fresh unit vectors (width, slices) on the CPU, uniform on the sphere."""
        # on the CPU, so that a seed gives the same directions on every device, and to every process
        return unit(torch.randn(self.slices, width, generator=generator)).T

    def means(self, z: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
        """Means over the rows of z (..., N, K) of ``cos(t <z, a>)`` and of the sine, each (..., slices, points).

        Several processes that share the directions may average them and call ``epps_pulley`` with the number of rows
        of all processes together.
        """
        z = precise(z)
        # never in half precision: cosines of large angles would be noise
        knots = torch.linspace(0, self.limit, self.points, dtype=z.dtype, device=z.device)
        with torch.autocast(z.device.type, enabled=False):
            angles = (z @ directions.to(z))[..., None] * knots
        return angles.cos().mean(-3), angles.sin().mean(-3)


def epps_pulley(cos_mean: Tensor, sin_mean: Tensor, count: int, limit: float = 3.0) -> Tensor:
    """How far samples are from N(0, 1), by their characteristic function; 0 means not at all.

    Args:
        cos_mean: Its real part at P evenly spaced points on [0, limit], shape (..., P), values in [-1, 1].
        sin_mean: Its imaginary part, likewise.
        count: Samples that the means are over, in all processes together.
        limit: Where the integral ends.

    Returns:
        ``2 count * trapezoid(((cos_mean - k)^2 + sin_mean^2) k)`` with ``k = exp(-t^2 / 2)``, shape (...).
    """
    # half of the axis counts twice: the integrand is even
    knots = torch.linspace(0, limit, cos_mean.shape[-1], dtype=cos_mean.dtype, device=cos_mean.device)
    kernel = torch.exp(-knots.square() / 2)
    # the characteristic function of N(0, 1) is real and is also the weight: exp(-t^2 / 2)
    error = (cos_mean - kernel).square() + sin_mean.square()
    return 2 * count * torch.trapezoid(error * kernel, knots, dim=-1)


def variance_term(z: Tensor, target: float = 1.0, eps: float = 1e-4) -> Tensor:
    """How much the spread of dimensions falls short: ``mean_d max(0, target - sqrt(Var_d + eps))``.

    Source: Bardes et al. 2022, "VICReg", arXiv:2105.04906, eq. 1 and 2; unbiased variance as in the released code.

    Args:
        z: Embeddings, shape (..., N, K), N >= 2; leading axes are averaged.
        target: Standard deviation that is enough, > 0.
        eps: Keeps the gradient finite where nothing varies, > 0.

    Raises:
        ValueError: for fewer than 2 rows, or a setting out of range.
    """
    if target <= 0 or eps <= 0:
        raise ValueError(f"target is {target} and eps {eps}; both must be above 0")
    _check_rows(z, 2)
    # inside the root: its slope at 0 is infinite, and a collapsed dimension is what must get a gradient
    spread = (precise(z).var(-2) + eps).sqrt()
    return (target - spread).relu().mean()


def covariance_term(z: Tensor) -> Tensor:
    """How much dimensions vary together: ``sum_{d != e} Cov_de^2 / K`` with the unbiased covariance.

    Source: Bardes et al. 2022, "VICReg", arXiv:2105.04906, eq. 3 and 4.

    Args:
        z: Embeddings, shape (..., N, K), N >= 2; leading axes are averaged.

    Raises:
        ValueError: for fewer than 2 rows.
    """
    _check_rows(z, 2)
    z = precise(z)
    count, width = z.shape[-2:]
    centered = z - z.mean(-2, keepdim=True)
    with torch.autocast(z.device.type, enabled=False):
        covariance = centered.mT @ centered / (count - 1)
    # the diagonal is what the variance term is about
    own = torch.eye(width, dtype=torch.bool, device=z.device)
    return covariance.masked_fill(own, 0).square().sum((-2, -1)).mean() / width


def uniformity_term(z: Tensor, temperature: float) -> Tensor:
    """How close embeddings of different samples are on the sphere: ``log mean_{i, j} exp(<z_i, z_j> / temperature)``.

    The mean is over all views i and the views j of other samples: V (B - 1) of them for each i. In [-1, 1] divided by
    ``temperature``; the maximum is total collapse.

    Source: Lu et al. 2022, "Self-Supervision Can Be a Good Few-Shot Learner" (UniSiam), arXiv:2207.09176; as the
    released code, the logarithm is taken once, behind both means.

    Args:
        z: Embeddings of V views, shape (V, B, K), B >= 2; they are brought to length 1, and a zero vector stays one.
        temperature: > 0.

    Raises:
        ValueError: for another shape, a single sample (there is no other to be away from) or a temperature <= 0.
    """
    check_temperature(temperature)
    if z.dim() != 3 or z.shape[1] < 2:
        raise ValueError(
            f"embeddings have shape {tuple(z.shape)}; uniformity is between samples and needs (views, samples, width) "
            "with at least 2 samples"
        )
    views, samples = z.shape[:2]
    rows = unit(precise(z)).flatten(0, 1)
    with torch.autocast(z.device.type, enabled=False):
        logits = rows @ rows.T / temperature
    # other views of the sample are left out as well as itself: they should be near
    same = torch.eye(samples, dtype=torch.bool, device=z.device).repeat(views, views)
    pairs = views * samples * views * (samples - 1)
    return logits.masked_fill(same, -math.inf).flatten().logsumexp(0) - math.log(pairs)


def check_temperature(temperature: float) -> None:
    """Refuse a temperature that similarities cannot be divided by."""
    if temperature <= 0:
        raise ValueError(f"temperature is {temperature}; it must be above 0")


def precise(z: Tensor) -> Tensor:
    """``z`` in float32, or float64 where it is that."""
    return z.to(torch.promote_types(z.dtype, torch.float32))


def unit(z: Tensor) -> Tensor:
    """Vectors (..., K) at length 1; those shorter than 1e-12 become 0 and get no gradient (not a huge one)."""
    length: Tensor = z.norm(dim=-1, keepdim=True)
    return z / length.masked_fill(length < _SHORT, math.inf)


def _check_rows(z: Tensor, least: int) -> None:
    if z.dim() < 2 or z.shape[-2] < least or 0 in z.shape:
        raise ValueError(
            f"embeddings have shape {tuple(z.shape)}; the term is over rows and needs (..., rows, width) with at least "
            f"{least} row(s): use larger batches"
        )
