"""What samples add to a figure that is no mean over them, against drawing anew and against shares."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from selftrain.metrics.jackknife import contributions
from selftrain.tasks import Classification, Segmentation


def test_of_a_share_they_are_right_or_wrong():
    truth, value = torch.tensor([0, 1, 1, 0, 2]), torch.eye(3)[torch.tensor([0, 1, 0, 0, 1])]
    task = Classification(3)
    parts = torch.stack([task.update(value[i : i + 1], task.encode(truth[i : i + 1])) for i in range(5)])
    np.testing.assert_allclose(contributions(parts, lambda t: task.compute(t)["accuracy"]), [1, 1, 0, 1, 0], atol=1e-12)
    assert contributions(parts[:1], lambda t: task.compute(t)["accuracy"]).tolist() == [1]


def test_of_mean_iou_their_spread_is_that_of_pictures_drawn_anew():
    draw, task = np.random.default_rng(0), Segmentation(3)
    masks = torch.tensor(draw.integers(0, 3, (80, 6, 6)))
    noise = torch.tensor(draw.random((80, 1, 1)) < 0.5) & torch.tensor(draw.random((80, 6, 6)) < 0.6)
    said = torch.nn.functional.one_hot(torch.where(noise, 0, masks), 3).movedim(3, 1).float()
    parts = torch.stack([task.update(said[i : i + 1], task.encode(masks[i : i + 1])) for i in range(80)])
    figure = lambda tally: task.compute(tally)["mean_iou"]  # noqa: E731
    own = contributions(parts, figure)
    assert own.mean() == pytest.approx(figure(parts.sum(0)))
    drawn = [figure(parts[torch.tensor(draw.integers(0, 80, 80))].sum(0)) for _ in range(400)]
    assert own.std(ddof=1) / 80**0.5 == pytest.approx(np.std(drawn), rel=0.15)
