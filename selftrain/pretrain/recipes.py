"""Masked methods with a name: each is a choice of parts. Any other choice is as good a method; see the guide.

Sizes are for small inputs and minutes on a CPU; the docstrings say what the papers use.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Literal

from torch import nn

from selftrain.networks.optim import Training
from selftrain.networks.token_grid import Masker
from selftrain.pretrain.distances import smooth_l1
from selftrain.pretrain.masked import Masked
from selftrain.pretrain.maskers import (
    Blocks,
    Curriculum,
    FeatureSubset,
    LocalWindows,
    Mixture,
    MultiBlock,
    RandomMask,
    Runs,
    TimeFrequency,
)
from selftrain.pretrain.predictor import ConvPredictor, Predictor
from selftrain.pretrain.targets import EMALatent, GradientRatio, Pixels
from selftrain.schedule import cosine

_MAE = Training(lr=1.5e-3, weight_decay=0.05, beta2=0.95, schedule=cosine(warmup=0.05))
_SERIES = Training(lr=1e-3, weight_decay=0.05, beta2=0.99, schedule=cosine(warmup=0.05))
_TABLE = Training(lr=1e-3, weight_decay=0.0, max_grad_norm=1.0, schedule=cosine(warmup=0.05))
Path = Literal["linear", "cosine"]
Ship = Literal["target", "student"]


def MAE(
    encoder: nn.Module,
    *,
    mask_ratio: float = 0.75,
    decoder_width: int = 64,
    decoder_depth: int = 1,
    decoder_heads: int = 4,
    normalize: bool = True,
    flat: float = 1e-2,
    view: str = "weak",
    training: Training | None = None,
) -> Masked:
    """Masked autoencoding: fill in hidden patches from the few that are visible.

    Source: He et al. 2022, "Masked Autoencoders Are Scalable Vision Learners", arXiv:2111.06377, section 3. Left out:
    the class token (features are pooled tokens). Differs: a decoder for small images (the paper: width 512, depth 8,
    16 heads), ``flat`` (the released code: 1e-6), and a learning rate that is not scaled with the batch.

    Args:
        encoder: For images or series (anything cut into patches); it is copied.
        mask_ratio: Share of hidden patches, in (0, 1); 0.75 is the paper's.
        decoder_width: See ``Predictor``.
        decoder_depth: See ``Predictor``.
        decoder_heads: See ``Predictor``.
        normalize: See ``Pixels``.
        flat: See ``Pixels``.
        view: Name of the view to look at.
        training: How to train; ``None``: AdamW with betas (0.9, 0.95), weight decay 0.05 (the paper's), learning rate
            1.5e-3, 5 % warm-up and a cosine to 0.

    Raises:
        ValueError: for an argument out of range, an encoder without the contract, or inputs that do not fit it.
    """
    return Masked(
        encoder,
        masker=RandomMask(mask_ratio),
        target=Pixels(normalize=normalize, flat=flat),
        predictor=partial(Predictor, width=decoder_width, depth=decoder_depth, heads=decoder_heads),
        distance="mse",
        view=view,
        training=training or _MAE,
        name="mae",
    )


def SARJEPA(
    encoder: nn.Module,
    *,
    windows: int = 4,
    window: int = 7,
    mask_ratio: float = 0.8,
    radii: tuple[int, ...] = (1, 2, 3),
    decoder_width: int = 64,
    decoder_depth: int = 1,
    decoder_heads: int = 4,
    view: str = "weak",
    training: Training | None = None,
) -> Masked:
    """Fill in gradients by ratio, which speckle does not change, in local windows.

    Source: Li et al. 2024, "Predicting Gradient is Better: SAR-JEPA", arXiv:2311.15153, with the local masks of LoMaR
    (Chen et al. 2022, arXiv:2206.00790). Differs: hidden tokens are left out of the encoder and the decoder predicts
    them (there mask tokens pass the encoder, with relative positions), smaller radii and decoder for small images.

    Args:
        encoder: For images; it is copied.
        windows: Windows a sample.
        window: Tokens a side of a window, at most the grid's.
        mask_ratio: Share of a window's tokens that is hidden, in (0, 1).
        radii: See ``GradientRatio``.
        decoder_width: See ``Predictor``.
        decoder_depth: See ``Predictor``.
        decoder_heads: See ``Predictor``.
        view: See ``MAE``.
        training: See ``MAE``.

    Raises:
        ValueError: for an argument out of range, or an encoder that is not for images.
    """
    return Masked(
        encoder,
        masker=LocalWindows(windows=windows, size=window, ratio=mask_ratio),
        target=GradientRatio(radii),
        predictor=partial(Predictor, width=decoder_width, depth=decoder_depth, heads=decoder_heads),
        distance="mse",
        view=view,
        training=training or _MAE,
        name="sarjepa",
    )


def IJEPA(
    encoder: nn.Module,
    *,
    predictor_width: int = 64,
    predictor_depth: int = 2,
    predictor_heads: int = 4,
    noise: float | None = None,
    masks: Masker | None = None,
    decay: tuple[float, float] = (0.99, 1.0),
    path: Path = "linear",
    ship: Ship = "target",
    view: str = "weak",
    training: Training | None = None,
    name: str = "ijepa",
) -> Masked:
    """Predict, from one part of an image, what a slow copy of the encoder makes of other parts.

    Source: Assran et al. 2023, "Self-Supervised Learning from Images with a Joint-Embedding Predictive Architecture",
    arXiv:2301.08243, section 3. Differs: smooth L1 with beta 1 and LayerNorm without affine on the targets (the
    released code; the paper writes squared L2), sizes for small images (the paper's predictor: width 384, depth 6 or
    12), ``decay`` for runs of up to some thousand steps (the paper: 0.996 to 1), constant weight decay (0.04 rising to
    0.4), and see ``MultiBlock``.

    Args:
        encoder: For images; it is copied.
        predictor_width: See ``Predictor``.
        predictor_depth: See ``Predictor``.
        predictor_heads: See ``Predictor``.
        noise: Standard deviation of stochastic positions; ``None``: fixed ones. ``StoP`` is this with 0.25.
        masks: Draws context and targets; ``None``: ``MultiBlock()``.
        decay: See ``EMALatent``.
        path: See ``EMALatent``.
        ship: What ``predict`` and ``export`` give: the target encoder (the paper) or the student's.
        view: Name of the view to look at.
        training: How to train; ``None``: AdamW, learning rate 1e-3, weight decay 0.05, 5 % warm-up and a cosine to 0.
        name: Word for the loss in the log.

    Raises:
        ValueError: for an argument out of range, an encoder without the contract, or inputs that do not fit it.
    """
    return Masked(
        encoder,
        masker=masks or MultiBlock(),
        target=EMALatent(decay=decay, path=path),
        predictor=partial(Predictor, width=predictor_width, depth=predictor_depth, heads=predictor_heads, noise=noise),
        ship=ship,
        view=view,
        training=training,
        name=name,
    )


def StoP(encoder: nn.Module, *, noise: float = 0.25, **settings: Any) -> Masked:
    """``IJEPA`` with stochastic positions: a predicted token does not know exactly where it is.

    Source: Bar et al. 2024, "Stochastic positional embeddings improve masked image modeling", arXiv:2308.00566. The
    released code uses its ``var`` of 0.25 as standard deviation; so does this. Differs as ``IJEPA`` does; there also
    flip, blur and gray images are views.

    Args:
        encoder: For images; it is copied.
        noise: Standard deviation of the positions' noise, > 0.
        settings: Of ``IJEPA``.

    Raises:
        ValueError: as ``IJEPA``.
    """
    return IJEPA(encoder, noise=noise, **({"name": "stop"} | settings))


def CNNJEPA(
    encoder: nn.Module,
    *,
    depth: int = 3,
    noise: float | None = None,
    masks: Masker | None = None,
    decay: tuple[float, float] = (0.99, 1.0),
    path: Path = "cosine",
    signed: bool = False,
    ship: Ship = "target",
    view: str = "weak",
    training: Training | None = None,
) -> Masked:
    """``IJEPA`` for ConvNets: a sparse encoder, and a small depthwise separable ConvNet that predicts.

    The encoder blanks hidden cells behind every layer and BatchNorm sees visible ones only (``ConvEncoder.tokens``).

    Source: Kalapos & Gyires-Toth 2024, "CNN-JEPA", arXiv:2408.07514, section 3. Masks: with probability 0.75 the union
    of 4 blocks, else 60 % at random. Differs: the EMA follows every step (the released code: every epoch, 0.996 to 1),
    weight decay spares biases and norms, learning rate 2e-3 (1e-2 on batches of 512).

    Args:
        encoder: With a grid of two axes and sparse ``tokens``, such as ``ConvEncoder``; it is copied.
        depth: See ``ConvPredictor``.
        noise: See ``ConvPredictor``.
        signed: See ``ConvPredictor``.
        masks: Draws context and targets; ``None``: the paper's mixture.
        decay: See ``EMALatent``.
        path: See ``EMALatent``.
        ship: See ``IJEPA``.
        view: See ``IJEPA``.
        training: How to train; ``None``: AdamW, learning rate 2e-3, weight decay 0.01, 5 % warm-up and a cosine to 0.

    Raises:
        ValueError: for an argument out of range, or an encoder whose grid has not two axes.
    """
    blocks = MultiBlock(context_scale=(1.0, 1.0), union=True)
    return Masked(
        encoder,
        masker=masks or Mixture(blocks, RandomMask(0.6), share=0.75),
        target=EMALatent(norm="l2", decay=decay, path=path),
        predictor=partial(ConvPredictor, depth=depth, noise=noise, signed=signed),
        distance="unit_smooth_l1",
        ship=ship,
        view=view,
        training=training or Training(lr=2e-3, weight_decay=0.01, schedule=cosine(warmup=0.05)),
        name="cnnjepa",
    )


def AJEPA(
    encoder: nn.Module,
    *,
    predictor_width: int = 64,
    predictor_depth: int = 2,
    predictor_heads: int = 4,
    noise: float | None = None,
    start: float = 0.01,
    masks: Masker | None = None,
    decay: tuple[float, float] = (0.99, 1.0),
    ship: Ship = "target",
    view: str = "weak",
    training: Training | None = None,
) -> Masked:
    """``IJEPA`` for spectrograms: masks grow from random blocks to whole stretches of time and frequency.

    Source: Fei et al. 2023, "A-JEPA: Joint-Embedding Predictive Architecture Can Listen", arXiv:2311.15830. No code was
    published: the curriculum and sizes are from summaries of the paper, and LayerNorm on the targets is assumed. Left
    out: the paper's regularized masking while fine-tuning, where a tenth of the tokens cannot be read by the others.

    Args:
        encoder: For spectrograms (B, 1, frequencies, frames), such as ``ViT``; it is copied.
        predictor_width: See ``Predictor`` (the paper: width 512, depth 16).
        predictor_depth: See ``Predictor`` (the paper: width 512, depth 16).
        predictor_heads: See ``Predictor`` (the paper: width 512, depth 16).
        noise: See ``IJEPA``.
        start: Share of time-frequency masks at the first step; see ``Curriculum``.
        masks: Draws context and targets; ``None``: the paper's curriculum.
        decay: See ``EMALatent``.
        ship: See ``IJEPA``.
        view: See ``IJEPA``.
        training: See ``IJEPA``.

    Raises:
        ValueError: for an argument out of range, or an encoder whose grid has not two axes.
    """
    curriculum = Curriculum(MultiBlock(), TimeFrequency(), start=start)
    return Masked(
        encoder,
        masker=masks or curriculum,
        target=EMALatent(decay=decay),
        predictor=partial(Predictor, width=predictor_width, depth=predictor_depth, heads=predictor_heads, noise=noise),
        distance="mse",
        ship=ship,
        view=view,
        training=training,
        name="ajepa",
    )


def ECGJEPA(
    encoder: nn.Module,
    *,
    predictor_width: int = 32,
    predictor_depth: int = 2,
    predictor_heads: int = 4,
    noise: float | None = None,
    masks: Masker | None = None,
    decay: tuple[float, float] = (0.99, 0.9995),
    ship: Ship = "target",
    view: str = "weak",
    training: Training | None = None,
) -> Masked:
    """``IJEPA`` for multi-channel series: long stretches are hidden, all of them are predicted.

    Source: Weimann & Conrad 2024, "Self-Supervised Pre-Training with Joint-Embedding Predictive Architecture Boosts ECG
    Classification Performance", arXiv:2410.13867; absolute differences to the EMA encoder's tokens as they are.
    Differs: the EMA moves after the step (there before the forward pass), ``decay`` for short runs (there 0.998 to
    0.9995), stretches of at least 3 tokens (10 of 200 there), layers have biases.

    Args:
        encoder: For series (B, channels, length), such as ``series_transformer``; it is copied.
        predictor_width: See ``Predictor``.
        predictor_depth: See ``Predictor``.
        predictor_heads: See ``Predictor``.
        noise: See ``IJEPA``.
        masks: Draws context and targets; ``None``: ``Blocks()``.
        decay: See ``EMALatent``.
        ship: See ``IJEPA``.
        view: See ``IJEPA``.
        training: How to train; ``None``: AdamW with betas (0.9, 0.99), learning rate 1e-3, weight decay 0.05, 5 %
            warm-up and a cosine to 0.

    Raises:
        ValueError: for an argument out of range, or an encoder whose grid has not one axis.
    """
    return Masked(
        encoder,
        masker=masks or Blocks(),
        target=EMALatent(norm="none", decay=decay),
        predictor=partial(Predictor, width=predictor_width, depth=predictor_depth, heads=predictor_heads, noise=noise),
        distance="l1",
        ship=ship,
        view=view,
        training=training or _SERIES,
        name="ecgjepa",
    )


def TJEPA(
    encoder: nn.Module,
    *,
    predictor_width: int = 16,
    predictor_depth: int = 2,
    predictor_heads: int = 4,
    noise: float | None = None,
    masks: Masker | None = None,
    decay: tuple[float, float] = (0.99, 1.0),
    ship: Ship = "target",
    view: str = "plain",
    training: Training | None = None,
) -> Masked:
    """``IJEPA`` for tables: from some columns of a row, predict what the slow copy makes of others.

    Source: Thimonier et al. 2024, "T-JEPA: Augmentation-Free Self-Supervised Learning for Tabular Data",
    arXiv:2410.05016. The paper's masks, not those of the released code, whose target sets are all alike and which masks
    the regularization token. That token (``registers=1`` of ``table_transformer``) never is a context or a target.
    Differs: gradients are scaled to norm 1 (there clamped to +-1), EMA from 0.99 (0.996).

    Args:
        encoder: For rows (B, columns), such as ``table_transformer``; it is copied.
        predictor_width: See ``Predictor``.
        predictor_depth: See ``Predictor``.
        predictor_heads: See ``Predictor``.
        noise: See ``IJEPA``.
        masks: Draws context and targets; ``None``: ``FeatureSubset(context=(0.3, 0.5))``.
        decay: See ``EMALatent``.
        ship: See ``IJEPA``.
        view: Name of the view to look at; the method needs no augmentation.
        training: How to train; ``None``: AdamW, learning rate 1e-3, no weight decay, 5 % warm-up and a cosine to 0.

    Raises:
        ValueError: for an argument out of range, or an encoder without the contract.
    """
    return Masked(
        encoder,
        masker=masks or FeatureSubset(context=(0.3, 0.5)),
        target=EMALatent(norm="none", decay=decay),
        predictor=partial(Predictor, width=predictor_width, depth=predictor_depth, heads=predictor_heads, noise=noise),
        distance="mse",
        ship=ship,
        view=view,
        training=training or _TABLE,
        name="tjepa",
    )


def PointJEPA(
    encoder: nn.Module,
    *,
    predictor_width: int = 48,
    predictor_depth: int = 2,
    predictor_heads: int = 4,
    noise: float | None = None,
    masks: Masker | None = None,
    decay: tuple[float, float] = (0.995, 1.0),
    beta: float = 2.0,
    ship: Ship = "student",
    view: str = "weak",
    training: Training | None = None,
) -> Masked:
    """``IJEPA`` for point clouds: blobs of neighboring groups are hidden.

    Source: Saito et al. 2024, "Point-JEPA", arXiv:2404.16432: runs on a greedy order of the groups' centers, smooth L1
    with beta 2 to LayerNorm-normalized tokens. Differs: the EMA covers the small point network and the positions too
    (there shared and live), masks are drawn for each sample (there for the batch).

    Args:
        encoder: For clouds (B, points, coordinates), such as ``point_transformer``; it is copied.
        predictor_width: See ``Predictor``.
        predictor_depth: See ``Predictor``.
        predictor_heads: See ``Predictor``.
        noise: See ``IJEPA``.
        masks: Draws context and targets; ``None``: ``Runs()``.
        decay: See ``EMALatent``.
        beta: Where the smooth L1 distance turns from squared to absolute, > 0.
        ship: What ``predict`` and ``export`` give: the student's encoder (the paper) or the target encoder.
        view: See ``IJEPA``.
        training: See ``IJEPA``.

    Raises:
        ValueError: for an argument out of range, or an encoder without the contract.
    """
    if beta <= 0:
        raise ValueError(f"beta is {beta}; it must be above 0")
    return Masked(
        encoder,
        masker=masks or Runs(),
        target=EMALatent(decay=decay),
        predictor=partial(Predictor, width=predictor_width, depth=predictor_depth, heads=predictor_heads, noise=noise),
        distance=partial(smooth_l1, beta=beta),
        ship=ship,
        view=view,
        training=training,
        name="pointjepa",
    )
