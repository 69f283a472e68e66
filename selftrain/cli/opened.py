"""The run that a command is about: opened, whoever started it, with the weights and the data that the options say."""

from __future__ import annotations

import inspect
import json
import os
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from selftrain.cli import UsageError
from selftrain.cli.parser import Parser, parse, said, switch, trusted, trusts, with_masks
from selftrain.cli.piles import add_data, read_pile
from selftrain.data import Pile
from selftrain.engine.run import take_state
from selftrain.engine.spec import OpenedRun, open_run, read_record
from selftrain.engine.summary import weights_in_words
from selftrain.errors import RunFolderError
from selftrain.front import building
from selftrain.front.naming import READERS, load_object, source_of, spec_of
from selftrain.metrics.significance import FEW
from selftrain.storage.run_dir import read_card
from selftrain.strategy.base import SupervisedStrategy

_ALIKE = ("size", "mode", "channels", "kind", "keys", "id", "label", "missing")
_MASKS, _OF_MASKS = "selftrain.data.from_masks", ("classes", "colors", "void", "fit")
_DATA = ("--data", "--labels", "--views", "--config", "--masks")


def add_run(parser: Parser, *, which: bool = True, data: bool = True) -> None:
    """Options of every command about a run.

    Args:
        parser: That gets them.
        which: Whether weights can be chosen.
        data: Whether other data may be said.
    """
    add = parser.add_argument_group("the run").add_argument
    if which:
        help = f"weights: the best on validation, or the last; null: the best, with {FEW} validation labels or more"
        add("--which", type=Literal["best", "last"] | None, default=None, help=help)
    help = "module:name of the run's network, where it is your own code"
    add("--network", type=str | None, default=None, help=help)
    switch(parser, "trust", "import whatever code the run names: only for folders that you trust as you do a program")
    if which and data:
        add("--batch_size", type=int, default=500, help="samples a pass")
        add("--device", type=str | None, default="auto", help=f"where to predict: {building.DEVICE}")
    if data:
        add_data(parser)


def opened(folder: str | Path, settings: Mapping[str, Any]) -> tuple[OpenedRun, int]:
    """A run with the weights that the options say, in its strategy, and the step they are of.

    Raises:
        RunFolderError: no such run, one that cannot be built, or it has no best weights.
        CheckpointError: weights that are damaged or do not fit.
    """
    trust, network = bool(settings.get("trust")), settings.get("network")
    if trust and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    run = open_run(folder, network=None if network is None else load_object(network), trust=trust)
    which = settings.get("which") or run.ships
    if which == "best" and run.best_state is None:
        raise RunFolderError(f"{folder} has no best weights, as it had no validation set; say --which last")
    best = which == "best"
    if settings.get("which") is None and not best and run.best_state is not None:
        print(f"weights    {weights_in_words(run)}")
    if best:
        take_state(run.strategy, run.best_state, f"the best weights in {folder} do not fit", "say --which last")
        run.steps = int(run.best.get("step", run.steps))
    run.best_state = None  # all that is asked of the run from here on is asked of these weights
    run.strategy.to(building.device_of(settings))
    return run, run.steps


def pile_of(run: OpenedRun, settings: Mapping[str, Any]) -> Pile:
    """The data that the options say, or the run's own; with inputs and classes as the run saw them."""
    if settings["data"] is None:
        return run.pile  # type: ignore[return-value]
    given = read_pile(settings)
    larger = settings.get("overlap") is not None
    pile: Any = run.shown(given, strict=settings.get("views") is None, any_size=larger)
    first = (given.unlabeled or given.labeled).images(np.zeros(1, np.int64))  # type: ignore[union-attr]
    wanted = run.inputs["shape"]
    if run.encoder is None and first.ndim == 4 and len(wanted or ()) == 3 and first.shape[1] != wanted[0]:
        warnings.warn(
            f"pictures with {first.shape[1]} channels are shown to a network that has learned from {wanted[0]}; give "
            "pictures with the channels of training",
            stacklevel=2,
        )
    return pile  # type: ignore[no-any-return]


def labeler(run: OpenedRun) -> SupervisedStrategy:
    """The strategy of a run, if it predicts classes.

    Raises:
        RunFolderError: for a run of pretraining.
    """
    if not isinstance(run.strategy, SupervisedStrategy):
        raise RunFolderError(f"{run.out} is a run of pretraining, which knows no classes; train from it first")
    return run.strategy


def check_one_unit(run: OpenedRun, what: str) -> None:
    """Refuse runs that predict masks or joints where there is room for one label a sample.

    Raises:
        RunFolderError: says what to do instead.
    """
    task = labeler(run).task
    if not task.one_unit:
        raise RunFolderError(
            f"{run.out} predicts with {type(task).__name__}, several answers a sample, and {what} has room for one; "
            f"ask it in Python: selftrain.open_run({str(run.out)!r}).predict(data)"
        )


def run_settings(
    command: str, words: Sequence[str], parser: Parser, *, data: bool = True, other: bool = False
) -> tuple[str, str | None, dict[str, Any]]:
    """What a line about a run says: the run, the other data that it names, and its options.

    Args:
        command: Its name.
        words: Of the line.
        parser: Of its options.
        data: Whether it has the options of data, which are those of the run unless it says others.
        other: Whether a second word may name other data.

    Raises:
        UsageError: the first word is an option, though not ``--help``; or an option is wrong.
        RunFolderError: no such run.
    """
    rest = list(words)
    run = rest.pop(0) if rest and not rest[0].startswith("-") else None
    if run is None and not any(word in ("-h", "--help") or word.partition("=")[0].endswith(".help") for word in rest):
        raise UsageError(f"say which run, first of all: selftrain {command} RUN [options]")
    second = rest.pop(0) if other and rest and not rest[0].startswith("-") else None
    rest = rest if second is None else ["--data", second, *rest]
    about_data = any(word.partition("=")[0].partition(".")[0] in _DATA for word in rest)
    settings, _ = parse(parser, rest, _data_of(run, rest) if data and about_data and run is not None else None)
    assert run is not None  # --help has ended before
    return run, second, settings


def _data_of(run: str, words: Sequence[str]) -> dict[str, Any]:
    """Settings of the data of a run, under those that a line says.

    Of other data of the same kind, what says how inputs are read is as it was for the run (size, mode, ...); a table is
    encoded as the run's was.
    """
    record = read_record(run)
    # checked, as all that a folder says; what the line says is the user's own word
    own = trusted(run, {"data": spec_of_origin(record["pile"])}, trust=trusts(words))["data"]
    noted = record["note"].get("settings", {})
    others = said(with_masks(words), "--data")
    spec = spec_of("data", others[-1]) if others else own
    spec = json.loads(spec) if isinstance(spec, str) else spec
    if spec is None:
        return {}
    make, init = load_object(spec["class_path"]), dict(spec["init_args"])
    # a review is of the pile that its ledger is about, and fits no other data
    found: dict[str, Any] = {"labels": [str(path) for path in noted.get("labels", [])] if spec is own else []}
    if own is not None and spec is not own:
        same = source_of(spec) == source_of(own)
        takes = inspect.signature(make).parameters
        names = _ALIKE + (_OF_MASKS if spec["class_path"] == own["class_path"] == _MASKS else ())
        alike = {key: value for key, value in own["init_args"].items() if key in takes and (same or key in names)}
        init = alike | init
    # fitted anew, codes of categories and means would be those of the other table
    if make is READERS["a table"][0]:
        inputs = read_card(run)["input"]
        if inputs.get("table") is None:
            raise UsageError(
                f"{run} has learned from inputs of shape {inputs['shape']}, and a table has columns; say --data with "
                "data like those of the run"
            )
        init["encoding"] = inputs["table"]
    return found | {"data": {**spec, "init_args": init}}


def spec_of_origin(origin: Any) -> dict[str, Any] | None:
    """The reader of a run's data and its plain settings, as a config file has them; no other code can be named."""
    readers = {f"{make.__module__}:{make.__name__}": make for make, _ in READERS.values()}
    make = readers.get(str((origin or {}).get("reader")))
    if make is None:
        return None
    plain = {key: _plain(node) for key, node in origin["settings"].items()}
    known = {key: value for key, value in plain.items() if not isinstance(value, dict)}
    for key in set(_OF_MASKS) & set(plain) - set(known):  # of names and numbers or colors
        known[key] = {name: _plain(value) for name, value in plain[key].get("map", ())}
    return {"class_path": f"selftrain.data.{make.__name__}", "init_args": known}


def _plain(node: Any) -> Any:
    return [_plain(one) for one in node["tuple"]] if isinstance(node, dict) and "tuple" in node else node
