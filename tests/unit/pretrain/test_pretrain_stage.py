"""What both label-free stages share: features, figures, hand-over, resume."""

import io
import json
import warnings

import pytest
import torch
from helpers import MemoryPile, pictures
from pretrain_helpers import STAGES, batch, conv, gratings, images, stage, train, vit

from selftrain.engine.loop import evaluate, fit
from selftrain.engine.times import Evaluation
from selftrain.errors import CheckpointError
from selftrain.handlers.base import Context
from selftrain.handlers.selfcheck import SelfCheck, SelfTrainingWarning
from selftrain.metrics.features import feature_spread, feature_std, knn_accuracy, rankme
from selftrain.networks.encoders import Classifier
from selftrain.networks.optim import Training, learner
from selftrain.pretrain import (
    MAE,
    EMALatent,
    LeJEPA,
    Masked,
    MultiBlock,
    PointJEPA,
    SimCLR,
    UniSiam,
    VICReg,
    point_transformer,
)
from selftrain.schedule import constant
from selftrain.types import Annotated, Clock, Report

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
        "knn": knn_accuracy(in_units_of(known, known), labels, in_units_of(features, known), truth),
    }
    assert strategy.monitor in figures


def in_units_of(features, known):
    return (features.double() - known.double().mean(0)) / known.double().std(0, correction=0)


def test_neighbors_are_sought_in_standardized_features():
    """What differs is behind a large constant, and behind a column that is large and says nothing."""
    strategy = stage("mae", vit(pool=1))
    labels = torch.arange(24) % 2
    noise = torch.randn(24, 16, generator=torch.Generator().manual_seed(0))
    features = 0.01 * noise + 50
    features[:, 2:] += labels[:, None] * 0.02
    features[:, 1] = 300 * noise[:, 1]
    strategy.predict = lambda x: features[x[:, 0, 0, 0].long()]
    rows = torch.arange(24.0).view(24, 1, 1, 1).expand(24, 1, 8, 8)
    data, reference = annotated(rows[12:], labels[12:]), annotated(rows[:12], labels[:12])
    assert strategy.evaluate(data, reference)["knn"] > 0.9
    assert knn_accuracy(features[:12], labels[:12], features[12:], labels[12:]) < 0.7


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
@pytest.mark.one_in(3)
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


FAST = Training(lr=3e-2, schedule=constant())


def collapsing(decay=0.0):
    """Without normalized targets, and with a target that is the student itself, all features become one."""
    torch.manual_seed(0)
    target = EMALatent(norm="none", decay=(decay, decay))
    return Masked(vit(pool=1), masker=MultiBlock(), target=target, distance="mse", training=FAST)


def of_views(variance):
    torch.manual_seed(0)
    return VICReg(vit(pool=1), variance=variance, covariance=0.0, projector=(32, 32), training=FAST)


def only(run):
    (alarm,) = run.alarms
    assert alarm.kind == "features_collapsed"
    return alarm


@pytest.mark.slow
def test_a_collapse_of_features_is_found_and_told():
    strategy, pile = collapsing(), gratings_pile()
    start = evaluate(strategy, pile, "unlabeled")
    with pytest.warns(SelfTrainingWarning, match="features_collapsed at step 60: .* almost the same: they spread by"):
        run = fit(strategy, pile, steps=120, eval_every=30)
    alarm = only(run)
    assert alarm.step == 60
    assert set(alarm.figures) == {
        "feature_spread",
        "feature_spread_start",
    }  # the differences left are no few directions
    assert alarm.figures["feature_spread_start"] == start["feature_spread"]
    assert alarm.figures["feature_spread"] < 0.1 * start["feature_spread"]
    assert run.last["unlabeled"]["rankme_centered"] > 5
    assert "directions" not in alarm.message


@pytest.mark.slow
def test_what_is_said_about_a_collapse_helps():
    made = {
        "none": (collapsing(), 1), "decay": (collapsing(0.999), 0), "masked": (MAE(vit(pool=1), training=FAST), 0),
        "no regularizer": (of_views(0.0), 1), "regularizer": (of_views(25.0), 0),
    }  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = {
            name: fit(stage, gratings_pile(), steps=120, eval_every=30).alarms for name, (stage, _) in made.items()
        }
    assert {name: len(alarms) for name, alarms in found.items()} == {name: count for name, (_, count) in made.items()}


@pytest.mark.slow
def test_a_resumed_run_remembers_the_start(tmp_path):
    settings = {"steps": 60, "eval_every": 20, "out": tmp_path}
    fit(collapsing(), gratings_pile(), stop_after=30, **settings)
    with pytest.warns(SelfTrainingWarning, match="features_collapsed"):
        resumed = fit(collapsing(), gratings_pile(), resume=True, **settings)
    with pytest.warns(SelfTrainingWarning, match="features_collapsed"):
        whole = fit(collapsing(), gratings_pile(), **{**settings, "out": None})
    assert only(resumed) == only(whole)


@pytest.mark.slow
@both
def test_a_sound_stage_raises_no_alarm(name, recwarn):
    run = fit(stage(name, vit(pool=1), training=Training(lr=1e-3)), gratings_pile(), steps=60, eval_every=20)
    assert run.alarms == []


def cloud_pile():
    """Clouds on a sphere, on a ring and in a plane, the classes."""

    def make(n, seed):
        generator = torch.Generator().manual_seed(seed)
        x, y = torch.randn(n, 32, 3, generator=generator), torch.arange(n) % 3
        x = x * torch.tensor([[1.0, 1, 1], [1, 1, 0.1], [1, 0.1, 0.1]])[y][:, None]
        return x / x.norm(dim=2).amax(1)[:, None, None], y

    return MemoryPile(make, unlabeled=120, validation=60)


def test_features_that_are_one_large_constant_from_the_start_have_not_collapsed():
    """So are those of clouds: what differs is a few hundredths of their size, in many directions."""
    torch.manual_seed(0)
    encoder = point_transformer(32, groups=8, neighbors=8, width=16, depth=2, heads=2)
    strategy, pile = PointJEPA(encoder), cloud_pile()
    before = evaluate(strategy, pile, "unlabeled")
    run = fit(strategy, pile, steps=40, eval_every=20)
    after = run.last["unlabeled"]
    assert before["feature_spread"] < 0.2
    assert after["feature_spread"] < 0.05
    assert after["rankme_centered"] > 5
    assert run.last["validation"]["knn"] > 0.5  # of three classes
    assert run.alarms == []


def a_check(name="mae"):
    check, times = SelfCheck(), {"seed": 0, "total": 100, "steps_per_epoch": 10, "evaluate_every": 10, "start": 1}
    check.begin(Context(stage(name), None, None, None, None, torch.device("cpu"), parts=(), settings={}, **times))
    return check  # no pile, no ledger


SOUND = {"rankme_centered": 44.0, "feature_spread": 0.3}
BOTH_LOW = {"rankme_centered": 1.5, "feature_spread": 0.01}


def test_collapse_is_judged_from_the_middle_of_the_stage_on():
    check = a_check()
    assert [len(check.judge_features(step, BOTH_LOW).alarms) for step in (10, 49, 50, 100)] == [0, 0, 1, 1]
    assert check.judge_features(100, SOUND).alarms == []
    assert check.judge_features(100, {"accuracy": 0.1}).alarms == []


@pytest.mark.parametrize(
    ("start", "now", "blamed"),
    [
        ({}, BOTH_LOW, {"rankme_centered", "feature_spread"}),
        ({}, SOUND | {"rankme_centered": 1.5}, set()),  # two classes need no more than a direction
        ({}, SOUND | {"feature_spread": 0.01}, set()),  # one large constant
        ({"feature_spread": 0.065}, SOUND | {"feature_spread": 0.02}, set()),  # so it was at the start
        ({"feature_spread": 0.3}, SOUND | {"feature_spread": 0.02}, {"feature_spread"}),
        ({"feature_spread": 0.9}, SOUND | {"feature_spread": 0.06}, set()),  # a fall to what may be sound
        ({"rankme_centered": 6.0}, SOUND | {"rankme_centered": 1.6}, set()),
        ({"rankme_centered": 8.0}, SOUND | {"rankme_centered": 1.6}, {"rankme_centered"}),
        ({"rankme_centered": 40.0}, SOUND | {"rankme_centered": 2.1}, set()),
    ],
    ids=lambda value: str(sorted(value) if isinstance(value, set) else value),
)
def test_only_what_is_low_and_fell_is_blamed(start, now, blamed):
    check, words = a_check(), {"rankme_centered": "directions", "feature_spread": "of their size"}
    check.keep_start(SOUND | start if start else {})
    found = check.judge_features(100, now).alarms
    assert len(found) == bool(blamed)
    if blamed:
        assert {name for name in words if words[name] in found[0].message} == blamed
        starts = {f"{name}_start": start[name] for name in blamed if name in start}
        assert found[0].figures == {name: now[name] for name in blamed} | starts


class Told(SelfCheck):
    """Keeps what it is told of features."""

    begun, told = (), ()

    def begin(self, context):
        self.begun, self.told = [], []
        super().begin(context)

    def keep_start(self, figures):
        self.begun.append(dict(figures))
        super().keep_start(figures)

    def judge_features(self, step, figures):
        self.told.append((step, dict(figures)))
        return super().judge_features(step, figures)


@pytest.mark.parametrize("unlabeled", [True, False])
def test_features_are_judged_on_the_unlabeled_samples_where_there_is_a_choice(unlabeled):
    """Validation samples are few, and may be none."""
    check = Told()
    strategy, pile = stage("mae", vit(channels=2)), MemoryPile(pictures, validation=9)
    if not unlabeled:
        strategy.judged_on = ("validation",)
        expected = []
    else:
        expected = [evaluate(strategy, pile, "unlabeled")]
    run = fit(strategy, pile, steps=4, evaluation=Evaluation(every=2), handlers=[check])
    assert [figures for figures in check.begun if figures] == expected
    assert [step for step, _ in check.told] == [2, 4]
    assert check.told[-1][1] == run.last["unlabeled" if unlabeled else "validation"]
    assert not unlabeled or run.last["unlabeled"] != run.last["validation"]


@both
def test_looking_at_the_start_changes_nothing(name):
    runs = [fit(stage(name, vit(channels=2)), MemoryPile(pictures), steps=3, self_check=on) for on in (True, False)]
    one, two = (run.strategy.state_dict() for run in runs)
    assert all(torch.equal(v, two[k]) for k, v in one.items() if torch.is_tensor(v))
    assert runs[0].last == runs[1].last


# -- collapse behind the projector -------------------------------------------------------------------------------------
UNHELD = {
    "vicreg": lambda encoder: VICReg(encoder, variance=0.0, covariance=0.0, projector=(32, 16)),
    "lejepa": lambda encoder: LeJEPA(encoder, weight=0.0, slices=8, projector=(32, 16)),
}
HELD = {
    "vicreg": lambda encoder: VICReg(encoder, projector=(32, 16)),
    "lejepa": lambda encoder: LeJEPA(encoder, slices=8, projector=(32, 16)),
    "simclr": lambda encoder: SimCLR(encoder, projector=(32, 16)),
    "unisiam": lambda encoder: UniSiam(encoder, projector=(32, 16)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", UNHELD)
def test_a_collapse_of_embeddings_is_found_although_the_features_are_sound(name, tmp_path):
    torch.manual_seed(0)
    with pytest.warns(SelfTrainingWarning, match="features_collapsed at step .* projector .* the same embedding"):
        run = fit(UNHELD[name](vit()), gratings_pile(), steps=160, eval_every=40, out=tmp_path)
    alarm = only(run)
    assert alarm.figures["embedding_std"] < 0.2 * alarm.figures["embedding_std_first"]
    assert run.last["unlabeled"]["feature_spread"] > 0.05
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    logged = [row["train/embedding_std"] for row in rows if "train/embedding_std" in row]
    assert logged[-1] < logged[0] / 3  # means of twenty steps


@pytest.mark.slow
@pytest.mark.parametrize("name", HELD)
def test_embeddings_that_are_held_apart_raise_no_alarm(name):
    torch.manual_seed(0)
    run = fit(HELD[name](vit()), gratings_pile(), steps=100, eval_every=50)
    assert run.alarms == []
    assert run.train["train/embedding_std"] > 0.2


def test_the_spread_of_embeddings_is_over_the_samples_of_a_view():
    strategy, x = stage("simclr", projector=(8, 4)), images(6)
    with torch.no_grad():
        z = strategy.student.train()(torch.cat([x + 0.1, 0.9 * x])).view(2, 6, 4)
    expected = (z - z.mean(1, keepdim=True)).square().mean(1).sqrt().mean()
    assert torch.allclose(train(strategy, x, 0, 1)[0]["embedding_std"], expected, atol=1e-6)


@pytest.mark.parametrize(
    ("spreads", "alarms"), [([1.0, 0.05], 1), ([0.3, 0.05], 1), ([0.2, 0.05], 0), ([2.0, 0.11], 0), ([0.01, 0.01], 0)]
)
def test_embeddings_have_collapsed_if_little_is_left_and_they_fell(spreads, alarms):
    check = a_check()
    for step, spread in zip((1, 60), spreads, strict=True):
        check.watch(step, (), Report({"embedding_std": torch.tensor(spread)}), judged=False)
    assert len(check.judge_features(60, SOUND).alarms) == alarms
    assert check.judge_features(49, SOUND).alarms == []
    again = a_check()
    again.load_state_dict(check.state_dict())
    assert len(again.judge_features(60, SOUND).alarms) == alarms
