"""``selftrain review``: the page on which a person accepts, corrects and rejects pseudo-labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from selftrain.cli.opened import add_run, labeler, opened, pile_of, run_settings
from selftrain.cli.parser import Parser, make_parser
from selftrain.data import TableEncoding
from selftrain.labels.page import write_review

ABOUT = """Write one HTML page that shows the pseudo-labels of a run and takes a person's verdicts, in any browser.

RUN is the folder of a run, whoever started it. What the page saves goes back with --labels:
selftrain train --config RUN --labels reviewed.csv --out NEW"""


def parser() -> Parser:
    """All options; those of the data are as for ``train``."""
    found = make_parser("review", ABOUT, "RUN [options]")
    found.add_argument("--out", type=str | None, default=None, help="file to write; null: review.html in RUN")
    skip = ("run", "pile", "path", "part", "strategy", "columns", "candidates")
    found.add_function_arguments(write_review, skip=set(skip))
    add_run(found, which=False)
    return found


def run(words: Sequence[str]) -> int:
    """Write the page, and say where it is."""
    folder, _, settings = run_settings("review", words, parser())
    run, _ = opened(folder, settings | {"which": "last"})  # those that the ledger is of
    # refuses a run of pretraining before its data are read
    labeler(run)
    pile = pile_of(run, settings)
    names = ("samples", "choose", "name", "thumbnail", "megabytes", "seed")
    columns = None if pile.encoding is None else list(TableEncoding.from_dict(pile.encoding).features)
    path = write_review(
        run,
        pile,
        settings["out"] or Path(folder, "review.html"),
        columns=columns,
        **{name: settings[name] for name in names},
    )
    print(f"written    {path}")
    print(f"next       open it in a browser, save, and: selftrain train --config {folder} --labels SAVED.csv")
    return 0
