"""Rare-class sampling of labeled rows: by the formula, of any labels with classes, resumed and shared exactly."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import selftrain as st
from selftrain import data, strategies
from selftrain.data.base.units import VOID
from selftrain.errors import DataError
from selftrain.types import Needs

CPU = torch.device("cpu")
PLAN = st.BatchPlan(labeled=8, unlabeled_ratio=1, seed=1, rare_class_temperature=0.2)
QUIET = [st.handlers.DataSummary(show=False), st.handlers.SelfCheck(on=False)]
DRAW = np.random.default_rng(0)
MASKS = torch.zeros(20, 6, 6, dtype=torch.uint8)
MASKS[:12, :3] = 1
MASKS[12:15, 0] = 2
MASKS[12, 1] = 2
MASKS[:, -1] = VOID
PICTURES = DRAW.random((30, 3, 6, 6), dtype=np.float32)


def pile(y, x=PICTURES[:, 0]):
    x = torch.from_numpy(x)
    return data.Pile(data.ArraySet(x[:20], y), data.ArraySet(x[20:]), views=data.TensorViews(data.Weak(flip=False)))


def rows(y, task, of=pile):
    """Labeled rows of 1,500 steps."""
    needs = Needs(("weak",), task.encode, task.warp, places=not task.one_unit)
    stream = of(y).stream(needs, PLAN, CPU)
    jobs = [divmod(step, stream.steps_per_epoch) for step in range(1500)]
    return torch.cat([stream._fetch.indices(job, "labeled").rows for job in jobs])


def expected(shows, shares, temperature):
    """Chance of each row by DAFormer's eq. 5: a class, then one of its pictures."""
    chance = np.exp((1 - shares) / temperature)
    return (shows * (chance / chance.sum() / shows.sum(0))).sum(1)


def shown(masks):
    return np.stack([(masks == c).flatten(1).any(1).numpy() for c in range(3)], 1)


def shares(masks):
    counts = np.array([(masks == c).sum() for c in range(3)], float)
    return counts / counts.sum()


CLASSES = torch.tensor([0] * 14 + [1] * 5 + [2])
WEIGHTED = torch.stack([MASKS, MASKS.new_full(MASKS.shape, 200)], 1)
OWN_VOID = torch.where(MASKS == VOID, 3, MASKS.long())


@pytest.mark.parametrize(
    ("y", "task", "chance"),
    [
        (MASKS, st.Segmentation(3), expected(shown(MASKS), shares(MASKS), 0.2)),
        (WEIGHTED, st.Segmentation(3), expected(shown(MASKS), shares(MASKS), 0.2)),
        (OWN_VOID, st.Segmentation(3, void=3), expected(shown(MASKS), shares(MASKS), 0.2)),
        (
            CLASSES,
            st.Classification(3),
            expected(np.eye(3, dtype=bool)[CLASSES.numpy()], np.bincount(CLASSES.numpy()) / 20, 0.2),
        ),
    ],
    ids=["masks", "weights", "void", "classes"],
)
def test_rows_are_drawn_by_the_formula(y, task, chance):
    found = np.bincount(rows(y, task).numpy(), minlength=20) / 12000
    assert chance.max() > 2 / 20  # far from even
    assert found == pytest.approx(chance, abs=5 * np.sqrt(chance.max() / 12000))


def test_masks_of_files_count_by_what_was_found_when_they_were_read(tmp_path):
    from PIL import Image

    for part, values in (("images", PICTURES[:20, 0] * 255), ("masks", MASKS)):
        (tmp_path / part).mkdir()
        for i, value in enumerate(values):
            Image.fromarray(np.asarray(value).astype(np.uint8)).save(tmp_path / part / f"{i:02}.png")
    made = data.from_masks(tmp_path / "images", tmp_path / "masks", classes=["a", "b", "c"], validation=0)
    task = st.Segmentation(3)
    needs = Needs(("weak",), task.encode, task.warp)
    fetch = [
        data.PairedStream(one.labeled, pile(MASKS).unlabeled, made.views, needs, PLAN, CPU)._fetch.rare
        for one in (made, pile(MASKS))
    ]
    assert all(torch.equal(getattr(fetch[0], name), getattr(fetch[1], name)) for name in ("below", "rows", "starts"))


def test_draws_are_those_of_their_step_wherever_a_run_is_entered():
    task = st.Segmentation(3)
    needs = Needs(("weak",), task.encode, task.warp)
    stream = pile(MASKS).stream(needs, PLAN, CPU)
    whole = [batches[0].labeled for batches in stream.epoch(3)]
    late = [batches[0].labeled for batches in pile(MASKS).stream(needs, PLAN, CPU).epoch(3, start=1)]
    for one, other in zip(whole[1:], late, strict=True):
        assert torch.equal(one.x, other.x)
        assert torch.equal(one.index, other.index)
    halves = [
        next(pile(MASKS).stream(replace(needs, share=(i, 2)), PLAN, CPU).epoch(3))[0].labeled.index for i in (0, 1)
    ]
    assert torch.equal(torch.cat(halves), whole[0].index)
    with_workers = next(pile(MASKS).stream(needs, replace(PLAN, workers=1), CPU).epoch(3))[0].labeled
    assert torch.equal(with_workers.x, whole[0].x)


def test_a_row_that_is_drawn_again_has_draws_of_its_own():
    task = st.Segmentation(3)
    fetch = pile(MASKS).stream(Needs(("weak",), task.encode, task.warp), PLAN, CPU)._fetch
    keys = torch.cat([fetch.indices((epoch, 0), "labeled").key for epoch in range(50)])
    assert len(keys.unique()) == len(keys) == 400
    assert bool((keys < 0).all())  # those of unlabeled rows are not


def test_a_resumed_run_draws_on_and_another_temperature_is_another_run(tmp_path):
    def run(out, plan=PLAN, **settings):
        torch.manual_seed(0)
        learner = st.learner(nn.Conv2d(1, 3, 3, padding=1), lr=0.1)
        made = strategies.MeanTeacher(st.Segmentation(3), learner, decay=0.5)
        return st.fit(made, pile(MASKS, PICTURES[:, :1]), steps=4, out=out, plan=plan, handlers=QUIET, **settings)

    whole = run(None)
    run(tmp_path, checkpoints=st.Checkpoints(stop_after=2))
    again = run(tmp_path, resume=True)
    for one, other in zip(whole.strategy.parameters(), again.strategy.parameters(), strict=True):
        assert torch.equal(one, other)
    cycled = run(None, replace(PLAN, rare_class_temperature=None))
    pairs = zip(whole.strategy.parameters(), cycled.strategy.parameters(), strict=True)
    assert any(not torch.equal(one, other) for one, other in pairs)
    with pytest.raises(st.errors.RunFolderError, match=r"plan\.rare_class_temperature: was 0\.2, is 0\.5"):
        run(tmp_path, replace(PLAN, rare_class_temperature=0.5), resume=True)


def test_labels_alone_are_drawn_so_too():
    found = rows(CLASSES, st.Classification(3), lambda y: data.Pile(data.ArraySet(PICTURES[:20], y), None))
    assert torch.equal(found, rows(CLASSES, st.Classification(3)))


@pytest.mark.parametrize(
    "y",
    [torch.rand(20, 4, 3), torch.rand(20, 3), torch.ones(20, 3, 6, 6, dtype=torch.uint8)],
    ids=["joints", "soft", "several"],
)
def test_labels_that_are_no_classes_are_refused(y):
    set_of = data.ArraySet(torch.from_numpy(PICTURES[:20]), y)
    with pytest.raises(DataError, match="these labels are none .*; rare_class_temperature=None lets them cycle"):
        data.PairedStream(set_of, None, data.TensorViews(), Needs((), lambda y: y), PLAN, CPU)


def test_masks_that_are_void_all_over_are_refused():
    with (
        pytest.warns(UserWarning, match="no labeled pixel is of class"),
        pytest.raises(DataError, match="no labeled pixel has a class, by which rare_class_temperature draws rows"),
    ):
        rows(torch.full_like(MASKS, VOID), st.Segmentation(3))
