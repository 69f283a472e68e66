"""Write docs/complementary.md and its figure from the results of complementary.py, choose_start.py and paired_draws.py.

python benchmarks/complementary_page.py     (needs matplotlib: pip install -e '.[benchmarks]')
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from complementary import PLAN, PLATEAU, RIVALS, SEEDS, STEPS, jobs
from methods_page import DOCS, Row, spread, table
from paired_page import report

RESULTS = Path(__file__).parent / "results"
PAGE, FIGURE, NOTES = DOCS / "complementary.md", DOCS / "figures" / "complementary.png", DOCS / "complementary-notes.md"
SETS = {
    "fashion_mnist": "Fashion-MNIST",
    "mnist": "MNIST",
    "cifar10": "CIFAR-10 part",
    "penbased": "penbased (table)",
    "japanese_vowels": "JapaneseVowels (series)",
}
Stored = Mapping[str, Sequence[Row]]


def main() -> None:
    """Write the page; the figure only where matplotlib is."""
    stored = load()
    PAGE.write_text(page(stored), encoding="utf-8")
    draw(stored["complementary"])


def load() -> Stored:
    """Rows of every result file by its name."""
    names = ("complementary", "choose_start", "paired_draws")
    return {name: json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))["rows"] for name in names}


def page(stored: Stored) -> str:
    """The whole page."""
    rows = stored["complementary"]
    missing = len(list(jobs())) - len(rows)
    parts = [
        "# Do pretraining and self-training add up?",
        f"Made by `benchmarks/complementary.py`: test accuracy in % after {STEPS:,} steps, mean ± standard deviation "
        f"over {SEEDS} seeds, each with its own labels. Pretraining saw the unlabeled samples alone. "
        f"`{PLATEAU}`: the labels alone for {4 * STEPS:,} steps; `logistic`, `forest`: on raw input.",
        f"**{missing} of the runs are still missing.**" if missing else "",
        *(f"## {SETS[name]}, {labels} labels\n\n{matrix(rows, name, labels)}" for name, labels in PLAN),
        "## Gains",
        "In points over the supervised row without pretraining, paired by seed. *Pretraining*: the best start with "
        "labels alone; *self-training*: the best method without pretraining; *both*: the best of both. Best by these "
        "very figures, of 3, 4 and 12 candidates on the first two problems: differences inside the spread say nothing.",
        gains(rows),
        "The same, chosen as you would have to choose: for each seed the candidate that is best on its validation "
        "labels (half as many as there are labels to train on, so the choice is rough).",
        picks(rows),
        "![Gain of pretraining, of self-training and of both](figures/complementary.png)",
        "What each start adds to self-training, with nothing picked: the gain over the same method and seed without "
        "it, in points, over all methods but `supervised`.",
        added(rows),
        "The same draw by draw, which is what the notes below speak of:",
        by_draw(rows),
        "What was tried to choose the settings (`benchmarks/choose_start.py`: Fashion-MNIST, 40 labels, one other "
        "seed, accuracy in % on training samples outside the pile):",
        chosen(stored["choose_start"]),
        "## Ten paired draws",
        "LeJEPA before three of the methods, on ten draws of the labels (`benchmarks/paired_draws.py`; one version of "
        "the code, one machine): the gain over the same method and draw without it, in points, with its 95 % interval "
        "(t, over draws) and the two-sided p of Wilcoxon's signed ranks.",
        report(stored["paired_draws"]),
        NOTES.read_text(encoding="utf-8").strip() if NOTES.exists() else "",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def matrix(rows: Sequence[Row], dataset: str, labels: int) -> str:
    """Methods down, starts across."""
    starts, names = PLAN[dataset, labels]
    lines = []
    for name in (*names, PLATEAU, *RIVALS):
        cells = [list(scores(rows, dataset, labels, start, name).values()) for start in starts]
        lines.append([f"`{name}`", *map(spread, cells)])
    return table(["method", *starts], lines)


def scores(
    rows: Sequence[Row], dataset: str, labels: int, start: str, name: str, *, figure: str = "test_accuracy"
) -> dict[int, float]:
    """A figure in % by seed."""
    wanted = (dataset, labels, start, name)
    keys = ("dataset", "labels", "pretraining", "strategy")
    return {r["seed"]: 100 * r[figure] for r in rows if tuple(r[key] for key in keys) == wanted}


def gains(rows: Sequence[Row]) -> str:
    """One line a problem: the best of each kind, by mean."""
    lines = []
    for (dataset, labels), kinds in ((problem, best(rows, *problem)) for problem in PLAN):
        lines.append([f"{SETS[dataset]}, {labels}", *(f"{spread(v, sign=True)} (`{n}`)" for n, v in kinds.values())])
    return table(["problem", "pretraining", "self-training", "both"], lines)


def best(rows: Sequence[Row], dataset: str, labels: int) -> dict[str, tuple[str, list[float]]]:
    """For each kind of gain, the combination with the highest mean and its gains by seed."""
    floor = scores(rows, dataset, labels, "none", "supervised")
    found = {}
    for kind, pairs in candidates(dataset, labels).items():
        gained = {
            f"{start} + {name}": _over(scores(rows, dataset, labels, start, name), floor) for start, name in pairs
        }
        found[kind] = max(gained.items(), key=lambda option: statistics.mean(option[1] or [-100.0]))
    return found


def candidates(dataset: str, labels: int) -> dict[str, list[tuple[str, str]]]:
    """For each kind of gain, the starts and methods that can bring it."""
    starts, names = PLAN[dataset, labels]
    return {
        "pretraining": [(start, "supervised") for start in starts[1:]],
        "self-training": [("none", name) for name in names[1:]],
        "both": [(start, name) for start in starts[1:] for name in names[1:]],
    }


def picks(rows: Sequence[Row]) -> str:
    """One line a problem: gains of what validation picks."""
    lines = [
        [f"{SETS[dataset]}, {labels}", *(spread(v, sign=True) for v in picked(rows, dataset, labels).values())]
        for dataset, labels in PLAN
    ]
    return table(["problem", "pretraining", "self-training", "both"], lines)


def picked(rows: Sequence[Row], dataset: str, labels: int) -> dict[str, list[float]]:
    """For each kind of gain, by seed, that of the candidate with the best validation accuracy; the first of equals."""
    floor = scores(rows, dataset, labels, "none", "supervised")
    found = {}
    for kind, pairs in candidates(dataset, labels).items():
        held = [scores(rows, dataset, labels, *pair, figure="validation_accuracy") for pair in pairs]
        test = [scores(rows, dataset, labels, *pair) for pair in pairs]
        chosen = {}
        for seed in floor:
            _, i = max((h[seed], -i) for i, h in enumerate(held) if seed in h)
            chosen[seed] = test[-i][seed]
        found[kind] = _over(chosen, floor)
    return found


def added(rows: Sequence[Row]) -> str:
    """One line a problem and start: what it adds to the methods that self-train."""
    lines = []
    for (dataset, labels), (starts, _) in PLAN.items():
        for start in starts[1:]:
            found = over_none(rows, dataset, labels, start)
            gain = f"{statistics.mean(found):+.1f} ± {statistics.stdev(found):.1f}" if len(found) > 1 else ""
            above = f"{sum(one > 0 for one in found)} of {len(found)}"
            lines.append([f"{SETS[dataset]}, {labels}", f"`{start}`", gain, above])
    return table(["problem", "start", "added", "runs above those without"], lines)


def by_draw(rows: Sequence[Row]) -> str:
    """One line a problem, start and method: the gain over no start on each draw of the labels."""
    lines = []
    for (dataset, labels), (starts, names) in PLAN.items():
        for start, name in ((start, name) for start in starts[1:] for name in names):
            without = scores(rows, dataset, labels, "none", name)
            gained = _over(scores(rows, dataset, labels, start, name), without)
            lines.append([f"{SETS[dataset]}, {labels}", f"`{start}`", f"`{name}`", *(f"{g:+.1f}" for g in gained)])
    return table(["problem", "start", "method", *(f"draw {seed}" for seed in range(SEEDS))], lines)


def over_none(rows: Sequence[Row], dataset: str, labels: int, start: str) -> list[float]:
    """Gains of a start over none, for each method that self-trains and each seed."""
    found: list[float] = []
    for name in PLAN[dataset, labels][1][1:]:
        without = scores(rows, dataset, labels, "none", name)
        found += _over(scores(rows, dataset, labels, start, name), without)
    return found


def _over(found: Mapping[int, float], floor: Mapping[int, float]) -> list[float]:
    return [found[seed] - floor[seed] for seed in found if seed in floor]


def chosen(rows: Sequence[Row]) -> str:
    """One line a candidate."""
    head = ["start", "method", "factor on the encoder's learning rate", "held-out accuracy"]
    keys = ("pretraining", "strategy", "encoder_lr")
    return table(head, [[*(str(row[key]) for key in keys), f"{100 * row['accuracy']:.1f}"] for row in rows])


def draw(rows: Sequence[Row]) -> None:
    """Bars of the three gains, a group for each problem."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, axis = pyplot.subplots(figsize=(9, 3.8), layout="constrained")
    problems = list(PLAN)
    for i, kind in enumerate(("pretraining", "self-training", "both")):
        found = [best(rows, *problem)[kind][1] for problem in problems]
        places = [x + 0.27 * (i - 1) for x in range(len(problems))]
        heights = [statistics.mean(v) if v else 0.0 for v in found]
        bars = [statistics.stdev(v) if len(v) > 1 else 0.0 for v in found]
        axis.bar(places, heights, 0.25, yerr=bars, capsize=3, label=kind)
        for place, values in zip(places, found, strict=True):
            axis.scatter([place] * len(values), values, color="black", s=8, zorder=3)
    axis.axhline(0, color="black", linewidth=0.8)
    axis.set_xticks(range(len(problems)), [f"{SETS[name]}\n{labels} labels" for name, labels in problems], fontsize=8)
    axis.set(ylabel="gain over supervised, points")
    axis.legend(frameon=False, ncols=3, loc="upper right")
    FIGURE.parent.mkdir(exist_ok=True)
    figure.savefig(FIGURE, dpi=110)
    pyplot.close(figure)


if __name__ == "__main__":
    main()
