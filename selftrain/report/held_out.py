"""Held-out samples, asked once: what a run says of each, what its baseline says of the same, and the worst of them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from selftrain.metrics.intervals import clopper_pearson
from selftrain.strategy.base import Strategy, SupervisedStrategy
from selftrain.tasks import Task
from selftrain.tensorboard.held_out import HeldOut, part_of, units
from selftrain.types import Annotated, Pile, Target

PARTS = ("test", "validation")  # the first that there is judges: nothing was chosen on a test set
NEAR = 0.05  # shares of the picture's longer side, of PCK
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
        tally, baseline_tally: Of masks pixels that are right, truly of each class, and said to be of it, (3, C); of
            joints those nearer than ``NEAR``, those known, and their summed distance, in shares of the picture's longer
            side, (3, K). ``None``: a sample is one unit.
    """

    part: str
    of: int
    share: Tensor
    sure: Tensor
    units: HeldOut
    baseline_share: Tensor | None
    baseline: HeldOut | None
    worst: list[Sample]
    tally: Tensor | None = None
    baseline_tally: Tensor | None = None


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
    rows, found, others, kept, tallies = [], [], [], list[Sample](), list[list[Tensor]]()
    for batch in part_of(pile, part, device, samples):
        row, value, columns, other, counts = _asked(strategy, baseline, batch)
        tallies.append(counts)
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
    own, alone, *_ = (*(torch.stack(tally).sum(0) for tally in zip(*tallies, strict=True)), None, None)
    return Judged(
        part, size, both[:, 0], both[:, 1], _joined(found), both[:, 2] if known else None,
        _joined(others) if known else None, kept, own, alone,
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
) -> tuple[Tensor, Tensor, list[Tensor], list[Tensor], list[Tensor]]:
    """Share right (NaN: no label), confidence and share right of the baseline, (B, 3); predictions; units of both.

    Last come the tallies of masks or joints, see ``Judged``.
    """
    task = strategy.task
    target = task.encode(batch.annotation)
    columns, answers, found, tallies = list[Tensor](), list[Tensor](), list[list[Tensor]](), list[Tensor]()
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
        if not task.one_unit and hasattr(task, "units"):  # a task of the user's own may have none
            tallies.append(_tally(task, value, target, batch.x.shape[-2:]))
    return torch.stack(columns, 1), answers[0], found[0], found[1], tallies


def _tally(task: Task, value: Tensor, target: Target, size: Sequence[int]) -> Tensor:
    if task.has_classes:
        return task.update(value, target).double().cpu()
    known, sure = target.mask() * target.weight > 0, task.confidence(value)
    sides = value.new_tensor([size[1], size[0]]) / max(size)
    found, there = (task.units(one, sure, known)[..., 3:] * sides for one in (value, target.value))
    gap = (found - there).norm(dim=2) * known
    return torch.stack([((gap < NEAR) & known).sum(0), known.sum(0), gap.sum(0)]).double().cpu()


def _mean(values: Tensor, counted: Tensor) -> Tensor:
    """Mean over the units that count, (B,); NaN where there are none."""
    return values.float().flatten(1).sum(1) / counted.flatten(1).sum(1) if values.dim() > 1 else values / counted


def _joined(parts: list[list[Tensor]]) -> HeldOut:
    confidence, right, truth, said, *scores = (torch.cat(column) for column in zip(*parts, strict=True))
    return HeldOut(confidence, right.bool(), truth, said, scores[0] if scores else None)
