"""Whether one predictor is worse than another on the same held-out samples, by more than noise."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from selftrain.metrics.significance import clearly_below
from selftrain.strategy.base import Predictor
from selftrain.tasks import Task
from selftrain.types import Annotated

_MOST, _NUMBERS = 1000, 1 << 20  # parts that samples are taken together to, and numbers of all of them


@torch.no_grad()
def clearly_worse(one: Predictor, other: Predictor, task: Task, batches: Iterable[Annotated]) -> bool:
    """Whether a predictor's figure, the ``monitor`` of the task, is clearly below that of another one.

    A figure such as mean IoU is no share of samples, and a mean over samples neither. So what each sample adds to the
    task's statistic (``Task.update``) is kept, and both figures are made of the same samples drawn anew
    (``Task.compute``, see ``metrics.significance.clearly_below``). Beyond 1,000 samples, or where a statistic is
    large, every so-many-th sample is taken together, which needs at most 16 MiB.

    Args:
        one: Plain inputs -> probabilities or heatmaps, in evaluation mode.
        other: The other one.
        task: Of both.
        batches: Held-out samples.
    """
    sums: Tensor | None = None
    rows = 0
    for batch in batches:
        said = [predictor(batch.x) for predictor in (one, other)]
        for i in range(len(batch.x)):
            target = task.encode(batch.annotation[i : i + 1])
            both = torch.stack([task.update(value[i : i + 1], target).cpu().double() for value in said])
            if sums is None:
                parts = max(1, min(_MOST, _NUMBERS // both[0].numel()))
                sums = both.new_zeros(2, parts, *both.shape[1:])
            sums[:, rows % sums.shape[1]] += both
            rows += 1
    if sums is None:
        return False
    return clearly_below(sums[0, :rows], sums[1, :rows], lambda tally: task.compute(tally)[task.monitor])
