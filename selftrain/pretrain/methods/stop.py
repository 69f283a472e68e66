"""StoP: Bar et al., ICML 2024, https://arxiv.org/abs/2308.00566.

"Stochastic positional embeddings improve masked image modeling."

Algorithm: 1. masks, encoder and targets are those of I-JEPA; 2. for each hidden token a noise vector is drawn; 3. the
layer that takes context tokens into the predictor takes the noise in too, so that it cannot be unlearned; 4. a mask
token is that plus its position; 5. loss and updates are those of I-JEPA.

Left out: flip, blur and gray images as views (there beside the crop). Differs: as ``IJEPA``; ``noise`` is a standard
deviation, as the released code uses its ``var`` of 0.25.

>>> from selftrain import data, fit, pretrain
>>> stage = pretrain.StoP(pretrain.ViT(size=8, patch=2, width=32, depth=1))
>>> run = fit(stage, data.load("digits", labels=40), steps=2)
>>> 0 < run.evaluate()["knn"] < 1
True
"""

from __future__ import annotations

from torch import nn

from selftrain.networks.optim import Training
from selftrain.networks.token_grid import Masker
from selftrain.pretrain.masked import Ship
from selftrain.pretrain.methods.ijepa import IJEPA
from selftrain.pretrain.targets import Path


class StoP(IJEPA):
    """``IJEPA`` with stochastic positions: a predicted token does not know exactly where it is.

    Source: Bar et al. 2024, arXiv:2308.00566. The head of the module tells the algorithm and what differs.

    Args:
        encoder: For images; it is copied.
        noise: Standard deviation of the positions' noise, > 0.
        predictor_width: Width inside the predictor, a multiple of its heads.
        predictor_depth: Its transformer blocks.
        predictor_heads: Its attention heads.
        masks: Draws context and targets; ``None``: as ``IJEPA``.
        decay: Share of the EMA's old weights that stays, at the first and the last step.
        path: From the first to the last decay along a line or half a cosine.
        ship: What ``predict`` and ``export`` give: the target encoder or the student's.
        view: Name of the view to look at.
        training: How to train; ``None``: as ``IJEPA``.
        name: Word for the loss in the log.
    """

    def __init__(
        self,
        encoder: nn.Module,
        *,
        noise: float = 0.25,
        predictor_width: int = 64,
        predictor_depth: int = 2,
        predictor_heads: int = 4,
        masks: Masker | None = None,
        decay: tuple[float, float] = (0.99, 1.0),
        path: Path = "linear",
        ship: Ship = "target",
        view: str = "weak",
        training: Training | None = None,
        name: str = "stop",
    ) -> None:
        super().__init__(
            encoder,
            noise=noise,
            predictor_width=predictor_width,
            predictor_depth=predictor_depth,
            predictor_heads=predictor_heads,
            masks=masks,
            decay=decay,
            path=path,
            ship=ship,
            view=view,
            training=training,
            name=name,
        )
