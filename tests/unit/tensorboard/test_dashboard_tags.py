"""docs/dashboard.md, the list of tags, and what runs write are the same."""

import re

import numpy as np
import pytest
from helpers import MemoryPile, convnet, mlp, pictures, sgd_learner
from paths import ROOT
from plain_events import plain
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar.layout_pb2 import Layout
from test_selfcheck import Detached
from test_selfcheck import fit as fit_watched

import selftrain as st
from selftrain import data, pretrain, strategies
from selftrain.handlers import DataSummary, Progress
from selftrain.mix import Mixup
from selftrain.tensorboard import Dashboard
from selftrain.tensorboard.tags import ALONE, LEARNING, MEAN_IOU, QUESTIONS, TAGS, layout, placed
from selftrain.types import BatchPlan

PAGE = (ROOT / "docs" / "dashboard.md").read_text(encoding="utf-8")
PLUGINS = {"text": "texts", "pr_curves": "curves"}
NO_TAGS = ("custom_scalars__config__", "_hparams_/")  # what pages are made of
COMPARED = ("validation/accuracy", "baseline/validation/accuracy", "validation/accuracy/teacher")
PLAN, ONCE = BatchPlan(labeled=8, unlabeled_ratio=2.0), Dashboard(every=10, classes=2)


def documented():
    """Tags of the page's tables, by the heading they stand below."""
    sections = re.split(r"^## (.+)$", PAGE, flags=re.MULTILINE)
    pairs = zip(sections[1::2], sections[2::2], strict=True)
    return {heading: re.findall(r"^\| `([^`]+)` \|", text, re.MULTILINE) for heading, text in pairs}


def test_every_tag_is_explained_below_its_question():
    found = {heading: names for heading, names in documented().items() if names}
    assert list(found) == list(QUESTIONS)
    for question, names in found.items():
        assert sorted(names) == sorted(tag.name for tag in TAGS if tag.question == question)


def test_every_row_says_what_a_tag_means():
    rows = re.findall(r"^\| `[^`]+` \|(.+)\|$", PAGE, re.MULTILINE)
    assert len(rows) == len(TAGS)
    assert all(len(row.split("|")) == 3 and row.split("|")[0].strip() for row in rows)


def test_every_scalar_has_a_chart_and_labels_alone_stand_beside_the_run():
    charts = layout(QUESTIONS, "accuracy")
    drawn = sum(len(tags) for rows in charts.values() for tags in rows.values())
    # the networks of the control are too many, and the figure of held-out samples is in two charts
    assert drawn == len([tag for tag in TAGS if tag.kind == "scalars"])
    assert list(charts) == list(QUESTIONS)
    (pattern,) = charts[LEARNING]["held-out samples"]
    (both,) = charts[ALONE].values()
    assert re.match(pattern, placed("validation/accuracy"))
    assert [any(re.match(one, placed(name)) for one in both) for name in COMPARED] == [True, True, False]
    for other in ("validation/accuracy/teacher", "validation/mean_iou", "classes/accuracy", "baseline/test/accuracy"):
        assert not re.match(pattern, placed(other))
    assert "held-out samples" not in layout(QUESTIONS, "")[LEARNING]  # it would be the first, and empty


def waiting(out, pile, strategy="fixmatch", **settings):
    """Charts of a short run's page that no value came to."""
    quiet = [DataSummary(False), Progress(False)]
    st.fit(strategy, pile, steps=3, out=out, device="cpu", dashboard=Dashboard(), handlers=quiet, **settings)
    logs = [EventAccumulator(str(folder)).Reload() for folder in (out, out / "baseline") if folder.is_dir()]
    names = [tag for log in logs for tag in log.Tags()["scalars"]]
    (page,) = logs[0].Tensors("custom_scalars__config__")
    charts = [chart for group in Layout.FromString(page.tensor_proto.string_val[0]).category for chart in group.chart]
    assert all(group.chart for group in Layout.FromString(page.tensor_proto.string_val[0]).category)
    return {c.title for c in charts if not any(re.match(p, name) for p in c.multiline.tag for name in names)}


def test_no_chart_waits_for_what_is_not_held_out(tmp_path):
    later = {"effective classes", "precision of the accepted"}  # three steps accept nothing
    digits = data.load("digits", labels=20, seed=0)
    labels, others = digits.labeled, digits.unlabeled
    x = np.concatenate([part.images(np.arange(20)) for part in (labels, others)])
    y = np.concatenate([labels.annotations.numpy(), np.full(20, -1)])
    assert waiting(tmp_path / "nothing", data.Pile.from_arrays(x, y), baseline=True) <= later
    # with held-out labels, a truth and two networks these charts are there, and each has its value
    held = data.load("digits", labels=40, validation=20, seed=0)
    assert waiting(tmp_path / "held", held, baseline=True) <= later


def test_no_chart_of_the_labels_alone_waits_for_the_pile(tmp_path):
    held = data.load("digits", labels=40, validation=20, seed=0)
    assert waiting(tmp_path, held, "supervised") == set()


def test_groups_of_tags_come_in_the_order_of_the_questions():
    logged = ["speed/waiting", "baseline/validation/accuracy", "train/grad_norm", "teacher/lead", "train/loss/mae",
              "classes/accuracy/my own class", "ledger/accepted", "validation/rankme"]  # fmt: skip
    groups = [name.split("/")[0] for name in sorted(map(placed, logged))]
    assert groups == ["1_learning", "2_labels_alone", "3_pile", "4_classes", "5_wrong", "6_teacher", "7_features",
                      "8_speed"]  # fmt: skip
    assert placed("alarm/collapse", "texts") == "5_wrong/alarm/collapse"
    assert placed("mine/of/another/handler") == "mine/of/another/handler"


def written(folder):
    """(kind, tag) of everything in a log."""
    reader = EventAccumulator(str(folder)).Reload()
    found = reader.Tags()
    rows = {(kind, tag) for kind in ("scalars", "images", "histograms") for tag in found[kind]}
    tensors = [tag for tag in found["tensors"] if not tag.startswith(NO_TAGS)]
    kinds = {tag: PLUGINS[reader.SummaryMetadata(tag).plugin_data.plugin_name] for tag in tensors}
    found = rows | {(kind, tag.removesuffix("/text_summary")) for tag, kind in kinds.items()}
    assert all(placed(plain(tag), kind) == tag for kind, tag in found)
    return {(kind, plain(tag)) for kind, tag in found}


def runs(folder):
    """Folders of short runs that together write everything there is."""
    task = st.Classification(3)
    settings = {"plan": PLAN, "steps": 6, "eval_every": 6, "dashboard": ONCE}
    rich = strategies.FixMatch(
        task, lambda: sgd_learner(convnet()), decay=0.9, select=st.select.above(0.4), mix=Mixup()
    )
    st.fit(rich, MemoryPile(pictures), out=folder / "rich", baseline=True, monitor={"test": "test"}, **settings)
    for name, method in {
        "ensemble": strategies.Ensemble(task, lambda: sgd_learner(mlp())),
        "bank": strategies.SoftLabels(
            task, lambda: sgd_learner(mlp()), unlabeled=40, label_shape=(3,), min_labeled=8, label_view="strong"
        ),
    }.items():
        st.fit(method, MemoryPile(validation=0), out=folder / name, baseline=True, **settings)
    few = data.load("digits", labels=10, seed=0)  # one of each class: which cannot be held out
    st.fit("fixmatch", few, out=folder / "few", baseline=True, **settings)
    fit_watched(Detached(), out=folder / "alarmed", eval_every=10)
    pile = data.load("digits", labels=40, validation=20, seed=0)
    for name in ("MAE", "IJEPA", "LeJEPA"):
        stage = getattr(pretrain, name)(pretrain.ViT(size=8, patch=2, width=8, depth=1))
        st.fit(stage, pile, out=folder / name, **settings)
    return [path.parent for path in folder.rglob("run.json")]


@pytest.mark.slow
def test_what_runs_write_is_what_is_listed(tmp_path):
    found = set().union(*map(written, runs(tmp_path)))
    for kind, name in sorted(found):
        matching = [tag.name for tag in TAGS if tag.kind == kind and re.match(tag.pattern(), name)]
        assert len(matching) == 1, (kind, name, matching)
    never = [tag.name for tag in TAGS if not any(tag.kind == k and re.match(tag.pattern(), n) for k, n in found)]
    masks = [*MEAN_IOU, "classes/iou/CLASS", "held_out"]  # of masks alone: see test_compared.py, test_unit_truth.py
    assert never == masks
