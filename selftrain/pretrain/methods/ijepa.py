"""I-JEPA: Assran et al., CVPR 2023, https://arxiv.org/abs/2301.08243.

"Self-Supervised Learning from Images with a Joint-Embedding Predictive Architecture."

Algorithm: 1. four target blocks are drawn, and a large context block without them; 2. the encoder sees the context
alone; 3. an EMA of it, the target encoder, sees the whole image; 4. a narrow predictor tells its tokens in each target
block, a pass a block, from the context and mask tokens with positions; 5. the loss moves encoder and predictor, then
the target encoder follows.

Left out: the paper's augmentation (views are those of the pile). Differs: smooth L1 with beta 1 and LayerNorm without
affine on the targets (the released code; the paper writes squared L2), sizes for small images (the paper's predictor:
width 384, depth 6 or 12), ``decay`` for runs of up to some thousand steps (the paper: 0.996 to 1), constant weight
decay (0.04 rising to 0.4), and see ``MultiBlock``.

>>> from selftrain import data, fit, pretrain
>>> stage = pretrain.IJEPA(pretrain.ViT(size=8, patch=2, width=32, depth=1))
>>> run = fit(stage, data.load("digits", labels=40), steps=2)
>>> 0 < run.evaluate()["knn"] < 1
True
"""

from __future__ import annotations

from functools import partial

from torch import nn

from selftrain.networks.optim import Training
from selftrain.networks.token_grid import Masker
from selftrain.pretrain.masked import Masked, Ship
from selftrain.pretrain.maskers import MultiBlock
from selftrain.pretrain.predictor import Predictor
from selftrain.pretrain.targets import EMALatent, Path


class IJEPA(Masked):
    """Predict, from one part of an image, what a slow copy of the encoder makes of other parts.

    Source: Assran et al. 2023, arXiv:2301.08243, section 3. The head of the module tells the algorithm and what
    differs.

    Args:
        encoder: For images; it is copied.
        predictor_width: Width inside the predictor, a multiple of its heads.
        predictor_depth: Its transformer blocks.
        predictor_heads: Its attention heads.
        noise: Standard deviation of stochastic positions; ``None``: fixed ones. ``StoP`` is this with 0.25.
        masks: Draws context and targets; ``None``: ``MultiBlock()``.
        decay: Share of the EMA's old weights that stays, at the first and the last step.
        path: From the first to the last decay along a line or half a cosine.
        ship: What ``predict`` and ``export`` give: the target encoder (the paper) or the student's.
        view: Name of the view to look at.
        training: How to train; ``None``: AdamW, learning rate 1e-3, weight decay 0.05, 5 % warm-up and a cosine to 0.
        name: Word for the loss in the log.
    """

    def __init__(
        self,
        encoder: nn.Module,
        *,
        predictor_width: int = 64,
        predictor_depth: int = 2,
        predictor_heads: int = 4,
        noise: float | None = None,
        masks: Masker | None = None,
        # for runs of up to some thousand steps: from the paper's 0.996, the copy would long be the untrained encoder
        decay: tuple[float, float] = (0.99, 1.0),
        path: Path = "linear",
        ship: Ship = "target",
        view: str = "weak",
        training: Training | None = None,
        name: str = "ijepa",
    ) -> None:
        super().__init__(
            encoder,
            masker=masks or MultiBlock(),
            # LayerNorm without affine: the target's scale cannot shrink, whatever the copy learns
            target=EMALatent(decay=decay, path=path),
            # narrow: a predictor as wide as the encoder could do the encoder's work itself
            predictor=partial(
                Predictor, width=predictor_width, depth=predictor_depth, heads=predictor_heads, noise=noise
            ),
            ship=ship,
            view=view,
            training=training,
            name=name,
        )
