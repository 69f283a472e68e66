"""``--strategy auto``: many ways to learn from the rows, judged and blended, in place of a network."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from selftrain.catalog import make_part
from selftrain.cli import UsageError, common
from selftrain.data import Pile, TableEncoding
from selftrain.engine import loop
from selftrain.front import building
from selftrain.runtime.distributed import launched

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
            changed += [f"{name}.{key}" for key in was if key not in _ALSO and now[key] != was[key]]
        elif now != was:
            changed.append(name)
    if changed:
        raise UsageError(
            f"--strategy auto trains no network of yours: leave out --{', --'.join(changed)}, or name another strategy"
        )
    if launched():
        raise UsageError("--strategy auto runs in one process; torchrun is for strategies that train a network")


def rows_of(pile: Pile, settings: Mapping[str, Any], out: Path) -> Pile:
    """The pile as rows: features of the start, or inputs, which keep their black and white.

    Args:
        pile: As it was read.
        settings: Of the command.
        out: Its folder; features are kept beside it.

    Raises:
        UsageError: there are more numbers than fit into memory.
    """
    from selftrain.estimator.strategy import MOST
    from selftrain.portfolio.forms import WIDE

    if settings["init_from"] is not None:
        pile = building.features_of(pile, settings, out)
    elif settings["frozen"]:
        building.foundation(settings)  # says what is missing
    card = pile.card()
    rows, columns = len(pile.labeled or ()) + len(pile.unlabeled or ()), math.prod(card["shape"])
    numbers = columns + sum(codes for _, codes in _categories(pile))
    if rows * numbers > MOST:
        raise UsageError(
            f"--strategy auto reads all rows at once, and {rows:,} of {numbers:,} numbers do not fit: of pictures say "
            "--init_from with an encoder (pretrained:NAME), whose features it reads, or make them smaller (--data.size "
            "32); of a table leave out columns of names (--data.drop '[NAME]')"
        )
    if building.kind_of(pile) == "table" and columns <= WIDE:
        return pile  # far from 0 single precision has few digits; all that reads so few columns standardizes anyway
    # by a direction rows are compared from black, and not from the mean
    plain = {
        key: None if card[key] is None else [value] * len(card[key]) for key, value in (("mean", 0.0), ("std", 1.0))
    }
    return pile.normalized_as(card | plain)


def build(settings: Mapping[str, Any], pile: Pile, problem: building.Problem) -> Any:
    """The strategy for a pile of ``rows_of``."""
    from selftrain.estimator.strategy import PortfolioStrategy

    own = {"kind": problem.kind, "categories": _categories(pile), "seed": settings["seed"]}
    with building.settings_checked():
        return PortfolioStrategy(make_part("task", problem.task), **own, **settings["strategy"]["init_args"])


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
    from selftrain.estimator.strategy import whole_plan
    from selftrain.portfolio.report import write_report

    strategy = build(settings, pile, problem)
    shown = settings["progress"]
    strategy.shipped.verbose = sys.stderr.isatty() if shown is None else shown
    rows = len(pile.labeled or ()), len(pile.unlabeled or ())
    plan = whole_plan(*rows, seed=settings["seed"], **{key: settings["plan"][key] for key in _ALSO})
    run = common.run_stage("train", strategy, {**settings, "progress": False}, pile, 1, out, device, plan=plan)
    write_report(out, strategy.candidates)
    return run, strategy.candidates


def _categories(pile: Pile) -> list[tuple[int, int]]:
    """Place and number of codes of each column that holds codes of categories."""
    return [] if pile.encoding is None else sorted(TableEncoding.from_dict(pile.encoding).cardinalities.items())
