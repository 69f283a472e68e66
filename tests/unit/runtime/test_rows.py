"""Rows that stay on the rank that has read them: what keeps them apart, and that anything else sees the whole batch."""

from __future__ import annotations

import pytest
import torch

from selftrain.errors import RankError
from selftrain.mix import mixup
from selftrain.runtime.distributed import group, loader
from selftrain.runtime.distributed.rows import Rows, apart, every_row, own_rows
from selftrain.tasks import Classification
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


def mixed(options, *said, per_sample=False):
    """Rows 0 to 4 of which this rank has three, blended with partners, and their targets, one of the numbers alone."""
    both, x = Both(*said), torch.arange(5.0)[:, None]
    both.options = options
    rows, target = Rows(x[:3], [LABELED], both), Target(torch.cat([x, 4 - x], 1), torch.ones(5), torch.ones(5) > 0)
    torch.manual_seed(1)
    return *mixup(rows, target, Classification(2), alpha=1.0, per_sample=per_sample), torch.rand(()), both


def test_a_mix_of_own_rows_reads_no_others_and_its_targets_go_to_all():
    x, target, outside, both = mixed(group.Ranks(), torch.zeros(2, 8 + 4 + 1, dtype=torch.uint8))
    assert apart(x)
    assert len(x) == 5
    assert x.own.max() <= 2  # partners are among the own rows
    assert not torch.equal(x.own.flatten(), torch.arange(3.0))
    assert torch.allclose(target.value[:3, :1], x.own)  # the targets are numbers of the rows
    assert target.value[3:].sum() == 0  # what the other rank said
    assert dict(both.sent) == {"outputs": 3 * 13, "outputs/calls": 1}
    # a share for each row draws more often: outside of the mix all go on alike nevertheless
    again = mixed(group.Ranks(), torch.zeros(2, 13, dtype=torch.uint8), per_sample=True)
    assert torch.equal(outside, again[2])


def test_a_joint_mix_has_partners_among_all_rows():
    x, target, *_ = mixed(group.Ranks(mix="joint"), torch.tensor([[3.0], [4.0]]))
    torch.manual_seed(1)
    everything = torch.arange(5.0)[:, None]
    expected = Target(torch.cat([everything, 4 - everything], 1), torch.ones(5), torch.ones(5) > 0)
    whole = mixup(everything, expected, Classification(2), alpha=1.0)
    assert torch.equal(x, whole[0])
    assert torch.equal(target.value, whole[1].value)


def test_a_batch_that_was_drawn_ahead_is_sent_once_and_beside_others():
    class Alone(group.Group):
        def __init__(self):
            self._alone(group.Ranks(), torch.device("cpu"))

        def all_rows(self, mine, rows, kind):
            self._count(kind, mine)
            return mine

    class Windows:
        plan, steps_per_epoch = BatchPlan(2, 1.0), 2

        def epoch(self, number, start):
            one, two, three, four = (part([3 * i, 3 * i + 1]) for i in range(4))
            yield from ([one, two, three], [two, three, four])

    alone = Alone()
    first, second = loader.JoinedStream(Windows(), alone, BatchPlan(2, 1.0)).epoch(0)
    assert [batch.unlabeled.index.tolist() for batch in second] == [[3, 4], [6, 7], [9, 10]]
    assert second[0] is first[1]
    assert alone.sent["inputs/calls"] == 2


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
    # to hear what the second rank would say
    loader.joined_batches([part([7, 6]), part([3, 4])], listening, BatchPlan(5, 1.0))
    sizes = [] if full else [torch.tensor([[2, 2]])] * 2
    first = Both(*sizes, listening.said[-1])
    ahead, whole = loader.joined_batches([part([9, 8, 5]), part([0, 1, 2])], first, full)
    everything = part([0, 1, 2, 3, 4])
    assert first.sent["inputs/calls"] == 1
    assert [section.index.tolist() for section in ahead.parts] == [[9, 8, 5, 7, 6]] * 2
    for name in ("value", "weight", "valid"):
        assert torch.equal(getattr(whole.labeled.target, name), getattr(everything.labeled.target, name)), name
    for mine, every in zip(whole.parts, everything.parts, strict=True):
        assert torch.equal(mine.index, every.index)
    assert torch.equal(whole.unlabeled["weak"].theta, everything.unlabeled["weak"].theta)
    assert whole.unlabeled["strong"].theta is None
    assert whole.labeled.x.own.flatten().tolist() == [0, 5, 10]
    assert whole.unlabeled["strong"].x.own.flatten().tolist() == [0, 20, 40]
