"""Write the page of a run."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selftrain.report.content import RunLike, of_run
from selftrain.report.html import page
from selftrain.storage.atomic import whole_file
from selftrain.strategy.base import Strategy

SAMPLES = 2000


def write_report(
    run: RunLike,
    path: str | Path,
    *,
    baseline: Strategy | None = None,
    samples: int = SAMPLES,
    seconds: float | None = None,
) -> Path:
    """Write one HTML file about a run.

    Args:
        run: Finished or stopped.
        path: The file; it appears whole or not at all.
        baseline: The labels alone, trained, asked about the same samples; ``None``: these weights are not known.
        samples: Held-out samples that are asked, at most, evenly spaced.
        seconds: That they may take at most; ``None``: any.

    Raises:
        ValueError: for fewer than one sample.
        RunFolderError: the file cannot be written.
    """
    if samples < 1:
        raise ValueError(f"samples is {samples}; it must be at least 1")
    return write_page(of_run(run, baseline, samples=samples, seconds=seconds), path)


def write_page(content: Mapping[str, Any], path: str | Path) -> Path:
    """Write what a page says."""
    made = page(content)
    with whole_file(path, create=True) as file:
        file.write_bytes(made)
    return Path(path)


@contextmanager
def at_no_cost(path: Path) -> Iterator[None]:
    """Inside, a page is written whose failure is a warning: hours of training must not be lost to a page about them."""
    try:
        yield
    except Exception as error:  # whatever it is
        warnings.warn(f"{path} was not written ({type(error).__name__}: {error}); the run is whole", stacklevel=3)
