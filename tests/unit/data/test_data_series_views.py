"""Views of series: each option against closed forms, draws keyed by sample, shapes kept, wrong inputs named."""

import numpy as np
import pytest
import torch

from selftrain.data import Pile, SeriesViews, TableViews, TensorViews
from selftrain.data.base.statistics import statistics
from selftrain.data.views.series import resampled
from selftrain.types import BatchPlan, Needs, Target

GENERATOR = torch.Generator().manual_seed(0)
COUNT, CHANNELS, LENGTH = 400, 3, 50
SERIES = torch.randn(COUNT, CHANNELS, LENGTH, generator=GENERATOR).cumsum(2) * torch.tensor([[1.0], [5.0], [0.2]]) + 3
INDEX = torch.arange(COUNT)
RAMP = torch.arange(LENGTH, dtype=torch.float32).expand(COUNT, CHANNELS, LENGTH)
OFF = {"shift": 0.0, "gain": 0.0, "weak_jitter": 0.0}
OFF |= {"crop": (1.0, 1.0), "scaling": 0.0, "strong_jitter": 0.0, "mask": 0.0, "drop": 0.0}


class Rows:
    """A set of series in memory."""

    def __init__(self, x, annotations=None):
        self.x, self.annotations = x, annotations
        self.ids = [str(i) for i in range(len(x))]

    def __len__(self):
        return len(self.x)

    def images(self, index):
        return self.x[torch.from_numpy(index)]


def only(**options):
    """Views that do nothing but what ``options`` say."""
    return SeriesViews(**(OFF | options))


def view(views, name="strong", x=SERIES):
    return views(name, x, INDEX[: len(x)], 0).x


# --- plain


def test_statistics_of_series_are_those_of_their_channels():
    mean, std, *_ = statistics(Rows(SERIES))
    array = SERIES.double().numpy()
    assert np.allclose(mean, array.mean((0, 2)), atol=1e-5)
    assert np.allclose(std, array.std((0, 2)), atol=1e-5)


def test_plain_standardizes_each_channel():
    views = SeriesViews().fitted(Rows(SERIES))
    mean, std = SERIES.mean((0, 2)), SERIES.std((0, 2), correction=0)
    assert torch.allclose(view(views, "plain"), (SERIES - mean[:, None]) / std[:, None], atol=1e-5)
    assert views("plain", SERIES, INDEX, 0).theta is None
    assert torch.equal(view(SeriesViews(), "plain"), SERIES)
    assert view(SeriesViews(), "plain", SERIES.half()).dtype == torch.float32


def test_given_statistics_stay():
    kept = SeriesViews(mean=1.5).fitted(Rows(SERIES))
    assert kept.mean.item() == 1.5
    assert kept.std.shape == (CHANNELS,)
    both = SeriesViews(mean=[1.0, 2.0, 3.0], std=2.0).fitted(Rows(SERIES))
    assert torch.allclose(view(both, "plain"), (SERIES - torch.tensor([[1.0], [2.0], [3.0]])) / 2)


def test_values_are_clipped_after_standardization():
    views = only(clip=1.0).fitted(Rows(SERIES))
    free = view(only().fitted(Rows(SERIES)), "plain")
    assert (free.abs() > 1).float().mean() > 0.1
    for name in ("plain", "weak", "strong"):
        assert torch.equal(view(views, name), free.clamp(-1, 1))


def test_everything_off_leaves_series_as_they_are():
    for name in ("weak", "strong"):
        assert torch.equal(view(only(), name), SERIES)


# --- moves


@pytest.mark.parametrize("name", ["weak", "strong"])
def test_moves_take_whole_samples_of_the_whole_range(name):
    x = view(only(shift=0.2, pad="wrap"), name, RAMP)
    moves = x[:, 0, 0].long()
    moves = torch.where(moves > LENGTH // 2, moves - LENGTH, moves)
    assert torch.equal(moves.unique(), torch.arange(-10, 11))
    for i in range(COUNT):
        assert torch.equal(x[i], RAMP[i].roll(-int(moves[i]), 1))
    counts = torch.bincount(moves + 10).float() / COUNT
    assert abs(counts - 1 / 21).max() < 0.04


def test_edges_repeat_what_the_move_would_bring_in():
    wrapped, x = (view(only(shift=0.2, pad=pad), "weak", RAMP) for pad in ("wrap", "edge"))
    moves = wrapped[:, 0, 0].long()
    moves = torch.where(moves > LENGTH // 2, moves - LENGTH, moves)
    expected = (torch.arange(LENGTH) + moves[:, None]).clamp(0, LENGTH - 1).float()
    assert torch.equal(x, expected[:, None].expand_as(x))


@pytest.mark.parametrize("pad", ["edge", "wrap"])
def test_resampling_is_linear_interpolation_of_the_moved_series(pad):
    move, start, step = torch.tensor([0, 4, -7]), torch.tensor([0.0, 3.25, 10.5]), torch.tensor([1.0, 0.7, 0.31])
    x = resampled(SERIES[:3], move, start, step, pad)
    for i in range(3):
        at = np.arange(LENGTH) + int(move[i])
        at = at % LENGTH if pad == "wrap" else at.clip(0, LENGTH - 1)
        places = start[i].item() + step[i].item() * np.arange(LENGTH)
        for c in range(CHANNELS):
            expected = np.interp(places, np.arange(LENGTH), SERIES[i, c].numpy()[at])
            assert np.allclose(x[i, c], expected, atol=1e-4)


def test_stretches_have_the_lengths_asked_for_and_lie_inside():
    x = view(only(crop=(0.4, 0.8)), "strong", RAMP)[:, 0]
    step, start = (x[:, -1] - x[:, 0]) / (LENGTH - 1), x[:, 0]
    line = start[:, None] + step[:, None] * torch.arange(LENGTH)
    assert torch.allclose(x, line, atol=1e-3)
    assert step.min() >= 0.4 - 1e-4
    assert step.max() <= 0.8 + 1e-4
    assert abs(step.mean() - 0.6) < 0.02
    assert start.min() >= 0
    assert x.max() <= LENGTH - 1 + 1e-3
    place = start / ((1 - step) * (LENGTH - 1))
    assert abs(place.mean() - 0.5) < 0.05
    assert place.max() > 0.95
    assert torch.equal(view(only(crop=(0.4, 0.8)), "weak", RAMP), RAMP)


# --- values


def test_weak_gain_is_one_factor_for_a_series():
    ratio = view(only(gain=0.3), "weak") / SERIES
    assert torch.allclose(ratio, ratio[:, :1, :1].expand_as(ratio), atol=1e-5)
    assert abs(ratio[:, 0, 0].std() - 0.6 / 12**0.5) < 0.01
    assert ratio.min() > 0.7 - 1e-4
    assert ratio.max() < 1.3 + 1e-4


def test_strong_scaling_is_a_factor_for_each_channel():
    ratio = view(only(scaling=0.5)) / SERIES
    assert torch.allclose(ratio, ratio[:, :, :1].expand_as(ratio), atol=1e-4)
    factor = ratio[:, :, 0]
    assert abs(factor.std() - 1 / 12**0.5) < 0.01
    assert factor.min() > 0.5 - 1e-4
    assert factor.max() < 1.5 + 1e-4
    assert abs(np.corrcoef(factor.T.numpy()) - np.eye(CHANNELS)).max() < 0.15


def test_noise_has_the_size_asked_for_in_standard_deviations():
    views = only(weak_jitter=0.3, strong_jitter=0.6).fitted(Rows(SERIES))
    plain, weak, strong = (view(views, name) for name in ("plain", "weak", "strong"))
    for c in range(CHANNELS):
        assert abs((weak - plain)[:, c].std() - 0.3) < 0.01
        assert abs((strong - plain)[:, c].std() - 0.6) < 0.02
    flat = (weak - plain).flatten(1)
    assert abs(np.corrcoef(flat[:, :40].T.numpy()) - np.eye(40)).max() < 0.25


# --- parts left out


def test_masks_are_one_run_of_all_channels():
    x = view(only(mask=0.3))
    hidden = (x == 0).all(1)
    assert torch.equal(hidden, (x == 0).any(1))
    assert torch.equal(torch.where(hidden[:, None], SERIES, x), SERIES)
    padded = torch.nn.functional.pad(hidden.float(), (1, 1))
    assert (padded.diff(dim=1) > 0).sum(1).max() == 1
    run = hidden.sum(1)
    assert torch.equal(run.unique(), torch.arange(16))
    assert abs(run.float().mean() - 7.5) < 0.8
    assert hidden[:, 0].any()
    assert hidden[:, -1].any()
    assert (view(only(mask=1.0)) == 0).flatten(1).all(1).any()


def test_channels_are_dropped_with_the_probability_but_never_all():
    x = SERIES[:, :1].expand(COUNT, 20, LENGTH)
    dropped = (view(only(drop=0.3), x=x) == 0).all(2)
    assert torch.equal(dropped, (view(only(drop=0.3), x=x) == 0).any(2))
    assert abs(dropped.float().mean() - 0.3) < 0.02
    assert ((view(only(drop=1.0)) == 0).all(2).sum(1) == CHANNELS - 1).all()
    alone = SERIES[:, :1]
    assert torch.equal(view(only(drop=1.0), x=alone), alone)


def test_noise_does_not_reach_what_is_left_out():
    views = SeriesViews(mask=0.5, drop=0.5).fitted(Rows(SERIES))
    assert (view(views) == 0).float().mean() > 0.4


# --- the maker


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("plain", {"clip": 1.0}),
        ("weak", {"shift": 0.3}),
        ("weak", {"pad": "wrap"}),
        ("weak", {"gain": 0.3}),
        ("weak", {"weak_jitter": 0.1}),
        ("strong", {"clip": 1.0}),
        ("strong", {"shift": 0.3}),
        ("strong", {"pad": "wrap"}),
        ("strong", {"crop": (0.2, 0.5)}),
        ("strong", {"scaling": 0.5}),
        ("strong", {"strong_jitter": 0.3}),
        ("strong", {"mask": 0.5}),
        ("strong", {"drop": 0.6}),
        ("plain", {"mean": 1.0}),
        ("plain", {"std": 2.0}),
    ],
    ids=repr,
)
def test_every_option_changes_the_view(name, option):
    base, other = view(SeriesViews(), name), view(SeriesViews(**option), name)
    assert ((base - other).abs().flatten(1).amax(1) > 1e-3).float().mean() > 0.3


@pytest.mark.parametrize("name", ["weak", "strong", "strong2"])
def test_a_sample_s_view_depends_on_its_own_address_only(name):
    before, kept = torch.get_rng_state(), SERIES.clone()
    views = SeriesViews(seed=3).fitted(Rows(SERIES))
    base, order = views(name, SERIES, INDEX, 5).x, torch.tensor([7, 0, 63])
    assert torch.equal(base[order], views(name, SERIES[order], order, 5).x)
    assert torch.equal(base, views.seeded(9).seeded(3)(name, SERIES, INDEX, 5).x)
    others = [
        views.seeded(1)(name, SERIES, INDEX, 5).x,
        views(name, SERIES, INDEX, 6).x,
        views(name, SERIES, INDEX + COUNT, 5).x,
        views(f"{name}7", SERIES, INDEX, 5).x,
    ]
    for other in others:
        assert ((base - other).abs().flatten(1).amax(1) > 1e-3).all()
    assert torch.equal(kept, SERIES)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("shape", [(0, 2, 9), (1, 1, 1), (2, 1, 2), (3, 12, 7)])
@pytest.mark.parametrize("name", ["plain", "weak", "strong"])
def test_shapes_stay(shape, name):
    x = SeriesViews()(name, torch.randn(shape, generator=GENERATOR), torch.arange(shape[0]), 0).x
    assert x.shape == shape
    assert torch.isfinite(x).all()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: SeriesViews(clip=0), "clip is 0"),
        (lambda: SeriesViews(shift=1.0), "shift is 1.0"),
        (lambda: SeriesViews(pad="zero"), "pad is 'zero'"),
        (lambda: SeriesViews(gain=-0.1), "gain is -0.1"),
        (lambda: SeriesViews(scaling=1.0), "scaling is 1.0"),
        (lambda: SeriesViews(weak_jitter=-1), "weak_jitter is -1"),
        (lambda: SeriesViews(strong_jitter=float("nan")), "strong_jitter is nan"),
        (lambda: SeriesViews(crop=(0.0, 1.0)), r"crop is \(0.0, 1.0\)"),
        (lambda: SeriesViews(crop=(0.9, 0.5)), r"crop is \(0.9, 0.5\)"),
        (lambda: SeriesViews(mask=1.5), "mask is 1.5"),
        (lambda: SeriesViews(drop=-0.5), "drop is -0.5"),
        (lambda: SeriesViews()("medium", SERIES, INDEX, 0), "no view 'medium'"),
        (lambda: SeriesViews()("weak", SERIES[:, :, None], INDEX, 0), "TensorViews are for images"),
        (lambda: SeriesViews()("plain", (SERIES * 2).byte(), INDEX, 0), "torch.uint8; convert them to float"),
    ],
)
def test_wrong_arguments_are_named(make, words):
    with pytest.raises(ValueError, match=words):
        make()


# --- in a pile


def encode(labels):
    return Target(torch.nn.functional.one_hot(labels, 2).float(), torch.ones(len(labels)))


def test_a_pile_of_series_gets_series_views():
    labels = torch.arange(40) % 2
    pile = Pile(Rows(SERIES[:40], labels), Rows(SERIES[40:]), validation=Rows(SERIES[:10], labels[:10]))
    assert isinstance(pile.views, SeriesViews)
    assert torch.allclose(pile.views.mean, SERIES[40:].mean((0, 2)), atol=1e-4)
    plan = BatchPlan(labeled=4, unlabeled_ratio=2.0)
    (batch,) = next(pile.stream(Needs(("weak", "strong"), encode), plan, torch.device("cpu")).epoch(0))
    assert batch.labeled.x.shape == (4, CHANNELS, LENGTH)
    assert batch.unlabeled["strong"].x.shape == (8, CHANNELS, LENGTH)
    card = pile.card()
    assert card["shape"] == [CHANNELS, LENGTH]
    other = Pile(Rows(SERIES[:40] * 2, labels), None).normalized_as(card)
    assert torch.equal(other.views("plain", SERIES, INDEX, 0).x, pile.views("plain", SERIES, INDEX, 0).x)


def test_other_inputs_get_their_own_views():
    labels = torch.tensor([0, 1])
    assert isinstance(Pile(Rows(torch.zeros(2, 5), labels), None).views, TableViews)
    assert isinstance(Pile(Rows(torch.zeros(2, 1, 5, 5), labels), None).views, TensorViews)
