"""ECG-JEPA: Weimann & Conrad, 2024, https://arxiv.org/abs/2410.13867.

"Self-Supervised Pre-Training with Joint-Embedding Predictive Architecture Boosts ECG Classification Performance."

Algorithm: 1. stretches of a multi-channel series are tokens; 2. long runs are hidden until 15 to 25 % is left; 3. the
encoder sees what is left, an EMA of it the whole; 4. a narrow predictor tells the EMA's tokens at all hidden places; 5.
mean absolute error to these tokens as they are (they end in the encoder's own LayerNorm), then the EMA follows.

Left out: the paper's augmentation (views are those of the pile). Differs: the EMA moves after the step (there before
the forward pass), ``decay`` for short runs (there 0.998 to 0.9995), stretches of at least 3 tokens (10 of 200 there),
layers have biases.

>>> import numpy as np
>>> from selftrain import data, fit, pretrain
>>> waves = np.sin(np.linspace(1, 20, 60) * np.random.default_rng(0).random((40, 2, 1)))
>>> pile = data.Pile.from_arrays(waves, np.arange(40) % 2, labels=8, kind="series")
>>> stage = pretrain.ECGJEPA(pretrain.series_transformer(length=60, patch=4, channels=2))
>>> fit(stage, pile, steps=2).last["unlabeled"]["rankme"] > 1
True
"""

from __future__ import annotations

from functools import partial

from torch import nn

from selftrain.networks.optim import Training
from selftrain.networks.token_grid import Masker
from selftrain.pretrain.masked import Masked, Ship
from selftrain.pretrain.maskers import Blocks
from selftrain.pretrain.predictor import Predictor
from selftrain.pretrain.targets import EMALatent
from selftrain.schedule import cosine

# beta2 as in the released code
TRAINING = Training(lr=1e-3, weight_decay=0.05, beta2=0.99, schedule=cosine(warmup=0.05))


class ECGJEPA(Masked):
    """``IJEPA`` for multi-channel series: long stretches are hidden, all of them are predicted.

    Source: Weimann & Conrad 2024, arXiv:2410.13867. The head of the module tells the algorithm and what differs.

    Args:
        encoder: For series (B, channels, length), such as ``series_transformer``; it is copied.
        predictor_width: Width inside the predictor, a multiple of its heads.
        predictor_depth: Its transformer blocks.
        predictor_heads: Its attention heads.
        noise: Standard deviation of stochastic positions (``StoP``); ``None``: fixed ones.
        masks: Draws context and targets; ``None``: ``Blocks()``.
        decay: Share of the EMA's old weights that stays, at the first and the last step.
        ship: What ``predict`` and ``export`` give: the target encoder or the student's.
        view: Name of the view to look at.
        training: How to train; ``None``: AdamW with betas (0.9, 0.99), learning rate 1e-3, weight decay 0.05, 5 %
            warm-up and a cosine to 0.
    """

    def __init__(
        self,
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
    ) -> None:
        super().__init__(
            encoder,
            # random single tokens could be filled in from their neighbors: a heartbeat is smooth
            masker=masks or Blocks(),
            # no further norm: the encoder's tokens leave through a LayerNorm of its own
            target=EMALatent(norm="none", decay=decay),
            predictor=partial(
                Predictor, width=predictor_width, depth=predictor_depth, heads=predictor_heads, noise=noise
            ),
            distance="l1",
            ship=ship,
            view=view,
            training=training or TRAINING,
            name="ecgjepa",
        )
