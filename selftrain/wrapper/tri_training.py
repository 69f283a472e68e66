"""Tri-training: Zhou & Li, "Tri-Training: Exploiting Unlabeled Data Using Three Classifiers", TKDE 2005.

Algorithm: 1. three classifiers learn bootstraps of the labels; 2. for each, the unlabeled rows on which the two others
agree are its candidates, with their label; 3. it takes them, or a part, only where their error on the labels is so much
lower than before that more rows at that noise must help; 4. it learns all labels and what it took; 5. when none takes
anything, the majority decides.

Left out: nothing. Differs: a bootstrap with a single class is drawn again; where three disagree the mean probability
decides.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.utils import _safe_indexing
from sklearn.utils.metaestimators import available_if

from selftrain.wrapper.base import Wrapper, all_have
from selftrain.wrapper.labels import Array
from selftrain.wrapper.learning import Trainer, check_classifier, seeded
from selftrain.wrapper.scores import probabilities

OTHERS = ((1, 2), (0, 2), (0, 1))


class TriTraining(Wrapper):
    """Let each of three classifiers learn what the two others agree on, as long as that must help.

    It needs neither probabilities nor views. Classifiers that make no error on their own labels, such as full-grown
    trees, leave it nothing to measure: it then ends after a single round of updates.

    Source: Zhou & Li 2005, their pseudo-code. Differs: see the module.

    Args:
        estimator: A classifier, cloned three times with a random state each, or a list of three.
        max_rounds: At least 0; ``None``: until no classifier takes anything (theirs).
        unlabeled: What marks an unlabeled row in ``y``; ``None`` or NaN: both.
        random_state: Seed or ``RandomState`` of bootstraps, subsamples and classifiers.

    Attributes:
        estimators_: The three classifiers.
        classes_: Shape (C,).
        transduction_: Labels, and the pseudo-labels that a classifier was last fitted to, the marker where a row has
            none, shape (N,). Where the three learned different ones, here is the latest.
        labeled_iter_: 0 where the label was given, else the latest round in which a row was taken by a classifier that
            still uses it, -1 if there is none, shape (N,).
        taught_: Which classifier was last fitted to the row, shape (N, 3), bool; True where the label was given.
        n_iter_: Number of rounds, the last one, without an update, included.
        termination_condition_: ``"no_candidate"`` if no classifier took anything, ``"max_rounds"``, or
            ``"all_labeled"`` if there was no unlabeled row.
        history_: A row a round, with a number a classifier: ``round``; ``error`` of the two others on the labels they
            agree on; ``candidates``, rows they agree on; ``added``, rows taken, 0 if none; ``histogram``, pseudo-labels
            a class after the round.

    Raises:
        ValueError: for settings out of range.
        DataError: for labels that cannot be learned from.

    >>> from sklearn.datasets import make_blobs
    >>> from sklearn.linear_model import LogisticRegression
    >>> X, y = make_blobs(100, centers=2, random_state=0)
    >>> y[10:] = -1
    >>> model = TriTraining(LogisticRegression(), random_state=0).fit(X, y)
    >>> model.n_iter_, model.termination_condition_, model.predict(X[:4]).shape
    (2, 'no_candidate', (4,))
    """

    def __init__(
        self, estimator: Any, *, max_rounds: int | None = None, unlabeled: Any = -1, random_state: Any = None
    ) -> None:
        self.estimator, self.max_rounds, self.unlabeled = estimator, max_rounds, unlabeled
        self.random_state = random_state

    def fit(self, X: Any, y: Any) -> TriTraining:
        """Learn bootstraps of the labels and, round after round, what two of three agree on.

        Args:
            X: All rows, labeled or not, as in ``SelfTraining``.
            y: Their labels, ``unlabeled`` where there is none, shape (N,).
        """
        for member in self._members():
            check_classifier(member)
        if self.max_rounds is not None and self.max_rounds < 0:
            raise ValueError(f"max_rounds is {self.max_rounds}; it must be 0 or more, or None")
        X, labels, rng = self._begin(X, y)
        trainers = [Trainer(seeded(member, rng)) for member in self._members()]
        given, pile = np.flatnonzero(labels.labeled), np.flatnonzero(~labels.labeled)
        # of each classifier: the pseudo-labels it was last fitted to, since which round, and how noisy they were
        taught, since = np.full((3, len(pile)), -1), np.full((3, len(pile)), -1)
        progress = [Progress() for _ in range(3)]
        self.history_: list[dict[str, Any]] = []
        drawn = [_bootstrap(given, labels.codes, rng) for _ in trainers]
        learners = [
            t.fit(_safe_indexing(X, rows), labels.classes[labels.codes[rows]])
            for t, rows in zip(trainers, drawn, strict=True)
        ]

        ended = "max_rounds" if len(pile) else "all_labeled"
        while len(pile) and (self.max_rounds is None or len(self.history_) < self.max_rounds):
            number = len(self.history_) + 1
            on_labels = [_decide(learner, _safe_indexing(X, given), labels.classes) for learner in learners]
            on_pile = [_decide(learner, _safe_indexing(X, pile), labels.classes) for learner in learners]
            # For all three before any learns anew, as in the paper: else the third would judge changed teachers.
            errors = [agreed_error(on_labels[j], on_labels[k], labels.codes[given]) for j, k in OTHERS]
            agreed = [np.flatnonzero(on_pile[j] == on_pile[k]) for j, k in OTHERS]
            sizes = [p.admit(e, len(rows)) for p, e, rows in zip(progress, errors, agreed, strict=True)]
            for i in (i for i in range(3) if sizes[i]):
                # Sorted: a set that is taken whole is learned in the order of X, whatever was drawn.
                rows = np.sort(rng.permutation(agreed[i])[: sizes[i]])
                taught[i], since[i] = -1, -1  # the new pseudo-labels replace those it had
                # The teachers agree on these rows, so either one's decision will do.
                taught[i, rows], since[i, rows] = on_pile[OTHERS[i][0]][rows], number
                places = np.concatenate([given, pile[rows]])
                codes = np.concatenate([labels.codes[given], taught[i, rows]])
                learners[i] = trainers[i].fit(_safe_indexing(X, places), labels.classes[codes])
                progress[i] = Progress(errors[i], sizes[i])
            counts = [np.bincount(each[each >= 0], minlength=len(labels.classes)).tolist() for each in taught]
            found = {"candidates": [len(rows) for rows in agreed], "added": sizes, "histogram": counts}
            self.history_.append({"round": number, "error": errors, **found})
            if not any(sizes):
                ended = "no_candidate"
                break

        latest = np.take_along_axis(taught, since.argmax(0)[None], 0)[0]
        self.transduction_, self.labeled_iter_ = labels.completed(latest), labels.extended(since.max(0))
        self.taught_ = np.repeat(labels.labeled[:, None], 3, axis=1)
        self.taught_[pile] = taught.T >= 0
        self.estimators_, self.n_iter_, self.termination_condition_ = learners, len(self.history_), ended
        return self

    def _members(self) -> list[Any]:
        three = list(self.estimator) if isinstance(self.estimator, list | tuple) else [self.estimator] * 3
        if len(three) != 3:
            raise ValueError(f"estimator holds {len(three)} classifiers; give one or three")
        return three

    def predict(self, X: Any) -> Array:
        """The class that most of the three decide for, shape (N,).

        Where all disagree, the class of highest mean probability (softmax of the decision values where there are no
        probabilities, the first classifier's where there are neither).
        """
        X = self._rows(X)
        decided = np.stack([_decide(estimator, X, self.classes_) for estimator in self.estimators_])
        # twice the votes plus a preference below 1: the preference only decides where votes are equal
        counts = (decided[:, :, None] == np.arange(len(self.classes_))).sum(0)
        return np.asarray(self.classes_[(2 * counts + self._tie_break(X, decided)).argmax(1)])

    def _tie_break(self, X: Any, decided: Array) -> Array:
        """Preference among classes of equally many votes, in [0, 1], shape (N, C)."""
        if all(hasattr(e, "predict_proba") or hasattr(e, "decision_function") for e in self.estimators_):
            return np.asarray(np.mean([probabilities(e, X, self.classes_) for e in self.estimators_], axis=0))
        return np.asarray(np.eye(len(self.classes_))[decided[0]])

    @available_if(all_have("predict_proba"))  # type: ignore[untyped-decorator]
    def predict_proba(self, X: Any) -> Array:
        """Mean of the three classifiers' probabilities, shape (N, C); ``predict`` goes by their votes instead."""
        X = self._rows(X)
        return np.asarray(np.mean([probabilities(e, X, self.classes_) for e in self.estimators_], axis=0))


@dataclass
class Progress:
    """What a classifier was last taught: the error of its teachers, and the number of rows.

    Args:
        error: e' of the paper, in [0, 0.5].
        size: l' of the paper; 0: nothing yet.
    """

    error: float = 0.5
    size: int = 0

    def admit(self, error: float, size: int) -> int:
        """How many of ``size`` rows, labeled with this error, must lower the classifier's own error.

        The condition is error * size < e' * l' with error < e' and size > l'; a set too large for it is cut down to the
        largest that meets it. The first time l' is set to the smallest size for which that can be met.

        Returns:
            ``size``, fewer, or 0.
        """
        # more rows at the same noise help, but the theorem needs the noise itself to fall
        if error >= self.error:
            return 0
        if self.size == 0:
            # the first time there is nothing to compare with: take the least that the condition can be met with
            self.size = math.floor(error / (self.error - error) + 1)
        if self.size >= size:
            return 0
        if error * size < self.error * self.size:
            return size
        if self.size > error / (self.error - error):
            return math.ceil(self.error * self.size / error - 1)
        return 0


def _bootstrap(given: Array, codes: Array, rng: np.random.RandomState) -> Array:
    """As many labeled rows as there are, drawn with replacement, of two classes at least."""
    while True:
        drawn = given[rng.randint(len(given), size=len(given))]
        # few labels often give a bootstrap of one class, from which nothing can be learned
        if len(np.unique(codes[drawn])) > 1:
            return np.asarray(drawn)


def agreed_error(first: Array, second: Array, truth: Array) -> float:
    """Share of wrong ones among the rows on which two agree; 0.5 if there are none, which lets nothing pass.

    >>> agreed_error(np.array([0, 1, 1]), np.array([0, 1, 0]), np.array([0, 0, 1]))
    0.5
    """
    agree = first == second
    return float((first != truth)[agree].mean()) if agree.any() else 0.5


def _decide(estimator: Any, X: Any, classes: Array) -> Array:
    """Decided class of each row as its place in ``classes``."""
    return np.asarray(np.searchsorted(classes, estimator.predict(X)))
