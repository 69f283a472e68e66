"""Tables as columns of cells, from CSV, Parquet, data frames or mappings."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selftrain.data.base.labels import as_text, is_missing
from selftrain.data.base.memory import machine_memory
from selftrain.data.base.summary import shown, some
from selftrain.data.readers.cells import DAY, days_of, shown_day
from selftrain.errors import DataError, setting
from selftrain.storage.tables import PARQUET, arrow_module, csv_rows, separator

Numbers = NDArray[np.float64]
Cells = Numbers | Sequence[str | None]
MISSING = ("", "NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "NULL", "null", "None", "?")
_MOST = 100_000  # columns
_CELL = 64  # bytes that a cell takes while a table is read
_NO_CELLS = (list, dict, set, np.ndarray, complex, np.complexfloating)
TABLE_SUFFIXES = (".csv", ".tsv", *PARQUET)


@dataclass(frozen=True)
class Table:
    """Columns of one length by name: numbers (missing ones NaN) or text (empty cells ``None``).

    Args:
        columns: The cells of each column.
        source: What messages call the table.
        lines: Line of the file that each row ends on, or ``None``.
        missing: Texts that mean a missing cell.
        dates: Columns of numbers that count days since 1970.
        names: Columns that their owner declared to hold names, as pandas' categories.
        decimal: The decimal sign of its texts; ``None``: whichever fits.
        likely: That which decides where both fit; ``None``: not known.
        left_out: Columns that are none, in words.
        unread: Columns whose cells are none, such as lists, with the error for whoever asks for one.
        labels: The column of the labels as it was given, with the types and gaps that it has; ``None``: as it is here.
        parsed: Columns of text that were converted to numbers, kept so that it is done once.
        found: What else was found out about the table, kept alike.
    """

    columns: Mapping[str, Cells]
    source: str
    lines: Sequence[int] | None = None
    missing: frozenset[str] = frozenset(MISSING)
    dates: frozenset[str] = frozenset()
    names: frozenset[str] = frozenset()
    decimal: str | None = None
    likely: str | None = None
    left_out: Sequence[str] = ()
    unread: Mapping[str, DataError] = field(default_factory=dict)
    labels: Any = None
    parsed: dict[str, Numbers | None] = field(default_factory=dict, compare=False, repr=False)
    found: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), ()))

    def location(self, row: int) -> str:
        """Source and place of a row, for messages."""
        return f"{self.source}, row {row}" if self.lines is None else f"{self.source}, line {self.lines[row]}"

    def written(self, name: str) -> list[str | None]:
        """The cells of a column of text as they are written, missing ones ``None``."""
        return [None if cell in self.missing else cell for cell in self[name]]

    def texts(self, name: str) -> list[str | None]:
        """A column as text, missing cells ``None``, numbers without a fraction as whole ones."""
        cells = self[name]
        if name in self.dates and isinstance(cells, np.ndarray):
            return [None if np.isnan(cell) else shown_day(cell, "iso") for cell in cells]
        return [as_text(cell) for cell in (cells if isinstance(cells, np.ndarray) else self.written(name))]

    def counts(self, name: str) -> Counter[str]:
        """How often each text is written in a column, missing cells aside; nothing for a column of numbers."""
        if isinstance(self[name], np.ndarray):
            return Counter()
        return Counter(cell for cell in self.written(name) if cell is not None)

    def plain_numbers(self, name: str) -> Numbers | None:
        """A column whose cells are all plain numbers, missing ones NaN; ``None``: it is another. Converted once."""
        cells = self[name]
        if isinstance(cells, np.ndarray):
            return cells
        if name not in self.parsed:
            values = _parsed(self.written(name))
            if values is not None:  # -9999.0 is the mark that is declared as -9999
                values[np.isin(values, _marks(self.missing))] = np.nan
            self.parsed[name] = values
        return self.parsed[name]

    def is_empty(self, name: str) -> bool:
        """Whether every cell is missing."""
        cells = self[name]
        return bool(np.isnan(cells).all()) if isinstance(cells, np.ndarray) else not any(self.written(name))

    def __getitem__(self, name: str) -> Cells:
        if name not in self.columns:
            raise DataError(f"{self.source} has no column {name!r}; its columns are {self.names_of_columns()}")
        if name in self.unread:
            raise self.unread[name]
        return self.columns[name]

    def names_of_columns(self) -> str:
        """The names for a message; not all, where there are very many."""
        return some([shown(name) for name in self.columns])


def read_table(
    table: Any,
    missing: Sequence[str] = MISSING,
    name: str = "the table",
    decimal: str | None = None,
    label: str | None = None,
) -> Table:
    """Read a table.

    Args:
        table: Path of a CSV file (``.tsv``: tabs; semicolons are recognized) or of a Parquet file, a pandas data frame,
            an arrow table, or a mapping from names to columns.
        missing: Texts that mean a missing cell; an empty one always does.
        name: What messages call it, if it is no file.
        decimal: The decimal sign of texts; ``None``: whichever fits.
        label: Column of the labels, if there is one.

    Raises:
        DataError: a file that cannot be read or rows of different lengths (file and line are named).
        ImportError: Parquet without pyarrow.
    """
    if isinstance(table, Table):
        return table
    if isinstance(table, str | os.PathLike):
        path = Path(table)
        found = _from_csv(path) if path.suffix.lower() not in PARQUET else _from_parquet(path, label)
    elif hasattr(table, "column_names") and hasattr(table, "column"):
        found = _from_arrow(table, name, label)
    elif isinstance(table, Mapping) or hasattr(table, "columns"):
        columns = list(table) if isinstance(table, Mapping) else list(table.columns)
        found = _table([str(column) for column in columns], [table[column] for column in columns], name, label)
    elif hasattr(table, "to_pandas") and not hasattr(table, "__array__"):  # of Hugging Face, xarray, other frames
        return read_table(table.to_pandas(), missing, name, decimal, label)
    else:
        hint = ", pandas.DataFrame(...) of arrays and lists" if isinstance(table, np.ndarray | list | tuple) else ""
        raise DataError(
            f"{type(table).__name__} is no table; pass a CSV or Parquet path, a data frame or a mapping{hint}"
        )
    lengths = {name: len(cells) for name, cells in found.columns.items()}
    if len(set(lengths.values())) > 1:
        raise DataError(f"the columns of {found.source} have different lengths: {lengths}")
    if not len(found):
        raise DataError(f"{found.source} has no rows")
    marks = _marks(missing)
    for column, cells in found.columns.items() if marks else ():
        if isinstance(cells, np.ndarray) and column not in found.dates:
            cells[np.isin(cells, marks)] = np.nan
    return replace(found, missing=frozenset(missing) | {""}, decimal=decimal)


def _from_csv(path: Path) -> Table:
    """A CSV file, without any other library."""
    rows = csv_rows(path)
    names = [name.strip() for name in next(rows, (0, []))[1]]
    if not names:
        raise DataError(f"{path} is empty; the first line must name the columns")
    _check_names(names, str(path))
    lines: list[int] = []
    cells: list[list[str | None]] = [[] for _ in names]
    for line, row in rows:
        if len(row) != len(names):
            raise DataError(f"{path}, line {line}: {len(row)} cells, but {len(names)} columns; correct it")
        lines.append(line)
        for column, cell in zip(cells, row, strict=True):
            column.append(cell.strip() or None)
    columns: dict[str, Cells] = dict(zip(names, cells, strict=True))
    # spreadsheets take a semicolon where the comma is the decimal sign
    likely = "," if separator(path) == ";" else "."
    return replace(_without_names(columns, str(path)), lines=lines, likely=likely)


def _from_parquet(path: Path, label: str | None) -> Table:
    parquet = arrow_module("reading Parquet", "pyarrow.parquet")
    try:
        with parquet.ParquetFile(path) as file:
            rows, columns = file.metadata.num_rows, len(file.schema_arrow.names)
            size, memory = rows * columns * _CELL, machine_memory()
            if size > memory:  # by mistake or to do harm: equal rows take no room in a file
                raise DataError(
                    f"{path} has {rows:,} rows of {columns:,} columns, as a table {size / 2**30:,.0f} GiB, and this "
                    f"machine has {memory / 2**30:,.0f}; save the numbers as .npy files, which are read row by row"
                )
            table = file.read()
    except DataError:
        raise
    except Exception as error:  # arrow has errors of its own for each kind of damage
        raise DataError(f"cannot read {path}: {error}; is it a whole Parquet file?") from error
    return _from_arrow(table, str(path), label)


def _from_arrow(table: Any, source: str, label: str | None) -> Table:
    names = [str(name) for name in table.column_names]
    # pandas stores the index of a data frame as a column of such a name.
    index = [name for name in names if name.startswith("__index_level_")]
    kept = [i for i, name in enumerate(names) if name not in index]
    found = _table([names[i] for i in kept], [table.column(i).to_pylist() for i in kept], source)
    found = replace(found, labels=table.column(names.index(label)) if label in names else None)
    coded = [names[i] for i in kept if str(table.column(i).type).startswith("dictionary")]
    said = [*found.left_out, *(f"{name} (an index)" for name in index)]
    return replace(found, names=frozenset(coded), left_out=said)


def _table(names: Sequence[str], columns: Sequence[Any], source: str, label: str | None = None) -> Table:
    """A table from the columns of any library."""
    _check_names(names, source)
    stripped = [name.strip() for name in names]
    names = stripped if len(set(stripped)) == len(names) else names  # spaces around names say nothing, as in a CSV
    cells: dict[str, Cells] = {}
    unread: dict[str, DataError] = {}  # no error yet: a column that is left out may hold anything
    dates, coded = [], []
    for name, values in zip(names, columns, strict=True):
        try:
            cells[name], is_date = _cells(values, name)
        except (ValueError, OverflowError) as error:
            fault = error if isinstance(error, DataError) else DataError(f"{source}, column {name!r}: {error}")
            cells[name], is_date, unread[name] = [None] * len(values), False, fault
        if is_date:
            dates.append(name)
        if hasattr(getattr(values, "dtype", None), "categories"):
            coded.append(name)
    given = columns[list(names).index(label)] if label is not None and label in names else None
    found = _without_names(cells, source)
    return replace(found, dates=frozenset(dates), names=frozenset(coded), labels=given, unread=unread)


def _without_names(columns: dict[str, Cells], source: str) -> Table:
    if "" not in columns or len(columns) == 1:
        return Table(columns, source)
    empty = columns[""]
    del columns[""]
    values = any(cell is not None for cell in empty)
    if values:  # else spreadsheets have left a separator at the end of each line
        warnings.warn(
            f"{source} has a column without a name (an index that was saved?); it is left out: name it to use it",
            stacklevel=5,
        )
    return Table(columns, source, left_out=["one without a name"] if values else [])


def _check_names(names: Sequence[str], source: str) -> None:
    if len(names) > _MOST:
        raise DataError(
            f"{source} has {len(names):,} columns; of more than {_MOST:,} each would be looked at for minutes: save "
            "the numbers as an array, numpy.savez('data.npz', x=..., y=...), which is read at once"
        )
    double = next((name for name, count in Counter(names).items() if count > 1), None)
    if double is not None:
        raise DataError(f"{source} has two columns {double!r}; rename one")


def _cells(values: Any, name: str) -> tuple[Cells, bool]:
    """Cells of a column of any library, truth values and text as text, and whether they are dates."""
    dtype = getattr(values, "dtype", None)
    kind = getattr(dtype, "kind", "O")
    if kind in "Mm" and hasattr(values, "to_numpy"):  # pandas: moments with a time zone become objects
        values = values.to_numpy()
        kind = values.dtype.kind
    if kind in "Mm":  # in days, so that no unit of a library matters
        stamps = np.asarray(values).astype(f"{kind}8[us]")
        return np.where(np.isnat(stamps), np.nan, stamps.astype(np.int64) / (DAY * 1e6)), kind == "M"
    if kind in "iuf" and not hasattr(dtype, "categories"):
        if hasattr(values, "to_numpy"):  # pandas: missing whole numbers have a mark of their own
            values = values.to_numpy(dtype=np.float64, na_value=np.nan)
        return np.array(values, np.float64), False
    cells = [None if is_missing(cell) else cell for cell in values]
    present = [cell for cell in cells if cell is not None]
    if present and all(isinstance(cell, date) for cell in present):  # a moment is a date, too
        return np.array([np.nan if cell is None else days_of(_moment(cell)) for cell in cells]), True
    if present and all(isinstance(cell, timedelta) for cell in present):
        return np.array([np.nan if cell is None else cell.total_seconds() / DAY for cell in cells]), False
    strange = next((cell for cell in present if isinstance(cell, _NO_CELLS)), None)
    if strange is not None:
        raise DataError(
            f"column {name!r} holds {type(strange).__name__} such as {str(strange)[:50]!r}; turn it into a number or a "
            f"name, or leave it out: {setting('columns', {name: 'drop'})}"
        )
    # bool is a kind of int, but truth values are names.
    numeric = present and all(
        isinstance(cell, int | float | np.number) and not isinstance(cell, bool) for cell in present
    )
    if numeric and not hasattr(dtype, "categories"):
        return np.array([np.nan if cell is None else float(cell) for cell in cells], np.float64), False
    return [None if cell is None else (as_text(cell) or "").strip() or None for cell in cells], False


def _moment(day: date) -> datetime:
    return day if isinstance(day, datetime) else datetime(day.year, day.month, day.day)


def _marks(missing: Iterable[str]) -> list[float]:
    """Numbers that mean a missing cell, such as -999."""
    return [float(text) for text in missing if _parsed([text]) is not None]


def _parsed(cells: Sequence[str | None]) -> Numbers | None:
    """Numbers from text, missing ones NaN; ``None`` if a cell is no number."""
    # float() takes 1_000 and digits of other scripts, which no program writes as a number
    joined = "".join(cell for cell in cells if cell is not None)
    if "_" in joined or not joined.isascii():
        return None
    try:
        values = np.fromiter((np.nan if cell is None else float(cell) for cell in cells), np.float64, len(cells))
    except ValueError:
        return None
    # a cell that says nan beside the ones declared missing is text, not a number
    return values if int(np.isnan(values).sum()) == sum(cell is None for cell in cells) else None
