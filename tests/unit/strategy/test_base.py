"""What every strategy has from its base: checked settings, and the memory of what it was built with."""

import copy
import inspect

import pytest
import torch

from selftrain import Strategy, select, strategies, toy

TASK = toy.task("classification")


class Open(Strategy):
    """Takes anything."""

    def __init__(self, first: int, *, second: float = 0.5, **more: object) -> None:
        super().__init__()
        self.seen = (first, second, more)


def test_a_misspelled_setting_names_the_strategy_and_the_nearest_setting():
    with pytest.raises(TypeError, match="MeanTeacher has no setting 'ordr'; did you mean 'order'"):
        strategies.MeanTeacher(TASK, toy.learner("classification"), ordr="after")


def test_a_setting_like_no_other_shows_those_there_are():
    with pytest.raises(TypeError, match="Supervised has no setting 'xyz'; it takes task, make_learner, decay, buffers"):
        strategies.Supervised(TASK, toy.learner("classification"), xyz=1)


def test_a_missing_argument_names_the_strategy():
    with pytest.raises(TypeError, match="Supervised is called without make_learner; call Supervised.task, make_l"):
        strategies.Supervised(TASK)


def test_an_error_of_the_constructor_itself_stays_what_it_is():
    with pytest.raises(ValueError, match="decay is 3"):
        strategies.Supervised(TASK, toy.learner("classification"), decay=3)


def test_the_signature_of_a_class_is_that_of_its_constructor():
    assert list(inspect.signature(strategies.Supervised).parameters) == ["task", "make_learner", "decay", "buffers"]
    assert list(inspect.signature(Open).parameters) == ["first", "second", "more"]


def test_what_a_strategy_was_built_with_is_kept_with_defaults():
    make = toy.learner("classification")
    strategy = strategies.Supervised(TASK, make, decay=0.5)
    assert strategy.arguments == {"task": TASK, "make_learner": make, "decay": 0.5, "buffers": "ema"}
    assert not any("arguments" in name for name in strategy.state_dict())
    assert copy.deepcopy(strategy).arguments["decay"] == 0.5


def test_fixmatch_takes_a_threshold_or_a_rule():
    make = toy.learner("classification")
    assert strategies.FixMatch(TASK, make, threshold=0.7).pseudo_labeling.select.threshold == 0.7
    assert strategies.FixMatch(TASK, make, select=select.top(0.3)).pseudo_labeling.select.share == 0.3
    with pytest.raises(ValueError, match=r"threshold is 0.7, and select replaces it; give one of them"):
        strategies.FixMatch(TASK, make, threshold=0.7, select=select.top(0.3))


def test_settings_that_are_shared_are_explained_in_every_class_that_has_them():
    class Own(strategies.MeanTeacher):
        """Something else.

        Args:
            task: Kind of output.
            order: When.

        Raises:
            ValueError: never.
        """

    assert "\n    order: When.\n    make_learner: Builds the student.\n    decay: EMA" in Own.__doc__
    assert "\n    mix: Mixing of the learned view's samples with one another" in Own.__doc__
    assert Own.__doc__.endswith("ValueError: never.")
    assert Own.__doc__.count("order: ") == 1


def test_settings_that_a_constructor_takes_by_any_name_are_kept_by_name():
    assert Open(3, third="x").arguments == {"first": 3, "second": 0.5, "third": "x"}


def test_the_same_can_be_built_again_from_class_and_arguments():
    torch.manual_seed(0)
    first = strategies.FutureSelfTraining(TASK, toy.learner("classification"), depth=2)
    torch.manual_seed(0)
    again = type(first)(**first.arguments)
    assert again.depth == 2
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
