"""``metrics.jsonl``, the log for programs: one JSON object a line."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from selftrain.errors import RunFolderError
from selftrain.handlers.base import Context, Figures, Handler
from selftrain.labels.ledger import MAY_LACK
from selftrain.storage.atomic import check_target, write_text
from selftrain.storage.fields import COUNT, Number, check
from selftrain.storage.untrusted import from_json
from selftrain.types import Report

METRICS = "metrics.jsonl"
_FIGURES, _ALARM = {str: (float, bool, None)}, {"step": COUNT, "alarm": str, "text": str}


class MetricsLog(Handler):
    """Log the means of training scalars every so many steps, and write all that is logged to ``metrics.jsonl``.

    Args:
        every: Steps between two rows of training, at least 1.

    Raises:
        ValueError: for an ``every`` below 1.
    """

    def __init__(self, every: int = 20) -> None:
        if every < 1:
            raise ValueError(f"log_every is {every}; it must be at least 1")
        self.every = every
        self.sums: dict[str, float] = {}
        self.counts: dict[str, int] = {}
        self.newest: list[tuple[list[str], Tensor]] = []  # what came since the sums were made

    def begin(self, context: Context) -> None:
        """Open the file; rows after the step that a resumed run goes on from are dropped."""
        self.context, self.sums, self.counts, self.newest = context, {}, {}, []
        self.file = None if context.folder is None else MetricsFile(context.folder, context.resumed_at)

    def accumulate(self, values: Mapping[str, Tensor]) -> None:
        """Add scalars to the means that the next row will hold."""
        # One copy of all that are of a kind, as they may be changed in place; to add each up would be two kernels.
        kinds: dict[tuple[torch.device, torch.dtype], dict[str, Tensor]] = {}
        for name, value in values.items():
            kinds.setdefault((value.device, value.dtype), {})[name] = value.detach().reshape(())
        self.newest += [(list(rows), torch.stack(list(rows.values()))) for rows in kinds.values()]

    def after_step(self, step: int, report: Report | None) -> None:
        """Log the means since the last row, if a row is due."""
        if step % self.every and step != self.context.total:
            return
        self._add_up()
        row = {name: total / self.counts[name] for name, total in self.sums.items() if self.counts[name]}
        if self.context.left_out:
            row["skipped"] = float(len(self.context.left_out))
        for learner in list(self.context.strategy.learners())[:1]:
            row["lr"] = float(learner.optimizer.param_groups[0]["lr"])
        row = {f"train/{name}": value for name, value in row.items()}
        self.context.train |= row
        self.sums, self.counts = {}, {}
        self.context.log_scalars(row, step)

    def _add_up(self) -> None:
        """Read the numbers of the newest steps; the device is waited for here alone."""
        for names, values in self.newest:
            for name, value in zip(names, values.tolist(), strict=True):
                there = name not in MAY_LACK or not math.isnan(value)
                self.sums[name] = self.sums.get(name, 0.0) + (value if there else 0.0)
                # A count for each name: a strategy may report some figures now and then only.
                self.counts[name] = self.counts.get(name, 0) + there
        self.newest = []

    def log_scalars(self, values: Mapping[str, float], step: int) -> None:
        """Write a row."""
        if self.file is not None:
            self.file.scalars(values, step)

    def log_alarm(self, kind: str, content: str, step: int) -> None:
        """Write a row ``{"step", "alarm", "text"}``."""
        if self.file is not None:
            self.file.alarm(kind, content, step)

    def state_dict(self) -> dict[str, Any]:
        """The sums since the last row."""
        # Without the sums the first row after a stop would be the mean of fewer steps.
        self._add_up()
        sums = {name: torch.tensor(total, dtype=torch.double) for name, total in self.sums.items()}
        return {"sums": sums, "counts": dict(self.counts)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what ``state_dict`` gave."""
        check(state, {"sums": {str: Tensor}, "counts": {str: COUNT}}, "the state of the log")
        self.sums = {name: value.reshape(()).double().item() for name, value in state["sums"].items()}
        self.counts = {name: state["counts"][name] for name in self.sums}

    def for_baseline(self) -> MetricsLog:
        """The baseline has a log like this one."""
        return MetricsLog(self.every)


class MetricsFile:
    """Append rows to the file in a folder.

    Args:
        folder: Run folder.
        resume_at: Step a resumed run continues after; later rows are dropped, so that each step has one value.

    Raises:
        RunFolderError: if the file is a link, a device or a folder, or when the disk refuses a row.
    """

    def __init__(self, folder: Path, resume_at: int | None = None) -> None:
        self.path = folder / METRICS
        # Rows are appended in place: a link would lead them elsewhere, and a pipe would wait for a reader.
        check_target(self.path)
        if resume_at is not None and self.path.is_file():
            # A kill may have cut the last line within a letter.
            lines = self.path.read_text(encoding="utf-8", errors="replace").splitlines()
            # Whole or not at all: a kill at this moment must not cost the log of the run.
            write_text(self.path, "".join(line + "\n" for line in lines if _step(line) <= resume_at))

    def scalars(self, values: Figures | Mapping[str, float], step: int) -> None:
        """Write finite numbers, and ``null`` for others: JSON has no word for them."""
        if values:
            self._write({"step": step} | {n: v if math.isfinite(v) else None for n, v in values.items()})

    def alarm(self, kind: str, content: str, step: int) -> None:
        """Write a row ``{"step", "alarm", "text"}``."""
        self._write({"step": step, "alarm": kind, "text": content})

    def _write(self, row: Mapping[str, object]) -> None:
        try:
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
        except OSError as error:
            raise RunFolderError(f"cannot write {self.path}: {error}") from error


def read_row(line: str) -> dict[str, Any]:
    """A row of the log: its step, and figures by name or an alarm.

    Raises:
        ValueError: it is none.
    """
    row: dict[str, Any] = from_json(line)
    check(row, {"step": COUNT}, "the row")
    check(row, _ALARM if "alarm" in row else _FIGURES, "the row")
    return row


def _step(line: str) -> float:
    try:
        row = from_json(line)
        check(row, {"step": Number()})
        return float(row["step"])
    except ValueError:
        return math.inf  # a crash cut the line short
