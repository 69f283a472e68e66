"""MAE: He et al., "Masked Autoencoders Are Scalable Vision Learners", CVPR 2022, https://arxiv.org/abs/2111.06377.

Algorithm: 1. three quarters of the patches are hidden at random; 2. the encoder sees the others alone; 3. a narrow
decoder puts a mask token with its position at every hidden place; 4. it predicts each hidden patch, standardized by its
own mean and variance; 5. the loss is the mean squared error over hidden patches. The decoder is thrown away.

Left out: the class token (features are pooled tokens). Differs: a decoder for small images (the paper: width 512, depth
8, 16 heads), ``flat`` (the released code: 1e-6), and a learning rate that is not scaled with the batch.

>>> from selftrain import data, fit, pretrain
>>> stage = pretrain.MAE(pretrain.ViT(size=8, patch=2, width=32, depth=1))
>>> run = fit(stage, data.load("digits", labels=40), steps=2)
>>> 0 < run.evaluate()["knn"] < 1
True
"""

from __future__ import annotations

from functools import partial

from torch import nn

from selftrain.networks.optim import Training
from selftrain.pretrain.masked import Masked
from selftrain.pretrain.maskers import RandomMask
from selftrain.pretrain.predictor import Predictor
from selftrain.pretrain.targets import Pixels
from selftrain.schedule import cosine

# beta2 is the paper's: with another mask at every step, gradients of long ago say little about their size now
TRAINING = Training(lr=1.5e-3, weight_decay=0.05, beta2=0.95, schedule=cosine(warmup=0.05))


class MAE(Masked):
    """Masked autoencoding: fill in hidden patches from the few that are visible.

    Source: He et al. 2022, arXiv:2111.06377, section 3. The head of the module tells the algorithm and what differs.

    Args:
        encoder: For images or series (anything cut into patches); it is copied.
        mask_ratio: Share of hidden patches, in (0, 1); 0.75 is the paper's.
        decoder_width: Width inside the decoder, a multiple of its heads.
        decoder_depth: Its transformer blocks.
        decoder_heads: Its attention heads.
        normalize: Whether each patch is standardized by its own mean and variance.
        flat: Added to a patch's variance, so that almost constant ones are not amplified.
        view: Name of the view to look at.
        training: How to train; ``None``: AdamW with betas (0.9, 0.95), weight decay 0.05 (the paper's), learning rate
            1.5e-3, 5 % warm-up and a cosine to 0.
    """

    def __init__(
        self,
        encoder: nn.Module,
        *,
        mask_ratio: float = 0.75,
        decoder_width: int = 64,
        decoder_depth: int = 1,
        decoder_heads: int = 4,
        normalize: bool = True,
        flat: float = 1e-2,
        view: str = "weak",
        training: Training | None = None,
    ) -> None:
        super().__init__(
            encoder,
            masker=RandomMask(mask_ratio),
            target=Pixels(normalize=normalize, flat=flat),
            # narrow and shallow: what the decoder cannot do is left to the encoder, which is what is kept
            predictor=partial(Predictor, width=decoder_width, depth=decoder_depth, heads=decoder_heads),
            distance="mse",
            view=view,
            training=training or TRAINING,
            name="mae",
        )
