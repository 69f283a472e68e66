"""Masks and joints as annotations: what arrays and lists of them mean, and which rows have any."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from selftrain.data.base.dense import dense
from selftrain.data.base.labels import Classes, NoLabel, class_names
from selftrain.data.base.samples import Rows, as_annotations
from selftrain.errors import DataError

VOID = 255  # the field's number for pixels without label


def read_units(y: Any, x: Any, no_label: NoLabel = -1) -> Tensor | None:
    """Masks (N, H, W) or joints (N, K, 3) of what a user has; ``None``: there is one label a row.

    Args:
        y: An array, or a list with a mask or joints for each row, ``None`` where there are none.
        x: The inputs: whole numbers (N, K, 2 or 3) are joints where pictures have another size.
        no_label: Numbers of pixels without label beside 255; -1: rows that are -1 all over have no mask.

    Raises:
        DataError: rows of different shapes.
    """
    listed = isinstance(y, list | tuple) or (isinstance(y, np.ndarray) and y.dtype == object)
    known = [np.asarray(row) for row in y if isinstance(row, list) or hasattr(row, "ndim")] if listed else []
    if listed and not any(row.ndim > 1 for row in known) or not listed and np.ndim(y) < 3:
        return None
    if listed:
        none = np.full(known[0].shape, np.nan if _is_places(known[0].shape) else VOID)
        if none[0, 0] == VOID:
            none = none.astype(np.uint8)
        y = dense([none if row is None else np.asarray(row) for row in y], "y")
    found = as_annotations(y)
    if _is_places(found.shape[1:]):
        sides = tuple(getattr(x, "shape", ()))
        found = found if tuple(found.shape[1:]) in (sides[1:3], sides[-2:]) else found.float()
    if found.is_floating_point():
        return marked_joints(found) if _is_places(found.shape[1:]) else found
    found = found.clone()
    numbers: Any = no_label if isinstance(no_label, Iterable) and not isinstance(no_label, str) else [no_label]
    for number in numbers:
        if number in (-1, None):
            found[(found == -1).flatten(1).all(1)] = VOID
        else:
            found[found == number] = VOID
    return as_annotations(found)


def _is_places(shape: Sequence[int]) -> bool:
    return len(shape) == 2 and shape[1] in (2, 3)


def marked_joints(joints: Tensor) -> Tensor:
    """Joints (N, K, 2 or 3) as x, y and whether they are known, (N, K, 3): 0 where one of their numbers is NaN."""
    joints = joints.float()
    mark = joints[..., 2:] if joints.shape[-1] == 3 else torch.ones_like(joints[..., :1])
    marked = torch.cat([joints[..., :2], mark], -1)
    return torch.where(marked.isnan().any(-1, keepdim=True), 0.0, marked)


def unit_classes(parts: Sequence[Tensor], classes: Classes | None) -> list[str]:
    """Names of the classes of masks, by default their numbers; of joints the names that are given, if any."""
    masks = [y[y != VOID] for y in parts if not y.is_floating_point()]
    top = max((int(y.max()) for y in masks if y.numel()), default=-1)
    return class_names(classes)[0] or [str(number) for number in range(top + 1)]


def some_rows(annotations: Tensor, rows: Rows) -> Tensor:
    """Annotations of these rows; masks of files are not read yet."""
    of = getattr(annotations, "of", None)
    return annotations[torch.from_numpy(rows)] if of is None else of(rows)


def rows_known(truth: Tensor | None, annotations: Tensor, rows: Rows, more: int = 0) -> Tensor:
    """What is known of unlabeled rows, for figures alone.

    Args:
        truth: Of all training rows, in the form of ``annotations``; where it has none these count (masks of files have
            both already). ``None``: these alone.
        annotations: Class numbers, masks or joints of all training rows, those that are hidden too.
        rows: That are unlabeled.
        more: Further rows behind them, of which nothing is known.

    Raises:
        DataError: a truth of another shape.
    """
    known = some_rows(annotations, rows)
    if truth is not None:
        shapes = tuple(truth.shape), tuple(annotations.shape)
        if shapes[0] != shapes[1] and not hasattr(truth, "of"):
            raise DataError(
                f"truth has shape {shapes[0]} and y {shapes[1]}; give what is known of each row, in its form"
            )
        given = some_rows(truth, rows)
        told = (by_class(given) >= 0).view(-1, *[1] * (given.ndim - 1))
        known = given if hasattr(given, "of") else torch.where(told, given, known.to(given.dtype))
    if more:
        none = torch.full((more, *known.shape[1:]), -1 if known.ndim == 1 else 0 if known.is_floating_point() else VOID)
        known = torch.cat([known[:], none.to(known.dtype)])
    return known


def by_class(annotations: Tensor) -> Tensor:
    """What a choice of labels goes by: class numbers; of masks and joints 0 where a row has any, and -1 where not."""
    if annotations.dim() == 1:
        return annotations
    if annotations.is_floating_point() and _is_places(annotations.shape[1:]):
        empty = ~(marked_joints(annotations)[..., 2] > 0).any(1)
    elif (counts := getattr(annotations, "counts", None)) is not None:  # of files
        empty = torch.from_numpy(counts[:, :VOID].sum(1) == 0)
    else:  # masks, of which a second plane has the weights: -1 as for classes, or all void
        flat = (annotations[:, 0] if annotations.ndim == 4 else annotations).flatten(1)
        empty = ((flat < 0) | (flat == VOID)).all(1)
    return -empty.long()
