"""What ``--labels`` takes: lists of labels by path, and pseudo-labels that a person reviewed."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from selftrain.cli.stops import UsageError
from selftrain.errors import DataError


def sorted_labels(paths: Sequence[str]) -> tuple[list[str], list[str]]:
    """CSV files that list labels by path, and reviewed ledgers."""
    found: dict[bool, list[str]] = {True: [], False: []}
    for path in paths:
        if path.isdigit():
            raise UsageError(f"--labels {path} is no file; to use only {path} labels, say --data.labels {path}")
        found[_is_review(path)].append(path)
    return found[False], found[True]


def _is_review(path: str) -> bool:
    if Path(path).suffix.lower() in (".parquet", ".pq"):
        return True
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            columns = next(csv.reader(file), [])
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read the labels {path}: {error}") from error
    if {"id", "verdict", "correction"} <= set(columns):
        return True
    if {"path", "label"} <= set(columns):
        return False
    raise DataError(f"{path} has the columns {', '.join(columns)}; labels need path and label, reviews id and verdict")
