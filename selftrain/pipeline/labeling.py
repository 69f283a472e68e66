"""The stage that labels: a network of an earlier stage, once, the whole unlabeled set."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from selftrain.labels.table import PseudoLabelTable
from selftrain.labels.teacher_pass import figure_above, label_pile
from selftrain.pipeline.folder import LABELS, check_name
from selftrain.pipeline.state import Job, Row
from selftrain.runtime.distributed import is_first
from selftrain.storage.atomic import write_json
from selftrain.storage.fields import Number, read_fields
from selftrain.storage.run_dir import SETTINGS, prepare_folder
from selftrain.strategy.base import Strategy
from selftrain.types import plain_settings

Refine = Callable[[PseudoLabelTable], PseudoLabelTable]


@plain_settings
@dataclass(frozen=True)
class Labeling:
    """Let the network that a stage hands on label the unlabeled set; the table is stored in the folder.

    Args:
        name: As of a ``Stage``; later stages find the table as ``past.labels[name]``.
        by: Name of the stage that labels.
        refine: Keeps, balances or hardens the labels: the unrefined table is stored, this is applied each time it is
            read; ``None``: as it is.
        dtype: Of the stored values, ``torch.float32`` or ``torch.float16``.
        batch_size: Samples predicted at a time.
        completes: Name of an earlier table: what that one keeps stays as it is, and this one has the rest; ``None``:
            this one has all.
    """

    name: str
    by: str
    refine: Refine | None = None
    dtype: torch.dtype = torch.float32
    batch_size: int = 500
    completes: str | None = None

    def __post_init__(self) -> None:
        check_name(self.name)

    def needs(self) -> tuple[str, ...]:
        """The stage that labels."""
        return (self.by,)

    def about(self) -> Row:
        """What a resumed pipeline must share, beside the settings in ``run.json``."""
        return {"by": self.by} | ({} if self.completes is None else {"completes": self.completes})

    def run(self, job: Job, number: int) -> Row:
        """Label, or read the table of the folder; refine it."""
        teacher = job.past[self.by].strategy
        # stored as it was before refining: another threshold then needs no second pass of the teacher
        table, seconds = self._table(teacher, job, number)
        labels = self.kept(table if self.refine is None else self.refine(table), job, number)
        if self.completes is not None:
            labels = job.past.labels[self.completes].completed(labels)
        job.past.labels[self.name] = labels
        summary = labels.summary(job.pile.unlabeled_truth())
        return {
            "method": f"by {self.by}",
            "recipe": labels.recipe,
            "steps": 0,
            "seconds": seconds,
            "used": summary["used"],
            "pseudo_label_accuracy": summary.get("pseudo_label_accuracy"),
            "expected_accuracy": figure_above(teacher, job.pile, labels.floor, batch_size=self.batch_size),
            "labels": summary,
            "counts": labels.counts(),
        }

    def kept(self, labels: PseudoLabelTable, job: Job, number: int) -> PseudoLabelTable:
        """What is left of the refined labels: all of them."""
        return labels

    def _table(self, teacher: Strategy, job: Job, number: int) -> tuple[PseudoLabelTable, float]:
        """The unrefined table and the seconds it took, now or when it was stored."""
        folder = job.folder(number, self.name)
        if folder is None or not is_first():  # of several processes each makes the same table
            return self._made(teacher, job)
        settings = {"by": self.by, "samples": len(job.pile.unlabeled_ids()), "dtype": str(self.dtype)}
        entry = job.entry((folder / SETTINGS).is_file())
        prepare_folder(folder, settings, **entry)
        path, record = folder / LABELS, folder / "summary.json"
        # The record is written last: where it is, the table is whole.
        if entry["resume"] and path.is_file() and record.is_file():
            again = f"delete {path}, and the labels are made again"
            seconds = float(read_fields(record, {"seconds": Number(0)}, again)["seconds"])
            return PseudoLabelTable.load(path, teacher.task), seconds  # type: ignore[arg-type]
        table, seconds = self._made(teacher, job)
        table.save(path)
        write_json(record, {"seconds": seconds, "labels": table.summary()})
        return table, seconds

    def _made(self, teacher: Strategy, job: Job) -> tuple[PseudoLabelTable, float]:
        begun = time.perf_counter()
        table = label_pile(teacher, job.pile, batch_size=self.batch_size, dtype=self.dtype)
        return table, time.perf_counter() - begun
