"""The numbers of README.md are those of the stored results, and the results are whole."""

import importlib.util
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
spec = importlib.util.spec_from_file_location("tables", ROOT / "benchmarks" / "tables.py")
tables = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tables)


@pytest.mark.parametrize(("name", "table"), tables.tables().items())
def test_the_readme_shows_the_stored_results(name, table):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"<!-- {name} -->\n\n{table}\n\n<!-- /{name} -->" in text


@pytest.mark.parametrize(
    ("file", "keys", "count"),
    [
        ("quickstart.json", ("pretraining", "strategy"), 15),
        ("images-mnist.json", ("dataset", "strategy"), 5),
        ("images-fashion_mnist.json", ("dataset", "strategy"), 5),
    ],
)
def test_every_cell_has_three_seeds_and_a_floor(file, keys, count):
    stored = tables.load(file)
    groups = {}
    for row in stored["rows"]:
        groups.setdefault(tuple(row[key] for key in keys), set()).add(row["seed"])
        assert 0 <= row["test_accuracy"] <= 1
    assert len(groups) == count
    assert set(map(frozenset, groups.values())) == {frozenset({0, 1, 2})}
    assert {first for first, name in groups if name == "supervised"} == {first for first, _ in groups}
    assert stored["command"].startswith("python examples/")


def test_a_cell_is_mean_and_standard_deviation_in_percent():
    assert tables.cell([0.5, 0.6, 0.7]) == "60.0 ± 10.0"
    assert tables.cell([0.5]) == "50.0"


@pytest.fixture(scope="module")
def methods_page():
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        import methods_page
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))
    return methods_page


def test_the_page_of_methods_shows_the_stored_results(methods_page):
    rows = tables.load("methods.json")["rows"]
    assert methods_page.PAGE.read_text(encoding="utf-8") == methods_page.page(rows)


def test_the_stored_methods_are_rows_of_the_benchmark_and_none_comes_twice(methods_page):
    planned = set(methods_page.jobs())
    stored = [tuple(row[key] for key in planned.copy().pop()._fields) for row in tables.load("methods.json")["rows"]]
    assert len(set(stored)) == len(stored)
    assert set(stored) <= {tuple(job) for job in planned}
