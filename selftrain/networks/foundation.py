"""Encoders with weights that others have trained: one module around networks of timm, torchvision and transformers.

Each is built from plain settings, without weights and without a network connection, so that a run folder can say how to
build the like again; ``selftrain.networks.hub`` finds the weights.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from selftrain.errors import DataError
from selftrain.networks.described import fingerprint
from selftrain.types import InputKind, Recorded

Modality = InputKind | Literal["text"]
Read = Literal["pooler", "first", "mean", "image_features"]
_NAME = re.compile(r"[A-Za-z0-9_.]+")
_TOKENS = 256  # tokens of a text that no card limits
# Settings that would have transformers fetch code, kernels or further weights.
_REMOTE = ("auto_map", "quantization_config", "use_pretrained_backbone", "_name_or_path", "torch_dtype", "dtype")


class Foundation(Recorded, nn.Module):
    """An encoder with its card: any pile of its kind fits, features come as (B, embed_dim).

    Images of another size are resized to ``size`` (the whole picture, without cropping); gray ones get three channels.
    Inputs must be normalized as the encoder has learned: ``pile.normalized_as(encoder)``.

    Args:
        body: From inputs to features (B, embed_dim); used as it is.
        embed_dim: Width of the features.
        name: Where it is from, for people.
        modality: What it reads.
        size: Side of the images it was trained on, in pixels; ``None``: inputs go through as they are.
        mean: Of the inputs it was trained on, one number or one a channel; images in [0, 1].
        std: Their standard deviation.
        interpolation: How images are resized.
        shape: Of one input, where no other will do.
        frozen: Whether it stays as it is: at rest (dropout, BatchNorm) in training too, and without gradients.

    Gradient: flows to the body's weights and to the inputs, unless it is ``frozen``.
    """

    def __init__(
        self,
        body: nn.Module,
        *,
        embed_dim: int,
        name: str = "",
        modality: Modality = "image",
        size: int | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        interpolation: Literal["bilinear", "bicubic"] = "bicubic",
        shape: Sequence[int] | None = None,
        frozen: bool = False,
    ) -> None:
        super().__init__()
        self.body, self.embed_dim, self.name, self.modality = body, embed_dim, name, modality
        self.frozen = frozen
        if frozen:
            body.requires_grad_(False).eval()
        self.size, self.interpolation = size, interpolation
        self.mean, self.std = (None if v is None else [float(one) for one in v] for v in (mean, std))
        self.cache: str | None = None  # folder for features, of ``Pile.encoded``
        self.tokenizer: Any = None  # of text: no part of the network, read from the folder
        if shape is not None:
            self.shape = tuple(shape)

    def forward(self, x: Tensor) -> Tensor:
        """Features (B, embed_dim) of inputs (B, ...), of text of token numbers (B, T)."""
        x = self._seen(x) if self.modality == "image" else x
        if not self.frozen:
            features: Tensor = self.body(x)
            return features
        self.body.eval()  # whoever set single parts of the network to training
        with torch.no_grad():
            return self.body(x)  # type: ignore[no-any-return]

    def train(self, mode: bool = True) -> Foundation:
        """As of any module, but frozen ones stay at rest."""
        return super().train(mode and not self.frozen)

    def layers(self) -> Sequence[nn.Module]:
        """Parts of the body from the input on, for ``Training(layer_decay=...)``."""
        own: Any = getattr(self.body, "layers", None)
        return list(network_parts(self.body)) if own is None or isinstance(own, nn.Module) else own()

    def card(self, shape: Sequence[int]) -> dict[str, Any]:
        """How inputs of a ``shape`` are to be normalized, for ``Pile.normalized_as``.

        Raises:
            DataError: inputs that it cannot read.
        """
        own = getattr(self, "shape", None)
        if self.modality != "image":
            return {"shape": list(shape if own is None else own), "mean": self.mean, "std": self.std}
        if len(shape) != 3:
            raise DataError(f"{self.name or 'the encoder'} reads images, the inputs have shape {tuple(shape)}")
        mean, std = self.mean, self.std
        if mean is not None and std is not None and shape[0] == 1:  # gray: ``_seen`` makes channels of their own of it
            mean, std = [sum(mean) / len(mean)], [sum(std) / len(std)]
        return {"shape": list(shape), "mean": mean, "std": std}

    def key(self) -> str:
        """What tells its features from those of other weights, another size or another structure."""
        told = [fingerprint(self.body), self.size, self.interpolation, self.mean, self.std]
        total = hashlib.sha256(repr(told).encode())
        for name, value in self.body.state_dict().items():
            if isinstance(value, Tensor):
                total.update(name.encode())
                total.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        return total.hexdigest()[:24]

    @torch.no_grad()
    def encode(self, texts: Sequence[str], *, batch_size: int = 64) -> Tensor:
        """Features (N, embed_dim) of texts, on the CPU, at rest and without gradient.

        Raises:
            ValueError: an encoder that reads no text, or one that was built without its folder.
        """
        if self.modality != "text":
            raise ValueError(f"{self.name} reads {self.modality} data and no text; call it with inputs (B, ...)")
        if self.tokenizer is None:
            raise ValueError("the tokenizer lies in the model's folder: load it with selftrain.pretrained(folder)")
        weight, training = next(self.parameters()), self.training
        # texts of one length side by side: padding is most of the work of a mixed batch
        order = sorted(range(len(texts)), key=lambda row: len(texts[row]))
        found = torch.zeros(len(texts), self.embed_dim)
        self.eval()
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            tokens = self.tokenizer([texts[row] for row in rows])
            found[rows] = self.body(**{key: value.to(weight.device) for key, value in tokens.items()}).float().cpu()
        self.train(training)
        return found

    def _seen(self, x: Tensor) -> Tensor:
        """Images as the body takes them."""
        channels = x.shape[1] if self.mean is None else len(self.mean)
        if x.shape[1] == 1 and channels > 1:
            x = x.expand(-1, channels, -1, -1)
            if self.mean is not None and self.std is not None:
                # the pile has one mean, the encoder one a channel: undone and done again
                card = self.card((1, 1, 1))
                mean, std = (x.new_tensor(v)[:, None, None] for v in (self.mean, self.std))
                x = (x * card["std"][0] + card["mean"][0] - mean) / std
        if self.size is not None and tuple(x.shape[-2:]) != (self.size, self.size):
            x = F.interpolate(x, (self.size, self.size), mode=self.interpolation, antialias=True)
        return x


def network_parts(module: nn.Module) -> Iterator[nn.Module]:
    """Parts of a network in the order they were made, lists of blocks one by one."""
    lists = (nn.Sequential, nn.ModuleList)
    for child in module.children():
        if isinstance(child, lists):
            yield from (one for one in child if any(True for _ in one.parameters()))
        elif any(isinstance(one, lists) for one in child.modules()):
            yield from network_parts(child)
        elif any(True for _ in child.parameters()):
            yield child


class OnFeatures(nn.Module):
    """A network that was trained on a frozen encoder's features, for inputs: (B, ...) -> what the network gives.

    Args:
        encoder: As in training (``Pile.encoded``).
        network: From standardized features (B, D).
        mean: Of the features, (D,).
        std: Their standard deviation.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, encoder: nn.Module, network: nn.Module, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.encoder, self.network = encoder, network
        self.register_buffer("mean", mean.clone())
        self.register_buffer("std", std.clone())

    def forward(self, x: Tensor) -> Tensor:
        """Logits of inputs."""
        found: Tensor = self.network((self.encoder(x) - self.mean) / self.std)
        return found


def foundation_in(network: object) -> Foundation | None:
    """The foundation encoder that a network is, or stands on."""
    found = network if isinstance(network, Foundation) else getattr(network, "encoder", None)
    return found if isinstance(found, Foundation) else None


class TimmNet(Recorded, nn.Module):
    """The features of an architecture of timm, without weights of others: (B, C, H, W) -> (B, D).

    Args:
        architecture: Name of timm, such as ``"resnet18"`` or ``"vit_tiny_patch16_224.augreg_in21k"``.
        size: Side of the images, or height and width, for those that must know it (vision transformers); ``None``: the
            architecture's.
        classes: Outputs of its head; 0: features.
        channels: Of the images.

    Raises:
        ValueError: timm has no such name.
    """

    def __init__(
        self, architecture: str, *, size: int | tuple[int, int] | None = None, classes: int = 0, channels: int = 3
    ) -> None:
        super().__init__()
        import timm

        # asked for by name alone: "hf-hub:..." and "local-dir:..." would be fetched or read
        if not _NAME.fullmatch(architecture) or not timm.is_model(architecture):
            raise ValueError(f"timm has no network {architecture!r}; see timm.list_models()")
        config = timm.get_pretrained_cfg(architecture)
        fixed = size is not None and config is not None and config.fixed_input_size
        settings: dict[str, Any] = {"img_size": size} if fixed else {}
        if channels != 3:
            settings["in_chans"] = channels
        self.model: nn.Module = timm.create_model(architecture, pretrained=False, num_classes=classes, **settings)

    def forward(self, x: Tensor) -> Tensor:
        """Features."""
        features: Tensor = self.model(x)
        return features


class TorchvisionNet(Recorded, nn.Module):
    """The features of an architecture of torchvision, without weights of others: (B, C, H, W) -> (B, D).

    Args:
        architecture: Name of a classifier in ``torchvision.models``, such as ``"resnet18"``.
        size: Side of the images, for those that must know it (vision transformers); ``None``: the architecture's.

    Raises:
        ValueError: there is no such name, or its head is no linear layer.
    """

    def __init__(self, architecture: str, *, size: int | None = None) -> None:
        super().__init__()
        from torchvision import models

        if architecture not in models.list_models(module=models):
            raise ValueError(f"torchvision has no classifier {architecture!r}; see torchvision.models.list_models()")
        own: dict[str, Any] = {"init_weights": False} if architecture in ("googlenet", "inception_v3") else {}
        if size is not None and architecture.startswith("vit_"):
            own["image_size"] = size
        self.model: nn.Module = models.get_model(architecture, weights=None, **own)
        heads = [name for name, part in self.model.named_modules() if isinstance(part, nn.Linear)]
        if not heads or self.model.get_submodule(heads[-1]).out_features != 1000:
            raise ValueError(f"the head of {architecture} is no linear layer; take another network")
        parent, _, name = heads[-1].rpartition(".")
        self.head = heads[-1]
        setattr(self.model.get_submodule(parent), name, nn.Identity())

    def forward(self, x: Tensor) -> Tensor:
        """Features."""
        found = self.model(x)
        # in training some have further heads
        features: Tensor = found if isinstance(found, Tensor) else found[0]
        return features


class TransformersNet(Recorded, nn.Module):
    """The features of a model of transformers, without weights of others: images or token numbers -> (B, D).

    Args:
        config: Settings of the model, as its ``config.json`` has them.
        read: What becomes the feature: ``"mean"`` of all tokens (of text that is no padding) or places, the
            ``"first"`` token, the model's ``"pooler"``, or ``"image_features"`` of a model of pictures and texts.
        text: Whether it reads token numbers.
        unit: Whether features are brought to length 1.
        model: In the place of one that ``config`` describes.

    Raises:
        ValueError: transformers has no such model, or it needs code of others.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        *,
        read: Read = "mean",
        text: bool = False,
        unit: bool = False,
        model: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.read, self.text, self.unit = read, text, unit
        self.model = _transformer(config) if model is None else model
        if read != "pooler" and isinstance(getattr(self.model, "pooler", None), nn.Module):
            self.model.pooler = nn.Identity()  # nobody asks it, and its weights may never have been trained
        self.padding = int(getattr(self.model.config, "pad_token_id", None) or 0)

    def forward(self, x: Tensor | None = None, **tokens: Tensor) -> Tensor:
        """Features of images (B, C, H, W) or token numbers (B, T), or of what a tokenizer gives."""
        model: Any = self.model
        if self.text:
            if x is not None:
                tokens = {"input_ids": x.long(), "attention_mask": (x.long() != self.padding).long()}
            found = model(**tokens)
            hidden: Tensor = found.last_hidden_state
            counted = tokens["attention_mask"][..., None].to(hidden)
            mean = (hidden * counted).sum(1) / counted.sum(1).clamp(min=1)
            features = {"mean": mean, "first": hidden[:, 0]}.get(self.read)
            features = found.pooler_output if features is None else features
        elif self.read == "image_features":
            given = model.get_image_features(pixel_values=x)
            features = given if isinstance(given, Tensor) else given.pooler_output
        else:
            found = model(pixel_values=x)
            features = found.pooler_output if self.read == "pooler" else found.last_hidden_state
            if self.read == "first":
                features = features[:, 0]
            elif self.read == "mean":
                features = features.mean(1) if features.dim() == 3 else features.mean((2, 3))
        return F.normalize(features.flatten(1), dim=1) if self.unit else features.flatten(1)


def _transformer(config: Mapping[str, Any]) -> nn.Module:
    """A model with drawn weights."""
    from transformers import AutoConfig, AutoModel

    if config.get("auto_map"):
        raise ValueError(f"{config.get('model_type')} is code of others; load it with trust=True")
    plain = {key: value for key, value in config.items() if key not in _REMOTE and not key.startswith("_attn")}
    kind = str(plain.pop("model_type", ""))
    try:
        made = AutoConfig.for_model(kind, **plain)
    except ValueError as error:
        raise ValueError(f"transformers has no model of the kind {kind!r}; update it, or take another model") from error
    for name in ("use_pretrained_backbone", "backbone"):  # they would fetch the weights of a part
        if getattr(made, name, None):
            raise ValueError(f"{kind} has a part that is fetched from elsewhere ({name}); take another model")
    if hasattr(made, "mask_ratio"):  # it hides that share of a picture whenever it is asked
        made.mask_ratio = 0.0
    model: nn.Module = AutoModel.from_config(made, trust_remote_code=False)
    return model
