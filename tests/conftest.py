"""Settings of every test: one thread, so that times and sums do not depend on the machine, and no wait for the disk."""

import os
import signal

import pytest
import setuptools  # noqa: F401  torch.compile needs it to be there before distutils, which other libraries load
import torch

torch.set_num_threads(1)
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs begin with it ignored


@pytest.fixture(autouse=True, scope="session")
def no_wait_for_the_disk():
    """Nothing here is to outlive a loss of power; two tests of their own hold that files are synced."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda file: None)
        yield
