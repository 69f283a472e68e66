"""Weak and strong views of every kind of sample."""

from selftrain._compat import renamed


def __getattr__(name: str) -> object:
    return renamed(__name__, name)
