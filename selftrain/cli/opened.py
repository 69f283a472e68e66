"""A run folder of the command line, opened: its settings, its strategy with the stored weights, its data."""

from __future__ import annotations

import copy
import inspect
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from selftrain.cli import building
from selftrain.cli.folder import problem_in, settings_in
from selftrain.cli.line import Line, Parser
from selftrain.cli.piles import READERS, numbered_as, read_pile, reader_of
from selftrain.cli.stops import UsageError
from selftrain.data import Pile
from selftrain.errors import CheckpointError, RunFolderError
from selftrain.runtime.rng import own_randomness
from selftrain.storage import checkpoint
from selftrain.storage.run_dir import CARD, read_card
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


def run_settings(
    command: str,
    words: Sequence[str],
    make_parser: Callable[[Line], Parser],
    *,
    data: bool = True,
    other: bool = False,
) -> tuple[str, str | None, dict[str, Any]]:
    """What a line about a run says: the run, the other data that it names, and its options.

    Args:
        command: Its name.
        words: Of the line.
        make_parser: Makes the parser of its options.
        data: Whether it has the options of data, which are those of the run unless it says others.
        other: Whether a second word may name other data.

    Raises:
        UsageError: the first word is an option, though not ``--help``; or an option is wrong.
        RunFolderError: no such run.
    """
    run, rest = _run_word(words, command)
    second = rest.pop(0) if other and rest and not rest[0].startswith("-") else None
    line = data_line(command, rest, run, second) if data and run is not None else Line(command, rest)
    settings, _ = line.parse(make_parser(line))
    assert run is not None  # --help has ended before
    return run, second, settings


def data_line(command: str, words: Sequence[str], run: str, other: str | None = None) -> Line:
    """A line whose data are those of a run, unless it says others.

    Of other data of the same kind, what says how inputs are read is as it was for the run (size, mode, ...); a table is
    encoded as the run's was.

    Args:
        command: Its name.
        words: Options.
        run: Run folder.
        other: Other data that a word without option names.

    Raises:
        RunFolderError: no such run.
    """
    line, settings = Line(command, words), settings_in(run)
    own = {key: settings[key] for key in _DATA if key in settings}
    path = other or line.chosen("data", "path") or own["data"]["path"]
    if path != own["data"]["path"]:
        own |= {"data": _read_alike(own["data"], path), "labels": []}
    if reader_of(path) == "a table":
        own["data"] = own["data"] | {"encoding": str(Path(run, CARD))}
    return line.over(own)


def _run_word(words: Sequence[str], command: str) -> tuple[str | None, list[str]]:
    """The run that a command is about, and the other words; ``None``: none is named, as with ``--help`` alone.

    Raises:
        UsageError: the first word is an option, though not ``--help``.
    """
    if words and not words[0].startswith("-"):
        return words[0], list(words[1:])
    if not {"-h", "--help"} & set(words):
        raise UsageError(f"say which run, first of all: selftrain {command} RUN [options]")
    return None, list(words)


def _read_alike(data: Mapping[str, Any], path: str) -> dict[str, Any]:
    """Other data, with the settings of the run's data that say how inputs are read."""
    kind = reader_of(path)
    takes = inspect.signature(READERS[kind]).parameters
    return {"path": path} | {key: data[key] for key in _ALIKE if key in data and key in takes}


def _built(settings: Mapping[str, Any], problem: building.Problem) -> Strategy:
    chosen = copy.deepcopy(settings.get("strategy") or settings.get("recipe"))
    if not isinstance(chosen, dict):
        raise RunFolderError(
            "the run's settings name neither a strategy nor a recipe; it is no run of train or pretrain"
        )
    name = chosen.pop("name")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if "strategy" in settings:
            return building.build_strategy(problem, name, chosen, settings, start=False)
        return building.build_stage(problem, name, chosen, settings)
