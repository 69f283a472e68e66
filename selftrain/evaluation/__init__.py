"""Judging what a strategy says: calibration, quality of pseudo-labels without their truth, and probes of features."""
