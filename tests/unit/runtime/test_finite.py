"""A counter that the host knows, whoever changes its buffer."""

import copy

import torch
from torch import nn

from selftrain.runtime.finite import HostCount


def test_the_number_is_that_of_the_buffer_whoever_changes_it():
    module, count = nn.Module(), HostCount()
    module.register_buffer("updates", torch.zeros((), dtype=torch.long))
    assert count.read(module.updates) == 0
    count.add(module.updates)
    count.add(module.updates, 2)
    assert count.read(module.updates) == int(module.updates) == 3
    module.load_state_dict({"updates": torch.tensor(7)})
    assert count.read(module.updates) == 7
    module.updates.zero_()
    count.add(module.updates)
    assert count.read(module.updates) == int(module.updates) == 1
    module.updates = torch.tensor(5)  # another tensor, as of a strategy that was moved
    assert count.read(module.updates) == 5
    buffer, other = copy.deepcopy((module.updates, count))
    other.add(buffer)
    assert (other.read(buffer), count.read(module.updates), int(module.updates)) == (6, 5, 5)
