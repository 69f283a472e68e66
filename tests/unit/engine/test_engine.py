import json
import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import MemoryPile, blobs, convnet, mlp, normed, pictures, same, sgd_learner, snapshot
from plain_events import PlainEvents as EventAccumulator

import selftrain as st
from selftrain.data import Pile
from selftrain.engine.loop import versions
from selftrain.engine.run import take_state
from selftrain.errors import CheckpointError, DataError, RunFolderError, TrainingError
from selftrain.networks.copying import copied
from selftrain.networks.optim import weights_of
from selftrain.select import Above
from selftrain.storage import checkpoint
from selftrain.strategies import FixMatch, FutureSelfTraining, SoftLabels, Supervised, WideFutureSelfTraining
from selftrain.strategy.base import Strategy
from selftrain.types import BatchPlan, PseudoLabels, Report

PLAN = BatchPlan(labeled=4, unlabeled_ratio=2.0)  # 8 of 40 unlabeled samples: 5 steps an epoch


class Scripted(Strategy):
    """Writes down what it is asked, and scores on validation as the script says."""

    views = ("weak",)
    monitor = "score"

    def __init__(self, scores=None, *, extra=0, fail_at=None, reports=None):
        super().__init__()
        self.student = sgd_learner(mlp())
        self.scores, self.extra_batches, self._fail_at = scores or {}, extra, fail_at
        self.reports = reports or (lambda step: {"value": step})
        self.register_buffer("ticks", torch.zeros((), dtype=torch.long))
        self.steps, self.ends, self.evaluations, self.labeled_steps, self.batches, self.randoms = [], [], [], [], [], []
        self.log = []

    def step(self, batch, clock, *extra):
        if clock.step == self._fail_at:
            raise TrainingError("as the script says")
        self.ticks += 1
        self.steps.append(clock)
        self.batches.append([batch, *extra])
        self.randoms.append(torch.rand(()).item())
        self.log.append(("step", self.training, self.student.optimizer.param_groups[0]["lr"]))
        return Report({name: torch.tensor(float(v)) for name, v in self.reports(clock.step).items()})

    def step_labeled(self, batch, clock):
        self.labeled_steps.append(clock.step)
        return Report({"value": torch.tensor(0.0)})

    def end_epoch(self, clock):
        self.ends.append((clock.step, clock.epoch))
        return {"ends": self.ticks}

    def evaluate(self, data, reference):
        x = torch.cat([batch.x for batch in data])
        self.evaluations.append(
            (int(self.ticks), len(x), None if reference is None else sum(len(b.x) for b in reference))
        )
        self.log.append(("evaluate", self.training))
        return {"score": self.scores.get((int(self.ticks), len(x)), 0.0), "ticks": float(self.ticks)}

    def export(self):
        return {"ticks": self.ticks.clone()}


def fixmatch(seed=0, **settings):
    return FixMatch(st.Classification(3), lambda: sgd_learner(normed(seed)), select=st.select.above(0.5), **settings)


class Widened(torch.nn.Module):
    """A network whose size no number among its attributes shows."""

    def __init__(self, width):
        super().__init__()
        self.widen, self.narrow = (torch.nn.Parameter(torch.rand(s)) for s in ((3, width), (width, 3)))

    def forward(self, x):
        return x @ self.widen @ self.narrow


def rows(folder, *names):
    """Rows of the log that hold one of these names."""
    all_rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [row for row in all_rows if not names or any(name in row for name in names)]


def scalars(folder):
    """All scalars in TensorBoard but those of speed, which no two runs share: name -> [(step, value)]."""
    reader = EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0}).Reload()
    names = [name for name in reader.Tags()["scalars"] if not name.startswith("speed/")]
    return {name: [(e.step, e.value) for e in reader.Scalars(name)] for name in names}


def images(folder):
    reader = EventAccumulator(str(folder), size_guidance={"images": 0}).Reload()
    return {name: [e.step for e in reader.Images(name)] for name in reader.Tags()["images"]}


# -- time --------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("length", "steps"), [({"epochs": 2}, 10), ({"steps": 7}, 7), ({}, 50), ({"epochs": 1}, 5), ({"steps": 1}, 1)]
)
def test_a_run_is_so_long(length, steps):
    run = st.fit(Scripted(), MemoryPile(), plan=PLAN, **length)
    assert [clock.step for clock in run.strategy.steps] == list(range(steps))
    assert [clock.epoch for clock in run.strategy.steps] == [i // 5 for i in range(steps)]
    assert {clock.total_steps for clock in run.strategy.steps} == {steps}


@pytest.mark.parametrize(
    ("length", "message"),
    [
        ({"epochs": 2, "steps": 3}, r"give epochs \(2\) or steps \(3\), not both"),
        ({"epochs": 0}, "the run has 0 steps; epochs or steps must be at least 1"),
        ({"steps": 0}, "the run has 0 steps"),
        ({"steps": -3}, "the run has -3 steps"),
        ({"steps": 10**400}, r"the run has more than 1e\+15 steps; give fewer epochs or steps"),
        ({"log_every": 0}, "log_every is 0; it must be at least 1"),
        ({"eval_every": 0}, "eval_every is 0; it must be at least 1"),
        ({"checkpoint_every": -1}, "checkpoint_every is -1; it must be at least 1"),
        ({"stop_after": 0}, "stop_after is 0; it must be at least 1"),
    ],
)
def test_lengths_that_make_no_sense_are_refused_before_anything_is_written(length, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        st.fit(Scripted(), MemoryPile(), plan=PLAN, out=tmp_path / "run", **length)
    assert not (tmp_path / "run").exists()


def test_an_epoch_ends_with_its_last_step():
    run = st.fit(Scripted(), MemoryPile(), plan=PLAN, steps=12)
    assert run.strategy.ends == [(5, 0), (10, 1)]  # the third epoch was not finished


def test_a_run_of_two_epochs_ends_two_epochs():
    run = st.fit(Scripted(), MemoryPile(), plan=PLAN, epochs=2, log_every=10)
    assert run.strategy.ends == [(5, 0), (10, 1)]
    assert run.train["train/ends"] == 7.5  # what `end_epoch` returns is logged


def test_the_label_bank_turns_at_the_end_of_each_epoch():
    strategy = soft_labels()
    st.fit(strategy, MemoryPile(), plan=PLAN, steps=4)
    assert not strategy.bank.known.any()
    st.fit(strategy, MemoryPile(), plan=PLAN, steps=5)
    assert strategy.bank.known.all()


@pytest.mark.parametrize("extra", [0, 3])
def test_batches_ahead_are_those_of_the_next_steps(extra):
    run = st.fit(Scripted(extra=extra), MemoryPile(), plan=PLAN, steps=5)
    assert {len(batches) for batches in run.strategy.batches} == {1 + extra}
    for now, later in zip(run.strategy.batches[:-1], run.strategy.batches[1:], strict=True):
        if extra:
            assert torch.equal(now[1].unlabeled["weak"].x, later[0].unlabeled["weak"].x)


def test_the_rate_is_paced_before_each_step():
    strategy = Scripted()
    strategy.student.schedule = lambda progress: progress
    st.fit(strategy, MemoryPile(), plan=PLAN, steps=5)
    assert [entry[2] for entry in strategy.log if entry[0] == "step"] == pytest.approx([0.1 * i / 5 for i in range(5)])


def test_steps_train_and_evaluations_do_not():
    strategy = Scripted().eval()
    st.fit(strategy, MemoryPile(), plan=PLAN, steps=6, eval_every=2)
    assert {entry[:2] for entry in strategy.log} == {("step", True), ("evaluate", False)}


def test_the_device_is_the_callers_choice():
    run = st.fit(fixmatch(), MemoryPile(), plan=PLAN, steps=1, device="cpu")
    assert run.ledger.label.device.type == "cpu"


# -- randomness --------------------------------------------------------------------------------------------------------
def test_a_run_depends_on_its_seed_and_not_on_the_callers_randomness():
    runs = []
    for caller, seed in [(1, 0), (2, 0), (1, 5)]:
        torch.manual_seed(caller)
        run = st.fit(fixmatch(), MemoryPile(), plan=replace(PLAN, seed=seed), steps=6)
        runs.append(snapshot(run.strategy))
    assert same(runs[0], runs[1])
    assert not same(runs[0], runs[2])


def test_every_step_has_randomness_of_its_own():
    draws = []
    for seed in (0, 1):
        run = st.fit(Scripted(), MemoryPile(), plan=replace(PLAN, seed=seed), steps=20)
        draws += run.strategy.randoms
    assert len(set(draws)) == 40


@pytest.mark.parametrize("fail_at", [None, 3])
def test_the_callers_random_states_are_left_as_found(fail_at):
    strategy = Scripted(fail_at=fail_at)
    torch.manual_seed(11)
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    try:
        st.fit(strategy, MemoryPile(), plan=PLAN, steps=5)
    except TrainingError:
        assert fail_at is not None
    assert torch.equal(before[0], torch.get_rng_state())
    assert (before[1] == np.random.get_state()[1]).all()
    assert before[2] == random.getstate()


# -- evaluation --------------------------------------------------------------------------------------------------------
def test_evaluations_come_at_their_steps_and_at_the_end():
    run = st.fit(Scripted(), MemoryPile(), plan=PLAN, steps=10, eval_every=4)
    assert [ticks for ticks, _, _ in run.strategy.evaluations] == [4, 8, 10]


def test_by_default_a_run_is_evaluated_ten_times():
    run = st.fit(Scripted(), MemoryPile(), plan=PLAN, steps=40)
    assert [ticks for ticks, _, _ in run.strategy.evaluations] == list(range(4, 41, 4))


def test_a_probe_gets_the_labeled_samples_for_reference():
    run = st.fit(Scripted(), MemoryPile(labeled=12), plan=PLAN, steps=1)
    assert run.strategy.evaluations == [(1, 30, 12)]
    run = st.fit(Scripted(), MemoryPile(labeled=0), plan=PLAN, steps=1)
    assert run.strategy.evaluations == [(1, 30, None)]


SCORES = {(2, 30): 0.3, (4, 30): 0.8, (6, 30): 0.8, (8, 30): 0.5}  # a tie: the first one is kept


def test_best_is_the_first_highest_on_validation_and_last_the_newest():
    run = st.fit(Scripted(SCORES), MemoryPile(), plan=PLAN, steps=8, eval_every=2)
    assert run.best == {"score": 0.8, "ticks": 4.0, "step": 4}
    assert run.last == {"validation": {"score": 0.5, "ticks": 8.0}}


def test_evaluating_the_best_brings_its_weights_and_takes_them_back():
    run = st.fit(Scripted(SCORES), MemoryPile(), plan=PLAN, steps=8, eval_every=2)
    before = snapshot(run.strategy)
    assert run.evaluate(which="best")["ticks"] == 4
    assert run.evaluate()["ticks"] == 8
    assert same(before, run.strategy.state_dict())


def test_the_best_of_a_real_run_is_restored_and_is_no_part_of_what_trains_on():
    """The scores on validation were written down on the way: the best weights must reach the best of them again."""
    strategy = fixmatch()
    run = st.fit(strategy, MemoryPile(), plan=PLAN, steps=30, eval_every=1)
    before = snapshot(strategy)
    assert run.evaluate("validation", which="best")["accuracy"] == run.best["accuracy"]
    assert run.evaluate("validation") == run.last["validation"]
    assert same(before, strategy.state_dict())
    best = copied(run.best_state)
    st.fit(strategy, MemoryPile(), plan=PLAN, steps=3)
    assert same(best, run.best_state)


def test_the_best_state_has_what_answers_depend_on(tmp_path):
    """Memories of the pile and moments of optimizers were stored twice; what is told in answers stays."""
    strategy = soft_labels()
    run = st.fit(strategy, MemoryPile(), out=tmp_path, plan=PLAN, steps=30, eval_every=1)
    assert run.best["step"] < 30
    lacks = set(strategy.state_dict()) - set(run.best_state)
    assert lacks == {"student._extra_state", *(f"bank.{name}" for name in ("now", "next", "written", "known"))}
    memory = strategy.bank.now.clone()
    for which in (run, st.open_run(tmp_path, pile=MemoryPile(), strategy=soft_labels())):
        assert which.evaluate("validation", which="best")["accuracy"] == run.best["accuracy"]
        with which.weights("best"):
            assert same(run.best_state, {name: which.strategy.state_dict()[name] for name in run.best_state})
        assert torch.equal(which.strategy.bank.now, memory)
    whole = strategy.state_dict()
    take_state(strategy, {name: value for name, value in whole.items() if not name.startswith("bank")})
    with pytest.raises(CheckpointError, match=r"student.model.*take the last weights"):
        take_state(strategy, {name: value for name, value in whole.items() if "weight" not in name})
    with pytest.raises(CheckpointError, match=r"bank.now"):
        take_state(strategy, {name: value for name, value in whole.items() if "bank" not in name}, whole=True)


def test_an_error_while_evaluating_the_best_takes_the_weights_back():
    run = st.fit(Scripted(SCORES), MemoryPile(), plan=PLAN, steps=8, eval_every=2)
    with pytest.raises(KeyError):
        run.evaluate("nonsense", which="best")
    assert run.strategy.ticks == 8


def test_without_validation_there_is_no_best():
    run = st.fit(Scripted(), MemoryPile(validation=0), plan=PLAN, steps=2)
    assert (run.best, run.last, run.best_state) == ({}, {}, None)
    with pytest.raises(ValueError, match="there are no best weights: the pile has no validation set; use which='last'"):
        run.evaluate(which="best")


def test_what_is_watched_never_picks_the_best(tmp_path):
    scores = SCORES | {(2, 7): 0.99, (4, 7): 0.1, (6, 7): 0.1, (8, 7): 0.2}
    watched = MemoryPile(test=7).parts["test"]
    run = st.fit(
        Scripted(scores), MemoryPile(), plan=PLAN, steps=8, eval_every=2, monitor={"other": watched}, out=tmp_path
    )
    assert run.best["step"] == 4
    assert run.last["other"]["score"] == 0.2
    assert [row["other/score"] for row in rows(tmp_path, "other/score")] == [0.99, 0.1, 0.1, 0.2]


def test_what_is_watched_cannot_pass_for_the_validation_set():
    with pytest.raises(ValueError, match="monitor holds a set named 'validation', which is the pile's own"):
        st.fit(Scripted(), MemoryPile(), plan=PLAN, steps=2, monitor={"validation": "test"})


def test_what_cannot_be_watched_is_refused_before_training():
    strategy = Scripted()
    with pytest.raises(KeyError, match="tset"):
        st.fit(strategy, MemoryPile(), plan=PLAN, steps=2, monitor={"other": "tset"})
    assert strategy.steps == []


def test_an_empty_set_is_not_watched():
    run = st.fit(Scripted(), MemoryPile(test=0), plan=PLAN, steps=2, monitor={"test": "test"})
    assert set(run.last) == {"validation"}


@pytest.mark.parametrize("was_training", [True, False])
def test_evaluate_leaves_the_mode_as_it_was(was_training):
    strategy = fixmatch().train(was_training)
    figures = st.evaluate(strategy, MemoryPile(), "test", batch_size=7)
    assert strategy.training is was_training
    assert figures == st.evaluate(strategy, MemoryPile(), "test")
    assert figures.keys() >= {"accuracy", "accuracy/teacher", "accuracy/student"}


def test_an_empty_part_cannot_be_evaluated():
    with pytest.raises(ValueError, match="the pile has no samples in 'test'; pass a data set or another part"):
        st.evaluate(fixmatch(), MemoryPile(test=0))


def test_other_data_can_be_evaluated():
    x, y = MemoryPile().parts["test"]
    strategy = fixmatch()
    expected = (strategy.eval().predict(x[:9]).argmax(1) == y[:9]).float().mean().item()
    assert st.evaluate(strategy, MemoryPile(), (x[:9], y[:9]))["accuracy"] == pytest.approx(expected)


def test_it_learns():
    run = st.fit(fixmatch(decay=0.9), MemoryPile(), plan=PLAN, epochs=12)
    assert run.evaluate()["accuracy"] > 0.9
    assert run.ledger.summary()["prediction_accuracy"] > 0.8


# -- logging -----------------------------------------------------------------------------------------------------------
def test_the_log_holds_means_over_its_window(tmp_path):
    st.fit(Scripted(), MemoryPile(), plan=PLAN, steps=10, log_every=4, out=tmp_path)
    logged = [(row["step"], row["train/value"]) for row in rows(tmp_path, "train/value")]
    assert logged == [(4, 1.5), (8, 5.5), (10, 8.5)]
    assert scalars(tmp_path)["train/value"] == logged


def test_what_is_reported_now_and_then_is_averaged_over_its_own_steps(tmp_path):
    reports = lambda step: {"value": step} | ({"rare": step} if step in (1, 2, 9) else {})  # noqa: E731
    run = st.fit(Scripted(reports=reports), MemoryPile(), plan=PLAN, steps=12, log_every=4, out=tmp_path)
    assert [(row["step"], row["train/rare"]) for row in rows(tmp_path, "train/rare")] == [(4, 1.5), (12, 9.0)]
    assert run.train["train/rare"] == 9


def test_the_log_tells_rate_and_gradient(tmp_path):
    run = st.fit(fixmatch(), MemoryPile(), plan=PLAN, steps=5, log_every=5, out=tmp_path)
    (row,) = rows(tmp_path, "train/lr")
    assert row["train/lr"] == 0.1
    assert row["train/grad_norm"] > 0
    assert row.keys() >= {
        "train/loss/supervised",
        "train/loss/unsupervised",
        "train/used",
        "train/pseudo_label_accuracy",
    }
    assert run.train == {k: v for k, v in row.items() if k != "step"}


def test_evaluations_are_logged_under_their_part(tmp_path):
    run = st.fit(fixmatch(), MemoryPile(), plan=PLAN, steps=10, eval_every=5, monitor={"test": "test"}, out=tmp_path)
    for part in ("validation", "test"):
        logged = rows(tmp_path, f"{part}/accuracy")
        assert [row["step"] for row in logged] == [5, 10]
        assert logged[-1][f"{part}/accuracy"] == run.last[part]["accuracy"]
    assert [row["step"] for row in rows(tmp_path, "ledger/accepted")] == [5, 10]


def test_numbers_that_are_none_leave_readable_files(tmp_path):
    run = st.fit(Scripted(reports=lambda step: {"value": float("nan")}), MemoryPile(), plan=PLAN, steps=2, out=tmp_path)
    strict = {"parse_constant": lambda name: pytest.fail(f"{name} is no JSON")}
    for line in (tmp_path / "metrics.jsonl").read_text().splitlines():
        json.loads(line, **strict)
    summary = json.loads((tmp_path / "summary.json").read_text(), **strict)
    assert summary["train"]["train/value"] is None
    assert run.train["train/value"] != run.train["train/value"]


def test_nothing_is_printed_where_there_is_no_terminal(capsys):
    st.fit(Scripted(), MemoryPile(), plan=PLAN, steps=3)
    out, err = capsys.readouterr()
    assert out == ""
    assert [line.split()[0] for line in err.splitlines()] == ["device"]


def test_pictures_of_pseudo_labels_are_shown_at_evaluations(tmp_path):
    class Showing(FixMatch):
        def pictures(self, batch):
            return {"labeled": batch.labeled.x}

    strategy = Showing(st.Classification(3), lambda: sgd_learner(convnet()))
    st.fit(strategy, MemoryPile(pictures), plan=PLAN, steps=4, eval_every=2, out=tmp_path)
    assert images(tmp_path) == {"pseudo_labels": [2, 4], "labeled": [2, 4]}


def test_rows_of_tables_are_drawn_and_methods_without_pseudo_labels_show_none(tmp_path):
    st.fit(fixmatch(), MemoryPile(), plan=PLAN, steps=2, out=tmp_path / "table")
    st.fit(Scripted(), MemoryPile(pictures), plan=PLAN, steps=2, out=tmp_path / "scripted")
    assert (images(tmp_path / "table"), images(tmp_path / "scripted")) == ({"pseudo_labels": [1, 2]}, {})


def test_the_ledger_hears_of_every_step(tmp_path):
    class Saying(Scripted):
        task = st.Classification(3)

        def step(self, batch, clock, *extra):
            report = super().step(batch, clock)
            value = torch.eye(3)[(batch.unlabeled.index + clock.epoch) % 3]
            return Report(
                report.scalars, PseudoLabels(batch.unlabeled.index, value, (batch.unlabeled.index < 20).float())
            )

    run = st.fit(Saying(), MemoryPile(), plan=PLAN, epochs=3, out=tmp_path)
    assert run.ledger.seen.tolist() == [3] * 40
    assert run.ledger.flips.tolist() == [2] * 40
    assert run.ledger.accepted.tolist() == [True] * 20 + [False] * 20
    assert run.ledger.first_accepted[:20].max() < 5
    assert (tmp_path / "pseudo_labels.csv").read_text().count("\n") == 41
    assert "sample-3,2,blue" in (tmp_path / "pseudo_labels.csv").read_text()


# -- without unlabeled samples -----------------------------------------------------------------------------------------
def test_without_unlabeled_samples_training_is_supervised(tmp_path):
    run = st.fit(Scripted(), MemoryPile(unlabeled=0), plan=PLAN, epochs=2, out=tmp_path)
    assert run.strategy.labeled_steps == list(range(6))  # 12 labeled samples in batches of 4
    assert run.strategy.steps == []
    assert not (tmp_path / "pseudo_labels.csv").exists()


def test_a_real_method_without_unlabeled_samples_learns_the_labels():
    strategy = FixMatch(st.Classification(3), lambda: sgd_learner(mlp()), decay=0.9)
    run = st.fit(strategy, MemoryPile(unlabeled=0), plan=PLAN, epochs=15)
    assert len(run.ledger) == 0
    assert run.evaluate()["accuracy"] > 0.9


def test_a_method_without_views_takes_its_own_steps():
    run = st.fit(Supervised(st.Classification(3), lambda: sgd_learner(mlp())), MemoryPile(), plan=PLAN, epochs=1)
    assert run.ledger.summary() == {}
    assert "train/loss/supervised" in run.train


# -- storage -----------------------------------------------------------------------------------------------------------
def test_without_a_folder_nothing_is_stored(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = st.fit(fixmatch(), MemoryPile(), plan=PLAN, steps=6)
    assert run.out is None
    assert list(tmp_path.iterdir()) == []


def test_a_finished_run_leaves_its_files(tmp_path):
    run = st.fit(fixmatch(), MemoryPile(), plan=PLAN, steps=6, out=tmp_path / "run")
    names = {p.name.split(".tfevents")[0] for p in run.out.iterdir()}
    assert names == {
        "run.json",
        "rebuild.json",
        "metrics.jsonl",
        "summary.json",
        "export.safetensors",
        "export.json",
        "pseudo_labels.csv",
        "checkpoints",
        "events.out",
        "report.html",
    }
    summary = json.loads((run.out / "summary.json").read_text())
    assert summary["last"] == run.last
    assert summary["best"] == run.best
    assert summary["ledger"] == run.ledger.summary()
    assert summary["versions"] == versions()
    assert summary["seconds"] == run.seconds
    assert (summary["alarms"], summary["unchecked"], summary["baseline"]) == ([], {}, None)
    assert run.seconds > 0
    assert same(weights_of(run.out), run.export())
    assert json.loads((run.out / "run.json").read_text())["strategy"] == "FixMatch"


def test_checkpoints_come_at_evaluations_or_at_steps_of_their_own(tmp_path):
    saved = []
    for name, settings in [("a", {"eval_every": 4}), ("b", {"eval_every": 4, "checkpoint_every": 3})]:
        st.fit(Scripted(), MemoryPile(), plan=PLAN, steps=10, out=tmp_path / name, **settings)
        saved.append(sorted(p.name for p in (tmp_path / name / "checkpoints").glob("*.pt")))
    assert saved == [["step-000000008.pt", "step-000000010.pt"], ["step-000000009.pt", "step-000000010.pt"]]


def test_checkpoints_load_without_running_code(tmp_path):
    st.fit(fixmatch(), MemoryPile(), plan=PLAN, steps=2, out=tmp_path)
    (path,) = (tmp_path / "checkpoints").glob("*-000000002.pt")
    assert torch.load(path, weights_only=True)["state"]["step"] == 2


def test_a_folder_is_not_taken_twice(tmp_path):
    st.fit(Scripted(), MemoryPile(), plan=PLAN, steps=2, out=tmp_path)
    with pytest.raises(RunFolderError, match="already holds a run"):
        st.fit(Scripted(), MemoryPile(), plan=PLAN, steps=2, out=tmp_path)
    run = st.fit(Scripted(), MemoryPile(), plan=PLAN, steps=3, out=tmp_path, overwrite=True)
    assert len(run.strategy.steps) == 3
    assert [row["step"] for row in rows(tmp_path, "train/value")] == [3]


def test_data_that_cannot_be_used_leave_no_folder(tmp_path):
    class Broken(MemoryPile):
        def stream(self, needs, plan, device):
            raise DataError("no sample has a label")

    with pytest.raises(DataError):
        st.fit(Scripted(), Broken(), plan=PLAN, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


# -- resuming ----------------------------------------------------------------------------------------------------------
LENGTH = {"steps": 13, "eval_every": 4, "log_every": 3, "plan": PLAN, "monitor": {"test": "test"}}


def whole(make, folder):
    return st.fit(make(0), MemoryPile(), out=folder, **LENGTH)


def traces(folder):
    """Everything a run leaves on the disk, without the seconds."""
    summary = json.loads((folder / "summary.json").read_text())
    del summary["seconds"]
    csv = folder / "pseudo_labels.csv"
    return {
        "metrics": (folder / "metrics.jsonl").read_text(),
        "csv": csv.read_text() if csv.exists() else None,
        "export": (folder / "export.safetensors").read_bytes(),
        "summary": summary,
        "scalars": scalars(folder),
        "settings": (folder / "run.json").read_text(),
    }


def assert_equal_runs(first, second):
    assert same(first.strategy.state_dict(), second.strategy.state_dict())
    assert same(first.ledger.state_dict(), second.ledger.state_dict())
    assert (first.last, first.best, first.train) == (second.last, second.best, second.train)
    assert (first.alarms, first.unchecked) == (second.alarms, second.unchecked)
    assert same(first.best_state, second.best_state)
    one, two = traces(first.out), traces(second.out)
    for name in one:
        assert one[name] == two[name], name


def soft_labels(seed=0):
    settings = {"unlabeled": 40, "label_shape": (3,), "min_labeled": 4, "label_view": "strong"}
    return SoftLabels(st.Classification(3), lambda: sgd_learner(normed(seed)), **settings)


def deep(seed=0):
    return FutureSelfTraining(st.Classification(3), lambda: sgd_learner(normed(seed), accumulate=2), depth=2)


def wide(seed=0):
    return WideFutureSelfTraining(st.Classification(3), lambda: sgd_learner(normed(seed)), width=2)


METHODS = {"fixmatch": fixmatch, "fst_d": deep, "fst_w": wide, "soft_labels": soft_labels}


@pytest.mark.one_in(2)
@pytest.mark.parametrize("stop", [1, 3, 4, 5, 7, 12])
def test_stopping_anywhere_and_resuming_equals_not_stopping(stop, tmp_path):
    """Also between two rows of the log, two evaluations and two epochs: to the last byte of the log."""
    full = whole(fixmatch, tmp_path / "whole")
    st.fit(fixmatch(0), MemoryPile(), out=tmp_path / "parts", stop_after=stop, **LENGTH)
    resumed = st.fit(fixmatch(99), MemoryPile(), out=tmp_path / "parts", resume=True, **LENGTH)
    assert_equal_runs(full, resumed)


@pytest.mark.one_in(2)
@pytest.mark.parametrize("name", METHODS)
def test_every_kind_of_memory_survives_a_stop(name, tmp_path):
    full = whole(METHODS[name], tmp_path / "whole")
    for stop in (2, 7, 11):
        st.fit(
            METHODS[name](stop - 2), MemoryPile(), out=tmp_path / "parts", stop_after=stop, resume=stop > 2, **LENGTH
        )
    resumed = st.fit(METHODS[name](99), MemoryPile(), out=tmp_path / "parts", resume=True, **LENGTH)
    assert_equal_runs(full, resumed)


def test_a_run_that_was_killed_goes_on_from_its_checkpoint(tmp_path):
    """It got to step 11 with its last checkpoint at 8: what was logged in between is logged again, once."""
    strategy = lambda: Scripted(SCORES)  # noqa: E731
    full = st.fit(strategy(), MemoryPile(), out=tmp_path / "whole", **LENGTH)
    killed = strategy()
    killed._fail_at = 11
    with pytest.raises(TrainingError):
        st.fit(killed, MemoryPile(), out=tmp_path / "parts", **LENGTH)
    assert rows(tmp_path / "parts")[-1]["step"] == 9
    resumed = st.fit(strategy(), MemoryPile(), out=tmp_path / "parts", resume=True, **LENGTH)
    assert [clock.step for clock in resumed.strategy.steps] == [8, 9, 10, 11, 12]
    assert_equal_runs(full, resumed)


def test_a_damaged_checkpoint_costs_only_the_way_back(tmp_path):
    full = whole(fixmatch, tmp_path / "whole")
    st.fit(fixmatch(0), MemoryPile(), out=tmp_path / "parts", stop_after=9, **LENGTH)
    newest = tmp_path / "parts" / "checkpoints" / "step-000000009.pt"
    newest.write_bytes(newest.read_bytes()[:-10])
    with pytest.warns(UserWarning, match="continuing from step-000000008.pt"):
        resumed = st.fit(fixmatch(99), MemoryPile(), out=tmp_path / "parts", resume=True, **LENGTH)
    assert_equal_runs(full, resumed)


def test_stopping_later_than_the_end_is_no_stop(tmp_path):
    run = st.fit(Scripted(), MemoryPile(), plan=PLAN, steps=3, stop_after=10, out=tmp_path)
    assert len(run.strategy.steps) == 3
    assert (tmp_path / "summary.json").exists()


def test_a_stopped_run_has_no_summary_yet(tmp_path):
    run = st.fit(fixmatch(), MemoryPile(), out=tmp_path, stop_after=5, **LENGTH)
    assert not (tmp_path / "summary.json").exists()
    assert not (tmp_path / "export.safetensors").exists()
    assert set(run.last) == {"validation", "test"}  # of step 4


def test_resuming_a_finished_run_changes_nothing(tmp_path):
    full = whole(fixmatch, tmp_path)
    before = traces(tmp_path)
    again = st.fit(fixmatch(99), MemoryPile(), out=tmp_path, resume=True, **LENGTH)
    assert traces(tmp_path) == before
    assert_equal_runs(full, again)
    assert again.seconds == full.seconds


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 20}, "total_steps: was 13, is 20"),
        ({"plan": replace(PLAN, seed=3)}, "plan.seed: was 0, is 3"),
        ({"plan": replace(PLAN, labeled=5)}, "plan.labeled: was 4, is 5"),
    ],
)
def test_resuming_with_other_settings_is_refused(change, message, tmp_path):
    st.fit(fixmatch(), MemoryPile(), out=tmp_path, stop_after=5, **LENGTH)
    with pytest.raises(RunFolderError, match=message):
        st.fit(fixmatch(), MemoryPile(), out=tmp_path, resume=True, **LENGTH | change)


def test_a_longer_run_is_a_stage_of_its_own_or_planned_whole(tmp_path):
    """Schedules go by the whole length: what a longer run would have done from the first step on is another run."""

    def make():
        torch.manual_seed(0)
        training = {"lr": 0.05, "schedule": st.cosine(), "momentum": 0.9}
        return FixMatch(st.Classification(3), st.learner(mlp, **training), select=Above(0.4))

    def weights(run):
        return [*run.strategy.export().values()]

    plan, pile = PLAN, MemoryPile()
    short = st.fit(make(), pile, plan=plan, steps=6, out=tmp_path / "short")
    with pytest.raises(RunFolderError, match=r"schedules go.*pretrain=.*Checkpoints\(stop_after="):
        st.fit(make(), pile, plan=plan, steps=12, out=tmp_path / "short", resume=True)
    # the first remedy: the weights of the short run, and schedules of their own
    on = st.fit(make(), pile, plan=plan, steps=6, pretrain=tmp_path / "short", out=tmp_path / "on")
    assert on.before["validation"] == short.last["validation"]
    # the second: stopped in between, it is the longer run bit for bit; and its first half is not the short run
    longer = st.fit(make(), pile, plan=plan, steps=12)
    half = {"plan": plan, "steps": 12, "out": tmp_path / "whole"}
    stopped = st.fit(make(), pile, checkpoints=st.Checkpoints(stop_after=6), **half)
    assert not all(torch.equal(a, b) for a, b in zip(weights(stopped), weights(short), strict=True))
    whole = st.fit(make(), pile, resume=True, **half)
    assert all(torch.equal(a, b) for a, b in zip(weights(whole), weights(longer), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(weights(on), weights(longer), strict=True))


def test_resuming_with_another_method_is_refused(tmp_path):
    st.fit(fixmatch(), MemoryPile(), out=tmp_path, stop_after=5, **LENGTH)
    with pytest.raises(RunFolderError, match="strategy: was FixMatch, is Scripted"):
        st.fit(Scripted(), MemoryPile(), out=tmp_path, resume=True, **LENGTH)


def test_the_number_of_loader_processes_may_change(tmp_path):
    st.fit(Scripted(), MemoryPile(), out=tmp_path, stop_after=5, **LENGTH)
    other = LENGTH | {"plan": replace(PLAN, workers=2)}
    assert len(st.fit(Scripted(), MemoryPile(), out=tmp_path, resume=True, **other).strategy.steps) == 8


def test_a_run_is_the_same_for_any_number_of_loader_processes(tmp_path):
    """One that is resumed with another number included: to the last byte of the log."""
    (x, y), (others, classes) = blobs(52, 1), blobs(30, 2)
    pile = Pile.from_arrays(x.numpy(), y.numpy(), others.numpy(), classes.numpy(), labels=12, validation=0.2)

    def fit(folder, workers, seed=0, **settings):
        times = LENGTH | {"steps": 7, "plan": replace(PLAN, workers=workers)}
        return st.fit(fixmatch(seed), pile, out=tmp_path / folder, **times, **settings)

    alone, two = fit("alone", 0), fit("two", 2)
    fit("parts", 0, stop_after=3)
    parts = fit("parts", 1, seed=99, resume=True)
    assert_equal_runs(alone, two)
    assert_equal_runs(alone, parts)


def test_a_checkpoint_that_does_not_fit_is_named(tmp_path):
    make = [FixMatch(st.Classification(3), lambda w=w: sgd_learner(Widened(w))) for w in (8, 9)]
    st.fit(make[0], MemoryPile(), out=tmp_path, stop_after=5, **LENGTH)
    with pytest.raises(CheckpointError, match="does not fit this strategy and data"):
        st.fit(make[1], MemoryPile(), out=tmp_path, resume=True, **LENGTH)


@pytest.mark.parametrize(("setting", "value"), [("unlabeled_weight", 2.0), ("select", Above(0.7))])
def test_resuming_with_another_hyper_parameter_is_refused(setting, value, tmp_path):
    st.fit(fixmatch(), MemoryPile(), out=tmp_path, stop_after=5, **LENGTH)
    other = FixMatch(st.Classification(3), lambda: sgd_learner(normed()), **{"select": Above(0.5), setting: value})
    with pytest.raises(RunFolderError, match=f"settings.{setting}"):
        st.fit(other, MemoryPile(), out=tmp_path, resume=True, **LENGTH)


@pytest.mark.slow
def test_without_a_whole_checkpoint_there_is_no_resuming(tmp_path):
    st.fit(Scripted(), MemoryPile(), out=tmp_path, stop_after=1, **LENGTH)
    (tmp_path / "checkpoints" / "step-000000001.pt").write_bytes(b"")
    with pytest.raises(CheckpointError, match="step-000000001.pt is damaged"):
        st.fit(Scripted(), MemoryPile(), out=tmp_path, resume=True, **LENGTH)


def test_seconds_add_up_over_resumptions(tmp_path):
    first = st.fit(Scripted(), MemoryPile(), out=tmp_path, stop_after=5, **LENGTH)
    stored = checkpoint.load_newest(tmp_path / "checkpoints")["seconds"]
    second = st.fit(Scripted(), MemoryPile(), out=tmp_path, resume=True, **LENGTH)
    assert 0 < stored <= first.seconds < second.seconds


# -- stages ------------------------------------------------------------------------------------------------------------
def test_a_stage_hands_its_weights_to_the_next():
    torch.manual_seed(0)
    first = st.fit(Supervised(st.Classification(3), st.learner(mlp(), lr=0.01)), MemoryPile(), plan=PLAN, epochs=2)
    second = FixMatch(st.Classification(3), st.learner(mlp(seed=9), init_from=first))
    assert same(dict(first.export()), dict(second.student.model.state_dict()))
    assert same(dict(first.export()), dict(second.ema.model.state_dict()))


def test_versions_are_told():
    assert versions()["torch"] == torch.__version__
    assert versions().keys() == {"python", "torch", "numpy"}


@pytest.mark.parametrize(("progress", "shown"), [(True, True), (False, False), (None, False)])
def test_a_progress_bar_is_shown_if_asked_for_or_on_a_terminal(progress, shown, capsys):
    st.fit(Scripted(), MemoryPile(), steps=3, plan=PLAN, progress=progress)
    assert ("3/3" in capsys.readouterr().err) is shown
