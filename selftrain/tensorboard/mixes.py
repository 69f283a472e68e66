"""What a strategy mixes in a step, seen by watching its mixes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from selftrain.mix import Mix, pick
from selftrain.runtime.distributed.rows import Rows, apart, own_rows
from selftrain.tasks import Task
from selftrain.types import Target


class Mixed:
    """The newest mixed batch of a strategy.

    Attributes:
        x: Mixed inputs (B, ...); ``None``: nothing was mixed.
        target: Their targets.
    """

    def __init__(self) -> None:
        self.x: Tensor | None = None
        self.target: Target | None = None

    @contextlib.contextmanager
    def watching(self, strategy: nn.Module) -> Iterator[None]:
        """Keep what the mixes in ``strategy`` return meanwhile; nothing is changed."""
        hooks = [m.register_forward_hook(self._keep) for m in strategy.modules() if isinstance(m, Mix)]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _keep(self, module: nn.Module, given: Any, result: tuple[Tensor, Target]) -> None:
        # detached: it is kept beyond the step, and its graph must not be
        x, self.target = result
        if isinstance(x, Rows) and apart(x):  # of several processes the first one draws, and shows what it has mixed
            own = own_rows(torch.arange(len(x)), x.parts, x.group.rank)
            x, self.target = x.own, pick(self.target, own.to(x.device))
        self.x = x.detach()

    def captions(self, task: Task, classes: Sequence[str], limit: int) -> list[str]:
        """Both largest classes of each of the first targets with their percent; none where outputs are no classes."""
        if self.target is None or not (task.has_classes and task.one_unit):
            return []
        share, label = self.target.value[:limit].detach().topk(2, dim=1)
        rows = zip(label.tolist(), share.tolist(), strict=True)
        # a share that would read 0 % is left out
        return [" + ".join(_part(classes, c, p) for c, p in zip(*row, strict=True) if p >= 0.005) for row in rows]


def _part(classes: Sequence[str], label: int, share: float) -> str:
    name = str(classes[label])[:6] if label < len(classes) else str(label)
    return f"{name} {100 * share:.0f}%"
