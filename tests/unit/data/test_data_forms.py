"""What holds no rows of numbers is refused at every door of arrays, and what its message says to pass is taken."""

from __future__ import annotations

import io
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from selftrain import data
from selftrain.errors import DataError
from selftrain.estimator import SelfTrainClassifier
from selftrain.wrapper import SelfTraining

COUNT = 12
X = np.random.RandomState(0).randint(0, 9, (COUNT, 3)).astype(float) + 9 * (np.arange(COUNT) % 2)[:, None]
Y = np.where(np.arange(COUNT) < 8, np.arange(COUNT) % 2, -1)
FRAME = pd.DataFrame(X, columns=list("abc"))
QUICK = {"strategy": "supervised", "steps": 1, "batch_size": 4, "random_state": 0}


class Rows:
    """A data set as of Hugging Face: it is asked for rows, and names its columns."""

    column_names = ("a", "b", "c")

    def __len__(self):
        return COUNT

    def __getitem__(self, row):
        return FRAME.iloc[row].to_dict()

    def to_pandas(self):
        return FRAME.copy()


class Frame:
    """A frame of another library, with as much as all have."""

    columns, shape = ("a", "b", "c"), X.shape

    def __len__(self):
        return COUNT

    def __getitem__(self, name):
        return FRAME[name]

    def __array__(self, dtype=None, copy=None):
        return X.astype(dtype or float)

    def to_pandas(self):
        return FRAME.copy()


class Variables:
    """Named arrays side by side, as of xarray."""

    def __len__(self):
        return 3

    def __getitem__(self, name):
        return FRAME[name]

    def to_pandas(self):
        return FRAME.copy()


def arrays(x):
    return data.Pile.from_arrays(x, Y).labeled.images(np.arange(8)).numpy()


def estimator(x):
    return SelfTrainClassifier(**QUICK).fit(x, Y).predict_proba(x)


def wrapper(x):
    return SelfTraining(LogisticRegression()).fit(x, Y).predict_proba(x)


def table(x):
    return data.from_table(x).unlabeled.images(np.arange(COUNT)).numpy()


DOORS = {"arrays": arrays, "estimator": estimator, "wrapper": wrapper}
SAME = {
    "memoryview": memoryview(X),
    "decimals": [[Decimal(int(value)) for value in row] for row in X],
    "fractions": [[Fraction(int(value)) for value in row] for row in X],
    "frame of objects": FRAME.astype(object),
    "frame of another library": Frame(),
    "lists of memoryviews": [memoryview(row) for row in X.copy()],
}


@pytest.fixture(scope="module")
def expected():
    return {name: door(X) for name, door in DOORS.items()} | {"table": table(FRAME)}


@pytest.mark.parametrize("form", SAME)
def test_numbers_are_numbers_in_any_form(form, expected):
    for name, door in DOORS.items():
        if name == "wrapper" and form in ("decimals", "fractions"):
            continue  # what a classifier makes of objects is its own
        np.testing.assert_allclose(door(SAME[form]), expected[name], atol=1e-12, err_msg=f"{name} {form}")


def test_rows_of_a_data_set_and_of_variables_are_a_table(expected):
    for door in (estimator, wrapper):
        np.testing.assert_allclose(door(Rows()), expected[door.__name__], atol=1e-12)
    for rows in (Rows(), Variables(), Frame()):
        np.testing.assert_array_equal(table(rows), expected["table"])


def by_list(x):
    return np.array(x.tolist())


NO_ROWS = {  # rows, words of the message, and what it says to pass
    "mapping": ({"a": X[:, 0], "b": X[:, 1]}, r"pandas\.DataFrame\(", lambda x: pd.DataFrame(x)),
    "nothing": (None, r"None, and no rows: pass an array", lambda _: X),
    "path": (Path("rows.csv"), r"selftrain\.data\.from_path", lambda _: X),
    "text": ("rows.csv", r"selftrain\.data\.from_path", lambda _: X),
    "set": ({1.0, 2.0}, r"pass list\(", lambda _: list(X)),
    "number": (3.0, "a single float, and no rows: pass an array", lambda _: X),
    "variables": (Variables(), r"pass \w\.to_pandas\(\)", lambda x: x.to_pandas()),
}
NO_NUMBERS = {
    "records": (FRAME.to_records(index=False), r"fields a, b, c.*np\.array\(\w\.tolist", by_list),
    "dates": ((X * 1e15).astype("datetime64[ns]"), "dates such as", lambda x: (x - x.min()) / np.timedelta64(1, "D")),
    "times": (X.astype("timedelta64[s]"), "times such as", lambda x: x / np.timedelta64(1, "s")),
    "numbers in text": (X.astype(str), r"text, such as '\d+\.0': pass \w\.astype\(float\)", lambda x: x.astype(float)),
    "words": (np.where(X > 9, "a", "b"), "text|columns|strings", lambda x: (x == "a").astype(float)),
}  # fmt: skip


@pytest.mark.parametrize("form", [*NO_ROWS, "generator"])
@pytest.mark.parametrize("door", DOORS)
def test_what_has_no_rows_is_refused_and_the_remedy_works(door, form):
    x, words, right = NO_ROWS.get(form) or ((row for row in X), r"pass list\(", lambda x: list(x))
    with pytest.raises(DataError, match=words):
        DOORS[door](x)
    assert len(DOORS[door](right(x))) in (8, COUNT)


@pytest.mark.parametrize("form", NO_NUMBERS)
@pytest.mark.parametrize("door", ["arrays", "wrapper"])
def test_what_holds_no_numbers_is_refused_and_the_remedy_works(door, form):
    x, words, right = NO_NUMBERS[form]
    with pytest.raises(DataError, match=words):
        DOORS[door](x)
    assert len(DOORS[door](right(x))) in (8, COUNT)


def test_gaps_and_words_among_objects_are_named_and_the_remedy_works():
    gaps = X.astype(object)
    gaps[3, 1] = None
    with pytest.raises(DataError, match=r"1 values of x are None: fill them in, or drop their rows: x\[") as refused:
        data.ArraySet(gaps)
    right = eval(str(refused.value).split("drop their rows: ")[1], {"x": gaps, "np": np})
    assert len(data.ArraySet(right)) == COUNT - 1
    gaps[3, 1] = "much"
    with pytest.raises(DataError, match="no numbers, such as 'much': read tables with"):
        data.ArraySet(gaps)
    assert len(data.from_table(pd.DataFrame(gaps)).unlabeled) == COUNT


def test_lists_of_mappings_and_columns_twice_are_refused_and_the_remedy_works():
    rows = FRAME.to_dict("records")
    for door in (arrays, estimator):
        with pytest.raises(DataError, match=r"a list of mappings, a table: pass pandas\.DataFrame\("):
            door(rows)
        door(pd.DataFrame(rows))
    twice = pd.concat([FRAME, FRAME], axis=1)
    with pytest.raises(DataError, match=r"columns \['a', 'b', 'c'\] of X are there more than once"):
        estimator(twice)
    estimator(twice.set_axis(list("abcdef"), axis=1))


def test_what_is_no_table_is_told_and_the_remedy_works(expected):
    for x in (X, X.tolist(), list(X)):
        with pytest.raises(DataError, match=r"is no table; pass .*pandas\.DataFrame\(\.\.\.\) of arrays and lists"):
            table(x)
        np.testing.assert_array_equal(table(pd.DataFrame(x)), expected["table"])
    with pytest.raises(DataError, match="there is no table; pass a CSV or Parquet path"):
        table(None)
    with pytest.raises(DataError, match="StringIO is no table"):
        table(io.StringIO("a,b"))
    with pytest.raises(DataError, match="no columns"):
        data.ArraySet(np.zeros((3, 0)))
