"""The one door to encoders with weights: names, folders and files of others, and stages of one's own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from selftrain.engine.spec import open_run
from selftrain.errors import CheckpointError, RunFolderError
from selftrain.networks import hub
from selftrain.networks.copying import copy_network
from selftrain.networks.foundation import Foundation, Modality
from selftrain.networks.optim import load_weights
from selftrain.storage.run_dir import RECORD, read_card
from selftrain.storage.tensors import read_weights
from selftrain.strategy.base import SupervisedStrategy
from selftrain.types import plain_settings

_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")
_FILES = (".safetensors", ".pth", ".pt", ".bin")


@plain_settings
def pretrained(
    name_or_path: str | Path,
    *,
    frozen: bool = False,
    cache: str | Path | None = None,
    size: int | None = None,
    download: bool = False,
    trust: bool = False,
) -> Foundation:
    """An encoder with pretrained weights, whoever trained them, and the card that says how it wants its inputs.

    Args:
        name_or_path: One of:

            * a name of timm (``"vit_small_patch14_dinov2"``) or torchvision (``"resnet18"``); ``timm/`` or
              ``torchvision/`` before it tells which where both have it (timm first);
            * such a name and a file of its weights, ``"resnet18@weights.safetensors"`` (or of ``torch.save``);
            * a folder of transformers, sentence-transformers or timm (``config.json`` and ``model.safetensors``), or
              the name of one on the Hugging Face hub (``"facebook/dinov2-small"``);
            * the folder of a run of this library, or a file of weights in it (``runs/mae``).
        frozen: Whether it stays as it is: no gradients, dropout and BatchNorm at rest in training too. Otherwise it is
            fine-tuned like any encoder.
        cache: Folder where features of a frozen encoder are kept, see ``Pile.encoded``.
        size: Side that images are resized to; ``None``: the card's. Smaller ones take less time.
        download: Whether weights that are not on this machine may be fetched.
        trust: Whether code that the folder brings or names may be run; otherwise all comes from selftrain, torch,
            torchvision, timm and transformers, and of a file nothing but tensors is unpickled.

    Returns:
        A module from inputs to features (B, ``embed_dim``), in evaluation mode, with ``size``, ``mean``, ``std``,
        ``name`` and ``modality``. Text encoders have ``encode(texts)``.

    Raises:
        ValueError: an unknown name, or what needs ``trust``; the message names the nearest ones.
        CheckpointError: weights that are not here, are damaged, or do not fit.
        ImportError: a package that the model needs; the message says which.
    """
    text = str(name_or_path)
    path, (name, at, file) = Path(text), text.partition("@")
    told = str(path.resolve())
    if at and not path.exists():
        made = _named(name, file, size=size, download=False)
        told = f"{made.name}@{Path(file).resolve()}"
    elif (path / RECORD).is_file() or path.is_file() and any((p / RECORD).is_file() for p in list(path.parents)[:2]):
        made = _own(path, trust=trust)
    elif (path / hub.CONFIG).is_file():
        made = hub.from_its_folder(path, size=size, trust=trust)
    elif path.is_file() and (path.parent / hub.CONFIG).is_file() and path.name == "model.safetensors":
        made = hub.from_its_folder(path.parent, size=size, trust=trust)
    elif path.is_file():
        raise CheckpointError(f"{path} has weights alone and does not say its network: write ARCHITECTURE@{path}")
    elif isinstance(name_or_path, Path) or path.suffix in _FILES or text.startswith((".", "/", "~")):
        raise CheckpointError(f"there is no {path} with a run, a {hub.CONFIG} or weights")
    else:
        made = _named(text, None, size=size, download=download, trust=trust)
        told = made.name
    # a name to be found by again, whatever the working directory
    again = Foundation(**made.arguments | {"frozen": frozen, "name": told})
    again.tokenizer, again.cache = made.tokenizer, None if cache is None else str(cache)
    return again.eval()


def encoder_again(told: Mapping[str, Any], *, trust: bool = False) -> Foundation:
    """The frozen encoder that ``Pile.encoded`` has noted.

    Args:
        told: ``Pile.encoder``.
        trust: As in ``pretrained``.

    Raises:
        RunFolderError: it cannot be loaded, or has other weights by now.
    """
    name = str(told.get("name"))  # a record may be damaged
    try:
        made = pretrained(name, size=told["size"], frozen=True, trust=trust)
    except Exception as error:  # of many kinds: packages, files and names
        raise RunFolderError(
            f"the features are of the encoder {name!r:.200}, which cannot be loaded: {error}"
        ) from error
    if made.key() != told.get("key"):
        raise RunFolderError(f"the features are of another encoder than the one that is {name} now; bring it back")
    return made


def _named(name: str, file: str | None, *, size: int | None, download: bool, trust: bool = False) -> Foundation:
    """By a name, perhaps with the package it is of, and a file of its weights."""
    room, _, inner = name.partition("/")
    room, plain = (room, inner) if room in ("timm", "torchvision") else ("", name)
    given: dict[str, Any] = {"weights": file, "size": size, "download": download}
    if file is not None and not Path(file).is_file():
        raise CheckpointError(f"there is no file {file} with the weights of {name}")
    if not room and _REPOSITORY.fullmatch(name):
        if file is not None:
            raise ValueError(f"{name}@{file}: give the folder with the file and its {hub.CONFIG} instead")
        return hub.from_hub(name, size=size, download=download, trust=trust)
    if room != "torchvision" and hub.known_to_timm(plain):
        return hub.from_timm(plain, **given)
    if room != "timm" and hub.known_to_torchvision(plain):
        return hub.from_torchvision(plain, **given)
    if find_spec("timm") is None and room != "torchvision":
        raise ImportError(f"torchvision has no network {plain!r}; if it is one of timm: pip install 'selftrain[timm]'")
    near = hub.names_near(plain)
    hint = f"do you mean {' or '.join(near)}?" if near else "see timm.list_models()"
    raise ValueError(f"no network, folder or file {name!r}; {hint}")


def _own(path: Path, *, trust: bool) -> Foundation:
    """The encoder of a run of ours."""
    folder = path if (path / RECORD).is_file() else next(p for p in path.parents if (p / RECORD).is_file())
    run = open_run(folder, trust=trust)
    strategy: Any = run.strategy
    # what a run of pretraining ships is an encoder, what one with labels ships has one
    shipped = run.network if isinstance(strategy, SupervisedStrategy) else strategy.shipped()
    encoder: Any = shipped if hasattr(shipped, "embed_dim") else getattr(shipped, "encoder", None)
    if not hasattr(encoder, "embed_dim"):
        raise RunFolderError(f"the network of {folder} has no encoder; take another run")
    encoder = copy_network(encoder).cpu().requires_grad_(True)
    if path != folder:
        given = read_weights(path).items()
        load_weights(encoder, {k.removeprefix("encoder."): v for k, v in given if k.startswith("encoder.")})
    if isinstance(encoder, Foundation):  # a run that began from one: its card is still the one
        return Foundation(**encoder.arguments | {"frozen": False})
    card = read_card(folder)["input"]
    shape = [int(side) for side in card["shape"]]
    kinds: dict[int, Modality] = {1: "table", 2: "series", 3: "image"}
    kind = "points" if "PointViews" in str(run._build.record["views"]) else kinds[len(shape)]
    side = {"size": shape[-1]} if kind == "image" and shape[-1] == shape[-2] else {"shape": shape}
    return Foundation(
        encoder,
        embed_dim=encoder.embed_dim,
        modality=kind,
        mean=card["mean"],
        std=card["std"],
        **side,
    )
