"""Plain batches of a set, for evaluation."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from selftrain.data.base.reading import annotations_on, read_rows, to_device
from selftrain.data.base.samples import Samples
from selftrain.data.views.base import ViewMaker
from selftrain.errors import DataError
from selftrain.types import Annotated


class Evaluation:
    """Plain batches of a set with annotations in its own order, iterable any number of times; the last may be smaller.

    Raises:
        ValueError: a batch size below 1.
        DataError: the set has no annotations.
    """

    def __init__(self, samples: Samples, views: ViewMaker, batch_size: int, device: torch.device) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; it must be at least 1")
        self.samples, self.views, self.batch_size, self.device = samples, views, batch_size, device
        self.annotations = check_annotated("evaluated", samples)

    def __len__(self) -> int:
        return -(-len(self.samples) // self.batch_size)

    def __iter__(self) -> Iterator[Annotated]:
        for start in range(0, len(self.samples), self.batch_size):
            index = torch.arange(start, min(start + self.batch_size, len(self.samples)))
            exact = getattr(self.views, "exact", False)
            images = to_device(read_rows(self.samples, index, "the evaluated set", exact), self.device)
            # plain views draw nothing, so that the epoch is of no account
            x = self.views("plain", images, index.to(self.device), 0).x
            yield Annotated(x, annotations_on(self.annotations[index], self.device), index.to(self.device))


def check_annotated(part: str, samples: Samples) -> Tensor:
    """The annotations of a set that must have them."""
    if samples.annotations is None:
        raise DataError(f"the {part} samples have no annotations; give each one, or pass them as unlabeled")
    return samples.annotations
