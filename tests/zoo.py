"""Every strategy on every task, small: what the contract tests share."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from selftrain import Strategy, Teacher, select, strategies, toy
from selftrain.types import Batch, BatchPlan, Clock, Report, View

PLAN = BatchPlan(labeled=4, unlabeled_ratio=1.5, seed=5)  # 24 unlabeled rows: 4 steps an epoch
HALFWAY = Clock(step=5, epoch=0, total_steps=10)  # every ramp-up has begun


@dataclass(frozen=True)
class Entry:
    """A strategy as the contract tests build it.

    ``labels_from`` is the view its pseudo-labels are made on, ``learns_from`` the view the gradient goes through;
    ``unsupervised`` are the settings that leave only the unsupervised loss once the labels weigh nothing, ``nothing``
    those under which no unit is kept and only the supervised loss is left.
    """

    make: type[Strategy]
    settings: Callable[[toy.Kind], Mapping[str, Any]] = field(default=lambda kind: {})
    labels_from: str | None = "weak"
    learns_from: str | None = "strong"
    unsupervised: Mapping[str, Any] = field(default_factory=dict)
    nothing: Mapping[str, Any] = field(default_factory=lambda: {"select": select.above(2.0)})


def _bank(kind: toy.Kind) -> Mapping[str, Any]:
    shapes = {"classification": (3,), "segmentation": (3, 12, 12), "keypoints": (2, 12, 12)}
    prior = {"prior_weight": 0.0} if kind == "keypoints" else {}
    return {"unlabeled": 24, "label_shape": shapes[kind], "min_labeled": 4} | prior


_ALONE = {"prior_weight": 0.0, "entropy_weight": 0.0, "alpha": 0.0}  # soft labels without regularizers and mixup
ZOO: dict[str, Entry] = {
    "supervised": Entry(strategies.Supervised, labels_from=None, learns_from=None),
    "pseudo_label": Entry(strategies.PseudoLabel, learns_from="weak"),
    "mean_teacher": Entry(strategies.MeanTeacher),
    "fixmatch": Entry(strategies.FixMatch, lambda kind: {"select": select.top(0.7)}),
    "fst": Entry(strategies.FutureSelfTraining),
    "fst_d": Entry(strategies.FutureSelfTraining, lambda kind: {"depth": 3}),
    "fst_code": Entry(strategies.FutureSelfTraining, lambda kind: {"depth": 2, "faithful": "code"}),
    "fst_w": Entry(strategies.WideFutureSelfTraining, lambda kind: {"width": 2}),
    "soft_labels": Entry(
        strategies.SoftLabels,
        _bank,
        labels_from="plain",
        learns_from="weak",
        unsupervised=_ALONE,
        nothing=_ALONE | {"select": select.above(2.0)},
    ),
    "ensemble": Entry(strategies.Ensemble, lambda kind: {"quorum": 0.6}),
}
LEARNING = [name for name, entry in ZOO.items() if entry.labels_from]  # those that use unlabeled samples
GRID = [(name, kind) for name in ZOO for kind in toy.KINDS]
LEARNING_GRID = [(name, kind) for name in LEARNING for kind in toy.KINDS]


def build(
    name: str, kind: toy.Kind, *, seed: int = 0, student: Mapping[str, Any] | None = None, **settings: Any
) -> Any:
    """A fresh strategy of the zoo; ``student`` are settings of ``toy.learner``. The random state is left as found."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        make_learner = toy.learner(kind, **(student or {}))
        return ZOO[name].make(toy.task(kind), make_learner, **{**ZOO[name].settings(kind), **settings})  # type: ignore[call-arg]


def batches(strategy: Strategy, kind: toy.Kind, *, step: int = 0, plan: BatchPlan = PLAN) -> list[Batch]:
    """The batch of a step and those a strategy draws ahead."""
    stream = toy.pile(kind).stream(strategy.needs(), plan, torch.device("cpu"))
    return list(next(iter(stream.epoch(0, step))))


def take_step(strategy: Strategy, given: list[Batch], clock: Clock = HALFWAY, *, seed: int = 3) -> Report:
    """One step as the engine takes it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        strategy.train()
        batch, *extra = given
        return strategy.step(batch, clock, *extra)


def with_view(batch: Batch, name: str, view: View) -> Batch:
    """The batch with another view of that name."""
    return replace(batch, unlabeled=replace(batch.pile, views={**batch.pile.views, name: view}))


def weights(strategy: Strategy) -> Tensor:
    """Everything the students have learned, in one vector."""
    return torch.cat([p.detach().flatten() for x in strategy.learners() for p in x.model.parameters()])


def teachers(strategy: Strategy) -> list[Teacher]:
    return [m for m in strategy.modules() if isinstance(m, Teacher)]


def leaves(state: Any, path: str = "") -> dict[str, Any]:
    """A nested state as one flat dict: path -> tensor, number or text."""
    if isinstance(state, Mapping):
        items = list(state.items())
    elif isinstance(state, (list, tuple)):
        items = list(enumerate(state))
    else:
        return {path: state}
    rows: dict[str, Any] = {f"{path}/": len(items)}
    for key, value in items:
        rows |= leaves(value, f"{path}/{key}")
    return rows


def differences(first: Any, second: Any) -> list[str]:
    """Paths at which two nested states are not the same, bit for bit."""
    one, two = leaves(first), leaves(second)
    return sorted(path for path in one.keys() | two.keys() if not _same(one.get(path), two.get(path)))


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a.dtype == b.dtype and a.shape == b.shape and bool(torch.equal(a, b))
    return bool(type(a) is type(b) and a == b)


def state_of(strategy: Strategy) -> dict[str, Any]:
    """A copy of all a strategy would store."""
    return copy.deepcopy(strategy.state_dict())
