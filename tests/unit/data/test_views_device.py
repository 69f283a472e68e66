"""Views as an accelerator makes them, beside those of the CPU."""

import shutil

import pytest
import torch

from selftrain import data
from selftrain.data.loading.stream import PairedStream
from selftrain.data.views import image_ops
from selftrain.data.views.presets import Strong, Weak
from selftrain.types import BatchPlan, Needs

RECIPES = {
    "default": {},
    "crop": {"weak": Weak(crop=(0.5, 1.0))},
    "no turn, black around it": {"strong": Strong(geometric=(), pad="zero"), "weak": Weak(pad="zero")},
    "no values": {"strong": Strong(point=(), cutout=0.0)},
    "normalized": {"mean": [0.3, 0.4, 0.5], "std": [0.2, 0.3, 0.4]},
}


@pytest.fixture(scope="module")
def images():
    x = torch.randint(0, 256, (24, 3, 12, 10), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    x[3] = 7  # of one value
    return x


def both(monkeypatch, views, name, x):
    index = torch.arange(len(x)) + 100
    host = views(name, x, index, 2)
    with monkeypatch.context() as patch:
        patch.setattr(image_ops, "by_rows", lambda device: False)
        return host, views(name, x, index, 2)


@pytest.mark.parametrize("recipe", RECIPES)
def test_views_of_an_accelerator_are_those_of_the_cpu(images, recipe, monkeypatch):
    views = data.TensorViews(**RECIPES[recipe], seed=3)
    for x in (images, images / 255):
        for name in ("weak", "strong", "strong2"):
            host, device = both(monkeypatch, views, name, x)
            assert torch.equal(host.theta, device.theta)
            torch.testing.assert_close(host.x, device.x, rtol=0, atol=1e-5)
    dim = data.TensorViews(**RECIPES[recipe]).fitted(data.ArraySet((images / 8).to(torch.uint8)))
    for found in (both(monkeypatch, dim, name, images // 8) for name in ("weak", "strong")):
        torch.testing.assert_close(found[0].x, found[1].x, rtol=0, atol=1e-4)


def test_what_was_drawn_arrives_as_it_was(images):
    views = data.TensorViews()
    drawn = views._drawn("strong", "strong", torch.arange(24), 0, (12, 10))
    arrived = drawn.read(drawn.bytes())
    for one, other in zip(drawn._parts(), arrived._parts(), strict=True):
        assert one.dtype == other.dtype
        assert torch.equal(one, other)
    assert drawn.to(torch.device("meta")).row.shape == (24, 12)


def test_streams_leave_the_keys_where_they_are_for_views_that_ask_for_it():
    """Draws on the device would be a hundred kernels."""
    seen = []

    class Views(data.TensorViews):
        def __call__(self, name, images, index, epoch):
            seen.append(index.device)
            return super().__call__(name, images, index, epoch)

    unlabeled = data.ArraySet(torch.zeros(8, 1, 8, 8, dtype=torch.uint8))
    needs, plan = Needs(("weak",)), BatchPlan(labeled=2, unlabeled_ratio=2.0)
    (batch,) = next(iter(PairedStream(None, unlabeled, Views(), needs, plan, torch.device("meta")).epoch(0)))
    assert seen == [torch.device("cpu")]
    assert batch.unlabeled["weak"].x.device == batch.unlabeled["weak"].theta.device == torch.device("meta")


@pytest.mark.slow
@pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="torch.compile needs a C++ compiler")
def test_views_as_one_program_are_the_same(images, monkeypatch):
    for name in ("weak", "strong"):
        host, device = both(monkeypatch, data.TensorViews(compile=True, mean=0.4, std=0.3), name, images)
        torch.testing.assert_close(host.x, device.x, rtol=0, atol=1e-4)
