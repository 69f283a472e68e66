"""Labels that are probably wrong: confident learning by hand, its page, and decisions that go back into the pile."""

import numpy as np
import pytest
import torch

import selftrain as st
from selftrain import data, strategies
from selftrain.data.base.joined import relabeled
from selftrain.errors import DataError
from selftrain.evaluation.label_errors import label_errors
from selftrain.labels.page import write_label_review
from selftrain.labels.review import read_review
from selftrain.pipeline import out_of_fold
from selftrain.types import BatchPlan


def by_hand(p, y):
    """Equations 1 and 2 of the paper, one sample after another."""
    classes = p.shape[1]
    of = [[row[j] for row, label in zip(p, y, strict=True) if label == j] for j in range(classes)]
    bounds = [np.mean(values) if values else np.inf for values in of]
    joint, wrong = np.zeros((classes, classes), int), []
    for row, label in zip(p, y, strict=True):
        reached = [j for j in range(classes) if row[j] >= bounds[j]]
        believed = max(reached, key=lambda j: row[j]) if reached else None
        if believed is not None:
            joint[label, believed] += 1
        wrong.append(believed is not None and believed != label)
    return joint, wrong


def test_the_joint_and_the_suspected_are_those_of_the_paper():
    random = np.random.default_rng(0)
    p, y = random.dirichlet(np.ones(4), 200), random.integers(0, 3, 200)  # class 3 is nobody's label
    found = label_errors(torch.from_numpy(p), torch.from_numpy(y))
    joint, wrong = by_hand(p, y)
    assert found.joint.tolist() == joint.tolist()
    assert found.suspected.tolist() == wrong
    assert 0 < sum(wrong) < 200
    own = p[np.arange(200), y]
    others = np.where(np.arange(4) == y[:, None], -1, p).max(1)
    assert found.margin.numpy() == pytest.approx((1 + own - others) / 2)
    assert bool((found.suggested[found.suspected] != found.label[found.suspected]).all())
    for bad, labels in ((p[0], y), (p, y[:5]), (p, y + 2)):
        with pytest.raises(DataError, match="expected"):
            label_errors(torch.from_numpy(bad), torch.from_numpy(labels))


@pytest.fixture(scope="module")
def flipped():
    """Squares in three places, a seventh of the labels flipped, and out-of-fold probabilities."""
    torch.manual_seed(0)
    random = np.random.default_rng(0)
    y = np.arange(90) % 3
    x = (random.random((90, 1, 6, 6)) * 60).astype(np.uint8)
    x[np.arange(90), 0, 2 * y] = 255
    pile = data.Pile(data.ArraySet(x[:60], y[:60]), data.ArraySet(x[60:]), classes=("ant", "bee", "cow"))
    labels, flips = torch.from_numpy(y[:60]).clone(), torch.arange(0, 60, 7)
    labels[flips] = (labels[flips] + 1) % 3
    pile.labeled = relabeled(pile.labeled, labels)
    net = st.learner(lambda: torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(36, 3)), lr=0.1, optimizer="sgd")
    asked = []

    def make():
        asked.append(strategies.Supervised(st.Classification(3), net))
        return asked[-1]

    found = out_of_fold(make, pile, folds=3, steps=40, plan=BatchPlan(labeled=40), progress=False)
    assert len(asked) == 3
    return pile, flips, found


def test_flipped_labels_are_found_and_go_back_corrected(flipped, tmp_path):
    pile, flips, p = flipped
    found = write_label_review(pile, p, tmp_path / "page.html")
    suspected = set(torch.nonzero(found.suspected).squeeze(1).tolist())
    assert suspected <= set(flips.tolist())
    assert len(suspected) >= 8  # of 9
    rows = ["id,label,class,verdict,correction"]
    for row in flips.tolist():
        label = int(found.label[row])
        verdict, correction = ("reject", "") if row == 0 else ("", pile.classes[row % 3])
        rows.append(f"given:{row},{label},{pile.classes[label]},{verdict},{correction}")
    (tmp_path / "reviewed.csv").write_text("\n".join(rows))
    after = pile.reviewed(read_review(tmp_path / "reviewed.csv", pile.classes, pile.review_ids()))
    truth = (np.arange(60) % 3)[1:]
    assert after.labeled.annotations.tolist() == truth.tolist()
    assert len(after.unlabeled) == 30
    assert "8 corrected, 1 rejected" in after.source
    with pytest.raises(DataError, match="no labeled sample has the id 'x'; apply a review of given labels"):
        pile.reviewed({"given:x": 0})
    with pytest.raises(DataError, match="the review rejects all labels; keep some"):
        pile.reviewed({f"given:{row}": -1 for row in range(60)})
    with pytest.raises(DataError, match="classes up to 7; expected 0 to 2"):
        pile.reviewed({"given:1": 7})


def test_what_has_no_labels_that_are_classes_is_refused(flipped, tmp_path):
    pile, _, p = flipped
    empty = data.Pile(None, pile.unlabeled, classes=pile.classes)
    for do in (
        lambda: write_label_review(empty, p, tmp_path / "page.html"),
        lambda: out_of_fold(lambda: None, empty),
        lambda: pile.without_labels(np.arange(60)),
    ):
        with pytest.raises(DataError, match="no labels that are classes; pass|and the pile has none|keep some"):
            do()
    with pytest.raises(ValueError, match="folds is 1; it must be at least 2"):
        out_of_fold(lambda: None, pile, folds=1)
