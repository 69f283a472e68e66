"""Inputs as a user has them, read as those of a pile were: arrays, pictures, paths, folders, tables, or lists of these.

What is read here equals, bit for bit, what the pile's own reader makes of the same samples.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from selftrain.data.base.dense import dense
from selftrain.data.base.form import Form
from selftrain.data.base.joined import Joined
from selftrain.data.base.ragged import pad_series
from selftrain.data.base.samples import ArraySet, RowNumbers, Rows, Samples, Subset, tell_normalized
from selftrain.data.base.sparse import SparseSet
from selftrain.data.pile import Pile
from selftrain.data.readers.arrays import inputs_of_file
from selftrain.data.readers.decoding import decode, extent_of, to_bytes
from selftrain.data.readers.encoding import TableEncoding
from selftrain.data.readers.files import IMAGE_SUFFIXES
from selftrain.data.readers.folders import image_files
from selftrain.data.readers.paths import holds_arrays
from selftrain.data.readers.tabular import TABLE_SUFFIXES, read_table
from selftrain.data.readers.wrapped import DatasetSet
from selftrain.errors import DataError

_ARRAYS = (".npy", ".npz")
_COLORS = (1, 3, 4)  # channels that a picture may have
WANTED = {
    "table": "an array (N, {0}), a sparse matrix, a data frame, or one row",
    "image": "pictures (N, H, W, C), (N, C, H, W) or (N, H, W), Pillow's, paths, a folder, or a list of these",
    "series": "an array (N, {0}, {1}), one series, or a list of series",
    "points": "an array (N, {0}, {1}), one cloud, or a list of clouds",
}


def read_raw(data: Any, form: Form) -> Samples:
    """Samples without annotations of whatever a user has.

    Args:
        data: Arrays, tensors or lists of inputs or a single one; of pictures also those of Pillow, paths and folders;
            of tables data frames, mappings, rows of them and files; paths of .npy and .npz files; data sets of other
            libraries; or samples, which stay as they are.
        form: How the inputs of the pile were given.

    Raises:
        DataError: what cannot be read, or is of another form; the message says what was wanted.
    """
    if isinstance(data, Pile):
        return everything(data)
    if isinstance(data, Samples):
        return Subset(data, np.arange(len(data)), annotated=False)
    if isinstance(data, str | os.PathLike) and (found := _of_path(Path(data), form)) is not None:
        return found
    if form.table is not None:
        return _of_table(data, form)
    if form.kind == "image":
        return _of_pictures(data, form)
    if _is_data_set(data):
        kind = None if form.kind == "table" else form.kind
        return DatasetSet(data, kind=kind)
    return _of_numbers(data, form)


def everything(pile: Pile) -> Samples:
    """All training samples of a pile, labeled or not, without their labels."""
    sets = [Subset(part, np.arange(len(part)), annotated=False) for part in (pile.labeled, pile.unlabeled) if part]
    return sets[0] if len(sets) == 1 else Joined(sets[0], sets[1], None)


# -- paths -------------------------------------------------------------------------------------------------------------
def _of_path(path: Path, form: Form) -> Samples | None:
    """What a path leads to; ``None``: a table, or a picture."""
    if path.is_dir() and not holds_arrays(path):
        if form.kind != "image":
            raise _refused(f"{path} is a folder without arrays", form)
        names = image_files(path)
        return Pictures([path / name for name in names], names, form)
    ending = path.suffix.lower()
    if path.is_dir() or (path.is_file() and ending in _ARRAYS):
        kind = None if form.kind in ("table", "image") else form.kind
        return inputs_of_file(path, channels=form.channels, limits=form.limits, kind=kind)
    if not path.is_file():
        raise DataError(f"there is no file or folder {path}; correct the path")
    fits = ending in (TABLE_SUFFIXES if form.table is not None else IMAGE_SUFFIXES if form.kind == "image" else ())
    if not fits:
        raise _refused(f"{path} is of another kind", form)
    return None


# -- tables ------------------------------------------------------------------------------------------------------------
def _of_table(data: Any, form: Form) -> Samples:
    """Rows of a table as the encoding makes numbers of them."""
    encoding = TableEncoding.from_dict(form.table or {})
    table = read_table(_as_columns(data, [column.name for column in encoding.columns], form), encoding.missing)
    names = table.texts(encoding.id) if encoding.id is not None and encoding.id in table.columns else None
    ids = RowNumbers(len(table)) if names is None or None in names else [str(name) for name in names]
    return ArraySet(encoding.encode(table), ids=ids)


def _as_columns(data: Any, names: Sequence[str], form: Form) -> Any:
    """A table of what may be one row, a list of rows, or an array with the columns in order."""
    if isinstance(data, str | os.PathLike) or hasattr(data, "columns") or hasattr(data, "column_names"):
        return data
    rows = [data] if _is_row(data) else data
    if isinstance(rows, list | tuple) and rows and all(map(_is_row, rows)):
        known = {str(name) for row in rows for name in dict(row)}
        return {
            name: [row.get(name) for row in rows] for name in [*names, *sorted(known - set(names))] if name in known
        }
    if isinstance(data, Mapping) or (hasattr(data, "to_pandas") and not hasattr(data, "__array__")):
        return data
    array = np.asarray(
        data.toarray() if hasattr(data, "tocsr") else data, dtype=None if hasattr(data, "dtype") else object
    )
    array = array[None] if array.ndim == 1 else array
    if array.ndim != 2 or array.shape[1] != len(names):
        shown = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
        raise _refused(f"there is an array of shape {array.shape}, and the columns are {len(names)}: {shown}", form)
    return {name: array[:, place].tolist() for place, name in enumerate(names)}


def _is_row(value: Any) -> bool:
    """A mapping of single cells, or a row of a data frame."""
    if hasattr(value, "index") and hasattr(value, "to_frame"):  # a Series of pandas: its names are the columns
        return True
    return isinstance(value, Mapping) and all(isinstance(cell, str) or np.ndim(cell) == 0 for cell in value.values())


# -- numbers -----------------------------------------------------------------------------------------------------------
def _of_numbers(data: Any, form: Form) -> Samples:
    """Rows, series or clouds."""
    if hasattr(data, "tocsr") and data.ndim == 2 and data.shape[1:] == form.shape:
        return SparseSet(data)
    if hasattr(data, "tocsr"):
        raise _refused(f"there is a sparse matrix of shape {data.shape}", form)
    if form.kind == "series":
        return _of_series(data, form)
    x = _array(data)
    if x.ndim == len(form.shape) and (tuple(x.shape) == form.shape or len(form.shape) == 1):
        x = x[None]
    if tuple(x.shape[1:]) != form.shape or x.ndim != 1 + len(form.shape):
        raise _refused(f"there is an array of shape {tuple(x.shape)}", form)
    return ArraySet(x, kind="points" if form.kind == "points" else None)


def _of_series(data: Any, form: Form) -> Samples:
    """Series in an array, a list or a nested frame, or a single one; shorter ones where those of training were so."""
    channels, length = form.shape
    # a frame nests series in its cells, and a list may hold some of unequal length
    several = hasattr(data, "iloc") or (isinstance(data, list | tuple) and len(data) and np.ndim(data[0]))
    x = data if several else _array(data)
    if not several and x.ndim == 1:
        x = x[None, None]
    elif not several and x.ndim == 2 and channels > 1:  # a single one, as of the training its axes are
        x = x[None]
    x = pad_series(x, form.channels)
    if x.ndim != 3 or x.shape[1] != channels or x.shape[2] > length or (x.shape[2] < length and not form.gaps):
        raise _refused(f"there are series of shape {tuple(x.shape[1:])}", form)
    found = ArraySet(x, kind="series")
    if found.gaps and not form.gaps:
        raise DataError("series in data have gaps (NaN), and the run has learned from series without; fill them in")
    found.x = F.pad(found.x, (0, length - found.x.shape[2]), value=torch.nan)
    return found


def _array(data: Any) -> Any:
    """An array or tensor, of rows of one shape."""
    found = dense(data, "data")
    return found if isinstance(found, Tensor) else np.asarray(found)


# -- pictures ----------------------------------------------------------------------------------------------------------
class Pictures:
    """Pictures of Pillow, of files and in arrays as samples, read when they are needed; ids are names of files.

    Args:
        pictures: Each one.
        ids: Of each.
        form: How those of the pile were given.

    Raises:
        DataError: on reading, for one that cannot be read or is of another form.
    """

    annotations = None

    def __init__(self, pictures: Sequence[Any], ids: Sequence[str], form: Form) -> None:
        self.pictures, self.ids, self.form = pictures, ids, form
        lost = next(
            (path for path in pictures if isinstance(path, str | os.PathLike) and not Path(path).is_file()), None
        )
        if lost is not None:
            raise DataError(f"there is no file {lost}; correct its path or remove it from the list")

    def __len__(self) -> int:
        return len(self.pictures)

    def original(self, row: int) -> tuple[int, int, str] | None:
        """Height and width of a picture as it was given, and how it is brought to the size of training."""
        # arrays have none: they come in the size of training
        return (*extent_of(self.pictures[row]), self.form.fit) if all(map(_is_picture, self.pictures)) else None

    def images(self, index: Rows) -> Tensor:
        """Some of them, (B, C, H, W): uint8, or in [0, 1] where one of them is so."""
        found = [_one(self.pictures[int(row)], str(self.ids[int(row)]), self.form) for row in index]
        if any(picture.dtype != torch.uint8 for picture in found):
            found = [picture.float() / 255 if picture.dtype == torch.uint8 else picture for picture in found]
        return torch.stack(found)


def _one(picture: Any, name: str, form: Form) -> Tensor:
    """One picture, (C, H, W)."""
    if isinstance(picture, str | os.PathLike) or _is_pillow(picture):
        mode = form.mode or {1: "L", 3: "RGB"}.get(form.shape[0])
        if mode is None:
            raise DataError(f"{name} is a picture, and the run has learned from {form.shape[0]} channels; pass arrays")
        read = decode if isinstance(picture, str | os.PathLike) else to_bytes
        made = read(picture, mode, name, form.size, form.fit, form.limits if form.mode else None)  # type: ignore[arg-type]
        if form.mode is None and form.limits is not None:
            raise DataError(
                f"{name} is a picture of bytes, and those of the run had values in {form.limits}; pass arrays"
            )
        found = torch.from_numpy(made)[None] if made.ndim == 2 else torch.from_numpy(made).permute(2, 0, 1)
    else:
        found = _batch(_array(picture), form).images(np.zeros(1, np.int64))[0]
    if tuple(found.shape) != form.shape:
        channels, height, width = form.shape
        remedy = f"resize it, such as image.resize(({width}, {height}))"
        raise DataError(f"{name} has shape {tuple(found.shape)}, and the run has learned from {form.shape}; {remedy}")
    return found


def _of_pictures(data: Any, form: Form) -> Samples:
    """Pictures of any kind: a single one, many in an array, or a list."""
    if isinstance(data, str | os.PathLike) or _is_pillow(data):
        name = "the picture" if _is_pillow(data) else str(data)
        return Pictures([data], [name], form)
    if isinstance(data, list | tuple) and data and any(_is_picture(one) for one in data):
        ids = [str(one) if isinstance(one, str | os.PathLike) else f"picture {i}" for i, one in enumerate(data)]
        return Pictures(list(data), ids, form)
    if isinstance(data, list | tuple) and len({np.shape(one) for one in data}) > 1:
        return Pictures(list(data), [f"picture {i}" for i in range(len(data))], form)
    if _is_data_set(data):
        given: Any = {"mode": form.mode or ("L" if form.shape[0] == 1 else "RGB"), "size": form.size, "fit": form.fit}
        return DatasetSet(data, **given, channels=form.channels, limits=form.limits)  # type: ignore[arg-type]
    return _batch(_array(data), form)


def _batch(x: Any, form: Form) -> Samples:
    """Pictures in an array, or a single one."""
    if x.ndim not in (2, 3, 4) or not len(x):
        raise _refused(f"there is an array of shape {tuple(x.shape)}", form)
    given = tuple(x.shape)
    other = form.mode is not None and x.shape[-1] in _COLORS and x.shape[-1] != form.shape[2]  # colors, and no width
    single = x.ndim == 2 or (x.ndim == 3 and (other or _place(x.shape, form) is not None))
    x = x[None] if single else x
    place = "gray" if x.ndim == 3 else _place(x.shape[1:], form)
    fits = place is not None and not (place == "gray" and form.shape[0] != 1)
    extent = tuple(x.shape[2:] if place == "first" else x.shape[1:3])
    if fits and (form.mode is None or extent == form.shape[1:]):
        if extent != form.shape[1:]:
            raise _refused(f"there is an array of shape {given}", form)
        _check_range(x, form)
        return ArraySet(x, channels=None if place == "gray" else place, limits=form.limits)  # type: ignore[arg-type]
    if form.mode is None:
        raise _refused(f"there is an array of shape {given}", form)
    # as files and pictures of Pillow are: of any size and number of colors
    x = np.asarray(x)
    if x.dtype != np.uint8:
        raise DataError(
            f"pictures of {x.dtype} and shape {x.shape[1:]} are to become {form.shape}; give bytes: "
            "(255 * x).round().astype('uint8')"
        )
    first = place == "first" or (place is None and x.shape[1] in _COLORS)
    return Pictures([_pillow(one, first) for one in x], [f"picture {i}" for i in range(len(x))], form)


def _place(shape: Sequence[int], form: Form) -> str | None:
    """Where the channels of a single picture of three axes are; ``None``: nowhere."""
    if len(shape) != 3:
        return None
    channels, *extent = form.shape
    places = [place for place, at in (("first", 0), ("last", 2)) if shape[at] == channels]
    if len(places) == 2:  # a side of as many pixels as there are channels
        whole = {"first": list(shape[1:]) == extent, "last": list(shape[:2]) == extent}
        exact = [place for place in places if whole[place]]
        return form.channels or (exact or places)[0]
    return places[0] if places else None


def _pillow(picture: Any, first: bool) -> Any:
    """An array of bytes as a picture of Pillow."""
    from PIL import Image

    last = picture.transpose(1, 2, 0) if first and picture.ndim == 3 else picture
    return Image.fromarray(np.ascontiguousarray(last[..., 0] if last.ndim == 3 and last.shape[2] == 1 else last))


def _check_range(x: Any, form: Form) -> None:
    """Refuse numbers beyond black and white, such as those of pictures that are normalized already."""
    if not len(x):
        return
    low, high = float(x.min()), float(x.max())
    floats = x.is_floating_point() if isinstance(x, Tensor) else x.dtype.kind == "f"
    if form.limits is not None:
        tell_normalized(x, form.limits, stacklevel=7)
        return
    if low < 0 or high > (1 if floats else 255):
        bytes_ = "they look like bytes: give x / 255, or x as uint8" if low >= 0 and high <= 255 else ""
        plain = "give pictures as they were before any normalization: the run normalizes them itself"
        raise DataError(
            f"image values run from {low:g} to {high:g}, where bytes or floats in [0, 1] are wanted; {bytes_ or plain}"
        )


def _is_pillow(value: Any) -> bool:
    return hasattr(value, "getbands") and hasattr(value, "convert")


def _is_picture(value: Any) -> bool:
    return isinstance(value, str | os.PathLike) or _is_pillow(value)


def _is_data_set(data: Any) -> bool:
    """A data set of another library: it has numbered items, and is no array or list of rows."""
    rows = isinstance(data, list | tuple | Mapping | str) or hasattr(data, "__array__") or hasattr(data, "shape")
    return hasattr(data, "__getitem__") and hasattr(data, "__len__") and not rows


def _refused(what: str, form: Form) -> DataError:
    wanted = WANTED[form.kind].format(*form.shape)
    if form.table is not None:
        wanted = "a data frame, a mapping of columns, a row or rows of them, or a .csv or .parquet file"
    sides = "" if form.size or form.kind == "table" else f" of {'x'.join(map(str, form.shape))}"
    return DataError(f"{what}; the run has learned from {form.kind} inputs{sides}: give {wanted}")
