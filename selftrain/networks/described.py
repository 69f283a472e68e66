"""How an object was built, as plain values that JSON holds: what a run folder keeps in order to be built again.

A dict stands for what JSON has no word for, by its key: ``make`` (a class that was called with ``settings`` and perhaps
``args``), ``name`` (a class or function itself), ``partial``, ``tuple``, ``map``, ``tensor``, ``dtype``, ``float``,
``learner`` (what ``selftrain.learner`` returns), and ``unknown``, with the reason in words.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import inspect
import math
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from pathlib import PurePath
from types import BuiltinFunctionType, FunctionType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from selftrain.types import Recorded, noting

Node = Any
Calls = dict[int, tuple[nn.Module, tuple[Any, ...], dict[str, Any]]]
_LARGEST = 10_000  # values of a tensor that is written down
_ONE_AT_A_TIME = threading.RLock()
_NOTES: list[Callable[..., None]] = []  # of those who listen, the outermost first


@contextlib.contextmanager
def calls_noted() -> Iterator[Calls]:
    """Note how each module is built meanwhile, whoever's it is: afterwards a module does not know its arguments."""
    calls: Calls = {}

    def note(made: Any, values: tuple[Any, ...], settings: dict[str, Any]) -> None:
        calls.setdefault(id(made), (made, tuple(map(_copied, values)), {k: _copied(v) for k, v in settings.items()}))

    # Two threads that took off their wrappers in the order they put them on would leave one of them there.
    with _ONE_AT_A_TIME, contextlib.nullcontext() if _NOTES else _constructors_tell():
        _NOTES.append(note)
        try:
            yield calls
        finally:
            _NOTES.pop()


@contextlib.contextmanager
def _constructors_tell() -> Iterator[None]:
    own: dict[Any, FunctionType] = {}

    def watch(cls: type) -> None:
        init = vars(cls).get("__init__")
        if isinstance(init, FunctionType) and type(cls) is type:
            own[cls] = init
            cls.__init__ = _telling(init)  # type: ignore[misc]

    def meet(cls: Any, /, **more: Any) -> None:
        super(nn.Module, cls).__init_subclass__(**more)
        watch(cls)

    module: Any = nn.Module
    hook = vars(nn.Module).get("__init_subclass__")
    for cls in _below(nn.Module, set()):
        watch(cls)
    module.__init_subclass__ = classmethod(meet)  # for what is imported meanwhile
    try:
        yield
    finally:
        if hook is None:
            del module.__init_subclass__
        else:
            module.__init_subclass__ = hook
        for cls, init in own.items():
            # a class that was defined meanwhile may have wrapped its constructor since, as Recorded does: it keeps that
            if vars(cls).get("__init__") is _telling(init):
                cls.__init__ = init


def _telling(init: FunctionType) -> Any:
    """``init`` that first tells all who listen; kept at ``init``: there are hundreds, too many to make every time."""
    made = vars(init).get("_telling")
    if made is None or made.__wrapped__ is not init:  # a wrapper of somebody else's has taken over what it found there
        made = noting(init, _tell)
        init._telling = made  # type: ignore[attr-defined]
    return made


def _tell(made: Any, values: tuple[Any, ...], settings: dict[str, Any]) -> None:
    for note in _NOTES:
        note(made, values, settings)


def describe(value: Any, calls: Calls | None = None) -> Node:
    """How ``value`` was built.

    Args:
        value: Anything; what cannot be described becomes ``{"unknown": why}``.
        calls: Of ``calls_noted``, for modules that were built meanwhile.
    """
    inner = functools.partial(describe, calls=calls)
    for kinds, words in _WORDS:
        if isinstance(value, kinds):
            return words(value, inner)
    own = getattr(value, "described", None)
    return _made(value, calls or {}, inner) if own is None else own()


def fingerprint(network: nn.Module) -> str:
    """What tells the structure of a network from another's: its parts in words, and names and shapes of its tensors."""
    words = re.sub(r"0x[0-9a-f]+", "", repr(network))  # places in memory
    shapes = [
        (name, tuple(tensor.shape)) for name, tensor in network.state_dict().items() if isinstance(tensor, Tensor)
    ]
    return hashlib.sha256(f"{words}{shapes}".encode()).hexdigest()[:16]


def in_short(node: Node) -> Any:
    """A description for people: classes and functions without their module."""
    if isinstance(node, list):
        return [in_short(one) for one in node]
    if not isinstance(node, dict):
        return node
    if "learner" in node:
        networks = [in_short(one) for one in node["learner"]]
        return {"network": networks[0] if len(networks) == 1 else networks} | settings_in_short(node["training"])
    if "make" in node or "partial" in node:
        name = _short(node["make"]) if "make" in node else in_short(node["partial"])
        args = {"args": in_short(node["args"])} if node.get("args") else {}
        given = args | settings_in_short(node)
        return {"class": name} | given if given else name
    if "map" in node:
        return {str(in_short(key)): in_short(one) for key, one in node["map"]}
    if "name" in node:
        return _short(node["name"])
    # What cannot be described is none: where a script defines a function says nothing of what it does.
    return in_short(next((node[key] for key in ("tuple", "tensor", "dtype", "float") if key in node), None))


def settings_in_short(node: Node) -> dict[str, Any]:
    """The settings of what was built, for people."""
    return {name: in_short(one) for name, one in node.get("settings", {}).items()}


def _made(value: Any, calls: Calls, inner: Callable[[Any], Node]) -> Node:
    """An object by the call that built it."""
    arguments = getattr(value, "arguments", None)
    if isinstance(value, Recorded) or isinstance(arguments, dict):
        return _call(value, _split(type(value), dict(arguments or {})), inner)
    if id(value) in calls:
        _, values, settings = calls[id(value)]
        return _call(value, (list(values), settings), inner)
    if dataclasses.is_dataclass(value):
        fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if f.init}
        return _call(value, ([], fields), inner)
    if isinstance(value, nn.Module):
        given = _looked_up(value)
        if given is not None:
            return _call(value, given, inner)
        return {"unknown": f"{_path(type(value))}, a module that was built before selftrain.learner was asked for it"}
    return {"unknown": f"an object of {_path(type(value))}"}


def _call(value: Any, given: tuple[list[Any], dict[str, Any]], inner: Callable[[Any], Node]) -> Node:
    values, settings = given
    named = _named(type(value))
    if "unknown" in named:
        return named
    args = {"args": [inner(one) for one in values]} if values else {}
    return {"make": named["name"]} | args | {"settings": {key: inner(one) for key, one in settings.items()}}


def _split(cls: type, arguments: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """Arguments by name as values and settings: those a constructor takes in any number have no name."""
    values: list[Any] = []
    for parameter in inspect.signature(cls).parameters.values():
        if parameter.kind is parameter.VAR_POSITIONAL:
            rest = [arguments.pop(name) for name in [*arguments] if name == parameter.name]
            before = list(inspect.signature(cls).parameters)
            values = [arguments.pop(n) for n in before[: before.index(parameter.name)]] + [*rest[0]] if rest else []
        elif parameter.kind is parameter.VAR_KEYWORD:
            arguments |= arguments.pop(parameter.name, {})
    return values, arguments


def _looked_up(module: nn.Module) -> tuple[list[Any], dict[str, Any]] | None:
    """Arguments of a layer of torch as its attributes tell them, which is enough for most; ``None``: not for this."""
    cls = type(module)
    if cls.__init__ is nn.Module.__init__:
        return [], {}
    if cls in (nn.Sequential, nn.ModuleList, nn.ModuleDict):
        children = OrderedDict(module.named_children())
        numbered = list(children) == [str(i) for i in range(len(children))]
        if cls is nn.Sequential:
            return ([*children.values()] if numbered else [children]), {}
        return [[*children.values()] if cls is nn.ModuleList else children], {}
    if not cls.__module__.startswith("torch.nn.modules."):
        return None
    found: dict[str, Any] = {}
    for name, parameter in inspect.signature(cls).parameters.items():
        value = getattr(module, name, inspect.Parameter.empty)
        if name in ("device", "dtype"):
            continue
        if name == "bias":
            value = value is not None
        if not isinstance(value, (bool, int, float, str, tuple, type(None))):
            if parameter.default is parameter.empty or value is not inspect.Parameter.empty:
                return None
            continue
        found[name] = value
    return [], found


def _tensor(value: Any, inner: Callable[[Any], Node]) -> Node:
    tensor = torch.as_tensor(value)
    if tensor.numel() > _LARGEST or tensor.is_complex():
        return {"unknown": f"a tensor of shape {tuple(tensor.shape)}"}
    plain = tensor.detach().cpu()
    values = plain.double().tolist() if plain.is_floating_point() else plain.tolist()
    return {"tensor": inner(values), "dtype": str(tensor.dtype).removeprefix("torch.")}


def _named(value: Any) -> Node:
    """A class or function by module and name, if it can be found there again."""
    functional = getattr(value, "__name__", "")
    if getattr(torch.nn.functional, functional, None) is value:
        return {"name": f"torch.nn.functional:{functional}"}
    path = _path(value)
    return {"unknown": f"{path}, which is defined inside a function"} if "<" in path else {"name": path}


def _partial(value: functools.partial[Any], inner: Callable[[Any], Node]) -> Node:
    settings = {key: inner(one) for key, one in value.keywords.items()}
    return {"partial": inner(value.func), "args": [inner(one) for one in value.args], "settings": settings}


def _path(value: Any) -> str:
    return f"{value.__module__}:{value.__qualname__}"


def _short(path: str) -> str:
    return path.partition(":")[2]


def _copied(value: Any) -> Any:
    """A list or a mapping as it is now: constructors fill and empty what they are given."""
    return type(value)(value) if type(value) in (list, dict, OrderedDict) else value


def _below(cls: type, seen: set[type]) -> set[type]:
    one: type
    for one in type.__subclasses__(cls):
        if one not in seen:
            seen.add(one)
            _below(one, seen)
    return seen


_WORDS: tuple[tuple[type | tuple[type, ...], Callable[[Any, Callable[[Any], Node]], Node]], ...] = (
    ((type(None), bool, int, str), lambda value, inner: value),
    (float, lambda value, inner: value if math.isfinite(value) else {"float": repr(value)}),
    (np.generic, lambda value, inner: inner(value.item())),
    (PurePath, lambda value, inner: str(value)),
    (list, lambda value, inner: [inner(one) for one in value]),
    (tuple, lambda value, inner: {"tuple": [inner(one) for one in value]}),
    (Mapping, lambda value, inner: {"map": [[inner(key), inner(one)] for key, one in value.items()]}),
    ((Tensor, np.ndarray), _tensor),
    (torch.dtype, lambda value, inner: {"dtype": str(value).removeprefix("torch.")}),
    (functools.partial, _partial),
    ((type, FunctionType, BuiltinFunctionType), lambda value, inner: _named(value)),
)
