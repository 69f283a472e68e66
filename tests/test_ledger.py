import csv

import pytest
import torch
from helpers import same, snapshot

from selftrain.ledger import COLUMNS, Ledger
from selftrain.tasks import Classification, Keypoints, Segmentation
from selftrain.types import PseudoLabels

TASK = Classification(3)
NAMES = ("ant", "bee", "cow")


def ledger_of(n=4, *, ids=None, classes=NAMES, truth=None):
    return Ledger(ids or [f"photo-{i}.png" for i in range(n)], classes, None if truth is None else torch.tensor(truth))


def say(ledger, step, rows, values, weights=None):
    """Enter these probabilities of these rows."""
    weight = torch.ones(len(rows)) if weights is None else torch.tensor(weights)
    return ledger.write(PseudoLabels(torch.tensor(rows), torch.tensor(values), weight), TASK, step)


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
    assert "prediction_accuracy" not in say(ledger, 0, [0], sure(0))
    figures = say(ledger, 1, [1], sure(1), [0.0])
    assert figures["prediction_accuracy"] == 1
    assert "pseudo_label_accuracy" not in figures


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
    assert list(rows[2].values()) == ["photo-2.png", "1", "bee", "0.750000", "0.625000", "1", "7", "0", "2"]
    assert list(rows[0].values()) == ["photo-0.png", "0", "ant", "0.500000", "0.250000", "0", "-1", "0", "1"]
    assert list(rows[1].values()) == ["photo-1.png", "-1", "", "0.000000", "0.000000", "0", "-1", "0", "0"]


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
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


# -- several units a sample --------------------------------------------------------------------------------------------
def test_a_mask_is_summed_up_in_one_row():
    task, ledger = Segmentation(3), ledger_of(2)
    value = torch.zeros(1, 3, 2, 2)
    value[0, 2] = torch.tensor([[0.9, 0.9], [0.9, 0.3]])
    value[0, 1] = torch.tensor([[0.1, 0.1], [0.1, 0.7]])
    weight = torch.tensor([[[1.0, 1.0], [0.0, 0.0]]])
    ledger.write(PseudoLabels(torch.tensor([1]), value, weight), task, 4)
    assert ledger.label.tolist() == [-1, 2]  # the class of most pixels
    assert ledger.confidence[1].item() == pytest.approx((3 * 0.9 + 0.7) / 4)
    assert ledger.margin[1].item() == pytest.approx((3 * 0.8 + 0.4) / 4)
    assert ledger.accepted.tolist() == [False, True]  # exactly half of the pixels will do
    ledger.write(PseudoLabels(torch.tensor([1]), value, torch.tensor([[[1.0, 0.0], [0.0, 0.0]]])), task, 5)
    assert not ledger.accepted[1]


def test_joints_are_summed_up_in_one_row(tmp_path):
    task, ledger = Keypoints(3, (4, 4)), ledger_of(1, classes=())
    value = torch.zeros(1, 3, 4, 4)
    value[0, 0, 1, 1], value[0, 1, 1, 1], value[0, 2, 3, 3] = 0.6, 0.8, 1.0
    ledger.write(PseudoLabels(torch.tensor([0]), value, torch.tensor([[1.0, 1.0, 0.0]])), task, 0)
    assert ledger.label.tolist() == [5]
    assert ledger.confidence[0].item() == pytest.approx(0.8)
    assert ledger.accepted.tolist() == [True]
    (row,) = read(ledger.to_csv(tmp_path / "labels.csv"))
    assert (row["label"], row["class"]) == ("5", "")
    assert ledger.captions(torch.tensor([0])) == ["5 80%*"]


# -- storage -----------------------------------------------------------------------------------------------------------
def test_the_book_is_in_the_checkpoint_and_truth_is_not():
    first, second = ledger_of(3, truth=[0, 1, 2]), ledger_of(3)
    say(first, 2, [0, 2], sure(1, 2))
    assert "truth" not in first.state_dict()
    second.load_state_dict(snapshot(first))
    assert same(first.state_dict(), second.state_dict())
    assert second.label.tolist() == [1, -1, 2]


def test_a_book_of_another_size_is_refused():
    with pytest.raises(RuntimeError, match="size mismatch"):
        ledger_of(3).load_state_dict(ledger_of(4).state_dict())


def test_an_empty_book():
    ledger = Ledger([], NAMES)
    assert len(ledger) == 0
    assert ledger.summary() == {}
