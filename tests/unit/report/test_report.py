"""The report of a run: what it says is right, it stands alone, and no run is lost by it."""

import json
import math
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.metrics import confusion_matrix

import selftrain as st
from selftrain import data, networks, strategies, toy
from selftrain.cli import main as cli
from selftrain.evaluation.calibration import predictions
from selftrain.evaluation.dense import mask_figures
from selftrain.handlers import MetricsLog
from selftrain.report import ReportPage, charts
from selftrain.report import handler as report_handler
from selftrain.report.held_out import judge, mean_with_interval
from selftrain.types import BatchPlan

PLAN, HOSTILE = BatchPlan(labeled=4), "<script>alert(1)</script>\u202e&\ud800"
SPEECHLESS = [ReportPage(False)]


class Read(HTMLParser):
    """What a page holds: its elements with their attributes, and its text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.words = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, text):
        self.words.append(text)

    @property
    def text(self):
        return re.sub(r"\s+", " ", " ".join(self.words))


def read(path):
    return Read(path.read_text(encoding="utf-8"))


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(1)


def network():
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 3))


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """A run on pictures of three kinds with a baseline, names that would be markup, and its folder."""
    torch.manual_seed(1)
    generator = np.random.default_rng(0)
    y = np.arange(180) % 3
    x = (generator.random((180, 1, 8, 8)) * 120).astype(np.uint8)
    x[np.arange(180), 0, y * 2] = 255
    sets = [data.ArraySet(x[rows], y[rows]) for rows in (slice(0, 30), slice(60, 180))]
    pile = data.Pile(
        sets[0], data.ArraySet(x[30:60], None), None, sets[1], classes=("ant", HOSTILE, "cow"),
        truth=torch.from_numpy(y[30:60]),
    )  # fmt: skip
    strategy = strategies.FixMatch(st.Classification(3), st.learner(network, lr=0.01), select=st.select.above(0.2))
    folder = tmp_path_factory.mktemp("runs") / "digits"
    return st.fit(strategy, pile, steps=6, plan=PLAN, out=folder, baseline=True, handlers=[MetricsLog(2)]), folder


def test_it_is_in_the_run_folder_and_answers_in_the_order_of_the_questions(digits):
    run, folder = digits
    page = read(folder / "report.html")
    titles = [
        "Is it better than the labels alone?", "What is wrong?", "How much of the pile was used, and how right?",
        "Can its confidence be believed?", "What should I look at?", "How did the training go?",
        "How is it made again?",
    ]  # fmt: skip
    places = [page.text.rindex(title) for title in titles]
    assert places == sorted(places)
    value = torch.cat([value for value, _ in predictions(run.strategy, run.pile, "test")])
    truth = run.pile.test.annotations
    right = (value.argmax(1) == truth).double()
    with torch.no_grad():
        alone = st.open_run(folder / "baseline", pile=run.pile).strategy.method
        other = torch.cat([value for value, _ in predictions(alone, run.pile, "test")]).argmax(1) == truth
    gain = right.numpy() - other.double().numpy()
    half = stats.t.ppf(0.975, 119) * gain.std(ddof=1) / math.sqrt(120)
    assert f"{100 * right.mean():.1f} % right, {100 * other.double().mean():.1f} % with the labels alone" in page.text
    said = f"({100 * gain.mean():+.1f} points, 95 % interval {100 * (gain.mean() - half):+.1f}"
    assert said in page.text
    assert "on 120 test samples" in page.text
    cells = confusion_matrix(truth, value.argmax(1))
    assert f"{cells[0, 0]} of 40 ant taken for ant" in page.text
    known = run.ledger.summary()
    assert f"{100 * known['accepted'] * known['coverage']:.1f} % of 30 unlabeled samples" in page.text
    assert f"{100 * known['pseudo_label_accuracy']:.1f} % of these pseudo-labels right" in page.text
    assert f"selftrain.open_run({str(folder)!r})" in page.text


def test_it_stands_alone_and_nothing_in_it_becomes_markup(digits):
    text = (digits[1] / "report.html").read_text(encoding="utf-8")
    page = Read(text)
    assert not {"script", "iframe", "object", "embed"} & {tag for tag, _ in page.tags}
    assert "\\u202e" in page.text
    assert "\u202e" not in text
    (policy,) = [a["content"] for tag, a in page.tags if tag == "meta" and "http-equiv" in a]
    assert policy.startswith("default-src 'none'; script-src 'none'; style-src 'sha256-")
    sources = [a["src"] for tag, a in page.tags if tag == "img"]
    assert len(sources) > 8
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    links = [a["href"] for tag, a in page.tags if tag == "a"]
    assert {link[1:] for link in links} <= {a.get("id") for _, a in page.tags}
    assert not [a for _, a in page.tags if "style" in a or any(name.startswith("on") for name in a)]


def test_a_run_from_its_folder_has_the_same_page(digits, tmp_path):
    run, folder = digits
    opened = st.open_run(folder, pile=run.pile)
    again = opened.report(tmp_path / "again.html")
    assert read(again).text == read(folder / "report.html").text
    # its arrays are gone with the program that made them: what is stored is told, and what to pass
    alone = read(st.open_run(folder).report(tmp_path / "alone.html")).text
    assert "The data of this run are not here" in alone
    assert "selftrain.open_run(folder, pile=...)" in alone
    with pytest.raises(ValueError, match="samples is 0; it must be at least 1"):
        run.report(tmp_path / "none.html", samples=0)
    few = read(run.report(tmp_path / "few.html", samples=50)).text
    assert re.search("on [3-5][0-9] test samples, evenly spaced among 120", few)


def test_a_page_that_fails_costs_nothing_but_the_page(tmp_path, monkeypatch):
    def broken(*values, **settings):
        raise KeyError("no such thing")

    monkeypatch.setattr(report_handler, "write_report", broken)
    strategy = strategies.FixMatch(toy.task("classification"), toy.learner("classification"))
    with pytest.warns(UserWarning, match="report.html was not written .KeyError.*the run is whole"):
        run = st.fit(strategy, toy.pile("classification"), steps=1, out=tmp_path / "a")
    assert not (tmp_path / "a" / "report.html").exists()
    monkeypatch.undo()
    assert run.report() == tmp_path / "a" / "report.html"
    assert "labels alone were not trained beside it" in read(tmp_path / "a" / "report.html").text
    st.fit(strategy, toy.pile("classification"), steps=1, out=tmp_path / "b", handlers=SPEECHLESS)
    assert not (tmp_path / "b" / "report.html").exists()


def test_a_run_without_a_folder_says_how_to_keep_a_log(tmp_path):
    strategy = strategies.FixMatch(toy.task("classification"), toy.learner("classification"))
    run = st.fit(strategy, toy.pile("classification"), steps=1)
    assert "A run without a folder keeps no log: pass out=..." in read(run.report(tmp_path / "page.html")).text
    run = st.fit(strategy, toy.pile("classification"), steps=1, out=tmp_path / "run")
    text = read(tmp_path / "run" / "report.html").text
    assert "keeps no log" not in text
    assert "It cannot be told" in text


@pytest.mark.parametrize("kind", ["segmentation", "keypoints"])
def test_masks_and_joints_have_pages_of_their_own(kind, tmp_path):
    task = toy.task(kind)
    task.radius = 1e-3  # of joints: none is as near, so that there are mistakes to be shown
    strategy = strategies.FixMatch(task, toy.learner(kind), select=st.select.everything())
    st.fit(strategy, toy.pile(kind), steps=2, out=tmp_path / "run", baseline=True)
    source = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    text = Read(source).text
    unit, named = {"segmentation": ("pixels", "2"), "keypoints": ("joints", "joint 1")}[kind]
    # of each class or joint the color that is painted over the pictures
    legend = re.search(r'<ul class="legend">(<li><svg viewBox="0 0 10 10".*?)</ul>', source, re.DOTALL)[1]
    assert re.findall(r'fill="#(\w+)"', legend)[:2] == ["1f78b5", "ff800d"]
    assert f"<bdi>{named}</bdi>" in legend
    assert f"Right {unit}, with 95 % intervals" in text
    assert f"of the {unit} right" in text
    assert f"with the fewest {unit} right" in text
    assert "left the truth, right the prediction" in text
    assert ("What is taken for what" in text) == (kind == "segmentation")
    assert ("joint 1" in text) == (kind == "keypoints")


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_each_class_of_masks_has_its_iou_and_what_is_accepted_of_it(tmp_path):
    draw = np.random.default_rng(0)
    masks = draw.integers(0, 3, (16, 2, 2)).repeat(8, 1).repeat(8, 2).astype(np.uint8)
    masks[3, :4] = 255
    pictures = (masks[..., None] % 3 * 60 + draw.integers(0, 40, (16, 16, 16, 1))).astype(np.uint8)
    hidden = np.concatenate([masks[:5], np.full((11, 16, 16), 255, np.uint8)])
    names = ["sky", "road", "car"]
    pile = data.Pile.from_arrays(pictures, hidden, pictures[:9], masks[:9], classes=names, truth=masks)
    made = strategies.FixMatch(st.Segmentation(3), st.learner(lambda: networks.UNet(3, channels=1)), threshold=0.4)
    run = st.fit(made, pile, steps=12, plan=st.BatchPlan(4, 1), out=tmp_path / "run", baseline=True)
    text = read(run.out / "report.html").text
    found, summary = mask_figures(run.strategy, pile), run.ledger.summary()
    for number, name in enumerate(names):
        share = 100 * float((masks[:9] == number).sum() / (masks[:9] != 255).sum())
        assert re.search(rf"{name} {100 * found.iou[name]:.1f} %.*{share:.1f} %", text)
    assert f"IoU: {100 * np.nanmean([*found.iou.values()]):.1f} % on average over the classes" in text
    taken = run.ledger.units[:, :, 0] * run.ledger.units[:, :, 2]
    share = taken.double().sum(0) / run.ledger.units[:, :, 0].double().sum(0)
    assert all(f" {100 * value:.1f} %" in text for value in share.tolist() if value == value)
    assert f"{100 * summary['pseudo_label_accuracy']:.1f} % of their units right by the truth" in text
    assert f"mean IoU {100 * summary['pseudo_label_mean_iou']:.1f} % (of all" in text


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_each_joint_has_its_pck_and_distance(tmp_path):
    draw = np.random.default_rng(0)
    joints = np.concatenate([draw.uniform(1, 22, (12, 2, 2)), np.ones((12, 2, 1))], 2)
    joints[3, 0] = np.nan
    pictures = draw.integers(0, 255, (12, 16, 24, 3), np.uint8)
    joints[:, :, 1] *= 0.6
    hidden = joints.copy()
    hidden[5:] = np.nan
    pile = data.Pile.from_arrays(pictures, hidden, pictures, joints, classes=["nose", "ear"])
    run = st.fit("fixmatch", pile, steps=2, plan=st.BatchPlan(4, 1), out=tmp_path / "run", baseline=False)
    text = read(run.out / "report.html").text
    (batch,) = pile.evaluation("test", 100, torch.device("cpu"))
    value = run.strategy.predict(batch.x)
    task = run.strategy.task
    place, true = task._place(value), task._place(task.encode(batch.annotation).value)
    cell = 24 / value.shape[-1]
    gap = (place - true).norm(dim=2) * cell / 24
    known = batch.annotation[..., 2] > 0
    for number, name in enumerate(["nose", "ear"]):
        own = gap[:, number][known[:, number]]
        pck, nme = 100 * float((own < 0.05).double().mean()), 100 * float(own.mean())
        assert re.search(rf"{name} {pck:.1f} % .*{nme:.2f} %", text)


def test_pretraining_rows_and_series_have_pages_too(tmp_path):
    from selftrain import pretrain

    encoder = pretrain.ViT(size=12, patch=6, width=16, depth=1)
    stage = st.fit(pretrain.MAE(encoder), toy.pile("classification"), steps=1, out=tmp_path / "mae")
    assert "A stage of pretraining: it knows no classes" in read(stage.out / "report.html").text
    x, y = np.random.default_rng(0).normal(size=(60, 2, 40)).astype(np.float32), np.r_[np.arange(20) % 2, [-1] * 40]
    for kind, rows, wanted in (("series", x, 'class="chart series"'), (None, x[:, 0], "column 3")):
        pile = data.Pile.from_arrays(rows, y, validation=0.5, kind=kind)
        size = rows[0].size
        net = st.learner(lambda size=size: torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(size, 2)))
        strategy = strategies.FixMatch(st.Classification(2), net, select=st.select.everything())
        st.fit(strategy, pile, steps=2, plan=PLAN, out=tmp_path / str(kind))
        assert wanted in (tmp_path / str(kind) / "report.html").read_text(encoding="utf-8")


def test_a_comparison_has_a_page_and_a_strangers_file_is_read_with_care(tmp_path, capsys):
    rows = [
        {"strategy": "supervised", "accuracy": 0.8, "spread": 0.02, "gain": None, "low": None, "high": None,
         "answer": "floor", "over": None},
        {"strategy": "<b>", "accuracy": 0.85, "spread": 0.01, "gain": 0.05, "low": 0.02, "high": 0.08,
         "answer": "pays", "over": "supervised"},
    ]  # fmt: skip
    runs = [{"strategy": "<b>", "draw": 0, "seed": 1, "accuracy": 0.851, "step": 50}]
    result = {"rows": rows, "runs": runs, "floor": "supervised", "part": "test", "samples": 450, "cells": 2,
              "answer": "Self-training pays here.", "cautions": ["few draws"], "settings": {"steps": 500}}  # fmt: skip
    (tmp_path / "compare.json").write_text(json.dumps(result))
    assert cli.main(["report", str(tmp_path)]) == 0
    text = read(tmp_path / "report.html").text
    assert "Self-training pays here." in text
    assert "+5.0 pays +2.0 to +8.0 supervised" in text
    assert "Few draws." in text
    assert "<b>" in text
    (tmp_path / "compare.json").write_text(json.dumps(result | {"rows": [rows[0] | {"accuracy": "<script>"}]}))
    assert cli.main(["report", str(tmp_path)]) == 1
    assert "selftrain compare --resume --out FOLDER" in capsys.readouterr().err


def test_the_command_writes_the_page_of_a_run(tmp_path, capsys):
    pile = data.load("digits", labels=20)
    net = st.learner(lambda: st.Classifier(st.ConvEncoder(size=8, embed_dim=8), classes=10))
    st.fit(strategies.FixMatch(st.Classification(10), net), pile, steps=1, out=tmp_path / "run", handlers=SPEECHLESS)
    assert cli.main(["report", str(tmp_path / "run"), "--samples", "60"]) == 0
    assert f"written    {tmp_path / 'run' / 'report.html'}" in capsys.readouterr().out
    assert re.search("[0-9]+ test samples, evenly spaced among 450", read(tmp_path / "run" / "report.html").text)


def test_intervals_are_exact_for_decisions_and_students_for_shares():
    values = torch.tensor([1.0, 0.0, 1.0, 1.0, 1.0])
    mean, low, high = mean_with_interval(values, single=True)
    exact = stats.binomtest(4, 5).proportion_ci(0.95, "exact")
    assert (mean, low, high) == pytest.approx((0.8, exact.low, exact.high))
    shares = torch.tensor([0.1, 0.5, 0.4])
    wanted = stats.t.interval(0.95, 2, loc=1 / 3, scale=stats.sem(shares.numpy()))
    assert mean_with_interval(shares) == pytest.approx((1 / 3, *wanted), rel=1e-6)


def test_the_surest_mistakes_come_first_and_time_limits_what_is_asked(digits):
    run, _ = digits
    judged = judge(run.strategy, None, run.pile, samples=1000, seconds=None)
    value = torch.cat([value for value, _ in predictions(run.strategy, run.pile, "test")])
    wrong = torch.nonzero(value.argmax(1) != run.pile.test.annotations).squeeze(1)
    order = wrong[value.amax(1)[wrong].argsort(descending=True, stable=True)]
    assert [one.row for one in judged.worst] == order[:12].tolist()
    assert judged.baseline is None
    quick = judge(run.strategy, None, run.pile, samples=1000, seconds=1e-9)
    assert len(quick.share) <= 64


def test_ticks_are_round_and_long_curves_are_means():
    assert charts.ticks(0.13, 0.93) == pytest.approx([0.2, 0.4, 0.6, 0.8])
    assert charts.ticks(0, 200) == [0, 50, 100, 150, 200]
    assert charts.ticks(3, 3) == [3]
    points = [(float(i), float(i % 2)) for i in range(400)]
    thin = charts.thinned(points)
    assert len(thin) == 134
    assert thin[0] == (1.0, pytest.approx(1 / 3))
    assert str(charts.tag("text", "<b>", class_="a")) == '<text class="a">&lt;b&gt;</text>'


def test_ticks_are_told_apart_and_have_room():
    rows = [charts.Estimate("all right", 1.0, 1.0, 1.0)]
    drawn = str(charts.whiskers("right", rows))
    told = re.findall(r'x="([\d.]+)" y="[\d.]+" class="middle">([^<]+)<', drawn)
    assert len({text for _, text in told}) == len(told) > 1
    assert all(20 <= float(x) <= charts.WIDTH - 20 for x, _ in told)
