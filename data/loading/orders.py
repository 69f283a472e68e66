"""Which rows a batch takes, as pure functions of seed, epoch and step."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from selftrain.data.base.random import permutation


class BatchIndices(NamedTuple):
    """Rows of one batch.

    Args:
        rows: Row numbers, shape (B,).
        key: Address of each sample's draws, shape (B,): repeated occurrences of a row have different ones.
        epoch: Epoch part of the address.
    """

    rows: Tensor
    key: Tensor
    epoch: int


def one_pass(n: int, size: int, step: int, *, seed: int, epoch: int) -> BatchIndices:
    """Rows of one step of a single pass over ``n`` rows in a keyed order.

    A batch that reaches over the end goes on at the pass's first rows, so that every batch is full.
    """
    place = torch.arange(step * size, (step + 1) * size)
    # filled up from the pass's own beginning: a smaller last batch would have other BatchNorm statistics and another
    # weight a sample
    rows = _pass_order(seed, epoch, n, "pass")[place % n]
    return BatchIndices(rows, rows + n * (place // n), epoch)


def cycle(n: int, size: int, step: int, *, seed: int) -> BatchIndices:
    """Rows of the ``step``-th batch of an endless sequence of passes, each in a keyed order of its own."""
    place = torch.arange(step * size, (step + 1) * size)
    # a batch may reach over several passes of a small labeled set
    first, last = step * size // n, ((step + 1) * size - 1) // n
    if first == last:
        rows = _pass_order(seed, first, n, "cycle")[place % n]
        return BatchIndices(rows, rows + n * first, 0)
    orders = torch.stack([_pass_order(seed, number, n, "cycle") for number in range(first, last + 1)])
    rows = orders[place // n - first, place % n]
    return BatchIndices(rows, rows + n * (place // n), 0)


# an order is asked for at every step of its pass
@lru_cache(maxsize=16)
def _pass_order(seed: int, number: int, n: int, purpose: str) -> Tensor:
    return permutation(seed, number, n, purpose)
