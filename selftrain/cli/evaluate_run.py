"""``selftrain evaluate``: figures of a run on a part of its data, or on other data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch

from selftrain.cli import report
from selftrain.cli.naming import source_of
from selftrain.cli.opened import Opened, open_run, run_settings
from selftrain.cli.parser import Parser, make_parser
from selftrain.cli.piles import add_data
from selftrain.data import Pile
from selftrain.engine.run import measure
from selftrain.errors import DataError
from selftrain.storage.atomic import write_json
from selftrain.strategy.base import SupervisedStrategy

ABOUT = """Figures of a run on a part of its data, or with --data on other data.

RUN is the folder of `selftrain train` or `pretrain`. Inputs are normalized, and classes numbered, as the run did."""
PARTS = ("test", "validation", "labeled", "unlabeled")


def parser() -> Parser:
    """All options; those of the data are as for ``train``."""
    found = make_parser("evaluate", ABOUT, "RUN [options]")
    hint = Literal["test", "validation", "labeled", "unlabeled"] | None
    help = "part of the data; null: test, else validation, of other data also labeled"
    found.add_argument("--part", type=hint, default=None, help=help)
    help = "weights: the best on validation, or the last; null: the best, where there are any"
    found.add_argument("--which", type=Literal["best", "last"] | None, default=None, help=help)
    found.add_argument("--json", type=str | None, default=None, help="file to write the figures to, as JSON")
    found.add_argument("--batch_size", type=int, default=500, help="samples a pass")
    found.add_argument("--device", type=str | None, default=None, help="where to predict; null: the CPU")
    add_data(found)
    return found


def run(words: Sequence[str]) -> int:
    """Evaluate, print, and write JSON if asked to."""
    folder, _, settings = run_settings("evaluate", words, parser())
    opened = open_run(folder, settings["which"], settings["device"])
    pile = opened.pile(settings)
    part = settings["part"] or _part(opened, pile, settings)
    found = evaluated(opened, pile, part, settings["batch_size"])
    print(f"data       {pile}")
    words = report.in_words(found["figures"], report.judged(opened.strategy, found["samples"]))
    print(f"{part:<11}{words}: weights of step {opened.step}")
    print(report.of_classes(found), end="")
    if settings["json"] is not None:
        write_json(Path(settings["json"]), found)
        print(f"written    {settings['json']}")
    return 0


def evaluated(opened: Opened, pile: Pile, part: str, batch_size: int = 500) -> dict[str, Any]:
    """Figures, and for classes precision and recall of each and the confusion matrix, as plain values."""
    figures, samples = measure(opened.strategy, pile, part, batch_size=batch_size)
    found = {"run": str(opened.folder), "step": opened.step, "data": pile.source, "part": part, "samples": samples}
    found["figures"] = figures
    if isinstance(opened.strategy, SupervisedStrategy) and opened.strategy.task.has_classes and part != "unlabeled":
        found |= _by_class(opened.strategy, pile, part, batch_size)
    return found


def _by_class(strategy: SupervisedStrategy, pile: Pile, part: str, batch_size: int) -> dict[str, Any]:
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    truth, label = predictions(strategy, pile, part, batch_size)
    numbers = list(range(len(pile.classes)))
    scores = precision_recall_fscore_support(truth, label, labels=numbers, zero_division=0)
    rows = zip(pile.classes, *(column.tolist() for column in scores), strict=True)
    names = ("precision", "recall", "f1", "samples")
    table = {str(name): dict(zip(names, values, strict=True)) for name, *values in rows}
    return {"classes": table, "confusion": confusion_matrix(truth, label, labels=numbers).tolist()}


@torch.no_grad()
def predictions(strategy: SupervisedStrategy, pile: Pile, part: str, batch_size: int = 500) -> tuple[Any, Any]:
    """True and predicted class number of each unit of a part that has one, (N,) each, on the CPU."""
    device = next(strategy.parameters()).device
    truth, label = [], []
    with strategy.evaluating():
        for batch in pile.evaluation(part, batch_size, device) or ():
            target = strategy.task.encode(batch.annotation)
            valid = target.mask() > 0  # not the void pixels of a mask
            truth.append(strategy.task.label(target.value)[valid].cpu())
            label.append(strategy.task.label(strategy.predict(batch.x))[valid].cpu())
    return torch.cat(truth).numpy(), torch.cat(label).numpy()


def _part(opened: Opened, pile: Pile, settings: Any) -> str:
    """The part that tells most: never one that was learned from, unless the data are other ones."""
    other = source_of(settings["data"]) != source_of(opened.settings["data"])
    supervised = isinstance(opened.strategy, SupervisedStrategy)
    parts = ("test", "validation", *(("labeled",) if other else ()), *(() if supervised else ("unlabeled",)))
    for name in parts:
        if getattr(pile, name) is not None:
            return str(name)
    raise DataError(f"{pile.source} has no labels that were held out; say --data with labeled data, or --part labeled")
