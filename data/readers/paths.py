"""A pile from whatever a path leads to."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from selftrain.data.pile import Pile
from selftrain.data.readers.arrays import KEYS, from_arrays_file
from selftrain.data.readers.folders import from_folder
from selftrain.data.readers.tables import from_table
from selftrain.data.readers.tabular import TABLE_SUFFIXES
from selftrain.errors import DataError

_ARRAY_SUFFIXES = (".npy", ".npz")


def from_path(path: str | os.PathLike[str], **settings: Any) -> Pile:
    """Make a pile from a folder of images, a folder or file of arrays, or a table, by what the path leads to.

    Args:
        path: A folder with ``x.npy`` or ``x_unlabeled.npy``, a .npy or .npz file: ``from_arrays_file``; a .csv, .tsv or
            .parquet file: ``from_table``; another folder: ``from_folder``.
        **settings: Arguments of that function.

    Raises:
        DataError: nothing there, a file of another kind, or data that cannot be used.
    """
    place = Path(path)
    if place.is_dir():
        return from_arrays_file(place, **settings) if holds_arrays(place) else from_folder(place, **settings)
    if not place.is_file():
        raise DataError(f"there is no file or folder {place}; correct the path")
    ending = place.suffix.lower()
    if ending in _ARRAY_SUFFIXES:
        return from_arrays_file(place, **settings)
    if ending in TABLE_SUFFIXES:
        return from_table(place, **settings)
    known = ", ".join((*_ARRAY_SUFFIXES, *TABLE_SUFFIXES))
    raise DataError(f"{place} is of no known kind; pass a folder of images, or a file that ends in {known}")


def holds_arrays(folder: Path) -> bool:
    """Whether a folder is one of arrays."""
    return any((folder / f"{key}.npy").is_file() for key in KEYS if key.startswith("x"))
