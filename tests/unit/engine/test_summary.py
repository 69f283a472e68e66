"""What a run says of itself: a few lines, a table for notebooks, and names that a user needs."""

from __future__ import annotations

import dataclasses
import re
from html.parser import HTMLParser

import pytest
import torch

import selftrain as st
from selftrain import data, pretrain, strategies, toy
from selftrain.engine.run import Fallback
from selftrain.engine.summary import rows
from selftrain.handlers import Progress, SelfCheck
from selftrain.handlers.selfcheck import Alarm
from selftrain.tensorboard import TensorBoard

QUIET = [Progress(False), SelfCheck(False), TensorBoard(False)]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    pile = data.load("digits", labels=40, validation=10)
    make = st.learner(lambda: st.Classifier(st.ConvEncoder(8, 1, widths=(4, 8), embed_dim=16), 10), lr=0.01)
    strategy = strategies.FixMatch(st.Classification(10), make, select=st.select.above(0.0))
    out = tmp_path_factory.mktemp("runs") / "one"
    watched = st.Evaluation(monitor={"test": pile.test})
    plan = st.BatchPlan(labeled=8)
    return st.fit(strategy, pile, steps=2, out=out, baseline=True, evaluation=watched, handlers=QUIET, plan=plan)


def test_a_run_is_told_in_ten_lines_with_the_labels_alone_beside_it(run):
    lines = str(run).splitlines()
    assert len(lines) <= 10
    assert max(map(len, lines)) <= 125
    told = dict(rows(run))
    assert told["strategy"].startswith("FixMatch, 2 steps")
    assert "30 labeled, 1,307 unlabeled" in told["data"]
    for name, figures in (("labels alone", run.baseline), ("self-trained", run.last)):
        assert told[name].startswith(f"test accuracy {100 * figures['test']['accuracy']:.1f} % of 450 (95 % interval ")
    assert told["pile"].startswith("100.0 % of the pseudo-labels accepted")
    assert told["alarms"] == "none"
    assert told["folder"] == str(run.out)


def test_a_run_that_is_opened_tells_the_same_without_its_data(run, monkeypatch):
    again = st.open_run(run.out)
    monkeypatch.setattr(type(again), "pile", property(lambda self: pytest.fail("reads the data")))
    own, other = (dict(rows(each)) for each in (run, again))
    own["pile"] = own["pile"].partition(",")[0]  # the truth is with the data
    assert other == own
    assert again.samples == run.samples == {"validation": 10, "test": 450}
    assert again.steps == run.steps == 2


def test_alarms_and_what_is_shipped_instead_are_told_and_long_lines_are_cut(run):
    alarms = [Alarm(kind, 7, "text", "remedy", {}) for kind in ("collapse", "class_drift")]
    fallback = Fallback("baseline", 2, ["collapse"], "the labels alone\nare shipped " + 200 * "x")
    told = dict(rows(dataclasses.replace(run, alarms=alarms, fallback=fallback, baseline=None, out=None)))
    assert told["alarms"] == "collapse at step 7, class_drift at step 7: see run.alarms"
    assert told["shipped"].startswith("the labels alone are shipped")
    assert len(told["shipped"]) == 110
    assert "baseline=True" in told["labels alone"]
    assert "fit(out=FOLDER)" in told["folder"]


def test_stages_and_runs_that_nothing_judges_are_told_too():
    pile = data.load("digits", labels=40)
    mae = pretrain.MAE(pretrain.ViT(8, 4, width=16, depth=1))
    stage = st.fit(mae, pile, steps=1, handlers=QUIET)
    assert "rankme" in dict(rows(stage))["figures"]
    assert "labels alone" not in str(stage)
    torch.manual_seed(0)
    alone = strategies.Supervised(toy.task("classification"), toy.learner("classification"))
    assert "validation=0.2" in str(dataclasses.replace(st.fit(alone, toy.pile("classification"), steps=1), last={}))


def test_the_table_for_notebooks_has_the_same_cells_and_runs_nothing_of_what_it_shows(run):
    class Cells(HTMLParser):
        def __init__(self):
            super().__init__()
            self.tags, self.texts = set(), []

        def handle_starttag(self, tag, attrs):
            self.tags.add(tag)

        def handle_data(self, text):
            self.texts.append(text)

    odd = dataclasses.replace(run, alarms=[Alarm("<script>alert(1)</script>", 1, "", "", {})])
    page = Cells()
    page.feed(odd._repr_html_())
    assert page.tags == {"table", "tr", "th", "td"}
    assert page.texts == [cell for row in rows(odd) for cell in row]


def test_completion_offers_what_a_user_needs(run):
    for each in (run, st.open_run(run.out)):
        names = {name for name in dir(each) if not name.startswith("_")}
        assert {"evaluate", "export", "ledger", "last", "best", "alarms", "strategy", "pile"} <= names
        assert not {"best_state", "shown", "unchecked"} & names
        assert not [name for name in dir(each) if re.match("_[^_]", name)]
    public = {name for name in dir(st) if not name.startswith("_")}
    assert public == {*st.__all__, "data", "handlers", "pretrain", "strategies", "toy"}


def test_a_ledger_is_a_data_frame(run, tmp_path):
    pandas = pytest.importorskip("pandas")
    frame = run.ledger.to_pandas()
    assert list(frame["id"]) == list(run.ledger.ids)
    assert frame["label"].tolist() == run.ledger.label.tolist()
    assert frame["class"].tolist() == [run.classes[i] if i >= 0 else "" for i in run.ledger.label.tolist()]
    assert frame["accepted"].dtype == bool
    run.ledger.to_csv(tmp_path / "ledger.csv")
    assert list(pandas.read_csv(tmp_path / "ledger.csv").columns) == list(frame.columns)


def test_what_a_run_advises_works(run, tmp_path):
    alone = dataclasses.replace(run, out=None, baseline=None)
    assert "fit(out=FOLDER)" in str(alone)
    assert "fit(baseline=True)" in str(alone)
    assert "fit(out=FOLDER)" not in str(run)  # it was given both
    assert "fit(baseline=True)" not in str(run)
    new = torch.zeros(3, 8, 8, dtype=torch.uint8)
    assert len(run.predict(new)) == len(run.label(new)) == 3
    control = st.open_run(run.out / "baseline")
    assert set(control.predict(new)) <= set(run.classes)
    assert control.predict_proba(new).shape == (3, 10)
    assert run.export(tmp_path / "files")["card"].is_file()
    assert run.ledger.to_csv(tmp_path / "labels.csv").is_file()
    assert run.export().keys() == run.strategy.export().keys()  # as learner(init_from=run) takes it


def test_few_validation_labels_choose_no_weights(run):
    """Of ten labels it is chance which weights look best."""
    assert run.ships == "last"
    assert "the last, as 10 validation labels hardly tell" in str(run)
    many = dataclasses.replace(run, samples={"validation": 50})
    assert many.ships == "best"
    assert f"the best on validation (50 labels), of step {int(run.best['step'])} of 2" in str(many)
    state = {name: value.clone() for name, value in run.best_state.items() if isinstance(value, torch.Tensor)}
    for name, value in state.items():
        if name.endswith("weight") and "student" in name:
            value.mul_(-1)
    many = dataclasses.replace(many, best_state={**run.best_state, **state})
    x = torch.arange(64, dtype=torch.uint8).reshape(1, 8, 8)
    asked = [[*each.predict_proba(x, which=which)[0]] for each in (run, many) for which in (None, "last", "best")]
    assert asked[0] == asked[1] == asked[4]  # few: the last
    assert asked[3] == asked[5] != asked[4]  # many: the best
    assert many.evaluate("test") == many.evaluate("test", which="best")
    assert many.evaluate("test", which="last") == run.evaluate("test")
    assert [*run.predict_proba(x)[0]] == asked[0]  # the weights of before are back
