"""Views of rows whose features were computed beforehand: one of a few stored looks at each row."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from selftrain.data.base.random import uniform
from selftrain.data.base.samples import Samples
from selftrain.data.views.base import Normalizing, Statistic, check_name
from selftrain.types import View

_ROWS = 10_000  # whose plain features give mean and std
_DEAD = 1e-6  # share of the largest spread below which a feature is one value but for rounding


class FeatureViews(Normalizing):
    """Views of features (B, 1 + 2 K, D): the plain ones, K of weak views, K of strong views (``Pile.encoded``).

    Each view is one of the K looks that were computed, drawn anew for each epoch and name; all are standardized by the
    plain ones. Where there are plain features alone (B, 1, D) every view is them. ``View.theta`` is ``None``.

    Args:
        mean: Subtracted, (D,); ``None``: 0 until ``fitted``.
        std: Divided by, (D,); ``None``: 1 until ``fitted``.
        seed: Key of the draws.

    Raises:
        ValueError: on a call, for an unknown view, or inputs that are no stored features.
    """

    on_workers = False

    def __init__(self, *, mean: Statistic = None, std: Statistic = None, seed: int = 0) -> None:
        super().__init__(mean, std, seed)

    @torch.no_grad()
    def __call__(self, name: str, images: Tensor, index: Tensor, epoch: int) -> View:
        """One view (B, D) of stored features; see ``ViewMaker``."""
        recipe = check_name(name)
        if images.ndim != 3 or not images.shape[1] % 2:
            raise ValueError(
                f"inputs have shape {tuple(images.shape)}, not (B, 1 + 2 K, D): encode them like those of training, "
                "pile.encoded(encoder)"
            )
        looks = images.shape[1] // 2
        if recipe == "plain" or not looks:
            return View(self.normalize(images[:, 0]))
        place = (uniform(self.seed, epoch, index, f"{name}/look", 1)[:, 0] * looks).long()
        place = place + (1 if recipe == "weak" else 1 + looks)
        return View(self.normalize(images[torch.arange(len(images), device=images.device), place]))

    def fitted(self, samples: Samples) -> FeatureViews:
        """The same, standardizing by the plain features of ``samples`` where no mean or std was given."""
        if self.mean is not None and self.std is not None:
            return self
        places = torch.linspace(0, len(samples) - 1, min(len(samples), _ROWS)).long().unique()
        plain = torch.cat([samples.images(part.numpy())[:, 0] for part in places.split(256)]).double()
        spread = plain.std(0, correction=0)
        spread = torch.where(spread > _DEAD * spread.max(), spread, torch.ones_like(spread))
        changed = copy.copy(self)
        changed.mean = plain.mean(0).float() if self.mean is None else self.mean
        changed.std = spread.float() if self.std is None else self.std
        return changed
