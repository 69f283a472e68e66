"""Networks and what makes them learn: students, teachers, optimizers, encoders, transformers and their tokenizers."""

from selftrain.networks.dense import PoseNet, Segmenter, UNet, UNetEncoder
from selftrain.networks.encoders import Classifier, ConvEncoder, Encoder, FilledGaps

__all__ = ["Classifier", "ConvEncoder", "Encoder", "FilledGaps", "PoseNet", "Segmenter", "UNet", "UNetEncoder"]
