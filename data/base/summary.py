"""What a reader made of its source, in words: shown by the check and at the start of every training."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from torch import Tensor

from selftrain.data.base.units import by_class

ColumnKind = Literal["number", "category", "date", "left out"]
_PLURALS = {"number": "numbers", "category": "categories", "date": "dates"}
_MOST = 20  # classes or columns that a line names


@dataclass(frozen=True)
class ColumnSummary:
    """How one column of a table was read.

    Args:
        name: Of the column.
        kind: As what it was read.
        note: What else there is to say, such as ``"3 values"`` or ``"2 missing"``.
    """

    name: str
    kind: ColumnKind
    note: str = ""

    def __str__(self) -> str:
        return shown(self.name) + (f" ({self.note})" if self.note else "")


@dataclass(frozen=True)
class Summary:
    """What is not in the samples themselves: each reader fills in what it knows, and the pile carries it.

    Args:
        labels: On the labels, such as ``"'' and '-1' mean no label"``.
        columns: How each column of a table was read.
        left_out: What is not learned from, with the count: ``"3 files that end in .heic"``.
        notes: What was guessed and dealt with, as it was warned of; the check lists it.
        doubts: What may be wrong, as it was warned of, with the remedy: for the check, it harms.
    """

    labels: Sequence[str] = ()
    columns: Sequence[ColumnSummary] = ()
    left_out: Sequence[str] = ()
    notes: Sequence[str] = ()
    doubts: Sequence[str] = ()

    def plus(
        self,
        *,
        labels: Sequence[str] = (),
        columns: Sequence[ColumnSummary] = (),
        left_out: Sequence[str] = (),
        notes: Sequence[str] = (),
        doubts: Sequence[str] = (),
    ) -> Summary:
        """The same with more in it; this one stays as it is."""
        return replace(
            self,
            labels=[*self.labels, *labels],
            columns=[*self.columns, *columns],
            left_out=[*self.left_out, *left_out],
            notes=[*self.notes, *notes],
            doubts=[*self.doubts, *doubts],
        )

    def lines(self) -> list[str]:
        """Columns by kind, and what was left out."""
        found = []
        for kind, plural in _PLURALS.items():
            columns = [column for column in self.columns if column.kind == kind]
            if columns:
                word = kind if len(columns) == 1 else plural
                found.append(f"columns    {len(columns):,} {word}: {some([str(column) for column in columns])}")
        columns = [column for column in self.columns if column.kind == "left out"]
        if columns:
            found.append(f"left out   {_counted(columns, 'column')}: {some([str(column) for column in columns])}")
        return found + [f"left out   {sentence}" for sentence in self.left_out]


def label_line(annotations: Tensor | None, classes: Sequence[str], unlabeled: int, notes: Sequence[str] = ()) -> str:
    """Classes with the counts of their labels, and how many rows are unlabeled.

    Args:
        annotations: Of the labeled samples, or ``None``.
        classes: Names.
        unlabeled: Rows in the unlabeled part.
        notes: Sentences on what was taken for a label, and what not.
    """
    if annotations is None:
        words = "none"
    elif annotations.ndim == 1:
        counts = Counter(annotations.tolist())
        named = [f"{shown(name)} {counts[number]:,}" for number, name in enumerate(classes)]
        words = some(named, f"; {len(classes):,} classes")
    else:
        kind = "joints" if annotations.is_floating_point() else "masks"
        words = f"{int((by_class(annotations) >= 0).sum()):,} with {kind}"
    return "; ".join([f"labels     {words}", f"{unlabeled:,} unlabeled rows", *notes])


def shown(name: str) -> str:
    """A name on one line, whatever signs it has."""
    # A line break or an escape code in a name would write lines of its own into a report or a terminal.
    return name if name.isprintable() else repr(name)


def some(names: Sequence[str], rest: str = "") -> str:
    """The first twenty names, and ``rest`` where these are not all."""
    if len(names) <= _MOST:
        return ", ".join(names)
    return ", ".join(names[:_MOST]) + ", ..." + rest


def _counted(things: Sequence[object], word: str) -> str:
    return f"{len(things):,} {word}" + ("" if len(things) == 1 else "s")
