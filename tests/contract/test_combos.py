"""Any teacher with any rule, target and mix on any task: the contract's tests over a covering array of combinations."""

from __future__ import annotations

from dataclasses import replace

import combos
import numpy as np
import pytest
import torch
import zoo
from combos import Combo
from zoo import HALFWAY, PLAN, differences, take_step, weights

import selftrain as st
from selftrain import toy
from selftrain.data import Pile
from selftrain.networks import Classifier, PoseNet, UNet, UNetEncoder
from selftrain.storage import checkpoint
from selftrain.tasks import Keypoints
from selftrain.tensorboard import TensorBoard
from selftrain.types import Batch

ROWS = combos.covering()
FAST = 22  # combinations tested on every run; the rest with the slow tests
RESUMED = 8  # of these, stopped and continued on every run
CASES = [pytest.param(row, id=str(row), marks=[] if i < FAST else [pytest.mark.slow]) for i, row in enumerate(ROWS)]


def test_every_two_values_meet_and_no_combination_comes_twice():
    met = set().union(*(combos.pairs(row.parts) for row in ROWS))
    assert met == combos.possible_pairs()
    assert len(set(ROWS)) == len(ROWS) >= 100
    assert all(combos.possible(row.parts) for row in ROWS)
    fast = set().union(*(row.parts for row in ROWS[:FAST]))
    assert fast == {value for axis in combos.AXES for value in axis}


# A joint on a picture with a box of another counts as far as both do, and here labels weigh nothing
@pytest.mark.parametrize("combo", [c for c in CASES if c.values[0].parts[3:] != ("boxes of labels", "keypoints")])
def test_the_unsupervised_loss_alone_reaches_every_student(combo: Combo):
    strategy = combo.build()
    given = [_weightless(b) for b in zoo.batches(strategy, combo.kind)]
    report = take_step(strategy, given)
    assert report.scalars["used"] > 0
    assert all(torch.isfinite(value) for value in report.scalars.values())
    for learner in strategy.learners():
        assert learner.grad_norm > 0


# Pasted labels are learned whatever the rule keeps of the others
@pytest.mark.parametrize("combo", [case for case in CASES if "of labels" not in case.values[0].mix])
def test_with_no_unit_kept_the_update_is_the_supervised_one(combo: Combo):
    student = {"norm": False, "dropout": 0.0, "momentum": 0.0}
    strategy, plain = zoo.reject_all(combo.build(student=student)), combo.build(student=student)
    given = zoo.batches(strategy, combo.kind)
    before = weights(strategy)
    assert take_step(strategy, given).scalars["used"] == 0
    plain.step_labeled(Batch(given[0].labeled, None), HALFWAY)
    assert not torch.equal(before, weights(plain))
    assert torch.allclose(weights(strategy), weights(plain), atol=1e-6)


@pytest.mark.parametrize("combo", CASES)
def test_every_declared_view_changes_the_update(combo: Combo):
    strategy = combo.build()
    given = zoo.batches(strategy, combo.kind)
    take_step(strategy, given)
    for view in strategy.views:
        shown = given[0].unlabeled[view]
        other = zoo.with_view(given[0], view, replace(shown, x=-3 * shown.x.roll(1, 0)))
        changed = combo.build()
        take_step(changed, [other, *given[1:]])
        assert not torch.equal(weights(strategy), weights(changed)), view


@pytest.mark.one_in(2)
@pytest.mark.parametrize(
    "combo", CASES[:RESUMED] + [pytest.param(*c.values, id=c.id, marks=pytest.mark.slow) for c in CASES[RESUMED:]]
)
def test_resume_is_exact(combo: Combo, tmp_path):
    def fit(name: str, seed: int = 0, **settings: object) -> st.Run:
        plan = {"steps": 5, "plan": PLAN, "eval_every": 4, "log_every": 2, "checkpoint_every": 5}
        plan["handlers"] = [TensorBoard(name == "whole")]  # which changes nothing, and costs the most
        return st.fit(combo.build(seed=seed), toy.pile(combo.kind), out=tmp_path / name, **plan, **settings)

    def outcome(name: str) -> dict[str, object]:
        state = checkpoint.load_newest(tmp_path / name / "checkpoints")
        del state["seconds"]
        return state

    fit("whole")
    fit("parts", stop_after=3)
    fit("parts", seed=99, resume=True)
    assert not differences(outcome("whole"), outcome("parts"))


LARGE = ROWS[::4]
SIDE = 48


@pytest.mark.slow
@pytest.mark.parametrize("combo", [pytest.param(row, id=str(row)) for row in LARGE])
def test_combinations_learn_pictures_of_48_pixels_with_the_views_of_real_data(combo: Combo):
    """Larger than the toys, with crops and colors of ``data``, heatmaps of a quarter of the picture, and a U-Net."""
    task = Keypoints(toy.JOINTS, (SIDE // 4, SIDE // 4)) if combo.kind == "keypoints" else toy.task(combo.kind)
    units = {"classification": (), "segmentation": (SIDE, SIDE), "keypoints": (toy.JOINTS,)}[combo.kind]
    heads = {
        "classification": lambda: Classifier(UNetEncoder(SIDE, widths=(4, 8)), toy.CLASSES),
        "segmentation": lambda: UNet(toy.CLASSES, widths=(4, 8), size=SIDE),
        "keypoints": lambda: PoseNet(UNetEncoder(SIDE, widths=(4, 4, 8)), toy.JOINTS, size=(SIDE // 4, SIDE // 4)),
    }
    torch.manual_seed(0)
    strategy = combo.of(task, st.learner(heads[combo.kind], lr=0.01), units)
    before = weights(strategy)
    run = st.fit(strategy, _large(combo.kind), steps=3, plan=PLAN)
    assert run.train["train/used"] > 0
    assert all(np.isfinite(value) for value in run.train.values())
    assert not torch.equal(before, weights(strategy))


def _large(kind: toy.Kind) -> Pile:
    """The toy's pictures in four times the pixels a side; joints stay in cells of the heatmap."""
    small = toy.pile(kind)
    known = small.annotation.clone()
    known[small.parts["unlabeled"]] = toy.VOID if kind == "segmentation" else -1 if kind == "classification" else 0
    gray = (small.x.clamp(-1, 1) * 120 + 128).byte()[:, 0]
    x = gray.repeat_interleave(4, 1).repeat_interleave(4, 2)[..., None].expand(-1, -1, -1, 3)
    if kind == "segmentation":
        known = known.repeat_interleave(4, 1).repeat_interleave(4, 2).to(torch.uint8)
    rows = torch.cat([small.parts["labeled"], small.parts["unlabeled"]])
    names = {"classification": None, "segmentation": ["ground", "bright", "dark"], "keypoints": ["bright", "dark"]}
    return Pile.from_arrays(x[rows].numpy(), known[rows].numpy(), classes=names[kind])


def _weightless(batch: Batch) -> Batch:
    return batch.replace(labeled=replace(batch.labeled, target=batch.labeled.target.scaled(0.0)))
