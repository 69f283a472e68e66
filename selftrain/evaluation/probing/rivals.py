"""What an encoder must beat: fixed maps from inputs to features that need no training."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from selftrain.evaluation.probing.arrays import Numbers, Scale


class ImageStatistics(nn.Module):
    """Mean and standard deviation of each channel: images (B, c, H, W) -> (B, 2 c)."""

    def forward(self, x: Tensor) -> Tensor:
        """Statistics of ``x``."""
        return torch.cat([x.mean((2, 3)), x.std((2, 3), correction=0)], 1)


class Principal:
    """Standardized input in the directions of its largest variance.

    Args:
        reference: What standardization and directions are learned from, shape (n, D).
        components: Directions, >= 1; fewer if n or D is smaller.
    """

    def __init__(self, reference: Numbers, components: int) -> None:
        if components < 1:
            raise ValueError(f"components is {components}; it must be at least 1")
        self.scale = Scale(reference)
        x = self.scale(reference)
        # whichever is smaller: the D x D products of the columns, or the samples themselves
        if x.shape[1] <= len(x):
            # eigh has the largest eigenvalues last
            directions = np.linalg.eigh(x.T @ x)[1][:, ::-1]
        else:
            directions = np.linalg.svd(x, full_matrices=False)[2].T
        self.directions: Numbers = directions[:, :components]

    def __call__(self, features: Numbers) -> Numbers:
        """Components (m, k) of ``features`` (m, D), by falling variance."""
        found: Numbers = self.scale(features) @ self.directions
        return found
