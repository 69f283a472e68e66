"""What the commands that make runs share: options of a stage, the settings that a run is resumed with, and the run."""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from selftrain.cli import UsageError, report
from selftrain.cli.folder import settings_in
from selftrain.cli.parser import Parser, as_yaml, said, switch, trusts
from selftrain.data import Pile
from selftrain.engine import loop
from selftrain.engine.times import Checkpoints, Evaluation, OnAlarm
from selftrain.front import building
from selftrain.front.building import PRETRAINED
from selftrain.handlers import DataSummary, Handler, MetricsLog, Progress, SelfCheck, Snapshots
from selftrain.networks.optim import Training
from selftrain.strategy.base import Strategy
from selftrain.types import BatchPlan

# A stored folder would send `train --config RUN` into the folder of the run that it repeats.
START = ("init_from", "frozen", "init_size", "download")
NOT_STORED = ("resume", "overwrite", "download", "trust", "progress", "stop_after", "out", "label_to")
# Batches do not depend on the processes that load them.
_MAY_CHANGE = (*NOT_STORED, "device", "workers", "timeout", "on_alarm")
NETWORK = f"auto, {', '.join(building.NETWORKS)} (by kind of input); a class of networks, with its settings behind \
dots; or module:name of your own, called with the shape of an input and the number of outputs, with the shape, or alone"


def add_network(parser: Parser, *, training: bool) -> None:
    """The options of a network and its training.

    Args:
        parser: That gets them.
        training: Whether all of them have defaults; else ``null`` leaves them to the recipe.
    """
    group = parser.add_argument_group("network")
    group.add_argument("--network", type=str | torch.nn.Module, default="auto", help=NETWORK, metavar="NAME")
    names = parser.add_class_arguments(Training, "training")
    if not training:
        parser.set_defaults(dict.fromkeys(names))


def add_start(parser: Parser) -> None:
    """What a run starts from."""
    help = f"run of `selftrain pretrain` or `train`, or file of weights, to start from; or {PRETRAINED}NAME, an \
encoder of timm or torchvision, a folder of transformers, or a run: see selftrain.pretrained"
    parser.add_argument("--init_from", type=str | None, help=help, metavar="RUN")
    help = (
        "leave the encoder as it is: its features are computed once, kept in a folder beside --out, and the head learns"
    )
    switch(parser, "frozen", help)
    help = f"side that images are resized to for {PRETRAINED}NAME; null: that of its card"
    parser.add_argument("--init_size", type=int | None, help=help)
    switch(parser, "download", f"fetch the weights of {PRETRAINED}NAME where they are not on this machine")


def add_stage(parser: Parser, *, steps: int, out: str) -> None:
    """Options of ``selftrain.fit``."""
    add = parser.add_argument_group("stage").add_argument
    add("--steps", type=int | None, help=f"steps of training; neither steps nor epochs: {steps}")
    add("--epochs", type=int | None, help="passes over the unlabeled samples, instead of steps")
    help = "key of the network's start, batches and views; --data.seed is that of the labels"
    add("--seed", type=int, default=0, help=help)
    add("--device", type=str | None, default="auto", help=f"where to train: {building.DEVICE}")
    add("--out", type=str | None, help=f"run folder; null: {out}")
    help = "go on with the run in --out, with its settings, exactly where it stopped"
    switch(parser, "resume", help)
    switch(parser, "overwrite", "replace the run in --out; files of no run are never removed")
    switch(
        parser,
        "trust",
        "import code that the run of --resume, --init-from or --config names and that is not of selftrain",
    )
    add("--progress", type=bool | None, help="whether to show a progress bar; null: on a terminal")
    # --seed is the key of the batches as well: two seeds of one run would contradict
    parser.add_class_arguments(BatchPlan, "plan", skip={"seed"})


def add_times(parser: Parser) -> None:
    """Options of ``selftrain.fit`` that say when."""
    add = parser.add_argument_group("times").add_argument
    add("--eval_every", type=int | None, help="steps between evaluations; null: ten in a run")
    add("--log_every", type=int, default=20, help="steps between two rows of the log")
    add("--checkpoint_every", type=int | None, help="steps between checkpoints; null: at each evaluation")
    add("--stop_after", type=int | None, help="stop after so many steps, with a checkpoint, for --resume")
    add("--snapshots", type=int, default=0, help="moments whose weights are kept in the folder snapshots")
    add("--self_check", type=bool, default=True, help="watch the run and raise alarms, see selftrain.fit")


def to_resume(command: str, words: Sequence[str]) -> dict[str, Any] | None:
    """The settings of the run that is to be resumed; ``None``: a new one.

    Raises:
        UsageError: ``--resume`` without ``--out``.
        RunFolderError: no run there.
    """
    # before the line is parsed, as the run's settings lie below it there
    if not [value for value in said(words, "--resume") if value != "false"]:
        return None
    places = [value for value in said(words, "--out") if value]
    if not places:
        raise UsageError(f"--resume needs the run: selftrain {command} --resume --out RUN")
    return settings_in(places[-1], trust=trusts(words))


def check_same(settings: Mapping[str, Any], out: str, free: Collection[str] = ()) -> None:
    """Refuse to resume a run with other settings, but for those that are ``free``.

    Raises:
        UsageError: names what differs.
    """
    stored = settings_in(out, trust=None)
    before, now = (_flat({k: v for k, v in s.items() if k not in free}) for s in (stored, settings))
    changed = [
        f"{key} was {before.get(key)}, is {now.get(key)}"
        for key in sorted(before.keys() | now.keys())
        # a column may be called "workers"
        if before.get(key) != now.get(key) and (key.rpartition(".")[2] not in _MAY_CHANGE or ".columns." in key)
    ]
    length = [text for text in changed if text.startswith(("steps was", "epochs was"))]
    if length and length == changed:
        steps = next((f"--{key} {settings[key]}" for key in ("steps", "epochs") if settings.get(key)), "--steps MORE")
        raise UsageError(
            f"{out} was started with another length ({'; '.join(length)}), by which its schedules go; to train on from "
            f"its weights: selftrain train --config {out} --init_from {out} {steps} --out NEW; to stop in between and "
            "go on exactly, plan the whole length and say --stop_after"
        )
    if changed:
        raise UsageError(f"{out} was started with other settings ({'; '.join(changed)}); leave them out, or say --out")


def stored(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that belong to the run and not to one call of the command."""
    return {key: value for key, value in settings.items() if key not in NOT_STORED}


def fit_options(settings: Mapping[str, Any], note: Mapping[str, Any], on_alarm: OnAlarm = "warn") -> dict[str, Any]:
    """Arguments of ``selftrain.fit`` that options of a stage mean."""
    watchers: list[Handler] = [DataSummary(file=sys.stdout), Progress(settings.get("progress"))]
    # runs of a comparison have no options of times: the defaults of ``fit`` hold
    if "eval_every" not in settings:
        times: dict[str, Any] = {"evaluation": Evaluation(on_alarm=on_alarm), "checkpoints": Checkpoints(note=note)}
        return {"handlers": watchers, **times}
    watchers += [MetricsLog(settings["log_every"]), SelfCheck(settings["self_check"]), Snapshots(settings["snapshots"])]
    with building.settings_checked():
        return {
            "evaluation": Evaluation(settings["eval_every"], on_alarm=on_alarm),
            "checkpoints": Checkpoints(settings["checkpoint_every"], settings["stop_after"], note),
            "handlers": watchers,
        }


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    rows: dict[str, Any] = {}
    for key, value in settings.items():
        # files know no tuples: what was stored comes back as a list
        plain = list(value) if isinstance(value, tuple) else value
        rows |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": plain}
    return rows


def run_stage(
    command: str,
    strategy: Strategy,
    settings: Mapping[str, Any],
    pile: Pile,
    steps: int,
    out: Path,
    device: torch.device,
    plan: BatchPlan | None = None,
    on_alarm: OnAlarm = "warn",
    **more: Any,
) -> loop.Run:
    """Train a strategy in a claimed folder, or go on there, and say what runs.

    Args:
        command: That is told for going on.
        strategy: As it begins.
        settings: All options.
        pile: The data.
        steps: Of the stage.
        out: The folder.
        device: Where to train.
        plan: Its batches; ``None``: those of the options.
        on_alarm: See ``Evaluation``.
        **more: Further arguments of ``selftrain.fit``.
    """
    kept = stored(settings)
    with report.told_how_to_resume(command, out):
        report.begun(as_yaml(kept), out)
        return loop.fit(
            strategy,
            pile,
            out=out,
            steps=steps,
            plan=plan or building.plan_of(settings),
            device=device,
            resume=bool(settings["resume"]),
            overwrite=bool(settings["overwrite"]),
            **more,
            **fit_options(settings, {"command": command, "settings": kept}, on_alarm),
        )
