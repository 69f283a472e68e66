"""``selftrain evaluate``: figures of a run on a part of its data, or on other data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch

from selftrain.cli import report
from selftrain.cli.opened import add_run, opened, pile_of, run_settings
from selftrain.cli.parser import Parser, make_parser
from selftrain.data import Pile
from selftrain.engine.run import measure
from selftrain.engine.spec import OpenedRun
from selftrain.engine.summary import in_words, judged
from selftrain.errors import DataError, UsageError
from selftrain.evaluation.dense import joint_figures, probabilities
from selftrain.storage.atomic import write_json
from selftrain.strategy.base import SupervisedStrategy

ABOUT = """Figures of a run on a part of its data, or with --data on other data.

RUN is the folder of a run, whoever started it. Inputs are normalized, and classes numbered, as the run did."""
Ask = Callable[[torch.Tensor], torch.Tensor]
PARTS = ("test", "validation", "labeled", "unlabeled")


def parser() -> Parser:
    """All options; those of the data are as for ``train``."""
    found = make_parser("evaluate", ABOUT, "RUN [options]")
    hint = Literal["test", "validation", "labeled", "unlabeled"] | None
    help = "part of the data; null: test, else validation, of other data also labeled"
    found.add_argument("--part", type=hint, default=None, help=help)
    found.add_argument("--json", type=str | None, default=None, help="file to write the figures to, as JSON")
    help = "of masks and joints: ask the mirror image too, and average both"
    found.add_argument("--flip", type=bool, default=False, help=help)
    help = "of masks: ask pictures larger than in training (--data.size null) in windows that overlap by this share"
    found.add_argument("--overlap", type=float | None, default=None, help=help)
    add_run(found)
    return found


def run(words: Sequence[str]) -> int:
    """Evaluate, print, and write JSON if asked to."""
    folder, _, settings = run_settings("evaluate", words, parser())
    run, step = opened(folder, settings)
    pile = pile_of(run, settings)
    part = settings["part"] or _part(run, pile)
    found: dict[str, Any] = {"run": folder, "step": step}
    looks = {"flip": settings["flip"], "overlap": settings["overlap"]}
    found |= evaluated(run, pile, part, settings["batch_size"], **looks)
    print(f"data       {pile}")
    words = in_words(found["figures"], judged(run.strategy, found["samples"]))
    print(f"{part:<11}{words}: weights of step {step}")
    print(report.of_classes(found), end="")
    if settings["json"] is not None:
        write_json(Path(settings["json"]), found)
        print(f"written    {settings['json']}")
    return 0


def evaluated(
    run: OpenedRun, pile: Pile, part: str, batch_size: int = 500, *, flip: bool = False, overlap: float | None = None
) -> dict[str, Any]:
    """Figures as plain values: of classes precision, recall and the confusion matrix, of masks IoU, of joints PCK.

    Raises:
        UsageError: mirror images or windows of what has no places.
    """
    ask: Ask | None = None
    if flip or overlap is not None:
        strategy = run.strategy
        task = strategy.task if isinstance(strategy, SupervisedStrategy) else None
        if task is None or task.one_unit or not (task.has_classes or overlap is None):
            raise UsageError(
                "--flip is for runs on masks or joints, --overlap for those on masks, and this one is of "
                f"{type(task or strategy).__name__}; leave it out"
            )
        ask = partial(probabilities, strategy, overlap=overlap, flip=flip)  # type: ignore[arg-type]
    if ask is None or part == "unlabeled":
        figures, samples = measure(run.strategy, pile, part, batch_size=batch_size)
    else:
        figures, samples = _asked(run.strategy, pile, part, batch_size, ask)
    found: dict[str, Any] = {"data": pile.source, "part": part, "samples": samples, "figures": figures}
    if isinstance(run.strategy, SupervisedStrategy) and run.strategy.task.has_classes and part != "unlabeled":
        found |= _by_class(run.strategy, pile, part, batch_size, ask)
    elif isinstance(run.strategy, SupervisedStrategy) and not run.strategy.task.one_unit and part != "unlabeled":
        found["joints"] = asdict(joint_figures(run.strategy, pile, part, flip=flip, batch_size=batch_size))
    return found


@torch.no_grad()
def _asked(strategy: Any, pile: Pile, part: str, batch_size: int, ask: Ask) -> tuple[dict[str, float], int]:
    """Figures of what is shipped, asked in another way, and the number of samples."""
    tally, samples = torch.zeros(()), 0
    with strategy.evaluating():
        for batch in pile.evaluation(part, batch_size, next(strategy.parameters()).device) or ():
            target = strategy.task.encode(batch.annotation)
            tally = tally + strategy.task.update(ask(batch.x), target).cpu()
            samples += len(batch.index)
    return dict(strategy.task.compute(tally)), samples


def _by_class(
    strategy: SupervisedStrategy, pile: Pile, part: str, batch_size: int, ask: Ask | None = None
) -> dict[str, Any]:
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    truth, label = predictions(strategy, pile, part, batch_size, ask)
    numbers = list(range(len(pile.classes)))
    # all numbers: left to find them, scikit-learn drops classes that these data do not have, and rows change places
    scores = precision_recall_fscore_support(truth, label, labels=numbers, zero_division=0)
    rows = zip(pile.classes, *(column.tolist() for column in scores), strict=True)
    names = ("precision", "recall", "f1", "samples")
    table = {str(name): dict(zip(names, values, strict=True)) for name, *values in rows}
    if not strategy.task.one_unit:  # of areas F1 is Dice, and the field reports IoU
        for row in table.values():
            row["iou"] = row["f1"] / (2 - row["f1"])
    return {"classes": table, "confusion": confusion_matrix(truth, label, labels=numbers).tolist()}


@torch.no_grad()
def predictions(
    strategy: SupervisedStrategy, pile: Pile, part: str, batch_size: int = 500, ask: Ask | None = None
) -> tuple[Any, Any]:
    """True and predicted class number of each unit of a part that has one, (N,) each, on the CPU."""
    device, ask = next(strategy.parameters()).device, ask or strategy.predict
    truth, label = [], []
    with strategy.evaluating():
        for batch in pile.evaluation(part, batch_size, device) or ():
            target = strategy.task.encode(batch.annotation)
            valid = target.mask() > 0  # not the void pixels of a mask
            truth.append(strategy.task.label(target.value)[valid].cpu())
            label.append(strategy.task.label(ask(batch.x))[valid].cpu())
    return torch.cat(truth).numpy(), torch.cat(label).numpy()


def _part(run: OpenedRun, pile: Pile) -> str:
    """The part that tells most: never one that was learned from, unless the data are other ones."""
    other = pile.source != run.source
    supervised = isinstance(run.strategy, SupervisedStrategy)
    parts = ("test", "validation", *(("labeled",) if other else ()), *(() if supervised else ("unlabeled",)))
    for name in parts:
        if getattr(pile, name) is not None:
            return str(name)
    raise DataError(f"{pile.source} has no labels that were held out; say --data with labeled data, or --part labeled")
