"""Forgeries: every field of every file that is read back, in turn missing, of another kind, huge, or endless.

    python tests/reliability/forging.py              # all of them, some minutes; prints what ended in another error
    python tests/reliability/forging.py step nested  # those whose names contain a word
    python tests/reliability/forging.py --sample=40 --write  # so many of each file; the count into docs/reliability.md

A forgery is refused by one of the library's own errors, or the run loads and goes on; never another error, never more
than some seconds and some memory.
"""

from __future__ import annotations

import copy
import json
import resource
import shutil
import sys
import tempfile
import time
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import cache
from io import StringIO
from itertools import groupby
from pathlib import Path
from random import Random
from typing import Any

import fuzzing
import pyarrow as pa
import pyarrow.parquet as pq
import torch

import selftrain as st
from selftrain import data, strategies
from selftrain.cli.main import main as command_line
from selftrain.handlers import DataSummary, Snapshots
from selftrain.handlers.snapshots import read as read_snapshots
from selftrain.handlers.snapshots import select_snapshot
from selftrain.labels.table import PseudoLabelTable
from selftrain.pipeline import Labeling, Stage, run_pipeline
from selftrain.storage import checkpoint
from selftrain.storage.run_dir import CHECKPOINTS, read_card

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reliability.md"
ENDLESS, DEPTH = "ENDLESS NESTING", 10_000
WAY = tuple[Any, ...]


# -- a run whose files are forged --------------------------------------------------------------------------------------
def begun(place: Path, **settings: Any) -> st.Run:
    """Begin the run in a folder, or go on with it: a table, so that its card tells how columns are read."""
    layers = lambda: torch.nn.Sequential(torch.nn.Linear(2, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 2))  # noqa: E731
    strategy = strategies.FlexMatch(st.Classification(2), st.learner(layers), unlabeled=20)
    pile = data.from_table(place / "rows.csv", label="label", validation=8, columns={"kind": "category"})
    with redirect_stdout(StringIO()):
        return st.fit(
            strategy, pile, out=place / "run", steps=6, eval_every=2, checkpoint_every=2, dashboard=False,
            progress=False, handlers=[Snapshots(2), DataSummary(False)], plan=st.BatchPlan(labeled=4), **settings,
        )  # fmt: skip


@cache
def original() -> Path:
    """A folder with a run after 4 of 6 steps."""
    place = Path(tempfile.mkdtemp())
    draw = Random(0)
    rows = [f"{draw.gauss(0, 1):.3f},{draw.choice('abc')},{draw.choice('xy') if i < 30 else ''}" for i in range(50)]
    (place / "rows.csv").write_text("\n".join(["height,kind,label", *rows]) + "\n")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        begun(place, stop_after=4)
        run = st.open_run(place / "run")
        run.ledger.to_csv(place / "run" / "pseudo_labels.csv")
        run.ledger.to_parquet(place / "run" / "ledger.parquet")
        piped(place)
        table = pa.Table.from_pydict(
            {
                "height": [draw.gauss(0, 1) for _ in range(50)],
                "label": [draw.choice(["x", "y", None]) for _ in range(50)],
            }
        )
        pq.write_table(table, place / "run" / "rows.parquet")
        reader = {"class_path": "selftrain.data.from_table"}
        reader |= {"init_args": {"table": str(place / "rows.csv"), "label": "label"}}
        settings = {"data": reader, "steps": 1, "seed": 0, "strategy": "fixmatch"}
        (place / "run" / "config.yaml").write_text(json.dumps(settings))
    return place


def piped(place: Path, **settings: Any) -> None:
    """Run a pipeline of three stages, or go on with it."""
    pile = data.from_table(place / "rows.csv", label="label", columns={"kind": "category"})
    make = st.learner(lambda: torch.nn.Linear(pile.card()["shape"][0], 2))
    last = lambda past: strategies.Supervised(st.Classification(2), make)  # noqa: E731
    stages = [Stage("first", last, 1), Labeling("labels", "first"), Stage("second", last, 1)]
    with redirect_stdout(StringIO()):
        run_pipeline(stages, pile, place / "run" / "piped", plan=st.BatchPlan(labeled=4), **settings)


# -- forgeries ---------------------------------------------------------------------------------------------------------
MISSING = object()
VALUES: dict[str, Callable[[], Any]] = {
    "missing": lambda: MISSING,
    "nothing": lambda: None,
    "text": lambda: "x",
    "negative": lambda: -7,
    "zero": lambda: 0,
    "fraction": lambda: 0.5,
    "huge": lambda: 10**400,
    "large": lambda: 2**40,
    "nan": lambda: float("nan"),
    "infinite": lambda: float("inf"),
    "true": lambda: True,
    "list": list,
    "names": dict,
    "nested": lambda: ENDLESS,
    "long text": lambda: "n" * 1_000_000,
    "many values": lambda: [1] * 200_000,
    "many names": lambda: dict.fromkeys(map(str, range(200_000)), 1),
    "other names": lambda: {"x": {"y": [None]}},
}
TENSORS: dict[str, Callable[[torch.Tensor], Any]] = {
    "one axis more": lambda old: old[None].repeat(2, *[1] * old.dim()),
    "empty": lambda old: old.flatten()[:0],
    "one number": lambda old: torch.zeros(1, dtype=old.dtype),
    "in no memory": lambda old: torch.zeros(1, dtype=old.dtype).expand(10**9),
    "complex": lambda old: old.to(torch.complex64),
    "whole": lambda old: (old.nan_to_num() * 1000 - 5).long(),
    "half": lambda old: old.half(),
    "truths": lambda old: old.bool(),
    "not finite": lambda old: torch.full_like(old.double(), float("nan")),
    "far": lambda old: old.double() * 0 + 1e30,
    "below": lambda old: old * 0 - 9,
    "above": lambda old: old.long() * 0 + 2**31,
    "sparse": lambda old: old.to_sparse(),
    "elsewhere": lambda old: old.to("meta"),
}


def ways(value: Any, before: WAY = ()) -> Iterator[WAY]:
    """Every place in a value; of a list its first."""
    if before:
        yield before
    inner = (
        value.items() if isinstance(value, dict) else enumerate(value[:1]) if isinstance(value, (list, tuple)) else ()
    )
    for key, one in inner:
        yield from ways(one, (*before, key))


def at(value: Any, way: WAY) -> Any:
    """What is at a place."""
    for key in way:
        value = value[key]
    return value


def forged(value: Any, way: WAY, new: Any) -> Any:
    """A copy of a value with something else at a place."""
    if not way:
        return new
    key, *rest = way
    made = list(value) if isinstance(value, tuple) else copy.copy(value)
    if not rest and new is MISSING:
        del made[key]
    else:
        made[key] = forged(value[key], tuple(rest), new)
    return tuple(made) if isinstance(value, tuple) else made


def in_json(path: Path) -> Iterator[tuple[str, Callable[[Path], None]]]:
    """Forgeries of a file in JSON."""
    value = json.loads(path.read_text())

    def forger(way: WAY, make: Callable[[], Any]) -> Callable[[Path], None]:
        def write(to: Path) -> None:
            text = json.dumps(forged(value, way, make()))
            to.write_text(text.replace(f'"{ENDLESS}"', "[" * DEPTH + "]" * DEPTH))

        return write

    for way in [(), *ways(value)]:
        for name, make in VALUES.items():
            if way or name != "missing":
                yield f"{'.'.join(map(str, way))} {name}", forger(way, make)


def in_state() -> Iterator[tuple[str, Callable[[Path], None]]]:
    """Forgeries of a checkpoint, with the manifest made to fit."""
    folder = original() / "run" / CHECKPOINTS
    state = torch.load(folder / "step-000000004.pt", weights_only=True)["state"]

    def forger(way: WAY, make: Callable[[], Any]) -> Callable[[Path], None]:
        def write(to: Path) -> None:
            torch.save({"format": checkpoint.FORMAT, "state": forged(state, way, make())}, to)
            nest(to)
            entry = {"file": to.name, "step": 4, "sha256": checkpoint._digest(to)}
            checkpoint._write_entries(to.parent, [entry])

        return write

    for way in ways(state):
        old = at(state, way)
        made = dict(VALUES)
        if isinstance(old, torch.Tensor):
            made |= {f"tensor {name}": lambda make=make, old=old: make(old) for name, make in TENSORS.items()}
        else:
            made |= {"tensor": lambda: torch.zeros(3)}
        for name, make in made.items():
            yield f"{'.'.join(map(str, way))} {name}", forger(way, make)


def nest(path: Path) -> None:
    """Put endless nesting where its name stands; no pickler would write it."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    name = next(name for name in parts if name.endswith("data.pkl"))
    word = b"X" + len(ENDLESS).to_bytes(4, "little") + ENDLESS.encode()
    if word not in parts[name]:
        return
    parts[name] = parts[name].replace(word, b"]" * DEPTH + b"a" * (DEPTH - 1))
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)


CELLS = ["", "x", "-7", "0.5", "9" * 400, "nan", "inf", "2147483647", "2147483648", "1e300", "n" * 200_000]


def in_table(path: Path) -> Iterator[tuple[str, Callable[[Path], None]]]:
    """Forgeries of a table: each column missing, doubled, or another cell in it."""
    rows = [line.split(",") for line in path.read_text().splitlines()]

    def forger(change: Callable[[list[list[str]]], None]) -> Callable[[Path], None]:
        def write(to: Path) -> None:
            made = copy.deepcopy(rows)
            change(made)
            to.write_text("\n".join(map(",".join, made)))

        return write

    for place, name in enumerate(rows[0]):

        def drop(made: list[list[str]], place: int = place) -> None:
            for row in made:
                del row[place]

        yield f"{name} missing", forger(drop)
        yield f"{name} twice", forger(lambda made, name=name: [row.append(name) for row in made] and None)
        for cell in CELLS:

            def set_cell(made: list[list[str]], place: int = place, cell: str = cell) -> None:
                made[1][place] = cell

            yield f"{name} {cell[:12]}", forger(set_cell)


def in_lines(path: Path) -> Iterator[tuple[str, Callable[[Path], None]]]:
    """Forgeries of a log: those of its first line."""
    first, *others = path.read_text().splitlines()
    place = Path(tempfile.mkdtemp()) / "line"
    place.write_text(first)
    for name, write in in_json(place):

        def write_all(to: Path, write: Callable[[Path], None] = write) -> None:
            write(to)
            to.write_text("\n".join([to.read_text(), *others, ""]))

        yield name, write_all


def in_weights(path: Path) -> Iterator[tuple[str, Callable[[Path], None]]]:
    """Forgeries of the header of a file of weights."""
    content = path.read_bytes()
    size = int.from_bytes(content[:8], "little")
    head, rest = json.loads(content[8 : 8 + size]), content[8 + size :]

    def forger(way: WAY, make: Callable[[], Any], length: int | None = None) -> Callable[[Path], None]:
        def write(to: Path) -> None:
            text = json.dumps(forged(head, way, make())).replace(f'"{ENDLESS}"', "[" * DEPTH + "]" * DEPTH).encode()
            to.write_bytes((len(text) if length is None else length).to_bytes(8, "little") + text + rest)

        return write

    for way in [(), *ways(head)]:
        for name, make in VALUES.items():
            if way or name != "missing":
                yield f"{'.'.join(map(str, way))} {name}", forger(way, make)
    for length in (0, 10, 10**8, 2**63, 2**64 - 1):
        yield f"length {length}", forger((), lambda: head, length)
    empty = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    yield "very many names", forger((), lambda: head | {f"name {i}": empty for i in range(300_000)})


COLUMNS: dict[str, Callable[[int], pa.Array]] = {
    "nothing": lambda count: pa.nulls(count),
    "nothing of floats": lambda count: pa.nulls(count, pa.float64()),
    "texts": lambda count: pa.array(["x"] * count),
    "long texts": lambda count: pa.array(["n" * 100_000] * count),
    "codes": lambda count: pa.array(["x"] * count).dictionary_encode(),
    "bytes": lambda count: pa.array([b"\xff\x00"] * count),
    "truths": lambda count: pa.array([True] * count),
    "below": lambda count: pa.array([-7] * count),
    "above": lambda count: pa.array([2**63 - 1] * count),
    "unsigned": lambda count: pa.array([2**64 - 1] * count, pa.uint64()),
    "small": lambda count: pa.array([255] * count, pa.uint8()),
    "nan": lambda count: pa.array([float("nan")] * count),
    "infinite": lambda count: pa.array([float("inf")] * count),
    "far": lambda count: pa.array([1e300] * count),
    "half": lambda count: pa.array([0.5] * count).cast(pa.float16()),
    "decimals": lambda count: pa.array([Decimal("1.5")] * count),
    "days": lambda count: pa.array([date(2020, 1, 1)] * count),
    "moments": lambda count: pa.array([2**62] * count, pa.timestamp("ns")),
    "spans": lambda count: pa.array([5] * count, pa.duration("s")),
    "lists": lambda count: pa.array([[1, 2]] * count),
    "records": lambda count: pa.array([{"a": 1}] * count),
    "pairs": lambda count: pa.array([[("a", 1)]] * count, pa.map_(pa.string(), pa.int64())),
}


def in_parquet(path: Path) -> Iterator[tuple[str, Callable[[Path], None]]]:
    """Forgeries of a Parquet file: each column missing, twice or of another type; no rows; damage to its ends."""
    table, content = pq.read_table(path), path.read_bytes()

    def forger(made: pa.Table) -> Callable[[Path], None]:
        return lambda to: pq.write_table(made, to)

    for place, name in enumerate(table.column_names):
        yield f"{name} missing", forger(table.remove_column(place))
        yield f"{name} twice", forger(table.append_column(name, table.column(place)))
        for kind, make in COLUMNS.items():
            yield f"{name} {kind}", forger(table.set_column(place, name, make(len(table))))
    yield "no rows", forger(table.slice(0, 0))
    yield "no columns", forger(table.select([]))
    yield "other names", forger(table.rename_columns([f"{name}\x00\n" for name in table.column_names]))
    for at_byte in range(0, len(content), max(1, len(content) // 24)):
        yield f"cut at {at_byte}", lambda to, at_byte=at_byte: to.write_bytes(content[:at_byte]) and None
        flipped = bytes([content[at_byte] ^ 255])
        changed = content[:at_byte] + flipped + content[at_byte + 1 :]
        yield f"flipped at {at_byte}", lambda to, changed=changed: to.write_bytes(changed) and None


REFUSED: list[str] = []  # what the library has said since a forgery was put in place


@contextmanager
def refusals() -> Iterator[None]:
    """Go on after one of the library's own errors, and note it."""
    try:
        yield
    except st.SelftrainError as error:
        REFUSED.append(str(error))


# -- what is done with them --------------------------------------------------------------------------------------------
def use_run(place: Path) -> None:
    """All that is asked of a folder, each on its own: one refusal must not hide another error."""
    for ask in (asked_of_an_opened_run, asked_of_its_card, asked_of_its_snapshots, begun_from_its_weights, resumed):
        with refusals():
            ask(place)


def asked_of_an_opened_run(place: Path) -> None:
    run = st.open_run(place / "run")
    asks: list[Callable[[], Any]] = [
        lambda: not run.pile.validation or run.evaluate("validation"),  # a split of 0 is one
        lambda: not run.pile.validation or run.best_state is None or run.evaluate("validation", which="best"),
        lambda: (run.classes, run.views, run.inputs),
        lambda: run.ledger.summary(),
        lambda: run.ledger.per_class(),
        lambda: run.quality(),
        lambda: run.export(),
        lambda: run.pile.card(),
        lambda: [alarm.text for alarm in run.alarms],
        lambda: [f"{name} {float(value):.3f}" for name, value in {**run.best, **run.train}.items()],
    ]
    for ask in asks:
        with refusals():
            ask()


def asked_of_its_card(place: Path) -> None:
    card = read_card(place / "run")
    data.from_table(place / "rows.csv", label="label", validation=8).normalized_as(card["input"])
    data.from_table(place / "rows.csv", encoding=place / "run" / "export.json")


def asked_of_its_snapshots(place: Path) -> None:
    read_snapshots(place / "run")
    for use in ("frozen", "fine-tune"):
        with refusals():
            st.learner(torch.nn.Linear(2, 2), init_from=select_snapshot(place / "run", use, figure="accuracy"))()


def begun_from_its_weights(place: Path) -> None:
    for path in sorted((place / "run" / "snapshots").glob("*.safetensors")):
        st.learner(torch.nn.Linear(2, 2), init_from=path)()


def resumed(place: Path) -> None:
    begun(place, resume=True)


def use_pipeline(place: Path) -> None:
    for ask in (lambda: piped(place, resume=True), lambda: st.open_run(place / "run" / "piped" / "01-first").pile):
        with refusals():
            ask()


def use_label_table(place: Path) -> None:
    PseudoLabelTable.load(place / "run" / "piped" / "02-labels" / "labels.safetensors", st.Classification(2)).summary()


def use_parquet(place: Path) -> None:
    for ask in (
        lambda: fuzzing.use_ledger(place / "run" / "ledger.parquet"),
        lambda: data.from_table(place / "run" / "rows.parquet", "label").summary_lines(),
        lambda: data.from_table(place / "run" / "rows.parquet", encoding=place / "run" / "export.json"),
    ):
        with refusals():
            ask()


def use_config(place: Path) -> None:
    """Read by the command line, which says what is wrong in a line and ends with a status of its own."""
    config, out = str(place / "run" / "config.yaml"), str(place / "new")
    said = StringIO()
    with redirect_stderr(said), suppress(SystemExit):
        command_line(["train", "--config", config, "--out", out])
    if "Traceback" in said.getvalue() or "internal" in said.getvalue():
        raise AssertionError(said.getvalue()[-300:])
    if said.getvalue():
        REFUSED.append(said.getvalue())


USES: dict[str, Callable[[Path], None]] = {
    "ledger.parquet": use_parquet,
    "rows.parquet": use_parquet,
    "piped/pipeline.json": use_pipeline,
    "piped/02-labels/summary.json": use_pipeline,
    "piped/02-labels/labels.safetensors": use_label_table,
    "config.yaml": use_config,
}


@dataclass(frozen=True)
class Forgery:
    """One field of one file, forged."""

    file: str
    name: str
    write: Callable[[Path], None]

    def __str__(self) -> str:
        return f"{self.file}: {self.name}"


def forgeries() -> Iterator[Forgery]:
    """All there are."""
    run = original() / "run"
    ledger = original() / "run" / "pseudo_labels.csv"
    files: dict[str, Iterator[tuple[str, Callable[[Path], None]]]] = {
        name: in_json(run / name)
        for name in ("run.json", "rebuild.json", "export.json", "snapshots/snapshots.json", "checkpoints/manifest.json")
    }
    files |= {"metrics.jsonl": in_lines(run / "metrics.jsonl"), "pseudo_labels.csv": in_table(ledger)}
    files["checkpoints/step-000000004.pt"] = in_state()
    files["snapshots/step-000000001.safetensors"] = in_weights(run / "snapshots" / "step-000000001.safetensors")
    files |= {name: in_parquet(run / name) for name in ("ledger.parquet", "rows.parquet")}
    files |= {
        name: in_json(run / name) for name in ("piped/pipeline.json", "piped/02-labels/summary.json", "config.yaml")
    }
    files["piped/02-labels/labels.safetensors"] = in_weights(run / "piped" / "02-labels" / "labels.safetensors")
    for file, made in files.items():
        for name, write in made:
            yield Forgery(file, name, write)


def problem_of(forgery: Forgery, seconds: int = fuzzing.SECONDS) -> str | None:
    """What a forgery does that none may do; ``None``: nothing."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        place = Path(folder) / "copy"
        shutil.copytree(original(), place)
        forgery.write(place / "run" / forgery.file)
        if forgery.file.endswith("manifest.json"):
            shutil.copy(place / "run" / forgery.file, place / "run" / forgery.file.replace(".json", ".copy.json"))
        elif forgery.file == "pseudo_labels.csv":
            (place / "rows.csv").rename(place / "gone.csv")  # the table is read where the data are gone
        begun_at = time.process_time()
        REFUSED.clear()
        try:
            with fuzzing.limited(seconds), redirect_stdout(StringIO()):
                USES.get(forgery.file, use_run)(place)
                if forgery.file == "pseudo_labels.csv":
                    fuzzing.use_ledger(place / "run" / forgery.file)
        except st.SelftrainError as error:
            REFUSED.append(str(error))
            return None
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            import traceback

            at = "; ".join(
                f"{Path(f.filename).name}:{f.lineno}" for f in traceback.extract_tb(error.__traceback__)[-4:]
            )
            return f"{type(error).__name__} after {time.process_time() - begun_at:.1f} s: {error!s:.200} ({at})"
    return None


def some(count: int) -> list[Forgery]:
    """So many forgeries of each file."""
    made = [list(of_file) for _, of_file in groupby(forgeries(), lambda forgery: forgery.file)]
    return [one for of_file in made for one in Random(0).sample(of_file, min(count, len(of_file)))]


def main() -> int:
    """Try all whose names have the words, or ``--sample`` of each file; ``--write`` puts the count on the page."""
    torch.set_num_threads(1)
    resource.setrlimit(resource.RLIMIT_AS, (16 << 30, 16 << 30))
    options, words = ({word for word in sys.argv[1:] if word.startswith("--") is on} for on in (True, False))
    count = next((int(word.partition("=")[2]) for word in options if word.startswith("--sample=")), None)
    tried = wrong = refused = 0
    for forgery in forgeries() if count is None else some(count):
        if all(word in str(forgery) for word in words):
            tried += 1
            problem = problem_of(forgery)
            refused += bool(REFUSED) and not problem
            if problem:
                wrong += 1
                print(f"{forgery}: {problem}", flush=True)
    said = (
        f"Of {tried:,} forged fields (`python tests/reliability/forging.py {' '.join(sorted(options - {'--write'}))}`) "
        f"{refused:,} were refused by name,\n{tried - refused - wrong:,} were harmless, {wrong} ended in another error."
    ).replace(" `)", "`)")
    print(said)
    if "--write" in options:
        begin, end = "<!-- forgeries -->\n\n", "\n\n<!-- /forgeries -->"
        head, rest = PAGE.read_text(encoding="utf-8").split(begin)
        PAGE.write_text(f"{head}{begin}{said}{end}{rest.split(end)[1]}", encoding="utf-8")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
    sys.exit(main())
