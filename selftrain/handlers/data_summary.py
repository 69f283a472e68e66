"""The first lines of a training: what was read."""

from __future__ import annotations

import sys
from typing import TextIO

from selftrain.handlers.base import Context, Handler
from selftrain.runtime.distributed import is_first


class DataSummary(Handler):
    """Say before the first step what was read: classes with their counts, unlabeled rows, columns, what was left out.

    Args:
        show: Whether to say it at all.
        file: Where to; ``None``: standard error.
    """

    def __init__(self, show: bool = True, file: TextIO | None = None) -> None:
        self.show, self.file = show, file

    def begin(self, context: Context) -> None:
        """Say it."""
        if self.show and is_first():
            # a pile of the user's own kind says nothing of itself
            for line in getattr(context.pile, "summary_lines", list)():
                print(line, file=self.file or sys.stderr, flush=True)
