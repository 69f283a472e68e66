"""Batches that the ranks fetch and augment in shares, and see whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from selftrain.runtime.distributed.group import Group, here
from selftrain.types import Batch, BatchPlan, Labeled, Needs, Pile, Stream, Target, Unlabeled, View

Join = Callable[[Tensor], Tensor]


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
    return JoinedStream(stream, group) if getattr(stream, "share", None) == share else stream


class JoinedStream:
    """Put the ranks' shares of each batch together.

    Args:
        stream: Gives this rank's rows.
        group: The ranks.
    """

    def __init__(self, stream: Stream, group: Group) -> None:
        self.stream, self.group = stream, group
        self.steps_per_epoch = stream.steps_per_epoch

    def epoch(self, number: int, start: int = 0) -> Iterator[Sequence[Batch]]:
        """Whole batches; one that is looked ahead to is put together once."""
        known: list[tuple[Batch, Batch]] = []
        for batches in self.stream.epoch(number, start):
            # A batch drawn ahead comes again in each step until it is its turn: told apart by identity, sent once.
            known = [(part, _found(known, part) or joined_batch(part, self.group)) for part in batches]
            yield [whole for _, whole in known]


def _found(known: list[tuple[Batch, Batch]], part: Batch) -> Batch | None:
    return next((whole for one, whole in known if one is part), None)


def joined_batch(part: Batch, group: Group) -> Batch:
    """The whole batch of which each rank has a part; rows are in the order of the ranks."""
    labeled = unlabeled = None
    if part.has_labeled:
        join, given = _join(group, len(part.labeled.index)), part.labeled
        labeled = Labeled(join(given.x), _target(given.target, join), join(given.index))
    if part.has_unlabeled:
        join = _join(group, len(part.unlabeled.index))
        views = {name: _view(view, join) for name, view in part.unlabeled.views.items()}
        unlabeled = Unlabeled(views, join(part.unlabeled.index))
    return Batch(labeled, unlabeled)


def _join(group: Group, mine: int) -> Join:
    # A rank knows its own share only, and shares of batches that do not divide evenly differ.
    counts = group.all_rows(torch.tensor([mine], device=group.device), [1] * group.size, "control").tolist()

    def join(rows: Tensor) -> Tensor:
        plain = rows.to(torch.uint8) if rows.dtype == torch.bool else rows
        return group.all_rows(plain.contiguous(), counts, "inputs").to(rows.dtype)

    return join


def _target(target: Target, join: Join) -> Target:
    valid = None if target.valid is None else join(target.valid)
    return Target(join(target.value), join(target.weight), valid)


def _view(view: View, join: Join) -> View:
    return View(join(view.x), None if view.theta is None else join(view.theta))
