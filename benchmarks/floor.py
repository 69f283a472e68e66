"""Is the supervised floor of examples/images.py strong? The plain ConvNet that is often used, on the same labels.

python benchmarks/floor.py --data DIR

Trains conv 32 - conv 64 - linear 128 without BatchNorm (421,642 parameters, dropout 0.5, AdamW, 1e-3) on the labels,
views and test sets of examples/images.py, for 300 steps (the usual budget) and for 1,000 (that of the example), and
writes benchmarks/results/floor.json. The floor of the example must not be below it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from jsonargparse import ArgumentParser
from torch import nn

import selftrain as st
from selftrain import data, strategies
from selftrain.engine.loop import versions

RESULT = Path(__file__).parent / "results" / "floor.json"


def plain_network() -> nn.Module:
    """The plain ConvNet for 28 x 28 gray images."""
    blocks = [nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    blocks += [nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*blocks, nn.Flatten(), nn.Dropout(0.5), nn.Linear(3136, 128), nn.ReLU(), nn.Linear(128, 10))


def train(dataset: str, steps: int, seed: int, root: Path | None) -> dict[str, Any]:
    """Supervised training of the plain network; returns a row like those of the example."""
    pile = data.load(dataset, labels=100, seed=seed, root=root)
    torch.manual_seed(seed)
    strategy = strategies.Supervised(st.Classification(10), st.learner(plain_network, lr=1e-3), decay=None)
    run = st.fit(strategy, pile, steps=steps, plan=st.BatchPlan(32, 3, seed), evaluation=st.Evaluation(steps))
    return {
        "dataset": dataset,
        "steps": steps,
        "seed": seed,
        "test_accuracy": run.evaluate("test", which="last")["accuracy"],
    }


def main() -> None:
    """Run all and write the result."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=None, help="folder with mnist70k.npz; default: see the guide")
    options = parser.parse_args()
    torch.set_num_threads(1)
    roots = {"mnist": options.data, "fashion_mnist": None}
    jobs = [(d, steps, seed, root) for d, root in roots.items() for steps in (300, 1000) for seed in range(3)]
    rows = [train(*job) for job in jobs]
    content = {"command": "python benchmarks/floor.py --data DIR", "versions": versions(), "rows": rows}
    RESULT.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    for row in rows:
        print(row)


if __name__ == "__main__":
    main()
