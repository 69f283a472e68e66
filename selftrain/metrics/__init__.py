"""Figures that need no state: pure functions of tensors or numbers."""

from selftrain.metrics.calibration_error import confidence_bins, expected_calibration_error, pseudo_label_accuracy

__all__ = ["confidence_bins", "expected_calibration_error", "pseudo_label_accuracy"]
