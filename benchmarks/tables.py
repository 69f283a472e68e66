"""Print the tables of README.md from the stored results, so that no number there is typed by hand.

python benchmarks/tables.py [--write]

The results are made by ``examples/quickstart.py``, ``examples/images.py`` and, here, ``floor.py``,
``complementary.py``, ``paired_draws.py``, ``first_result.py`` and ``first_screen.py`` (each file names its command);
those of the examples are copied here. ``--write`` puts the tables into README.md, between the marks
``<!-- NAME -->`` and ``<!-- /NAME -->``.
"""

from __future__ import annotations

import json
import re
import statistics
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
Row = dict[str, Any]


def main() -> None:
    """Print or write every table."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for name, table in tables().items():
        print(f"{name}\n\n{table}\n")
        text = replace(text, name, table)
    if "--write" in sys.argv:
        (ROOT / "README.md").write_text(text, encoding="utf-8")


def tables() -> dict[str, str]:
    """Markdown of each table by the name of its marks."""
    quick = load("quickstart.json")["rows"]
    images = load("images-mnist.json")["rows"] + load("images-fashion_mnist.json")["rows"]
    from first_page import Scores, summary  # which takes its marks from here
    from paired_page import report

    return {
        "first screen table": first_screen(load("first_screen.json")["rows"]),
        "first result table": summary(Scores(load("first_result.json")["rows"])),
        "quickstart table": matrix(quick, "strategy", "pretraining"),
        "images table": matrix(images, "strategy", "dataset"),
        "floor table": matrix(load("floor.json")["rows"], "steps", "dataset"),
        "complementary table": matrix(together(), "strategy", "data and start"),
        "paired draws table": report(load("paired_draws.json")["rows"]),
    }


def together() -> list[Row]:
    """Runs with few labels from no start and from LeJEPA, by data set and start."""
    problems, starts = ("fashion_mnist", "mnist"), {"none": "from scratch", "lejepa": "after LeJEPA"}
    rows = [r for r in load("complementary.json")["rows"] if r["dataset"] in problems and r["pretraining"] in starts]
    rows = [r for r in rows if r["steps"] == 1000]  # no rivals on raw input, none that trains longer
    return [r | {"data and start": f"{r['dataset']} {r['labels']}, {starts[r['pretraining']]}"} for r in rows]


def first_screen(rows: list[Row]) -> str:
    """The block of the first screen over the draws but that of its figure."""
    counted = [row for row in rows if row["draw"] >= 10]
    names = {
        "logistic regression on the pixels": "logistic",
        "labels alone, the same network and start": "labels_alone",
        "self-training": "self_training",
    }
    cells = [f"| {title} | {cell([row[key] for row in counted])} |" for title, key in names.items()]
    return "\n".join(["| 20 labels, five draws of them | test accuracy |", "| --- | --- |", *cells])


def load(name: str) -> dict[str, Any]:
    """One file of stored results."""
    content: dict[str, Any] = json.loads((ROOT / "benchmarks" / "results" / name).read_text(encoding="utf-8"))
    return content


def matrix(rows: list[Row], down: str, across: str) -> str:
    """Test accuracy in percent: mean and standard deviation over seeds, one column for each value of ``across``."""
    columns = list(dict.fromkeys(row[across] for row in rows))
    lines = [[f"{down}", *map(str, columns)], ["---"] * (1 + len(columns))]
    for name in dict.fromkeys(row[down] for row in rows):
        cells = [[r["test_accuracy"] for r in rows if r[down] == name and r[across] == column] for column in columns]
        lines.append([str(name), *map(cell, cells)])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def cell(scores: list[float]) -> str:
    """Mean and standard deviation in percent."""
    spread = f" ± {100 * statistics.stdev(scores):.1f}" if len(scores) > 1 else ""
    return f"{100 * statistics.mean(scores):.1f}{spread}"


def replace(text: str, name: str, table: str) -> str:
    """Put ``table`` between the marks of ``name``."""
    pattern = rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)"
    return re.sub(pattern, lambda m: f"{m[1]}\n{table}\n\n{m[2]}", text, flags=re.S)


if __name__ == "__main__":
    main()
