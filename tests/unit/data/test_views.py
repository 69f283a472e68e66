"""Views: operations against independent formulas, every option observable, draws keyed by sample, geometry reported."""

import math
import time

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torchvision.transforms.v2 import functional as TF

from selftrain.data import ArraySet, Strong, TableViews, TensorViews, Weak
from selftrain.data.base import statistics as statistics_of
from selftrain.data.views import image_ops as ops

GENERATOR = torch.Generator().manual_seed(0)
SMOOTH = (
    (F.interpolate(torch.rand(64, 3, 6, 6, generator=GENERATOR), size=24, mode="bicubic") * 255).clamp(0, 255).byte()
)
INDEX = torch.arange(64)
STILL = Weak(shift=0.0)  # a weak recipe that changes nothing


def levels(images):
    return images.flatten(2).long()


def one_operation(name, strength, images):
    """The table of one point operation at one strength, applied to uint8 images; in [0, 1]."""
    batch = len(images)
    table = ops.point_tables(
        (name,),
        torch.zeros(batch, 1, dtype=torch.long),
        torch.full((batch, 1), strength),
        ops.histogram(levels(images)),
    )
    return table.gather(2, levels(images)).view(images.shape)


def worst(ours, reference):
    return float((ours * 255 - reference.float()).abs().max())


# --- point operations against torchvision's


def test_brightness_solarize_posterize_invert():
    assert worst(one_operation("brightness", -0.5, SMOOTH), TF.adjust_brightness(SMOOTH, 0.55)) < 1.01
    assert worst(one_operation("brightness", 1.0, SMOOTH), TF.adjust_brightness(SMOOTH, 1.9)) < 1.01
    assert worst(one_operation("solarize", 0.5, SMOOTH), TF.solarize(SMOOTH, 128)) < 0.01
    assert worst(one_operation("solarize", -0.5, SMOOTH), TF.solarize(SMOOTH, 128)) < 0.01
    for strength, bits in ((0.25, 7), (-0.5, 6), (1.0, 4)):
        assert worst(one_operation("posterize", strength, SMOOTH), TF.posterize(SMOOTH, bits)) < 0.01
    assert worst(one_operation("invert", 1.0, SMOOTH), TF.invert(SMOOTH)) < 0.01


def test_gamma_and_contrast():
    x = SMOOTH.float() / 255
    assert torch.allclose(one_operation("gamma", 1.0, SMOOTH), x.square(), atol=1e-5)
    assert torch.allclose(one_operation("gamma", -1.0, SMOOTH), x.sqrt(), atol=1e-5)
    mean = x.mean((1, 2, 3), keepdim=True)
    assert torch.allclose(one_operation("contrast", -1.0, SMOOTH), mean + 0.1 * (x - mean), atol=1e-5)
    gray = SMOOTH[:, :1]
    assert worst(one_operation("contrast", -0.5, gray), TF.adjust_contrast(gray, 0.55)) < 1.5


def test_histogram_operations():
    dull = (SMOOTH.float() * 0.4 + 30).byte()
    assert worst(one_operation("autocontrast", 1.0, dull), TF.autocontrast(dull)) < 1.01
    # PIL rounds the number of pixels a level to whole ones, which a large image makes harmless
    large = F.interpolate(dull[:4].float(), size=300, mode="bilinear").byte()
    assert worst(one_operation("equalize", 1.0, large), TF.equalize(large)) < 2
    half = one_operation("equalize", 0.5, dull)
    assert torch.allclose(half, (one_operation("equalize", 1.0, dull) + dull.float() / 255) / 2, atol=1e-5)


@pytest.mark.parametrize("name", ["autocontrast", "equalize", "contrast"])
def test_a_constant_image_stays_as_it_is(name):
    flat = torch.full((2, 1, 4, 4), 77, dtype=torch.uint8)
    assert torch.allclose(one_operation(name, 1.0, flat), flat / 255)


@pytest.mark.parametrize("name", list(ops.POINT))
def test_strength_zero_changes_nothing(name):
    assert torch.allclose(one_operation(name, 0.0, SMOOTH), SMOOTH / 255, atol=1e-5)


def test_tables_are_composed_in_the_order_of_the_slots():
    choice, strength = torch.tensor([[0, 1], [1, 0], [2, 2]]), torch.tensor([[1.0, 0.5], [0.5, 1.0], [1.0, 1.0]])
    images = SMOOTH[:3]
    tables = ops.point_tables(("equalize", "gamma"), choice, strength, ops.histogram(levels(images)))
    result = tables.gather(2, levels(images)).view(images.shape)
    equalized = one_operation("equalize", 1.0, images)
    assert torch.allclose(result[0], equalized[0].pow(2**0.5), atol=1e-5)
    # the second operation sees the histogram that the first one left
    darker = torch.round(one_operation("gamma", 0.5, images) * 255).byte()
    assert float((result[1] - one_operation("equalize", 1.0, darker)[1]).abs().max()) < 0.02
    assert torch.allclose(result[2], images[2] / 255)


# --- geometry


def expected_move(image, dx, dy, mirror, pad):
    """Shift and mirror one image (C, H, W) by numpy's own padding."""
    array = image.numpy()[:, :, ::-1] if mirror else image.numpy()
    mode = {"reflect": "symmetric", "edge": "edge", "zero": "constant"}[pad]
    margin = 6
    padded = np.pad(array, ((0, 0), (margin, margin), (margin, margin)), mode)
    height, width = array.shape[1:]
    dx = -dx if mirror else dx
    return padded[:, margin + dy : margin + dy + height, margin + dx : margin + dx + width]


@pytest.mark.parametrize("pad", ["reflect", "edge", "zero"])
def test_moves_are_exact(pad):
    images = SMOOTH[:5, :, :20, :17]
    dx, dy = torch.tensor([0, 3, -6, 5, 1]), torch.tensor([0, -2, 6, 1, -6])
    mirror = torch.tensor([False, True, False, True, True])
    moved = ops.move(images, dx, dy, mirror, pad)
    for i in range(5):
        assert np.array_equal(moved[i].numpy(), expected_move(images[i], int(dx[i]), int(dy[i]), bool(mirror[i]), pad))


@pytest.mark.parametrize("pad", ["reflect", "edge", "zero"])
def test_weak_theta_tells_where_each_pixel_came_from(pad):
    view = TensorViews(Weak(shift=0.2, flip=True, pad=pad))("weak", SMOOTH, INDEX, 0)
    resampled = ops.warp(SMOOTH / 255, view.theta, pad)
    assert torch.allclose(view.x, resampled, atol=1e-4)
    assert (view.theta[:, 0, 0] < 0).float().mean() > 0.3


def test_weak_shifts_reach_the_whole_range_evenly():
    images = torch.zeros(4000, 1, 8, 8, dtype=torch.uint8)
    theta = TensorViews(Weak(shift=0.125))("weak", images, torch.arange(4000), 0).theta
    for axis in (0, 1):
        pixels = (theta[:, axis, 2] * 8 / 2).round().long()
        assert torch.equal(pixels.unique(), torch.tensor([-1, 0, 1]))
        assert abs(torch.bincount(pixels + 1).float() / 4000 - 1 / 3).max() < 0.03


def test_crops_have_the_area_and_stay_inside():
    images = torch.zeros(2000, 1, 16, 24, dtype=torch.uint8)
    theta = TensorViews(Weak(shift=0.0, crop=(0.3, 0.8)))("weak", images, torch.arange(2000), 0).theta
    half, center = torch.stack([theta[:, 0, 0], theta[:, 1, 1]], 1), theta[:, :, 2]
    area = half.prod(1)
    assert area.min() > 0.29
    assert area.max() < 0.81
    assert abs(area.mean() - 0.55) < 0.02
    assert (half + center.abs()).max() <= 1 + 1e-6
    ratio = half[:, 0] / half[:, 1]
    assert ratio.max() < 4 / 3 + 1e-4
    assert ratio.min() > 3 / 4 - 1e-4
    whole = TensorViews(Weak(shift=0.0, crop=(1.0, 1.0)))("weak", images, torch.arange(2000), 0).theta
    assert whole[:, 0, 0].max() <= 1


def one_map(name, strength, size):
    return ops.geometric_maps((name,), torch.zeros(1, 1, dtype=torch.long), torch.full((1, 1), strength), size)


def test_geometric_maps_do_what_their_names_say():
    image = F.interpolate(torch.rand(1, 1, 5, 8, generator=GENERATOR), size=(40, 64), mode="bicubic")
    turned = ops.warp(image, one_map("rotate", 1.0, (40, 64)), "zero")
    reference = TF.rotate(image, 30, interpolation=TF.InterpolationMode.BILINEAR)
    assert (turned - reference).abs()[..., 4:-4, 4:-4].mean() < 0.01
    moved = ops.warp(image, one_map("translate_x", 0.5, (40, 64)), "zero")
    assert torch.allclose(
        moved[..., :50], F.pad(image, (0, 10))[..., 9:59] * 0.4 + F.pad(image, (0, 10))[..., 10:60] * 0.6, atol=1e-4
    )
    moved = ops.warp(image, one_map("translate_y", -1.0, (40, 64)), "zero")
    assert torch.allclose(moved[..., 12:, :], image[..., :28, :], atol=1e-4)
    larger = one_map("scale", 1.0, (40, 64))
    assert torch.allclose(larger[0, :, :2], torch.eye(2) / 1.4)
    sheared = one_map("shear_x", 1.0, (40, 64))[0]
    # 10 pixels lower, the source lies 3 pixels further right
    assert torch.allclose(sheared @ torch.tensor([0.0, 20 / 40, 1]), torch.tensor([6 / 64, 20 / 40]))
    sheared = one_map("shear_y", 1.0, (40, 64))[0]
    assert torch.allclose(sheared @ torch.tensor([20 / 64, 0.0, 1]), torch.tensor([20 / 64, 6 / 40]))


def test_maps_are_composed_like_repeated_resampling():
    image = F.interpolate(torch.rand(1, 1, 4, 4, generator=GENERATOR), size=48, mode="bicubic")
    names = ("rotate", "scale")
    both = ops.geometric_maps(names, torch.tensor([[0, 1]]), torch.tensor([[1.0, -0.8]]), (48, 48))
    twice = ops.warp(
        ops.warp(image, one_map("rotate", 1.0, (48, 48)), "edge"), one_map("scale", -0.8, (48, 48)), "edge"
    )
    once = ops.warp(image, both, "edge")
    assert (once - twice).abs()[..., 12:-12, 12:-12].max() < 0.03


def test_strong_theta_tells_the_geometry():
    views = TensorViews(Weak(flip=True), Strong(point=(), cutout=0.0))
    view = views("strong", SMOOTH, INDEX, 0)
    assert torch.allclose(view.x, ops.warp(SMOOTH / 255, view.theta, "zero"), atol=1e-5)
    assert not torch.allclose(view.theta[:, 0, 1], torch.zeros(64))
    # without geometric operations strong views have the weak recipe's geometry, exactly
    still = TensorViews(Weak(flip=True, pad="zero"), Strong(geometric=(), point=(), cutout=0.0))
    assert torch.allclose(
        still("strong", SMOOTH, INDEX, 0).x,
        ops.warp(SMOOTH / 255, still("strong", SMOOTH, INDEX, 0).theta, "zero"),
        atol=1e-4,
    )


def test_strong_operations_come_after_the_weak_geometry():
    theta = TensorViews(Weak(shift=0.2), Strong(geometric=("rotate",)))("strong", SMOOTH, INDEX, 0).theta
    assert theta[:, 0, 1].abs().max() > 0.1
    # a turn about the middle of the shifted image leaves the shift in whole pixels; the other order would turn it too
    pixels = theta[:, :, 2] * 12
    assert torch.allclose(pixels, pixels.round(), atol=1e-4)


def test_how_many_operations_there_are_may_be_drawn():
    """Each operation moves the picture to the right, so that the way tells their number."""
    still = {"point": (), "geometric": ("translate_x",), "cutout": 0.0}
    index = torch.arange(3000)
    images = torch.zeros(3000, 1, 4, 4)
    fixed = TensorViews(STILL, Strong(operations=3, **still))
    ways = TensorViews(STILL, Strong(operations=(1, 3), **still))
    choice, strength, theta = ways._operations(
        ways._uniform("strong", index, 0), torch.eye(2, 3).expand(3000, 2, 3), (4, 4)
    )
    count = (choice == 0).sum(1)  # one of two kinds; the other does nothing
    # k of 1 to 3, each as often, of which each does something in half of the cases
    wanted = [sum(math.comb(k, n) / 2**k for k in (1, 2, 3)) / 3 for n in range(4)]
    assert torch.allclose(torch.bincount(count, minlength=4) / 3000, torch.tensor(wanted), atol=0.03)
    moved = (torch.where(choice == 0, strength, 0.0)).sum(1) * 2 * 0.3
    assert torch.allclose(theta[:, 0, 2], moved, atol=1e-5)
    assert torch.equal(ways("strong", images, index, 0).theta, theta)
    both = TensorViews(STILL, Strong(operations=(3, 3), **still))("strong", images, index, 0)
    assert torch.equal(
        both.theta, fixed("strong", images, index, 0).theta
    )  # with nothing to draw the views are the same


def test_cutout_erases_one_square_with_the_mean():
    white = torch.full((500, 3, 20, 30), 255, dtype=torch.uint8)
    views = TensorViews(STILL, Strong(operations=0, cutout=0.5), mean=[0.2, 0.3, 0.4])
    x = views("strong", white, torch.arange(500), 0).x
    assert torch.allclose(x[x.abs() < 1e-6], torch.zeros(1))
    erased = (x.abs() < 1e-6).all(1)
    assert torch.equal(erased, (x.abs() < 1e-6).any(1))
    rows, columns = erased.any(2).sum(1), erased.any(1).sum(1)
    assert torch.equal(erased.sum((1, 2)), rows * columns)  # a rectangle
    assert max(int(rows.max()), int(columns.max())) in (10, 11)
    assert abs(float(rows.float().mean()) - 5) < 0.8  # a side from 0 to 10, less what lies over the edge
    gray = TensorViews(STILL, Strong(operations=0))("strong", white, torch.arange(500), 0).x
    assert gray.unique().tolist() == [0.5, 1.0]


# --- the maker


def test_plain_only_scales_and_normalizes():
    view = TensorViews(mean=[0.1, 0.2, 0.3], std=0.5)("plain", SMOOTH, INDEX, 3)
    assert view.theta is None
    assert torch.allclose(view.x, (SMOOTH / 255 - torch.tensor([0.1, 0.2, 0.3]).view(3, 1, 1)) / 0.5)
    assert torch.equal(TensorViews()("plain", SMOOTH / 255, INDEX, 0).x, SMOOTH / 255)


@pytest.mark.parametrize(("shape", "rows"), [((1, 8, 8), 2500), ((3, 16, 16), 1100), ((40,), 2500)])
def test_statistics_of_bytes_are_those_of_as_many_rows_as_tell_them(shape, rows, monkeypatch):
    """All small pictures and rows of a table; of large pictures evenly spaced ones, of files 1,000."""
    monkeypatch.setattr(statistics_of, "_VALUES", 1000 * 3 * 16 * 16)
    x = np.random.default_rng(0).integers(0, 250, (rows, *shape), dtype=np.uint8)
    axes = tuple(axis for axis in range(x.ndim) if axis != 1)
    for samples in (ArraySet(x), Files(x)):
        few = len(shape) == 3 and (shape[1] == 16 or isinstance(samples, Files))
        seen = x[np.linspace(0, rows - 1, 1000 if few else rows).astype(int)] / (255 if len(shape) == 3 else 1.0)
        mean, std, low, high = statistics_of.statistics(samples)
        assert mean.numpy() == pytest.approx(seen.mean(axes), abs=1e-12)
        assert std.numpy() == pytest.approx(seen.std(axes), abs=1e-12)
        assert (low.tolist(), high.tolist()) == (seen.min(axes).tolist(), seen.max(axes).tolist())


class Files(ArraySet):
    """Rows that take a file each."""

    paths = ()


def test_normalization_comes_from_the_samples_unless_given():
    samples = ArraySet(SMOOTH)
    x = TensorViews().fitted(samples)("plain", SMOOTH, INDEX, 0).x
    assert torch.allclose(x.mean((0, 2, 3)), torch.zeros(3), atol=1e-4)
    assert torch.allclose(x.std((0, 2, 3)), torch.ones(3), atol=1e-3)
    kept = TensorViews(mean=0.25).fitted(samples)
    assert kept.mean.flatten().tolist() == [0.25]
    assert kept.std.shape == (3, 1, 1)
    assert TensorViews(mean=0, std=2).fitted(samples).std.item() == 2
    flat = ArraySet(np.full((3, 4, 4), 100, np.uint8))
    assert torch.isfinite(TensorViews().fitted(flat)("plain", flat.x, torch.arange(3), 0).x).all()


@pytest.mark.parametrize("name", ["weak", "strong", "strong2"])
@pytest.mark.parametrize("as_float", [False, True])
def test_a_sample_s_view_depends_on_its_own_address_only(name, as_float):
    images = SMOOTH / 255 if as_float else SMOOTH
    views = TensorViews(Weak(flip=True), seed=3)
    together = views(name, images, INDEX, 5)
    order = torch.tensor([7, 0, 63])
    alone = views(name, images[order], order, 5)
    assert torch.allclose(together.x[order], alone.x, atol=1e-6)
    assert torch.equal(together.theta[order], alone.theta)
    assert torch.equal(together.x, views.seeded(3)(name, images, INDEX, 5).x)


@pytest.mark.parametrize("name", ["weak", "strong"])
def test_seed_epoch_index_and_name_each_change_the_view(name):
    views = TensorViews(Weak(flip=True))
    base = views(name, SMOOTH, INDEX, 0).x
    others = [
        views.seeded(1)(name, SMOOTH, INDEX, 0).x,
        views(name, SMOOTH, INDEX, 1).x,
        views(name, SMOOTH, INDEX + 64, 0).x,
        views(f"{name}2", SMOOTH, INDEX, 0).x,
    ]
    for other in others:
        assert ((base - other).abs().flatten(1).amax(1) > 1e-3).float().mean() > 0.9


def test_floats_give_the_same_views_as_bytes():
    views = TensorViews()
    for name in ("plain", "weak", "strong"):
        assert torch.allclose(views(name, SMOOTH, INDEX, 0).x, views(name, SMOOTH / 255, INDEX, 0).x, atol=1e-6)


LARGE = (
    (F.interpolate(torch.rand(12, 5, 7, 9, generator=GENERATOR), size=(64, 70), mode="bicubic") * 255)
    .clamp(0, 255)
    .byte()
)
ONE_BY_ONE = {
    **{name: (Weak(flip=True, pad="edge"), Strong(2, 1.0, (name,), (), 0.5)) for name in ops.POINT},
    **{name: (Weak(shift=0.3, flip=True), Strong(1, 1.0, (), (name,), 0.5, "reflect")) for name in ops.GEOMETRIC},
    "all": (Weak(flip=True, crop=(0.3, 0.9), pad="edge"), Strong(3)),
    "far": (Weak(shift=0.9, flip=True), Strong(0)),
    "zero": (Weak(shift=0.9, flip=True, pad="zero"), Strong(0, pad="reflect")),
}


@pytest.mark.parametrize("recipe", ONE_BY_ONE)
@pytest.mark.parametrize("channels", [1, 3, 5])
def test_large_images_one_by_one_are_those_of_a_batch(recipe, channels):
    images, views = LARGE[:, :channels], TensorViews(*ONE_BY_ONE[recipe], mean=0.4, std=0.5, seed=3)
    for name in ("plain", "weak", "strong"):
        one_by_one = views(name, images, INDEX[:12], 1)
        batch = views(name, images / 255, INDEX[:12], 1)  # floats are changed as a batch
        assert one_by_one.theta is None or torch.equal(one_by_one.theta, batch.theta)
        # rounded to bytes after the tables and after resampling: one level of 255, in units of the deviation
        assert float((one_by_one.x - batch.x).abs().max()) < 1.01 / 255 / 0.5
        last = images.contiguous(memory_format=torch.channels_last)
        assert torch.equal(views(name, last, INDEX[:12], 1).x, one_by_one.x)


@pytest.mark.parametrize(
    "recipe",
    [
        Weak(shift=0.25),
        Weak(flip=True),
        Weak(crop=(0.5, 1.0)),
        Weak(pad="zero"),
        Weak(pad="edge"),
        Strong(operations=1),
        Strong(operations=3),
        Strong(magnitude=0.5),
        Strong(point=("brightness",)),
        Strong(geometric=("rotate",)),
        Strong(cutout=0.25),
        Strong(pad="edge"),
        Strong(pad="reflect"),
    ],
    ids=repr,
)
def test_every_option_changes_the_view(recipe):
    if isinstance(recipe, Weak):
        name, changed = "weak", TensorViews(weak=recipe)
    else:
        name, changed = "strong", TensorViews(strong=recipe)
    base, other = TensorViews()(name, SMOOTH, INDEX, 0).x, changed(name, SMOOTH, INDEX, 0).x
    assert ((base - other).abs().flatten(1).amax(1) > 1e-3).float().mean() > 0.2


@pytest.mark.parametrize("name", [*ops.POINT, *ops.GEOMETRIC])
def test_every_operation_changes_the_view(name):
    point, geometric = ((name,), ()) if name in ops.POINT else ((), (name,))
    views = TensorViews(STILL, Strong(point=point, geometric=geometric, cutout=0.0))
    changed = (views("strong", SMOOTH, INDEX, 0).x - SMOOTH / 255).abs().flatten(1).amax(1) > 2e-3
    assert 0.25 < changed.float().mean() < 0.95  # each slot does nothing half of the time


def test_magnitude_zero_leaves_the_weak_geometry():
    views = TensorViews(Weak(pad="zero"), Strong(magnitude=0.0, cutout=0.0))
    view = views("strong", SMOOTH, INDEX, 0)
    assert torch.allclose(view.x, ops.warp(SMOOTH / 255, view.theta, "zero"), atol=1e-4)
    pixels = view.theta[:, :, 2] * 12
    assert torch.allclose(pixels, pixels.round(), atol=1e-4)


def test_views_stay_in_range_and_leave_inputs_and_random_state_alone():
    before, kept = torch.get_rng_state(), SMOOTH.clone()
    for images in (SMOOTH, SMOOTH / 255):
        x = TensorViews(strong=Strong(operations=4, point=tuple(ops.POINT)))("strong", images, INDEX, 0).x
        assert x.min() >= 0
        assert x.max() <= 1 + 1e-6
    assert torch.equal(kept, SMOOTH)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 1, 1, 9), (2, 3, 9, 2), (1, 4, 5, 5)])
def test_odd_sizes(shape):
    for name in ("plain", "weak", "strong"):
        view = TensorViews(Weak(crop=(0.3, 1.0)))(
            name, torch.zeros(shape, dtype=torch.uint8), torch.arange(shape[0]), 0
        )
        assert view.x.shape == shape


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Weak(shift=1.0), "shift is 1.0"),
        (lambda: Weak(crop=(0.0, 1.0)), r"crop is \(0.0, 1.0\)"),
        (lambda: Weak(crop=(0.9, 0.3)), r"crop is \(0.9, 0.3\)"),
        (lambda: Weak(pad="wrap"), "pad is 'wrap'"),
        (lambda: Strong(operations=-1), "operations is -1"),
        (lambda: Strong(magnitude=10), "magnitude is 10"),
        (lambda: Strong(cutout=2), "cutout is 2"),
        (lambda: Strong(point=("sharpen",)), "no operation 'sharpen'"),
        (lambda: Strong(geometric=("brightness",)), "no operation 'brightness'"),
        (lambda: Strong(pad="wrap"), "pad is 'wrap'"),
        (lambda: TensorViews()("medium", SMOOTH, INDEX, 0), "no view 'medium'"),
        (lambda: TensorViews()("plain2", SMOOTH, INDEX, 0), "no view 'plain2'"),
        (lambda: TensorViews()("weak", torch.zeros(4, 3), INDEX, 0), "use TableViews"),
        (lambda: TableViews()("weak", SMOOTH, INDEX, 0), "use TensorViews"),
        (lambda: TableViews(weak_noise=-1), "weak_noise is -1"),
        (lambda: TableViews(replace=1.5), "replace is 1.5"),
    ],
)
def test_wrong_arguments_are_named(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_thousands_of_pairs_a_second():
    images, index, views = torch.randint(0, 256, (112, 1, 28, 28), dtype=torch.uint8), torch.arange(112), TensorViews()
    views("strong", images, index, 0)
    start = time.process_time()
    for epoch in range(10):
        views("weak", images, index, epoch)
        views("strong", images, index, epoch)
    assert 1120 / (time.process_time() - start) > 2000  # the bound is loose: about 20,000 on one quiet core


# --- tables


TABLE = torch.randn(4000, 5, generator=GENERATOR) * torch.tensor([1, 2, 3, 4, 0.0]) + 7


def test_table_views_are_standardized():
    x = TableViews().fitted(ArraySet(TABLE))("plain", TABLE, torch.arange(4000), 0).x
    assert torch.allclose(x.mean(0), torch.zeros(5), atol=1e-4)
    assert torch.allclose(x.std(0)[:4], torch.ones(4), atol=1e-3)
    assert torch.allclose(x[:, 4], torch.zeros(1))
    assert TableViews(mean=[0.0] * 5, std=[1.0] * 5).fitted(ArraySet(TABLE)).mean.tolist() == [0.0] * 5


def test_table_noise_has_the_size_asked_for():
    views = TableViews(weak_noise=0.3, strong_noise=0.6, replace=0.0).fitted(ArraySet(TABLE))
    plain, weak, strong = (views(name, TABLE, torch.arange(4000), 0) for name in ("plain", "weak", "strong"))
    assert abs(float((weak.x - plain.x).std()) - 0.3) < 0.01
    assert abs(float((strong.x - plain.x).std()) - 0.6) < 0.02
    assert strong.theta is None


@pytest.mark.parametrize("bank", [None, torch.full((3, 5), 50.0)])
def test_replaced_features(bank):
    views = TableViews(strong_noise=0.0, replace=0.4, bank=bank).fitted(ArraySet(TABLE))
    x, plain = (views(name, TABLE, torch.arange(4000), 0).x for name in ("strong", "plain"))
    changed = x[:, :4] != plain[:, :4]
    assert abs(float(changed.float().mean()) - 0.4) < 0.02
    expected = torch.zeros(4) if bank is None else ((50 - TABLE.mean(0)) / TABLE.std(0, correction=0))[:4]
    assert torch.allclose(torch.where(changed, x[:, :4], expected), expected.expand(4000, 4), atol=1e-2)


def test_bank_rows_are_all_used():
    views = TableViews(strong_noise=0.0, replace=1.0, bank=torch.arange(4.0)[:, None].expand(4, 5))
    x = views("strong", TABLE, torch.arange(4000), 0).x
    assert abs(torch.bincount(x.flatten().long()) / 20_000 - 0.25).max() < 0.02


def test_table_draws_are_keyed_by_sample():
    views = TableViews().fitted(ArraySet(TABLE))
    for name in ("weak", "strong"):
        base = views(name, TABLE, torch.arange(4000), 0).x
        assert torch.equal(base[[9, 2]], views(name, TABLE[[9, 2]], torch.tensor([9, 2]), 0).x)
        for other in (views.seeded(1)(name, TABLE, torch.arange(4000), 0), views(name, TABLE, torch.arange(4000), 1)):
            assert not torch.equal(base, other.x)
        assert not torch.equal(base, views(f"{name}2", TABLE, torch.arange(4000), 0).x)


def test_crops_lie_anywhere_inside_the_image():
    views = TensorViews(Weak(shift=0, crop=(0.2, 0.3)))
    theta = views("weak", torch.zeros(200, 1, 12, 12), torch.arange(200), 0).theta
    half, center = theta[:, :, :2].diagonal(dim1=1, dim2=2), theta[:, :, 2]
    assert (center.abs() + half <= 1 + 1e-6).all()
    assert (center.std(0) > 0.2).all()
    assert (half.prod(1) >= 0.2 - 1e-6).all()
    assert (half.prod(1) <= 0.3 + 1e-6).all()
