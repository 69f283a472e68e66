"""Parts of a method from what a user writes: a name, a call with plain values, or a class with its arguments."""

from __future__ import annotations

import ast
import copy
import inspect
from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from typing import Any

import torch

from selftrain import pretrain, schedule, select
from selftrain.data import AlbumentationsViews, PointViews, SeriesViews, TableViews, TensorViews
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
from selftrain.select.alignment import Align
from selftrain.select.darp import Darp
from selftrain.select.debias import AdjustLabels, Debias
from selftrain.tasks import Classification, Keypoints, Segmentation, Task

Maker = Callable[..., Any]
Names = Mapping[str, Maker]
_SCHEDULES: Names = {
    "constant": schedule.Constant,
    "cosine": schedule.Cosine,
    "ramp_linear": schedule.RampLinear,
    "ramp_sigmoid": schedule.RampSigmoid,
}
PARTS: Mapping[str, Names] = {
    "select": {
        "everything": select.Everything,
        "above": select.Above,
        "top": select.TopShare,
        "image_share": select.ImageShare,
        "quantile": select.Quantile,
        "flex": select.Flex,
        "free": select.Free,
        "soft": select.Soft,
        "relative": select.Relative,
        "class_wise": select.ClassWise,
    },
    "rampup": _SCHEDULES,
    "schedule": _SCHEDULES,
    "mix": {
        "mixup": Mixup,
        "cutmix": CutMix,
        "cutmix_seg": CutMixSeg,
        "classmix": ClassMix,
        "source_classmix": SourceClassMix,
        "label_injection": LabelInjection,
        "keypoint_mix": KeypointMix,
        "joint_occlusion": JointOcclusion,
    },
    "align": {
        **{target: partial(Align, target=target) for target in ("uniform", "labeled", "pile")},
        "debias": Debias,
        "adjust_labels": AdjustLabels,
        "darp": Darp,
    },
    "masks": {
        "random_mask": pretrain.RandomMask,
        "multi_block": pretrain.MultiBlock,
        "blocks": pretrain.Blocks,
        "time_frequency": pretrain.TimeFrequency,
        "feature_subset": pretrain.FeatureSubset,
        "runs": pretrain.Runs,
        "local_windows": pretrain.LocalWindows,
    },
}
VIEWS: Names = {
    "tensor": TensorViews,
    "albumentations": AlbumentationsViews,
    "table": TableViews,
    "series": SeriesViews,
    "points": PointViews,
}
TASKS: Names = {"classification": Classification, "segmentation": Segmentation, "keypoints": Keypoints}
# What a problem fills in, by the name of the parameter that asks for it: nobody has to say these sizes, so no text and
# no option has them. This is the one place that knows the names.
SIZES = ("task", "groups", "unlabeled", "label_shape", "units")


def sizes_of(task: Task, unlabeled: int, label_shape: tuple[int, ...]) -> dict[str, Any]:
    """The values of ``SIZES`` for a problem; ``label_shape`` is that of one label, (C, *S)."""
    # only the task knows its units: () for a class, (H, W) for masks, (K,) for joints
    units = tuple(task.confidence(torch.zeros(1, *label_shape)).shape[1:])
    # at least 1: rules that remember each sample refuse to have none, and a pile may hold labels alone
    values = (task, task.groups, max(1, unlabeled), label_shape, units)
    return dict(zip(SIZES, values, strict=True))


def named(kind: str, text: str, known: Names) -> dict[str, Any] | None:
    """What a text names, as ``class_path`` and ``init_args``; ``None``: it is in no table.

    Args:
        kind: The setting that takes it, for messages.
        text: A name, alone or called with plain values, as in ``"above(0.95)"`` or ``"fst_d"``; the class's own name is
            as good (``"FutureSelfTraining"``), capitals and underscores do not matter.
        known: Classes and functions by name; a ``partial`` is one with settings of its own.

    Raises:
        ValueError: for a call that cannot be read, or more values than the class takes.
    """
    name, given, settings = _call(kind, text, known)
    # a preset is a class with settings; its class is known by its own name, too
    presets = {key: (m.func, m.keywords) if isinstance(m, partial) else (m, {}) for key, m in known.items()}
    makers: dict[str, Any] = {_plain(make.__name__): (make, {}) for make, _ in presets.values()}
    make, own = (makers | {_plain(key): preset for key, preset in presets.items()}).get(_plain(name), (None, {}))
    if make is None:
        return None
    # sizes take no place among the values: `flex(0.8)` is a threshold, though two sizes stand before it
    free = [key for key in inspect.signature(make).parameters if key not in SIZES]
    if len(given) > len(free):
        raise ValueError(f"{kind} is {text!r}; {name} takes {len(free)} value(s) without a name: {', '.join(free)}")
    settings = {**own, **dict(zip(free, given, strict=False)), **settings}
    return {"class_path": path_of(make), "init_args": settings}


def path_of(make: Any) -> str:
    """Where a class or function is imported from: of the packages that have it, the outermost."""
    # The path is stored with runs and compared when one goes on: it must not change where a file in a package moves.
    # From depth 2 on: the root holds its names only once they were asked for, and the path may not depend on that.
    rooms, name = make.__module__.split("."), make.__name__
    outer = [".".join(rooms[:depth]) for depth in range(2, len(rooms))]
    found = [f"{room}.{name}" for room in outer if vars(import_module(room)).get(name) is make]
    return found[0] if found else f"{make.__module__}.{make.__qualname__}"


def make_part(setting: str, value: Any, **sizes: Any) -> Any:
    """A part of a method from what a user writes.

    Args:
        setting: The setting that takes it, one of ``PARTS``; text for any other setting is returned as it is.
        value: Text, see ``named``, or a mapping with ``class_path`` and ``init_args``. Anything else is returned as it
            is.
        **sizes: See ``SIZES``; a part gets those that it asks for.

    Raises:
        ValueError: for text that is no such call, or settings that the part does not take.
    """
    written = repr(value)
    if setting in PARTS and isinstance(value, str):
        found = named(setting, value, PARTS[setting])
        if found is None:
            raise ValueError(f"{setting} is {written}; known are {', '.join(PARTS[setting])}, called or not")
        value = found
    if not (isinstance(value, Mapping) and "class_path" in value):
        return value
    # imports whatever is named: of run folders, ``cli.folder.settings_in`` has refused code of others before
    module, _, name = value["class_path"].rpartition(".")
    make: Any = getattr(import_module(module), name)
    takes = inspect.signature(make).parameters
    given = {key: make_part(key, inner, **sizes) for key, inner in (value.get("init_args") or {}).items()}
    try:
        return make(**{key: size for key, size in sizes.items() if key in takes} | given)
    except TypeError as error:
        raise ValueError(f"{setting} is {written}: {error}") from error


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
        return copy.deepcopy(rule)  # a memory that was filled elsewhere is not shared
    if not isinstance(rule, str):
        raise ValueError(f"select is {rule!r}; give a rule of selftrain.select, or text such as 'above(0.95)'")
    made: select.Selector = make_part("select", rule, groups=classes, unlabeled=unlabeled)
    return made


def _call(kind: str, text: str, known: Names) -> tuple[str, list[Any], dict[str, Any]]:
    """Name, values and named values of a call such as ``above(0.95)``; plain values are read, nothing is run."""
    try:
        node = ast.parse(text.strip(), mode="eval").body
        call = node if isinstance(node, ast.Call) else ast.Call(node, [], [])
        if isinstance(call.func, ast.Name):
            settings = {str(k.arg): ast.literal_eval(k.value) for k in call.keywords}
            return call.func.id, [ast.literal_eval(value) for value in call.args], settings
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # the last two of text that is nested too deeply
        pass
    raise ValueError(f"{kind} is {text!r}; write a name such as {next(iter(known))!r}, or a call with plain values")


def _plain(name: str) -> str:
    return name.replace("_", "").lower()
