"""The tables of docs/performance.md, out of what benchmarks and the count of kernels have stored.

python benchmarks/performance_page.py
"""

from __future__ import annotations

import json
import re
import statistics
from pathlib import Path
from typing import Any

import scaling

from selftrain import catalog

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


class Goals:
    """Lines of a table: what was aimed at, and what was measured."""

    def __init__(self) -> None:
        self.lines = ["| | goal | measured | met |", "| --- | ---: | ---: | :---: |"]

    def head(self, words: str) -> None:
        """What follows is about this."""
        self.lines.append(f"| **{words}** | | | |")

    def add(self, what: str, goal: float, value: float | None, *, least: bool = False, form: str = ".2f") -> None:
        """A goal; ``None``: nobody has measured it."""
        sign = "at least" if least else "at most"
        if value is None:
            self.lines.append(f"| {what} | {sign} {goal:{form}} | not measured | |")
            return
        met = value >= goal if least else value <= goal
        self.lines.append(f"| {what} | {sign} {goal:{form}} | {value:{form}} | {'yes' if met else 'no'} |")


def goals() -> str:
    """All goals, in the order of their subjects."""
    table = Goals()
    _ranks(table)
    _devices(table)
    _steps(table)
    _views(table)
    _growth(table)
    _start(table)
    _pretraining(table)
    _peers(table)
    return "\n".join(table.lines)


def _ranks(table: Goals) -> None:
    table.head("Several processes")
    content = json.loads((RESULTS / "scaling.json").read_text(encoding="utf-8"))
    said = {row["method"]: row for row in content["volumes"]}
    most = max(said, key=lambda name: said[name]["waits"])
    table.add("messages of a step beside gradients and BatchNorm, `fixmatch`", 3, said["fixmatch"]["waits"], form=".0f")
    table.add(f"the same, the method with most (`{most}`)", 3, said[most]["waits"], form=".0f")
    # as many samples as in scaling.py's plan
    beside = {name: (row["inputs"] + row["outputs"]) / 96_000 for name, row in said.items() if name in _CLASSES}
    most = max(beside, key=lambda name: beside[name])
    table.add("kB a sample beside gradients, `fixmatch`", 1.0, beside["fixmatch"])
    table.add(f"the same, the method for classes with most (`{most}`)", 1.0, beside[most])
    cpu = {(r["method"], r["processes"]): r["cpu"] for r in content["rows"]}
    for name in ("fixmatch", "fst_d", "mae"):
        table.add(f"processor time of one of two processes / of one alone, `{name}`", 0.6, cpu[name, 2] / cpu[name, 1])
    wide = "fixmatch, WRN-28-2"
    table.add("the same, `fixmatch`, WRN-28-2", 0.55, cpu[wide, 2] / cpu[wide, 1])
    for (count, goal), faster in zip(((16, 12.0), (64, 40.0)), _many(content["large"]), strict=True):
        table.add(f"times as fast with {count} GPUs, 224 px, modeled, 10 Gbit/s", goal, faster, least=True, form=".1f")


_CLASSES = [name for name in catalog.METHODS if name != "vat"]  # whose directions are pictures


def _many(counted: dict[str, float]) -> list[float]:
    """How many times as fast the model of scaling.py finds 16 and 64 processes with its slowest link."""
    cells = (
        scaling.tables({"rows": [], "volumes": [], "large": counted})["large table"]
        .splitlines()[2]
        .strip("| ")
        .split(" | ")
    )
    return [float(cells[2]), float(cells[4])]


def _devices(table: Goals) -> None:
    table.head("Ready for a GPU")
    found = json.loads(COUNTS.read_text(encoding="utf-8"))
    waits = {name: sum(row["waits"].values()) - row["waits"]["late"] for name, row in found["rows"].items()}
    table.add("calls of a step that wait for the device, the method with most", 0, max(waits.values()), form="d")
    kernels, made = found["rows"]["fixmatch"]["kernels"], found["compiled_views"]
    rest = kernels["step"] + kernels["late"] + kernels["after"]
    table.add("kernels of a FixMatch step, views compiled", 199, 2 * made["weak"] + made["strong"] + rest, form="d")
    table.add("kernels of a FixMatch step, nothing compiled", 199, kernels["views"] + rest, form="d")


def _steps(table: Goals) -> None:
    table.head("A step on the CPU")
    rows = {(r["strategy"], r["network"], r["batch"]): r for r in stored("step_overhead.json")}
    small, large, narrow = ("ConvNet 28 px", "16+112"), ("ConvNet 28 px", "64+448"), ("MLP 20-64-64-4", "16+112")
    for where, batch, goal, names in (
        (*small, 1.10, ("fixmatch", "mean_teacher", "freematch")),
        (*large, 1.05, ("fixmatch", "mean_teacher", "freematch")),
        ("WRN-28-2 32 px", "4+28", 1.10, ("fixmatch", "mean_teacher")),
        ("WRN-28-2 32 px", "16+112", 1.10, ("fixmatch", "mean_teacher")),
        ("ViT-tiny 32 px", "4+28", 1.10, ("fixmatch", "mean_teacher")),
        ("U-Net 90x120, masks", "8+8", 1.15, ("fixmatch",)),
    ):
        for name in names:
            if (name, where, batch) in rows:
                table.add(f"step / passes, `{name}`, {where}, {batch}", goal, rows[name, where, batch]["ratio_median"])
    ratio = rows[("supervised", *small)]["ratio_median"]
    table.add("step / passes, `supervised`, ConvNet: half of the overhead of 0.74", 1.37, ratio)
    tables = rows[("fixmatch", *narrow)]
    table.add(
        "ms of a step around its passes, `fixmatch`, MLP: half of 1.76", 0.88, tables["step_ms"] - tables["raw_ms"]
    )
    steps = {
        name: rows[(name, *small)]["step_ms"] for name in ("mean_teacher", "fst_d", "fst_w", "fixmatch", "ensemble")
    }
    table.add(
        "`fst_d` (3 looks ahead) / 4 steps of the mean teacher", 1.05, steps["fst_d"] / (4 * steps["mean_teacher"])
    )
    table.add("`fst_w` (3 futures) / 4 steps of the mean teacher", 1.05, steps["fst_w"] / (4 * steps["mean_teacher"]))
    table.add("`ensemble` (3 members) / 3 steps of FixMatch", 1.05, steps["ensemble"] / (3 * steps["fixmatch"]))


def _views(table: Goals) -> None:
    table.head("Views")
    speed = stored("views_speed.json")
    slowest = min(row["times_as_long"][1] for row in speed if row["library"] == "albumentations")
    table.add("views beside albumentations, slowest size", 1.5, slowest, least=True, form=".1f")
    for size in ("28x28x1", "32x32x3"):
        pillow = [r for r in speed if (r["size"], r["library"]) == (size, "pillow")]
        table.add(f"views beside Pillow, {size}", 10.0, pillow[0]["times_as_long"][1], least=True, form=".1f")


def _growth(table: Goals) -> None:
    table.head("Growth")
    found = stored("growth.json")
    slopes = {row["part"]: row["exponents"] for row in found if "exponents" in row}
    rows = {(row["part"], row["size"]): row for row in found if "size" in row}
    for part, figure, goal, words in (
        ("classes", "mib", 1.0, "memory of an evaluation by classes, exponent"),
        ("classes", "seconds", 1.0, "time of an evaluation by classes, exponent"),
        ("samples", "seconds", 1.0, "time of an evaluation by samples, exponent"),
        ("fixmatch classes", "mib", 1.0, "memory of a run of FixMatch by classes, exponent"),
        ("fixmatch classes", "seconds", 1.0, "time of a step of FixMatch by classes, exponent"),
        ("fixmatch rows", "seconds", 0.05, "time of a step of FixMatch by rows of the pile, exponent"),
    ):
        table.add(words, goal, slopes[part].get(figure))
    # what is labeled now and what is gathered for the next pass, 100 classes in four bytes each
    size, held = 100_000, 2 * 100_000 * 100 * 4 / 2**20
    bytes_stored = rows["soft_labels rows", size]["mib"] / held
    table.add(f"checkpoint of `soft_labels`, {size:,} rows / its labels of the pile", 1.05, bytes_stored)
    read = [rows[part, 4_000]["seconds"] for part in ("pictures again", "pictures")]
    table.add("a folder of 4,000 pictures is read again / for the first time", 0.5, read[0] / read[1])


def _start(table: Goals) -> None:
    table.head("From a cold process")
    rows = {row["part"]: row for row in stored("startup.json")}
    table.add("`selftrain train --help`, seconds", 3.0, rows["selftrain train --help"]["seconds"])
    table.add("first step of FixMatch on digits, seconds", 6.0, rows["first step of a digits run"]["seconds"])
    for settings in ("", "strategy='freematch', steps=100"):
        row = rows[f"SelfTrainClassifier({settings}), 200 rows"]
        what = "model that was tried" if row["models"] > 1 else "network"
        words = f"`SelfTrainClassifier({settings})` on 200 rows, seconds for each {what}"
        table.add(words, 0.3, row["seconds"] / row["models"])


def _pretraining(table: Goals) -> None:
    table.head("Pretraining beside lightly")
    rows = {r["method"]: r for r in stored("peers.json") if r["what"] == "pretraining" and r["side"] == "selftrain"}
    for name, same in (("I-JEPA", "the same network, batch and masks"), ("MAE", "the same network and batch")):
        taken = rows[name]["peer_takes"][1] if name in rows else None
        table.add(f"images a second beside lightly, {name}, {same}", 1.0, taken, least=True)
    if "I-JEPA" in rows:
        table.add(
            "tokens of the predictor a sample in that comparison, I-JEPA", 68.0, rows["I-JEPA"]["tokens"], form=".0f"
        )
        table.add("the same with selftrain's own masks", 68.0, rows["I-JEPA"]["own_tokens"], form=".0f")


def _peers(table: Goals) -> None:
    table.head("FixMatch beside semilearn")
    rows = stored("peers.json")
    for row in rows:
        if row["what"] == "step" and row["side"].startswith("selftrain"):
            own = "formats chosen automatically" if "auto" in row["side"] else "fp32"
            words = f"times as long as semilearn takes for a step, {row['network']}, {row['batch']}, {own}"
            table.add(words, 4.0, row["peer_takes"][1], least=True)
    found = accuracies(rows)
    if not found:
        table.add("% right at equal steps and labels, beside semilearn, points", 0.0, None, least=True)
        return
    shipped, alone = (statistics.mean(found["semilearn", which]) for which in ("average", "accuracy"))
    for side in ("selftrain", "selftrain, precision auto"):
        own = "formats chosen automatically" if "auto" in side else "fp32"
        words = f"% right at equal steps and labels, semilearn's average and what is shipped here, {own}"
        table.add(words, shipped, statistics.mean(found[side, "average"]), least=True, form=".1f")
        words = f"the same, students without their averages, {own}"
        table.add(words, alone, statistics.mean(found[side, "accuracy"]), least=True, form=".1f")


def accuracies(rows: list[dict[str, Any]]) -> dict[tuple[str, str], list[float]]:
    """Percent right of each seed, by side and by which weights: ``"accuracy"`` of the student, ``"average"``."""
    found: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        if row["what"] == "accuracy":
            for which in ("accuracy", "average"):
                found.setdefault((row["side"], which), []).append(100 * row[which])
    return found


def growth(rows: list[dict[str, Any]]) -> str:
    """A line a part: seconds and memory of its sizes, and how they grow."""
    lines = ["| | sizes | seconds | MiB | exponents |", "| --- | --- | --- | --- | --- |"]
    for part in dict.fromkeys(row["part"] for row in rows):
        own = [row for row in rows if row["part"] == part and "size" in row]
        slopes = next(row["exponents"] for row in rows if row["part"] == part and "exponents" in row)
        cells = [
            " / ".join(f"{row['size']:,}" for row in own),
            " / ".join(f"{row['seconds']:.3g}" for row in own),
            " / ".join(f"{row['mib']:,.0f}" for row in own),
            ", ".join(f"{value:.2f} ({name})" for name, value in slopes.items()),
        ]
        lines.append(f"| {_GROWS[part]} | {' | '.join(cells)} |")
    return "\n".join(lines)


_GROWS = {
    "classes": "evaluation of 1,000 samples, by classes",
    "samples": "evaluation of 100 classes, by samples",
    "fixmatch classes": "step of FixMatch on a table, by classes; memory of the run",
    "fixmatch rows": "the same by rows of the pile",
    "soft_labels rows": "five steps of `soft_labels`, an evaluation and a checkpoint, by rows; MiB of the checkpoint",
    "pictures": "a folder of JPEG files, by pictures",
    "pictures again": "the same folder in a second process",
}


def peers(rows: list[dict[str, Any]]) -> str:
    """A line for each comparison of steps: milliseconds, how many times as long the peer takes, memory."""
    lines = ["| | | ms a step | the peer takes | memory, MB |", "| --- | --- | ---: | ---: | ---: |"]
    for row in rows:
        if row["what"] in ("step", "pretraining"):
            low, middle, high = row["peer_takes"]
            times = "1" if low == high == 1 else f"{middle:.2f} ({low:.2f} to {high:.2f})"
            lines.append(f"| {row['name']} | {row['side']} | {row['step_ms']:.0f} | {times} | {row['memory_mb']:,} |")
    return "\n".join(lines)


def right(rows: list[dict[str, Any]]) -> str:
    """A line a side: accuracy of the student and of its average, the student beside semilearn's, and seeds."""
    found = accuracies(rows)
    lines = [
        "| | student | beside semilearn's | average of its weights | seeds |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for side in dict.fromkeys(side for side, _ in found):
        own, theirs = found[side, "accuracy"], found["semilearn", "accuracy"]
        paired = _mean([a - b for a, b in zip(own, theirs, strict=True)]) if side != "semilearn" else ""
        cells = [_mean(own), paired, _mean(found[side, "average"])]
        lines.append(f"| {side} | {' | '.join(cells)} | {len(found[side, 'accuracy'])} |")
    return "\n".join(lines)


def rows_beside(rows: list[dict[str, Any]]) -> str:
    """A line a side: accuracy and seconds on rows of numbers."""
    own = [row for row in rows if row["what"] == "rows"]
    lines = ["| | accuracy | seconds |", "| --- | ---: | ---: |"]
    for side in dict.fromkeys(row["side"] for row in own):
        mine = [row for row in own if row["side"] == side]
        seconds = statistics.median(row["seconds"] for row in mine)
        lines.append(f"| {side} | {_mean([100 * row['accuracy'] for row in mine])} | {seconds:.2f} |")
    return "\n".join(lines)


def _mean(values: list[float]) -> str:
    return f"{statistics.mean(values):.1f}" + (f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else "")


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
        "growth": growth(stored("growth.json")),
        "peers": peers(stored("peers.json")),
        "right": right(stored("peers.json")),
        "rows": rows_beside(stored("peers.json")),
    }
    for name, table in tables.items():
        text, found = re.subn(
            rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", rf"\1\n{table}\n\n\2", text, flags=re.DOTALL
        )
        assert found == 1, f"{PAGE} has no marks of {name}"
    return text


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
