"""One uninterrupted run that all trials are compared with."""

import pytest
from harness import Bench


@pytest.fixture(scope="session")
def bench(tmp_path_factory):
    return Bench(tmp_path_factory.mktemp("bench"))
