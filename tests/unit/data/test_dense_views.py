"""What albumentations pipelines do to pictures is done to masks and joints."""

import os
import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
import albumentations as A
import cv2

import selftrain as st
from selftrain import strategies
from selftrain.data import AlbumentationsViews, Pile, TensorViews
from selftrain.data.base.random import keys
from selftrain.handlers import SelfCheck
from selftrain.tasks import Keypoints, Segmentation, relative
from selftrain.tasks.geometry import carry_places, is_inside, is_mirrored
from selftrain.types import BatchPlan, Needs, View

SIDE = 48
N = 6
GENERATOR = np.random.default_rng(0)
MASKS = np.stack(
    [cv2.resize(GENERATOR.integers(0, 4, (6, 6), np.uint8), (SIDE, SIDE), interpolation=cv2.INTER_NEAREST)] * N
)
# the picture of a mask says what its pixels are
IMAGES = torch.from_numpy(np.stack([MASKS * 60] * 3, 1).copy())
INDEX = torch.arange(N)
JOINTS = torch.tensor([[14.0, 20.0], [30.5, 17.25], [22.0, 31.0]])
PIPELINES = {
    "crop": [A.RandomCrop(32, 32), A.Rotate(30, p=1), A.HorizontalFlip()],
    "resized": [A.RandomResizedCrop((SIDE, SIDE), scale=(0.4, 0.9)), A.Rotate(30, p=1), A.VerticalFlip()],
    "perspective": [A.Perspective(p=1)],
    "elastic": [A.ElasticTransform(alpha=30, sigma=6, p=1)],
    "all": [
        A.RandomCrop(40, 40),
        A.Rotate(30, p=1),
        A.HorizontalFlip(),
        A.ElasticTransform(alpha=30, sigma=6, p=1),
        A.Perspective(p=1),
    ],
    "turned": [A.D4(p=1), A.OneOf([A.Affine(shear=(-15, 15), scale=(0.7, 1.2), p=1)], p=1), A.Posterize(p=1)],
    "reflected": [A.Affine(translate_percent=(-0.3, 0.3), border_mode=cv2.BORDER_REFLECT_101, p=1)],
    "default": None,
}


def made(name):
    views = AlbumentationsViews(weak=None if PIPELINES[name] is None else A.Compose(PIPELINES[name]))
    return views, views("weak", IMAGES, INDEX, 0)


def by_albumentations(views, pipeline):
    """What the library itself makes of masks in the same view, one sample after the other."""
    found = []
    for image, mask, key in zip(IMAGES, MASKS, keys(views.seed, 0, INDEX, "weak").tolist(), strict=True):
        key %= 1 << 64
        pipeline.set_random_state(np.random.default_rng(key), random.Random(key))
        found.append(pipeline(image=image.permute(1, 2, 0).numpy(), mask=mask)["mask"])
    return torch.from_numpy(np.stack(found))


@pytest.mark.parametrize("name", PIPELINES)
def test_masks_follow_their_pictures(name):
    views, view = made(name)
    task = Segmentation(4)
    moved = task.warp(task.encode(torch.from_numpy(MASKS)), view)
    same = moved.value.argmax(1) == by_albumentations(views, views.weak)
    assert moved.valid.float().mean() > 0.5
    assert same[moved.valid].float().mean() > 0.9995
    assert moved.weight[~moved.valid].sum() == 0
    if name in ("reflected", "default"):  # what is mirrored at the edge is no part of the picture
        assert moved.valid.float().mean() < 0.95
    assert torch.equal(view.x, views.placed(False)("weak", IMAGES, INDEX, 0).x)


@pytest.mark.parametrize("name", [name for name in PIPELINES if name != "default"])
def test_joints_follow_their_pictures(name):
    """Joints are bright spots, one in each channel: where does a view show them?"""
    task = Keypoints(3, (SIDE, SIDE))
    marks = task.encode(torch.cat([JOINTS, torch.ones(3, 1)], 1).expand(N, 3, 3))
    view = AlbumentationsViews(weak=A.Compose(PIPELINES[name]))("weak", marks.value, INDEX, 0)
    moved = task.warp(marks, view)
    height, width = view.x.shape[2:]
    place = (task._place(moved.value) + 0.5) / SIDE * torch.tensor([width, height]) - 0.5
    near = task._distance(place, (height, width)) < 7
    inside = moved.valid & ((place > 7) & (place < torch.tensor([width, height]) - 8)).all(-1)
    seen = view.x * near
    seen = seen / seen.sum((2, 3), keepdim=True).clamp(min=1e-6)
    columns, rows = torch.arange(width), torch.arange(height)
    found = torch.stack([(seen.sum(2) * columns).sum(-1), (seen.sum(3) * rows).sum(-1)], -1)
    assert inside.sum() >= 6
    assert (found - place).norm(dim=-1)[inside].max() < 0.25
    sure = task.confidence(task.warp(replace(marks, value=task.harden(marks.value)), view).value)
    assert sure[inside].min() > 0.999  # what was sure stays so


def test_labels_go_from_a_weak_view_to_a_strong_one():
    steps = [A.RandomCrop(40, 40), A.Rotate(30, p=1), A.HorizontalFlip(), A.Perspective(p=1)]
    views = AlbumentationsViews(A.Compose(steps), A.Compose([*steps, A.ElasticTransform(alpha=20, sigma=6, p=1)]))
    # what pixels show, which masks that are rounded at each step are up to pixels away from
    weak, strong = (replace(views(name, IMAGES, INDEX, 0), pixels=None) for name in ("weak", "strong"))
    task, joints = Segmentation(4), Keypoints(3, (40, 40))
    masks = task.encode(torch.from_numpy(MASKS))
    carried = task.warp(task.warp(masks, weak), relative(weak, strong))
    truth = task.warp(masks, strong)
    same = (carried.value.argmax(1) == truth.value.argmax(1))[carried.valid]
    assert (carried.valid & ~truth.valid).sum() == 0
    assert carried.valid.float().mean() > 0.4
    assert same.float().mean() > 0.95  # a pixel of the weak view is as near as one comes to a place
    points = joints.encode(torch.cat([JOINTS * 40 / SIDE, torch.ones(3, 1)], 1).expand(N, 3, 3))
    moved, straight = joints.warp(joints.warp(points, weak), relative(weak, strong)), joints.warp(points, strong)
    both = moved.valid & straight.valid
    assert both.sum() > 8
    assert (joints._place(moved.value) - joints._place(straight.value)).norm(dim=-1)[both].max() < 0.25
    for one, other in (
        (weak, TensorViews()("weak", IMAGES, INDEX, 0)),
        (TensorViews()("strong", IMAGES, INDEX, 0), weak),
    ):
        carried = task.warp(task.warp(masks, one), relative(one, other))
        same = (carried.value.argmax(1) == task.warp(masks, other).value.argmax(1))[carried.valid]
        assert same.float().mean() > 0.94
    back = task.warp(task.warp(masks, weak), relative(weak, View(torch.zeros(N, 3, SIDE, SIDE))))
    assert (back.value.argmax(1) == torch.from_numpy(MASKS))[back.valid].float().mean() > 0.95


@pytest.mark.parametrize("name", ["all", "elastic", "perspective", "resized", "crop"])
def test_carried_labels_are_those_of_the_strong_view(name):
    """One geometry of weak and strong views, whatever it is: IoU with what albumentations makes of the truth itself.

    Rounded to pixels step by step, its masks and what a view shows lie up to pixels apart: the way between two views
    must not go through them.
    """
    views = AlbumentationsViews(A.Compose(PIPELINES[name]), A.Compose([*PIPELINES[name], A.RandomGamma(p=1)]))
    views = views.placed(True)
    weak, strong = views("weak", IMAGES, INDEX, 0), views("strong", IMAGES, INDEX, 0)
    task = Segmentation(4, pairs=[(1, 2)])
    carried = task.warp(task.warp(task.encode(torch.from_numpy(MASKS)), weak), relative(weak, strong))
    truth = by_albumentations(views, views.weak).long()
    mirrored = is_mirrored(strong)
    assert mirrored.any() == (name != "perspective" and name != "elastic")
    truth = torch.where(mirrored[:, None, None], torch.tensor([0, 2, 1, 3])[truth], truth)
    both, said = carried.valid, carried.label.long()
    counts = [((said == c) & both, (truth == c) & both) for c in range(4)]
    assert all((one & other).sum() / (one | other).sum() >= 0.999 for one, other in counts)
    # what is valid is what the strong view shows, but for a rim of a pixel
    shown = is_inside(strong.places)
    assert not (carried.valid & ~shown).any()
    assert (shown & ~carried.valid).float().mean() < 0.03
    size = tuple(weak.x.shape[2:])
    joints = Keypoints(3, size, pairs=[(0, 2)])
    points = joints.encode(torch.cat([JOINTS * size[0] / SIDE, torch.ones(3, 1)], 1).expand(N, 3, 3))
    moved, straight = joints.warp(joints.warp(points, weak), relative(weak, strong)), joints.warp(points, strong)
    known = moved.valid & straight.valid
    assert known.sum() >= 8
    assert (joints._place(moved.value) - joints._place(straight.value)).norm(dim=-1)[known].max() < 0.25


def test_a_map_with_kinks_leads_back_to_where_it_came_from():
    """Of a distorted grid the slopes on both sides of a pixel differ: by their mean it was off by 0.4 pixels."""
    steps = [A.GridDistortion(num_steps=4, distort_limit=0.3, p=1)]
    views = AlbumentationsViews(A.Compose(steps), A.Compose(steps)).placed(True)
    weak, strong = views("weak", IMAGES, INDEX, 0), views("strong", IMAGES, INDEX, 0)
    joints = torch.stack(torch.meshgrid(torch.arange(8.0, 40, 2), torch.arange(8.0, 40, 2), indexing="ij"), -1) + 0.3
    place = ((2 * joints.flatten(0, 1) + 1) / SIDE - 1).expand(N, -1, 2)
    seen = carry_places(weak, place)
    again = carry_places(relative(weak, strong), seen)
    both = is_inside(seen) & is_inside(again)
    assert both.float().mean() > 0.9
    gap = (again - seen).norm(dim=-1)[both] * SIDE / 2
    assert (gap > 0.02).float().mean() < 0.005  # such a grid shows some rows twice


def test_what_is_hidden_keeps_its_label():
    steps = A.Compose([A.CoarseDropout(fill_mask=0, p=1), A.GridDropout(p=1)])
    view = AlbumentationsViews(steps)("weak", IMAGES, INDEX, 0)
    task = Segmentation(4)
    moved = task.warp(task.encode(torch.from_numpy(MASKS)), view)
    assert moved.valid.all()
    assert torch.equal(moved.value.argmax(1), torch.from_numpy(MASKS).long())


@pytest.mark.parametrize("mirror", ["theta", "places", "twice"])
def test_left_and_right_change_places_in_a_mirror(mirror):
    """Segments 1 and 2, joints 0 and 2 are sides of one another; mirrored twice they are what they were."""
    view = AlbumentationsViews(weak=A.Compose([A.HorizontalFlip(p=1)]))("weak", IMAGES, INDEX, 0)
    flip = View(view.x, torch.tensor([[-1.0, 0, 0], [0, 1, 0]]).expand(N, 2, 3))
    shown = {"theta": flip, "places": view, "twice": relative(view, flip)}[mirror]
    kept, paired = Segmentation(4), Segmentation(4, pairs=[(1, 2)])
    masks = torch.from_numpy(MASKS)
    swapped = masks if mirror == "twice" else torch.tensor([0, 2, 1, 3])[masks.long()]
    wanted = kept.warp(kept.encode(swapped), shown)
    assert torch.equal(paired.warp(paired.encode(masks), shown).value, wanted.value)
    joints = Keypoints(3, (SIDE, SIDE), pairs=[(0, 2)])
    seen = torch.tensor([[1.0], [1.0], [0.0]])
    moved = joints.warp(joints.encode(torch.cat([JOINTS, seen], 1).expand(N, 3, 3)), shown)
    if mirror == "twice":
        assert moved.valid.tolist() == [[True, True, False]] * N
        assert torch.allclose(joints._place(moved.value)[:, 0], JOINTS[0], atol=0.01)
    else:
        assert moved.valid.tolist() == [[False, True, True]] * N
        place = torch.tensor([SIDE - 1 - JOINTS[0, 0], JOINTS[0, 1]])
        assert torch.allclose(joints._place(moved.value)[:, 2], place, atol=0.01)
    with pytest.raises(ValueError, match=r"pairs is \[\(0, 3\)\]; give pairs of numbers from 0 to 2"):
        Keypoints(3, (8, 8), pairs=[(0, 3)])


def test_mirrored_sides_are_refused_and_each_remedy_works():
    names, joints = ["left_eye", "nose", "Right_eye"], torch.cat([JOINTS, torch.ones(3, 1)], 1).expand(N, 3, 3)

    def begun(views=None, **settings):
        pile = Pile(st.data.ArraySet(IMAGES, joints), st.data.ArraySet(IMAGES), classes=names, views=views)
        task = Keypoints(3, (SIDE, SIDE), **settings)
        needs = Needs(("weak",), task.encode, task.warp, sides=task.pairs is not None)
        return pile.stream(needs, BatchPlan(4, 1.0), torch.device("cpu"))

    said = r"'left_eye' would be learned as 'Right_eye': give the task pairs=\[\(0, 2\)\] .*flip=False"
    mirroring = TensorViews(st.data.Weak(flip=True))
    for views in (mirroring, AlbumentationsViews()):
        with pytest.raises(st.DataError, match=said):
            begun(views)
    for remedy in ({"pairs": [(0, 2)]}, {"pairs": ()}, {"views": TensorViews(st.data.Weak(flip=False))}):
        remedy.setdefault("views", mirroring)
        next(begun(**remedy).epoch(0))
    missing = Keypoints(1, (8, 8)).encode(torch.tensor([[[float("nan"), 2.0, 1.0]]]))
    assert missing.valid.tolist() == [[False]]


def upside_down(array, **_):
    return np.ascontiguousarray(array[::-1])


def test_a_stream_of_masks_asks_for_places_and_refuses_where_there_are_none():
    task, device = Segmentation(4), torch.device("cpu")
    labeled, unlabeled = st.data.ArraySet(IMAGES, torch.from_numpy(MASKS)), st.data.ArraySet(IMAGES)

    def stream(workers=0, **settings):
        pile = Pile(labeled, unlabeled, classes=list("abcd"), views=AlbumentationsViews(**settings))
        needs = Needs(("weak", "strong"), task.encode, task.warp, places=True)
        return pile.stream(needs, BatchPlan(4, 1.0, workers=workers), device)

    (batch,) = next(stream().epoch(0))
    assert batch.unlabeled["strong"].places.shape == (4, SIDE, SIDE, 2)
    with pytest.raises(ValueError, match="weak has a Lambda, which changes images .*; give its mask="):
        stream(weak=A.Compose([A.Lambda(image=upside_down)]))
    (batch,) = next(stream(weak=A.Compose([A.Lambda(image=upside_down, mask=upside_down)])).epoch(0))
    wanted = torch.from_numpy(MASKS).flip(1)[batch.labeled.index].long()
    assert torch.equal(batch.labeled.target.value.argmax(1), wanted)
    with pytest.raises(ValueError, match="strong has a MaskDropout, .*; take it out"):
        stream(strong=A.Compose([A.MaskDropout()]))


def test_masks_of_bytes_stay_bytes_until_they_are_a_batch():
    task, masks, device = Segmentation(4), torch.from_numpy(MASKS).to(torch.uint8), torch.device("cpu")
    given = {"bytes": masks, "masked": np.ma.masked_equal(masks.numpy(), 3)}
    with pytest.warns(UserWarning, match="no labeled pixel is of class d"):
        made = {kind: Pile(st.data.ArraySet(IMAGES, y), None, classes=list("abcd")) for kind, y in given.items()}
    assert made["bytes"].labeled.annotations.dtype == made["masked"].labeled.annotations.dtype == torch.uint8
    assert torch.equal(made["masked"].labeled.annotations == 255, masks == 3)
    needs = Needs((), task.encode, task.warp, labeled_view="plain")
    batch = next(made["bytes"].stream(needs, BatchPlan(4), device).epoch(0))[0].labeled
    assert torch.equal(batch.target.value.argmax(1), masks[batch.index].long())
    told = next(iter(made["bytes"].evaluation("labeled", 3, device))).annotation
    assert told.dtype == torch.int64
    assert torch.equal(told, masks[:3].long())
    turned = {kind: pile.numbered_as(list("dcba")).labeled.annotations for kind, pile in made.items()}
    assert torch.equal(turned["bytes"], 3 - masks)
    assert torch.equal(turned["masked"], torch.where(masks == 3, 255, 3 - masks))


def test_batches_of_an_evaluation_are_bounded_where_predictions_have_places(monkeypatch):
    """However large the set, inputs and probabilities of a batch have a most, and so has their number."""
    x, names = torch.zeros(12, 3, 32, 32, dtype=torch.uint8), [str(number) for number in range(21)]
    masks = (torch.arange(32 * 32) % 21).view(32, 32).expand(12, -1, -1)
    monkeypatch.setattr(st.data.pile, "_ON_HOST", 2**20)
    pile = Pile(st.data.ArraySet(x, masks), st.data.ArraySet(x), st.data.ArraySet(x, masks), classes=names)
    fits = 2**20 // (4 * 32 * 32 * (3 + 21))
    asked = list[int]()

    class Watched(nn.Conv2d):
        def forward(self, x):
            if not self.training:
                asked.append(len(x))
            return super().forward(x)

    def sizes(**settings):
        asked.clear()
        strategy = strategies.Supervised(Segmentation(21), st.learner(lambda: Watched(3, 21, 1)), decay=None)
        st.fit(
            strategy,
            pile,
            steps=1,
            plan=BatchPlan(2),
            evaluation=st.Evaluation(**settings),
            handlers=[SelfCheck(False)],
        )
        return set(asked)

    assert max(sizes()) == fits == 10
    assert max(sizes(batch_size=4)) == 4
    for part in ("pile", "test", "validation"):
        batches = pile.evaluation(part, 500, torch.device("cpu"))
        assert batches is None or batches.batch_size == fits
    plain = Pile(st.data.ArraySet(x, torch.arange(12)), None, classes=names)
    assert plain.evaluation("labeled", 500, torch.device("cpu")).batch_size == 500
    with pytest.raises(ValueError, match="batch_size is 0; it must be at least 1"):
        st.Evaluation(batch_size=0)


def views_of_a_batch(views, places=True, names=("weak", "strong", "strong2", "weak2")):
    task = Segmentation(4)
    pile = Pile(None, st.data.ArraySet(IMAGES), classes=list("abcd"), views=views)
    stream = pile.stream(Needs(names, places=places), BatchPlan(4, 1.0), torch.device("cpu"))
    return task, next(stream.epoch(0))[0].unlabeled


MOVES = [A.Affine(translate_percent=(-0.3, 0.3), border_mode=cv2.BORDER_REFLECT_101, p=1), A.HorizontalFlip(p=0.5)]


@pytest.mark.parametrize(
    "make",
    [
        lambda **more: TensorViews(st.data.Weak(0.3, True), st.data.Strong(geometric=(), pad="edge"), **more),
        lambda **more: TensorViews(st.data.Weak(0.3, crop=(0.3, 0.6)), st.data.Strong(geometric=()), **more),
        lambda **more: AlbumentationsViews(A.Compose(MOVES), A.Compose([*MOVES, A.RandomGamma(p=1)]), **more),
    ],
    ids=["shifts", "crops", "albumentations"],
)
def test_weak_and_strong_views_have_one_geometry_where_targets_have_places(make):
    task, batch = views_of_a_batch(make())
    weak, strong = batch["weak"], batch["strong"]
    # a prediction of the weak view is that of the strong one, pixel by pixel, but for the padding of both
    said = task.decide(torch.rand(4, 4, SIDE, SIDE), torch.ones(4, SIDE, SIDE))
    known = task.warp(Segmentation(4).encode(torch.zeros(4, SIDE, SIDE).long()), weak).valid
    for other in (strong, batch["strong2"]):
        carried = task.warp(said, relative(weak, other))
        assert torch.equal(carried.valid, known)
        assert torch.equal(carried.label[known], said.label[known])
    assert 0.2 < known.float().mean() <= 1
    assert not torch.equal(strong.x, batch["strong2"].x)
    assert not torch.equal(weak.x, batch["weak2"].x)
    for given, places, alike in ((None, False, False), (False, True, False), (True, False, True)):
        _, batch = views_of_a_batch(make(shared=given), places, ("weak", "strong"))
        one, other = (view.theta if view.places is None else view.places for view in (batch["weak"], batch["strong"]))
        if one is not None:  # albumentations tell none where nobody asks
            assert torch.equal(one, other) == alike
        assert bool(make(shared=given).placed(places).shared) == alike


def test_what_a_strong_view_adds_moves_pseudo_labels_alone():
    """Its own turns come after the shared geometry: the map between the two is theirs."""
    task, batch = views_of_a_batch(TensorViews(st.data.Weak(0.3, True), st.data.Strong(4, point=(), cutout=0.0)))
    between = relative(batch["weak"], batch["strong"]).theta
    assert (between - torch.eye(2, 3)).abs().amax() > 0.05
    assert (
        (between[:, 0, 0] * between[:, 1, 1] - between[:, 0, 1] * between[:, 1, 0]) > 0
    ).all()  # one mirror for both
