"""Which classes are shown one by one, and under which names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor

ALL, RIGHT = RESERVED = ("all", "right")  # stand in the place of a class in tags
_LONGEST = 40


def group_names(classes: Sequence[str], groups: int) -> list[str]:
    """A name for each group that can be part of a tag: those of the classes, or ``joint 0`` and so on.

    Slashes and characters that cannot be printed are replaced, names are cut at 40 characters; what is empty, occurs
    twice or is reserved gets its number.
    """
    given = [str(name) for name in classes] if len(classes) == groups else [f"joint {i}" for i in range(groups)]
    names = [_printable(name) for name in given]
    # two classes under one tag would be one curve that jumps between them
    once = {name for name, count in Counter(names).items() if count == 1 and name and name not in RESERVED}
    return [name if name in once else f"{i} {name}".strip() for i, name in enumerate(names)]


def _printable(name: str) -> str:
    # TensorBoard takes what stands before a slash for a group of tags
    text = "".join(c if c.isprintable() and c != "/" else "_" for c in name.strip())
    return text.encode("utf-8", "replace").decode("utf-8")[:_LONGEST]


def shown_groups(groups: int, limit: int) -> list[int]:
    """Groups that are shown one by one over the whole run: all, or ``limit`` evenly spaced ones."""
    if groups <= limit:
        return list(range(groups))
    rows: list[int] = torch.linspace(0, groups - 1, limit).round().long().unique().tolist()
    return rows


def worst_groups(accuracy: Tensor, limit: int) -> list[int]:
    """The ``limit`` groups with the lowest accuracy (groups,), ascending by number; NaN counts as the best."""
    order = accuracy.nan_to_num(2.0).argsort(stable=True)
    return sorted(order[:limit].tolist())
