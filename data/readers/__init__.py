"""Piles from what a user has: folders, files, arrays, tables, data sets of other libraries."""

from selftrain._compat import renamed


def __getattr__(name: str) -> object:
    return renamed(__name__, name)
