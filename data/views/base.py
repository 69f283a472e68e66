"""What a maker of views is, and the normalization that most of them share.

A view maker is called as ``views(name, images, index, epoch)``. Names: ``"plain"`` (only scaled and normalized),
``"weak"``, ``"strong"``, and numbered ones such as ``"weak2"``: the same recipe with independent draws.
"""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

from selftrain.data.base.samples import Samples
from selftrain.data.base.statistics import in_least_precision, statistics
from selftrain.types import Recorded, View

Statistic = float | Sequence[float] | Tensor | None
_FULL = (0.0, 1.0)
_LARGE = 64 * 64  # pixels from which on the CPU changes images one by one
_DIM = 0.25  # images that use a smaller part of the range between black and white have a range of their own
_NAME = re.compile(r"(plain|(?:weak|strong)[0-9]*)")
_Views = TypeVar("_Views", bound="Normalizing")


class ViewMaker(Protocol):
    """What streams need of a maker of views.

    Attributes:
        on_workers: True when loader processes should call it (one-by-one pipelines on the CPU); False when the main
            process should, on the training device.

    A maker whose geometry is not always known, or costs time, has a method ``placed(wanted)``: the same maker, whose
    views tell their geometry where ``wanted``; it raises ``ValueError`` where that is not known. All others are taken
    at their word: a view without ``theta`` and ``places`` is not moved.

    A maker that has an attribute ``keys_on_host`` which is true gets the sample numbers on the CPU, wherever they are.

    A maker that loader processes call may make its views in two parts: ``begun``, with the arguments of a call, there,
    and ``finished``, of the view's ``x``, on the training device.

    A maker that has an attribute ``mirrors`` which is true may show mirror images.

    A maker that has an attribute ``exact`` which is true gets rows, series and clouds in double precision where the set
    has them so.
    """

    on_workers: bool

    def __call__(self, name: str, images: Tensor, index: Tensor, epoch: int) -> View:
        """One view of a batch.

        Args:
            name: Name of the view.
            images: Inputs (B, ...) as sets hand them out.
            index: Sample numbers, the keys of the draws, (B,), on the device of ``images``.
            epoch: Epoch number, a key as well.

        Returns:
            Float inputs of the same shape on the same device, normalized, and their geometry where it is known.
        """
        ...

    def seeded(self, seed: int) -> ViewMaker:
        """The same maker with another key."""
        ...

    def fitted(self, samples: Samples) -> ViewMaker:
        """The same maker with the normalization of ``samples`` where none was given."""
        ...


def in_two_parts(maker: ViewMaker) -> bool:
    """Whether a maker's views are what ``finished`` makes of what ``begun`` gives."""
    # of a class that derives from ours and has a call of its own, the call is what counts
    calls = next((kind for kind in type(maker).__mro__ if "__call__" in vars(kind)), object)
    return "begun" in vars(calls)


def check_name(name: str) -> str:
    """The recipe a view's name asks for: ``"plain"``, ``"weak"`` or ``"strong"``."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"no view {name!r}; known are plain, weak, strong and numbered ones such as weak2")
    return name.rstrip("0123456789")


def unit_range(images: Tensor) -> Tensor:
    """Images as floats in [0, 1]; double precision stays."""
    if images.dtype == torch.float64:
        return images
    return images.to(torch.float32).div_(255) if images.dtype == torch.uint8 else images.to(torch.float32)


def one_by_one(images: Tensor) -> bool:
    """Whether images (B, C, H, W) are faster one by one: large ones in bytes on the CPU."""
    large = images.ndim == 4 and math.prod(images.shape[2:]) >= _LARGE
    return large and images.dtype == torch.uint8 and images.device.type == "cpu"


_there: Any = WeakIdKeyDictionary()  # by number of the host: its copies by device and format


def _beside(value: Tensor, x: Tensor) -> Tensor:
    """A mean or standard deviation in the format and on the device of ``x``, copied there once."""
    if value.device == x.device and value.dtype == x.dtype:
        return value
    copies = _there.setdefault(value, {})
    if (x.device, x.dtype) not in copies:
        copies[x.device, x.dtype] = value.to(x)
    found: Tensor = copies[x.device, x.dtype]
    return found


class Normalizing(Recorded):
    """Base of makers that subtract a mean and divide by a standard deviation, each a number or one per channel.

    Attributes:
        mean, std: ``None``: not known yet.
        seed: Key of the draws.
        per_channel: Shape that mean and std are kept in, so that they lie beside the inputs; ``None``: as given.
        beside: Shape that they get to lie beside the inputs, if that is another.
        categorical: Columns whose numbers are codes, which are not normalized.
        span: Of images: darkest and brightest value, where they use less than a quarter of [0, 1] (``fitted`` finds
            out), else (0, 1). Weak and strong views change images between these: a brightness that is drawn for
            the full range would wipe out a dim picture.
    """

    per_channel: tuple[int, ...] | None = None
    beside: tuple[int, ...] | None = None
    categorical: Sequence[int] = ()
    span: tuple[float, float] = _FULL

    def __init__(self, mean: Statistic, std: Statistic, seed: int) -> None:
        self.mean, self.std = in_least_precision(self._shaped(mean), self._shaped(std))
        self.seed = seed

    def seeded(self: _Views, seed: int) -> _Views:
        """The same recipes with another key."""
        # A copy and no new object: makers that derive from ours have settings that nobody knows here.
        changed = copy.copy(self)
        changed.seed = seed
        return changed

    def fitted(self: _Views, samples: Samples) -> _Views:
        """The same recipes, normalizing by the channels of ``samples`` where no mean or std was given."""
        if self.mean is not None and self.std is not None:
            return self
        # only where one is missing: a normalization that was given stays, also on other data
        mean, std, low, high = statistics(samples, self.categorical)
        changed = copy.copy(self)
        darkest, brightest = float(low.min()), float(high.max())
        if self.per_channel is not None and 0 < brightest - darkest < _DIM:
            changed.span = darkest, brightest
        given = (
            self._shaped(mean) if self.mean is None else self.mean,
            self._shaped(std) if self.std is None else self.std,
        )
        changed.mean, changed.std = in_least_precision(*given)
        return changed

    @property
    def exact(self) -> bool:
        """Whether inputs must be centered in double precision: their spread is small beside their mean."""
        return any(value is not None and value.dtype == torch.float64 for value in (self.mean, self.std))

    def normalize(self, x: Tensor) -> Tensor:
        """Subtract the mean and divide by the standard deviation, where there are any; the result is float32.

        Bytes are scaled to [0, 1] first.
        """
        if one_by_one(x) and not self.exact:
            return self._normalized_one_by_one(x)
        # what is made here is written into: new memory costs a batch more than the sums
        own = x.dtype == torch.uint8
        x = unit_range(x) if own else x
        # only where it matters: other accelerators than CUDA's have no double precision, and it takes time
        x = x.double() if self.exact and x.device.type != "mps" else x.float()
        mean, std = (value if value is None else _beside(value, x) for value in (self.mean, self.std))
        if self.beside is not None:
            mean, std = (value if value is None else value.reshape(self.beside) for value in (mean, std))
        # a gray picture by the numbers of three colors becomes one of three
        own = own and all(v is None or torch.broadcast_shapes(v.shape, x.shape) == x.shape for v in (mean, std))
        if mean is not None:
            x = x.sub_(mean) if own else x - mean
        if std is not None:
            x = x.div_(std) if own else x / std
        return x.float()

    def _normalized_one_by_one(self, images: Tensor) -> Tensor:
        """``normalize`` for large images of bytes: each stays in the processor's cache for all of it."""
        result = torch.empty_like(images, dtype=torch.float32)
        scale = 1 / 255 if self.std is None else 1 / (255 * self.std)
        shift = None if self.mean is None else self.mean if self.std is None else self.mean / self.std
        for image, place in zip(images, result, strict=True):
            place.copy_(image).mul_(scale)
            if shift is not None:
                place.sub_(shift)
        return result

    def spread_out(self, images: Tensor) -> Tensor:
        """Images, those of a small ``span`` as floats from 0 (darkest) to 1 (brightest)."""
        if self.span == _FULL:
            return images
        low, high = self.span
        return ((unit_range(images) - low) / (high - low)).clamp(0, 1).float()

    def narrowed(self, images: Tensor) -> Tensor:
        """What ``spread_out`` gave in its own range again: bytes, or floats in [0, 1]."""
        if self.span == _FULL:
            return images
        x = unit_range(images)
        low, high = self.span
        return (x.double() if self.exact and x.device.type != "mps" else x) * (high - low) + low

    def _shaped(self, value: Statistic) -> Tensor | None:
        # double precision, or the mean of seconds since 1970 would be off by a minute
        given = None if value is None else torch.as_tensor(value, dtype=torch.float64)
        return given if given is None or self.per_channel is None else given.reshape(self.per_channel)
