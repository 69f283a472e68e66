"""FixMatch of selftrain by ``fit``, or the labels alone. Run by ``compare.py``."""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
import torch
from networks import NETWORKS, accuracy
from turns import Over, Turns, memory_mb, say

import selftrain as st
from selftrain import data, strategies
from selftrain.handlers import Handler, Progress, SelfCheck

# What the peer uses: SGD with Nesterov momentum, 7/16 of a cosine.
SAME = {"optimizer": "sgd", "lr": 0.03, "weight_decay": 5e-4, "schedule": st.cosine(cycles=7 / 16)}


class _AtTheEnd(Handler):
    def __init__(self, turns: Turns) -> None:
        self.turns = turns

    def end_step(self, step: int) -> None:
        self.turns()


def main() -> None:
    """Train as the settings say."""
    given = json.loads(sys.argv[1])
    torch.manual_seed(given["seed"])
    arrays = np.load(given["data"])
    x, y, few = arrays["x"], arrays["y"], arrays["labeled"]
    weak = data.Weak(flip=True, pad="reflect")  # what the peer's weak view is
    views = data.TensorViews(weak, mean=arrays["mean"].tolist(), std=arrays["std"].tolist(), seed=given["seed"])
    names = [str(number) for number in range(10)]
    pile = data.Pile(data.ArraySet(x[few], y[few]), data.ArraySet(x), views=views, classes=names)
    network = NETWORKS[given["network"]]
    settings: dict[str, Any] = SAME | given["training"]
    make = st.learner(lambda: network(10), training=st.Training(**settings))
    method = strategies.FixMatch if given["unlabeled"] else strategies.Supervised
    strategy = method(st.Classification(10), make)
    plan = st.BatchPlan(given["labeled"], given["unlabeled"] / given["labeled"] or 1.0, given["seed"])
    handlers: list[Handler] = [Progress(False), SelfCheck(False)]
    if given["turn"]:
        handlers.append(_AtTheEnd(Turns(given["turn"])))
    try:
        st.fit(strategy, pile, steps=given["steps"], plan=plan, handlers=handlers, evaluation=st.Evaluation(10**9))
    except Over:
        return
    test = arrays["test_x"].astype(np.float32) / 255
    test = torch.as_tensor((test - arrays["mean"]) / arrays["std"]).permute(0, 3, 1, 2).float()
    labels = torch.as_tensor(arrays["test_y"])
    found, average = accuracy(strategy.student.model, test, labels), accuracy(strategy.shipped, test, labels)
    say(accuracy=found, average=average, memory_mb=memory_mb())


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
