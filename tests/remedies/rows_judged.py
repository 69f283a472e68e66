"""Remedies of the messages about what is judged, labeled, shown and adapted: probes, tables, the page, numbers."""

import math
from functools import cache
from types import SimpleNamespace
from unittest import mock

import numpy as np
import torch
from remedies import Elsewhere, Row, setting
from sklearn.naive_bayes import GaussianNB
from torch import nn

import selftrain as st
from selftrain import strategies, toy
from selftrain.cli.starts import FEW, check_starts
from selftrain.data import ArraySet, Pile, TableViews
from selftrain.data.loading.stream import _check_divisible
from selftrain.estimator import SelfTrainClassifier
from selftrain.estimator.shipped import ship
from selftrain.evaluation.judging import _held_out
from selftrain.evaluation.probing.arrays import matrix
from selftrain.evaluation.probing.encoding import features_of
from selftrain.evaluation.probing.judging import report
from selftrain.evaluation.probing.scratch import from_scratch
from selftrain.graph.agreement import GraphAgreement
from selftrain.handlers import NonFiniteGuard
from selftrain.handlers.snapshots import INDEX
from selftrain.handlers.snapshots import read as read_snapshots
from selftrain.labels.ledger import Ledger
from selftrain.labels.page import write_review
from selftrain.labels.table import PseudoLabelTable
from selftrain.labels.teacher_pass import _predictions
from selftrain.metrics.features import rankme
from selftrain.networks.by_name import DenseEncoder
from selftrain.networks.timm import FeatureEncoder
from selftrain.networks.token_grid import Layout
from selftrain.networks.tokenizers import SeriesPatches, TableColumns
from selftrain.pretrain.maskers import Runs
from selftrain.runtime.distributed import collectives
from selftrain.runtime.distributed.group import Ranks
from selftrain.runtime.finite import finite_step
from selftrain.strategy.base import Strategy
from selftrain.types import BatchPlan, PseudoLabels
from selftrain.wrapper import SelfTraining

_SPEED = "unit/engine/test_tried_formats.py"
_draws = np.random.RandomState(0)
X = _draws.normal(size=(24, 3)).astype(np.float32)
Y = np.where(np.arange(24) < 16, np.arange(24) % 2, -1)
TASK, PLAN, CPU = st.Classification(2), BatchPlan(4), torch.device("cpu")


@cache
def pile(labeled=True, validation=4):
    return Pile.from_arrays(X, Y if labeled else np.full(24, -1), validation=validation if labeled else None)


def network():
    return nn.Linear(3, 2)


def fit(data=None, cls=strategies.Supervised, made=None, **settings):
    learning = {name: settings.pop(name) for name in ("lr", "schedule", "precision") if name in settings}
    strategy = made or cls(TASK, st.learner(network, **learning), **settings.pop("own", {}))
    return st.fit(strategy, data or pile(), **{"steps": 2, "plan": PLAN, **settings})


def encoded(lr):
    """Features of an encoder that was trained at this rate."""
    encoder = nn.Linear(3, 4)
    optimizer = torch.optim.SGD(encoder.parameters(), lr)
    for _ in range(5):
        optimizer.zero_grad()
        encoder(torch.tensor(X)).square().mean().backward()
        optimizer.step()
    return features_of(encoder, torch.tensor(X)).x


def encoder():
    return DenseEncoder(3, width=4)


def control(data=None, **settings):
    assert 0 <= from_scratch(encoder, data or pile(), **{"steps": 1, **settings}) <= 1


def reported(data=None, **settings):
    return report(
        encoder(), data or pile(), fresh=encoder, **{"supervised": {}, "draws": 2, "per_class": 2, **settings}
    )


def guarded(limit=0, lr=1.0):
    """Steps of a network that diverges at a high rate."""
    learner = st.learner(lambda: nn.Sequential(nn.Linear(3, 8), nn.Linear(8, 2)), optimizer="sgd", lr=lr)
    strategy = strategies.Supervised(TASK, learner)
    st.fit(strategy, pile(), steps=4, plan=PLAN, handlers=[NonFiniteGuard(limit)])


def in_a_group(own, other):
    """What a process of two says that has these facts, and another one others."""
    texts = SimpleNamespace(texts=lambda text: [collectives.json.dumps(collectives._flat(other)), text])
    with mock.patch.object(collectives, "here", return_value=texts):
        collectives.check_alike(own)


def drawn(seed):
    """Facts of a split that is drawn."""
    rows = np.random.RandomState(seed).permutation(24)[:8]
    return {
        "labels": Pile.from_arrays(X, np.where(np.isin(np.arange(24), rows), np.arange(24) % 2, -1)).card(),
        "r": rows.tolist(),
    }


class Uncopyable(strategies.Supervised):
    def __deepcopy__(self, memo):
        raise TypeError("cannot be copied")


class Silent(Strategy):
    """It does not say what it ships."""


def table(value=None, confidence=None):
    value = torch.tensor([[0.9, 0.1], [0.2, 0.8]]) if value is None else value
    return PseudoLabelTable(TASK, value, confidence=torch.ones(2) if confidence is None else confidence)


def continued(tmp, stored):
    first = table()
    first.save(tmp / "t.pt")
    again = PseudoLabelTable.load(tmp / "t.pt", TASK) if stored else table(torch.tensor([[0.8, 0.2], [0.2, 0.8]]))
    again.set_extra_state(first.get_extra_state())


def labeled(rows):
    strategy = fit().strategy
    _predictions(strategy, TASK, [SimpleNamespace(x=torch.tensor(X[:4]))], rows, torch.float32)


class Given(nn.Module):
    def __init__(self, give):
        super().__init__()
        self.inner, self.give = nn.Linear(3, 2), give

    def forward(self, x):
        return self.give(self.inner(x))


def output_of(value):
    layer = nn.Linear(2, 2)
    learner = st.learner(lambda: layer)()
    with finite_step():
        learner(torch.full((2, 2), value))


PICTURES = _draws.rand(12, 8, 8, 3)


@cache
def of_pictures(first):
    """A classifier that has learned pictures with their channels first or last."""
    x = np.moveaxis(PICTURES, -1, 1) if first else PICTURES
    return SelfTrainClassifier(steps=1, random_state=0, on_alarm="warn").fit(x, np.arange(12) % 2)


def asked(first, x):
    assert len(of_pictures(first).predict(x)) == len(x)


def column_of_codes(x):
    assert TableColumns(3, 4, categories={0: 2})(torch.tensor(x)).isfinite().all()


def viewed(**settings):
    x = np.column_stack([np.arange(24) % 2, X[:, :2]]).astype(np.float32)
    made = Pile.from_arrays(x, Y, views=TableViews(**settings))
    return made.views("plain", torch.tensor(x), torch.arange(24), 0).x.numpy()


@cache
def dense():
    """A run of masks."""
    made = Pile(ArraySet(np.zeros((4, 12, 12, 1), np.uint8), torch.zeros(4, 12, 12, dtype=torch.long)), None)
    strategy = strategies.Supervised(toy.task("segmentation"), toy.learner("segmentation"))
    return st.fit(strategy, made, steps=1, plan=BatchPlan(2))


def painted(tmp, **how):
    """The page of a run of masks."""
    run = dense()
    ledger = Ledger(["0", "1"], ("ant", "bee"))
    unlabeled = Pile(None, ArraySet(np.zeros((2, 12, 12, 1), np.uint8)), classes=["ant", "bee", "cow"])
    asked = {name: run.strategy for name in how}
    write_review(ledger, unlabeled if asked else run.pile, tmp / "page.html", **asked)
    assert "Review of" in (tmp / "page.html").read_text()


def ledger(tmp, number):
    made = Ledger(["a"], ("ant", "bee", "cow"))
    made.write(PseudoLabels(torch.tensor([0]), torch.tensor([[0.1, 0.1, 0.8]]), torch.ones(1)), st.Classification(3), 0)
    text = made.to_csv(tmp / "l.csv").read_text()
    (tmp / "l.csv").write_text(text.replace(",2,cow", f",{number},cow"))
    assert Ledger.read(tmp / "l.csv").classes[number] == "cow"


def snapshot(tmp):
    """The place of a snapshot whose list is damaged."""
    if not (tmp / "run").exists():
        fit(out=tmp / "run", steps=1, handlers=[st.handlers.Snapshots(1)])
    place = next((tmp / "run" / "snapshots").glob("*.safetensors"))
    (place.parent / INDEX).write_text("{")
    return place


_SHARDED = "unit/runtime/test_sharded.py"


def within(context, do):
    with context:
        return do()


_ALONE = "unit/engine/test_without_labels.py::test_a_trained_start_"
_DOMAINS = "unit/engine/test_domains.py::test_"
ROWS_OF = {
    "data/checks/checking.py": [
        Elsewhere("{}: a network with BatchNorm needs a strategy", f"{_DOMAINS}the_check_knows_domains"),
    ],
    "data/pile.py": [
        Elsewhere("give one for each, or one name for all", f"{_DOMAINS}domains_are_counted"),
    ],
    "selftrain/_compat.py": [
        Row("ranks of fit will go in 1.0", lambda: fit(ranks=Ranks()), lambda: within(Ranks(), fit)),
    ],
    "selftrain/cli/parser.py": [
        Elsewhere(
            "say --trust to import it",
            "unit/cli/test_cli_strangers.py::test_what_is_trusted_is_shown_before_it_is_imported",
        ),
    ],
    "selftrain/cli/starts.py": [
        Row(
            "there is no row of {}",
            lambda: check_starts({"starts": None, "init_from": None}, [FEW]),
            lambda: check_starts({"starts": ["run"], "init_from": None}, [FEW]),
            lambda: check_starts({"starts": None, "init_from": "run"}, [FEW]),
        ),
    ],
    "selftrain/strategy/base.py": [
        Elsewhere("no sample has a label, and {} reads labeled ones", f"{_ALONE}learns_another_domain_without_a_label"),
        Elsewhere("{} starts from weights that have learned none", f"{_ALONE}learns_another_domain_without_a_label"),
    ],
    "selftrain/engine/loop.py": [
        Elsewhere(
            "data without labels are learned from in one process", f"{_ALONE}learns_another_domain_without_a_label"
        ),
        Elsewhere(
            "{} trains the labels alone, and no sample has one", f"{_ALONE}learns_another_domain_without_a_label"
        ),
        Elsewhere("; to go on as it is", "unit/cli/test_cli_runs.py::test_what_an_alarm_does_can_be_chosen"),
        Elsewhere(
            "train on pile.normalized_as(encoder)",
            "unit/networks/test_foundation.py::test_inputs_of_another_normalization_are_told_and_the_remedy_works",
        ),
        Elsewhere("has the statistics of a mixture", f"{_DOMAINS}batchnorm_of_two_domains_is_told_once"),
    ],
    "selftrain/estimator/shipped.py": [
        Row(
            "derive it from SingleStudent or SeveralStudents",
            lambda: ship(Silent(), 2),
            lambda: ship(fit().strategy, 2),
            lambda: ship(fit(cls=strategies.Ensemble).strategy, 2),
        ),
    ],
    "selftrain/evaluation/probing/arrays.py": [
        Row(
            "are not finite; the encoder has diverged",
            lambda: matrix("features", encoded(1e12)),
            lambda: matrix("features", encoded(0.01)),
        ),
    ],
    "selftrain/evaluation/probing/judging.py": [
        Row(
            "samples; a report needs them",
            lambda: reported(pile(labeled=False)),
            lambda: reported(part="validation"),
        ),
        Row("samples; a report needs them", lambda: reported(part="test"), lambda: reported(part="validation")),
    ],
    "selftrain/evaluation/probing/encoding.py": [
        Row(
            "there is no sample to encode",
            lambda: features_of(encoder(), []),
            lambda: features_of(encoder(), pile().evaluation("validation", 4, CPU)),
        ),
    ],
    "selftrain/evaluation/probing/scratch.py": [
        setting("steps is {}", control, "steps", 0, 1),
        Row(
            "steps is {}",
            lambda: reported(supervised=None, scratch_steps=0),
            lambda: reported(supervised={}, scratch_steps=0),
        ),
        Row("samples; the control needs them", lambda: control(pile(labeled=False)), control),
    ],
    "selftrain/graph/agreement.py": [
        Row(
            "ask it through SelfTraining",
            lambda: GraphAgreement().select(SimpleNamespace(X=None, labels=None)),
            lambda: SelfTraining(GaussianNB(), policy=GraphAgreement()).fit(X, Y),
        ),
    ],
    "selftrain/engine/speed.py": [
        Elsewhere("tries steps in one process", f"{_SPEED}::test_several_processes_are_told_to_set_formats"),
        Elsewhere("changes the strategy itself", f"{_SPEED}::test_a_strategy_that_a_trial_would_change_is_refused"),
        Elsewhere("cannot be copied", f"{_SPEED}::test_a_strategy_that_a_trial_cannot_copy_is_refused"),
    ],
    "selftrain/handlers/baseline.py": [
        Row(
            "cannot be copied for the baseline",
            lambda: fit(made=Uncopyable(TASK, st.learner(network)), baseline=True),
            lambda: fit(made=Uncopyable(TASK, st.learner(network)), baseline=False),
        ),
    ],
    "selftrain/handlers/nonfinite.py": [
        Row(
            "steps in a row up to step {}",
            lambda: guarded(1, lr=1e25),
            lambda: guarded(1, lr=0.01),
            lambda: guarded(9, lr=1e25),
        ),
    ],
    "selftrain/handlers/snapshots.py": [
        Row(
            "name the file of weights itself",
            lambda tmp: (snapshot(tmp), read_snapshots(tmp / "run")),
            lambda tmp: st.learner(network, init_from=snapshot(tmp))(),
        ),
    ],
    "selftrain/labels/columns.py": [
        Row("is called {}; at most", lambda tmp: ledger(tmp, 1_000_000), lambda tmp: ledger(tmp, 2)),
    ],
    "selftrain/evaluation/judging.py": [
        Row(
            "there are no held-out labels; hold some back",
            lambda: _held_out(fit().strategy, pile(validation=None), "validation")[1],
            lambda: _held_out(fit().strategy, pile(), "validation")[1],
        ),
    ],
    "selftrain/labels/page/source.py": [
        Row(
            "are not in the ledger; pass the run, its folder or strategy=...",
            lambda tmp: painted(tmp),
            lambda tmp: painted(tmp, strategy=True),
        ),
    ],
    "selftrain/labels/refine.py": [
        setting(
            "the teacher's predictions are unusable",
            table,
            "confidence",
            torch.tensor([math.nan, 1.0]),
            torch.tensor([0.5, 1.0]),
        ),
    ],
    "selftrain/labels/table.py": [
        Elsewhere(
            "counts is {} and alpha {}",
            "unit/pipeline/test_rebalancing.py::test_rebalanced_counts_kept_units_only_and_says_so",
        ),
        Elsewhere("leave out rebalanced()", "unit/pipeline/test_rebalancing.py::test_joints_have_no_class"),
        Row(
            "store a table with save()",
            lambda tmp: continued(tmp, stored=False),
            lambda tmp: continued(tmp, stored=True),
        ),
    ],
    "selftrain/labels/teacher_pass.py": [
        Row("its parts must have the same rows", lambda: labeled(5), lambda: labeled(4)),
    ],
    "selftrain/metrics/features.py": [
        Row(
            "features are not finite; the encoder has diverged",
            lambda: rankme(encoded(1e12)),
            lambda: rankme(encoded(0.01)),
        ),
    ],
    "selftrain/networks/outputs.py": [
        Row(
            "where logits are needed; {}",
            lambda: fit(made=strategies.Supervised(TASK, st.learner(lambda: Given(lambda out: {"y": out})))),
            lambda: fit(made=strategies.Supervised(TASK, st.learner(lambda: Given(lambda out: {"logits": out})))),
        ),
    ],
    "selftrain/networks/student.py": [
        Row(
            "of the stage; look at the schedule",
            lambda: st.learner(network, schedule=lambda progress: math.inf)().set_lr(0.5),
            lambda: st.learner(network, schedule=lambda progress: 1.0)().set_lr(0.5),
        ),
        Row(
            "label mode is {}",
            lambda: fit(cls=strategies.FixMatch, own={"label_mode": "rest"}),
            lambda: fit(cls=strategies.FixMatch, own={"label_mode": "eval"}),
            lambda: fit(cls=strategies.FixMatch, own={"label_mode": "batch"}),
        ),
    ],
    "selftrain/networks/timm.py": [
        Row(
            "it must give features (2, width)",
            lambda: FeatureEncoder(nn.Unflatten(1, (1, 3)), (3,)),
            lambda: FeatureEncoder(nn.Linear(3, 4), (3,)),
        ),
    ],
    "selftrain/networks/tokenizers.py": [
        setting("patch is {}", lambda patch: SeriesPatches((1, 8), patch, 4), "patch", 0, 1),
        Row(
            "declare it in TableViews(categorical=...)",
            lambda: column_of_codes(viewed()),
            lambda: column_of_codes(viewed(categorical=[0])),
        ),
        Row(
            "declare it in TableViews(categorical=...)",
            lambda: TableColumns(3, 4, categories={0: 2})(torch.full((2, 3), 2.0)),
            lambda: TableColumns(3, 4, categories={0: 3})(torch.full((2, 3), 2.0)),
        ),
    ],
    "selftrain/pretrain/maskers.py": [
        Row(
            "a batch of {} on the grid",
            lambda: Runs()(2, Layout((9,), torch.rand(3, 9, 3))),
            lambda: Runs()(2, Layout((9,), torch.rand(2, 9, 3))),
        ),
    ],
    "selftrain/runtime/distributed/sharded.py": [
        Elsewhere(says, f"{_SHARDED}::test_what_cannot_be_sharded_is_refused")
        for says in ("share weights, which cannot", "without an axis", "numbers for weights", "is to learn by itself")
    ],
    "selftrain/networks/copying.py": [
        Elsewhere("as this method needs it", f"{_SHARDED}::test_what_cannot_be_sharded_is_refused")
    ],
    "selftrain/runtime/distributed/rows.py": [
        Elsewhere(
            "rows of other ranks are asked for",
            "unit/runtime/test_rows.py::test_rows_that_the_first_rank_asks_for_by_itself_are_an_error_and_not_a_wait",
        ),
    ],
    "selftrain/runtime/distributed/collectives.py": [
        Row(
            "all must run the same program on the same data",
            lambda: in_a_group(drawn(0), drawn(1)),
            lambda: in_a_group(drawn(0), drawn(0)),
        ),
    ],
    "selftrain/runtime/finite.py": [
        Row("the output of a network is not finite", lambda: output_of(math.nan), lambda: output_of(1.0)),
        Elsewhere(
            "the step left numbers that are not finite",
            "reliability/test_left_finite.py::test_the_remedies_of_the_message_help",
        ),
    ],
    "selftrain/wrapper/rows.py": [
        *(
            Row(says, lambda: asked(False, PICTURES[:, :7]), lambda: asked(False, PICTURES))
            for says in ("pass rows like those", "X has rows of shape {}")
        ),
        Row(
            "pass np.moveaxis(X, 1, -1)",
            lambda: asked(False, np.moveaxis(PICTURES, -1, 1)),
            lambda: asked(False, np.moveaxis(np.moveaxis(PICTURES, -1, 1), 1, -1)),
        ),
        Row(
            "pass np.moveaxis(X, -1, 1)",
            lambda: asked(True, PICTURES),
            lambda: asked(True, np.moveaxis(PICTURES, -1, 1)),
        ),
    ],
    "data/loading/stream.py": [
        Row("make it larger", lambda: _check_divisible((0, 2), 1), lambda: _check_divisible((0, 2), 2)),
    ],
}
