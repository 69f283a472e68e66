"""Strategies, thresholds and recipes by name, with the settings that an estimator fills in."""

from __future__ import annotations

import ast
import copy
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from selftrain import catalog, pretrain, select
from selftrain.strategy import MakeLearner, Strategy, SupervisedStrategy
from selftrain.tasks import Classification

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


def make_rule(rule: Any, *, classes: int, unlabeled: int) -> select.Select | None:
    """A rule for pseudo-labels from what a user writes.

    Args:
        rule: ``None``, a rule (copied), or text: a name in ``selftrain.select``, alone or called with plain values, as
            in ``"above(0.95)"`` or ``"free"``. The number of classes and of unlabeled samples is filled in.
        classes: Number of classes.
        unlabeled: Number of unlabeled samples.

    Raises:
        ValueError: for text that is no such call, or settings that the rule does not take.
    """
    if rule is None or isinstance(rule, select.Select):
        return copy.deepcopy(rule)
    if not isinstance(rule, str):
        raise ValueError(f"select is {rule!r}; give a rule of selftrain.select, or text such as 'above(0.95)'")
    name, given, named = _call(rule)
    makers = {key: getattr(select, key) for key in _RULES}
    if name not in makers:
        raise ValueError(f"select is {rule!r}; known are {', '.join(_RULES)}, called with plain values or not")
    asks = inspect.signature(makers[name]).parameters
    sizes = {key: size for key, size in (("groups", classes), ("unlabeled", unlabeled)) if key in asks}
    free = [key for key, p in asks.items() if key not in sizes and p.kind is not p.VAR_KEYWORD]
    if len(given) > len(free):
        raise ValueError(f"select is {rule!r}; {name} takes {len(free)} value(s) without a name: {', '.join(free)}")
    try:
        made: select.Select = makers[name](**{**sizes, **dict(zip(free, given, strict=False)), **named})
    except TypeError as error:
        raise ValueError(f"select is {rule!r}: {error}") from error
    return made


_RULES = ("everything", "above", "top", "quantile", "flex", "free", "soft", "relative", "class_wise")


def _call(text: str) -> tuple[str, list[Any], dict[str, Any]]:
    """Name, values and named values of a call such as ``above(0.95)``; only plain values are read."""
    try:
        node = ast.parse(text.strip(), mode="eval").body
        call = node if isinstance(node, ast.Call) else ast.Call(node, [], [])
        if isinstance(call.func, ast.Name):
            named = {str(k.arg): ast.literal_eval(k.value) for k in call.keywords}
            return call.func.id, [ast.literal_eval(value) for value in call.args], named
    except (SyntaxError, ValueError):
        pass
    raise ValueError(f"select is {text!r}; write a name, or a call with plain values such as 'above(0.95)'")


def outputs_of(strategy: Any) -> int:
    """Outputs that a strategy's network needs for each class."""
    return catalog.METHODS[strategy].outputs if strategy in catalog.METHODS else 1


def make_strategy(
    strategy: Any, make_learner: MakeLearner, settings: Mapping[str, Any], *, classes: int, unlabeled: int, steps: int
) -> SupervisedStrategy:
    """A strategy from its name, its class, or a function of (task, make_learner).

    Args:
        strategy: A name in ``selftrain.catalog.METHODS`` or something to call.
        make_learner: Builds the students.
        settings: Of the strategy.
        classes: Number of classes.
        unlabeled: Number of unlabeled samples.
        steps: Of the stage; moving averages that are not set are shortened to fit it, see ``short_averages``.

    Raises:
        ValueError: for an unknown name, settings that it does not take, or something that is no strategy.
    """
    task = Classification(classes)
    try:
        if isinstance(strategy, str):
            chosen = short_averages(catalog.METHODS[strategy].make, steps) if strategy in catalog.METHODS else {}
            sizes: dict[str, Any] = {"unlabeled": max(1, unlabeled), "label_shape": (classes,)}
            made: Any = catalog.build(strategy, task, make_learner, **sizes, **{**chosen, **settings})
        elif callable(strategy):
            made = strategy(task, make_learner, **settings)
        else:
            raise ValueError(f"strategy is {strategy!r}; give a name, a class of selftrain.strategies or a function")
    except TypeError as error:
        raise ValueError(f"strategy {strategy!r} cannot be built with {dict(settings)}: {error}") from error
    if not isinstance(made, SupervisedStrategy):
        raise ValueError(f"strategy {strategy!r} built a {type(made).__name__}, which learns no classes")
    return made


def short_averages(make: type, steps: int) -> dict[str, float]:
    """Decays of moving averages that fit a stage of this length.

    The papers' decays are made for a hundred thousand steps and more. A decay of d looks back on 1 / (1 - d) steps;
    that is limited to a tenth of the stage, for decays above 0.999 (a teacher's teacher) to a fifth.

    Args:
        make: A strategy's class; every setting of it or its bases named ``*decay`` with a number as default is meant.
        steps: Length of the stage.
    """
    found: dict[str, float] = {}
    for base in make.__mro__:
        for name, parameter in inspect.signature(base.__init__).parameters.items():  # type: ignore[misc]
            default = parameter.default
            if name.endswith("decay") and isinstance(default, float) and 0 < default < 1:
                found.setdefault(name, min(default, max(0.0, 1 - (5 if default > 0.999 else 10) / steps)))
    return found


def make_recipe(recipe: Any, encoder: nn.Module, settings: Mapping[str, Any]) -> Strategy:
    """A label-free stage from its name or a function of an encoder.

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
    try:
        made = make(encoder, **settings)
    except TypeError as error:
        raise ValueError(f"recipe {recipe!r} cannot be built with {dict(settings)}: {error}") from error
    if not isinstance(made, Strategy):
        raise ValueError(
            f"recipe {recipe!r} built a {type(made).__name__}; it must build a stage of selftrain.pretrain"
        )
    return made
