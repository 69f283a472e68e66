"""Masked autoencoding (MAE).

Source: He et al., "Masked Autoencoders Are Scalable Vision Learners", 2022, https://arxiv.org/abs/2111.06377

A step: cut the image into patches; hide most of them at random; encode only the visible ones; a small decoder gets
their tokens plus a mask token for every hidden place and predicts the pixels there; the loss is the mean squared error
over hidden patches, each standardized by its own mean and variance. Left out: the class token (features are pooled
tokens) and the learning-rate rules for huge batches.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from selftrain.build import Training
from selftrain.pretrain.masking import random_mask
from selftrain.pretrain.patches import patchify, pick, unpatchify
from selftrain.pretrain.predictor import Predictor
from selftrain.pretrain.stage import Pretraining, check_encoder, resting
from selftrain.schedule import cosine
from selftrain.types import Batch, Clock, Report

TRAINING = Training(lr=1.5e-3, weight_decay=0.05, beta2=0.95, schedule=cosine(warmup=0.05))
_SHOWN = 8  # images in a picture


class MaskedAutoencoder(nn.Module):
    """Encoder and decoder: images (B, c, H, W) -> loss of each image (B,), with masks drawn at every call."""

    def __init__(
        self, encoder: nn.Module, decoder: Predictor, *, mask_ratio: float, normalize: bool, flat: float
    ) -> None:
        super().__init__()
        contract = check_encoder(encoder)
        self.encoder, self.decoder = encoder, decoder
        self.grid, self.patch = contract.grid, contract.patch
        self.mask_ratio, self.normalize, self.flat = mask_ratio, normalize, flat

    def forward(self, x: Tensor) -> Tensor:
        """Mean squared error over the hidden patches of each image, (B,), in fp32."""
        guess, hidden = self.fill(x)
        return (guess.float() - self.target(x, hidden)).square().mean((1, 2))

    def fill(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Hide patches and predict them: predictions (B, N, c * pixels) and the hidden positions (B, N)."""
        keep, hidden = random_mask(len(x), self.grid, self.mask_ratio, device=x.device)
        guess: Tensor = self.decoder(self.encoder.tokens(x, keep), keep, hidden)  # type: ignore[operator]
        return guess, hidden

    def target(self, x: Tensor, hidden: Tensor) -> Tensor:
        """What to predict at ``hidden`` (B, N): pixels (B, N, c * pixels), standardized a patch if ``normalize``."""
        patches = pick(patchify(x, self.patch), hidden)
        if not self.normalize:
            return patches
        mean, scale = patch_statistics(patches, self.flat)
        return (patches - mean) / scale


def patch_statistics(patches: Tensor, flat: float) -> tuple[Tensor, Tensor]:
    """Mean and scale of each patch (B, N, P), both (B, N, 1): ``scale = sqrt(unbiased variance + flat)``."""
    return patches.mean(-1, keepdim=True), (patches.var(-1, keepdim=True) + flat).sqrt()


class MAE(Pretraining):
    """Learn by filling in hidden patches from the few that are visible.

    Source: He et al. 2022, arXiv:2111.06377, section 3, with the normalized pixels of "Reconstruction target". Differs:
    a decoder for small images (the paper: width 512, depth 8, 16 heads), ``flat`` (the released code: 1e-6), and a
    learning rate that is not scaled with the batch.

    Args:
        encoder: Module with the ``Encoder`` contract; it is copied.
        mask_ratio: Share of hidden patches, in (0, 1); 0.75 is the paper's.
        decoder_width: Width of the decoder, a multiple of 4 and of ``decoder_heads``.
        decoder_depth: Blocks of the decoder, >= 1.
        decoder_heads: Attention heads of the decoder.
        normalize: Standardize each patch before it is a target (better features in the paper), or predict pixels.
        flat: Added to a patch's variance when standardizing, >= 0: with 1e-6 an almost constant patch would be
            amplified a thousand times and drown the others.
        view: Name of the view to look at.
        training: How to train; ``None``: AdamW with betas (0.9, 0.95), weight decay 0.05 (the paper's), learning rate
            1.5e-3, 5 % warm-up and a cosine to 0.

    Gradient: to encoder and decoder.

    Raises:
        ValueError: for an argument out of range, an encoder without the contract, or images that do not fit it.
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
        super().__init__(view)
        contract = check_encoder(encoder)
        random_mask(1, contract.grid, mask_ratio, generator=torch.Generator())  # a wrong ratio or grid fails here
        pixels = contract.channels * contract.patch[0] * contract.patch[1]
        if flat < 0 or (normalize and pixels < 2):
            raise ValueError(
                f"flat is {flat}, a patch {pixels} value(s); flat must be >= 0, a patch have 2 to normalize"
            )
        decoder = Predictor(
            contract.token_dim, pixels, contract.grid, width=decoder_width, depth=decoder_depth, heads=decoder_heads
        )
        network = MaskedAutoencoder(
            copy.deepcopy(encoder), decoder, mask_ratio=mask_ratio, normalize=normalize, flat=flat
        )
        self.student = (training or TRAINING).learner(network)

    def step(self, batch: Batch, clock: Clock, *extra: Batch) -> Report:
        """Hide, fill in, learn."""
        loss = self.student(self.look(batch)).mean()
        self.student.update(loss)
        return Report({"loss/mae": loss.detach()})

    @torch.no_grad()
    def pictures(self, batch: Batch) -> Mapping[str, Tensor]:
        """``reconstruction``: up to 8 originals, then the same as the encoder saw them, then filled in.

        Shape (3 n, c, H, W), in [0, 1] from the darkest to the brightest pixel of the originals. Standardized
        predictions are turned back with the patch's own mean and scale.
        """
        network, x = cast(MaskedAutoencoder, self.student.model), self.look(batch)[:_SHOWN]
        patches, low, high = patchify(x, network.patch), x.amin(), x.amax()
        with resting(network):
            guess, hidden = network.fill(x)
        if network.normalize:
            mean, scale = patch_statistics(pick(patches, hidden), network.flat)
            guess = guess * scale + mean
        index = hidden[..., None].expand_as(guess)
        rows = [patches, patches.scatter(1, index, float(low + high) / 2), patches.scatter(1, index, guess)]
        images = torch.cat([unpatchify(row, network.grid, network.patch) for row in rows])
        return {"reconstruction": ((images - low) / (high - low).clamp(min=1e-6)).clamp(0, 1)}
