"""``selftrain compare``: does self-training pay on these data?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from selftrain.catalog import METHODS, default_method
from selftrain.cli import building, common, report
from selftrain.cli.evaluate_run import predictions
from selftrain.cli.folder import CONFIG, claim, unfinished
from selftrain.cli.line import Line, Parser, read_config, write_config
from selftrain.cli.opened import open_run
from selftrain.cli.piles import absolute, add_data, read_pile
from selftrain.cli.settings import add_option, add_settings
from selftrain.cli.stops import UsageError
from selftrain.cli.train import NETWORK, add_strategy, train
from selftrain.cli.verdict import Cell, Verdict, judged
from selftrain.data import Pile
from selftrain.engine import loop
from selftrain.errors import DataError
from selftrain.networks.optim import Training
from selftrain.runtime.distributed import launched
from selftrain.storage.atomic import write_json

ABOUT = """Train supervised and other strategies under one budget, and say whether self-training pays on these data.

Every strategy has the same labels, network, steps, batches and start. It is judged on the test set where there is one,
with the weights that are best on validation (without validation: the last ones); without a test set on a validation
split of the labels, with the last weights. Further draws of labels (--draws) and seeds (--seeds) make the answer surer.
Settings of a strategy follow its name: --fixmatch.select "above(0.9)". With --resume an interrupted comparison goes on,
and strategies, draws and seeds can be added."""
FLOOR = "supervised"
HELD_OUT = 0.25  # share of the labels that judges where there is neither a test nor a validation set
RESULT = "compare.json"


def make_parser(line: Line) -> Parser:
    """All options, with the settings of the strategies that the line names."""
    parser = line.parser(ABOUT)
    add_data(parser, line)
    help = f"to compare with supervised: {', '.join(name for name in METHODS if name != FLOOR)}"
    add_option(parser, "strategies", str, [default_method()], help, nargs="+")
    help = "keys of the choice of labels and of validation, one for each draw"
    add_option(parser, "draws", int, [0], help, nargs="+")
    add_option(parser, "seeds", int, [0], "keys of the network's start, batches and views", nargs="+")
    add_option(parser, "network", str, "auto", NETWORK)
    add_option(parser, "init_from", str | None, None, "run of `selftrain pretrain`, or file of weights, to start from")
    for name in (FLOOR, *names_in(line)):
        add_strategy(parser, name, name)
    add_settings(parser, "training", Training)
    common.add_stage(parser, steps=building.STEPS, out="runs/compare")
    return parser


def names_in(line: Line) -> list[str]:
    """Strategies that a line names, before there is a parser."""
    found: Any = [default_method()]
    for _, layer in line.layers:
        found = (layer or {}).get("strategies", found)
    words = line.words
    if "--strategies" in words:
        after = words[words.index("--strategies") + 1 :]
        stop = next((place for place, word in enumerate(after) if word.startswith("-")), len(after))
        found = after[:stop]
    names = [found] if isinstance(found, str) else list(found)
    for name in names:
        if name not in METHODS:
            import difflib

            near = difflib.get_close_matches(str(name), METHODS, 1)
            raise UsageError(
                f"no strategy {name!r}; {f'did you mean {near[0]}? ' if near else ''}known are {', '.join(METHODS)}"
            )
    return [name for name in dict.fromkeys(names) if name != FLOOR]


@dataclass(frozen=True)
class Comparison:
    """What is compared, and where.

    Args:
        settings: As parsed.
        out: Folder.
        device: Where to train.
        names: Strategies, supervised first.
    """

    settings: Mapping[str, Any]
    out: Path
    device: torch.device
    names: Sequence[str]

    def cells(self) -> dict[str, list[Cell]]:
        """Train whatever is not finished, and judge all; by strategy, in the same order of draws and seeds."""
        found: dict[str, list[Cell]] = {name: [] for name in self.names}
        for draw in self.settings["draws"]:
            pile = self.pile(draw)
            for seed in self.settings["seeds"]:
                for name in self.names:
                    found[name].append(self.cell(pile, name, draw, seed))
        return found

    def pile(self, draw: int) -> Pile:
        """The data of one draw, with something to judge by."""
        own = {**self.settings, "data": {**self.settings["data"], "seed": draw}}
        pile = read_pile(own)
        if pile.labeled is None:
            raise DataError(f"{pile.source} has no labels; a comparison needs some")
        if pile.test is None and pile.validation is None:
            own["data"]["validation"] = HELD_OUT
            pile = read_pile(own)
        if pile.test is None and pile.validation is None:
            raise DataError(
                f"{pile.source} has too few labels to hold back a quarter of them; say --data.validation or label more"
            )
        return building.normalized_for(pile, self.settings["init_from"])

    def cell(self, pile: Pile, name: str, draw: int, seed: int) -> Cell:
        """One strategy on one draw with one seed: trained, or read if that was done before."""
        folder = self.out / f"draw-{draw}" / f"seed-{seed}" / name
        problem = building.Problem.of(pile, building.steps_of(self.settings, pile))
        done = (folder / "summary.json").is_file() and not self.settings["overwrite"]
        print(f"{'kept' if done else 'training':<11}{name}, draw {draw}, seed {seed}", flush=True)
        if not done:
            self.train(pile, problem, name, seed, folder)
        opened = open_run(folder, None if pile.test is not None else "last", self.settings["device"])
        part = "test" if pile.test is not None else "validation"
        truth, label = predictions(opened.labeler(), pile, part)
        return Cell(name, draw, seed, part, (truth == label).astype(np.float64), opened.step)

    def train(self, pile: Pile, problem: building.Problem, name: str, seed: int, folder: Path) -> loop.Run:
        """One run of the comparison; the floor and all others differ in the strategy alone."""
        keys = ("data", "labels", "views", "training", "steps", "epochs", "plan", "device", "init_from")
        settings = {key: self.settings[key] for key in keys} | {
            "seed": seed,
            "strategy": {"name": name, **self.settings[name]},
        }
        settings["network"] = building.network_for(
            problem, self.settings["network"], init_from=self.settings["init_from"]
        )
        settings |= {"baseline": False, "resume": unfinished(folder) and not self.settings["overwrite"]}
        settings |= {"overwrite": not settings["resume"], "progress": self.settings["progress"]}
        with report.silent():
            return train(settings, pile, problem, folder, self.device)


def run(words: Sequence[str]) -> int:
    """Train what is missing, judge, print, write JSON."""
    if launched():
        raise UsageError("compare runs in one process; torchrun is for selftrain train and pretrain")
    line = common.resumed(Line("compare", words), "compare")
    settings, given = line.parse(make_parser(line))
    out = claim(settings["out"] or Path("runs", "compare"), resume=settings["resume"], overwrite=settings["overwrite"])
    device = building.check_device(settings["device"])
    settings = absolute(settings)
    if settings["init_from"] is not None:
        settings["init_from"] = str(Path(settings["init_from"]).resolve())
    comparison = Comparison(settings, out, device, [FLOOR, *names_in(line)])
    first = comparison.pile(settings["draws"][0])  # complains of the data before anything is written
    steps = building.steps_of(settings, first)
    for name in comparison.names:
        settings[name] = building.resolved_strategy(name, settings[name], given.get(name, {}), steps)
    if settings["resume"]:
        _check_same(common.stored(settings), out)
    out.mkdir(parents=True, exist_ok=True)
    print(write_config(out / CONFIG, "compare", common.stored(settings)))
    with report.told_how_to_resume("compare", out):
        cells = comparison.cells()
    verdict = judged(cells, FLOOR)
    write_json(out / RESULT, verdict.as_dict() | {"settings": common.stored(settings)})
    _tell(verdict, out)
    return 0


def _check_same(settings: Mapping[str, Any], out: Path) -> None:
    """A comparison may be resumed with other strategies, draws and seeds, and with nothing else changed."""
    new = {name for name in METHODS if name not in settings or name not in read_config(out / CONFIG)}
    common.check_same(settings, str(out), {"strategies", "draws", "seeds", *new})


def _tell(verdict: Verdict, out: Path) -> None:
    print()
    print(verdict.text())
    print(f"results    {out / RESULT}")
