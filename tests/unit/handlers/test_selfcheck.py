"""Every alarm is provoked by a broken method and stays silent on a sound one; looking changes nothing."""

import contextlib
import json
import math
import re
import threading
import warnings

import numpy as np
import pytest
import torch
import zoo
from helpers import MemoryPile, mlp, normed, same, sgd_learner, snapshot
from plain_events import PlainEvents as EventAccumulator

import selftrain as st
from selftrain import select, strategies, toy
from selftrain.errors import CheckpointError, RunFolderError, TrainingError
from selftrain.evaluation import paired
from selftrain.evaluation.class_shares import labeled_shares
from selftrain.evaluation.paired import clearly_worse
from selftrain.handlers.base import Context
from selftrain.handlers.baseline import SupervisedBaseline
from selftrain.handlers.gradcheck import NotMeasured, unsupervised_grad_norm
from selftrain.handlers.selfcheck import KINDS, REMEDIES, Alarm, SelfCheck, SelfTrainingWarning, _excerpt
from selftrain.metrics.significance import class_distance, clearly_below, collapsed, drifted, effective_classes
from selftrain.networks.optim import weights_of
from selftrain.storage import checkpoint
from selftrain.strategy.base import Strategy
from selftrain.strategy.single import SingleStudent
from selftrain.tensorboard import TensorBoard
from selftrain.types import Annotated, Batch, BatchPlan, Clock, Labeled, PseudoLabels, Report, Target

PLAN = BatchPlan(labeled=4, unlabeled_ratio=2.0)  # 8 of 40 unlabeled samples: 5 steps an epoch
TASK, CPU = st.Classification(3), torch.device("cpu")
LATE = Clock(90, 0, 100)


class Own(SingleStudent):
    """Labels its weak view, learns its strong one; every part can be broken."""

    views = ("weak", "strong")

    def __init__(self, *, rule=None, decay=None, seed=0, rampup=lambda progress: 1.0, network=mlp, **student):
        super().__init__(TASK, lambda: sgd_learner(network(seed), **student), decay=decay)
        self.select, self.rampup = rule, rampup

    def value(self, batch):
        return self.task.probs(self.student.label(batch.unlabeled["weak"].x))

    def weight(self, value, clock):
        return torch.ones(len(value))

    def losses(self, batch, clock):
        value = self.value(batch)
        labels = PseudoLabels(batch.unlabeled.index, value, self.weight(value, clock))
        supervised = self.task.loss(self.student(batch.labeled.x), batch.labeled.target)
        guess = Target(self.task.harden(value), labels.weight)
        return supervised, self.task.loss(self.student(batch.unlabeled["strong"].x), guess), labels

    def advance(self, loss):
        if self.student.update(loss) and self.ema is not None:
            self.ema.update(self.student.model)

    def step(self, batch, clock, *extra):
        supervised, unsupervised, labels = self.losses(batch, clock)
        self.advance(supervised + self.rampup(clock.progress) * unsupervised)
        return Report({"loss/unsupervised": unsupervised.detach()}, labels)


class Detached(Own):
    def step(self, batch, clock, *extra):
        supervised, unsupervised, labels = self.losses(batch, clock)
        self.advance(supervised + unsupervised.detach())
        return Report({}, labels)


class Forgotten(Own):
    def step(self, batch, clock, *extra):
        supervised, unsupervised, labels = self.losses(batch, clock)
        self.advance(supervised)
        return Report({"loss/unsupervised": unsupervised.detach()}, labels)


class OnlyAhead(Own):
    """The unlabeled samples reach virtual steps alone."""

    def step(self, batch, clock, *extra):
        with self.student.virtual():
            supervised, unsupervised, labels = self.losses(batch, clock)
            self.student.update(unsupervised)
        self.advance(self.losses(batch, clock)[0])
        return Report({}, labels)


class InTurn(Own):
    """First the unlabeled samples, then the labels: the gradient norm that stays is the labels'."""

    def step(self, batch, clock, *extra):
        unsupervised, labels = self.losses(batch, clock)[1:]
        self.student.update(unsupervised)
        self.student.update(self.losses(batch, clock)[0])
        return Report({}, labels)


class Constant(Own):
    """Sees one class everywhere, since ``step`` ``begin``."""

    def __init__(self, begin=0, accept=1000, **settings):
        super().__init__(**settings)
        self._begin, self._accept = begin, accept

    def value(self, batch):
        real = super().value(batch)
        return real if self._now < self._begin else torch.tensor([0.98, 0.01, 0.01]).expand_as(real)

    def step(self, batch, clock, *extra):
        self._now, self._rows = clock.step, batch.unlabeled.index
        return super().step(batch, clock)

    def weight(self, value, clock):
        return (self._rows < self._accept).float()


class Early(Constant):
    """Sees one class everywhere in its first steps."""

    def __init__(self, until, **settings):
        super().__init__(**settings)
        self._until = until

    def value(self, batch):
        self._begin = 0 if self._now < self._until else 10_000
        return super().value(batch)


class Weighted(Own):
    """Weights by a function of the step."""

    def __init__(self, weigh, **settings):
        super().__init__(**settings)
        self._weigh = weigh

    def weight(self, value, clock):
        return self._weigh(clock.step) * torch.ones(len(value))


class Sabotaged(Own):
    """Its teacher forgets everything at every step."""

    def __init__(self, **settings):
        super().__init__(decay=0.5, **settings)

    def step(self, batch, clock, *extra):
        report = super().step(batch, clock)
        for parameter in self.ema.parameters():
            parameter.zero_()
        return report


class Wrong(Own):
    """Calls every class by the name of the next one."""

    def value(self, batch):
        return super().value(batch).roll(1, dims=1)


class Leaky(Own):
    """A function among its attributes holds on to the student: a copy of the strategy trains the original."""

    def __init__(self, **settings):
        super().__init__(**settings)
        self.loss_of = lambda x, target: self.task.loss(self.student(x), target)
        self.move = lambda loss: self.student.update(loss)

    def step(self, batch, clock, *extra):
        labels = self.losses(batch, clock)[2]
        self.move(self.loss_of(batch.labeled.x, batch.labeled.target))
        return Report({}, labels)


class Uncopyable(Own):
    def __init__(self, **settings):
        super().__init__(**settings)
        self._lock = threading.Lock()


class Fragile(Own):
    """Cannot do without the weight of its labels."""

    def step(self, batch, clock, *extra):
        if not batch.labeled.target.weight.any():
            raise TrainingError("no label has weight")
        return super().step(batch, clock)


def fit(strategy, pile=None, *, steps=100, **settings):
    """A run and the self-check's warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run = st.fit(
            strategy, pile or MemoryPile(), steps=steps, **{"plan": PLAN, "handlers": [TensorBoard(False)]} | settings
        )
    return run, [str(w.message) for w in caught if issubclass(w.category, SelfTrainingWarning)]


def kinds(*args, **settings):
    run, messages = fit(*args, **settings)
    assert [m.split(" ")[0] for m in messages] == [a.kind for a in run.alarms]  # each told once
    return [(a.kind, a.step) for a in run.alarms]


def rows(folder, name):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [row for row in lines if name in row]


def board(folder):
    """Scalars (but of speed, which no two runs share) and texts in TensorBoard: name -> [(step, value)]."""
    reader, end = EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 0}).Reload(), "/text_summary"
    names = [name for name in reader.Tags()["scalars"] if not name.startswith("speed/")]
    found = {name: [(e.step, e.value) for e in reader.Scalars(name)] for name in names}
    texts = {n.removesuffix(end): reader.Tensors(n) for n in reader.Tags()["tensors"] if n.endswith(end)}
    return found | {n: [(e.step, e.tensor_proto.string_val[0].decode()) for e in v] for n, v in texts.items()}


def a_batch(strategy):
    return list(next(iter(MemoryPile().stream(strategy.needs(), PLAN, CPU).epoch(0))))


# -- an alarm is heard in three places ---------------------------------------------------------------------------------
def test_an_alarm_is_a_warning_a_text_and_an_entry_of_the_run(tmp_path):
    run, messages = fit(Detached(), out=tmp_path, eval_every=10)
    (alarm,) = run.alarms
    assert (alarm.kind, alarm.step, alarm.figures) == ("no_gradient", 10, {"unsupervised_grad_norm": 0.0})
    assert messages == [f"no_gradient at step 10: {alarm.message} {alarm.remedy}"]
    assert "2 times the unlabeled samples sent no gradient" in alarm.message
    assert "detach" in alarm.remedy
    assert board(tmp_path)["alarm/no_gradient"] == [(10, alarm.text)]
    assert rows(tmp_path, "alarm") == [{"step": 10, "alarm": "no_gradient", "text": alarm.text}]
    plain = {"kind": "no_gradient", "step": 10, "message": alarm.message, "remedy": alarm.remedy}
    plain |= {"figures": {"unsupervised_grad_norm": 0.0}}
    assert json.loads((tmp_path / "summary.json").read_text())["alarms"] == [plain]
    assert checkpoint.load_newest(tmp_path / "checkpoints")["handlers"]["SelfCheck"]["alarms"] == [plain]
    (stored,) = (tmp_path / "checkpoints").glob("*-000000100.pt")
    assert torch.load(stored, weights_only=True)["state"]["handlers"]["SelfCheck"]["alarms"] == [plain]


def test_warnings_have_a_category_of_their_own_to_filter():
    with warnings.catch_warnings():
        warnings.simplefilter("error", SelfTrainingWarning)
        with pytest.raises(SelfTrainingWarning, match="no_gradient at step 10"):
            st.fit(Detached(), MemoryPile(), plan=PLAN, steps=20)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", SelfTrainingWarning)
        assert len(st.fit(Detached(), MemoryPile(), plan=PLAN, steps=20).alarms) == 1


def test_every_kind_has_a_remedy():
    assert set(REMEDIES) == set(KINDS)
    assert all(len(text) > 40 for text in REMEDIES.values())


def test_without_the_check_nothing_is_said(tmp_path):
    run, messages = fit(Detached(), out=tmp_path, self_check=False)
    assert (run.alarms, run.unchecked, messages) == ([], {}, [])
    assert not any(name.startswith(("check/", "alarm/")) for name in board(tmp_path))


# -- no gradient -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "make",
    [Detached, Forgotten, OnlyAhead, lambda: Own(rampup=lambda progress: 0.0), lambda: Detached(accumulate=4)],
)
def test_unlabeled_samples_without_a_gradient_are_found(make):
    assert kinds(make(), steps=20) == [("no_gradient", 10)]


@pytest.mark.parametrize(
    "make",
    [
        Own,
        InTurn,
        lambda: Own(accumulate=4),
        lambda: Own(decay=0.9),
        lambda: Own(rampup=lambda progress: float(progress > 0.8)),  # comes late
        lambda: Own(max_grad_norm=1e-3),
    ],
)
def test_a_gradient_that_arrives_is_no_alarm(make, tmp_path):
    assert kinds(make(), steps=20, out=tmp_path) == []
    ((step, norm),) = board(tmp_path)["check/unsupervised_grad_norm"]
    assert step == 5
    assert norm > 1e-4


def test_where_nothing_is_kept_no_gradient_is_missed(tmp_path):
    run, messages = fit(Weighted(lambda step: 0.0), steps=40, out=tmp_path)
    assert messages == []
    assert "check/unsupervised_grad_norm" not in board(tmp_path)
    assert run.unchecked == {}


def test_the_norm_is_that_of_the_unsupervised_part_alone_late_in_the_stage():
    """By hand: the cross-entropy of the strong view against the weak view's decision, times the ramp-up."""
    strategy, clock = Own(rampup=lambda progress: 3 * progress, accumulate=3), Clock(90, 0, 100)
    (batch,) = a_batch(strategy)
    strategy.student.update(strategy.losses(batch, clock)[0])  # a gradient that waits for two more
    waiting = [p.grad.clone() for p in strategy.student.model.parameters()]
    measured = unsupervised_grad_norm(strategy, [batch], clock, 1, CPU)
    network = mlp()
    decision = network(batch.unlabeled["weak"].x).argmax(1)
    loss = 2.7 * torch.nn.functional.cross_entropy(network(batch.unlabeled["strong"].x), decision)
    grads = torch.autograd.grad(loss, list(network.parameters()))
    assert measured == pytest.approx(torch.cat([g.flatten() for g in grads]).norm().item(), rel=1e-5)
    assert all(torch.equal(p.grad, w) for p, w in zip(strategy.student.model.parameters(), waiting, strict=True))
    assert strategy.student.accumulate == 3


def test_labels_of_batches_drawn_ahead_weigh_nothing_too():
    class Ahead(Own):
        extra_batches = 1

        def step(self, batch, clock, *extra):
            supervised = self.losses(extra[0], clock)[0]
            self.advance(supervised)
            return Report({}, self.losses(batch, clock)[2])

    strategy = Ahead()
    assert len(a_batch(strategy)) == 2
    assert unsupervised_grad_norm(strategy, a_batch(strategy), LATE, 1, CPU) == 0.0


def test_the_moment_that_a_step_on_a_copy_is_told_is_late():
    heard = []
    fit(Own(rampup=lambda progress: heard.append(progress) or 1.0), steps=20)
    assert heard == [i / 20 for i in range(5)] + [0.9] + [i / 20 for i in range(5, 20)]


class Counting(Own):
    """Counts its steps over all copies."""

    def __init__(self, tally, factor):
        super().__init__(rampup=lambda progress: factor)
        self.__dict__["_note"] = tally.append

    def step(self, batch, clock, *extra):
        self._note(clock.step)
        return super().step(batch, clock)


@pytest.mark.parametrize(("factor", "extra"), [(1.0, 1), (0.0, 2)])
def test_no_more_steps_are_taken_than_it_needs(factor, extra):
    tally = []
    fit(Counting(tally, factor), steps=60, eval_every=1)
    assert len(tally) == 60 + extra


def test_steps_that_tell_nothing_are_given_up_after_three():
    """Its units are kept in the run and never late in the stage, as the copy is told."""
    tally = []

    class Shy(Counting):
        def weight(self, value, clock):
            return torch.full((len(value),), float(clock.progress < 0.85))

    run, messages = fit(Shy(tally, 1.0), steps=100, eval_every=20)
    assert len(tally) == 103
    assert messages == []
    assert run.unchecked == {"no_gradient": "3 steps on a copy did not tell whether a gradient arrives"}


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (Uncopyable, "Uncopyable cannot be copied"),
        (Fragile, "a step on a copy with labels that weigh nothing failed.*no label has weight"),
        (Leaky, "a step of its copy changes the strategy itself"),
    ],
)
def test_what_cannot_be_checked_is_said(make, reason, tmp_path):
    run, messages = fit(make(), steps=20, out=tmp_path)
    assert messages == []
    assert set(run.unchecked) - {"not_resumable"} == {"no_gradient"}
    assert ("not_resumable" in run.unchecked) == (make is not Fragile)  # nor does that work on such a copy
    assert re.search(reason, run.unchecked["no_gradient"])
    assert board(tmp_path)["unchecked/no_gradient"] == [(5, run.unchecked["no_gradient"])]
    assert json.loads((tmp_path / "summary.json").read_text())["unchecked"] == run.unchecked


def test_a_copy_that_trains_the_original_is_undone():
    """The strategy's function keeps the original's student: without a way back the run would not be the same."""
    strategy = Leaky(network=normed)
    (batch,) = a_batch(strategy)
    strategy.train()
    strategy.step(batch, LATE)
    before = snapshot(strategy)
    with pytest.raises(NotMeasured, match="changes the strategy itself"):
        unsupervised_grad_norm(strategy, [batch], LATE, 1, CPU)
    assert same(before, strategy.state_dict())
    assert all(p.grad is None for p in strategy.parameters())


# -- looking changes nothing -------------------------------------------------------------------------------------------
@pytest.mark.parametrize("make", [Own, Fragile])
def test_random_numbers_and_mode_are_left_as_found(make):
    strategy = make(network=normed).eval()  # with dropout
    (batch,) = a_batch(strategy)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    norms = set()
    for key in (1, 1, 2):
        with contextlib.suppress(NotMeasured):
            norms.add(unsupervised_grad_norm(strategy, [batch], LATE, key, CPU))
    assert torch.equal(before, torch.get_rng_state())
    assert not strategy.training
    assert len(norms) == (2 if make is Own else 0)  # keyed, and by nothing else


def traces(folder):
    """The log without what the self-check writes, the pseudo-labels and the weights."""
    log = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    log = [row for row in log if not any(key.startswith("check/") or key == "alarm" for key in row)]
    csv = folder / "pseudo_labels.csv"
    return log, csv.read_text() if csv.exists() else None, (folder / "export.safetensors").read_bytes()


OTHERS = {
    "own": lambda: Own(network=normed, decay=0.9),
    "gathering": lambda: Own(network=normed, accumulate=4),
    "broken": lambda: Detached(network=normed),
    "leaky": lambda: Leaky(network=normed),
    "uncopyable": Uncopyable,
}


@pytest.mark.parametrize("name", OTHERS)
def test_training_is_the_same_bit_for_bit(name, tmp_path):
    runs = [fit(OTHERS[name](), steps=31, out=tmp_path / str(on), self_check=on)[0] for on in (True, False)]
    one, two = runs
    assert one.alarms or one.unchecked or "check/unsupervised_grad_norm" in board(tmp_path / "True")
    assert same(one.strategy.state_dict(), two.strategy.state_dict())
    assert same(one.ledger.state_dict(), two.ledger.state_dict())
    assert (one.last, one.best, one.train) == (two.last, two.best, two.train)
    assert traces(tmp_path / "True") == traces(tmp_path / "False")


@pytest.mark.one_in(2)
@pytest.mark.parametrize(
    "name", [n if n in zoo.DENSE else pytest.param(n, marks=pytest.mark.slow) for n in zoo.LEARNING]
)
def test_training_by_every_method_is_the_same_bit_for_bit(name):
    runs = []
    for on in (True, False):
        strategy, pile = zoo.build(name, "classification"), toy.pile("classification")
        runs.append(fit(strategy, pile, steps=12, plan=zoo.PLAN, self_check=on)[0])
    assert not zoo.differences(runs[0].strategy.state_dict(), runs[1].strategy.state_dict())
    assert runs[0].alarms == []


# -- collapse ----------------------------------------------------------------------------------------------------------
MANY = MemoryPile(unlabeled=80)  # 10 steps an epoch


def test_pseudo_labels_of_one_class_are_a_collapse(tmp_path):
    """The second evaluation in a row that shows it, after a fifth of the stage and 50 steps."""
    run, _ = fit(Constant(), MANY, steps=100, eval_every=10, out=tmp_path)
    (alarm,) = run.alarms
    assert (alarm.kind, alarm.step) == ("collapse", 50)
    assert alarm.figures == {"effective": pytest.approx(1.0), "labels": pytest.approx(3.0), "accepted": 80.0}
    assert "The 80 accepted pseudo-labels fall to effectively 1.00 classes" in alarm.message
    logged = board(tmp_path)["check/effective_classes"]
    assert [step for step, _ in logged] == list(range(10, 101, 10))
    assert {value for _, value in logged} == {1.0}


def test_a_collapse_in_the_midst_is_found_and_one_evaluation_is_not_enough():
    assert kinds(Constant(begin=60), MANY, steps=100, eval_every=10) == [("collapse", 80)]
    assert kinds(Constant(begin=90), MANY, steps=110, eval_every=100) == [("collapse", 110)]  # the last counts alone
    assert kinds(Constant(begin=90), MANY, steps=210, eval_every=100, stop_after=109) == []


class Choosy(Own):
    """Knows the classes, and accepts one of them alone."""

    def weight(self, value, clock):
        return (value.argmax(1) == 0).float()


def test_classes_may_be_accepted_one_after_the_other_until_half_of_the_stage():
    pile = MemoryPile(unlabeled=180)
    assert kinds(Choosy(), pile, steps=100, eval_every=10) == [("collapse", 60)]


def test_few_pseudo_labels_are_no_collapse():
    assert kinds(Constant(accept=49), MANY, steps=100, eval_every=10) == []
    assert kinds(Constant(accept=50), MANY, steps=100, eval_every=10) == [("collapse", 50)]


def test_the_first_steps_are_no_collapse_and_the_last_evaluation_is_judged_whatever_its_step():
    """A network that has hardly learned says one class of all; what a run ends with has no later chance."""
    assert kinds(Early(until=40), MANY, steps=100, eval_every=5) == []
    assert kinds(Early(until=40), MANY, steps=40, eval_every=5) == [("collapse", 40)]
    assert kinds(Early(until=60), MANY, steps=100, eval_every=5) == [("collapse", 50)]


def test_pseudo_labels_as_one_sided_as_the_labels_are_no_collapse():
    pile = MemoryPile(unlabeled=80)
    x, y = pile.parts["labeled"]
    pile.parts["labeled"] = (x, torch.zeros_like(y))
    assert kinds(Constant(), pile, steps=100, eval_every=10) == []


def test_annotations_that_are_no_classes_are_not_compared():
    pile = MemoryPile(unlabeled=80)
    whole = pile.evaluation

    def evaluation(part, batch_size, device):
        batches = whole(part, batch_size, device)
        return [type(b)(b.x, b.annotation[:, None], b.index) for b in batches] if part == "labeled" else batches

    pile.evaluation = evaluation
    assert kinds(Constant(), pile, steps=100, eval_every=10) == []


def test_effective_classes_are_exp_of_the_entropy():
    for shares in ([0.5, 0.5], [0.25] * 4, [0.7, 0.2, 0.1, 0.0], [1.0, 0.0]):
        p = np.array([s for s in shares if s > 0])
        assert effective_classes(torch.tensor(shares)) == pytest.approx(np.exp(-(p * np.log(p)).sum()))


@pytest.mark.parametrize(
    ("shares", "prior", "rows", "expected"),
    [
        ([1.0, 0, 0, 0], [0.25] * 4, 60, True),
        ([0.5, 0.5, 0, 0], [0.25] * 4, 10_000, False),  # half of them is not below half
        ([0.52, 0.48, 0, 0], [0.25] * 4, 10_000, True),
        ([1.0, 0], [0.5, 0.5], 60, True),  # no number of classes is below half of two
        ([0.97, 0.03], [0.5, 0.5], 10_000, False),
        ([0.99, 0.01], [0.5, 0.5], 10_000, True),
        ([1.0, 0], [0.95, 0.05], 60, False),  # 60 rows may miss a class of one in 20 by chance
        ([1.0, 0], [0.95, 0.05], 600, True),
        ([0, 1.0], [1.0, 0], 600, False),  # another class, but not fewer
        ([1.0, 0, 0, 0], [0.25] * 4, 5, False),
    ],
)
def test_a_collapse_is_far_and_beyond_noise(shares, prior, rows, expected):
    tensors = (torch.tensor(x, dtype=torch.double) for x in (shares, prior))
    assert collapsed(*tensors, rows) is expected


@pytest.mark.parametrize("prior", [[0.5, 0.5], [0.95, 0.05], [0.1] * 10, [0.7, 0.2, 0.05, 0.03, 0.02]])
def test_draws_from_the_shares_of_the_labels_are_never_a_collapse(prior):
    draws = np.random.default_rng(0).multinomial(50, prior, size=2000)
    alarms = sum(collapsed(torch.tensor(d / 50), torch.tensor(prior, dtype=torch.double), 50) for d in draws)
    assert alarms == 0


# -- rules that keep nothing or everything -----------------------------------------------------------------------------
def test_a_rule_that_keeps_nothing_is_found():
    """Counted after a fifth of the stage, over at least 50 steps and a fifth: here from 21 to 70."""
    strategy = strategies.FixMatch(TASK, lambda: sgd_learner(mlp()), select=select.above(1.1))
    run, _ = fit(strategy, steps=100, eval_every=5)
    (alarm,) = run.alarms
    assert (alarm.kind, alarm.step, alarm.figures) == ("keeps_nothing", 70, {"steps": 50.0})
    assert "Not one pseudo-label was used in the last 50 steps" in alarm.message


def watching(strategy, *, steps, per_epoch=5):
    ledger = st.Ledger([str(i) for i in range(40)], MemoryPile.classes)
    check = SelfCheck()
    times = {"total": steps, "steps_per_epoch": per_epoch, "evaluate_every": 5, "start": 1, "seed": 0}
    check.begin(Context(strategy, MemoryPile(), ledger, None, None, CPU, parts=(), settings={}, **times))
    return check


def kept(weigh, *, rule=None, steps=100, eval_every=5, per_epoch=5, figures=None):
    """Alarms of a run whose units have these weights at a step (counted from 0), without training."""
    check, found = watching(Own(rule=rule), steps=steps, per_epoch=per_epoch), {}
    for step in range(1, steps + 1):
        weight = weigh(step - 1) * torch.ones(8)
        report = Report({}, PseudoLabels(torch.arange(8), torch.ones(8, 3) / 3, weight))
        check.watch(step, [], report, judged=step % eval_every == 0)
        if step % eval_every == 0:
            for alarm in check.judge(step, figures or {}, 30 if figures else 0).alarms:
                found.setdefault(alarm.kind, step)
    return list(found.items())


def test_a_rule_that_keeps_everything_is_found():
    assert kept(lambda step: 1.0, rule=select.Above(0.0)) == [("keeps_everything", 70)]


def test_everything_is_kept_by_a_run_that_learns_nothing():
    pile = MemoryPile()
    x, y = pile.parts["validation"]
    pile.parts["validation"] = (x, y.roll(1))  # so that the accuracy stays low
    assert kinds(Own(rule=select.Above(0.0)), pile, steps=100, eval_every=5) == [("keeps_everything", 70)]


@pytest.mark.parametrize("rule", [None, select.everything()])
def test_everything_is_kept_where_nothing_is_to_be_rejected(rule):
    assert kept(lambda step: 1.0, rule=rule) == []


@pytest.mark.parametrize(("accuracy", "alarms"), [(0.89, [("keeps_everything", 70)]), (0.9, [])])
def test_where_validation_bears_it_out_everything_may_be_kept(accuracy, alarms):
    assert kept(lambda step: 1.0, rule=select.Above(0.0), figures={"accuracy": accuracy}) == alarms
    assert kept(lambda step: 0.0, figures={"accuracy": accuracy}) == [("keeps_nothing", 70)]


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_one_step_that_differs_begins_the_count_anew(weight):
    rule = select.Above(0.5)
    name = "keeps_everything" if weight else "keeps_nothing"
    assert kept(lambda step: 1 - weight if step == 59 else weight, rule=rule, steps=150) == [(name, 110)]
    assert kept(lambda step: 1 - weight if step % 30 == 0 else weight, rule=rule, steps=150) == []


def test_the_first_fifth_and_the_first_epoch_are_not_counted():
    assert kept(lambda step: 0.0, steps=500, eval_every=10) == [("keeps_nothing", 200)]
    assert kept(lambda step: 0.0, steps=200, per_epoch=90) == [("keeps_nothing", 140)]
    assert kept(lambda step: 0.0, steps=200, per_epoch=180) == [("keeps_nothing", 150)]  # half of the stage at most


def test_graded_weights_are_not_everything():
    assert kept(lambda step: torch.linspace(0.2, 1.0, 8), rule=select.Above(0.5)) == []
    assert kept(lambda step: torch.full((8,), 0.3), rule=select.Above(0.5)) == [("keeps_everything", 70)]


def test_half_of_the_units_is_neither_nothing_nor_everything():
    assert kept(lambda step: torch.tensor([1.0, 0.0] * 4), rule=select.Above(0.5)) == []


class Telling(Own):
    """Says how much it used, and not of what."""

    def step(self, batch, clock, *extra):
        self.advance(self.losses(batch, clock)[0])
        return Report({"used": torch.tensor(0.0)})


def test_a_share_that_is_only_told_counts_too():
    assert kinds(Telling(), steps=100, eval_every=5) == [("keeps_nothing", 70)]


# -- the teacher -------------------------------------------------------------------------------------------------------
def test_a_teacher_behind_its_student_is_found():
    """From 200 steps and half of the stage on."""
    run, _ = fit(Sabotaged(), steps=210, eval_every=10)
    (alarm,) = run.alarms
    assert (alarm.kind, alarm.step) == ("teacher_worse", 200)
    assert alarm.figures == {"teacher": pytest.approx(1 / 3), "student": 1.0, "samples": 30.0}
    assert alarm.message == "On validation the teacher reaches accuracy 0.333, its student 1.000."


class Trailing(Own):
    """Its teacher follows without a warm start."""

    def advance(self, loss):
        if self.student.update(loss) and self.ema is not None:
            self.ema.update(self.student.model, decay=self.ema.decay)


@pytest.mark.slow
def test_what_is_said_about_a_teacher_behind_its_student_helps():
    length = {"steps": 210, "eval_every": 10}
    assert kinds(Trailing(decay=0.9999), **length) == [("teacher_worse", 200)]
    assert kinds(Trailing(decay=0.9), **length) == []
    assert kinds(Trailing(decay=None), **length) == []  # ships the student


@pytest.mark.parametrize(("step", "steps", "expected"), [(200, 399, 1), (200, 400, 0), (201, 400, 1), (199, 199, 0)])
def test_a_teacher_is_judged_late_and_by_samples(step, steps, expected):
    strategy = Own(decay=0.5)
    x, truth = MemoryPile().parts["validation"]
    right = torch.nn.functional.one_hot(truth, 3).float()
    said = {"teacher": right.clone(), "student": right.clone()}
    strategy.predictors = lambda: {name: (lambda x, value=value: value) for name, value in said.items()}
    check = watching(strategy, steps=steps)
    figures = {"accuracy": 0.5, "accuracy/teacher": 0.5, "accuracy/student": 0.9}
    assert check.judge(step, figures, 30).alarms == []  # sample by sample there is no difference
    said["teacher"][:6] = right[:6].roll(1, 1)
    assert len(check.judge(step, figures, 30).alarms) == expected
    assert check.judge(step, figures | {"accuracy/teacher": 0.9}, 30).alarms == []
    assert check.judge(step, {"accuracy": 0.5, "accuracy/student": 0.9}, 30).alarms == []
    said["teacher"] = right.clone()
    said["teacher"][:3] = right[:3].roll(1, 1)  # ten points, and not beyond the noise of 30 samples
    assert check.judge(step, figures, 30).alarms == []


def mean(parts):
    """Of parts that are a value and a count."""
    return float(parts[0] / parts[1])


def shares(*lengths):
    """Values 1 and 0 in turn, so many of each, with counts."""
    values = torch.cat([torch.full((many,), float(i % 2 == 0)) for i, many in enumerate(lengths)])
    return torch.stack([values, torch.ones_like(values)], 1).double()


@pytest.mark.parametrize(
    ("lost", "won", "rows", "expected"),
    [
        (300, 0, 10_000, True),
        (150, 0, 10_000, False),  # less than two points
        (300, 9700, 10_000, False),  # more right than the other
        (3, 0, 100, False),
        (5, 0, 100, True),  # McNemar: 5 / sqrt(5) is above 2
        (4, 0, 50, False),  # and 4 / sqrt(4) is not
        (13, 5, 100, False),
        (16, 4, 100, True),
        (4, 0, 4, False),  # so few samples tell nothing
        (0, 0, 0, False),  # no samples
    ],
)
def test_clearly_below_is_two_points_and_two_standard_errors(lost, won, rows, expected):
    both = shares(0, lost, won, rows - lost - won), shares(lost, won, 0, rows - lost - won)
    assert clearly_below(*both, mean) is expected


def test_what_both_have_right_is_no_noise():
    """Six samples more of a hundred, where the half is right anyway: drawn apart that would be within noise."""
    assert clearly_below(shares(50, 50), shares(56, 44), mean)


def test_noise_alone_is_rarely_clearly_below():
    """Two classifiers of one truth that are right alike on half of 60 samples: about 2.3 % lie two errors below."""
    rng = np.random.default_rng(0)
    told = []
    for _ in range(300):
        right = rng.random((2, 100, 1)) < 0.8
        right[1, :50] = right[0, :50]
        a, b = (torch.from_numpy(np.concatenate([r, np.ones_like(r)], 1).astype(float)) for r in right)
        told.append(clearly_below(a, b, mean, draws=60))
    assert 0.005 < np.mean(told) < 0.04


def masks(loss, rows=101, seed=0):
    """Figures of pictures of 5 classes at mean IoU 0.35: truth, and predictions of which the first loses pixels.

    ``loss``: share of the right pixels that each picture loses.
    """
    rng = np.random.default_rng(seed)
    truth = torch.from_numpy(rng.integers(0, 5, (rows, 12, 12)))
    hard = rng.uniform(0.25, 0.75, (rows, 1, 1))  # pictures differ
    other = torch.from_numpy(rng.integers(1, 5, truth.shape))

    def said(right):
        return torch.nn.functional.one_hot(torch.where(right, truth, (truth + other) % 5), 5).movedim(-1, 1).float()

    best = torch.from_numpy(rng.random(truth.shape) < hard)
    lost = torch.from_numpy(rng.random(truth.shape) < np.asarray(loss).reshape(-1, 1, 1))
    return truth, said(best & ~lost), said(best)


def told_of_masks(worse, better, truth, task=None):
    task = task or st.Segmentation(5)
    said = {"worse": worse, "better": better}
    batches = [Annotated(rows, truth[rows], rows) for rows in torch.arange(len(truth)).split(40)]
    figures = [task.compute(task.update(value, task.encode(truth)))[task.monitor] for value in (worse, better)]
    return figures, clearly_worse(said["worse"].__getitem__, said["better"].__getitem__, task, batches)


def test_a_loss_of_masks_that_every_picture_shows_is_told_and_noise_is_not():
    """As shares of 101 pictures no 13 points at 0.35 could be told."""
    truth, worse, better = masks(0.12)
    (here, there), told = told_of_masks(worse, better, truth)
    assert 0.3 < there < 0.4
    assert 0.02 < there - here < 0.06
    assert told
    assert not told_of_masks(better, worse, truth)[1]
    truth, worse, better = masks(0.5)
    wins = (torch.arange(101) < 43).view(-1, 1, 1, 1)  # 58 pictures lose the half, 43 win as much
    (here, there), told = told_of_masks(better.where(wins, worse), worse.where(wins, better), truth)
    assert there - here > 0.02
    assert not told


def test_a_loss_of_joints_is_told_and_noise_is_not():
    task = st.Keypoints(3, (12, 12))
    rng = np.random.default_rng(0)
    place = torch.from_numpy(rng.uniform(3, 9, (60, 3, 2))).float()
    annotation = torch.cat([place, torch.ones(60, 3, 1)], 2)

    def said(far):
        gap = torch.from_numpy(np.asarray(far)).float()[..., None] * torch.tensor([4.0, 0.0])
        return task.encode(torch.cat([(place + gap).clamp(0, 11), torch.ones(60, 3, 1)], 2)).value

    good = rng.random((60, 3)) < 0.3
    everywhere = good | (rng.random((60, 3)) < 0.15)
    some = good.copy()
    some[:3] = True
    (here, there), told = told_of_masks(said(everywhere), said(good), annotation, task)
    assert there - here > 0.05
    assert told
    (here, there), told = told_of_masks(said(some), said(good), annotation, task)
    assert there - here > 0.02
    assert not told


def test_more_samples_than_parts_are_taken_together(monkeypatch):
    """Each part is a sample of samples: what is told stays, and memory is bounded."""
    truth, worse, better = masks(0.12, rows=303)
    asked = []
    monkeypatch.setattr(
        paired, "clearly_below", lambda a, b, figure: asked.append((a, b)) or clearly_below(a, b, figure)
    )
    assert told_of_masks(worse, better, truth)[1]
    monkeypatch.setattr(paired, "_MOST", 101)
    assert told_of_masks(worse, better, truth)[1]
    assert [len(a) for a, _ in asked] == [303, 101]
    assert torch.equal(asked[0][0].unflatten(0, (3, 101)).sum(0), asked[1][0])
    monkeypatch.setattr(paired, "_NUMBERS", 15 * 7)
    told_of_masks(worse, better, truth)
    assert len(asked[2][0]) == 7


# -- the supervised control --------------------------------------------------------------------------------------------
def wrong(**settings):
    return Wrong(rampup=lambda progress: 3.0, **settings)


def test_self_training_that_is_worse_than_the_labels_alone_is_found(tmp_path):
    run, messages = fit(wrong(), steps=60, baseline=True, out=tmp_path)
    alarm, drift = run.alarms
    here, there = run.last["validation"]["accuracy"], run.baseline["validation"]["accuracy"]
    assert (alarm.kind, alarm.step, drift.kind) == ("worse_than_supervised", 60, "class_drift")
    assert alarm.figures == {"run": here, "baseline": there, "samples": 30.0}
    assert here < 0.7 < 0.95 < there
    assert len(messages) == 2
    assert board(tmp_path)["baseline/validation/accuracy"] == [(60, pytest.approx(there))]
    assert board(tmp_path)["alarm/worse_than_supervised"] == [(60, alarm.text)]
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["baseline"] == run.baseline
    assert [a["kind"] for a in summary["alarms"]] == ["worse_than_supervised", "class_drift"]
    state = checkpoint.load_newest(tmp_path / "checkpoints")
    assert (state["baseline"], state["handlers"]["SelfCheck"]["alarms"]) == (summary["baseline"], summary["alarms"])


def test_the_control_is_the_supervised_run(tmp_path):
    """Same labels, steps, plan and start: bit for bit what ``Supervised`` gives."""
    make = lambda: sgd_learner(normed())  # noqa: E731
    own = strategies.FixMatch(TASK, make, decay=0.9, select=select.above(0.5))
    run, _ = fit(own, steps=23, baseline=True, out=tmp_path)
    alone, _ = fit(strategies.Supervised(TASK, make, decay=0.9), steps=23)
    control = checkpoint.load_newest(tmp_path / "baseline" / "checkpoints")
    mine = {name.removeprefix("method."): value for name, value in control["strategy"].items()}
    theirs = alone.strategy.state_dict()
    assert mine.keys() >= {name for name in theirs if name.startswith(("student.model.", "ema.model."))}
    assert same({name: mine[name] for name in theirs}, theirs)
    assert run.baseline == alone.last
    assert same(weights_of(tmp_path / "baseline"), dict(alone.export()))
    assert not (tmp_path / "baseline" / "pseudo_labels.csv").exists()


@pytest.mark.one_in(3)
@pytest.mark.parametrize("name", zoo.LEARNING)
def test_every_method_has_a_control(name):
    run, _ = fit(zoo.build(name, "classification"), toy.pile("classification"), steps=3, plan=zoo.PLAN, baseline=True)
    assert set(run.baseline["validation"]) == set(run.last["validation"])


def test_the_control_leaves_the_run_alone(tmp_path):
    plain, _ = fit(Own(network=normed, decay=0.9), steps=23)
    beside, _ = fit(Own(network=normed, decay=0.9), steps=23, baseline=True)
    assert same(plain.strategy.state_dict(), beside.strategy.state_dict())
    assert (plain.last, plain.baseline) == (beside.last, None)
    assert beside.out is None
    assert set(beside.baseline) == {"validation"}


def test_a_run_as_good_as_its_control_raises_no_alarm():
    assert kinds(Own(), steps=60, baseline=True) == []


def test_the_control_is_evaluated_on_what_is_watched(tmp_path):
    run, _ = fit(Own(), steps=20, baseline=True, monitor={"test": "test"}, out=tmp_path)
    assert set(run.baseline) == {"validation", "test"}
    assert "baseline/test/accuracy" in board(tmp_path)


def test_without_validation_simple_models_tell_or_it_is_said_that_there_is_no_comparison(tmp_path):
    run, messages = fit(wrong(), MemoryPile(validation=0, unlabeled=60, test=0), steps=20, baseline=True, out=tmp_path)
    told = [alarm.kind for alarm in run.alarms]
    assert (run.baseline, told, len(messages)) == ({}, ["worse_than_supervised", "class_drift"], 2)
    found, alarm = run.cross_fitted, run.alarms[0]
    assert found.worse
    assert (alarm.figures["agrees"], alarm.figures["baseline_agrees"]) == (found.agrees, found.alone_agrees)
    assert (found.labels, found.rows, run.unchecked) == (12, 60, {})
    assert found.behind
    for word in (found.rival(), found.signs()):
        assert word in repr(run)
    assert len(repr(run).splitlines()) <= 10
    assert json.loads((tmp_path / "summary.json").read_text())["cross_fitted"]["taught"] == found.taught
    page = (tmp_path / "report.html").read_text()
    assert "the signs are that it is worse" in page
    assert found.simple() in page
    assert f"It is behind a simple model: {found.rival()}." in page
    # one label of a class cannot be held out; two of each, as the message says, can
    one = MemoryPile(validation=0, test=0, labeled=3)
    run, _ = fit(wrong(), one, steps=20, baseline=True, out=tmp_path / "one")
    reason = run.unchecked["worse_than_supervised"]
    assert reason.endswith("a class has a single label, and one that is held out needs another: label two of each")
    assert reason in board(tmp_path / "one")["unchecked/worse_than_supervised"][0]
    assert "a class has a single label" in repr(run)


def test_without_the_check_the_figures_are_there_and_no_alarm():
    run, messages = fit(wrong(), steps=60, baseline=True, self_check=False)
    assert run.baseline["validation"]["accuracy"] > 0.95
    assert (run.alarms, messages) == ([], [])


class Leaning(Own):
    """Calls ``share`` of the rows that it sees by the first class, so that it ships what leans that way."""

    def __init__(self, share=1.0, **settings):
        super().__init__(rampup=lambda progress: 3.0, **settings)
        self._share = share

    def value(self, batch):
        real, first = super().value(batch), torch.tensor([0.98, 0.01, 0.01])
        return torch.where((batch.unlabeled.index < 150 * self._share).unsqueeze(1), first, real)

    def weight(self, value, clock):
        return (value.amax(1) < 2).float() * (clock.step % 2)  # no streak, and no class is missing among the accepted


def test_classes_that_drift_from_those_of_the_labels_alone_are_found_without_held_out_labels(tmp_path):
    pile = MemoryPile(unlabeled=150, validation=0)
    run, _ = fit(Leaning(), pile, steps=100, baseline=True, out=tmp_path, evaluation=st.Evaluation(100))
    (alarm,) = [alarm for alarm in run.alarms if alarm.kind == "class_drift"]
    with torch.no_grad():
        said = run.strategy.predict(pile.parts["unlabeled"][0]).argmax(1)
    labels = pile.parts["labeled"][1]
    shares, prior = (torch.bincount(y, minlength=3).double() / len(y) for y in (said, labels))
    assert alarm.step == 100
    assert alarm.figures["run"] == pytest.approx(0.5 * (shares - prior).abs().sum().item())
    assert alarm.figures["run"] > alarm.figures["baseline"] + 0.2
    assert alarm.figures["rows"] == 150
    assert f"On 150 samples of the pile the class shares of the run are {alarm.figures['run']:.2f}" in alarm.message
    fell = st.fit(
        Leaning(), pile, steps=100, plan=PLAN, evaluation=st.Evaluation(100, on_alarm="fallback"), baseline=True
    )
    assert "class_drift" in fell.fallback.alarms
    assert fell.evaluate("test")["accuracy"] > 0.9 > run.evaluate("test")["accuracy"]


def test_classes_that_drift_no_farther_than_those_of_the_labels_alone_are_no_alarm():
    """Of a pile whose shares are not the labels', the labels alone tell as much."""
    pile = MemoryPile(unlabeled=150, validation=0)
    kept = pile.parts["unlabeled"][1] == 0
    pile.parts["unlabeled"] = tuple(part[kept] for part in pile.parts["unlabeled"])
    assert "class_drift" not in [kind for kind, _ in kinds(Own(), pile, steps=60, baseline=True)]


@pytest.mark.parametrize(
    ("run", "control", "rows", "expected"),
    [
        ([0.59, 0.21, 0.2], [0.3, 0.4, 0.3], 2000, False),  # 0.257 away, the control 0.067: less than 0.2 between
        ([0.61, 0.2, 0.19], [0.3, 0.4, 0.3], 2000, True),
        ([0.61, 0.2, 0.19], [0.3, 0.4, 0.3], 60, False),  # chance: sqrt(3 / 60) is 0.224
        ([0.61, 0.2, 0.19], [0.6, 0.2, 0.2], 2000, False),  # the control as well
        ([0.3, 0.4, 0.3], [0.61, 0.2, 0.19], 2000, False),  # the control alone
        ([0.61, 0.2, 0.19], [0.3, 0.4, 0.3], 0, False),
    ],
)
def test_drift_is_a_difference_of_distances_beyond_chance(run, control, rows, expected):
    prior = torch.full((3,), 1 / 3)
    assert drifted(torch.tensor(run), torch.tensor(control), prior, rows) is expected


def test_chance_puts_shares_no_farther_from_their_distribution_than_it_is_allowed():
    """Half of sqrt(C / n) bounds the mean distance of n draws from C classes."""
    prior = torch.tensor([0.4, 0.3, 0.2, 0.1])
    draws = np.random.default_rng(0).multinomial(50, prior.double() / prior.double().sum(), size=2000) / 50
    mean = np.mean([class_distance(torch.from_numpy(draw), prior) for draw in draws])
    assert 0.05 < mean < 0.5 * math.sqrt(4 / 50)


def test_the_control_asks_for_no_view_and_tells_of_no_pseudo_label():
    strategy = Own(decay=0.9)
    control = SupervisedBaseline(strategy)
    assert (control.views, control.needs().views, control.extra_batches) == ((), (), 0)
    assert control.needs().encode is not None
    assert (control.monitor, control.labeled_view, control.judged_on) == ("accuracy", "weak", ("validation",))
    x, y = MemoryPile().parts["labeled"]
    batch = Batch(Labeled(x, TASK.encode(y), torch.arange(12)), None)
    before = snapshot(strategy)
    report = control.step(batch, LATE)
    assert report.pseudo_labels is None
    assert same(before, strategy.state_dict())
    assert not same(snapshot(control.method), before)
    assert torch.equal(control.predict(x), control.method.predict(x))
    assert [id(x) for x in control.learners()] == [id(control.method.student)]


class Unlabeledonly(Strategy):
    def __init__(self):
        super().__init__()
        self.student = sgd_learner(mlp())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (Unlabeledonly, "Unlabeledonly has no step on labels alone to compare with; pass baseline=False"),
        (Uncopyable, "Uncopyable cannot be copied for the baseline .*; pass baseline=False"),
    ],
)
def test_a_control_that_cannot_be_is_refused_before_anything_is_written(make, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        st.fit(make(), MemoryPile(), plan=PLAN, steps=5, baseline=True, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


class LeakyLabels(Leaky):
    def step_labeled(self, batch, clock):
        loss = self.loss_of(batch.labeled.x, batch.labeled.target)
        self.move(loss)
        return Report({"loss/supervised": loss.detach()})


class TightLabels(LeakyLabels):
    """What was a function among its attributes is a method."""

    def __init__(self, **settings):
        super().__init__(**settings)
        del self.loss_of, self.move

    def loss_of(self, x, target):
        return self.task.loss(self.student(x), target)

    def move(self, loss):
        self.student.update(loss)


def test_a_control_that_trains_the_run_itself_is_an_error(tmp_path):
    with pytest.raises(TrainingError, match="training the baseline changed LeakyLabels itself"):
        st.fit(LeakyLabels(), MemoryPile(), plan=PLAN, steps=20, baseline=True, out=tmp_path)
    alone = st.fit(LeakyLabels(), MemoryPile(), plan=PLAN, steps=20, baseline=False)  # one remedy
    assert same(dict(weights_of(tmp_path)), dict(alone.export()))
    st.fit(TightLabels(), MemoryPile(), plan=PLAN, steps=20, baseline=True)  # the other one


def test_overwriting_a_run_clears_its_control(tmp_path):
    fit(Own(), steps=6, baseline=True, out=tmp_path)
    (tmp_path / "baseline" / "note.txt").write_text("mine")
    fit(Own(), steps=6, overwrite=True, out=tmp_path)
    assert [p.name for p in (tmp_path / "baseline").iterdir()] == ["note.txt"]
    (tmp_path / "baseline" / "note.txt").unlink()
    fit(Own(), steps=6, baseline=True, overwrite=True, out=tmp_path)
    fit(Own(), steps=6, baseline=True, overwrite=True, out=tmp_path)
    fit(Own(), steps=6, overwrite=True, out=tmp_path)
    assert not (tmp_path / "baseline").exists()


# -- resuming ----------------------------------------------------------------------------------------------------------
class Trouble(Constant):
    """No gradient, then a collapse, then everything is kept, and at last its teacher is found to know nothing."""

    def __init__(self, seed=0):
        super().__init__(begin=0, rule=select.Above(0.5), decay=0.5, seed=seed)

    def step(self, batch, clock, *extra):
        self._now, self._rows = clock.step, batch.unlabeled.index
        supervised, _, labels = self.losses(batch, clock)
        self.advance(supervised)
        for parameter in self.ema.parameters():
            parameter.zero_()
        return Report({}, labels)


LENGTH = {"steps": 110, "eval_every": 10, "log_every": 15, "plan": PLAN}


def outcome(folder):
    state = checkpoint.load_newest(folder / "checkpoints")
    summary = json.loads((folder / "summary.json").read_text())
    del state["seconds"], summary["seconds"]
    return {"state": state, "summary": summary, "log": (folder / "metrics.jsonl").read_text(), "board": board(folder)}


def elsewhere(strategy, number):
    """As another process would build it: with other weights, which the stored ones must replace."""
    generator = torch.Generator().manual_seed(number)
    for weight in strategy.parameters() if number else ():
        weight.data.add_(torch.randn(weight.shape, generator=generator))
    return strategy


def resumed_at(stops, folder, make=Trouble, **settings):
    """The alarms told in each part, and all the parts left in the folder."""
    told = []
    for i, stop in enumerate([*stops, None]):
        _, messages = fit(elsewhere(make(), i), MANY, out=folder, resume=i > 0, stop_after=stop, **settings)
        told.append([m.split(" ")[0] for m in messages])
    return told, outcome(folder)


def compare_resumed(stops, folder, kinds, length):
    (every,), whole = resumed_at([], folder / "whole", **length)
    told, parts = resumed_at(stops, folder / "parts", **length)
    assert every == sum(told, []) == kinds  # none is told twice
    assert not zoo.differences(whole, parts)


@pytest.mark.parametrize("stops", [[7], [35, 71]])
def test_a_resumed_run_has_the_alarms_of_the_whole_one(stops, tmp_path):
    compare_resumed(stops, tmp_path, ["no_gradient", "collapse", "keeps_everything"], LENGTH)


@pytest.mark.slow
@pytest.mark.parametrize("stops", [[3, 9], [50, 95], [101, 199]])
def test_a_long_resumed_run_has_the_alarms_of_the_whole_one(stops, tmp_path):
    length = LENGTH | {"steps": 220, "eval_every": 20}
    compare_resumed(stops, tmp_path, ["no_gradient", "collapse", "keeps_everything", "teacher_worse"], length)


def test_what_the_check_remembers_is_stored(tmp_path):
    fit(Trouble(), MANY, out=tmp_path, stop_after=37, **LENGTH)
    check = checkpoint.load_newest(tmp_path / "checkpoints")["handlers"]["SelfCheck"]
    assert check["probes"] == {"tries": 2, "silent": 2, "first": 5, "done": 1}
    assert {name: int(count) for name, count in check["streaks"].items()} == {"nothing": 0, "everything": 15}
    assert check["one_sided"] == 1  # those of steps 10 and 20 are before a fifth of the stage


def test_alarms_are_entries_again_after_resuming(tmp_path):
    first, _ = fit(Trouble(), MANY, out=tmp_path, stop_after=42, **LENGTH)
    again, messages = fit(Trouble(), MANY, out=tmp_path, stop_after=43, resume=True, **LENGTH)
    assert messages == []
    assert again.alarms == first.alarms
    assert isinstance(again.alarms[0], Alarm)


@pytest.mark.one_in(2)
@pytest.mark.parametrize("stop", [3, 45])
def test_a_run_with_a_control_can_be_resumed_anywhere(stop, tmp_path):
    """Another seed stands for objects of another process: the control begins where the stored start says."""
    settings = {"steps": 60, "baseline": True, "plan": PLAN}
    make = wrong
    (every,), whole = resumed_at([], tmp_path / "whole", make, **settings)
    told, parts = resumed_at([stop], tmp_path / "parts", make, **settings)
    assert every == ["worse_than_supervised", "class_drift"]
    assert told == [[], every]
    assert not zoo.differences(whole, parts)
    assert not zoo.differences(outcome(tmp_path / "whole" / "baseline"), outcome(tmp_path / "parts" / "baseline"))


class Dying(Wrong):
    """Its control is killed at step ``at``."""

    _at = None  # no setting

    def __init__(self):
        super().__init__(rampup=lambda progress: 3.0)

    def step_labeled(self, batch, clock):
        if clock.step == self._at:
            raise TrainingError("killed")
        return super().step_labeled(batch, clock)


def dying(at=None, other=0):
    strategy = elsewhere(Dying(), other)
    strategy._at = at
    return strategy


def test_a_control_that_was_killed_goes_on_and_the_run_is_not_repeated(tmp_path):
    settings = {"steps": 60, "baseline": True, "plan": PLAN, "eval_every": 10}
    fit(dying(), out=tmp_path / "whole", **settings)
    with pytest.raises(TrainingError, match="killed"):
        fit(dying(at=35), out=tmp_path / "parts", **settings)
    assert checkpoint.load_newest(tmp_path / "parts" / "checkpoints")["step"] == 60
    assert checkpoint.load_newest(tmp_path / "parts" / "baseline" / "checkpoints")["step"] == 30
    fit(dying(other=9), out=tmp_path / "parts", resume=True, **settings)
    assert not zoo.differences(outcome(tmp_path / "whole"), outcome(tmp_path / "parts"))
    again, messages = fit(dying(0, other=9), out=tmp_path / "parts", resume=True, **settings)  # finished: no step
    assert messages == []
    assert [a.kind for a in again.alarms] == ["worse_than_supervised", "class_drift"]
    assert not zoo.differences(outcome(tmp_path / "whole"), outcome(tmp_path / "parts"))


def test_a_control_cannot_be_asked_for_later(tmp_path):
    fit(Own(), steps=20, stop_after=10, out=tmp_path)
    with pytest.raises(RunFolderError, match="baseline: was None, is True"):
        st.fit(Own(), MemoryPile(), plan=PLAN, steps=20, baseline=True, resume=True, out=tmp_path)


def test_the_check_may_be_switched_while_resuming(tmp_path):
    fit(Detached(), steps=20, stop_after=7, self_check=False, out=tmp_path)
    run, _ = fit(Detached(), steps=20, resume=True, out=tmp_path)
    assert [(a.kind, a.step) for a in run.alarms] == [("no_gradient", 13)]


def test_a_checkpoint_without_the_alarms_is_refused(tmp_path):
    fit(Own(), steps=20, stop_after=10, out=tmp_path)
    state = checkpoint.load_newest(tmp_path / "checkpoints")
    del state["handlers"]["SelfCheck"]["alarms"]
    checkpoint.save(tmp_path / "checkpoints", state, 10)
    with pytest.raises(CheckpointError, match="alarms"):
        st.fit(Own(), MemoryPile(), plan=PLAN, steps=20, resume=True, out=tmp_path)


# -- sound runs --------------------------------------------------------------------------------------------------------
CONFIDENT = {"select": select.above(0.9), "hard": True, "decay": 0.99}
SOUND = {
    "fixmatch": lambda make: strategies.FixMatch(st.Classification(2), make, **CONFIDENT),
    "mean_teacher": lambda make: strategies.MeanTeacher(
        st.Classification(2), make, **CONFIDENT, unlabeled_weight=3.0, distance="ce"
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SOUND)
def test_a_sound_run_raises_no_alarm_and_beats_its_control(name, tmp_path):
    torch.manual_seed(0)
    make = st.learner(lambda: toy.mlp(30), optimizer="sgd", lr=0.05, weight_decay=0.0)
    plan = BatchPlan(labeled=8, unlabeled_ratio=12.5)
    run, messages = fit(
        SOUND[name](make), toy.clouds(), steps=220, plan=plan, eval_every=20, baseline=True, out=tmp_path
    )
    assert (run.alarms, run.unchecked, messages) == ([], {}, [])
    assert run.last["validation"]["accuracy"] > run.baseline["validation"]["accuracy"]
    logged = board(tmp_path)
    ((_, norm),) = logged["check/unsupervised_grad_norm"]
    assert norm > 0
    assert 1.8 < logged["check/effective_classes"][-1][1] <= 2.0


def test_methods_without_pseudo_labels_are_left_alone(tmp_path):
    run, messages = fit(strategies.Supervised(TASK, lambda: sgd_learner(mlp())), steps=100, eval_every=5, out=tmp_path)
    assert (run.alarms, run.unchecked, messages) == ([], {}, [])
    assert not any(name.startswith("check/") for name in board(tmp_path))


def test_units_of_any_shape_are_watched():
    """A pile of pixels: no class numbers to compare, and weights of shape (B, H, W)."""
    strategy = zoo.build("fixmatch", "segmentation", select=select.above(1.1))
    run, _ = fit(strategy, toy.pile("segmentation"), steps=80, plan=zoo.PLAN, eval_every=10)
    assert [a.kind for a in run.alarms] == ["keeps_nothing"]


@pytest.mark.parametrize(("task", "classes"), [(st.Segmentation(5), 5), (st.Keypoints(5, (8, 8)), 5)])
def test_a_collapse_of_masks_is_found_and_joints_have_no_classes(task, classes):
    """Pixel shares of pseudo-masks against those of the labels; large classes alone may be sure."""
    rng = torch.Generator().manual_seed(0)
    joints = isinstance(task, st.Keypoints)
    masks = torch.randint(0, 5, (20, 8, 8), generator=rng)
    masks[:, 0] = 255
    points = torch.cat([7 * torch.rand(20, 5, 2, generator=rng), torch.ones(20, 5, 1)], 2).round()
    pile = MemoryPile()
    pile.parts["labeled"] = (torch.zeros(20, 3, 8, 8), points if joints else masks)
    pile.classes = [str(i) for i in range(classes)]
    wanted = None if joints else pytest.approx([float((masks == c).sum() / (masks < 5).sum()) for c in range(5)])
    found = labeled_shares(pile, task, CPU)
    assert (None if found is None else found.tolist()) == wanted

    def told(value, weight, step=90):
        strategy = Own(decay=None)
        strategy.task = task
        ledger = st.Ledger([str(i) for i in range(60)], pile.classes)
        ledger.write(PseudoLabels(torch.arange(60), value, weight), task, step)
        check = SelfCheck()
        times = {"total": 100, "steps_per_epoch": 5, "evaluate_every": 5, "start": 1, "seed": 0}
        check.begin(Context(strategy, pile, ledger, None, None, CPU, parts=(), settings={}, **times))
        alarms = [alarm for _ in range(2) for alarm in check.judge(step, {}, 0).alarms]
        return [alarm.kind for alarm in alarms], [round(alarm.figures["effective"], 1) for alarm in alarms]

    everything = torch.ones(60, 5) if joints else torch.ones(60, 8, 8)
    one = torch.full((60, 5, 8, 8), 0.01)
    one[:, 0] = 0.96
    fair = torch.nn.functional.one_hot(torch.randint(0, 5, (60, 8, 8), generator=rng), 5).movedim(-1, 1).float()
    assert told(one, everything) == (([], []) if joints else (["collapse"], [1.0]))
    assert told(fair, everything) == ([], [])
    if not joints:
        large = fair.clone()
        large[:, :, :5] = torch.eye(5)[0].view(1, 5, 1, 1)
        assert told(large, (large.argmax(1) == 0).float()) == ([], [])


def test_masks_that_drift_from_those_of_the_labels_alone_are_found():
    """By pixels; noise is that of pictures."""
    task, rng = st.Segmentation(5), torch.Generator().manual_seed(0)
    pile = MemoryPile()
    masks = torch.randint(0, 5, (40, 8, 8), generator=rng)
    pile.parts |= {"labeled": (torch.zeros(40, 3, 8, 8), masks), "unlabeled": (torch.zeros(300, 3, 8, 8), masks)}
    pile.parts["unlabeled"] = (torch.zeros(300, 3, 8, 8), torch.zeros(300))
    pile.classes = [str(i) for i in range(5)]
    strategy, control = Own(), Own()
    fair = torch.nn.functional.one_hot(masks[:1], 5).movedim(-1, 1).float()
    moved = fair.clone()
    moved[:, :, :4] = torch.eye(5)[0].view(1, 5, 1, 1)
    said = {True: moved, False: fair}
    for one, worse in ((strategy, True), (control, False)):
        one.task = task
        one.predict = lambda x, worse=worse: said[worse].expand(len(x), -1, -1, -1)
    times = {"total": 100, "steps_per_epoch": 5, "evaluate_every": 5, "start": 1, "seed": 0}
    check = SelfCheck()
    ledger = st.Ledger([str(i) for i in range(300)], pile.classes)
    check.begin(Context(strategy, pile, ledger, None, None, CPU, parts=(), settings={}, control=control, **times))
    (alarm,) = check.compare_classes(100).alarms
    assert (alarm.kind, alarm.figures["rows"]) == ("class_drift", 300.0)
    said[False] = moved
    assert check.compare_classes(100).alarms == []


def test_a_batch_of_one_unit_says_nothing_of_everything():
    check = watching(Own(rule=select.Above(0.5)), steps=100)
    for step in range(1, 101):
        report = Report({}, PseudoLabels(torch.arange(1), torch.ones(1, 3) / 3, torch.ones(1)))
        check.watch(step, [], report, judged=False)
    assert check.judge(100, {}, 0).alarms == []


def test_simple_models_read_an_excerpt_of_a_large_labeled_set():
    batches = [Annotated(part[:, None].float(), part % 3, part) for part in torch.arange(6000).split(500)]
    found = _excerpt(batches)
    wanted = [start + row for start in range(0, 6000, 500) for row in range(0, 500, 3)]
    assert torch.cat([batch.index for batch in found]).tolist() == wanted
    assert found[0].x.untyped_storage().nbytes() == 4 * len(found[0].x)  # and holds nothing else in memory
    assert _excerpt(batches[:4])[3].x[:, 0].tolist() == list(range(1500, 2000))
