"""Segmentation: one label a pixel."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from selftrain.errors import DataError
from selftrain.tasks.base import Classification, check_classes, check_shape, ratio, weighted_mean
from selftrain.tasks.geometry import Pairs, grid_of_places, is_mirrored, other_side, resample
from selftrain.types import HardTarget, Target, View

_BYTES = 255  # classes whose numbers, and 0, a byte holds


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
        self.void, self.pairs, self._other = void, pairs, other_side(pairs, classes)

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """A probability for each class in each pixel."""
        return (self.classes, *shape[-2:])

    def encode(self, annotation: Tensor) -> Target:
        """Targets of index masks (B, H, W); ``void`` pixels are not valid.

        Of (B, 2, H, W) the second plane is the weight of each pixel, 255 = fully.

        Raises:
            DataError: if another index is outside [0, classes).
        """
        if annotation.dim() < 2:
            shape = tuple(annotation.shape)
            raise DataError(
                f"masks have shape {shape}; segmentation needs (B, H, W), one label a sample Classification"
            )
        weight = None
        if annotation.dim() == 4 and annotation.shape[1] == 2:
            annotation, weight = annotation.unbind(1)
        valid = annotation != self.void
        # void is no class: such pixels get class 0, no weight, and are not valid
        label = annotation * valid
        label = label if label.dtype == torch.uint8 else label.long()
        if bool(((label < 0) | (label >= self.classes)).any()):
            check_classes(annotation, annotation[valid], self.classes)
        sure = valid.float() if weight is None else valid * (weight / 255)
        return HardTarget(None, sure, valid, label=label, classes=self.classes)

    def label(self, value: Tensor) -> Tensor:
        """Most probable class of each pixel."""
        classes = value.shape[1]
        if classes > _BYTES:
            return value.argmax(1)
        # argmax along this axis takes many times as long on the CPU. Of equal classes the first, as argmax gives.
        value = value.contiguous()
        rank = torch.arange(classes, 0, -1, dtype=torch.uint8, device=value.device).view(-1, 1, 1)
        best = ((value == value.amax(1, keepdim=True)) * rank).amax(1)
        return classes - best.clamp(min=1).long()  # of NaN none is the largest

    def margin(self, value: Tensor) -> Tensor:
        """Largest minus second largest probability."""
        # topk along this axis takes many times as long on the CPU
        second = value.scatter(1, self.label(value).unsqueeze(1), -torch.inf).amax(1)
        return self.confidence(value) - second

    def decide(self, value: Tensor, weight: Tensor, valid: Tensor | None = None) -> Target:
        """Target of the most probable classes, as their numbers."""
        if type(self).harden is not Segmentation.harden:  # one of the user's own
            return super().decide(value, weight, valid)
        return HardTarget(None, weight, valid, label=self.label(value), classes=self.classes)

    def loss(self, logits: Tensor, target: Target) -> Tensor:
        """Cross-entropy in nats, with class numbers or soft targets."""
        if not isinstance(target, HardTarget):
            return super().loss(logits, target)
        check_shape(logits, target)
        return weighted_mean(F.cross_entropy(logits, target.label.long(), reduction="none"), target)

    def warp(self, target: Target, view: View) -> Target:
        """Resample values, weights and validity to the nearest pixel; what comes from outside is not valid."""
        if not view.moved:
            return target
        # One resampling for all three, so that value, weight and validity stay those of one pixel; to the nearest, as a
        # blend of two classes at their border is a label that nobody gave. Zeros from outside mean not valid.
        hard = isinstance(target, HardTarget)
        value = target.tensors[0].unsqueeze(1) if hard else target.value
        if self.pairs:
            other = torch.tensor(self._other, device=value.device)
            swapped = other[value.long()] if hard else value[:, other]
            value = torch.where(is_mirrored(view)[:, None, None, None], swapped, value)
        layers = torch.cat([value.to(target.weight), target.weight[:, None], target.mask()[:, None]], 1)
        size = target.shape[-2:] if view.places is None else view.places.shape[1:3]
        moved = resample(layers, grid_of_places(view, size, layers, whole=True), "nearest")
        valid = moved[:, -1] > 0.5
        return target.having(moved[:, 0].to(target.tensors[0].dtype) if hard else moved[:, :-2], moved[:, -2], valid)

    def compute(self, tally: Tensor) -> Mapping[str, float]:
        """``mean_iou`` over the classes that occur in truth or prediction, and pixel ``accuracy``, in [0, 1]."""
        # Of the counts of the whole part, as the field reports it: a mean of the images' own IoU is another figure.
        hit, rows, decided = tally
        union = rows + decided - hit
        iou = hit[union > 0] / union[union > 0]
        return {"mean_iou": ratio(iou.sum(), len(iou)), "accuracy": ratio(hit.sum(), rows.sum())}
