"""Pretrain, self-train, watch, export: the whole path on scikit-learn's digits with 2 labels a class.

python examples/quickstart.py [--fast] [--out DIR]

Trains supervised, mean teacher, FixMatch, FST-D and soft labels from scratch and from two pretrained encoders, 3 seeds
each, and prints one table. About 4 minutes on 2 cores (--fast: 1 seed and fewer steps, about a minute).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from common import STRATEGIES, Row, make_strategy, python, run_jobs, table, write_results
from jsonargparse import ArgumentParser

import selftrain as st
from selftrain import data, pretrain

STARTS = ("none", "mae", "ijepa")
FAST = {"seeds": 1, "steps": 150, "epochs": 10}
FULL = {"seeds": 3, "steps": 400, "epochs": 30}


def make_encoder() -> torch.nn.Module:
    """The same network for every row."""
    return st.ConvEncoder(size=8, widths=(32, 64), embed_dim=64)


def stage(start: str, seed: int, out: Path, settings: dict[str, int]) -> Row:
    """Pretrain an encoder on the images alone."""
    pile = data.load("digits", labels=20, seed=seed)
    torch.manual_seed(seed)
    encoder = make_encoder()
    methods: dict[str, Callable[[], st.Strategy]] = {
        "mae": lambda: pretrain.MAE(encoder, mask_ratio=0.5, normalize=False),
        "ijepa": lambda: pretrain.IJEPA(encoder),
    }
    plan = st.BatchPlan(labeled=16, unlabeled_ratio=4, seed=seed)
    watch = st.Evaluation(monitor={"test": pile.test})  # for the log only: nothing is chosen by it
    folder = out / f"{start}-{seed}"
    run = st.fit(
        methods[start](), pile, out=folder, epochs=settings["epochs"], plan=plan, evaluation=watch, overwrite=True
    )
    return {"seconds": run.seconds}


def train(start: str, name: str, seed: int, out: Path, settings: dict[str, int]) -> Row:
    """Train one strategy from one start and test it."""
    pile = data.load("digits", labels=20, seed=seed)
    torch.manual_seed(seed)
    init = None if start == "none" else out / f"{start}-{seed}"
    make = st.learner(lambda: st.Classifier(make_encoder(), 10), lr=2e-3, init_from=init)
    strategy = make_strategy(name, make, len(pile.unlabeled_ids()), decay=0.98)
    plan = st.BatchPlan(labeled=20, unlabeled_ratio=5, seed=seed)
    folder = out / f"{start}-{name}-{seed}"
    watch = st.Evaluation(monitor={"test": pile.test})
    run = st.fit(strategy, pile, out=folder, steps=settings["steps"], plan=plan, evaluation=watch, overwrite=True)
    return {
        "pretraining": start,
        "strategy": name,
        "seed": seed,
        "test_accuracy": run.evaluate("test")["accuracy"],
        "used": run.train.get("train/used"),
        "pseudo_label_accuracy": run.ledger.summary().get("pseudo_label_accuracy"),
        "seconds": run.seconds,
    }


def main() -> None:
    """Read the command line, run everything, print the table and what to do next."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--fast", action="store_true", help="one seed and fewer steps")
    parser.add_argument("--out", type=Path, default=None, help="folder for logs and results")
    options = parser.parse_args()
    settings = FAST if options.fast else FULL
    out = options.out or Path("runs/quickstart-fast" if options.fast else "runs/quickstart")
    seeds = range(settings["seeds"])
    run_jobs(partial(stage, settings=settings), list(itertools.product(STARTS[1:], seeds)), out, settings)
    rows = run_jobs(
        partial(train, settings=settings), list(itertools.product(STARTS, STRATEGIES, seeds)), out, settings
    )
    path = write_results(rows, out, settings=settings)
    print(table(rows, ("pretraining", "strategy")))
    if options.fast:
        print(f"\n{settings['steps']} steps and one seed show that everything runs; they do not rank the methods.")
    best = max(rows, key=lambda row: row["test_accuracy"])
    folder = out / f"{best['pretraining']}-{best['strategy']}-{best['seed']}"
    print(f"\nAll rows: {path}. Next:")
    print(f"  {python()} -m tensorboard.main --logdir {out}")
    print(f"  column -s, -t {folder / 'pseudo_labels.csv'} | less")
    print(f"  {python()} examples/images.py --dataset fashion_mnist")


if __name__ == "__main__":
    main()
