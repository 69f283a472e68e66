"""Series of unequal length three ways: padded with a mask, padded with zeros that count as numbers, cut short.

python benchmarks/unequal_series.py --data DIR [--result FILE] [--draws 3] [--write]

DIR holds JapaneseVowels_TRAIN.ts and JapaneseVowels_TEST.ts of the UCR/UEA archive (12 channels, 7 to 29 samples, nine
speakers; Kudo et al. 1999). Of the 270 training series 3 of each speaker keep their label; accuracy is that on the 370
of the test, which nothing is chosen by. ``supervised`` is the floor: the same network, views and steps on the labels
alone; ``logistic`` is logistic regression on mean and deviation of each channel over what is there. One thread a run;
rows that are there are not run again. ``--write`` puts the table between the markers of docs/your-data.md.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from selftrain import SelfTrainClassifier

WAYS = ("mask", "zeros", "cut")
METHODS = ("supervised", "freematch")
LABELS, STEPS = 3, 150
PAGE = Path(__file__).resolve().parents[1] / "docs" / "your-data.md"
MARKS = "<!-- unequal series -->", "<!-- end of unequal series -->"


def read(path: Path) -> tuple[list[Any], Any]:
    """Series (channels, length) and classes of a .ts file."""
    lines = path.read_text(encoding="utf-8").splitlines()
    rows = [line.split(":") for line in lines[lines.index("@data") + 1 :] if line]
    return [np.array([np.fromstring(one, sep=",") for one in row[:-1]]) for row in rows], np.array(
        [int(row[-1]) for row in rows]
    )


def as_given(rows: list[Any], way: str, length: int, shortest: int) -> Any:
    """Series in the form of a way."""
    if way == "mask":
        return rows
    if way == "cut":
        return np.stack([row[:, :shortest] for row in rows])
    return np.stack([np.pad(row, ((0, 0), (0, length - row.shape[1]))) for row in rows])


def one(data: Any, draw: int, method: str, way: str) -> float:
    """Test accuracy of a run."""
    x, y, x_test, y_test = data
    rng = np.random.default_rng(draw)
    hidden = np.full(len(y), -1)
    for name in np.unique(y):
        rows = rng.choice(np.flatnonzero(y == name), LABELS, replace=False)
        hidden[rows] = name
    if method == "logistic":
        flat = [np.array([[*row.mean(1), *row.std(1)] for row in rows]) for rows in (x, x_test)]
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
        return float(model.fit(flat[0][hidden >= 0], y[hidden >= 0]).score(flat[1], y_test))
    length, shortest = (pick(row.shape[1] for row in x + x_test) for pick in (max, min))
    given = [as_given(rows, way, length, shortest) for rows in (x, x_test)]
    classifier = SelfTrainClassifier(
        strategy=method, kind="series", steps=STEPS, baseline=False, random_state=draw, device="cpu"
    )
    return float(classifier.fit(given[0], hidden).score(given[1], y_test))


def main() -> None:
    """Run what is missing, and print or write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--result", type=Path, default=Path(__file__).parent / "results" / "unequal_series.json")
    parser.add_argument("--draws", type=int, default=3, help="3 labels a speaker, drawn anew")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    done = json.loads(options.result.read_text()) if options.result.exists() else []
    data = [*read(options.data / "JapaneseVowels_TRAIN.ts"), *read(options.data / "JapaneseVowels_TEST.ts")]
    wanted = [(d, m, w) for d in range(options.draws) for m in METHODS for w in WAYS]
    for draw, method, way in [*wanted, *((d, "logistic", "mask") for d in range(options.draws))]:
        if any((row["draw"], row["method"], row["way"]) == (draw, method, way) for row in done):
            continue
        start = time.process_time()
        accuracy = one(data, draw, method, way)
        seconds = round(time.process_time() - start, 1)
        done.append({"draw": draw, "method": method, "way": way, "accuracy": accuracy, "seconds": seconds})
        options.result.write_text(json.dumps(done, indent=0) + "\n")
        print(done[-1], flush=True)
    text = table(done)
    print(text)
    if options.write:
        page = PAGE.read_text(encoding="utf-8")
        head, rest = page.split(MARKS[0])
        PAGE.write_text(f"{head}{MARKS[0]}\n\n{text}\n\n{MARKS[1]}{rest.split(MARKS[1])[1]}", encoding="utf-8")


def table(done: list[dict[str, Any]]) -> str:
    """Means and standard deviations over the draws, in points, as Markdown."""
    names = {"mask": "padded, with a mask", "zeros": "padded with zeros, no mask", "cut": "cut to the shortest"}
    lines = ["| series | labels alone | FreeMatch |", "|---|---|---|"]
    for way, name in names.items():
        cells = [_cell([100 * r["accuracy"] for r in done if (r["method"], r["way"]) == (m, way)]) for m in METHODS]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    logistic = _cell([100 * row["accuracy"] for row in done if row["method"] == "logistic"])
    return "\n".join([*lines, f"| logistic regression on means and deviations | {logistic} | |"])


def _cell(values: list[float]) -> str:
    return f"{np.mean(values):.1f} ± {np.std(values, ddof=1) if len(values) > 1 else 0:.1f}" if values else ""


if __name__ == "__main__":
    main()
