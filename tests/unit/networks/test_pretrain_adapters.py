"""Encoders of timm, and any network that gives features."""

import pytest
import timm
import torch
from pretrain_helpers import batch, conv, images, perturbed
from safetensors.torch import save_file
from torch import nn

from selftrain import pretrain
from selftrain.errors import CheckpointError
from selftrain.networks.optim import load_weights, weights_of
from selftrain.types import Clock

KEEP = torch.tensor([[2, 0, 7], [11, 4, 3]])
KINDS = {"class token": {}, "no class token": {"class_token": False, "global_pool": "avg"},
         "registers": {"reg_tokens": 2},
         "no position for the class": {"no_embed_class": True}}  # fmt: skip
kinds = pytest.mark.parametrize("kind", KINDS)


def model(seed=0, **settings):
    torch.manual_seed(seed)
    sizes = {"img_size": (12, 16), "patch_size": 4, "in_chans": 2, "embed_dim": 16, "depth": 2, "num_heads": 2}
    return timm.models.VisionTransformer(**(sizes | {"num_classes": 0} | settings)).eval()


@kinds
def test_tokens_of_all_patches_are_timms_own(kind):
    network = model(**KINDS[kind])
    encoder, x = pretrain.TimmEncoder(network), images(2, 2, (12, 16))
    assert (encoder.grid, encoder.shape, encoder.token_dim) == ((3, 4), (2, 12, 16), 16)
    expected = network.forward_features(x)[:, network.num_prefix_tokens :]
    assert torch.allclose(encoder.tokens(x), expected, atol=1e-6)
    assert encoder(x).shape == (2, encoder.embed_dim) == (2, 64)
    assert torch.allclose(pretrain.TimmEncoder(network, pool=1)(x), expected.mean(1), atol=1e-6)
    assert pretrain.TimmEncoder(network, pool="max_mean")(x).shape == (2, 32)


@kinds
def test_hidden_patches_never_enter_a_block(kind):
    encoder, x = pretrain.TimmEncoder(model(**KINDS[kind])), images(2, 2, (12, 16))
    counts = []
    for block in encoder.model.blocks:
        block.register_forward_hook(lambda module, given, result: counts.append(given[0].shape[1]))
    tokens = encoder.tokens(x, KEEP)
    assert tokens.shape == (2, 3, 16)
    assert set(counts) == {3 + encoder.model.num_prefix_tokens}
    assert torch.equal(tokens, encoder.tokens(perturbed(x, KEEP, (3, 4)), KEEP))
    assert torch.allclose(encoder.tokens(x, KEEP[:, [1, 2, 0]]), tokens[:, [1, 2, 0]], atol=1e-6)
    assert not torch.allclose(encoder.tokens(x + 1, KEEP), tokens)


@pytest.mark.parametrize("make", [pretrain.MAE, pretrain.IJEPA, pretrain.StoP])
def test_masked_stages_take_it(make):
    strategy = make(pretrain.TimmEncoder(model()))
    before = {k: v.clone() for k, v in strategy.student.named_parameters()}
    strategy.step(batch(images(4, 2, (12, 16))), Clock(0, 0, 10))
    still = [k for k, v in strategy.student.named_parameters() if torch.equal(v, before[k])]
    assert [k for k in still if "norm.bias" not in k] == []
    assert len(strategy.network.encoder.layers()) == 4


def test_pretrained_weights_come_from_a_local_file(tmp_path):
    source, network = model(seed=1), model(seed=2)
    save_file({k: v.contiguous() for k, v in source.state_dict().items()}, tmp_path / "vit.safetensors")
    load_weights(network, weights_of(tmp_path / "vit.safetensors"))
    x = images(2, 2, (12, 16))
    assert torch.equal(pretrain.TimmEncoder(network)(x), pretrain.TimmEncoder(source)(x))
    with pytest.raises(CheckpointError, match="do not fit VisionTransformer"):
        load_weights(model(embed_dim=24), weights_of(tmp_path / "vit.safetensors"))


def test_a_file_with_a_head_needs_a_model_with_one(tmp_path):
    source = model(seed=1, num_classes=5)
    save_file({k: v.contiguous() for k, v in source.state_dict().items()}, tmp_path / "vit.safetensors")
    with pytest.raises(CheckpointError, match=r"weights such as \['head\.\w+', 'head\.\w+'\] have no place"):
        load_weights(model(seed=2), weights_of(tmp_path / "vit.safetensors"))
    network, x = model(seed=2, num_classes=5), images(2, 2, (12, 16))
    load_weights(network, weights_of(tmp_path / "vit.safetensors"))
    encoder = pretrain.TimmEncoder(network)
    assert torch.equal(encoder(x), pretrain.TimmEncoder(source)(x))
    assert torch.allclose(encoder.tokens(x), source.forward_features(x)[:, 1:], atol=1e-6)


def test_the_network_is_copied():
    network = model()
    pretrain.TimmEncoder(network).model.pos_embed.data.zero_()
    assert network.pos_embed.abs().sum() > 0


def test_a_network_without_patches_is_refused():
    with pytest.raises(ValueError, match=r"Linear lacks \['patch_embed', 'pos_embed', 'blocks', 'norm'\]"):
        pretrain.TimmEncoder(nn.Linear(3, 3))


def test_two_view_stages_take_any_network():
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 6 * 6, 10))
    encoder = pretrain.FeatureEncoder(network, (3, 6, 6))
    strategy = pretrain.VICReg(encoder, projector=(8, 4))
    before = network[1].weight.clone()
    strategy.step(batch(images(8, 3, (6, 6))), Clock(0, 0, 10))
    assert strategy.predict(images(2, 3, (6, 6))).shape == (2, 10)
    assert torch.equal(network[1].weight, before)  # a copy learns
    assert not torch.equal(strategy.shipped().model[1].weight, before)
    with pytest.raises(ValueError, match=r"inputs are \(3, 7, 6\)"):
        strategy.step(batch(images(8, 3, (7, 6))), Clock(0, 0, 10))
    with pytest.raises(ValueError, match="lacks"):
        pretrain.MAE(encoder)


def test_what_gives_no_features_is_refused():
    with pytest.raises(ValueError, match=r"Conv2d gives \(2, 4, 4, 4\) for 2 samples"):
        pretrain.FeatureEncoder(nn.Conv2d(1, 4, 3), (1, 6, 6))


def test_looking_at_the_width_leaves_a_network_as_it_was():
    network = conv(size=8).train()
    encoder = pretrain.FeatureEncoder(network, (1, 8, 8))
    assert encoder.model.training
    assert all(torch.equal(v, encoder.model.state_dict()[k]) for k, v in network.state_dict().items())
