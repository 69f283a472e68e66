"""Whether what a pile is made of fits together: shapes of its parts, and masks and joints with their pictures."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

import numpy as np
import torch
from torch import Tensor

from selftrain.data.base.joined import relabeled
from selftrain.data.base.samples import Samples
from selftrain.data.base.units import VOID, marked_joints
from selftrain.errors import DataError, setting
from selftrain.types import Target

_ROWS = 256


def check_samples(parts: Mapping[str, object]) -> None:
    """Refuse what is no set of rows, such as an array or a data set of another library.

    Raises:
        DataError: for the first one; names the door for it.
    """
    for part, given in parts.items():
        if given is not None and not isinstance(given, Samples):
            raise DataError(
                f"{part} is a {type(given).__name__}, which has no rows that can be asked for; arrays go through "
                "Pile.from_arrays, data sets of torch, torchvision or Hugging Face through data.from_dataset"
            )


def check_shapes(parts: Mapping[str, Samples], seen: Callable[[str, Tensor], Tensor]) -> None:
    """Refuse parts that one network cannot read.

    Args:
        parts: The sets by name, those that train first.
        seen: What a network gets to see of an input (1, ...) of a part: views may bring pictures to one size.

    Raises:
        DataError: another number of columns, channels or pixels in one part than in the first.
    """
    rows: dict[str, Tensor] = {}
    for part, samples in parts.items():
        with suppress(Exception):  # a row that cannot be read is told where it is needed
            rows[part] = samples.images(np.zeros(1, np.int64))
    if len({row.shape for row in rows.values()}) < 2:
        return
    first, *others = rows
    for part in others:
        # Pictures alone, and by their size alone: a mean of three channels makes three of one, and no view says so.
        if rows[part].ndim == rows[first].ndim == 4 and rows[part].shape[1] == rows[first].shape[1]:
            with suppress(Exception):  # views of one size cannot show another
                if seen(part, rows[part]).shape == seen(first, rows[first]).shape:
                    continue
        raise DataError(
            f"the {part} samples have {_words(rows[part])}, but the {first} ones {_words(rows[first])}; "
            f"{_remedy(rows[part], rows[first])}"
        )


def check_columns(given: Samples, reference: Samples) -> None:
    """Refuse a set to evaluate on that has other columns or channels; pictures may have another size.

    Raises:
        DataError: both numbers, and the remedy.
    """
    rows = []
    with suppress(Exception):  # a row that cannot be read is told where it is needed
        rows = [samples.images(np.zeros(1, np.int64)) for samples in (given, reference)]
    if rows and rows[0].shape[:2] != rows[1].shape[:2] or len({row.ndim for row in rows}) > 1:
        raise DataError(
            f"the samples to evaluate on have {_words(rows[0])}, but those of the pile {_words(rows[1])}; "
            f"{_remedy(rows[0], rows[1])}"
        )


def _words(row: Tensor) -> str:
    if row.ndim == 2:
        return f"{row.shape[1]} columns"
    return f"the shape {'x'.join(map(str, row.shape[1:]))}"


def _remedy(row: Tensor, other: Tensor) -> str:
    if row.ndim == other.ndim == 2:
        return "give each part the columns of training, in their order"
    if row.ndim == other.ndim == 4 and row.shape[1] == other.shape[1]:
        return f"bring all to one size: {setting('size')} where files are read, or resize the arrays"
    if row.ndim == other.ndim == 4:
        return f"bring all to as many channels: {setting('mode', 'L')} or {setting('mode', 'RGB')} where files are read"
    return "bring all parts to one shape"


def mask_numbers(masks: Tensor) -> dict[int, int]:
    """How many pixels each number has, in ascending order."""
    counts: dict[int, int] = {}
    if (known := getattr(masks, "counts", None)) is not None:  # of files, counted when they were found
        pixels = known.sum(0)
        return {int(number): int(pixels[number]) for number in pixels.nonzero()[0]}
    rows = max(1, min(_ROWS, 2**22 // max(1, math.prod(masks.shape[1:]))))  # as int64 more may not fit
    for start in range(0, len(masks), rows):
        piece = masks[start : start + rows]
        flat = (piece[:, 0] if has_weights(masks) else piece).flatten().long()
        if not len(flat):
            continue
        low, high = int(flat.min()), int(flat.max())
        if high - low < 1 << 16:  # counting is many times faster than sorting
            found = torch.bincount(flat - low)
            numbers = found.nonzero().flatten()
            pairs = zip((numbers + low).tolist(), found[numbers].tolist(), strict=True)
        else:
            values, found = flat.unique(return_counts=True)
            pairs = zip(values.tolist(), found.tolist(), strict=True)
        for number, count in pairs:
            counts[number] = counts.get(number, 0) + count
    return dict(sorted(counts.items()))


def are_joints(annotations: Tensor, size: Sequence[int] = ()) -> bool:
    """Whether annotations are joints (N, K, 3 or 2): x, y, visible; whole numbers if no mask has that ``size``."""
    if annotations.ndim != 3 or annotations.shape[2] not in (2, 3):
        return False
    return annotations.is_floating_point() or (len(size) == 2 and tuple(annotations.shape[1:]) != tuple(size))


def has_weights(masks: Tensor) -> bool:
    """Whether masks are (N, 2, H, W), of which the second plane says how much a pixel counts, up to 255."""
    return masks.ndim == 4 and masks.shape[1] == 2


def check_annotations(part: str, samples: Samples, classes: Sequence[str]) -> Samples:
    """Refuse masks that do not fit their pictures or hold no class numbers, and joints without a place.

    Returns:
        The same samples; those of joints with their marks, see ``marked_joints``.

    Raises:
        DataError: what is wrong, the row or the values, and the remedy.

    Warns:
        UserWarning: classes that no labeled pixel has.
    """
    annotations = samples.annotations
    if annotations is None or annotations.ndim < 3 or not len(annotations):
        return samples
    inputs = None
    with suppress(Exception):  # a row that cannot be read is told where it is needed
        inputs = samples.images(np.zeros(1, np.int64))
    if are_joints(annotations, () if inputs is None else inputs.shape[2:]):
        joints = marked_joints(annotations)
        _check_joints(part, joints)
        return relabeled(samples, joints)
    if inputs is None or inputs.ndim != 4:  # what is no picture has no masks
        return samples
    _check_form(part, annotations, tuple(inputs.shape[2:]))
    numbers = mask_numbers(annotations)
    known = set(numbers) - {-1}
    if known == {0, VOID} and not hasattr(annotations, "counts"):  # readers of files look at the numbers there
        name = f" {classes[1]!r}" if len(classes) == 2 else ""
        raise DataError(
            f"the masks of the {part} samples hold only 0 and 255, and 255 means a pixel without label (void), so that "
            f"no pixel has the class{name}; give class numbers: masks // 255"
        )
    outside = [number for number in numbers if classes and not 0 <= number < len(classes)]
    if len(outside) > 1:  # one may be the number that a task was told to take for void
        raise DataError(
            f"the masks of the {part} samples hold {_listed(outside)}, and classes are 0 to {len(classes) - 1}; only "
            "one other number can mean a pixel without label (void): give class numbers, such as "
            "np.unique(masks, return_inverse=True)[1].reshape(masks.shape) makes of gray levels"
        )
    if part == "labeled":
        warn_no_pixel(set(numbers), classes)
    return samples


def warn_no_pixel(numbers: set[int], classes: Sequence[str]) -> None:
    """Warn with the names of the classes that no pixel has."""
    missing = [name for number, name in enumerate(classes) if number not in numbers]
    if missing:
        text = (
            f"no labeled pixel is of class {_listed(missing)}; it can never be predicted: label some, or leave it out"
        )
        warnings.warn(text, stacklevel=4)


def _listed(things: Sequence[object]) -> str:
    more = f" and {len(things) - 10:,} more" if len(things) > 10 else ""
    return ", ".join(map(str, things[:10])) + more


def _check_form(part: str, masks: Tensor, size: tuple[int, ...]) -> None:
    """Refuse masks that are not (N, H, W) of whole numbers, in the size of their pictures."""
    shape = tuple(masks.shape[:1] + masks.shape[2:]) if has_weights(masks) else tuple(masks.shape)
    axis = next((i for i in (1, len(shape) - 1) if len(shape) == 4 and shape[i] in (1, 3, 4)), None)
    if axis is not None and shape[axis] == 1:
        way = "masks[:, 0]" if axis == 1 else "masks[..., 0]"
        raise DataError(f"the masks of the {part} samples have the shape {shape}, with a channel axis; give {way}")
    if axis is not None:
        raise DataError(
            f"the masks of the {part} samples have the shape {shape}: colors, not class numbers; give (N, H, W) with "
            f"the number of each color, such as (masks == color).all({axis if axis == 1 else -1}) for one class"
        )
    if len(shape) != 3:
        raise DataError(f"the annotations of the {part} samples have the shape {shape}; masks are (N, H, W)")
    if shape[1:] != size:
        raise DataError(
            f"the masks of the {part} samples are {shape[1]}x{shape[2]}, their pictures {size[0]}x{size[1]}; bring "
            "both to one size, masks without mixing class numbers: torchvision's resize(..., NEAREST)"
        )
    for start in range(0, len(masks) if masks.is_floating_point() else 0, _ROWS):
        wrong = masks[start : start + _ROWS] != masks[start : start + _ROWS].floor()
        if wrong.any():
            row = start + int(wrong.flatten(1).any(1).nonzero()[0])
            value = masks[start : start + _ROWS][wrong][0].item()
            raise DataError(
                f"the mask of row {row} of the {part} samples holds {value:g}, which is no class number; give whole "
                "numbers, such as (masks > 0.5) for two classes"
            )


def _check_joints(part: str, joints: Tensor) -> None:
    lost = (joints[..., 2] > 0) & ~joints[..., :2].isfinite().all(-1)
    if lost.any():
        row, joint = lost.nonzero()[0].tolist()
        raise DataError(
            f"joint {joint} of row {row} of the {part} samples is {joints[row, joint].tolist()} (x, y, visible), which "
            "is no place; give NaN, or set visible to 0, where a joint has none"
        )


def check_targets(
    part: str, annotations: Tensor, encode: Callable[[Tensor], Target], classes: Sequence[str], size: Sequence[int]
) -> None:
    """Refuse annotations that the task cannot encode, before the first step and not at the last evaluation.

    Args:
        part: Name of the part.
        annotations: All of it: classes (N,), masks (N, H, W) or joints (N, K, 3).
        encode: Of the task.
        classes: Names of the classes; empty where nobody gave them.
        size: Height and width of the pictures.

    Raises:
        DataError: a number that the task does not know, or joints of which half or more lie outside its cells.

    Warns:
        UserWarning: joints outside the cells, how many; classes that no labeled pixel has, where they have no names.
    """
    if are_joints(annotations, size):
        _check_places(part, annotations, encode, size)
    elif not annotations.is_floating_point() and annotations.ndim in (1, 3, 4):
        numbers = torch.tensor(list(mask_numbers(annotations)), dtype=torch.long)
        # each number once: targets of all masks would take the memory of a hundred of them; of thousands of classes a
        # part at a time, as a target has a place for each class
        parts = numbers.split(_ROWS) if annotations.ndim == 1 else [numbers.reshape(1, 1, -1)]
        try:
            for numbers in parts:
                target = encode(numbers)
        except DataError as error:
            raise DataError(f"the {part} samples: {error}") from error
        except Exception:  # a task of one's own may need whole masks; the first step shows what is wrong with them
            return
        if part == "labeled" and annotations.ndim >= 3 and not classes and target.value.ndim == 4:
            known = target.value.argmax(1)[target.mask() > 0].tolist()
            warn_no_pixel(set(known), [str(number) for number in range(target.value.shape[1])])


def _check_places(part: str, joints: Tensor, encode: Callable[[Tensor], Target], size: Sequence[int]) -> None:
    outside, height, width = 0, 0, 0
    for rows in joints.split(_ROWS):
        target = encode(rows)
        height, width = target.value.shape[-2:]
        outside += int(((rows[..., 2] > 0) & (target.mask() <= 0)).sum())
    visible = joints[joints[..., 2] > 0][:, :2]
    if not outside:
        if len(visible) > 1 and height > 4 < width and bool(((visible >= 0) & (visible <= 1)).all()):
            text = f"all joints of the {part} samples lie within one cell; give x and y in cells"
            warnings.warn(f"{text}: multiply by width and height", stacklevel=4)
        return
    counted = f"{outside:,} of {len(visible):,} visible joints"
    said = f"{counted} of the {part} samples lie outside of the {height}x{width} cells"
    if _inside(visible.flip(1), height, width).all():
        hint = "as (y, x) all would lie inside: swap the two"
    elif len(size) == 2 and _inside(visible, *size).all():
        shares = f"divide x by {size[1] / width:g}, y by {size[0] / height:g}"
        hint = f"they look like pixels of {size[0]}x{size[1]} pictures: {shares}"
    else:
        hint = "give x (column) and y (row) in cells"
    if 2 * outside >= len(visible):
        raise DataError(f"{said}; {hint}")
    warnings.warn(f"{said} and are left out; {hint}", stacklevel=4)


def _inside(places: Tensor, height: int, width: int) -> Tensor:
    return ((places >= -0.5) & (places <= places.new_tensor([width, height]) - 0.5)).all(-1)
