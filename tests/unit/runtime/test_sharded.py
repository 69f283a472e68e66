"""Weights in shares, in a group of one process; two processes play ``shares of ...`` in ``test_ranks``."""

from __future__ import annotations

import pytest
import torch
from ranks_scenes import build, trained
from torch import distributed as dist
from torch import nn

import selftrain as st
from selftrain import pretrain, toy
from selftrain.errors import UsageError
from selftrain.networks.copying import copy_network
from selftrain.networks.ema import Teacher
from selftrain.networks.student import run_network
from selftrain.runtime import distributed
from selftrain.runtime.distributed import Shards, group, is_sharded, own_part, whole_state

CPU = torch.device("cpu")
pytestmark = pytest.mark.skipif(not dist.is_gloo_available(), reason="needs gloo")


# First: there is no group yet.
def test_one_process_without_a_launcher_is_refused():
    with distributed.Ranks(weights="sharded"), pytest.raises(UsageError, match="this is the only process"):
        trained(build("supervised"), toy.pile("classification"), steps=1)


@pytest.fixture(scope="module")
def ranks():
    """A group of one rank that holds the only share."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    found = group.Group(distributed.Ranks(weights="sharded"), CPU)
    with group.working(found):
        yield found
    found.close()
    dist.destroy_process_group()


@pytest.fixture
def learner(ranks):
    return toy.learner("classification", dropout=0.0, optimizer="adamw", lr=1e-2)()


def shards(*learners):
    return Shards({str(i): x.model for i, x in enumerate(learners)}, [x.optimizer for x in learners], [])


def step(learner):
    x = torch.rand(6, *toy.pile("classification").evaluation("labeled", 6, CPU)[0].x.shape[1:])
    learner.update(learner(x).square().mean())


def test_networks_are_as_they_were_once_shares_are_joined(learner):
    step(learner)
    weights = list(learner.model.parameters())
    before, kinds = [p.detach().clone() for p in weights], [type(m) for m in learner.model.modules()]
    names = [list(vars(m)) for m in learner.model.modules()]
    held = shards(learner)
    assert is_sharded()
    assert all(own_part(p) is not p for p in learner.model.parameters())
    assert not sum(p.numel() for p in weights)  # what was whole is gone
    held.join()
    assert not is_sharded()
    assert [id(p) for p in learner.model.parameters()] == [id(p) for p in weights]
    assert all(torch.equal(p, was) for p, was in zip(weights, before, strict=True))
    assert [type(m) for m in learner.model.modules()] == kinds
    assert [list(vars(m)) for m in learner.model.modules()] == names
    assert set(learner.optimizer.state) == set(weights)
    step(learner)
    assert not torch.equal(weights[0], before[0])


def test_an_average_moves_shares(learner):
    teacher = Teacher(learner, 0.5)
    start = [p.detach().clone() for p in teacher.model.parameters()]
    held = Shards({"1": learner.model, "2": teacher.model}, [learner.optimizer], [])
    step(learner)
    teacher.update(learner.model)
    held.join()
    for mine, theirs, was in zip(teacher.model.parameters(), learner.model.parameters(), start, strict=True):
        torch.testing.assert_close(mine, (theirs + was) / 2)
    assert not torch.equal(start[0], next(teacher.model.parameters()))


def test_a_state_is_stored_whole(learner):
    step(learner)
    plain = learner.state_dict()
    held = shards(learner)
    stored = whole_state(learner.state_dict())
    held.join()
    assert stored.keys() == plain.keys()
    for name in plain.keys() - {"_extra_state"}:
        assert type(stored[name]) is torch.Tensor
        assert torch.equal(stored[name], plain[name])
    for number, moments in plain["_extra_state"]["optimizer"]["state"].items():
        assert torch.equal(stored["_extra_state"]["optimizer"]["state"][number]["exp_avg"], moments["exp_avg"])


def test_numbers_that_are_not_finite_are_seen_in_shares(ranks):
    class Spoiled(st.strategies.Supervised):
        def step(self, batch, clock, *extra):
            report = super().step(batch, clock, *extra)
            own_part(next(self.student.model.parameters()).detach()).fill_(float("nan"))
            return report

    strategy = Spoiled(toy.task("classification"), toy.learner("classification"), decay=None)
    with pytest.raises(st.errors.NonFiniteError, match="the step left numbers that are not finite in student.model"):
        trained(strategy, toy.pile("classification"), steps=1, handlers=[st.handlers.NonFiniteGuard(0)])


@pytest.mark.parametrize("name", ["fst"])
def test_a_run_in_shares_is_that_of_copies(ranks, name, tmp_path):
    found = trained(build(name), toy.pile("classification"), steps=3, out=tmp_path / "run", eval_every=2)
    with distributed.alone(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(group, "_here", None)
        expected = trained(build(name), toy.pile("classification"), steps=3, eval_every=2)
        opened = st.open_run(tmp_path / "run")
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        torch.testing.assert_close(torch.as_tensor(found[key]), torch.as_tensor(value), rtol=1e-4, atol=2e-6)
    assert opened.strategy is not None


def test_what_cannot_be_sharded_is_refused(ranks, learner):
    held = shards(learner)
    with pytest.raises(UsageError, match="is to be copied while ranks hold shares"):
        copy_network(learner.model)
    part = next(m for m in learner.model.modules() if isinstance(m, nn.Linear))
    with pytest.raises(UsageError, match="Linear, a part of a network"):
        run_network(part, torch.zeros(2, part.in_features), "fp32", False)
    with torch.no_grad():
        assert run_network(part, torch.zeros(2, part.in_features), "fp32", False).shape == (2, part.out_features)
    held.join()
    copy_network(learner.model)
    twin = toy.learner("classification")()
    twin.model = nn.Sequential(learner.model)
    with pytest.raises(UsageError, match="0 and 1 share weights"):
        shards(learner, twin)
    single = toy.learner("classification")()
    single.model.scale = nn.Parameter(torch.ones(()))
    with pytest.raises(UsageError, match="without an axis"):
        shards(single)
    del single.model.scale
    shards(single).join()
    weight = single.model.get_parameter(next(name for name, _ in single.model.named_parameters()))
    single.optimizer.state[weight] = {"factor": torch.ones(2, 7)}
    with pytest.raises(UsageError, match="an optimizer keeps .* numbers for weights"):
        shards(single)
    group.here().sharded.clear()
    pile = toy.pile("classification")
    for strategy, why in [
        (build("mean_teacher", student={"precision": "fp16"}), "fp16"),
        (build("mean_teacher", student={"compile": True}), "compile"),
    ]:
        with pytest.raises(UsageError, match=f"weights cannot be sharded here.*{why}"):
            trained(strategy, pile, steps=1)
    stage = pretrain.IJEPA(pretrain.ViT(8, 2, 1, width=16, depth=1, heads=2))
    with pytest.raises(UsageError, match="a teacher follows a part"):
        trained(stage, st.data.Pile.from_arrays(torch.rand(8, 1, 8, 8).numpy(), torch.arange(8) % 2 - 1), steps=1)
