"""Predictors: what they read, what they know of places, and that stochastic positions are tied to the input layer."""

import pytest
import torch
from pretrain_helpers import conv, vit
from torch import nn

from selftrain.networks.token_grid import Layout
from selftrain.networks.vit import point_transformer
from selftrain.pretrain.predictor import ConvPredictor, Predictor, Projector

GIVEN, WANTED = torch.tensor([[0, 5, 9], [3, 4, 15]]), torch.tensor([[1, 2], [7, 0]])
BOTH = {"transformer": Predictor, "convolutions": ConvPredictor}
both = pytest.mark.parametrize("make", BOTH.values(), ids=BOTH)


def build(make, outputs=16, seed=0, encoder=None, **settings):
    torch.manual_seed(seed)
    return make(vit() if encoder is None else encoder, outputs, **settings)


def tokens(seed=1):
    return torch.randn(2, 3, 16, generator=torch.Generator().manual_seed(seed))


def guess(predictor, x, given=GIVEN, wanted=WANTED, places=None):
    return predictor(x, given, wanted, Layout(predictor_grid(predictor), places))


def predictor_grid(predictor):
    return getattr(predictor, "grid", (4, 4))


@both
@pytest.mark.parametrize("outputs", [16, 7])
def test_a_prediction_for_each_place_asked_for(make, outputs):
    assert guess(build(make, outputs), tokens()).shape == (2, 2, outputs)


@both
def test_predictions_depend_on_the_tokens_and_on_both_places(make):
    predictor = build(make).eval()
    with torch.no_grad():  # running statistics of a fresh BatchNorm leave values as they are
        before = guess(predictor, tokens())
        assert not torch.allclose(before, guess(predictor, tokens(2)))
        assert not torch.allclose(before, guess(predictor, tokens(), given=GIVEN.roll(1, 0)))
        assert not torch.allclose(before, guess(predictor, tokens(), wanted=WANTED.roll(1, 0)))
        assert torch.allclose(before.flip(1), guess(predictor, tokens(), wanted=WANTED.flip(1)), atol=1e-6)


@both
def test_the_order_of_the_given_tokens_does_not_matter(make):
    predictor = build(make).eval()
    mixed = guess(predictor, tokens()[:, [2, 0, 1]], given=GIVEN[:, [2, 0, 1]])
    assert torch.allclose(guess(predictor, tokens()), mixed, atol=1e-5)


@both
@pytest.mark.parametrize("noise", [None, 0.5])
def test_every_weight_learns(make, noise):
    predictor, x = build(make, noise=noise), tokens().requires_grad_()
    guess(predictor, x).square().sum().backward()
    assert [n for n, p in predictor.named_parameters() if p.grad is None or not p.grad.any()] == []
    assert x.grad.abs().sum() > 0


# -- stochastic positions ----------------------------------------------------------------------------------------------
@both
def test_noise_is_drawn_anew_in_training_and_is_none_at_rest(make):
    predictor = build(make, noise=0.5)
    norms = [m for m in predictor.modules() if isinstance(m, nn.BatchNorm2d)]
    for norm in norms:
        norm.eval()
    first, second = guess(predictor, tokens()), guess(predictor, tokens())
    assert not torch.allclose(first, second)
    predictor.eval()
    assert torch.equal(guess(predictor, tokens()), guess(predictor, tokens()))


@both
def test_the_noise_passes_the_layer_that_takes_the_tokens_in(make):
    """StoP: with an own matrix the network could drive the noise to zero; and b takes the place of the mask token."""
    predictor = build(make, noise=2.0)
    assert predictor.blank is None
    seen = []
    predictor.enter.register_forward_hook(lambda module, given, result: seen.append(given[0]))
    torch.manual_seed(5)
    guess(predictor, tokens())
    count = WANTED.shape[1] if make is Predictor else 16
    torch.manual_seed(5)
    expected = 2.0 * torch.randn(2, count, 16)
    drawn = next(x for x in seen if x.shape[1] == count)
    assert torch.equal(drawn, expected)
    assert any(torch.equal(x, tokens()) for x in seen)


@both
def test_the_strength_of_the_noise_counts(make):
    results = []
    for noise in (0.1, 1.0):
        predictor = build(make, noise=noise)
        torch.manual_seed(5)
        results.append(guess(predictor, tokens()))
    assert not torch.allclose(*results)


@both
@pytest.mark.parametrize("noise", [0.0, -1.0])
def test_noise_that_is_none_is_refused(make, noise):
    with pytest.raises(ValueError, match=f"noise is {noise}"):
        build(make, noise=noise)


# -- settings ----------------------------------------------------------------------------------------------------------
@both
def test_depth_counts_blocks(make):
    kinds = {Predictor: "blocks", ConvPredictor: "layers"}
    lengths = [len(getattr(build(make, depth=depth), kinds[make])) for depth in (1, 2)]
    assert lengths[1] == 2 * lengths[0]
    with pytest.raises(ValueError, match="depth"):
        build(make, depth=0)


def test_the_transformer_predicts_from_places_of_clouds():
    torch.manual_seed(0)
    encoder = point_transformer(20, groups=16, neighbors=3, width=16, depth=1, heads=2)
    predictor = build(Predictor, encoder=encoder, width=12).eval()
    places = torch.randn(2, 16, 3)
    before = guess(predictor, tokens(), places=places)
    moved = places.clone()
    moved[:, 11] += 1  # neither given nor wanted
    assert torch.equal(before, guess(predictor, tokens(), places=moved))
    moved[0, 1] += 1  # wanted
    changed = guess(predictor, tokens(), places=moved)
    assert not torch.allclose(before[0], changed[0])
    assert torch.equal(before[1], changed[1])
    assert predictor.again  # positions are added before every block


def test_convolutions_start_from_filled_in_cells():
    """Without convolution blocks' mixing a cell far from every given one knows nothing of the tokens."""
    encoder = conv()
    predictor = build(ConvPredictor, outputs=8, encoder=encoder, depth=1).eval()
    given, wanted = torch.tensor([[0]]), torch.tensor([[5, 15]])  # (1, 1) touches (0, 0), (3, 3) does not
    first, second = (predictor(torch.randn(1, 1, 8), given, wanted, Layout((4, 4))) for _ in range(2))
    assert not torch.allclose(first[0, 0], second[0, 0])
    assert torch.equal(first[0, 1], second[0, 1])


def test_convolutions_end_in_a_relu_unless_values_may_be_negative():
    x = torch.randn(8, 3, 16)
    given, wanted = GIVEN[:1].expand(8, -1), torch.arange(16).expand(8, -1)
    assert build(ConvPredictor)(x, given, wanted, Layout((4, 4))).min() == 0
    assert build(ConvPredictor, signed=True)(x, given, wanted, Layout((4, 4))).min() < 0


def test_convolutions_need_two_axes():
    encoder = point_transformer(20, groups=16, neighbors=3, width=16, depth=1, heads=2)
    with pytest.raises(ValueError, match=r"grid is \(16,\)"):
        ConvPredictor(encoder, 16)


# -- projector ---------------------------------------------------------------------------------------------------------
def test_a_projector_is_linear_layers_with_norm_and_relu_between():
    kinds = [type(m).__name__ for m in Projector(6, (5, 4, 3))]
    assert kinds == ["Linear", "BatchNorm1d", "ReLU"] * 2 + ["Linear"]
    widths = [(m.in_features, m.out_features) for m in Projector(6, (5, 4, 3)) if isinstance(m, nn.Linear)]
    assert widths == [(6, 5), (5, 4), (4, 3)]
    ended = Projector(6, (4,), norm_last=True)(torch.randn(50, 6))
    assert torch.allclose(ended.mean(0), torch.zeros(4), atol=1e-5)
    assert torch.allclose(ended.std(0, correction=0), torch.ones(4), atol=1e-2)


def test_a_projector_without_layers_is_refused():
    with pytest.raises(ValueError, match="widths is empty"):
        Projector(6, ())
