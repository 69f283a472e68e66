"""Wrong calls are answered with argument, value and remedy: as new users make them, and of any setting of any part."""

import inspect
import re
from pathlib import Path

import pytest
import remedies
import wrong_calls
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from wrong_calls import TASK, make, vit

import selftrain as st
from selftrain import arguments, catalog, data

# What a class needs beside the setting that is wrong.
NEEDED = {"task": TASK, "make_learner": make(), "encoder": vit(), "unlabeled": 24, "label_shape": (3,), "groups": 3}
DOORS = {
    **{name: method.make for name, method in catalog.METHODS.items()},
    **{name: make for names in (catalog.VIEWS, catalog.TASKS, *catalog.PARTS.values()) for name, make in names.items()},
    **{make.__name__: make for make in (st.pretrain.MAE, st.pretrain.IJEPA, st.pretrain.LeJEPA, st.pretrain.SimCLR)},
    **{make.__name__: make for make in (st.BatchPlan, st.Evaluation, st.Checkpoints, st.Training, st.learner)},
    **{make.__name__: make for make in (data.load, data.from_folder, data.from_table, data.from_dataset)},
    **{make.__name__: make for make in (data.from_path, st.select.above, st.select.top, st.select.quantile)},
    **{make.__name__: make for make in (st.fit, st.evaluate, st.label_pile, st.export, st.open_run, st.pretrained)},
    "from_arrays": data.Pile.from_arrays,
    "select_snapshot": st.select_snapshot,
}


class Odd:
    """A value that fits nothing."""


@pytest.mark.parametrize(
    "call", [pytest.param(call, id=f"{kind}-{call.name}".replace(" ", "_")) for kind, call in wrong_calls.calls()]
)
def test_a_wrong_call_is_refused_or_told(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    what, text = wrong_calls.answer(call)
    assert what == "answered", text
    assert remedies._RAISED.search(text) or re.search("; |: |Call |Pass |Reshape |requires ", text), text
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("door", DOORS)
def test_a_setting_of_another_kind_is_refused_by_name(door):
    make = DOORS[door]
    make = getattr(make, "func", make)
    hints = arguments._hints(make.__init__ if isinstance(make, type) else make)
    known = {name: p for name, p in inspect.signature(make).parameters.items() if p.kind is not p.VAR_POSITIONAL}
    assert hints.keys() - {"return"} or known.keys() <= {"kwargs"}, "annotations that cannot be read check nothing"
    given = {name: NEEDED[name] for name in known if name in NEEDED}
    asked = {name: hint for name, hint in hints.items() if name in known and not arguments.fits(Odd(), hint)}
    for name in asked:
        missing = [n for n, p in known.items() if p.default is p.empty and n not in given and n != name]
        if not any(n in hints and not arguments.fits(None, hints[n]) for n in missing):
            with pytest.raises(ValueError, match=f"^{name} is an? Odd; (give|make)"):
                make(**(given | dict.fromkeys(missing) | {name: Odd()}))


def test_what_stands_in_for_a_class_and_what_is_nearly_a_number_fit():
    for value, hint in [
        (1, float),
        (True, bool),
        (0, bool),
        (Path("x"), str | Path),
        (TASK, st.tasks.Task),
        ((1, 2), tuple[int, int]),
        ([1, 2], tuple[int, int]),
        (st.cosine(), st.schedule.Schedule),
        (lambda progress: 1.0, st.schedule.Schedule | None),
        (st.toy.pile("classification"), st.types.Pile),
    ]:
        assert arguments.fits(value, hint), (value, hint)
    for value, hint in [(True, int), (1.5, int), (st.cosine, st.schedule.Schedule), (st.Classification, st.tasks.Task)]:
        assert not arguments.fits(value, hint), (value, hint)


def test_an_estimator_of_ones_own_names_what_it_is_called_with_and_is_cloned_as_before():
    class Own(st.SelfTrainClassifier):
        def __init__(self, *, steps=3, strength=1):
            super().__init__(steps=steps)
            self.strength = strength

    assert clone(Own(strength=2)).get_params() == {"steps": 3, "strength": 2}
    assert Own().set_params(strength=3).strength == 3
    wrapped = st.wrapper.SelfTraining(LogisticRegression())
    assert wrapped.set_params(estimator__C=3.0).estimator.C == 3.0  # of what it is made of
    for change in ({"strenth": 2}, {"strenth__C": 2}):
        with pytest.raises(ValueError, match="Own has no setting 'strenth.*'; did you mean 'strength'?"):
            Own().set_params(**change)


def test_what_others_declare_is_their_own_affair():
    class Own(st.strategies.FixMatch):
        def __init__(self, task, make_learner, *, strength: int = 1):
            super().__init__(task, make_learner)
            self.strength = strength

    assert Own(TASK, make(), strength="strong").strength == "strong"
