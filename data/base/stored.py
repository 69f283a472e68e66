"""Arrays in .npy files, read row by row: sets larger than memory."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from selftrain.data.base.dense import refuse_complex
from selftrain.data.base.samples import (
    Channels,
    Kind,
    Limits,
    RowNumbers,
    Rows,
    as_annotations,
    check_limits,
    first_unusable,
    prepared,
    same_length,
    single,
)
from selftrain.errors import DataError

_LOOKED_AT = 2000  # rows of series, for gaps


class StoredSet:
    """Rows of a .npy file, of which only those asked for are read.

    Resident memory does not grow with the rows seen, as that of a memory-mapped array does, and a loader process gets
    the file's name and not its content. Values are checked when they are read, and converted as in ``ArraySet``.

    Args:
        path: The file.
        y: Annotations, one a row, or ``None``.
        ids: Names of the rows; default their numbers.
        prefix: What stands before the numbers where there are no ``ids``.
        channels: Where the channel axis is, as in ``ArraySet``.
        limits: Values of an image that mean black and white, as in ``ArraySet``.
        kind: ``"series"`` or ``"points"``, as in ``ArraySet``; ``None``: images or a table.

    Raises:
        DataError: at construction, for a file that is no whole array of numbers with rows; on reading, for NaN,
            infinite values, or images outside their range.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        y: Any = None,
        ids: Sequence[str] | None = None,
        *,
        prefix: str = "",
        channels: Channels | None = None,
        limits: Limits | None = None,
        kind: Kind | None = None,
    ) -> None:
        self.path = Path(path)
        self.shape, self.fortran, self.dtype, self.offset = _header(self.path)
        self.channels, self.limits, self.kind = channels, check_limits(limits), kind
        self.annotations: Tensor | None = None if y is None else as_annotations(y)
        self.ids: Sequence[str] = RowNumbers(self.shape[0], prefix) if ids is None else list(ids)
        same_length(len(self), self.annotations, "annotations")
        same_length(len(self), self.ids, "ids")
        self.gaps = True
        self.images(np.zeros(1, np.int64))  # so that a wrong shape is an error now
        # the network is built for gaps or not, so that a few of many rows have to tell
        some = np.unique(np.linspace(0, len(self) - 1, min(len(self), _LOOKED_AT)).astype(np.int64))
        pieces = np.array_split(some, -(-len(some) // 256)) if kind == "series" else []
        self.gaps = any(bool(self.images(rows).isnan().any()) for rows in pieces)

    def __len__(self) -> int:
        return self.shape[0]

    def images(self, index: Rows) -> Tensor:
        """Inputs of some rows, a copy."""
        return single(self.exact(index))

    def exact(self, index: Rows) -> Tensor:
        """The same in the precision of the file, see ``exact_rows``."""
        index = np.asarray(index, dtype=np.int64)
        if not len(index):
            return self.exact(np.zeros(1, np.int64))[:0]
        outside = index[(index < 0) | (index >= len(self))]
        if len(outside):
            raise DataError(f"{self.path} has no row {outside[0]}; it has {len(self)}")
        try:
            if self.fortran:  # a row is spread over the whole file
                rows = np.array(np.memmap(self.path, self.dtype, "r", self.offset, self.shape, "F")[index])
            else:
                rows = self._read(index)
        except (OSError, ValueError) as error:
            raise DataError(f"cannot read {self.path}: {error}; was it moved or changed?") from error
        try:
            found = prepared(rows, self.channels, self.limits, self.kind)
        except DataError as error:  # of the first row that has it on its own, with its number in the file
            odd = first_unusable(zip(index.tolist(), rows, strict=True), self.channels, self.limits, self.kind)
            where = f"{self.path}: {error}" if odd is None else f"{self.path}, row {odd[0]}: {odd[1]}"
            raise DataError(where) from error
        if self.kind == "series" and not self.gaps and found.isnan().any():
            row = int(index[int(found.isnan().flatten(1).any(1).nonzero()[0])])
            raise DataError(
                f"{self.path}, row {row}: holds NaN, a gap, and none of the rows that were looked at has one; fill it "
                "in, or save the arrays as .npz, which is looked at whole"
            )
        return found

    def _read(self, index: Rows) -> NDArray[Any]:
        """Rows of a file where each row lies in one piece; neighbors are read at once."""
        rows = np.empty((len(index), *self.shape[1:]), self.dtype)
        flat = rows.reshape(-1).view(np.uint8).data
        length = flat.nbytes // len(index)
        # a run of neighbors is one read; a sorted batch of a large file is mostly such runs
        starts = np.flatnonzero(np.diff(index, prepend=-2) != 1).tolist()
        # opened for each batch: nothing that a process inherits or pickles, and no mapped page that counts as resident
        with self.path.open("rb", buffering=0) as file:
            for start, end in zip(starts, [*starts[1:], len(index)], strict=True):
                file.seek(self.offset + int(index[start]) * length)
                piece = flat[start * length : end * length]
                while piece:
                    count = file.readinto(piece)
                    if not count:
                        raise ValueError("it ends before its last row")
                    piece = piece[count:]
        return rows


def load_array(path: Path) -> NDArray[Any]:
    """A whole .npy file of numbers or text in memory.

    Raises:
        DataError: the file cannot be read, is cut short, or holds Python objects.
    """
    _header(path, numbers=False)
    try:
        return np.array(np.load(path, allow_pickle=False))
    except (OSError, ValueError, EOFError, MemoryError) as error:
        raise DataError(f"cannot read {path}: {error}") from error


def in_short(error: BaseException) -> str:
    """What numpy says of a file, without its advice on long heads: to trust them, which would run code."""
    return str(error).partition("\n")[0].partition(" and may not be safe")[0]


def _header(path: Path, numbers: bool = True) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    """Shape, order, type and start of the values of a .npy file."""
    form = np.lib.format
    try:
        with path.open("rb") as file:
            version = form.read_magic(file)
            read = form.read_array_header_1_0 if version == (1, 0) else form.read_array_header_2_0
            shape, fortran, dtype = read(file)
            offset, size = file.tell(), os.fstat(file.fileno()).st_size
    except Exception as error:  # a header is Python text; one that was tampered with may raise anything
        raise DataError(f"cannot read {path}: {in_short(error)}; it is no .npy file that numpy.save wrote") from error
    if dtype.hasobject:
        raise DataError(f"{path} holds Python objects, which are never loaded; save plain numbers or text")
    if numbers:
        try:
            refuse_complex(np.empty(0, dtype), "x")
        except DataError as error:
            raise DataError(f"{path}: {error}") from error
    if numbers and dtype.kind not in "biuf":
        raise DataError(f"{path} holds values of type {dtype}, which are no numbers")
    rows = tuple(int(n) for n in shape)
    if not rows or not rows[0] or min(rows) < 1:
        raise DataError(f"{path} has shape {rows}; it holds no rows")
    count = dtype.itemsize * math.prod(rows)
    # now and not in the middle of a run: a copy that was cut short reads well up to its end
    if offset + count > size:
        raise DataError(f"{path} is cut short: {size:,} bytes where {offset + count:,} are needed; copy it again")
    return rows, bool(fortran), dtype, offset
