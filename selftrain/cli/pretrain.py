"""``selftrain pretrain``: an encoder from the unlabeled samples, for ``train --init-from``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from selftrain.catalog import RECIPES
from selftrain.cli import building, common, report
from selftrain.cli.folder import claim
from selftrain.cli.line import Line, Parser
from selftrain.cli.piles import absolute, add_data, read_pile
from selftrain.cli.running import run_stage
from selftrain.cli.settings import add_choice, add_option, add_settings, pick
from selftrain.cli.train import NETWORK
from selftrain.data import Pile
from selftrain.engine import loop
from selftrain.errors import DataError
from selftrain.networks.optim import Training

ABOUT = """Fill an encoder from the unlabeled samples; `selftrain train --init-from RUN` goes on from it.

The settings of the recipe follow its name: --recipe mae --recipe.mask_ratio 0.6. This help shows those of the recipe,
data and views named beside --help. Labels, where there are any, only judge the features (figure knn)."""


def make_parser(line: Line) -> Parser:
    """All options, with the settings of what the line chooses."""
    parser = line.parser(ABOUT)
    add_data(parser, line)
    kinds = "auto (tables: tjepa, images: mae, series: ecgjepa, points: pointjepa)"
    add_choice(parser, "recipe", "name", f"{kinds}, {', '.join(RECIPES)}, or module:name of your own", "auto")
    add_option(parser, "network", str, "auto", NETWORK)
    recipe = line.chosen("recipe", "name")
    if recipe not in (None, "auto"):
        make = pick("recipe", recipe, RECIPES)
        add_settings(
            parser, "recipe", make, skip=("encoder", "training", "name"), title=f"settings of the recipe {recipe}"
        )
    names = add_settings(parser, "training", Training, title="training; null: as the recipe has it")
    parser.set_defaults({f"training.{name}": None for name in names})
    common.add_stage(parser, steps=building.STEPS, out="runs/RECIPE")
    common.add_times(parser)
    return parser


def run(words: Sequence[str]) -> int:
    """Pretrain, and print where the encoder is."""
    line = common.resumed(Line("pretrain", words), "pretrain")
    settings, _ = line.parse(make_parser(line))
    device = building.check_device(settings["device"])
    settings = absolute(settings)
    name = settings["recipe"]["name"]
    default = "pretrain" if name == "auto" else name.rpartition(":")[2]
    out = claim(settings["out"] or Path("runs", default), resume=settings["resume"], overwrite=settings["overwrite"])
    pile = read_pile(settings)
    if pile.unlabeled is None:
        raise DataError(f"{pile.source} has no unlabeled samples; labeled ones count with --data.overlap include")
    settings["recipe"]["name"] = name = building.recipe_for(pile) if name == "auto" else name
    problem = building.Problem.of(pile, building.steps_of(settings, pile))
    settings["network"] = building.network_for(problem, settings["network"], recipe=name)
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
    own = {key: value for key, value in settings["recipe"].items() if key != "name"}
    torch.manual_seed(settings["seed"])
    stage = building.build_stage(problem, settings["recipe"]["name"], own, settings)
    return run_stage("pretrain", stage, settings, pile, problem, out, device)
