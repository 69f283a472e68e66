"""Remedies of arguments of another kind, and of names that ``fit`` does not take."""

from functools import partial

import numpy as np
import pandas as pd
import torch
from remedies import Row, setting
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from wrong_calls import TASK, Gives, X, Y, fit, fixmatch, make, model, network, pile, run, shared

import selftrain as st
from selftrain import data, strategies
from selftrain.engine import loop
from selftrain.graph import GraphClassifier
from selftrain.handlers import Progress

FRAME = pd.DataFrame(X).assign(y=Y)
SET = TensorDataset(torch.tensor(X), torch.tensor(Y))


def elsewhere(says, name, wrong, *right):
    """``fit`` is given what belongs elsewhere."""
    return Row(says, lambda: fit(**{name: wrong}), *right)


def fit_nothing(on):
    return fit(on=on)


ROWS_OF = {
    "selftrain/arguments.py": [
        Row(
            "such as select.above(0.9)",
            lambda: fixmatch(select=0.9),
            lambda: fixmatch(select=st.select.above(0.9)),
        ),
        Row(
            "such as Classification(classes)",
            lambda: strategies.FixMatch(3, make()),
            lambda: strategies.FixMatch(st.Classification(3), make()),
        ),
        Row(
            "such as Align(task)", lambda: fixmatch(align=True), lambda: fixmatch(align=st.select.alignment.Align(TASK))
        ),
        Row("such as Progress(False)", lambda: fit(handlers=Progress(False)), lambda: fit(handlers=[Progress(False)])),
        Row(
            "such as TensorViews()",
            lambda: data.Pile.from_arrays(np.zeros((24, 8, 8, 1), np.uint8), Y, views="weak"),
            lambda: data.Pile.from_arrays(np.zeros((24, 8, 8, 1), np.uint8), Y, views=data.TensorViews()),
        ),
        Row(
            "such as FixMatch(task, learner(network))",
            lambda: st.evaluate(network(), pile(), "labeled"),
            lambda: st.evaluate(strategies.FixMatch(TASK, st.learner(network())), pile(), "labeled"),
        ),
        Row(
            "such as cosine(), or another function of progress",
            lambda: make(schedule=0.1),
            lambda: make(schedule=st.cosine()),
            lambda: make(schedule=lambda progress: 1 - progress),
        ),
        Row(
            "such as torch.optim.SGD",
            lambda: make(optimizer=torch.optim.SGD(network().parameters())),
            lambda: make(optimizer=torch.optim.SGD)(),
        ),
        Row(
            "a run, as fit and open_run return it",
            lambda: st.export(fixmatch(), "x"),
            lambda tmp: st.export(run(), tmp),
        ),
        Row(
            "a function that builds one, called with nothing",
            lambda: make("resnet18"),
            lambda: make(network())(),
            lambda: make(lambda: nn.Linear(4, 3))(),
        ),
        elsewhere(
            "pass it to learner", "lr", 0.1, lambda: fit(strategies.FixMatch(TASK, make(lr=0.1, schedule=st.cosine())))
        ),
        elsewhere(
            "hold samples out",
            "validation_split",
            0.2,
            lambda: fit(on=data.Pile.from_arrays(X, Y, validation=0.2)),
        ),
        elsewhere("pass it to the strategy", "threshold", 0.9, lambda: fit(fixmatch(select=st.select.above(0.9)))),
        Row(
            "{} takes {} without a name",
            lambda: st.fit(fixmatch(), X, Y),
            lambda: st.fit(fixmatch(), pile(), steps=1),
        ),
        Row(
            "is called without",
            lambda: data.Pile.from_arrays(X),
            lambda: data.Pile.from_arrays(X, Y),
        ),
        Row("is called without", lambda: st.fit(fixmatch(), steps=1), lambda: st.fit(fixmatch(), pile(), steps=1)),
        setting("write it without quotes", make, "lr", "3e-4", 3e-4),
        Row(
            "read it first: data.from_path",
            lambda: fit_nothing("digits"),
            lambda tmp: np.savez(tmp / "set.npz", x=X, y=Y) or fit_nothing(data.from_path(tmp / "set.npz")),
        ),
        Row("data.from_table(frame", partial(fit_nothing, FRAME), lambda: fit_nothing(data.from_table(FRAME, "y"))),
        Row("data.from_dataset(set)", partial(fit_nothing, SET), lambda: fit_nothing(data.from_dataset(SET))),
        Row(
            "data.from_dataset(loader.dataset)",
            lambda: fit_nothing(DataLoader(SET)),
            lambda: fit_nothing(data.from_dataset(DataLoader(SET).dataset)),
        ),
        Row(
            "Pile.from_arrays(x, y), y = -1",
            lambda: fit_nothing((X, Y)),
            lambda: fit_nothing(data.Pile.from_arrays(X, Y)),
        ),
    ],
    "selftrain/networks/student.py": [
        Row(
            "let learner(network) make it",
            lambda: strategies.FixMatch(TASK, lambda: network()),
            lambda: strategies.FixMatch(TASK, st.learner(network())),
        ),
    ],
    "selftrain/networks/optim.py": [
        Row("return the network itself", lambda: make(lambda: None)(), lambda: make(lambda: network())()),
        setting("weight_decay is {}", make, "weight_decay", -0.1, 0, 0.1),
        setting("{} is {}; it must be in [0, 1)", make, "momentum", 9, 0, 0.9),
        setting("{} is {}; it must be in [0, 1)", make, "beta2", 1, 0, 0.99),
    ],
    "selftrain/strategy/several.py": [
        Row(
            "build a new network at each call",
            lambda: strategies.JointMatch(TASK, make(shared())),
            lambda: strategies.JointMatch(TASK, make(network)),
            lambda: strategies.JointMatch(TASK, make(network())),
        ),
    ],
    "selftrain/networks/by_name.py": [
        Row(
            "which says not what it takes",
            lambda: model(network=torch.tensor),
            lambda: model(network=lambda shape, outputs: nn.Linear(*shape, outputs)),
        ),
    ],
    "selftrain/select/base.py": [
        Row("give 0.95 for 95 %", lambda: st.select.above(95), lambda: st.select.above(0.95)),
    ],
    "selftrain/storage/lock.py": [
        Row("which is a file", lambda: fit(out=__file__), lambda tmp: fit(out=tmp / "run")),
    ],
    "selftrain/engine/loop.py": [
        Row(
            "to start from; give the folder",
            lambda: loop.fit(fixmatch(), pile(), steps=1, continue_from="nowhere"),
            lambda tmp: fit(out=tmp / "run") and loop.fit(fixmatch(), pile(), steps=1, continue_from=tmp / "run"),
            lambda: loop.fit(fixmatch(), pile(), steps=1, continue_from=fit()),
        ),
        Row(
            "build it as {}({})",
            lambda: fit(strategies.FixMatch(st.Classification(5), make(Gives(lambda z: nn.functional.pad(z, (0, 2)))))),
            lambda: fit(strategies.FixMatch(st.Classification(3), make())),
        ),
    ],
    "selftrain/engine/spec.py": [
        Row(
            "give that of a run, its",
            lambda: st.open_run("nowhere"),
            lambda tmp: fit(out=tmp / "run") and st.open_run(tmp / "run"),
        ),
    ],
    "selftrain/estimator/base.py": [
        setting("random_state is {}", lambda **given: model(**given), "random_state", "a", 0, None),
    ],
    "selftrain/estimator/classifier.py": [
        Row("give labels, -1", lambda: st.SelfTrainClassifier().fit(X, None), lambda: model()),
    ],
    "selftrain/wrapper/base.py": [
        Row("give labels, -1", lambda: GraphClassifier().fit(X, None), lambda: GraphClassifier().fit(X, Y)),
    ],
    "selftrain/tasks/keypoints.py": [
        Row("give height and width", lambda: st.Keypoints(2, 8), lambda: st.Keypoints(2, (8, 8))),
    ],
}
