"""Batches: which rows a step takes, and the processes that fetch them."""
