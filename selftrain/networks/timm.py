"""Encoders from elsewhere: vision transformers and ConvNets, and any network that gives features."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from selftrain.networks.copying import copy_network
from selftrain.networks.foundation import TimmNet, network_parts
from selftrain.networks.patches import pick
from selftrain.networks.sparse import seen_alone, visible_cells
from selftrain.networks.vit import Pool, pooling
from selftrain.types import Recorded

_PARTS = ("patch_embed", "pos_embed", "blocks", "norm")


class TimmEncoder(nn.Module):
    """Give a vision transformer of timm the ``Encoder`` contract; hidden patches are left out of all its blocks.

    Nothing is imported from timm: any module with its parts will do (``patch_embed`` with ``grid_size`` and
    ``patch_size``, ``pos_embed``, ``blocks``, ``norm``, perhaps ``cls_token``, ``reg_token``, ``pos_drop``,
    ``norm_pre``, ``no_embed_class``, ``num_prefix_tokens``), and those with rotary positions (EVA, DINOv3: ``rope``,
    ``patch_drop`` and ``forward_features``). Class and register tokens are seen by all patches and left out of the
    tokens and features. ``encoder.model`` is the plain network, under the names it came with.

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
        self.model, self.pool = copy_network(model), pool
        vit = self._vit
        rotary = getattr(vit, "rope", None) is not None
        missing = [name for name in _PARTS if getattr(vit, name, None) is None and not (rotary and name == "pos_embed")]
        if missing:
            raise ValueError(
                f"{type(vit).__name__} lacks {missing}; masked stages need a vision transformer as timm builds them "
                "or a ConvNet (see ConvNetEncoder); two-view stages take any network: see FeatureEncoder"
            )
        embed = vit.patch_embed
        rows, columns = embed.grid_size
        height, width = embed.patch_size
        channels = int(embed.proj.weight.shape[1])
        self.grid, self.shape = (rows, columns), (channels, rows * height, columns * width)
        self.token_dim = int(embed.proj.weight.shape[0])
        readout = pooling(self.grid, pool)
        self.embed_dim = self.token_dim * (2 if readout is None else len(readout))
        self.register_buffer("readout", readout, persistent=False)

    @property
    def arguments(self) -> dict[str, Any]:
        """What it was built with, where the network knows that of itself."""
        return _arguments(self, pool=self.pool)

    @property
    def _vit(self) -> Any:
        return self.model.model if isinstance(self.model, TimmNet) else self.model

    def forward(self, x: Tensor) -> Tensor:
        """Features (B, embed_dim) of images (B, *shape)."""
        tokens = self.tokens(x)
        if self.readout is None:
            return torch.cat([tokens.amax(1), tokens.mean(1)], 1)
        return (self.readout @ tokens).flatten(1)

    def tokens(self, x: Tensor, keep: Tensor | None = None) -> Tensor:
        """Tokens (B, T, token_dim); with ``keep`` (B, N) only these patches are looked at: (B, N, token_dim)."""
        model = self._vit
        if getattr(model, "rope", None) is not None:
            return self._rotary_tokens(x, keep)
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
        model = self._vit
        return [model.patch_embed, *model.blocks, model.norm]

    def _rotary_tokens(self, x: Tensor, keep: Tensor | None) -> Tensor:
        """As ``tokens``, by timm's own way of dropping patches, which leaves their rotary positions out with them."""
        model = self._vit
        count, own = int(model.num_prefix_tokens), model.patch_drop
        model.patch_drop = _Keep(keep, count)
        try:
            tokens: Tensor = model.forward_features(x)
        finally:
            model.patch_drop = own
        return tokens[:, count:]

    def _prefix(self, batch: int) -> Tensor:
        """Class and register tokens, (B, count, token_dim)."""
        own = [getattr(self._vit, name, None) for name in ("cls_token", "reg_token")]
        tokens = [t.expand(batch, -1, -1) for t in own if isinstance(t, Tensor)]
        like = cast(Tensor, self._vit.pos_embed)
        return torch.cat(tokens, 1) if tokens else like.new_zeros(batch, 0, like.shape[-1])


class _Keep(nn.Module):
    """In the place of timm's ``PatchDropoutWithIndices``: which patches stay is given."""

    def __init__(self, keep: Tensor | None, count: int) -> None:
        super().__init__()
        self.keep, self.count = keep, count

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """The first ``count`` tokens and those that stay, and their numbers."""
        if self.keep is None:
            return x, None
        return torch.cat([x[:, : self.count], pick(x[:, self.count :], self.keep)], 1), self.keep


class ConvNetEncoder(nn.Module):
    """Give a ConvNet of torchvision, timm or one's own the ``Encoder`` contract; it is not changed.

    Its features are the network's own; its tokens are the cells of its last feature map. With hidden cells the network
    sees the others alone, see ``selftrain.networks.sparse``. ``encoder.model`` is the plain network, under the names it
    came with: ``encoder.model.state_dict()`` loads where it is from.

    Args:
        model: From images to features (B, D), such as ``timm.create_model("resnet18", num_classes=0)``; it is copied.
        shape: Of one image; gray ones are given to a network of several channels several times.

    Raises:
        ValueError: it gives no features of such images, or has no feature map of at least 2 x 2 cells.
    """

    def __init__(self, model: nn.Module, shape: Sequence[int]) -> None:
        super().__init__()
        self.model, self.shape = copy_network(model), tuple(int(side) for side in shape)
        name, first = type(model).__name__, next((m for m in model.modules() if isinstance(m, nn.Conv2d)), None)
        if first is None or len(self.shape) != 3:
            raise ValueError(f"{name} on inputs {self.shape} is no ConvNet on images (channels, height, width)")
        self.repeats = first.in_channels if self.shape[0] == 1 else 1
        features, maps = _feature_maps(self.model, self._seen(torch.zeros(2, *self.shape)))
        if not isinstance(features, Tensor) or features.dim() != 2:
            what = tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__
            raise ValueError(f"{name} gives {what} for 2 images; an encoder gives features (2, width)")
        fine = [part for part, found in maps.items() if min(found) > 1]
        # the last one, since what comes behind it has no places any more; a part of one that ends in a single cell is
        # no end
        self.part = fine[-1] if fine else ""
        if not fine or any(self.part.startswith(f"{part}.") for part in maps.keys() - fine):
            raise ValueError(
                f"{name} has no feature map of 2 x 2 cells for images {self.shape}; take larger ones, or a network "
                "that halves them less often (two-view stages take any network: see FeatureEncoder)"
            )
        rows, columns = maps[self.part]
        self.grid, self.embed_dim = (rows, columns), int(features.shape[1])
        self.token_dim = int(self.tokens(torch.zeros(2, *self.shape)).shape[2])
        self.model.train(model.training)

    @property
    def arguments(self) -> dict[str, Any]:
        """What it was built with, where the network knows that of itself."""
        return _arguments(self, shape=self.shape)

    def forward(self, x: Tensor) -> Tensor:
        """Features (B, embed_dim) of images (B, *shape)."""
        features: Tensor = self.model(self._seen(x))
        return features

    def tokens(self, x: Tensor, keep: Tensor | None = None, *, noise: float = 0.0) -> Tensor:
        """Cells of the last feature map, (B, T, token_dim), or (B, N, token_dim) at ``keep``; see ``Encoder.tokens``.

        Hidden cells are computed and thrown away; ``noise`` is put there, see ``seen_alone``.
        """
        found: list[Tensor] = []
        shown = None if keep is None else seen_alone(self.model, visible_cells(keep, self.grid), noise=noise)
        with contextlib.ExitStack() as stack:
            if shown is not None:
                stack.enter_context(shown)
            # behind the hooks of BatchNorm, which may be the last part
            last = self.model.get_submodule(self.part)
            stack.callback(last.register_forward_hook(lambda _, __, given: found.append(given)).remove)
            # the head is run, too: it costs next to nothing, and a pass that is cut short confuses those who shard
            self.model(self._seen(x))
        cells = found[-1].flatten(2).transpose(1, 2)
        return cells if keep is None else pick(cells, keep)

    def layers(self) -> Sequence[nn.Module]:
        """Parts of the network, from the input on."""
        return list(network_parts(self.model))

    def check_masked(self) -> None:
        """Ask whether kept cells are told nothing of hidden ones, by filling these with noise behind each convolution.

        Raises:
            ValueError: they are.
        """
        keep = torch.arange(0, self.grid[0] * self.grid[1], 2).expand(2, -1)
        x = torch.rand(2, *self.shape, generator=torch.Generator().manual_seed(0)).double()
        asked, found = copy_network(self).cpu().double().train(), []  # layers may begin with a share of 1e-6
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            for noise in (0.0, 100.0):
                torch.manual_seed(0)  # drop-out and the like
                found.append(asked.tokens(x, keep, noise=noise))
        # not nearly equal: what leaks is small at the start and grows with training
        if not torch.equal(*found):
            raise ValueError(
                f"{type(self.model).__name__} mixes places in layers that cannot be told what is hidden (attention, "
                "means of its own): masked stages cannot fill it; take another network, or a stage of two views such "
                "as LeJEPA(FeatureEncoder(model, shape))"
            )

    def _seen(self, x: Tensor) -> Tensor:
        return x.expand(-1, self.repeats, -1, -1) if self.repeats > 1 else x


@torch.no_grad()
def _feature_maps(model: nn.Module, x: Tensor) -> tuple[Any, dict[str, tuple[int, int]]]:
    """What a network gives, and rows and columns of what its parts give (B, C, H, W), by name, in their order."""
    found: dict[str, tuple[int, int]] = {}

    def note(name: str, given: Any) -> None:
        if isinstance(given, Tensor) and given.dim() == 4:
            found.pop(name, None)
            found[name] = (int(given.shape[2]), int(given.shape[3]))

    hooks = [
        part.register_forward_hook(lambda _, __, given, name=name: note(name, given))
        for name, part in model.named_modules()
        # a fixed number of cells, whatever the picture has
        if name and not isinstance(part, (nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d))
    ]
    try:
        model.eval()  # the probe must not move the statistics of a pretrained network
        return model(x), found
    finally:
        for hook in hooks:
            hook.remove()


def _arguments(encoder: nn.Module, **settings: Any) -> dict[str, Any]:
    """Arguments of an encoder around a network that says how it was built; of others whoever builds them is asked."""
    if not isinstance(encoder.model, Recorded):
        raise AttributeError("arguments")
    return {"model": encoder.model, **settings}


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

    @property
    def arguments(self) -> dict[str, Any]:
        """What it was built with, where the network knows that of itself."""
        return _arguments(self, shape=self.shape)

    def forward(self, x: Tensor) -> Tensor:
        """Features (B, embed_dim)."""
        features: Tensor = self.model(x)
        return features
