"""What the commands that make runs share: options of a stage, and the settings that a run is resumed with."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from selftrain.cli.folder import settings_in
from selftrain.cli.line import Line, Parser
from selftrain.cli.settings import add_option, add_settings
from selftrain.cli.stops import UsageError
from selftrain.types import BatchPlan

NOT_STORED = ("resume", "overwrite", "progress", "stop_after", "out")
_MAY_CHANGE = (*NOT_STORED, "device", "workers", "timeout")


def add_stage(parser: Parser, *, steps: int, out: str) -> None:
    """Options of ``selftrain.fit``."""
    group = parser.add_argument_group("the stage")
    add_option(group, "steps", int | None, None, f"steps of training; neither steps nor epochs: {steps}")
    add_option(group, "epochs", int | None, None, "passes over the unlabeled samples, instead of steps")
    add_settings(parser, "plan", BatchPlan, skip=("seed",), title="batches")
    add_option(
        group, "seed", int, 0, "key of the network's start, batches and views; --data.seed is that of the labels"
    )
    add_option(group, "device", str | None, None, "where to train, such as cuda or cuda:1; null: the CPU")
    add_option(group, "out", str | None, None, f"run folder; null: {out}")
    add_option(group, "resume", bool, False, "go on with the run in --out, with its settings, exactly where it stopped")
    add_option(group, "overwrite", bool, False, "replace the run in --out; files of no run are never removed")
    add_option(group, "progress", bool | None, None, "whether to show a progress bar; null: on a terminal")


def add_times(parser: Parser) -> None:
    """Options of ``selftrain.fit`` that say when."""
    group = parser.add_argument_group("when")
    add_option(group, "eval_every", int | None, None, "steps between evaluations; null: ten in a run")
    add_option(group, "log_every", int, 20, "steps between two rows of the log")
    add_option(group, "checkpoint_every", int | None, None, "steps between checkpoints; null: at each evaluation")
    add_option(group, "stop_after", int | None, None, "stop after so many steps, with a checkpoint, for --resume")
    add_option(group, "snapshots", int, 0, "moments whose weights are kept in the folder snapshots")
    add_option(group, "self_check", bool, True, "watch the run and raise alarms, see selftrain.fit")


def resumed(line: Line, command: str) -> Line:
    """The line above the settings of the run that is to be resumed, or the line itself.

    Raises:
        UsageError: ``--resume`` without ``--out``.
        RunFolderError: no run there.
    """
    if not line.has("resume"):
        return line
    out = line.chosen("out", "out")
    if out is None:
        raise UsageError(f"--resume needs the run: selftrain {command} --resume --out RUN")
    return line.over(settings_in(out))


def check_same(settings: Mapping[str, Any], out: str, free: Collection[str] = ()) -> None:
    """Refuse to resume a run with other settings, but for those that are ``free``.

    Raises:
        UsageError: names what differs.
    """
    before, now = (_flat({k: v for k, v in s.items() if k not in free}) for s in (settings_in(out), settings))
    changed = [
        f"{key} was {before.get(key)}, is {now.get(key)}"
        for key in sorted(before.keys() | now.keys())
        if before.get(key) != now.get(key) and key.rpartition(".")[2] not in _MAY_CHANGE
    ]
    if changed:
        raise UsageError(f"{out} was started with other settings ({'; '.join(changed)}); leave them out, or say --out")


def stored(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that belong to the run and not to one call of the command."""
    return {key: value for key, value in settings.items() if key not in NOT_STORED}


def fit_options(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of ``selftrain.fit`` that are options by the same name."""
    names = ("eval_every", "log_every", "checkpoint_every", "stop_after", "snapshots", "self_check", "progress")
    return {name: settings[name] for name in names if name in settings}


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    rows: dict[str, Any] = {}
    for key, value in settings.items():
        plain = list(value) if isinstance(value, tuple) else value
        rows |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": plain}
    return rows
