"""Stages with a name, one file a paper: each is a choice of the parts in ``selftrain.pretrain``.

Any other choice is as good a method; see ``Masked`` and ``JointEmbedding``. Sizes are for small inputs and minutes on a
CPU; the heads of the files and the docstrings say what the papers use.
"""

from selftrain.pretrain.methods.a_jepa import AJEPA
from selftrain.pretrain.methods.cnn_jepa import CNNJEPA
from selftrain.pretrain.methods.ecg_jepa import ECGJEPA
from selftrain.pretrain.methods.ijepa import IJEPA
from selftrain.pretrain.methods.lejepa import LeJEPA
from selftrain.pretrain.methods.mae import MAE
from selftrain.pretrain.methods.point_jepa import PointJEPA
from selftrain.pretrain.methods.sar_jepa import SARJEPA
from selftrain.pretrain.methods.simclr import SimCLR
from selftrain.pretrain.methods.stop import StoP
from selftrain.pretrain.methods.t_jepa import TJEPA
from selftrain.pretrain.methods.unisiam import UniSiam
from selftrain.pretrain.methods.vicreg import VICReg

__all__ = [
    "AJEPA",
    "CNNJEPA",
    "ECGJEPA",
    "IJEPA",
    "MAE",
    "SARJEPA",
    "TJEPA",
    "LeJEPA",
    "PointJEPA",
    "SimCLR",
    "StoP",
    "UniSiam",
    "VICReg",
]
