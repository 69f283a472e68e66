"""Predictions for labeled samples by networks that did not see their labels."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from selftrain.data import Pile
from selftrain.engine.loop import fit
from selftrain.errors import DataError
from selftrain.evaluation.calibration import predictions
from selftrain.handlers import DataSummary, Progress, SelfCheck
from selftrain.strategy.base import SupervisedStrategy
from selftrain.types import BatchPlan, plain_settings


@plain_settings
def out_of_fold(
    make: Callable[[], SupervisedStrategy],
    pile: Pile,
    *,
    folds: int = 5,
    steps: int = 500,
    plan: BatchPlan | None = None,
    seed: int = 0,
    progress: bool | None = None,
) -> Tensor:
    """Train once without each fold of the labels, and ask each network about the labels it did not see.

    The unlabeled samples are in every training. Folds have like shares of each class; a class with a single label is
    not known to the network that is asked about it. Held-out sets of the pile choose nothing: the last weights answer.

    Args:
        make: A fresh strategy each time.
        pile: With labels that are classes.
        folds: At least 2.
        steps: Of each training.
        plan: Of each training.
        seed: Of the folds, and of each strategy's start.
        progress: Whether to show a bar for each training; ``None``: on a terminal.

    Returns:
        Probabilities of the labeled samples in their order, shape (L, C), on the CPU.

    Raises:
        DataError: the pile has fewer labels than folds, or labels that are no classes.
        ValueError: for fewer than 2 folds.
    """
    from sklearn.model_selection import KFold, StratifiedKFold

    if folds < 2:
        raise ValueError(f"folds is {folds}; it must be at least 2")
    given = None if pile.labeled is None else pile.labeled.annotations
    if given is None or given.dim() != 1 or len(given) < folds:
        have = "none" if given is None else f"{len(given)} of shape {tuple(given.shape[1:])}"
        raise DataError(f"{folds} folds of labels that are classes are needed, and the pile has {have}")
    rare = int(torch.bincount(given)[given.unique()].min()) < folds  # scikit-learn warns where a fold lacks a class
    splitter = (KFold if rare else StratifiedKFold)(folds, shuffle=True, random_state=seed)
    found: Tensor | None = None
    for _, hidden in splitter.split(np.zeros(len(given)), given.numpy()):
        rest, asked = pile.without_labels(hidden)
        torch.manual_seed(seed)
        strategy = make()
        quiet = [DataSummary(False), SelfCheck(False), Progress(progress)]
        fit(strategy, rest, steps=steps, plan=plan, handlers=quiet)
        value = torch.cat([value for value, _ in predictions(strategy, rest, asked)]).cpu()
        found = value.new_zeros(len(given), value.shape[1]) if found is None else found
        found[torch.from_numpy(hidden)] = value
    assert found is not None
    return found
