"""What networks may give: taken or refused by name before anything is made, whatever the method and the door."""

from __future__ import annotations

import copy
import warnings
from collections import OrderedDict, namedtuple

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from zoo import PLAN, ZOO, differences

import selftrain as st
from selftrain import data, pretrain, strategies, toy
from selftrain.errors import DataError
from selftrain.networks.by_name import DenseEncoder
from selftrain.networks.outputs import logits_of

COUNT = 24
X = np.random.RandomState(0).randn(COUNT, 4).astype(np.float32)
Y = np.where(np.arange(COUNT) < 8, np.arange(COUNT) % 2, -1)
Outputs = namedtuple("Outputs", ["logits", "aux_logits"])


class Wrapped(nn.Module):
    """Two layers whose logits are wrapped up; ``mode`` and batch are known to ``wrap``."""

    def __init__(self, wrap, outputs=2):
        super().__init__()
        self.layer, self.head, self.wrap = nn.Linear(4, 6), nn.Linear(6, outputs), wrap

    def forward(self, x):
        return self.wrap(self, self.head(F.relu(self.layer(x))), x)


class ModelOutput(OrderedDict):
    """As of Hugging Face's transformers: a mapping with attributes."""

    def __getattr__(self, name):
        return self[name]


TAKEN = {
    "mapping": lambda net, logits, x: {"logits": logits, "features": x},
    "ModelOutput": lambda net, logits, x: ModelOutput(loss=None, logits=logits),
    "named tuple in training": lambda net, logits, x: Outputs(logits, 2 * logits) if net.training else logits,
    "tuple": lambda net, logits, x: (logits, x),
    "list": lambda net, logits, x: [logits, None],
    "half": lambda net, logits, x: logits.half(),
    "bfloat16": lambda net, logits, x: logits.bfloat16(),
}
REFUSED = {
    "other keys": (lambda net, z, x: {"y": z, "aux": z}, r"a dict with the keys \['y', 'aux'\] where logits"),
    "pair of heads": (lambda net, z, x: (z, z + 1), r"a tuple of 2 .* any of \[0, 1\] may be the logits"),
    "features first": (
        lambda net, z, x: (net.layer(x), z),
        r"gives \(2, 6\) for 2 samples of shape \(4,\).* shape \(2, 2\)",
    ),
    "nothing": (lambda net, z, x: None, "gives a NoneType"),
    "empty": (lambda net, z, x: (), "gives a tuple of 0"),
    "numpy": (lambda net, z, x: z.detach().numpy(), "gives a ndarray"),
    "one number": (lambda net, z, x: z[:, 0], r"gives \(2,\) for 2 samples.*one logit a class"),
    "one column": (lambda net, z, x: z[:, :1], r"gives \(2, 1\) for 2 samples.*one logit a class"),
    "a token each": (lambda net, z, x: z[:, None].expand(-1, 5, -1), r"gives \(2, 5, 2\) for 2 samples"),
    "decisions": (lambda net, z, x: z.argmax(1), "int64 of shape"),
    "detached": (lambda net, z, x: z.detach(), "outputs of Wrapped have no gradient"),
    "squeezed": (lambda net, z, x: z.squeeze(), r"\(2,\) for one; its first axis must be that of the samples"),
    "flat": (lambda net, z, x: z.flatten(), "first axis must be that of the samples"),
    "other in training": (
        lambda net, z, x: z.repeat(1, 2) if net.training else z,
        r"\(2, 4\) in training and \(2, 2\)",
    ),
    "fails": (lambda net, z, x: z[:, 7], r"does not run on inputs of shape \(4,\): IndexError"),
}
METHODS = (strategies.Supervised, strategies.FixMatch, strategies.Ensemble, strategies.FutureSelfTraining)


def pile():
    return data.Pile.from_arrays(X, Y)


def doors(make):
    """Every way in, as functions; ``make`` builds the network."""
    task = st.Classification(2)
    found = {m.__name__: lambda m=m: st.fit(m(task, st.learner(make)), pile(), steps=1) for m in METHODS}
    return found | {"estimator": lambda: st.SelfTrainClassifier(network=make, steps=1, random_state=0).fit(X, Y)}


@pytest.mark.parametrize("form", REFUSED)
def test_what_cannot_be_logits_is_refused_at_every_door(form, tmp_path):
    wrap, words = REFUSED[form]
    for door in doors(lambda: Wrapped(wrap)).values():
        with pytest.raises(DataError, match=words):
            door()
    strategy = strategies.FixMatch(st.Classification(2), st.learner(lambda: Wrapped(wrap)))
    with pytest.raises(DataError):
        st.fit(strategy, pile(), steps=1, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("form", TAKEN)
def test_what_is_clearly_logits_is_taken_at_every_door(form):
    for door in doors(lambda: Wrapped(TAKEN[form])).values():
        door()


@pytest.mark.one_in(3)
@pytest.mark.parametrize("name", ZOO)
def test_a_mapping_trains_as_its_logits_do(name):
    class Mapping(nn.Sequential):
        def forward(self, x):
            return {"logits": super().forward(x)}

    found = []
    for kind in (nn.Sequential, Mapping):
        torch.manual_seed(0)
        network = toy.network("classification", outputs=ZOO[name].outputs)
        network.__class__ = kind
        strategy = ZOO[name].make(toy.task("classification"), st.learner(network, lr=0.05), **settings_of(name))
        ZOO[name].prepare(strategy, "classification")
        st.fit(strategy, toy.pile("classification"), plan=PLAN, steps=2)
        found.append(copy.deepcopy(strategy.state_dict()))
    assert not differences(*found)


def settings_of(name):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return ZOO[name].settings("classification")


def test_the_remedy_for_a_mapping_is_a_wrapper():
    inner = Wrapped(REFUSED["other keys"][0])

    class Out(nn.Module):
        def __init__(self):
            super().__init__()
            self.network = copy.deepcopy(inner)

        def forward(self, x):
            return self.network(x)["y"]

    doors(Out)["FixMatch"]()


def test_a_dense_mapping_is_taken_too():
    class Dense(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Conv2d(1, 3, 1)

        def forward(self, x):
            return {"logits": self.layer(x), "aux": x}

    strategy = strategies.MeanTeacher(toy.task("segmentation"), st.learner(Dense))
    assert st.fit(strategy, toy.pile("segmentation"), plan=PLAN, steps=1).train

    class Coarse(Dense):
        def forward(self, x):
            return F.avg_pool2d(self.layer(x), 2)

    strategy = strategies.MeanTeacher(toy.task("segmentation"), st.learner(Coarse))
    assert st.fit(strategy, toy.pile("segmentation"), plan=PLAN, steps=1).train  # logits are enlarged


# -- probabilities in place of logits ----------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("wrap", "told"),
    [
        (lambda net, z, x: z.softmax(1), "ends in a softmax"),
        (lambda net, z, x: z.sigmoid(), "ends in a sigmoid"),
        (lambda net, z, x: z.exp() / z.exp().sum(1, keepdim=True), "ends in a softmax"),
        (lambda net, z, x: {"logits": z.softmax(1)}, "ends in a softmax"),
        (lambda net, z, x: z.log_softmax(1), None),
        (lambda net, z, x: z, None),
        (lambda net, z, x: torch.zeros_like(z) * z, None),
    ],
)
def test_outputs_that_are_probabilities_already_are_told(wrap, told):
    strategy = strategies.Supervised(st.Classification(2), st.learner(lambda: Wrapped(wrap)))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        st.fit(strategy, pile(), steps=1)
    found = [str(w.message) for w in caught if "probabilities already" in str(w.message)]
    assert len(found) == (told is not None)
    assert told is None or told in found[0]


# -- networks that cannot learn ----------------------------------------------------------------------------------------
def test_a_network_of_which_nothing_is_trained_is_refused_and_a_head_is_enough():
    frozen = Wrapped(lambda net, z, x: z).requires_grad_(False)
    for door in doors(lambda: frozen).values():
        with pytest.raises(DataError, match="all 4 weights of Wrapped are frozen.*requires_grad_"):
            door()
    with pytest.raises(DataError, match="Flatten has no weights"):
        strategies.Supervised(st.Classification(2), st.learner(nn.Flatten))
    with pytest.raises(DataError, match="frozen"):
        st.Learner(frozen, torch.optim.SGD([torch.zeros(1, requires_grad=True)]))
    frozen.head.requires_grad_(True)
    for door in doors(lambda: copy.deepcopy(frozen)).values():
        door()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_in_another_precision_are_named_and_float_mends_it(dtype):
    def make():
        return Wrapped(lambda net, z, x: z).to(dtype)

    with pytest.raises(DataError, match=rf"inputs of shape \(4,\) \(its weights are \['{dtype}'\]: call .*float\(\)"):
        doors(make)["FixMatch"]()
    doors(lambda: make().float())["FixMatch"]()


def test_lazy_weights_are_named_and_one_pass_mends_it():
    def make():
        return nn.Sequential(nn.LazyLinear(5), nn.ReLU(), nn.LazyLinear(2))

    with pytest.raises(DataError, match=r"of Sequential such as \['0.weight'.*have no shape.*network\(x\[:2\]\)"):
        doors(make)["FixMatch"]()
    ready = make()
    ready(torch.from_numpy(X[:2]))
    doors(lambda: copy.deepcopy(ready))["FixMatch"]()
    doors(make)["estimator"]()  # which knows the shape of its rows


def test_asking_leaves_no_trace():
    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.asked = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Dropout(), nn.Linear(6, 2)), 0

        def forward(self, x):
            self.asked += 1
            return self.body(x)

    strategy = strategies.MeanTeacher(st.Classification(2), st.learner(Counting))
    before, random = copy.deepcopy(strategy.state_dict()), torch.get_rng_state()
    strategy.check_networks(torch.from_numpy(X[:2]))
    assert not differences(before, strategy.state_dict())
    assert torch.equal(random, torch.get_rng_state())
    assert strategy.student.training
    assert strategy.student.model.asked == 0


# -- encoders ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("give", "words"),
    [
        (lambda z: {"last_hidden_state": z}, r"keys \['last_hidden_state'\].*features of shape \(2, 6\)"),
        (lambda z: (z, z), "a tuple of 2"),
        (lambda z: z[:, :3], r"shape \(2, 3\) for 2 inputs of shape \(4,\).*features of shape \(2, 6\)"),
    ],
)
def test_encoders_that_give_no_features_are_refused_before_pretraining(give, words):
    class Encoder(nn.Module):
        embed_dim, shape = 6, (4,)

        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 6)

        def forward(self, x):
            return give(self.layer(x))

    with pytest.raises(DataError, match=words):
        st.fit(pretrain.VICReg(Encoder()), data.Pile(None, data.ArraySet(X)), steps=1)
    with pytest.raises(DataError, match=words):
        st.PretrainedEncoder(recipe="vicreg", network=Encoder, steps=1).fit(X)


@pytest.mark.parametrize("stage", [pretrain.MAE, pretrain.IJEPA, pretrain.VICReg])
def test_an_encoder_for_other_sizes_is_refused_before_a_folder_is_made(stage, tmp_path):
    images = data.Pile(None, data.ArraySet(np.random.RandomState(0).rand(8, 30, 30)))
    small = pretrain.ViT(size=28, patch=4, width=16, depth=1)
    with pytest.raises(ValueError, match=r"inputs are \(1, 30, 30\) but the encoder was built for \(1, 28, 28\)"):
        st.fit(stage(small), images, steps=1, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
    with pytest.raises(ValueError, match=r"size 30x30 is not divisible by patch 4x4; use a patch from \[1, 2, 3, 5, 6"):
        pretrain.ViT(size=30, patch=4)
    assert st.fit(stage(pretrain.ViT(size=30, patch=6, width=16, depth=1)), images, steps=1).train


def test_logits_of_says_what_it_was_given():
    with pytest.raises(DataError, match=r"a list of 2 \(a str, float32 of shape \(3,\)\)"):
        logits_of(["logits", torch.zeros(3)])


# -- inputs of predict -------------------------------------------------------------------------------------------------
EXACT = np.random.RandomState(1).randint(-3, 4, (6, 4)).astype(np.float64)
INPUTS = {
    "bfloat16": torch.from_numpy(EXACT).bfloat16(),
    "half": torch.from_numpy(EXACT).half(),
    "double": torch.from_numpy(EXACT),
    "gradient": torch.from_numpy(EXACT).float().requires_grad_(),
    "transposed": torch.from_numpy(EXACT.T.copy()).T,
    "integers": torch.from_numpy(EXACT).long(),
    "numpy": EXACT,
    "big-endian": EXACT.astype(">f8"),
    "negative strides": EXACT[::-1].copy()[::-1],
    "read-only": np.frombuffer(EXACT.tobytes()).reshape(6, 4),
    "lists": EXACT.tolist(),
}


@pytest.mark.parametrize("form", INPUTS)
def test_predict_takes_numbers_in_any_form(form):
    torch.manual_seed(0)
    method = strategies.MeanTeacher(st.Classification(2), st.learner(lambda: Wrapped(lambda net, z, x: z)))
    stage = pretrain.VICReg(DenseEncoder(4))
    for strategy in (method, stage):
        found = strategy.predict(INPUTS[form])
        torch.testing.assert_close(found, strategy.predict(torch.from_numpy(EXACT).float()))
        assert not found.requires_grad
