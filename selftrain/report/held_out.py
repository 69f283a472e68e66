"""Held-out samples, asked once: what a run says of each, what its baseline says of the same, and the worst of them."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from torch import Tensor

from selftrain.metrics.intervals import clopper_pearson
from selftrain.strategy.base import Strategy, SupervisedStrategy
from selftrain.tensorboard.held_out import HeldOut, part_of, units
from selftrain.types import Annotated, Pile

PARTS = ("test", "validation")  # the first that there is judges: nothing was chosen on a test set
_TRIED, _FEWEST = 32, 64  # samples that are timed first, and those that are asked however slow a network is


@dataclass(frozen=True)
class Sample:
    """A held-out sample, with what is shown of it.

    Attributes:
        row: In its part.
        share: Of its units that is right.
        sure: Mean confidence.
        x, annotation, value: Plain input, truth and prediction.
    """

    row: int
    share: float
    sure: float
    x: Tensor
    annotation: Tensor
    value: Tensor


@dataclass(frozen=True)
class Judged:
    """What held-out samples tell of a run.

    Attributes:
        part: They are of.
        of: Samples that the part has.
        share: Share of the units of each asked sample that is right, (n,); those without a label are left out.
        sure: Mean confidence of each, (n,).
        units: Decisions about units (of masks an excerpt).
        baseline_share, baseline: The same of the labels alone, ``None`` where these weights are not known.
        worst: Samples that are most wrong, the surest first.
    """

    part: str
    of: int
    share: Tensor
    sure: Tensor
    units: HeldOut
    baseline_share: Tensor | None
    baseline: HeldOut | None
    worst: list[Sample]


def judge(
    strategy: SupervisedStrategy,
    baseline: Strategy | None,
    pile: Pile,
    *,
    samples: int,
    seconds: float | None,
    worst: int = 12,
) -> Judged | None:
    """Ask a strategy about held-out samples; ``None``: there are none with a label.

    Args:
        strategy: With the weights that are judged.
        baseline: Asked about the same samples; ``None``: nothing is.
        pile: The data.
        samples: Asked at most, evenly spaced.
        seconds: That this should take at most, by the time that the first samples take; ``None``: any.
        worst: Number of samples that are kept to be shown.
    """
    device = next(strategy.parameters()).device
    part = next((name for name in PARTS if pile.evaluation(name, 1, device) is not None), None)
    if part is None:
        return None
    if seconds is not None:
        first = next(iter(pile.evaluation(part, _TRIED, device) or ()))
        begun = time.perf_counter()
        _asked(strategy, baseline, first)
        each = (time.perf_counter() - begun) / len(first.index)
        samples = max(_FEWEST, min(samples, int(seconds / max(each, 1e-9))))
    rows, found, others, kept = [], [], [], list[Sample]()
    for batch in part_of(pile, part, device, samples):
        row, value, columns, other = _asked(strategy, baseline, batch)
        rows.append(row[~row[:, 0].isnan()])
        found.append(columns)
        others.append(other)
        # wrong ones first, among these the surest: they tell most of what was learned wrongly
        order = (row[:, 0] - 1e-3 * row[:, 1]).nan_to_num(2.0).argsort(stable=True)[:worst].tolist()
        kept += [
            Sample(int(batch.index[i]), *row[i, :2].tolist(), *(t[i].cpu() for t in (batch.x, batch.annotation, value)))
            for i in order
            if float(row[i, 0]) < 1
        ]
    both = torch.cat(rows) if rows else torch.zeros(0, 3)
    if not len(both):
        return None
    kept = sorted(kept, key=lambda sample: (sample.share, -sample.sure))[:worst]
    size = len(getattr(pile, part, None) or both) if hasattr(getattr(pile, part, None), "__len__") else len(both)
    known = baseline is not None
    return Judged(
        part, size, both[:, 0], both[:, 1], _joined(found), both[:, 2] if known else None,
        _joined(others) if known else None, kept,
    )  # fmt: skip


def mean_with_interval(values: Tensor, *, single: bool = False) -> tuple[float, float, float]:
    """Mean over samples and its 95 % interval.

    Args:
        values: Shares or differences of shares, (n,), n > 0.
        single: Whether each is right or wrong: the interval is exact then (Clopper & Pearson 1934), else Student's.
    """
    from scipy import stats

    count, mean = len(values), float(values.double().mean())
    if single:
        # each bound is one-sided: 97.5 % twice makes an interval of 95 %
        return (mean, *clopper_pearson(round(mean * count), count, 0.975))
    if count < 2:
        return mean, -1.0, 1.0
    half = float(values.double().std()) / count**0.5 * float(stats.t.ppf(0.975, count - 1))
    return mean, mean - half, mean + half


@torch.no_grad()
def _asked(
    strategy: SupervisedStrategy, baseline: Strategy | None, batch: Annotated
) -> tuple[Tensor, Tensor, list[Tensor], list[Tensor]]:
    """Share right (NaN: no label), confidence and share right of the baseline, (B, 3); predictions; units of both."""
    task = strategy.task
    target = task.encode(batch.annotation)
    columns, answers, found = list[Tensor](), list[Tensor](), list[list[Tensor]]()
    for each in (strategy, baseline):
        if each is None:
            columns.append(torch.full((len(batch.x),), float("nan")))
            found.append([])
            continue
        with each.evaluating():
            value = each.predict(batch.x)
        answers.append(value)
        right = task.agree(torch.stack([value, target.value, target.value]).float())[0]  # two of three are the truth
        counted = (target.mask() * target.weight > 0).float()
        columns.append(_mean(right * counted, counted).cpu())
        if each is strategy:
            columns.append(_mean(task.confidence(value) * counted, counted).clamp(0, 1).cpu())
        found.append(units(task, value, batch.annotation))
    return torch.stack(columns, 1), answers[0], found[0], found[1]


def _mean(values: Tensor, counted: Tensor) -> Tensor:
    """Mean over the units that count, (B,); NaN where there are none."""
    return values.float().flatten(1).sum(1) / counted.flatten(1).sum(1) if values.dim() > 1 else values / counted


def _joined(parts: list[list[Tensor]]) -> HeldOut:
    confidence, right, truth, said, *scores = (torch.cat(column) for column in zip(*parts, strict=True))
    return HeldOut(confidence, right.bool(), truth, said, scores[0] if scores else None)
