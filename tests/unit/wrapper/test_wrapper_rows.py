"""Rows that wrappers take: whatever the classifier inside reads, untouched; numbers of any type of array."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.compose import make_column_transformer
from sklearn.ensemble import BaggingClassifier, RandomForestClassifier, VotingClassifier
from sklearn.feature_extraction import DictVectorizer
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder

from selftrain.errors import DataError
from selftrain.wrapper import CoTraining, Proportion, SelfTraining, TransductiveBound, TriTraining

COUNT = 40
Y = np.arange(COUNT) % 2
HIDDEN = np.where(np.arange(COUNT) < 12, Y, -1)
TEXT = [("good great" if label else "bad awful") + f" film {i % 3}" for i, label in enumerate(Y)]
FRAME = pd.DataFrame({"word": [text.split()[0] for text in TEXT], "n": np.arange(COUNT) % 3, "twice": Y * 2.0})
NUMBERS = np.random.RandomState(0).randn(COUNT, 3) + 3 * Y[:, None]
MAKERS = {
    "SelfTraining": lambda inner: SelfTraining(inner, weighting="none", max_rounds=2, random_state=0),
    "TriTraining": lambda inner: TriTraining(inner, max_rounds=2, random_state=0),
    "CoTraining": lambda inner: CoTraining(inner, views=(lambda X: X, lambda X: X), rounds=2, random_state=0),
}


class Lengths(TransformerMixin, BaseEstimator):
    """A step that reads what no array holds: rows of different lengths."""

    def fit(self, X, y=None):
        return self

    def transform(self, X):
        return np.array([[len(row), float(np.mean(row))] for row in X])


def last(step=None):
    return make_pipeline(*([] if step is None else [step]), LogisticRegression())


KINDS = {
    "list of texts": (last(TfidfVectorizer()), TEXT),
    "array of texts": (last(TfidfVectorizer()), np.array(TEXT)),
    "objects": (last(TfidfVectorizer()), np.array(TEXT, dtype=object)),
    "series of texts": (last(CountVectorizer()), pd.Series(TEXT, index=np.arange(COUNT)[::-1])),
    "dictionaries": (last(DictVectorizer()), [{text.split()[0]: 1.0} for text in TEXT]),
    "lists of words": (last(CountVectorizer(analyzer=lambda words: words)), [text.split() for text in TEXT]),
    "mixed columns": (
        last(make_column_transformer((OneHotEncoder(), ["word"]), remainder="passthrough")),
        FRAME.set_index(np.arange(COUNT)[::-1]),
    ),
    "objects of two axes": (last(OneHotEncoder()), FRAME[["word", "n"]].to_numpy()),
    "columns of numbers by name": (last(make_column_transformer(("passthrough", ["twice"]))), FRAME[["n", "twice"]]),
    "three axes": (last(FunctionTransformer(lambda x: x.reshape(len(x), -1))), np.stack([NUMBERS, NUMBERS], 1)),
    "coo": (last(), sparse.coo_matrix(NUMBERS)),
    "sparse array": (last(), sparse.csc_array(NUMBERS)),
    "ragged": (last(Lengths()), [np.full(3 + i % 2, label) for i, label in enumerate(Y)]),
}


@pytest.mark.parametrize("maker", MAKERS)
@pytest.mark.parametrize("kind", KINDS)
def test_what_the_classifier_reads_is_handed_on(kind, maker):
    pipeline, rows = KINDS[kind]
    model = MAKERS[maker](pipeline).fit(rows, HIDDEN)
    assert (model.predict(rows) == Y).mean() > 0.9
    assert model.predict_proba(rows).shape == (COUNT, 2)
    assert model.score(rows, Y) > 0.9


FORMS = {
    "bfloat16": lambda x: torch.from_numpy(x).bfloat16(),
    "float16": lambda x: x.astype(np.float16),
    "half": lambda x: torch.from_numpy(x).half(),
    "float8": lambda x: torch.from_numpy(x).float().to(torch.float8_e4m3fn),
    "gradient": lambda x: torch.from_numpy(x).requires_grad_(),
    "list of tensors": lambda x: list(torch.from_numpy(x).bfloat16().requires_grad_()),
    "transposed": lambda x: torch.from_numpy(x.T.copy()).T,
    "negative view": lambda x: torch._neg_view(torch.from_numpy(-x)),
    "big-endian": lambda x: x.astype(">f8"),
    "negative strides": lambda x: x[::-1][::-1],
    "reversed columns": lambda x: x[:, ::-1].copy()[:, ::-1],
    "Fortran": np.asfortranarray,
    "read-only": lambda x: np.frombuffer(x.tobytes()).reshape(x.shape),
    "lists": lambda x: x.tolist(),
    "longdouble": lambda x: x.astype(np.longdouble),
    "objects": lambda x: x.astype(object),
    "frame": pd.DataFrame,
    "masked": lambda x: np.ma.MaskedArray(x, mask=np.zeros_like(x, dtype=bool)),
}


@pytest.mark.parametrize("form", FORMS)
def test_numbers_of_any_array_are_the_same_numbers(form):
    exact = np.round(NUMBERS * 2)  # what every type above can hold
    rows = FORMS[form](exact)
    model = SelfTraining(LogisticRegression(), max_rounds=1).fit(rows, HIDDEN)
    expected = SelfTraining(LogisticRegression(), max_rounds=1).fit(exact, HIDDEN)
    np.testing.assert_allclose(model.predict_proba(rows), expected.predict_proba(exact), rtol=1e-3)
    assert model.n_features_in_ == 3


def test_what_is_masked_is_no_number():
    rows = np.ma.MaskedArray(NUMBERS, mask=np.eye(COUNT, 3) > 0)
    with pytest.raises(ValueError, match="NaN"):
        SelfTraining(LogisticRegression()).fit(rows, HIDDEN)


def test_a_sparse_tensor_is_refused_and_dense_it_works():
    with pytest.raises(DataError, match=r"X\.to_dense\(\)") as refused:
        SelfTraining(LogisticRegression()).fit(torch.from_numpy(NUMBERS).to_sparse(), HIDDEN)
    assert "scipy.sparse" in str(refused.value)
    dense = torch.from_numpy(NUMBERS).to_sparse().to_dense()
    assert SelfTraining(LogisticRegression()).fit(dense, HIDDEN).score(NUMBERS, Y) > 0.9


def test_rows_of_no_numbers_are_told_in_our_own_words_and_the_remedy_works():
    ragged = [list(row[: 2 + i % 2]) for i, row in enumerate(NUMBERS)]
    frame = pd.DataFrame(NUMBERS, columns=list("abc")).assign(d=["x", "y"] * (COUNT // 2))
    words = [f"w{int(row[0] > 0)}" for row in NUMBERS]
    for rows, told in (
        (ragged, r"rows of X have shapes \([23],\) and \([23],\); cut or pad"),
        (frame, r"columns \['d'\] of X hold no numbers; put make_column_transformer"),
        (words, "X holds text, such as 'w"),
    ):
        for wrapper in (SelfTraining, TriTraining):
            with pytest.raises(DataError, match=f"LogisticRegression does not take these rows: {told}"):
                wrapper(LogisticRegression()).fit(rows, HIDDEN)
    assert SelfTraining(LogisticRegression()).fit([row[:2] for row in ragged], HIDDEN).predict(NUMBERS[:, :2]).size
    encoded = make_column_transformer((OneHotEncoder(), ["d"]), remainder="passthrough")
    assert make_pipeline(encoded, SelfTraining(LogisticRegression())).fit(frame, HIDDEN).score(frame, Y) > 0.9
    matrix = SelfTraining(LogisticRegression()).fit(np.matrix(NUMBERS), HIDDEN)
    assert np.array_equal(matrix.predict(np.matrix(NUMBERS)), matrix.predict(NUMBERS))


@pytest.mark.parametrize(
    "inner",
    [RandomForestClassifier(5), BaggingClassifier(n_estimators=5, max_features=2), VotingClassifier([("a", last())])],
    ids=lambda inner: type(inner).__name__,
)
def test_members_vote_on_frames_as_on_arrays(inner, recwarn):
    found = [
        SelfTraining(inner, certainty="vote", weighting="none", random_state=0).fit(rows, HIDDEN).predict(rows)
        for rows in (NUMBERS, pd.DataFrame(NUMBERS, columns=["a", "b", "c"]))
    ]
    np.testing.assert_array_equal(*found)
    assert not [str(w.message) for w in recwarn if "feature names" in str(w.message)]


def test_policies_go_by_votes_and_need_no_numbers():
    for policy in (TransductiveBound(), Proportion()):
        model = SelfTraining(last(TfidfVectorizer()), weighting="none", policy=policy).fit(TEXT, HIDDEN)
        assert model.score(TEXT, Y) > 0.9


# -- views of co-training ----------------------------------------------------------------------------------------------
def test_texts_have_no_columns_to_split_and_functions_split_them():
    pipeline = last(TfidfVectorizer())
    with pytest.raises(DataError, match="X has no feature.*two functions of X"):
        CoTraining(pipeline).fit(TEXT, HIDDEN)
    halves = [lambda X, k=k: [text.split()[k] for text in X] for k in (0, 1)]
    assert CoTraining(pipeline, views=halves, random_state=0).fit(TEXT, HIDDEN).score(TEXT, Y) > 0.9


def test_views_of_a_frame_have_names_or_places():
    frame = FRAME[["n", "twice"]]
    for views in ((["twice"], ["n", "twice"]), ([1], [0, 1]), (lambda X: X[["twice"]], lambda X: X[:, [0, 1]])):
        assert CoTraining(LogisticRegression(), views=views, random_state=0).fit(frame, HIDDEN).score(frame, Y) > 0.9
    with pytest.raises(ValueError, match=r"names \['thrice'\], which X lacks; its columns are \['n', 'twice'\]"):
        CoTraining(LogisticRegression(), views=(["thrice"], ["n"])).fit(frame, HIDDEN)
    with pytest.raises(ValueError, match="places of columns, or their names in a data frame"):
        CoTraining(LogisticRegression(), views=(["n"], ["n"])).fit(NUMBERS, HIDDEN)


def test_a_single_row_is_refused():
    with pytest.raises(DataError, match=r"X has 1 row\(s\)"):
        SelfTraining(last(TfidfVectorizer()), weighting="none").fit(TEXT[:1], HIDDEN[:1])
