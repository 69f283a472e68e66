"""Views of images on an accelerator: what is drawn for each sample is found on the host, and sent in one go.

A kernel takes as long to be asked for as a small one takes to run. The dozens of numbers of a sample (its map, where
its rows and columns come from, its operations) are therefore made where they cost nothing to ask for, and the device is
left with what needs the pixels: histogram, tables, one look-up, one resampling. ``TensorViews(compile=True)`` makes one
program of it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from selftrain.data.base.reading import to_device
from selftrain.data.views import image_ops
from selftrain.data.views.base import unit_range

if TYPE_CHECKING:
    from selftrain.data.views.image import TensorViews


class Drawn(NamedTuple):
    """What is drawn for each sample of a view.

    Attributes:
        theta: Its map, (B, 2, 3).
        row, column: Where its rows and columns come from if whole pixels are moved, (B, H) and (B, W).
        inside: Which of them lie in the image, as float (B, H) and (B, W).
        choice, strength: Of its point operations, (B, slots).
        hole: Rows and columns that are cut out, (B, H) and (B, W).
    """

    theta: Tensor
    row: Tensor
    column: Tensor
    inside: tuple[Tensor, Tensor]
    choice: Tensor
    strength: Tensor
    hole: tuple[Tensor, Tensor]

    def to(self, device: torch.device) -> Drawn:
        """The same on a device, in one copy."""
        return self if device == self.theta.device else self.read(to_device(self.bytes(), device, non_blocking=True))

    def _parts(self) -> list[Tensor]:
        # those of wide numbers first: each then begins at a multiple of its width
        return [self.row, self.column, self.choice, self.theta, *self.inside, self.strength, *self.hole]

    def bytes(self) -> Tensor:
        """All in a row."""
        return torch.cat([part.contiguous().flatten().view(torch.uint8) for part in self._parts()])

    def read(self, packed: Tensor) -> Drawn:
        """What ``bytes`` of one like this holds, without a copy."""
        parts = self._parts()
        pieces = packed.split([part.numel() * part.element_size() for part in parts])
        row, column, choice, theta, *rest = (
            piece.view(part.dtype).view(part.shape) for piece, part in zip(pieces, parts, strict=True)
        )
        return Drawn(theta, row, column, (rest[0], rest[1]), choice, rest[2], (rest[3], rest[4]))


def weak(views: TensorViews, images: Tensor, drawn: Drawn) -> Tensor:
    """Weak views (B, C, H, W) of images."""
    images = views.spread_out(images)
    if views.weak.crop is not None:
        x = image_ops.warp(unit_range(images), drawn.theta, views.weak.pad)
    else:
        x = _moved(images, drawn, views.weak.pad)
    return views.normalize(views.narrowed(x))


def strong(views: TensorViews, images: Tensor, drawn: Drawn) -> Tensor:
    """Strong views (B, C, H, W) of images."""
    recipe = views.strong
    x = views.spread_out(images)
    if recipe.point and recipe.numbers[1]:
        levels = (x if x.dtype == torch.uint8 else torch.round(x * 255)).flatten(2).long()
        histogram = image_ops.histogram(levels)
        tables = image_ops.point_tables(recipe.point, drawn.choice, drawn.strength, histogram)
        x = tables.gather(2, levels).view(images.shape)
    if recipe.geometric or views.weak.crop is not None:
        x = image_ops.warp(unit_range(x), drawn.theta, recipe.pad)
    else:
        x = _moved(x, drawn, recipe.pad)
    x = views.normalize(views.narrowed(x))
    if recipe.cutout == 0:
        return x
    rows, columns = drawn.hole
    hole = (rows[:, :, None] & columns[:, None, :]).unsqueeze(1)
    # the mean is 0 after normalization
    return x.masked_fill(hole, 0.0) if views.mean is not None else torch.where(hole, views.filling(x), x)


def _moved(images: Tensor, drawn: Drawn, pad: image_ops.Pad) -> Tensor:
    moved = image_ops.pick(images, drawn.row, drawn.column)
    if pad != "zero":
        return moved
    rows, columns = drawn.inside
    return moved * (rows[:, None, :, None] * columns[:, None, None, :]).to(moved.dtype)


@lru_cache
def program(function: Callable[..., Tensor]) -> Callable[..., Any]:
    """A function compiled for each size of batch that it meets."""
    compiled: Callable[..., Any] = torch.compile(function, dynamic=False)
    return compiled
