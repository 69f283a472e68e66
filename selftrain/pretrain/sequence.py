"""An order of places such that neighbors in the order are neighbors in space."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def greedy_order(places: Tensor) -> Tensor:
    """Go from place to place, always to the nearest that is left.

    Starts at the place with the smallest sum of coordinates; of equals the one with the lowest number.

    Source: Saito et al. 2024, Point-JEPA, arXiv:2404.16432, section 3.2.

    Args:
        places: Coordinates, shape (B, T, dims).

    Returns:
        Numbers of the places in order, shape (B, T).
    """
    distance = torch.cdist(places, places)
    rows = torch.arange(len(places), device=places.device)
    here = places.sum(2).argmin(1)
    order = [here]
    for _ in range(places.shape[1] - 1):
        distance[rows, :, here] = math.inf  # never come here again
        here = distance[rows, here].argmin(1)
        order.append(here)
    return torch.stack(order, 1)
