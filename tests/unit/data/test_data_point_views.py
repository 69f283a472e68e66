"""Views of point clouds: normalization, turns and left-out points against closed forms, draws keyed by sample."""

import math

import numpy as np
import pytest
import torch

from selftrain.data import PointViews
from selftrain.data.views.points import in_unit_sphere, rotations

GENERATOR = torch.Generator().manual_seed(0)
COUNT, POINTS = 300, 40
CLOUDS = torch.randn(COUNT, POINTS, 3, generator=GENERATOR) * torch.tensor([1.0, 2.0, 3.0]) + 10
FLAT = CLOUDS[..., :2].contiguous()
INDEX = torch.arange(COUNT)
OFF = {"scale": (1.0, 1.0), "weak_angle": 0.0, "strong_angle": 0.0, "jitter": 0.0, "drop": 0.0}


def only(**options):
    """Views that do nothing but what ``options`` say."""
    return PointViews(**(OFF | options))


def view(views, name="strong", x=CLOUDS):
    return views(name, x, INDEX[: len(x)], 0).x


@pytest.mark.parametrize("clouds", [CLOUDS, FLAT])
def test_plain_clouds_fill_the_unit_sphere_each_by_itself(clouds):
    x = view(PointViews(), "plain", clouds)
    assert torch.allclose(x.mean(1), torch.zeros(clouds.shape[2]), atol=1e-5)
    assert torch.allclose(x.norm(dim=2).amax(1), torch.ones(COUNT), atol=1e-5)
    one = clouds[5].double().numpy()
    centered = one - one.mean(0)
    assert np.allclose(x[5], centered / np.linalg.norm(centered, axis=1).max(), atol=1e-5)
    assert torch.allclose(x, view(PointViews(), "plain", 7 * clouds - 3), atol=1e-5)
    assert PointViews()("plain", clouds, INDEX, 0).theta is None


def test_whole_numbers_and_single_points_are_clouds():
    strokes = torch.tensor([[[0, 0], [200, 0], [0, 200], [200, 200]]], dtype=torch.uint8)
    expected = torch.tensor([[-1.0, -1], [1, -1], [-1, 1], [1, 1]]) / 2**0.5
    assert torch.allclose(view(PointViews(), "plain", strokes)[0], expected)
    assert torch.equal(in_unit_sphere(torch.full((2, 1, 3), 5.0)), torch.zeros(2, 1, 3))
    assert torch.isfinite(view(PointViews(), "strong", torch.ones(2, 4, 3))).all()


def test_everything_off_leaves_the_plain_view():
    for name in ("weak", "strong"):
        assert torch.allclose(view(only(), name), view(only(), "plain"), atol=1e-6)


@pytest.mark.parametrize("name", ["weak", "strong"])
def test_factors_are_uniform_in_their_range(name):
    factor = view(only(scale=(0.5, 2.0)), name).norm(dim=2).amax(1)
    assert factor.min() >= 0.5 - 1e-5
    assert factor.max() <= 2 + 1e-5
    assert abs(factor.mean() - 1.25) < 0.08
    assert abs(factor.std() - 1.5 / 12**0.5) < 0.05


@pytest.mark.parametrize(("axis", "first"), [(0, 1), (1, 2), (2, 0), (None, 0)])
def test_a_quarter_turn_sends_one_axis_to_the_next(axis, first):
    turn = rotations(torch.tensor([math.pi / 2, 0.3]), 3, axis)
    unit = torch.eye(3)
    second, fixed = (first + 1) % 3, (first + 2) % 3
    assert torch.allclose(turn[0] @ unit[first], unit[second], atol=1e-6)
    assert torch.allclose(turn[0] @ unit[second], -unit[first], atol=1e-6)
    assert torch.allclose(turn @ unit[fixed], unit[fixed].expand(2, 3))
    assert torch.allclose(turn[1] @ turn[1].T, unit, atol=1e-6)
    assert torch.linalg.det(turn[1]).item() == pytest.approx(1)
    flat = rotations(torch.tensor([0.3]), 2, None)[0]
    assert torch.allclose(flat, torch.tensor([[math.cos(0.3), -math.sin(0.3)], [math.sin(0.3), math.cos(0.3)]]))


def turned_by(before, after):
    """Angles in degrees by which clouds (B, N, 2) were turned counterclockwise."""
    a, b = (torch.view_as_complex(x.contiguous()) for x in (before, after))
    return torch.rad2deg((b * a.conj()).sum(1).angle())


@pytest.mark.parametrize(("name", "limit"), [("weak", 20.0), ("strong", 70.0)])
def test_angles_are_uniform_in_their_range(name, limit):
    views = only(weak_angle=20.0, strong_angle=70.0)
    angle = turned_by(view(views, "plain", FLAT), view(views, name, FLAT))
    assert angle.abs().max() <= limit + 1e-3
    assert abs(angle.mean()) < limit / 8
    assert abs(angle.std() - 2 * limit / 12**0.5) < limit / 15


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_clouds_turn_about_the_axis_as_a_whole(axis):
    views = only(axis=axis, strong_angle=180.0)
    plain, turned = view(views, "plain"), view(views)
    assert torch.allclose(plain[..., axis], turned[..., axis], atol=1e-5)
    assert torch.allclose(torch.cdist(plain, plain), torch.cdist(turned, turned), atol=1e-3)
    others = [i for i in range(3) if i != axis]
    assert (plain - turned)[..., others].abs().amax((1, 2)).mean() > 0.3


def test_noise_is_gaussian_and_clipped():
    views = only(jitter=0.02, jitter_limit=10.0)
    noise = view(views) - view(views, "plain")
    assert abs(noise.std() - 0.02) < 5e-4
    assert abs(np.corrcoef(noise.flatten(1)[:, :30].T.numpy()) - np.eye(30)).max() < 0.3
    clipped = view(only(jitter=0.02, jitter_limit=0.01)) - view(views, "plain")
    assert torch.allclose(clipped, noise.clamp(-0.01, 0.01), atol=1e-6)
    assert torch.allclose(view(views, "weak"), view(views, "plain"), atol=1e-6)


def test_left_out_points_become_copies_of_one_that_is_kept():
    x, plain = view(only(drop=0.8)), view(only(), "plain")
    assert x.shape == plain.shape
    moved = (x - plain).abs().amax(2) > 1e-6
    share = moved.float().mean(1)
    assert abs(share.mean() - 0.4 * (1 - 1 / POINTS)) < 0.04
    assert share.max() > 0.65
    assert share.max() < 0.95
    assert share.min() < 0.06
    for i in range(COUNT):
        (copied,) = x[i, moved[i]].unique(dim=0) if moved[i].any() else (x[i, 0],)
        distance = (plain[i] - copied).norm(dim=1)
        assert distance.min() < 1e-6
        assert not moved[i, distance.argmin()]
    kept = ((plain[:, None] - x[:, :, None]).abs().amax(3) < 1e-6).sum(1).argmax(1)
    assert len(kept.unique()) > POINTS / 2  # any point may be the one


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("weak", {"scale": (0.3, 0.5)}),
        ("weak", {"axis": 0}),
        ("weak", {"weak_angle": 90.0}),
        ("strong", {"scale": (0.3, 0.5)}),
        ("strong", {"axis": 1}),
        ("strong", {"strong_angle": 180.0}),
        ("strong", {"jitter": 0.05}),
        ("strong", {"jitter_limit": 0.01}),
        ("strong", {"drop": 0.9}),
    ],
    ids=repr,
)
def test_every_option_changes_the_view(name, option):
    base, other = view(PointViews(), name), view(PointViews(**option), name)
    assert ((base - other).abs().flatten(1).amax(1) > 1e-3).float().mean() > 0.9


@pytest.mark.parametrize("name", ["weak", "strong", "strong2"])
@pytest.mark.parametrize("clouds", [CLOUDS, FLAT])
def test_a_sample_s_view_depends_on_its_own_address_only(name, clouds):
    before, kept = torch.get_rng_state(), clouds.clone()
    views = PointViews(seed=3)
    base, order = views(name, clouds, INDEX, 5).x, torch.tensor([7, 0, 63])
    assert torch.allclose(base[order], views(name, clouds[order], order, 5).x, atol=1e-6)
    assert torch.equal(base, views.seeded(9).seeded(3)(name, clouds, INDEX, 5).x)
    others = [
        views.seeded(1)(name, clouds, INDEX, 5).x,
        views(name, clouds, INDEX, 6).x,
        views(name, clouds, INDEX + COUNT, 5).x,
        views(f"{name}7", clouds, INDEX, 5).x,
    ]
    for other in others:
        assert ((base - other).abs().flatten(1).amax(1) > 1e-3).float().mean() > 0.98
    assert torch.equal(kept, clouds)
    assert torch.equal(before, torch.get_rng_state())


def test_fitting_changes_nothing():
    views = PointViews()
    assert views.fitted(None) is views


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: PointViews(scale=(0.0, 1.0)), r"scale is \(0.0, 1.0\)"),
        (lambda: PointViews(scale=(2.0, 1.0)), r"scale is \(2.0, 1.0\)"),
        (lambda: PointViews(axis=3), "axis is 3"),
        (lambda: PointViews(weak_angle=-1.0), "weak_angle is -1.0"),
        (lambda: PointViews(strong_angle=181.0), "strong_angle is 181.0"),
        (lambda: PointViews(jitter=-0.1), "jitter is -0.1"),
        (lambda: PointViews(jitter_limit=0), "jitter_limit is 0"),
        (lambda: PointViews(drop=1.0), "drop is 1.0"),
        (lambda: PointViews()("medium", CLOUDS, INDEX, 0), "no view 'medium'"),
        (lambda: PointViews()("plain", CLOUDS.transpose(1, 2), INDEX, 0), r"\(300, 3, 40\), not \(B, N, 2\)"),
        (lambda: PointViews()("plain", CLOUDS[0], INDEX, 0), r"\(40, 3\), not \(B, N, 2\)"),
        (lambda: PointViews(axis=1)("weak", FLAT, INDEX, 0), "axis is 1, but points with 2 coordinates"),
    ],
)
def test_wrong_arguments_are_named(make, words):
    with pytest.raises(ValueError, match=words):
        make()
