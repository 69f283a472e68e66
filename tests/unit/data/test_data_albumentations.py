"""Albumentations pipelines: keyed draws, nested transforms, normalization, and what they cannot do."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
import albumentations as A

from selftrain.data import AlbumentationsViews, ArraySet, TensorViews
from selftrain.data.loading.stream import PairedStream
from selftrain.types import BatchPlan, Needs, View

GENERATOR = torch.Generator().manual_seed(0)
IMAGES = torch.randint(0, 256, (12, 3, 32, 32), dtype=torch.uint8, generator=GENERATOR)
INDEX = torch.arange(12)
VIEWS = AlbumentationsViews()


@pytest.mark.parametrize("name", ["weak", "strong"])
def test_a_view_depends_on_its_own_address_only(name):
    base = VIEWS(name, IMAGES, INDEX, 0).x
    VIEWS("strong", IMAGES, INDEX, 7)  # a pipeline with a state of its own would now go on elsewhere
    order = torch.tensor([11, 3])
    assert torch.equal(base[order], VIEWS(name, IMAGES[order], order, 0).x)
    assert torch.equal(base, VIEWS.seeded(0)(name, IMAGES, INDEX, 0).x)
    others = (
        VIEWS.seeded(1)(name, IMAGES, INDEX, 0),
        VIEWS(name, IMAGES, INDEX, 1),
        VIEWS(f"{name}2", IMAGES, INDEX, 0),
    )
    for other in others:
        assert ((base - other.x).abs().flatten(1).amax(1) > 1e-3).float().mean() > 0.7


def test_samples_of_one_batch_get_draws_of_their_own():
    same = IMAGES[:1].expand(12, 3, 32, 32)
    assert len(VIEWS("strong", same, INDEX, 0).x.unique(dim=0)) == 12


def test_nested_transforms_are_keyed_as_well():
    nested = A.Compose(
        [
            A.OneOf([A.GaussNoise(std_range=(0.2, 0.2), p=1), A.InvertImg(p=1)], p=1),
            A.SomeOf([A.HorizontalFlip(p=1), A.VerticalFlip(p=1)], n=1, p=1),
        ]
    )
    views = AlbumentationsViews(weak=nested)
    base = views("weak", IMAGES, INDEX, 0).x
    views("weak", IMAGES, INDEX, 5)
    assert torch.equal(base, views("weak", IMAGES, INDEX, 0).x)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("as_float", [False, True])
def test_the_default_pipelines_take_gray_color_bytes_and_floats(channels, as_float):
    images = IMAGES[:, :channels] / 255 if as_float else IMAGES[:, :channels]
    for name in ("plain", "weak", "strong"):
        view = VIEWS(name, images, INDEX, 0)
        assert view.x.shape == images.shape
        assert view.x.dtype == torch.float32
        assert view.theta is None
        assert view.x.min() >= 0
        assert view.x.max() <= 1


def test_strong_changes_more_than_weak_and_flip_is_observable():
    gradient = torch.arange(16, dtype=torch.uint8).mul(15).expand(200, 1, 16, 16)
    index = torch.arange(200)
    slope = [
        (AlbumentationsViews(flip=flip)("weak", gradient, index, 0).x.diff(dim=3).mean((1, 2, 3)) < 0).float().mean()
        for flip in (True, False)
    ]
    assert 0.35 < slope[0] < 0.65
    assert slope[1] < 0.1
    plain, weak, strong = (VIEWS(name, IMAGES, INDEX, 0).x for name in ("plain", "weak", "strong"))
    assert not torch.equal(weak, plain)
    assert not torch.equal(strong, weak)


def test_loader_processes_send_bytes_and_views_of_a_call_of_ones_own_are_taken_as_they_are():
    class Doubled(AlbumentationsViews):
        def __call__(self, name, images, index, epoch):
            return View(2 * super().__call__(name, images, index, epoch).x)

    plan, needs = BatchPlan(labeled=4, unlabeled_ratio=2.0), Needs(("plain", "strong"), lambda value: value)
    for maker, sent in ((AlbumentationsViews(mean=0.4, std=0.2), torch.uint8), (Doubled(), torch.float32)):
        views = maker.placed(False)
        stream = PairedStream(None, ArraySet(IMAGES), views, needs, plan, torch.device("cpu"))
        raw, (batch,) = stream._fetch[0, 0].unlabeled, next(stream.epoch(0))
        for name in needs.views:
            assert raw.views[name][0].dtype == sent
            seen = batch.unlabeled.views[name].x
            assert torch.equal(seen, stream.views(name, IMAGES[raw.rows], raw.key, 0).x)


def test_own_pipelines_and_normalization():
    views = AlbumentationsViews(
        weak=A.Compose([A.InvertImg(p=1)]), strong=A.Compose([A.CenterCrop(8, 8)]), mean=[0.1, 0.2, 0.3], std=0.5
    )
    mean = torch.tensor([0.1, 0.2, 0.3]).view(3, 1, 1)
    assert torch.allclose(views("weak", IMAGES, INDEX, 0).x, ((255 - IMAGES.float()) / 255 - mean) / 0.5, atol=1e-6)
    assert torch.allclose(
        views("strong", IMAGES, INDEX, 0).x, (IMAGES[..., 12:20, 12:20] / 255 - mean) / 0.5, atol=1e-6
    )
    fitted = AlbumentationsViews(mean=0.5).fitted(ArraySet(IMAGES))
    assert fitted.mean.item() == 0.5
    assert torch.allclose(
        fitted.std.flatten(), (IMAGES / 255).permute(1, 0, 2, 3).flatten(1).std(1, correction=0), atol=1e-5
    )
    assert views.fitted(ArraySet(IMAGES)) is views


def test_results_of_different_size_are_refused():
    uneven = AlbumentationsViews(weak=A.Compose([A.RandomScale((-0.5, 0.5), p=1)]))
    with pytest.raises(ValueError, match="end it with a crop or a resize"):
        uneven("weak", IMAGES, INDEX, 0)
    for end in (A.RandomCrop(8, 8), A.Resize(8, 8)):
        even = AlbumentationsViews(weak=A.Compose([A.RandomScale((-0.5, 0.5), p=1), end]))
        assert even("weak", IMAGES, INDEX, 0).x.shape[2:] == (8, 8)
    with pytest.raises(ValueError, match="no view 'medium'"):
        VIEWS("medium", IMAGES, INDEX, 0)
    with pytest.raises(ValueError, match="use TableViews"):
        VIEWS("weak", torch.zeros(12, 4), INDEX, 0)


def test_global_random_states_are_left_alone():
    before, before_numpy = torch.get_rng_state(), np.random.get_state()[1].copy()
    VIEWS("strong", IMAGES, INDEX, 0)
    assert torch.equal(before, torch.get_rng_state())
    assert np.array_equal(before_numpy, np.random.get_state()[1])


@pytest.mark.slow
def test_heavy_libraries_are_loaded_late_and_without_the_network():
    code = """
import os, socket, sys, warnings
warnings.simplefilter("error", UserWarning)
os.environ.pop("NO_ALBUMENTATIONS_UPDATE", None)
def refuse(*args, **options): raise AssertionError("network")
socket.getaddrinfo = socket.create_connection = refuse
import selftrain.data
print([name for name in ("albumentations", "torchvision", "cv2", "PIL") if name in sys.modules])
selftrain.data.AlbumentationsViews()
print("albumentations" in sys.modules)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.split() == ["[]", "True"], result.stderr


# ------------------------------------------------------------------ pipelines that do what views do themselves


def spreads(views):
    x = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (8, 3, 8, 8), dtype=np.uint8))
    fitted = views.fitted(ArraySet(x))
    return [float(fitted(name, x, torch.arange(8), 0).x.std()) for name in ("weak", "strong", "plain")]


@pytest.mark.parametrize("name", ["weak", "strong"])
@pytest.mark.parametrize("nested", [False, True])
def test_a_pipeline_that_normalizes_is_refused_and_the_remedy_works(name, nested):
    steps = [A.HorizontalFlip(), A.OneOf([A.Normalize()]) if nested else A.Normalize()]
    with pytest.raises(ValueError, match=f"{name} has a Normalize, .*take it out"):
        AlbumentationsViews(**{name: A.Compose(steps)})
    weak, strong, plain = spreads(AlbumentationsViews(**{name: A.Compose(steps[:1])}))
    assert abs(weak - plain) < 0.2
    pinned = AlbumentationsViews(**{name: A.Compose(steps[:1])}, mean=[0.48, 0.45, 0.4], std=[0.2, 0.2, 0.2])
    assert max(spreads(pinned)) < 2


def test_a_pipeline_that_changes_the_scale_is_refused():
    scaled = A.Compose([A.Lambda(image=lambda image, **_: image.astype("f4") - 128)])
    with pytest.raises(ValueError, match=r"values from -12\d to 12\d, .*do not normalize"):
        spreads(AlbumentationsViews(weak=scaled))
    spreads(AlbumentationsViews(weak=A.Compose([A.Lambda(image=lambda image, **_: image)])))


@pytest.mark.parametrize("end", ["ToTensorV2", "ToFloat"])
def test_a_pipeline_may_make_tensors_or_floats(end):
    steps = [A.HorizontalFlip()]
    last = pytest.importorskip("albumentations.pytorch").ToTensorV2() if end == "ToTensorV2" else A.ToFloat(255)
    x = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (4, 3, 6, 8), dtype=np.uint8))
    one, other = (
        AlbumentationsViews(weak=A.Compose(s), mean=0.5, std=0.25)("weak", x, torch.arange(4), 0).x
        for s in (steps, [*steps, last])
    )
    assert one.shape == other.shape == (4, 3, 6, 8)
    assert torch.allclose(one, other, atol=1e-6)


def test_a_pipeline_of_another_library_is_refused():
    from torchvision import transforms

    with pytest.raises(ValueError, match=r"weak is a torchvision Compose, .*pass albumentations\.Compose"):
        AlbumentationsViews(weak=transforms.Compose([transforms.RandomHorizontalFlip()]))
    spreads(AlbumentationsViews(weak=A.Compose([A.HorizontalFlip()])))
    spreads(TensorViews())
