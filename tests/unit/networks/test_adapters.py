"""Fine-tuning with few parameters: adapters beside frozen weights, from the start of a run to what it exports."""

from __future__ import annotations

import copy
import json
import pickle
import sys

import numpy as np
import pytest
import timm
import torch
import torchvision
from helpers import same
from torch import nn

import selftrain as st
from selftrain import data, strategies
from selftrain.cli.main import main
from selftrain.networks.copying import copy_network, has_adapters, merge_adapters
from selftrain.networks.ema import Teacher
from selftrain.networks.optim import Training, copied_weights
from selftrain.networks.timm import FeatureEncoder, TimmEncoder
from selftrain.networks.vit import ViT

X = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3), dtype=np.uint8)
Y = np.where(np.arange(40) < 20, np.arange(40) % 2, -1)
IMAGES = torch.linspace(-2, 2, 4 * 3 * 64).view(4, 3, 8, 8).sin()


def small_vit():
    return ViT(8, 4, 3, width=8, depth=1, heads=2)


def torchvision_vit():
    model = torchvision.models.VisionTransformer(8, 4, 1, 2, 8, 16, num_classes=2)
    model.heads = nn.Identity()
    return FeatureEncoder(model, (3, 8, 8))


class Attending(nn.Module):
    """Patches that attend to one another by torch's attention."""

    def __init__(self):
        super().__init__()
        self.embed_dim, self.patch, self.mix = 8, nn.Conv2d(3, 8, 4, 4), nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x):
        x = self.patch(x).flatten(2).transpose(1, 2)
        return self.mix(x, x, x, need_weights=False)[0].mean(1)


ENCODERS = {
    "attending": Attending,
    "own": small_vit,
    "conv": lambda: st.ConvEncoder(8, 3, widths=(4, 8), embed_dim=8),
    "timm": lambda: TimmEncoder(
        timm.create_model(
            "vit_tiny_patch16_224", img_size=8, patch_size=4, num_classes=0, depth=1, embed_dim=8, num_heads=2
        )
    ),
    "timm conv": lambda: FeatureEncoder(timm.create_model("test_resnet", num_classes=0), (3, 8, 8)),
    "torchvision": torchvision_vit,
}


def classifier(encoder="own"):
    torch.manual_seed(0)
    return st.Classifier(ENCODERS[encoder](), 2)


def learn(learner, steps=2):
    for _ in range(steps):
        learner.update(learner(IMAGES).square().sum())


def storages(*holders):
    return {t.untyped_storage().data_ptr() for holder in holders for t in holder}


# -- one layer ---------------------------------------------------------------------------------------------------------
def test_a_layer_in_closed_form():
    """W x + (alpha / rank) B A x, eq. 3 of the paper; the merged weight is W + (alpha / rank) B A."""
    network = classifier()
    weight = network.encoder.blocks[0].widen.weight.detach().clone()
    learner = Training(adapter=st.LoRA(rank=2, alpha=6.0)).learner(network)
    layer, x = network.encoder.blocks[0].widen, torch.randn(3, 8)
    assert torch.equal(layer(x), x @ weight.T + layer.base_layer.bias)  # B starts at 0
    learn(learner)
    (a,), (b,) = layer.lora_A.parameters(), layer.lora_B.parameters()
    assert a.shape == (2, 8)
    assert b.abs().min() > 0
    changed = weight + 6.0 / 2 * b @ a
    torch.testing.assert_close(layer(x), x @ changed.T + layer.base_layer.bias)
    torch.testing.assert_close(copied_weights(network)["encoder.blocks.0.widen.weight"], changed)
    assert torch.equal(layer.base_layer.weight, weight)


def test_without_alpha_the_scale_is_one():
    network = classifier()
    Training(adapter=st.LoRA(rank=4)).learner(network)
    assert network.encoder.blocks[0].join.scaling == {"default": 1.0}


# -- a student and its average -----------------------------------------------------------------------------------------
@pytest.mark.one_in(2)
@pytest.mark.parametrize("encoder", ENCODERS)
def test_all_hold_the_encoder_once_and_ship_merged_weights(encoder):
    for form in ("lora", "dora", "loha", "lokr"):
        if form == "dora" and encoder in ("timm conv", "attending"):
            continue  # no linear layer
        learner = Training(lr=0.03, adapter=st.LoRA(2, alpha=5, form=form)).learner(classifier(encoder))
        teacher, few = Teacher(learner, 0.5), [p for p in learner.model.parameters() if p.requires_grad]
        every = list(learner.model.parameters())
        before = {n: p.clone() for n, p in learner.model.named_parameters() if not p.requires_grad}
        for _ in range(2):
            learn(learner, 1)
            teacher.update(learner.model)
        assert all(p in learner.optimizer.state for p in few)  # each has learned
        assert len(storages(every, teacher.model.parameters(), copy.deepcopy(learner).parameters())) == len(
            storages(every)
        ) + 2 * len(few)
        assert all(torch.equal(dict(learner.model.named_parameters())[n], p) for n, p in before.items())
        for network in (learner.model.eval(), teacher.model):
            plain = merge_adapters(copy_network(network))
            assert not has_adapters(plain)
            assert has_adapters(network)
            torch.testing.assert_close(plain(IMAGES), network(IMAGES), rtol=1e-4, atol=1e-5)
            fresh = classifier(encoder).eval()
            fresh.load_state_dict(copied_weights(network))  # the names of a network without adapters
            torch.testing.assert_close(fresh(IMAGES), plain(IMAGES), rtol=1e-5, atol=1e-6)
            pickle.dumps(plain)


def test_layers_learn_slower_below():
    learner = Training(lr=1.0, layer_decay=0.5, adapter=st.LoRA()).learner(classifier())
    rates = {id(p): group["lr"] for group in learner.optimizer.param_groups for p in group["params"]}
    of = {n: rates[id(p)] for n, p in learner.model.named_parameters() if p.requires_grad}
    assert of["head.weight"] == 1.0
    assert of["encoder.blocks.0.mix.lora_A.default.weight"] == 0.5 ** (len(small_vit().layers()) - 1)


# -- a run -------------------------------------------------------------------------------------------------------------
def fitted(folder=None, adapter=st.LoRA(2, alpha=4), method=strategies.FutureSelfTraining, **settings):  # noqa: B008
    torch.manual_seed(0)
    make = st.learner(lambda: st.Classifier(small_vit(), 2), lr=0.02, adapter=adapter)
    pile = data.Pile.from_arrays(X, Y)
    return st.fit(method(st.Classification(2), make), pile, steps=4, plan=st.BatchPlan(4, 4), out=folder, **settings)


def test_a_run_is_resumed_opened_and_exported(tmp_path):
    whole = fitted()
    fitted(tmp_path / "run", checkpoints=st.Checkpoints(2, stop_after=2))
    run = fitted(tmp_path / "run", resume=True)
    assert same(whole.strategy.state_dict(), run.strategy.state_dict())
    again = st.open_run(tmp_path / "run")
    assert same(run.strategy.state_dict(), again.strategy.state_dict())
    teacher, student = again.strategy.teacher.model, again.strategy.student.model
    assert teacher.encoder.blocks[0].mix.base_layer.weight is student.encoder.blocks[0].mix.base_layer.weight

    x = run.pile.views("plain", run.pile.unlabeled.images(np.arange(9)), torch.arange(9), 0).x
    wanted = run.strategy.predict(x)
    next_one = st.learner(lambda: st.Classifier(small_vit(), 2), init_from=run)().model.eval()
    torch.testing.assert_close(next_one(x).softmax(1), wanted, rtol=1e-4, atol=1e-5)
    files = st.export(again, tmp_path / "files", formats=["safetensors"])
    assert json.loads(files["card"].read_text())["what"] == "classifier"
    further = st.learner(lambda: st.Classifier(small_vit(), 2), init_from=files["safetensors"], adapter=st.LoRA())()
    torch.testing.assert_close(further.model.eval()(x).softmax(1), wanted, rtol=1e-4, atol=1e-5)


def test_members_may_stand_on_different_encoders_and_adapters():
    makers = [
        st.learner(lambda: st.Classifier(small_vit(), 2), adapter=st.LoRA(2)),
        st.learner(lambda: st.Classifier(ENCODERS["conv"](), 2), adapter=st.LoRA(form="lokr")),
    ]
    with pytest.raises(ValueError, match="members is 2; .* one for each of 3 makers"):
        strategies.Ensemble(st.Classification(2), [*makers, makers[0]], members=2)
    ensemble = strategies.Ensemble(st.Classification(2), makers, members=3, decay=0.9)
    assert [type(m.model.encoder).__name__ for m in ensemble.members] == ["ViT", "ConvEncoder", "ViT"]
    run = st.fit(ensemble, data.Pile.from_arrays(X, Y), steps=2, plan=st.BatchPlan(4, 4))
    assert run.evaluate("labeled")["accuracy"] >= 0


def test_members_of_several_makers_open(tmp_path):
    make = [st.learner(lambda: st.Classifier(small_vit(), 2)), st.learner(lambda: st.Classifier(ENCODERS["conv"](), 2))]
    ensemble = strategies.Ensemble(st.Classification(2), make, members=2)
    run = st.fit(ensemble, data.Pile.from_arrays(X, Y), steps=1, plan=st.BatchPlan(4, 4), out=tmp_path)
    assert same(run.strategy.state_dict(), st.open_run(tmp_path).strategy.state_dict())


def test_an_estimator_that_was_fitted_with_adapters_has_none_left():
    training = Training(adapter=st.LoRA(2))
    model = st.SelfTrainClassifier(strategy="mean_teacher", network=small_vit, training=training, steps=2).fit(X, Y)
    assert b"peft" not in pickle.dumps(model.network_)


def test_the_command_line(tmp_path, capsys):
    np.savez(tmp_path / "set.npz", x=X, y=Y)
    words = ["train", "--data", str(tmp_path / "set.npz"), "--out", str(tmp_path / "run"), "--network", "conv"]
    words += ["--training.adapter.rank", "2", "--strategy", "mean_teacher", "--steps", "2", "--plan.labeled", "4"]
    assert main([*words, "--stop-after", "1"]) == 0, capsys.readouterr()
    assert main(["train", "--resume", "--out", str(tmp_path / "run")]) == 0, capsys.readouterr()
    assert has_adapters(st.open_run(tmp_path / "run").network)


# -- attention whose layers nobody calls -------------------------------------------------------------------------------
def test_attention_of_torch_in_closed_form():
    """In the place of each weight stands W + (alpha / rank) B A; the weight itself stays the one that others share."""
    adapter = st.LoRA(2, alpha=6.0, targets=("self_attention.in_proj_weight", "out_proj"))
    learner = Training(adapter=adapter).learner(classifier("torchvision"))
    place = "encoder.model.encoder.layers.encoder_layer_0.self_attention"
    layer, y = learner.model.get_submodule(place), torch.randn(3, 5, 8)
    chains = [layer.parametrizations.in_proj_weight, layer.out_proj.parametrizations.weight]
    few = {id(p) for p in learner.model.parameters() if p.requires_grad}
    assert few == {id(p) for part in (*(chain[0] for chain in chains), learner.model.head) for p in part.parameters()}
    kept = [(chain.original, chain.original.clone()) for chain in chains]
    learn(learner)
    assert all(torch.equal(now, before) and now.requires_grad is False for now, before in kept)
    plain, names = nn.MultiheadAttention(8, 2, batch_first=True), ("in_proj_weight", "out_proj.weight")
    changed = [w + 6.0 / 2 * chain[0].lora_B @ chain[0].lora_A for (_, w), chain in zip(kept, chains, strict=True)]
    biases = {name: p for name, p in layer.named_parameters() if name in ("in_proj_bias", "out_proj.bias")}
    plain.load_state_dict({**biases, **dict(zip(names, changed, strict=True))})
    torch.testing.assert_close(layer(y, y, y)[0], plain(y, y, y)[0])
    merged = copied_weights(learner.model)
    for name, wanted, (_, before) in zip(names, changed, kept, strict=True):
        torch.testing.assert_close(merged[f"{place}.{name}"], wanted)
        assert (wanted - before).abs().max() > 0
    assert layer.parametrizations.in_proj_weight is chains[0]  # the copy is merged, not the network


def test_a_layer_of_torchs_transformer_sees_its_adapters_at_rest_too():
    """Its short cut for evaluation reads the weights of layers without calling them."""
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.TransformerEncoderLayer(8, 2, 16, 0.0, batch_first=True), nn.Flatten())
    encoder.embed_dim = 16
    learner, x = Training(adapter=st.LoRA(2), lr=0.1).learner(st.Classifier(encoder, 2)), torch.randn(3, 2, 8)
    before = learner.model.encoder(x)
    learner.update(learner(x).square().sum())
    network = learner.model.eval()
    slow, few = network(x), [n for n, p in network.named_parameters() if p.requires_grad and "encoder" in n]
    assert any("self_attn" in name for name in few)
    assert any("linear1" in name for name in few)
    assert (network.encoder(x) - before).abs().max() > 0.01
    with torch.no_grad():
        torch.testing.assert_close(network(x), slow)


@pytest.mark.filterwarnings("ignore:.* is trusted:UserWarning")
@pytest.mark.parametrize("method", [strategies.FutureSelfTraining, strategies.Ensemble])
def test_a_run_with_adapters_in_attention(method, tmp_path):
    torch.manual_seed(0)
    make = st.learner(lambda: st.Classifier(Attending(), 2), lr=0.02, adapter=st.LoRA(2))
    pile = data.Pile.from_arrays(X, Y)
    run = st.fit(method(st.Classification(2), make), pile, steps=2, plan=st.BatchPlan(4, 4), out=tmp_path / "run")
    x = run.pile.views("plain", run.pile.unlabeled.images(np.arange(9)), torch.arange(9), 0).x
    wanted = run.strategy.predict(x)
    assert same(run.strategy.state_dict(), st.open_run(tmp_path / "run", trust=True).strategy.state_dict())
    shipped = classifier("attending").eval()
    if method is not strategies.Ensemble:
        shipped.load_state_dict(run.export())
        torch.testing.assert_close(shipped(x).softmax(1), wanted, rtol=1e-4, atol=1e-5)


# -- refused -----------------------------------------------------------------------------------------------------------
def test_without_peft_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ImportError, match=r"adapters need peft .* pip install 'selftrain\[peft\]'"):
        Training(adapter=st.LoRA()).learner(classifier())


def test_what_cannot_get_an_adapter_says_so():
    with pytest.raises(ValueError, match=r"Sequential has none; build it as Classifier\(encoder, classes\)"):
        Training(adapter=st.LoRA()).learner(nn.Sequential(nn.Linear(3, 2)))
    with pytest.raises(ValueError, match=r"no layers that end in 'q'; set targets .* such as \['tokenizer.embed"):
        Training(adapter=st.LoRA(targets=("join", "q"))).learner(classifier())
    learner = Training(adapter=st.LoRA(targets=("join", "blocks.0.mix"))).learner(classifier())
    names = {n.partition(".lora")[0] for n, p in learner.model.named_parameters() if "lora" in n and p.requires_grad}
    assert names == {"encoder.blocks.0.join", "encoder.blocks.0.mix"}
    with pytest.raises(ValueError, match="no layers that take one"):
        Training(adapter=st.LoRA(form="dora")).learner(classifier("timm conv"))
    for settings in ({"dropout": 0.1}, {"form": "lokr"}):  # and with what is asked for it takes one, as above
        with pytest.raises(ValueError, match="in_proj_weight is read without .* takes form='lora' with dropout=0; set"):
            Training(adapter=st.LoRA(targets=("in_proj_weight",), **settings)).learner(classifier("torchvision"))
    for targets in (("in_proj_weight",), ("mlp.0",)):  # as is asked for, and without it
        settings = {} if targets[0] == "in_proj_weight" else {"dropout": 0.1}
        Training(adapter=st.LoRA(targets=targets, **settings)).learner(classifier("torchvision"))
    with pytest.raises(ValueError, match="encoder_lr is 0"):
        Training(encoder_lr=0.0, adapter=st.LoRA())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rank": 0}, "rank is 0"),
        ({"alpha": 0.0}, "alpha is 0.0"),
        ({"dropout": 1.0}, "dropout of an adapter is 1.0"),
        ({"form": "ia3"}, "form is 'ia3'; choose one of lora, dora, loha, lokr"),
    ],
)
def test_settings_out_of_range(settings, message):
    with pytest.raises(ValueError, match=message):
        st.LoRA(**settings)
