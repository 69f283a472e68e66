"""T-JEPA: Thimonier et al., ICLR 2025, https://arxiv.org/abs/2410.05016.

"T-JEPA: Augmentation-Free Self-Supervised Learning for Tabular Data."

Algorithm: 1. each column of a row is a token, and one learned regularization token is in front; 2. some columns are
seen, four other sets are to be predicted; 3. the encoder sees the context, an EMA of it the whole row; 4. a tiny
predictor tells the EMA's tokens of each set; 5. mean squared error, then the EMA follows.

Left out: nothing. The paper's masks, not those of the released code, whose target sets are all alike and which masks
the regularization token. Differs: gradients are scaled to norm 1 (there clamped to +-1), EMA from 0.99 (0.996).

>>> from sklearn.datasets import load_wine
>>> from selftrain import data, fit, pretrain
>>> pile = data.Pile.from_arrays(*load_wine(return_X_y=True), labels=30)
>>> stage = pretrain.TJEPA(pretrain.table_transformer(columns=13))
>>> fit(stage, pile, steps=2).last["unlabeled"]["rankme"] > 1
True
"""

from __future__ import annotations

from functools import partial

from torch import nn

from selftrain.networks.optim import Training
from selftrain.networks.token_grid import Masker
from selftrain.pretrain.masked import Masked, Ship
from selftrain.pretrain.maskers import FeatureSubset
from selftrain.pretrain.predictor import Predictor
from selftrain.pretrain.targets import EMALatent
from selftrain.schedule import cosine

# scaled to norm 1, not clamped value by value as there, which would change the direction of the step
TRAINING = Training(lr=1e-3, weight_decay=0.0, max_grad_norm=1.0, schedule=cosine(warmup=0.05))


class TJEPA(Masked):
    """``IJEPA`` for tables: from some columns of a row, predict what the slow copy makes of others.

    Source: Thimonier et al. 2024, arXiv:2410.05016. The head of the module tells the algorithm and what differs.

    Args:
        encoder: For rows (B, columns), such as ``table_transformer``; it is copied.
        predictor_width: Width inside the predictor, a multiple of its heads.
        predictor_depth: Its transformer blocks.
        predictor_heads: Its attention heads.
        noise: Standard deviation of stochastic positions (``StoP``); ``None``: fixed ones.
        masks: Draws context and targets; ``None``: ``FeatureSubset(context=(0.3, 0.5))``.
        decay: Share of the EMA's old weights that stays, at the first and the last step.
        ship: What ``predict`` and ``export`` give: the target encoder or the student's.
        view: Name of the view to look at; the method needs no augmentation.
        training: How to train; ``None``: AdamW, learning rate 1e-3, no weight decay, 5 % warm-up and a cosine to 0.
    """

    def __init__(
        self,
        encoder: nn.Module,
        *,
        predictor_width: int = 16,
        predictor_depth: int = 2,
        predictor_heads: int = 4,
        noise: float | None = None,
        masks: Masker | None = None,
        decay: tuple[float, float] = (0.99, 1.0),
        ship: Ship = "target",
        # rows of a table have no augmentation that surely keeps their meaning
        view: str = "plain",
        training: Training | None = None,
    ) -> None:
        super().__init__(
            encoder,
            # wider than the released code's 0.2 to 0.4: of few columns a fifth is one or two
            masker=masks or FeatureSubset(context=(0.3, 0.5)),
            # without a regularization token training stays collapsed, says the paper; see ``table_transformer``
            target=EMALatent(norm="none", decay=decay),
            predictor=partial(
                Predictor, width=predictor_width, depth=predictor_depth, heads=predictor_heads, noise=noise
            ),
            distance="mse",
            ship=ship,
            view=view,
            training=training or TRAINING,
            name="tjepa",
        )
