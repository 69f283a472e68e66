"""Small networks that are strong for their size, and the contract of an encoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from selftrain.networks.patches import pick
from selftrain.networks.sparse import seen_alone, visible_cells
from selftrain.types import Recorded


@runtime_checkable
class Encoder(Protocol):
    """What every encoder offers: pretraining fills it, classifiers stand on it.

    Attributes:
        embed_dim: Width D of ``forward``'s result.
        token_dim: Width of one token.
        shape: Of one input: (channels, height, width) of an image, (channels, length) of a series, (columns,) of a
            table, (points, coordinates) of a point cloud.
        grid: Positions of the tokens along each axis; T is their product.

    An encoder whose tokens lie at other places in each sample also has ``layout(x)`` and ``positions(width)``, see
    ``pretrain.Transformer``. One with ``layers()``, its parts from the input on, can be fine-tuned with
    ``Training(layer_decay=...)``.
    """

    embed_dim: int
    token_dim: int
    shape: tuple[int, ...]
    grid: tuple[int, ...]

    def forward(self, x: Tensor) -> Tensor:
        """Inputs (B, *shape) -> features (B, D)."""
        ...

    def tokens(self, x: Tensor, keep: Tensor | None = None) -> Tensor:
        """Inputs (B, *shape) -> tokens (B, T, token_dim).

        With ``keep`` (B, N), the distinct token positions to look at, only these tokens are returned (B, N, token_dim),
        in the order of ``keep``, and nothing of the others reaches them.
        """
        ...


class Classifier(Recorded, nn.Module):
    """An encoder and a linear head: images (B, c, H, W) -> logits (B, classes).

    Where nothing of the encoder learns, the head is a logistic regression and starts at 0: among more features than
    labels a drawn start stays in what is predicted, as noise. Several such heads are then alike until they have seen
    other batches, features or labels.

    Args:
        encoder: Module with the ``Encoder`` contract.
        classes: Number of outputs.
        dropout: Share of features dropped before the head, in [0, 1).
    """

    def __init__(self, encoder: nn.Module, classes: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.encoder = encoder
        self.drop = nn.Dropout(dropout)
        self.head = nn.Linear(encoder.embed_dim, classes)  # type: ignore[arg-type]
        if not any(weight.requires_grad for weight in encoder.parameters()):
            nn.init.zeros_(self.head.weight)
            nn.init.zeros_(self.head.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of ``x``."""
        logits: Tensor = self.head(self.drop(self.encoder(x)))
        return logits


class FilledGaps(Recorded, nn.Module):
    """Let a network of one's own read series (B, C, L) with NaN where nothing is.

    It gets 0 there, which is the mean, and one channel more: 1 where any channel has a number, else 0; (B, C + 1, L).
    What is appended to a series may then change the answer: that is for the network to prevent.

    Args:
        network: Takes one channel more than the series have; an encoder stays one.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        if hasattr(network, "embed_dim"):
            self.embed_dim = network.embed_dim

    def forward(self, x: Tensor) -> Tensor:
        """What the network makes of the filled series."""
        there = ~x.isnan()
        answer: Tensor = self.network(torch.cat([x.where(there, 0.0), there.any(1, keepdim=True).to(x)], 1))
        return answer


class ConvEncoder(Recorded, nn.Module):
    """A small ConvNet with a flat read-out: two conv blocks, each halving the grid, then a linear layer.

    The flat read-out (not a global average) is what makes it strong with few labels on centered images. Pretraining by
    masking reaches ``body``; the read-out keeps its own start.

    Args:
        size: Height and width of the images in pixels, one number or two, multiples of 4.
        channels: Channels of the images.
        widths: Channels of the two blocks.
        embed_dim: Width of the features.
        dropout: Share of the flattened features dropped, in [0, 1).

    Raises:
        ValueError: if a side of ``size`` is no multiple of 4.
    """

    def __init__(
        self,
        size: int | tuple[int, int] = 28,
        channels: int = 1,
        *,
        widths: tuple[int, int] = (32, 64),
        embed_dim: int = 128,
        dropout: float = 0.25,
    ) -> None:
        super().__init__()
        height, width = (size, size) if isinstance(size, int) else size
        if height < 4 or width < 4 or height % 4 or width % 4:
            raise ValueError(f"size is {size}; both sides must be multiples of 4, so pad or resize the images")
        self.embed_dim, self.token_dim = embed_dim, widths[1]
        self.shape, self.grid = (channels, height, width), (height // 4, width // 4)
        self.body = conv_blocks(channels, widths)
        self.drop = nn.Dropout(dropout)
        # flat: an average over the image would throw away where things are, which is most of what few labels of
        # centered images can tell
        self.read = nn.Linear(widths[1] * self.grid[0] * self.grid[1], embed_dim)

    def forward(self, x: Tensor) -> Tensor:
        """Features (B, embed_dim) of images (B, channels, H, W)."""
        return F.relu(self.read(self.drop(self.body(x).flatten(1))))

    def maps(self, x: Tensor) -> list[Tensor]:
        """What both blocks give, at a half and a quarter of the sides."""
        half = len(self.body) // 2
        fine = self.body[:half](x)
        return [fine, self.body[half:](fine)]

    def tokens(self, x: Tensor, keep: Tensor | None = None) -> Tensor:
        """Cells of the last feature map, (B, T, widths[1]); see ``Encoder.tokens``.

        With ``keep`` the hidden patches are blanked before every convolution, and BatchNorm sees kept cells only, so
        that nothing of the hidden patches reaches a kept cell or a running statistic ("sparse" encoding: Kalapos &
        Gyires-Toth 2024, CNN-JEPA, arXiv:2408.07514, section 3). The blanked cells are computed and thrown away.
        """
        return sparse_cells(self.body, x, self.grid, keep)

    def layers(self) -> Sequence[nn.Module]:
        """Both blocks and the read-out, from the input on."""
        half = len(self.body) // 2
        return [self.body[:half], self.body[half:], self.read]


def conv_blocks(channels: int, widths: tuple[int, int]) -> nn.Sequential:
    """Two conv blocks, each halving the grid: images (B, channels, H, W) -> (B, widths[1], H / 4, W / 4)."""
    return nn.Sequential(*_block(channels, widths[0]), *_block(widths[0], widths[1]))


def sparse_cells(body: nn.Module, x: Tensor, grid: tuple[int, int], keep: Tensor | None) -> Tensor:
    """Cells (B, T, C) of the last feature map of ``body``, or (B, N, C) at ``keep`` (B, N), as if no others existed."""
    # the dense way, of target encoders and of classifiers: one pass of the body and no masks at all
    if keep is None:
        cells: Tensor = body(x)
        return cells.flatten(2).transpose(1, 2)
    with seen_alone(body, visible_cells(keep, grid)):
        cells = body(x).flatten(2).transpose(1, 2)
    return pick(cells, keep)


def _block(inputs: int, outputs: int) -> list[nn.Module]:
    convolution = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    return [convolution, nn.MaxPool2d(2), nn.BatchNorm2d(outputs), nn.ReLU()]  # pooled first: a quarter of the work
