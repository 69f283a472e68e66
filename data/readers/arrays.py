"""Piles from .npy and .npz files: images, tables, series and clouds as arrays."""

from __future__ import annotations

import difflib
import os
import warnings
import zipfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selftrain.data.base.labels import Classes, NoLabel, as_text, read_labels
from selftrain.data.base.memory import machine_memory
from selftrain.data.base.samples import ArraySet, Channels, Kind, Limits, RowNumbers, Samples, to_one_length
from selftrain.data.base.splits import Overlap
from selftrain.data.base.stored import StoredSet, in_short, load_array
from selftrain.data.base.summary import shown
from selftrain.data.base.units import read_units, unit_classes
from selftrain.data.pile import Pile, readable_again
from selftrain.data.readers.assembling import assemble, joined
from selftrain.data.views.base import ViewMaker
from selftrain.data.views.points import PointViews
from selftrain.errors import DataError, setting

KEYS = (
    *("x", "y", "truth", "ids", "x_unlabeled", "ids_unlabeled"),
    *("x_validation", "y_validation", "x_test", "y_test", "classes"),
)
_Part = NDArray[Any] | Path  # an array in memory, or the .npy file it is in


@readable_again
def from_arrays_file(
    path: str | os.PathLike[str],
    *,
    parts: Mapping[str, str | os.PathLike[str]] | None = None,
    keys: Mapping[str, str] | None = None,
    classes: Classes | None = None,
    no_label: NoLabel = -1,
    labels: int | None = None,
    validation: float | None = 0,
    overlap: Overlap = "exclude",
    seed: int = 0,
    channels: Channels | None = None,
    limits: Limits | None = None,
    kind: Kind | None = None,
    views: ViewMaker | None = None,
) -> Pile:
    """Make a pile from arrays in files.

    The arrays are ``x`` (as in ``ArraySet``), ``y`` (class numbers, -1 = unlabeled; names, empty = unlabeled; masks
    (N, H, W) of class numbers, a row of -1 = unlabeled, 255 = no class; or joints (N, K, 3): x, y, visible, NaN =
    missing), ``truth`` (what ``y`` hides, as in ``Pile.from_arrays``), ``x_unlabeled``, ``x_validation``,
    ``y_validation``, ``x_test``, ``y_test``, ``ids``, ``ids_unlabeled`` and ``classes``; only ``x`` or ``x_unlabeled``
    must be there. Inputs in .npy files are read row by row when they are needed, so that they may be larger than
    memory; those in .npz files are loaded. Python objects are never loaded.

    Args:
        path: A .npz file with those arrays; a folder with a .npy file for each (``x.npy``, ``y.npy``, ...); or the
            .npy file of ``x`` (of ``x_unlabeled`` when there is no ``y``).
        parts: .npy files of further arrays, such as ``{"y": "labels.npy"}``; they come before those in ``path``.
        keys: What arrays of a .npz file stand for, such as ``{"data": "x", "target": "y"}``.
        classes: As of ``Pile``; default: the array ``classes``, or as there.
        no_label: Values of ``y`` that mean unlabeled in place of -1, as in ``Pile.from_arrays``.
        labels: Use only so many labels, evenly over the classes; the others become ``truth``. ``None``: all.
        validation: Labels to hold back, as in ``split``.
        overlap: Whether labeled rows are also unlabeled ones, as in ``split``.
        seed: Key of the choice of labels.
        channels: Where the channel axis is, as in ``ArraySet``.
        limits: Values of an image that mean black and white, as in ``ArraySet``.
        kind: ``"series"`` or ``"points"``, as in ``ArraySet``; ``None``: images or a table.
        views: Maker of views; default: the one for this kind of input.

    Raises:
        DataError: a file that cannot be read, an unknown array, or inputs and labels that do not fit.

    Example:
        >>> np.savez("toy.npz", x=np.eye(4), y=[0, 1, -1, -1], x_test=np.eye(4), y_test=[0, 1, 0, 1])
        >>> len(from_arrays_file("toy.npz").unlabeled)
        2
    """
    place = Path(path)
    arrays = _arrays(place, keys or {}) | {key: Path(part) for key, part in (parts or {}).items()}
    # inputs alone are a pile without labels
    if "y" not in arrays and "x_unlabeled" not in arrays and "x" in arrays:
        arrays |= {f"{key}_unlabeled": arrays.pop(key) for key in ("x", "ids") if key in arrays}
    _check_keys(arrays, place)
    known = _part_labels(arrays, classes, no_label, place)
    form: dict[str, Any] = {"channels": channels, "limits": limits, "kind": kind}
    sets = {
        part: _part_samples(arrays, part, known.get(part), form) for part in ("", "_unlabeled", "_validation", "_test")
    }
    to_one_length(*sets.values())
    if sets["_validation"] is not None and validation:
        raise DataError(f"validation is {validation}, but {place} has x_validation; leave out one of them")
    pile = assemble(
        sets[""],
        sets["_unlabeled"],
        sets["_test"],
        validation=validation if sets["_validation"] is None else sets["_validation"],
        classes=known["classes"],
        notes=known["notes"],
        labels=labels,
        overlap=overlap,
        seed=seed,
        views=PointViews() if views is None and kind == "points" else views,
        source=str(place),
        truth=known.get("truth"),
    )
    for words, warns in _not_read(place):
        pile.summary = pile.summary.plus(left_out=[words])
        if warns:
            warnings.warn(words, stacklevel=2)
    return pile


def inputs_of_file(path: str | os.PathLike[str], **form: Any) -> Samples:
    """All inputs of array files in their order, those of ``x_unlabeled`` behind those of ``x``, without any label.

    Args:
        path: As in ``from_arrays_file``.
        form: ``channels``, ``limits`` and ``kind`` of a set.
    """
    place = Path(path)
    arrays = {key: part for key, part in _arrays(place, {}).items() if key.partition("_")[0] in ("x", "ids")}
    if "x" not in arrays:  # the only rows need no other name than their number
        arrays = {key.removesuffix("_unlabeled"): part for key, part in arrays.items() if key.endswith("_unlabeled")}
    sets = [_part_samples(arrays, part, None, form) for part in ("", "_unlabeled")]
    to_one_length(*sets)
    found = joined(*sets)
    if found is None:
        raise DataError(f"{place} holds no x and no x_unlabeled; save inputs as x")
    return found


def _not_read(place: Path) -> list[tuple[str, bool]]:
    """What lies in a folder of arrays, or beside the array that was named, and is not read; and whether to warn."""
    if place.suffix.lower() == ".npz":
        return []
    if place.is_file():
        beside = [name for name in ("y.npy", "x_test.npy", "y_test.npy") if (place.parent / name).is_file()]
        return [(f"{', '.join(beside)} beside {place.name}: pass the folder to read all", False)] if beside else []
    names = sorted(path.name for path in place.iterdir() if not path.name.startswith("."))
    others = [name for name in names if not (name.endswith(".npy") and name[:-4] in KEYS)]
    arrays = [name for name in others if name.lower().endswith((".npy", ".npz"))]
    if not others:
        return []
    listed = ", ".join(map(shown, others[:5])) + (", ..." if len(others) > 5 else "")
    words = f"passed over in {place} ({len(others):,}): {listed}"
    if arrays:
        words += f"; arrays are read under the names {', '.join(f'{key}.npy' for key in KEYS)}"
    return [(words, bool(arrays))]


def _arrays(path: Path, keys: Mapping[str, str]) -> dict[str, _Part]:
    """The arrays of a .npz file, a folder or a .npy file by their key."""
    if path.is_dir():
        found: dict[str, _Part] = {file.stem: file for file in sorted(path.glob("*.npy")) if file.stem in KEYS}
        if not found:
            raise DataError(f"{path} holds none of {', '.join(f'{key}.npy' for key in KEYS)}; save x as x.npy")
        return found
    if path.suffix.lower() == ".npy":
        return {"x": path}
    if path.suffix.lower() != ".npz":
        raise DataError(f"{path} is no .npz file, .npy file or folder of .npy files; convert it to one")
    try:
        # an archive may be anybody's: objects in it would run code
        with np.load(path, allow_pickle=False) as file:
            size, memory = sum(info.file_size for info in file.zip.infolist()), machine_memory()
            if size > memory:  # by mistake or to do harm: a small archive may unpack to anything
                raise DataError(
                    f"{path} unpacks to {size / 2**30:,.1f} GiB and this machine has {memory / 2**30:,.1f}; save the "
                    "arrays as .npy files, which are read row by row"
                )
            known = {key: key.lower() if key.lower() in KEYS else key for key in file.files}  # X is as good as x
            # before they are read: an archive may have 300,000 of them
            _check_names([keys.get(key, name) for key, name in known.items()], path)
            return {keys.get(key, name): _member(file, key, path) for key, name in known.items()}
    except DataError:
        raise
    except Exception as error:  # the archive is input: zipfile, zlib and numpy raise many kinds
        raise DataError(f"cannot read {path}: {error}; it is no whole .npz file") from error


def _member(file: Any, key: str, path: Path) -> NDArray[Any]:
    try:
        array = file[key]
    except MemoryError as error:
        raise DataError(
            f"cannot read array {key!r} of {path}: memory is too short; save it as .npy, which is read row by row"
        ) from error
    except (ValueError, EOFError, OSError, zipfile.BadZipFile) as error:
        raise DataError(
            f"cannot read array {key!r} of {path}: {in_short(error)}; save plain numbers or text"
        ) from error
    if not isinstance(array, np.ndarray):
        raise DataError(f"{key!r} of {path} is no array; save the file with numpy.savez")
    return array


def _check_names(arrays: Collection[str], path: Path) -> None:
    for key in arrays:
        if key not in KEYS:
            close = difflib.get_close_matches(key, KEYS, 1)
            hint = f"did you mean {close[0]!r}? " if close else ""
            raise DataError(
                f"{path} has an array {key!r}; {hint}known are {', '.join(KEYS)}: "
                f"say {setting('keys', {key: 'x'})} for another"
            )


def _check_keys(arrays: Collection[str], path: Path) -> None:
    _check_names(arrays, path)
    if "x" not in arrays and "x_unlabeled" not in arrays:
        raise DataError(f"{path} has neither x nor x_unlabeled, only {', '.join(arrays) or 'nothing'}")
    if "truth" in arrays and "y" not in arrays:
        raise DataError(f"{path} has truth but no y; add it, -1 or void where nothing is to be learned from")
    for part in ("", "_validation", "_test"):
        lone = [name for name in (f"x{part}", f"y{part}") if name in arrays]
        if len(lone) == 1:
            other = f"y{part}" if lone[0][0] == "x" else f"x{part}"
            raise DataError(f"{path} has {lone[0]} but no {other}; add it, or leave out {lone[0]}")


def _part_labels(arrays: Mapping[str, _Part], classes: Classes | None, no_label: NoLabel, path: Path) -> dict[str, Any]:
    """Class numbers, masks or joints of each part, the names of the classes, and what stood for no label."""
    if classes is None and "classes" in arrays:
        classes = [as_text(name) or "" for name in _loaded(arrays["classes"]).reshape(-1)]
    raw = {part: _loaded(arrays[f"y{part}"]) for part in ("", "_validation", "_test") if f"y{part}" in arrays}
    raw |= {"truth": _loaded(arrays["truth"])} if "truth" in arrays else {}
    if len({y.dtype.kind in "US" for y in raw.values()}) > 1:
        raise DataError(f"some labels of {path} are names and some are numbers; save all in one way")
    found: dict[str, Any] = {
        part: units
        for part, y in raw.items()
        if y.dtype.kind in "iubf"
        and (units := read_units(y, _opened(arrays["x" + part.removeprefix("truth")]), no_label)) is not None
    }
    if found and len(found) == len(raw):
        return found | {"classes": unit_classes(list(found.values()), classes), "notes": ()}
    one_label = {part: y for part, y in raw.items() if part not in found}
    parts = {part.removeprefix("_"): y for part, y in one_label.items()}
    read = read_labels(
        parts, classes, no_label, source=lambda part: f"{path}, {part if part == 'truth' else f'y_{part}'.rstrip('_')}"
    )
    codes = {part: read.codes[part.removeprefix("_")] for part in one_label}
    return found | codes | {"classes": read.classes, "notes": read.notes}


def _opened(part: _Part) -> NDArray[Any]:
    return np.load(part, mmap_mode="r") if isinstance(part, Path) else part


def _loaded(part: _Part) -> NDArray[Any]:
    return load_array(part) if isinstance(part, Path) else part


def _part_samples(arrays: Mapping[str, _Part], part: str, y: Any, form: Mapping[str, Any]) -> Samples | None:
    """The samples of one part; ``None`` where it is missing."""
    x = arrays.get(f"x{part}")
    if x is None:
        return None
    given = arrays.get(f"ids{part}")
    ids = None if given is None else [as_text(name) or "" for name in _loaded(given).reshape(-1)]
    # Rows of each part count from 0: without a prefix labeled and further unlabeled rows would share ids.
    prefix = f"{part[1:]}/" if part else ""
    if isinstance(x, Path):
        return StoredSet(x, y, ids, prefix=prefix, **form)
    try:
        return ArraySet(x, y, RowNumbers(len(x), prefix) if ids is None and x.ndim else ids, **form)
    except DataError as error:
        raise DataError(f"x{part}: {error}") from error
