"""A-JEPA: Fei et al., 2023, https://arxiv.org/abs/2311.15830.

"A-JEPA: Joint-Embedding Predictive Architecture Can Listen."

Algorithm: 1. a spectrogram is cut into patches like an image; 2. early in the stage four random blocks are hidden,
later more and more often blocks whose times or frequencies the context loses altogether; 3. the encoder sees the
context, an EMA of it the whole; 4. a narrow predictor tells the EMA's tokens; 5. mean squared error, then the EMA
follows.

No code was published: the curriculum and sizes are from summaries of the paper, and LayerNorm on the targets is
assumed. Left out: the paper's regularized masking while fine-tuning, where a tenth of the tokens cannot be read by the
others.

>>> import numpy as np
>>> from selftrain import data, fit, pretrain
>>> sounds = np.random.default_rng(0).integers(256, size=(40, 16, 32), dtype=np.uint8)
>>> pile = data.Pile.from_arrays(sounds, np.arange(40) % 2, labels=8)
>>> stage = pretrain.AJEPA(pretrain.ViT(size=(16, 32), patch=4, width=32, depth=1))
>>> fit(stage, pile, steps=2).last["unlabeled"]["rankme"] > 1
True
"""

from __future__ import annotations

from functools import partial

from torch import nn

from selftrain.networks.optim import Training
from selftrain.networks.token_grid import Masker
from selftrain.pretrain.masked import Masked, Ship
from selftrain.pretrain.maskers import Curriculum, MultiBlock, TimeFrequency
from selftrain.pretrain.predictor import Predictor
from selftrain.pretrain.targets import EMALatent


class AJEPA(Masked):
    """``IJEPA`` for spectrograms: masks grow from random blocks to whole stretches of time and frequency.

    Source: Fei et al. 2023, arXiv:2311.15830. The head of the module tells the algorithm and what differs.

    Args:
        encoder: For spectrograms (B, 1, frequencies, frames), such as ``ViT``; it is copied.
        predictor_width: Width inside the predictor, a multiple of its heads (the paper: 512).
        predictor_depth: Its transformer blocks (the paper: 16).
        predictor_heads: Its attention heads.
        noise: Standard deviation of stochastic positions (``StoP``); ``None``: fixed ones.
        start: Share of time-frequency masks at the first step; see ``Curriculum``.
        masks: Draws context and targets; ``None``: the paper's curriculum.
        decay: Share of the EMA's old weights that stays, at the first and the last step.
        ship: What ``predict`` and ``export`` give: the target encoder or the student's.
        view: Name of the view to look at.
        training: How to train; ``None``: as ``IJEPA``.
    """

    def __init__(
        self,
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
    ) -> None:
        # whole stretches are too hard at the start: the paper measures this order above random and above the reverse
        curriculum = Curriculum(MultiBlock(), TimeFrequency(), start=start)
        super().__init__(
            encoder,
            masker=masks or curriculum,
            target=EMALatent(decay=decay),
            predictor=partial(
                Predictor, width=predictor_width, depth=predictor_depth, heads=predictor_heads, noise=noise
            ),
            distance="mse",
            ship=ship,
            view=view,
            training=training,
            name="ajepa",
        )
