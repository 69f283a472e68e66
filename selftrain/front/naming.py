"""What names stand for: entries of the catalog, data by their path, and code of one's own."""

from __future__ import annotations

import difflib
import inspect
import os
import sys
from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from selftrain import data
from selftrain.catalog import NAMES, named, path_of
from selftrain.data import Pile
from selftrain.data.readers.folders import has_masks
from selftrain.data.readers.paths import holds_arrays
from selftrain.data.readers.tabular import TABLE_SUFFIXES
from selftrain.engine.spec import PACKAGES
from selftrain.errors import DataError, UsageError

# the reader of each kind of data, and what it calls the path
READERS: Mapping[str, tuple[Callable[..., Pile], str]] = {
    "a named data set": (data.load, "name"),
    "a folder of images": (data.from_folder, "folder"),
    "pictures and masks": (data.from_masks, "images"),
    "pictures and joints": (data.from_keypoints, "images"),
    "arrays": (data.from_arrays_file, "path"),
    "a table": (data.from_table, "table"),
}
AUTO = "auto"  # the strategy that tries many
PORTFOLIO = "selftrain.estimator.strategy.PortfolioStrategy"  # as text: to load it takes scikit-learn


def reader_of(path: str) -> str:
    """The kind of data that a path or a name stands for, one of ``READERS``.

    Raises:
        DataError: nothing is there, or a file of another kind.
    """
    place = Path(path)
    if place.is_dir():
        if holds_arrays(place):
            return "arrays"
        return "pictures and masks" if has_masks(place) else "a folder of images"
    if place.is_file():
        kinds = {".npy": "arrays", ".npz": "arrays"} | {ending: "a table" for ending in TABLE_SUFFIXES}
        if place.suffix.lower() in kinds:
            return kinds[place.suffix.lower()]
        raise DataError(
            f"{place} is of no known kind; pass a folder of images, or a file that ends in {', '.join(kinds)}"
        )
    if path in data.names():
        return "a named data set"
    raise DataError(f"there is no file or folder {place}; correct the path, or name one of {', '.join(data.names())}")


def spec_of(kind: str, text: str) -> Any:
    """What a text means for an option of this kind: a class with arguments, or the text itself.

    Raises:
        UsageError: an unknown name, or code that is not there.
    """
    if text in ("null", "None", "auto" if kind == "recipe" else "null"):
        return "null"
    if text.lstrip().startswith("{"):
        return text
    # a path may have a colon, too: only what is not there can be module:name
    if kind == "data" and not (":" in text and not Path(text).exists()):
        read, key = READERS[reader_of(text)]
        return {"class_path": f"selftrain.data.{read.__name__}", "init_args": {key: text}}
    if kind == "network":
        make = load_object(text) if ":" in text or "." in text else None
        # a function gets the sizes alone, and so does a class of the user's that cannot be built without them
        alone = not inspect.isclass(make) or (_needed(make) and not make.__module__.startswith("selftrain."))
        return text if alone else plain(make)
    if kind not in NAMES:
        return text
    if ":" in text and "(" not in text:
        return plain(load_object(text))
    # a dot before the bracket is a full class path, which jsonargparse reads; one behind it is in a number
    if "." in text.partition("(")[0]:
        return text
    automatic = (kind, text.partition("(")[0]) == ("strategy", AUTO)
    try:
        found = named(kind, text, {AUTO: load_object(PORTFOLIO)} if automatic else NAMES[kind])
    except ValueError as error:
        raise UsageError(str(error)) from error
    if found is not None:
        return found
    raise _unknown(kind, text)


def _unknown(kind: str, text: str) -> UsageError:
    names = [*([AUTO] if kind == "strategy" else ()), *NAMES[kind]]
    near = difflib.get_close_matches(text, names, 1)
    hint = f"did you mean {near[0]}? " if near else ""
    return UsageError(f"no {kind} {text!r}; {hint}known are {', '.join(names)}, or module:name for your own")


def _needed(make: Any) -> list[str]:
    """Arguments without a default."""
    given = inspect.signature(make).parameters.values()
    return [p.name for p in given if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]


def plain(make: Any) -> dict[str, Any]:
    """A class or function without settings, as it is written in a config file."""
    return {"class_path": path_of(make), "init_args": {}}


def source_of(spec: Mapping[str, Any]) -> Any:
    """The path or name of data."""
    keys = [key for _, key in READERS.values() if key in spec["init_args"]]
    return spec["init_args"][keys[0]] if keys else spec["class_path"]


def short_name(kind: str, spec: Mapping[str, Any]) -> str:
    """The name in the catalog that says most of a class with its settings, or the class's own."""
    if spec["class_path"] == PORTFOLIO:
        return AUTO
    found = [name for name, make in NAMES[kind].items() if _says(make, spec)]
    return found[-1] if found else str(spec["class_path"].rpartition(".")[2])


def _says(make: Any, spec: Mapping[str, Any]) -> bool:
    bare, own = (make.func, make.keywords) if isinstance(make, partial) else (make, {})
    given = spec["init_args"]
    return load_object(spec["class_path"]) is bare and all(given.get(key) == value for key, value in own.items())


def load_object(path: str) -> Any:
    """A class or function by ``module:name`` or ``module.name``; modules in the working directory are found, too.

    Raises:
        UsageError: no such module or name.
    """
    module, _, name = path.partition(":") if ":" in path else path.rpartition(".")
    # a console script has its own folder on the path, where `python -m` has the working directory; not for names of the
    # packages: a folder that is a stranger's would from now on stand in for whatever is imported later
    if module.partition(".")[0] not in PACKAGES and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found: Any = import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, ValueError) as error:
        raise UsageError(f"cannot load {path!r}: {error}; write module:name") from error
    return found
