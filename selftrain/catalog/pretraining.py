"""Stages of pretraining by name."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from torch import nn

from selftrain import pretrain
from selftrain.catalog.parts import make_parts
from selftrain.networks.optim import Training
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
    # a module can be called, too: an encoder in the place of the recipe would be called with the encoder
    if not callable(make) or isinstance(make, nn.Module):
        raise ValueError(
            f"recipe is {recipe!r}; give a name, or a function of an encoder such as selftrain.pretrain.MAE"
        )
    chosen = make_parts(settings)
    if training:
        # single fields: a rate or beta2 that nobody changes is that of the recipe and not the default of ``Training``
        chosen["training"] = replace(_own_training(make), **training)
    try:
        made = make(encoder, **chosen)
    except TypeError as error:
        raise ValueError(f"recipe {recipe!r} cannot be built with {dict(settings)}: {error}") from error
    if not isinstance(made, Strategy):
        raise ValueError(
            f"recipe {recipe!r} built a {type(made).__name__}; it must build a stage of selftrain.pretrain"
        )
    return made


def _own_training(make: Any) -> Training:
    """How a recipe trains unless it is told: ``TRAINING`` in its file, or in that of the class it is made from."""
    for base in getattr(make, "__mro__", ()):
        found = getattr(sys.modules[base.__module__], "TRAINING", None)
        if isinstance(found, Training):
            return found
    return Training()  # a function of the user's own
