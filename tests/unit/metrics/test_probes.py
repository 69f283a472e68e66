import math
import statistics

import pytest
import torch
from torch.nn import functional as F

from selftrain.metrics.features import (
    alignment,
    feature_spread,
    feature_std,
    knn_accuracy,
    knn_predict,
    lidar,
    rankme,
    standardized,
    uniformity,
)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double()


def orthonormal(n, k, seed=0):
    return torch.linalg.qr(torch.randn(n, k, generator=torch.Generator().manual_seed(seed)).double())[0]


@pytest.mark.parametrize("k", [1, 3, 8])
def test_rankme_of_orthonormal_columns_is_their_number(k):
    assert rankme(orthonormal(40, k)) == pytest.approx(k, rel=1e-4)


def test_rankme_of_a_rank_one_matrix_is_one():
    assert rankme(torch.outer(torch.rand(50), torch.rand(9))) == pytest.approx(1, abs=1e-3)


def test_rankme_follows_the_formula_of_the_paper():
    u, v = orthonormal(30, 3), orthonormal(5, 3, 1)
    z = u @ torch.diag(torch.tensor([4.0, 3.0, 1.0]).double()) @ v.T
    shares = [0.5, 0.375, 0.125]
    assert rankme(z) == pytest.approx(math.exp(-sum(p * math.log(p) for p in shares)), rel=1e-4)
    added = [p + 0.1 for p in [*shares, 0, 0]]  # not normalized again
    assert rankme(z, eps=0.1) == pytest.approx(math.exp(-sum(p * math.log(p) for p in added)), rel=1e-6)


def test_rankme_ignores_scale_and_rotation_but_not_a_shift():
    z = torch.randn(60, 6, generator=torch.Generator().manual_seed(2)).double()
    assert rankme(-5 * z) == pytest.approx(rankme(z))
    assert rankme(z @ orthonormal(6, 6, 3)) == pytest.approx(rankme(z))
    assert rankme(z + 10) < 0.5 * rankme(z)
    assert rankme(z + 10, center=True) == pytest.approx(rankme(z, center=True))


@pytest.mark.parametrize("center", [False, True])
def test_rankme_of_the_covariance_is_that_of_its_eigenvalues(center):
    z = normal(50, 7) @ torch.diag(torch.arange(1.0, 8).double()) + 2
    middle = z.mean(0) if center else torch.zeros(7).double()
    values = torch.linalg.eigvalsh((z - middle).T @ (z - middle) / 49)
    share = values / values.sum()
    expected = math.exp(-float((share * share.log()).sum()))
    assert rankme(z, center=center, spectrum="covariance") == pytest.approx(expected, rel=1e-5)
    assert rankme(z, center=center, spectrum="covariance") < 0.95 * rankme(z, center=center)


def test_rankme_takes_no_share_for_nothing_where_eps_is_zero():
    assert rankme(torch.outer(torch.rand(50) + 1, torch.rand(9) + 1), eps=0) == pytest.approx(1, abs=1e-5)
    assert rankme(torch.zeros(3, 3), eps=0) == 1


def test_rankme_and_std_of_collapsed_features_are_finite_and_low():
    assert math.isfinite(rankme(torch.zeros(8, 4)))
    assert rankme(torch.ones(8, 4)) == pytest.approx(1, abs=1e-3)
    assert feature_std(torch.ones(8, 4)) == 0


def test_feature_std_is_the_mean_over_features():
    z = torch.tensor([[0.0, 1.0], [2.0, 1.0]])
    assert feature_std(z) == pytest.approx(0.5)


def test_feature_spread_is_the_share_of_the_size_that_differs():
    """Of features m + s n with n of deviation 1: s / sqrt(m^2 + s^2), over all columns together."""
    signs = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    z = torch.tensor([4.0, 0.0]) + signs * torch.tensor([3.0, 1.0])
    assert feature_spread(z) == pytest.approx(math.sqrt((9 + 1) / (16 + 9 + 1)))
    assert feature_spread(-7 * z) == pytest.approx(feature_spread(z))
    assert feature_spread(signs) == pytest.approx(1)
    assert feature_spread(torch.full((4, 2), 5.0)) == feature_spread(torch.zeros(4, 2)) == 0
    assert feature_spread(signs + 100) == pytest.approx(0.01, rel=1e-4)


def test_standardized_features_are_in_units_of_the_reference():
    reference, z = 3 * normal(30, 4) + 100, normal(7, 4, seed=1)
    reference[:, 2] = 5.0
    reference[:, 3] = 1e4 * (1 + 1e-8 * normal(30))  # rounding
    found = standardized(z, reference)
    expected = (z - reference.mean(0)) / reference.std(0, correction=0)
    assert torch.allclose(found[:, :2], expected[:, :2])
    assert torch.allclose(found[:, 2:], z[:, 2:] - reference[:, 2:].mean(0))  # constant ones are centered
    assert torch.equal(standardized(z.float(), reference), standardized(z.float().double(), reference))


# -- LiDAR: mean over seeds, so that the tolerance is that of the mean -------------------------------------------------
SAMPLES, VIEWS, WIDTH = 500, 10, 32


def mean_lidar(make, seeds=6):
    found = [lidar(make(seed)) for seed in range(seeds)]
    return statistics.mean(f.rank for f in found), statistics.mean(f.ratio for f in found)


def test_lidar_of_identical_views_of_isotropic_samples():
    rank, ratio = mean_lidar(lambda seed: normal(SAMPLES, 1, WIDTH, seed=seed).expand(-1, VIEWS, -1))
    assert rank == pytest.approx(30.96, abs=0.1)  # a single seed scatters by 0.05
    assert ratio == pytest.approx(1e4, rel=0.02)  # variance 1 over delta


def low_rank(seed):
    """Centers of samples in a random subspace of 4 dimensions, noise 0.1 in each view."""
    centers = normal(SAMPLES, 4, seed=seed) @ normal(4, WIDTH, seed=100 + seed)
    return centers[:, None] + 0.1 * normal(SAMPLES, VIEWS, WIDTH, seed=200 + seed)


def test_lidar_of_four_directions_and_a_little_noise():
    rank, ratio = mean_lidar(low_rank, seeds=12)
    assert rank == pytest.approx(3.85, abs=0.2)  # a single seed scatters by 0.13
    assert ratio > 100


def test_lidar_does_not_detect_noise_but_the_ratio_does():
    rank, ratio = mean_lidar(lambda seed: 0.3 * normal(SAMPLES, VIEWS, WIDTH, seed=seed))
    assert rank == pytest.approx(30.9, abs=0.12)  # a single seed scatters by 0.08
    assert ratio == pytest.approx(1 / VIEWS, rel=0.03)


def test_lidar_follows_the_formula():
    views = normal(9, 4, 3)
    centers = views.mean(1)
    apart = centers - centers.mean(0)
    between = sum(torch.outer(a, a) for a in apart) / 8
    inside = (views - centers[:, None]).flatten(0, 1)
    within = sum(torch.outer(e, e) for e in inside) / (9 * 3) + 0.2 * torch.eye(3).double()
    size, turn = torch.linalg.eigh(within)
    root = turn @ torch.diag(size**-0.5) @ turn.T
    values = torch.linalg.eigvalsh(root @ between @ root)
    share = values / values.sum() + 0.05
    found = lidar(views, delta=0.2, eps=0.05)
    assert found.rank == pytest.approx(math.exp(-float((share * share.log()).sum())), rel=1e-9)
    assert found.ratio == pytest.approx(float(between.trace() / within.trace()), rel=1e-9)


def test_lidar_counts_directions_that_views_agree_on():
    wide = normal(400, 1, 8) * torch.tensor([5.0, 5, 5, 5, 1, 1, 1, 1]).double()
    noise = normal(400, 6, 8, seed=1) * torch.tensor([50.0, 50, 50, 50, 0.1, 0.1, 0.1, 0.1]).double()
    assert rankme(wide[:, 0]) > 6  # sees all
    assert lidar(wide + noise).rank == pytest.approx(4, abs=0.3)


# -- on the sphere -----------------------------------------------------------------------------------------------------
def test_uniformity_is_the_log_of_the_mean_potential_of_pairs():
    z = normal(12, 3)
    u = z / z.norm(dim=1, keepdim=True)
    pairs = [(i, j) for i in range(12) for j in range(12) if i != j]
    for t in (2.0, 5.0):
        mean = statistics.mean(math.exp(-t * float((u[i] - u[j]).square().sum())) for i, j in pairs)
        assert uniformity(z, t=t) == pytest.approx(math.log(mean), rel=1e-9)
    assert uniformity(7 * z) == pytest.approx(uniformity(z))


def test_uniformity_of_extremes():
    assert uniformity(torch.ones(5, 4)) == pytest.approx(0)
    assert uniformity(torch.tensor([[1.0, 0.0], [-3.0, 0.0]])) == pytest.approx(-8)  # opposite: exp(-2 * 4)
    assert uniformity(torch.tensor([[1.0, 0.0], [-3.0, 0.0]]), t=1000) == pytest.approx(-4000)
    assert uniformity(normal(500, 64)) == pytest.approx(-4, abs=0.2)


def test_alignment_is_the_mean_distance_on_the_sphere():
    first, second = torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.tensor([[0.0, 3.0], [0.0, 5.0]])
    assert alignment(first, second) == pytest.approx(1)  # squares 2 and 0
    assert alignment(first, second, power=1) == pytest.approx(math.sqrt(2) / 2)
    assert alignment(first, -first) == pytest.approx(4)


# -- neighbors ---------------------------------------------------------------------------------------------------------
def blobs(n, seed):
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % 2
    return torch.stack([1 - 2.0 * y, torch.ones(n)], 1) + 0.1 * torch.randn(n, 2, generator=generator), y


def test_knn_tells_two_blobs_apart():
    (x, y), (q, t) = blobs(60, 0), blobs(200, 1)
    assert knn_accuracy(x, y, q, t) == 1.0
    assert knn_accuracy(x, y, q, 1 - t) == 0.0


def test_knn_is_at_chance_when_labels_say_nothing():
    generator = torch.Generator().manual_seed(0)
    x, q = torch.randn(400, 6, generator=generator), torch.randn(1000, 6, generator=generator)
    y, t = torch.arange(400) % 4, torch.arange(1000) % 4
    assert knn_accuracy(x, y, q, t) == pytest.approx(0.25, abs=0.07)  # 5 standard deviations


def test_knn_votes_by_cosine_and_similarity():
    reference = F.normalize(torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.8, -0.6]]), dim=1)
    labels = torch.tensor([0, 1, 1])
    query = torch.tensor([[5.0, 0.0]])  # similarities 1, .8, .8
    assert knn_predict(reference, labels, query, neighbors=3, temperature=0.07).item() == 0
    assert knn_predict(reference, labels, query, neighbors=3, temperature=1.0).item() == 1  # e < 2 e^.8
    assert knn_predict(100 * reference, labels, query, neighbors=1, temperature=1.0).item() == 0


def test_knn_asks_no_more_neighbors_than_the_rarest_class_has():
    reference = torch.tensor([[1.0, 0.05], [0.8, 0.6], [0.8, -0.6], [0.8, 0.61]])
    labels = torch.tensor([2, 5, 5, 5])
    query = torch.tensor([[1.0, 0.0]])
    assert knn_predict(reference, labels, query, temperature=10.0).item() == 2
    assert knn_predict(reference, labels, query, neighbors=4, temperature=10.0).item() == 5
    many = torch.cat([reference[:1].expand(15, 2), reference[1:2].expand(30, 2)])
    classes = torch.tensor([0] * 15 + [1] * 30)
    assert knn_predict(many, classes, query, temperature=100.0).item() == 0  # 15 votes, all of them for class 0


def test_probes_refuse_what_they_cannot_judge():
    x, y = blobs(4, 0)
    with pytest.raises(ValueError, match=r"shape \(4,\)"):
        rankme(x[:, 0])
    with pytest.raises(ValueError, match="not finite"):
        rankme(x * float("nan"))
    with pytest.raises(ValueError, match="not finite"):
        standardized(x, x * float("nan"))
    with pytest.raises(ValueError, match="neighbors is 0"):
        knn_predict(x, y, x, neighbors=0)
    with pytest.raises(ValueError, match="class numbers from 0"):
        knn_predict(x, y - 1, x)
    with pytest.raises(ValueError, match="4 class numbers"):
        knn_predict(x, y[:3], x)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda z: rankme(z, spectrum="eigen"), "spectrum is 'eigen'; choose 'singular'"),
        (lambda z: lidar(z), r"views have shape \(6, 2\)"),
        (lambda z: lidar(z[:, None]), r"views have shape \(6, 1, 2\)"),
        (lambda z: lidar(z.view(3, 2, 2), delta=0), "delta is 0; it must be above 0"),
        (lambda z: lidar(z.view(3, 2, 2) / 0), "not finite"),
        (lambda z: uniformity(z[:1]), "there are 1 samples and t is 2.0"),
        (lambda z: uniformity(z, t=0), "t is 0"),
        (lambda z: alignment(z, z[:5]), r"views are \(6, 2\) and \(5, 2\)"),
        (lambda z: alignment(z, z, power=0), "power is 0"),
    ],
)
def test_figures_without_labels_refuse_what_they_cannot_judge(call, message):
    with pytest.raises(ValueError, match=message):
        call(normal(6, 2))
