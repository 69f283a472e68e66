"""Segmentation: one label a pixel."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from selftrain.errors import DataError
from selftrain.tasks.base import Classification, check_classes, ratio
from selftrain.tasks.geometry import Pairs, grid_of_places, is_mirrored, other_side, resample
from selftrain.types import Target, View


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
        check_classes(annotation, annotation[valid], self.classes)
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
            value = torch.where(is_mirrored(view)[:, None, None, None], value[:, self._other], value)
        layers = torch.cat([value, target.weight[:, None], target.mask()[:, None]], 1)
        size = target.value.shape[-2:] if view.places is None else view.places.shape[1:3]
        moved = resample(layers, grid_of_places(view, size, layers, whole=True), "nearest")
        valid = moved[:, -1] > 0.5
        return Target(moved[:, :-2], moved[:, -2], valid)

    def compute(self, tally: Tensor) -> Mapping[str, float]:
        """``mean_iou`` over the classes that occur in truth or prediction, and pixel ``accuracy``, in [0, 1]."""
        # Of the counts of the whole part, as the field reports it: a mean of the images' own IoU is another figure.
        hit, rows, decided = tally
        union = rows + decided - hit
        iou = hit[union > 0] / union[union > 0]
        return {"mean_iou": ratio(iou.sum(), len(iou)), "accuracy": ratio(hit.sum(), rows.sum())}
