"""Networks that answer in places: their sizes and maps, what stages fill in them, and names at every door."""

import numpy as np
import pytest
import torch
from torch import nn
from torchvision import models

import selftrain as st
from selftrain import pretrain, strategies
from selftrain.cli.main import main as cli
from selftrain.data import ArraySet, Pile
from selftrain.networks import ConvEncoder, PoseNet, Segmenter, UNet, UNetEncoder
from selftrain.networks.by_name import make_encoder, make_network
from selftrain.networks.dense import HEADS
from selftrain.networks.foundation import Foundation, TorchvisionNet
from selftrain.networks.timm import ConvNetEncoder, TimmEncoder
from selftrain.networks.vit import ViT

SHAPE = (3, 32, 48)
QUIET = {"plan": st.BatchPlan(labeled=2, unlabeled_ratio=1), "device": None, "handlers": ()}


def resnet():
    return models.ResNet(models.resnet.BasicBlock, [1, 1, 1, 1])


def encoders():
    timm = pytest.importorskip("timm")
    return {
        "conv": ConvEncoder(SHAPE[1:], 3, widths=(4, 8)),
        "vit": ViT(SHAPE[1:], 8, 3, width=16, depth=1),
        "unet": UNetEncoder(SHAPE[1:], widths=(4, 8)),
        "wrapped": ConvNetEncoder(timm.create_model("test_resnet", num_classes=0), (3, 64, 96)),
        "timm_vit": TimmEncoder(timm.create_model("test_vit", img_size=SHAPE[1:], patch_size=8)),
        "maps": timm.create_model("test_resnet", features_only=True),
    }


def test_each_head_answers_in_every_pixel_and_cell_of_each_encoder():
    for number, (name, encoder) in enumerate(encoders().items()):
        x = torch.rand(2, *getattr(encoder, "shape", SHAPE))
        for head in HEADS:
            assert Segmenter(encoder, 5, head=head)(x).shape == (2, 5, *x.shape[2:]), (name, head)
        head, cells = HEADS[number % 4], (x.shape[2] // 2, x.shape[3] // 2)
        pose = PoseNet(encoder, 4, head=head, size=cells)
        assert pose(x).shape == (2, 4, *cells), (name, head)
        pose(x).square().sum().backward()  # all that the head holds learns
        assert all(p.grad is not None and p.grad.any() for p in pose.head.parameters()), (name, head)
    with pytest.raises(ValueError, match="head is 'fnc'; choose one of"):
        Segmenter(resnet(), 5, head="fnc")


def test_levels_answer_from_the_coarsest_maps_beside_the_head():
    encoder, x = UNetEncoder(SHAPE[1:], widths=(4, 8, 12)), torch.rand(2, *SHAPE)
    pose = PoseNet(encoder, 4, size=(8, 12), levels=3)
    torch.manual_seed(0)
    said = pose(x)
    assert [level.shape for level in (said["logits"], *said["aux"])] == [(2, 4, 8, 12)] * 3
    maps = encoder.maps(x)
    for head, level, one in zip(pose.level_heads, said["aux"], maps[::-1], strict=False):
        small = torch.einsum("bchw,oc->bohw", one, head.weight[:, :, 0, 0]) + head.bias.view(1, -1, 1, 1)
        wanted = nn.functional.interpolate(small, (8, 12), mode="bilinear", align_corners=False)
        assert torch.allclose(level, wanted, atol=1e-5)
    plain = PoseNet(encoder, 4, size=(8, 12))
    plain.load_state_dict({n: v for n, v in pose.state_dict().items() if not n.startswith("level_heads")})
    assert torch.allclose(plain.eval()(x), pose.eval()(x)["logits"])
    assert [len(Segmenter(ViT(SHAPE[1:], 8, 3, width=16, depth=1), 5, levels=2)(x)["aux"])] == [1]
    for levels in (0, 5):
        with pytest.raises(ValueError, match=f"levels is {levels}; with 3 maps of the encoder choose 1 to 4"):
            PoseNet(encoder, 4, levels=levels)


def test_a_unet_is_small_and_takes_any_size():
    assert sum(weight.numel() for weight in UNet(11).parameters()) == 338_059
    net = UNet(2, 1, widths=(4, 6, 8)).eval()
    for side in ((33, 47), (90, 120)):
        assert net(torch.rand(1, 1, *side)).shape == (1, 2, *side)
    x = torch.rand(1, 1, 64, 64)
    here, moved = (net(one)[..., 28:36, 28:36] for one in (x, x.roll((4, 4), (2, 3))))
    there = net(x)[..., 24:32, 24:32]
    assert torch.allclose(moved, there, atol=1e-5)  # an answer moves with what it is of
    assert not torch.allclose(moved, here, atol=1e-5)
    with pytest.raises(ValueError, match="a side must have 8 pixels at least"):
        UNetEncoder((4, 8))


def test_maps_are_those_of_the_stages_of_a_network():
    timm = pytest.importorskip("timm")
    x, given = torch.rand(2, 3, 64, 64), timm.create_model("test_resnet", features_only=True).eval()
    found = Segmenter(given, 2).maps(x)
    assert all(torch.equal(*both) for both in zip(found, given(x), strict=True))
    plain = resnet().eval()
    maps = Segmenter(plain, 2).eval().maps(x)
    stem = plain.relu(plain.bn1(plain.conv1(x)))
    first = plain.layer1(plain.maxpool(stem))
    assert torch.equal(maps[0], stem)
    assert torch.equal(maps[1], first)
    assert len(maps) == 5
    assert torch.equal(maps[-1], plain.layer4(plain.layer3(plain.layer2(first))))
    vit = ViT((16, 24), 8, width=16, depth=1).eval()
    tokens, (only,) = vit.tokens(x[:, :1, :16, :24]), Segmenter(vit, 2).maps(x[:, :1, :16, :24])
    assert torch.equal(only[:, :, 0, 2], tokens[:, 2])  # first row, third column of 2 x 3
    last = timm.create_model("test_vit3", num_classes=0, img_size=32)
    with pytest.raises(ValueError, match="has no maps for pictures"):
        Segmenter(last, 2, shape=(3, 32, 32))
    Segmenter(TimmEncoder(last), 2)
    channels_last = nn.Module()
    channels_last.stem, channels_last.feature_info = nn.Conv2d(3, 6, 4, 4), type("I", (), {"channels": lambda _: [6]})()
    channels_last.forward = lambda x: [channels_last.stem(x).movedim(1, -1)]
    assert Segmenter(channels_last, 2).maps(x)[0].shape == (2, 6, 16, 16)
    body = Foundation(TorchvisionNet("resnet18"), embed_dim=512, size=64, frozen=True)
    net = Segmenter(body, 2)
    assert net(torch.rand(2, 3, 40, 30)).shape == (2, 2, 40, 30)
    assert not any(p.requires_grad for p in net.encoder.parameters())
    assert not net.train().encoder.training
    with pytest.raises(ValueError, match=r"inputs are \(7,\)"):
        Segmenter(nn.Linear(7, 7), 2, shape=(7,))


@pytest.mark.parametrize("name", ["unet", "vit", "conv"])
def test_a_stage_fills_the_encoder_in_one_line_and_depth_has_rates(name):
    encoder = make_encoder(name, "image", (1, 16, 16))
    x = np.random.RandomState(0).rand(8, 1, 16, 16).astype(np.float32)
    pile = Pile(ArraySet(x, torch.zeros(8, 16, 16).long()), ArraySet(x))
    stage = st.fit(pretrain.MAE(encoder), pile, steps=1, **QUIET)
    make = st.learner(
        lambda: Segmenter(make_encoder(name, "image", (1, 16, 16)), 2),
        init_from=stage,
        encoder_lr=0.1,
        layer_decay=0.5,
    )
    student = make()
    handed = stage.export()
    assert handed
    assert all(torch.equal(student.model.state_dict()[key], value) for key, value in handed.items())
    rates = {group["lr"] for group in student.optimizer.param_groups}
    assert max(rates) == 1e-3
    assert min(rates) == pytest.approx(1e-4 * 0.5 ** len(encoder.layers()))


@pytest.fixture(scope="module")
def masks():
    x = np.random.RandomState(0).rand(8, 1, 16, 16).astype(np.float32)
    return Pile(ArraySet(x, torch.tensor(x[:, 0] > 0.5).long()), ArraySet(x), classes=["dark", "bright"])


def test_by_name_masks_get_a_unet_and_its_stage(masks, tmp_path, capsys):
    run = st.fit("fixmatch", masks, pretrain="mae", steps=1, out=tmp_path / "run", plan=QUIET["plan"], device=None)
    assert "network    unet" in capsys.readouterr().err
    assert isinstance(run.network, Segmenter)
    assert isinstance(run.network.encoder, UNetEncoder)
    again = st.open_run(tmp_path / "run")
    x = np.random.RandomState(1).rand(3, 1, 16, 16).astype(np.float32)
    assert np.array_equal(again.predict(x), run.predict(x))
    card = {"embed_dim": 512, "size": 32, "mean": [0.5] * 3, "std": [0.2] * 3}
    frozen = Foundation(TorchvisionNet("resnet18"), **card, frozen=True)
    with pytest.raises(ValueError, match="features are of whole pictures.*pretrained:NAME"):
        st.fit("fixmatch", masks, pretrain=frozen, steps=1, **QUIET)
    learning = Foundation(TorchvisionNet("resnet18"), **card)
    run = st.fit("supervised", masks, pretrain=learning, steps=1, **QUIET)
    assert isinstance(run.network, Segmenter)
    assert isinstance(run.network.encoder, Foundation)


@pytest.mark.parametrize(
    ("name", "sites", "kind", "head"),
    [
        ("deeplab/torchvision/resnet18", (64, 64), Segmenter, "_DeepLabHead"),
        ("vit", (64, 64), Segmenter, "_UNetHead"),
        ("simple_baseline/conv", (32, 32), PoseNet, "_DeconvHead"),
        ("auto", (16, 16), PoseNet, "_UNetHead"),
        ("fcn/auto", (64, 64), Segmenter, "_FCNHead"),
    ],
)
def test_names_of_heads_and_encoders(name, sites, kind, head):
    net = make_network(name, "image", (3, 64, 64), 3, sites=sites)
    assert (type(net), type(net.head).__name__) == (kind, head)
    assert net(torch.rand(2, 3, 64, 64)).shape == (2, 3, *sites)
    with pytest.raises(ValueError, match="known are auto, conv, .*, and unet, deeplab, .* with a / before each"):
        make_network("deeplabel/conv", "image", (3, 64, 64), 3, sites=sites)


def test_the_command_line_takes_names_for_masks_and_joints(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    x = np.random.RandomState(0).rand(12, 1, 16, 16).astype(np.float32)
    joints = np.concatenate([np.full((12, 2, 2), 5.0), np.ones((12, 2, 1))], 2).astype(np.float32)
    joints[6:, :, 2] = 0
    np.savez("joints.npz", x=x, y=joints)
    np.savez("masks.npz", x=x, y=np.where(np.arange(12)[:, None, None] < 6, x[:, 0] > 0.5, -1))
    words = ["--strategy", "supervised", "--steps", "1", "--plan.labeled", "2"]
    for data, network in (("masks", "fcn/conv"), ("joints", "auto")):
        out = f"runs/{data}"
        assert cli(["train", "--data", f"{data}.npz", *words, "--network", network, "--out", out]) == 0
        assert st.open_run(out).predict(x[:2]).shape[0] == 2
    assert isinstance(st.open_run("runs/masks").network.encoder, ConvEncoder)


def test_a_strategy_trains_them_and_all_of_the_network_learns(masks):
    make = st.learner(lambda: Segmenter(ViT(16, 4, width=16, depth=1), 2))
    run = st.fit(strategies.MeanTeacher(st.Segmentation(2), make), masks, steps=2, **QUIET)
    before = make().model.state_dict()
    assert all(torch.isfinite(value).all() for value in run.export().values())
    assert before.keys() == run.export().keys()


def test_networks_of_segmentation_models_are_taken_as_they_are(masks):
    smp = pytest.importorskip("segmentation_models_pytorch")
    make = st.learner(lambda: smp.Unet("resnet18", encoder_weights=None, in_channels=1, classes=2, encoder_depth=3,
                                       decoder_channels=(32, 16, 8)), encoder_lr=0.1)  # fmt: skip
    run = st.fit(strategies.FixMatch(st.Segmentation(2), make), masks, steps=1, **QUIET)
    assert run.predict(np.zeros((1, 1, 16, 16), np.float32)).shape == (1, 16, 16)
    assert {group["lr"] for group in make().optimizer.param_groups} == {1e-3, 1e-4}


def test_a_probe_leaves_an_encoder_as_it_was():
    encoder = resnet()
    encoder.bn1.eval()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    Segmenter(encoder, 2)
    assert all(torch.equal(before[name], value) for name, value in encoder.state_dict().items())
    assert (encoder.training, encoder.bn1.training, encoder.bn1._forward_hooks) == (True, False, {})
