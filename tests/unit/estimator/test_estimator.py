"""SelfTrainClassifier: labels, provenance, what is shipped, randomness, refusals."""

from __future__ import annotations

import pickle
import random
import warnings

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_wine
from torch import nn

import selftrain as st
from selftrain import catalog, strategies, toy
from selftrain.catalog import default_settings, make_rule, make_strategy, short_averages
from selftrain.estimator import DenseEncoder, SelfTrainClassifier
from selftrain.estimator.shipped import ship

X, Y = load_wine(return_X_y=True)
HIDDEN = np.where(np.arange(len(Y)) % 3 == 0, Y, -1)
QUICK = {"steps": 12, "lr": 0.02, "batch_size": 12, "random_state": 0}


def model(**settings):
    return SelfTrainClassifier(**{**QUICK, **settings})


@pytest.fixture(scope="module")
def fitted():
    return model(strategy="fixmatch", steps=60, select="above(0.7)").fit(X, HIDDEN)


# -- labels and provenance ---------------------------------------------------------------------------------------------
def test_it_learns_from_few_labels(fitted):
    assert fitted.score(X[HIDDEN < 0], Y[HIDDEN < 0]) > 0.9
    assert fitted.classes_.tolist() == [0, 1, 2]
    assert fitted.n_features_in_ == 13
    np.testing.assert_allclose(fitted.predict_proba(X).sum(1), 1, atol=1e-12)


def test_after_a_collapse_it_ships_what_the_labels_alone_give(monkeypatch):
    """As the self-check is made to see one in any run."""
    monkeypatch.setattr("selftrain.handlers.selfcheck.collapsed", lambda *values: True)
    monkeypatch.setattr("selftrain.handlers.selfcheck.ROWS", 1)
    settings = {"strategy": "fixmatch", "select": "above(0.3)", "members": 2}
    with pytest.warns(st.SelfTrainingWarning, match="collapse"):
        fell = model(**settings).fit(X, HIDDEN)
    alone = model(strategy="supervised", strategy_params={"decay": 0.0}, members=2).fit(X, HIDDEN)
    assert [fallback.to for fallback in fell.fallbacks_] == ["baseline", "baseline"]
    assert {alarm.kind for alarm in fell.alarms_} == {"collapse"}
    assert (fell.transduction_[HIDDEN < 0] == -1).all()
    assert (fell.labeled_iter_[HIDDEN < 0] == -1).all()
    with pytest.warns(st.SelfTrainingWarning, match="collapse"):
        warned = model(**settings, on_alarm="warn").fit(X, HIDDEN)
    assert warned.fallbacks_ == []
    given = model(strategy="fixmatch", strategy_params={"decay": 0.0}, select="above(0.3)", members=2)
    with pytest.warns(st.SelfTrainingWarning, match="collapse"):
        np.testing.assert_array_equal(given.fit(X, HIDDEN).predict_proba(X), alone.predict_proba(X))
    assert not np.array_equal(warned.predict_proba(X), fell.predict_proba(X))


def test_provenance_is_that_of_the_ledger(fitted):
    pile = np.flatnonzero(HIDDEN < 0)
    book = fitted.ledger_
    assert list(map(int, book.ids)) == pile.tolist()
    assert (fitted.labeled_iter_[HIDDEN >= 0] == 0).all()
    accepted = book.accepted.numpy()
    assert 0 < accepted.sum() < len(pile)  # some are, some are not
    expected = np.where(accepted, book.label.numpy(), -1)
    assert np.array_equal(fitted.transduction_[pile], expected)
    assert np.array_equal(fitted.transduction_[HIDDEN >= 0], Y[HIDDEN >= 0])
    first = book.first_accepted.numpy()
    assert np.array_equal(fitted.labeled_iter_[pile], np.where(first < 0, -1, first + 1))
    assert fitted.labeled_iter_.max() <= 60
    assert fitted.n_iter_ == 60
    assert fitted.termination_condition_ == "max_steps"


NAMES = np.array(["barolo", "grignolino", "barbera"])


@pytest.mark.parametrize(
    ("labels", "marker"),
    [
        (np.array([NAMES[c] if c >= 0 else None for c in HIDDEN], dtype=object), -1),
        (np.array([NAMES[c] if c >= 0 else float("nan") for c in HIDDEN], dtype=object), -1),
        (np.array([NAMES[c] if c >= 0 else -1 for c in HIDDEN], dtype=object), -1),
        (np.where(HIDDEN >= 0, NAMES[HIDDEN], "?"), "?"),
        (np.array([NAMES[c] if c >= 0 else None for c in HIDDEN], dtype=object), None),
    ],
    ids=["none", "nan", "number", "marker", "explicit none"],
)
def test_names_as_classes(labels, marker):
    order = np.argsort(np.argsort(NAMES))  # class numbers follow the sorted names
    said = model(unlabeled=marker).fit(X, labels)
    same = model().fit(X, np.where(HIDDEN >= 0, order[HIDDEN], -1))
    assert said.classes_.tolist() == sorted(NAMES.tolist())
    assert np.array_equal(said.predict_proba(X), same.predict_proba(X))
    assert np.array_equal(said.predict(X), np.sort(NAMES)[same.predict(X)])
    assert said.transduction_[0] == NAMES[Y[0]]
    assert said.score(X, labels) == same.score(X, np.where(HIDDEN >= 0, order[HIDDEN], -1))


def test_numbers_with_gaps_and_another_marker():
    odd = np.array([7.0, 3.0, 90.0])
    given = np.where(HIDDEN >= 0, odd[HIDDEN], np.nan)
    found = model(unlabeled=None).fit(X, given)
    assert found.classes_.tolist() == [3.0, 7.0, 90.0]
    assert set(found.predict(X)) <= set(odd)


def test_score_passes_over_unlabeled_rows(fitted):
    known = HIDDEN >= 0
    right = fitted.predict(X)[known] == Y[known]
    assert fitted.score(X, HIDDEN) == right.mean()
    weight = np.arange(float(len(X)))
    assert fitted.score(X, HIDDEN, weight) == pytest.approx(np.average(right, weights=weight[known]))
    with pytest.raises(ValueError, match="all 2 rows of y are unlabeled; there is nothing to score"):
        fitted.score(X[:2], [-1, -1])


def test_without_unlabeled_rows_it_warns_once_and_learns_the_labels():
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        full = model(steps=40).fit(X, Y)
    assert ["supervised only" in str(w.message) for w in said] == [True]
    assert full.termination_condition_ == "all_labeled"
    assert (full.labeled_iter_ == 0).all()
    assert np.array_equal(full.transduction_, Y)
    assert full.score(X, Y) > 0.95


@pytest.fixture
def runs(monkeypatch):
    """All calls of the engine, as they end."""
    from selftrain.estimator import classifier

    seen, real = [], classifier.fit
    monkeypatch.setattr(classifier, "fit", lambda *a, **k: seen.append(real(*a, **k)) or seen[-1])
    return seen


def test_rows_held_out_are_not_learned_from(runs):
    found = model(validation=0.3, steps=2).fit(X, HIDDEN)
    held, pile = found.validation_, runs[0].pile
    assert np.bincount(HIDDEN[held]).tolist() == [round(0.3 * n) for n in np.bincount(HIDDEN[HIDDEN >= 0])]
    assert [int(name) for name in pile.validation.ids] == held.tolist()
    for learned in (pile.labeled, pile.unlabeled):
        assert not np.isin(held, [int(name) for name in learned.ids]).any()
    assert len(pile.labeled) == (HIDDEN >= 0).sum() - len(held)
    assert (found.labeled_iter_[held] == 0).all()


def test_the_weights_that_are_best_on_held_out_rows_are_kept(runs, monkeypatch):
    monkeypatch.setattr("selftrain.engine.run.FEW", 1)  # labels below which they choose nothing
    guess = np.random.RandomState(0).randint(0, 3, len(Y))  # nothing to learn, so accuracy on others goes up and down
    labels = np.where(HIDDEN >= 0, guess, -1)
    settings = {"strategy": "fixmatch", "strategy_params": {"decay": None}}
    chosen = model(validation=0.3, steps=30, **settings).fit(X, labels)
    held = chosen.validation_
    assert chosen.score(X[held], guess[held]) == pytest.approx(runs[0].best["accuracy"])
    assert runs[0].best["accuracy"] > runs[0].last["validation"]["accuracy"]  # else this shows nothing


# -- what is shipped ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", catalog.METHODS)
def test_what_is_shipped_predicts_as_the_strategy(name):
    outputs = 3 * catalog.METHODS[name].outputs
    torch.manual_seed(0)
    make = st.learner(lambda: nn.Sequential(nn.Linear(13, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, outputs)))
    strategy = make_strategy(name, make, {}, task=st.Classification(3), label_shape=(3,), unlabeled=20, steps=10)
    for module in strategy.modules():  # teachers that are not their students
        for parameter in module.parameters(recurse=False):
            parameter.data.add_(torch.randn_like(parameter))
    x = torch.randn(9, 13)
    shipped = ship(strategy, 3).eval()
    strategy.eval()
    torch.testing.assert_close(shipped(x), strategy.predict(x))


@pytest.mark.parametrize("settings", [{"outlier_class": 1}, {"decay": 0.9}, {}])
def test_an_ensemble_is_shipped_whole(settings):
    torch.manual_seed(0)
    strategy = strategies.Ensemble(st.Classification(3), st.learner(lambda: nn.Linear(13, 3)), **settings)
    for parameter in strategy.parameters():
        parameter.data.add_(torch.randn_like(parameter))
    x = torch.randn(9, 13)
    torch.testing.assert_close(ship(strategy, 3)(x), strategy.predict(x))
    assert len(ship(strategy, 3).networks) == 3


@pytest.mark.one_in(3)
@pytest.mark.parametrize("name", catalog.METHODS)
def test_every_method_by_name(name):
    found = model(strategy=name, steps=3, batch_size=16).fit(X, HIDDEN)
    assert found.predict_proba(X[:1]).shape == (1, 3)
    assert pickle.loads(pickle.dumps(found)).predict(X[:5]).tolist() == found.predict(X[:5]).tolist()


def test_members_vote_with_their_means():
    both = model(members=2).fit(X, HIDDEN)
    alone = model().fit(X, HIDDEN)
    first, second = both.network_.networks
    x = both.views_("plain", torch.tensor(X, dtype=torch.float32), torch.arange(len(X)), 0).x.double()
    expected = (first(x).softmax(1) + second(x).softmax(1)) / 2
    np.testing.assert_allclose(both.predict_proba(X), expected.numpy())
    np.testing.assert_allclose(alone.predict_proba(X), first(x).softmax(1).numpy())  # the first is as if alone
    assert not torch.equal(first(x), second(x))


def test_features_are_those_of_the_encoder(fitted):
    network = fitted.network_.networks[0]
    x = fitted.views_("plain", torch.tensor(X, dtype=torch.float32), torch.arange(len(X)), 0).x.double()
    np.testing.assert_allclose(fitted.transform(X), network.encoder(x).numpy())
    assert fitted.get_feature_names_out().tolist() == [f"selftrainclassifier{i}" for i in range(128)]
    np.testing.assert_allclose(network.head(torch.tensor(fitted.transform(X))).softmax(1), fitted.predict_proba(X))
    bare = model(network=nn.Linear(13, 3), steps=2).fit(X, HIDDEN)
    with pytest.raises(ValueError, match="Linear has no encoder to take features of"):
        bare.transform(X)


def test_a_row_is_answered_alike_in_any_company(fitted):
    assert next(fitted.network_.parameters()).dtype == torch.float64  # single precision may pass by luck
    whole = fitted.predict_proba(X)
    np.testing.assert_allclose(whole[::-1], fitted.predict_proba(X[::-1]), rtol=0, atol=1e-12)
    np.testing.assert_allclose(whole[5:6], fitted.predict_proba(X[5:6]), rtol=0, atol=1e-12)


def test_a_network_that_insists_on_single_precision():
    class Single(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(13, 3)

        def forward(self, x):
            return self.layer(x.float())

    found = model(network=Single, steps=2).fit(X, HIDDEN)
    assert next(found.network_.parameters()).dtype == torch.float32
    assert found.predict_proba(X).shape == (len(X), 3)


# -- networks and settings ---------------------------------------------------------------------------------------------
def test_a_module_is_copied():
    template = toy.mlp(13, 3)
    before = [p.clone() for p in template.parameters()]
    found = model(network=template).fit(X, HIDDEN)
    assert all(torch.equal(a, b) for a, b in zip(before, template.parameters(), strict=True))
    assert all(p.dtype == torch.float32 and p.requires_grad for p in template.parameters())
    assert not torch.equal(next(found.network_.parameters()).float(), before[0])


def test_functions_of_shape_and_outputs_of_shape_and_of_nothing():
    asked = []

    def full(shape, outputs):
        asked.append((shape, outputs))
        return toy.mlp(shape[0], outputs)

    def of_shape(shape):
        return DenseEncoder(shape[0], width=16)

    model(network=full, steps=2, strategy="mean_teacher_two_heads").fit(X, HIDDEN)
    assert set(asked) == {((13,), 6)}
    assert model(network=of_shape, steps=2).fit(X, HIDDEN).transform(X).shape == (len(X), 16)
    assert model(network=lambda: toy.mlp(13, 3), steps=2).fit(X, HIDDEN).predict(X).shape == (len(X),)


def test_a_rule_as_text_is_the_rule():
    said = model(select="above(0.4)").fit(X, HIDDEN)
    same = model(select=st.select.above(0.4)).fit(X, HIDDEN)
    other = model(select="above(0.99)").fit(X, HIDDEN)
    assert np.array_equal(said.predict_proba(X), same.predict_proba(X))
    assert not np.array_equal(said.predict_proba(X), other.predict_proba(X))


def test_a_rule_that_is_given_keeps_a_memory_of_its_own():
    given = st.select.free(4)
    made = make_rule(given, classes=4, unlabeled=20)
    assert type(made) is type(given)
    next(made.buffers()).add_(1)
    assert all(bool((a == b).all()) for a, b in zip(given.buffers(), st.select.free(4).buffers(), strict=True))


@pytest.mark.parametrize(
    ("text", "kind", "settings"),
    [
        ("everything", "Everything", {}),
        ("above(0.7)", "Above", {"threshold": 0.7}),
        ("top(share=0.2)", "TopShare", {"share": 0.2}),
        ("quantile(0.3)", "Quantile", {"share": 0.3}),
        ("flex(threshold=0.8)", "Flex", {"groups": 4, "threshold": 0.8}),
        ("free", "Free", {"decay": 0.999}),
        ("soft()", "Soft", {"sigmas": 2.0}),
        ("relative(0.5)", "Relative", {"threshold": 0.5}),
        ("class_wise", "ClassWise", {}),
    ],
)
def test_rules_by_name(text, kind, settings):
    rule = make_rule(text, classes=4, unlabeled=20)
    assert type(rule).__name__ == kind
    assert {key: getattr(rule, key) for key in settings} == settings


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("below(0.4)", "known are everything, above"),
        ("above(0.4, 0.5)", r"takes 1 value\(s\) without a name: threshold"),
        ("above(limit=0.5)", "Above has no setting 'limit'; it takes threshold"),
        ("above(x)", "plain values"),
        ("__import__('os').getcwd()", "plain values"),
        (0.4, "give a rule of selftrain.select"),
    ],
)
def test_what_is_no_rule(text, message):
    with pytest.raises(ValueError, match=message):
        make_rule(text, classes=4, unlabeled=20)


def test_averages_are_shortened_to_the_stage():
    assert short_averages(strategies.FixMatch, 500) == {"decay": 0.98}
    assert short_averages(strategies.FixMatch, 1_000_000) == {"decay": 0.999}
    assert short_averages(strategies.ReviewedTeacher, 500) == {"decay": 0.98, "review_decay": 0.99}
    assert short_averages(strategies.FreeMatch, 100)["threshold_decay"] == 0.9
    given = model(strategy_params={"decay": 0.5}).fit(X, HIDDEN)
    assert not np.array_equal(given.predict_proba(X), model().fit(X, HIDDEN).predict_proba(X))


def test_a_class_and_a_function_are_strategies():
    by_name = model(strategy="fixmatch", strategy_params={"decay": 0.9}).fit(X, HIDDEN)
    by_class = model(strategy=strategies.FixMatch, strategy_params={"decay": 0.9}).fit(X, HIDDEN)
    by_call = model(strategy=lambda task, make: strategies.FixMatch(task, make, decay=0.9)).fit(X, HIDDEN)
    assert np.array_equal(by_name.predict_proba(X), by_class.predict_proba(X))
    assert np.array_equal(by_name.predict_proba(X), by_call.predict_proba(X))


def test_the_automatic_strategy_goes_by_whether_a_rule_is_given(runs):
    own, given = model(steps=2).fit(X, HIDDEN), model(steps=2, select="above(0.4)").fit(X, HIDDEN)
    assert [type(run.strategy) for run in runs] == [strategies.FreeMatch, strategies.FixMatch]
    assert [own.strategy_, given.strategy_] == ["freematch", "fixmatch"]
    assert model(strategy="vat", steps=2).fit(X, HIDDEN).strategy_ == "vat"


@pytest.mark.parametrize(
    ("classes", "labeled", "drawn", "few"),
    [
        (1000, 2000, 300 * 32, True),
        (1000, 5000, 300 * 32, True),  # each class is drawn ten times
        (10, 10, 500 * 32, True),  # one label a class
        (100, 400, 12_799, True),
        (100, 400, 12_800, False),
        (3, 9, 383, True),
        (3, 9, 384, False),
        (3, 8, 9600, True),
    ],
)
def test_the_default_waits_for_a_sure_network_where_labels_are_few(classes, labeled, drawn, few):
    figures = {"classes": classes, "labeled": labeled, "drawn": drawn}
    assert default_settings("freematch", **figures) == ({"limits": (0.95, 1.0)} if few else {})
    assert default_settings("fixmatch", **figures) == {}


def test_the_automatic_strategy_of_many_classes_is_not_below_the_labels_alone():
    """Each of 50 classes is drawn 20 times: FreeMatch takes every decision of the untrained network."""
    draw, classes = np.random.default_rng(0), 50
    y = np.repeat(np.arange(classes), 8)
    x = draw.normal(size=(classes, 32))[y] + 0.6 * draw.normal(size=(len(y), 32))
    hidden = np.where(np.arange(len(y)) % 8 < 3, y, -1)
    found = {}
    for strategy, on_alarm in (
        ("supervised", "warn"),
        ("freematch", "warn"),
        ("auto", "warn"),
        ("freematch", "fallback"),
    ):
        made = model(strategy=strategy, steps=30, lr=0.003, batch_size=32, on_alarm=on_alarm).fit(x, hidden)
        found[strategy, on_alarm] = made.score(x[hidden < 0], y[hidden < 0])
    floor = found["supervised", "warn"] - 0.1
    assert found["auto", "warn"] > floor > found["freematch", "warn"]
    assert found["freematch", "fallback"] > floor


def test_limits_that_are_given_and_methods_that_are_named_stay_as_they_are(runs):
    few = np.where(np.arange(len(Y)) % 60 == 0, Y, -1)
    for settings in ({}, {"strategy_params": {"limits": (0.1, 0.9)}}, {"strategy": "freematch"}):
        assert model(steps=2, **settings).fit(X, few).strategy_ == "freematch"
    model(steps=2, batch_size=192).fit(X, HIDDEN)  # 128 a class
    rules = [run.strategy.pseudo_labeling.select for run in runs]
    assert [rule.lowest for rule in rules] == [0.95, 0.1, 0.0, 0.0]


def test_epochs_are_passes_over_the_unlabeled_rows():
    rows = (HIDDEN < 0).sum()
    assert model(steps=None, epochs=2).fit(X, HIDDEN).n_iter_ == 2 * -(-rows // 24)


def test_a_run_folder_for_each_member(tmp_path):
    one = model(out=tmp_path / "one", steps=3).fit(X, HIDDEN)
    assert (tmp_path / "one" / "pseudo_labels.csv").is_file()
    with pytest.raises(st.RunFolderError):
        one.fit(X, HIDDEN)
    one.set_params(overwrite=True).fit(X, HIDDEN)
    model(out=tmp_path / "two", steps=3, members=2).fit(X, HIDDEN)
    assert sorted(p.name for p in (tmp_path / "two").iterdir()) == ["member-0", "member-1"]


# -- randomness --------------------------------------------------------------------------------------------------------
def test_one_seed_one_result_and_the_callers_state_stays():
    torch.manual_seed(3), np.random.seed(3), random.seed(3)
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    first = model().fit(X, HIDDEN).predict_proba(X)
    assert torch.equal(before[0], torch.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])
    assert before[2] == random.getstate()
    torch.manual_seed(99)
    assert np.array_equal(first, model().fit(X, HIDDEN).predict_proba(X))
    assert not np.array_equal(first, model(random_state=1).fit(X, HIDDEN).predict_proba(X))
    drawn = model(random_state=np.random.RandomState(0))
    assert not np.array_equal(drawn.fit(X, HIDDEN).predict_proba(X), drawn.fit(X, HIDDEN).predict_proba(X))


def test_a_pickle_and_a_clone(fitted):
    again = pickle.loads(pickle.dumps(fitted))
    assert np.array_equal(again.predict_proba(X), fitted.predict_proba(X))
    assert np.array_equal(again.labeled_iter_, fitted.labeled_iter_)
    assert again.ledger_.summary() == fitted.ledger_.summary()
    copied = clone(fitted)
    assert not hasattr(copied, "network_")
    assert np.array_equal(copied.fit(X, HIDDEN).predict_proba(X), fitted.predict_proba(X))


# -- refusals ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"strategy": "fixmatsch"}, "no method 'fixmatsch'; known are"),
        ({"strategy": 3}, "strategy is 3; give a name"),
        ({"strategy_params": {"decai": 0.9}}, "cannot be built with .*'decai': 0.9.*did you mean 'decay'"),
        ({"strategy": "flexmatch", "select": "free"}, "'select'"),
        ({"network": "vit"}, "no network 'vit' for table data; known are auto, mlp"),
        ({"network": nn.Linear(13, 2)}, r"Linear gives \(2, 2\) for 2 samples of shape \(13,\).*need .*\(2, 3\)"),
        ({"network": nn.Linear(12, 3)}, r"Linear does not run on inputs of shape \(13,\)"),
        ({"network": 3}, "network is 3; give a name"),
        ({"kind": "film"}, "kind is 'film'; choose one of"),
        ({"members": 0}, "members is 0"),
        ({"batch_size": 2.5}, "batch_size is 2.5"),
        ({"validation": 1.5}, "validation is 1.5"),
        ({"steps": 3, "epochs": 3}, "not both"),
        ({"steps": 0}, "the run has 0 steps"),
        ({"lr": -1.0}, "lr is -1.0"),
    ],
)
def test_settings_that_do_not_fit(settings, message):
    with pytest.raises(ValueError, match=message):
        model(**settings).fit(X, HIDDEN)


def test_data_that_cannot_be_learned_from(fitted):
    for bad in (np.nan, np.inf):
        broken = X.copy()
        broken[3, 2] = bad
        with pytest.raises(ValueError, match="NaN|infinity"):
            model().fit(broken, HIDDEN)
        with pytest.raises(ValueError, match="NaN|infinity"):
            fitted.predict(broken)
    with pytest.raises(ValueError, match="all of one class, 0"):
        model().fit(X, np.where(HIDDEN == 0, 0, -1))
    with pytest.raises(ValueError, match="all 178 rows of y are marked -1"):
        model().fit(X, np.full(len(X), -1))
    with pytest.raises(ValueError, match="12 features"):
        fitted.predict(X[:, :12])
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        model().fit(X, HIDDEN[:-1])


def test_nothing_is_checked_before_fit():
    odd = SelfTrainClassifier(strategy="nonsense", steps=-3, members=None)
    assert clone(odd).get_params()["strategy"] == "nonsense"


def test_column_names_are_kept():
    pd = pytest.importorskip("pandas")
    names = [f"f{i}" for i in range(13)]
    found = model(steps=3).fit(pd.DataFrame(X, columns=names), pd.Series(HIDDEN))
    assert found.feature_names_in_.tolist() == names
    with pytest.raises(ValueError, match="feature names"):
        found.predict(pd.DataFrame(X, columns=names[::-1]))
    text = pd.Series(NAMES[HIDDEN], dtype="string").where(HIDDEN >= 0)
    assert model(steps=3).fit(X, text).classes_.tolist() == sorted(NAMES.tolist())
