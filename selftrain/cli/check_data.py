"""``selftrain check-data``: what is wrong with data, and what training would do with them."""

from __future__ import annotations

import inspect
import json
from collections.abc import Sequence
from typing import Any

from selftrain import data
from selftrain.cli.hints import as_options
from selftrain.cli.labelfiles import sorted_labels
from selftrain.cli.line import Line, Parser
from selftrain.cli.piles import NOT_OPTIONS, READERS, reader_of
from selftrain.cli.settings import add_option, add_settings
from selftrain.cli.stops import FAILED, OK, UsageError
from selftrain.data import DataReport

ABOUT = """Say what is wrong with data, and what training would do with them; nothing is changed.

DATA is a folder of images, an array file, a folder of them, a table, or a named data set. The exit code is 0 if nothing
stops training and nothing harms its result, 1 if something does, 2 if the question cannot be understood."""
_FOLDER = "a folder of images"
_CHECKED = ("test", "validation", "size", "mode", "on_error", "max_skipped", "workers")


def make_parser(line: Line, path: str | None) -> Parser:
    """All options: those of ``data.check``, and of the reader that the path needs."""
    parser = line.parser(ABOUT, "DATA [options]")
    add_option(parser, "json", bool, False, "print the report as JSON")
    add_option(parser, "limit", int, 5, "samples of each finding to list")
    help = "CSV file of labels with the columns path and label, for a folder of images"
    add_option(parser, "labels", str, [], help, nargs="+")
    takes = None if path is None else inspect.signature(READERS[reader_of(path)]).parameters
    only = [name for name in _CHECKED if takes is None or name in takes or name == "workers"]
    known = [*NOT_OPTIONS, *add_settings(parser, "data", data.check, only=only, title="how data are read")]
    for kind in (kind for kind in READERS if path is None or kind == reader_of(path)):
        skip = ("cache", "overlap", "labels", "seed") if kind == _FOLDER else ()  # no matter of the check
        known += add_settings(parser, "data", READERS[kind], skip=(*known, *skip), title=f"settings of {kind}")
    return parser


def run(words: Sequence[str]) -> int:
    """Check, and print the report."""
    rest = list(words)
    path = rest.pop(0) if rest and not rest[0].startswith("-") else None
    if path is None and not {"-h", "--help"} & set(rest):
        raise UsageError("say which data: selftrain check-data DATA [options]")
    line = Line("check-data", rest)
    settings, given = line.parse(make_parser(line, path))
    assert path is not None  # --help has ended before
    report = checked(path, settings["labels"], given.get("data", {}))
    print(json.dumps(report.as_dict(), indent=1) if settings["json"] else as_options(report.text(settings["limit"])))
    return OK if report.ok else FAILED


def checked(path: str, labels: Sequence[str], given: dict[str, Any]) -> DataReport:
    """The report on what a path or a name stands for, with the settings that were given."""
    kind = reader_of(path)
    lists, reviews = sorted_labels(labels)
    if reviews or len(lists) > 1:
        raise UsageError(
            f"--labels {(reviews or lists)[-1]}: the check reads one CSV file with the columns path and label"
        )
    if lists:
        given = given | {"labels_csv": lists[0]}
    if kind == "a named data set":
        return data.check(data.load(path, **given))
    try:
        return data.check(path, **given)
    except TypeError as error:  # a setting that this kind of data does not have
        raise UsageError(f"{path} is {kind}: {error}") from error
