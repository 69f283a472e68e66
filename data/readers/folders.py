"""Folders of images as piles: class sub-folders, or loose files beside a CSV of labels."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Literal

from selftrain.data.base.labels import NoLabel, Vocabulary, read_labels, said_of
from selftrain.data.base.samples import Limits, check_limits
from selftrain.data.base.splits import Overlap
from selftrain.data.base.summary import shown
from selftrain.data.pile import Pile, readable_again
from selftrain.data.readers.assembling import assemble
from selftrain.data.readers.decoding import Fit, Mode, few_levels, few_upper_levels
from selftrain.data.readers.files import IMAGE_SUFFIXES, FileSet, as_extent
from selftrain.data.readers.left_out import OTHER_PICTURES, Note, class_notes, file_notes, folder_notes
from selftrain.data.readers.scanning import OnError, Scanned, scan, usable
from selftrain.data.views.base import ViewMaker
from selftrain.errors import DataError, setting
from selftrain.storage.tables import csv_rows

UNLABELED = "unlabeled"
VOC, CITYSCAPES = ("JPEGImages", "SegmentationClass"), ("leftImg8bit", "gtFine")  # pictures, masks
_IMAGES = ("images", "image", "imgs", "img", "pictures", "photos")
_MASKS = ("masks", "mask", "labels", "label", "annotations", "segmentation", "gt")
_COLUMNS = {"path", "label"}
_Fault = Literal["outside", "missing", "twice"]


@dataclass(frozen=True)
class LabelFault:
    """A line of a CSV of labels that cannot be used: what kind of fault, which path, and the same in words."""

    kind: _Fault
    path: str
    text: str


@dataclass(frozen=True)
class Listing:
    """Files by relative path, their class numbers (-1 = unlabeled), the class names, and what is wrong with the CSV.

    ``notes`` say what stood for no label.
    """

    paths: list[str]
    y: list[int]
    classes: list[str]
    faults: Sequence[LabelFault] = ()
    notes: Sequence[str] = ()


@readable_again
def from_folder(
    folder: str | os.PathLike[str],
    labels_csv: str | os.PathLike[str] | None = None,
    *,
    size: int | tuple[int, int] | None = None,
    fit: Fit = "crop",
    mode: Mode = "RGB",
    limits: Limits | None = None,
    test: str | os.PathLike[str] | None = None,
    no_label: NoLabel = -1,
    labels: int | None = None,
    validation: float | str | os.PathLike[str] | None = 0,
    overlap: Overlap = "exclude",
    seed: int = 0,
    views: ViewMaker | None = None,
    cache: bool = False,
    on_error: OnError = "raise",
    max_skipped: float = 0.1,
    workers: int | None = None,
) -> Pile:
    """Make a pile from a folder of images; ids are the paths relative to it.

    Without ``labels_csv`` each sub-folder is a class named like it, also an empty one; ``unlabeled/`` in any spelling
    and loose files have no label. With it, files may lie anywhere below the folder, and those that the CSV does not
    list have no label. Hidden files and folders are passed over; links to folders are followed once.

    Every file is decoded once here, in parallel, so that a damaged one is found before training and not hours into it;
    of a folder of 1,000 and more it is kept which files are sound, and only new and changed ones are decoded the next
    time (``$SELFTRAIN_DATA`` or ``~/.cache/selftrain``, folder ``files``).
    Which files are left out depends on the files alone, never on threads, loader processes or order.

    Args:
        folder: Where the images are.
        labels_csv: CSV with the columns ``path`` (relative to the folder) and ``label`` (a class name; empty or -1 =
            unlabeled); others are ignored.
        size: Side, or height and width, to bring images to; ``None``: they must all have one size already.
        fit: How they are brought to ``size``: ``"crop"`` keeps the side ratio and cuts off what is over at the edges,
            ``"pad"`` keeps all and fills the rest with black, ``"stretch"`` changes the side ratio.
        mode: ``"RGB"`` or ``"L"`` (gray).
        limits: Values of gray files of more than 8 bits that mean black and white, such as (0, 4095) for 12 bits, in
            all parts; ``None``: 0 and 65535.
        test: Folder of test images in sub-folders of the same class names.
        no_label: Labels, or names of sub-folders beside ``unlabeled/``, that mean unlabeled in place of the usual
            ones, one or several; ``None``: only an empty cell, or a loose file.
        labels: Use only so many labels, evenly over the classes; ``None``: all.
        validation: Labels to hold back for validation: a count, or a share below 1; or a folder like ``test``.
        overlap: Whether labeled images are unlabeled ones too, as in ``split``.
        seed: Key of the choice of labels.
        views: Maker of views.
        cache: Keep decoded images in memory.
        on_error: What to do with files that cannot be used (damaged, cut short, empty, or listed in the CSV and not
            there): ``"raise"`` an error that names them, ``"skip"`` them and list them in ``pile.skipped`` with a
            warning, or ``"defer"`` the question until a file is read, to save the time of decoding all.
        max_skipped: Share of the files that may be skipped; more of them are an error.
        workers: Threads that decode; ``None``: as many as there are processors, at most 16.

    Raises:
        DataError: the folder holds masks of pixels (see ``from_masks``); no images, files that cannot be used, a path
            in the CSV that is missing, listed twice or outside the folder, wrong columns, images of different sizes
            without ``size``, or a test class that training does not have.

    Warns:
        UserWarning: files were skipped, how many and the first of them; files of more than 8 bits use so few of their
            levels that few gray levels are left; what of the pictures is not read: how many have several
            frames, lose a fifth or more to cropping, or show nothing but their transparency; pictures passed over by
            their ending; a class without a label, by name; labels that look
            like a mark for "no label" and are taken for a class, or the other way round.
    """
    if on_error not in ("raise", "skip", "defer"):
        raise ValueError(f'on_error is {on_error!r}; say "raise", "skip" or "defer"')
    root = Path(folder)
    if labels_csv is None and has_masks(root):
        raise DataError(
            f"{root} holds pictures and masks of their pixels, which are no two classes; read them with "
            f"selftrain.data.from_masks({str(root)!r})"
        )
    listing = list_folder(root, labels_csv, no_label)
    held_out = {"test": test, "validation": validation if isinstance(validation, str | os.PathLike) else None}
    roots = {"": root} | {part: Path(place) for part, place in held_out.items() if place is not None}
    listings = {"": listing} | {part: list_held_out(roots[part], listing.classes, no_label) for part in roots if part}
    limits = check_limits(limits)
    skipped: list[tuple[str, str]] = []
    scanned: list[Scanned] = []
    sets = {}
    for part, found in listings.items():
        kept, lost, whole = usable_files(roots[part], found, on_error, max_skipped, size, mode, workers, limits)
        skipped += lost
        scanned += whole
        files = [roots[part] / path for path in kept.paths]
        sets[part] = FileSet(files, kept.y, mode=mode, size=size, fit=fit, limits=limits, ids=kept.paths, cache=cache)
    if skipped:
        total, first = sum(len(found.paths) for found in listings.values()), skipped[:3]
        named = "; ".join(f"{shown(name)}: {reason}" for name, reason in first)
        warnings.warn(
            f"{len(skipped):,} of {total:,} files cannot be read and were left out ({named}); see pile.skipped",
            stacklevel=2,
        )
    ranges = [file.used for file in scanned if file.used is not None]
    if limits is not None and not ranges and on_error != "defer":
        raise DataError(f"limits are {limits}, but {root} has no gray files of more than 8 bits; leave them out")
    upper = [file.left for file in scanned if file.left is not None]
    for words in filter(None, (few_levels(ranges, limits), few_upper_levels(upper))):
        warnings.warn(words, stacklevel=2)
    pile = assemble(
        sets[""],
        None,
        sets.get("test"),
        validation=sets.get("validation", validation),  # type: ignore[arg-type]  # no path is left: it is a set by now
        classes=listing.classes,
        notes=listing.notes,
        labels=labels,
        overlap=overlap,
        seed=seed,
        views=views,
        source=str(root),
    )
    pile.skipped = skipped
    notes = [note for place in roots.values() for note in folder_notes(place, labels_csv)]
    notes += _without_class(roots, listings) + file_notes(scanned, as_extent(size), fit)
    for note in [*notes, *class_notes(listing.classes)]:
        if note.warns:
            warnings.warn(note.text, stacklevel=2)
    pile.summary = pile.summary.plus(left_out=[note.text for note in notes])
    return pile


def _without_class(roots: Mapping[str, Path], listings: Mapping[str, Listing]) -> list[Note]:
    """Files of held-out folders that nothing can be compared with."""
    notes = []
    for part in [part for part in roots if part]:
        lost = sorted(set(image_files(roots[part])) - set(listings[part].paths))
        if lost:
            text = f"{len(lost):,} of the {part} files have no class and are left out, such as {shown(lost[0])}"
            notes.append(Note("no class", text, lost, True))
    return notes


def list_folder(root: Path, labels_csv: str | os.PathLike[str] | None = None, no_label: NoLabel = -1) -> Listing:
    """The images below a folder and their classes.

    Raises:
        DataError: no folder, no images, or a CSV that cannot be read or lacks its columns.
    """
    found = image_files(root)
    if labels_csv is not None:
        return _by_csv(root, found, Path(labels_csv), no_label)
    return _by_folder(found, no_label, _folders_without(root, found))


def list_held_out(root: Path, classes: Sequence[str], no_label: NoLabel = -1) -> Listing:
    """The labeled images below a folder, with the class numbers of training.

    Raises:
        DataError: a class that training does not have.
    """
    own = _by_folder(image_files(root), no_label)
    strange = [name for name in own.classes if name not in classes]
    if strange:
        raise DataError(f"{root} holds class {strange[0]!r}, which training does not have; rename or remove it")
    # the numbers of training: a test folder without one of the classes would count from 0 on its own
    places = {i: list(classes).index(name) for i, name in enumerate(own.classes)}
    kept = [(path, places[y]) for path, y in zip(own.paths, own.y, strict=True) if y >= 0]
    return Listing([path for path, _ in kept], [y for _, y in kept], list(classes))


def mask_folders(root: Path) -> tuple[Path, Path] | None:
    """The folders of pictures and of masks in one that holds both, such as ``images`` and ``masks``, or ``None``."""
    below = {place.name.lower(): place for place in sorted(root.iterdir()) if place.is_dir()} if root.is_dir() else {}
    images = next((below[name] for name in _IMAGES if name in below), None)
    masks = next((below[name] for name in _MASKS if name in below), None)
    if images is None or masks is None:
        return None
    # two classes may be called so, but the files of a mask and of its picture are called alike
    stems = {path.relative_to(images).with_suffix("") for path in _walk(images)}
    names = [path.relative_to(masks).with_suffix("") for path in _walk(masks)]
    paired = any(name in stems or any(str(name).startswith(f"{stem}_") for stem in stems) for name in names[:20])
    return (images, masks) if paired else None


def has_masks(root: Path) -> bool:
    """Whether a folder holds pictures and their masks in a layout that ``from_masks`` knows."""
    return any(all((root / name).is_dir() for name in pair) for pair in (VOC, CITYSCAPES)) or bool(mask_folders(root))


def check_extents(scanned: Sequence[Scanned], source: str) -> None:
    """Refuse images of different sizes; the two most frequent are named.

    Raises:
        DataError: there are several sizes.
    """
    extents = Counter((file.height, file.width) for file in scanned if file.damage is None)
    if len(extents) > 1:
        (most, many), (next_most, few) = extents.most_common(2)
        odd = next(file for file in scanned if (file.height, file.width) == next_most)
        raise DataError(
            f"images in {source} have {len(extents)} sizes: {many:,} are {most[0]}x{most[1]}, {few:,} are "
            f"{next_most[0]}x{next_most[1]}, such as {shown(odd.id)}; pass {setting('size')} to bring all to one size"
        )


def usable_files(
    root: Path,
    listing: Listing,
    on_error: OnError,
    most: float,
    size: int | tuple[int, int] | None,
    mode: Mode,
    workers: int | None,
    limits: Limits | None,
) -> tuple[Listing, list[tuple[str, str]], list[Scanned]]:
    """The files that can be used, the others with the reason, and what those that can be used are."""
    wrong = next((f for f in listing.faults if f.kind != "missing" or on_error != "skip"), None)
    if wrong is not None:
        raise DataError(wrong.text)
    if on_error == "defer":
        return listing, [], []
    # all of them now: a damaged file met in the middle of a run costs the hours before it, and skipping it there would
    # change every later batch
    scanned = scan([root / path for path in listing.paths], listing.paths, mode, workers, limits)
    scanned += [Scanned(fault.path, damage="missing", reason="it is listed, but not there") for fault in listing.faults]
    kept = usable(scanned, on_error, most, str(root))
    if size is None:
        check_extents(scanned, str(root))
    lost = [(file.id, file.reason) for file in scanned if file.damage is not None]
    if not kept:
        raise DataError(f"no image below {root} can be read; the first one, {shown(lost[0][0])}: {lost[0][1]}")
    whole = [scanned[place] for place in kept]
    paths, labels = [listing.paths[i] for i in kept], [listing.y[i] for i in kept]
    return Listing(paths, labels, listing.classes, notes=listing.notes), lost, whole


def image_files(root: Path) -> list[str]:
    """Relative paths of all images below a folder, with forward slashes, sorted."""
    if not root.is_dir():
        raise DataError(f"{root} is no folder; pass the folder that holds the images")
    # by name: file systems list in an order of their own, and row numbers are keys of all draws
    found = sorted(path.relative_to(root).as_posix() for path in _walk(root))
    if not found:
        raise DataError(f"no images below {root}; known endings are {', '.join(IMAGE_SUFFIXES)}")
    return found


def _walk(root: Path) -> Iterator[Path]:
    """Files below a folder whose names end like images; hidden ones are passed over."""
    seen: set[str] = set()
    for place, folders, files in os.walk(root, followlinks=True):
        # a link may lead back up: each folder once, whatever it is called
        real = os.path.realpath(place)
        folders[:] = [] if real in seen else sorted(name for name in folders if not name.startswith("."))
        if real in seen:
            continue
        seen.add(real)
        yield from (
            Path(place, name) for name in files if not name.startswith(".") and name.lower().endswith(IMAGE_SUFFIXES)
        )


def _by_folder(found: Sequence[str], no_label: NoLabel = -1, empty: Sequence[str] = ()) -> Listing:
    """Classes by the first folder of each path, and those of ``empty``."""
    # the first folder is the class, whatever lies below it; the name as it is: 1 and 1.0 are two folders
    heads = [path.split("/")[0] if "/" in path else None for path in found]
    vocabulary = Vocabulary(no_label)
    counts = Counter(head for head in heads if head is not None)
    marks = {name: many for name, many in counts.items() if name == UNLABELED or vocabulary.is_mark(name)}
    classes = sorted(name for name in {*counts, *empty} if name != UNLABELED and not vocabulary.is_mark(name))
    remarks = vocabulary.remarks(marks, {name: counts[name] for name in classes})
    for remark in remarks:
        warnings.warn(remark, stacklevel=5)
    number = {name: i for i, name in enumerate(classes)}
    notes = [*said_of({"": heads.count(None), **marks}), *remarks]
    return Listing(list(found), [number.get(head or "", -1) for head in heads], classes, notes=notes)


def _folders_without(root: Path, found: Sequence[str]) -> list[str]:
    """Sub-folders that are classes although no image is in them: empty, or with pictures that cannot be read."""
    heads = {path.split("/")[0] for path in found if "/" in path} | {UNLABELED}
    others = [p for p in root.iterdir() if p.is_dir() and p.name not in heads and not p.name.startswith(".")]
    files = {p.name: [name for _, _, names in os.walk(p) for name in names if name[0] != "."] for p in others}
    # annotations and the like are no class
    return [name for name, own in files.items() if not own or any(f.lower().endswith(OTHER_PICTURES) for f in own)]


def _by_csv(root: Path, found: Sequence[str], labels_csv: Path, no_label: NoLabel) -> Listing:
    """Classes by the CSV; files it does not list have none."""
    given: dict[str, str] = {}
    faults: list[LabelFault] = []
    rows = csv_rows(labels_csv)
    columns = next(rows, (0, []))[1]
    if not set(columns) >= _COLUMNS:
        raise DataError(f"{labels_csv} has the columns {columns}; it needs path and label")
    for line, row in rows:
        cells, where = dict(zip(columns, row, strict=False)), f"{labels_csv}, line {line}"
        path, label = _one_spelling(cells.get("path", "")), cells.get("label", "").strip()
        fault = path_fault(root, path, where)
        if fault is None and path in given:
            words = "" if given[path] == label else f", as {given[path]!r} and as {label!r}"
            fault = LabelFault("twice", path, f"{where}: {shown(path)} is listed twice{words}; keep one line")
        if fault is not None:
            faults.append(fault)
        else:
            given[path] = label
    # sorted: the order of a directory is that of its file system, and rows would have other draws elsewhere
    paths = sorted(set(found) | set(given))
    # by their text and not by value, as folders of these names would be
    read = read_labels({"": [given.get(path) for path in paths]}, None, no_label, by_value=False, stacklevel=5)
    return Listing(paths, read.codes[""].tolist(), list(read.classes), faults, read.notes)


def _one_spelling(path: str) -> str:
    # ./a.png and b//a.png name files of the listing: another spelling would be a second row of the same file. A path
    # that leads out stays as it was written, for the message.
    pure = PurePosixPath(path.strip().replace("\\", "/"))
    return path.strip() if pure.is_absolute() or ".." in pure.parts else pure.as_posix()


def path_fault(root: Path, path: str, where: str) -> LabelFault | None:
    """What is wrong with a path, if it is not that of a file below the folder."""
    # Windows takes both slashes; a list that was written there must not lead out of the folder here
    pure = PurePosixPath(path.replace("\\", "/"))
    if pure.is_absolute() or PureWindowsPath(path).drive or ".." in pure.parts:
        return LabelFault("outside", path, f"{where}: {path!r} leads out of the folder; paths must lie below {root}")
    try:
        there = (root / pure).is_file()
    except (OSError, ValueError):  # a name that is too long, or no name at all
        there = False
    if not there:
        shorter = shown(str(root / pure))
        return LabelFault("missing", path, f"{where}: there is no file {shorter}; correct the path or remove the line")
    return None
