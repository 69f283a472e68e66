"""FixMatch of semilearn (USB) in its own loop, with its own loader, transforms, hooks and average of weights.

Run by ``compare.py`` in an environment with semilearn. It asks for CUDA without a question: what does so is made to do
nothing, which leaves what it computes as it is.
"""

from __future__ import annotations

import json
import logging
import sys
import tempfile

import numpy as np
import torch
from networks import NETWORKS, accuracy
from torch import Tensor, nn
from turns import Over, Turns, memory_mb, say


class _Event:
    def __init__(self, **settings: object) -> None: ...

    def record(self) -> None: ...

    def elapsed_time(self, other: object) -> float:
        return 0.0


# Before semilearn is imported, which keeps some of these.
torch.cuda.Event, torch.cuda.synchronize, torch.cuda.set_device = _Event, lambda *a: None, lambda *a: None
Tensor.cuda = lambda self, *a, **k: self
nn.Module.cuda = lambda self, *a, **k: self

from semilearn import BasicDataset, get_algorithm, get_config, get_data_loader  # noqa: E402
from semilearn.core.hooks import Hook  # noqa: E402
from semilearn.datasets.augmentation import RandAugment  # noqa: E402
from torchvision import transforms  # noqa: E402


class Net(nn.Module):
    """A network that answers in USB's form."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Logits and features."""
        features = self.network.features(x)
        return {"logits": self.network.head(features), "feat": features}


class _AtTheEnd(Hook):
    def __init__(self, turns: Turns) -> None:
        self.turns = turns

    def after_train_step(self, algorithm: object) -> None:
        self.turns()


def main() -> None:
    """Train as the settings say."""
    given = json.loads(sys.argv[1])
    torch.manual_seed(given["seed"])
    np.random.seed(given["seed"])
    folder = tempfile.mkdtemp()
    steps, ratio = given["steps"], given["unlabeled"] // given["labeled"]
    config = {
        "algorithm": "fixmatch", "dataset": "none", "save_dir": folder, "save_name": "run", "num_classes": 10,
        "epoch": 1, "num_train_iter": steps, "num_eval_iter": 10**9, "num_log_iter": 256, "optim": "SGD", "lr": 0.03,
        "momentum": 0.9, "weight_decay": 5e-4, "batch_size": given["labeled"], "uratio": ratio, "eval_batch_size": 256,
        "ema_m": 0.999, "hard_label": True, "T": 0.5, "p_cutoff": 0.95, "num_workers": 0, "gpu": None,
        "world_size": 1, "rank": 0, "distributed": False, "use_cat": True, "seed": given["seed"],
    }  # fmt: skip
    config = get_config(config)
    network = NETWORKS[given["network"]]

    def build(num_classes: int = 10, **other: object) -> nn.Module:
        return Net(network(num_classes))

    algorithm = get_algorithm(config, build, None, logging.getLogger("semilearn"))
    arrays = np.load(given["data"])
    x, y, size = arrays["x"], arrays["y"], arrays["x"].shape[1]
    crop = [
        transforms.Resize(size),
        transforms.RandomCrop(size, padding=int(size * 0.125), padding_mode="reflect"),
        transforms.RandomHorizontalFlip(),
    ]
    last = [transforms.ToTensor(), transforms.Normalize(arrays["mean"].tolist(), arrays["std"].tolist())]
    weak, strong = transforms.Compose(crop + last), transforms.Compose([*crop, RandAugment(3, 5), *last])
    few = arrays["labeled"]
    sets = {
        "train_lb": BasicDataset("fixmatch", x[few], y[few], 10, weak, False, strong, False),
        "train_ulb": BasicDataset("fixmatch", x, y, 10, weak, True, strong, False),
    }
    sizes = {"train_lb": given["labeled"], "train_ulb": given["unlabeled"]}
    algorithm.loader_dict = {name: get_data_loader(config, sets[name], sizes[name], num_workers=0) for name in sets}
    algorithm.loader_dict["eval"] = []
    algorithm.evaluate = lambda *a, **k: {"eval/top-1-acc": 0.0}  # of its own: it is tested below, by all alike
    if given["turn"]:
        algorithm.register_hook(_AtTheEnd(Turns(given["turn"])), None, "LOWEST")
    try:
        algorithm.train()
    except Over:
        return
    assert algorithm.it == steps
    test = arrays["test_x"].astype(np.float32) / 255
    test = torch.as_tensor((test - arrays["mean"]) / arrays["std"]).permute(0, 3, 1, 2).float()
    found = accuracy(algorithm.model.network, test, torch.as_tensor(arrays["test_y"]))
    average = accuracy(algorithm.ema_model.network, test, torch.as_tensor(arrays["test_y"]))
    say(accuracy=found, average=average, memory_mb=memory_mb())


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
