"""An order of places such that neighbors in the order are neighbors in space."""

from __future__ import annotations

import math
from functools import reduce

import torch
from torch import Tensor


def greedy_order(places: Tensor) -> Tensor:
    """Go from place to place, always to the nearest one that is left.

    Starts at the place with the smallest sum of coordinates; of equals the lowest number comes first. Where there are
    none, the order of the places does not depend on how they are numbered. No gradient.

    Source: Point-JEPA, Saito et al. 2024, arXiv:2404.16432.

    Args:
        places: Coordinates, shape (B, T, dims), finite.

    Returns:
        Numbers of the places in order, shape (B, T), on their device; each row has every number once.

    Raises:
        ValueError: for another shape, or coordinates that are not finite.
    """
    if places.dim() != 3 or not places.shape[1] or not places.shape[2]:
        raise ValueError(f"places have shape {tuple(places.shape)}; give (samples, places, dims)")
    if not places.isfinite().all():
        raise ValueError("places hold inf or nan, which have no nearest neighbor; clean the coordinates")
    # axis by axis: exact equals stay equal, and a sum over the last axis need not add in one order everywhere
    axes = places.detach().double().unbind(2)
    here = reduce(torch.add, axes).argmin(1, keepdim=True)
    order, gone = [here], torch.zeros_like(axes[0], dtype=torch.bool)
    for _ in range(places.shape[1] - 1):
        gone = gone.scatter(1, here, True)
        distance = reduce(torch.add, [(axis - axis.gather(1, here)).square() for axis in axes])
        here = distance.masked_fill(gone, math.inf).argmin(1, keepdim=True)
        order.append(here)
    return torch.cat(order, 1)
