"""``selftrain label``: pseudo-labels and confidences of a folder, arrays or a table, as a table, masks or joints."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from selftrain.cli import UsageError
from selftrain.cli.opened import add_run, labeler, opened, pile_of, run_settings
from selftrain.cli.parser import Parser, make_parser, switch
from selftrain.cli.piles import read_pile
from selftrain.data import Pile, Samples
from selftrain.data.readers.raw import everything
from selftrain.engine.run import Run
from selftrain.engine.spec import OpenedRun
from selftrain.errors import RunFolderError
from selftrain.front import building
from selftrain.front.asking import PRECISION, check_threshold, labeled, rule_for
from selftrain.labels.ledger import Ledger
from selftrain.metrics.intervals import check_rate

ABOUT = """Label samples with what a run ships, and write them as a table that a person can sort and correct.

RUN is the folder of a run, whoever started it. DATA is a folder of images, an array file or a table; all its training
samples are labeled, whatever labels they have. Without DATA these are the unlabeled samples of the run. Columns are
those of the ledger: id, label, class, confidence, margin, accepted, ..., verdict, correction.

A run of masks or joints writes a folder: masks/ and confidence/ as PNG, or keypoints.json (COCO), and the table beside
them as labels.csv."""


def parser() -> Parser:
    """All options; those of the data are as for ``train``."""
    found = make_parser("label", ABOUT, "RUN [DATA] [options]")
    help = "file to write, .csv or .parquet, of masks and joints a folder; null: labels-RUN.csv, or labels-RUN"
    found.add_argument("--out", type=str | None, default=None, help=help)
    help = "confidence from which a label is marked as accepted, in [0, 1]; null: by --precision"
    found.add_argument("--threshold", type=float | None, default=None, help=help)
    help = "share of the accepted labels that must be right, as far as held-out labels tell; too few: all are accepted"
    found.add_argument("--precision", type=float, default=PRECISION, help=help)
    switch(found, "overwrite", "replace the file --out, or those in the folder")
    switch(found, "original", "masks and joints as large as the files of the pictures, not as the network sees them")
    add_run(found)
    return found


def run(words: Sequence[str]) -> int:
    """Label, write, and say how sure the labels are."""
    folder, other, settings = run_settings("label", words, parser(), other=True)
    with building.settings_checked():
        check_rate("precision", settings["precision"])
        check_threshold(settings["threshold"])
    run, _ = opened(folder, settings)
    one = labeler(run).task.one_unit
    if one and settings["original"]:
        raise UsageError("--original is for masks and joints; leave it out")
    out = Path(settings["out"] or f"labels-{Path(folder).resolve().name}{'.csv' if one else ''}")
    if not settings["overwrite"]:
        check_free(out, "out")
    samples, pile = _samples(run, settings, whole=other is not None)
    rule = rule_for(run, settings["threshold"], settings["precision"])
    # all as unlabeled ones, also those with a label: they are what a teacher's pass labels
    shown = Pile(None, samples, classes=run.classes, views=pile.views, source=pile.source)
    shown.encoder = pile.encoder  # rows of features stay what they are
    ledger = labeled(run, run.shown(shown, plain=True), rule.threshold, "last", settings["batch_size"])
    write(ledger, out, original=settings["original"], overwrite=settings["overwrite"])
    print(f"labels     {rule.why}")
    _tell(ledger, out)
    return 0


def label_own(run: Run, out: Path, *, overwrite: bool) -> None:
    """Label the unlabeled samples of a run that was just trained, and write them."""
    ledger = run.label()
    write(ledger, out, overwrite=overwrite)
    _tell(ledger, out)


def check_free(out: Path, option: str) -> None:
    """Refuse to write where something is.

    Raises:
        RunFolderError: there is.
    """
    if out.exists():
        raise RunFolderError(f"{out} is there already; say --overwrite, or --{option} with another file")


def write(ledger: Ledger, out: Path, *, original: bool = False, overwrite: bool) -> None:
    """Masks or joints into a folder, others as a table by the ending of the file."""
    if ledger.task is not None and not ledger.task.one_unit:
        ledger.to_masks(out, original=original, overwrite=overwrite)
    elif out.suffix.lower() == ".parquet":
        ledger.to_parquet(out)
    else:
        ledger.to_csv(out)


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
