"""Piles from CSV and Parquet files and data frames."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from selftrain.data.base.labels import Classes, NoLabel, ReadLabels, Vocabulary, class_names, read_labels
from selftrain.data.base.samples import ArraySet, RowNumbers
from selftrain.data.base.splits import Overlap
from selftrain.data.base.summary import ColumnSummary, Summary, shown, some
from selftrain.data.pile import Pile, readable_again
from selftrain.data.readers.assembling import assemble
from selftrain.data.readers.cells import check_kind, read_numbers
from selftrain.data.readers.columns import Remarks, remark_on_header
from selftrain.data.readers.encoding import TableEncoding, fit_encoding
from selftrain.data.readers.tabular import MISSING, Table, read_table
from selftrain.data.views.base import ViewMaker
from selftrain.data.views.table import TableViews
from selftrain.errors import DataError, setting

_MANY = 20  # classes from which on it is odd that each has one label
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
    columns: Mapping[str, str] | None = None,
    decimal: Literal[".", ","] | None = None,
    categorical: Sequence[str] = (),
    drop: Sequence[str] = (),
    missing: Sequence[str] = MISSING,
    max_categories: int = 100,
    encoding: TableEncoding | Mapping[str, Any] | str | os.PathLike[str] | None = None,
    classes: Classes | None = None,
    no_label: NoLabel = -1,
    labels: int | None = None,
    overlap: Overlap = "exclude",
    seed: int = 0,
    views: ViewMaker | None = None,
) -> Pile:
    """Make a pile from a table; ``pile.encoding`` says how its rows became numbers.

    A column of numbers is standardized; its missing cells become the mean, and a further feature says where they were.
    Numbers may have decimal points or commas, thousands separators, and one unit or currency; cells such as ``-``,
    ``n.d.`` or ``<0.05`` among them are missing. Dates, and times of day, become days. Any other column holds names,
    which become codes; missing and unknown ones are code 0. Means and names are those of ``table`` and ``unlabeled``;
    validation and test rows are encoded alike. As what each column was read is in ``pile.summary``.

    Args:
        table: Path of a CSV file (UTF-8, a line of column names; needs no other library) or of a Parquet file (needs
            ``selftrain[table]``), a pandas data frame, an arrow table, or a mapping from names to columns.
        label: Column of the classes, by name or number; an empty cell, -1 or a text of ``missing`` means unlabeled.
            ``None``: no row has one.
        id: Column of the rows' names, each once; default: their numbers.
        unlabeled: Another table of rows without label.
        validation: Labels to hold back, a count or a share below 1, or another table.
        test: Another table, each row labeled, that only the final evaluation sees.
        columns: As what columns are read, by name: ``"number"`` (cells that are none are missing), ``"number:,"`` (with
            decimal commas), ``"category"``, ``"date"``, ``"date:%d/%m/%Y"``, or ``"drop"``; the others by their cells.
        decimal: The decimal sign of numbers in text; ``None``: whichever fits the cells of a column.
        categorical: Columns of names although their cells are numbers, such as ZIP codes.
        drop: Columns to leave out.
        missing: Texts and numbers that mean a missing cell; an empty one always does.
        max_categories: Names a column may have; one with more is an error, since it is rarely meant as a feature.
        encoding: How another pile's rows became numbers (``pile.encoding``, a ``TableEncoding``, its file, or the
            ``export.json`` of a run): this table is encoded alike, ``columns``, ``categorical``, ``drop``, ``missing``
            and ``max_categories`` are not used, and classes and label column are those of the encoding unless given.
        classes: Names of the classes, or a mapping from names to numbers; default: those that occur, sorted.
        no_label: Labels that mean unlabeled in place of -1 and ``missing``, one or several; ``None``: only empty cells.
        labels: Use only so many labels, evenly over the classes; the others become ``truth``. ``None``: all.
        overlap: Whether labeled rows are also unlabeled ones, as in ``split``.
        seed: Key of the choice of labels.
        views: Maker of views; default: ``TableViews`` that know the columns of codes and take replacements from rows
            of this table.

    Raises:
        DataError: a file that cannot be read, or a cell that cannot be used; file, line, column and value are named.
        ImportError: Parquet without pyarrow.

    Warns:
        UserWarning: cells that were read as missing although something is written there, and columns that may mean
            something else, each with its name and count and with what to say.

    Example:
        >>> rows = {"size": [1.0, 2.0, None, 4.0], "color": ["red", "blue", "red", None], "kind": ["a", "b", "", ""]}
        >>> pile = from_table(rows, "kind")
        >>> list(TableEncoding.from_dict(pile.encoding).features)
        ['size', 'color', 'size?missing']
    """
    given = _given(encoding)
    missing = missing if given is None else given.missing
    label = label or (None if given is None else given.label)
    tables = {"": table, "_unlabeled": unlabeled, "_test": test}
    if not isinstance(validation, int | float):
        tables["_validation"] = validation
    if table is None:
        raise DataError("there is no table; pass a CSV or Parquet path, a data frame or a mapping")
    read = {
        part: read_table(rows, missing, f"the {part[1:]} table" if part else "the table", decimal, label)
        for part, rows in tables.items()
        if rows is not None
    }
    remarks = Remarks()
    for rows in read.values():
        remark_on_header(rows, remarks)
    kinds: Mapping[str, str] = {}
    # means and names of test rows would be a look at what the final evaluation is to see for the first time
    fitted = {part: rows for part, rows in read.items() if part in ("", "_unlabeled")}
    if given is None:
        kinds = _kinds(read[""], columns or {}, categorical, drop, (label, id))
        names = [name for name in read[""].columns if name not in (label, id) and kinds.get(name) != "drop"]
        found = fit_encoding(list(fitted.values()), names, remarks, kinds=kinds, max_categories=max_categories)
        given = TableEncoding(found, list(missing), label, id)
    else:
        given = _with(given, label=label, id=id or (given.id if given.id in read[""].columns else None))
    # files say with a text what others leave out; whoever says what means no label has said it all
    also = {text: text for text in missing} if Vocabulary(no_label).usual else {}
    known = _labels(read, given, classes, no_label, also, remarks)
    given = _with(given, classes=list(known.classes))
    # training first: ranges and missing cells are told of its columns
    sets = {
        part: ArraySet(given.read(rows, remarks), known.codes.get(part), _ids(rows, given, part))
        for part, rows in fitted.items()
    }
    summary = Summary([*_said_of_labels(read[""], given), *known.notes], given.summary(remarks))
    rest = {part: rows for part, rows in read.items() if part not in fitted}
    sets |= {
        part: ArraySet(given.read(rows, remarks), known.codes.get(part), _ids(rows, given, part))
        for part, rows in rest.items()
    }
    _check_ids(sets)
    with warnings.catch_warnings():
        # of the cells, which remarks tell of, and not of what they became
        warnings.filterwarnings("ignore", "numbers lie far from all others")
        pile = assemble(
            sets[""],
            sets.get("_unlabeled"),
            sets.get("_test"),
            validation=sets.get("_validation", validation),
            classes=known.classes,
            notes=known.notes,
            labels=labels,
            overlap=overlap,
            seed=seed,
            views=views or table_views(given, sets[""].x),
            source=read[""].source,
        )
    pile.encoding = given.as_dict()
    remarks.warn(stacklevel=3)
    further = _further_columns(read, given, learned=encoding is None)
    for words in further:
        warnings.warn(words, stacklevel=3)
    pile.summary = summary.plus(
        left_out=further,
        columns=_left_out(read[""], given, kinds),
        notes=remarks.sentences(doubts=False),
        doubts=remarks.sentences(doubts=True),
    )
    return pile


def _further_columns(read: Mapping[str, Table], encoding: TableEncoding, *, learned: bool) -> list[str]:
    """What to say of columns that a table has and the one that was learned from has not."""
    known = {column.name for column in encoding.columns} | {encoding.label, encoding.id}
    known |= set(read[""].columns) if learned else set()
    words = []
    for part, table in read.items():
        more = [shown(str(name)) for name in table.columns if name not in known]
        if more and (part or not learned):
            named = ", ".join(more[:5]) + (", ..." if len(more) > 5 else "")
            which = f"the {part[1:]} table" if part else "the table"
            words.append(f"{len(more):,} of the columns of {which} are unknown to the training and not read: {named}")
    return words


def _given(encoding: Any) -> TableEncoding | None:
    if encoding is None or isinstance(encoding, TableEncoding):
        return encoding
    if isinstance(encoding, Mapping):  # its own, or the card of a run, which the command line reads from its file
        return TableEncoding.from_dict(encoding["input"]["table"] if "input" in encoding else encoding)
    return TableEncoding.load(encoding)


def _with(encoding: TableEncoding, **changes: Any) -> TableEncoding:
    return TableEncoding(**{**vars(encoding), **changes})


def _kinds(
    table: Table,
    columns: Mapping[str, str],
    categorical: Sequence[str],
    drop: Sequence[str],
    taken: Sequence[str | None],
) -> Mapping[str, str]:
    """As what columns are read; all that are named must exist, so that a typing error is noticed."""
    for name in (*taken, *drop, *columns):
        if name is not None and name not in table.unread:
            table[name]
    features = [name for name in table.columns if name not in (*taken, *drop)]
    unknown = [name for name in categorical if name not in features]
    if unknown:
        raise DataError(f"categorical names column {unknown[0]!r}; the columns are {some(features)}")
    kinds = dict.fromkeys(categorical, "category") | dict.fromkeys(drop, "drop")
    for name, kind in columns.items():
        check_kind(name, kind)
        if name in taken or kinds.get(name, kind) != kind:
            other = "is label or id" if name in taken else f"is also named as {kinds[name]}"
            raise DataError(f"columns calls {name!r} {kind!r}, but it {other}; say one of them")
    return kinds | dict(columns)


def _left_out(table: Table, encoding: TableEncoding, kinds: Mapping[str, str]) -> list[ColumnSummary]:
    """Columns that nothing is learned from."""
    used = {column.name for column in encoding.columns} | {encoding.label, encoding.id}
    unused = [name for name in table.columns if name not in used]
    said = []
    for name in unused:
        why = "dropped" if kinds.get(name) == "drop" else "not in the encoding"
        empty = name not in table.unread and table.is_empty(name)
        said.append(ColumnSummary(name, "left out", "empty" if empty else why))
    return said + [ColumnSummary(words, "left out") for words in table.left_out]


def _said_of_labels(table: Table, encoding: TableEncoding) -> list[str]:
    if encoding.label is not None:
        return []
    return [f"no column was named as that of the classes ({setting('label')}); there are {table.names_of_columns()}"]


def _labels(
    read: Mapping[str, Table],
    encoding: TableEncoding,
    classes: Classes | None,
    no_label: NoLabel,
    also: Mapping[str, str],
    remarks: Remarks,
) -> ReadLabels:
    """Class numbers of each part, and the names of the classes."""
    if classes is None or not len(class_names(classes)[0] or []):
        classes = list(encoding.classes) or None
    label = encoding.label
    if label is None:
        if "_test" in read or "_validation" in read:
            raise DataError("there is a test or validation table but no label; name the column of the classes: label")
        return ReadLabels({}, class_names(classes)[0] or [])
    labeled = [part for part in ("", "_validation", "_test") if part in read and label in read[part].columns]
    if "" in read and "" not in labeled and not encoding.classes:
        read[""][label]  # says which columns there are
    given = {part: read[part][label] if read[part].labels is None else read[part].labels for part in labeled}
    if classes is None and "" in labeled:
        _check_classes(read[""], label, read[""].texts(label), remarks)
    parts = {part.removeprefix("_"): column for part, column in given.items()}
    found = read_labels(
        parts,
        classes,
        no_label,
        numbers=False,
        also=also,
        source=lambda part: read[part and f"_{part}"].source,
        called=label,
        stacklevel=4,
    )
    codes = {part: found.codes[part.removeprefix("_")] for part in labeled}
    return ReadLabels(codes, found.classes, found.notes)


def _refuse_measured(table: Table, label: str, where: str, value: object) -> None:
    raise DataError(
        f"{where}: {label} is {value}, a measured number and no class; name the column of the classes "
        f"({setting('label')}; there are {table.names_of_columns()}), or turn it into classes"
    )


def _check_classes(table: Table, label: str, names: Sequence[str | None], remarks: Remarks) -> None:
    """Refuse a column of measured numbers as labels, and say where nearly each label is a class of its own."""
    counts = Counter(name for name in names if name is not None)
    if len(counts) <= _MANY:
        return
    read = max((read_numbers(counts, decimal=sign) for sign in ".,"), key=lambda cells: cells.share)
    if read.measured and not read.odd and any(value % 1 for value in read.values.values()):
        text = next(text for text, value in read.values.items() if value % 1)
        _refuse_measured(table, label, table.location(list(names).index(text)), text)
    if 2 * len(counts) > sum(counts.values()):
        remarks.add("classes", label, f"{len(counts):,} classes in {sum(counts.values()):,} labels")


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


def table_views(encoding: TableEncoding, x: Tensor) -> TableViews:
    """Views of encoded rows (N, F) that know the columns of codes and take replacements from them."""
    # evenly over the rows, without a draw: the bank is part of the views and must be the same in every process
    step = max(1, -(-len(x) // _BANK))
    bank = x[torch.arange(0, len(x), step)].clone()
    return TableViews(categorical=encoding.categorical, bank=bank)
