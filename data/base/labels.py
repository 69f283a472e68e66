"""Class numbers from names, and the empty cells that mean unlabeled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from selftrain.errors import DataError

UNLABELED = "-1"


def numbered(names: Sequence[str | None], classes: Sequence[str] | None, source: str) -> tuple[Tensor, Sequence[str]]:
    """Class numbers of named labels.

    Args:
        names: Name of each row's class; ``None``, an empty text and ``"-1"`` mean unlabeled.
        classes: The names in their order; ``None``: those that occur, sorted, as numbers where all of them are.
        source: Where the labels are from, for messages.

    Returns:
        Class numbers, -1 = unlabeled, (N,), int64, and the names.

    Raises:
        DataError: a name outside ``classes``; row and value are named.
    """
    # tables write a missing label in all of these ways
    given = [None if name is None or name.strip() in ("", UNLABELED) else name.strip() for name in names]
    if classes is None:
        classes = sort_names({name for name in given if name is not None})
    number = {name: i for i, name in enumerate(classes)}
    for row, name in enumerate(given):
        if name is not None and name not in number:
            shown = ", ".join(list(classes)[:10]) + (", ..." if len(classes) > 10 else "")
            raise DataError(f"{source}, row {row}: label {name!r} is no class ({shown}); correct it or add the class")
    return torch.tensor([-1 if name is None else number[name] for name in given], dtype=torch.long), list(classes)


def sort_names(names: set[str]) -> list[str]:
    """Names in order: by value where all are numbers, else as text."""
    try:
        return sorted(names, key=lambda name: (float(name), name))
    except ValueError:
        return sorted(names)


def as_text(value: Any) -> str | None:
    """One spelling of a cell: ``None`` where it is missing, ``3`` for 3, 3.0 and "3.0"."""
    if value is None or (isinstance(value, float | np.floating) and np.isnan(value)):
        return None
    # a column of numbers with one missing cell is read as floats: 3.0 is class 3
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    head, dot, tail = text.partition(".")
    return head if dot and tail and not tail.strip("0") and head.lstrip("-").isdecimal() else text
