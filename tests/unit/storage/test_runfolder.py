import json
import os
import shutil
from pathlib import Path

import pytest
import torch

from selftrain.engine.spec import read_record
from selftrain.errors import RunFolderError
from selftrain.networks.optim import weights_of
from selftrain.storage.run_dir import OWN, REPLACED, export_weights, has_begun, prepare_folder

SETTINGS = {"total_steps": 10, "strategy": "FixMatch", "plan": {"labeled": 4, "seed": 0}}


def prepare(out, settings=SETTINGS, *, resume=False, overwrite=False):
    return prepare_folder(out, settings, resume=resume, overwrite=overwrite)


@pytest.fixture
def run(tmp_path):
    return old_run(tmp_path / "run")


def old_run(folder):
    """A folder as a finished run leaves it, with a user's own file in it."""
    prepare(folder)
    for name in OWN[1:]:
        (folder / name).write_text("old")
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "step-000000010.pt").write_text("old")
    (folder / "events.out.tfevents.123.host").write_text("old")
    (folder / "notes.txt").write_text("mine")
    (folder / "my_checkpoints").mkdir()
    return folder


def test_no_folder_is_no_folder():
    assert prepare(None) is None


def test_a_new_folder_is_made_and_says_what_runs_in_it(tmp_path):
    folder = prepare(str(tmp_path / "deep" / "run"))
    assert folder == tmp_path / "deep" / "run"
    assert json.loads((folder / "run.json").read_text()) == SETTINGS


def test_a_folder_with_other_things_in_it_will_do(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    assert prepare(tmp_path) == tmp_path
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_settings_that_a_killed_run_did_not_finish_writing_are_removed_and_nothing_else(tmp_path):
    for name in (".run.json.abc123.part", ".mine.part", "run.json.part"):
        (tmp_path / name).write_text("{")
    prepare_folder(tmp_path, SETTINGS, resume=False, overwrite=False)
    assert sorted(p.name for p in tmp_path.iterdir()) == [".mine.part", "run.json", "run.json.part"]


def test_a_folder_with_a_run_is_refused(run):
    with pytest.raises(RunFolderError, match="already holds a run; pass resume=True, overwrite=True or another folder"):
        prepare(run)
    assert (run / "metrics.jsonl").read_text() == "old"


def test_checkpoints_alone_are_a_run_too(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(RunFolderError, match="already holds a run"):
        prepare(tmp_path)


def test_overwriting_removes_what_a_run_made_and_nothing_else(run):
    prepare(run, {"strategy": "Other"}, overwrite=True)
    assert sorted(p.name for p in run.iterdir()) == ["my_checkpoints", "notes.txt", "run.json"]
    assert (run / "notes.txt").read_text() == "mine"
    assert json.loads((run / "run.json").read_text()) == {"strategy": "Other"}


@pytest.mark.parametrize("way", ["resume", "overwrite"])
def test_whenever_an_overwrite_is_cut_short_the_new_run_can_begin(way, tmp_path, monkeypatch):
    """Before its first change the old run is whole; from then on nobody takes what is left for a run."""
    left = [10**6]

    def counted(change):
        def counting(*values, **settings):
            left[0] -= 1
            if left[0] < 0:
                raise KeyboardInterrupt
            return change(*values, **settings)

        return counting

    for owner, name in ((os, "replace"), (Path, "unlink"), (shutil, "rmtree"), (Path, "rmdir")):
        monkeypatch.setattr(owner, name, counted(getattr(owner, name)))
    for at in range(40):
        left[0] = 10**6
        folder = old_run(tmp_path / str(at))
        left[0] = at
        try:
            prepare(folder, {"strategy": "Other"}, overwrite=True)
            break
        except KeyboardInterrupt:
            left[0] = 10**6
        if not (folder / REPLACED).exists():  # the old run is whole, or the new one is
            whole = (folder / "metrics.jsonl").exists() and (folder / "checkpoints").exists()
            assert whole or json.loads((folder / "run.json").read_text()) == {"strategy": "Other"}
            continue
        assert not has_begun(folder)
        with pytest.raises(RunFolderError, match="being replaced.*start it again with overwrite=True"):
            read_record(folder)
        prepare(folder, {"strategy": "Other"}, **{way: True})
        assert sorted(p.name for p in folder.iterdir()) == ["my_checkpoints", "notes.txt", "run.json"]
        assert json.loads((folder / "run.json").read_text()) == {"strategy": "Other"}
    assert 10 < at < 39


def test_a_folder_in_the_place_of_a_file_is_named_before_anything_is_changed(run):
    (run / "metrics.jsonl").unlink()
    (run / "metrics.jsonl").mkdir()
    with pytest.raises(RunFolderError, match="metrics.jsonl is a folder; move it away"):
        prepare(run, overwrite=True)
    assert json.loads((run / "run.json").read_text()) == SETTINGS
    (run / "metrics.jsonl").rmdir()
    assert prepare(run, overwrite=True) == run


def test_a_run_that_was_stopped_before_its_record_says_so(tmp_path):
    prepare(tmp_path, {"format": 2})
    with pytest.raises(RunFolderError, match="stopped before it had begun; start it again with overwrite=True"):
        read_record(tmp_path)
    prepare(tmp_path, {"format": 2}, overwrite=True)


def test_overwriting_what_is_not_there_is_starting(tmp_path):
    assert (prepare(tmp_path / "run", overwrite=True) / "run.json").is_file()


def test_resuming_with_the_same_settings_touches_nothing(run):
    before = {p.name: p.read_text() for p in run.iterdir() if p.is_file()}
    assert prepare(run, resume=True) == run
    assert before == {p.name: p.read_text() for p in run.iterdir() if p.is_file()}


def test_resuming_with_other_settings_shows_the_difference(run):
    other = {"total_steps": 20, "strategy": "FixMatch", "plan": {"labeled": 4, "seed": 1}, "more": True}
    with pytest.raises(RunFolderError) as caught:
        prepare(run, other, resume=True)
    text = str(caught.value)
    assert "started with other settings" in text
    assert "total_steps: was 10, is 20" in text
    assert "plan.seed: was 0, is 1" in text
    assert "plan.labeled" not in text
    assert "more: was None, is True" in text
    assert "strategy" not in text


def test_settings_are_compared_as_they_are_stored(run):
    """A tuple becomes a list on the disk: that is no difference."""
    prepare(run, {"shape": (1, 2)}, overwrite=True)
    assert prepare(run, {"shape": (1, 2)}, resume=True) == run


def test_there_must_be_something_to_resume(tmp_path):
    with pytest.raises(RunFolderError, match="holds no run to resume; start it without resume"):
        prepare(tmp_path, resume=True)
    with pytest.raises(RunFolderError, match="resume needs the folder of the run: pass out="):
        prepare(None, resume=True)


@pytest.mark.parametrize("out", [None, "run"])
def test_resume_and_overwrite_exclude_each_other(tmp_path, out):
    with pytest.raises(RunFolderError, match="resume and overwrite exclude each other"):
        prepare(out and tmp_path / out, resume=True, overwrite=True)


@pytest.mark.parametrize("text", ["{", "", "[1, 2]", "3"])
def test_damaged_settings_are_named(run, text):
    (run / "run.json").write_text(text)
    with pytest.raises(RunFolderError, match="run.json cannot be read"):
        prepare(run, resume=True)


def test_a_file_in_the_place_of_the_folder_is_named(tmp_path):
    (tmp_path / "run").write_text("a file")
    with pytest.raises(RunFolderError, match="cannot write into .*run"):
        prepare(tmp_path / "run")


# -- export ------------------------------------------------------------------------------------------------------------
def test_exported_weights_come_back(tmp_path):
    weights = {"a": torch.randn(2, 3, requires_grad=True), "b": torch.arange(4), "turned": torch.randn(3, 2).T}
    path = export_weights(weights, tmp_path)
    assert path == tmp_path / "export.safetensors"
    loaded = weights_of(tmp_path)
    assert all(torch.equal(loaded[name], weights[name]) for name in weights)
    assert [p.name for p in tmp_path.iterdir()] == ["export.safetensors"]


def test_weights_in_channels_last_come_back(tmp_path):
    weights = {"conv": torch.randn(4, 3, 2, 2).to(memory_format=torch.channels_last)}
    export_weights(weights, tmp_path)
    assert torch.equal(weights_of(tmp_path)["conv"], weights["conv"])


def test_a_link_in_the_place_of_the_export_is_refused(tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("mine")
    (tmp_path / "export.safetensors").symlink_to(precious)
    with pytest.raises(RunFolderError, match="not a regular file"):
        export_weights({"a": torch.zeros(1)}, tmp_path)
    assert precious.read_text() == "mine"
