import pytest
import torch
from helpers import same, snapshot

from selftrain.strategy.label_memory import LabelMemory
from selftrain.tasks import Classification, Keypoints, Segmentation

CLASSES = Classification(2)  # the number of classes is that of the labels


def rows(*numbers):
    return torch.tensor(numbers)


def test_a_fresh_bank_is_uniform_and_knows_nothing():
    bank = LabelMemory(CLASSES, 4, (5,))
    assert torch.allclose(bank.read(rows(0, 3)), torch.full((2, 5), 0.2))
    assert not bank.known.any()


def test_what_is_written_is_read_after_the_turn_only():
    bank = LabelMemory(CLASSES, 4, (2,))
    bank.write(rows(1, 3), torch.tensor([[0.9, 0.1], [0.2, 0.8]]))
    assert torch.allclose(bank.read(rows(1)), torch.tensor([[0.5, 0.5]]))
    assert bank.turn().item() == 0.5
    assert torch.allclose(bank.read(rows(3, 1)), torch.tensor([[0.2, 0.8], [0.9, 0.1]]))
    assert bank.known.tolist() == [False, True, False, True]


def test_rows_that_were_not_visited_keep_their_label():
    bank = LabelMemory(CLASSES, 3, (2,))
    bank.write(rows(0, 1), torch.tensor([[0.9, 0.1], [0.8, 0.2]]))
    bank.turn()
    bank.write(rows(1), torch.tensor([[0.3, 0.7]]))
    assert bank.turn().item() == torch.tensor(1 / 3).item()
    assert torch.allclose(bank.read(rows(0, 1, 2)), torch.tensor([[0.9, 0.1], [0.3, 0.7], [0.5, 0.5]]))
    assert bank.known.tolist() == [True, True, False]


def test_a_turn_without_writing_changes_nothing():
    bank = LabelMemory(CLASSES, 3, (2,))
    bank.write(rows(0), torch.tensor([[0.9, 0.1]]))
    bank.turn()
    before = snapshot(bank)
    assert bank.turn().item() == 0
    assert same(before, bank.state_dict())


def test_the_share_counts_each_turn_anew():
    bank = LabelMemory(CLASSES, 4, (2,))
    for numbers, share in [((0, 1, 2, 3), 1.0), ((2,), 0.25), ((1, 1, 2), 0.5)]:
        bank.write(rows(*numbers), torch.rand(len(numbers), 2))
        assert bank.turn().item() == share


def test_labels_with_sites():
    bank = LabelMemory(Segmentation(2), 3, (2, 4, 5))
    value = torch.rand(1, 2, 4, 5)
    bank.write(rows(2), value)
    bank.turn()
    assert torch.equal(bank.read(rows(2)), value)
    assert torch.allclose(bank.read(rows(0)), torch.full((1, 2, 4, 5), 0.5))


def test_written_labels_carry_no_gradient_and_take_the_banks_precision():
    bank = LabelMemory(CLASSES, 2, (2,))
    bank.write(rows(0), torch.rand(1, 2, dtype=torch.float64, requires_grad=True).softmax(1))
    bank.turn()
    assert not bank.read(rows(0)).requires_grad
    assert bank.read(rows(0)).dtype == torch.float32


def test_reading_hands_out_copies():
    bank = LabelMemory(CLASSES, 2, (2,))
    bank.read(rows(0)).zero_()
    assert bank.read(rows(0)).sum() == 1


def test_a_half_written_epoch_survives_a_checkpoint():
    first, second = LabelMemory(CLASSES, 3, (2,)), LabelMemory(CLASSES, 3, (2,))
    first.write(rows(0), torch.tensor([[0.9, 0.1]]))
    second.load_state_dict(snapshot(first))
    for bank in (first, second):
        bank.write(rows(1), torch.tensor([[0.4, 0.6]]))
        bank.turn()
    assert same(first.state_dict(), second.state_dict())
    assert second.known.tolist() == [True, True, False]


@pytest.mark.parametrize(
    ("index", "shape", "message"), [([0, 4], (2, 3), "row 4 is outside"), ([0, 1], (2, 2), r"label_shape=\(2,\)")]
)
def test_what_does_not_fit_the_bank_is_refused_with_the_remedy(index, shape, message):
    bank = LabelMemory(CLASSES, 4, (3,))
    with pytest.raises(ValueError, match=message):
        bank.write(torch.tensor(index), torch.ones(shape))


@pytest.mark.parametrize(
    ("task", "shape", "shown"),
    [
        (Segmentation(3), (3, 2, 2), [[[1, 0], [0, 1]]]),
        (Keypoints(2, (4, 4)), (2, 4, 4), [[0, 1]]),
    ],
)
def test_units_that_were_not_shown_keep_their_label_and_stay_unknown(task, shape, shown):
    bank, shown = LabelMemory(task, 2, shape), torch.tensor(shown, dtype=torch.float32)
    first, second = torch.rand(2, 1, *shape)
    bank.write(rows(1), first, shown)
    assert torch.equal(bank.latest(rows(1)), torch.where(task.spread(shown.bool()), first, bank.read(rows(1))))
    assert bank.turn() == shown.mean() / 2
    assert torch.equal(bank.known[1:], shown.bool())
    assert torch.allclose(bank.read(rows(1)), torch.where(task.spread(shown.bool()), first, 1 / shape[0]))
    bank.write(rows(1), second, 1 - shown)
    bank.turn()
    assert bank.known[1].all()
    assert not bank.known[0].any()
    assert torch.equal(bank.read(rows(1)), torch.where(task.spread(shown.bool()), first, second))


def test_a_second_visit_goes_on_from_what_the_first_wrote():
    bank = LabelMemory(CLASSES, 3, (2,))
    bank.write(rows(0), torch.tensor([[0.9, 0.1]]))
    assert torch.allclose(bank.latest(rows(0, 1)), torch.tensor([[0.9, 0.1], [0.5, 0.5]]))
    assert torch.allclose(bank.read(rows(0)), torch.tensor([[0.5, 0.5]]))


@pytest.mark.parametrize(
    ("size", "shape", "message"), [(0, (3,), "unlabeled is 0"), (4, (), r"label_shape is \(\), too few axes")]
)
def test_a_bank_of_nothing_is_refused(size, shape, message):
    with pytest.raises(ValueError, match=message):
        LabelMemory(CLASSES, size, shape)
