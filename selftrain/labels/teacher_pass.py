"""One pass of a frozen teacher: over the unlabeled set for its labels, over the validation set to judge them."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from selftrain.errors import DataError
from selftrain.labels.table import PseudoLabelTable
from selftrain.runtime import signals
from selftrain.strategy.base import Strategy
from selftrain.tasks import Task
from selftrain.types import Annotated, Pile, plain_settings


@plain_settings
def label_pile(
    strategy: Strategy, pile: Pile, *, batch_size: int = 500, dtype: torch.dtype = torch.float32
) -> PseudoLabelTable:
    """Let what a strategy ships label every unlabeled sample, by its plain view, in one pass.

    Annotations are never read. The strategy is in evaluation mode meanwhile and then as before.

    Args:
        strategy: The frozen teacher.
        pile: Whose unlabeled rows are labeled, in order.
        batch_size: Samples predicted at a time, at least 1.
        dtype: Of the stored values: ``torch.float32``, or ``torch.float16`` for half the memory. Confidences are those
            of the unrounded predictions.

    Returns:
        A table of weight 1 on the CPU.

    Raises:
        DataError: if the pile has no unlabeled samples.
        ValueError: if the strategy predicts features instead of targets, or a prediction is not finite.
    """
    task: Task | None = getattr(strategy, "task", None)
    if task is None:
        raise ValueError(f"{type(strategy).__name__} predicts no targets; label with a strategy that was given a task")
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}; it must be at least 1")
    # `pile` is every row in order, `unlabeled` only an excerpt
    batches = pile.evaluation("pile", batch_size, next(strategy.parameters()).device)
    if batches is None:
        raise DataError("the pile has no unlabeled samples to label; give it some, or train on labels alone")
    with strategy.evaluating(), torch.no_grad():
        value, confidence = _predictions(strategy, task, batches, len(pile.unlabeled_ids()), dtype)
    return PseudoLabelTable(task, value, confidence=confidence)


def figure_above(strategy: Strategy, pile: Pile, floor: float, *, batch_size: int = 500) -> float | None:
    """The task's main figure on validation units that the strategy is at least ``floor`` sure of, in [0, 1].

    With ``floor`` of a table it estimates how often kept labels are right, without their truth: a class-wise cut above
    the floor is not seen. ``None`` without a validation set, or if no unit of it is that sure.
    """
    task: Task | None = getattr(strategy, "task", None)
    batches = pile.evaluation("validation", batch_size, next(strategy.parameters()).device)
    if task is None or batches is None:
        return None
    tally, counted = None, False
    with strategy.evaluating(), torch.no_grad():
        for batch in batches:
            signals.check()
            value, target = strategy.predict(batch.x), task.encode(batch.annotation)
            sure = task.confidence(value) >= floor
            counted = counted or bool((sure & (target.mask() * target.weight > 0)).any())
            # by weight, not by leaving rows out: of a mask some pixels are sure and others are not
            part = task.update(value, target.scaled(sure.to(target.weight)))
            tally = part if tally is None else tally + part
    # a tally of nothing computes to 0, which would read as never right
    return float(task.compute(tally)[task.monitor]) if tally is not None and counted else None


def _predictions(
    strategy: Strategy, task: Task, batches: Iterable[Annotated], rows: int, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Predictions and confidences of all batches on the CPU, written where they stay: no second copy of the table."""
    value, confidence, at = torch.empty(0), torch.empty(0), 0
    for batch in batches:
        signals.check()
        seen = strategy.predict(batch.x)
        # of the unrounded prediction: half precision would move rows across a threshold
        sure = task.confidence(seen)
        if not at:
            value, confidence = torch.empty(rows, *seen.shape[1:], dtype=dtype), torch.empty(rows, *sure.shape[1:])
        value[at : at + len(seen)], confidence[at : at + len(seen)] = seen.to(dtype), sure.float()
        at += len(seen)
    if at != rows:
        raise DataError(f"the pile shows {at} samples to label and names {rows}; its parts must have the same rows")
    return value, confidence
