"""Networks that answer in places: a U-Net, and heads for classes of pixels and for joints on any encoder of pictures.

An encoder stays what it is and lies at ``network.encoder``: a stage fills it (``learner(network, init_from=stage)``),
and ``encoder_lr`` and ``layer_decay`` are for it. Its maps are found, finest first: what its ``maps(x)`` gives, the
tokens of a transformer in their grid, the list or mapping that it returns (``features_only`` of timm, feature
extractors of torchvision), or the last map at each resolution inside a ConvNet.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from selftrain.networks.foundation import Foundation
from selftrain.networks.patches import Size, pair, pick
from selftrain.networks.sparse import seen_alone, visible_cells
from selftrain.types import Recorded

Head = Literal["unet", "deeplab", "fcn", "simple_baseline"]
_ATTENTION = "attention"  # in the name of a class: behind it tokens have left their places


class UNetEncoder(Recorded, nn.Module):
    """The way down of a U-Net, which offers the ``Encoder`` contract: conv blocks, each on half of the one before.

    Args:
        size: Height and width of the pictures in pixels, for stages that hide cells; weights fit any size.
        channels: Channels of the pictures.
        widths: Channels at each resolution, two at least.

    Raises:
        ValueError: if a side has less than one cell at the last resolution.
    """

    def __init__(self, size: Size = 64, channels: int = 3, *, widths: Sequence[int] = (16, 32, 64, 96)) -> None:
        super().__init__()
        height, width = pair(size, "size")
        least = 2 ** (len(widths) - 1)
        if len(widths) < 2 or min(height, width) < least:
            raise ValueError(f"size is {size} and widths {tuple(widths)}; a side must have {least} pixels at least")
        self.embed_dim = self.token_dim = widths[-1]
        self.shape, self.grid = (channels, height, width), (height // least, width // least)
        self.blocks = nn.ModuleList(
            nn.Sequential(*([nn.MaxPool2d(2)] if number else []), _conv(before, after), _conv(after, after))
            for number, (before, after) in enumerate(zip([channels, *widths], widths, strict=False))
        )

    def maps(self, x: Tensor) -> list[Tensor]:
        """Feature maps of pictures (B, channels, H, W) of any size, the finest first."""
        found = []
        for block in self.blocks:
            x = block(x)
            found.append(x)
        return found

    def forward(self, x: Tensor) -> Tensor:
        """Features (B, embed_dim): the mean over places of the last map."""
        return self.maps(x)[-1].mean((2, 3))

    def tokens(self, x: Tensor, keep: Tensor | None = None) -> Tensor:
        """Cells of the last map, (B, T, token_dim), or (B, N, token_dim) at ``keep``; see ``ConvEncoder.tokens``."""
        if keep is None:
            return self.maps(x)[-1].flatten(2).transpose(1, 2)
        with seen_alone(self.blocks, visible_cells(keep, self.grid)):
            cells = self.maps(x)[-1].flatten(2).transpose(1, 2)
        return pick(cells, keep)

    def layers(self) -> Sequence[nn.Module]:
        """The blocks, from the input on."""
        return list(self.blocks)


class DenseNetwork(Recorded, nn.Module):
    """Base of the networks that answer in places: an encoder, a head, and logits (B, outputs, *size).

    Args:
        encoder: From pictures to features or maps, see above; used as it is.
        outputs: Classes or joints.
        head: ``"unet"``: from the coarsest map up, beside the map of each resolution and at last the picture itself
            (Ronneberger et al. 2015, arXiv:1505.04597; one convolution a resolution); ``"deeplab"``: DeepLabV3+ (Chen
            et al. 2018, arXiv:1802.02611; rates 3, 6 and 9, as the strides of the encoder stay, and half the width);
            ``"fcn"``: of the coarsest map alone (Long et al. 2015, arXiv:1411.4038, without its skips);
            ``"simple_baseline"``: transposed convolutions (Xiao et al. 2018, arXiv:1804.06208, half the width, as
            many as the size needs).
        size: Rows and columns of the answer; ``None``: those of the picture.
        shape: Of one picture, to find the maps; ``None``: that of the encoder, or three channels.
        levels: Answers: the head's, and one of each of the ``levels - 1`` coarsest maps by a 1x1 convolution, enlarged
            bilinearly, the coarsest first. With more than 1 the network gives a mapping, ``{"logits": ..., "aux":
            (...)}``: strategies that know of levels (``ReviewedTeacher``) learn them, for others they are not there.

    Raises:
        ValueError: an unknown head, more levels than maps, or an encoder of which no maps are known; the message says
            what to give instead.
    """

    def __init__(
        self,
        encoder: nn.Module,
        outputs: int,
        *,
        head: Head = "unet",
        size: Size | None = None,
        shape: Sequence[int] | None = None,
        levels: int = 1,
    ) -> None:
        super().__init__()
        if head not in _HEADS:
            raise ValueError(f"head is {head!r}; choose one of {[*_HEADS]}")
        self.encoder, self.size = encoder, None if size is None else pair(size, "size")
        side = (encoder.size if isinstance(encoder, Foundation) else None) or 64
        own: Any = getattr(encoder, "shape", (3, side, side))
        shape = tuple(shape or own)
        if len(shape) != 3:
            raise ValueError(f"inputs are {shape}; places are found in pictures (channels, height, width)")
        self.parts = _parts(encoder, shape)
        weight = next(encoder.parameters())
        with _at_rest(encoder), torch.no_grad():
            maps = self.maps(torch.zeros(2, *shape, device=weight.device, dtype=weight.dtype))
        if not 1 <= levels <= 1 + len(maps):
            raise ValueError(f"levels is {levels}; with {len(maps)} maps of the encoder choose 1 to {1 + len(maps)}")
        strides = [round(shape[1] / each.shape[2]) for each in maps]
        finest = 1 if self.size is None else max(1, round(shape[1] / self.size[0]))
        self.head: nn.Module = _HEADS[head]([each.shape[1] for each in maps], strides, outputs, shape[0], finest)
        coarsest = maps[::-1][: levels - 1]
        self.level_heads = nn.ModuleList(nn.Conv2d(each.shape[1], outputs, 1) for each in coarsest)

    def forward(self, x: Tensor) -> Tensor | dict[str, Any]:
        """Logits (B, outputs, *size) of pictures (B, channels, H, W); with levels a mapping, see above."""
        maps, size = self.maps(x), self.size or x.shape[2:]
        logits = _resized(self.head(x, maps), size)
        if not len(self.level_heads):
            return logits
        pairs = zip(self.level_heads, maps[::-1], strict=False)
        return {"logits": logits, "aux": tuple(_resized(head(each), size) for head, each in pairs)}

    def maps(self, x: Tensor) -> list[Tensor]:
        """Feature maps of the encoder, the finest first."""
        encoder: Any = self.encoder
        own = getattr(encoder, "maps", None)
        if own is not None and not isinstance(own, nn.Module):
            return list(own(x))
        if self.parts is None:  # tokens
            tokens: Tensor = encoder.tokens(x)
            return [tokens.transpose(1, 2).unflatten(2, encoder.grid)]
        found: dict[str, Tensor] = {}
        with contextlib.ExitStack() as stack:
            for name in self.parts:
                part = encoder.get_submodule(name)
                stack.callback(part.register_forward_hook(_noting(found, name)).remove)
            given = encoder(x)
        return [found[name] for name in self.parts] if self.parts else _listed(encoder, given)


class UNet(DenseNetwork):
    """A small U-Net of 338,000 weights by default: pictures (B, channels, H, W) of any size -> (B, classes, H, W).

    Source: Ronneberger et al., "U-Net", 2015, arXiv:1505.04597. Differs: BatchNorm, padded convolutions, one
    convolution a resolution on the way up, bilinear enlargement, and narrow.

    Args:
        classes: Number of classes.
        channels: Channels of the pictures.
        widths: Channels at each resolution.
        size: Height and width of the pictures in pixels, for stages that hide cells; any size goes through.
    """

    def __init__(
        self, classes: int, channels: int = 3, *, widths: Sequence[int] = (16, 32, 64, 96), size: Size = 64
    ) -> None:
        super().__init__(UNetEncoder(size, channels, widths=widths), classes)


class Segmenter(DenseNetwork):
    """A class for each pixel, on any encoder of pictures: (B, channels, H, W) -> logits (B, classes, H, W).

    Args:
        encoder: From pictures to features or maps; used as it is.
        classes: Number of classes.
        head: See ``DenseNetwork``.
        shape: Of one picture; ``None``: that of the encoder, or three channels.
        levels: See ``DenseNetwork``.
    """

    def __init__(
        self,
        encoder: nn.Module,
        classes: int,
        *,
        head: Head = "unet",
        shape: Sequence[int] | None = None,
        levels: int = 1,
    ) -> None:
        super().__init__(encoder, classes, head=head, shape=shape, levels=levels)


class PoseNet(DenseNetwork):
    """A heatmap for each joint, on any encoder of pictures: (B, channels, H, W) -> (B, joints, *size).

    Args:
        encoder: From pictures to features or maps; used as it is.
        joints: Number of joints.
        head: See ``DenseNetwork``.
        size: Rows and columns of the heatmaps, as the task has them; ``None``: those of the picture.
        shape: Of one picture; ``None``: that of the encoder, or three channels.
        levels: See ``DenseNetwork``.
    """

    def __init__(
        self,
        encoder: nn.Module,
        joints: int,
        *,
        head: Head = "simple_baseline",
        size: Size | None = None,
        shape: Sequence[int] | None = None,
        levels: int = 1,
    ) -> None:
        super().__init__(encoder, joints, head=head, size=size, shape=shape, levels=levels)


class _UNetHead(nn.Module):
    def __init__(self, channels: Sequence[int], strides: Sequence[int], outputs: int, colors: int, finest: int) -> None:
        super().__init__()
        beside = [*zip(strides, channels, range(len(channels)), strict=True)]
        if strides[0] > 1:  # small pictures have their detail nowhere else
            beside.insert(0, (1, colors, -1))
        stride, width, _ = beside.pop()
        self.steps: list[tuple[int, int | None]] = []
        self.blocks = nn.ModuleList()
        while stride > finest:
            below = [level for level in beside if finest <= level[0] < stride]
            # a transformer's one map is many times coarser than the picture: halved step by step on the way
            near = below[-1] if below and below[-1][0] * 2 >= stride else None
            stride = near[0] if near else max(stride // 2, finest)
            after = min(16 * stride, channels[-1])
            self.blocks.append(_conv(width + (near[1] if near else 0), after))
            self.steps.append((stride, near[2] if near else None))
            width = after
        self.last = nn.Conv2d(width, outputs, 1)

    def forward(self, x: Tensor, maps: Sequence[Tensor]) -> Tensor:
        """Logits at the finest resolution that it has."""
        found = maps[-1]
        for block, (stride, level) in zip(self.blocks, self.steps, strict=True):
            near = None if level is None else x if level < 0 else maps[level]
            size = [-(-side // stride) for side in x.shape[2:]] if near is None else near.shape[2:]
            found = _resized(found, size)
            found = block(found if near is None else torch.cat([found, near.to(found)], 1))
        logits: Tensor = self.last(found)
        return logits


class _DeepLabHead(nn.Module):
    def __init__(self, channels: Sequence[int], strides: Sequence[int], outputs: int, colors: int, finest: int) -> None:
        super().__init__()
        width = 128
        self.branches = nn.ModuleList(
            [_conv(channels[-1], width, 1), *(_conv(channels[-1], width, 3, rate) for rate in (3, 6, 9))]
        )
        # without BatchNorm: one value a channel of one picture has no variance
        self.whole = nn.Sequential(nn.Conv2d(channels[-1], width, 1), nn.ReLU())
        self.join = nn.Sequential(_conv(5 * width, width, 1), nn.Dropout(0.1))
        fine = [level for level, stride in enumerate(strides[:-1]) if stride >= 4]
        self.fine = fine[0] if fine else len(strides) - 2  # -1: there is one map alone
        self.detail = _conv(channels[self.fine], 48, 1) if self.fine >= 0 else None
        self.mix = nn.Sequential(_conv(width + (48 if self.detail else 0), width), _conv(width, width))
        self.last = nn.Conv2d(width, outputs, 1)

    def forward(self, x: Tensor, maps: Sequence[Tensor]) -> Tensor:
        """Logits at a quarter of the picture, or what map is nearest to it."""
        top = maps[-1]
        mean = self.whole(top.mean((2, 3), keepdim=True)).expand(-1, -1, *top.shape[2:])
        found = self.join(torch.cat([*(branch(top) for branch in self.branches), mean], 1))
        if self.detail is not None:
            fine = maps[self.fine]
            found = torch.cat([_resized(found, fine.shape[2:]), self.detail(fine)], 1)
        logits: Tensor = self.last(self.mix(found))
        return logits


class _FCNHead(nn.Module):
    def __init__(self, channels: Sequence[int], strides: Sequence[int], outputs: int, colors: int, finest: int) -> None:
        super().__init__()
        width = max(channels[-1] // 4, 32)
        self.mix = nn.Sequential(_conv(channels[-1], width), nn.Dropout(0.1), nn.Conv2d(width, outputs, 1))

    def forward(self, x: Tensor, maps: Sequence[Tensor]) -> Tensor:
        """Logits at the coarsest resolution."""
        logits: Tensor = self.mix(maps[-1])
        return logits


class _DeconvHead(nn.Module):
    def __init__(self, channels: Sequence[int], strides: Sequence[int], outputs: int, colors: int, finest: int) -> None:
        super().__init__()
        width, count = 128, 0
        while strides[-1] // 2 ** (count + 1) >= finest:
            count += 1
        self.up = nn.Sequential(
            *(
                nn.Sequential(
                    nn.ConvTranspose2d(width if number else channels[-1], width, 4, 2, 1, bias=False),
                    nn.BatchNorm2d(width),
                    nn.ReLU(),
                )
                for number in range(count)
            ),
            nn.Conv2d(width if count else channels[-1], outputs, 1),
        )

    def forward(self, x: Tensor, maps: Sequence[Tensor]) -> Tensor:
        """Logits at about the size of the heatmaps."""
        logits: Tensor = self.up(maps[-1])
        return logits


_HEADS: dict[str, Any] = {
    "unet": _UNetHead,
    "deeplab": _DeepLabHead,
    "fcn": _FCNHead,
    "simple_baseline": _DeconvHead,
}
HEADS = tuple(_HEADS)


def _conv(before: int, after: int, kernel: int = 3, rate: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(before, after, kernel, padding=kernel // 2 * rate, dilation=rate, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(after), nn.ReLU())


def _resized(x: Tensor, size: Sequence[int]) -> Tensor:
    if tuple(x.shape[2:]) == tuple(size):
        return x
    return F.interpolate(x, tuple(size), mode="bilinear", align_corners=False)


def _noting(found: dict[str, Tensor], name: str) -> Any:
    return lambda _, __, given: found.__setitem__(name, given)


@contextlib.contextmanager
def _at_rest(network: nn.Module) -> Any:
    """A probe must not move the statistics of a pretrained network."""
    modes = [(part, part.training) for part in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode


def _listed(encoder: nn.Module, given: Any) -> list[Tensor]:
    """Maps that an encoder returns, the finest first."""
    maps: list[Tensor] = [*given.values()] if isinstance(given, Mapping) else list(given)
    told: Any = getattr(encoder, "feature_info", None)  # of timm, some of whose networks have the channels last
    if told is not None:
        maps = [m if m.shape[1] == width else m.movedim(-1, 1) for m, width in zip(maps, told.channels(), strict=True)]
    return sorted(maps, key=lambda found: -found.shape[2])


def _parts(encoder: nn.Module, shape: tuple[int, ...]) -> list[str] | None:
    """Names of the parts whose outputs are the maps, finest first; ``[]``: it returns them; ``None``: it has tokens.

    Raises:
        ValueError: there are no maps, or tokens that have left their places.
    """
    if callable(getattr(encoder, "maps", None)):
        return []
    given, found, places = _asked(encoder, shape)
    if isinstance(given, (list, tuple, Mapping)):
        maps = [*given.values()] if isinstance(given, Mapping) else [*given]
        if maps and all(isinstance(one, Tensor) and one.dim() == 4 for one in maps):
            return []
    if found and places:
        last = {sides: part for part, sides in found.items()}  # of each resolution
        return [last[sides] for sides in sorted(last, reverse=True)]
    if hasattr(encoder, "tokens") and len(getattr(encoder, "grid", ())) == 2:
        return None
    raise ValueError(
        f"{type(encoder).__name__} has no maps for pictures {shape}; give an encoder with tokens in a grid (ViT, "
        "TimmEncoder), a ConvNet, one that returns its maps (timm: features_only=True), or a method maps(x)"
    )


def _asked(encoder: nn.Module, shape: tuple[int, ...]) -> tuple[Any, dict[str, tuple[int, int]], bool]:
    """What an encoder gives, rows and columns of its maps by part in their order, and whether these keep their places.

    Behind attention over tokens (B, N, D) the only maps that are left are those of the patches before it.
    """
    found: dict[str, tuple[int, int]] = {}
    tokens: list[str] = []

    def note(part: str, module: nn.Module, given: Any) -> None:
        given = given[0] if isinstance(given, tuple) and given else given
        if not isinstance(given, Tensor):
            return
        if given.dim() == 3 and _ATTENTION in type(module).__name__.lower():
            tokens.append(part)
        # a map of channels last, inside a block, has other sides than the picture
        rows, columns = given.shape[2:] if given.dim() == 4 else (0, 0)
        if min(rows, columns) > 1 and abs(rows * shape[2] - columns * shape[1]) <= max(shape[1:]):
            found.pop(part, None)
            found[part] = (rows, columns)

    weight = next(encoder.parameters())
    with contextlib.ExitStack() as stack, _at_rest(encoder), torch.no_grad():
        for part, module in encoder.named_modules():
            if part and not isinstance(module, (nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)):
                hook = module.register_forward_hook(lambda m, _, given, part=part: note(part, m, given))
                stack.callback(hook.remove)
        given = encoder(torch.zeros(2, *shape, device=weight.device, dtype=weight.dtype))
    return given, found, not tokens
