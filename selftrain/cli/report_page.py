"""``selftrain report``: one page that says what a run or a comparison is worth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from selftrain.cli.opened import add_run, opened, pile_of, run_settings
from selftrain.cli.parser import Parser, make_parser, parse
from selftrain.engine.spec import open_run
from selftrain.report import of_comparison, write_page
from selftrain.storage.fields import COUNT, Number, read_fields
from selftrain.storage.run_dir import REPORT

ABOUT = """Write one HTML page that says what a run is worth: the gain over the labels alone, what is wrong, how the
pile was used, what is worth a look. The file holds everything and opens in any browser.

RUN is the folder of a run, whoever started it, or of a comparison. A finished run has its page already (report.html);
this one is of all held-out samples, or of other data (--data)."""
COMPARISON = "compare.json"
_SHARE = (Number(), None)
_FORM = {  # of the file, which may be a stranger's
    **dict.fromkeys(("floor", "part", "answer"), str),
    **dict.fromkeys(("samples", "cells"), COUNT),
    "cautions": ([str], ...),
    "settings": ({str: object}, ...),
    "runs": [{"strategy": str, "draw": int, "seed": int, "accuracy": Number(0, 1), "step": COUNT}],
    "rows": [
        {"strategy": str, "accuracy": Number(0, 1), "answer": str, "over": (str, None)}
        | dict.fromkeys(("spread", "gain", "low", "high"), _SHARE)
    ],
}


def parser() -> Parser:
    """All options; those of the data are as for ``train``."""
    found = make_parser("report", ABOUT, "RUN [options]")
    found.add_argument("--out", type=str | None, default=None, help="file to write; null: report.html in RUN")
    help = "held-out samples that are asked, at most, evenly spaced"
    found.add_argument("--samples", type=int, default=10_000, help=help)
    add_run(found, which=False)
    return found


def run(words: Sequence[str]) -> int:
    """Write the page, and say where it is."""
    place = Path(words[0]) if words and not words[0].startswith("-") else None
    if place is not None and (place / COMPARISON).is_file():
        settings, _ = parse(parser(), list(words[1:]))
        path = Path(settings["out"] or place / REPORT)
        again = "make the comparison again: selftrain compare --resume --out FOLDER"
        write_page(of_comparison(read_fields(place / COMPARISON, _FORM, again), place.resolve().name), path)
    else:
        folder, _, settings = run_settings("report", words, parser())
        run, _ = opened(folder, settings | {"which": "last"})
        if settings["data"] is not None:
            run = open_run(folder, pile=pile_of(run, settings), strategy=run.strategy, trust=bool(settings["trust"]))
        path = run.report(settings["out"], samples=settings["samples"])
    print(f"written    {path}")
    return 0
