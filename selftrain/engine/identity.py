"""What makes a run the run that it is, beside its settings: data, classes, views, optimizers and schedules.

One list for two questions: whether a run goes on with what it began with, and whether all ranks were given the same.
"""

from __future__ import annotations

import copy
import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from selftrain.networks.described import describe, in_short
from selftrain.networks.student import Learner
from selftrain.runtime.attributes import Attributes
from selftrain.strategy.base import Strategy
from selftrain.types import Pile

_BATCHES = 4  # of the labeled part of a pile of the user's own kind
_MOMENTS = 9  # of a stage at which a schedule is asked


def identity_of_run(strategy: Strategy, pile: Pile) -> dict[str, Any]:
    """Plain values by name, of which none may differ between a run and the same run resumed, or between ranks.

    Args:
        strategy: Before or after training.
        pile: Its data.
    """
    return {
        "data": _of_pile(pile),
        "classes": [str(name) for name in pile.classes],
        "views": _of_views(getattr(pile, "views", None)),
        "optimizers": _numbered(map(_of_learner, strategy.learners())),
        "defaults": _resolved(strategy),
    }


def _of_pile(pile: Pile) -> dict[str, Any]:
    own = getattr(pile, "fingerprint", None)
    if callable(own):
        return dict(own())
    # One of the user's own kind: what every pile can tell.
    ids, truth = pile.unlabeled_ids(), pile.unlabeled_truth()
    found: dict[str, Any] = {"unlabeled": {"rows": len(ids), "ids": _sum("\0".join(map(str, ids)).encode())}}
    if truth is not None:
        found["unlabeled"]["truth"] = _sum(_bytes(truth))
    for part in ("labeled", "validation"):
        batches = pile.evaluation(part, 500, torch.device("cpu"))
        if batches is None:
            continue
        first = [batch for batch, _ in zip(batches, range(_BATCHES), strict=False)]
        found[part] = {
            "labels": _sum(b"".join(_bytes(batch.annotation) for batch in first)),
            "inputs": _sum(b"".join(_bytes(batch.x) for batch in first)),
        }
    return found


def _of_views(views: Any) -> Any:
    """How views are made: by their description, and in words where a part has none."""
    if not hasattr(views, "__dict__"):
        return _told(views)
    settings = dict(getattr(views, "arguments", None) or vars(views))
    for name in {"mean", "std"} & vars(views).keys():  # they were told, or made from the data
        settings[name] = getattr(views, name)
    return {"class": type(views).__name__, **{name: _told(value) for name, value in sorted(settings.items())}}


def _told(value: Any) -> Any:
    node = describe(value)
    if not _unknown(node):
        return in_short(node)
    if isinstance(value, Tensor) or hasattr(value, "__array__"):
        return _sum(_bytes(torch.as_tensor(value)))
    if callable(value) and hasattr(value, "__qualname__"):
        return value.__qualname__
    # Transforms of torchvision and albumentations tell their settings so; places in memory are none.
    return re.sub(r"0x[0-9a-f]+", "", repr(value))


def _unknown(node: Any) -> bool:
    if isinstance(node, Mapping):
        return "unknown" in node or any(map(_unknown, node.values()))
    return isinstance(node, list) and any(map(_unknown, node))


def _of_learner(one: Learner) -> dict[str, Any]:
    # Rates are compared as they were given, with the other settings of the run.
    groups = [{k: _told(v) for k, v in group.items() if k not in ("lr", "initial_lr")} for group in one.base_groups]
    return {
        "class": type(one.optimizer).__name__,
        "tensors": [len(group["params"]) for group in one.optimizer.param_groups],
        "groups": _numbered(groups),
        "schedule": _asked(one.schedule),
        **{name: getattr(one, name) for name in ("max_grad_norm", "accumulate", "precision")},
    }


def _asked(schedule: Any) -> list[float] | None:
    """A schedule by what it says: a function has no other description."""
    try:
        # Of an object that counts its calls, a copy is asked; a function has none, and is put back.
        mine, attributes = copy.deepcopy(schedule), Attributes(schedule)
        before = copy.deepcopy(attributes.state_dict())
        try:
            return [float(f"{float(mine(i / (_MOMENTS - 1))):.6g}") for i in range(_MOMENTS)]
        finally:
            attributes.load_state_dict(before)
    except Exception:  # it is the user's, and is asked in each step anyway
        return None


def _resolved(strategy: Strategy) -> dict[str, Any]:
    """What constructors made of settings that were left to them (``None``): another version makes something else."""
    found: dict[str, Any] = {}
    for place, module in strategy.named_modules():
        arguments = getattr(module, "arguments", None)
        for name in [k for k, v in arguments.items() if v is None] if isinstance(arguments, dict) else ():
            made = getattr(module, name, getattr(getattr(module, "pseudo_labeling", None), name, None))
            node = describe(made)
            if made is not None and not _unknown(node):
                found[f"{place}.{name}".lstrip(".")] = in_short(node)
    return found


def _numbered(rows: Iterable[Any]) -> dict[str, Any]:
    """By number: a difference is then named, and not shown as two lists."""
    return {str(number): row for number, row in enumerate(rows)}


def _bytes(values: Tensor) -> bytes:
    return values.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes()


def _sum(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=8).hexdigest()
