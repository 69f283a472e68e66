"""How far predictions are from their targets: each distance takes two (M, B, N, K) and gives their mean distance."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional as F

Distance = Callable[[Tensor, Tensor], Tensor]


def mse(guess: Tensor, aim: Tensor) -> Tensor:
    """Squared difference."""
    return F.mse_loss(guess, aim)


def l1(guess: Tensor, aim: Tensor) -> Tensor:
    """Absolute difference."""
    return F.l1_loss(guess, aim)


def smooth_l1(guess: Tensor, aim: Tensor, beta: float = 1.0) -> Tensor:
    """``r^2 / (2 beta)`` where the difference r is below ``beta``, ``|r| - beta / 2`` beyond."""
    return F.smooth_l1_loss(guess, aim, beta=beta)


def cosine(guess: Tensor, aim: Tensor) -> Tensor:
    """One minus the cosine of the angle between them."""
    return (1 - F.cosine_similarity(guess, aim, dim=-1)).mean()


def unit_smooth_l1(guess: Tensor, aim: Tensor) -> Tensor:
    """Smooth L1 (beta 1) of both at length 1, summed over K: CNN-JEPA's."""
    sides = F.normalize(guess, dim=-1), F.normalize(aim, dim=-1)
    return F.smooth_l1_loss(*sides, reduction="none").sum(-1).mean()


DISTANCES: dict[str, Distance] = {
    "mse": mse,
    "l1": l1,
    "smooth_l1": smooth_l1,
    "cosine": cosine,
    "unit_smooth_l1": unit_smooth_l1,
}


def as_distance(distance: str | Distance) -> Distance:
    """The distance of this name, or the function itself; raises ``ValueError`` for another name."""
    if not isinstance(distance, str):
        return distance
    if distance not in DISTANCES:
        raise ValueError(f"distance is {distance!r}; choose one of {', '.join(DISTANCES)} or pass a function")
    return DISTANCES[distance]
