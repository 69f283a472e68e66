"""UniSiam: Lu et al., "Self-Supervision Can Be a Good Few-Shot Learner", ECCV 2022, https://arxiv.org/abs/2207.09176.

Algorithm: 1. two views of each sample pass encoder and projector, which ends in BatchNorm; 2. a predictor with a narrow
middle tells one view's embedding from the other's; 3. minus their cosine, without gradient to what is predicted; 4.
plus the uniformity of all embeddings on the sphere; 5. the high temperature there makes small batches do.

Left out: the distillation from a larger teacher. Differs: AdamW (SGD there), smaller projector; the BatchNorm at its
end has no scale and shift (as SimSiam's), in the released code it has both.

>>> from selftrain import ConvEncoder, data, fit, pretrain
>>> stage = pretrain.UniSiam(ConvEncoder(8))
>>> run = fit(stage, data.load("digits", labels=40), steps=2)
>>> 0 < run.evaluate()["knn"] < 1
True
"""

from __future__ import annotations

from torch import nn

from selftrain.networks.optim import Training
from selftrain.pretrain.joint_embedding import JointEmbedding
from selftrain.pretrain.losses import UniSiamLoss


class UniSiam(JointEmbedding):
    """Predict one view's embedding from the other's, with a term that spreads embeddings over the sphere.

    Source: Lu et al. 2022, arXiv:2207.09176; see ``UniSiamLoss``. The head of the module tells the algorithm and what
    differs.

    Args:
        encoder: Any with the contract; it is copied.
        weight: Factor of the uniformity term, >= 0.
        temperature: Of the uniformity term, > 0; large ones suit small batches.
        projector: Widths of the head, which ends in BatchNorm.
        predictor: Hidden width of the predictor; ``None``: a quarter of the embedding.
        views: Names of the views.
        training: How to train; ``None``: as ``JointEmbedding``.
    """

    def __init__(
        self,
        encoder: nn.Module,
        *,
        weight: float = 0.1,
        temperature: float = 2.0,
        projector: tuple[int, ...] = (512, 512, 128),
        predictor: int | None = None,
        views: tuple[str, ...] = ("strong", "strong2"),
        training: Training | None = None,
    ) -> None:
        loss = UniSiamLoss(weight=weight, temperature=temperature)
        super().__init__(
            encoder,
            loss,
            projector=projector,
            # BatchNorm at the end keeps each dimension in use (the paper's projector)
            norm_last=True,
            predictor=predictor,
            views=views,
            training=training,
            name="unisiam",
        )
