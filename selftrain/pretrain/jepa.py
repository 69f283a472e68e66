"""Joint-embedding prediction of images (I-JEPA).

Source: Assran et al., "Self-Supervised Learning from Images with a Joint-Embedding Predictive Architecture", 2023,
https://arxiv.org/abs/2301.08243

A step: draw a large context block and some small target blocks; the target encoder, an EMA of the encoder, turns the
whole image into tokens, normalized over their channels; the encoder sees only the context; a narrow predictor, asked
one block at a time, predicts the target tokens from the context tokens and positions; the loss is the smooth L1
distance. Left out: the schedules of weight decay and the concatenation of several layers for probing.
"""

from __future__ import annotations

import copy
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from selftrain.build import Training
from selftrain.learner import run_network
from selftrain.networks import Encoder
from selftrain.pretrain.masking import BlockPlan, multi_block
from selftrain.pretrain.patches import pick
from selftrain.pretrain.predictor import Predictor
from selftrain.pretrain.stage import Pretraining, check_encoder
from selftrain.schedule import cosine
from selftrain.teacher import Teacher
from selftrain.types import Batch, Clock, Report

TRAINING = Training(lr=1e-3, weight_decay=0.05, schedule=cosine(warmup=0.05))


class JointEmbedding(nn.Module):
    """Encoder and predictor: images (B, c, H, W) -> predicted tokens (M, B, Nt, token_dim) of the target blocks.

    Attributes:
        masks: Context positions (B, Nc) and target positions (M, B, Nt) that the last call drew.
    """

    masks: tuple[Tensor, Tensor]

    def __init__(self, encoder: nn.Module, predictor: Predictor, plan: BlockPlan) -> None:
        super().__init__()
        self.grid = check_encoder(encoder).grid
        self.encoder, self.predictor, self.plan = encoder, predictor, plan

    def forward(self, x: Tensor) -> Tensor:
        """Draw masks and predict what they hide."""
        self.masks = multi_block(len(x), self.grid, self.plan, device=x.device)
        return self.guess(x, *self.masks)

    def guess(self, x: Tensor, context: Tensor, targets: Tensor) -> Tensor:
        """Predictions (M, B, Nt, token_dim) for ``targets`` (M, B, Nt) by images of which only ``context`` is seen."""
        tokens: Tensor = self.encoder.tokens(x, context)  # type: ignore[operator]
        blocks = len(targets)
        guess = self.predictor(tokens.repeat(blocks, 1, 1), context.repeat(blocks, 1), targets.flatten(0, 1))
        return cast(Tensor, guess.unflatten(0, (blocks, len(x))))


class IJEPA(Pretraining):
    """Learn by predicting, from one part of an image, what a slow copy of the encoder makes of other parts.

    The loss is no measure of success: at first features collapse to almost one vector, and while they recover the loss
    rises. Watch ``rankme`` and ``feature_std``.

    Source: Assran et al. 2023, arXiv:2301.08243, section 3. Differs: smooth L1 with beta 1 and LayerNorm without affine
    on the targets (the released code; the paper writes squared L2), sizes for small images (the paper's predictor:
    width 384, depth 6 or 12), ``decay`` for runs of up to some thousand steps (the paper: 0.996 to 1), constant weight
    decay (0.04 rising to 0.4), and see ``multi_block``.

    Args:
        encoder: Module with the ``Encoder`` contract; it is copied.
        predictor_width: Width of the predictor, a multiple of 4 and of ``predictor_heads``.
        predictor_depth: Blocks of the predictor, >= 1.
        predictor_heads: Attention heads of the predictor.
        masks: How blocks are drawn.
        decay: Share of the target encoder's old weights that stays at an update, at the first and the last step.
        path: From the first to the last decay along a line (the paper) or half a cosine.
        ship: What ``predict`` and ``export`` give: the target encoder (the paper) or the student's.
        view: Name of the view to look at.
        training: How to train; ``None``: AdamW, learning rate 1e-3, weight decay 0.05, 5 % warm-up and a cosine to 0.

    Gradient: to encoder and predictor; none to the target encoder.

    Raises:
        ValueError: for an argument out of range, an encoder without the contract, or images that do not fit it.
    """

    def __init__(
        self,
        encoder: nn.Module,
        *,
        predictor_width: int = 64,
        predictor_depth: int = 2,
        predictor_heads: int = 4,
        masks: BlockPlan | None = None,
        decay: tuple[float, float] = (0.99, 1.0),
        path: Literal["linear", "cosine"] = "linear",
        ship: Literal["target", "student"] = "target",
        view: str = "weak",
        training: Training | None = None,
    ) -> None:
        super().__init__(view)
        if path not in ("linear", "cosine") or ship not in ("target", "student"):
            raise ValueError(f"path is {path!r}, ship {ship!r}; choose 'linear' or 'cosine', and 'target' or 'student'")
        if not all(0 <= share <= 1 for share in decay):
            raise ValueError(f"decay is {decay}; both ends must be in [0, 1]")
        self.decay, self.path, self.ship, plan = decay, path, ship, masks or BlockPlan()
        contract = check_encoder(encoder)
        multi_block(1, contract.grid, plan, generator=torch.Generator())  # a grid too small for the plan fails here
        predictor = Predictor(
            contract.token_dim,
            contract.token_dim,
            contract.grid,
            width=predictor_width,
            depth=predictor_depth,
            heads=predictor_heads,
        )
        network = JointEmbedding(copy.deepcopy(encoder), predictor, plan)
        self.student = (training or TRAINING).learner(network)
        # BatchNorm statistics are copied: averaged with a decay near 1 they would stay what they were at the start
        self.teacher = Teacher(self.student, part=network.encoder, buffers="copy")

    def step(self, batch: Batch, clock: Clock, *extra: Batch) -> Report:
        """Predict, learn, let the target encoder follow."""
        x = self.look(batch)
        guess = self.student(x)
        target = self.target(x, cast(JointEmbedding, self.student.model).masks[1])
        loss = F.smooth_l1_loss(guess, target)
        decay = decay_at(clock.progress, self.decay, self.path)
        if self.student.update(loss):
            self.teacher.update(cast(nn.Module, self.student.model.encoder), decay=decay)
        spread = target.flatten(0, 2).std(0).mean()
        return Report({"loss/ijepa": loss.detach(), "decay": torch.tensor(decay), "target_std": spread})

    @torch.no_grad()
    def target(self, x: Tensor, positions: Tensor) -> Tensor:
        """Tokens of the whole images (B, c, H, W) at ``positions`` (M, B, Nt), each with mean 0 and variance 1.

        Returns:
            Shape (M, B, Nt, token_dim), from the target encoder, without gradient.
        """
        read = cast(Encoder, self.teacher.model).tokens
        tokens = run_network(read, x, self.teacher.precision, self.teacher.channels_last)
        tokens = F.layer_norm(tokens, tokens.shape[-1:])
        return torch.stack([pick(tokens, block) for block in positions])

    def shipped(self) -> nn.Module:
        """The target encoder or the student's, as ``ship`` says."""
        return self.teacher.model if self.ship == "target" else super().shipped()


def decay_at(progress: float, decay: tuple[float, float], path: Literal["linear", "cosine"]) -> float:
    """Decay at ``progress`` in [0, 1], from the first value of ``decay`` to the second."""
    moved = progress if path == "linear" else 1 - cosine()(progress)
    return decay[0] + (decay[1] - decay[0]) * moved
