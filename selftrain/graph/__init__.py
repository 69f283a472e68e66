"""Graphs over all rows, labeled or not, and labels that spread along their edges.

>>> from sklearn.datasets import load_digits
>>> from selftrain.graph import GraphClassifier
>>> X, y = load_digits(return_X_y=True)
>>> given = y.copy()
>>> given[50:] = -1
>>> model = GraphClassifier("poisson", standardize=False).fit(X, given)
>>> bool((model.transduction_ == y).mean() > 0.9)
True
"""

from selftrain.graph.agreement import GraphAgreement
from selftrain.graph.classifier import GraphClassifier
from selftrain.graph.neighbors import knn_graph
from selftrain.graph.propagation import label_propagation, label_spreading, laplace, poisson, poisson_volume

__all__ = [
    "GraphAgreement",
    "GraphClassifier",
    "knn_graph",
    "label_propagation",
    "label_spreading",
    "laplace",
    "poisson",
    "poisson_volume",
]
