"""Rare-class sampling: labeled rows drawn by their classes, those with few labels more often."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import torch
from torch import Tensor

from selftrain.data.base.fitting import are_joints, has_weights, mask_numbers
from selftrain.data.base.random import uniform
from selftrain.data.base.samples import Samples
from selftrain.data.base.units import VOID
from selftrain.data.loading.orders import BatchIndices
from selftrain.errors import DataError, setting
from selftrain.types import Target

_AT_ONCE = 2**22  # numbers of masks


@dataclass(frozen=True)
class RareClasses:
    """Draw a class, then a row that shows it; a pure function of seed and step.

    Source: Hoyer et al., "DAFormer", CVPR 2022, arXiv:2111.14887, eq. 4 and 5: with f_c the share of class c among the
    labeled units (samples, or pixels that are not void), P(c) is proportional to exp((1 - f_c) / T); of the rows
    with class c one is drawn evenly. Differs: a picture counts however few pixels of the class it has, and what a crop
    leaves of them is not looked at; classes without a label are left out.

    Args:
        below: P of the classes up to each, ascending to 1, shape (K,), double.
        rows: Rows that show a class, class after class.
        starts: Where those of each class begin, and the end, shape (K + 1,).
    """

    below: Tensor
    rows: Tensor
    starts: Tensor

    @classmethod
    def of(cls, counts: Tensor, temperature: float) -> RareClasses:
        """By how many units of each class a row shows.

        Args:
            counts: Shape (N, K).
            temperature: T, > 0.
        """
        total = counts.sum(0)
        counts, total = counts[:, total > 0], total[total > 0].double()
        chance = ((1 - total / total.sum()) / temperature).softmax(0)
        shows = counts.T > 0
        starts = torch.cat([torch.zeros(1, dtype=torch.long), shows.sum(1).cumsum(0)])
        return cls(chance.cumsum(0), shows.nonzero()[:, 1], starts)

    def draw(self, n: int, size: int, step: int, *, seed: int) -> BatchIndices:
        """Rows of the ``step``-th batch of an endless sequence, of ``n`` rows in all."""
        place = torch.arange(step * size, (step + 1) * size)
        by_class, by_row = uniform(seed, 0, place, "rare classes", 2).double().T.contiguous()
        group = torch.searchsorted(self.below, by_class, right=True).clamp(max=len(self.below) - 1)
        first, many = self.starts[group], self.starts.diff()[group]
        rows = self.rows[first + (by_row * many).long()]
        return BatchIndices(rows, rows + n * place, 0)


def rare_classes(samples: Samples, encode: Callable[[Tensor], Target], temperature: float) -> RareClasses:
    """Rare-class sampling of labeled samples.

    Args:
        samples: With class numbers (N,) or masks (N, H, W), perhaps with weights (N, 2, H, W).
        encode: Of the task, which knows what is void.
        temperature: T, > 0.

    Raises:
        DataError: annotations without classes, such as joints, or no pixel with a class.
    """
    known = samples.annotations
    size = samples.images(torch.zeros(1, dtype=torch.long).numpy()).shape[2:]
    masks = known is not None and (known.ndim == 3 and not are_joints(known, size) or has_weights(known))
    if known is None or known.is_floating_point() or not (known.ndim == 1 or masks):
        raise DataError(
            "rare_class_temperature draws labeled rows by their classes, and these labels are none (joints, soft "
            f"values or several classes a unit); {setting('rare_class_temperature', None, of='plan')} lets them cycle"
        )
    numbers = torch.tensor([number for number in mask_numbers(known) if not masks or number not in (-1, VOID)])
    if masks:
        with suppress(Exception):  # a task of one's own may need whole masks
            numbers = numbers[encode(numbers.reshape(1, 1, -1)).mask().flatten() > 0]
    if not len(numbers):
        raise DataError("no labeled pixel has a class, by which rare_class_temperature draws rows; label some")
    if (counted := getattr(known, "counts", None)) is not None:  # of files, when they were found
        return RareClasses.of(torch.from_numpy(counted)[:, numbers], temperature)
    rows = max(1, _AT_ONCE // max(1, known[:1].numel()))
    pieces = [known[at : at + rows] for at in range(0, len(known), rows)]
    counts = [_counted(piece[:, 0] if has_weights(known) else piece, numbers) for piece in pieces]
    return RareClasses.of(torch.cat(counts), temperature)


def _counted(labels: Tensor, numbers: Tensor) -> Tensor:
    """How often each of the ascending ``numbers`` (K,) is in each row of ``labels`` (B, ...), shape (B, K)."""
    flat, wide = labels.reshape(len(labels), -1).long(), len(numbers) + 1
    place = torch.searchsorted(numbers, flat).clamp(max=len(numbers) - 1)
    place = torch.where(numbers[place] == flat, place, len(numbers))  # void is behind all
    place += wide * torch.arange(len(flat))[:, None]
    return torch.bincount(place.flatten(), minlength=wide * len(flat)).view(len(flat), wide)[:, :-1]
