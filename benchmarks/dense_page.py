"""Write docs/dense.md from the results of dense.py.

python benchmarks/dense_page.py --write     (without it the page is printed)
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from dense import BY_NAME, CANDIDATES, CHOICE_STEPS, COMPARED, LONG, SEEDS, STEPS
from methods_page import DOCS, Row, spread, table

RESULTS = Path(__file__).parent / "results"
PAGE, NOTES = DOCS / "dense.md", DOCS / "dense-notes.md"
SETS = {
    "camvid": "CamVid, 80 x 60, 11 classes",
    "seg64_6": "seg64_6, 64 x 64, 6 classes",
    "kpt64": "kpt64, 64 x 64, 4 points",
    "openfield4": "openfield4, 128 x 96, 4 points",
}
Figures = Mapping[int, float]


def main() -> None:
    """Write or print the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    text = page(load("dense"), load("choose_dense"))
    if parser.parse_args().write:
        PAGE.write_text(text, encoding="utf-8")
    else:
        print(text)


def load(name: str) -> list[Row]:
    """Rows of a result file."""
    rows: list[Row] = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))["rows"]
    return rows


def page(rows: Sequence[Row], choices: Sequence[Row]) -> str:
    """The whole page."""
    masks, joints = ([r for r in rows if r["task"] == task] for task in ("segmentation", "keypoints"))
    parts = [
        "# Masks and joints, measured",
        "Made by `benchmarks/dense.py` and `benchmarks/dense_page.py --write`: figures of the test set in %, mean ± "
        f"standard deviation over {SEEDS} seeds (or as many as are named), each with its own labels. The floor, "
        "`supervised`, has the same network, views, steps, batches and averaged weights as every row of its set; *over "
        "the floor* is paired by seed, in points. What is not in a table was not run.",
        "## Masks",
        f"Mean IoU after {STEPS['camvid']:,} steps of 4 labeled and 4 unlabeled pictures, a U-Net of 290,000 weights "
        "at half of the resolution, mixed precision; crops, mirror images and changes of brightness, contrast and "
        "gamma. *Passes*: of one labeled batch, one that is learned from counts as three.",
        *(f"### {SETS[name]}, {labels} masks\n\n{segmentation(found)}" for name, labels, found in _sets(masks)),
        "Targets of the mean teacher and strong views were chosen on CamVid's validation set, with labels of a seed "
        f"that no table has, after {CHOICE_STEPS} steps, those of *long* rows after {LONG:,} (*all operations*: strong "
        "views of the whole list); UniMatch and FST-D have what is published:",
        candidates(choices),
        "## Joints",
        f"PCK: share of the points within 5 % of the picture's width; NME: mean distance in % of it. *By name* is "
        f"`st.fit(name, pile, steps={BY_NAME})` with nothing set.",
        *(f"### {SETS[name]}, {labels} labels\n\n{keypoints(found)}" for name, labels, found in _sets(joints)),
        NOTES.read_text(encoding="utf-8").strip() if NOTES.exists() else "",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def candidates(rows: Sequence[Row]) -> str:
    """Candidates down, lengths across."""
    found = {(r["candidate"], r["steps"]): f"{100 * r['validation']:.1f}" for r in rows}
    lines = [[name, *(found.get((name, steps), "") for steps in COMPARED)] for name in CANDIDATES]
    return table(["candidate", *(f"{steps:,} steps" for steps in COMPARED)], [line for line in lines if any(line[1:])])


def segmentation(rows: Sequence[Row]) -> str:
    """Methods down; a row without a start is compared with the floor, one with a start also with itself without."""
    lines = []
    for name, start, found in _methods(rows):
        method, _, form = name.partition(", ")
        floor = scores(rows, "supervised, long" if form == "long" else "supervised", "none")
        steps, passes = ({r[key] for r in rows if r["strategy"] == name} for key in ("steps", "passes"))
        without = scores(rows, method, "none") if start != "none" else {}
        lines.append(
            [f"`{name}`", start, f"{max(steps):,}", f"{max(passes):,}", percent(found)]
            + [over(found, floor), over(found, without)]
        )
    return table(["method", "start", "steps", "passes", "mIoU", "over the floor", "the start adds"], lines)


def keypoints(rows: Sequence[Row]) -> str:
    """Methods down, both figures across."""
    floor, lines = scores(rows, "supervised", "none"), []
    for name, start, found in _methods(rows):
        nme = scores(rows, name, start, figure="nme")
        gained = "" if name.endswith("by name") else over(found, floor)
        lines.append([f"`{name}`", percent(found), percent(nme), gained])
    return table(["method", "PCK", "NME", "PCK over the floor"], lines)


def scores(rows: Sequence[Row], name: str, start: str, *, figure: str = "score") -> dict[int, float]:
    """A figure in % by seed."""
    return {r["seed"]: 100 * r[figure] for r in rows if (r["strategy"], r["pretraining"]) == (name, start)}


def over(found: Figures, floor: Figures) -> str:
    """Mean and spread of the differences on the seeds that both have; nothing where they are the same rows."""
    gained = [found[seed] - floor[seed] for seed in found if seed in floor]
    return "" if found == floor else spread(gained, sign=True)


def percent(found: Figures) -> str:
    """Mean and spread, and of how many seeds if not all."""
    return spread([*found.values()])


def _methods(rows: Sequence[Row]) -> Iterator[tuple[str, str, dict[int, float]]]:
    for name, start in dict.fromkeys((r["strategy"], r["pretraining"]) for r in rows):
        yield name, start, scores(rows, name, start)


def _sets(rows: Sequence[Row]) -> Iterator[tuple[str, int, list[Row]]]:
    for name, labels in dict.fromkeys((r["dataset"], r["labels"]) for r in rows):
        yield name, labels, [r for r in rows if (r["dataset"], r["labels"]) == (name, labels)]


if __name__ == "__main__":
    main()
