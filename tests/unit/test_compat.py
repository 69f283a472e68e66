"""Old paths and names go on working until 1.0, each with one warning that says what to write instead."""

from __future__ import annotations

import sys
import warnings
from importlib import import_module

import pytest
import torch

import selftrain as st
from selftrain import toy
from selftrain._compat import MOVED, RENAMED


@pytest.fixture
def unloaded():
    """No old path has been imported yet; afterwards everything is as it was, functions of the same name included."""
    loaded = {name: module for name, module in sys.modules.items() if name.startswith("selftrain")}
    held = {name: dict(vars(module)) for name, module in loaded.items()}
    for old in MOVED:
        sys.modules.pop(f"selftrain.{old}", None)
    yield
    for name in [name for name in sys.modules if name.startswith("selftrain.") and name not in loaded]:
        if name.removeprefix("selftrain.") in MOVED:
            del sys.modules[name]
    for name, module in loaded.items():
        for added in set(vars(module)) - set(held[name]):
            if f"{name}.{added}".removeprefix("selftrain.") in MOVED:
                delattr(module, added)
    st.__dict__.pop("learner", None)  # looked up anew


def told(action):
    """What an action returns, and the deprecations it tells."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = action()
    return result, [
        w for w in caught if issubclass(w.category, DeprecationWarning) and "the old name" in str(w.message)
    ]


@pytest.mark.usefixtures("unloaded")
def test_every_old_path_imports_with_one_warning_and_has_the_names_of_the_new_one():
    wrong = []
    for old, new in MOVED.items():
        module, warned = told(lambda old=old: import_module(f"selftrain.{old}"))
        moved = import_module(f"selftrain.{new}")
        texts = [str(warning.message) for warning in warned]
        if texts != [f"selftrain.{old} is selftrain.{new} now; the old name goes in 1.0"]:
            wrong.append((old, texts))
        wrong += [(old, name) for name in vars(moved) if not name.startswith("__") and not hasattr(module, name)]
    assert wrong == []


@pytest.mark.usefixtures("unloaded")
def test_the_warning_is_that_of_the_line_that_imports():
    _, (warning,) = told(lambda: exec(compile("import selftrain.rules", "users_own.py", "exec"), {}))
    assert warning.filename == "users_own.py"


@pytest.mark.usefixtures("unloaded")
def test_the_old_module_of_learners_leaves_the_function_callable():
    module, _ = told(lambda: import_module("selftrain.learner"))
    from selftrain.networks.student import Learner

    assert module.Learner is Learner
    make = st.learner(lambda: st.Classifier(st.ConvEncoder(size=8, embed_dim=4), classes=2), lr=0.1)
    assert isinstance(make(), Learner)


@pytest.mark.usefixtures("unloaded")
def test_setting_a_name_of_an_old_module_sets_it_in_the_new_one():
    old, _ = told(lambda: import_module("selftrain.probes"))
    new = import_module("selftrain.metrics.features")
    own = new.rankme
    try:
        old.rankme = len
        assert new.rankme is len
    finally:
        new.rankme = own


@pytest.mark.usefixtures("unloaded")
def test_every_old_name_is_the_new_one_with_one_warning():
    wrong = []
    for module, names in RENAMED.items():
        home, _ = told(lambda module=module: import_module(module))
        for old, new in names.items():
            value, warned = told(lambda home=home, old=old: getattr(home, old))
            place, _, name = new.rpartition(".")
            if value is not getattr(import_module(place or module), name) or len(warned) != 1:
                wrong.append((module, old, [str(warning.message) for warning in warned]))
    assert wrong == []


def test_a_name_that_never_was_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'selftrain' has no attribute 'nonsense'"):
        st.nonsense  # noqa: B018
    with pytest.raises(ModuleNotFoundError):
        import_module("selftrain.nonsense")
    assert not hasattr(toy, "nonsense")


def test_old_methods_warn_and_call_the_new_ones():
    learner = toy.learner("classification")()
    learner.eval()
    x = torch.ones(2, 1, 12, 12)
    both, warned = told(lambda: learner.together(x, -x))
    assert [str(warning.message) for warning in warned] == [
        "Learner.together is __call__ now; the old name goes in 1.0"
    ]
    assert all(torch.equal(a, b) for a, b in zip(both, learner(x, -x), strict=True))
    labels = st.PseudoLabelTable(toy.task("classification"), torch.eye(3))
    found, warned = told(lambda: labels.guess(torch.tensor([2]), hard=True))
    assert [warning.filename for warning in warned] == [__file__]
    assert torch.equal(found.target.value, torch.eye(3)[2:])
