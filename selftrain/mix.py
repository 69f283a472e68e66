"""Mixing samples of a batch with one another: mixup and CutMix on inputs and targets together."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from selftrain.tasks import Task
from selftrain.types import Target


def cat(*targets: Target) -> Target:
    """Join targets along the batch; validity is kept (all valid where a part says nothing)."""
    valid = None
    if any(t.valid is not None for t in targets):
        valid = torch.cat([t.mask() > 0 for t in targets])
    return Target(torch.cat([t.value for t in targets]), torch.cat([t.weight for t in targets]), valid)


def mixup(x: Tensor, target: Target, task: Task, *, alpha: float = 1.0) -> tuple[Tensor, Target]:
    """Blend each sample with a random partner of the batch, inputs and targets by the same share.

    Source: Zhang et al., "mixup", 2018, arXiv:1710.09412, eq. 1: one share ``lambda ~ Beta(alpha, alpha)`` a batch.
    The blended target is such that a loss linear in its target equals ``lambda w_i L_i + (1 - lambda) w_j L_j``.

    Args:
        x: Inputs, shape (B, ...).
        target: Their targets.
        task: Says how unit weights meet the axes of a value.
        alpha: Concentration of the Beta distribution; 0 leaves everything as it is.
    Gradient: flows to ``x``.

    Raises:
        ValueError: for a negative ``alpha``.
    """
    if alpha < 0:
        raise ValueError(f"alpha is {alpha}; it must be 0 or more")
    if alpha == 0:
        return x, target
    share = _beta(alpha)
    partner = torch.randperm(len(x), device=x.device)
    return share * x + (1 - share) * x[partner], blend(target, _pick(target, partner), share, task)


def cutmix(x: Tensor, target: Target, task: Task, *, alpha: float = 1.0) -> tuple[Tensor, Target]:
    """Paste a rectangle of a random partner into each image.

    Source: Yun et al., "CutMix", 2019, arXiv:1905.04899, algorithm 1. A target with site axes is pasted like the
    image (at its own resolution), a target without them is blended by the share of the area. One rectangle a batch.

    Args:
        x: Images, shape (B, c, H, W).
        target: Their targets.
        task: Says how unit weights meet the axes of a value.
        alpha: Concentration of the Beta distribution of the kept area; 0 leaves everything as it is.
    Gradient: flows to ``x``.

    Raises:
        ValueError: if ``x`` is no batch of images, or for a negative ``alpha``.
    """
    if x.dim() != 4:
        raise ValueError(f"cutmix needs images (B, c, H, W), got shape {tuple(x.shape)}")
    if alpha < 0:
        raise ValueError(f"alpha is {alpha}; it must be 0 or more")
    if alpha == 0:
        return x, target
    pasted = _rectangle(x.shape[-2], x.shape[-1], 1 - _beta(alpha), x.device)
    partner = torch.randperm(len(x), device=x.device)
    other = _pick(target, partner)
    mixed = torch.where(pasted, x[partner], x)
    if target.value.dim() == 2:
        return mixed, blend(target, other, 1 - float(pasted.float().mean()), task)
    return mixed, _paste(target, other, _resize(pasted, target.value.shape[-2:]))


def blend(first: Target, second: Target, share: float, task: Task) -> Target:
    """Target whose linear loss is ``share * w1 * L1 + (1 - share) * w2 * L2``."""
    w1, w2 = share * first.weight * first.mask(), (1 - share) * second.weight * second.mask()
    weight = w1 + w2
    part = task.spread(torch.where(weight > 0, w1 / weight.clamp(min=1e-12), torch.full_like(weight, share)))
    valid = None if first.valid is None and second.valid is None else (first.mask() + second.mask()) > 0
    return Target(part * first.value + (1 - part) * second.value, weight, valid)


def _paste(first: Target, second: Target, pasted: Tensor) -> Target:
    """Take ``second`` inside the rectangle; units without sites of their own (joints) count as far as both do."""
    value = torch.where(pasted, second.value, first.value)
    if first.weight.dim() != first.value.dim() - 1:
        return Target(value, torch.minimum(first.weight, second.weight), first.mask() * second.mask() > 0)
    valid = None
    if first.valid is not None or second.valid is not None:
        valid = torch.where(pasted, second.mask(), first.mask()) > 0
    return Target(value, torch.where(pasted, second.weight, first.weight), valid)


def _resize(mask: Tensor, size: torch.Size) -> Tensor:
    """Boolean (H, W) at another resolution."""
    inside: Tensor = F.interpolate(mask[None, None].float(), size=tuple(size), mode="nearest-exact")[0, 0] > 0.5
    return inside


def _beta(alpha: float) -> float:
    return float(torch.distributions.Beta(alpha, alpha).sample())


def _pick(target: Target, rows: Tensor) -> Target:
    return Target(target.value[rows], target.weight[rows], None if target.valid is None else target.valid[rows])


def _rectangle(height: int, width: int, area: float, device: torch.device) -> Tensor:
    """Boolean (height, width) mask of a rectangle around a random center, clipped at the border."""
    h, w = round(height * area**0.5), round(width * area**0.5)
    row, column = int(torch.randint(height, ())), int(torch.randint(width, ()))
    rows = torch.arange(height, device=device)[:, None]
    columns = torch.arange(width, device=device)[None, :]
    top, left = row - h // 2, column - w // 2
    inside: Tensor = (rows >= top) & (rows < top + h) & (columns >= left) & (columns < left + w)
    return inside
