"""Views of point clouds: turned, scaled, with noise, and with points left out."""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor

from selftrain.data.base.random import normal, uniform
from selftrain.data.base.samples import Samples
from selftrain.data.base.statistics import needs_double
from selftrain.data.views.base import check_name
from selftrain.types import Recorded, View

# In cyclic order: swapped, a plane would turn the other way than the others.
_PLANE_OF = {0: (1, 2), 1: (2, 0), 2: (0, 1)}


class PointViews(Recorded):
    """Views of point clouds (B, N, 2 or 3), each cloud centered and scaled by itself; number and order of points stay.

    Plain: the mean of the points is at 0 and the farthest point at distance 1, for each cloud by itself, so where a
    cloud lay and how large it was is lost. Weak: then turned about an axis and scaled. Strong: turned by larger angles,
    scaled, noise on every coordinate, and a random share of the points replaced by copies of one that is kept.
    ``View.theta`` is ``None``: there is no geometry of an image.

    Left-out points are the random input dropout of PointNet++ (Qi et al. 2017, arXiv:1706.02413, section 3.3), noise is
    that of PointNet (arXiv:1612.00593). Differs: copies take the place of what is left out, so that clouds of a batch
    keep one size, and noise is clipped.

    Args:
        scale: Smallest and largest factor, uniform, > 0; weak and strong.
        axis: Axis to turn about, 0, 1 or 2; ``None``: 2 in space. Points of a plane turn in it and take ``None`` only.
        weak_angle: Largest turn of a weak view to either side, in degrees, in [0, 180].
        strong_angle: The same for strong views.
        jitter: Standard deviation of the noise of a strong view, where the cloud's radius is 1.
        jitter_limit: Largest absolute noise, > 0.
        drop: Largest share of the points that a strong view leaves out, in [0, 1); the share of a cloud is uniform in
            [0, drop], and each point is left out with that probability.
        seed: Key of the draws.

    Raises:
        ValueError: a setting out of its range; on a call, for an unknown view or inputs that are no point clouds.

    Examples:
        >>> views = PointViews(axis=1, strong_angle=180.0, drop=0.5)
        >>> views("strong", torch.randn(8, 256, 3), torch.arange(8), epoch=0).x.shape
        torch.Size([8, 256, 3])
    """

    on_workers = False
    exact = True  # clouds of a map lie far from its origin

    def __init__(
        self,
        *,
        scale: tuple[float, float] = (0.8, 1.25),
        axis: int | None = None,
        weak_angle: float = 15.0,
        strong_angle: float = 45.0,
        jitter: float = 0.01,
        jitter_limit: float = 0.05,
        drop: float = 0.5,
        seed: int = 0,
    ) -> None:
        for word, angle in (("weak_angle", weak_angle), ("strong_angle", strong_angle)):
            if not 0 <= angle <= 180:
                raise ValueError(f"{word} is {angle}; it is in degrees, in [0, 180]")
        if not 0 < scale[0] <= scale[1]:
            raise ValueError(f"scale is {scale}; give smallest and largest factor, above 0")
        if axis not in (None, *_PLANE_OF):
            raise ValueError(f"axis is {axis}; known are 0, 1, 2, or None")
        if not jitter >= 0:
            raise ValueError(f"jitter is {jitter}; it must be 0 or more")
        if not jitter_limit > 0:
            raise ValueError(f"jitter_limit is {jitter_limit}; it must be above 0")
        if not 0 <= drop < 1:
            raise ValueError(f"drop is {drop}; it is a share of the points, in [0, 1)")
        self.scale, self.axis, self.weak_angle, self.strong_angle = scale, axis, weak_angle, strong_angle
        self.jitter, self.jitter_limit, self.drop, self.seed = jitter, jitter_limit, drop, seed

    def seeded(self, seed: int) -> PointViews:
        """The same recipes with another key."""
        changed = copy.copy(self)
        changed.seed = seed
        return changed

    def fitted(self, samples: Samples) -> PointViews:
        """Itself: every cloud is normalized on its own."""
        return self

    @torch.no_grad()
    def __call__(self, name: str, images: Tensor, index: Tensor, epoch: int) -> View:
        """One view of clouds (B, N, 2 or 3), numbers of any type and scale; see ``ViewMaker``."""
        recipe = check_name(name)
        shape = tuple(images.shape)
        if images.ndim != 3 or shape[2] not in (2, 3):
            raise ValueError(f"inputs have shape {shape}, not (B, N, 2) or (B, N, 3); SeriesViews are for series")
        if shape[2] == 2 and self.axis is not None:
            raise ValueError(f"axis is {self.axis}, but points with 2 coordinates turn in their plane; leave it out")
        x = in_unit_sphere(images)
        if recipe == "plain":
            return View(x)
        draws = uniform(self.seed, epoch, index, f"{name}/place", 2)
        factor = self.scale[0] + (self.scale[1] - self.scale[0]) * draws[:, 0]
        angle = (2 * draws[:, 1] - 1) * math.radians(self.weak_angle if recipe == "weak" else self.strong_angle)
        x = factor[:, None, None] * (x @ rotations(angle, x.shape[2], self.axis).transpose(1, 2))
        if recipe == "weak":
            return View(x)
        # an address of its own for each kind of draw: one more setting changes no other draws
        noise = normal(self.seed, epoch, index, f"{name}/jitter", x.shape[1] * x.shape[2]).view_as(x)
        x = x + (self.jitter * noise).clamp(-self.jitter_limit, self.jitter_limit)
        return View(_thinned(x, uniform(self.seed, epoch, index, f"{name}/drop", 1 + x.shape[1]), self.drop))


def in_unit_sphere(x: Tensor) -> Tensor:
    """Clouds (B, N, dims) with the mean at 0 and the farthest point at distance 1; a cloud of equal points is at 0."""
    if x.dtype == torch.float64:
        # cloud by cloud: what a cloud becomes does not depend on the others of its batch
        centered, radius = _centered(x)
        far = needs_double(x.abs().amax((1, 2), keepdim=True), radius)
        return torch.where(far, centered.float(), in_unit_sphere(x.float()))
    return _centered(x.float())[0]


def _centered(x: Tensor) -> tuple[Tensor, Tensor]:
    """Clouds in the unit sphere, and their radius (B, 1, 1)."""
    x = x - x.mean(1, keepdim=True)
    radius = x.norm(dim=2).amax(1)[:, None, None]
    return x / torch.where(radius > 0, radius, 1.0), radius


def rotations(angle: Tensor, dims: int, axis: int | None) -> Tensor:
    """Matrices (B, dims, dims) of turns by ``angle`` (B,), in radians, counterclockwise seen from the axis' tip."""
    first, second = _PLANE_OF[2 if axis is None else axis]
    # about one axis: most clouds stand on a ground, and a turn about another axis would be a fall
    turn = torch.eye(dims, device=angle.device).repeat(len(angle), 1, 1)
    turn[:, first, first] = turn[:, second, second] = angle.cos()
    turn[:, first, second], turn[:, second, first] = -angle.sin(), angle.sin()
    return turn


def _thinned(x: Tensor, draws: Tensor, most: float) -> Tensor:
    """Clouds with a random share of their points replaced by copies of one; ``draws`` (B, 1 + N)."""
    share, each = most * draws[:, :1], draws[:, 1:]
    kept = each.argmax(1, keepdim=True)  # never left out, so that a point is left to copy
    number = torch.arange(x.shape[1], device=x.device).expand_as(each)
    source = torch.where(each < share, kept, number).scatter(1, kept, kept)
    return x.gather(1, source[..., None].expand_as(x))
