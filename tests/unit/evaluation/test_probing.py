"""Probes with labels: linear ones, few labels, episodes, and the features they are of."""

import time

import numpy as np
import pytest
import torch
from helpers import MemoryPile, normed, same, snapshot
from sklearn.linear_model import LogisticRegression, Ridge
from torch import nn

from selftrain import data
from selftrain.evaluation.probing import (
    calibrate,
    episodes,
    features_of,
    features_of_views,
    few_label,
    label_draws,
    logistic_probe,
    ridge_probe,
)
from selftrain.metrics.features import lidar
from selftrain.types import Annotated

CPU = torch.device("cpu")


def clouds(n, seed, classes=3, width=6, gap=1.0):
    """Overlapping clouds, one a class, on scales from 0.01 to 100: features (n, width), classes (n,)."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % classes
    x = gap * torch.eye(classes, width)[y] + 0.6 * torch.randn(n, width, generator=generator)
    return x * torch.logspace(-2, 2, width) + 5, y


def standardized(x, reference):
    reference = reference.double().numpy()
    return (x.double().numpy() - reference.mean(0)) / reference.std(0)


# -- linear probes -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("width", [6, 200])
@pytest.mark.parametrize("penalty", [0.01, 3.0])
def test_ridge_is_that_of_scikit_learn(width, penalty):
    (x, y), (q, t) = clouds(60, 0, width=width), clouds(300, 1, width=width)
    y, t = y + 2 * (y > 0), t + 2 * (t > 0)  # classes 0, 3, 4
    model = Ridge(alpha=penalty * len(x)).fit(standardized(x, x), np.eye(5)[y.numpy()])
    expected = (model.predict(standardized(q, x)).argmax(1) == t.numpy()).mean()
    assert ridge_probe(x, y, q, t, penalty=penalty) == pytest.approx(expected)
    assert 0.4 < expected < 1


@pytest.mark.parametrize("width", [6, 200])
@pytest.mark.parametrize("penalty", [0.01, 3.0])
def test_ridge_minimizes_what_it_says(width, penalty):
    """|Y - X W - b|^2 / n + penalty |W|^2 in closed form."""
    (x, y), (q, t) = clouds(60, 0, width=width), clouds(300, 1, width=width)
    z, indicators = standardized(x, x), np.eye(3)[y.numpy()]
    shares = indicators.mean(0)
    weights = np.linalg.solve(z.T @ z / 60 + penalty * np.eye(width), z.T @ (indicators - shares) / 60)
    right = (standardized(q, x) @ weights + shares).argmax(1) == t.numpy()
    assert ridge_probe(x, y, q, t, penalty=penalty) == pytest.approx(right.mean())


@pytest.mark.parametrize("width", [6, 200])
def test_logistic_regression_is_that_of_scikit_learn_in_all_dimensions(width):
    (x, y), (q, t) = clouds(60, 0, width=width), clouds(300, 1, width=width)
    model = LogisticRegression(C=0.1, max_iter=5000, tol=1e-8).fit(standardized(x, x), y.numpy())
    expected = (model.predict(standardized(q, x)) == t.numpy()).mean()
    assert logistic_probe(x, y, q, t, C=0.1) == pytest.approx(expected, abs=0.004)  # one sample of 300
    assert 0.4 < expected < 1


@pytest.mark.parametrize("probe", [ridge_probe, logistic_probe])
def test_scales_and_offsets_of_features_do_not_matter(probe):
    (x, y), (q, t) = clouds(60, 0), clouds(300, 1)
    scale = torch.tensor([1e3, 1e-3, 1.0, 5.0, 1.0, 1.0])
    assert probe(x * scale - 4, y, q * scale - 4, t) == pytest.approx(probe(x, y, q, t), abs=0.004)


@pytest.mark.parametrize("probe", [ridge_probe, logistic_probe])
def test_standardization_is_learned_from_the_reference(probe):
    x, y = torch.tensor([[0.0, 7.0], [1.0, 7.0], [2.0, 7.0], [3.0, 7.0]]), torch.tensor([0, 0, 1, 1])
    queries, truth = torch.tensor([[2.5, 7.0], [9.0, 7.0], [8.0, 7.0]]), torch.tensor([1, 1, 1])
    assert probe(x, y, queries, truth) == 1  # centered by themselves two of them would be low


@pytest.mark.parametrize("probe", [ridge_probe, logistic_probe])
def test_constant_columns_say_nothing(probe):
    (x, y), (q, t) = clouds(60, 0), clouds(300, 1)
    constant = 0.1 + 1e-8 * torch.randn(60, 1, generator=torch.Generator().manual_seed(0)).double()
    wide = torch.cat([x, constant], 1), torch.cat([q, torch.full((300, 1), 0.1 + 1e-5).double()], 1)
    assert probe(wide[0], y, wide[1], t) == pytest.approx(probe(x, y, q, t), abs=0.004)


def test_ridge_knows_how_frequent_classes_are():
    x, y = torch.randn(50, 4, generator=torch.Generator().manual_seed(0)), torch.ones(50, dtype=torch.long)
    y[:5] = 0
    assert ridge_probe(x, y, x, y, penalty=1e3) == 0.9


@pytest.mark.parametrize("probe", [ridge_probe, logistic_probe])
def test_probes_take_arrays_and_tensors_of_any_precision(probe):
    (x, y), (q, t) = clouds(60, 0), clouds(300, 1)
    value = probe(x, y, q, t)
    assert probe(x.double().numpy(), y.numpy(), q.double().numpy(), t.numpy()) == value
    assert probe(x.bfloat16(), y.int(), q.bfloat16(), t.int()) == pytest.approx(value, abs=0.1)


def test_the_penalty_matters():
    (x, y), (q, t) = clouds(40, 0, width=60), clouds(300, 1, width=60)
    assert len({ridge_probe(x, y, q, t, penalty=p) for p in (1e-6, 1.0, 1e3)}) > 1
    assert len({logistic_probe(x, y, q, t, C=c) for c in (1e-6, 1.0, 1e3)}) > 1


def test_c_is_chosen_on_the_validation_samples():
    (x, y), (q, t) = clouds(40, 0, width=60), clouds(300, 1, width=60)
    choices = [1e-4, 1e-2, 1.0]
    alone = {c: logistic_probe(x, y, q, t, C=c) for c in choices}
    assert len(set(alone.values())) == 3
    for seed in range(2, 5):
        held = clouds(100, seed, width=60)
        best = max(choices, key=lambda c: logistic_probe(x, y, *held, C=c))
        assert logistic_probe(x, y, q, t, C=choices[::-1], validation=held) == alone[best]
    turned = (held[0], (held[1] + 1) % 3)  # labels that a good probe gets wrong
    worst = max(choices, key=lambda c: logistic_probe(x, y, *turned, C=c))
    assert logistic_probe(x, y, q, t, C=choices, validation=turned) == alone[worst]
    assert worst != best


def test_of_equally_good_values_the_smallest_is_taken():
    (x, y), (q, t) = clouds(40, 0, width=60), clouds(300, 1, width=60)
    anything = x[:1], y[:1]
    small, large = (logistic_probe(x, y, q, t, C=c) for c in (0.01, 1.0))
    assert logistic_probe(x, y, *anything, C=0.01) == logistic_probe(x, y, *anything, C=1.0)
    assert logistic_probe(x, y, q, t, C=[1.0, 0.01], validation=anything) == small != large


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x, y: ridge_probe(x, y, x, y, penalty=0), "penalty is 0; it must be above 0"),
        (lambda x, y: ridge_probe(x[0], y, x, y), r"features have shape \(6,\)"),
        (
            lambda x, y: ridge_probe(x, y[:5], x, y),
            r"labels of the features are int64 \(5,\), the least 0; .* 12 class",
        ),
        (lambda x, y: ridge_probe(x, y - 1, x, y), r"the least -1; they must be 12 class numbers from 0"),
        (lambda x, y: ridge_probe(x, y, x, y.float()), r"labels of the test features are float32"),
        (lambda x, y: ridge_probe(x / 0, y, x, y), "features are not finite"),
        (lambda x, y: ridge_probe(x, y, x[:, :4], y), "features are 6 and 4 wide"),
        (lambda x, y: ridge_probe(x, 0 * y + 3, x, y), r"all labels are \[3\]; a probe needs at least two"),
        (lambda x, y: logistic_probe(x, 0 * y, x, y), r"all labels are \[0\]"),
        (lambda x, y: logistic_probe(x, y, x, y, C=0), r"C is \[0.0\]; it must be above 0"),
        (lambda x, y: logistic_probe(x, y, x, y, C=[1, 2]), r"C is \[1.0, 2.0\]; give several and validation"),
        (lambda x, y: logistic_probe(x, y, x, y, validation=(x, y)), r"C is \[1.0\]; give several and validation"),
        (lambda x, y: few_label(x, y, x, y, per_class=2, draws=1), "draws is 1 and C 1.0; at least 2 draws"),
        (lambda x, y: few_label(x, y, x, y, per_class=2, C=0), "C 0; at least 2 draws .* and C above 0"),
        (
            lambda x, y: few_label(x, y, x, y, per_class=5),
            "class 0 has 4 labels; per_class is 5 and can be at most that",
        ),
        (lambda x, y: label_draws(y, per_class=0), "per_class is 0 and draws 5"),
        (lambda x, y: label_draws(y - 2), "the least -2; they must be 12 class numbers from -1"),
        (lambda x, y: episodes(x, y, ways=1), "ways is 1, shots 1, queries 15 and episodes 600"),
        (lambda x, y: episodes(x, y, episodes=1), "episodes 1; at least 2, 1, 1, 2"),
        (lambda x, y: episodes(x, y, ways=3, queries=4), r"0 classes have 5 samples or more; lower ways \(3\)"),
        (lambda x, y: episodes(x, y, classifier="knn"), "classifier is 'knn'; choose 'logistic' or 'centroid'"),
    ],
)
def test_probes_refuse_what_they_cannot_judge(call, message):
    with pytest.raises(ValueError, match=message):
        call(*clouds(12, 0))


# -- few labels --------------------------------------------------------------------------------------------------------
def test_draws_are_a_function_of_labels_and_seed():
    y = torch.tensor([4, 1, -1, 1, 4, 1, 4, 4, 1, -1, 1, 4])
    torch.manual_seed(1)
    first = label_draws(y, per_class=3, draws=6, seed=2)
    torch.manual_seed(2)
    again = label_draws(y.numpy(), per_class=3, draws=6, seed=2)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    for rows in first:
        assert y[rows].tolist() == [1, 1, 1, 4, 4, 4]
        assert len(set(rows.tolist())) == 6
    assert len({tuple(sorted(rows)) for rows in first}) > 3
    assert {int(r) for rows in first for r in rows} == set(np.flatnonzero(y >= 0).tolist())
    other = label_draws(y, per_class=3, draws=6, seed=3)
    assert any(not np.array_equal(a, b) for a, b in zip(first, other, strict=True))


def test_more_draws_and_more_labels_keep_what_was_drawn():
    y = torch.arange(40) % 2
    small, large = label_draws(y, per_class=3, draws=2, seed=5), label_draws(y, per_class=7, draws=4, seed=5)
    for few, many in zip(small, large, strict=False):
        assert set(few.tolist()) < set(many.tolist())


def test_few_labels_are_judged_on_each_draw():
    (x, y), (q, t) = clouds(90, 0), clouds(200, 1)
    found = few_label(x, y, q, t, per_class=4, draws=3, seed=7, C=0.2)
    expected = []
    for rows in label_draws(y, per_class=4, draws=3, seed=7):
        model = LogisticRegression(C=0.2, max_iter=5000, tol=1e-8).fit(standardized(x, x)[rows], y[rows].numpy())
        expected.append((model.predict(standardized(q, x)) == t.numpy()).mean())
    assert found.values == pytest.approx(expected, abs=0.006)
    assert found.mean == pytest.approx(np.mean(found.values))
    assert found.sd == pytest.approx(np.std(found.values, ddof=1))
    assert found.sd > 0
    assert few_label(x, y, q, t, per_class=4, draws=3, seed=8, C=0.2) != found
    assert few_label(x, y, q, t, per_class=4, draws=3, seed=7, C=1e-4) != found


def test_the_pool_standardizes_whether_it_has_labels_or_not():
    (x, y), (q, t) = clouds(90, 0), clouds(200, 1)
    alone = few_label(x, y, q, t, per_class=4)
    half = torch.where(torch.arange(90) < 45, y, -1)
    rows = few_label(x, half, q, t, per_class=4)
    assert rows != few_label(x[:45], y[:45], q, t, per_class=4)  # the same draws, other statistics
    assert few_label(3 * x, half, 3 * q, t, per_class=4).values == pytest.approx(rows.values, abs=0.006)
    assert alone.mean == pytest.approx(rows.mean, abs=0.1)


# -- episodes ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("classifier", ["logistic", "centroid"])
def test_episodes_of_far_classes_are_easy_and_of_noise_at_chance(classifier):
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(2400) % 8
    noise = torch.randn(2400, 12, generator=generator)
    easy = episodes(10 * torch.eye(8, 12)[y] + noise, y, episodes=20, classifier=classifier)
    assert easy.mean > 0.98
    chance = episodes(noise, y, episodes=120, classifier=classifier)
    assert chance.mean == pytest.approx(0.2, abs=0.02)
    assert chance.mean == pytest.approx(np.mean(chance.values))
    half = 1.96 * np.std(chance.values, ddof=1) / np.sqrt(120)
    assert chance.interval == pytest.approx((chance.mean - half, chance.mean + half))


def cones(seed=0):
    """Directions, one a class, and lengths that say nothing."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(180) % 6
    x = torch.eye(6, 10)[y] + 0.35 * torch.randn(180, 10, generator=generator)
    return x * torch.empty(180, 1).uniform_(0.1, 50, generator=generator), y


def test_episodes_see_directions_only():
    x, y = cones()
    found = episodes(x, y, ways=3, episodes=10)
    assert found.values == pytest.approx(episodes(x / x.norm(dim=1, keepdim=True), y, ways=3, episodes=10).values)


@pytest.mark.parametrize(
    "change", [{"ways": 2}, {"shots": 5}, {"queries": 4}, {"seed": 1}, {"classifier": "centroid", "shots": 2}]
)
def test_settings_of_episodes_matter(change):
    settings = {"ways": 4, "shots": 2, "queries": 6, "episodes": 12, "seed": 0}
    assert episodes(*cones(), **settings).values != episodes(*cones(), **(settings | change)).values


def test_more_shots_help_and_more_episodes_go_on():
    x, y = cones()
    few, many = (episodes(x, y, episodes=40, shots=shots, classifier="centroid") for shots in (1, 5))
    assert many.mean > few.mean + 0.05
    torch.manual_seed(3)
    assert episodes(x, y, episodes=60, classifier="centroid").values[:40] == few.values


def test_centroids_are_the_nearest_means_of_the_shots():
    """One class points at -60, 0 and 60 degrees, the other at 50.

    With 0 as query the mean of the first class is short, (0.5, 0), and the nearest, though not the one with the largest
    product. With -60 as query it is the nearest, with 60 it is not. So the queries are right 2, 2 and 1 times of 2.
    """
    angles = torch.tensor([-60.0, 0.0, 60.0, 50.0, 50.0, 50.0]).deg2rad()
    x, y = torch.stack([angles.cos(), angles.sin()], 1), torch.tensor([0, 0, 0, 1, 1, 1])
    found = episodes(x, y, ways=2, shots=2, queries=1, episodes=400, classifier="centroid")
    assert set(found.values) == {0.5, 1.0}
    assert found.mean == pytest.approx(5 / 6, abs=0.05)  # 4 standard deviations of the mean


def test_six_hundred_episodes_take_seconds():
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(1000, 128, generator=generator), torch.arange(1000) % 10
    begun = time.process_time()
    episodes(x, y, episodes=150)
    assert time.process_time() - begun < 5  # 20 s for 600; measured: 1


# -- features ----------------------------------------------------------------------------------------------------------
def test_features_are_those_of_a_resting_encoder_which_is_left_as_it_was():
    encoder = normed()
    encoder.train()
    encoder[1].eval()  # frozen on its own
    before = snapshot(encoder)
    x = torch.randn(10, 3)
    seen = features_of(encoder, x, batch_size=4)
    assert [part.training for part in encoder.modules()] == [True, True, False, True, True, True]
    assert same(before, snapshot(encoder))
    encoder.eval()
    assert torch.allclose(seen.x, encoder(x), atol=1e-6)
    assert not seen.x.requires_grad
    assert seen.labels is None
    assert not torch.allclose(seen.x, encoder.train()(x), atol=1e-2)


def test_the_mode_is_restored_after_an_error():
    encoder = normed().train()
    with pytest.raises(RuntimeError):
        features_of(encoder, torch.randn(4, 7))
    assert encoder.training


def test_features_come_from_a_pile_tensors_or_an_array():
    pile, encoder = MemoryPile(), normed()
    seen = features_of(encoder, pile.evaluation("validation", 7, CPU))
    x, y = pile.parts["validation"]
    assert torch.equal(seen.labels, y)
    for given in (x, x.numpy(), [x[:13], x[13:]]):
        assert torch.allclose(features_of(encoder, given).x, seen.x, atol=1e-6)
    assert features_of(encoder, [Annotated(x, torch.randn(30), torch.arange(30))]).labels is None


def test_the_batch_size_and_the_precision_are_used():
    sizes = []

    class Watch(nn.Module):
        def forward(self, x):
            sizes.append(len(x))
            return x @ torch.eye(3)

    x = torch.randn(10, 3)
    whole = features_of(Watch(), x, batch_size=4).x
    assert sizes == [4, 4, 2]
    coarse = features_of(Watch(), x, precision="bf16").x
    assert coarse.dtype == torch.float32
    assert torch.equal(coarse, x.bfloat16().float())
    assert torch.equal(whole, x)


@pytest.mark.parametrize(
    ("encoder", "batches", "message"),
    [
        (nn.Identity(), torch.zeros(2, 3, 4), r"Identity turns inputs \(2, 3, 4\) into \(2, 3, 4\); .* pool tokens"),
        (nn.Identity(), [], "there is no sample to encode"),
        (nn.Flatten(0), torch.zeros(2, 3), r"into \(6,\)"),
    ],
)
def test_features_that_are_no_matrix_are_refused(encoder, batches, message):
    with pytest.raises(ValueError, match=message):
        features_of(encoder, batches)
    with pytest.raises(ValueError, match="batch_size is 0"):
        features_of(encoder, batches, batch_size=0)


def image_pile(count=11, **weak):
    x = torch.randint(0, 256, (count, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8).numpy()
    views = data.TensorViews(data.Weak(**weak))
    return data.Pile(None, data.ArraySet(x), views=views)


def test_views_of_a_sample_stand_side_by_side():
    """Weak views that move nothing are the plain sample, each time."""
    pile = image_pile(shift=0.0)
    every = features_of(nn.Flatten(), pile.evaluation("pile", 4, CPU)).x
    found = features_of_views(nn.Flatten(), pile, view="weak", count=3, batch_size=4)
    assert found.shape == (11, 3, 64)
    assert all(torch.equal(found[:, 0], found[:, view]) for view in (1, 2))
    order = torch.cdist(found[:, 0], every).argmin(1)
    assert sorted(order.tolist()) == list(range(11))  # each sample once
    assert torch.allclose(found[:, 0], every[order], atol=1e-5)
    few = features_of_views(nn.Flatten(), pile, view="weak", count=2, samples=5, batch_size=4)
    assert few.shape == (5, 2, 64)
    assert lidar(found).ratio > 100


def test_views_differ_and_are_keyed():
    pile = image_pile(shift=0.3)
    first, second, other = (features_of_views(nn.Flatten(), pile, count=4, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    assert len(first.flatten(0, 1).unique(dim=0)) == 44
    encoder = normed(inputs=64).train()
    features_of_views(nn.Sequential(nn.Flatten(), encoder), pile, count=2)
    assert encoder.training


@pytest.mark.parametrize("settings", [{"count": 1}, {"samples": 1}])
def test_views_need_two_samples_and_two_views(settings):
    with pytest.raises(ValueError, match="at least 2 of each"):
        features_of_views(nn.Flatten(), image_pile(), **settings)


def test_calibrated_statistics_are_those_of_the_batches():
    encoder = normed(dropout=0.5).train()
    x = 3 * torch.randn(40, 3) + 2
    before = [p.clone() for p in encoder.parameters()]
    encoder[1].running_mean.fill_(9)
    assert calibrate(encoder, x, batch_size=20) is encoder
    hidden = encoder[0](x)
    assert torch.allclose(encoder[1].running_mean, hidden.mean(0), atol=1e-5)
    variance = (hidden[:20].var(0) + hidden[20:].var(0)) / 2
    assert torch.allclose(encoder[1].running_var, variance, rtol=1e-4)
    assert encoder[1].momentum == 0.1
    assert all(part.training for part in encoder.modules())
    assert all(torch.equal(a, b) for a, b in zip(before, encoder.parameters(), strict=True))
    assert all(p.grad is None for p in encoder.parameters())


def test_calibration_forgets_what_was_gathered_before():
    norm, x = nn.BatchNorm1d(3), torch.randn(20, 3)
    norm(x + 50)
    calibrate(norm, x)
    assert torch.allclose(norm.running_mean, x.mean(0), atol=1e-5)


def test_dropout_rests_while_statistics_are_gathered():
    encoder = nn.Sequential(nn.Dropout(0.9), nn.BatchNorm1d(3)).train()
    x = torch.randn(50, 3)
    calibrate(encoder, x)
    assert torch.allclose(encoder[1].running_var, x.var(0), rtol=1e-4)


def test_batches_of_one_sample_give_no_statistics():
    encoder, x = nn.BatchNorm1d(3), torch.randn(5, 3)
    calibrate(encoder, x, batch_size=4)
    assert torch.allclose(encoder.running_mean, x[:4].mean(0), atol=1e-6)
    with pytest.raises(ValueError, match="at least two samples; raise batch_size"):
        calibrate(encoder, x, batch_size=1)
    assert encoder.momentum == 0.1
    calibrate(nn.Linear(3, 2), x, batch_size=1)  # nothing to gather
