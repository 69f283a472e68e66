"""Files are written whole or not at all, by one writer at a time or by several at once."""

import json
import os
import stat
from concurrent.futures import ThreadPoolExecutor

import pytest

from selftrain.errors import RunFolderError
from selftrain.storage.atomic import whole_file, write_json, write_text


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def empty(path):
    with whole_file(path):
        pass


def test_a_file_is_on_the_disk_before_it_takes_its_place(tmp_path, monkeypatch):
    done = []
    replace = os.replace
    monkeypatch.setattr(os, "fsync", lambda file: done.append(os.fstat(file).st_size))
    monkeypatch.setattr(os, "replace", lambda *paths: (done.append("in place"), replace(*paths)))
    write_text(tmp_path / "file", "whole")
    assert done == [5, "in place"]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(28, "No space left on device"), RunFolderError),
        (PermissionError(13, "no"), RunFolderError),
        (RuntimeError("cannot write this"), RuntimeError),
    ],
)
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, error, told):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def fill():
        with whole_file(path) as part:
            part.write_bytes(b"half of the n")
            raise error

    with pytest.raises(told, match="cannot write "):
        fill()
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


def test_an_interrupt_leaves_nothing_behind(tmp_path):
    with pytest.raises(KeyboardInterrupt), whole_file(tmp_path / "file"):
        raise KeyboardInterrupt
    assert names(tmp_path) == []


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(RunFolderError, match="cannot write .*nowhere"):
        empty(tmp_path / "nowhere" / "file")
    with whole_file(tmp_path / "deep" / "new" / "file", create=True):
        pass
    assert names(tmp_path / "deep" / "new") == ["file"]


def test_a_symbolic_link_is_not_followed(tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("mine")
    link = tmp_path / "link"
    link.symlink_to(precious)
    with pytest.raises(RunFolderError, match="link is not a regular file"):
        empty(link)
    assert precious.read_text() == "mine"
    assert link.is_symlink()


def test_a_folder_in_the_place_of_a_file_is_refused(tmp_path):
    (tmp_path / "file").mkdir()
    with pytest.raises(RunFolderError, match="file is not a regular file"):
        empty(tmp_path / "file")


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_the_mode_follows_the_umask(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        empty(tmp_path / "file")
        assert os.umask(umask) == umask  # left as it was
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == mode


def test_a_reader_sees_the_old_or_the_new_file_and_never_a_part(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    with whole_file(path) as part:
        part.write_bytes(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"


def test_two_writers_of_one_file_never_mix(tmp_path):
    """Each writes a part of its own; the last to finish wins."""
    path = tmp_path / "file"
    with whole_file(path) as one, whole_file(path) as two:
        one.write_text("one")
        two.write_text("two")
        assert one != two
        assert one.read_text() == "one"
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: write_json(path, [i] * 5000), range(40)))
    assert len(set(json.loads(path.read_text()))) == 1
    assert names(tmp_path) == ["file"]
