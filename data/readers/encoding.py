"""How rows of a table become numbers, and how new rows become them alike."""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selftrain.data.base.labels import sort_names
from selftrain.data.base.statistics import ROUNDING
from selftrain.data.base.summary import ColumnSummary
from selftrain.data.readers.cells import Form, check_kind, listed, remedy, shown_day
from selftrain.data.readers.columns import Remarks, choose_form, numbers_of, remark_on_names, remark_on_numbers
from selftrain.data.readers.tabular import MISSING, Table, read_table
from selftrain.errors import DataError, setting
from selftrain.storage.atomic import write_text
from selftrain.storage.fields import Number, check, read_fields

Floats = NDArray[np.float32]
_MISSING_MARK = "?missing"
_TRUTH = {"false", "true"}
_COLUMN = {
    "name": str,
    "mean": (Number(), ...),
    "std": (Number(5e-324), ...),  # above 0
    "indicator": (bool, ...),
    "vocabulary": ([str], None, ...),
    "decimal": (str, ...),
    "unit": (str, ...),
    "layout": (str, None, ...),
    "lenient": (bool, ...),
}
_TEXTS = ([str], ...)
_ENCODING = {
    "columns": [_COLUMN],
    "missing": _TEXTS,
    "classes": _TEXTS,
    "label": (str, None, ...),
    "id": (str, None, ...),
}


@dataclass(frozen=True)
class TableColumn:
    """One column of a table.

    Args:
        name: Its name.
        mean: Subtracted from numbers, and what missing ones count as.
        std: Numbers are divided by it.
        indicator: Whether a feature of its own says where the number is missing.
        vocabulary: Names of a column of names, in the order of their codes 1, 2, ...; code 0 is for missing and for
            never seen ones. ``None``: a column of numbers.
        decimal: The decimal sign of its texts, empty if nothing told; where a table has another without doubt, that is
            read as well.
        unit: What stood with each number, such as ``"%"``.
        layout: Of dates, which are days since 1970; ``None``: no dates.
        lenient: Whether cells that are no numbers, or dates, are missing; else they are refused.
    """

    name: str
    mean: float = 0.0
    std: float = 1.0
    indicator: bool = False
    vocabulary: Sequence[str] | None = None
    decimal: str = ""
    unit: str = ""
    layout: str | None = None
    lenient: bool = False

    @property
    def form(self) -> Form:
        """As what its texts are read."""
        return Form(self.decimal, self.unit, self.layout)


@dataclass(frozen=True)
class TableEncoding:
    """How rows of a table become numbers: fitted once, kept with the run, applied to new tables.

    Numbers are standardized in double precision; a missing one becomes the mean, and a feature of its own (1 where it
    is missing) says so if any was missing when this was fitted. Names become codes; missing and unknown ones are 0.

    Args:
        columns: The columns that are read, in order.
        missing: Texts that mean a missing cell.
        label: Column of the labels, or ``None``.
        id: Column of the rows' names, or ``None``.
        classes: Names of the classes.
    """

    columns: Sequence[TableColumn]
    missing: Sequence[str] = MISSING
    label: str | None = None
    id: str | None = None
    classes: Sequence[str] = ()

    @property
    def features(self) -> Sequence[str]:
        """Names of the features, in order: every column, then the marks of missing numbers (``age?missing``)."""
        return [c.name for c in self.columns] + [c.name + _MISSING_MARK for c in self.columns if c.indicator]

    @property
    def categorical(self) -> Sequence[int]:
        """Places of the features that are codes, for ``TableViews(categorical=...)``."""
        codes = [place for place, column in enumerate(self.columns) if column.vocabulary is not None]
        # Marks of missing numbers are codes as well: with noise, or standardized, they would no longer be 0 or 1.
        return codes + list(range(len(self.columns), len(self.features)))

    @property
    def cardinalities(self) -> Mapping[int, int]:
        """Number of codes of each categorical feature by its place, for ``table_transformer(categories=...)``."""
        sizes = [2 if c.vocabulary is None else len(c.vocabulary) + 1 for c in self.columns]
        return {place: sizes[place] if place < len(sizes) else 2 for place in self.categorical}

    def encode(self, table: Any) -> Floats:
        """Features of the rows of a table, (N, F).

        Args:
            table: As in ``from_table``; it must have all columns, others are passed over.

        Raises:
            DataError: a missing column, or a cell that is no number where one must be (place and value are named).

        Warns:
            UserWarning: cells that count as missing although something is written there, with their number.
        """
        remarks = Remarks()
        values = self.read(read_table(table, self.missing), remarks)
        remarks.warn(stacklevel=2)
        return values

    def read(self, rows: Table, remarks: Remarks) -> Floats:
        """As ``encode``; what is to be said is added to ``remarks``."""
        marks = []
        values = np.empty((len(rows), len(self.columns)), np.float32)
        for place, column in enumerate(self.columns):
            if column.vocabulary is not None:
                values[:, place] = _codes(column.name, rows.texts(column.name), column.vocabulary, remarks)
                continue
            numbers = numbers_of(rows, column.name, column.form, column.lenient, remarks)
            lacking = np.isnan(numbers)
            remarks.count(column.name, numbers)
            if column.layout is None:  # far dates are no marks that `missing` could name
                remarks.look_for_marks(column.name, numbers)
            # in double precision: large numbers such as dates keep their differences
            values[:, place] = (np.where(lacking, column.mean, numbers) - column.mean) / column.std
            if column.indicator:
                marks.append(lacking.astype(np.float32))
        return np.column_stack([values, *marks]) if marks else values

    def decode(self, row: Sequence[float]) -> dict[str, str]:
        """Cells of one row of features as text, missing ones empty; for a person to look at."""
        marks = dict(zip(self.features[len(self.columns) :], row[len(self.columns) :], strict=True))
        cells = {}
        for column, value in zip(self.columns, row, strict=False):
            if column.vocabulary is not None:
                code = int(value)
                cells[column.name] = column.vocabulary[code - 1] if 1 <= code <= len(column.vocabulary) else ""
            else:
                lacking = marks.get(column.name + _MISSING_MARK, 0) >= 0.5
                cells[column.name] = "" if lacking else _shown(column, float(value) * column.std + column.mean)
        return cells

    def summary(self, remarks: Remarks) -> list[ColumnSummary]:
        """As what each column was read where ``remarks`` were collected."""
        found = []
        for column in self.columns:
            if column.vocabulary is not None:
                values = len(column.vocabulary)
                found.append(ColumnSummary(column.name, "category", f"{values:,} value" + "s" * (values != 1)))
                continue
            ends = [_shown(column, end, digits=10) for end in remarks.ranges.get(column.name, ())]
            notes = [" to ".join(ends) if len(set(ends)) > 1 else f"always {ends[0]}"] if ends else []
            notes += [f"{remarks.missing[column.name]:,} missing"] if remarks.missing[column.name] else []
            notes += ["decimal commas"] if column.decimal == "," else []
            notes += [f"written {column.layout}"] if column.layout not in (None, "iso") else []
            found.append(ColumnSummary(column.name, "number" if column.layout is None else "date", ", ".join(notes)))
        return found

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain numbers, texts and lists, which JSON can hold."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return plain

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> TableEncoding:
        """The encoding that ``as_dict`` described.

        Raises:
            DataError: it is none.
        """
        try:
            check(plain, _ENCODING, "the encoding")
            columns = [TableColumn(**column) for column in plain["columns"]]
            return cls(columns, **{key: value for key, value in plain.items() if key != "columns"})
        except (ValueError, TypeError) as error:
            raise DataError(f"this is no table encoding ({error}); pass what TableEncoding.as_dict returned") from error

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it as JSON."""
        write_text(Path(path), json.dumps(self.as_dict(), indent=1))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> TableEncoding:
        """Read what ``save`` wrote, or the card ``export.json`` of a run.

        Raises:
            DataError: the file cannot be read or holds no encoding.
        """
        either = ({"input": {"table": dict}}, _ENCODING)
        plain = read_fields(path, either, "pass a file that TableEncoding.save wrote", error=DataError)
        return cls.from_dict(plain["input"]["table"] if "input" in plain else plain)


def fit_encoding(
    tables: Sequence[Table],
    names: Sequence[str],
    remarks: Remarks,
    *,
    kinds: Mapping[str, str] | None = None,
    max_categories: int = 100,
) -> Sequence[TableColumn]:
    """How each column of some tables becomes numbers.

    Args:
        tables: The tables, each with all columns.
        names: The columns.
        remarks: Where what is to be said of them is added.
        kinds: As what columns are read, by name; the others by their cells.
        max_categories: Names a column may have.

    Returns:
        One entry a column; columns without any value are left out.

    Raises:
        DataError: a column with too many names, numbers too large to calculate with, or no column that can be used.
    """
    columns = []
    for name in names:
        kind, detail = check_kind(name, (kinds or {}).get(name, ""))
        if all(table.is_empty(name) for table in tables):
            continue
        declared = any(name in table.names for table in tables)
        # By all tables: a column of numbers in one and of names in another must become one kind.
        chosen = (
            None if kind == "category" or (declared and not kind) else choose_form(name, tables, kind, detail, remarks)
        )
        if chosen is None:
            columns.append(_name_column(name, tables, max_categories))
            if not (kind or declared):
                remark_on_names(
                    name, [cell for table in tables for cell in table.texts(name) if cell is not None], remarks
                )
            continue
        parts = [numbers_of(table, name, *chosen, remarks) for table in tables]
        if not kind:
            remark_on_numbers(tables[0], name, parts[0], remarks)
        columns.append(_number_column(name, np.concatenate(parts), *chosen))
    if not columns:
        raise DataError(f"{tables[0].source} has no column to learn from besides label, id and dropped ones")
    return columns


def _number_column(name: str, values: NDArray[np.float64], form: Form, lenient: bool) -> TableColumn:
    known = values[~np.isnan(values)]
    # numbers near the end of the range overflow in the mean; that is told below
    with np.errstate(over="ignore", invalid="ignore"):
        mean, std = float(known.mean()), float(known.std())
    if not (np.isfinite(mean) and np.isfinite(std)):
        raise DataError(f"column {name!r} runs from {known.min():g} to {known.max():g}, too far to calculate with")
    # a column that is constant but for rounding must not be blown up; how large its numbers are is a matter of units
    largest = float(np.abs(known).max())
    scale = std if std > ROUNDING * largest else largest or 1.0
    return TableColumn(name, mean, scale, len(known) < len(values), None, form.decimal, form.unit, form.layout, lenient)


def _name_column(name: str, tables: Sequence[Table], most: int) -> TableColumn:
    names = {cell for table in tables for cell in table.texts(name) if cell is not None}
    # sorted, so that codes do not hang on the order of the rows
    vocabulary = sort_names(names if {cell.casefold() for cell in names} != _TRUTH else {"False", "True"})
    if len(vocabulary) > most:
        table, row = _first_text(name, tables)
        numbers = any(_is_number(cell) for cell in vocabulary)
        reread = f"read what are no numbers as missing ({remedy([name], 'number')}), " if numbers else ""
        raise DataError(
            f"{table.location(row)}: {name} is {table.texts(name)[row]!r}, so the column holds names, "
            f"{len(vocabulary)} different ones, more than max_categories={most}; leave it out "
            f"({remedy([name], 'drop')}), {reread}use it as id ({setting('id', name)}), or raise max_categories"
        )
    return TableColumn(name, vocabulary=vocabulary)


def _shown(column: TableColumn, number: float, digits: int = 6) -> str:
    if column.layout is not None:
        return shown_day(number, column.layout)
    # seconds since 1970 differ behind the ninth digit
    far = abs(column.mean) / column.std
    return f"{number:.{max(digits, 6 + math.ceil(math.log10(max(far, 1))))}g}{column.unit}"


def _first_text(name: str, tables: Sequence[Table]) -> tuple[Table, int]:
    """Where the first cell is that is no number, or the first one at all."""
    for table in tables:
        for row, cell in enumerate(table.texts(name)):
            if cell is not None and not _is_number(cell):
                return table, row
    return tables[0], 0


def _is_number(cell: str) -> bool:
    return Table({"": [cell]}, "").plain_numbers("") is not None


def _codes(name: str, cells: Sequence[str | None], vocabulary: Sequence[str], remarks: Remarks) -> Floats:
    number = {name: code for code, name in enumerate(vocabulary, 1)}
    if set(vocabulary) == {"False", "True"}:  # spreadsheets write them in capitals
        cells = [cell.capitalize() if cell is not None and cell.casefold() in _TRUTH else cell for cell in cells]
    unseen = Counter(cell for cell in cells if cell is not None and cell not in number)
    if unseen:
        remarks.add("unseen", name, listed(unseen))
    return np.array([0 if cell is None else number.get(cell, 0) for cell in cells], np.float32)
