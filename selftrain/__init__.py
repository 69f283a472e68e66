"""selftrain: pretrain on the unlabeled pile, self-train with a few labels, watch it, export pseudo-labels.

>>> import selftrain as st
>>> task = st.Classification(10)
"""

import os
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from selftrain import _compat

# Type checkers and editors do not run ``__getattr__``: this is where they find the public names.
if TYPE_CHECKING:
    from selftrain import select
    from selftrain.cli.compare_runs import compare
    from selftrain.engine.run import Run, evaluate
    from selftrain.engine.spec import open_run
    from selftrain.engine.start import pretrained
    from selftrain.engine.times import Checkpoints, Evaluation
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
    from selftrain.front.door import fit
    from selftrain.handlers.selfcheck import Alarm, SelfTrainingWarning
    from selftrain.handlers.snapshots import select_snapshot
    from selftrain.labels.ledger import Ledger
    from selftrain.labels.page.write import write_review
    from selftrain.labels.table import PseudoLabelTable
    from selftrain.labels.teacher_pass import label_pile
    from selftrain.networks.adapters import LoRA
    from selftrain.networks.ema import Teacher
    from selftrain.networks.encoders import Classifier, ConvEncoder
    from selftrain.networks.optim import Training, learner, load_weights
    from selftrain.networks.student import Learner
    from selftrain.schedule import constant, cosine, ramp_linear, ramp_sigmoid
    from selftrain.storage.run_dir import read_card
    from selftrain.strategy.base import Strategy
    from selftrain.tasks import Classification, Keypoints, Segmentation
    from selftrain.types import BatchPlan

__version__ = "0.1.0"

# At the root of a checkout ./selftrain hides an installed copy, and with it the packages that setup.cfg maps into it.
_root = Path(__file__).parent.parent
if (_root / "strategies" / "__init__.py").is_file() and find_spec("selftrain.strategies") is None:
    __path__.append(str(_root))
_compat.install()

# Large tensors of the CPU on huge pages: small networks spend up to half of their time on page faults without
# (docs/performance.md). torch looks when it makes its first tensor, so here; a value that is set, such as 0, is left.
with suppress(OSError):  # only Linux has the file, and a system may keep it to itself
    if "[never]" not in Path("/sys/kernel/mm/transparent_hugepage/enabled").read_text(encoding="ascii"):
        os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

# Where each public name is from. They are loaded when they are asked for: `selftrain --help` does without torch.
_HOMES = {
    "cli.compare_runs": ("compare",),
    "engine.run": ("Run", "evaluate"),
    "engine.spec": ("open_run",),
    "engine.start": ("pretrained",),
    "engine.times": ("Checkpoints", "Evaluation"),
    "errors": ("CheckpointError", "DataError", "NonFiniteError", "RunFolderError", "SelftrainError", "TrainingError"),
    "estimator": ("LabeledKFold", "PretrainedEncoder", "SelfTrainClassifier"),
    "exporting": ("export",),
    "front.door": ("fit",),
    "handlers.selfcheck": ("Alarm", "SelfTrainingWarning"),
    "handlers.snapshots": ("select_snapshot",),
    "labels.ledger": ("Ledger",),
    "labels.page.write": ("write_review",),
    "labels.table": ("PseudoLabelTable",),
    "labels.teacher_pass": ("label_pile",),
    "networks.adapters": ("LoRA",),
    "networks.ema": ("Teacher",),
    "networks.encoders": ("Classifier", "ConvEncoder"),
    "networks.optim": ("Training", "learner", "load_weights"),
    "networks.student": ("Learner",),
    "schedule": ("constant", "cosine", "ramp_linear", "ramp_sigmoid"),
    "storage.run_dir": ("read_card",),
    "strategy.base": ("Strategy",),
    "tasks": ("Classification", "Keypoints", "Segmentation"),
    "types": ("BatchPlan",),
}
# Packages that are asked for by their name: modules, and so with no place in ``_HOMES``.
_ROOMS = ("data", "handlers", "pretrain", "select", "strategies", "toy")
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    if name in _HOME_OF:
        value = getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
        globals()[name] = value
        return value
    if name in _ROOMS:
        return import_module(f"{__name__}.{name}")
    return _compat.renamed(__name__, name)


def __dir__() -> list[str]:
    # what a user asks for, loaded or not; no name that this file or Python has for itself
    return sorted({*__all__, *_ROOMS, *(name for name in globals() if name.startswith("__"))})


# Written out and not made from ``_HOMES``: type checkers and linters read nothing but a literal.
__all__ = [
    "Alarm",
    "BatchPlan",
    "CheckpointError",
    "Checkpoints",
    "Classification",
    "Classifier",
    "ConvEncoder",
    "DataError",
    "Evaluation",
    "Keypoints",
    "LabeledKFold",
    "Learner",
    "LoRA",
    "Ledger",
    "NonFiniteError",
    "PseudoLabelTable",
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
    "compare",
    "constant",
    "cosine",
    "evaluate",
    "export",
    "fit",
    "label_pile",
    "learner",
    "load_weights",
    "open_run",
    "pretrained",
    "ramp_linear",
    "ramp_sigmoid",
    "read_card",
    "select",
    "select_snapshot",
    "write_review",
]
