"""Self-training on images with 100 labels (250 on CIFAR-10): each method against a strong supervised ConvNet.

python examples/images.py --dataset mnist|fashion_mnist|cifar10 [--data DIR] [--seeds 3] [--steps 1000] [--out DIR]
"""

from __future__ import annotations

import itertools
from functools import partial
from pathlib import Path

import torch
from common import STRATEGIES, TASK, Row, make_strategy, python, run_jobs, table, write_results
from jsonargparse import ArgumentParser

import selftrain as st
from selftrain import data, strategies

LABELS = {"mnist": 100, "fashion_mnist": 100, "cifar10": 250}
SHAPE = {"mnist": (28, 1), "fashion_mnist": (28, 1), "cifar10": (32, 3)}
WARMUP = {"soft_labels": 300}  # supervised steps before; they count


def make_network(dataset: str) -> torch.nn.Module:
    """Two conv blocks with a flat read-out, 0.4 million parameters on 28 x 28 images."""
    return st.Classifier(st.ConvEncoder(*SHAPE[dataset]), 10)


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
    strategy = make_strategy(name, make, len(pile.unlabeled_ids()), decay=0.99)
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
    settings = {"dataset": options.dataset, "labels": LABELS[options.dataset], "steps": options.steps}
    jobs = list(itertools.product(STRATEGIES, range(options.seeds)))
    rows = run_jobs(work, jobs, out, settings, processes=options.processes)
    path = write_results(rows, out, **settings)
    print(table(rows, ("dataset", "strategy")))
    print(f"\nAll rows: {path}. Watch the runs: {python()} -m tensorboard.main --logdir {out}")


if __name__ == "__main__":
    main()
