"""Losses of views: values by plain loops and closed forms, gradients where they belong, parts that add up."""

import math
from itertools import permutations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from selftrain.pretrain.losses import InfoNCE, LeJEPALoss, UniSiamLoss, VICRegLoss
from selftrain.pretrain.regularizers import SIGReg

LOSSES = {
    "infonce": InfoNCE,
    "vicreg": VICRegLoss,
    "lejepa": lambda **settings: LeJEPALoss(**({"slices": 16} | settings)),
    "unisiam": UniSiamLoss,
}
every = pytest.mark.parametrize("name", LOSSES)


def draw(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def run(loss, z, q=None):
    """The loss and its parts at a fixed seed; predictions are something else than the embeddings."""
    torch.manual_seed(0)
    if not loss.needs_predictor:
        return loss(z)
    return loss(z, z.roll(1, -1) * 2 if q is None else q)


def lengths_one(x):
    return x / np.sqrt((x**2).sum(-1, keepdims=True))


# -- InfoNCE -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("views", [2, 3])
def test_infonce_is_that_of_plain_loops_over_all_ordered_pairs(views):
    z, temperature = draw(views, 4, 5), 0.3
    x, losses = lengths_one(z.numpy()), []
    for a, b in permutations(range(views), 2):
        for i in range(4):
            weights = [math.exp(x[a, i] @ x[b, j] / temperature) for j in range(4)]
            weights += [math.exp(x[a, i] @ x[a, j] / temperature) for j in range(4) if j != i]
            losses.append(-math.log(weights[i] / sum(weights)))
    assert InfoNCE(temperature=temperature)(z)[0].item() == pytest.approx(np.mean(losses))


@pytest.mark.parametrize("samples", [2, 7])
def test_infonce_at_a_high_temperature_guesses_among_all_others(samples):
    loss, parts = InfoNCE(temperature=1e6)(draw(2, samples, 3))
    assert loss.item() == pytest.approx(math.log(2 * samples - 1), abs=1e-4)
    assert parts["alignment"].item() == pytest.approx(0, abs=1e-4)


def test_infonce_does_not_see_lengths_and_is_low_where_samples_are_apart():
    z, apart = draw(2, 4, 6), torch.eye(4)[None].repeat(2, 1, 1)
    stretched = z * torch.rand(2, 4, 1) * 9
    assert InfoNCE()(stretched)[0].item() == pytest.approx(InfoNCE()(z)[0].item())
    # one row at 1 / 0.1, six at 0
    assert InfoNCE(temperature=0.1)(apart)[0].item() == pytest.approx(math.log(1 + 6 * math.exp(-10)), rel=1e-2)


# -- VICReg ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("views", [2, 3])
def test_vicreg_is_that_of_plain_loops_over_all_ordered_pairs(views):
    z = 0.6 * draw(views, 6, 4)
    x, losses = z.numpy(), []

    def spread(rows):
        return np.mean([max(0.0, 1 - math.sqrt(column.var(ddof=1) + 1e-4)) for column in rows.T])

    def together(rows):
        covariance = np.cov(rows.T)
        return ((covariance**2).sum() - (np.diag(covariance) ** 2).sum()) / 4

    for a, b in permutations(range(views), 2):
        apart = ((x[a] - x[b]) ** 2).mean()
        losses.append(3 * apart + 5 * (spread(x[a]) + spread(x[b])) + 7 * (together(x[a]) + together(x[b])))
    loss = VICRegLoss(invariance=3, variance=5, covariance=7)(z)[0]
    assert loss.item() == pytest.approx(np.mean(losses))


# -- LeJEPA ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("global_views", [1, 2, 3])
def test_lejepa_pulls_all_views_to_the_center_of_the_global_ones(global_views):
    z = draw(3, 5, 4)
    center = sum(z[v] for v in range(global_views)) / global_views
    expected = np.mean([((z[v] - center) ** 2).mean().item() for v in range(3)])
    loss, parts = LeJEPALoss(weight=0.0, slices=8, global_views=global_views)(z)
    assert loss.item() == parts["invariance"].item() == pytest.approx(expected)


def test_lejepa_averages_sigreg_over_views_and_mixes_by_the_weight():
    z = torch.stack([draw(9, 4), 3 * draw(9, 4, seed=1), draw(9, 4, seed=2) + 2])
    expected = [SIGReg(8)(view, torch.Generator().manual_seed(0)).item() for view in z]
    loss, parts = run(LeJEPALoss(weight=0.3, slices=8), z)
    assert parts["sigreg"].item() == pytest.approx(np.mean(expected))
    assert loss.item() == pytest.approx(0.7 * parts["invariance"].item() + 0.3 * np.mean(expected))
    pooled = SIGReg(8)(z.flatten(0, 1), torch.Generator().manual_seed(0)).item()
    assert abs(pooled - np.mean(expected)) > 0.1


def test_lejepa_has_a_gradient_through_the_center():
    z = draw(3, 2, 4).requires_grad_()
    LeJEPALoss(weight=0.0, slices=4, global_views=1)(z)[0].backward()
    numbers = z.numel()
    with torch.no_grad():
        assert torch.allclose(z.grad[0], 2 * (2 * z[0] - z[1] - z[2]) / numbers)  # the center itself
        assert torch.allclose(z.grad[1], 2 * (z[1] - z[0]) / numbers)


# -- UniSiam -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("views", [2, 3])
def test_unisiam_is_that_of_plain_loops_over_all_ordered_pairs(views):
    z, q, temperature = draw(views, 4, 5), draw(views, 4, 5, seed=1), 1.5
    x, p = lengths_one(z.numpy()), lengths_one(q.numpy())
    cosine = np.mean([p[a, i] @ x[b, i] for a, b in permutations(range(views), 2) for i in range(4)])
    heat = [
        np.mean([math.exp(x[v, i] @ x[w, j] / temperature) for w in range(views) for j in range(4) if j != i])
        for v in range(views)
        for i in range(4)
    ]
    loss, parts = UniSiamLoss(weight=0.4, temperature=temperature)(z, q)
    assert loss.item() == pytest.approx(-cosine + 0.4 * math.log(np.mean(heat)))
    assert parts["uniformity"].item() == pytest.approx(math.log(np.mean(heat)))


def test_unisiam_stops_embeddings_in_the_cosine_only():
    z, q = draw(2, 4, 5).requires_grad_(), draw(2, 4, 5, seed=1).requires_grad_()
    grads = torch.autograd.grad(UniSiamLoss(weight=0.0)(z, q)[0], (z, q))
    assert (grads[0] == 0).all()
    expected = torch.autograd.grad(-F.cosine_similarity(q, z.detach().flip(0), dim=-1).mean(), q)[0]
    assert torch.allclose(grads[1], expected)
    assert torch.autograd.grad(UniSiamLoss(weight=1.0)(z, q)[0], z)[0].abs().min() > 0


# -- all ---------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "factors"),
    [
        ("infonce", {"alignment": 1, "uniformity": 1}),
        ("vicreg", {"invariance": 25, "variance": 25, "covariance": 1}),
        ("lejepa", {"invariance": 0.95, "sigreg": 0.05}),
        ("unisiam", {"cosine": -1, "uniformity": 0.1}),
    ],
)
def test_parts_add_up_to_the_loss_with_the_papers_factors(name, factors):
    loss, parts = run(LOSSES[name](), draw(3, 6, 5).requires_grad_())
    assert parts.keys() == factors.keys()
    assert loss.item() == pytest.approx(sum(factor * parts[key].item() for key, factor in factors.items()))
    assert loss.shape == ()
    assert loss.requires_grad
    assert not any(part.requires_grad or part.shape for part in parts.values())


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("infonce", {"temperature": 0.5}),
        ("vicreg", {"invariance": 1.0}),
        ("vicreg", {"variance": 1.0}),
        ("vicreg", {"covariance": 5.0}),
        ("lejepa", {"weight": 0.5}),
        ("lejepa", {"slices": 3}),
        ("lejepa", {"global_views": 1}),
        ("unisiam", {"weight": 0.5}),
        ("unisiam", {"temperature": 0.5}),
    ],
    ids=str,
)
def test_every_setting_changes_the_loss(name, settings):
    z = 0.5 * draw(3, 6, 5)
    assert run(LOSSES[name](), z)[0].item() != pytest.approx(run(LOSSES[name](**settings), z)[0].item(), rel=1e-3)


@every
def test_gradients_are_those_of_differences_and_reach_every_view(name):
    loss, z, q = LOSSES[name](), (0.5 * draw(3, 4, 3)).requires_grad_(), draw(3, 4, 3, seed=1).requires_grad_()
    if loss.needs_predictor:
        assert torch.autograd.gradcheck(lambda x: run(loss, z.detach(), x)[0], q)  # z is stopped in part: see above
    else:
        assert torch.autograd.gradcheck(lambda x: run(loss, x)[0], z)
    run(loss, z, q)[0].backward()
    assert (z.grad.abs().amax((1, 2)) > 0).all()


@every
def test_half_precision_and_autocast_cost_nothing(name):
    loss, z = LOSSES[name](), draw(2, 16, 8).bfloat16()
    exact = run(loss, z.double())[0].item()
    assert run(loss, z)[0].dtype == torch.float32
    assert run(loss, z)[0].item() == pytest.approx(exact, rel=1e-4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert run(loss, z.float())[0].item() == pytest.approx(exact, rel=1e-4)


@every
def test_collapsed_embeddings_have_finite_losses_and_gradients(name):
    for z in (torch.zeros(2, 6, 4), torch.ones(2, 6, 4)):
        z = z.requires_grad_()
        value = run(LOSSES[name](), z)[0]
        value.backward()
        assert value.isfinite()
        assert z.grad.isfinite().all()
        assert z.grad.abs().max() < 1e3


@every
def test_one_sample_has_a_finite_loss_or_is_refused(name):
    z = draw(2, 1, 4).requires_grad_()
    if name in ("vicreg", "unisiam"):
        with pytest.raises(ValueError, match=r"shape \(2, 1, 4\).* at least 2"):
            run(LOSSES[name](), z)
        return
    value = run(LOSSES[name](), z)[0]
    value.backward()
    assert value.isfinite()
    assert z.grad.isfinite().all()
    assert name != "infonce" or value.item() == 0


@every
def test_embeddings_of_another_shape_are_refused(name):
    for shape in ((4, 3), (1, 4, 3), (2, 0, 3), (2, 4, 0), (2, 2, 4, 3)):
        with pytest.raises(ValueError, match=str(shape)[1:-1]):
            run(LOSSES[name](), torch.zeros(shape))


def test_only_unisiam_needs_a_predictor():
    assert [LOSSES[name]().needs_predictor for name in LOSSES] == [False, False, False, True]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: InfoNCE(temperature=0.0), "temperature is 0.0"),
        (lambda: VICRegLoss(variance=-1.0), "variance -1.0"),
        (lambda: LeJEPALoss(weight=1.5), "weight is 1.5"),
        (lambda: LeJEPALoss(slices=0), "slices is 0"),
        (lambda: LeJEPALoss(global_views=0), "global_views is 0"),
        (lambda: LeJEPALoss(global_views=3)(torch.zeros(2, 4, 3)), "global_views is 3, but there are 2"),
        (lambda: UniSiamLoss(weight=-0.1), "weight is -0.1"),
        (lambda: UniSiamLoss(temperature=-1.0), "temperature is -1.0"),
        (lambda: UniSiamLoss()(torch.zeros(2, 4, 3), torch.zeros(2, 4, 5)), r"shape \(2, 4, 5\), embeddings \(2, 4, 3"),
    ],
)
def test_what_cannot_be_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
