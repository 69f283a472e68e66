"""From a pile to a report: every recipe through the engine on data of its kind, and fine-tuning beside scratch."""

import math

import numpy as np
import pytest
import torch
from pretrain_helpers import gratings
from zoo import differences

import selftrain as st
from selftrain import data, pretrain, strategies
from selftrain.evaluation import probing
from selftrain.networks.encoders import ConvEncoder
from selftrain.networks.optim import weights_of
from selftrain.storage import checkpoint

SMALL = {"width": 16, "depth": 1, "heads": 2}
RANDOM = np.random.default_rng(0)
CLASSES = np.arange(60) % 3
SPREAD = np.array([[1, 1, 1], [1, 1, 0.1], [1, 0.1, 0.1]])


def image(shape):
    x = RANDOM.integers(0, 256, (60, *shape)).astype(np.uint8)
    x[:, : shape[0] // 2] = np.minimum(x[:, : shape[0] // 2], 80 + 80 * CLASSES[:, None, None])
    return x


def series():
    time, frequency = np.arange(40), 0.3 + 0.3 * CLASSES[:, None, None]
    return np.sin(time * frequency + 6 * RANDOM.random((60, 2, 1))) + 0.1 * RANDOM.normal(size=(60, 2, 40))


# arrays of 60 samples, how they are read, and an encoder
KINDS = {
    "image": (lambda: image((16, 16)), {}, lambda: pretrain.ViT(16, 4, **SMALL)),
    "cells": (lambda: image((16, 16)), {}, lambda: ConvEncoder(16, widths=(4, 8), embed_dim=12)),
    "spectrogram": (lambda: image((16, 32)), {}, lambda: pretrain.ViT((16, 32), 4, **SMALL)),
    "series": (series, {"kind": "series"}, lambda: pretrain.series_transformer(40, 2, 2, **SMALL)),
    "table": (
        lambda: RANDOM.normal(size=(60, 8)) + CLASSES[:, None], {}, lambda: pretrain.table_transformer(8, **SMALL)
    ),
    "points": (
        lambda: RANDOM.normal(size=(60, 24, 3)) * SPREAD[CLASSES][:, None], {"kind": "points"},
        lambda: pretrain.point_transformer(24, groups=12, neighbors=4, **SMALL),
    ),
}  # fmt: skip
RECIPES = {
    "MAE": "image", "SARJEPA": "image", "IJEPA": "image", "StoP": "image", "CNNJEPA": "cells", "AJEPA": "spectrogram",
    "ECGJEPA": "series", "TJEPA": "table", "PointJEPA": "points", "LeJEPA": "cells", "SimCLR": "cells",
    "VICReg": "cells", "UniSiam": "cells",
}  # fmt: skip
QUICK = ("IJEPA", "TJEPA", "SimCLR")  # one of each kind of stage on every run, the others with the slow tests
RARELY = [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in RECIPES]
PLAN = st.BatchPlan(8, 1.0)


def make_pile(kind):
    arrays, form, _ = KINDS[kind]
    x = arrays()
    return data.Pile.from_arrays(x, CLASSES, x[:15], CLASSES[:15], labels=18, validation=0.4, **form)


@pytest.mark.parametrize("name", RARELY)
def test_every_recipe_goes_from_a_pile_to_a_report_and_to_a_student(name, tmp_path):
    pile, fresh = make_pile(RECIPES[name]), KINDS[RECIPES[name]][2]
    torch.manual_seed(0)
    stage = st.fit(getattr(pretrain, name)(fresh()), pile, plan=PLAN, steps=3, out=tmp_path / "stage", snapshots=1)
    for part in ("unlabeled", "validation"):
        assert all(math.isfinite(value) for value in stage.last[part].values())
    assert 0 <= stage.last["validation"]["knn"] <= 1
    snapshot = st.select_snapshot(tmp_path / "stage")
    assert st.read_card(snapshot)["input"] == st.read_card(tmp_path / "stage")["input"] == pile.card()
    assert pile.normalized_as(st.read_card(snapshot)["input"]).card() == pile.card()
    shipped = stage.strategy.shipped()
    found = probing.report(shipped, pile, fresh=fresh, part="test", per_class=2, draws=2, components=4, scratch_steps=2)
    rows = {row.name: row.figures for row in found.rows}
    assert {"encoder", "raw input", "PCA-4 of raw input", "random init", "supervised from scratch"} <= set(rows)
    assert ("image statistics" in rows) == (RECIPES[name] in ("image", "cells", "spectrogram"))
    assert rows["encoder"] != rows["random init"]
    network = st.Classifier(fresh(), 3)
    student = strategies.Supervised(st.Classification(3), st.learner(network, init_from=snapshot), decay=None)
    for weight, tensor in shipped.state_dict().items():
        assert torch.equal(student.student.model.encoder.state_dict()[weight], tensor)
    run = st.fit(student, pile, plan=PLAN, steps=2)
    assert 0 <= run.evaluate("test")["accuracy"] <= 1


@pytest.mark.one_in(3)
@pytest.mark.parametrize("name", RARELY)
def test_every_recipe_that_was_stopped_goes_on_as_if_it_had_not(name, tmp_path):
    """Stopped between two evaluations, in the middle of an epoch, and continued by fresh objects."""
    pile, fresh = make_pile(RECIPES[name]), KINDS[RECIPES[name]][2]

    def fit(folder, seed=0, **settings):
        torch.manual_seed(seed)
        times = {"steps": 4, "eval_every": 2, "checkpoint_every": 4, "log_every": 2}
        st.fit(getattr(pretrain, name)(fresh()), pile, plan=PLAN, out=tmp_path / folder, **times, **settings)

    def outcome(folder):
        state = checkpoint.load_newest(tmp_path / folder / "checkpoints")
        del state["seconds"]
        log = (tmp_path / folder / "metrics.jsonl").read_text()
        return {"state": state, "log": log, "weights": dict(weights_of(tmp_path / folder))}

    fit("whole")
    fit("parts", stop_after=3)
    fit("parts", seed=99, resume=True)
    assert differences(outcome("whole"), outcome("parts")) == []


# -- fine-tuning -------------------------------------------------------------------------------------------------------
def grating_pile():
    """Waves in four directions, the classes, behind noise; 16 labels."""
    x = gratings(1000, 0)
    x = x + 1.5 * torch.randn(x.shape, generator=torch.Generator().manual_seed(5))
    x = (x / 6 + 0.5).clamp(0, 1).numpy()
    y = torch.randint(4, (1000,), generator=torch.Generator().manual_seed(0)).numpy()  # as the waves are drawn
    views = data.TensorViews(data.Weak(shift=0.0))
    return data.Pile.from_arrays(x[:600], y[:600], x[600:], y[600:], labels=16, channels="first", views=views)


@pytest.mark.slow
def test_a_stage_is_fine_tuned_with_layer_decay_beside_the_same_network_from_scratch():
    pile = grating_pile()
    torch.manual_seed(0)
    network = st.Classifier(pretrain.ViT(16, 4, width=32, depth=2, heads=2), 4)
    method = pretrain.MAE(network.encoder, mask_ratio=0.5, training=st.Training(lr=3e-3, beta2=0.95))
    stage = st.fit(method, pile, plan=st.BatchPlan(32, 1.0), steps=200)
    ways = {"scratch": {}, "tuned": {"init_from": stage}, "decayed": {"init_from": stage, "layer_decay": 0.75}}
    moved, accuracy = {}, {}
    for way, start in ways.items():
        strategy = strategies.Supervised(st.Classification(4), st.learner(network, lr=3e-3, **start), decay=None)
        layers = strategy.student.model.encoder.layers()
        before = [torch.cat([p.detach().flatten() for p in layer.parameters()]) for layer in layers]
        run = st.fit(strategy, pile, plan=st.BatchPlan(16, 1.0), steps=80, self_check=False)
        accuracy[way] = run.evaluate("test")["accuracy"]
        after = [torch.cat([p.detach().flatten() for p in layer.parameters()]) for layer in layers]
        moved[way] = [float((new - old).norm()) for new, old in zip(after, before, strict=True)]
    shares = [slow / fast for slow, fast in zip(moved["decayed"], moved["tuned"], strict=True)]
    assert len(shares) == 4  # patches, two blocks, norm: 0.75 ** 4, ..., 0.75 of the rate
    assert shares[0] < 0.6
    assert shares[0] < shares[-1] < 1
    assert accuracy["decayed"] > accuracy["scratch"] + 0.05
