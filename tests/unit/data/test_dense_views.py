"""What albumentations pipelines do to pictures is done to masks and joints."""

import os
import random
from dataclasses import replace

import numpy as np
import pytest
import torch

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
import albumentations as A
import cv2

import selftrain as st
from selftrain.data import AlbumentationsViews, Pile, TensorViews
from selftrain.data.base.random import keys
from selftrain.tasks import Keypoints, Segmentation, relative
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
    view = AlbumentationsViews(weak=A.Compose(PIPELINES[name][:3]))("weak", marks.value, INDEX, 0)
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
    weak, strong = views("weak", IMAGES, INDEX, 0), views("strong", IMAGES, INDEX, 0)
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
