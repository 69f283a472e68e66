"""Exported networks give the answers of the run, whoever reads them; what cannot be exported says so."""

from __future__ import annotations

import copy
import json
import re
import warnings

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import selftrain as st
from selftrain import data, exporting, pretrain, strategies
from selftrain.errors import SelftrainError
from selftrain.exporting import formats

RNG = np.random.default_rng(0)
X = {
    "table": RNG.normal(3, 2, (40, 5)).astype(np.float32),
    "image": RNG.integers(0, 256, (40, 8, 8), dtype=np.uint8),
    "series": RNG.normal(3, 2, (40, 2, 20)).astype(np.float32),
    "points": RNG.normal(3, 2, (40, 16, 3)).astype(np.float32),
}
Y = np.where(np.arange(40) < 20, np.arange(40) % 2, -1)
ENCODERS = {
    "table": lambda: pretrain.table_transformer(5, width=16, depth=1, heads=2),
    "image": lambda: st.ConvEncoder(8, widths=(4, 8), embed_dim=8),
    "series": lambda: pretrain.series_transformer(20, 4, 2, width=16, depth=1, heads=2),
    "points": lambda: pretrain.point_transformer(16, groups=4, neighbors=4, width=16, depth=1, heads=2),
}


def trained(kind, strategy=strategies.Supervised, **settings):
    form = {"kind": kind} if kind in ("series", "points") else {}
    pile = data.Pile.from_arrays(X[kind], Y, **form)
    torch.manual_seed(0)
    make = st.learner(lambda: st.Classifier(ENCODERS[kind](), 2))
    return st.fit(strategy(st.Classification(2), make, **settings), pile, steps=2, progress=False)


def raw(run, count=20):
    """All unlabeled inputs as a set has them, and what the run says of them."""
    inputs = run.pile.unlabeled.images(np.arange(count))
    plain = run.pile.views("plain", inputs, torch.arange(count), 0).x
    return inputs.float() / 255 if inputs.dtype == torch.uint8 else inputs, run.strategy.predict(plain)


@pytest.mark.parametrize("kind", ["segmentation", "keypoints"])
def test_masks_and_joints_are_exported_as_the_run_says_them(kind, tmp_path):
    """It was: RuntimeError, the size of tensor a must match the size of tensor b."""
    task, make = st.toy.task(kind), st.toy.learner(kind)
    x = np.random.default_rng(0).random((8, 1, 12, 12), dtype=np.float32)
    shape = {"segmentation": (12, 12), "keypoints": (2, 3)}[kind]
    y = np.random.default_rng(1).integers(0, 2, (8, *shape))
    y = y if kind == "segmentation" else np.where(np.arange(3) < 2, 8 * y, 1).astype(np.float32)
    pile = data.Pile(data.ArraySet(x[:4], y[:4]), data.ArraySet(x), views=data.TensorViews(mean=0.3, std=2.0))
    for strategy in (strategies.MeanTeacher(task, make), strategies.Ensemble(task, make, members=2)):
        run = st.fit(strategy, pile, steps=2, progress=False)
        files = exporting.export(run, tmp_path / type(strategy).__name__, formats=["torch"])
        program = torch.export.load(files["torch"]).module()
        inputs, wanted = raw(run, 8)
        assert torch.allclose(program(inputs), wanted, atol=1e-5)
        card = json.loads(files["card"].read_text())
        assert card["output"]["shape"] == list(wanted.shape[1:])
        assert card["output"]["meaning"] == {"segmentation": "probabilities", "keypoints": "heatmaps"}[kind]


@pytest.mark.parametrize("kind", [k if k == "table" else pytest.param(k, marks=pytest.mark.slow) for k in X])
def test_a_program_answers_as_the_run(kind, tmp_path):
    run = trained(kind)
    files = st.export(run, tmp_path, formats=["safetensors", "torch"])
    inputs, wanted = raw(run)
    for size in (20, 1):
        answers = torch.export.load(files["torch"]).module()(inputs[:size])
        torch.testing.assert_close(answers, wanted[:size], rtol=1e-4, atol=1e-5)
    again = st.learner(lambda: st.Classifier(ENCODERS[kind](), 2), init_from=files["safetensors"])().model
    for name, tensor in run.export().items():
        assert torch.equal(again.state_dict()[name], tensor)
    card = json.loads(files["card"].read_text())
    assert card["input"]["shape"] == list(inputs.shape[1:])
    assert card["output"] == {"shape": [2], "meaning": "probabilities"}
    assert card["classes"] == ["0", "1"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["image", "table"])
def test_onnx_answers_as_the_run(kind, tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    run = trained(kind, strategies.Ensemble)
    path = st.export(run, tmp_path, formats=["onnx"])["onnx"]
    inputs, wanted = raw(run)
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for size in (20, 1):
        answers = session.run(None, {"input": inputs[:size].numpy()})[0]
        np.testing.assert_allclose(answers, wanted[:size], rtol=1e-3, atol=1e-4)


def test_several_networks_keep_their_own_weights(tmp_path):
    run = trained("table", strategies.Ensemble, members=2)
    weights = load_file(st.export(run, tmp_path)["safetensors"])
    assert {name.split(".")[1] for name in weights if name.startswith("networks.")} == {"0", "1"}


def test_an_encoder_alone(tmp_path):
    pile = data.Pile.from_arrays(X["image"], Y)
    encoder = pretrain.ViT(8, 2, width=16, depth=1, heads=2)
    run = st.fit(pretrain.MAE(encoder), pile, steps=1, progress=False)
    files = st.export(run, tmp_path, what="encoder", formats=["torch", "safetensors"])
    inputs = pile.unlabeled.images(np.arange(4))
    plain = pile.views("plain", inputs, torch.arange(4), 0).x
    program = torch.export.load(files["torch"]).module()
    torch.testing.assert_close(program(inputs.float() / 255), run.strategy.predict(plain), rtol=1e-4, atol=1e-5)
    st.learner(st.Classifier(encoder, 2), init_from=files["safetensors"])()
    with pytest.raises(ValueError, match="learns no classes; export its encoder"):
        st.export(run, tmp_path / "c")


def test_nothing_is_replaced_unless_that_is_said(tmp_path):
    run = trained("table")
    (tmp_path / "classifier.json").write_text("mine")
    with pytest.raises(ValueError, match="is there already"):
        st.export(run, tmp_path)
    assert (tmp_path / "classifier.json").read_text() == "mine"
    assert st.export(run, tmp_path, overwrite=True)
    with pytest.raises(ValueError, match="formats is .'pickle'.; choose some of safetensors, onnx, torch"):
        st.export(run, tmp_path, formats=["pickle"])


def test_a_file_with_other_answers_is_not_left_behind(tmp_path, monkeypatch):
    broken = {**formats.FORMATS}
    plain = broken["safetensors"]
    wrong = lambda network, path: lambda x: plain.read(network, path)(x) + 0.1  # noqa: E731
    broken["safetensors"] = formats.Format(".safetensors", plain.write, wrong, 0.0)
    monkeypatch.setattr(exporting.write, "FORMATS", broken)
    with pytest.raises(SelftrainError, match=r"other answers than the network \(largest difference 0.1"):
        st.export(trained("table"), tmp_path)
    assert list(tmp_path.iterdir()) == []


class Branching(nn.Module):
    """What an exporter cannot follow: a choice by the data."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(5, 2)

    def forward(self, x):
        return self.head(x) if float(x.sum()) > 0 else self.head(-x)


def test_a_network_that_cannot_be_written_says_so(tmp_path):
    pile = data.Pile.from_arrays(X["table"], Y)
    run = st.fit(strategies.Supervised(st.Classification(2), st.learner(Branching)), pile, steps=1, progress=False)
    with pytest.raises(SelftrainError, match="cannot be written as torch: .*choose another format"):
        st.export(run, tmp_path, formats=["torch"])
    assert list(tmp_path.iterdir()) == []
    st.export(run, tmp_path, formats=["safetensors"])  # the remedy


def test_views_that_do_more_are_refused(tmp_path):
    views = data.SeriesViews(clip=0.5)
    pile = data.Pile.from_arrays(X["series"], Y, kind="series", views=views)
    make = st.learner(lambda: st.Classifier(ENCODERS["series"](), 2))
    run = st.fit(strategies.Supervised(st.Classification(2), make), pile, steps=1, progress=False)
    with pytest.raises(SelftrainError, match="SeriesViews do more to an input"):
        st.export(run, tmp_path)


def test_onnx_without_its_packages_names_the_remedy(tmp_path, monkeypatch):
    monkeypatch.setattr(formats, "find_spec", lambda name: None)
    before = copy.copy(list(tmp_path.iterdir()))
    with pytest.raises(ImportError, match=r"ONNX needs onnx and onnxscript: pip install 'selftrain\[onnx\]'"):
        st.export(trained("table"), tmp_path, formats=["onnx"])
    assert list(tmp_path.iterdir()) == before


class Small(nn.Module):
    """A network of one layer, with something before its end."""

    def __init__(self, end, middle=nn.Identity):
        super().__init__()
        self.first, self.middle, self.last, self.end = nn.Linear(5, 4), middle(), nn.Linear(4, 2), end

    def forward(self, x):
        return self.end(self.last(self.middle(self.first(x))), self)


def plain(z, net):
    return z


ODD = {  # what is told of it, and the network that the message asks for
    "statistics of the batch": (
        lambda: Small(plain, lambda: nn.BatchNorm1d(4, track_running_stats=False)),
        r"a sample by the others.*\(.*middle\)",
        lambda: Small(plain, lambda: nn.BatchNorm1d(4)),
    ),
    "of a function": (
        lambda: Small(lambda z, net: nn.functional.batch_norm(z, None, None, training=True)),
        "a sample by the others",
        lambda: Small(lambda z, net: nn.functional.group_norm(z, 1)),
    ),
    "mean of the batch": (
        lambda: Small(lambda z, net: z + 2 * z.flip(0)),
        "a sample by the others",
        lambda: Small(lambda z, net: nn.functional.layer_norm(z, (2,))),
    ),
    "dropout that never rests": (
        lambda: Small(lambda z, net: nn.functional.dropout(z)),
        r"other answers each time.*self\.training",
        lambda: Small(lambda z, net: nn.functional.dropout(z, 0.5, net.training)),
    ),
    "noise": (
        lambda: Small(lambda z, net: z + torch.randn_like(z)),
        r"other answers each time.*self\.training",
        lambda: Small(lambda z, net: z + net.training * torch.randn_like(z)),
    ),
}


@pytest.mark.parametrize("form", ODD)
def test_answers_that_are_none_of_a_sample_are_told_and_not_written(form, tmp_path):
    odd, words, asked_for = ODD[form]
    pile = data.Pile.from_arrays(X["table"], Y)
    for make in (odd, asked_for):
        torch.manual_seed(0)
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            run = st.fit(strategies.Supervised(st.Classification(2), st.learner(make)), pile, steps=1, handlers=[])
        told = [str(one.message) for one in told if "Small" in str(one.message)]
        if make is odd:
            assert len(told) == 1
            assert re.search(words, told[0])
            with pytest.raises(SelftrainError, match=f"Small .*{words}"):
                st.export(run, tmp_path)
            assert not list(tmp_path.iterdir())
        else:
            assert not told
            assert st.export(run, tmp_path)["safetensors"].is_file()
