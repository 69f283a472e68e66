"""ConvNets of others with hidden cells: what is seen is computed as if nothing else existed."""

import pytest
import timm
import torch
from pretrain_helpers import batch, images
from timm.layers.grn import GlobalResponseNorm
from torch import nn
from torchvision import models

import selftrain as st
from selftrain import data, pretrain
from selftrain.networks.copying import copy_network
from selftrain.networks.foundation import TimmNet
from selftrain.networks.timm import ConvNetEncoder, TimmEncoder
from selftrain.types import Clock

SIDE, CELL = 128, 32


class GRN(nn.Module):
    """ConvNeXt V2's block in little: blank, then convolve, then GRN over places (B, H, W, C)."""

    def __init__(self):
        super().__init__()
        self.stem, self.grn = nn.Conv2d(3, 6, 4, 4), GlobalResponseNorm(6)
        nn.init.normal_(self.grn.weight)
        self.around, self.down = nn.Conv2d(6, 6, 3, padding=1), nn.Conv2d(6, 8, 8, 8)

    def forward(self, x):
        x = self.grn(self.stem(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return self.down(self.around(x)).mean((2, 3))


NETWORKS = {
    "SE_of_torchvision": lambda: nn.Sequential(
        models.mobilenet_v3_small().features, nn.AdaptiveAvgPool2d(1), nn.Flatten()
    ),
    "test_resnet": lambda: timm.create_model("test_resnet", num_classes=0),
    "test_efficientnet": lambda: timm.create_model("test_efficientnet", num_classes=0, act_layer=nn.ReLU),
    "test_convnext2": lambda: timm.create_model("test_convnext2", num_classes=0),
    "GRN": GRN,
}


def encoder_of(name):
    torch.manual_seed(0)
    return ConvNetEncoder(NETWORKS[name](), (3, SIDE, SIDE))


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_cell_seen_alone_is_the_picture_of_that_cell(name, training):
    """Independent of any mask: a picture that ends where the cell ends is padded with zeros at every resolution."""
    encoder, x = encoder_of(name).double().train(training), images(4, 3, (SIDE, SIDE)).double()
    keep = torch.tensor([[0], [5], [10], [15]])
    crops = torch.stack([x[i, :, CELL * i : CELL * (i + 1), CELL * i : CELL * (i + 1)] for i in range(4)])
    plain = copy_network(encoder)
    expected = plain.tokens(crops)
    found = encoder.tokens(x, keep)
    assert (encoder.grid, encoder.token_dim) == ((4, 4), found.shape[2])
    torch.testing.assert_close(found, expected)
    for (key, one), other in zip(encoder.model.named_buffers(), plain.model.buffers(), strict=True):
        torch.testing.assert_close(one, other, msg=key)  # BatchNorm has seen the same places


def test_resolutions_that_the_grid_does_not_divide_have_the_nearest_cell():
    encoder = ConvNetEncoder(timm.create_model("test_resnet", num_classes=0), (1, 70, 100))
    assert encoder.grid == (3, 4)  # gray pictures, three times
    assert encoder(torch.rand(2, 1, 70, 100)).shape == (2, encoder.embed_dim)
    encoder.check_masked()
    with pytest.raises(ValueError, match=r"70 x 100 .* 3 x 4; .* 69 x 100 or 72 x 100"):
        pretrain.MAE(encoder)
    pretrain.MAE(ConvNetEncoder(encoder.model, (1, 69, 100)))
    pretrain.CNNJEPA(encoder, masks=pretrain.RandomMask(0.5))


@pytest.mark.parametrize("name", ["test_resnet", "test_convnext", "test_vit"])
def test_a_masked_stage_gives_the_plain_network_back(name, tmp_path):
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=0, **({"img_size": 64} if "vit" in name else {}))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    wrap = TimmEncoder if "vit" in name else lambda model: ConvNetEncoder(model, (3, 64, 64))
    make = pretrain.MAE if "vit" in name else pretrain.CNNJEPA
    pile = data.Pile.from_arrays(torch.rand(12, 3, 64, 64).numpy(), [0, 1] * 2 + [-1] * 8)
    run = st.fit(make(wrap(model)), pile, steps=2, plan=st.BatchPlan(labeled=4, unlabeled_ratio=1))
    filled = run.network.model
    assert list(filled.state_dict()) == list(timm.create_model(name, num_classes=0).state_dict())
    assert any(not torch.equal(value, before[key]) for key, value in filled.state_dict().items())
    model.load_state_dict(filled.state_dict())
    x = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(model.eval()(x), filled.eval()(x))  # of another memory format
        if "vit" not in name:
            torch.testing.assert_close(run.network.eval()(x), model(x))


def test_rotary_positions_stay_with_their_patches():
    sizes = {"img_size": 16, "patch_size": 4, "embed_dim": 16, "depth": 2, "num_heads": 2, "num_classes": 0}
    network = timm.models.Eva(**sizes, use_rot_pos_emb=True, use_abs_pos_emb=False).eval()
    encoder, x = TimmEncoder(network), images(2, 3, (16, 16))
    assert torch.equal(encoder.tokens(x), network.forward_features(x)[:, 1:])
    every = torch.arange(16).expand(2, -1)
    torch.testing.assert_close(encoder.tokens(x, every.flip(1)).flip(1), encoder.tokens(x))
    keep = torch.tensor([[2, 0, 7], [11, 4, 3]])
    far = x.clone()
    far[0, :, 12:, 12:] = 9.0  # patch 15 is hidden
    assert torch.equal(encoder.tokens(x, keep), encoder.tokens(far, keep))
    assert not torch.allclose(encoder.tokens(x, keep), encoder.tokens(x)[:, :3], atol=1e-4)
    assert encoder.model.patch_drop is None
    pretrain.MAE(encoder).step(batch(images(4, 3, (16, 16))), Clock(0, 0, 10))


@pytest.mark.parametrize(
    ("model", "shape", "words"),
    [
        (nn.Linear(3, 4), (3,), "is no ConvNet on images"),
        (nn.Conv2d(3, 4, 3), (3, 8, 8), "gives .* an encoder gives features"),
        (nn.Sequential(nn.Conv2d(3, 4, 8), nn.Flatten()), (3, 8, 8), "no feature map of 2 x 2"),
    ],
)
def test_what_has_no_places_is_refused(model, shape, words):
    with pytest.raises(ValueError, match=words):
        ConvNetEncoder(model, shape)


def test_what_tells_kept_cells_of_hidden_ones_is_refused_before_a_run():
    mixed = timm.create_model("test_mambaout", num_classes=0)
    pretrain.CNNJEPA(ConvNetEncoder(mixed, (3, 64, 64)))

    class Centered(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.end = nn.Conv2d(3, 4, 4, 4), nn.Conv2d(4, 4, 1)

        def forward(self, x):
            x = self.conv(x)
            return self.end(x - 1e-6 * x.mean((2, 3), keepdim=True)).mean((2, 3))

    with pytest.raises(ValueError, match="Centered mixes places .* two views"):
        pretrain.CNNJEPA(ConvNetEncoder(Centered(), (3, 16, 16)))
    pretrain.LeJEPA(pretrain.FeatureEncoder(Centered(), (3, 16, 16)))


def test_a_network_by_its_name_is_in_the_record():
    encoder = ConvNetEncoder(TimmNet("test_resnet"), (3, 64, 64))
    again = type(encoder)(**encoder.arguments)
    assert (again.part, again.shape) == (encoder.part, encoder.shape)
    assert not hasattr(ConvNetEncoder(encoder.model.model, (3, 64, 64)), "arguments")
