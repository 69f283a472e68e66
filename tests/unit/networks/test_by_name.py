"""Architectures of timm and torchvision by name, at every door that takes a network."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import selftrain as st
from selftrain import data, pretrain
from selftrain.cli import main as cli
from selftrain.estimator import SelfTrainClassifier
from selftrain.networks.by_name import make_encoder, make_network, network_name
from selftrain.networks.timm import ConvNetEncoder, FeatureEncoder, TimmEncoder

timm = pytest.importorskip("timm")
LARGE = (3, 64, 96)


@pytest.mark.parametrize(
    ("name", "shape", "kind", "masked"),
    [
        ("timm/test_resnet", LARGE, ConvNetEncoder, True),
        ("timm/test_resnet", (1, 16, 16), FeatureEncoder, False),
        ("timm/test_vit", (1, 64, 96), TimmEncoder, True),
        ("torchvision/mobilenet_v3_small", LARGE, ConvNetEncoder, True),
        ("resnet", (1, 12, 12), FeatureEncoder, False),
        ("resnet", LARGE, ConvNetEncoder, True),
    ],
)
def test_a_name_is_an_encoder_for_the_images(name, shape, kind, masked):
    encoder = make_encoder(name, "image", shape, masked=masked)
    assert isinstance(encoder, kind)
    assert encoder(torch.rand(2, *shape)).shape == (2, encoder.embed_dim)
    if masked:
        assert encoder.tokens(torch.rand(2, *shape)).shape == (2, np.prod(encoder.grid), encoder.token_dim)


@pytest.mark.parametrize(
    ("name", "shape", "words"),
    [
        ("timm/test_vit", (3, 70, 70), r"timm/test_vit does not take images of shape \(3, 70, 70\).*another size="),
        ("timm/nothing", LARGE, "timm has no network 'nothing'"),
        ("resnet18", LARGE, "known are auto, conv, vit, resnet, unet, timm/NAME, torchvision/NAME"),
    ],
)
def test_what_cannot_be_taken_is_refused_by_name(name, shape, words):
    with pytest.raises(ValueError, match=words):
        make_network(name, "image", shape, 2)
    make_network("timm/test_vit", "image", (3, 64, 64), 2)
    make_network("torchvision/mobilenet_v3_small", "image", (3, 70, 70), 2)


def test_patches_of_large_pictures_have_16_pixels():
    grids = {28: (7, 7), 96: (8, 8), 128: (8, 8), 224: (14, 14), 512: (16, 16)}
    assert {side: make_encoder("vit", "image", (3, side, side)).grid for side in grids} == grids
    assert [network_name("auto", "image", (3, side, side)) for side in (28, 224)] == ["conv", "vit"]


def test_python_the_estimator_and_the_command_line_take_names(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    x, y = np.random.RandomState(0).rand(12, 3, 64, 64).astype(np.float32), np.arange(12) % 2
    hidden = np.where(np.arange(12) < 6, y, -1)
    model = SelfTrainClassifier(network="timm/test_resnet", kind="image", strategy="fixmatch", steps=1, batch_size=4)
    assert model.fit(x, hidden).predict(x).shape == (12,)
    pile = data.Pile.from_arrays(x, hidden)
    stage = pretrain.CNNJEPA(make_encoder("timm/test_resnet", "image", (3, 64, 64), masked=True))
    st.fit(stage, pile, out="runs/stage", steps=1, plan=st.BatchPlan(labeled=4))
    assert isinstance(st.open_run("runs/stage").network, ConvNetEncoder)  # built anew from what the folder says
    plain = timm.create_model("test_resnet", num_classes=0).state_dict()
    save_file(plain, "plain.safetensors")
    np.savez("a.npz", x=x, y=hidden)
    line = ["train", "--data", "a.npz", "--strategy", "supervised", "--steps", "1", "--plan.labeled", "4"]
    assert cli.main([*line, "--network", "timm/test_resnet", "--init_from", "plain.safetensors", "--out", "b"]) == 0
    assert cli.main([*line, "--init_from", "runs/stage", "--network", "timm/test_resnet", "--out", "c"]) == 0
    assert cli.main([*line, "--network", "timm/nothing", "--out", "d"]) != 0
    assert "timm has no network 'nothing'" in capsys.readouterr().err
