"""Rows: sets of samples, their labels and splits, and randomness that is keyed by row."""
