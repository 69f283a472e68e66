"""What the passes of a step change: VAT's noise, and how FixMatch makes its labels.

python benchmarks/passes.py

Digits (8 x 8) with 40 labels, 200 steps, 3 seeds, a ConvNet with BatchNorm and dropout 0.25, accuracy of the shipped
weights on the unlabeled training images; writes benchmarks/results/passes.json.

For VAT also: the divergence of the attacked prediction from the clean one, and what of it is there with a step of 0:
the difference between two dropout masks. For FixMatch also: the share of decisions, and of masks at its threshold, in
which a training pass differs from an evaluation pass of the same weights.
"""

from __future__ import annotations

import copy
import json
import statistics
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

import selftrain as st
from selftrain import data, strategies
from selftrain.engine.loop import versions
from selftrain.strategy.base import SupervisedStrategy
from selftrain.tasks import Classification
from selftrain.types import Batch, Clock

RESULT = Path(__file__).parent / "results" / "passes.json"
SEEDS, STEPS = (0, 1, 2), 200
PLAN = st.BatchPlan(labeled=32, unlabeled_ratio=2.0)
VAT = {"eps": 2.0, "decay": 0.99}
ROWS: Mapping[str, tuple[type[SupervisedStrategy], Mapping[str, Any]]] = {
    "supervised": (strategies.Supervised, {"decay": 0.99}),
    "vat, the paper's passes": (strategies.VAT, VAT),
    "vat, labeled samples not attacked": (strategies.VAT, VAT | {"on_labeled": False}),
    "vat, fresh noise, labeled samples not attacked": (strategies.VAT, VAT | {"noise": "fresh", "on_labeled": False}),
    **{
        f"fixmatch, label_mode {mode}": (strategies.FixMatch, {"decay": 0.99, "label_mode": mode})
        for mode in ("eval", "batch", "frozen", "train")
    },
}


def network() -> torch.nn.Module:
    """A small ConvNet with dropout before its head."""
    encoder = st.ConvEncoder(size=8, embed_dim=32)
    return torch.nn.Sequential(encoder, torch.nn.Dropout(0.25), torch.nn.Linear(32, 10))


def train(row: str, seed: int) -> dict[str, float]:
    """Accuracy on the unlabeled rows, and what the passes of the trained student do."""
    pile = data.load("digits", labels=40, seed=seed)
    torch.manual_seed(seed)
    cls, settings = ROWS[row]
    make: Callable[..., SupervisedStrategy] = cls
    strategy = make(Classification(10), st.learner(network, lr=2e-3), **settings)
    plan = st.BatchPlan(PLAN.labeled, PLAN.unlabeled_ratio, seed)
    run = st.fit(strategy, pile, steps=STEPS, plan=plan, evaluation=st.Evaluation(STEPS))
    truth = data.ArraySet(pile.unlabeled.images(range(len(pile.unlabeled))), pile.unlabeled_truth())
    stream = pile.stream(strategy.needs(), plan, torch.device("cpu"))
    batch = next(iter(stream.epoch(0, 0)))[0]
    strategy.train()
    more = {}
    if isinstance(strategy, strategies.VAT):
        more = _divergences(strategy, batch)
    elif isinstance(strategy, strategies.FixMatch):
        more = _differences(strategy, batch)
    return {"accuracy": run.evaluate(truth, which="last")["accuracy"]} | more


def _divergences(strategy: strategies.VAT, batch: Batch) -> dict[str, float]:
    """Divergence of unlabeled samples at the step's length and at 0, each with fresh masks."""
    found = []
    for noise, eps in (("fresh", strategy.eps), ("fresh", 1e-30), ("same", 1e-30)):
        trial = copy.deepcopy(strategy)
        trial.noise, trial.eps, trial.on_labeled = noise, eps, False
        torch.manual_seed(0)  # the clean pass draws the same masks in all three
        found.append(float(trial.step(batch, Clock(0, 0, STEPS)).scalars["loss/unsupervised"]))
    # the loss is a cross-entropy: the last, of equal predictions, is their entropy
    return {"divergence": found[0] - found[2], "divergence_of_no_step": found[1] - found[2]}


def _differences(strategy: strategies.FixMatch, batch: Batch) -> dict[str, float]:
    """How often a training pass decides, or lets pass, otherwise than an evaluation pass."""
    x = batch.unlabeled["weak"].x
    quiet, loud = (strategy.task.probs(strategy.student.label(x, mode)) for mode in ("eval", "frozen"))
    masks = [value.amax(1) >= 0.95 for value in (quiet, loud)]
    return {
        "decisions": float((quiet.argmax(1) != loud.argmax(1)).double().mean()),
        "masks": float((masks[0] != masks[1]).double().mean()),
    }


def main() -> None:
    """Run all, print means, write the result."""
    torch.set_num_threads(1)
    rows = [{"row": row, "seed": seed} | train(row, seed) for row in ROWS for seed in SEEDS]
    for name in ROWS:
        mine = [row for row in rows if row["row"] == name]
        means = {key: statistics.mean(row[key] for row in mine) for key in mine[0] if key not in ("row", "seed")}
        print(name, {key: round(value, 4) for key, value in means.items()}, flush=True)
    content = {"command": "python benchmarks/passes.py", "versions": versions(), "rows": rows}
    RESULT.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
