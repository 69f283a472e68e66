"""Tables as columns of cells, from CSV, Parquet, data frames or mappings."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selftrain.data.base.labels import as_text
from selftrain.errors import DataError, setting
from selftrain.storage.tables import PARQUET, arrow_module, csv_rows

Numbers = NDArray[np.float64]
Cells = Numbers | Sequence[str | None]
MISSING = ("", "NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "NULL", "null", "None", "?")
TABLE_SUFFIXES = (".csv", ".tsv", *PARQUET)


@dataclass(frozen=True)
class Table:
    """Columns of one length by name: numbers (missing ones NaN) or text (missing cells ``None``).

    Args:
        columns: The cells of each column.
        source: What messages call the table.
        lines: Line of the file that each row ends on, or ``None``.
        parsed: Columns of text that were converted to numbers, kept so that it is done once.
    """

    columns: Mapping[str, Cells]
    source: str
    lines: Sequence[int] | None = None
    parsed: dict[str, Numbers | None] = field(default_factory=dict, compare=False, repr=False)

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), ()))

    def location(self, row: int) -> str:
        """Source and place of a row, for messages."""
        return f"{self.source}, row {row}" if self.lines is None else f"{self.source}, line {self.lines[row]}"

    def texts(self, name: str) -> list[str | None]:
        """A column as text, numbers without a fraction as whole ones."""
        return [as_text(cell) for cell in self[name]]

    def numbers(self, name: str) -> Numbers:
        """A column as numbers, missing ones NaN.

        Raises:
            DataError: a cell that is no finite number; names place, column and value.
        """
        values = self._values(name)
        if values is None:
            cells = self[name]
            row = next(row for row, cell in enumerate(cells) if cell is not None and _parsed([str(cell)]) is None)
        elif np.isinf(values).any():
            row = int(np.flatnonzero(np.isinf(values))[0])
        else:
            return values
        raise DataError(
            f"{self.location(row)}: {name} is {self[name][row]!r}, which is no finite number; correct it, leave it "
            f"empty, or say {setting('categorical', [name])} if the column holds names"
        )

    def is_numeric(self, name: str) -> bool:
        """Whether every cell that is not missing is a number."""
        return self._values(name) is not None

    def _values(self, name: str) -> Numbers | None:
        """A column as numbers, missing ones NaN; ``None`` if a cell is none. Text is converted once."""
        cells = self[name]
        if isinstance(cells, np.ndarray):
            return cells
        if name not in self.parsed:
            self.parsed[name] = _parsed(cells)
        return self.parsed[name]

    def is_empty(self, name: str) -> bool:
        """Whether every cell is missing."""
        cells = self[name]
        return bool(np.isnan(cells).all()) if isinstance(cells, np.ndarray) else all(cell is None for cell in cells)

    def __getitem__(self, name: str) -> Cells:
        if name not in self.columns:
            known = ", ".join(self.columns)
            raise DataError(f"{self.source} has no column {name!r}; its columns are {known}")
        return self.columns[name]


def read_table(table: Any, missing: Sequence[str] = MISSING, name: str = "the table") -> Table:
    """Read a table.

    Args:
        table: Path of a CSV file (``.tsv``: tabs; semicolons are recognized) or of a Parquet file, a pandas data frame,
            an arrow table, or a mapping from names to columns.
        missing: Texts that mean a missing cell.
        name: What messages call it, if it is no file.

    Raises:
        DataError: a file that cannot be read or rows of different lengths (file and line are named).
        ImportError: Parquet without pyarrow.
    """
    if isinstance(table, Table):
        return table
    if isinstance(table, str | os.PathLike):
        path = Path(table)
        read = _from_csv if path.suffix.lower() not in PARQUET else _from_parquet
        found = read(path, frozenset(missing))
    elif hasattr(table, "column_names") and hasattr(table, "column"):
        found = _from_arrow(table, name, frozenset(missing))
    elif isinstance(table, Mapping) or hasattr(table, "columns"):
        names = list(table) if isinstance(table, Mapping) else list(table.columns)
        _check_names([str(column) for column in names], name)
        columns = {str(column): _cells(table[column], str(column), frozenset(missing)) for column in names}
        found = Table(columns, name)
    else:
        raise DataError(f"{type(table).__name__} is no table; pass a CSV or Parquet path, a data frame or a mapping")
    lengths = {name: len(cells) for name, cells in found.columns.items()}
    if len(set(lengths.values())) > 1:
        raise DataError(f"the columns of {found.source} have different lengths: {lengths}")
    if not len(found):
        raise DataError(f"{found.source} has no rows")
    return found


def _from_csv(path: Path, missing: frozenset[str]) -> Table:
    """A CSV file, without any other library."""
    rows = csv_rows(path)
    names = next(rows, (0, []))[1]
    if not names:
        raise DataError(f"{path} is empty; it needs a line of column names and rows below")
    _check_names(names, str(path))
    lines: list[int] = []
    cells: list[list[str | None]] = [[] for _ in names]
    for line, row in rows:
        if len(row) != len(names):
            raise DataError(f"{path}, line {line}: {len(row)} cells, but {len(names)} columns; correct it")
        lines.append(line)
        for column, cell in zip(cells, row, strict=True):
            text = cell.strip()
            column.append(None if text in missing else text)
    columns = dict(zip(names, cells, strict=True))
    if "" in columns:
        warnings.warn(
            f"{path} has a column without a name (an index that was saved?); it is left out: name it to use it",
            stacklevel=4,
        )
        del columns[""]
    return Table(columns, str(path), lines)


def _from_parquet(path: Path, missing: frozenset[str]) -> Table:
    parquet = arrow_module("reading Parquet", "pyarrow.parquet")
    try:
        table = parquet.ParquetFile(path).read()
    except Exception as error:  # arrow has errors of its own for each kind of damage
        raise DataError(f"cannot read {path}: {error}; is it a whole Parquet file?") from error
    return _from_arrow(table, str(path), missing)


def _from_arrow(table: Any, source: str, missing: frozenset[str]) -> Table:
    names = [str(name) for name in table.column_names]
    _check_names(names, source)
    # pandas stores the index of a data frame as a column of such a name.
    kept = {name: i for i, name in enumerate(names) if not (name.startswith("__index_level_") or not name)}
    try:
        return Table({name: _cells(table.column(i).to_pylist(), name, missing) for name, i in kept.items()}, source)
    except (ValueError, OverflowError) as error:
        raise DataError(f"{source}: {error}") from error


def _check_names(names: Sequence[str], source: str) -> None:
    double = next((name for i, name in enumerate(names) if name in names[:i]), None)
    if double is not None:
        raise DataError(f"{source} has two columns {double!r}; rename one")


def _cells(values: Any, name: str, missing: frozenset[str]) -> Cells:
    """Cells of a column of any library: truth values and text as text, numbers as numbers."""
    dtype = getattr(values, "dtype", None)
    if dtype is not None and getattr(dtype, "kind", "O") in "Mm":
        raise DataError(
            f"column {name!r} holds dates; turn it into a number (days since a date), or leave it out: drop"
        )
    if dtype is not None and getattr(dtype, "kind", "O") in "iuf" and not hasattr(dtype, "categories"):
        if hasattr(values, "to_numpy"):  # pandas: missing whole numbers have a mark of their own
            values = values.to_numpy(dtype=np.float64, na_value=np.nan)
        return np.asarray(values, np.float64)
    cells = [None if _is_missing(cell, missing) else cell for cell in values]
    present = [cell for cell in cells if cell is not None]
    strange = next((cell for cell in present if hasattr(cell, "isoformat") or isinstance(cell, list | dict)), None)
    if strange is not None:
        raise DataError(
            f"column {name!r} holds {type(strange).__name__} such as {str(strange)[:50]!r}; turn it into a number or a "
            "name, or leave it out: drop"
        )
    # bool is a kind of int, but truth values are names.
    if present and all(isinstance(cell, int | float | np.number) and not isinstance(cell, bool) for cell in present):
        return np.array([np.nan if cell is None else float(cell) for cell in cells], np.float64)
    return [as_text(cell) for cell in cells]


def _is_missing(cell: Any, missing: frozenset[str]) -> bool:
    if cell is None or (isinstance(cell, str) and cell.strip() in missing):
        return True
    # By name: pandas need not be installed.
    if type(cell).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(cell, float | np.floating) and bool(np.isnan(cell))


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
