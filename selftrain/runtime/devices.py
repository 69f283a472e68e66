"""Where to train: what a name of a device stands for on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from selftrain.errors import UsageError, setting


@contextmanager
def fast_products(device: torch.device) -> Iterator[None]:
    """Let matrix products of CUDA round their factors to TF32, as its convolutions do anyway; then as before."""
    before = torch.get_float32_matmul_precision()
    if device.type == "cuda" and before == "highest":
        torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor of the host on a device; the host does not wait until it is there."""
    pinned = tensor.pin_memory() if device.type == "cuda" and tensor.device.type == "cpu" else tensor
    return pinned.to(device, non_blocking=True)


def find_device(device: torch.device | str) -> torch.device:
    """The device of a name: ``"auto"`` is the accelerator that torch finds (CUDA, MPS, XPU, ...), else the CPU.

    Args:
        device: A name of torch (``"cuda:1"``), ``"auto"``, or ``"gpu"`` for the accelerator whatever its kind
            (``"gpu:1"``: the second one).

    Raises:
        UsageError: no device of this name, or none that is here; the message says what is.
    """
    here = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    kind, colon, number = str(device).partition(":")
    if kind == "auto" and not colon:
        return here or torch.device("cpu")
    if kind == "gpu":
        kind = "cuda" if here is None else here.type
    try:
        found = torch.device(f"{kind}{colon}{number}")
        # torch.device only reads the name; whether `cuda:77` is there shows when memory is asked for
        torch.empty(1, device=found)
    # AssertionError: torch that was built without CUDA
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UsageError(
            f"device {str(device)!r} cannot be used: {str(error).splitlines()[0]}; there is {_there(here)}: say "
            f"{setting('device', 'auto', of='')}"
        ) from error
    return found


def _there(here: torch.device | None) -> str:
    """What this machine has, in words."""
    if here is None:
        return "the CPU and no accelerator"
    names = [f"{here.type}:{number}" for number in range(torch.accelerator.device_count())]
    return f"the CPU and {', '.join(names)}"


def in_words(device: torch.device) -> str:
    """A device and its model: ``cuda:0 (NVIDIA H200)``, or ``cpu`` and that there is nothing else."""
    if device.type == "cpu":
        return "cpu" if torch.accelerator.is_available() else "cpu (there is no accelerator)"
    module = torch.get_device_module(device)
    # MPS has no name of its own
    model = module.get_device_name(device) if hasattr(module, "get_device_name") else ""
    return f"{device} ({model})" if model else str(device)
