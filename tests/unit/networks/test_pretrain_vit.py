import math

import pytest
import torch
from pretrain_helpers import images, vit
from torch import nn

from selftrain.networks.patches import patchify, unpatchify
from selftrain.networks.positions import sincos_positions
from selftrain.pretrain import ViT


# -- patches and positions ---------------------------------------------------------------------------------------------
def test_patches_are_the_image_in_raster_order_and_can_be_put_together():
    x = images(2, 3, (6, 8))
    patches = patchify(x, (2, 4))
    assert patches.shape == (2, 8, 18)
    for row in range(2):
        for column in range(4):
            piece = x[:, :, 3 * row : 3 * row + 3, 2 * column : 2 * column + 2]
            assert torch.equal(patches[:, 4 * row + column], piece.reshape(2, -1))
    assert torch.equal(unpatchify(patches, (2, 4), (3, 6, 8)), x)


def test_stretches_of_series_are_cut_the_same_way():
    x = torch.randn(2, 3, 12)
    patches = patchify(x, (4,))
    assert all(torch.equal(patches[:, t], x[:, :, 3 * t : 3 * t + 3].reshape(2, -1)) for t in range(4))
    assert torch.equal(unpatchify(patches, (4,), (3, 12)), x)


def test_positions_are_sines_and_cosines_of_row_and_column():
    code = sincos_positions((3, 5), 16)
    assert code.shape == (15, 16)
    for row, column, i in ((2, 4, 0), (1, 3, 2), (2, 1, 3)):
        scale = 10000 ** (i / 4)
        here = code[5 * row + column]
        expected = [f(n / scale) for n in (row, column) for f in (math.sin, math.cos)]
        assert torch.allclose(here[[i, 4 + i, 8 + i, 12 + i]], torch.tensor(expected), atol=1e-6)
    assert len(code.unique(dim=0)) == 15


# -- the transformer ---------------------------------------------------------------------------------------------------
def reference(encoder, heads):
    """torch's own layers with the weights of ``encoder``."""
    layers = []
    for block in encoder.blocks:
        layer = nn.TransformerEncoderLayer(
            encoder.token_dim, heads, block.widen.out_features, 0.0, "gelu", batch_first=True, norm_first=True
        )
        attention = layer.self_attn
        pairs = {
            attention.in_proj_weight: block.mix.weight, attention.in_proj_bias: block.mix.bias,
            attention.out_proj.weight: block.join.weight, attention.out_proj.bias: block.join.bias,
            layer.linear1.weight: block.widen.weight, layer.linear1.bias: block.widen.bias,
            layer.linear2.weight: block.narrow.weight, layer.linear2.bias: block.narrow.bias,
        }  # fmt: skip
        with torch.no_grad():
            for mine, theirs in pairs.items():
                mine.copy_(theirs)
        layers.append(layer)
    return layers


@pytest.mark.parametrize("dropped", [False, True])
def test_dropping_tokens_is_masking_attention_in_a_standard_transformer(dropped):
    encoder, x = vit(size=(8, 12), patch=4, width=24, heads=3), images(2, size=(8, 12))
    keep = torch.tensor([[5, 0, 3], [1, 2, 4]]) if dropped else torch.arange(6).expand(2, -1)
    hidden = torch.ones(2, 6, dtype=torch.bool).scatter_(1, keep, False)
    embed = encoder.tokenizer.embed
    tokens = nn.functional.linear(patchify(x, (2, 3)), embed.weight, embed.bias)
    tokens = tokens + sincos_positions((2, 3), 24)
    for layer in reference(encoder, 3):
        tokens = layer(tokens, src_key_padding_mask=hidden)
    tokens = nn.functional.layer_norm(tokens, (24,))
    expected = torch.stack([t[k] for t, k in zip(tokens, keep, strict=True)])
    assert torch.allclose(encoder.tokens(x, keep if dropped else None), expected, atol=1e-5)


@pytest.mark.parametrize(("pool", "cells"), [(1, [[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]]), (2, None), (9, "all")])
def test_features_are_the_means_of_cells(pool, cells):
    encoder, x = vit(size=(6, 8), patch=2, pool=pool), images(2, size=(6, 8))
    if cells is None:  # a grid of 3 x 4: rows {0, 1} and {1, 2}, columns {0, 1} and {2, 3}
        cells = [[0, 1, 4, 5], [2, 3, 6, 7], [4, 5, 8, 9], [6, 7, 10, 11]]
    cells = [[i] for i in range(12)] if cells == "all" else cells
    tokens = encoder.tokens(x)
    expected = torch.cat([tokens[:, cell].mean(1) for cell in cells], 1)
    assert encoder.embed_dim == 16 * len(cells) == expected.shape[1]
    assert torch.allclose(encoder(x), expected, atol=1e-5)


def test_tokens_start_with_the_variance_of_the_pixels():
    for patch in (2, 8):
        encoder = ViT(16, patch, 3, width=256, heads=4)
        tokens = encoder.tokenizer(images(20, 3, (16, 16)))
        assert tokens.var().item() == pytest.approx(1, abs=0.15)


def test_all_weights_learn():
    encoder = vit(channels=3)
    encoder(images(4, 3)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in encoder.parameters() if p.numel())


@pytest.mark.parametrize(
    "change",
    [{"size": 12}, {"patch": 4}, {"channels": 2}, {"width": 32}, {"depth": 3}, {"mlp_ratio": 2.0}, {"pool": 1}],
    ids=str,
)
def test_every_setting_changes_the_shape_of_something(change):
    def shapes(encoder):
        return [encoder.embed_dim, encoder.grid, [tuple(p.shape) for p in encoder.parameters()]]

    assert shapes(vit()) != shapes(vit(**change))


def test_the_number_of_heads_changes_the_result():
    assert not torch.allclose(vit(heads=2)(images()), vit(heads=4)(images()))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size": 28, "patch": 5}, r"size 28x28 is not divisible by patch 5x5.*\[1, 2, 4, 7, 14\] x .*pad or resize"),
        ({"size": (8, 9), "patch": (2, 2)}, r"size 8x9 is not divisible by patch 2x2.*\[1, 2, 4\] x \[1, 3\]"),
        ({"patch": 0}, "patch is 0"),
        ({"width": 18, "heads": 3}, "width is 18; positions need a multiple of 4"),
        ({"width": 16, "heads": 3}, "width is 16 and heads 3"),
        ({"depth": 0}, "depth is 0"),
        ({"pool": 0}, "pool is 0"),
        ({"pool": "some"}, "pool is 'some'"),
        ({"registers": -1}, "registers -1"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        vit(**settings)


@pytest.mark.parametrize("shape", [(1, 10, 8), (3, 8, 8)])
def test_images_of_another_size_are_refused(shape):
    with pytest.raises(ValueError, match=r"built for \(1, 8, 8\)"):
        vit()(torch.zeros(2, *shape))
