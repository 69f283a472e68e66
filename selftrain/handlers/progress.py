"""The progress bar."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from tqdm.auto import tqdm

from selftrain.handlers.base import Context, Figures, Handler
from selftrain.runtime.distributed import is_first


class Progress(Handler):
    """Show how many steps are done, and the newest losses, share of the pile learned from and held-out figure.

    In a notebook it is that of notebooks.

    Args:
        show: ``None``: if standard error is a terminal, or in a notebook.
    """

    def __init__(self, show: bool | None = None) -> None:
        self.show = show
        self.bar: Any = None
        self.monitor, self.told = "", dict[str, str]()

    def begin(self, context: Context) -> None:
        """Show the bar."""
        show = True if self.show is None and _in_notebook() else self.show
        # For tqdm `None` is a third answer: hidden unless standard error is a terminal.
        hidden = not is_first() or (None if show is None else not show)
        self.monitor, self.told = context.strategy.monitor, {}
        self.bar = tqdm(total=context.total, initial=context.start, disable=hidden, unit="step")

    def log_scalars(self, values: Mapping[str, float], step: int) -> None:
        """A row of training: its losses and the share that was learned from."""
        losses = {n.removeprefix("train/loss/"): v for n, v in values.items() if n.startswith("train/loss/")}
        if losses:
            self.told["loss"] = ", ".join(f"{name} {value:.3g}" for name, value in losses.items())
        if "train/used" in values:
            self.told["used"] = f"{100 * values['train/used']:.0f} %"
        self._tell()

    def after_evaluation(self, step: int, figures: Mapping[str, Figures]) -> None:
        """The newest held-out figure."""
        figure = figures.get("validation", {}).get(self.monitor)
        if figure is not None:
            self.told[f"validation {self.monitor}"] = f"{figure:.3f}"
        self._tell()

    def _tell(self) -> None:
        if self.bar is not None:  # others may log before this one begins
            # without a refresh: the next step draws the bar anyway
            self.bar.set_postfix_str("; ".join(f"{name} {text}" for name, text in self.told.items()), refresh=False)

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


def _in_notebook() -> bool:
    """Whether a kernel runs this program: its standard error is no terminal, but a person sees it."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return shell is not None and "IPKernelApp" in getattr(shell, "config", {})
