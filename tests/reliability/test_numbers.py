"""NaN and infinity, wherever they come from: the step is left out and counted, and nothing of it stays."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from importlib import import_module

import pytest
import torch
import zoo
from torch import nn

import selftrain as st
from selftrain import data, strategies, toy
from selftrain.errors import DataError, NonFiniteError
from selftrain.handlers import Handler, MetricsLog, NonFiniteGuard
from selftrain.handlers.nonfinite import EVERY
from selftrain.networks import ema
from selftrain.networks.copying import copied
from selftrain.runtime.attributes import Attributes
from selftrain.runtime.finite import finite_step
from selftrain.storage import checkpoint
from selftrain.strategy.pseudo_labeling import PseudoLabeling
from selftrain.tensorboard import TensorBoard

learner = import_module("selftrain.networks.student")
NAN, INF = float("nan"), float("inf")
KIND = "classification"


# -- one step of every strategy ----------------------------------------------------------------------------------------
def spoiled_inputs(batch, value):
    """The batch with one bad pixel, in each of its inputs in turn."""
    if batch.has_labeled:
        yield batch.replace(labeled=replace(batch.labeled, x=spoiled(batch.labeled.x, value)))
    for name, view in batch.unlabeled.views.items() if batch.has_unlabeled else ():
        yield zoo.with_view(batch, name, replace(view, x=spoiled(view.x, value)))


def spoiled(x, value):
    x = x.clone()
    x[0, 0, 0, 0] = value
    return x


def spoil_output(monkeypatch, number, value):
    """The ``number``-th pass of any network, student or teacher, says ``value`` of its first sample."""
    run, passes = learner.run_network, []

    def network(model, x, *settings):
        def one(y):
            passes.append(0)
            if len(passes) != number:
                return y
            if isinstance(y, tuple):  # of a network that is asked for all its levels: the first
                return spoil(y[0]), *y[1:]
            return spoil(y)

        def spoil(y):
            return spoiled(y.reshape(*y.shape, 1, 1), value).reshape(y.shape)

        return run(lambda z: one(model(z)), x, *settings)

    for module in (learner, ema):
        monkeypatch.setattr(module, "run_network", network)
    return passes


def attempt(strategy, given):
    """One watched step, as the loop and its guard take it; whether it failed and the state before it came back."""
    kept = copied(strategy.state_dict())
    try:
        with finite_step():
            zoo.take_step(strategy, given)
    except NonFiniteError:
        strategy.load_state_dict(kept)
        return True
    return False


def assert_failed_without_trace(strategy, given, before):
    failed = attempt(strategy, given)
    if failed:
        assert not zoo.differences(before, strategy.state_dict())
        assert all(p.grad is None for p in strategy.parameters())
    else:
        strategy.load_state_dict(copy.deepcopy(before))  # an infinite pixel need not make an infinite output
    return failed


@pytest.mark.parametrize("name", zoo.ZOO)
def test_a_step_that_fails_leaves_no_trace(name, monkeypatch):
    strategy = zoo.build(name, KIND)
    zoo.take_step(strategy, zoo.batches(strategy, KIND))
    before = zoo.state_of(strategy)
    given = zoo.batches(strategy, KIND, step=1)
    inputs = 0
    for value in (NAN, INF):
        for batch in spoiled_inputs(given[0], value):
            inputs += assert_failed_without_trace(strategy, [batch, *given[1:]], before)
    assert inputs >= (2 if zoo.ZOO[name].labels_from or zoo.ZOO[name].learns_from else 1)
    number, failed = 1, 0
    while True:
        with monkeypatch.context() as patch:
            passes = spoil_output(patch, number, NAN)
            failed += (now := assert_failed_without_trace(strategy, given, before))
        if not now:
            break  # that pass was after the last update, or there is none of that number
        number += 1
    assert failed >= 1
    assert number > len(passes) or number == failed + 1
    for one in strategy.learners():
        handle = next(one.model.parameters()).register_hook(lambda grad: grad * NAN)
        assert assert_failed_without_trace(strategy, given, before)
        handle.remove()
    assert not attempt(strategy, given)
    fresh = zoo.build(name, KIND, seed=1)
    fresh.load_state_dict(copy.deepcopy(before))
    zoo.take_step(fresh, given)
    assert not zoo.differences(fresh.state_dict(), strategy.state_dict())


@pytest.mark.parametrize("accumulate", [1, 4])
def test_gathered_gradients_come_back(accumulate):
    strategy = zoo.build("jointmatch", KIND, student={"accumulate": accumulate})
    for step in range(2):
        zoo.take_step(strategy, zoo.batches(strategy, KIND, step=step))
    before, given = zoo.state_of(strategy), zoo.batches(strategy, KIND, step=2)
    assert attempt(strategy, [*map(next, [spoiled_inputs(given[0], NAN)]), *given[1:]])
    assert not zoo.differences(before, strategy.state_dict())


def test_what_an_earlier_learner_has_gathered_goes_when_a_later_one_fails():
    strategy = zoo.build("jointmatch", KIND, student={"accumulate": 4})
    zoo.take_step(strategy, zoo.batches(strategy, KIND))
    before, given = zoo.state_of(strategy), zoo.batches(strategy, KIND, step=1)
    first, second = strategy.learners()
    gathered = [None if p.grad is None else p.grad.clone() for p in first.model.parameters()]
    handle = next(second.model.parameters()).register_hook(lambda grad: grad * NAN)
    assert attempt(strategy, given)
    handle.remove()
    assert not zoo.differences(before, strategy.state_dict())
    assert not zoo.differences(gathered, [p.grad for p in first.model.parameters()])


def test_a_gathered_gradient_that_is_not_finite_costs_its_own_step_alone():
    """Gathered, it would spoil the optimizer step, and every try of it anew."""
    strategy = zoo.build("mean_teacher", KIND, student={"accumulate": 4})
    step = strategy.step

    def spoiled_step(batch, clock):
        if clock.step != 5:
            return step(batch, clock)
        handle = next(strategy.student.model.parameters()).register_hook(lambda grad: grad * NAN)
        try:
            return step(batch, clock)
        finally:
            handle.remove()

    strategy.step = spoiled_step
    with pytest.warns(st.SelfTrainingWarning, match="step 6 was left out: the gradient norm is nan"):
        run = st.fit(strategy, toy.pile(KIND), steps=16, plan=zoo.PLAN)
    assert run.skipped == 1
    assert strategy.student.gathering  # 15 steps are three times four and three


# -- a run -------------------------------------------------------------------------------------------------------------
class Spoiled:
    """A toy pile whose batches hold NaN at some steps."""

    def __init__(self, steps):
        self.pile, self.steps = toy.pile(KIND), steps

    def __getattr__(self, name):
        return getattr(self.pile, name)

    def stream(self, needs, plan, device):
        return SpoiledStream(self.pile.stream(needs, plan, device), self.steps)


class SpoiledStream:
    def __init__(self, stream, steps):
        self.stream, self.steps, self.steps_per_epoch = stream, steps, stream.steps_per_epoch

    def epoch(self, number, start=0):
        for place, batches in enumerate(self.stream.epoch(number, start), number * self.steps_per_epoch + start):
            bad = place in self.steps
            yield [next(spoiled_inputs(batches[0], NAN)), *batches[1:]] if bad else batches


def fit(bad=(), out=None, name="freematch", handlers=(), student=None, **settings):
    strategy = zoo.build(name, KIND, **({} if student is None else {"student": student}))
    times = {"evaluation": st.Evaluation(every=4), "plan": zoo.PLAN, "steps": 8}
    return st.fit(
        strategy, Spoiled(bad), out=out, handlers=[MetricsLog(2), TensorBoard(False), *handlers], **times | settings
    )


@pytest.mark.filterwarnings("ignore::selftrain.SelfTrainingWarning")
@pytest.mark.parametrize("bad", [(), {2}])
def test_a_batch_that_cannot_be_made_ends_the_run_once_the_step_before_it_is_done(bad, monkeypatch):
    """The next batch is asked for before it is known whether a step is finite."""
    whole, seen = SpoiledStream.epoch, Seen()

    def broken(self, number, start=0):
        for place, batches in enumerate(whole(self, number, start), number * self.steps_per_epoch + start):
            if place == 3:
                raise DataError("row 7 is gone")
            yield batches

    monkeypatch.setattr(SpoiledStream, "epoch", broken)
    with pytest.raises(DataError, match="row 7"):
        fit(bad, handlers=[seen])
    assert seen.steps == [1, 2, 3]
    assert seen.reports == [True, True, not bad]


def test_a_run_leaves_bad_steps_out_and_counts_them(tmp_path):
    with pytest.warns(st.SelfTrainingWarning, match=r"step 3 was left out: the loss is nan"):
        run = fit({2, 3, 6}, tmp_path)
    assert run.skipped == 3
    assert int(run.ledger.seen.sum()) == 5 * zoo.PLAN.unlabeled
    assert all(torch.isfinite(v).all() for v in run.strategy.state_dict().values() if torch.is_tensor(v))
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    counts = {row["step"]: row["train/skipped"] for row in rows if "train/skipped" in row}
    assert counts == {4: 2, 6: 2, 8: 3}
    assert json.loads((tmp_path / "summary.json").read_text())["skipped"] == 3


class Seen(Handler):
    """Writes down what it sees; may know before the run which steps to leave out."""

    def __init__(self, left_out=()):
        self.left_out, self.steps, self.reports = left_out, [], []

    def begin(self, context):
        context.left_out.extend(self.left_out)

    def after_step(self, step, report):
        self.steps.append(step)
        self.reports.append(report is not None)


@pytest.mark.filterwarnings("ignore::selftrain.SelfTrainingWarning")
@pytest.mark.parametrize("name", ["freematch", "soft_labels", "fst", "cps", "temporal_ensembling"])
def test_a_run_that_goes_back_is_the_run_that_never_took_the_bad_step(name, tmp_path):
    """Also where steps, epochs and evaluations lie between the state that was kept and the bad step."""
    bad, runs, seen = [1, 6, 7, 13], [], []
    for left_out in ((), bad):
        seen.append(Seen(left_out))
        folder = tmp_path / f"{len(left_out)}"
        runs.append(fit(set(bad), folder, name=name, steps=16, student={"accumulate": 2}, handlers=[seen[-1]]))
    for watcher in seen:
        assert watcher.steps == list(range(1, 17))
        assert watcher.reports == [step - 1 not in bad for step in watcher.steps]
    one, two = (run.strategy.state_dict() for run in runs)
    assert not zoo.differences(one, two)
    assert not zoo.differences(runs[0].ledger.state_dict(), runs[1].ledger.state_dict())
    assert (runs[0].skipped, runs[0].last, runs[0].train) == (4, runs[1].last, runs[1].train)
    rows = [[json.loads(line) for line in (tmp_path / name / "metrics.jsonl").open()] for name in ("0", "4")]
    for row in rows[0] + rows[1]:
        row.pop("train/skipped", None)  # one run finds the bad steps, the other is told
    assert rows[0] == rows[1]


def test_a_state_is_kept_seldom_and_soon_after_a_bad_step():
    """What a good step pays is a share of a copy; what a bad one costs are the steps since the last copy."""
    strategy, guard = zoo.build("supervised", KIND), NonFiniteGuard()

    class Context:
        left_out = []

    Context.strategy, Context.attributes = strategy, Attributes(strategy)
    guard.begin(Context)

    def copies(steps):
        found = []
        for step in steps:
            before = guard.kept
            guard.before_step(step)
            found += [step] if guard.kept is not before else []
        return found

    assert copies(range(1, 400)) == [1, 2, 4, 8, 16, 32, 64, 128, 192, 256, 320, 384]
    with pytest.warns(st.SelfTrainingWarning, match="step 399 was left out"):
        assert guard.after_failure(399, NonFiniteError("bad")) == 383
    assert copies(range(399, 530)) == [399, 400, 402, 406, 414, 430, 462, 526]
    assert EVERY == 64


CALLS = []


def test_a_bad_step_that_is_taken_again_elsewhere_is_left_out_as_well():
    """A step that was good the first time and is bad when it is taken again does not send the run round in circles."""
    strategy = zoo.build("supervised", KIND)
    step = strategy.step

    def moody(batch, clock, *extra):
        CALLS.append(clock.step)  # not in this function, which goes back with the rest
        report = step(batch, clock, *extra)
        if clock.step == 6 or (clock.step == 4 and CALLS.count(4) == 2):
            raise NonFiniteError("as the script says")
        return report

    strategy.step = moody
    with pytest.warns(st.SelfTrainingWarning):
        run = st.fit(strategy, toy.pile(KIND), steps=8, plan=zoo.PLAN)
    assert run.skipped == 2
    assert CALLS == [0, 1, 2, 3, 4, 5, 6, 3, 4, 3, 5, 7]
    told = st.fit(zoo.build("supervised", KIND), toy.pile(KIND), steps=8, plan=zoo.PLAN, handlers=[Seen([4, 6])])
    assert not zoo.differences(run.strategy.state_dict(), told.strategy.state_dict())  # from the same kept state twice


def test_a_run_without_bad_steps_says_nothing_of_them(tmp_path):
    assert fit((), tmp_path).skipped == 0
    assert "skipped" not in (tmp_path / "metrics.jsonl").read_text()


def test_the_row_of_a_resumed_run_goes_on(tmp_path):
    """Two of a limit of three before the stop, two after it: four in a row are too many."""
    with pytest.warns(st.SelfTrainingWarning):
        fit({3, 4, 5, 6}, tmp_path, handlers=[NonFiniteGuard(3)], checkpoints=st.Checkpoints(stop_after=5))
    with pytest.raises(st.TrainingError, match="4 steps in a row up to step 7"):
        fit({3, 4, 5, 6}, tmp_path, handlers=[NonFiniteGuard(3)], resume=True)


@pytest.mark.filterwarnings("ignore::selftrain.SelfTrainingWarning")
def test_too_many_in_a_row_end_the_run_with_a_report(tmp_path):
    report = r"4 steps in a row up to step 6 were left out, 5 in all: 4 times the loss is nan.* NonFiniteGuard\(limit="
    with pytest.raises(st.TrainingError, match=report):
        fit({0, 2, 3, 4, 5}, tmp_path, handlers=[NonFiniteGuard(3)])
    assert "4 steps in a row" in (tmp_path / "metrics.jsonl").read_text()
    good = fit({0}, checkpoints=st.Checkpoints(stop_after=2))
    stored = checkpoint.load_newest(tmp_path / "checkpoints")
    assert stored["step"] == 6
    moved = zoo.differences(good.strategy.state_dict(), stored["strategy"])
    assert all(path.endswith("/lr") for path in moved)  # which is set at the start of each step
    assert not zoo.differences(good.ledger.state_dict(), stored["ledger"])


def test_a_limit_of_none_ends_at_the_first():
    with pytest.raises(NonFiniteError, match="the loss is nan"):
        fit({2}, handlers=[NonFiniteGuard(0)])
    with pytest.raises(ValueError, match="^limit is -1"):
        NonFiniteGuard(-1)


# -- fp16 --------------------------------------------------------------------------------------------------------------
def test_a_gradient_that_overflows_in_fp16_halves_the_scale_and_moves_nothing():
    strategy = zoo.build("mean_teacher", KIND, student={"precision": "fp16"})
    given = zoo.batches(strategy, KIND)
    before, student = zoo.state_of(strategy), strategy.student
    handle = next(student.model.parameters()).register_hook(lambda grad: grad * INF)
    assert not attempt(strategy, given)
    after = strategy.state_dict()
    kept = [k for k, v in before.items() if torch.is_tensor(v) and ("teacher" in k or "weight" in k)]
    assert kept
    assert all(torch.equal(before[k], after[k]) for k in kept)
    assert student.scaler.get_scale() == 2.0**15
    student.scaler.update(2 * learner.SMALLEST_SCALE)
    assert not attempt(strategy, given)
    assert attempt(strategy, given)  # no scale would help
    handle.remove()


# -- borders -----------------------------------------------------------------------------------------------------------
def test_a_confidence_exactly_at_the_threshold_is_kept():
    task, value = st.Classification(2), torch.tensor([[0.75, 0.25], [0.75 - 2**-24, 0.25 + 2**-24]])
    rule = st.select.above(0.75)
    guess = PseudoLabeling(task, select=rule).make(value, torch.arange(2))
    assert guess.labels.weight.tolist() == [1.0, 0.0]


def test_a_tie_goes_to_the_first_class_every_time():
    task, value = st.Classification(3), torch.tensor([[0.4, 0.4, 0.2], [1 / 3, 1 / 3, 1 / 3]])
    assert task.label(value).tolist() == [0, 0]
    assert task.harden(value).argmax(1).tolist() == [0, 0]
    assert task.margin(value).tolist() == [0.0, 0.0]


def test_a_temperature_of_zero_is_refused_and_a_tiny_one_is_finite():
    with pytest.raises(ValueError, match="temperature is 0.0; it must be above 0"):
        strategies.FixMatch(st.Classification(3), toy.learner(KIND), hard=False, temperature=0.0)
    sharp = st.Classification(3).sharpen(torch.tensor([[0.5, 0.3, 0.2], [0.0, 0.0, 1.0]]), 1e-4)
    assert torch.allclose(sharp, torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]))


def test_one_sample_of_each_kind_trains():
    pile = toy.pile(KIND, labeled=1, unlabeled=1, held_out=1)
    strategy = zoo.build("fixmatch", KIND)
    run = st.fit(strategy, pile, steps=2, plan=replace(zoo.PLAN, labeled=1, unlabeled_ratio=1.0))
    assert run.skipped == 0
    assert run.ledger.seen.tolist() == [2]


def test_one_class_is_refused():
    with pytest.raises(ValueError, match="classes is 1; a classification needs at least 2"):
        st.Classification(1)


def test_a_batch_of_one_with_batch_norm_says_what_to_do():
    pile = data.Pile.from_arrays(torch.rand(6, 4).numpy(), [0, 1, -1, -1, -1, -1])
    network = lambda: nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))  # noqa: E731
    strategy = strategies.Supervised(st.Classification(2), st.learner(network))
    with pytest.raises(st.TrainingError, match="BatchNorm needs more than 1 value.*raise the batch size"):
        st.fit(strategy, pile, steps=2, plan=replace(zoo.PLAN, labeled=1, unlabeled_ratio=1.0))
