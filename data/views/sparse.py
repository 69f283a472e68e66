"""Views of rows that are mostly zeros, such as counts of words: entries left out."""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import Tensor

from selftrain.data.base.random import uniform_at
from selftrain.data.base.samples import Samples
from selftrain.data.base.sparse import sparse_parts
from selftrain.data.views.base import Normalizing, Statistic, check_name
from selftrain.types import View


class SparseViews(Normalizing):
    """Views of rows (B, F) that are mostly zeros, which stay zeros; the counterpart of ``TableViews``.

    Weak and strong: each entry that is not zero is left out with a probability, and the others are divided by what is
    left of them in the mean, so that rows keep their expected length. ``View.theta`` is ``None``: there is no geometry.

    There is no mean: zeros would become numbers. All columns are divided by one number, the root of the mean square of
    the whole matrix, zeros included, so that their weights (TF-IDF) stay; columns of other units have to be scaled
    before (``sklearn.preprocessing.MaxAbsScaler`` keeps zeros).

    Args:
        weak_drop: Probability that an entry is left out of a weak view, in [0, 1).
        strong_drop: The same for strong views.
        std: Divided by; ``None``: 1 until ``fitted``.
        seed: Key of the draws.

    Raises:
        ValueError: a probability out of its range; on a call, for an unknown view, or inputs that are no rows.
    """

    on_workers = False

    def __init__(
        self, *, weak_drop: float = 0.1, strong_drop: float = 0.5, std: Statistic = None, seed: int = 0
    ) -> None:
        for word, drop in (("weak_drop", weak_drop), ("strong_drop", strong_drop)):
            if not 0 <= drop < 1:
                raise ValueError(f"{word} is {drop}; it is a probability, in [0, 1)")
        super().__init__(None, std, seed)
        self.weak_drop, self.strong_drop = weak_drop, strong_drop

    @torch.no_grad()
    def __call__(self, name: str, images: Tensor, index: Tensor, epoch: int) -> View:
        """One view of rows (B, F); see ``ViewMaker``."""
        recipe = check_name(name)
        if images.ndim != 2:
            raise ValueError(f"inputs have shape {tuple(images.shape)}, not (B, F); use TensorViews for images")
        x = self.normalize(images)
        if recipe == "plain":
            return View(x)
        drop = self.weak_drop if recipe == "weak" else self.strong_drop
        # drawn where something is: a number for each place would cost more than the network
        rows, columns = x.nonzero(as_tuple=True)
        kept = uniform_at(self.seed, epoch, index, f"{name}/drop", rows, columns) >= drop
        x[rows, columns] *= kept / (1 - drop)
        return View(x)

    def fitted(self, samples: Samples) -> SparseViews:
        """The same, dividing by the root of the mean square of ``samples`` where no ``std`` was given."""
        if self.std is not None:
            return self
        rows = np.arange(len(samples))
        parts = sparse_parts(samples, rows)
        entries = [samples.images(rows).numpy()] if parts is None else [part.data for part in parts]
        total = sum(float(np.square(part, dtype=np.float64).sum()) for part in entries)
        changed = copy.copy(self)
        width = samples.images(np.zeros(1, np.int64)).shape[1]
        changed.std = torch.tensor((total / (len(samples) * width)) ** 0.5 or 1.0)
        return changed
