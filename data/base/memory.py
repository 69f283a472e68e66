"""How much memory the machine has."""

from __future__ import annotations

import os
import sys


def machine_memory() -> int:
    """Bytes of physical memory; without limit where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return sys.maxsize
