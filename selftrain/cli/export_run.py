"""``selftrain export``: a run's network for use elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from selftrain.cli.opened import add_run, opened, run_settings
from selftrain.cli.parser import Parser, make_parser, switch
from selftrain.exporting import FORMATS, export
from selftrain.exporting.network import What
from selftrain.strategy.base import SupervisedStrategy

ABOUT = """Write the network of a run for use elsewhere, with a card (JSON) that says what it takes and gives.

RUN is the folder of a run, whoever started it. Inputs are those of the data: images as floats in [0, 1], rows of a
table as the card encodes them; normalization is inside (but for safetensors, which holds the weights alone). Every
file is read back and must give the same answers before it is there."""


def parser() -> Parser:
    """All options."""
    found = make_parser("export", ABOUT, "RUN [options]")
    help = (
        "classifier: inputs to probabilities (of joints heatmaps); encoder: inputs to features; null: what the run has"
    )
    found.add_argument("--what", type=Literal["classifier", "encoder"] | None, default=None, help=help)
    help = f"some of {', '.join(FORMATS)}; onnx needs selftrain[onnx]"
    # written out, since a Literal cannot be made of ``FORMATS``; a test holds them together
    known = Literal["safetensors", "onnx", "torch"]
    found.add_argument("--formats", type=known, default=["safetensors"], help=help, nargs="+")
    found.add_argument("--out", type=str | None, default=None, help="folder for the files; null: export in RUN")
    add_run(found, data=False)
    switch(found, "overwrite", "replace files of the same names")
    return found


def run(words: Sequence[str]) -> int:
    """Write, and say what."""
    folder, _, settings = run_settings("export", words, parser(), data=False)
    run, step = opened(folder, settings)
    what: What = settings["what"] or ("classifier" if isinstance(run.strategy, SupervisedStrategy) else "encoder")
    files = export(
        run,
        settings["out"] or Path(folder, "export"),
        what=what,
        formats=settings["formats"],
        overwrite=settings["overwrite"],
        about={"step": step},
    )
    for name, path in files.items():
        print(f"{name:<12}{path}" + ("" if name == "card" else ": read back, the same answers"))
    return 0
