"""What names of devices stand for, with and without an accelerator that torch finds."""

import pytest
import torch

from selftrain.errors import UsageError
from selftrain.runtime.devices import fast_products, find_device, in_words


@pytest.fixture
def accelerator(monkeypatch):
    """A machine with two devices of a kind; ``meta`` is one that every build of torch can make."""
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda *_: torch.device("meta"))
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 2)


def test_without_an_accelerator_auto_is_the_cpu_and_others_are_refused_by_name(monkeypatch):
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    assert find_device("auto") == find_device("cpu") == find_device(torch.device("cpu")) == torch.device("cpu")
    assert in_words(torch.device("cpu")) == "cpu (there is no accelerator)"
    for name in ("gpu", "gpu:1", "cuda:77", "warp", "auto:1"):
        with pytest.raises(
            UsageError, match=f"device '{name}' cannot be used: .*; there is the CPU and no accel.*auto"
        ):
            find_device(name)


def test_the_accelerator_is_what_torch_finds(accelerator):
    assert find_device("auto") == find_device("gpu") == torch.device("meta")
    assert find_device("gpu:1") == torch.device("meta:1")
    assert find_device("cpu") == torch.device("cpu")
    assert in_words(torch.device("cpu")) == "cpu"
    with pytest.raises(UsageError, match="device 'warp' .*; there is the CPU and meta:0, meta:1: say device=\"auto\""):
        find_device("warp")


def test_a_device_is_named_with_its_model(accelerator, monkeypatch):
    class Module:
        @staticmethod
        def get_device_name(device):
            return f"Model of {device}"

    monkeypatch.setattr(torch, "get_device_module", lambda device: Module)
    assert in_words(torch.device("meta:1")) == "meta:1 (Model of meta:1)"
    monkeypatch.setattr(torch, "get_device_module", lambda device: object)
    assert in_words(torch.device("meta:1")) == "meta:1"


@pytest.mark.parametrize(("device", "inside"), [("cuda", "high"), ("cpu", "highest")])
def test_products_are_fast_on_cuda_while_a_run_lasts(device, inside):
    with fast_products(torch.device(device)):
        assert torch.get_float32_matmul_precision() == inside
    assert torch.get_float32_matmul_precision() == "highest"
    with pytest.raises(KeyError), fast_products(torch.device(device)):
        raise KeyError
    assert torch.get_float32_matmul_precision() == "highest"
