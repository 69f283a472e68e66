"""Streams: what an epoch holds, entry anywhere, loader processes, and draws of repeated rows."""

import math
import pickle

import numpy as np
import pytest
import torch

from selftrain.data import AlbumentationsViews, ArraySet, PairedStream, Pile, TensorViews, Weak
from selftrain.errors import DataError
from selftrain.types import BatchPlan, Needs, Target, View

CPU = torch.device("cpu")
RANDOM = np.random.default_rng(0)
LABELED = ArraySet(RANDOM.integers(0, 256, (7, 6, 6), dtype=np.uint8), np.arange(7) % 3)
UNLABELED = ArraySet(RANDOM.integers(0, 256, (23, 6, 6), dtype=np.uint8))


def encode(annotation):
    return Target(torch.eye(3)[annotation], torch.ones(len(annotation)))


def warp(target, view):
    return target.scaled(2.0)


NEEDS = Needs(("weak", "strong"), encode, warp)
PLAN = BatchPlan(labeled=4, unlabeled_ratio=1.5, seed=3)


def stream(needs=NEEDS, plan=PLAN, labeled=LABELED, unlabeled=UNLABELED, views=None):
    return PairedStream(labeled, unlabeled, views or TensorViews(), needs, plan, CPU)


def flat(batch):
    """Every tensor of a batch, in one order."""
    found = []
    if batch.has_labeled:
        target = batch.labeled.target
        found += [batch.labeled.x, batch.labeled.index, target.value, target.weight]
    if batch.has_unlabeled:
        found.append(batch.unlabeled.index)
        for view in batch.unlabeled.views.values():
            found += [view.x] if view.theta is None else [view.x, view.theta]
    return found


def same(first, second):
    first, second = list(first), list(second)
    return len(first) == len(second) and all(
        len(a) == len(b)
        and all(torch.equal(x, y) for p, q in zip(a, b, strict=True) for x, y in zip(flat(p), flat(q), strict=True))
        for a, b in zip(first, second, strict=True)
    )


# --- what an epoch holds


def test_an_epoch_is_one_pass_over_the_unlabeled_rows_in_full_batches():
    epochs = stream()
    assert epochs.steps_per_epoch == math.ceil(23 / 6)
    seen = torch.cat([items[0].unlabeled.index for items in epochs.epoch(0)])
    assert len(seen) == 24
    assert sorted(seen[:23].tolist()) == list(range(23))
    assert seen[23] == seen[0]
    assert not torch.equal(seen, torch.cat([items[0].unlabeled.index for items in epochs.epoch(1)]))


def test_labeled_rows_cycle_over_steps_and_epochs():
    epochs = stream()
    seen = torch.cat([items[0].labeled.index for number in range(7) for items in epochs.epoch(number)])
    passes = seen.view(-1, 7)
    assert all(sorted(one.tolist()) == list(range(7)) for one in passes)
    assert len({tuple(one.tolist()) for one in passes}) > 10


def test_labeled_samples_carry_their_annotation_through_encode_and_warp():
    for items in stream().epoch(0):
        labeled = items[0].labeled
        assert torch.equal(labeled.target.value, torch.eye(3)[LABELED.annotations[labeled.index]])
        assert labeled.target.weight.tolist() == [2.0] * 4


def test_warp_gets_the_view_that_is_shown():
    seen = []

    def record(target, view):
        seen.append(view)
        return target

    (labeled,) = [items[0].labeled for items in stream(Needs(("weak",), encode, record)).epoch(0)][:1]
    assert seen[0].x is labeled.x
    assert seen[0].theta.shape == (4, 2, 3)


def test_views_show_the_rows_that_the_index_names():
    plain = stream(Needs(("plain", "weak"), encode, warp, labeled_view="plain"))
    for items in plain.epoch(2):
        batch = items[0]
        assert list(batch.unlabeled.views) == ["plain", "weak"]
        assert torch.equal(batch.unlabeled["plain"].x, UNLABELED.x[batch.unlabeled.index] / 255)
        assert torch.equal(batch.labeled.x, LABELED.x[batch.labeled.index] / 255)


class Counting:
    """A maker that notes what it is asked for."""

    on_workers = False

    def __init__(self, calls=None):
        self.calls = [] if calls is None else calls

    def __call__(self, name, images, index, epoch):
        self.calls.append((name, index.tolist(), epoch))
        return View(images.float())

    def seeded(self, seed):
        return Counting(self.calls)

    def fitted(self, samples):
        return self


def test_only_the_views_asked_for_are_made():
    views = Counting()
    next(stream(Needs(("strong2",), encode, warp, labeled_view="strong"), views=views).epoch(0))
    assert sorted(name for name, _, _ in views.calls) == ["strong", "strong2"]


def test_without_views_nothing_unlabeled_is_made_but_the_epoch_stays_as_long():
    views = Counting()
    items = list(stream(Needs((), encode, warp), views=views).epoch(0))
    assert len(items) == 4
    assert all(not batch.has_unlabeled for (batch,) in items)
    assert {name for name, _, _ in views.calls} == {"weak"}


def test_without_encode_there_is_no_labeled_part():
    (batch,) = next(stream(Needs(("weak",))).epoch(0))
    assert not batch.has_labeled
    (batch,) = next(stream(Needs(("weak",)), labeled=None).epoch(0))
    assert not batch.has_labeled


def test_without_unlabeled_samples_an_epoch_is_one_pass_over_the_labeled():
    epochs = stream(unlabeled=None)
    assert epochs.steps_per_epoch == 2
    for number in (0, 5):
        items = list(epochs.epoch(number))
        assert all(not batch.has_unlabeled for (batch,) in items)
        seen = torch.cat([batch.labeled.index for (batch,) in items])
        assert sorted(seen[:7].tolist()) == list(range(7))
        assert len(seen) == 8
    assert not same(epochs.epoch(0), epochs.epoch(5))


def test_both_sets_empty_is_an_error():
    with pytest.raises(ValueError, match="both sets are empty"):
        stream(labeled=None, unlabeled=None)


# --- repeated rows


@pytest.mark.parametrize("unlabeled", [UNLABELED, None])
def test_a_batch_larger_than_the_labeled_set_repeats_rows_with_other_draws(unlabeled):
    few = ArraySet(LABELED.x[:2], [0, 1])
    plan = BatchPlan(labeled=9, unlabeled_ratio=1.0)
    (batch,) = next(stream(Needs(("weak",), encode, warp, labeled_view="strong"), plan, few, unlabeled).epoch(0))
    index, x = batch.labeled.index, batch.labeled.x
    assert sorted(np.bincount(index.tolist()).tolist()) == [4, 5]
    for row in (0, 1):
        views = x[index == row]
        assert len(views.unique(dim=0)) == len(views)


def test_an_unlabeled_set_smaller_than_the_batch_fills_it_with_other_draws():
    few = ArraySet(UNLABELED.x[:3])
    epochs = stream(Needs(("strong",), encode, warp), unlabeled=few)
    assert epochs.steps_per_epoch == 1
    (batch,) = next(epochs.epoch(0))
    assert np.bincount(batch.unlabeled.index.tolist()).tolist() == [2, 2, 2]
    assert len(batch.unlabeled["strong"].x.unique(dim=0)) == 6


def test_a_labeled_row_shares_no_draws_with_the_unlabeled_row_of_its_number():
    views = Counting()
    for number in range(5):
        list(stream(views=views).epoch(number))
    labeled = {i for name, index, epoch in views.calls if name == "weak" for i in index if i < 0}
    unlabeled = [i for name, index, epoch in views.calls if name == "strong" for i in index]
    assert len(labeled) == 5 * 4 * 4  # every occurrence of a labeled row has a key of its own
    assert min(unlabeled) == 0


def test_a_sample_looks_different_in_another_epoch():
    first, second = (
        {
            int(i): x
            for items in stream().epoch(number)
            for i, x in zip(items[0].unlabeled.index, items[0].unlabeled["strong"].x, strict=True)
        }
        for number in (0, 1)
    )
    assert sum(not torch.equal(first[i], second[i]) for i in range(23)) > 20


# --- entry anywhere


@pytest.mark.parametrize("extra", [0, 2])
@pytest.mark.parametrize("unlabeled", [UNLABELED, None])
def test_an_epoch_can_be_entered_anywhere(extra, unlabeled):
    needs = Needs(("weak", "strong"), encode, warp, extra_batches=extra)
    for start in range(stream(unlabeled=unlabeled).steps_per_epoch + 1):
        whole = list(stream(needs, unlabeled=unlabeled).epoch(3))
        assert same(whole[start:], stream(needs, unlabeled=unlabeled).epoch(3, start))


@pytest.mark.parametrize(("number", "start"), [(-1, 0), (0, 5), (0, -1)])
def test_a_step_outside_the_epoch_is_refused_at_once(number, start):
    with pytest.raises(ValueError, match=f"epoch {number} has no step {start}"):
        stream().epoch(number, start)


@pytest.mark.parametrize("extra", [1, 3, 9])
def test_followers_are_the_next_batches_and_wrap_to_the_first(extra):
    single = [items[0] for items in stream().epoch(1)]
    windows = list(stream(Needs(("weak", "strong"), encode, warp, extra_batches=extra)).epoch(1))
    assert len(windows) == 4
    for step, window in enumerate(windows):
        assert same([window], [[single[(step + ahead) % 4] for ahead in range(extra + 1)]])


def test_the_plan_s_seed_is_the_key_of_order_and_draws():
    for change in ({"seed": 4}, {"seed": 3}):
        other = stream(plan=BatchPlan(labeled=4, unlabeled_ratio=1.5, **change), views=TensorViews(seed=99))
        assert same(stream().epoch(0), other.epoch(0)) == (change["seed"] == 3)
    first, second = (next(stream(plan=BatchPlan(4, 1.5, seed=seed)).epoch(0))[0] for seed in (0, 1))
    assert not torch.equal(first.unlabeled.index, second.unlabeled.index)
    assert not torch.equal(first.labeled.index, second.labeled.index)


def test_the_order_is_shuffled():
    seen = torch.cat([items[0].unlabeled.index for items in stream().epoch(0)])
    assert not torch.equal(seen[:23], torch.arange(23))


# --- loader processes


@pytest.mark.parametrize("make", [TensorViews, AlbumentationsViews])
def test_data_do_not_depend_on_the_number_of_loader_processes(make):
    needs, results = Needs(("weak", "strong", "strong2"), encode, warp, extra_batches=1), []
    views = make()
    for workers in (0, 1, 2):
        epochs = stream(needs, BatchPlan(4, 1.5, seed=3, workers=workers), views=views)
        results.append([*epochs.epoch(0), *epochs.epoch(1, 2)])
    assert same(results[0], results[1])
    assert same(results[0], results[2])


def test_loader_processes_survive_an_epoch_that_is_left_or_nested():
    single, several = stream(), stream(plan=BatchPlan(4, 1.5, seed=3, workers=1))
    left = several.epoch(0)
    next(left)
    left.close()
    assert same(single.epoch(1), several.epoch(1))
    outer, inner = several.epoch(2), several.epoch(3)
    mixed = [(a, b) for a, b in zip(outer, inner, strict=True)]
    assert same(single.epoch(2), [a for a, _ in mixed])
    assert same(single.epoch(3), [b for _, b in mixed])


def test_an_error_in_a_loader_process_reaches_the_user():
    class Broken(ArraySet):
        def images(self, index):
            raise DataError("cannot read image x.png")

    epochs = stream(plan=BatchPlan(4, 1.5, workers=1), unlabeled=Broken(UNLABELED.x))
    with pytest.raises(DataError, match=r"^cannot read image x\.png$"):
        next(epochs.epoch(0))


def test_loader_processes_need_no_part_of_the_strategy():
    # where processes are spawned, what they need is pickled; a function made in place cannot be
    needs = Needs(("weak",), lambda annotation: encode(annotation), lambda target, view: target)
    for views in (TensorViews(), AlbumentationsViews()):
        sent = pickle.loads(pickle.dumps(stream(needs, views=views)._fetch))
        assert torch.equal(sent[0, 1].unlabeled.rows, stream(needs, views=views)._fetch[0, 1].unlabeled.rows)


@pytest.mark.parametrize("workers", [0, 1])
def test_global_random_states_are_left_alone(workers):
    before, before_numpy = torch.get_rng_state(), np.random.get_state()[1].copy()
    list(stream(plan=BatchPlan(4, 1.5, workers=workers)).epoch(0))
    assert torch.equal(before, torch.get_rng_state())
    assert np.array_equal(before_numpy, np.random.get_state()[1])


def test_a_pile_s_stream_is_this_one():
    views = TensorViews(Weak(shift=0.2), mean=0.4, std=0.3)
    pile = Pile(LABELED, UNLABELED, views=views)
    assert same(pile.stream(NEEDS, PLAN, CPU).epoch(0), stream(views=views).epoch(0))
