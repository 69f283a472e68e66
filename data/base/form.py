"""How the inputs of a pile were given, so that others are read alike when a run is asked about them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from selftrain.types import InputKind


@dataclass(frozen=True)
class Form:
    """What a pile's inputs are, and how they became so.

    Args:
        kind: ``"table"``, ``"image"``, ``"series"`` or ``"points"``.
        shape: Of one input as sets hand it out, such as (C, H, W).
        mode: What pictures of files and of Pillow became, ``"RGB"`` or ``"L"``; ``None``: the inputs were arrays.
        size: Height and width that pictures were brought to; ``None``: all had one size.
        fit: How, ``"crop"``, ``"stretch"`` or ``"pad"``.
        channels: Where the channel axis of arrays was, if it was said.
        gaps: Whether series hold NaN where nothing is.
        limits: Values that meant black and white.
        table: How rows of a table became numbers (``TableEncoding.as_dict``); ``None``: they were numbers.

    Raises:
        ValueError: for sides that are no whole numbers above 0.
    """

    kind: InputKind
    shape: tuple[int, ...]
    mode: str | None = None
    size: tuple[int, int] | None = None
    fit: str = "crop"
    channels: str | None = None
    gaps: bool = False
    limits: tuple[float, float] | None = None
    table: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        # the record of a run, which may be a stranger's, is read as this
        for name, sides in (("shape", self.shape), ("size", self.size or (1, 1))):
            if not all(type(side) is int and side > 0 for side in sides):
                raise ValueError(f"{name} is {sides}; sides are whole numbers above 0")
