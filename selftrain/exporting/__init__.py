"""Runs as files for elsewhere: safetensors with a card, ONNX, ``torch.export``; each read back and compared first."""

from selftrain.exporting.formats import FORMATS
from selftrain.exporting.network import Deployed, deployed
from selftrain.exporting.write import export, export_network

__all__ = ["FORMATS", "Deployed", "deployed", "export", "export_network"]
