"""Remedies of the messages of runs: the engine, handlers, labels, pipelines, exports and what is stored."""

import csv
import shutil
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
from remedies import Row, setting
from torch import nn

import selftrain as st
from selftrain import pretrain, strategies, toy
from selftrain.data import ArraySet, Pile
from selftrain.evaluation import calibration
from selftrain.handlers import MetricsLog, NonFiniteGuard, Snapshots
from selftrain.handlers.snapshots import select_snapshot
from selftrain.labels.ledger import Ledger
from selftrain.labels.page.write import write_review
from selftrain.labels.review import read_review
from selftrain.labels.stability import stability
from selftrain.labels.table import PseudoLabelTable
from selftrain.labels.teacher_pass import label_pile
from selftrain.pipeline import (
    Best,
    Labeling,
    ReliableLabeling,
    Stage,
    curriculum_labeling,
    noisy_student,
    run_pipeline,
    st_plus_plus,
)
from selftrain.storage.atomic import whole_file
from selftrain.storage.checkpoint import load_newest, save
from selftrain.storage.states import storable
from selftrain.tasks import Classification
from selftrain.types import BatchPlan, PseudoLabels

X = np.random.RandomState(0).normal(size=(16, 3)).astype(np.float32)
Y = np.where(np.arange(16) < 8, np.arange(16) % 2, -1)
NAMES = ("ant", "bee", "cow")
TASK, PLAN = Classification(2), BatchPlan(4)


@cache
def pile(validation=2, unlabeled=True):
    if not unlabeled:
        return Pile(ArraySet(X[:8], torch.tensor(Y[:8])), None)
    return Pile.from_arrays(X, Y, validation=validation, ids=[f"r{i}" for i in range(16)])


def network():
    return nn.Linear(3, 2)


def strategy(cls=strategies.FixMatch, **settings):
    return cls(TASK, st.learner(network, lr=0.01), **settings)


def fit(made=None, data=None, **settings):
    """A run of two steps."""
    given = {"steps": 2, "plan": PLAN, **settings}
    if "epochs" in settings and "steps" not in settings:
        del given["steps"]
    return st.fit(made or strategy(), data or pile(), **given)


@cache
def run():
    return fit()


@cache
def run_without_validation():
    return fit(data=pile(validation=0))


@cache
def stage():
    """A run that knows no classes."""
    return fit(pretrain.TJEPA(pretrain.table_transformer(columns=3, width=8, depth=1, heads=2)))


def resumed(tmp, first=None, **settings):
    """A run that is stopped and goes on with other settings."""
    fit(strategy(), out=tmp / "run", stop_after=1, **(first or {}))
    return fit(strategy(), out=tmp / "run", resume=True, **settings)


class Silent(strategies.Supervised):
    def evaluate(self, data, reference=None):
        return {"accuracy": [1.0, 2.0]}


class Told(strategies.Supervised):
    def evaluate(self, data, reference=None):
        return {"accuracy": 1.0}


# -- labels ------------------------------------------------------------------------------------------------------------
def ledger(labels=(0, 1, 2, 0), names=NAMES):
    made = Ledger([f"photo-{i}.png" for i in range(5)], names)
    value = torch.full((len(labels), len(names)), 0.1)
    value[torch.arange(len(labels)), torch.tensor(labels)] = 0.8
    made.write(PseudoLabels(torch.arange(len(labels)), value, torch.ones(len(labels))), Classification(len(names)), 0)
    return made


def review(tmp, changes, *, names=NAMES, ids=None, twice=False):
    """The ledger's file as a person changed it: ``changes`` are cells by row and column."""
    with open(ledger().to_csv(tmp / "l.csv"), newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for (row, column), cell in changes.items():
        rows[row][column] = cell
    with open(tmp / "l.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows([*rows, rows[0]] if twice else rows)
    return dict(read_review(tmp / "l.csv", names, ids))


def reviewing(changes, **settings):
    return lambda tmp: review(tmp, changes, **settings)


@cache
def labels():
    return label_pile(strategy(), pile())


def page(tmp, source=None, data=None, **settings):
    assert write_review(source or run(), data or pile(), tmp / "page.html", **settings).stat().st_size > 1000


# -- pipelines ---------------------------------------------------------------------------------------------------------
def teach(name="teacher", **settings):
    return Stage(name, lambda past: strategy(strategies.Supervised), **{"steps": 1, **settings})


def piped(*stages, data=None, out=None, **settings):
    return run_pipeline(stages, data or pile(), out, plan=PLAN, **settings)


def student(past):
    return strategies.NoisyStudent(TASK, st.learner(network, lr=0.01), labels=past.labels["label"])


def noisy(**settings):
    given = {"generations": 1, "steps": {"teacher": 1, "student": 1}, **settings}
    return noisy_student(TASK, st.learner, **given)


def reliable(tmp, **settings):
    first = teach(steps=2, options={"handlers": [Snapshots(2, spacing="even")]})
    piped(first, ReliableLabeling("l", by="teacher"), out=tmp / "p", **settings)


def stability_of(tmp):
    return tmp / "p" / "02-l" / "stability.json"


def settled(count, data=None):
    return stability(TASK, network(), [run().export()] * count, data or pile())


def export(tmp, source=None, **settings):
    return st.export(source or run(), tmp / "export", **settings)


def said(**settings):
    value = torch.full((4, 3), 0.1)
    return replace(PseudoLabels(torch.arange(4), value, torch.ones(4)), **settings)


@cache
def joints():
    return label_pile(strategies.Supervised(toy.task("keypoints"), toy.learner("keypoints")), toy.pile("keypoints"))


def stored(path):
    with whole_file(path) as part:
        Path(part).write_text("a", encoding="utf-8")


def linked(path):
    path.symlink_to(path.parent / "elsewhere")
    return path


def kept(tmp, keep):
    save(tmp / "c", {"a": 1}, 1, keep=keep)
    assert load_newest(tmp / "c") == {"a": 1}


E, H, L, P, S = (f"selftrain/{room}" for room in ("engine", "handlers", "labels", "pipeline", "storage"))
ROWS_OF = {
    f"{E}/loop.py": [
        Row(
            "build it with the same method, encoder",
            lambda: fit(
                strategies.FixMatch(
                    TASK,
                    st.learner(lambda: nn.Linear(3, 2, bias=False)),
                ),
                pretrain=run(),
            ),
            lambda: fit(strategy(), pretrain=run()),
        ),
    ],
    f"{E}/run.py": [
        setting("which is {}", lambda which: run().evaluate("labeled", which=which), "which", "first", "last", "best"),
        setting(
            "use which='last'",
            lambda which: run_without_validation().evaluate("labeled", which=which),
            "which",
            "best",
            "last",
        ),
        Row("ask a run that does", lambda: stage().quality(), lambda: run().quality()),
        Row(
            "pass a data set or another part",
            lambda: run().evaluate("test"),
            lambda: run().evaluate(pile().validation),
            lambda: run().evaluate("labeled"),
        ),
        Row("give one number for each name", lambda: fit(strategy(Silent)), lambda: fit(strategy(Told))),
    ],
    f"{E}/times.py": [
        Row(
            "which is the pile's own; give it another name",
            lambda: fit(monitor={"validation": pile().labeled}),
            lambda: fit(monitor={"labels": pile().labeled}),
        ),
        *(
            setting("{} is {}; it must be at least 1", fit, name, 0, 1)
            for name in ("eval_every", "log_every", "checkpoint_every")
        ),
        setting("on_alarm is {}", fit, "on_alarm", "none", "warn", "stop", "fallback"),
        Row(
            "give epochs ({}) or steps ({})",
            lambda: fit(steps=1, epochs=1),
            lambda: fit(steps=1),
            lambda: fit(epochs=1),
        ),
        setting("epochs or steps must be at least 1", fit, "steps", 0, 1),
        setting("epochs or steps must be at least 1", fit, "epochs", 0, 1),
        setting("steps; give fewer epochs or steps", fit, "steps", 10**400, 1),
        setting("steps; give fewer epochs or steps", fit, "epochs", 10**400, 1),
    ],
    f"{E}/watchers.py": [
        Row(
            "handlers holds {} of {}; give one",
            lambda: fit(handlers=[MetricsLog(1), MetricsLog(2)]),
            lambda: fit(handlers=[MetricsLog(1)]),
        ),
    ],
    f"{H}/baseline.py": [
        Row(
            "has no step on labels alone to compare with",
            lambda: fit(pretrain.TJEPA(pretrain.table_transformer(3, width=8, depth=1, heads=2)), baseline=True),
            lambda: fit(pretrain.TJEPA(pretrain.table_transformer(3, width=8, depth=1, heads=2)), baseline=False),
        ),
    ],
    f"{H}/metrics_log.py": [setting("log_every is {}", MetricsLog, "every", 0, 1)],
    f"{H}/nonfinite.py": [setting("limit is {}", NonFiniteGuard, "limit", -1, 0)],
    f"{H}/snapshots.py": [
        Row(
            "there is no run folder to store them in; pass out=...",
            lambda: fit(handlers=[Snapshots(1)]),
            lambda tmp: fit(handlers=[Snapshots(1)], out=tmp / "run"),
        ),
        Row(
            "snapshots is {}; it must be 0 or more",
            lambda tmp: fit(handlers=[Snapshots(-1)], out=tmp / "run"),
            lambda tmp: fit(handlers=[Snapshots(0)], out=tmp / "run"),
        ),
        Row(
            "spacing is {}",
            lambda: Snapshots(2, spacing="linear"),
            lambda: Snapshots(2, spacing="log"),
            lambda: Snapshots(2, spacing="even"),
        ),
        Row(
            "train with handlers=[Snapshots(8)]",
            lambda tmp: (fit(out=tmp / "run"), select_snapshot(tmp / "run")),
            lambda tmp: (fit(out=tmp / "new", handlers=[Snapshots(8)]), select_snapshot(tmp / "new")),
        ),
        Row(
            "use is {}",
            lambda tmp: (fit(out=tmp / "run", handlers=[Snapshots(1)]), select_snapshot(tmp / "run", "both")),
            lambda tmp: select_snapshot(tmp / "run", "frozen", figure="accuracy"),
            lambda tmp: select_snapshot(tmp / "run", "fine-tune", figure="accuracy"),
        ),
        Row(
            "the snapshots have no figure {} of {}",
            lambda tmp: (
                fit(out=tmp / "run", handlers=[Snapshots(1)]),
                select_snapshot(tmp / "run", "frozen", figure="f1"),
            ),
            lambda tmp: select_snapshot(tmp / "run", "frozen", figure="accuracy"),
        ),
    ],
    f"{L}/columns.py": [
        Row(
            "is not {}; correct the cell",
            lambda tmp: (review(tmp, {(0, "class"): "fly"}, names=()), Ledger.read(tmp / "l.csv", NAMES)),
            lambda tmp: (review(tmp, {(0, "class"): "ant"}), Ledger.read(tmp / "l.csv", NAMES)),
        ),
    ],
    f"{L}/ledger.py": [
        Row(
            "give one number for each unit",
            lambda: ledger().write(said(agreement=torch.ones(2)), Classification(3), 1),
            lambda: ledger().write(said(agreement=torch.ones(4)), Classification(3), 1),
        ),
        Row(
            "there are {} classes",
            lambda: ledger().checked_prior(torch.ones(2)),
            lambda: ledger().checked_prior(torch.ones(3)),
        ),
        Row(
            "shares must be 0 or more, and not all 0",
            lambda: ledger().checked_prior(torch.zeros(3)),
            lambda: ledger().checked_prior(torch.tensor([0.0, 0, 1])),
        ),
        Row(
            "name it so, or write CSV",
            lambda tmp: ledger().to_parquet(tmp / "l.csv"),
            lambda tmp: ledger().to_parquet(tmp / "l.parquet"),
            lambda tmp: ledger().to_csv(tmp / "l.csv"),
        ),
        Row(
            "true labels; give one for each row",
            lambda tmp: Ledger.read(ledger().to_csv(tmp / "l.csv"), truth=torch.zeros(3, dtype=torch.long)),
            lambda tmp: Ledger.read(ledger().to_csv(tmp / "l.csv"), truth=torch.zeros(5, dtype=torch.long)),
        ),
    ],
    f"{L}/page/pictures.py": [
        Row(
            "columns has {} names",
            lambda tmp: page(tmp, columns=["a"]),
            lambda tmp: page(tmp, columns=["a", "b", "c"]),
        ),
        Row(
            "show fewer (samples=...) or allow more (megabytes=...)",
            lambda tmp: page(tmp, megabytes=5e-5),
            lambda tmp: page(tmp, megabytes=5e-5, samples=1),
            lambda tmp: page(tmp, megabytes=1),
        ),
    ],
    f"{L}/page/source.py": [
        Row("to review; pass a run that does", lambda tmp: page(tmp, stage()), lambda tmp: page(tmp, run())),
        Row(
            "pass the pile that the run was on",
            lambda tmp: page(tmp, data=Pile.from_arrays(X, Y)),
            lambda tmp: page(tmp, data=pile()),
        ),
    ],
    f"{L}/page/write.py": [
        Row("a page holds 1 to {}", lambda tmp: page(tmp, samples=0), lambda tmp: page(tmp, samples=1)),
        Row(
            "choose is {}",
            lambda tmp: page(tmp, choose="all"),
            lambda tmp: page(tmp, choose="margin"),
            lambda tmp: page(tmp, choose="random"),
        ),
        Row(
            "thumbnail is {}",
            lambda tmp: page(tmp, thumbnail=7),
            lambda tmp: page(tmp, thumbnail=8),
            lambda tmp: page(tmp, thumbnail=1024),
        ),
        Row("megabytes is {}", lambda tmp: page(tmp, megabytes=0), lambda tmp: page(tmp, megabytes=1)),
    ],
    f"{L}/refine.py": [
        Row(
            "expected (N, C, ...) with at least one sample",
            lambda: PseudoLabelTable(TASK, torch.rand(4), confidence=torch.rand(4), weight=torch.rand(4)),
            lambda: PseudoLabelTable(TASK, torch.rand(4, 2), confidence=torch.rand(4), weight=torch.rand(4)),
        ),
        Row(
            "store them as float32 or float16",
            lambda: PseudoLabelTable(TASK, torch.rand(4, 2).double(), confidence=torch.rand(4), weight=torch.rand(4)),
            lambda: PseudoLabelTable(
                TASK, torch.rand(4, 2).double().float(), confidence=torch.rand(4), weight=torch.rand(4)
            ),
            lambda: PseudoLabelTable(
                TASK, torch.rand(4, 2).double().half(), confidence=torch.rand(4), weight=torch.rand(4)
            ),
        ),
        Row(
            "give one row a sample, one shape a unit",
            lambda: PseudoLabelTable(TASK, torch.rand(4, 2), confidence=torch.rand(3), weight=torch.rand(3)),
            lambda: PseudoLabelTable(TASK, torch.rand(4, 2), confidence=torch.rand(4), weight=torch.rand(4)),
        ),
    ],
    f"{L}/stability.py": [
        Row("snapshots do not tell what has settled; give at least 2", lambda: settled(1), lambda: settled(2)),
        Row("give it some, or", lambda: settled(2, pile(unlabeled=False)), lambda: settled(2), lambda: fit(steps=1)),
    ],
    f"{L}/review.py": [
        Row(
            "keep one of the two rows",
            reviewing({(0, "verdict"): "accept"}, twice=True),
            reviewing({(0, "verdict"): "accept"}),
        ),
        Row(
            "unknown verdict {}; {}",
            reviewing({(0, "verdict"): "rejet"}),
            reviewing({(0, "verdict"): "reject"}),
        ),
        Row(
            "rejected, but corrected to {}; empty one",
            reviewing({(0, "verdict"): "reject", (0, "correction"): "bee"}),
            reviewing({(0, "verdict"): "reject"}),
            reviewing({(0, "correction"): "bee"}),
        ),
        Row(
            "only {} can be used",
            reviewing({(0, "verdict"): "accept"}, names=()),
            reviewing({(0, "verdict"): "reject"}, names=()),
        ),
        Row(
            "accepted, but corrected to {}; empty one",
            reviewing({(0, "verdict"): "accept", (0, "correction"): "bee"}),
            reviewing({(0, "verdict"): "accept"}),
            reviewing({(0, "correction"): "bee"}),
        ),
        Row(
            "give the class as a correction",
            reviewing({(4, "verdict"): "accept"}),
            reviewing({(4, "correction"): "bee"}),
        ),
        Row(
            "leave label and class as they were and give the right class",
            reviewing({(0, "verdict"): "accept", (0, "class"): "bee"}),
            reviewing({(0, "correction"): "bee"}),
        ),
        Row(
            "unknown class {}; {} ({})",
            reviewing({(0, "correction"): "be"}),
            reviewing({(0, "correction"): "bee"}),
            reviewing({(0, "correction"): "1"}),
        ),
        Row(
            "use the file with the pile it was made from",
            reviewing({(0, "verdict"): "accept"}, ids=["other"]),
            reviewing({(0, "verdict"): "accept"}, ids=[f"photo-{i}.png" for i in range(5)]),
        ),
    ],
    f"{L}/table.py": [
        Row(
            "label the pile you train on",
            lambda: labels().pseudo_label(torch.tensor([99])),
            lambda: label_pile(strategy(), pile()).pseudo_label(torch.tensor([0])),
        ),
        setting("threshold is {}", lambda value: labels().above(value), "value", -1, 0),
        setting("percent is {}", lambda value: labels().top_percent(value), "value", 0, 20, 100),
        Row(
            "give a bool for each of {}",
            lambda: labels().only(torch.tensor([True])),
            lambda: labels().only(torch.ones(len(labels()), dtype=torch.bool)),
        ),
        Row("complete a table by one of", lambda: labels().completed(joints()), lambda: labels().completed(labels())),
        Row(
            "leave out balanced()",
            lambda: joints().balanced(),
            lambda: joints(),
        ),
        setting("{} is {}; it must be at least 1", lambda **given: labels().balanced(**given), "per_class", 0, 1),
        setting("{} is {}; it must be at least 1", lambda **given: labels().balanced(**given), "max_copies", 0, 1),
        Row(
            "use hard() for the limit of 0",
            lambda: labels().sharpened(0),
            lambda: labels().sharpened(0.1),
            lambda: labels().pseudo_label(torch.tensor([0]), hard=True),
        ),
    ],
    f"{L}/table_file.py": [
        Row(
            "write them with PseudoLabelTable.save()",
            lambda tmp: PseudoLabelTable.load(export(tmp)["safetensors"], TASK),
            lambda tmp: (labels().save(tmp / "l.safetensors"), PseudoLabelTable.load(tmp / "l.safetensors", TASK)),
        ),
    ],
    f"{L}/teacher_pass.py": [
        Row(
            "label with a strategy that was given a task",
            lambda: label_pile(stage().strategy, pile()),
            lambda: label_pile(strategy(), pile()),
        ),
        setting("batch_size is {}", partial(label_pile, strategy(), pile()), "batch_size", 0, 1),
        Row(
            "give it some, or train on labels alone",
            lambda: label_pile(strategy(), pile(unlabeled=False)),
            lambda: label_pile(strategy(), pile()),
            lambda: fit(strategy(strategies.Supervised), pile(unlabeled=False)),
        ),
    ],
    f"{P}/folder.py": [
        Row("use letters, digits, '-', '_' and '.'", lambda: teach("a/b"), lambda: teach("a-b_1.c")),
        Row(
            "choose another folder for the pipeline",
            lambda tmp: (fit(out=tmp / "run"), piped(teach(), out=tmp / "run")),
            lambda tmp: piped(teach(), out=tmp / "new"),
        ),
        Row(
            "use the same, or a new folder",
            lambda tmp: (
                piped(teach(), out=tmp / "p"),
                piped(teach(steps=2, which="best"), out=tmp / "p", resume=True),
            ),
            lambda tmp: piped(teach(), out=tmp / "p", resume=True),
            lambda tmp: piped(teach(steps=2, which="best"), out=tmp / "new"),
        ),
        Row(
            "delete them first",
            lambda tmp: (piped(teach("a"), out=tmp / "p"), piped(teach("b"), out=tmp / "p", overwrite=True)),
            lambda tmp: (shutil.rmtree(tmp / "p/01-a"), piped(teach("b"), out=tmp / "p", overwrite=True)),
        ),
    ],
    f"{P}/presets.py": [
        setting("generations is {}", noisy, "generations", 0, 1),
        setting("give one for each", noisy, "students", [st.learner] * 2, [st.learner]),
        setting(
            "rounds is {}",
            lambda rounds: curriculum_labeling(TASK, st.learner, steps={"first": 1, "round": 1}, rounds=rounds),
            "rounds",
            0,
            1,
        ),
        setting("the stages are {}", noisy, "steps", {"teacher": 1}, {"teacher": 1, "student": 1}),
        setting(
            "snapshots is {}",
            lambda snapshots: st_plus_plus(
                TASK, st.learner, steps={"supervised": 3, "reliable": 1, "all": 1}, snapshots=snapshots
            ),
            "snapshots",
            1,
            2,
            3,
        ),
    ],
    f"{P}/running.py": [
        Row(
            "stop_after is {}",
            lambda tmp: piped(teach(), out=tmp / "p", stop_after=0),
            lambda tmp: piped(teach(), out=tmp / "p", stop_after=1),
        ),
        Row("the pipeline has no stages", lambda: piped(), lambda: piped(teach())),
        Row(
            "give each its own name",
            lambda: piped(teach("a"), teach("a")),
            lambda: piped(teach("a"), teach("b")),
        ),
        Row(
            "which does not train before it; known: {}",
            lambda: piped(teach(), Labeling("label", by="student")),
            lambda: piped(teach(), Labeling("label", by="teacher")),
        ),
        Row(
            "completes {}, no table before it; known: {}",
            lambda: piped(teach(), Labeling("all", by="teacher", completes="label")),
            lambda: piped(teach(), Labeling("label", by="teacher"), Labeling("all", by="teacher", completes="label")),
        ),
        Row(
            "and the pile has none; use which='last'",
            lambda: piped(teach(which="best"), data=pile(validation=0)),
            lambda: piped(teach(which="last"), data=pile(validation=0)),
        ),
        Row(
            "give it some, or train on labels alone",
            lambda: piped(teach(), Labeling("label", by="teacher"), data=pile(unlabeled=False)),
            lambda: piped(teach(), Labeling("label", by="teacher")),
            lambda: piped(teach(), data=pile(unlabeled=False)),
        ),
        Row(
            "continue it with resume=True",
            lambda tmp: piped(teach(steps=3), out=tmp / "p", stop_after=1).run,
            lambda tmp: piped(teach(steps=3), out=tmp / "p", resume=True).run,
        ),
    ],
    f"{P}/reliable.py": [
        Row(
            "delete {}, and it is made again",
            lambda tmp: (
                reliable(tmp),
                stability_of(tmp).write_text('{"stability": [1.0]}'),
                reliable(tmp, resume=True),
            ),
            lambda tmp: (stability_of(tmp).unlink(), reliable(tmp, resume=True)),
        ),
        setting("share is {}", lambda share: ReliableLabeling("l", by="teacher", share=share), "share", 0.0, 0.5, 1.0),
        Row(
            "and give the pipeline a folder (out=...)",
            lambda: piped(teach(), ReliableLabeling("l", by="teacher")),
            lambda tmp: reliable(tmp / "new"),
        ),
    ],
    f"{P}/stages.py": [
        Row(
            "has steps ({}) and epochs ({})",
            lambda: teach(steps=1, epochs=1),
            lambda: teach(steps=1),
            lambda: teach(steps=None, epochs=1),
        ),
        setting("give at least 1", teach, "steps", 0, 1),
        setting("which is {}", teach, "which", "first", "last", "best"),
        Row("has no stages to choose among", lambda: Best("best", ()), lambda: Best("best", ("teacher",))),
    ],
    "selftrain/exporting/network.py": [
        Row("what is {}", lambda tmp: export(tmp, what="all"), lambda tmp: export(tmp, what="classifier")),
        Row(
            "export its encoder: what='encoder'",
            lambda tmp: export(tmp, stage(), what="classifier"),
            lambda tmp: export(tmp, stage(), what="encoder"),
        ),
    ],
    "selftrain/exporting/write.py": [
        Row(
            "formats is {}",
            lambda tmp: export(tmp, formats=["pickle"]),
            lambda tmp: export(tmp, formats=["safetensors"]),
        ),
        Row(
            "is there already; overwrite it, or choose another folder",
            lambda tmp: (export(tmp), export(tmp)),
            lambda tmp: export(tmp, overwrite=True),
            lambda tmp: st.export(run(), tmp / "new"),
        ),
    ],
    "selftrain/evaluation/calibration.py": [
        Row(
            "has no class probabilities to calibrate; use Classification",
            lambda: calibration.calibrate(stage().strategy, pile()),
            lambda: calibration.calibrate(run().strategy, pile()),
        ),
        Row(
            "hold labels back ({}) or pass a set",
            lambda: calibration.calibrate(run().strategy, pile(validation=0)),
            lambda: calibration.calibrate(run().strategy, pile(validation=2)),
            lambda: calibration.calibrate(run().strategy, pile(validation=0), pile().validation),
        ),
    ],
    f"{S}/atomic.py": [
        Row(
            "move it away or choose another name",
            lambda tmp: stored(linked(tmp / "link")),
            lambda tmp: ((tmp / "link").rename(tmp / "away"), stored(tmp / "link")),
            lambda tmp: stored(tmp / "other"),
        ),
    ],
    f"{S}/checkpoint.py": [
        Row("at least 1 checkpoint must stay", lambda tmp: kept(tmp, 0), lambda tmp: kept(tmp, 1)),
    ],
    f"{S}/run_dir.py": [
        Row(
            "continue the {} or replace it",
            lambda tmp: (fit(out=tmp / "run"), fit(out=tmp / "run", resume=True, overwrite=True)),
            lambda tmp: fit(out=tmp / "run", resume=True),
            lambda tmp: fit(out=tmp / "run", overwrite=True),
        ),
        Row("pass out=...", lambda: fit(resume=True), lambda tmp: resumed(tmp)),
        Row(
            "holds no {} to resume; start it without {}",
            lambda tmp: fit(out=tmp / "run", resume=True),
            lambda tmp: fit(out=tmp / "run"),
        ),
        Row(
            "already holds a {}; pass {}, {} or another folder",
            lambda tmp: (fit(out=tmp / "run"), fit(out=tmp / "run")),
            lambda tmp: fit(out=tmp / "run", resume=True),
            lambda tmp: fit(out=tmp / "run", overwrite=True),
            lambda tmp: fit(out=tmp / "other"),
        ),
        Row(
            "use them, or a new folder",
            lambda tmp: resumed(tmp, plan=st.BatchPlan(3)),
            lambda tmp: fit(out=tmp / "run", resume=True),
            lambda tmp: fit(out=tmp / "new", plan=st.BatchPlan(3)),
        ),
        Row(
            "is a folder; move it away",
            lambda tmp: (
                fit(out=tmp / "run"),
                (tmp / "run/summary.json").unlink(),
                (tmp / "run/summary.json").mkdir(),
                fit(out=tmp / "run", overwrite=True),
            ),
            lambda tmp: ((tmp / "run/summary.json").rename(tmp / "away"), fit(out=tmp / "run", overwrite=True)),
        ),
    ],
    f"{S}/states.py": [
        Row(
            "keep numbers, text, lists, dicts, arrays and tensors there",
            lambda: storable({"a": {1: object()}}),
            lambda: storable({"a": {1: [1, 2.5, "b", np.ones(2), torch.ones(2)]}}),
        ),
    ],
}
