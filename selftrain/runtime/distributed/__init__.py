"""Several processes as one: all run the same program, and networks share out the rows of what they are given.

Every rank (process) sees the whole batch of a step, and a strategy cannot tell how many ranks there are. Only where a
network is run does a rank take its own rows; the answers of all ranks are put together again. So thresholds, label
banks, mixes, losses and the ledger are those of one process, and the gradient, averaged over ranks, is too.

Started by ``torchrun``, ``selftrain.fit`` does all of it by itself. In one process every function here does nothing.
"""

from selftrain.runtime.distributed.collectives import (
    any_rank,
    check_alike,
    from_first,
    keep_together,
    same_start,
)
from selftrain.runtime.distributed.group import (
    Group,
    Ranks,
    alone,
    backward,
    here,
    is_first,
    joined,
    launched,
    mean_gradients,
    own_device,
    own_part,
    rank,
    size,
)
from selftrain.runtime.distributed.loader import joined_stream, whole_batch
from selftrain.runtime.distributed.shard import mixes_own, on_own_rows, spread
from selftrain.runtime.distributed.sharded import Shards, is_sharded, part_together, whole_state

__all__ = [
    "Group", "Ranks", "Shards", "alone", "any_rank", "backward", "check_alike", "from_first", "here", "is_first",
    "is_sharded", "joined", "joined_stream", "keep_together", "launched", "mean_gradients", "mixes_own", "on_own_rows",
    "own_device", "own_part", "part_together", "rank", "same_start", "size", "spread", "whole_batch", "whole_state",
]  # fmt: skip
