"""Views of image batches with parameters of their own for each sample: tensor operations on their device, or OpenCV."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor

from selftrain.data.base.random import uniform
from selftrain.data.views import image_cv, image_device, image_ops
from selftrain.data.views.base import Normalizing, Statistic, check_name, one_by_one, unit_range
from selftrain.data.views.presets import Strong, Weak
from selftrain.types import View

_WEAK_DRAWS, _CUTOUT_DRAWS = 7, 3


class TensorViews(Normalizing):
    """Views of image batches, made as a whole on the batch's device.

    Bytes of 64 x 64 pixels and more on the CPU are changed one by one with OpenCV, which is faster: the same views but
    for the rounding of values to bytes (at most 1/255).

    ``View.theta`` (B, 2, 3) tells the geometry of weak and strong views in the convention of ``affine_grid``; it is
    ``None`` for plain ones. Images (B, C, H, W) are uint8 or floats in [0, 1]; point operations quantize floats to 256
    levels. The global random state is neither read nor changed.

    Args:
        weak: Recipe of weak views.
        strong: Recipe of strong views.
        mean: Subtracted after scaling to [0, 1]: one number, or one per channel; ``None``: 0 until ``fitted``. Cutout
            fills with it.
        std: Divided by; ``None``: 1 until ``fitted``.
        seed: Key of the draws.
        shared: Whether strong views (also ``"strong2"``) have the shift, mirror and crop of the weak one, and only add
            to it, so that its pseudo-labels fit them pixel by pixel; ``None``: where targets have places (masks,
            joints), as streams ask for. False: every view draws its own.
        compile: On accelerators make one program of what is done there (``torch.compile``), for each size of batch.

    Raises:
        ValueError: on a call, for an unknown view or inputs that are no images.
    """

    on_workers = False
    keys_on_host = True
    per_channel = (-1, 1, 1)

    def __init__(
        self,
        weak: Weak | None = None,
        strong: Strong | None = None,
        *,
        mean: Statistic = None,
        std: Statistic = None,
        seed: int = 0,
        shared: bool | None = None,
        compile: bool = False,
    ) -> None:
        super().__init__(mean, std, seed)
        self.compile, self.shared = compile, shared
        self.weak, self.strong = weak or Weak(), strong or Strong()

    @property
    def mirrors(self) -> bool:
        """Whether weak and strong views may be mirror images."""
        return self.weak.flip

    def placed(self, wanted: bool) -> TensorViews:
        """The same maker, whose weak and strong views have one geometry where ``wanted`` and nothing else is set."""
        if self.shared is not None or not wanted:
            return self
        changed = copy.copy(self)
        changed.shared = True
        return changed

    def _uniform(self, name: str, index: Tensor, epoch: int) -> Tensor:
        """The draws of a view; the first ones are those of its geometry."""
        least, most = self.strong.numbers
        # how many operations is drawn only where it varies: others have the draws that they always had
        operations = 2 * most + int(least < most)
        draws = uniform(self.seed, epoch, index, name, _WEAK_DRAWS + operations + _CUTOUT_DRAWS)
        if self.shared and name.startswith("strong"):
            draws[:, :_WEAK_DRAWS] = uniform(self.seed, epoch, index, "weak", _WEAK_DRAWS)
        return draws

    @torch.no_grad()
    def __call__(self, name: str, images: Tensor, index: Tensor, epoch: int) -> View:
        """One view of images (B, C, H, W), uint8 or float in [0, 1]; see ``ViewMaker``."""
        recipe = check_name(name)
        if images.ndim != 4:
            raise ValueError(f"inputs have shape {tuple(images.shape)}, not (B, C, H, W); use TableViews for tables")
        if recipe == "plain":
            return View(self.normalize(images if images.dtype == torch.uint8 else unit_range(images)))
        if not image_ops.by_rows(images.device):
            drawn = self._drawn(name, recipe, index, epoch, (images.shape[2], images.shape[3])).to(images.device)
            make = image_device.strong if recipe == "strong" else image_device.weak
            return View((image_device.program(make) if self.compile else make)(self, images, drawn), drawn.theta)
        images = self.spread_out(images)
        draws = self._uniform(name, index, epoch)
        geometry = _geometry(self.weak, draws, (images.shape[2], images.shape[3]))
        if recipe == "strong":
            return self._strong(images, draws, geometry)
        if one_by_one(images):
            return View(self.normalize(image_cv.warp(images, geometry.theta, self.weak.pad)), geometry.theta)
        if self.weak.crop is None:
            images = image_ops.move(images, geometry.dx, geometry.dy, geometry.mirror, self.weak.pad)
            return View(self.normalize(self.narrowed(images)), geometry.theta)
        x = image_ops.warp(unit_range(images), geometry.theta, self.weak.pad)
        return View(self.normalize(self.narrowed(x)), geometry.theta)

    def _drawn(self, name: str, recipe: str, index: Tensor, epoch: int, size: tuple[int, int]) -> image_device.Drawn:
        """What is drawn for each sample, where ``index`` is."""
        draws = self._uniform(name, index, epoch)
        geometry = _geometry(self.weak, draws, size)
        pad = self.strong.pad if recipe == "strong" else self.weak.pad
        choice, strength, theta = self._operations(draws, geometry.theta, size)
        theta = theta if recipe == "strong" else geometry.theta
        row, row_inside = image_ops.source(size[0], geometry.dy, torch.zeros_like(geometry.mirror), pad)
        column, column_inside = image_ops.source(size[1], geometry.dx, geometry.mirror, pad)
        side, center_y, center_x = draws[:, -_CUTOUT_DRAWS:].unbind(1)
        side = side * self.strong.cutout * min(size)
        hole = image_ops.cutout_sides(size, side, center_y * size[0], center_x * size[1])
        inside = row_inside.float(), column_inside.float()
        return image_device.Drawn(theta, row, column, inside, choice, strength, hole)

    def _operations(self, draws: Tensor, theta: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
        """Strong operations, (B, slots), how strong, and the map of each sample with those that are geometric."""
        recipe, chosen = self.strong, draws[:, _WEAK_DRAWS:-_CUTOUT_DRAWS]
        kinds = len(recipe.point) + len(recipe.geometric) + 1  # the last one does nothing
        least, most = recipe.numbers
        choice = torch.floor(chosen[:, :most] * kinds).long()
        strength = (2 * chosen[:, most : 2 * most] - 1) * recipe.magnitude
        if least < most:
            count = least + torch.floor(chosen[:, 2 * most :] * (most - least + 1))  # (B, 1)
            choice = choice.masked_fill(torch.arange(most, device=choice.device) >= count, kinds - 1)
        if recipe.geometric:
            maps = image_ops.geometric_maps(recipe.geometric, choice - len(recipe.point), strength, size)
            theta = image_ops.compose(theta, maps)
        return choice, strength, theta

    def filling(self, x: Tensor) -> Tensor:
        """What cutout fills normalized images ``x`` with, broadcastable to them."""
        return self.normalize(torch.tensor(0.5) if self.mean is None else self.mean.to(x.device)).to(x)

    def _strong(self, images: Tensor, draws: Tensor, geometry: _Geometry) -> View:
        recipe, size = self.strong, (images.shape[2], images.shape[3])
        choice, strength, theta = self._operations(draws, geometry.theta, size)
        # Values before places: the tables are of the image's own levels, and resampling makes values between them.
        if one_by_one(images):
            x = image_cv.warp(images, theta, recipe.pad, _tables_of_rows(images, recipe.point, choice, strength))
            return View(self._cut_out(self.normalize(x), draws[:, -_CUTOUT_DRAWS:]), theta)
        x = _apply_points(images, recipe.point, choice, strength)
        if recipe.geometric or self.weak.crop is not None:
            x = image_ops.warp(x, theta, recipe.pad)
        else:
            # without a turn or a crop nothing is resampled: moving whole pixels is exact and cheaper
            x = image_ops.move(x, geometry.dx, geometry.dy, geometry.mirror, recipe.pad)
        return View(self._cut_out(self.normalize(self.narrowed(x)), draws[:, -_CUTOUT_DRAWS:]), theta)

    def _cut_out(self, x: Tensor, draws: Tensor) -> Tensor:
        """The normalized images (B, C, H, W) without a square each, which is filled with the mean."""
        if self.strong.cutout == 0:
            return x
        height, width = x.shape[2:]
        side = draws[:, 0] * self.strong.cutout * min(height, width)
        rows, columns = image_ops.cutout_sides((height, width), side, draws[:, 1] * height, draws[:, 2] * width)
        # the mean, which is 0 after normalization: a hole says nothing instead of "black"
        image_cv.fill(x, rows, columns, self.filling(x))
        return x


@dataclass(frozen=True)
class _Geometry:
    """Draws of the weak recipe: whole-pixel shifts, mirrors, and the map of everything."""

    dx: Tensor
    dy: Tensor
    mirror: Tensor
    theta: Tensor


def _geometry(weak: Weak, draws: Tensor, size: tuple[int, int]) -> _Geometry:
    """The weak recipe's geometry for each sample; every option has draws of its own."""
    height, width = size
    mirror = (draws[:, 0] < 0.5) & weak.flip
    dx, dy = _whole_pixels(draws[:, 1], weak.shift, width), _whole_pixels(draws[:, 2], weak.shift, height)
    # in units of affine_grid, where a side runs from -1 to 1: a pixel is 2 / side
    sign = torch.where(mirror, -1.0, 1.0)
    shift = torch.stack([2 * dx / width, 2 * dy / height], 1)
    scale, center = _crop(weak.crop, draws[:, 3:_WEAK_DRAWS])
    flipped = torch.stack([sign, torch.ones_like(sign)], 1) * scale
    return _Geometry(dx, dy, mirror, torch.cat([torch.diag_embed(flipped), (center + shift)[:, :, None]], 2))


def _whole_pixels(draw: Tensor, share: float, side: int) -> Tensor:
    """Whole pixels, each from -k to k equally often, k = floor(share * side)."""
    # whole pixels: half of one would blur every view a little
    # 0.29 * 100 is 28.999999999999996, of which int() makes 28.
    most = int(share * side + 1e-6)
    return torch.floor(draw * (2 * most + 1)).long() - most


def _crop(crop: tuple[float, float] | None, draws: Tensor) -> tuple[Tensor, Tensor]:
    """Half sides (B, 2) and centers (B, 2), x before y, of a random crop in coordinates from -1 to 1."""
    if crop is None:
        return torch.ones_like(draws[:, :2]), torch.zeros_like(draws[:, :2])
    area = crop[0] + (crop[1] - crop[0]) * draws[:, 0]
    # Log-uniform: wide and tall crops are equally likely.
    ratio = (4 / 3) ** (2 * draws[:, 1] - 1)
    # Sides end at 1: a flat crop of nearly all of the area would be wider than the image.
    half = torch.stack([area * ratio, area / ratio], 1).sqrt().clamp_max(1)
    return half, (2 * draws[:, 2:] - 1) * (1 - half)


def _apply_points(images: Tensor, names: tuple[str, ...], choice: Tensor, strength: Tensor) -> Tensor:
    """Point operations by one look-up, giving floats in [0, 1]."""
    if not names or not choice.shape[1]:
        return unit_range(images)
    # 256 levels: all operations on values are then one table a sample and one gather
    levels = images if images.dtype == torch.uint8 else torch.round(images * 255)
    levels = levels.flatten(2).long()
    # a table's own operations have the numbers below len(names); everything else changes no value
    used = _needs_histogram(names, choice)
    histogram = image_ops.histogram(levels, used)
    return image_ops.point_tables(names, choice, strength, histogram).gather(2, levels).view(images.shape)


def _tables_of_rows(images: Tensor, names: tuple[str, ...], choice: Tensor, strength: Tensor) -> dict[int, Tensor]:
    """The tables (C, 256) of those images that have a point operation."""
    rows = (choice < len(names)).any(1).nonzero()[:, 0]
    choice, strength = choice[rows], strength[rows]
    histogram = image_cv.histogram(images, rows, _needs_histogram(names, choice))
    return dict(zip(rows.tolist(), image_ops.point_tables(names, choice, strength, histogram), strict=True))


def _needs_histogram(names: tuple[str, ...], choice: Tensor) -> Tensor:
    """Whether an operation of each sample, number ``choice`` (B, slots) of ``names``, asks for the histogram, (B,)."""
    asks = torch.tensor([name in image_ops.OF_HISTOGRAM for name in names] + [False])
    return asks[choice.clamp_max(len(names))].any(1)
