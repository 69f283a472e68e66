"""Frozen weights are held once: students, their averages, copies and kept states share what no step moves."""

from __future__ import annotations

import copy

import pytest
import torch
from helpers import mlp, same, sgd_learner
from torch import nn

import selftrain as st
from selftrain import strategies, toy
from selftrain.errors import TrainingError
from selftrain.handlers.baseline import SupervisedBaseline
from selftrain.networks.copying import copied_state
from selftrain.networks.ema import Teacher
from selftrain.networks.optim import Training
from selftrain.storage import checkpoint

KIND = "classification"
SETTINGS = {
    strategies.MeanTeacher: {},
    strategies.FutureSelfTraining: {"depth": 2},
    strategies.WideFutureSelfTraining: {"width": 3},
}


def frozen_net(seed=0):
    """A network whose first layer takes no gradient."""
    network = mlp(seed)
    network[0].requires_grad_(False)
    return network


def storages(*holders):
    return {t.untyped_storage().data_ptr() for holder in holders for t in holder}


def half_frozen():
    torch.manual_seed(0)
    network = toy.network(KIND)
    network[0].requires_grad_(False)
    return network


def strategy(kind, **training):
    make = st.learner(half_frozen, optimizer="sgd", lr=0.05, **training)
    return kind(toy.task(KIND), make, **SETTINGS[kind])


def train(method, **settings):
    return st.fit(method, toy.pile(KIND), steps=6, evaluation=st.Evaluation(3), **settings)


def test_a_teacher_holds_what_learns_and_nothing_else():
    student = Training().learner(frozen_net())
    teachers = [Teacher(student), Teacher(student)]
    everything = storages(student.parameters(), *(t.parameters() for t in teachers))
    assert len(everything) == 4 + 2 + 2  # of the students all, of each teacher the last layer
    assert all(t.model[0].weight is student.model[0].weight for t in teachers)
    before = student.model[0].weight.clone()
    for _ in range(3):
        student.update(student(torch.randn(5, 3)).square().sum())
        teachers[0].update(student.model)
    assert torch.equal(student.model[0].weight, before)
    assert not torch.equal(teachers[0].model[2].weight, student.model[2].weight)
    assert torch.equal(teachers[1].model[2].weight, mlp(0)[2].weight)


@pytest.mark.parametrize("method", SETTINGS)
def test_a_run_is_the_same_bit_for_bit_whether_they_are_shared(method, monkeypatch):
    shared = train(strategy(method)).strategy.state_dict()
    monkeypatch.setattr(st.Learner, "frozen", lambda self: [])
    apart = train(strategy(method)).strategy.state_dict()
    assert torch.equal(shared["student.model.0.weight"], half_frozen()[0].weight)
    # the mean of three equal weights rounds where they are copies
    rounded = {"ema.model.0.weight", "teacher.model.0.weight"} if method is strategies.WideFutureSelfTraining else set()
    assert same(
        {k: v for k, v in shared.items() if k not in rounded}, {k: apart[k] for k in shared if k not in rounded}
    )


def test_a_look_ahead_copies_and_restores_what_learns():
    student = Training(optimizer="sgd", lr=0.1).learner(frozen_net())
    assert len(student._snapshot()["parameters"]) == 2
    before = copy.deepcopy(student.state_dict())
    with student.virtual():
        student.update(student(torch.randn(5, 3)).square().sum())
        assert not torch.equal(student.model[2].weight, before["model.2.weight"])
    assert same(before, student.state_dict())


def test_a_look_ahead_complains_of_weights_that_a_pass_changes():
    class Codebook(nn.Module):
        def __init__(self, buffer):
            super().__init__()
            self.head, code = nn.Linear(3, 2), torch.zeros(3)
            if buffer:
                self.register_buffer("code", code)
            else:
                self.code = nn.Parameter(code, requires_grad=False)

        def forward(self, x):
            with torch.no_grad():
                self.code.lerp_(x.mean(0), 0.1)
            return self.head(x - self.code)

    for buffer in (False, True):  # the second is what the message says
        student = Training().learner(Codebook(buffer))
        if not buffer:
            with (
                pytest.raises(TrainingError, match="Codebook that take no gradient.* register_buffer"),
                student.virtual(),
            ):
                student(torch.randn(4, 3))
        else:
            with student.virtual():
                student(torch.randn(4, 3))
            assert not student.model.code.any()


def test_weights_that_an_optimizer_holds_are_not_shared():
    student = sgd_learner(frozen_net())
    assert student.frozen() == []
    assert Teacher(student).model[0].weight is not student.model[0].weight


def test_a_teacher_parts_from_weights_that_learn_after_all():
    student = Training(optimizer="sgd", lr=0.1).learner(frozen_net())
    teacher = Teacher(student, 0.5)
    student.model.requires_grad_(True)
    teacher.update(student.model)
    mine, theirs = teacher.model[0].weight, student.model[0].weight
    assert mine is not theirs
    assert torch.equal(mine, theirs)
    assert not mine.requires_grad
    with torch.no_grad():
        theirs.add_(1.0)
    teacher.update(student.model, decay=0.5)
    torch.testing.assert_close(mine, theirs - 0.5)


def test_a_teacher_that_follows_others_does_not_write_into_its_student():
    student, other = (Training().learner(frozen_net(seed)) for seed in (0, 1))
    for count, learner in enumerate((student, other)):  # whole numbers have no mean
        learner.model[1].count = nn.Parameter(torch.tensor([count]), requires_grad=False)
    teacher, before = Teacher(student), student.model[0].weight.clone()
    teacher.update(other.model, decay=0.25)
    assert torch.equal(student.model[0].weight, before)
    torch.testing.assert_close(teacher.model[0].weight, 0.25 * before + 0.75 * other.model[0].weight)
    assert (int(student.model[1].count), int(teacher.model[1].count)) == (0, 1)


def test_copies_share_them_and_nothing_else():
    method = strategy(strategies.MeanTeacher)
    for other in (copy.deepcopy(method), SupervisedBaseline(method).method, copy.deepcopy(method.student)):
        mine, theirs = storages(method.parameters()), storages(other.parameters())
        assert mine & theirs == storages([method.student.model[0].weight])
    state = copied_state(method)
    assert storages(state[k] for k in state if k.endswith("model.0.weight")) == storages(method.student.frozen())
    assert not storages(v for k, v in state.items() if "model.6" in k) & storages(method.parameters())


def test_a_state_with_other_weights_parts_student_and_teacher():
    """As a run that trained everything leaves them."""
    trained = Training().learner(mlp(0))
    teacher = Teacher(trained)
    with torch.no_grad():
        trained.model[0].weight.add_(1.0)
    holder = nn.ModuleList([Training().learner(frozen_net(3))])
    holder.append(Teacher(holder[0]))
    states = nn.ModuleList([trained, teacher]).state_dict()
    holder.load_state_dict({k: v for k, v in states.items() if "extra" not in k}, strict=False)
    assert torch.equal(holder[0].model[0].weight, trained.model[0].weight)
    assert torch.equal(holder[1].model[0].weight, teacher.model[0].weight)
    assert holder[1].model[0].bias is holder[0].model[0].bias


def assert_held_once(folder):
    """Of student, teacher and best weights."""
    files = list((folder / "checkpoints").glob("*.pt"))
    assert files
    assert all(file.stat().st_size < 2 * 4 * 144 * 300 for file in files)


def test_a_checkpoint_has_them_once_and_a_resumed_run_is_exact_and_shares_them(tmp_path):
    def make():
        torch.manual_seed(0)
        encoder = nn.Linear(144, 300).requires_grad_(False)
        network = nn.Sequential(nn.Flatten(), encoder, nn.Tanh(), nn.Linear(300, 3))
        return strategies.FutureSelfTraining(toy.task(KIND), st.learner(network, optimizer="sgd", lr=0.05), depth=1)

    whole = train(make())
    train(make(), out=tmp_path, checkpoints=st.Checkpoints(2, stop_after=4))
    assert_held_once(tmp_path)
    again = train(make(), out=tmp_path, resume=True)
    assert_held_once(tmp_path)
    assert same(whole.strategy.state_dict(), again.strategy.state_dict())
    assert again.best_state is not None
    held = [again.strategy.state_dict(), again.best_state]
    assert len(storages(v for state in held for k, v in state.items() if k.endswith("model.1.weight"))) == 1
    state = checkpoint.load_newest(tmp_path / "checkpoints")
    assert same(state["strategy"], again.strategy.state_dict())
