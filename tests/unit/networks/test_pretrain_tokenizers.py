"""Tokenizers and encoders of every kind of data: what a token stands for, and that dropped ones are never looked at."""

import math

import pytest
import torch
from torch import nn

from selftrain.networks.encoders import ConvEncoder
from selftrain.networks.patches import patchify, pick
from selftrain.networks.positions import CoordinatePositions
from selftrain.networks.tokenizers import (
    ConvStem,
    ImagePatches,
    PointGroups,
    SeriesPatches,
    TableColumns,
    farthest_points,
)
from selftrain.networks.vit import Transformer, ViT, point_transformer, series_transformer, table_transformer

KEEP = torch.tensor([[2, 0, 5], [1, 4, 3]])


def small(tokenizer, **settings):
    return Transformer(tokenizer, **({"depth": 2, "heads": 2, "pool": 1} | settings))


def make(kind):
    """An encoder of six tokens, and two inputs of it."""
    torch.manual_seed(0)
    if kind == "image":
        return small(ImagePatches((2, 6, 8), (2, 4), 16)), torch.randn(2, 2, 6, 8)
    if kind == "series":
        return small(SeriesPatches((3, 12), 2, 16)), torch.randn(2, 3, 12)
    if kind == "table":
        x = torch.randn(2, 6)
        x[:, 2] = torch.tensor([0.0, 3.0])
        return small(TableColumns(6, 16, {2: 4})), x
    if kind == "points":
        return small(PointGroups(20, 6, 4, 16)), torch.randn(2, 20, 3)
    return small(ConvStem((1, 8, 12), (4, 8), 16)), torch.randn(2, 1, 8, 12)


KINDS = ("image", "series", "table", "points", "stem")
kinds = pytest.mark.parametrize("kind", KINDS)


@kinds
def test_an_encoder_offers_the_contract(kind):
    encoder, x = make(kind)
    assert math.prod(encoder.grid) == 6
    assert encoder.shape == tuple(x.shape[1:])
    assert encoder.tokens(x).shape == (2, 6, 16)
    assert encoder.tokens(x, KEEP).shape == (2, 3, 16)
    assert encoder(x).shape == (2, encoder.embed_dim)
    assert encoder.layout(x).count == 6


@kinds
def test_blocks_see_the_kept_tokens_alone(kind):
    """Counted where the work is done: neither tokens, nor positions, nor attention of what is masked away."""
    encoder, x = make(kind)
    seen = []
    for block in encoder.blocks:
        block.register_forward_hook(lambda module, given, result: seen.append(given[0].shape[1]))
    encoder.tokens(x, KEEP)
    assert seen == [3, 3]


@kinds
def test_kept_tokens_are_what_a_transformer_makes_of_them_alone(kind):
    encoder, x = make(kind)
    tokens = encoder.tokenizer(x, KEEP)
    codes = encoder.places(encoder.layout(x), KEEP)
    for number, block in enumerate(encoder.blocks):
        tokens = block(tokens + codes if number == 0 or kind == "points" else tokens)
    assert torch.allclose(encoder.tokens(x, KEEP), encoder.norm(tokens), atol=1e-5)


@pytest.mark.parametrize("kind", ["image", "series", "table", "stem"])
def test_what_is_masked_away_changes_nothing(kind):
    encoder, x = make(kind)
    other = x.clone()
    hidden = torch.ones(2, 6, dtype=torch.bool).scatter_(1, KEEP, False)
    if kind == "table":
        hidden[:, 2] = False  # a column of codes has no other values to take here
        other[hidden] += 3
    else:
        mask = hidden.view(2, 1, *encoder.grid)
        for axis, cells in enumerate(encoder.grid, 2):
            mask = mask.repeat_interleave(x.shape[axis] // cells, axis)
        other = torch.where(mask, x + 3, x)
    assert torch.equal(encoder.tokens(x, KEEP), encoder.tokens(other, KEEP))
    assert not torch.allclose(encoder.tokens(x), encoder.tokens(other))


@kinds
def test_positions_matter(kind):
    encoder, x = make(kind)
    before = encoder.tokens(x)
    with torch.no_grad():
        if kind == "points":
            encoder.places.layers[2].weight.zero_()
            encoder.places.layers[2].bias.zero_()
        else:
            encoder.places.codes.zero_()
    assert not torch.allclose(before, encoder.tokens(x))


@kinds
def test_every_weight_learns(kind):
    encoder, x = make(kind)
    (encoder.tokens(x) * torch.linspace(-1, 1, 16)).square().sum().backward()
    assert [n for n, p in encoder.named_parameters() if p.numel() and (p.grad is None or not p.grad.any())] == []


@kinds
def test_another_shape_is_refused(kind):
    encoder, x = make(kind)
    with pytest.raises(ValueError, match="but the encoder was built for"):
        encoder.tokens(torch.cat([x, x], -1))


@kinds
def test_layers_go_from_the_input_on(kind):
    encoder, _ = make(kind)
    layers = encoder.layers()
    assert layers[0] is encoder.tokenizer
    assert layers[-1] is encoder.norm
    assert len(layers) == 4
    assert [id(b) for b in layers[1:3]] == [id(b) for b in encoder.blocks]


# -- read-outs and registers -------------------------------------------------------------------------------------------
def test_features_are_read_out_as_asked():
    torch.manual_seed(0)
    for pool, expected in (
        (1, lambda t: t.mean(1)),
        ("all", lambda t: t.flatten(1)),
        ("max_mean", lambda t: torch.cat([t.amax(1), t.mean(1)], 1)),
        (2, lambda t: torch.cat([t[:, :3].mean(1), t[:, 3:].mean(1)], 1)),
    ):
        encoder = small(SeriesPatches((1, 6), 1, 8), pool=pool)
        x = torch.randn(3, 1, 6)
        assert torch.allclose(encoder(x), expected(encoder.tokens(x)), atol=1e-6)
        assert encoder(x).shape[1] == encoder.embed_dim


def test_registers_join_in_and_are_dropped_at_the_end():
    torch.manual_seed(0)
    encoder, x = small(TableColumns(6, 16), registers=2), torch.randn(2, 6)
    tokens, keep = encoder.tokens(x), KEEP
    assert tokens.shape == (2, 6, 16)
    seen = []
    for block in encoder.blocks:
        block.register_forward_hook(lambda module, given, result: seen.extend([given[0], result]))
    kept = encoder.tokens(x, keep)
    assert seen[0].shape[1] == 5
    assert torch.equal(kept, encoder.norm(seen[-1][:, 2:]))
    assert torch.equal(seen[0][:, :2], encoder.registers.expand(2, -1, -1))  # never masked, and without a position
    with torch.no_grad():
        encoder.registers.copy_(torch.randn(2, 16))
    assert not torch.allclose(tokens, encoder.tokens(x))


# -- tables ------------------------------------------------------------------------------------------------------------
def test_columns_are_a_weight_times_the_value_or_a_vector_for_the_code():
    torch.manual_seed(0)
    tokenizer = TableColumns(4, 8, {1: 2, 2: 3})
    x = torch.tensor([[0.5, 1, 2, -1.5], [-2.0, 0, 0, 3.0]])
    tokens = tokenizer(x)
    vectors = tokenizer.codes.weight
    assert vectors.shape == (5, 8)
    for row, (first, second) in enumerate(((1, 4), (0, 2))):
        for numeric in (0, 3):
            expected = x[row, numeric] * tokenizer.weight[numeric] + tokenizer.bias[numeric]
            assert torch.allclose(tokens[row, numeric], expected)
        assert torch.allclose(tokens[row, 1], vectors[first] + tokenizer.bias[1])
        assert torch.allclose(tokens[row, 2], vectors[second] + tokenizer.bias[2])
    keep = torch.tensor([[2, 0], [1, 2]])
    assert torch.equal(tokenizer(x, keep), pick(tokens, keep))


@pytest.mark.parametrize("code", [-1.0, 2.0, 0.5, float("nan")])
def test_a_code_that_is_none_is_refused(code):
    tokenizer = TableColumns(2, 8, {1: 2})
    with pytest.raises(ValueError, match=rf"column 1 holds {code}, not a code from 0 to 1"):
        tokenizer(torch.tensor([[0.0, 1.0], [0.0, code]]))


@pytest.mark.parametrize("categories", [{3: 2}, {-1: 2}, {0: 0}])
def test_impossible_categories_are_refused(categories):
    with pytest.raises(ValueError, match="columns are 0 to 2"):
        TableColumns(3, 8, categories)


# -- points ------------------------------------------------------------------------------------------------------------
def test_each_chosen_point_is_the_farthest_from_those_before():
    x = torch.randn(3, 30, 2, generator=torch.Generator().manual_seed(0))
    chosen = farthest_points(x, 8)
    for cloud, numbers in zip(x, chosen.tolist(), strict=True):
        start = (cloud - cloud.mean(0)).norm(dim=1)
        assert numbers[0] == int(start.argmax())
        for n in range(1, 8):
            nearest = torch.cdist(cloud, cloud[numbers[:n]]).amin(1)
            assert nearest[numbers[n]] == nearest.max()


def test_the_order_of_the_points_does_not_matter():
    encoder, x = make("points")
    order = torch.randperm(20, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(encoder(x), encoder(x[:, order]), atol=1e-5)


def test_a_group_is_told_by_its_points_relative_to_the_center():
    """Hidden groups play no part, and neither does a point that belongs to none of the kept groups."""
    torch.manual_seed(0)
    tokenizer = PointGroups(12, 4, 3, 8)
    x = torch.randn(1, 12, 3)
    centers = farthest_points(x, 4)[0]
    tokens = tokenizer(x)
    for n, center in enumerate(centers.tolist()):
        group = x[0, torch.cdist(x[0, center][None], x[0])[0].topk(3, largest=False).indices] - x[0, center]
        inside = tokenizer.each(group)
        expected = tokenizer.both(torch.cat([inside.amax(0).expand_as(inside), inside], 1)).amax(0)
        assert torch.allclose(tokens[0, n], expected, atol=1e-5)
    assert torch.allclose(tokenizer(x, torch.tensor([[3, 1]])), tokens[:, [3, 1]], atol=1e-6)


def test_centers_are_the_places_and_positions_are_learned_from_them():
    encoder, x = make("points")
    places = encoder.layout(x).places
    assert torch.equal(places, pick(x, farthest_points(x, 6)))
    assert isinstance(encoder.places, CoordinatePositions)
    codes = encoder.places(encoder.layout(x), KEEP)
    assert torch.allclose(codes, pick(encoder.places.layers(places), KEEP), atol=1e-6)


@pytest.mark.parametrize(("groups", "neighbors"), [(9, 2), (2, 9), (0, 2)])
def test_more_groups_or_neighbors_than_points_are_refused(groups, neighbors):
    with pytest.raises(ValueError, match=f"groups is {groups} and neighbors {neighbors}; a cloud has 8 points"):
        PointGroups(8, groups, neighbors, 8)


# -- stems and helpers -------------------------------------------------------------------------------------------------
def test_a_stem_is_the_sparse_body_of_the_convnet():
    torch.manual_seed(0)
    stem = ConvStem((1, 8, 12), (4, 8), 16)
    torch.manual_seed(0)
    encoder = ConvEncoder((8, 12), 1, widths=(4, 8))
    x, keep = torch.randn(2, 1, 8, 12), KEEP
    assert torch.allclose(stem(x, keep), stem.embed(encoder.tokens(x, keep)), atol=1e-6)


@pytest.mark.parametrize(
    ("encoder", "shape", "grid"),
    [
        (ViT((8, 12), 4, 2, width=8, depth=1, heads=2), (2, 8, 12), (2, 3)),
        (series_transformer(12, 3, 2, width=8, depth=1, heads=2), (2, 12), (4,)),
        (table_transformer(5, width=8, depth=1, heads=2), (5,), (5,)),
        (point_transformer(20, groups=4, neighbors=3, width=8, depth=1, heads=2), (20, 3), (4,)),
    ],
)
def test_encoders_of_each_kind(encoder, shape, grid):
    assert (encoder.shape, encoder.grid) == (shape, grid)
    assert encoder(torch.randn(3, *shape)).shape == (3, encoder.embed_dim)
    assert isinstance(encoder, nn.Module)


@pytest.mark.parametrize(("length", "patch"), [(12, 5), (12, 0)])
def test_series_that_cannot_be_cut_are_refused(length, patch):
    with pytest.raises(ValueError, match=f"patch (is )?{patch}"):
        series_transformer(length, patch)


def test_patches_of_series_are_all_channels_of_a_stretch():
    tokenizer, x = SeriesPatches((3, 12), 4, 8), torch.randn(2, 3, 12)
    assert torch.allclose(tokenizer(x), tokenizer.embed(patchify(x, (3,))))
    assert torch.allclose(tokenizer(x)[:, 1], tokenizer.embed(x[:, :, 4:8].flatten(1)), atol=1e-6)
