"""Pipelines of albumentations that nobody has looked at: steps, order and strength are drawn."""

import os
import random

import numpy as np
import pytest
import torch
from torch import nn

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
import albumentations as A
import cv2

from selftrain.data import AlbumentationsViews
from selftrain.data.base.random import keys
from selftrain.tasks import Keypoints, Segmentation, relative
from selftrain.tasks.geometry import is_mirrored

SIDE, N = 64, 6
DRAW = np.random.default_rng(7)
MASKS = np.stack([cv2.resize(DRAW.integers(0, 4, (6, 6), np.uint8), (SIDE, SIDE), interpolation=0) for _ in range(N)])
IMAGES = torch.from_numpy(np.stack([MASKS * 60] * 3, 1).copy())
INDEX = torch.arange(N)
JOINTS = torch.tensor([[24.0, 26.0], [38.5, 25.25], [30.0, 40.0]])
MIRRORS = {"HorizontalFlip", "VerticalFlip", "Transpose"}
STEPS = [
    lambda r: A.RandomCrop(*r.integers(44, 60, 2).tolist()),
    lambda r: A.Rotate(int(r.integers(5, 60)), p=1),
    lambda r: A.HorizontalFlip(p=1),
    lambda r: A.VerticalFlip(p=1),
    lambda r: A.Transpose(p=1),
    lambda r: A.ElasticTransform(alpha=float(r.uniform(10, 50)), sigma=float(r.uniform(5, 8)), p=1),
    lambda r: A.Perspective(scale=(0.02, float(r.uniform(0.04, 0.12))), p=1),
    lambda r: A.GridDistortion(num_steps=int(r.integers(3, 6)), distort_limit=float(r.uniform(0.1, 0.3)), p=1),
    lambda r: A.Affine(scale=(float(r.uniform(0.6, 0.9)), 1.3), shear=(-10, 10), p=1),
    lambda r: A.RandomScale(scale_limit=(-0.2, 0.3), p=1),
    lambda r: A.PadIfNeeded(*r.integers(68, 84, 2).tolist()),
    lambda r: A.OpticalDistortion(distort_limit=float(r.uniform(0.1, 0.3)), p=1),
]


def drawn(number):
    r = np.random.default_rng(number)
    steps = [STEPS[i](r) for i in r.permutation(len(STEPS))[: r.integers(3, 7)]]
    return [step for step in steps if type(step).__name__ != "RandomCrop" or step is steps[0]] + [A.Resize(SIDE, SIDE)]


def by_albumentations(views, masks):
    """What the library itself makes of masks in the same views."""
    found = []
    for image, mask, key in zip(IMAGES, masks, keys(views.seed, 0, INDEX, "weak").tolist(), strict=True):
        key %= 1 << 64
        views.weak.set_random_state(np.random.default_rng(key), random.Random(key))
        found.append(views.weak(image=image.permute(1, 2, 0).numpy(), mask=mask)["mask"])
    return torch.from_numpy(np.stack(found)).long()


@pytest.mark.slow
@pytest.mark.parametrize("number", range(16))
def test_labels_follow_any_pipeline_from_weak_to_strong(number):
    steps = drawn(number)
    views = AlbumentationsViews(A.Compose(steps), A.Compose([*steps, A.RandomGamma(p=1)])).placed(True)
    weak, strong = views("weak", IMAGES, INDEX, 0), views("strong", IMAGES, INDEX, 0)
    task = Segmentation(4, pairs=[(1, 2)])
    carried = task.warp(task.warp(task.encode(torch.from_numpy(MASKS)), weak), relative(weak, strong))
    # directly augmented: 0 is what the library fills with, and nothing else
    truth = by_albumentations(views, MASKS + 1)
    padding, truth = truth == 0, truth - 1
    mirrored = sum(type(step).__name__ in MIRRORS for step in steps) % 2 == 1
    assert is_mirrored(strong).tolist() == [mirrored] * N
    truth = torch.tensor([0, 2, 1, 3] if mirrored else [0, 1, 2, 3])[truth.clamp(min=0)]
    assert not (carried.valid & padding).any()
    assert (~carried.valid & ~padding).float().mean() < 0.03  # a rim of a pixel
    inside, said = carried.valid, carried.label.long()
    counts = [((said == c) & inside, (truth == c) & inside) for c in range(4)]
    assert min(float((one & other).sum() / (one | other).sum()) for one, other in counts) >= 0.999


@pytest.mark.slow
@pytest.mark.parametrize("number", range(16))
def test_joints_follow_any_pipeline_from_weak_to_strong(number):
    """Pictures of their own columns and rows: where does the strong view show those of a joint?"""
    steps = drawn(number)
    views = AlbumentationsViews(A.Compose(steps), A.Compose(steps)).placed(True)
    mirrored = sum(type(step).__name__ in MIRRORS for step in steps) % 2 == 1
    task = Keypoints(3, (SIDE, SIDE), pairs=[(0, 2)])
    marks = task.encode(torch.cat([JOINTS, torch.ones(3, 1)], 1).expand(N, 3, 3))
    cells = torch.arange(SIDE) / SIDE
    ramps = torch.stack([cells.expand(SIDE, -1), cells[:, None].expand(-1, SIDE), torch.ones(SIDE, SIDE)])
    weak, strong = (views(name, ramps.expand(N, 3, SIDE, SIDE), INDEX, 0) for name in ("weak", "strong"))
    carried = task.warp(task.warp(marks, weak), relative(weak, strong))
    fine = nn.functional.interpolate(strong.x, scale_factor=8, mode="bilinear", align_corners=False)
    known = 0
    for joint, told in enumerate(JOINTS):
        channel = 2 - joint if mirrored else joint
        gap = (fine[:, :2] * SIDE - told.view(2, 1, 1)).norm(dim=1) + 1e3 * (fine[:, 2] < 0.999)
        nearest = gap.flatten(1).argmin(1)
        found = torch.stack([nearest % (8 * SIDE), nearest // (8 * SIDE)], -1) / 8 + 0.5 / 8 - 0.5
        # a map that folds shows a place several times, or leaves it out
        shown = carried.valid[:, channel] & (gap.flatten(1).amin(1) < 0.2)
        several = (gap < 0.5) & ((fine_places(8 * SIDE) - found[:, None, None]).norm(dim=-1) > 3)
        shown &= ~several.flatten(1).any(1)
        error = (task._place(carried.value)[:, channel] - found).norm(dim=-1)[shown]
        known += len(error)
        assert error.max() <= 0.25 if len(error) else True
    assert known >= 9


def fine_places(side):
    cells = torch.arange(side) / 8 + 0.5 / 8 - 0.5
    return torch.stack(torch.meshgrid(cells, cells, indexing="xy"), -1)
