"""Piles from CSV and Parquet files and data frames."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from selftrain.data.base.labels import numbered
from selftrain.data.base.samples import ArraySet, RowNumbers
from selftrain.data.base.splits import Overlap
from selftrain.data.pile import Pile, readable_again
from selftrain.data.readers.assembling import assemble
from selftrain.data.readers.encoding import TableEncoding, fit_encoding
from selftrain.data.readers.tabular import MISSING, Table, read_table
from selftrain.data.views.base import ViewMaker
from selftrain.data.views.table import TableViews
from selftrain.errors import DataError

_BANK = 2000  # rows that strong views take replacements from


@readable_again
def from_table(
    table: Any,
    label: str | None = None,
    *,
    id: str | None = None,
    unlabeled: Any = None,
    validation: Any = 0,
    test: Any = None,
    categorical: Sequence[str] = (),
    drop: Sequence[str] = (),
    missing: Sequence[str] = MISSING,
    max_categories: int = 100,
    encoding: TableEncoding | Mapping[str, Any] | str | os.PathLike[str] | None = None,
    classes: Sequence[str] | None = None,
    labels: int | None = None,
    overlap: Overlap = "exclude",
    seed: int = 0,
    views: ViewMaker | None = None,
) -> Pile:
    """Make a pile from a table; ``pile.encoding`` says how its rows became numbers.

    A column whose cells are all numbers is standardized; its missing cells become the mean, and a further feature says
    where they were. Any other column holds names, which become codes; missing and unknown ones are code 0. Means and
    names are those of ``table`` and ``unlabeled``; validation and test rows are encoded alike.

    Args:
        table: Path of a CSV file (UTF-8, a line of column names; needs no other library) or of a Parquet file (needs
            ``selftrain[table]``), a pandas data frame, an arrow table, or a mapping from names to columns.
        label: Column of the classes, by name or number; an empty cell or -1 means unlabeled. ``None``: no row has one.
        id: Column of the rows' names, each once; default: their numbers.
        unlabeled: Another table of rows without label.
        validation: Labels to hold back, a count or a share below 1, or another table.
        test: Another table, each row labeled, that only the final evaluation sees.
        categorical: Columns of names although their cells are numbers, such as ZIP codes.
        drop: Columns to leave out.
        missing: Texts that mean a missing cell.
        max_categories: Names a column may have; one with more is an error, since it is rarely meant as a feature.
        encoding: How another pile's rows became numbers (``pile.encoding``, a ``TableEncoding``, its file, or the
            ``export.json`` of a run): this table is encoded alike, ``categorical``, ``drop``, ``missing`` and
            ``max_categories`` are not used, and classes and label column are those of the encoding unless given.
        classes: Names of the classes; default: those that occur, sorted.
        labels: Use only so many labels, evenly over the classes; the others become ``truth``. ``None``: all.
        overlap: Whether labeled rows are also unlabeled ones, as in ``split``.
        seed: Key of the choice of labels.
        views: Maker of views; default: ``TableViews`` that know the columns of codes and take replacements from rows
            of this table.

    Raises:
        DataError: a file that cannot be read, or a cell that cannot be used; file, line, column and value are named.
        ImportError: Parquet without pyarrow.

    Example:
        >>> rows = {"size": [1.0, 2.0, None, 4.0], "color": ["red", "blue", "red", None], "kind": ["a", "b", "", ""]}
        >>> pile = from_table(rows, "kind")
        >>> list(TableEncoding.from_dict(pile.encoding).features)
        ['size', 'color', 'size?missing']
    """
    given = _given(encoding)
    missing = missing if given is None else given.missing
    tables = {"": table, "_unlabeled": unlabeled, "_test": test}
    if not isinstance(validation, int | float):
        tables["_validation"] = validation
    read = {
        part: read_table(rows, missing, f"the {part[1:]} table" if part else "the table")
        for part, rows in tables.items()
        if rows is not None
    }
    # means and names of test rows would be a look at what the final evaluation is to see for the first time
    if given is None:
        fitted = [read[part] for part in ("", "_unlabeled") if part in read]
        names = _feature_names(fitted[0], label, id, drop)
        columns = fit_encoding(fitted, names, categorical=categorical, max_categories=max_categories, missing=missing)
        given = TableEncoding(columns, list(missing), label, id)
    else:
        given = _with(given, label=label or given.label, id=id or (given.id if given.id in read[""].columns else None))
    known, names_of_classes = _labels(read, given, classes)
    given = _with(given, classes=list(names_of_classes))
    sets = {part: ArraySet(given.encode(rows), known.get(part), _ids(rows, given, part)) for part, rows in read.items()}
    _check_ids(sets)
    pile = assemble(
        sets[""],
        sets.get("_unlabeled"),
        sets.get("_test"),
        validation=sets.get("_validation", validation),
        classes=names_of_classes,
        labels=labels,
        overlap=overlap,
        seed=seed,
        views=views or _views(given, sets[""].x),
        source=read[""].source,
    )
    pile.encoding = given.as_dict()
    return pile


def _given(encoding: Any) -> TableEncoding | None:
    if encoding is None or isinstance(encoding, TableEncoding):
        return encoding
    if isinstance(encoding, Mapping):  # its own, or the card of a run, which the command line reads from its file
        return TableEncoding.from_dict(encoding["input"]["table"] if "input" in encoding else encoding)
    return TableEncoding.load(encoding)


def _with(encoding: TableEncoding, **changes: Any) -> TableEncoding:
    return TableEncoding(**{**vars(encoding), **changes})


def _feature_names(table: Table, label: str | None, id: str | None, drop: Sequence[str]) -> Sequence[str]:
    """Columns to learn from; label, id and dropped ones must exist, so that a typing error is noticed."""
    left_out = [name for name in (label, id, *drop) if name is not None]
    for name in left_out:
        table[name]
    return [name for name in table.columns if name not in left_out]


def _labels(
    read: Mapping[str, Table], encoding: TableEncoding, classes: Sequence[str] | None
) -> tuple[dict[str, Tensor], Sequence[str]]:
    """Class numbers of each part, and the names of the classes."""
    classes = classes or list(encoding.classes) or None
    if encoding.label is None:
        if "_test" in read or "_validation" in read:
            raise DataError("there is a test or validation table but no label; name the column of the classes: label")
        return {}, classes or []
    labeled = [part for part in ("", "_validation", "_test") if part in read and encoding.label in read[part].columns]
    if "" in read and "" not in labeled and not encoding.classes:
        read[""][encoding.label]  # says which columns there are
    names = {part: _label_names(read[part], encoding.label) for part in labeled}
    if classes is None:
        # A class that only the test table has cannot be learned: it is refused, not added.
        every = [name for part in labeled if part != "_test" for name in names[part]]
        classes = numbered(every, None, "labels")[1]
    found = {part: numbered(names[part], classes, read[part].source)[0] for part in labeled}
    return found, classes


def _label_names(table: Table, label: str) -> list[str | None]:
    cells = table[label]
    if isinstance(cells, np.ndarray):
        parts = np.flatnonzero(~np.isnan(cells) & (cells != np.floor(cells)))
        if len(parts):
            row = int(parts[0])
            raise DataError(
                f"{table.location(row)}: {label} is {cells[row]}, a measured number and no class; name the column "
                "of the classes, or turn it into classes"
            )
    return table.texts(label)


def _ids(table: Table, encoding: TableEncoding, part: str) -> Sequence[str]:
    if encoding.id is None or (part and encoding.id not in table.columns):
        return RowNumbers(len(table), f"{part[1:]}/" if part else "")
    names = table.texts(encoding.id)
    if None in names:
        where = table.location(names.index(None))
        raise DataError(f"{where}: {encoding.id} is missing; give each row an id of its own")
    return [str(name) for name in names]


def _check_ids(sets: Mapping[str, ArraySet]) -> None:
    """Refuse ids that training rows share: a pseudo-label must belong to one row."""
    seen: set[str] = set()
    for part in ("", "_unlabeled"):
        for row, name in enumerate(sets[part].ids if part in sets else ()):
            if name in seen:
                raise DataError(f"row {row}: id {name!r} occurs twice; give each row an id of its own, or leave out id")
            seen.add(name)


def _views(encoding: TableEncoding, x: Tensor) -> TableViews:
    # evenly over the rows, without a draw: the bank is part of the views and must be the same in every process
    step = max(1, -(-len(x) // _BANK))
    bank = x[torch.arange(0, len(x), step)].clone()
    return TableViews(categorical=encoding.categorical, bank=bank)
