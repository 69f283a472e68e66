"""CNN-JEPA: Kalapos & Gyires-Toth, ICMLA 2024, https://arxiv.org/abs/2408.07514.

"CNN-JEPA: Self-Supervised Pretraining Convolutional Neural Networks Using Joint Embedding Predictive Architecture."

Algorithm: 1. with probability 0.75 the union of four blocks is hidden, else 60 % of the cells; 2. the encoder blanks
hidden cells behind every layer, and BatchNorm sees visible ones only; 3. a learned vector fills hidden cells and a
depthwise separable ConvNet predicts them; 4. the target is what a dense EMA of the encoder makes of the whole image; 5.
smooth L1 between both at length 1, summed over channels.

Left out: the paper's augmentation (views are those of the pile). Differs: the EMA follows every step (the released
code: every epoch, 0.996 to 1), weight decay spares biases and norms, learning rate 2e-3 (1e-2 on batches of 512).

>>> from selftrain import ConvEncoder, data, fit, pretrain
>>> stage = pretrain.CNNJEPA(ConvEncoder(8))
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
from selftrain.pretrain.maskers import Mixture, MultiBlock, RandomMask
from selftrain.pretrain.predictor import ConvPredictor
from selftrain.pretrain.targets import EMALatent, Path
from selftrain.schedule import cosine

# a fifth of the paper's rate, for batches far smaller than its 512
TRAINING = Training(lr=2e-3, weight_decay=0.01, schedule=cosine(warmup=0.05))


class CNNJEPA(Masked):
    """``IJEPA`` for ConvNets: a sparse encoder, and a small depthwise separable ConvNet that predicts.

    Source: Kalapos & Gyires-Toth 2024, arXiv:2408.07514, section 3. The head of the module tells the algorithm and what
    differs.

    Args:
        encoder: With a grid of two axes and sparse ``tokens``, such as ``ConvEncoder``; it is copied.
        depth: Convolution blocks of the predictor.
        noise: Standard deviation of stochastic positions (``StoP``); ``None``: fixed ones.
        signed: Whether predictions may be negative.
        masks: Draws context and targets; ``None``: the paper's mixture.
        decay: Share of the EMA's old weights that stays, at the first and the last step.
        path: From the first to the last decay along a line or half a cosine.
        ship: What ``predict`` and ``export`` give: the target encoder or the student's.
        view: Name of the view to look at.
        training: How to train; ``None``: AdamW, learning rate 2e-3, weight decay 0.01, 5 % warm-up and a cosine to 0.
    """

    def __init__(
        self,
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
    ) -> None:
        # one target set: a ConvNet fills the whole map in one pass, so that blocks need no pass of their own
        blocks = MultiBlock(context_scale=(1.0, 1.0), union=True)
        super().__init__(
            encoder,
            masker=masks or Mixture(blocks, RandomMask(0.6), share=0.75),
            # at length 1: features behind a ReLU differ in size from channel to channel and image to image
            target=EMALatent(norm="l2", decay=decay, path=path),
            predictor=partial(ConvPredictor, depth=depth, noise=noise, signed=signed),
            distance="unit_smooth_l1",
            ship=ship,
            view=view,
            training=training or TRAINING,
            name="cnnjepa",
        )
