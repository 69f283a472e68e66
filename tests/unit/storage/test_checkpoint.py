import hashlib
import json
import pickle
import warnings
from contextlib import contextmanager

import pytest
import torch
from helpers import adam_learner, same

from selftrain.errors import CheckpointError
from selftrain.storage import checkpoint
from selftrain.storage.atomic import remove_parts

MANIFESTS = ["manifest.copy.json", "manifest.json"]


def state_of(number):
    return {
        "step": number,
        "weights": torch.full((100,), float(number)),
        "rows": [1, "text", None],
        "deep": {"a": (1, 2.5)},
    }


@pytest.fixture
def folder(tmp_path):
    """Two good checkpoints, of steps 10 and 20."""
    path = tmp_path / "checkpoints"
    for step in (10, 20):
        checkpoint.save(path, state_of(step), step)
    return path


def newest(folder):
    return folder / "step-000000020.pt"


def manifest(folder):
    return json.loads((folder / "manifest.json").read_text())


def rewrite(folder, content):
    """Both copies of the manifest with other entries, without a sum of their own."""
    content.pop("sha256")
    for name in MANIFESTS:
        (folder / name).write_text(json.dumps(content))


def forge(folder, path):
    """Enter the present sum of a file into the manifest, as somebody with bad intentions would."""
    content = manifest(folder)
    for entry in content["checkpoints"]:
        if entry["file"] == path.name:
            entry["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    rewrite(folder, content)


def names(folder):
    return sorted(p.name for p in folder.iterdir())


# -- the good case -----------------------------------------------------------------------------------------------------
def test_the_newest_state_comes_back(folder):
    assert same(checkpoint.load_newest(folder), state_of(20))


def test_only_what_belongs_there_is_left(folder):
    assert names(folder) == [*MANIFESTS, "step-000000010.pt", "step-000000020.pt"]


def test_a_state_with_an_optimizer_loads_without_running_code(folder):
    learner = adam_learner()
    learner.update(learner(torch.randn(4, 3)).square().mean())
    path = checkpoint.save(folder, {"learner": learner.state_dict()}, 30)
    content = torch.load(path, weights_only=True)
    assert content["format"] == checkpoint.FORMAT
    assert same(content["state"]["learner"], learner.state_dict())


def test_the_manifest_holds_the_sums(folder):
    entries = manifest(folder)["checkpoints"]
    assert [entry["step"] for entry in entries] == [10, 20]
    for entry in entries:
        assert entry["sha256"] == hashlib.sha256((folder / entry["file"]).read_bytes()).hexdigest()


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_old_checkpoints_are_forgotten(tmp_path, keep):
    for step in range(1, 6):
        checkpoint.save(tmp_path, state_of(step), step, keep=keep)
    expected = [f"step-{step:09d}.pt" for step in range(6 - keep, 6)]
    assert names(tmp_path) == [*MANIFESTS, *expected]
    assert [entry["file"] for entry in manifest(tmp_path)["checkpoints"]] == expected


def test_keeping_none_is_refused(tmp_path):
    with pytest.raises(ValueError, match="keep is 0; at least 1 checkpoint must stay"):
        checkpoint.save(tmp_path, state_of(1), 1, keep=0)
    assert names(tmp_path) == []


def test_saving_a_step_again_replaces_it(folder):
    checkpoint.save(folder, state_of(99), 20)
    assert checkpoint.load_newest(folder)["step"] == 99
    assert [entry["step"] for entry in manifest(folder)["checkpoints"]] == [10, 20]


def test_tensors_go_where_they_are_asked_to(folder):
    assert checkpoint.load_newest(folder, "meta")["weights"].device.type == "meta"


def test_existence(folder, tmp_path):
    assert (folder / checkpoint.MANIFEST).is_file()
    assert not (tmp_path / checkpoint.MANIFEST).is_file()


# -- damage ------------------------------------------------------------------------------------------------------------
def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut_short(path):
    path.write_bytes(path.read_bytes()[:-100])


DAMAGE = {
    "bit flip": flip_a_bit,
    "cut short": cut_short,
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("hello"),
    "missing": lambda path: path.unlink(),
}
each_damage = pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())


@each_damage
def test_a_damaged_checkpoint_falls_back_to_the_one_before(folder, damage):
    damage(newest(folder))
    with pytest.warns(
        UserWarning, match=r"continuing from step-000000010.pt: .*step-000000020.pt is (damaged|missing)"
    ):
        state = checkpoint.load_newest(folder)
    assert same(state, state_of(10))


@each_damage
def test_without_a_good_one_every_file_is_named(folder, damage):
    for path in folder.glob("step-*.pt"):
        damage(path)
    with pytest.raises(
        CheckpointError, match=r"step-000000020.pt is (damaged|missing).*step-000000010.pt is (damaged|missing)"
    ):
        checkpoint.load_newest(folder)


@pytest.mark.parametrize("name", ["cut short", "empty", "text"])
def test_damage_with_a_forged_sum_is_one_clear_error(folder, name):
    DAMAGE[name](newest(folder))
    forge(folder, newest(folder))
    entry = manifest(folder)["checkpoints"][-1]
    with pytest.raises(CheckpointError, match="step-000000020.pt cannot be read"):
        checkpoint.load(newest(folder), entry["sha256"])


def test_a_wrong_sum_is_refused(folder):
    with pytest.raises(CheckpointError, match="is damaged: its SHA-256 is not the one in manifest.json"):
        checkpoint.load(newest(folder), "0" * 64)


class Bomb:
    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (open, (self.path, "w"))


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("wrap", ["torch", "pickle"])
def test_code_in_a_checkpoint_is_not_run(folder, tmp_path, wrap):
    mark = tmp_path / "it ran"
    content = {"format": checkpoint.FORMAT, "state": Bomb(mark)}
    if wrap == "torch":
        torch.save(content, newest(folder))
    else:
        newest(folder).write_bytes(pickle.dumps(content))
    forge(folder, newest(folder))
    with pytest.warns(UserWarning, match="step-000000020.pt cannot be read"):
        assert checkpoint.load_newest(folder)["step"] == 10
    assert not mark.exists()


class Forged:
    """A sparse tensor of 4 numbers, the second of them a long way behind its memory."""

    def __reduce__(self):
        parts = (torch.tensor([0, 1 << 20]), torch.tensor([0]), torch.ones(1), torch.Size((1, 4)))
        return torch._utils._rebuild_sparse_tensor, (torch.sparse_csr, parts)


@pytest.mark.filterwarnings("ignore:(Sparse|Validating sparse)")
def test_an_index_that_leads_out_of_the_memory_is_refused(folder):
    """As torch does by itself in its newer versions only."""
    torch.save({"format": checkpoint.FORMAT, "state": {"weight": Forged()}}, newest(folder))
    forge(folder, newest(folder))
    with pytest.warns(UserWarning, match="step-000000020.pt cannot be read: .*crow_indices"):
        assert checkpoint.load_newest(folder)["step"] == 10


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"format": 99, "state": {}}, "has format 99, this version reads 2; .* update selftrain"),
        (
            {"format": 1, "state": {}},
            "has format 1, this version reads 2; finish the run with version 0.1 .* overw",
        ),
        ({"state": {}}, "is no checkpoint of this library"),
        ([1, 2], "is no checkpoint of this library"),
        (torch.zeros(3), "is no checkpoint of this library"),
        ({"format": 2}, "is no checkpoint of this library"),
    ],
)
def test_files_of_another_kind_are_refused(folder, content, message):
    torch.save(content, newest(folder))
    forge(folder, newest(folder))
    with pytest.raises(CheckpointError, match=message):
        checkpoint.load(newest(folder), manifest(folder)["checkpoints"][-1]["sha256"])


def test_missing_manifests_mean_no_checkpoint(folder):
    for name in MANIFESTS:
        (folder / name).unlink()
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        checkpoint.load_newest(folder)
    assert not checkpoint.is_empty(folder)  # nobody must take it for a run that has stored nothing


BROKEN = [
    b"",
    b"{",
    b"text",
    b"[]",
    b"{}",
    b'{"checkpoints": 3}',
    b'{"checkpoints": [{}]}',
    b'{"checkpoints": ["x"]}',
    b'{"checkpoints": [{"file": 1}]}',
    b"[" * 100_000,
    b"\xff\xfe\x00\x80",
]


@pytest.mark.parametrize("text", BROKEN, ids=range(len(BROKEN)))
def test_a_damaged_manifest_is_named_and_its_copy_read(folder, text):
    (folder / "manifest.json").write_bytes(text)
    with pytest.warns(UserWarning, match=r"manifest.json cannot be read: .*; reading manifest.copy.json instead"):
        assert checkpoint.load_newest(folder)["step"] == 20
    (folder / "manifest.copy.json").write_bytes(text)
    with pytest.raises(CheckpointError, match=r"manifest.json cannot be read.*manifest.copy.json cannot be read"):
        checkpoint.load_newest(folder)


def test_a_flipped_bit_anywhere_in_the_manifest_is_found(folder):
    """Or harmless: in the name of the sum or of the format."""
    whole, found = (folder / "manifest.json").read_bytes(), 0
    for place in range(len(whole)):
        (folder / "manifest.json").write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            assert checkpoint.load_newest(folder)["step"] == 20
        found += any("manifest.json" in str(warning.message) for warning in told)
        assert not any("continuing" in str(warning.message) for warning in told)
    assert found > 0.85 * len(whole)


def test_a_missing_manifest_is_no_loss_while_its_copy_is_there(folder):
    (folder / "manifest.json").unlink()
    assert checkpoint.load_newest(folder)["step"] == 20
    checkpoint.save(folder, state_of(30), 30)
    assert [entry["step"] for entry in manifest(folder)["checkpoints"]] == [20, 30]


def test_a_manifest_that_points_elsewhere_is_refused(folder, tmp_path):
    outside = tmp_path / "outside.pt"
    newest(folder).rename(outside)
    content = manifest(folder)
    content["checkpoints"][-1]["file"] = "../outside.pt"
    rewrite(folder, content)
    with pytest.raises(CheckpointError, match="manifest.json cannot be read"):
        checkpoint.load_newest(folder)


def test_swapped_checkpoints_are_found(folder):
    old, new = folder / "step-000000010.pt", newest(folder)
    first, second = old.read_bytes(), new.read_bytes()
    old.write_bytes(second)
    new.write_bytes(first)
    with pytest.raises(CheckpointError, match=r"step-000000020.pt is damaged.*step-000000010.pt is damaged"):
        checkpoint.load_newest(folder)


def test_a_first_checkpoint_that_was_not_finished_is_none(tmp_path, monkeypatch):
    """Killed after the file was renamed and before the manifest knew of it."""
    write, count = checkpoint.whole_file, []

    def killed(path):
        count.append(path.name)
        if len(count) == 4:  # the two manifests of an empty folder, the checkpoint, then this
            raise KeyboardInterrupt
        return write(path)

    monkeypatch.setattr(checkpoint, "whole_file", killed)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save(tmp_path, state_of(1), 1)
    assert count[2:] == ["step-000000001.pt", "manifest.json"]
    assert checkpoint.is_empty(tmp_path)
    monkeypatch.undo()
    checkpoint.save(tmp_path, state_of(2), 2)
    assert names(tmp_path) == [*MANIFESTS, "step-000000002.pt"]


def test_a_disk_that_stores_something_else_costs_no_older_checkpoint(folder, monkeypatch):
    write = checkpoint.whole_file

    @contextmanager
    def spoiled(path):
        with write(path) as part:
            yield part
        if path.suffix == ".pt":
            flip_a_bit(path)

    monkeypatch.setattr(checkpoint, "whole_file", spoiled)
    with pytest.raises(CheckpointError, match="step-000000030.pt is not on the disk as it was written"):
        checkpoint.save(folder, state_of(30), 30, keep=1)
    monkeypatch.undo()
    assert same(checkpoint.load_newest(folder), state_of(20))
    checkpoint.save(folder, state_of(40), 40)
    assert names(folder) == [*MANIFESTS, "step-000000020.pt", "step-000000040.pt"]


def test_what_a_killed_writer_left_is_removed(folder):
    (folder / ".step-000000030.pt.abc.part").write_bytes(b"half")
    (folder / ".mine").write_bytes(b"mine")
    remove_parts(folder)
    assert names(folder) == [".mine", *MANIFESTS, "step-000000010.pt", "step-000000020.pt"]


def test_no_checkpoint_at_all(tmp_path):
    with pytest.raises(CheckpointError, match="holds no checkpoint; start anew with overwrite=True"):
        checkpoint.load_newest(tmp_path / "nowhere")


def test_saving_after_a_fallback_forgets_the_future_and_keeps_the_good_one(folder):
    """After damage at 20 a run goes on from 10: its next checkpoint must not push the good one out."""
    flip_a_bit(newest(folder))
    checkpoint.save(folder, state_of(15), 15)
    assert [entry["step"] for entry in manifest(folder)["checkpoints"]] == [10, 15]
    assert names(folder) == [*MANIFESTS, "step-000000010.pt", "step-000000015.pt"]
    flip_a_bit(folder / "step-000000015.pt")
    with pytest.warns(UserWarning, match="continuing from step-000000010.pt"):
        assert checkpoint.load_newest(folder)["step"] == 10


def test_a_failed_save_leaves_older_checkpoints(folder, monkeypatch):
    monkeypatch.setattr(torch, "save", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(CheckpointError, match="No space left"):
        checkpoint.save(folder, state_of(30), 30)
    assert same(checkpoint.load_newest(folder), state_of(20))
    assert names(folder) == [*MANIFESTS, "step-000000010.pt", "step-000000020.pt"]


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(CheckpointError, match="cannot write into .*taken"):
        checkpoint.save(tmp_path / "taken", state_of(1), 1)
