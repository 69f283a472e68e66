"""A resumed run is the same run, whatever its networks draw from and wherever they keep their state."""

import copy
import functools
import itertools
import os
import random
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import zoo
from torch import nn

import selftrain as st
from selftrain import strategies, toy
from selftrain.handlers import Handler, MetricsLog, SelfCheck
from selftrain.handlers.resumecheck import ResumeCheck
from selftrain.handlers.selfcheck import SelfTrainingWarning
from selftrain.networks.student import Learner
from selftrain.runtime.attributes import SMALL, Attributes
from selftrain.runtime.rng import own_randomness
from selftrain.tensorboard import TensorBoard
from selftrain.types import BatchPlan

LENGTH = {"steps": 4, "plan": BatchPlan(labeled=4), "evaluation": st.Evaluation(every=4)}


class Noisy(nn.Module):
    """A network whose outputs are shaken by a number that ``draw`` gives."""

    def __init__(self, **own):
        super().__init__()
        self.inner = toy.network("classification")
        vars(self).update(own)

    def draw(self):
        return 0.0

    def forward(self, x):
        return self.inner(x) * (1 + 0.2 * float(self.draw()))


toy_network = functools.partial(toy.network, "classification")


class Moves(Noisy):
    """The output depends on how often it was run; ``move`` gives the number."""

    def draw(self):
        return self.move(self)


class PythonsNoise(Noisy):
    def draw(self):
        return random.random()


class NumpysNoise(Noisy):
    def draw(self):
        return np.random.rand()


def counted(network):
    network.count += 1
    return np.sin(network.count)


def listed(network):
    network.seen.append(len(network.seen))
    return np.sin(sum(network.seen))


def remembered(network):
    network.memory["last"] = network.memory.get("last", 0.5) * -0.9
    network.memory["all"].append((network.memory["last"], "step"))
    return network.memory["last"]


def in_tensors(network):
    network.hidden = 0.7 * network.hidden + 0.1
    network.inside[0].add_(network.hidden)
    return torch.sin(network.inside[0] + network.constant)


def in_arrays(network):
    network.array[1] += 1
    network.number = np.float32(0.9) * network.number
    return np.sin(network.array[1]) + network.number


def made_later(network):
    if not hasattr(network, "late"):
        network.late = torch.zeros(())
    network.late = network.late + 1
    return torch.sin(network.late)


def in_an_object(network):
    network.held.count += 1
    return np.sin(network.held.count)


def in_a_buffer(network):
    network.kept += 1
    return torch.sin(network.kept)


def in_dropout(network):
    network.dropout.p *= 0.8
    return network.dropout.p


def in_much(network):
    network.table[5] += 1
    return torch.sin(network.table[5])


class Buffered(Moves):
    def __init__(self, **own):
        super().__init__(**own)
        self.register_buffer("kept", torch.zeros(()), persistent=False)
        self.dropout = nn.Dropout(0.5)


class Held:
    def __init__(self):
        self.count = 0


def closure():
    calls = 0

    def move(network):
        nonlocal calls
        calls += 1
        return np.sin(calls)

    return move


def hooked():
    network, calls = Noisy(), []

    def hook(module, inputs, output):
        calls.append(1)
        return output * (1 + 0.2 * np.sin(len(calls)))

    network.inner.register_forward_hook(hook)
    return network


class Draws(Moves):
    """Has a generator of its own."""

    def __init__(self, kind):
        super().__init__()
        seed = int(torch.randint(9999, ()))
        self.generator = {
            "torch": lambda: torch.Generator().manual_seed(seed),
            "numpy": lambda: np.random.default_rng(seed),
            "RandomState": lambda: np.random.RandomState(seed),
            "random": lambda: random.Random(seed),
        }[kind]()

    def draw(self):
        if isinstance(self.generator, torch.Generator):
            return torch.rand((), generator=self.generator)
        return self.generator.random() if hasattr(self.generator, "random") else self.generator.rand()


class Counting(torch.optim.SGD):
    """An optimizer that keeps numbers beside its state."""

    def __init__(self, params, lr):
        super().__init__(params, lr)
        self.steps, self.slow = 0, []

    def step(self, closure=None):
        self.steps += 1
        self.defaults["power"] = self.defaults.get("power", 1.0) * 0.9
        for group in self.param_groups:
            group["lr"] = group["lr"] * (1 + np.sin(self.steps)) * self.defaults["power"]
        weights = [p for group in self.param_groups for p in group["params"]]
        self.slow = self.slow or [p.detach().clone() for p in weights]
        super().step()
        with torch.no_grad():
            for mine, slow in zip(weights, self.slow, strict=True):
                slow.lerp_(mine, 0.1)
                mine.lerp_(slow, 0.5)


class Wrapping(torch.optim.Optimizer):
    """An optimizer around another one, whose moments it does not store."""

    def __init__(self, params, lr):
        self.base = torch.optim.Adam(params, lr)
        super().__init__(self.base.param_groups, {})

    def step(self, closure=None):
        self.base.step()


class Double(torch.optim.SGD):
    """An optimizer with a state in double precision."""

    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                total = self.state[p].setdefault("total", torch.zeros_like(p, dtype=torch.float64))
                total.mul_(0.9).add_(p.grad)
                p.data.add_(total / 3, alpha=-group["lr"])


def tensor_rate(params, lr):
    return torch.optim.Adam(params, torch.tensor(lr))


class Counter:
    """A schedule that counts its calls."""

    def __init__(self):
        self.calls = 0

    def __call__(self, progress):
        self.calls += 1
        return 1 / self.calls


def counting_schedule():
    calls = 0

    def schedule(progress):
        nonlocal calls
        calls += 1
        return 1 / calls

    return schedule


class Annealed(strategies.MeanTeacher):
    """A strategy that keeps a number."""

    annealing = 1.0

    def step(self, batch, clock, *extra):
        self.annealing = self.annealing * 0.7
        for group in self.student.optimizer.param_groups:
            group["lr"] *= self.annealing
        return super().step(batch, clock, *extra)


def fit(network, out=None, *, optimizer=torch.optim.Adam, schedule=None, kind=strategies.MeanTeacher, start=0, **more):
    torch.manual_seed(start)

    def make():
        model = network()
        return Learner(model, optimizer(model.parameters(), lr=0.01), schedule=schedule and schedule())

    strategy = kind(toy.task("classification"), make)
    settings = LENGTH | {"handlers": [TensorBoard(False)]} | more
    return st.fit(strategy, toy.pile("classification"), out=out, **settings)


def same(one, other):
    mine, theirs = one.strategy.state_dict(), other.strategy.state_dict()
    return all(torch.equal(value, theirs[name]) for name, value in mine.items() if isinstance(value, torch.Tensor))


def moves(move, **own):
    return {"network": lambda: Moves(move=move, **copy.deepcopy(own))}


KINDS = {
    "Python's generator": {"network": PythonsNoise},
    "numpy's generator": {"network": NumpysNoise},
    "a generator of torch": {"network": lambda: Draws("torch")},
    "a generator of numpy": {"network": lambda: Draws("numpy")},
    "an older generator of numpy": {"network": lambda: Draws("RandomState")},
    "a generator of Python": {"network": lambda: Draws("random")},
    "a number": moves(counted, count=0),
    "a list": moves(listed, seen=[]),
    "a dict of lists of tuples": moves(remembered, memory={"all": []}),
    "tensors": {
        "network": lambda: Moves(
            move=in_tensors, hidden=torch.zeros(()), inside=[torch.ones(())], constant=torch.rand(())
        )
    },
    "arrays": moves(in_arrays, array=np.zeros(3), number=np.float32(1)),
    "an attribute made later": moves(made_later),
    "an object": moves(in_an_object, held=Held()),
    "objects in a list": moves(
        lambda network: in_an_object(network.many[1]), many=[None, SimpleNamespace(held=Held())]
    ),
    "a buffer that is not stored": {"network": lambda: Buffered(move=in_a_buffer)},
    "a layer of torch": {"network": lambda: Buffered(move=in_dropout)},
    "a closure": {"network": lambda: Moves(move=closure())},
    "a hook": {"network": hooked},
    "a large tensor": moves(in_much, table=torch.zeros(SMALL)),
    "an optimizer's attributes": {"network": toy_network, "optimizer": Counting},
    "an optimizer in another": {"network": toy_network, "optimizer": Wrapping},
    "a state in double precision": {"network": toy_network, "optimizer": Double},
    "a rate that is a tensor": {"network": toy_network, "optimizer": tensor_rate},
    "a schedule that counts": {"network": toy_network, "schedule": Counter},
    "a schedule that counts in a closure": {"network": toy_network, "schedule": counting_schedule},
    "a strategy's attributes": {"network": toy_network, "kind": Annealed},
}


QUICK = (
    "numpy's generator", "a generator of torch", "a number", "tensors", "an object", "a buffer that is not stored",
    "a closure", "an optimizer in another", "a state in double precision", "a schedule that counts in a closure",
)  # fmt: skip


@pytest.mark.one_in(2)
@pytest.mark.parametrize("kind", [pytest.param(k, marks=[] if k in QUICK else [pytest.mark.slow]) for k in KINDS])
def test_a_resumed_run_is_the_same_run(kind, tmp_path):
    whole = fit(**KINDS[kind], out=tmp_path / "whole")
    fit(**KINDS[kind], out=tmp_path / "parts", checkpoints=st.Checkpoints(stop_after=2))
    for shared in (random, np.random):
        shared.seed(7)  # as in another process
    rest = fit(**KINDS[kind], out=tmp_path / "parts", resume=True, start=1)
    assert same(whole, rest)


@pytest.mark.parametrize("network", [PythonsNoise, NumpysNoise])
def test_noise_is_the_same_again_whatever_draws_it(network):
    learner, model = toy.learner("classification")(), network()
    with own_randomness(torch.device("cpu")):
        state = learner.random_state()
        first, second = model.draw(), model.draw()
        with learner.same_noise(state):
            assert model.draw() == first != second


class LeavesOut(Handler):
    def begin(self, context):
        context.left_out.append(5)


class Late(strategies.MeanTeacher):
    """A strategy that keeps a number, which moves for the first time in its fifth step."""

    def __init__(self, task, make):
        super().__init__(task, make)
        self.annealing = 1.0

    def step(self, batch, clock, *extra):
        if clock.step >= 4:
            self.annealing *= 0.5
        for group in self.student.optimizer.param_groups:
            group["lr"] *= self.annealing
        return super().step(batch, clock, *extra)


@pytest.mark.parametrize("kind", ["a number", "tensors", "an attribute made later", "a generator of numpy", Late])
def test_steps_that_are_taken_again_find_the_attributes_of_before(kind):
    """A state is kept before the fourth step, the sixth is bad."""
    settings = {"steps": 7, **KINDS.get(kind, {"network": toy_network, "kind": kind})}
    with pytest.warns(SelfTrainingWarning, match="step 6 was left out"):
        found = fit(**settings, schedule=lambda: lambda progress: float("inf") if progress == 5 / 7 else 1.0)
    told = fit(**settings, schedule=lambda: lambda progress: 1.0, handlers=[LeavesOut()])
    assert (found.skipped, told.skipped) == (1, 1)
    assert same(found, told)


class Shows(Handler):
    def begin(self, context):
        context.measure("validation")


def test_what_handlers_show_when_a_run_goes_on_is_no_pass_of_it(tmp_path):
    settings = KINDS["a number"] | {"handlers": [Shows()]}
    whole = fit(**settings, out=tmp_path / "whole")
    fit(**settings, out=tmp_path / "parts", checkpoints=st.Checkpoints(stop_after=2))
    assert same(whole, fit(**settings, out=tmp_path / "parts", resume=True))


def test_a_schedule_that_counts_in_a_closure_is_asked_in_steps_alone():
    one, other = (KINDS[f"a schedule that counts{where}"] for where in ("", " in a closure"))
    assert same(fit(**one), fit(**other))


@pytest.mark.parametrize("name", zoo.ZOO)
def test_the_librarys_own_methods_keep_everything_in_their_state(name):
    strategy = zoo.build(name, "classification")
    attributes = Attributes(strategy, [learner.optimizer for learner in strategy.learners()])
    zoo.take_step(strategy, zoo.batches(strategy, "classification"))
    assert attributes.state_dict() == {}
    assert attributes.left == []


class Lazy(Noisy):
    """What it makes in its first pass belongs together, and a part of it cannot be stored."""

    def __init__(self):
        super().__init__(ready=False, lock=None, noise=torch.Generator())

    def draw(self):
        if not self.ready:
            self.ready, self.lock = True, threading.Lock()
        with self.lock:
            return torch.rand((), generator=self.noise)


def test_nothing_is_put_back_beside_what_cannot_be():
    network, fresh = Lazy(), Lazy()
    attributes, others = Attributes(network), Attributes(fresh)
    first = network.draw()
    stored = attributes.state_dict()
    assert list(stored[""]) == ["noise"]
    assert attributes.left == ["lock"]
    others.load_state_dict(stored)
    assert not fresh.ready
    assert fresh.draw() == network.draw() != first


def test_a_run_from_its_folder_has_its_attributes(tmp_path):
    run = fit(**KINDS["a number"], out=tmp_path)
    count, run.strategy.student.model.count = run.strategy.student.model.count, 0
    opened = st.open_run(tmp_path, strategy=run.strategy)
    assert 0 < opened.strategy.student.model.count <= count  # what has shown the finished run was not stored


def test_attributes_of_what_is_no_longer_there_are_named():
    network = Moves(move=in_an_object, held=Held())
    attributes = Attributes(network)
    network.draw()
    with pytest.warns(UserWarning, match="count of held, which is not there, is not put back"):
        Attributes(Moves(move=in_an_object)).load_state_dict(attributes.state_dict())


@pytest.mark.parametrize("name", ["forward", "_modules", "training", "param_groups"])
def test_attributes_of_a_strangers_checkpoint_replace_no_method(name):
    network = nn.Linear(2, 2)
    with pytest.raises(ValueError, match=f"has no attribute '{name}' that a run could move"):
        Attributes(network).load_state_dict({"": {name: "x"}})
    assert network(torch.ones(1, 2)).shape == (1, 2)


# -- what cannot be exact is noticed -----------------------------------------------------------------------------------
TICKS = [0.0]


def by_a_global(network):
    TICKS[0] += 1
    return np.sin(TICKS[0])


class Iterating(Noisy):
    def __init__(self):
        super().__init__(numbers=itertools.count())

    def draw(self):
        return np.sin(next(self.numbers))


class Slotted:
    __slots__ = ("count",)

    def __init__(self):
        self.count = 0


class Unlocked(Lazy):
    """As it is when it was run: what it made cannot be stored, and the number beside it neither."""

    def draw(self):
        if not self.ready:
            self.ready, self.lock = 0, SimpleNamespace(x=iter(()))
        self.ready += 1
        return np.sin(self.ready)


UNSEEDED, BEFORE = "draws on what no seed reaches", "depends on what it did before and no checkpoint holds"
NOTICED = {
    "the time": (moves(lambda network: time.perf_counter() % 1e-3 * 1e3), rf"model \(Moves\) {UNSEEDED}"),
    "the system's numbers": (moves(lambda network: os.urandom(1)[0] / 255), rf"model \(Moves\) {UNSEEDED}"),
    "a global": (moves(by_a_global), rf"model \(Moves\) {UNSEEDED}"),
    "an iterator": ({"network": Iterating}, rf"model \(Iterating\) {BEFORE}"),
    "slots": (moves(in_an_object, held=Slotted()), rf"model \(Moves\) {BEFORE}"),
    "an object": ({"network": Unlocked}, rf"model \(Unlocked\) {BEFORE}. It keeps .* in student.model.lock"),
}


@pytest.mark.parametrize("kind", NOTICED)
def test_what_a_resume_will_not_do_is_said(kind, tmp_path):
    settings, message = NOTICED[kind]
    with pytest.warns(SelfTrainingWarning, match=f"stopped and resumed will not be this run: .*{message}"):
        fit(**settings, out=tmp_path)


def test_nothing_is_tried_where_nothing_is_stored_or_looked_at(tmp_path, recwarn):
    fit(**NOTICED["the time"][0])
    fit(**NOTICED["the time"][0], out=tmp_path, handlers=[SelfCheck(False)])
    assert not [w for w in recwarn if "resumed" in str(w.message)]


@pytest.mark.parametrize("kind", ["a number", "a generator of torch", "a closure", "a schedule that counts"])
def test_what_is_stored_is_no_reason_to_warn(kind, tmp_path, recwarn):
    run = fit(**KINDS[kind], out=tmp_path)
    assert not [w for w in recwarn if "resumed" in str(w.message)]
    assert "not_resumable" not in run.unchecked


FEW = ("mean_teacher", "fixmatch", "fst_d", "jointmatch", "vat")
SLOW = [pytest.param(*p.values, marks=pytest.mark.slow) for p in zoo.GRID if p.values[0] not in FEW]


@pytest.mark.parametrize(("name", "kind"), [*((name, "classification") for name in FEW), *SLOW])
def test_no_method_is_said_to_be_another_after_a_stop(name, kind, tmp_path, recwarn, monkeypatch):
    tried = []
    complaint = ResumeCheck.complaint
    monkeypatch.setattr(ResumeCheck, "complaint", lambda self: tried.append(complaint(self)))
    quiet = [MetricsLog(99), TensorBoard(False)]
    run = st.fit(zoo.build(name, kind), toy.pile(kind), steps=3, plan=zoo.PLAN, out=tmp_path, handlers=quiet)
    assert (tried, run.unchecked.get("not_resumable")) == ([None], None)


EVERY_PASS = itertools.count(1)  # a global variable: no checkpoint holds it


def test_operations_without_a_fixed_order_are_no_reason_to_warn(tmp_path, recwarn):
    run = fit(**moves(lambda network: 1e-5 * next(EVERY_PASS)), out=tmp_path)
    assert "two steps from one state differ by rounding" in run.unchecked["not_resumable"]
    assert not [w for w in recwarn if "resumed" in str(w.message)]


@pytest.mark.parametrize("kind", ["a closure", "a generator of torch", "a schedule that counts in a closure"])
def test_a_try_leaves_what_copies_share_as_it_is(kind, tmp_path):
    one, other = (fit(**KINDS[kind], out=tmp_path / str(on), handlers=[SelfCheck(on)]) for on in (True, False))
    assert same(one, other)
