"""Figures drawn with matplotlib, by its objects alone: no global state is touched and no window is ever opened."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from selftrain.metrics.calibration_error import confidence_bins, expected_calibration_error
from selftrain.tensorboard.tiles import WIDE

BINS = 15  # of confidence, as in ``metrics.expected_calibration_error``
_DPI, _TEXT, _SMALL = 80, 9, 7
_WIDE = WIDE / _DPI  # inches
_BLUE, _ORANGE, _GREEN, _GRAY = "#1f77b4", "#ff7f0e", "#2ca02c", "#9a9a9a"
_SERIES = {
    "accuracy": (_BLUE, "accuracy, held-out"),
    "iou": (_GRAY, "intersection over union of held-out masks"),
    "accepted": (_ORANGE, "accepted"),
    "precision": (_GREEN, "right of these"),
}


def confusion(counts: Tensor, names: Sequence[str], title: str) -> Tensor:
    """Confusion matrix as a picture (3, H, W) in [0, 1]; colors are shares of each row, numbers are counts.

    Args:
        counts: Units by truth (rows) and decision (columns), shape (C, C).
        names: Of the classes.
        title: Stands above.
    """
    table = counts.double().numpy()
    shares = table / np.maximum(table.sum(1, keepdims=True), 1)
    size = len(names)
    side = max(_WIDE, 1.4 + 0.3 * size)
    figure, axes = _figure(side, side)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    labels = _readable(names)
    # a dollar sign in the name of a class is no formula
    axes.set_xticks(range(size), labels, rotation=90, fontsize=_TEXT, parse_math=False)
    axes.set_yticks(range(size), labels, fontsize=_TEXT, parse_math=False)
    axes.set_xlabel("decided", fontsize=_TEXT)
    axes.set_ylabel("true", fontsize=_TEXT)
    axes.set_title(title, fontsize=_TEXT)
    for row, column in zip(*np.nonzero(table), strict=True):
        color = "white" if shares[row, column] > 0.5 else "black"
        text = f"{int(table[row, column])}"
        axes.text(column, row, text, ha="center", va="center", fontsize=_SMALL, color=color)
    return _picture(figure)


def reliability(parts: Sequence[tuple[str, Tensor, Tensor]]) -> Tensor:
    """Accuracy by confidence beside what it should be, and how many decisions are how sure, as a picture (3, H, W).

    Args:
        parts: Each with title, confidence (N,), and whether the decision is right (N,); drawn one below the other.
    """
    figure, axes = _figure(_WIDE, 3.2 * len(parts), 2 * len(parts), 1, height_ratios=(3, 1) * len(parts))
    for place, (title, confidence, right) in enumerate(parts):
        _reliability(axes[2 * place][0], axes[2 * place + 1][0], title, confidence, right)
    return _picture(figure)


def reliability_bins(confidence: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    """Number of decisions and share of right ones in each of 15 equal stretches of confidence; NaN where none is."""
    bucket = confidence_bins(confidence, BINS)
    count = torch.bincount(bucket, minlength=BINS)
    return count, torch.bincount(bucket, right.double(), minlength=BINS) / count


def _reliability(upper: Any, lower: Any, title: str, confidence: Tensor, right: Tensor) -> None:
    count, accuracy = reliability_bins(confidence, right)
    left = np.arange(BINS) / BINS
    upper.plot([0, 1], [0, 1], color=_GRAY, linewidth=1, linestyle="--")
    upper.bar(left, accuracy.nan_to_num(0).numpy(), 1 / BINS, align="edge", color=_BLUE, edgecolor="white")
    error = expected_calibration_error(confidence, right, bins=BINS)
    upper.set_title(f"{title}, calibration error {error:.3f}", fontsize=_TEXT)
    upper.set_ylabel("accuracy", fontsize=_TEXT)
    lower.bar(left, (count / max(1, len(confidence))).numpy(), 1 / BINS, align="edge", color=_GRAY, edgecolor="white")
    lower.set_xlabel("confidence", fontsize=_TEXT)
    lower.set_ylabel("share", fontsize=_TEXT)
    for axes in (upper, lower):
        axes.set_xlim(0, 1)
        axes.tick_params(labelsize=_SMALL)
    upper.set_ylim(0, 1)


def class_bars(names: Sequence[str], series: dict[str, Tensor], title: str) -> Tensor:
    """Shares of each class as bars, as a picture (3, H, W).

    Args:
        names: Of the classes.
        series: Shares (C,) in [0, 1], NaN where unknown, by the names in ``_SERIES``.
        title: Stands above.
    """
    figure, axes = _figure(_WIDE, 1.2 + 0.3 * len(names))
    height, place = 0.8 / max(1, len(series)), np.arange(len(names))
    for i, (name, shares) in enumerate(series.items()):
        color, label = _SERIES[name]
        offset = (i - (len(series) - 1) / 2) * height
        axes.barh(place + offset, shares.nan_to_num(0).numpy(), height, color=color, label=label)
    axes.set_yticks(place, _readable(names), fontsize=_TEXT, parse_math=False)
    # bars are counted from below, names are read from above
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.grid(axis="x", alpha=0.3)
    axes.tick_params(axis="x", labelsize=_SMALL)
    axes.set_title(title, fontsize=_TEXT)
    figure.legend(loc="outside lower center", ncols=3, fontsize=_SMALL, frameon=False)
    return _picture(figure)


def _figure(width: float, height: float, *rows: int, **ratios: Any) -> tuple[Any, Any]:
    """A figure of this many inches, and its axes."""
    # loaded with the first figure only: it takes as long as many steps of a small network
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=_DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(*rows, squeeze=False, **ratios) if rows else figure.subplots()


def _picture(figure: Any) -> Tensor:
    figure.canvas.draw()
    # a copy: the buffer belongs to the canvas, which goes with the figure
    pixels = np.asarray(figure.canvas.buffer_rgba())[..., :3].copy()
    return torch.from_numpy(pixels).permute(2, 0, 1).float().div(255)


def _readable(names: Sequence[str]) -> list[str]:
    """Names in the letters that the font has; others become question marks."""
    from matplotlib.font_manager import findfont, get_font

    # matplotlib warns of each letter that its font lacks
    letters = get_font(findfont("DejaVu Sans")).get_charmap()
    return ["".join(c if ord(c) in letters else "?" for c in name[:24]) for name in names]
