"""Training and evaluation mode of networks."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from torch import nn


@contextlib.contextmanager
def eval_mode(module: nn.Module) -> Iterator[None]:
    """Put ``module`` in evaluation mode for a while; each of its modules gets its own mode back.

    A frozen teacher inside a strategy, or a part that a user keeps at rest, must not wake up at the end.
    """
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode
