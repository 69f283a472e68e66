"""What tells a set of samples from another one, in short sums: whether a run goes on with the data it began with."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from selftrain.data.base.reading import read_rows
from selftrain.data.base.samples import ArraySet, RowNumbers, Rows, Samples, Subset
from selftrain.data.base.sparse import dense_at_once

_ROWS = 64  # whose inputs are read, where reading takes time
_BYTES = 32 * 1024 * 1024  # of inputs that are in memory
_FILES = 20_000  # that are asked for their size


def identity_of_samples(samples: Samples) -> dict[str, Any]:
    """Rows, and sums of the labels and names of all, and of the inputs of as many as are read in a moment.

    Args:
        samples: A set. Where reading a row twice gives two inputs, its inputs are left out.

    Returns:
        ``rows``, ``ids``, and where there are any ``labels`` and ``inputs``.
    """
    found: dict[str, Any] = {"rows": len(samples), "ids": _of_ids(samples.ids)}
    labels = samples.annotations
    if labels is not None:
        # Classes are few bytes, and all count; of masks and points as many as of inputs.
        size = max(1, labels[:1].numel() * 8 if labels.dtype == torch.uint8 else labels[:1].nbytes)
        rows = torch.from_numpy(_spread(len(labels), len(labels) if labels.ndim == 1 else max(_ROWS, _BYTES // size)))
        # masks were int64 once: runs that were started then go on
        known = labels[rows].long() if labels.dtype == torch.uint8 else labels[rows]
        found["labels"] = _sum(_bytes(known), str(tuple(labels.shape)))
    inputs = _of_inputs(samples)
    return found if inputs is None else found | {"inputs": inputs}


def content_of_samples(samples: Samples, rows: Rows) -> str | None:
    """A sum of the inputs of some rows, every one of them; ``None`` where reading a row twice gives two inputs."""
    return _of_inputs(Subset(samples, rows, annotated=False), whole=True)


def _of_ids(ids: Sequence[str]) -> str:
    if isinstance(ids, RowNumbers):  # millions of names are not made for a sum
        return _sum(np.asarray(ids.rows, dtype=np.int64).tobytes(), ids.prefix)
    # What all names begin with is where the files are: a folder may be moved.
    names = [str(name) for name in ids]
    place = os.path.commonprefix([min(names, default=""), max(names, default="")])
    start = place.rfind("/") + 1
    return _sum("\0".join(name[start:] for name in names).encode("utf-8", "surrogatepass"))


def _of_inputs(samples: Samples, *, whole: bool = False) -> str | None:
    """Of as many rows as are read in a moment, or of the whole."""
    root = samples
    places = np.arange(len(samples))  # rows of the set that a subset, or a subset of one, is of
    while isinstance(root, Subset):
        places, root = root.rows[places], root.base
    one = torch.zeros(1, dtype=torch.int64)
    first = read_rows(samples, one, "the set")
    if not torch.equal(first, read_rows(samples, one, "the set")):
        return None
    total = hashlib.blake2b(f"{tuple(first.shape[1:])} {first.dtype}".encode(), digest_size=8)
    files = getattr(root, "paths", None)
    if files is not None:
        # The bytes on the disk: decoders of two versions differ in the last bit, the files do not.
        total.update(" ".join(str(getattr(root, key, "")) for key in ("mode", "size", "fit")).encode())
        for row in places[_spread(len(places), len(places) if whole else _FILES)]:
            total.update(f"{files[row].stat().st_size} ".encode())
        for row in places[_spread(len(places), len(places) if whole else _ROWS)]:
            total.update(files[row].read_bytes())
        return total.hexdigest()
    count = max(_ROWS, _BYTES // max(1, first.nbytes)) if isinstance(root, ArraySet) else _ROWS
    rows = torch.from_numpy(_spread(len(samples), len(samples) if whole else count))
    for part in rows.split(dense_at_once(samples, 1024)):
        total.update(_bytes(read_rows(samples, part, "the set")))
    return total.hexdigest()


def _spread(rows: int, count: int) -> Rows:
    """So many of the rows, evenly spaced."""
    return np.unique(np.linspace(0, max(0, rows - 1), min(rows, count)).round().astype(np.int64))


def _bytes(values: Tensor) -> bytes:
    return values.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes()


def _sum(content: bytes, more: str = "") -> str:
    return hashlib.blake2b(content + more.encode(), digest_size=8).hexdigest()
