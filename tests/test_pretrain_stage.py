"""What both label-free stages share: features, figures, hand-over, resume."""

import io
import json

import pytest
import torch
from helpers import MemoryPile, pictures
from pretrain_helpers import STAGES, batch, conv, gratings, images, stage, train, vit

from selftrain.build import Training, learner
from selftrain.engine import fit
from selftrain.errors import CheckpointError
from selftrain.networks import Classifier
from selftrain.pretrain import EMALatent, Masked, MultiBlock
from selftrain.probes import feature_spread, feature_std, knn_accuracy, rankme
from selftrain.schedule import constant
from selftrain.selfcheck import SelfCheck, SelfTrainingWarning
from selftrain.types import Annotated, Clock

FIGURES = {"rankme", "rankme_centered", "feature_std", "feature_spread"}
both = pytest.mark.parametrize("name", STAGES)


def annotated(x, annotation, size=4):
    rows = torch.arange(len(x)).split(size)
    return [Annotated(x[r], annotation[r], r) for r in rows]


# -- hand-over ---------------------------------------------------------------------------------------------------------
@both
@pytest.mark.parametrize("make", [vit, conv], ids=["vit", "conv"])
def test_the_encoder_handed_on_gives_the_same_features(name, make):
    strategy = stage(name, make())
    x = images(6, size=(8, 8) if make is vit else (16, 16))
    train(strategy, x, 0, 3)
    student = learner(lambda: Classifier(make(seed=9), 4), init_from=strategy)()
    assert torch.equal(student.model.encoder.eval()(x), strategy.predict(x))
    assert all(torch.equal(v, student.model.state_dict()[n]) for n, v in strategy.export().items())


@both
def test_what_was_exported_stays_when_training_goes_on(name):
    strategy = stage(name)
    weights = strategy.export()
    before = {n: v.clone() for n, v in weights.items()}
    train(strategy, images(), 0, 2)
    assert all(torch.equal(v, weights[n]) for n, v in before.items())
    assert not all(torch.equal(v, strategy.export()[n]) for n, v in before.items())


@both
def test_an_encoder_built_otherwise_is_refused(name):
    with pytest.raises(CheckpointError, match="same encoder settings"):
        learner(Classifier(vit(width=32), 4), init_from=stage(name))()
    with pytest.raises(CheckpointError, match="no place in Classifier"):
        learner(Classifier(vit(depth=1), 4), init_from=stage(name))()


# -- resume ------------------------------------------------------------------------------------------------------------
@both
@pytest.mark.parametrize("make", [vit, conv], ids=["vit", "conv"])
def test_a_run_goes_on_from_its_state_bit_for_bit(name, make):
    x = images(6, size=(8, 8) if make is vit else (16, 16))
    through, first = stage(name, make()), stage(name, make())
    train(through, x, 0, 7)
    train(first, x, 0, 4)
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    second = stage(name, make(seed=5), seed=6)
    second.load_state_dict(torch.load(file, weights_only=True))
    rows = train(second, x, 4, 7)
    straight, resumed = through.state_dict(), second.state_dict()
    assert all(torch.equal(v, resumed[n]) for n, v in straight.items() if torch.is_tensor(v))
    assert torch.equal(rows[-1][f"loss/{name}"], train(first, x, 4, 7)[-1][f"loss/{name}"])


@both
def test_a_state_without_one_of_its_parts_is_refused(name):
    strategy = stage(name)
    state = strategy.state_dict()
    for key in [k for k in state if not k.endswith("num_batches_tracked")]:  # PyTorch makes up for those
        with pytest.raises(RuntimeError, match="Missing key"):
            strategy.load_state_dict({k: v for k, v in state.items() if k != key})


# -- features and figures ----------------------------------------------------------------------------------------------
@both
def test_features_are_plain_deterministic_and_leave_the_mode(name):
    strategy, x = stage(name, conv()).train(), images(5, size=(16, 16))
    features = strategy.predict(x)
    assert features.shape == (5, 12)
    assert not features.requires_grad
    assert torch.equal(features, strategy.predict(x))
    assert torch.allclose(features[:2], strategy.predict(x[:2]), atol=1e-6)  # running statistics, not the batch's
    assert strategy.student.training


@both
def test_figures_are_those_of_the_features(name):
    strategy, x, reference = stage(name), images(10), images(8, seed=1)
    truth, labels = torch.arange(10) % 2, torch.arange(8) % 2
    features, known = strategy.predict(x), strategy.predict(reference)
    figures = strategy.evaluate(annotated(x, truth), annotated(reference, labels))
    assert figures == {
        "rankme": pytest.approx(rankme(features), rel=1e-4),
        "rankme_centered": pytest.approx(rankme(features, center=True), rel=1e-4),
        "feature_std": pytest.approx(feature_std(features), rel=1e-4),
        "feature_spread": pytest.approx(feature_spread(features), rel=1e-4),
        "knn": knn_accuracy(known, labels, features, truth),
    }
    assert strategy.monitor in figures


@both
def test_without_classes_there_is_no_neighbor_probe(name):
    strategy, x = stage(name), images(8)
    classes, masks = torch.arange(8) % 2, torch.zeros(8, 4, 4, dtype=torch.long)
    for data, reference in ((classes, None), (masks, classes), (classes, masks), (classes, torch.full((8,), -1))):
        given = None if reference is None else annotated(x, reference)
        assert set(strategy.evaluate(annotated(x, data), given)) == FIGURES


@both
def test_samples_without_a_label_take_no_part_in_the_neighbor_probe(name):
    strategy, x = stage(name), images(8)
    labels = torch.tensor([0, 1, 0, 1, -1, -1, -1, -1])
    figures = strategy.evaluate(annotated(x, labels), annotated(x, labels))
    assert figures["knn"] == 1.0  # each labeled sample is its own nearest neighbor


# -- views -------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["mae", "ijepa"])
def test_the_view_can_be_chosen_and_is_the_only_need(name):
    assert stage(name).needs().views == ("weak",)
    strategy = stage(name, view="strong")
    assert strategy.needs().views == ("strong",)
    assert strategy.needs().encode is None
    strategy.step(batch(images(), "strong"), Clock(0, 0, 2))
    with pytest.raises(KeyError, match="other"):
        stage(name, view="other").step(batch(images()), Clock(0, 0, 2))


@both
def test_low_precision_trains_too(name):
    strategy = stage(name, training=Training(precision="bf16"))
    rows = train(strategy, images(8), 0, 3)
    assert rows[-1][f"loss/{name}"].dtype == torch.float32
    assert rows[-1][f"loss/{name}"].isfinite()
    exact = stage(name)
    assert not torch.equal(rows[-1][f"loss/{name}"], train(exact, images(8), 0, 3)[-1][f"loss/{name}"])


# -- on the engine -----------------------------------------------------------------------------------------------------
@both
def test_the_engine_runs_resumes_logs_and_exports_a_stage(name, tmp_path):
    """No labels are asked for; a run that was cut in two ends where an uncut one does."""
    pile, settings = MemoryPile(pictures), {"steps": 6, "eval_every": 3}
    whole = fit(stage(name, vit(channels=2)), pile, out=tmp_path / "whole", **settings)
    fit(stage(name, vit(channels=2)), pile, out=tmp_path / "cut", stop_after=3, **settings)
    rest = fit(stage(name, vit(channels=2)), pile, out=tmp_path / "cut", resume=True, **settings)
    straight, resumed = whole.strategy.state_dict(), rest.strategy.state_dict()
    assert all(torch.equal(v, resumed[n]) for n, v in straight.items() if torch.is_tensor(v))
    assert FIGURES | {"knn"} == set(whole.last["validation"])
    assert whole.best["knn"] >= whole.last["validation"]["knn"]
    logged = [json.loads(line) for line in (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()]
    assert any(f"train/loss/{name}" in row for row in logged)
    assert any("validation/rankme" in row for row in logged)
    student = learner(Classifier(vit(channels=2), 3), init_from=tmp_path / "whole")()
    assert all(torch.equal(v, student.model.state_dict()[n]) for n, v in whole.export().items())


# -- collapse ----------------------------------------------------------------------------------------------------------
def gratings_pile():
    """Waves in four orientations, the classes."""
    x = gratings(200, 0, size=8)
    return MemoryPile(lambda n, seed: (x[:n], torch.arange(n) % 3))


def test_a_collapse_of_features_is_found_and_told():
    """Without normalized targets, and with a target that is the student itself, all features become one."""
    torch.manual_seed(0)
    strategy = Masked(
        vit(pool=1),
        masker=MultiBlock(),
        target=EMALatent(norm="none", decay=(0.0, 0.0)),
        distance="mse",
        training=Training(lr=3e-2, schedule=constant()),
    )
    with pytest.warns(SelfTrainingWarning, match="features_collapsed at step .* almost the same"):
        run = fit(strategy, gratings_pile(), steps=200, eval_every=50)
    alarm = next(a for a in run.alarms if a.kind == "features_collapsed")
    assert alarm.step >= 100
    assert alarm.figures["feature_spread"] == run.last["unlabeled"]["feature_spread"] or alarm.step < 200
    assert alarm.figures["feature_spread"] < 0.05 or alarm.figures["rankme_centered"] < 2


@both
def test_a_sound_stage_raises_no_alarm(name, recwarn):
    run = fit(stage(name, vit(pool=1), training=Training(lr=1e-3)), gratings_pile(), steps=60, eval_every=20)
    assert run.alarms == []


def test_collapse_is_judged_from_the_middle_of_the_stage_on():
    check = SelfCheck(
        stage("mae"), None, None, total=100, per_epoch=10, seed=0, device=torch.device("cpu")
    )  # reads no ledger here
    bad, good = {"rankme_centered": 1.5, "feature_spread": 0.5}, {"rankme_centered": 3.0, "feature_spread": 0.5}
    assert [len(check.judge_features(step, bad).alarms) for step in (10, 49, 50, 100)] == [0, 0, 1, 1]
    assert check.judge_features(100, good).alarms == []
    assert len(check.judge_features(100, good | {"feature_spread": 0.01}).alarms) == 1
    assert check.judge_features(100, {"accuracy": 0.1}).alarms == []
