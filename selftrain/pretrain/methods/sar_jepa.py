"""SAR-JEPA: Li et al., 2024, https://arxiv.org/abs/2311.15153.

"Predicting Gradient is Better: Exploring Self-Supervised Learning for SAR ATR with a Joint-Embedding Predictive
Architecture."

Algorithm: 1. small windows of the token grid are cut out (LoMaR: Chen et al. 2022, https://arxiv.org/abs/2206.00790);
2. most of each window is hidden; 3. the encoder sees the rest of a window alone; 4. the target is fixed: gradients by
ratio at several radii, which multiplicative noise (speckle) hardly changes; 5. mean squared error at hidden tokens.

Left out: relative positions. Differs: hidden tokens are left out of the encoder and the decoder predicts them (there
mask tokens pass the encoder), smaller radii and decoder for small images (there radii 5 to 17, decoder 8 x 512).

>>> from selftrain import data, fit, pretrain
>>> stage = pretrain.SARJEPA(pretrain.ViT(size=8, patch=2, width=32, depth=1))
>>> run = fit(stage, data.load("digits", labels=40), steps=2)
>>> 0 < run.evaluate()["knn"] < 1
True
"""

from __future__ import annotations

from functools import partial

from torch import nn

from selftrain.networks.optim import Training
from selftrain.pretrain.masked import Masked
from selftrain.pretrain.maskers import LocalWindows
from selftrain.pretrain.predictor import Predictor
from selftrain.pretrain.targets import GradientRatio
from selftrain.schedule import cosine

# as of MAE: only what is predicted differs
TRAINING = Training(lr=1.5e-3, weight_decay=0.05, beta2=0.95, schedule=cosine(warmup=0.05))


class SARJEPA(Masked):
    """Fill in gradients by ratio, which speckle does not change, in local windows.

    Source: Li et al. 2024, arXiv:2311.15153, with the local masks of LoMaR (Chen et al. 2022, arXiv:2206.00790). The
    head of the module tells the algorithm and what differs.

    Args:
        encoder: For images; it is copied.
        windows: Windows a sample.
        window: Tokens a side of a window, at most the grid's.
        mask_ratio: Share of a window's tokens that is hidden, in (0, 1).
        radii: Half windows of the ratios in pixels.
        decoder_width: Width inside the decoder, a multiple of its heads.
        decoder_depth: Its transformer blocks.
        decoder_heads: Its attention heads.
        view: Name of the view to look at.
        training: How to train; ``None``: as ``MAE``.
    """

    def __init__(
        self,
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
    ) -> None:
        super().__init__(
            encoder,
            # windows are looked at one by one: speckle far away tells nothing about what is hidden here
            masker=LocalWindows(windows=windows, size=window, ratio=mask_ratio),
            # a learned target degenerates on speckle: the paper's I-JEPA ends 25 points below its MAE
            target=GradientRatio(radii),
            predictor=partial(Predictor, width=decoder_width, depth=decoder_depth, heads=decoder_heads),
            distance="mse",
            view=view,
            training=training or TRAINING,
            name="sarjepa",
        )
