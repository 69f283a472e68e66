"""Where the tokens of a batch are, and which of them are seen and which predicted."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import torch
from torch import Tensor

from selftrain.runtime.devices import sent

Grid: TypeAlias = tuple[int, ...]


@dataclass(frozen=True)
class Layout:
    """Where the tokens of a batch are.

    Args:
        grid: Positions along each axis: ``(rows, columns)`` of an image, ``(length,)`` of a series, ``(columns,)`` of a
            table, ``(groups,)`` of a point cloud. T is their product; token numbers are in raster order.
        places: Coordinates of the tokens, shape (B, T, dims), where they differ from sample to sample; ``None``: the
            grid says all.
    """

    grid: Grid
    places: Tensor | None = None

    @property
    def count(self) -> int:
        """Tokens T of a sample."""
        return math.prod(self.grid)


@dataclass(frozen=True)
class Mask:
    """What an encoder sees and what is to be predicted from it. Rows rise, without repetition.

    Args:
        context: Positions seen, shape (G, B, Nc), in G independent looks.
        targets: Positions to predict, shape (M, B, Nt), M a multiple of G: set m is predicted from look
            ``m // (M // G)``.
    """

    context: Tensor
    targets: Tensor

    def __post_init__(self) -> None:
        looks, sets = len(self.context), len(self.targets)
        if not looks or sets % looks:
            raise ValueError(f"{sets} target sets cannot be shared out among {looks} looks")

    def to(self, device: torch.device) -> Mask:
        """The same on another device."""
        return Mask(sent(self.context, device), sent(self.targets, device))

    def by_row(self) -> tuple[Tensor, Tensor]:
        """Context (B, G, Nc) and targets (B, M, Nt), samples first."""
        return self.context.transpose(0, 1), self.targets.transpose(0, 1)

    @classmethod
    def of_rows(cls, context: Tensor, targets: Tensor) -> Mask:
        """The mask that ``by_row`` took apart."""
        return cls(context.transpose(0, 1), targets.transpose(0, 1))

    @property
    def repeats(self) -> int:
        """Target sets of each look."""
        return len(self.targets) // len(self.context)


class Masker(Protocol):
    """Draws masks. All samples of a batch get sets of one length, so that tensors stay dense."""

    def __call__(
        self, batch: int, layout: Layout, progress: float = 0.0, generator: torch.Generator | None = None
    ) -> Mask:
        """Masks of a batch, on the CPU.

        Args:
            batch: Samples B.
            layout: Where the tokens are.
            progress: Share of the stage that lies behind, in [0, 1].
            generator: Source of randomness (on the CPU, so that a seed gives the same masks on every device);
                ``None``: the global one.

        Raises:
            ValueError: if the layout cannot be masked so.
        """
        ...
