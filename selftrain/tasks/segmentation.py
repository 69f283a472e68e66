"""Segmentation: one label a pixel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from selftrain.errors import DataError
from selftrain.tasks.base import Classification, check_classes, check_shape, ratio, weighted_mean
from selftrain.tasks.geometry import Pairs, enlarged, grid_of_places, is_mirrored, other_side, resample
from selftrain.types import HardTarget, Target, View

_BYTES = 255  # classes whose numbers, and 0, a byte holds
_LEAST = 16  # with ``ohem`` one pixel of so many stays, however easy


class Segmentation(Classification):
    """One label a pixel; a unit is a pixel.

    Args:
        classes: Number of classes, at least 2.
        void: Annotation of pixels that have no label; they are not valid.
        pairs: Classes that are left and right of one another, such as ``[(1, 2)]``: they change places in a mirror
            image. ``()``: none do.
        class_weights: Factor on the cross-entropy of each class, >= 0. The loss is still divided by the number of valid
            pixels: take factors with a mean of about 1.
        ohem: Probability of the right class, in (0, 1], from which on a pixel is easy: easy ones count as not valid,
            but for the hardest sixteenth of a batch, in every loss, that of pseudo-labels too (Shrivastava et al.,
            "OHEM", CVPR 2016, arXiv:1604.03540, for boxes; released code for pixels has 0.7 and keeps a fixed number).
            ``None``: all count.
        dice: Factor of the Dice loss beside the cross-entropy, >= 0, see ``dice_loss``.
    """

    monitor = "mean_iou"
    one_unit = False

    def __init__(
        self,
        classes: int,
        *,
        void: int = 255,
        pairs: Pairs | None = None,
        class_weights: Sequence[float] | None = None,
        ohem: float | None = None,
        dice: float = 0.0,
    ) -> None:
        super().__init__(classes)
        if class_weights is not None and (len(class_weights) != classes or not min(class_weights) >= 0):
            raise ValueError(f"class_weights is {class_weights}; give {classes} numbers, one a class, each at least 0")
        if ohem is not None and not 0 < ohem <= 1:
            raise ValueError(f"ohem is {ohem}; it must be above 0 and at most 1, such as 0.7, or None")
        if not 0 <= dice < float("inf"):
            raise ValueError(f"dice is {dice}; it must be 0 or more")
        self.class_weights, self.ohem, self.dice = class_weights, ohem, dice
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
        """Cross-entropy in nats, with class numbers or soft targets, and what the settings add.

        Logits of fewer pixels than the target has are enlarged, bilinearly.
        """
        logits = enlarged(logits, target.shape[2:])
        weights = None if self.class_weights is None else logits.new_tensor(self.class_weights)
        hard = isinstance(target, HardTarget)
        if not hard and weights is None and self.ohem is None and self.dice == 0:
            return super().loss(logits, target)
        check_shape(logits, target)
        truth = target.label.long() if isinstance(target, HardTarget) else target.value
        unit_loss = F.cross_entropy(logits, truth, weights, reduction="none")
        counted = target if self.ohem is None else hard_units(logits, target, self.ohem)
        loss = weighted_mean(unit_loss, counted)
        return loss if self.dice == 0 else loss + self.dice * dice_loss(self.probs(logits), target)

    def consistency(self, logits: Tensor, target: Target) -> Tensor:
        """Squared difference of probabilities, mean over classes; logits of fewer pixels are enlarged."""
        return super().consistency(enlarged(logits, target.shape[2:]), target)

    def update(self, value: Tensor, target: Target) -> Tensor:
        """As of classes, pixel by pixel of the target."""
        return super().update(enlarged(value, target.shape[2:]), target)

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


@torch.no_grad()
def hard_units(logits: Tensor, target: Target, threshold: float) -> Target:
    """The same target with easy units not valid: those whose right class is more probable than ``threshold``.

    A sixteenth of the valid units stays in any case, the least probable ones.
    """
    right = (logits.softmax(1) * target.value).sum(1)
    valid = target.mask() > 0
    order = right.masked_fill(~valid, 2.0).flatten().sort().values
    # by a gather and not by a number of Python's, for which the host would wait
    least = order.gather(0, ((valid.sum() + _LEAST - 1) // _LEAST - 1).clamp(min=0).view(1))
    return target.having(target.tensors[0], target.weight, valid & (right <= least.clamp(min=threshold)))


def dice_loss(probs: Tensor, target: Target) -> Tensor:
    """One minus the Dice coefficient of probabilities (B, C, *S), mean over the classes of the target in the batch.

    Source: Milletari et al., "V-Net", 2016, arXiv:1606.04797, section 3. Differs: probabilities are not squared in the
    denominator, units count by their weights, and the whole is multiplied by the mean weight of the valid units, since
    a ratio would let a single unit that is kept pull as hard as all of them.

    Gradient: flows to ``probs``. No unit that counts gives 0 with a gradient path.
    """
    counted = (target.weight.detach() * target.mask()).unsqueeze(1)
    axes = [0, *range(2, probs.dim())]
    truth = target.value * counted
    both, size = (probs * truth).sum(axes), (probs * counted + truth).sum(axes)
    there = (truth.sum(axes) > 0).to(probs)
    missed = (1 - 2 * both / size.clamp(min=1e-6)) * there
    return counted.sum() / target.mask().sum().clamp(min=1) * missed.sum() / there.sum().clamp(min=1)
