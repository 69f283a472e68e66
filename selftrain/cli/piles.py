"""Data from the command line: the options of data and views, and the pile they give."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from selftrain import data
from selftrain.catalog import VIEWS
from selftrain.cli import UsageError
from selftrain.cli.parser import MASKS, Parser
from selftrain.data import Pile, TableEncoding, ViewMaker
from selftrain.errors import DataError
from selftrain.front.building import PRETRAINED
from selftrain.front.naming import READERS, load_object, source_of
from selftrain.labels.review import read_review
from selftrain.storage.tables import PARQUET, csv_rows

_PATHS = {"folder", "path", "table", "test", "labels_csv", "validation", "unlabeled", "encoding", "root"}
_PATHS |= {"images", "masks", "weights", "joints"}
_DATA = "folder of images, .npy or .npz file, folder of them, CSV or Parquet table, or a named data set: "


def add_data(parser: Parser) -> None:
    """Options for data and views."""
    parser.add_choice("data", "data", Pile, _DATA + ", ".join(data.names()), "data")
    help = "folder of the masks of the pictures in --data, by the same names; one of images/ and masks/ needs none"
    parser.add_argument(f"--{MASKS}", type=str | None, default=None, help=help, metavar="FOLDER")
    help = "CSV files of labels: columns path and label (of a folder), or reviewed pseudo-labels as the page saves them"
    parser.add_argument("--labels", type=str, default=[], help=help, nargs="+", metavar="FILE")
    help = f"maker of views: {', '.join(VIEWS)}, or module:name of your own; null: the one for this kind of input"
    parser.add_choice("views", "views", (*VIEWS.values(), ViewMaker), help, "views")


def read_pile(settings: Mapping[str, Any]) -> Pile:
    """The pile that the options say.

    Args:
        settings: With ``data``, ``labels`` and ``views`` as parsed.

    Raises:
        UsageError: no data, or options that do not fit each other.
        DataError: data that cannot be used.
    """
    if settings["data"] is None:
        raise UsageError("no data; say --data PATH, or a named set such as --data digits")
    read, given = load_object(settings["data"]["class_path"]), dict(settings["data"]["init_args"])
    lists, reviews = sorted_labels(settings.get("labels") or [])
    if lists:
        if read is not data.from_folder or len(lists) > 1:
            kind = next((kind for kind, (make, _) in READERS.items() if make is read), "code")
            what = f"{source_of(settings['data'])} is {kind}"
            raise UsageError(f"{lists[0]} lists labels by path: that is for one folder of images, and {what}")
        given["labels_csv"] = lists[0]
    pile: Pile = read(**given)
    pile = with_views(pile, settings.get("views") or {})
    for review in reviews:
        found = read_review(review, pile.classes, pile.review_ids())
        print(f"review    {review}: {found.text()}")
        pile = pile.reviewed(found)
    return pile


def absolute(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The same settings with paths that do not depend on the working directory."""
    found = dict(settings)
    if settings["data"] is not None:
        given = settings["data"]["init_args"].items()
        # `validation` is a number or a file: only what is there is a path
        own = {key: _absolute(value) if key in _PATHS else value for key, value in given}
        found["data"] = {**settings["data"], "init_args": own}
    if settings.get("init_from") is not None:
        found["init_from"] = _absolute_start(settings["init_from"])
    if settings.get("starts") is not None:
        found["starts"] = [one if one == "scratch" else _absolute_start(one) for one in settings["starts"]]
    found["labels"] = [_absolute(value) for value in settings.get("labels") or []]
    return found


def with_views(pile: Pile, settings: Mapping[str, Any]) -> Pile:
    """A pile with the views that the options say, or itself."""
    if not settings:
        return pile
    make, given = load_object(settings["class_path"]), _recipes(settings["init_args"])
    if pile.encoding is not None:
        # no option of the views: only the table knows which of its columns are codes of categories
        given["categorical"] = TableEncoding.from_dict(pile.encoding).categorical
        given["bank"] = getattr(pile.views, "bank", None)
    try:
        pile.views = make(**given).fitted(pile.unlabeled or pile.labeled)
        pile.card()  # complains of views that are for another kind of input
    except (TypeError, ValueError) as error:
        raise UsageError(f"views {make.__name__} do not fit: {error}") from error
    return pile


def _recipes(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings of views, with the recipes of weak and strong ones as objects."""
    found = dict(settings)
    makers: dict[str, Callable[..., Any]] = {"weak": data.Weak, "strong": data.Strong}
    for name, make in makers.items():
        if isinstance(found.get(name), Mapping):
            given = {key: tuple(v) if isinstance(v, list) else v for key, v in found[name].items()}
            found[name] = make(**given)
    return found


def _absolute(value: Any) -> Any:
    if isinstance(value, list):
        return [_absolute(one) for one in value]
    return str(Path(value).resolve()) if isinstance(value, str) and Path(value).exists() else value


def _absolute_start(start: str) -> str:
    """A run or file of weights; ``pretrained:NAME`` stays, but for folders and files in it."""
    if not start.startswith(PRETRAINED):
        return str(Path(start).resolve())
    name, at, file = start.removeprefix(PRETRAINED).partition("@")
    return f"{PRETRAINED}{_absolute(name)}{at}{_absolute(file) if at else ''}"


def sorted_labels(paths: Sequence[str]) -> tuple[list[str], list[str]]:
    """CSV files that list labels by path, and reviewed ledgers."""
    found: dict[bool, list[str]] = {True: [], False: []}
    for path in paths:
        if path.isdigit():
            raise UsageError(f"--labels {path} is no file; to use only {path} labels, say --data.labels {path}")
        found[_is_review(path)].append(path)
    return found[False], found[True]


def _is_review(path: str) -> bool:
    # lists of labels are CSV files only; a ledger is written as either
    if Path(path).suffix.lower() in PARQUET:
        return True
    columns = next(csv_rows(Path(path)), (0, []))[1]
    if {"id", "verdict", "correction"} <= set(columns):
        return True
    if {"path", "label"} <= set(columns):
        return False
    raise DataError(f"{path} has the columns {', '.join(columns)}; labels need path and label, reviews id and verdict")
