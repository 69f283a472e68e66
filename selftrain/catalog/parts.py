"""Rules, schedules, mixes, alignments and maskers from what a user writes: a name, or a call with plain values."""

from __future__ import annotations

import ast
import copy
import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from selftrain import pretrain, schedule, select
from selftrain.mix import ClassMix, CutMix, KeypointMix, Mixup
from selftrain.select.alignment import Align

Maker = Callable[..., Any]

RULES: Mapping[str, Maker] = {
    name: getattr(select, name)
    for name in ("everything", "above", "top", "quantile", "flex", "free", "soft", "relative", "class_wise")
}
SCHEDULES: Mapping[str, Maker] = {
    name: getattr(schedule, name) for name in ("constant", "cosine", "ramp_linear", "ramp_sigmoid")
}
MIXES: Mapping[str, Maker] = {"mixup": Mixup, "cutmix": CutMix, "classmix": ClassMix, "keypoint_mix": KeypointMix}
ALIGNMENTS: Mapping[str, Maker] = {target: partial(Align, target=target) for target in ("uniform", "labeled")}
MASKERS: Mapping[str, Maker] = {
    "random_mask": pretrain.RandomMask,
    "multi_block": pretrain.MultiBlock,
    "blocks": pretrain.Blocks,
    "time_frequency": pretrain.TimeFrequency,
    "feature_subset": pretrain.FeatureSubset,
    "runs": pretrain.Runs,
    "local_windows": pretrain.LocalWindows,
}
PARTS: Mapping[str, Mapping[str, Maker]] = {
    "select": RULES,
    "rampup": SCHEDULES,
    "schedule": SCHEDULES,
    "mix": MIXES,
    "align": ALIGNMENTS,
    "masks": MASKERS,
}


def make_part(setting: str, value: Any, **sizes: Any) -> Any:
    """A part of a method from what a user writes.

    Args:
        setting: The setting that takes it, one of ``PARTS``; the value of any other setting is returned as it is.
        value: Text: a name in ``PARTS[setting]``, alone or called with plain values, as in ``"above(0.95)"`` or
            ``"free"``; capitals and underscores do not matter. Anything else is returned as it is.
        **sizes: What the problem knows and text need not say, such as ``groups``, ``unlabeled`` and ``task``; a part
            gets those that it asks for.

    Raises:
        ValueError: for text that is no such call, or settings that the part does not take.
    """
    makers = PARTS.get(setting)
    if makers is None or not isinstance(value, str):
        return value
    name, given, named = _call(setting, value)
    make = next((maker for key, maker in makers.items() if _plain(key) == _plain(name)), None)
    if make is None:
        raise ValueError(f"{setting} is {value!r}; known are {', '.join(makers)}, called with plain values or not")
    asks = inspect.signature(make).parameters
    known = {key: size for key, size in sizes.items() if key in asks}
    free = [key for key, p in asks.items() if key not in known and p.kind is not p.VAR_KEYWORD]
    if len(given) > len(free):
        raise ValueError(f"{setting} is {value!r}; {name} takes {len(free)} value(s) without a name: {', '.join(free)}")
    try:
        return make(**{**known, **dict(zip(free, given, strict=False)), **named})
    except TypeError as error:
        raise ValueError(f"{setting} is {value!r}: {error}") from error


def make_parts(settings: Mapping[str, Any], **sizes: Any) -> dict[str, Any]:
    """Settings whose texts became parts, see ``make_part``."""
    return {key: make_part(key, value, **sizes) for key, value in settings.items()}


def make_rule(rule: Any, *, classes: int, unlabeled: int) -> select.Selector | None:
    """A rule for pseudo-labels from what a user writes.

    Args:
        rule: ``None``, a rule (copied), or text, see ``make_part``.
        classes: Number of classes.
        unlabeled: Number of unlabeled samples.

    Raises:
        ValueError: for something else, text that is no such call, or settings that the rule does not take.
    """
    if rule is None or isinstance(rule, select.Selector):
        return copy.deepcopy(rule)
    if not isinstance(rule, str):
        raise ValueError(f"select is {rule!r}; give a rule of selftrain.select, or text such as 'above(0.95)'")
    made: select.Selector = make_part("select", rule, groups=classes, unlabeled=unlabeled)
    return made


def _call(setting: str, text: str) -> tuple[str, list[Any], dict[str, Any]]:
    """Name, values and named values of a call such as ``above(0.95)``; only plain values are read."""
    try:
        node = ast.parse(text.strip(), mode="eval").body
        call = node if isinstance(node, ast.Call) else ast.Call(node, [], [])
        if isinstance(call.func, ast.Name):
            named = {str(k.arg): ast.literal_eval(k.value) for k in call.keywords}
            return call.func.id, [ast.literal_eval(value) for value in call.args], named
    except (SyntaxError, ValueError):
        pass
    example = next(iter(PARTS[setting]))
    raise ValueError(f"{setting} is {text!r}; write a name such as {example!r}, or a call with plain values")


def _plain(name: str) -> str:
    return name.replace("_", "").lower()
