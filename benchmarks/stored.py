"""Rows of a benchmark in a file: finished ones are found there, new ones are stored as they come."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from selftrain.engine.loop import versions

Row = dict[str, Any]


def read(path: Path) -> list[Row]:
    """Rows of a result file, none if there is no file; ends the program if they are of other versions."""
    if not path.exists():
        return []
    content = json.loads(path.read_text(encoding="utf-8"))
    if content["rows"] and content["versions"] != versions():
        raise SystemExit(
            f"{path} is of {content['versions']}, this is {versions()}: install those versions, or set --result"
        )
    rows: list[Row] = content["rows"]
    return rows


def store(path: Path, rows: Sequence[Row], place: Callable[[Row], int], command: str) -> None:
    """Write all rows in the order of their places, whole or not at all."""
    machine = f"{os.cpu_count()} CPU cores, {platform.machine()}, one thread a run"
    content = {"command": command, "machine": machine, "versions": versions(), "rows": sorted(rows, key=place)}
    part = path.with_suffix(".part")
    part.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    os.replace(part, path)
