"""Networks that are trained beside other libraries, and their accuracy. Needs torch alone."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ConvNet(nn.Module):
    """The network of ``selftrain.ConvEncoder`` with a head: two blocks, a flat read-out; (B, C, 28, 28) to logits."""

    def __init__(self, classes: int = 10, channels: int = 3) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs in ((channels, 32), (32, 64)):
            convolution = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
            layers += [convolution, nn.MaxPool2d(2), nn.BatchNorm2d(outputs), nn.ReLU()]
        self.body, self.drop, self.read = nn.Sequential(*layers), nn.Dropout(0.25), nn.Linear(64 * 49, 128)
        self.head = nn.Linear(128, classes)

    def features(self, x: Tensor) -> Tensor:
        """(B, 128)."""
        return F.relu(self.read(self.drop(self.body(x).flatten(1))))

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        logits: Tensor = self.head(self.features(x))
        return logits


class WideResNet(nn.Module):
    """WRN-28-2 (Zagoruyko & Komodakis 2016), the network of most papers on self-training."""

    def __init__(self, classes: int = 10, width: int = 2, blocks: int = 4) -> None:
        super().__init__()
        widths = [16, 16 * width, 32 * width, 64 * width]
        self.stem = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        pairs = [(widths[i], widths[i + 1]) for i in range(3)]
        self.blocks = nn.Sequential(
            *(
                _Block(first if j == 0 else last, last, 2 if i and j == 0 else 1)
                for i, (first, last) in enumerate(pairs)
                for j in range(blocks)
            )
        )
        self.norm, self.head = nn.BatchNorm2d(widths[3]), nn.Linear(widths[3], classes)

    def features(self, x: Tensor) -> Tensor:
        """(B, 128)."""
        return F.relu(self.norm(self.blocks(self.stem(x)))).mean((2, 3))

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        logits: Tensor = self.head(self.features(x))
        return logits


class _Block(nn.Module):
    def __init__(self, first: int, last: int, stride: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.BatchNorm2d(first), nn.BatchNorm2d(last)])
        self.convs = nn.ModuleList(
            [nn.Conv2d(first, last, 3, stride, 1, bias=False), nn.Conv2d(last, last, 3, 1, 1, bias=False)]
        )
        self.short = nn.Conv2d(first, last, 1, stride, bias=False) if first != last or stride > 1 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norms[0](x))
        short = self.short(y if isinstance(self.short, nn.Conv2d) else x)
        residual: Tensor = self.convs[1](F.relu(self.norms[1](self.convs[0](y))))
        return residual + short


NETWORKS = {"ConvNet": ConvNet, "WRN-28-2": WideResNet}


def accuracy(network: nn.Module, x: Tensor, y: Tensor) -> float:
    """Share of images that the network names as they are, in evaluation mode."""
    network.eval()
    with torch.no_grad():
        right = [(network(a).argmax(1) == b).sum() for a, b in zip(x.split(500), y.split(500), strict=True)]
    return float(sum(right)) / len(x)
