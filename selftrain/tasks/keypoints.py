"""Keypoints: joints as heatmaps."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Literal, get_args

import torch
from torch import Tensor

from selftrain.errors import DataError
from selftrain.tasks.base import check_shape, ratio, weighted_mean
from selftrain.tasks.geometry import Pairs, carry_places, grid_of_places, is_inside, is_mirrored, other_side, resample
from selftrain.types import Recorded, Target, View

Loss = Literal["cross_entropy", "wing", "squared_error", "scaled_squared_error"]
_SHARP = 0.02  # a heatmap that is nearer to a Gaussian than this, of its height, is that point


class Keypoints(Recorded):
    """K joints as heatmaps; a unit is a joint.

    Args:
        joints: Number of joints, at least 1.
        size: Height and width of the heatmaps in cells.
        sigma: Standard deviation of a target's Gaussian in cells, > 0.
        radius: Distance in cells within which two places agree, and a prediction is correct, > 0.
        loss: ``"cross_entropy"``: outputs are logits of each joint's place, one a cell, and heatmaps their softmax,
            as high as a Gaussian of the same sum. ``"wing"``: the same and the Wing loss of the mean place, see
            ``wing_loss``. ``"squared_error"``: outputs are heights, and errors the mean over all cells;
            ``"scaled_squared_error"``: their sum over that of a Gaussian's heights instead, so that the cells around a
            joint weigh the same in heatmaps of any size.
        pairs: Joints that are left and right of one another, such as ``[(5, 6)]``: they change places in a mirror
            image. ``()``: none do.
    """

    monitor = "pck"
    has_classes = one_unit = False

    def __init__(
        self,
        joints: int,
        size: tuple[int, int],
        *,
        sigma: float = 1.5,
        radius: float = 2.0,
        loss: Loss = "cross_entropy",
        pairs: Pairs | None = None,
    ) -> None:
        if joints < 1:
            raise ValueError(f"joints is {joints}; there must be at least 1")
        if sigma <= 0 or radius <= 0:
            raise ValueError(f"sigma is {sigma} and radius {radius}; both must be above 0")
        if not isinstance(size, tuple | list) or len(size) != 2:
            raise ValueError(f"size is {size}; give height and width of the heatmaps in cells, such as (12, 12)")
        if loss not in get_args(Loss):
            raise ValueError(f"loss is {loss!r}; it must be one of {list(get_args(Loss))}")
        self.joints, self.size, self.sigma, self.radius = joints, size, sigma, radius
        self.groups = joints
        self.pairs, self._other = pairs, other_side(pairs, joints)
        self._places = loss in ("cross_entropy", "wing")
        self._wing, self._scaled = loss == "wing", loss == "scaled_squared_error"
        reach = math.ceil(6 * sigma)  # beyond, a Gaussian is 0
        self._mass = sum(math.exp(-(cell**2) / (2 * sigma**2)) for cell in range(-reach, reach + 1)) ** 2

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """A heatmap for each joint."""
        return (self.joints, *self.size)

    def encode(self, annotation: Tensor) -> Target:
        """Gaussians at annotated joints.

        Args:
            annotation: x, y in heatmap cells and visibility (> 0: annotated), shape (B, K, 3). A joint that is not
                annotated, or lies outside of the cells, is not valid.

        Raises:
            DataError: if the shape is not (B, K, 3).
        """
        if annotation.dim() != 3 or annotation.shape[1:] != (self.joints, 3):
            shape = tuple(annotation.shape)
            raise DataError(f"keypoints have shape {shape}; expected (B, {self.joints}, 3): x, y, visible")
        # A joint without a place has 0 or NaN there, and 0 times NaN is NaN.
        place = annotation[..., :2].float().nan_to_num()
        # The nearest cell of a place outside would be a place that nobody gave.
        inside = ((place >= -0.5) & (place <= place.new_tensor(self.size[::-1]) - 0.5)).all(-1)
        visible = (annotation[..., 2] > 0) & inside & annotation[..., :2].isfinite().all(-1)
        value = self._gaussian(place) * visible[..., None, None]
        return Target(value, visible.float(), visible)

    def probs(self, logits: Tensor) -> Tensor:
        """Heatmaps in [0, 1]: of a peak as narrow as ``sigma``, or narrower, the height is 1."""
        if not self._places:
            return logits.clamp(0, 1)  # no sigmoid: outputs are heights already
        place = logits.flatten(2).softmax(2).view_as(logits)
        # No clamp: it would cut a narrow peak flat, and its place would be lost.
        return place * place.amax((2, 3), keepdim=True).reciprocal().clamp(max=self._mass)

    def confidence(self, value: Tensor) -> Tensor:
        """Height of the peak."""
        return value.flatten(2).amax(2)

    def margin(self, value: Tensor) -> Tensor:
        """Height of the peak minus the highest cell farther than ``radius`` from it."""
        # The second choice is another place: cells beside the peak belong to it and are nearly as high.
        far = self._distance(self._peak(value), value.shape[-2:]) > self.radius
        return self.confidence(value) - (value * far).flatten(2).amax(2)

    def label(self, value: Tensor) -> Tensor:
        """Cell of the peak, row x width + column."""
        return value.flatten(2).argmax(2)

    def group(self, value: Tensor) -> Tensor:
        """The number of the joint."""
        joints = torch.arange(value.shape[1], device=value.device)
        return joints.expand(len(value), -1)

    def presence(self, value: Tensor) -> Tensor:
        """Mean height of each joint's peak."""
        return self.confidence(value).mean(0)

    def harden(self, value: Tensor) -> Tensor:
        """A Gaussian at the peak, whose highest cell is 1."""
        # In the size of the prediction, which need not be that of the task.
        return self._drawn(self._place(value), value.shape[-2:]).to(value)

    def decide(self, value: Tensor, weight: Tensor, valid: Tensor | None = None) -> Target:
        """Target of the places."""
        return Target(self.harden(value), weight, valid)

    def sharpen(self, value: Tensor, temperature: float) -> Tensor:
        """``h^(1/T)`` in each cell: below 1 the flanks of a peak fall."""
        return value ** (1 / temperature)

    def distribution(self, value: Tensor) -> Tensor:
        """Heatmaps normalized to sum 1 over their cells, (B, K, H * W)."""
        flat = value.flatten(2)
        return flat / flat.sum(-1, keepdim=True).clamp(min=1e-8)

    def reweigh(self, value: Tensor, factor: Tensor) -> Tensor:
        """Refused: places of joints have no prior."""
        raise ValueError("keypoints have no class prior to align to; leave out align")

    def agree(self, values: Tensor) -> Tensor:
        """Members whose peak lies within ``radius`` of the members' median place."""
        # The median: one member that is far off would move a mean away from all others.
        places = torch.stack([self._place(v) for v in values])
        apart: Tensor = (places - places.median(0, keepdim=True).values).norm(dim=-1)
        return apart <= self.radius

    def units(self, value: Tensor, confidence: Tensor, accepted: Tensor) -> Tensor:
        """Of each joint: its share of the joints, confidence, whether accepted, and its place in [0, 1]."""
        place = (self._place(value) + 0.5) / value.new_tensor([value.shape[-1], value.shape[-2]])
        share = torch.full_like(confidence, 1 / confidence.shape[1])
        return torch.cat([torch.stack([share, confidence, accepted.to(confidence)], -1), place], -1)

    def changed(self, before: Tensor, now: Tensor) -> Tensor:
        """Samples of which at least half of the joints have moved farther than ``radius``."""
        cells = now.new_tensor([self.size[1], self.size[0]])
        gap: Tensor = ((now[..., 3:] - before[..., 3:]) * cells).norm(dim=-1)
        return (gap > self.radius).float().mean(1) >= 0.5

    def spread(self, weight: Tensor) -> Tensor:
        """Add the two site axes."""
        return weight[..., None, None]

    def loss(self, logits: Tensor, target: Target) -> Tensor:
        """Cross-entropy of the place in nats, or squared error of the heatmap; see ``loss`` of the class."""
        check_shape(logits, target)
        if not self._places:
            # Of raw outputs: clamped ones have no gradient outside of [0, 1], where most is to be learned.
            error = (logits - target.value).square()
            return weighted_mean(error.sum((2, 3)) / self._mass if self._scaled else error.mean((2, 3)), target)
        # A squared error says little: nearly all cells are 0, and a flat heatmap is nearly right.
        said = logits.flatten(2).log_softmax(2)
        unit_loss = -(target.value.flatten(2) * said).sum(2) / self._mass
        if self._wing:
            gap = mean_place(said.exp().view_as(logits)) - self._place(target.value)
            unit_loss = unit_loss + wing_loss(gap / max(logits.shape[2:]))
        return weighted_mean(unit_loss, target)

    def consistency(self, logits: Tensor, target: Target) -> Tensor:
        """Squared difference of heatmaps: their sum over that of a Gaussian, or the same squared error as ``loss``."""
        if not self._places:
            return self.loss(logits, target)
        check_shape(logits, target)
        return weighted_mean((self.probs(logits) - target.value).square().sum((2, 3)) / self._mass, target)

    def warp(self, target: Target, view: View) -> Target:
        """Move each joint as a point, and draw it anew; a joint that leaves the view is not valid.

        What is no Gaussian of ``sigma``, such as a heatmap with two peaks, is resampled bilinearly.
        """
        if not view.moved:
            return target
        if self.pairs:
            sides, other = is_mirrored(view)[:, None], self._other
            weight, valid = (torch.where(sides, t[:, other], t) for t in (target.weight, target.mask() > 0))
            target = Target(torch.where(sides[..., None, None], target.value[:, other], target.value), weight, valid)
        value = target.value
        size = value.shape[-2:]
        place, height = self._place(value), self.confidence(value)[..., None, None]
        shape = value.new_tensor([size[1], size[0]])
        # Centers of cells: corners are those of the image, as in `resample`.
        seen = carry_places(view, (2 * place + 1) / shape - 1)
        drawn = self._drawn(((seen + 1) * shape - 1) / 2, size) * height
        near = self._drawn(place, size) * height
        # A resampled Gaussian is lower and wider: after two views what was sure is no longer.
        point = (value - near).abs().amax((2, 3), keepdim=True) <= _SHARP * height
        resampled = resample(value, grid_of_places(view, size, value), "bilinear")
        moved = torch.where(point, drawn, resampled)
        return replace(target, value=moved, valid=(target.mask() > 0) & is_inside(seen))

    def update(self, value: Tensor, target: Target) -> Tensor:
        """Number of valid joints, of those within ``radius``, and summed distance in cells, of places between cells."""
        keep = target.mask() * target.weight > 0
        gap = (self._place(value) - self._place(target.value)).norm(dim=-1)[keep]
        return torch.stack([keep.sum(), (gap <= self.radius).sum(), gap.sum()]).double()

    def compute(self, tally: Tensor) -> Mapping[str, float]:
        """``pck``: share of joints within ``radius`` in [0, 1]; ``distance``: mean distance in cells."""
        return {"pck": ratio(tally[1], tally[0]), "distance": ratio(tally[2], tally[0])}

    def _peak(self, value: Tensor) -> Tensor:
        """(B, K, H, W) -> (B, K, 2): column, row of the highest cell."""
        flat = value.flatten(2).argmax(2)
        return torch.stack([flat % value.shape[-1], flat // value.shape[-1]], -1).float()

    def _place(self, value: Tensor) -> Tensor:
        """Place of each peak between cells, (B, K, 2): column, row; exact for Gaussians of ``sigma``.

        Of the logarithms, which are parabolas (Zhang et al., "Distribution-Aware Coordinate Representation", 2020,
        arXiv:1910.06278, eq. 7, without its smoothing; the two axes are taken apart).
        """
        cell = self._peak(value).long()
        offsets = []
        for axis, length in enumerate((value.shape[-1], value.shape[-2])):
            # the logarithms of the peak's line, floored where a narrow peak would make one neighbor decide alone
            here = value.flatten(2).gather(2, (cell[..., 1] * value.shape[-1] + cell[..., 0])[..., None])
            sides = torch.stack([cell, cell], 2)
            sides[..., axis] += sides.new_tensor([-1, 1])
            there = (sides[..., axis] >= 0) & (sides[..., axis] < length)
            index = sides[..., 1] * value.shape[-1] + sides[..., 0]
            near = value.flatten(2).gather(2, index.where(there, 0))
            least = 4 / self.sigma**2
            fall = (here.clamp(min=1e-12).log() - near.clamp(min=1e-12).log()).clamp(0, least)
            before, after = fall.unbind(2)
            steep = before + after
            both = torch.where(steep > 0, (before - after) / (2 * steep.clamp(min=1e-12)), 0.0)
            # at the edge there is one neighbor, and the width is known
            left, right = (0.5 - self.sigma**2 * side for side in (before, after))
            offset = torch.where(there.all(2), both, torch.where(there[..., 1], right, -left))
            told = there.any(2) & ((near > 0) | ~there).all(2)  # 0 has no logarithm
            # not half a cell: what is drawn there has its peak in the same cell
            offsets.append(torch.where(told, offset, 0.0).clamp(-0.499, 0.499))
        return cell + torch.stack(offsets, -1)

    def _drawn(self, xy: Tensor, size: tuple[int, ...]) -> Tensor:
        """A Gaussian between cells that is as sure as one on a cell: where it is seen its highest cell is 1."""
        drawn = self._gaussian(xy, size)
        return drawn / drawn.amax((2, 3), keepdim=True).clamp(min=math.exp(-0.25 / self.sigma**2))

    def _distance(self, xy: Tensor, size: torch.Size | tuple[int, ...]) -> Tensor:
        """(B, K, 2) -> distance of each cell to the place, (B, K, H, W)."""
        rows = torch.arange(size[0], device=xy.device)[:, None] - xy[..., 1, None, None]
        columns = torch.arange(size[1], device=xy.device)[None, :] - xy[..., 0, None, None]
        return (rows.square() + columns.square()).sqrt()

    def _gaussian(self, xy: Tensor, size: tuple[int, ...] | None = None) -> Tensor:
        return torch.exp(-self._distance(xy, size or self.size).square() / (2 * self.sigma**2))


def mean_place(place: Tensor) -> Tensor:
    """Mean place of heatmaps (B, K, H, W) of sum 1, (B, K, 2): column, row; gradients flow through.

    Source: Sun et al., "Integral Human Pose Regression", 2018, arXiv:1711.08229, eq. 2 (soft-argmax).
    """
    columns, rows = (torch.arange(place.shape[axis], device=place.device).to(place) for axis in (3, 2))
    return torch.stack([place.sum(2) @ columns, place.sum(3) @ rows], -1)


def wing_loss(gap: Tensor, *, width: float = 10 / 256, curvature: float = 2 / 256) -> Tensor:
    """A loss of distances (B, K, 2) that pulls small ones about as hard as large ones, summed over both axes, (B, K).

    Source: Feng et al., "Wing Loss", CVPR 2018, arXiv:1711.06753, eq. 5. Differs: distances and both numbers, there 10
    and 2 pixels of 256, are shares of the picture's longer side, and the whole is divided by ``width``.
    """
    far = gap.abs()
    near = (1 + far / curvature).log()
    return torch.where(far < width, near, far / width - 1 + math.log(1 + width / curvature)).sum(-1)
