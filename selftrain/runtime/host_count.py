"""Counters in buffers that the host reads without asking the device."""

from __future__ import annotations

from torch import Tensor


class HostCount:
    """Remember what a counter holds as a Python number; a buffer that was changed by others is read once more."""

    def __init__(self) -> None:
        self._buffer: Tensor | None = None
        self._version, self._value = -1, 0

    def read(self, buffer: Tensor) -> int:
        """The number in a buffer, zero-dimensional and integer."""
        if self._buffer is not buffer or self._version != buffer._version:
            self._value = int(buffer)  # waits for the device: after a state was loaded or moved
            self._buffer, self._version = buffer, buffer._version
        return self._value

    def add(self, buffer: Tensor, more: int = 1) -> None:
        """Add a number in place."""
        value = self.read(buffer) + more
        buffer += more
        self._value, self._version = value, buffer._version
