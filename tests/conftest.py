"""Settings of every test: one thread, so that times and sums do not depend on the machine, and no wait for the disk.

Whole folders are tested in two processes where pytest-xdist is installed; ``-n`` asks for another number.
"""

import gc
import os
import signal
from collections import Counter
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is loaded; of programs that tests start, too

import pytest
import setuptools  # noqa: F401  torch.compile needs it to be there before distutils, which other libraries load
import torch

torch.set_num_threads(1)
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs begin with it ignored


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config):
    """Ask for two processes, unless the command line says how many, or is for a file, a debugger or a list.

    A file or a test by its name begins at once: a process of its own takes longer to start than most of them to run.
    """
    option = config.option
    unasked = getattr(option, "numprocesses", 0) is None and option.dist == "no"  # 0 also where there is no xdist
    worker = hasattr(config, "workerinput")
    folders = all(Path(str(argument)).is_dir() for argument in config.args)
    if unasked and folders and not (worker or option.usepdb or option.collectonly):
        # each takes one half of the files, then tests of the other's half: most fixtures of a module are made once
        option.numprocesses, option.dist = 2, "worksteal"


@pytest.hookimpl(tryfirst=True)  # before pytest leaves out what `-m` does not ask for
def pytest_collection_modifyitems(items):
    """Of tests marked ``one_in(n, *words)`` every n-th case is quick, and each with one of the words in its name."""
    seen = Counter()
    for item in items:
        marker = item.get_closest_marker("one_in")
        if marker is not None and item.get_closest_marker("slow") is None:
            every, *words = marker.args
            if seen[item.function] % every and not any(word in item.name for word in words):
                item.add_marker(pytest.mark.slow)
            seen[item.function] += 1


def pytest_collection_finish(session):
    """Let the garbage collector pass over what the libraries and the collected tests hold until the end."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="session")
def no_wait_for_the_disk():
    """Nothing here is to outlive a loss of power; two tests of their own hold that files are synced."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda file: None)
        yield


@pytest.fixture(autouse=True, scope="session")
def small_forests():
    """The simple models beside a run with a baseline take a second where a whole test takes less."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("selftrain.evaluation.cross_fitted.TREES", 5)
        yield


@pytest.fixture(autouse=True, scope="session")
def no_seeds_for_devices_that_are_not_there():
    """Where there is none, ``torch.manual_seed`` keeps a seed and a text of the whole stack for each kind of device."""
    with pytest.MonkeyPatch.context() as patch:
        if not torch.accelerator.is_available():
            for device in (torch.cuda, torch.xpu, torch.mtia):
                patch.setattr(device, "manual_seed_all", lambda seed: None)
        yield
