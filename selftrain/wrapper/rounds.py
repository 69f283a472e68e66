"""The rounds of self-training around a classifier: score, choose, label, learn, until a criterion fires."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from selftrain.wrapper.labels import Array, Labels, shares
from selftrain.wrapper.learning import Trainer, sample_weights
from selftrain.wrapper.policies import Candidates, Choice, Policy
from selftrain.wrapper.scores import certainty, class_votes
from selftrain.wrapper.stopping import Criterion, State, When

Row = dict[str, Any]


@dataclass(frozen=True)
class Outcome:
    """A classifier and what it has learned from.

    Args:
        estimator: The fitted classifier.
        round: The round after which it is.
        codes: Pseudo-label of each unlabeled row, -1 where it has none, shape (U,).
        since: Round since which the row has been learned from without a break, -1 where it is not, shape (U,).
    """

    estimator: Any
    round: int
    codes: Array
    since: Array


@dataclass(frozen=True)
class Rules:
    """How the rounds go: what ``SelfTraining`` was told.

    Args:
        policy: Chooses the rows.
        criteria: End the rounds, in the order in which they are asked.
        trainer: Makes the classifiers.
        weighting: See ``sample_weights``.
        certainty: See ``scores.certainty``.
        relabel: Whether all unlabeled rows are candidates in every round, or only those without a pseudo-label.
    """

    policy: Policy
    criteria: Sequence[Criterion]
    trainer: Trainer
    weighting: str
    certainty: str
    relabel: bool


class Rounds:
    """One run of self-training.

    Args:
        X: All rows, shape (N, D).
        labels: Of them.
        held: Labeled rows that only measure, shape (H,).
        rules: How the rounds go.
        rng: Where the policy's draws come from.

    Attributes:
        best: The result.
        state: Of the newest round.
        history: A row a round, from the supervised start on, see ``SelfTraining``.
        ended_by: Name of the criterion that fired.
    """

    def __init__(self, X: Any, labels: Labels, held: Array, rules: Rules, rng: np.random.RandomState) -> None:
        self.X, self.labels, self.held, self.rules, self.rng = X, labels, held, rules, rng
        self.pile = np.flatnonzero(~labels.labeled)
        size, classes = len(self.pile), len(labels.classes)
        self.codes, self.since, self.sure = np.full(size, -1), np.full(size, -1), np.zeros(size)
        self.decided: Array | None = None  # newest label or decision of each unlabeled row
        self.first = np.zeros((size, classes))
        self.estimator: Any = None
        self.scores: list[float] = []
        self.history: list[Row] = []
        self.state = State(round=0, left=size, shares=np.zeros(classes), prior=labels.shares)
        self.best: Outcome
        self.ended_by = ""

    def play(self) -> None:
        """Learn the labels, then go round after round until a criterion fires."""
        self._learn()
        self._note()
        while not self._ends("learned"):
            self._round()
            if self.ended_by:
                break

    def _round(self) -> None:
        """One round; sets ``ended_by`` if its choice is not to be learned from."""
        self.state = replace(self.state, round=self.state.round + 1, changed=None)
        open_rows = np.arange(len(self.pile)) if self.rules.relabel else np.flatnonzero(self.codes < 0)
        found = self._ask(open_rows)
        self._compare(open_rows, found)
        choice = self._choose(found)
        before = self.codes >= 0
        if not self._ends("chosen"):
            self._take(open_rows, found, choice)
            self._learn()
        self._note(found, choice, int(((self.codes >= 0) & ~before).sum()))

    def _ask(self, open_rows: Array) -> Candidates:
        rows = self.pile[open_rows]
        votes = class_votes(self.estimator, self.X[rows], self.labels.classes, self.rules.certainty)
        if self.state.round == 1:
            self.first = votes
        score = certainty(votes, self.rules.certainty)
        total = len(self.pile)
        first, prior = self.first[open_rows], self.labels.shares
        return Candidates(votes, score, first, rows, self.state.round, total, prior, self.rng)

    def _compare(self, open_rows: Array, found: Candidates) -> None:
        """Share of rows whose label or decision is new, and how they are spread over the classes."""
        decided = self.codes.copy()
        decided[open_rows] = found.codes
        changed = None if self.decided is None else float((decided != self.decided).mean())
        self.decided = decided
        self.state = replace(self.state, changed=changed, shares=shares(decided, len(self.labels.classes)))

    def _choose(self, found: Candidates) -> Choice:
        choice = self.rules.policy.select(found)
        self.state = replace(self.state, chosen=int(choice.chosen.sum()), threshold=choice.threshold)
        return choice

    def _take(self, open_rows: Array, found: Candidates, choice: Choice) -> None:
        """Give the chosen rows their pseudo-labels; where all are labeled anew, take those of the others away."""
        chosen = open_rows[choice.chosen]
        if self.rules.relabel:
            gone = open_rows[~choice.chosen]
            self.codes[gone] = self.since[gone] = -1
        self.codes[chosen] = found.codes[choice.chosen]
        self.sure[chosen] = found.score[choice.chosen]
        self.since[chosen] = np.where(self.since[chosen] < 0, self.state.round, self.since[chosen])

    def _learn(self) -> None:
        """Fit on labels and pseudo-labels, in the order of X, and measure."""
        codes, sure = self.labels.codes.copy(), np.zeros(len(self.labels.codes))
        codes[self.held] = -1
        codes[self.pile], sure[self.pile] = self.codes, self.sure
        rows = np.flatnonzero(codes >= 0)
        weight = sample_weights(self.rules.weighting, self.labels.labeled[rows], sure[rows])
        y = self.labels.classes[codes[rows]]
        self.estimator = self.rules.trainer.fit(self.X[rows], y, weight, self.estimator)
        self._measure()
        if self.rules.relabel:
            left = 0 if not len(self.pile) or self.rules.policy.done(self.state.round) else len(self.pile)
        else:
            left = int((self.codes < 0).sum())
        self.state = replace(self.state, left=left, scores=tuple(self.scores))

    def _measure(self) -> None:
        """Accuracy on the held-out labels; the newest classifier is kept unless an older one is better."""
        if len(self.held):
            right = self.estimator.predict(self.X[self.held]) == self.labels.classes[self.labels.codes[self.held]]
            self.scores.append(float(np.mean(right)))
        if not any(c.keeps_best for c in self.rules.criteria) or self.scores[-1] >= max(self.scores):
            estimator = copy.deepcopy(self.estimator) if self.rules.trainer.warm else self.estimator
            self.best = Outcome(estimator, self.state.round, self.codes.copy(), self.since.copy())

    def _ends(self, when: When) -> bool:
        """Whether a criterion fires; the first one counts."""
        firing = (c.name for c in self.rules.criteria if c.when == when and c.fires(self.state))
        self.ended_by = next(firing, "")
        return bool(self.ended_by)

    def _note(self, found: Candidates | None = None, choice: Choice | None = None, added: int = 0) -> None:
        threshold = None if choice is None or choice.threshold is None else np.asarray(choice.threshold).tolist()
        self.history.append(
            {
                "round": self.state.round,
                "candidates": 0 if found is None else len(found.score),
                "chosen": 0 if choice is None else int(choice.chosen.sum()),
                "added": added,
                "threshold": threshold,
                "histogram": np.bincount(self.codes[self.codes >= 0], minlength=len(self.labels.classes)).tolist(),
                "changed": self.state.changed,
                "validation": self.scores[-1] if self.scores else None,
            }
        )
