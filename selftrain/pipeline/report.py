"""The report of a pipeline: rows as JSON, a table to read, and the logs of all stages on one axis of steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from selftrain.engine.run import Figures
from selftrain.errors import RunFolderError
from selftrain.handlers.metrics_log import METRICS, MetricsFile, read_row
from selftrain.pipeline.folder import REPORT, TABLE, folder_name
from selftrain.pipeline.state import Row
from selftrain.storage.atomic import write_json, write_text
from selftrain.storage.run_dir import versions
from selftrain.tensorboard.writer import TensorBoardWriter


def publish(folder: Path, rows: Sequence[Row], *, finished: bool) -> None:
    """Write the report, the table and the logs of all stages."""
    write_json(folder / REPORT, {"finished": finished, "stages": rows, "versions": versions()})
    write_text(folder / TABLE, table(rows))
    begin = 0 if (folder / METRICS).exists() else None  # all of it is written again
    log, shown = MetricsFile(folder, begin), TensorBoardWriter(folder, begin)
    with closing(shown):
        at = 0
        for row in rows:
            _repeat(folder / folder_name(row["number"], row["name"]) / METRICS, at, log, shown)
            at += row["steps"]
            log.scalars(_marks(row), at)
            shown.scalars(_marks(row), at)
        shown.text("report", f"```\n{table(rows)}```", at)


def _repeat(path: Path, at: int, log: MetricsFile, shown: TensorBoardWriter) -> None:
    """Log once more, ``at`` steps later, what a stage has logged."""
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        try:
            row = read_row(line)
        except ValueError as error:
            raise RunFolderError(f"{path} cannot be read: {error}; delete it, and the report is without it") from error
        # every stage counts from 0; on one axis they must lie one after another
        step = at + int(row.pop("step"))
        if "alarm" in row:
            log.alarm(row["alarm"], row["text"], step)
            shown.text(f"alarm/{row['alarm']}", row["text"], step)
        else:
            # JSON has no NaN: the log of a stage has null in its place.
            values = {name: math.nan if value is None else float(value) for name, value in row.items()}
            log.scalars(values, step)
            shown.scalars(values, step)


def _marks(row: Row) -> Figures:
    """What the report says of a stage, as figures at its end."""
    kind = "shipped" if "chosen" in row else "stage"
    marks: dict[str, Any] = {part: figure(row, part) for part in ("validation", "test") if row.get(part)}
    marks |= {name: row.get(name) for name in ("used", "pseudo_label_accuracy", "expected_accuracy")}
    return {f"{kind}/{name}": float(m) for name, m in marks.items() if m is not None and math.isfinite(m)}


def figure(row: Row, part: str) -> float:
    """The figure that judges a stage, on a part; below all others where there is none."""
    return float((row.get(part) or {}).get(row["monitor"], -math.inf))


_COLUMNS: dict[str, Callable[[Row], str]] = {
    "stage": lambda row: folder_name(row["number"], row["name"]),
    "method": lambda row: str(row["method"]),
    "weights": lambda row: f"{row['weights']:,}" if "weights" in row else "",
    "steps": lambda row: f"{row['steps']:,}" if row["steps"] else "",
    "seconds": lambda row: f"{row['seconds']:.1f}",
    "validation": lambda row: _shown(row, "validation"),
    "test": lambda row: _shown(row, "test"),
    "used": lambda row: _share(row.get("used")),
    "right": lambda row: _share(row.get("pseudo_label_accuracy")),
    "expected": lambda row: _share(row.get("expected_accuracy")),
}


def table(rows: Sequence[Row]) -> str:
    """Columns of equal width; ``right`` and ``expected``: pseudo-labels by truth and by validation."""
    cells = [list(_COLUMNS)] + [[show(row) for show in _COLUMNS.values()] for row in rows]
    widths = [max(len(cell) for cell in column) for column in zip(*cells, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in cells]
    return "".join(line.rstrip() + "\n" for line in lines)


def _shown(row: Row, part: str) -> str:
    share = _share(figure(row, part)) if row.get(part) else ""
    return f"{row['monitor']} {share}" if share else ""


def _share(value: float | None) -> str:
    return "" if value is None or not math.isfinite(value) else f"{value:.4f}"
