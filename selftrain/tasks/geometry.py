"""Where a view shows what: maps of places between a picture and its views, for whatever has a place."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from selftrain.types import OUTSIDE, View

Pairs = Sequence[tuple[int, int]]


def squared_map(theta: Tensor) -> Tensor:
    """Affine maps (B, 2, 3) -> the same maps (B, 3, 3)."""
    return torch.cat([theta, theta.new_tensor([[[0, 0, 1]]]).expand(len(theta), 1, 3)], 1)


def map_of(view: View) -> Tensor:
    """Its map, or that of a view that is not moved."""
    return torch.eye(2, 3, device=view.x.device).expand(len(view.x), 2, 3) if view.theta is None else view.theta


def grid_of_places(view: View, size: tuple[int, ...], like: Tensor, whole: bool = False) -> Tensor:
    """Place of a target that each cell of a view shows, (B, H, W, 2); outside of [-1, 1] where it shows none.

    ``whole``: of targets that are no more than their pixels.
    """
    source, destination = vars(view).get("ends", (None, view))
    if destination.places is not None:
        dense = destination.places
        if whole and destination.pixels is not None:
            # What was said of a view's pixel is said of the place that it shows, not of the one that masks have there.
            shown = destination.places.where(is_inside(destination.pixels)[..., None], OUTSIDE)
            dense = destination.pixels if source is None else shown
        grid = _resized(dense, size).to(like)
    else:
        # align_corners as in the views: with the other convention labels lie up to half a pixel off their pictures.
        shape = [len(view.x), 1, *size]
        grid = F.affine_grid(map_of(destination).to(like), shape, align_corners=False)
    if source is None:
        return grid
    if view.theta is None:
        return _seen(source, grid)
    there = F.affine_grid(view.theta.to(like), [len(view.x), 1, *size], align_corners=False)
    # What lies outside of the image is padding, also where both views show it.
    return torch.where(is_inside(grid)[..., None], there, OUTSIDE)


def carry_places(view: View, place: Tensor) -> Tensor:
    """Places of a target (B, K, 2) in a view; ``OUTSIDE`` for those that it does not show."""
    source, destination = vars(view).get("ends", (None, view))
    if source is not None:  # first into the image
        if source.places is None:
            place = _mapped(map_of(source), place)
        else:
            known = is_inside(source.places)[..., None].to(place)
            layers = torch.cat([source.places.to(place) * known, known], -1).movedim(-1, 1)
            found = F.grid_sample(layers, place[:, None], mode="bilinear", align_corners=False)[:, :, 0].movedim(1, -1)
            share = found[..., 2:]
            place = torch.where(share >= 0.25, found[..., :2] / share.clamp(min=0.25), OUTSIDE)
    return _seen(destination, place)


def _seen(view: View, place: Tensor) -> Tensor:
    """Places of the image (B, ..., 2) in a view; ``OUTSIDE`` for those that it does not show."""
    if view.places is not None:
        return _inverse(view.places.to(place), place.flatten(1, -2)).view_as(place)
    found = place
    if view.theta is not None:
        linear, offset = view.theta[:, :, :2].to(place), view.theta[:, :, 2:].to(place)
        # theta leads from the view to the original, so the way into the view is its inverse.
        found = torch.linalg.solve(linear, place.flatten(1, -2).transpose(1, 2) - offset).transpose(1, 2).view_as(place)
    return torch.where((is_inside(place) & is_inside(found))[..., None], found, OUTSIDE)


def is_mirrored(view: View) -> Tensor:
    """Which samples a view shows as in a mirror, (B,): turning it would not lead back to the target."""
    source, destination = vars(view).get("ends", (None, view))
    if source is not None:
        return is_mirrored(source) ^ is_mirrored(destination)
    if view.places is None:
        theta = map_of(view)
        return theta[:, 0, 0] * theta[:, 1, 1] < theta[:, 0, 1] * theta[:, 1, 0]
    known = is_inside(view.places)
    right, down = _slope(view.places, known, 2), _slope(view.places, known, 1)
    area = right[..., 0] * down[..., 1] - right[..., 1] * down[..., 0]
    return (area.sign() * known).sum((1, 2)) < 0  # by most pixels, as some pipelines fold


def other_side(pairs: Pairs | None, groups: int) -> list[int]:
    """For each class or joint the number of the one that it becomes in a mirror."""
    order = list(range(groups))
    paired = [number for pair in pairs or () for number in pair]
    if any(len(pair) != 2 for pair in pairs or ()) or len({*paired}) < len(paired) or not {*paired} <= {*order}:
        raise ValueError(f"pairs is {pairs}; give pairs of numbers from 0 to {groups - 1}, each in one pair")
    for left, right in pairs or ():
        order[left], order[right] = right, left
    return order


def _mapped(theta: Tensor, place: Tensor) -> Tensor:
    return place @ theta[:, :, :2].to(place).transpose(1, 2) + theta[:, :, 2].to(place)[:, None]


def is_inside(place: Tensor) -> Tensor:
    """Which places (..., 2) lie in the picture; a hair beyond its edge counts."""
    return place.abs().amax(-1) <= 1 + 1e-5


def _resized(places: Tensor, size: tuple[int, ...]) -> Tensor:
    """Places (B, H, W, 2) for a view of another size."""
    if places.shape[1:3] == tuple(size):
        return places
    known = is_inside(places)[..., None].to(places)
    layers = torch.cat([places * known, known], -1).movedim(-1, 1)
    small = F.interpolate(layers, size, mode="bilinear", align_corners=False).movedim(1, -1)
    return torch.where(small[..., 2:] >= 0.5, small[..., :2] / small[..., 2:].clamp(min=0.5), OUTSIDE)


def _inverse(places: Tensor, wanted: Tensor) -> Tensor:
    """Where a view of ``places`` (B, H, W, 2) shows the places ``wanted`` (B, N, 2): from -1 to 1, else ``OUTSIDE``.

    Newton's method: from a pixel that shows a place nearby, by the slopes of the map there to the next. The last step
    goes by the slopes on the side of the pixel where the place lies, as a map may have kinks.
    """
    batch, height, width = places.shape[:3]
    known = is_inside(places)
    number = torch.arange(height * width, device=places.device).expand(batch, -1).where(known.flatten(1), -1)
    pixel = number.new_zeros(wanted.shape[:2]) - 1
    for step in (16, 8, 4, 2, 1):  # a view that shows the image smaller leaves cells out: then any pixel nearby
        rows, columns = -(-height // step), -(-width // step)
        share = places.new_tensor([columns, rows])
        most = share.long() - 1
        cells, asked = (((p + 1) / 2 * share).long().clamp_min(0).minimum(most) for p in (places.flatten(1, 2), wanted))
        table = number.new_full((batch, rows * columns), -1)
        # the largest number, so that it is one and the same in every run
        table.scatter_reduce_(1, cells[..., 1] * columns + cells[..., 0], number, "amax")
        found = table.gather(1, asked[..., 1] * columns + asked[..., 0])
        pixel = torch.where(found >= 0, found, pixel)
    nothing = pixel < 0
    pixel = pixel.clamp_min(0)
    # here: place, and its slopes to the right and down, over both neighbors and to each
    across, along = _slopes(places, known, 2), _slopes(places, known, 1)
    here = torch.cat([places, *across, *along], -1).flatten(1, 2)

    def at(pixel: Tensor) -> tuple[Tensor, ...]:
        found: tuple[Tensor, ...] = here.gather(1, pixel[..., None].expand(-1, -1, 14)).unflatten(-1, (7, 2)).unbind(-2)
        return found

    for _ in range(4):
        place, right, _, _, down, _, _ = at(pixel)
        move = _solved(wanted - place, right, down)
        column, row = pixel % width + move[..., 0], pixel // width + move[..., 1]
        nearest = column.round().clamp(0, width - 1).long() + row.round().clamp(0, height - 1).long() * width
        last, pixel = pixel, torch.where(number.gather(1, nearest) >= 0, nearest, pixel)
    # more than once, as which side it is may change with the slopes
    strides = last.new_tensor([1, width])
    for turn in range(3):
        place, _, ahead, behind, _, below, above = at(last)
        back = move < 0
        sides = torch.where(back[..., :1], behind, ahead), torch.where(back[..., 1:], above, below)
        move = _solved(wanted - place, *sides)
        # of two pixels that show one place, and not the one that is wanted, it is the one beyond
        off = ((wanted - place).abs().amax(-1, keepdim=True) > 1e-5) & (move.abs() > 1e-3)
        flat = torch.stack([side.abs().amax(-1) <= 1e-6 for side in sides], -1) & off
        if turn < 2:
            shift = torch.where(flat, torch.where(back, -strides, strides), 0).sum(-1)
            shifted = (last + shift).clamp(0, height * width - 1)
            last = torch.where(number.gather(1, shifted) >= 0, shifted, last)
            move = torch.where(flat.any(-1, keepdim=True), torch.where(back, -1.0, 1.0), move)
    column, row = last % width + move[..., 0], last // width + move[..., 1]
    # the last step starts where the one before led, unless the map has an edge or a fold there
    near = (torch.stack([column - last % width, row - last // width]).abs() <= 1).all(0)
    found = torch.stack([(2 * column + 1) / width - 1, (2 * row + 1) / height - 1], -1)
    there = near & ~nothing & is_inside(wanted) & is_inside(found)
    return torch.where(there[..., None], found, OUTSIDE)


def _solved(off: Tensor, right: Tensor, down: Tensor) -> Tensor:
    """Steps to the right and down, (..., 2), that lead as far as ``off`` by these slopes."""
    area = right[..., 0] * down[..., 1] - right[..., 1] * down[..., 0]
    area = torch.where(area.abs() > 1e-12, area, 1e-12)
    across = off[..., 0] * down[..., 1] - off[..., 1] * down[..., 0]
    return torch.stack([across, right[..., 0] * off[..., 1] - right[..., 1] * off[..., 0]], -1) / area[..., None]


def _slopes(places: Tensor, known: Tensor, axis: int) -> tuple[Tensor, Tensor, Tensor]:
    """Change of the place from one pixel to the next, over both neighbors, to the next one, and from the one before."""
    whole = _slope(places, known, axis)
    ahead, behind = known.roll(-1, axis), known.roll(1, axis)
    ahead.select(axis, -1).fill_(False)
    behind.select(axis, 0).fill_(False)
    step = (ahead & known)[..., None], (behind & known)[..., None]
    there = places.roll(-1, axis) - places, places - places.roll(1, axis)
    return whole, torch.where(step[0], there[0], whole), torch.where(step[1], there[1], whole)


def _slope(places: Tensor, known: Tensor, axis: int) -> Tensor:
    """Change of the place from one pixel to the next along an axis, (B, H, W, 2), by the neighbors that are known."""
    ahead, behind = places.roll(-1, axis), places.roll(1, axis)
    is_ahead, is_behind = known.roll(-1, axis), known.roll(1, axis)
    is_ahead.select(axis, -1).fill_(False)
    is_behind.select(axis, 0).fill_(False)
    high, low = torch.where(is_ahead[..., None], ahead, places), torch.where(is_behind[..., None], behind, places)
    return (high - low) / (is_ahead.to(places) + is_behind.to(places)).clamp(min=1)[..., None]


def enlarged(values: Tensor, size: Sequence[int]) -> Tensor:
    """Values (B, C, h, w) at a larger ``size``, bilinearly; all others as they are. Gradients flow through."""
    if values.dim() != 4 or tuple(values.shape[2:]) == tuple(size) or len(size) != 2:
        return values
    if values.shape[2] > size[0] or values.shape[3] > size[1]:
        return values
    return F.interpolate(values, tuple(size), mode="bilinear", align_corners=False)


def resample(layers: Tensor, grid: Tensor, mode: str) -> Tensor:
    """Layers (B, C, H, W) at the places of a grid; 0 where it shows none."""
    return F.grid_sample(layers, grid.to(layers), mode=mode, padding_mode="zeros", align_corners=False)
