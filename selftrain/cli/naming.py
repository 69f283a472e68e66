"""Options whose values are names: those that commands fill in, and names of code in settings of strangers."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from selftrain.catalog import NAMES, SIZES
from selftrain.engine.spec import fits, is_ours, stands_in
from selftrain.front.naming import READERS

KINDS = ("data", "network", *NAMES)  # options whose values are names
_PLAIN = ("device", "out", "init_from", "starts", "labels")  # options whose values are texts
_FILES = ("config", "print_config", "help")  # and those that are of a line alone
_NESTED = ("{", "[", "&", "*", "!", "|", ">", '"', "'")  # how text begins that YAML takes for something else
_FILLED = {  # what a command fills in by itself: no option says it
    "data": {"views"},
    "strategy": {"make_learner", "kind", "categories", "seed"},
    "recipe": {"encoder", "training", "name"},
    "views": {"seed", "bank", "categorical"},
    "network": {"shape", "outputs"},
    "task": {"classes", "joints", "size"},
}


def filled(kind: str) -> set[str]:
    """Settings of a kind that are no options: the problem, or the command, says what they are."""
    return {*SIZES, *_FILLED.get(kind, ()), *(f"{part}.init_args.{size}" for part in NAMES for size in SIZES)}


def foreign_names(settings: Any) -> list[str]:
    """Every name of code in settings that is not a class of selftrain, torch, torchvision or timm, sorted.

    For settings of a folder, which may be a stranger's. All that this parser and jsonargparse would take for a name is
    one: under any spelling of a key, as a class path, as text of a mapping, or with values in brackets.
    """
    return sorted(set(_foreign(settings, "", plain=False)))


def _foreign(value: Any, key: str, *, plain: bool) -> Iterator[str]:
    """Names in a value; ``plain``: whether texts under it are values and no names, as those of readers of data."""
    if isinstance(value, Mapping):
        keys = {name: str(name).replace("-", "_").rpartition(".")[2] for name in value}
        # the source of data may stand beside its settings, and is a name of code if it is no path
        short = key == "data" and not {"class_path", "init_args"} & set(keys.values())
        for name, own in keys.items():
            source = short and own in ("path", "name")
            inner = not source and (plain or own in _PLAIN or key == "data" and own != "class_path")
            yield from _foreign(value[name], "data" if source else own, plain=inner and own != "class_path")
    elif isinstance(value, (list, tuple)):
        for one in value:
            yield from _foreign(one, key, plain=plain)
    elif not isinstance(value, str) or plain:
        return
    elif key in _FILES or value.lstrip()[:1] in _NESTED or "\n" in value.strip():
        # no command stores any of these; a file that is named here would be read with names of its own
        yield f"{key}: {value}"
    elif key == "data":
        yield from () if ":" not in value or Path(value).exists() else (value,)
    elif {".", ":"} & set(value.partition("(")[0]) and not _is_number(value) and not _is_known(value):
        yield value


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _is_known(path: str) -> bool:
    """Whether a path leads to a reader of data, or to a class of the four packages, where users find it."""
    module, _, name = path.rpartition(".")
    if path in [f"selftrain.data.{make.__name__}" for make, _ in READERS.values()]:
        return True
    if not (module in ("selftrain", "selftrain.data", "torch.nn") or is_ours(module)):
        return False
    if stands_in(module.partition(".")[0]):  # to look whether it is a class imports it
        return False
    try:
        found: Any = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError):
        return False
    # where it is defined: through what a module has imported, any other one could be reached
    return inspect.isclass(found) and is_ours(found.__module__) and fits(found, found.__module__, found.__qualname__)
