"""How the settings of benchmarks/methods.py were chosen: on other labels, and on samples that are in no pile.

python benchmarks/choose.py [--only WORD ...]

Fashion-MNIST, 100 labels of seed 100, 1,000 steps, accuracy on 5,000 training samples outside the pile. Test data are
never read. Results are kept in benchmarks/results/choose.json; what is there is not run again.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from methods import DECAY, METHODS, SETTINGS, STEPS, TASK, VALIDATION, WARMUP, Job, make_network, make_pile, warm_up

import selftrain as st
from selftrain import data
from selftrain.catalog import build
from selftrain.data.base.samples import Subset
from selftrain.engine.loop import versions
from selftrain.mix import Mixup

RESULT = Path(__file__).parent / "results" / "choose.json"
SEED, LABELS, DATASET = 100, 100, "fashion_mnist"
_RAMP = {"rampup": st.ramp_linear(0.4)}


def _mixmatch(weight: float, *, per_sample: bool = False, **settings: Any) -> dict[str, Any]:
    mix = Mixup(0.75, biased=True, per_sample=per_sample)
    return _RAMP | {"unlabeled_weight": weight, "mix": mix} | settings


CANDIDATES: dict[str, tuple[str, dict[str, Any]]] = {  # name -> method, settings beside those of the benchmark
    "supervised": ("supervised", {}),
    "mean_teacher": ("mean_teacher", {}),
    "fixmatch": ("fixmatch", {}),
    "freematch": ("freematch", {}),
    "softmatch": ("softmatch", {}),
    "adamatch": ("adamatch", {}),
    "jointmatch": ("jointmatch", {}),
    "soft_labels": ("soft_labels", {}),
    "temporal_ensembling": ("temporal_ensembling", {}),
    "cps, ramp-up": ("cps", _RAMP),
    "mixmatch, labels in evaluation mode, 20, one share a batch": ("mixmatch", _mixmatch(20.0, label_mode="eval")),
    "mixmatch, labels in evaluation mode, 75, one share a batch": ("mixmatch", _mixmatch(75.0, label_mode="eval")),
    "mixmatch, 20, one share a batch": ("mixmatch", _mixmatch(20.0)),
    "mixmatch, 75, one share a batch": ("mixmatch", _mixmatch(75.0)),
    "mixmatch, 5, a share for each pair": ("mixmatch", _mixmatch(5.0, per_sample=True)),
    "mixmatch, 20, a share for each pair": ("mixmatch", _mixmatch(20.0, per_sample=True)),
    "mixmatch, 75, a share for each pair": ("mixmatch", _mixmatch(75.0, per_sample=True)),
    "pseudo_label, everything": ("pseudo_label", {"select": st.select.everything()}),
    "pseudo_label, above 0.95": ("pseudo_label", {}),
    "mean_teacher, decay 0.999": ("mean_teacher", {"decay": 0.999}),
    "reviewer": ("reviewer", {}),
    "freematch, thresholds at 0.999": ("freematch", {"threshold_decay": 0.999}),
    "softmatch, thresholds at 0.999": ("softmatch", {"threshold_decay": 0.999}),
    "adamatch, alignment at 0.999": ("adamatch", {"align_decay": 0.999}),
    "fst_d, soft targets": ("fst_d", {"distance": "mse", "hard": False, "unlabeled_weight": 10.0, "select": None}),
    "fst_d, confident decisions": ("fst_d", {}),
    "ensemble, majority, soft": ("ensemble", {"quorum": 0.6, "hard": False, "select": None}),
    "ensemble, all agree, above 0.95": ("ensemble", {}),
    "vat, eps 1": ("vat", {"eps": 1.0}),
    "vat, eps 2": ("vat", {"eps": 2.0}),
    "vat, eps 2, weight 1": ("vat", {"eps": 2.0, "unlabeled_weight": 1.0}),
}


def train(name: str) -> dict[str, Any]:
    """Train one candidate and measure it outside the pile."""
    method, more = CANDIDATES[name]
    pile = make_pile(DATASET, LABELS, SEED, None)
    torch.manual_seed(SEED)
    warmup = WARMUP.get(method, 0)
    stage = warm_up(Job(DATASET, LABELS, method, SEED), pile, warmup) if warmup else None
    plan = st.BatchPlan(16, 5, SEED) if warmup else st.BatchPlan(32, 2, SEED)
    make = st.learner(lambda: make_network(DATASET, METHODS[method].outputs), lr=2e-3, init_from=stage)
    settings = DECAY | SETTINGS[method] | more
    strategy = build(method, TASK, make, unlabeled=len(pile.unlabeled_ids()), label_shape=(10,), **settings)
    run = st.fit(strategy, pile, steps=STEPS - warmup, plan=plan)
    return {
        "candidate": name,
        "accuracy": run.evaluate(outside(pile), which="last")["accuracy"],
        "seconds": round(run.seconds, 1),
    }


def outside(pile: data.Pile, labels: int = LABELS) -> Subset:
    """5,000 training samples that are neither labeled nor in the pile, with their classes."""
    validation = min(VALIDATION, labels // 2)
    whole = data.load(DATASET, labels=labels + validation, validation=validation, seed=SEED)
    truth = whole.unlabeled_truth()
    assert isinstance(pile.unlabeled, Subset)
    assert whole.unlabeled is not None
    assert truth is not None
    rest = np.setdiff1d(np.arange(len(whole.unlabeled)), pile.unlabeled.rows)
    rows = np.random.default_rng(1).permutation(rest)[:5000]
    samples = Subset(whole.unlabeled, rows, annotated=False)
    samples.annotations = truth[torch.from_numpy(rows)]
    return samples


def main() -> None:
    """Run what is missing and store it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", default=[], help="run only candidates whose name holds one of these words")
    words = parser.parse_args().only
    torch.set_num_threads(1)
    rows = json.loads(RESULT.read_text())["rows"] if RESULT.exists() else []
    for name in CANDIDATES:
        if name in {row["candidate"] for row in rows} or (words and not any(word in name for word in words)):
            continue
        rows.append(train(name))
        print(rows[-1], flush=True)
        rows.sort(key=lambda row: list(CANDIDATES).index(row["candidate"]))
        content = {"command": "python benchmarks/choose.py", "seed": SEED, "versions": versions(), "rows": rows}
        RESULT.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
