"""Weights of others by name, folder or file: found on this machine, or fetched where the user allows it.

Nothing is unpickled but tensors, and no code of a folder is run unless it is trusted.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from selftrain.errors import CheckpointError
from selftrain.networks.foundation import _TOKENS, Foundation, Read, TimmNet, TorchvisionNet, TransformersNet
from selftrain.storage.tensors import read_weights

CONFIG = "config.json"
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
_HUB = ("*.json", "*.safetensors", "*.txt", "*.model")  # of a model on the hub: settings, weights and words


@torch.no_grad()
def completed(body: nn.Module, *, size: int | None, text: bool = False, **card: Any) -> Foundation:
    """A body with its weights as a ``Foundation``: how wide its features are is asked, not looked up.

    Raises:
        ValueError: it gives no features (B, D).
    """
    example = torch.zeros(2, 4, dtype=torch.long) if text else torch.zeros(2, 3, size or 224, size or 224)
    found = body.eval()(example)
    if not isinstance(found, Tensor) or found.dim() != 2:
        what = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise ValueError(f"{card.get('name')} gives {what} of 2 inputs; an encoder gives features (2, width)")
    return Foundation(body, embed_dim=found.shape[1], size=size, **card)


# -- timm ----------------------------------------------------------------------------------------------------------
def known_to_timm(name: str) -> bool:
    """Whether timm is there and has a network of this name."""
    if find_spec("timm") is None:
        return False
    import timm

    return ":" not in name and bool(timm.is_model(name))


def from_timm(
    name: str,
    *,
    weights: str | Path | None = None,
    config: Mapping[str, Any] | None = None,
    size: int | None = None,
    download: bool = False,
) -> Foundation:
    """An encoder of timm.

    Args:
        name: Architecture, perhaps with the tag of its weights.
        weights: File; ``None``: the one that timm has fetched before.
        config: ``pretrained_cfg`` that comes with the file; ``None``: timm's.
        size: Side of the images; ``None``: the card's.
        download: Whether it may be fetched.
    """
    import timm

    cfg: Any = timm.get_pretrained_cfg(name)
    known: dict[str, Any] = ({} if cfg is None else cfg.to_dict()) | dict(config or {})
    shape = known.get("input_size") or (3, 224, 224)
    side = size or int(shape[-1])
    file = Path(weights) if weights is not None else _timm_file(name, known, download=download)
    if weights is None and known.get("custom_load"):
        raise CheckpointError(f"the weights of {name} are in a form that only timm reads; take another network")
    state = read_weights(file)
    head = known.get("classifier")
    key = f"{head if isinstance(head, str) else head[0]}.weight" if head else ""
    # with the head of the file, so that every tensor of the file has to find its place
    classes = len(state[key]) if key in state else 0
    told = {"file": str(file), "num_classes": classes, "label_offset": 0, "custom_load": False}
    try:
        sides: dict[str, Any] = {"img_size": side} if known.get("fixed_input_size") else {}
        full: Any = timm.create_model(name, pretrained=True, pretrained_cfg_overlay=told, num_classes=classes, **sides)
    except (RuntimeError, KeyError, AttributeError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"the weights in {file} do not fit {name}: {str(error)[:400]}; say the architecture that they are of"
        ) from error
    full.reset_classifier(0)
    body = TimmNet(name, size=side)
    body.model.load_state_dict(full.state_dict())
    mode = "bilinear" if known.get("interpolation") == "bilinear" else "bicubic"
    mean, std = (known.get(key) for key in ("mean", "std"))
    return completed(body, size=side, name=f"timm/{name}", mean=mean, std=std, interpolation=mode)


def _timm_file(name: str, config: Mapping[str, Any], *, download: bool) -> Path:
    """The file of weights that timm fetches for a name."""
    repository, url = config.get("hf_hub_id"), config.get("url")
    if not (repository or url):
        raise CheckpointError(f"timm has no weights for {name}; see timm.list_pretrained(), or say {name}@FILE")
    if repository and find_spec("huggingface_hub") is not None:
        found = _from_hub(str(repository), [config.get("hf_hub_filename") or one for one in _WEIGHTS], download)
        if found is not None:
            return found
    return _from_url(name, url, download=download)


def _from_url(name: str, url: str | None, *, download: bool) -> Path:
    place = Path(torch.hub.get_dir()) / "checkpoints"
    path = place / str(url).rpartition("/")[2]
    if url and path.is_file():
        return path
    if not download or not url:
        raise CheckpointError(_not_here(name, [str(path)] if url else []))
    place.mkdir(parents=True, exist_ok=True)
    stem = path.stem.rpartition("-")[2]
    try:  # names of files end in the first characters of their sum
        torch.hub.download_url_to_file(url, str(path), stem if len(stem) == 8 else None)
    except (OSError, RuntimeError) as error:
        raise CheckpointError(f"cannot fetch {url}: {error}") from error
    return path


def _from_hub(repository: str, files: Sequence[str], download: bool) -> Path | None:
    """The first of some files of a repository on the Hugging Face hub, as far as it is here or may be fetched."""
    from huggingface_hub import hf_hub_download

    for file in files:
        try:
            # no revision: the user names the repository, and only tensors are read
            return Path(hf_hub_download(repository, file, local_files_only=not download))  # nosec B615
        except (OSError, ValueError):  # not here, not there, or no connection
            continue
    return None


def _not_here(name: str, places: Sequence[str]) -> str:
    looked = f" (looked for {', '.join(places)} and in the cache of the Hugging Face hub)" if places else ""
    return (
        f"the weights of {name} are not on this machine{looked}; allow the download (download=True), or say where they "
        f"are: {name}@FILE"
    )


# -- torchvision ---------------------------------------------------------------------------------------------------
def from_torchvision(
    name: str, *, weights: str | Path | None = None, size: int | None = None, download: bool = False
) -> Foundation:
    """An encoder of torchvision; arguments as of ``from_timm``."""
    from torchvision import models

    body = TorchvisionNet(name)
    card = models.get_model_weights(name).DEFAULT
    file = Path(weights) if weights is not None else _from_url(f"torchvision/{name}", card.url, download=download)
    state = read_weights(file)
    own = body.state_dict()
    given = {
        f"model.{key}": value for key, value in state.items() if not f"model.{key}".startswith(f"model.{body.head}.")
    }
    if given.keys() != own.keys() or any(given[key].shape != own[key].shape for key in own):
        odd = sorted(given.keys() ^ own.keys()) or [key for key in own if given[key].shape != own[key].shape]
        raise CheckpointError(
            f"the weights in {file} do not fit {name}, such as {odd[:3]}; say the architecture that they are of"
        )
    body.load_state_dict(given)
    steps = card.transforms()
    side = size or int(steps.crop_size[0])
    mode = "bilinear" if steps.interpolation.value == "bilinear" else "bicubic"
    return completed(body, size=side, name=f"torchvision/{name}", mean=steps.mean, std=steps.std, interpolation=mode)


def known_to_torchvision(name: str) -> bool:
    """Whether torchvision has a classifier of this name."""
    from torchvision import models

    return name in models.list_models(module=models)


# -- Hugging Face folders ------------------------------------------------------------------------------------------
def from_its_folder(
    folder: Path, *, name: str | None = None, size: int | None = None, trust: bool = False
) -> Foundation:
    """An encoder of a folder as Hugging Face writes it: ``config.json`` and ``model.safetensors``.

    Args:
        folder: With what a model of transformers, or of timm on the hub, is made of.
        name: For people; ``None``: the folder.
        size: Side of images; ``None``: the card's.
        trust: Whether code in the folder may be run.
    """
    config = _json(folder / CONFIG)
    if config is None:
        raise CheckpointError(f"{folder} has no {CONFIG}; give the folder of a model of transformers or timm")
    files = [folder / one for one in _WEIGHTS if (folder / one).is_file()]
    if "architecture" in config and "model_type" not in config:  # as timm writes it
        if find_spec("timm") is None:
            raise ImportError(f"{folder} is a model of timm: pip install 'selftrain[timm]'")
        if not files:
            raise CheckpointError(f"{folder} has no {_WEIGHTS[0]}")
        own = {key: value for key, value in (config.get("pretrained_cfg") or {}).items() if key != "custom_load"}
        return from_timm(str(config["architecture"]), weights=files[0], config=own, size=size)
    if find_spec("transformers") is None:
        raise ImportError(f"{folder} is a model of transformers: pip install 'selftrain[transformers]'")
    return _from_transformers(folder, config, name or str(folder), size, trust)


def from_hub(name: str, *, size: int | None, download: bool, trust: bool) -> Foundation:
    """An encoder of a repository (``"owner/model"``) on the Hugging Face hub, as far as it is on this machine."""
    if find_spec("huggingface_hub") is None:
        raise ImportError(f"{name} is a model of the Hugging Face hub: pip install 'selftrain[transformers]'")
    from huggingface_hub import snapshot_download

    wanted = [*_HUB, "*.py"] if trust else list(_HUB)
    try:
        folder = Path(snapshot_download(name, local_files_only=not download, allow_patterns=wanted))  # nosec B615
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"the model {name} is not on this machine; allow the download (download=True), or give its folder"
            + (f" ({str(error).splitlines()[0]})" if download else "")
        ) from error
    return from_its_folder(folder, name=name, size=size, trust=trust)


def _from_transformers(folder: Path, config: Mapping[str, Any], name: str, size: int | None, trust: bool) -> Foundation:
    if not (folder / _WEIGHTS[0]).is_file() and not (folder / f"{_WEIGHTS[0]}.index.json").is_file():
        raise CheckpointError(
            f"{folder} has no {_WEIGHTS[0]}: convert its weights with transformers, save_pretrained(folder)"
        )
    if config.get("auto_map") and not trust:
        raise ValueError(f"{folder} brings code of its own ({CONFIG}: auto_map); trust=True runs it")
    import transformers

    images = _json(folder / "preprocessor_config.json")
    text = images is None and any((folder / one).is_file() for one in ("tokenizer.json", "tokenizer_config.json"))
    if images is None and not text:
        raise CheckpointError(
            f"{folder} has neither preprocessor_config.json nor a tokenizer; what it reads is unknown"
        )
    with _quiet():
        # a folder on this machine has no revision
        loaded, told = transformers.AutoModel.from_pretrained(  # nosec B615
            folder, local_files_only=True, trust_remote_code=trust, use_safetensors=True, output_loading_info=True
        )
    lacking = [key for key in told["missing_keys"] if not key.startswith("pooler")]
    if lacking:
        raise CheckpointError(f"{folder} lacks weights of its own model, such as {sorted(lacking)[:3]}")
    read, unit = _reading(folder, loaded, text=text)
    settings = loaded.config.to_diff_dict() | {"model_type": loaded.config.model_type}
    # code of others is in no record: the model itself is the body
    own = loaded if config.get("auto_map") else None
    body = TransformersNet(settings, read=read, text=text, unit=unit, model=own)
    if own is None:
        body.model.load_state_dict(loaded.state_dict(), strict=False)
    if text:
        made = completed(body, size=None, text=True, name=name, modality="text")
        limit = (_json(folder / "sentence_bert_config.json") or {}).get("max_seq_length")
        made.tokenizer = Tokens(
            transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True),  # nosec B615
            limit or _TOKENS,
        )
        return made
    side, card = _image_card(images or {}, config)
    return completed(body, size=size or side, name=name, **card)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the progress bar of transformers, and its report of heads that are not asked for."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


class Tokens:
    """Texts as token numbers and what of them is no padding.

    Args:
        tokenizer: Of transformers.
        longest: Tokens of a text; the rest is cut off.
    """

    def __init__(self, tokenizer: Any, longest: int) -> None:
        self.tokenizer, self.longest = tokenizer, min(longest, tokenizer.model_max_length)

    def __call__(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """Tensors (B, T) by the names that a model takes."""
        return dict(
            self.tokenizer(list(texts), padding=True, truncation=True, max_length=self.longest, return_tensors="pt")
        )


def _reading(folder: Path, model: Any, *, text: bool) -> tuple[Read, bool]:
    """What becomes the feature, and whether it gets length 1."""
    if text:  # as sentence-transformers writes it down; where nothing is said, the mean of the tokens
        card = _json(folder / "1_Pooling" / CONFIG) or {}
        read: Read = "first" if card.get("pooling_mode_cls_token") else "mean"
        if card and read == "mean" and not card.get("pooling_mode_mean_tokens", True):
            raise ValueError(f"{folder} pools its tokens in a way that is not known here: {card}")
        steps = folder / "modules.json"
        return read, steps.is_file() and "Normalize" in steps.read_text(encoding="utf-8")
    if hasattr(model, "get_image_features"):
        return "image_features", False
    pooler = getattr(model, "pooler", None)
    # a pooler with weights of its own was trained for another end, or not at all
    if isinstance(pooler, nn.Module) and any(True for _ in pooler.parameters()):
        return "first", False
    with torch.no_grad():
        side = _side(getattr(model.config, "image_size", None)) or 224
        out = model.eval()(pixel_values=torch.zeros(1, int(getattr(model.config, "num_channels", 3)), side, side))
    return ("mean" if getattr(out, "pooler_output", None) is None else "pooler"), False


def _image_card(images: Mapping[str, Any], config: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
    """Side and normalization of a ``preprocessor_config.json``."""
    cut = images.get("crop_size") if images.get("do_center_crop") else None
    inner = config.get("vision_config") or config
    side = _side(cut) or _side(images.get("size")) or _side(inner.get("image_size")) or 224
    card: dict[str, Any] = {"interpolation": "bilinear" if images.get("resample") == 2 else "bicubic"}
    mean, std = images.get("image_mean"), images.get("image_std")
    if not images.get("do_normalize", True) or mean is None or std is None:
        mean, std = [0.0] * 3, [1.0] * 3
    # pixels of 0 to 255 times this factor, where a pile has them in [0, 1]
    scale = 255 * float(images.get("rescale_factor") or 1 / 255) if images.get("do_rescale", True) else 255.0
    return side, card | {"mean": [one / scale for one in mean], "std": [one / scale for one in std]}


def _side(size: Any) -> int | None:
    """One side of a size as cards write it."""
    if isinstance(size, Mapping):
        size = next((size[key] for key in ("height", "shortest_edge") if key in size), None)
    if isinstance(size, (list, tuple)):
        size = size[0]
    return int(size) if isinstance(size, (int, float)) else None


def _json(path: Path) -> dict[str, Any] | None:
    """What a file of settings says; ``None``: there is none."""
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error
    if not isinstance(found, dict):
        raise CheckpointError(f"{path} holds no settings")
    return found


def names_near(name: str) -> list[str]:
    """Names that are known and like this one."""
    from torchvision import models

    known = set(models.list_models(module=models))
    if find_spec("timm") is not None:
        import timm

        known |= set(timm.list_models())
    return difflib.get_close_matches(name, sorted(known), 3)
