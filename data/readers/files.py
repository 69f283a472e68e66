"""Image files on disk, decoded when they are needed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from selftrain.data.base.samples import Limits, Rows, as_annotations, check_limits, same_length
from selftrain.data.readers.decoding import Bytes, Fit, Mode, decode, extent_of
from selftrain.errors import DataError, setting
from selftrain.types import plain_setting, plain_settings

IMAGE_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")


@plain_settings
class FileSet:
    """Image files as samples, uint8 (B, C, H, W).

    Conversion is explicit: the orientation a camera noted is applied, transparency is laid on white, 16-bit gray is
    scaled, by 65535 or between ``limits``, and not cut off. A file that is damaged or cut short is an error, never a
    half-empty image.

    Args:
        paths: The files.
        y: Annotations, one row a file, or ``None``.
        mode: ``"RGB"`` (C = 3) or ``"L"`` (gray, C = 1).
        size: Side, or height and width, to bring images to; ``None``: they must all have one size already.
        fit: ``"crop"`` keeps the side ratio and cuts what is over; ``"stretch"`` changes it; ``"pad"`` keeps both and
            fills the rest with black.
        limits: Values of gray files of more than 8 bits that mean black and white; ``None``: 0 and 65535.
        ids: Names of the rows; default the paths.
        cache: Keep decoded images in memory (each loader process keeps its own).

    Raises:
        DataError: at construction, for a file that does not exist or lengths that differ; on reading, for a file that
            cannot be decoded or has another size than the others. The path is named.
        ValueError: an unknown mode or fit, or a size below 1.
    """

    def __init__(
        self,
        paths: Sequence[str | os.PathLike[str]],
        y: Any = None,
        *,
        mode: Mode = "RGB",
        size: int | tuple[int, int] | None = None,
        fit: Fit = "crop",
        limits: Limits | None = None,
        ids: Sequence[str] | None = None,
        cache: bool = False,
    ) -> None:
        _check_choice("mode", mode, ("RGB", "L"))
        _check_choice("fit", fit, ("crop", "stretch", "pad"))
        self.paths = [Path(path) for path in paths]
        self.mode: Mode = mode
        self.size = as_extent(size)
        self.fit: Fit = fit
        self.limits = check_limits(limits)
        self.annotations: Tensor | None = None if y is None else as_annotations(y)
        self.ids: Sequence[str] = [str(path) for path in self.paths] if ids is None else list(ids)
        self.cache: dict[int, Bytes] | None = {} if cache else None
        same_length(len(self.paths), self.annotations, "annotations")
        same_length(len(self.paths), self.ids, "ids")
        # now: a file that is gone would end the run at the step that first asks for it
        missing = next((path for path in self.paths if not path.is_file()), None)
        if missing is not None:
            raise DataError(f"there is no file {missing}; correct its path or remove it from the list")

    def __len__(self) -> int:
        return len(self.paths)

    def images(self, index: Rows) -> Tensor:
        """Decoded images of some rows."""
        arrays = [self._image(int(row)) for row in index]
        for row, array in zip(index, arrays, strict=True):
            if array.shape != arrays[0].shape:
                raise DataError(
                    f"{self.paths[row]} is {_extent(array)} but {self.paths[index[0]]} is {_extent(arrays[0])}; "
                    f"pass {setting('size')} to bring all images to one size"
                )
        stacked = torch.from_numpy(np.stack(arrays))
        return stacked.unsqueeze(1) if self.mode == "L" else stacked.permute(0, 3, 1, 2).contiguous()

    def original(self, row: int) -> tuple[int, int, Fit] | None:
        """Height and width of a file as it is shown, before it is brought to ``size``, and how it is brought there."""
        return (*extent_of(self.paths[row]), self.fit)

    def _image(self, row: int) -> Bytes:
        if self.cache is not None and row in self.cache:
            return self.cache[row]
        path = self.paths[row]
        array = decode(path, self.mode, str(path), self.size, self.fit, self.limits)
        if self.cache is not None:
            self.cache[row] = array
        return array


def as_extent(size: int | tuple[int, int] | None) -> tuple[int, int] | None:
    """Height and width from a side or both.

    Raises:
        ValueError: they are no whole numbers of at least 1.
    """
    if size is None:
        return None
    sides = (size, size) if isinstance(size, int | float) else tuple(size)
    if len(sides) != 2 or not all(isinstance(side, int) and side >= 1 for side in map(plain_setting, sides)):
        raise ValueError(f"size is {size}; height and width must be whole numbers of at least 1")
    return plain_setting(sides)  # type: ignore[no-any-return]


def _extent(array: Bytes) -> str:
    return f"{array.shape[0]}x{array.shape[1]}"


def _check_choice(word: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise ValueError(f"{word} is {value!r}; known are {', '.join(known)}")
