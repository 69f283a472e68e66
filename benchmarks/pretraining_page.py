"""Write docs/pretraining.md from the stored results of benchmarks/pretraining.py and benchmarks/pretrain_speed.py.

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
Stored = Mapping[str, Sequence[Row]]


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(load()), encoding="utf-8")


def load() -> Stored:
    """Rows of both result files by their names."""
    names = ("pretraining", "pretrain_speed")
    return {name: json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))["rows"] for name in names}


def page(stored: Stored) -> str:
    """The whole page."""
    missing = len(pretraining.cases()) - len(stored["pretraining"])
    parts = [
        "# Pretraining, measured",
        "Whether it helps self-training: [together](complementary.md).",
        "## Each stage beside its rivals",
        "Made by `benchmarks/pretraining.py`: one run of each stage in its small configuration, on one CPU core; "
        "accuracy in % on test samples. *kNN*: nearest neighbors in frozen features, with all labels; *few*: logistic "
        f"regression on them, {pretraining.DRAWS} draws of as many labels a class as the second column says, mean ± "
        "standard deviation. *fresh*: the same encoder untrained. *scratch*, *tuned*: the whole network trained on "
        f"the same few labels ({pretraining.STEPS} steps), from a random start and from the stage with layer decay "
        f"{pretraining.LAYER_DECAY}; *scratch, all*: with the labels that the neighbors have "
        f"({pretraining.STEPS_ALL:,} steps). *s*: processor seconds of the stage.",
        f"**{missing} of the stages are still missing.**" if missing else "",
        encoders(stored["pretraining"]),
        "## What a step costs",
        "Made by `benchmarks/pretrain_speed.py`: images a second of a whole step (batches of 64, 28 x 28, one core), "
        "of the bare forward and backward passes of the encoder on what the stage shows it, and their ratio, measured "
        "in turns. What is left is the predictor, the target encoder, the loss and the optimizer.",
        speed(stored["pretrain_speed"]),
        NOTES.read_text(encoding="utf-8").strip() if NOTES.exists() else "",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def encoders(rows: Sequence[Row]) -> str:
    """One line a stage and data set."""
    head = ["stage", "data, labels", "kNN", "fresh", "raw", "PCA", "few", "fresh", "raw", "PCA"]
    head += ["tuned", "scratch", "scratch, all", "RankMe", "s"]
    return table(head, [_encoder(row) for row in rows])


def _encoder(row: Row) -> list[str]:
    by = {r["features"].partition("-")[0].partition(" of")[0]: r for r in row["rows"]}
    order = ("encoder", "random init", "raw input", "PCA")
    tuned, scratch = by["fine"], by["supervised from scratch"]
    return [
        f"`{row['stage']}`",
        f"{row['dataset']}, {row['labels']} / {row['per_class']} a class",
        *(_percent(by[name]["knn"]) for name in order),
        *(_percent(by[name]["logistic"], by[name]["logistic_sd"]) for name in order),
        *(_percent(r["few_accuracy"], r["few_accuracy_sd"]) for r in (tuned, scratch)),
        _percent(scratch["accuracy"]),
        f"{by['encoder']['rankme']:.0f}",
        f"{row['seconds']:.0f}",
    ]


def _percent(value: float, sd: float | None = None) -> str:
    return f"{100 * value:.1f}" + ("" if sd is None else f" ± {100 * sd:.1f}")


def speed(rows: Sequence[Row]) -> str:
    """One line a stage."""
    keys = ("images_per_second", "bare_images_per_second")
    lines = [[row["stage"], *(f"{row[key]:.0f}" for key in keys), f"{row['ratio']:.2f}"] for row in rows]
    return table(["stage", "images / s", "bare passes", "ratio"], lines)


if __name__ == "__main__":
    main()
