"""The supervised baseline beside a run: in a folder inside the run's, from the same start, trained after the run.

And what a run ships once both are there: its own weights, or, where an alarm speaks against them, what the evidence is
for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import torch

from selftrain.engine.run import Fallback, take_state
from selftrain.engine.spec import note_fallback
from selftrain.engine.state import Setup, TrainState
from selftrain.errors import TrainingError
from selftrain.evaluation.paired import clearly_worse
from selftrain.handlers.baseline import SupervisedBaseline
from selftrain.handlers.gradcheck import fingerprint, unchanged
from selftrain.labels.ledger import Ledger
from selftrain.metrics.significance import MARGIN
from selftrain.networks.copying import copied, copied_state
from selftrain.runtime import signals
from selftrain.runtime.distributed import from_first, joined_stream
from selftrain.storage.run_dir import has_begun, remove_run
from selftrain.strategy.base import Strategy, SupervisedStrategy
from selftrain.types import BatchPlan, Pile, PseudoLabels

BASELINE = "baseline"  # name of the folder


def is_cheap(strategy: Strategy, pile: Pile, plan: BatchPlan) -> bool:
    """Whether a step on labels alone reads less than a third of the rows that a step of the strategy reads."""
    needs = strategy.needs()
    if not len(pile.unlabeled_ids()):
        return False
    return 3 * plan.labeled < plan.labeled + plan.unlabeled * len(needs.views) * (1 + needs.extra_batches)


def copy_for_baseline(strategy: Strategy, wanted: bool, *, asked: bool) -> tuple[SupervisedBaseline | None, str | None]:
    """The untrained baseline of a strategy, if one is wanted, or why there can be none.

    Raises:
        ValueError: there can be none, and it was asked for.
    """
    if not wanted:
        return None, None
    try:
        return SupervisedBaseline(strategy), None
    except ValueError as error:
        if asked:
            raise
        return None, str(error)


def open_baseline(
    setup: Setup,
    state: TrainState,
    copy: SupervisedBaseline | None,
    *,
    begins: bool,
    wanted: bool,
    resume: bool,
    overwrite: bool,
) -> TrainState | None:
    """Make ready to train the baseline; ``None``: there is none to train.

    Args:
        setup: What it has in common with the run.
        state: Of the run.
        copy: The untrained baseline.
        begins: Whether the run begins, perhaps after one that got nowhere.
        wanted: Whether it will be trained for certain; else at an alarm only.
        resume: As the run.
        overwrite: As the run.
    """
    folder = None if state.out is None else state.out / BASELINE
    if copy is None:
        # Else the folder would show the baseline of the run that was replaced as that of this one.
        if (overwrite or (begins and resume)) and folder is not None:
            from_first(lambda: remove_run(folder))
        return None
    # Done before. Or the run was finished, or begun, without any: then nobody knows what it would have started from.
    stored = from_first(lambda: has_begun(folder))
    over = state.baseline is not None and (state.fallback is not None or state.on_alarm != "fallback")
    if over or (resume and not begins and not wanted and not stored):
        return None
    # The run got nowhere before, so that a baseline in the folder has the start of the attempt before.
    if begins and resume:
        resume, overwrite = False, True
    stream = joined_stream(setup.pile, copy.needs(), setup.plan, setup.device)
    # Handlers are not shared: each run needs counts, files and alarms of its own.
    handlers = [one for handler in state.handlers if (one := handler.for_baseline()) is not None]
    beside = setup.open(copy, stream, folder, handlers, {}, resume=resume, overwrite=overwrite)
    if not resume:
        beside.save(0)  # the strategy learns before the baseline does: a run that is resumed finds the start here
    return beside


def settle(
    state: TrainState,
    beside: TrainState | None,
    train: Callable[[TrainState, int], None],
    *,
    wanted: bool,
    asked: bool,
) -> None:
    """Hold a run that has taken its steps against its baseline, and let it fall back where it is to do so.

    Args:
        state: Of the run.
        beside: Of its baseline; ``None``: there is none, or it was trained before.
        train: Takes the steps of a run up to a number of them.
        wanted: Whether the baseline is trained in any case; else only to fall back to it.
        asked: Whether the user has asked for it.
    """
    done = False
    if beside is not None and ((wanted and state.baseline is None) or state.falls_back()):
        done = _compare(beside, state, train, asked=asked)
    elif beside is not None and beside.out is not None and state.baseline is None:
        from_first(lambda: remove_run(beside.out))  # type: ignore[arg-type]
    if state.falls_back():
        _fall_back(state, beside if done else None)
        done = True
    if done:
        # The run was stored with its last step; a resumed one must find that all this is done, too.
        state.save(state.total)
        state.summarize()


def _compare(beside: TrainState, state: TrainState, train: Callable[[TrainState, int], None], *, asked: bool) -> bool:
    """Train the baseline to the end and compare; the strategy that it was copied from must not notice."""
    # Where the user has not asked for it, a strategy that notices is no error, but brought back.
    kept = None if asked else copied_state(state.strategy)
    # `deepcopy` leaves functions as they are: a closure among the attributes leads back to the strategy.
    before = fingerprint(state.strategy)
    with beside.handled():
        train(beside, beside.total)
        beside.finish()
    if not unchanged(before, fingerprint(state.strategy)):
        text = (
            f"training the baseline changed {type(state.strategy).__name__} itself: a function among its attributes "
            "holds on to it; make it a method, or pass baseline=False (the checkpoint of the run is as it was)"
        )
        if kept is None:
            raise TrainingError(text)
        state.strategy.load_state_dict(kept)
        state.unchecked[BASELINE] = text
        return False
    known, state.baseline, state.control = state.baseline, beside.figures, beside.strategy
    if known is not None:  # compared before it was to fall back
        return True
    for name, figures in state.baseline.items():
        state.log_scalars({f"baseline/{name}/{key}": value for key, value in figures.items()}, state.total)
    for handler in state.handlers:
        handler.after_baseline(state.total, state.baseline)
    return True


def _fall_back(state: TrainState, beside: TrainState | None) -> None:
    """Ship what the evidence is for: the labels alone, unless figures on validation are clearly for other weights."""
    kinds, monitor, total = state.harmful(), state.strategy.monitor, state.total
    best = state.best.get(monitor)
    floor = None if beside is None else beside.figures.get("validation", {}).get(monitor)
    chosen: dict[str, Any] | None = None
    if best is not None and (beside is None or (floor is not None and _best_is_better(state, beside))):
        to, step, chosen = "best", int(state.best.get("step", total)), state.best_state
        what = f"its best weights on validation, of step {step} ({monitor} {best:.3f})"
    elif beside is not None:
        assert isinstance(beside.strategy, SupervisedBaseline)
        to, step, chosen = BASELINE, total, beside.strategy.method.state_dict()
        what = f"what the labels alone give in as many steps{'' if floor is None else f' ({monitor} {floor:.3f})'}"
    elif state.sound is not None:
        to, step, chosen = "sound", int(state.sound["step"]), state.sound["strategy"]
        what = f"its weights of step {step}, before anything spoke against them"
    if chosen is None:
        state.unchecked["fallback"] = (
            "there is no baseline, and no evaluation was sound; the run ships its last weights"
        )
        return
    # A copy: an optimizer takes over tensors as they are.
    what_fails = f"the weights of step {step} do not fit"
    take_state(state.strategy, copied(chosen), what_fails, "take the last ones: on_alarm='warn'")
    message = f"After the alarm {' and '.join(kinds)} the run ships {what} in place of its last weights."
    state.fallback = asdict(Fallback(to, step, kinds, message))
    if to == BASELINE and beside is not None:
        state.figures, state.best = dict(beside.figures), dict(beside.best)
        stored = beside.best_state
        state.best_state = None if stored is None else _without_prefix(stored)
    else:
        state.evaluate()
    _relabel(state)
    state.log_text("fallback", message, total)
    note_fallback(state.folder, state.fallback)


def _best_is_better(state: TrainState, beside: TrainState) -> bool:
    """Whether the best weights of a run, which it then has, are better than its baseline by more than noise."""
    strategy, floor = state.strategy, beside.figures["validation"][state.strategy.monitor]
    batches = state.pile.evaluation("validation", 500, state.device)
    if not isinstance(strategy, SupervisedStrategy) or batches is None:
        return False
    if state.best[strategy.monitor] - floor <= MARGIN:
        return False
    take_state(strategy, copied(state.best_state))
    with strategy.evaluating(), beside.strategy.evaluating():
        return clearly_worse(beside.strategy.predict, strategy.predict, strategy.task, batches)


def _without_prefix(stored: dict[str, Any]) -> dict[str, Any]:
    """A state of the baseline as one of the strategy that it is a copy of."""
    return {name.removeprefix("method."): value for name, value in stored.items()}


def _relabel(state: TrainState) -> None:
    """Enter into the ledger what is shipped now; its weights have learned from none of the rows as they stand there."""
    strategy, ledger = state.strategy, state.ledger
    batches = state.pile.evaluation("pile", 500, state.device)
    if not isinstance(strategy, SupervisedStrategy) or batches is None:
        return
    ledger.load_state_dict(Ledger(ledger.ids, ledger.classes).to(state.device).state_dict())
    at = 0
    with strategy.evaluating():
        for batch in batches:
            signals.check()
            value = strategy.predict(batch.x)
            index = torch.arange(at, at + len(value), device=state.device)
            weight = torch.zeros_like(strategy.task.confidence(value))
            ledger.write(PseudoLabels(index, value, weight, unmoved=True), strategy.task, state.total)
            at += len(value)
