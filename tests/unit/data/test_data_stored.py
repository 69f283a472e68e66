"""Arrays in files: what each holds reaches the right part, row by row where it is large, and never runs code."""

import io
import os
import pickle
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

import selftrain as st
from selftrain.data import ArraySet, Pile, PointViews, SeriesViews, StoredSet, TableViews, from_arrays_file
from selftrain.data.base.form import Form
from selftrain.data.readers.raw import read_raw
from selftrain.errors import DataError
from selftrain.types import BatchPlan, Needs

RANDOM = np.random.default_rng(0)


def images(n, dtype=np.uint8):
    return RANDOM.integers(0, 256, (n, 8, 8)).astype(dtype)


def everything(samples):
    return samples.images(np.arange(len(samples)))


def saved(path, array):
    np.save(path, array)
    return path


# --- one set


@pytest.mark.parametrize(
    ("array", "settings"),
    [
        (images(9), {}),
        (images(9, np.uint16), {}),
        (images(9, ">i4"), {}),
        (images(9, np.uint64), {}),
        (images(9) > 100, {}),
        (images(9) / 255, {}),
        (np.asfortranarray(images(9)), {}),
        (RANDOM.integers(0, 256, (9, 8, 8, 3), dtype=np.uint8), {}),
        (RANDOM.integers(0, 256, (9, 3, 3, 3), dtype=np.uint8), {"channels": "last"}),
        (RANDOM.normal(size=(9, 5)).astype(np.float16), {}),
        (RANDOM.normal(size=(9, 3, 20)), {"kind": "series"}),
        (RANDOM.normal(size=(9, 20, 3)), {"kind": "points"}),
    ],
    ids=str,
)
@pytest.mark.filterwarnings("error")
def test_rows_are_those_of_a_set_in_memory(tmp_path, array, settings):
    stored = StoredSet(saved(tmp_path / "x.npy", array), **settings)
    memory = ArraySet(array, **settings)
    for rows in (np.arange(9), np.array([7, 0, 1, 1, 8, 2, 3]), np.array([4]), np.array([], np.int64)):
        assert torch.equal(stored.images(rows), memory.images(rows))
        assert stored.images(rows).dtype == memory.images(rows).dtype
    assert list(stored.ids) == list(memory.ids)


def test_only_the_rows_asked_for_are_read(tmp_path, monkeypatch):
    path = saved(tmp_path / "x.npy", images(1000))
    stored = StoredSet(path)
    read = []
    true_open = type(path).open

    def open_counted(self, *args, **kwargs):
        file = true_open(self, *args, **kwargs)

        class Counted:
            __enter__ = lambda s: s  # noqa: E731
            __exit__ = lambda s, *a: file.close()  # noqa: E731
            seek = file.seek

            def readinto(self, buffer):
                read.append(file.readinto(buffer))
                return read[-1]

        return Counted()

    monkeypatch.setattr(type(path), "open", open_counted)
    stored.images(np.array([5, 6, 7, 900]))
    assert read == [3 * 64, 64]  # neighbors in one piece


def resident():
    """Megabytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads resident memory from /proc")
def test_memory_stays_flat_while_all_of_a_large_file_is_read(tmp_path):
    path, shape = tmp_path / "x.npy", (100_000, 1, 56, 56)
    with path.open("wb") as file:  # 300 MB, sparse: takes no room on disk
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
        file.truncate(file.tell() + int(np.prod(shape)))
    small = from_arrays_file(saved(tmp_path / "small.npy", images(3000)))  # so that all code is in memory
    assert small.unlabeled.images(np.arange(512)).any()
    before, most = resident(), 0.0
    pile = from_arrays_file(path)
    for start in range(0, len(pile.unlabeled), 512):
        assert not pile.unlabeled.images(np.arange(start, min(start + 512, 100_000))).any()
        most = max(most, resident() - before)
    assert most < 150  # half of the file; what other tests left to the allocator moves this by tens of megabytes


def test_loader_processes_get_the_name_and_not_the_content(tmp_path):
    stored = StoredSet(saved(tmp_path / "x.npy", images(5000)))
    packed = pickle.dumps(stored)
    assert len(packed) < 2000
    assert torch.equal(pickle.loads(packed).images(np.array([3])), stored.images(np.array([3])))


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_those_of_a_set_in_memory(tmp_path, workers):
    x, y = images(40), np.arange(40) % 3
    np.save(tmp_path / "x.npy", x[:20])
    np.save(tmp_path / "y.npy", y[:20])
    np.save(tmp_path / "x_unlabeled.npy", x[20:])
    stored = from_arrays_file(tmp_path)
    memory = Pile(ArraySet(x[:20], y[:20]), ArraySet(x[20:]))
    needs = Needs(views=("weak",), encode=st.Classification(3).encode)
    plan = BatchPlan(4, 1.0, seed=3, workers=workers)
    one, other = (pile.stream(needs, plan, torch.device("cpu")) for pile in (stored, memory))
    for (a,), (b,) in zip(one.epoch(0), other.epoch(0), strict=True):
        assert torch.equal(a.unlabeled["weak"].x, b.unlabeled["weak"].x)
        assert torch.equal(a.labeled.x, b.labeled.x)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            np.where(np.arange(12).reshape(6, 2) == 7, np.nan, 1.0),
            "row 3: holds nan in column 1; remove such rows",
        ),
        (np.where(np.arange(6 * 16).reshape(6, 4, 4) == 40, 300, 7), r"x\.npy, row 2: image values run from 7 to 300"),
        (np.where(np.arange(6 * 16).reshape(6, 4, 4) == 40, 1.5, 0.5), r"row 2: image values run from 0\.5 to 1\.5"),
    ],
    ids=["nan", "large", "float"],
)
def test_a_row_that_cannot_be_used_is_named_when_it_is_read(tmp_path, values, message):
    stored = StoredSet(saved(tmp_path / "x.npy", values))
    stored.images(np.array([0, 1]))
    with pytest.raises(DataError, match=message):
        stored.images(np.array([0, 1, 2, 3, 4]))


def truncated(path):
    content = saved(path, images(9)).read_bytes()
    path.write_bytes(content[:-10])


def objects(path):
    np.save(path, np.array([{"a": 1}, None]), allow_pickle=True)


def huge(path):
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": (2**40, 2**40)})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (truncated, "is cut short: 694 bytes where 704 are needed"),
        (objects, "Python objects, which are never loaded"),
        (huge, "is cut short"),
        (lambda path: path.write_bytes(b""), "no .npy file that numpy.save wrote"),
        (lambda path: path.write_text("1,2,3"), "no .npy file that numpy.save wrote"),
        (lambda path: None, "cannot read"),
        (lambda path: np.save(path, np.zeros((0, 4))), "holds no rows"),
        (lambda path: np.save(path, np.array(3.0)), "holds no rows"),
        (lambda path: np.save(path, np.array(["a", "b"])), "no numbers"),
        (lambda path: np.save(path, np.zeros((2, 3), complex)), "imaginary parts"),
        (lambda path: np.save(path, np.zeros(4)), r"inputs have shape \(1,\)"),
    ],
    ids=["truncated", "objects", "huge", "empty", "text", "missing", "no rows", "scalar", "words", "complex", "flat"],
)
def test_files_that_cannot_be_used_are_named_at_once(tmp_path, make, message):
    make(tmp_path / "x.npy")
    with pytest.raises(DataError, match=message) as caught:
        StoredSet(tmp_path / "x.npy")
    assert str(tmp_path / "x.npy") in str(caught.value)


def test_a_file_that_shrinks_later_is_an_error_and_no_crash(tmp_path):
    path = saved(tmp_path / "x.npy", images(100))
    stored = StoredSet(path)
    os.truncate(path, 1000)
    with pytest.raises(DataError, match="ends before its last row; was it moved or changed"):
        stored.images(np.array([90]))
    path.unlink()
    with pytest.raises(DataError, match="was it moved or changed"):
        stored.images(np.array([0]))
    with pytest.raises(DataError, match="has no row 100; it has 100"):
        stored.images(np.array([100]))


# --- piles


def test_npz_parts(tmp_path):
    np.savez(
        tmp_path / "all.npz",
        X=images(6),
        y=[0, 1, 2, -1, -1, 0],
        x_unlabeled=images(4),
        X_test=images(3),
        y_test=[0, 1, 2],
        classes=["ant", "bee", "wasp"],
    )
    pile = from_arrays_file(tmp_path / "all.npz")
    assert [len(part) for part in (pile.labeled, pile.unlabeled, pile.test)] == [4, 6, 3]
    assert list(pile.classes) == ["ant", "bee", "wasp"]
    assert list(pile.unlabeled_ids()) == ["3", "4", *(f"unlabeled/{i}" for i in range(4))]
    assert pile.unlabeled_truth() is None
    assert pile.source == str(tmp_path / "all.npz")


def test_truth_of_hidden_labels_beside_unlabeled_rows(tmp_path):
    np.savez(tmp_path / "a.npz", x=images(6), y=[0, 1, 0, 1, 0, 1], x_unlabeled=images(2))
    pile = from_arrays_file(tmp_path / "a.npz", labels=2)
    assert sorted(pile.unlabeled_truth().tolist()) == [-1, -1, 0, 0, 1, 1]
    assert len(pile.labeled) == 2


def test_a_folder_and_files_of_its_own_for_parts(tmp_path):
    for name, array in (("x", images(5)), ("x_test", images(2)), ("y_test", np.array(["b", "a"]))):
        np.save(tmp_path / f"{name}.npy", array)
    np.save(tmp_path / "elsewhere.npy", np.array(["a", "", "b", "-1", "b"]))
    pile = from_arrays_file(tmp_path, parts={"y": tmp_path / "elsewhere.npy"})
    assert list(pile.classes) == ["a", "b"]
    assert pile.labeled.annotations.tolist() == [0, 1, 1]
    assert list(pile.unlabeled_ids()) == ["1", "3"]
    assert pile.test.annotations.tolist() == [1, 0]


def test_one_npy_file_is_a_pile_without_labels(tmp_path):
    pile = from_arrays_file(saved(tmp_path / "x.npy", images(5)))
    assert pile.labeled is None
    assert isinstance(pile.unlabeled, StoredSet)
    assert pile.unlabeled_ids()[2] == "unlabeled/2"


def test_kinds_choose_views_and_ids_are_taken(tmp_path):
    series, clouds, table = RANDOM.normal(size=(4, 2, 30)), RANDOM.normal(size=(4, 20, 3)), RANDOM.normal(size=(4, 6))
    for name, x, kind, views in (
        ("series", series, "series", SeriesViews),
        ("points", clouds, "points", PointViews),
        ("table", table, None, TableViews),
    ):
        np.savez(tmp_path / f"{name}.npz", x=x, y=[0, 1, -1, -1], ids=["p", "q", "r", "s"])
        pile = from_arrays_file(tmp_path / f"{name}.npz", kind=kind)
        assert isinstance(pile.views, views)
        assert list(pile.unlabeled_ids()) == ["r", "s"]


def test_validation_of_its_own(tmp_path):
    parts = {"x": images(4), "y": [0, 1, 0, 1], "x_validation": images(2), "y_validation": [0, 1]}
    np.savez(tmp_path / "a.npz", **parts)
    pile = from_arrays_file(tmp_path / "a.npz")
    assert len(pile.validation) == 2
    assert len(pile.labeled) == 4
    with pytest.raises(DataError, match="validation is 0.5, but .* has x_validation"):
        from_arrays_file(tmp_path / "a.npz", validation=0.5)


def test_other_names_of_arrays(tmp_path):
    np.savez(tmp_path / "a.npz", data=images(4), target=[0, 1, -1, -1])
    pile = from_arrays_file(tmp_path / "a.npz", keys={"data": "x", "target": "y"})
    assert len(pile.labeled) == 2


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": images(3), "y": [0, 1, 5]}, None),
        ({"x": images(3), "y": [0, 1]}, "3 samples but 2 annotations"),
        ({"x": images(3), "labels": [0, 1, 1]}, "array 'labels'; .*known are x, y"),
        ({"x": images(3), "x_tset": images(3)}, "did you mean 'x_test'"),
        ({"y": [0, 1]}, "neither x nor x_unlabeled, only y"),
        ({"x": images(3), "x_test": images(3)}, "x_test but no y_test"),
        ({"x": images(3), "y": [0.5, 1, 1]}, "label 0.5 at row 0"),
        ({"x": images(3), "y": [0, 1, 2], "classes": ["a", "b"]}, "label 2 at row 2 is outside the 2 classes"),
        ({"x": images(3), "y": ["a", "b", "c"], "classes": ["a", "b"]}, "row 2: label 'c' is no class"),
        ({"x": images(3), "y": ["a", "b", "c"], "x_test": images(1), "y_test": [0]}, "some labels .* are names"),
        ({"x": np.full((3, 4), np.nan), "y": [0, 1, 2]}, "x: sample 0 holds nan"),
    ],
)
def test_arrays_that_do_not_fit(tmp_path, arrays, message):
    np.savez(tmp_path / "a.npz", **arrays)
    if message is None:
        with pytest.warns(UserWarning, match="no label for class 2, 3, 4"):
            from_arrays_file(tmp_path / "a.npz")
        return
    with pytest.raises(DataError, match=message):
        from_arrays_file(tmp_path / "a.npz")


class Bomb:
    def __reduce__(self):
        return os.system, ("touch exploded",)


def test_python_objects_are_never_loaded(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    bomb = np.empty(3, object)
    bomb[:] = [Bomb()] * 3
    np.savez("a.npz", x=images(3), y=bomb, allow_pickle=True)
    np.savez("b.npz", x=bomb)
    np.save("y.npy", bomb, allow_pickle=True)
    np.save("x.npy", images(3))
    with zipfile.ZipFile("c.npz", "w") as archive:
        archive.writestr("x.npy", pickle.dumps(Bomb()))
    for path, settings in (("a.npz", {}), ("b.npz", {}), ("c.npz", {}), ("x.npy", {"parts": {"y": "y.npy"}})):
        with pytest.raises(DataError):
            from_arrays_file(path, **settings)
    assert not (tmp_path / "exploded").exists()


def test_archives_that_cannot_be_read(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"PK\3\4 and nothing")
    with pytest.raises(DataError, match="no whole .npz file"):
        from_arrays_file(tmp_path / "a.npz")
    with pytest.raises(DataError, match="no .npz file, .npy file or folder"):
        from_arrays_file(tmp_path / "a.mat")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds none of x.npy, y.npy"):
        from_arrays_file(tmp_path / "empty")
    inner = io.BytesIO()
    np.lib.format.write_array_header_1_0(inner, {"descr": "<f8", "fortran_order": False, "shape": (2**36, 2**3)})
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w") as archive:
        archive.writestr("x.npy", inner.getvalue())
    with pytest.raises(DataError, match="cannot read array 'x'"):
        from_arrays_file(tmp_path / "bomb.npz")


def test_an_archive_of_inputs_alone_is_a_pile_without_labels(tmp_path):
    np.savez(tmp_path / "x.npz", x=np.eye(4))
    assert len(from_arrays_file(tmp_path / "x.npz").unlabeled) == 4
    np.save(tmp_path / "y.npy", [0, 1, -1, -1])
    assert len(from_arrays_file(tmp_path / "x.npz", parts={"y": tmp_path / "y.npy"}).labeled) == 2


def test_files_that_a_run_is_asked_about_keep_their_order_and_their_names(tmp_path):
    x = np.arange(18.0).reshape(6, 3)
    y, names = [0, -1, 1, -1, 0, 1], [f"row {i}" for i in range(6)]
    form = Form("table", (3,))
    np.save(tmp_path / "x.npy", x)
    np.savez(tmp_path / "labels.npz", x=x, y=y)
    np.savez(tmp_path / "more.npz", x_unlabeled=x)
    np.savez(tmp_path / "both.npz", x=x[:4], x_unlabeled=x[4:], y=y[:4])
    np.savez(tmp_path / "names.npz", x=x, ids=names)
    np.savez(tmp_path / "told.npz", x_unlabeled=x, ids_unlabeled=names)
    numbers = [str(i) for i in range(6)]
    for file, ids in (
        ("x.npy", numbers),
        (".", numbers),
        ("labels.npz", numbers),  # not the labeled ones first
        ("more.npz", numbers),
        ("both.npz", [*numbers[:4], "unlabeled/0", "unlabeled/1"]),
        ("names.npz", names),
        ("told.npz", names),
    ):
        found = read_raw(tmp_path / file, form)
        assert list(found.ids) == ids, file
        assert found.annotations is None
        assert np.array_equal(found.images(np.arange(6)).numpy(), x), file
    np.savez(tmp_path / "nothing.npz", y=y)
    with pytest.raises(DataError, match="nothing.npz holds no x and no x_unlabeled; save inputs as x"):
        read_raw(tmp_path / "nothing.npz", form)
    assert from_arrays_file(tmp_path / "names.npz").unlabeled_ids() == names
