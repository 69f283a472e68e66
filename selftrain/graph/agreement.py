"""A policy of the wrappers: what a classifier and a graph of the rows agree on."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import clone

from selftrain.graph.classifier import GraphClassifier
from selftrain.wrapper.labels import Array
from selftrain.wrapper.policies import Candidates, Choice, Policy
from selftrain.wrapper.scores import probabilities


class GraphAgreement(Policy):
    """Choose what a graph of the rows decides as the classifier does.

    The graph sees all rows and the labels, but for those held out, once before the first choice. It errs otherwise than
    a classifier does, as two views do in co-training (Blum & Mitchell, 1998): where both say the same, few are wrong,
    however sure either is.

    Args:
        graph: Spreads the labels: a ``GraphClassifier``, or a pipeline that ends in one; ``None``: as it comes. Its
            ``unlabeled`` must be -1.
        threshold: Least probability that the graph must give the class, in [0, 1].
    """

    def __init__(self, graph: Any = None, threshold: float = 0.0) -> None:
        self.graph, self.threshold = graph, threshold
        self.check()

    def check(self) -> None:
        """Raise ValueError for a threshold outside [0, 1]."""
        if not 0 <= self.threshold <= 1:
            raise ValueError(f"threshold is {self.threshold}; it must be in [0, 1]")

    def select(self, candidates: Candidates) -> Choice:
        """Everything on which both agree, if the graph is sure enough."""
        if candidates.X is None or candidates.labels is None:
            raise ValueError("GraphAgreement needs candidates with X and labels; ask it through SelfTraining")
        if candidates.round == 1:
            graph = GraphClassifier() if self.graph is None else clone(self.graph)
            graph.fit(candidates.X, candidates.labels)
            self._said: Array = probabilities(graph, candidates.X, np.arange(candidates.votes.shape[1]))
        said = self._said[candidates.rows]
        agreed = said.argmax(1) == candidates.codes
        return Choice(agreed & (said.max(1) >= self.threshold), None)
