"""selftrain: pretrain on the unlabeled pile, self-train with a few labels, watch it, export pseudo-labels.

>>> import selftrain as st
>>> task = st.Classification(10)
"""

import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from selftrain import select
    from selftrain.build import Training, learner, load_weights
    from selftrain.engine import Run, evaluate, fit
    from selftrain.errors import (
        CheckpointError,
        DataError,
        NonFiniteError,
        RunFolderError,
        SelftrainError,
        TrainingError,
    )
    from selftrain.estimator import LabeledKFold, PretrainedEncoder, SelfTrainClassifier
    from selftrain.exporting import export
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

__version__ = "0.1.0"

# At the root of a checkout ./selftrain hides an installed copy, and with it the packages that setup.cfg maps into it.
_root = Path(__file__).parent.parent
if (_root / "strategies" / "__init__.py").is_file() and find_spec("selftrain.strategies") is None:
    __path__.append(str(_root))

# Where each public name is from. They are loaded when they are asked for: `selftrain --help` does without torch.
_HOMES = {
    "build": ("Training", "learner", "load_weights"),
    "engine": ("Run", "evaluate", "fit"),
    "errors": (
        "CheckpointError",
        "DataError",
        "NonFiniteError",
        "RunFolderError",
        "SelftrainError",
        "TrainingError",
    ),
    "estimator": ("LabeledKFold", "PretrainedEncoder", "SelfTrainClassifier"),
    "exporting": ("export",),
    "learner": ("Learner",),
    "ledger": ("Ledger",),
    "networks": ("Classifier", "ConvEncoder"),
    "pilelabels": ("PileLabels", "label_pile"),
    "reviewpage": ("write_review",),
    "runfolder": ("read_card",),
    "select": (),
    "schedule": ("constant", "cosine", "ramp_linear", "ramp_sigmoid"),
    "selfcheck": ("Alarm", "SelfTrainingWarning"),
    "snapshots": ("select_snapshot",),
    "strategy": ("Strategy",),
    "tasks": ("Classification", "Keypoints", "Segmentation"),
    "teacher": ("Teacher",),
    "types": ("BatchPlan",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


class _Package(ModuleType):
    """The package; ``learner`` is the function and not the module of that name, in whatever order they are loaded."""

    def __getattr__(self, name: str) -> object:
        if name in _HOME_OF:
            value = getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
            self.__dict__[name] = value
            return value
        if name in _HOMES:
            return import_module(f"{__name__}.{name}")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __setattr__(self, name: str, value: object) -> None:
        if not (name in _HOME_OF and isinstance(value, ModuleType)):
            super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *__all__})


sys.modules[__name__].__class__ = _Package

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
    "NonFiniteError",
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
    "export",
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
