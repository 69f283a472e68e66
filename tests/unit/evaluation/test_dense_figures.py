"""Figures of masks and joints against scikit-learn, loops, and COCO's formula written out."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, f1_score, jaccard_score

import selftrain as st
from selftrain import data
from selftrain.errors import DataError
from selftrain.evaluation.dense import joint_figures, mask_figures, mirrored_back, probabilities
from selftrain.metrics.joints import average_precision, normalizers, similarity
from selftrain.strategy.base import SupervisedStrategy

DRAW = torch.Generator().manual_seed(0)


class Says(SupervisedStrategy):
    """Predicts by a function of the input."""

    def __init__(self, task, ask, shape=None):
        super().__init__(task)
        self.weight, self.ask, self.input_shape = torch.nn.Parameter(torch.zeros(1)), ask, shape

    def predictors(self):
        return {"shipped": self.ask}


def pile_of(x, y, classes=None):
    samples = data.ArraySet(x, y, channels="first")
    return data.Pile(samples, samples, test=samples, views=data.TensorViews(mean=0.0, std=1.0), classes=classes)


def test_masks_against_scikit_learn():
    x, y = torch.rand(5, 3, 8, 6, generator=DRAW), torch.randint(0, 3, (5, 8, 6), generator=DRAW)
    y[0, :2] = 255
    strategy, pile = Says(st.Segmentation(3), lambda x: x.softmax(1)), pile_of(x, y, ["a", "b", "c"])
    found = mask_figures(strategy, pile, batch_size=2)
    known, said = y != 255, x.argmax(1)
    truth, guess = y[known].numpy(), said[known].numpy()
    assert list(found.iou) == ["a", "b", "c"]
    assert list(found.iou.values()) == pytest.approx(jaccard_score(truth, guess, average=None).tolist())
    assert list(found.dice.values()) == pytest.approx(f1_score(truth, guess, average=None).tolist())
    assert found.mean_iou == pytest.approx(jaccard_score(truth, guess, average="macro"))
    assert found.mean_dice == pytest.approx(f1_score(truth, guess, average="macro"))
    assert found.accuracy == pytest.approx(accuracy_score(truth, guess))
    assert found.pictures == 5
    # the figure that judges a run is the same
    assert st.evaluate(strategy, pile)["mean_iou"] == pytest.approx(found.mean_iou)
    # at the original resolution: sizes of their own
    large = [np.kron(mask.numpy(), np.ones((2 + i, 2), int)) for i, mask in enumerate(y)]
    counted = []
    for i, mask in enumerate(large):
        up = torch.nn.functional.interpolate(x[i : i + 1].softmax(1), mask.shape, mode="bilinear", align_corners=False)
        counted.append((mask[mask != 255], up.argmax(1)[0].numpy()[mask != 255]))
    truth, guess = (np.concatenate(column) for column in zip(*counted, strict=True))
    wanted = jaccard_score(truth, guess, average="macro")
    assert mask_figures(strategy, pile, truth=large, batch_size=2).mean_iou == pytest.approx(wanted)
    with pytest.raises(DataError, match="5 pictures and 4 masks in truth; give one for each, in order"):
        mask_figures(strategy, pile, truth=large[:4])
    with pytest.raises(DataError, match="ask mask_figures for masks"):
        joint_figures(strategy, pile)


def test_windows_overlap_and_are_averaged():
    x = torch.rand(2, 2, 10, 9, generator=DRAW)

    def sums(seen):  # what a window says depends on the window
        return seen + seen.mean((2, 3), keepdim=True)

    strategy = Says(st.Segmentation(2), sums, shape=(2, 4, 4))
    found = probabilities(strategy, x, overlap=0.5, batch_size=3)
    rows, columns = [0, 2, 4, 6], [0, 2, 3, 5]  # 5 / 3 apart, rounded; the last at the end
    total, many = torch.zeros(2, 2, 10, 9), torch.zeros(10, 9)
    for r in rows:
        for c in columns:
            total[..., r : r + 4, c : c + 4] += sums(x[..., r : r + 4, c : c + 4])
            many[r : r + 4, c : c + 4] += 1
    assert many.min() > 0
    assert torch.allclose(found, total / many, atol=1e-6)
    assert torch.allclose(probabilities(strategy, x[..., :4, :4], overlap=0.0), sums(x[..., :4, :4]))
    with pytest.raises(ValueError, match=r"in \[0, 1\)"):
        probabilities(strategy, x, overlap=1.0)
    with pytest.raises(DataError, match="enlarge them, or overlap=None"):
        probabilities(strategy, x[..., :3, :], overlap=0.5)
    assert probabilities(strategy, x[..., :3, :]).shape == (2, 2, 3, 9)
    fresh = Says(st.Segmentation(2), sums)
    with pytest.raises(ValueError, match="ask a strategy that was trained, or overlap=None"):
        probabilities(fresh, x, overlap=0.5)


def test_a_mirror_image_is_asked_and_its_sides_exchanged():
    x = torch.rand(2, 3, 4, 5, generator=DRAW)
    task = st.Segmentation(3, pairs=[(0, 2)])
    lopsided = torch.linspace(0, 1, 5)
    found = probabilities(Says(task, lambda seen: seen * lopsided), x, flip=True)
    mirrored = (x.flip(-1) * lopsided).flip(-1)
    assert torch.allclose(found, (x * lopsided + mirrored[:, [2, 1, 0]]) / 2)
    assert torch.equal(mirrored_back(st.Segmentation(3), x), x.flip(-1))


def test_joints_against_loops():
    task = st.Keypoints(3, (12, 16), sigma=1.0)
    place = torch.rand(6, 3, 2, generator=DRAW) * torch.tensor([12.0, 8.0]) + 2
    seen = torch.ones(6, 3, 1)
    seen[0, 1], seen[2] = 0, 0
    y = torch.cat([place, seen], 2)
    off = place + torch.randn(6, 3, 2, generator=DRAW) * 0.6
    x = task.encode(torch.cat([off, torch.ones(6, 3, 1)], 2)).value
    height = torch.rand(6, 1, 1, 1, generator=DRAW) / 2 + 0.5  # how sure
    strategy = Says(task, lambda seen: seen)
    pile = pile_of(x * height, y, ["nose", "left", "right"])
    pixels = 1.0  # inputs are as large as the heatmaps
    gaps, known = (off - place).norm(dim=2) * pixels, seen[..., 0] > 0
    for by, length in (
        ("picture", torch.full((6,), 16.0)),
        ((0, 2), (place[:, 0] - place[:, 2]).norm(dim=1)),
    ):
        found = joint_figures(strategy, pile, by=by, alpha=0.1, batch_size=4)
        near = [float(gaps[i, k] / length[i]) for i in range(6) for k in range(3) if known[i, k]]
        right = [value < 0.1 for value in near]
        assert found.pck == pytest.approx(np.mean(right))
        assert found.nme == pytest.approx(np.mean(near), rel=2e-3)
        assert found.joints == len(near) == 14
        assert list(found.per_joint) == ["nose", "left", "right"]
        assert found.per_joint["left"] == pytest.approx(np.mean([gaps[i, 1] / length[i] < 0.1 for i in (1, 3, 4, 5)]))
    # places are read between cells: rounded ones would be off by more than a third of a cell on average
    exact = Says(task, lambda seen: task.encode(y[: len(seen)]).value)
    told = joint_figures(exact, pile, batch_size=6)
    assert told.pixels < 1e-3
    assert (told.pck, told.ap) == (1.0, 1.0)
    with pytest.raises(DataError, match="ask run.evaluate"):
        mask_figures(strategy, pile)
    with pytest.raises(ValueError, match="no samples in 'validation'; pass a data set or another part"):
        joint_figures(strategy, pile, "validation")
    assert joint_figures(strategy, pile, pile.test).joints == 14
    with pytest.raises(ValueError, match="alpha is 0; it is a share of the normalizer, above 0"):
        joint_figures(strategy, pile, alpha=0)


def test_normalizers_by_hand():
    joints = torch.tensor([[[0.0, 0.0], [3.0, 4.0], [10.0, 1.0]], [[1.0, 1.0], [1.0, 1.0], [5.0, 2.0]]])
    known = torch.tensor([[True, True, False], [True, True, True]])
    assert normalizers(joints, known, "picture", (48, 64)).tolist() == [64, 64]
    assert normalizers(joints, known, "box", (48, 64)).tolist() == [4, 4]
    boxes = torch.tensor([[0.0, 0, 6, 8], [0, 0, 30, 40]])
    assert normalizers(joints, known, "box", (48, 64), boxes).tolist() == [8, 40]
    assert normalizers(joints, known, "head", (48, 64), boxes).tolist() == pytest.approx([6, 30])
    found = normalizers(joints, known, (0, 1), (48, 64)).tolist()
    assert found[0] == 5
    assert math.isnan(found[1])  # joints in one place have no distance
    with pytest.raises(ValueError, match="pass boxes="):
        normalizers(joints, known, "head", (48, 64))
    with pytest.raises(ValueError, match="two joints of 0 to 2"):
        normalizers(joints, known, (0, 3), (48, 64))


def test_oks_and_its_average_precision_written_out():
    gap, area = torch.rand(7, 4, generator=DRAW) * 8, torch.rand(7, generator=DRAW) * 900 + 100
    known = torch.rand(7, 4, generator=DRAW) < 0.8
    known[3] = False
    sigmas = [0.025, 0.05, 0.1, 0.08]
    found = similarity(gap, known, area, torch.tensor(sigmas))
    oks = []
    for i in range(7):
        each = [
            math.exp(-(float(gap[i, k]) ** 2) / (2 * float(area[i]) * (2 * sigmas[k]) ** 2))
            for k in range(4)
            if known[i, k]
        ]
        oks.append(sum(each) / len(each) if each else math.nan)
    assert found.tolist() == pytest.approx(oks, nan_ok=True)
    score = torch.rand(7, generator=DRAW)
    rows = sorted((i for i in range(7) if not math.isnan(oks[i])), key=lambda i: -float(score[i]))
    total = 0.0
    for step in range(10):
        at, precision, recall, right = 0.5 + 0.05 * step, [], [], 0
        for n, i in enumerate(rows, 1):
            right += oks[i] >= at
            precision.append(right / n)
            recall.append(right / len(rows))
        reads = []
        for point in range(101):
            beyond = [p for p, r in zip(precision, recall, strict=True) if r >= point / 100 - 1e-9]
            reads.append(max(beyond, default=0.0))
        total += sum(reads) / 101
    assert average_precision(found, score) == pytest.approx(total / 10)
    assert math.isnan(average_precision(torch.tensor([math.nan]), torch.ones(1)))
