"""``selftrain pretrain``: an encoder from the unlabeled samples, for ``train --init-from``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from selftrain.catalog import RECIPES, default_recipe
from selftrain.cli import common, report
from selftrain.cli.folder import claim
from selftrain.cli.parser import Parser, make_parser, parse
from selftrain.cli.piles import absolute, add_data, read_pile
from selftrain.data import Pile
from selftrain.engine import loop
from selftrain.errors import DataError
from selftrain.front import building
from selftrain.front.naming import load_object, short_name
from selftrain.strategy.base import Strategy

ABOUT = """Fill an encoder from the unlabeled samples; `selftrain train --init-from RUN` goes on from it.

The settings of the recipe are behind dots, --recipe mae --recipe.mask_ratio 0.6, and shown by --recipe.help mae.
Labels, where there are any, only judge the features (figure knn)."""
RECIPE = f"{', '.join(RECIPES)}; or module:name of your own. auto: tjepa for tables, mae for images, ecgjepa for \
series, pointjepa for points"


def parser() -> Parser:
    """All options."""
    found = make_parser("pretrain", ABOUT, "--data DATA [options]")
    add_data(found)
    found.add_choice("recipe", "recipe", Strategy, RECIPE, "recipe")
    common.add_network(found, training=False)
    common.add_stage(found, steps=building.STEPS, out="runs/RECIPE")
    common.add_times(found)
    return found


def run(words: Sequence[str]) -> int:
    """Pretrain, and print where the encoder is."""
    below = common.to_resume("pretrain", words)
    settings, _ = parse(parser(), words, below)
    device = building.device_of(settings)
    settings = absolute(settings)
    name = "pretrain" if settings["recipe"] is None else short_name("recipe", settings["recipe"])
    out = settings["out"] or Path("runs", name)
    out = claim(out, resume=settings["resume"], overwrite=settings["overwrite"])
    pile = read_pile(settings)
    if pile.unlabeled is None:
        raise DataError(f"{pile.source} has no unlabeled samples; labeled ones count with --data.overlap include")
    problem = building.Problem.of(pile, building.steps_of(settings, pile))
    if settings["recipe"] is None:
        # only now: the default depends on the kind of input and the number of columns; parsed, as settings that are
        # stored have all values, and a run is resumed with the same only
        found = default_recipe(problem.kind, problem.shape)
        settings["recipe"] = parse(parser(), [*words, f"--recipe={found}"], below)[0]["recipe"]
    recipe = load_object(settings["recipe"]["class_path"])
    settings["network"] = building.network_for(problem, settings["network"], recipe=recipe)
    if settings["resume"]:
        common.check_same(common.stored(settings), str(out))
    done = pretrain(settings, pile, problem, out, device)
    report.finished(done, pile, problem.steps)
    print(f"next       selftrain train --init-from {out} ...")
    return 0


def pretrain(
    settings: dict[str, Any], pile: Pile, problem: building.Problem, out: Path, device: torch.device
) -> loop.Run:
    """Pretrain in a claimed folder, or go on there."""
    # behind the data: the encoder's start is the next draw, whatever reading them has drawn
    torch.manual_seed(settings["seed"])
    stage = building.build_stage(problem, settings["recipe"], settings)
    return common.run_stage("pretrain", stage, settings, pile, problem.steps, out, device)
