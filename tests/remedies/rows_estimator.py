"""Remedies of the messages of ``selftrain/estimator`` and ``selftrain/catalog``."""

from functools import cache, partial

import numpy as np
import pandas as pd
from remedies import Row, setting
from scipy import sparse
from torch import nn

import selftrain as st
from selftrain import pretrain, select, strategies, toy
from selftrain.catalog.methods import make_strategy
from selftrain.catalog.parts import make_part, make_rule
from selftrain.catalog.pretraining import make_recipe
from selftrain.estimator import LabeledKFold, PretrainedEncoder, SelfTrainClassifier
from selftrain.strategy.base import Strategy

_draws = np.random.RandomState(0)
X = _draws.normal(size=(24, 3))
Y = np.where(np.arange(24) < 12, np.arange(24) % 2, -1)
PICTURES = _draws.randint(0, 255, (24, 8, 8)).astype(np.uint8)
FRAME = pd.DataFrame(X, columns=["a", "b", "c"])
QUICK = {"strategy": "fixmatch", "network": lambda: nn.Linear(3, 2), "steps": 1, "random_state": 0, "on_alarm": "warn"}


def fitted(x=X, y=Y, **settings):
    """An estimator of a network that was trained for a step, and predicts."""
    given = {**QUICK, **settings}
    if np.shape(x)[1:] != (3,) and "network" not in settings:
        given["network"] = "auto"
    model = SelfTrainClassifier(**given).fit(x, y)
    assert len(model.predict(x)) == np.shape(x)[0]
    return model


@cache
def automatic():
    return SelfTrainClassifier(strategy="auto", budget=0, random_state=0).fit(X[:16], Y[:16])


def folds(y=Y, groups=None, n_splits=2):
    assert len(list(LabeledKFold(n_splits).split(X, y, groups))) == n_splits


def frame(**columns):
    return FRAME.assign(**columns)


def encoder(x):
    return PretrainedEncoder(steps=1, random_state=0).fit(x)


def strategy(name, **settings):
    made = make_strategy(
        name,
        toy.learner("classification"),
        settings,
        task=toy.task("classification"),
        label_shape=(3,),
        unlabeled=24,
        steps=9,
    )
    assert isinstance(made, Strategy)


def recipe(recipe):
    assert isinstance(make_recipe(recipe, pretrain.table_transformer(3, width=8, depth=1, heads=2), {}), Strategy)


GAPS, NAMED = frame(a=np.where(X[:, 0] > 1, np.nan, X[:, 0])), frame(a=[*"pq"] * 12)
DEEP = _draws.randint(0, 1000, (24, 8, 8)).astype(np.int32)
FAR = DEEP.copy()
FAR[0, 0, 0] = 10**6
FLAT = sparse.csr_matrix(PICTURES.reshape(24, -1))
GROUPS = np.arange(24) % 4

E, C = "selftrain/estimator", "selftrain/catalog"
ROWS_OF = {
    f"{E}/base.py": [
        Row(
            "row(s); give at least 2",
            lambda: fitted(NAMED[:1], Y[:1], network="auto"),
            lambda: fitted(NAMED[:2], Y[:2], network="auto"),
        ),
        Row(
            "pass pandas.DataFrame(X), or leave table out",
            lambda: fitted(network="auto", table={"categorical": ["0"]}),
            lambda: fitted(pd.DataFrame(X), network="auto", table={"columns": {"0": "number"}}),
            lambda: fitted(network="auto"),
        ),
        Row(
            "leave kind out, or pass X.toarray(), reshaped",
            lambda: SelfTrainClassifier(kind="image").fit(FLAT, Y),
            lambda: SelfTrainClassifier()._learn_rows(FLAT),
            lambda: SelfTrainClassifier(kind="image")._learn_rows(FLAT.toarray().reshape(24, 8, 8)),
        ),
    ],
    f"{E}/classifier.py": [
        *(setting("it must be an integer of at least 1", fitted, name, 0, 1) for name in ("members", "batch_size")),
        Row(
            "leave it out, or set strategy='auto'",
            lambda: fitted(budget="fast"),
            lambda: fitted(),
            lambda: automatic().predict(X[:10]),
        ),
        setting("it is a share of the labels, in [0, 1)", fitted, "validation", 1, 0, 0.2),
        Row(
            "set strategy='freematch'",
            lambda: automatic().transform(X[:10]),
            lambda: fitted(strategy="freematch", network="auto").transform(X),
        ),
        Row(
            "fit it to rows like these",
            lambda: fitted(network="auto", pretrain=encoder(X[:, :2])),
            lambda: fitted(network="auto", pretrain=encoder(X)),
        ),
    ],
    f"{E}/folds.py": [
        Row("label some of each class", lambda: folds(np.full(24, -1)), lambda: folds()),
        Row(
            "make fewer folds",
            lambda: folds(groups=GROUPS, n_splits=5),
            lambda: folds(groups=GROUPS, n_splits=2),
        ),
        setting("rows but {} groups; give one for each row", folds, "groups", GROUPS[:5], GROUPS),
        setting(
            "one of its own if it belongs to none",
            folds,
            "groups",
            np.where(GROUPS == 3, np.nan, GROUPS),
            GROUPS,
            np.where(GROUPS == 3, 100 + np.arange(24), GROUPS),
        ),
    ],
    f"{E}/inputs.py": [
        Row(
            "have no black and white; leave them out",
            lambda: fitted(limits=(0, 1)),
            lambda: fitted(),
        ),
        Row(
            "if they mean that nothing was measured, say limits=({}, {})",
            lambda: fitted(FAR),
            lambda: fitted(FAR, limits=(0, 999)),
        ),
        Row(
            "known are {}, as of data.from_table",
            lambda: fitted(NAMED, network="auto", table={"colums": {"a": "drop"}}),
            lambda: fitted(NAMED, network="auto", table={"columns": {"a": "drop"}}),
        ),
        Row(
            "settings of the table are given as table=",
            lambda: fitted(NAMED, network="auto", table={"max_categories": 1}),
            lambda: fitted(NAMED, network="auto", table={"max_categories": 1, "columns": {"a": "drop"}}),
            lambda: fitted(NAMED, network="auto", table={"max_categories": 2}),
        ),
        Row(
            "hold gaps or no numbers, and the rows of fit had numbers alone",
            lambda: fitted(FRAME).predict(GAPS),
            lambda: fitted(FRAME).predict(GAPS.fillna(0)),
            lambda: fitted(GAPS, network="auto").predict(GAPS),
        ),
        setting("or None to go by the number of axes", fitted, "kind", "sound", "table", None),
        Row(
            "reshape it, or set kind",
            lambda: fitted(X[:, :, None, None, None]),
            lambda: fitted(X[:, :, None, None, None].reshape(24, 3)),
        ),
        Row(
            "reshape it, or set kind",
            lambda: fitted(PICTURES / 255, kind="table"),
            lambda: fitted((PICTURES / 255).reshape(24, -1), kind="table"),
            lambda: fitted(PICTURES / 255, kind="image"),
        ),
    ],
    f"{E}/shipped.py": [
        Row(
            "give Classifier(encoder, classes)",
            lambda: fitted().transform(X),
            lambda: fitted(
                network=lambda: st.Classifier(pretrain.table_transformer(3, width=8, depth=1, heads=2), 2)
            ).transform(X),
        ),
    ],
    f"{C}/methods.py": [
        setting(
            "give a name, a class of selftrain.strategies or", strategy, "name", 5, "fixmatch", strategies.FixMatch
        ),
        setting("no method {}; known are {}", strategy, "name", "fixmach", "fixmatch"),
    ],
    f"{C}/parts.py": [
        setting("known are {}, called or not", partial(make_part, "mix"), "value", "cutout", "mixup", "mixup()"),
        setting(
            "give a rule of selftrain.select, or text",
            partial(make_rule, classes=3, unlabeled=24),
            "rule",
            0.9,
            select.above(0.9),
            "above(0.95)",
        ),
        setting(
            "write a name such as {}, or a call with plain values",
            partial(make_rule, classes=3, unlabeled=24),
            "rule",
            "above(x)",
            "above",
            "above(0.9)",
        ),
    ],
    f"{C}/pretraining.py": [
        setting("no recipe {}; known are {}", recipe, "recipe", "may", "tjepa"),
        setting("or a function of an encoder such as", recipe, "recipe", 5, "tjepa", pretrain.TJEPA),
        setting("it must build a stage of selftrain.pretrain", recipe, "recipe", lambda encoder: 5, pretrain.TJEPA),
    ],
}
