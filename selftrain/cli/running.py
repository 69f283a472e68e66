"""A stage that is built, in the folder that was claimed for it: what ``train`` and ``pretrain`` end in."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from selftrain.cli import building, common, report
from selftrain.cli.folder import recorded, unfinished
from selftrain.data import Pile
from selftrain.engine import loop
from selftrain.strategy.base import Strategy


def run_stage(
    command: str,
    strategy: Strategy,
    settings: Mapping[str, Any],
    pile: Pile,
    problem: building.Problem,
    out: Path,
    device: torch.device,
    **more: Any,
) -> loop.Run:
    """Train a strategy in a claimed folder, or go on there, and say what runs.

    Args:
        command: That is told for going on.
        strategy: As it begins.
        settings: All options.
        pile: The data.
        problem: Posed by them.
        out: The folder.
        device: Where to train.
        **more: Further arguments of ``selftrain.fit``.
    """
    kept = common.stored(settings)
    with recorded(out, command, kept, problem.as_dict()) as text, report.told_how_to_resume(command, out):
        report.begun(text, pile, out)
        return loop.fit(
            strategy,
            pile,
            out=out,
            steps=problem.steps,
            plan=building.plan_of(settings),
            device=device,
            **more,
            **_ways(settings, out),
            **common.fit_options(settings),
        )


def _ways(settings: Mapping[str, Any], out: Path) -> dict[str, Any]:
    """Whether to resume or to replace what is in the folder; a run that has no checkpoint yet begins anew."""
    goes_on = bool(settings["resume"]) and unfinished(out)
    return {"resume": goes_on, "overwrite": bool(settings["overwrite"] or settings["resume"]) and not goes_on}
