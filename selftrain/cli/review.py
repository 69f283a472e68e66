"""``selftrain review``: the page on which a person accepts, corrects and rejects pseudo-labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from selftrain.cli import UsageError
from selftrain.cli.folder import settings_near
from selftrain.cli.opened import add_run, check_one_unit, labeler, opened, pile_of, run_settings
from selftrain.cli.parser import Parser, make_parser, said, switch
from selftrain.data import Pile, TableEncoding
from selftrain.engine.spec import OpenedRun
from selftrain.front import building
from selftrain.labels.page import write_label_review, write_review
from selftrain.pipeline import out_of_fold

OTHER = ("given labels", "pseudo-labels")  # without --given, and with it

ABOUT = """Write one HTML page that shows the pseudo-labels of a run and takes a person's verdicts, in any browser.

RUN is the folder of a run, whoever started it. What the page saves goes back with --labels:
selftrain train --config RUN --labels reviewed.csv --out NEW

With --given the labels that people gave are reviewed, the most doubtful ones first: the strategy of the run learns
again from where it started (in Python: from scratch), once without each fold of the labels, and says what it thinks of
those that it did not see."""


def parser() -> Parser:
    """All options; those of the data are as for ``train``."""
    found = make_parser("review", ABOUT, "RUN [options]")
    found.add_argument(
        "--out", type=str | None, default=None, help="file to write; null: review.html in RUN, given.html with --given"
    )
    skip = ("run", "pile", "path", "part", "strategy", "columns", "candidates")
    found.add_function_arguments(write_review, skip=set(skip))
    add = found.add_argument_group("the given labels").add_argument
    switch(found, "given", "review the labels that were given, by networks that did not see them")
    add("--folds", type=int | None, default=None, help="trainings, each without one part of the labels; null: 5")
    add("--steps", type=int | None, default=None, help="of each of these trainings; null: as many as the run had")
    add_run(found, which=False)
    return found


def run(words: Sequence[str]) -> int:
    """Write the page, and say where it is."""
    folder, _, settings = run_settings("review", words, parser())
    place = settings["out"] or Path(folder, "given.html" if settings["given"] else "review.html")
    _check(settings, words)
    run, _ = opened(folder, settings | {"which": "last"})  # those that the ledger is of
    # refuses a run of pretraining before its data are read
    labeler(run)
    pile = pile_of(run, settings)
    columns = None if pile.encoding is None else list(TableEncoding.from_dict(pile.encoding).features)
    names = ("samples", "name", "thumbnail", "megabytes")
    shown: dict[str, Any] = {"columns": columns} | {name: settings[name] for name in names}
    if settings["given"]:
        _given(run, folder, pile, place, settings, shown)
    else:
        write_review(run, pile, place, choose=settings["choose"], seed=settings["seed"], **shown)
    path = Path(place)
    print(f"written    {path}")
    print(f"next       open it in a browser, save, and: selftrain train --config {folder} --labels SAVED.csv")
    return 0


def _check(settings: Mapping[str, Any], words: Sequence[str]) -> None:
    """Refuse what says nothing about the labels that are reviewed."""
    given = bool(settings["given"])
    for name in ("choose",) if given else ("folds", "steps"):
        if said(words, f"--{name}"):
            remedy = (
                "leave it out: the most doubtful labels are shown" if given else "say --given as well, or leave it out"
            )
            raise UsageError(f"--{name} {settings[name]} is of the review of {OTHER[given]}; {remedy}")
    for name, least in (("folds", 2), ("steps", 1)):
        if settings[name] is not None and settings[name] < least:
            raise UsageError(f"--{name} is {settings[name]}; it must be at least {least}")


def _start(folder: str, *, trust: bool) -> tuple[str, Any]:
    """Name and weights of what the command of a run started from, other than features that stay as they are."""
    own = settings_near(Path(folder), trust=trust) or {}
    start = own.get("init_from")
    if start is None or own.get("frozen"):
        return "scratch" if start is None else f"features of {start}", None
    encoder = building.foundation(own)
    if encoder is None:
        return start, start
    return start, {f"encoder.{name}": value for name, value in encoder.state_dict().items()}


def _given(
    run: OpenedRun, folder: str, pile: Pile, place: str | Path, settings: Mapping[str, Any], shown: Mapping[str, Any]
) -> None:
    """Train without each fold of the labels, and write the page of all."""
    check_one_unit(run, "the review page of given labels")
    steps, plan = run.planned()
    steps = steps if settings["steps"] is None else settings["steps"]
    folds = 5 if settings["folds"] is None else settings["folds"]
    start, weights = _start(folder, trust=bool(settings["trust"]))
    print(f"training   {folds} times {steps:,} steps from {start}, each time without a part of the labels")
    made: Any = partial(run.untrained, weights)  # `labeler` has told that it knows classes
    probabilities = out_of_fold(made, pile, folds=folds, steps=steps, plan=plan, seed=settings["seed"])
    found = write_label_review(pile, probabilities, place, **shown)
    print(f"suspected  {int(found.suspected.sum()):,} of {len(found.suspected):,} labels")
