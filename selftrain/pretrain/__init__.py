"""Stages without labels: they fill an encoder that any strategy can start from."""

from selftrain.networks.timm import ConvNetEncoder, FeatureEncoder, TimmEncoder
from selftrain.networks.token_grid import Layout, Mask, Masker
from selftrain.networks.tokenizers import ConvStem, ImagePatches, PointGroups, SeriesPatches, TableColumns, Tokenizer
from selftrain.networks.vit import Transformer, ViT, point_transformer, series_transformer, table_transformer
from selftrain.pretrain.joint_embedding import JointEmbedding
from selftrain.pretrain.joint_mode import Joint
from selftrain.pretrain.losses import InfoNCE, LeJEPALoss, UniSiamLoss, VICRegLoss
from selftrain.pretrain.masked import Masked
from selftrain.pretrain.maskers import (
    Blocks,
    Curriculum,
    FeatureSubset,
    LocalWindows,
    Mixture,
    MultiBlock,
    RandomMask,
    Runs,
    TimeFrequency,
)
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
from selftrain.pretrain.predictor import ConvPredictor, Predictor, Projector
from selftrain.pretrain.regularizers import SIGReg
from selftrain.pretrain.targets import HOG, EMALatent, FrozenLatent, GradientRatio, OwnLatent, Pixels, PredictionTarget

__all__ = [
    "AJEPA",
    "CNNJEPA",
    "ECGJEPA",
    "HOG",
    "IJEPA",
    "MAE",
    "SARJEPA",
    "TJEPA",
    "Blocks",
    "ConvNetEncoder",
    "ConvPredictor",
    "ConvStem",
    "Curriculum",
    "EMALatent",
    "FeatureEncoder",
    "FeatureSubset",
    "FrozenLatent",
    "GradientRatio",
    "ImagePatches",
    "InfoNCE",
    "Joint",
    "JointEmbedding",
    "Layout",
    "LeJEPA",
    "LeJEPALoss",
    "LocalWindows",
    "Mask",
    "Masked",
    "Masker",
    "Mixture",
    "MultiBlock",
    "OwnLatent",
    "Pixels",
    "PointGroups",
    "PointJEPA",
    "PredictionTarget",
    "Predictor",
    "Projector",
    "RandomMask",
    "Runs",
    "SIGReg",
    "SeriesPatches",
    "SimCLR",
    "StoP",
    "TableColumns",
    "TimeFrequency",
    "TimmEncoder",
    "Tokenizer",
    "Transformer",
    "UniSiam",
    "UniSiamLoss",
    "VICReg",
    "VICRegLoss",
    "ViT",
    "point_transformer",
    "series_transformer",
    "table_transformer",
]
