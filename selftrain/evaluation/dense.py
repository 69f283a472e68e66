"""Figures of masks and joints as the field reports them: IoU and Dice of each class, PCK, NME and OKS-AP."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from selftrain.errors import DataError
from selftrain.metrics.joints import Normalizer, average_precision, normalizers, similarity
from selftrain.runtime import signals
from selftrain.strategy.base import SupervisedStrategy
from selftrain.tasks import Task
from selftrain.types import Pile, plain_settings


@dataclass(frozen=True)
class MaskFigures:
    """How right masks are, of all pixels with a label of a part together, in [0, 1].

    Attributes:
        mean_iou: Mean of ``iou`` over the classes that occur in truth or prediction.
        mean_dice: Mean of ``dice`` over the same.
        accuracy: Share of the pixels that are right.
        iou: Intersection over union of each class by name; NaN where it occurs in neither.
        dice: Twice the intersection over the sum of both areas (the F1 score of pixels).
        pictures: That were asked.
    """

    mean_iou: float
    mean_dice: float
    accuracy: float
    iou: Mapping[str, float]
    dice: Mapping[str, float]
    pictures: int


@dataclass(frozen=True)
class JointFigures:
    """How right places of joints are, against the truth as it was given, between pixels.

    Attributes:
        pck: Share of the known joints that are nearer than ``alpha`` times the normalizer, in [0, 1].
        per_joint: The same of each joint by name; NaN where none is known.
        nme: Mean distance over the normalizer.
        pixels: Mean distance in pixels of the pictures as the network sees them.
        ap: OKS-AP; NaN where there is no area to compare with.
        joints: Known joints with a normalizer.
    """

    pck: float
    per_joint: Mapping[str, float]
    nme: float
    pixels: float
    ap: float
    joints: int


@plain_settings
def mask_figures(
    strategy: SupervisedStrategy,
    pile: Pile,
    part: object = "test",
    *,
    truth: Sequence[Any] | None = None,
    overlap: float | None = None,
    flip: bool = False,
    batch_size: int = 32,
) -> MaskFigures:
    """Intersection over union, Dice and pixel accuracy of what a strategy ships.

    Args:
        strategy: That predicts classes of pixels.
        pile: The data.
        part: A part of the pile, or a set with masks, of pictures of any size that the network takes.
        truth: Masks at the original resolution, one (H, W) a picture in the order of the part: probabilities are
            resampled bilinearly to each. ``None``: the masks of the part.
        overlap: Pictures larger than those of training are asked in windows of that size that overlap by this share, in
            [0, 1); probabilities are averaged. ``None``: as a whole.
        flip: Whether the mirror image is asked as well, and both are averaged.
        batch_size: Pictures, or windows, asked at a time.

    Raises:
        ValueError: the part is empty, or an overlap out of its range.
        DataError: joints in place of masks, or another number of masks than pictures.
    """
    task = strategy.task
    if not task.has_classes or task.one_unit:
        raise DataError(f"{type(task).__name__} predicts no masks; ask run.evaluate(), or joint_figures for joints")
    tally, pictures = None, 0
    with strategy.evaluating(), torch.no_grad():
        for batch in _batches(pile, part, batch_size, strategy):
            value = probabilities(strategy, batch.x, overlap=overlap, flip=flip, batch_size=batch_size)
            if truth is None:
                pairs = [(value, batch.annotation)]
            else:
                own = [torch.as_tensor(mask, device=value.device) for mask in truth[pictures : pictures + len(value)]]
                pairs = [
                    (F.interpolate(one[None], mask.shape, mode="bilinear", align_corners=False), mask[None])
                    for one, mask in zip(value, own, strict=False)
                ]
            for said, masks in pairs:
                counts = task.update(said, task.encode(masks))
                tally = counts if tally is None else tally + counts
            pictures += len(value)
    if truth is not None and len(truth) != pictures:
        raise DataError(f"there are {pictures} pictures and {len(truth)} masks in truth; give one for each, in order")
    assert tally is not None  # a part is not empty
    hit, known, said = tally.cpu().double()
    there = known + said > 0
    iou, dice = hit / (known + said - hit), 2 * hit / (known + said)
    numbered = len(pile.classes) != task.groups
    names = [str(i) for i in range(task.groups)] if numbered else [str(name) for name in pile.classes]
    return MaskFigures(
        float(iou[there].mean()) if bool(there.any()) else math.nan,
        float(dice[there].mean()) if bool(there.any()) else math.nan,
        float(hit.sum() / known.sum()),
        dict(zip(names, iou.tolist(), strict=True)),
        dict(zip(names, dice.tolist(), strict=True)),
        pictures,
    )


@plain_settings
def joint_figures(
    strategy: SupervisedStrategy,
    pile: Pile,
    part: object = "test",
    *,
    by: Normalizer = "picture",
    alpha: float = 0.05,
    boxes: Any = None,
    sigmas: Sequence[float] | None = None,
    flip: bool = False,
    batch_size: int = 32,
) -> JointFigures:
    """PCK, normalized mean error and OKS-AP of what a strategy ships, decoded between cells.

    Args:
        strategy: That predicts joints.
        pile: The data.
        part: A part of the pile, or a set with joints.
        by: What distances are divided by, see ``selftrain.metrics.joints.normalizers``.
        alpha: Of PCK, above 0.
        boxes: x, y, width, height of each sample in pixels of the pictures as the network sees them, (N, 4), of objects
            or, for ``by="head"``, of heads. ``None``: the area for OKS is that of the box around the known joints.
        sigmas: Spread of the annotations of each joint, (K,); ``None``: 0.05 each (COCO's are 0.025 of eyes to 0.107 of
            hips).
        flip: Whether the mirror image is asked as well, and both are averaged; with ``pairs`` of the task.
        batch_size: Pictures asked at a time.

    Raises:
        ValueError: the part is empty, or a setting out of its range.
        DataError: the strategy predicts no joints.
    """
    task = strategy.task
    if task.has_classes:
        raise DataError(f"{type(task).__name__} predicts no joints; ask mask_figures for masks, or run.evaluate()")
    if not alpha > 0:
        raise ValueError(f"alpha is {alpha}; it is a share of the normalizer, above 0")
    columns: list[tuple[Tensor, ...]] = []
    with strategy.evaluating(), torch.no_grad():
        for batch in _batches(pile, part, batch_size, strategy):
            value, target = probabilities(strategy, batch.x, flip=flip), task.encode(batch.annotation)
            size = batch.x.shape[-2:]
            found, known = (_places(task, one, size) for one in (value, target.value))
            there = target.mask() * target.weight > 0
            columns.append(tuple(c.cpu() for c in (found, known, there, task.confidence(value).mean(1))))
    found, truth, known, score = (torch.cat(column) for column in zip(*columns, strict=True))
    given = None if boxes is None else torch.as_tensor(boxes).double().reshape(len(found), 4)
    length = normalizers(truth, known, by, (float(size[0]), float(size[1])), given)
    gap = (found - truth).norm(dim=2)
    counted = known & ~length.isnan()[:, None]
    near, shares = gap / length[:, None], counted.sum(0)
    right = ((near < alpha) & counted).sum(0) / shares
    around = truth.where(known[..., None], math.nan)
    sides = _extent(around) if given is None or by == "head" else given[:, 2:]
    area = sides.prod(1)
    spread = torch.full((truth.shape[1],), 0.05) if sigmas is None else torch.as_tensor(list(sigmas))
    similar = similarity(gap, known, area, spread).where((area > 0) & known.any(1), math.nan)
    names = (
        [str(n) for n in pile.classes] if len(pile.classes) == len(right) else [f"joint {i}" for i in range(len(right))]
    )
    many = int(counted.sum())
    return JointFigures(
        float(((near < alpha) & counted).sum() / many) if many else math.nan,
        dict(zip(names, right.tolist(), strict=True)),
        float(near[counted].mean()) if many else math.nan,
        float(gap[known].mean()) if bool(known.any()) else math.nan,
        average_precision(similar, score),
        many,
    )


def probabilities(
    strategy: SupervisedStrategy,
    x: Tensor,
    *,
    overlap: float | None = None,
    flip: bool = False,
    batch_size: int = 32,
) -> Tensor:
    """What a strategy predicts of plain pictures (B, channels, H, W), in windows or with the mirror image if asked.

    Args:
        strategy: That is asked; it is in evaluation mode.
        x: The pictures.
        overlap: Share by which windows of the size of training overlap, in [0, 1); ``None``: no windows.
        flip: Whether to average with what is said of the mirror image.
        batch_size: Windows asked at a time.

    Raises:
        ValueError: an overlap out of its range, or no size of training is known.
        DataError: pictures smaller than a window.
    """
    if flip:
        plain, mirrored = (
            probabilities(strategy, seen, overlap=overlap, batch_size=batch_size) for seen in (x, x.flip(-1))
        )
        return (plain + mirrored_back(strategy.task, mirrored)) / 2
    return strategy.predict(x) if overlap is None else _in_windows(strategy, x, overlap, batch_size)


def _in_windows(strategy: SupervisedStrategy, x: Tensor, overlap: float, batch_size: int) -> Tensor:
    """The mean of what is said in all windows that show a pixel."""
    if not 0 <= overlap < 1:
        raise ValueError(f"overlap is {overlap}; it is a share of a window, in [0, 1)")
    if strategy.input_shape is None:
        raise ValueError("no size of windows is known; ask a strategy that was trained, or overlap=None")
    sides = strategy.input_shape[-2:]
    if any(there < side for there, side in zip(x.shape[-2:], sides, strict=True)):
        raise DataError(
            f"pictures are {tuple(x.shape[-2:])}, smaller than the windows of training, {tuple(sides)}; "
            "enlarge them, or overlap=None"
        )
    rows, columns = (_starts(there, side, overlap) for there, side in zip(x.shape[-2:], sides, strict=True))
    places = [(i, row, column) for i in range(len(x)) for row in rows for column in columns]
    total, many = torch.zeros(0), x.new_zeros(1, 1, *x.shape[-2:])
    for start in range(0, len(places), batch_size):
        signals.check()
        some = places[start : start + batch_size]
        windows = torch.stack([x[i, :, r : r + sides[0], c : c + sides[1]] for i, r, c in some])
        for (i, r, c), said in zip(some, strategy.predict(windows), strict=True):
            if not len(total):
                total = said.new_zeros(len(x), len(said), *x.shape[-2:])
            total[i, :, r : r + sides[0], c : c + sides[1]] += said
    for row in rows:
        for column in columns:
            many[..., row : row + sides[0], column : column + sides[1]] += 1
    return total / many


def mirrored_back(task: Task, value: Tensor) -> Tensor:
    """What is said of mirror images (B, C, *S), as of the pictures: places mirrored, and left and right exchanged."""
    order = list(range(value.shape[1]))
    for left, right in getattr(task, "pairs", None) or ():
        order[left], order[right] = right, left
    return value.flip(-1)[:, order]


def _starts(there: int, side: int, overlap: float) -> list[int]:
    """Where windows begin, evenly, the last at the end: neighbors overlap by at least a share."""
    step = max(1, int(side * (1 - overlap)))
    windows = -(-(there - side) // step) + 1
    return [round(i * (there - side) / max(1, windows - 1)) for i in range(windows)]


def _places(task: Task, value: Tensor, size: Sequence[int]) -> Tensor:
    """Places of joints in pixels from the corner of the picture, (B, K, 2), in double precision."""
    sure = task.confidence(value)
    return task.units(value, sure, sure > 0)[..., 3:].double() * value.new_tensor([size[1], size[0]]).double()


def _extent(places: Tensor) -> Tensor:
    """Width and height of the box around places that are no NaN, (N, 2)."""
    low = places.nan_to_num(math.inf).amin(1)
    high = places.nan_to_num(-math.inf).amax(1)
    return (high - low).clamp(min=0)


def _batches(pile: Pile, part: object, batch_size: int, strategy: SupervisedStrategy) -> Any:
    batches = pile.evaluation(part, batch_size, next(strategy.parameters()).device)
    if batches is None:
        raise ValueError(f"the pile has no samples in {part!r}; pass a data set or another part")
    return batches
