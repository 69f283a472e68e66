"""``selftrain train``: a network from few labels and many unlabeled samples."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from selftrain.catalog import METHODS, default_method
from selftrain.cli import building, common, report
from selftrain.cli.folder import claim
from selftrain.cli.line import Line, Parser
from selftrain.cli.piles import absolute, add_data, read_pile
from selftrain.cli.running import run_stage
from selftrain.cli.settings import add_choice, add_option, add_settings, pick
from selftrain.data import Pile
from selftrain.engine import loop
from selftrain.networks.optim import Training

ABOUT = """Train a network on few labels and many unlabeled samples.

The settings of what was chosen follow its name: --strategy fst_d --strategy.depth 3. This help shows those of the
strategy, data and views named beside --help. Config files hold the same names; the command line wins over them."""
NETWORK = f"auto, {', '.join(building.NETWORKS)} (by kind of input), or module:name of your own, called with the shape \
of an input and the number of outputs, with the shape, or with nothing"


def make_parser(line: Line) -> Parser:
    """All options, with the settings of what the line chooses."""
    parser = line.parser(ABOUT)
    add_data(parser, line)
    name = line.chosen("strategy", "name") or default_method(line.chosen("strategy", "select"))
    help = f"{', '.join(METHODS)}, or module:name of your own; with --strategy.select alone fixmatch"
    add_choice(parser, "strategy", "name", help, name)
    add_option(parser, "network", str, "auto", NETWORK)
    add_option(
        parser,
        "init_from",
        str | None,
        None,
        "run of `selftrain pretrain` or `train`, or file of weights, to start from",
    )
    add_option(parser, "baseline", bool, False, "also train the supervised control on the same labels, and compare")
    add_strategy(parser, "strategy", name)
    add_settings(parser, "training", Training)
    common.add_stage(parser, steps=building.STEPS, out="runs/STRATEGY")
    common.add_times(parser)
    return parser


def add_strategy(parser: Parser, key: str, name: str) -> None:
    """Options of a strategy."""
    make = pick("strategy", name, METHODS)
    found = METHODS.get(name)
    names = add_settings(
        parser,
        key,
        make if found is None else found.make,
        skip=("task", "make_learner", "unlabeled", "label_shape", "units"),
        title=f"settings of the strategy {name} (averages that are not set look back on at most a tenth of the steps)",
    )
    own = {} if found is None else found.settings
    parser.set_defaults({f"{key}.{setting}": value for setting, value in own.items() if setting in names})


def run(words: Sequence[str]) -> int:
    """Train, and print what came of it."""
    line = common.resumed(Line("train", words), "train")
    settings, given = line.parse(make_parser(line))
    name = settings["strategy"]["name"]
    out = claim(
        settings["out"] or Path("runs", name.rpartition(":")[2]),
        resume=settings["resume"],
        overwrite=settings["overwrite"],
    )
    device = building.check_device(settings["device"])
    settings = absolute(settings)
    if settings["init_from"] is not None:
        settings["init_from"] = str(Path(settings["init_from"]).resolve())
    pile = building.normalized_for(read_pile(settings), settings["init_from"])
    problem = building.Problem.of(pile, building.steps_of(settings, pile))
    settings["network"] = building.network_for(problem, settings["network"], init_from=settings["init_from"])
    settings["strategy"] = building.resolved_strategy(
        name, settings["strategy"], given.get("strategy", {}), problem.steps
    )
    if settings["resume"]:
        common.check_same(common.stored(settings), str(out))
    done = train(settings, pile, problem, out, device)
    report.finished(done, pile, problem.steps)
    return 0


def train(settings: dict[str, Any], pile: Pile, problem: building.Problem, out: Path, device: torch.device) -> loop.Run:
    """Train one strategy in a claimed folder, or go on with it."""
    own = {key: value for key, value in settings["strategy"].items() if key != "name"}
    torch.manual_seed(settings["seed"])
    strategy = building.build_strategy(problem, settings["strategy"]["name"], own, settings)
    return run_stage("train", strategy, settings, pile, problem, out, device, baseline=settings["baseline"])
