"""``selftrain check-data``: what is wrong with data, and what training would do with them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from selftrain import data
from selftrain.cli import FAILED, OK, UsageError
from selftrain.cli.parser import MASKS, Parser, make_parser, parse, switch
from selftrain.cli.piles import sorted_labels
from selftrain.data import DataReport, Pile
from selftrain.front.naming import load_object, source_of

ABOUT = """Say what is wrong with data, and what training would do with them; nothing is changed.

DATA is a folder of images, an array file, a folder of them, a table, or a named data set. The exit code is 0 if nothing
stops training and nothing harms its result, 1 if something does, 2 if the question cannot be understood."""


def parser() -> Parser:
    """All options: those of ``data.check``, and of the reader that the path needs."""
    found = make_parser("check-data", ABOUT, "DATA [options]")
    switch(found, "json", "print the report as JSON")
    found.add_argument("--limit", type=int, default=5, help="samples of each finding to list")
    help = "threads that read; null: as many as there are processors, at most 16"
    found.add_argument("--workers", type=int | None, default=None, help=help)
    help = "folder of the masks of the pictures in DATA, by the same names"
    found.add_argument(f"--{MASKS}", type=str | None, default=None, help=help, metavar="FOLDER")
    help = "CSV file of labels with the columns path and label, for a folder of images"
    found.add_argument("--labels", type=str, default=[], help=help, nargs="+", metavar="FILE")
    found.add_choice("data", "data", Pile, "settings follow with dots: --data.size 32", "how data are read")
    return found


def run(words: Sequence[str]) -> int:
    """Check, and print the report."""
    rest = list(words)
    named = bool(rest) and not rest[0].startswith("-")
    if not named and not any(word in ("-h", "--help") or word.endswith(".help") for word in rest):
        raise UsageError("say which data: selftrain check-data DATA [options]")
    settings, given = parse(parser(), ["--data", *rest] if named else rest)
    report = checked(given["data"], settings["labels"], settings["workers"])
    print(json.dumps(report.as_dict(), indent=1) if settings["json"] else report.text(settings["limit"]))
    return OK if report.ok else FAILED


def checked(spec: dict[str, Any], labels: Sequence[str], workers: int | None = None) -> DataReport:
    """The report on data, with the settings that were given."""
    given, path, read = dict(spec["init_args"]), source_of(spec), load_object(spec["class_path"])
    lists, reviews = sorted_labels(labels)
    if reviews or len(lists) > 1:
        raise UsageError(
            f"--labels {(reviews or lists)[-1]}: the check reads one CSV file with the columns path and label"
        )
    if lists:
        given["labels_csv"] = lists[0]
    # its name is no path that the check could look at
    if read is data.load:
        return data.check(read(**given), workers=workers)
    rest = {key: value for key, value in given.items() if value != path}
    try:
        return data.check(path, **{"workers": workers, **rest})
    except TypeError as error:  # a setting that this kind of data does not have
        raise UsageError(f"{path}: {error}") from error
