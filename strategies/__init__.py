"""Methods, one file each. A strategy owns the update; ``selftrain.fit`` does the rest."""

from selftrain.strategies.ensemble import Ensemble
from selftrain.strategies.fixmatch import FixMatch
from selftrain.strategies.future import FutureSelfTraining, WideFutureSelfTraining
from selftrain.strategies.mean_teacher import MeanTeacher
from selftrain.strategies.pseudo_label import PseudoLabel
from selftrain.strategies.soft_labels import SoftLabels
from selftrain.strategies.supervised import Supervised

__all__ = [
    "Ensemble",
    "FixMatch",
    "FutureSelfTraining",
    "MeanTeacher",
    "PseudoLabel",
    "SoftLabels",
    "Supervised",
    "WideFutureSelfTraining",
]
