"""Samples as tiles: images, rows, series, clouds, and what is decided of them."""

import pytest
import torch

from selftrain.tensorboard.tiles import captioned, grid, tiles, with_labels


def colors(tile):
    """The colors of a tile (3, h, w) that are not white."""
    rows = tile.flatten(1).T.mul(255).round().int()
    return {tuple(row) for row in rows.tolist() if row != [255, 255, 255]}


def test_small_images_are_enlarged_by_whole_factors():
    image = torch.zeros(1, 1, 8, 8)
    image[0, 0, 0, 0] = 1
    tile = tiles(image)[0]
    assert tile.shape == (3, 56, 56)
    assert (tile[:, :7, :7] == 1).all()
    assert tile[:, 7:].max() == tile[:, :, 7:].max() == 0


@pytest.mark.parametrize(
    ("size", "expected"),
    [((60, 100), (60, 100)), ((100, 200), (56, 112)), ((300, 300), (112, 112)), ((20, 30), (40, 60))],
)
def test_large_images_are_shrunk_and_keep_their_shape(size, expected):
    assert tiles(torch.rand(1, 3, *size)).shape[-2:] == expected


def test_images_outside_of_0_to_1_are_scaled_to_their_own_range():
    images = torch.stack([torch.linspace(-5, 5, 64), torch.linspace(0.4, 0.6, 64), torch.full((64,), 7.0)])
    first, second, flat = tiles(images.view(3, 1, 8, 8))
    assert (first.min(), first.max()) == (0, 1)
    assert (second.min(), second.max()) == (pytest.approx(0.4, abs=0.01), pytest.approx(0.6, abs=0.01))
    assert flat.max() == 0  # and no division by zero


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_any_number_of_channels_can_be_looked_at(channels):
    """Three or more: the first three as red, green, blue; fewer: the first one in gray."""
    image = torch.zeros(1, channels, 8, 8)
    image[0, 0, :4] = 1
    if channels > 1:
        image[0, 1, 4:] = 1
    tile = tiles(image)[0]
    assert tile[:, 0, 0].tolist() == ([1, 0, 0] if channels >= 3 else [1, 1, 1])
    assert tile[:, -1, 0].tolist() == ([0, 1, 0] if channels >= 3 else [0, 0, 0])


def test_inputs_that_carry_a_gradient_low_precision_or_no_numbers_are_shown():
    x = torch.rand(1, 1, 8, 8, requires_grad=True).bfloat16()
    assert tiles(x).shape == (1, 3, 56, 56)
    assert torch.isfinite(tiles(torch.full((2, 5), float("nan")))).all()
    assert tiles(torch.zeros(0, 1, 8, 8)).shape[0] == tiles(torch.zeros(3, 1, 2, 2, 2)).shape[0] == 0


def test_rows_of_a_table_are_bars_up_and_down_from_zero():
    (tile,) = tiles(torch.tensor([[1.0, -1.0, 0.0, 0.5]]))
    assert tile.shape == (3, 56, 56)
    inked = (tile < 1).any(0)
    heights = inked.sum(0)[[0, 14, 28, 42]].tolist()
    assert heights == [28, 28, 0, 14]
    assert inked[:28, 0].all()
    assert inked[28:, 14].all()
    assert colors(tile[:, :, :14]) != colors(tile[:, :, 14:28])


def test_a_peak_of_a_long_series_is_not_lost():
    x = torch.zeros(1, 1, 10_000)
    x[0, 0, 5_001] = 9
    (tile,) = tiles(x)
    inked = (tile < 1).any(0)
    assert inked[:8].any()  # the peak
    assert inked[-8:].sum() > 80  # the base line, over the whole width


def test_channels_of_a_series_stand_above_one_another():
    (tile,) = tiles(torch.stack([torch.zeros(20), torch.linspace(0, 1, 20)])[None])
    inked = (tile < 1).any(0)
    half = tile.shape[1] // 2
    assert inked[:half].any(0).sum() > 50
    assert inked[half:].any(0).sum() > 50
    assert colors(tile[:, :half]).isdisjoint(colors(tile[:, half:]))


def test_points_of_a_cloud_are_where_they_are():
    (tile,) = tiles(torch.tensor([[[0.0, 0.0, 0.0], [1.0, 1.0, 0.0], [1.0, 0.0, 1.0]]]))
    inked = (tile < 1).any(0)
    assert inked[-2:, :2].any()  # the origin is bottom left
    assert inked[:2, -2:].any()
    assert inked[-2:, -2:].any()
    assert not inked[:2, :2].any()


def test_captions_stand_below_and_what_is_wrong_is_red():
    shown = captioned(torch.zeros(3, 3, 56, 56), ["cat 99%*", "", "!dog 5%"])
    assert shown.shape == (3, 3, 70, 56)
    assert shown[0, :, 56:].min() < 0.5
    assert shown[1, :, 56:].min() == 1
    red, green, blue = (float(channel[56:].min()) for channel in shown[2])
    assert red > 0.7
    assert max(green, blue) < 0.5
    assert (shown[:, :, :56] == 0).all()


def test_long_captions_widen_the_tiles():
    shown = captioned(torch.zeros(2, 3, 56, 56), ["1 60% + 2 40%", "a"])
    assert shown.shape[-1] == 6 * 13 + 4


def test_tiles_stand_in_reading_order():
    shown = torch.zeros(9, 3, 4, 4)
    shown[8] = 1
    picture = grid(shown, 8)
    assert picture.shape == (3, 12, 48)
    assert (picture[:, 7:11, 1:5] == 1).all()  # the ninth begins the second row
    assert (picture[:, 0, :6] == 0.5).all()  # a line around it
    assert (picture[:, 6:, 6:] == 1).all()  # the rest of the row is empty


def test_masks_are_painted_in_the_color_of_the_class_and_pale_where_they_do_not_count():
    value = torch.zeros(1, 2, 4, 4)
    value[0, 0, :, :2] = value[0, 1, :, 2:] = 1
    weight = torch.ones(1, 4, 4)
    weight[0, 2:] = 0
    painted = with_labels(torch.full((1, 3, 56, 56), 0.5), value, weight)[0]
    left, right, pale = painted[:, 0, 0], painted[:, 0, -1], painted[:, -1, 0]
    assert left[2] > left[0]  # blue
    assert right[0] > right[2]  # orange
    assert (pale - 0.5).abs().max() < (left - 0.5).abs().max()


def test_joints_are_marked_where_they_peak_unless_they_do_not_count():
    value = torch.zeros(1, 2, 4, 4)
    value[0, 0, 1, 2] = value[0, 1, 3, 0] = 1
    marked = with_labels(torch.zeros(1, 3, 56, 56), value, torch.tensor([[1.0, 0.0]]))[0]
    rows, columns = torch.nonzero(marked.amax(0), as_tuple=True)
    assert (rows.double().mean(), columns.double().mean()) == (21, 35)  # the middle of cell (1, 2)


def test_decisions_without_places_leave_the_tiles():
    shown = torch.rand(2, 3, 56, 56)
    assert torch.equal(with_labels(shown, torch.rand(2, 5), torch.ones(2)), shown)
