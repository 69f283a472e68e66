"""Every policy on confidences written by hand."""

import numpy as np
import pytest
from sklearn.base import clone
from wrapper_helpers import candidates

from selftrain.wrapper import Fixed, Mean, MostConfident, PerClass, Policy, Proportion, RandomSubset

#             decided for:   a    a    b    a    b    b
FIRST_CLASS = np.array([0.9, 0.6, 0.3, 0.8, 0.45, 0.2])
VOTES = np.stack([FIRST_CLASS, 1 - FIRST_CLASS], axis=1)  # scores .9 .6 .7 .8 .55 .8


def chosen(policy, **more):
    return np.flatnonzero(policy.select(candidates(VOTES, **more)).chosen).tolist()


def threshold(policy, **more):
    return policy.select(candidates(VOTES, **more)).threshold


def test_the_fixed_threshold_itself_passes():
    assert chosen(Fixed()) == [0, 3, 5]
    assert chosen(Fixed(0.9)) == [0]
    assert chosen(Fixed(np.nextafter(0.9, 1))) == []
    assert threshold(Fixed(0.6)) == 0.6


def test_the_mean_is_that_of_the_candidates():
    assert threshold(Mean()) == pytest.approx((0.9 + 0.6 + 0.7 + 0.8 + 0.55 + 0.8) / 6)
    assert chosen(Mean()) == [0, 3, 5]


def test_equal_confidences_all_reach_their_mean():
    votes = np.full((3, 10), 0.1)
    assert Mean().select(candidates(votes)).chosen.all()  # the mean of 0.1, 0.1, 0.1 is a little above 0.1


@pytest.mark.parametrize(
    ("take", "rows", "lowest"), [(1, [0], 0.9), (2, [0, 3], 0.8), (0.5, [0, 3, 5], 0.8), (0.51, [0, 2, 3, 5], 0.7)]
)
def test_the_most_confident_are_counted(take, rows, lowest):
    assert chosen(MostConfident(take)) == rows
    assert threshold(MostConfident(take)) == pytest.approx(lowest)


def test_a_share_is_one_of_all_unlabeled_rows():
    assert chosen(MostConfident(0.1), total=20) == [0, 3]
    assert len(chosen(MostConfident(0.1), total=30)) == 3  # 0.1 * 30 is a little above 3
    assert len(chosen(RandomSubset(0.1), total=30)) == 3


def test_more_than_there_are_is_all():
    assert chosen(MostConfident(7)) == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(("take", "rows"), [(1, [0, 5]), (2, [0, 2, 3, 5]), (0.3, [0, 5]), (0.5, [0, 2, 3, 5])])
def test_each_class_gives_its_surest(take, rows):
    assert chosen(PerClass(take)) == rows


def test_equal_ratio_is_of_each_class():
    p = np.array([0.9, 0.8, 0.7, 0.6, 0.3])  # four decided for a, one for b
    choice = PerClass(0.5).select(candidates(np.stack([p, 1 - p], axis=1)))
    assert np.flatnonzero(choice.chosen).tolist() == [0, 1, 4]
    assert choice.threshold.tolist() == pytest.approx([0.8, 0.7])


@pytest.mark.parametrize(
    ("take", "prior", "rows"),
    [(2, [0.75, 0.25], [0, 1, 3, 5]), (0.5, [0.3, 0.7], [0, 2, 5]), (1, [0.99, 0.01], [0, 3, 5])],
)
def test_the_ratio_of_the_labels(take, prior, rows):
    assert chosen(PerClass(take, "labels"), prior=prior) == rows


def test_a_class_nowhere_decided_for_has_no_threshold():
    votes = np.hstack([VOTES, np.zeros((6, 1))])
    choice = PerClass(1).select(candidates(votes))
    assert choice.threshold[:2].tolist() == [0.9, 0.8]
    assert np.isnan(choice.threshold[2])


@pytest.mark.parametrize(
    ("round", "rows"), [(1, [0, 3, 5]), (2, [0, 2, 3, 5]), (3, [0, 1, 2, 3, 5]), (4, [0, 1, 2, 3, 4, 5])]
)
def test_the_proportion_grows_until_all_are_taken(round, rows):
    policy = Proportion(0.3)
    assert chosen(policy, round=round) == rows
    expected = np.percentile([0.9, 0.6, 0.7, 0.8, 0.55, 0.8], max(0, 100 - 30 * round))
    assert threshold(policy, round=round) == pytest.approx(expected)
    assert policy.done(round) == (round == 4)


@pytest.mark.parametrize(("step", "last"), [(0.2, 5), (0.1, 10), (1 / 3, 3), (1.0, 1)])
def test_the_last_round_is_that_in_which_the_steps_add_up(step, last):
    assert [Proportion(step).done(r) for r in range(last + 1)] == [False] * last + [True]


def test_proportion_labels_anew_and_the_others_do_not():
    assert Proportion.relabels
    assert not any(kind.relabels for kind in (Fixed, Mean, MostConfident, PerClass, RandomSubset))


def test_a_random_subset_does_not_look_at_confidence():
    drawn = [tuple(chosen(RandomSubset(2), seed=seed)) for seed in range(60)]
    assert {len(rows) for rows in drawn} == {2}
    assert set(sum(drawn, ())) == set(range(6))
    assert chosen(RandomSubset(2), seed=3) == chosen(RandomSubset(2), seed=3)
    assert threshold(RandomSubset(2)) is None


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Fixed(1.1), r"threshold is 1.1; it must be in \[0, 1\]"),
        (lambda: Fixed(-0.1), "threshold is -0.1"),
        (lambda: MostConfident(0), "take is 0; it must be an integer of at least 1 or a share"),
        (lambda: MostConfident(1.5), "take is 1.5"),
        (lambda: MostConfident(True), "take is True"),
        (lambda: PerClass(-1), "take is -1"),
        (lambda: PerClass(0.1, "prior"), "ratio is 'prior'; choose one of"),
        (lambda: RandomSubset(0.0), "take is 0.0"),
        (lambda: Proportion(0.0), r"step is 0.0; it must be in \(0, 1\]"),
        (lambda: Proportion(1.01), "step is 1.01"),
    ],
)
def test_settings_out_of_range_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_policies_are_cloned_and_set_like_estimators():
    assert clone(PerClass(3, "labels")).get_params() == {"take": 3, "ratio": "labels"}
    policy = Fixed().set_params(threshold=2)
    with pytest.raises(ValueError, match="threshold is 2"):
        policy.check()


def test_the_base_policy_chooses_nothing_by_itself():
    with pytest.raises(NotImplementedError, match="Policy has no select"):
        Policy().select(candidates(VOTES))
