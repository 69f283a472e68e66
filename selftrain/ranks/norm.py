"""BatchNorm of rows that several ranks share: with the statistics of all rows, or of a rank's own."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from selftrain.ranks.group import Group


def sharing_norms(group: Group) -> AbstractContextManager[Any]:
    """Inside, ``batch_norm`` in training mode is that of all ranks together, whichever module calls it."""
    return _Norms(group)


class _Norms(TorchFunctionMode):
    """Catch ``batch_norm``; modules, their names and their states stay as they are."""

    def __init__(self, group: Group) -> None:
        super().__init__()
        self.group = group

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is not F.batch_norm:
            return func(*args, **kwargs)
        return _batch_norm(self.group, *args, **kwargs)


def _batch_norm(
    group: Group,
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """As ``torch.nn.functional.batch_norm``; running statistics move by those of all rows."""
    if not training:
        return F.batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)
    if group.options.batchnorm == "own" and running_mean is None:
        return F.batch_norm(input, None, None, weight, bias, True, momentum, eps)
    count, mean, var = all_moments(group, input.detach())
    if running_mean is not None and running_var is not None:
        running_mean.lerp_(mean.to(running_mean), momentum)
        running_var.lerp_((var * count / max(count - 1, 1)).to(running_var), momentum)
    if group.options.batchnorm == "own":
        return F.batch_norm(input, None, None, weight, bias, True, momentum, eps)
    normal: Tensor = _Normal.apply(input, mean, (var + eps).rsqrt(), count, group)
    shape = [1, -1, *[1] * (input.dim() - 2)]
    scaled = normal if weight is None else normal * weight.view(shape).to(normal)
    return scaled if bias is None else scaled + bias.view(shape).to(normal)


def all_moments(group: Group, x: Tensor) -> tuple[float, Tensor, Tensor]:
    """Number of values a channel, mean and (biased) variance of each, shape (C,), over all ranks' ``x`` (b, C, ...)."""
    wide = x if x.dtype == torch.float64 else x.float()
    axes = [0, *range(2, x.dim())]
    var, mean = torch.var_mean(wide, axes, correction=0)
    own = torch.cat([mean, var, mean.new_tensor([x.numel() / x.shape[1]])])
    every = group.all_rows(own[None], [1] * group.size, "statistics")
    means, variances, counts = every[:, : len(mean)], every[:, len(mean) : -1], every[:, -1:]
    total = counts.sum()
    joint = (counts * means).sum(0) / total
    spread = (counts * (variances + (means - joint).square())).sum(0) / total
    return float(total), joint, spread


class _Normal(torch.autograd.Function):
    """``(x - mean) / deviation`` where both are of all ranks' rows: gradients reach every rank's rows through them."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, mean: Tensor, scale: Tensor, count: float, group: Group) -> Tensor:
        shape = [1, -1, *[1] * (x.dim() - 2)]
        normal = ((x - mean.view(shape)) * scale.view(shape)).to(x.dtype)
        ctx.save_for_backward(normal, scale)
        ctx.count, ctx.group, ctx.shape = count, group, shape
        return normal

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        normal, scale = ctx.saved_tensors
        grad, axes = grads[0].to(scale.dtype), [0, *range(2, normal.dim())]
        sums = torch.cat([grad.sum(axes), (grad * normal).sum(axes)])
        mean, slope = (ctx.group.total(sums, "statistics") / ctx.count).chunk(2)
        back = scale.view(ctx.shape) * (grad - mean.view(ctx.shape) - normal * slope.view(ctx.shape))
        return back.to(normal.dtype), None, None, None, None
