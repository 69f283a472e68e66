"""Held-out masks and joints side by side: each panel against what it must show, and IoU of each class."""

import numpy as np
import pytest
import torch
from sklearn.metrics import jaccard_score

import selftrain as st
from selftrain import data, strategies, toy
from selftrain.labels.page.source import Painted
from selftrain.report.examples import Showing
from selftrain.tensorboard import Dashboard, tiles
from selftrain.tensorboard.held_out import held_out, part_of
from selftrain.tensorboard.tiles import COLORS, compared

CPU = torch.device("cpu")


def test_panels_of_masks_show_truth_decision_doubt_and_error():
    task = st.Segmentation(2)
    gray = torch.full((1, 3, 4, 4), 0.5)
    truth = torch.tensor([[[0, 0, 1, 1]] * 4])
    truth[0, 3] = 255
    first = torch.tensor([[0.9, 0.2, 0.2, 1.0]] * 4)  # of class 0: right, wrong, right, wrong and sure
    value = torch.stack([first, 1 - first])[None]
    picture, right, said, doubt, error = compared(gray, value, task.encode(truth), task).split(4, 3)
    assert torch.equal(picture, gray)
    paint = torch.tensor(COLORS)

    def painted(c, strength):
        return 0.5 * (1 - strength) + paint[c] * strength

    assert torch.allclose(right[0, :, 0, 0], painted(0, 0.6))
    assert torch.allclose(right[0, :, 0, 3], painted(1, 0.6))
    assert torch.allclose(right[0, :, 3, 3], painted(0, 0.2))  # void stays pale
    assert torch.allclose(said[0, :, 0, 1], painted(1, 0.6))
    red = doubt[0, 0] - doubt[0, 2]
    assert red[0].tolist() == pytest.approx([0.9 * 0.68 * d for d in (0.1, 0.2, 0.2, 0.0)], abs=0.02)
    wrong = error[0, 0] - error[0, 2] > 0.3
    assert wrong[0].tolist() == [False, True, False, True]
    assert not wrong[3].any()  # where there is no truth nothing is wrong


def test_panels_of_joints_have_bones_and_lead_from_truth_to_decision():
    task = st.Keypoints(2, (24, 24), sigma=1.0)
    target = task.encode(torch.tensor([[[2.0, 4.0, 1.0], [20.0, 4.0, 1.0]]]))
    value = task.encode(torch.tensor([[[2.0, 4.0, 1.0], [20.0, 18.0, 1.0]]])).value
    gray = torch.full((1, 3, 24, 24), 0.5)
    picture, right, said, error = compared(gray, value, target, task, [(0, 1)]).split(24, 3)
    assert torch.equal(picture, gray)
    assert torch.allclose(right[0, :, 4, 11], torch.tensor(COLORS[0]), atol=0.01)  # the bone, midway
    assert torch.allclose(said[0, :, 11, 11], torch.tensor(COLORS[0]), atol=0.01)
    assert torch.allclose(right[0, :, 12, 11], torch.tensor(0.5), atol=0.01)
    assert torch.allclose(error[0, :, 11, 20], torch.tensor([0.8, 0, 0]), atol=0.01)  # from row 4 to row 18
    assert torch.allclose(error[0, :, 11, 11], torch.tensor(0.5), atol=0.01)


@pytest.mark.parametrize("kind", ["segmentation", "keypoints"])
def test_held_out_samples_and_iou_are_in_the_dashboard(kind, tmp_path):
    from test_dashboard import events, tags

    strategy = strategies.FixMatch(toy.task(kind), toy.learner(kind))
    look = Dashboard(every=20, points=0, skeleton=[(0, 1)])
    run = st.fit(strategy, toy.pile(kind), out=tmp_path, steps=4, eval_every=2, dashboard=look, progress=False)
    assert [event.step for event in events(tmp_path).Images("held_out")] == [2, 4]
    scalars = {tag for tag in tags(tmp_path)["scalars"] if tag.startswith("classes/iou/")}
    assert scalars == ({f"classes/iou/{name}" for name in run.pile.classes} if kind == "segmentation" else set())
    found = held_out(strategy, strategy.task, part_of(run.pile, "validation", CPU, 100))
    if kind == "keypoints":
        assert found.iou() is None
        return
    (batch,) = part_of(run.pile, "validation", CPU, 100)
    known, said = batch.annotation != strategy.task.void, run.strategy.predict(batch.x).argmax(1)
    wanted = jaccard_score(batch.annotation[known], said[known], average=None, labels=[0, 1, 2])
    assert found.iou().tolist() == pytest.approx(wanted.tolist())


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_skeleton_of_the_data_is_drawn_on_all_pages(tmp_path, monkeypatch):
    draw = np.random.default_rng(0)
    joints = np.concatenate([draw.uniform(2, 21, (8, 2, 2)), np.ones((8, 2, 1))], 2)
    joints[5:] = np.nan
    pile = data.Pile.from_arrays(draw.integers(0, 255, (8, 24, 24, 3), np.uint8), joints, validation=2)
    pile.skeleton = [(0, 1)]
    drawn, plain = [], tiles._lines
    monkeypatch.setattr(tiles, "_lines", lambda shown, ends: drawn.append(sum(map(len, ends))) or plain(shown, ends))
    look = Dashboard(every=1, points=0)
    run = st.fit("fixmatch", pile, steps=1, plan=st.BatchPlan(2, 1), out=tmp_path, dashboard=look, baseline=False)
    assert drawn[1:4] == [2, 2, 4]  # both held-out samples: the bone of truth and of decision, and joint to joint
    rows = np.arange(2)
    for skeleton in ([(0, 1)], ()):
        drawn.clear()
        pile.skeleton = skeleton
        (review,) = Painted(pile, rows, False, strategy=run.strategy, side=64).batches()
        raw = torch.as_tensor(pile.unlabeled.images(rows))
        Showing(pile).drawn(raw, run.strategy.predict(pile.views("plain", raw, torch.arange(2), 0).x), torch.ones(2, 2))
        assert drawn == ([2, 2] if skeleton else [])
