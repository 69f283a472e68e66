"""What a run stores can be read again, whatever types its parts are made of, or the run says so before it trains."""

import datetime
import enum
from collections import OrderedDict, deque
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import selftrain as st
from selftrain import strategies, toy
from selftrain.errors import CheckpointError, TrainingError
from selftrain.networks.student import Learner
from selftrain.storage import checkpoint
from selftrain.storage.states import storable
from selftrain.tensorboard import TensorBoard
from selftrain.types import BatchPlan

LENGTH = {"steps": 2, "plan": BatchPlan(labeled=4)}


class Remembering(nn.Module):
    """A network with an extra state."""

    def __init__(self, state):
        super().__init__()
        self.inner, self.state = toy.network("classification"), state

    def forward(self, x):
        return self.inner(x)

    def get_extra_state(self):
        return self.state

    def set_extra_state(self, state):
        self.state = state


def fit(out=None, network=None, rate=0.01, schedule=None, kind=strategies.MeanTeacher, **settings):
    torch.manual_seed(0)

    def make():
        model = (network or (lambda: toy.network("classification")))()
        return Learner(model, torch.optim.Adam(model.parameters(), lr=rate), schedule=schedule)

    strategy = kind(toy.task("classification"), make)
    settings = LENGTH | {"handlers": [TensorBoard(False)]} | settings
    return st.fit(strategy, toy.pile("classification"), out=out, **settings)


class Evaluated(strategies.MeanTeacher):
    """Figures of other types."""

    kind: type = np.float64

    def evaluate(self, data, reference=None):
        return {name: self.kind(value) for name, value in super().evaluate(data, reference).items()}


STORED = {
    "a rate of np.logspace": lambda out, **more: fit(out, rate=np.logspace(-3, -1, 3)[0], **more),
    "a rate of float32": lambda out, **more: fit(out, rate=np.float32(0.01), **more),
    "a schedule with np.cos": lambda out, **more: fit(out, schedule=lambda p: np.cos(p), **more),
    "a schedule with torch.cos": lambda out, **more: fit(out, schedule=lambda p: torch.cos(torch.tensor(p)), **more),
    "figures of float64": lambda out, **more: fit(out, kind=Evaluated, **more),
    "an extra state of numbers": lambda out, **more: fit(out, lambda: Remembering({"seen": np.int64(3)}), **more),
    "an extra state of an array": lambda out, **more: fit(out, lambda: Remembering(np.arange(3.0)), **more),
    "an extra state of a deque": lambda out, **more: fit(out, lambda: Remembering(deque([1, 2], 5)), **more),
}


@pytest.mark.parametrize("what", STORED)
@pytest.mark.filterwarnings("ignore:.*no tensors")
def test_what_is_stored_is_read_again(what, tmp_path):
    whole = STORED[what](None)
    STORED[what](tmp_path, checkpoints=st.Checkpoints(stop_after=1))
    rest = STORED[what](tmp_path, resume=True)
    for mine, theirs in zip(whole.strategy.parameters(), rest.strategy.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    assert checkpoint.load_newest(tmp_path / "checkpoints")["step"] == 2
    assert st.learner(
        lambda: toy.network("classification") if "extra" not in what else Remembering(0), init_from=rest
    )()
    assert (tmp_path / "export.safetensors").is_file()


@pytest.mark.parametrize("kind", [np.float32, torch.tensor, np.float16])
def test_figures_are_numbers(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(Evaluated, "kind", staticmethod(kind))
    run = fit(tmp_path, kind=Evaluated)
    assert type(run.last["validation"]["accuracy"]) is float


def test_figures_that_are_none_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr(Evaluated, "kind", lambda self, value: [value])
    with pytest.raises(TrainingError, match=r"Evaluated.evaluate gave \{'.*; give one number for each name"):
        fit(tmp_path, kind=Evaluated)


def test_what_no_checkpoint_holds_is_named_before_the_first_step(tmp_path):
    with pytest.raises(CheckpointError, match=r"a datetime.date at strategy.student.model._extra_state.day, which no"):
        fit(tmp_path, lambda: Remembering({"day": datetime.date(2020, 1, 1)}))
    assert fit(None, lambda: Remembering({"day": datetime.date(2020, 1, 1)})).seconds > 0  # nothing is to be stored


def test_a_state_without_end_is_named():
    state = {}
    state["self"] = state
    with pytest.raises(CheckpointError, match="the state has no end at .self.self"):
        storable(state)


def test_exported_weights_are_tensors_and_say_what_is_left_out(tmp_path):
    with pytest.warns(UserWarning, match=r"1 of \d+ parts of the network's state are no tensors \(_extra_state\)"):
        fit(tmp_path, lambda: Remembering({"a": 1}))


class Color(enum.IntEnum):
    RED = 1


def test_types_of_plain_states(tmp_path):
    state = {
        "numbers": [np.float64(0.5), np.int32(2), np.bool_(True), Color.RED, 2**70, 1j],
        "text": np.str_("a"),
        "place": Path("a/b"),
        "sets": [{1, 2}, deque([1]), (1, [2]), OrderedDict(a=1), torch.Size([1])],
        "array": np.arange(4, dtype=">i2")[::2],
        "tensors": [torch.ones(1), nn.Parameter(torch.ones(1)), None],
        3: b"bytes",
    }
    read = checkpoint.load(checkpoint.save(tmp_path, state, 1))
    assert read["numbers"] == [0.5, 2, True, 1, 2**70, 1j]
    assert [type(one) for one in read["numbers"][:4]] == [float, int, bool, int]
    assert (read["text"], read["place"], read[3]) == ("a", "a/b", b"bytes")
    assert read["sets"] == [{1, 2}, [1], (1, [2]), OrderedDict(a=1), torch.Size([1])]
    assert isinstance(read["array"], np.ndarray)
    assert read["array"].tolist() == [0, 2]
