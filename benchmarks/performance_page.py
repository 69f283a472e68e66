"""The tables of docs/performance.md, out of what allocator.py and views_speed.py have stored.

python benchmarks/performance_page.py
"""

from __future__ import annotations

import json
import re
import statistics
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "performance.md"
RESULTS = ROOT / "benchmarks" / "results"
PEERS = ("pillow", "torchvision", "albumentations")


def views(rows: list[dict[str, Any]]) -> str:
    """A line a size: pairs a second, and how many times as long the others take."""
    lines = [
        "| size | batch | pairs a second | Pillow | torchvision v2 | albumentations |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for size in dict.fromkeys(row["size"] for row in rows):
        of = {row["library"]: row for row in rows if row["size"] == size}
        times = ["{1:.1f} ({0:.1f} to {2:.1f})".format(*of[name]["times_as_long"]) for name in PEERS]
        lines.append(
            f"| {size} | {of['selftrain']['batch']} | {of['selftrain']['pairs_a_second']:,.0f} | {' | '.join(times)} |"
        )
    return "\n".join(lines)


def allocator(rows: list[dict[str, Any]]) -> str:
    """A line a size: milliseconds of a step and memory with and without, and the ratio of neighbors in time."""
    lines = [
        "| FixMatch, side of the images | batch | without, ms a step | with | with / without | memory, MB |",
        "| ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for side, labeled in dict.fromkeys((row["side"], row["labeled"]) for row in rows):
        mine = [row for row in rows if (row["side"], row["labeled"]) == (side, labeled)]
        off, on = ([row for row in mine if row["huge_pages"] is pages] for pages in (False, True))
        ratios = [b["step_ms"] / a["step_ms"] for a, b in zip(off, on, strict=True)]
        steps = [statistics.median(row["step_ms"] for row in part) for part in (off, on)]
        memory = [statistics.median(row["memory_mb"] for row in part) for part in (off, on)]
        lines.append(
            f"| {side} | {labeled} + {7 * labeled} | {steps[0]:.0f} | {steps[1]:.0f} "
            f"| {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) "
            f"| {memory[0]:.0f} → {memory[1]:.0f} |"
        )
    return "\n".join(lines)


def page(text: str) -> str:
    """The page with its tables between their marks."""
    for name, table in (("views", views), ("allocator", allocator)):
        stored = {"views": "views_speed.json", "allocator": "allocator.json"}[name]
        rows = json.loads((RESULTS / stored).read_text(encoding="utf-8"))["rows"]
        text, found = re.subn(
            rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", rf"\1\n{table(rows)}\n\n\2", text, flags=re.DOTALL
        )
        assert found == 1, f"{PAGE} has no marks of {name}"
    return text


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
