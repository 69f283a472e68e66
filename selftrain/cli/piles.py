"""Data from the command line: which reader a path needs, its settings as options, and the pile they give."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from selftrain import data
from selftrain.catalog import VIEWS
from selftrain.cli.labelfiles import sorted_labels
from selftrain.cli.line import Line, Parser
from selftrain.cli.settings import PATHS, add_choice, add_option, add_settings, pick
from selftrain.cli.stops import UsageError
from selftrain.data import Pile, Samples, Subset, TableEncoding
from selftrain.data.base.joined import Joined
from selftrain.data.readers.paths import holds_arrays
from selftrain.data.readers.tabular import TABLE_SUFFIXES
from selftrain.errors import DataError
from selftrain.labels.review import read_review

Reader = Callable[..., Pile]
READERS: Mapping[str, Reader] = {
    "a named data set": data.load,
    "a folder of images": data.from_folder,
    "arrays": data.from_arrays_file,
    "a table": data.from_table,
}
NOT_OPTIONS = ("name", "folder", "path", "table", "views")  # what --data itself says, and --views
_FILLED = ("seed", "bank", "categorical")  # settings of views that the data know
_DATA = "folder of images, .npy or .npz file, folder of them, CSV or Parquet table, or a named data set: "


def reader_of(path: str) -> str:
    """The kind of data that a path or a name stands for, one of ``READERS``.

    Raises:
        DataError: nothing is there, or a file of another kind.
    """
    place = Path(path)
    if place.is_dir():
        return "arrays" if holds_arrays(place) else "a folder of images"
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


def add_data(parser: Parser, line: Line) -> None:
    """Options for data and views: of what ``--data`` names, or all there are while it names nothing."""
    path, views = line.chosen("data", "path"), line.chosen("views", "name")
    add_choice(parser, "data", "path", _DATA + ", ".join(data.names()))
    help = "CSV files of labels: columns path and label (of a folder), or reviewed pseudo-labels as the page saves them"
    add_option(parser, "labels", str, [], help, nargs="+")
    kinds = list(READERS) if path is None else [reader_of(path)]
    known: list[str] = []
    for kind in kinds:
        title = f"settings of {kind}" + ("" if path is None else f": {path}")
        known += add_settings(parser, "data", READERS[kind], skip=(*NOT_OPTIONS, *known), title=title)
    add_choice(parser, "views", "name", f"maker of views: {', '.join(VIEWS)}; null: the one for this kind of input")
    if views not in (None, "null"):
        add_settings(parser, "views", pick("views", views, VIEWS), skip=(*_FILLED, *_objects(views)))


def read_pile(settings: Mapping[str, Any]) -> Pile:
    """The pile that the options say.

    Args:
        settings: With ``data``, ``labels`` and ``views`` as parsed.

    Raises:
        UsageError: no data, or options that do not fit each other.
        DataError: data that cannot be used.
    """
    given = dict(settings["data"])
    path = given.pop("path")
    if path is None:
        raise UsageError("no data; say --data PATH, or a named set such as --data digits")
    kind = reader_of(path)
    lists, reviews = sorted_labels(settings.get("labels") or [])
    if lists:
        if kind != "a folder of images" or len(lists) > 1:
            raise UsageError(f"{lists[0]} lists labels by path: that is for one folder of images, and {path} is {kind}")
        given["labels_csv"] = lists[0]
    pile = READERS[kind](path, **given)
    pile = with_views(pile, settings.get("views") or {})
    for review in reviews:
        found = read_review(review, pile.classes, frozenset(pile.unlabeled_ids()))
        print(f"review    {review}: {found.text()}")
        pile = pile.reviewed(found)
    return pile


def absolute(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The same settings with paths that do not depend on the working directory."""
    found = dict(settings)
    found["data"] = {key: _absolute(value) if key in PATHS else value for key, value in settings["data"].items()}
    found["labels"] = [_absolute(value) for value in settings.get("labels") or []]
    return found


def with_views(pile: Pile, settings: Mapping[str, Any]) -> Pile:
    """A pile with the views that the options say, or itself."""
    name = settings.get("name")
    if name is None:
        return pile
    make = pick("views", name, VIEWS)
    given = _recipes({key: value for key, value in settings.items() if key != "name"})
    if pile.encoding is not None:
        given["categorical"] = TableEncoding.from_dict(pile.encoding).categorical
        given["bank"] = getattr(pile.views, "bank", None)
    try:
        pile.views = make(**given).fitted(pile.unlabeled or pile.labeled)
        pile.card()  # complains of views that are for another kind of input
    except (TypeError, ValueError) as error:
        raise UsageError(f"views {name!r} do not fit: {error}") from error
    return pile


def kind_of(pile: Pile) -> str:
    """``"table"``, ``"image"``, ``"series"`` or ``"points"``."""
    if isinstance(pile.views, data.PointViews):
        return "points"
    return {1: "table", 2: "series", 3: "image"}[len(pile.card()["shape"])]


def everything(pile: Pile) -> Samples:
    """All training samples of a pile, labeled or not, without their labels."""
    sets = [Subset(part, np.arange(len(part)), annotated=False) for part in (pile.labeled, pile.unlabeled) if part]
    return sets[0] if len(sets) == 1 else Joined(sets[0], sets[1], None)


def numbered_as(pile: Pile, classes: Sequence[str]) -> Pile:
    """A pile whose labels are numbered by another list of classes.

    Raises:
        DataError: a class that is not in the list.
    """
    if list(pile.classes) == list(classes):
        return pile
    unknown = [name for name in pile.classes if name not in classes]
    if unknown:
        raise DataError(f"{pile.source} has a class {unknown[0]!r}; the run knows {', '.join(classes)}")
    number = torch.tensor([list(classes).index(name) for name in pile.classes])
    parts = [_renumbered(part, number) for part in (pile.labeled, pile.unlabeled, pile.validation, pile.test)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # classes without a label: nothing is learned here
        other = Pile(*parts, classes=classes, views=pile.views, source=pile.source)
    other.encoding, other.skipped = pile.encoding, pile.skipped
    return other


def _renumbered(part: Samples | None, number: torch.Tensor) -> Samples | None:
    if part is None or part.annotations is None:
        return part
    changed = Subset(part, np.arange(len(part)))
    changed.annotations = number[part.annotations]
    return changed


def _recipes(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings of views, with the recipes of weak and strong ones as objects."""
    found = dict(settings)
    makers: dict[str, Callable[..., Any]] = {"weak": data.Weak, "strong": data.Strong}
    for name, make in makers.items():
        if isinstance(found.get(name), Mapping):
            given = {key: tuple(v) if isinstance(v, list) else v for key, v in found[name].items()}
            found[name] = make(**given)
    return found


def _objects(views: str | None) -> tuple[str, ...]:
    """Settings that are pipelines of albumentations, which text cannot say."""
    return ("weak", "strong") if views in VIEWS and VIEWS[str(views)] is data.AlbumentationsViews else ()


def _absolute(value: Any) -> Any:
    return str(Path(value).resolve()) if isinstance(value, str) and Path(value).exists() else value
