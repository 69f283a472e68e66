"""``fit`` by names: what follows from the pile, what is said of it, and that such a run is as exact as any other."""

import inspect
import re
from functools import partial
from io import StringIO

import numpy as np
import pytest
import torch
from helpers import same, snapshot

import selftrain as st
from selftrain import pretrain, strategies
from selftrain.data import ArraySet, Pile
from selftrain.errors import UsageError
from selftrain.front.door import TRAINING
from selftrain.handlers import DataSummary, Handler
from selftrain.networks.by_name import make_network
from selftrain.types import BatchPlan

RNG = np.random.RandomState(0)
X = (RNG.normal(size=(60, 5)) + 3 * np.eye(5)[np.arange(60) % 3]).astype(np.float32)
Y = np.where(np.arange(60) < 24, np.arange(60) % 3, -1)
PLAN, QUIET = BatchPlan(6, seed=3), {"handlers": [DataSummary(False)]}
SHORT = {"steps": 3, "plan": PLAN, **QUIET}


@pytest.fixture(scope="module")
def pile():
    parts = (slice(18), slice(24, None), slice(18, 24), slice(9))
    made = [ArraySet(X[rows], None if rows.start == 24 else torch.tensor(Y[rows])) for rows in parts]
    return Pile(*made)


def by_hand():
    """What ``fit("fixmatch", pile, steps=3)`` stands for."""
    torch.manual_seed(3)
    make = st.learner(lambda: make_network("mlp", "table", (5,), 3), training=TRAINING)
    return strategies.FixMatch(st.Classification(3), make, decay=0.0)  # 3 steps are too few for an average


def test_a_name_a_class_and_a_partial_are_the_strategy_that_is_built_by_hand(pile):
    wanted = snapshot(st.fit(by_hand(), pile, **SHORT).strategy)
    for named in ("fixmatch", "FixMatch", strategies.FixMatch, "fixmatch(unlabeled_weight=1.0)"):
        before = torch.get_rng_state()
        run = st.fit(named, pile, **SHORT)
        assert same(wanted, snapshot(run.strategy)), named
        assert torch.equal(before, torch.get_rng_state())
    assert list(run.last) == ["validation", "test"]  # the test set is watched
    other = [st.fit(one, pile, **SHORT) for one in ("fixmatch(decay=0.5)", partial(strategies.FixMatch, decay=0.5))]
    assert same(*(snapshot(run.strategy) for run in other))
    assert not same(wanted, snapshot(other[0].strategy))


def test_a_run_by_its_name_says_what_was_chosen_and_is_rebuilt_and_resumed(pile, tmp_path, capsys):
    settings = {"steps": 4, "plan": PLAN, "pretrain": "vicreg", "baseline": True}
    whole = st.fit("fst", pile, out=tmp_path / "whole", **settings)
    said = capsys.readouterr().err.splitlines()
    assert [line for line in said if line.startswith(("strategy", "network", "start", "device"))][:3] == [
        "strategy   fst, 4 steps of 6 labeled and 12 unlabeled rows",
        "network    mlp, for table data",
        "start      vicreg, 4 steps",
    ]
    assert sum(line.startswith("data ") for line in said) == 1
    assert whole.baseline is not None
    assert (tmp_path / "whole" / "pretrain" / "summary.json").is_file()
    again = st.open_run(tmp_path / "whole")
    assert same(snapshot(again.strategy), snapshot(whole.strategy))
    # stopped in the stage, then in the run
    cut = tmp_path / "cut"
    with pytest.raises(RuntimeError, match="killed"):
        st.fit("fst", pile, out=cut, handlers=[Killed()], checkpoints=st.Checkpoints(1), **settings)
    assert not (cut / "run.json").exists()
    with pytest.raises(st.RunFolderError, match="already holds a run; pass resume=True"):
        st.fit("fst", pile, out=cut, **settings)
    st.fit("fst", pile, out=cut, resume=True, checkpoints=st.Checkpoints(1, stop_after=2), **settings)
    rest = st.fit("fst", pile, out=cut, resume=True, **settings)
    assert same(snapshot(rest.strategy), snapshot(whole.strategy))
    assert rest.baseline == whole.baseline
    with pytest.raises(st.RunFolderError, match="other settings"):
        st.fit("fst(depth=2)", pile, out=cut, resume=True, **settings)
    # the run of a stage, or its folder, is a start as well
    starts = (tmp_path / "whole" / "pretrain", str(tmp_path / "whole" / "pretrain"), st.open_run(cut / "pretrain"))
    found = [snapshot(st.fit("fst", pile, pretrain=one, **SHORT | {"steps": 4}).strategy) for one in starts]
    assert all(same(one, snapshot(whole.strategy)) for one in found)
    own = st.fit("fst", pile, pretrain=f"pretrained:{cut / 'pretrain'}", out=tmp_path / "own", **SHORT | {"steps": 4})
    assert same(snapshot(st.open_run(tmp_path / "own").strategy), snapshot(own.strategy))
    with pytest.raises(st.RunFolderError, match="without this stage before it; leave pretrain out"):
        st.fit("fst", pile, out=tmp_path / "whole", resume=True, **settings | {"pretrain": ["vicreg", "lejepa"]})
    alone = {"steps": 2, "plan": PLAN, "out": tmp_path / "alone", "resume": True}
    st.fit("fst", pile, **alone | {"resume": False})
    with pytest.raises(st.RunFolderError, match="leave pretrain out"):
        st.fit("fst", pile, pretrain="vicreg", **alone)
    st.fit("fst", pile, **alone)


class Killed(Handler):
    """Ends the first run after its second step."""

    def end_step(self, step):
        if step == 2:
            raise RuntimeError("killed")


def test_stages_follow_one_another(pile):
    run = st.fit("supervised", pile, pretrain=[pretrain.LeJEPA, "vicreg"], **SHORT)
    first = st.fit("supervised", pile, pretrain=pretrain.LeJEPA, **SHORT)
    assert not same(snapshot(run.strategy), snapshot(first.strategy))
    with pytest.raises(UsageError, match="trained already stands first"):
        st.fit("supervised", pile, pretrain=["vicreg", first], **SHORT)


def test_the_length_of_a_run_by_its_name_suits_its_pile(pile):
    said = {}
    for batch, ratio in ((6, 2.0), (1, 1.0), (1, 0.1)):
        told, plan = StringIO(), BatchPlan(batch, ratio)
        short = {"checkpoints": st.Checkpoints(stop_after=1), "handlers": [DataSummary(file=told)]}
        st.fit("supervised", pile, plan=plan, **short)
        said[batch, ratio] = int(re.search(r"supervised, ([\d,]+) steps", told.getvalue())[1].replace(",", ""))
    assert said == {(6, 2.0): 300, (1, 1.0): 360, (1, 0.1): 360}  # 36 unlabeled rows, ten times


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"strategy": "fixmach"}, "no strategy 'fixmach'; did you mean fixmatch"),
        ({"pretrain": "maee"}, "no recipe 'maee'; did you mean mae"),
        ({"strategy": 3}, "strategy is 3; give a name such as 'fixmatch'"),
        ({"strategy": "fixmatch(treshold=1)"}, "treshold"),
        ({"strategy": "null"}, "no strategy 'null'"),
        ({"pile": (X, Y)}, "pile is a tuple; make it one: data.Pile.from_arrays"),
        ({"steps": 0}, "at least 1"),
        ({"device": "gpuu"}, "device 'gpuu' cannot be used"),
    ],
)
def test_what_is_misspelled_is_named(pile, wrong, says):
    given = {"strategy": "fixmatch", "pile": pile, **SHORT, **wrong}
    with pytest.raises(ValueError, match=says):
        st.fit(given.pop("strategy"), given.pop("pile"), **given)


def test_a_strategy_that_is_built_needs_its_own_start(pile):
    with pytest.raises(UsageError, match="stage = fit"):
        st.fit(by_hand(), pile, pretrain="mae", **SHORT)
    stage = st.fit(pretrain.VICReg(make_network("mlp", "table", (5,), 3).encoder), pile, **SHORT)
    make = st.learner(lambda: make_network("mlp", "table", (5,), 3), init_from=stage)
    st.fit(strategies.FixMatch(st.Classification(3), make), pile, **SHORT)


def test_fit_has_twelve_settings_and_old_ones_mean_what_they_did(pile, tmp_path):
    assert len(inspect.signature(st.fit).parameters) <= 2 + 12
    first = st.fit(by_hand(), pile, **SHORT)
    new = st.fit(by_hand(), pile, pretrain=first, **SHORT)
    with pytest.warns(DeprecationWarning, match="pass pretrain="):
        old = st.fit(by_hand(), pile, continue_from=first, **SHORT)
    assert same(snapshot(new.strategy), snapshot(old.strategy))
    assert new.before == old.before is not None
    with pytest.raises(TypeError, match="give pretrain alone"):
        st.fit(by_hand(), pile, continue_from=first, pretrain=first, **SHORT)
    length = {"evaluation": st.Evaluation(2), **SHORT}
    with pytest.warns(DeprecationWarning, match="on_alarm of fit will go in 1.0; pass evaluation=Evaluation"):
        run = st.fit("supervised", pile, on_alarm="fallback", out=tmp_path, **length)
    assert run.last.keys() == {"validation", "test"}
    with pytest.raises(ValueError, match="on_alarm is 'none'; choose one of 'stop', 'fallback', 'warn'"):
        st.fit("supervised", pile, on_alarm="none", **length)
