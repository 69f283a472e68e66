"""SimCLR: Chen et al., ICML 2020, https://arxiv.org/abs/2002.05709.

"A Simple Framework for Contrastive Learning of Visual Representations."

Algorithm: 1. two views of each sample pass encoder and projector; 2. embeddings are brought to length 1; 3. each is to
tell its other view from all other embeddings of the batch; 4. by a cross-entropy over similarities divided by a
temperature (eq. 1); 5. the projector is thrown away.

Left out: the paper's augmentation (views are those of the pile). Differs: AdamW (LARS there), temperature 0.2 (0.1
there with batches of 4,096).

>>> from selftrain import ConvEncoder, data, fit, pretrain
>>> stage = pretrain.SimCLR(ConvEncoder(8))
>>> run = fit(stage, data.load("digits", labels=40), steps=2)
>>> 0 < run.evaluate()["knn"] < 1
True
"""

from __future__ import annotations

from torch import nn

from selftrain.networks.optim import Training
from selftrain.pretrain.joint_embedding import JointEmbedding
from selftrain.pretrain.losses import InfoNCE


class SimCLR(JointEmbedding):
    """Tell the other view of a sample from all other samples of the batch.

    Source: Chen et al. 2020, arXiv:2002.05709, eq. 1; see ``InfoNCE``. The head of the module tells the algorithm and
    what differs.

    Args:
        encoder: Any with the contract; it is copied.
        temperature: Of the similarities, > 0.
        projector: Widths of the head.
        views: Names of the views.
        training: How to train; ``None``: as ``JointEmbedding``.
    """

    def __init__(
        self,
        encoder: nn.Module,
        *,
        temperature: float = 0.2,
        projector: tuple[int, ...] = (512, 128),
        views: tuple[str, ...] = ("strong", "strong2"),
        training: Training | None = None,
    ) -> None:
        # negatives are the other samples of the batch, so that the temperature belongs to the size of the batch
        loss = InfoNCE(temperature=temperature)
        super().__init__(encoder, loss, projector=projector, views=views, training=training, name="simclr")
