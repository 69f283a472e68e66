"""The formats: each writes one file and reads it back into something that can be called."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from selftrain.exporting.network import Deployed, weights_of
from selftrain.networks.copying import copy_network

Ask = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Format:
    """A way to write a network.

    Args:
        ending: Of the file.
        write: Called with network, example inputs (B, ...) and path.
        read: Called with network and path; what it returns is asked the same inputs.
        tolerance: Largest difference to the network's answers, absolute and relative; 0: bit for bit.
    """

    ending: str
    write: Callable[[Deployed, Tensor, Path], None]
    read: Callable[[Deployed, Path], Ask]
    tolerance: float


def _write_safetensors(network: Deployed, example: Tensor, path: Path) -> None:
    from safetensors.torch import save

    # safetensors refuses other tensors, such as weights in channels_last
    path.write_bytes(save({name: tensor.contiguous() for name, tensor in weights_of(network).items()}))


def _read_safetensors(network: Deployed, path: Path) -> Ask:
    """The network with the weights of the file, and no other ones."""
    from safetensors.torch import load_file

    fresh = copy_network(network)
    inner: Any = fresh.network
    networks = getattr(inner, "networks", None)
    inner = networks[0] if networks is not None and len(networks) == 1 else inner
    # else an answer from the weights of before would pass for one of the file
    with torch.no_grad():
        state = inner.state_dict()
        for value in state.values():
            if isinstance(value, Tensor):
                value.zero_()
    others = {name: value for name, value in state.items() if not isinstance(value, Tensor)}  # no file has them
    inner.load_state_dict(others | load_file(path))
    return fresh


def _write_onnx(network: Deployed, example: Tensor, path: Path) -> None:
    missing = [name for name in ("onnx", "onnxscript") if find_spec(name) is None]
    if missing:
        raise ImportError(f"ONNX needs {' and '.join(missing)}: pip install 'selftrain[onnx]'")
    with _quiet():
        torch.onnx.export(
            _program(network, example),
            (),
            str(path),
            input_names=["input"],
            output_names=["output"],
            dynamo=True,
            # only this one file is moved to its place: weights beside it would be left behind
            external_data=False,
            verbose=False,
        )


def _read_onnx(network: Deployed, path: Path) -> Ask:
    if find_spec("onnxruntime") is not None:
        import onnxruntime

        session: Any = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    else:
        from onnx.reference import ReferenceEvaluator

        session = ReferenceEvaluator(str(path))
    return lambda x: torch.from_numpy(session.run(None, {"input": x.numpy()})[0])


def _write_program(network: Deployed, example: Tensor, path: Path) -> None:
    with _quiet():
        torch.export.save(_program(network, example), path)


def _read_program(network: Deployed, path: Path) -> Ask:
    with _quiet():
        ask: Ask = torch.export.load(path).module()
    return ask


def _program(network: Deployed, example: Tensor) -> torch.export.ExportedProgram:
    """The network as a graph that takes any number of samples."""
    form: dict[str, Any] = {"dynamic_shapes": {"x": {0: torch.export.Dim("batch", min=1)}}}
    try:
        return torch.export.export(network, (example,), **form, strict=False)
    except Exception:  # of some code only the stricter way sees that the number of samples is free
        return torch.export.export(network, (example,), **form, strict=True)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the warnings and the log of torch's exporters about themselves."""
    logger = logging.getLogger("torch")
    level = logger.level
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            logger.setLevel(level)


# Weights come back bit for bit; programs run on other kernels, which add up in another order.
FORMATS: Mapping[str, Format] = {
    "safetensors": Format(".safetensors", _write_safetensors, _read_safetensors, 0.0),
    "onnx": Format(".onnx", _write_onnx, _read_onnx, 1e-4),
    "torch": Format(".pt2", _write_program, _read_program, 1e-5),
}
