"""Every strategy learns something from unlabeled samples: it beats supervised training on the same eight labels."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from statistics import median
from typing import Any

import pytest
import torch

import selftrain as st
from selftrain import Strategy, select, strategies, toy
from selftrain.labels.teacher_pass import label_pile
from selftrain.types import BatchPlan

SEEDS = range(5)
MARGIN = 0.02  # a third of what separates supervised training from the best possible on either problem, or less
TASK = st.Classification(2)

_confident: dict[str, Any] = {"select": select.above(0.9), "hard": True, "decay": 0.99}
_guided = _confident | {"unlabeled_weight": 3.0, "distance": "ce"}
_at_once = {"rampup": st.ramp_linear(0)}
LEARNERS: dict[str, Callable[..., Strategy]] = {
    "supervised": partial(strategies.Supervised, decay=None),
    "pseudo_label": partial(strategies.PseudoLabel, unlabeled_weight=5.0, select=select.above(0.7), decay=0.99),
    "mean_teacher": partial(strategies.MeanTeacher, **_guided),
    "fixmatch": partial(strategies.FixMatch, **_confident),
    "fst": partial(strategies.FutureSelfTraining, **_guided, **_at_once),
    "fst_d": partial(strategies.FutureSelfTraining, depth=3, **_guided, **_at_once),
    "fst_code": partial(strategies.FutureSelfTraining, depth=3, faithful="code", **_guided, **_at_once),
    "fst_w": partial(strategies.WideFutureSelfTraining, width=2, **_guided, **_at_once),
    "soft_labels": partial(strategies.SoftLabels, unlabeled=400, label_shape=(2,), min_labeled=8),
    "ensemble": partial(strategies.Ensemble, quorum=1.0, select=select.above(0.9), hard=True),
    "ensemble_entropy": partial(strategies.Ensemble, quorum=0.0, weighting="entropy", hard=True),
    "pi_model": partial(strategies.PiModel, view="strong", **_guided, **_at_once),
    "temporal_ensembling": partial(
        strategies.TemporalEnsembling,
        unlabeled=400,
        label_shape=(2,),
        **_guided | {"select": select.above(0.8)},
        **_at_once,
    ),
    "label_propagation": partial(
        strategies.LabelPropagation, unlabeled=400, label_shape=(2,), method="poisson", unlabeled_weight=3.0
    ),
    "vat": partial(strategies.VAT, eps=1.0, entropy_weight=0.3, decay=0.99),
    "uda": partial(strategies.UDA, decay=0.99),
    "mixmatch": partial(strategies.MixMatch, unlabeled_weight=5.0, rampup=st.ramp_linear(0.4), decay=0.99),
    "flexmatch": partial(strategies.FlexMatch, unlabeled=400, decay=0.99),
    "freematch": partial(strategies.FreeMatch, threshold_decay=0.9, decay=0.99),
    "softmatch": partial(strategies.SoftMatch, threshold_decay=0.9, decay=0.99),
    "adamatch": partial(strategies.AdaMatch, align_decay=0.9, decay=0.99),
    "reviewer": partial(strategies.ReviewedTeacher, review_decay=0.995, **_guided),
    "two_heads": partial(strategies.TwoHeadedMeanTeacher, **_guided),
    "jointmatch": partial(strategies.JointMatch),
    "cps": partial(strategies.CrossPseudoSupervision, select=select.above(0.9), rampup=st.ramp_linear(0.4)),
    "unimatch": partial(strategies.UniMatch, decay=0.99),
    "unimatch_v2": partial(strategies.UniMatchV2, decay=0.99),
    "noisy_student": partial(strategies.NoisyStudent, decay=0.99),
    "curriculum_labeling": partial(strategies.CurriculumLabeling, decay=0.99),
}
REFINED = {  # what is learned of the labels that a supervised teacher gave the whole pile
    "noisy_student": lambda labels: labels.above(0.3).balanced(200),
    "curriculum_labeling": lambda labels: labels.top_percent(40),
}
STEPS = dict.fromkeys(
    ("soft_labels", "temporal_ensembling", "label_propagation", "mixmatch"), 200
)  # they change once an epoch of 4 steps
FAST = ("fixmatch",)
CURVED = ("mean_teacher", "fixmatch", "fst_d", "fst_code", "ensemble")


def accuracy(name: str, pile: toy.ToyPile, *, seed: int, lr: float, steps: int) -> float:
    torch.manual_seed(seed)
    heads = 2 if name == "two_heads" else 1
    make = st.learner(lambda: toy.mlp(pile.x.shape[1], 2 * heads), optimizer="sgd", lr=lr, weight_decay=0.0)
    run_settings = {"steps": steps, "plan": BatchPlan(labeled=8, unlabeled_ratio=12.5, seed=seed), "eval_every": steps}
    settings = {}
    if name in REFINED:
        teacher = st.fit(LEARNERS["supervised"](TASK, make), pile, **run_settings).strategy
        settings = {"labels": REFINED[name](label_pile(teacher, pile))}
    run = st.fit(LEARNERS[name](TASK, make, **settings), pile, **run_settings)
    return run.evaluate("test")["accuracy"]


@cache
def on_clouds(name: str) -> float:
    steps = STEPS.get(name, 100)
    return median(accuracy(name, toy.clouds(seed=seed), seed=seed, lr=0.05, steps=steps) for seed in SEEDS)


@cache
def on_moons(name: str) -> float:
    return median(accuracy(name, toy.moons(seed=seed), seed=seed, lr=0.2, steps=300) for seed in SEEDS)


def test_every_strategy_is_asked():
    made = {make.func for make in LEARNERS.values() if isinstance(make, partial)}
    assert made == {getattr(strategies, name) for name in strategies.__all__}


def test_supervised_training_leaves_room_and_is_no_straw_man():
    assert 0.8 < on_clouds("supervised") < 0.93  # the best possible is 0.977


@pytest.mark.parametrize(
    "name", [n if n in FAST else pytest.param(n, marks=pytest.mark.slow) for n in LEARNERS if n != "supervised"]
)
def test_unlabeled_points_show_the_direction_between_two_clouds(name):
    assert on_clouds(name) > on_clouds("supervised") + MARGIN


@pytest.mark.slow
@pytest.mark.parametrize("name", CURVED)
def test_unlabeled_points_show_the_curve_between_two_moons(name):
    """Methods that learn a second, moved view and get far within these steps."""
    assert on_moons("supervised") < 0.95
    assert on_moons(name) > on_moons("supervised") + MARGIN
