"""Piles from pictures and masks in files: two folders, or the layouts of Pascal VOC and Cityscapes."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from selftrain.data.base.labels import Classes, class_names, listed
from selftrain.data.base.samples import Limits, check_limits
from selftrain.data.base.splits import Overlap
from selftrain.data.base.summary import shown
from selftrain.data.base.units import VOID
from selftrain.data.pile import Pile, readable_again
from selftrain.data.readers.assembling import assemble
from selftrain.data.readers.decoding import Fit, Mode
from selftrain.data.readers.files import FileSet, as_extent
from selftrain.data.readers.folders import CITYSCAPES, VOC, Listing, image_files, mask_folders, usable_files
from selftrain.data.readers.left_out import Note, file_notes
from selftrain.data.readers.mask_files import Color, MaskCoding, MaskFiles, MaskScan, scan_masks
from selftrain.data.readers.scanning import OnError, Scanned
from selftrain.data.views.base import ViewMaker
from selftrain.errors import DataError, setting

Place = str | os.PathLike[str]
Fault = tuple[str, str, Sequence[str]]  # a word for programs, a sentence, the files
VOC_CLASSES = (
    *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
CITYSCAPES_CLASSES = {  # numbers of the files; all others are void
    "road": 7, "sidewalk": 8, "building": 11, "wall": 12, "fence": 13, "pole": 17, "traffic light": 19,
    "traffic sign": 20, "vegetation": 21, "terrain": 22, "sky": 23, "person": 24, "rider": 25, "car": 26, "truck": 27,
    "bus": 28, "train": 31, "motorcycle": 32, "bicycle": 33,
}  # fmt: skip
PET_CLASSES = {"pet": 1, "background": 2}  # of the trimaps of Oxford-IIIT Pet, whose border is 3
CITYSCAPES_VOID = [*sorted({*range(34)} - {*CITYSCAPES_CLASSES.values()}), VOID]


@dataclass(frozen=True)
class Pairs:
    """Pictures by relative path, the mask of each (``None``: it has none), and masks that no picture has."""

    root: Path
    paths: Sequence[str]
    masks: Sequence[Path | None]
    lost: Sequence[str] = ()


@dataclass(frozen=True)
class Survey:
    """What was found on reading all pictures and masks once, by part; ``faults`` stop training."""

    pairs: Mapping[str, Pairs]
    pictures: Mapping[str, Sequence[Scanned]]
    masks: Mapping[str, Mapping[int, MaskScan]]
    classes: Sequence[str]
    coding: MaskCoding
    faults: Sequence[Fault]
    notes: Sequence[Note]
    skipped: Sequence[tuple[str, str]]


@readable_again
def from_masks(
    images: Place,
    masks: Place | None = None,
    *,
    classes: Classes | Mapping[str, int] | None = None,
    colors: Mapping[str, Color] | None = None,
    void: int | Sequence[int] = VOID,
    weights: Place | None = None,
    size: int | tuple[int, int] | None = None,
    fit: Fit = "crop",
    mode: Mode = "RGB",
    limits: Limits | None = None,
    test: Place | Sequence[Place] | None = None,
    labels: int | None = None,
    validation: float | Place | Sequence[Place] | None = 0,
    overlap: Overlap = "exclude",
    seed: int = 0,
    views: ViewMaker | None = None,
    cache: bool = False,
    on_error: OnError = "raise",
    max_skipped: float = 0.1,
    workers: int | None = None,
    truth: Place | None = None,
) -> Pile:
    """Make a pile from a folder of pictures and one of masks; a picture without mask is unlabeled.

    The mask of ``a/b.jpg`` is ``a/b.png`` in the folder of masks, or has one ending more that all have
    (``a/b_mask.png``). A mask is a palette or gray PNG of class numbers, or of ``colors``. It is brought to ``size``
    like its picture, without mixing class numbers. All files are decoded once here, so that what is wrong is found
    before training; then masks are read when they are needed, one byte a pixel.

    Args:
        images: Folder of the pictures. Without ``masks`` one that holds both, as ``images/`` and ``masks/``, or as
            Pascal VOC (``JPEGImages/``, ``SegmentationClass/``) or Cityscapes (``leftImg8bit/``, ``gtFine/``) lay them
            out: those bring their classes, and what they call ``val`` is the test set.
        masks: Folder of the masks.
        classes: Names in the order of the numbers, or a mapping from names to numbers, such as
            ``{"background": 0, "object": 255}``; ``None``: the numbers up to the largest.
        colors: Red, green and blue of each class by its name; the name ``"void"``: no class.
        void: Numbers of pixels without class.
        weights: Folder with a gray PNG of 8 bits beside each mask, by the same name: how much a pixel counts, 255 =
            fully. As ``Ledger.to_masks`` writes confidences.
        size: Side, or height and width, to bring pictures and masks to; ``None``: they must all have one size already.
        fit: ``"crop"``, ``"pad"`` (what is added is void) or ``"stretch"``, as in ``from_folder``.
        mode: ``"RGB"`` or ``"L"`` (gray).
        limits: Values of gray pictures of more than 8 bits that mean black and white.
        test: A folder of both, or the two folders, with a mask for each picture.
        labels: Use only so many masks; ``None``: all.
        validation: Masks to hold back: a count, or a share below 1; or folders like ``test``.
        overlap: Whether labeled pictures are unlabeled ones too, as in ``split``.
        seed: Key of the choice of masks.
        views: Maker of views.
        cache: Keep decoded pictures and masks in memory.
        on_error: As in ``from_folder``; a picture whose mask is skipped is unlabeled.
        max_skipped: As in ``from_folder``.
        workers: Threads that decode; ``None``: as many as there are processors, at most 16.
        truth: Folder of masks of pictures that are to be learned from without them: figures say how right pseudo-labels
            are by these. ``None``: the masks that ``labels`` leaves out.

    Raises:
        DataError: files that cannot be read, masks of another size than their picture, numbers or colors that are no
            class, pictures of different sizes without ``size``; the first are named.

    Warns:
        UserWarning: masks without picture, masks that are void all over (their pictures are unlabeled), classes that
            no pixel has, pictures that lose a fifth or more to cropping.
    """
    form: dict[str, Any] = {"size": size, "mode": mode, "limits": check_limits(limits), "workers": workers}
    found = survey(
        images, masks, classes, colors, void, test, validation, truth,
        on_error=on_error, max_skipped=max_skipped, **form,
    )  # fmt: skip
    if found.faults:
        raise DataError(found.faults[0][1])
    coding = replace(found.coding, size=as_extent(size), fit=fit)
    beside = None if weights is None else _by_stem(Path(weights))
    form = {"size": size, "mode": mode, "limits": form["limits"], "fit": fit, "cache": cache}
    sets: dict[str, FileSet] = {}
    hidden: MaskFiles | None = None
    for part, pairs in found.pairs.items():
        extent = coding.size or next(((file.height, file.width) for file in found.pictures[part]), (1, 1))
        sure = None if part or beside is None else _weights(pairs, beside, Path(weights or ""))
        own = MaskFiles(pairs.masks, coding, extent, found.masks[part], sure, cache=cache)
        if part == "truth":  # of the training pictures; it counts fully
            hidden = MaskFiles(pairs.masks, coding, extent, found.masks[part], cache=cache)
            continue
        files = [pairs.root / path for path in pairs.paths]
        sets[part] = FileSet(files, own, ids=pairs.paths, **form)
    notes = [*found.notes, *file_notes(found.pictures[""], coding.size, fit)]
    for note in notes:
        if note.warns:
            warnings.warn(note.text, stacklevel=2)
    held_out = isinstance(validation, float | int) or validation is None
    pile = assemble(
        sets[""],
        None,
        sets.get("test"),
        validation=validation if held_out else sets["validation"],  # type: ignore[arg-type]
        classes=found.classes,
        labels=labels,
        overlap=overlap,
        seed=seed,
        views=views,
        source=str(images),
        truth=hidden,  # type: ignore[arg-type]  # like a tensor
    )
    pile.skipped = found.skipped
    doubts = [note.text for note in found.notes]
    pile.summary = pile.summary.plus(left_out=[note.text for note in notes], doubts=doubts)
    return pile


def survey(
    images: Place,
    masks: Place | None,
    classes: Classes | None,
    colors: Mapping[str, Color] | None,
    void: int | Sequence[int],
    test: Any,
    validation: Any,
    truth: Place | None = None,
    *,
    size: Any,
    mode: Mode,
    limits: Limits | None,
    workers: int | None,
    on_error: OnError,
    max_skipped: float,
) -> Survey:
    """Read all files of ``from_masks`` once; arguments as there.

    Raises:
        DataError: pictures that cannot be read, or are of several sizes without ``size``; no picture has a mask.
    """
    parts, known, known_void = _parts(Path(images), None if masks is None else Path(masks))
    classes = known if classes is None and colors is None else classes
    void = known_void if void == VOID else void
    for part, given in (("test", test), ("validation", validation)):
        if given is not None and not isinstance(given, int | float):
            places = [given] if isinstance(given, str | os.PathLike) else list(given)
            if len(places) > 2:
                raise DataError(f"{part} is {given!r}; give one folder with pictures and masks, or the two")
            parts[part] = _parts(Path(places[0]), Path(places[1]) if places[1:] else None)[0][""]
    pictures: dict[str, Sequence[Scanned]] = {}
    scans: dict[str, Mapping[int, MaskScan]] = {}
    skipped, faults, notes = list[tuple[str, str]](), list[Fault](), list[Note]()
    for part, pairs in parts.items():
        if part:  # what has no mask cannot be compared with
            own = [i for i, mask in enumerate(pairs.masks) if mask is not None]
            pairs = replace(pairs, paths=[pairs.paths[i] for i in own], masks=[pairs.masks[i] for i in own])
        listing = Listing(list(pairs.paths), list(range(len(pairs.paths))), [])
        kept, lost, pictures[part] = usable_files(
            pairs.root, listing, on_error, max_skipped, size, mode, workers, limits
        )
        pairs = replace(pairs, paths=kept.paths, masks=[pairs.masks[i] for i in kept.y])
        most = max_skipped if on_error == "skip" else 0
        parts[part], scans[part], bad, told = _scanned(pairs, most, colors is not None, workers)
        skipped += lost + bad
        faults += told + _size_faults(pictures[part], scans[part], size)
        if pairs.lost:
            text = f"{_many(pairs.lost, 'mask')} without a picture left out, such as {shown(pairs.lost[0])}"
            notes.append(Note("mask without picture", text, pairs.lost, True))
    if truth is not None:
        known_too, pictures["truth"] = _known(parts[""], Path(truth)), pictures[""]
        parts["truth"], scans["truth"], _, told = _scanned(known_too, 0, colors is not None, workers)
        faults += told + _size_faults(pictures[""], scans["truth"], size)
    if not scans[""] and not faults:
        raise DataError(
            f"no picture below {parts[''].root} has a mask; a mask has the name of its picture: say where they are, "
            f"{setting('masks', 'FOLDER', of='')}"
        )
    every = [scan for own in scans.values() for scan in own.values() if not scan.reason]
    numbers = [number for scan in every for number in scan.numbers]
    coding, names, unknown = coding_of(numbers, classes, colors, void)
    faults += number_faults(every, coding, unknown, names, colors)
    notes += [] if unknown else _void_notes(scans, coding)
    return Survey(parts, pictures, scans, names, coding, faults, notes, skipped)


def _void_notes(scans: Mapping[str, Mapping[int, MaskScan]], coding: MaskCoding) -> list[Note]:
    notes = []
    for part, found in scans.items():
        empty = [scan.name for scan in found.values() if not scan.reason and not coding.known(scan)]
        if empty:
            what = "their pictures are unlabeled" if not part else "they tell nothing"
            text = f"{_many(empty, 'mask')} void all over, such as {shown(empty[0])}: {what}"
            notes.append(Note("void mask", text, empty, True))
    return notes


def _known(pairs: Pairs, truth: Path) -> Pairs:
    """The same pictures with all masks that are known of them, in another folder or their own."""
    others = _paired(pairs.root, truth)
    masks = dict(zip(others.paths, others.masks, strict=True))
    if not any(masks.values()):
        raise DataError(f"no picture below {pairs.root} has a mask in {truth}; a mask has the name of its picture")
    return replace(pairs, masks=[masks.get(path) or own for path, own in zip(pairs.paths, pairs.masks, strict=True)])


def _scanned(
    pairs: Pairs, most: float, colors: bool, workers: int | None
) -> tuple[Pairs, dict[int, MaskScan], list[tuple[str, str]], list[Fault]]:
    """What masks are, by row, with the pairs that are left; those that were skipped; or that there are too many."""
    rows = [row for row, mask in enumerate(pairs.masks) if mask is not None]
    files = scan_masks([mask for mask in pairs.masks if mask is not None], colors, workers)
    scans = dict(zip(rows, files, strict=True))
    bad = {row: scan for row, scan in scans.items() if scan.reason}
    if len(bad) <= most * len(rows):
        masks = [None if row in bad else mask for row, mask in enumerate(pairs.masks)]
        left = {row: scan for row, scan in scans.items() if row not in bad}
        return replace(pairs, masks=masks), left, [(scan.name, scan.reason) for scan in bad.values()], []
    first = next(iter(bad.values()))
    text = f"{_many(bad, 'mask')} cannot be used, such as {shown(first.name)}: {first.reason}"
    return pairs, scans, [], [("unreadable mask", text, [scan.name for scan in bad.values()])]


def _parts(root: Path, masks: Path | None) -> tuple[dict[str, Pairs], Classes | None, int | Sequence[int]]:
    """Pictures and masks by part, and the classes and void numbers that the layout brings."""
    if masks is not None:
        return {"": _paired(root, masks)}, None, VOID
    if all((root / name).is_dir() for name in VOC):
        return _voc(root), VOC_CLASSES, VOID
    if all((root / name).is_dir() for name in CITYSCAPES):
        trained = any((root / CITYSCAPES[1]).glob("*/*/*_labelTrainIds.png"))
        ending = "_gtFine_labelTrainIds.png" if trained else "_gtFine_labelIds.png"
        void: Any = VOID if trained else CITYSCAPES_VOID
        return _cityscapes(root, ending), list(CITYSCAPES_CLASSES) if trained else CITYSCAPES_CLASSES, void
    both = mask_folders(root)
    if both is None:
        raise DataError(
            f"{root} holds no images/ and masks/; say where the masks are, {setting('masks', 'FOLDER', of='')}"
        )
    return {"": _paired(*both)}, None, VOID


def _voc(root: Path) -> dict[str, Pairs]:
    whole = _paired(root / VOC[0], root / VOC[1])
    lists = root / "ImageSets" / "Segmentation"
    train, val = (
        set((lists / f"{name}.txt").read_text(encoding="utf-8").split()) if (lists / f"{name}.txt").is_file() else None
        for name in ("train", "val")
    )
    stems = [PurePosixPath(path).stem for path in whole.paths]
    held = set() if val is None else val
    rows = [i for i, stem in enumerate(stems) if stem not in held]
    masks = [whole.masks[i] if train is None or stems[i] in train else None for i in rows]
    parts = {"": replace(whole, paths=[whole.paths[i] for i in rows], masks=masks)}
    rows = [i for i, stem in enumerate(stems) if stem in held]
    own = replace(whole, paths=[whole.paths[i] for i in rows], masks=[whole.masks[i] for i in rows], lost=())
    return parts | ({"test": own} if rows else {})


def _cityscapes(root: Path, ending: str) -> dict[str, Pairs]:
    images, masks = (root / name for name in CITYSCAPES)
    found: dict[str, tuple[list[str], list[Path | None]]] = {"": ([], []), "test": ([], [])}
    for path in image_files(images):
        part, place = path.partition("/")[0], masks / path.replace("_leftImg8bit.png", ending)
        if part in ("train", "train_extra", "val"):  # the masks of its test split are not given away
            paths, own = found["test" if part == "val" else ""]
            paths.append(path)
            own.append(place if place.is_file() else None)
    return {part: Pairs(images, *both) for part, both in found.items() if both[0] or not part}


def _by_stem(root: Path) -> dict[str, Path]:
    return {str(PurePosixPath(path).with_suffix("")): root / path for path in image_files(root)}


def _paired(images: Path, masks: Path) -> Pairs:
    """Pictures and masks by their names without ending."""
    own = _by_stem(masks)
    inside = {os.path.realpath(path) for path in own.values()}  # masks may lie below the pictures
    paths = [path for path in image_files(images) if os.path.realpath(images / path) not in inside]
    stems = [str(PurePosixPath(path).with_suffix("")) for path in paths]
    known = set(stems)
    more = _ending(known, own) if not known & set(own) else ""
    lost = sorted(
        path.relative_to(masks).as_posix() for stem, path in own.items() if stem.removesuffix(more) not in known
    )
    twice = next((stem for stem, count in Counter(stems).items() if count > 1 and stem + more in own), None)
    if twice is not None:
        raise DataError(f"several pictures in {images} are called {shown(twice)}, and there is one mask; rename them")
    return Pairs(images, paths, [own.get(stem + more) for stem in stems], lost)


def _ending(stems: set[str], masks: Mapping[str, Path]) -> str:
    """What stands behind the name of the picture in the names of most masks."""
    found: Counter[str] = Counter()
    for name in masks:
        start = next((name[:end] for end in range(len(name) - 1, 0, -1) if name[:end] in stems), name)
        found[name[len(start) :]] += 1
    ending, count = found.most_common(1)[0] if found else ("", 0)
    return ending if 2 * count >= len(masks) else ""


def _weights(pairs: Pairs, beside: Mapping[str, Path], root: Path) -> list[Path | None]:
    stems = [str(PurePosixPath(path).with_suffix("")) for path in pairs.paths]
    found = [beside.get(stem) for stem in stems]
    missing = [path for path, mask, own in zip(pairs.paths, pairs.masks, found, strict=True) if mask and own is None]
    if len(missing) == sum(mask is not None for mask in pairs.masks):
        raise DataError(
            f"no mask has a weight in {root}; a weight has the name of its picture, such as "
            f"{PurePosixPath(missing[0]).with_suffix('.png') if missing else 'a.png'}"
        )
    return found  # masks without one were drawn by a person, and count fully


def _size_faults(pictures: Sequence[Scanned], masks: Mapping[int, MaskScan], size: Any) -> list[Fault]:
    odd = []
    for row, scan in masks.items() if pictures else ():
        picture = pictures[row]
        same = (picture.height, picture.width) == (scan.height, scan.width)
        alike = size is not None and picture.height * scan.width == picture.width * scan.height
        if not scan.reason and not same and not alike:
            odd.append((scan, picture))
    if not odd:
        return []
    scan, picture = odd[0]
    text = (
        f"{_many(odd, 'mask')} of another size than the picture, such as {shown(scan.name)}: "
        f"{scan.height}x{scan.width} for a picture of {picture.height}x{picture.width}; bring each mask to its picture "
        "without mixing class numbers: mask.resize(picture.size, Image.Resampling.NEAREST)"
    )
    return [("mask size", text, [scan.name for scan, _ in odd])]


def coding_of(
    numbers: Sequence[int], classes: Classes | None, colors: Mapping[str, Color] | None, void: int | Sequence[int]
) -> tuple[MaskCoding, list[str], set[int]]:
    """How numbers of files become classes, the names of these, and numbers that are none."""
    voids = {void} if isinstance(void, int) else {*void}
    if colors is not None:
        codes = {name: (red << 16) + (green << 8) + blue for name, (red, green, blue) in colors.items()}
        names = [name for name in (codes if classes is None else class_names(classes)[0] or ()) if name != "void"]
        lost = next((name for name in names if name not in codes), None)
        if lost is not None:
            raise DataError(f"class {lost!r} has no color; add it to {setting('colors')}")
        voids = {codes["void"]} if "void" in codes else set()
        own = [codes[name] for name in names]
    else:
        given, places = class_names(classes)
        top = max((number for number in numbers if number not in voids), default=-1)
        names = given or [str(number) for number in range(min(top + 1, VOID + 1))]
        own = list(range(len(names)) if places is None else places)
    if len(names) > VOID:
        raise DataError(f"there are {len(names)} classes; a mask of bytes holds up to {VOID}: list those you need")
    table = dict.fromkeys(voids, VOID) | {number: place for place, number in enumerate(own)}
    return MaskCoding(table, colors is not None), list(names), {*numbers} - {*table}


def number_faults(
    scans: Sequence[MaskScan],
    coding: MaskCoding,
    unknown: set[int],
    names: Sequence[str],
    colors: Mapping[str, Color] | None,
) -> list[Fault]:
    """What keeps numbers or colors of masks from being classes; none: nothing does."""
    void = colors is None and coding.table.get(VOID) == VOID
    if void and {number for scan in scans for number in scan.numbers} == {0, VOID}:
        text = (
            "the masks hold only 0 and 255, and 255 means a pixel without class (void); if it is a class, say "
            f"{setting('classes', {'background': 0, 'object': 255})}"
        )
        return [("void", text, [scan.name for scan in scans])]
    if not unknown:
        return []
    odd = [scan for scan in scans if unknown & set(scan.numbers)]
    if colors is not None:
        shades = [f"({code >> 16}, {code >> 8 & 255}, {code & 255})" for code in sorted(unknown)]
        what, remedy = f"colors {listed(shades)}", f"add them to {setting('colors')}, those without class as 'void'"
    else:
        what = f"the numbers {listed([str(number) for number in sorted(unknown)])}"
        remedy = f"add them to {setting('classes')}, or say {setting('void', [*sorted(unknown)[:20], VOID])}"
    blurred = odd[0].name.lower().endswith((".jpg", ".jpeg"))
    text = (
        f"{_many(odd, 'mask')} such as {shown(odd[0].name)} with {what}, which are no class ({listed(names)}); {remedy}"
        + ("; a JPEG mixes numbers at borders: save masks as PNG" if blurred else "")
    )
    return [("outside the classes", text, [scan.name for scan in odd])]


def _many(things: Any, word: str) -> str:
    return f"{len(things):,} {word}" + ("" if len(things) == 1 else "s")
