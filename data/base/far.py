"""Values so far from all others that they are marks of missing ones, or faults: -9999, 1e20, 9.97e36."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from selftrain.data.base.reading import read_rows
from selftrain.data.base.samples import Samples
from selftrain.data.base.sparse import is_sparse
from selftrain.errors import DataError

_GAP = 20.0  # times the range of the others
_MOST = 3  # far values on a side; more of them are a group of their own
_NUMBERS = 2_000_000  # that are looked at, of all rows and columns together
_CHUNK = 256


@dataclass(frozen=True)
class Far:
    """Numbers far from all others with their counts, and where the others lie."""

    counts: Mapping[float, int]
    low: float
    high: float

    def __str__(self) -> str:
        listed = ", ".join(f"{value:.9g} {count:,} times" for value, count in self.counts.items())
        return f"{listed}, others from {self.low:.4g} to {self.high:.4g}"


def far_values(values: NDArray[np.float64]) -> Far | None:
    """Which of some finite numbers lie far from all others; ``None``: none do.

    Once such a number is in a column, the deviation is that of the number: the others become one value.
    """
    known, counts = np.unique(values, return_counts=True)
    if len(known) < 4 or not np.diff(known).max() > 0.3 * (known[-1] - known[0]):
        return None
    # by the middle half of the different values, not of all: a mark may stand in most rows
    low, high = len(known) // 4, 3 * len(known) // 4
    gaps = np.diff(known)
    above = np.flatnonzero(gaps[high:] > _GAP * (known[high:-1] - known[low]))
    below = np.flatnonzero(gaps[:low] > _GAP * (known[high] - known[1 : low + 1]))
    end = high + int(above[0]) + 1 if len(above) else len(known)
    start = int(below[-1]) + 1 if len(below) else 0
    if start > _MOST or len(known) - end > _MOST or end - start == len(known):
        return None
    odd = [*range(start), *range(end, len(known))]
    counted = {float(known[place]): int(counts[place]) for place in odd}
    return Far(counted, float(known[start]), float(known[end - 1]))


def far_doubt(sets: Sequence[Samples], categorical: Sequence[int] = (), *, points: bool = False) -> str:
    """A sentence on columns of rows, or channels of series, that hold far values; empty: none do.

    Args:
        sets: The sets of a pile; images are passed over, which lie between black and white.
        categorical: Columns of codes, which are passed over.
        points: Whether rows are clouds (points, coordinates).
    """
    if any(map(is_sparse, sets)):
        return ""  # a column is mostly zeros, far from which any entry may lie
    first = sets[0].images(np.zeros(1, np.int64))
    if first.ndim not in (2, 3) or not first.is_floating_point():
        return ""
    most = max(16, _NUMBERS // (first.numel() * len(sets)))
    pieces = [piece for samples in sets for piece in _rows(samples, most, 2 if points else 1)]
    if not pieces:
        return ""
    columns = np.concatenate(pieces)
    found = {
        place: words
        for place in range(columns.shape[1])
        if place not in categorical and (words := far_values(columns[~np.isnan(columns[:, place]), place]))
    }
    if not found:
        return ""
    kind = "column" if first.ndim == 2 else "coordinate" if points else "channel"
    listed = "; ".join(f"{kind} {place}: {words}" for place, words in list(found.items())[:5])
    rest = f"; and {len(found) - 5} more" if len(found) > 5 else ""
    return (
        f"numbers lie far from all others of their {kind}, which they make nearly one value ({listed}{rest}); if they "
        "mark what is missing, fill in the mean of the others, else cut them off or take the logarithm"
    )


def _rows(samples: Samples, most: int, axis: int) -> list[NDArray[np.float64]]:
    """Numbers (N, columns) of rows that are evenly spaced; of series and clouds (columns on ``axis``) all places."""
    rows = torch.from_numpy(np.unique(np.linspace(0, len(samples) - 1, min(len(samples), most)).astype(np.int64)))
    pieces = []
    for start in range(0, len(rows), _CHUNK):
        with suppress(DataError):  # a row that cannot be read is told where it is needed
            x = read_rows(samples, rows[start : start + _CHUNK], "the pile", exact=True)
            pieces.append((x if x.ndim == 2 else x.movedim(axis, -1).flatten(0, 1)).double().numpy())
    return pieces
