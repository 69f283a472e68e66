"""Piles: parts, checks before training, normalization, evaluation, and what they tell of themselves."""

import warnings

import numpy as np
import pytest
import torch

from selftrain.data import ArraySet, Pile, PointViews, SeriesViews, Subset, TableViews, TensorViews
from selftrain.data.base.joined import Joined
from selftrain.errors import DataError
from selftrain.types import BatchPlan, Needs, Target

CPU = torch.device("cpu")
RANDOM = np.random.default_rng(0)
X = RANDOM.integers(0, 256, (30, 5, 5), dtype=np.uint8)
Y = np.arange(30) % 3
PLAN = BatchPlan(4, 1.0)


def encode(annotation):
    return Target(torch.eye(3)[annotation], torch.ones(len(annotation)))


LEARN = Needs(("weak",), encode, lambda target, view: target)


def images(samples):
    return samples.images(np.arange(len(samples)))


def test_arrays_become_parts():
    y = np.where(np.arange(30) < 12, Y, -1)
    pile = Pile.from_arrays(X, y, X[:6], Y[:6], classes=["a", "b", "c"])
    assert [len(part) for part in (pile.labeled, pile.unlabeled, pile.test)] == [12, 18, 6]
    assert pile.validation is None
    assert torch.equal(images(pile.labeled), torch.from_numpy(X[:12, None]))
    assert pile.labeled.annotations.tolist() == Y[:12].tolist()
    assert pile.unlabeled.annotations is None
    assert list(pile.unlabeled_ids()) == [str(i) for i in range(12, 30)]
    assert pile.unlabeled_truth() is None
    assert list(pile.classes) == ["a", "b", "c"]


def test_hidden_labels_become_the_truth():
    pile = Pile.from_arrays(X, Y, labels=9, validation=3, seed=1, ids=[f"image {i}" for i in range(30)])
    assert [len(part) for part in (pile.labeled, pile.validation, pile.unlabeled)] == [6, 3, 21]
    rows = [int(name.split()[1]) for name in pile.unlabeled_ids()]
    assert pile.unlabeled_truth().tolist() == Y[rows].tolist()
    assert list(pile.classes) == ["0", "1", "2"]
    partly = Pile.from_arrays(X, np.where(np.arange(30) < 20, Y, -1), labels=9)
    assert (partly.unlabeled_truth() == -1).sum() == 10


def test_overlap_and_seed_reach_the_split():
    pile = Pile.from_arrays(X, Y, labels=9, overlap="include")
    assert set(pile.labeled.ids) <= set(pile.unlabeled.ids)
    assert len(pile.unlabeled) == 30
    assert set(Pile.from_arrays(X, Y, labels=9, seed=5).labeled.ids) != set(pile.labeled.ids)


def test_the_channel_axis_can_be_said():
    x = RANDOM.integers(0, 256, (30, 3, 5, 3), dtype=np.uint8)
    pile = Pile.from_arrays(x, Y, x, Y, labels=9, channels="last")
    assert images(pile.test).shape == (30, 3, 3, 5)
    with pytest.raises(DataError, match="channels="):
        Pile.from_arrays(x, Y)


# --- normalization


def test_normalization_is_that_of_the_unlabeled_pixels():
    pile = Pile(ArraySet(X[:3] // 2, [0, 1, 2]), ArraySet(X[3:]))
    pixels = X[3:] / 255
    assert pile.views.mean.item() == pytest.approx(pixels.mean(), abs=1e-5)
    assert pile.views.std.item() == pytest.approx(pixels.std(), abs=1e-5)
    alone = Pile(ArraySet(X[:3], [0, 1, 2]), None)
    assert alone.views.mean.item() == pytest.approx((X[:3] / 255).mean(), abs=1e-5)
    own = Pile(ArraySet(X[:3], [0, 1, 2]), ArraySet(X[3:]), views=TensorViews(mean=0.5, std=0.25))
    assert (own.views.mean.item(), own.views.std.item()) == (0.5, 0.25)


def test_tables_get_table_views():
    table = RANDOM.normal(5, 3, (30, 4))
    pile = Pile.from_arrays(table, Y, table[:4], Y[:4], labels=9)
    assert isinstance(pile.views, TableViews)
    (batch,) = next(pile.stream(Needs(("weak", "strong"), encode), PLAN, CPU).epoch(0))
    assert batch.unlabeled["strong"].x.shape == (4, 4)
    (plain,) = pile.evaluation("test", 10, CPU)
    assert plain.x.abs().mean() < 2


# --- evaluation


def test_evaluation_gives_plain_samples_in_order():
    pile = Pile.from_arrays(X, Y, X[::-1].copy(), Y[::-1].copy(), labels=9, validation=3)
    batches = pile.evaluation("test", 8, CPU)
    for _ in range(2):
        assert [len(batch.x) for batch in batches] == [8, 8, 8, 6]
    assert torch.cat([batch.index for batch in batches]).tolist() == list(range(30))
    assert torch.cat([batch.annotation for batch in batches]).tolist() == Y[::-1].tolist()
    expected = (torch.from_numpy(X[::-1].copy())[:, None] / 255 - pile.views.mean) / pile.views.std
    assert torch.allclose(torch.cat([batch.x for batch in batches]), expected, atol=1e-6)
    assert len(batches) == 4
    assert sum(len(batch.x) for batch in pile.evaluation("validation", 8, CPU)) == 3
    assert sum(len(batch.x) for batch in pile.evaluation("labeled", 8, CPU)) == 6


def test_a_set_can_be_evaluated_as_well_as_a_name():
    pile = Pile.from_arrays(X, Y, X, Y, labels=9)
    by_name, by_set = (list(pile.evaluation(part, 8, CPU)) for part in ("test", pile.test))
    assert all(torch.equal(a.x, b.x) for a, b in zip(by_name, by_set, strict=True))
    (part,) = pile.evaluation(Subset(pile.test, [4, 2]), 8, CPU)
    assert part.annotation.tolist() == [Y[4], Y[2]]


def test_parts_that_cannot_be_evaluated():
    pile = Pile.from_arrays(X, Y, labels=9)
    assert pile.evaluation("test", 8, CPU) is None
    assert pile.evaluation(None, 8, CPU) is None
    assert pile.evaluation(Subset(pile.labeled, []), 8, CPU) is None
    with pytest.raises(ValueError, match="no part 'train'"):
        pile.evaluation("train", 8, CPU)
    with pytest.raises(ValueError, match="list is no set of samples"):
        pile.evaluation([1, 2], 8, CPU)
    with pytest.raises(ValueError, match="batch_size is 0"):
        pile.evaluation("labeled", 0, CPU)
    with pytest.raises(DataError, match="have no annotations"):
        pile.evaluation(pile.unlabeled, 8, CPU)


# --- checks before training


def test_empty_sets_count_as_missing():
    pile = Pile(ArraySet(X, Y), Subset(ArraySet(X), []), test=Subset(ArraySet(X, Y), []))
    assert pile.unlabeled is None
    assert pile.test is None
    assert list(pile.unlabeled_ids()) == []
    with pytest.raises(DataError, match="neither labeled nor unlabeled"):
        Pile(None, Subset(ArraySet(X), []))


def test_no_labels_point_to_pretraining_when_a_strategy_wants_them():
    pile = Pile(None, ArraySet(X), classes=["a", "b"])
    with pytest.raises(DataError, match=r"selftrain\.pretrain"):
        pile.stream(LEARN, PLAN, CPU)
    (batch,) = next(pile.stream(Needs(("weak",)), PLAN, CPU).epoch(0))
    assert not batch.has_labeled
    bare = Pile.from_arrays(X, np.full(30, -1), classes=["a", "b"])
    with pytest.raises(DataError, match=r"selftrain\.pretrain"):
        bare.stream(LEARN, PLAN, CPU)


def test_no_unlabeled_samples_warn_when_a_strategy_wants_them():
    pile = Pile.from_arrays(X, Y)
    with pytest.warns(UserWarning, match="training is supervised only"):
        (batch,) = next(pile.stream(LEARN, PLAN, CPU).epoch(0))
    assert not batch.has_unlabeled
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pile.stream(Needs((), encode), PLAN, CPU)
    with pytest.raises(DataError, match="no unlabeled samples"):
        pile.stream(Needs(("weak",)), PLAN, CPU)


def test_a_class_without_labels_is_named():
    with pytest.warns(UserWarning, match="no label for class cat, owl;"):
        Pile(ArraySet(X[:3], [0, 2, 2]), ArraySet(X), classes=["dog", "cat", "bee", "owl"])


@pytest.mark.parametrize("part", ["labeled", "validation", "test"])
def test_labels_outside_the_classes_are_named_in_every_part(part):
    parts = {"labeled": ArraySet(X, Y), "unlabeled": ArraySet(X), part: ArraySet(X[:2], [0, 7])}
    with pytest.raises(DataError, match=r"label 7 at row 1 is outside the 3 classes"):
        Pile(**parts, classes=["a", "b", "c"])
    parts[part] = ArraySet(X[:2])
    with pytest.raises(DataError, match=f"the {part} samples have no annotations"):
        Pile(**parts)


def test_wrong_labels_in_arrays_are_named():
    with pytest.raises(DataError, match="label 3 at row 5"):
        Pile.from_arrays(X, np.where(np.arange(30) == 5, 3, Y), classes=["a", "b", "c"])
    with pytest.raises(DataError, match="label -4 at row 5"):
        Pile.from_arrays(X, np.where(np.arange(30) == 5, -4, Y))
    with pytest.raises(DataError, match="30 samples but 29 annotations"):
        Pile.from_arrays(X, Y[1:])


def test_an_unlabeled_row_is_no_test_sample():
    with pytest.raises(DataError, match="label -1 at row 1 of the test samples means unlabeled"):
        Pile.from_arrays(X, Y, X[:2], [0, -1])
    with pytest.raises(DataError, match="label -1 at row 0 of the labeled samples"):
        Pile(ArraySet(X, np.where(Y == 0, -1, Y)), ArraySet(X))


def test_classes_that_only_hidden_labels_show_are_counted():
    with pytest.warns(UserWarning, match="no label for class"):
        pile = Pile.from_arrays(X, np.arange(30) % 15, labels=5)
    assert list(pile.classes) == [str(i) for i in range(15)]


def test_truth_must_fit_the_unlabeled_rows():
    with pytest.raises(DataError, match="30 unlabeled samples but 4"):
        Pile(ArraySet(X, Y), ArraySet(X), truth=torch.zeros(4, dtype=torch.long))


def test_annotations_that_are_no_classes_pass_as_they_are():
    masks = np.full((30, 5, 5), 255)
    pile = Pile(ArraySet(X, masks), ArraySet(X), classes=["sky", "road"])
    (batch,) = pile.evaluation("labeled", 30, CPU)
    assert batch.annotation.shape == (30, 5, 5)


def test_the_summary_counts_everything():
    pile = Pile.from_arrays(X, Y, X[:6], Y[:6], labels=9, validation=3, source="a test")
    assert repr(pile) == ("Pile(6 labeled, 21 unlabeled, 3 validation, 6 test; 3 classes; inputs 1x5x5; from a test)")


# --- reviewed by a person


def pile_to_review(**settings):
    return Pile.from_arrays(X, Y, labels=9, validation=3, ids=[f"image {i}" for i in range(30)], **settings)


def test_a_review_moves_rows_and_leaves_the_old_pile():
    pile = pile_to_review()
    names, truth = list(pile.unlabeled_ids()), pile.unlabeled_truth().tolist()
    new = pile.reviewed({names[3]: 2, names[0]: -1, names[7]: 0, names[20]: -1})
    stays = [i for i in range(21) if i not in (0, 3, 7, 20)]
    assert list(new.unlabeled_ids()) == [names[i] for i in stays]
    assert new.unlabeled_truth().tolist() == [truth[i] for i in stays]
    assert torch.equal(images(new.unlabeled), images(pile.unlabeled)[stays])
    assert new.unlabeled.annotations is None
    assert list(new.labeled.ids) == [*pile.labeled.ids, names[3], names[7]]
    assert new.labeled.annotations.tolist() == [*pile.labeled.annotations.tolist(), 2, 0]
    assert torch.equal(images(new.labeled), torch.cat([images(pile.labeled), images(pile.unlabeled)[[3, 7]]]))
    assert (new.validation, new.test, list(new.classes)) == (pile.validation, pile.test, list(pile.classes))
    assert (new.views.mean.item(), new.views.std.item()) == (pile.views.mean.item(), pile.views.std.item())
    assert "reviewed: 2 labels, 2 rejected" in repr(new)
    assert [len(part) for part in (pile.labeled, pile.unlabeled)] == [6, 21]
    assert len(pile.unlabeled_truth()) == 21


def test_a_review_of_nothing_changes_nothing():
    pile = pile_to_review()
    new = pile.reviewed({})
    assert new is not pile
    assert repr(new) == repr(pile)
    assert list(new.unlabeled_ids()) == list(pile.unlabeled_ids())
    assert torch.equal(new.unlabeled_truth(), pile.unlabeled_truth())


def test_reviews_add_up():
    pile = pile_to_review()
    names = list(pile.unlabeled_ids())
    twice = pile.reviewed({names[1]: 1, names[2]: -1}).reviewed({names[0]: 2, names[5]: -1})
    once = pile.reviewed({names[0]: 2, names[1]: 1, names[2]: -1, names[5]: -1})
    assert list(twice.unlabeled_ids()) == list(once.unlabeled_ids())
    assert dict(zip(twice.labeled.ids, twice.labeled.annotations.tolist(), strict=True)) == dict(
        zip(once.labeled.ids, once.labeled.annotations.tolist(), strict=True)
    )
    with pytest.raises(DataError, match=f"no unlabeled sample has the id '{names[1]}'"):
        twice.reviewed({names[1]: 0})


def test_everything_can_be_decided():
    pile = pile_to_review()
    new = pile.reviewed(dict.fromkeys(pile.unlabeled_ids(), 1))
    assert new.unlabeled is None
    assert new.unlabeled_truth() is None
    assert len(new.labeled) == 27
    assert len(pile.reviewed(dict.fromkeys(pile.unlabeled_ids(), -1)).labeled) == 6


def test_a_sample_that_is_labeled_and_unlabeled_is_not_labeled_twice():
    """With overlap="include" a person may correct a label that was given."""
    pile = pile_to_review(overlap="include")
    name, other = pile.labeled.ids[2], pile.labeled.ids[0]
    given = dict(zip(pile.labeled.ids, pile.labeled.annotations.tolist(), strict=True))
    new = pile.reviewed({name: (given[name] + 1) % 3, other: given[other]})
    found = dict(zip(new.labeled.ids, new.labeled.annotations.tolist(), strict=True))
    assert len(new.labeled) == 6
    assert found == given | {name: (given[name] + 1) % 3}
    assert not {name, other} & set(new.unlabeled_ids())
    assert torch.equal(images(new.labeled)[-1], images(pile.labeled)[list(pile.labeled.ids).index(name)]) or (
        list(new.labeled.ids)[-1] == other
    )


def test_sets_of_their_own_are_joined():
    pile = Pile(ArraySet(X[:3], [0, 1, 2]), ArraySet(X[3:]), views=TensorViews(mean=0.5, std=0.25))
    new = pile.reviewed({"4": 1, "0": 2, "9": -1})
    assert new.labeled.annotations.tolist() == [0, 1, 2, 2, 1]
    assert list(new.labeled.ids) == ["0", "1", "2", "0", "4"]  # two samples, each called "0" in its own set
    assert torch.equal(images(new.labeled), torch.from_numpy(X[[0, 1, 2, 3, 7], None]))
    mixed = np.array([4, 0, 3, 1, 4])
    assert torch.equal(new.labeled.images(mixed), torch.from_numpy(X[[7, 0, 3, 1, 7], None]))
    again = new.reviewed({"1": 0})
    assert again.labeled.annotations.tolist() == [0, 1, 2, 2, 1, 0]
    assert torch.equal(again.labeled.images(np.array([5, 0])), torch.from_numpy(X[[4, 0], None]))
    (batch,) = next(new.stream(LEARN, BatchPlan(5, 1.0), CPU).epoch(0))
    assert sorted(batch.labeled.index.tolist()) == [0, 1, 2, 3, 4]


def test_bytes_and_floats_are_joined_as_floats():
    floats = ArraySet((X[3:6] / 255).astype(np.float32))
    both = Joined(ArraySet(X[:3], [0, 1, 2]), floats, torch.zeros(6, dtype=torch.long))
    expected = torch.from_numpy(X[[1, 4]][:, None] / 255).float()
    assert torch.allclose(both.images(np.array([1, 4])), expected)
    assert both.images(np.array([1, 2])).dtype == torch.uint8
    with pytest.raises(DataError, match=r"shapes \(1, 5, 5\) and \(1, 4, 4\)"):
        Joined(ArraySet(X), ArraySet(X[:, :4, :4]), torch.zeros(60, dtype=torch.long))


def test_a_pile_without_labels_gets_its_first_from_a_review():
    pile = Pile(None, ArraySet(X), classes=["a", "b", "c"])
    new = pile.reviewed({"2": 0, "5": 1, "9": 2})
    assert new.labeled.annotations.tolist() == [0, 1, 2]
    assert torch.equal(images(new.labeled), torch.from_numpy(X[[2, 5, 9], None]))
    assert len(new.unlabeled) == 27


def test_masks_can_only_be_rejected():
    masks = np.zeros((6, 5, 5), dtype=np.int64)
    pile = Pile(ArraySet(X[:6], masks), ArraySet(X[6:]), classes=["sky", "road"])
    assert len(pile.reviewed({"3": -1}).unlabeled) == 23
    with pytest.raises(DataError, match=r"sample '3' is reviewed as 'road', but annotations here are no classes"):
        pile.reviewed({"3": 1})


@pytest.mark.parametrize(
    ("review", "words"),
    [
        ({"nobody": 1}, "no unlabeled sample has the id 'nobody'; apply a review to the pile its ledger is about"),
        ({"image 3": 3}, r"sample 'image 3' is reviewed as class 3, outside the 3 classes \(0 to 2\)"),
        ({"image 3": -2}, "class -2"),
        ("labels.csv", r"'labels.csv' is no review; read it first: selftrain.labels.review.read_review"),
    ],
)
def test_reviews_that_do_not_fit_are_refused(review, words):
    pile = Pile.from_arrays(X, np.where(np.arange(30) < 3, Y, -1), ids=[f"image {i}" for i in range(30)])
    with pytest.raises(DataError, match=words):
        pile.reviewed(review)


def test_a_name_of_two_samples_cannot_be_reviewed():
    pile = Pile(ArraySet(X[:3], [0, 1, 2]), ArraySet(X[3:6], ids=["a", "b", "a"]))
    with pytest.raises(DataError, match="2 unlabeled samples have the id 'a'; give each an id of its own"):
        pile.reviewed({"a": 0})
    assert len(pile.reviewed({"b": 0}).unlabeled) == 2


# -- series and clouds -------------------------------------------------------------------------------------------------
def test_series_and_clouds_are_told_apart_from_gray_images():
    x, y = np.random.default_rng(0).normal(size=(20, 6, 3)) * 5, np.arange(20) % 2
    series = Pile.from_arrays(x, y, labels=4, kind="series")
    assert isinstance(series.views, SeriesViews)
    assert series.card()["shape"] == [6, 3]
    assert len(series.views.mean.flatten()) == 6
    clouds = Pile.from_arrays(x, y, x[:4], y[:4], labels=4, kind="points")
    assert isinstance(clouds.views, PointViews)
    (batch,) = clouds.evaluation("test", 10, torch.device("cpu"))
    assert batch.x.shape == (4, 6, 3)
    assert batch.x.norm(dim=2).amax(1).tolist() == pytest.approx([1.0] * 4)  # scaled to the unit sphere
    with pytest.raises(DataError, match="0..1|in \\[0, 1\\]"):
        Pile.from_arrays(x, y)  # without a kind three axes are gray images
    own = Pile.from_arrays(x, y, kind="points", views=SeriesViews())
    assert isinstance(own.views, SeriesViews)


@pytest.mark.parametrize(
    ("shape", "kind", "error", "message"),
    [
        ((4, 6, 5, 2), "series", DataError, r"\(4, 6, 5, 2\); series are \(N, channels, length\)"),
        ((4, 6, 5), "points", DataError, r"\(4, 6, 5\); points are \(N, points, 2 or 3\)"),
        ((4, 6, 3), "cloud", ValueError, "kind is 'cloud'"),
    ],
)
def test_what_is_no_series_or_cloud_is_refused(shape, kind, error, message):
    with pytest.raises(error, match=message):
        ArraySet(np.zeros(shape), kind=kind)
    with pytest.raises(DataError, match="sample 1 holds inf"):
        ArraySet(np.array([[[0.0]], [[np.inf]]]), kind="series")
