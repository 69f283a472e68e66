"""BatchNorm of rows that several ranks share: with the statistics of all rows, or of a rank's own."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from selftrain.runtime.distributed.group import Group


def sharing_norms(group: Group) -> AbstractContextManager[Any]:
    """Inside, ``batch_norm`` in training mode is that of all ranks together, whichever module calls it."""
    return _Norms(group)


# `nn.SyncBatchNorm` refuses tensors on CPUs and has to be put in the place of a network's own modules.
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
    # With no running statistics to share there is nothing to say.
    if group.options.batchnorm == "own" and running_mean is None:
        return F.batch_norm(input, None, None, weight, bias, True, momentum, eps)
    count, mean, var = all_moments(group, input.detach())
    if running_mean is not None and running_var is not None:
        running_mean.lerp_(mean.to(running_mean), momentum)
        # As PyTorch: the batch is normalized by the biased variance, the running one is unbiased.
        running_var.lerp_((var * count / max(count - 1, 1)).to(running_var), momentum)
    if group.options.batchnorm == "own":
        return F.batch_norm(input, None, None, weight, bias, True, momentum, eps)
    weight = torch.ones_like(mean) if weight is None else weight
    bias = torch.zeros_like(mean) if bias is None else bias
    normal: Tensor = _Normal.apply(input, weight, bias, mean, var, eps, count, group)
    return normal


def all_moments(group: Group, x: Tensor) -> tuple[float, Tensor, Tensor]:
    """Number of values a channel, mean and (biased) variance of each, shape (C,), over all ranks' ``x`` (b, C, ...)."""
    # Sums over a batch lose too much in half precision.
    wide = x if x.dtype == torch.float64 else x.float()
    _, mean, scale = torch.native_batch_norm(wide, None, None, None, None, True, 0.0, 0.0)  # the fastest way to both
    # A channel whose values are all equal, such as one that a ReLU has silenced, has scale 0 here and not infinity.
    variance = torch.where(scale == 0, 0.0, scale.pow(-2))
    own = torch.cat([mean, variance, mean.new_tensor([x.numel() / x.shape[1]])])
    every = group.all_rows(own[None], [1] * group.size, "statistics")
    means, variances, counts = every[:, : len(mean)], every[:, len(mean) : -1], every[:, -1:]
    total = counts.sum()
    joint = (counts * means).sum(0) / total
    # Not the mean of squares less the square of the mean, which cancels where the mean is large.
    # By count: ranks may have different numbers of rows.
    spread = (counts * (variances + (means - joint).square())).sum(0) / total
    return float(total), joint, spread


class _Normal(torch.autograd.Function):
    """``weight * (x - mean) / deviation + bias`` with the moments of all rows, through which gradients reach all."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        mean: Tensor,
        var: Tensor,
        eps: float,
        count: float,
        group: Group,
    ) -> Tensor:
        ctx.save_for_backward(x, weight, mean, var)
        ctx.eps, ctx.count, ctx.group = eps, count, group
        return F.batch_norm(x, mean, var, weight, bias, False, 0.0, eps)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, var = ctx.saved_tensors
        fixed, slope, level = torch.ops.aten.native_batch_norm_backward(
            grads[0], x, weight, mean, var, None, None, False, ctx.eps, [True, True, True]
        )  # as if the moments were fixed; the sums that say how they move are those for weight and bias
        slopes, levels = ctx.group.total(torch.cat([slope, level]), "statistics").div_(ctx.count).chunk(2)
        scale, shape = (var + ctx.eps).rsqrt(), [1, -1, *[1] * (x.dim() - 2)]
        along = weight * scale.square() * slopes
        constant = weight * scale * levels - along * mean
        back = torch.addcmul(fixed - constant.view(shape), x.to(along), along.view(shape), value=-1)
        # This rank's own sums: gradients of weights are averaged over ranks later, with all others.
        return back.to(x.dtype), slope.to(weight), level.to(weight), None, None, None, None, None
