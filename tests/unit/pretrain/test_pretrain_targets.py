"""What is predicted: the input itself, fixed feature maps, and tokens of three kinds of encoder."""

import pytest
import torch
from pretrain_helpers import conv, images, vit
from torch import nn

from selftrain.networks.optim import Training
from selftrain.networks.patches import patchify
from selftrain.networks.vit import series_transformer, table_transformer
from selftrain.pretrain.operators import gradient_ratio, hog
from selftrain.pretrain.targets import HOG, EMALatent, FrozenLatent, GradientRatio, OwnLatent, Pixels, normalized

PLACES = torch.tensor([[[0, 5], [15, 2], [7, 8]], [[1, 1], [3, 9], [4, 6]]])  # two sets, three samples
LATENTS = {"ema": EMALatent, "frozen": FrozenLatent, "own": OwnLatent}


def cut(x, place):
    row, column = 2 * (place // 4), 2 * (place % 4)
    return x[:, row : row + 2, column : column + 2].flatten()


def attached(target, encoder):
    """The target as a stage has it, and the encoder of the student."""
    student = Training().learner(nn.ModuleDict({"encoder": encoder}))
    target.attach(student, encoder)
    return target


# -- pixels ------------------------------------------------------------------------------------------------------------
def test_pixels_are_patches_standardized_by_their_own_mean_and_variance():
    x, target = images(3, 2), Pixels(flat=0.5)
    aim = target(x, vit(channels=2), PLACES)
    assert aim.shape == (2, 3, 2, 8) == (2, 3, 2, target.width(vit(channels=2)))
    for m in range(2):
        for sample in range(3):
            for n, place in enumerate(PLACES[m, sample].tolist()):
                pixels = cut(x[sample], place)
                variance = ((pixels - pixels.mean()) ** 2).sum() / 7  # unbiased: 8 numbers
                assert torch.allclose(aim[m, sample, n], (pixels - pixels.mean()) / (variance + 0.5).sqrt(), atol=1e-5)
    plain = Pixels(normalize=False)(x, vit(channels=2), PLACES)
    assert torch.equal(plain[1, 2, 0], cut(x[2], 4))


def test_pixels_of_any_patch_have_mean_zero_and_variance_at_most_one():
    x = torch.stack([images(1)[0] * scale + 5 for scale in (0.0, 1e-4, 1.0, 50.0)])
    aim = Pixels()(x, vit(), torch.arange(16).expand(1, 4, -1))[0]
    assert aim.mean(-1).abs().max() < 1e-2
    assert aim.var(-1).max() <= 1 + 1e-5
    assert aim[0].abs().max() < 1e-4  # constant patches ask for nothing
    assert aim[1].abs().max() < 1e-2  # almost constant ones are not blown up
    assert aim[3].var(-1).mean() == pytest.approx(1, abs=0.01)


def test_pixels_of_a_series_are_its_samples():
    x, encoder = torch.randn(2, 3, 12), series_transformer(12, 4, 3, width=8, depth=1, heads=2)
    aim = Pixels(normalize=False)(x, encoder, torch.tensor([[[1], [2]]]))
    assert torch.equal(aim[0, 1, 0], x[1, :, 8:].flatten())
    assert Pixels().width(encoder) == 12


@pytest.mark.parametrize(
    ("make", "encoder", "message"),
    [
        (lambda: Pixels(flat=-1.0), vit, "flat is -1.0"),
        (Pixels, lambda: vit(size=4, patch=1), "1 value"),
        (Pixels, lambda: table_transformer(6, width=8, depth=1, heads=2), r"\(6,\) .* are not cut into patches"),
        (lambda: HOG(bins=1), vit, "bins is 1"),
        (lambda: HOG(cells=3), vit, "a patch of 2 x 2 has no 3 x 3"),
        (HOG, lambda: series_transformer(12, 4, 3), "are no images"),
        (lambda: GradientRatio(()), vit, r"radii is \(\)"),
        (lambda: GradientRatio((0,)), vit, r"radii is \(0,\)"),
        (lambda: EMALatent(norm="batch"), vit, "norm is 'batch'"),
        (lambda: EMALatent(decay=(0.9, 1.1)), vit, r"decay is \(0.9, 1.1\)"),
        (lambda: EMALatent(path="step"), vit, "path is 'step'"),
        (lambda: FrozenLatent(vit(size=8, patch=4)), vit, r"a grid of \(2, 2\), the encoder"),
    ],
)
def test_what_cannot_be_is_refused(make, encoder, message):
    with pytest.raises(ValueError, match=message):
        make().width(encoder())


# -- operators ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("cells", [1, 2])
def test_histograms_are_those_of_the_patch_and_its_cells(cells):
    encoder, x = vit(size=16, patch=4, channels=2), images(3, 2, (16, 16))
    target = HOG(bins=6, cells=cells)
    aim = target(x, encoder, PLACES)
    assert aim.shape == (2, 3, 2, target.width(encoder)) == (2, 3, 2, 2 * 6 * cells**2)
    maps = hog(x, 4 // cells, 6)
    row, column = 7 // 4, 7 % 4
    here = maps[2, :, row * cells : (row + 1) * cells, column * cells : (column + 1) * cells]
    assert torch.allclose(aim[0, 2, 0], here.flatten())


def test_gradient_ratios_are_those_of_the_patch_at_every_radius():
    encoder, x = vit(size=16, patch=4), images(3, 1, (16, 16))
    target = GradientRatio((1, 3))
    aim = target(x, encoder, PLACES)
    assert aim.shape == (2, 3, 2, target.width(encoder)) == (2, 3, 2, 32)
    assert torch.allclose(aim[0, 1, 1], patchify(gradient_ratio(x, (1, 3)), (4, 4))[1, 2])


# -- latents -----------------------------------------------------------------------------------------------------------
def test_normalization_is_over_the_channels_of_a_token():
    tokens = torch.randn(4, 5, 6) * 3 + 1
    layer, unit = normalized(tokens, "layer"), normalized(tokens, "l2")
    expected = (tokens - tokens.mean(-1, keepdim=True)) / (tokens.var(-1, correction=0, keepdim=True) + 1e-5).sqrt()
    assert torch.allclose(layer, expected, atol=1e-5)
    assert torch.allclose(unit.norm(dim=-1), torch.ones(4, 5))
    assert torch.allclose(unit * tokens.norm(dim=-1, keepdim=True), tokens, atol=1e-5)
    assert normalized(tokens, "none") is tokens


@pytest.mark.parametrize("norm", ["layer", "l2", "none"])
def test_latents_are_tokens_of_the_whole_sample(norm):
    """Also where the encoder of the student is masked: targets know everything, without gradient."""
    encoder, other, x = vit(), vit(seed=3), images(3)
    ema = attached(EMALatent(norm=norm), encoder)
    frozen = attached(FrozenLatent(other, norm=norm), encoder)
    for target, source in ((ema, encoder), (frozen, other)):
        aim = target(x, encoder, PLACES)
        tokens = normalized(source.tokens(x), norm)
        assert torch.allclose(aim[1, 2, 1], tokens[2, 6], atol=1e-6)
        assert not aim.requires_grad
        assert target.width(encoder) == 16
    own = OwnLatent(norm=norm).at(encoder.tokens(x), PLACES)
    assert torch.allclose(own[1, 2, 1], normalized(encoder.tokens(x), norm)[2, 6], atol=1e-6)
    assert own.requires_grad


@pytest.mark.parametrize("kind", ["ema", "frozen"])
def test_the_source_of_latents_rests_and_is_a_copy(kind):
    encoder = conv()
    target = attached(EMALatent() if kind == "ema" else FrozenLatent(encoder), encoder).train()
    source = target.teacher.model if kind == "ema" else target.source
    assert source is not encoder
    assert all(torch.equal(v, source.state_dict()[n]) for n, v in encoder.state_dict().items())
    assert not any(m.training for m in source.modules())
    assert not any(p.requires_grad for p in source.parameters())


def test_only_the_slow_copy_follows():
    encoder, other = vit(), vit(seed=3)
    ema, frozen = attached(EMALatent(decay=(0.5, 1.0)), vit()), FrozenLatent(vit())
    before = [p.clone() for p in frozen.parameters()]
    assert ema.follow(other, 0.0)["decay"].item() == 0.5
    assert frozen.follow(other, 0.0) == {}
    for mine, was, new in zip(ema.teacher.parameters(), encoder.parameters(), other.parameters(), strict=True):
        assert torch.allclose(mine, (was + new) / 2, atol=1e-6)
    assert all(torch.equal(p, b) for p, b in zip(frozen.parameters(), before, strict=True))


def test_decay_moves_along_a_line_or_half_a_cosine():
    for path in ("linear", "cosine"):
        target = EMALatent(decay=(0.9, 1.0), path=path)
        assert [target.decay_at(p) for p in (0.0, 0.5, 1.0)] == pytest.approx([0.9, 0.95, 1.0])
    assert EMALatent(decay=(0.9, 1.0)).decay_at(0.25) == pytest.approx(0.925)
    assert EMALatent(decay=(0.9, 1.0), path="cosine").decay_at(0.25) == pytest.approx(1 - 0.1 * (1 + 2**-0.5) / 2)
