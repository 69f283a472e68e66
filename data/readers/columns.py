"""As what each column of a table is read, and what there is to say of that."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from selftrain.data.base.far import far_values
from selftrain.data.base.summary import shown
from selftrain.data.readers.cells import Cells, Form, certain_decimal, listed, read_dates, read_numbers, remedy
from selftrain.data.readers.tabular import Numbers, Table
from selftrain.errors import DataError, setting

_EIGHT = "%Y%m%d"
_MANY = 20  # names, or rows, from which on it is odd that each occurs once
# what is dealt with, and what the owner has to decide; {} are the columns, each with its cells
_NOTES = {
    "gaps": "cells that are no numbers or dates were read as missing: {}; if a column holds names, say {category}",
    "unseen": "names that training did not have were read as missing: {}",
}
_DOUBTS = {
    "own names": "nearly every cell holds a name of its own, which teaches nothing: {}; leave it out, or, if these are "
    "dates, name their layout: {drop}",
    "row numbers": "row numbers or ids are learned from like measurements: {}; leave them out: {drop}",
    "far": "numbers lie far from all others, as marks of missing cells do: {}; if they are such marks, say {missing}",
    "long": "whole numbers of so many digits lose some, and are rather ids: {}; leave them out: {drop}",
    "zeros": "numbers with leading zeros were read as numbers: {}; if they are codes, say {category}",
    "dates": "dates can be read in two ways: {}; say which: {date:%d/%m/%Y}",
    "signs": "numbers can be read in two ways: {}; say {decimal}",
    "names": "read as names though most cells are numbers: {}; to read the others as missing, say {number}",
    "header": "the first line names the columns, and here it reads like data: {}; add a line of names",
    "classes": "nearly every label is a class of its own: {}; name the column of the classes: {label}",
}


@dataclass
class Remarks:
    """What is to be said of columns: a sentence for each kind of thing, with the columns and their counts."""

    found: dict[str, dict[str, str]] = field(default_factory=dict)
    missing: Counter[str] = field(default_factory=Counter)
    ranges: dict[str, tuple[float, float]] = field(default_factory=dict)
    marks: dict[str, None] = field(default_factory=dict)  # numbers that may mean a missing cell

    def add(self, kind: str, column: str, words: str) -> None:
        """Say something of a column; kinds are those above."""
        self.found.setdefault(kind, {}).setdefault(column, words)

    def count(self, column: str, values: Numbers) -> None:
        """Count the missing cells of a column of numbers, and note from where to where it runs."""
        known = values[~np.isnan(values)]
        self.missing[column] += len(values) - len(known)
        if len(known):
            low, high = self.ranges.get(column, (np.inf, -np.inf))
            self.ranges[column] = min(low, float(known.min())), max(high, float(known.max()))

    def look_for_marks(self, column: str, values: Numbers) -> None:
        """Say which numbers of a column lie so far from all others that they may mean a missing cell."""
        if far := far_values(values[~np.isnan(values)]):
            self.add("far", column, str(far))
            self.marks |= dict.fromkeys(repr(value).removesuffix(".0") for value in far.counts)

    def sentences(self, *, doubts: bool) -> list[str]:
        """What the owner has to decide, or what is dealt with."""
        texts = _DOUBTS if doubts else _NOTES
        missing = setting("missing", ["NA", *self.marks])
        return [
            _sentence(texts[kind], columns).replace("{missing}", missing)
            for kind, columns in self.found.items()
            if kind in texts
        ]

    def warn(self, stacklevel: int) -> None:
        """Say it all as warnings."""
        for text in (*self.sentences(doubts=False), *self.sentences(doubts=True)):
            warnings.warn(text, stacklevel=stacklevel + 1)


def _sentence(text: str, columns: Mapping[str, str]) -> str:
    head, _, what = text.partition("{}")
    some = [f"{shown(name)} ({words})" for name, words in list(columns.items())[:5]]
    rest = f" and {len(columns) - 5} more columns" if len(columns) > 5 else ""
    start = what.find("{")
    if start >= 0 and what[start:] != "{missing}":
        kind = what[start + 1 : -1]
        others = {"decimal": f"{setting('decimal', ',')} or {setting('decimal', '.')}", "label": setting("label")}
        what = what[:start] + (others.get(kind) or remedy(list(columns)[:5], kind))
    return head + ", ".join(some) + rest + what


def choose_form(
    name: str, tables: Sequence[Table], kind: str, detail: str, remarks: Remarks
) -> tuple[Form, bool] | None:
    """The form that a column of numbers or dates is written in, and whether odd cells are missing; ``None``: names.

    Args:
        name: The column.
        tables: That it is learned from.
        kind: ``"number"``, ``"date"``, or nothing: by its cells.
        detail: The decimal sign or the layout of dates, or nothing.
        remarks: Where what is doubtful is added.

    Raises:
        DataError: no cell is of the kind, or decimal points and commas are mixed.
    """
    days = any(name in table.dates for table in tables)
    plain = [_plain(table, name) for table in tables]
    if kind != "date" and not detail and not days and all(values is not None for values in plain):
        eight = not kind and all(_are_eight_digits(values) for values in plain if values is not None)
        return Form(layout=_EIGHT if eight else None), bool(kind)
    texts, counts = _in_question(name, tables, kind if not days else "")
    if not counts:
        return Form(layout="iso" if days else None), bool(kind)
    if days or kind == "date":
        found = read_dates(counts, detail or None)
    else:
        found = _read_numbers(name, counts, texts, detail, None)
        if not kind and not found.values:
            found = read_dates(counts)
    if kind and not found.values:
        raise DataError(
            f"columns calls {name!r} a {kind}, but no cell is one: {listed(counts)}; say category, drop, or "
            f"{'date:LAYOUT' if kind == 'date' else 'number:, (with decimal commas)'}"
        )
    if kind or days or found.certain:
        if found.doubt:
            remarks.add("signs" if found.form.layout is None else "dates", name, found.doubt)
        return found.form, bool(kind or found.odd)
    if found.measured and found.share >= 0.5:
        remarks.add("names", name, f"{found.share:.0%} numbers, else {listed(found.odd)}")
    return None


def _in_question(name: str, tables: Sequence[Table], kind: str) -> tuple[Sequence[Table], Counter[str]]:
    """The tables whose texts say as what a column is to be read, and how often each is written there."""
    if kind == "date":  # numbers such as 20241231 as well
        chosen = tables
    else:
        texts = [table for table in tables if not isinstance(table[name], np.ndarray)]
        chosen = [table for table in texts if kind or _plain(table, name) is None] or texts
        # files with decimal points and others with commas: each is read by its own
        chosen = chosen[:1] if len({_sign(table) for table in chosen} - {None}) > 1 else chosen
    counts: Counter[str] = Counter()
    for table in chosen:
        counts.update(cell for cell in _texts(table, name) if cell is not None)
    return chosen, counts


def _texts(table: Table, name: str) -> list[str | None]:
    return table.texts(name) if isinstance(table[name], np.ndarray) else table.written(name)


def numbers_of(table: Table, name: str, form: Form, lenient: bool, remarks: Remarks) -> Numbers:
    """A column as numbers, missing ones NaN; dates as days since 1970.

    Args:
        table: Of the column.
        name: The column.
        form: As it was written where it was learned; another decimal sign or layout is recognized.
        lenient: Whether cells that are none are missing.
        remarks: Where those, and what is doubtful, are added.

    Raises:
        DataError: a cell that is no finite number; names place, column and value.
    """
    cells, dates = table[name], form.layout is not None
    if isinstance(cells, np.ndarray) and not (dates and form.layout != "iso" and name not in table.dates):
        if (name in table.dates) != dates or (form.unit and not np.isnan(cells).all()):
            have, want = ("dates", "numbers") if name in table.dates else ("numbers", "dates")
            want = f"numbers with {form.unit!r}" if form.unit and not dates else want
            raise DataError(f"{table.source}: {name} holds {have}, and was learned from {want}; turn it into these")
        return _finite(table, name, cells)
    plain = None if dates or form.unit else _plain(table, name)
    if plain is not None:
        return _finite(table, name, plain)
    written = _texts(table, name)
    counts = Counter(cell for cell in written if cell is not None)
    if dates:
        read = read_dates(counts, form.layout)
        read = read if not read.odd else max(read, read_dates(counts), key=lambda found: found.share)
    else:
        read = _read_numbers(name, counts, [table], "", form)
    if read.odd and not lenient:
        text = next(iter(read.odd))
        kind = "no date" if dates else f"no number with {form.unit!r}" if form.unit else "no finite number"
        raise DataError(
            f"{table.location(written.index(text))}: {name} is {text!r}, which is {kind}; correct it or leave it empty"
        )
    if read.gaps or read.odd:
        remarks.add("gaps", name, listed({**read.gaps, **read.odd}))
    nan = float("nan")
    values = np.array([nan if cell is None else read.values.get(cell, nan) for cell in written], np.float64)
    return _finite(table, name, values)


def remark_on_header(table: Table, remarks: Remarks) -> None:
    """Say where the first line of a file is no line of names."""
    numbers = [name for name in table.columns if "." in name and Table({"": [name]}, "").plain_numbers("") is not None]
    if table.lines is not None and 2 * len(numbers) >= len(table.columns):
        remarks.add("header", table.source, ", ".join(numbers[:3]))


def remark_on_numbers(table: Table, name: str, values: Numbers, remarks: Remarks) -> None:
    """Say what is odd about a column of numbers: it counts the rows, or has leading zeros."""
    known = values[~np.isnan(values)]
    whole = len(known) >= _MANY and bool((known == np.floor(known)).all())
    called = re.search(r"(^|[\W_])(id|index|row|rowid)$|[a-z]I[dD]$|^I[dD]$", name) is not None
    if whole and np.abs(known).max() >= 2**53:
        remarks.add("long", name, f"up to {known.max():.0f}")
    elif whole and (
        (known[0] in (0, 1) and bool((np.diff(known) == 1).all())) or (called and len(np.unique(known)) == len(known))
    ):
        remarks.add("row numbers", name, f"{known[0]:.0f}, {known[1]:.0f}, {known[2]:.0f}, ...")
    if not isinstance(table[name], np.ndarray):
        zeros = {text: n for text, n in table.counts(name).items() if text[:1] == "0" and text[1:].isdigit()}
        if zeros:
            remarks.add("zeros", name, listed(zeros))


def remark_on_names(name: str, texts: Sequence[str], remarks: Remarks) -> None:
    """Say where nearly every cell has a name of its own, unless more was said."""
    different = len(set(texts))
    if name not in remarks.found.get("names", ()) and different > _MANY and 2 * different > len(texts):
        remarks.add("own names", name, f"{different:,} names in {len(texts):,} cells")


def _plain(table: Table, name: str) -> Numbers | None:
    """Numbers that any program reads; not those that may be thousands beside decimal commas."""
    values = table.plain_numbers(name)
    if values is None or isinstance(table[name], np.ndarray) or _sign(table) != ",":
        return values
    return None if any("." in cell for cell in table.written(name) if cell is not None) else values


def _are_eight_digits(values: Numbers) -> bool:
    """Whether numbers are dates such as 20241231."""
    known = np.unique(values[~np.isnan(values)])
    if len(known) <= _MANY or known[0] < 19000101 or known[-1] > 21001231 or (known % 1).any():
        return False
    return not read_dates({f"{value:.0f}": 1 for value in known}, _EIGHT).odd


def _sign(table: Table) -> str | None:
    """The decimal sign that is given, or that the columns of a table leave no doubt of."""
    if table.decimal is not None:
        return table.decimal
    if "decimal" not in table.found:
        odd = [name for name in table.columns if name not in table.unread and table.plain_numbers(name) is None]
        signs = {certain_decimal(table.counts(name)) for name in odd} - {None}
        table.found["decimal"] = signs.pop() if len(signs) == 1 else None
    sign: str | None = table.found["decimal"]
    return sign


def _read_numbers(
    name: str, counts: Mapping[str, int], tables: Sequence[Table], detail: str, form: Form | None
) -> Cells:
    given = detail or next((table.decimal for table in tables if table.decimal is not None), None)
    signs = {_sign(table) for table in tables} - {None}
    weak = {table.likely for table in tables if table.likely is not None}
    known = [form.decimal] if form is not None and form.decimal else []
    known += [sign for found in (signs, weak) if len(found) == 1 for sign in found if sign]
    likely = known[0] if known else None
    try:
        return read_numbers(counts, decimal=given, likely=likely, unit=None if form is None else form.unit)
    except DataError as error:
        raise DataError(
            f"{tables[0].source}, column {name!r}: {error}; correct it, or leave it out: {remedy([name], 'drop')}"
        ) from error


def _finite(table: Table, name: str, values: Numbers) -> Numbers:
    if np.isinf(values).any():
        row = int(np.flatnonzero(np.isinf(values))[0])
        cell = table[name][row]
        shown_cell = repr(cell) if isinstance(cell, str) else str(cell)
        raise DataError(
            f"{table.location(row)}: {name} is {shown_cell}, which is no finite number; correct it or leave it empty"
        )
    return values
