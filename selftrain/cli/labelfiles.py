"""What ``--labels`` takes: lists of labels by path, and pseudo-labels that a person reviewed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from selftrain.cli.stops import UsageError
from selftrain.errors import DataError
from selftrain.storage.tables import PARQUET, csv_rows


def sorted_labels(paths: Sequence[str]) -> tuple[list[str], list[str]]:
    """CSV files that list labels by path, and reviewed ledgers."""
    found: dict[bool, list[str]] = {True: [], False: []}
    for path in paths:
        if path.isdigit():
            raise UsageError(f"--labels {path} is no file; to use only {path} labels, say --data.labels {path}")
        found[_is_review(path)].append(path)
    return found[False], found[True]


def _is_review(path: str) -> bool:
    if Path(path).suffix.lower() in PARQUET:
        return True
    columns = next(csv_rows(Path(path)), (0, []))[1]
    if {"id", "verdict", "correction"} <= set(columns):
        return True
    if {"path", "label"} <= set(columns):
        return False
    raise DataError(f"{path} has the columns {', '.join(columns)}; labels need path and label, reviews id and verdict")
