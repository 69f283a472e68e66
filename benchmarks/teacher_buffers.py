"""What a mean teacher loses when BatchNorm statistics are copied into it (docs/decisions/0011-teacher-buffers.md).

python benchmarks/teacher_buffers.py --data DIR

MNIST with 100 labels, 300 steps, 3 seeds, accuracy on 4,000 unlabeled training images (no test data: a default was
chosen by it), with the supervised floor; writes benchmarks/results/teacher_buffers.json.
"""

from __future__ import annotations

import json
import statistics
from pathlib import Path

import numpy as np
import torch
from jsonargparse import ArgumentParser

import selftrain as st
from selftrain import data, strategies
from selftrain.engine.loop import versions

RESULT = Path(__file__).parent / "results" / "teacher_buffers.json"
SEEDS = (100, 101, 102)


def train(row: str, seed: int, root: Path | None) -> dict[str, float]:
    """Accuracy of teacher and student."""
    pile = data.load("mnist", labels=100, seed=seed, root=root)
    shown = np.arange(4000)
    held = data.ArraySet(pile.unlabeled.images(shown), pile.unlabeled_truth()[shown])
    torch.manual_seed(seed)
    make = st.learner(lambda: st.Classifier(st.ConvEncoder(28), 10), lr=1e-3)
    task = st.Classification(10)
    strategy = {
        "supervised": lambda: strategies.Supervised(task, make, decay=0.99),
        "copy": lambda: strategies.MeanTeacher(task, make, decay=0.99, buffers="copy"),
        "ema": lambda: strategies.MeanTeacher(task, make, decay=0.99, buffers="ema"),
    }[row]()
    run = st.fit(strategy, pile, steps=300, plan=st.BatchPlan(32, 2, seed), evaluation=st.Evaluation(300))
    figures = run.evaluate(held, which="last")
    return {name: figures[f"accuracy/{name}"] for name in ("teacher", "student")}


def main() -> None:
    """Run all, print means and standard deviations in percent, write the result."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=None, help="folder with mnist70k.npz; default: see the guide")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = [
        {"row": row, "seed": seed} | train(row, seed, options.data)
        for row in ("supervised", "copy", "ema")
        for seed in SEEDS
    ]
    for row in ("supervised", "copy", "ema"):
        for name in ("teacher", "student"):
            scores = [100 * r[name] for r in rows if r["row"] == row]
            print(f"{row} {name} {statistics.mean(scores):.1f} ± {statistics.stdev(scores):.1f}")
    content = {"command": "python benchmarks/teacher_buffers.py --data DIR", "versions": versions(), "rows": rows}
    RESULT.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
