"""Encoders from elsewhere: vision transformers built like timm's, and any network that gives features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from selftrain.networks.copying import copy_network
from selftrain.networks.patches import pick
from selftrain.networks.vit import Pool, pooling

_PARTS = ("patch_embed", "pos_embed", "blocks", "norm")


class TimmEncoder(nn.Module):
    """Give a vision transformer of timm the ``Encoder`` contract; hidden patches are left out of all its blocks.

    Nothing is imported from timm: any module with its parts will do (``patch_embed`` with ``grid_size`` and
    ``patch_size``, ``pos_embed``, ``blocks``, ``norm``, perhaps ``cls_token``, ``reg_token``, ``pos_drop``,
    ``norm_pre``, ``no_embed_class``, ``num_prefix_tokens``). Class and register tokens are seen by all patches and left
    out of the tokens and features.

    Args:
        model: Such as ``timm.create_model("vit_tiny_patch16_224", img_size=32, patch_size=4)``; it is copied.
        pool: How features are read out, see ``Transformer``.

    Pretrained weights in a local file: ``load_weights(model, weights_of("vit.safetensors"))`` before. A file with a
    classifier's head needs a model with one, so build it with the ``num_classes`` of the file; the head is not used.

    Raises:
        ValueError: if a part is missing.
    """

    readout: Tensor | None

    def __init__(self, model: nn.Module, *, pool: Pool = 2) -> None:
        super().__init__()
        missing = [name for name in _PARTS if getattr(model, name, None) is None]
        if missing:
            raise ValueError(
                f"{type(model).__name__} lacks {missing}; masked stages need a vision transformer as timm builds them "
                "(two-view stages take any network: see FeatureEncoder)"
            )
        self.model = copied = copy_network(cast(Any, model))
        embed = copied.patch_embed
        rows, columns = embed.grid_size
        height, width = embed.patch_size
        channels = int(embed.proj.weight.shape[1])
        self.grid, self.shape = (rows, columns), (channels, rows * height, columns * width)
        self.token_dim = int(copied.pos_embed.shape[-1])
        readout = pooling(self.grid, pool)
        self.embed_dim = self.token_dim * (2 if readout is None else len(readout))
        self.register_buffer("readout", readout, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Features (B, embed_dim) of images (B, *shape)."""
        tokens = self.tokens(x)
        if self.readout is None:
            return torch.cat([tokens.amax(1), tokens.mean(1)], 1)
        return (self.readout @ tokens).flatten(1)

    def tokens(self, x: Tensor, keep: Tensor | None = None) -> Tensor:
        """Tokens (B, T, token_dim); with ``keep`` (B, N) only these patches are looked at: (B, N, token_dim)."""
        model = cast(Any, self.model)
        # all patches are embedded (one convolution) and then picked: what attention costs comes behind that
        patches = model.patch_embed(x)
        patches = patches.flatten(1, 2) if patches.dim() == 4 else patches  # (B, T, D)
        # timm's own forward cannot leave tokens out before the blocks, so that its steps are taken here one by one
        prefix, places = self._prefix(len(x)), model.pos_embed
        count = prefix.shape[1]
        if places.shape[1] == patches.shape[1]:  # class and register tokens have no position
            patches = patches + places
        else:
            prefix, patches = prefix + places[:, :count], patches + places[:, count:]
        if keep is not None:
            patches = pick(patches, keep)
        tokens = torch.cat([prefix.to(patches), patches], 1)
        for name in ("pos_drop", "norm_pre"):
            tokens = getattr(model, name, nn.Identity())(tokens)
        for block in model.blocks:
            tokens = block(tokens)
        return cast(Tensor, model.norm(tokens))[:, count:]

    def layers(self) -> Sequence[nn.Module]:
        """Patch embedding, blocks and norm, from the input on."""
        model = cast(Any, self.model)
        return [model.patch_embed, *model.blocks, model.norm]

    def _prefix(self, batch: int) -> Tensor:
        """Class and register tokens, (B, count, token_dim)."""
        own = [getattr(self.model, name, None) for name in ("cls_token", "reg_token")]
        tokens = [t.expand(batch, -1, -1) for t in own if isinstance(t, Tensor)]
        like = cast(Tensor, self.model.pos_embed)
        return torch.cat(tokens, 1) if tokens else like.new_zeros(batch, 0, like.shape[-1])


class FeatureEncoder(nn.Module):
    """Give any network that maps inputs to features what two-view stages need.

    Args:
        model: (B, *shape) -> (B, embed_dim), such as ``timm.create_model("resnet18", num_classes=0)``; it is copied.
        shape: Of one input.

    Raises:
        ValueError: if the model does not give one vector a sample.
    """

    def __init__(self, model: nn.Module, shape: Sequence[int]) -> None:
        super().__init__()
        self.model, self.shape = copy_network(model), tuple(shape)
        was_training = self.model.training
        with torch.no_grad():
            # in evaluation mode: the probe must not move the statistics of a pretrained network
            given = self.model.eval()(torch.zeros(2, *self.shape))
        self.model.train(was_training)
        if not isinstance(given, Tensor) or given.dim() != 2:
            what = tuple(given.shape) if isinstance(given, Tensor) else type(given).__name__
            raise ValueError(f"{type(model).__name__} gives {what} for 2 samples; it must give features (2, width)")
        self.embed_dim = int(given.shape[1])

    def forward(self, x: Tensor) -> Tensor:
        """Features (B, embed_dim)."""
        features: Tensor = self.model(x)
        return features
