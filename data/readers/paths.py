"""A pile from whatever a path leads to."""

from __future__ import annotations

import difflib
import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from selftrain.data.pile import Pile
from selftrain.data.readers.arrays import KEYS, from_arrays_file
from selftrain.data.readers.folders import from_folder, has_masks
from selftrain.data.readers.keypoints import from_keypoints
from selftrain.data.readers.masks import from_masks
from selftrain.data.readers.tables import from_table
from selftrain.data.readers.tabular import TABLE_SUFFIXES
from selftrain.errors import DataError
from selftrain.types import plain_settings

_ARRAY_SUFFIXES = (".npy", ".npz")


@plain_settings
def from_path(path: str | os.PathLike[str], **settings: Any) -> Pile:
    """Make a pile from a folder of images, a folder or file of arrays, or a table, by what the path leads to.

    Args:
        path: A folder with ``x.npy`` or ``x_unlabeled.npy``, a .npy or .npz file: ``from_arrays_file``; a .csv, .tsv or
            .parquet file: ``from_table``; a folder of ``images/`` and ``masks/``, or any with ``masks=``:
            ``from_masks``; one with ``joints=``: ``from_keypoints``; another folder: ``from_folder``.
        **settings: Arguments of that function.

    Raises:
        DataError: nothing there, a file of another kind, or data that cannot be used.
        TypeError: a setting that this reader does not take; the message has the nearest that it does.
    """
    place = Path(path)
    ending = place.suffix.lower()
    if place.is_dir():
        masked = "masks" in settings or ("labels_csv" not in settings and has_masks(place))
        read: Callable[..., Pile] = from_arrays_file if holds_arrays(place) else from_folder
        read = from_keypoints if "joints" in settings else from_masks if masked else read
    elif not place.is_file():
        raise DataError(f"there is no file or folder {place}; correct the path")
    elif ending in _ARRAY_SUFFIXES:
        read = from_arrays_file
    elif ending in TABLE_SUFFIXES:
        read = from_table
    else:
        known = ", ".join((*_ARRAY_SUFFIXES, *TABLE_SUFFIXES))
        raise DataError(f"{place} is of no known kind; pass a folder of images, or a file that ends in {known}")
    # Which reader it is depends on the path: the message must say which, and what that one takes.
    takes = inspect.signature(read).parameters
    for name in settings:
        if name not in takes:
            near = difflib.get_close_matches(name, takes, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"it takes {', '.join(takes)}"
            raise TypeError(f"{place} is read by {read.__name__}, which has no setting {name!r}; {hint}")
    return read(place, **settings)


def holds_arrays(folder: Path) -> bool:
    """Whether a folder is one of arrays."""
    # Inputs are needed: a folder of images may hold other arrays beside them.
    return any((folder / f"{key}.npy").is_file() for key in KEYS if key.startswith("x"))
