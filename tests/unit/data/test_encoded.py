"""Piles of features: what is in them, that they come from a file where they can, and that no file tells lies."""

from __future__ import annotations

import json
import multiprocessing
import pickle
import shutil
import warnings

import numpy as np
import pytest
import torch
from torch import nn

import selftrain as st
from selftrain import data, pretrain, strategies
from selftrain.networks.by_name import PlainEncoder
from selftrain.networks.foundation import Foundation, OnFeatures


class Counting(nn.Module):
    """A small encoder that counts its passes."""

    def __init__(self, width=6):
        super().__init__()
        self.inner = nn.Sequential(nn.Conv2d(1, width, 3), nn.BatchNorm2d(width), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.passes = 0

    def forward(self, x):
        self.passes += 1
        return self.inner(x)


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    return Foundation(Counting(), embed_dim=6, name="own", mean=[0.4], std=[0.3], frozen=True)


def made(labels=8, seed=0, rows=40, **settings):
    rng = np.random.RandomState(3)
    x, y = rng.rand(rows, 1, 8, 8).astype(np.float32), np.arange(rows) % 2
    x_test = np.random.RandomState(4).rand(10, 1, 8, 8).astype(np.float32)
    return data.Pile.from_arrays(x, y, x_test, np.arange(10) % 2, labels=labels, seed=seed, validation=2, **settings)


def test_features_are_those_of_the_encoder_at_rest_on_the_views(encoder):
    pile = made()
    found = pile.encoded(encoder, views=3, seed=5)
    shown = pile.normalized_as(encoder)
    index = torch.arange(4)
    rows = torch.from_numpy(pile.unlabeled.rows[:4])
    images = pile.unlabeled.images(np.arange(4))
    stored = found.unlabeled.images(np.arange(4))
    assert stored.shape == (4, 7, 6)
    torch.testing.assert_close(stored[:, 0], encoder(shown.views("plain", images, index, 0).x))
    views = shown.views.seeded(5)
    torch.testing.assert_close(stored[:, 2], encoder(views("weak", images, rows, 2).x))
    torch.testing.assert_close(stored[:, 6], encoder(views("strong", images, rows, 3).x))
    test = found.test.images(np.arange(2))
    torch.testing.assert_close(
        test[:, 3], encoder(shown.views("plain", pile.test.images(np.arange(2)), index[:2], 0).x)
    )
    assert found.unlabeled_ids() == pile.unlabeled_ids()
    assert torch.equal(found.labeled.annotations, pile.labeled.annotations)
    assert torch.equal(found.unlabeled_truth(), pile.unlabeled_truth())
    assert found.card()["shape"] == [6]


def test_views_are_the_stored_looks_and_standardized(encoder):
    found = made().encoded(encoder, views=3)
    plain = torch.cat([batch.x for batch in found.evaluation("pile", 100, torch.device("cpu"))])
    torch.testing.assert_close(plain.mean(0), torch.zeros(6), atol=1e-5, rtol=0)
    torch.testing.assert_close(plain.std(0, correction=0), torch.ones(6), atol=1e-4, rtol=0)
    images = torch.arange(7.0).repeat(200, 1)[..., None]
    views = data.FeatureViews()
    index = torch.arange(200)
    assert set(views("weak", images, index, 0).x.flatten().tolist()) == {1.0, 2.0, 3.0}
    assert set(views("strong", images, index, 0).x.flatten().tolist()) == {4.0, 5.0, 6.0}
    assert not torch.equal(views("weak", images, index, 0).x, views("weak2", images, index, 0).x)
    assert not torch.equal(views("weak", images, index, 0).x, views("weak", images, index, 1).x)
    assert torch.equal(views("weak", images, index, 1).x, views("weak", images, index, 1).x)
    with pytest.raises(ValueError, match=r"pile.encoded\(encoder\)"):
        views("weak", torch.zeros(3, 6), index[:3], 0)


def test_an_encoder_may_have_no_weights():
    front = Foundation(nn.Flatten(), embed_dim=64, mean=[0.5], std=[0.5], frozen=True)
    found, pile = made().encoded(front, views=0), made()
    plain = (pile.test.images(np.arange(3)) - 0.5) / 0.5
    torch.testing.assert_close(found.test.images(np.arange(3))[:, 0], plain.flatten(1))


def test_every_kind_of_strategy_learns_from_features(encoder):
    pile = made().encoded(encoder, views=2)
    passes = encoder.body.passes
    for kind in (strategies.FixMatch, strategies.MeanTeacher, strategies.Supervised):
        make = st.learner(st.Classifier(PlainEncoder(6), 2))
        run = st.fit(kind(st.Classification(2), make), pile, steps=2, plan=st.BatchPlan(labeled=4))
        assert 0 <= run.evaluate("test")["accuracy"] <= 1
    assert encoder.body.passes == passes


def test_the_second_time_they_come_from_the_file(encoder, tmp_path):
    first = made().encoded(encoder, views=2, cache=tmp_path)
    passes = encoder.body.passes
    again = made(seed=1).encoded(encoder, views=2, cache=tmp_path)  # other labels, the same rows
    assert encoder.body.passes == passes
    everything = np.argsort([int(i) for i in first.unlabeled_ids()])
    assert isinstance(again.unlabeled.features, np.memmap)
    assert len(everything) == len(first.unlabeled)
    assert np.array_equal(first.unlabeled.features, again.unlabeled.features)
    assert not [path for path in tmp_path.iterdir() if path.suffix == ".part"]


def changed_weight(encoder, pile):
    with torch.no_grad():
        next(encoder.parameters())[0] += 1e-3
    return pile.encoded


def changed_statistic(encoder, pile):
    encoder.body.inner[1].running_mean += 1e-3
    return pile.encoded


def changed_pixel(encoder, pile):
    rng = np.random.RandomState(3)
    x = rng.rand(40, 1, 8, 8).astype(np.float32)
    x[17, 0, 3, 3] = 0.123
    return data.Pile.from_arrays(x, np.arange(40) % 2, labels=8, validation=2).encoded


def changed_size(encoder, pile):
    encoder.size = 9
    return pile.encoded


def changed_views(encoder, pile):
    return made(views=data.TensorViews(strong=data.Strong(operations=1))).encoded


@pytest.mark.parametrize("change", [changed_weight, changed_statistic, changed_pixel, changed_size, changed_views])
def test_other_weights_or_other_data_are_other_features(change, encoder, tmp_path):
    pile = made()
    pile.encoded(encoder, views=1, cache=tmp_path)
    passes = encoder.body.passes
    encode = change(encoder, pile)
    encode(encoder, views=1, cache=tmp_path)
    assert encoder.body.passes > passes


def test_another_number_of_views_or_another_seed_are_other_features(encoder, tmp_path):
    pile = made()
    for settings in ({"views": 1}, {"views": 2}, {"views": 1, "seed": 1}):
        passes = encoder.body.passes
        pile.encoded(encoder, cache=tmp_path, **settings)
        assert encoder.body.passes > passes


@pytest.mark.parametrize("damage", ["short", "flipped", "no-sum", "odd-sum"])
def test_a_damaged_file_is_made_anew(damage, encoder, tmp_path):
    pile = made()
    expected = pile.encoded(encoder, views=1)
    pile.encoded(encoder, views=1, cache=tmp_path)
    for path in tmp_path.glob("*.npy"):
        content = bytearray(path.read_bytes())
        content[-5] ^= 1
        path.write_bytes(content[:-100] if damage == "short" else content)
        note = path.with_suffix(".json")
        if damage == "no-sum":
            note.unlink()
        elif damage == "odd-sum":
            note.write_text(json.dumps([1]))
    found = pile.encoded(encoder, views=1, cache=tmp_path)
    rows = np.arange(len(found.unlabeled))
    assert torch.equal(found.unlabeled.images(rows), expected.unlabeled.images(rows))


def test_what_was_computed_before_a_kill_is_not_computed_again(encoder, tmp_path, monkeypatch, capsys):
    wanted, forward, passes = made(rows=400).encoded(encoder, views=1, progress=False), encoder.body.forward, []
    assert capsys.readouterr().err == ""

    def stop(x):
        passes.append(len(x))
        if len(passes) == 7:  # in the third of the batches, of three passes each
            raise KeyboardInterrupt
        return forward(x)

    monkeypatch.setattr(encoder.body, "forward", stop)
    with pytest.raises(KeyboardInterrupt):
        made(rows=400).encoded(encoder, views=1, cache=tmp_path)
    assert not list(tmp_path.glob("*.npy"))
    whole = made(rows=400).encoded(encoder, views=1, cache=tmp_path, progress=True)
    assert "| 256/400 [" in capsys.readouterr().err
    rows = np.arange(len(wanted.unlabeled))
    assert torch.equal(whole.unlabeled.images(rows), wanted.unlabeled.images(rows))
    counted = len(passes)
    made(rows=400).encoded(encoder, views=1, cache=tmp_path)
    assert len(passes) == counted
    assert sum(passes[7:]) == 3 * (400 - 256) + len(wanted.test)  # the labeled rows are of the same set
    monkeypatch.setattr(encoder.body, "forward", lambda x: forward(x)[:, :2])
    with pytest.raises(st.DataError, match=r"the encoder gives \(128, 2\)"):  # from the first batch on
        made(rows=401).encoded(encoder, views=1, cache=tmp_path)
    assert not [path for path in tmp_path.iterdir() if path.suffix == ".part" or "begun" in path.name]


@pytest.mark.parametrize("damage", ["no-note", "odd-note", "too-many", "short"])
def test_a_part_that_cannot_be_told_is_begun_anew(encoder, tmp_path, monkeypatch, damage):
    forward, passes = encoder.body.forward, []

    def stop(x):
        passes.append(len(x))
        if len(passes) == 4:
            raise KeyboardInterrupt
        return forward(x)

    monkeypatch.setattr(encoder.body, "forward", stop)
    with pytest.raises(KeyboardInterrupt):
        made(rows=400).encoded(encoder, views=1, cache=tmp_path)
    (note,), (part,) = tmp_path.glob("*.begun.json"), tmp_path.glob("*.part")
    assert json.loads(note.read_text()) == {"rows": 128}
    if damage == "no-note":
        note.unlink()
    elif damage == "short":
        part.write_bytes(part.read_bytes()[:-100])
    else:
        note.write_text(json.dumps([1] if damage == "odd-note" else {"rows": 9999}))
    found = made(rows=400).encoded(encoder, views=1, cache=tmp_path)
    assert sum(passes[4:]) == 3 * 400 + len(found.test)


def encode_in_a_process(place):
    torch.manual_seed(0)
    own = Foundation(Counting(), embed_dim=6, name="own", mean=[0.4], std=[0.3], frozen=True)
    found = made().encoded(own, views=1, cache=place)
    return float(found.unlabeled.images(np.arange(5)).sum())


@pytest.mark.slow
def test_two_writers_are_one(tmp_path):
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        sums = pool.map(encode_in_a_process, [tmp_path] * 2)
    assert sums[0] == sums[1]
    assert len(list(tmp_path.glob("*.npy"))) == 2  # of the training and of the test rows


def test_a_copy_for_a_loader_process_is_a_place_and_no_copy(encoder, tmp_path):
    pile = made(rows=400).encoded(encoder, views=4, cache=tmp_path)
    stored = pickle.dumps(pile.unlabeled)
    assert len(stored) < pile.unlabeled.features.nbytes / 4
    assert torch.equal(pickle.loads(stored).images(np.arange(3)), pile.unlabeled.images(np.arange(3)))


def test_masks_are_refused_and_inputs_that_it_cannot_read(encoder):
    masks = data.Pile(data.ArraySet(np.zeros((4, 1, 8, 8), np.float32), np.zeros((4, 8, 8), int)), None)
    with pytest.raises(st.DataError, match="fine-tune it"):
        masks.encoded(encoder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rows = data.Pile.from_arrays(np.zeros((6, 3)), [0, 1, 0, 1, 0, 1])
    with pytest.raises(st.DataError, match="reads images"):
        rows.encoded(encoder)
    with pytest.raises(ValueError, match="views is -1"):
        made().encoded(encoder, views=-1)


def test_the_encoder_stays_as_it_was(encoder):
    own = Foundation(encoder.body, embed_dim=6, mean=[0.4], std=[0.3]).train()
    before = {name: value.clone() for name, value in own.state_dict().items()}
    made().encoded(own, views=1)
    assert own.training
    assert all(torch.equal(value, before[name]) for name, value in own.state_dict().items())


def test_reviewed_rows_stay_features(encoder):
    pile = made().encoded(encoder, views=1)
    other = pile.reviewed({pile.unlabeled_ids()[0]: 1})
    assert other.encoder == pile.encoder
    assert len(other.labeled) == len(pile.labeled) + 1
    assert "features of" in other.summary_lines()[2]


def test_a_run_on_features_is_opened_with_its_data_again(tmp_path):
    rng = np.random.RandomState(0)
    np.savez(tmp_path / "x.npz", x=rng.rand(30, 8, 8).astype(np.float32), y=np.arange(30) % 2)
    pile = data.from_arrays_file(tmp_path / "x.npz", labels=8, validation=2)
    st.fit(pretrain.MAE(pretrain.ViT(size=8, patch=4, channels=1, depth=1)), pile, out=tmp_path / "mae", steps=1)
    encoder = st.pretrained(tmp_path / "mae", frozen=True)
    found = pile.encoded(encoder, views=2, cache=tmp_path / "features")
    make = st.learner(st.Classifier(PlainEncoder(encoder.embed_dim), 2))
    out = tmp_path / "run"
    run = st.fit(strategies.FixMatch(st.Classification(2), make), found, out=out, steps=2, plan=st.BatchPlan(labeled=4))
    opened = st.open_run(out)
    assert opened.evaluate("validation") == run.evaluate("validation")
    assert opened.pile.fingerprint() == found.fingerprint()
    given = st.open_run(out, pile=data.from_arrays_file(tmp_path / "x.npz", labels=8, validation=2))
    assert given.evaluate("validation") == run.evaluate("validation")
    assert st.open_run(out, pile=found).evaluate("validation") == run.evaluate("validation")
    whole = OnFeatures(encoder, run.network, found.views.mean, found.views.std).eval()
    plain = pile.normalized_as(encoder).evaluation("validation", 4, torch.device("cpu"))
    expected = torch.cat(
        [run.network.eval()(batch.x) for batch in found.evaluation("validation", 4, torch.device("cpu"))]
    )
    torch.testing.assert_close(torch.cat([whole(batch.x) for batch in plain]), expected)
    # another encoder under the same name
    shutil.copytree(tmp_path / "mae", tmp_path / "kept")
    st.fit(
        pretrain.MAE(pretrain.ViT(size=8, patch=4, channels=1, depth=1)),
        pile,
        out=tmp_path / "mae",
        steps=1,
        overwrite=True,
    )
    with pytest.raises(st.RunFolderError, match="another encoder than the one"):
        st.open_run(out).evaluate("validation")
    (tmp_path / "mae").rename(tmp_path / "other")
    (tmp_path / "kept").rename(tmp_path / "mae")  # the remedy: it is brought back
    assert st.open_run(out).evaluate("validation") == run.evaluate("validation")
    (tmp_path / "mae").rename(tmp_path / "moved")
    with pytest.raises(st.RunFolderError, match=r"pile=pile.encoded\(encoder\)"):
        st.open_run(out).evaluate("validation")
    assert st.open_run(out, pile=found).evaluate("validation") == run.evaluate("validation")


@pytest.mark.slow
def test_what_is_exported_takes_inputs_and_not_features(tmp_path):
    x, y = np.random.RandomState(0).rand(30, 1, 8, 8).astype(np.float32), np.arange(30) % 2
    pile = data.Pile.from_arrays(x, y, labels=8)
    st.fit(pretrain.MAE(pretrain.ViT(size=8, patch=4, channels=1, depth=1)), pile, out=tmp_path / "mae", steps=1)
    encoder = st.pretrained(tmp_path / "mae", frozen=True)
    found = pile.encoded(encoder, views=1)
    make = st.learner(st.Classifier(PlainEncoder(encoder.embed_dim), 2))
    run = st.fit(strategies.FixMatch(st.Classification(2), make), found, steps=2, plan=st.BatchPlan(labeled=4))
    files = st.export(run, tmp_path / "files", formats=["safetensors", "torch"])
    whole = OnFeatures(encoder, run.network, found.views.mean, found.views.std).eval()
    images = torch.from_numpy(x)
    with torch.no_grad():
        answers = torch.export.load(files["torch"]).module()(images)
    normalized = pile.normalized_as(encoder).views("plain", images, torch.arange(30), 0).x
    torch.testing.assert_close(answers, whole(normalized).softmax(1), rtol=1e-4, atol=1e-5)
    assert json.loads(files["card"].read_text())["input"]["shape"] == [1, 8, 8]
