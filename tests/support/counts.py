"""Kernels and waits of a step: what a training step would ask of an accelerator, counted on the CPU.

    python tests/support/counts.py            # remakes tests/contract/counts.json
    python tests/support/counts.py --compiled # remakes what it says of TensorViews(compile=True), too
    python tests/support/counts.py fixmatch   # which calls the step of one method makes, and which of them wait

A step has three parts: the views (reading of rows left out, which is the host's), the step of the method with the look
at whether it is finite, and what handlers do after it: ledger and sums of the log. Beside them the host waits once,
late: it reads whether all was finite when the views of the next step have been asked for, so that the device goes on.
A *kernel* is a call that reaches torch's dispatcher and computes: views of memory, allocations and detaching are none.
A *wait* is a call for whose answer the host waits until the device has done all that was asked before: numbers that are
read (``item``, ``bool``, ``tolist``), results whose size depends on values (``nonzero``, boolean indexes, ``unique``),
checks inside of torch (``linalg.inv``, ``bincount``), and tensors made of Python numbers, which are copied from
pageable memory.

Counted is a step without a row of the log, evaluation, checkpoint or copy of the guard. Optimizers are fused, as they
are on an accelerator.
"""

from __future__ import annotations

import json
import math
import sys
import warnings
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

TABLE = Path(__file__).resolve().parents[1] / "contract" / "counts.json"
PARTS = ("views", "step", "late", "after")
STEP = 3  # the guard copies the state before steps 1, 2, 4, 8
CLASSES, SIDE, UNLABELED = 3, 8, 96
PRETRAINING = ("mae", "ijepa", "lejepa", "simclr")

_WAITS = {
    *("_local_scalar_dense", "nonzero", "masked_select", "bincount", "equal", "_unique2", "unique_dim"),
    *("unique_consecutive", "linalg_inv", "linalg_solve", "_linalg_check_errors", "is_nonzero", "lift_fresh"),
}
_NO_KERNEL = {
    *("detach", "alias", "_unsafe_view", "empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided"),
    *("lift_fresh", "_local_scalar_dense", "_linalg_check_errors", "is_same_size", "set_"),
    *("_record_function_enter_new", "_record_function_exit"),
}
_READS = {Tensor.tolist, Tensor.cpu, Tensor.numpy, Tensor.__array__}
_CHECKED_ON_CPU = (F.one_hot, torch.quantile, Tensor.quantile)  # by CPUs alone


class Counting(TorchDispatchMode):
    """Count the calls of each part that is named by ``part``; ``None``: not counted."""

    def __init__(self) -> None:
        super().__init__()
        self.part: str | None = None
        self.kernels: dict[str, Counter[str]] = {part: Counter() for part in PARTS}
        self.waits: dict[str, Counter[str]] = {part: Counter() for part in PARTS}
        self.unchecked = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if self.part is not None:
            name = func.overloadpacket.__name__
            cpu_only = self.unchecked and name in ("_local_scalar_dense", "aminmax", "min", "max", "all")
            if _waits(name, args) and not cpu_only:
                self.waits[self.part][_place(name)] += 1
            if name not in _NO_KERNEL and not cpu_only and not _aliases(func):
                self.kernels[self.part][name] += 1
        return func(*args, **(kwargs or {}))


class Reads(TorchFunctionMode):
    """Reads that a tensor on the CPU answers without the dispatcher."""

    def __init__(self, counting: Counting) -> None:
        super().__init__()
        self.counting = counting

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        counting, cpu_only = self.counting, func in _CHECKED_ON_CPU
        if counting.part is not None and func in _READS:
            counting.waits[counting.part][_place(func.__name__)] += 1
        counting.unchecked += cpu_only
        try:
            return func(*args, **(kwargs or {}))
        finally:
            counting.unchecked -= cpu_only


def _waits(name: str, args: Any) -> bool:
    if name in ("index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index_put"):
        return any(index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1])
    return name in _WAITS


def _aliases(func: Any) -> bool:
    """Whether a call gives another look at memory that there is."""
    returned = func._schema.returns
    return bool(returned) and all(one.alias_info is not None and not one.alias_info.is_write for one in returned)


def _place(name: str) -> str:
    """A call and the line of this library that asks for it."""
    frame: Any = sys._getframe(2)
    while frame is not None:
        path = frame.f_code.co_filename
        if "torch/" not in path and "/tests/support/counts.py" not in path:
            return f"{name} at {'/'.join(Path(path).parts[-3:])}:{frame.f_lineno}"
        frame = frame.f_back
    return f"{name} in the backward pass"


def count(name: str) -> Counting:
    """What step ``STEP`` of a method asks for, by its name in the catalog."""
    import selftrain as st
    from selftrain import data, mix
    from selftrain.data.loading.fetching import Fetcher
    from selftrain.data.loading.stream import PairedStream
    from selftrain.data.views import image_ops
    from selftrain.handlers import NonFiniteGuard, Progress
    from selftrain.pretrain.masked import Masked
    from selftrain.runtime import finite

    counting = Counting()

    class Parts(NonFiniteGuard):
        """The guard, which hears of events first, says which part begins."""

        def before_step(self, step: int) -> None:
            super().before_step(step)
            begin("step" if step == STEP else None)

        def after_step(self, step: int, report: Any) -> None:
            begin("after" if step == STEP else None)
            super().after_step(step, report)

        def end_step(self, step: int) -> None:
            begin(None)

    def begin(part: str | None) -> None:
        modes.close()  # which cost time in what is not counted
        counting.part = part
        if part is not None:
            modes.enter_context(counting)
            modes.enter_context(Reads(counting))

    def named(part: str | None, call: Any) -> Any:
        """The same call, as a part of its own of the step that is counted."""

        def inside(*values: Any, **settings: Any) -> Any:
            before = counting.part
            counting.part = part if before is not None else None
            try:
                return call(*values, **settings)
            finally:
                counting.part = before

        return inside

    with torch.random.fork_rng(devices=[]), ExitStack() as held:
        torch.manual_seed(0)
        x = torch.randint(0, 256, (UNLABELED + 24, 1, SIDE, SIDE), dtype=torch.uint8)
        y = torch.arange(len(x)) % CLASSES
        pile = data.Pile(
            data.ArraySet(x[:12], y[:12]),
            data.ArraySet(x[24:]),
            validation=data.ArraySet(x[12:24], y[12:24]),
            classes=["a", "b", "c"],
            truth=y[24:],
        )
        strategy = _strategy(name)
        held.enter_context(patch.object(Fetcher, "__getitem__", named(None, Fetcher.__getitem__)))
        for made in ("_labeled", "_unlabeled"):
            held.enter_context(patch.object(PairedStream, made, named("views", getattr(PairedStream, made))))
        held.enter_context(patch.object(PairedStream, "_target", named(None, PairedStream._target)))
        for module, drawn in ((mix, "_beta"), (mix, "_shares"), (Masked, "draw")):  # on the host, and sent from there
            held.enter_context(patch.object(module, drawn, named(None, getattr(module, drawn))))
        held.enter_context(patch.object(finite.Watch, "check", named("late", finite.Watch.check)))
        # CPUs have quicker ways of their own
        held.enter_context(patch.object(image_ops, "by_rows", lambda device: False))
        held.enter_context(patch.object(data.TensorViews, "_drawn", named(None, data.TensorViews._drawn)))
        held.enter_context(patch.object(finite, "_in_short", lambda group: list(torch._foreach_norm(group, math.inf))))
        held.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        modes = held.enter_context(ExitStack())
        plan = st.BatchPlan(labeled=6, unlabeled_ratio=2.0)
        st.fit(
            strategy,
            pile,
            steps=STEP + 1,
            plan=plan,
            handlers=[Parts(), Progress(False)],
            evaluation=st.Evaluation(1000),
        )
    return counting


def _strategy(name: str) -> Any:
    import selftrain as st
    from selftrain import catalog, pretrain

    def network(outputs: int) -> torch.nn.Module:
        encoder = st.ConvEncoder(SIDE, widths=(4, 8), embed_dim=16)
        return st.Classifier(encoder, outputs * CLASSES)

    if name in PRETRAINING:
        encoder = st.ConvEncoder(SIDE, widths=(4, 8), embed_dim=16)
        if name in ("mae", "ijepa"):
            encoder = pretrain.ViT(SIDE, 2, width=16, depth=2, heads=2)
        return catalog.make_recipe(name, encoder, {}, {"optimizer": _fused})
    make = st.learner(lambda: network(catalog.METHODS[name].outputs), optimizer=_fused)
    sizes: Any = {"unlabeled": UNLABELED, "label_shape": (CLASSES,)}
    sizes |= {"min_labeled": 4} if name == "soft_labels" else {}
    return catalog.build(name, st.Classification(CLASSES), make, **sizes)


def _fused(groups: Any) -> torch.optim.Optimizer:
    return torch.optim.AdamW(groups, fused=True)


def names() -> list[str]:
    """All that is counted."""
    from selftrain import catalog

    return [*catalog.METHODS, *PRETRAINING]


def row(counting: Counting) -> dict[str, dict[str, int]]:
    """The numbers of a method as the table has them."""
    return {
        "kernels": {part: counting.kernels[part].total() for part in PARTS},
        "waits": {part: counting.waits[part].total() for part in PARTS},
    }


def programs() -> dict[str, int]:
    """Kernels of each compiled view of an accelerator, as torch's compiler makes them for the CPU."""
    from torch._inductor import metrics

    from selftrain import data
    from selftrain.data.views import image_ops

    views, found = data.TensorViews(mean=0.3, std=0.3, compile=True), {}
    x = torch.randint(0, 256, (112, 1, 28, 28), dtype=torch.uint8)
    with patch.object(image_ops, "by_rows", lambda device: False):
        for name in ("weak", "strong"):
            metrics.reset()
            views(name, x, torch.arange(len(x)), 0)
            found[name] = metrics.generated_kernel_count
    return found


def stored() -> Mapping[str, Any]:
    """The table: version of torch, and a row for each method."""
    table: Mapping[str, Any] = json.loads(TABLE.read_text(encoding="utf-8"))
    return table


def main() -> None:
    """Write the table, or show a method."""
    if sys.argv[1:] not in ([], ["--compiled"]):
        for name in sys.argv[1:]:
            found = count(name)
            print(name, row(found))
            for part in PARTS:
                print(f" {part}: {dict(found.kernels[part].most_common())}")
                print("".join(f"   {n} x {place}\n" for place, n in found.waits[part].most_common()), end="")
        return
    rows = {name: row(count(name)) for name in names()}
    for name, figures in rows.items():
        print(f"{name:24}", *(f"{what} {'+'.join(map(str, of.values())):14}" for what, of in figures.items()))
    compiled = json.dumps(programs() if sys.argv[1:] else stored()["compiled_views"])
    lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(figures)}" for name, figures in rows.items())
    head = f'"torch": "{torch.__version__.split("+")[0]}", "compiled_views": {compiled}'
    TABLE.write_text(f'{{{head}, "rows": {{\n{lines}\n}}}}\n', encoding="utf-8")


if __name__ == "__main__":
    main()
