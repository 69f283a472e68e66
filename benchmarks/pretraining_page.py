"""Write docs/pretraining.md from the stored results of pretraining.py, place_share.py and pretrain_speed.py.

python benchmarks/pretraining_page.py
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pretraining
from methods_page import DOCS, Row, table

RESULTS = Path(__file__).parent / "results"
PAGE, NOTES = DOCS / "pretraining.md", DOCS / "pretraining-notes.md"
FROZEN = ("encoder", "random init", "raw input", "PCA")
Stored = Mapping[str, Sequence[Row]]


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(load()), encoding="utf-8")


def load() -> Stored:
    """Rows of the result files by their names."""
    names = ("pretraining", "place_share", "pretrain_speed")
    return {name: json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))["rows"] for name in names}


def page(stored: Stored) -> str:
    """The whole page."""
    rows = stored["pretraining"]
    missing = len(pretraining.cases()) - len(rows)
    draws = f"{pretraining.DRAWS} draws of as many labels a class as the table says, mean ± standard deviation"
    parts = [
        "# Pretraining, measured",
        "Does a stage put something into an encoder that raw input and a random start have not? Whether it helps "
        "self-training: [together](complementary.md).",
        "Made by `benchmarks/pretraining.py`: one run of each stage in its small configuration, on one CPU core, on "
        "unlabeled training samples alone; accuracy in % on test samples. *Fresh*: the same encoder untrained. The "
        "training parts of OSULeaf, ItalyPowerDemand and JapaneseVowels have 67 to 270 series: there the stage learns "
        "from the inputs of the test part too, without their labels.",
        f"**{missing} of the stages are still missing.**" if missing else "",
        "## Frozen features, few labels",
        f"Logistic regression: {draws}, the same draws for all.",
        few(rows),
        "## Frozen features, all labels",
        "Nearest neighbors, with all labels that there are; RankMe is the effective rank of the stage's features, "
        "*s* the processor seconds of the stage.",
        neighbors(rows),
        "## The whole network",
        f"On the few labels above for {pretraining.STEPS} steps, from a random start and from the stage (layer decay "
        f"{pretraining.LAYER_DECAY}); and from a random start on all labels, {pretraining.STEPS_ALL:,} steps.",
        whole(rows),
        "## What the place alone tells",
        "A stage that predicts the tokens of a slow copy of its encoder is told the place of each. *Told*: the share "
        "in % of the variance of these targets that the place explains before the first step, on other samples than "
        "it was fitted on (`benchmarks/place_share.py`). Beside it: how many points the stage is above the untrained "
        "encoder.",
        places(stored["place_share"], rows),
        "## What a step costs",
        "Made by `benchmarks/pretrain_speed.py`: images a second of a whole step (batches of 64, 28 x 28, one core), "
        "of the bare forward and backward passes of the encoder on what the stage shows it, and their ratio, measured "
        "in turns. What is left is the predictor, the target encoder, the loss and the optimizer.",
        speed(stored["pretrain_speed"]),
        NOTES.read_text(encoding="utf-8").strip() if NOTES.exists() else "",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def few(rows: Sequence[Row]) -> str:
    """Logistic regression on few labels, one line a stage and data set."""
    head = ["stage", "data", "labels a class", "encoder", "fresh", "raw", "PCA", "above both"]
    return table(head, [_few(row) for row in rows])


def _few(row: Row) -> list[str]:
    by = _parts(row)
    cells = [_percent(by[name]["logistic"], by[name]["logistic_sd"]) for name in FROZEN]
    return [*_name(row), str(row["per_class"]), *cells, _verdict(row, "logistic")]


def neighbors(rows: Sequence[Row]) -> str:
    """Nearest neighbors with all labels, one line a stage and data set."""
    head = ["stage", "data", "labels", "encoder", "fresh", "raw", "PCA", "above both", "RankMe", "s"]
    return table(head, [_neighbors(row) for row in rows])


def _neighbors(row: Row) -> list[str]:
    by = _parts(row)
    cells = [_percent(by[name]["knn"]) for name in FROZEN]
    rank, seconds = f"{by['encoder']['rankme']:.0f}", f"{row['seconds']:.0f}"
    return [*_name(row), f"{row['labels']:,}", *cells, _verdict(row, "knn"), rank, seconds]


def whole(rows: Sequence[Row]) -> str:
    """The network trained as a whole, one line a stage and data set."""
    return table(["stage", "data", "from the stage", "from scratch", "from scratch, all labels"], map(_whole, rows))


def _whole(row: Row) -> list[str]:
    by = _parts(row)
    both = (by["fine"], by["supervised from scratch"])
    return [
        *_name(row),
        *(_percent(part["few_accuracy"], part["few_accuracy_sd"]) for part in both),
        _percent(both[1]["accuracy"]),
    ]


def places(shares: Sequence[Row], rows: Sequence[Row]) -> str:
    """What places tell of latent targets, and what became of the stage, from little to much."""
    stages = {row["case"]: row for row in rows}
    rising = sorted(shares, key=lambda share: float(share["share"]))
    head = ["stage", "data", "told", "few labels", "neighbors"]
    return table(head, [[*_name(stages[r["case"]]), _percent(r["share"]), *_gains(stages[r["case"]])] for r in rising])


def _gains(row: Row) -> list[str]:
    by = _parts(row)
    return [f"{100 * (by['encoder'][probe] - by['random init'][probe]):+.1f}" for probe in ("logistic", "knn")]


def lost(row: Row) -> bool:
    """Whether neither probe puts the stage above both raw input and the untrained encoder."""
    return all(_verdict(row, probe) == "no" for probe in ("knn", "logistic"))


def _verdict(row: Row, probe: str) -> str:
    by = _parts(row)
    return "yes" if by["encoder"][probe] > max(by["random init"][probe], by["raw input"][probe]) else "no"


def _parts(row: Row) -> dict[str, Row]:
    """The measured features of a stage by the first words of their names."""
    return {part["features"].partition("-")[0].partition(" of")[0]: part for part in row["rows"]}


def _name(row: Row) -> tuple[str, str]:
    return f"`{row['stage']}`", row["dataset"]


def _percent(value: float, sd: float | None = None) -> str:
    return f"{100 * value:.1f}" + ("" if sd is None else f" ± {100 * sd:.1f}")


def speed(rows: Sequence[Row]) -> str:
    """One line a stage."""
    keys = ("images_per_second", "bare_images_per_second")
    lines = [[row["stage"], *(f"{row[key]:.0f}" for key in keys), f"{row['ratio']:.2f}"] for row in rows]
    return table(["stage", "images / s", "bare passes", "ratio"], lines)


if __name__ == "__main__":
    main()
