"""Series as images of time and frequency, and their sides as multiples of a patch."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from selftrain.types import plain_settings


@plain_settings
def log_spectrogram(
    series: Tensor,
    *,
    window: int = 64,
    hop: int = 32,
    bins: int | None = None,
    rate: float = 1.0,
    floor: float | None = None,
) -> Tensor:
    """Logarithm of the power of each frequency over time.

    Frames are weighted by a periodic Hann window h and lie inside the series: nothing is padded, and up to ``hop - 1``
    samples at the end are in no frame. The power of frequency k is ``|sum_n h_n x_n e^(-2 pi i k n / window)|^2 /
    sum_n h_n^2``, so white noise of variance v has the mean power v at every frequency. Gradients flow to the series
    where the power is above the floor.

    With ``bins``, powers are summed with the triangular weights of ``mel_filters``.

    Args:
        series: (N, C, L), float, L >= window.
        window: Samples a frame, >= 2.
        hop: Samples from one frame to the next, >= 1.
        bins: Mel bands F; ``None``: all frequencies from 0 to half of the rate, F = window // 2 + 1.
        rate: Samples a second, > 0; places the mel bands, and is refused without them.
        floor: Power below which everything counts as silence, > 0; ``None``: a millionth of the mean power of the
            series (of all its channels), so that volts and microvolts give the same picture, but for a constant.

    Returns:
        (N, C, F, T) with T = 1 + (L - window) // hop; natural logarithms, lowest frequency first.

    Raises:
        ValueError: a setting out of its range, inputs that are no float series, or series shorter than the window.

    Examples:
        >>> log_spectrogram(torch.randn(8, 2, 1000), window=64, hop=16, bins=24, rate=100.0).shape
        torch.Size([8, 2, 24, 59])
    """
    for word, value, least in (("window", window, 2), ("hop", hop, 1), ("bins", bins, 1)):
        if value is not None and value < least:
            raise ValueError(f"{word} is {value}; it must be at least {least}")
    for word, number in (("rate", rate), ("floor", floor)):
        if number is not None and not number > 0:
            raise ValueError(f"{word} is {number}; it must be above 0")
    if bins is None and rate != 1:
        raise ValueError(f"rate is {rate}, but it only places mel bands; give bins as well, or leave it out")
    if series.ndim != 3 or not series.is_floating_point():
        shape = tuple(series.shape)
        raise ValueError(f"series have shape {shape} and type {series.dtype}; give floats (N, C, L)")
    if series.shape[2] < window:
        raise ValueError(f"series are {series.shape[2]} samples long, the window {window}; give a shorter window")
    weights = torch.hann_window(window, device=series.device, dtype=series.dtype)
    # stft takes two axes at most; centered frames would begin in a mirror image of the series.
    frames = torch.stft(series.flatten(0, 1), window, hop, window=weights, center=False, return_complex=True)
    power = (frames.real.square() + frames.imag.square()) / weights.square().sum()
    if bins is not None:
        power = mel_filters(bins, window, rate).to(power) @ power
    power = power.unflatten(0, series.shape[:2])
    # The floor before the logarithm: silence would be minus infinity, and its gradient too.
    mean = power.detach().mean((1, 2, 3), keepdim=True)
    silence = 1e-6 * torch.where(mean > 0, mean, 1.0) if floor is None else torch.full_like(mean, floor)
    return torch.maximum(power, silence).log()


def mel_filters(bins: int, window: int, rate: float) -> Tensor:
    """Weights of the frequencies in each mel band.

    Bands are triangles over frequency of height 1; the ends of a band are the centers of its neighbors. Centers are
    evenly spaced in HTK's mel, m(f) = 2595 log10(1 + f / 700), between 0 and half of the rate. (Slaney's mel is linear
    below 1000 Hz; areas are not made equal.)

    Args:
        bins: Bands, >= 1.
        window: Samples a frame.
        rate: Samples a second.

    Returns:
        (bins, window // 2 + 1), in [0, 1], double precision.

    Raises:
        ValueError: a band so narrow that no frequency of the frame lies in it.
    """
    highest = 2595 * math.log10(1 + rate / 2 / 700)
    mels = torch.linspace(0, highest, bins + 2, dtype=torch.float64)
    edges = 700 * (10 ** (mels / 2595) - 1)
    low, center, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    frequency = torch.arange(window // 2 + 1, dtype=torch.float64) * rate / window
    weights = torch.minimum((frequency - low) / (center - low), (high - frequency) / (high - center)).clamp_min(0)
    # Such a band is silent whatever the series: refused, as it would be a feature without any content.
    empty = (weights.sum(1) == 0).nonzero()
    if len(empty):
        band = int(empty[0])
        raise ValueError(
            f"bins is {bins}, but band {band}, from {edges[band]:.4g} to {edges[band + 2]:.4g}, holds no frequency "
            f"of a window of {window} (they are {rate / window:.4g} apart); give fewer bins or a longer window"
        )
    return weights


@plain_settings
def fit_grid(x: Tensor, patch: int | tuple[int, int]) -> Tensor:
    """Crop or pad the last two axes to the nearest multiples of a patch.

    The ends give way (highest frequencies, latest frames): what is over is cut off, what is missing repeats the last
    row or column. Halfway between two multiples it is padded; at least one patch remains. Gradients flow to ``x``.

    Args:
        x: (..., F, T), neither 0.
        patch: Height and width of a patch, each >= 1, or one number for both.

    Returns:
        (..., F', T'), sides that the patch divides.

    Raises:
        ValueError: a patch below 1 or an empty side.

    Examples:
        >>> fit_grid(torch.randn(8, 2, 33, 61), (16, 8)).shape
        torch.Size([8, 2, 32, 64])
    """
    sides = (patch, patch) if isinstance(patch, int) else patch
    if min(sides) < 1:
        raise ValueError(f"patch is {patch}; its sides must be at least 1")
    if x.ndim < 2 or 0 in x.shape[-2:]:
        raise ValueError(f"inputs have shape {tuple(x.shape)}; give (..., F, T) with both sides at least 1")
    for axis, side in zip((-2, -1), sides, strict=True):
        # In whole numbers: round() goes to the even one at halves, so that some would be cropped and some padded.
        length = max(1, (2 * x.shape[axis] + side) // (2 * side)) * side
        x = x.index_select(axis, torch.arange(length, device=x.device).clamp_max(x.shape[axis] - 1))
    return x
