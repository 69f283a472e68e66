import copy
import inspect
from collections import OrderedDict
from dataclasses import fields

import numpy as np
import pytest
import torch
from helpers import convnet, mlp, same, weights
from torch import nn

import selftrain as st
from selftrain import data, strategies
from selftrain.errors import CheckpointError
from selftrain.networks.by_name import PlainEncoder
from selftrain.networks.copying import copy_network
from selftrain.networks.ema import Teacher
from selftrain.networks.encoders import Classifier, ConvEncoder
from selftrain.networks.optim import Training, learner, load_weights, weights_of
from selftrain.schedule import constant, cosine
from selftrain.storage.run_dir import export_weights
from selftrain.strategies import Supervised


def network(classes=3, width=4):
    return Classifier(ConvEncoder(8, widths=(width, 4), embed_dim=8), classes)


def groups_of(**settings):
    """Settings of each group by the names of its parameters."""
    torch.manual_seed(0)
    built = learner(network(), **settings)()
    names = {id(p): name for name, p in built.model.named_parameters()}
    rows = {}
    for group in built.optimizer.param_groups:
        for p in group["params"]:
            rows[names[id(p)]] = (group["lr"], group["weight_decay"])
    assert set(rows) == set(names.values())
    return rows


# -- optimizers --------------------------------------------------------------------------------------------------------
def test_the_default_is_adamw_with_a_cosine():
    built = learner(mlp())()
    assert type(built.optimizer) is torch.optim.AdamW
    group = built.optimizer.param_groups[0]
    assert (group["lr"], group["betas"], group["weight_decay"]) == (1e-3, (0.9, 0.999), 0.01)
    assert [built.schedule(p) for p in (0.0, 0.3, 1.0)] == [cosine()(p) for p in (0.0, 0.3, 1.0)]


def test_adamw_takes_its_settings():
    group = learner(mlp(), lr=0.5, momentum=0.8, beta2=0.95)().optimizer.param_groups[0]
    assert (group["lr"], group["betas"]) == (0.5, (0.8, 0.95))


@pytest.mark.parametrize(("momentum", "nesterov"), [(0.9, True), (0.0, False)])
def test_sgd_has_nesterov_momentum_if_any(momentum, nesterov):
    built = learner(mlp(), optimizer="sgd", lr=0.5, momentum=momentum)()
    assert type(built.optimizer) is torch.optim.SGD
    group = built.optimizer.param_groups[0]
    assert (group["lr"], group["momentum"], group["nesterov"]) == (0.5, momentum, nesterov)


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_each_optimizer_learns(name):
    built = learner(mlp(), optimizer=name, lr=0.05)()
    x, y = torch.randn(16, 3), torch.arange(16) % 3
    losses = []
    for _ in range(30):
        loss = nn.functional.cross_entropy(built(x), y)
        built.update(loss)
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


def test_an_optimizer_of_ones_own_gets_the_groups():
    seen = []

    def make(groups):
        seen.extend(groups)
        return torch.optim.RMSprop(groups)

    built = learner(network(), optimizer=make, lr=0.2, encoder_lr=0.1)()
    assert type(built.optimizer) is torch.optim.RMSprop
    assert sorted({round(g["lr"], 6) for g in seen}) == [0.02, 0.2]
    assert built.base_rates == [g["lr"] for g in seen]


def test_biases_and_norms_are_not_decayed():
    rows = groups_of(weight_decay=0.3)
    flat = {name for name, p in network().named_parameters() if p.dim() <= 1}
    assert {name for name, (_, decay) in rows.items() if decay == 0} == flat
    assert {decay for name, (_, decay) in rows.items() if name not in flat} == {0.3}


@pytest.mark.parametrize("factor", [1.0, 0.1, 0.0])
def test_the_encoder_has_a_rate_of_its_own(factor):
    rows = groups_of(lr=0.5, encoder_lr=factor)
    for name, (rate, _) in rows.items():
        assert rate == pytest.approx(0.5 * factor if name.startswith("encoder.") else 0.5), name


def test_an_encoder_at_rate_zero_stays():
    built = learner(network(), lr=0.1, encoder_lr=0.0)()
    before = weights(built.model.encoder), weights(built.model.head)
    built.update(built(torch.randn(4, 1, 8, 8)).square().mean())
    assert same(before[0], weights(built.model.encoder))
    assert not same(before[1], weights(built.model.head))


def test_frozen_weights_are_left_out():
    model = mlp()
    model[0].requires_grad_(False)
    built = learner(model)()
    assert sum(len(g["params"]) for g in built.optimizer.param_groups) == 2


def test_settings_of_the_learner_are_passed_on():
    settings = {"max_grad_norm": 0.5, "accumulate": 3, "precision": "bf16", "channels_last": False}
    built = learner(convnet(), schedule=constant(), **settings)()
    assert (built.max_grad_norm, built.accumulate, built.precision, built.channels_last) == (0.5, 3, "bf16", False)
    assert built.schedule(0.9) == 1.0


def test_compiling_is_passed_on(monkeypatch):
    compiled = []
    monkeypatch.setattr(nn.Module, "compile", lambda module: compiled.append(module))
    assert compiled == [learner(mlp(), compile=True)().model]
    learner(mlp())()
    assert len(compiled) == 1


def test_teachers_and_copies_of_a_compiled_student_are_compiled(monkeypatch):
    """A deep copy of a compiled module is not."""
    compiled = []
    monkeypatch.setattr(nn.Module, "compile", lambda module: compiled.append(module))
    student = learner(mlp(), compile=True)()
    teacher, copied = Teacher(student), copy.deepcopy(student)
    assert compiled == [student.model, teacher.model, copied.model]
    plain = learner(mlp())()
    Teacher(plain), copy.deepcopy(plain), Teacher(student, part=student.model[0])
    assert len(compiled) == 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lr": 0}, "lr is 0; it must be above 0"),
        ({"encoder_lr": -1}, "encoder_lr is -1; it must be 0 or more"),
        ({"optimizer": "adam"}, r"optimizer is 'adam'; choose one of \['adamw', 'sgd'\] or pass a function"),
    ],
)
def test_settings_out_of_range_are_named_at_once(settings, message):
    with pytest.raises(ValueError, match=message):
        learner(mlp(), **settings)


def test_settings_come_whole_or_one_by_one():
    whole = learner(mlp(), training=Training(lr=0.25))()
    assert whole.optimizer.param_groups[0]["lr"] == 0.25
    with pytest.raises(ValueError, match=r"give either training or single settings, not both: \['lr'\]"):
        learner(mlp(), training=Training(), lr=0.5)
    ours = {p.name: p.default for p in inspect.signature(learner).parameters.values()}
    assert {field.name: field.default for field in fields(Training)}.items() <= ours.items()
    with pytest.raises(TypeError, match="learning_rate"):
        learner(mlp(), learning_rate=0.5)


# -- networks ----------------------------------------------------------------------------------------------------------
def test_a_module_is_copied_so_that_students_start_alike():
    model = mlp()
    make = learner(model)
    first, second = make(), make()
    assert same(weights(first), weights(second))
    first.model[0].weight.data.zero_()
    assert second.model[0].weight.abs().sum() > 0
    assert model[0].weight.abs().sum() > 0


def test_a_function_builds_students_that_start_apart():
    make = learner(lambda: nn.Linear(3, 3))
    assert not same(weights(make()), weights(make()))


# -- first weights -----------------------------------------------------------------------------------------------------
def trained():
    torch.manual_seed(5)
    return Supervised(st.Classification(3), learner(network), decay=None)


def sources(strategy, folder):
    """One stage handed on in every way there is."""
    weights = strategy.export()
    export_weights(weights, folder)
    run = st.Run(strategy, pile=None, ledger=None)
    file = folder / "export.safetensors"
    return {"strategy": strategy, "run": run, "mapping": weights, "file": file, "text": str(file), "folder": folder}


@pytest.mark.parametrize("way", ["strategy", "run", "mapping", "file", "text", "folder"])
def test_weights_come_from_any_kind_of_stage(way, tmp_path):
    stage = trained()
    source = sources(stage, tmp_path)[way]
    built = learner(network, init_from=source)()
    assert same(dict(stage.student.model.state_dict()), dict(built.model.state_dict()))


def test_weights_are_read_when_the_student_is_built_and_not_shared():
    stage = trained()
    make = learner(network, init_from=stage)
    stage.student.model.head.weight.data.fill_(1.0)
    first, second = make(), make()
    assert torch.equal(first.model.head.weight, torch.ones(3, 8))
    first.model.head.weight.data.zero_()
    assert torch.equal(second.model.head.weight, torch.ones(3, 8))
    assert torch.equal(stage.student.model.head.weight, torch.ones(3, 8))


def test_an_encoder_alone_leaves_the_head_its_own_start():
    encoder = {name: w for name, w in trained().export().items() if name.startswith("encoder.")}
    model = network(classes=7)
    head = weights(model.head)
    missing = load_weights(model, encoder)
    assert missing == ["head.weight", "head.bias"]
    assert same(head, weights(model.head))
    assert all(torch.equal(model.state_dict()[name], w) for name, w in encoder.items())


def test_weights_without_a_place_are_named():
    message = r"weights such as \['body.0.weight'\] have no place in Classifier; .*network.encoder"
    with pytest.raises(CheckpointError, match=message):
        load_weights(network(), {"body.0.weight": torch.zeros(1), "head.bias": torch.zeros(3)})


def test_weights_of_another_shape_are_named():
    with pytest.raises(CheckpointError, match=r"head.weight \(7, 8\), not \(3, 8\)"):
        learner(network(), init_from=network(classes=7).state_dict())()


def test_weights_that_do_not_fit_change_nothing():
    model = network()
    before = weights(model)
    unfit = {"encoder.body.0.weight": torch.ones_like(model.encoder.body[0].weight), "head.bias": torch.ones(9)}
    with pytest.raises(CheckpointError):
        load_weights(model, unfit)
    assert same(before, weights(model))


@pytest.mark.parametrize("content", [None, b"", b"not weights at all"])
def test_files_that_hold_no_weights_are_named(tmp_path, content):
    path = tmp_path / "weights.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CheckpointError, match="cannot read .*weights.safetensors"):
        learner(network(), init_from=path)()


def test_a_folder_without_an_export_is_named(tmp_path):
    with pytest.raises(CheckpointError, match="cannot read .*export.safetensors"):
        weights_of(tmp_path)


def test_a_head_on_what_does_not_learn_starts_at_zero():
    """From 0 the weights stay among the features that were learned from, so that others say nothing but the bias."""
    torch.manual_seed(0)
    x, y = torch.randn(4, 30), torch.arange(4) % 2
    learner = st.learner(st.Classifier(PlainEncoder(30), 2), optimizer="sgd", lr=0.1, weight_decay=0.0)()
    for _ in range(20):
        learner.update(nn.functional.cross_entropy(learner(x), y))
    apart = torch.randn(3, 30)
    apart -= apart @ torch.linalg.pinv(x) @ x  # what is left is orthogonal to every row that was seen
    assert learner(x).argmax(1).equal(y)
    torch.testing.assert_close(learner(apart), learner.model.head.bias.expand(3, 2), atol=1e-5, rtol=0)
    frozen, learning = nn.Linear(30, 6).requires_grad_(False), nn.Linear(30, 6)
    frozen.embed_dim = learning.embed_dim = 6
    assert st.Classifier(frozen, 2).head.weight.abs().max() == 0
    assert st.Classifier(learning, 2).head.weight.abs().max() > 0


def test_members_may_read_features_of_their_own():
    rows = torch.arange(12.0).view(2, 6)
    assert torch.equal(PlainEncoder(2, first=3)(rows), rows[:, 3:5])
    assert torch.equal(PlainEncoder(6)(rows), rows)
    makers = [st.learner(st.Classifier(PlainEncoder(n, first=k), 2), lr=0.1) for k, n in ((0, 4), (4, 2))]
    x = np.random.RandomState(0).normal(size=(40, 6)).astype(np.float32)
    x[:, 0], x[:, 5] = (np.arange(40) % 2 - 0.5) * 9, x[:, 0]
    pile = data.Pile.from_arrays(x, np.where(np.arange(40) < 8, np.arange(40) % 2, -1))
    run = st.fit(strategies.Ensemble(st.Classification(2), makers, members=2), pile, steps=30, plan=st.BatchPlan(4, 8))
    assert run.evaluate("labeled")["accuracy"] == 1.0
    one, other = (member.model for member in run.strategy.members)
    assert (one.head.weight.shape, other.head.weight.shape) == ((2, 4), (2, 2))


def test_a_start_is_read_from_files_of_torch_whatever_stands_before_the_names(tmp_path):
    source, encoder = nn.Linear(3, 4), nn.Sequential(OrderedDict(model=nn.Linear(3, 4)))
    encoder.embed_dim, plain = 4, source.state_dict()
    files = {
        "plain": plain,
        "of training": {"state_dict": plain, "epoch": 3},
        "parallel": {f"module.{name}": value for name, value in plain.items()},
        "compiled": {"model_state_dict": {f"_orig_mod.{name}": value for name, value in plain.items()}},
        "inside": {f"model.backbone.{name}": value for name, value in plain.items()},
    }
    for name, content in files.items():
        torch.save(content, tmp_path / f"{name}.pth")
        built = learner(lambda: Classifier(copy_network(encoder), 2), init_from=tmp_path / f"{name}.pth")().model
        assert torch.equal(built.encoder.model.weight, source.weight), name
        assert torch.equal(built.encoder.model.bias, source.bias), name
    torch.save({"model.weight": plain["weight"], "model.head": plain["bias"]}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match=r"\['model.weight', 'model.head'\] have no place in Classifier"):
        learner(lambda: Classifier(copy_network(encoder), 2), init_from=tmp_path / "other.pth")()
    torch.save(nn.Linear(3, 4), tmp_path / "module.pth")
    with pytest.raises(CheckpointError, match="holds more than tensors"):
        learner(lambda: Classifier(copy_network(encoder), 2), init_from=tmp_path / "module.pth")()
