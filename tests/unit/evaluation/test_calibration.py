"""Temperature scaling, exact bounds and thresholds against scipy and against simulated labels."""

import math

import numpy as np
import pytest
import torch
from helpers import MemoryPile, blobs
from scipy import optimize, stats

from selftrain import strategies, toy
from selftrain.evaluation.calibration import (
    apply_temperature,
    calibrate,
    calibration_at,
    fit_temperature,
    predictions,
    threshold_for_precision,
)
from selftrain.metrics.intervals import clopper_pearson, upper_tail
from selftrain.networks.optim import learner
from selftrain.strategy.base import SupervisedStrategy
from selftrain.tasks import Classification, Keypoints, Segmentation


def labeled(n=400, classes=4, heat=2.0, seed=0):
    """Probabilities that are too sure by ``heat``, and classes drawn from the right ones."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(n, classes, generator=generator)
    drawn = torch.multinomial(logits.softmax(1), 1, generator=generator).squeeze(1)
    return (heat * logits).softmax(1), drawn


class Shipped(SupervisedStrategy):
    """Ships what it is given: inputs are probabilities. Notes the mode it is asked in."""

    def __init__(self, task):
        super().__init__(task)
        self.place = torch.nn.Parameter(torch.zeros(1))
        self.modes = []

    def predict(self, x):
        self.modes.append(self.training)
        return x


# -- temperature -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("heat", [0.5, 1.0, 3.0])
def test_the_temperature_has_the_highest_likelihood(heat):
    value, right = labeled(heat=heat)
    logits = value.double().log().numpy()

    def cost(temperature):
        scaled = logits / temperature
        return float(np.mean(np.log(np.exp(scaled).sum(1)) - scaled[np.arange(len(scaled)), right.numpy()]))

    found = fit_temperature(value, right)
    best = optimize.minimize_scalar(cost, bounds=(0.05, 20), method="bounded", options={"xatol": 1e-8}).x
    assert found == pytest.approx(best, rel=1e-4)
    assert found == pytest.approx(heat, rel=0.25)


def test_probabilities_do_as_well_as_logits():
    value, right = labeled(heat=0.5)
    again = apply_temperature(apply_temperature(value.double(), 0.5), 2.0)
    assert torch.allclose(again, value.double(), atol=1e-9)
    colder = fit_temperature(apply_temperature(value.double(), 0.5), right)
    assert colder == pytest.approx(2 * fit_temperature(value, right), rel=1e-4)


@pytest.mark.parametrize(
    ("value", "right", "temperature"),
    [
        ([[0.9, 0.1], [0.2, 0.8]], [0, 1], 0.05),  # all right: as cold as allowed
        ([[0.9, 0.1], [0.2, 0.8]], [1, 0], 20.0),  # all wrong: as hot as allowed
        ([[1.0, 0.0], [1.0, 0.0]], [0, 1], 20.0),  # sure and useless
        ([[0.5, 0.5]], [0], 1.0),  # nothing to say
    ],
)
def test_the_search_ends_where_there_is_no_optimum(value, right, temperature):
    assert fit_temperature(torch.tensor(value), torch.tensor(right)) == pytest.approx(temperature, rel=1e-3)


def test_temperature_is_the_power_of_the_probabilities():
    value, _ = labeled(6)
    for temperature in (0.5, 1.0, 4.0):
        power = value.double() ** (1 / temperature)
        scaled = apply_temperature(value.double(), temperature)
        assert torch.allclose(scaled, power / power.sum(1, keepdim=True), atol=1e-9)
        assert torch.equal(scaled.argmax(1), value.argmax(1))
    pixels = value.T.reshape(1, 4, 2, 3)
    assert torch.allclose(apply_temperature(pixels, 2.0).flatten(2)[0].T, apply_temperature(value, 2.0))
    zeros = apply_temperature(torch.tensor([[1.0, 0.0]]), 3.0)
    assert torch.isfinite(zeros).all()


def test_temperature_lets_gradients_through():
    value, _ = labeled(3)
    value.requires_grad_()
    apply_temperature(value, 2.0)[:, 0].sum().backward()
    assert value.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("value", "right", "words"),
    [
        (torch.rand(3), torch.zeros(3), r"shape \(3,\) and classes \(3,\)"),
        (torch.ones(3, 2) / 2, torch.zeros(2), r"\(3, 2\) and classes \(2,\)"),
        (torch.ones(0, 2), torch.zeros(0), "N >= 1"),
        (torch.ones(2, 2) / 2, torch.tensor([0, 2]), "class 2 is outside 0..1"),
        (torch.ones(2, 2) / 2, torch.tensor([-1, 0]), "class -1 is outside 0..1"),
        (torch.tensor([[3.0, -2.0]]), torch.tensor([0]), "values run from -2"),
        (torch.tensor([[2.0, 2.0]]), torch.tensor([0]), "pass probabilities"),
        (torch.tensor([[math.nan, 1.0]]), torch.tensor([0]), "pass probabilities"),
    ],
)
def test_bad_labels_are_refused(value, right, words):
    with pytest.raises(ValueError, match=words):
        fit_temperature(value, right)


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan])
def test_a_temperature_is_above_zero(temperature):
    with pytest.raises(ValueError, match="must be above 0"):
        apply_temperature(torch.ones(1, 2) / 2, temperature)


# -- calibrating a strategy --------------------------------------------------------------------------------------------
def error_by_hand(value, right):
    """Expected calibration error over 15 equal bins."""
    sure, hit = value.amax(1).double().numpy(), (value.argmax(1) == right).numpy()
    bins = np.minimum((sure * 15).astype(int), 14)
    return sum(abs((hit[bins == b] - sure[bins == b]).sum()) for b in range(15)) / len(sure)


def crossed(value, right, fold):
    """Every row scaled with the temperature of the rows outside its fold, by powers."""
    value, scaled = value.double(), torch.zeros_like(value, dtype=torch.double)
    for one in set(fold.tolist()):
        here = fold == one
        power = value[here] ** (1 / fit_temperature(value[~here], right[~here]))
        scaled[here] = power / power.sum(1, keepdim=True)
    return scaled


def test_a_strategy_is_calibrated_on_held_out_labels():
    value, right = labeled(1300, classes=3, heat=3.0)
    pile = MemoryPile()
    pile.parts["validation"] = value, right
    strategy = Shipped(Classification(3)).train()
    found = calibrate(strategy, pile)
    assert found.temperature == pytest.approx(fit_temperature(value, right), rel=1e-6)
    assert found.samples == 1300
    assert found.error_before == pytest.approx(error_by_hand(value, right), abs=1e-6)
    assert found.error_after < 0.05 < found.error_before
    assert strategy.modes == [False] * 3
    assert strategy.training


@pytest.mark.parametrize("count", [400, 33, 3])
def test_no_label_is_scaled_by_a_temperature_that_it_helped_to_fit(count):
    """Five folds, the classes dealt out to them one after the other."""
    value, right = labeled(count, classes=3, heat=3.0)
    pile = MemoryPile()
    pile.parts["validation"] = value, right
    fold = torch.zeros(count, dtype=torch.long)
    for place, row in enumerate(sorted(range(count), key=lambda i: (int(right[i]), i))):
        fold[row] = place % 5
    found = calibrate(Shipped(Classification(3)), pile)
    assert found.error_after == pytest.approx(error_by_hand(crossed(value, right, fold), right), abs=1e-6)
    assert found.temperature == pytest.approx(fit_temperature(value, right), rel=1e-6)  # fitted to all of them
    for kind in range(3):
        share = torch.bincount(fold[right == kind], minlength=5)
        assert share.max() - share.min() <= 1  # each fold has each class as often as it can be
    assert found == calibrate(Shipped(Classification(3)), pile)


def test_the_error_after_scaling_is_that_of_other_labels():
    """Over many draws of 12 labels: as large as on 12 new ones, where that on the fitted ones themselves is smaller."""
    task, rows = Classification(2), []
    for seed in range(100):
        drawn, others = (labeled(12, classes=2, heat=1.0, seed=start + seed) for start in (0, 1000))
        found = calibrate(Shipped(task), MemoryPile(), drawn)
        fitted, new = (calibration_at(*pair, found.temperature).error_after for pair in (drawn, others))
        rows.append((found.error_after, new, fitted))
    told, new, fitted = np.mean(rows, axis=0)
    spread = np.std([row[0] - row[1] for row in rows]) / math.sqrt(len(rows))
    assert told == pytest.approx(new, abs=2 * spread)
    assert fitted < new - 2 * spread


def test_masks_are_left_out_whole():
    """Pixels of one image are alike: the temperature of an image is that of the others'."""
    value, right = labeled(7 * 60, classes=3, heat=3.0)
    pile = MemoryPile()
    masks = right.reshape(7, 6, 10).clone()
    masks[1, :3], masks[4] = 255, 255
    pile.parts["validation"] = value.reshape(7, 60, 3).movedim(2, 1).reshape(7, 3, 6, 10), masks
    found = calibrate(Shipped(Segmentation(3)), pile)
    keep, image = (masks != 255).flatten(), torch.arange(7).repeat_interleave(60)
    typical = {i: int(right[keep & (image == i)].mode().values) for i in range(7) if i != 4}
    fold = torch.zeros(420, dtype=torch.long)
    for place, one in enumerate(sorted(typical, key=lambda i: (typical[i], i))):
        fold[image == one] = place % 5
    assert found.samples == int(keep.sum())
    expected = error_by_hand(crossed(value[keep], right[keep], fold[keep]), right[keep])
    assert found.error_after == pytest.approx(expected, abs=1e-6)


def test_one_sample_cannot_judge_its_own_temperature():
    value, right = labeled(1, classes=3)
    found = calibrate(Shipped(Classification(3)), MemoryPile(), (value, right))
    assert (found.error_after, found.samples) == (None, 1)
    assert found.error_before > 0


def test_a_temperature_is_judged_on_other_labels():
    value, right = labeled(300, classes=3, heat=3.0)
    found = calibration_at(value, right, 3.0)
    cooled = value.double() ** (1 / 3)
    assert found.error_before == pytest.approx(error_by_hand(value, right), abs=1e-6)
    assert found.error_after == pytest.approx(error_by_hand(cooled / cooled.sum(1, keepdim=True), right), abs=1e-6)
    assert (found.temperature, found.samples) == (3.0, 300)
    with pytest.raises(ValueError, match=r"shape \(300, 3\) and classes \(2,\)"):
        calibration_at(value, right[:2], 3.0)
    with pytest.raises(ValueError, match="pass probabilities"):
        calibration_at(3 * value, right, 3.0)
    strange = torch.where(torch.arange(300) < 30, 3, right)  # a class that is none of the three
    assert calibration_at(value, strange, 3.0).error_before == pytest.approx(error_by_hand(value, strange), abs=1e-6)


def test_pixels_are_units_and_void_is_left_out():
    value, right = labeled(240, classes=3)
    pile = MemoryPile()
    pixels = value.reshape(4, 60, 3).movedim(2, 1).reshape(4, 3, 6, 10)
    masks = right.reshape(4, 6, 10).clone()
    masks[1, :3] = 255
    pile.parts["validation"] = pixels, masks
    found = calibrate(Shipped(Segmentation(3)), pile)
    keep = (masks != 255).flatten()
    assert found.samples == int(keep.sum()) == 210
    assert found.temperature == pytest.approx(fit_temperature(value[keep], right[keep]), rel=1e-6)


def test_large_masks_are_thinned_evenly():
    value, right = labeled(150 * 150, classes=3)
    pile = MemoryPile()
    pile.parts["validation"] = value.T.reshape(1, 3, 150, 150), right.reshape(1, 150, 150)
    found = calibrate(Shipped(Segmentation(3)), pile)
    assert found.samples == 7500
    assert found.temperature == pytest.approx(fit_temperature(value[::3], right[::3]), rel=1e-6)


def test_what_cannot_be_calibrated():
    pile = MemoryPile(validation=0)
    with pytest.raises(ValueError, match=r"no samples in 'validation'; hold labels back"):
        calibrate(Shipped(Classification(3)), pile)
    with pytest.raises(ValueError, match="Keypoints has no class probabilities to calibrate"):
        calibrate(Shipped(Keypoints(2, (4, 4))), pile)
    with pytest.raises(ValueError, match="Linear has no class probabilities"):
        calibrate(torch.nn.Linear(1, 1), pile)


def test_any_set_can_be_the_part():
    value, right = labeled(50, classes=3)
    found = calibrate(Shipped(Classification(3)), MemoryPile(), (value, right))
    assert found.samples == 50


def test_predictions_restore_the_mode_after_an_error():
    class Broken(Shipped):
        def predict(self, x):
            raise RuntimeError("no")

    strategy = Broken(Classification(3)).train()
    with pytest.raises(RuntimeError, match="no"):
        list(predictions(strategy, MemoryPile(), "validation"))
    assert strategy.training


def test_real_strategies_ship_what_can_be_calibrated():
    task = Classification(3)
    made = strategies.Ensemble(task, learner(lambda: toy.mlp(3, 3, width=8)), members=2)
    assert calibrate(made, MemoryPile(blobs)).samples == 30


# -- exact bounds ------------------------------------------------------------------------------------------------------
def test_tails_are_those_of_the_binomial_distribution():
    random = np.random.default_rng(0)
    n = random.integers(1, 3000, 1000).astype(float)
    k = np.floor(random.random(1000) * (n + 1))
    for p in (random.random(1000), np.clip(k / n + random.normal(size=1000) / np.sqrt(n), 0, 1)):
        np.testing.assert_allclose(upper_tail(k, n, p), stats.binom.sf(k - 1, n, p), atol=1e-10)


@pytest.mark.parametrize(
    ("k", "n"), [(0, 1), (1, 1), (0, 30), (30, 30), (7, 30), (59, 59), (950, 1000), (99_000, 100_000)]
)
@pytest.mark.parametrize("level", [0.5, 0.95, 0.999])
def test_bounds_are_those_of_clopper_and_pearson(k, n, level):
    low, high = clopper_pearson(k, n, level)
    assert low == pytest.approx(stats.beta.ppf(1 - level, k, n - k + 1) if k else 0, abs=1e-9)
    assert high == pytest.approx(stats.beta.ppf(level, k + 1, n - k) if k < n else 1, abs=1e-9)
    if 0 < k < n:
        exact = stats.binomtest(k, n).proportion_ci(2 * level - 1) if level > 0.5 else None
        assert exact is None or (exact.low, exact.high) == pytest.approx((low, high), abs=1e-9)


@pytest.mark.parametrize(("k", "n"), [(-1, 3), (4, 3), (0, 0)])
def test_bounds_of_no_share_are_refused(k, n):
    with pytest.raises(ValueError, match=f"{k} of {n} is no share"):
        clopper_pearson(k, n)


# -- thresholds --------------------------------------------------------------------------------------------------------
def by_hand(confidence, correct, precision, level):
    """The definition, one threshold after the other, with scipy's bound."""
    for threshold in np.unique(confidence):
        hit = correct[confidence >= threshold]
        k, n = int(hit.sum()), len(hit)
        if k and stats.beta.ppf(1 - level, k, n - k + 1) >= precision:
            return threshold, k / n, stats.beta.ppf(1 - level, k, n - k + 1), n, n / len(confidence)
    return None


@pytest.mark.parametrize("precision", [0.6, 0.8, 0.9])
@pytest.mark.parametrize("level", [0.8, 0.95])
@pytest.mark.parametrize("digits", [1, 6])
def test_the_smallest_threshold_that_passes(precision, level, digits):
    random = np.random.default_rng(1)
    confidence = np.round(np.sqrt(random.random(400)), digits)
    correct = random.random(400) < confidence
    expected = by_hand(confidence, correct, precision, level)
    if expected is None:
        with pytest.raises(ValueError, match=f"no threshold reaches precision {precision}"):
            threshold_for_precision(torch.tensor(confidence), torch.tensor(correct), precision, level=level)
        return
    found = threshold_for_precision(torch.tensor(confidence), torch.tensor(correct), precision, level=level)
    got = (found.threshold, found.estimate, found.low, found.count, found.coverage)
    assert got == pytest.approx(expected)
    k, n = round(found.estimate * found.count), found.count
    assert found.high == pytest.approx(stats.beta.ppf(level, k + 1, n - k) if k < n else 1)
    accepted = confidence >= found.threshold
    assert accepted.sum() == found.count
    assert correct[accepted].mean() == pytest.approx(found.estimate)


def test_a_stricter_threshold_need_not_pass():
    confidence = torch.cat([torch.full((5,), 0.9), torch.full((95,), 0.5)])
    correct = torch.tensor([False] * 2 + [True] * 98)
    found = threshold_for_precision(confidence, correct, 0.9)
    assert (found.threshold, found.count, found.coverage) == (0.5, 100, 1.0)


def test_many_thresholds_are_scanned_in_parts(monkeypatch):
    random = torch.Generator().manual_seed(0)
    confidence = torch.rand(500, generator=random, dtype=torch.double)
    correct = torch.rand(500, generator=random) < 0.5 + confidence / 2
    whole = threshold_for_precision(confidence, correct, 0.85)
    monkeypatch.setattr("selftrain.evaluation.calibration._SCAN", 7)
    assert threshold_for_precision(confidence, correct, 0.85) == whole


def test_a_promise_is_kept_where_confidence_orders_decisions():
    """Of many draws of 200 labels, at most 5 % may give a threshold that is less precise than promised."""
    random, broken, found = np.random.default_rng(2), 0, 0
    for _ in range(120):
        confidence = 1 - random.beta(0.5, 3, 200)
        correct = random.random(200) < confidence
        try:
            threshold = threshold_for_precision(torch.tensor(confidence), torch.tensor(correct), 0.9).threshold
        except ValueError:
            continue
        found += 1
        # mean of the confidence above the threshold, by the Beta distribution of 1 - confidence
        share = stats.beta.cdf(1 - threshold, 0.5, 3)
        broken += 1 - stats.beta.cdf(1 - threshold, 1.5, 3) / share * (0.5 / 3.5) < 0.9
    assert found > 105
    assert broken / 120 <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / 120)


def test_what_cannot_be_reached_says_what_it_takes():
    right = torch.ones(30, dtype=torch.bool)
    with pytest.raises(
        ValueError, match=r"with 30 held-out labels: .* 59 held-out labels are needed, 59 of them"
    ) as caught:
        threshold_for_precision(torch.linspace(0.5, 1, 30), right, 0.95)
    assert stats.beta.ppf(0.05, 59, 1) >= 0.95 > stats.beta.ppf(0.05, 58, 1)
    assert "if 100.0% of the 30 most confident stay right" in str(caught.value)
    with pytest.raises(ValueError, match=r"at best 0\.0% of the accepted are right; lower the precision"):
        threshold_for_precision(torch.linspace(0.5, 1, 30), ~right, 0.95)


def test_the_labels_asked_for_are_enough():
    """With as many labels of the same kind as the message asks for, the threshold passes."""
    confidence = torch.cat([torch.full((40,), 0.9), torch.full((40,), 0.4)])
    correct = torch.cat([torch.arange(40) % 20 > 0, torch.zeros(40, dtype=torch.bool)])
    with pytest.raises(ValueError, match="about") as caught:
        threshold_for_precision(confidence, correct, 0.9)
    needed = int(str(caught.value).split("about ")[1].split()[0])
    times = math.ceil(1.3 * needed / 80)
    assert threshold_for_precision(confidence.repeat(times), correct.repeat(times), 0.9).threshold == pytest.approx(0.9)
    with pytest.raises(ValueError, match="no threshold"):
        threshold_for_precision(confidence.repeat(needed // 160), correct.repeat(needed // 160), 0.9)


def drawn(seed):
    """Few decisions of any quality, often with the most confident ones wrong, and a promise that is hard to keep."""
    draw = np.random.default_rng(seed)
    count = int(draw.integers(1, 60))
    confidence = draw.choice([0.2, 0.5, 0.7, 0.9, 1.0], count) if seed % 2 else draw.random(count)
    correct = draw.random(count) < draw.choice([0.0, 0.3, 0.7, 0.95, 1.0])
    correct[np.argsort(-confidence)[: int(draw.integers(0, 4))]] = False
    precision = float(draw.choice([1e-6, 0.05, 0.5, 2 / 3, 0.7, 0.9, 0.99, 1 - 1e-6]))
    return torch.tensor(confidence), torch.tensor(correct), precision, float(draw.choice([0.5, 0.9, 0.95, 0.999]))


def test_every_refusal_ends_and_what_it_asks_for_is_enough():
    """Of 300 draws: an answer that keeps its word, or a refusal whose remedy works."""
    asked, below = 0, 0
    for seed in range(300):
        confidence, correct, precision, level = drawn(seed)
        try:
            found = threshold_for_precision(confidence, correct, precision, level=level)
        except ValueError as error:
            text = str(error)
        else:
            assert found.low >= precision - 1e-12
            continue
        if "at best" in text:
            below += 1
            share = [correct[confidence >= c].double().mean() for c in confidence]
            assert max(share) < precision + 1e-3
            continue
        asked += 1
        needed = int(text.split("about ")[1].split()[0])
        times = math.ceil(needed / len(correct))
        if times * len(correct) < 1_000_000:
            threshold_for_precision(confidence.repeat(times), correct.repeat(times), precision, level=level)
    assert min(asked, below) > 20


def test_a_most_confident_decision_that_is_wrong_is_no_reason_to_count_for_ever():
    """No number of labels lifts a share of 0: the labels asked for are those of the share above the precision."""
    with pytest.raises(ValueError, match=r"if 80\.0% of the 10 most confident stay right"):
        threshold_for_precision(torch.linspace(1, 0.5, 10), torch.arange(10) > 1, 0.7)


@pytest.mark.parametrize(
    ("confidence", "correct", "settings", "words"),
    [
        ([0.5, 0.6], [True], {}, r"shapes \(2,\) and \(1,\)"),
        ([], [], {}, "N >= 1"),
        ([1.5], [True], {}, "confidence holds 1.5 at row 0"),
        ([0.5, math.nan], [True, True], {}, "confidence holds nan at row 1"),
        ([0.5], [0.5], {}, "correct holds shares"),
        ([0.5], [True], {"precision": 1.0}, "precision is 1.0; it must be above 0 and below 1"),
        ([0.5], [True], {"level": 0.0}, "level is 0.0"),
    ],
)
def test_bad_decisions_are_refused(confidence, correct, settings, words):
    with pytest.raises(ValueError, match=words):
        threshold_for_precision(torch.tensor(confidence), torch.tensor(correct), **({"precision": 0.9} | settings))
