"""What several of the core's tests need: tiny networks, comparisons of states, and a pile in memory."""

import copy
import re
from types import SimpleNamespace

import torch
from torch import nn
from torch.nn import functional as F

from selftrain.networks.student import Learner
from selftrain.tasks import Classification, Keypoints, Segmentation
from selftrain.types import Annotated, Batch, Labeled, Unlabeled, View


def shown(value):
    """A parameter in the name of its test, the same in every process: without the addresses of functions."""
    return value.__name__ if isinstance(value, type) else re.sub(r" at 0x[0-9a-f]+", "", str(value))


def mlp(seed=0, inputs=3, classes=3):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(inputs, 8), nn.Tanh(), nn.Linear(8, classes))


def normed(seed=0, inputs=3, classes=3, dropout=0.5):
    """A network with BatchNorm and dropout: what evaluation mode, buffers and random states matter for."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(inputs, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(dropout), nn.Linear(8, classes))


def convnet(seed=0, classes=3):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(4, classes),
    )  # fmt: skip


def sgd_learner(model=None, lr=0.1, momentum=0.9, **settings):
    model = mlp() if model is None else model
    return Learner(model, torch.optim.SGD(model.parameters(), lr=lr, momentum=momentum), **settings)


def adam_learner(model=None, lr=0.01, **settings):
    model = mlp() if model is None else model
    return Learner(model, torch.optim.AdamW(model.parameters(), lr=lr), **settings)


def weights(module):
    return [p.detach().clone() for p in module.parameters()]


def same(first, second):
    """Whether two nested states hold bit-equal tensors and equal numbers."""
    if isinstance(first, torch.Tensor):
        return isinstance(second, torch.Tensor) and first.dtype == second.dtype and torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(v, second[k]) for k, v in first.items())
    if isinstance(first, (list, tuple)):
        return len(first) == len(second) and all(same(a, b) for a, b in zip(first, second, strict=True))
    return first == second


def snapshot(module):
    return copy.deepcopy(module.state_dict())


def all_tasks():
    """The three tasks with what their tests need: name, task, shape of a value's sites, shape of the units."""
    return [
        SimpleNamespace(name="classification", task=Classification(4), channels=4, sites=(), units=()),
        SimpleNamespace(name="segmentation", task=Segmentation(4), channels=4, sites=(5, 6), units=(5, 6)),
        SimpleNamespace(name="keypoints", task=Keypoints(4, (5, 6)), channels=4, sites=(5, 6), units=(4,)),
    ]


def values(case, batch=3, seed=0):
    """Predictions in [0, 1] of the right shape."""
    generator = torch.Generator().manual_seed(seed)
    raw = torch.randn(batch, case.channels, *case.sites, generator=generator)
    return case.task.probs(raw)


# -- a pile in memory ------------------------------------------------------------------------------------------------
def blobs(n, seed, classes=3):
    """Well separated clouds, one a class: inputs (n, 3), classes (n,)."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % classes
    return 2.0 * F.one_hot(y, 3).float() + 0.3 * torch.randn(n, 3, generator=generator), y


def pictures(n, seed):
    """Images (n, 2, 8, 8) whose mean brightness tells the class."""
    x, y = blobs(n, seed)
    return x[:, :2, None, None] + 0.1 * torch.randn(n, 2, 8, 8, generator=torch.Generator().manual_seed(seed)), y


class MemoryPile:
    """Labeled, unlabeled, validation and test tensors; views are the input plus noise keyed by epoch and step."""

    classes = ("red", "green", "blue")

    def __init__(self, make=blobs, *, labeled=12, unlabeled=40, validation=30, test=30, truth=True):
        self.parts = {
            "labeled": make(labeled, 1), "unlabeled": make(unlabeled, 2), "validation": make(validation, 3),
            "test": make(test, 4),
        }  # fmt: skip
        self.truth = truth

    def stream(self, needs, plan, device):
        return MemoryStream(self, needs, plan)

    def evaluation(self, part, batch_size, device):
        x, y = self.parts["unlabeled" if part == "pile" else part] if isinstance(part, str) else part
        if not len(x):
            return None
        rows = torch.arange(len(x)).split(batch_size)
        return [Annotated(x[r].to(device), y[r].to(device), r.to(device)) for r in rows]

    def unlabeled_ids(self):
        return [f"sample-{i}" for i in range(len(self.parts["unlabeled"][0]))]

    def unlabeled_truth(self):
        return self.parts["unlabeled"][1] if self.truth else None


class MemoryStream:
    def __init__(self, pile, needs, plan):
        self.pile, self.needs, self.plan = pile, needs, plan
        unlabeled = len(pile.parts["unlabeled"][0])
        rows, size = (unlabeled, plan.unlabeled) if unlabeled else (len(pile.parts["labeled"][0]), plan.labeled)
        self.steps_per_epoch = -(-rows // size)

    def epoch(self, number, start=0):
        for step in range(start, self.steps_per_epoch):
            ahead = range(step, step + 1 + self.needs.extra_batches)
            yield [self.batch(number, s % self.steps_per_epoch) for s in ahead]

    def batch(self, number, step):
        generator = torch.Generator().manual_seed(hash((self.plan.seed, number, step)) % 2**32)
        return Batch(self.labeled(generator), self.unlabeled(number, step, generator))

    def labeled(self, generator):
        if self.needs.encode is None:
            return None
        x, y = self.pile.parts["labeled"]
        rows = torch.randint(len(x), (self.plan.labeled,), generator=generator)
        noise = 0.1 * torch.randn(x[rows].shape, generator=generator)
        return Labeled(x[rows] + noise, self.needs.encode(y[rows]), rows)

    def unlabeled(self, number, step, generator):
        x, _ = self.pile.parts["unlabeled"]
        if not len(x) or not self.needs.views:
            return None
        order = torch.randperm(len(x), generator=torch.Generator().manual_seed(1000 + number))
        rows = order[(torch.arange(self.plan.unlabeled) + step * self.plan.unlabeled) % len(x)]
        views = {}
        for name, noise in zip(self.needs.views, (0.05, 0.3, 0.5), strict=False):
            noise = 0.0 if name == "plain" else noise
            views[name] = View(x[rows] + noise * torch.randn(x[rows].shape, generator=generator))
        return Unlabeled(views, rows)
