"""Shares of the classes among the labels."""

from __future__ import annotations

import torch
from torch import Tensor

from selftrain.errors import DataError
from selftrain.tasks import Task, has_classes
from selftrain.types import HardTarget, Pile


def labeled_shares(pile: Pile, task: Task, device: torch.device) -> Tensor | None:
    """Share of each class among the labeled units (samples, or pixels that are not void), shape (classes,), on the CPU.

    ``None`` where there are no classes to compare (joints), no labels, or none that the task can read.

    Args:
        pile: Where the samples are.
        task: That knows the classes of annotations.
        device: Where batches go on the way.
    """
    if not has_classes(task):
        return None
    counts = torch.zeros(task.groups, dtype=torch.double)
    for batch in pile.evaluation("labeled", 500, device) or ():
        try:
            target = task.encode(batch.annotation)
        except DataError:  # of a strategy that reads labels in a way of its own
            return None
        label = target.label if isinstance(target, HardTarget) else task.label(target.value)
        known = label[target.mask() * target.weight > 0]
        counts += torch.bincount(known.flatten().long(), minlength=task.groups).cpu()
    return counts / counts.sum() if bool(counts.any()) else None
