"""Remedies of the messages of ``selftrain/networks``."""

import contextlib
from functools import partial

import numpy as np
import pretrain_helpers as made
import torch
from remedies import Elsewhere, Row, setting
from safetensors.torch import save_file
from torch import nn

import selftrain as st
from selftrain import LoRA, Training, pretrain, strategies, toy
from selftrain.data import Pile
from selftrain.errors import NonFiniteError
from selftrain.networks.by_name import DenseEncoder, make_encoder, make_network
from selftrain.networks.dense import Segmenter, UNetEncoder
from selftrain.networks.ema import Teacher
from selftrain.networks.encoders import ConvEncoder
from selftrain.networks.foundation import Foundation, TorchvisionNet
from selftrain.networks.positions import sincos_positions
from selftrain.storage.tensors import read_weights
from selftrain.types import BatchPlan

_draws = np.random.RandomState(0)
X = _draws.normal(size=(12, 3)).astype(np.float32)
PILE = Pile.from_arrays(X, np.arange(12) % 3, labels=6)
TASK = toy.task("classification")
PLAN = BatchPlan(4)


def fit(network, pile=PILE, strategy=strategies.Supervised, **settings):
    """One step of training, with every check before it."""
    run = st.fit(strategy(TASK, st.learner(network, **settings)), pile, steps=1, plan=PLAN)
    assert all(weight.isfinite().all() for weight in run.strategy.export().values())
    return run


class Own(nn.Module):
    """A network whose forward is given."""

    def __init__(self, forward=lambda self, x: self.inner(x), **parts):
        super().__init__()
        self.inner, self.does = nn.Linear(3, 3), forward
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x):
        return self.does(self, x)


def plain(self, x):
    return self.inner(x)


def own(does, **parts):
    return fit(Own(does, **parts))


def grown(self, x):
    """A pass that lets what is stored grow."""
    self.seen = torch.cat([self.seen, x.detach()]) if self.training else self.seen
    return self.inner(x)


class Growing(Own):
    def __init__(self, *, persistent=True, size=0):
        super().__init__(grown if not size else plain)
        self.register_buffer("seen", torch.zeros(size, 3), persistent=persistent)


class Moved(Own):
    """A pass that moves a number that takes no gradient, which is a parameter or a buffer."""

    def __init__(self, *, buffer):
        super().__init__()
        if buffer:
            self.register_buffer("count", torch.zeros(1))
        else:
            self.count = nn.Parameter(torch.zeros(1), requires_grad=False)

    def forward(self, x):
        if self.training:
            with torch.no_grad():
                self.count += 1
        return self.inner(x)


class Extra(Own):
    """A network with a part of its state that is no tensor."""

    def get_extra_state(self):
        return {"text": "a"}

    def set_extra_state(self, state):
        pass


class Layered(nn.Module):
    """An encoder that may say its layers."""

    embed_dim, shape = 3, (3,)

    def __init__(self, layers=None):
        super().__init__()
        self.inner, self.said = nn.Linear(3, 3), layers
        if layers is not None:
            self.layers = lambda: [self.inner] if layers else []

    def forward(self, x):
        return self.inner(x)


class Odd(Layered):
    def forward(self, x):
        return self.inner(x)[:, :2]


def wrapped(encoder, **settings):
    return fit(st.Classifier(encoder, 3), **settings)


def staged(encoder):
    """A step without labels."""
    st.fit(pretrain.SimCLR(encoder), PILE, steps=1, plan=PLAN)


def saved(tmp, content, name="w.pt"):
    torch.save(content, tmp / name)
    return read_weights(tmp / name)


def loaded(source, network):
    """Weights of a network in another one."""
    st.learner(network, init_from=source.state_dict())()


def warmed(network):
    network(torch.zeros(12, 3)[:2])
    return network


def norm_of(rows, norm=None):
    """A pass in training of so many rows."""
    network = nn.Sequential(nn.Linear(3, 4), norm or nn.BatchNorm1d(4), nn.Linear(4, 3))
    learner = st.learner(network)().train()
    with contextlib.suppress(NonFiniteError):
        learner(torch.zeros(rows, 3))


N = "selftrain/networks"
DENSE = "unit/networks/test_dense.py"
ROWS_OF = {
    f"{N}/adapters.py": [
        setting("rank is {}", LoRA, "rank", 0, 1),
        setting("alpha is {}", LoRA, "alpha", 0, 0.5, None),
        setting("dropout of an adapter is {}", LoRA, "dropout", 1, 0, 0.5),
        setting("form is {}", LoRA, "form", "hora", "lora", "dora", "loha", "lokr"),
    ],
    f"{N}/dense.py": [
        setting("head is {}", partial(Segmenter, ConvEncoder(8), 2), "head", "fnc", "fcn", "deeplab"),
        setting("a side must have {}", UNetEncoder, "size", 4, 8),
        Elsewhere("has no maps for pictures", f"{DENSE}::test_maps_are_those_of_the_stages_of_a_network"),
    ],
    f"{N}/by_name.py": [
        setting("depth is {}", partial(DenseEncoder, 3), "depth", 0, 1),
        Row(
            "see selftrain.networks.Encoder",
            lambda: make_encoder(nn.Linear(3, 3), "table", (3,)),
            lambda: make_encoder(DenseEncoder(3), "table", (3,)),
        ),
        setting(
            "known are auto, {}", lambda network: make_encoder(network, "table", (3,)), "network", "vit", "auto", "mlp"
        ),
        setting(
            "give a name, a module, or a function",
            lambda network: make_network(network, "table", (3,), 3),
            "network",
            5,
            "auto",
            nn.Linear(3, 3),
            lambda: nn.Linear(3, 3),
        ),
        Row(
            "it must build a torch.nn.Module",
            lambda: make_network(lambda: 5, "table", (3,), 3),
            lambda: make_network(lambda: nn.Linear(3, 3), "table", (3,), 3),
        ),
    ],
    f"{N}/ema.py": [
        setting("decay is {}", partial(Teacher, toy.learner("classification")()), "decay", 2, 0, 1),
        setting("buffers is {}", partial(Teacher, toy.learner("classification")()), "buffers", "mean", "copy", "ema"),
    ],
    f"{N}/encoders.py": [
        Row(
            "pad or resize the images",
            lambda: ConvEncoder(10)(torch.zeros(2, 1, 10, 10)),
            lambda: ConvEncoder(12)(nn.functional.pad(torch.zeros(2, 1, 10, 10), (1, 1, 1, 1))),
            lambda: ConvEncoder(8)(nn.functional.interpolate(torch.zeros(2, 1, 10, 10), 8)),
        )
    ],
    f"{N}/fitting.py": [
        Row(
            "let it return them, not decisions",
            lambda: own(lambda self, x: self.inner(x).argmax(1)),
            lambda: own(plain),
        ),
        Row(
            "squeeze() and flatten() are to name the axes",
            lambda: own(lambda self, x: self.inner(x)[:, None].squeeze()),
            lambda: own(lambda self, x: self.inner(x)[:, None].squeeze(1)),
        ),
        Row(
            "register such a buffer in its full size",
            lambda: fit(Growing()),
            lambda: fit(Growing(size=12)),
            lambda: fit(Growing(persistent=False)),
        ),
        Row(
            "both must be logits of one shape",
            lambda: own(lambda self, x: self.inner(x) if self.training else self.inner(x).repeat(1, 2)),
            lambda: own(plain),
        ),
        Row(
            "take torch.no_grad, detach() and conversions",
            lambda: own(lambda self, x: self.inner(x).detach()),
            lambda: own(plain),
        ),
        Row("its forward must give features of shape", lambda: staged(Odd()), lambda: staged(Layered())),
        Row(
            "(its weights are {}: call {}.float())",
            lambda: fit(nn.Linear(3, 3).double()),
            lambda: fit(nn.Linear(3, 3).double().float()),
        ),
        Row(
            "let it return logits",
            lambda: fit(nn.Sequential(nn.Linear(3, 3), nn.Softmax(1))),
            lambda: fit(nn.Linear(3, 3)),
        ),
    ],
    f"{N}/foundation.py": [
        setting(
            "see torchvision.models.list_models()", TorchvisionNet, "architecture", "mobilnet", "shufflenet_v2_x0_5"
        ),
        Row(
            "take another network",
            lambda: TorchvisionNet("squeezenet1_0"),
            lambda: TorchvisionNet("shufflenet_v2_x0_5"),
        ),
        Row(
            "and no text; call it with inputs (B, ...)",
            lambda: Foundation(nn.Flatten(), embed_dim=3, name="own", mean=[0.0], std=[1.0]).encode(["a"]),
            lambda: Foundation(nn.Flatten(), embed_dim=3, name="own", mean=[0.0], std=[1.0])(torch.rand(2, 1, 1, 3)),
        ),
    ],
    "selftrain/storage/tensors.py": [
        Row(
            "save its state_dict with safetensors.torch.save_file",
            lambda tmp: saved(tmp, nn.Linear(3, 3)),
            lambda tmp: (
                save_file(nn.Linear(3, 3).state_dict(), tmp / "w.safetensors"),
                read_weights(tmp / "w.safetensors"),
            ),
        ),
        Row(
            "save the state_dict of the network",
            lambda tmp: saved(tmp, [1, 2]),
            lambda tmp: saved(tmp, nn.Linear(3, 3).state_dict()),
        ),
    ],
    f"{N}/optim.py": [
        setting("lr is {}; it must be above 0", Training, "lr", 0, 1e-9),
        setting("encoder_lr is {}; it must be 0 or more", Training, "encoder_lr", -1, 0),
        setting("layer_decay is {}; it must be above 0", Training, "layer_decay", 0, 1, 0.1, None),
        Row(
            "leave one of them out",
            lambda: Training(adapter=LoRA(), encoder_lr=0),
            lambda: Training(adapter=LoRA()),
            lambda: Training(encoder_lr=0),
        ),
        setting("optimizer is {}", Training, "optimizer", "adam", "adamw", "sgd", torch.optim.Adam),
        Row(
            "give either training or single settings",
            lambda: st.learner(Own(), training=Training(), lr=0.1),
            lambda: st.learner(Own(), training=Training(lr=0.1)),
            lambda: st.learner(Own(), lr=0.1),
        ),
        Row(
            "keep in a buffer what a prediction needs",
            lambda: fit(Extra()),
            lambda: fit(Growing(size=2)),
        ),
        Row(
            "build the network as Classifier(encoder, classes)",
            lambda: loaded(st.Classifier(Layered(), 3), nn.Linear(3, 3)),
            lambda: loaded(st.Classifier(Layered(), 3), st.Classifier(Layered(), 3)),
        ),
        Row(
            "weights do not fit {}: {}; use the same encoder settings",
            lambda: loaded(st.Classifier(DenseEncoder(3, width=4), 3), st.Classifier(DenseEncoder(3, width=8), 3)),
            lambda: loaded(st.Classifier(DenseEncoder(3, width=8), 3), st.Classifier(DenseEncoder(3, width=8), 3)),
        ),
        Row(
            "add one to the encoder that returns its parts",
            lambda: wrapped(Layered(), layer_decay=0.5),
            lambda: wrapped(Layered(True), layer_decay=0.5),
            lambda: wrapped(Layered()),
        ),
        Row(
            "return the encoder's parts from the input on",
            lambda: wrapped(Layered(False), layer_decay=0.5),
            lambda: wrapped(Layered(True), layer_decay=0.5),
        ),
    ],
    f"{N}/outputs.py": [
        Row(
            'or a mapping with them as "logits"',
            lambda: own(lambda self, x: {"y": self.inner(x)}),
            lambda: own(plain),
            lambda: own(lambda self, x: {"logits": self.inner(x), "more": x}),
        ),
        Row(
            "may be the logits; {}",
            lambda: own(lambda self, x: (self.inner(x), self.inner(x))),
            lambda: own(lambda self, x: {"logits": self.inner(x), "other": self.inner(x)}),
        ),
    ],
    f"{N}/patches.py": [
        setting("both sides must be at least 1", lambda patch: made.vit(patch=patch), "patch", 0, 1),
        Row(
            "use a patch from {}, or pad or resize the inputs",
            lambda: made.vit(size=8, patch=3),
            lambda: made.vit(size=8, patch=4),
            lambda: made.vit(size=9, patch=3)(nn.functional.pad(torch.zeros(1, 1, 8, 8), (0, 1, 0, 1))),
            lambda: made.vit(size=9, patch=3)(nn.functional.interpolate(torch.zeros(1, 1, 8, 8), 9)),
        ),
    ],
    f"{N}/positions.py": [setting("positions need a multiple of", partial(sincos_positions, (2, 2)), "width", 6, 8)],
    f"{N}/student.py": [
        setting("accumulate is {}", partial(fit, Own()), "accumulate", 0, 1),
        setting("max_grad_norm is {}", partial(fit, Own()), "max_grad_norm", 0, 1, None),
        setting("precision is {}", partial(fit, Own()), "precision", "fp8", "auto", "fp32", "bf16", "fp16"),
        Row(
            "register them with register_buffer instead",
            lambda: fit(Moved(buffer=False), strategy=strategies.FutureSelfTraining),
            lambda: fit(Moved(buffer=True), strategy=strategies.FutureSelfTraining),
        ),
        Row(
            "run it once on two samples (network(x[:2]))",
            lambda: fit(nn.LazyLinear(3)),
            lambda: fit(warmed(nn.LazyLinear(3))),
        ),
        Row(
            "call requires_grad_(True) on what is to learn",
            lambda: fit(nn.Linear(3, 3).requires_grad_(False)),
            lambda: fit(nn.Linear(3, 3).requires_grad_(False).requires_grad_(True)),
        ),
        Row(
            "raise the batch size, or take a network without BatchNorm",
            lambda: norm_of(1),
            lambda: norm_of(2),
            lambda: norm_of(1, nn.Identity()),
        ),
    ],
    f"{N}/vit.py": [
        setting("width must be a multiple of heads", partial(made.vit, heads=3), "width", 16, 12),
        setting("depth is {} and registers {}", made.vit, "depth", 0, 1),
        setting("depth is {} and registers {}", made.vit, "registers", -1, 0),
        Row(
            "build it with the shape of the data",
            lambda: made.vit(size=8)(torch.zeros(1, 1, 4, 4)),
            lambda: made.vit(size=4)(torch.zeros(1, 1, 4, 4)),
        ),
        setting("pool is {}", made.vit, "pool", 0, 1, "all", "max_mean"),
    ],
}
