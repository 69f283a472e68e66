"""The engine: time, data, evaluation, storage. It knows no method, no data set and no task by name.

Randomness: before each step the global generator is seeded by (seed, step), so that a run can be entered at any step
and continues bit for bit. The caller's random state is put back at the end. ``fit`` prepares what a
``selftrain.engine.session.Session`` then carries out.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import torch

from selftrain.engine.run import Run, evaluate, versions
from selftrain.engine.stage import Stage
from selftrain.errors import CheckpointError
from selftrain.handlers.baseline import LabelsOnly
from selftrain.handlers.snapshots import log_spaced
from selftrain.runtime import signals
from selftrain.runtime.distributed import Ranks, from_first, is_first, joined, joined_stream, own_device
from selftrain.runtime.rng import own_randomness
from selftrain.storage.checkpoint import load_newest
from selftrain.storage.lock import locked
from selftrain.storage.run_dir import CHECKPOINTS, has_begun
from selftrain.strategy.base import Strategy
from selftrain.tensorboard import Dashboard
from selftrain.types import BatchPlan, Pile

__all__ = ["Run", "evaluate", "fit", "versions"]


@signals.heeding()
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
    self_check: bool = True,
    baseline: bool = False,
    snapshots: int = 0,
    continue_from: Run | str | Path | None = None,
    progress: bool | None = None,
    dashboard: Dashboard | bool = True,
    ranks: Ranks | None = None,
    skip_limit: int = 10,
) -> Run:
    """Train a strategy on a pile.

    SIGTERM and SIGINT: the step or the batch of an evaluation is finished, the state stored, then the program ends with
    status 143 or 130; a second signal ends it at once. Only in the main thread, and only where the program has no
    handlers of its own; handlers are given back at the end.

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
        resume: Continue the run in ``out`` exactly where its newest checkpoint is, or from the start if there is none
            yet.
        overwrite: Replace the run in ``out``.
        stop_after: End after this many steps of the whole stage, with a checkpoint: the rest is for ``resume``. Leaves
            no mark in the log: rows and evaluations stay where they are without it.
        self_check: Watch the run and raise an alarm, at most once for each kind, where it does nothing or goes wrong:
            ``no_gradient``, ``collapse``, ``keeps_nothing``, ``keeps_everything``, ``teacher_worse``,
            ``features_collapsed`` and ``worse_than_supervised``. An alarm is a ``SelfTrainingWarning``, a text in the
            log and an entry of ``Run.alarms``. Costs up to three steps on a copy of the strategy; training is the same
            bit for bit.
        baseline: When the stage is finished, also train the supervised control (``selftrain.handlers.baseline``) from
            the same start, on the same labels, steps and plan, in the folder ``baseline`` inside ``out``, and compare.
        snapshots: Moments, evenly spaced on a logarithmic scale from a hundredth of the stage to its end, at which the
            run is evaluated and its export stored in the folder ``snapshots``: see ``select_snapshot``.
        continue_from: A run of the same method and network, or its folder, whose weights this one starts from: those of
            the student, of teachers, target encoders and predictors, and all thresholds and memories; optimizer,
            schedules and ledger start anew. Evaluated before the first step too, as ``Run.before``. For the same data
            give a small learning rate, a thirtieth to a hundredth of the first, and a short warm-up (DAP).
        progress: Whether to show a progress bar; ``None``: if standard error is a terminal.
        dashboard: What TensorBoard shows of a run with a folder beside its scalars: pictures, figures, curves,
            histograms, the projector; ``False``: nothing, ``Dashboard(...)``: how much of it. Training is the same bit
            for bit.
        ranks: How several processes work together, if ``torchrun`` has started some: sizes of ``plan`` are those of all
            together, and each process has its share of the rows (``selftrain.runtime.distributed``); ``None``:
            ``Ranks()``.
        skip_limit: Steps in a row that may be left out because a loss, a gradient or the output of a network is NaN or
            infinite, 0 or more. Such a step leaves nothing behind in weights, teachers, thresholds, label banks and
            ledger, and is counted (``Run.skipped``, ``train/skipped`` in the log).

    Returns:
        The run; its strategy is the one passed in.

    Raises:
        RunFolderError: if another run is at work in ``out``, if it holds a run and neither ``resume`` nor ``overwrite``
            is set, if the run to resume was started with other settings, or if the folder cannot be written.
        DataError: from the data, before training starts.
        RankError: if another process has stopped, does not answer, or was given other data or arguments.
        TrainingError: if more than ``skip_limit`` steps in a row were not finite, or if training the baseline changes
            the strategy.
        CheckpointError: if the weights of ``continue_from`` do not fit the strategy.
        ValueError: for a number of steps below 1, snapshots without a run folder, a monitored set named like the pile's
            own, or a baseline of a strategy that has no step on labels alone or cannot be copied.

    Warns:
        SelfTrainingWarning: the self-check found something wrong; the message says what to do.
    """
    _check_counts(log_every=log_every, eval_every=eval_every, checkpoint_every=checkpoint_every, stop_after=stop_after)
    if skip_limit < 0:
        raise ValueError(f"skip_limit is {skip_limit}; it must be 0 or more")
    if "validation" in (monitor or {}):
        raise ValueError("monitor holds a set named 'validation', which is the pile's own; give it another name")
    if snapshots and out is None:
        raise ValueError(f"snapshots is {snapshots} but there is no run folder to store them in; pass out=...")
    plan = plan or BatchPlan()
    where = own_device(torch.device(device) if device is not None else next(strategy.parameters()).device)
    strategy.to(where)
    folder = None if out is None else Path(out)
    with joined(ranks, where), ExitStack() as held:
        stream = joined_stream(pile, strategy.needs(), plan, where)
        for data in (monitor or {}).values():
            pile.evaluation(data, 1, where)  # complains of what cannot be evaluated before the training
        total = _total_steps(epochs, steps, stream.steps_per_epoch)
        held.enter_context(locked(folder if is_first() else None, create=not resume))
        begins = from_first(lambda: not (resume and has_begun(out)))
        if continue_from is not None and begins:
            take_over(strategy, continue_from)
        control = LabelsOnly(strategy) if baseline else None  # copied before it learns
        times = (log_every, eval_every or max(1, total // 10), checkpoint_every)
        stage = Stage(pile, plan, total, dict(monitor or {}), times, where, resume, overwrite)
        marks = {"baseline": baseline, "snapshots": snapshots, "continued": continue_from is not None}
        session = stage.open(strategy, stream, out, {k: v for k, v in marks.items() if v}, check=self_check)
        session.snapshots = log_spaced(total, snapshots)
        session.dashboard = (Dashboard() if dashboard else None) if isinstance(dashboard, bool) else dashboard
        beside = stage.again(begins).open_control(control, session)
        for one in filter(None, (session, beside)):
            one.progress, one.skipping.limit = progress, skip_limit
        end = total if stop_after is None else min(total, stop_after)
        with own_randomness(where), stage.board(session) as board:
            if continue_from is not None and session.start == 0:
                session.control(board)
            session.train(board, end)
            if beside is not None and end == total:
                stage.train_control(beside, strategy)
                session.compare(beside.run, board)
        return session.run


def take_over(strategy: Strategy, source: Run | str | Path) -> None:
    """Give a strategy the weights, thresholds and memories of a run, or of the newest checkpoint in a run folder.

    Raises:
        CheckpointError: if there are none, or they do not fit.
    """
    if isinstance(source, Run):
        state = source.strategy.state_dict()
    else:
        state = from_first(lambda: load_newest(Path(source) / CHECKPOINTS)["strategy"])
    own = strategy.state_dict()
    taken = {k: v for k, v in state.items() if not k.endswith("_extra_state")}  # optimizers start anew
    try:
        strategy.load_state_dict({k: v for k, v in own.items() if k.endswith("_extra_state")} | taken)
    except (RuntimeError, ValueError) as error:
        raise CheckpointError(
            f"the run to continue does not fit this {type(strategy).__name__}; build it with the same method, encoder "
            f"and sizes: {error}"
        ) from error


def _check_counts(**counts: int | None) -> None:
    for name, count in counts.items():
        if count is not None and count < 1:
            raise ValueError(f"{name} is {count}; it must be at least 1")


def _total_steps(epochs: int | None, steps: int | None, per_epoch: int) -> int:
    if epochs is not None and steps is not None:
        raise ValueError(f"give epochs ({epochs}) or steps ({steps}), not both")
    total = steps if steps is not None else (10 if epochs is None else epochs) * per_epoch
    if total < 1:
        raise ValueError(f"the run has {total} steps; epochs or steps must be at least 1")
    return total
