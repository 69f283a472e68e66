"""Masks in files, read when they are needed: numbers of a palette, gray levels or colors as class numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from selftrain.data.base.samples import Rows
from selftrain.data.base.units import VOID
from selftrain.data.readers.decoding import IMAGE_FORMATS, Bytes, Fit, fitted, named
from selftrain.data.readers.scanning import in_parallel
from selftrain.errors import DataError, setting

Color = Sequence[int]  # red, green, blue


@dataclass(frozen=True)
class MaskScan:
    """What one file of a mask is: its size, how many pixels each number (or color) has, or why it cannot be used."""

    name: str
    height: int = 0
    width: int = 0
    numbers: Mapping[int, int] = field(default_factory=dict)
    reason: str = ""


@dataclass(frozen=True)
class MaskCoding:
    """How numbers, or colors, of masks become class numbers (255: void), and to which size masks are brought."""

    table: Mapping[int, int]
    colors: bool = False
    size: tuple[int, int] | None = None
    fit: Fit = "crop"

    def known(self, scan: MaskScan) -> bool:
        """Whether a mask has a pixel with a class."""
        return any(self.table.get(number, VOID) != VOID for number in scan.numbers)

    def counts(self, scan: MaskScan) -> NDArray[np.int64]:
        """Pixels of each class number, before the mask is brought to a size."""
        found = np.zeros(VOID + 1, np.int64)
        for number, count in scan.numbers.items():
            found[self.table.get(number, VOID)] += count
        return found

    def read(self, mask: Any, name: str) -> Bytes:
        """Class numbers of a mask, in a file or of Pillow, (H, W).

        Raises:
            DataError: it cannot be read, or holds a number that is no class.
        """
        raw = numbers_of(mask, name, self.colors)
        codes = np.array(sorted(self.table))
        places = np.searchsorted(codes, raw).clip(max=len(codes) - 1)
        if (codes[places] != raw).any():
            odd = int(raw[codes[places] != raw][0])
            raise DataError(f"mask {name} holds {odd}, which is no class; was it changed? read the pile again")
        found = np.array([self.table[code] for code in codes.tolist()], np.uint8)[places]
        return _brought(found, self.size, self.fit, VOID)


class MaskFiles:
    """Masks (N, H, W) of files as annotations: like a tensor of bytes, of which only rows asked for are read.

    With ``weights`` the shape is (N, 2, H, W): behind each mask how much its pixels count, 0 to 255.

    Args:
        masks: Files, or masks of Pillow's behind a function; ``None``: all is void.
        coding: What their numbers mean.
        extent: Height and width that they have.
        scans: What is known of each row that has one.
        weights: Files of the weights; ``None``: all count fully.
        cache: Keep masks in memory.
    """

    dtype = torch.uint8

    def __init__(
        self,
        masks: Sequence[Any],
        coding: MaskCoding,
        extent: tuple[int, int],
        scans: Mapping[int, MaskScan],
        weights: Sequence[Path | None] | None = None,
        *,
        cache: bool = False,
    ) -> None:
        self.masks, self.coding, self.extent, self.weights = masks, coding, extent, weights
        self.rows: Rows = np.arange(len(masks))
        self.counts: NDArray[np.int64] = np.zeros((len(masks), VOID + 1), np.int64)
        self.counts[:, VOID] = 1
        for row, scan in scans.items():
            self.counts[row] = coding.counts(scan)
        self.cache: dict[int, Tensor] | None = {} if cache else None

    @property
    def shape(self) -> torch.Size:
        """Of the tensor of all."""
        return torch.Size([len(self), *((2,) if self.weights is not None else ()), *self.extent])

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    def dim(self) -> int:
        """Number of axes."""
        return self.ndim

    def is_floating_point(self) -> bool:
        """They are whole numbers."""
        return False

    def __len__(self) -> int:
        return len(self.rows)

    def of(self, rows: Rows) -> MaskFiles:
        """Those of some rows, not read yet."""
        found = object.__new__(MaskFiles)
        vars(found).update(vars(self), rows=self.rows[rows], counts=self.counts[rows])
        return found

    def __getitem__(self, index: Any) -> Tensor:
        if isinstance(index, tuple):
            return self[:][index]
        rows = self.rows[index.numpy() if isinstance(index, Tensor) else index]
        read = [self._read(int(row)) for row in np.atleast_1d(rows)]
        whole = torch.stack(read) if read else torch.zeros(0, *self.shape[1:], dtype=torch.uint8)
        return whole[0] if np.ndim(rows) == 0 else whole

    def __getattr__(self, name: str) -> Any:
        # whatever else a tensor can, the tensor of all does
        if name.startswith("__") or "rows" not in vars(self):
            raise AttributeError(name)
        return getattr(self[:], name)

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, values: Any = (), settings: Any = None) -> Any:
        """Functions of torch take the tensor of all."""
        whole = [value[:] if isinstance(value, MaskFiles) else value for value in values]
        return function(*whole, **(settings or {}))

    def _read(self, row: int) -> Tensor:
        if self.cache is not None and row in self.cache:
            return self.cache[row]
        mask = self.masks[row]
        name = str(mask) if isinstance(mask, Path) else f"of row {row}"
        if mask is None:
            found = np.full(self.extent, VOID, np.uint8)
        else:
            found = self.coding.read(mask() if callable(mask) else mask, name)
        if found.shape != self.extent:
            raise DataError(
                f"mask {name} is {found.shape[0]}x{found.shape[1]}, and its picture {self.extent[0]}x{self.extent[1]}; "
                "was it changed? read the pile again"
            )
        made = torch.from_numpy(found)
        if self.weights is not None:
            made = torch.stack([made, torch.from_numpy(self._weight(self.weights[row], found))])
        if self.cache is not None:
            self.cache[row] = made
        return made

    def _weight(self, path: Path | None, mask: Bytes) -> Bytes:
        if path is None:  # a mask that a person drew
            return np.full_like(mask, 255)
        raw = numbers_of(path, str(path), False)
        if raw.max(initial=0) > 255:
            raise DataError(f"weight {path} holds {int(raw.max())}; save weights as gray PNG of 8 bits, 255 = fully")
        found = _brought(raw.astype(np.uint8), self.coding.size, self.coding.fit, 0)
        if found.shape != mask.shape:
            raise DataError(f"weight {path} is of another size than its mask; bring it to the size of the mask")
        return found


def scan_masks(paths: Sequence[Path], colors: bool, workers: int | None = None) -> list[MaskScan]:
    """Read masks once, in parallel, and say what each is, in their order."""

    def one(path: Path) -> MaskScan:
        try:
            raw = numbers_of(path, str(path), colors)
        except DataError as error:
            return MaskScan(str(path), reason=str(error))
        return scan_of(raw, str(path))

    return in_parallel(one, paths, workers)


def scan_of(raw: NDArray[np.int64], name: str) -> MaskScan:
    """What the numbers of a mask are."""
    if int(raw.max(initial=0)) < 1 << 16:  # counting is many times faster than sorting
        found = np.bincount(raw.reshape(-1))
        numbers = np.flatnonzero(found)
        counts = found[numbers]
    else:
        numbers, counts = np.unique(raw, return_counts=True)
    return MaskScan(name, len(raw), raw.shape[1], dict(zip(numbers.tolist(), counts.tolist(), strict=True)))


def numbers_of(mask: Any, name: str, colors: bool) -> NDArray[np.int64]:
    """Numbers of a mask, (H, W): places in the palette, gray levels, or of ``colors`` red * 65536 + green * 256 + blue.

    Raises:
        DataError: it cannot be read, or is in colors that nobody has said.
    """
    from PIL import Image

    with named(name):
        if isinstance(mask, Path):
            with Image.open(mask, formats=IMAGE_FORMATS) as opened:
                opened.load()
            mask = opened
        if not hasattr(mask, "convert"):
            array = np.asarray(mask)
            array = array[0] if array.ndim == 3 and len(array) == 1 else array
            if array.ndim != 2 or array.dtype.kind not in "biu" or array.min(initial=0) < 0:
                raise DataError(f"mask {name} has shape {array.shape} of {array.dtype}; give class numbers (H, W)")
            return array.astype(np.int64)
        if not colors and mask.mode in ("1", "P", "L", "I", "I;16", "I;16B", "LA", "PA"):
            whole = np.asarray(mask.getchannel(0) if mask.mode in ("LA", "PA") else mask)
            return whole.astype(np.int64)
        shades = np.asarray(mask.convert("RGB")).astype(np.int64)
        if colors:
            return (shades[..., 0] << 16) + (shades[..., 1] << 8) + shades[..., 2]
        if (shades == shades[..., :1]).all():  # gray in three channels
            return shades[..., 0]
        found = np.unique(shades.reshape(-1, 3), axis=0)[:5].tolist()
        example = {f"class {i}": tuple(color) for i, color in enumerate(found)}
        raise DataError(f"mask {name} is in colors; say which class each is: {setting('colors', example)}")


def _brought(values: Bytes, size: tuple[int, int] | None, fit: Fit, fill: int) -> Bytes:
    """Numbers in another size, none of them mixed."""
    from PIL import Image

    if size is None:
        return values
    return np.array(fitted(Image.fromarray(values), size, fit, Image.Resampling.NEAREST, fill))
