"""Inputs of the form of real ones with any content: each ends in finite results or in one of the library's errors.

Unlike ``fuzzing``, which damages bytes, these are made by Hypothesis from the inside: any array, any cells, any JSON.
"""

from __future__ import annotations

import copy
import csv
import io
import json
import tempfile
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import fuzzing
import hypothesis
import numpy as np
import torch
from harness import Bench, Trial, train
from hypothesis import strategies as some
from hypothesis.extra import numpy as arrays

import selftrain as st
from selftrain import data
from selftrain.handlers.snapshots import read as read_snapshots
from selftrain.handlers.snapshots import select_snapshot
from selftrain.labels.review import read_review
from selftrain.storage import checkpoint
from selftrain.storage.run_dir import CHECKPOINTS, prepare_folder, read_card

EXAMPLES = 25  # of one trial
Some = some.SearchStrategy[Any]

TEXT = some.text(some.characters(exclude_categories=()), max_size=6)
TELLING = some.sampled_from(
    [
        "",
        " ",
        "nan",
        "NaN",
        "inf",
        "-Infinity",
        "1e999",
        "1e308",
        "-1e308",
        "1e-320",
        "-1",
        "0",
        "1",
        "1.0",
        "0x1",
        "1_0",
    ]
    + [
        "9" * 400,
        "٣",
        "½",
        "+5",
        "=1+1",
        "@x",
        '"',
        "'",
        "a,b",
        "a;b",
        "two\nlines",
        "\r",
        "\0",
        "\ufeff",
        "NULL",
        "true",
    ]
)
CELL = TELLING | some.floats().map(repr) | some.integers().map(str) | TEXT
NAME = some.sampled_from(["a", "b", "a ", "", "label"]) | TEXT
JSON = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats() | TEXT,
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)


def form_of(pattern: Any) -> Some:
    """JSON like a pattern, of which any part may be any other value, or missing."""
    if isinstance(pattern, dict):
        inner = some.fixed_dictionaries({}, optional={key: form_of(value) for key, value in pattern.items()})
        whole = some.fixed_dictionaries({key: form_of(value) for key, value in pattern.items()})
        return whole | inner | JSON
    if isinstance(pattern, list):
        return some.lists(form_of(pattern[0]), max_size=3) | JSON
    return some.just(pattern) | JSON


# -- arrays ------------------------------------------------------------------------------------------------------------
DTYPES = (
    arrays.scalar_dtypes()
    | arrays.unicode_string_dtypes()
    | arrays.byte_string_dtypes()
    | some.sampled_from([np.dtype(object), np.dtype([("a", "i4"), ("b", "f8")]), np.dtype(np.longdouble)])
)
SHAPES = arrays.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=4)
THINGS = some.none() | some.integers() | some.floats() | TEXT | some.lists(some.integers(), max_size=2)


@some.composite
def inputs(draw: Any) -> dict[str, Any]:
    """Inputs and labels of a pile; most have as many rows, some are right."""
    kind = draw(some.sampled_from([None, None, "series", "points"]))
    x = draw(_array(SHAPES) | _array(arrays.array_shapes(min_dims=2, max_dims=4, min_side=1, max_side=4), plain=True))
    rows = len(x) if x.ndim else 1
    y = draw(
        some.lists(some.integers(-1, 2), min_size=rows, max_size=rows) | _array(some.just((rows,))) | _array(SHAPES)
    )
    return {"x": x, "y": y, "kind": kind, "channels": draw(some.sampled_from([None, None, "first", "last"]))}


def _array(shapes: Some, plain: bool = False) -> Some:
    dtypes = arrays.floating_dtypes() | arrays.integer_dtypes() if plain else DTYPES
    return dtypes.flatmap(lambda t: arrays.arrays(t, shapes, elements=THINGS if t.kind == "O" else None))


def use_inputs(given: dict[str, Any], folder: Path) -> None:
    pile = data.Pile.from_arrays(given.pop("x"), given.pop("y"), **given)
    for samples in (pile.labeled, pile.unlabeled):
        _look(samples)
    if pile.labeled is not None and pile.labeled.annotations is not None:
        assert bool(((pile.labeled.annotations >= 0) & (pile.labeled.annotations < len(pile.classes))).all())


def _look(samples: Any) -> None:
    if samples is not None and len(samples):
        assert torch.isfinite(samples.images(np.arange(len(samples))).float()).all()


# -- text files --------------------------------------------------------------------------------------------------------
CODES = some.sampled_from(["utf-8", "utf-8", "utf-8", "utf-8-sig", "latin-1", "utf-16", "cp1252"])


@some.composite
def lines(draw: Any, names: Some, cells: Some, *, most: int = 5) -> bytes:
    """A CSV file with these names of columns; rows may be shorter or longer than the head."""
    head = draw(some.lists(names, min_size=1, max_size=5))
    row = some.lists(cells, min_size=len(head), max_size=len(head)) | some.lists(cells, max_size=len(head) + 1)
    file = io.StringIO()
    quoting = draw(some.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
    writer = csv.writer(file, delimiter=draw(some.sampled_from(",,,;\t")), quoting=quoting)
    writer.writerows([head, *draw(some.lists(row, max_size=most))])
    return file.getvalue().encode(draw(CODES), "replace")


PATHS = some.sampled_from(
    ["a.png", "b.png", "c.png", "./a.png", "sub/../a.png", "A.PNG", "a.png/", "../a.png", "/etc/passwd", "~/a.png", "."]
    + ["C:\\a.png", "..\\a.png", "a.png\0", "//a.png", "%2e%2e/a.png", "file:///etc/passwd", "..", "nowhere.png"]
)


def use_labels(content: bytes, folder: Path) -> None:
    (folder / "labels.csv").write_bytes(content)
    (folder / "images").mkdir()
    for name in "abc":
        (folder / "images" / f"{name}.png").write_bytes(_picture())
    pile = data.from_folder(folder / "images", labels_csv=folder / "labels.csv", size=8)
    ids = {str(name) for part in (pile.labeled, pile.unlabeled) if part is not None for name in part.ids}
    assert ids <= {"a.png", "b.png", "c.png"}


@cache
def _picture() -> bytes:
    return fuzzing.picture(Random(0), "png")


def use_table(content: bytes, folder: Path) -> None:
    (folder / "x.csv").write_bytes(content)
    for label in ("label", None):
        with _named_errors():
            pile = data.from_table(folder / "x.csv", label=label)
            for samples in (pile.labeled, pile.unlabeled):
                _look(samples)


def _named_errors() -> Any:
    return suppress(st.SelftrainError)


BOOK = ["id", "class", "label", "confidence", "margin", "accepted", "agreement", "seen", "flips", "first_accepted"]
BOOK += ["verdict", "correction"]
WORD = some.sampled_from(["accept", "reject", "keep", "REJECT", "a", "b", "true", "false", "0.5"])


def use_book(content: bytes, folder: Path) -> None:
    (folder / "x.csv").write_bytes(content)
    with _named_errors():
        book = st.Ledger.read(folder / "x.csv")
        for shares in (book.confidence, book.margin):
            assert bool(((shares >= 0) & (shares <= 1)).all())
    found = read_review(folder / "x.csv", ["a", "b"])
    assert all(-1 <= label < 2 for label in dict(found).values())


# -- JSON --------------------------------------------------------------------------------------------------------------
ENTRY = {"file": "step-000000003.pt", "step": 3, "sha256": "0" * 64}
CARD = {"strategy": "FixMatch", "steps": 4, "versions": {"torch": "2"}, "input": {"shape": [3]}, "encoder": None}
ROW = {"step": 3, "file": "step-3.safetensors", "figures": {"validation": {"knn": 0.5}, "unlabeled": {"rankme": 2.0}}}
RUN = {"total_steps": 4, "plan": {"labeled": 4}, "strategy": "FixMatch", "settings": {"decay": 0.9}}


def use_manifest(value: Any, folder: Path) -> None:
    _write(folder / checkpoint.MANIFEST, value)
    with _named_errors():
        checkpoint.is_empty(folder)
    checkpoint.load_newest(folder)


def use_card(value: Any, folder: Path) -> None:
    _write(folder / "export.json", value)
    assert {"strategy", "steps"} <= read_card(folder).keys()


def use_snapshots(value: Any, folder: Path) -> None:
    (folder / "snapshots").mkdir()
    _write(folder / "snapshots" / "snapshots.json", value)
    with _named_errors():
        assert all(isinstance(row["step"], int) for row in read_snapshots(folder))
    for use in ("frozen", "fine-tune"):
        with _named_errors():
            assert select_snapshot(folder, use).parent == folder / "snapshots"  # type: ignore[arg-type]


def use_run(value: Any, folder: Path) -> None:
    _write(folder / "run.json", value)
    prepare_folder(folder, RUN, resume=True, overwrite=False)


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value), encoding="utf-8")


# -- states of checkpoints ---------------------------------------------------------------------------------------------
FLOATS, WHOLE = np.dtype(np.float32), np.dtype(np.int64)
TENSORS = some.sampled_from([FLOATS, WHOLE]).flatmap(lambda dtype: arrays.arrays(dtype, SHAPES)).map(torch.from_numpy)
OTHERS = some.none() | some.booleans() | some.integers() | some.floats() | TEXT | some.lists(TEXT, max_size=2) | TENSORS
GUARDED = ("strategy", "ledger")  # whose parts are compared with those of this strategy and data one by one


@cache
def _stored() -> tuple[dict[str, Any], bytes, list[tuple[str, ...]]]:
    """State and settings of a run after 2 of 4 steps, and the ways to the parts of the state."""
    with tempfile.TemporaryDirectory() as place, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        folder = Path(place) / "run"
        train(folder, stop_after=2, steps=4, dashboard=False)
        state = checkpoint.load_newest(folder / CHECKPOINTS)
        inner = [(name, key) for name in GUARDED for key in state[name] if "_extra_state" not in key]
        return state, (folder / "run.json").read_bytes(), [(name,) for name in state] * 3 + inner


@some.composite
def states(draw: Any) -> dict[str, Any]:
    """The state of a run in which one part is of another kind, or missing."""
    state, _, ways = _stored()
    changed = copy.deepcopy(state)
    *way, last = draw(some.sampled_from(ways))
    holder = changed[way[0]] if way else changed
    if draw(some.integers(0, 3)):
        holder[last] = draw(OTHERS)
    else:
        del holder[last]
    return changed


def use_state(state: dict[str, Any], folder: Path) -> None:
    (folder / "run.json").write_bytes(_stored()[1])
    checkpoint.save(folder / CHECKPOINTS, state, 2)
    run = train(folder, steps=4, dashboard=False)
    assert all(torch.isfinite(p).all() for p in run.strategy.parameters())


# -- trials ------------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Case:
    """What is made, and what is done with it."""

    made: Some
    use: Callable[[Any, Path], None]


CASES = {
    "arrays": Case(inputs(), use_inputs),
    "labels csv": Case(lines(some.sampled_from(["path", "label", "path", "label"]) | NAME, PATHS | CELL), use_labels),
    "table csv": Case(lines(NAME, CELL, most=12), use_table),
    "ledger and review csv": Case(lines(some.sampled_from(BOOK) | NAME, WORD | CELL), use_book),
    "manifest json": Case(form_of({"format": 1, "checkpoints": [ENTRY]}), use_manifest),
    "card json": Case(form_of(CARD) | some.just(list(CARD)) | some.just(" ".join(CARD)), use_card),
    "snapshots json": Case(form_of([ROW]), use_snapshots),
    "run json": Case(form_of(RUN), use_run),
    "checkpoint state": Case(states(), use_state),
}


def attempt(case: Case, value: Any) -> None:
    """Use one value: success, or one of the library's errors; anything else goes on up."""
    with tempfile.TemporaryDirectory() as place, warnings.catch_warnings(), fuzzing.limited(fuzzing.SECONDS):
        warnings.simplefilter("ignore")
        with _named_errors():
            case.use(value, Path(place))


def tried(name: str, examples: int, **settings: Any) -> Callable[[], None]:
    """A function that tries so many examples of a case, and raises what the simplest one that fails raises."""
    quiet = [hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.data_too_large]
    case = CASES[name]

    @hypothesis.given(case.made)
    @hypothesis.settings(max_examples=examples, deadline=None, database=None, suppress_health_check=quiet, **settings)
    def try_them(value: Any) -> None:
        attempt(case, value)

    return try_them


def any_of(name: str) -> Callable[[Bench | None, Path, int], Trial]:
    """Trials on examples of a case."""

    def trial(bench: Bench | None, folder: Path, number: int) -> Trial:
        try:
            hypothesis.seed(number)(tried(name, EXAMPLES))()
        except BaseException as error:
            notes = "; ".join(getattr(error, "__notes__", []))
            return Trial(False, 0, f"{type(error).__name__}: {error}; {notes}")
        return Trial(True)

    return trial
