"""Who the ranks are, and what they can say to one another."""

from __future__ import annotations

import atexit
import itertools
import math
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn.parallel import DistributedDataParallel

from selftrain.errors import RankError, UsageError

Of = Literal["joint", "own"]
Hold = Literal["copied", "sharded"]
FAILED = "selftrain/failed"  # key of the first error of a stage, in the store that all ranks share
PATIENCE = 5.0  # seconds that the store has for an answer, which takes milliseconds
_stages = itertools.count()  # the same on all ranks, which take the same stages


@dataclass(frozen=True)
class Ranks:
    """How several processes work as one; without effect in one process.

    ``with Ranks(...):`` holds for every ``selftrain.fit`` inside; without it, the defaults do.

    Args:
        batchnorm: ``"joint"``: BatchNorm normalizes with the statistics of all ranks' rows, as one process with the
            whole batch does; ``"own"``: each rank with those of its own rows, which saves a message for each layer on
            the way back. The running statistics are the same on all ranks in both cases.
        timeout: Seconds that a rank waits for the others before it gives up with ``RankError``; above 0. It must be
            longer than the first rank takes to write its files. A rank that dies is noticed at once.
        mix: ``"own"``: ``selftrain.mix`` mixes a rank's rows with one another, by draws of its own, so that inputs stay
            where they were read; ``"joint"``: all ranks' rows, as one process does, which sends each rank all inputs.
        weights: ``"copied"``: each rank holds all weights, gradients and moments of optimizers; ``"sharded"``: a share
            of each while the run trains (``torch.distributed.fsdp.fully_shard``), for what does not fit otherwise.
            Weights travel in every pass. What is stored is the same.

    Raises:
        ValueError: for another ``batchnorm``, ``mix`` or ``weights``, or a ``timeout`` that is not positive.
    """

    batchnorm: Of = "joint"
    timeout: float = 1800.0
    mix: Of = "own"
    weights: Hold = "copied"

    def __post_init__(self) -> None:
        for name in ("batchnorm", "mix"):
            if getattr(self, name) not in ("joint", "own"):
                raise ValueError(f"{name} is {getattr(self, name)!r}; choose 'joint' or 'own'")
        if self.weights not in ("copied", "sharded"):
            raise ValueError(f"weights is {self.weights!r}; choose 'copied' or 'sharded'")
        if not self.timeout > 0:
            raise ValueError(f"timeout is {self.timeout} seconds; it must be above 0")

    def __enter__(self) -> Ranks:
        _chosen.append(self)
        return self

    def __exit__(self, *error: object) -> None:
        _chosen.pop()


_chosen = [Ranks()]


class Group:
    """The ranks of one stage. Everything that is said goes through here; all ranks must say the same things in order.

    Args:
        options: How they work together.
        device: Where this rank computes.

    Attributes:
        rank, size: Number of this process from 0, and of how many.
        sharing: Whether a network is running on this rank's share of the rows.
        sharded: Networks of which this rank holds a share of the weights.
        sent: Bytes of what was said, by kind: ``"gradients"``, ``"inputs"``, ``"outputs"``, ``"statistics"``,
            ``"control"``; the whole payload, whatever the way it takes. Messages are counted as ``"kind/calls"``.
    """

    def __init__(self, options: Ranks, device: torch.device) -> None:
        self._alone(options, device)
        self.word = f"{FAILED}/{next(_stages)}"
        # A group for each stage: the timeout is the stage's own, and closing it frees ranks that still wait.
        wait = timedelta(seconds=options.timeout)
        backend = dist.get_default_backend_for_device(device)
        self._pg: Any = self._said(lambda: dist.new_group(timeout=wait, backend=backend))
        self.rank, self.size = dist.get_rank(), dist.get_world_size()

    def _alone(self, options: Ranks, device: torch.device) -> None:
        self.options, self.device = options, device
        self.rank, self.size, self.sharing = 0, 1, False
        self.sent: Counter[str] = Counter()
        self.sharded: set[nn.Module] = set()
        # Weakly: a copy of a network that takes a step on trial is gone with it.
        self._reducers: WeakKeyDictionary[nn.Module, tuple[list[Any], DistributedDataParallel]] = WeakKeyDictionary()

    def backward(self, losses: list[Tensor], model: nn.Module, average: bool) -> None:
        """Backpropagate, and average what is then the gradient of each of the model's weights, if so wanted."""
        if average and model not in self.sharded:  # those average in every pass, each rank its share
            # A sum of nothing: the reducer takes weights that this pass does not reach for unused, and would leave
            # what earlier passes have brought as it is on each rank.
            left = [p for p in model.parameters() if p.requires_grad and p.grad is not None]
            losses = losses + [p.reshape(-1)[:0].sum() for p in left]
            # Found from the losses and not from outputs, as `DistributedDataParallel.forward` would: here several
            # passes, and those of other networks, may lead to one loss.
            self._said(lambda: self._reducer(model).prepare_for_backward(losses))
        try:
            torch.autograd.backward(losses)
        except RuntimeError as error:
            if not _of_ranks(error):
                raise
            raise RankError(_reason(self.word, error)) from error

    def _reducer(self, model: nn.Module) -> Any:
        """What averages gradients of this model; made anew where other weights are to learn, or have moved."""
        learning = [p for p in model.parameters() if p.requires_grad]
        self._count_gradients(learning)
        place = [(id(p), p.device, p.dtype) for p in learning]
        if model not in self._reducers or self._reducers[model][0] != place:
            self._reducers.pop(model, None)  # its hooks go first: gradients of both would be averaged twice
            # Its `forward` is never called, so that the model, with the names of its state, stays as it is. The spare
            # weight is never used: torch would write to stderr that all are.
            spare = nn.Parameter(torch.zeros(1, device=self.device))
            self._reducers[model] = place, DistributedDataParallel(
                nn.ParameterList([*learning, spare]), init_sync=False, process_group=self._pg,
                find_unused_parameters=True,
            )  # fmt: skip
        return self._reducers[model][1].reducer

    def _count_gradients(self, learning: list[nn.Parameter]) -> None:
        self.sent["gradients"] += sum(p.nbytes for p in learning)
        self.sent["gradients/calls"] += 1

    def total(self, values: Tensor, kind: str) -> Tensor:
        """Sum over ranks, written into ``values``; the same bits on every rank."""
        self._count(kind, values)
        self._said(lambda: dist.all_reduce(values, group=self._pg))
        return values

    def all_rows(self, mine: Tensor, rows: list[int], kind: str) -> Tensor:
        """All ranks' rows behind one another; ``rows`` says how many each has (they differ by at most one)."""
        shape, width = mine.shape[1:], math.prod(mine.shape[1:]) * mine.element_size()
        padded = torch.zeros(max(rows), width, dtype=torch.uint8, device=mine.device)  # bytes: any type can be sent
        padded[: len(mine)] = _bytes(mine).view(len(mine), width)
        # `all_gather` takes parts of one size: the shorter ones were filled up.
        parts = [torch.empty_like(padded) for _ in rows]
        # Without the filling: what has to be said does not depend on how it is divided.
        self.sent[kind] += sum(rows) * width
        self.sent[f"{kind}/calls"] += 1
        self._said(lambda: dist.all_gather(parts, padded, group=self._pg))
        every = torch.cat([part[:count] for part, count in zip(parts, rows, strict=True)])
        return every.view(-1).view(mine.dtype).view(sum(rows), *shape)

    def broadcast(self, *values: Tensor) -> None:
        """Write the first rank's ``values`` into those of the others."""
        # One message for all: each of many small ones would take longer than its bytes.
        sent = torch.cat([_bytes(v.to(self.device)) for v in values])
        self._count("control", sent)
        self._said(lambda: dist.broadcast(sent, dist.get_global_rank(self._pg, 0), group=self._pg))
        if self.rank:
            for value, part in zip(values, sent.split([v.nbytes for v in values]), strict=True):
                value.copy_(part.clone().view(value.dtype).view(value.shape))  # a clone starts where its type may

    def texts(self, mine: str) -> list[str]:
        """What each rank says, in the order of the ranks."""
        # The closing zero: an empty text has no buffer.
        said = torch.frombuffer(bytearray(mine.encode() + b"\0"), dtype=torch.uint8).to(self.device)
        sizes = self.all_rows(torch.tensor([len(said)], device=self.device), [1] * self.size, "control").tolist()
        padded = torch.cat([said, said.new_zeros(max(sizes) - len(said))])[None]
        rows = self.all_rows(padded, [1] * self.size, "control").cpu()
        return [bytes(row[:n].tolist())[:-1].decode() for row, n in zip(rows, sizes, strict=True)]

    def share(self, rows: int) -> list[int]:
        """How many of so many rows each rank takes: as equal as can be, in order."""
        whole, rest = divmod(rows, self.size)
        return [whole + (number < rest) for number in range(self.size)]

    def close(self) -> None:
        """Leave; ranks that are still waiting hear of it."""
        self._reducers.clear()
        with suppress(RuntimeError, ValueError):
            dist.destroy_process_group(self._pg)

    def _count(self, kind: str, values: Tensor) -> None:
        self.sent[kind] += values.nbytes
        self.sent[f"{kind}/calls"] += 1

    def _said(self, say: Callable[[], Any]) -> Any:
        """Say it; if that fails, raise an error that tells why another rank is not there."""
        try:
            return say()
        except RuntimeError as error:
            raise RankError(_reason(self.word, error)) from error


def _bytes(values: Tensor) -> Tensor:
    return values.detach().contiguous().view(-1).view(torch.uint8)


_here: Group | None = None


def here() -> Group | None:
    """The ranks that work together now; ``None`` in one process, and outside of ``fit``."""
    return _here


def backward(loss: Tensor, model: nn.Module, *, average: bool = True) -> None:
    """Backpropagate; ``average`` puts the mean over ranks in place of each gradient of ``model``.

    Gradients that earlier passes have left are averaged with those of this one, and weights that no rank has a gradient
    for stay without. ``DistributedDataParallel``'s reducer does it, in buckets that travel while others are computed.
    """
    group = here()
    if group is None or group.sharing:
        loss.backward()
    else:
        group.backward([loss], model, average)


def mean_gradients(model: nn.Module) -> None:
    """Average gradients that earlier passes have left over ranks, outside of a pass."""
    group = here()
    if group is not None and model not in group.sharded and any(p.grad is not None for p in model.parameters()):
        group.backward([], model, True)  # the reducer works in backward passes only: an empty one


def own_part(tensor: Tensor) -> Tensor:
    """This rank's share of weights that are shared out (the same memory); any other tensor as it is."""
    if type(tensor) in (nn.Parameter, Tensor):  # nearly all, told at once
        return tensor
    to_local = getattr(tensor, "to_local", None)
    return tensor if to_local is None else to_local()


def launched() -> bool:
    """Whether this process is one of several that were started together."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_world_size() > 1
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and {"RANK", "MASTER_ADDR"} <= os.environ.keys()


def rank() -> int:
    """Number of this process, from 0; 0 in one process."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank()
    return int(os.environ.get("RANK", "0")) if launched() else 0


def size() -> int:
    """Number of processes that work together; 1 in one process."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_world_size()
    return int(os.environ["WORLD_SIZE"]) if launched() else 1


def is_first() -> bool:
    """Whether this process is the one that writes files and shows progress."""
    return rank() == 0


def own_device(device: torch.device) -> torch.device:
    """The accelerator of this process, where ``device`` does not say which: that of its number on this machine."""
    if not launched() or device.type == "cpu" or device.index is not None:
        return device
    # `cuda` without a number is the first GPU in every process.
    mine = torch.device(device.type, int(os.environ.get("LOCAL_RANK", "0")))
    torch.get_device_module(device).set_device(mine)
    return mine


@contextmanager
def working(group: Group) -> Iterator[None]:
    """These ranks work together inside."""
    global _here
    before, _here = _here, group
    try:
        yield
    finally:
        _here = before


@contextmanager
def alone() -> Iterator[None]:
    """Inside, a rank does all by itself and nothing is said: for what the first one does while the others wait."""
    if _here is None or _here.sharing:
        yield
        return
    _here.sharing = True
    try:
        yield
    finally:
        _here.sharing = False


@contextmanager
def joined(options: Ranks | None, device: torch.device) -> Iterator[Group | None]:
    """Work together with the other ranks inside; alone, if there are none or they already do.

    Raises:
        RankError: (inside) if another rank has stopped; the message is that of its error, if it could say it.
    """
    if _here is not None or not launched():
        if _chosen[-1].weights == "sharded" and "WORLD_SIZE" not in os.environ and not dist.is_initialized():
            raise UsageError(
                "weights are to be sharded and this is the only process; start it with torchrun, or take "
                "Ranks(weights='copied')"
            )
        yield None
        return
    group = _met(options or _chosen[-1], device)
    try:
        with working(group):
            yield group
        group.total(torch.zeros(1, device=device), "control")  # what the first rank has written is there for all
    except BaseException as error:
        _tell(group, error)
        raise
    finally:
        group.close()


def _met(options: Ranks, device: torch.device) -> Group:
    """The ranks, met in the way their launcher has prepared, if the caller has not met them before."""
    if not dist.is_initialized():
        try:
            _meet(dist.get_default_backend_for_device(device), timedelta(seconds=options.timeout))
        except RuntimeError as error:
            raise RankError(f"the ranks did not meet: {error}") from error
        # Only what was set up here is ended here; a caller's own group is the caller's.
        atexit.register(_part)
    return Group(options, device)


def _meet(backend: str, wait: timedelta) -> None:
    """Meet as ``env://`` does, but apart from earlier attempts of a launcher that keeps its store."""
    library: Any = dist  # its types do not list all of it
    store, number, count = next(iter(library.rendezvous("env://", timeout=wait)))
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    apart = library.PrefixStore(f"selftrain/attempt-{attempt}", store)
    dist.init_process_group(backend, timeout=wait, store=apart, rank=number, world_size=count)


def _part() -> None:
    with suppress(RuntimeError, ValueError, AssertionError):
        dist.destroy_process_group()


def _store() -> Any:
    return dist.distributed_c10d._get_default_store()


def _asked(question: Callable[[Any], Any]) -> Any:
    """What the store that all ranks share answers; ``None``: nothing, or not in time."""
    answer: list[Any] = []

    def ask() -> None:
        with suppress(RuntimeError):
            answer.append(question(_store()))

    # In a thread of its own: the store is kept by the first rank, and where that stands still no timeout of ours ends
    # the wait for it. As a daemon it does not keep the process either.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    return answer[0] if answer else None


def _of_ranks(error: RuntimeError) -> bool:
    """Whether this is an error of what ranks say to one another, as told from any other of a backward pass."""
    return isinstance(error, dist.DistError) or any(word in str(error) for word in ("gloo", "NCCL"))


def _tell(group: Group, error: BaseException) -> None:
    """Leave word of an error for the ranks that will wait in vain; the first word stays."""
    # The echo of another rank's error: it must not hide the cause.
    if isinstance(error, RankError):
        return
    text = f"rank {group.rank} stopped: {type(error).__name__}: {error}"
    _asked(lambda store: store.compare_set(group.word, "", text))


def _reason(word: str, error: RuntimeError) -> str:
    """Why a rank did not answer: its own word, or what is known without it."""
    # a rank that can speak does so before it leaves
    told = _asked(lambda store: str(store.get(word).decode()) if store.check([word]) else None)
    return told or f"another rank has died, or did not answer in time (see its own output): {error}"
