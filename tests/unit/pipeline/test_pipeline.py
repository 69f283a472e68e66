"""Pipelines: what stages get, resume at every step, hand-over, the report, the ready-made ones."""

import json
import shutil
from contextlib import nullcontext
from dataclasses import replace
from functools import cache, partial
from statistics import median

import pytest
import torch
from helpers import same
from plain_events import PlainEvents as EventAccumulator
from torch import nn

import selftrain as st
from selftrain import toy
from selftrain.errors import CheckpointError, DataError, RunFolderError, TrainingError
from selftrain.handlers.selfcheck import Findings, SelfCheck, SelfTrainingWarning
from selftrain.labels.table import PseudoLabelTable
from selftrain.labels.teacher_pass import figure_above, label_pile
from selftrain.networks.optim import weights_of
from selftrain.pipeline import (
    Best,
    Labeling,
    Stage,
    complementary,
    curriculum_labeling,
    labeling,
    noisy_student,
    pseudo_first,
    run_pipeline,
)
from selftrain.storage import checkpoint
from selftrain.strategies import FixMatch, Supervised
from selftrain.strategies.curriculum_labeling import CurriculumLabeling
from selftrain.strategies.noisy_student import NoisyStudent
from selftrain.strategy.base import Strategy
from selftrain.types import BatchPlan, Report

TASK, WIDTH = st.Classification(2), 6
PLAN = BatchPlan(labeled=4, unlabeled_ratio=2.0, seed=3)  # 24 unlabeled points: 3 steps an epoch


class Net(nn.Module):
    """A narrow encoder and a head on it, as pretraining and fine-tuning share them."""

    def __init__(self, inputs=WIDTH, squeeze=3, width=8):
        super().__init__()
        self.encoder = nn.Linear(inputs, squeeze)
        self.head = nn.Sequential(nn.Tanh(), nn.Linear(squeeze, width), nn.Tanh(), nn.Linear(width, 2))

    def forward(self, x):
        return self.head(self.encoder(x))


class Auto(nn.Module):
    def __init__(self, inputs, squeeze):
        super().__init__()
        self.encoder, self.decoder = nn.Linear(inputs, squeeze), nn.Linear(squeeze, inputs)

    def forward(self, x):
        return self.decoder(self.encoder(x))


class Squeeze(Strategy):
    """Pretraining of a table: a linear autoencoder, whose encoder is handed on."""

    views = ("plain",)
    monitor = "none"

    def __init__(self, inputs=WIDTH, squeeze=3):
        super().__init__()
        self.student = st.learner(lambda: Auto(inputs, squeeze), lr=0.01)()

    def step(self, batch, clock, *extra):
        x = batch.unlabeled["plain"].x
        loss = (self.student(x) - x).square().mean()
        self.student.update(loss)
        return Report({"loss/squeeze": loss.detach()})

    def predict(self, x):
        return self.student.model.encoder(x)

    def evaluate(self, data, reference=None):
        x = torch.cat([batch.x for batch in data])
        return {"error": float((self.student.label(x) - x).square().mean())}

    def export(self):
        return {f"encoder.{name}": t.detach().clone() for name, t in self.student.model.encoder.state_dict().items()}


def cloud(**sizes):
    return toy.clouds(**({"unlabeled": 24, "held_out": 20, "width": WIDTH, "seed": 1} | sizes))


net = partial(st.learner, Net, optimizer="sgd", lr=0.1)
larger = partial(st.learner, lambda: Net(width=40), optimizer="sgd", lr=0.1)


def mixed(which="last", **options):
    """One stage of every kind, 12 steps in all; the third round is a larger network."""
    settings = {"steps": 3, "options": {"eval_every": 2, "log_every": 1, "checkpoint_every": 2} | options}

    def teacher(past):
        return Supervised(TASK, net(init_from=past["pretrain"]), decay=0.5)

    def student(past):
        return NoisyStudent(TASK, larger(), labels=past.labels["label"], decay=0.5)

    def again(past):
        return CurriculumLabeling(TASK, net(), labels=past.labels["label-2"], decay=None)

    return [
        Stage("pretrain", lambda past: Squeeze(), **settings),
        Stage("teacher", teacher, which=which, **settings),
        Labeling("label", by="teacher", refine=lambda table: table.above(0.3).balanced().normalized()),
        Stage("student", student, which=which, **settings),
        Labeling("label-2", by="student", refine=lambda table: table.top_percent(60), dtype=torch.float16),
        Stage("again", again, which=which, **settings),
        Best("final", ("teacher", "student", "again")),
    ]


def timeless(rows):
    """Rows of a report without the time they took."""
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def stored(out):
    """All that a pipeline leaves on the disk, but for times."""
    found = {}
    for folder in sorted(p for p in out.iterdir() if p.is_dir()):
        if (folder / "checkpoints").is_dir():
            state = checkpoint.load_newest(folder / "checkpoints")
            del state["seconds"]
            found[folder.name] = state
            found[f"{folder.name} log"] = (folder / "metrics.jsonl").read_text()
        if (folder / "export.safetensors").is_file():
            found[f"{folder.name} weights"] = dict(weights_of(folder))
        if (folder / "labels.safetensors").is_file():
            found[f"{folder.name} labels"] = dict(
                PseudoLabelTable.load(folder / "labels.safetensors", TASK).named_buffers()
            )
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The mixed pipeline, not interrupted."""
    out = tmp_path_factory.mktemp("whole") / "run"
    torch.manual_seed(100)
    return run_pipeline(mixed(), cloud(), out, plan=PLAN)


def assert_alike(first, second):
    assert timeless(first.rows) == timeless(second.rows)
    assert (first.out / "metrics.jsonl").read_text() == (second.out / "metrics.jsonl").read_text()
    one, two = stored(first.out), stored(second.out)
    assert one.keys() == two.keys()
    assert [name for name in one if not same(one[name], two[name])] == []
    for mine, theirs in zip(first.run.strategy.parameters(), second.run.strategy.parameters(), strict=True):
        assert torch.equal(mine, theirs)


# -- what a stage gets -------------------------------------------------------------------------------------------------
def test_stages_run_in_order_and_get_what_came_before():
    seen = []

    def build(name):
        def make(past):
            seen.append((name, list(past), list(past.labels)))
            return Supervised(TASK, net())

        return make

    done = run_pipeline(
        [Stage("a", build("a"), 1), Labeling("l", by="a"), Stage("b", build("b"), 1), Best("c", ("b", "a")),
         Stage("d", build("d"), 1)],
        cloud(), plan=PLAN,
    )  # fmt: skip
    assert seen == [("a", [], []), ("b", ["a"], ["l"]), ("d", ["a", "b", "c"], ["l"])]
    assert [row["number"] for row in done.rows] == [1, 2, 3, 4, 5]
    assert done.finished
    assert done.run is done.past["d"]


def test_weights_are_handed_on(whole):
    """The pretrained encoder is where the teacher starts: its first weights show it."""
    encoder = whole.past["pretrain"].export()
    started = []
    stages = mixed()[:1] + [Stage("teacher", lambda past: started.append(net(init_from=past["pretrain"])()) or
                                  Supervised(TASK, net(init_from=past["pretrain"])), 1)]  # fmt: skip
    run_pipeline(stages, cloud(), plan=PLAN)
    weights = started[0].model.state_dict()
    assert all(torch.equal(weights[name], t) for name, t in encoder.items())
    assert set(encoder) == {"encoder.weight", "encoder.bias"}


def test_the_table_is_what_the_stage_ships_refined(whole):
    teacher = whole.past["teacher"].strategy
    expected = label_pile(teacher, cloud()).above(0.3).balanced().normalized()
    table = whole.past.labels["label"]
    assert table.digest == expected.digest
    assert whole.past["student"].strategy.labels is table
    assert whole.past.labels["label-2"].value.dtype == torch.float16
    assert set(whole.past.labels) == {"label", "label-2"}


def test_a_student_may_be_larger(whole):
    weights = {row["name"]: row.get("weights") for row in whole.rows}
    assert weights["student"] == sum(p.numel() for p in Net(width=40).parameters()) > weights["teacher"]
    assert weights["again"] == weights["teacher"] == sum(p.numel() for p in Net().parameters())


def test_an_epoch_is_one_pass_over_the_unlabeled_set():
    stages = [Stage("a", lambda past: FixMatch(TASK, net()), epochs=3), Stage("b", lambda past: FixMatch(TASK, net()))]
    rows = run_pipeline(stages, cloud(unlabeled=9), plan=PLAN).rows  # 2 steps an epoch
    assert [row["steps"] for row in rows] == [6, 20]


def test_a_stage_may_have_its_own_plan_and_options(tmp_path):
    own = BatchPlan(labeled=2, unlabeled_ratio=1.0, seed=8)
    stages = [Stage(name, lambda past: FixMatch(TASK, net()), 4, plan=plan,
                    options={"log_every": every, "eval_every": 4})
              for name, plan, every in (("a", None, 2), ("b", own, 1))]  # fmt: skip
    run_pipeline(stages, cloud(), tmp_path, plan=PLAN)
    plans = [json.loads((tmp_path / n / "run.json").read_text())["plan"] for n in ("01-a", "02-b")]
    assert [(p["labeled"], p["seed"]) for p in plans] == [(4, 3), (2, 8)]
    rows = [(tmp_path / n / "metrics.jsonl").read_text().count("train/loss/supervised") for n in ("01-a", "02-b")]
    assert rows == [2, 4]


# -- seeds -------------------------------------------------------------------------------------------------------------
def test_the_callers_randomness_neither_matters_nor_moves(whole):
    torch.manual_seed(5)
    state = torch.get_rng_state()
    other = run_pipeline(mixed(), cloud(), plan=PLAN)
    assert torch.equal(torch.get_rng_state(), state)
    assert timeless(other.rows) == timeless(whole.rows)
    seeded = run_pipeline(mixed()[:2], cloud(), plan=replace(PLAN, seed=4))
    assert timeless(seeded.rows) != timeless(whole.rows[:2])


def test_every_stage_starts_from_its_own_weights():
    started = []
    stages = [
        Stage(name, lambda past: started.append(Net().head[1].weight) or Supervised(TASK, net()), 1) for name in "ab"
    ]
    run_pipeline(stages, cloud(), plan=PLAN)
    assert not torch.equal(*started)


# -- resume ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("stop", [s if s == 8 else pytest.param(s, marks=pytest.mark.slow) for s in range(1, 12)])
def test_a_pipeline_stopped_anywhere_goes_on_as_if_it_had_not(stop, whole, tmp_path):
    torch.manual_seed(stop)
    part = run_pipeline(mixed(), cloud(), tmp_path, plan=PLAN, stop_after=stop)
    assert part.finished is False
    assert sum(row["steps"] for row in part.rows) == stop // 3 * 3
    assert json.loads((tmp_path / "report.json").read_text())["finished"] is False
    torch.manual_seed(50 + stop)
    rest = run_pipeline(mixed(), cloud(), tmp_path, plan=PLAN, resume=True)
    assert rest.finished
    assert_alike(whole, rest)
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert [e.step for e in events.Scalars("train/loss/supervised")] == [4, 5, 6, 7, 8, 9, 10, 11, 12]


@pytest.mark.slow
def test_a_pipeline_may_be_stopped_many_times(whole, tmp_path):
    run_pipeline(mixed(), cloud(), tmp_path, plan=PLAN, stop_after=1)
    for stop in (2, 4, 7, 8, 11):
        run_pipeline(mixed(), cloud(), tmp_path, plan=PLAN, stop_after=stop, resume=True)
    assert_alike(whole, run_pipeline(mixed(), cloud(), tmp_path, plan=PLAN, resume=True))


class Dying:
    """Makes one step of a strategy, or the labeling, fail like a machine that is switched off."""

    def __init__(self, monkeypatch):
        self.monkeypatch = monkeypatch

    def at(self, kind, step):
        take = kind.step

        def broken(strategy, batch, clock, *extra):
            if clock.step == step:
                raise TrainingError("switched off")
            return take(strategy, batch, clock, *extra)

        self.monkeypatch.setattr(kind, "step", broken)


KILLED = [(kind, step) for kind in (Squeeze, Supervised, NoisyStudent, CurriculumLabeling) for step in (0, 1, 2)]
FAST = (Supervised, 1)


@pytest.mark.parametrize(
    ("kind", "step"), [pair if pair == FAST else pytest.param(*pair, marks=pytest.mark.slow) for pair in KILLED]
)
def test_a_killed_pipeline_goes_on_as_if_it_had_not(kind, step, whole, tmp_path, monkeypatch):
    """Checkpoints are written at step 2: killed before, the stage begins anew."""
    with monkeypatch.context() as patched:
        Dying(patched).at(kind, step)
        with pytest.raises(TrainingError, match="switched off"):
            run_pipeline(mixed(), cloud(), tmp_path, plan=PLAN)
    assert_alike(whole, run_pipeline(mixed(), cloud(), tmp_path, plan=PLAN, resume=True))


@pytest.mark.parametrize("moment", [pytest.param("label_pile", marks=pytest.mark.slow), "save"])
def test_a_pipeline_killed_while_it_labels_labels_again(moment, whole, tmp_path, monkeypatch):
    def broken(*args, **settings):
        raise TrainingError("switched off")

    with monkeypatch.context() as patched:
        patched.setattr(*((labeling, "label_pile") if moment == "label_pile" else (PseudoLabelTable, "save")), broken)
        with pytest.raises(TrainingError, match="switched off"):
            run_pipeline(mixed(), cloud(), tmp_path, plan=PLAN)
    assert_alike(whole, run_pipeline(mixed(), cloud(), tmp_path, plan=PLAN, resume=True))


def copy_of(done, folder):
    """A copy of a pipeline's folder, to be resumed or damaged."""
    return shutil.copytree(done.out, folder / "copy")


def test_a_finished_stage_is_not_run_again(whole, tmp_path, monkeypatch):
    def no(*args, **settings):
        raise AssertionError("it was finished")

    for kind in (Squeeze, Supervised, NoisyStudent, CurriculumLabeling):
        monkeypatch.setattr(kind, "step", no)
    monkeypatch.setattr(labeling, "label_pile", no)
    again = run_pipeline(mixed(), cloud(), copy_of(whole, tmp_path), plan=PLAN, resume=True)
    assert again.rows == whole.rows  # the seconds too
    assert_alike(whole, again)


def test_the_stored_table_is_the_one_that_is_learned(whole, tmp_path):
    """A table that was exchanged is not the run's: the student notices."""
    out = copy_of(whole, tmp_path)
    path = out / "03-label" / "labels.safetensors"
    table = PseudoLabelTable.load(path, TASK)
    assert table.recipe == ""
    PseudoLabelTable(TASK, table.value.flip(1)).save(path)
    with pytest.raises(CheckpointError, match="other pseudo-labels"):
        run_pipeline(mixed(), cloud(), out, plan=PLAN, resume=True)


def test_more_stages_may_follow(tmp_path):
    steps, out = {"teacher": 1, "student": 1}, tmp_path / "short"
    short = run_pipeline(noisy_student(TASK, net, steps=steps, generations=1), cloud(), out, plan=PLAN)
    longer = noisy_student(TASK, net, steps=steps, generations=2)
    done = run_pipeline(longer, cloud(), out, plan=PLAN, resume=True)
    assert done.rows[:3] == short.rows
    assert [row["name"] for row in done.rows[3:]] == ["label-2", "student-2"]
    assert_alike(run_pipeline(longer, cloud(), tmp_path / "whole", plan=PLAN), done)
    run_pipeline(longer[:3], cloud(), out, plan=PLAN, resume=True)
    assert len(json.loads((out / "pipeline.json").read_text())) == 5  # the rest is not forgotten


# -- refusals of a folder ----------------------------------------------------------------------------------------------
def changed(number, **settings):
    stages = mixed()
    stages[number - 1] = replace(stages[number - 1], **settings)
    return stages


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        (changed(2, steps=4), "total_steps: was 3, is 4"),
        (changed(2, plan=replace(PLAN, labeled=5)), "plan.labeled: was 4, is 5"),
        (changed(3, refine=lambda table: table.above(0.4)), r"labels.recipe: was above\(0.3\).*is above\(0.4\)"),
        (changed(3, dtype=torch.float16), "dtype: was torch.float32, is torch.float16"),
        (changed(4, make=lambda past: NoisyStudent(TASK, larger(), labels=past.labels["label"], decay=0.6)), "decay"),
        (changed(5, name="more"), "name: was label-2, is more"),
        (changed(5, by="teacher"), "stage 5 .*by: was student, is teacher"),
        (changed(2, which="best"), "stage 2 .*which: was last, is best"),
        (changed(7, among=["again"]), r"among: was \['teacher', 'student', 'again'\], is \['again'\]"),
        (mixed()[:2] + mixed()[3:4], "stage 3 .*kind: was Labeling, is Stage"),
    ],
)
def test_a_pipeline_is_resumed_as_it_was(stages, message, tmp_path_factory, whole):
    with pytest.raises(RunFolderError, match=message):
        run_pipeline(stages, cloud(), whole.out, plan=PLAN, resume=True)


def test_a_folder_is_neither_replaced_nor_continued_by_accident(tmp_path):
    short = [Stage("a", lambda past: Supervised(TASK, net()), 1), Stage("b", lambda past: Supervised(TASK, net()), 1)]
    with pytest.raises(RunFolderError, match="holds no pipeline to resume"):
        run_pipeline(short, cloud(), tmp_path, plan=PLAN, resume=True)
    first = run_pipeline(short, cloud(), tmp_path, plan=PLAN)
    with pytest.raises(RunFolderError, match="already holds a pipeline"):
        run_pipeline(short, cloud(), tmp_path, plan=PLAN)
    with pytest.raises(RunFolderError, match="exclude each other"):
        run_pipeline(short, cloud(), tmp_path, plan=PLAN, resume=True, overwrite=True)
    other = run_pipeline(short, cloud(), tmp_path, plan=replace(PLAN, seed=9), overwrite=True)
    assert timeless(other.rows) != timeless(first.rows)
    with pytest.raises(RunFolderError, match=r"stages the new pipeline does not have: \['02-b'\]"):
        run_pipeline(short[:1], cloud(), tmp_path, plan=PLAN, overwrite=True)
    with pytest.raises(RunFolderError, match="pass out="):
        run_pipeline(short, cloud(), plan=PLAN, resume=True)


def test_an_overwritten_table_is_made_anew(tmp_path):
    stages = [Stage("a", lambda past: Supervised(TASK, net()), 1), Labeling("l", by="a")]
    first = run_pipeline(stages, cloud(), tmp_path, plan=PLAN).past.labels["l"]
    second = run_pipeline(stages, cloud(), tmp_path, plan=replace(PLAN, seed=9), overwrite=True).past.labels["l"]
    assert first.digest != second.digest
    assert PseudoLabelTable.load(tmp_path / "02-l" / "labels.safetensors", TASK).digest == second.digest


def test_a_pipeline_that_was_overwritten_and_stopped_takes_no_old_stage_for_its_own(tmp_path):
    make = lambda past: Supervised(TASK, net())  # noqa: E731
    stages = [Stage("a", make, 1), Labeling("l", by="a"), Stage("b", make, 1)]
    run_pipeline(stages, cloud(), tmp_path / "old", plan=PLAN)
    expected = run_pipeline(stages, cloud(seed=5), tmp_path / "new", plan=PLAN)
    run_pipeline(stages, cloud(seed=5), tmp_path / "old", plan=PLAN, overwrite=True, stop_after=1)
    again = run_pipeline(stages, cloud(seed=5), tmp_path / "old", plan=PLAN, resume=True)
    assert timeless(again.rows) == timeless(expected.rows)


def test_the_folder_of_a_single_run_is_refused(tmp_path):
    st.fit(Supervised(TASK, net()), cloud(), steps=1, plan=PLAN, out=tmp_path)
    with pytest.raises(RunFolderError, match="holds a single run"):
        run_pipeline(mixed(), cloud(), tmp_path, plan=PLAN)


def test_a_damaged_record_of_a_labeling_is_named(whole, tmp_path):
    out = copy_of(whole, tmp_path)
    (out / "03-label" / "summary.json").write_text("{}")
    with pytest.raises(RunFolderError, match="summary.json cannot be read: the content lacks seconds; delete"):
        run_pipeline(mixed(), cloud(), out, plan=PLAN, resume=True)


def test_a_damaged_list_of_stages_is_named(tmp_path):
    (tmp_path / "pipeline.json").write_text("{")
    with pytest.raises(RunFolderError, match="pipeline.json cannot be read"):
        run_pipeline(mixed(), cloud(), tmp_path, plan=PLAN, resume=True)


# -- best or last ------------------------------------------------------------------------------------------------------
class Rising(Supervised):
    """Scores on validation as a script says, whatever it has learned; its weights say which step they are of."""

    def __init__(self, *scores):
        super().__init__(TASK, net(), decay=None)
        self.scores = scores
        self.register_buffer("age", torch.zeros((), dtype=torch.long))

    def step(self, batch, clock, *extra):
        report = super().step(batch, clock)
        self.age += 1
        return report

    def evaluate(self, data, reference=None):
        return {"accuracy": self.scores[int(self.age) - 1]}

    def export(self):
        return {"age": self.age.clone()}


def test_a_stage_hands_on_its_last_or_its_best_weights(tmp_path):
    for which, age in (("last", 4), ("best", 2)):
        options = {"eval_every": 1, "checkpoint_every": 4}
        stage = Stage("a", lambda past: Rising(0.5, 0.8, 0.6, 0.7), 4, which=which, options=options)
        for resume in (False, True):
            done = run_pipeline([stage], cloud(), tmp_path / which, plan=PLAN, resume=resume)
            assert done.export()["age"] == done.past["a"].export()["age"] == age
            assert weights_of(tmp_path / which / "01-a")["age"] == age
            assert done.rows[0]["validation"] == {"accuracy": {4: 0.7, 2: 0.8}[age]}
            assert done.evaluate("validation") == done.rows[0]["validation"]


def test_the_best_of_several_stages_is_handed_on(tmp_path):
    scores = {"a": 0.5, "b": 0.9, "c": 0.9, "d": 0.3}
    stages = [Stage(name, lambda past, s=score: Rising(s), 1) for name, score in scores.items()]
    done = run_pipeline([*stages, Best("final", tuple("dcba"[::-1]))], cloud(), tmp_path, plan=PLAN)
    assert done.rows[-1]["chosen"] == "b"  # the earlier of two equals
    assert done.past["final"] is done.run is done.past["b"]
    assert done.rows[-1]["validation"] == {"accuracy": 0.9}
    assert same(dict(weights_of(tmp_path / "05-final")), dict(done.past["b"].export()))
    assert run_pipeline([*stages, Best("final", ["d", "a"])], cloud(), plan=PLAN).rows[4]["chosen"] == "a"


def test_labels_come_from_the_weights_that_are_handed_on(whole, tmp_path):
    stages = mixed("best", eval_every=1)[:3]
    best = run_pipeline(stages, cloud(), tmp_path, plan=PLAN)
    step = best.past["teacher"].best["step"]
    assert step < 3
    assert best.past.labels["label"].digest != whole.past.labels["label"].digest
    expected = label_pile(best.past["teacher"].strategy, cloud()).value
    assert torch.equal(best.past.labels["label"].value, expected)
    assert best.past["teacher"].strategy.ema.updates == step
    assert run_pipeline(stages, cloud(), tmp_path, plan=PLAN, resume=True).rows == best.rows


def test_best_weights_need_validation():
    without = replace(cloud(), parts=dict(cloud().parts) | {"validation": torch.arange(0)})
    for stages in (mixed("best")[:2], [mixed()[1], Best("final", ["teacher"])]):
        with pytest.raises(ValueError, match="the pile has none; use which='last'"):
            run_pipeline(stages, without, plan=PLAN)
    with pytest.raises(ValueError, match="stage 'a' has no figure 'none' on validation"):
        run_pipeline([Stage("a", lambda past: Squeeze(), 1, which="best")], cloud(), plan=PLAN)
    rows = run_pipeline(mixed()[:4], without, plan=PLAN).rows
    assert [row.get("validation") for row in rows] == [None] * 4
    assert rows[2]["expected_accuracy"] is None


# -- the report --------------------------------------------------------------------------------------------------------
def test_a_report_says_what_each_stage_did(whole):
    report = json.loads((whole.out / "report.json").read_text())
    assert report["finished"] is True
    assert report["versions"]["torch"] == torch.__version__
    rows = {row["name"]: row for row in report["stages"]}
    assert list(rows) == ["pretrain", "teacher", "label", "student", "label-2", "again", "final"]
    assert [row["method"] for row in rows.values()][:4] == ["Squeeze", "Supervised", "by teacher", "NoisyStudent"]
    assert [row["steps"] for row in rows.values()] == [3, 3, 0, 3, 0, 3, 0]
    assert set(rows["pretrain"]["validation"]) == {"error"}
    for name in ("teacher", "student", "again"):
        for part in ("validation", "test"):
            expected = st.evaluate(whole.past[name].strategy, cloud(), part)
            assert rows[name][part] == pytest.approx(expected)
        assert rows[name]["seconds"] == whole.past[name].seconds > 0
    assert rows["again"]["used"] == whole.past["again"].train["train/used"]
    truth = whole.past["again"].ledger.summary()["pseudo_label_accuracy"]
    assert rows["again"]["pseudo_label_accuracy"] == pytest.approx(truth)


def test_a_report_judges_the_labels(whole):
    row, table = whole.rows[4], whole.past.labels["label-2"]
    truth = cloud().annotation[cloud().parts["unlabeled"]]
    kept = table.kept
    assert row["used"] == pytest.approx(float(kept.float().mean()))
    assert row["pseudo_label_accuracy"] == pytest.approx(float((table.label == truth)[kept].float().mean()))
    assert row["expected_accuracy"] == figure_above(whole.past["student"].strategy, cloud(), table.floor)
    assert row["recipe"] == "top_percent(60)"
    assert sum(row["counts"]) == row["labels"]["kept"] == int(kept.sum())
    assert row["seconds"] > 0


def test_the_table_of_a_report_has_a_line_for_each_stage(whole):
    text = (whole.out / "report.txt").read_text()
    assert text == whole.table()
    lines = text.splitlines()
    assert lines[0].split() == [
        "stage", "method", "weights", "steps", "seconds", "validation", "test", "used", "right", "expected",
    ]  # fmt: skip
    assert [line.split()[0] for line in lines[1:]] == [
        "01-pretrain", "02-teacher", "03-label", "04-student", "05-label-2", "06-again", "07-final",
    ]  # fmt: skip
    row = whole.rows[4]
    assert f"{row['pseudo_label_accuracy']:.4f}" in lines[5]
    assert f"accuracy {whole.rows[3]['test']['accuracy']:.4f}" in lines[4]


def test_the_figures_of_all_stages_lie_on_one_axis(whole):
    events = EventAccumulator(str(whole.out))
    events.Reload()
    steps = [e.step for e in events.Scalars("train/loss/supervised")]
    assert steps == [4, 5, 6, 7, 8, 9, 10, 11, 12]  # the stages after the first, end to end
    assert [e.step for e in events.Scalars("train/loss/squeeze")] == [1, 2, 3]
    shown = {e.step: e.value for e in events.Scalars("stage/test")}
    assert sorted(shown) == [6, 9, 12]
    assert shown[9] == pytest.approx(whole.rows[3]["test"]["accuracy"])
    assert [(e.step, e.value) for e in events.Scalars("shipped/test")] == [
        (12, pytest.approx(whole.rows[-1]["test"]["accuracy"]))
    ]
    assert [e.step for e in events.Scalars("stage/expected_accuracy")] == [6, 9]
    rows = [json.loads(line) for line in (whole.out / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == sorted(row["step"] for row in rows)


def test_alarms_of_a_stage_lie_on_the_same_axis(tmp_path, monkeypatch):
    def alarmed(check, step, figures, samples):
        found = Findings()
        found.alarm("collapse", step, "Nothing but left.")
        return found

    monkeypatch.setattr(SelfCheck, "judge", alarmed)
    stages = [stage("a", steps=3, options={"eval_every": 2}), stage("b", steps=2)]
    for resume in (False, True):
        with pytest.warns(SelfTrainingWarning) if not resume else nullcontext():
            run_pipeline(stages, cloud(), tmp_path, plan=PLAN, resume=resume)
        rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
        alarms = [row for row in rows if "alarm" in row]
        assert [(row["step"], row["alarm"]) for row in alarms] == [(2, "collapse"), (4, "collapse")]
        assert all(row["text"].startswith("Nothing but left.") for row in alarms)


def test_the_test_part_may_stay_closed():
    class Closed(toy.ToyPile):
        def evaluation(self, part, batch_size, device):
            assert part != "test"
            return super().evaluation(part, batch_size, device)

    stages = [stage("a"), Labeling("l", by="a"), Best("b", ["a"])]
    done = run_pipeline(stages, Closed(**vars(cloud())), plan=PLAN, test=False)
    assert [row.get("test") for row in done.rows] == [None] * 3
    assert run_pipeline(stages, cloud(), plan=PLAN).rows[2]["test"]


def test_nothing_is_stored_without_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = run_pipeline([stage("a"), Labeling("l", by="a"), Best("b", ["a"])], cloud(), plan=PLAN)
    assert done.out is None
    assert list(tmp_path.iterdir()) == []
    assert done.evaluate("test") == done.rows[-1]["test"]
    started = net(init_from=done)().model.state_dict()
    assert same(dict(started), dict(done.export()))


def test_further_data_may_be_watched(tmp_path):
    rows = torch.arange(5)
    run_pipeline([stage(steps=2)], cloud(), tmp_path, plan=PLAN, monitor={"other": rows})
    assert "other/accuracy" in (tmp_path / "metrics.jsonl").read_text()


# -- senseless pipelines -----------------------------------------------------------------------------------------------
def stage(name="a", **settings):
    return Stage(name, lambda past: Supervised(TASK, net()), **({"steps": 1} | settings))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Stage("a/b", stage), "'a/b' names a folder"),
        (lambda: stage("../up"), "names a folder"),
        (lambda: Labeling("", by="a"), "'' names a folder"),
        (lambda: Best("a b", ["a"]), "'a b' names a folder"),
        (lambda: stage(steps=0), "'a' has 0 steps"),
        (lambda: stage(steps=None, epochs=-1), "'a' has -1 epochs"),
        (lambda: stage(epochs=2), r"has steps \(1\) and epochs \(2\)"),
        (lambda: stage(which="first"), "which is 'first'"),
        (lambda: stage(options={"resume": True, "log_every": 1}), r"hold \['resume'\]"),
        (lambda: Best("final", []), "'final' has no stages"),
    ],
)
def test_a_senseless_stage_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ([], "has no stages"),
        ([stage(), stage()], "two stages are named 'a'"),
        ([Labeling("l", by="a"), stage()], "'l' needs 'a', which does not train before it"),
        (
            [stage(), Labeling("l", by="a"), Labeling("m", by="l")],
            r"'m' needs 'l', which does not train before it; known: \['a'\]",
        ),
        ([stage(), Best("b", ["a", "c"])], "'b' needs 'c'"),
    ],
)
def test_a_senseless_order_is_refused_before_anything_is_trained(stages, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        run_pipeline(stages, cloud(), tmp_path / "out", plan=PLAN)
    assert not (tmp_path / "out").exists()


def test_what_cannot_work_is_refused(tmp_path):
    with pytest.raises(ValueError, match="stop_after is 0"):
        run_pipeline([stage()], cloud(), plan=PLAN, stop_after=0)
    with pytest.raises(DataError, match="no unlabeled samples to label"):
        run_pipeline([stage(), Labeling("l", by="a")], cloud(unlabeled=0), plan=PLAN)
    with pytest.raises(KeyError, match="pretrain"):
        run_pipeline([Stage("a", lambda past: past["pretrain"], 1)], cloud(), plan=PLAN)
    with pytest.raises(ValueError, match="Squeeze predicts no targets"):
        run_pipeline([Stage("a", lambda past: Squeeze(), 1), Labeling("l", by="a")], cloud(), plan=PLAN)
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFolderError, match="which is a file; give a folder"):
        run_pipeline([stage()], cloud(), tmp_path / "file", plan=PLAN)
    part = run_pipeline([Stage("a", lambda past: FixMatch(TASK, net()), 5)], cloud(), plan=PLAN, stop_after=2)
    with pytest.raises(ValueError, match="no stage of the pipeline has finished"):
        part.evaluate()


# -- ready-made pipelines ----------------------------------------------------------------------------------------------
def names(stages):
    return [s.name for s in stages]


class Noting:
    """Stands for a strategy: notes where learners start and which tables they get, and trains as the real one."""

    def __init__(self, kind):
        self.kind, self.calls = kind, []

    def __call__(self, task, make_learner, **settings):
        model = make_learner().model
        self.calls.append((sum(p.numel() for p in model.parameters()), model.encoder.weight.detach().clone(), settings))
        return self.kind(task, make_learner, **settings)


def test_complementary_labels_once_and_starts_again_from_the_pretrained_weights():
    fine, last = Noting(Supervised), Noting(NoisyStudent)
    steps = {"pretrain": 3, "finetune": 2, "retrain": 4}
    settings = {"pretrain": Squeeze, "steps": steps, "finetune": fine, "retrain": last, "plan": PLAN}
    done = run_pipeline(complementary(TASK, net, **settings), cloud())
    assert [row["name"] for row in done.rows] == ["pretrain", "finetune", "label", "retrain"]
    assert [row["steps"] for row in done.rows] == [3, 2, 0, 4]
    encoder = done.past["pretrain"].export()["encoder.weight"]
    assert torch.equal(fine.calls[0][1], encoder)
    assert torch.equal(last.calls[0][1], encoder)
    assert last.calls[0][2]["labels"].kept.all()  # one round, no filter
    scratch = Noting(NoisyStudent)
    run_pipeline(
        complementary(TASK, net, **settings | {"retrain": scratch, "restart": "scratch", "student": larger,
                                               "refine": lambda table: table.top_percent(50)}), cloud(),
    )  # fmt: skip
    assert not torch.equal(scratch.calls[0][1], encoder)
    assert scratch.calls[0][0] == sum(p.numel() for p in Net(width=40).parameters())
    assert scratch.calls[0][2]["labels"].recipe == "top_percent(50)"


def test_pseudo_labels_first_clean_labels_last():
    fine, pseudo, last = Noting(Supervised), Noting(partial(NoisyStudent, labeled_weight=0.0)), Noting(Supervised)
    steps = {"finetune": 2, "pseudo": 3, "last": 4}
    settings = {"finetune": fine, "pseudo": pseudo, "last": last, "plan": PLAN}
    done = run_pipeline(pseudo_first(TASK, net, steps=steps, **settings), cloud())
    assert [row["name"] for row in done.rows] == ["finetune", "label", "pseudo", "last"]
    assert not torch.equal(fine.calls[0][1], pseudo.calls[0][1])
    assert torch.equal(last.calls[0][1], done.past["pseudo"].export()["encoder.weight"])
    before = run_pipeline(pseudo_first(TASK, net, steps=steps | {"pretrain": 2}, pretrain=Squeeze, **settings), cloud())
    encoder = before.past["pretrain"].export()["encoder.weight"]
    assert names(pseudo_first(TASK, net, steps=steps | {"pretrain": 2}, pretrain=Squeeze))[0] == "pretrain"
    assert torch.equal(fine.calls[1][1], encoder)
    assert torch.equal(pseudo.calls[1][1], encoder)
    scratch = pseudo_first(TASK, net, steps=steps | {"pretrain": 2}, pretrain=Squeeze, restart="scratch", **settings)
    run_pipeline(scratch, cloud())
    assert torch.equal(fine.calls[2][1], encoder)
    assert not torch.equal(pseudo.calls[2][1], encoder)


def test_pseudo_labels_alone_are_the_stage_before_last():
    steps = {"finetune": 1, "pseudo": 1, "last": 1}
    strategy = run_pipeline(pseudo_first(TASK, net, steps=steps), cloud(), plan=PLAN).past["pseudo"].strategy
    assert (strategy.labeled_weight, strategy.hard) == (0.0, True)


def test_generations_of_noisy_students_label_for_one_another():
    steps, sizes = {"teacher": 2, "student": 1}, [net, larger, larger]
    student = Noting(NoisyStudent)
    stages = noisy_student(TASK, net, steps=steps, students=sizes, student=student, per_class=7, threshold=0.4)
    assert names(stages) == ["teacher", "label-1", "student-1", "label-2", "student-2", "label-3", "student-3"]
    assert [s.by for s in stages[1::2]] == ["teacher", "student-1", "student-2"]
    done = run_pipeline(stages, cloud(), plan=PLAN)
    assert [call[0] for call in student.calls] == [
        sum(p.numel() for p in Net(width=w).parameters()) for w in (8, 40, 40)
    ]
    tables = [call[2]["labels"] for call in student.calls]
    assert tables == [done.past.labels[f"label-{i}"] for i in (1, 2, 3)]
    assert {t.recipe for t in tables} == {"above(0.4).balanced(7).normalized()"}
    plain = noisy_student(TASK, net, steps=steps, generations=1, balance=False)
    assert run_pipeline(plain, cloud(), plan=PLAN).past.labels["label-1"].recipe == "above(0.3).normalized()"


def test_keypoints_have_generations_without_balance():
    task, make = toy.task("keypoints"), lambda init_from=None: toy.learner("keypoints")
    stages = noisy_student(task, make, steps={"teacher": 1, "student": 1}, generations=1, balance=False)
    done = run_pipeline(stages, toy.pile("keypoints"), plan=PLAN)
    assert done.past.labels["label-1"].weight.shape == (24, 2)
    assert done.rows[1]["counts"] == []


class Oracle(Supervised):
    """Labels nine points with confidences as a script says."""

    def __init__(self, confidences):
        super().__init__(TASK, net(), decay=None)
        self._said = torch.tensor(confidences)

    def predict(self, x):
        sure = self._said if len(x) == 9 else torch.full((len(x),), 0.9)
        return torch.stack([sure, 1 - sure], 1)


ROUNDS = [  # confidences of nine points that label round r; rows at or above place 8 (1 - r / 4) of their order
    ([0.50, 0.55, 0.60, 0.65, 0.70, 0.75, 0.80, 0.85, 0.90], [6, 7, 8]),
    ([0.90, 0.85, 0.80, 0.75, 0.70, 0.65, 0.60, 0.55, 0.50], [0, 1, 2, 3, 4]),
    ([0.60, 0.99, 0.60, 0.95, 0.60, 0.90, 0.60, 0.51, 0.50], [0, 1, 2, 3, 4, 5, 6]),
    ([0.51, 0.52, 0.53, 0.54, 0.55, 0.56, 0.57, 0.58, 0.50], [0, 1, 2, 3, 4, 5, 6, 7, 8]),
]


def test_the_rounds_of_a_curriculum_by_hand():
    """Ever larger shares of *all* points by the newest confidences: rows leave and come back."""
    seen, said = [], iter([row for row, _ in ROUNDS] + [ROUNDS[0][0]])

    def first(task, make_learner):
        return Oracle(next(said))

    def follow(task, make_learner, labels):
        seen.append(labels.kept.nonzero().flatten().tolist())
        return Oracle(next(said))

    stages = curriculum_labeling(
        TASK, net, steps={"first": 1, "round": 1}, rounds=4, first=first, round=follow, which="last"
    )
    assert names(stages) == ["round-0", *(f"{part}-{r}" for r in (1, 2, 3, 4) for part in ("label", "round"))]
    assert [s.by for s in stages[1::2]] == ["round-0", "round-1", "round-2", "round-3"]
    run_pipeline(stages, cloud(unlabeled=9), plan=PLAN)
    assert seen == [rows for _, rows in ROUNDS]


def test_every_round_of_a_curriculum_starts_from_scratch_and_the_best_is_shipped():
    round_ = Noting(CurriculumLabeling)
    stages = curriculum_labeling(TASK, net, steps={"first": 2, "round": 2}, round=round_)
    assert stages[-1].among == [f"round-{r}" for r in range(6)]
    assert {s.which for s in stages if isinstance(s, Stage)} == {"best"}
    done = run_pipeline(stages, cloud(), plan=PLAN)
    encoders = [call[1] for call in round_.calls]
    assert len({tuple(e.flatten().tolist()) for e in encoders}) == 5
    learned = [done.past[f"round-{r}"].export()["encoder.weight"] for r in range(6)]
    assert not any(torch.equal(one, other) for one in encoders for other in learned)
    assert [call[2]["labels"].recipe for call in round_.calls] == [f"top_percent({p})" for p in (20, 40, 60, 80, 100)]
    figures = [row["validation"]["accuracy"] for row in done.rows if row["name"].startswith("round")]
    assert done.rows[-1]["chosen"] == f"round-{figures.index(max(figures))}"
    last = curriculum_labeling(TASK, net, steps={"first": 2, "round": 2}, rounds=2, which="last")
    assert names(last)[-1] == "round-2"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: complementary(TASK, net, pretrain=Squeeze, steps={"pretrain": 1}), r"stages are \['finetune', 'pre"),
        (
            lambda: pseudo_first(TASK, net, steps={"finetune": 1, "pseudo": 1, "last": 1, "pretrain": 1}),
            "steps are given",
        ),
        (lambda: noisy_student(TASK, net, steps={"teacher": 1, "student": 1}, generations=0), "generations is 0"),
        (lambda: noisy_student(TASK, net, steps={"teacher": 1, "student": 1}, students=[net]), "1 learners for 3"),
        (lambda: noisy_student(TASK, net, steps={"teacher": 1, "student": 0}), "has 0 steps"),
        (lambda: curriculum_labeling(TASK, net, steps={"first": 1, "round": 1}, rounds=0), "rounds is 0"),
        (
            lambda: complementary(
                TASK, net, pretrain=Squeeze, steps={"pretrain": 1, "finetune": 1, "retrain": 1}, restart="cold"
            ),
            "restart is 'cold'",
        ),
    ],
)
def test_senseless_settings_of_a_ready_made_pipeline_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# -- learning ----------------------------------------------------------------------------------------------------------
cloudy = partial(st.learner, lambda: toy.mlp(30), optimizer="sgd", lr=0.05, weight_decay=0.0)
wider = partial(st.learner, lambda: toy.mlp(30, width=96), optimizer="sgd", lr=0.05, weight_decay=0.0)
narrow = partial(st.learner, lambda: Net(30, 4), optimizer="sgd", lr=0.05, weight_decay=0.0)
plain, guided = partial(Supervised, decay=None), partial(NoisyStudent, decay=0.99)
QUIET = {"options": {"evaluation": st.Evaluation(100)}}
BUILT = {
    "complementary": lambda: complementary(
        st.Classification(2), narrow, pretrain=lambda: Squeeze(30, 4), finetune=plain, retrain=guided,
        steps={"pretrain": 300, "finetune": 100, "retrain": 100}, **QUIET,
    ),
    "pseudo_first": lambda: pseudo_first(
        st.Classification(2), cloudy, finetune=plain, last=plain,
        steps={"finetune": 100, "pseudo": 100, "last": 20}, **QUIET,
    ),
    "noisy_student": lambda: noisy_student(
        st.Classification(2), cloudy, students=[cloudy, wider, wider], teacher=plain, student=guided,
        steps={"teacher": 100, "student": 100}, **QUIET,
    ),
    "curriculum_labeling": lambda: curriculum_labeling(
        st.Classification(2), cloudy, rounds=3, first=plain, steps={"first": 100, "round": 100},
        options={"evaluation": st.Evaluation(20)},
    ),
}  # fmt: skip


@cache
def accuracies(name):
    """On clouds of five seeds; "supervised": 400 steps on the labels alone."""
    found = []
    for seed in range(5):
        plan = BatchPlan(labeled=8, unlabeled_ratio=12.5, seed=seed)
        alone = [Stage("alone", lambda past: plain(st.Classification(2), cloudy()), 400, **QUIET)]
        stages = alone if name == "supervised" else BUILT[name]()
        found.append(run_pipeline(stages, toy.clouds(seed=seed), plan=plan).evaluate("test")["accuracy"])
    return median(found)


@pytest.mark.slow
@pytest.mark.parametrize("name", BUILT)
def test_a_ready_made_pipeline_beats_labels_alone(name):
    assert accuracies(name) > accuracies("supervised") + 0.02
