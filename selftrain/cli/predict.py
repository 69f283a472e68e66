"""``selftrain predict``: what a run says of new data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from selftrain import data
from selftrain.cli import UsageError
from selftrain.cli.opened import add_run, labeler, opened, run_settings
from selftrain.cli.parser import Parser, make_parser, switch
from selftrain.data.readers.raw import everything
from selftrain.errors import RunFolderError
from selftrain.front import building
from selftrain.front.asking import answers_of, asked, samples_of
from selftrain.storage.tables import PARQUET, write_csv, write_parquet

ABOUT = """Say what new data are: a class and the probability of each class for every sample.

RUN is the folder of a run, whoever started it. DATA is a picture, a folder of pictures, a table (.csv, .parquet), an
array file (.npy, .npz) or a named data set; it is read, sized and normalized as the data of the run were, and labels in
it are not looked at. Pseudo-labels to look at, correct and train on are made by: selftrain label"""
_SHOWN = 20  # samples on the terminal


def parser() -> Parser:
    """All options."""
    found = make_parser("predict", ABOUT, "RUN DATA [options]")
    help = "file to write, .csv, .parquet or .npz (masks and joints: .npz alone); null: none, the first are shown"
    found.add_argument("--out", type=str | None, default=None, help=help)
    found.add_argument("--batch_size", type=int, default=500, help="samples a pass")
    found.add_argument("--device", type=str | None, default="auto", help=f"where to predict: {building.DEVICE}")
    switch(found, "overwrite", "replace the file --out")
    add_run(found, data=False)
    return found


def run(words: Sequence[str]) -> int:
    """Predict, show, and write if asked to."""
    named = len(words) > 1 and not any(word.startswith("-") for word in words[:2])
    folder, _, settings = run_settings("predict", [*words[:1], *words[1 + named :]], parser(), data=False)
    if not named:
        raise UsageError(f"say of which data: selftrain predict {folder} DATA")
    out = None if settings["out"] is None else Path(settings["out"])
    if out is not None and out.exists() and not settings["overwrite"]:
        raise RunFolderError(f"{out} is there already; say --overwrite, or --out with another file")
    run, step = opened(folder, settings)
    task = labeler(run).task
    if not task.one_unit and (out is None or out.suffix.lower() != ".npz"):
        raise UsageError(f"{type(task).__name__} gives several answers a sample; say --out FILE.npz")
    known = words[1] in data.names() and not Path(words[1]).exists()
    samples = everything(data.load(words[1])) if known else samples_of(run, words[1])
    value = asked(run, samples, None, settings["batch_size"])
    answers = answers_of(run, value)
    print(f"predicted  {len(samples):,} samples with the weights of step {step:,}")
    if task.one_unit:
        _show(samples.ids, answers, value.numpy())
    if out is not None:
        _write(out, run, samples.ids, answers, value.numpy())
        print(f"written    {out}")
    return 0


def _show(ids: Sequence[str], answers: Any, value: Any) -> None:
    width = max(map(len, ids[:_SHOWN]))
    for name, answer, row in zip(ids[:_SHOWN], answers, value, strict=False):
        print(f"{name:<{width}}  {answer:<20} {row.max():.3f}")
    if len(ids) > _SHOWN:
        counts = Counter(answers.tolist()).most_common()
        print(f"... all: {', '.join(f'{name} {count:,}' for name, count in counts[:_SHOWN])}")


def _write(out: Path, run: Any, ids: Sequence[str], answers: Any, value: Any) -> None:
    """The answers as a table, or as arrays."""
    if out.suffix.lower() == ".npz":
        np.savez(out, ids=np.array(list(ids)), predictions=answers, probabilities=value, classes=np.array(run.classes))
        return
    columns = {"id": [str(name) for name in ids], "class": answers.tolist()}
    columns |= {f"probability of {name}": value[:, place] for place, name in enumerate(run.classes)}
    if out.suffix.lower() in PARQUET:
        kinds = {name: "string" if name in ("id", "class") else "float32" for name in columns}
        write_parquet(out, kinds, [columns])
    else:
        write_csv(out, columns, [columns])
