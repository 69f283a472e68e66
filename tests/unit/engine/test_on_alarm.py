"""What a run does about an alarm that speaks against its weights: warn, stop, or ship what the evidence is for."""

import json
import threading
import warnings

import pytest
import torch
from helpers import MemoryPile, blobs, mlp, same, sgd_learner, snapshot

import selftrain as st
from selftrain import strategies
from selftrain.engine.beside import is_cheap
from selftrain.engine.times import Evaluation
from selftrain.errors import CheckpointError, TrainingError
from selftrain.handlers import Handler
from selftrain.networks.optim import weights_of
from selftrain.storage import checkpoint
from selftrain.strategy.single import SingleStudent
from selftrain.tensorboard import TensorBoard
from selftrain.types import BatchPlan, PseudoLabels, Report, Target

TASK = st.Classification(3)
PLAN = BatchPlan(labeled=4, unlabeled_ratio=5.0)  # 20 of 60 unlabeled samples
LENGTH = {"steps": 40, "plan": PLAN}


class Collapsing(SingleStudent):
    """From step ``begin`` on it learns that all samples are of one class, or of the class after their own."""

    views = ("weak", "strong")

    def __init__(self, begin=8, *, next_class=False, floor=True):
        super().__init__(TASK, lambda: sgd_learner(mlp()), decay=None)
        self.begin, self.next_class, self.floor = begin, next_class, floor

    def step(self, batch, clock, *extra):
        weak, strong = batch.unlabeled["weak"], batch.unlabeled["strong"]
        value = self.task.probs(self.student.label(weak.x))
        bad = clock.step >= self.begin
        if bad:
            value = value.roll(1, 1) if self.next_class else torch.tensor([0.98, 0.01, 0.01]).expand_as(value)
        weight = torch.ones(len(value))
        supervised = self.task.loss(self.student(batch.labeled.x), batch.labeled.target)
        unsupervised = self.task.loss(self.student(strong.x), Target(self.task.harden(value), weight))
        self.student.update(supervised + (5 if bad else 1) * unsupervised)
        return Report({}, PseudoLabels(batch.unlabeled.index, value, weight))

    def step_labeled(self, batch, clock):
        loss = self.task.loss(self.student(batch.labeled.x), batch.labeled.target)
        self.student.update(loss if self.floor else 0 * loss)
        return Report({"loss/supervised": loss.detach()})


class Uncopyable(Collapsing):
    def __init__(self, **settings):
        super().__init__(**settings)
        self._lock = threading.Lock()


class Leaky(Collapsing):
    """Its step on labels alone trains the strategy that it was copied from."""

    def __init__(self, **settings):
        super().__init__(**settings)
        self._move = lambda loss: self.student.update(loss)

    def step_labeled(self, batch, clock):
        loss = self.task.loss(self.student(batch.labeled.x), batch.labeled.target)
        self._move(sum(p.sum() for p in self.student.parameters()) + loss)
        return Report({})


def elsewhere(strategy):
    """As another process would build it: with other weights, which the stored ones must replace."""
    for weight in strategy.parameters():
        weight.data.add_(0.1)
    return strategy


def pile(validation=30):
    return MemoryPile(blobs, unlabeled=60, validation=validation)


def fit(strategy, given=None, *, on_alarm="warn", **settings):
    evaluation = Evaluation(4, on_alarm=on_alarm)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return st.fit(
            strategy,
            given or pile(validation=0),
            **LENGTH | {"evaluation": evaluation, "handlers": [TensorBoard(False)]} | settings,
        )


def right(run):
    return run.evaluate("test")["accuracy"]


def text(folder, name):
    from plain_events import PlainEvents as EventAccumulator

    reader = EventAccumulator(str(folder), size_guidance={"tensors": 0}).Reload()
    return reader.Tensors(f"{name}/text_summary")[0].tensor_proto.string_val[0].decode()


# -- warn and stop -----------------------------------------------------------------------------------------------------
def test_to_warn_is_to_ship_what_was_learned(tmp_path):
    run = fit(Collapsing(), out=tmp_path)
    assert [alarm.kind for alarm in run.alarms] == ["collapse"]
    assert run.fallback is None
    assert right(run) < 0.5
    assert not (tmp_path / "baseline").exists()
    assert same(snapshot(run.strategy), snapshot(fit(Collapsing(), on_alarm="warn").strategy))


def test_another_word_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ValueError, match="on_alarm is 'panic'; choose one of 'stop', 'fallback', 'warn'"):
        fit(Collapsing(), out=tmp_path / "run", on_alarm="panic")
    assert not (tmp_path / "run").exists()


def test_a_run_that_stops_has_stored_its_state_and_goes_on_as_the_message_says(tmp_path):
    (step,) = (alarm.step for alarm in fit(Collapsing()).alarms)
    for _ in range(2):  # resumed alike it stops again, without another step
        message = f'stopped at step {step} by the alarm collapse: .*resume=True, evaluation=Evaluation.on_alarm="warn"'
        with pytest.raises(TrainingError, match=message):
            fit(Collapsing(), out=tmp_path, on_alarm="stop", resume=(tmp_path / "run.json").exists())
        stored = checkpoint.load_newest(tmp_path / "checkpoints")
        assert stored["step"] == step
        assert [alarm["kind"] for alarm in stored["handlers"]["SelfCheck"]["alarms"]] == ["collapse"]
        assert not (tmp_path / "summary.json").exists()
    run = fit(elsewhere(Collapsing()), out=tmp_path, on_alarm="warn", resume=True)
    assert same(snapshot(run.strategy), snapshot(fit(Collapsing()).strategy))


def test_a_run_without_a_folder_stops_too():
    with pytest.raises(TrainingError, match="by the alarm collapse: (?!.*resume)"):
        fit(Collapsing(), on_alarm="stop")


def test_a_run_that_is_worse_than_its_baseline_stops_when_all_is_stored(tmp_path):
    with pytest.raises(TrainingError, match="stopped at step 40 by the alarm worse_than_supervised"):
        fit(Collapsing(0, next_class=True), pile(), out=tmp_path, on_alarm="stop", baseline=True)
    assert (tmp_path / "summary.json").is_file()


# -- the labels alone --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("baseline", [False, None, True])
def test_after_a_collapse_the_labels_alone_are_shipped(baseline, tmp_path):
    run = fit(Collapsing(), out=tmp_path, on_alarm="fallback", baseline=baseline)
    alone = fit(strategies.Supervised(TASK, lambda: sgd_learner(mlp()), decay=None))
    assert run.fallback.to == "baseline"
    assert (run.fallback.step, run.fallback.alarms) == (40, ["collapse", "worse_than_supervised", "class_drift"])
    assert same(dict(run.export()), dict(alone.export()))
    assert right(run) == right(alone) > 0.9
    # its pseudo-labels are those of what is shipped, and no row was learned from
    assert not run.ledger.accepted.any()
    assert (run.ledger.seen == 1).all()
    assert (run.ledger.label == run.ledger.truth).float().mean() > 0.9


def test_whoever_opens_the_folder_gets_what_is_shipped(tmp_path):
    run = fit(Collapsing(), out=tmp_path, on_alarm="fallback")
    assert same(weights_of(tmp_path), dict(run.export()))
    opened = st.open_run(tmp_path, strategy=elsewhere(Collapsing()), pile=pile(validation=0))
    assert opened.fallback == run.fallback
    assert right(opened) == right(run)
    assert torch.equal(opened.ledger.label, run.ledger.label)
    for name in ("summary.json", "rebuild.json", "export.json"):
        assert json.loads((tmp_path / name).read_text())["fallback"] == vars(run.fallback)
    assert text(tmp_path, "fallback") == run.fallback.message
    assert (
        "After the alarm collapse and worse_than_supervised and class_drift the run ships what the labels alone give"
        in run.fallback.message
    )


def test_worse_on_validation_is_enough(tmp_path):
    run = fit(Collapsing(0, next_class=True), pile(), out=tmp_path, on_alarm="fallback", baseline=True)
    assert run.fallback.alarms[0] == "worse_than_supervised"
    assert run.last == run.baseline
    assert run.best["accuracy"] == run.baseline["validation"]["accuracy"]
    assert run.evaluate("test", which="best") == run.evaluate("test")


@pytest.mark.parametrize(("stop", "baseline"), [(3, False), (13, True)])
def test_a_run_that_fell_back_can_be_resumed_anywhere(stop, baseline, tmp_path):
    """Another seed stands for another process: the labels alone begin where the stored start says."""
    settings = {"on_alarm": "fallback", "baseline": baseline}
    whole = fit(Collapsing(), out=tmp_path / "whole", **settings)
    for i, end in enumerate([stop, None, None]):  # the last time it is finished
        times = {"checkpoints": st.Checkpoints(stop_after=end)}
        run = fit(
            elsewhere(Collapsing()) if i else Collapsing(), out=tmp_path / "parts", resume=i > 0, **settings, **times
        )
    assert run.fallback == whole.fallback
    assert same(snapshot(run.strategy), snapshot(whole.strategy))
    assert same(weights_of(tmp_path / "parts"), weights_of(tmp_path / "whole"))
    assert (tmp_path / "parts" / "pseudo_labels.csv").read_text() == (
        tmp_path / "whole" / "pseudo_labels.csv"
    ).read_text()


class Killed(Handler):
    """Ends a program when the baseline begins, which is when the run has taken its steps."""

    def for_baseline(self):
        return self

    def before_step(self, step):
        if step == 7 and self.context.out.name == "baseline":
            raise TrainingError("killed")

    def begin(self, context):
        self.context = context


def test_what_is_about_to_fall_back_is_not_finished(tmp_path):
    with pytest.raises(TrainingError, match="killed"):
        fit(Collapsing(), out=tmp_path, on_alarm="fallback", handlers=[Killed()])
    assert not any((tmp_path / name).exists() for name in ("summary.json", "export.safetensors", "pseudo_labels.csv"))
    run = fit(elsewhere(Collapsing()), out=tmp_path, on_alarm="fallback", resume=True)
    assert same(dict(run.export()), dict(fit(Collapsing(), on_alarm="fallback").export()))


def test_a_run_that_was_only_warned_can_fall_back_later(tmp_path):
    fit(Collapsing(), out=tmp_path, baseline=True)
    run = fit(elsewhere(Collapsing()), out=tmp_path, baseline=True, on_alarm="fallback", resume=True)
    assert run.fallback.to == "baseline"
    assert same(dict(run.export()), dict(fit(Collapsing(), on_alarm="fallback").export()))


# -- other weights -----------------------------------------------------------------------------------------------------
def test_validation_may_be_for_the_best_weights(tmp_path):
    """The labels alone learn nothing here; the run did, before it collapsed."""
    run = fit(Collapsing(16, floor=False), pile(), out=tmp_path, on_alarm="fallback")
    assert run.fallback.to == "best"
    assert run.fallback.step == run.best["step"] <= 16
    assert right(run) > 0.9 > run.baseline["validation"]["accuracy"]
    assert json.loads((tmp_path / "export.json").read_text())["steps"] == run.fallback.step


def test_without_a_baseline_the_last_sound_weights_are_shipped():
    run = fit(Uncopyable(begin=16), on_alarm="fallback")
    assert "cannot be copied for the baseline" in run.unchecked["baseline"]
    assert run.fallback.to == "sound"
    assert run.fallback.step < run.alarms[0].step
    assert right(run) > 0.9
    until = fit(Uncopyable(begin=16), steps=40, checkpoints=st.Checkpoints(stop_after=run.fallback.step))
    assert same(dict(run.export()), dict(until.export()))


class Growing(Collapsing):
    """Its state is another size after every step on the pile, so that no other run's fits."""

    def __init__(self, **settings):
        super().__init__(**settings)
        self.register_buffer("seen", torch.zeros(0))

    def step(self, batch, clock, *extra):
        self.seen = torch.cat([self.seen, torch.ones(1)])
        return super().step(batch, clock)


def test_what_cannot_be_fallen_back_to_is_told_and_the_remedy_works():
    with pytest.raises(CheckpointError, match="(?s)do not fit.*take the last ones: on_alarm='warn'"):
        fit(Growing(), on_alarm="fallback", baseline=True)
    assert right(fit(Growing(), on_alarm="warn", baseline=True)) < 0.5


def test_what_a_baseline_does_to_its_run_is_undone_where_nobody_asked_for_it(tmp_path):
    run = fit(Leaky(begin=16), pile(), out=tmp_path, on_alarm="fallback")
    assert "training the baseline changed Leaky itself" in run.unchecked["baseline"]
    assert run.fallback.to == "best"
    assert right(run) > 0.9


# -- no alarm ----------------------------------------------------------------------------------------------------------
def test_a_sound_run_is_the_same_bit_for_bit(tmp_path):
    plain = fit(Collapsing(10**6), pile(), out=tmp_path / "plain")
    ready = fit(Collapsing(10**6), pile(), out=tmp_path / "ready", on_alarm="fallback")
    assert plain.alarms == ready.alarms == []
    assert ready.fallback is None
    assert same(snapshot(plain.strategy), snapshot(ready.strategy))
    assert (plain.last, plain.best) == (ready.last, ready.best)
    assert {p.name for p in (tmp_path / "plain").iterdir() if "tfevents" not in p.name} == {
        p.name for p in (tmp_path / "ready").iterdir() if "tfevents" not in p.name
    }


def test_a_baseline_is_cheap_where_its_steps_read_less_than_a_third():
    strategy = Collapsing()  # two views
    assert is_cheap(strategy, pile(), BatchPlan(labeled=8, unlabeled_ratio=2))  # 8 of 40
    assert not is_cheap(strategy, pile(), BatchPlan(labeled=8, unlabeled_ratio=1))  # 8 of 24
    assert not is_cheap(strategy, MemoryPile(unlabeled=0), PLAN)
    run = fit(Collapsing(10**6), baseline=None)
    assert run.baseline is not None
    assert fit(Collapsing(10**6), baseline=None, plan=BatchPlan(labeled=20, unlabeled_ratio=1)).baseline is None
