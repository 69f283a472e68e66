"""``--strategy auto``: many ways to learn from the rows, judged and blended, in place of a network."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from selftrain.cli import common
from selftrain.data import Pile
from selftrain.engine import loop
from selftrain.front import automatic, building

_NETWORKS = (
    *("views", "network", "training", "steps", "epochs", "plan", "baseline", "on_alarm"),
    *("eval_every", "log_every", "checkpoint_every", "stop_after", "snapshots", "self_check"),
)
_ALSO = ("workers", "timeout")  # of ``plan``: who reads the rows


def check_settings(settings: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
    """Refuse settings that mean nothing where no network is trained.

    Raises:
        UsageError: names them.
    """
    changed = []
    for name in _NETWORKS:
        now, was = settings[name], defaults[name]
        if isinstance(was, Mapping):
            changed += [f"--{name}.{key}" for key in was if key not in _ALSO and now[key] != was[key]]
        elif now != was:
            changed.append(f"--{name}")
    automatic.check_settings(changed)


def rows_of(pile: Pile, settings: Mapping[str, Any], out: Path) -> Pile:
    """The pile as rows: features of the start, or inputs; see ``selftrain.front.automatic.rows_of``.

    Args:
        pile: As it was read.
        settings: Of the command.
        out: Its folder; features are kept beside it.
    """
    if settings["init_from"] is not None:
        pile = building.features_of(pile, settings, out)
    elif settings["frozen"]:
        building.foundation(settings)  # says what is missing
    return automatic.rows_of(pile)


def build(settings: Mapping[str, Any], pile: Pile, problem: building.Problem) -> Any:
    """The strategy for a pile of ``rows_of``."""
    return automatic.build(problem, pile, settings["strategy"]["init_args"], settings["seed"])


def train(
    settings: Mapping[str, Any], pile: Pile, problem: building.Problem, out: Path, device: torch.device
) -> tuple[loop.Run, list[dict[str, Any]]]:
    """Try what there is in a claimed folder; ``candidates.json`` and ``candidates.md`` there say what came of each.

    Args:
        settings: Of ``train``.
        pile: Of ``rows_of``.
        problem: What it poses.
        out: The folder.
        device: Where features are.

    Returns:
        The run, and what was tried.
    """
    from selftrain.portfolio.report import write_report

    strategy = build(settings, pile, problem)
    shown = settings["progress"]
    strategy.shipped.verbose = sys.stderr.isatty() if shown is None else shown
    plan = automatic.whole_plan(pile, building.plan_of(settings))
    run = common.run_stage("train", strategy, {**settings, "progress": False}, pile, 1, out, device, plan=plan)
    write_report(out, strategy.candidates)
    return run, strategy.candidates
