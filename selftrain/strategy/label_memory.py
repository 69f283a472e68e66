"""Soft labels of the whole unlabeled set: read those of the last epoch, write those of the next."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from selftrain._compat import renamed
from selftrain.runtime.finite import expect_rows
from selftrain.tasks import Task


class LabelMemory(nn.Module):
    """Keep one soft label for each unlabeled sample, in two layers: the one in use and the one being written.

    A unit that was never written before ``turn`` keeps its value (the code published by Arazo et al. 2020 sets such
    rows to zero, which costs about 20 points of accuracy).

    Args:
        task: Kind of output; gives the units of a label.
        size: Number of unlabeled samples N.
        shape: Shape of one label, (C, *S).

    Raises:
        ValueError: for no samples, or a label shape of too few axes.
    """

    only_trained_with = ("now", "next", "written", "known")
    now: Tensor
    next: Tensor
    written: Tensor
    known: Tensor

    def __init__(self, task: Task, size: int, shape: tuple[int, ...]) -> None:
        super().__init__()
        if size < 1:
            raise ValueError(f"unlabeled is {size}; set unlabeled=len(pile.unlabeled)")
        self._task, self.units = task, _units(task, shape)
        fill = torch.full((size, *shape), 1.0 / shape[0])
        self.register_buffer("now", fill)
        # A layer of its own: within an epoch a sample learns what the epoch before said of it.
        self.register_buffer("next", fill.clone())
        self.register_buffer("written", torch.zeros(size, *self.units, dtype=torch.bool))
        self.register_buffer("known", torch.zeros(size, *self.units, dtype=torch.bool))

    def read(self, index: Tensor) -> Tensor:
        """Labels in use, (B, C, *S); uniform for units that no epoch has labeled yet (see ``known``, (N, *U))."""
        return self.now[index]

    def latest(self, index: Tensor) -> Tensor:
        """Labels in use with what this epoch has written so far, (B, C, *S): a pass may meet a sample twice."""
        return torch.where(self._task.spread(self.written[index]), self.next[index], self.now[index])

    def write(self, index: Tensor, value: Tensor, shown: Tensor | None = None) -> None:
        """Store labels for the next epoch.

        Args:
            index: Rows, shape (B,).
            value: Labels, shape (B, C, *S).
            shown: Which units are meant, shape (B, *U), 0 or 1; the others keep theirs. ``None``: all.

        Raises:
            ValueError: if they have another shape, or a row is outside the bank.
        """
        if value.shape[1:] != self.next.shape[1:]:
            own, given = tuple(self.next.shape[1:]), tuple(value.shape[1:])
            raise ValueError(f"a label has shape {given}, the bank holds {own}; set label_shape={given}")
        rows = len(self.next)
        index = expect_rows(
            index,
            rows,
            lambda row: ValueError(f"row {row} is outside the bank of {rows}; set unlabeled=len(pile.unlabeled)"),
        )
        said = torch.ones_like(self.written[index]) if shown is None else shown.bool()
        fresh = value.detach().to(self.next)
        # What is not shown this time keeps what an earlier visit of this epoch wrote, or else the label in use.
        self.next[index] = torch.where(self._task.spread(said), fresh, self.latest(index))
        self.written[index] |= said

    def turn(self) -> Tensor:
        """Take the written units into use; returns the share of units written, in [0, 1]."""
        rows = self.written.flatten(1).any(1) if self.units else self.written
        self.now[rows] = self.next[rows]  # what was not written there is what was in use
        # Apart from `now`: a label that happens to be uniform is told from one that was never made.
        self.known |= self.written
        share = self.written.float().mean()
        self.written.zero_()
        return share


def _units(task: Task, shape: tuple[int, ...]) -> torch.Size:
    """Unit axes of a label of this shape."""
    try:
        return task.confidence(torch.zeros(1, *shape)).shape[1:]
    except IndexError as error:
        raise ValueError(f"label_shape is {shape}, too few axes; give the shape of one prediction") from error


def __getattr__(name: str) -> object:
    return renamed(__name__, name)
