"""FreeMatch as published and with a floor of 0.95 under its threshold, where labels are few.

python benchmarks/few_labels.py

Gaussian classes in 32 dimensions, accuracy on the unlabeled rows of ``SelfTrainClassifier`` with the labels alone, with
FreeMatch as published and with the limits that ``strategy="auto"`` gives it where labels are few
(``selftrain.catalog.default_settings``); writes benchmarks/results/few_labels.json.
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jsonargparse import ArgumentParser

import selftrain as st
from selftrain.engine.loop import versions

RESULT = Path(__file__).parent / "results" / "few_labels.json"
# classes, rows and labels of each, steps, standard deviation inside a class
PROBLEMS = (
    (1000, 4, 2, 300, 0.5), (1000, 4, 2, 1000, 0.5), (200, 10, 3, 100, 0.6), (50, 10, 3, 30, 0.6),
    (10, 40, 4, 8, 0.8), (10, 40, 3, 20, 0.8), (10, 40, 3, 40, 0.8), (3, 100, 3, 6, 0.8),
    (100, 20, 2, 300, 0.9), (30, 30, 1, 300, 0.8), (30, 30, 2, 300, 1.0),
    (10, 40, 1, 300, 1.0), (10, 40, 2, 300, 1.0), (10, 40, 3, 300, 1.0), (3, 80, 1, 300, 1.2),
)  # fmt: skip
SETTINGS: dict[str, dict[str, Any]] = {
    "supervised": {"strategy": "supervised"},
    "freematch": {"strategy": "freematch"},
    "floor": {"strategy": "freematch", "strategy_params": {"limits": (0.95, 1.0)}},
}


def accuracy(problem: tuple[int, int, int, int, float], seed: int, **settings: Any) -> float:
    """On the unlabeled rows of one draw."""
    classes, rows, labels, steps, noise = problem
    draw = np.random.default_rng(seed)
    y = np.repeat(np.arange(classes), rows)
    x = draw.normal(size=(classes, 32))[y] + noise * draw.normal(size=(len(y), 32))
    given = np.where(np.arange(len(y)) % rows < labels, y, -1)
    model = st.SelfTrainClassifier(steps=steps, random_state=seed, **settings).fit(x, given)
    return float(model.score(x[given < 0], y[given < 0]))


def main() -> None:
    """Run all, print a line a problem, write the result."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2])
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    rows = []
    for problem in PROBLEMS:
        for seed in options.seeds:
            found = {name: accuracy(problem, seed, **settings) for name, settings in SETTINGS.items()}
            rows.append(
                dict(zip(("classes", "rows", "labels", "steps", "noise"), problem, strict=True))
                | {"seed": seed}
                | found
            )
            print(problem, seed, {name: round(value, 3) for name, value in found.items()}, flush=True)
    content = {"command": "python benchmarks/few_labels.py", "versions": versions(), "rows": rows}
    RESULT.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
