"""``selftrain export``: a run's network for use elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from selftrain.cli.opened import check_one_unit, open_run, run_settings
from selftrain.cli.parser import Parser, make_parser, switch
from selftrain.errors import SelftrainError
from selftrain.exporting import FORMATS, deployed, export_network
from selftrain.exporting.network import What
from selftrain.strategy.base import SupervisedStrategy

ABOUT = """Write the network of a run for use elsewhere, with a card (JSON) that says what it takes and gives.

RUN is the folder of `selftrain train` or `pretrain`. Inputs are those of the data: images as floats in [0, 1], rows of
a table as the card encodes them; normalization is inside (but for safetensors, which holds the weights alone). Every
file is read back and must give the same answers before it is there."""


def parser() -> Parser:
    """All options."""
    found = make_parser("export", ABOUT, "RUN [options]")
    help = "classifier: inputs to probabilities; encoder: inputs to features; null: what the run has"
    found.add_argument("--what", type=Literal["classifier", "encoder"] | None, default=None, help=help)
    help = f"some of {', '.join(FORMATS)}; onnx needs selftrain[onnx]"
    known = Literal["safetensors", "onnx", "torch"]
    found.add_argument("--formats", type=known, default=["safetensors"], help=help, nargs="+")
    found.add_argument("--out", type=str | None, default=None, help="folder for the files; null: export in RUN")
    help = "weights: the best on validation, or the last; null: the best, where there are any"
    found.add_argument("--which", type=Literal["best", "last"] | None, default=None, help=help)
    switch(found, "overwrite", "replace files of the same names")
    return found


def run(words: Sequence[str]) -> int:
    """Write, and say what."""
    folder, _, settings = run_settings("export", words, parser(), data=False)
    opened = open_run(folder, settings["which"])
    what: What = settings["what"] or ("classifier" if isinstance(opened.strategy, SupervisedStrategy) else "encoder")
    if what == "classifier":
        check_one_unit(opened, "an exported classifier")
    inputs = opened.card["input"]
    if (opened.settings["views"] or {}).get("clip") is not None:
        raise SelftrainError("views.clip cuts off inputs, which an exported network cannot repeat; train without it")
    clouds = opened.problem.kind == "points"
    network = deployed(opened.strategy, inputs, len(opened.problem.classes), what, centered=clouds)
    about = {"strategy": type(opened.strategy).__name__, "step": opened.step, "network": opened.settings["network"]}
    about |= {"classes": opened.problem.classes} if what == "classifier" else {}
    files = export_network(
        network,
        settings["out"] or Path(folder, "export"),
        inputs,
        about | {"kind": opened.problem.kind},
        what=what,
        formats=settings["formats"],
        overwrite=settings["overwrite"],
    )
    for name, path in files.items():
        print(f"{name:<12}{path}" + ("" if name == "card" else ": read back, the same answers"))
    return 0
