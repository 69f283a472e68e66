"""What is run by one process and by several, to be compared: each scene returns numbers and tensors.

    RANK=0 WORLD_SIZE=2 MASTER_ADDR=127.0.0.1 MASTER_PORT=29555 python tests/ranks_scenes.py FOLDER [SCENE ...]

plays scenes as one rank and stores what they return in ``FOLDER/RANK.pt``. Without names, all of them.
"""

from __future__ import annotations

import math
import os
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

import selftrain as st
from selftrain import catalog, pretrain, ranks, session, toy
from selftrain.data import Pile
from selftrain.strategy import Strategy
from selftrain.types import BatchPlan

PLAN = BatchPlan(labeled=5, unlabeled_ratio=1.4, seed=5)  # 5 and 7 rows: no share is like the other
STEPS = 7  # 24 unlabeled rows: 4 steps an epoch, the last batch of each is filled up
SHAPES: Mapping[str, tuple[int, ...]] = {
    "classification": (3,),
    "segmentation": (3, 12, 12),
    "keypoints": (2, 12, 12),
}
SETTINGS: Mapping[str, Mapping[str, Any]] = {  # so that every part of a method has work to do
    "fixmatch": {"select": st.select.top(0.7)},
    "uda": {"select": st.select.top(0.7), "annealing": "linear"},
    "flexmatch": {"threshold": 0.5},
    "freematch": {"limits": (0.0, 0.05)},
    "jointmatch": {"threshold": 0.2},
    "soft_labels": {"min_labeled": 4},
}
Result = dict[str, Any]


def build(name: str, kind: toy.Kind = "classification", *, student: Mapping[str, Any] | None = None) -> Strategy:
    """A fresh strategy of the catalog; the random state is left as found."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        method = catalog.METHODS[name]
        make = toy.learner(kind, outputs=method.outputs, **({"dropout": 0.0} | dict(student or {})))
        sizes: dict[str, Any] = {"unlabeled": 24, "label_shape": SHAPES[kind]}
        return catalog.build(name, toy.task(kind), make, **sizes, **SETTINGS.get(name, {}))


def told(run: st.Run) -> Result:
    """All that a run leaves: every tensor of the strategy and the ledger, and its figures."""
    tensors = {f"strategy/{n}": t for n, t in run.strategy.state_dict().items() if isinstance(t, torch.Tensor)}
    tensors |= {f"ledger/{name}": t for name, t in run.ledger.state_dict().items()}
    figures = {f"last/{part}/{name}": v for part, row in run.last.items() for name, v in row.items()}
    return tensors | figures | {f"train/{name}": v for name, v in run.train.items() if not name.endswith("lr")}


def method(
    name: str, kind: toy.Kind = "classification", *, student: Mapping[str, Any] | None = None, **fit: Any
) -> Result:
    strategy = build(name, kind, student=student)
    settings = {"steps": STEPS, "plan": PLAN, "eval_every": 5, "log_every": 3, "progress": False} | fit
    return told(st.fit(strategy, toy.pile(kind), **settings))


def recipe(name: str) -> Result:
    torch.manual_seed(0)
    x = torch.randn(26, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    pile = Pile.from_arrays(((x - x.min()) / (x.max() - x.min())).numpy(), torch.arange(26) % 3 - 1)
    stage = getattr(pretrain, name)(pretrain.ViT(8, 2, 1, width=16, depth=1, heads=2))
    return told(st.fit(stage, pile, steps=4, plan=PLAN, eval_every=2, log_every=2, progress=False))


def own_pile() -> Pile:
    """A pile whose rows and views are made in shares."""
    x = torch.rand(60, 1, 12, 12, generator=torch.Generator().manual_seed(3)).numpy()
    y = torch.where(torch.arange(60) < 24, torch.arange(60) % 3, -1)
    return Pile.from_arrays(x, y, validation=6)


def shared(name: str, workers: int = 0) -> Result:
    plan = BatchPlan(PLAN.labeled, PLAN.unlabeled_ratio, seed=5, workers=workers)
    settings: dict[str, Any] = {"steps": 6, "plan": plan, "eval_every": 3, "log_every": 2, "progress": False}
    return told(st.fit(build(name), own_pile(), **settings))


SCENES: dict[str, Callable[[], Result]] = {name: partial(method, name) for name in catalog.METHODS}
SCENES |= {
    "fixmatch_pixels": partial(method, "fixmatch", "segmentation"),
    "fst_d_joints": partial(method, "fst_d", "keypoints"),
    "fst_accumulate": partial(method, "fst", student={"accumulate": 3, "max_grad_norm": 0.5}, steps=8),
    "mean_teacher_adamw": partial(method, "mean_teacher", student={"optimizer": "adamw", "lr": 1e-3}),
    "fst_w_in_shares": partial(shared, "fst_w"),
    "mixmatch_in_shares": partial(shared, "mixmatch"),
    "MAE": partial(recipe, "MAE"),
    "IJEPA": partial(recipe, "IJEPA"),
    "LeJEPA": partial(recipe, "LeJEPA"),
    "SimCLR": partial(recipe, "SimCLR"),
}


def play(folder: Path, names: list[str]) -> None:
    results: dict[str, Any] = {}
    for name in names or list(SCENES):
        begun = time.perf_counter()
        try:
            results[name] = SCENES[name]()
        except Exception:
            results[name] = {"error": traceback.format_exc()}
            break
        results[name] |= {"seconds": time.perf_counter() - begun}
    torch.save(results, folder / f"{os.environ['RANK']}.pt")


if __name__ == "__main__":
    torch.set_num_threads(1)
    play(Path(sys.argv[1]), sys.argv[2:])
