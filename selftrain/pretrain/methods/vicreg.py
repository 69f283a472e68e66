"""VICReg: Bardes et al., ICLR 2022, https://arxiv.org/abs/2105.04906.

"VICReg: Variance-Invariance-Covariance Regularization for Self-Supervised Learning."

Algorithm: 1. two views of each sample pass encoder and projector; 2. invariance: their squared difference; 3. variance:
a hinge that keeps each dimension's standard deviation over the batch above 1; 4. covariance: squared covariances of
different dimensions; 5. the loss is their weighted sum (eq. 6).

Left out: the paper's augmentation (views are those of the pile). Differs: AdamW (LARS there) and a smaller projector
(three layers of 8,192 there).

>>> from selftrain import ConvEncoder, data, fit, pretrain
>>> stage = pretrain.VICReg(ConvEncoder(8))
>>> run = fit(stage, data.load("digits", labels=40), steps=2)
>>> 0 < run.evaluate()["knn"] < 1
True
"""

from __future__ import annotations

from torch import nn

from selftrain.networks.optim import Training
from selftrain.pretrain.joint_embedding import JointEmbedding
from selftrain.pretrain.losses import VICRegLoss


class VICReg(JointEmbedding):
    """Pull views together; keep each dimension's spread above 1 and dimensions uncorrelated.

    Source: Bardes et al. 2022, arXiv:2105.04906, eq. 6; see ``VICRegLoss``. The head of the module tells the algorithm
    and what differs.

    Args:
        encoder: Any with the contract; it is copied.
        invariance: Factors of the three terms, >= 0.
        variance: Factors of the three terms, >= 0.
        covariance: Factors of the three terms, >= 0.
        projector: Widths of the head.
        views: Names of the views.
        training: How to train; ``None``: as ``JointEmbedding``.
    """

    def __init__(
        self,
        encoder: nn.Module,
        *,
        invariance: float = 25.0,
        variance: float = 25.0,
        covariance: float = 1.0,
        # as wide at the end as inside: the variance and covariance terms need dimensions to spread over
        projector: tuple[int, ...] = (512, 512),
        views: tuple[str, ...] = ("strong", "strong2"),
        training: Training | None = None,
    ) -> None:
        loss = VICRegLoss(invariance=invariance, variance=variance, covariance=covariance)
        super().__init__(encoder, loss, projector=projector, views=views, training=training, name="vicreg")
