"""Fine-tuning with a learning rate that falls from the head to the input."""

import pytest
import torch
from torch import nn

from selftrain.networks.encoders import Classifier, ConvEncoder
from selftrain.networks.optim import Training, learner
from selftrain.schedule import constant


class Stack(nn.Module):
    """Three layers and a weight that is in none of them."""

    embed_dim = 4

    def __init__(self):
        super().__init__()
        self.token = nn.Parameter(torch.ones(4))
        self.first, self.second, self.norm = nn.Linear(3, 4), nn.Linear(4, 4), nn.LayerNorm(4)

    def forward(self, x):
        return self.norm(self.second(self.first(x)).tanh() + self.token)

    def layers(self):
        return [self.first, self.second, self.norm]


class Silent(nn.Linear):
    embed_dim = 4


class Named(nn.Module):
    """``layers`` is a sub-module, not the method of the contract."""

    embed_dim = 4

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, 4))


class Empty(Stack):
    def layers(self):
        return []


class Sharing(Stack):
    """The second layer holds the first one."""

    def layers(self):
        return [self.first, nn.ModuleList([self.first, self.second])]


def rates(encoder, **settings):
    """Learning rate and weight decay of each weight by its name."""
    built = learner(Classifier(encoder, 2), **settings)()
    names = {id(p): name for name, p in built.model.named_parameters()}
    rows = {names[id(p)]: (g["lr"], g["weight_decay"]) for g in built.optimizer.param_groups for p in g["params"]}
    assert set(rows) == set(names.values())
    assert sum(len(g["params"]) for g in built.optimizer.param_groups) == len(names)
    return rows


@pytest.mark.parametrize("encoder_lr", [1.0, 0.1])
def test_each_layer_learns_more_slowly_than_the_one_above(encoder_lr):
    rows = rates(Stack(), lr=0.4, layer_decay=0.5, encoder_lr=encoder_lr)
    depth = {"first": 3, "second": 2, "norm": 1, "token": 3}
    for name, (rate, _) in rows.items():
        part = name.split(".")[1]
        expected = 0.4 if name.startswith("head.") else 0.4 * encoder_lr * 0.5 ** depth[part]
        assert rate == pytest.approx(expected), name


def test_weights_are_decayed_as_without_it():
    plain, layered = rates(Stack(), weight_decay=0.3), rates(Stack(), weight_decay=0.3, layer_decay=0.5)
    assert {name: decay for name, (_, decay) in plain.items()} == {name: decay for name, (_, decay) in layered.items()}
    assert {decay for _, decay in plain.values()} == {0.0, 0.3}


def test_a_factor_of_one_changes_no_rate():
    assert rates(Stack(), lr=0.2, encoder_lr=0.5, layer_decay=1.0) == rates(Stack(), lr=0.2, encoder_lr=0.5)


def test_what_two_layers_share_is_trained_like_the_lower_one():
    rows = rates(Sharing(), lr=1.0, layer_decay=0.5)
    assert rows["encoder.first.weight"][0] == 0.25
    assert rows["encoder.second.weight"][0] == 0.5
    assert rows["encoder.norm.weight"][0] == 0.25  # in none


def test_the_built_in_encoder_says_its_layers():
    rows = rates(ConvEncoder(8, widths=(4, 4), embed_dim=8), lr=1.0, layer_decay=0.5)
    assert rows["encoder.read.weight"][0] == 0.5
    assert min(rate for rate, _ in rows.values()) == rows["encoder.body.0.weight"][0] == 0.125


def test_steps_have_the_length_of_the_rate():
    """With plain gradient descent a step is the gradient times the rate, schedule included."""
    moves = {}
    for decay in (None, 0.1):
        torch.manual_seed(0)
        built = learner(
            Classifier(Stack(), 2), optimizer="sgd", momentum=0.0, lr=0.1, weight_decay=0.0, layer_decay=decay,
            schedule=constant(),
        )()  # fmt: skip
        before = {name: p.detach().clone() for name, p in built.model.named_parameters()}
        built.set_lr(0.0)
        built.update(built(torch.randn(8, 3, generator=torch.Generator().manual_seed(1))).square().mean())
        moves[decay] = {name: p.detach() - before[name] for name, p in built.model.named_parameters()}
    for name, factor in [("encoder.first.weight", 1e-3), ("encoder.norm.weight", 0.1), ("head.weight", 1.0)]:
        assert moves[None][name].abs().max() > 1e-5
        assert torch.allclose(moves[0.1][name], factor * moves[None][name], rtol=1e-2, atol=1e-7), name


@pytest.mark.parametrize("value", [0, -0.5, 1.01])
def test_factors_out_of_range_are_refused(value):
    with pytest.raises(ValueError, match=f"layer_decay is {value}; it must be above 0 and at most 1, or None"):
        Training(layer_decay=value)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (lambda: Classifier(Silent(3, 4), 2), r"layer_decay is 0.7 but Silent has no method layers\(\); add one"),
        (lambda: Classifier(Named(), 2), r"Named has no method layers\(\)"),
        (lambda: nn.Linear(2, 2), r"Linear has no method layers\(\)"),
        (lambda: Classifier(Empty(), 2), r"layers\(\) of Empty is empty"),
    ],
)
def test_encoders_that_do_not_say_their_layers_are_refused(network, message):
    with pytest.raises(ValueError, match=message):
        learner(network, layer_decay=0.7)()
    learner(network)()  # without it they are as good as any
