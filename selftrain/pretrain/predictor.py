"""Predictors: what is at places nobody looked at, from the tokens of those somebody did.

Each is built as ``predictor(encoder, outputs)`` and called with the tokens seen, a mask of one look and a layout.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from selftrain.networks.encoders import Encoder
from selftrain.networks.patches import pick
from selftrain.networks.positions import GridPositions
from selftrain.networks.token_grid import Layout
from selftrain.networks.vit import Block, init_linear, run_blocks


class Predictor(nn.Module):
    """The narrow transformer of MAE (its decoder) and of JEPA: mask tokens with positions read the visible ones.

    Args:
        encoder: Whose tokens are given, and where they are.
        outputs: Width of a prediction.
        width: Width inside, a multiple of ``heads`` and of what positions need (4 for images).
        depth: Number of blocks, >= 1.
        heads: Attention heads.
        noise: Standard deviation of stochastic positions, > 0 (StoP: Bar et al. 2024, arXiv:2308.00566): each mask
            token is ``A n + b + position`` with ``n`` from N(0, noise^2) and ``A``, ``b`` those of the layer that takes
            the tokens in, so that the network cannot unlearn the noise; in evaluation mode ``n = 0``. ``None``: one
            learned mask token + position.

    Raises:
        ValueError: for a setting out of range.
    """

    def __init__(
        self,
        encoder: nn.Module,
        outputs: int,
        *,
        width: int = 64,
        depth: int = 2,
        heads: int = 4,
        noise: float | None = None,
    ) -> None:
        super().__init__()
        if depth < 1:
            raise ValueError(f"depth is {depth}; a predictor needs at least 1 block")
        check_noise(noise)
        contract = cast(Encoder, encoder)
        self.enter = nn.Linear(contract.token_dim, width).apply(init_linear)
        self.leave = nn.Linear(width, outputs).apply(init_linear)
        self.blank = nn.Parameter(torch.randn(width) * 0.02) if noise is None else None  # stands for what is masked
        self.blocks = nn.Sequential(*(Block(width, heads, number=number) for number in range(1, depth + 1)))
        self.norm = nn.LayerNorm(width)
        # groups of points lie elsewhere in each sample: only their encoder can say where
        special = getattr(encoder, "positions", None)
        self.positions = GridPositions(contract.grid, width) if special is None else special(width)
        self.again = bool(getattr(getattr(encoder, "tokenizer", None), "again", False))
        self.noise = noise

    def forward(self, tokens: Tensor, given: Tensor, wanted: Tensor, layout: Layout) -> Tensor:
        """Predict what is at other positions.

        Args:
            tokens: Shape (B, Ng, token_dim); gradients flow into them.
            given: Their positions, shape (B, Ng).
            wanted: Positions to predict, shape (B, Nw).
            layout: Where the tokens of the B samples are.

        Returns:
            Shape (B, Nw, outputs).
        """
        known, count = self.enter(tokens), given.shape[1]
        # in the precision that autocast gave the tokens, or the concatenation below would take them back to float32
        unknown = blanks(self, wanted.shape, tokens).to(known.dtype)
        codes = self.positions(layout, torch.cat([given, wanted], 1))
        mixed = run_blocks(self.blocks, torch.cat([known, unknown], 1), codes, again=self.again)
        predicted: Tensor = self.leave(self.norm(mixed[:, count:]))
        return predicted


class ConvPredictor(nn.Module):
    """The depthwise separable ConvNet of CNN-JEPA: hidden cells are filled in, then 3 x 3 convolutions look around.

    ``depth`` times: 3 x 3 depthwise convolution, 1 x 1 convolution, BatchNorm, ReLU; a linear layer follows where
    ``outputs`` is not the encoder's width or values may be negative.

    Source: Kalapos & Gyires-Toth 2024, CNN-JEPA, arXiv:2408.07514, section 3.3. Differs: BatchNorm-free ending with
    ``signed=True``, for targets that are not the outputs of a ReLU.

    Args:
        encoder: Whose tokens are given; its grid must have two axes.
        outputs: Width of a prediction.
        depth: Convolution blocks, >= 1.
        noise: Stochastic fill, see ``Predictor``: ``A n + b`` with a linear layer that the given tokens pass too.
        signed: Whether predictions may be negative; ``False``: they end in the ReLU.

    Raises:
        ValueError: for a grid of another number of axes, or a setting out of range.
    """

    def __init__(
        self, encoder: nn.Module, outputs: int, *, depth: int = 3, noise: float | None = None, signed: bool = False
    ) -> None:
        super().__init__()
        contract = cast(Encoder, encoder)
        width, self.grid = contract.token_dim, contract.grid
        if len(self.grid) != 2 or depth < 1:
            raise ValueError(f"grid is {self.grid} and depth {depth}; convolutions need two axes and depth at least 1")
        check_noise(noise)
        self.enter = nn.Identity() if noise is None else nn.Linear(width, width).apply(init_linear)
        self.blank = nn.Parameter(torch.randn(width) * 0.02) if noise is None else None
        layers: list[nn.Module] = []
        for _ in range(depth):
            layers += [nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False)]  # depthwise
            layers += [nn.Conv2d(width, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        self.layers = nn.Sequential(*layers)
        ends = signed or outputs != width
        # features behind a ReLU are never negative, so a predictor that ends in one needs no layer behind it (the
        # paper's)
        self.leave = nn.Linear(width, outputs).apply(init_linear) if ends else nn.Identity()
        self.noise = noise

    def forward(self, tokens: Tensor, given: Tensor, wanted: Tensor, layout: Layout) -> Tensor:
        """Predictions (B, Nw, outputs) for ``wanted`` (B, Nw) from ``tokens`` (B, Ng, token_dim) at ``given``."""
        known = self.enter(tokens)
        cells = blanks(self, (len(tokens), layout.count), tokens).to(known.dtype)
        cells = cells.scatter(1, given[..., None].expand_as(known), known)
        picture = cells.transpose(1, 2).unflatten(2, self.grid)
        predicted: Tensor = self.leave(pick(self.layers(picture).flatten(2).transpose(1, 2), wanted))
        return predicted


class Projector(nn.Sequential):
    """A head for losses on whole samples: linear layers with BatchNorm and ReLU between them, (B, D) -> (B, K).

    Args:
        inputs: Width D.
        widths: Widths behind each linear layer; the last is K.
        norm_last: BatchNorm without affine part behind the last layer too (UniSiam).

    Raises:
        ValueError: without any width.
    """

    def __init__(self, inputs: int, widths: tuple[int, ...] = (512, 128), *, norm_last: bool = False) -> None:
        if not widths:
            raise ValueError("widths is empty; a projector needs at least one layer")
        layers: list[nn.Module] = []
        # BatchNorm between the layers keeps embeddings away from all zeros, where SIGReg has no gradient
        for before, after in zip((inputs, *widths), widths[:-1], strict=False):
            layers += [nn.Linear(before, after), nn.BatchNorm1d(after), nn.ReLU()]
        layers.append(nn.Linear((inputs, *widths)[-2], widths[-1]))
        if norm_last:
            layers.append(nn.BatchNorm1d(widths[-1], affine=False))
        super().__init__(*layers)


def check_noise(noise: float | None) -> None:
    """Refuse a standard deviation that is not above 0."""
    if noise is not None and noise <= 0:
        raise ValueError(f"noise is {noise}; it is a standard deviation above 0, or None for fixed positions")


def blanks(predictor: Predictor | ConvPredictor, shape: Sequence[int], tokens: Tensor) -> Tensor:
    """What stands at hidden places, (*shape, width): the learned mask token, or noise (StoP), which is 0 at rest."""
    if predictor.blank is not None:
        return predictor.blank.expand(*shape, -1)
    noise = torch.zeros(*shape, tokens.shape[-1])
    if predictor.training:  # on the CPU, so that a seed gives the same everywhere
        noise = cast(float, predictor.noise) * torch.randn(noise.shape)
    # through the layer that tokens take: with a layer of its own the network would drive its weights to 0, and the
    # noise with them
    filled: Tensor = predictor.enter(noise.to(tokens.device))
    return filled
