"""A ledger as a table: its columns, and how they are read back and checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from selftrain.errors import DataError
from selftrain.storage.tables import StringColumn, TableChunk, read_blocks, read_notes

KINDS = {
    "id": "string",
    "label": "int32",
    "class": "string",
    "confidence": "float32",
    "margin": "float32",
    "accepted": "bool",
    "first_accepted_step": "int32",
    "flips": "int32",
    "seen": "int32",
    "agreement": "float32",
    "verdict": "string",
    "correction": "string",
}
COLUMNS = tuple(KINDS)
# what follows may be missing: few methods give an agreement, and only a review reads verdicts
_NEEDED = COLUMNS[: COLUMNS.index("agreement")]
# columns are int32: a larger number would wrap around without a word
_MOST = 2**31 - 1
_CLASSES = 1_000_000


def read_columns(
    path: str | Path, classes: Sequence[str] | None = None
) -> tuple[Sequence[str], dict[str, NDArray[Any]], list[str]]:
    """Read the file of a ledger.

    Args:
        path: The file; Parquet by its ending, else CSV.
        classes: Names of the classes; ``None``: those noted in the file, or those its rows have.

    Returns:
        Ids, the columns under the names of the ledger's tensors, and the names of the classes.

    Raises:
        DataError: a file that cannot be read, or a cell out of its range; names line and value.
        ImportError: for Parquet without pyarrow.
    """
    ids, names = StringColumn(), dict[int, str]()
    parts: dict[str, list[NDArray[Any]]] = {}
    for block in read_blocks(path, _NEEDED, ("agreement",)):
        ids.extend(block.cells["id"])
        parsed = _parsed(block)
        for name, values in parsed.items():
            parts.setdefault(name, []).append(values)
        names = _named(block, parsed["label"].tolist(), names, classes)
    # a file with a header alone has no block, and is an empty ledger
    parts = parts or {name: [values] for name, values in _parsed(_NOTHING).items()}
    # popped one by one: only one column is held as blocks and as a whole at a time
    columns = {name: np.concatenate(parts.pop(name)) for name in list(parts)}
    noted = read_notes(path) if classes is None else classes
    return ids, columns, _classes_of(names, path) if noted is None else list(noted)


def _parsed(block: TableChunk) -> dict[str, NDArray[Any]]:
    """The numbers of some rows of a file, under the names of the ledger's tensors."""
    whole = {"label": -1, "first_accepted_step": -1, "flips": 0, "seen": 0}
    found = {name: block.numbers(name, low, _MOST, whole=True).astype(np.int32) for name, low in whole.items()}
    found["first_accepted"] = found.pop("first_accepted_step")
    shares = {name: block.numbers(name, 0, 1).astype(np.float32) for name in ("confidence", "margin")}
    agreement = block.numbers("agreement", 0, 1, empty=-1).astype(np.float32)
    accepted = block.numbers("accepted", 0, 1, whole=True).astype(bool)
    return found | shares | {"agreement": agreement, "accepted": accepted}


def _named(
    block: TableChunk, numbers: Sequence[int], known: Mapping[int, str], classes: Sequence[str] | None
) -> dict[int, str]:
    """Names of the labels in the rows so far.

    Raises:
        DataError: where a label has two names, or another one than in ``classes``.
    """
    found = dict(known)
    # each pair once: a file has millions of rows and a handful of classes
    for number, name in dict.fromkeys(zip(numbers, block.cells["class"], strict=True)):
        if number < 0:
            given: str | None = ""
        elif classes:
            given = str(classes[number]) if number < len(classes) else None
        else:
            # the first row of a label names it for all others
            given = found.setdefault(number, name)
        if name != given:
            row = next(i for i in range(len(block)) if (numbers[i], block.cells["class"][i]) == (number, name))
            known_as = f"one of {len(classes or ())} classes" if given is None else f"called {given!r}"
            raise DataError(
                f"{block.location(row)}: label {number} with class {name!r} is not {known_as}; correct the cell"
            )
    return found


_NOTHING = TableChunk({name: [] for name in COLUMNS}, [], "")


def _classes_of(names: Mapping[int, str], path: str | Path) -> list[str]:
    # joints have cells as labels, and no classes: that is not one class named by its number
    if not any(names.values()):
        return []
    if max(names) >= _CLASSES:  # each number below would become a class
        raise DataError(
            f"{path}: label {max(names)} is called {names[max(names)]!r:.100}; at most {_CLASSES:,} classes"
        )
    return [names.get(number) or str(number) for number in range(max(names) + 1)]
