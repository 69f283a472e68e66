"""A run is built again from its folder, whoever started it; and a folder is data, whose names are not followed."""

from __future__ import annotations

import dataclasses
import functools
import json
import shutil
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import selftrain as st
from selftrain import data, pretrain, strategies, toy
from selftrain.catalog import METHODS, RECIPES, build, make_recipe
from selftrain.engine.spec import fits, read_record, settings_of
from selftrain.handlers import Progress, SelfCheck
from selftrain.networks.by_name import make_encoder
from selftrain.networks.described import calls_noted, describe, fingerprint
from selftrain.tensorboard import TensorBoard
from selftrain.types import Recorded

QUIET = [Progress(False), SelfCheck(False), TensorBoard(False)]
QUICK = {"steps": 2, "handlers": QUIET, "plan": st.BatchPlan(labeled=8)}


class Own(nn.Module):
    """A network of the user's: its module is no part of the four packages."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.Tanh(), nn.Linear(width, 10))

    def forward(self, x):
        return self.body(x)


class Keen(st.select.Selector):
    """A rule of the user's."""

    def forward(self, evidence):
        return (evidence.confidence > 0.1).float()


def _mobilenet():
    """Built with classes and lists; a small one: of a ResNet the checkpoints cost more than all other tests here."""
    from torchvision.models import MobileNetV2

    blocks = [[1, 8, 1, 1], [6, 8, 1, 2]]  # expansion, channels, repeats, stride
    net = MobileNetV2(10, width_mult=0.25, inverted_residual_setting=blocks, norm_layer=nn.BatchNorm2d, dropout=0.0)
    return nn.Sequential(nn.Conv2d(1, 3, 1), net)


NETWORKS = {
    "conv": lambda: st.Classifier(st.ConvEncoder(8, 1, widths=(4, 8), embed_dim=16), 10),
    "vit": lambda: st.Classifier(pretrain.ViT(8, 4, width=16, depth=1), 10),
    "sequential": lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 10)),
    "named": lambda: nn.Sequential(OrderedDict(flat=nn.Flatten(), last=nn.Linear(64, 10, bias=False))),
    "mobilenet": _mobilenet,
    "a module": nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.GELU(approximate="tanh"), nn.Linear(8, 10)),
}


@pytest.fixture(scope="module")
def pile():
    return data.load("digits", labels=40, validation=10)


def fixmatch(network=NETWORKS["conv"], **settings):
    return strategies.FixMatch(st.Classification(10), st.learner(network, lr=0.01, momentum=0.8), **settings)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, pile):
    out = tmp_path_factory.mktemp("finished") / "run"
    return st.fit(fixmatch(select=st.select.above(0.3)), pile, out=out, **QUICK)


@pytest.fixture
def run(tmp_path, finished):
    """A finished run, in a folder of its own."""
    return dataclasses.replace(finished, out=Path(shutil.copytree(finished.out, tmp_path / "run")))


# -- what comes back ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", NETWORKS)
def test_a_run_comes_back_with_its_weights_data_and_ledger(name, tmp_path, pile):
    run = st.fit(fixmatch(NETWORKS[name], select=st.select.above(0.3)), pile, out=tmp_path, **QUICK)
    torch.manual_seed(3)
    before = torch.get_rng_state()
    again = st.open_run(tmp_path)
    assert torch.equal(torch.get_rng_state(), before)
    assert again.evaluate() == run.evaluate()
    assert again.evaluate(which="best") == run.evaluate(which="best")
    assert again.ledger.summary() == run.ledger.summary()
    assert again.ledger.ids[:3] == run.ledger.ids[:3]
    assert (again.last, again.best, again.seconds) == (run.last, run.best, run.seconds)
    assert list(again.classes) == list(run.classes) == [str(i) for i in range(10)]
    assert again.inputs == run.inputs
    assert fingerprint(again.network) == fingerprint(run.network)
    assert isinstance(again.views, data.TensorViews)
    assert torch.equal(again.views.mean, run.views.mean)
    assert again.views.weak == run.views.weak
    assert not again.strategy.training
    assert again.strategy.arguments["select"].threshold == 0.3
    assert again.strategy.student.base_rates == run.strategy.student.base_rates


def test_a_stage_of_pretraining_comes_back(tmp_path, pile):
    stage = st.fit(pretrain.MAE(pretrain.ViT(8, 4, width=16, depth=1), mask_ratio=0.5), pile, out=tmp_path, **QUICK)
    again = st.open_run(tmp_path)
    assert again.evaluate() == stage.evaluate()
    assert isinstance(again.network, pretrain.ViT)
    assert again.strategy.masker.ratio == 0.5


def test_an_opened_run_can_be_trained_on_and_written_again(run, tmp_path):
    again = st.open_run(run.out)
    st.fit(again.strategy, again.pile, out=tmp_path / "more", **QUICK)
    assert st.open_run(tmp_path / "more").evaluate()


@pytest.mark.parametrize("name", METHODS)
def test_every_method_says_how_it_was_built(name):
    kind = "classification"
    sizes = {"unlabeled": 20, "label_shape": (2,)}
    node = describe(build(name, toy.task(kind), st.learner(lambda: toy.network(kind)), **sizes))
    assert '"unknown"' not in json.dumps(node)


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_says_how_it_was_built(name):
    kinds = {"tjepa": ("table", (6,)), "ecgjepa": ("series", (2, 40)), "pointjepa": ("points", (32, 3))}
    kind, shape = kinds.get(name, ("image", (1, 16, 16)))
    network = {"image": "conv" if name == "cnnjepa" else "vit"}.get(kind, "transformer")
    node = describe(make_recipe(name, make_encoder(network, kind, shape), {}))
    assert '"unknown"' not in json.dumps(node)


def test_the_seed_of_a_file_reader_and_a_review_come_back(tmp_path, monkeypatch):
    x, y = np.eye(30, 5, dtype=np.float32) + np.arange(5, dtype=np.float32), np.arange(30) % 3
    np.savez(tmp_path / "a.npz", x=x, y=y, x_test=x, y_test=y)
    monkeypatch.chdir(tmp_path)
    pile = data.from_arrays_file("a.npz", labels=12, validation=3, seed=4)
    first, second = pile.unlabeled_ids()[:2]
    pile = pile.reviewed({first: 0, second: -1})
    make = st.learner(lambda: toy.mlp(5, 3), lr=0.01)
    run = st.fit(strategies.FixMatch(st.Classification(3), make), pile, out=tmp_path / "run", **QUICK)
    monkeypatch.chdir("/")
    again = st.open_run(tmp_path / "run")
    assert list(again.pile.unlabeled_ids()) == list(pile.unlabeled_ids())
    assert repr(again.pile) == repr(pile).replace("from a.npz", f"from {tmp_path / 'a.npz'}")
    assert again.evaluate() == run.evaluate()


# -- what must be passed -----------------------------------------------------------------------------------------------
def test_arrays_in_memory_are_asked_for_when_they_are_needed(tmp_path, pile):
    source = toy.clouds()
    make = st.learner(lambda: toy.mlp(30), lr=0.01)
    run = st.fit(strategies.FixMatch(st.Classification(2), make), source, out=tmp_path, **QUICK)
    again = st.open_run(tmp_path)
    assert len(again.ledger) == len(run.ledger)
    with pytest.raises(st.RunFolderError, match=r"not read from files; pass it: st.open_run\(.*, pile=...\)"):
        again.evaluate()
    assert st.open_run(tmp_path, pile=source).evaluate() == run.evaluate()


def test_a_pile_that_is_passed_is_seen_as_the_run_saw_its_own(run):
    digits = data.load("digits", labels=40)
    names = [f"{i}" for i in range(10)][::-1]
    turned = digits.numbered_as(names)
    turned.views = data.TensorViews(mean=0.0, std=1.0)
    assert st.open_run(run.out, pile=turned).evaluate()["accuracy"] == run.evaluate()["accuracy"]
    other = data.Pile.from_arrays(np.zeros((4, 8, 8)), [0, 1, 0, 1], classes=["cat", "dog"])
    with pytest.raises(st.DataError, match="has a class 'cat'"):
        st.open_run(run.out, pile=other).evaluate("labeled")


def test_a_ledger_of_other_data_is_refused(run):
    with pytest.raises(st.DataError, match="other ones; pass the pile that the run was on"):
        len(st.open_run(run.out, pile=data.load("digits", labels=100)).ledger)


def test_a_network_of_the_users_is_asked_for_by_name(tmp_path, pile):
    run = st.fit(fixmatch(lambda: Own(12)), pile, out=tmp_path, **QUICK)
    with pytest.raises(st.RunFolderError, match=r"Own is of none of self.*pass it: st.open_run\(.*, network=...\)"):
        st.open_run(tmp_path)
    for network in (Own(12), lambda: Own(12)):
        assert st.open_run(tmp_path, network=network).evaluate() == run.evaluate()
    with pytest.raises(st.RunFolderError, match="is not the one that was passed"):
        st.open_run(tmp_path, network=Own(13))


@pytest.mark.slow
def test_a_network_of_the_script_itself_is_asked_for(tmp_path):
    script = f"""
import selftrain as st
from selftrain import data, strategies
from torch import nn

class Net(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Flatten(), nn.Linear(64, 10))

make = st.learner(Net)
st.fit(strategies.Supervised(st.Classification(10), make), data.load("digits"), out={str(tmp_path / "run")!r}, steps=1)
"""
    (tmp_path / "script.py").write_text(script)
    subprocess.run([sys.executable, str(tmp_path / "script.py")], check=True, capture_output=True)
    for trust in (False, True):
        with pytest.raises(st.RunFolderError, match="__main__:Net is of the script itself; pass it: .*network=..."):
            st.open_run(tmp_path / "run", trust=trust)
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    with pytest.raises(st.RunFolderError, match="is not the one that was passed"):  # it is no Net
        st.open_run(tmp_path / "run", network=network)


def test_a_network_that_was_changed_after_it_was_built_is_noticed(tmp_path, pile):
    strategy = fixmatch(decay=None)
    strategy.student.model.encoder.body = nn.Sequential(strategy.student.model.encoder.body, nn.Tanh())
    changed = strategy.student.model
    st.fit(strategy, pile, out=tmp_path, **QUICK)
    with pytest.raises(st.RunFolderError, match=r"changed after it was built.*pass it: st.open_run\(.*, network=...\)"):
        st.open_run(tmp_path)
    assert st.open_run(tmp_path, network=changed).evaluate()


def test_an_encoder_of_the_users_is_asked_for(tmp_path, pile):
    class Mine(pretrain.ViT):
        pass

    run = st.fit(pretrain.MAE(Mine(8, 4, width=16, depth=1)), pile, out=tmp_path, **QUICK)
    with pytest.raises(st.RunFolderError, match="the network of the run.*Mine, which is defined inside a function"):
        st.open_run(tmp_path)
    assert st.open_run(tmp_path, network=Mine(8, 4, width=16, depth=1)).evaluate() == run.evaluate()


def test_parts_of_the_users_are_missed_only_where_they_are_used(tmp_path, pile):
    ramp = lambda progress: progress  # noqa: E731
    run = st.fit(fixmatch(select=Keen()), pile, out=tmp_path / "rule", **QUICK)
    with pytest.raises(st.RunFolderError, match=r"Keen.*build the strategy as it was and pass it: .*strategy=...\)"):
        st.open_run(tmp_path / "rule").strategy.arguments["select"].rejects  # noqa: B018
    as_it_was = st.open_run(tmp_path / "rule", strategy=fixmatch(select=Keen()))
    assert as_it_was.evaluate() == run.evaluate()
    make = st.learner(NETWORKS["conv"], schedule=ramp)
    run = st.fit(strategies.Supervised(st.Classification(10), make), pile, out=tmp_path / "ramp", **QUICK)
    again = st.open_run(tmp_path / "ramp")
    assert again.evaluate() == run.evaluate()
    with pytest.raises(st.RunFolderError, match="pass it: .*strategy="):
        again.strategy.student.set_lr(0.5)


def test_a_strategy_that_is_passed_takes_the_weights(tmp_path, pile):
    make = lambda: st.Training(lr=0.01).learner(NETWORKS["conv"]())  # noqa: E731
    run = st.fit(strategies.FixMatch(st.Classification(10), make), pile, out=tmp_path, **QUICK)
    with pytest.raises(st.RunFolderError, match=r"pass it: st.open_run\(.*, strategy=...\)"):
        st.open_run(tmp_path)
    again = st.open_run(tmp_path, strategy=strategies.FixMatch(st.Classification(10), make))
    assert again.evaluate() == run.evaluate()
    wrong = strategies.Supervised(st.Classification(10), st.learner(Own))
    with pytest.raises(st.CheckpointError, match="does not fit its strategy.*strategy=..."):
        st.open_run(tmp_path, strategy=wrong)


def test_labels_of_a_frozen_teacher_are_not_needed_to_predict(tmp_path, pile):
    table = st.label_pile(fixmatch(), pile)
    make = st.learner(NETWORKS["conv"])
    run = st.fit(strategies.NoisyStudent(st.Classification(10), make, labels=table), pile, out=tmp_path, **QUICK)
    again = st.open_run(tmp_path)
    assert again.evaluate() == run.evaluate()
    with pytest.raises(st.CheckpointError, match="labels of this run are not in its folder"):
        again.strategy.labels.pseudo_label(torch.tensor([0]))
    with_them = strategies.NoisyStudent(st.Classification(10), make, labels=table)
    st.open_run(tmp_path, strategy=with_them).strategy.labels.pseudo_label(torch.tensor([0]))


@pytest.mark.parametrize(("make", "text"), [(lambda path: None, "no run folder"), (Path.mkdir, "holds no run")])
def test_what_is_no_run_is_said(make, text, tmp_path):
    make(tmp_path / "x")
    with pytest.raises(st.RunFolderError, match=text):
        st.open_run(tmp_path / "x")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 2}', '{"format": 3}', '{"format": "two"}', "[" * 100_000])
def test_a_damaged_record_is_named(run, text):
    (run.out / "rebuild.json").write_text(text)
    with pytest.raises(st.RunFolderError, match="rebuild.json"):
        st.open_run(run.out)


def test_a_run_of_version_0_1_is_refused_with_the_remedy(run, pile):
    (run.out / "rebuild.json").unlink()
    before = json.loads((run.out / "run.json").read_text())
    del before["format"]
    (run.out / "run.json").write_text(json.dumps(before))
    for strategy in (None, fixmatch()):
        with pytest.raises(st.RunFolderError, match=r"of selftrain 0.1.*use that version, or .*: learner\(init_from="):
            st.open_run(run.out, strategy=strategy)
    with pytest.raises(st.RunFolderError, match=r"started by selftrain 0.1.*learner\(init_from="):
        st.fit(fixmatch(), pile, out=run.out, resume=True, **QUICK)


def test_a_class_is_found_where_its_module_became_a_package(run):
    text = (run.out / "rebuild.json").read_text()
    assert "selftrain.tasks.base:Classification" in text
    before = text.replace("selftrain.tasks.base:Classification", "selftrain.tasks:Classification")
    (run.out / "rebuild.json").write_text(before)
    assert st.open_run(run.out).evaluate() == run.evaluate()
    # of another package, or a function, no name is followed
    assert not fits(nn.Linear, "torch.nn", "Linear")
    assert not fits(st.export, "selftrain", "export")


# -- what is noted -----------------------------------------------------------------------------------------------------
def test_modules_are_left_as_they_were():
    before = nn.Linear.__init__
    with calls_noted() as outer, calls_noted() as inner:
        made = nn.Linear(2, 3)
    with pytest.raises(RuntimeError), calls_noted(), calls_noted():
        raise RuntimeError
    assert nn.Linear.__init__ is before
    assert outer[id(made)][1:] == inner[id(made)][1:] == ((2, 3), {})


def test_a_class_that_is_imported_while_calls_are_noted_keeps_its_record():
    with calls_noted():

        class Late(Recorded, nn.Module):  # as the module of a network that opening a run imports
            def __init__(self, columns):
                super().__init__()

    with calls_noted() as calls:
        made = Late(3)
    assert made.arguments == Late(3).arguments == {"columns": 3}
    assert calls[id(made)][1:] == ((3,), {})


def test_what_a_constructor_was_given_is_noted_before_it_changes_it():
    class Greedy(nn.Module):
        def __init__(self, sizes, **more):
            self.given = sizes.pop(), more.pop("depth")
            super().__init__()

    with calls_noted() as calls:
        made = Greedy([1, 2], depth=3)
    assert calls[id(made)][1:] == (([1, 2],), {"depth": 3})


def test_a_record_holds_plain_values_alone(run):
    record = read_record(run.out)
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert describe(float("inf")) == {"float": "inf"}
    assert describe(torch.zeros(200, 200)) == {"unknown": "a tensor of shape (200, 200)"}
    norm = describe(functools.partial(nn.LayerNorm, eps=1e-6))
    assert norm["partial"] == {"name": "torch.nn.modules.normalization:LayerNorm"}
    assert describe(nn.functional.gelu) == {"name": "torch.nn.functional:gelu"}


def test_a_run_keeps_the_note_of_its_caller(tmp_path, pile):
    note = st.Checkpoints(note={"command": "train", "lr": 0.1})
    st.fit(fixmatch(), pile, out=tmp_path, checkpoints=note, **QUICK)
    assert read_record(tmp_path)["note"] == {"command": "train", "lr": 0.1}


def test_private_attributes_are_no_settings():
    strategy = fixmatch()
    before = settings_of(strategy)
    strategy.student._secret, strategy.extra = 3, 4
    assert settings_of(strategy) == before
    assert before["settings"]["make_learner"]["lr"] == 0.01


# -- a folder is data --------------------------------------------------------------------------------------------------
MARK = "selftrain_was_here"


def _call(path, *args, **settings):
    return {"make": path, "args": list(args), "settings": settings}


HOSTILE = {
    "a process": _call("subprocess:Popen", ["touch", MARK]),
    "a shell": _call("os:system", f"touch {MARK}"),
    "code": _call("builtins:exec", f"open({MARK!r}, 'w')"),
    "the hub": _call("torch.hub:load", "evil/repo", "net"),
    "a pickle": _call("torch:load", MARK, weights_only=False),
    "a pickle by another way": _call("torch.serialization:load", MARK),
    "a compiler": _call("torch.utils.cpp_extension:load", "x", [MARK]),
    "our command line": _call("selftrain.cli.main:main", ["train"]),
    "our entry point": _call("selftrain.__main__:main"),
    "our engine": _call("selftrain.engine.loop:fit"),
    "a module of a room": _call("torch.nn.modules.module:torch.hub.load", "evil/repo", "net"),
    "a re-export": _call("torch.nn.modules.module:warnings.warn", "x"),
    "a function of a room": _call("torchvision.models.resnet:resnet18", weights="DEFAULT"),
    "a maker of networks": _call("timm.models:create_model", "resnet18", pretrained=True),
    "a reader of weights": _call("selftrain.networks.optim:weights_of", MARK),
    "dunder": _call("torch.nn.modules.linear:Linear.__init__.__globals__"),
    "a private module": _call("torch.nn.modules.__builtins__:exec", "1"),
    "no room": _call("torch.nn.modulesevil:Net"),
    "a name of the file system": _call("../evil:Net"),
    "nothing": _call(""),
    "no text": _call(["os"]),
    "a class of no kind": _call("torch.nn.modules.module:_IncompatibleKeys", [], []),
    "an optimizer": _call("torch.optim.sgd:SGD", [], lr=1),
    "a traced module": _call("torch.fx.graph_module:GraphModule", {}, {}),
    "a partial": {"partial": {"name": "os:system"}, "args": [f"touch {MARK}"], "settings": {}},
    "a partial of a room": {"partial": {"name": "torch.hub:load"}, "args": [], "settings": {}},
    "a function": {"name": "os:system"},
    "a function by way of a library": {"name": "torch.nn.functional:torch.compile"},
    "a partial by way of a library": {
        "partial": {"name": "torch.nn.functional:torch.from_file"},
        "args": [MARK],
        "settings": {"shared": True, "size": 1},
    },
    "a function of a library": {"name": "torch.nn.functional:handle_torch_function"},
    "a deep list": functools.reduce(lambda inner, _: [inner], range(900), 0),
}


def places(record):
    """A record with something else in the place of each of its parts, by the name of the place."""
    settings = record["strategy"]["settings"]
    network = settings["make_learner"]["learner"]
    yield "strategy", record, "strategy"
    yield "task", settings, "task"
    yield "select", settings, "select"
    yield "learner", settings, "make_learner"
    yield "network", network, 0
    yield "encoder", network[0]["settings"], "encoder"
    yield "optimizer", settings["make_learner"]["training"]["settings"], "optimizer"
    yield "training", settings["make_learner"], "training"
    yield "views", record, "views"
    yield "weak views", record["views"]["settings"], "weak"
    yield "name of the data", record["pile"]["settings"], "name"


@pytest.mark.one_in(6, "a process", "a shell", "of a room", "of a library")
@pytest.mark.parametrize("trust", [False, True])
@pytest.mark.parametrize("name", HOSTILE)
def test_a_strangers_folder_runs_nothing(name, trust, run, tmp_path, monkeypatch, recwarn):
    monkeypatch.chdir(tmp_path)
    Path("evil.py").write_text(f"open({MARK!r}, 'w')")
    called = []
    monkeypatch.setattr(torch.hub, "load", lambda *values, **settings: called.append("hub"))
    monkeypatch.setattr(torch.utils, "cpp_extension", None, raising=False)
    original = (run.out / "rebuild.json").read_text()
    for place, _, _ in list(places(json.loads(original))):
        record = json.loads(original)
        holder, key = next((h, k) for p, h, k in places(record) if p == place)
        holder[key] = HOSTILE[name]
        (run.out / "rebuild.json").write_text(json.dumps(record))
        loaded = set(sys.modules)
        try:
            opened = st.open_run(run.out, trust=trust)
            opened.evaluate()
        except st.SelftrainError:
            pass
        else:
            # A part that predictions do without is stood in for by one that says so when it is used.
            assert place in ("select", "weak views"), place
        assert not Path(MARK).exists()
        assert not called
        if not trust:
            assert not {"selftrain.cli.main", "torch.utils.cpp_extension", "evil"} & (set(sys.modules) - loaded)


@pytest.mark.parametrize(
    "reader", ["os:system", "selftrain.data:split", "selftrain.data.readers.datasets:_torchvision", 3, None]
)
def test_data_are_read_by_readers_alone(reader, run):
    record = read_record(run.out)
    record["pile"]["reader"] = reader
    (run.out / "rebuild.json").write_text(json.dumps(record))
    with pytest.raises(st.RunFolderError, match="not read from files; pass it|pile.reader is (3|None), not text"):
        st.open_run(run.out).evaluate()


def test_what_is_trusted_is_shown_before_it_is_imported(tmp_path, pile, monkeypatch):
    (tmp_path / "their_net.py").write_text(
        "import warnings\nwarnings.warn('imported')\nfrom torch import nn\n\n\nclass Net(nn.Sequential):\n"
        "    def __init__(self):\n        super().__init__(nn.Flatten(), nn.Linear(64, 10))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    from their_net import Net  # type: ignore[import-not-found]

    run = st.fit(strategies.Supervised(st.Classification(10), st.learner(Net)), pile, out=tmp_path / "run", **QUICK)
    del sys.modules["their_net"]
    with pytest.raises(st.RunFolderError, match=r"their_net:Net is of none of selftrain.*network=...\)"):
        st.open_run(run.out)
    assert "their_net" not in sys.modules
    with pytest.warns(UserWarning, match="is trusted: it has their_net:Net imported") as shown:
        again = st.open_run(run.out, trust=True)
    assert again.evaluate() == run.evaluate()
    assert "is trusted" in str(shown[0].message)
