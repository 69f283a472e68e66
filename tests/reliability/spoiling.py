"""Numbers that are not finite, in a whole run: it ends as if it had not taken the steps in which they came."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import torch
import zoo
from harness import KIND, STEPS, Bench, Trial, drawn, error_of, fork, outcome, train

import selftrain as st
from selftrain.errors import NonFiniteError

NAN, INF = float("nan"), float("inf")
Spoil = Callable[[Any, Any, Callable[[Any], Any]], Any]


def _input(draw: Random) -> Spoil:
    """NaN in one pixel of a labeled or an unlabeled sample."""
    labeled = draw.random() < 0.5

    def spoil(strategy: Any, batch: Any, step: Callable[[Any], Any]) -> Any:
        if labeled:
            return step(batch.replace(labeled=replace(batch.labeled, x=_spoiled(batch.labeled.x, NAN))))
        view = batch.unlabeled.views["strong"]
        return step(zoo.with_view(batch, "strong", replace(view, x=_spoiled(view.x, NAN))))

    return spoil


def _output(draw: Random) -> Spoil:
    """NaN or infinity in the first output of the network."""
    value = draw.choice([NAN, INF, -INF])

    def spoil(strategy: Any, batch: Any, step: Callable[[Any], Any]) -> Any:
        (learner,) = strategy.learners()
        handle = learner.model.register_forward_hook(lambda module, given, y: _spoiled(y, value))
        try:
            return step(batch)
        finally:
            handle.remove()

    return spoil


def _gradient(draw: Random) -> Spoil:
    """NaN or infinity in the gradient of a random weight."""
    value, number = draw.choice([NAN, INF]), draw.randrange(1000)

    def spoil(strategy: Any, batch: Any, step: Callable[[Any], Any]) -> Any:
        weights = [p for p in strategy.parameters() if p.requires_grad]
        handle = weights[number % len(weights)].register_hook(lambda grad: _spoiled(grad, value))
        try:
            return step(batch)
        finally:
            handle.remove()

    return spoil


def _not_taken(strategy: Any, batch: Any, step: Callable[[Any], Any]) -> Any:
    raise NonFiniteError("not taken")


def _spoiled(x: torch.Tensor, value: float) -> torch.Tensor:
    x = x.clone()
    x.view(-1)[0] = value
    return x


WHERE = {"input": _input, "output": _output, "gradient": _gradient}


def spoiled(where: str) -> Callable[[Bench, Path, int], Trial]:
    """Trials in which up to three random steps meet such a number."""

    def trial(bench: Bench, folder: Path, number: int) -> Trial:
        draw = drawn(f"not finite {where}", number)
        steps = set(draw.sample(range(STEPS), draw.choice([1, 2, 3])))
        runs = {}
        for name, spoil in (("spoiled", WHERE[where](draw)), ("without", _not_taken)):
            log = folder / f"{name}.log"
            if fork(lambda spoil=spoil, name=name: _train(folder / name, steps, spoil), log).wait():
                return Trial(False, 0, f"{name}: {error_of(log)}{log.read_text()[-1500:]}")
            runs[name] = outcome(folder / name)
            del runs[name]["state"]["handlers"]["NonFiniteGuard"]  # the reasons
        different = zoo.differences(runs["without"], runs["spoiled"])
        return Trial(not different, 0, f"different: {different[:5]}" if different else "")

    return trial


def _train(folder: Path, steps: set[int], spoil: Spoil) -> None:
    strategy = zoo.build("freematch", KIND)
    step = strategy.step

    def watched(batch: Any, clock: Any) -> Any:
        if clock.step not in steps:
            return step(batch, clock)
        return spoil(strategy, batch, lambda given: step(given, clock))

    strategy.step = watched
    run = train(folder, strategy=strategy)
    if run.skipped != len(steps):
        raise st.TrainingError(f"{run.skipped} steps were left out, not {len(steps)}")
