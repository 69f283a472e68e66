"""What TensorBoard shows of a run: the right content, the same training, one value a step."""

import contextlib
import json

import numpy as np
import pytest
import torch
from helpers import MemoryPile, convnet, mlp, pictures, same, sgd_learner
from PIL import Image
from plain_events import PlainEvents as EventAccumulator
from plain_events import plain
from sklearn.metrics import confusion_matrix, recall_score
from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator as Reader
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig
from tensorboard.util.tensor_util import make_ndarray
from torch import nn

import selftrain as st
from selftrain import data, strategies, toy
from selftrain.handlers import MetricsLog
from selftrain.metrics.calibration_error import expected_calibration_error
from selftrain.mix import Mixup
from selftrain.tensorboard import Dashboard, figures
from selftrain.tensorboard.class_names import group_names, shown_groups, worst_groups
from selftrain.tensorboard.held_out import HeldOut, held_out, part_of, spaced
from selftrain.tensorboard.hparams import settings_of_run
from selftrain.tensorboard.mixes import Mixed
from selftrain.tensorboard.speed import Stopwatch
from selftrain.types import Annotated, BatchPlan, Target

CPU, PLAN = torch.device("cpu"), BatchPlan(labeled=4, unlabeled_ratio=2.0)
OFTEN, ONCE = Dashboard(every=1), Dashboard(every=40)  # at each evaluation, and at the end of a run of 4 steps


def fixmatch(model=mlp, **settings):
    return strategies.FixMatch(
        st.Classification(3), lambda: sgd_learner(model()), decay=0.9, select=st.select.above(0.5), **settings
    )


def fit(out, strategy=None, pile=None, dashboard=ONCE, **settings):
    given = {"plan": PLAN, "steps": 4, "eval_every": 2} | settings
    return st.fit(strategy or fixmatch(), pile or MemoryPile(), out=out, dashboard=dashboard, **given)


def events(folder):
    sizes = {"images": 0, "scalars": 0, "tensors": 0, "histograms": 0}
    return EventAccumulator(str(folder), size_guidance=sizes).Reload()


def tags(folder):
    """Names of everything in the log, by kind."""
    found = events(folder).Tags()
    return {kind: set(found[kind]) for kind in ("images", "histograms", "scalars", "tensors")}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """A run of a table's rows with everything that is drawn of it."""
    folder = tmp_path_factory.mktemp("drawn")
    return fit(folder, monitor={"test": "test"})


# -- content -----------------------------------------------------------------------------------------------------------
def answers(run):
    """Validation truth and what the run's strategy says of it."""
    x, y = run.pile.parts["validation"]
    with run.strategy.evaluating():
        return y, run.strategy.predict(x)


def test_counts_are_those_of_scikit_learn(drawn):
    truth, value = answers(drawn)
    asked = held_out(drawn.strategy, drawn.strategy.task, part_of(drawn.pile, "validation", CPU, 2000))
    assert asked.confusion(range(3), 3).tolist() == confusion_matrix(truth, value.argmax(1), labels=range(3)).tolist()
    assert asked.accuracy(3).tolist() == pytest.approx(recall_score(truth, value.argmax(1), average=None).tolist())
    assert torch.equal(asked.confidence, value.amax(1))
    assert torch.equal(asked.scores, value)
    assert torch.equal(asked.right, value.argmax(1) == truth)


def test_accuracy_of_a_class_is_its_recall(drawn):
    truth, value = answers(drawn)
    recall = recall_score(truth, value.argmax(1), average=None)
    reader = events(drawn.out)
    logged = [reader.Scalars(f"classes/accuracy/{name}")[-1] for name in drawn.pile.classes]
    assert [e.step for e in logged] == [4, 4, 4]
    assert [e.value for e in logged] == pytest.approx(recall.tolist())
    assert reader.Scalars("classes/lowest_accuracy")[-1].value == pytest.approx(recall.min())


def test_shares_of_a_class_are_the_ledgers(drawn):
    reader = events(drawn.out)
    for row in drawn.ledger.per_class():
        if row.count:
            assert reader.Scalars(f"classes/accepted/{row.name}")[-1].value == pytest.approx(row.accepted / row.count)
        if row.precision is not None:
            assert reader.Scalars(f"classes/precision/{row.name}")[-1].value == pytest.approx(row.precision)


def test_the_lead_of_the_teacher_is_the_difference(drawn):
    figures = drawn.last["validation"]
    lead = events(drawn.out).Scalars("teacher/lead")[-1].value
    assert lead == pytest.approx(figures["accuracy/teacher"] - figures["accuracy/student"])


def test_bins_of_confidence_are_those_of_the_calibration_error():
    generator = torch.Generator().manual_seed(0)
    confidence = torch.rand(500, generator=generator)
    right = torch.rand(500, generator=generator) < confidence**2
    count, accuracy = figures.reliability_bins(confidence, right)
    sure = torch.stack([confidence[(confidence * 15).long() == i].double().mean() for i in range(15)])
    gap = float(((accuracy - sure).abs() * count / 500).sum())
    assert gap == pytest.approx(expected_calibration_error(confidence, right, bins=15))


def test_curves_rest_on_the_same_decisions(drawn):
    truth, value = answers(drawn)
    reader = events(drawn.out)
    for tag, right in [
        ("pr/right", value.argmax(1) == truth),
        *((f"pr/{n}", truth == i) for i, n in enumerate(drawn.pile.classes)),
    ]:
        true, false, _, missed, *_ = make_ndarray(reader.Tensors(tag)[-1].tensor_proto)[:, 0]  # threshold 0: everything
        assert (true, false, missed) == (right.sum(), (~right).sum(), 0)


def test_histograms_hold_the_confidence_of_the_ledger(drawn):
    reader = events(drawn.out)
    seen = drawn.ledger.seen > 0
    assert reader.Histograms("confidence/all")[-1].histogram_value.num == seen.sum()
    for i, name in enumerate(drawn.pile.classes):
        rows = seen & (drawn.ledger.label == i)
        if rows.any():
            found = reader.Histograms(f"confidence/{name}")[-1].histogram_value
            assert (found.num, found.sum) == (rows.sum(), pytest.approx(float(drawn.ledger.confidence[rows].sum())))


def test_points_of_the_projector_are_features_with_labels(drawn):
    truth, value = answers(drawn)
    rows = [line.split("\t") for line in (drawn.out / "projector/metadata.tsv").read_text().splitlines()]
    assert rows[0] == ["true", "part", "decided", "right", "confidence"]
    held = [row for row in rows[1:] if row[1] == "validation"]
    assert [row[0] for row in held] == [drawn.pile.classes[i] for i in truth]
    assert [row[2] for row in held] == [drawn.pile.classes[i] for i in value.argmax(1)]
    assert [row[3] for row in held] == [str(bool(same)) for same in value.argmax(1) == truth]
    points = np.loadtxt(drawn.out / "projector/tensors.tsv", delimiter="\t")
    network = drawn.strategy.shipped
    with torch.no_grad():
        hidden = network[1](network[0](drawn.pile.parts["validation"][0]))  # what enters the last layer
    assert points.shape == (len(rows) - 1, 8)
    assert points[: len(held)] == pytest.approx(hidden.numpy(), abs=1e-4)


def test_thumbnails_stand_where_the_projector_looks_for_them(tmp_path):
    from google.protobuf import text_format

    run = fit(tmp_path, fixmatch(convnet), MemoryPile(pictures))
    config = text_format.Parse((tmp_path / "projector_config.pbtxt").read_text(), ProjectorConfig())
    (embedding,) = config.embeddings
    assert embedding.tensor_name == "features at step 4"
    sheet = np.asarray(Image.open(tmp_path / embedding.sprite.image_path))
    wide, high = embedding.sprite.single_image_dim
    assert (wide, high) == (56, 56)
    assert sheet.shape[0] // high == sheet.shape[1] // wide == 9  # 30 held-out samples and 40 unlabeled ones
    ninth = sheet[high : 2 * high, :wide, 0]  # the tenth sample begins the second row
    x = run.pile.parts["validation"][0][9, 0]
    x = (x - x.min()) / (x.max() - x.min())
    assert np.abs(ninth[::7, ::7] / 255 - x.numpy()).max() < 0.01


def test_mixed_batches_are_what_the_student_learned(tmp_path):
    kept = []

    class Noting(Mixup):
        def forward(self, x, target, task):
            kept.append(super().forward(x, target, task))
            return kept[-1]

    run = fit(tmp_path, fixmatch(convnet, mix=Noting()), MemoryPile(pictures), dashboard=True)
    assert [e.step for e in events(tmp_path).Images("mixed")] == [2, 4]
    watched, target = Mixed(), Target(torch.eye(3)[[0, 1, 2, 0]], torch.ones(4))
    with watched.watching(run.strategy):
        run.strategy.pseudo_labeling.mix(torch.rand(4, 2, 8, 8), target, run.strategy.task)
    assert watched.x is not None
    assert torch.equal(watched.x, kept[-1][0])
    texts = watched.captions(run.strategy.task, ["a", "b", "c"], 4)
    shares = kept[-1][1].value.topk(2, 1)
    first = f"{'abc'[shares.indices[0, 0]]} {100 * shares.values[0, 0]:.0f}%"
    assert texts[0].startswith(first)
    assert not any(m._forward_hooks for m in run.strategy.modules())


# -- other kinds of outputs --------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", toy.KINDS)
def test_every_kind_of_output_is_shown(tmp_path, kind):
    strategy = strategies.FixMatch(toy.task(kind), toy.learner(kind), decay=0.9, select=st.select.everything())
    run = fit(tmp_path, strategy, toy.pile(kind))
    found = tags(tmp_path)
    names = {"keypoints": ["joint 0", "joint 1"]}.get(kind, list(run.pile.classes))
    assert {f"classes/accuracy/{name}" for name in names} <= found["scalars"]
    assert "pr/right" in found["tensors"]
    assert {"pseudo_labels", "figures/reliability", "figures/classes"} <= found["images"]
    assert ("figures/confusion" in found["images"]) == (kind != "keypoints")
    assert (tmp_path / "projector/tensors.tsv").is_file()


def test_accuracy_of_a_joint_is_its_share_of_near_peaks(tmp_path):
    strategy = strategies.FixMatch(toy.task("keypoints"), toy.learner("keypoints"), decay=0.9)
    pile = toy.pile("keypoints")
    task, batches = strategy.task, list(part_of(pile, "validation", CPU, 100))
    asked = held_out(strategy, task, batches)
    tally = sum(
        torch.stack([task.update(strategy.predict(b.x)[:, [j]], joint(task.encode(b.annotation), j)) for j in (0, 1)])
        for b in batches
    )
    assert asked.accuracy(2).tolist() == pytest.approx((tally[:, 1] / tally[:, 0]).tolist())
    assert asked.scores is None


def joint(target, number):
    valid = None if target.valid is None else target.valid[:, [number]]
    return Target(target.value[:, [number]], target.weight[:, [number]], valid)


def test_pretraining_shows_features_alone(tmp_path):
    from selftrain import data, pretrain

    pile = data.load("digits", labels=20, seed=0)
    stage = pretrain.MAE(pretrain.ViT(size=8, patch=2, width=8, depth=1))
    st.fit(stage, pile, out=tmp_path, steps=2, eval_every=2, dashboard=Dashboard(every=20, points=60))
    found = tags(tmp_path)
    assert found["images"] == {"reconstruction"}
    assert not any(name.startswith(("classes/", "teacher/")) for name in found["scalars"])
    lines = (tmp_path / "projector/metadata.tsv").read_text().splitlines()
    assert lines[0] == "true\tpart"
    assert 20 <= len(lines) - 1 <= 60


# -- nothing of it changes the training --------------------------------------------------------------------------------
@pytest.mark.one_in(2)
@pytest.mark.parametrize("mix", [None, Mixup()])
def test_training_is_the_same_with_and_without(tmp_path, mix):
    runs = [
        fit(tmp_path / str(number), fixmatch(convnet, mix=mix), MemoryPile(pictures), dashboard=dashboard)
        for number, dashboard in enumerate((True, ONCE, False))
    ]
    first, *others = runs
    for other in others:
        assert same(first.strategy.state_dict(), other.strategy.state_dict())
        assert same(first.ledger.state_dict(), other.ledger.state_dict())
        assert (first.last, first.train) == (other.last, other.train)


def test_a_resumed_run_has_one_value_a_step(tmp_path):
    fit(tmp_path / "whole", steps=6)
    fit(tmp_path / "parts", steps=6, stop_after=3)
    fit(tmp_path / "parts", steps=6, resume=True)
    whole, parts = (Reader(str(tmp_path / name)).Reload() for name in ("whole", "parts"))
    names = whole.Tags()["tensors"]
    assert set(parts.Tags()["tensors"]) == set(names)
    for name in names:
        steps = [event.step for event in parts.Tensors(name)]
        assert steps == [event.step for event in whole.Tensors(name)] == sorted(set(steps)), name
    for name in ("tensors.tsv", "metadata.tsv"):
        assert (tmp_path / "whole/projector" / name).read_bytes() == (tmp_path / "parts/projector" / name).read_bytes()


def test_a_run_that_is_replaced_leaves_no_points(tmp_path):
    fit(tmp_path)
    (tmp_path / "projector" / "mine.txt").touch()
    fit(tmp_path, dashboard=False, overwrite=True)
    assert not (tmp_path / "projector_config.pbtxt").exists()
    assert [path.name for path in (tmp_path / "projector").iterdir()] == ["mine.txt"]


# -- how much of it ----------------------------------------------------------------------------------------------------
def test_without_a_dashboard_there_are_scalars_and_texts(tmp_path):
    fit(tmp_path, dashboard=False)
    found = tags(tmp_path)
    assert found["images"] == found["histograms"] == set()
    assert not any(name.startswith(("classes/", "teacher/", "pr/")) for name in found["scalars"] | found["tensors"])
    assert "speed/steps_per_second" in found["scalars"]
    assert not (tmp_path / "projector").exists()


@pytest.mark.parametrize(
    ("every", "steps", "expected"), [(1, 8, [2, 4, 6, 8]), (4, 8, [4, 8]), (80, 8, [8]), (81, 8, []), (3, 7, [4, 6, 7])]
)
def test_figures_are_due_now_and_then_and_at_the_end(every, steps, expected):
    befores = {step: step - 2 if step % 2 == 0 else step for step in (2, 4, 6, steps)}
    assert [step for step, before in befores.items() if Dashboard(every=every).due(step, before, steps)] == expected


def test_figures_are_drawn_when_they_are_due(tmp_path):
    fit(tmp_path, steps=7, dashboard=Dashboard(every=4))
    reader = events(tmp_path)
    assert [event.step for event in reader.Images("figures/reliability")] == [4, 7]
    assert [event.step for event in reader.Tensors("pr/right")] == [4, 7]
    assert [event.step for event in reader.Histograms("confidence/all")] == [2, 4, 6, 7]


def test_parts_can_be_left_out(tmp_path):
    fit(tmp_path, dashboard=Dashboard(every=20, pictures=0, points=0))
    assert tags(tmp_path)["images"] == {"figures/confusion", "figures/reliability", "figures/classes"}
    assert not (tmp_path / "projector").exists()


@pytest.mark.parametrize(
    ("name", "value"), [("every", 0), ("samples", 0), ("classes", 0), ("pictures", -1), ("points", -1)]
)
def test_a_number_out_of_range_is_refused(name, value):
    with pytest.raises(ValueError, match=f"{name} is {value}; it must be"):
        Dashboard(**{name: value})


def test_without_a_folder_nothing_is_asked(monkeypatch):
    monkeypatch.setattr("selftrain.tensorboard.handler.Mixed.watching", None)
    monkeypatch.setattr("selftrain.tensorboard.handler.held_out", None)
    fit(None)


def test_held_out_samples_are_evenly_spaced():
    rows = torch.arange(25)
    batches = [Annotated(r[:, None].float(), r, r) for r in rows.split(4)]
    assert torch.cat([batch.index for batch in spaced(batches, 3)]).tolist() == list(range(0, 25, 3))
    assert sum(len(b.index) for b in part_of(MemoryPile(validation=300), "validation", CPU, 100)) == 100


# -- many classes ------------------------------------------------------------------------------------------------------
def test_of_many_classes_some_are_shown_and_said(tmp_path):
    class Wide(MemoryPile):
        classes = tuple(f"kind {i}" for i in range(30))

    wide = strategies.FixMatch(st.Classification(30), lambda: sgd_learner(nn.Linear(3, 30)), decay=0.9)
    fit(tmp_path, wide, Wide(), dashboard=Dashboard(every=20, classes=4))
    reader = events(tmp_path)
    text = reader.Tensors("classes/shown/text_summary")[0].tensor_proto.string_val[0].decode()
    assert text == "4 of 30 classes are shown one by one: kind 0, kind 10, kind 19, kind 29"
    shown = {name for name in reader.Tags()["scalars"] if name.startswith("classes/accuracy/")}
    assert shown <= {f"classes/accuracy/kind {i}" for i in (0, 10, 19, 29)}


def test_classes_that_are_not_shown_are_added_up():
    counts = torch.tensor([[5, 1, 0, 0], [0, 4, 2, 0], [0, 0, 6, 1], [3, 0, 0, 7]])
    truth, said = (torch.arange(16).repeat_interleave(counts.flatten()) // n % 4 for n in (4, 1))
    asked = HeldOut(torch.ones(29), truth == said, truth, said, None)
    assert asked.confusion([1, 3], 4).tolist() == [[4, 0, 2], [0, 7, 3], [1, 1, 11]]
    assert asked.confusion([0, 1, 2, 3], 4).tolist() == counts.tolist()
    assert [asked.decisions(group, 4).tolist() for group in range(4)] == counts.tolist()


def test_the_worst_classes_are_those_with_the_lowest_accuracy():
    accuracy = torch.tensor([0.5, float("nan"), 0.1, 0.9, 0.1])
    assert worst_groups(accuracy, 3) == [0, 2, 4]
    assert shown_groups(5, 5) == [0, 1, 2, 3, 4]
    assert shown_groups(101, 3) == [0, 50, 100]


def test_names_are_safe_and_differ():
    given = ["cat/dog", "", "a\nb", "same", "same", "x" * 60, "\udcff", "all"]
    names = group_names(given, 8)
    assert names == ["cat_dog", "1", "a_b", "3 same", "4 same", "x" * 40, "_", "7 all"]
    assert group_names([], 2) == ["joint 0", "joint 1"]


def test_hostile_names_are_drawn_as_text(tmp_path):
    class Hostile(MemoryPile):
        classes = ("$a_{", "\u4e2d/\udcff", "<script>alert(1)</script>\t\n")

    fit(tmp_path, pile=Hostile())
    assert "figures/confusion" in tags(tmp_path)["images"]
    lines = (tmp_path / "projector/metadata.tsv").read_text().splitlines()
    assert {line.count("\t") for line in lines} == {4}


# -- settings and speed ------------------------------------------------------------------------------------------------
def test_settings_are_those_of_the_method_and_not_of_the_networks(drawn):

    found = settings_of_run(json.loads((drawn.out / "run.json").read_text()))
    assert found["strategy"] == "FixMatch"
    assert (found["steps"], found["labeled"], found["unlabeled_ratio"], found["learning_rate"]) == (4, 4, 2.0, 0.1)
    assert found["with.select.threshold"] == 0.5
    assert found["with.hard"] == "True"
    assert not any(".model." in name or name.endswith("channels_last") for name in found)


def test_a_stopwatch_tells_where_the_time_went(monkeypatch):
    now = iter([0.0, 1.0, 4.0, 6.0, 7.0, 9.0, 11.0])
    monkeypatch.setattr("selftrain.tensorboard.speed.time.perf_counter", lambda: next(now))
    watch = Stopwatch(CPU)
    for _ in range(2):
        watch.lap("waiting")
        watch.step(12, settle=True)
        watch.lap("evaluating")
    assert watch.row() == {
        "speed/steps_per_second": pytest.approx(2 / 7),
        "speed/samples_per_second": pytest.approx(24 / 7),
        "speed/waiting": pytest.approx(2 / 11),
        "speed/evaluating": pytest.approx(4 / 11),
    }
    assert watch.row() == {}


def test_the_supervised_control_has_a_row_beside_its_run(tmp_path):
    fit(tmp_path, baseline=True)
    assert tags(tmp_path / "baseline")["scalars"] >= {"validation/accuracy", "train/loss/supervised"}
    for folder in (tmp_path, tmp_path / "baseline"):
        content = events(folder).PluginTagToContent("hparams")["_hparams_/experiment"]
        shown = HParamsPluginData.FromString(content).experiment.metric_infos[0].name.tag
        assert shown == "1_learning/validation/accuracy"


def test_every_run_has_a_figure_to_be_compared_by_and_its_settings_once(tmp_path):
    x = torch.rand(20, 5)
    pile = data.Pile(data.ArraySet(x[:8], torch.arange(8) % 3), data.ArraySet(x[8:]))
    parts = {"steps": 4, "plan": PLAN, "handlers": [MetricsLog(2)], "out": tmp_path}
    net = st.learner(lambda: nn.Linear(5, 3))
    st.fit(strategies.FixMatch(st.Classification(3), net), pile, **parts, checkpoints=st.Checkpoints(1, stop_after=3))
    st.fit(strategies.FixMatch(st.Classification(3), net), pile, **parts, resume=True)
    told = []
    for path in sorted(tmp_path.glob("events*")):
        with contextlib.suppress(KeyError):  # the file of the resumed run has none
            content = events(path).PluginTagToContent("hparams")["_hparams_/experiment"]
            told.append(HParamsPluginData.FromString(content))
    assert len(told) == 1
    tags_of = {plain(metric.name.tag) for metric in told[0].experiment.metric_infos}
    assert {"train/loss/supervised", "train/loss/unsupervised"} <= tags_of
    assert {"train/loss/supervised"} <= tags(tmp_path)["scalars"]
