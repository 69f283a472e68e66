"""Convolutional networks that see some cells of a picture only, as if no others existed; the network is not changed.

Source: Tian et al. 2023, SparK, arXiv:2301.03580, section 3.1, and Woo et al. 2023, ConvNeXt V2, arXiv:2301.00808,
section 3: a sparse convolution is a dense one whose hidden places are zero before it, at every resolution.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import batchnorm, pooling

# timm's, by name since it need not be there: each multiplies (B, C, H, W) by a function of its mean over places
_GATES = ("SEModule", "SqueezeExcite", "EffectiveSEModule", "EcaModule")
_POOLS = (pooling._MaxPoolNd, pooling._AvgPoolNd, pooling._AdaptiveAvgPoolNd, pooling._AdaptiveMaxPoolNd)


@contextmanager
def seen_alone(network: nn.Module, visible: Tensor, *, noise: float = 0.0) -> Iterator[None]:
    """Let a network see some cells of its inputs, for the passes within the block.

    Whatever reads more than one place (convolutions, pooling, GRN, GroupNorm) finds zeros at hidden ones, at each
    resolution; BatchNorm sees visible places alone, in its running statistics too; the mean over places of a
    squeeze-and-excitation is that of the visible ones. What comes out at hidden cells has no meaning.

    Differs from both sources: GroupNorm counts hidden places as zeros, and resolutions that the grid does not divide
    have the nearest cell at each place.

    Args:
        network: Of layers for (B, C, H, W); hooks are put on them and taken off again.
        visible: Which cells are seen, shape (B, rows, columns), bool.
        noise: Standard deviation of what is put at hidden places behind convolutions and BatchNorm, to see whether it
            reaches others.

    Gradient: flows as through the network; none comes from hidden places.
    """
    hidden = _Hidden(visible, noise)
    with ExitStack() as stack:
        for module in network.modules():
            before, after = hidden.hooks(module)
            stack.callback(module.register_forward_pre_hook(before).remove)
            stack.callback(module.register_forward_hook(after).remove)
            if noise and isinstance(module, (nn.Conv2d, batchnorm._BatchNorm)):
                stack.callback(module.register_forward_hook(hidden.put_noise).remove)
        yield


class _Hidden:
    """Hooks of the layers of one network, which know what is visible."""

    def __init__(self, visible: Tensor, noise: float) -> None:
        self.visible, self.noise = visible, noise
        self.masks: dict[tuple[int, int], Tensor] = {}
        self.places: dict[nn.Module, Tensor] = {}  # that a BatchNorm was to see

    def hooks(self, module: nn.Module) -> tuple[Any, Any]:
        """What is done before and behind a layer."""
        if isinstance(module, batchnorm._BatchNorm) and not isinstance(module, nn.BatchNorm1d):
            return self.gather, self.scatter
        if type(module).__name__ in _GATES:
            return self.scale_up, self.scale_down
        if isinstance(module, nn.AdaptiveAvgPool2d) and module.output_size in (1, (1, 1)):
            return self.blank, self.mean_of_visible
        return self.blank if _reads_around(module) else _nothing, _nothing

    def mask(self, height: int, width: int) -> Tensor:
        """Visible places (B, height, width)."""
        if (height, width) not in self.masks:
            rows, columns = (
                torch.arange(side, device=self.visible.device) * cells // side
                for side, cells in zip((height, width), self.visible.shape[1:], strict=True)
            )
            # behind a mean over places there are no cells left to hide
            whole = self.visible.new_ones(len(self.visible), 1, 1)
            self.masks[height, width] = whole if height * width == 1 else self.visible[:, rows][:, :, columns]
        return self.masks[height, width]

    def share(self, x: Tensor) -> Tensor:
        """Of visible places, (B, 1, 1, 1)."""
        return self.mask(*x.shape[2:]).to(x.dtype).mean((1, 2))[:, None, None, None]

    def blank(self, module: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
        # before each layer and not once: every convolution smears visible cells into their hidden neighbors
        x, *rest = given
        if not isinstance(x, Tensor) or x.dim() != 4:
            return given
        last = getattr(module, "channel_dim", 1) == -1  # GRN on (B, H, W, C)
        return (x * (self.mask(*x.shape[1:3])[..., None] if last else self.mask(*x.shape[2:])[:, None]), *rest)

    def scale_up(self, module: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
        # the mean over all places of x / share, hidden ones zero, is the mean over visible places of x
        return (given[0] * self.mask(*given[0].shape[2:])[:, None] / self.share(given[0]),)

    def scale_down(self, module: nn.Module, given: tuple[Any, ...], found: Tensor) -> Tensor:
        return found * self.share(found)

    def mean_of_visible(self, module: nn.Module, given: tuple[Any, ...], found: Tensor) -> Tensor:
        return found / self.share(given[0])

    def gather(self, module: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
        self.places[module] = places = given[0].movedim(1, -1)  # (B, H, W, C)
        # as (places, C, 1, 1), which BatchNorm2d takes for a batch of single pixels: running statistics see visible
        # ones too
        return (places[self.mask(*places.shape[1:3])][..., None, None],)

    def scatter(self, module: nn.Module, given: tuple[Any, ...], found: Tensor) -> Tensor:
        places = self.places.pop(module)
        mask = self.mask(*places.shape[1:3])[..., None]
        return torch.zeros_like(places).masked_scatter(mask, found[..., 0, 0].to(places)).movedim(-1, 1)

    def put_noise(self, module: nn.Module, given: tuple[Any, ...], found: Tensor) -> Tensor:
        if found.dim() != 4:  # of a head
            return found
        # of its own generator: drop-out draws the same with and without noise
        drawn = torch.randn(found.shape, generator=torch.Generator().manual_seed(found.numel())).to(found)
        return torch.where(self.mask(*found.shape[2:])[:, None], found, self.noise * drawn)


def _nothing(*given: Any) -> None:
    """No change."""


def visible_cells(keep: Tensor, grid: tuple[int, int]) -> Tensor:
    """Positions that are kept (B, N) as a map (B, rows, columns), bool."""
    visible = torch.zeros(len(keep), grid[0] * grid[1], dtype=torch.bool, device=keep.device)
    return visible.scatter_(1, keep, True).view(-1, *grid)


def _reads_around(module: nn.Module) -> bool:
    """Whether a layer looks at more than one place."""
    kernel = getattr(module, "base_layer", module)  # with an adapter, too
    if isinstance(kernel, nn.Conv2d):
        return kernel.kernel_size != (1, 1)
    named = type(module).__name__ in ("GlobalResponseNorm", "BlurPool2d")
    return named or isinstance(module, (*_POOLS, nn.GroupNorm, nn.InstanceNorm2d))
