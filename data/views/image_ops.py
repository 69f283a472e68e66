"""Image operations on whole batches with parameters of their own for every sample.

Point operations (a new value for each old one) are composed into one table per sample and channel, geometric ones into
one affine map per sample, so that a chain of any length costs one look-up and one resampling.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Pad = Literal["reflect", "edge", "zero"]
LEVELS = 256
_GRID_PAD = {"reflect": "reflection", "edge": "border", "zero": "zeros"}

# A point operation maps (table, strength, histogram) to a new table. Shapes: table (B, C, 256), the value in [0, 1]
# that each of the 256 input levels has so far; strength (B, 1, 1) in [-1, 1], 0 = no change; histogram (B, C, 256),
# the share of the image's pixels at each input level.
PointOperation = Callable[[Tensor, Tensor, Tensor], Tensor]


def brightness(table: Tensor, strength: Tensor, histogram: Tensor) -> Tensor:
    """Multiply by 1 + 0.9 strength."""
    return table * (1 + 0.9 * strength)


def contrast(table: Tensor, strength: Tensor, histogram: Tensor) -> Tensor:
    """Stretch the distance to the image's mean by 1 + 0.9 strength; one mean for all channels."""
    mean = (histogram * table).sum(2, keepdim=True).mean(1, keepdim=True)
    return mean + (table - mean) * (1 + 0.9 * strength)


def gamma(table: Tensor, strength: Tensor, histogram: Tensor) -> Tensor:
    """Raise to the power 2**strength."""
    return table.pow(torch.exp2(strength))


def posterize(table: Tensor, strength: Tensor, histogram: Tensor) -> Tensor:
    """Keep 8 - round(4 |strength|) bits."""
    step = torch.exp2(torch.round(4 * strength.abs()))
    # Levels are rounded first: one that is a hair below a whole number would fall a whole step.
    return torch.floor(torch.round(table * (LEVELS - 1)) / step) * step / (LEVELS - 1)


def solarize(table: Tensor, strength: Tensor, histogram: Tensor) -> Tensor:
    """Invert values above 1 - |strength|."""
    return torch.where(table > 1 - strength.abs(), 1 - table, table)


def invert(table: Tensor, strength: Tensor, histogram: Tensor) -> Tensor:
    """Blend with the negative by |strength|."""
    return table + strength.abs() * (1 - 2 * table)


def autocontrast(table: Tensor, strength: Tensor, histogram: Tensor) -> Tensor:
    """Blend with the image stretched to the full range, by |strength|."""
    seen = histogram > 0
    low = torch.where(seen, table, torch.inf).amin(2, keepdim=True)
    high = torch.where(seen, table, -torch.inf).amax(2, keepdim=True)
    span = high - low
    stretched = torch.where(span > 0, (table - low) / span.clamp_min(1e-6), table).clamp(0, 1)
    return torch.lerp(table, stretched, strength.abs())


def equalize(table: Tensor, strength: Tensor, histogram: Tensor) -> Tensor:
    """Blend with the image whose histogram is flat, by |strength|."""
    level = torch.round(table * (LEVELS - 1)).long()
    counts = torch.zeros_like(histogram).scatter_add_(2, level, histogram)
    below = counts.cumsum(2) - counts
    # PIL's rule: the brightest level present is left out of the total, so that it maps to white
    top = below.gather(2, level).masked_fill(histogram == 0, 0).amax(2, keepdim=True)
    flat = torch.where(top > 0, below.gather(2, level) / top.clamp_min(1e-6), table).clamp(0, 1)
    return torch.lerp(table, flat, strength.abs())


POINT: dict[str, PointOperation] = {
    "brightness": brightness,
    "contrast": contrast,
    "posterize": posterize,
    "solarize": solarize,
    "autocontrast": autocontrast,
    "equalize": equalize,
    "gamma": gamma,
    "invert": invert,
}

GEOMETRIC = ("rotate", "shear_x", "shear_y", "translate_x", "translate_y", "scale")
_ROTATE, _SHEAR, _TRANSLATE, _SCALE = math.radians(30), 0.3, 0.3, math.log(1.4)


def by_rows(device: torch.device) -> bool:
    """Whether an operation is made for the rows that drew it: on accelerators the host would wait for their number."""
    return device.type == "cpu"


# What needs the histogram of the image; the others are given anything.
OF_HISTOGRAM = frozenset({"contrast", "autocontrast", "equalize"})


def histogram(levels: Tensor, used: Tensor | None = None) -> Tensor:
    """Share of pixels at each level: int64 (B, C, P) in 0..255 to float (B, C, 256).

    ``used`` (B,): whose histogram is needed, the others are left at 0; ``None``: all.
    """
    batch, channels, pixels = levels.shape
    if used is not None:
        return torch.zeros(batch, channels, LEVELS).masked_scatter_(used[:, None, None], histogram(levels[used]))
    if not by_rows(levels.device):  # bincount looks whether all numbers are in range
        ones = torch.ones((), device=levels.device).expand(levels.shape)
        return torch.zeros(batch, channels, LEVELS, device=levels.device).scatter_add_(2, levels, ones) / pixels
    offset = torch.arange(batch * channels, device=levels.device).view(batch, channels, 1) * LEVELS
    counts = torch.bincount((levels + offset).flatten(), minlength=batch * channels * LEVELS)
    return counts.view(batch, channels, LEVELS).float() / pixels


def point_tables(names: tuple[str, ...], choice: Tensor, strength: Tensor, histogram: Tensor) -> Tensor:
    """Compose point operations into tables.

    Args:
        names: Operations, keys of ``POINT``.
        choice: Which operation each slot of each sample uses, an index into ``names`` or beyond (= none), (B, slots).
        strength: How strong, (B, slots), in [-1, 1].
        histogram: Of the images, (B, C, 256).

    Returns:
        (B, C, 256), in [0, 1].
    """
    table = torch.linspace(0, 1, LEVELS, device=histogram.device).expand_as(histogram)
    if not by_rows(table.device):
        return _tables_of_all(names, choice, strength, histogram, table)
    for slot in range(choice.shape[1]):
        before, table = table, table.clone()
        for number, name in enumerate(names):
            rows = (choice[:, slot] == number).nonzero()[:, 0]
            if len(rows):
                strong = strength[rows, slot, None, None]
                table[rows] = POINT[name](before[rows], strong, histogram[rows]).clamp(0, 1)
    return table


def _tables_of_all(
    names: tuple[str, ...], choice: Tensor, strength: Tensor, histogram: Tensor, table: Tensor
) -> Tensor:
    """``point_tables`` from this table on: every operation of every sample, of which one is taken."""
    for slot in range(choice.shape[1]):
        made = [POINT[name](table, strength[:, slot, None, None], histogram) for name in names]
        taken = choice[:, slot].clamp(max=len(names)).view(1, -1, 1, 1).expand(1, *table.shape)
        table = torch.stack([*made, table]).clamp(0, 1).gather(0, taken)[0]
    return table


def geometric_maps(names: tuple[str, ...], choice: Tensor, strength: Tensor, size: tuple[int, int]) -> Tensor:
    """Compose geometric operations into affine maps.

    At strength 1: rotation by 30 degrees, shear 0.3, translation by 0.3 of the side, magnification by 1.4.

    Args:
        names: Operations out of ``GEOMETRIC``.
        choice: As in ``point_tables``.
        strength: How strong, (B, slots), in [-1, 1].
        size: Height and width in pixels.

    Returns:
        (B, 2, 3) in the convention of ``affine_grid``.
    """
    theta = identity(len(choice), choice.device)
    number = torch.arange(len(names), device=choice.device)
    for slot in range(choice.shape[1]):
        amounts = torch.where(choice[:, slot, None] == number, strength[:, slot, None], 0.0).T.contiguous()
        theta = compose(theta, _one_map(dict(zip(names, amounts, strict=True)), strength[:, slot], size))
    return theta


def _one_map(amount: dict[str, Tensor], like: Tensor, size: tuple[int, int]) -> Tensor:
    """The map of one slot; an operation that is not chosen has amount 0."""
    zero, (height, width) = torch.zeros_like(like), size
    angle = amount.get("rotate", zero) * _ROTATE
    # The map leads from the view to the image, so magnification shrinks it; strengths of s and -s undo each other.
    zoom = torch.exp(-amount.get("scale", zero) * _SCALE)
    ratio = height / width  # coordinates run from -1 to 1 on both axes, so a turn must be made in pixels
    shear_x, shear_y = amount.get("shear_x", zero) * _SHEAR, amount.get("shear_y", zero) * _SHEAR
    top = [zoom * angle.cos(), (shear_x - angle.sin()) * ratio, 2 * _TRANSLATE * amount.get("translate_x", zero)]
    low = [(shear_y + angle.sin()) / ratio, zoom * angle.cos(), 2 * _TRANSLATE * amount.get("translate_y", zero)]
    return torch.stack([torch.stack(top, 1), torch.stack(low, 1)], 1)


def identity(batch: int, device: torch.device) -> Tensor:
    """Affine maps that change nothing, (B, 2, 3)."""
    return torch.eye(2, 3, device=device).expand(batch, 2, 3)


def compose(outer: Tensor, inner: Tensor) -> Tensor:
    """The map that applies ``inner`` to a place of the last view and then ``outer``; both (B, 2, 3)."""
    linear = outer[:, :, :2]
    moved = linear @ inner
    return torch.cat([moved[:, :, :2], moved[:, :, 2:] + outer[:, :, 2:]], 2)


def warp(images: Tensor, theta: Tensor, pad: Pad) -> Tensor:
    """Resample float images (B, C, H, W) by affine maps (B, 2, 3), bilinearly."""
    # corners are those of the image, not centers of pixels: halving a view and doubling it again gives the same places
    grid = F.affine_grid(theta.to(images), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode=_GRID_PAD[pad], align_corners=False)


def move(images: Tensor, dx: Tensor, dy: Tensor, mirror: Tensor, pad: Pad) -> Tensor:
    """Shift by whole pixels and mirror, exactly and in one gather.

    Column j of the result shows column j + dx of the image, or W - 1 - j + dx where mirrored; rows likewise by dy.

    Args:
        images: (B, C, H, W), any type.
        dx: Columns, int64 (B,).
        dy: Rows, int64 (B,).
        mirror: bool (B,).
        pad: What lies outside: ``"reflect"`` the image mirrored at its edge, ``"edge"`` its edge, ``"zero"`` 0.
    """
    column, column_inside = source(images.shape[3], dx, mirror, pad)
    row, row_inside = source(images.shape[2], dy, torch.zeros_like(mirror), pad)
    moved = pick(images, row, column)
    if pad != "zero":
        return moved
    return moved * (row_inside[:, None, :, None] & column_inside[:, None, None, :]).to(moved.dtype)


def pick(images: Tensor, row: Tensor, column: Tensor) -> Tensor:
    """Pixels of images (B, C, H, W) at these rows (B, H) and columns (B, W)."""
    batch, channels, _, width = images.shape
    # one flat gather for both axes: exact for any type, also for masks
    place = (row[:, :, None] * width + column[:, None, :]).view(batch, 1, -1).expand(batch, channels, -1)
    return images.reshape(batch, channels, -1).gather(2, place).view_as(images)


def source(length: int, shift: Tensor, mirror: Tensor, pad: Pad) -> tuple[Tensor, Tensor]:
    """Which place of an axis each place of the result shows, (B, length), and whether that is inside."""
    place = torch.arange(length, device=shift.device).expand(len(shift), length)
    place = torch.where(mirror[:, None], length - 1 - place, place) + shift[:, None]
    inside = (place >= 0) & (place < length)
    # The edge itself is repeated, as grid_sample does with these corners: moved and resampled views have one border.
    if pad == "reflect":
        place = torch.where(place < 0, -1 - place, place)
        place = torch.where(place >= length, 2 * length - 1 - place, place)
    return place.clamp(0, length - 1), inside


def cutout_sides(size: tuple[int, int], side: Tensor, center_y: Tensor, center_x: Tensor) -> tuple[Tensor, Tensor]:
    """Rows (B, H) and columns (B, W) of one square per sample, as bools; side and centers in pixels, (B,)."""
    found = []
    for length, center in zip(size, (center_y, center_x), strict=True):
        place = torch.arange(length, device=side.device) + 0.5
        found.append((place - center[:, None]).abs() < side[:, None] / 2)
    return found[0], found[1]
