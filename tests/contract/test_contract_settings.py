"""Every setting of every strategy does something, and a senseless one is refused by its value."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import pytest
import torch
import zoo
from torch import Tensor, nn
from zoo import ZOO, build, take_step

import selftrain as st
from selftrain import Learner, Strategy, Teacher, select, strategies, toy
from selftrain.mix import CutMix, Mixup
from selftrain.select.alignment import Align
from selftrain.strategy.pseudo_labeling import PseudoLabeling
from selftrain.strategy.several import SeveralStudents
from selftrain.strategy.single import SingleStudent

CLASSES = {name: getattr(strategies, name) for name in strategies.__all__}
POSITIONAL = ("task", "make_learner")  # what a strategy is about; all else is a setting


def settings_of(cls: type) -> list[str]:
    """Names of all settings, in the order of the signature."""
    return [name for name in inspect.signature(cls).parameters if name not in POSITIONAL]


@pytest.mark.parametrize("cls", [*CLASSES.values(), SingleStudent, SeveralStudents], ids=lambda cls: cls.__name__)
def test_a_signature_names_explains_and_types_every_setting(cls):
    for name, parameter in inspect.signature(cls).parameters.items():
        assert parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY), name
        assert parameter.annotation not in (parameter.empty, "Any"), name
        assert f"\n    {name}: " in inspect.getdoc(cls), name


# -- what each setting changes -----------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Case:
    """Values of a setting of which any two must lead to different runs, and other settings they need to show it."""

    values: Sequence[Any]
    given: Mapping[str, Any] = field(default_factory=dict)


LABEL_MODES = ("eval", "batch", "frozen", "train")
RAMPS = (lambda progress: 0.2, lambda progress: 1.0)
RULES = (select.above(0.36), select.top(0.5), select.everything())
TASK = toy.task("classification")
_TABLE = zoo._stored("classification")["labels"]
CASES: dict[str, Case] = {
    "labels": Case([_TABLE, _TABLE.top_percent(50), _TABLE.sharpened(0.5)], {"hard": False}),
    "labeled_weight": Case([0.0, 0.5, 1.0]),
    "labeled_view": Case(["plain", "weak", "strong"]),
    "view": Case(["plain", "weak", "strong"]),
    "align": Case([None, Align(TASK), Align(TASK, target=torch.tensor([0.6, 0.3, 0.1]))], {"hard": False}),
    "align_targets": Case([True, False], {"hard": False, "align": Align(TASK)}),
    "mix": Case([None, Mixup(1.0), CutMix(1.0)]),
    "weighting": Case(["equal", "share", "entropy"], {"quorum": 0.3}),
    "outlier_class": Case([None, 0, 2]),
    "momentum": Case([0.0, 0.6]),
    "eps": Case([1.0, 6.0]),
    "xi": Case([0.01, 1.0]),
    "iterations": Case([1, 2]),
    "annealing": Case([None, "exp"]),
    "looks": Case([1, 2, 3]),
    "threshold": Case([0.2, 0.5]),
    "threshold_decay": Case([0.2, 0.9]),
    "limits": Case([None, (0.4, 0.9)]),
    "fairness_weight": Case([0.0, 0.5]),
    "fairness_sign": Case([1, -1], {"fairness_weight": 0.5}),
    "uniform": Case([True, False]),
    "aligned": Case([True, False]),
    "align_decay": Case([0.0, 0.9]),
    "interpolate": Case([True, False]),
    "tie_weight": Case([0.0, 0.5]),
    "review_decay": Case([0.2, 0.9]),
    "follows": Case(["student", "teacher"]),
    "review": Case([0.0, 1.0]),
    "levels": Case([(), (0.3,), (1.0,)]),
    "status_decay": Case([0.1, 0.9]),
    "shared_status": Case([True, False]),
    "delta": Case([0.1, 0.9]),
    "disagree_on": Case(["mask", "label"]),
    "on_labeled": Case([True, False]),
    "noise": Case(["same", "fresh"]),
    "decay": Case([0.3, 0.9, None]),
    "buffers": Case(["copy", "ema"]),
    "unlabeled_weight": Case([0.0, 1.0, 5.0]),
    "rampup": Case(RAMPS),
    "select": Case(RULES),
    "hard": Case([True, False]),
    "temperature": Case([0.5, 1.0, 2.0], {"hard": False}),
    "distance": Case(["mse", "ce"]),
    "together": Case([True, False]),
    "label_mode": Case(LABEL_MODES),
    "order": Case(["after", "before"]),
    "depth": Case([0, 1, 2]),
    "teacher_after": Case([True, False]),
    "faithful": Case(["paper", "code"]),
    "width": Case([1, 2]),
    "feature_share": Case([0.0, 0.5, 1.0]),
    "channel_drop": Case([0.0, 0.5]),
    "shared_out": Case([0.0, 0.5, 1.0]),
    "members": Case([2, 3]),
    "quorum": Case([0.3, 0.6, 1.0]),
    "inliers_only": Case([True, False], {"quorum": 0.3}),
    "alpha": Case([0.0, 0.5, 2.0]),
    "prior_weight": Case([0.0, 0.8, 2.0]),
    "entropy_weight": Case([0.0, 0.4, 2.0]),
    "prior": Case([None, torch.tensor([0.6, 0.3, 0.1])]),
    "label_view": Case(["plain", "weak", "strong"]),
    "supervised_epochs": Case([1, 2]),
    "method": Case(["label_spreading", "poisson"]),
    "shares": Case([None, (0.8, 0.1, 0.1)], {"method": "poisson_volume"}),
    "neighbors": Case([1, 5]),
}
SIZES = ("unlabeled", "label_shape", "units")  # they must fit the data; what shows is the shape of the memory
HANDED_ON: dict[tuple[str, str], Sequence[Any]] = {  # settings of a rule, whose effect is shown in test_adaptive
    ("FlexMatch", "threshold"): [0.2, 0.5],
    ("FlexMatch", "warmup"): [True, False],
    ("FlexMatch", "mapping"): ["convex", "linear", "concave"],
    ("FreeMatch", "quantile"): [None, 0.1],
    ("SoftMatch", "sigmas"): [1.0, 5.0],
}
PEERS = ("Ensemble", "JointMatch", "CrossPseudoSupervision")
_TEACHER_GUIDED = (
    "MeanTeacher", "TwoHeadedMeanTeacher", "ReviewedTeacher", "FutureSelfTraining", "WideFutureSelfTraining"
)  # fmt: skip
SPECIAL: dict[tuple[str, str], Case] = {(name, "decay"): Case([0.3, 0.9]) for name in _TEACHER_GUIDED}
SPECIAL |= {(name, "buffers"): Case(["copy", "ema"], {"decay": 0.9}) for name in PEERS}
SPECIAL["TemporalEnsembling", "buffers"] = Case(["copy", "ema"], {"decay": 0.9})
SPECIAL["TemporalEnsembling", "select"] = Case([select.above(0.45), select.top(0.5), select.everything()])
SPECIAL["AdaMatch", "align_targets"] = Case([True, False])  # it has an alignment of its own
SPECIAL["AdaMatch", "threshold"] = Case([0.9, 1.0])
SPECIAL["LabelPropagation", "alpha"] = Case([None, 0.5])
SPECIAL["LabelPropagation", "buffers"] = Case(["copy", "ema"], {"decay": 0.9})
SPECIAL["LabelPropagation", "select"] = Case([select.above(0.4), select.top(0.5), select.everything()])
SPECIAL["FixMatch", "threshold"] = Case([0.2, 0.5], {"select": None})
SPECIAL["UniMatch", "threshold"] = Case([0.2, 0.5], {"select": None})
SPECIAL["UniMatchV2", "threshold"] = Case([0.2, 0.5], {"select": None})
SPECIAL["UniMatchV2", "decay"] = Case([0.3, 0.9])
SPECIAL["UniMatch", "buffers"] = Case(["copy", "ema"], {"decay": 0.9})
SPECIAL["SoftMatch", "uniform"] = Case([True, False], {"threshold_decay": 0.2})  # it shows in weights below 1 alone
SPECIAL["JointMatch", "select"] = Case(RULES, {"threshold": 0.98})  # the default: a rule replaces the thresholds
SPECIAL["JointMatch", "shared_status"] = Case([True, False], {"threshold": 0.36})
SPECIAL["JointMatch", "status_decay"] = Case([0.1, 0.9], {"threshold": 0.36})
SPECIAL["SoftLabels", "buffers"] = Case(["copy", "ema"], {"decay": 0.9})  # its default ships the student
BY_MESSAGE = {("SoftLabels", "min_labeled"): "fewer than min_labeled=5"}  # a guard, not a part of the update


def case_of(strategy: str, setting: str) -> Case | None:
    return SPECIAL.get((strategy, setting)) or CASES.get(setting)


SHARED = {*inspect.signature(PseudoLabeling).parameters, "label_mode", "decay", "buffers"}
WHOLE = ("FixMatch", "MeanTeacher", "SoftLabels", "Ensemble")  # every run; of the others only what is their own


def _all_settings() -> list[Any]:
    rows = []
    for name, cls in CLASSES.items():
        for setting in settings_of(cls):
            marks = [] if name in WHOLE or setting not in SHARED else [pytest.mark.slow]
            rows.append(pytest.param(name, setting, marks=marks))
    return rows


SETTINGS = _all_settings()


def test_settings_are_found():
    assert {"order", "decay", "temperature", "buffers", "together"} <= set(settings_of(strategies.MeanTeacher))
    assert "buffers" in settings_of(strategies.SoftLabels)
    assert settings_of(strategies.Supervised) == ["decay", "buffers"]


class Upturned(nn.Module):
    """A network with a second level: its logits the other way round."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        logits = self.network(x)
        return {"logits": logits, "aux": logits.flip(1)}


def build_class(name: str, settings: Mapping[str, Any], *, past: bool = True) -> Strategy:
    """A strategy of this class with these settings, its objects fresh."""
    entry = entry_of(name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        make = toy.learner("classification", outputs=entry.outputs)
        if "levels" in settings:
            make = st.learner(lambda: Upturned(toy.network("classification")), optimizer="sgd", lr=0.05)
        strategy = CLASSES[name](toy.task("classification"), make, **copy.deepcopy(dict(settings)))
    if past:
        entry.prepare(strategy, "classification")
    return strategy


def observed(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """All that three steps over an epoch's end leave behind: state, reports, and what is shipped."""
    strategy = build_class(name, settings)
    reports = []
    for step in range(3):
        given = zoo.batches(strategy, "classification", step=step % 2)
        report = take_step(strategy, given, seed=step)
        said = report.pseudo_labels
        reports.append([dict(report.scalars), said and [said.index, said.value, said.weight]])
        strategy.end_epoch(zoo.HALFWAY)
    shipped = strategy.predict(toy.pile("classification").x[:4])
    return {"state": zoo.state_of(strategy), "reports": reports, "shipped": shipped}


def base_of(name: str) -> dict[str, Any]:
    """Settings that a class cannot do without."""
    return dict(entry_of(name).settings("classification"))


def entry_of(name: str) -> zoo.Entry:
    return next(entry for entry in ZOO.values() if entry.make.__name__ == name)


@pytest.mark.one_in(2)
@pytest.mark.parametrize(("name", "setting"), SETTINGS)
def test_every_value_of_every_setting_changes_something(name, setting):
    """A new parameter has no case, and fails here until it gets one."""
    if (name, setting) in BY_MESSAGE:
        strategy = CLASSES[name](
            toy.task("classification"), toy.learner("classification"), **{**base_of(name), setting: 5}
        )
        with pytest.raises(ValueError, match=BY_MESSAGE[name, setting]):
            take_step(strategy, zoo.batches(strategy, "classification"))
        return
    if setting in SIZES:
        sizes = {"unlabeled": 30, "label_shape": (4,), "units": (2,)}
        made = [build_class(name, base_of(name) | more, past=False) for more in ({}, {setting: sizes[setting]})]
        first, second = (sorted(str(t.shape) for t in strategy.buffers()) for strategy in made)
        assert first != second
        return
    if (name, setting) in HANDED_ON:
        for value in HANDED_ON[name, setting]:
            assert getattr(build_class(name, base_of(name) | {setting: value}).pseudo_labeling.select, setting) == value
        return
    case = case_of(name, setting)
    assert case is not None, f"{name}({setting}=...) is new: say in CASES which values must lead to different runs"
    others = base_of(name) | dict(case.given)
    runs = [observed(name, others | {setting: value}) for value in case.values]
    for (i, first), (j, second) in combinations(enumerate(runs), 2):
        assert zoo.differences(first, second), (case.values[i], case.values[j])
        assert not torch.equal(first["shipped"], second["shipped"]), (case.values[i], case.values[j])


@pytest.mark.parametrize("name", list(CLASSES))
def test_the_same_settings_lead_to_the_same_run(name):
    """Otherwise the test above would pass by chance."""
    assert not zoo.differences(*(observed(name, base_of(name)) for _ in range(2)))


@pytest.mark.parametrize(
    "name",
    [name for name, entry in ZOO.items() if entry.learns_from and name not in ("soft_labels", "curriculum_labeling")],
)
def test_weight_and_rampup_scale_the_unsupervised_gradient(name):
    """weight 4 x rampup 0.5 = weight 2 x rampup 1, and without weight labels alone count."""

    def moved(weight: float, ramp: float) -> Tensor:
        settings = ZOO[name].nothing | {"unlabeled_weight": weight, "rampup": lambda progress: ramp}
        student = {"norm": False, "dropout": 0.0, "momentum": 0.0}
        strategy = build(name, "classification", student=student, **settings)
        before = zoo.weights(strategy)
        take_step(strategy, zoo.batches(strategy, "classification"))
        return zoo.weights(strategy) - before

    assert torch.equal(moved(4.0, 0.5), moved(2.0, 1.0))
    assert torch.equal(moved(0.0, 1.0), moved(3.0, 0.0))
    assert not torch.allclose(moved(2.0, 1.0), moved(0.0, 1.0), atol=1e-6)


@pytest.mark.parametrize("name", ["mean_teacher", "fixmatch", "ensemble", "pseudo_label"])
def test_the_rampup_hears_the_progress_of_the_stage(name):
    heard = []
    strategy = build(name, "classification", rampup=lambda progress: heard.append(progress) or 1.0)
    st.fit(strategy, toy.pile("classification"), steps=4, plan=zoo.PLAN)
    assert sorted(set(heard)) == [0, 0.25, 0.5, 0.75]


# -- senseless settings ------------------------------------------------------------------------------------------------
_ALL_WEIGHTS = [
    (name, {"unlabeled_weight": -0.5}, "-0.5")
    for name in ZOO
    if name not in ("supervised", "soft_labels", "curriculum_labeling")
]
_ALL_TEACHERS = [(name, {"decay": 1.5}, "1.5") for name in ZOO if name != "ensemble"]
_ALL_BUFFERS = [(name, {"buffers": "none"}, "none") for name in ZOO if name != "ensemble"]
_GUIDED = [
    (name, settings, shown)
    for name in ("mean_teacher", "fst", "fst_w")
    for settings, shown in [({"temperature": 0.0}, "0.0"), ({"distance": "l1"}, "l1"), ({"decay": -0.1}, "-0.1")]
]
_NO_LABELS = {"decay": None}
BAD = [
    *_ALL_WEIGHTS,
    *[(n, _NO_LABELS | s if n == "supervised" else s, v) for n, s, v in _ALL_TEACHERS if n != "soft_labels"],
    ("soft_labels", {"decay": 1.5}, "1.5"),
    *[(n, {"decay": 0.9} | s, v) for n, s, v in _ALL_BUFFERS],
    *_GUIDED,
    ("fixmatch", {"temperature": -1.0}, "-1.0"),
    ("mean_teacher", {"order": "during"}, "during"),
    ("fst", {"depth": -1}, "-1"),
    ("fst", {"faithful": "roughly"}, "roughly"),
    ("fst_w", {"width": 0}, "0"),
    ("fst_w", {"faithful": "roughly"}, "roughly"),
    ("soft_labels", {"alpha": -0.2}, "-0.2"),
    ("curriculum_labeling", {"alpha": -0.2}, "-0.2"),
    ("noisy_student", {"labeled_weight": -0.1}, "-0.1"),
    ("soft_labels", {"prior_weight": -0.3}, "-0.3"),
    ("soft_labels", {"entropy_weight": -0.4}, "-0.4"),
    ("ensemble", {"members": 1}, "1"),
    ("ensemble", {"quorum": -0.1}, "-0.1"),
    ("ensemble", {"quorum": 1.2}, "1.2"),
]


@pytest.mark.parametrize(("name", "settings", "shown"), BAD)
def test_senseless_settings_are_refused_by_their_value(name, settings, shown):
    with pytest.raises(ValueError, match=shown.replace(".", r"\.")) as caught:
        build(name, "classification", **settings)
    assert list(settings)[-1].split("_")[-1] in str(caught.value)


@pytest.mark.parametrize("name", list(ZOO))
def test_an_unknown_setting_is_refused(name):
    """By the name of the strategy; the nearest setting is named, where one is near."""
    takes = inspect.signature(ZOO[name].make).parameters
    near = "did you mean 'threshold" if {"threshold", "threshold_decay"} & set(takes) else ""
    with pytest.raises(TypeError, match=f"{ZOO[name].make.__name__} has no setting 'thresold'; {near}"):
        build(name, "classification", thresold=0.95)


@pytest.mark.parametrize("name", ["fixmatch", "pseudo_label", "soft_labels", "ensemble"])
def test_an_unknown_label_mode_is_refused_before_anything_is_learned(name):
    given = zoo.batches(build(name, "classification"), "classification")
    with pytest.raises(ValueError, match="evaluation"):
        take_step(build(name, "classification", label_mode="evaluation"), given)


@pytest.mark.parametrize(
    ("settings", "shown"),
    [({"accumulate": 0}, "0"), ({"max_grad_norm": -1.0}, "-1.0"), ({"precision": "fp8"}, "fp8"), ({"lr": 0.0}, "0.0")],
)
def test_senseless_settings_of_a_student_are_refused(settings, shown):
    with pytest.raises(ValueError, match=shown):
        toy.learner("classification", **settings)()


@pytest.mark.parametrize(("settings", "shown"), [({"decay": 2.0}, "2.0"), ({"buffers": "mean"}, "mean")])
def test_senseless_settings_of_a_teacher_are_refused(settings, shown):
    with pytest.raises(ValueError, match=shown):
        Teacher(toy.learner("classification")(), **settings)


def test_settings_of_a_student_change_the_run():
    """Precision and gathering are seen in ``test_contract_resume`` and ``test_contract``."""

    def ends(**student: Any) -> Tensor:
        strategy = build("supervised", "classification", student={"dropout": 0.0} | student)
        st.fit(strategy, toy.pile("classification"), steps=4, plan=zoo.PLAN)
        return zoo.weights(strategy)

    base = ends()
    changes = [
        {"lr": 0.1},
        {"momentum": 0.5},
        {"weight_decay": 0.1},
        {"max_grad_norm": 0.1},
        {"optimizer": "adamw"},
        {"schedule": st.constant()},
        {"accumulate": 2},
    ]
    for change in changes:
        assert not torch.equal(base, ends(**change)), change
    assert torch.allclose(base, ends(channels_last=False), atol=1e-5)


def test_the_engine_paces_the_learning_rate():
    learner: Learner = toy.learner("classification", schedule=lambda progress: 1 - progress)()
    rates = []
    strategy = strategies.Supervised(toy.task("classification"), lambda: learner)
    take = learner.update
    learner.update = lambda loss: rates.append(learner.optimizer.param_groups[0]["lr"]) or take(loss)  # type: ignore[method-assign]
    st.fit(strategy, toy.pile("classification"), steps=4, plan=zoo.PLAN)
    assert rates == pytest.approx([0.05 * share for share in (1, 0.75, 0.5, 0.25)])
