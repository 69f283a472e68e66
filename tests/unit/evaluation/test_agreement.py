"""Agreement of looks against counts by hand: moved pixels and joints, rows and draws of the sample, all inputs."""

import json

import numpy as np
import pytest
import torch
from helpers import MemoryPile
from plain_events import PlainEvents as EventAccumulator
from test_calibration import Shipped
from torch.nn import functional as F

from selftrain import fit, select, strategies, toy
from selftrain.data import ArraySet, Pile, Weak
from selftrain.data import TensorViews as ImageViews
from selftrain.evaluation.agreement import LOOKS, pile_looks, siding, view_agreement
from selftrain.strategy.base import SupervisedStrategy
from selftrain.tasks import Classification, Keypoints, Segmentation
from selftrain.types import View

THREE = Classification(3)


class Ships(SupervisedStrategy):
    """Ships what a function says of the inputs; keeps these and the mode it was asked in."""

    def __init__(self, task, says):
        super().__init__(task)
        self.place, self.says, self.seen = torch.nn.Parameter(torch.zeros(1)), says, []

    def predict(self, x):
        self.seen.append((x.clone(), self.training))
        return self.says(x)


def said(*rows):
    """Looks (N, B, 3) from the class that each says of each sample."""
    return F.one_hot(torch.tensor(rows), 3).float()


# -- how many side -----------------------------------------------------------------------------------------------------
def test_the_share_of_looks_that_side_by_hand():
    values = said([0, 1, 0, 0], [0, 1, 1, 1], [0, 2, 0, 2]) * torch.tensor([1.0, 0.8, 0.9])[:, None, None]
    every = torch.ones(3, 4)
    assert siding(THREE, values, every) == pytest.approx(torch.tensor([1, 2 / 3, 2 / 3, 1 / 3]))
    hidden = torch.tensor([[1.0, 0, 0, 0], [1, 1, 1, 0], [1, 1, 0, 0]])
    assert siding(THREE, values, hidden) == pytest.approx(torch.tensor([1, 0.5, 1, 0]))


def test_joints_that_a_look_does_not_show_have_no_place():
    """Two looks put the joint at the same cell; the third does not show it, and its highest cell is far away."""
    task = Keypoints(1, (9, 9), radius=1.0)
    places = torch.tensor([[[[4.0, 4, 1]]], [[[4.0, 5, 1]]], [[[0.0, 0, 1]]]])
    values = torch.stack([task.encode(place).value for place in places])
    shown = torch.tensor([1.0, 1, 0]).view(3, 1, 1)
    assert siding(task, values, shown).tolist() == [[1.0]]
    assert siding(task, values.flip(0), shown.flip(0)).tolist() == [[1.0]]
    assert siding(task, values[1:], shown[1:]).tolist() == [[1.0]]  # alone with one that shows nothing
    assert siding(task, values, torch.ones(3, 1, 1)).item() == pytest.approx(2 / 3)


# -- looks at the pile -------------------------------------------------------------------------------------------------
def numbered(n=70, **views):
    """Images whose first pixel is their number, so that an input tells its row."""
    x = np.zeros((n, 1, 8, 8), dtype=np.float32)
    x[:] = (np.arange(n) / 100)[:, None, None, None]
    return Pile(None, ArraySet(x), views=ImageViews(Weak(**views), mean=0.0, std=1.0))


@pytest.mark.parametrize(("limit", "batches"), [(2000, 2), (70, 2), (51, 2), (50, 1), (7, 1)])
def test_each_row_is_looked_at_once(limit, batches):
    pile, strategy = numbered(), Ships(THREE, lambda x: x[:, 0, 0, :3])
    found = list(pile_looks(strategy, pile, ("plain", "weak"), limit=limit))
    rows = torch.cat([index for index, _ in found])
    assert len(found) == batches
    assert len(rows) == len(rows.unique()) == min(limit, 70)
    for index, looks in found:
        for look in looks:
            assert torch.allclose(look.value, index[:, None] / 100 * torch.ones(3))
            assert look.weight.shape == (len(index),)
    assert rows[:7].sort().values.tolist() != list(range(7))  # a choice from the whole pile, not its head


def test_views_and_choice_depend_on_the_seed_alone():
    pile = numbered(shift=0.25, pad="zero")

    def seen(**settings):
        strategy = Ships(THREE, lambda x: x[:, 0, 0, :3])
        rows = [index for index, _ in pile_looks(strategy, pile, LOOKS, limit=20, **settings)]
        return torch.cat(rows), [x for x, _ in strategy.seen]

    state = torch.get_rng_state()
    first, again, other = seen(), seen(), seen(seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first[0], again[0])
    assert not torch.equal(first[0], other[0])
    assert all(torch.equal(a, b) for a, b in zip(first[1], again[1], strict=True))
    assert len(first[1]) == 3
    assert not torch.equal(first[1][0], first[1][1])  # draws of their own
    assert not torch.equal(first[1][1], first[1][2])


def test_the_strategy_is_asked_in_evaluation_mode_and_put_back():
    strategy = Ships(THREE, lambda x: x[:, 0, 0, :3]).train()
    assert view_agreement(strategy, numbered()) == 1.0
    assert [training for _, training in strategy.seen] == [False] * 6
    assert strategy.training


@pytest.mark.parametrize("pile", [MemoryPile(unlabeled=0), toy.pile("classification", unlabeled=0)])
def test_nothing_unlabeled_has_no_agreement(pile):
    assert view_agreement(Shipped(THREE), pile) is None


# -- the agreement -----------------------------------------------------------------------------------------------------
def test_the_agreement_of_three_views_by_hand():
    """The class is where a shifted image has its bright column: as often alike as the three shifts are."""
    x = np.zeros((300, 1, 6, 6), dtype=np.float32)
    x[..., 2] = 1.0
    pile = Pile(None, ArraySet(x), views=ImageViews(Weak(shift=1 / 6, pad="zero"), mean=0.0, std=1.0))
    strategy = Ships(THREE, lambda x: x[:, 0, 3, 1:4])
    found = view_agreement(strategy, pile, seed=3)
    labels = torch.stack([x[:, 0, 3, 1:4].argmax(1) for x, _ in strategy.seen])  # (6 batches x 3 looks, 50)
    alike = torch.stack([(look == look[:1]).all(0) for look in labels.split(3)])
    assert found == pytest.approx(float(alike.float().mean()))
    assert found == pytest.approx(1 / 9, abs=3 * (8 / 81 / 300) ** 0.5)


class Moved:
    """A pile of three images; each weak view is an affine map of its own, the answer is in the image."""

    def __init__(self, x, maps):
        self.x, self.maps, self.classes = x, maps, ()

    def unlabeled_ids(self):
        return [str(i) for i in range(len(self.x))]

    def evaluation(self, part, batch_size, device):
        return None

    def stream(self, needs, plan, device):
        pile = toy.ToyPile(self.x, self.x, {"unlabeled": torch.arange(len(self.x))}, (), {})
        made = pile.stream(needs, plan, device)
        made._view = lambda name, rows, _: self.view(name, rows)
        return made

    def view(self, name, rows):
        theta = self.maps[name].repeat(len(rows), 1, 1)
        return View(toy.move(self.x[rows], theta), theta)


STILL = torch.eye(2, 3)
MIRROR = torch.tensor([[-1.0, 0, 0], [0, 1, 0]])
RIGHT_HALF = torch.tensor([[0.5, 0, 0.5], [0, 1, 0]])
TURN = torch.tensor([[0.0, -1, 0], [1, 0, 0]])


def test_pixels_are_compared_where_they_are_in_the_image():
    """A network that says of each pixel what it sees agrees with itself under mirror and turn, and on what is shown."""
    x = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(0)).softmax(1)
    says = Ships(Segmentation(3), lambda x: x)
    assert view_agreement(says, Moved(x, dict(zip(LOOKS, (STILL, MIRROR, TURN), strict=True)))) == 1.0
    blocks = x[..., ::2].repeat_interleave(2, 3)  # the same at half the resolution
    maps = dict(zip(LOOKS, (STILL, STILL, RIGHT_HALF), strict=True))
    assert view_agreement(says, Moved(blocks, maps)) == 1.0
    halves = F.one_hot((torch.arange(8) > 3).long().expand(8, 8), 3).permute(2, 0, 1).float()
    left = Ships(Segmentation(3), lambda x: halves.expand(len(x), -1, -1, -1))
    assert view_agreement(left, Moved(x, dict.fromkeys(LOOKS, STILL))) == 1.0
    assert view_agreement(left, Moved(x, dict(zip(LOOKS, (STILL, STILL, MIRROR), strict=True)))) == 0.0
    # of the right half, all that the third view shows, its left half (a quarter of the image) is said to be left
    assert view_agreement(left, Moved(x, maps)) == 0.5


def test_joints_are_compared_where_they_are_in_the_image():
    task = Keypoints(2, (8, 8), radius=1.0)
    places = torch.tensor([[[1.0, 1, 1], [6, 3, 1]], [[5, 6, 1], [2, 2, 1]], [[3, 5, 1], [4, 4, 1]]])
    x = task.encode(places).value
    maps = dict(zip(LOOKS, (STILL, MIRROR, TURN), strict=True))
    assert view_agreement(Ships(task, lambda x: x), Moved(x, maps)) == 1.0
    corner = task.encode(torch.tensor([[[1.0, 1, 1], [1, 1, 1]]])).value
    fixed = Ships(task, lambda x: torch.cat([corner[:, :1].expand(len(x), -1, -1, -1), x[:, 1:]], 1))
    assert view_agreement(fixed, Moved(x, maps)) == 0.5  # one joint is where the view is, not where the image is


@pytest.mark.parametrize("kind", ["table", "series", "points"])
def test_other_inputs_have_views_too(kind):
    """Noise alone moves the decision: of what lies at the border, half is decided alike; far from it, all."""
    random = np.random.default_rng(0)
    shape = {"table": (100, 4), "series": (100, 2, 30), "points": (100, 16, 3)}[kind]
    x, y = random.normal(size=shape).astype(np.float32), np.where(np.arange(100) < 10, np.arange(100) % 2, -1)
    pile = Pile.from_arrays(x, y, kind=None if kind == "table" else kind)
    steady = Ships(Classification(2), lambda x: torch.stack([torch.ones(len(x)), torch.zeros(len(x))], 1))
    assert view_agreement(steady, pile) == 1.0
    nervous = Ships(Classification(2), lambda x: F.one_hot((x.flatten(1)[:, 0] * 1e4).long() % 2, 2).float())
    assert view_agreement(nervous, pile) == pytest.approx(0.25, abs=0.15)  # three fair coins


@pytest.mark.parametrize("kind", toy.KINDS)
def test_every_task_has_an_agreement(kind, tmp_path):
    strategy = strategies.FixMatch(toy.task(kind), toy.learner(kind), select=select.top(0.5))
    run = fit(strategy, toy.pile(kind), steps=4, out=tmp_path)
    found = run.quality().view_agreement
    assert 0 < found <= 1
    assert found == view_agreement(strategy, toy.pile(kind))
    stored = json.loads((tmp_path / "summary.json").read_text())["quality"]
    assert stored["view_agreement"] == found
    (event,) = EventAccumulator(str(tmp_path), size_guidance={"tensors": 0}).Reload().Tensors("quality/text_summary")
    assert f"decided alike on 3 weak views {found:.1%}" in event.tensor_proto.string_val[0].decode()
