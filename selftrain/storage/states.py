"""States in types that can be read back without running code."""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from selftrain.errors import CheckpointError
from selftrain.storage.fields import check

_ARRAY = "numpy array"  # key of a dict that stands for one
_AS_THEY_ARE = (type(None), bool, int, float, complex, str, bytes, torch.Size, torch.dtype, torch.device)
_SEQUENCES = (tuple, list, deque, set, frozenset)


def storable(value: Any, place: str = "") -> Any:
    """A state in the types that ``torch.load(weights_only=True)`` accepts; numbers of numpy become Python's.

    Args:
        value: Tensors, numbers, text, None, and lists, tuples, sets and dicts of them; numbers and arrays of numpy.
        place: Where it is in the state, for messages.

    Raises:
        CheckpointError: for anything else; the message says where it is.
    """
    try:
        if isinstance(value, Mapping):
            return _mapping(value, place)
        if isinstance(value, _SEQUENCES) and type(value) not in _AS_THEY_ARE:
            parts = [storable(inner, f"{place}.{number}") for number, inner in enumerate(value)]
            return parts if isinstance(value, (list, deque)) else tuple(parts) if isinstance(value, tuple) else {*parts}
    except RecursionError as error:
        raise CheckpointError(f"the state has no end at {place:.200}; no checkpoint can hold it") from error
    return _leaf(value, place)


def restored(value: Any) -> Any:
    """What ``storable`` was given, as far as it can be: arrays are arrays again."""
    if isinstance(value, dict):
        if value.keys() == {_ARRAY} and isinstance(value[_ARRAY], Tensor):
            return value[_ARRAY].cpu().numpy()
        for key, inner in value.items():  # in place: what is no bare dict stays what it is
            value[key] = restored(inner)
        return value
    return type(value)(map(restored, value)) if type(value) in (list, tuple) else value


def load_into(module: nn.Module, state: Any) -> None:
    """Load a state that may be a stranger's.

    Raises:
        ValueError: it has other names, shapes or kinds of numbers, or its other parts do not fit.
    """
    try:
        check(state, {str: object}, "the state")
        parts = [*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False)]
        # What torch would take: numbers of another kind are cut off without a word.
        for name, own in parts:
            new = state.get(name, own)
            if not (isinstance(new, Tensor) and _kind(new) == _kind(own)):
                found = f"{new.dtype}, {new.layout}" if isinstance(new, Tensor) else f"{type(new).__name__}"
                raise ValueError(f"{name} is a tensor of {found}, not of {own.dtype}")
        module.load_state_dict(state)
    except Exception as error:  # what a module makes of its own state raises whatever it does
        raise ValueError(str(error) or repr(error)) from error


def _kind(tensor: Tensor) -> tuple[object, ...]:
    return tensor.is_floating_point(), tensor.is_complex(), tensor.layout, tensor.is_meta


def _mapping(value: Mapping[Any, Any], place: str) -> Any:
    made = {storable(key, f"{place}.{key}"): storable(inner, f"{place}.{key}") for key, inner in value.items()}
    if type(value) not in (OrderedDict, Counter):
        return made
    same: Any = OrderedDict(made) if isinstance(value, OrderedDict) else Counter(made)
    vars(same).update(storable(vars(value), place))  # the versions of modules, in the state of one
    return same


def _leaf(value: Any, place: str) -> Any:
    if type(value) in _AS_THEY_ARE:
        return value
    if isinstance(value, Tensor):
        # Those of torch itself are read back; of a class of somebody else's the numbers count.
        return value if type(value).__module__.startswith("torch") else value.detach().as_subclass(Tensor)
    if isinstance(value, np.ndarray) and value.dtype.kind in "biufc":
        return {_ARRAY: torch.from_numpy(np.array(value, dtype=value.dtype.newbyteorder("="), order="C"))}
    if isinstance(value, (np.generic, PurePath)):
        value = value.item() if isinstance(value, np.generic) else str(value)
    if type(value) in _AS_THEY_ARE:
        return value
    for kind in (int, float, str):  # of which a member of an enumeration is one, too
        if isinstance(value, kind):
            return kind(value)
    raise CheckpointError(
        f"the state has a {type(value).__module__}.{type(value).__qualname__} at {place.lstrip('.')}, which no "
        "checkpoint can hold; keep numbers, text, lists, dicts, arrays and tensors there"
    )
