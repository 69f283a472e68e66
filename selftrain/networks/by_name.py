"""Small networks by name for each kind of input, and what a user's own network may be."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from selftrain.arguments import shown
from selftrain.networks.copying import copy_network
from selftrain.networks.dense import HEADS, DenseNetwork, PoseNet, Segmenter, UNetEncoder
from selftrain.networks.encoders import Classifier, ConvEncoder
from selftrain.networks.foundation import TimmNet, TorchvisionNet
from selftrain.networks.timm import ConvNetEncoder, FeatureEncoder, TimmEncoder
from selftrain.networks.vit import ViT, point_transformer, series_transformer, table_transformer
from selftrain.types import InputKind, Recorded

Network = str | nn.Module | Callable[..., nn.Module]
Shape = tuple[int, ...]
BLOCK = 4  # sides of images and series are extended to multiples of this for the networks with a name
_ROOMS = ("timm/", "torchvision/")
_LARGEST = 64  # pixels a side up to which a ConvNet with a flat read-out is small


class DenseEncoder(Recorded, nn.Module):
    """Hidden layers for table rows: (B, features) -> (B, width).

    Args:
        columns: Features of a row.
        width: Units of a hidden layer.
        depth: Hidden layers, at least 1.
        dropout: Share of units dropped behind each hidden layer, in [0, 1).

    Raises:
        ValueError: for a depth below 1.
    """

    def __init__(self, columns: int, *, width: int = 128, depth: int = 2, dropout: float = 0.2) -> None:
        super().__init__()
        if depth < 1:
            raise ValueError(f"depth is {depth}; it must be at least 1")
        self.shape, self.embed_dim = (columns,), width
        sizes = [columns] + [width] * depth
        self.blocks = nn.Sequential(
            *(
                nn.Sequential(nn.Linear(i, o), nn.ReLU(), nn.Dropout(dropout))
                for i, o in zip(sizes, sizes[1:], strict=False)
            )
        )
        for layer in self.blocks.modules():
            if isinstance(layer, nn.Linear):
                # PyTorch's default start assumes a slope of sqrt(5) and lets the signal of a ReLU network fade
                nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Features of rows."""
        features: Tensor = self.blocks(x)
        return features

    def layers(self) -> Sequence[nn.Module]:
        """The hidden layers, from the input on."""
        return list(self.blocks)


class PlainEncoder(Recorded, nn.Module):
    """No layer at all: the features of a row are the row, so that a head on it is logistic regression.

    Args:
        columns: Features of a row that it reads.
        first: Number of the first of them, where rows have more, such as the features of several encoders side by
            side; ``None``: they have no others.
    """

    def __init__(self, columns: int, *, first: int | None = None) -> None:
        super().__init__()
        self.shape, self.embed_dim, self.first = (columns,), columns, first

    def forward(self, x: Tensor) -> Tensor:
        """The rows, or their columns."""
        return x if self.first is None else x.narrow(1, self.first, self.embed_dim)


class SmallResNet(Recorded, nn.Module):
    """A residual network for photographs at a seventh of the work of a ResNet-18: (B, channels, H, W) -> (B, D).

    Its stem, one basic block at each resolution from a quarter to 1/32 of the sides, and the mean over places; He et
    al. 2016, arXiv:1512.03385, at half the width and half the depth of their smallest.

    Args:
        channels: Channels of the images.
        width: Channels at the first resolution; each further one has twice as many, D = 8 ``width``.
    """

    def __init__(self, channels: int = 3, *, width: int = 32) -> None:
        super().__init__()
        from torchvision.models.resnet import BasicBlock  # of a dependency that takes a second to load

        self.stem = nn.Sequential(
            nn.Conv2d(channels, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(3, 2, 1)
        )
        sizes = [width, width, 2 * width, 4 * width, 8 * width]
        self.blocks = nn.Sequential(
            *(
                BasicBlock(before, after, stride, None if before == after else _shortcut(before, after))
                for before, after, stride in zip(sizes, sizes[1:], (1, 2, 2, 2), strict=False)
            )
        )
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Features of images."""
        found: Tensor = self.blocks(self.stem(x))
        return found.mean((2, 3))


def _shortcut(before: int, after: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(before, after, 1, 2, bias=False), nn.BatchNorm2d(after))


def backbone(name: str, shape: Shape, *, masked: bool = False) -> nn.Module:
    """An architecture of timm or torchvision by name, with weights that are drawn.

    Args:
        name: ``"timm/resnet18"`` or ``"torchvision/convnext_tiny"``; with weights of others it is
            ``selftrain.pretrained(name)``.
        shape: Of one image.
        masked: Whether parts of images will be hidden from it.

    Raises:
        ValueError: an unknown name, or one that does not take such images.
        ImportError: timm is not there.
    """
    room, _, architecture = name.partition("/")
    if room == "timm" and find_spec("timm") is None:
        raise ImportError(f"{name} is a network of timm: pip install 'selftrain[timm]'")
    body: nn.Module
    if room == "timm":
        body = TimmNet(architecture, size=(shape[1], shape[2]), channels=shape[0])
    else:
        body = TorchvisionNet(architecture, size=shape[1] if shape[1] == shape[2] else None)
    try:
        if hasattr(getattr(body, "model", None), "patch_embed") and hasattr(body.model, "blocks"):
            made: nn.Module = TimmEncoder(body)
            if made.shape != shape:
                raise ValueError(f"it cuts images {made.shape} into whole patches")
            return made
        return _around(body, shape, masked=masked)
    except (ValueError, RuntimeError, AssertionError) as error:
        raise ValueError(
            f"{name} does not take images of shape {tuple(shape)}: {error}; read them with another size=, or take "
            "another network"
        ) from error


def _around(body: nn.Module, shape: Shape, *, masked: bool = False) -> nn.Module:
    """A ConvNet as an encoder; of small images it has no cells to hide."""
    try:
        return ConvNetEncoder(body, shape)
    except ValueError:
        if masked:
            raise
        return FeatureEncoder(body, shape)


def _image_network(shape: Shape) -> nn.Module:
    height, width = shape[1:]
    # at most 64 tokens up to 128 pixels: attention over more is not minutes on a CPU any more
    patch = (_divisor(height), _divisor(width))
    return ViT((height, width), patch, shape[0], width=64, depth=3)


def _divisor(side: int) -> int:
    """The smallest patch that divides a side into at most 8 parts (above 128 pixels 16), at least 2 pixels long."""
    most = min(16, max(8, side // 16))
    return next(patch for patch in range(min(2, side), side + 1) if side % patch == 0 and side // patch <= most)


def _series_network(shape: Shape) -> nn.Module:
    channels, length = shape
    patch = next(p for p in range(1, length + 1) if length % p == 0 and length // p <= 32)
    return series_transformer(length, patch, channels)


def _point_network(shape: Shape) -> nn.Module:
    points, dims = shape
    return point_transformer(points, groups=min(16, points), neighbors=min(16, points), dims=dims)


ENCODERS: dict[InputKind, dict[str, Callable[[Shape], nn.Module]]] = {
    "table": {
        "mlp": lambda shape: DenseEncoder(shape[0]),
        "transformer": lambda shape: table_transformer(shape[0]),
        "linear": lambda shape: PlainEncoder(shape[0]),
    },
    "image": {
        "conv": lambda shape: ConvEncoder((shape[1], shape[2]), shape[0]),
        "vit": _image_network,
        "resnet": lambda shape: _around(SmallResNet(shape[0]), shape),
        "unet": lambda shape: UNetEncoder((shape[1], shape[2]), shape[0]),
    },
    "series": {"transformer": _series_network},
    "points": {"transformer": _point_network},
}


def make_encoder(
    network: Network,
    kind: InputKind,
    shape: Shape,
    *,
    masked: bool = False,
    gaps: bool = False,
    sites: Shape = (),
) -> nn.Module:
    """A fresh encoder.

    Args:
        network: A name in ``ENCODERS``, ``"timm/NAME"`` or ``"torchvision/NAME"``, ``"auto"``, an encoder (copied), or
            a function of (shape) or of nothing. For answers in places the name of a head of ``DenseNetwork`` may stand
            before it, such as ``"deeplab/torchvision/resnet50"``.
        kind: Kind of input.
        shape: Of one input.
        masked: Whether it is to be pretrained by a method that needs tokens; ``"auto"`` then picks one that has them.
        gaps: Whether series hold NaN where nothing is; networks with a name then leave it out.
        sites: Rows and columns of the answers, where there is one a place: of masks and joints.

    Raises:
        ValueError: for an unknown name, or something else than an encoder.
    """
    if isinstance(network, str):
        name = network_name(network, kind, shape, masked=masked, sites=sites)
        name = _with_head(name)[1] if sites else name
        if gaps:  # at most 32 tokens, as without
            return series_transformer(shape[1], -(-shape[1] // 32), shape[0], gaps=True)
        return backbone(name, shape, masked=masked) if name.startswith(_ROOMS) else ENCODERS[kind][name](shape)
    built = copy_network(network) if isinstance(network, nn.Module) else _called(network, shape)
    inner = getattr(built, "encoder", None)
    # a classifier is given where an encoder is asked for: its encoder is meant
    built = inner if isinstance(inner, nn.Module) and not hasattr(built, "embed_dim") else built
    if not hasattr(built, "embed_dim"):
        raise ValueError(f"{type(built).__name__} is no encoder: it has no embed_dim; see selftrain.networks.Encoder")
    return built


def make_network(
    network: Network,
    kind: InputKind,
    shape: Shape,
    outputs: int,
    *,
    masked: bool = False,
    gaps: bool = False,
    sites: Shape = (),
) -> nn.Module:
    """A fresh network from inputs to ``outputs`` logits; arguments as in ``make_encoder``.

    A module with ``embed_dim`` is an encoder and gets a linear head, or one for places, any other is taken as it is.
    """
    if isinstance(network, str):
        encoder = make_encoder(network, kind, shape, masked=masked, gaps=gaps, sites=sites)
        return _in_places(encoder, outputs, shape, sites, network) if sites else Classifier(encoder, outputs)
    built = copy_network(network) if isinstance(network, nn.Module) else _called(network, shape, outputs)
    if any(nn.parameter.is_lazy(weight) for weight in built.parameters()):
        built.eval()(torch.zeros(2, *shape))  # lazy weights get their shapes from the first input
    if not hasattr(built, "embed_dim"):
        return built
    return _in_places(built, outputs, shape, sites) if sites else Classifier(built, outputs)


def _in_places(encoder: nn.Module, outputs: int, shape: Shape, sites: Shape, name: str = "") -> DenseNetwork:
    head: Any = _with_head(name)[0]
    if sites == shape[1:]:
        return Segmenter(encoder, outputs, head=head, shape=shape)
    return PoseNet(encoder, outputs, head=head, size=(sites[0], sites[1]), shape=shape)


def _with_head(name: str) -> tuple[str, str]:
    """Names of the head and of the encoder."""
    head, _, encoder = name.partition("/")
    return (head, encoder) if head in HEADS and encoder else ("unet", name)


def network_name(name: str, kind: InputKind, shape: Shape, *, masked: bool = False, sites: Shape = ()) -> str:
    """The name in ``ENCODERS`` that ``"auto"`` stands for, or the given one; arguments as in ``make_encoder``.

    Raises:
        ValueError: for an unknown name.
    """
    known = ENCODERS[kind]
    encoder = _with_head(name)[1] if sites else name
    if sites and encoder == "auto":
        return name.removesuffix("auto") + "unet"
    given, name = name, encoder
    if name == "auto":
        # a flat read-out grows with the image and needs sides that can be halved twice
        unfit = kind == "image" and (max(shape[1:]) > _LARGEST or any(side % BLOCK for side in shape[1:]))
        name = "transformer" if kind == "table" and masked else "vit" if unfit else next(iter(known))
    if name not in known and not (kind == "image" and name.startswith(_ROOMS)):
        more = ", timm/NAME, torchvision/NAME" if kind == "image" else ""
        heads = f", and {', '.join(HEADS)} with a / before each" if sites else ""
        raise ValueError(f"no network {name!r} for {kind} data; known are auto, {', '.join(known)}{more}{heads}")
    return given if sites else name


def _called(make: Any, *sizes: Any) -> nn.Module:
    """Call a function with as many of the sizes as it asks for."""
    if not callable(make):
        raise ValueError(f"network is {make!r}; give a name, a module, or a function that builds one")
    # by what it asks for, so that both ``lambda: net`` and ``lambda shape, classes: net`` are functions that build one
    try:
        asked = inspect.signature(make).parameters.values()
    except ValueError as error:  # of C
        raise ValueError(
            f"network is {shown(make)}, which says not what it takes; give lambda shape, outputs: ..."
        ) from error
    needed = [p for p in asked if p.default is p.empty and p.kind is not p.VAR_KEYWORD]
    built = make(*sizes[: len([p for p in needed if p.kind is not p.VAR_POSITIONAL])])
    if not isinstance(built, nn.Module):
        raise ValueError(f"network built a {type(built).__name__}; it must build a torch.nn.Module")
    return built
