"""``selftrain label``: pseudo-labels and confidences of a folder, arrays or a table, as a table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from selftrain.cli import UsageError
from selftrain.cli.opened import add_run, check_one_unit, labeler, opened, pile_of, run_settings
from selftrain.cli.parser import Parser, make_parser, switch
from selftrain.cli.piles import everything, read_pile
from selftrain.data import Pile, Samples
from selftrain.engine.spec import OpenedRun
from selftrain.errors import RunFolderError
from selftrain.labels.ledger import Ledger
from selftrain.labels.teacher_pass import label_pile
from selftrain.types import PseudoLabels

ABOUT = """Label samples with what a run ships, and write them as a table that a person can sort and correct.

RUN is the folder of a run, whoever started it. DATA is a folder of images, an array file or a table; all its training
samples are labeled, whatever labels they have. Without DATA these are the unlabeled samples of the run. Columns are
those of the ledger: id, label, class, confidence, margin, accepted, ..., verdict, correction."""
_ROWS = 10_000  # entered at once


def parser() -> Parser:
    """All options; those of the data are as for ``train``."""
    found = make_parser("label", ABOUT, "RUN [DATA] [options]")
    help = "file to write, .csv or .parquet; null: labels-RUN.csv"
    found.add_argument("--out", type=str | None, default=None, help=help)
    help = "confidence from which a label is marked as accepted, in [0, 1]"
    found.add_argument("--threshold", type=float, default=0.0, help=help)
    switch(found, "overwrite", "replace the file --out")
    add_run(found)
    return found


def run(words: Sequence[str]) -> int:
    """Label, write, and say how sure the labels are."""
    folder, other, settings = run_settings("label", words, parser(), other=True)
    if not 0 <= settings["threshold"] <= 1:
        raise UsageError(f"threshold is {settings['threshold']}; a confidence is in [0, 1]")
    out = Path(settings["out"] or f"labels-{Path(folder).resolve().name}.csv")
    if out.exists() and not settings["overwrite"]:
        raise RunFolderError(f"{out} is there already; say --overwrite, or --out with another file")
    run, step = opened(folder, settings)
    check_one_unit(run, "the table")
    samples, pile = _samples(run, settings, whole=other is not None)
    ledger = labeled(run, step, samples, pile, settings["threshold"], settings["batch_size"])
    (ledger.to_parquet if out.suffix.lower() == ".parquet" else ledger.to_csv)(out)
    _tell(ledger, out)
    return 0


def labeled(run: OpenedRun, step: int, samples: Samples, pile: Pile, threshold: float, batch_size: int) -> Ledger:
    """What the run says of samples, as a ledger.

    Args:
        run: That labels.
        step: Of its weights.
        samples: To label.
        pile: With the views that the samples are shown in.
        threshold: Confidence from which a label is accepted.
        batch_size: Samples a pass.
    """
    strategy = labeler(run)
    # all as unlabeled ones, also those with a label: they are what a teacher's pass labels
    shown = Pile(None, samples, classes=run.classes, views=pile.views, source=pile.source)
    shown.encoder = pile.encoder  # rows of features stay what they are
    table = label_pile(strategy, run.shown(shown), batch_size=batch_size)
    ledger = Ledger(samples.ids, run.classes)
    for start in range(0, len(table), _ROWS):
        index = torch.arange(start, min(start + _ROWS, len(table)))
        weight = (table.confidence[index] >= threshold).float()
        ledger.write(PseudoLabels(index, table.value[index].float(), weight), strategy.task, step)
    return ledger


def _samples(run: OpenedRun, settings: Any, *, whole: bool) -> tuple[Samples, Pile]:
    """The samples to label: all training samples of other data, the unlabeled ones of the run's own."""
    if whole:
        pile = read_pile(settings)
        return everything(pile), pile
    pile = pile_of(run, settings)
    if pile.unlabeled is None:
        raise UsageError("the run's data have no unlabeled samples; say which to label: selftrain label RUN DATA")
    return pile.unlabeled, pile


def _tell(ledger: Ledger, out: Path) -> None:
    print(f"{'class':<20} {'samples':>9} {'accepted':>9} {'confidence':>11}")
    for row in ledger.per_class():
        sure = "" if row.confidence is None else f"{row.confidence:.3f}"
        print(f"{row.name[:20]:<20} {row.count:>9,} {row.accepted:>9,} {sure:>11}")
    print(f"written    {out}: {len(ledger):,} samples, {int(ledger.accepted.sum()):,} accepted")
