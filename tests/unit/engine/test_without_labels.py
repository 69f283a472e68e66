"""Data without any label: what can learn from them, from what start, and that nobody pretends to know how well."""

import numpy as np
import pytest
import torch
from torch import nn

import selftrain as st
from selftrain import data, strategies
from selftrain.errors import DataError
from selftrain.handlers.selfcheck import SelfCheck, SelfTrainingWarning
from selftrain.mix import SourceClassMix

QUIET = [st.handlers.DataSummary(show=False)]
PLAN = st.BatchPlan(labeled=16, unlabeled_ratio=2, seed=0)


def network():
    return nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 2))


def clouds(count, other, seed):
    """Two clouds, apart along the first number; in the ``other`` domain less so, and along the second one, too."""
    draw = np.random.default_rng(seed)
    y = draw.integers(0, 2, count)
    x = draw.normal(0, 0.5, (count, 4)).astype(np.float32)
    x[:, 0] *= 3 if other else 1
    x[:, 0] += 3 * y - 1.5
    x[:, 1] += other * (3 * y - 1.5)
    return torch.from_numpy(x), torch.from_numpy(y)


VIEWS = data.TableViews(mean=0.0, std=1.0)


@pytest.fixture(scope="module")
def source():
    """A run on labels of the first domain."""
    torch.manual_seed(0)
    pile = data.Pile.from_arrays(*(part.numpy() for part in clouds(100, False, 0)), views=VIEWS)
    learner = st.learner(network, lr=1e-2)
    return st.fit(
        strategies.Supervised(st.Classification(2), learner, decay=None), pile, steps=60, plan=PLAN, handlers=QUIET
    )


def target(part=300, **settings):
    """The second domain, without a label."""
    x, y = clouds(part, True, 1)
    return data.Pile(None, data.ArraySet(x), classes=["no", "yes"], views=VIEWS, **settings), y


def adapted(make, source, pile, steps=60, lr=1e-2, trained=True, out=None, **settings):
    learner = st.learner(network, lr=lr, init_from=source if trained else None)
    return st.fit(
        make(st.Classification(2), learner, **settings), pile, steps=steps, plan=PLAN, handlers=QUIET, out=out
    )


LEARN = {
    strategies.MeanTeacher: {"decay": 0.9, "hard": True, "distance": "ce", "unlabeled_weight": 1.0},
    strategies.FixMatch: {"decay": 0.9, "threshold": 0.8},
}


@pytest.mark.parametrize("make", LEARN)
def test_a_trained_start_learns_another_domain_without_a_label(source, make):
    pile, y = target()
    x = pile.unlabeled.images(np.arange(300))
    start = float((source.strategy.predict(x).argmax(1) == y).float().mean())
    run = adapted(make, source, pile, **LEARN[make])
    assert float((run.strategy.predict(x).argmax(1) == y).float().mean()) > start + 0.02


def test_at_a_tiny_rate_the_statistics_of_batchnorm_adapt_and_nothing_else():
    def normalized():
        return nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 2))

    torch.manual_seed(0)
    pile = data.Pile.from_arrays(*(part.numpy() for part in clouds(200, False, 0)), views=VIEWS)
    task, learner = st.Classification(2), st.learner(normalized, lr=1e-2)
    first = st.fit(strategies.Supervised(task, learner, decay=None), pile, steps=60, plan=PLAN, handlers=QUIET)
    x, y = clouds(300, False, 1)
    x = x + 1.5  # another origin
    learner = st.learner(normalized, lr=1e-7, init_from=first)
    made = strategies.MeanTeacher(task, learner, **LEARN[strategies.MeanTeacher])
    there = data.Pile(None, data.ArraySet(x), classes=["no", "yes"], views=VIEWS)
    right = [(first.strategy.predict(x).argmax(1) == y).float().mean()]
    run = st.fit(made, there, steps=60, plan=PLAN, handlers=QUIET)
    right += [(run.strategy.predict(x).argmax(1) == y).float().mean()]
    assert right[0] < 0.8 < 0.95 < right[1]
    assert run.alarms == []
    before, after = first.export(), run.export()
    still = [name for name, _ in normalized().named_parameters()]
    assert all(torch.allclose(before[name], after[name], atol=1e-4) for name in still)


def test_the_start_is_compared_and_no_accuracy_is_told(source, tmp_path):
    run = adapted(strategies.FixMatch, source, target()[0], steps=10, out=tmp_path / "run")
    assert set(run.last) == set(run.before) == {"unlabeled"}
    said = {"confidence", "views_agree", "share/no", "share/yes"}
    assert set(run.last["unlabeled"]) == said
    assert run.last["unlabeled"] != run.before["unlabeled"]
    shares = [run.before["unlabeled"][f"share/{name}"] for name in ("no", "yes")]
    assert sum(shares) == pytest.approx(1)
    told = repr(run)
    assert "start        unlabeled confidence" in told
    assert "no label says how many are right" in told
    assert "accuracy" not in told
    assert "labels alone" not in told
    again = st.open_run(tmp_path / "run", pile=target()[0])
    assert again.before == run.before
    assert "start        unlabeled" in repr(again)
    assert (tmp_path / "run" / "report.html").is_file()


def test_labels_that_are_held_out_judge_start_and_run(source):
    x, y = clouds(50, True, 2)
    pile = target(part=64, validation=data.ArraySet(x, y))[0]
    run = adapted(strategies.MeanTeacher, source, pile, steps=4)
    start = float((source.strategy.predict(x).argmax(1) == y).float().mean())
    assert run.before["validation"]["accuracy"] == pytest.approx(start)
    assert f"start        validation accuracy {100 * start:.1f} %" in repr(run)


IMAGES = torch.rand(12, 3, 12, 12, generator=torch.Generator().manual_seed(0))
TASKS = {"segmentation": (st.Segmentation(3), 3), "keypoints": (st.Keypoints(2, (12, 12)), 2)}


@pytest.mark.parametrize("kind", TASKS)
@pytest.mark.parametrize("together", [True, False])
def test_masks_and_joints_take_steps_without_labels(kind, together):
    task, channels = TASKS[kind]
    learner = st.learner(nn.Sequential(nn.Conv2d(3, channels, 3, padding=1), nn.BatchNorm2d(channels)), trained=True)
    strategy = strategies.MeanTeacher(task, learner, decay=0.5, together=together)
    before = [weight.clone() for weight in strategy.student.model.parameters()]
    pile = data.Pile(None, data.ArraySet(IMAGES), views=data.TensorViews(data.Weak(flip=False)))
    run = st.fit(strategy, pile, steps=3, plan=st.BatchPlan(4, 1.0), handlers=QUIET)
    assert all(not torch.equal(a, b) for a, b in zip(before, strategy.student.model.parameters(), strict=True))
    assert run.train["train/loss/supervised"] == 0
    assert run.train["train/loss/unsupervised"] > 0


def test_an_untrained_start_is_refused(source):
    with pytest.raises(DataError, match=r"FixMatch starts from weights that have learned none: start it from a run"):
        adapted(strategies.FixMatch, source, target()[0], trained=False)


def test_a_start_without_a_head_is_refused(source):
    body = {name: weight for name, weight in source.export().items() if name.startswith("0.")}
    learner = st.learner(network, init_from=body)
    assert not learner().trained
    assert st.learner(network, init_from=source)().trained
    with pytest.raises(DataError, match="have learned none"):
        st.fit(strategies.FixMatch(st.Classification(2), learner), target()[0], steps=1, handlers=QUIET)


def test_a_run_that_is_continued_is_a_trained_start(source):
    labeled = data.Pile.from_arrays(*(part.numpy() for part in clouds(40, False, 3)), views=VIEWS)
    torch.manual_seed(0)
    make = lambda: strategies.MeanTeacher(st.Classification(2), st.learner(network), decay=0.9)  # noqa: E731
    first = st.fit(make(), labeled, steps=2, plan=PLAN, handlers=QUIET)
    run = st.fit(make(), target()[0], pretrain=first, steps=2, plan=PLAN, handlers=QUIET)
    assert "unlabeled" in run.before


@pytest.mark.parametrize(
    ("make", "settings", "named"),
    [
        (strategies.Supervised, {"decay": None}, "Supervised"),
        (strategies.AdaMatch, {}, "AdaMatch"),
        (strategies.FixMatch, {"mix": SourceClassMix()}, "SourceClassMix of FixMatch"),
    ],
)
def test_what_reads_labeled_samples_is_refused(source, make, settings, named):
    with pytest.raises(DataError, match=f"no sample has a label, and .*{named} reads labeled ones; take MeanTeacher"):
        adapted(make, source, target()[0], **settings)


def test_there_is_no_baseline_without_labels(source):
    learner = st.learner(network, init_from=source)
    with pytest.raises(ValueError, match="baseline=True trains the labels alone, and no sample has one; leave it out"):
        st.fit(strategies.FixMatch(st.Classification(2), learner), target()[0], steps=1, baseline=True)


def judged(start, *later, total=10):
    """Alarms of a self-check at evaluations with these figures of the pile."""
    check = SelfCheck()
    check.context = type("Context", (), {"before": {"unlabeled": start}, "pile": target(200)[0]})()
    check.total = total
    return [[alarm.kind for alarm in check.judge_start(step + 1, now).alarms] for step, now in enumerate(later)]


START = {"confidence": 0.7, "views_agree": 0.9, "share/no": 0.8, "share/yes": 0.2}


def test_a_class_that_is_gone_and_views_that_agree_less_are_alarms():
    assert judged(START, START, START) == [[], []]
    gone = START | {"share/no": 0.99, "share/yes": 0.01, "confidence": 0.99, "views_agree": 0.99}
    assert judged(START, gone, gone) == [[], ["worse_than_start"]]
    assert judged(START, START | {"views_agree": 0.6}, total=1) == [["worse_than_start"]]
    assert judged(START, gone, START, gone) == [[], [], []]


def test_a_run_that_loses_a_class_ships_its_start(source):
    pile = target(64)[0]
    learner = st.learner(network, lr=1e-6, init_from=source)
    strategy = strategies.FixMatch(st.Classification(2), learner, decay=None, threshold=0.0)
    start = source.export()
    with pytest.warns(SelfTrainingWarning, match="worse_than_start"):
        run = st.fit(
            Turned(strategy),
            pile,
            steps=8,
            plan=PLAN,
            handlers=QUIET,
            evaluation=st.Evaluation(every=1, on_alarm="fallback"),
        )
    assert run.fallback is not None
    assert run.fallback.step == 0
    assert all(torch.equal(start[name], weight) for name, weight in run.export().items())


def Turned(strategy):
    """The same, whose steps push all samples into one class."""
    own = strategy.step

    def step(batch, clock, *extra):
        report = own(batch, clock, *extra)
        with torch.no_grad():
            strategy.student.model[2].bias[0] += 100
        return report

    strategy.step = step
    return strategy
