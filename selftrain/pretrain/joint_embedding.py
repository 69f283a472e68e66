"""Joint embedding: several views of a sample should be embedded alike, and samples apart.

Every such method is this one stage with another loss; see ``selftrain.pretrain.methods`` for those with a name.
"""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from selftrain.networks.copying import copy_network
from selftrain.networks.optim import Training
from selftrain.pretrain.base import Pretraining, check_encoder
from selftrain.pretrain.predictor import Projector
from selftrain.schedule import cosine
from selftrain.types import Batch, Clock

TRAINING = Training(lr=2e-3, weight_decay=0.05, schedule=cosine(warmup=0.05))


class EmbeddingNetwork(nn.Module):
    """Encoder, projector and perhaps a predictor: inputs (V * B, *shape) -> embeddings (V * B, K), and predictions."""

    def __init__(self, encoder: nn.Module, projector: nn.Module, predictor: nn.Module | None) -> None:
        super().__init__()
        self.encoder, self.projector, self.predictor = encoder, projector, predictor

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Embeddings, and what the predictor makes of them; one pass, so BatchNorm sees all views together."""
        # features are what the projector takes: it throws away what tells views apart, which a later task may need
        z = self.projector(self.encoder(x))
        return (z,) if self.predictor is None else (z, self.predictor(z))


class JointEmbedding(Pretraining):
    """Learn features that are alike for views of one sample and spread over samples.

    Args:
        encoder: Module with ``embed_dim``, ``shape`` and ``forward`` of the ``Encoder`` contract, such as a
            ``FeatureEncoder``; it is copied. Its pooled features are embedded, so all of it learns (masked methods
            reach the tokens only).
        loss: From embeddings (V, B, K) to a scalar and its parts; see ``view_losses``.
        projector: Widths of the head that the loss acts on; the features are what comes before it.
        norm_last: BatchNorm behind the head's last layer (UniSiam).
        predictor: Hidden width of the small network that losses with ``needs_predictor`` ask for; ``None``: a quarter
            of the embedding.
        views: Names of the views of a sample, at least 2.
        training: How to train; ``None``: AdamW, learning rate 2e-3, weight decay 0.05, 5 % warm-up and a cosine to 0.
        name: Word for the loss in the log.

    The loss acts on the embeddings, so they may collapse while the features do not show it: watch ``embedding_std``.

    Gradient: to encoder, projector and predictor.

    Raises:
        ValueError: for fewer than two views, an encoder without the contract, or (at a step) inputs that do not fit it.
    """

    def __init__(
        self,
        encoder: nn.Module,
        loss: nn.Module,
        *,
        projector: tuple[int, ...] = (512, 128),
        norm_last: bool = False,
        predictor: int | None = None,
        views: tuple[str, ...] = ("strong", "strong2"),
        training: Training | None = None,
        name: str = "views",
    ) -> None:
        super().__init__(*views)
        if len(set(views)) < 2:
            raise ValueError(f"views is {views}; give at least two different ones, such as ('strong', 'strong2')")
        contract = check_encoder(encoder, ("embed_dim", "shape"))
        head = Projector(contract.embed_dim, projector, norm_last=norm_last)
        width = projector[-1]
        hidden = max(1, width // 4) if predictor is None else predictor
        # narrow in the middle: a predictor that can copy lets embeddings collapse
        narrow = Projector(width, (hidden, width)) if getattr(loss, "needs_predictor", False) else None
        self.loss, self.name = loss, name
        self.student = (training or TRAINING).learner(EmbeddingNetwork(copy_network(encoder), head, narrow))

    def objective(self, batch: Batch, clock: Clock) -> tuple[Tensor, dict[str, Tensor]]:
        """Embed all views, compare; ``embedding_std`` is their standard deviation over samples, averaged over K."""
        x = self.inputs(batch)
        embedded = [z.unflatten(0, (len(self.views), -1)) for z in self.student.several(x)]
        loss, parts = cast("tuple[Tensor, dict[str, Tensor]]", self.loss(*embedded))
        scalars = {f"loss/{self.name}": loss.detach()} | {f"loss/{key}": value for key, value in parts.items()}
        # behind a projector embeddings may all be alike while features look sound, so that both are watched
        return loss, scalars | {"embedding_std": embedded[0].detach().std(1, correction=0).mean()}
