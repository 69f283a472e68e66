"""Views of multi-channel series: moved and stretched in time, scaled, with noise, and with parts left out."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from selftrain.data.base.random import normal, uniform
from selftrain.data.views.base import Normalizing, Statistic, check_name
from selftrain.types import View

Ends = Literal["edge", "wrap"]


class SeriesViews(Normalizing):
    """Views of series (B, C, L), standardized per channel; the counterpart of ``TensorViews``.

    Plain: standardized and clipped. Weak: moved in time, then multiplied by one factor, then Gaussian noise. Strong:
    moved, a stretch of random length resampled to the whole length, a factor for each channel, more noise; then a run
    of all channels, and single channels, are set to 0, which is the mean. Noise and factors come after clipping, so
    weak and strong views can exceed ``clip``. ``View.theta`` is ``None``: there is no geometry of an image.

    NaN is what is not there: behind the end of a series that is shorter than others, and in gaps. It stays NaN in every
    view, for networks that leave it out. Moves, stretches and runs act between the first sample and the last that is
    there, in shares of that length; a sample between one that is there and one that is not is the nearer of both.

    Noise, factors and stretches are the jittering, scaling and cropping of Um et al. 2017 (arXiv:1706.00527). Differs:
    factors are uniform and never negative (in their code N(1, 0.1^2)), and a stretch is resampled to the whole length.

    Args:
        clip: Largest absolute value after standardization, > 0 (5 for ECG); ``None``: values stay.
        shift: Largest move as a share of the length, in whole samples, in [0, 1); weak and strong.
        pad: What a move brings in: ``"edge"`` (the first or last sample) or ``"wrap"`` (the other end).
        gain: The factor of a weak view is uniform in [1 - gain, 1 + gain]; in [0, 1).
        weak_jitter: Standard deviation of the weak noise, in standard deviations of the channel.
        crop: Smallest and largest length of the stretch of a strong view as a share of the length, in (0, 1].
        scaling: The factor of each channel of a strong view is uniform in [1 - scaling, 1 + scaling]; in [0, 1).
        strong_jitter: As ``weak_jitter``, for strong views.
        mask: Longest run of a strong view that is set to 0, as a share of the length, in [0, 1].
        drop: Probability that a channel of a strong view is set to 0, in [0, 1]; one channel always stays.
        mean: Subtracted, one number or one per channel; ``None``: 0 until ``fitted``.
        std: Divided by; ``None``: 1 until ``fitted``.
        seed: Key of the draws.

    Raises:
        ValueError: a setting out of its range; on a call, for an unknown view or inputs that are no float series.

    Examples:
        >>> views = SeriesViews(clip=5.0, crop=(0.5, 1.0), mask=0.3)
        >>> views("strong", torch.randn(8, 12, 500), torch.arange(8), epoch=0).x.shape
        torch.Size([8, 12, 500])
    """

    on_workers = False
    beside = (-1, 1)

    def __init__(
        self,
        *,
        clip: float | None = None,
        shift: float = 0.1,
        pad: Ends = "edge",
        gain: float = 0.1,
        weak_jitter: float = 0.03,
        crop: tuple[float, float] = (0.6, 1.0),
        scaling: float = 0.2,
        strong_jitter: float = 0.1,
        mask: float = 0.25,
        drop: float = 0.1,
        mean: Statistic = None,
        std: Statistic = None,
        seed: int = 0,
    ) -> None:
        super().__init__(mean, std, seed)
        self.clip, self.shift, self.pad, self.gain, self.weak_jitter = clip, shift, pad, gain, weak_jitter
        self.crop, self.scaling, self.strong_jitter, self.mask, self.drop = crop, scaling, strong_jitter, mask, drop
        for word in ("shift", "gain", "scaling"):
            if not 0 <= getattr(self, word) < 1:
                raise ValueError(f"{word} is {getattr(self, word)}; it must be in [0, 1)")
        for word in ("mask", "drop"):
            if not 0 <= getattr(self, word) <= 1:
                raise ValueError(f"{word} is {getattr(self, word)}; it must be in [0, 1]")
        for word in ("weak_jitter", "strong_jitter"):
            if not getattr(self, word) >= 0:
                raise ValueError(f"{word} is {getattr(self, word)}; it must be 0 or more")
        if self.clip is not None and not self.clip > 0:
            raise ValueError(f"clip is {self.clip}; it must be above 0, or None")
        if not 0 < self.crop[0] <= self.crop[1] <= 1:
            raise ValueError(f"crop is {self.crop}; give smallest and largest share of the length, in (0, 1]")
        if self.pad not in ("edge", "wrap"):
            raise ValueError(f"pad is {self.pad!r}; known are edge, wrap")

    @torch.no_grad()
    def __call__(self, name: str, images: Tensor, index: Tensor, epoch: int) -> View:
        """One view of series (B, C, L), float, in units of their own; see ``ViewMaker``."""
        recipe = check_name(name)
        if images.ndim != 3:
            shape = f"inputs have shape {tuple(images.shape)}, not (B, C, L)"
            raise ValueError(f"{shape}; TensorViews are for images, TableViews for tables")
        if not images.is_floating_point():
            raise ValueError(f"series are of type {images.dtype}; convert them to float, in the unit they are meant in")
        x = self.normalize(images)
        if recipe == "plain":
            return View(x)
        length = _lengths(x)
        x = self._placed(x, length, uniform(self.seed, epoch, index, f"{name}/place", 3), recipe == "strong")
        noise = normal(self.seed, epoch, index, f"{name}/jitter", x.shape[1] * x.shape[2]).view_as(x)
        if recipe == "weak":
            factor = _around_one(uniform(self.seed, epoch, index, f"{name}/gain", 1), self.gain)
            return View(x * factor + self.weak_jitter * noise)
        factor = _around_one(uniform(self.seed, epoch, index, f"{name}/gain", x.shape[1]), self.scaling)
        # noise before parts are left out: zeros that carry noise would not be missing
        x = x * factor + self.strong_jitter * noise
        hidden = _hidden_run(uniform(self.seed, epoch, index, f"{name}/mask", 2), self.mask, length, x.shape[2])
        draws = uniform(self.seed, epoch, index, f"{name}/drop", x.shape[1])
        # never the channel with the largest draw: a series of zeros has no class
        dropped = ((draws < self.drop) & (draws < draws.amax(1, keepdim=True)))[..., None]
        return View(x.masked_fill((hidden | dropped) & ~x.isnan(), 0.0))

    def normalize(self, x: Tensor) -> Tensor:
        """Standardize, then cut at ``clip``."""
        x = super().normalize(x)
        return x if self.clip is None else x.clamp(-self.clip, self.clip)

    def _placed(self, x: Tensor, length: Tensor, draws: Tensor, stretched: bool) -> Tensor:
        """Series moved in time and, if asked, stretched; ``length`` (B,), ``draws`` (B, 3)."""
        # 0.29 * 100 is 28.999999999999996, of which a mere floor makes 28.
        most = (self.shift * length.double() + 1e-6).long()
        move = torch.floor(draws[:, 0] * (2 * most + 1)).long() - most
        low, high = self.crop if stretched else (1.0, 1.0)
        share = low + (high - low) * draws[:, 1]
        return resampled(x, move, draws[:, 2] * (1 - share) * (length - 1), share, self.pad, length)


def resampled(x: Tensor, move: Tensor, start: Tensor, step: Tensor, pad: Ends, length: Tensor | None = None) -> Tensor:
    """Series at the places ``start + step * i`` of themselves moved, linearly between samples.

    Args:
        x: Series (B, C, L); NaN where nothing is.
        move: Sample i of a moved series is sample i + move, (B,), integers.
        start: First place, (B,), in samples.
        step: Distance of places, (B,), in samples; 1 and a start of 0 give whole samples as they are.
        pad: What lies beyond the ends: ``"edge"`` or ``"wrap"``.
        length: Samples of each series, (B,); what is behind them is NaN. ``None``: L of all.

    Returns:
        (B, C, L).
    """
    samples = torch.arange(x.shape[2], device=x.device)
    ends = torch.full_like(move, x.shape[2])[:, None] if length is None else length[:, None]
    places = start[:, None] + step[:, None] * samples
    low = places.floor()
    # whole steps give a share of exactly 0, so that a mere move changes no value
    share = (places - low)[:, None].to(x)
    first = low.long() + move[:, None]
    between = [at % ends if pad == "wrap" else at.clamp_min(0).minimum(ends - 1) for at in (first, first + 1)]
    before, after = (x.gather(2, at[:, None].expand_as(x)) for at in between)
    found = torch.lerp(before, after, share)
    if length is None:
        return found
    # beside a gap the nearer sample decides: a line from or to nothing would widen every gap
    found = found.where(~found.isnan(), torch.where(share < 0.5, before, after))
    return found.masked_fill((samples >= ends)[:, None], torch.nan)


def _lengths(x: Tensor) -> Tensor:
    """Samples up to the last one that any channel has, (B,), of series (B, C, L)."""
    there = (~x.isnan()).any(1)
    return (there * torch.arange(1, x.shape[2] + 1, device=x.device)).amax(1)


def _around_one(draws: Tensor, spread: float) -> Tensor:
    """Factors from 1 - spread to 1 + spread, (B, C or 1, 1)."""
    return (1 + spread * (2 * draws - 1))[..., None]


def _hidden_run(draws: Tensor, share: float, length: Tensor, samples: int) -> Tensor:
    """Which samples lie in a run of 0 to ``share`` of the length, (B, 1, L); every length and place equally likely."""
    length = length[:, None]
    most = (share * length.double() + 1e-6).long()
    run = torch.floor(draws[:, :1] * (most + 1))
    start = torch.floor(draws[:, 1:] * (length - run + 1))
    at = torch.arange(samples, device=draws.device)
    return ((at >= start) & (at < start + run))[:, None]
