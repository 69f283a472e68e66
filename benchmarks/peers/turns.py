"""What the sides of a comparison share, each in an environment of its own: turns and figures.

Needs nothing beside Python. A side is started with its settings as JSON, trains, says a line of JSON after each turn,
and waits for a line before the next one. So one side computes at a time, and neighbors in time are compared.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any


class Over(Exception):
    """Nobody asks for another turn."""


def say(**figures: Any) -> None:
    """Hand figures to the script that compares; what libraries print beside it is passed over there."""
    print("@" + json.dumps(figures), flush=True)


def memory_mb() -> float:
    """The most memory that this process has had, in MB."""
    status = Path("/proc/self/status").read_text(encoding="ascii")  # `getrusage` starts with what the parent had
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


class Turns:
    """Processor time of steps, some to a turn; to be called at the end of each step.

    Args:
        steps: Steps of a turn.
        first: Steps before the first turn, which build what is built once.
    """

    def __init__(self, steps: int, first: int = 4) -> None:
        self.steps, self.left = steps, first
        self.spent: list[float] = []
        self.mark = time.process_time()

    def __call__(self) -> None:
        """A step is over.

        Raises:
            Over: if there is no other turn.
        """
        self.spent.append(time.process_time() - self.mark)
        self.left -= 1
        if self.left == 0:
            say(seconds=self.spent, memory_mb=memory_mb())
            if not sys.stdin.readline().strip():
                raise Over
            self.left, self.spent = self.steps, []
        self.mark = time.process_time()
