"""Tables as files: CSV that a spreadsheet may open, and Parquet. Written whole or not at all, read block by block."""

from __future__ import annotations

import csv
import json
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selftrain.errors import DataError
from selftrain.storage.atomic import whole_file
from selftrain.storage.untrusted import from_json

Column = Sequence[str] | NDArray[Any]
Numbers = NDArray[np.float64]
_ROWS = 50_000  # of a block
_FORMULA = frozenset("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")  # a spreadsheet may run text that begins with one of these
_NOTES = b"selftrain"
PARQUET = (".parquet", ".pq")  # endings; any other file is CSV


@dataclass(frozen=True)
class TableChunk:
    """Some rows of a table that was read: the text of each cell by column, and where each row came from."""

    cells: Mapping[str, list[str]]
    places: Sequence[int]
    source: str

    def __len__(self) -> int:
        return len(self.places)

    def location(self, row: int) -> str:
        """File and line of a row of this chunk, for messages."""
        return f"{self.source} {self.places[row]}"

    def numbers(
        self, name: str, low: float, high: float, *, whole: bool = False, empty: float | None = None
    ) -> Numbers:
        """A column as numbers.

        Args:
            name: The column.
            low: Smallest number that may occur.
            high: Largest one.
            whole: Whether fractions are refused.
            empty: What an empty cell stands for; ``None``: it is refused.

        Raises:
            DataError: a cell that is no such number; names file, line and value.
        """
        values = _numbers(self.cells[name], empty)
        # not inside rather than outside: NaN, which is in no comparison, must be wrong
        wrong = ~((values >= low) & (values <= high))
        if empty is not None:
            wrong &= values != empty
        if whole:
            wrong |= values != np.floor(values)
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            kind = "a whole number" if whole else "a number"
            value = self.cells[name][row]
            raise DataError(
                f"{self.location(row)}: {name} is {value!r}, not {kind} from {low:g} to {high:g}; correct it"
            )
        return values


class StringColumn(Sequence[str]):
    """Many short texts in little memory: their bytes one behind another, and where each ends."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._ends = array("q", [0])

    def extend(self, texts: Sequence[str]) -> None:
        """Add texts at the end."""
        # one object a text would take 60 bytes each beside its letters: gigabytes for ten million rows
        coded = [text.encode("utf-8", "surrogatepass") for text in texts]
        ends = np.cumsum([len(c) for c in coded], dtype=np.int64) + len(self._bytes)
        self._bytes += b"".join(coded)
        self._ends.frombytes(ends.tobytes())

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        row = range(len(self))[index]
        return self._bytes[self._ends[row] : self._ends[row + 1]].decode("utf-8", "surrogatepass")


def write_csv(path: str | Path, columns: Iterable[str], blocks: Iterable[Mapping[str, Column]]) -> Path:
    """Write a table as CSV in UTF-8.

    Text that a spreadsheet would run as a formula is prefixed by an apostrophe; ``read_blocks`` takes it away. Floats
    have as many digits as it takes to read them back equal; NaN is an empty cell, truth values are 0 and 1.
    """
    errors = "surrogatepass"  # names of files may hold bytes that are no text; they come back as they were
    with whole_file(path, create=True) as part, part.open("w", newline="", encoding="utf-8", errors=errors) as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        # block by block: a ledger may be larger than the memory that a copy as text would take
        for block in blocks:
            writer.writerows(zip(*map(_cells, block.values()), strict=True))
    return Path(path)


def write_parquet(
    path: str | Path, kinds: Mapping[str, str], blocks: Iterable[Mapping[str, Column]], notes: object = None
) -> Path:
    """Write a table as Parquet, text as it is; NaN is null.

    Args:
        path: The file.
        kinds: Type of each column: ``"string"``, ``"int32"``, ``"float32"`` or ``"bool"``.
        blocks: The rows.
        notes: Anything JSON can say; ``read_notes`` reads it.

    Raises:
        ImportError: without pyarrow.
        DataError: text that is not valid Unicode, such as the name of a file in another encoding.
    """
    arrow, parquet = arrow_module("writing Parquet"), arrow_module("writing Parquet", "pyarrow.parquet")
    schema = arrow.schema([(name, arrow.type_for_alias(kind)) for name, kind in kinds.items()])
    # names of classes without a row would be lost: no row says them
    schema = schema.with_metadata({_NOTES: json.dumps(notes).encode()})
    with whole_file(path, create=True) as part, parquet.ParquetWriter(part, schema) as writer:
        for block in blocks:
            try:
                # `from_pandas` makes NaN a null, which other readers take for missing
                columns = [arrow.array(block[field.name], field.type, from_pandas=True) for field in schema]
            except UnicodeEncodeError as error:
                wrong = error.object
                raise DataError(f"{wrong!r} is no valid text, which Parquet needs; write CSV instead") from error
            writer.write_table(arrow.Table.from_arrays(columns, schema=schema))
    return Path(path)


def read_blocks(path: str | Path, needed: Sequence[str], optional: Sequence[str] = ()) -> Iterator[TableChunk]:
    """Read a table block by block, a Parquet file by its ending and else a CSV file.

    CSV as people's tools write it: commas, semicolons or tabs, with or without a byte order mark, empty cells at the
    end of a line left out, empty lines.

    Args:
        path: The file.
        needed: Columns that must be there.
        optional: Columns that are empty where they are missing.

    Raises:
        DataError: a file that is missing, empty, damaged or lacks a column; the message names it.
        ImportError: for Parquet without pyarrow.
    """
    path = Path(path)
    yield from (_parquet_blocks if path.suffix.lower() in PARQUET else _csv_blocks)(path, needed, optional)


def csv_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Rows of a CSV file, the header first, each with the line it ends on; empty lines are passed over.

    Raises:
        DataError: a file that cannot be read.
    """
    try:
        # surrogates stand for bytes of a file's name that are no text; a spreadsheet begins with a byte order mark
        mark = separator(path)
        with open(path, newline="", encoding="utf-8-sig", errors="surrogatepass") as file:
            # strict: else a quote that is never closed takes the rest of the file into one cell, without a word
            rows = csv.reader(file, delimiter=mark, strict=True)
            yield from ((rows.line_num, row) for row in rows if row)
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not in UTF-8 ({error.reason}); save it as CSV in UTF-8") from error
    except FileNotFoundError as error:
        raise DataError(f"there is no file {path}; correct the path") from error
    except (OSError, csv.Error) as error:
        raise DataError(f"cannot read {path}: {error}; repair the file or write it anew") from error


def separator(path: Path) -> str:
    """What stands between the cells of a CSV file: the comma, semicolon, tab or bar that its first line has most of.

    Spreadsheets take a semicolon where the comma is the decimal sign. Of a ``.tsv`` file it is the tab.
    """
    with open(path, encoding="utf-8-sig", errors="surrogatepass") as file:
        head = next((line for line in file if line.strip()), "")
    return "\t" if path.suffix.lower() == ".tsv" else max(",;\t|", key=head.count)


def read_notes(path: str | Path) -> Any:
    """What was noted in a Parquet file that ``write_parquet`` wrote; ``None`` in any other file."""
    if Path(path).suffix.lower() not in PARQUET:
        return None
    metadata = arrow_module("reading Parquet", "pyarrow.parquet").read_schema(path).metadata or {}
    try:
        return from_json(metadata.get(_NOTES, b"null"))
    except ValueError as error:
        raise DataError(f"the notes in {path} cannot be read: {error}; write it anew") from error


def disarmed(text: str) -> str:
    """Text that a spreadsheet will not run as a formula; ``armed`` undoes it exactly."""
    # text that already begins with apostrophes gets one more, so that taking one away is always right
    return f"'{text}" if text.lstrip("'")[:1] in _FORMULA else text


def armed(text: str) -> str:
    """The text as it was before ``disarmed``."""
    return text[1:] if text.startswith("'") and text.lstrip("'")[:1] in _FORMULA else text


def _cells(column: Column) -> list[str]:
    if not isinstance(column, np.ndarray):
        return [disarmed(text) for text in column]
    if column.dtype == bool:
        column = column.astype(np.int8)
    texts: list[str] = column.astype(str).tolist()  # the shortest text that reads back as the same number
    return ["" if text == "nan" else text for text in texts] if column.dtype.kind == "f" else texts


def _numbers(cells: Sequence[str], empty: float | None) -> Numbers:
    try:
        return np.array(list(map(float, cells)), dtype=np.float64)
    except ValueError:
        return np.array([_number(cell.strip(), empty) for cell in cells], dtype=np.float64)


def _number(cell: str, empty: float | None) -> float:
    """NaN, which lies in no range, for what is no number."""
    if not cell and empty is not None:
        return empty
    try:
        return float(cell)
    except ValueError:
        return {"true": 1.0, "false": 0.0}.get(cell.lower(), float("nan"))


def _csv_blocks(path: Path, needed: Sequence[str], optional: Sequence[str]) -> Iterator[TableChunk]:
    rows = csv_rows(path)
    header = [name.strip() for name in next(rows, (0, []))[1]]
    places = _places(path, header, needed, optional)
    while chunk := _csv_chunk(path, rows, len(header), places):
        yield chunk


def _csv_chunk(
    path: Path, rows: Iterator[tuple[int, list[str]]], width: int, places: Mapping[str, int | None]
) -> TableChunk:
    """The next rows, none at the end of the file."""
    cells: dict[str, list[str]] = {name: [] for name in places}
    lines: list[int] = []
    for line, row in rows:
        # empty cells beyond the header are what spreadsheets leave; text there is a delimiter without quotes
        if any(row[width:]):
            raise DataError(
                f"{path}, line {line}: {len(row)} cells under {width} columns; put text that holds the delimiter in "
                "quotes"
            )
        if not any(row):
            continue
        for name, place in places.items():
            # tools leave out empty cells at the end of a line
            cells[name].append("" if place is None or place >= len(row) else armed(row[place]))
        lines.append(line)
        if len(lines) == _ROWS:
            break
    return TableChunk(cells, lines, f"{path}, line")


def _places(path: Path, header: Sequence[str], needed: Sequence[str], optional: Sequence[str]) -> dict[str, int | None]:
    if not header:
        raise DataError(f"{path} is empty; it needs the columns {', '.join(needed)}")
    missing = [name for name in needed if name not in header]
    if missing:
        found = ", ".join(header)[:200]
        raise DataError(f"{path} has no column {', '.join(missing)}, only {found}; export it as CSV in UTF-8")
    double = [name for name in (*needed, *optional) if header.count(name) > 1]
    if double:
        raise DataError(f"{path} has the column {double[0]} twice; remove one")
    return {name: header.index(name) if name in header else None for name in (*needed, *optional)}


def _parquet_blocks(path: Path, needed: Sequence[str], optional: Sequence[str]) -> Iterator[TableChunk]:
    arrow, parquet = arrow_module("reading Parquet"), arrow_module("reading Parquet", "pyarrow.parquet")
    try:
        with parquet.ParquetFile(path) as file:
            places = _places(path, file.schema_arrow.names, needed, optional)
            rows, size = file.metadata.num_rows, path.stat().st_size
            if rows > 8 * size:  # each row has an id of its own, and nothing tells two rows apart in less than a bit
                raise DataError(f"{path} has {rows:,} rows in {size:,} bytes, which cannot all differ; write it anew")
            yield from _batches(path, file, places)
    except arrow.ArrowInvalid as error:
        raise DataError(f"{path} is no whole Parquet file: {error}; write it anew") from error
    except OSError as error:
        raise DataError(f"cannot read {path}: {error}; repair the file or write it anew") from error


def _batches(path: Path, file: Any, places: Mapping[str, int | None]) -> Iterator[TableChunk]:
    known, start = [name for name, place in places.items() if place is not None], 1
    for batch in file.iter_batches(_ROWS, columns=known):
        cells = {name: [_text(value) for value in batch.column(name).to_pylist()] for name in known}
        absent = {name: [""] * len(batch) for name in places if name not in cells}
        yield TableChunk(cells | absent, range(start, start + len(batch)), f"{path}, row")
        start += len(batch)


def _text(value: object) -> str:
    return "" if value is None or value != value else str(value)


def arrow_module(purpose: str, name: str = "pyarrow") -> Any:
    """A module of pyarrow, which only Parquet needs.

    Raises:
        ImportError: without pyarrow, with the remedy.
    """
    try:
        return import_module(name)
    except ImportError as error:
        remedy = "install it with: pip install 'selftrain[table]', or use CSV"
        raise ImportError(f"{purpose} needs pyarrow; {remedy}") from error
