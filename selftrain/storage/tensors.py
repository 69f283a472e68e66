"""Tensors by name in a file, as ``safetensors`` has them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from selftrain.errors import CheckpointError

_LARGEST = 5_000_000  # bytes of the list of names: some fifty thousand tensors, as no network has


def read_tensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and the notes in a ``.safetensors`` file.

    Raises:
        CheckpointError: it cannot be read, or names more tensors than any network has.
    """
    # only here: a run without such files needs no file format
    from safetensors import SafetensorError, safe_open

    try:
        with open(path, "rb") as start:
            size = int.from_bytes(start.read(8), "little")
        if size > _LARGEST:  # before it is parsed: each name takes memory and time
            raise ValueError(f"it names its tensors in {size:,} bytes, more than {_LARGEST:,}")
        with safe_open(path, framework="pt") as file:
            names = file.keys()
            return {name: file.get_tensor(name) for name in names}, file.metadata() or {}
    except (OSError, ValueError, SafetensorError) as error:  # ValueError: of a path with a zero in it
        raise CheckpointError(f"cannot read {path}: {error}; write it anew, or say another file") from error


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """Tensors by name of a ``.safetensors`` file, or one that ``torch.save`` has written; nothing else is unpickled.

    Raises:
        CheckpointError: it cannot be read, or holds other things than tensors.
    """
    place = Path(path)
    if place.suffix == ".safetensors":
        return read_tensors(place)[0]
    try:
        found: Any = torch.load(place, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError) as error:
        raise CheckpointError(f"cannot read weights from {place}: {error}") from error
    except Exception as error:  # pickle's own, of many kinds
        raise CheckpointError(
            f"{place} holds more than tensors, which is not unpickled: {str(error).splitlines()[0]:.200}; save its "
            "state_dict with safetensors.torch.save_file"
        ) from error
    for key in ("state_dict", "model_state_dict", "model"):  # of training scripts, beside other things
        found = found[key] if isinstance(found, Mapping) and isinstance(found.get(key), Mapping) else found
    if not isinstance(found, Mapping) or not all(isinstance(value, Tensor) for value in found.values()):
        raise CheckpointError(f"{place} is no mapping of names to tensors; save the state_dict of the network")
    # of DataParallel and torch.compile
    return {str(name).removeprefix("_orig_mod.").removeprefix("module."): one for name, one in found.items()}
