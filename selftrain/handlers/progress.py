"""The progress bar."""

from __future__ import annotations

from typing import Any

from tqdm import tqdm

from selftrain.handlers.base import Context, Handler
from selftrain.runtime.distributed import is_first


class Progress(Handler):
    """Show how many steps are done.

    Args:
        show: ``None``: if standard error is a terminal.
    """

    def __init__(self, show: bool | None = None) -> None:
        self.show = show
        self.bar: Any = None

    def begin(self, context: Context) -> None:
        """Show the bar."""
        # For tqdm `None` is a third answer: hidden unless standard error is a terminal.
        hidden = not is_first() or (None if self.show is None else not self.show)
        self.bar = tqdm(total=context.total, initial=context.start, disable=hidden, unit="step")

    def end_step(self, step: int) -> None:
        """A step further."""
        self.bar.update()

    def close(self) -> None:
        """Leave the bar as it is."""
        # Closed as well where a run failed before this handler began.
        if self.bar is not None:
            self.bar.close()

    def for_baseline(self) -> Progress:
        """The baseline has a bar as well."""
        return Progress(self.show)
