"""Self-training on images with 100 labels (250 on CIFAR-10): each method against a strong supervised ConvNet.

python examples/images.py --dataset mnist|fashion_mnist|cifar10 [--data DIR] [--seeds 3] [--steps 1000] [--out DIR]
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from common import Row, run_jobs, table, write_results
from jsonargparse import ArgumentParser

import selftrain as st
from selftrain import data, strategies
from selftrain.strategy import MakeLearner

STRATEGIES = ("supervised", "mean_teacher", "fixmatch", "fst_d", "soft_labels")
LABELS = {"mnist": 100, "fashion_mnist": 100, "cifar10": 250}
SHAPE = {"mnist": (28, 1), "fashion_mnist": (28, 1), "cifar10": (32, 3)}
WARMUP = {"soft_labels": 300}  # supervised steps before; they count
TASK = st.Classification(10)


def make_network(dataset: str) -> torch.nn.Module:
    """Two conv blocks with a flat read-out, 0.4 million parameters on 28 x 28 images."""
    return st.Classifier(st.ConvEncoder(*SHAPE[dataset]), 10)


def make_strategy(name: str, make: MakeLearner, unlabeled: int) -> st.Strategy:
    """Build a strategy by name."""
    sure: dict[str, Any] = {"select": st.select.above(0.95), "hard": True, "distance": "ce", "unlabeled_weight": 1}
    builders: dict[str, Callable[[], st.Strategy]] = {
        "supervised": lambda: strategies.Supervised(TASK, make, decay=0.99),
        "mean_teacher": lambda: strategies.MeanTeacher(TASK, make, decay=0.99),
        "fixmatch": lambda: strategies.FixMatch(TASK, make, decay=0.99),
        "fst_d": lambda: strategies.FutureSelfTraining(TASK, make, depth=3, decay=0.99, **sure),
        "soft_labels": lambda: strategies.SoftLabels(TASK, make, unlabeled=unlabeled, label_shape=(10,)),
    }
    return builders[name]()


def train(name: str, seed: int, out: Path, *, dataset: str, root: Path | None, steps: int) -> Row:
    """Train one strategy and test it."""
    pile = data.load(dataset, labels=LABELS[dataset], seed=seed, root=root)
    torch.manual_seed(seed)
    warmup, folder = min(WARMUP.get(name, 0), steps // 2), out / f"{name}-{seed}"
    plan = st.BatchPlan(labeled=16, unlabeled_ratio=84 / 16, seed=seed) if warmup else st.BatchPlan(32, 3, seed)
    stage = None
    if warmup:
        first = strategies.Supervised(TASK, st.learner(lambda: make_network(dataset), lr=2e-3), decay=0.99)
        stage = st.fit(first, pile, out=folder / "warmup", steps=warmup, plan=st.BatchPlan(32, 3, seed), overwrite=True)
    make = st.learner(lambda: make_network(dataset), lr=2e-3, init_from=stage)
    strategy = make_strategy(name, make, len(pile.unlabeled_ids()))
    run = st.fit(strategy, pile, out=folder, steps=steps - warmup, plan=plan, overwrite=True)
    return {
        "dataset": dataset,
        "strategy": name,
        "seed": seed,
        "test_accuracy": run.evaluate("test")["accuracy"],
        "used": run.train.get("train/used"),
        "pseudo_label_accuracy": run.ledger.summary().get("pseudo_label_accuracy"),
        "seconds": run.seconds + (stage.seconds if stage else 0),
        "source": pile.source,
    }


def main() -> None:
    """Read the command line, run everything, print the table."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", choices=sorted(LABELS), required=True)
    parser.add_argument("--data", type=Path, default=None, help="folder with the files; default: see the guide")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--out", type=Path, default=None)
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    out = options.out or Path("runs") / options.dataset
    work = partial(train, dataset=options.dataset, root=options.data, steps=options.steps)
    rows = run_jobs(work, list(itertools.product(STRATEGIES, range(options.seeds))), out, processes=options.processes)
    path = write_results(rows, out, dataset=options.dataset, labels=LABELS[options.dataset], steps=options.steps)
    print(table(rows, ("dataset", "strategy")))
    print(f"\nAll rows: {path}. Watch the runs: tensorboard --logdir {out}")


if __name__ == "__main__":
    main()
