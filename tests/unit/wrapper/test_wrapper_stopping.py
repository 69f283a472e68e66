"""Every stopping criterion alone and provoked within a run."""

import numpy as np
import pytest
from wrapper_helpers import Centroids, scripted

from selftrain.wrapper import (
    Criterion,
    Exhausted,
    FewChanges,
    Fixed,
    MaxRounds,
    MostConfident,
    NoCandidate,
    PriorDrift,
    Proportion,
    RandomSubset,
    SelfTraining,
    State,
    ThresholdFloor,
    ValidationDrop,
)

X = np.arange(6.0)[:, None]
Y = np.array([0, -1, -1, -1, -1, 1])  # rows 1 to 4 are unlabeled


def state(**values):
    return State(**({"round": 3, "left": 5, "chosen": 2} | values))


# -- alone -------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("criterion", "no", "yes"),
    [
        (Exhausted(), state(left=1), state(left=0)),
        (NoCandidate(), state(chosen=1), state(chosen=0)),
        (MaxRounds(4), state(round=3), state(round=4)),
        (MaxRounds(0), state(round=-1), state(round=0)),
        (FewChanges(), state(changed=0.01), state(changed=0.0099)),
        (FewChanges(0.5), state(changed=None), state(changed=0.0)),
        (ThresholdFloor(0.6), state(threshold=0.6), state(threshold=0.59)),
        (ThresholdFloor(0.6), state(threshold=np.array([0.7, np.nan])), state(threshold=np.array([0.9, 0.5]))),
        (ValidationDrop(), state(scores=(0.7, 0.8, 0.8)), state(scores=(0.7, 0.8, 0.79))),
        (ValidationDrop(), state(scores=()), state(scores=(0.9, 0.1))),
        (ValidationDrop(2), state(scores=(0.8, 0.7)), state(scores=(0.8, 0.7, 0.7))),
        (ValidationDrop(2), state(scores=(0.8, 0.7, 0.8)), state(scores=(0.8, 0.7, 0.6))),
        (ValidationDrop(tolerance=0.1), state(scores=(0.8, 0.75)), state(scores=(0.8, 0.65))),
        (
            PriorDrift(0.2),
            state(shares=np.array([0.7, 0.3]), prior=np.array([0.5, 0.5])),
            state(shares=np.array([0.71, 0.29]), prior=np.array([0.5, 0.5])),
        ),
        (
            PriorDrift(0.2, [0.1, 0.9]),
            state(shares=np.array([0.1, 0.9]), prior=np.array([0.9, 0.1])),
            state(shares=np.array([0.9, 0.1]), prior=np.array([0.9, 0.1])),
        ),
    ],
    ids=lambda value: repr(value) if isinstance(value, Criterion) else "",
)
def test_a_criterion_fires_when_it_should_and_not_before(criterion, no, yes):
    assert [criterion.fires(no), criterion.fires(yes)] == [False, True]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MaxRounds(-1), "rounds is -1; it must be 0 or more"),
        (lambda: ValidationDrop(0), "patience is 0; it must be at least 1"),
        (lambda: ValidationDrop(tolerance=1.0), "tolerance is 1.0"),
        (lambda: FewChanges(0.0), r"share is 0.0; it must be in \(0, 1\]"),
        (lambda: ThresholdFloor(1.5), "floor is 1.5"),
        (lambda: PriorDrift(1.0), r"limit is 1.0; it must be in \(0, 1\)"),
        (lambda: PriorDrift(0.1, [0.5, 0.6]), "it must be shares that sum to 1"),
        (lambda: PriorDrift(0.1, [1.5, -0.5]), "it must be shares that sum to 1"),
    ],
)
def test_settings_out_of_range_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_the_base_criterion_knows_nothing():
    with pytest.raises(NotImplementedError, match="Criterion has no fires"):
        Criterion().fires(state())


# -- in a run ----------------------------------------------------------------------------------------------------------
def run(script, y=Y, **settings):
    settings = {"policy": Fixed(0.8), "weighting": "none"} | settings
    return SelfTraining(scripted(*script), **settings).fit(X, y)


def test_all_labeled():
    model = run([[0, 0.1, 0.9, 0.5, 0.5, 1], [0, 0.1, 0.9, 0.2, 0.8, 1]])
    assert (model.termination_condition_, model.n_iter_) == ("all_labeled", 2)
    assert model.labeled_iter_.tolist() == [0, 1, 1, 2, 2, 0]


def test_no_candidate():
    model = run([[0, 0.1, 0.9, 0.5, 0.5, 1], [0, 0.1, 0.9, 0.3, 0.7, 1]])
    assert (model.termination_condition_, model.n_iter_) == ("no_candidate", 2)
    assert model.transduction_.tolist() == [0, 0, 1, -1, -1, 1]
    assert model.history_[-1]["added"] == 0


def test_max_rounds():
    model = run([[0, 0.1, 0.2, 0.8, 0.9, 1]], policy=MostConfident(1), max_rounds=2)
    assert (model.termination_condition_, model.n_iter_) == ("max_rounds", 2)
    assert (model.labeled_iter_ > 0).sum() == 2


def test_no_round_at_all():
    model = run([[0, 0.1, 0.2, 0.8, 0.9, 1]], max_rounds=0)
    assert (model.termination_condition_, model.n_iter_, len(model.history_)) == ("max_rounds", 0, 1)
    assert model.transduction_.tolist() == Y.tolist()


def test_without_a_limit_it_goes_on():
    n = 40
    rows, y = np.arange(n)[:, None] / n, np.full(n, -1)
    y[[0, -1]] = 0, 1
    base = Centroids()
    assert SelfTraining(base, policy=MostConfident(1), weighting="none").fit(rows, y).n_iter_ == 10
    assert SelfTraining(base, policy=MostConfident(1), weighting="none", max_rounds=None).fit(rows, y).n_iter_ == 38


def test_the_end_of_a_schedule_is_the_end():
    model = run([[0, 0.1, 0.2, 0.8, 0.9, 1]], policy=Proportion(0.4))
    assert (model.termination_condition_, model.n_iter_) == ("all_labeled", 3)


VALIDATED = np.array([0, 0, -1, -1, 1, 1])  # one label of each class is held out
RIGHT, HALF, WRONG = [0, 0, 0.4, 0.6, 1, 1], [0.4, 0.6, 0.1, 0.9, 0.4, 0.6], [1, 1, 0.5, 0.5, 0, 0]


def test_a_drop_on_held_out_labels_keeps_the_best_round():
    script = [RIGHT, RIGHT, WRONG]
    settings = {"y": VALIDATED, "validation": 0.5, "random_state": 0, "policy": MostConfident(1)}
    model = run(script, stop=[ValidationDrop()], **settings)
    assert (model.termination_condition_, model.n_iter_, model.best_round_) == ("validation_drop", 2, 1)
    assert [row["validation"] for row in model.history_] == [1.0, 1.0, 0.0]
    assert model.estimator_.number_ == 1
    assert (model.labeled_iter_ == 1).sum() == 1  # what the best round's classifier had learned
    assert (model.labeled_iter_ == 2).sum() == 0
    plain = run(script, **settings)
    assert (plain.termination_condition_, plain.best_round_) == ("all_labeled", 2)


def test_patience_waits_for_a_recovery():
    script = [RIGHT, WRONG, RIGHT]
    settings = {"y": VALIDATED, "validation": 0.5, "random_state": 0, "policy": MostConfident(1)}
    model = run(script, stop=[ValidationDrop(patience=2)], **settings)
    assert (model.termination_condition_, model.best_round_) == ("all_labeled", 2)
    assert run(script, stop=[ValidationDrop()], **settings).best_round_ == 0


def test_the_best_round_is_kept_however_it_ends():
    settings = {"y": VALIDATED, "validation": 0.5, "random_state": 0, "policy": MostConfident(1)}
    model = run([RIGHT, WRONG, WRONG], stop=[ValidationDrop(patience=5)], **settings)
    assert (model.termination_condition_, model.best_round_) == ("all_labeled", 0)
    assert model.predict(X).tolist() == [0, 0, 0, 1, 1, 1]


def test_held_out_labels_are_not_learned_from():
    model = run([RIGHT], y=VALIDATED, validation=0.5, random_state=0)
    assert len(model.validation_) == 2
    assert sorted(VALIDATED[model.validation_]) == [0, 1]
    assert not set(model.validation_) & set(model.estimator_.seen_)
    assert np.array_equal(model.transduction_[model.validation_], VALIDATED[model.validation_])
    assert (model.labeled_iter_[model.validation_] == 0).all()


def test_few_changes():
    first, second = [0, 0.1, 0.4, 0.6, 0.9, 1], [0, 0.1, 0.6, 0.6, 0.9, 1]  # one of four decisions changes
    settings = {"policy": Fixed(0.95), "relabel": True, "stop": [FewChanges(0.1)]}
    always = run([first, second], **settings | {"policy": Fixed(0.0)})
    assert always.termination_condition_ == "few_changes"
    assert [row["changed"] for row in always.history_] == [None, None, 0.25, 0.0]
    assert run([first], **settings | {"policy": Fixed(0.0)}).n_iter_ == 2


def test_labels_that_stay_do_not_change():
    first, second = (
        [0, 0.1, 0.4, 0.6, 0.9, 1],
        [0, 0.9, 0.6, 0.6, 0.1, 1],
    )  # the chosen rows 1 and 4 are not asked again
    model = run([first, second], policy=Fixed(0.9), max_rounds=2, stop=[FewChanges(0.2)])
    assert model.history_[2]["changed"] == 0.25


def test_a_threshold_below_the_floor_is_not_learned_from():
    script = [[0, 0.1, 0.3, 0.6, 0.9, 1]]
    model = run(script, policy=MostConfident(1), stop=[ThresholdFloor(0.65)])
    assert (model.termination_condition_, model.n_iter_) == ("threshold_floor", 4)
    assert model.transduction_.tolist() == [0, 0, 0, -1, 1, 1]
    assert (model.history_[-1]["chosen"], model.history_[-1]["added"]) == (1, 0)
    assert run(script, policy=MostConfident(1)).transduction_.tolist() == [0, 0, 0, 1, 1, 1]


def test_a_floor_needs_a_threshold():
    with pytest.raises(ValueError, match="the policy has no threshold; take ThresholdFloor out of stop"):
        run([[0, 0.1, 0.3, 0.6, 0.9, 1]], policy=RandomSubset(1), stop=[ThresholdFloor()])


def test_a_drift_from_the_prior_is_not_learned_from():
    even, drifted = [0, 0.1, 0.2, 0.7, 0.9, 1], [0, 0.1, 0.3, 0.4, 0.9, 1]
    model = run([even, drifted], policy=MostConfident(1), stop=[PriorDrift(0.2)])
    assert (model.termination_condition_, model.n_iter_) == ("prior_drift", 2)
    assert (model.labeled_iter_ > 0).sum() == 1
    lenient = run([even, drifted], policy=MostConfident(1), stop=[PriorDrift(0.2, [0.75, 0.25])])
    assert lenient.termination_condition_ == "prior_drift"
    assert lenient.n_iter_ == 1
    assert run([even, drifted], policy=MostConfident(1), stop=[PriorDrift(0.4)]).termination_condition_ == "all_labeled"


def test_a_prior_of_another_length_is_refused():
    with pytest.raises(ValueError, match=r"prior has shape \(3,\); there are 2 classes"):
        run([[0, 0.1, 0.2, 0.7, 0.9, 1]], stop=[PriorDrift(0.2, [0.2, 0.3, 0.5])])


def test_the_first_that_fires_gives_the_name():
    script = [[0, 0.1, 0.2, 0.8, 0.9, 1]]
    both = [FewChanges(1.0), MaxRounds(2)]
    assert run(script, policy=MostConfident(1), stop=both).termination_condition_ == "few_changes"
    assert run(script, policy=MostConfident(1), stop=both[::-1]).termination_condition_ == "max_rounds"


def test_held_out_labels_are_needed_and_enough_of_them():
    with pytest.raises(ValueError, match="ValidationDrop needs held-out labels; set validation=0.2"):
        run([RIGHT], y=VALIDATED, stop=[ValidationDrop()])
    with pytest.raises(ValueError, match=r"validation is 1.5; it must be a share of the labels in \(0, 1\)"):
        run([RIGHT], y=VALIDATED, validation=1.5)
    with pytest.raises(ValueError, match=r"validation=0.2 of \[2, 2\] labels a class holds no row out"):
        run([RIGHT], y=VALIDATED, validation=0.2)
