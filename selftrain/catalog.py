"""Every method by its short name: the one list that command lines, examples and benchmarks read."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from selftrain import strategies
from selftrain.strategy import MakeLearner, Strategy
from selftrain.tasks import Task


@dataclass(frozen=True)
class Method:
    """A named method: its class, the settings that make it that variant, and the outputs its network needs.

    Args:
        make: The strategy's class.
        settings: Settings that belong to the name.
        outputs: Channels of the network for each class or joint.
    """

    make: type[Strategy]
    settings: Mapping[str, Any] = field(default_factory=dict)
    outputs: int = 1


METHODS: Mapping[str, Method] = {
    "supervised": Method(strategies.Supervised),
    "pseudo_label": Method(strategies.PseudoLabel),
    "pi_model": Method(strategies.PiModel),
    "temporal_ensembling": Method(strategies.TemporalEnsembling),
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
    "soft_labels": Method(strategies.SoftLabels),
    "jointmatch": Method(strategies.JointMatch),
    "cps": Method(strategies.CrossPseudoSupervision),
    "ensemble": Method(strategies.Ensemble),
}


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
        settings: Any others of the class; they win over those of the name.

    Raises:
        ValueError: for an unknown name.
    """
    if name not in METHODS:
        raise ValueError(f"no method {name!r}; known are {', '.join(sorted(METHODS))}")
    method = METHODS[name]
    takes = inspect.signature(method.make.__init__).parameters
    units = tuple(task.confidence(torch.zeros(1, *label_shape)).shape[1:])
    sizes = {"unlabeled": unlabeled, "label_shape": label_shape, "units": units}
    needed = {key: value for key, value in sizes.items() if key in takes}
    return method.make(task, make_learner, **{**needed, **method.settings, **settings})
