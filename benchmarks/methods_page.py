"""Write docs/methods.md and its figure from benchmarks/results/methods.json: every number there comes from here.

python benchmarks/methods_page.py     (needs matplotlib: pip install -e '.[benchmarks]')
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from methods import DECAY, FEW, PILE, RESULT, SEEDS, SETTINGS, STEPS, VARIANTS, WARMUP, WHY, jobs

from selftrain.catalog import PARTS

DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGE, FIGURE, NOTES = DOCS / "methods.md", DOCS / "figures" / "methods.png", DOCS / "methods-notes.md"
Row = dict[str, Any]
SETS = {"mnist": "MNIST", "fashion_mnist": "Fashion-MNIST", "cifar10": "CIFAR-10 part"}


def main() -> None:
    """Write the page; the figure only where matplotlib is."""
    rows = json.loads(RESULT.read_text(encoding="utf-8"))["rows"]
    PAGE.write_text(page(rows), encoding="utf-8")
    draw(rows)


def page(rows: Sequence[Row]) -> str:
    """The whole page."""
    missing = len(list(jobs())) - len(rows)
    parts = [
        "# Every method under one budget",
        f"Made by `benchmarks/methods.py` and `benchmarks/methods_page.py`. {STEPS:,} steps of 32 labeled and 64 "
        f"unlabeled samples (supervised: 32 labeled), {PILE:,} unlabeled samples, one ConvNet of 4.2 million "
        "multiply-adds an image of 28 x 28, AdamW at 2e-3 with a cosine; mean ± standard deviation over "
        f"{SEEDS} seeds, each with its own labels. "
        "*last*: weights of the last step; *best*: of the step that was best on 50 more labels (20 at 40 labels). "
        "*gain*: mean difference to the supervised row of the same seeds, in points of accuracy. *s*: median seconds.",
        f"**{missing} of the runs are still missing.**" if missing else "",
        "## 100 labels",
        overview(rows),
        "## Fewer and more labels",
        by_labels(rows),
        "![Accuracy against labels](figures/methods.png)",
        "## What looking ahead buys and costs",
        future(rows),
        "## Settings that are not the constructors' defaults",
        settings(),
        "What was tried to choose them (`benchmarks/choose.py`: Fashion-MNIST, 100 labels, one other seed, accuracy "
        "in % on training samples outside the pile):",
        chosen(json.loads((RESULT.parent / "choose.json").read_text(encoding="utf-8"))["rows"]),
        "## Around scikit-learn classifiers",
        "Made by `benchmarks/wrapper.py`: accuracy in % on the unlabeled samples, random forest of 200 trees inside, 5 "
        "splits; in brackets the published mean over 20 other splits (Feofanov et al., AAAI 2019, slides).",
        wrappers(json.loads((RESULT.parent / "wrapper.json").read_text(encoding="utf-8"))),
        NOTES.read_text(encoding="utf-8").strip() if NOTES.exists() else "",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def overview(rows: Sequence[Row]) -> str:
    """One line a method: accuracy, gain, share used, accuracy of the pseudo-labels, seconds, on both sets."""
    head = ["method"]
    for name in ("mnist", "fashion_mnist"):
        head += [f"{SETS[name]} last", "best", "gain", "used %", "label acc. %", "s"]
    names = list(dict.fromkeys(job.strategy for job in jobs() if job.labels == 100))
    lines = []
    for name in names:
        line = [f"`{name}`"]
        for dataset in ("mnist", "fashion_mnist"):
            line += _cells(rows, dataset, 100, name)
        lines.append(line)
    return table(head, lines)


def _cells(rows: Sequence[Row], dataset: str, labels: int, name: str) -> list[str]:
    found, floor = _of(rows, dataset, labels, name), _of(rows, dataset, labels, "supervised")
    gains = [
        100 * (row["test_accuracy"] - floor[seed]["test_accuracy"]) for seed, row in found.items() if seed in floor
    ]
    figures = list(found.values())
    return [
        spread([100 * row["test_accuracy"] for row in figures]),
        spread([100 * row["test_accuracy_best"] for row in figures]),
        spread(gains, sign=True),
        mean([100 * row["used"] for row in figures if row["used"] is not None]),
        mean([100 * row["pseudo_label_accuracy"] for row in figures if row["pseudo_label_accuracy"] is not None]),
        median([row["seconds"] for row in figures]),
    ]


def by_labels(rows: Sequence[Row]) -> str:
    """Accuracy of some methods at every number of labels."""
    columns = sorted({(job.dataset, job.labels) for job in jobs()}, key=lambda c: (list(SETS).index(c[0]), c[1]))
    head = ["method", *(f"{SETS[dataset]} {labels}" for dataset, labels in columns)]
    lines = []
    for name in (*FEW, "supervised_all"):
        cells = [list(_of(rows, dataset, labels, name).values()) for dataset, labels in columns]
        lines.append([f"`{name}`", *(spread([100 * row["test_accuracy"] for row in cell]) for cell in cells)])
    return table(head, lines)


def future(rows: Sequence[Row]) -> str:
    """FST and its variants beside mean teacher at equal steps and at equal passes, with the same targets."""
    order = [*(f"mean_teacher{kind}{times}" for kind in ("", "_hard") for times in ("", "_2x", "_4x"))]
    order += ["fst", "fst_d", "fst_w"]
    passes = {"fst": 2, "fst_d": 4, "fst_w": 4} | {name: factor for name, (_, factor, _) in VARIANTS.items()}
    lines = []
    for name in order:
        line = [f"`{name}`", str(passes.get(name, 1))]
        for dataset in ("mnist", "fashion_mnist"):
            found = list(_of(rows, dataset, 100, name).values())
            line += [spread([100 * row["test_accuracy"] for row in found]), median([row["seconds"] for row in found])]
        lines.append(line)
    return table(["method", "student passes, times", "MNIST", "s", "Fashion-MNIST", "s"], lines)


def settings() -> str:
    """What differs from the constructors' defaults, and why."""
    lines = [["all", f"`decay={DECAY['decay']}`", WHY["decay"]]]
    for name, chosen in SETTINGS.items():
        own = {key: value for key, value in chosen.items() if key not in DECAY or value != DECAY[key]}
        if own:
            lines.append([f"`{name}`", f"`{', '.join(f'{k}={_said(v)}' for k, v in own.items())}`", WHY.get(name, "")])
    lines += [
        [f"`{name}`", f"{steps} supervised steps first", "as in the paper; they count"]
        for name, steps in WARMUP.items()
    ]
    return table(["method", "setting", "why"], lines)


def chosen(rows: Sequence[Row]) -> str:
    """One line a candidate."""
    return table(["candidate", "held-out accuracy"], [[r["candidate"], f"{100 * r['accuracy']:.1f}"] for r in rows])


def wrappers(stored: dict[str, Any]) -> str:
    """One line a wrapper, one column a table set."""
    rows, columns = stored["rows"], list(dict.fromkeys((row["dataset"], row["labels"]) for row in stored["rows"]))
    published = {(row["dataset"], row["strategy"]): row["mean"] for row in stored["published"]}
    lines = []
    for name in dict.fromkeys(row["strategy"] for row in rows):
        line = [f"`{name}`"]
        for dataset, _ in columns:
            found = [100 * r["test_accuracy"] for r in rows if (r["dataset"], r["strategy"]) == (dataset, name)]
            known = published.get((dataset, name))
            text = f"{statistics.mean(found):.1f} ± {statistics.stdev(found):.1f}"
            line.append(text if known is None else f"{text} ({100 * known:.1f})")
        lines.append(line)
    return table(["method", *(f"{dataset}, {labels} labels" for dataset, labels in columns)], lines)


def _said(value: Any) -> str:
    """A setting as one would write it."""
    threshold = getattr(value, "threshold", None)
    if threshold is not None:
        return f"above({threshold})"
    name = next((name for name, make in PARTS["rampup"].items() if type(value) is make), None)
    return repr(value) if name is None else f"{name}({', '.join(map(str, vars(value).values()))})"


def _of(rows: Sequence[Row], dataset: str, labels: int, name: str) -> dict[int, Row]:
    """Rows of one cell by seed."""
    wanted = (dataset, labels, name)
    return {row["seed"]: row for row in rows if (row["dataset"], row["labels"], row["strategy"]) == wanted}


def spread(values: Sequence[float], *, sign: bool = False) -> str:
    """Mean ± standard deviation, and how many seeds if not all."""
    if not values:
        return ""
    text = f"{statistics.mean(values):{'+' if sign else ''}.1f}"
    text += f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return text if len(values) == SEEDS else f"{text} ({len(values)})"


def median(values: Sequence[float]) -> str:
    """Rounded median, or nothing."""
    return f"{statistics.median(values):.0f}" if values else ""


def mean(values: Sequence[float]) -> str:
    """Rounded mean, or nothing."""
    return f"{statistics.mean(values):.0f}" if values else ""


def table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def draw(rows: Sequence[Row]) -> None:
    """Accuracy against labels, one panel a data set."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    panels = [name for name in SETS if any(row["dataset"] == name for row in rows)]
    figure, axes = pyplot.subplots(
        1, len(panels), figsize=(4.2 * len(panels), 3.8), squeeze=False, layout="constrained"
    )
    for axis, dataset in zip(axes[0], panels, strict=True):
        _panel(axis, rows, dataset)
    handles, names = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=5, fontsize=8, frameon=False)
    FIGURE.parent.mkdir(exist_ok=True)
    figure.savefig(FIGURE, dpi=110)
    pyplot.close(figure)


def _panel(axis: Any, rows: Sequence[Row], dataset: str) -> None:
    marks = "osv^D<>Ph"
    counts = sorted({job.labels for job in jobs() if job.dataset == dataset})
    for i, (name, mark) in enumerate(zip(FEW, marks, strict=True)):
        points = [(n, [100 * r["test_accuracy"] for r in _of(rows, dataset, n, name).values()]) for n in counts]
        known = [(n * 1.02 ** (i - 4), values) for n, values in points if values]
        _line(axis, known, name, mark)
    best = [
        100 * row["test_accuracy"] for row in rows if (row["dataset"], row["strategy"]) == (dataset, "supervised_all")
    ]
    if best:
        axis.axhline(statistics.mean(best), color="gray", linestyle=":", label=None)
    axis.set(title=SETS[dataset], xscale="log", xlabel="labels", ylabel="test accuracy %")
    axis.set_xticks(counts, [str(n) for n in counts])
    axis.minorticks_off()


def _line(axis: Any, points: Sequence[Any], name: str, mark: str) -> None:
    spreads = [statistics.stdev(values) if len(values) > 1 else 0 for _, values in points]
    style = {"color": "black", "linewidth": 2} if name == "supervised" else {"linewidth": 1}
    xs, ys = [n for n, _ in points], [statistics.mean(values) for _, values in points]
    axis.errorbar(xs, ys, spreads, label=name, marker=mark, markersize=4, capsize=2, **style)


if __name__ == "__main__":
    main()
