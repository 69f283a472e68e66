"""Options made from signatures: the settings of a class or a function under one name, with its docstring as help."""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import inspect
import os
import sys
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from jsonargparse import ArgumentParser

from selftrain.catalog import PARTS
from selftrain.cli.line import Parser
from selftrain.cli.stops import UsageError

Numbers = list[float] | None
_TEXT = {name: str | None for name in (*PARTS, "encoding", "unlabeled", "test", "labels_csv", "root", "schedule")}
_TYPES: Mapping[str, Any] = _TEXT | {
    "optimizer": str,
    "validation": int | float | str,
    "prior": Numbers,
    "mean": Numbers,
    "std": Numbers,
    "folder": str,
    "parts": dict[str, str] | None,
}
PATHS = ("test", "labels_csv", "validation", "unlabeled", "encoding", "root", "path")  # made absolute


def add_settings(
    parser: Parser,
    key: str,
    make: Callable[..., Any],
    skip: Iterable[str] = (),
    title: str | None = None,
    only: Sequence[str] | None = None,
) -> list[str]:
    """Options ``--KEY.SETTING`` for the settings of a class or function.

    Args:
        parser: That gets them.
        key: Their common name; empty: none.
        make: The class or function; its docstring has their help.
        skip: Settings that are no options.
        title: Heading of the options in the help; ``None``: the first line of the docstring.
        only: Settings that are options; ``None``: all but those to skip.

    Returns:
        The names of the settings.
    """
    scratch = ArgumentParser()
    names = [name.rpartition(".")[2] for name in _add(scratch, key or "x", make, set(skip))]
    names = [name for name in names if only is None or name in only]
    found = {action.dest: action for action in scratch._actions}
    group = parser.add_argument_group(title or _title(make))
    prefix = f"{key}." if key else ""
    for name in names:
        action = found[f"{key or 'x'}.{name}"]
        inner = None if name in _TYPES else _dataclass_in(action)
        if inner is not None:
            add_settings(parser, f"{prefix}{name}", inner)
            continue
        hint = _TYPES.get(name, getattr(action, "_typehint", str))
        names_of = f" Text: {', '.join(PARTS[name])}, alone or called with plain values." if name in PARTS else ""
        add_option(group, f"{prefix}{name}", hint, _plain(action.default), f"{action.help}{names_of}")
    return names


def add_option(group: Any, name: str, hint: Any, default: Any, help: str | None, **more: Any) -> argparse.Action:
    """One option; what it takes is shown by the last part of its name."""
    action: argparse.Action = group.add_argument(f"--{name}", type=hint, default=default, help=_help(help), **more)
    if action.metavar is None and action.choices is None:
        action.metavar = name.rpartition(".")[2].upper()
    return action


def add_choice(parser: Parser, key: str, inner: str, help: str, default: str | None = None) -> None:
    """An option ``--KEY NAME`` that says which; the settings of what was chosen are ``--KEY.SETTING``."""
    add_option(parser, f"{key}.{inner}", str | None, default, help)
    parser.shorts[f"--{key}"] = f"--{key}.{inner}"


def pick(kind: str, name: str | None, known: Mapping[str, Any]) -> Any:
    """What a name stands for: an entry of a catalog, or ``module:name`` of the user's own code.

    Raises:
        UsageError: an unknown name, or code that is not there.
    """
    import difflib

    if name is not None and name in known:
        return known[name]
    if name is not None and ":" in name:
        return load_object(name)
    near = difflib.get_close_matches(str(name), known, 1)
    hint = f"did you mean {near[0]}? " if near else ""
    raise UsageError(f"no {kind} {name!r}; {hint}known are {', '.join(known)}, or module:name for your own")


def load_object(path: str) -> Any:
    """A class or function by ``module:name``; modules in the working directory are found, too.

    Raises:
        UsageError: no such module or name.
    """
    module, _, name = path.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, ValueError) as error:
        raise UsageError(f"cannot load {path!r}: {error}; write module:name") from error
    return found


def _add(parser: ArgumentParser, key: str, make: Callable[..., Any], skip: set[str | int]) -> Sequence[str]:
    add = parser.add_class_arguments if inspect.isclass(make) else parser.add_function_arguments
    return list(add(make, key, skip=skip, fail_untyped=False))


def _dataclass_in(action: argparse.Action) -> type | None:
    """The dataclass that a setting holds, if it does."""
    hint = getattr(action, "_typehint", None)
    kinds = [hint, *typing.get_args(hint)]
    return next((kind for kind in kinds if inspect.isclass(kind) and dataclasses.is_dataclass(kind)), None)


def _title(make: Callable[..., Any]) -> str:
    return (inspect.getdoc(make) or make.__name__).splitlines()[0].rstrip(".")


def _plain(default: Any) -> Any:
    return list(default) if isinstance(default, tuple) else default


def _help(text: str | None) -> str:
    return " ".join((text or "").replace("%", "%%").split())
