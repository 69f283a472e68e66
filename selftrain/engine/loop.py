"""The loop: time, data, evaluation and storage of a run. It knows no method, data set, task or handler by name.

Randomness: before each step the global generator is seeded by (seed, step), so that a run can be entered at any step
and continues bit for bit. The caller's random state is put back at the end.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from selftrain import errors
from selftrain._compat import old_fit_keywords
from selftrain.engine.beside import copy_for_baseline, is_cheap, open_baseline, settle
from selftrain.engine.run import Run, evaluate
from selftrain.engine.speed import choose
from selftrain.engine.state import Setup, TrainState
from selftrain.engine.times import Checkpoints, Evaluation, total_steps
from selftrain.engine.watchers import with_defaults
from selftrain.errors import CheckpointError, NonFiniteError, TrainingError, UsageError, setting
from selftrain.handlers import Handler
from selftrain.networks.copying import copied
from selftrain.networks.foundation import foundation_in
from selftrain.networks.student import Learner, set_mode
from selftrain.runtime import signals
from selftrain.runtime.devices import fast_products, find_device
from selftrain.runtime.distributed import (
    any_rank,
    from_first,
    here,
    is_first,
    joined,
    joined_stream,
    keep_together,
    own_device,
    whole_batch,
)
from selftrain.runtime.finite import Watch, Weights, finite_step
from selftrain.runtime.rng import own_randomness, random_state, seed_step, set_random_state, step_key
from selftrain.storage.checkpoint import load_newest
from selftrain.storage.lock import locked
from selftrain.storage.run_dir import CHECKPOINTS, has_begun, versions
from selftrain.strategy.base import Strategy, SupervisedStrategy
from selftrain.types import Batch, BatchPlan, Clock, Needs, Pile, PseudoLabels, Report, plain_settings

__all__ = ["Run", "evaluate", "fit", "versions"]


@old_fit_keywords
@plain_settings
@signals.handle_signals()
def fit(
    strategy: Strategy,
    pile: Pile,
    *,
    out: str | Path | None = None,
    epochs: int | None = None,
    steps: int | None = None,
    plan: BatchPlan | None = None,
    evaluation: Evaluation | None = None,
    checkpoints: Checkpoints | None = None,
    handlers: Sequence[Handler] = (),
    device: torch.device | str | None = "auto",
    resume: bool = False,
    overwrite: bool = False,
    baseline: bool | None = False,
    continue_from: Run | str | Path | None = None,
) -> Run:
    """Train a strategy on a pile.

    SIGTERM and SIGINT: the step or the batch of an evaluation is finished, the state stored, then the program ends with
    status 143 or 130; a second signal ends it at once. Only in the main thread, and only where the program has no
    handlers of its own; handlers are given back at the end. Several processes that ``torchrun`` has started work
    together: see ``selftrain.runtime.distributed``.

    Args:
        strategy: The method with its students.
        pile: Labeled, unlabeled and, if there is one, validation data.
        out: Run folder for logs, checkpoints, pseudo-labels and weights; ``None``: nothing is stored.
        epochs: Passes over the unlabeled set; or
        steps: number of steps. One of the two; both ``None``: 10 epochs.
        plan: Batch sizes, seed, workers.
        evaluation: When the run is evaluated, on what beside the pile's own parts, and what an alarm does.
        checkpoints: When it is stored, and whether it stops before its end.
        handlers: What watches the run beside, or in place of, what does so anyway: ``NonFiniteGuard``,
            ``LedgerWriter``, ``SelfCheck``, ``MetricsLog``, ``TensorBoard``, ``DataSummary`` and ``Progress``; see
            ``selftrain.handlers``.
        device: Where to train: a name of torch, ``"gpu"`` for the accelerator, or ``"auto"`` for it where there is one,
            else the CPU; ``None``: where the strategy is.
        resume: Continue the run in ``out`` exactly where its newest checkpoint is, or from the start if there is none
            yet.
        overwrite: Replace the run in ``out``.
        baseline: When the stage is finished, also train the supervised baseline (``selftrain.handlers.baseline``) from
            the same start, on the same labels, steps and plan, in the folder ``baseline`` inside ``out``, and compare.
            ``None``: where its steps read less than a third of the rows that those of the run read.
        continue_from: A run of the same method and network, or its folder, whose weights this one starts from: those of
            the student, of teachers, target encoders and predictors, and all thresholds and memories; optimizer,
            schedules and ledger start anew. Evaluated before the first step too, as ``Run.before``. For the same data
            give a small learning rate, a thirtieth to a hundredth of the first, and a short warm-up (DAP).

    Returns:
        The run; its strategy is the one passed in.

    Raises:
        RunFolderError: if another run is at work in ``out``, if it holds a run and neither ``resume`` nor ``overwrite``
            is set, if the run to resume was started with other settings, or if the folder cannot be written.
        DataError: from the data, before training starts.
        RankError: if another process has stopped, does not answer, or was given other data or arguments.
        TrainingError: if more steps in a row than ``NonFiniteGuard`` allows were not finite, if training the
            baseline changes the strategy, or at an alarm (``Evaluation(on_alarm="stop")``).
        CheckpointError: if the weights of ``continue_from`` do not fit the strategy.
        UsageError: for a device that is not there.
        ValueError: for a number of steps below 1, a baseline of a strategy that has no step on labels alone or cannot
            be copied, or ``Training(speed="auto")`` of one that cannot be copied or among several processes.

    Warns:
        SelfTrainingWarning: the self-check found something wrong; the message says what to do.
    """
    plan, evaluation, checkpoints = plan or BatchPlan(), evaluation or Evaluation(), checkpoints or Checkpoints()
    on_alarm = evaluation.on_alarm
    where = own_device(next(strategy.parameters()).device if device is None else find_device(device))
    strategy.to(where)
    folder, watchers = None if out is None else Path(out), with_defaults(handlers)
    check_fit(strategy, pile, where)
    with joined(None, where), ExitStack() as held:
        labels, needs = pile.evaluation("labeled", 1, where) is not None, strategy.needs()
        if not labels and needs.encode is not None:
            needs = _needs_without_labels(strategy, trained=continue_from is not None, baseline=bool(baseline))
            baseline = False
        stream = joined_stream(pile, needs, plan, where)
        for data in evaluation.monitor.values():
            pile.evaluation(data, 1, where)  # complains of what cannot be evaluated before the training
        total = total_steps(epochs, steps, stream.steps_per_epoch)
        # Schedules read progress from the whole length: a stop in between must not change it.
        end = min(total, checkpoints.stop_after or total)
        held.enter_context(locked(folder if is_first() else None, create=not resume))
        begins = from_first(lambda: not (resume and has_begun(out)))
        if continue_from is not None and begins:
            take_over(strategy, continue_from)

        held.enter_context(fast_products(where))
        # Before all that copies the strategy or writes down what it computes in.
        formats = choose(strategy, stream, folder, total, plan.seed, where, again=resume)
        setup = Setup(pile, plan, total, evaluation, checkpoints, where, formats)
        # After `take_over`: the baseline starts from the weights that the run goes on from.
        wanted = is_cheap(strategy, pile, plan) if baseline is None else baseline
        maybe = wanted or (on_alarm == "fallback" and labels)
        copy, why_not = copy_for_baseline(strategy, maybe, asked=bool(baseline))
        wanted = wanted and copy is not None
        chosen = {"baseline": True} if wanted else {}
        for handler in watchers:
            chosen |= handler.settings()
        chosen |= {"continued": True} if continue_from is not None else {}
        claim = {"resume": resume, "overwrite": overwrite}
        state = setup.open(strategy, stream, folder, watchers, chosen, **claim)
        state.on_alarm, state.without_labels = on_alarm, needs.no_labels is not None
        beside = open_baseline(setup, state, copy, begins=begins, wanted=wanted, **claim)
        state.keeps_sound = on_alarm == "fallback" and beside is None
        held.enter_context(own_randomness(where))
        state.keep_start(continued=continue_from is not None)
        with state.handled():
            if why_not:
                state.unchecked["baseline"] = why_not
            if state.step == 0:
                _log_figures(state, state.before or {})
            with state.shared_out():
                train(state, end)
            if state.step >= total:
                # What falls back is not finished before: nobody may take its last weights for what it ships.
                if on_alarm != "fallback":
                    state.finish()
                settle(state, beside, train, wanted=wanted, asked=bool(baseline))
                if on_alarm == "fallback":
                    state.finish()
                stop_at_alarm(state)
        return state.run()


def stop_at_alarm(state: TrainState) -> None:
    """End a run that is to stop at an alarm, once there is one; what it has is stored.

    Raises:
        TrainingError: says which, and how to go on.
    """
    alarms = [alarm for alarm in state.alarms if alarm.harmful]
    if state.on_alarm != "stop" or not alarms:
        return
    if state.stored != state.step:
        state.save(state.step)
    warn = setting("on_alarm", "warn", of="")
    warn = warn if errors.as_options else f"evaluation=Evaluation({warn})"
    go_on = "" if state.out is None else f"; to go on as it is: {setting('resume', True, of='')}, {warn}"
    raise TrainingError(f"stopped at step {state.step} by the alarm {alarms[0].kind}: {alarms[0].text}{go_on}")


def check_fit(strategy: Strategy, pile: Pile, device: torch.device) -> None:
    """Try the networks on two plain samples of a part that there is.

    Raises:
        DataError: they do not fit one another.
    """
    for part in ("unlabeled", "labeled"):
        for batch in pile.evaluation(part, 2, device) or ():
            # A part of one sample twice: BatchNorm in training needs two.
            strategy.check_networks(batch.x[[0, -1]])
            strategy.input_shape = tuple(batch.x.shape[1:])
            _check_classes(strategy, pile)
            _check_normalized(strategy, pile)
            _check_domains(strategy, pile)
            return


def _needs_without_labels(strategy: Strategy, *, trained: bool, baseline: bool) -> Needs:
    """What a strategy needs of a pile without labels.

    Args:
        strategy: To be trained.
        trained: Whether it continues a run.
        baseline: Whether labels alone were to be trained, too.

    Raises:
        DataError: it cannot do without.
        UsageError: in several processes.
        ValueError: for a baseline.
    """
    if baseline:
        said = setting("baseline", True, of="")
        raise ValueError(f"{said} trains the labels alone, and no sample has one; leave it out")
    if not isinstance(strategy, SupervisedStrategy):
        return strategy.needs()  # the pile says what is missing
    if here() is not None:
        raise UsageError("data without labels are learned from in one process; leave torchrun out, or label some")
    for learner in strategy.learners() if trained else ():
        learner.trained = True
    return strategy.needs_without_labels()


def _check_classes(strategy: Strategy, pile: Pile) -> None:
    """Warn of a task that has not as many classes as the pile."""
    task, names = getattr(strategy, "task", None), pile.classes
    if task is not None and task.has_classes and names and task.groups != len(names):
        warnings.warn(
            f"the task has classes={task.groups}, and the pile {len(names)} ({', '.join(map(str, names[:10]))}); "
            f"build it as {type(task).__name__}({len(names)})",
            stacklevel=4,
        )


def _check_normalized(strategy: Strategy, pile: Pile) -> None:
    """Warn of inputs that are not normalized as a pretrained encoder has learned them."""
    own: dict[str, Any] = getattr(pile, "card", dict)()  # a pile of the user's own kind has none
    for encoder in [foundation_in(learner.model) for learner in strategy.learners()] if own else []:
        wanted = None if encoder is None or encoder.mean is None else encoder.card(own["shape"])
        if wanted and any(
            own[key] is None or not np.allclose(own[key], wanted[key], rtol=1e-3, atol=1e-3) for key in ("mean", "std")
        ):
            warnings.warn(
                f"inputs are normalized by mean {own['mean']} and std {own['std']}, and {encoder.name} has learned "  # type: ignore[union-attr]
                f"with {wanted['mean']} and {wanted['std']}; train on pile.normalized_as(encoder)",
                stacklevel=4,
            )
            return


def _check_domains(strategy: Strategy, pile: Pile) -> None:
    """Warn of BatchNorm that takes labeled and unlabeled samples of different domains in one pass."""
    said = getattr(pile, "shifted", "")  # a pile of the user's own kind has none
    # One that has no such setting makes one pass or several as its method says.
    if not said or getattr(strategy, "arguments", {}).get("together") is not True:
        return
    for learner in strategy.learners():
        if any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in learner.model.modules()):
            warnings.warn(
                f"{said}, and in one pass BatchNorm of {type(learner.model).__name__} has the statistics of a mixture, "
                f"which no sample to predict has; build {type(strategy).__name__} with "
                f"{setting('together', False, of='strategy')}",
                stacklevel=4,
            )
            return


def train(state: TrainState, end: int) -> None:
    """Take the steps from ``state.step`` to ``end``, and do what is due after each."""
    strategy, per_epoch = state.strategy, state.steps_per_epoch
    # But what learners note of themselves: fp16 leaves out a step whose gradient norm is infinite.
    modules = [(name, m) for name, m in strategy.named_modules() if not isinstance(m, Learner)]
    weights = Weights(modules, strategy.learners())
    begun = time.perf_counter() - state.seconds
    if state.due is not None:
        _make_up(state, end)
    seen = state.step  # steps that the handlers have seen
    stop_at_alarm(state)
    while state.step < end:
        # Entered in the midst of an epoch too: rows and views are keyed, so that no generator has to catch up.
        epoch = state.stream.epoch(*divmod(state.step, per_epoch))
        batches = next(epoch, None)
        while batches is not None:
            clock, state.batches = Clock(state.step, state.step // per_epoch, state.total), batches
            again = clock.step < seen  # taken once more after a failure: nobody may see it twice
            for handler in () if again else state.handlers:
                handler.before_step(clock.step + 1)
            batches, failed = None, None
            try:
                report, watch = take_step(strategy, weights, state.batches, clock, state)
                asked = time.perf_counter()
                try:
                    # Asked for before the host waits for the step: the device goes on with these views meanwhile.
                    batches = next(epoch, None) if clock.step + 1 < end else None
                except Exception as error:
                    failed = error  # raised once the step is done, whose own batch is whole
                state.waited = time.perf_counter() - asked
                watch.check()
            except NonFiniteError as error:
                # Its traces are in weights, thresholds and memories by now. But a run is exact wherever it is entered:
                # it goes on from an earlier state, and leaves this step out when it comes here again.
                seen, state.step = max(seen, clock.step), _go_back(state, clock.step + 1, error)
                break
            state.step += 1
            # Also when a step is taken again: what the end of an epoch changes was taken back with the rest.
            ended = strategy.end_epoch(replace(clock, step=state.step)) if state.step % per_epoch == 0 else {}
            if not again:
                # Before what is due: a checkpoint holds the seconds up to its own step.
                state.seconds = time.perf_counter() - begun
                _after_step(state, weights, report, ended, end)
            if failed is not None:
                raise failed


def take_step(
    strategy: Strategy, weights: Weights, batches: Sequence[Batch], clock: Clock, state: TrainState
) -> tuple[Report | None, Watch]:
    """The strategy's step, and what is to be checked of it; without a report it is left out."""
    seed_step(step_key(state.seed, clock.step), state.device)
    set_mode(strategy, True)
    # Before the rate is set, which may be what was not finite.
    if clock.step in state.left_out:
        return None, Watch()
    for learner in weights.learners:  # found once: that is a walk over all modules
        learner.set_lr(clock.progress)
    batch, *extra = batches
    with finite_step(weights, late=True) as watch:
        # A method that asks for no views has a step of its own that reads labels alone.
        if not batch.has_unlabeled and strategy.views:
            return strategy.step_labeled(batch, clock), watch
        return strategy.step(batch, clock, *extra), watch


def _go_back(state: TrainState, step: int, error: NonFiniteError) -> int:
    """Bring back an earlier state, if a handler has kept one; returns its step."""
    for handler in state.handlers:
        back = handler.after_failure(step, error)
        if back is not None:
            return back
    raise error


def _after_step(
    state: TrainState, weights: Weights, report: Report | None, ended: Mapping[str, Tensor], end: int
) -> None:
    """What is due once ``state.step`` steps are done: handlers, evaluation, checkpoint, a stop."""
    state.report = report
    if report is not None:
        state.accumulate(report.scalars)
        norms = [learner.grad_norm for learner in weights.learners]
        mean = norms[0] if len(norms) == 1 else torch.stack(norms).mean() if norms else None
        state.accumulate({} if mean is None else {"grad_norm": mean})
    state.accumulate(ended)
    for handler in state.handlers:
        handler.after_step(state.step, report)
    # Evaluated before it is stored: a run that goes on from here has the figures and the best weights.
    if state.evaluation_due(state.step):
        _evaluate(state)
    if state.step % state.checkpoint_every == 0 or state.step == end:
        state.save(state.step)
    for handler in state.handlers:
        handler.end_step(state.step)
    stop_at_alarm(state)
    # A signal stops the run between two steps, whichever rank has received it.
    if any_rank(signals.stop_requested()):
        if state.stored != state.step:
            state.save(state.step)
        any_rank(False)  # none leaves while the first one writes
        signals.stop()


def _evaluate(state: TrainState) -> None:
    """Evaluate; where a stop cuts that short, the state is stored with what it takes to evaluate anew."""
    # A probe may draw: an evaluation that is made up for must begin with this random state.
    random, report = random_state(state.device), state.report or Report({})
    keep_together(state.strategy)
    attributes = copied(state.attributes.state_dict())
    try:
        figures = state.evaluate()
    except signals.Stop:
        state.attributes.load_state_dict(attributes)  # a network may count its passes
        said = report.pseudo_labels
        state.due = {"random": random, "said": None if said is None else vars(said)}
        state.save(state.step)
        raise
    for batch in state.batches:
        whole_batch(batch)  # handlers of the first rank may look at it, where the others would not answer
    _log_figures(state, figures)
    state.keep_best()
    for handler in state.handlers:
        handler.after_evaluation(state.step, state.figures)
    state.keep_sound()


def _make_up(state: TrainState, end: int) -> None:
    """Do the evaluation of the last step that a stop cut short."""
    due, state.due = state.due, None
    assert due is not None
    # Handlers look at the batch of the step that was just done, which no checkpoint holds.
    state.batches = next(iter(state.stream.epoch(*divmod(state.step - 1, state.steps_per_epoch))))
    with state.fitting():
        set_random_state(due["random"], state.device)
        state.report = Report({}, None if due["said"] is None else PseudoLabels(**due["said"]))
    _evaluate(state)
    if state.step % state.checkpoint_every == 0 or state.step == end:
        state.save(state.step)


def _log_figures(state: TrainState, figures: dict[str, dict[str, float]]) -> None:
    for part, row in figures.items():
        state.log_scalars({f"{part}/{key}": value for key, value in row.items()}, state.step)


def take_over(strategy: Strategy, source: Run | str | Path) -> None:
    """Give a strategy the weights, thresholds and memories of a run, or of the newest checkpoint in a run folder.

    Raises:
        CheckpointError: if there are none, or they do not fit.
    """
    if isinstance(source, Run):
        state = source.strategy.state_dict()
    else:
        if not Path(source).is_dir():
            raise CheckpointError(f"there is no run in {source} to start from; give the folder of one, or a run")
        state = from_first(lambda: load_newest(Path(source) / CHECKPOINTS)["strategy"])
    own = strategy.state_dict()
    # An optimizer's state also holds the settings of the old stage, which would replace those of this one.
    anew = {f"{name}._extra_state" for name, m in strategy.named_modules() if isinstance(m, Learner)}
    try:
        taken = {k: v for k, v in state.items() if k not in anew}
        strategy.load_state_dict({k: v for k, v in own.items() if k in anew} | taken)
    except Exception as error:  # a state of another form raises any type of error
        raise CheckpointError(
            f"the run to continue does not fit this {type(strategy).__name__}; build it with the same method, encoder "
            f"and sizes: {error}"
        ) from error
