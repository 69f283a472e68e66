"""Features of single rows, as a network sees them, for methods that compare all rows with one another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from selftrain.networks.modes import eval_mode
from selftrain.networks.student import Learner, run_network


class FeatureMemory(nn.Module):
    """Keep the newest vector of each row that was written; rows and width are those of what comes.

    They are kept on the CPU. What is written stays on its device until 64 MiB have come together or somebody reads, so
    that a step does not wait for copies.
    """

    only_trained_with = ("_extra_state",)

    def __init__(self) -> None:
        super().__init__()
        self.rows, self.known = torch.zeros(0, 0), torch.zeros(0, dtype=torch.bool)
        self._waiting: list[tuple[Tensor, Tensor]] = []

    @property
    def empty(self) -> bool:
        """Whether nothing was written."""
        return not (self._waiting or len(self.known))

    def write(self, index: Tensor, values: Tensor) -> None:
        """Store vectors (B, D) of the rows ``index`` (B,)."""
        self._waiting.append((index, values.detach().float()))
        if sum(values.numel() for _, values in self._waiting) > 2**24:
            self._fetch()

    def _fetch(self) -> None:
        """Bring what waits to the CPU, the newest last."""
        for index, values in [(index.cpu(), values.cpu()) for index, values in self._waiting]:
            more = int(index.max()) + 1 - len(self.known)
            if more > 0:
                rows = self.rows if len(self.rows) else self.rows.new_zeros(0, values.shape[1])
                self.rows = torch.cat([rows, rows.new_zeros(more, values.shape[1])])
                self.known = torch.cat([self.known, self.known.new_zeros(more)])
            self.rows[index], self.known[index] = values, True
        self._waiting = []

    def read(self) -> tuple[Tensor, Tensor]:
        """Row numbers that were written, (M,), and their vectors, (M, D)."""
        self._fetch()
        index = self.known.nonzero()[:, 0]
        return index, self.rows[index]

    def get_extra_state(self) -> dict[str, Tensor]:
        """What a run must store: buffers would have to have their size before the first batch."""
        self._fetch()
        return {"rows": self.rows, "known": self.known}

    def set_extra_state(self, state: dict[str, Tensor]) -> None:
        """Take back what ``get_extra_state`` gave."""
        self.rows, self.known, self._waiting = state["rows"].clone(), state["known"].clone(), []


@torch.no_grad()
def head_features(network: nn.Module, learner: Learner, x: Tensor) -> Tensor:
    """Features (B, D) of plain inputs (B, ...) in evaluation mode: what the network's head reads.

    They are those of ``network.encoder`` where there is one, or else what enters the last linear layer that runs on one
    vector a sample; of a network without such a layer the logits.

    Args:
        network: The student's, or one like it.
        learner: The student, for precision and memory format.
        x: Inputs.
    """
    encoder = getattr(network, "encoder", None)
    with eval_mode(network):
        run: Callable[[Tensor], Any] = encoder if isinstance(encoder, nn.Module) else lambda x: _entering(network, x)
        found: Tensor = run_network(run, x, learner.precision, learner.channels_last)
    return found


def _entering(network: nn.Module, x: Tensor) -> Tensor:
    """What enters the last linear layer of a pass."""
    entered: list[Tensor] = []
    linear = [module for module in network.modules() if isinstance(module, nn.Linear)]
    hooks = [module.register_forward_pre_hook(lambda _, given: entered.append(given[0])) for module in linear]
    try:
        output: Tensor = network(x)
    finally:
        for hook in hooks:
            hook.remove()
    # a layer that runs on tokens has no row for each sample
    return entered[-1] if entered and entered[-1].dim() == 2 and len(entered[-1]) == len(x) else output
