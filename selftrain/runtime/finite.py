"""Numbers that are not finite, wherever a network says them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from selftrain.errors import NonFiniteError


@contextmanager
def finite_outputs(networks: Iterable[nn.Module]) -> Iterator[None]:
    """Look at all that networks say inside, also at what enters no loss; -inf is finite: the logarithm of 0.

    Raises:
        NonFiniteError: at the end, if a number was NaN or infinite.
    """
    finite: list[Tensor] = []

    def look(network: nn.Module, given: Any, said: Tensor | tuple[Tensor, ...]) -> None:
        # One comparison is false for NaN and for infinity alike; the answer stays on the device.
        finite.extend((output.detach() < math.inf).all() for output in ((said,) if isinstance(said, Tensor) else said))

    # Hooks that come and go: a copy of a network that is made between two steps must not hold on to them.
    handles = [network.register_forward_hook(look) for network in networks]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
    if finite and not bool(torch.stack(finite).all()):  # one wait for the device
        raise NonFiniteError(
            "the output of a network is not finite; look for such values in the inputs and in the teacher"
        )
