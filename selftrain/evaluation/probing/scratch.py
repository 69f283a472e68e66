"""The control that no probe is: the same network, from a random start, trained on all labels of the pile."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from selftrain.evaluation.probing.encoding import features_of
from selftrain.networks.optim import learner
from selftrain.networks.student import Precision
from selftrain.runtime.rng import own_randomness, seed_step, step_key
from selftrain.strategy.single import SingleStudent
from selftrain.tasks import Classification
from selftrain.types import BatchPlan, Clock, Needs, Pile

DECAY = 0.99  # of the average of the weights that is judged


def from_scratch(
    fresh: Callable[[], nn.Module],
    pile: Pile,
    *,
    part: str = "validation",
    steps: int = 1000,
    lr: float = 1e-3,
    labeled: int = 32,
    seed: int = 0,
    batch_size: int = 256,
    device: torch.device | None = None,
    precision: Precision = "fp32",
) -> float:
    """Accuracy of an encoder with a linear head that learns from all labels of the pile, and from nothing else.

    AdamW with a cosine to 0, weight decay 0.01, on weak views of the labeled samples; the moving average of the weights
    (0.99) is judged. Pretraining often buys no more than fewer steps, so train to the plateau: raise ``steps`` until
    the accuracy stays.

    Args:
        fresh: Builds the encoder untrained, (B, ...) -> (B, D).
        pile: With labeled samples whose annotations are class numbers.
        part: Part of the pile to classify.
        steps: Of training, >= 1.
        lr: Peak learning rate, > 0.
        labeled: Samples a step, >= 1.
        seed: Key of the start and of the batches; the caller's random state stays.
        batch_size: Samples a batch of the evaluation.
        device: Where to train; ``None``: the CPU.
        precision: See ``Learner``.

    Returns:
        In [0, 1].

    Raises:
        ValueError: if the pile has no labeled samples or none of ``part``, or for an argument out of range.
    """
    if steps < 1:
        raise ValueError(f"steps is {steps}; the control must learn for at least 1 (hand in supervised={{}} for none)")
    device = device or torch.device("cpu")
    known, asked = (pile.evaluation(name, batch_size, device) for name in ("labeled", part))
    if known is None or asked is None:
        raise ValueError(f"the pile has no {'labeled' if known is None else part} samples; the control needs them")
    # two samples are enough to see how wide the features are
    task, few = Classification(len(pile.classes)), next(iter(known)).x[:2]
    with own_randomness(device):
        seed_step(seed, device)
        encoder = fresh().to(device)
        network = nn.Sequential(encoder, nn.Linear(features_of(encoder, few).x.shape[1], len(pile.classes)))
        strategy = SingleStudent(task, learner(network.to(device), lr=lr, precision=precision), decay=DECAY)
        _train(strategy, pile, steps, BatchPlan(labeled, 1.0, seed), device)
    with strategy.evaluating():
        return strategy.evaluate(asked)[strategy.monitor]


def _train(strategy: SingleStudent, pile: Pile, steps: int, plan: BatchPlan, device: torch.device) -> None:
    """Supervised steps; no unlabeled sample is read."""
    # a loop of its own: evaluation is a layer below the engine
    stream = pile.stream(Needs((), strategy.task.encode, strategy.task.warp), plan, device)
    strategy.train()
    step = 0
    while step < steps:
        for batch, *_ in stream.epoch(step // stream.steps_per_epoch, step % stream.steps_per_epoch):
            clock = Clock(step, step // stream.steps_per_epoch, steps)
            # a key for each step, as in a run: the control is what `fit` gives with the same settings
            seed_step(step_key(plan.seed, step), device)
            strategy.student.set_lr(clock.progress)
            strategy.step_labeled(batch, clock)
            step += 1
            if step == steps:
                break
