"""What a person wrote into a ledger's file: verdicts and corrections, read and checked.

In the column ``verdict`` stands ``accept`` (or ``keep``: the pseudo-label is right), ``reject`` (the sample is of no
use), or nothing; in ``correction`` the right class, by name or number. Everything else in the file may be left out,
except for ``id`` and, where a label is accepted, ``label``.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from selftrain.errors import DataError
from selftrain.storage.tables import TableChunk, read_blocks

ACCEPT, REJECT = ("accept", "keep"), "reject"
REJECTED = -1
_SEARCHED = 20_000  # ids among which a similar one is looked for


@dataclass(frozen=True)
class Review(Mapping[str, int]):
    """A person's decisions: a mapping from id to class number, -1 where the sample is rejected.

    ``data.Pile.reviewed`` takes it.

    Attributes:
        ids: Samples that were decided on, in the order of the file.
        labels: Class number of each; -1: rejected.
        corrected: Whether the class is not the pseudo-label in the file.
        source: The file.
    """

    ids: tuple[str, ...]
    labels: tuple[int, ...]
    corrected: tuple[bool, ...]
    source: str = ""

    def __post_init__(self) -> None:
        # no field, so that reviews are equal if their decisions are; set in this way as the class is frozen
        object.__setattr__(self, "_labels", dict(zip(self.ids, self.labels, strict=True)))

    def __getitem__(self, name: str) -> int:
        found: Mapping[str, int] = self.__dict__["_labels"]
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


def read_review(path: str | Path, classes: Sequence[str], ids: Collection[str] | None = None) -> Review:
    """Read the verdicts and corrections in a ledger's file.

    A correction is looked up among the names of the classes first, then taken for a number. Rows without verdict and
    correction say nothing.

    Args:
        path: CSV or, by its ending, Parquet.
        classes: Names of the classes; where there are none (joints), samples can only be rejected.
        ids: Names that may occur, such as ``pile.unlabeled_ids()``; ``None``: not checked here. A set is fastest.

    Raises:
        DataError: for a file that cannot be read, and for a cell that cannot be used: an unknown verdict, class or id,
            an id that occurs twice, a rejected sample with a correction, an accepted one without a label. The message
            names line, value and remedy.
        ImportError: for Parquet without pyarrow.
    """
    # every row asks once: in a list of n ids that would be n searches through all of it
    known = None if ids is None else ids if isinstance(ids, (set, frozenset, dict)) else frozenset(ids)
    names = [str(name) for name in classes]
    found: dict[str, tuple[int, bool]] = {}
    seen: dict[str, tuple[int, bool]] = {}
    for block in read_blocks(path, ("id", "verdict", "correction"), ("label", "class")):
        for row, name in enumerate(block.cells["id"]):
            decision = _decision(block, row, names)
            # a spreadsheet may repeat a row by mistake; it only matters where one of the two decides
            first, before = seen.setdefault(name, (block.places[row], decision is not None))
            if first != block.places[row] and (before or decision is not None):
                raise DataError(f"{block.location(row)}: id {name!r} is that of {first}, too; keep one of the two rows")
            if decision is not None:
                _check_known(name, block.location(row), known)
                found[name] = decision
    labels, corrected = [label for label, _ in found.values()], [new for _, new in found.values()]
    return Review(tuple(found), tuple(labels), tuple(corrected), str(path))


def _decision(block: TableChunk, row: int, classes: Sequence[str]) -> tuple[int, bool] | None:
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
    if not classes:
        raise DataError(f"{where}: this task has no classes to accept or correct; only {REJECT} can be used")
    number = _whole(block.cells["label"][row])  # the pseudo-label in the file, if there is one
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
        raise DataError(f"{where}: accepted, but there is no pseudo-label; give the class as a correction")
    # a class that was overwritten in its place would be confirmed as what it was before
    if name and name != classes[said]:
        raise DataError(
            f"{where}: accepted, but label {said} is {classes[said]!r} and the class says {name!r}; leave label and "
            "class as they were and give the right class as a correction"
        )
    return said


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
