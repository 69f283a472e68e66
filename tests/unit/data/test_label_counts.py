"""How many labels to use, and which classes there are, whatever is given for it, at every door."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from selftrain import data
from selftrain.data.readers.wrapped import from_dataset

COUNT = 24
X = np.random.RandomState(0).rand(COUNT, 4).astype(np.float32)
Y = np.arange(COUNT) % 2


@pytest.fixture(scope="module")
def doors(tmp_path_factory):
    place = tmp_path_factory.mktemp("counts")
    frame = pd.DataFrame(X, columns=list("abcd")).assign(label=["xy"[y] for y in Y])
    np.savez(place / "rows.npz", x=X, y=Y)
    for row, y in enumerate(Y):
        (place / "pictures" / "xy"[y]).mkdir(parents=True, exist_ok=True)
        Image.fromarray((X[row].reshape(2, 2) * 255).astype(np.uint8)).save(place / "pictures" / "xy"[y] / f"{row}.png")
    rows = torch.utils.data.TensorDataset(torch.from_numpy(X), torch.from_numpy(Y))
    return {
        "split": lambda **counts: data.split(Y, **counts),
        "from_arrays": lambda **counts: data.Pile.from_arrays(X, Y, **counts),
        "from_samples": lambda **counts: data.Pile.from_samples(data.ArraySet(X, Y), **counts),
        "from_table": lambda **counts: data.from_table(frame, "label", **counts),
        "from_arrays_file": lambda **counts: data.from_arrays_file(place / "rows.npz", **counts),
        "from_folder": lambda **counts: data.from_folder(place / "pictures", **counts),
        "from_dataset": lambda **counts: from_dataset(rows, **counts),
    }


def size(pile, part):
    found = getattr(pile, part)
    return 0 if found is None else len(found)


def test_counts_are_read(doors):
    for name, read in doors.items():
        for ten in (10, np.int64(10), np.uint8(10), torch.tensor(10)):
            assert size(read(labels=ten), "labeled") == 10, name
        assert size(read(labels=0), "labeled") == 0
        assert size(read(labels=None), "labeled") == COUNT
        for held_back in (2, np.int32(2), 2.0, 0.2, np.float32(0.2)):
            pile = read(labels=10, validation=held_back)
            assert (size(pile, "labeled"), size(pile, "validation")) == (8, 2), name
        for nothing in (0, 0.0, None):
            assert size(read(labels=10, validation=nothing), "labeled") == 10


def test_what_is_no_count_is_refused_by_name(doors):
    for wrong in (1.0, 0.5, 10.0, -1, True, False, "all", "10", [10], float("nan"), float("inf")):
        with pytest.raises(ValueError, match=re.escape(f"labels is {wrong!r}; ") + "(give|write)"):
            data.split(Y, labels=wrong)
    for wrong in (True, -1, -0.5, 2.5, float("nan"), float("inf"), float("-inf"), -(10**400)):
        with pytest.raises(ValueError, match=f"validation is {wrong}.*(a count, or a share|give a number or None)"):
            data.split(Y, labels=10, validation=wrong)
    for read in doors.values():
        with pytest.raises(ValueError, match=r"labels is 1\.0; give (how many|a whole number)"):
            read(labels=np.float64(1.0))
        with pytest.raises(ValueError, match="validation is True; give a (count, or a share|number)"):
            read(labels=10, validation=True)
        with pytest.raises(ValueError, match="labels asked for, but .* ask for fewer"):
            read(labels=10**30)
    with pytest.raises(ValueError, match=r"labels is 1\.0"):
        data.load("digits", labels=1.0)


def test_a_file_that_load_is_given_is_told(tmp_path):
    np.savez(tmp_path / "rows.npz", x=X, y=Y)
    with pytest.raises(ValueError, match=r"selftrain\.data\.from_path"):
        data.load(str(tmp_path / "rows.npz"))
    assert size(data.from_path(tmp_path / "rows.npz"), "labeled") == COUNT


def names():
    yield from ("cat", "dog")


LISTS = {
    "tuple": ("cat", "dog"),
    "array": np.array(["cat", "dog"]),
    "series": pd.Series(["cat", "dog"]),
    "index": pd.Index(["cat", "dog"]),
    "categories": pd.Categorical(["cat", "dog"]).categories,
    "bytes": [b"cat", b"dog"],
    "mapping": {"dog": 1, "cat": 0},
    "flipped": {1: "dog", 0: "cat"},
    "keys": {"cat": 0, "dog": 1}.keys(),
}
READERS = {
    "numbers": lambda classes: data.Pile.from_arrays(X, Y, classes=classes),
    "floats": lambda classes: data.Pile.from_arrays(X, Y.astype(float), classes=classes),
    "names": lambda classes: data.Pile.from_arrays(X, np.array(["cat", "dog"])[Y], classes=classes),
    "table": lambda classes: data.from_table(
        pd.DataFrame(X, columns=list("abcd")).assign(label=np.array(["cat", "dog"])[Y]), "label", classes=classes
    ),
    "pile": lambda classes: data.Pile(data.ArraySet(X, Y), None, classes=classes),
}


@pytest.mark.parametrize("door", READERS)
def test_lists_of_classes_in_any_form_are_the_same_list(door):
    for form, classes in LISTS.items():
        pile = READERS[door](classes)
        assert (list(pile.classes), pile.labeled.annotations.tolist()) == (["cat", "dog"], Y.tolist()), form


@pytest.mark.parametrize("door", READERS)
def test_lists_that_are_no_classes_are_refused(door):
    for wrong, words in (
        (names(), "give a list of names"),
        (map(str, ["cat", "dog"]), "give a list of names"),
        (2, "give a list of names"),
        ("cat,dog", "give a list of names"),
        ([0, 1, 1], "hold 1 more than once"),
        (np.array([0.0, 1.0, 1.0]), "hold 1 more than once"),
        ({"cat": 0, "dog": 0}, "give 0 to several names"),
        ([["cat"], ["dog"]], r"a list; give names or numbers"),
        (np.array([["cat"], ["dog"]]), r"a ndarray; give names or numbers"),
        ([None, "dog"], "missing name"),
    ):
        with pytest.raises(ValueError, match=words):
            READERS[door](wrong)


@pytest.mark.parametrize("door", ["numbers", "pile"])
def test_names_that_are_one_name_are_told(door):
    for twice in (["dog", "dog"], [1, "1"], ["dog", "dog "], {0: "dog", 1: "dog"}):
        with pytest.warns(UserWarning, match="more than once; give each class a name of its own") as told:
            READERS[door](twice)
        assert sum("more than once" in str(one.message) for one in told) == 1
    with pytest.raises(ValueError, match="repeat a name"):
        READERS["names"](["cat", "dog", "dog"])


def test_whole_floats_are_class_numbers():
    assert list(data.Pile.from_arrays(X, Y, classes=[0.0, 1.0]).classes) == ["0", "1"]
