"""Label propagation (Iscen et al. 2019) against its equations, written here with dense matrices."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from test_methods_consistency import GIVEN, PIXELS, TASK, batch_of, calm, descend, make, net
from torch import nn
from torch.nn import functional as F
from zoo import take_step

import selftrain as st
from selftrain import strategies, toy
from selftrain.graph import knn_graph
from selftrain.mix import Mixup
from selftrain.networks.encoders import Classifier
from selftrain.strategy.feature_memory import FeatureMemory, head_features
from selftrain.types import Clock

ROWS = 6
SIZES = {"unlabeled": ROWS, "label_shape": (3,)}


def embed(model, x):
    """What enters the last linear layer."""
    body = nn.Sequential(*list(model.children())[:-1])
    assert isinstance(list(model.children())[-1], nn.Linear)
    return F.normalize(calm(body, x))


def spread(graph, labels):
    """F = (I - 0.99 S)^-1 Y, rows divided by their sums."""
    root = np.diag(graph.sum(1) ** -0.5)
    values = np.linalg.solve(np.eye(len(graph)) - 0.99 * root @ graph @ root, np.eye(4)[labels][:, :3])
    return values / values.sum(1, keepdims=True)


def harmonic(graph, labels):
    """L_UU F_U = W_UL Y_L."""
    free, fixed, values = labels < 0, labels >= 0, np.eye(4)[labels][:, :3]
    system = (np.diag(graph.sum(1)) - graph)[np.ix_(free, free)]
    values[free] = np.linalg.solve(system, graph[np.ix_(free, fixed)] @ values[fixed])
    return values


def by_hand(v, spread_labels):
    """Labels of the unlabeled rows, and class weights that are 1 for classes of one size."""
    labels = np.append(GIVEN.numpy(), np.full(ROWS, -1))
    graph = knn_graph(v.numpy(), 4, metric="cosine").toarray()
    z = torch.from_numpy(spread_labels(graph, labels)).float()[len(GIVEN) :]
    counts = torch.bincount(torch.cat([GIVEN, z.argmax(1)]), minlength=3)
    return z, (len(GIVEN) + ROWS) / (3 * counts)


@pytest.mark.parametrize(("method", "closed"), [("label_spreading", spread), ("laplace", harmonic)])
def test_it_follows_the_papers_algorithm(method, closed):
    strategy = strategies.LabelPropagation(TASK, make(), method=method, neighbors=4, **SIZES)
    hand, z, zeta = net(), None, torch.ones(3)
    features = torch.zeros(len(GIVEN) + ROWS, embed(hand, torch.zeros(4, 3)).shape[1])
    for step in range(6):
        batch = batch_of(step, "weak", rows=range(3) if step % 2 else range(3, ROWS))  # an epoch is two steps
        index, x = batch.unlabeled.index, batch.unlabeled["weak"].x
        rows = torch.cat([torch.arange(4), len(GIVEN) + index])
        features[rows] = embed(hand, torch.cat([batch.labeled.x, x]))
        logits = hand.train()(torch.cat([batch.labeled.x, x]))
        loss = (zeta[GIVEN] * F.cross_entropy(logits[:4], GIVEN, reduction="none")).mean()
        weight = torch.zeros(len(index))
        if z is not None:
            said = z[index].argmax(1)
            entropy = -(z[index] * z[index].clamp(min=1e-38).log()).sum(1)
            weight = (1 - entropy / np.log(3)) * zeta[said]
            loss = loss + (weight * F.cross_entropy(logits[4:], said, reduction="none")).mean()
        report = take_step(strategy, [batch], Clock(step, step // 2, 6))
        torch.testing.assert_close(report.pseudo_labels.weight, weight, atol=1e-5, rtol=1e-4)
        descend(hand, loss)
        for mine, own in zip(strategy.student.model.parameters(), hand.parameters(), strict=True):
            torch.testing.assert_close(mine, own, atol=1e-5, rtol=1e-4)
        if step % 2:
            z, zeta = by_hand(features, closed)
            strategy.end_epoch(Clock(step + 1, step // 2, 6))


def test_first_epochs_learn_labels_alone_and_look_at_nothing(monkeypatch):
    strategy = strategies.LabelPropagation(TASK, make(), supervised_epochs=3, neighbors=4, **SIZES)
    plain = strategies.Supervised(TASK, make(), decay=None)
    for epoch in range(3):
        batch = batch_of(epoch, "weak")
        report = take_step(strategy, [batch], Clock(epoch, epoch, 9))
        assert report.scalars["used"] == 0
        assert len(strategy.seen.read()[0]) == (0 if epoch < 2 else ROWS)
        assert bool(strategy.end_epoch(Clock(epoch + 1, epoch, 9))) == (epoch == 2)
        # labels alone move the weights; of BatchNorm's statistics, which see both, none is compared
        assert report.scalars["loss/unsupervised"] == 0
        take_step(plain, [batch])
    assert take_step(strategy, [batch_of(9, "weak")], Clock(4, 3, 9)).scalars["used"] > 0


def test_a_row_that_was_not_seen_keeps_its_label():
    strategy = strategies.LabelPropagation(TASK, make(), neighbors=4, **SIZES)
    take_step(strategy, [batch_of(0, "weak", rows=range(4))], Clock(0, 0, 9))
    strategy.end_epoch(Clock(1, 0, 9))
    assert strategy.bank.known.tolist() == [True] * 4 + [False] * 2


def test_mixed_inputs_are_not_what_the_graph_sees():
    plain, mixed = (strategies.LabelPropagation(TASK, make(), mix=mix, **SIZES) for mix in (None, Mixup(1.0)))
    for strategy in (plain, mixed):
        take_step(strategy, [batch_of(0, "weak")], Clock(0, 0, 9))
    assert torch.equal(plain.seen.rows, mixed.seen.rows)


def test_the_average_gives_the_features_where_there_is_one():
    strategy = strategies.LabelPropagation(TASK, make(), decay=0.9, **SIZES)
    for step in range(2):
        batch = batch_of(step, "weak")
        expected = embed(strategy.ema.model, batch.unlabeled["weak"].x)
        take_step(strategy, [batch], Clock(step, 0, 9))
    torch.testing.assert_close(strategy.seen.read()[1], expected)


def test_labels_with_sites_are_refused_and_the_remedy_takes_them():
    with pytest.raises(ValueError, match=r"\(3, 4, 4\) has sites; choose another method, such as MeanTeacher"):
        strategies.LabelPropagation(PIXELS, make(), unlabeled=ROWS, label_shape=(3, 4, 4))
    strategies.MeanTeacher(PIXELS, make())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "magic"}, "'magic'; choose one of"),
        ({"method": "poisson", "alpha": 0.9}, "alpha is 0.9, which 'poisson' has not"),
        ({"supervised_epochs": 0}, "supervised_epochs is 0; it must be at least 1"),
        ({"neighbors": 0}, "neighbors is 0"),
    ],
)
def test_settings_that_cannot_be_followed_are_refused_at_once(settings, message):
    with pytest.raises(ValueError, match=message):
        strategies.LabelPropagation(TASK, make(), **SIZES, **settings)


def test_too_small_a_memory_is_refused_by_its_setting():
    strategy = strategies.LabelPropagation(TASK, make(), unlabeled=5, label_shape=(3,))
    with pytest.raises(ValueError, match=r"row 5 is outside the memory: unlabeled is 5; set unlabeled=len"):
        take_step(strategy, [batch_of(0, "weak")])


# -- features ----------------------------------------------------------------------------------------------------------
def test_features_are_those_of_the_encoder_or_enter_the_last_layer():
    x = torch.randn(5, 3)
    encoder = toy.mlp(3, 7)
    encoder.embed_dim = 7
    learner = st.learner(Classifier(encoder, 2, dropout=0.5))()
    assert torch.equal(head_features(learner.model, learner, x), learner.model.encoder(x))
    plain = st.learner(toy.mlp(3, 2))()
    torch.testing.assert_close(head_features(plain.model, plain, x), plain.model[:-1](x))
    without = st.learner(nn.Conv1d(3, 2, 1))()
    assert head_features(without.model, without, x[:, :, None]).shape == (5, 2, 1)
    assert not any(module._forward_pre_hooks for module in plain.model.modules())


def test_features_are_made_in_evaluation_mode_and_leave_the_network_as_it_was():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 2))
    learner = st.learner(model)()
    learner.train()
    before = {name: value.clone() for name, value in learner.model.state_dict().items()}
    found = head_features(learner.model, learner, torch.randn(5, 3))
    assert learner.model.training
    assert found.shape == (5, 4)
    assert not found.requires_grad
    assert all(torch.equal(value, before[name]) for name, value in learner.model.state_dict().items())


def test_a_feature_memory_grows_and_is_stored():
    memory, other = FeatureMemory(), FeatureMemory()
    assert memory.empty
    memory.write(torch.tensor([3, 1]), torch.tensor([[1.0, 2], [3, 4]]))
    memory.write(torch.tensor([5, 1]), torch.tensor([[5.0, 6], [7, 8]]))
    assert not memory.empty
    other.write(torch.tensor([0]), torch.ones(1, 2))  # gone with what is loaded
    other.load_state_dict(memory.state_dict())
    index, rows = memory.read()
    assert index.tolist() == [1, 3, 5]
    assert rows.tolist() == [[7, 8], [1, 2], [5, 6]]
    memory.write(torch.tensor([1]), torch.zeros(1, 2))
    assert other.read()[0].tolist() == [1, 3, 5]
    assert other.read()[1].tolist() == rows.tolist()
    assert memory.read()[1].tolist() == [[0, 0], [1, 2], [5, 6]]


def test_a_feature_memory_brings_much_that_waits_to_the_cpu():
    memory, wide = FeatureMemory(), torch.zeros(1, 2**24)
    memory.write(torch.tensor([0]), wide)
    assert not len(memory.known)
    memory.write(torch.tensor([0]), wide)
    assert memory.known.tolist() == [True]
