"""Masks and joints that a person has accepted, as annotations of a pile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from selftrain.data.base.units import VOID
from selftrain.errors import DataError


def accepted_units(told: Sequence[Mapping[str, Any]], size: tuple[int, int]) -> Tensor:
    """Masks (N, H, W) of bytes, or joints (N, K, 3), that a review has accepted.

    Args:
        told: Of each sample: ``joints``, x, y and whether it is known; or the folder of ``masks``, the ``name`` of the
            mask in it, and the confidence ``above`` which pixels keep their class.
        size: Height and width of the pictures; masks of another size are brought to it, nearest.

    Raises:
        DataError: a file that is not there or holds no class numbers.
    """
    if "joints" in told[0]:
        return torch.tensor([one["joints"] for one in told], dtype=torch.float32)
    return torch.stack([torch.from_numpy(_mask(one, size)) for one in told])


def _mask(told: Mapping[str, Any], size: tuple[int, int]) -> NDArray[np.uint8]:
    folder = Path(str(told["masks"]))
    mask = _pixels(folder / "masks" / str(told["name"]), size)
    if told["above"] > 0:
        sure = _pixels(folder / "confidence" / str(told["name"]), size)
        mask = np.where(sure < 255 * told["above"], np.uint8(VOID), mask)
    return mask


def _pixels(path: Path, size: tuple[int, int]) -> NDArray[np.uint8]:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as picture:
            if picture.mode not in ("P", "L"):
                raise DataError(f"{path} has colors ({picture.mode}) and no class numbers; save it with its palette")
            whole = picture if picture.size == size[::-1] else picture.resize(size[::-1], Image.Resampling.NEAREST)
            return np.array(whole, dtype=np.uint8)
    except (OSError, UnidentifiedImageError) as error:
        raise DataError(f"{path} cannot be read: {error}; write it anew: run.ledger.to_masks(folder)") from error
