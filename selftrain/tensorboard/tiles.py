"""Samples as tiles of a picture: images, table rows as bars, series as curves, clouds as points; masks and joints."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from selftrain.labels.thumbnails import in_cube, shrunk, thinned
from selftrain.tasks import Task
from selftrain.types import Target

SMALL, LARGE = 56, 112  # pixels: small images are enlarged to the first, large ones shrunk to the second
WIDE = 350  # pixels: what TensorBoard shows without making it smaller
_COLUMNS, _CHANNELS, _POINTS, _AXES = 64, 12, 256, 4  # of a table, a series and a cloud: what is drawn at most
_STRIP, _LETTER = 14, 6  # pixels: height of a caption, about the width of a letter
_UP, _DOWN, _WRONG = (0.12, 0.47, 0.71), (0.84, 0.15, 0.16), (0.8, 0.0, 0.0)
COLORS = (  # of classes of pixels and of joints, by number; then anew
    (0.12, 0.47, 0.71), (1.0, 0.5, 0.05), (0.17, 0.63, 0.17), (0.84, 0.15, 0.16), (0.58, 0.4, 0.74),
    (0.55, 0.34, 0.29), (0.89, 0.47, 0.76), (0.5, 0.5, 0.5), (0.74, 0.74, 0.13), (0.09, 0.75, 0.81),
)  # fmt: skip


def tiles(x: Tensor) -> Tensor:
    """Draw samples, (N, 3, h, w) in [0, 1]; none (0, 3, 1, 1) for inputs of another kind.

    Args:
        x: Images (N, C, H, W), enlarged by whole factors to 56 pixels or shrunk to 112; rows of a table (N, columns), a
            bar for each of the first 64 values, up or down from zero, as high as the largest of these samples; series
            (N, C, L), the first 12 channels one above the other, each in its own range; clouds (N, points, 2 to 4
            coordinates), seen from above, the third coordinate as brightness.
    """
    # one number that is not finite would take the scale from all others
    x = x.detach().float().cpu().nan_to_num(0.0, 0.0, 0.0)
    if x.dim() == 4 and len(x):
        return _images(x)
    if x.dim() == 2 and x.numel():
        return _bars(x[:, :_COLUMNS])
    if x.dim() == 3 and x.numel():
        return _clouds(x) if x.shape[2] <= _AXES else _curves(x[:, :_CHANNELS])
    return torch.zeros(0, 3, 1, 1)


Bones = Sequence[tuple[int, int]]  # pairs of joints that lines are drawn between


def with_labels(shown: Tensor, value: Tensor, weight: Tensor, bones: Bones = ()) -> Tensor:
    """Paint the decisions of sites over tiles (N, 3, h, w): colors for the classes of pixels, crosses for joints.

    Args:
        shown: Tiles.
        value: Predictions (N, C, H, W), in [0, 1]; others leave the tiles as they are.
        weight: Weight of each unit: (N, H, W) for pixels, of which those with weight 0 stay pale, or (N, C) for joints,
            of which those with weight 0 are left out.
        bones: Pairs of joints that lines are drawn between, where both count.
    """
    if value.dim() != 4 or not len(shown):
        return shown
    value, weight = value.detach().float().cpu(), weight.detach().float().cpu()
    if weight.dim() == 3:
        return _masks(shown, value, weight)
    return _with_bones(_crosses(shown, value, weight), value, weight, bones)


def with_heat(shown: Tensor, level: Tensor) -> Tensor:
    """Paint levels (N, H, W) in [0, 1] over gray tiles (N, 3, h, w): nothing at 0, red at 1."""
    level = F.interpolate(level.detach().float().cpu()[:, None], shown.shape[-2:]).clamp(0, 1) * 0.9
    return shown.mean(1, keepdim=True) * (1 - level) + torch.tensor(_DOWN).view(1, 3, 1, 1) * level


def compared(shown: Tensor, value: Tensor, target: Target, task: Task, bones: Bones = ()) -> Tensor:
    """Each tile beside its truth, what is said of it, where that is doubtful and where it is wrong, (N, 3, h, 5 w).

    Of joints it is four tiles: doubt is the size of no area, and the last one leads from the truth to what is said.

    Args:
        shown: Tiles (N, 3, h, w) of pictures.
        value: Predictions (N, C, H, W), in [0, 1].
        target: The truth; what is not valid is left out.
        task: Of masks or joints.
        bones: Pairs of joints that lines are drawn between.
    """
    known = (target.mask() * target.weight > 0).cpu().float()
    value, truth, sure = value.detach().float().cpu(), target.value.detach().float().cpu(), task.confidence(value).cpu()
    if task.has_classes:
        wrong = (task.label(value) != task.label(truth)) * known
        said, right = with_labels(shown, value, torch.ones_like(sure)), with_labels(shown, truth, known)
        return torch.cat([shown, right, said, with_heat(shown, 1 - sure), with_heat(shown, wrong)], 3)
    right, said = with_labels(shown, truth, known, bones), with_labels(shown, value, torch.ones_like(sure), bones)
    return torch.cat([shown, right, said, _led(shown, truth, value, known)], 3)


def captioned(shown: Tensor, captions: Sequence[str]) -> Tensor:
    """Write a caption below each tile, on a strip of 14 pixels; red if it begins with ``!``."""
    # a caption that is cut tells less than a tile that is a little wider
    wide = max([shown.shape[-1], *(min(2 * SMALL, _LETTER * len(text) + 4) for text in captions)])
    shown = F.pad(shown, (0, wide - shown.shape[-1]), value=1.0)
    strips = torch.stack([_strip(text, wide) for text in captions])
    return torch.cat([shown, strips], 2)


def grid(shown: Tensor, columns: int = 8) -> Tensor:
    """Tiles (N, 3, h, w) side by side as one picture (3, H, W), a gray line around each.

    Args:
        shown: The tiles.
        columns: Tiles in a row.
    """
    from torchvision.utils import make_grid

    picture: Tensor = make_grid(F.pad(shown, (1, 1, 1, 1), value=0.5), nrow=columns, padding=0, pad_value=1.0)
    return picture


# -- kinds of samples --------------------------------------------------------------------------------------------------
def _images(x: Tensor) -> Tensor:
    small = shrunk(x, LARGE).float().div(255).expand(-1, 3, -1, -1)
    # whole factors: interpolation would make edges that are not in the picture
    factor = max(1, SMALL // min(small.shape[-2:]))
    return F.interpolate(small, scale_factor=factor)


def _bars(x: Tensor) -> Tensor:
    # one scale for all rows shown: bars of two rows may be compared
    scale = x.abs().amax().clamp(min=1e-12)
    value = (x / scale)[:, None, :]  # (N, 1, columns)
    level = torch.linspace(1, -1, SMALL)[None, :, None]  # (1, h, 1)
    up, down = (level >= 0) & (value >= level) & (value > 0), (level <= 0) & (value <= level) & (value < 0)
    canvas = torch.ones(len(x), 3, SMALL, x.shape[1])
    for inked, color in ((up, _UP), (down, _DOWN)):
        canvas = torch.where(inked[:, None], torch.tensor(color).view(1, 3, 1, 1), canvas)
    return canvas.repeat_interleave(max(1, SMALL // x.shape[1]), 3)


def _curves(x: Tensor) -> Tensor:
    places = thinned(x, LARGE)
    low, high = places.amin(2, keepdim=True), places.amax(2, keepdim=True)
    level = (places - low) / (high - low).clamp(min=1e-12)
    # a flat channel lies in the middle of its lane
    level = torch.where(high > low, level, 0.5)
    lane = max(SMALL // x.shape[1], 2 * _STRIP // 2)
    wide = LARGE if places.shape[2] > SMALL else SMALL
    return torch.stack([_drawn_curves(sample.tolist(), lane, wide) for sample in level])


def _drawn_curves(levels: Sequence[Sequence[float]], lane: int, wide: int) -> Tensor:
    from PIL import Image, ImageDraw

    canvas = Image.new("RGB", (wide, lane * len(levels)), (255, 255, 255))
    pen = ImageDraw.Draw(canvas)
    for channel, heights in enumerate(levels):
        across = (wide - 1) / max(1, len(heights) - 1)
        base = lane * (channel + 1) - 2
        line = [(i * across, base - height * (lane - 4)) for i, height in enumerate(heights)]
        pen.line(line, fill=_bytes(COLORS[channel % len(COLORS)]))
    return _pixels(canvas)


def _clouds(x: Tensor) -> Tensor:
    step = -(-x.shape[1] // _POINTS)
    place = in_cube(x[:, ::step])
    depth = place[..., 2] if x.shape[2] > 2 else torch.ones_like(place[..., 0])
    canvas = torch.ones(len(x), 3, SMALL, SMALL)
    ink = torch.tensor(_UP)[:, None] + (1 - depth[:, None]) * (0.75 - torch.tensor(_UP)[:, None])  # (N, 3, points)
    # points are 2 x 2 pixels: there is room for the second half of the last one
    at = (place * (SMALL - 2)).long()
    # rows of a picture are counted from above, the second coordinate from below
    column, row = at[..., 0], SMALL - 2 - (at[..., 1] if x.shape[2] > 1 else 0 * at[..., 0])
    order = depth.argsort(1)  # the nearest last, so that it is seen
    for sample, seen in enumerate(order):
        for down, right in ((0, 0), (0, 1), (1, 0), (1, 1)):
            canvas[sample][:, row[sample][seen] + down, column[sample][seen] + right] = ink[sample][:, seen]
    return canvas


# -- decisions over them -----------------------------------------------------------------------------------------------
def _masks(shown: Tensor, value: Tensor, weight: Tensor) -> Tensor:
    # not torchvision's masks: they have one strength in a call, and here pixels without weight stay pale
    size = shown.shape[-2:]
    # the nearest, which is the default: numbers of classes must not be blended
    decided = F.interpolate(value.argmax(1, keepdim=True).float(), size).long()[:, 0]
    palette = torch.tensor(COLORS)
    paint = palette[decided % len(palette)].permute(0, 3, 1, 2)
    strength = torch.where(F.interpolate(weight[:, None], size) > 0, 0.6, 0.2)
    return shown.mean(1, keepdim=True) * (1 - strength) + paint * strength


def _crosses(shown: Tensor, value: Tensor, weight: Tensor) -> Tensor:
    # crosses are drawn in place, and the tiles are the caller's
    shown = shown.clone()
    rows, columns = _peaks(value, shown)
    # not torchvision's joints: they have one color in a call
    for sample, joint in torch.nonzero(weight > 0).tolist():
        row, column = int(rows[sample, joint]), int(columns[sample, joint])
        color = torch.tensor(COLORS[joint % len(COLORS)])[:, None]
        shown[sample][:, row, max(0, column - 2) : column + 3] = color
        shown[sample][:, max(0, row - 2) : row + 3, column] = color
    return shown


def _peaks(value: Tensor, shown: Tensor) -> tuple[Tensor, Tensor]:
    """Row and column of each peak in the tiles."""
    peak, (height, width) = value.flatten(2).argmax(2), shown.shape[-2:]
    # the middle of a cell, not its corner
    rows = ((peak // value.shape[3] + 0.5) * height / value.shape[2]).long()
    return rows, ((peak % value.shape[3] + 0.5) * width / value.shape[3]).long()


def _with_bones(shown: Tensor, value: Tensor, weight: Tensor, bones: Bones) -> Tensor:
    """Lines between joints that both count, each in the color of its first one."""
    if not bones:
        return shown
    rows, columns = (one.tolist() for one in _peaks(value, shown))
    ends = [
        [((c[a], r[a]), (c[b], r[b]), COLORS[a % len(COLORS)]) for a, b in bones if w[a] and w[b]]
        for r, c, w in zip(rows, columns, weight.tolist(), strict=True)
    ]
    return _lines(shown, ends)


def _led(shown: Tensor, truth: Tensor, value: Tensor, known: Tensor) -> Tensor:
    """Red lines from the true place of each joint to what is said."""
    there, said = _peaks(truth, shown), _peaks(value, shown)
    ends = []
    for i in range(len(shown)):
        pairs = [k for k in range(value.shape[1]) if known[i, k] > 0]
        ends.append(
            [
                ((there[1][i, k].item(), there[0][i, k].item()), (said[1][i, k].item(), said[0][i, k].item()), _WRONG)
                for k in pairs
            ]
        )
    return _lines(_crosses(shown.mean(1, keepdim=True).expand(-1, 3, -1, -1), truth, known), ends)


def _lines(shown: Tensor, ends: Sequence[Sequence[tuple[Any, Any, Sequence[float]]]]) -> Tensor:
    from PIL import Image, ImageDraw

    drawn = []
    for tile, lines in zip(shown, ends, strict=True):
        canvas = Image.fromarray((255 * tile).round().clamp(0, 255).byte().permute(1, 2, 0).numpy())
        pen = ImageDraw.Draw(canvas)
        for first, second, color in lines:
            pen.line([first, second], fill=_bytes(color))
        drawn.append(_pixels(canvas))
    return torch.stack(drawn)


def _strip(caption: str, width: int) -> Tensor:
    from PIL import Image, ImageDraw

    strip = Image.new("RGB", (width, _STRIP), (255, 255, 255))
    # a class may be named by a folder whose name is no valid text, which Pillow cannot draw
    text = caption.encode("utf-8", "replace").decode("utf-8")
    color = _bytes(_WRONG) if text.startswith("!") else (0, 0, 0)
    ImageDraw.Draw(strip).text((2, 1), text, color, _font())
    return _pixels(strip)


@functools.cache
def _font() -> Any:
    """The font of captions, read once."""
    from PIL import ImageFont

    return ImageFont.load_default()


def _bytes(color: Sequence[float]) -> tuple[int, int, int]:
    red, green, blue = (round(255 * part) for part in color)
    return red, green, blue


def _pixels(canvas: object) -> Tensor:
    """A picture of Pillow as (3, h, w) in [0, 1]."""
    return torch.from_numpy(np.array(canvas)).permute(2, 0, 1).float().div(255)
