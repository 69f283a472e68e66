"""Which rows are labeled, which validate and which stay unlabeled."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from selftrain.data.base.labels import Vocabulary, class_numbers, distinct, listed, one_class
from selftrain.data.base.random import keys
from selftrain.data.base.samples import RowNumbers
from selftrain.errors import DataError, setting
from selftrain.types import plain_settings

Overlap = Literal["exclude", "include"]
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Split:
    """Row numbers of the three parts of a training set, each ascending."""

    labeled: Rows
    validation: Rows
    unlabeled: Rows


@plain_settings
def split(
    y: Any,
    labels: int | None = None,
    *,
    classes: Sequence[str] | int | None = None,
    validation: float | None = 0,
    seed: int = 0,
    overlap: Overlap = "exclude",
) -> Split:
    """Choose labeled rows evenly over the classes; the rest is unlabeled.

    The validation rows are taken FROM the chosen labels: ``labels=100, validation=20`` trains on 80. They are never
    in the unlabeled part.

    Args:
        y: Class numbers, shape (N,); -1 = unlabeled.
        labels: Labels to use in all; ``None`` = every row with a label. Each class gets the same number, or one more
            for some classes, chosen by ``seed``, when they do not divide evenly; a class that has too few rows gives
            all it has and the others fill up.
        classes: Class names or their number; default: as many as the largest label says.
        validation: Labels to hold back: a count, or a share below 1; spread over the classes likewise.
        seed: Key of the choice.
        overlap: ``"exclude"``: a labeled row is not in the unlabeled part. ``"include"``: labeled rows are in both, as
            in FixMatch's experiments.

    Returns:
        The row numbers of each part.

    Raises:
        DataError: a label that is no class (row and value are named), more labels asked than there are, or no label at
            all.
    """
    if overlap not in ("exclude", "include"):
        raise ValueError(f'overlap is {overlap!r}; say "exclude" or "include"')
    y = check_labels(y, classes).numpy()
    chosen = _choose(y, _label_count(labels), seed, "labels")
    held_back = _validation(y, chosen, validation, seed)
    # taken from the labels asked for, not in addition: labels for validation cost as much as others
    labeled = np.setdiff1d(chosen, held_back)
    # rows held back for validation are never unlabeled ones: a pseudo-label of them would leak
    hidden = held_back if overlap == "include" else chosen
    return Split(labeled, held_back, np.setdiff1d(np.arange(len(y)), hidden))


def check_labels(y: Any, classes: Sequence[str] | int | None = None) -> Tensor:
    """Turn class numbers into int64, shape (N,), or say which one cannot be used.

    Args:
        y: Class numbers, integers or floats without a fraction; -1, or missing (NaN, ``None``, masked) = unlabeled.
        classes: Class names or their number; ``None``: labels have no upper bound.

    Raises:
        DataError: text, fractions, negatives other than -1, or labels beyond the classes; names row and value.
    """
    found = distinct(y)
    count = classes if isinstance(classes, int) or classes is None else len(classes)
    numbers = class_numbers(found, Vocabulary())
    outside = [] if count is None else [number for number in numbers if number is not None and number >= count]
    if count is not None and outside:
        raise DataError(
            f"{found.named(numbers.index(outside[0]))} is outside the {count} classes (0 to {count - 1}); correct it "
            "or add the class"
        )
    return torch.from_numpy(found.mapped([-1 if number is None else number for number in numbers]))


def warn_missing(y: Tensor, classes: Sequence[str]) -> None:
    """Warn with the names of the classes that have no label."""
    if len(classes) == 1 and len(y):
        warnings.warn(one_class(classes[0]), stacklevel=3)
    present = set(y.tolist())
    missing = [name for number, name in enumerate(classes) if number not in present]
    if missing:
        warnings.warn(
            f"no label for class {listed(missing)}; it can never be predicted: label some of its samples", stacklevel=3
        )


def warn_repeated(ids: Sequence[str], part: str) -> None:
    """Warn of ids that several samples have: nothing that is written by id can tell them apart."""
    if isinstance(ids, RowNumbers) or len(set(ids)) == len(ids):
        return
    often = [(name, many) for name, many in Counter(ids).items() if many > 1]
    name, many = often[0]
    warnings.warn(
        f"{len(often):,} ids stand for several {part} samples, such as {name!r} for {many:,}: ledger and review cannot "
        "tell them apart; give each row an id of its own, or leave out ids",
        stacklevel=3,
    )


def _label_count(labels: Any) -> int | None:
    """How many labels to use."""
    if labels is None or (isinstance(labels, int) and not isinstance(labels, bool) and labels >= 0):
        return labels
    raise DataError(
        f"labels is {labels!r}; give how many labels to use, a whole number of at least 0, or "
        f"{setting('labels', None)} for all there are"
    )


def _choose(y: Rows, count: int | None, seed: int, purpose: str) -> Rows:
    """Rows with a label, ``count`` of them, as even over the classes as they allow."""
    known = np.flatnonzero(y >= 0)
    if count == 0 or (count is None and not len(known)):
        return known[:0]
    if not len(known):
        raise DataError("no sample has a label; learn without labels first: see selftrain.pretrain")
    if count is None or count == len(known):
        return known
    if not 0 < count < len(known):
        raise DataError(f"{count} labels asked for, but {len(known)} samples have one; ask for fewer")
    # by a key of the row number, not by shuffling: which rows are chosen does not depend on how many there are
    order = keys(seed, 0, torch.from_numpy(known), purpose).numpy()
    known = known[np.argsort(order)]
    shares = _class_shares(np.bincount(y[known]), count, seed)
    return np.sort(np.concatenate([known[y[known] == c][:share] for c, share in enumerate(shares)]))


def _class_shares(available: NDArray[np.int64], count: int, seed: int) -> NDArray[np.int64]:
    """How many of ``count`` each class gives: level by level, the last level by a keyed order of the classes."""
    shares = np.zeros_like(available)
    while count:
        open_classes = np.flatnonzero(shares < available)
        # level by level: a class that has too few gives all it has, and the others share what is missing
        level = count // len(open_classes)
        if not level:
            order = np.argsort(keys(seed, 1, torch.from_numpy(open_classes), "remainder").numpy())
            shares[open_classes[order[:count]]] += 1
            return shares
        step = np.minimum(level, available[open_classes] - shares[open_classes])
        shares[open_classes] += step
        count -= int(step.sum())
    return shares


def _validation(y: Rows, chosen: Rows, validation: Any, seed: int) -> Rows:
    """The labels to hold back for validation."""
    validation = 0 if validation is None else validation
    number = isinstance(validation, int | float) and not isinstance(validation, bool)
    whole = isinstance(validation, int) or (number and validation.is_integer())
    if not number or not (0 <= validation < 1 or (whole and validation > 0)):
        raise ValueError(f"validation is {validation!r}; give a count, or a share of the labels below 1")
    count = round(validation * len(chosen)) if validation < 1 else int(validation)
    if count == 0:
        return chosen[:0]
    if count >= len(chosen):
        raise DataError(f"validation takes {count} of {len(chosen)} labels and leaves none to train on; take fewer")
    # chosen like the labels themselves: as evenly over the classes as they allow
    masked = np.full_like(y, -1)
    masked[chosen] = y[chosen]
    return _choose(masked, count, seed, "validation")
