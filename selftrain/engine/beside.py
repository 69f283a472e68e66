"""The supervised baseline beside a run: in a folder inside the run's, from the same start, trained after the run."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from selftrain.engine.state import Setup, TrainState
from selftrain.errors import TrainingError
from selftrain.handlers.baseline import SupervisedBaseline
from selftrain.handlers.gradcheck import fingerprint, unchanged
from selftrain.runtime.distributed import from_first, joined_stream
from selftrain.storage.run_dir import SETTINGS, prepare_folder

BASELINE = "baseline"  # name of the folder


def open_baseline(
    setup: Setup, state: TrainState, copy: SupervisedBaseline | None, *, begins: bool, resume: bool, overwrite: bool
) -> TrainState | None:
    """Make ready to train the baseline; ``None``: there is none to train.

    Args:
        setup: What it has in common with the run.
        state: Of the run.
        copy: The untrained baseline.
        begins: Whether the run begins, perhaps after one that got nowhere.
        resume: As the run.
        overwrite: As the run.
    """
    folder = None if state.out is None else state.out / BASELINE
    if copy is None:
        # Else the folder would show the baseline of the run that was replaced as that of this one.
        if (overwrite or (begins and resume)) and folder is not None:
            from_first(lambda: _remove(folder))
        return None
    if state.baseline is not None:  # done before
        return None
    # The run got nowhere before, so that a baseline in the folder has the start of the attempt before.
    if begins and resume:
        resume, overwrite = False, True
    stream = joined_stream(setup.pile, copy.needs(), setup.plan, setup.device)
    # Handlers are not shared: each run needs counts, files and alarms of its own.
    handlers = [one for handler in state.handlers if (one := handler.for_baseline()) is not None]
    beside = setup.open(copy, stream, folder, handlers, {}, resume=resume, overwrite=overwrite)
    if not resume:
        beside.save(0)  # the strategy learns before the baseline does: a run that is resumed finds the start here
    return beside


def train_baseline(beside: TrainState, state: TrainState, train: Callable[[], None]) -> None:
    """Train the baseline to the end and compare; the strategy that it was copied from must not notice."""
    # `deepcopy` leaves functions as they are: a closure among the attributes leads back to the strategy.
    before = fingerprint(state.strategy)
    with beside.handled():
        train()
    if not unchanged(before, fingerprint(state.strategy)):
        raise TrainingError(
            f"training the baseline changed {type(state.strategy).__name__} itself: a function among its attributes "
            "holds on to it; make it a method, or pass baseline=False (the checkpoint of the run is as it was)"
        )
    state.baseline = beside.figures
    for name, figures in state.baseline.items():
        state.log_scalars({f"baseline/{name}/{key}": value for key, value in figures.items()}, state.total)
    for handler in state.handlers:
        handler.after_baseline(state.total, state.baseline)
    # The run was stored when it was finished; a resumed one must find that its baseline is done, too.
    state.save(state.total)
    state.summarize()


def _remove(folder: Path) -> None:
    """Remove the baseline that an earlier run left, and nothing else."""
    # Without these settings it is a folder of the user's that happens to have the name.
    if (folder / SETTINGS).is_file():
        prepare_folder(folder, {}, resume=False, overwrite=True)
        (folder / SETTINGS).unlink()
        with suppress(OSError):  # something of the user's is in it
            folder.rmdir()
