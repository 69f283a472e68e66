"""Stages of pretraining by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from selftrain import pretrain
from selftrain.catalog.parts import make_parts
from selftrain.networks.optim import Training
from selftrain.networks.student import Learner
from selftrain.strategy.base import Strategy

RECIPES: Mapping[str, Callable[..., Strategy]] = {
    "mae": pretrain.MAE,
    "sarjepa": pretrain.SARJEPA,
    "ijepa": pretrain.IJEPA,
    "stop": pretrain.StoP,
    "cnnjepa": pretrain.CNNJEPA,
    "ajepa": pretrain.AJEPA,
    "ecgjepa": pretrain.ECGJEPA,
    "tjepa": pretrain.TJEPA,
    "pointjepa": pretrain.PointJEPA,
    "lejepa": pretrain.LeJEPA,
    "simclr": pretrain.SimCLR,
    "vicreg": pretrain.VICReg,
    "unisiam": pretrain.UniSiam,
}
EMBEDDING = ("lejepa", "simclr", "vicreg", "unisiam")  # they embed whole views; all others predict tokens
_DEFAULT = {"table": "tjepa", "image": "mae", "series": "ecgjepa", "points": "pointjepa"}
_FEWEST = 4  # columns below which there is nothing to hide


def default_recipe(kind: str, shape: tuple[int, ...]) -> str:
    """The recipe for a kind of input.

    T-JEPA for tables (VICReg below four columns), MAE for images, ECG-JEPA for series, Point-JEPA for points.
    """
    return "vicreg" if kind == "table" and shape[0] < _FEWEST else _DEFAULT[kind]


def make_recipe(
    recipe: Any, encoder: nn.Module, settings: Mapping[str, Any], training: Mapping[str, Any] | None = None
) -> Strategy:
    """A label-free stage from its name or a function of an encoder.

    Args:
        recipe: A name in ``RECIPES``, or a function.
        encoder: That the stage fills; most recipes copy it.
        settings: Of the recipe; parts may be text, see ``make_part``.
        training: Fields of ``Training`` that replace those of the recipe's own; ``None``: none.

    Raises:
        ValueError: for an unknown name, settings that it does not take, or something that is no stage.
    """
    if isinstance(recipe, str) and recipe not in RECIPES:
        raise ValueError(f"no recipe {recipe!r}; known are {', '.join(RECIPES)}")
    make = RECIPES[recipe] if isinstance(recipe, str) else recipe
    if not callable(make) or isinstance(make, torch.nn.Module):
        raise ValueError(
            f"recipe is {recipe!r}; give a name, or a function of an encoder such as selftrain.pretrain.MAE"
        )
    drawn = torch.get_rng_state()
    try:
        made = make(encoder, **make_parts(settings))
    except TypeError as error:
        raise ValueError(f"recipe {recipe!r} cannot be built with {dict(settings)}: {error}") from error
    if not isinstance(made, Strategy):
        raise ValueError(
            f"recipe {recipe!r} built a {type(made).__name__}; it must build a stage of selftrain.pretrain"
        )
    if training:
        torch.set_rng_state(drawn)  # the same start, whatever is changed
        changed = replace(_training(next(iter(made.learners()))), **training)
        return make_recipe(recipe, encoder, {**settings, "training": changed})
    return made


def _training(learner: Learner) -> Training:
    """How a stage of a recipe is trained; every one of them has AdamW, at one rate."""
    chosen = learner.optimizer.defaults
    return Training(
        lr=chosen["lr"],
        weight_decay=chosen["weight_decay"],
        momentum=chosen["betas"][0],
        beta2=chosen["betas"][1],
        schedule=learner.schedule,
        max_grad_norm=learner.max_grad_norm,
        accumulate=learner.accumulate,
        precision=learner.precision,
        channels_last=learner.channels_last,
    )
