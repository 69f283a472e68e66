"""Formats that a run chooses: by what a trial takes, stored, kept, and without a trace in the run."""

import copy
import itertools
import json

import pytest
import torch
from torch import nn

import selftrain as st
from selftrain import strategies, toy
from selftrain.engine import loop, speed
from selftrain.errors import TrainingError
from selftrain.handlers import Handler, Progress

PLAN = st.BatchPlan(labeled=4, unlabeled_ratio=1, seed=1)
STEPS = 320  # of which a twentieth are the steps of two questions with three turns each


def network():
    return st.Classifier(st.ConvEncoder(12, embed_dim=8), 3)


def strategy(kind=strategies.FixMatch, speed="auto", **training):
    torch.manual_seed(0)
    return kind(st.Classification(3), st.learner(network, speed=speed, **training))


class Begin(Handler):
    """Keep the strategy as it is when all is chosen."""

    def begin(self, context):
        self.state, self.told = copy.deepcopy(context.strategy.state_dict()), context.speed


def run(made, stop=1, steps=STEPS, **settings):
    begin = Begin()
    done = loop.fit(
        made, toy.pile("classification"), steps=steps, plan=PLAN, handlers=[begin, Progress(False)],
        checkpoints=st.Checkpoints(stop_after=stop), **settings,
    )  # fmt: skip
    done.told = begin.told
    done.begun = begin.state
    return done


@pytest.fixture
def takes(monkeypatch):
    """Seconds of a step, by what the networks compute in; a processor that knows bf16; the steps that were timed."""
    seconds, steps = {"fp32": 1.0, "bf16": 0.5, True: 1.0, False: 2.0}, []

    def step(self, twin, batches):
        steps.append(twin)
        return seconds[twin.student.precision] * seconds[twin.student.channels_last]

    monkeypatch.setattr(speed._Trial, "_step", step)
    monkeypatch.setattr(speed, "knows_bf16", lambda device: True)
    seconds["steps"] = steps
    return seconds


def same(one, other):
    tensors = [[v for v in state.values() if isinstance(v, torch.Tensor)] for state in (one, other)]
    return all(map(torch.equal, *tensors))


def test_the_fastest_formats_are_chosen_and_why_is_told(takes):
    done = run(strategy())
    assert (done.strategy.student.precision, done.strategy.student.channels_last) == ("bf16", True)
    assert done.strategy.ema.precision == "bf16"
    assert done.told == "bf16 (0.50 of the time of fp32); channels_last (channels first takes 2.00 of its time)"
    takes |= {"bf16": 0.95, False: 0.5}
    done = run(strategy())
    assert (done.strategy.student.precision, done.strategy.student.channels_last) == ("fp32", False)
    assert done.strategy.student.model.encoder.body[0].weight.is_contiguous()
    assert done.strategy.ema.channels_last is False


def test_a_trial_is_a_twentieth_of_the_steps_at_most_and_ten_of_each(takes):
    run(strategy())
    assert len(takes["steps"]) == 16 == STEPS // 20
    takes["steps"].clear()
    takes["fp32"] = takes["bf16"] = 0.01  # in seconds: compiling is not asked
    run(strategy(), steps=10_000)
    assert len(takes["steps"]) == 2 * 2 * 11
    takes["steps"].clear()
    done = run(strategy(), steps=300)
    assert not takes["steps"]
    assert done.told == "fp32; a run of 300 steps is too short for a trial"


def test_what_a_user_has_set_is_not_asked(takes):
    done = run(strategy(precision="bf16"))
    assert done.told == "channels_last (channels first takes 2.00 of its time)"
    takes["fp32"] = 0.1
    assert run(strategy(precision="auto")).strategy.student.precision == "fp32"  # its rule says bf16


def test_a_trial_leaves_no_trace_and_a_run_keeps_its_choice(takes, tmp_path, monkeypatch):
    monkeypatch.undo()  # steps are taken: they must not show
    monkeypatch.setattr(speed, "knows_bf16", lambda device: True)
    clock = itertools.count()
    monkeypatch.setattr(speed._Trial, "_now", lambda self: next(clock))  # as fast: nothing changes
    plain, tried = (run(strategy(speed=name), stop=8) for name in (None, "auto"))
    assert next(clock) == 2 * STEPS // 20  # twice a step
    assert same(plain.begun, tried.begun)
    assert same(plain.strategy.state_dict(), tried.strategy.state_dict())

    monkeypatch.setattr(speed, "GAIN", 1.5)  # whatever is tried is taken
    whole = run(strategy(), stop=8)
    assert whole.strategy.student.precision == "bf16"
    run(strategy(), stop=4, out=tmp_path)
    monkeypatch.setattr(speed, "GAIN", 0.0)
    monkeypatch.setattr(speed._Trial, "result", None)  # nothing is tried again
    resumed = run(strategy(), stop=8, out=tmp_path, resume=True)
    assert resumed.told == whole.told
    assert same(resumed.strategy.state_dict(), whole.strategy.state_dict())
    again = st.open_run(tmp_path, pile=toy.pile("classification"))
    assert (again.strategy.student.precision, again.strategy.ema.channels_last) == ("bf16", False)
    assert again.untrained().student.precision == "bf16"


def test_the_labels_alone_compute_in_the_same_formats(takes, tmp_path):
    takes |= {"bf16": 0.1}
    done = loop.fit(
        strategy(), toy.pile("classification"), steps=STEPS, plan=PLAN, out=tmp_path,
        handlers=[Progress(False)], baseline=True, checkpoints=st.Checkpoints(stop_after=1),
    )  # fmt: skip
    assert done.strategy.student.precision == "bf16"
    said = [json.loads((place / "rebuild.json").read_text())["speed"] for place in (tmp_path, tmp_path / "baseline")]
    assert said[0] == said[1]
    assert st.open_run(tmp_path / "baseline").strategy.method.student.precision == "bf16"


def test_compiling_is_asked_in_long_runs_alone(takes, monkeypatch):
    monkeypatch.setattr(nn.Module, "compile", lambda self: None)
    assert "compiled" not in run(strategy()).told
    takes["fp32"] = takes["bf16"] = 120 / 0.05 / STEPS
    done = run(strategy())
    assert done.told.endswith("not compiled (compiled takes 1.00 of its time)")
    assert not done.strategy.student.compiles


def test_the_record_of_a_run_names_formats_that_there_are(takes, tmp_path):
    run(strategy(), out=tmp_path)
    record = json.loads((tmp_path / "rebuild.json").read_text())
    record["speed"]["precision"] = "fp8"
    (tmp_path / "rebuild.json").write_text(json.dumps(record))
    with pytest.raises(st.RunFolderError, match="has precision 'fp8'"):
        st.open_run(tmp_path)


class Leads(strategies.FixMatch):
    """A function among its attributes leads back to it."""

    def step(self, batch, clock, *extra):
        self.own()
        return super().step(batch, clock, *extra)


def test_a_strategy_that_a_trial_would_change_is_refused(monkeypatch):
    monkeypatch.setattr(speed, "knows_bf16", lambda device: True)
    made = strategy(Leads)
    weight = made.student.model.head.weight
    made.own = lambda: weight.detach().add_(1)
    with pytest.raises(TrainingError, match='holds on to it; make it a method, or leave out speed="auto"'):
        run(made)
    made.own = lambda: None
    run(made)


class Uncopyable(strategies.FixMatch):
    def __deepcopy__(self, memo):
        raise TypeError("no")


def test_a_strategy_that_a_trial_cannot_copy_is_refused(takes):
    with pytest.raises(ValueError, match='cannot be copied: .*; leave out speed="auto", and set precision'):
        run(strategy(Uncopyable))
    assert run(strategy(Uncopyable, speed=None, precision="bf16")).told is None


def test_several_processes_are_told_to_set_formats(monkeypatch):
    monkeypatch.setattr(speed, "here", lambda: object())
    with pytest.raises(ValueError, match="tries steps in one process"):
        run(strategy())
    monkeypatch.undo()
    run(strategy(speed=None, precision="bf16"))
