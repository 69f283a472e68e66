"""Remedies of messages that a run meets later: what diverges, is predicted, opened, read and asked again."""

from functools import cache, partial

import numpy as np
import pandas as pd
import torch
from remedies import Row, setting
from torch import nn

import selftrain as st
from selftrain import pretrain, strategies
from selftrain.data import ArraySet, Pile, TableEncoding, from_table
from selftrain.data.loading.stream import PairedStream
from selftrain.handlers import Handler, NonFiniteGuard
from selftrain.labels.ledger import Ledger
from selftrain.labels.review import read_review
from selftrain.networks.foundation import TorchvisionNet
from selftrain.pretrain.maskers import Curriculum, RandomMask
from selftrain.storage.lock import locked
from selftrain.strategy.base import Needs
from selftrain.types import BatchPlan, PseudoLabels

X = np.random.RandomState(0).normal(size=(16, 3)).astype(np.float32)
Y = np.where(np.arange(16) < 8, np.arange(16) % 2, -1)
PLAN, CPU = BatchPlan(4), torch.device("cpu")
NONE = np.full(16, -1)


@cache
def pile(validation=2):
    return Pile.from_arrays(X, Y, validation=validation)


def fit(network=None, steps=2, data=None, out=None, handlers=(), **settings):
    learner = st.learner(network or (lambda: nn.Linear(3, 2)), **{"lr": 0.01, **settings})
    strategy = strategies.FixMatch(st.Classification(2), learner)
    return st.fit(strategy, data or pile(), steps=steps, plan=PLAN, out=out, handlers=list(handlers))


@cache
def run():
    return fit()


@cache
def run_of_pictures():
    made = Pile.from_arrays(PICTURES, Y)
    learner = st.learner(lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 2)))
    return st.fit(strategies.Supervised(st.Classification(2), learner), made, steps=1, plan=PLAN)


def predicted(x):
    """What a run says of rows, which must be finite."""
    assert run().strategy.predict(x).isfinite().all()


def deep(**settings):
    """Steps of a network whose rate is far too high, unless something holds it."""
    given = {"optimizer": "sgd", "lr": 1e6, "weight_decay": 0.0, "max_grad_norm": None, **settings}
    fit(
        lambda: nn.Sequential(nn.Linear(3, 8), nn.Linear(8, 8), nn.Linear(8, 2)),
        4,
        handlers=[NonFiniteGuard()],
        **given,
    )


class Own(Handler):
    """A handler of one's own."""


class Odd:
    """No handler."""


def stream(labeled=None, unlabeled=None):
    return PairedStream(labeled, unlabeled, pile().views, Needs(("weak",), None), PLAN, CPU)


def pretrained(made):
    st.fit(pretrain.TJEPA(pretrain.table_transformer(columns=3, width=8, depth=1, heads=2)), made, steps=1, plan=PLAN)


def review(tmp, text, ids=("a", "b")):
    (tmp / "r.csv").write_text("id,label,class,verdict,correction\n" + text, encoding="utf-8")
    return read_review(tmp / "r.csv", ("ant", "bee"), ids)


def weights(tmp, name="shufflenet_v2_x0_5"):
    """A file of weights alone."""
    torch.save(TorchvisionNet(name).model.state_dict(), tmp / "w.pt")
    return tmp / "w.pt"


def csv(tmp, text, label="kind"):
    (tmp / "t.csv").write_text(text, encoding="utf-8")
    return from_table(tmp / "t.csv", label)


def looked_ahead(restore):
    learner = st.learner(lambda: nn.Linear(3, 2))()
    with learner.virtual(restore):
        learner.update(learner(torch.ones(2, 3)).sum())


def busy(tmp):
    with locked(tmp / "run", create=True):
        fit(out=tmp / "run")


def ledger():
    made = Ledger(["a"], ("ant", "bee"))
    made.write(PseudoLabels(torch.tensor([0]), torch.tensor([[0.9, 0.1]]), torch.ones(1)), st.Classification(2), 0)
    return made


def lost(outputs):
    task = st.Classification(3)
    assert task.loss(torch.rand(2, outputs), task.encode(torch.tensor([0, 1]))).isfinite().all()


def saved(path):
    TableEncoding.from_dict(from_table(MANY.drop(columns="name"), "kind").encoding).save(path)


PICTURES = np.random.RandomState(0).randint(0, 255, (16, 8, 8)).astype(np.uint8)
LABELED = ArraySet(X[:8], torch.tensor(Y[:8]))
MANY = pd.DataFrame({"a": np.arange(60) * 0.37, "kind": [*"uv"] * 30, "name": [f"n{i}" for i in range(60)]})
TEXT = "a,b,kind\n" + "".join(f"{i}.5,{i * 7 % 5}.25,{'uv'[i % 2]}\n" for i in range(8))

ROWS_OF = {
    "selftrain/engine/watchers.py": [
        setting("derive its class from selftrain.handlers.Handler", fit, "handlers", [Odd()], [Own()]),
    ],
    "selftrain/engine/start.py": [
        Row(
            "write ARCHITECTURE@{}",
            lambda tmp: st.pretrained(weights(tmp)),
            lambda tmp: st.pretrained(f"shufflenet_v2_x0_5@{tmp / 'w.pt'}"),
        ),
    ],
    "selftrain/networks/hub.py": [
        Row(
            "do not fit {}, such as {}; say the architecture",
            lambda tmp: st.pretrained(f"torchvision/mobilenet_v3_small@{weights(tmp)}"),
            lambda tmp: st.pretrained(f"torchvision/shufflenet_v2_x0_5@{tmp / 'w.pt'}"),
        ),
    ],
    "selftrain/networks/student.py": [
        Row(
            "the gradient norm is {}; lower the learning rate or set max_grad_norm",
            lambda: deep(lr=1e12),
            lambda: deep(lr=0.01),
            lambda: deep(lr=1e12, max_grad_norm=1e-12),
        ),
        Row(
            "the loss is {}; lower the learning rate or set max_grad_norm",
            deep,
            lambda: deep(lr=0.01),
            lambda: deep(max_grad_norm=1e-6),
        ),
        Row(
            "restore is {}",
            lambda: looked_ahead("none"),
            lambda: looked_ahead("all"),
            lambda: looked_ahead("parameters"),
        ),
    ],
    "selftrain/networks/fitting.py": [
        Row(
            "x holds complex numbers",
            lambda: predicted((X[:, :1] + 1j * X[:, 1:2]).repeat(3, 1)),
            lambda: predicted(np.concatenate([(X + 1j * X).real[:, :2], (X + 1j * X).imag[:, :1]], 1)),
        ),
        Row(
            'pass run.views("plain", x, torch.arange(len(x)), 0).x',
            lambda: run_of_pictures().strategy.predict(PICTURES[:, None]),
            lambda: run_of_pictures().strategy.predict(
                run_of_pictures().pile.views("plain", torch.tensor(PICTURES[:, None]), torch.arange(16), 0).x
            ),
        ),
        Row(
            "pass rows of one shape",
            lambda: predicted([[1.0, 2, 3], [1, 2]]),
            lambda: predicted([[1.0, 2, 3], [1, 2, 3]]),
        ),
        Row("pass an array (B, ...)", lambda: predicted(5.0), lambda: predicted(np.full((1, 3), 5.0))),
        Row(
            "fill them in as for training, or drop their rows",
            lambda: predicted(np.where(X > 1, np.nan, X)),
            lambda: predicted(np.nan_to_num(np.where(X > 1, np.nan, X))),
            lambda: predicted(X[~(X > 1).any(1)]),
        ),
    ],
    "selftrain/evaluation/quality.py": [
        Row(
            "no held-out labels; hold some back",
            lambda: fit(data=pile(validation=0)).quality().text(),
            lambda: run().quality().text(),
        ),
    ],
    "selftrain/labels/review.py": [
        Row(
            "import them as text",
            lambda tmp: review(tmp, "7,0,ant,accept,\n", ("007", "b")),
            lambda tmp: review(tmp, "007,0,ant,accept,\n", ("007", "b")),
        ),
    ],
    "selftrain/pretrain/maskers.py": [
        setting("it is a probability", partial(Curriculum, RandomMask(), RandomMask()), "start", 2, 0, 1),
    ],
    "selftrain/storage/lock.py": [
        Row(
            "wait for it or take another folder",
            lambda tmp: busy(tmp),
            lambda tmp: fit(out=tmp / "run"),
            lambda tmp: fit(out=tmp / "other"),
        ),
    ],
    "selftrain/storage/tables.py": [
        Row(
            "cannot read {}: {}; repair the file or write it anew",
            lambda tmp: review(tmp, '"a,0,ant,accept,\n'),
            lambda tmp: review(tmp, '"a",0,ant,accept,\n'),
            lambda tmp: read_review(ledger().to_csv(tmp / "l.csv"), ("ant", "bee")),
        ),
        Row(
            "there is no file {}; correct the path",
            lambda tmp: from_table(tmp / "rows.csv", "kind"),
            lambda tmp: ((tmp / "row.csv").write_text("a,kind\n1,x\n2,y\n"), from_table(tmp / "row.csv", "kind")),
        ),
    ],
    "selftrain/tasks/base.py": [
        Row("build it with that many outputs", lambda: lost(4), lambda: lost(3)),
    ],
    "data/loading/stream.py": [
        Row(
            "a stream needs labeled or unlabeled samples",
            stream,
            lambda: stream(LABELED),
            lambda: stream(None, LABELED),
        ),
        Row(
            "its steps are 0 to {}",
            lambda: list(stream(LABELED).epoch(0, 9)),
            lambda: list(stream(LABELED).epoch(0, 1)),
        ),
    ],
    "data/pile.py": [
        Row(
            "no sample has a label{}; learn without labels first",
            lambda: Pile.from_arrays(X, NONE).require_labels(),
            lambda: pretrained(Pile.from_arrays(X, NONE)),
        ),
        Row(
            "{}, or learn without labels: see selftrain.pretrain",
            lambda: Pile.from_arrays(X, np.where(Y == 0, 0, -1)).require_labels(),
            lambda: pretrained(Pile.from_arrays(X, np.where(Y == 0, 0, -1), overlap="include")),
        ),
    ],
    "data/readers/columns.py": [
        Row(
            "nearly every label is a class of its own",
            lambda: from_table(MANY, "name"),
            lambda: from_table(MANY.drop(columns="name"), "kind"),
        ),
        Row(
            "add a line of names",
            lambda tmp: csv(tmp, TEXT.partition("\n")[2], "u"),
            lambda tmp: csv(tmp, TEXT),
        ),
    ],
    "data/readers/encoding.py": [
        Row(
            "pass a file that TableEncoding.save wrote",
            lambda tmp: ((tmp / "e.json").write_text("{}"), TableEncoding.load(tmp / "e.json")),
            lambda tmp: (saved(tmp / "e.json"), TableEncoding.load(tmp / "e.json")),
        ),
    ],
}
