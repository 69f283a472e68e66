"""What was tried and what it is worth, as files: a table for people, and records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from selftrain.storage.atomic import write_json, write_text
from selftrain.storage.run_dir import CANDIDATES, CANDIDATES_TABLE

_HEAD = ("candidate", "family", "hidden labels, %", "loss", "weight, %", "seconds", "reason")


def table(records: Sequence[Mapping[str, Any]]) -> str:
    """Records of a ``Portfolio`` as a Markdown table: accuracy on hidden labels with its standard error."""
    lines = ["| " + " | ".join(_HEAD) + " |", "| --- " * len(_HEAD) + "|"]
    for row in records:
        known = row["accuracy"] is not None
        figures = (
            f"{100 * row['accuracy']:.1f} ± {100 * row['standard_error']:.1f}" if known else "",
            f"{row['loss']:.3f}" if known else "",
            f"{100 * row['weight']:.0f}",
            f"{row['seconds']:.1f}",
        )
        lines.append(f"| {row['name']} | {row['family']} | " + " | ".join(figures) + f" | {row['reason']} |")
    return "\n".join(lines) + "\n"


def write_report(folder: Path, records: Sequence[Mapping[str, Any]]) -> None:
    """Write ``candidates.json`` and ``candidates.md``."""
    write_json(folder / CANDIDATES, {"candidates": list(records)})
    write_text(folder / CANDIDATES_TABLE, table(records))
