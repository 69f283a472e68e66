"""Stages without labels: they fill an encoder that any strategy can start from."""

from selftrain.pretrain.jepa import IJEPA
from selftrain.pretrain.mae import MAE
from selftrain.pretrain.masking import BlockPlan, multi_block, random_mask
from selftrain.pretrain.vit import ViT

__all__ = ["IJEPA", "MAE", "BlockPlan", "ViT", "multi_block", "random_mask"]
