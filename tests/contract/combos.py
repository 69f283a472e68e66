"""A pairwise covering array over teacher x select x target x mix x task: every two values meet in some combination."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import torch
from zoo import MEMORY_UNITS

from selftrain import Strategy, select, strategies, toy
from selftrain.mix import (
    ClassMix,
    CutMix,
    CutMixSeg,
    JointOcclusion,
    KeypointMix,
    LabelInjection,
    Mixup,
    SourceClassMix,
)
from selftrain.networks.student import MakeLearner
from selftrain.select.alignment import Align
from selftrain.tasks import Task

Make = Callable[[Task, tuple[int, ...]], Any]  # of the task and the units of a sample
TEACHERS: Mapping[str, tuple[type[Strategy], Mapping[str, Any]]] = {
    "itself": (strategies.FixMatch, {}),
    "itself, one view": (strategies.PseudoLabel, {}),
    "itself, two strong views": (strategies.UniMatch, {}),
    "average": (strategies.MeanTeacher, {}),
    "future, deep": (strategies.FutureSelfTraining, {"depth": 2}),
    "future, wide": (strategies.WideFutureSelfTraining, {"width": 2}),
    "reviewer": (strategies.ReviewedTeacher, {}),
    "ensemble": (strategies.Ensemble, {"members": 2, "quorum": 0.0}),
    "peer": (strategies.JointMatch, {}),
    "peer, crossed": (strategies.CrossPseudoSupervision, {"on_labeled": False}),
}
RULES: Mapping[str, Make] = {
    "everything": lambda task, units: select.everything(),
    "above": lambda task, units: select.above(0.02),
    "top": lambda task, units: select.top(0.7),
    "quantile": lambda task, units: select.quantile(0.7, decay=0.5),
    "flex": lambda task, units: select.flex(24, task.groups, threshold=0.3, units=units),
    "free": lambda task, units: select.free(task.groups, decay=0.9, limits=(0.0, 0.05)),
    "soft": lambda task, units: select.soft(task.groups, decay=0.9),
    "relative": lambda task, units: select.relative(0.5),
    "class-wise": lambda task, units: select.class_wise(
        task.groups, threshold=0.02 if units == MEMORY_UNITS["keypoints"] else 0.1
    ),
}
TARGETS: Mapping[str, Callable[[Task], Mapping[str, Any]]] = {
    "hard": lambda task: {"hard": True},
    "soft": lambda task: {"hard": False},
    "sharpened": lambda task: {"hard": False, "temperature": 0.5},
    "aligned": lambda task: {"hard": False, "align": Align(task, decay=0.9)},
    "aligned to labels": lambda task: {"hard": True, "align": Align(task, target="labeled", decay=0.9)},
}
MIXES: Mapping[str, Callable[[], Any]] = {
    "none": lambda: None,
    "mixup": lambda: Mixup(1.0),
    "cutmix": lambda: CutMix(1.0),
    "boxes": lambda: CutMixSeg(1.0),
    "classmix": ClassMix,
    "classmix of labels": SourceClassMix,
    "boxes of labels": LabelInjection,
    "keypoint mix": lambda: KeypointMix(0.3),
    "keypoint occlusion": lambda: JointOcclusion(1.0, threshold=0.0, size=0.3),
}
AXES = (tuple(TEACHERS), tuple(RULES), tuple(TARGETS), tuple(MIXES), toy.KINDS)
ENOUGH = 110


@dataclass(frozen=True)
class Combo:
    """One combination, by the names of its parts."""

    teacher: str
    rule: str
    target: str
    mix: str
    kind: toy.Kind

    def __str__(self) -> str:
        return f"{self.teacher} | {self.rule} | {self.target} | {self.mix} | {self.kind}"

    @property
    def parts(self) -> tuple[str, ...]:
        return (self.teacher, self.rule, self.target, self.mix, self.kind)

    def build(self, *, seed: int = 0, student: Mapping[str, Any] | None = None) -> Any:
        """A fresh strategy of these parts; the random state is left as found."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self.of(toy.task(self.kind), toy.learner(self.kind, **(student or {})))

    def of(self, task: Task, learner: MakeLearner, units: tuple[int, ...] | None = None) -> Any:
        """The strategy for another task and student of that kind; ``units``: axes of a sample's, default the toy's."""
        make, settings = TEACHERS[self.teacher]
        units = MEMORY_UNITS[self.kind] if units is None else units
        parts = {"select": RULES[self.rule](task, units), "mix": MIXES[self.mix](), **TARGETS[self.target](task)}
        return make(task, learner, **settings, **parts)  # type: ignore[call-arg]


def possible(parts: tuple[str, ...]) -> bool:
    """Joints have no class prior; both ClassMixes need a class for each pixel, Keypoint-Mix joints."""
    _, _, target, mix, kind = parts
    if kind == "keypoints" and target.startswith("aligned"):
        return False
    return (not mix.startswith("classmix") or kind == "segmentation") and (
        not mix.startswith("keypoint") or kind == "keypoints"
    )


def pairs(parts: tuple[str, ...]) -> set[tuple[tuple[int, str], tuple[int, str]]]:
    """Every two values that meet in a combination."""
    return set(combinations(enumerate(parts), 2))


def possible_pairs() -> set[tuple[tuple[int, str], tuple[int, str]]]:
    """Every two values that can meet at all."""
    found: set[tuple[tuple[int, str], tuple[int, str]]] = set()
    for target in TARGETS:
        for mix in MIXES:
            for kind in toy.KINDS:
                if possible(("", "", target, mix, kind)):
                    found |= {p for t in TEACHERS for r in RULES for p in pairs((t, r, target, mix, kind))}
    return found


def covering(enough: int = ENOUGH) -> list[Combo]:
    """A covering array, greedily: of some random combinations the one with most new pairs; then any new ones."""
    draw, missing = random.Random(0), possible_pairs()
    rows: list[tuple[str, ...]] = []
    while missing or len(rows) < enough:
        tries = [_try(draw, missing) for _ in range(30)]
        best = max((t for t in tries if t not in rows), key=lambda parts: len(pairs(parts) & missing))
        rows.append(best)
        missing -= pairs(best)
    return [Combo(*row) for row in rows]  # type: ignore[arg-type]


def _try(draw: random.Random, missing: set[tuple[tuple[int, str], tuple[int, str]]]) -> tuple[str, ...]:
    """A random possible combination that holds one of the missing pairs, if there is any."""
    fixed = dict(draw.choice(sorted(missing))) if missing else {}
    while True:
        parts = tuple(fixed.get(i) or draw.choice(axis) for i, axis in enumerate(AXES))
        if possible(parts):
            return parts
