"""``selftrain compare``: does self-training pay on these data?"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from selftrain.arguments import checked, shown
from selftrain.catalog import METHODS, default_method, make_part
from selftrain.cli import UsageError, automatic, common, report
from selftrain.cli.evaluate_run import predictions
from selftrain.cli.folder import claim, network_in
from selftrain.cli.opened import labeler, opened, spec_of_origin
from selftrain.cli.parser import (
    CONFIG,
    Parser,
    make_parser,
    names_setting,
    parse,
    read_config,
    said,
    trusts,
    write_config,
)
from selftrain.cli.piles import absolute, add_data, read_pile
from selftrain.cli.starts import (
    FEW,
    HISTOGRAM,
    PROBES,
    SCRATCH,
    Entrant,
    check_starts,
    entrants,
    features_pile,
    in_color,
    probed,
    settings_of,
)
from selftrain.cli.train import train
from selftrain.cli.verdict import Cell, Verdict, judged
from selftrain.data import Pile
from selftrain.errors import DataError
from selftrain.front import building
from selftrain.front.naming import AUTO, load_object, spec_of
from selftrain.metrics.jackknife import contributions
from selftrain.networks.described import describe
from selftrain.report import at_no_cost, of_comparison, write_page
from selftrain.runtime.distributed import launched
from selftrain.storage.atomic import write_json
from selftrain.storage.lock import locked
from selftrain.storage.run_dir import REPORT, SUMMARY, has_begun, is_replaced, mark_replaced
from selftrain.strategy.base import SupervisedStrategy
from selftrain.tasks import Task

ABOUT = """Train supervised and other strategies under one budget, and say whether self-training pays on these data.

Every strategy has the same labels, network, steps, batches and start. It is judged on the test set where there is one,
with the weights that are best on validation (of fewer than 50 labels, or none: the last ones); without a test set on a
validation split of the labels, with the last weights. Further draws of labels (--draws) and seeds (--seeds) make the
answer surer.
Masks are judged by mean IoU, joints by PCK, of all samples together; gains are paired picture by picture there, too.
Settings of a strategy follow its name: --fixmatch.select "above(0.9)". With --resume an interrupted comparison goes on,
and strategies, starts, draws and seeds can be added.

Pictures in color are compared with logistic regression on the histogram of their colors, too (histogram), and what
starts from pretrained:NAME with one on its features (linear): both cost nothing.

With --starts everything is compared on each start, and has to beat what labels alone give there: supervised, linear
(logistic regression on features), knn (nearest neighbors) and lora (supervised, with few parameters)."""
FLOOR = "supervised"
HELD_OUT = 0.25  # share of the labels that judges where there is neither a test nor a validation set
RESULT = "compare.json"


def parser(names: Sequence[str]) -> Parser:
    """All options, with the settings of the strategies that are compared."""
    found = make_parser("compare", ABOUT, "--data DATA --strategies NAME ... [options]")
    add_data(found)
    help = (
        f"to compare with supervised: {', '.join((*PROBES, FEW, AUTO, *(name for name in METHODS if name != FLOOR)))}; \
with --starts the first three are there by default"
    )
    found.add_argument("--strategies", type=str, default=[default_method()], help=help, nargs="+", metavar="NAME")
    help = "keys of the choice of labels and of validation, one for each draw"
    found.add_argument("--draws", type=int, default=[0], help=help, nargs="+")
    help = "keys of the network's start, batches and views"
    found.add_argument("--seeds", type=int, default=[0], help=help, nargs="+")
    common.add_start(found)
    help = f"start each from all of these: {SCRATCH}, and whatever --init_from takes"
    found.add_argument("--starts", type=str, default=None, help=help, nargs="+", metavar="START")
    for name in strategies_in(names):
        base = load_object(spec_of("strategy", AUTO)["class_path"]) if name == AUTO else METHODS[name].make
        help = f"its settings follow the name, such as --{name}.decay 0.99"
        found.add_choice(name, "strategy", base, help, f"strategy {name}")
    common.add_network(found, training=True)
    common.add_stage(found, steps=building.STEPS, out="runs/compare")
    return found


def names_in(words: Sequence[str], below: Mapping[str, Any]) -> list[str]:
    """The methods that a line and its config files name, the floor first; options of strategies come to the parser."""
    starts = "starts" in below or names_setting(words, "starts")
    few = [FEW] if find_spec("peft") is not None else []
    found: Any = below.get("strategies", ["linear", "knn", *few, default_method()] if starts else [default_method()])
    for path in said(words, "--config"):
        found = read_config(path, trust=trusts(words)).get("strategies", found)
    if "--strategies" in words:
        after = words[words.index("--strategies") + 1 :]
        found = list(takewhile(lambda word: not word.startswith("-"), after))
    names = [found] if isinstance(found, str) else list(found)
    for name in strategies_in(names):
        spec_of("strategy", name)  # complains of an unknown one
        if name not in (AUTO, *METHODS):
            known = ", ".join((AUTO, *METHODS))
            raise UsageError(f"--strategies {name}: a comparison names its runs; known are {known}")
    return [FLOOR, *(name for name in dict.fromkeys(names) if name != FLOOR)]


def strategies_in(names: Sequence[str]) -> list[str]:
    """Those that have settings of their own."""
    return [name for name in names if name not in (*PROBES, FEW)]


@dataclass(frozen=True)
class Comparison:
    """What is compared, and where.

    Args:
        settings: As parsed.
        out: Folder.
        device: Where to train.
        rows: What is compared, the floor first.
    """

    settings: Mapping[str, Any]
    out: Path
    device: torch.device
    rows: Sequence[Entrant]

    def cells(self) -> dict[str, list[Cell]]:
        """Train whatever is not finished, and judge all; by row, in the same order of draws and seeds."""
        found: dict[str, list[Cell]] = {row.title: [] for row in self.rows}
        for draw in self.settings["draws"]:
            pile = self.pile(draw)
            for row in self.rows:  # row by row: the inputs of each start are made ready once
                found[row.title] += self.cells_of(row, pile, draw)
        return found

    def cells_of(self, row: Entrant, pile: Pile, draw: int) -> list[Cell]:
        """One row on one draw, with each seed."""
        part = _judging(pile)
        if row.method in PROBES:
            print(f"{'probing':<11}{row.title}, draw {draw}", flush=True)
            shown = pile if row.method == HISTOGRAM else features_pile(row, pile, self.settings, self.out)
            right = probed(row.method, shown, part)
            return [Cell(row.title, draw, seed, part, right, 0) for seed in self.settings["seeds"]]
        own = settings_of(row, self.settings)
        shown = self.shown(row, pile, own)
        return [self.cell(shown, row, own, part, draw, seed) for seed in self.settings["seeds"]]

    def shown(self, row: Entrant, pile: Pile, own: Mapping[str, Any]) -> Pile:
        """The pile as the runs of a row see it."""
        if row.method == AUTO:
            return automatic.rows_of(pile, {**own, "frozen": False}, self.out)
        return building.normalized_for(pile, own, self.out)

    def pile(self, draw: int) -> Pile:
        """The data of one draw, with something to judge by."""
        spec = self.settings["data"]
        given = {**spec["init_args"], "seed": draw}
        own = {**self.settings, "data": {**spec, "init_args": given}}
        pile = read_pile(own)
        pile.require_labels()
        if pile.test is None and pile.validation is None:
            given["validation"] = HELD_OUT
            pile = read_pile(own)
        if pile.test is None and pile.validation is None:
            raise DataError(
                f"{pile.source} has too few labels to hold back a quarter of them; say --data.validation or label more"
            )
        return pile

    def problem(self, pile: Pile) -> building.Problem:
        """What a draw poses."""
        return building.Problem.of(pile, building.steps_of(self.settings, pile)).posed(pile, None)

    def check(self, pile: Pile) -> None:
        """Build every strategy once, so that what none of its runs would take is refused before anything is written."""
        building.plan_of(self.settings)
        for row in self.rows:
            own = settings_of(row, self.settings)
            if row.method == HISTOGRAM and not in_color(pile):
                raise UsageError(f"--strategies {HISTOGRAM}: {pile.source} has no pictures in color; leave it out")
            if row.method in PROBES:
                building.foundation(own | {"frozen": False})
                continue
            shown = self.shown(row, pile, own)
            problem = self.problem(shown)
            if row.method == AUTO:
                automatic.build(self.options(problem, row, own, seed=0), shown, problem)
                continue
            building.build_strategy(problem, own[_spec(row)], self.options(problem, row, own, seed=0))

    def cell(self, pile: Pile, row: Entrant, own: Mapping[str, Any], part: str, draw: int, seed: int) -> Cell:
        """One row on one draw with one seed: trained, or read if that was done before."""
        folder = self.out / f"draw-{draw}" / f"seed-{seed}" / row.title
        done = (folder / SUMMARY).is_file() and not is_replaced(folder)
        print(f"{'kept' if done else 'training':<11}{row.title}, draw {draw}, seed {seed}", flush=True)
        if not done:
            self.train(pile, row, own, seed, folder)
        # on validation the last weights: the best ones were chosen on these very samples
        which = None if part == "test" else "last"
        asked = {key: self.settings[key] for key in ("device", "trust")}
        with report.silent():
            made, step = opened(folder, asked | {"which": which})
        return Cell(row.title, draw, seed, part, _scores(labeler(made), pile, part), step)

    def train(self, pile: Pile, row: Entrant, own: Mapping[str, Any], seed: int, folder: Path) -> None:
        """One run of the comparison; those on one start differ in the strategy alone."""
        problem = self.problem(pile)
        settings = self.options(problem, row, own, seed)
        # a run that was killed before its first checkpoint has nothing to go on from: it begins anew in its own folder
        settings |= {"baseline": False, "on_alarm": "warn", "resume": has_begun(folder)}
        settings |= {"overwrite": not settings["resume"], "progress": self.settings["progress"]}
        with report.silent():
            (automatic.train if row.method == AUTO else train)(settings, pile, problem, folder, self.device)

    def options(self, problem: building.Problem, row: Entrant, own: Mapping[str, Any], seed: int) -> dict[str, Any]:
        """The settings of one run, as those of ``selftrain train``."""
        keys = ("data", "labels", "views", "training", "steps", "epochs", "plan", "device", *common.START, "trust")
        network = own["network"]
        if row.method != AUTO:
            network = building.network_for(problem, network_in(own), init_from=own["init_from"])
        return {key: own[key] for key in keys} | {"seed": seed, "strategy": own[_spec(row)], "network": network}


@checked
def compare(
    data: str | Path | Pile,
    strategies: Sequence[str] = (),
    *,
    draws: Sequence[int] = (0,),
    seeds: Sequence[int] = (0,),
    starts: Sequence[str] = (),
    steps: int | None = None,
    epochs: int | None = None,
    device: str | None = "auto",
    out: str | Path = "runs/compare",
    resume: bool = False,
    overwrite: bool = False,
    options: Mapping[str, object] | None = None,
) -> Verdict:
    """Does self-training pay on these data? What ``selftrain compare`` does: all under one budget, on the same draws.

    Every strategy has the same labels, network, steps, batches and start as the labels alone (``supervised``); gains
    are paired, sample by sample, on each draw of labels. ``print`` shows the table, the intervals and the answer.

    Args:
        data: A path, a named set, or a pile that was read from one: each draw of labels is read anew.
        strategies: Names, to be compared with ``supervised``; default: that of ``selftrain train``.
        draws: Keys of the choice of labels and of validation, one for each draw.
        seeds: Keys of the network's start, batches and views.
        starts: Compare each from all of these: ``"scratch"``, runs, ``"pretrained:NAME"``.
        steps: Of every run; or
        epochs: passes over the unlabeled samples.
        device: Where to train.
        out: Folder of all runs, ``compare.json`` and the page about them.
        resume: Go on with the comparison in ``out``; strategies, starts, draws and seeds may be added.
        overwrite: Replace it.
        options: Further options of the command by name: ``{"data.labels": 40, "fixmatch.select": "above(0.9)"}``.

    Returns:
        All rows with gains and intervals, and ``answer()``.

    Raises:
        DataError: data in memory, which cannot be drawn anew; or that cannot be used.
        UsageError: an unknown strategy or option.
        RunFolderError: there is a comparison in ``out``, and neither ``resume`` nor ``overwrite`` is set.
    """
    given = {"strategies": strategies, "draws": draws, "seeds": seeds, "starts": starts, "steps": steps}
    given |= {"epochs": epochs, "device": device, "out": str(out), "resume": resume, "overwrite": overwrite}
    source = str(data)
    if isinstance(data, Pile):
        origin = data.origin and data.origin | {
            "settings": {k: describe(v) for k, v in data.origin["settings"].items()}
        }
        spec = spec_of_origin(origin)
        if spec is None:
            raise DataError(
                f"{data.source}: data in memory cannot be read anew for each draw of labels; save them, such as "
                "numpy.savez('data.npz', x=x, y=y), and pass the path"
            )
        source = json.dumps(spec)
    words = ["--data", source]
    for name, value in (given | dict(options or {})).items():
        several = [str(one) for one in value] if isinstance(value, list | tuple | range) else [_word(name, value)]
        words += [f"--{name}", *several] if value not in (None, (), []) else []
    return compared(words)[0]


def _word(name: str, value: object) -> str:
    try:
        return value if isinstance(value, str) else json.dumps(value)
    except TypeError as error:
        raise ValueError(f"{name} is {shown(value)}; give what the command line takes: words or numbers") from error


def run(words: Sequence[str]) -> int:
    """Train what is missing, judge, print, write JSON."""
    _tell(*compared(words))
    return 0


def compared(words: Sequence[str]) -> tuple[Verdict, Path]:
    """The verdict of a command line, and its folder."""
    if launched():
        raise UsageError("compare runs in one process; torchrun is for selftrain train and pretrain")
    stored = common.to_resume("compare", words) or {}
    names = names_in(words, stored)
    below = {name: spec_of("strategy", name) for name in strategies_in(names)} | stored
    settings, given = parse(parser(names), words, below)
    ways = {"resume": settings["resume"], "overwrite": settings["overwrite"]}
    out = claim(settings["out"] or Path("runs", "compare"), marks=(CONFIG,), **ways)
    device = building.device_of(settings)
    settings = absolute(settings)
    check_starts(settings, names if names_setting(words, "strategies") else ())
    comparison = Comparison(settings, out, device, entrants(settings["starts"], names))
    first = comparison.pile(settings["draws"][0])  # complains of the data before anything is written
    task = make_part("task", comparison.problem(first).task)
    if task.one_unit:
        names += [name for name in _for_nothing(first, settings) if name not in names]
    else:
        names = _in_places(names, asked=bool(names_setting(words, "strategies")), source=first.source)
    comparison = replace(comparison, rows=entrants(settings["starts"], names))
    settings["strategies"] = names[1:] or names  # those of a default, too: a comparison goes on with the same
    steps = building.steps_of(settings, first)
    for name in strategies_in(names):
        settings[name] = building.resolved_strategy(settings[name], given[name], steps)
    if not stored and not names_setting(words, "strategies"):
        name = default_method()
        settings[name] = building.with_few_labels(settings[name], given[name], first, settings, steps)
    comparison.check(first)
    with locked(out, create=True):
        # once more: it may have become another command's while the data were read
        claim(out, marks=(CONFIG,), **ways)
        if settings["resume"]:
            _check_same(common.stored(settings), out)
        if settings["overwrite"]:
            # before the new settings: a comparison that is stopped and resumed would take old runs for its own
            for cell in out.glob("draw-*/seed-*/*"):
                mark_replaced(cell)
            for name in (RESULT, REPORT):
                (out / name).unlink(missing_ok=True)
        # before the first run: a comparison that is interrupted must find its settings to go on
        print(write_config(out / CONFIG, "compare", common.stored(settings)))
        with report.told_how_to_resume("compare", out):
            cells = comparison.cells()
        verdict = judged(cells, comparison.rows, _unjudged(first, task), _figure(task))
        result = verdict.as_dict() | {"settings": common.stored(settings)}
        write_json(out / RESULT, result)
        with at_no_cost(out / REPORT):
            write_page(of_comparison(result, out.resolve().name), out / REPORT)
    return verdict, out


def _judging(pile: Pile) -> str:
    """The part that judges."""
    return "test" if pile.test is not None else "validation"


@torch.no_grad()
def _scores(strategy: SupervisedStrategy, pile: Pile, part: str) -> NDArray[np.float64]:
    """What each sample of a part adds to the figure of the task, (N,): the mean is the figure."""
    task = strategy.task
    if task.one_unit:
        truth, label = predictions(strategy, pile, part)
        return np.asarray(truth == label, np.float64)
    parts = []
    with strategy.evaluating():
        for batch in pile.evaluation(part, 500, next(strategy.parameters()).device) or ():
            value = strategy.predict(batch.x)
            parts += [
                task.update(value[i : i + 1], task.encode(batch.annotation[i : i + 1])).cpu() for i in range(len(value))
            ]
    return contributions(torch.stack(parts), lambda tally: task.compute(tally)[str(task.monitor)])


def _figure(task: Task) -> str:
    """Name of what rows are compared by."""
    return "accuracy" if task.one_unit else str(task.monitor)


def _in_places(names: Sequence[str], *, asked: bool, source: str) -> list[str]:
    """The rows that have a meaning for masks and joints.

    Raises:
        UsageError: one that has none was asked for.
    """
    odd = [name for name in names if name in PROBES]
    if odd and asked:
        raise UsageError(
            f"--strategies {' '.join(odd)}: it gives one label a sample, and those of {source} are masks or joints; "
            "leave it out"
        )
    return [name for name in names if name not in PROBES]


def _unjudged(pile: Pile, task: Task) -> list[str]:
    """Names of the classes that have labels, and no sample, or pixel, in the part that judges."""
    if not task.has_classes:
        return []
    given, asked = (_classes_in(pile, part, task) for part in ("labeled", _judging(pile)))
    return [name for number, name in enumerate(pile.classes) if number in given - asked]


def _classes_in(pile: Pile, part: str, task: Task) -> set[int]:
    found = set[int]()
    for batch in pile.evaluation(part, 500, torch.device("cpu")) or ():
        target = task.encode(batch.annotation)
        found |= set(task.label(target.value)[target.mask() > 0].unique().tolist())
    return found


def _for_nothing(pile: Pile, settings: Mapping[str, Any]) -> list[str]:
    """Rows that cost no training and belong into every comparison."""
    frozen = settings["starts"] is None and building.is_pretrained(settings["init_from"])
    return [HISTOGRAM] * in_color(pile) + ["linear"] * frozen


def _check_same(settings: Mapping[str, Any], out: Path) -> None:
    """A comparison may be resumed with other strategies, starts, draws and seeds, and with nothing else changed."""
    stored = read_config(out / CONFIG, trust=None)
    new = {name for name in (AUTO, *METHODS) if name not in settings or name not in stored}
    common.check_same(settings, str(out), {"strategies", "starts", "draws", "seeds", *new})


def _spec(row: Entrant) -> str:
    """Whose settings a row has."""
    return FLOOR if row.method == FEW else row.method


def _tell(verdict: Verdict, out: Path) -> None:
    print()
    print(verdict.text())
    print(f"results    {out / RESULT}; a page to look at: {out / REPORT}")
