"""What a masked stage predicts: values that a sample has at each position of the token grid.

``width(encoder)`` numbers are predicted at each position. A target is called as ``target(x, encoder, positions)`` with
positions (M, B, N) and gives (M, B, N, width).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from selftrain.networks.copying import copy_network
from selftrain.networks.ema import Teacher
from selftrain.networks.encoders import Encoder
from selftrain.networks.patches import patchify, pick
from selftrain.networks.student import Learner, run_network
from selftrain.pretrain.operators import gradient_ratio, hog
from selftrain.schedule import cosine
from selftrain.types import Recorded

Norm = Literal["layer", "l2", "none"]
Path = Literal["linear", "cosine"]


class PredictionTarget(Recorded, nn.Module):
    """Base: fixed targets that need no learning.

    Attributes:
        own: Whether the target is what the student itself makes of the whole sample, with gradient.
    """

    own = False

    def width(self, encoder: Encoder) -> int:
        """Numbers at each position; raises ``ValueError`` if the encoder's inputs have no such target."""
        raise NotImplementedError

    def attach(self, student: Learner, encoder: nn.Module) -> None:
        """Learn to know the network before the first step."""

    def forward(self, x: Tensor, encoder: Encoder, positions: Tensor) -> Tensor:
        """Targets (M, B, N, width) of inputs (B, *shape) at ``positions`` (M, B, N)."""
        raise NotImplementedError

    def follow(self, encoder: nn.Module, progress: float) -> dict[str, Tensor]:
        """Called when the weights have moved; returns what to log."""
        return {}


class Pixels(PredictionTarget):
    """The input itself, patch by patch: pixels of images, samples of series.

    Source: He et al. 2022, MAE, arXiv:2111.06377, "Reconstruction target". Differs: ``flat`` (the released code: 1e-6).

    Args:
        normalize: Standardize each patch by its own mean and unbiased variance.
        flat: Added to a patch's variance when standardizing, >= 0: with 1e-6 an almost constant patch would be
            amplified a thousand times and drown the others.

    Raises:
        ValueError: for a negative ``flat``, and if patches of one number are to be standardized.
    """

    def __init__(self, *, normalize: bool = True, flat: float = 1e-2) -> None:
        super().__init__()
        if flat < 0:
            raise ValueError(f"flat is {flat}; it must be 0 or more")
        self.normalize, self.flat = normalize, flat

    def width(self, encoder: Encoder) -> int:
        """Numbers of a patch."""
        if getattr(encoder, "gaps", False):
            raise ValueError(
                "series with gaps or of unequal length have no pixels to predict; predict latents: ecgjepa"
            )
        if len(encoder.shape) != len(encoder.grid) + 1:
            raise ValueError(
                f"inputs {encoder.shape} with a grid of {encoder.grid} are not cut into patches; predict latents, as "
                "EMALatent does"
            )
        sides = list(zip(encoder.shape[1:], encoder.grid, strict=True))
        if any(side % cells for side, cells in sides):
            given, grid = (" x ".join(map(str, found)) for found in zip(*sides, strict=True))
            ways = (" x ".join(str(step(side / cells) * cells) for side, cells in sides) for step in (int, math.ceil))
            raise ValueError(
                f"inputs of {given} are not cut into whole patches by a grid of {grid}; resize them to "
                f"{' or '.join(ways)}, or take the target EMALatent"
            )
        count = math.prod(encoder.shape) // math.prod(encoder.grid)
        if self.normalize and count < 2:
            raise ValueError(f"a patch has {count} value(s); it needs 2 to be standardized: set normalize=False")
        return count

    def forward(self, x: Tensor, encoder: Encoder, positions: Tensor) -> Tensor:
        """Patches at these positions."""
        patches = _each(patchify(x, encoder.grid), positions)
        if not self.normalize:
            return patches
        mean, scale = self.statistics(patches)
        return (patches - mean) / scale

    def statistics(self, patches: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and scale of patches (..., P), both (..., 1): ``scale = sqrt(unbiased variance + flat)``."""
        # behind the root too: a constant patch gives zeros and no gradient that is not finite
        return patches.mean(-1, keepdim=True), (patches.var(-1, keepdim=True) + self.flat).sqrt()


class HOG(PredictionTarget):
    """Histograms of gradient directions of image patches (MaskFeat: Wei et al. 2022, arXiv:2112.09133).

    Args:
        bins: Directions, >= 2.
        cells: Cells a side in each patch, >= 1; must divide the patch.
    """

    def __init__(self, *, bins: int = 9, cells: int = 2) -> None:
        super().__init__()
        if bins < 2 or cells < 1:
            raise ValueError(f"bins is {bins} and cells {cells}; they must be at least 2 and 1")
        self.bins, self.cells = bins, cells

    def width(self, encoder: Encoder) -> int:
        """Bins of all cells and channels of a patch."""
        rows, columns = _image_patch(encoder)
        if rows != columns or rows % self.cells:
            raise ValueError(f"a patch of {rows} x {columns} has no {self.cells} x {self.cells} square cells")
        return encoder.shape[0] * self.bins * self.cells**2

    def forward(self, x: Tensor, encoder: Encoder, positions: Tensor) -> Tensor:
        """Histograms at these positions."""
        side = _image_patch(encoder)[0] // self.cells
        return _each(patchify(hog(x, side, self.bins), encoder.grid), positions)


class GradientRatio(PredictionTarget):
    """Multi-scale gradients by ratio, which a multiplicative noise does not change (SAR-JEPA).

    Source: Li et al. 2024, arXiv:2311.15153; see ``operators.gradient_ratio``.

    Args:
        radii: Half windows in pixels (the paper: 5, 9, 13 and 17 on large images).
    """

    def __init__(self, radii: Sequence[int] = (1, 2, 3)) -> None:
        super().__init__()
        if not radii or min(radii) < 1:
            raise ValueError(f"radii is {tuple(radii)}; it must hold numbers of at least 1")
        self.radii = tuple(radii)

    def width(self, encoder: Encoder) -> int:
        """Pixels of a patch, at each radius."""
        return encoder.shape[0] * len(self.radii) * math.prod(_image_patch(encoder))

    def forward(self, x: Tensor, encoder: Encoder, positions: Tensor) -> Tensor:
        """Ratios at these positions."""
        return _each(patchify(gradient_ratio(x, self.radii), encoder.grid), positions)


class LatentTarget(PredictionTarget):
    """Base of targets that are tokens of an encoder.

    Args:
        norm: ``"layer"``: each token has mean 0 and variance 1 (I-JEPA); ``"l2"``: length 1; ``"none"``: as it is.
    """

    def __init__(self, norm: Norm) -> None:
        super().__init__()
        if norm not in ("layer", "l2", "none"):
            raise ValueError(f"norm is {norm!r}; choose 'layer', 'l2' or 'none'")
        self.norm = norm

    def width(self, encoder: Encoder) -> int:
        """Width of a token."""
        return encoder.token_dim

    def at(self, tokens: Tensor, positions: Tensor) -> Tensor:
        """Normalized tokens (M, B, N, token_dim) of all tokens (B, T, token_dim)."""
        # over the width of each token, so that normalizing before or behind the selection is the same
        return _each(normalized(tokens, self.norm), positions)


class EMALatent(LatentTarget):
    """Tokens that a slow copy of the encoder makes of the whole sample.

    Args:
        norm: See ``normalized``.
        decay: Share of the copy's old weights that stays at an update, at the first and the last step, in [0, 1].
        path: From the first to the last decay along a line or half a cosine.

    Attributes:
        teacher: The copy. BatchNorm statistics are the student's.

    Gradient: none to the copy.
    """

    teacher: Teacher

    def __init__(
        self,
        *,
        norm: Norm = "layer",
        decay: tuple[float, float] = (0.99, 1.0),
        path: Path = "linear",
    ) -> None:
        super().__init__(norm)
        if path not in ("linear", "cosine"):
            raise ValueError(f"path is {path!r}; choose 'linear' or 'cosine'")
        if not all(0 <= share <= 1 for share in decay):
            raise ValueError(f"decay is {decay}; both ends must be in [0, 1]")
        self.decay, self.path = decay, path

    def attach(self, student: Learner, encoder: nn.Module) -> None:
        """Copy the encoder."""
        # BatchNorm statistics are copied: averaged with a decay near 1 they would stay what they were at the start
        self.teacher = Teacher(student, part=encoder, buffers="copy")

    @torch.no_grad()
    def forward(self, x: Tensor, encoder: Encoder, positions: Tensor) -> Tensor:
        """Tokens of the copy at these positions, without gradient."""
        read = cast(Encoder, self.teacher.model).tokens
        return self.at(run_network(read, x, self.teacher.precision, self.teacher.channels_last), positions)

    def follow(self, encoder: nn.Module, progress: float) -> dict[str, Tensor]:
        """Move the copy towards the encoder."""
        # near 1 at the end: the last targets should be those of a nearly finished encoder that stands still
        decay = self.decay_at(progress)
        self.teacher.update(encoder, decay=decay)
        return {"decay": torch.full((), decay)}

    def decay_at(self, progress: float) -> float:
        """Decay at ``progress`` in [0, 1], from the first value of ``decay`` to the second."""
        # by the share of the stage that is done, not by time: a run on a slow machine has the same decays
        moved = progress if self.path == "linear" else 1 - cosine()(progress)
        return self.decay[0] + (self.decay[1] - self.decay[0]) * moved


class FrozenLatent(LatentTarget):
    """Tokens that another, finished encoder makes of the whole sample.

    Args:
        source: Encoder with the same grid and inputs; it is copied and never changes.
        norm: See ``normalized``.
    """

    def __init__(self, source: nn.Module, *, norm: Norm = "layer") -> None:
        super().__init__(norm)
        # a copy: the caller may train theirs on
        self.source = copy_network(source).requires_grad_(False).eval()

    def train(self, mode: bool = True) -> FrozenLatent:
        """Stay in evaluation mode whatever ``mode`` says."""
        # Module.train reaches sub-modules: a stage in training mode would let BatchNorm of the source learn
        return super().train(False)

    def width(self, encoder: Encoder) -> int:
        """Width of the other encoder's tokens."""
        source = cast(Encoder, self.source)
        if (source.grid, source.shape) != (encoder.grid, encoder.shape):
            raise ValueError(
                f"the source has inputs {source.shape} and a grid of {source.grid}, the encoder {encoder.shape} and "
                f"{encoder.grid}; both must be alike"
            )
        return source.token_dim

    @torch.no_grad()
    def forward(self, x: Tensor, encoder: Encoder, positions: Tensor) -> Tensor:
        """Tokens of the other encoder at these positions, without gradient."""
        return self.at(run_network(cast(Encoder, self.source).tokens, x, "fp32", False), positions)


class OwnLatent(LatentTarget):
    """Tokens that the student itself makes of the whole sample, with gradient: needs a regularizer against collapse.

    Args:
        norm: See ``normalized``.

    Gradient: to the encoder, through predictions and targets.
    """

    own = True

    def __init__(self, *, norm: Norm = "none") -> None:
        super().__init__(norm)


def normalized(tokens: Tensor, norm: Norm) -> Tensor:
    """Tokens (..., D) with mean 0 and variance 1 each (``"layer"``), of length 1 (``"l2"``), or as they are."""
    if norm == "layer":
        return F.layer_norm(tokens, tokens.shape[-1:])
    return F.normalize(tokens, dim=-1) if norm == "l2" else tokens


def _each(values: Tensor, positions: Tensor) -> Tensor:
    """Values (B, T, P) at positions (M, B, N), as (M, B, N, P)."""
    return torch.stack([pick(values, block) for block in positions])


def _image_patch(encoder: Encoder) -> tuple[int, int]:
    """Height and width of an image encoder's patch."""
    if len(encoder.shape) != 3 or len(encoder.grid) != 2:
        raise ValueError(f"inputs {encoder.shape} with a grid of {encoder.grid} are no images; choose another target")
    return encoder.shape[1] // encoder.grid[0], encoder.shape[2] // encoder.grid[1]
