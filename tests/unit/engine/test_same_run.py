"""A resumed run is the run that was started: what may differ when it goes on, and what is refused by name."""

import math

import numpy as np
import pytest
import torch
from torch import nn

import selftrain as st
from selftrain import strategies
from selftrain.data import ArraySet, Pile, TableViews, from_folder
from selftrain.engine.identity import identity_of_run
from selftrain.engine.times import Checkpoints, Evaluation
from selftrain.errors import RunFolderError
from selftrain.handlers import Progress
from selftrain.networks.student import Learner
from selftrain.schedule import cosine
from selftrain.types import BatchPlan

ROWS = 40
X = np.random.default_rng(0).normal(size=(ROWS, 4)).astype("f4")
Y = np.where(np.arange(ROWS) < 12, np.arange(ROWS) % 2, -1)
LENGTH = {"steps": 4, "plan": BatchPlan(labeled=4)}


def pile(x=X, y=Y, **settings):
    held = settings.pop("held", X[:8])
    made = Pile.from_arrays(x, y, **{"views": TableViews(), **settings})
    parts = (made.labeled, made.unlabeled, ArraySet(held, np.arange(8) % 2))
    return Pile(*parts, classes=made.classes, views=settings.get("views", TableViews()), truth=made.unlabeled_truth())


def learner(optimizer=torch.optim.AdamW, schedule=None, clip=None, **settings):
    torch.manual_seed(0)
    network = nn.Linear(4, 2)
    made = optimizer(network.parameters(), **{"lr": 0.01, **settings})
    return Learner(network, made, schedule=schedule or cosine(), max_grad_norm=clip)


def method(**settings):
    return strategies.MeanTeacher(st.Classification(2), lambda: learner(**settings))


def changed(values, row, to):
    values = values.copy()
    values[row] = to
    return values


DATA = {
    "every label": (lambda: pile(y=np.where(Y < 0, -1, 1 - Y)), "data.labeled.labels"),
    "one label": (lambda: pile(y=changed(Y, 3, 0)), "data.labeled.labels"),
    "one label more": (lambda: pile(y=changed(Y, 20, 0)), "data.labeled.rows: was 12, is 13"),
    "one value": (lambda: pile(x=changed(X, (30, 2), 9.0)), "data.unlabeled.inputs"),
    "a labeled value": (lambda: pile(x=changed(X, (3, 2), 9.0)), "data.labeled.inputs"),
    "a unit": (lambda: pile(x=X * 1000), "data.unlabeled.inputs"),
    "order of rows": (lambda: pile(x=np.r_[X[:12], X[:11:-1]]), "data.unlabeled.inputs"),
    "names of rows": (lambda: pile(ids=[f"row {i}" for i in range(ROWS)]), "data.unlabeled.ids"),
    "fewer rows": (lambda: pile(x=X[:39], y=Y[:39]), "data.unlabeled.rows: was 28, is 27"),
    "held-out rows": (lambda: pile(held=X[8:16]), "data.validation.inputs"),
    "names of classes": (lambda: pile(classes=["cat", "dog"]), r"classes: was \['0', '1'\], is \['cat', 'dog'\]"),
    "other views": (lambda: pile(views=TableViews(strong_noise=0.5)), "views.strong_noise: was 0.2, is 0.5"),
    "normalization": (lambda: pile(views=TableViews(mean=0.0, std=2.0)), "views.std"),
}

METHODS = {
    "optimizer": ({"optimizer": torch.optim.SGD}, "optimizers.0.class: was AdamW, is SGD"),
    "kind of Adam": ({"optimizer": torch.optim.Adam, "weight_decay": 0.01}, "optimizers.0.class: was AdamW, is Adam"),
    "weight decay": ({"weight_decay": 0.5}, "optimizers.0.groups.0.weight_decay: was 0.01, is 0.5"),
    "momentum": ({"betas": (0.5, 0.999)}, r"optimizers.0.groups.0.betas: was \[0.9, 0.999\], is \[0.5, 0.999\]"),
    "amsgrad": ({"amsgrad": True}, "amsgrad: was False, is True"),
    "rate": ({"lr": 0.02}, r"learning_rates: was \[\[0.01\]\], is \[\[0.02\]\]"),
    "schedule": ({"schedule": lambda progress: 1 - progress}, "optimizers.0.schedule"),
    "a schedule's setting": ({"schedule": cosine(warmup=0.3)}, "optimizers.0.schedule"),
    "clipping": ({"clip": 1.0}, "optimizers.0.max_grad_norm: was None, is 1.0"),
}


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "run"
    st.fit(method(), pile(), out=out, checkpoints=Checkpoints(stop_after=2), **LENGTH)
    return out


@pytest.mark.parametrize("what", DATA)
def test_other_data_are_refused_by_name(stopped, what):
    make, message = DATA[what]
    with pytest.raises(RunFolderError, match=message):
        st.fit(method(), make(), out=stopped, resume=True, **LENGTH)


@pytest.mark.parametrize("what", METHODS)
def test_another_optimizer_or_schedule_is_refused_by_name(stopped, what):
    settings, message = METHODS[what]
    with pytest.raises(RunFolderError, match=message):
        st.fit(method(**settings), pile(), out=stopped, resume=True, **LENGTH)


@pytest.mark.parametrize("what", [*DATA, *METHODS])
def test_ranks_are_compared_by_the_same_list(what):
    make, settings = DATA[what][0] if what in DATA else pile, METHODS[what][0] if what in METHODS else {}
    same = identity_of_run(method(), pile())
    assert same == identity_of_run(method(), pile())
    if what != "rate":  # which is a setting of its own
        assert same != identity_of_run(method(**settings), make())


def test_the_remedy_is_a_new_folder_or_what_was_there(tmp_path):
    out = tmp_path / "run"
    st.fit(method(), pile(), out=out, checkpoints=Checkpoints(stop_after=2), **LENGTH)
    with pytest.raises(RunFolderError, match=r"other data \(.*\); use them, or a new folder"):
        st.fit(method(), DATA["every label"][0](), out=out, resume=True, **LENGTH)
    assert st.fit(method(), DATA["every label"][0](), out=tmp_path / "new", **LENGTH).seconds > 0
    assert st.fit(method(), pile(), out=out, resume=True, **LENGTH).seconds > 0


def test_what_may_differ_goes_on(tmp_path):
    st.fit(method(), pile(), out=tmp_path, checkpoints=Checkpoints(stop_after=2), **LENGTH)
    other = {"steps": 4, "plan": BatchPlan(labeled=4, timeout=50)}
    watched = {"evaluation": Evaluation(every=1), "checkpoints": Checkpoints(every=1), "handlers": [Progress()]}
    run = st.fit(method(), pile(), out=tmp_path, resume=True, **other, **watched)
    assert math.isfinite(run.last["validation"]["accuracy"])


def test_a_run_that_was_stored_before_there_was_a_fingerprint_goes_on(tmp_path):
    import json

    st.fit(method(), pile(), out=tmp_path, checkpoints=Checkpoints(stop_after=2), **LENGTH)
    stored = json.loads((tmp_path / "run.json").read_text())
    for name in ("data", "classes", "views", "optimizers", "defaults"):
        del stored[name]
    (tmp_path / "run.json").write_text(json.dumps(stored))
    st.fit(method(), pile(), out=tmp_path, resume=True, **LENGTH)
    assert json.loads((tmp_path / "export.json").read_text())["steps"] == LENGTH["steps"]


def test_a_default_that_a_constructor_filled_in_is_compared(tmp_path, monkeypatch):
    """Another version of the library may fill in something else."""
    make = lambda: strategies.MeanTeacher(st.Classification(2), learner)  # noqa: E731
    st.fit(make(), pile(), out=tmp_path, checkpoints=Checkpoints(stop_after=2), **LENGTH)
    later = make()
    later.pseudo_labeling.rampup = st.schedule.ramp_linear(0.1)
    with pytest.raises(RunFolderError, match="defaults.rampup"):
        st.fit(later, pile(), out=tmp_path, resume=True, **LENGTH)


def pictures(folder, color=0):
    from PIL import Image

    for number in range(6):
        place = folder / "ab"[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (40 * number, color if number == 4 else 0, 0)).save(place / f"{number}.png")
    return folder


def test_pictures_that_moved_are_the_same_and_one_that_changed_is_not(tmp_path):
    first, moved, other = (pictures(tmp_path / name, color) for name, color in (("1", 0), ("2", 0), ("3", 200)))
    found = [from_folder(folder, size=8).fingerprint() for folder in (first, moved, other)]
    assert found[0] == found[1]
    assert found[0]["labeled"]["inputs"] != found[2]["labeled"]["inputs"]


def test_inputs_that_are_drawn_anew_are_not_compared():
    class Drawn:
        annotations, ids = None, ["a", "b"]

        def __len__(self):
            return 2

        def images(self, index):
            return torch.rand(len(index), 4)

    made = Pile(ArraySet(X, Y % 2), Drawn(), views=TableViews(mean=0.0, std=1.0))
    assert made.fingerprint()["unlabeled"].keys() == {"rows", "ids"}
