"""What a stage knows: the call it is part of, and what the stages before have left."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from selftrain.engine.run import Figures, Run, evaluate
from selftrain.labels.table import PseudoLabelTable
from selftrain.pipeline.folder import folder_name
from selftrain.strategy.base import Strategy
from selftrain.types import BatchPlan, Pile

Row = dict[str, Any]


class Past(dict[str, Run]):
    """What the stages before have left: their runs by name, and in ``labels`` the refined tables by name."""

    def __init__(self) -> None:
        super().__init__()
        self.labels: dict[str, PseudoLabelTable] = {}


@dataclass
class Job:
    """One call of ``run_pipeline``: its arguments, and what its stages have left so far.

    Args:
        pile, out, plan, device, monitor, resume, overwrite, test: see ``run_pipeline``.
        left: Steps that may still be taken; ``None``: no limit.
        past: Runs and tables of the finished stages.
        rows: Their rows of the report.
    """

    pile: Pile
    out: Path | None
    plan: BatchPlan
    device: torch.device | None
    monitor: Mapping[str, object] | None
    resume: bool
    overwrite: bool
    left: int | None
    test: bool
    past: Past = field(default_factory=Past)
    rows: list[Row] = field(default_factory=list)

    def folder(self, number: int, name: str) -> Path | None:
        """Folder of a stage."""
        return None if self.out is None else self.out / folder_name(number, name)

    def entry(self, begun: bool) -> dict[str, Any]:
        """How a stage takes its folder: it goes on where it had ``begun``; else it begins anew and may replace."""
        resume = self.resume and begun
        # In a resumed pipeline a stage may have a folder and no checkpoint: nothing in it can go on, so it is replaced.
        return {"resume": resume, "overwrite": not resume and (self.resume or self.overwrite)}

    def take(self, total: int) -> int:
        """How many of a stage's ``total`` steps may be taken; they are counted."""
        if self.left is None:
            return total
        # stop_after is of all stages together: what one takes the next has not
        steps = min(total, self.left)
        self.left -= steps
        return steps

    def figures(self, strategy: Strategy, part: str) -> Figures | None:
        """Figures on a part of the pile; ``None`` where there is none, or where it stays closed."""
        if part == "test" and not self.test:
            return None
        has = self.pile.evaluation(part, 1, next(strategy.parameters()).device) is not None
        return evaluate(strategy, self.pile, part) if has else None
