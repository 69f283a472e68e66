"""Self-training around any scikit-learn classifier."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.utils import _safe_indexing
from sklearn.utils.metaestimators import available_if

from selftrain.wrapper.base import Wrapper, all_have
from selftrain.wrapper.labels import Array, Labels, hold_out, shares
from selftrain.wrapper.learning import RESTARTS, WEIGHTINGS, Trainer, check_classifier, sample_weights, seeded
from selftrain.wrapper.policies import Candidates, Fixed, Policy
from selftrain.wrapper.scores import CERTAINTIES, certainty, class_votes, name
from selftrain.wrapper.stopping import Criterion, Exhausted, MaxRounds, NoCandidate, State, firing


class SelfTraining(Wrapper):
    """Let a classifier label unlabeled rows, choose among them, learn from the choice, and go on.

    Round r: the classifier scores the candidates; the policy chooses; the chosen rows get the decided class as their
    pseudo-label; the classifier learns from labels and pseudo-labels. It ends when a criterion fires, when no candidate
    is left or chosen, or after ``max_rounds``.

    Source: Amini et al., "Self-Training: A Survey", 2022, arXiv:2202.12040; weights as in the code of Feofanov,
    Devijver & Amini, AAAI 2019. Differs: ``weighting="balanced"`` multiplies their weights by the number of
    labels, so that the labels weigh what they weigh in supervised learning (it matters where a regularization is
    weighed against the sum over rows, as in LogisticRegression; "group" has theirs as they are); it learns from the
    rows added last, too.

    Args:
        estimator: A classifier with ``predict_proba``, or else ``decision_function``, of which the softmax is taken;
            a clone is fitted, and its random state drawn from ``random_state`` where it is ``None``.
        policy: Chooses the rows; ``None``: ``Fixed(0.75)``.
        weighting: ``"balanced"``: labels weigh 1, pseudo-labels together as much as the labels; ``"group"``: labels and
            pseudo-labels weigh 1 together each; ``"confidence"``: labels 1, pseudo-labels their score when chosen;
            ``"none"``: no weights, for classifiers without ``sample_weight``.
        restart: ``"cold"``: each round fits a new clone; ``"warm"``: each goes on with the last one by ``warm_start``
            (ensembles grow) or ``partial_fit``.
        relabel: ``False``: a pseudo-label stays as it is; ``True``: every round labels all rows anew and learns from
            that round's choice alone; ``None``: as the policy is made for, ``True`` for ``Proportion``.
        certainty: The score of a decision: ``"confidence"``, largest probability; ``"margin"``, its distance to the
            second; ``"entropy"``, 1 - entropy / log C; ``"vote"``, share of the ensemble's members, which also decide.
        stop: Further criteria, asked after ``NoCandidate`` and before ``Exhausted`` and ``MaxRounds``; ``None``: none.
        max_rounds: 0 or more; ``None``: no limit.
        validation: Share of the labels that is held out to measure each round, in (0, 1), stratified; these are never
            learned from. ``None``: none.
        unlabeled: What marks an unlabeled row in ``y``; ``None`` or NaN: both.
        random_state: Seed or ``RandomState`` of everything drawn.

    Attributes:
        estimator_: The classifier of the last round, or of the best one if a criterion such as ``ValidationDrop`` keeps
            it.
        classes_: Shape (C,).
        transduction_: The labels that ``estimator_`` was fitted to, with the marker where a row has none, shape (N,).
            Those held out keep theirs.
        labeled_iter_: 0 where the label was given, else the round since which the row has been learned from without a
            break, -1 where it is not, shape (N,).
        validation_: Rows that were held out, shape (H,).
        n_iter_: Number of rounds in which rows were scored.
        best_round_: The round after which ``estimator_`` was.
        termination_condition_: Name of the criterion that fired: ``"all_labeled"``, ``"no_candidate"``,
            ``"max_rounds"`` or that of one in ``stop``.
        history_: A row a round, the supervised start being row 0: ``round``; ``candidates``, scored; ``chosen``;
            ``added``, new among those learned from; ``threshold``, one, one a class or ``None``; ``histogram``,
            pseudo-labels a class; ``changed``, see ``State``; ``validation``, accuracy after the round or ``None``.

    Raises:
        ValueError: for settings out of range or that the classifier cannot follow, naming the remedy.
        DataError: for labels that cannot be learned from.

    >>> import numpy as np
    >>> from sklearn.linear_model import LogisticRegression
    >>> X = np.array([[0.0], [1.0], [2.0], [9.0], [10.0], [11.0]])
    >>> y = np.array(["low", "?", "?", "?", "?", "high"])
    >>> model = SelfTraining(LogisticRegression(), policy=Fixed(0.9), unlabeled="?").fit(X, y)
    >>> model.transduction_.tolist(), model.labeled_iter_.tolist(), model.termination_condition_
    (['low', 'low', 'low', 'high', 'high', 'high'], [0, 1, 2, 2, 1, 0], 'all_labeled')
    """

    def __init__(
        self,
        estimator: Any,
        *,
        policy: Policy | None = None,
        weighting: str = "balanced",
        restart: str = "cold",
        relabel: bool | None = None,
        certainty: str = "confidence",
        stop: Sequence[Criterion] | None = None,
        max_rounds: int | None = 10,
        validation: float | None = None,
        unlabeled: Any = -1,
        random_state: Any = None,
    ) -> None:
        self.estimator, self.policy, self.weighting, self.restart = estimator, policy, weighting, restart
        self.relabel, self.certainty, self.stop, self.max_rounds = relabel, certainty, stop, max_rounds
        self.validation, self.unlabeled, self.random_state = validation, unlabeled, random_state

    def fit(self, X: Any, y: Any) -> SelfTraining:
        """Learn from the labels and, round after round, from the unlabeled rows.

        Args:
            X: All rows, labeled or not: a table of numbers, dense or sparse, shape (N, D), or whatever else the
                classifier reads, such as texts or a data frame for a pipeline.
            y: Their labels, ``unlabeled`` where there is none, shape (N,).
        """
        policy, criteria = self._policy(), self._criteria()
        self._check(policy, criteria)
        X, labels, rng = self._begin(X, y)
        held = np.zeros(0, dtype=int) if self.validation is None else hold_out(labels.codes, self.validation, rng)
        relabel = policy.relabels if self.relabel is None else self.relabel
        keeps_best = any(c.keeps_best for c in criteria)
        trainer = Trainer(seeded(self.estimator, rng), self.restart)

        # of each unlabeled row: its pseudo-label, the round since which it has been learned from, its score then
        pile, classes = np.flatnonzero(~labels.labeled), len(labels.classes)
        codes, since, sure = np.full(len(pile), -1), np.full(len(pile), -1), np.zeros(len(pile))
        first, decided = np.zeros((len(pile), classes)), codes  # votes of round 1; newest label or decision
        state = State(round=0, left=len(pile), shares=np.zeros(classes), prior=labels.shares)
        row: dict[str, Any] = {"round": 0, "candidates": 0, "chosen": 0, "added": 0, "threshold": None}
        estimator, open_rows, ended = None, np.arange(len(pile)), ""
        learned = labels.codes.copy()
        learned[held] = -1  # what measures the rounds must not choose for them either
        self.validation_, self.history_ = held, []
        while True:
            if not ended:  # a choice that a criterion refused is not learned from
                estimator = self._learned(trainer, estimator, X, labels, held, codes, sure)
                scores = state.scores
                if len(held):
                    truth = labels.classes[labels.codes[held]]
                    scores = (*scores, float(np.mean(estimator.predict(_safe_indexing(X, held)) == truth)))
                if not keeps_best or scores[-1] >= max(scores):
                    # a warm start goes on to change the classifier
                    self.estimator_ = copy.deepcopy(estimator) if trainer.warm else estimator
                    self.best_round_, kept_codes, kept_since = state.round, codes.copy(), since.copy()
                open_rows = np.flatnonzero(codes < 0)
                if relabel:  # all rows are labeled anew each round, until the policy's schedule ends
                    open_rows = np.arange(0 if policy.done(state.round) else len(pile))
                state = replace(state, left=len(open_rows), scores=scores)
            histogram = np.bincount(codes[codes >= 0], minlength=classes).tolist()
            accuracy = state.scores[-1] if state.scores else None
            measured = {"histogram": histogram, "changed": state.changed, "validation": accuracy}
            self.history_.append(row | measured)
            ended = ended or firing(criteria, "learned", state)
            if ended:
                break

            # score the candidates, as the newest classifier sees them
            number = state.round + 1
            votes = class_votes(estimator, _safe_indexing(X, pile[open_rows]), labels.classes, self.certainty)
            # In round 1 every unlabeled row is a candidate, so these votes have a row for each of them.
            first = votes if number == 1 else first
            score, said = certainty(votes, self.certainty), votes.argmax(1)
            before, decided = decided, codes.copy()
            decided[open_rows] = said
            # choose
            choice = policy.select(
                Candidates(
                    votes, score, first[open_rows], pile[open_rows], number, len(pile), labels.shares, rng, X, learned
                )
            )
            state = replace(
                state,
                round=number,
                chosen=int(choice.chosen.sum()),
                threshold=choice.threshold,
                changed=float((decided != before).mean()) if number > 1 else None,
                shares=shares(decided, classes),
            )
            # label what was chosen, unless a criterion says that it is not worth learning
            had = codes >= 0
            ended = firing(criteria, "chosen", state)
            if not ended:
                chosen = open_rows[choice.chosen]
                gone = open_rows[~choice.chosen]  # they have no pseudo-label yet, or lose the one of the round before
                codes[gone] = since[gone] = -1
                codes[chosen], sure[chosen] = said[choice.chosen], score[choice.chosen]
                since[chosen] = np.where(since[chosen] < 0, number, since[chosen])
            row = {
                "round": number,
                "candidates": len(score),
                "chosen": state.chosen,
                "added": int(((codes >= 0) & ~had).sum()),
                "threshold": None if choice.threshold is None else np.asarray(choice.threshold).tolist(),
            }
        self.transduction_, self.labeled_iter_ = labels.completed(kept_codes), labels.extended(kept_since)
        self.n_iter_, self.termination_condition_ = state.round, ended
        return self

    def _learned(
        self, trainer: Trainer, last: Any, X: Any, labels: Labels, held: Array, pseudo: Array, sure: Array
    ) -> Any:
        """A classifier that has learned labels and pseudo-labels, in the order of X."""
        codes, score = labels.codes.copy(), np.zeros(len(labels.codes))
        # Held-out labels measure the rounds: once learned, they could not show a drop.
        codes[held] = -1
        codes[~labels.labeled], score[~labels.labeled] = pseudo, sure
        rows = np.flatnonzero(codes >= 0)
        weight = sample_weights(self.weighting, labels.labeled[rows], score[rows])
        return trainer.fit(_safe_indexing(X, rows), labels.classes[codes[rows]], weight, last)

    def _policy(self) -> Policy:
        if self.policy is not None and not isinstance(self.policy, Policy):
            raise ValueError(f"policy is {self.policy!r}; give a Policy, such as Fixed(0.75)")
        # A clone: `fit` must leave what it was given as it was.
        policy: Policy = Fixed() if self.policy is None else clone(self.policy)
        return policy

    def _criteria(self) -> list[Criterion]:
        """Those asked for among the built-in ones."""
        asked = () if self.stop is None else self.stop
        if not isinstance(asked, list | tuple) or not all(isinstance(c, Criterion) for c in asked):
            raise ValueError(f"stop is {asked!r}; give a list of criteria, such as [FewChanges()]")
        limit = [] if self.max_rounds is None else [MaxRounds(self.max_rounds)]
        return [NoCandidate(), *(clone(c) for c in asked), Exhausted(), *limit]

    def _check(self, policy: Policy, criteria: Sequence[Criterion]) -> None:
        """Refuse what cannot be followed."""
        choices = (
            ("weighting", self.weighting, WEIGHTINGS),
            ("restart", self.restart, RESTARTS),
            ("certainty", self.certainty, CERTAINTIES),
            ("relabel", self.relabel, (None, True, False)),
        )
        for setting, value, known in choices:
            if value not in known:
                raise ValueError(f"{setting} is {value!r}; choose one of {known}")
        check_classifier(self.estimator, self.weighting, self.restart)
        # Once more at fit: set_params changes settings without the constructor.
        policy.check()
        for criterion in criteria:
            criterion.check()
        if policy.needs_votes and self.certainty not in ("confidence", "vote"):
            raise ValueError(
                f"{name(policy)} reads votes; set certainty='confidence' or 'vote', not {self.certainty!r}"
            )
        if self.validation is not None and not 0 < self.validation < 1:
            raise ValueError(f"validation is {self.validation}; it must be a share of the labels in (0, 1)")
        if self.validation is None and any(c.keeps_best for c in criteria):
            names = ", ".join(name(c) for c in criteria if c.keeps_best)
            raise ValueError(f"{names} needs held-out labels; set validation=0.2 or the like")

    def _members(self) -> list[Any]:
        return [self.estimator]

    def predict(self, X: Any) -> Array:
        """The class of each row, shape (N,)."""
        X = self._rows(X)
        return np.asarray(self.estimator_.predict(X))

    @available_if(all_have("predict_proba"))  # type: ignore[untyped-decorator]
    def predict_proba(self, X: Any) -> Array:
        """Class probabilities of each row, shape (N, C)."""
        X = self._rows(X)
        return np.asarray(self.estimator_.predict_proba(X))

    @available_if(all_have("decision_function"))  # type: ignore[untyped-decorator]
    def decision_function(self, X: Any) -> Array:
        """Decision values of each row, as the classifier inside gives them."""
        X = self._rows(X)
        return np.asarray(self.estimator_.decision_function(X))
