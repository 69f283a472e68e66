import math

import pytest
import torch

from selftrain.probes import feature_std, knn_accuracy, knn_predict, rankme


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


def test_rankme_and_std_of_collapsed_features_are_finite_and_low():
    assert math.isfinite(rankme(torch.zeros(8, 4)))
    assert rankme(torch.ones(8, 4)) == pytest.approx(1, abs=1e-3)
    assert feature_std(torch.ones(8, 4)) == 0


def test_feature_std_is_the_mean_over_features():
    z = torch.tensor([[0.0, 1.0], [2.0, 1.0]])
    assert feature_std(z) == pytest.approx(0.5)


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
    reference = torch.nn.functional.normalize(torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.8, -0.6]]), dim=1)
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
    with pytest.raises(ValueError, match="neighbors is 0"):
        knn_predict(x, y, x, neighbors=0)
    with pytest.raises(ValueError, match="class numbers from 0"):
        knn_predict(x, y - 1, x)
    with pytest.raises(ValueError, match="4 class numbers"):
        knn_predict(x, y[:3], x)
