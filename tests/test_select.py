import pytest
import torch

from selftrain import select


def weigh(rule, confidence):
    confidence = torch.as_tensor(confidence)
    return rule(confidence, torch.zeros_like(confidence, dtype=torch.long))


def test_everything_passes():
    assert torch.equal(weigh(select.everything(), torch.rand(2, 3, 4)), torch.ones(2, 3, 4))


def test_the_threshold_itself_passes():
    rule = select.above(0.95)
    just_below = torch.nextafter(torch.tensor(0.95), torch.tensor(0.0))
    assert weigh(rule, torch.stack([torch.tensor(0.95), just_below, torch.tensor(0.96)])).tolist() == [1, 0, 1]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_threshold_passes_in_every_precision(dtype):
    assert weigh(select.above(0.7), torch.tensor([0.7], dtype=dtype)).tolist() == [1]


def test_a_threshold_above_one_lets_nothing_pass():
    assert weigh(select.above(1.01), [1.0, 0.5]).tolist() == [0, 0]


def test_a_threshold_of_zero_lets_all_pass():
    assert weigh(select.above(0.0), [0.0, 1.0]).tolist() == [1, 1]


def test_weights_keep_the_shape_of_the_units():
    confidence = torch.rand(2, 5, 6)
    assert torch.equal(weigh(select.above(0.5), confidence), (confidence >= 0.5).float())


@pytest.mark.parametrize(
    ("share", "kept"), [(0.25, [0, 0, 1, 0]), (0.5, [0, 1, 1, 0]), (1.0, [1, 1, 1, 1]), (0.01, [0, 0, 1, 0])]
)
def test_the_top_share_is_counted_in_units(share, kept):
    assert weigh(select.top(share), [0.1, 0.8, 0.9, 0.3]).tolist() == kept


def test_ties_at_the_border_all_pass():
    assert weigh(select.top(0.25), [0.5, 0.9, 0.9, 0.1]).tolist() == [0, 1, 1, 0]


def test_the_top_share_is_taken_over_all_units_of_the_batch():
    confidence = torch.tensor([[[0.9, 0.8], [0.7, 0.6]], [[0.1, 0.2], [0.3, 0.4]]])
    assert weigh(select.top(0.5), confidence).tolist() == [[[1, 1], [1, 1]], [[0, 0], [0, 0]]]


def test_an_empty_batch_has_no_weights():
    assert weigh(select.top(0.5), torch.zeros(0)).shape == (0,)
    assert weigh(select.above(0.5), torch.zeros(0)).shape == (0,)


@pytest.mark.parametrize("rule", [select.everything(), select.above(0.5), select.top(0.5)])
def test_weights_have_no_gradient(rule):
    confidence = torch.rand(4, requires_grad=True)
    assert not rule(confidence, torch.zeros(4)).requires_grad


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: select.above(-0.1), "threshold is -0.1; it must be 0 or more"),
        (lambda: select.top(0.0), r"share is 0.0; it must be in \(0, 1\]"),
        (lambda: select.top(1.1), "share is 1.1"),
    ],
)
def test_settings_out_of_range_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_the_base_rule_is_no_rule():
    with pytest.raises(NotImplementedError):
        weigh(select.Select(), [0.5])
