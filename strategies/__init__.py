"""Methods, one file each. A strategy owns the update; ``selftrain.fit`` does the rest."""

from selftrain.strategies.adamatch import AdaMatch
from selftrain.strategies.cross_pseudo_supervision import CrossPseudoSupervision
from selftrain.strategies.curriculum_labeling import CurriculumLabeling
from selftrain.strategies.ensemble import Ensemble
from selftrain.strategies.fixmatch import FixMatch
from selftrain.strategies.flexmatch import FlexMatch
from selftrain.strategies.freematch import FreeMatch
from selftrain.strategies.future import FutureSelfTraining, WideFutureSelfTraining
from selftrain.strategies.jointmatch import JointMatch
from selftrain.strategies.label_propagation import LabelPropagation
from selftrain.strategies.mean_teacher import MeanTeacher, TwoHeadedMeanTeacher
from selftrain.strategies.mixmatch import MixMatch
from selftrain.strategies.noisy_student import NoisyStudent
from selftrain.strategies.pi_model import PiModel
from selftrain.strategies.pseudo_label import PseudoLabel
from selftrain.strategies.reviewer import ReviewedTeacher
from selftrain.strategies.soft_labels import SoftLabels
from selftrain.strategies.softmatch import SoftMatch
from selftrain.strategies.supervised import Supervised
from selftrain.strategies.temporal_ensembling import TemporalEnsembling
from selftrain.strategies.uda import UDA
from selftrain.strategies.unimatch import UniMatch
from selftrain.strategies.unimatch_v2 import UniMatchV2
from selftrain.strategies.vat import VAT

__all__ = [
    "UDA",
    "VAT",
    "AdaMatch",
    "CrossPseudoSupervision",
    "CurriculumLabeling",
    "Ensemble",
    "FixMatch",
    "FlexMatch",
    "FreeMatch",
    "FutureSelfTraining",
    "JointMatch",
    "LabelPropagation",
    "MeanTeacher",
    "MixMatch",
    "NoisyStudent",
    "PiModel",
    "PseudoLabel",
    "ReviewedTeacher",
    "SoftLabels",
    "SoftMatch",
    "Supervised",
    "TemporalEnsembling",
    "TwoHeadedMeanTeacher",
    "UniMatch",
    "UniMatchV2",
    "WideFutureSelfTraining",
]
