"""The engine: time, data, evaluation and storage of a run. It names no method, no data set and no task."""

from selftrain.engine.loop import fit
from selftrain.engine.run import Run, evaluate
from selftrain.storage.run_dir import versions

__all__ = ["Run", "evaluate", "fit", "versions"]
