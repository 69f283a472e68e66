"""What pages for a person say of the quality of the labels: shares that are right, by threshold and class."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from selftrain.errors import setting
from selftrain.evaluation.accuracy_estimate import estimate_accuracy
from selftrain.evaluation.calibration import predictions
from selftrain.labels.ledger import Ledger
from selftrain.metrics.intervals import clopper_pearson
from selftrain.strategy.base import SupervisedStrategy
from selftrain.types import Pile

THRESHOLDS = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
_BINS, _BARS, _DRAWS = 10, 20, 200
Judgment = dict[str, Any]
Decisions = tuple[Tensor, Tensor, Tensor]  # confidence, class and whether it is right, each (N,)


def judged(strategy: SupervisedStrategy | None, pile: Pile, ledger: Ledger, part: object, seed: int = 0) -> Judgment:
    """Estimate how many labels are right, from what the strategy gets right on held-out labels.

    Each estimate is that of ``accuracy_estimate.estimate_accuracy`` with its 95 % interval: for the labels with at
    least some confidence, and for the accepted labels of each class from the held-out decisions for that class. Bins of
    the held-out confidence have exact 95 % intervals (Clopper & Pearson 1934).

    Args:
        strategy: With the weights that are judged; ``None``: no estimates.
        pile: The data.
        ledger: The pseudo-labels.
        part: Held-out labels.
        seed: Of the intervals.

    Returns:
        ``held_out`` (number of labels), ``why`` (no estimates; else ``None``), ``accepted``, ``thresholds``,
        ``classes``, ``bins`` and ``bars`` (histogram of the confidence of all labels: accepted ones and others).
    """
    held, why = _held_out(strategy, pile, part)
    seen = ledger.seen > 0
    sure, label, accepted = (c.cpu()[seen.cpu()] for c in (ledger.confidence, ledger.label, ledger.accepted))
    # rounding may lift a mean of probabilities above 1
    sure = sure.double().clamp(0, 1)
    thresholds = [
        {"at": at, "count": int((sure >= at).sum())} | _estimate(held, sure[sure >= at], seed) for at in THRESHOLDS
    ]
    return {
        "held_out": 0 if held is None else len(held[0]),
        "why": why,
        "accepted": {"count": int(accepted.sum())} | _estimate(held, sure[accepted], seed),
        "thresholds": [row for row in thresholds if row["count"]],
        "classes": [of_class(c, held, sure, label, accepted, seed) for c in range(len(ledger.classes))],
        "bins": [] if held is None else bins_of(held),
        "bars": {"accepted": bars_of(sure[accepted]), "others": bars_of(sure[~accepted])},
    }


def _held_out(strategy: SupervisedStrategy | None, pile: Pile, part: object) -> tuple[Decisions | None, str | None]:
    """Decisions about held-out samples; or why there are none."""
    if strategy is None:
        return None, "the page was written without the strategy of the run"
    if pile.evaluation(part, 1, torch.device("cpu")) is None:
        return None, f"there are no held-out labels; hold some back ({setting('validation')})"
    rows: list[Decisions] = []
    for value, target in predictions(strategy, pile, part):
        known = target.mask() > 0
        said = strategy.task.label(value)
        right = said == target.value.argmax(1)
        sure = strategy.task.confidence(value).double().clamp(0, 1)
        rows.append((sure[known].cpu(), said[known].cpu(), right[known].cpu()))
    if not sum(len(row[0]) for row in rows):
        return None, "no held-out sample has a label"
    confidence, label, correct = (torch.cat(column) for column in zip(*rows, strict=True))
    return (confidence, label, correct), None


def of_class(
    c: int, held: Decisions | None, sure: Tensor, label: Tensor, accepted: Tensor, seed: int, draws: int = _DRAWS
) -> Judgment:
    """Number of labels, of accepted and of held-out decisions for one class, and the estimate of the accepted."""
    # a network may be too sure of one class alone: decisions for others say nothing of it
    own = None if held is None else tuple(column[held[1] == c] for column in held)
    found = {"count": int((label == c).sum()), "accepted": int((accepted & (label == c)).sum())}
    found["held"] = 0 if own is None else len(own[0])
    return found | _estimate((own[0], own[1], own[2]) if own else None, sure[accepted & (label == c)], seed, draws)


def _estimate(held: Decisions | None, asked: Tensor, seed: int, draws: int = _DRAWS) -> Judgment:
    """``value``, ``low`` and ``high``, or nothing."""
    if held is None or not len(held[0]) or not len(asked):
        return {}
    e = estimate_accuracy(held[0], held[2].double(), asked, draws=draws, seed=seed)
    return {"value": e.value, "low": e.low, "high": e.high}


def bins_of(held: Decisions) -> list[Judgment]:
    """Held-out decisions by confidence: how many, how sure, how many right; empty bins are left out."""
    place = (held[0] * _BINS).long().clamp(max=_BINS - 1)
    found = []
    for i in place.unique().tolist():
        inside = place == i
        count, right = int(inside.sum()), int(held[2][inside].sum())
        # each bound is one-sided: 97.5 % twice makes an interval of 95 %
        low, high = clopper_pearson(right, count, 0.975)
        sure = float(held[0][inside].mean())
        found.append({"count": count, "confidence": sure, "value": right / count, "low": low, "high": high})
    return found


def bars_of(confidence: Tensor) -> list[int]:
    """Number of labels by confidence, in 20 bins from 0 to 1."""
    place = (confidence * _BARS).long().clamp(max=_BARS - 1)
    counts: list[int] = torch.bincount(place, minlength=_BARS).tolist()
    return counts
