"""A network that follows others and never learns by gradient."""

from __future__ import annotations

import copy
from typing import Literal

import torch
from torch import Tensor, nn

from selftrain.networks.outputs import logits_of
from selftrain.networks.student import Learner, run_network
from selftrain.types import plain_settings

Buffers = Literal["copy", "ema"]


@plain_settings
class Teacher(nn.Module):
    """Follow one or several students by an exponential moving average (EMA) of their weights.

    Starts as a copy of the student. Takes no gradient, is in no optimizer and always in evaluation mode.

    Source: Tarvainen & Valpola, "Mean teachers are better role models", 2017, arXiv:1703.01780, eq. 2, with the warm
    start ``min(decay, 1 - 1/(t + 1))`` of their code, ``t`` counting updates from 1. Differs: evaluation mode (theirs
    runs in training mode with its own noise).

    Args:
        student: The learner to copy; its precision and memory format are kept.
        decay: Share of the old weights that stays at each update, in [0, 1].
        buffers: ``"copy"`` takes floating-point buffers (BatchNorm statistics) from the student as they are,
            ``"ema"`` averages them like weights. Integer buffers are always copied.
        part: The module of the student's network to follow; ``None``: all of it. ``update`` then takes such parts.
    Gradient: none flows through ``forward``.

    Raises:
        ValueError: for a decay outside [0, 1] or an unknown ``buffers``.
    """

    updates: Tensor

    def __init__(
        self,
        student: Learner,
        decay: float = 0.999,
        *,
        buffers: Buffers = "ema",
        part: nn.Module | None = None,
    ) -> None:
        super().__init__()
        if not 0 <= decay <= 1:
            raise ValueError(f"decay is {decay}; it must be in [0, 1]")
        if buffers not in ("copy", "ema"):
            raise ValueError(f"buffers is {buffers!r}; choose 'copy' or 'ema'")
        self.model = copy.deepcopy(student.model if part is None else part).requires_grad_(False)
        self.precision, self.channels_last = student.precision, student.channels_last
        self.decay, self.buffer_rule = decay, buffers
        self.register_buffer("updates", torch.zeros((), dtype=torch.long))
        self.eval()

    def train(self, mode: bool = True) -> Teacher:
        """Stay in evaluation mode whatever ``mode`` says."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """Logits of ``x`` in fp32, without gradient."""
        return run_network(lambda x: logits_of(self.model(x)), x, self.precision, self.channels_last)

    @torch.no_grad()
    def update(self, *sources: nn.Module, count: bool = True, decay: float | None = None) -> None:
        """Move towards the mean of the ``sources``' weights.

        Args:
            sources: Networks built like the teacher's, at least one; several are averaged first (a weight soup).
            count: Whether this update advances the warm start of the decay (virtual updates do not).
            decay: For this update alone, without the warm start: for methods that schedule it.
        """
        # Warm start: the first students are worth little, so early averages look back on few of them.
        t = int(self.updates) + 1
        share = 1 - (min(self.decay, 1 - 1 / (t + 1)) if decay is None else decay)
        mine: list[Tensor] = list(self.model.parameters())
        theirs = _mean([list(s.parameters()) for s in sources])
        torch._foreach_lerp_(mine, theirs, share)
        self._follow_buffers(sources, share)
        self.updates += int(count)

    def _follow_buffers(self, sources: tuple[nn.Module, ...], share: float) -> None:
        rows = zip(self.model.buffers(), *(s.buffers() for s in sources), strict=True)
        for mine, *theirs in rows:
            if not mine.is_floating_point():  # counters, of which there is no mean
                mine.copy_(theirs[0])
            else:
                mean = torch.stack([b.to(mine.dtype) for b in theirs]).mean(0)
                mine.lerp_(mean, share if self.buffer_rule == "ema" else 1.0)


def _mean(lists: list[list[nn.Parameter]]) -> list[Tensor]:
    """Mean of several networks' parameters, one tensor a parameter."""
    if len(lists) == 1:
        return list(lists[0])
    return [torch.stack(list(row)).mean(0) for row in zip(*lists, strict=True)]
