"""Write the page of a run."""

from __future__ import annotations

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


def write_page(content: dict[str, Any], path: str | Path) -> Path:
    """Write what a page says."""
    made = page(content)
    with whole_file(path, create=True) as file:
        file.write_bytes(made)
    return Path(path)
