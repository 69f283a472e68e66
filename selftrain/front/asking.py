"""What a run says of data as a user has them: classes, probabilities, and pseudo-labels to keep."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
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
from selftrain.labels.maps import Original
from selftrain.labels.refine import check_units
from selftrain.labels.teacher_pass import label_pile
from selftrain.metrics.intervals import check_rate
from selftrain.runtime import signals
from selftrain.strategy.base import SupervisedStrategy
from selftrain.types import PseudoLabels

PRECISION = 0.95  # of the labels that are accepted, where nothing else is asked for
_BATCH = 500
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
    supervised(run)  # before data are read
    pile = pile_of_samples(run, samples_of(run, data))
    with run.weights(which):  # decisions batch by batch: probabilities of all pixels may not fit
        return np.concatenate([answers_of(run, said.value) for said, _ in _said(run, pile, 1.0, batch_size)])


def answers_of(run: Run, value: Tensor) -> NDArray[Any]:
    """Decisions of what a run predicts (N, C, *S): names of classes, maps of class numbers, or joints."""
    task = supervised(run).task
    label = task.label(value)
    if not task.has_classes:
        width = value.shape[-1]
        sure = task.confidence(value).float()
        place = torch.stack([label % width, label // width], -1).float()
        if hasattr(task, "units"):  # between cells; a task of the user's own may not tell
            place = task.units(value, sure, sure > 0)[..., 3:] * place.new_tensor([width, value.shape[-2]]) - 0.5
        return torch.cat([place, sure[..., None]], -1).numpy()
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


def labeled(run: Run, pile: Any, threshold: float, which: Which | None, batch_size: int) -> Ledger:
    """A ledger of what a run says of the unlabeled samples of a pile, batch by batch.

    Args:
        run: That labels.
        pile: With inputs as the run saw its own.
        threshold: Confidence from which a unit is accepted.
        which: As of ``Run.label``.
        batch_size: Samples asked at a time.
    """
    ledger, task = Ledger(pile.unlabeled_ids(), run.classes), supervised(run).task
    with run.weights(which) as step:
        for said, _ in _said(run, pile, threshold, batch_size):
            ledger.write(said, task, step)

    def again() -> Iterator[tuple[PseudoLabels, tuple[int, int]]]:
        with run.weights(which):
            yield from _said(run, pile, threshold, batch_size)

    ledger.maps, ledger.task, ledger.originals = again, task, lambda: originals(pile)
    return ledger


def originals(pile: Any) -> Original | None:
    """What tells of which size the pictures of the unlabeled samples of a pile were; ``None``: nothing does."""
    samples: Any = getattr(pile, "unlabeled", None)
    if samples is None or _original(samples, 0) is None:
        return None
    return partial(_original, samples)


def _original(samples: Any, row: int) -> Any:
    """Of a part of a set, or two that were joined, it is asked of the set that has the pictures."""
    if hasattr(samples, "rows") and hasattr(samples, "base"):
        return _original(samples.base, int(samples.rows[row]))
    if hasattr(samples, "first") and hasattr(samples, "second"):
        behind = row - len(samples.first)
        return _original(samples.first, row) if behind < 0 else _original(samples.second, behind)
    found = getattr(samples, "original", None)
    return None if found is None else found(row)


def own_maps(run: Run) -> Iterator[tuple[PseudoLabels, tuple[int, int]]]:
    """What a run says of its own unlabeled samples, accepted as by ``run.label()``."""
    with run.weights():
        yield from _said(run, run.pile, rule_for(run, None).threshold, _BATCH)


@torch.no_grad()
def _said(run: Run, pile: Any, threshold: float, batch_size: int) -> Iterator[tuple[PseudoLabels, tuple[int, int]]]:
    """Pseudo-labels of all unlabeled samples in order, on the CPU, with height and width of the pictures."""
    strategy, at = supervised(run), 0
    batches = pile.evaluation("pile", batch_size, next(strategy.parameters()).device)
    for batch in batches or ():
        signals.check()
        with strategy.evaluating():
            value = strategy.predict(batch.x)
        sure = strategy.task.confidence(value)
        weight = (sure >= threshold).float()
        check_units(value, sure, weight)
        index = torch.arange(at, at + len(value))
        at += len(value)
        yield PseudoLabels(index, value.float().cpu(), weight.cpu()), tuple(batch.x.shape[-2:])
    if at != len(pile.unlabeled_ids()):
        raise DataError(f"the pile shows {at} samples to label and names {len(pile.unlabeled_ids())}")


def label(
    run: Run, data: Any, threshold: float | None, precision: float, which: Which | None, batch_size: int
) -> Ledger:
    """See ``Run.label``."""
    supervised(run)  # before data are read
    if data is None:
        pile: Any = run.pile
        if not len(pile.unlabeled_ids()):
            raise DataError("the run's data have no unlabeled samples; say which to label: run.label(data)")
    else:
        pile = pile_of_samples(run, samples_of(run, data))
    with run.weights(which):
        rule = rule_for(run, threshold, precision)
    print(f"labels     {rule.why}")
    return labeled(run, pile, rule.threshold, which, batch_size)
