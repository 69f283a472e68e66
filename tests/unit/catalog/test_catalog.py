"""Every method by name: all are listed, sizes are filled in, and what is built learns."""

from __future__ import annotations

import pytest
import torch
import zoo

from selftrain import catalog, strategies, toy

SHAPES = {"classification": (3,), "segmentation": (3, 12, 12), "keypoints": (2, 12, 12)}
BY_PIPELINE = {"NoisyStudent", "CurriculumLabeling"}  # they need labels of the whole pile first


def test_every_strategy_has_a_name():
    named = {method.make.__name__ for method in catalog.METHODS.values()}
    assert named == set(strategies.__all__) - BY_PIPELINE


@pytest.mark.parametrize(
    ("name", "kind"), [(name, k) for name in catalog.METHODS for k in getattr(zoo.ZOO.get(name), "kinds", toy.KINDS)]
)
def test_a_method_is_built_by_name_for_every_task(name, kind):
    settings = {"min_labeled": 4} if name == "soft_labels" else {}
    settings = settings | ({"prior_weight": 0.0} if name == "soft_labels" and kind == "keypoints" else {})
    make = toy.learner(kind, outputs=catalog.METHODS[name].outputs)
    strategy = catalog.build(name, toy.task(kind), make, unlabeled=24, label_shape=SHAPES[kind], **settings)
    before = zoo.weights(strategy)
    zoo.take_step(strategy, zoo.batches(strategy, kind))
    assert not torch.equal(before, zoo.weights(strategy))


def test_settings_win_over_those_of_the_name():
    make = toy.learner("classification")
    build = {"unlabeled": 24, "label_shape": (3,)}
    assert catalog.build("fst_d", toy.task("classification"), make, **build).depth == 3
    assert catalog.build("fst_d", toy.task("classification"), make, depth=1, **build).depth == 1


def test_an_unknown_name_is_refused_with_the_known_ones():
    make = toy.learner("classification")
    with pytest.raises(ValueError, match="'fixmtach'.*fixmatch"):
        catalog.build("fixmtach", toy.task("classification"), make, unlabeled=1, label_shape=(3,))
