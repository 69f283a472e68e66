"""Histograms of directions and gradients by ratio, against loops over pixels."""

import math

import numpy as np
import pytest
import torch

from selftrain.pretrain.operators import gradient_ratio, hog


def pictures(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def at(image, row, column):
    """Pixel of an image whose border goes on outwards."""
    height, width = image.shape
    return image[min(max(row, 0), height - 1), min(max(column, 0), width - 1)]


def plain_hog(image, cell, bins):
    """Histograms (bins, rows, columns) of one channel, pixel by pixel."""
    height, width = image.shape
    found = np.zeros((bins, height // cell, width // cell))
    for row in range(height // cell * cell):
        for column in range(width // cell * cell):
            across = sum(k * (at(image, row + d, column + 1) - at(image, row + d, column - 1)) for d, k in SMOOTH)
            down = sum(k * (at(image, row + 1, column + d) - at(image, row - 1, column + d)) for d, k in SMOOTH)
            place = math.degrees(math.atan2(down, across)) % 180 / (180 / bins) - 0.5
            low, share = math.floor(place), place - math.floor(place)
            for b, part in ((low % bins, 1 - share), ((low + 1) % bins, share)):
                found[b, row // cell, column // cell] += part * math.hypot(across, down)
    return found / np.maximum(np.sqrt((found**2).sum(0)), 1e-9)


SMOOTH = ((-1, 1), (0, 2), (1, 1))


def plain_ratio(image, radius, offset):
    """Gradient by ratio of one channel, pixel by pixel."""
    found = np.zeros(image.shape)
    full, low, high = range(-radius, radius + 1), range(-radius, 1), range(radius + 1)
    for row in range(image.shape[0]):
        for column in range(image.shape[1]):

            def mean(rows, columns, row=row, column=column):
                return np.mean([at(image, row + r, column + c) for r in rows for c in columns]) + offset

            across = math.log(mean(full, low) / mean(full, high))
            down = math.log(mean(low, full) / mean(high, full))
            found[row, column] = math.sqrt(across**2 + down**2)
    return found


def waves(degrees, size=16):
    """An image whose gradients all point in one direction, counted from the columns towards the rows."""
    rows, columns = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    angle = math.radians(degrees)
    return torch.sin(0.7 * (math.cos(angle) * columns + math.sin(angle) * rows))[None, None]


# -- histograms --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("cell", "bins"), [(1, 9), (2, 9), (3, 4), (4, 2)])
def test_histograms_are_those_of_loops_over_pixels(cell, bins):
    images = pictures(2, 3, 9, 8)
    found = hog(images, cell, bins)
    assert found.shape == (2, 3 * bins, 9 // cell, 8 // cell)
    for sample in range(2):
        for channel in range(3):
            own = found[sample, channel * bins : (channel + 1) * bins]
            assert np.allclose(own, plain_hog(images[sample, channel].numpy(), cell, bins))


@pytest.mark.parametrize(("degrees", "first", "second"), [(10, 0, 0), (90, 4, 4), (170, 8, 8), (40, 1, 2), (0, 8, 0)])
def test_directions_fall_into_the_bins_next_to_them(degrees, first, second):
    inner = hog(waves(degrees), 2, 9)[0, :, 1:-1, 1:-1].mean((1, 2))
    assert {first, second} == set(inner.topk(2 if first != second else 1).indices.tolist())
    if first != second:  # the border of two bins: as much for each
        assert inner[first].item() == pytest.approx(inner[second].item(), rel=0.05)
    assert torch.allclose(hog(-waves(degrees), 2), hog(waves(degrees), 2), atol=1e-5)  # unsigned


def test_histograms_do_not_see_brightness_and_contrast():
    images = pictures(2, 1, 8, 8)
    assert torch.allclose(hog(5 * images + 3, 2), hog(images, 2))
    lengths = hog(images, 2).norm(dim=1)
    assert torch.allclose(lengths, torch.ones_like(lengths))


def test_flat_cells_stay_zero_and_rounding_errors_short():
    assert hog(torch.full((1, 2, 6, 6), 0.3), 3).abs().max() == 0
    assert hog(0.3 + 1e-7 * pictures(1, 1, 6, 6), 3).norm(dim=1).max() < 0.01
    assert hog(pictures(1, 1, 1, 1), 1).abs().max() == 0  # a single pixel


# -- gradients by ratio ------------------------------------------------------------------------------------------------
def test_ratios_are_those_of_loops_over_pixels():
    images = 0.2 + pictures(2, 2, 7, 6)
    found = gradient_ratio(images, (1, 3, 9), 0.05)  # the last window is wider than the image
    assert found.shape == (2, 6, 7, 6)
    for sample in range(2):
        for channel in range(2):
            for n, radius in enumerate((1, 3, 9)):
                expected = plain_ratio(images[sample, channel].numpy(), radius, 0.05)
                assert np.allclose(found[sample, 3 * channel + n], expected)


@pytest.mark.parametrize(("gain", "change"), [(2, 0.007), (5, 0.012)])
def test_ratios_hardly_see_a_gain(gain, change):
    images = 0.2 + pictures(16, 1, 28, 28)
    one, other = gradient_ratio(images), gradient_ratio(gain * images)
    assert ((other - one).norm() / one.norm()).item() == pytest.approx(change, abs=1.5e-3)
    assert (gradient_ratio(images + 1) - one).norm() / one.norm() > 0.3  # a shift is something else


def test_ratios_of_an_edge_and_of_nothing():
    assert gradient_ratio(torch.full((1, 2, 9, 7), 0.3)).abs().max() == 0
    assert gradient_ratio(torch.zeros(1, 1, 9, 7)).abs().max() == 0
    edge = torch.tensor([1.0, 1, 1, 4, 4, 4]).expand(1, 1, 5, 6)
    found = gradient_ratio(edge, (1,), 1e-6)[0, 0, 2]
    assert torch.allclose(found, torch.tensor([0, 0, 1, 1, 0, 0]) * torch.tensor([1, 1, 2.5, 4 / 2.5, 1, 1]).log())
    assert torch.allclose(gradient_ratio(edge.mT.contiguous(), (1,), 1e-6)[0, 0, :, 2], found)


def test_images_with_negative_values_are_shifted_one_by_one_and_others_are_not():
    images = 0.3 + pictures(2, 2, 8, 8)
    normalized = images.clone()
    normalized[0, 1] = (normalized[0, 1] - 0.7) / 0.3
    found, plain = gradient_ratio(normalized), gradient_ratio(images)
    others = [(0, 0), (1, 0), (1, 1)]
    assert all(torch.equal(found[b, 3 * c : 3 * c + 3], plain[b, 3 * c : 3 * c + 3]) for b, c in others)
    shifted = (normalized[0, 1] - normalized[0, 1].min())[None, None]
    assert torch.allclose(found[0, 3:6], gradient_ratio(shifted)[0])
    assert found.isfinite().all()
    assert gradient_ratio(torch.full((1, 1, 4, 4), -2.0)).abs().max() == 0


def test_radii_and_offset_change_the_ratios():
    images = pictures(2, 1, 8, 8)
    maps = gradient_ratio(images, (1, 2))
    assert torch.equal(maps[:, :1], gradient_ratio(images, (1,)))
    assert not torch.allclose(maps[:, :1], maps[:, 1:])
    assert gradient_ratio(images, (1, 2), 1.0).mean() < 0.6 * maps.mean()


# -- both --------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("operator", [lambda x: hog(x, 2), gradient_ratio], ids=["hog", "ratio"])
def test_maps_have_no_gradient_and_are_exact_in_any_precision(operator):
    images = pictures(1, 1, 8, 8).requires_grad_()
    assert not operator(images).requires_grad
    assert operator(images).dtype == torch.float64
    assert operator(images.half()).dtype == torch.float32
    assert torch.allclose(operator(images.half()).double(), operator(images.half().double()), atol=1e-4)
    whole = (images.detach() * 255).to(torch.uint8)
    assert torch.equal(operator(whole), operator(whole.float()))
    assert torch.allclose(operator(images.expand(3, -1, -1, -1))[2], operator(images)[0])  # one by one
    assert operator(torch.zeros(0, 1, 8, 8)).shape[0] == 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: hog(torch.zeros(8, 8), 2), r"shape \(8, 8\)"),
        (lambda: hog(torch.zeros(1, 1, 8, 8), 0), "cell is 0"),
        (lambda: hog(torch.zeros(1, 1, 8, 4), 5), "cell is 5; images of 8 x 4"),
        (lambda: hog(torch.zeros(1, 1, 8, 8), 2, 1), "bins is 1"),
        (lambda: gradient_ratio(torch.zeros(1, 8, 8)), r"shape \(1, 8, 8\)"),
        (lambda: gradient_ratio(torch.zeros(1, 0, 8, 8)), r"shape \(1, 0, 8, 8\)"),
        (lambda: gradient_ratio(torch.zeros(1, 1, 8, 8), ()), r"radii is \(\)"),
        (lambda: gradient_ratio(torch.zeros(1, 1, 8, 8), (1, 0)), r"radii is \(1, 0\)"),
        (lambda: gradient_ratio(torch.zeros(1, 1, 8, 8), (1,), 0.0), "offset is 0.0"),
    ],
)
def test_what_cannot_be_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
