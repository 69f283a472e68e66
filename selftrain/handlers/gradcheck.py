"""Whether unlabeled samples reach a network at all: one step on a copy of the strategy, with labels that weigh nothing.

What a strategy reports is not asked: a loss that is reported may be detached from the network, multiplied by zero or
never be added. The copy is thrown away; the strategy, its random numbers and its gradients stay as they are.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from selftrain.networks.copying import frozen_storages, is_frozen
from selftrain.networks.student import Learner
from selftrain.runtime.rng import own_randomness, seed_step
from selftrain.strategy.base import Strategy
from selftrain.types import Batch, Clock


class NotMeasured(Exception):
    """The step on a copy was not possible; the message says why."""


def unsupervised_grad_norm(
    strategy: Strategy, batches: Sequence[Batch], clock: Clock, key: int, device: torch.device
) -> float | None:
    """Norm of the gradient that a step sends to the learners when labeled targets weigh nothing.

    Args:
        strategy: Left as it is.
        batches: Batch of the step and those drawn ahead.
        clock: Moment that is told to the step; late in the stage, so that ramp-ups are up.
        key: Seed of the step's random numbers.
        device: Where the strategy is.

    Returns:
        The largest norm before clipping among all updates of all learners (virtual ones do not count); ``None`` if the
        step kept no unit or updated no learner.

    Raises:
        NotMeasured: if the strategy cannot be copied, if the step fails, or if a step of the copy changes the strategy
            itself (a function among its attributes may hold on to it); the strategy is then restored.
    """
    state, frozen = strategy.state_dict(), frozen_storages(strategy)
    saved = _copied(strategy, state, {id(value): value for value in state.values() if is_frozen(value, frozen)})
    before = fingerprint(strategy)
    norm: float | None = None
    problem: str | None = None
    try:
        norm = _step(_copied(strategy, strategy, {}), batches, clock, key, device)
    except NotMeasured:
        raise
    except Exception as error:  # whatever fails in a step that is only watched must not end the run
        problem = f"a step on a copy with labels that weigh nothing failed: {error!r}"
    if not unchanged(before, fingerprint(strategy)):
        _restore(strategy, saved, before)
        problem = "a step of its copy changes the strategy itself; a function among its attributes may hold on to it"
    if problem is not None:
        raise NotMeasured(problem)
    return norm


def _copied(strategy: Strategy, what: Any, shared: dict[int, Any]) -> Any:
    try:
        return copy.deepcopy(what, shared)
    except Exception as error:  # copying runs code of every part: any error may come out
        raise NotMeasured(f"{type(strategy).__name__} cannot be copied: {error!r}") from error


def _step(twin: Strategy, batches: Sequence[Batch], clock: Clock, key: int, device: torch.device) -> float | None:
    heard: list[Tensor] = []
    for learner in twin.learners():
        _listen(learner, heard)
    batch, *extra = [_without_labels(b) for b in batches]
    with own_randomness(device):
        seed_step(key, device)
        twin.train()
        report = twin.step(batch, clock, *extra)
    kept = report.pseudo_labels is not None and bool((report.pseudo_labels.weight > 0).any())
    # One update that hears is enough: of several networks, one may have been given no unit by its peer.
    return float(torch.stack([norm.float() for norm in heard]).amax()) if kept and heard else None


def _listen(learner: Learner, heard: list[Tensor]) -> None:
    """Let every update step at once, and write down its gradient norm (copies begin without gathered gradients)."""
    # While gradients gather, `grad_norm` is still that of an earlier step.
    learner.accumulate = 1
    update = learner.update

    def listening(loss: Tensor) -> bool:
        moved = update(loss)
        # A look ahead is taken back: its gradient moves no weight, and the real step may have none.
        if not learner._virtual:
            heard.append(learner.grad_norm)
        return moved

    learner.__dict__["update"] = listening


def _without_labels(batch: Batch) -> Batch:
    if not batch.has_labeled:
        return batch
    # Weighed by 0, not left out: BatchNorm statistics and random draws stay those of a real step.
    return batch.replace(labeled=replace(batch.labeled, target=batch.labeled.target.scaled(0.0)))


# -- is the strategy as it was? ----------------------------------------------------------------------------------------
Version = tuple[Tensor, int, "Tensor | None", int]


def fingerprint(strategy: Strategy) -> list[Version]:
    """Every tensor of the strategy and its gradient with their counts of changes in place."""
    # Weights that no step moves are shared with copies of the strategy, which read them anew from a state.
    frozen = {id(p) for x in strategy.learners() for p in x.frozen()}
    moments = [v for x in strategy.learners() for row in x.optimizer.state.values() for v in row.values()]
    weights = [p for p in strategy.parameters() if id(p) not in frozen]
    tensors = [*weights, *strategy.buffers(), *(m for m in moments if isinstance(m, Tensor))]
    return [(t, _changes(t), t.grad, _changes(t.grad)) for t in tensors]


def _changes(tensor: Tensor | None) -> int:
    """How often a tensor was changed in place; tensors made in inference mode do not count it."""
    # Counting changes needs no copy of the values, and no wait for the device.
    return 0 if tensor is None or tensor.is_inference() else tensor._version


def unchanged(first: list[Version], second: list[Version]) -> bool:
    """Whether between two fingerprints no tensor was replaced or changed in place."""
    return len(first) == len(second) and all(
        a[0] is b[0] and a[1] == b[1] and a[2] is b[2] and a[3] == b[3] for a, b in zip(first, second, strict=True)
    )


def _restore(strategy: Strategy, saved: dict[str, Any], before: list[Version]) -> None:
    for tensor, _, grad, _ in before:
        tensor.grad = grad
    strategy.load_state_dict(saved)
