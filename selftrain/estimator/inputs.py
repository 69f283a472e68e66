"""Arrays as scikit-learn passes them, brought into the form that piles and networks take."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from selftrain.data.base.dense import dense
from selftrain.data.base.far import far_values
from selftrain.data.base.samples import ArraySet, Channels, Limits, check_limits
from selftrain.data.base.sparse import SparseSet
from selftrain.data.readers.encoding import TableEncoding
from selftrain.data.readers.tables import from_table
from selftrain.errors import DataError
from selftrain.types import InputKind
from selftrain.wrapper.rows import as_rows, check_row_shape, is_frame

Array = NDArray[Any]
TABLE = ("columns", "decimal", "categorical", "drop", "missing", "max_categories")  # of ``from_table``
KINDS: tuple[InputKind, ...] = get_args(InputKind)
_AXES = {"table": (2,), "image": (3, 4), "series": (3,), "points": (3,)}
_SIDES = {"table": 0, "image": 2, "series": 1, "points": 0}  # axes of an input, the last ones, that are extended
_FORMS = {
    "table": "(N, features)",
    "image": "(N, H, W), (N, H, W, C) or (N, C, H, W)",
    "series": "(N, channels, length)",
    "points": "(N, points, 2 or 3)",
}


@dataclass(frozen=True)
class Inputs:
    """How the rows of ``fit`` were read, so that later rows are read alike.

    Attributes:
        kind: What the rows are.
        given: Shape of one row as it is passed.
        shape: Shape of one input of the network.
        channels: Where the channel axis of an image is.
        limits: Black and white of images, as given, or the smallest and largest value of ``fit`` where those are not
            within [0, 1] (floats) or 0..255 (integers).
        blocks: The sides of images, or the length of series, are extended to multiples of this by repeating the border.
        gaps: Whether series hold NaN where nothing is; they may then have any length.
    """

    kind: InputKind
    given: tuple[int, ...]
    shape: tuple[int, ...]
    channels: Channels | None
    limits: tuple[float, float] | None
    blocks: int
    gaps: bool = False

    def read(self, x: Any) -> Any:
        """Rows (N, *given) as inputs (N, *shape): numbers of tables, series and points, images as uint8 or in [0, 1].

        A sparse matrix stays one.

        Raises:
            DataError: for rows of another shape, or images outside of the range of those before.
        """
        self.check(x)
        if hasattr(x, "tocsr"):
            return x
        form: dict[str, Any] = {"kind": self.kind} if self.kind in ("series", "points") else {}
        if self.kind == "image":
            form = {"channels": self.channels, "limits": self.limits}
        return _extended(ArraySet(x, **form).x, _SIDES[self.kind], self.blocks)

    def check(self, x: Array) -> None:
        """Refuse rows of another shape, and gaps where ``fit`` has seen none.

        Raises:
            DataError: both shapes or the row, and the remedy.
        """
        if self.gaps:
            check_row_shape((*x.shape[1:-1], self.given[-1]), self.given)
            return
        check_row_shape(x.shape[1:], self.given)
        if self.kind == "series" and x.dtype.kind == "f" and np.isnan(x).any():
            row = int(np.flatnonzero(np.isnan(x).any((1, 2)))[0])
            raise DataError(f"series {row} holds NaN, and those of fit held none; fill it in, or fit to such series")

    def samples(self, inputs: Any, y: Array | None = None) -> ArraySet | SparseSet:
        """What ``read`` returned as a set, with class numbers."""
        if hasattr(inputs, "tocsr"):
            return SparseSet(inputs, y)
        if self.kind in ("series", "points"):
            return ArraySet(inputs, y, kind="series" if self.kind == "series" else "points")
        return ArraySet(inputs, y, channels="first")


def learn_inputs(
    x: Array,
    kind: str | None,
    channels: Channels | None,
    blocks: Callable[[InputKind], int],
    limits: Limits | None = None,
) -> Inputs:
    """Find out how to read rows.

    Args:
        x: All rows, with at least two axes.
        kind: One of ``KINDS``; ``None``: tables have two axes, all others are images.
        channels: Where the channel axis of four-axis images is; ``None``: guessed when only one end has 1, 3 or 4.
        blocks: What sides must be multiples of, for each kind.
        limits: Values of images that mean black and white; ``None``: found, see ``Inputs``.

    Raises:
        ValueError: for an unknown kind, or limits of rows that are no images.
        DataError: for an array of the wrong number of axes, or rows that cannot be used.
    """
    found = _kind(x, kind)
    limits = check_limits(limits)
    if limits is not None and found != "image":
        raise ValueError(f"limits are {limits}, but {found} data have no black and white; leave them out")
    # images may have any range; later ones must be read by the same black and white
    if found == "image" and limits is None and x.size and x.dtype.kind in "iuf":
        low, high = float(x.min()), float(x.max())
        if low < 0 or high > (1 if x.dtype.kind == "f" else 255):
            limits = (low, high)
            some = np.asarray(x).reshape(-1)[:: max(1, x.size // 1_000_000)]
            if far := far_values(np.concatenate([some, [low, high]]).astype(np.float64)):
                warnings.warn(
                    f"image values lie far from all others, which they leave hardly a gray level: {far}; if they mean "
                    f"that nothing was measured, say limits=({far.low:g}, {far.high:g})",
                    stacklevel=4,
                )
    gaps = found == "series" and x.dtype.kind == "f" and bool(np.isnan(x).any())
    block = 1 if gaps else blocks(found)
    plain = Inputs(found, tuple(x.shape[1:]), tuple(x.shape[1:]), channels, limits, block, gaps)
    one = plain.read(x[:1])
    return Inputs(found, plain.given, tuple(one.shape[1:]), channels, limits, block, gaps)


def as_frame(X: Any) -> Any:
    """Frames and tables of any library as those of pandas; anything else as it is.

    Raises:
        DataError: columns that are there more than once.
    """
    # polars keeps to scikit-learn's protocol, but its columns tell neither gaps nor dates as pandas' do
    if hasattr(X, "to_pandas") and (hasattr(X, "column_names") or (is_frame(X) and not hasattr(X, "iloc"))):
        X = X.to_pandas()
    if is_frame(X):
        double = [str(name) for name, many in Counter(list(X.columns)).items() if many > 1]
        if double:
            raise DataError(f"columns {double[:5]} of X are there more than once; give each column a name of its own")
    return X


def no_numbers_in(frame: Any) -> list[str]:
    """Columns of a data frame that hold names, dates or gaps, in part or whole, which no array of numbers can hold."""
    return [str(name) for name in frame.columns if not _holds_numbers(frame[name])]


def learn_frame(frame: Any, settings: Mapping[str, Any]) -> tuple[TableEncoding, Array]:
    """How the rows of a data frame become numbers, and these, (N, F): as ``selftrain.data.from_table`` reads them.

    Args:
        frame: Of pandas.
        settings: Of ``from_table``, those in ``TABLE``.

    Raises:
        ValueError: an unknown setting.
        DataError: columns that cannot be read; says which, and the setting that does.
    """
    unknown = [name for name in settings if name not in TABLE]
    if unknown:
        raise ValueError(f"table has a setting {unknown[0]!r}; known are {', '.join(TABLE)}, as of data.from_table")
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            pile = from_table(frame, **settings)
        except DataError as error:
            raise DataError(_as_of_table(str(error))) from error
    for one in told:
        warnings.warn(_as_of_table(str(one.message)), one.category, stacklevel=5)
    assert pile.unlabeled is not None  # without label all rows are
    rows = pile.unlabeled.images(np.arange(len(pile.unlabeled)))
    return TableEncoding.from_dict(pile.encoding or {}), rows.numpy()


def _as_of_table(text: str) -> str:
    """Words of the reader of tables, with where its settings are given here."""
    named = any(f"{name}=" in text for name in TABLE)
    return text + ('; settings of the table are given as table={"columns": {...}, ...}' if named else "")


def numbers(X: Any) -> Any:
    """Rows as scikit-learn's checks can read them: tensors of any type, device or gradient become arrays.

    Raises:
        DataError: for masked numbers, sparse tensors, rows of different shapes, or columns of a data frame that hold
            something else than numbers.
    """
    rows = as_rows(dense(X, "X"))
    if is_frame(rows) and (odd := no_numbers_in(rows)):
        raise DataError(
            f"columns {odd[:5]} of X hold gaps or no numbers, and the rows of fit had numbers alone; fill them in, or "
            "fit to a data frame that has such cells, too"
        )
    return rows


def _holds_numbers(column: Any) -> bool:
    """Whether a column of a data frame holds numbers or truth values, in every row."""
    dtype = getattr(column, "dtype", None)
    if getattr(dtype, "kind", None) in ("M", "m") or hasattr(dtype, "categories"):
        return False  # dates and times would become nanoseconds, and codes of categories are none
    try:
        values = np.asarray(column, dtype=float)
    except (TypeError, ValueError):
        return False
    text = getattr(dtype, "kind", "O") not in "biuf" and any(isinstance(cell, str) for cell in column)
    return not text and not bool(np.isnan(values).any())


def _kind(x: Array, kind: str | None) -> InputKind:
    if kind is not None and kind not in KINDS:
        raise ValueError(f"kind is {kind!r}; choose one of {KINDS}, or None to go by the number of axes")
    found: InputKind = ("table" if x.ndim == 2 else "image") if kind is None else kind
    if x.ndim not in _AXES[found]:
        raise DataError(f"X has shape {x.shape}; {found} data are {_FORMS[found]}: reshape it, or set kind")
    return found


def _extended(x: Tensor, axes: int, block: int) -> Tensor:
    """Repeat the border of the last ``axes`` axes until they are multiples of ``block``."""
    for axis in range(x.dim() - axes, x.dim()):
        side = x.shape[axis]
        wanted = -(-side // block) * block
        if wanted != side:
            # the border is repeated: zeros would be an edge that no real image has
            x = x.index_select(axis, torch.arange(wanted).clamp(max=side - 1))
    return x
