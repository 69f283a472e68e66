"""Tensors by name in a file, as ``safetensors`` has them."""

from __future__ import annotations

from pathlib import Path

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
