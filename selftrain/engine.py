"""The engine: time, data, evaluation, storage. It knows no method, no data set and no task by name.

Randomness: before each step the global generator is seeded by (seed, step), so that a run can be entered at any step
and continues bit for bit. The caller's random state is put back at the end.
"""

from __future__ import annotations

import json
import math
import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from tqdm import tqdm

from selftrain import checkpoint
from selftrain.board import Board
from selftrain.errors import CheckpointError
from selftrain.ledger import Ledger
from selftrain.runfolder import export_weights, prepare_folder
from selftrain.strategy import Strategy
from selftrain.types import Batch, BatchPlan, Clock, Pile, Report

Figures = dict[str, float]
_SHOWN = 32  # samples in a picture of pseudo-labels


@dataclass
class Run:
    """A finished (or stopped) stage.

    Attributes:
        strategy: With its last weights.
        ledger: Pseudo-labels of the unlabeled set.
        last: Figures of the last evaluation, by part: ``last["validation"]["accuracy"]``.
        best: Figures of the evaluation with the highest ``strategy.monitor`` on validation, and its ``step``;
            empty without a validation set.
        train: Means of the last logged training scalars.
        seconds: Wall time spent in training, evaluation included, over all resumptions.
        out: Run folder, or ``None``.
    """

    strategy: Strategy
    pile: Pile
    ledger: Ledger
    out: Path | None = None
    last: dict[str, Figures] = field(default_factory=dict)
    best: Figures = field(default_factory=dict)
    train: Figures = field(default_factory=dict)
    seconds: float = 0.0
    best_state: dict[str, Any] | None = None

    def evaluate(self, data: object = "test", *, which: Literal["last", "best"] = "last") -> Figures:
        """Figures on a part of the pile (``"test"``) or another data set, with the last or the best weights.

        Raises:
            ValueError: if the part is empty, or ``which="best"`` and there was no validation set.
        """
        if which not in ("last", "best"):
            raise ValueError(f"which is {which!r}; choose 'last' or 'best'")
        if which == "last":
            return evaluate(self.strategy, self.pile, data)
        if self.best_state is None:
            raise ValueError("there are no best weights: the pile has no validation set; use which='last'")
        last = {k: v.clone() if isinstance(v, Tensor) else v for k, v in self.strategy.state_dict().items()}
        self.strategy.load_state_dict(self.best_state)
        try:
            return evaluate(self.strategy, self.pile, data)
        finally:
            self.strategy.load_state_dict(last)

    def export(self) -> Mapping[str, Tensor]:
        """Weights to hand to the next stage, see ``learner(init_from=...)``."""
        return self.strategy.export()


def fit(
    strategy: Strategy,
    pile: Pile,
    *,
    out: str | Path | None = None,
    epochs: int | None = None,
    steps: int | None = None,
    plan: BatchPlan | None = None,
    monitor: Mapping[str, object] | None = None,
    eval_every: int | None = None,
    log_every: int = 20,
    checkpoint_every: int | None = None,
    device: torch.device | str | None = None,
    resume: bool = False,
    overwrite: bool = False,
    stop_after: int | None = None,
) -> Run:
    """Train a strategy on a pile.

    Args:
        strategy: The method with its students.
        pile: Labeled, unlabeled and, if there is one, validation data.
        out: Run folder for logs, checkpoints, pseudo-labels and weights; ``None``: nothing is stored.
        epochs: Passes over the unlabeled set; or
        steps: number of steps. One of the two; both ``None``: 10 epochs.
        plan: Batch sizes, seed, workers.
        monitor: Further data to evaluate on, by name (not ``"validation"``), for watching only: it never picks a
            checkpoint.
        eval_every: Steps between evaluations; ``None``: ten in a run.
        log_every: Steps between two rows of the log.
        checkpoint_every: Steps between checkpoints; ``None``: at each evaluation.
        device: Where to train; ``None``: where the strategy is.
        resume: Continue the run in ``out`` exactly where its newest checkpoint is.
        overwrite: Replace the run in ``out``.
        stop_after: End after this many steps of the whole stage, with a checkpoint: the rest is for ``resume``. Leaves
            no mark in the log: rows and evaluations stay where they are without it.

    Returns:
        The run; its strategy is the one passed in.

    Raises:
        RunFolderError: if ``out`` holds a run and neither ``resume`` nor ``overwrite`` is set, or if the run to resume
            was started with other settings.
        DataError: from the data, before training starts.
        TrainingError: if the loss is not finite.
        ValueError: for a number of steps below 1, or a monitored set named like the pile's own.
    """
    _check_counts(log_every=log_every, eval_every=eval_every, checkpoint_every=checkpoint_every, stop_after=stop_after)
    if "validation" in (monitor or {}):
        raise ValueError("monitor holds a set named 'validation', which is the pile's own; give it another name")
    plan = plan or BatchPlan()
    where = torch.device(device) if device is not None else next(strategy.parameters()).device
    strategy.to(where)
    stream = pile.stream(strategy.needs(), plan, where)
    for data in (monitor or {}).values():
        pile.evaluation(data, 1, where)  # complains of what cannot be evaluated before the training, not in its midst
    total = _total_steps(epochs, steps, stream.steps_per_epoch)
    settings = {"total_steps": total, "plan": asdict(plan) | {"workers": None}} | _settings(strategy)
    folder = prepare_folder(out, settings, resume=resume, overwrite=overwrite)
    run = Run(strategy, pile, Ledger(pile.unlabeled_ids(), pile.classes, pile.unlabeled_truth()).to(where), folder)
    session = _Session(run, plan, total, dict(monitor or {}), log_every, where)
    session.every = (eval_every or max(1, total // 10), checkpoint_every)
    start = session.restore() if resume else 0
    end = total if stop_after is None else min(total, stop_after)
    with _own_randomness(where), Board(folder, start if resume else None) as board:
        if not resume:
            board.text("settings", f"```\n{json.dumps(settings, indent=1)}\n```", 0)
        session.train(stream, board, start, end)
    return run


def evaluate(strategy: Strategy, pile: Pile, data: object = "test", *, batch_size: int = 500) -> Figures:
    """Figures of a strategy on a part of the pile (``"validation"``, ``"test"``) or on another data set.

    Raises:
        ValueError: if the part is empty.
    """
    device = next(strategy.parameters()).device
    batches = pile.evaluation(data, batch_size, device)
    if batches is None:
        raise ValueError(f"the pile has no samples in {data!r}; pass a data set or another part")
    was_training = strategy.training
    strategy.eval()
    try:
        return strategy.evaluate(batches, pile.evaluation("labeled", batch_size, device))
    finally:
        strategy.train(was_training)


@dataclass
class _Session:
    """One call of ``fit``: the loop and what it carries from step to step."""

    run: Run
    plan: BatchPlan
    total: int
    monitor: dict[str, object]
    log_every: int
    device: torch.device
    every: tuple[int, int | None] = (1, None)
    window: dict[str, Tensor] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    # -- the loop, from the outside in -----------------------------------------------------------------------------
    def train(self, stream: Any, board: Board, start: int, end: int) -> None:
        begun, per_epoch = time.perf_counter() - self.run.seconds, stream.steps_per_epoch
        with tqdm(total=self.total, initial=start, disable=None, unit="step") as bar:
            step = start
            while step < end:
                epoch, inside = divmod(step, per_epoch)
                for batches in stream.epoch(epoch, inside):
                    report = self.one_step(batches, Clock(step, epoch, self.total))
                    step += 1
                    if step % per_epoch == 0:
                        self.note(self.run.strategy.end_epoch(Clock(step, epoch, self.total)))
                    self.run.seconds = time.perf_counter() - begun
                    self.after(step, end, batches[0], report, board)
                    bar.update()
                    if step >= end:
                        break
        self.finish(step, board)

    def one_step(self, batches: Sequence[Batch], clock: Clock) -> Report:
        strategy = self.run.strategy
        _seed(_key(self.plan.seed, clock.step), self.device)
        strategy.train()
        for learner in strategy.learners():
            learner.pace(clock.progress)
        batch, *extra = batches
        if batch.unlabeled is None and strategy.views:
            report = strategy.step_labeled(batch, clock)
        else:
            report = strategy.step(batch, clock, *extra)
        self.note(report.scalars)
        self.note({"grad_norm": torch.stack([x.grad_norm for x in strategy.learners()]).mean()})
        if report.pseudo_labels is not None:
            self.note(self.run.ledger.write(report.pseudo_labels, strategy.task, clock.step))  # type: ignore[arg-type]
        return report

    def after(self, step: int, end: int, batch: Batch, report: Report, board: Board) -> None:
        eval_every, checkpoint_every = self.every
        if step % self.log_every == 0 or step == self.total:
            self.log(step, board)
        if step % eval_every == 0 or step == self.total:
            self.judge(step, board)
            self.show(step, batch, report, board)
        if step % (checkpoint_every or eval_every) == 0 or step == end:
            self.save(step)

    def finish(self, step: int, board: Board) -> None:
        run = self.run
        if run.out is None or step < self.total:
            return
        if bool((run.ledger.seen > 0).any()):
            run.ledger.to_csv(run.out / "pseudo_labels.csv")
        export_weights(run.export(), run.out)
        rows = {"last": run.last, "best": run.best, "train": run.train, "seconds": run.seconds}
        text = json.dumps(_finite(rows | {"ledger": run.ledger.summary(), "versions": versions()}), indent=1)
        (run.out / "summary.json").write_text(text, encoding="utf-8")

    # -- logging and evaluation ------------------------------------------------------------------------------------
    def note(self, values: Mapping[str, Tensor]) -> None:
        for name, value in values.items():
            value = value.detach().double()
            self.window[name] = self.window[name] + value if name in self.window else value
            self.counts[name] = self.counts.get(name, 0) + 1

    def log(self, step: int, board: Board) -> None:
        row = {name: float(total) / self.counts[name] for name, total in self.window.items()}
        rates = [group["lr"] for x in self.run.strategy.learners() for group in x.optimizer.param_groups[:1]]
        row = {f"train/{name}": v for name, v in (row | {"lr": rates[0]}).items()}
        self.run.train = self.run.train | row
        self.window, self.counts = {}, {}
        board.scalars(row, step)

    def judge(self, step: int, board: Board) -> None:
        run = self.run
        for name, data in ({part: part for part in run.strategy.judged_on} | self.monitor).items():
            if run.pile.evaluation(data, 1, self.device) is None:
                continue
            run.last[name] = evaluate(run.strategy, run.pile, data)
            board.scalars({f"{name}/{key}": v for key, v in run.last[name].items()}, step)
        board.scalars({f"ledger/{key}": v for key, v in run.ledger.summary().items()}, step)
        figure = run.last.get("validation", {}).get(run.strategy.monitor)
        if figure is not None and figure > run.best.get(run.strategy.monitor, float("-inf")):
            run.best = run.last["validation"] | {"step": step}
            run.best_state = {k: _copy(v) for k, v in run.strategy.state_dict().items()}

    def show(self, step: int, batch: Batch, report: Report, board: Board) -> None:
        for name, images in self.run.strategy.pictures(batch).items():
            board.pictures(name, images, step)
        if report.pseudo_labels is None or batch.unlabeled is None:
            return
        view = next(iter(batch.unlabeled.views.values())).x[:_SHOWN]
        if view.dim() == 4:
            index = batch.unlabeled.index[:_SHOWN]
            board.pictures("pseudo_labels", view, step, self.run.ledger.captions(index))

    # -- storage ---------------------------------------------------------------------------------------------------
    def save(self, step: int) -> None:
        run = self.run
        if run.out is None:
            return
        state = {
            "step": step,
            "strategy": run.strategy.state_dict(),
            "ledger": run.ledger.state_dict(),
            "window": self.window,
            "counts": self.counts,
            "last": run.last,
            "best": run.best,
            "best_state": run.best_state,
            "train": run.train,
            "seconds": run.seconds,
        }
        checkpoint.save(run.out / "checkpoints", state, step)

    def restore(self) -> int:
        run = self.run
        assert run.out is not None  # resume without a folder is refused before
        state = checkpoint.load_newest(run.out / "checkpoints", self.device)
        try:
            run.strategy.load_state_dict(state["strategy"])
            run.ledger.load_state_dict(state["ledger"])
        except (RuntimeError, ValueError, KeyError) as error:
            raise CheckpointError(
                f"the checkpoint in {run.out} does not fit this strategy and data: {error}"
            ) from error
        self.window, self.counts = state["window"], state["counts"]
        run.last, run.best, run.best_state = state["last"], state["best"], state["best_state"]
        run.train, run.seconds = state["train"], state["seconds"]
        return int(state["step"])


def versions() -> dict[str, str]:
    """Versions that a result depends on."""
    import numpy

    return {"python": platform.python_version(), "torch": torch.__version__, "numpy": numpy.__version__}


def _check_counts(**counts: int | None) -> None:
    for name, count in counts.items():
        if count is not None and count < 1:
            raise ValueError(f"{name} is {count}; it must be at least 1")


def _settings(strategy: Strategy) -> dict[str, Any]:
    """What the user chose, as far as numbers, text and switches say it: a run is resumed with the same only."""
    chosen = {
        f"{name}.{key}".lstrip("."): value
        for name, module in strategy.named_modules()
        for key, value in vars(module).items()
        if isinstance(value, (bool, int, float, str)) and not key.startswith("_") and key != "training"
    }
    rates = [learner.base_rates for learner in strategy.learners()]
    return {"strategy": type(strategy).__name__, "settings": chosen, "learning_rates": rates}


def _total_steps(epochs: int | None, steps: int | None, per_epoch: int) -> int:
    if epochs is not None and steps is not None:
        raise ValueError(f"give epochs ({epochs}) or steps ({steps}), not both")
    total = steps if steps is not None else (10 if epochs is None else epochs) * per_epoch
    if total < 1:
        raise ValueError(f"the run has {total} steps; epochs or steps must be at least 1")
    return total


def _key(seed: int, step: int) -> int:
    """A 63-bit seed for one step; neighbors in seed or step get unrelated keys."""
    mixed = (seed * 0x9E3779B97F4A7C15 + step * 0xBF58476D1CE4E5B9 + 0x94D049BB133111EB) & (2**64 - 1)
    mixed ^= mixed >> 31
    return (mixed * 0xD6E8FEB86659FD93 & (2**64 - 1)) >> 1


def _finite(value: Any) -> Any:
    """NaN and infinity as ``None``: JSON has no word for them."""
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _seed(key: int, device: torch.device) -> None:
    """Seed the generators a step draws from, and no other device's."""
    torch.default_generator.manual_seed(key)
    if device.type != "cpu":
        torch.get_device_module(device).manual_seed(key)


def _copy(value: Any) -> Any:
    import copy

    return value.clone() if isinstance(value, Tensor) else copy.deepcopy(value)


@contextmanager
def _own_randomness(device: torch.device) -> Iterator[None]:
    """Give the caller's random state back at the end."""
    devices = [] if device.type == "cpu" else [device]
    with torch.random.fork_rng(devices=devices, device_type="cuda" if device.type == "cpu" else device.type):
        yield
