"""Strategies by name, with the settings that the problem fills in."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from selftrain import strategies
from selftrain.arguments import shown
from selftrain.catalog.parts import make_parts, sizes_of
from selftrain.networks.student import MakeLearner
from selftrain.strategy.base import Strategy, SupervisedStrategy
from selftrain.tasks import Task


@dataclass(frozen=True)
class Method:
    """A named method: its class, the settings that make it that variant, and the outputs its network needs.

    Args:
        make: The strategy's class.
        settings: Settings that belong to the name.
        outputs: Channels of the network for each class or joint.
        averages: Decays of moving averages that the name has where its class has none.
    """

    make: type[Strategy]
    settings: Mapping[str, Any] = field(default_factory=dict)
    outputs: int = 1
    averages: Mapping[str, float] = field(default_factory=dict)


# their papers ship the last weights, and so do the classes; by name the average of the weights is shipped
_SHIPPED = {"decay": 0.999}
METHODS: Mapping[str, Method] = {
    "supervised": Method(strategies.Supervised),
    "pseudo_label": Method(strategies.PseudoLabel),
    "pi_model": Method(strategies.PiModel),
    "temporal_ensembling": Method(strategies.TemporalEnsembling, averages=_SHIPPED),
    "vat": Method(strategies.VAT),
    "mean_teacher": Method(strategies.MeanTeacher),
    "mean_teacher_two_heads": Method(strategies.TwoHeadedMeanTeacher, outputs=2),
    "reviewer": Method(strategies.ReviewedTeacher),
    "uda": Method(strategies.UDA),
    "mixmatch": Method(strategies.MixMatch),
    "fixmatch": Method(strategies.FixMatch),
    "flexmatch": Method(strategies.FlexMatch),
    "freematch": Method(strategies.FreeMatch),
    "softmatch": Method(strategies.SoftMatch),
    "adamatch": Method(strategies.AdaMatch),
    "fst": Method(strategies.FutureSelfTraining, {"depth": 1}),
    "fst_d": Method(strategies.FutureSelfTraining, {"depth": 3}),
    "fst_w": Method(strategies.WideFutureSelfTraining, {"width": 3}),
    "label_propagation": Method(strategies.LabelPropagation, averages=_SHIPPED),
    "soft_labels": Method(strategies.SoftLabels, averages=_SHIPPED),
    "jointmatch": Method(strategies.JointMatch),
    "cps": Method(strategies.CrossPseudoSupervision),
    "ensemble": Method(strategies.Ensemble),
    "unimatch": Method(strategies.UniMatch, averages=_SHIPPED),
    "unimatch_v2": Method(strategies.UniMatchV2),
}


# what looks back over many steps: the settings that ``short_averages`` fits to a stage
_AVERAGES = ("decay", "review_decay", "align_decay", "threshold_decay", "status_decay")


def default_method(select: Any = None) -> str:
    """FreeMatch, or FixMatch where a rule for pseudo-labels is given: FreeMatch has a rule of its own.

    Chosen on held-out samples by ``benchmarks/choose.py`` (images) and ``benchmarks/choose_tables.py``.
    """
    return "freematch" if select is None else "fixmatch"


# Where FreeMatch as published fell below the labels alone: benchmarks/few_labels.py.
_LABELS, _DRAWS, _FLOOR = 3, 128, 0.95


def default_settings(name: str, *, classes: int, labeled: int, drawn: int) -> dict[str, Any]:
    """What the default strategy does otherwise than its paper where labels are few; nothing where they are not.

    The threshold of FreeMatch begins at 1 / classes, so that at first every decision passes. Where labels are learned
    slowly, or few of them speak for a class, these decisions drown them. There its level does not fall below 0.95,
    FixMatch's threshold, which it goes on to share out over the classes. Few are: fewer than 3 labels a class, or fewer
    than 128 of a class drawn in the whole training.

    Args:
        name: As ``default_method`` gives it.
        classes: Number of classes.
        labeled: Number of labeled samples.
        drawn: Labeled samples that the whole training draws: steps x batch.
    """
    few = labeled < _LABELS * classes or drawn < _DRAWS * classes
    return {"limits": (_FLOOR, 1.0)} if few and name == "freematch" else {}


def build(
    name: str,
    task: Task,
    make_learner: MakeLearner,
    *,
    unlabeled: int,
    label_shape: tuple[int, ...],
    **settings: Any,
) -> Strategy:
    """Make a strategy by name.

    Args:
        name: One of ``METHODS``.
        task: Kind of output.
        make_learner: Builds the student or students.
        unlabeled: Number of unlabeled samples, for methods that remember each.
        label_shape: Shape of one label, (C, *S), for the same.
        settings: Any others of the class; they win over those of the name. Parts may be text, see ``make_part``.

    Raises:
        ValueError: for an unknown name.
    """
    method = METHODS[_known(name)]
    sizes = sizes_of(task, unlabeled, label_shape)
    made: Strategy = _made(method.make, task, make_learner, sizes, {**method.settings, **settings})
    return made


def _known(name: str) -> str:
    if name not in METHODS:
        raise ValueError(f"no method {name!r}; known are {', '.join(sorted(METHODS))}")
    return name


def _made(make: Any, task: Task, make_learner: MakeLearner, sizes: Mapping[str, Any], settings: Any) -> Any:
    """A strategy with the sizes that it asks for, and texts as parts."""
    takes = inspect.signature(make).parameters
    # a strategy gets its task as the first argument; only parts ask for it by name
    needed = {key: size for key, size in sizes.items() if key in takes and key != "task"}
    return make(task, make_learner, **{**needed, **make_parts(settings, **sizes)})


def method_of(strategy: Any) -> Method:
    """The method that a name, a class of strategies or a function of (task, make_learner) stands for."""
    if isinstance(strategy, str) and strategy in METHODS:
        return METHODS[strategy]
    same = [method for method in METHODS.values() if method.make is strategy]
    # presets of one class differ in their settings alone: the first speaks for all
    return Method(strategy, outputs=same[0].outputs, averages=same[0].averages) if same else Method(strategy)


def make_strategy(
    strategy: Any,
    make_learner: MakeLearner,
    settings: Mapping[str, Any],
    *,
    task: Task,
    label_shape: tuple[int, ...],
    unlabeled: int,
    steps: int,
) -> SupervisedStrategy:
    """A strategy from its name, its class, or a function of (task, make_learner).

    Args:
        strategy: A name in ``selftrain.catalog.METHODS`` or something to call.
        make_learner: Builds the students.
        settings: Of the strategy; parts may be text, see ``make_part``.
        task: Kind of output.
        label_shape: Shape of one label, (C, *S).
        unlabeled: Number of unlabeled samples.
        steps: Of the stage; moving averages that a name does not set are shortened to fit it, see ``short_averages``.

    Raises:
        ValueError: for an unknown name, settings that it does not take, or something that is no strategy.
    """
    own: dict[str, Any] = {}
    make = strategy
    if isinstance(strategy, str):
        make = METHODS[_known(strategy)].make
        own = {**METHODS[strategy].settings, **short_averages(strategy, steps)}
    if not callable(make) or isinstance(make, Strategy):
        raise ValueError(f"strategy is {shown(strategy)}; give a name, a class of selftrain.strategies or a function")
    try:
        made = _made(make, task, make_learner, sizes_of(task, unlabeled, label_shape), {**own, **settings})
    except TypeError as error:
        raise ValueError(f"strategy {strategy!r} cannot be built with {dict(settings)}: {error}") from error
    if not isinstance(made, SupervisedStrategy):
        raise ValueError(f"strategy {strategy!r} built a {type(made).__name__}, which learns no classes")
    return made


def short_averages(strategy: Any, steps: int) -> dict[str, float]:
    """Decays of moving averages that fit a stage of this length.

    The papers' decays are made for a hundred thousand steps and more. A decay of d looks back on 1 / (1 - d) steps;
    that is limited to a tenth of the stage, for decays above 0.999 (a teacher's teacher) to a fifth.

    Args:
        strategy: A name in ``METHODS``, or a class of strategies.
        steps: Length of the stage.
    """
    method = method_of(strategy)
    defaults = {key: p.default for key, p in inspect.signature(method.make).parameters.items()} | dict(method.averages)
    # a decay of 0 or 1 looks back on no number of steps: it is meant as it is; below ten steps the bound would be
    # negative, which is no decay
    return {
        name: min(default, max(0.0, 1 - (5 if default > 0.999 else 10) / steps))
        for name in _AVERAGES
        if isinstance(default := defaults.get(name), float) and 0 < default < 1
    }
