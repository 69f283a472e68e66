"""What a run says of data as a user has them: classes, probabilities, and pseudo-labels to keep."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from selftrain.data import Pile, PointViews, Samples, SeriesViews, TableViews, TensorViews
from selftrain.data.base.form import Form
from selftrain.data.readers.raw import read_raw
from selftrain.engine.run import Run, Which
from selftrain.errors import DataError, RunFolderError, setting
from selftrain.evaluation.calibration import Threshold, predictions, threshold_for_precision
from selftrain.handlers.baseline import SupervisedBaseline
from selftrain.labels.ledger import Ledger
from selftrain.labels.table import PseudoLabelTable
from selftrain.labels.teacher_pass import label_pile
from selftrain.metrics.intervals import check_rate
from selftrain.strategy.base import SupervisedStrategy
from selftrain.types import PseudoLabels

PRECISION = 0.95  # of the labels that are accepted, where nothing else is asked for
_ROWS = 10_000  # entered at once
_NEUTRAL: Any = {"table": TableViews, "image": TensorViews, "series": SeriesViews}


def supervised(run: Run) -> SupervisedStrategy:
    """The strategy of a run, if it predicts; of the control in a run's ``baseline`` folder, the labels alone.

    Raises:
        ValueError: for a run of pretraining.
    """
    strategy = run.strategy.method if isinstance(run.strategy, SupervisedBaseline) else run.strategy
    if not isinstance(strategy, SupervisedStrategy):
        name = type(strategy).__name__
        raise ValueError(f"{name} has learned without labels and knows no classes; train from it: init_from=run")
    return strategy


def samples_of(run: Run, data: Any) -> Samples:
    """Data as a user has them, read as those of the run were.

    Raises:
        DataError: they cannot be read, or are of another form.
    """
    form = run.form
    if not isinstance(form, Form):
        raise DataError(
            f"the data of the run ({type(run.pile).__name__}) do not say how inputs are read; pass plain inputs, "
            "normalized as in training, to run.strategy.predict(x)"
        )
    samples = read_raw(data, form)
    if not len(samples):
        raise DataError("there are no samples in data; pass at least one")
    return samples


def pile_of_samples(run: Run, samples: Samples) -> Pile:
    """A pile of unlabeled samples, with inputs and classes as the run saw its own."""
    form: Form = run.form
    # nothing is measured on new data: the views of the run take the place of these
    views = PointViews() if form.kind == "points" else _NEUTRAL[form.kind](mean=0.0, std=1.0)
    with warnings.catch_warnings():
        if form.table is not None:  # what its cells are was said when they were read
            warnings.filterwarnings("ignore", "numbers lie far from all others")
        pile = Pile(None, samples, classes=run.classes, views=views, source="data")
    return run.shown(pile, plain=True)  # type: ignore[no-any-return]


def asked(run: Run, data: Any, which: Which | None, batch_size: int) -> Tensor:
    """What the run predicts, (N, C, *S), in [0, 1], on the CPU."""
    strategy = supervised(run)
    pile = pile_of_samples(run, samples_of(run, data))
    with run.weights(which):
        return label_pile(strategy, pile, batch_size=batch_size).value


def predict_proba(run: Run, data: Any, which: Which | None = None, batch_size: int = 500) -> NDArray[np.float32]:
    """See ``Run.predict_proba``."""
    return asked(run, data, which, batch_size).numpy()


def predict(run: Run, data: Any, which: Which | None = None, batch_size: int = 500) -> NDArray[Any]:
    """See ``Run.predict``."""
    return answers_of(run, asked(run, data, which, batch_size))


def answers_of(run: Run, value: Tensor) -> NDArray[Any]:
    """Decisions of what a run predicts (N, C, *S): names of classes, maps of class numbers, or joints."""
    task = supervised(run).task
    label = task.label(value)
    if not task.has_classes:
        width = value.shape[-1]
        joints = [label % width, label // width, task.confidence(value)]
        return torch.stack([part.float() for part in joints], -1).numpy()
    return np.array([str(name) for name in run.classes])[label.numpy()] if task.one_unit else label.numpy()


# -- labels to keep ----------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Rule:
    """From which confidence on labels are accepted, and why, in words."""

    threshold: float
    why: str


def check_threshold(threshold: float | None) -> None:
    """Refuse what is no confidence.

    Raises:
        ValueError: it is not in [0, 1].
    """
    if threshold is not None and not 0 <= threshold <= 1:
        raise ValueError(f"threshold is {threshold}; a confidence is in [0, 1]")


def rule_for(run: Run, threshold: float | None, precision: float = PRECISION) -> Rule:
    """Which labels of a run are accepted, with the weights that it has.

    Args:
        run: That labels.
        threshold: As it was asked for; ``None``: the lowest by which ``precision`` of the labels are right, as far as
            labels that were held out can tell.
        precision: In (0, 1).

    Raises:
        ValueError: a threshold or precision outside its range.
    """
    check_threshold(threshold)
    check_rate("precision", precision)
    if threshold is not None:
        return Rule(threshold, f"accepted from a confidence of {threshold:g} on, as asked for")
    strategy, own = supervised(run), f"say from which confidence on to accept: {setting('threshold', 0.9, of='')}"
    try:
        found = _held_out(strategy, run.pile, precision)
    except (ValueError, RunFolderError) as error:  # too few labels, or none, or they are gone
        return Rule(0.0, f"all are accepted, how surely they may be right: {error}; or {own}")
    return Rule(
        found.threshold,
        f"accepted from a confidence of {found.threshold:.3g} on: of {found.count:,} held-out labels that reach it "
        f"{100 * found.estimate:.1f} % were right, at least {100 * precision:g} % with a certainty of 95 %",
    )


def _held_out(strategy: SupervisedStrategy, pile: Any, precision: float) -> Threshold:
    sure, right = [], []
    for value, target in predictions(strategy, pile, "validation"):
        known = target.mask() > 0
        sure.append(strategy.task.confidence(value)[known].cpu())
        right.append((strategy.task.label(value) == strategy.task.label(target.value))[known].cpu())
    return threshold_for_precision(torch.cat(sure), torch.cat(right), precision)


def entered(run: Run, ids: Sequence[str], table: PseudoLabelTable, threshold: float, step: int) -> Ledger:
    """A table of labels as a ledger of the samples.

    Args:
        run: That has labeled.
        ids: Of the samples.
        table: The labels.
        threshold: Confidence from which one is accepted.
        step: Of the weights.
    """
    ledger = Ledger(ids, run.classes)
    for start in range(0, len(table), _ROWS):
        index = torch.arange(start, min(start + _ROWS, len(table)))
        weight = (table.confidence[index] >= threshold).float()
        ledger.write(PseudoLabels(index, table.value[index].float(), weight), supervised(run).task, step)
    return ledger


def label(
    run: Run, data: Any, threshold: float | None, precision: float, which: Which | None, batch_size: int
) -> Ledger:
    """See ``Run.label``."""
    strategy = supervised(run)
    if data is None:
        own: Any = run.pile
        if not len(own.unlabeled_ids()):
            raise DataError("the run's data have no unlabeled samples; say which to label: run.label(data)")
        pile, ids = own, own.unlabeled_ids()
    else:
        samples = samples_of(run, data)
        pile, ids = pile_of_samples(run, samples), samples.ids
    with run.weights(which) as step:
        rule = rule_for(run, threshold, precision)
        table = label_pile(strategy, pile, batch_size=batch_size)
        print(f"labels     {rule.why}")
        return entered(run, ids, table, rule.threshold, step)
