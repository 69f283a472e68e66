"""Piles from pictures and joints: COCO JSON of keypoints."""

from __future__ import annotations

import json
import os
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from selftrain.data.base.samples import Limits, check_limits
from selftrain.data.base.splits import Overlap
from selftrain.data.base.summary import shown
from selftrain.data.pile import Pile, readable_again
from selftrain.data.readers.assembling import assemble
from selftrain.data.readers.decoding import IMAGE_FORMATS, Bytes, Fit, Mode, decode, fitted, named
from selftrain.data.readers.files import FileSet, as_extent
from selftrain.data.readers.folders import Listing, image_files, path_fault, usable_files
from selftrain.data.readers.left_out import Note, file_notes
from selftrain.data.readers.scanning import OnError, Scanned
from selftrain.data.views.base import ViewMaker
from selftrain.errors import DataError, setting

Place = str | os.PathLike[str]
Box = tuple[int, int, int, int]  # left, top, right, bottom, in pixels
_MARGIN = 1.25  # of a box around a person that is shown, as of SimpleBaseline


@dataclass(frozen=True)
class PosedRow:
    """One sample: its picture, its name, joints (K, 3) as the file has them (``None``: none) and its box."""

    path: str
    name: str
    joints: NDArray[np.float64] | None
    box: tuple[float, float, float, float] | None = None
    extent: tuple[int, int] | None = None


@readable_again
def from_keypoints(
    images: Place,
    joints: Place,
    *,
    crop: bool | None = None,
    size: int | tuple[int, int] | None = None,
    fit: Fit = "crop",
    mode: Mode = "RGB",
    limits: Limits | None = None,
    test: Place | None = None,
    labels: int | None = None,
    validation: float | Place | None = 0,
    overlap: Overlap = "exclude",
    seed: int = 0,
    views: ViewMaker | None = None,
    cache: bool = False,
    on_error: OnError = "raise",
    max_skipped: float = 0.1,
    workers: int | None = None,
    truth: Place | None = None,
) -> Pile:
    """Make a pile from a folder of pictures and a COCO JSON of keypoints; what has no visible joint is unlabeled.

    Places are pixels of the pictures as networks see them, whole numbers at centers of pixels. Joints are called as the
    category calls them, and ``flip_idx``, or names with left and right, say which change places in a mirror image
    (``pairs``); its ``skeleton`` is drawn between them.

    Args:
        images: Folder of the pictures.
        joints: The JSON file: ``images``, ``annotations`` with ``keypoints`` (x, y, visibility; 0: missing) and, for
            crops, ``bbox``, and ``categories``.
        crop: Whether each annotation is a sample, its box with a quarter more around it; else each picture is one, with
            one annotation at most. ``None``: crops where a picture has several.
        size: Side, or height and width, to bring pictures to; ``None``: they must all have one size already.
        fit: How whole pictures are brought to it, as in ``from_folder``; a box gets more of the picture beside it.
        mode: ``"RGB"`` or ``"L"`` (gray).
        limits: Values of gray pictures of more than 8 bits that mean black and white.
        test: JSON file of pictures in the same folder that only the final evaluation sees; these are not trained on.
        labels: Use only so many samples with joints; ``None``: all.
        validation: Samples to hold back: a count, or a share below 1; or a JSON file like ``test``.
        overlap: Whether labeled samples are unlabeled ones too, as in ``split``.
        seed: Key of the choice.
        views: Maker of views.
        cache: Keep decoded pictures in memory.
        on_error: As in ``from_folder``.
        max_skipped: As in ``from_folder``.
        workers: Threads that decode; ``None``: as many as there are processors, at most 16.
        truth: JSON file with joints of samples that are to be learned from without them, by the same names of pictures
            and, of crops, ids of annotations: figures say how right pseudo-labels are by these. ``None``: what
            ``labels`` leaves out.

    Raises:
        DataError: a file that is no such JSON or lists pictures that are not there, pictures of another size than it
            says, several annotations in a whole picture, boxes without ``size``.

    Warns:
        UserWarning: joints outside their picture, which are taken for missing, and how many.
    """
    root, extent = Path(images), as_extent(size)
    places = {"": Path(joints)} | {
        part: Path(given)
        for part, given in (("test", test), ("validation", validation), ("truth", truth))
        if given is not None and not isinstance(given, int | float)
    }
    known = {part: _rows_of(place) for part, place in places.items()}
    names, pairs, bones = known[""][1:]
    _refuse_other_joints(known, places)
    crowded = next((row for row, many in Counter(row.path for row in known[""][0]).items() if many > 1), None)
    crop = crowded is not None if crop is None else crop
    if crowded is not None and not crop:
        raise DataError(f"{shown(crowded)} has several annotations in {joints}; say {setting('crop', True)}")
    if crop and extent is None:
        raise DataError(f"boxes have many sizes; say to which to bring them: {setting('size', 128)}")
    told = known.pop("truth", ([],))[0]
    elsewhere = {row.path for part in known if part for row in known[part][0]}
    sets: dict[str, FileSet] = {}
    hidden: Tensor | None = None
    notes: list[Note] = []
    skipped: list[tuple[str, str]] = []
    for part, (rows, *_) in known.items():
        if not part and not crop:  # pictures that the file does not list are unlabeled
            listed = {row.path for row in rows} | elsewhere
            rows = [*rows, *(PosedRow(path, path, None) for path in image_files(root) if path not in listed)]
        rows = [row for row in rows if (row.joints is not None or not part) and (row.box is not None or not crop)]
        files = sorted({row.path for row in rows})
        given = [path_fault(root, path, str(places[part])) for path in files]
        faults = [fault for fault in given if fault is not None]
        there = [path for path, fault in zip(files, given, strict=True) if fault is None]
        listing = Listing(there, [0] * len(there), [], faults)
        kept, bad, scanned = usable_files(root, listing, on_error, max_skipped, size, mode, workers, limits)
        skipped += bad
        found = dict(zip(kept.paths, scanned, strict=False))
        rows = sorted((row for row in rows if row.path in set(kept.paths)), key=lambda row: row.name)
        notes += [] if crop else file_notes(scanned, extent, fit)
        form: dict[str, Any] = {"mode": mode, "size": size, "fit": fit, "limits": check_limits(limits), "cache": cache}
        sets[part], out = _set_of(root, rows, found, len(names), extent if crop else None, form)
        if out:
            text = f"{len(out):,} joints outside their picture are taken for missing, such as {out[0]}"
            notes.append(Note("joint outside", text, out, True))
        if not part and truth is not None:
            every = _with_truth(rows, told, crop, f"{truth}")
            hidden = _set_of(root, every, found, len(names), extent if crop else None, form)[0].annotations
    for note in notes:
        if note.warns:
            warnings.warn(note.text, stacklevel=2)
    pile = assemble(
        sets[""],
        None,
        sets.get("test"),
        validation=sets.get("validation", validation),  # type: ignore[arg-type]  # no path is left: it is a set by now
        classes=names,
        labels=labels,
        overlap=overlap,
        seed=seed,
        views=views,
        source=str(root),
        truth=hidden,
    )
    pile.skipped = skipped
    pile.pairs, pile.skeleton = pairs or pile.pairs, bones
    doubts = [note.text for note in notes if note.kind == "joint outside"]
    pile.summary = pile.summary.plus(left_out=[note.text for note in notes], doubts=doubts)
    return pile


class BoxSet(FileSet):
    """Parts of pictures in files, each brought to one size; beyond the edge of a picture is black.

    Args:
        paths: The file of each row.
        boxes: Left, top, right and bottom of each row, in pixels of its file.
        **form: As of ``FileSet``, with ``size``.
    """

    def __init__(self, paths: Sequence[Path], boxes: Sequence[Box], y: Any, **form: Any) -> None:
        super().__init__(paths, y, **form)
        self.boxes = list(boxes)

    def original(self, row: int) -> None:
        """Nothing: a box is no file."""

    def _image(self, row: int) -> Bytes:
        from PIL import Image

        if self.cache is not None and row in self.cache:
            return self.cache[row]
        whole = Image.fromarray(decode(self.paths[row], self.mode, str(self.paths[row]), limits=self.limits))
        assert self.size is not None  # a box has no size of its own
        made = np.array(fitted(whole.crop(self.boxes[row]), self.size, "stretch", Image.Resampling.BICUBIC, 0))
        if self.cache is not None:
            self.cache[row] = made
        return made


def _rows_of(path: Path) -> tuple[list[PosedRow], list[str], list[tuple[int, int]], list[tuple[int, int]]]:
    """Annotations of a COCO JSON, names of the joints, those that change places in a mirror, and lines between them."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        kinds = [kind for kind in content["categories"] if kind.get("keypoints")]
        names = [str(name) for name in kinds[0]["keypoints"]]
        pictures = {one["id"]: one for one in content["images"]}
        rows = [_row(one, pictures[one["image_id"]], len(names)) for one in _people(content, kinds[0])]
        flip = [int(other) for other in kinds[0].get("flip_idx", ())]
        ends = [(int(a), int(b)) for a, b in kinds[0].get("skeleton") or ()]
    except (OSError, ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError) as error:
        what = f"{type(error).__name__}: {error}"
        raise DataError(
            f"{path} is no COCO JSON of keypoints ({what}); it needs images, annotations with keypoints, and a "
            "category with the names of the keypoints"
        ) from error
    named = {row.path for row in rows}
    rows += [PosedRow(str(one["file_name"]), str(one["file_name"]), None) for one in pictures.values()
             if str(one["file_name"]) not in named]  # fmt: skip
    # COCO counts the joints of a skeleton from 1, and tools that write 0 count from there
    first = 0 if any(0 in pair for pair in ends) else 1
    bones = [(a - first, b - first) for a, b in ends]
    odd = next((end for pair in bones for end in pair if not 0 <= end < len(names)), None)
    if odd is not None:
        raise DataError(
            f"the skeleton in {path} has a joint {odd + first}, and there are {len(names)}; mend or remove it"
        )
    return rows, names, [(joint, other) for joint, other in enumerate(flip) if joint < other], bones


def _people(content: Mapping[str, Any], kind: Mapping[str, Any]) -> list[Any]:
    own = [one for one in content["annotations"] if one.get("category_id", kind.get("id")) == kind.get("id")]
    return [one for one in own if not one.get("iscrowd")]


def _row(given: Mapping[str, Any], picture: Mapping[str, Any], count: int) -> PosedRow:
    numbers = np.array(given.get("keypoints") or [0] * (3 * count), dtype=np.float64).reshape(count, 3)
    box = tuple(float(side) for side in given["bbox"]) if given.get("bbox") else None
    if box is not None and (len(box) != 4 or min(box[2:]) <= 0):
        box = None
    path, sides = str(picture["file_name"]), (picture.get("height"), picture.get("width"))
    extent = (int(sides[0]), int(sides[1])) if sides[0] and sides[1] else None
    known = numbers if (numbers[:, 2] > 0).any() else None
    return PosedRow(path, f"{path}#{given.get('id', 0)}", known, box, extent)


def _refuse_other_joints(known: Mapping[str, tuple[Any, ...]], places: Mapping[str, Path]) -> None:
    odd = next((part for part, read in known.items() if read[1] != known[""][1]), None)
    if odd is not None:
        raise DataError(
            f"{places[odd]} has other joints than {places['']}; give files with the same keypoints in order"
        )


def _with_truth(rows: Sequence[PosedRow], told: Sequence[PosedRow], crop: bool, place: str) -> list[PosedRow]:
    """The same samples with all joints that are known of them."""
    joints = {row.name if crop else row.path: row.joints for row in told if row.joints is not None}
    if not joints.keys() & {row.name if crop else row.path for row in rows}:
        raise DataError(f"no sample has joints in {place}; give the same names of pictures, and of crops the same ids")
    return [replace(row, joints=joints.get(row.name if crop else row.path, row.joints)) for row in rows]


def _set_of(
    root: Path,
    rows: Sequence[PosedRow],
    scanned: Mapping[str, Scanned],
    joints: int,
    boxed: tuple[int, int] | None,
    form: Mapping[str, Any],
) -> tuple[FileSet, list[str]]:
    """The samples of a part with their joints in pixels of what is seen, and the joints outside their pictures."""
    y = np.full((len(rows), joints, 3), np.nan)
    outside: list[str] = []
    boxes: list[Box] = []
    for number, row in enumerate(rows):
        scan = scanned.get(row.path)
        sides = _sides(root / row.path) if scan is None else (scan.height, scan.width)
        if row.extent is not None and row.extent != sides:
            said = f"{row.extent[0]}x{row.extent[1]}"
            raise DataError(
                f"{row.path} is {sides[0]}x{sides[1]}, and its joints are of a picture of {said}; bring the picture to "
                "that size, or the joints to the picture"
            )
        box = _extended(row.box, boxed) if boxed is not None and row.box is not None else None
        boxes += [] if box is None else [box]
        if row.joints is None:
            continue
        placed, there = row.joints[:, :2], row.joints[:, 2] > 0
        inside = ((placed >= -0.5) & (placed <= np.array(sides[::-1]) - 0.5)).all(1)
        outside += [f"joint {joint} of {row.name}" for joint in np.flatnonzero(there & ~inside)]
        y[number, :, :2] = _moved(placed, sides, box, boxed or as_extent(form["size"]), form["fit"])
        y[number, :, 2] = row.joints[:, 2]
        y[number, ~(there & inside)] = np.nan
    paths = [root / row.path for row in rows]
    if boxed is None:
        return FileSet(paths, y, ids=[row.path for row in rows], **form), outside
    return BoxSet(paths, boxes, y, ids=[row.name for row in rows], **{**form, "fit": "stretch"}), outside


def _sides(path: Path) -> tuple[int, int]:
    """Height and width of a picture that is not decoded yet."""
    from PIL import Image, ImageOps

    with named(str(path)), Image.open(path, formats=IMAGE_FORMATS) as opened:
        width, height = ImageOps.exif_transpose(opened).size
    return height, width


def _extended(box: tuple[float, float, float, float], size: tuple[int, int]) -> Box:
    """A box with its margin, as wide for its height as ``size``."""
    left, top, width, height = box
    height, width = (max(height, width * size[0] / size[1]), max(width, height * size[1] / size[0]))
    half = _MARGIN * width / 2, _MARGIN * height / 2
    center = left + box[2] / 2, top + box[3] / 2
    low = [round(place - reach) for place, reach in zip(center, half, strict=True)]
    high = [max(round(place + reach), start + 1) for place, reach, start in zip(center, half, low, strict=True)]
    return low[0], low[1], high[0], high[1]


def _moved(
    places: NDArray[np.float64], sides: tuple[int, int], box: Box | None, size: tuple[int, int] | None, fit: Fit
) -> NDArray[np.float64]:
    """Places (K, 2) in a picture, or a box of it, that was brought to a size."""
    if size is None:
        return places
    height, width = sides
    start, extent, offset, wanted = (0.0, 0.0), (width, height), (0.0, 0.0), (size[1], size[0])
    if box is not None:
        start, extent = (box[0], box[1]), (box[2] - box[0], box[3] - box[1])
    elif fit == "crop":  # as Pillow's ``fit``: what is over is cut off at both ends
        kept = (min(width, height * size[1] / size[0]), min(height, width * size[0] / size[1]))
        start, extent = ((width - kept[0]) / 2, (height - kept[1]) / 2), kept  # type: ignore[assignment]
    elif fit == "pad":  # as Pillow's ``pad``, which rounds the size of what is seen and where it begins
        seen = (min(size[1], round(width * size[0] / height)), min(size[0], round(height * size[1] / width)))
        offset = (float(round((size[1] - seen[0]) / 2)), float(round((size[0] - seen[1]) / 2)))
        wanted = seen
    scale = np.array(wanted) / np.array(extent)
    moved: NDArray[np.float64] = (places + 0.5 - np.array(start)) * scale + np.array(offset) - 0.5
    return moved
