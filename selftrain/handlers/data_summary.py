"""The first lines of a training: what was read, and where it trains."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TextIO

from selftrain.handlers.base import Context, Handler
from selftrain.runtime.devices import in_words
from selftrain.runtime.distributed import is_first


def _cost(context: Context) -> list[str]:
    """What a control costs, and what it is compared by, before it is paid."""
    if not context.settings.get("baseline"):
        return []
    held = context.pile.evaluation("validation", 1, context.device) is not None
    by = "" if held else "; no labels are held out: simple models, in seconds, say which is better"
    return [f"baseline   {context.total:,} steps on the labels alone, after these{by}"]


class DataSummary(Handler):
    """Say before the first step what was read, what was chosen for it, and where it trains.

    Read were classes with their counts, unlabeled rows and columns; what was left out is said, too.

    Args:
        show: Whether to say it at all.
        file: Where to; ``None``: standard error.
        chosen: Further lines, on what was chosen for the data.
    """

    def __init__(self, show: bool = True, file: TextIO | None = None, chosen: Sequence[str] = ()) -> None:
        self.show, self.file, self.chosen = show, file, chosen

    def begin(self, context: Context) -> None:
        """Say it."""
        if self.show and is_first():
            # a pile of the user's own kind says nothing of itself
            lines: list[str] = getattr(context.pile, "summary_lines", list)()
            speed = [] if context.speed is None else [f"speed      {context.speed}"]
            for line in [*lines, *self.chosen, *_cost(context), f"{'device':<11}{in_words(context.device)}", *speed]:
                print(line, file=self.file or sys.stderr, flush=True)
