"""A run against the labels alone where no labels are held out: what simple models, cross-fitted, say of both.

Two signs that are wrong in different ways. Forward: a forest that learned the labels alone is asked about the pile; of
two networks the better one agrees with it more, but labels alone also share errors with it. Backward: a logistic
regression learns the decisions about the pile, and no label, and is asked for labels; worse decisions teach it worse,
but both networks have seen these labels. The run is called worse where both signs say so (benchmarks/cross_fitted.py
counts what that misses and tells in vain). Labels out of fold describe the simple models, which are rivals as well. Not
built: k trainings of the networks with a part of the labels held out, which take k times as long.

Source of the second: reverse validation, Zhong et al., "Cross Validation Framework to Choose amongst Models and
Datasets for Transfer Learning", ECML 2010. Differs: its model is of another kind than the networks; two runs compete.

The simple models are rivals, too. Where one is right and the run says something else the run is wrong, so that it has
no more right than the share of which both say the same and the share that the rival has wrong together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from selftrain.metrics.features import color_histograms
from selftrain.metrics.significance import FEW, MARGIN
from selftrain.storage.fields import COUNT, Number

TREES = 100
SIDE, LEVELS, WIDEST = 8, 8, 20_000  # of small pictures; shades of a color; columns of a row
FIELDS: dict[str, Any] = {"form": str, "labels": COUNT, "folds": COUNT, "rows": COUNT} | dict.fromkeys(
    ("logistic", "forest", "agrees", "alone_agrees", "taught", "alone_taught"), Number(0, 1)
)
FIELDS["rival_agrees"] = (Number(0, 1), None, ...)  # older checkpoints lack it


@dataclass(frozen=True)
class CrossFitted:
    """What simple models say of a run and of the labels alone beside it; all shares in [0, 1].

    Attributes:
        form: What the models read.
        labels: Number of labels; each was held out once.
        folds: In so many folds.
        rows: Unlabeled rows that all were asked about.
        logistic, forest: Share of the labels that they have right, out of fold.
        agrees, alone_agrees: Share of the rows of which the run (the labels alone) says what the forest says.
        taught, alone_taught: Share of the labels that a logistic regression has right which has learned from the
            decisions of the run (of the labels alone) on these rows, and from no label.
        rival_agrees: Share of the rows of which the run says what the better simple model says; ``None``: not stored.
    """

    form: str
    labels: int
    folds: int
    rows: int
    logistic: float
    forest: float
    agrees: float
    alone_agrees: float
    taught: float
    alone_taught: float
    rival_agrees: float | None = None

    @classmethod
    def stored(cls, state: Mapping[str, Any] | None) -> CrossFitted | None:
        """What a checkpoint holds, checked before; other names in it are passed over."""
        return None if state is None else cls(**{name: state[name] for name in FIELDS if name in state})

    @property
    def worse(self) -> bool:
        """Whether both signs say that the run is worse than the labels alone, on enough rows."""
        apart = self.alone_agrees - self.agrees > MARGIN and self.alone_taught > self.taught
        return apart and self.rows >= FEW

    @property
    def most(self) -> float | None:
        """The share that the run has right at most, by the better simple model; ``None``: not stored."""
        return None if self.rival_agrees is None else min(1.0, self.rival_agrees + 1.0 - self._models()[0][0])

    @property
    def behind(self) -> bool:
        """Whether the better simple model has clearly more right than the run can have, on enough rows.

        Its share is of few labels, and the better of two: by the rule of succession, 8 of 8 are 90 % and not all.
        """
        if self.rival_agrees is None:
            return False
        share = (self._models()[0][0] * self.labels + 1) / (self.labels + 2)
        return share - (self.rival_agrees + 1 - share) > MARGIN and self.rows >= FEW

    def _models(self) -> list[tuple[float, str]]:
        """Share of the labels right and name of the simple models, the better one first."""
        return sorted([(self.logistic, "logistic regression"), (self.forest, "forest")], reverse=True)

    def simple(self) -> str:
        """The simple models, which are rivals as well, in a line."""
        told = ", ".join(f"{name} {100 * share:.1f} %" for share, name in self._models())
        return f"{told} of {self.labels:,} labels: models of {self.form}"

    def rival(self) -> str:
        """The simple model that the run is behind, and what to do, in a line."""
        share, name = self._models()[0]
        most = "" if self.most is None else f", this run at most {100 * self.most:.1f} %"
        return (
            f"{name} on {self.form} {100 * share:.1f} % out of fold{most} ({self.labels:,} labels): try strategy auto"
        )

    def signs(self) -> str:
        """The two signs in a line."""
        return (
            f"with the forest {100 * self.agrees:.1f} %, labels alone {100 * self.alone_agrees:.1f} %; labels right "
            f"that its classes teach: {100 * self.taught:.1f}, {100 * self.alone_taught:.1f} %"
        )


def cross_fitted(
    x: Tensor, y: Tensor, asked: Tensor, run: Tensor, alone: Tensor, *, pictures: Tensor | None = None, seed: int = 0
) -> CrossFitted:
    """Fit the simple models, out of fold and on all labels, and hold a run and the labels alone against them.

    Args:
        x: Inputs of the labeled samples, shape (L, ...).
        y: Their classes, shape (L,).
        asked: Inputs of unlabeled samples, shape (N, ...).
        run: Classes that the run decides for there, shape (N,).
        alone: Those of the labels alone.
        pictures: ``x`` and ``asked`` in one as pictures in color, shape (L + N, 3, H, W), in [0, 1]; ``None``: they are
            none.
        seed: Of folds and forest.

    Raises:
        ValueError: a class with fewer than two labels, or very wide rows; the message says why nothing can be told.
    """
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    truth, mine, theirs = (classes.cpu().numpy() for classes in (y, run, alone))
    folds = min(5, int(np.unique(truth, return_counts=True)[1].min()))
    if folds < 2:
        raise ValueError("a class has a single label, and one that is held out needs another: label two of each")
    cut = StratifiedKFold(folds, shuffle=True, random_state=seed)

    def right(model: Any, rows: NDArray[Any]) -> float:
        return float((cross_val_predict(model, rows, truth, cv=cut) == truth).mean())

    # of several forms that which a forest reads best out of fold
    forms = _forms(x, asked, pictures)
    shares = [right(_forest(seed), rows) for _, rows, _ in forms]
    forest, (form, rows, others) = shares[int(np.argmax(shares))], forms[int(np.argmax(shares))]
    logistic = right(_logistic(form), rows)
    said = _forest(seed).fit(rows, truth).predict(others)
    rival = _logistic(form).fit(rows, truth).predict(others) if logistic >= forest else said
    taught = [float((_taught(form, others, classes, rows) == truth).mean()) for classes in (mine, theirs)]
    return CrossFitted(
        form=form,
        labels=len(truth),
        folds=folds,
        rows=len(said),
        logistic=logistic,
        forest=forest,
        agrees=float((said == mine).mean()),
        alone_agrees=float((said == theirs).mean()),
        taught=taught[0],
        alone_taught=taught[1],
        rival_agrees=float((rival == mine).mean()),
    )


def _forms(x: Tensor, asked: Tensor, pictures: Tensor | None) -> list[tuple[str, NDArray[Any], NDArray[Any]]]:
    """Name, labeled and unlabeled rows of each form in which simple models read inputs."""
    whole = torch.cat([x.cpu(), asked.cpu()]).float()
    name = "rows"
    if whole.dim() == 4 and max(whole.shape[2:]) > SIDE:
        name, whole = "small pictures", torch.nn.functional.adaptive_avg_pool2d(whole, SIDE)
    made = {name: whole.flatten(1).nan_to_num(0.0)}
    if pictures is not None:
        made["colors"] = color_histograms(pictures.cpu(), LEVELS)
    if made[name].shape[1] > WIDEST:
        raise ValueError(f"a row has {made[name].shape[1]:,} numbers, more than simple models read; hold labels out")
    return [(name, rows[: len(x)].numpy(), rows[len(x) :].numpy()) for name, rows in made.items()]


def _forest(seed: int) -> Any:
    from sklearn.ensemble import ExtraTreesClassifier

    return ExtraTreesClassifier(TREES, random_state=seed)


def _logistic(form: str) -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if form == "colors":  # shares of colors are alike already, and rare ones would count as much as others
        return LogisticRegression(C=10.0, max_iter=500)
    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=500))


def _taught(form: str, rows: NDArray[Any], classes: NDArray[Any], asked: NDArray[Any]) -> NDArray[Any]:
    """What a logistic regression that has learned these classes says of other rows."""
    if len(np.unique(classes)) < 2:
        return np.full(len(asked), classes[0])
    found: NDArray[Any] = _logistic(form).fit(rows, classes).predict(asked)
    return found
