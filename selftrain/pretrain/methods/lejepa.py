"""LeJEPA: Balestriero & LeCun, 2025, https://arxiv.org/abs/2511.08544.

"LeJEPA: Provable and Scalable Self-Supervised Learning Without the Heuristics."

Algorithm: 1. all views of a sample pass encoder and projector; 2. each embedding is pulled to the mean of those of the
global views; 3. SIGReg compares embeddings, projected on random lines, with a standard Gaussian; 4. ``(1 - weight)
invariance + weight SIGReg``; 5. one student, one step: no teacher, no stopped gradient, no negatives.

Left out: the paper's augmentation (views are those of the pile). Differs: views of one size, two by default (there 2
large and 6 small crops), a small projector.

>>> from selftrain import ConvEncoder, data, fit, pretrain
>>> stage = pretrain.LeJEPA(ConvEncoder(8))
>>> run = fit(stage, data.load("digits", labels=40), steps=2)
>>> 0 < run.evaluate()["knn"] < 1
True
"""

from __future__ import annotations

from torch import nn

from selftrain.networks.optim import Training
from selftrain.pretrain.joint_embedding import JointEmbedding
from selftrain.pretrain.losses import LeJEPALoss


class LeJEPA(JointEmbedding):
    """Pull views of a sample together while embeddings are held to an isotropic Gaussian; no teacher, no negatives.

    Source: Balestriero & LeCun 2025, arXiv:2511.08544; see ``LeJEPALoss``. The head of the module tells the algorithm
    and what differs.

    Args:
        encoder: Any with the contract; it is copied.
        weight: Share of SIGReg in the loss, in [0, 1].
        slices: Random directions a step.
        projector: Widths of the head.
        views: Names of the views; the first ``global_views`` make the center.
        global_views: At least 1.
        training: How to train; ``None``: as ``JointEmbedding``.
    """

    def __init__(
        self,
        encoder: nn.Module,
        *,
        weight: float = 0.05,
        slices: int = 256,
        projector: tuple[int, ...] = (512, 128),
        views: tuple[str, ...] = ("strong", "strong2"),
        global_views: int = 2,
        training: Training | None = None,
    ) -> None:
        # now and not at the first step, which is when the loss would notice
        if global_views > len(views):
            raise ValueError(f"global_views is {global_views}, there are {len(views)} views")
        loss = LeJEPALoss(weight=weight, slices=slices, global_views=global_views)
        super().__init__(encoder, loss, projector=projector, views=views, training=training, name="lejepa")
