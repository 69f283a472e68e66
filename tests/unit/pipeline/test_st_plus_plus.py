"""ST++: how stable a picture is, which half of the pile is reliable, what each stage learns, and resume."""

import json
import shutil
from functools import partial
from statistics import median

import numpy as np
import pytest
import torch
from torch import nn

import selftrain as st
from selftrain import toy
from selftrain.errors import DataError, RunFolderError
from selftrain.handlers.snapshots import Snapshots, evenly_spaced, read
from selftrain.labels.stability import stability
from selftrain.labels.table import PseudoLabelTable
from selftrain.pipeline import Labeling, ReliableLabeling, Stage, reliable, run_pipeline, st_plus_plus
from selftrain.pipeline.reliable import most_stable
from selftrain.strategies import CurriculumLabeling, Supervised
from selftrain.types import BatchPlan

PLAN, STEPS = BatchPlan(labeled=4, unlabeled_ratio=2.0, seed=3), {"supervised": 9, "reliable": 3, "all": 3}


def make(kind):
    return lambda init_from=None: toy.learner(kind)


def pipe(kind="segmentation", **settings):
    options = {"options": {"checkpoints": st.Checkpoints(2)}, "steps": STEPS}
    return st_plus_plus(toy.task(kind), make(kind), **(options | settings))


# -- the score ---------------------------------------------------------------------------------------------------------
def answers(kind, snapshots):
    """What each snapshot says of the unlabeled pictures, by its own copy of the network."""
    pile, said = toy.pile(kind), []
    for weights in snapshots:
        network = toy.network(kind)
        network.load_state_dict(weights)
        with torch.no_grad():
            said.append(network.eval()(pile.x[pile.parts["unlabeled"]]).numpy())
    return said


def drawn(kind, count=4):
    torch.manual_seed(5)
    return toy.network(kind), [toy.network(kind).state_dict() for _ in range(count)]


def mean_iou(one, other, classes=3):
    """Mean over the classes that either mask shows, pixel by pixel."""
    found = []
    for c in range(classes):
        both, either = np.sum((one == c) & (other == c)), np.sum((one == c) | (other == c))
        found += [both / either] if either else []
    return np.mean(found)


def test_a_picture_is_as_stable_as_its_masks_overlap_with_the_last_one():
    network, snapshots = drawn("segmentation")
    masks = [said.argmax(1) for said in answers("segmentation", snapshots)]
    masks[0][0] = masks[-1][0]
    expected = [np.mean([mean_iou(m[i], masks[-1][i]) for m in masks[:-1]]) for i in range(24)]
    found = stability(toy.task("segmentation"), network, snapshots, toy.pile("segmentation"), batch_size=7)
    assert found.dtype == torch.double
    assert np.allclose(found[1:], expected[1:], atol=1e-9)
    assert len(set(np.round(expected, 6))) > 12
    alike = stability(toy.task("segmentation"), network, [snapshots[0]] * 3, toy.pile("segmentation"))
    assert torch.equal(alike, torch.ones(24, dtype=torch.double))


def test_a_sample_is_as_stable_as_its_classes_agree():
    network, snapshots = drawn("classification")
    classes = [said.argmax(1) for said in answers("classification", snapshots)]
    expected = np.mean([c == classes[-1] for c in classes[:-1]], 0)
    found = stability(toy.task("classification"), network, snapshots, toy.pile("classification"))
    assert np.allclose(found, expected)
    assert 0 < expected.mean() < 1


class Pointing(nn.Module):
    """Sees each joint where its weights say, whatever the picture."""

    def __init__(self):
        super().__init__()
        self.place = nn.Parameter(torch.zeros(2, 2))

    def forward(self, x):
        rows = torch.arange(12.0)
        gap = (rows - self.place[:, :1]).square()[:, None, :] + (rows - self.place[:, 1:]).square()[:, :, None]
        return (-gap / 2).expand(len(x), 2, 12, 12)


def test_joints_are_as_stable_as_they_stay_within_the_radius():
    places = [[[4.0, 4.0], [6.0, 6.0]], [[2.0, 4.0], [9.0, 6.0]], [[3.0, 4.0], [8.0, 6.0]]]
    snapshots = [{"place": torch.tensor(place)} for place in places]  # off by 1 and 2 cells, then by 1 and 1
    found = stability(toy.task("keypoints"), Pointing(), snapshots, toy.pile("keypoints"))
    assert torch.equal(found, torch.ones(24, dtype=torch.double))
    snapshots[0] = {"place": torch.tensor([[7.0, 4.0], [8.0, 6.0]])}  # the first joint is 4 cells off
    assert torch.allclose(stability(toy.task("keypoints"), Pointing(), snapshots, toy.pile("keypoints")),
                          torch.full((24,), 0.75, dtype=torch.double))  # fmt: skip


def test_the_network_stays_as_it_is():
    network, snapshots = drawn("segmentation")
    network.train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    stability(toy.task("segmentation"), network, snapshots, toy.pile("segmentation"))
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_the_most_stable_come_first_then_the_sure_then_the_early():
    score = torch.tensor([0.5, 1.0, 0.5, 0.5, 0.0, 1.0], dtype=torch.double)
    sure = torch.tensor([[0.25, 0.25], [0.0, 0.25], [0.75, 0.25], [0.25, 0.75], [1.0, 1.0], [0.0, 0.5]])
    shares = {0.05: [5], 0.34: [1, 5], 0.5: [1, 2, 5], 0.67: [1, 2, 3, 5], 0.84: [0, 1, 2, 3, 5], 1.0: [*range(6)]}
    for share, rows in shares.items():
        assert most_stable(score, sure, share).nonzero().flatten().tolist() == rows


# -- moments -----------------------------------------------------------------------------------------------------------
def test_moments_are_evenly_spaced():
    assert evenly_spaced(9, 3) == {3, 6, 9}
    assert evenly_spaced(10, 3) == {3, 6, 10}
    assert evenly_spaced(2, 4) == {1, 2}
    assert evenly_spaced(5, 0) == set()
    assert Snapshots(3).settings() == {"snapshots": 3}
    assert Snapshots(3, spacing="even").settings() == {"snapshots": 3, "snapshots_spacing": "even"}


# -- the pipeline ------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return run_pipeline(pipe(), toy.pile("segmentation"), tmp_path_factory.mktemp("whole") / "run", plan=PLAN)


def timeless(rows):
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def assert_alike(one, two):
    assert timeless(one.rows) == timeless(two.rows)
    assert {n: t.digest for n, t in one.past.labels.items()} == {n: t.digest for n, t in two.past.labels.items()}
    for mine, theirs in zip(one.run.strategy.parameters(), two.run.strategy.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_reliable_pictures_keep_the_labels_of_the_first_network_others_get_those_of_the_second(whole):
    first, last = whole.past.labels["label-reliable"], whole.past.labels["label-all"]
    score = torch.tensor(json.loads((whole.out / "02-label-reliable" / "stability.json").read_text())["stability"])
    kept = first.weight.flatten(1).any(1)
    assert int(kept.sum()) == 12
    assert score[kept].min() >= score[~kept].max()
    rows = toy.pile("segmentation")
    plain = rows.x[rows.parts["unlabeled"]]
    said = {name: whole.past[name].strategy.predict(plain) for name in ("supervised", "reliable")}
    assert torch.allclose(last.value[kept], said["supervised"][kept], atol=1e-6)
    assert torch.allclose(last.value[~kept], said["reliable"][~kept], atol=1e-6)
    assert not torch.allclose(said["supervised"], said["reliable"], atol=1e-2)
    assert torch.equal(last.weight, torch.ones_like(last.weight))
    assert [row["step"] for row in read(whole.past["supervised"].out)] == [3, 6, 9]
    assert [row["used"] for row in whole.rows if row["name"].startswith("label")] == [0.5, 1.0]


def test_the_stability_of_the_stage_is_that_of_its_snapshots(whole):
    run = whole.past["supervised"]
    weights = [st.networks.optim.weights_of(run.out / "snapshots" / row["file"]) for row in read(run.out)]
    expected = stability(run.strategy.task, toy.network("segmentation"), weights, toy.pile("segmentation"))
    found = json.loads((whole.out / "02-label-reliable" / "stability.json").read_text())["stability"]
    assert found == pytest.approx(expected.tolist(), abs=1e-6)
    assert len(set(found)) > 12


def test_each_stage_trains_a_new_network_on_decisions_in_strong_views_without_the_rest(whole):
    trained = [whole.past[name].strategy for name in ("reliable", "all")]
    for strategy in trained:
        assert isinstance(strategy, CurriculumLabeling)
        settings = (strategy.hard, strategy.alpha, strategy.views, strategy.labeled_view, strategy.ema)
        assert settings == (True, 0.0, ("strong",), "weak", None)
    seen = []

    def noting(task, make_learner, **more):
        learner = make_learner()
        seen.append(next(learner.model.parameters()).clone())
        return (CurriculumLabeling if more else Supervised)(task, lambda: learner, **more)

    steps = {"supervised": 2, "reliable": 1, "all": 1}
    out = whole.out.parent / "noted"
    stages = pipe(steps=steps, snapshots=2, supervised=noting, retrain=noting)
    done = run_pipeline(stages, toy.pile("segmentation"), out, plan=PLAN)
    learned = [next(done.past[name].network.parameters()) for name in STEPS]
    assert not any(torch.equal(one, other) for i, one in enumerate(seen) for other in [*seen[:i], *learned])


@pytest.mark.parametrize("stop", [4, *(pytest.param(s, marks=pytest.mark.slow) for s in (1, 3, 8, 9, 10, 12, 14))])
def test_a_pipeline_stopped_anywhere_goes_on_as_if_it_had_not(stop, whole, tmp_path):
    pile = toy.pile("segmentation")
    part = run_pipeline(pipe(), pile, tmp_path, plan=PLAN, stop_after=stop)
    assert not part.finished
    assert_alike(whole, run_pipeline(pipe(), pile, tmp_path, plan=PLAN, resume=True))


def test_what_is_finished_is_read_and_what_is_replaced_is_not(whole, tmp_path, monkeypatch):
    out, looked = shutil.copytree(whole.out, tmp_path / "copy"), []

    def looking(*args, **settings):
        looked.append(1)
        return stability(*args, **settings)

    monkeypatch.setattr(reliable, "stability", looking)
    pile, place = toy.pile("segmentation"), out / "02-label-reliable" / "stability.json"
    assert_alike(whole, run_pipeline(pipe(), pile, out, plan=PLAN, resume=True))
    assert looked == []
    place.write_text(json.dumps({"stability": [0.0] * 24}))  # of another run: it must not be taken for this one's
    assert_alike(whole, run_pipeline(pipe(), pile, out, plan=PLAN, overwrite=True))
    assert looked == [1]


@pytest.mark.parametrize("kind", ["classification", "keypoints"])
def test_classes_and_joints_go_through_it(kind, tmp_path):
    steps = {"supervised": 4, "reliable": 1, "all": 1}
    done = run_pipeline(pipe(kind, steps=steps, share=0.25), toy.pile(kind), tmp_path, plan=PLAN)
    first, last = done.past.labels["label-reliable"], done.past.labels["label-all"]
    assert int(first.weight.reshape(24, -1).any(1).sum()) == 6
    assert bool(last.kept.all())
    assert last.recipe == "only(6 of 24).completed()"


# -- tables ------------------------------------------------------------------------------------------------------------
def test_a_table_is_cut_to_samples_and_completed_by_another():
    task = st.Segmentation(2)
    weight = torch.tensor([[1.0, 0.0], [2.0, 1.0]]).expand(3, 2, 2)
    one = PseudoLabelTable(task, torch.rand(3, 2, 2, 2), weight=weight)
    two = PseudoLabelTable(task, torch.rand(3, 2, 2, 2)).above(0.5)
    cut = one.only(torch.tensor([False, True, False]))
    assert torch.equal(cut.weight[1], one.weight[1])
    assert not cut.weight[[0, 2]].any()
    assert torch.equal(cut.value, one.value)
    full = cut.completed(two)
    mine = cut.weight > 0
    for name in ("weight", "confidence"):
        assert torch.equal(getattr(full, name), torch.where(mine, getattr(cut, name), getattr(two, name)))
    for c in range(2):
        assert torch.equal(full.value[:, c], torch.where(mine, one.value[:, c], two.value[:, c]))
    assert full.recipe == "only(1 of 3).completed(above(0.5))"


# -- refusals ----------------------------------------------------------------------------------------------------------
def plain(name="teacher", **options):
    return Stage(name, lambda past: Supervised(toy.task("segmentation"), toy.learner("segmentation")), 2, **options)


def test_senseless_settings_are_refused():
    with pytest.raises(ValueError, match=r"steps are given for \['all', 'supervised'\]"):
        pipe(steps={"supervised": 1, "all": 1})
    for count in (1, 10):
        with pytest.raises(ValueError, match=f"snapshots is {count}; it must be at least 2, and at most 9"):
            pipe(snapshots=count)
    for share in (0.0, 1.5, float("nan")):
        with pytest.raises(ValueError, match="share is"):
            pipe(share=share)
    with pytest.raises(ValueError, match="choose 'log' or 'even'"):
        Snapshots(2, spacing="linear")
    with pytest.raises(ValueError, match="completes 'teacher', no table before it"):
        run_pipeline([plain(), Labeling("l", by="teacher", completes="teacher")], toy.pile("segmentation"))
    network, snapshots = drawn("segmentation")
    with pytest.raises(ValueError, match="1 snapshots do not tell"):
        stability(toy.task("segmentation"), network, snapshots[:1], toy.pile("segmentation"))
    with pytest.raises(DataError, match="no unlabeled samples to look at"):
        stability(toy.task("segmentation"), network, snapshots, toy.pile("segmentation", unlabeled=0))
    table = PseudoLabelTable(st.Classification(2), torch.tensor([[0.9, 0.1]]))
    with pytest.raises(ValueError, match="give a bool for each of 1"):
        table.only(torch.tensor([True, False]))
    with pytest.raises(ValueError, match="complete a table by one of the same pile"):
        table.completed(PseudoLabelTable(st.Classification(2), torch.rand(2, 2)))


def test_snapshots_need_a_folder_before_hours_are_spent(tmp_path):
    with pytest.raises(ValueError, match="snapshots is 3 but there is no run folder"):
        run_pipeline(pipe(), toy.pile("segmentation"), plan=PLAN)
    stages = [plain(), ReliableLabeling("l", by="teacher")]
    with pytest.raises(RunFolderError, match="'teacher' has 0 snapshots, and 'l' compares them"):
        run_pipeline(stages, toy.pile("segmentation"), tmp_path, plan=PLAN)


# -- learning ----------------------------------------------------------------------------------------------------------
@pytest.mark.slow
def test_it_beats_labels_alone(tmp_path):
    """Clouds, median of five seeds; the labels alone get as many steps as all stages together."""
    cloudy = partial(st.learner, lambda: toy.mlp(30), optimizer="sgd", lr=0.05, weight_decay=0.0)
    quiet = {"options": {"evaluation": st.Evaluation(100)}}
    found = {"alone": [], "st++": []}
    for seed in range(5):
        plan, pile = BatchPlan(labeled=8, unlabeled_ratio=12.5, seed=seed), toy.clouds(seed=seed)
        alone = [Stage("alone", lambda past: Supervised(st.Classification(2), cloudy(), decay=None), 300, **quiet)]
        stages = st_plus_plus(
            st.Classification(2), cloudy, steps={"supervised": 100, "reliable": 100, "all": 100}, **quiet
        )
        for name, parts in (("alone", alone), ("st++", stages)):
            done = run_pipeline(parts, pile, tmp_path / f"{name}-{seed}", plan=plan)
            found[name].append(done.evaluate("test")["accuracy"])
    assert median(found["st++"]) > median(found["alone"]) + 0.02
