"""Spectrograms against numpy's transform and closed forms; sides that a patch divides."""

import math

import numpy as np
import pytest
import torch

from selftrain.data import fit_grid, log_spectrogram
from selftrain.data.views.spectrogram import mel_filters

GENERATOR = torch.Generator().manual_seed(0)
SERIES = torch.randn(3, 2, 500, generator=GENERATOR, dtype=torch.float64)


def sine(frequency, length=1000, rate=1.0, phase=0.3):
    """One series (1, 1, L)."""
    return torch.sin(2 * math.pi * frequency / rate * torch.arange(length) + phase).view(1, 1, -1)


@pytest.mark.parametrize(("window", "hop"), [(64, 32), (50, 7), (33, 33)])
def test_powers_are_those_of_numpy(window, hop):
    x = log_spectrogram(SERIES, window=window, hop=hop)
    weights = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
    count = 1 + (500 - window) // hop
    assert x.shape == (3, 2, window // 2 + 1, count)
    for t in range(count):
        frame = SERIES[2, 1, t * hop : t * hop + window].numpy() * weights
        power = np.abs(np.fft.rfft(frame)) ** 2 / (weights**2).sum()
        assert np.allclose(x[2, 1, :, t], np.log(np.maximum(power, 1e-6)))


@pytest.mark.parametrize("k", [1, 5, 20, 31])
def test_a_sine_peaks_at_its_frequency(k):
    x = log_spectrogram(sine(k / 64))
    assert (x.argmax(2) == k).all()
    # Hann: |X_k| = A sum(h) / 2 for a whole number of periods, two bins away only leakage of rounding
    if 2 < k < 30:
        peak = math.log((64 / 2 / 2) ** 2 / (64 * 3 / 8))
        assert torch.allclose(x[0, 0, k], torch.tensor(peak), atol=1e-3)
        assert (x[0, 0, [k - 2, k + 2]] < peak - 10).all()


def test_a_sine_peaks_in_the_mel_band_around_it():
    rate, bins = 16000.0, 40
    top = 2595 * math.log10(1 + 8000 / 700)
    for band in (3, 17, 36):
        center = 700 * (10 ** (top * (band + 1) / (bins + 1) / 2595) - 1)
        x = log_spectrogram(sine(center, 16000, rate), window=1024, hop=512, bins=bins, rate=rate)
        assert x.shape == (1, 1, bins, 30)
        assert (x.argmax(2) == band).all()


def test_noise_has_its_variance_as_power():
    noise = 3 * torch.randn(200, 1, 640, generator=GENERATOR)
    power = log_spectrogram(noise, hop=64).exp().mean((0, 1, 3))
    assert abs(power / 9 - 1).max() < 0.1


def test_bands_are_centered_where_the_formula_says():
    rate, bins, window = 22050.0, 20, 2048
    weights = mel_filters(bins, window, rate)
    assert weights.shape == (bins, window // 2 + 1)
    assert weights.min() == 0
    assert 0.9 < weights.amax(1).min() <= weights.max() <= 1
    top = 2595 * math.log10(1 + rate / 2 / 700)
    centers = 700 * (10 ** (np.arange(bins + 2) / (bins + 1) * top / 2595) - 1)
    peaks = weights.argmax(1).numpy() * rate / window
    assert abs(peaks - centers[1:-1]).max() <= rate / window
    frequencies = np.arange(window // 2 + 1) * rate / window
    for band in range(bins):
        expected = np.interp(frequencies, centers[band : band + 3], [0, 1, 0], left=0, right=0)
        assert np.allclose(weights[band], expected, atol=1e-9)
    inside = (frequencies >= centers[1]) & (frequencies <= centers[-2])
    assert np.allclose(weights.sum(0)[inside], 1)  # neighbors share out each frequency between them


def test_bands_sum_powers():
    plain = log_spectrogram(SERIES, window=128, floor=1e-12)
    mel = log_spectrogram(SERIES, window=128, bins=10, rate=8000.0)
    expected = np.einsum("bf,ncft->ncbt", mel_filters(10, 128, 8000.0).numpy(), plain.exp().numpy())
    assert np.allclose(mel, np.log(expected))
    other = log_spectrogram(SERIES, window=128, bins=10, rate=4000.0)
    assert (mel - other).abs().max() > 0.1


def test_silence_is_the_floor():
    assert torch.allclose(log_spectrogram(torch.zeros(1, 1, 64)), torch.tensor(math.log(1e-6)))
    assert torch.allclose(log_spectrogram(torch.zeros(1, 1, 64), floor=0.5), torch.tensor(math.log(0.5)))
    loud = log_spectrogram(SERIES, floor=1e-12)
    assert torch.equal(log_spectrogram(SERIES, floor=0.5), loud.clamp_min(math.log(0.5)))


def test_a_unit_adds_a_constant():
    tone = torch.sin(torch.arange(500, dtype=torch.float64) / 3)  # with frequencies far below its mean power
    series = torch.stack([SERIES[0], tone.expand(2, 500)])
    for unit in (1e-6, 1e6):
        ours = log_spectrogram(unit * series) - 2 * math.log(unit)
        assert torch.allclose(ours, log_spectrogram(series), atol=1e-6)


def test_gradients_reach_the_series():
    series = SERIES.clone().requires_grad_()
    log_spectrogram(series, window=100, hop=50).sum().backward()
    assert torch.isfinite(series.grad).all()
    assert (series.grad[..., 1:] != 0).all()


def test_types_stay():
    assert log_spectrogram(SERIES.float(), bins=4, rate=10.0).dtype == torch.float32
    assert log_spectrogram(SERIES, bins=4, rate=10.0).dtype == torch.float64


# --- sides of a grid


@pytest.mark.parametrize(
    ("sides", "patch", "expected"),
    [
        ((33, 61), 16, (32, 64)),
        ((33, 61), (11, 7), (33, 63)),
        ((24, 40), (16, 16), (32, 48)),  # halfway: padded
        ((3, 5), (8, 2), (8, 6)),  # at least one patch
        ((129, 1), (2, 1), (130, 1)),
        ((128, 64), 16, (128, 64)),
    ],
)
def test_sides_become_the_nearest_multiples(sides, patch, expected):
    x = torch.randn(2, 3, *sides, generator=GENERATOR)
    y = fit_grid(x, patch)
    assert y.shape == (2, 3, *expected)
    common = [min(a, b) for a, b in zip(sides, expected, strict=True)]
    assert torch.equal(y[..., : common[0], : common[1]], x[..., : common[0], : common[1]])
    grown = [max(0, b - a) for a, b in zip(sides, expected, strict=True)]
    padded = np.pad(x.numpy(), ((0, 0), (0, 0), (0, grown[0]), (0, grown[1])), "edge")
    assert np.array_equal(y, padded[..., : expected[0], : expected[1]])


def test_gradients_flow_through_the_grid():
    x = torch.ones(1, 1, 3, 5, requires_grad=True)
    fit_grid(x, (2, 4)).sum().backward()
    assert x.grad[0, 0].tolist() == [[1, 1, 1, 1, 0], [1, 1, 1, 1, 0], [2, 2, 2, 2, 0]]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: log_spectrogram(SERIES, window=1), "window is 1"),
        (lambda: log_spectrogram(SERIES, hop=0), "hop is 0"),
        (lambda: log_spectrogram(SERIES, bins=0), "bins is 0"),
        (lambda: log_spectrogram(SERIES, bins=4, rate=0), "rate is 0"),
        (lambda: log_spectrogram(SERIES, rate=100.0), "rate is 100.0, but it only places mel bands"),
        (lambda: log_spectrogram(SERIES, floor=0), "floor is 0"),
        (lambda: log_spectrogram(SERIES[0]), r"series have shape \(2, 500\)"),
        (lambda: log_spectrogram(SERIES.short()), "type torch.int16"),
        (lambda: log_spectrogram(SERIES, window=512), "series are 500 samples long, the window 512"),
        (lambda: log_spectrogram(SERIES, bins=80, rate=16000.0), "bins is 80, but band 0, from 0 to"),
        (lambda: fit_grid(SERIES, 0), "patch is 0"),
        (lambda: fit_grid(SERIES, (4, -1)), r"patch is \(4, -1\)"),
        (lambda: fit_grid(SERIES[..., :0], 4), r"inputs have shape \(3, 2, 0\)"),
        (lambda: fit_grid(SERIES[0, 0], 4), r"inputs have shape \(500,\)"),
    ],
)
def test_wrong_arguments_are_named(make, words):
    with pytest.raises(ValueError, match=words):
        make()
