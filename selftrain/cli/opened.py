"""A run folder of the command line, opened: its settings, its strategy with the stored weights, its data."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from selftrain.cli import UsageError, building
from selftrain.cli.folder import problem_in, settings_in
from selftrain.cli.naming import READERS, load_object, source_of, spec_of
from selftrain.cli.parser import Parser, parse
from selftrain.cli.piles import numbered_as, read_pile
from selftrain.data import Pile
from selftrain.errors import CheckpointError, RunFolderError
from selftrain.runtime.rng import own_randomness
from selftrain.storage import checkpoint
from selftrain.storage.run_dir import read_card
from selftrain.strategy.base import Strategy, SupervisedStrategy

Which = Literal["best", "last"]
_DATA = ("data", "labels", "views")
_ALIKE = ("size", "mode", "channels", "kind", "keys", "id", "label", "missing")


@dataclass(frozen=True)
class Opened:
    """A run as it was stored.

    Args:
        folder: Where it is.
        settings: It was started with.
        problem: Its data posed.
        strategy: With the weights that were asked for.
        step: That these weights have learned.
    """

    folder: Path
    settings: Mapping[str, Any]
    problem: building.Problem
    strategy: Strategy
    step: int

    @property
    def card(self) -> dict[str, Any]:
        """What its inputs are, see ``selftrain.read_card``."""
        return read_card(self.folder)

    def labeler(self) -> SupervisedStrategy:
        """The strategy, if it predicts classes.

        Raises:
            RunFolderError: for a run of pretraining.
        """
        if not isinstance(self.strategy, SupervisedStrategy):
            raise RunFolderError(f"{self.folder} is a run of pretraining, which knows no classes; train from it first")
        return self.strategy

    def pile(self, settings: Mapping[str, Any]) -> Pile:
        """Data that the options say, as the run sees inputs and numbers classes."""
        pile = read_pile(settings)
        if isinstance(self.strategy, SupervisedStrategy):
            pile = numbered_as(pile, self.problem.classes)
        return pile.normalized_as(self.card["input"])


def open_run(folder: str | Path, which: Which | None = None, device: str | None = None) -> Opened:
    """Build the strategy of a run anew and give it the stored weights; no code is read from them.

    Args:
        folder: Of ``selftrain train`` or ``pretrain``.
        which: ``"best"`` on validation or ``"last"``; ``None``: the best, where there was a validation set.
        device: Where the strategy goes; ``None``: the CPU.

    Raises:
        RunFolderError: no such run, or it has no best weights.
        CheckpointError: weights that are damaged or do not fit.
    """
    place, where = Path(folder), building.check_device(device)
    settings, problem = settings_in(place), building.Problem.from_dict(problem_in(place))
    with own_randomness(where):
        strategy = _built(settings, problem)
    strategy.to(where)
    state = checkpoint.load_newest(place / "checkpoints", where)
    if which == "best" and state["best_state"] is None:
        raise RunFolderError(f"{place} has no best weights, as it had no validation set; say --which last")
    best = which != "last" and state["best_state"] is not None
    try:
        strategy.load_state_dict(state["best_state"] if best else state["strategy"])
    except (RuntimeError, ValueError, KeyError) as error:
        raise CheckpointError(f"the checkpoint in {place} does not fit its settings: {error}") from error
    strategy.eval()
    return Opened(place, settings, problem, strategy, int(state["best"]["step"] if best else state["step"]))


def check_one_unit(opened: Opened, what: str) -> None:
    """Refuse runs that predict masks or joints where there is room for one label a sample.

    Raises:
        RunFolderError: says what to do instead.
    """
    task = opened.labeler().task
    if not task.one_unit:
        raise RunFolderError(
            f"{opened.folder} predicts with {type(task).__name__}, several answers a sample, and {what} has room for "
            f"one; ask it in Python: selftrain.open_run({str(opened.folder)!r}).strategy.predict(x)"
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
    settings, _ = parse(parser, rest, _data_of(run, rest) if data and run is not None else None)
    assert run is not None  # --help has ended before
    return run, second, settings


def _data_of(run: str, words: Sequence[str]) -> dict[str, Any]:
    """Settings of the data of a run, under those that a line says.

    Of other data of the same kind, what says how inputs are read is as it was for the run (size, mode, ...); a table is
    encoded as the run's was.
    """
    settings = settings_in(run)
    own = {key: settings[key] for key in _DATA if key in settings}
    pairs = [word.partition("=") for word in words]
    said = [value or words[i + 1] for i, (key, _, value) in enumerate(pairs) if key == "--data"]
    spec = spec_of("data", said[-1]) if said else own["data"]
    make = load_object(spec["class_path"])
    if source_of(spec) != source_of(own["data"]):
        takes, before = inspect.signature(make).parameters, own["data"]["init_args"]
        alike = {key: before[key] for key in _ALIKE if key in before and key in takes}
        own |= {"data": {**spec, "init_args": {**alike, **spec["init_args"]}}, "labels": []}
    if make is READERS["a table"][0]:
        own["data"] = {**spec, "init_args": own["data"]["init_args"] | {"encoding": read_card(run)["input"]["table"]}}
    return own


def _built(settings: Mapping[str, Any], problem: building.Problem) -> Strategy:
    if settings.get("strategy") is None and settings.get("recipe") is None:
        raise RunFolderError(
            "the run's settings name neither a strategy nor a recipe; it is no run of train or pretrain"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if settings.get("strategy") is not None:
            return building.build_strategy(problem, settings["strategy"], settings, start=False)
        return building.build_stage(problem, settings["recipe"], settings)
