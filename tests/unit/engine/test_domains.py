"""Piles that know that labeled and unlabeled samples are of different domains."""

import warnings
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

import selftrain as st
from selftrain import data, strategies
from selftrain.errors import DataError

PLAN = st.BatchPlan(labeled=4, unlabeled_ratio=1)
QUIET = [st.handlers.DataSummary(show=False), st.handlers.SelfCheck(on=False)]
X = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
PILE = data.Pile.from_arrays(X, [0, 1] * 4 + [-1] * 12)
CLEAN_AND_NOISY = PILE.of_domains("clean", ["clean"] * 5 + ["noisy"] * 7)


def fit(pile, norm=nn.BatchNorm1d, make=strategies.FixMatch, **settings):
    learner = st.learner(nn.Sequential(nn.Linear(3, 4), norm(4), nn.Linear(4, 2)), lr=1e-3)
    return st.fit(make(st.Classification(2), learner, **settings), pile, steps=2, plan=PLAN, handlers=QUIET)


def test_batchnorm_of_two_domains_is_told_once():
    with pytest.warns(UserWarning, match="labeled samples are of clean and unlabeled ones of clean, noisy") as told:
        fit(CLEAN_AND_NOISY)
    texts = [str(one.message) for one in told if "domain" in str(one.message) or "clean" in str(one.message)]
    assert len(texts) == 1
    assert texts[0].endswith("build FixMatch with together=False")


QUIETLY = {
    "two passes": partial(fit, CLEAN_AND_NOISY, together=False),
    "no BatchNorm": partial(fit, CLEAN_AND_NOISY, nn.LayerNorm),
    "labels alone": partial(fit, CLEAN_AND_NOISY, make=strategies.Supervised, decay=None),
    "nobody has said": partial(fit, PILE),
    "one domain": partial(fit, PILE.of_domains("clean", ["clean"] * 12)),
}


@pytest.mark.parametrize("name", QUIETLY)
def test_nothing_is_told_where(name):
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*BatchNorm")
        QUIETLY[name]()


def test_a_pile_that_knows_is_trained_alike_and_stays_so():
    torch.manual_seed(0)
    plain = fit(PILE, together=False)
    torch.manual_seed(0)
    known = fit(CLEAN_AND_NOISY, together=False)
    for one, other in zip(plain.strategy.parameters(), known.strategy.parameters(), strict=True):
        assert torch.equal(one, other)
    assert not PILE.domains
    corrected = CLEAN_AND_NOISY.reviewed({CLEAN_AND_NOISY.unlabeled_ids()[0]: 1})
    assert "noisy" in corrected.shifted


def test_the_check_knows_domains():
    told = [one for one in data.check(CLEAN_AND_NOISY).findings if one.kind == "domains"]
    assert [one.text for one in told] == [
        f"{CLEAN_AND_NOISY.shifted}: a network with BatchNorm needs a strategy with together=False"
    ]
    assert not [one for one in data.check(PILE).findings if one.kind == "domains"]


def test_domains_are_counted():
    with pytest.raises(DataError, match="3 domains for 12 unlabeled samples; give one for each, or one name for all"):
        PILE.of_domains("clean", ["noisy"] * 3)
