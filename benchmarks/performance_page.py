"""The tables of docs/performance.md, out of what benchmarks and the count of kernels have stored.

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
COUNTS = ROOT / "tests" / "contract" / "counts.json"
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


def _range(row: dict[str, Any]) -> str:
    return f"{row['ratio_median']:.2f} ({row['ratio_min']:.2f} to {row['ratio_max']:.2f})"


def steps(rows: list[dict[str, Any]]) -> str:
    """A line a strategy: the step over its passes, for each network and batch that was measured."""
    places = list(dict.fromkeys((row["network"], row["batch"]) for row in rows))
    of = {(row["strategy"], row["network"], row["batch"]): row for row in rows}
    lines = [
        "| | " + " | ".join(f"{network}, {batch.replace('+', ' + ')}" for network, batch in places) + " |",
        "| --- |" + " ---: |" * len(places),
    ]
    for name in dict.fromkeys(row["strategy"] for row in rows):
        cells = [of.get((name, *place)) for place in places]
        lines.append(f"| `{name}` | " + " | ".join("" if cell is None else _range(cell) for cell in cells) + " |")
    return "\n".join(lines)


def counts(found: dict[str, Any]) -> str:
    """A line a method: kernels of each part of a step, and calls that wait."""
    lines = [
        "| | views | step | ledger and log | waits | late |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, row in found["rows"].items():
        kernels, waits = row["kernels"], row["waits"]
        inside = waits["views"] + waits["step"] + waits["after"]
        columns = (kernels["views"], kernels["step"] + kernels["late"], kernels["after"], inside, waits["late"])
        lines.append(f"| `{name}` | " + " | ".join(map(str, columns)) + " |")
    return "\n".join(lines)


def goals() -> str:
    """What was aimed at, and what was measured."""
    rows = {(r["strategy"], r["network"], r["batch"]): r for r in stored("step_overhead.json")}
    lines = ["| | goal | measured | met |", "| --- | ---: | ---: | :---: |"]

    def add(what: str, goal: float, value: float, *, least: bool = False, form: str = ".2f") -> None:
        met = value >= goal if least else value <= goal
        sign = "at least" if least else "at most"
        lines.append(f"| {what} | {sign} {goal:{form}} | {value:{form}} | {'yes' if met else 'no'} |")

    small, large = ("ConvNet 28 px", "16+112"), ("ConvNet 28 px", "64+448")
    for where, batch, goal, names in (
        (*small, 1.10, ("fixmatch", "mean_teacher", "freematch")),
        (*large, 1.05, ("fixmatch", "mean_teacher", "freematch")),
        ("WRN-28-2 32 px", "4+28", 1.10, ("fixmatch", "mean_teacher")),
        ("WRN-28-2 32 px", "16+112", 1.10, ("fixmatch", "mean_teacher")),
        ("ViT-tiny 32 px", "4+28", 1.10, ("fixmatch", "mean_teacher")),
    ):
        for name in names:
            if (name, where, batch) in rows:
                add(f"step / passes, `{name}`, {where}, {batch}", goal, rows[name, where, batch]["ratio_median"])
    one = rows[("mean_teacher", *small)]["step_ms"]
    add("`fst_d` (3 looks ahead) / 4 steps of the mean teacher", 1.05, rows[("fst_d", *small)]["step_ms"] / (4 * one))
    add("`fst_w` (3 futures) / 4 steps of the mean teacher", 1.05, rows[("fst_w", *small)]["step_ms"] / (4 * one))
    add(
        "step / passes, `supervised`, ConvNet: half of the overhead of 0.74",
        1.37,
        rows[("supervised", *small)]["ratio_median"],
    )
    speed = [row for row in stored("views_speed.json") if row["library"] == "albumentations"]
    add(
        "views beside albumentations, slowest size",
        1.5,
        min(r["times_as_long"][1] for r in speed),
        least=True,
        form=".1f",
    )
    for size in ("28x28x1", "32x32x3"):
        pillow = [r for r in stored("views_speed.json") if (r["size"], r["library"]) == (size, "pillow")]
        add(f"views beside Pillow, {size}", 10.0, pillow[0]["times_as_long"][1], least=True, form=".1f")
    ranks = {(r["method"], r["processes"]): r["cpu"] for r in stored("scaling.json")}
    for name in ("fixmatch", "fst_d", "mae"):
        add(f"processor time of one of two processes / of one alone, `{name}`", 0.6, ranks[name, 2] / ranks[name, 1])
    found = json.loads(COUNTS.read_text(encoding="utf-8"))
    waits = {name: sum(row["waits"].values()) - row["waits"]["late"] for name, row in found["rows"].items()}
    add("calls of a step that wait for the device, all but `label_propagation`", 0,
        max(n for name, n in waits.items() if name != "label_propagation"), form="d")  # fmt: skip
    kernels, made = found["rows"]["fixmatch"]["kernels"], found["compiled_views"]
    rest = kernels["step"] + kernels["late"] + kernels["after"]
    add("kernels of a FixMatch step, views compiled", 199, 2 * made["weak"] + made["strong"] + rest, form="d")
    add("kernels of a FixMatch step, nothing compiled", 199, kernels["views"] + rest, form="d")
    return "\n".join(lines)


def stored(name: str) -> Any:
    """The rows of a benchmark."""
    return json.loads((RESULTS / name).read_text(encoding="utf-8"))["rows"]


def page(text: str) -> str:
    """The page with its tables between their marks."""
    tables = {
        "goals": goals(),
        "steps": steps(stored("step_overhead.json")),
        "counts": counts(json.loads(COUNTS.read_text(encoding="utf-8"))),
        "views": views(stored("views_speed.json")),
        "allocator": allocator(stored("allocator.json")),
    }
    for name, table in tables.items():
        text, found = re.subn(
            rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", rf"\1\n{table}\n\n\2", text, flags=re.DOTALL
        )
        assert found == 1, f"{PAGE} has no marks of {name}"
    return text


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
