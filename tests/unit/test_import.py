"""What importing costs: no heavy library, no network, hardly any time beyond torch's own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

LATE = (
    "albumentations", "cv2", "jsonargparse", "matplotlib", "pandas", "sklearn", "tensorboard", "timm", "torch._dynamo",
    "torchvision",
)  # fmt: skip
OWN = ("NO_ALBUMENTATIONS_UPDATE", "THP_MEM_ALLOC_ENABLE")  # set by the package itself
BUDGET = 1.0  # seconds that importing selftrain may take beyond importing torch

# Every attempt to resolve or reach a host is refused and noted, even if the caller swallows the error.
WATCH = """
import json, sys
calls = []
def refuse(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "urllib.Request"):
        calls.append(event)
        raise OSError(f"no network here: {event}")
sys.addaudithook(refuse)
"""


def python(script, **environment):
    """What a fresh interpreter prints as JSON."""
    clean = {name: value for name, value in os.environ.items() if name not in OWN}
    done = subprocess.run(
        [sys.executable, "-c", script], env=clean | environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_import_loads_no_heavy_library_and_no_network():
    everything = "import selftrain, selftrain.data, selftrain.front.door, selftrain.pretrain, selftrain.strategies"
    seen = python(f"{WATCH}\n{everything}\nprint(json.dumps([[m for m in {LATE} if m in sys.modules], calls]))")
    assert seen == [[], []]


def test_the_watch_notices_a_call():
    script = f"""{WATCH}
import socket
try:
    socket.create_connection(("localhost", 9))
except OSError:
    pass
print(json.dumps(calls))"""
    assert python(script) != []


PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")


@pytest.mark.skipif(not PAGES.is_file() or "[never]" in PAGES.read_text(), reason="a system without huge pages")
def test_large_tensors_lie_on_huge_pages_unless_somebody_says_otherwise():
    script = "import json, selftrain, torch\nprint(json.dumps(torch.empty(1 << 23).data_ptr() % 4096))"
    # torch begins what it puts on huge pages at a page; otherwise there is a note of the C library before it
    assert python(script) == 0
    script = "import json, os, selftrain\nprint(json.dumps(os.environ['THP_MEM_ALLOC_ENABLE']))"
    assert python(script, THP_MEM_ALLOC_ENABLE="0") == "0"


@pytest.mark.slow
def test_import_takes_hardly_longer_than_torch():
    script = """
import json, time
import torch
begun = time.process_time()
import selftrain
print(json.dumps(time.process_time() - begun))"""
    extra = (python(script, OMP_NUM_THREADS="1") for _ in range(3))  # chance only adds time
    assert any(seconds < BUDGET for seconds in extra)


@pytest.mark.slow
def test_albumentations_is_told_not_to_look_for_updates():
    script = f"""{WATCH}
import os
said = []
class Note:
    def find_spec(self, name, path=None, target=None):
        if name == "albumentations":
            said.append(os.environ.get("NO_ALBUMENTATIONS_UPDATE"))
sys.meta_path.insert(0, Note())
from selftrain.data import AlbumentationsViews
assert said == []
AlbumentationsViews()
print(json.dumps([said, calls]))"""
    assert python(script) == [["1"], []]
