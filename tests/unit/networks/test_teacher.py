import copy

import pytest
import torch
from helpers import adam_learner, mlp, normed, same, sgd_learner, snapshot, weights
from torch import nn

from selftrain.networks.ema import Teacher


class Counting(nn.Module):
    """One weight, one floating-point and one integer buffer, all set by hand."""

    def __init__(self, weight=0.0, mean=0.0, count=0):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([float(weight)]))
        self.register_buffer("mean", torch.tensor([float(mean)]))
        self.register_buffer("count", torch.tensor(count))

    def forward(self, x):
        return x * self.weight + self.mean


def state(teacher):
    model = teacher.model
    return model.weight.item(), model.mean.item(), int(model.count)


def test_it_starts_as_the_student():
    student = sgd_learner(normed())
    student.model[1].running_mean.fill_(0.3)
    teacher = Teacher(student)
    assert same(student.model.state_dict(), teacher.model.state_dict())
    student.model[0].weight.data.zero_()
    assert teacher.model[0].weight.abs().sum() > 0  # a copy, not the same tensors


def test_it_takes_no_gradient_and_is_always_in_evaluation_mode():
    student = sgd_learner(normed()).train()
    teacher = Teacher(student)
    assert all(not p.requires_grad for p in teacher.parameters())
    assert all(p.requires_grad for p in student.parameters())
    holder = nn.ModuleList([teacher])
    holder.train()
    assert not any(module.training for module in teacher.modules())
    x = torch.randn(5, 3, requires_grad=True)
    first, second = teacher(x), teacher(x)
    assert not first.requires_grad
    assert torch.equal(first, second)  # no dropout
    assert torch.equal(first, copy.deepcopy(student.model).eval()(x))


@pytest.mark.parametrize("decay", [0.0, 0.9, 1.0])
def test_the_average_in_closed_form(decay):
    """theta_n = d^n theta_0 + (1 - d) sum_i d^(n - i) student_i, once the warm start is over."""
    students = [3.0, -1.0, 4.0, 1.5]
    teacher = Teacher(sgd_learner(Counting(2.0)), decay)
    teacher.updates.fill_(10**6)
    for value in students:
        teacher.update(Counting(value))
    n = len(students)
    expected = decay**n * 2.0 + (1 - decay) * sum(decay ** (n - 1 - i) * v for i, v in enumerate(students))
    assert state(teacher)[0] == pytest.approx(expected, rel=1e-5)


def test_the_warm_start_averages_all_students_alike():
    """With ``1 - 1 / (t + 1)`` the teacher is the mean of its start and of all students so far."""
    teacher = Teacher(sgd_learner(Counting(2.0)), 0.999)
    students = [3.0, -1.0, 4.0, 1.5]
    for t, value in enumerate(students, 1):
        teacher.update(Counting(value))
        assert state(teacher)[0] == pytest.approx((2.0 + sum(students[:t])) / (t + 1), rel=1e-5)
        assert int(teacher.updates) == t


def test_the_warm_start_ends_at_the_decay():
    """At decay 0.6 the second update (1 - 1/3 > 0.6) uses the decay itself."""
    teacher = Teacher(sgd_learner(Counting(0.0)), 0.6)
    teacher.update(Counting(1.0))
    assert state(teacher)[0] == pytest.approx(0.5)
    teacher.update(Counting(1.0))
    assert state(teacher)[0] == pytest.approx(0.6 * 0.5 + 0.4)


def test_an_update_that_does_not_count_leaves_the_warm_start_where_it_is():
    teacher = Teacher(sgd_learner(Counting(0.0)))
    teacher.update(Counting(1.0), count=False)
    assert int(teacher.updates) == 0
    assert state(teacher)[0] == pytest.approx(0.5)
    teacher.update(Counting(1.0))
    assert state(teacher)[0] == pytest.approx(0.75)


def test_a_decay_for_one_update_knows_no_warm_start():
    teacher = Teacher(sgd_learner(Counting(0.0)), 0.5)
    teacher.update(Counting(1.0), decay=0.9)
    assert state(teacher)[0] == pytest.approx(0.1)
    assert int(teacher.updates) == 1


@pytest.mark.parametrize(("rule", "mean"), [("copy", 8.0), ("ema", 0.25 * 8 + 0.75 * 4)])
def test_buffers_are_copied_or_averaged_and_counters_always_copied(rule, mean):
    teacher = Teacher(sgd_learner(Counting(0.0, mean=4.0, count=1)), buffers=rule)
    teacher.update(Counting(0.0, mean=8.0, count=5), decay=0.75)
    assert state(teacher) == (0.0, pytest.approx(mean), 5)


@pytest.mark.parametrize(("rule", "mean"), [("copy", 9.0), ("ema", 0.25 * 9 + 0.75 * 4)])
def test_several_students_are_averaged_first(rule, mean):
    teacher = Teacher(sgd_learner(Counting(1.0, mean=4.0)), buffers=rule)
    teacher.update(Counting(3.0, 8.0, 5), Counting(5.0, 10.0, 6), decay=0.75)
    assert state(teacher) == (pytest.approx(0.25 * 4 + 0.75 * 1), pytest.approx(mean), 5)


def test_sources_are_left_as_they_are():
    source = Counting(3.0, 8.0, 5)
    before = snapshot(source)
    Teacher(sgd_learner(Counting(1.0))).update(source)
    assert same(before, source.state_dict())


def test_the_average_of_a_real_network_with_batchnorm():
    student = sgd_learner(normed())
    teacher = Teacher(student, buffers="ema")
    before = snapshot(teacher.model)
    student.train()(torch.randn(8, 3) + 5)
    student.model[0].weight.data += 1
    teacher.update(student.model, decay=0.9)
    for name, value in teacher.model.state_dict().items():
        new = student.model.state_dict()[name]
        expected = new if not value.is_floating_point() else 0.9 * before[name] + 0.1 * new
        assert torch.allclose(value, expected, atol=1e-6), name


def test_a_part_of_the_network_can_be_followed_alone():
    student = sgd_learner(mlp())
    teacher = Teacher(student, part=student.model[0])
    assert weights(teacher)[0].shape == (8, 3)
    assert len(weights(teacher)) == 2
    student.model[0].weight.data.fill_(1.0)
    teacher.update(student.model[0], decay=0.0)
    assert torch.equal(teacher.model.weight, torch.ones(8, 3))
    x = torch.randn(2, 3)
    assert torch.allclose(teacher(x), x.sum(1, keepdim=True) + teacher.model.bias, atol=1e-6)


def test_another_architecture_is_refused():
    with pytest.raises((RuntimeError, ValueError)):
        Teacher(sgd_learner(mlp())).update(normed())


def test_updates_survive_a_checkpoint():
    teacher, fresh = Teacher(adam_learner(mlp())), Teacher(adam_learner(mlp(seed=1)))
    teacher.update(mlp(seed=2))
    teacher.update(mlp(seed=3))
    fresh.load_state_dict(snapshot(teacher))
    for each in (teacher, fresh):
        each.update(mlp(seed=4))
    assert same(teacher.state_dict(), fresh.state_dict())


def test_the_students_precision_is_kept():
    x = torch.randn(8, 3)
    low = Teacher(sgd_learner(mlp(), precision="bf16"))(x)
    assert low.dtype == torch.float32
    assert not torch.equal(low, Teacher(sgd_learner(mlp()))(x))


@pytest.mark.parametrize("decay", [-0.1, 1.1])
def test_a_decay_out_of_range_is_named(decay):
    with pytest.raises(ValueError, match=rf"decay is {decay}; it must be in \[0, 1\]"):
        Teacher(sgd_learner(), decay)


def test_an_unknown_rule_for_buffers_is_named():
    with pytest.raises(ValueError, match="buffers is 'mean'; choose 'copy' or 'ema'"):
        Teacher(sgd_learner(), buffers="mean")
