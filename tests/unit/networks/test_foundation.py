"""Encoders with weights of others: found, loaded whole, described, refused; and what ``frozen`` means."""

from __future__ import annotations

import json
import pickle
import warnings

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import selftrain as st
from selftrain import data, pretrain, strategies
from selftrain.networks import hub
from selftrain.networks.by_name import DenseEncoder
from selftrain.networks.foundation import Foundation, TimmNet, TransformersNet

timm = pytest.importorskip("timm")
ARCHITECTURE = "resnet10t"


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file of weights of timm with a head of 7 classes, and its network."""
    torch.manual_seed(0)
    model = timm.create_model(ARCHITECTURE, num_classes=7).eval()
    path = tmp_path_factory.mktemp("weights") / "model.safetensors"
    save_file(model.state_dict(), path)
    return path, model


@pytest.fixture(scope="module")
def encoder(weights):
    return st.pretrained(f"{ARCHITECTURE}@{weights[0]}", size=32, frozen=True)


def pictures(count=24, seed=0):
    rng = np.random.RandomState(seed)
    x, y = rng.rand(count, 1, 16, 16).astype(np.float32), np.arange(count) % 2
    x[y == 1, :, :8] = (x[y == 1, :, :8] + 0.5).clip(0, 1)
    return x, np.where(np.arange(count) < 8, y, -1), y


def made(network, **settings):
    return strategies.MeanTeacher(st.Classification(2), st.learner(network, **settings))


def test_features_are_those_of_timm_and_the_card_is_its_card(weights, encoder):
    path, model = weights
    x = torch.rand(3, 3, 32, 32)
    with torch.no_grad():
        expected = model.forward_head(model.forward_features(x), pre_logits=True)
    torch.testing.assert_close(encoder(x), expected)
    assert (encoder.embed_dim, encoder.size, encoder.modality) == (512, 32, "image")
    assert tuple(encoder.mean) == model.pretrained_cfg["mean"]
    assert tuple(encoder.std) == model.pretrained_cfg["std"]
    assert st.pretrained(f"timm/{ARCHITECTURE}@{path}").size == model.pretrained_cfg["input_size"][-1]


def test_a_file_of_torch_gives_the_same_as_one_of_safetensors(weights, encoder, tmp_path):
    torch.save({"state_dict": weights[1].state_dict()}, tmp_path / "model.pth")
    assert st.pretrained(f"{ARCHITECTURE}@{tmp_path / 'model.pth'}", size=32).key() == encoder.key()


class Opens:
    """What a pickle of a stranger may do."""

    def __reduce__(self):
        return open, ("opened", "w")


def test_nothing_but_tensors_is_unpickled(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.pth").write_bytes(pickle.dumps(Opens()))
    torch.save(Opens(), tmp_path / "worse.pth")
    for name in ("bad.pth", "worse.pth"):
        with pytest.raises(st.CheckpointError, match="safetensors|cannot read"):
            st.pretrained(f"{ARCHITECTURE}@{name}")
    assert not (tmp_path / "opened").exists()


def test_gray_pictures_are_seen_as_gray_pictures_of_three_channels(encoder):
    gray = torch.rand(2, 1, 20, 20)
    card = encoder.card((1, 20, 20))
    seen = (gray - card["mean"][0]) / card["std"][0]
    mean, std = (torch.tensor(v)[:, None, None] for v in (encoder.mean, encoder.std))
    torch.testing.assert_close(encoder(seen), encoder((gray.expand(-1, 3, -1, -1) - mean) / std), rtol=1e-4, atol=1e-4)


def test_vision_transformers_are_built_for_the_size(tmp_path):
    model = timm.create_model("vit_tiny_patch16_224", img_size=64, depth=1)
    save_file(model.state_dict(), tmp_path / "shallow.safetensors")
    with pytest.raises(st.CheckpointError, match="do not fit vit_tiny_patch16_224"):
        st.pretrained(f"vit_tiny_patch16_224@{tmp_path / 'shallow.safetensors'}")
    save_file(timm.create_model("vit_tiny_patch16_224", img_size=64).state_dict(), tmp_path / "v.safetensors")
    found = st.pretrained(f"vit_tiny_patch16_224@{tmp_path / 'v.safetensors'}", size=32)
    assert found(torch.rand(1, 3, 40, 40)).shape == (1, 192)
    assert len(found.layers()) == 14  # patches, 12 blocks, norm


def test_torchvision_and_its_card(tmp_path):
    from torchvision import models

    model = models.mobilenet_v3_small().eval()
    save_file(model.state_dict(), tmp_path / "tv.safetensors")
    found = st.pretrained(f"torchvision/mobilenet_v3_small@{tmp_path / 'tv.safetensors'}", size=32)
    x = torch.rand(2, 3, 32, 32)
    model.classifier[3] = nn.Identity()
    torch.testing.assert_close(found(x), model(x))
    steps = models.MobileNet_V3_Small_Weights.DEFAULT.transforms()
    assert (found.mean, found.std, found.interpolation) == (steps.mean, steps.std, "bilinear")
    with pytest.raises(st.CheckpointError, match="do not fit mnasnet0_5"):
        st.pretrained(f"torchvision/mnasnet0_5@{tmp_path / 'tv.safetensors'}")


def test_a_folder_of_timm(weights, tmp_path):
    config = {
        "architecture": ARCHITECTURE,
        "pretrained_cfg": {"mean": [0.1] * 3, "std": [0.2] * 3, "input_size": [3, 48, 48]},
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(st.CheckpointError, match="no model.safetensors"):
        st.pretrained(tmp_path)
    save_file(weights[1].state_dict(), tmp_path / "model.safetensors")
    for place in (tmp_path / "model.safetensors", str(tmp_path)):
        found = st.pretrained(place)
        assert (found.size, found.mean) == (48, [0.1] * 3)


@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        ("resnet18", st.CheckpointError, r"not on this machine .*download=True.*resnet18@FILE"),
        ("torchvision/resnet18", st.CheckpointError, r"torchvision/resnet18@FILE"),
        ("resnet10y", ValueError, "do you mean resnet10t"),
        ("hf-hub:timm/resnet18", ValueError, "no network, folder or file"),
        ("local-dir:/tmp", ValueError, "no network, folder or file"),
        ("resnet18@nowhere.pth", st.CheckpointError, "no file nowhere.pth"),
        ("./nowhere", st.CheckpointError, "there is no nowhere"),
        ("nowhere.safetensors", st.CheckpointError, "there is no nowhere"),
    ],
)
def test_what_is_not_there_is_told_with_a_remedy(name, error, words, monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(hub, "_from_hub", lambda *_: None)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=words):
        st.pretrained(name)


def test_weights_that_were_fetched_before_are_found(weights, encoder, monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(hub, "_from_hub", lambda *_: None)
    url = timm.get_pretrained_cfg(ARCHITECTURE).url or "https://example.org/resnet10t-0.pth"
    place = tmp_path / "hub" / "checkpoints" / url.rpartition("/")[2]
    place.parent.mkdir(parents=True)
    torch.save(weights[1].state_dict(), place)
    assert st.pretrained(ARCHITECTURE, size=32).key() == encoder.key()


def test_weights_alone_do_not_say_their_network_and_the_remedy_works(weights, tmp_path):
    path = tmp_path / "own.safetensors"
    path.write_bytes(weights[0].read_bytes())
    with pytest.raises(st.CheckpointError, match="ARCHITECTURE@"):
        st.pretrained(path)
    assert st.pretrained(f"{ARCHITECTURE}@{path}", size=32).embed_dim == 512


def test_frozen_is_frozen(encoder):
    x, y, _ = pictures()
    pile = data.Pile.from_arrays(x, y).normalized_as(encoder)
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    for mode in ("batch", "train"):
        strategy = strategies.FixMatch(
            st.Classification(2), st.learner(st.Classifier(encoder, 2), lr=0.1), label_mode=mode
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            st.fit(strategy, pile, steps=1, plan=st.BatchPlan(labeled=4))
        network = strategy.student.model
        network.train()
        assert not any(part.training for part in network.encoder.modules())
        assert not any(weight.requires_grad for weight in network.encoder.parameters())
        assert all(torch.equal(value, before[name]) for name, value in network.encoder.state_dict().items())


def test_one_that_is_not_frozen_learns(weights):
    found = st.pretrained(f"{ARCHITECTURE}@{weights[0]}", size=32)
    strategy = made(st.Classifier(found, 2), lr=0.01, layer_decay=0.75)
    x, y, _ = pictures()
    st.fit(strategy, data.Pile.from_arrays(x, y).normalized_as(found), steps=1, plan=st.BatchPlan(labeled=4))
    own = dict(strategy.student.model.encoder.named_parameters())
    assert all(not torch.equal(own[name], value) for name, value in found.named_parameters() if value.dim() == 4)


@pytest.mark.slow
def test_a_run_is_opened_resumed_exported_and_started_from(encoder, tmp_path):
    x, y, _ = pictures()
    pile, out = data.Pile.from_arrays(x, y).normalized_as(encoder), tmp_path / "run"
    plan = st.BatchPlan(labeled=4)
    network = st.Classifier(encoder, 2)
    whole = st.fit(made(network), pile, steps=2, plan=plan)
    st.fit(made(network), pile, out=out, steps=2, plan=plan, checkpoints=st.Checkpoints(stop_after=1))
    again = st.fit(made(network), pile, out=out, steps=2, plan=plan, resume=True)
    expected = {k: v for k, v in whole.strategy.state_dict().items() if isinstance(v, torch.Tensor)}
    assert all(torch.equal(again.strategy.state_dict()[name], value) for name, value in expected.items())
    opened = st.open_run(out, pile=pile)
    assert opened.network.encoder.frozen
    assert opened.network.encoder.name == encoder.name
    st.export(opened, tmp_path / "files")
    for place in (out, out / "export.safetensors"):
        start = st.pretrained(place)
        assert (start.key(), start.size, start.frozen) == (encoder.key(), 32, False)


def test_inputs_of_another_normalization_are_told_and_the_remedy_works(encoder):
    x, y, _ = pictures()
    pile = data.Pile.from_arrays(x, y)
    with pytest.warns(UserWarning, match=r"pile.normalized_as\(encoder\)"):
        st.fit(made(st.Classifier(encoder, 2)), pile, steps=1, plan=st.BatchPlan(labeled=4))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        st.fit(made(st.Classifier(encoder, 2)), pile.normalized_as(encoder), steps=1, plan=st.BatchPlan(labeled=4))


def test_own_stages_come_through_the_same_door(tmp_path):
    x, y, _ = pictures()
    pile = data.Pile.from_arrays(x, y)
    stage = st.fit(
        pretrain.MAE(pretrain.ViT(size=16, patch=4, channels=1, depth=1)), pile, out=tmp_path / "mae", steps=1
    )
    found = st.pretrained(tmp_path / "mae")
    seen = torch.rand(2, 1, 16, 16)
    torch.testing.assert_close(found(seen), stage.network.eval()(seen))
    assert (found.size, found.modality, found.mean) == (16, "image", pile.card()["mean"])
    rows = data.Pile.from_arrays(np.random.RandomState(0).rand(30, 5), y=np.full(30, -1))
    st.fit(pretrain.VICReg(DenseEncoder(5)), rows, out=tmp_path / "rows", steps=1)
    table = st.pretrained(tmp_path / "rows")
    assert (table.modality, table.embed_dim, table.size) == ("table", 128, None)
    assert rows.normalized_as(table).card()["mean"] == rows.card()["mean"]


def test_a_record_builds_no_network_that_is_fetched():
    for name in ("hf-hub:timm/resnet18", "local-dir:/tmp", "../resnet18", "resnet18/x"):
        with pytest.raises(ValueError, match="timm has no network"):
            TimmNet(name)


@pytest.mark.slow
def test_the_estimator_normalizes_as_the_encoder_has_learned(encoder):
    x, y, truth = pictures()
    model = st.SelfTrainClassifier(network=encoder, steps=2, random_state=0, strategy="fixmatch").fit(x, y)
    assert model.views_.mean.flatten().tolist() == pytest.approx(encoder.card((1, 16, 16))["mean"])
    assert model.transform(x).shape == (24, 512)


def test_an_encoder_of_pictures_reads_no_text(encoder):
    with pytest.raises(ValueError, match="reads image data and no text"):
        encoder.encode(["a"])
    body = nn.Identity()
    with pytest.raises(ValueError, match=r"selftrain.pretrained\(folder\)"):
        Foundation(body, embed_dim=3, modality="text").encode(["a"])


CODE = """
from torch import nn
from transformers import PreTrainedModel, ViTConfig
from transformers.modeling_outputs import BaseModelOutput


class Model(PreTrainedModel):
    config_class = ViTConfig

    def __init__(self, config):
        super().__init__(config)
        self.inner = nn.Linear(3, 3)
        self.post_init()

    def forward(self, pixel_values, **more):
        return BaseModelOutput(last_hidden_state=self.inner(pixel_values.mean((2, 3)))[:, None])
"""


@pytest.mark.slow
def test_folders_of_transformers(tmp_path, monkeypatch):
    transformers = pytest.importorskip("transformers")
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    torch.manual_seed(0)
    config = transformers.ViTConfig(**small, image_size=32, patch_size=8)
    model = transformers.ViTForImageClassification(config).eval()
    config.save_pretrained(tmp_path)
    with pytest.raises(st.CheckpointError, match=r"transformers, save_pretrained\(folder\)"):
        st.pretrained(tmp_path)
    model.save_pretrained(tmp_path)
    with pytest.raises(st.CheckpointError, match="neither preprocessor_config.json nor a tokenizer"):
        st.pretrained(tmp_path)
    card = {
        "image_mean": [0.5] * 3,
        "image_std": [0.25] * 3,
        "size": {"height": 32, "width": 32},
        "rescale_factor": 1 / 127.5,
    }
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(card))
    found = st.pretrained(tmp_path)
    x = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(found(x), model.vit(x).last_hidden_state[:, 0])
    # 127.5 * pixel is 2 * pixel in [0, 1]: (2 p - 0.5) / 0.25 = (p - 0.25) / 0.125
    assert (found.size, found.mean, found.std) == (32, [0.25] * 3, [0.125] * 3)
    body = TransformersNet(**found.body.arguments)
    body.load_state_dict(found.body.state_dict())
    torch.testing.assert_close(body.eval()(x), found(x))
    whole = load_file(tmp_path / "model.safetensors")
    dropped = next(name for name in whole if "layernorm" in name)
    rest = {name: value for name, value in whole.items() if name != dropped}
    save_file(rest, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(st.CheckpointError, match="lacks weights of its own model, such as .*layernorm"):
        st.pretrained(tmp_path)
    save_file(whole, tmp_path / "model.safetensors", {"format": "pt"})
    torch.testing.assert_close(st.pretrained(tmp_path)(x), found(x))
    for other, words in (
        ({"model_type": "nothing"}, "has no model of the kind 'nothing'; update it, or take another model"),
        ({"model_type": "vit", "backbone": "resnet50"}, "vit has a part that is fetched from elsewhere"),
    ):
        with pytest.raises(ValueError, match=words):
            TransformersNet(other)
    code = json.loads((tmp_path / "config.json").read_text()) | {"auto_map": {"AutoModel": "code.Model"}}
    (tmp_path / "config.json").write_text(json.dumps(code))
    with pytest.raises(ValueError, match="trust=True"):
        st.pretrained(tmp_path)
    with pytest.raises(ValueError, match="trust=True"):
        TransformersNet(code)
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    (tmp_path / "code.py").write_text(CODE)
    save_file(
        {"inner.weight": torch.eye(3), "inner.bias": torch.zeros(3)}, tmp_path / "model.safetensors", {"format": "pt"}
    )
    torch.testing.assert_close(st.pretrained(tmp_path, trust=True)(x), x.mean((2, 3)))


@pytest.mark.slow
def test_texts_are_the_mean_of_their_tokens_and_no_padding(tmp_path):
    transformers = pytest.importorskip("transformers")
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad", "news", "today"]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    transformers.BertTokenizer(str(tmp_path / "vocab.txt")).save_pretrained(tmp_path)
    torch.manual_seed(0)
    model = transformers.BertModel(transformers.BertConfig(**small, vocab_size=9)).eval()
    model.save_pretrained(tmp_path)
    found = st.pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"load it with selftrain.pretrained\(folder\)"):
        Foundation(found.body, embed_dim=16, modality="text").encode(["good"])
    texts = ["good news today good news", "bad"]
    features = found.encode(texts)
    alone = model(torch.tensor([[2, 6, 3]])).last_hidden_state[0].mean(0)
    torch.testing.assert_close(features[1], alone)
    assert features.shape == (2, 16)
    (tmp_path / "1_Pooling").mkdir()
    for way in ("max", "mean"):
        card = {f"pooling_mode_{name}_tokens": name == way for name in ("max", "mean")}
        (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps(card))
        if way == "max":
            with pytest.raises(ValueError, match="pools its tokens in a way that is not known here"):
                st.pretrained(tmp_path)
    (tmp_path / "modules.json").write_text(json.dumps([{"type": "sentence_transformers.models.Normalize"}]))
    torch.testing.assert_close(st.pretrained(tmp_path).encode(texts), nn.functional.normalize(features))


@pytest.mark.slow
def test_the_estimator_learns_a_head_on_stored_features(weights, tmp_path):
    frozen = st.pretrained(f"{ARCHITECTURE}@{weights[0]}", size=32, frozen=True, cache=tmp_path)
    x, y, truth = pictures()
    model = st.SelfTrainClassifier(network=frozen, steps=30, random_state=0).fit(x, y)
    assert len(list(tmp_path.glob("*.npy"))) == 1
    again = st.SelfTrainClassifier(network=frozen, steps=30, random_state=0).fit(x, y)
    assert np.array_equal(model.predict_proba(x), again.predict_proba(x))
    assert model.transform(x).shape == (24, 512)
    features = torch.from_numpy(x) - model.views_.mean.reshape(1, 1, 1, 1)
    expected = frozen((features / model.views_.std.reshape(1, 1, 1, 1)).float())
    torch.testing.assert_close(torch.from_numpy(model.transform(x)).float(), expected, rtol=1e-3, atol=1e-3)
    assert np.array_equal(pickle.loads(pickle.dumps(model)).predict(x), model.predict(x))
