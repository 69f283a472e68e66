"""Kinds of modules beside averages, looks ahead, checkpoints and copies: each is right, or refused by name."""

from __future__ import annotations

import copy
import pickle
import warnings
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations
from zoo import PLAN, differences

import selftrain as st
from selftrain import data, strategies
from selftrain.errors import DataError
from selftrain.exporting import export
from selftrain.networks.copying import copy_network, plain_weights
from selftrain.tensorboard import TensorBoard

X = np.random.RandomState(0).randn(24, 4).astype(np.float32)
Y = np.where(np.arange(24) < 8, np.arange(24) % 2, -1)


class Buffered(nn.Module):
    """Two layers, and a buffer that ``move`` changes in each pass of training."""

    def __init__(self, value, move, *, persistent=True):
        super().__init__()
        self.first, self.last, self.move = nn.Linear(4, 6), nn.Linear(6, 2), move
        self.register_buffer("kept", None if value is None else value.clone(), persistent=persistent)

    def forward(self, x):
        if self.training:
            self.move(self, x)
        return self.last(self.first(x).tanh())


class Tied(nn.Module):
    """One weight under two names, one module at two places, and one buffer under two names."""

    def __init__(self):
        super().__init__()
        self.one, self.two, self.out, self.norm = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2), nn.BatchNorm1d(4)
        self.two.weight = self.one.weight
        self.again = self.norm
        self.register_buffer("mean", self.norm.running_mean)

    def forward(self, x):
        return self.out(self.again(self.two(self.norm(self.one(x).tanh()))))


class Whole(nn.Module):
    """A parameter of integers and one of complex numbers."""

    def __init__(self):
        super().__init__()
        self.out, self.steps = nn.Linear(4, 2), nn.Parameter(torch.arange(3), requires_grad=False)
        self.phase = nn.Parameter(torch.randn(4, dtype=torch.complex64))

    def forward(self, x):
        return self.out((x * self.phase).real)


def layers(wrap):
    return nn.Sequential(wrap(nn.Linear(4, 6)), nn.Tanh(), wrap(nn.Linear(6, 2)))


def both(layer):
    return parametrizations.spectral_norm(parametrizations.weight_norm(layer))


def normed(**settings):
    return nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6, **settings), nn.Linear(6, 2))


def counted(net, x):
    net.kept += 1


def turned(net, x):
    net.kept.logical_not_()


def added(net, x):
    net.kept.add_(x.mean(0))


def replaced(net, x):
    net.kept = net.kept + x.mean()


def grown(net, x):
    net.kept = torch.cat([net.kept, x.mean(0, keepdim=True)])[-5:]


def filled(net, x):
    net.kept = x.mean(0) if net.kept is None else net.kept + x.mean(0)


KINDS = {
    "weight norm": partial(layers, parametrizations.weight_norm),
    "spectral norm": partial(layers, parametrizations.spectral_norm),
    "orthogonal": partial(layers, parametrizations.orthogonal),
    "both norms": partial(layers, both),
    "older weight norm": partial(layers, nn.utils.weight_norm),
    "older spectral norm": partial(layers, nn.utils.spectral_norm),
    "tied": Tied,
    "whole numbers": Whole,
    "counter": partial(Buffered, torch.zeros((), dtype=torch.long), counted),
    "flag": partial(Buffered, torch.zeros(2, dtype=torch.bool), turned),
    "half": partial(Buffered, torch.zeros(4, dtype=torch.bfloat16), added),
    "replaced": partial(Buffered, torch.zeros(()), replaced),
    "mean of all": partial(normed, momentum=None),
    "not tracked": partial(normed, track_running_stats=False),
}
PASSING = {  # buffers that change their shape, which are not stored
    "growing": partial(Buffered, torch.zeros(0, 4), grown, persistent=False),
    "filled": partial(Buffered, None, filled, persistent=False),
}


@pytest.fixture(autouse=True)
def _quiet():
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=FutureWarning, message=".*weight_norm.*")
        yield


def student(kind, **settings):
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return st.learner({**KINDS, **PASSING}[kind], **{"lr": 0.3, "optimizer": "sgd", **settings})()


def learn(learner, steps=1, seed=0):
    """Steps of training on random inputs."""
    x = torch.randn(steps, 8, 4, generator=torch.Generator().manual_seed(seed))
    for batch in x:
        learner.train()
        learner.update(learner(batch).square().mean() + learner(batch).mean())


def everything(network):
    """All tensors of a network by name, also those that are not stored."""
    return {name: t.detach().clone() for name, t in [*network.named_parameters(), *network.named_buffers()]}


@pytest.mark.parametrize("kind", [*KINDS, *PASSING])
@pytest.mark.parametrize("buffers", ["ema", "copy"])
def test_an_average_without_a_past_is_the_student(kind, buffers):
    learner = student(kind)
    teacher = st.Teacher(learner, decay=0.0, buffers=buffers)
    for step in range(3):
        learn(learner, seed=step)
        teacher.update(learner.model)
    x = torch.from_numpy(X)
    tolerance = 0.05 if "spectral" in kind or kind == "both norms" else 1e-6  # each estimates its own norm
    torch.testing.assert_close(teacher(x), learner.label(x), atol=tolerance, rtol=0)
    assert not any(p.requires_grad for p in teacher.parameters())


@pytest.mark.parametrize("kind", ["spectral norm", "older spectral norm"])
def test_the_spectral_norm_of_an_average_is_one(kind):
    learner = student(kind, lr=2.0)
    teacher = st.Teacher(learner, decay=0.9)
    for step in range(40):
        learn(learner, seed=step)
        teacher.update(learner.model)
    teacher(torch.from_numpy(X))  # older hooks compute the weight in a pass
    for layer in (teacher.model[0], teacher.model[2]):
        assert float(torch.linalg.matrix_norm(layer.weight, 2)) == pytest.approx(1, abs=0.02)


def test_an_average_of_weight_norms_averages_length_and_direction():
    learner = student("weight norm")
    teacher = st.Teacher(learner, decay=0.5)
    before = copy.deepcopy(teacher.model.state_dict())
    learn(learner, 3)
    teacher.update(learner.model)
    for name, mean in teacher.model.state_dict().items():
        torch.testing.assert_close(mean, (before[name] + learner.model.state_dict()[name]) / 2)


@pytest.mark.parametrize("kind", [*KINDS, *PASSING])
def test_a_look_ahead_leaves_no_trace(kind):
    learner = student(kind, momentum=0.9)
    learn(learner, 2)
    before, optimizer = everything(learner.model), copy.deepcopy(learner.optimizer.state_dict())
    with learner.virtual():
        learn(learner, 2, seed=7)
    assert not differences(before, everything(learner.model))
    assert not differences(optimizer, learner.optimizer.state_dict())
    with learner.virtual():
        learn(learner, 1, seed=8)
        ahead = everything(learner.model)
    learn(learner, 1, seed=8)
    assert not differences(ahead, everything(learner.model))


@pytest.mark.parametrize("kind", [*KINDS, *PASSING])
def test_labels_by_statistics_of_the_batch_move_nothing(kind):
    learner = student(kind)
    learn(learner, 2)
    before = everything(learner.model)
    learner.label(torch.from_numpy(X), "frozen")
    assert not differences(before, everything(learner.model))


def run(kind, out=None, **settings):
    torch.manual_seed(0)
    future = strategies.FutureSelfTraining(st.Classification(2), st.learner({**KINDS, **PASSING}[kind]), decay=0.8)
    undrawn = [TensorBoard(False)]
    return st.fit(future, data.Pile.from_arrays(X, Y), steps=4, plan=PLAN, out=out, handlers=undrawn, **settings)


@pytest.mark.one_in(3)
@pytest.mark.parametrize("kind", KINDS)
def test_a_resumed_run_is_the_same_run(kind, tmp_path):
    whole = run(kind, tmp_path / "whole")
    run(kind, tmp_path / "parts", checkpoints=st.Checkpoints(stop_after=2))
    rest = run(kind, tmp_path / "parts", resume=True)
    assert not differences(whole.strategy.state_dict(), rest.strategy.state_dict())


@pytest.mark.parametrize("kind", PASSING)
def test_a_stored_buffer_that_changes_its_shape_is_refused_and_one_that_is_not_stored_works(kind):
    passing = PASSING[kind]()
    stored = Buffered(passing.kept, passing.move)
    with pytest.raises(
        DataError, match=r"a pass changes the shape of what Buffered stores: \['kept'\].*persistent=False"
    ):
        st.fit(strategies.Supervised(st.Classification(2), st.learner(stored)), data.Pile.from_arrays(X, Y), steps=1)
    run(kind)


@pytest.mark.parametrize("kind", [*KINDS, *PASSING])
def test_what_an_estimator_ships_can_be_copied_and_pickled(kind):
    model = st.SelfTrainClassifier(strategy="mean_teacher", network={**KINDS, **PASSING}[kind], steps=2, random_state=0)
    model.fit(X, Y)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))
    np.testing.assert_array_equal(copy.deepcopy(model).predict_proba(X), model.predict_proba(X))


@pytest.mark.parametrize("kind", KINDS)
def test_a_copy_of_a_trained_network_is_its_own(kind):
    learner = student(kind)
    learn(learner, 2)
    copied = copy_network(learner.model).eval()
    x = torch.from_numpy(X)
    expected = learner.label(x)
    assert torch.equal(copied(x), expected)
    torch.testing.assert_close(plain_weights(copied)(x), expected)
    learn(learner, 2)
    torch.testing.assert_close(copied(x), expected)


@pytest.mark.parametrize("kind", ["weight norm", "older spectral norm"])
def test_a_run_whose_layers_were_parametrized_afterwards_opens_with_its_network(kind, tmp_path):
    done = run(kind, tmp_path)
    with pytest.raises(st.RunFolderError, match=r"st\.open_run\(.*network=\.\.\.\)"):
        st.open_run(tmp_path, trust=True)
    again = st.open_run(tmp_path, network=KINDS[kind])
    x = torch.from_numpy(X)
    assert torch.equal(again.strategy.predict(x), done.strategy.predict(x))


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "older" not in kind and kind != "not tracked"])
def test_exported_weights_start_another_network_of_the_kind(kind, tmp_path):
    done = run(kind)
    path = export(done, tmp_path)["safetensors"]
    fresh = st.learner(KINDS[kind], init_from=path)()
    assert not differences(done.strategy.export(), dict(fresh.model.state_dict()))
