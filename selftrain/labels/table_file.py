"""The file of a table of labels (safetensors), and the sum that tells one table from another."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from selftrain.errors import CheckpointError, RunFolderError
from selftrain.storage.atomic import whole_file
from selftrain.storage.tensors import read_tensors

FORMAT = "1"
NAMES = ("value", "weight", "confidence")


def digest_of(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of the tensors in the order of ``NAMES``: their dtypes, shapes and bytes."""
    total = hashlib.sha256()
    for name in NAMES:
        tensor = tensors[name]
        # without them tables of other shapes would be equal, if their bytes are
        total.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
        # hashed where they lie: a table may be too large for a copy
        total.update(tensor.cpu().contiguous().view(torch.uint8).numpy().data)
    return total.hexdigest()


def write_labels(path: str | Path, tensors: Mapping[str, Tensor], recipe: str, digest: str) -> Path:
    """Write a table, whole or not at all.

    Raises:
        CheckpointError: if it cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    # safetensors refuses tensors that are not contiguous
    ready = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
    try:
        with whole_file(path, create=True) as part:
            save_file(ready, part, {"format": FORMAT, "recipe": recipe, "digest": digest})
    except (RunFolderError, SafetensorError) as error:
        raise CheckpointError(f"cannot write {path}: {error}") from error
    return Path(path)


def read_labels(path: str | Path) -> tuple[dict[str, Tensor], str, str]:
    """Tensors by name, recipe and digest of a file; whether they belong together is for the caller to check.

    Raises:
        CheckpointError: if the file is missing, damaged or holds something else.
    """
    tensors, about = read_tensors(path)
    if about.get("format") != FORMAT or set(tensors) != set(NAMES) or not {"recipe", "digest"} <= about.keys():
        raise CheckpointError(f"{path} holds no labels of format {FORMAT}; write them with PseudoLabelTable.save()")
    return tensors, about["recipe"], about["digest"]
