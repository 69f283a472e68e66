"""Fields of files that are read back: each form takes what it says, and what does not fit is named with its place."""

from __future__ import annotations

import json
import math
import zipfile

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from selftrain.errors import CheckpointError, RunFolderError
from selftrain.networks.student import Learner
from selftrain.storage import checkpoint
from selftrain.storage.fields import COUNT, FIGURES, Number, check, read_fields
from selftrain.storage.states import load_into
from selftrain.storage.tensors import read_tensors

FORM = {"step": COUNT, "rows": [{"name": str, "size": (Number(0, 1), None)}], "more": ({str: float}, ...)}
GOOD = {"step": 3, "rows": [{"name": "a", "size": 0.5}, {"name": "b", "size": None, "other": [1]}]}


@pytest.mark.parametrize("value", [GOOD, GOOD | {"more": {"x": math.nan, "y": 2}}, {"step": 0, "rows": ()}])
def test_what_fits_passes(value):
    check(value, FORM)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"step": -1}, r"content.step is -1, not a whole number from 0 to inf"),
        ({"step": True}, "content.step is True"),
        ({"step": 2.0}, "content.step is 2.0"),
        ({"step": 10**30}, "content.step is 1000"),
        ({"step": 10**5000}, "content.step is a very large int"),
        ({"rows": {"a": 1}}, "content.rows is .*, not a list"),
        ({"rows": [GOOD["rows"][0], {"name": 3}]}, r"content.rows\[1\] lacks size"),
        ({"rows": [{"name": 3, "size": 0}]}, r"content.rows\[0\].name is 3, not text"),
        ({"rows": [{"name": "a", "size": 2}]}, r"rows\[0\].size is 2, not a finite number from 0 to 1"),
        ({"rows": [{"name": "a", "size": math.nan}]}, r"rows\[0\].size is nan"),
        ({"more": {"x": "1"}}, "content.more.x is '1', not a number"),
        ({"more": {3: 1.0}}, "a name in the content.more is 3, not text"),
        ({"more": None}, "content.more is None, not values by name"),
    ],
)
def test_what_does_not_fit_is_named(change, message):
    with pytest.raises(ValueError, match=message):
        check(GOOD | change, FORM)


def test_tensors_are_in_memory():
    check(torch.zeros(3)[1:], Tensor)
    for forged in (torch.zeros(1).expand(10**9), torch.eye(2).to_sparse(), torch.zeros(2, device="meta"), [1.0]):
        with pytest.raises(ValueError, match="not a tensor"):
            check(forged, Tensor)


def test_long_and_deep_values_are_shown_in_short():
    deep: list = []
    for _ in range(100_000):
        deep = [deep]
    for value in ("x" * 10**6, [0] * 10**6, deep, {"a" * 10**5: deep}):
        with pytest.raises(ValueError, match=r"\S") as caught:
            check(value, FIGURES if isinstance(value, dict) else Number())
        assert len(str(caught.value)) < 1000
    while deep:  # taken apart by hand: some versions of Python fall over the end of it
        deep = deep[0]


def test_a_file_is_named_with_field_and_remedy(tmp_path):
    path = tmp_path / "a.json"
    for text, message in (("{", "Expecting"), (json.dumps(GOOD | {"step": "x"}), "content.step is 'x', not a whole")):
        path.write_text(text)
        with pytest.raises(RunFolderError, match=f"a.json cannot be read: .*{message}.*; start anew"):
            read_fields(path, FORM, "start anew")
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_fields(tmp_path / "none.json", FORM, "start anew", error=CheckpointError)
    path.write_text(json.dumps(GOOD))
    assert read_fields(path, FORM, "start anew") == GOOD


def test_a_json_file_of_any_size_is_not_parsed(tmp_path):
    with open(tmp_path / "a.json", "wb") as file:
        file.truncate(200_000_000)
    with pytest.raises(RunFolderError, match="has 200,000,000 bytes"):
        read_fields(tmp_path / "a.json", dict, "start anew")


def test_a_header_of_very_many_names_is_refused(tmp_path):
    save_file({"a": torch.ones(2)}, tmp_path / "a.safetensors", {"note": "x"})
    tensors, notes = read_tensors(tmp_path / "a.safetensors")
    assert tensors["a"].tolist() == [1, 1]
    assert notes == {"note": "x"}
    one = json.dumps({"dtype": "F32", "shape": [0], "data_offsets": [0, 0]})
    head = ("{" + ",".join(f'"tensor {i}":{one}' for i in range(80_000)) + "}").encode()
    (tmp_path / "b.safetensors").write_bytes(len(head).to_bytes(8, "little") + head)
    with pytest.raises(CheckpointError, match="b.safetensors: it names its tensors in .* bytes"):
        read_tensors(tmp_path / "b.safetensors")


def test_a_checkpoint_that_unpacks_to_more_than_it_is_is_refused(tmp_path):
    path = tmp_path / "a.pt"
    torch.save({"format": checkpoint.FORMAT, "state": {"step": torch.zeros(10**6)}}, path)
    checkpoint.load(path)
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    with pytest.raises(CheckpointError, match=r"a.pt cannot be read: it says that it unpacks to 4,\d+,\d+ bytes"):
        checkpoint.load(path)


# -- states ------------------------------------------------------------------------------------------------------------
def make(kind=torch.optim.Adam, steps=1):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    made = Learner(model, kind(model.parameters(), lr=0.1))
    for _ in range(steps):
        made.update(made(torch.randn(4, 2)).square().sum())
    return made


def stored(**settings):
    state = make(**settings).state_dict()
    return state, state["_extra_state"]["optimizer"]


def test_numbers_of_another_kind_are_refused_by_name():
    for name, forged in (
        ("model.0.weight", torch.zeros(3, 2, dtype=torch.long)),
        ("model.1.num_batches_tracked", torch.tensor(0.5)),
        ("model.0.bias", torch.zeros(3).to_sparse()),
        ("model.0.bias", "x"),
    ):
        with pytest.raises(ValueError, match=f"{name} is a tensor of"):
            load_into(make(), stored()[0] | {name: forged})
    load_into(make(), stored()[0] | {"model.0.bias": torch.zeros(3, dtype=torch.float64)})


@pytest.mark.parametrize(
    ("forge", "message"),
    [
        (lambda it: it["state"][0].update(step=-2), "step of weight 0 is -2"),
        (lambda it: it["state"][0].update(step=torch.tensor(math.nan)), "step of weight 0 is nan"),
        (lambda it: it["state"][0].update(step="x"), "step of weight 0 is 'x'"),
        (lambda it: it["state"][0].update(exp_avg=torch.zeros(1).expand(10**9)), "exp_avg of weight 0"),
        (lambda it: it["state"].update({0: None}), "state of weight 0 is None"),
        (lambda it: it["param_groups"].append({}), r"param_groups\[1\] lacks params"),
        (lambda it: it["param_groups"][0].update(params=[0, 1]), r"groups of \[4\] tensors"),
        (lambda it: it["param_groups"][0].update(params=[0, 0, 1, 2]), r"groups of \[4\] tensors"),
        (lambda it: it.update(state=[]), "optimizer.state is"),
    ],
)
def test_a_state_of_an_optimizer_of_another_form_is_refused(forge, message):
    state, of_optimizer = stored()
    forge(of_optimizer)
    with pytest.raises(ValueError, match=message):
        load_into(make(steps=0), state)


@pytest.mark.parametrize(
    "forge",
    [
        lambda it: it["state"][0].pop("exp_avg"),
        lambda it: it["state"][0].update(exp_avg=torch.zeros(7)),
        lambda it: it["state"][0].update(exp_avg="x"),
        lambda it: it["param_groups"][0].update(betas="ab"),
        lambda it: it["param_groups"][0].update(eps=None),
    ],
)
def test_what_only_a_step_can_tell_is_told_by_the_first(forge):
    state, of_optimizer = stored()
    forge(of_optimizer)
    learner = make(steps=0)
    load_into(learner, state)
    with pytest.raises(CheckpointError, match="Adam cannot go on with its state in the checkpoint"):
        learner.update(learner(torch.randn(4, 2)).square().sum())


def test_an_error_of_a_later_step_is_its_own(monkeypatch):
    learner = make(steps=0)
    load_into(learner, stored()[0])
    learner.update(learner(torch.randn(4, 2)).square().sum())
    monkeypatch.setattr(learner.optimizer, "step", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        learner.update(learner(torch.randn(4, 2)).square().sum())


@pytest.mark.parametrize("kind", [torch.optim.AdamW, torch.optim.SGD, torch.optim.Adafactor, torch.optim.NAdam])
def test_states_of_optimizers_come_back(kind):
    state = stored(kind=kind, steps=2)[0]
    learner = make(kind=kind, steps=0)
    load_into(learner, state)
    x = torch.randn(4, 2)
    other = make(kind=kind, steps=2)
    for one in (learner, other):
        one.update(one(x).square().sum())
    assert all(torch.equal(a, b) for a, b in zip(learner.parameters(), other.parameters(), strict=True))


def test_a_setting_that_the_file_lacks_is_as_it_was_given():
    state, of_optimizer = stored()
    del of_optimizer["param_groups"][0]["betas"]
    learner = make(steps=0)
    load_into(learner, state)
    assert learner.optimizer.param_groups[0]["betas"] == (0.9, 0.999)
