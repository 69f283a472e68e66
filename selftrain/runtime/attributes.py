"""What a run changes and no ``state_dict`` holds: plain attributes, buffers that are not persistent, own generators.

Modules, optimizers, schedules and objects of other people's classes are walked over from the strategy on, also those
in lists, closures, hooks and ``functools.partial``. The library's own classes keep all they need in ``state_dict``:
of them only what was given to them is walked over.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import random
import sys
import warnings
import weakref
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping
from types import CellType, FunctionType, MethodType, SimpleNamespace
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

SMALL = 2**20  # bytes of a tensor or array that is stored in any case: constants may have been drawn at random
LONG = 10_000  # items of a container that are looked at one by one
MOST = 20_000  # objects that are walked over
_PLAIN = (type(None), bool, int, float, complex, str, bytes, torch.dtype, torch.device, torch.Size)
_SEQUENCES = (list, tuple, set, frozenset, deque)
_MAPPINGS = (dict, OrderedDict, Counter, defaultdict)
_GENERATORS = (torch.Generator, random.Random, np.random.Generator, np.random.RandomState, np.random.BitGenerator)
_OPEN = (MethodType, functools.partial, SimpleNamespace)  # of these packages, but full of what is not
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
_INTERNAL = {*vars(nn.Module()), "_compiled_call_impl", "arguments"}
# Objects of these packages are what they are, or lead into half of the interpreter.
_CLOSED = {*sys.stdlib_module_names, "torch", "torchvision", "numpy", "scipy", "pandas", "pyarrow", "PIL", "sklearn"}
_KIND = "kind of attribute"  # key of a dict that stands for what a checkpoint has no word for
_MISSING = object()


@functools.cache
def _of_optimizers() -> set[str]:
    # late: the first optimizer of a process loads torch._dynamo, a second or more that no --help needs
    return {*vars(torch.optim.SGD([torch.zeros(1)]))} - {"defaults"}


class _Moments:
    """Stands for the state of an optimizer that no ``state_dict`` of a strategy holds: one inside another."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.optimizer = optimizer

    def load(self, state: dict[str, Any]) -> None:
        """Take the state back; who shares the groups or the moments goes on sharing them."""
        one = self.optimizer
        groups, moments = one.param_groups, one.state
        one.load_state_dict(state)
        for mine, new in zip(groups, one.param_groups, strict=True):
            mine.update(new)
        fresh = dict(one.state)
        moments.clear()
        moments.update(fresh)
        one.param_groups, one.state = groups, moments


class _Version:
    """A tensor as it is now: another one, or the same after a change in place, is not equal."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor, self.version = weakref.ref(tensor), 0 if tensor.is_inference() else tensor._version

    def __eq__(self, other: object) -> bool:
        mine = self.tensor()
        same = isinstance(other, _Version) and mine is not None and mine is other.tensor()
        return same and self.version == cast(_Version, other).version


@dataclasses.dataclass
class _Look:
    """What there is in an attribute.

    Args:
        stamp: Another one if the value has moved.
        objects: Classes of what cannot be stored.
        plain: Whether it is numbers and text alone.
        value: These.
    """

    stamp: Any = None
    objects: list[str] = dataclasses.field(default_factory=list)
    plain: bool = True
    value: Any = None


class Attributes:
    """Remember what there is; store what has moved since, and put it back.

    Numbers, text, lists, dicts, tensors, arrays and generators are stored; small tensors and generators in any case,
    as they may have been drawn when the network was built. Where an object has come or gone in an attribute, which
    cannot be stored, nothing beside it is: one half of what belongs together would be worse than a fresh start.

    Args:
        root: What is walked over, as it is before training.
        stored: Optimizers whose state is stored elsewhere.
        device: Where tensors are made that are put back where none is.
    """

    def __init__(
        self,
        root: object,
        stored: Iterable[torch.optim.Optimizer] = (),
        device: torch.device | None = None,
    ) -> None:
        self.root, self.stored, self.device = root, {id(one) for one in stored}, device or torch.device("cpu")
        self.moved: set[tuple[str, str]] = set()
        self.left: list[str] = []  # what has moved and cannot be stored
        self.first: dict[str, dict[str, _Look]] = {}
        for path, (_, values) in self._walk().items():
            self.first[path] = {name: self._look(value) for name, value in values.items()}
            for name, look in self.first[path].items():
                if look.plain:  # kept, so that it can be put back when steps are taken back
                    look.value = self._stored(values[name])

    def state_dict(self) -> dict[str, dict[str, Any]]:
        """What has moved, by owner and name; tensors are those that are there, not copies."""
        found: dict[str, dict[str, Any]] = {}
        self.left = []
        for path, (_, values) in self._walk().items():
            first = self.first.get(path)
            if first is None:  # its owner has come in between, in the place of something else
                continue
            looks = {name: self._look(value) for name, value in values.items()}
            replaced = _replaced(first, looks)
            self.left += [f"{path}.{name}".lstrip(".") for name in replaced]
            for name in first | looks:
                moved = name not in first or name not in looks or looks[name].stamp != first[name].stamp
                if not moved and (path, name) not in self.moved:
                    continue
                if not replaced or _is_generator(values.get(name)):
                    self.moved.add((path, name))
                    kept = self._stored(values[name]) if name in values else {_KIND: "none"}
                    found.setdefault(path, {})[name] = kept
        return found

    def load_state_dict(self, state: Mapping[str, Mapping[str, Any]]) -> None:
        """Put back what ``state_dict`` gave; what has moved only since then is again as it was at first."""
        here = self._walk()
        for path in [path for path in state if path not in here]:
            warnings.warn(f"{', '.join(state[path])} of {path}, which is not there, is not put back", stacklevel=2)
        for path, (owner, values) in here.items():
            given, first = dict(state.get(path, {})), self.first.get(path, {})
            _check_new(given.keys() - values.keys(), type(owner), path)
            self.moved |= {(path, name) for name in given}
            looks = {name: self._look(value) for name, value in values.items()}
            if not _replaced(first, looks):
                early = {name for name in first | looks if name not in given}
                for name in {n for n in early if n not in first and looks[n].plain}:
                    given[name] = {_KIND: "none"}
                for name in {n for n in early if n in first and first[n].plain}:
                    if name not in looks or looks[name].stamp != first[name].stamp:
                        given[name] = first[name].value
            for name, value in given.items():
                old = values.get(name, _MISSING)
                new = self._put(old, value)
                if new is not old:
                    _set(owner, name, new)

    # -- the walk --------------------------------------------------------------------------------------------------
    def _walk(self) -> dict[str, tuple[Any, dict[str, Any]]]:
        """Owners of attributes by their place, each once, with what may move of theirs."""
        found: dict[str, tuple[Any, dict[str, Any]]] = {}
        waiting, seen = deque([("", self.root)]), {id(self.root)}
        self._registered = {0}
        while waiting and len(found) < MOST:
            path, owner = waiting.popleft()
            if isinstance(owner, nn.Module):
                kept = [b for n, b in owner._buffers.items() if n not in owner._non_persistent_buffers_set]
                self._registered |= {_place(t) for t in (*owner._parameters.values(), *kept) if t is not None}
            values = _attributes(owner)
            if isinstance(owner, torch.optim.Optimizer) and id(owner) not in self.stored:
                values["state"] = _Moments(owner)
            found[path] = owner, {} if _package(owner) == "selftrain" else values
            for name, value in {**_parts(owner), **values}.items():
                for inside, inner in _owners(value, name):
                    if id(inner) not in seen:
                        seen.add(id(inner))
                        waiting.append((f"{path}.{inside}".lstrip("."), inner))
        return found

    # -- values ----------------------------------------------------------------------------------------------------
    def _look(self, value: Any) -> _Look:
        look = _Look()
        look.stamp = self._stamp(value, look)
        return look

    def _stamp(self, value: Any, look: _Look) -> Any:
        if type(value) in _PLAIN:
            return type(value), value
        if type(value) in (*_SEQUENCES, *_MAPPINGS):
            items = [*value.items()] if isinstance(value, dict) else [*value]
            if len(items) > LONG:
                look.plain, items = False, items[:: len(items) // LONG]
            return type(value), len(value), tuple(self._stamp(item, look) for item in items)
        look.plain = False
        if _is_generator(value) or isinstance(value, (_Moments, np.generic)):
            return object()  # equal to nothing: it is stored in any case
        if _is_tensor(value):
            if _place(value) in self._registered:
                return "registered"
            return object() if value.nbytes <= SMALL else _Version(value)
        if _is_array(value):
            if value.nbytes <= SMALL:
                return object()
            some = np.ascontiguousarray(value.reshape(-1)[:: value.nbytes // SMALL])
            return value.shape, hashlib.blake2b(some.tobytes()).digest()
        look.objects.append(f"{type(value).__module__}.{type(value).__qualname__}")
        return None

    def _stored(self, value: Any) -> Any:
        """A value as a checkpoint may hold it."""
        if type(value) in _PLAIN:
            return value
        if _is_array(value):
            return {_KIND: "array", "value": value}
        if isinstance(value, np.generic):
            return {_KIND: "number", "value": np.asarray(value)}
        if _is_tensor(value):
            if _place(value) in self._registered:
                return {_KIND: "object"}
            host = value.is_cpu and self.device.type != "cpu"
            return {_KIND: "tensor", "value": value.detach(), "host": host}
        if _is_generator(value):
            return {_KIND: "generator", "value": _generator_state(value), "class": type(value).__name__}
        if isinstance(value, _Moments):
            return {_KIND: "moments", "value": value.optimizer.state_dict()}
        if type(value) in _MAPPINGS:
            items = [[self._stored(key), self._stored(inner)] for key, inner in value.items()]
            return {_KIND: type(value).__name__, "value": items}
        if type(value) in _SEQUENCES:
            items = [self._stored(inner) for inner in value]
            return {_KIND: type(value).__name__, "value": items, "maxlen": getattr(value, "maxlen", None)}
        return {_KIND: "object"}

    def _put(self, old: Any, stored: Any) -> Any:
        """What was stored, in the value that is there if that can take it."""
        if not isinstance(stored, dict):
            return stored
        kind, value = stored[_KIND], stored.get("value")
        if kind in ("none", "object"):
            return _MISSING if kind == "none" else None if old is _MISSING else old
        if kind == "number":
            return cast("np.ndarray[Any, Any]", value)[()]
        if kind == "array":
            return _put_array(old, cast("np.ndarray[Any, Any]", value))
        if kind == "tensor":
            return self._put_tensor(old, cast(Tensor, value), stored["host"])
        if kind == "generator":
            return _put_generator(old, value, stored["class"])
        if kind == "moments":
            old.load(value)
            return old
        return self._put_items(old, kind, cast("list[Any]", value), stored)

    def _put_tensor(self, old: Any, value: Tensor, host: bool) -> Any:
        if isinstance(old, Tensor) and (old.shape, old.dtype) == (value.shape, value.dtype):
            if torch.equal(old.detach(), value.to(old.device)):
                return old
            if not old.is_inference() and 0 not in old.stride():  # views of one number cannot be written to
                with torch.no_grad():
                    old.detach().copy_(value)
                return old
        device = old.device if isinstance(old, Tensor) else torch.device("cpu") if host else self.device
        return value.detach().to(device).clone()

    def _put_items(self, old: Any, kind: str, items: list[Any], stored: dict[str, Any]) -> Any:
        if kind in ("dict", "OrderedDict", "Counter", "defaultdict"):
            same = (
                old
                if type(old).__name__ == kind
                else {"OrderedDict": OrderedDict(), "Counter": Counter()}.get(kind, {})
            )
            pairs = [(self._put(_MISSING, key), inner) for key, inner in items]
            made = [(key, self._put(same.get(key, _MISSING), inner)) for key, inner in pairs]
            same.clear()
            same.update(made)
            return same
        before = list(old) if type(old) in (list, tuple, deque) else []
        before += [_MISSING] * (len(items) - len(before))
        parts = [self._put(one, item) for one, item in zip(before, items, strict=False)]
        if kind in ("list", "deque"):
            if type(old).__name__ != kind:
                return parts if kind == "list" else deque(parts, stored["maxlen"])
            old.clear()
            old.extend(parts)
            return old
        return {"tuple": tuple, "set": set, "frozenset": frozenset}[kind](parts)


def _replaced(first: Mapping[str, _Look], now: Mapping[str, _Look]) -> list[str]:
    """Attributes in which objects have come or gone."""
    none = _Look()
    return [name for name in {**first, **now} if first.get(name, none).objects != now.get(name, none).objects]


def _attributes(owner: Any) -> dict[str, Any]:
    """What may move of an object."""
    if isinstance(owner, FunctionType):
        return dict(_of_function(owner))
    if isinstance(owner, torch.optim.Optimizer):
        return {key: value for key, value in vars(owner).items() if key not in _of_optimizers()}
    if not isinstance(owner, nn.Module):
        return {} if isinstance(owner, MethodType) else dict(vars(owner))
    values: dict[str, Any] = {name: owner._buffers.get(name) for name in owner._non_persistent_buffers_set}
    # What older norms of weights compute in each pass stands among the attributes.
    computed = {key[:-5] for key in owner._parameters if key.endswith("_orig")}
    computed |= {key[:-2] for key in owner._parameters if key.endswith("_g")}
    return values | {k: v for k, v in vars(owner).items() if k not in _INTERNAL and k not in computed}


def _parts(owner: Any) -> dict[str, Any]:
    """Where else objects are to be found."""
    if isinstance(owner, MethodType):
        return {"self": owner.__self__, "function": owner.__func__}
    if isinstance(owner, functools.partial):
        return {"function": owner.func, "arguments": owner.args, "settings": owner.keywords}
    if not isinstance(owner, nn.Module):
        return {}
    # By number: their keys differ from process to process.
    hooks = {f"{key} {n}": hook for key in _HOOKS for n, hook in enumerate(getattr(owner, key).values())}
    return {**owner._modules, **hooks}


def _owners(value: Any, name: str, deep: int = 0) -> Iterator[tuple[str, Any]]:
    """Objects with attributes in a value, with their place."""
    if type(value) in _PLAIN or isinstance(value, (Tensor, np.ndarray)):
        return
    if type(value) in (*_SEQUENCES, *_MAPPINGS):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for number, (key, inner) in enumerate(items if len(value) <= LONG and deep < 8 else ()):
            yield from _owners(inner, f"{name}.{key if type(key) in (int, str) else f'#{number}'}", deep + 1)
    elif _has_attributes(value):
        yield name, value


def _has_attributes(value: Any) -> bool:
    if isinstance(value, (nn.Module, torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler, *_OPEN)):
        return True
    if isinstance(value, type) or _is_generator(value):
        return False
    package = _package(value)
    if package in _CLOSED:
        return False
    return isinstance(value, FunctionType) or (hasattr(value, "__dict__") and package != "selftrain")


def _package(value: Any) -> str:
    cls = value if isinstance(value, FunctionType) else type(value)
    return str(cls.__module__).partition(".")[0]


def _of_function(function: FunctionType) -> Iterator[tuple[str, Any]]:
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield name, cell.cell_contents
        except ValueError:  # a name that is not bound yet
            continue
    defaults = (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values())
    yield from ((f"default {number}", value) for number, value in enumerate(defaults))
    yield from vars(function).items()


def _check_new(names: Iterable[str], kind: type, path: str) -> None:
    """Refuse what no run could have stored: the file may be a stranger's, and a method is not to be replaced."""
    wrong = [name for name in names if name in _INTERNAL | _of_optimizers() or callable(getattr(kind, name, None))]
    if wrong:
        raise ValueError(f"{path or 'the strategy'} has no attribute {wrong[0]!r:.100} that a run could move")


def _set(owner: Any, name: str, value: Any) -> None:
    if isinstance(owner, FunctionType) and name in owner.__code__.co_freevars:
        if value is not _MISSING:
            cells = cast("tuple[CellType, ...]", owner.__closure__)
            cells[owner.__code__.co_freevars.index(name)].cell_contents = value
    elif isinstance(owner, nn.Module) and name in owner._buffers:
        owner._buffers[name] = None if value is _MISSING else value
    elif value is _MISSING:
        vars(owner).pop(name, None)
    elif not name.startswith("default "):  # a list or a dict there is put back in place
        vars(owner)[name] = value


def _is_generator(value: Any) -> bool:
    return isinstance(value, _GENERATORS) and not isinstance(value, random.SystemRandom)


def _is_tensor(value: Any) -> bool:
    plain = type(value) in (Tensor, nn.Parameter) and not nn.parameter.is_lazy(value)
    return plain and value.layout == torch.strided and not value.is_meta and not value.is_quantized


def _is_array(value: Any) -> bool:
    return type(value) is np.ndarray and value.dtype.kind in "biufc"


def _place(tensor: Tensor) -> int:
    """Where the numbers are; 0 where there are none."""
    return tensor.untyped_storage().data_ptr() if _is_tensor(tensor) else 0


def _generator_state(generator: Any) -> Any:
    if isinstance(generator, torch.Generator):
        return generator.get_state()
    if isinstance(generator, random.Random):
        return generator.getstate()
    if isinstance(generator, np.random.RandomState):
        return generator.get_state(legacy=False)
    bits = generator.bit_generator if isinstance(generator, np.random.Generator) else generator
    return bits.state


def _put_array(old: Any, value: np.ndarray[Any, Any]) -> Any:
    if isinstance(old, np.ndarray) and (old.shape, old.dtype, old.flags.writeable) == (value.shape, value.dtype, True):
        np.copyto(old, value)
        return old
    return value.copy()


def _put_generator(old: Any, state: Any, name: str) -> Any:
    """Set the state of the generator that is there; a new one where none is."""
    if isinstance(old, torch.Generator):
        old.set_state(state.cpu())
        return old
    if isinstance(old, random.Random):
        old.setstate(state)
        return old
    if isinstance(old, np.random.RandomState):
        old.set_state(state)
        return old
    if isinstance(old, (np.random.Generator, np.random.BitGenerator)):
        bits = old.bit_generator if isinstance(old, np.random.Generator) else old
        bits.state = state
        return old
    if name == "Generator" and isinstance(state, Tensor):
        return torch.Generator().set_state(state.cpu())
    if name == "Generator":
        bits = getattr(np.random, str(state["bit_generator"]))()
        return np.random.Generator(_put_generator(bits, state, ""))
    kinds = {"Random": random.Random, "RandomState": np.random.RandomState}
    return _put_generator(kinds[name](), state, name)
