"""The order by similarity: against orders that are known, and with memory that does not grow with the square."""

import numpy as np
import pytest
import torch
from scipy.cluster import hierarchy

from selftrain.data import ArraySet, Pile, PointViews
from selftrain.labels.page.similar import looks, similarity_order
from selftrain.labels.page.source import inputs_of


@pytest.mark.parametrize("size", [1, 2, 3, 150, 3000])
def test_numbers_on_a_line_come_in_their_order(size, monkeypatch):
    asked, linkage = [], hierarchy.linkage
    monkeypatch.setattr(
        hierarchy, "linkage", lambda rows, *given, **named: asked.append(len(rows)) or linkage(rows, *given, **named)
    )
    x = np.random.default_rng(0).permutation(size)[:, None].astype(float)
    order = similarity_order(x)
    assert sorted(order) == list(range(size))
    steps = np.diff(x[order, 0])
    assert (np.abs(steps) == 1).all()  # up or down, also from part to part
    assert max(asked, default=0) <= 200  # what is compared in pairs


def test_alike_samples_are_neighbors_and_equal_ones_are_no_trouble():
    generator = np.random.default_rng(1)
    kind = generator.integers(0, 7, 900)
    rows = generator.normal(size=(7, 20))[kind] * 5 + generator.normal(size=(900, 20)) * 0.1
    assert (np.diff(kind[similarity_order(rows)]) != 0).sum() == 6  # each kind in one piece
    assert sorted(similarity_order(np.zeros((500, 3)))) == list(range(500))


@pytest.mark.parametrize(
    ("x", "kind"),
    [
        (torch.rand(6, 3, 20, 20), None),
        (torch.rand(6, 4) * torch.tensor([1.0, 1e6, 1.0, 0.0]), None),  # units do not count
        (torch.rand(6, 2, 90), "series"),
        (torch.rand(6, 30, 3), "points"),
    ],
)
def test_every_kind_of_sample_has_a_look(x, kind):
    views = PointViews() if kind == "points" else None

    def seen(x):
        pile = Pile(ArraySet(x[:2], [0, 1], kind=kind), ArraySet(x, kind=kind), views=views)
        return looks(inputs_of(pile, np.arange(6)))

    found = seen(x)
    assert len(found) == 6
    assert np.isfinite(found).all()
    if x.dim() == 2:
        assert np.allclose(found.std(0), x.std(0) > 0)
    if kind == "points":  # a cloud is a set: its points in another order are the same cloud
        assert np.allclose(seen(x.flip(1)), found)
