"""Point-JEPA: Saito et al., WACV 2025, https://arxiv.org/abs/2404.16432.

"Point-JEPA: A Joint Embedding Predictive Architecture for Self-Supervised Learning on Point Cloud."

Algorithm: 1. a cloud is groups of neighboring points, a token each; 2. a greedy walk puts the groups in an order in
which neighbors are near each other; 3. runs of that order are hidden, another run is seen; 4. a predictor tells the
tokens that an EMA of the encoder makes of the whole cloud; 5. smooth L1 with beta 2 to LayerNorm-normalized tokens.

Left out: the paper's augmentation (views are those of the pile). Differs: the EMA covers the small point network and
the positions too (there shared and live), masks are drawn for each sample (there for the batch).

>>> import numpy as np
>>> from selftrain import data, fit, pretrain
>>> clouds = np.random.default_rng(0).normal(size=(40, 32, 3))
>>> pile = data.Pile.from_arrays(clouds, np.arange(40) % 2, labels=8, kind="points")
>>> stage = pretrain.PointJEPA(pretrain.point_transformer(points=32, groups=8, neighbors=8))
>>> fit(stage, pile, steps=2).last["unlabeled"]["rankme"] > 1
True
"""

from __future__ import annotations

from functools import partial

from torch import nn

from selftrain.networks.optim import Training
from selftrain.networks.token_grid import Masker
from selftrain.pretrain.losses import smooth_l1
from selftrain.pretrain.masked import Masked, Ship
from selftrain.pretrain.maskers import Runs
from selftrain.pretrain.predictor import Predictor
from selftrain.pretrain.targets import EMALatent


class PointJEPA(Masked):
    """``IJEPA`` for point clouds: blobs of neighboring groups are hidden.

    Source: Saito et al. 2024, arXiv:2404.16432. The head of the module tells the algorithm and what differs.

    Args:
        encoder: For clouds (B, points, coordinates), such as ``point_transformer``; it is copied.
        predictor_width: Width inside the predictor, a multiple of its heads.
        predictor_depth: Its transformer blocks.
        predictor_heads: Its attention heads.
        noise: Standard deviation of stochastic positions (``StoP``); ``None``: fixed ones.
        masks: Draws context and targets; ``None``: ``Runs()``.
        decay: Share of the EMA's old weights that stays, at the first and the last step.
        beta: Where the smooth L1 distance turns from squared to absolute, > 0.
        ship: What ``predict`` and ``export`` give: the student's encoder (the paper) or the target encoder.
        view: Name of the view to look at.
        training: How to train; ``None``: as ``IJEPA``.
    """

    def __init__(
        self,
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
    ) -> None:
        if beta <= 0:
            raise ValueError(f"beta is {beta}; it must be above 0")
        super().__init__(
            encoder,
            # scattered groups overlap with what is seen: their content would be known already
            masker=masks or Runs(),
            target=EMALatent(decay=decay),
            predictor=partial(
                Predictor, width=predictor_width, depth=predictor_depth, heads=predictor_heads, noise=noise
            ),
            distance=partial(smooth_l1, beta=beta),
            # the paper evaluates the student, I-JEPA and T-JEPA the EMA encoder
            ship=ship,
            view=view,
            training=training,
            name="pointjepa",
        )
