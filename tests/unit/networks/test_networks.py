import pytest
import torch
from pretrain_helpers import conv, images, perturbed, vit
from torch import nn

from selftrain.networks.encoders import Classifier, ConvEncoder, Encoder

ENCODERS = {"vit": lambda: vit(size=16, patch=4), "conv": conv}


@pytest.mark.parametrize("make", ENCODERS.values(), ids=ENCODERS)
def test_encoders_keep_the_contract(make):
    encoder, x = make().eval(), images(3, size=(16, 16))
    assert isinstance(encoder, Encoder)
    assert encoder.grid == (4, 4)
    assert encoder.shape == (1, 16, 16)
    assert encoder(x).shape == (3, encoder.embed_dim)
    assert encoder.tokens(x).shape == (3, 16, encoder.token_dim)
    keep = torch.tensor([[3, 0], [1, 2], [15, 9]])
    assert encoder.tokens(x, keep).shape == (3, 2, encoder.token_dim)


@pytest.mark.parametrize("make", ENCODERS.values(), ids=ENCODERS)
@pytest.mark.parametrize("training", [True, False])
def test_nothing_of_a_hidden_patch_reaches_a_kept_token(make, training):
    encoder, x = make().train(training), images(5, size=(16, 16))
    keep = torch.stack([torch.randperm(16, generator=torch.Generator().manual_seed(i))[:5] for i in range(5)])
    before = {n: b.clone() for n, b in encoder.named_buffers()}
    tokens = encoder.tokens(x, keep)
    after = {n: b.clone() for n, b in encoder.named_buffers()}
    encoder.load_state_dict(before, strict=False)
    assert torch.equal(tokens, encoder.tokens(perturbed(x, keep, encoder.grid), keep))
    assert all(torch.equal(b, after[n]) for n, b in encoder.named_buffers())
    seen = x.clone()
    seen[0, :, 4 * (keep[0, 0] // 4), 4 * (keep[0, 0] % 4)] += 1
    assert not torch.equal(tokens, encoder.tokens(seen, keep))


@pytest.mark.parametrize("make", ENCODERS.values(), ids=ENCODERS)
def test_keeping_everything_is_no_masking_and_order_is_kept(make):
    encoder, x = make().eval(), images(2, size=(16, 16))
    every = torch.arange(16).expand(2, -1)
    assert torch.allclose(encoder.tokens(x, every), encoder.tokens(x), atol=1e-5)
    keep = torch.tensor([[7, 2, 11], [0, 15, 4]])
    assert torch.allclose(encoder.tokens(x, keep)[:, [2, 0, 1]], encoder.tokens(x, keep[:, [2, 0, 1]]), atol=1e-5)


def test_batch_statistics_of_a_masked_pass_are_those_of_the_visible_cells():
    encoder, x = conv(size=8).train(), images(4, size=(8, 8))
    keep = torch.tensor([[0], [3], [1], [3]])
    encoder.tokens(x, keep)
    place, norm = next((i, m) for i, m in enumerate(encoder.body) if isinstance(m, nn.BatchNorm2d))
    corners = [(0, 0), (4, 4), (0, 4), (4, 4)]
    alone = torch.stack([x[i, :, r : r + 4, c : c + 4] for i, (r, c) in enumerate(corners)])
    seen = encoder.body[:place](alone).movedim(1, -1).flatten(0, 2)  # a lone patch is padded with zeros, like an image
    assert torch.allclose(norm.running_mean, 0.1 * seen.mean(0), atol=1e-6)
    assert torch.allclose(norm.running_var, 0.9 + 0.1 * seen.var(0), atol=1e-6)


def test_conv_encoder_reads_every_place_of_oblong_color_images():
    encoder = ConvEncoder((8, 12), 3, widths=(4, 6), embed_dim=10, dropout=0.0).eval()
    x = images(2, 3, (8, 12)).requires_grad_()
    assert encoder.grid == (2, 3)
    assert encoder.token_dim == 6
    encoder(x).sum().backward()
    assert (x.grad.abs().sum((0, 1)) > 0).float().mean() > 0.9
    assert encoder.tokens(x, torch.tensor([[5], [0]])).shape == (2, 1, 6)


def test_dropout_of_features_and_of_the_read_out_works_in_training_only():
    x = images(4, size=(16, 16))
    for network in (ConvEncoder(16, dropout=0.5), Classifier(vit(size=16), 3, dropout=0.5)):
        network.train()
        assert not torch.equal(network(x), network(x))
        network.eval()
        assert torch.equal(network(x), network(x))
    still = Classifier(vit(size=16), 3).train()
    assert torch.equal(still(x), still(x))


def test_classifier_is_a_linear_head_on_the_features():
    network, x = Classifier(vit(), 5), images()
    assert torch.allclose(network(x), nn.functional.linear(network.encoder(x), network.head.weight, network.head.bias))
    assert network(x).shape == (6, 5)


@pytest.mark.parametrize("size", [10, (8, 6), 0])
def test_conv_encoder_refuses_sizes_it_cannot_halve_twice(size):
    with pytest.raises(ValueError, match="multiples of 4, so pad or resize"):
        ConvEncoder(size)
