"""Watchers of a run, one a file."""
