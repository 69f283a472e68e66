"""What a run shows: ``metrics.jsonl`` for programs, TensorBoard for people."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

METRICS, EVENTS = "metrics.jsonl", "events.out.tfevents.*"
_TILE = 56  # pixels of a thumbnail's shorter side, enough for its caption


class Board:
    """Write scalars, pictures and alarms of one run; does nothing without a folder.

    Args:
        folder: Run folder, or ``None``.
        resume_at: Step a resumed run continues after; later entries of both logs are dropped, so that each step has
            one value.
    """

    def __init__(self, folder: Path | None, resume_at: int | None = None) -> None:
        self.folder, self._resume_at = folder, resume_at
        self._writer: Any = None
        if folder is not None and resume_at is not None:
            _drop_after(folder / METRICS, resume_at)

    def __enter__(self) -> Board:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._writer is not None:
            self._writer.close()

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        """Log finite or NaN numbers under their names at ``step``."""
        if self.folder is None or not values:
            return
        self._row({"step": step} | {n: v if math.isfinite(v) else None for n, v in values.items()})
        for name, value in values.items():
            self._tensorboard().add_scalar(name, value, step)

    def pictures(self, name: str, images: Tensor, step: int, captions: Sequence[str] | None = None) -> None:
        """Log a grid of images (N, channels, H, W), each scaled to its own range, with an optional caption each."""
        if self.folder is None or not len(images):
            return
        tiles = [_tile(image, captions[i] if captions else None) for i, image in enumerate(images)]
        self._tensorboard().add_image(name, _grid(torch.stack(tiles)), step)

    def text(self, name: str, content: str, step: int) -> None:
        """Log Markdown."""
        if self.folder is not None:
            self._tensorboard().add_text(name, content, step)

    def alarm(self, kind: str, content: str, step: int) -> None:
        """Log an alarm of this kind: a row ``{"step", "alarm", "text"}`` and a text ``alarm/kind``."""
        if self.folder is not None:
            self._row({"step": step, "alarm": kind, "text": content})
            self.text(f"alarm/{kind}", content, step)

    def _row(self, row: Mapping[str, object]) -> None:
        assert self.folder is not None
        with open(self.folder / METRICS, "a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def _tensorboard(self) -> Any:
        if self._writer is None:
            assert self.folder is not None
            self._writer = _writer_after(self.folder, None if self._resume_at is None else self._resume_at + 1)
        return self._writer


def _writer_after(folder: Path, purge: int | None) -> Any:
    """A writer whose file comes after those of earlier writers: TensorBoard reads files in the order of their names.

    A name holds the second it was made in, then numbers that do not sort; so a file that would come too early is made
    again a moment later.
    """
    from torch.utils.tensorboard import SummaryWriter

    while True:
        there = set(folder.glob(EVENTS))
        writer = SummaryWriter(str(folder), purge_step=purge)
        made = set(folder.glob(EVENTS)) - there
        if not there or min(made) > max(there):
            return writer
        writer.close()
        for path in made:
            path.unlink()
        time.sleep(0.05)


def _drop_after(path: Path, step: int) -> None:
    if path.is_file():
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        rows = [line for line in lines if _step(line) <= step]
        path.write_text("".join(line + "\n" for line in rows), encoding="utf-8")


def _step(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return math.inf  # a crash cut the line short


def _tile(image: Tensor, caption: str | None) -> Tensor:
    """One thumbnail (3, h, w) in [0, 1], enlarged by whole factors, the caption on a strip below."""
    image = image.detach().float().cpu()
    image = image[:3] if len(image) >= 3 else image[:1].expand(3, -1, -1)
    low, high = image.amin(), image.amax()
    image = (image - low) / (high - low).clamp(min=1e-6)
    factor = max(1, _TILE // min(image.shape[-2:]))
    image = F.interpolate(image[None], scale_factor=factor)[0]
    return image if caption is None else torch.cat([image, _strip(caption, image.shape[-1])], 1)


def _strip(caption: str, width: int) -> Tensor:
    import numpy as np
    from PIL import Image, ImageDraw

    strip = Image.new("L", (width, 14), 255)
    ImageDraw.Draw(strip).text((2, 1), caption, fill=0)
    return torch.from_numpy(np.asarray(strip).copy()).float().div(255).expand(3, -1, -1)


def _grid(tiles: Tensor, columns: int = 8) -> Tensor:
    """(N, 3, h, w) -> one picture with a gap of two pixels."""
    tiles = F.pad(tiles, (1, 1, 1, 1), value=0.5)
    rows = math.ceil(len(tiles) / columns)
    blank = tiles.new_full((rows * columns - len(tiles), *tiles.shape[1:]), 1.0)
    cells: Tensor = torch.cat([tiles, blank]).unflatten(0, (rows, columns))  # (rows, columns, 3, h, w)
    return cells.permute(2, 0, 3, 1, 4).flatten(3, 4).flatten(1, 2)
