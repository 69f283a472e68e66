"""Soft labels of the whole unlabeled set: read those of the last epoch, write those of the next."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class LabelBank(nn.Module):
    """Keep one soft label for each unlabeled sample, in two layers: the one in use and the one being written.

    A row that was never written before ``turn`` keeps its value (the code published by Arazo et al. 2020 sets such
    rows to zero, which costs about 20 points of accuracy).

    Args:
        size: Number of unlabeled samples N.
        shape: Shape of one label, (C, *S).
    """

    now: Tensor
    next: Tensor
    written: Tensor
    known: Tensor

    def __init__(self, size: int, shape: tuple[int, ...]) -> None:
        super().__init__()
        fill = torch.full((size, *shape), 1.0 / shape[0])
        self.register_buffer("now", fill)
        self.register_buffer("next", fill.clone())
        self.register_buffer("written", torch.zeros(size, dtype=torch.bool))
        self.register_buffer("known", torch.zeros(size, dtype=torch.bool))

    def read(self, index: Tensor) -> Tensor:
        """Labels in use, (B, C, *S); uniform for rows that no epoch has labeled yet (see ``known``)."""
        return self.now[index]

    def write(self, index: Tensor, value: Tensor) -> None:
        """Store labels (B, C, *S) for the next epoch.

        Raises:
            ValueError: if they have another shape, or a row is outside the bank.
        """
        if value.shape[1:] != self.next.shape[1:]:
            own, given = tuple(self.next.shape[1:]), tuple(value.shape[1:])
            raise ValueError(f"a label has shape {given}, the bank holds {own}; set label_shape={given}")
        if len(index) and int(index.max()) >= len(self.next):
            rows = len(self.next)
            raise ValueError(f"row {int(index.max())} is outside the bank of {rows}; set unlabeled=len(pile.unlabeled)")
        self.next[index] = value.detach().to(self.next)
        self.written[index] = True

    def turn(self) -> Tensor:
        """Take the written rows into use; returns the share of rows written, in [0, 1]."""
        rows = self.written
        self.now[rows] = self.next[rows]
        self.known |= rows
        share = rows.float().mean()
        self.written.zero_()
        return share
