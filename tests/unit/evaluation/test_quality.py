"""The estimated accuracy against simulated truth and exact intervals, and the report against sums done by hand."""

import json
import math

import numpy as np
import pytest
import torch
from helpers import MemoryPile, blobs
from scipy import stats
from sklearn.isotonic import IsotonicRegression
from test_calibration import Shipped

from selftrain import fit, select, strategies, toy
from selftrain.evaluation.accuracy_estimate import Estimate, estimate_accuracy
from selftrain.evaluation.agreement import view_agreement
from selftrain.evaluation.calibration import calibrate, calibration_at
from selftrain.evaluation.quality import from_ledger, report, total_variation
from selftrain.labels.ledger import Ledger
from selftrain.metrics.significance import effective_classes
from selftrain.networks.optim import learner
from selftrain.tasks import Classification, Keypoints, Segmentation
from selftrain.types import BatchPlan, PseudoLabels

TASK = Classification(3)
NAMES = ("ant", "bee", "cow")
LEVELS = {
    "calibrated": lambda c: c,
    "too sure": lambda c: 0.5 + 0.45 * np.clip((c - 0.3) / 0.7, 0, 1) ** 3,
    "says nothing": lambda c: np.full_like(c, 0.8),
    "nearly always right": lambda c: np.full_like(c, 0.99),
    "a step": lambda c: np.where(c > 0.9, 0.98, 0.6),
}


def tensors(*arrays):
    return [torch.as_tensor(np.asarray(a, dtype=np.float64)) for a in arrays]


# -- the estimate ------------------------------------------------------------------------------------------------------
def simulated(level, labels, accepted_from, surer, runs, draws, seed=0):
    """Estimates and true accuracies of runs with ``labels`` held-out labels and 1,500 unlabeled samples."""
    random, rows = np.random.default_rng(seed), []
    for run in range(runs):
        sure = 1 - random.beta(0.3, 2.5, labels)
        right = random.random(labels) < level(sure)
        asked = 1 - random.beta(0.3 * (0.6 if surer else 1), 2.5, 1500)
        asked = asked[asked >= accepted_from]
        true = (random.random(len(asked)) < level(asked)).mean()
        rows.append((estimate_accuracy(*tensors(sure, right, asked), draws=draws, seed=run), true))
    return rows


@pytest.mark.slow
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(("labels", "accepted_from", "surer"), [(500, 0.95, False), (50, 0.5, True)])
def test_intervals_hold_the_truth_as_often_as_they_say(level, labels, accepted_from, surer):
    rows = simulated(LEVELS[level], labels, accepted_from, surer, runs=60, draws=100)
    covered = np.mean([e.low <= true <= e.high for e, true in rows])
    assert covered >= 0.95 - 2 * math.sqrt(0.95 * 0.05 / 60)
    assert abs(np.mean([e.value - true for e, true in rows])) < 0.04


def test_the_estimate_follows_the_truth():
    rows = simulated(LEVELS["too sure"], 100, 0.9, True, runs=12, draws=60)
    assert np.mean([e.low <= true <= e.high for e, true in rows]) >= 0.8
    assert abs(np.mean([e.value - true for e, true in rows])) < 0.03
    assert all(e.low <= e.value <= e.high for e, _ in rows)
    rows = simulated(LEVELS["calibrated"], 2000, 0.3, True, runs=2, draws=60)
    assert all(abs(e.value - true) < 0.02 and e.high - e.low < 0.06 for e, true in rows)


@pytest.mark.parametrize(("right", "count", "level"), [(60, 60, 0.95), (57, 60, 0.8), (0, 25, 0.95), (12, 25, 0.8)])
def test_one_confidence_gives_the_exact_interval(right, count, level):
    """Clopper and Pearson's, up to the draws: with equal confidences there is nothing to fit."""
    sure, hit = [0.9] * count, [1.0] * right + [0.0] * (count - right)
    found = estimate_accuracy(*tensors(sure, hit, np.full(10**6, 0.9)), level=level, draws=2000)
    tail = (1 - level) / 2
    low = stats.beta.ppf(tail, right, count - right + 1) if right else 0
    high = stats.beta.ppf(1 - tail, right + 1, count - right) if right < count else 1
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.015)
    assert found.value == pytest.approx((right + 0.5) / (count + 1), abs=1e-9)


def test_few_decisions_are_judged_less_surely_than_many():
    sure, hit = [0.9] * 500, [1.0] * 450 + [0.0] * 50
    few, many = (estimate_accuracy(*tensors(sure, hit, np.full(n, 0.9))) for n in (20, 20_000))
    assert few.high - few.low > 3 * (many.high - many.low)
    assert few.value == many.value


@pytest.mark.parametrize(
    ("count", "asked", "groups", "shares"),
    [(40, [0.5, 0.7, 0.9], [20], [1.0]), (100, [0.0, 0.6, 0.9, 0.99], [0, 50], [0.25, 0.75])],
)
def test_the_value_is_the_mean_of_both_readings(count, asked, groups, shares):
    """Isotonic regression and groups, done anew with scikit-learn and by hand."""
    sure = (np.arange(count) + 0.5) / count
    hit = (np.random.default_rng(5).random(count) < sure).astype(float)
    # one wrong row more at the last cell asked for and one right row at the first, each counting half
    cells = np.concatenate([np.searchsorted(sure, asked) - 1, np.searchsorted(sure, asked)]).clip(0)
    rows = np.concatenate([sure, sure[[cells.max(), cells.min()]]])
    weight = np.concatenate([np.ones(count), [0.5, 0.5]])
    model = IsotonicRegression(out_of_bounds="clip").fit(rows, np.concatenate([hit, [0, 1]]), weight)
    monotone = model.predict(asked).mean()
    sums, counts = np.add.reduceat(hit, groups), np.diff([*groups, count]).astype(float)
    sums[0], counts[0] = sums[0] + 0.5, counts[0] + 0.5
    counts[-1] += 0.5
    found = estimate_accuracy(*tensors(sure, hit, asked), draws=1)
    assert found.value == pytest.approx((monotone + np.dot(shares, sums / counts)) / 2, abs=1e-9)


def test_few_held_out_rows_above_call_for_those_below():
    sure = np.concatenate([np.full(97, 0.5), np.full(3, 0.99)])
    hit = np.concatenate([np.zeros(97), np.ones(3)])
    found = estimate_accuracy(*tensors(sure, hit, np.full(1000, 0.99)))
    assert found.low < 0.2  # three rows alone promise nothing
    assert found.high > 0.99


def test_confidence_orders_the_estimate():
    random = np.random.default_rng(0)
    sure = random.random(400)
    hit = random.random(400) < sure
    values = [estimate_accuracy(*tensors(sure, hit, np.full(500, c)), draws=20).value for c in (0.2, 0.5, 0.8, 0.95)]
    assert values == sorted(values)
    assert values[0] < 0.45
    assert values[-1] > 0.8


def test_draws_have_a_generator_of_their_own():
    sure, hit, asked = tensors(np.linspace(0, 1, 50), np.arange(50) % 3 > 0, np.linspace(0.5, 1, 30))
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    first, again, other = (estimate_accuracy(sure, hit, asked, draws=50, seed=seed) for seed in (0, 0, 1))
    assert first == again
    assert (first.low, first.high) != (other.low, other.high)
    assert first.value == other.value
    assert torch.equal(before[0], torch.get_rng_state())
    assert (before[1] == np.random.get_state()[1]).all()


def test_level_and_draws_matter():
    sure, hit, asked = tensors(np.linspace(0, 1, 50), np.arange(50) % 3 > 0, np.linspace(0.5, 1, 500))
    narrow, wide = (estimate_accuracy(sure, hit, asked, level=level) for level in (0.5, 0.99))
    assert narrow.high - narrow.low < 0.6 * (wide.high - wide.low)
    assert estimate_accuracy(sure, hit, asked, draws=1).high != estimate_accuracy(sure, hit, asked, draws=2).high


@pytest.mark.parametrize(
    ("sure", "hit", "asked", "settings", "words"),
    [
        ([0.5], [1, 0], [0.5], {}, r"shapes \(1,\) and \(2,\)"),
        ([], [], [0.5], {}, "N >= 1"),
        ([0.5], [1], [], {}, r"confidence has shape \(0,\)"),
        ([0.5], [1], [[0.5]], {}, r"confidence has shape \(1, 1\)"),
        ([0.5], [1], [1.5], {}, "confidence holds 1.5 at row 0"),
        ([-0.5], [1], [0.5], {}, "confidence holds -0.5"),
        ([0.5], [2], [0.5], {}, "correct holds 2"),
        ([0.5], [1], [0.5], {"level": 1}, "level is 1 and draws 400"),
        ([0.5], [1], [0.5], {"draws": 0}, "draws 0"),
    ],
)
def test_bad_input_is_refused(sure, hit, asked, settings, words):
    with pytest.raises(ValueError, match=words):
        estimate_accuracy(*tensors(sure, hit, asked), **settings)


# -- what the ledger alone tells ---------------------------------------------------------------------------------------
def ledger_of(n=6, classes=NAMES, truth=None):
    return Ledger([str(i) for i in range(n)], classes, None if truth is None else torch.tensor(truth))


def say(ledger, step, rows, classes, accepted, confidence=0.8, agreement=None):
    value = torch.full((len(rows), 3), (1 - confidence) / 2)
    value[torch.arange(len(rows)), torch.tensor(classes)] = confidence
    share = None if agreement is None else torch.tensor(agreement)
    ledger.write(PseudoLabels(torch.tensor(rows), value, torch.tensor(accepted).float(), share), TASK, step)


def test_flips_agreement_and_classes_by_hand():
    ledger = ledger_of(truth=[0, 1, 2, 0, -1, 0])
    say(ledger, 0, [0, 1, 2, 3], [0, 0, 1, 0], [1, 1, 1, 1])
    say(ledger, 1, [0, 1, 2, 3], [0, 1, 1, 0], [1, 1, 1, 0], agreement=[1.0, 0.5, 0.75, 0.0])
    say(ledger, 2, [4], [0], [1])
    found = from_ledger(ledger, torch.tensor([1.0, 1.0, 2.0]))
    assert found.coverage == pytest.approx(5 / 6)
    assert found.accepted == pytest.approx(4 / 5)
    assert found.flip_rate == 0.25  # one of the four second looks
    assert found.agreement == pytest.approx(0.75)  # of the accepted that were asked about: rows 0, 1, 2
    assert found.class_shares == pytest.approx((0.5, 0.5, 0))
    assert found.prior == (0.25, 0.25, 0.5)
    assert found.class_ratio == pytest.approx((2.0, 2.0, 0.0))
    assert found.total_variation == pytest.approx(0.5)
    assert found.effective_classes == pytest.approx(2.0)
    assert found.true_accuracy == pytest.approx(2 / 3)
    assert (found.estimate, found.calibration, found.held_out) == (None, None, 0)
    assert "agreement of the members or looks 75.0%" in found.text()


def test_nothing_said_tells_nothing():
    found = from_ledger(ledger_of(), torch.ones(3))
    assert (found.coverage, found.accepted) == (0, 0)
    unknown = (found.flip_rate, found.agreement, found.total_variation, found.effective_classes, found.true_accuracy)
    assert unknown == (None,) * 5
    assert from_ledger(ledger_of()).prior is None
    with pytest.raises(ValueError, match="there are 3 classes"):
        from_ledger(ledger_of(), torch.ones(2))


def test_distances_by_formula():
    shares, prior = torch.tensor([0.5, 0.3, 0.2]), torch.tensor([0.2, 0.3, 0.5])
    assert total_variation(shares, prior) == pytest.approx(0.3)
    assert total_variation(shares, shares) == 0
    assert effective_classes(shares) == pytest.approx(math.exp(stats.entropy(shares.double().numpy())))
    assert effective_classes(torch.tensor([0.0, 1.0])) == 1
    assert effective_classes(torch.full((7,), 1 / 7)) == pytest.approx(7)


# -- the report --------------------------------------------------------------------------------------------------------
def shipped_and_pile(n=120, seed=0):
    """A strategy that ships the inputs, held-out labels that are right as often as it says, and a ledger like them."""
    generator = torch.Generator().manual_seed(seed)
    value = (3 * torch.randn(n + 300, 3, generator=generator)).softmax(1)
    right = torch.multinomial(value, 1, generator=generator).squeeze(1)
    pile = MemoryPile()
    pile.parts["validation"] = value[:n], right[:n]
    pile.parts["unlabeled"] = value[n:], right[n:]
    ledger = Ledger([str(i) for i in range(300)], NAMES, right[n:])
    weight = (value[n:].amax(1) > 0.8).float()
    ledger.write(PseudoLabels(torch.arange(300), value[n:], weight), TASK, 0)
    return Shipped(TASK), pile, ledger


def test_the_report_puts_everything_together():
    strategy, pile, ledger = shipped_and_pile()
    found = report(strategy, pile, ledger, seed=4)
    value, right = pile.parts["validation"]
    sure, label = value.max(1)
    asked = ledger.confidence[ledger.accepted]
    assert found.estimate == estimate_accuracy(sure, label == right, asked, seed=4)
    assert found.calibration == calibrate(strategy, pile)
    assert found.view_agreement == view_agreement(strategy, pile, seed=4)
    assert found.held_out == 120
    assert found.prior == pytest.approx(tuple((torch.bincount(right, minlength=3) / 120).tolist()))
    assert found.true_accuracy == ledger.summary()["pseudo_label_accuracy"]
    assert found.estimate.low <= found.true_accuracy <= found.estimate.high
    assert found.class_shares == pytest.approx(tuple(ledger.class_shares().tolist()))
    given = report(strategy, pile, ledger, prior=torch.tensor([2.0, 1.0, 1.0]))
    assert given.prior == (0.5, 0.25, 0.25)


def test_the_report_can_be_stored_and_read():
    strategy, pile, ledger = shipped_and_pile()
    found = report(strategy, pile, ledger)
    stored = json.loads(json.dumps(found.to_dict()))
    assert stored["estimate"] == {"value": found.estimate.value, "low": found.estimate.low, "high": found.estimate.high}
    assert stored["classes"] == list(NAMES)
    assert stored["calibration"]["samples"] == 120
    text = found.text()
    value, low, high = (f"{100 * v:.1f}%" for v in (found.estimate.value, found.estimate.low, found.estimate.high))
    assert f"accuracy of the accepted: {value}, between {low} and {high} (from 120 held-out samples)" in text
    assert f"true accuracy of the accepted: {found.true_accuracy:.1%}" in text
    assert f"decided alike on 3 weak views {found.view_agreement:.1%}" in text
    assert stored["view_agreement"] == found.view_agreement
    assert stored["pile_calibration"]["error_after"] == found.pile_calibration.error_after
    for word in ("calibration error", "classes in effect", "of 3", "times as often"):
        assert word in text


def test_the_calibration_of_pseudo_labels_is_that_of_the_pile():
    """Of all 300, with the temperature of the held-out labels; of those alone whose truth is known."""
    strategy, pile, ledger = shipped_and_pile()
    value, right = pile.parts["unlabeled"]
    found = report(strategy, pile, ledger)
    expected = calibration_at(value, right, found.calibration.temperature)
    got = found.pile_calibration
    assert got.samples == 300
    assert got.temperature == found.calibration.temperature
    assert (got.error_before, got.error_after) == pytest.approx((expected.error_before, expected.error_after), abs=1e-6)
    text = found.text()
    for c, of in ((got, "(pseudo-labels, by the truth of 300)"), (found.calibration, "(120 held-out samples)")):
        line = f"calibration error {c.error_before:.3f}, at temperature {c.temperature:.2f} {c.error_after:.3f} {of}"
        assert line in text
    pile.parts["unlabeled"] = value, torch.where(torch.arange(300) % 3 == 0, right, -1)
    expected = calibration_at(value[::3], right[::3], found.calibration.temperature)
    got = report(strategy, pile, ledger).pile_calibration
    assert got.samples == 100
    assert (got.error_before, got.error_after) == pytest.approx((expected.error_before, expected.error_after), abs=1e-6)


@pytest.mark.parametrize("truth", [None, torch.full((300,), -1)])
def test_without_the_truth_held_out_labels_stand_for_the_pile(truth):
    strategy, pile, ledger = shipped_and_pile()
    pile.unlabeled_truth = lambda: truth
    found = report(strategy, pile, ledger)
    assert found.pile_calibration is None
    assert found.calibration == calibrate(strategy, pile)
    assert "by the truth" not in found.text()
    assert "(120 held-out samples)" in found.text()


def test_one_held_out_label_cannot_say_what_the_temperature_does():
    strategy, pile, ledger = shipped_and_pile(n=1)
    found = report(strategy, pile, ledger)
    assert found.calibration.error_after is None
    assert f"at temperature {found.calibration.temperature:.2f} unknown (1 held-out samples)" in found.text()
    assert found.pile_calibration.error_after is not None
    assert json.dumps(found.to_dict())


def test_without_held_out_labels_the_rest_is_reported():
    strategy, pile, ledger = shipped_and_pile()
    pile.parts["validation"] = torch.zeros(0, 3), torch.zeros(0, dtype=torch.long)
    found = report(strategy, pile, ledger)
    assert (found.estimate, found.calibration, found.prior) == (None, None, None)
    assert found.accepted > 0
    assert found.view_agreement == view_agreement(strategy, pile)
    assert "unknown (no held-out labels; hold some back (validation=...))" in found.text()
    assert json.dumps(found.to_dict())


def test_nothing_accepted_has_no_accuracy():
    strategy, pile, _ = shipped_and_pile()
    found = report(strategy, pile, ledger_of())
    assert found.estimate is None
    assert "unknown (nothing is accepted)" in found.text()
    assert found.calibration is not None


def test_masks_count_by_the_sample():
    generator = torch.Generator().manual_seed(1)
    value = (2 * torch.randn(30, 3, 4, 5, generator=generator)).softmax(1)
    masks = torch.where(torch.rand(30, 4, 5, generator=generator) < 0.7, value.argmax(1), 0)
    masks[3] = 255
    masks[4, :2] = 255
    pile, task, ledger = MemoryPile(truth=False), Segmentation(3), ledger_of(30)
    pile.parts["validation"] = pile.parts["unlabeled"] = value, masks
    ledger.write(PseudoLabels(torch.arange(30), value, torch.ones(30, 4, 5)), task, 0)
    found = report(Shipped(task), pile, ledger, seed=2)
    keep = [i for i in range(30) if i != 3]
    valid = masks != 255
    right = torch.stack([(value[i].argmax(0) == masks[i])[valid[i]].double().mean() for i in keep])
    sure = value.amax(1).flatten(1).mean(1)
    assert found.held_out == 29
    expected = estimate_accuracy(sure[keep], right, ledger.confidence, seed=2)
    got = found.estimate
    assert (got.value, got.low, got.high) == pytest.approx((expected.value, expected.low, expected.high), abs=1e-3)
    typical = torch.stack([torch.bincount(masks[i][valid[i]], minlength=3).argmax() for i in keep])
    assert found.prior == pytest.approx(tuple((torch.bincount(typical, minlength=3) / 29).tolist()))
    assert found.pile_calibration is None
    assert found.view_agreement == view_agreement(Shipped(task), pile, seed=2)


def test_joints_have_no_classes():
    task = Keypoints(2, (8, 8), radius=1.0)
    generator = torch.Generator().manual_seed(0)
    points = torch.cat([torch.randint(1, 7, (10, 2, 2), generator=generator), torch.ones(10, 2, 1)], 2)
    value = task.encode(points).value
    value[0, 0] = value[0, 0].flip(-1).roll(3, 0)  # one wrong joint
    pile, ledger = MemoryPile(truth=False), ledger_of(10, classes=())
    pile.parts["validation"] = pile.parts["unlabeled"] = value, points
    ledger.write(PseudoLabels(torch.arange(10), value, torch.ones(10, 2)), task, 0)
    found = report(Shipped(task), pile, ledger)
    shares = torch.ones(10, dtype=torch.double)
    shares[0] = 0.5
    expected = estimate_accuracy(value.flatten(2).amax(2).mean(1).clamp(0, 1), shares, ledger.confidence.clamp(0, 1))
    assert found.estimate == expected
    assert (found.calibration, found.classes, found.class_ratio, found.effective_classes) == (None, (), None, None)
    assert "classes" not in found.text()
    assert found.view_agreement == view_agreement(Shipped(task), pile)


def test_the_report_of_a_run():
    torch.manual_seed(0)
    strategy = strategies.FixMatch(TASK, learner(lambda: toy.mlp(3, 3, width=8), lr=0.05), select=select.above(0.6))
    run = fit(strategy, MemoryPile(blobs), steps=40, plan=BatchPlan(8, 2.0))
    found = report(strategy, run.pile, run.ledger)
    assert isinstance(found.estimate, Estimate)
    assert found.estimate.low <= found.true_accuracy <= found.estimate.high
    assert found.flip_rate is not None
