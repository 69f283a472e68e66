"""What a person wrote into a ledger's file: verdicts and corrections, read and checked.

In the column ``verdict`` stands ``accept`` (or ``keep``: the pseudo-label is right), ``reject`` (the sample is of no
use), or nothing; in ``correction`` the right class, by name or number. Everything else in the file may be left out,
except for ``id`` and, where a label is accepted, ``label``.

Masks and joints are not in the file but beside it, as ``Ledger.to_masks`` writes them: an accepted sample has the mask
that is there when the review is applied, whoever has drawn it. A ``correction`` such as 0.8 makes void what is less
sure.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from selftrain.errors import DataError
from selftrain.labels.maps import JOINTS, MASKS, mask_name
from selftrain.storage.tables import TableChunk, read_blocks

ACCEPT, REJECT = ("accept", "keep"), "reject"
REJECTED = -1
_SEARCHED = 20_000  # ids among which a similar one is looked for


Label = int | dict[str, Any]


@dataclass(frozen=True)
class Review(Mapping[str, Label]):
    """A person's decisions: a mapping from id to class number, -1 where the sample is rejected.

    Of masks and joints it leads to what tells where they are, see ``selftrain.data.base.maps.accepted_units``.

    ``data.Pile.reviewed`` takes it.

    Attributes:
        ids: Samples that were decided on, in the order of the file.
        labels: Class number of each; -1: rejected.
        corrected: Whether the class is not the pseudo-label in the file; of masks and joints, whether what is less sure
            becomes void.
        source: The file.
    """

    ids: tuple[str, ...]
    labels: tuple[Label, ...]
    corrected: tuple[bool, ...]
    source: str = ""

    def __post_init__(self) -> None:
        # no field, so that reviews are equal if their decisions are; set in this way as the class is frozen
        object.__setattr__(self, "_labels", dict(zip(self.ids, self.labels, strict=True)))

    def __getitem__(self, name: str) -> Label:
        found: Mapping[str, Label] = self.__dict__["_labels"]
        return found[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.ids)

    def __len__(self) -> int:
        return len(self.ids)

    def __contains__(self, name: object) -> bool:
        return name in self.__dict__["_labels"]

    @property
    def rejected(self) -> int:
        """Number of samples rejected."""
        return self.labels.count(REJECTED)

    def text(self) -> str:
        """One line to read."""
        corrected = sum(self.corrected)
        accepted = len(self) - self.rejected - corrected
        return f"{accepted} accepted, {corrected} corrected, {self.rejected} rejected"


def read_review(
    path: str | Path, classes: Sequence[str], ids: Collection[str] | None = None, *, masks: str | Path | None = None
) -> Review:
    """Read the verdicts and corrections in a ledger's file.

    A correction is looked up among the names of the classes first, then taken for a number. Rows without verdict and
    correction say nothing.

    Args:
        path: CSV or, by its ending, Parquet.
        classes: Names of the classes.
        ids: Names that may occur, such as ``pile.unlabeled_ids()``; ``None``: not checked here. A set is fastest.
        masks: Folder that ``Ledger.to_masks`` wrote; ``None``: that of the file.

    Raises:
        DataError: for a file that cannot be read, and for a cell that cannot be used: an unknown verdict, class or id,
            an id that occurs twice, a rejected sample with a correction, an accepted one without a label. The message
            names line, value and remedy.
        ImportError: for Parquet without pyarrow.
    """
    # every row asks once: in a list of n ids that would be n searches through all of it
    known = None if ids is None else ids if isinstance(ids, (set, frozenset, dict)) else frozenset(ids)
    names = [str(name) for name in classes]
    found: dict[str, tuple[Label, bool]] = {}
    units = _Units(Path(path).parent if masks is None else Path(masks))
    seen: dict[str, tuple[int, bool]] = {}
    for block in read_blocks(path, ("id", "verdict", "correction"), ("label", "class")):
        for row, name in enumerate(block.cells["id"]):
            decision = _decision(block, row, names, units)
            # a spreadsheet may repeat a row by mistake; it only matters where one of the two decides
            first, before = seen.setdefault(name, (block.places[row], decision is not None))
            if first != block.places[row] and (before or decision is not None):
                raise DataError(f"{block.location(row)}: id {name!r} is that of {first}, too; keep one of the two rows")
            if decision is not None:
                _check_known(name, block.location(row), known)
                found[name] = decision
    labels, corrected = [label for label, _ in found.values()], [new for _, new in found.values()]
    return Review(tuple(found), tuple(labels), tuple(corrected), str(path))


class _Units:
    """Masks or joints beside a review."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._joints = folder.resolve(), dict[str, Any]()
        self.masks, self.joints = (folder / MASKS).is_dir(), (folder / JOINTS).is_file()

    def of(self, name: str, above: float, where: str) -> dict[str, Any]:
        """What tells the mask or the joints of a sample.

        Raises:
            DataError: there are none.
        """
        if self.masks:
            file = mask_name(name)
            if not (self.folder / MASKS / file).is_file():
                raise DataError(f"{where}: accepted, but there is no mask {self.folder / MASKS / file}; put it there")
            return {"masks": str(self.folder), "name": file, "above": above}
        if not self._joints:
            told = json.loads((self.folder / JOINTS).read_text(encoding="utf-8"))
            pictures = {one["id"]: one for one in told["images"]}
            for one in told["annotations"]:
                own = pictures[one["image_id"]]
                self._joints[str(own["file_name"])] = (one, own, told["info"]["heatmap"])
        if name not in self._joints:
            raise DataError(f"{where}: accepted, but {self.folder / JOINTS} has no joints of {name!r}; write it anew")
        one, own, (rows, columns) = self._joints[name]
        flat, sure = one["keypoints"], one["keypoint_scores"]
        places = []
        for k, score in enumerate(sure):
            x, y, seen = flat[3 * k : 3 * k + 3]
            # pixels and cells are counted from the center of the first, and share the corner of the picture
            cell = [(x + 0.5) / own["width"] * columns - 0.5, (y + 0.5) / own["height"] * rows - 0.5]
            places.append([*cell, float(seen > 0 and score >= above)])
        return {"joints": places}


def _decision(block: TableChunk, row: int, classes: Sequence[str], units: _Units) -> tuple[Label, bool] | None:
    """Class number (-1: rejected) and whether it is a correction; ``None``: nothing was decided."""
    verdict, correction = block.cells["verdict"][row].strip(), block.cells["correction"][row]
    # a name may begin or end with a space; only if there is no such class is it a slip of the keyboard
    correction = correction if correction in classes else correction.strip()
    if not verdict and not correction:
        return None
    where, word = block.location(row), verdict.lower()
    if word and word not in (*ACCEPT, REJECT):
        raise DataError(f"{where}: unknown verdict {verdict!r}; {_nearest(word, (*ACCEPT, REJECT))}")
    # before classes are asked for: joints have none, and can be rejected all the same
    if word == REJECT:
        if correction:
            raise DataError(f"{where}: rejected, but corrected to {correction!r}; empty one of the two cells")
        return REJECTED, False
    number = _whole(block.cells["label"][row])  # the pseudo-label in the file, if there is one
    if word and (units.masks or units.joints) and (number is None or number < 0):
        above = _share(correction, where)
        return units.of(block.cells["id"][row], above, where), above > 0
    if not classes:
        raise DataError(
            f"{where}: this task has no classes to accept or correct; only {REJECT} can be used, or put the "
            "file beside what run.ledger.to_masks(folder) wrote"
        )
    said = number if number is not None and 0 <= number < len(classes) else None
    if not correction:
        return _accepted(said, block.cells["class"][row], where, classes), False
    label = _class_number(correction, classes, where)
    # a label that is accepted and written out again is meant in one way only
    if word and label != said:
        raise DataError(f"{where}: accepted, but corrected to {correction!r}; empty one of the two cells")
    return label, label != said


def _accepted(said: int | None, name: str, where: str, classes: Sequence[str]) -> int:
    if said is None:
        raise DataError(
            f"{where}: accepted, but there is no pseudo-label; give the class as a correction (of masks, put the file "
            "beside what run.ledger.to_masks(folder) wrote)"
        )
    # a class that was overwritten in its place would be confirmed as what it was before
    if name and name != classes[said]:
        raise DataError(
            f"{where}: accepted, but label {said} is {classes[said]!r} and the class says {name!r}; leave label and "
            "class as they were and give the right class as a correction"
        )
    return said


def _share(text: str, where: str) -> float:
    """The confidence below which units become void; 0: none do."""
    try:
        found = float(text or 0)
    except ValueError:
        found = -1.0
    if not 0 <= found <= 1:
        raise DataError(
            f"{where}: accepted, but corrected to {text!r}; give the confidence below which pixels or joints are void, "
            "from 0 to 1, or nothing: a mask is corrected in its own file"
        )
    return found


def _class_number(text: str, classes: Sequence[str], where: str) -> int:
    # names first: classes may be called by numbers that are not their own
    if text in classes:
        return classes.index(text)
    number = _whole(text)
    if number is None or not 0 <= number < len(classes):
        numbers = f"or a number from 0 to {len(classes) - 1}"
        raise DataError(f"{where}: unknown class {text!r}; {_nearest(text, classes)} ({numbers})")
    return number


def _whole(text: str) -> int | None:
    """Also of ``3.0``, as some tools write whole numbers."""
    try:
        number = float(text)
    except ValueError:
        return None
    return int(number) if number.is_integer() else None


def _nearest(text: str, known: Sequence[str]) -> str:
    lowered = [name.lower() for name in known]
    near = difflib.get_close_matches(text.lower(), lowered, 1, 0.5)
    if near:
        return f"did you mean {known[lowered.index(near[0])]!r}?"
    more = f" and {len(known) - 10} more" if len(known) > 10 else ""
    return f"known are {', '.join(known[:10])}{more}"


def _check_known(name: str, where: str, known: Collection[str] | None) -> None:
    if known is None or name in known:
        return
    # difflib compares with every id: for millions that takes too long, only to say that one is unknown
    near = difflib.get_close_matches(name, known, 1, 0.6) if len(known) <= _SEARCHED else []
    hint = f"did you mean {near[0]!r}?" if near else "use the file with the pile it was made from"
    raise DataError(f"{where}: unknown id {name!r}; {hint} (spreadsheets change ids such as 007: import them as text)")
