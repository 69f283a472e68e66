"""Map-style sets: rows of images (or table rows) that can be fetched by number, with annotations and stable ids."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from typing import Any, Literal, Protocol, cast, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from selftrain import errors
from selftrain.data.base.dense import dense, no_numbers, refuse_complex
from selftrain.data.base.ragged import pad_series
from selftrain.errors import DataError, setting

Rows = NDArray[np.int64]
Channels = Literal["first", "last"]
Kind = Literal["series", "points"]
Limits = tuple[float, float]  # values that mean black and white
_CHANNEL_COUNTS = (1, 3, 4)
_READABLE: dict[np.dtype[Any], np.dtype[Any]] = {  # types that torch cannot calculate with, and what they become
    np.dtype(np.uint16): np.dtype(np.int32),
    np.dtype(np.uint32): np.dtype(np.int64),
    np.dtype(np.uint64): np.dtype(np.int64),
    np.dtype(np.longdouble): np.dtype(np.float64),
}


@runtime_checkable
class Samples(Protocol):
    """What streams, views and piles need of a set."""

    @property
    def annotations(self) -> Tensor | None:
        """What is known of each row, shape (N, ...), or ``None``."""
        ...

    @property
    def ids(self) -> Sequence[str]:
        """A stable name for each row."""
        ...

    def __len__(self) -> int:
        """Number of rows."""
        ...

    def images(self, index: Rows) -> Tensor:
        """Inputs of some rows: (B, C, H, W) as uint8 or as float in [0, 1], or a table's (B, F) as float."""
        ...


def exact_rows(samples: Samples, index: Rows) -> Tensor:
    """Inputs of some rows in double precision where the set has them so, else as of ``images``.

    Seconds since 1970 differ behind the last digit of single precision: they must be centered before they are rounded.
    A set that has them says so by a method ``exact``, called like ``images``.
    """
    # whichever comes first: where a class of one's own replaces ``images``, an inherited ``exact`` reads other rows
    own = (name for cls in type(samples).__mro__ for name in ("exact", "images") if name in vars(cls))
    read: Tensor = getattr(samples, next(own, "images"))(index)
    return read


class ArraySet:
    """Rows held in memory.

    Attributes:
        gaps: Whether they are series that hold NaN where nothing is. A set of one's own says so with the same name.

    Args:
        x: Images (N, H, W), (N, H, W, C) or (N, C, H, W), or a table (N, F); numpy or torch. Images: uint8, other
            integers within 0..255, bool, or floats in [0, 1]. Tables: any numbers; ``images`` gives float32.
        y: Annotations, N rows, or ``None``. Integers become int64, floats float32.
        ids: Names of the rows; default their numbers.
        channels: Where the channel axis of a four-axis ``x`` is; default: guessed when only one end has 1, 3 or 4. Of
            series of three axes or of unequal length: before the length (``"first"``, the default where either is
            possible) or behind it.
        limits: Values of an image that mean black and white, such as (0, 4095) for 12 bits or (-1000, 3000) for CT;
            they are mapped to 0 and 1, and values beyond them are black or white.
        kind: ``"series"`` for (N, channels, length), (N, length), or what ``pad_series`` takes, also of unequal length
            and with gaps, which are NaN; ``"points"`` for clouds (N, points, 2 or 3): any numbers, as of tables.
            ``None``: images or a table, by the number of axes.

    Raises:
        DataError: NaN or infinite values (the row is named), images outside their range, an unclear channel axis, or
            lengths that differ.
    """

    def __init__(
        self,
        x: Any,
        y: Any = None,
        ids: Sequence[str] | None = None,
        *,
        channels: Channels | None = None,
        limits: Limits | None = None,
        kind: Kind | None = None,
    ) -> None:
        self.x = prepared(x, channels, limits, kind)
        self.channels, self.limits, self.kind = channels, limits, kind  # how later inputs are read
        self.gaps = kind == "series" and bool(self.x.isnan().any())
        self.annotations: Tensor | None = None if y is None else as_annotations(y)
        self.ids: Sequence[str] = [str(i) for i in range(len(self.x))] if ids is None else list(ids)
        same_length(len(self.x), self.annotations, "annotations")
        same_length(len(self.x), self.ids, "ids")

    def __len__(self) -> int:
        return len(self.x)

    def images(self, index: Rows) -> Tensor:
        """Inputs of some rows, a copy."""
        return single(self.exact(index))

    def exact(self, index: Rows) -> Tensor:
        """The same in the precision that they were given in, see ``exact_rows``."""
        return self.x[torch.from_numpy(np.asarray(index, dtype=np.int64))]


class RowNumbers(Sequence[str]):
    """Row numbers as ids, made when asked for: millions of them take no memory for text.

    Args:
        rows: The numbers, or how many there are from 0 on.
        prefix: What stands before each number.
    """

    def __init__(self, rows: int | Rows, prefix: str = "") -> None:
        self.rows: range | Rows = range(rows) if isinstance(rows, int) else rows
        self.prefix = prefix

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Any) -> Any:
        chosen = self.rows[index]
        return [f"{self.prefix}{row}" for row in chosen] if isinstance(index, slice) else f"{self.prefix}{chosen}"

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Sequence)
            and len(self) == len(other)
            and all(a == b for a, b in zip(self, other, strict=True))
        )

    __hash__ = None  # type: ignore[assignment]

    def of(self, rows: Rows) -> RowNumbers:
        """The ids of some rows."""
        return RowNumbers(np.asarray(self.rows, dtype=np.int64)[rows], self.prefix)


class Subset:
    """Some rows of another set.

    Args:
        base: The set.
        rows: Row numbers in ``base``.
        annotated: False hides the annotations, as for an unlabeled part.

    Raises:
        DataError: a row outside ``base``.
    """

    def __init__(self, base: Samples, rows: Any, *, annotated: bool = True) -> None:
        self.base = base
        self.rows: Rows = np.asarray(rows, dtype=np.int64).reshape(-1)
        self.gaps = bool(getattr(base, "gaps", False))
        outside = np.flatnonzero((self.rows < 0) | (self.rows >= len(base)))
        if len(outside):
            raise DataError(f"row {self.rows[outside[0]]} is outside the set, which has {len(base)} rows")
        known = base.annotations if annotated else None
        # those of files are read when they are asked for
        of: Any = getattr(known, "of", None if known is None else lambda rows: known[torch.from_numpy(rows)])
        self.annotations: Tensor | None = None if known is None else of(self.rows)
        ids = base.ids
        self.ids: Sequence[str] = (
            # numbers stay numbers: the ids of millions of rows would be most of the memory of a run
            ids.of(self.rows) if isinstance(ids, RowNumbers) else [ids[i] for i in self.rows.tolist()]
        )

    def __len__(self) -> int:
        return len(self.rows)

    def images(self, index: Rows) -> Tensor:
        """Inputs of some rows of the subset."""
        return self.base.images(self.rows[index])

    def exact(self, index: Rows) -> Tensor:
        """The same in the precision that they were given in, see ``exact_rows``."""
        return exact_rows(self.base, self.rows[index])


class Excerpt(Subset):
    """Up to ``size`` rows of a set, evenly spaced, none of them annotated (-1)."""

    def __init__(self, base: Samples, size: int) -> None:
        step = max(1, -(-len(base) // size))
        super().__init__(base, np.arange(0, len(base), step), annotated=False)
        # figures without labels go through the same evaluation, which asks for annotations
        self.annotations = torch.full((len(self.rows),), -1)


def same_length(samples: int, others: Tensor | Sequence[str] | None, what: str) -> None:
    """Refuse annotations or ids that are not one for each sample."""
    if others is not None and len(others) != samples:
        raise DataError(f"{samples} samples but {len(others)} {what}; give one for each sample")


def to_one_length(*sets: Samples | None) -> None:
    """Give all sets of series in memory the length of the longest, with NaN behind the end."""
    given = [one for one in sets if isinstance(one, ArraySet) and one.kind == "series"]
    longest = max((one.x.shape[2] for one in given), default=0)
    for one in given:
        if one.x.shape[2] < longest:
            one.x, one.gaps = F.pad(one.x, (0, longest - one.x.shape[2]), value=torch.nan), True


def first_unusable(
    rows: Iterable[tuple[int, Any]], channels: Channels | None, limits: Limits | None, kind: Kind | None
) -> tuple[int, str] | None:
    """The first of numbered rows that cannot be prepared on its own, and why; ``None``: all of them can."""
    for row, values in rows:
        try:
            prepared(values[None], channels, limits, kind)
        except DataError as error:
            return row, str(error).removeprefix("sample 0 ")
    return None


def prepared(
    x: Any, channels: Channels | None = None, limits: Limits | None = None, kind: Kind | None = None
) -> Tensor:
    """Inputs as sets hand them out: axes in order, values checked; arguments and errors as of ``ArraySet``."""
    values = _as_tensor(pad_series(x, channels) if kind == "series" else x, "x")
    if limits is not None and (kind is not None or values.ndim == 2):
        raise ValueError(f"limits are {limits}, but only images have black and white; leave them out for other inputs")
    if kind is not None:
        return _series_or_clouds(values, kind)
    if values.ndim not in (2, 3, 4):
        raise DataError(
            f"inputs have shape {tuple(values.shape)}; give (N, F), (N, H, W), (N, H, W, C) or (N, C, H, W)"
        )
    if 0 in values.shape[1:]:
        raise DataError(f"inputs have shape {tuple(values.shape)}, with no columns or pixels; give at least one")
    if values.is_floating_point():
        _refuse_not_finite(values)
    if values.ndim == 2:
        return _numbers(values)
    values = values.unsqueeze(1) if values.ndim == 3 else _channels_first(values, channels)
    return _pixel_range(values) if limits is None else _between(values, limits)


def _as_tensor(values: Any, name: str) -> Tensor:
    """A tensor on the CPU from numpy, torch or lists, sharing memory where it can."""
    values = dense(values, name)
    if isinstance(values, Tensor):
        refuse_complex(values, name)
        return values
    array = np.asarray(values)
    if array.dtype == object and array.ndim > 1:  # a frame of boxed numbers
        array = np.asarray(dense(array, name))
    refuse_complex(array, name)
    if array.dtype.kind not in "biuf":
        raise DataError(no_numbers(array, name))
    # int64 would wrap around in silence
    if array.dtype.kind == "u" and array.size and array.max() > np.iinfo(np.int64).max:
        raise DataError(f"value {array.max()} is larger than any number that can be used; correct it")
    native: np.dtype[Any] = array.dtype.newbyteorder("=")
    array = array.astype(_READABLE.get(native, native), copy=False)
    # shared with the caller's array where it is in order already: a large set is not held twice
    array = np.ascontiguousarray(array)
    if any(step < 0 for step in array.strides):  # a single row is in order whatever its stride, but not for torch
        array = array.copy()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")  # sets hand out copies
        return torch.from_numpy(array)


def as_annotations(y: Any) -> Tensor:
    """Annotations as a tensor on the CPU: integers as int64, masks in bytes where they fit, floats as float32.

    Masked ones become -1, in pixels 255 (void), of joints NaN, which means that they are missing.

    Raises:
        DataError: no numbers.
    """
    if hasattr(y, "of"):  # of files, not read yet
        return y  # type: ignore[no-any-return]
    if isinstance(y, np.ma.MaskedArray):
        # what lies beneath a mask is not known and must not be learned from
        joints = y.ndim > 1 and y.dtype.kind == "f"
        y = np.ma.filled(
            y if y.dtype.kind == "f" else y.astype(np.int64), np.nan if joints else -1 if y.ndim == 1 else 255
        )
    values = _as_tensor(y, "y")
    if values.is_floating_point():
        return values.float()
    # eight times smaller than int64, which masks of a set would take most of the memory as
    fits = values.ndim > 2 and values.numel() and int(values.min()) >= 0 and int(values.max()) <= 255
    return values.byte() if fits else values.long()


def _series_or_clouds(x: Tensor, kind: Kind) -> Tensor:
    """Check series (N, C, L) or clouds (N, P, 2 or 3)."""
    if kind not in ("series", "points"):
        raise ValueError(f"kind is {kind!r}; choose 'series', 'points' or None")
    if x.ndim != 3 or (kind == "points" and x.shape[2] not in (2, 3)):
        wanted = "(N, channels, length) or (N, length)" if kind == "series" else "(N, points, 2 or 3)"
        raise DataError(f"inputs have shape {tuple(x.shape)}; {kind} are {wanted}")
    _refuse_not_finite(x, gaps=kind == "series")
    return _numbers(x)


def _numbers(x: Tensor) -> Tensor:
    """Rows, series or clouds as floats: double precision where single precision cannot hold every value."""
    return x.double() if x.dtype in (torch.float64, torch.int64, torch.int32) else x.float()


def single(x: Tensor) -> Tensor:
    """Inputs as networks take them: double precision becomes single, all else stays."""
    return x.float() if x.dtype == torch.float64 else x


def _refuse_not_finite(x: Tensor, gaps: bool = False) -> None:
    """Name the first row that holds NaN or infinity; with ``gaps`` one that holds infinity, or NaN alone."""
    # in pieces: a mask of all values would double the memory of a large set
    starts = range(0, len(x), 4096)
    if gaps:
        empty = [row for start in starts for row in x[start : start + 4096].isnan().flatten(1).all(1).nonzero() + start]
        if empty:
            raise DataError(f"series {int(empty[0])} holds no number; leave it out")
    odd_in = torch.isinf if gaps else lambda piece: ~torch.isfinite(piece)
    pieces = [odd_in(x[start : start + 4096]).flatten(1).any(1) for start in starts]
    rows = torch.cat(pieces).nonzero().flatten().tolist() if pieces else []
    if rows:
        odd = odd_in(x[rows[0]])
        column = f" in column {int(odd.nonzero()[0])}" if x.ndim == 2 else ""
        others = f"; so do {len(rows) - 1:,} others" if len(rows) > 1 else ""
        raise DataError(
            f"sample {rows[0]} holds {x[rows[0]][odd][0].item()}{column}{others}; remove such rows or fill "
            "in the values before training"
        )


def _channels_first(x: Tensor, channels: Channels | None) -> Tensor:
    """Move the channel axis of (N, ?, ?, ?) to place 1."""
    if channels is None:
        first, last = x.shape[1] in _CHANNEL_COUNTS, x.shape[3] in _CHANNEL_COUNTS
        # a guess that is wrong trains on transposed pictures without an error, so that only a clear case is guessed
        if first == last:
            ways = " or ".join(setting("channels", place) for place in ("first", "last"))
            raise DataError(f"the channel axis of {tuple(x.shape)} is unclear; say {ways}")
        channels = "first" if first else "last"
    return x if channels == "first" else x.permute(0, 3, 1, 2).contiguous()


def check_limits(limits: Limits | None) -> tuple[float, float] | None:
    """Black and white as numbers.

    Raises:
        ValueError: they are no two numbers in order.
    """
    if limits is None:
        return None
    try:
        black, white = (float(value) for value in limits)
    except (TypeError, ValueError):
        raise ValueError(f"limits are {limits!r}; give two numbers: (black, white)") from None
    if not (black < white and np.isfinite(white - black)):
        raise ValueError(f"limits are {limits}; the first must be below the second, both finite")
    return black, white


def tell_normalized(x: Any, limits: Limits, stacklevel: int = 2) -> None:
    """Warn of images that look normalized beside the black and white that others were learned with.

    Args:
        x: Images, as they were given.
        limits: Black and white.
        stacklevel: As of ``warnings.warn``, 2 for the caller.
    """
    if not len(x) or not (x.is_floating_point() if isinstance(x, Tensor) else x.dtype.kind == "f"):
        return
    (black, white), low, high = limits, float(x.min()), float(x.max())
    # standardized values lie within a few units around 0, which hardly any picture of so wide a range does
    if low < 0 < high and high - low < (0.3 if black >= 0 else 0.01) * (white - black):
        warnings.warn(
            f"image values lie from {low:g} to {high:g}, and those that were learned had black at {black:g} and white "
            f"at {white:g}; if they were normalized, give them as they were: pictures are normalized before they are "
            "used",
            stacklevel=stacklevel + 1,
        )


def limits_setting(black: object = "black", white: object = "white") -> str:
    """How a message names ``limits``, which every reader of images takes."""
    return f'--data.limits "[{black}, {white}]"' if errors.as_options else f"limits=({black}, {white})"


def _between(x: Tensor, limits: Limits) -> Tensor:
    """Images as floats in [0, 1], 0 where they are black."""
    black, white = check_limits(limits) or limits
    found = torch.empty(x.shape)
    # double precision, or 300.00 and 300.01 K would be one gray level; in pieces, or it would take twice the memory
    for start in range(0, len(x), 256):
        piece = slice(start, start + 256)
        found[piece] = ((x[piece].double() - black) / (white - black)).clamp(0, 1)
    return found


def _pixel_range(x: Tensor) -> Tensor:
    """Keep uint8; bring other integers to uint8 and floats to [0, 1]."""
    if x.dtype == torch.uint8 or not len(x):
        return x
    if x.dtype == torch.bool:
        return x.to(torch.uint8) * 255
    # floats of 0 to 255 look like floats of 0 to 1 with extreme contrast: which they are must be said
    low, high = cast(float, x.min().item()), cast(float, x.max().item())
    top = 1.0 if x.is_floating_point() else 255
    if low < 0 or high > top:
        raise DataError(
            f"image values run from {low:g} to {high:g}; give uint8, floats in [0, 1], or {limits_setting()}"
            + (" (take a Normalize out: views normalize)" if low < 0 and x.is_floating_point() else "")
        )
    # double precision stays: pictures may differ in the seventh digit of their gray
    return x if x.dtype == torch.float64 else x.float() if x.is_floating_point() else x.to(torch.uint8)
