import csv
import sys

import hypothesis
import pytest
import torch
from helpers import same, snapshot
from hypothesis import strategies as some

from selftrain.errors import DataError
from selftrain.labels import ledger as ledger_module
from selftrain.labels.ledger import COLUMNS, Ledger
from selftrain.storage import tables
from selftrain.tasks import Classification, Keypoints, Segmentation
from selftrain.types import PseudoLabels

TASK = Classification(3)
NAMES = ("ant", "bee", "cow")


def ledger_of(n=4, *, ids=None, classes=NAMES, truth=None):
    return Ledger(ids or [f"photo-{i}.png" for i in range(n)], classes, None if truth is None else torch.tensor(truth))


def say(ledger, step, rows, values, weights=None, agreement=None):
    """Enter these probabilities of these rows."""
    weight = torch.ones(len(rows)) if weights is None else torch.tensor(weights)
    agreement = None if agreement is None else torch.tensor(agreement)
    return ledger.write(PseudoLabels(torch.tensor(rows), torch.tensor(values), weight, agreement), TASK, step)


def sure(*classes, confidence=0.8):
    rest = (1 - confidence) / 2
    return [[confidence if c == k else rest for k in range(3)] for c in classes]


def read(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_fresh_book_has_said_nothing():
    ledger = ledger_of(3)
    assert len(ledger) == 3
    assert ledger.label.tolist() == [-1, -1, -1]
    assert ledger.first_accepted.tolist() == [-1, -1, -1]
    assert ledger.summary() == {}
    assert ledger.class_shares().tolist() == [0, 0, 0]


def test_the_newest_pseudo_label_is_kept():
    ledger = ledger_of()
    say(ledger, 3, [2, 0], [[0.1, 0.7, 0.2], [0.6, 0.3, 0.1]], [1.0, 0.0])
    assert ledger.label.tolist() == [0, -1, 1, -1]
    assert torch.allclose(ledger.confidence, torch.tensor([0.6, 0, 0.7, 0]))
    assert torch.allclose(ledger.margin, torch.tensor([0.3, 0, 0.5, 0]))
    assert ledger.accepted.tolist() == [False, False, True, False]
    assert ledger.seen.tolist() == [1, 0, 1, 0]
    say(ledger, 4, [2], [[0.5, 0.4, 0.1]], [0.0])
    assert ledger.label[2] == 0
    assert ledger.confidence[2] == 0.5
    assert not ledger.accepted[2]  # accepted once, no more


def test_a_flip_is_a_change_of_decision():
    ledger = ledger_of(2)
    figures = say(ledger, 0, [0, 1], sure(0, 1))
    assert figures["flip_rate"] == 0  # the first label is no flip
    figures = say(ledger, 1, [0, 1], sure(0, 2))
    assert figures["flip_rate"] == 0.5
    say(ledger, 2, [0, 1], sure(1, 1))
    say(ledger, 3, [0], sure(1, confidence=0.5))  # less sure, but the same
    assert ledger.flips.tolist() == [1, 2]
    assert ledger.seen.tolist() == [4, 3]


def test_the_flip_rate_is_that_of_the_rows_known_before():
    ledger = ledger_of(4)
    say(ledger, 0, [0, 1], sure(0, 0))
    assert say(ledger, 1, [0, 1, 2, 3], sure(1, 0, 0, 0))["flip_rate"] == 0.5


def test_the_first_accepted_step_stays():
    ledger = ledger_of(3)
    say(ledger, 0, [0, 1], sure(0, 1), [0.0, 1.0])
    say(ledger, 5, [0, 1], sure(0, 1), [0.5, 0.0])
    say(ledger, 9, [0, 1], sure(0, 1), [1.0, 1.0])
    assert ledger.first_accepted.tolist() == [5, 0, -1]


def test_figures_where_truth_is_partly_known():
    ledger = ledger_of(4, truth=[0, 1, 2, -1])
    figures = say(ledger, 0, [0, 1, 2, 3], sure(0, 1, 0, 0), [1.0, 0.0, 1.0, 1.0])
    assert figures["prediction_accuracy"].item() == pytest.approx(2 / 3)
    assert figures["pseudo_label_accuracy"] == 0.5
    assert figures["confidence"].item() == pytest.approx(0.8)


def test_there_is_no_accuracy_of_nothing():
    assert "prediction_accuracy" not in say(ledger_of(), 0, [0], sure(0))
    ledger = ledger_of(2, truth=[-1, 1])
    assert say(ledger, 0, [0], sure(0))["prediction_accuracy"].isnan()
    figures = say(ledger, 1, [1], sure(1), [0.0])
    assert figures["prediction_accuracy"] == 1
    assert figures["pseudo_label_accuracy"].isnan()
    assert "pseudo_label_accuracy" not in ledger.summary()


def test_the_summary_is_of_all_rows_ever_seen():
    ledger = ledger_of(4, truth=[0, 1, 2, 0])
    say(ledger, 0, [0, 1], sure(0, 0), [1.0, 1.0])
    say(ledger, 1, [1, 2], sure(1, 0), [1.0, 0.0])
    assert ledger.summary() == {
        "coverage": 0.75,
        "accepted": pytest.approx(2 / 3),
        "flips": pytest.approx(1 / 3),
        "largest_class": 0.5,
        "smallest_class": 0.0,
        "calibration_error": pytest.approx(abs(2 / 3 - 0.8), abs=1e-6),
        "prediction_accuracy": pytest.approx(2 / 3),
        "pseudo_label_accuracy": 1.0,
    }


def test_class_shares_count_the_accepted():
    ledger = ledger_of(4)
    say(ledger, 0, [0, 1, 2, 3], sure(0, 0, 2, 1), [1.0, 1.0, 1.0, 0.0])
    assert torch.allclose(ledger.class_shares(), torch.tensor([2 / 3, 0, 1 / 3]))


def test_captions_tell_class_confidence_acceptance_and_error():
    ledger = ledger_of(4, classes=("airplane", "bee", ""), truth=[0, 0, -1, -1])
    say(ledger, 0, [0, 1, 2], sure(0, 1, 2), [1.0, 0.0, 1.0])
    assert ledger.captions(torch.tensor([0, 1, 2])) == ["airpla 80%*", "!bee 80%", "2 80%*"]


def test_captions_without_truth():
    ledger = ledger_of(2)
    say(ledger, 0, [1], sure(1))
    assert ledger.captions(torch.tensor([1])) == ["bee 80%*"]


# -- the file ----------------------------------------------------------------------------------------------------------
def test_the_csv_has_a_row_for_every_sample(tmp_path):
    ledger = ledger_of(3, truth=[0, 0, 0])
    say(ledger, 7, [2], [[0.125, 0.75, 0.125]])
    say(ledger, 8, [2], [[0.125, 0.75, 0.125]])
    say(ledger, 8, [0], [[0.5, 0.25, 0.25]], [0.0])
    rows = read(ledger.to_csv(tmp_path / "deep" / "labels.csv"))
    assert tuple(rows[0]) == COLUMNS  # and so no truth
    assert [row["id"] for row in rows] == ["photo-0.png", "photo-1.png", "photo-2.png"]
    assert list(rows[2].values()) == ["photo-2.png", "1", "bee", "0.75", "0.625", "1", "7", "0", "2", "", "", ""]
    assert list(rows[0].values()) == ["photo-0.png", "0", "ant", "0.5", "0.25", "0", "-1", "0", "1", "", "", ""]
    assert list(rows[1].values()) == ["photo-1.png", "-1", "", "0.0", "0.0", "0", "-1", "0", "0", "", "", ""]


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "\uff1d1", "'=1", "''@x"])
def test_text_that_a_spreadsheet_would_run_is_disarmed(tmp_path, text):
    ledger = ledger_of(ids=[text], classes=(text, "b", "c"))
    say(ledger, 0, [0], sure(0))
    (row,) = read(ledger.to_csv(tmp_path / "labels.csv"))
    assert row["id"] == f"'{text}"
    assert row["class"] == f"'{text}"


def test_awkward_names_come_back_as_they_were(tmp_path):
    ids = ['a "quoted", name', "two\nlines", "żółw/日本.png", "a=b", ""]
    rows = read(ledger_of(ids=ids).to_csv(tmp_path / "labels.csv"))
    assert [row["id"] for row in rows] == ids


def test_an_old_file_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "labels.csv"
    ledger_of(2).to_csv(path)
    before = path.read_text()
    broken = ledger_of(3)
    broken.ids = ["only one"]
    with pytest.raises(ValueError, match="zip"):
        broken.to_csv(path)
    assert path.read_text() == before
    assert [p.name for p in tmp_path.iterdir()] == ["labels.csv"]


def test_a_name_as_text_will_do(tmp_path):
    assert ledger_of(1).to_csv(str(tmp_path / "labels.csv")).is_file()


# -- reading back ------------------------------------------------------------------------------------------------------
def equal(first, second):
    names = ([str(i) for i in ledger.ids] for ledger in (first, second))
    return same(first.state_dict(), second.state_dict()) and len({tuple(n) for n in names}) == 1


def spoken(**settings):
    """A ledger with numbers that take all digits, rows never labeled and rows without agreement."""
    ledger = ledger_of(6, **settings)
    values = torch.rand(4, 3, generator=torch.Generator().manual_seed(0)).softmax(1)
    say(ledger, 2, [0, 1, 2, 4], values.tolist(), [1.0, 0.0, 1.0, 1.0])
    say(ledger, 9, [4, 1], values[:2].tolist(), [0.0, 1.0], [1 / 3, 1.0])
    return ledger


def test_a_csv_comes_back_equal(tmp_path):
    ledger = spoken()
    path = ledger.to_csv(tmp_path / "labels.csv")
    again = Ledger.read(path)
    assert equal(ledger, again)
    assert again.ids[1] == "photo-1.png"
    assert again.ids[-1] == "photo-5.png"
    with pytest.raises(IndexError):
        again.ids[6]
    assert list(again.classes) == [NAMES[i] if (ledger.label == i).any() else str(i) for i in range(len(again.classes))]
    assert again.to_csv(tmp_path / "again.csv").read_bytes() == path.read_bytes()
    given = Ledger.read(path, classes=NAMES, truth=torch.tensor([0, 1, 2, 0, 1, 2]))
    assert list(given.classes) == list(NAMES)
    assert "calibration_error" in given.summary()


NAME = some.text(some.characters(exclude_characters="\0", exclude_categories=()), max_size=6)
SHARE = some.floats(0, 1, width=32)


@hypothesis.given(rows=some.lists(some.tuples(NAME, some.integers(-1, 2), SHARE, SHARE, some.just(-1.0) | SHARE)))
@hypothesis.settings(max_examples=150, deadline=None)
@hypothesis.example(rows=[("'=1", 0, 0.1, 1e-8, 1 / 3), ("\udcff", 1, 0.3, 0.0, -1.0), ("", -1, 0.0, 0.0, 0.0)])
def test_any_content_comes_back_equal(tmp_path_factory, rows):
    ledger = Ledger([row[0] for row in rows], ("=a", "'-b", 'c,";\n'))
    for place, name in enumerate(("label", "confidence", "margin", "agreement"), 1):
        getattr(ledger, name).copy_(torch.tensor([row[place] for row in rows]))
    path = ledger.to_csv(tmp_path_factory.mktemp("any") / "labels.csv")
    assert equal(ledger, Ledger.read(path, classes=ledger.classes))


def test_more_rows_than_a_block(tmp_path, monkeypatch):
    monkeypatch.setattr(ledger_module, "_ROWS", 4)
    monkeypatch.setattr(tables, "_ROWS", 5)
    ledger = ledger_of(11)
    say(ledger, 0, list(range(11)), sure(*[0, 1, 2] * 3, 1, 0))
    assert [len(block["id"]) for block in ledger._blocks()] == [4, 4, 3]
    path = ledger.to_csv(tmp_path / "labels.csv")
    assert [len(block) for block in tables.read_blocks(path, ["id"])] == [5, 5, 1]
    assert equal(ledger, Ledger.read(path))


@pytest.mark.parametrize("change", ["semicolons", "tabs", "bom", "trailing", "blank", "old"])
def test_files_as_other_tools_save_them(tmp_path, change):
    path = spoken().to_csv(tmp_path / "labels.csv")
    lines = path.read_text().splitlines()
    changed = {
        "semicolons": [line.replace(",", ";") for line in lines],
        "tabs": [line.replace(",", "\t") for line in lines],
        "bom": ["\ufeff" + lines[0], *lines[1:]],
        "trailing": [lines[0] + ",", *(line.rstrip(",") for line in lines[1:])],
        "blank": [lines[0], "", *lines[1:], ",,,", ""],
        "old": [",".join(line.split(",")[:9]) for line in lines],
    }
    path.write_text("\n".join(changed[change]))
    again = Ledger.read(path)
    assert equal(spoken(), again) == (change != "old")
    assert torch.equal(again.label, spoken().label)


def bad(tmp_path, old, new, **settings):
    path = spoken().to_csv(tmp_path / "labels.csv")
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(DataError) as caught:
        Ledger.read(path, **settings)
    return str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("\nphoto-3.png,-1,", "\nphoto-3.png,-2,", ["line 5", "label is '-2'", "whole number from -1"]),
        ("\nphoto-3.png,-1,", "\nphoto-3.png,0.5,", ["line 5", "label is '0.5'"]),
        ("\nphoto-3.png,-1,", "\nphoto-3.png,ant,", ["line 5", "label is 'ant'"]),
        ("\nphoto-3.png,-1,,0.0", "\nphoto-3.png,-1,,1.5", ["line 5", "confidence is '1.5'", "from 0 to 1"]),
        ("\nphoto-3.png,-1,,0.0", "\nphoto-3.png,-1,,", ["line 5", "confidence is ''"]),
        ("\nphoto-3.png,-1,,0.0", "\nphoto-3.png,-1,,nan", ["line 5", "confidence is 'nan'"]),
        ("\nphoto-3.png,-1,,0.0,0.0,0", "\nphoto-3.png,-1,,0.0,0.0,yes", ["accepted is 'yes'"]),
        ("0,0,,,\nphoto-4", "0,99999999999,,,\nphoto-4", ["seen is '99999999999'"]),
        ("0,0,,,\nphoto-4", "0,0,2,,\nphoto-4", ["agreement is '2'"]),
        ("0,0,,,\nphoto-4", "0,0,,,,,surplus\nphoto-4", ["line 5", "cells under 12 columns", "quotes"]),
        ("\nphoto-3.png,-1,,", "\nphoto-3.png,-1,ant,", ["line 5", "label -1 with class 'ant'"]),
        ("\nphoto-3.png,-1,,", "\nphoto-3.png,1000000,ant,", ["label 1000000 is called 'ant'", "1,000,000"]),
        ("\nphoto-3.png", '\n"photo"-3.png', ["cannot read"]),
        ("confidence,margin", "trust,margin", ["no column confidence", "only id, label"]),
        ("confidence,margin", "margin,margin", ["no column confidence"]),
        ("verdict,correction", "verdict,label", ["column label twice"]),
    ],
)
def test_a_bad_cell_is_named(tmp_path, old, new, words):
    message = bad(tmp_path, old, new)
    assert all(word in message for word in ["labels.csv", *words]), message


def test_classes_must_be_those_of_the_file(tmp_path):
    assert "line 3: label 2 with class 'cow' is not called 'ant'" in bad(
        tmp_path, "", "", classes=("cow", "bee", "ant")
    )
    assert "is not one of 1 classes" in bad(tmp_path, "\nphoto-3.png,-1,,", "\nphoto-3.png,4,x,", classes=("ant",))
    two_names = bad(tmp_path, "\nphoto-3.png,-1,,", "\nphoto-3.png,1,wasp,")
    assert "line 5: label 1 with class 'wasp' is not called 'bee'" in two_names
    path = spoken().to_csv(tmp_path / "labels.csv")
    with pytest.raises(DataError, match="6 rows but there are 2 true labels"):
        Ledger.read(path, truth=torch.tensor([0, 1]))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty; it needs the columns id, label"),
        (b"\xff\xfei\x00d\x00", "not in UTF-8"),
        (b"id,label\n", "no column class, confidence"),
        (b"\n\n", "is empty"),
        (b"caf\xe9", "not in UTF-8 .*save it as CSV in UTF-8"),
    ],
)
def test_a_file_that_is_no_ledger_is_refused(tmp_path, content, words):
    path = tmp_path / "labels.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=words):
        Ledger.read(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"there is no file .*none\.csv"):
        Ledger.read(tmp_path / "none.csv")


def test_an_empty_ledger_comes_back_empty(tmp_path):
    again = Ledger.read(Ledger([], NAMES).to_csv(tmp_path / "labels.csv"))
    assert equal(again, Ledger([], NAMES))


def test_verdicts_are_not_part_of_a_ledger(tmp_path):
    path = spoken().to_csv(tmp_path / "labels.csv")
    path.write_text(path.read_text().replace("-1,0,0,,,", "-1,0,0,,reject,cow"))
    assert "reject" in path.read_text()
    assert equal(Ledger.read(path), spoken())


# -- Parquet -----------------------------------------------------------------------------------------------------------
def test_parquet_comes_back_equal_with_its_classes(tmp_path, monkeypatch):
    parquet = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr(ledger_module, "_ROWS", 4)
    ledger = spoken(ids=["=1", 'a "b"', "\n", "", "'", "żółw"])
    path = ledger.to_parquet(tmp_path / "deep" / "labels.parquet")
    again = Ledger.read(path)
    assert equal(ledger, again)
    assert list(again.classes) == list(NAMES)
    table = parquet.read_table(path)
    assert tuple(table.column_names) == COLUMNS
    assert table["agreement"].null_count == 4
    assert table["id"].to_pylist()[0] == "=1"  # nothing to disarm
    assert str(table.schema.field("confidence").type) == "float"
    assert equal(Ledger.read(Ledger([], NAMES).to_parquet(path)), Ledger([], NAMES))


def test_parquet_faults(tmp_path):
    pytest.importorskip("pyarrow")
    with pytest.raises(DataError, match="no valid text"):
        ledger_of(ids=["\udcff.png"]).to_parquet(tmp_path / "labels.parquet")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "labels.parquet").write_bytes(b"id,label")
    with pytest.raises(DataError, match="no whole Parquet file"):
        Ledger.read(tmp_path / "labels.parquet")


def test_parquet_needs_its_library_and_its_ending(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"labels\.csv does not end in \.parquet"):
        spoken().to_parquet(tmp_path / "labels.csv")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    for act in (spoken().to_parquet, Ledger.read):
        with pytest.raises(ImportError, match=r"needs pyarrow; install it with: pip install 'selftrain\[table\]'"):
            act(tmp_path / "labels.parquet")


# -- agreement and classes ---------------------------------------------------------------------------------------------
def test_agreement_is_kept_where_it_was_given(tmp_path):
    ledger = ledger_of(4)
    assert ledger.agreement.tolist() == [-1] * 4
    say(ledger, 0, [0, 1], sure(0, 1))
    assert "agreement" not in ledger.summary()
    say(ledger, 1, [1, 2], sure(0, 1), agreement=[0.5, 1.0])
    assert ledger.agreement.tolist() == [-1, 0.5, 1, -1]
    assert ledger.summary()["agreement"] == 0.75
    say(ledger, 2, [1], sure(0), agreement=[0.25])
    say(ledger, 3, [2], sure(0))  # nobody else was asked: what was said before stays
    assert ledger.agreement.tolist() == [-1, 0.25, 1, -1]
    rows = read(ledger.to_csv(tmp_path / "labels.csv"))
    assert [row["agreement"] for row in rows] == ["", "0.25", "1.0", ""]


def test_agreement_of_pixels_is_their_mean():
    task, ledger = Segmentation(3), ledger_of(2)
    value, weight = torch.full((1, 3, 2, 2), 1 / 3), torch.ones(1, 2, 2)
    share = torch.tensor([[[1.0, 0.5], [0.5, 0.25]]])
    ledger.write(PseudoLabels(torch.tensor([1]), value, weight, share), task, 0)
    assert ledger.agreement.tolist() == [-1, 0.5625]
    with pytest.raises(ValueError, match=r"agreement has shape \(1,\), weight \(1, 2, 2\)"):
        ledger.write(PseudoLabels(torch.tensor([1]), value, weight, share[:, 0, 0]), task, 0)


def test_each_class_has_a_row():
    ledger = ledger_of(8, truth=[0, 1, 0, -1, 2, 2, 1, 0])
    say(ledger, 0, [0, 1, 2, 3], sure(1, 1, 0, 0, confidence=0.6), [1.0, 1.0, 0.0, 0.0])
    say(ledger, 1, [0, 1, 2, 3, 4], sure(0, 0, 0, 0, 1, confidence=0.9), [1.0, 1.0, 1.0, 1.0, 0.0])
    ant, bee, cow = ledger.per_class()
    assert (ant.name, ant.count, ant.accepted, ant.flips, ant.share) == ("ant", 4, 4, 0.5, 1.0)
    assert ant.confidence == pytest.approx(0.9)
    assert ant.precision == pytest.approx(2 / 3)  # rows 0, 1, 2; nobody knows row 3
    assert (bee.name, bee.count, bee.accepted, bee.flips, bee.precision, bee.share) == ("bee", 1, 0, 0, None, 0)
    assert (cow.count, cow.confidence, cow.flips, cow.precision, cow.ratio) == (0, None, None, None, None)
    ant, bee, cow = ledger.per_class(torch.tensor([2.0, 2.0, 0.0]))
    assert (ant.ratio, bee.ratio, cow.ratio) == (2.0, 0.0, None)


def test_classes_without_truth_or_names():
    ledger = ledger_of(2)
    say(ledger, 0, [0], sure(2))
    assert [row.precision for row in ledger.per_class()] == [None] * 3
    assert [row.count for row in ledger.per_class()] == [0, 0, 1]
    assert ledger_of(2, classes=()).per_class() == []


@pytest.mark.parametrize(
    ("prior", "words"),
    [([0.5, 0.5], r"shape \(2,\); there are 3 classes"), ([1.0, -1.0, 1.0], "0 or more"), ([0.0] * 3, "not all 0")],
)
def test_a_prior_must_be_one(prior, words):
    with pytest.raises(ValueError, match=words):
        ledger_of().per_class(torch.tensor(prior))


def test_ten_million_rows_fit_in_a_gigabyte():
    ledger = Ledger(range(10_000), NAMES)
    size = sum(b.numel() * b.element_size() for b in ledger.buffers())
    assert size * 1000 == 290_000_000
    names = tables.StringColumn()
    names.extend([f"folder/picture-{i:07}.png" for i in range(10_000)])
    assert (len(names._bytes) + len(names._ends) * 8) * 1000 < 400_000_000
    assert names[17] == "folder/picture-0000017.png"


# -- several units a sample --------------------------------------------------------------------------------------------
def test_a_mask_is_summed_up_by_class():
    task, ledger = Segmentation(3), ledger_of(2)
    value = torch.zeros(1, 3, 2, 2)
    value[0, 2] = torch.tensor([[0.9, 0.9], [0.9, 0.3]])
    value[0, 1] = torch.tensor([[0.1, 0.1], [0.1, 0.7]])
    weight = torch.tensor([[[1.0, 1.0], [0.0, 0.0]]])
    ledger.write(PseudoLabels(torch.tensor([1]), value, weight), task, 4)
    assert ledger.label.tolist() == [-1, -1]  # a picture has no class of its own
    assert ledger.confidence[1].item() == pytest.approx((3 * 0.9 + 0.7) / 4)
    assert ledger.margin[1].item() == pytest.approx((3 * 0.8 + 0.4) / 4)
    assert ledger.accepted.tolist() == [False, True]  # exactly half of the pixels will do
    said = torch.tensor([[0.0, 0.0, 0.0], [0.25, 0.7, 0.0], [0.75, 0.9, 2 / 3]])
    assert torch.allclose(ledger.units[1].float(), said, atol=1e-3)
    assert not ledger.units[0].any()
    assert ledger.class_shares().tolist() == [0, 0, 1]  # of the accepted pixels
    assert ledger.class_shares(accepted=False).tolist() == [0, 0.25, 0.75]
    assert ledger.captions(torch.tensor([1])) == ["85% sure, 50% used"]
    ant, bee, cow = ledger.per_class()
    assert (ant.count, ant.confidence, bee.count, bee.accepted, cow.count, cow.accepted) == (0, None, 1, 0, 1, 1)
    assert (cow.name, cow.share, cow.flips, cow.precision) == ("cow", 1.0, None, None)
    assert ledger.summary()["largest_class"] == 1
    ledger.write(PseudoLabels(torch.tensor([1]), value, torch.tensor([[[1.0, 0.0], [0.0, 0.0]]])), task, 5)
    assert not ledger.accepted[1]
    assert ledger.flips[1] == 0
    ledger.write(PseudoLabels(torch.tensor([1]), value.flip(1), weight), task, 6)
    assert ledger.flips[1] == 1  # another class is the largest one


def test_joints_are_summed_up_one_by_one(tmp_path):
    task, ledger = Keypoints(3, (4, 4)), ledger_of(1, classes=())
    value = torch.zeros(1, 3, 4, 4)
    value[0, 0, 1, 1], value[0, 1, 1, 1], value[0, 2, 3, 0] = 0.6, 0.8, 1.0
    ledger.write(PseudoLabels(torch.tensor([0]), value, torch.tensor([[1.0, 1.0, 0.0]])), task, 0)
    assert ledger.label.tolist() == [-1]
    assert ledger.confidence[0].item() == pytest.approx(0.8)
    assert ledger.accepted.tolist() == [True]
    # the middle of a cell, as a share of the picture
    said = [[1 / 3, 0.6, 1, 1.5 / 4, 1.5 / 4], [1 / 3, 0.8, 1, 1.5 / 4, 1.5 / 4], [1 / 3, 1, 0, 0.5 / 4, 3.5 / 4]]
    assert torch.allclose(ledger.units[0].float(), torch.tensor(said), atol=1e-3)
    assert len(ledger.class_shares()) == 0  # joints are no classes, by whatever names
    assert [(row.name, row.accepted) for row in ledger.per_class()] == [("joint 0", 1), ("joint 1", 1), ("joint 2", 0)]
    (row,) = read(ledger.to_csv(tmp_path / "labels.csv"))
    assert (row["label"], row["class"]) == ("-1", "")
    assert ledger.captions(torch.tensor([0])) == ["80% sure, 67% used"]
    ledger.write(PseudoLabels(torch.tensor([0]), value.flip(2), torch.ones(1, 3)), task, 1)
    assert ledger.flips.tolist() == [0]  # the radius is 2 cells, and one joint of three has moved 3
    ledger.write(PseudoLabels(torch.tensor([0]), value.flip(3).flip(2), torch.ones(1, 3)), task, 2)
    assert ledger.flips.tolist() == [0]
    ledger.write(PseudoLabels(torch.tensor([0]), value.roll((-1, -1), (2, 3)), torch.ones(1, 3)), task, 3)
    assert ledger.flips.tolist() == [1]  # two of three are farther away


def test_named_joints_are_never_taken_for_classes():
    """Each joint was in one class of the name at the most frequent cell number, whose share was 1."""
    task, ledger = Keypoints(3, (4, 4)), ledger_of(2)
    value = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    ledger.write(PseudoLabels(torch.arange(2), value, torch.ones(2, 3)), task, 0)
    assert "largest_class" not in ledger.summary()
    assert [row.name for row in ledger.per_class()] == list(NAMES)
    assert ledger.captions(torch.tensor([0]))[0].endswith("100% used")


# -- storage -----------------------------------------------------------------------------------------------------------
def test_the_book_is_in_the_checkpoint_and_truth_is_not():
    first, second = ledger_of(3, truth=[0, 1, 2]), ledger_of(3)
    say(first, 2, [0, 2], sure(1, 2))
    assert "truth" not in first.state_dict()
    second.load_state_dict(snapshot(first))
    assert same(first.state_dict(), second.state_dict())
    assert second.label.tolist() == [1, -1, 2]
    assert set(first.state_dict()) == set(ledger_module._STORED)
    # what is said of the units of a sample, and not where there is one
    masks = PseudoLabels(torch.tensor([1]), torch.rand(1, 3, 2, 2).softmax(1), torch.ones(1, 2, 2))
    third, fourth = ledger_of(3), ledger_of(3)
    third.write(masks, Segmentation(3), 0)
    fourth.load_state_dict(snapshot(third))
    assert same(third.state_dict(), fourth.state_dict())
    third.load_state_dict(snapshot(ledger_of(3)))
    assert third.units is None
    with pytest.raises(ValueError, match=r"units is a tensor of torch.float32 with 3 axes"):
        third.load_state_dict(fourth.state_dict() | {"units": torch.zeros(3, 3, 3)})
    say(first, 3, [0, 1], sure(2, 2), agreement=[0.5, 1.0])
    say(second, 3, [0, 1], sure(2, 2), agreement=[0.5, 1.0])
    assert same(first.state_dict(), second.state_dict())


def test_a_book_of_another_size_is_refused():
    with pytest.raises(RuntimeError, match="size mismatch"):
        ledger_of(3).load_state_dict(ledger_of(4).state_dict())


def test_an_empty_book():
    ledger = Ledger([], NAMES)
    assert len(ledger) == 0
    assert ledger.summary() == {}
