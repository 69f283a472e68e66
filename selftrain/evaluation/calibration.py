"""How far confidence can be believed: temperature scaling, and thresholds that keep a promised precision.

Everything here is learned from held-out labels, which no network was trained on.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from selftrain.errors import setting
from selftrain.metrics.calibration_error import expected_calibration_error
from selftrain.metrics.intervals import Numbers, check_rate, checked_decisions, clopper_pearson, upper_tail
from selftrain.runtime import signals
from selftrain.strategy.base import SupervisedStrategy
from selftrain.types import Pile, Target

_COLDEST, _HOTTEST = 0.05, 20.0  # temperatures that are tried
_FOLDS = 5  # of the samples that a temperature is fitted to and judged on
_UNITS = 10_000  # of one sample, evenly spaced; a mask has more than it takes to fit one number
_BATCH = 500
_SCAN = 4096  # thresholds that are tested at once
_GAP = 1e-4  # of the way from the precision to 1, above which it is told how many labels would do


@dataclass(frozen=True)
class Calibration:
    """What temperature scaling does to labeled samples.

    Attributes:
        temperature: The fitted T; above 1: the strategy was too sure.
        error_before: Expected calibration error of the probabilities as they are, in [0, 1].
        error_after: The same after scaling with temperatures that were fitted to other samples; ``None``: there are
            none.
        samples: Number of units (samples or pixels) these figures are from.
    """

    temperature: float
    error_before: float
    error_after: float | None
    samples: int


@dataclass(frozen=True)
class Threshold:
    """A confidence from which on decisions are as precise as asked for; see ``threshold_for_precision``.

    Attributes:
        threshold: Decisions with at least this confidence are accepted.
        estimate: Share of them that was right on the held-out labels.
        low, high: One-sided confidence bounds of that share, each at ``level``.
        count: Held-out decisions accepted.
        coverage: Their share of all held-out decisions.
    """

    threshold: float
    estimate: float
    low: float
    high: float
    count: int
    coverage: float


def apply_temperature(value: Tensor, temperature: float) -> Tensor:
    """Soften (T > 1) or sharpen (T < 1) probabilities: ``p^(1/T)``, normalized over axis 1.

    The same as dividing logits by T. Decisions stay as they are.

    Args:
        value: Probabilities, shape (B, C, *S).
        temperature: T > 0.
    Gradient: to ``value``.

    Raises:
        ValueError: for a temperature that is not above 0.
    """
    if not temperature > 0:
        raise ValueError(f"temperature is {temperature}; it must be above 0")
    return _logs(value).div(temperature).softmax(1)


@torch.no_grad()
def fit_temperature(value: Tensor, target_class: Tensor) -> float:
    """Find the T for which ``p^(1/T)`` gives held-out labels the highest likelihood.

    Source: Guo et al., "On Calibration of Modern Neural Networks", 2017, arXiv:1706.04599, section 4.2. Differs: takes
    probabilities (softmax forgets a constant only, so the optimum is the same) and keeps T in [0.05, 20]: where all
    decisions are right the likelihood has no maximum.

    Args:
        value: Probabilities, shape (N, C), N >= 1, C >= 2.
        target_class: Right classes, shape (N,).

    Raises:
        ValueError: for other shapes, classes outside [0, C) or values that are no probabilities.
    """
    from scipy.optimize import minimize_scalar

    value, target_class = value.cpu().double(), target_class.cpu()
    _check_shapes(value, target_class)
    low, high = int(target_class.min()), int(target_class.max())
    if low < 0 or high >= value.shape[1]:
        wrong = low if low < 0 else high
        raise ValueError(f"class {wrong} is outside 0..{value.shape[1] - 1}; leave out what has no label")
    _check_probabilities(value)
    logs, classes = _logs(value), target_class.long()

    # convex in 1/T, so there is one minimum; on its logarithm steps are as fine for cold as for hot
    def cost(log_inverse: float) -> float:
        return float(F.cross_entropy(math.exp(log_inverse) * logs, classes))

    bounds = -math.log(_HOTTEST), -math.log(_COLDEST)
    found = minimize_scalar(cost, bounds=bounds, method="bounded", options={"xatol": 1e-9, "maxiter": 200})
    # equal probabilities cost the same at any temperature: they stay as they are
    return math.exp(-found.x) if found.fun < cost(0.0) else 1.0


def calibrate(strategy: SupervisedStrategy, pile: Pile, part: object = "validation") -> Calibration:
    """Fit a temperature to what a strategy ships, on held-out labels, and judge it.

    ``temperature`` is fitted to all of them. ``error_after`` is cross-fitted, as a temperature that is judged on the
    labels it was fitted to looks better than it is: the samples are dealt out to five folds (fewer samples: one each),
    which have the same share of each class as far as the numbers allow, and each fold is scaled with the temperature
    of the others. No draw is involved. Of few samples both errors are too high: a bin's gap has the noise of its size.

    For masks the units are pixels, at most 10,000 evenly spaced ones of each image, void ones left out; an image is in
    one fold as a whole, with its most frequent class.

    Args:
        strategy: A trained strategy whose outputs are classes.
        pile: The data.
        part: A part of the pile that no network was trained on, or another data set.

    Raises:
        ValueError: if outputs are no classes (keypoints), or the part is empty.
    """
    task = getattr(strategy, "task", None)
    if task is None or not task.has_classes:
        kind = type(strategy if task is None else task).__name__
        raise ValueError(f"{kind} has no class probabilities to calibrate; use Classification or Segmentation")
    values, classes = [], []  # of the units of each sample
    for value, target in predictions(strategy, pile, part):
        for one, right, valid in zip(value, target.value, target.mask() > 0, strict=True):
            units = torch.nonzero(valid.flatten()).squeeze(1)
            units = units[:: max(1, -(-len(units) // _UNITS))]
            # (C, *S) -> (units, C)
            values.append((one.flatten(1).T[units] if one.dim() > 1 else one[None][units]).cpu())
            classes.append(right.argmax(0).flatten()[units].cpu())
    value, target_class = torch.cat(values), torch.cat(classes)
    temperature, fold = fit_temperature(value, target_class), _folds(classes)
    after, scaled = None, torch.empty_like(value, dtype=torch.double)
    # a single sample has no others to fit a temperature to
    if len(fold.unique()) > 1:
        for here in (fold == number for number in fold.unique()):
            others = fit_temperature(value[~here], target_class[~here])
            scaled[here] = apply_temperature(value[here].double(), others)
        after = _error(scaled, target_class)
    return Calibration(temperature, _error(value, target_class), after, len(value))


def calibration_at(value: Tensor, target_class: Tensor, temperature: float) -> Calibration:
    """Judge a temperature on labels that it was not fitted to.

    Args:
        value: Probabilities, shape (N, C), N >= 1, C >= 2.
        target_class: Right classes, shape (N,); where one is outside [0, C), no decision is right.
        temperature: T > 0, from ``calibrate`` or ``fit_temperature``.

    Raises:
        ValueError: for other shapes, values that are no probabilities, or T not above 0.
    """
    value, target_class = value.cpu().double(), target_class.cpu()
    _check_shapes(value, target_class)
    _check_probabilities(value)
    scaled = apply_temperature(value, temperature)
    return Calibration(temperature, _error(value, target_class), _error(scaled, target_class), len(value))


def predictions(strategy: SupervisedStrategy, pile: Pile, part: object) -> Iterator[tuple[Tensor, Target]]:
    """What a strategy ships for an annotated part, batch by batch: values (B, C, *S) and encoded targets.

    The strategy is in evaluation mode meanwhile.

    Raises:
        ValueError: if the part is empty.
    """
    device = next(strategy.parameters()).device
    batches = pile.evaluation(part, _BATCH, device)
    if batches is None:
        raise ValueError(
            f"the pile has no samples in {part!r}; hold labels back ({setting('validation')}) or pass a set"
        )
    with strategy.evaluating():
        for batch in batches:
            signals.check()
            yield strategy.predict(batch.x), strategy.task.encode(batch.annotation)


def threshold_for_precision(confidence: Tensor, correct: Tensor, precision: float, *, level: float = 0.95) -> Threshold:
    """Find the smallest threshold whose accepted decisions are surely precise enough.

    A threshold passes when the lower Clopper-Pearson bound of the precision of the held-out decisions it accepts
    (Clopper & Pearson 1934, one-sided: exact, never too high in more than ``1 - level`` of all draws of labels) is at
    least ``precision``. That holds for each threshold alone. Taking the smallest that passes keeps to it where
    confidence orders the decisions; where it says nothing of them, one of many thresholds passes by chance more often.

    Args:
        confidence: Confidence of each held-out decision, shape (N,), in [0, 1].
        correct: Whether it was right, shape (N,), bool.
        precision: Share that must be right, in (0, 1).
        level: Confidence of the bounds, in (0, 1).

    Raises:
        ValueError: if no threshold passes, saying about how many labels it takes; for other shapes or ranges.
    """
    check_rate("precision", precision)
    check_rate("level", level)
    sure, right = checked_decisions(confidence, correct)
    if not np.isin(right, (0, 1)).all():
        raise ValueError("correct holds shares; give one right or wrong decision a row, such as pixels one by one")
    # every threshold that matters is one of the confidences: walk them from the surest down
    order = np.argsort(-sure, kind="stable")
    last = np.append(np.flatnonzero(np.diff(sure[order])), len(sure) - 1)  # where the next confidence is lower
    hits, counts = np.cumsum(right[order])[last], (last + 1).astype(np.float64)
    # cheap first: the exact tail is only asked where it can pass at all
    likely = np.flatnonzero(hits > precision * counts)  # below the bound is below the share
    # from the lowest threshold up: the first that passes is the answer
    for end in range(len(likely), 0, -_SCAN):
        block = likely[max(0, end - _SCAN) : end]
        passes = upper_tail(hits[block], counts[block], precision) <= 1 - level
        if passes.any():
            i = block[passes][-1]
            low, high = clopper_pearson(int(hits[i]), int(counts[i]), level)
            share = float(hits[i] / counts[i])
            return Threshold(
                float(sure[order][last[i]]), share, low, high, int(counts[i]), float(counts[i] / len(sure))
            )
    raise ValueError(_not_reached(hits, counts, precision, level))


def _not_reached(hits: Numbers, counts: Numbers, precision: float, level: float) -> str:
    """Why no threshold passes, and how many labels would do."""
    total, share = counts[-1], hits / counts
    # n right ones of n pass where precision^n is at most 1 - level
    least = math.ceil(math.log(1 - level) / math.log(precision))
    head = f"no threshold reaches precision {precision:g} at level {level:g} with {total:.0f} held-out labels"
    # More labels help only where the share lies above the precision, and by so much that their number can be told.
    above = np.flatnonzero(share - precision > _GAP * (1 - precision))
    if not len(above):
        best = int(np.argmax(share))
        return (
            f"{head}: at best {share[best]:.1%} of the accepted are right; lower the precision or improve the strategy "
            f"(even without an error at least {least} accepted labels are needed)"
        )
    # the normal bound is near enough to choose among thresholds; what is told is found exactly
    spread = NormalDist().inv_cdf(level) ** 2 * share * (1 - share)
    labels = np.maximum(least, spread[above] / (share[above] - precision) ** 2) / counts[above]
    best = int(above[np.argmin(labels)])
    needed = _needed(float(share[best]), precision, level)
    return (
        f"{head}: if {share[best]:.1%} of the {counts[best]:.0f} most confident stay right, about "
        f"{math.ceil(needed * total / counts[best])} held-out labels are needed, {needed} of them accepted "
        f"(at least {least} without an error); label more, or lower precision or level"
    )


def _needed(share: float, precision: float, level: float) -> int:
    """Decisions it takes for the lower bound of a share to reach the precision below it."""
    # doubled, then halved: there is no closed form, and share * n may be between two whole numbers
    low, high = 1, 2
    while upper_tail(np.array([share * high]), np.array([float(high)]), precision)[0] > 1 - level:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        passes = upper_tail(np.array([share * middle]), np.array([float(middle)]), precision)[0] <= 1 - level
        low, high = (low, middle) if passes else (middle, high)
    return high


def _logs(value: Tensor) -> Tensor:
    # a probability of 0 in float32 has lost its logit; it may not become minus infinity
    return value.clamp(min=1e-12).log()


def _folds(classes: Sequence[Tensor]) -> Tensor:
    """Fold of each unit, shape (N,), from the classes of the units of each sample: by sample, even over the classes."""
    sizes = torch.tensor([len(units) for units in classes])
    # an image is dealt out by its most frequent class, as it can be in one fold only
    kinds = torch.tensor([int(units.mode().values) if len(units) else -1 for units in classes])
    # samples without a label would take places, and the folds of the others would be uneven
    there = torch.nonzero(sizes).squeeze(1)
    # dealt out in the order of the classes: each fold gets its part of every class without a draw
    order = there[torch.argsort(kinds[there], stable=True)]
    folds = torch.zeros_like(sizes)
    folds[order] = torch.arange(len(order)) % _FOLDS
    # whole samples: pixels of one image are alike, and some would give the others away
    return folds.repeat_interleave(sizes)


def _error(value: Tensor, target_class: Tensor) -> float:
    confidence, label = value.max(1)
    return expected_calibration_error(confidence, label == target_class)


def _check_shapes(value: Tensor, target_class: Tensor) -> None:
    if value.dim() != 2 or not len(value) or value.shape[1] < 2 or target_class.shape != value.shape[:1]:
        shapes = tuple(value.shape), tuple(target_class.shape)
        raise ValueError(f"values have shape {shapes[0]} and classes {shapes[1]}; they must be (N, C) and (N,), N >= 1")


def _check_probabilities(value: Tensor) -> None:
    gap = float((value.sum(1) - 1).abs().max())
    # turned around, so that NaN is refused
    if not (gap < 1e-2 and float(value.min()) >= 0):
        raise ValueError(f"values run from {float(value.min()):g} and sum to 1 up to {gap:g}; pass probabilities")
