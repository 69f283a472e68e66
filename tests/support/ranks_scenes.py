"""What is run by one process and by several, to be compared: each scene returns numbers and tensors.

    RANK=0 WORLD_SIZE=2 MASTER_ADDR=127.0.0.1 MASTER_PORT=29555 python tests/support/ranks_scenes.py FOLDER [SCENE ...]

plays scenes as one rank and stores what they return in ``FOLDER/RANK.pt``. Without names, all of them.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import selftrain as st
from selftrain import catalog, pretrain, toy
from selftrain.data import Pile
from selftrain.errors import RankError
from selftrain.networks.optim import Training
from selftrain.pipeline import Best, Labeling, Stage, run_pipeline
from selftrain.runtime import distributed
from selftrain.runtime.distributed.group import Group
from selftrain.runtime.distributed.rows import own_rows
from selftrain.strategies import FixMatch, NoisyStudent, Supervised
from selftrain.strategy.base import Strategy
from selftrain.types import BatchPlan, Clock

CPU = torch.device("cpu")
PLAN = BatchPlan(labeled=5, unlabeled_ratio=1.4, seed=5)  # 5 and 7 rows: no share is like the other
STEPS = 7  # 24 unlabeled rows: 4 steps an epoch, the last batch of each is filled up
SHAPES: Mapping[str, tuple[int, ...]] = {
    "classification": (3,),
    "segmentation": (3, 12, 12),
    "keypoints": (2, 12, 12),
}
SETTINGS: Mapping[str, Mapping[str, Any]] = {  # so that every part of a method has work to do
    "fixmatch": {"select": st.select.top(0.7)},
    "uda": {"select": st.select.top(0.7), "annealing": "linear"},
    "flexmatch": {"threshold": 0.5},
    "freematch": {"limits": (0.0, 0.05)},
    "jointmatch": {"threshold": 0.2},
    "soft_labels": {"min_labeled": 4},
}
Result = dict[str, Any]


# -- whole runs --------------------------------------------------------------------------------------------------------
def build(
    name: str, kind: toy.Kind = "classification", *, seed: int = 0, student: Mapping[str, Any] | None = None
) -> Strategy:
    """A fresh strategy of the catalog; the random state is left as found."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        method = catalog.METHODS[name]
        make = toy.learner(kind, outputs=method.outputs, **({"dropout": 0.0} | dict(student or {})))
        sizes: dict[str, Any] = {"unlabeled": 24, "label_shape": SHAPES[kind]}
        return catalog.build(name, toy.task(kind), make, **sizes, **SETTINGS.get(name, {}))


def told(run: st.Run) -> Result:
    """All that a run leaves: every tensor of the strategy and the ledger, and its figures."""
    tensors = {f"strategy/{n}": t for n, t in run.strategy.state_dict().items() if isinstance(t, Tensor)}
    tensors |= {f"ledger/{name}": t for name, t in run.ledger.state_dict().items()}
    figures = {f"last/{part}/{name}": v for part, row in run.last.items() for name, v in row.items()}
    return tensors | figures | {f"train/{name}": v for name, v in run.train.items()}


def trained(strategy: Strategy, pile: Any, **fit: Any) -> Result:
    settings = {"steps": STEPS, "plan": PLAN, "eval_every": 5, "log_every": 3, "progress": False} | fit
    return told(st.fit(strategy, pile, **settings))


def method(
    name: str, kind: toy.Kind = "classification", *, student: Mapping[str, Any] | None = None, **fit: Any
) -> Result:
    return trained(build(name, kind, student=student), toy.pile(kind), **fit)


def recipe(name: str) -> Result:
    torch.manual_seed(0)
    x = torch.rand(26, 1, 8, 8, generator=torch.Generator().manual_seed(1)).numpy()
    plain = Training(optimizer="sgd", lr=0.05, weight_decay=0.0)  # Adam makes steps of rounding where a gradient is 0
    stage = getattr(pretrain, name)(pretrain.ViT(8, 2, 1, width=16, depth=1, heads=2), training=plain)
    return trained(stage, Pile.from_arrays(x, torch.arange(26) % 3 - 1), steps=4, eval_every=2)


def own_pile() -> Pile:
    """A pile whose rows and views are made in shares."""
    x = torch.rand(60, 1, 12, 12, generator=torch.Generator().manual_seed(3)).numpy()
    y = torch.where(torch.arange(60) < 24, torch.arange(60) % 3, -1)
    return Pile.from_arrays(x, y, validation=6)


def shared(name: str, workers: int = 0, mix: Any = "joint", **fit: Any) -> Result:
    plan = BatchPlan(PLAN.labeled, PLAN.unlabeled_ratio, seed=5, workers=workers)
    return trained(build(name), own_pile(), steps=6, plan=plan, ranks=distributed.Ranks(mix=mix), **fit)


def own_mix() -> Result:
    """Mixes of own rows, which the first rank draws for TensorBoard."""
    with tempfile.TemporaryDirectory() as folder:
        return shared("mixmatch", mix="own", out=Path(folder) / "run", eval_every=3)


def in_shares(run: Callable[[], Result]) -> Result:
    """The run where each rank holds a share of the weights."""
    with distributed.Ranks(weights="sharded", mix="joint") if distributed.launched() else nullcontext():
        return run()


def other_start() -> Result:
    """Networks that start differently on each rank: the first one's start counts."""
    return trained(build("mean_teacher", seed=distributed.rank()), toy.pile("classification"))


def half_gathered(out: Path, *, seed: int = 0, **fit: Any) -> Result:
    """A run that may be stopped between the gradients of an optimizer step."""
    strategy = build("fst", student={"accumulate": 3}, seed=seed)
    return trained(strategy, toy.pile("classification"), out=out, steps=8, **fit)


def stopped() -> Result:
    return half_gathered(Path(os.environ["RANKS_FOLDER"]) / "stopped", stop_after=4)


def stopped_in_shares() -> Result:
    """What was stored in copies goes on in shares, both in the midst of a gathering."""
    out = Path(os.environ["RANKS_FOLDER"]) / "stopped_in_shares"
    half_gathered(out, stop_after=2)
    return in_shares(partial(half_gathered, out, resume=True, stop_after=4))


def pipeline() -> Result:
    """A teacher, its labels of the whole pile, and a student, in a folder."""
    task, make = toy.task("classification"), toy.learner("classification", dropout=0.0)
    steps: dict[str, Any] = {"steps": 3, "options": {"progress": False}}
    stages = [
        Stage("teacher", lambda past: Supervised(task, make, decay=None), **steps),
        Labeling("labels", by="teacher"),
        Stage("student", lambda past: NoisyStudent(task, make, labels=past.labels["labels"]), **steps),
        Best("best", ("teacher", "student")),
    ]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        found = told(run_pipeline(stages, toy.pile("classification"), out, plan=PLAN).past["student"])
        return found | {"files": float(len(list(out.rglob("*.safetensors"))))} if distributed.is_first() else found


def in_a_folder() -> Result:
    """A run with a control, snapshots and everything else that reads and writes files, and one that goes on from it."""
    fit: dict[str, Any] = {"snapshots": 2, "steps": 4, "eval_every": 2}
    name = "selftrain-ranks-" + os.environ.get("MASTER_PORT", f"alone-{os.getpid()}")
    folder = Path(tempfile.gettempdir()) / name  # one for all ranks
    try:
        first = trained(build("fixmatch"), own_pile(), out=folder / "run", baseline=True, **fit)
        second = trained(build("fixmatch"), own_pile(), out=folder / "next", pretrain=folder / "run", **fit)
        files = sorted(str(path.relative_to(folder)) for path in folder.rglob("*.safetensors"))
        return {f"first/{k}": v for k, v in first.items()} | second | {f"file {name}": 1.0 for name in files}
    finally:
        if distributed.is_first():
            shutil.rmtree(folder, ignore_errors=True)


# -- faults: with one of them, several processes must not equal one ----------------------------------------------------
def _alone(self: Group, mine: Tensor, rows: list[int], kind: str) -> Tensor:
    """Each rank knows the answers for its own rows only."""
    if kind != "outputs":
        return ALL_ROWS(self, mine, rows, kind)
    other = [mine[:1].expand(count, *mine.shape[1:]) for count in rows]
    return torch.cat([mine if number == self.rank else part for number, part in enumerate(other)])


ALL_ROWS = Group.all_rows
FAULTS: Mapping[str, tuple[Callable[[], Any], Callable[[], Result]]] = {
    "gradients are not averaged": (
        lambda: mock.patch.object(Group, "backward", _apart),
        partial(method, "fixmatch"),
    ),
    "gradients of virtual steps are not averaged": (
        lambda: mock.patch.object(Group, "backward", _unless_virtual),
        partial(method, "fst"),
    ),
    "gradients that were gathered are not averaged": (
        lambda: mock.patch.object(Group, "backward", _newest),
        partial(method, "fst", student={"accumulate": 3}, steps=8),
    ),
    "answers are not scaled on the way back": (
        lambda: mock.patch("selftrain.runtime.distributed.shard._Join.backward", staticmethod(_unscaled)),
        partial(method, "fixmatch"),
    ),
    "thresholds see the rows of one rank": (
        lambda: mock.patch.object(Group, "all_rows", _alone),
        partial(method, "freematch"),
    ),
    "statistics are those of a rank's own rows": (
        lambda: mock.patch("selftrain.runtime.distributed.shard.sharing_norms", return_value=nullcontext()),
        partial(method, "mean_teacher"),
    ),
    "every rank starts by itself": (
        lambda: mock.patch("selftrain.engine.state.same_start", return_value=None),
        other_start,
    ),
    "all ranks fetch the same share": (
        lambda: mock.patch("selftrain.data.loading.fetching._shared", _first_share),
        partial(shared, "mixmatch"),
    ),
}


BACKWARD = Group.backward


def _apart(self: Group, losses: list[Tensor], model: nn.Module, average: bool) -> None:
    BACKWARD(self, losses, model, False)


def _unless_virtual(self: Group, losses: list[Tensor], model: nn.Module, average: bool) -> None:
    self.sent["passes"] += 1  # FST: virtual and real steps take turns
    BACKWARD(self, losses, model, average and self.sent["passes"] % 2 == 0)


def _newest(self: Group, losses: list[Tensor], model: nn.Module, average: bool) -> None:
    """The mean of the last pass, beside a rank's own of those before."""
    if not average:
        return BACKWARD(self, losses, model, False)
    before = [p.grad for p in model.parameters()]
    for p in model.parameters():
        p.grad = None
    BACKWARD(self, losses, model, True)
    for p, grad in zip(model.parameters(), before, strict=True):
        p.grad = grad if p.grad is None else p.grad if grad is None else p.grad + grad
    return None


def _unscaled(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
    return own_rows(grads[0], ctx.layout, ctx.group.rank), None, None


def _first_share(taken: Any, share: tuple[int, int]) -> Any:
    count = len(taken.rows.tensor_split(share[1])[share[0]])  # as many as are its own
    rows, key = taken.rows[:count], taken.key[:count]
    return taken._replace(rows=rows, key=key)


def faulty(name: str) -> Result:
    patch, scene = FAULTS[name]
    with patch() if distributed.launched() else nullcontext():
        return scene()


# -- the seams ---------------------------------------------------------------------------------------------------------
@contextmanager
def caught(result: Result, name: str) -> Iterator[None]:
    try:
        yield
        result[name] = None
    except Exception as error:
        result[name] = f"{type(error).__name__}: {error}"


def seams() -> Result:
    """Everything the ranks can say to one another."""
    found: Result = {}
    with distributed.joined(None, CPU) as group:
        assert group is not None
        found["texts"] = group.texts(f"rank {group.rank} " + "ä" * group.rank)
        found["any"] = [distributed.any_rank(group.rank == 1), distributed.any_rank(False)]
        for dtype in (torch.int16, torch.bool, torch.float64):
            mine = torch.full((2 - group.rank, 2), group.rank + 1).to(dtype)
            found[f"rows {dtype}"] = group.all_rows(mine, [2, 1], "control")
        found["no rows"] = group.all_rows(torch.full((1 - group.rank, 3), 4.0), [1, 0], "control")
        found["first"] = distributed.from_first(lambda: {"rank": distributed.rank(), "x": torch.arange(3)})
        with caught(found, "first fails"):
            distributed.from_first(lambda: int("three"))
        with caught(found, "unlike"):
            distributed.check_alike({"steps": 7, "unlabeled samples": 24 + group.rank})
        module, values = nn.Linear(2, 2), torch.arange(4).to(torch.int16) * (group.rank + 1)
        module.register_buffer("bank", values)
        distributed.same_start(module)
        found["start"] = [module.weight.detach().clone(), module.bank.clone()]
        parts = {name: nn.Linear(2, 1, bias=False) for name in ("used", "first", "before", "never")}
        weights, x = nn.ModuleDict(parts), torch.full((1, 2), 3.0 + 2 * group.rank)
        distributed.backward(parts["before"](x).sum(), weights, average=False)
        found["apart"] = parts["before"].weight.grad.clone()
        loss = parts["used"](x).sum() + parts["used"](2 * x).sum()  # two passes, one backward pass
        distributed.backward(loss if group.rank else loss + parts["first"](x).sum(), weights)
        found["gradients"] = {name: part.weight.grad for name, part in parts.items()}
        held = nn.Linear(2, 1)
        distributed.backward(held(x).sum(), held, average=False)
        distributed.mean_gradients(held)
        distributed.mean_gradients(nn.Linear(2, 1))  # none to average
        found["left"] = held.weight.grad
        with caught(found, "own error"):
            worn = (x * held.weight).exp()
            worn.detach().zero_()
            distributed.backward(worn.sum(), held)
    return found


def networks() -> Result:
    """A network on rows, and the gradients of inputs and weights, with rows enough and too few."""
    found: Result = {}
    x = torch.randn(7, 4, 3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    with distributed.joined(None, CPU):
        for rows in (7, 2, 1):
            norm = nn.BatchNorm2d(4, dtype=torch.float64)
            norm.weight.data.copy_(torch.tensor([1.0, 2.0, -1.0, 0.5]))
            given = x[:rows].clone().requires_grad_()
            outside = nn.Parameter(torch.ones(4, 1, 1, dtype=torch.float64))
            first, second = distributed.spread(lambda t, m=norm: (m(t).tanh(), t.square()), given)
            loss = (outside * first).square().sum().log() + (first * second).mean()
            weights = nn.ParameterList([norm.weight, norm.bias, outside])
            distributed.backward(loss, weights)
            found[f"{rows} rows"] = [first.detach(), given.grad, *(p.grad for p in weights)]
            found[f"{rows} rows: statistics"] = [norm.running_mean, norm.running_var, norm.num_batches_tracked]
    return found


def norms() -> Result:
    """BatchNorm with the statistics of own rows, in half precision, and without running statistics."""
    found: Result = {}
    x = torch.randn(6, 3, generator=torch.Generator().manual_seed(1)) + 1
    with distributed.joined(distributed.Ranks(batchnorm="own"), CPU):
        mean, var = torch.zeros(3), torch.ones(3)
        found["own"] = distributed.spread(lambda t: F.batch_norm(t, mean, var, training=True), x)
        found["running"] = [mean, var]
    with distributed.joined(None, CPU):
        found["half"] = distributed.spread(lambda t: F.batch_norm(t, None, None, training=True), x.bfloat16())
        found["evaluating"] = distributed.spread(lambda t: F.batch_norm(t, mean, var), x)
    return found


def half() -> Result:
    """fp16 updates of which one overflows, in a row that the last rank has: whether weights moved, scales, weights."""
    found: Result = {}
    x = torch.randn(4, 1, 12, 12, generator=torch.Generator().manual_seed(1))
    overflowing = torch.tensor([1.0, 1.0, 1.0, 1e30])[:, None]
    with distributed.joined(None, CPU):
        for accumulate in (1, 2):
            torch.manual_seed(0)
            make = toy.learner("classification", norm=False, dropout=0.0, precision="fp16", accumulate=accumulate)
            learner, moved, scales, weights = make().train(), [], [], []
            for update in range(4 * accumulate):
                factor = overflowing if update == accumulate else torch.ones(4, 1)
                moved.append(learner.update((factor * learner(x).square()).mean()))
                scales.append(learner.scaler.get_scale())
                weights.append(torch.cat([p.detach().flatten() for p in learner.parameters()]))
            found[f"accumulate={accumulate}"] = {"moved": moved, "scales": scales, "weights": torch.stack(weights)}
    return found


def dropping() -> Result:
    """Random numbers inside networks and outside of them."""
    torch.manual_seed(3)
    ones, found = torch.ones(8, 5), {}
    with distributed.joined(None, CPU):
        found["masks"] = [distributed.spread(lambda t: F.dropout(t, 0.5), ones) for _ in range(2)]
        found["outside"] = torch.rand(3)
        torch.manual_seed(3)
        distributed.spread(lambda t: t + 1, ones)
        found["nothing drawn"] = torch.rand(3)
    return found


class Failing(FixMatch):
    """Fails on one rank alone, in its third step."""

    def step(self, batch: Any, clock: Any, *extra: Any) -> Any:
        if distributed.rank() == 1 and clock.step == 2:
            raise ValueError("the third step is too much")
        return super().step(batch, clock, *extra)


def failing() -> Result:
    found: Result = {}
    strategy = Failing(toy.task("classification"), toy.learner("classification"))
    begun = time.perf_counter()
    with caught(found, "error"):
        st.fit(strategy, toy.pile("classification"), steps=5, progress=False)
    found["waited"] = time.perf_counter() - begun
    return found | method("pseudo_label")  # and the ranks go on together


class Hanging(FixMatch):
    """Does not come back in time on one rank."""

    def step(self, batch: Any, clock: Any, *extra: Any) -> Any:
        if distributed.rank() == 1 and clock.step == 1:
            time.sleep(4)
        return super().step(batch, clock, *extra)


def hanging() -> Result:
    found: Result = {}
    strategy = Hanging(toy.task("classification"), toy.learner("classification"))
    with caught(found, "error"):
        trained(strategy, toy.pile("classification"), ranks=distributed.Ranks(timeout=2.0))
    time.sleep(0 if distributed.rank() else 3)
    return found


def refused() -> Result:
    """Ranks that were given other settings or samples, and batches too small to share."""
    found: Result = {}
    with caught(found, "settings"):
        task, make = toy.task("classification"), toy.learner("classification")
        trained(FixMatch(task, make, unlabeled_weight=1.0 + distributed.rank()), toy.pile("classification"))
    with caught(found, "samples"):
        trained(build("pseudo_label"), toy.pile("classification", unlabeled=24 + distributed.rank()))
    with caught(found, "share"):
        trained(build("pseudo_label"), own_pile(), plan=BatchPlan(1, 4.0))
    return found


def sent() -> Result:
    """Bytes and messages of two steps of one method."""
    pile, strategy = own_pile(), build("fst")
    with distributed.joined(None, CPU) as group:
        assert group is not None
        stream = distributed.joined_stream(pile, strategy.needs(), PLAN, CPU)
        for step, batches in enumerate(stream.epoch(0)):
            strategy.train().step(batches[0], Clock(step, 0, 2))
            if step == 1:
                return dict(group.sent)
    raise AssertionError("an epoch has more than one step")


SCENES: dict[str, Callable[[], Result]] = {name: partial(method, name) for name in catalog.METHODS}
SCENES |= {
    "fixmatch_pixels": partial(method, "fixmatch", "segmentation"),
    "fst_d_joints": partial(method, "fst_d", "keypoints"),
    "fst_accumulate": partial(method, "fst", student={"accumulate": 3, "max_grad_norm": 0.5}, steps=8),
    "mean_teacher_adamw": partial(method, "mean_teacher", student={"optimizer": "adamw", "lr": 1e-3}),
    "fst_w_in_shares": partial(shared, "fst_w"),
    "mixmatch_in_shares": partial(shared, "mixmatch"),
    "MAE": partial(recipe, "MAE"),
    "IJEPA": partial(recipe, "IJEPA"),
    "LeJEPA": partial(recipe, "LeJEPA"),
    "SimCLR": partial(recipe, "SimCLR"),
    "other_start": other_start,
    "pipeline": pipeline,
    "in_a_folder": in_a_folder,
}
IN_SHARES = ("fixmatch", "mean_teacher", "fst_d", "MAE", "cps", "fst_accumulate")
SCENES |= {f"shares of {name}": partial(in_shares, SCENES[name]) for name in IN_SHARES}
RUNS = tuple(SCENES)  # each equals one process
SCENES |= {f"fault: {name}": partial(faulty, name) for name in FAULTS}
SCENES |= {
    "seams": seams,
    "networks": networks,
    "norms": norms,
    "half": half,
    "half precision": partial(method, "fst", student={"precision": "fp16"}),
    "dropping": dropping,
    "stopped": stopped,
    "stopped in shares": stopped_in_shares,
    "own norms": partial(method, "fixmatch", ranks=distributed.Ranks(batchnorm="own")),
    "own mix": own_mix,
    "failing": failing,
    "hanging": hanging,
    "refused": refused,
    "sent": sent,
}


def play(folder: Path, names: list[str]) -> None:
    results: dict[str, Any] = {}
    for name in names or list(SCENES):
        try:
            results[name] = SCENES[name]()
        except RankError:
            results[name] = {"failed": traceback.format_exc()}
            break
    torch.save(results, folder / f"{os.environ['RANK']}.pt")


if __name__ == "__main__":
    torch.set_num_threads(1)
    play(Path(sys.argv[1]), sys.argv[2:])
