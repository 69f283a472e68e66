"""How much the ranks have to say to one another in a step: counted in one process, and what it is worth for many."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from selftrain.runtime.distributed import group as ranks_group
from selftrain.runtime.distributed.group import Group, Ranks
from selftrain.runtime.distributed.loader import joined_stream
from selftrain.strategy.base import Strategy
from selftrain.types import Batch, BatchPlan, Clock, Pile


@dataclass(frozen=True)
class Volume:
    """What one step has to say; the same for any number of ranks, but for the statistics.

    Args:
        gradients: Bytes of gradients that are averaged.
        inputs: Bytes of views, targets and row numbers that are fetched in shares (0: every rank makes all).
        outputs: Bytes of the networks' answers, and of gradients of their inputs.
        statistics: Bytes of BatchNorm's moments that each rank has to say.
        messages: How often something is said; the gradients of a pass are one message here, and travel while it lasts.
        waits: Messages but those of gradients and statistics.
    """

    gradients: float
    inputs: float
    outputs: float
    statistics: float
    messages: float
    waits: float = 0.0

    def received(self, ranks: int) -> float:
        """Bytes that one of so many ranks receives in a step, in rings.

        A sum of G bytes takes 2 (N - 1) / N of them; rows of R bytes in all (N - 1) / N, since the own ones are there.
        """
        others = (ranks - 1) / ranks
        return others * (2 * self.gradients + self.inputs + self.outputs) + (ranks - 1) * self.statistics

    def seconds(self, ranks: int, *, bandwidth: float, latency: float) -> float:
        """Time of a step's messages if nothing else is done meanwhile.

        Args:
            ranks: How many, at least 1.
            bandwidth: Bytes a second that one rank receives.
            latency: Seconds of a message to a neighbor; each message goes ``ceil(log2(ranks))`` times.
        """
        return self.received(ranks) / bandwidth + self.messages * latency * math.ceil(math.log2(ranks))


class _Counting(Group):
    """A rank by itself that counts what it would say."""

    def __init__(self, device: torch.device) -> None:
        self._alone(Ranks(), device)

    def total(self, values: Tensor, kind: str) -> Tensor:
        """The values as they are."""
        self._count(kind, values)
        return values

    def all_rows(self, mine: Tensor, rows: list[int], kind: str) -> Tensor:
        """The rows as they are."""
        self._count(kind, mine)
        return mine

    def backward(self, losses: list[Tensor], model: nn.Module, average: bool) -> None:
        """The gradient as it is."""
        if average:
            self._count_gradients([p for p in model.parameters() if p.requires_grad])
        if losses:
            torch.autograd.backward(losses)

    def broadcast(self, *values: Tensor) -> None:
        """Nothing: this rank is the first."""


def volume(strategy: Strategy, pile: Pile, plan: BatchPlan, *, steps: int = 1) -> Volume:
    """Count what the ranks would say in a step of a strategy: a mean over the first steps, taken on a copy.

    Args:
        strategy: Left as it is; it must be one that can be copied.
        pile: Data that it is trained on.
        plan: Batch sizes of all ranks together.
        steps: Steps that are taken; give a multiple of ``accumulate``.
    """
    twin, device = copy.deepcopy(strategy), next(strategy.parameters()).device
    counting = _Counting(device)
    with torch.random.fork_rng(devices=[]), ranks_group.working(counting):
        stream = joined_stream(pile, twin.needs(), plan, device)
        for step in range(steps):
            _step(twin, next(iter(stream.epoch(*divmod(step, stream.steps_per_epoch)))), step)
    sent = {name: count / steps for name, count in counting.sent.items()}
    kinds = ("gradients", "inputs", "outputs", "statistics")
    messages = sum(sent.get(f"{kind}/calls", 0) for kind in (*kinds, "control"))
    gradients, inputs, outputs, statistics = (sent.get(kind, 0.0) for kind in kinds)
    waits = messages - sum(sent.get(f"{kind}/calls", 0) for kind in ("gradients", "statistics"))
    return Volume(gradients, inputs, outputs, statistics, messages, waits)


def _step(twin: Strategy, batches: Sequence[Batch], step: int) -> None:
    batch, *extra = batches
    torch.manual_seed(step)
    twin.train()
    if not batch.has_unlabeled and twin.views:
        twin.step_labeled(batch, Clock(step, 0, 1))
    else:
        twin.step(batch, Clock(step, 0, 1), *extra)
