"""One check of arguments at every public door: known by name, and of the kind that the signature says.

Kinds come from the annotations, so that a setting is described once, where it is declared. Ranges stay with what is
built: only there it is known what a number means.
"""

from __future__ import annotations

import difflib
import functools
import inspect
import numbers
import os
import types
import typing
from collections import abc
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

import numpy as np

# Kinds of other libraries that are told by the class; what stands in for another, such as a stream, may be of any.
_TOLD = {"NoneType", "str", "Path", "PathLike", "Mapping", "dict", "Module"}
Call = TypeVar("Call", bound=Callable[..., Any])
# What is given for a kind, by the name of its class, or of what a function returns.
_WORDS = {
    "NoneType": "None",
    "bool": "True or False",
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "Path": "a path",
    "PathLike": "a path",
    "Module": "a network",
    "Mapping": "a mapping",
    "Selector": "a rule such as select.above(0.9)",
    "Task": "a task such as Classification(classes)",
    "Align": "an alignment such as Align(task)",
    "Training": "Training(lr=...)",
    "BatchPlan": "BatchPlan(labeled=...)",
    "Evaluation": "Evaluation(every=...)",
    "Checkpoints": "Checkpoints(every=...)",
    "ViewMaker": "a maker of views such as TensorViews()",
    "Strategy": "a strategy such as FixMatch(task, learner(network))",
    "Run": "a run, as fit and open_run return it",
    "HasExport": "a finished run",
    "Handler": "a handler such as Progress(False)",
    "-> float": "a schedule such as cosine(), or another function of progress",
    "-> Learner": "what learner(network) returns",
    "-> Module": "a function that builds one, called with nothing",
    "-> Optimizer": "a function of parameter groups such as torch.optim.SGD",
}
_PLAN, _LEARNER = "give plan=BatchPlan(labeled=..., seed=...)", "pass it to learner(network, lr=..., schedule=...)"
_HELD_OUT, _HANDLERS = "hold samples out: Pile.from_arrays(x, y, validation=0.2)", "pass handlers=[...]"
# Where ``fit`` of other libraries takes what belongs elsewhere here.
ELSEWHERE = {
    "fit": {
        **dict.fromkeys(("lr", "learning_rate", "optimizer", "weight_decay", "scheduler", "precision"), _LEARNER),
        **dict.fromkeys(("batch_size", "seed", "workers", "num_workers"), _PLAN),
        **dict.fromkeys(("validation_split", "validation_data", "x_val"), _HELD_OUT),
        **dict.fromkeys(("callbacks", "callback", "logger", "verbose"), _HANDLERS),
        **dict.fromkeys(("threshold", "select"), "pass it to the strategy: select=select.above(0.9)"),
    }
}
_OWN = ("self", "cls")
# Names of other libraries, and those here.
_ALSO = {
    "learning_rate": "lr",
    "max_iter": "steps",
    "n_epochs": "epochs",
    "seed": "random_state",
    "n_classes": "classes",
}
_MEANT = {  # of what is missing
    "y": "the labels, -1 where there is none (in masks 255)",
    "pile": 'what data.load("digits", labels=20) and data.from_path(folder) return',
    "strategy": 'a name such as "fixmatch", or FixMatch(task, learner(network))',
    "make_learner": "what learner(network) returns",
}


def bind(call: Any, values: tuple[Any, ...], settings: Mapping[str, Any], owner: str) -> inspect.BoundArguments:
    """The arguments of a call by name.

    Raises:
        TypeError: for one that it does not take (the message has the nearest that it does), or one missing.
    """
    signature = inspect.signature(call)
    known = signature.parameters
    kinds = {p.kind for p in known.values()}
    if inspect.Parameter.VAR_KEYWORD not in kinds:
        for name in [name for name in settings if name not in known]:
            raise TypeError(unknown(name, known, owner))
    places = [p.name for p in known.values() if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    if len(values) > len(places) and inspect.Parameter.VAR_POSITIONAL not in kinds:
        named = ", ".join(name for name in places if name not in _OWN) or "nothing"
        raise TypeError(f"{owner} takes {named} without a name, and {shown(values[-1])} is one more; give it by name")
    try:
        bound = signature.bind_partial(*values, **settings)
    except TypeError as error:  # it does not say whose argument is there twice
        raise TypeError(f"{owner}: {error}") from None
    needed = [
        p.name for p in known.values() if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]
    missing = [name for name in needed if name not in bound.arguments]
    if missing:
        hints = _hints(getattr(call, "__init__", call) if isinstance(call, type) else call)
        words = {name: _kinds(hints[name]) for name in missing if hints.get(name, Any) is not Any} | _MEANT
        meant = " and ".join(f"{name} is {words[name]}" for name in missing if name in words)
        form = f"{owner}({', '.join(name for name in needed if name not in _OWN)})"
        raise TypeError(
            f"{owner} is called without {' and '.join(missing)}; call {form}{', where ' if meant else ''}{meant}"
        )
    return bound


def unknown(name: str, known: Iterable[str], owner: str) -> str:
    """The answer to a setting that ``owner`` does not take: where it belongs, or the nearest that it takes."""
    names = [one for one in known if one not in _OWN]
    also = [_ALSO[name]] if _ALSO.get(name) in names else []
    near = also or difflib.get_close_matches(name, names, 1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"it takes {', '.join(names)}"
    return f"{owner} has no setting {name!r}; {ELSEWHERE.get(owner, {}).get(name, hint)}"


class Named:
    """An estimator that answers arguments which are unknown, missing or too many by name.

    Kinds and values are left to ``fit``: a constructor of scikit-learn keeps what it is given as it is.
    """

    def __init_subclass__(cls, **settings: Any) -> None:
        super().__init_subclass__(**settings)
        for door, owner in (("__init__", cls.__name__), ("fit", f"{cls.__name__}.fit")):
            if door in vars(cls):
                setattr(cls, door, _bound(vars(cls)[door], owner))

    def set_params(self, **params: Any) -> Any:
        """Change settings by name; those of a part are ``part__name``.

        Raises:
            ValueError: for one that there is not; the message has the nearest.
        """
        known = self.get_params(deep=False)  # type: ignore[attr-defined]
        for name in [name for name in params if name.partition("__")[0] not in known]:
            raise ValueError(unknown(name, known, type(self).__name__))
        return super().set_params(**params)  # type: ignore[misc]


def _bound(call: Call, owner: str) -> Call:
    @functools.wraps(call)
    def called(*values: Any, **settings: Any) -> Any:
        bind(call, values, settings, owner)
        return call(*values, **settings)

    return typing.cast(Call, called)


def check(call: Callable[..., Any], given: Mapping[str, Any]) -> None:
    """Refuse arguments of another kind than the signature of ``call`` says.

    Args:
        call: A function, or a constructor, of this library; what others declare is their own affair.
        given: Arguments by name.

    Raises:
        ValueError: names argument, value and remedy.
    """
    for name, hint in _hints(call).items():
        value = given.get(name)
        if name in given and not fits(value.item() if isinstance(value, np.generic) else value, hint):
            raise ValueError(f"{name} is {shown(given[name])}; {_remedy(name, given[name], hint)}")


def checked(call: Call) -> Call:
    """Check the arguments of a function or constructor, which get to it as they are."""

    @functools.wraps(call)
    def called(*values: Any, **settings: Any) -> Any:
        check(call, bind(call, values, settings, call.__qualname__.removesuffix(".__init__")).arguments)
        return call(*values, **settings)

    return typing.cast(Call, called)


@functools.cache
def _hints(call: Callable[..., Any]) -> dict[str, Any]:
    """Kinds of arguments by name; nothing where the signature is not of this library, or cannot be read."""
    inner = inspect.unwrap(call)
    try:
        return typing.get_type_hints(inner) if inner.__module__.startswith("selftrain") else {}
    except (NameError, TypeError):  # of what is imported for type checkers alone
        return {}


def fits(value: Any, hint: Any) -> bool:
    """Whether a value is of a kind; where that cannot be told, it is. Words are left to whoever knows them."""
    origin, inner = get_origin(hint), get_args(hint)
    kind = origin or hint
    if kind in (Union, types.UnionType):
        return any(fits(value, one) for one in inner)
    if kind is Literal:
        return isinstance(value, str) if isinstance(inner[0], str) else value in inner
    if kind is abc.Callable:
        return inner[1:] in ((), (Any,)) or _is_function(value, *inner)
    if kind in (Any, object) or not isinstance(kind, type):  # variables of types are none
        return True
    if issubclass(kind, Iterable) and inner and not issubclass(kind, Mapping):
        return not (kind is tuple and isinstance(value, str)) and _are(value, inner[0])
    if kind is bool:
        return isinstance(value, bool) or (type(value) is int and value in (0, 1))
    if issubclass(kind, int | float):
        number = numbers.Integral if kind is int else numbers.Real
        return isinstance(value, number) and not isinstance(value, bool)
    if not _is_plain(kind):
        return _acts_as(value, kind)
    return kind.__name__ not in _TOLD or isinstance(value, os.PathLike if kind is Path else kind)


def _is_plain(kind: type) -> bool:
    """Whether values of a kind are told by their class alone."""
    return not kind.__module__.startswith("selftrain")


def _acts_as(value: Any, kind: type) -> bool:
    """Whether it is of a class of this library, or stands in for one."""
    of_it = not getattr(kind, "_is_protocol", False) and isinstance(value, kind)
    return not isinstance(value, type) and (of_it or _stands_in(value, kind))


def _stands_in(value: Any, kind: type) -> bool:
    """Whether it has a good part of the names of a class: some are never asked for."""
    own = [vars(one) for one in kind.__mro__ if not _is_plain(one)]
    names = {name for one in own for name in (*one, *one.get("__annotations__", ())) if not name.startswith("_")}
    try:
        return sum(hasattr(value, name) for name in names) >= len(names) / 3
    except Exception:  # what stands for a part that is missed only when it is used says so to whoever asks
        return True


def _is_function(value: Any, takes: Any, gives: Any) -> bool:
    """Whether it can be called so; not a class of something else, nor a network where it is to be built."""
    if not callable(value):
        return False
    if isinstance(gives, type):
        if isinstance(value, type):
            return issubclass(value, gives) and _takes(value, takes)
        if hasattr(gives, "named_parameters") and hasattr(value, "named_parameters"):
            return False
    return _takes(value, takes)


def _takes(call: Callable[..., Any], takes: Any) -> bool:
    if takes is ... or not isinstance(call, type | types.FunctionType | functools.partial):
        return True
    try:
        inspect.signature(call).bind(*takes)
    except TypeError:
        return False
    except ValueError:  # those of C have no signature
        pass
    return True


def _are(value: Any, inner: Any) -> bool:
    """Whether it is a row of values of a kind of this library; other rows are left to their readers."""
    of_functions = get_origin(inner) is abc.Callable
    if not of_functions and (not isinstance(inner, type) or _is_plain(inner)):
        return True
    row = hasattr(value, "__iter__") and not isinstance(value, str)
    return row and (not of_functions or all(fits(one, inner) for one in value))


def shown(value: Any) -> str:
    """A value in a few words, for messages."""
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if isinstance(value, types.FunctionType | types.BuiltinFunctionType | functools.partial):
        return f"the function {getattr(value, '__name__', 'partial')}"
    name = type(value).__name__.lstrip("_")
    shape = getattr(value, "shape", None)
    if isinstance(shape, tuple) and shape:
        return f"a {name} of shape {tuple(shape)}"
    text = repr(value)
    # what has no words of its own, or is long in them
    return text if len(text) < 80 and "\n" not in text and not text.startswith("<") else f"a {name}"


def _remedy(name: str, value: Any, hint: Any) -> str:
    """What to give in place of a value."""
    kinds = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    if isinstance(value, type) and any(isinstance(kind, type) and _stands_in(value, kind) for kind in kinds):
        return f"call it: {value.__name__}(...)"
    if isinstance(value, str) and any(kind in (int, float) for kind in kinds):
        try:
            return f"write it without quotes: {name}={float(value):g}"
        except ValueError:
            pass
    if any(getattr(kind, "__name__", "") == "Pile" for kind in kinds):
        return _how_to_read(value)
    return f"give {_kinds(hint)}"


def _kinds(hint: Any) -> str:
    kinds = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    return " or ".join(dict.fromkeys(map(_in_words, kinds)))


def _in_words(kind: Any) -> str:
    inner = get_args(kind)
    if get_origin(kind) is Literal:
        return f"one of {', '.join(map(repr, inner))}"
    plain = get_origin(kind) or kind
    if plain is abc.Callable:
        gives = getattr(inner[-1], "__name__", "") if inner else ""
        return _WORDS.get(f"-> {gives}", "a function")
    if plain is tuple and len(inner) == 2 and inner[0] is inner[1]:
        return f"two {_in_words(inner[0]).removeprefix('a ')}s"
    if inner and isinstance(plain, type) and issubclass(plain, Iterable) and not issubclass(plain, Mapping):
        return f"a list of {' and '.join(_in_words(one) for one in inner if one is not ...)}"
    word = getattr(plain, "__name__", str(plain))
    return _WORDS.get(word, f"a {word}")


def _how_to_read(value: Any) -> str:
    """How to make a pile of what was given in its place."""
    if isinstance(value, str | os.PathLike):
        return f'read it first: data.from_path("{value}")'
    if hasattr(value, "columns"):
        return "make it one: data.from_table(frame, label=...)"
    if hasattr(value, "__getitem__") and type(value).__module__.startswith("torch.utils"):
        return "make it one: data.from_dataset(set)"
    dataset = getattr(value, "dataset", None)
    if dataset is not None:
        return f"make one of its {type(dataset).__name__}: data.from_dataset(loader.dataset)"
    return "make it one: data.Pile.from_arrays(x, y), y = -1 where there is no label"
