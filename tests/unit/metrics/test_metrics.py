import math

import numpy as np
import pytest
import torch

from selftrain.metrics.calibration_error import expected_calibration_error, pseudo_label_accuracy


def by_loops(confidence, correct, bins):
    total = 0.0
    for b in range(bins):
        low, high = b / bins, (b + 1) / bins
        inside = [
            (c, r) for c, r in zip(confidence, correct, strict=True) if low <= c < high or (b == bins - 1 and c == 1)
        ]
        if inside:
            gap = abs(np.mean([c for c, _ in inside]) - np.mean([float(r) for _, r in inside]))
            total += gap * len(inside) / len(confidence)
    return total


@pytest.mark.parametrize("bins", [1, 4, 15])
def test_calibration_error_by_loops(bins):
    generator = torch.Generator().manual_seed(0)
    confidence = torch.rand(200, generator=generator).double()
    correct = torch.rand(200, generator=generator) < confidence**2
    expected = by_loops(confidence.tolist(), correct.tolist(), bins)
    assert expected_calibration_error(confidence, correct, bins=bins) == pytest.approx(expected, abs=1e-9)


def test_a_calibrated_predictor_has_no_error():
    confidence = torch.tensor([0.75] * 4 + [0.5] * 2)
    correct = torch.tensor([True, True, True, False, True, False])
    assert expected_calibration_error(confidence, correct) == pytest.approx(0, abs=1e-7)


def test_sure_and_wrong_is_the_worst():
    assert expected_calibration_error(torch.ones(3), torch.zeros(3, dtype=torch.bool)) == 1.0


def test_full_confidence_falls_into_the_last_bin():
    assert expected_calibration_error(torch.ones(3), torch.ones(3, dtype=torch.bool)) == 0.0


def test_no_decisions_no_error():
    assert expected_calibration_error(torch.zeros(0), torch.zeros(0, dtype=torch.bool)) == 0.0


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="bins is 0; there must be at least 1"):
        expected_calibration_error(torch.rand(2), torch.ones(2, dtype=torch.bool), bins=0)
    with pytest.raises(ValueError, match=r"have shapes \(2,\) and \(3,\); they must be the same"):
        expected_calibration_error(torch.rand(2), torch.ones(3, dtype=torch.bool))


def test_accuracy_of_accepted_and_of_all():
    label = torch.tensor([0, 1, 2, 1, 0])
    truth = torch.tensor([0, 1, 1, -1, 2])
    weight = torch.tensor([1.0, 0.3, 1.0, 1.0, 0.0])
    accepted, all_known = pseudo_label_accuracy(label, weight, truth)
    assert accepted.item() == pytest.approx(2 / 3)
    assert all_known.item() == pytest.approx(2 / 4)


def test_nothing_to_count_is_no_number():
    accepted, all_known = pseudo_label_accuracy(torch.tensor([0, 1]), torch.zeros(2), torch.tensor([0, 0]))
    assert math.isnan(accepted.item())
    assert all_known.item() == 0.5
    assert math.isnan(pseudo_label_accuracy(torch.tensor([0]), torch.ones(1), torch.tensor([-1]))[1].item())
