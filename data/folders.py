"""Folders of images as piles: class sub-folders, or loose files beside a CSV of labels."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

from selftrain.data.files import IMAGE_SUFFIXES, FileSet
from selftrain.data.pile import Pile
from selftrain.data.readers import Mode
from selftrain.data.splits import Overlap
from selftrain.data.views import ViewMaker
from selftrain.errors import DataError

_UNLABELED = "unlabeled"
_COLUMNS = {"path", "label"}


@dataclass(frozen=True)
class _Listing:
    """Files by relative path, their class numbers (-1 = unlabeled) and the class names."""

    paths: list[str]
    y: list[int]
    classes: list[str]


def from_folder(
    folder: str | os.PathLike[str],
    labels_csv: str | os.PathLike[str] | None = None,
    *,
    size: int | tuple[int, int] | None = None,
    mode: Mode = "RGB",
    test: str | os.PathLike[str] | None = None,
    labels: int | None = None,
    validation: float = 0,
    overlap: Overlap = "exclude",
    seed: int = 0,
    views: ViewMaker | None = None,
    cache: bool = False,
) -> Pile:
    """Make a pile from a folder of images; ids are the paths relative to it.

    Without ``labels_csv`` each sub-folder is a class named like it; ``unlabeled/`` and loose files have no label. With
    it, files may lie anywhere below the folder, and those that the CSV does not list have no label. Hidden files and
    folders are passed over; links to folders are followed once.

    Args:
        folder: Where the images are.
        labels_csv: CSV with the columns ``path`` (relative to the folder) and ``label`` (a class name; empty =
            unlabeled); others are ignored.
        size: Side, or height and width, to bring images to; ``None``: they must all have one size already.
        mode: ``"RGB"`` or ``"L"`` (gray).
        test: Folder of test images in sub-folders of the same class names.
        labels: Use only so many labels, evenly over the classes; ``None``: all.
        validation: Labels to hold back for validation: a count, or a share below 1.
        overlap: Whether labeled images are unlabeled ones too, as in ``split``.
        seed: Key of the choice of labels.
        views: Maker of views.
        cache: Keep decoded images in memory.

    Raises:
        DataError: no images, a path in the CSV that is missing, listed twice or outside the folder, wrong columns, or a
            test class that training does not have.
    """
    root = Path(folder)
    found = _image_files(root)
    listing = _by_folder(found) if labels_csv is None else _by_csv(root, found, Path(labels_csv))
    training = _file_set(root, listing, mode, size, cache)
    testing = None
    if test is not None:
        testing = _file_set(Path(test), _test_listing(Path(test), listing.classes), mode, size, cache)
    return Pile.from_samples(
        training,
        testing,
        classes=listing.classes,
        labels=labels if any(y >= 0 for y in listing.y) else 0,
        validation=validation,
        overlap=overlap,
        seed=seed,
        views=views,
        source=str(root),
    )


def _file_set(root: Path, listing: _Listing, mode: Mode, size: int | tuple[int, int] | None, cache: bool) -> FileSet:
    files = [root / path for path in listing.paths]
    return FileSet(files, listing.y, mode=mode, size=size, ids=listing.paths, cache=cache)


def _image_files(root: Path) -> list[str]:
    """Relative paths of all images below a folder, with forward slashes, sorted."""
    if not root.is_dir():
        raise DataError(f"{root} is no folder; pass the folder that holds the images")
    found = sorted(path.relative_to(root).as_posix() for path in _walk(root))
    if not found:
        raise DataError(f"no images below {root}; known endings are {', '.join(IMAGE_SUFFIXES)}")
    return found


def _walk(root: Path) -> Iterator[Path]:
    seen: set[str] = set()
    for place, folders, files in os.walk(root, followlinks=True):
        real = os.path.realpath(place)
        folders[:] = [] if real in seen else sorted(name for name in folders if not name.startswith("."))
        if real in seen:
            continue
        seen.add(real)
        yield from (
            Path(place, name) for name in files if not name.startswith(".") and name.lower().endswith(IMAGE_SUFFIXES)
        )


def _by_folder(found: Sequence[str]) -> _Listing:
    """Classes by the first folder of each path."""
    heads = [path.split("/")[0] if "/" in path else _UNLABELED for path in found]
    classes = sorted(set(heads) - {_UNLABELED})
    number = {name: i for i, name in enumerate(classes)}
    return _Listing(list(found), [number.get(head, -1) for head in heads], classes)


def _test_listing(root: Path, classes: Sequence[str]) -> _Listing:
    own = _by_folder(_image_files(root))
    strange = [name for name in own.classes if name not in classes]
    if strange:
        raise DataError(f"{root} holds class {strange[0]!r}, which training does not have; rename or remove it")
    places = {i: list(classes).index(name) for i, name in enumerate(own.classes)}
    kept = [(path, places[y]) for path, y in zip(own.paths, own.y, strict=True) if y >= 0]
    return _Listing([path for path, _ in kept], [y for _, y in kept], list(classes))


def _by_csv(root: Path, found: Sequence[str], labels_csv: Path) -> _Listing:
    """Classes by the CSV; files it does not list have none."""
    given = _read_csv(root, labels_csv)
    paths = sorted(set(found) | set(given))
    classes = sorted(set(given.values()) - {""})
    number = {name: i for i, name in enumerate(classes)}
    return _Listing(paths, [number.get(given.get(path, ""), -1) for path in paths], classes)


def _read_csv(root: Path, labels_csv: Path) -> dict[str, str]:
    """Label of each listed path."""
    given: dict[str, str] = {}
    try:
        with labels_csv.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file)
            if not set(rows.fieldnames or ()) >= _COLUMNS:
                raise DataError(f"{labels_csv} has the columns {rows.fieldnames}; it needs path and label")
            for row in rows:
                where = f"{labels_csv}, line {rows.line_num}"
                path = _inside(root, row["path"] or "", where)
                if path in given:
                    raise DataError(f"{where}: {path} is listed twice; keep one line")
                given[path] = (row["label"] or "").strip()
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"cannot read {labels_csv}: {error}") from error
    return given


def _inside(root: Path, path: str, where: str) -> str:
    """The path in one spelling, if it is that of a file below the folder."""
    pure = PurePosixPath(path.strip().replace("\\", "/"))
    if pure.is_absolute() or PureWindowsPath(path).drive or ".." in pure.parts:
        raise DataError(f"{where}: {path!r} leads out of the folder; paths must lie below {root}")
    if not (root / pure).is_file():
        raise DataError(f"{where}: there is no file {root / pure}; correct the path or remove the line")
    return pure.as_posix()
