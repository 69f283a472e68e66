"""What depends on the kind of output: classification, segmentation, keypoints. Nothing else in the library asks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Literal, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from selftrain.errors import DataError
from selftrain.types import OUTSIDE, Recorded, Target, View

Pairs = Sequence[tuple[int, int]]
_SHARP = 0.02  # a heatmap that is nearer to a Gaussian than this, of its height, is that point


class Task(Protocol):
    """The questions that may be asked about outputs: by strategies, and by all that shows or judges what they learned.

    Shapes: see ``selftrain.types``.
    """

    monitor: str
    groups: int  # what thresholds and priors may differ by: classes, or joints
    has_classes: bool  # whether a unit decides among the groups (a class), or has one already and decides on a place
    one_unit: bool  # whether a sample is one unit, so that it has one label

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape (C, *S) of a prediction for an input of a shape."""
        ...

    def encode(self, annotation: Tensor) -> Target:
        """Turn annotations of the data set into a target of weight 1."""
        ...

    def probs(self, logits: Tensor) -> Tensor:
        """Turn raw outputs (B, C, *S) into values in [0, 1]; gradients flow through."""
        ...

    def confidence(self, value: Tensor) -> Tensor:
        """How sure each unit is: (B, C, *S) -> (B, *U) in [0, 1]."""
        ...

    def margin(self, value: Tensor) -> Tensor:
        """Distance of each unit's first choice to its second: (B, C, *S) -> (B, *U) in [0, 1]."""
        ...

    def label(self, value: Tensor) -> Tensor:
        """Decision of each unit as an integer: (B, C, *S) -> (B, *U)."""
        ...

    def group(self, value: Tensor) -> Tensor:
        """Group of each unit: its decided class, or its joint: (B, C, *S) -> (B, *U), in [0, groups)."""
        ...

    def presence(self, value: Tensor) -> Tensor:
        """Mean prediction for each group: (B, C, *S) -> (groups,): mean class probability, or mean height of a peak."""
        ...

    def harden(self, value: Tensor) -> Tensor:
        """Replace each unit's value by its decision at full confidence, (B, C, *S) -> (B, C, *S)."""
        ...

    def sharpen(self, value: Tensor, temperature: float) -> Tensor:
        """Raise to the power ``1/temperature`` and normalize where values are probabilities; gradients flow through."""
        ...

    def distribution(self, value: Tensor) -> Tensor:
        """Each unit's distribution over its choices, along the last axis: classes, or cells of a heatmap."""
        ...

    def reweigh(self, value: Tensor, factor: Tensor) -> Tensor:
        """Multiply the probability of each class by its factor (C,) and normalize; refused where there are no classes.

        Raises:
            ValueError: for joints, which have no prior.
        """
        ...

    def agree(self, values: Tensor) -> Tensor:
        """Which members side with the consensus: (N, B, C, *S) -> (N, B, *U) bool."""
        ...

    def spread(self, weight: Tensor) -> Tensor:
        """Make unit weights (B, *U) broadcastable to (B, C, *S)."""
        ...

    def loss(self, logits: Tensor, target: Target) -> Tensor:
        """Sum of weight times unit loss over the number of valid units; gradients flow to ``logits``."""
        ...

    def consistency(self, logits: Tensor, target: Target) -> Tensor:
        """Mean squared difference of values, weighted and divided like ``loss``; gradients flow to ``logits``."""
        ...

    def warp(self, target: Target, view: View) -> Target:
        """Carry a target into the geometry of a view."""
        ...

    def update(self, value: Tensor, target: Target) -> Tensor:
        """Additive statistic of a batch of predictions, for ``compute``."""
        ...

    def compute(self, tally: Tensor) -> Mapping[str, float]:
        """Figures of a summed tally; the one named ``monitor`` judges a run."""
        ...


def weighted_mean(unit_loss: Tensor, target: Target) -> Tensor:
    """Sum of weight x unit loss over valid units, divided by the number of *valid* units (not of kept ones).

    Source: Sohn et al., "FixMatch", 2020, arXiv:2001.07685, eq. 4 divides by the whole batch; invalid units (void
    pixels) are left out as in UniMatch. No valid or no kept unit gives 0 that still has a gradient path.

    Args:
        unit_loss: Loss of each unit, shape (B, *U).
        target: Its weights and validity.
    Gradient: flows to ``unit_loss`` only.
    """
    # Weights are detached: with a gradient a network could lower its loss by being unsure. Selection never enters the
    # denominator: divided by the kept units, a single sure sample would pull as hard as a whole batch.
    mask = target.mask()
    return (unit_loss * target.weight.detach() * mask).sum() / mask.sum().clamp(min=1)


def _cross_entropy(logits: Tensor, value: Tensor) -> Tensor:
    # From logits: the logarithm of a probability that has underflowed to 0 is infinite.
    return -(value * logits.log_softmax(1)).sum(1)


class Classification(Recorded):
    """One label a sample; a unit is a sample.

    Args:
        classes: Number of classes, at least 2.
    """

    monitor = "accuracy"
    has_classes = one_unit = True

    def __init__(self, classes: int) -> None:
        if classes < 2:
            raise ValueError(f"classes is {classes}; a classification needs at least 2")
        self.classes = self.groups = classes

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """A probability for each class."""
        return (self.classes,)

    def encode(self, annotation: Tensor) -> Target:
        """One-hot targets of class indices (B,).

        Raises:
            DataError: if an index is outside [0, classes).
        """
        if annotation.dim() != 1:
            shape = tuple(annotation.shape)
            raise DataError(f"labels have shape {shape}; classification needs one a sample, masks need Segmentation")
        _check_classes(annotation, annotation, self.classes)
        value = F.one_hot(annotation.long(), self.classes).float()
        return Target(value, value.new_ones(len(value)))

    def probs(self, logits: Tensor) -> Tensor:
        """Softmax over axis 1."""
        return logits.softmax(1)

    def confidence(self, value: Tensor) -> Tensor:
        """Largest probability."""
        return value.amax(1)

    def margin(self, value: Tensor) -> Tensor:
        """Largest minus second largest probability."""
        first, second = value.topk(2, dim=1).values.unbind(1)
        return first - second

    def label(self, value: Tensor) -> Tensor:
        """Most probable class."""
        return value.argmax(1)

    def group(self, value: Tensor) -> Tensor:
        """The decided class."""
        return self.label(value)

    def presence(self, value: Tensor) -> Tensor:
        """Mean probability of each class over all units."""
        # Probabilities and not decisions: alignment, FreeMatch and JointMatch are defined on the mean prediction.
        return value.movedim(1, -1).flatten(0, -2).mean(0)

    def harden(self, value: Tensor) -> Tensor:
        """One-hot at the most probable class."""
        # By argmax, as `label`: a tie must be the same decision in every answer. one_hot puts the classes last.
        return F.one_hot(value.argmax(1), value.shape[1]).movedim(-1, 1).to(value)

    def sharpen(self, value: Tensor, temperature: float) -> Tensor:
        """``p^(1/T)`` normalized over classes (Berthelot et al. 2019, MixMatch, eq. 7)."""
        # As logarithms: at a low temperature all powers underflow, and 0 / 0 is left. The floor keeps log 0 out.
        return value.clamp(min=1e-12).log().div(temperature).softmax(1)

    def distribution(self, value: Tensor) -> Tensor:
        """Class probabilities along the last axis, (B, *S, C)."""
        return value.movedim(1, -1)

    def reweigh(self, value: Tensor, factor: Tensor) -> Tensor:
        """Multiply each class by its factor and normalize over classes."""
        scaled = value * factor.view(1, -1, *[1] * (value.dim() - 2))
        # The floor: factors may leave a unit nothing in any class.
        return scaled / scaled.sum(1, keepdim=True).clamp(min=1e-12)

    def agree(self, values: Tensor) -> Tensor:
        """Members whose class is that of the mean probability."""
        return values.argmax(2) == values.mean(0).argmax(1)

    def spread(self, weight: Tensor) -> Tensor:
        """Add the class axis."""
        return weight.unsqueeze(1)

    def loss(self, logits: Tensor, target: Target) -> Tensor:
        """Cross-entropy with soft targets in nats."""
        _check_shape(logits, target)
        return weighted_mean(_cross_entropy(logits, target.value), target)

    def consistency(self, logits: Tensor, target: Target) -> Tensor:
        """Squared difference of probabilities, mean over classes (Tarvainen & Valpola 2017)."""
        # Mean over the classes, as in Mean Teacher's code: weights made for a sum over them are to be multiplied by C.
        return weighted_mean((self.probs(logits) - target.value).square().mean(1), target)

    def warp(self, target: Target, view: View) -> Target:
        """A class does not move: the target as it is."""
        return target

    def update(self, value: Tensor, target: Target) -> Tensor:
        """Counts (3, classes) of valid units of weight > 0: decided rightly, truly of each class, decided for it."""
        keep = target.mask() * target.weight > 0
        truth, guess = target.value.argmax(1)[keep], value.argmax(1)[keep]
        # No confusion matrix: of 10,000 classes it would be 0.8 GB a batch.
        counts = [torch.bincount(units, minlength=self.classes) for units in (truth[truth == guess], truth, guess)]
        # Double: a part of masks has more pixels than the 2**24 up to which float32 counts by ones.
        return torch.stack(counts).double()

    def compute(self, tally: Tensor) -> Mapping[str, float]:
        """``accuracy`` and ``balanced_accuracy`` (mean recall of the classes present), in [0, 1]."""
        hits, rows, _ = tally
        recall = hits[rows > 0] / rows[rows > 0]
        return {"accuracy": _ratio(hits.sum(), rows.sum()), "balanced_accuracy": _ratio(recall.sum(), len(recall))}


class Segmentation(Classification):
    """One label a pixel; a unit is a pixel.

    Args:
        classes: Number of classes, at least 2.
        void: Annotation of pixels that have no label; they are not valid.
        pairs: Classes that are left and right of one another, such as ``[(1, 2)]``: they change places in a mirror
            image. ``()``: none do.
    """

    monitor = "mean_iou"
    one_unit = False

    def __init__(self, classes: int, *, void: int = 255, pairs: Pairs | None = None) -> None:
        super().__init__(classes)
        self.void, self.pairs, self._other = void, pairs, _other_side(pairs, classes)

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """A probability for each class in each pixel."""
        return (self.classes, *shape[-2:])

    def encode(self, annotation: Tensor) -> Target:
        """One-hot targets of index masks (B, H, W); ``void`` pixels are not valid.

        Raises:
            DataError: if another index is outside [0, classes).
        """
        if annotation.dim() < 2:
            shape = tuple(annotation.shape)
            raise DataError(
                f"masks have shape {shape}; segmentation needs (B, H, W), one label a sample Classification"
            )
        valid = annotation != self.void
        _check_classes(annotation, annotation[valid], self.classes)
        # one_hot refuses the void number: such pixels get class 0, no weight, and are not valid.
        value = F.one_hot(annotation.long() * valid, self.classes).movedim(-1, 1).float()
        return Target(value, valid.float(), valid)

    def warp(self, target: Target, view: View) -> Target:
        """Resample values, weights and validity to the nearest pixel; what comes from outside is not valid."""
        if not view.moved:
            return target
        # One resampling for all three, so that value, weight and validity stay those of one pixel; to the nearest, as a
        # blend of two classes at their border is a label that nobody gave. Zeros from outside mean not valid.
        value = target.value
        if self.pairs:
            value = torch.where(_mirrored(view)[:, None, None, None], value[:, self._other], value)
        layers = torch.cat([value, target.weight[:, None], target.mask()[:, None]], 1)
        size = target.value.shape[-2:] if view.places is None else view.places.shape[1:3]
        moved = _sample(layers, _grid(view, size, layers, whole=True), "nearest")
        valid = moved[:, -1] > 0.5
        return Target(moved[:, :-2], moved[:, -2], valid)

    def compute(self, tally: Tensor) -> Mapping[str, float]:
        """``mean_iou`` over the classes that occur in truth or prediction, and pixel ``accuracy``, in [0, 1]."""
        # Of the counts of the whole part, as the field reports it: a mean of the images' own IoU is another figure.
        hit, rows, decided = tally
        union = rows + decided - hit
        iou = hit[union > 0] / union[union > 0]
        return {"mean_iou": _ratio(iou.sum(), len(iou)), "accuracy": _ratio(hit.sum(), rows.sum())}


class Keypoints(Recorded):
    """K joints as heatmaps; a unit is a joint.

    Args:
        joints: Number of joints, at least 1.
        size: Height and width of the heatmaps in cells.
        sigma: Standard deviation of a target's Gaussian in cells, > 0.
        radius: Distance in cells within which two places agree, and a prediction is correct, > 0.
        loss: ``"cross_entropy"``: outputs are logits of each joint's place, one a cell, and heatmaps their softmax,
            as high as a Gaussian of the same sum. ``"squared_error"``: outputs are heights.
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
        loss: Literal["cross_entropy", "squared_error"] = "cross_entropy",
        pairs: Pairs | None = None,
    ) -> None:
        if joints < 1:
            raise ValueError(f"joints is {joints}; there must be at least 1")
        if sigma <= 0 or radius <= 0:
            raise ValueError(f"sigma is {sigma} and radius {radius}; both must be above 0")
        if not isinstance(size, tuple | list) or len(size) != 2:
            raise ValueError(f"size is {size}; give height and width of the heatmaps in cells, such as (12, 12)")
        if loss not in ("cross_entropy", "squared_error"):
            raise ValueError(f"loss is {loss!r}; it must be 'cross_entropy' or 'squared_error'")
        self.joints, self.size, self.sigma, self.radius = joints, size, sigma, radius
        self.groups = joints
        self.pairs, self._other = pairs, _other_side(pairs, joints)
        self._places = loss == "cross_entropy"
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

    def spread(self, weight: Tensor) -> Tensor:
        """Add the two site axes."""
        return weight[..., None, None]

    def loss(self, logits: Tensor, target: Target) -> Tensor:
        """Cross-entropy of the place in nats, or squared error of the heatmap, mean over its cells."""
        _check_shape(logits, target)
        if self._places:
            # A squared error says little: nearly all cells are 0, and a flat heatmap is nearly right.
            said = logits.flatten(2).log_softmax(2)
            return weighted_mean(-(target.value.flatten(2) * said).sum(2) / self._mass, target)
        # Of raw outputs: clamped ones have no gradient outside of [0, 1], where most is to be learned.
        return weighted_mean((logits - target.value).square().mean((2, 3)), target)

    def consistency(self, logits: Tensor, target: Target) -> Tensor:
        """Squared difference of heatmaps: their sum over that of a Gaussian, or the same squared error as ``loss``."""
        if not self._places:
            return self.loss(logits, target)
        _check_shape(logits, target)
        return weighted_mean((self.probs(logits) - target.value).square().sum((2, 3)) / self._mass, target)

    def warp(self, target: Target, view: View) -> Target:
        """Move each joint as a point, and draw it anew; a joint that leaves the view is not valid.

        What is no Gaussian of ``sigma``, such as a heatmap with two peaks, is resampled bilinearly.
        """
        if not view.moved:
            return target
        if self.pairs:
            sides, other = _mirrored(view)[:, None], self._other
            weight, valid = (torch.where(sides, t[:, other], t) for t in (target.weight, target.mask() > 0))
            target = Target(torch.where(sides[..., None, None], target.value[:, other], target.value), weight, valid)
        value = target.value
        size = value.shape[-2:]
        place, height = self._place(value), self.confidence(value)[..., None, None]
        shape = value.new_tensor([size[1], size[0]])
        # Centers of cells: corners are those of the image, as in `_sample`.
        seen = _carried(view, (2 * place + 1) / shape - 1)
        drawn = self._drawn(((seen + 1) * shape - 1) / 2, size) * height
        near = self._drawn(place, size) * height
        # A resampled Gaussian is lower and wider: after two views what was sure is no longer.
        point = (value - near).abs().amax((2, 3), keepdim=True) <= _SHARP * height
        resampled = _sample(value, _grid(view, size, value), "bilinear")
        moved = torch.where(point, drawn, resampled)
        return replace(target, value=moved, valid=(target.mask() > 0) & _inside(seen))

    def update(self, value: Tensor, target: Target) -> Tensor:
        """Number of valid joints, of those within ``radius``, and summed distance in cells, of places between cells."""
        keep = target.mask() * target.weight > 0
        gap = (self._place(value) - self._place(target.value)).norm(dim=-1)[keep]
        return torch.stack([keep.sum(), (gap <= self.radius).sum(), gap.sum()]).double()

    def compute(self, tally: Tensor) -> Mapping[str, float]:
        """``pck``: share of joints within ``radius`` in [0, 1]; ``distance``: mean distance in cells."""
        return {"pck": _ratio(tally[1], tally[0]), "distance": _ratio(tally[2], tally[0])}

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


def relative(source: View, destination: View) -> View:
    """View of ``destination`` as seen from ``source``: its map sends a place of the one to that of the other.

    A label made on a weak view that was itself moved reaches the strong view through ``weak^-1`` after ``strong``.
    """
    return _Between(source, destination) if source.moved else destination


class _Between(View):
    """A view as seen from another; the map is found when a task asks for it, for classes do not move."""

    moved = True

    def __init__(self, source: View, destination: View) -> None:
        places = destination.places
        if places is None and source.places is not None:  # so that all ask for the map of each pixel
            size = destination.x.shape[-2:]
            places = _grid(View(destination.x, _still(destination)), size, source.places)
        vars(self).update(x=destination.x, places=places, pixels=destination.pixels, ends=(source, destination))

    @cached_property
    def theta(self) -> Tensor | None:
        """The map of each sample, (B, 2, 3)."""
        source, destination = vars(self)["ends"]
        if source.theta is None or destination.places is not None:
            return None
        # Homogeneous, so that a map can be inverted and multiplied with its offset.
        back: Tensor = torch.linalg.inv(_square(source.theta))
        return (back if destination.theta is None else back @ _square(destination.theta))[:, :2]


def has_classes(task: Task) -> bool:
    """Whether units have classes, with shares that can be compared; joints have places instead."""
    share = torch.full((task.groups,), 1 / task.groups)
    try:
        task.reweigh(share[None], share)  # refused where there are none
    except ValueError:
        return False
    return True


def unmoved(task: Task, value: Tensor, view: View) -> Target:
    """A prediction (B, C, *S) of a view in the geometry of the unmoved image; what the view hides is not valid."""
    here = Target(value, torch.ones_like(task.confidence(value)))
    return task.warp(here, relative(view, View(view.x)))


def _square(theta: Tensor) -> Tensor:
    """Affine maps (B, 2, 3) -> the same maps (B, 3, 3)."""
    return torch.cat([theta, theta.new_tensor([[[0, 0, 1]]]).expand(len(theta), 1, 3)], 1)


def _still(view: View) -> Tensor:
    """Its map, or that of a view that is not moved."""
    return torch.eye(2, 3, device=view.x.device).expand(len(view.x), 2, 3) if view.theta is None else view.theta


def _grid(view: View, size: tuple[int, ...], like: Tensor, whole: bool = False) -> Tensor:
    """Place of a target that each cell of a view shows, (B, H, W, 2); outside of [-1, 1] where it shows none.

    ``whole``: of targets that are no more than their pixels.
    """
    source, destination = vars(view).get("ends", (None, view))
    if destination.places is not None:
        dense = destination.pixels if whole and destination.pixels is not None else destination.places
        grid = _resized(dense, size).to(like)
    else:
        # align_corners as in the views: with the other convention labels lie up to half a pixel off their pictures.
        shape = [len(view.x), 1, *size]
        grid = F.affine_grid(_still(destination).to(like), shape, align_corners=False)
    if source is None:
        return grid
    if view.theta is None:
        return _seen(source, grid)
    there = F.affine_grid(view.theta.to(like), [len(view.x), 1, *size], align_corners=False)
    # What lies outside of the image is padding, also where both views show it.
    return torch.where(_inside(grid)[..., None], there, OUTSIDE)


def _carried(view: View, place: Tensor) -> Tensor:
    """Places of a target (B, K, 2) in a view; ``OUTSIDE`` for those that it does not show."""
    source, destination = vars(view).get("ends", (None, view))
    if source is not None:  # first into the image
        if source.places is None:
            place = _mapped(_still(source), place)
        else:
            known = _inside(source.places)[..., None].to(place)
            layers = torch.cat([source.places.to(place) * known, known], -1).movedim(-1, 1)
            found = F.grid_sample(layers, place[:, None], mode="bilinear", align_corners=False)[:, :, 0].movedim(1, -1)
            share = found[..., 2:]
            place = torch.where(share >= 0.25, found[..., :2] / share.clamp(min=0.25), OUTSIDE)
    return _seen(destination, place)


def _seen(view: View, place: Tensor) -> Tensor:
    """Places of the image (B, ..., 2) in a view; ``OUTSIDE`` for those that it does not show."""
    if view.places is not None:
        return _inverse(view.places.to(place), place.flatten(1, -2)).view_as(place)
    found = place
    if view.theta is not None:
        linear, offset = view.theta[:, :, :2].to(place), view.theta[:, :, 2:].to(place)
        # theta leads from the view to the original, so the way into the view is its inverse.
        found = torch.linalg.solve(linear, place.flatten(1, -2).transpose(1, 2) - offset).transpose(1, 2).view_as(place)
    return torch.where((_inside(place) & _inside(found))[..., None], found, OUTSIDE)


def _mirrored(view: View) -> Tensor:
    """Which samples a view shows as in a mirror, (B,): turning it would not lead back to the target."""
    source, destination = vars(view).get("ends", (None, view))
    if source is not None:
        return _mirrored(source) ^ _mirrored(destination)
    if view.places is None:
        theta = _still(view)
        return theta[:, 0, 0] * theta[:, 1, 1] < theta[:, 0, 1] * theta[:, 1, 0]
    known = _inside(view.places)
    right, down = _slope(view.places, known, 2), _slope(view.places, known, 1)
    area = right[..., 0] * down[..., 1] - right[..., 1] * down[..., 0]
    return (area.sign() * known).sum((1, 2)) < 0  # by most pixels, as some pipelines fold


def _other_side(pairs: Pairs | None, groups: int) -> list[int]:
    """For each class or joint the number of the one that it becomes in a mirror."""
    order = list(range(groups))
    paired = [number for pair in pairs or () for number in pair]
    if any(len(pair) != 2 for pair in pairs or ()) or len({*paired}) < len(paired) or not {*paired} <= {*order}:
        raise ValueError(f"pairs is {pairs}; give pairs of numbers from 0 to {groups - 1}, each in one pair")
    for left, right in pairs or ():
        order[left], order[right] = right, left
    return order


def _mapped(theta: Tensor, place: Tensor) -> Tensor:
    return place @ theta[:, :, :2].to(place).transpose(1, 2) + theta[:, :, 2].to(place)[:, None]


def _inside(place: Tensor) -> Tensor:
    """Which places (..., 2) lie in the picture; a hair beyond its edge counts."""
    return place.abs().amax(-1) <= 1 + 1e-5


def _resized(places: Tensor, size: tuple[int, ...]) -> Tensor:
    """Places (B, H, W, 2) for a view of another size."""
    if places.shape[1:3] == tuple(size):
        return places
    known = _inside(places)[..., None].to(places)
    layers = torch.cat([places * known, known], -1).movedim(-1, 1)
    small = F.interpolate(layers, size, mode="bilinear", align_corners=False).movedim(1, -1)
    return torch.where(small[..., 2:] >= 0.5, small[..., :2] / small[..., 2:].clamp(min=0.5), OUTSIDE)


def _inverse(places: Tensor, wanted: Tensor) -> Tensor:
    """Where a view of ``places`` (B, H, W, 2) shows the places ``wanted`` (B, N, 2): from -1 to 1, else ``OUTSIDE``.

    Newton's method: from a pixel that shows a place nearby, by the slopes of the map there to the next.
    """
    batch, height, width = places.shape[:3]
    known = _inside(places)
    number = torch.arange(height * width, device=places.device).expand(batch, -1).where(known.flatten(1), -1)
    pixel = number.new_zeros(wanted.shape[:2]) - 1
    for step in (16, 8, 4, 2, 1):  # a view that shows the image smaller leaves cells out: then any pixel nearby
        rows, columns = -(-height // step), -(-width // step)
        share = places.new_tensor([columns, rows])
        most = share.long() - 1
        cells, asked = (((p + 1) / 2 * share).long().clamp_min(0).minimum(most) for p in (places.flatten(1, 2), wanted))
        table = number.new_full((batch, rows * columns), -1)
        # the largest number, so that it is one and the same in every run
        table.scatter_reduce_(1, cells[..., 1] * columns + cells[..., 0], number, "amax")
        found = table.gather(1, asked[..., 1] * columns + asked[..., 0])
        pixel = torch.where(found >= 0, found, pixel)
    nothing = pixel < 0
    pixel = pixel.clamp_min(0)
    # here: place, and its slopes to the right and down
    here = torch.cat([places, _slope(places, known, 2), _slope(places, known, 1)], -1).flatten(1, 2)
    for _ in range(4):
        x, y, right_x, right_y, down_x, down_y = here.gather(1, pixel[..., None].expand(-1, -1, 6)).unbind(-1)
        off_x, off_y = wanted[..., 0] - x, wanted[..., 1] - y
        area = right_x * down_y - right_y * down_x
        area = torch.where(area.abs() > 1e-12, area, 1e-12)
        step_x, step_y = (off_x * down_y - off_y * down_x) / area, (right_x * off_y - right_y * off_x) / area
        column, row = pixel % width + step_x, pixel // width + step_y
        nearest = column.round().clamp(0, width - 1).long() + row.round().clamp(0, height - 1).long() * width
        last, pixel = pixel, torch.where(number.gather(1, nearest) >= 0, nearest, pixel)
    # the last step starts where the one before led, unless the map has an edge or a fold there
    near = (torch.stack([column - last % width, row - last // width]).abs() <= 1).all(0)
    found = torch.stack([(2 * column + 1) / width - 1, (2 * row + 1) / height - 1], -1)
    there = near & ~nothing & _inside(wanted) & _inside(found)
    return torch.where(there[..., None], found, OUTSIDE)


def _slope(places: Tensor, known: Tensor, axis: int) -> Tensor:
    """Change of the place from one pixel to the next along an axis, (B, H, W, 2), by the neighbors that are known."""
    ahead, behind = places.roll(-1, axis), places.roll(1, axis)
    is_ahead, is_behind = known.roll(-1, axis), known.roll(1, axis)
    is_ahead.select(axis, -1).fill_(False)
    is_behind.select(axis, 0).fill_(False)
    high, low = torch.where(is_ahead[..., None], ahead, places), torch.where(is_behind[..., None], behind, places)
    return (high - low) / (is_ahead.to(places) + is_behind.to(places)).clamp(min=1)[..., None]


def _sample(layers: Tensor, grid: Tensor, mode: str) -> Tensor:
    return F.grid_sample(layers, grid.to(layers), mode=mode, padding_mode="zeros", align_corners=False)


def _ratio(part: Tensor, whole: Tensor | int) -> float:
    # Wholes are counts: the floor only turns 0 / 0 into 0. A NaN would never compare as better or worse.
    return float(part) / max(float(whole), 1.0)


def _check_shape(logits: Tensor, target: Target) -> None:
    if logits.shape[1:] != target.value.shape[1:]:
        given, needed = tuple(logits.shape[1:]), tuple(target.value.shape[1:])
        raise DataError(f"the network gives {given} a sample, the task needs {needed}; build it with that many outputs")


def _check_classes(annotation: Tensor, labels: Tensor, classes: int) -> None:
    wrong = labels[(labels < 0) | (labels >= classes)]
    if len(wrong):
        row = (annotation == wrong[0]).nonzero()[0].tolist()
        raise DataError(
            f"label {wrong[0].item()} at position {row} is outside 0..{classes - 1}; check the class count: the task "
            f"has classes={classes}"
        )
