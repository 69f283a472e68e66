"""An order in which samples that look alike stand next to each other, so that many are decided on at once."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selftrain.labels.page.source import Inputs
from selftrain.labels.thumbnails import shrunk, thinned

_SIDE, _PLACES = 8, 64  # of a thumbnail in pixels, of a curve
_DIRECTIONS = 32
_TOGETHER = 200  # rows whose distances to each other are all looked at
Rows = NDArray[Any]


def looks(inputs: Inputs) -> Rows:
    """What samples look like, (M, D <= 32): principal directions of small pictures, curves, clouds or columns."""
    from sklearn.decomposition import PCA

    parts, pictures = [], False
    for batch in inputs.batches():
        x = batch.detach().cpu()
        pictures = x.dim() == 4
        x = shrunk(x, _SIDE).float() if pictures else x.float().nan_to_num()
        if x.dim() == 3 and inputs.points:
            x = x.sort(dim=1).values[:, :: -(-x.shape[1] // _PLACES)]  # the order of points says nothing
        elif x.dim() == 3:
            x = thinned(x, _PLACES)
        parts.append(x.flatten(1).numpy())
    rows = np.concatenate(parts)
    if not pictures:  # columns have units, brightness has none
        spread = rows.std(0)
        rows = (rows - rows.mean(0)) / np.where(spread > 0, spread, 1)
    if min(rows.shape) <= _DIRECTIONS:
        return rows
    return np.asarray(PCA(_DIRECTIONS, svd_solver="randomized", random_state=0).fit_transform(rows))


def similarity_order(rows: Rows) -> Rows:
    """Places of rows (M, D), those that are near next to each other, shape (M,).

    Up to 200 rows are the leaves of a tree of average linkage, in the order with the shortest way (Bar-Joseph et al.
    2001); more are parted by k-means, whose centers are ordered so, and each part by itself. Memory is linear in M.
    """
    from sklearn.cluster import MiniBatchKMeans

    size = len(rows)
    if size <= _TOGETHER:
        return _leaves(rows)
    parts = min(_TOGETHER, math.ceil(2 * size / _TOGETHER))
    found = MiniBatchKMeans(parts, n_init=1, random_state=0, batch_size=1024).fit(rows)
    members = [np.flatnonzero(found.labels_ == part) for part in range(parts)]
    if max(map(len, members)) == size:  # all are alike
        return np.arange(size)
    members = [part for part in members if len(part)]
    way = _leaves(np.stack([rows[part].mean(0) for part in members]))
    ordered = [members[part][similarity_order(rows[members[part]])] for part in way]
    return np.concatenate(_joined(rows, ordered))


def _leaves(rows: Rows) -> Rows:
    from scipy.cluster.hierarchy import leaves_list, linkage

    return np.arange(len(rows)) if len(rows) < 3 else leaves_list(linkage(rows, "average", optimal_ordering=True))


def _joined(rows: Rows, parts: list[Rows]) -> list[Rows]:
    """Parts, each turned so that its ends are nearer to its neighbors."""
    centers = [rows[part].mean(0) for part in parts]
    turned = []
    for place, part in enumerate(parts):
        first, last = rows[part[0]], rows[part[-1]]
        way = back = 0.0
        if place:
            way, back = way + _far(first, centers[place - 1]), back + _far(last, centers[place - 1])
        if place + 1 < len(parts):
            way, back = way + _far(last, centers[place + 1]), back + _far(first, centers[place + 1])
        turned.append(part[::-1] if back < way else part)
    return turned


def _far(one: Rows, other: Rows) -> float:
    return float(np.linalg.norm(one - other))
