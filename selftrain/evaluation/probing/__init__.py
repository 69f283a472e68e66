"""Judge an encoder by small classifiers on its frozen features, against rivals that need no training.

>>> import torch
>>> from selftrain import toy
>>> from selftrain.evaluation import probing
>>> pile = toy.clouds(labels=40)
>>> known = probing.features_of(torch.nn.Identity(), pile.evaluation("labeled", 64, torch.device("cpu")))
>>> asked = probing.features_of(torch.nn.Identity(), pile.evaluation("test", 64, torch.device("cpu")))
>>> probing.ridge_probe(known.x, known.labels, asked.x, asked.labels) > 0.8
True

``report`` puts all of it into one table. Figures that need no labels, and the nearest-neighbor probe, are in
``selftrain.metrics.features``.
"""

from selftrain._compat import renamed
from selftrain.evaluation.probing.encoding import Features, calibrate, features_of, features_of_views
from selftrain.evaluation.probing.few import Episodes, FewLabel, episodes, few_label, label_draws
from selftrain.evaluation.probing.judging import report
from selftrain.evaluation.probing.linear import logistic_probe, ridge_probe
from selftrain.evaluation.probing.results import ProbeReport, ProbeRow
from selftrain.evaluation.probing.scratch import from_scratch

__all__ = [
    "Episodes",
    "Features",
    "FewLabel",
    "ProbeReport",
    "ProbeRow",
    "calibrate",
    "episodes",
    "features_of",
    "features_of_views",
    "few_label",
    "from_scratch",
    "label_draws",
    "logistic_probe",
    "report",
    "ridge_probe",
]


def __getattr__(name: str) -> object:
    return renamed(__name__, name)
