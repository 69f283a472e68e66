"""Calls as new users get them wrong, by kind: what the answer must name of each, and how it is called.

Each is an argument, a piece of the wrong value, and the call.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import selftrain as st
from selftrain import data, pretrain, strategies
from selftrain.data import Pile
from selftrain.estimator import SelfTrainSegmenter
from selftrain.graph import GraphClassifier
from selftrain.mix import Mixup
from selftrain.wrapper import SelfTraining

draws = np.random.RandomState(0)
X = draws.normal(size=(24, 4)).astype(np.float32)
Y = np.array([0, 1, 2, -1] * 6)
TASK = st.Classification(3)


@dataclass(frozen=True)
class Call:
    """A wrong call.

    Args:
        name: Of the case.
        argument: That is wrong; a word of the answer.
        value: Another word of the answer: the value, or what it is.
        do: The call.
    """

    name: str
    argument: str
    value: str
    do: Callable[[], Any]


@cache
def pile() -> Pile:
    return Pile.from_arrays(X, Y)


@cache
def pictures() -> Pile:
    return Pile.from_arrays((draws.rand(24, 8, 8, 1) * 255).astype(np.uint8), Y)


def network(inputs: int = 4, outputs: int = 3) -> nn.Module:
    return nn.Linear(inputs, outputs)


def make(net: Any = network, **settings: Any) -> Any:
    return st.learner(net, **settings)


def fixmatch(**settings: Any) -> Any:
    return strategies.FixMatch(TASK, make(), **settings)


def fit(strategy: Any = None, on: Any = None, **settings: Any) -> Any:
    steps = {} if settings.keys() & {"steps", "epochs"} else {"steps": 1}
    return st.fit(fixmatch() if strategy is None else strategy, pile() if on is None else on, **steps, **settings)


def with_network(net: Any, task: Any = TASK, on: Any = None) -> Any:
    return fit(strategies.FixMatch(task, make(net)), on)


def model(**settings: Any) -> Any:
    return st.SelfTrainClassifier(**({"strategy": "fixmatch", "steps": 1} | settings)).fit(X, Y)


def shared() -> Callable[[], Any]:
    """A function that hands every student one and the same network."""
    one = network()
    return lambda: one


class Gives(nn.Module):
    """A network that gives something else than logits."""

    def __init__(self, change: Callable[[torch.Tensor], Any]) -> None:
        super().__init__()
        self.body, self.change = nn.Linear(4, 3), change

    def forward(self, x: torch.Tensor) -> Any:
        return self.change(self.body(x))


def trained() -> Any:
    strategy = fixmatch()
    fit(strategy)
    return strategy


@cache
def run() -> Any:
    return fit()


def vit() -> nn.Module:
    return pretrain.ViT(size=8, patch=4, width=16, depth=1, heads=2)


def calls() -> Iterator[tuple[str, Call]]:
    """Every call with its kind."""
    for kind, rows in _CALLS.items():
        for row in rows:
            yield kind, row


_CALLS: dict[str, list[Call]] = {
    "a selection rule": [
        Call("above a percentage", "threshold", "95", lambda: st.select.above(95)),
        Call("above a text", "threshold", "'95%'", lambda: st.select.above("95%")),
        Call("above none", "threshold", "None", lambda: st.select.above(None)),
        Call("select is a number", "select", "0.9", lambda: fixmatch(select=0.9)),
        Call("select is a class", "select", "Above", lambda: fixmatch(select=st.select.Above)),
        Call("select is a function", "select", "above", lambda: fixmatch(select=st.select.above)),
        Call("select is a lambda", "select", "lambda", lambda: fixmatch(select=lambda c: c > 0.9)),
        Call("select is an unknown text", "select", "'sure'", lambda: fixmatch(select="sure")),
        Call("select is a list", "select", "[Above", lambda: fixmatch(select=[st.select.above(0.9)])),
        Call("threshold is a percentage", "threshold", "95", lambda: fixmatch(threshold=95)),
        Call("threshold is a text", "threshold", "'0.9'", lambda: fixmatch(threshold="0.9")),
        Call("threshold is a rule", "threshold", "Above", lambda: fixmatch(threshold=st.select.above(0.9))),
        Call(
            "threshold where there is none",
            "threshold",
            "PseudoLabel",
            lambda: strategies.PseudoLabel(TASK, make(), threshold=0.9),
        ),
        Call("share is a percentage", "share", "50", lambda: st.select.top(50)),
        Call("share is a text", "share", "'half'", lambda: st.select.top("half")),
        Call("groups is a list", "groups", "['a'", lambda: st.select.free(["a", "b"])),
        Call("groups is zero", "groups", "0", lambda: st.select.free(0)),
        Call("mix is a text", "mix", "'mixup!'", lambda: fixmatch(mix="mixup!")),
        Call("mix is a number", "mix", "0.5", lambda: fixmatch(mix=0.5)),
        Call("mix is a class", "mix", "Mixup", lambda: fixmatch(mix=Mixup)),
        Call("align is a flag", "align", "True", lambda: fixmatch(align=True)),
    ],
    "a schedule": [
        Call("schedule is a number", "schedule", "0.1", lambda: make(schedule=0.1)),
        Call("schedule is an unknown text", "schedule", "'cosin'", lambda: make(schedule="cosin")),
        Call("schedule is a class", "schedule", "Cosine", lambda: make(schedule=st.cosine)),
        Call(
            "schedule is one of torch",
            "schedule",
            "CosineAnnealingLR",
            lambda: make(schedule=torch.optim.lr_scheduler.CosineAnnealingLR),
        ),
        Call("rampup is a number", "rampup", "0.4", lambda: fixmatch(rampup=0.4)),
        Call("rampup is a text", "rampup", "'ramp'", lambda: fixmatch(rampup="ramp")),
        Call("warmup in steps", "warmup", "500", lambda: st.cosine(warmup=500)),
        Call("warmup is a text", "warmup", "'5%'", lambda: st.cosine(warmup="5%")),
        Call("length is a text", "length", "'half'", lambda: st.ramp_linear("half")),
    ],
    "a number": [
        Call("lr is zero", "lr", "0", lambda: make(lr=0)),
        Call("lr is negative", "lr", "-0.1", lambda: make(lr=-0.1)),
        Call("lr is a text", "lr", "'3e-4'", lambda: make(lr="3e-4")),
        Call("lr is none", "lr", "None", lambda: make(lr=None)),
        Call("lr is a list", "lr", "[0.1", lambda: make(lr=[0.1, 0.01])),
        Call("lr is not a number", "lr", "nan", lambda: make(lr=float("nan"))),
        Call("lr is infinite", "lr", "inf", lambda: make(lr=float("inf"))),
        Call("weight_decay is a text", "weight_decay", "'1e-4'", lambda: make(weight_decay="1e-4")),
        Call("weight_decay is negative", "weight_decay", "-0.1", lambda: make(weight_decay=-0.1)),
        Call("momentum is large", "momentum", "9", lambda: make(momentum=9)),
        Call("max_grad_norm is a flag", "max_grad_norm", "True", lambda: make(max_grad_norm=True)),
        Call("max_grad_norm is a text", "max_grad_norm", "'1.0'", lambda: make(max_grad_norm="1.0")),
        Call("max_grad_norm is zero", "max_grad_norm", "0", lambda: make(max_grad_norm=0)()),
        Call("decay is large", "decay", "1.5", lambda: fixmatch(decay=1.5)),
        Call("decay is a text", "decay", "'ema'", lambda: fixmatch(decay="ema")),
        Call("temperature is zero", "temperature", "0", lambda: fixmatch(temperature=0)),
        Call("unlabeled_weight is a text", "unlabeled_weight", "'1'", lambda: fixmatch(unlabeled_weight="1")),
        Call(
            "unlabeled_weight is a ramp",
            "unlabeled_weight",
            "RampLinear",
            lambda: fixmatch(unlabeled_weight=st.ramp_linear(0.4)),
        ),
        Call("hard is a text", "hard", "'soft'", lambda: fixmatch(hard="soft")),
        Call("distance is an unknown word", "distance", "'kl'", lambda: fixmatch(distance="kl")),
        Call("buffers is an unknown word", "buffers", "'mean'", lambda: fixmatch(buffers="mean")),
        Call("precision is an unknown word", "precision", "'16-mixed'", lambda: make(precision="16-mixed")()),
        Call("precision is a type", "precision", "torch.float16", lambda: make(precision=torch.float16)),
        Call("optimizer is an unknown word", "optimizer", "'adam'", lambda: make(optimizer="adam")),
        Call(
            "optimizer is one that is built",
            "optimizer",
            "SGD",
            lambda: make(optimizer=torch.optim.SGD(network().parameters(), lr=0.1)),
        ),
        Call("training is a dictionary", "training", "{'lr'", lambda: make(training={"lr": 0.1})),
        Call("an optimizer in place of its rate", "lr", "Adam", lambda: make(lr=torch.optim.Adam)),
        Call("quorum is a percentage", "quorum", "60", lambda: strategies.Ensemble(TASK, make(), quorum=60)),
        Call("mask_ratio is a percentage", "mask ratio", "75", lambda: pretrain.MAE(vit(), mask_ratio=75)),
        Call("mask_ratio is a text", "mask_ratio", "'0.75'", lambda: pretrain.MAE(vit(), mask_ratio="0.75")),
    ],
    "a count": [
        Call("steps is zero", "steps", "0", lambda: fit(steps=0)),
        Call("steps is negative", "steps", "-1", lambda: fit(steps=-1)),
        Call("steps is a text", "steps", "'10'", lambda: fit(steps="10")),
        Call("steps is a flag", "steps", "True", lambda: fit(steps=True)),
        Call("steps is a part", "steps", "1.5", lambda: fit(steps=1.5)),
        Call("steps is not a number", "steps", "nan", lambda: fit(steps=float("nan"))),
        Call("steps is a list", "steps", "[1", lambda: fit(steps=[1, 2])),
        Call("epochs is a text", "epochs", "'10'", lambda: fit(epochs="10")),
        Call("epochs is zero", "epochs", "0", lambda: fit(epochs=0)),
        Call("epochs and steps", "epochs", "2", lambda: fit(epochs=2, steps=3)),
        Call("batch size is a text", "labeled", "'32'", lambda: st.BatchPlan(labeled="32")),
        Call("batch size is zero", "labeled", "0", lambda: st.BatchPlan(labeled=0)),
        Call("batch size is a part", "labeled", "3.5", lambda: st.BatchPlan(labeled=3.5)),
        Call("ratio is a text", "unlabeled_ratio", "'7'", lambda: st.BatchPlan(unlabeled_ratio="7")),
        Call("ratio is zero", "unlabeled_ratio", "0", lambda: st.BatchPlan(unlabeled_ratio=0)),
        Call("ratio is not a number", "unlabeled_ratio", "nan", lambda: st.BatchPlan(unlabeled_ratio=float("nan"))),
        Call("workers is a text", "workers", "'auto'", lambda: st.BatchPlan(workers="auto")),
        Call("seed is a text", "seed", "'a'", lambda: st.BatchPlan(seed="a")),
        Call("seed is none", "seed", "None", lambda: st.BatchPlan(seed=None)),
        Call("accumulate is zero", "accumulate", "0", lambda: make(accumulate=0)()),
        Call("accumulate is a text", "accumulate", "'2'", lambda: make(accumulate="2")),
        Call("evaluation every zero", "every", "0", lambda: st.Evaluation(0)),
        Call("evaluation every text", "every", "'epoch'", lambda: st.Evaluation("epoch")),
        Call("monitor is a list", "monitor", "list", lambda: st.Evaluation(monitor=[pile()])),
        Call("monitor is a set", "monitor", "Pile", lambda: st.Evaluation(monitor=pile())),
        Call("checkpoints every text", "every", "'best'", lambda: st.Checkpoints("best")),
        Call("a pile for strategies", "strategies", "Pile", lambda: st.compare("fixmatch", pile())),
        Call("a number for a report", "path", "5", lambda: fit(strategies.Supervised(TASK, make())).report(5)),
        Call("column and file swapped", "label", "correct the path", lambda: data.from_table("label", "y.csv")),
        Call("files for arrays", "labels", "'y.npy'", lambda: Pile.from_arrays("x.npy", "y.npy")),
        Call("stop_after is zero", "stop_after", "0", lambda: st.Checkpoints(stop_after=0)),
        Call("members is one", "members", "1", lambda: strategies.Ensemble(TASK, make(), members=1)),
        Call("members is a text", "members", "'3'", lambda: strategies.Ensemble(TASK, make(), members="3")),
        Call("depth is zero", "depth", "0", lambda: strategies.FutureSelfTraining(TASK, make(), depth=-1)),
        Call("depth is a text", "depth", "'3'", lambda: strategies.FutureSelfTraining(TASK, make(), depth="3")),
        Call("size is a text", "size", "'8'", lambda: pretrain.ViT(size="8", patch=4)),
        Call("patch does not divide", "patch", "3", lambda: pretrain.ViT(size=8, patch=3)),
    ],
    "a network": [
        Call("a network for a learner", "make_learner", "Linear", lambda: strategies.FixMatch(TASK, network())),
        Call(
            "a class of networks for a learner", "make_learner", "Linear", lambda: strategies.FixMatch(TASK, nn.Linear)
        ),
        Call(
            "a function of a network for a learner",
            "make_learner",
            "Linear",
            lambda: strategies.FixMatch(TASK, network),
        ),
        Call("a learner that is built", "make_learner", "Learner", lambda: strategies.FixMatch(TASK, make()())),
        Call("a text for a learner", "make_learner", "'resnet18'", lambda: strategies.FixMatch(TASK, "resnet18")),
        Call("nothing for a learner", "make_learner", "None", lambda: strategies.FixMatch(TASK, None)),
        Call(
            "a network for learners of an ensemble",
            "make_learner",
            "Linear",
            lambda: strategies.Ensemble(TASK, network()),
        ),
        Call(
            "networks for learners of an ensemble",
            "make_learner",
            "list",
            lambda: strategies.Ensemble(TASK, [network(), network()]),
        ),
        Call("learner and task swapped", "task", "MakeLearner", lambda: strategies.FixMatch(make(), TASK)),
        Call("a class for a network", "network", "Linear", lambda: strategies.FixMatch(TASK, make(nn.Linear))),
        Call("a text for a network", "network", "'resnet18'", lambda: make("resnet18")),
        Call("none for a network", "network", "None", lambda: make(None)),
        Call("a list for a network", "network", "[Linear", lambda: make([network()])),
        Call("weights for a network", "network", "OrderedDict", lambda: make(network().state_dict())),
        Call("an estimator for a network", "network", "LogisticRegression", lambda: make(LogisticRegression())),
        Call("a learner for a network", "network", "Learner", lambda: fit(strategies.FixMatch(TASK, make(make())))),
        Call("nothing from a function", "network", "None", lambda: with_network(lambda: None)),
        Call("one network for two students", "network", "Linear", lambda: strategies.JointMatch(TASK, make(shared()))),
        Call(
            "a frozen network",
            "requires_grad_",
            "Linear",
            lambda: with_network(lambda: network().requires_grad_(False)),
        ),
        Call("no weights", "Flatten", "no weights", lambda: with_network(nn.Flatten)),
        Call("other columns", "Linear", "(4,)", lambda: with_network(network(5, 3))),
        Call("too few outputs", "Linear", "(2, 2)", lambda: with_network(network(4, 2))),
        Call("too many outputs", "Linear", "(2, 7)", lambda: with_network(network(4, 7))),
        Call(
            "other channels",
            "Sequential",
            "(1, 8, 8)",
            lambda: with_network(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten()), on=pictures()),
        ),
        Call("probabilities", "softmax", "Gives", lambda: with_network(Gives(lambda z: z.softmax(1)))),
        Call("sigmoid", "sigmoid", "Gives", lambda: with_network(Gives(lambda z: z.sigmoid()))),
        Call("decisions", "Gives", "int64", lambda: with_network(Gives(lambda z: z.argmax(1)))),
        Call("no gradient", "Gives", "gradient", lambda: with_network(Gives(lambda z: z.detach()))),
        Call("a dictionary of other names", "network", "'found'", lambda: with_network(Gives(lambda z: {"found": z}))),
        Call("a tuple of two alike", "network", "tuple", lambda: with_network(Gives(lambda z: (z, z + 1)))),
        Call("numpy", "network", "ndarray", lambda: with_network(Gives(lambda z: z.detach().numpy()))),
        Call("half precision", "Linear", "float", lambda: with_network(network().half())),
        Call("double precision", "Linear", "float", lambda: with_network(network().double())),
        Call(
            "init_from is a network",
            "init_from",
            "Linear",
            lambda: fit(strategies.FixMatch(TASK, make(init_from=network()))),
        ),
        Call(
            "init_from is no file",
            "nowhere.pt",
            "file",
            lambda: fit(strategies.FixMatch(TASK, make(init_from="nowhere.pt"))),
        ),
        Call("an encoder without the contract", "Linear", "lacks", lambda: pretrain.MAE(network())),
        Call("a class for an encoder", "encoder", "ViT", lambda: pretrain.MAE(pretrain.ViT)),
        Call("a text for an encoder", "encoder", "'vit'", lambda: pretrain.MAE("vit")),
        Call("a learner for an encoder", "encoder", "MakeLearner", lambda: pretrain.MAE(make(vit()))),
        Call(
            "an encoder of other sides",
            "encoder",
            "(1, 8, 8)",
            lambda: fit(pretrain.MAE(pretrain.ViT(size=12, patch=4, width=16, depth=1, heads=2)), pictures()),
        ),
    ],
    "a task": [
        Call("an integer for a task", "task", "3", lambda: strategies.FixMatch(3, make())),
        Call("a class for a task", "task", "Classification", lambda: strategies.FixMatch(st.Classification, make())),
        Call("a text for a task", "task", "'classification'", lambda: strategies.FixMatch("classification", make())),
        Call("none for a task", "task", "None", lambda: strategies.FixMatch(None, make())),
        Call("names for classes", "classes", "['a'", lambda: st.Classification(["a", "b"])),
        Call("text for classes", "classes", "'3'", lambda: st.Classification("3")),
        Call("a part for classes", "classes", "2.5", lambda: st.Classification(2.5)),
        Call("one class", "classes", "1", lambda: st.Classification(1)),
        Call("too few classes", "classes", "2", lambda: with_network(network(4, 2), st.Classification(2))),
        Call("too many classes", "classes", "5", lambda: with_network(network(4, 5), st.Classification(5))),
        Call(
            "masks without masks",
            "masks",
            "Classification",
            lambda: fit(strategies.FixMatch(st.Segmentation(3), make(nn.Conv2d(1, 3, 1))), pictures()),
        ),
        Call("joints is a list", "joints", "['hand']", lambda: st.Keypoints(["hand"], (8, 8))),
        Call("size is a number", "size", "8", lambda: st.Keypoints(2, 8)),
    ],
    "a pile": [
        Call("a pair of arrays", "pile", "tuple", lambda: fit(on=(X, Y))),
        Call("two arrays", "pile", "ndarray", lambda: st.fit(fixmatch(), X, Y)),
        Call("one array", "pile", "ndarray", lambda: fit(on=X)),
        Call("a tensor", "pile", "Tensor", lambda: fit(on=torch.tensor(X))),
        Call("a data set of torch", "pile", "TensorDataset", lambda: fit(on=TensorDataset(torch.tensor(X)))),
        Call("a loader of torch", "pile", "DataLoader", lambda: fit(on=DataLoader(TensorDataset(torch.tensor(X))))),
        Call("a data frame", "pile", "DataFrame", lambda: fit(on=pd.DataFrame(X))),
        Call("a text", "pile", "'photos/'", lambda: fit(on="photos/")),
        Call("a path", "pile", "photos", lambda: fit(on=Path("photos"))),
        Call("a dictionary", "pile", "dict", lambda: fit(on={"x": X, "y": Y})),
        Call("nothing", "pile", "None", lambda: st.fit(fixmatch(), None, steps=1)),
        Call("the class", "pile", "Pile", lambda: fit(on=Pile)),
        Call("swapped", "pile", "FixMatch", lambda: st.fit(pile(), fixmatch(), steps=1)),
        Call("arrays into a pile", "labeled", "ndarray", lambda: Pile(X, Y)),
        Call("x and y swapped", "labels", "(24, 4)", lambda: Pile.from_arrays(Y, X)),
        Call("y is longer", "samples", "25", lambda: Pile.from_arrays(X, np.append(Y, 0))),
        Call("y is one-hot", "one-hot", "argmax", lambda: Pile.from_arrays(X, np.eye(3)[Y])),
        Call("y are probabilities", "labels", "(24, 3)", lambda: Pile.from_arrays(X, np.full((24, 3), 1 / 3))),
        Call("x is a path", "x", "'x.npy'", lambda: Pile.from_arrays("x.npy", Y)),
        Call("validation is a percentage", "validation", "20", lambda: Pile.from_arrays(X, Y, validation=20)),
        Call("validation is a text", "validation", "'20%'", lambda: Pile.from_arrays(X, Y, validation="20%")),
        Call("validation is negative", "validation", "-1", lambda: Pile.from_arrays(X, Y, validation=-1)),
        Call("validation is arrays", "validation", "tuple", lambda: Pile.from_arrays(X, Y, validation=(X, Y))),
        Call("labels is a text", "labels", "'all'", lambda: Pile.from_arrays(X, Y, labels="all")),
        Call("labels are the labels", "labels", "ndarray", lambda: Pile.from_arrays(X, Y, labels=Y)),
        Call("overlap is an unknown word", "overlap", "'yes'", lambda: Pile.from_arrays(X, Y, overlap="yes")),
        Call("seed is a text", "seed", "'a'", lambda: Pile.from_arrays(X, Y, seed="a")),
        Call("views is a text", "views", "'strong'", lambda: Pile.from_arrays(X, Y, views="strong")),
        Call("views is a class", "views", "TableViews", lambda: Pile.from_arrays(X, Y, views=data.TableViews)),
        Call("views is a function", "views", "relu", lambda: Pile.from_arrays(X, Y, views=torch.relu)),
        Call("an unknown set", "data set", "'cifar-11'", lambda: data.load("cifar-11")),
        Call("labels of a set is a text", "labels", "'20'", lambda: data.load("digits", labels="20")),
        Call("labels of a set is negative", "labels", "-5", lambda: data.load("digits", labels=-5)),
        Call("labels of a set is a share", "labels", "0.1", lambda: data.load("digits", labels=0.1)),
        Call("a set without a name", "name", "100", lambda: data.load(100)),
        Call("a folder that is not there", "nowhere", "folder", lambda: data.from_folder("nowhere")),
        Call("a table that is not there", "nowhere.csv", "nowhere.csv", lambda: data.from_table("nowhere.csv", "y")),
        Call("a table of arrays", "label", "ndarray", lambda: data.from_table(X, Y)),
        Call(
            "a column that is not there",
            "column",
            "'z'",
            lambda: data.from_table(pd.DataFrame({"a": [1, 2], "y": [0, 1]}), "z"),
        ),
        Call("a data set of arrays", "row 0", "pairs", lambda: data.from_dataset(X)),
    ],
    "a run": [
        Call("the strategy is a network", "strategy", "Linear", lambda: fit(network())),
        Call("the strategy is a learner", "strategy", "MakeLearner", lambda: fit(make())),
        Call("the strategy is a list", "strategy", "list", lambda: fit([fixmatch(), fixmatch()])),
        Call("the strategy is nothing", "strategy", "None", lambda: st.fit(None, pile(), steps=1)),
        Call("the strategy is an estimator", "strategy", "LogisticRegression", lambda: fit(LogisticRegression())),
        Call("device is an unknown word", "device", "'gpu0'", lambda: fit(device="gpu0")),
        Call("out is a file", "out", "wrong_calls.py", lambda: fit(out=__file__)),
        Call("out is a number", "out", "1", lambda: fit(out=1)),
        Call("out is a flag", "out", "True", lambda: fit(out=True)),
        Call("lr of fit", "lr", "learner", lambda: fit(lr=0.1)),
        Call("batch_size of fit", "batch_size", "BatchPlan", lambda: fit(batch_size=32)),
        Call("validation_split of fit", "validation_split", "validation", lambda: fit(validation_split=0.2)),
        Call("callbacks of fit", "callbacks", "handlers", lambda: fit(callbacks=[])),
        Call("seed of fit", "seed", "BatchPlan", lambda: fit(seed=1)),
        Call("verbose of fit", "verbose", "handlers", lambda: fit(verbose=1)),
        Call("max_steps of fit", "max_steps", "steps", lambda: fit(max_steps=1)),
        Call("num_epochs of fit", "num_epochs", "epochs", lambda: fit(num_epochs=1)),
        Call("threshold of fit", "threshold", "select", lambda: fit(threshold=0.9)),
        Call("optimizer of fit", "optimizer", "learner", lambda: fit(optimizer="adam")),
        Call("x_val of fit", "validation_data", "validation", lambda: fit(validation_data=(X, Y))),
        Call("plan is a dictionary", "plan", "{'labeled'", lambda: fit(plan={"labeled": 4})),
        Call("plan is a number", "plan", "32", lambda: fit(plan=32)),
        Call("evaluation is a number", "evaluation", "100", lambda: fit(evaluation=100)),
        Call("checkpoints is a folder", "checkpoints", "'runs'", lambda: fit(checkpoints="runs")),
        Call("handlers is a handler", "handlers", "Progress", lambda: fit(handlers=st.handlers.Progress(False))),
        Call("handlers are functions", "handlers", "print", lambda: fit(handlers=[print])),
        Call("handlers are classes", "handlers", "Progress", lambda: fit(handlers=[st.handlers.Progress])),
        Call("on_alarm is an unknown word", "on_alarm", "'raise'", lambda: fit(on_alarm="raise")),
        Call("baseline is a text", "baseline", "'yes'", lambda: fit(baseline="yes")),
        Call("resume is a folder", "resume", "'runs/a'", lambda: fit(resume="runs/a")),
        Call("resume without a folder", "resume", "out", lambda: fit(resume=True)),
        Call("pretrain is a strategy", "pretrain", "FixMatch", lambda: fit(pretrain=fixmatch())),
        Call("pretrain is not there", "pretrain", "nowhere", lambda: fit(pretrain="nowhere")),
        Call("a run that is not there", "nowhere", "run", lambda: st.open_run("nowhere")),
        Call("open_run of a run", "folder", "Run", lambda: st.open_run(run())),
        Call("open_run of a number", "folder", "1", lambda: st.open_run(1)),
        Call("a part that is not there", "part", "'valid'", lambda: run().evaluate("valid")),
        Call("evaluation on arrays", "tuple", "set", lambda: run().evaluate((X, Y))),
        Call("which is an unknown word", "which", "'final'", lambda: run().evaluate("labeled", which="final")),
        Call("evaluate a network", "strategy", "Linear", lambda: st.evaluate(network(), pile(), "labeled")),
        Call("evaluate on arrays", "pile", "ndarray", lambda: st.evaluate(fixmatch(), X)),
        Call("label with a network", "strategy", "Linear", lambda: st.label_pile(network(), pile())),
        Call("label with a run", "strategy", "Run", lambda: st.label_pile(run(), pile())),
        Call("label arrays", "pile", "ndarray", lambda: st.label_pile(fixmatch(), X)),
        Call("label batch of a text", "batch_size", "'8'", lambda: st.label_pile(fixmatch(), pile(), batch_size="8")),
        Call("export a strategy", "run", "FixMatch", lambda: st.export(fixmatch(), "nowhere")),
        Call("export a folder", "run", "'runs/a'", lambda: st.export("runs/a", "nowhere")),
        Call("export an unknown format", "formats", "'onxx'", lambda: st.export(run(), "nowhere", formats=["onxx"])),
        Call("export something else", "what", "'model'", lambda: st.export(run(), "nowhere", what="model")),
        Call("snapshots of nowhere", "nowhere", "snapshots", lambda: st.select_snapshot("nowhere")),
        Call("snapshots of a run", "folder", "Run", lambda: st.select_snapshot(run())),
        Call("snapshots for an unknown use", "use", "'best'", lambda: st.select_snapshot("nowhere", "best")),
        Call("an unknown encoder", "resnet19", "resnet18", lambda: st.pretrained("torchvision/resnet19")),
        Call("an encoder that is a network", "name_or_path", "Linear", lambda: st.pretrained(network())),
        Call("an encoder that is a number", "name_or_path", "18", lambda: st.pretrained(18)),
    ],
    "the estimator": [
        Call("a misspelled strategy", "fixmatch", "'fixmach'", lambda: model(strategy="fixmach")),
        Call("a strategy that is a number", "strategy", "3", lambda: model(strategy=3)),
        Call("a strategy that is built", "strategy", "FixMatch", lambda: model(strategy=fixmatch())),
        Call("a strategy that is a list", "strategy", "['fixmatch'", lambda: model(strategy=["fixmatch", "uda"])),
        Call("select is a number", "select", "0.9", lambda: model(select=0.9)),
        Call("select is an unknown text", "select", "'sure'", lambda: model(select="sure")),
        Call("select above a percentage", "threshold", "95", lambda: model(select="above(95)")),
        Call("network is an unknown text", "network", "'resnet'", lambda: model(network="resnet")),
        Call("network is a number", "network", "64", lambda: model(network=64)),
        Call("network of other columns", "Linear", "(4,)", lambda: model(network=network(7, 3))),
        Call("steps is a text", "steps", "'10'", lambda: model(steps="10")),
        Call("steps is zero", "steps", "0", lambda: model(steps=0)),
        Call("steps is a flag", "steps", "True", lambda: model(steps=True)),
        Call("epochs and steps", "epochs", "1", lambda: model(steps=1, epochs=1)),
        Call("batch size is a text", "batch_size", "'8'", lambda: model(batch_size="8")),
        Call("batch size is zero", "batch_size", "0", lambda: model(batch_size=0)),
        Call("ratio is a text", "unlabeled_ratio", "'7'", lambda: model(unlabeled_ratio="7")),
        Call("lr is a text", "lr", "'3e-4'", lambda: model(lr="3e-4")),
        Call("lr is zero", "lr", "0", lambda: model(lr=0)),
        Call("weight_decay is a text", "weight_decay", "'a'", lambda: model(weight_decay="a")),
        Call("training is a dictionary", "training", "{'lr'", lambda: model(training={"lr": 0.1})),
        Call("validation is a percentage", "validation", "20", lambda: model(validation=20)),
        Call("validation is a text", "validation", "'a'", lambda: model(validation="a")),
        Call("members is zero", "members", "0", lambda: model(members=0)),
        Call("kind is an unknown word", "kind", "'tabular'", lambda: model(kind="tabular")),
        Call("random_state is a text", "random_state", "'a'", lambda: model(random_state="a")),
        Call(
            "settings is a list", "strategy_params", "['threshold'", lambda: model(strategy_params=["threshold", 0.9])
        ),
        Call("settings are misspelled", "treshold", "threshold", lambda: model(strategy_params={"treshold": 0.9})),
        Call(
            "budget is an unknown word", "budget", "'slow'", lambda: model(strategy="auto", steps=None, budget="slow")
        ),
        Call("on_alarm is an unknown word", "on_alarm", "'x'", lambda: model(on_alarm="x")),
        Call("pretrain is an unknown word", "recipe", "'bert'", lambda: model(pretrain="bert")),
        Call("out is a number", "out", "5", lambda: model(out=5)),
        Call("no labels", "y", "None", lambda: st.SelfTrainClassifier().fit(X, None)),
        Call("a misspelled setting", "'stratgy'", "'strategy'", lambda: st.SelfTrainClassifier(stratgy="fst")),
        Call("a setting under another name", "'learning_rate'", "'lr'", lambda: model(learning_rate=0.1)),
        Call("a setting without its name", "by name", "'fst'", lambda: st.SelfTrainClassifier("fst")),
        Call("set_params misspelled", "'stratgy'", "'strategy'", lambda: model().set_params(stratgy="fst")),
        Call("fit without y", "without y", "-1", lambda: st.SelfTrainClassifier().fit(X)),
        Call("fit with weights", "'sample_weight'", "X, y", lambda: model().fit(X, Y, sample_weight=X[:, 0])),
        Call("an encoder misspelled", "'recipee'", "'recipe'", lambda: st.PretrainedEncoder(recipee="mae")),
        Call(
            "an encoder's set_params misspelled",
            "'recipee'",
            "'recipe'",
            lambda: st.PretrainedEncoder().set_params(recipee="mae"),
        ),
        Call("a segmenter misspelled", "'voyd'", "'void'", lambda: SelfTrainSegmenter(voyd=0)),
        Call("a segmenter without y", "without y", "255", lambda: SelfTrainSegmenter().fit(X)),
        Call("y is longer", "24", "25", lambda: st.SelfTrainClassifier().fit(X, np.append(Y, 0))),
        Call("y is one-hot", "y", "one-hot", lambda: st.SelfTrainClassifier().fit(X, np.eye(3)[Y])),
        Call("x and y swapped", "2D", "reshape", lambda: st.SelfTrainClassifier().fit(Y, X)),
        Call("not fitted", "fit", "SelfTrainClassifier", lambda: st.SelfTrainClassifier().predict(X)),
        Call("other columns", "X", "3", lambda: model().predict(X[:, :3])),
    ],
    "the wrappers": [
        Call(
            "a class of classifiers",
            "estimator",
            "LogisticRegression",
            lambda: SelfTraining(LogisticRegression).fit(X, Y),
        ),
        Call("a text", "estimator", "'svm'", lambda: SelfTraining("svm").fit(X, Y)),
        Call("a network", "estimator", "Linear", lambda: SelfTraining(network()).fit(X, Y)),
        Call("policy is a number", "policy", "0.9", lambda: SelfTraining(LogisticRegression(), policy=0.9).fit(X, Y)),
        Call(
            "policy is an unknown text",
            "policy",
            "'sure'",
            lambda: SelfTraining(LogisticRegression(), policy="sure").fit(X, Y),
        ),
        Call(
            "policy is a class",
            "policy",
            "Fixed",
            lambda: SelfTraining(LogisticRegression(), policy=st.wrapper.policies.Fixed).fit(X, Y),
        ),
        Call(
            "threshold is a percentage",
            "threshold",
            "75",
            lambda: SelfTraining(LogisticRegression(), policy=st.wrapper.policies.Fixed(75)).fit(X, Y),
        ),
        Call(
            "threshold is a text",
            "threshold",
            "'75%'",
            lambda: SelfTraining(LogisticRegression(), policy=st.wrapper.policies.Fixed("75%")).fit(X, Y),
        ),
        Call(
            "max_rounds is a text",
            "rounds",
            "'3'",
            lambda: SelfTraining(LogisticRegression(), max_rounds="3").fit(X, Y),
        ),
        Call(
            "weighting is an unknown word",
            "weighting",
            "'equal'",
            lambda: SelfTraining(LogisticRegression(), weighting="equal").fit(X, Y),
        ),
        Call("stop is a number", "stop", "3", lambda: SelfTraining(LogisticRegression(), stop=3).fit(X, Y)),
        Call(
            "validation is a percentage",
            "validation",
            "20",
            lambda: SelfTraining(LogisticRegression(), validation=20).fit(X, Y),
        ),
        Call("a misspelled setting", "'polcy'", "'policy'", lambda: SelfTraining(LogisticRegression(), polcy=1)),
        Call(
            "set_params misspelled",
            "'polcy'",
            "'policy'",
            lambda: SelfTraining(LogisticRegression()).set_params(polcy="fixed"),
        ),
        Call("no estimator", "without estimator", "SelfTraining(estimator)", lambda: SelfTraining()),
        Call("fit without y", "without y", "-1", lambda: SelfTraining(LogisticRegression()).fit(X)),
        Call("a graph misspelled", "'metod'", "'method'", lambda: GraphClassifier(metod="knn")),
        Call("a graph without y", "without y", "-1", lambda: GraphClassifier().fit(X)),
        Call("an unknown graph method", "method", "'knn'", lambda: GraphClassifier("knn").fit(X, Y)),
        Call("neighbors is a text", "neighbors", "'10'", lambda: GraphClassifier(neighbors="10").fit(X, Y)),
        Call("neighbors is zero", "neighbors", "0", lambda: GraphClassifier(neighbors=0).fit(X, Y)),
        Call("metric is an unknown word", "metric", "'l2'", lambda: GraphClassifier(metric="l2").fit(X, Y)),
        Call("alpha is a percentage", "alpha", "90", lambda: GraphClassifier("label_spreading", alpha=90).fit(X, Y)),
        Call("alpha is a text", "alpha", "'a'", lambda: GraphClassifier("label_spreading", alpha="a").fit(X, Y)),
        Call("scale is an unknown word", "scale", "'auto'", lambda: GraphClassifier(scale="auto").fit(X, Y)),
    ],
    "what is missing, or not known": [
        Call("fit without a pile", "without pile", "data.load(", lambda: st.fit("fixmatch")),
        Call("fit of nothing", "strategy and pile", "fit(strategy, pile)", lambda: st.fit()),
        Call("fit misspelled", "'baselin'", "'baseline'", lambda: fit(baselin=True)),
        Call("fit with a strategy twice", "multiple values", "strategy", lambda: st.fit("a", pile(), strategy="b")),
        Call("load without a name", "without name", "load(name)", lambda: data.load()),
        Call("load misspelled", "'label'", "'labels'", lambda: data.load("digits", label=20)),
        Call("arrays without y", "without y", "-1", lambda: Pile.from_arrays(X)),
        Call("arrays misspelled", "'clases'", "'classes'", lambda: Pile.from_arrays(X, Y, clases=["a"])),
        Call("samples without any", "without training", "from_samples(training)", lambda: Pile.from_samples()),
        Call("samples misspelled", "'tst'", "'test'", lambda: Pile.from_samples(pile().labeled, tst=None)),
        Call("a path without one", "without path", "from_path(path)", lambda: data.from_path()),
        Call("joints without their file", "without joints", "(images, joints)", lambda: data.from_keypoints("a")),
        Call("a rule misspelled", "'treshold'", "'threshold'", lambda: st.select.above(treshold=0.9)),
        Call("a learner under another name", "'learning_rate'", "'lr'", lambda: make(learning_rate=0.1)),
    ],
}


# A line, and words of its answer: the option, and the value or what may stand there.
LINES = [
    ("trian", "'trian'", "train"),
    ("train", "no data", "--data"),
    ("train --data", "--data", "needs a value"),
    ("train --data digits --strategy", "--strategy", "needs a value"),
    ("train --data digits --strategy fixmach", "'fixmach'", "fixmatch"),
    ("train --data digits --strategy fixmatch --strategy.threshold 95%", "--strategy.threshold", "'95%'"),
    ("train --data digits --strategy fixmatch --strategy.treshold 0.9", "--strategy.treshold", "--strategy.threshold"),
    ("train --data digits --strategy pseudo_label --strategy.threshold 0.9", "unknown option", "--strategy.threshold"),
    ("train --data digits --strategy fixmatch --strategy.select 0.9", "--strategy.select", "above"),
    ("train --data digits --strategy fixmatch --strategy.select sure", "select", "'sure'"),
    ("train --data digits --strategy fixmatch --strategy.select above(95)", "threshold", "95"),
    ("train --data digits --strategy fixmatch --steps ten", "--steps", "'ten'"),
    ("train --data digits --strategy fixmatch --steps 1.5", "--steps", "'1.5'"),
    ("train --data digits --strategy fixmatch --epochs all", "--epochs", "'all'"),
    ("train --data digits --strategy fixmatch --training.lr fast", "--training.lr", "'fast'"),
    ("train --data digits --strategy fixmatch --lr 0.1", "--lr", "--training.lr"),
    ("train --data digits --strategy fixmatch --learning-rate 0.1", "--learning_rate", "--training.lr"),
    ("train --data digits --strategy fixmatch --batch-size 32", "--batch_size", "--plan.labeled"),
    ("train --data digits --strategy fixmatch --training.schedule 0.1", "--training.schedule", "cosine"),
    ("train --data digits --strategy fixmatch --training.schedule cosin", "'cosin'", "cosine"),
    ("train --data digits --strategy fixmatch --training.precision fp64", "--training.precision", "'fp64'"),
    ("train --data digits --strategy fixmatch --plan.labeled many", "--plan.labeled", "'many'"),
    ("train --data digits --strategy fixmatch --network nowhere:Net", "'nowhere:Net'", "module:name"),
    ("train --data digits --strategy fixmatch --task detection", "'detection'", "segmentation"),
    ("train --data digits --strategy fixmatch --resume", "--resume", "--out"),
    ("train --data digits --strategy fixmatch --on_alarm raise", "--on_alarm", "'raise'"),
    ("train --data digits --strategy fixmatch --baseline perhaps", "--baseline", "'perhaps'"),
    ("train --data digits --strategy fixmatch --data.labels all", "--data.labels", "'all'"),
    ("train --data digits --strategy fixmatch --data.validation 20%", "--data.validation", "'20%'"),
    ("train --data digits --strategy fixmatch extra", "unrecognized", "extra"),
    ("train --data digits --strategy fixmatch --config nowhere.yaml", "config", "nowhere.yaml"),
    ("train --data digits --strategy fixmatch --seed a", "--seed", "'a'"),
    ("pretrain --data digits --recipe bert", "'bert'", "mae"),
    ("pretrain --data digits --recipe mae --recipe.mask_ratio much", "--recipe.mask_ratio", "'much'"),
    ("evaluate", "which run", "selftrain evaluate RUN"),
    ("evaluate nowhere --part tset", "--part", "'tset'"),
    ("predict", "which run", "selftrain predict RUN"),
    ("label", "which run", "selftrain label RUN"),
    ("export", "which run", "selftrain export RUN"),
    ("export nowhere --formats onxx", "--formats", "'onxx'"),
    ("review", "which run", "selftrain review RUN"),
    ("check-data", "which data", "selftrain check-data DATA"),
    ("compare --data digits --strategies fixmach", "'fixmach'", "fixmatch"),
    ("compare --data digits --strategies fixmatch --seeds a", "--seeds", "'a'"),
]
# Lines that can be understood, of what is not there: these end with 1, as what is no fault of the line.
NOT_THERE = [
    ("evaluate nowhere", "nowhere", "--out"),
    ("predict nowhere x.png", "nowhere", "--out"),
    ("label nowhere", "nowhere", "--out"),
    ("review nowhere", "nowhere", "--out"),
    ("train --data nowhere.csv --strategy fixmatch", "nowhere.csv", "correct the path"),
    ("check-data nowhere", "nowhere", "correct the path"),
]


def answer(call: Call) -> tuple[str, str]:
    """``"answered"`` by an error or a warning that names the argument and the value, and its text; or what it is."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            call.do()
        except (ValueError, TypeError, st.SelftrainError) as error:
            kind, texts = "refused without the words", [str(error)]
        except Exception as error:
            return f"a {type(error).__name__}", str(error)
        else:
            kind, texts = "accepted", [str(one.message) for one in caught]
    good = any(call.argument in text and call.value in text for text in texts)
    return "answered" if good else kind, "\n".join(texts)
