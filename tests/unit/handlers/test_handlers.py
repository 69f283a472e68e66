"""What handlers are told, who takes whose place, and the keywords of version 0.1."""

import inspect
import warnings

import pytest
import torch
from helpers import MemoryPile, mlp, sgd_learner

import selftrain as st
from selftrain.engine.watchers import with_defaults
from selftrain.handlers import Handler, MetricsLog, NonFiniteGuard, Progress, SelfCheck, Snapshots
from selftrain.runtime.distributed import Ranks
from selftrain.runtime.distributed import group as ranks_module
from selftrain.storage import checkpoint
from selftrain.strategies import FixMatch
from selftrain.tensorboard import Dashboard, TensorBoard
from selftrain.types import BatchPlan

PLAN = BatchPlan(labeled=4, unlabeled_ratio=2.0)


def fit(folder=None, seed=0, **settings):
    strategy = FixMatch(st.Classification(3), lambda: sgd_learner(mlp(seed)), decay=0.9)
    return st.fit(strategy, MemoryPile(), out=folder, **{"plan": PLAN, "steps": 6} | settings)


class Recording(Handler):
    """Writes down every event; remembers over a stop how many steps it has seen."""

    def __init__(self):
        self.events, self.seen = [], 0

    def begin(self, context):
        self.seen = 0
        self.events.append(("begin", context.start))

    def before_step(self, step):
        self.events.append(("before", step))

    def after_step(self, step, report):
        self.seen += 1
        self.events.append(("after", step))

    def after_evaluation(self, step, figures):
        self.events.append(("evaluated", step, sorted(figures)))

    def end_step(self, step):
        self.events.append(("done", step))

    def end(self):
        self.events.append(("end",))

    def close(self):
        self.events.append(("close",))

    def state_dict(self):
        return {"seen": self.seen}

    def load_state_dict(self, state):
        self.seen = state["seen"]


def test_events_come_in_order(tmp_path):
    watcher = Recording()
    fit(tmp_path, steps=2, evaluation=st.Evaluation(every=2), handlers=[watcher])
    assert watcher.events == [
        ("begin", 0), ("before", 1), ("after", 1), ("done", 1),
        ("before", 2), ("after", 2), ("evaluated", 2, ["validation"]), ("done", 2), ("end",), ("close",),
    ]  # fmt: skip


def test_what_a_handler_remembers_is_stored_under_its_name(tmp_path):
    fit(tmp_path, handlers=[Recording(), Recording()], checkpoints=st.Checkpoints(stop_after=4))
    stored = checkpoint.load_newest(tmp_path / "checkpoints")["handlers"]
    assert (stored["Recording"], stored["Recording 2"]) == ({"seen": 4}, {"seen": 4})
    watchers = [Recording(), Recording()]
    fit(tmp_path, seed=1, handlers=watchers, resume=True)
    assert [watcher.seen for watcher in watchers] == [6, 6]
    assert watchers[0].events[:2] == [("begin", 4), ("before", 5)]


def test_a_finished_run_that_is_resumed_does_not_end_twice(tmp_path):
    fit(tmp_path)
    watcher = Recording()
    fit(tmp_path, handlers=[watcher], resume=True)
    assert watcher.events == [("begin", 6), ("close",)]


def test_a_handler_that_was_not_there_before_joins_a_resumed_run(tmp_path):
    fit(tmp_path, checkpoints=st.Checkpoints(stop_after=4))
    watcher = Recording()
    fit(tmp_path, handlers=[watcher], resume=True)
    assert watcher.seen == 2


def test_a_handler_may_watch_one_run_after_another():
    watcher, log = Recording(), MetricsLog(4)
    runs = [fit(handlers=[watcher, log], steps=6) for _ in range(2)]
    assert watcher.seen == 6
    assert runs[0].train == runs[1].train


def test_one_is_closed_when_the_run_fails():
    class Failing(Handler):
        def after_step(self, step, report):
            raise KeyError("as the script says")

    watcher = Recording()
    with pytest.raises(KeyError):
        fit(handlers=[watcher, Failing()])
    assert watcher.events[-1] == ("close",)
    assert ("end",) not in watcher.events


def test_one_of_a_class_takes_the_place_of_that_class():
    class Quiet(MetricsLog):
        pass

    usual = [type(handler) for handler in with_defaults(())]
    own, last = Quiet(3), Recording()
    found = with_defaults([last, own])
    assert found[usual.index(MetricsLog)] is own
    assert found[-1] is last
    assert [type(handler) for handler in found[:-1]] == [Quiet if kind is MetricsLog else kind for kind in usual]
    with pytest.raises(TypeError, match="is no handler; derive its class"):
        with_defaults([MetricsLog])


def test_a_handler_sees_what_others_log(tmp_path):
    class Tracker(Handler):
        def __init__(self):
            self.names = set()

        def log_scalars(self, values, step):
            self.names |= set(values)

    tracker = Tracker()
    fit(tmp_path, handlers=[tracker, MetricsLog(2)])
    assert {"train/loss/supervised", "validation/accuracy", "ledger/accepted"} <= tracker.names


def test_watching_changes_nothing():
    off = [SelfCheck(False), NonFiniteGuard(0), Progress(False), TensorBoard(False)]
    one, two = (fit(handlers=handlers).strategy.state_dict() for handlers in (off, ()))
    assert all(torch.equal(v, two[k]) for k, v in one.items() if torch.is_tensor(v))


# -- the surface -------------------------------------------------------------------------------------------------------
def test_fit_has_thirteen_settings():
    names = list(inspect.signature(st.fit).parameters)
    assert names[:2] == ["strategy", "pile"]
    assert len(names) <= 15


OLD = {
    "eval_every": 2, "monitor": {"more": "test"}, "checkpoint_every": 3, "stop_after": 5, "log_every": 3,
    "self_check": False, "snapshots": 2, "progress": False, "dashboard": Dashboard(pictures=3), "skip_limit": 4,
}  # fmt: skip


def test_old_keywords_do_what_they_did_and_warn_their_caller(tmp_path):
    with pytest.warns(DeprecationWarning, match="eval_every.* of fit will go in 1.0; pass evaluation=") as found:
        old = fit(tmp_path / "old", **OLD)
    assert found[0].filename == __file__
    handlers = [MetricsLog(3), SelfCheck(False), Snapshots(2), Progress(False), TensorBoard(Dashboard(pictures=3))]
    new = fit(
        tmp_path / "new",
        evaluation=st.Evaluation(2, {"more": "test"}),
        checkpoints=st.Checkpoints(3, 5),
        handlers=[*handlers, NonFiniteGuard(4)],
    )
    assert (old.last, old.train) == (new.last, new.train)
    files = [sorted(p.relative_to(run.out) for p in run.out.rglob("*.[jps]*") if p.is_file()) for run in (old, new)]
    assert files[0] == files[1]
    for name in ("run.json", "metrics.jsonl"):
        assert (tmp_path / "old" / name).read_text() == (tmp_path / "new" / name).read_text()


def test_nothing_is_said_twice():
    with pytest.raises(TypeError, match="eval_every is the old name of what evaluation says; give evaluation alone"):
        fit(eval_every=2, evaluation=st.Evaluation(3))
    with pytest.raises(ValueError, match="handlers holds 2 of MetricsLog; give one"):
        fit(handlers=[MetricsLog(2), MetricsLog(3)])


@pytest.mark.parametrize("name", OLD)
def test_each_old_keyword_warns(name, tmp_path):
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        fit(tmp_path, steps=2, **{name: OLD[name]})
    said = [str(warning.message) for warning in found if warning.category is DeprecationWarning]
    assert [text.startswith(f"{name} of fit will go in 1.0") for text in said] == [True]


def test_ranks_hold_for_the_block_that_they_open():
    own = Ranks(batchnorm="own")
    with own:
        assert ranks_module._chosen[-1] is own
    assert ranks_module._chosen[-1] == Ranks()
    with pytest.warns(DeprecationWarning, match="ranks of fit will go"):
        fit(steps=1, ranks=own)
    assert ranks_module._chosen[-1] == Ranks()
