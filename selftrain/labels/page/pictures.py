"""How samples are shown: pictures in sprite sheets, table rows, curves and clouds, packed as text."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from selftrain.labels.page.source import Inputs
from selftrain.labels.thumbnails import in_cube, shrunk, size_within, thinned

ACROSS = 16  # pictures in a row of a sheet, and rows
BLOCK = 8  # pixels that a JPEG codes together, where colors are as fine as brightness
Bytes = NDArray[np.uint8]
_SMALLEST, _PROBED = 16, 256
_PLACES, _CHANNELS, _COLUMNS = 128, 12, 64
_QUALITY = 85


@dataclass(frozen=True)
class Pictures:
    """What shows the samples.

    Attributes:
        form: How to read ``blobs``: ``kind`` (``"image"``, ``"table"``, ``"series"``, ``"points"``, ``"none"``) and its
            sizes.
        blobs: Base64: a sheet of pictures each, or one with the numbers of all samples.
    """

    form: dict[str, Any]
    blobs: list[str]


def make_pictures(inputs: Inputs, side: int, limit: int, columns: Sequence[str] | None = None) -> Pictures:
    """Pack what shows the samples.

    Args:
        inputs: The samples.
        side: Longer side of a picture in pixels, at most.
        limit: Bytes of text, at most.
        columns: Names of the columns of a table.

    Raises:
        ValueError: the samples do not fit into ``limit``, or names that are not one for each column.
    """
    axes = next(inputs.some(1).batches()).dim() if len(inputs) else 0
    if axes == 4:
        return _images(inputs, side, limit)
    if axes == 2:
        return _within(_table(inputs, columns), limit)
    if axes == 3:
        return _within(_points(inputs) if inputs.points else _series(inputs), limit)
    return Pictures({"kind": "none"}, [])


# -- pictures ----------------------------------------------------------------------------------------------------------
def _images(inputs: Inputs, side: int, limit: int) -> Pictures:
    """Sheets of 16 x 16 pictures; they get smaller until all fit."""
    while True:
        # a few pictures tell about the size, before all are packed at each size that is tried
        probe = inputs.some(_PROBED)
        expected = _length(_sheets(probe, side)) * len(inputs) / len(probe)
        if expected <= limit:
            sheets = list(_sheets(inputs, side))
            expected = _length(sheets)
            # the probe may have missed large ones: what was packed decides
            if expected <= limit:
                height, width = size_within(next(inputs.some(1).batches()), side)
                form = {"kind": "image", "width": width, "height": height, "across": ACROSS, "block": BLOCK}
                return Pictures(form | {"type": sheets[0][1]}, [blob for blob, _ in sheets])
        if side <= _SMALLEST:
            _refuse(expected, limit)
        # bytes grow with the area, hence the root; a bit below it for few rounds, and always smaller, so that they end
        side = max(_SMALLEST, min(side - 1, int(0.95 * side * math.sqrt(limit / expected))))


def _sheets(inputs: Inputs, side: int) -> Iterator[tuple[str, str]]:
    """Each sheet as base64, and its type: that which is better for the first one."""
    waiting: list[Bytes] = []
    kind: str | None = None
    for batch in (*inputs.batches(), None):
        waiting.extend([] if batch is None else _small(batch, side))
        while len(waiting) >= ACROSS**2 or (batch is None and waiting):
            sheet = _sheet(waiting[: ACROSS**2])
            if kind is None:  # PNG where it is hardly larger (drawings, small gray images): it loses nothing
                kind = "png" if len(_encoded(sheet, "png")) <= 1.2 * len(_encoded(sheet, "jpeg")) else "jpeg"
            yield _base64(_encoded(sheet, kind)), kind
            waiting = waiting[ACROSS**2 :]


def _length(sheets: Iterable[tuple[str, str]]) -> int:
    return sum(len(blob) for blob, _ in sheets)


def _small(images: Tensor, side: int) -> Bytes:
    """(B, C, H, W) -> (B, h, w, 1 or 3)."""
    return shrunk(images, side).permute(0, 2, 3, 1).contiguous().numpy()


def _sheet(tiles: Sequence[Bytes]) -> Bytes:
    """Pictures side by side, each continued to whole blocks of a JPEG, so that none takes color from its neighbor."""
    height, width, channels = tiles[0].shape
    down, right = _blocks(height), _blocks(width)
    sheet = np.zeros((-(-len(tiles) // ACROSS) * down, ACROSS * right, channels), np.uint8)
    for i, tile in enumerate(tiles):
        y, x = i // ACROSS * down, i % ACROSS * right
        whole = np.pad(tile, ((0, down - height), (0, right - width), (0, 0)), "edge")
        sheet[y : y + down, x : x + right] = whole
    return sheet


def _blocks(length: int) -> int:
    return -(-length // BLOCK) * BLOCK


def _encoded(sheet: Bytes, kind: str) -> bytes:
    from PIL import Image

    file = io.BytesIO()
    image = Image.fromarray(sheet[:, :, 0] if sheet.shape[2] == 1 else sheet)
    # JPEG's usual subsampling would code colors in blocks of 16, beyond the edge of a picture
    image.save(file, kind.upper(), **({"quality": _QUALITY, "subsampling": 0} if kind == "jpeg" else {}))
    return file.getvalue()


# -- numbers -----------------------------------------------------------------------------------------------------------
def _table(inputs: Inputs, columns: Sequence[str] | None) -> Pictures:
    """The first 64 columns of each row as float32, and the range that most values lie in."""
    rows = torch.cat([batch.detach().cpu().float() for batch in inputs.batches()])
    if columns is not None and len(columns) != rows.shape[1]:
        raise ValueError(f"columns has {len(columns)} names, rows have {rows.shape[1]} values; give one for each")
    names = [str(c) for c in (range(rows.shape[1]) if columns is None else columns)]
    shown = rows[:, :_COLUMNS].contiguous().numpy()
    # not lowest and highest: one outlier would make all other bars look alike
    spread = np.quantile(shown, [0.01, 0.99], axis=0)
    form = {"kind": "table", "columns": names[:_COLUMNS], "all": len(names)}
    return Pictures(form | {"low": spread[0].tolist(), "high": spread[1].tolist()}, [_base64(_little(shown, "<f4"))])


def _series(inputs: Inputs) -> Pictures:
    """Up to 12 channels with up to 128 places each, as bytes between the lowest and the highest value of the sample."""
    parts = [thinned(batch.detach().cpu().float()[:, :_CHANNELS], _PLACES) for batch in inputs.batches()]
    x = torch.cat(parts)
    low, high = x.amin(2), x.amax(2)
    scaled = (x - low[..., None]) / (high - low).clamp(min=1e-12)[..., None]
    content = (
        _little(low.numpy(), "<f4") + _little(high.numpy(), "<f4") + scaled.mul(255).round().byte().numpy().tobytes()
    )
    first = next(inputs.some(1).batches())
    form = {"kind": "series", "channels": x.shape[1], "places": x.shape[2], "all": first.shape[1]}
    return Pictures(form | {"length": first.shape[2]}, [_base64(content)])


def _points(inputs: Inputs) -> Pictures:
    """Up to 128 evenly spaced points of each cloud, as bytes in the cube around it."""
    parts = []
    for batch in inputs.batches():
        step = -(-batch.shape[1] // _PLACES)
        parts.append(batch.detach().cpu().float()[:, ::step])
    x = torch.cat(parts)
    content = in_cube(x).mul(255).round().byte().numpy().tobytes()
    form = {"kind": "points", "points": x.shape[1], "axes": x.shape[2]}
    return Pictures(form, [_base64(content)])


def _within(pictures: Pictures, limit: int) -> Pictures:
    size = sum(map(len, pictures.blobs))
    if size > limit:
        _refuse(size, limit)
    return pictures


def _refuse(size: float, limit: int) -> None:
    raise ValueError(
        f"what shows the samples takes {size / 1e6:.1f} megabytes, more than {limit / 1e6:g}; show fewer (samples=...) "
        "or allow more (megabytes=...)"
    )


def _little(values: NDArray[Any], kind: str) -> bytes:
    """Numbers as bytes, the lowest first on any machine."""
    return values.astype(kind).tobytes()


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")
