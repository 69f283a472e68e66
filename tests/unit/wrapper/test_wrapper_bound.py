"""The transductive bound against an implementation of its equations by loops over rows, thresholds and classes."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.naive_bayes import GaussianNB
from wrapper_helpers import candidates, draw_votes

from selftrain.wrapper import SelfTraining, TransductiveBound, class_thresholds
from selftrain.wrapper.bound import error_curve, visited


def slow_search(values, early_stop):
    """Smallest value and its place; the search ends once two successive values rise."""
    best, place = float("inf"), None
    for k, value in enumerate(values):
        if value < best:
            best, place = value, k
        if early_stop and k >= 2 and values[k] > values[k - 1] > values[k - 2]:
            break
    return best, place


def slow_risk(votes, posterior, i, j, theta, grid, early_stop):
    """R_ij(theta), one row at a time."""
    mass = sum(p[i] for p in posterior)
    decided = [max(range(len(v)), key=lambda c: v[c]) for v in votes]
    K = sum(p[i] * v[j] for v, p, b in zip(votes, posterior, decided, strict=True) if b == j) / mass

    def M(t):
        return sum(p[i] * v[j] for v, p in zip(votes, posterior, strict=True) if v[j] < t) / mass

    values = []
    for k in range(1, grid + 1):
        g = theta + (1 - theta) * k / grid
        I = sum(p[i] for v, p in zip(votes, posterior, strict=True) if theta <= v[j] < g) / mass  # noqa: E741
        values.append(I + max(0.0, K + M(theta) - M(g)) / g)
    return slow_search(values, early_stop)[0]


def slow_curve(votes, posterior, j, grid, early_stop):
    """Thresholds and conditional errors E_j."""
    votes, posterior = votes.tolist(), posterior.tolist()
    n, classes = len(votes), len(votes[0])
    low, high = min(v[j] for v in votes), max(v[j] for v in votes)
    thresholds = [low + (high - low) * k / (grid - 1) for k in range(grid - 1)] + [high]
    errors = []
    for theta in thresholds:
        joint = sum(
            sum(p[i] for p in posterior) * slow_risk(votes, posterior, i, j, theta, grid, early_stop)
            for i in range(classes)
            if i != j
        )
        kept = sum(v[j] >= theta and max(range(classes), key=lambda c: v[c]) == j for v in votes)
        errors.append(joint / n / (kept / n) if kept else float("inf"))
    return thresholds, errors


@pytest.mark.parametrize("early_stop", [True, False])
@pytest.mark.parametrize(("classes", "sharp"), [(2, 1.0), (3, 2.0), (5, 1.0)])
def test_errors_and_thresholds_are_those_of_the_equations(classes, sharp, early_stop):
    votes = draw_votes(classes, n=25, classes=classes, sharp=sharp)
    posterior = draw_votes(9, n=25, classes=classes)
    found = class_thresholds(votes, posterior, grid=12, early_stop=early_stop)
    for j in range(classes):
        thresholds, errors = slow_curve(votes, posterior, j, 12, early_stop)
        mine, curve = error_curve(votes, posterior, j, grid=12, early_stop=early_stop)
        np.testing.assert_allclose(mine, thresholds)
        np.testing.assert_allclose(curve, errors)
        assert found[j] == pytest.approx(thresholds[slow_search(errors, early_stop)[1]])


def test_the_grid_of_the_paper_has_fifty_places():
    votes = draw_votes(0, n=12, classes=2, sharp=2.0)
    thresholds, errors = slow_curve(votes, votes, 1, 50, True)
    best = thresholds[slow_search(errors, True)[1]]
    assert class_thresholds(votes)[1] == pytest.approx(best)


@pytest.mark.parametrize("seed", [3, 4, 5])
def test_the_early_end_matters(seed):
    votes = draw_votes(seed, n=15, sharp=4.0)
    early, whole = (class_thresholds(votes, grid=20, early_stop=stop) for stop in (True, False))
    assert not np.array_equal(early, whole)
    for j in range(3):
        thresholds, errors = slow_curve(votes, votes, j, 20, True)
        assert early[j] == pytest.approx(thresholds[slow_search(errors, True)[1]])


def test_the_votes_are_the_posterior_unless_another_is_given():
    votes = draw_votes(1, sharp=2.0)
    assert np.array_equal(class_thresholds(votes), class_thresholds(votes, votes))
    assert not np.array_equal(class_thresholds(votes), class_thresholds(votes, np.full_like(votes, 1 / 3)))


def test_a_class_that_is_nowhere_decided_for_has_no_finite_threshold():
    votes = draw_votes(2, classes=3)
    votes[:, 2] = 0
    votes /= votes.sum(1, keepdims=True)
    thresholds = class_thresholds(votes)
    assert np.isinf(thresholds[2])
    assert np.isfinite(thresholds[:2]).all()  # the class without mass adds nothing to their bounds


def test_certain_votes_leave_no_error_above_zero():
    votes = np.repeat(np.eye(2), 5, axis=0)
    thresholds, errors = error_curve(votes, None, 0, grid=5)
    assert thresholds.tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert errors.tolist() == [
        1,
        0,
        0,
        0,
        0,
    ]  # at 0 the 5 rows of the other class pass: I = 1, m_i R = 5 over 5 decided
    assert class_thresholds(votes, grid=5).tolist() == [0.25, 0.25]
    assert TransductiveBound().select(candidates(votes)).chosen.all()


def test_rows_pass_by_the_threshold_of_their_own_class():
    votes = draw_votes(3, sharp=2.0)
    thresholds = class_thresholds(votes)
    choice = TransductiveBound().select(candidates(votes))
    expected = [v.max() >= thresholds[v.argmax()] for v in votes]
    assert choice.chosen.tolist() == expected
    assert 0 < sum(expected) < len(votes)
    assert np.array_equal(choice.threshold, thresholds)


def test_the_posterior_can_be_that_of_the_first_round_uniform_or_given():
    votes, first = draw_votes(4, sharp=2.0), draw_votes(5, sharp=2.0)
    asked = candidates(votes, first=first, rows=np.arange(60) + 3)
    given = np.vstack([np.full((3, 3), 1 / 3), draw_votes(6)])
    posteriors = {
        "votes": votes, "first": first, "uniform": np.full((60, 3), 1 / 3),
    }  # fmt: skip
    for name, posterior in posteriors.items():
        assert np.array_equal(TransductiveBound(name).select(asked).threshold, class_thresholds(votes, posterior))
    assert np.array_equal(TransductiveBound(given).select(asked).threshold, class_thresholds(votes, given[3:]))
    prior = [0.5, 0.3, 0.2]
    assert np.array_equal(
        TransductiveBound(prior).select(asked).threshold, class_thresholds(votes, np.tile(prior, (60, 1)))
    )


def test_a_posterior_by_row_meets_the_rows_of_x_in_every_round():
    """Labels lie among the unlabeled rows, and rows leave: a posterior is looked up by the row's place in X."""
    seen = []

    class Watched(TransductiveBound):
        def select(self, candidates):
            seen.append((candidates.rows.copy(), self._posterior(candidates)))
            choice = super().select(candidates)
            few = choice.chosen & (np.cumsum(choice.chosen) <= 9)  # so that there is a round with other rows
            return replace(choice, chosen=few)

    rng = np.random.default_rng(0)
    y = np.arange(60) % 2
    x = y[:, None] * 2.0 + rng.normal(size=(60, 2))
    hidden = np.where(np.isin(np.arange(60), [3, 8, 20, 41, 50, 55]), y, -1)
    given = draw_votes(2, n=60, classes=2)
    SelfTraining(GaussianNB(), policy=Watched(posterior=given), max_rounds=3).fit(x, hidden)
    assert len(seen) > 1
    assert len(seen[1][0]) < len(seen[0][0])
    assert seen[0][0].tolist() == np.flatnonzero(hidden < 0).tolist()
    for rows, posterior in seen:
        assert np.array_equal(posterior, given[rows])


def test_grid_and_early_end_are_settings_of_the_policy():
    votes = draw_votes(1, n=40, sharp=2.0)
    asked = candidates(votes)
    assert np.array_equal(TransductiveBound(grid=7).select(asked).threshold, class_thresholds(votes, grid=7))
    whole = TransductiveBound(early_stop=False).select(asked).threshold
    assert np.array_equal(whole, class_thresholds(votes, early_stop=False))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"posterior": "oracle"}, "posterior is 'oracle'; choose one of"),
        ({"posterior": [0.5, 0.6]}, r"posterior of shape \(2,\) must have rows of probabilities that sum to 1"),
        ({"posterior": [1.5, -0.5]}, "must have rows of probabilities"),
        ({"grid": 1}, "grid is 1; it must be at least 2"),
    ],
)
def test_settings_out_of_range_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        TransductiveBound(**settings)


@pytest.mark.parametrize("given", [[0.5, 0.5], np.full((10, 3), 1 / 3)])
def test_a_posterior_of_another_shape_is_refused(given):
    with pytest.raises(ValueError, match="it needs 3 classes, and a row a row of X"):
        TransductiveBound(given).select(candidates(draw_votes(0)))


@pytest.mark.parametrize(
    ("values", "seen"),
    [
        ([3, 2, 1, 0], [1, 1, 1, 1]),
        ([0, 1, 2, 3, 4], [1, 1, 1, 0, 0]),
        ([1, 2, 2, 3, 4, 0], [1, 1, 1, 1, 1, 0]),
        ([1, 2, 1, 2, 1], [1, 1, 1, 1, 1]),
        ([1, 2], [1, 1]),
        ([0, np.inf, np.inf, 1], [1, 1, 1, 1]),
    ],
)
def test_a_search_ends_after_two_rises(values, seen):
    assert visited(np.array(values, dtype=float)).tolist() == [bool(s) for s in seen]
    stacked = np.array([values, values], dtype=float)
    assert visited(stacked).tolist() == [[bool(s) for s in seen]] * 2
