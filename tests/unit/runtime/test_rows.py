"""Rows that stay on the rank that has read them: what keeps them apart, and that anything else sees the whole batch."""

from __future__ import annotations

import pytest
import torch

from selftrain.errors import RankError
from selftrain.runtime.distributed import group, loader
from selftrain.runtime.distributed.rows import Rows, apart, every_row, own_rows
from selftrain.types import Batch, BatchPlan, Labeled, Target, Unlabeled, View

LABELED, UNLABELED = [3, 2], [2, 2]  # rows of each of two ranks


class Both(group.Group):
    """The first of two ranks, which knows what the second would say."""

    def __init__(self, *said: torch.Tensor) -> None:
        self._alone(group.Ranks(), torch.device("cpu"))
        self.size, self.said = 2, list(said)

    def all_rows(self, mine, rows, kind):
        self._count(kind, mine)
        return torch.cat([mine, self.said.pop(0)])


def two_parts(*said):
    """9 rows of which this rank has 0 1 2 and 5 6, the other 3 4 and 7 8."""
    both, x = Both(*said), torch.arange(9.0)[:, None]
    return Rows(x[[0, 1, 2, 5, 6]], [LABELED, UNLABELED], both), both, x


def test_rows_of_several_parts_are_those_of_all_in_their_order():
    x = torch.arange(9.0)[:, None]
    mine, other = (own_rows(x, [LABELED, UNLABELED], rank) for rank in (0, 1))
    assert mine.flatten().tolist() == [0, 1, 2, 5, 6]
    assert torch.equal(every_row(mine, [LABELED, UNLABELED], Both(other), "outputs"), x)


@pytest.mark.parametrize(
    "ask",
    [
        lambda x: x + 1, lambda x: x[torch.tensor([3, 8, 0])], lambda x: x[1:4], lambda x: x.flip(0),
        lambda x: torch.nn.functional.pad(x, (1, 0)), lambda x: torch.where(x > 3, x, 0.0), lambda x: x.clone(),
        lambda x: torch.cat([x, x.new_ones(9, 2)], 1), lambda x: torch.tensor(x.tolist()), lambda x: x[:, 0],
        lambda x: torch.from_numpy(x.numpy()), lambda x: torch.stack([x, x]), lambda x: torch.cat([x, x.clone()]),
    ],
)  # fmt: skip
def test_whatever_else_is_done_sees_all_rows_and_asks_once(ask):
    rows, both, x = two_parts(torch.tensor([[3.0], [4], [7], [8]]))
    assert torch.equal(ask(rows), ask(x))
    assert torch.equal(ask(rows), ask(x))
    assert both.sent["inputs/calls"] == 1


def test_shapes_joining_and_taking_apart_say_nothing():
    rows, both, x = two_parts()
    assert (len(rows), rows.shape, rows.dtype, rows.dim()) == (9, x.shape, x.dtype, 2)
    assert not rows.requires_grad
    first, second = rows[:5], rows[5:]
    assert (first.parts, second.parts) == ([LABELED], [UNLABELED])
    joined = torch.cat((second, first, torch.full((4, 1), 9.0)))  # what all ranks have is shared out
    assert joined.own.flatten().tolist() == [5, 6, 0, 1, 2, 9, 9]
    assert joined.parts == [UNLABELED, LABELED, [2, 2]]
    assert apart(joined)
    assert not both.sent


def test_a_gradient_of_inputs_is_that_of_all_rows():
    rows, *_ = two_parts(torch.tensor([[3.0], [4], [7], [8]]))
    rows.requires_grad_()
    assert not apart(rows)  # networks now take what requires a gradient
    assert torch.autograd.grad(rows.square().sum(), rows)[0].flatten().tolist() == [2.0 * i for i in range(9)]


def test_rows_that_the_first_rank_asks_for_by_itself_are_an_error_and_not_a_wait():
    rows, both, x = two_parts(torch.tensor([[3.0], [4], [7], [8]]))
    both.sharing = True
    with pytest.raises(RankError, match="read them before"):
        rows + 1
    both.sharing = False
    rows.together()  # the remedy
    both.sharing = True
    assert torch.equal(rows + 1, x + 1)


def part(rows):
    """Of labels and of unlabeled samples, the rows with these numbers."""
    index = torch.tensor(rows)
    target = Target(index[:, None].float() / 2, index.double(), index % 2 == 0)
    views = {
        "weak": View(index[:, None] * 10.0, index[:, None, None] * torch.ones(2, 3)),
        "strong": View(index[:, None] * 20.0),
    }
    return Batch(Labeled(index[:, None] * 5.0, target, index), Unlabeled(views, index))


@pytest.mark.parametrize("full", [BatchPlan(5, 1.0), None])
def test_a_batch_knows_targets_and_numbers_of_all_rows_from_one_message(full):
    other = Both()
    other.rank = 1

    class Listening(Both):
        def all_rows(self, mine, rows, kind):
            self.said.append(mine)
            return torch.cat([mine, mine])

    listening = Listening()
    listening.rank = 1
    loader.joined_batch(part([3, 4]), listening, BatchPlan(5, 1.0))  # to hear what the second rank would say
    sizes = [] if full else [torch.tensor([[2, 2]])]
    first = Both(*sizes, listening.said[-1])
    whole = loader.joined_batch(part([0, 1, 2]), first, full)
    everything = part([0, 1, 2, 3, 4])
    assert first.sent["inputs/calls"] == 1
    for name in ("value", "weight", "valid"):
        assert torch.equal(getattr(whole.labeled.target, name), getattr(everything.labeled.target, name)), name
    for mine, every in zip(whole.parts, everything.parts, strict=True):
        assert torch.equal(mine.index, every.index)
    assert torch.equal(whole.unlabeled["weak"].theta, everything.unlabeled["weak"].theta)
    assert whole.unlabeled["strong"].theta is None
    assert whole.labeled.x.own.flatten().tolist() == [0, 5, 10]
    assert whole.unlabeled["strong"].x.own.flatten().tolist() == [0, 20, 40]
