"""Networks and what makes them learn: students, teachers, optimizers, encoders, transformers and their tokenizers."""

from selftrain.networks.encoders import Classifier, ConvEncoder, Encoder, FilledGaps

__all__ = ["Classifier", "ConvEncoder", "Encoder", "FilledGaps"]
