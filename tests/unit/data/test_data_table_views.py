"""Columns of category codes in views of tables; what holds for all tables is in test_views.py."""

import hashlib

import pytest
import torch

from selftrain.data import ArraySet, TableViews
from selftrain.data.base.statistics import statistics

GENERATOR = torch.Generator().manual_seed(0)
NUMBERS = torch.randn(3000, 3, generator=GENERATOR) * torch.tensor([1.0, 5.0, 0.1]) + 7
CODES = torch.randint(0, 6, (3000, 2), generator=GENERATOR).float()
TABLE = torch.cat([CODES[:, :1], NUMBERS, CODES[:, 1:]], 1)
CODED, NUMERIC = [0, 4], [1, 2, 3]
INDEX = torch.arange(3000)
BEFORE = "ac602cf8ac4b76daa60b3ba55b5c8f64c7e50cf3bb81c433e7d241f2c12781c8"  # of a view before there were categories
BANK = torch.cat([TABLE[:500, :4] + 100, TABLE[:500, 4:] + 10], 1)  # values that no row of the table has


def fitted(**settings):
    return TableViews(**settings).fitted(ArraySet(TABLE))


def view(views, name="strong"):
    return views(name, TABLE, INDEX, 0).x


def test_codes_are_not_standardized():
    mean, std, *_ = statistics(ArraySet(TABLE), categorical=CODED)
    assert mean[CODED].tolist() == [0, 0]
    assert std[CODED].tolist() == [1, 1]
    free = statistics(ArraySet(TABLE))
    assert torch.equal(mean[NUMERIC], free[0][NUMERIC])
    assert torch.equal(std[NUMERIC], free[1][NUMERIC])
    views = fitted(categorical=CODED)
    assert views.mean[CODED].tolist() == [0, 0]
    assert views.std[CODED].tolist() == [1, 1]
    plain = view(views, "plain")
    assert torch.equal(plain[:, CODED], TABLE[:, CODED])
    assert torch.allclose(plain[:, NUMERIC].std(0), torch.ones(3), atol=1e-3)


@pytest.mark.parametrize("given", [{"mean": 3.0}, {"std": 2.0}, {"mean": [3.0] * 5, "std": [2.0] * 5}])
def test_a_given_normalization_spares_codes_too(given):
    views = TableViews(categorical=CODED, bank=BANK, **given)
    assert torch.equal(view(views, "plain")[:, CODED], TABLE[:, CODED])
    assert not torch.equal(view(views, "plain")[:, NUMERIC], TABLE[:, NUMERIC])
    codes = view(views)[:, CODED]
    assert torch.equal(codes, codes.round())


@pytest.mark.parametrize("bank", [None, BANK])
def test_codes_get_no_noise(bank):
    views = fitted(categorical=CODED, weak_noise=1.0, strong_noise=1.0, replace=0.0, bank=bank)
    for name in ("weak", "strong"):
        assert torch.equal(view(views, name)[:, CODED], TABLE[:, CODED])
        assert (view(views, name) != view(views, "plain"))[:, NUMERIC].all()


def test_codes_are_replaced_by_codes_of_the_bank():
    x = view(fitted(categorical=CODED, replace=0.4, bank=BANK))
    for column in CODED:
        changed = x[:, column] != TABLE[:, column]
        assert abs(float(changed.float().mean()) - 0.4) < 0.03
        drawn = x[changed, column]
        assert set(drawn.tolist()) == set(BANK[:, column].tolist())
        counts = torch.bincount((drawn - BANK[:, column].min()).long()).float()
        expected = torch.bincount((BANK[:, column] - BANK[:, column].min()).long()).float()
        assert abs(counts / counts.sum() - expected / expected.sum()).max() < 0.05


def test_without_a_bank_codes_stay():
    x = view(fitted(categorical=CODED, replace=1.0))
    assert torch.equal(x[:, CODED], TABLE[:, CODED])
    assert torch.equal(x[:, NUMERIC], torch.zeros(3000, 3))


@pytest.mark.parametrize("name", ["plain", "weak", "strong", "strong2"])
@pytest.mark.parametrize("bank", [None, BANK])
def test_numbers_are_shown_the_same_whatever_is_categorical(name, bank):
    base, coded = view(fitted(bank=bank), name), view(fitted(categorical=CODED, bank=bank), name)
    assert torch.equal(base[:, NUMERIC], coded[:, NUMERIC])
    assert not torch.equal(base[:, CODED], coded[:, CODED])


def test_views_without_categories_are_what_they_were():
    # exact halves and whole numbers, so that no rounding differs between machines
    table = torch.arange(60).reshape(12, 5).float()
    views = TableViews(strong_noise=0.0, replace=0.5, bank=table[:4] * 2, mean=2.0, std=0.5, seed=5)
    x = views("strong", table, torch.arange(12), 3).x
    assert hashlib.sha256(x.to(torch.int32).numpy().tobytes()).hexdigest() == BEFORE
    assert torch.equal(TableViews(categorical=[], bank=BANK, seed=5)("strong", TABLE, INDEX, 3).x,
                       TableViews(bank=BANK, seed=5)("strong", TABLE, INDEX, 3).x)  # fmt: skip


def test_another_key_keeps_the_categories():
    views = fitted(categorical=CODED, bank=BANK)
    x = view(views.seeded(1))
    assert not torch.equal(x, view(views))
    assert torch.equal(x[:, CODED], x[:, CODED].round())


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: TableViews(categorical=[-1]), "categorical holds column -1"),
        (lambda: fitted(categorical=[1, 5]), "categorical holds column 5; rows have columns 0 to 4"),
        (lambda: view(TableViews(categorical=[7]), "plain"), "categorical holds column 7"),
    ],
)
def test_wrong_columns_are_named(make, words):
    with pytest.raises(ValueError, match=words):
        make()
