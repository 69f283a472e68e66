"""SIGReg, variance, covariance and uniformity against plain loops and closed forms."""

import math

import numpy as np
import pytest
import torch

from selftrain.pretrain.regularizers import (
    SIGReg,
    covariance_term,
    epps_pulley,
    precise,
    uniformity_term,
    unit,
    variance_term,
)

TERMS = {
    "sigreg": SIGReg(32),
    "variance": variance_term,
    "covariance": covariance_term,
    "uniformity": lambda z: uniformity_term(z, 0.5),
}
each = pytest.mark.parametrize("name", TERMS)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def draw(*shape, seed=0, scale=1.0, dtype=torch.float32):
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def statistic(u, low, high, points):
    """Epps-Pulley statistic of numbers ``u`` by the complex characteristic function and a plain trapezoid rule."""
    knots = np.linspace(low, high, points)
    heights = []
    for t in knots:
        phi = sum(np.exp(1j * t * value) for value in u) / len(u)
        heights.append(abs(phi - math.exp(-t * t / 2)) ** 2 * math.exp(-t * t / 2))
    return len(u) * sum((a + b) / 2 for a, b in zip(heights, heights[1:], strict=False)) * (knots[1] - knots[0])


# -- SIGReg ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("settings", "interval"),
    [
        ({}, (-3, 3, 33)),  # [0, 3] x 17, counted twice
        ({"points": 9, "limit": 5.0}, (-5, 5, 17)),  # the paper's
        ({"points": 4}, (-3, 3, 7)),
    ],
)
def test_sigreg_is_the_mean_statistic_of_the_projections(settings, interval):
    z, sigreg = draw(20, 6, dtype=torch.float64) * 1.5 + 0.3, SIGReg(5, **settings)
    directions = sigreg.directions(6, torch.Generator().manual_seed(3)).double().numpy()
    expected = [statistic(z.numpy() @ a, *interval) for a in directions.T]
    assert sigreg(z, torch.Generator().manual_seed(3)).item() == pytest.approx(np.mean(expected), rel=1e-6)


def test_every_setting_of_sigreg_changes_it():
    z, values = draw(20, 6, scale=2.0), []
    for settings in ({}, {"slices": 4}, {"points": 5}, {"limit": 5.0}):
        values.append(SIGReg(**({"slices": 8} | settings))(z, torch.Generator().manual_seed(0)).item())
    assert len(set(values)) == 4


@pytest.mark.parametrize(
    ("points", "limit", "expected", "digits"),
    [
        (17, 3.0, 1.0525, 5e-5),
        (9, 5.0, 1.0594, 5e-5),
        (2001, 12.0, math.sqrt(2 * math.pi) - math.sqrt(2 * math.pi / 3), 1e-7),  # 1.05943
    ],
)
def test_the_expectation_under_the_gaussian_is_a_constant(points, limit, expected, digits):
    """E |phi_hat - phi|^2 = (1 - phi^2) / N: fed in as such, N cancels."""
    phi = torch.exp(-torch.linspace(0, limit, points, dtype=torch.float64).square() / 2)
    for count in (10, 5000):
        value = epps_pulley(phi + ((1 - phi.square()) / count).sqrt(), torch.zeros_like(phi), count, limit)
        assert value.item() == pytest.approx(expected, abs=digits)


@pytest.mark.parametrize("count", [256, 1024, 4096])
def test_gaussian_samples_have_that_value_on_average(count):
    sigreg, generator = SIGReg(32), torch.Generator().manual_seed(1)
    values = [sigreg(torch.randn(count, 32, generator=generator), generator) for _ in range(40)]
    assert torch.stack(values).mean().item() == pytest.approx(1.0525, abs=0.1)


def test_collapse_and_too_wide_a_spread_cost_a_multiple_of_the_rows():
    assert SIGReg(8)(torch.zeros(100, 16)).item() / 100 == pytest.approx(0.402, abs=5e-4)
    assert SIGReg(8)(torch.zeros(900, 16)).item() / 900 == pytest.approx(0.402, abs=5e-4)
    # closed form of the paper's interval: integral (1 - k)^2 k
    whole = math.sqrt(2 * math.pi) * (1 - math.sqrt(2) + 1 / math.sqrt(3))
    assert SIGReg(8, 9, 5.0)(torch.zeros(100, 16)).item() / 100 == pytest.approx(whole, abs=5e-4)
    for count in (1024, 4096):
        assert SIGReg(64)(draw(count, 32, scale=2.0)).item() / count == pytest.approx(0.24, abs=0.01)


def test_all_zeros_is_a_stationary_point():
    z = torch.zeros(64, 16, requires_grad=True)
    SIGReg(32)(z).backward()
    assert (z.grad == 0).all()
    near = draw(64, 16, scale=1e-3).requires_grad_()
    SIGReg(32)(near).backward()
    assert 1e-5 < near.grad.abs().max().item() < 1e-2


def test_sigreg_pulls_embeddings_towards_the_gaussian():
    z = (draw(128, 4, scale=0.3) + 1.0).requires_grad_()
    before = SIGReg(64)(z).item()
    for _ in range(60):
        (grad,) = torch.autograd.grad(SIGReg(64)(z), z)
        z = (z - 0.5 * grad).detach().requires_grad_()
    assert SIGReg(64)(z).item() < before / 5
    assert z.std(0).mean().item() == pytest.approx(1, abs=0.2)
    assert z.mean(0).abs().max().item() < 0.2


def test_processes_that_average_their_means_get_the_value_of_the_whole():
    z, sigreg = draw(24, 8) + torch.arange(24)[:, None] / 12, SIGReg(16)
    directions = sigreg.directions(8)
    shares = [sigreg.means(part, directions) for part in z.chunk(2)]
    cos_mean, sin_mean = (torch.stack(side).mean(0) for side in zip(*shares, strict=True))
    together = epps_pulley(cos_mean, sin_mean, 24).mean()
    assert together.item() == pytest.approx(epps_pulley(*sigreg.means(z, directions), 24).mean().item(), rel=1e-5)
    apart = torch.stack([epps_pulley(*share, 12).mean() for share in shares]).mean()
    assert abs(apart.item() - together.item()) > 0.05


@pytest.mark.parametrize("width", [2, 3, 8])
def test_directions_are_uniform_on_the_sphere(width):
    """Of a uniform direction a and any unit vector u: E <a, u>^2 = 1 / K and E <a, u>^4 = 3 / (K (K + 2))."""
    directions = SIGReg(100_000).directions(width, torch.Generator().manual_seed(0)).double()
    axis, diagonal = torch.eye(width, dtype=torch.double)[0], torch.full((width,), width**-0.5, dtype=torch.double)
    for u in (axis, diagonal):
        along = u @ directions
        assert along.mean().abs() < 0.01
        assert float(along.square().mean()) == pytest.approx(1 / width, rel=0.02)
        assert float(along.pow(4).mean()) == pytest.approx(3 / (width * (width + 2)), rel=0.03)


def test_directions_are_fresh_unit_vectors_of_the_cpus_random_numbers():
    sigreg, z = SIGReg(512), draw(30, 3)
    directions = sigreg.directions(3)
    assert directions.shape == (3, 512)
    assert torch.allclose(directions.norm(dim=0), torch.ones(512))
    assert directions.mean(1).abs().max() < 0.15  # on all sides
    assert not torch.equal(directions, sigreg.directions(3))
    torch.manual_seed(7)
    first, second = sigreg(z), sigreg(z)
    torch.manual_seed(7)
    assert torch.equal(first, sigreg(z))
    assert not torch.equal(first, second)
    state = torch.get_rng_state()
    own = [sigreg(z, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    assert torch.equal(own[0], own[1])
    assert not torch.equal(own[0], own[2])
    assert torch.equal(state, torch.get_rng_state())  # a generator of one's own leaves the global one alone


def test_leading_axes_are_judged_one_by_one_along_the_same_directions():
    z, sigreg = draw(3, 20, 6), SIGReg(16)
    alone = [sigreg(part, torch.Generator().manual_seed(2)) for part in z]
    assert sigreg(z, torch.Generator().manual_seed(2)).item() == pytest.approx(torch.stack(alone).mean().item())
    for term in (variance_term, covariance_term):
        assert term(z).item() == pytest.approx(torch.stack([term(part) for part in z]).mean().item(), rel=1e-5)


# -- variance and covariance -------------------------------------------------------------------------------------------
def test_variance_and_covariance_are_those_of_plain_loops():
    z = draw(7, 4, dtype=torch.float64) * torch.tensor([0.2, 0.8, 1.0, 4.0])
    x = z.numpy()
    covariance = np.zeros((4, 4))
    for d in range(4):
        for e in range(4):
            covariance[d, e] = sum((row[d] - x[:, d].mean()) * (row[e] - x[:, e].mean()) for row in x) / 6
    short = [max(0.0, 1.5 - math.sqrt(covariance[d, d] + 0.01)) for d in range(4)]
    assert 0 < short.count(0.0) < 4
    assert variance_term(z, 1.5, 0.01).item() == pytest.approx(np.mean(short))
    off = sum(covariance[d, e] ** 2 for d in range(4) for e in range(4) if d != e)
    assert covariance_term(z).item() == pytest.approx(off / 4)


def test_variance_is_free_from_the_target_on_and_costs_all_of_it_at_collapse():
    z = draw(50, 5)
    z = (z - z.mean(0)) / z.std(0)
    assert variance_term(z).item() == 0.0
    assert variance_term(0.5 * z, eps=1e-8).item() == pytest.approx(0.5, abs=1e-4)
    assert variance_term(0.5 * z, target=0.4).item() == 0.0
    assert variance_term(torch.ones(8, 3)).item() == pytest.approx(0.99)  # 1 - sqrt(1e-4)


def test_dimensions_that_do_not_vary_together_have_no_covariance():
    corners = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    assert covariance_term(corners).item() == 0.0
    assert covariance_term(corners[:, :1].repeat(1, 2)).item() == pytest.approx((4 / 3) ** 2)
    assert covariance_term(corners[:, :1]).item() == 0.0  # a single dimension


# -- uniformity --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("views", [1, 2, 3])
def test_uniformity_is_that_of_plain_loops(views):
    z, temperature, samples = draw(views, 4, 3, dtype=torch.float64), 0.7, 4
    rows = [(i, z[v, i] / z[v, i].norm()) for v in range(views) for i in range(samples)]
    means = []
    for i, mine in rows:
        others = [math.exp(float(mine @ theirs) / temperature) for j, theirs in rows if j != i]
        assert len(others) == views * (samples - 1)
        means.append(sum(others) / len(others))
    assert uniformity_term(z, temperature).item() == pytest.approx(math.log(sum(means) / len(means)))


@pytest.mark.parametrize("temperature", [0.01, 0.5, 2.0])
def test_uniformity_of_equal_embeddings_is_the_highest(temperature):
    z = torch.ones(2, 5, 3) * torch.rand(2, 5, 1)
    assert uniformity_term(z, temperature).item() == pytest.approx(1 / temperature, rel=1e-5)
    assert uniformity_term(draw(2, 5, 3), temperature).item() < 1 / temperature


# -- all ---------------------------------------------------------------------------------------------------------------
def value(name, z):
    torch.manual_seed(0)
    return TERMS[name](z)


@each
def test_terms_have_the_gradient_of_their_differences(name):
    z = draw(2, 5, 3, scale=0.7, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: value(name, x), z)


@each
def test_half_precision_and_autocast_cost_nothing(name):
    z = draw(2, 16, 8).bfloat16()
    exact = value(name, z.double()).item()
    assert value(name, z).dtype == torch.float32
    assert value(name, z).item() == pytest.approx(exact, rel=1e-4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert value(name, z.float()).item() == pytest.approx(exact, rel=1e-4)
    assert value(name, z.double()).dtype == torch.float64


@each
def test_collapsed_embeddings_have_finite_values_and_gradients(name):
    for z in (torch.zeros(2, 6, 4), torch.full((2, 6, 4), 3.0), torch.full((2, 6, 4), 1e-30)):
        z = z.requires_grad_()
        term = value(name, z)
        term.backward()
        assert term.isfinite()
        assert z.grad.isfinite().all()
        assert z.grad.abs().max() < 1e3


def test_a_single_row_is_judged_or_refused():
    assert SIGReg(4)(draw(1, 3)).isfinite()
    for term in (variance_term, covariance_term):
        with pytest.raises(ValueError, match=r"shape \(1, 3\).*at least 2 row"):
            term(draw(1, 3))
    with pytest.raises(ValueError, match=r"shape \(2, 1, 3\).*at least 2 samples"):
        uniformity_term(draw(2, 1, 3), 1.0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SIGReg(0), "slices is 0"),
        (lambda: SIGReg(points=1), "points 1"),
        (lambda: SIGReg(limit=0.0), "limit is 0.0"),
        (lambda: SIGReg(limit=math.inf), "limit is inf"),
        (lambda: SIGReg()(torch.zeros(5)), r"shape \(5,\)"),
        (lambda: SIGReg()(torch.zeros(0, 5)), r"shape \(0, 5\)"),
        (lambda: variance_term(torch.zeros(4, 2), target=0.0), "target is 0.0"),
        (lambda: variance_term(torch.zeros(4, 2), eps=0.0), "eps 0.0"),
        (lambda: uniformity_term(torch.zeros(2, 4, 2), 0.0), "temperature is 0.0"),
        (lambda: uniformity_term(torch.zeros(4, 2), 1.0), r"shape \(4, 2\)"),
    ],
)
def test_what_cannot_be_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_short_vectors_have_no_direction_and_no_gradient():
    z = torch.tensor([[3.0, 4.0], [0.0, 0.0], [1e-14, 0.0]], requires_grad=True)
    rows = unit(z)
    assert torch.allclose(rows, torch.tensor([[0.6, 0.8], [0.0, 0.0], [0.0, 0.0]]))
    rows[:, 0].sum().backward()
    assert torch.allclose(z.grad, torch.tensor([[0.128, -0.096], [0.0, 0.0], [0.0, 0.0]]))
    assert precise(z.half()).dtype == torch.float32
    assert precise(z.double()).dtype == torch.float64
