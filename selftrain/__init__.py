"""selftrain: pretrain on the unlabeled pile, self-train with a few labels, watch it, export pseudo-labels.

>>> import selftrain as st
>>> task = st.Classification(10)
"""

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from selftrain import select
from selftrain.build import Training, learner, load_weights
from selftrain.engine import Run, evaluate, fit
from selftrain.errors import CheckpointError, DataError, RunFolderError, SelftrainError, TrainingError
from selftrain.learner import Learner
from selftrain.ledger import Ledger
from selftrain.networks import Classifier, ConvEncoder
from selftrain.pilelabels import PileLabels, label_pile
from selftrain.reviewpage import write_review
from selftrain.runfolder import read_card
from selftrain.schedule import constant, cosine, ramp_linear, ramp_sigmoid
from selftrain.selfcheck import Alarm, SelfTrainingWarning
from selftrain.snapshots import select_snapshot
from selftrain.strategy import Strategy
from selftrain.tasks import Classification, Keypoints, Segmentation
from selftrain.teacher import Teacher
from selftrain.types import BatchPlan

if TYPE_CHECKING:
    from selftrain.estimator import LabeledKFold, PretrainedEncoder, SelfTrainClassifier

__version__ = "0.1.0"

# At the root of a checkout ./selftrain hides an installed copy, and with it the packages that setup.cfg maps into it.
_root = Path(__file__).parent.parent
if (_root / "strategies" / "__init__.py").is_file() and find_spec("selftrain.strategies") is None:
    __path__.append(str(_root))

_LATE = ("LabeledKFold", "PretrainedEncoder", "SelfTrainClassifier")  # they load scikit-learn, so only when asked for


def __getattr__(name: str) -> object:
    if name in _LATE:
        return getattr(import_module("selftrain.estimator"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "Alarm",
    "BatchPlan",
    "CheckpointError",
    "Classification",
    "Classifier",
    "ConvEncoder",
    "DataError",
    "Keypoints",
    "LabeledKFold",
    "Learner",
    "Ledger",
    "PileLabels",
    "PretrainedEncoder",
    "Run",
    "RunFolderError",
    "Segmentation",
    "SelfTrainClassifier",
    "SelfTrainingWarning",
    "SelftrainError",
    "Strategy",
    "Teacher",
    "Training",
    "TrainingError",
    "constant",
    "cosine",
    "evaluate",
    "fit",
    "label_pile",
    "learner",
    "load_weights",
    "ramp_linear",
    "ramp_sigmoid",
    "read_card",
    "select",
    "select_snapshot",
    "write_review",
]
