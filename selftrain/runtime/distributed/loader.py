"""Batches that the ranks fetch and augment in shares: inputs stay where they are made, all else is known to all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from selftrain.runtime.distributed.group import Group, here
from selftrain.runtime.distributed.rows import Rows, in_bytes, of_bytes, width
from selftrain.types import Batch, BatchPlan, Labeled, Needs, Pile, Stream, Unlabeled, View


def joined_stream(pile: Pile, needs: Needs, plan: BatchPlan, device: torch.device) -> Stream:
    """The training batches of a strategy. Where the pile can, each rank makes its share of the rows only.

    A stream can if it has an attribute ``share`` with what ``needs.share`` asked for; any other is taken to give every
    rank the whole batch.
    """
    group = here()
    if group is None:
        return pile.stream(needs, plan, device)
    share = (group.rank, group.size)
    stream = pile.stream(replace(needs, share=share), plan, device)
    return JoinedStream(stream, group, plan) if getattr(stream, "share", None) == share else stream


class JoinedStream:
    """Batches of which each rank keeps the inputs of its own rows and knows targets and row numbers of all.

    Args:
        stream: Gives this rank's rows.
        group: The ranks.
        plan: Sizes of all ranks' batches together.
    """

    def __init__(self, stream: Stream, group: Group, plan: BatchPlan) -> None:
        self.stream, self.group = stream, group
        self.steps_per_epoch = stream.steps_per_epoch
        # Batches of `data` are full; a stream of another kind is asked for the size of each.
        self.full = plan if getattr(stream, "plan", None) == plan else None

    def epoch(self, number: int, start: int = 0) -> Iterator[Sequence[Batch]]:
        """Whole batches; one that is looked ahead to is put together once."""
        known: list[tuple[Batch, Batch]] = []
        for batches in self.stream.epoch(number, start):
            # A batch drawn ahead comes again in each step until it is its turn: told apart by identity, sent once.
            known = [(part, whole) for part, whole in known if any(part is one for one in batches)]
            fresh = [part for part in batches if all(part is not one for one, _ in known)]
            known += zip(fresh, joined_batches(fresh, self.group, self.full), strict=True)
            yield [next(whole for one, whole in known if one is part) for part in batches]


def whole_batch(batch: Batch) -> Batch:
    """The same with the inputs of all ranks' rows on each of them."""
    views = batch.unlabeled.views.values() if batch.has_unlabeled else ()
    for x in (*((batch.labeled.x,) if batch.has_labeled else ()), *(view.x for view in views)):
        if isinstance(x, Rows):
            x.together()
    return batch


def joined_batches(parts: Sequence[Batch], group: Group, full: BatchPlan | None = None) -> list[Batch]:
    """The batches of which each rank has a part, after one message; rows are in the order of the ranks.

    Args:
        parts: This rank's rows of each.
        group: The ranks.
        full: Sizes of a whole batch; ``None``: the ranks have to ask one another.
    """
    if not parts:
        return []
    sizes = [counts for part in parts for counts in _sizes(part, group, full)]
    small = [_small(section) for part in parts for section in part.parts]
    # All in one message: how long it is depends on the largest share, which all know.
    said = torch.cat([_padded(rows, max(counts)) for rows, counts in zip(small, sizes, strict=True)])
    every = group.all_rows(said[None], [1] * group.size, "inputs")
    batches, start, known = list[Batch](), 0, zip(small, sizes, strict=True)
    for part in parts:
        labeled, unlabeled = None, None
        for section in part.parts:
            rows, counts = next(known)
            bytes_each = [width(tensor) for tensor in rows]
            wide = sum(bytes_each)
            block = every[:, start : start + wide * max(counts)].view(group.size, max(counts), wide)
            start += wide * max(counts)
            found = torch.cat([rank[:count] for rank, count in zip(block, counts, strict=True)])
            whole = map(of_bytes, found.split(bytes_each, 1), rows)
            if isinstance(section, Labeled):
                target = section.target.each(lambda _, whole=whole: next(whole))  # type: ignore[misc]
                labeled = Labeled(Rows(section.x, [counts], group), target, next(whole))
            else:
                views = {
                    name: View(Rows(view.x, [counts], group), *(t if t is None else next(whole) for t in view.geometry))
                    for name, view in section.views.items()
                }
                unlabeled = Unlabeled(views, next(whole))
        batches.append(Batch(labeled, unlabeled))
    return batches


def _sizes(part: Batch, group: Group, full: BatchPlan | None) -> list[list[int]]:
    """Of each part that there is, how many rows each rank has."""
    if full is not None:
        return [group.share(full.labeled if isinstance(x, Labeled) else full.unlabeled) for x in part.parts]
    mine = torch.tensor([[len(x.index) for x in part.parts]], device=group.device)
    sizes: list[list[int]] = group.all_rows(mine, [1] * group.size, "control").T.tolist()
    return sizes


def _small(part: Labeled | Unlabeled) -> list[Tensor]:
    """What every rank has to know of a row."""
    if isinstance(part, Labeled):
        return [*part.target.tensors, part.index]
    geometry = (tensor for view in part.views.values() for tensor in view.geometry)
    return [*(tensor for tensor in geometry if tensor is not None), part.index]


def _padded(tensors: list[Tensor], rows: int) -> Tensor:
    """The bytes of each row behind one another, filled up to so many rows."""
    joined = torch.cat([in_bytes(tensor) for tensor in tensors], 1)
    return F.pad(joined, (0, 0, 0, rows - len(joined))).flatten()
