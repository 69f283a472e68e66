"""``selftrain train``: a network from few labels and many unlabeled samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from selftrain.catalog import METHODS, TASKS, default_method
from selftrain.cli import UsageError, automatic, common, report
from selftrain.cli.folder import claim, network_in
from selftrain.cli.label import check_free, label_own
from selftrain.cli.parser import Parser, make_parser, names_setting, parse
from selftrain.cli.piles import absolute, add_data, read_pile
from selftrain.data import Pile
from selftrain.engine import loop
from selftrain.engine.times import OnAlarm
from selftrain.front import building
from selftrain.front.naming import AUTO, short_name
from selftrain.runtime.distributed import launched
from selftrain.storage.run_dir import SUMMARY
from selftrain.strategy.base import SupervisedStrategy
from selftrain.tasks import Classification, Keypoints

ABOUT = """Train a network on few labels and many unlabeled samples.

What is chosen by name has settings of its own, behind dots: --strategy fst_d --strategy.depth 3. They are shown by
--strategy.help fst_d, --data.help photos/ and so on; --data photos/ --help ends with those of these data. Config files
hold the same names; the command line wins."""
STRATEGY = f"{AUTO} (many ways, judged and blended, in place of a network), {', '.join(METHODS)}; \
a class of selftrain.strategies; or module:name of your own. Averages that are not set look back on at most a tenth of \
the steps. null: freematch (where labels are few with a threshold of 0.95 at least), or fixmatch with --strategy.select"
TASK = f"{', '.join(TASKS)}; null: what the labels are (a class each, masks, or joints)"


def parser() -> Parser:
    """All options."""
    found = make_parser("train", ABOUT, "--data DATA [options]")
    add_data(found)
    found.add_choice("task", "task", (Classification, Keypoints), TASK, "task")
    found.add_choice("strategy", "strategy", SupervisedStrategy, STRATEGY, "strategy")
    common.add_start(found)
    help = "also train the labels alone, and compare; null: where that reads less than a third of the rows"
    found.add_argument("--baseline", type=bool | None, nargs="?", const=True, default=None, help=help)
    help = (
        "what an alarm that speaks against the weights does: ship what the evidence is for, stop, or no more than warn"
    )
    found.add_argument("--on_alarm", type=OnAlarm, default="fallback", help=help)
    common.add_network(found, training=True)
    common.add_stage(found, steps=building.STEPS, out="runs/STRATEGY")
    help = "then label the unlabeled samples, as `selftrain label` does: a table, or of masks and joints a folder"
    found.add_argument("--label_to", type=Path | None, default=None, help=help)
    common.add_times(found)
    return found


def run(words: Sequence[str]) -> int:
    """Train, and print what came of it."""
    # before the line is parsed: the default strategy is the class that the settings on it belong to
    select = [word for word in words if word.startswith("--strategy.select")]
    resumed = common.to_resume("train", words)
    settings, given = parse(parser(), words, resumed or {"strategy": default_method(*select[:1])})
    if settings["strategy"] is None:
        raise UsageError("strategy is null; name one, such as --strategy freematch, or leave it out")
    out = settings["out"] or Path("runs", short_name("strategy", settings["strategy"]))
    # looked at before the data are read and made by ``fit``: data that are refused leave no folder behind
    out = claim(out, resume=settings["resume"], overwrite=settings["overwrite"])
    if settings["label_to"] is not None:
        if launched():
            raise UsageError(f"--label_to is for one process; say afterwards selftrain label {out}")
        if not settings["overwrite"]:
            check_free(settings["label_to"], "label_to")
    device = building.device_of(settings)
    settings = absolute(settings)
    if short_name("strategy", settings["strategy"]) == AUTO:
        _labeled(_try_all(settings, out, device), settings)
        return 0
    pile, problem, source = _posed(settings, out)
    settings["strategy"] = building.resolved_strategy(settings["strategy"], given["strategy"], problem.steps)
    if not resumed and not names_setting(words, "strategy"):
        spec, steps = settings["strategy"], problem.steps
        settings["strategy"] = building.with_few_labels(spec, given["strategy"], pile, settings, steps)
    # behind all that resolves a setting: what is stored was resolved, too
    if settings["resume"]:
        common.check_same(common.stored(settings), str(out))
    done = train(settings, pile, problem, out, device, source)
    report.finished(done, pile, problem.steps)
    _labeled(done, settings)
    return 0


def _labeled(done: loop.Run, settings: Mapping[str, Any]) -> None:
    """Write labels if they were asked for and the training has come to its end."""
    if settings["label_to"] is not None and done.out is not None and (done.out / SUMMARY).is_file():
        label_own(done, settings["label_to"], overwrite=settings["overwrite"])


def _posed(settings: dict[str, Any], out: Path) -> tuple[Pile, building.Problem, loop.Run | None]:
    """The data, the problem that they pose, and the run that poses it where no sample has a label."""
    pile = read_pile(settings)
    source = building.source_of(pile, settings["init_from"], trust=settings["trust"])
    if source is None:
        pile = building.normalized_for(pile, settings, out)
        problem = building.Problem.of(pile, building.steps_of(settings, pile)).posed(pile, settings["task"])
        settings["network"] = building.network_for(problem, network_in(settings), init_from=settings["init_from"])
    else:
        pile = building.seen_by(source, pile)
        problem = building.Problem.of(pile, building.steps_of(settings, pile)).posed_by(source)
        _check_own(settings)
    return pile, problem, source


def _check_own(settings: Mapping[str, Any]) -> None:
    """Refuse what the run that a pile without labels is learned from brings."""
    for name, plain in (("network", "auto"), ("task", None)):
        if settings[name] != plain:
            raise UsageError(
                f"no sample has a label, so that --init_from {settings['init_from']} brings its {name}; leave --{name} "
                "out"
            )


def _try_all(settings: dict[str, Any], out: Path, device: torch.device) -> loop.Run:
    """``--strategy auto``: what is tried, and what came of it."""
    automatic.check_settings(settings, parser().get_defaults().as_dict())
    pile = automatic.rows_of(read_pile(settings), settings, out)
    problem = building.Problem.of(pile, 1).posed(pile, settings["task"])
    if settings["resume"]:
        common.check_same(common.stored(settings), str(out))
    done, records = automatic.train(settings, pile, problem, out, device)
    report.finished(done, pile, 1)
    report.tried(records, out)
    return done


def train(
    settings: dict[str, Any],
    pile: Pile,
    problem: building.Problem,
    out: Path,
    device: torch.device,
    source: loop.Run | None = None,
) -> loop.Run:
    """Train one strategy in a claimed folder, or go on with it; from all of a ``source``, if there are no labels."""
    # last: the network's start is the next draw, so that strategies that are compared start alike
    torch.manual_seed(settings["seed"])
    if source is None:
        strategy = building.build_strategy(problem, settings["strategy"], settings)
    else:
        strategy = building.build_adapted_from(problem, settings["strategy"], settings, source)
    return common.run_stage(
        "train",
        strategy,
        settings,
        pile,
        problem.steps,
        out,
        device,
        on_alarm=settings["on_alarm"],
        baseline=settings["baseline"],
    )
