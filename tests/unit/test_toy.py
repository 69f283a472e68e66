"""The toys are what they say: otherwise the tests on them would prove little."""

from __future__ import annotations

import pytest
import torch
from zoo import PLAN, build, differences

import selftrain as st
from selftrain import Strategy, toy
from selftrain.strategies import Supervised
from selftrain.types import Needs, View


@pytest.mark.parametrize("quarters", range(4))
def test_turns_are_exact_and_can_be_undone(quarters):
    x = torch.arange(2 * 36.0).view(2, 1, 6, 6)
    turn = toy.turned(torch.full((2,), float(quarters)))
    back = toy.turned(torch.full((2,), float(-quarters)))
    moved = toy.move(x, turn)
    assert any(torch.equal(moved, x.rot90(k, (2, 3))) for k in range(4))
    assert torch.equal(toy.move(moved, back), x)
    assert torch.equal(moved, x) == (quarters == 0)


@pytest.mark.parametrize("kind", toy.KINDS)
@pytest.mark.parametrize("name", ["plain", "weak", "strong"])
def test_a_view_shows_what_its_map_says(kind, name):
    pile = toy.pile(kind, unlabeled=200)
    view = pile.views[name](pile.x, torch.Generator().manual_seed(0))
    straight = pile.x if view.theta is None else toy.move(pile.x, view.theta)
    noise = {"plain": 0.0, "weak": 0.05, "strong": 0.3}[name]
    assert float((view.x - straight).std()) == pytest.approx(noise, abs=0.01)
    if name != "plain":
        assert len(view.theta.unique(dim=0)) == (4 if name == "strong" and kind != "classification" else 2)


def test_annotations_describe_the_pictures():
    piles = {kind: toy.pile(kind) for kind in toy.KINDS}
    x = piles["segmentation"].x[:, 0]
    assert all(torch.equal(pile.x[:, 0], x) for pile in piles.values())
    mask = piles["segmentation"].annotation
    assert x[mask == 1].min() > 0.5
    assert x[mask == 2].max() < -0.5
    assert 0.03 < (mask == toy.VOID).float().mean() < 0.07
    points = piles["keypoints"].annotation
    for joint, sign in enumerate((1, -1)):
        column, row = points[:, joint, 0].long(), points[:, joint, 1].long()
        assert (sign * x[torch.arange(len(x)), row, column]).min() > 0.5
    assert torch.equal(piles["classification"].annotation, (points[:, 0, 1] / 4).long())
    assert 0.8 < points[:, :, 2].mean() < 1


@pytest.mark.parametrize("kind", toy.KINDS)
def test_batches_depend_on_seed_epoch_and_step_alone(kind):
    needs = build("fst_w", kind).needs()
    pile, device = toy.pile(kind), torch.device("cpu")

    def drawn(seed: int, epoch: int, start: int) -> list[object]:
        stream = pile.stream(needs, st.BatchPlan(4, 1.5, seed=seed), device)
        return [
            [b.unlabeled["strong"].x for b in batches] + [batches[0].labeled.x]
            for batches in stream.epoch(epoch, start)
        ]

    whole = drawn(0, 1, 0)
    assert len(whole) == 4
    assert not differences(whole[2:], drawn(0, 1, 2))
    assert differences(whole, drawn(0, 2, 0))
    assert differences(whole, drawn(1, 1, 0))
    assert torch.equal(whole[0][1], whole[1][0])  # what is drawn ahead is what comes
    assert torch.equal(whole[3][1], whole[0][0])


def test_an_epoch_visits_every_unlabeled_row_once_and_shows_only_what_is_needed():
    stream = toy.pile("segmentation").stream(Needs(views=("strong",)), PLAN, torch.device("cpu"))
    batches = [batch for (batch,) in stream.epoch(0)]
    assert sorted(torch.cat([b.unlabeled.index for b in batches]).tolist()) == list(range(24))
    assert all(not b.has_labeled and set(b.unlabeled.views) == {"strong"} for b in batches)


@pytest.mark.parametrize("kind", toy.KINDS)
def test_labeled_targets_follow_their_view(kind):
    """Segmentation: the bright pixels of the moved picture are those of the moved target."""
    strategy: Strategy = build("supervised", kind)
    stream = toy.pile(kind).stream(strategy.needs(), PLAN, torch.device("cpu"))
    given = next(stream.epoch(0))[0].labeled
    assert given.target.value.shape[:2] == (4, 2 if kind == "keypoints" else 3)
    if kind == "segmentation":
        labeled = given.target.mask() > 0
        assert torch.equal((given.x[:, 0] > 0.5)[labeled], (given.target.value[:, 1] > 0.5)[labeled])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "monitor", "least"),
    [("classification", "accuracy", 0.8), ("segmentation", "mean_iou", 0.6), ("keypoints", "pck", 0.6)],
)
def test_the_pictures_can_be_learned(kind, monitor, least):
    torch.manual_seed(0)
    strategy = Supervised(toy.task(kind), toy.learner(kind, dropout=0.0, lr=0.2), decay=None)
    run = st.fit(strategy, toy.pile(kind, labeled=64, unlabeled=0), steps=150, plan=st.BatchPlan(16), eval_every=150)
    assert run.evaluate("test")[monitor] > least


def test_the_tables_are_as_hard_as_they_say():
    """The first coordinate alone tells the clouds apart as well as anything can."""
    clouds = toy.clouds(unlabeled=4000)
    right = ((clouds.x[:, 0] > 0) == clouds.annotation.bool()).float().mean()
    assert float(right) == pytest.approx(0.977, abs=0.01)
    moons = toy.moons()
    assert {part: len(rows) for part, rows in moons.parts.items()} == {
        "labeled": 8,
        "unlabeled": 400,
        "validation": 300,
        "test": 300,
    }
    assert moons.annotation[moons.parts["labeled"]].bincount().tolist() == [4, 4]
    assert toy.mlp()(View(moons.x[:5]).x).shape == (5, 2)
