"""Every strategy on every task, small: what the contract tests share."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from selftrain import Strategy, Teacher, select, strategies, toy
from selftrain.labels.table import PseudoLabelTable
from selftrain.labels.teacher_pass import label_pile
from selftrain.mix import Mixup
from selftrain.types import Batch, BatchPlan, Clock, Report, View

PLAN = BatchPlan(labeled=4, unlabeled_ratio=1.5, seed=5)  # 24 unlabeled rows: 4 steps an epoch
MEMORY_UNITS: dict[str, tuple[int, ...]] = {"classification": (), "segmentation": (12, 12), "keypoints": (2,)}
HALFWAY = Clock(step=5, epoch=0, total_steps=10)  # every ramp-up has begun


@dataclass(frozen=True)
class Entry:
    """A strategy as the contract tests build it.

    ``labels_from`` are the inputs that passes without gradient see (views, or ``"labeled"``), ``learns_from`` the views
    the gradient goes through, ``invents`` says that it goes through inputs of the method's own making too;
    ``unsupervised`` are the settings that leave only the unsupervised loss once the labels weigh nothing, ``nothing``
    those under which only the supervised loss is left when no unit is kept. ``outputs`` is the number of channels for
    each class or joint, ``prepare`` gives a fresh strategy a past that its unsupervised loss needs, ``kinds`` are
    the tasks it takes.
    """

    make: type[Strategy]
    settings: Callable[[toy.Kind], Mapping[str, Any]] = field(default=lambda kind: {})
    labels_from: tuple[str, ...] = ("weak",)
    learns_from: tuple[str, ...] = ("strong",)
    invents: bool = False
    unsupervised: Mapping[str, Any] = field(default_factory=dict)
    nothing: Mapping[str, Any] = field(default_factory=dict)
    outputs: int = 1
    prepare: Callable[[Any, toy.Kind], None] = field(default=lambda strategy, kind: None)
    kinds: tuple[toy.Kind, ...] = toy.KINDS


def _bank(kind: toy.Kind) -> Mapping[str, Any]:
    shapes = {"classification": (3,), "segmentation": (3, 12, 12), "keypoints": (2, 12, 12)}
    prior = {"prior_weight": 0.0} if kind == "keypoints" else {}
    return {"unlabeled": 24, "label_shape": shapes[kind], "min_labeled": 4} | prior


def _memory(kind: toy.Kind) -> Mapping[str, Any]:
    return {"unlabeled": 24, "label_shape": _bank(kind)["label_shape"]}


def _unless_joints(**settings: Any) -> Callable[[toy.Kind], Mapping[str, Any]]:
    """Settings about class priors, which joints have none of."""
    return lambda kind: settings if kind == "keypoints" else {}


def _stored(kind: toy.Kind) -> Mapping[str, Any]:
    """Labels that another fresh network gave the whole pile."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        teacher = strategies.Supervised(toy.task(kind), toy.learner(kind), decay=None)
    return {"labels": label_pile(teacher, toy.pile(kind))}


def _remembering(strategy: Any, kind: toy.Kind) -> None:
    """Every sample has been seen once, and was something else each time."""
    shape = (24, *_bank(kind)["label_shape"])
    said = torch.rand(shape, generator=torch.Generator().manual_seed(8))
    strategy.bank.write(torch.arange(24), said if kind == "keypoints" else said / said.sum(1, keepdim=True))
    strategy.bank.turn()
    strategy.visits += 1


def _told(strategy: Any, kind: toy.Kind) -> None:
    """A graph has said something of every sample."""
    said = torch.rand((24, 3), generator=torch.Generator().manual_seed(8))
    strategy.bank.write(torch.arange(24), said / said.sum(1, keepdim=True))
    strategy.bank.turn()


_LOOKS = ("weak", "weak2")
_UNMIXED = {"mix": Mixup(0.0)}
_NO_ENTROPY = {"entropy_weight": 0.0}
_ALONE = {"prior_weight": 0.0, "entropy_weight": 0.0, "alpha": 0.0}  # soft labels without regularizers and mixup
ZOO: dict[str, Entry] = {
    "supervised": Entry(strategies.Supervised, labels_from=(), learns_from=()),
    "pseudo_label": Entry(strategies.PseudoLabel, learns_from=("weak",)),
    "mean_teacher": Entry(strategies.MeanTeacher),
    "fixmatch": Entry(strategies.FixMatch, lambda kind: {"select": select.top(0.7)}),
    "fst": Entry(strategies.FutureSelfTraining),
    "fst_d": Entry(strategies.FutureSelfTraining, lambda kind: {"depth": 3}),
    "fst_code": Entry(strategies.FutureSelfTraining, lambda kind: {"depth": 2, "faithful": "code"}),
    "fst_w": Entry(strategies.WideFutureSelfTraining, lambda kind: {"width": 2}),
    "soft_labels": Entry(
        strategies.SoftLabels,
        _bank,
        labels_from=("plain",),
        learns_from=("weak",),
        unsupervised=_ALONE,
        nothing=_ALONE | {"select": select.above(2.0)},
    ),
    "ensemble": Entry(strategies.Ensemble, lambda kind: {"quorum": 0.6}),
    "pi_model": Entry(strategies.PiModel, learns_from=("weak2",)),
    "temporal_ensembling": Entry(
        strategies.TemporalEnsembling, _memory, labels_from=(), learns_from=("weak",), prepare=_remembering
    ),
    "label_propagation": Entry(
        strategies.LabelPropagation,
        _memory,
        labels_from=("labeled", "weak"),
        learns_from=("weak",),
        prepare=_told,
        kinds=("classification",),
    ),
    "vat": Entry(
        strategies.VAT,
        labels_from=(),
        learns_from=("weak",),
        invents=True,
        unsupervised=_NO_ENTROPY,
        nothing=_NO_ENTROPY | {"on_labeled": False},  # labeled samples are attacked whatever the rule keeps
    ),
    "uda": Entry(strategies.UDA, lambda kind: {"select": select.top(0.7)}),
    "mixmatch": Entry(
        strategies.MixMatch, labels_from=_LOOKS, learns_from=_LOOKS, unsupervised=_UNMIXED, nothing=_UNMIXED
    ),
    "flexmatch": Entry(
        strategies.FlexMatch,
        lambda kind: {"unlabeled": 24, "units": MEMORY_UNITS[kind], "threshold": 0.5},
    ),
    "freematch": Entry(
        strategies.FreeMatch, lambda kind: {"limits": (0.0, 0.05)} | _unless_joints(fairness_weight=0.0)(kind)
    ),
    "softmatch": Entry(strategies.SoftMatch, _unless_joints(uniform=False)),
    "adamatch": Entry(strategies.AdaMatch, _unless_joints(aligned=False), labels_from=("weak", "labeled")),
    "unimatch": Entry(
        strategies.UniMatch,
        lambda kind: {"select": select.top(0.7)},
        learns_from=("weak", "strong", "strong2"),
    ),
    "unimatch_v2": Entry(
        strategies.UniMatchV2, lambda kind: {"select": select.top(0.7)}, learns_from=("strong", "strong2")
    ),
    "two_heads": Entry(strategies.TwoHeadedMeanTeacher, outputs=2, nothing={"tie_weight": 0.0}),
    "reviewer": Entry(strategies.ReviewedTeacher),
    "jointmatch": Entry(strategies.JointMatch, lambda kind: {"threshold": 0.01 if kind == "keypoints" else 0.2}),
    "cps": Entry(
        strategies.CrossPseudoSupervision,
        learns_from=("weak",),
        unsupervised={"on_labeled": False},
        nothing={"on_labeled": False},
    ),
    "noisy_student": Entry(strategies.NoisyStudent, _stored, labels_from=()),
    "curriculum_labeling": Entry(
        strategies.CurriculumLabeling,
        _stored,
        labels_from=(),
        unsupervised={"alpha": 0.0},
        nothing={"alpha": 0.0},
    ),
}
LEARNING = [name for name, entry in ZOO.items() if entry.learns_from]  # those that use unlabeled samples
DENSE = (  # tested on pixels and joints in every run; the others, which share their parts, with the slow tests
    "mean_teacher", "fixmatch", "fst_d", "soft_labels", "ensemble",
)  # fmt: skip


def _grid(names: Iterable[str]) -> list[Any]:
    return [
        pytest.param(name, kind, marks=[] if kind == "classification" or name in DENSE else [pytest.mark.slow])
        for name in names
        for kind in ZOO[name].kinds
    ]


GRID, LEARNING_GRID = _grid(ZOO), _grid(LEARNING)


def build(
    name: str, kind: toy.Kind, *, seed: int = 0, student: Mapping[str, Any] | None = None, **settings: Any
) -> Any:
    """A fresh strategy of the zoo; ``student`` are settings of ``toy.learner``. The random state is left as found."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        make_learner = toy.learner(kind, outputs=ZOO[name].outputs, **(student or {}))
        strategy = ZOO[name].make(toy.task(kind), make_learner, **{**ZOO[name].settings(kind), **settings})  # type: ignore[call-arg]
        ZOO[name].prepare(strategy, kind)
        return strategy


def reject_all(strategy: Strategy) -> Strategy:
    """The strategy with a rule that keeps no unit, in place of its own."""
    for module in list(strategy.modules()):
        if isinstance(getattr(module, "select", None), select.Free):  # whose averages enter the loss, too
            module.select.lowest = module.select.highest = 100.0
        elif isinstance(getattr(module, "select", None), select.Selector):
            module.select = select.above(2.0)
        if isinstance(getattr(module, "labels", None), PseudoLabelTable):
            module.labels = module.labels.above(2.0)
    return strategy


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
    return batch.replace(unlabeled=replace(batch.unlabeled, views={**batch.unlabeled.views, name: view}))


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
