"""The segmenter keeps to scikit-learn's manner, and its score is the field's mean IoU."""

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.metrics import jaccard_score
from torch import nn

from selftrain.errors import DataError
from selftrain.estimator import SelfTrainSegmenter

DRAW = np.random.RandomState(0)
X = DRAW.rand(10, 12, 12, 3)
Y = np.where(X[..., 0] > 0.5, 7, 2)
HIDDEN = Y.copy()
HIDDEN[4:] = 255
HIDDEN[0, 0] = 255


@pytest.fixture(scope="module")
def model():
    net = nn.Conv2d(3, 2, 1)
    return SelfTrainSegmenter(steps=60, network=net, lr=0.1, validation=1, random_state=0).fit(X, HIDDEN)


def test_masks_in_masks_out(model):
    assert model.classes_.tolist() == [2, 7]
    proba, mask = model.predict_proba(X), model.predict(X)
    assert proba.shape == (10, 2, 12, 12)
    assert np.allclose(proba.sum(1), 1)
    assert (mask == np.where(proba[:, 1] > proba[:, 0], 7, 2)).all()
    known = HIDDEN != 255
    wanted = jaccard_score(HIDDEN[known], mask[known], average="macro")
    assert model.score(X, HIDDEN) == pytest.approx(wanted)
    assert model.score(X, Y) > 0.8
    again = pickle.loads(pickle.dumps(model))
    assert (again.predict(X) == mask).all()
    assert len(model.ledger_) == 6
    assert model.ledger_.units.shape == (6, 2, 3)
    assert model.n_iter_ == 60


def test_it_repeats_and_is_cloned(model):
    same = clone(model).fit(X, HIDDEN)
    assert np.array_equal(same.predict_proba(X), model.predict_proba(X))


def test_what_is_no_mask_is_refused(model):
    with pytest.raises(DataError, match=r"give integers of shape \(10, 12, 12\), one for each pixel, 255 where"):
        clone(model).fit(X, HIDDEN[:, 0])
    with pytest.raises(DataError, match=r"y has the classes \[2\]; give masks of at least two"):
        clone(model).fit(X, np.full_like(Y, 2))
    with pytest.raises(DataError, match=r"class 3, which fit did not see; give masks of the classes \[2, 7\]"):
        model.score(X, np.full_like(Y, 3))
    with pytest.raises(DataError, match="no pixel with a label; give masks of the classes"):
        model.score(X, np.full_like(Y, 255))
