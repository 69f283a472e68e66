"""Masked prediction: what an encoder sees of a sample has to tell what it does not see.

Every masked method is this one stage with other parts: a masker draws what is seen and what is predicted, the encoder
turns the seen part into tokens, a predictor guesses at hidden positions from them, a target says what is there, and a
distance compares. Those that have a name are in ``selftrain.pretrain.methods``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, cast

import torch
from torch import Tensor, nn

from selftrain.networks.copying import copy_network
from selftrain.networks.encoders import Encoder
from selftrain.networks.modes import eval_mode
from selftrain.networks.optim import Training
from selftrain.networks.patches import patchify, pick, unpatchify
from selftrain.networks.timm import ConvNetEncoder
from selftrain.networks.token_grid import Layout, Mask, Masker
from selftrain.pretrain.base import Pretraining, check_encoder, layout_of
from selftrain.pretrain.losses import Distance, as_distance
from selftrain.pretrain.maskers import check_masker
from selftrain.pretrain.predictor import Predictor, Projector
from selftrain.pretrain.targets import EMALatent, LatentTarget, Pixels, PredictionTarget
from selftrain.schedule import cosine
from selftrain.types import Batch, Clock

TRAINING = Training(lr=1e-3, weight_decay=0.05, schedule=cosine(warmup=0.05))
MakePredictor = Callable[[nn.Module, int], nn.Module]
Ship = Literal["target", "student"]
_SHOWN = 8  # samples in a picture


class MaskedNetwork(nn.Module):
    """Encoder, predictor and the head of a regularizer: inputs (B, *shape) and a mask -> what a step needs of them."""

    def __init__(self, encoder: nn.Module, predictor: nn.Module, projector: nn.Module | None, *, whole: bool) -> None:
        super().__init__()
        self.encoder, self.predictor, self.projector, self.whole = encoder, predictor, projector, whole

    def forward(self, x: Tensor, context: Tensor, targets: Tensor) -> tuple[Tensor, ...]:
        """Predictions (B, M, Nt, K), tokens (B, G, N, D), and their projected means (B, G, K') with a projector.

        The tokens are those seen, or, if ``whole``, those of the whole samples (G = 1).

        Args:
            x: Inputs, shape (B, *shape).
            context: Positions seen, shape (B, G, Nc).
            targets: Positions to predict, shape (B, M, Nt): a ``Mask`` by its rows.
        """
        mask = Mask.of_rows(context, targets)
        seen = self.encode(x, mask)
        predictions = self.predict(seen, mask, layout_of(self.encoder, x)).transpose(0, 1)
        # the student's own tokens of the whole sample are needed only where they are targets or regularized
        tokens: Tensor = self.encoder.tokens(x) if self.whole else seen  # type: ignore[operator]
        by_row = tokens.unflatten(0, (-1, len(x))).transpose(0, 1)
        if self.projector is None:
            return predictions, by_row
        return predictions, by_row, self.projector(tokens.mean(1)).unflatten(0, (-1, len(x))).transpose(0, 1)

    def encode(self, x: Tensor, mask: Mask) -> Tensor:
        """Tokens (G * B, Nc, D) of what the mask shows; nothing else is computed."""
        looks = len(mask.context)
        repeated = x.repeat(looks, *[1] * (x.dim() - 1))
        tokens: Tensor = self.encoder.tokens(repeated, mask.context.flatten(0, 1))  # type: ignore[operator]
        return tokens

    def predict(self, seen: Tensor, mask: Mask, layout: Layout) -> Tensor:
        """Predictions (M, B, Nt, K): each target set is a pass of its own, from its look's tokens."""
        looks, batch, sets = len(mask.context), mask.context.shape[1], len(mask.targets)
        # a pass for each set, side by side in the batch: in one pass, blocks would read each other's mask tokens
        tokens = seen.unflatten(0, (looks, batch)).repeat_interleave(mask.repeats, 0).flatten(0, 1)
        given = mask.context.repeat_interleave(mask.repeats, 0).flatten(0, 1)
        if layout.places is not None:
            # sets are the outer axis: the places of all samples, then again, not each place several times
            layout = Layout(layout.grid, layout.places.repeat(sets, 1, 1))
        predicted: Tensor = self.predictor(tokens, given, mask.targets.flatten(0, 1), layout)
        return predicted.view(sets, batch, *predicted.shape[1:])


class Masked(Pretraining):
    """Learn by predicting, from one part of a sample, something about its other parts.

    With latent targets the loss is no measure of success: features first collapse to almost one vector, and while they
    recover the loss rises. Watch ``rankme`` and ``feature_std``.

    Args:
        encoder: Module with the ``Encoder`` contract; it is copied.
        masker: Draws what is seen and what is predicted; see ``maskers``.
        target: What is predicted; see ``targets``. It is copied.
        predictor: Builds the predictor: ``predictor(encoder, outputs)``, such as ``partial(Predictor, depth=1)``.
        distance: Between prediction and target: ``"mse"``, ``"l1"``, ``"smooth_l1"``, ``"cosine"``,
            ``"unit_smooth_l1"``, or a function.
        regularizer: Term on the projected means of tokens (n, K), such as ``SIGReg()``; of the whole samples where the
            target is ``OwnLatent``, else of the part seen.
        regularizer_weight: Its share w of the loss ``(1 - w) distance + w regularizer``, in [0, 1].
        projector: Widths of the regularizer's head.
        ship: What ``predict`` and ``export`` give: the target's EMA encoder or the student's; ``None``: the EMA encoder
            where there is one.
        view: Name of the view to look at.
        training: How to train; ``None``: AdamW, learning rate 1e-3, weight decay 0.05, 5 % warm-up and a cosine to 0.
        name: Word for the loss in the log.

    Gradient: to encoder and predictor; to targets only with ``OwnLatent``.

    Raises:
        ValueError: for an argument out of range, an encoder without the contract, or (at a step) inputs that do not fit
            it.
    """

    def __init__(
        self,
        encoder: nn.Module,
        *,
        masker: Masker,
        target: PredictionTarget,
        predictor: MakePredictor = Predictor,
        distance: str | Distance = "smooth_l1",
        regularizer: nn.Module | None = None,
        regularizer_weight: float = 0.05,
        projector: tuple[int, ...] = (512, 128),
        ship: Ship | None = None,
        view: str = "weak",
        training: Training | None = None,
        name: str = "masked",
    ) -> None:
        super().__init__(view)
        contract = check_encoder(encoder)
        if isinstance(encoder, ConvNetEncoder):
            encoder.check_masked()
        # a mask that the grid does not allow is an error here, not hours later when a mixture first draws it
        check_masker(masker, Layout(contract.grid))
        if ship not in (None, "target", "student") or (ship == "target" and not isinstance(target, EMALatent)):
            raise ValueError(f"ship is {ship!r}; choose 'student', or 'target' where the target is EMALatent")
        if not 0 <= regularizer_weight <= 1:
            raise ValueError(f"regularizer_weight is {regularizer_weight}; it must be in [0, 1]")
        if target.own and regularizer is None:
            raise ValueError("the student's own tokens as targets collapse; give a regularizer such as SIGReg()")
        self.masker, self.distance, self.name = masker, as_distance(distance), name
        self.ship = ship or ("target" if isinstance(target, EMALatent) else "student")
        self.regularizer, self.regularizer_weight = regularizer, regularizer_weight
        # copied, so that stages compared with each other can be given one and the same encoder
        copied, head = copy_network(encoder), predictor(encoder, target.width(contract))
        guard = None if regularizer is None else Projector(contract.token_dim, projector)
        # one network for all that learns: one optimizer, one state, one gradient norm to clip
        self.student = (training or TRAINING).learner(MaskedNetwork(copied, head, guard, whole=target.own))
        self.target = copy_network(target)  # the copies of an encoder that it holds are this stage's own
        self.target.attach(self.student, copied)

    @property
    def network(self) -> MaskedNetwork:
        """The network that learns."""
        return cast(MaskedNetwork, self.student.model)

    def objective(self, batch: Batch, clock: Clock) -> tuple[Tensor, dict[str, Tensor]]:
        """Hide, predict, compare."""
        x = self.inputs(batch)
        mask = self.draw(x, clock.progress)
        predictions, tokens, *projected = (part.transpose(0, 1) for part in self.student.several(x, *mask.by_row()))
        targets = self.targets(x, mask, tokens[0])
        distance = self.distance(predictions, targets)
        scalars = {f"loss/{self.name}": distance.detach()}
        if isinstance(self.target, LatentTarget):
            scalars["target_std"] = targets.detach().flatten(0, 2).std(0).mean()
        if not projected:
            return distance, scalars
        term: Tensor = cast(nn.Module, self.regularizer)(projected[0].flatten(0, 1))
        scalars["loss/regularizer"] = term.detach()
        return (1 - self.regularizer_weight) * distance + self.regularizer_weight * term, scalars

    def after_step(self, clock: Clock) -> dict[str, Tensor]:
        """Let the target follow."""
        # behind the optimizer, as in I-JEPA's code: an EMA that moves first would lag a step behind its own decay
        return self.target.follow(self.network.encoder, clock.progress)

    def draw(self, x: Tensor, progress: float) -> Mask:
        """Masks for inputs (B, *shape), where they are."""
        # drawn on the CPU and then moved: a seed gives the same masks on every device
        return self.masker(len(x), layout_of(self.network.encoder, x), progress).to(x.device)

    def targets(self, x: Tensor, mask: Mask, tokens: Tensor) -> Tensor:
        """Targets (M, B, Nt, K) of inputs, or of the student's own ``tokens`` (B, T, K) of the whole samples."""
        if isinstance(self.target, LatentTarget) and self.target.own:
            # with gradient: it is the regularizer that keeps predictions and targets from meeting in one point
            return self.target.at(tokens, mask.targets)
        with torch.no_grad():
            targets: Tensor = self.target(x, cast(Encoder, self.network.encoder), mask.targets)
        return targets

    def shipped(self) -> nn.Module:
        """The EMA encoder or the student's, as ``ship`` says."""
        if self.ship == "target":
            return cast(EMALatent, self.target).teacher.model
        return super().shipped()

    @torch.no_grad()
    def pictures(self, batch: Batch) -> Mapping[str, Tensor]:
        """``reconstruction``, where images are predicted: up to 8 originals, what was seen of them, what was filled in.

        Shape (3 n, c, H, W), in [0, 1] from the darkest to the brightest pixel of the originals. Standardized
        predictions are turned back with the patch's own mean and scale.
        """
        encoder = cast(Encoder, self.network.encoder)
        if not isinstance(self.target, Pixels) or len(encoder.shape) != 3:
            return {}
        x, network = self.inputs(batch)[:_SHOWN], self.network
        mask = self.draw(x, 0.0)
        with eval_mode(network):
            predictions = network.predict(network.encode(x, mask), mask, layout_of(network.encoder, x))
        patches, low, high = patchify(x, encoder.grid), x.amin(), x.amax()
        seen, filled = patches, patches
        for where, predicted in zip(mask.targets, predictions, strict=True):
            if self.target.normalize:
                mean, scale = self.target.statistics(pick(patches, where))
                predicted = predicted * scale + mean
            index = where[..., None].expand_as(predicted)
            seen = seen.scatter(1, index, float(low + high) / 2)  # gray
            filled = filled.scatter(1, index, predicted.to(filled))
        images = torch.cat([unpatchify(row, encoder.grid, encoder.shape) for row in (patches, seen, filled)])
        return {"reconstruction": ((images - low) / (high - low).clamp(min=1e-6)).clamp(0, 1)}
