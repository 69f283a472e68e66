"""One vocabulary of "no label": every door reads every spelling alike, or refuses it by name."""

import itertools
import re
import warnings

import numpy as np
import pytest
import torch
from PIL import Image

from selftrain.data import ArraySet, Pile, check, from_arrays_file, from_dataset, from_folder, from_table
from selftrain.data.base.labels import class_names, distinct, read_labels, sort_names
from selftrain.errors import DataError
from selftrain.types import BatchPlan, Needs

pandas = pytest.importorskip("pandas")
pyarrow = pytest.importorskip("pyarrow")

NAN = float("nan")
CODES = [0, 1, -1]  # what every spelling below means


def read(y, **settings):
    """Class numbers and names."""
    found = read_labels({"": y}, **settings)
    return found.codes[""].tolist(), list(found.classes)


def quietly(function, *values, **settings):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(*values, **settings)


def text_of(pile):
    return "\n".join(pile.summary_lines())


# --- doors


def from_arrays(y, folder, **settings):
    return Pile.from_arrays(np.arange(len(y))[:, None] * 1.0, y, **settings)


def from_npz(y, folder, **settings):
    texts = any(isinstance(v, str) or v is None for v in y)
    y = np.array(["" if v is None else str(v) for v in y]) if texts else np.asarray(y)
    np.savez(folder / "a.npz", x=np.arange(len(y))[:, None] * 1.0, y=y)
    return from_arrays_file(folder / "a.npz", **settings)


def from_csv(y, folder, **settings):
    lines = [f"{row},{'' if v is None or v != v else v}" for row, v in enumerate(y)]
    (folder / "t.csv").write_text("\n".join(["x,y", *lines]))
    return from_table(folder / "t.csv", "y", **settings)


def from_frame(y, folder, **settings):
    return from_table(pandas.DataFrame({"x": np.arange(len(y)), "y": y}), "y", **settings)


def from_parquet(y, folder, **settings):
    pandas.DataFrame({"x": np.arange(len(y)), "y": y}).to_parquet(folder / "t.parquet")
    return from_table(folder / "t.parquet", "y", **settings)


def from_pairs(y, folder, **settings):
    return from_dataset([(np.ones(2) * row, v) for row, v in enumerate(y)], **settings)


def write_images(folder, names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((4, 4, 3), len(name), np.uint8)).save(folder / name)


def from_list(y, folder, **settings):
    write_images(folder / "p", [f"{row}.png" for row in range(len(y))])
    lines = [f"{row}.png,{'' if v is None or v != v else v}" for row, v in enumerate(y)]
    (folder / "l.csv").write_text("\n".join(["path,label", *lines]))
    return from_folder(folder / "p", folder / "l.csv", **settings)


def from_class_folders(y, folder, **settings):
    write_images(folder / "p", [f"{v or '.'}/{row}.png" for row, v in enumerate(y)])
    return from_folder(folder / "p", **settings)


DOORS = [from_arrays, from_npz, from_csv, from_frame, from_parquet, from_pairs, from_list, from_class_folders]
TEXTS = [None, "", "-1", "unlabeled", "Unlabeled", "UNLABELED", "unlabelled", "un-labelled", "no_label"]
TEXTS += ["nan", "NaN", "<NA>", "NaT"]


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("mark", TEXTS)
def test_every_door_reads_every_mark_as_no_label(door, mark, tmp_path):
    pile = quietly(door, ["cat", "dog", mark, mark], tmp_path)
    assert list(pile.classes) == ["cat", "dog"]
    assert len(pile.unlabeled) == 2
    assert "cat 1, dog 1; 2 unlabeled rows; no label where" in text_of(pile)


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("name", ["None", "NA", "?", "unknown"])
def test_every_door_names_what_could_be_meant_otherwise(door, name, tmp_path):
    words = rf"labels '{re.escape(name)}' \(2\) are (taken for classes|read as no label); if"
    with pytest.warns(UserWarning, match=words):
        pile = door(["cat", "dog", name, name, "dog"], tmp_path)
    table = door in (from_csv, from_frame, from_parquet) and name != "unknown"
    assert list(pile.classes) == (["cat", "dog"] if table else sorted(["cat", "dog", name]))
    assert f"'{name}' (2)" in text_of(pile)


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("name", ["None", "NA", "?", "nan", "Unlabeled"])
def test_what_the_remedies_say_is_done_at_every_door(door, name, tmp_path):
    y = ["cat", "dog", name, None]
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        kept = door(y, tmp_path, no_label=[-1])
        gone = door(y, tmp_path, no_label=[-1, name])
    assert list(kept.classes) == sorted(["cat", "dog", name])
    assert len(kept.unlabeled) == 1
    assert list(gone.classes) == ["cat", "dog"]
    assert len(gone.unlabeled) == 2


@pytest.mark.parametrize("door", [door for door in DOORS if door is not from_class_folders])
def test_two_classes_called_minus_one_and_one(door, tmp_path):
    y = [-1, 1] * 4
    with pytest.warns(UserWarning, match="all labels are of one class, '1'.* say no_label=None if -1 is one"):
        pile = door(y, tmp_path)
    with pytest.raises(DataError, match="all labels are of one class, '1'"):
        pile.stream(Needs(views=(), encode=lambda y: y), BatchPlan(), torch.device("cpu"))
    for given, unlabeled in ((y, 0), ([*y, None], 1)):
        pile = door(given, tmp_path, no_label=None)
        assert list(pile.classes) == ["-1", "1"]
        assert pile.labeled.annotations.tolist() == [0, 1] * 4
        assert len(pile.unlabeled or ()) == unlabeled


# --- forms of labels


@pytest.mark.parametrize(
    "y",
    [
        ["a", "b", NAN],
        ["a", "b", None],
        np.array(["a", "b", -1]),
        np.array(["a", "b", NAN]),
        np.array(["a", "b", None], dtype=object),
        np.array([b"a", b"b", b""]),
        np.ma.masked_array(["a", "b", "c"], [False, False, True]),
        [b"a", b"b", b"-1"],
        [np.str_("a"), "b ", "  "],
        pandas.Series(["a", "b", None]),
        pandas.Series(["a", "b", None], dtype="string"),
        pandas.Series(["a", "b", None], dtype="category"),
        pyarrow.array(["a", "b", None]),
        pyarrow.chunked_array([["a", "b"], [None]]).dictionary_encode(),
    ],
)
def test_names_in_every_form(y):
    assert quietly(read, y) == (CODES, ["a", "b"])


@pytest.mark.parametrize(
    "y",
    [
        [0, 1, -1],
        [0, 1, None],
        [0.0, 1.0, NAN],
        np.array([0, 1, -1], dtype=np.int8),
        np.array([0, 1, NAN], dtype=np.float16),
        np.array([0, 1, None], dtype=object),
        np.array([[0], [1], [-1]]),
        np.ma.masked_array([0, 1, 1], [False, False, True]),
        np.ma.masked_array([0.0, 1.0, NAN], [False, False, False]),
        torch.tensor([0, 1, -1]),
        torch.tensor([0.0, 1.0, NAN], requires_grad=True),
        torch.tensor([0, 1, -1]).bfloat16(),
        [torch.tensor(0), np.int64(1), torch.tensor(-1)],
        pandas.Series([0, 1, None]),
        pandas.Series([0, 1, None], dtype="Int64"),
        pandas.Series([0, 1, None], dtype="UInt8"),
        pandas.DataFrame({"y": [0, 1, -1]}),
        pyarrow.array([0, 1, None], pyarrow.uint8()),
    ],
)
def test_numbers_in_every_form(y):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read(y) == (CODES, ["0", "1"])


def test_days_are_classes():
    days = ["2020-01-01", "2020-01-02T03:04:05"]
    for y in (
        pandas.to_datetime(pandas.Series([*days, None]), format="ISO8601"),
        np.array([*days, "NaT"], "datetime64[s]"),
    ):
        assert read(y) == (CODES, days)
        assert read(list(y)) == (CODES, days)


def test_truth_values_are_classes():
    for y in ([False, True, None], pandas.Series([False, True, None], dtype="boolean")):
        assert read(y) == (CODES, ["False", "True"])
    assert read(np.array([True, False]), classes=["no", "yes"]) == ([1, 0], ["no", "yes"])


@pytest.mark.parametrize(
    ("y", "words"),
    [
        ([0, 0.5], r"label 0.5 at row 1 is no class number"),
        ([0, np.inf], "label inf at row 1 is no class number"),
        ([0, 1, -2], r"label -2 at row 2 is no class number.* or say no_label=\[-1, -2\]"),
        (np.eye(3), r"shape \(3, 3\).* y.argmax\(1\)"),
        ([[0, 1], [1, 0]], "row 0: label '.0, 1.' is a list"),
        ([1 + 2j], "is a complex"),
        ([np.timedelta64(1, "D")], "is a timedelta64"),
        ({"a": 1}, "labels are dict"),
        (None, "labels are NoneType"),
        ("abc", "labels are str"),
        ([object()], "is a object"),
    ],
)
def test_what_is_no_label_is_refused_by_name(y, words):
    with pytest.raises(DataError, match=words):
        read(y)


def test_remedies_of_refused_labels():
    assert read([0, 1, -2, -1], no_label=[-1, -2]) == ([0, 1, -1, -1], ["0", "1"])
    y = np.array([[1, 0], [0, 1], [0, 0]])
    assert read(np.where(y.any(1), y.argmax(1), -1)) == (CODES, ["0", "1"])


@pytest.mark.parametrize("bits", [8, 16, 32, 64])
def test_minus_one_in_an_unsigned_type_is_named(bits):
    top = 2**bits - 1
    for y in (np.array([0, 1, -1]).astype(f"uint{bits}"), pandas.Series([0, 1, top], dtype=f"UInt{bits}")):
        with pytest.raises(DataError, match=rf"label {top} at row 2 .* no_label=\[-1, {top}\].* no_label=\[-1\]"):
            read(y)
        assert read(y, no_label=[-1, top]) == (CODES, ["0", "1"])
        assert quietly(read, y, no_label=[-1]) == ([0, 1, 2], ["0", "1", str(top)])
        with pytest.raises(DataError, match=f"label {top} at row 2 is what -1 becomes"):
            read(y, numbers=False)  # as in tables
    # in another type it is named, in one that is used up to its end it is a class
    with pytest.warns(UserWarning, match=f"{top} is what -1 becomes"):
        read([0, 1, top])
    if bits == 8:
        assert len(read(np.arange(256, dtype=np.uint8))[1]) == 256


# --- class numbers and classes


@pytest.mark.parametrize("numbers", [(0, 300_000), (20240101, 20240131), (2**31, 2**40), (3, 10**30), (7, 42)])
def test_class_numbers_with_gaps_are_mapped(numbers):
    with pytest.warns(UserWarning, match="class numbers have gaps: the 2 that occur") as told:
        pile = Pile.from_arrays(np.zeros((5, 2)), [*numbers, None, *numbers])
    assert list(pile.classes) == [str(number) for number in numbers]
    assert pile.labeled.annotations.tolist() == [0, 1, 0, 1]
    assert all(len(str(warning.message)) < 300 for warning in told)


def test_a_number_that_nobody_has_labeled_yet_is_a_class():
    with pytest.warns(UserWarning, match="no label for class 1"):
        pile = Pile.from_arrays(np.zeros((4, 2)), [0, 2, 3, -1])
    assert list(pile.classes) == ["0", "1", "2", "3"]
    gaps = Pile.from_arrays(np.zeros((4, 2)), [0, 9, 9, -1], classes=range(10))  # the remedy of the warning on gaps
    assert len(gaps.classes) == 10
    assert gaps.labeled.annotations.tolist() == [0, 9, 9]


def test_sets_with_gaps_are_mapped_and_stay_as_they_are():
    samples = ArraySet(np.zeros((3, 2)), [500, 7, 500])
    pile = quietly(Pile, samples, ArraySet(np.zeros((2, 2))), samples, truth=torch.tensor([7, -1]))
    assert list(pile.classes) == ["7", "500"]
    assert pile.labeled.annotations.tolist() == pile.validation.annotations.tolist() == [1, 0, 1]
    assert pile.unlabeled_truth().tolist() == [0, -1]
    assert samples.annotations.tolist() == [500, 7, 500]


def test_masked_labels_stay_hidden():
    y = np.ma.masked_array([0, 1, 0, 1], [False, False, True, True])
    pile = Pile.from_arrays(np.zeros((4, 2)), y)
    assert pile.labeled.annotations.tolist() == [0, 1]
    assert pile.unlabeled_truth() is None
    assert ArraySet(np.zeros((4, 2)), y).annotations.tolist() == [0, 1, -1, -1]


@pytest.mark.parametrize(
    ("classes", "y", "found"),
    [
        ({"dog": 0, "cat": 1}, ["cat", "dog", None], ([1, 0, -1], ["dog", "cat"])),
        ({"dog": 0, "cat": 1}, [1, 0, -1], ([1, 0, -1], ["dog", "cat"])),
        ({0: "dog", 1: "cat"}, [1, 0, -1], ([1, 0, -1], ["dog", "cat"])),
        ({"dog": 7, "cat": 30}, [30, 7, -1], ([1, 0, -1], ["dog", "cat"])),
        ([10, 20], [20, 10, -1], ([1, 0, -1], ["10", "20"])),
        (np.array(["dog", "cat"]), [1, 0, -1], ([1, 0, -1], ["dog", "cat"])),
        ({"b", "a", "10", "9"}, ["a", "b", None], ([2, 3, -1], ["10", "9", "a", "b"])),
        (["nan", "cat"], ["cat", "nan", NAN], ([1, 0, -1], ["nan", "cat"])),
        (["-1", "1"], ["1", "-1", ""], ([1, 0, -1], ["-1", "1"])),
    ],
)
def test_classes_in_every_form(classes, y, found):
    assert read(y, classes=classes) == found


def test_names_of_classes_that_repeat_are_said():
    with pytest.warns(UserWarning, match="classes hold 'a' more than once"):
        assert read([0, 2], classes=["a", "b", "a"]) == ([0, 2], ["a", "b", "a"])
    with pytest.raises(DataError, match="classes a, b, a repeat a name that labels go by"):
        read(["a", "b"], classes=["a", "b", "a"])


def test_a_set_of_names_has_no_order_for_class_numbers():
    with pytest.raises(DataError, match="classes are a set, bee, zebra, which says not which name class number 0 has"):
        read([0, 1, -1], classes={"zebra", "bee"})
    assert read([0, 1, -1], classes=["zebra", "bee"]) == ([0, 1, -1], ["zebra", "bee"])  # the remedy
    assert read(["zebra", "bee"], classes={"zebra", "bee"}) == ([1, 0], ["bee", "zebra"])


@pytest.mark.parametrize(
    ("classes", "words"),
    [
        (["a", None], "classes hold a missing name"),
        ("ab", "classes are 'ab'; give a list of names"),
        ({"a": "b"}, "classes map 'a' to 'b'"),
        ({"a": 0, "b": 0}, "classes give 0 to several names"),
    ],
)
def test_classes_that_cannot_be_used(classes, words):
    with pytest.raises(DataError, match=words):
        class_names(classes)


def test_the_order_of_names_does_not_hang_on_the_hash():
    for names in ({"NAN", "a", "1", "10", "2"}, {"x", "y", "z"}, {"nan", "inf", "1", "10", "2"}):
        orders = {tuple(sort_names(dict.fromkeys(order))) for order in itertools.permutations(names)}
        assert len(orders) == 1
    assert class_names({"x", "z", "y"}) == (["x", "y", "z"], None)
    assert sort_names({"nan", "1", "10", "2"}) == ["1", "10", "2", "nan"]


def test_categories_without_a_row_are_classes():
    y = pandas.Series(["a", "b", None], dtype=pandas.CategoricalDtype(["b", "a", "z"]))
    assert read(y) == (CODES, ["a", "b", "z"])
    assert distinct(y).unused == ["z"]


# --- folders and data sets


@pytest.mark.parametrize("ending", ["", "jfif", "heic"])
def test_folders_without_an_image_are_classes(ending, tmp_path):
    write_images(tmp_path, ["cat/1.png", "dog/1.png", "3.png"])
    (tmp_path / "fox").mkdir()
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "a.json").write_text("{}")
    (tmp_path / "Unlabelled").mkdir()
    if ending:
        (tmp_path / "fox" / f"1.{ending}").write_bytes(b"?")
    with pytest.warns(UserWarning, match="no label for class fox"):
        pile = from_folder(tmp_path)
    assert list(pile.classes) == ["cat", "dog", "fox"]
    assert not check(tmp_path).ok


def test_the_check_says_what_was_read(tmp_path):
    write_images(tmp_path, ["cat/1.png", "dog/22.png", "Unlabelled/333.png", "None/4444.png"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        text = check(tmp_path).text()
    assert "'Unlabelled' (1) are read as no label" in text
    assert "'None' (1) are taken for classes" in text
    from_table_text = check(Pile.from_arrays(np.eye(4), ["a", "b", "nan", ""], no_label=[-1, "nan"])).text()
    assert "no label where missing (1), 'nan' (1)" in from_table_text or "'nan' (1), missing (1)" in from_table_text


class Named(list):
    """A data set of (input, number) that knows its classes, as torchvision's do."""

    classes = ("cat", "dog", "unlabeled")


def test_a_class_of_a_data_set_that_is_called_unlabeled():
    data = Named([(np.ones(2) * row, torch.tensor(row % 3)) for row in range(6)])
    pile = from_dataset(data)
    assert list(pile.classes) == ["cat", "dog"]
    assert len(pile.unlabeled) == 2
    assert "no label where 'unlabeled' (2)" in text_of(pile)
    assert list(from_dataset(data, classes=Named.classes).classes) == list(Named.classes)


def test_ids_that_repeat_are_said():
    with pytest.warns(UserWarning, match=r"1 ids stand for several unlabeled samples, such as 'a' for 2"):
        Pile.from_arrays(np.eye(5), [0, 1, -1, -1, -1], ids=["x", "y", "a", "a", "b"])


def test_a_set_of_ones_own_has_the_numbers_of_the_classes():
    pile = quietly(Pile.from_arrays, np.eye(4), [0, 300_000, -1, -1])
    with pytest.raises(DataError, match="label 300000 at row 0 is outside the 2 classes"):
        pile.evaluation(ArraySet(np.zeros((2, 4)), [300_000, 0]), 2, torch.device("cpu"))
