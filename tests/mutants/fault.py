"""One deliberate fault that the tests must notice; ``mutants.py`` collects and tries them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutant:
    """One fault: in ``file``, ``old`` (found exactly once) becomes ``new``; ``test`` must fail."""

    name: str
    file: str
    old: str
    new: str
    test: str
