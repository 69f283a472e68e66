"""What a strategy ships for samples with known labels, unit by unit: figures of classes and of trust rest on it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass

import torch
from torch import Tensor

from selftrain.strategy.base import Strategy
from selftrain.tasks import Task
from selftrain.types import Annotated, Pile

BATCH = 100
_UNITS = 100  # of one sample, evenly spaced


@dataclass(frozen=True)
class HeldOut:
    """Decisions about units with a label, on the CPU.

    Attributes:
        confidence: Shape (N,), in [0, 1].
        right: Whether the decision is right, shape (N,), bool.
        truth: Group each unit is of: its class, or its joint, shape (N,).
        said: Group it was taken for, shape (N,).
        scores: Probability of each class, shape (N, C); ``None`` where outputs are no classes.
        counts: Of masks, of all pixels: decided rightly, truly of each class, decided for it, (3, C); else ``None``.
    """

    confidence: Tensor
    right: Tensor
    truth: Tensor
    said: Tensor
    scores: Tensor | None
    counts: Tensor | None = None

    def accuracy(self, groups: int) -> Tensor:
        """Share of the units of each group that is right, shape (groups,); NaN where there are none."""
        hits = torch.bincount(self.truth[self.right], minlength=groups).double()
        return hits / torch.bincount(self.truth, minlength=groups)

    def iou(self) -> Tensor | None:
        """Intersection over union of each class of pixels, (C,), NaN where it is nowhere; ``None`` without masks."""
        if self.counts is None:
            return None
        hit, known, said = self.counts.double()
        found: Tensor = hit / (known + said - hit)
        return found

    def confusion(self, shown: Sequence[int], groups: int) -> Tensor:
        """Number of units by truth (rows) and decision (columns), shape (R, R), of the groups shown.

        All others of the ``groups`` are added up in a last row and column.
        """
        place = torch.full((groups,), len(shown))
        place[torch.tensor(shown)] = torch.arange(len(shown))
        size = len(shown) + (len(shown) < groups)
        return torch.bincount(place[self.truth] * size + place[self.said], minlength=size**2).view(size, size)

    def decisions(self, group: int, groups: int) -> Tensor:
        """How often units of a group were taken for each one, shape (groups,)."""
        return torch.bincount(self.said[self.truth == group], minlength=groups)


def spaced(batches: Iterable[Annotated], step: int) -> Iterator[Annotated]:
    """Every ``step``-th sample of batches that come in order."""
    seen = 0
    for batch in batches:
        # the spacing goes on from batch to batch
        rows = torch.arange(-seen % step, len(batch.index), step, device=batch.x.device)
        seen += len(batch.index)
        if len(rows):
            yield Annotated(batch.x[rows], batch.annotation[rows], batch.index[rows])


def part_of(pile: Pile, part: str, device: torch.device, limit: int) -> Iterator[Annotated]:
    """Up to ``limit`` samples of a part, evenly spaced; none if it is empty."""
    batches = pile.evaluation(part, BATCH, device)
    if batches is None:
        return iter(())
    return spaced(batches, max(1, -(-_length(batches) // limit)))


def _length(batches: Iterable[Annotated]) -> int:
    """Samples of a part, at most: without reading them where they, or the batches, can be counted."""
    known: Sized | None = getattr(batches, "annotations", None)
    if known is not None:  # of a part smaller than a batch nearly all would be left out
        return len(known)
    try:
        # the last batch may be smaller: a few samples less are shown, and none is read to count them
        size: int = getattr(batches, "batch_size", BATCH)
        return size * len(batches)  # type: ignore[arg-type]
    except TypeError:
        return sum(len(batch.index) for batch in batches)


@torch.no_grad()
def held_out(strategy: Strategy, task: Task, batches: Iterable[Annotated]) -> HeldOut | None:
    """Ask a strategy about labeled samples; ``None`` if there are no units with a label.

    Of masks, up to 100 evenly spaced pixels of each image count. The strategy is in evaluation mode meanwhile.
    """
    parts, counts = list[list[Tensor]](), None
    with strategy.evaluating():
        for batch in batches:
            value = strategy.predict(batch.x)
            parts.append(units(task, value, batch.annotation))
            if task.has_classes and not task.one_unit:
                own = task.update(value, task.encode(batch.annotation)).cpu()
                counts = own if counts is None else counts + own
    if not sum(len(part[0]) for part in parts):
        return None
    confidence, right, truth, said, *scores = (torch.cat(column) for column in zip(*parts, strict=True))
    return HeldOut(confidence, right, truth, said, scores[0] if scores else None, counts)


def units(task: Task, value: Tensor, annotation: Tensor) -> list[Tensor]:
    """Columns of a ``HeldOut`` for predictions (B, C, *S) and their annotations."""
    target = task.encode(annotation)
    right = task.agree(torch.stack([value, target.value, target.value]).float())[0]  # two of three are the truth
    groups = task.group(target.value), task.group(value)
    columns = [c.flatten() for c in (task.confidence(value), right, *groups)]
    kept = torch.nonzero((target.mask() * target.weight > 0).flatten()).squeeze(1)
    kept = kept[:: max(1, -(-len(kept) // (_UNITS * len(value))))]
    rows = [column[kept].cpu() for column in columns]
    if task.has_classes:
        rows.append(value.movedim(1, -1).flatten(0, -2)[kept].float().cpu())
    return rows
