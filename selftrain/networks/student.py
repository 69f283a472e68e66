"""A network that learns: module, optimizer, schedule, clipping, accumulation and mixed precision in one state."""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Callable, Iterator
from typing import Any, Literal, TypeVar, cast

import torch
from torch import Tensor, nn

from selftrain._compat import old_method
from selftrain.arguments import shown
from selftrain.errors import CheckpointError, DataError, NonFiniteError, TrainingError, setting
from selftrain.networks.outputs import levels_of, logits_of
from selftrain.runtime.distributed import any_rank, backward, here, mean_gradients, own_part, part_together, spread
from selftrain.runtime.finite import expect, look, watched
from selftrain.runtime.rng import random_state, set_random_state
from selftrain.schedule import Schedule, constant
from selftrain.storage.fields import COUNT, Number, check
from selftrain.types import plain_settings

Precision = Literal["auto", "fp32", "bf16", "fp16"]
HowFast = Literal["auto"]
SavedBuffers = list[tuple[nn.Module, str, Tensor | None, Tensor | None]]
Output = TypeVar("Output", Tensor, tuple[Tensor, ...])
LabelMode = Literal["eval", "batch", "frozen", "train"]
LABEL_MODES = ("eval", "batch", "frozen", "train")
Restore = Literal["all", "parameters"]
LARGEST = torch.finfo(torch.float32).max
SMALLEST_SCALE = 2.0**-16  # of fp16: gradients that overflow even so are no matter of scale
# What is stored of a learner beside its weights, and of a scaler that is in use.
_STORED = {
    "optimizer": {"state": dict, "param_groups": [{"params": [COUNT]}]},
    "scaler": dict,
    "pending": COUNT,
    "grads": [(Tensor, None)],
}
_SCALER = dict.fromkeys(("scale", "growth_factor", "backoff_factor", "growth_interval"), Number(1e-45))
_SCALER |= {"_growth_tracker": COUNT}
MakeOptimizer = Callable[[nn.Module], torch.optim.Optimizer]


@plain_settings
class Learner(nn.Module):
    """Train one network; everything the training needs to continue exactly is in ``state_dict``.

    Args:
        model: The network, (B, ...) -> logits (B, C, *S).
        optimizer: An optimizer over the parameters of ``model``.
        schedule: Factor on the learning rate as a function of progress; the engine calls ``set_lr`` before each step.
        max_grad_norm: Gradients are scaled down to this Euclidean norm; ``None``: no clipping.
        accumulate: Number of ``update`` calls whose mean gradient makes one optimizer step.
        precision: Number format of the forward pass. ``"auto"``: bf16 on accelerators that have it and, for networks in
            ``channels_last``, on CPUs with instructions for it (AVX512-BF16, AMX), else fp32. Losses are always
            computed in fp32; fp16 scales its gradients.
        channels_last: Memory format for networks with 2-D convolutions (faster on CPU); ``None``: on
            if there are any. It changes results by rounding only, except that dropout on feature maps draws other
            masks.
        compile: Run the forward pass through ``torch.compile``, that of teachers which follow the whole network too.
        speed: ``"auto"``: ``fit`` tries which formats are fastest, see ``Training``.

    Attributes:
        trained: Whether all weights that it starts from were learned elsewhere, so that it may go on without labels.

    Raises:
        ValueError: for an ``accumulate`` below 1 or a ``max_grad_norm`` that is not positive.
        DataError: for a network of which nothing can be trained, or whose weights have no shape yet.
    """

    only_trained_with = ("_extra_state",)

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        schedule: Schedule | None = None,
        max_grad_norm: float | None = None,
        accumulate: int = 1,
        precision: Precision = "fp32",
        channels_last: bool | None = None,
        compile: bool = False,
        speed: HowFast | None = None,
    ) -> None:
        super().__init__()
        if accumulate < 1:
            raise ValueError(f"accumulate is {accumulate}; it must be at least 1")
        if max_grad_norm is not None and max_grad_norm <= 0:
            raise ValueError(f"max_grad_norm is {max_grad_norm}; it must be above 0, or None for no clipping")
        if precision not in ("auto", "fp32", "bf16", "fp16"):
            raise ValueError(f"precision is {precision!r}; choose auto, fp32, bf16 or fp16")
        check_trainable(model)
        has_convolutions = any(isinstance(m, nn.Conv2d) for m in model.modules())
        self.channels_last = has_convolutions if channels_last is None else channels_last
        self.model = model.to(memory_format=torch.channels_last) if self.channels_last else model
        self.optimizer, self.precision, self.accumulate = optimizer, precision, accumulate
        self.schedule, self.max_grad_norm = schedule or constant(), max_grad_norm
        self.base_rates = [group["lr"] for group in optimizer.param_groups]
        # As they were given: some optimizers write into their groups.
        self.base_groups = [{k: v for k, v in group.items() if k != "params"} for group in optimizer.param_groups]
        self.scaler = self._make_scaler()
        self.compiles, self.speed = compile, speed
        if compile:
            self.model.compile()
        self.trained = False  # whether all weights it starts from were learned elsewhere
        self._pending = 0  # updates since the last optimizer step
        self._virtual = False
        self._taken_back = False  # the optimizer's state, and no step since
        self.register_buffer("grad_norm", torch.zeros(()))

    def _make_scaler(self) -> torch.amp.GradScaler:
        device = next(self.model.parameters()).device
        return torch.amp.GradScaler(device.type, enabled=self.precision == "fp16")

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Learner:
        before = next(self.model.parameters()).dtype
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        same = next(self.model.parameters()).dtype == before
        # brings moments to where the weights are now, and to their type where that has changed
        (_load_moments if same else torch.optim.Optimizer.load_state_dict)(self.optimizer, self.optimizer.state_dict())
        scale = self.scaler.state_dict()
        self.scaler = self._make_scaler()  # it belongs to the device the network has just moved to
        if self.scaler.is_enabled():
            self.scaler.load_state_dict(scale)
        return self

    def frozen(self) -> list[nn.Parameter]:
        """Weights that no step moves: they take no gradient and no optimizer holds them. Copies share them."""
        held = {id(p) for group in self.optimizer.param_groups for p in group["params"]}
        return [p for p in self.model.parameters() if not p.requires_grad and id(p) not in held]

    def __deepcopy__(self, memo: dict[int, Any]) -> Learner:
        memo.update((id(p), p) for p in self.frozen())
        made: Any = type(self).__new__(type(self))
        memo[id(self)] = made
        made.__setstate__(copy.deepcopy(self.__dict__, memo))
        if self.compiles:  # a copy of a module is not compiled
            made.model.compile()
        return cast("Learner", made)

    # -- forward ---------------------------------------------------------------------------------------------------
    def forward(self, *inputs: Tensor, together: bool = True) -> Tensor | tuple[Tensor, ...]:
        """Logits of one input, or of each of several, in fp32; gradients flow into the network.

        Args:
            inputs: Shape (B, ...) each; B may differ.
            together: Several go through one concatenated pass: one set of BatchNorm statistics, and less time. Or
                through a pass each.
        """
        if len(inputs) == 1:
            return run_network(self._logits, inputs[0], self.precision, self.channels_last)
        if not together and all(map(len, inputs)):  # of no samples there are no statistics
            return tuple(self(x) for x in inputs)
        joined = run_network(self._logits, torch.cat(inputs), self.precision, self.channels_last)
        return tuple(joined.split([len(x) for x in inputs]))

    together = old_method("together", "__call__")

    def _logits(self, x: Tensor) -> Tensor:
        return logits_from(self.model, x)

    def levels(self, *inputs: Tensor, together: bool = True) -> list[tuple[Tensor, ...]]:
        """Logits of each of several inputs, first the network's own, then those of its further levels; see ``forward``.

        Further levels are what a network gives as ``aux`` beside its logits (``PoseNet(levels=...)``).
        """
        if len(inputs) == 1 or (not together and all(map(len, inputs))):
            return [run_levels(self.model, x, self.precision, self.channels_last) for x in inputs]
        joined = run_levels(self.model, torch.cat(inputs), self.precision, self.channels_last)
        return list(zip(*(level.split([len(x) for x in inputs]) for level in joined), strict=True))

    def several(self, x: Tensor, *more: Tensor) -> tuple[Tensor, ...]:
        """Outputs of a network that gives several of ``x`` and more, each in fp32; gradients flow into the network.

        All inputs and outputs have the samples along their first axis.
        """
        return run_network(self.model, x, self.precision, self.channels_last, *more)

    @contextlib.contextmanager
    def untracked(self) -> Iterator[None]:
        """Passes inside leave the running statistics of BatchNorm as they are; gradients flow as always."""
        norms = [m for m in self.model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
        tracked = [m for m in norms if m.training and m.track_running_stats]
        for module in tracked:
            module.track_running_stats = False
        try:
            yield
        finally:
            for module in tracked:
                module.track_running_stats = True

    def random_state(self) -> tuple[Any, ...]:
        """State of the generators that the network may draw from, for ``same_noise``."""
        return random_state(next(self.model.parameters()).device)

    @contextlib.contextmanager
    def same_noise(self, state: tuple[Any, ...]) -> Iterator[None]:
        """A pass inside draws the dropout masks of the pass that came after ``state`` was taken.

        What is drawn outside goes on as if there had been no such pass.
        """
        before = self.random_state()
        self._draw_from(state)
        try:
            yield
        finally:
            self._draw_from(before)

    def _draw_from(self, state: tuple[Any, ...]) -> None:
        set_random_state(state, next(self.model.parameters()).device)

    @torch.no_grad()
    def label(self, x: Tensor, mode: LabelMode = "eval") -> Tensor:
        """Logits without gradient, to make pseudo-labels of.

        Args:
            x: Input, shape (B, ...).
            mode: ``"eval"``: running statistics, no dropout; ``"batch"``: statistics of this batch, which also move
                the running ones, no dropout; ``"frozen"``: statistics of this batch and dropout, but the running
                statistics stay; ``"train"``: as in training.

        Raises:
            ValueError: for another ``mode``.
        """
        check_label_mode(mode)
        was_training = self.training
        # BatchNorm has no mode that normalizes by the batch and leaves its running statistics, so they are put back.
        buffers = _save_buffers(self.model) if mode == "frozen" else None
        self._enter(mode)
        try:
            logits: Tensor = self(x)
            return logits
        finally:
            set_mode(self.model, was_training)
            if buffers is not None:
                _restore_buffers(self.model, buffers)

    def _enter(self, mode: LabelMode) -> None:
        set_mode(self.model, mode in ("frozen", "train"))
        if mode == "batch":
            for module in self.model.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.train()

    # -- update ----------------------------------------------------------------------------------------------------
    def set_lr(self, progress: float) -> None:
        """Set the learning rate for this moment of the stage, ``progress`` in [0, 1].

        Raises:
            NonFiniteError: if it is not finite in single precision.
        """
        factor = self.schedule(progress)
        for group, base in zip(self.optimizer.param_groups, self.base_rates, strict=True):
            # A rate that is a tensor stays one; numbers of numpy, of a schedule too, are Python's in a checkpoint.
            group["lr"] = rate = base * factor if isinstance(base, Tensor) else float(base * factor)
            if isinstance(rate, float) and not abs(rate) < LARGEST:
                raise NonFiniteError(
                    f"the learning rate is {rate} at {progress:.0%} of the stage; look at the schedule"
                )

    def update(self, loss: Tensor) -> bool:
        """Backpropagate ``loss`` and, every ``accumulate`` calls, take an optimizer step.

        Returns:
            Whether the weights moved, so that a teacher knows whether to follow. fp16 leaves out a step whose
            gradient overflows.

        Raises:
            NonFiniteError: if the loss or (without fp16) the gradient norm is not finite; the weights are untouched. In
                a step of ``fit`` the loop finds out at the end of the step, and brings back the state before it:
                asking here would wait for the device.
        """
        _check_finite(loss)
        # A virtual step sees one batch: gathering would look ahead with gradients of batches that are not to come back.
        share = 1 if self._virtual else self.accumulate
        self._pending += 1
        backward(self.scaler.scale(loss if share == 1 else loss / share), self.model, average=self._pending >= share)
        if self._pending < share:
            self._check_gathered()
            return False
        self._pending = 0
        return self._step()

    @property
    def gathering(self) -> bool:
        """Whether an optimizer step is under way: some of its ``accumulate`` updates are done and others to come."""
        return self._pending > 0

    def gather(self, loss: Tensor) -> None:
        """Backpropagate a further loss; its gradient joins that of the next ``update``, also into other learners.

        Raises:
            NonFiniteError: if the loss is not finite.
        """
        _check_finite(loss)
        backward(self.scaler.scale(loss / self.accumulate), self.model, average=False)

    def flush(self) -> bool:
        """Take an optimizer step with gradients that others have left; weights without one stay as they are."""
        mean_gradients(self.model)
        return self._step()

    def _check_gathered(self) -> None:
        """Complain of a gradient while its update can be left out alone; with fp16 the scaler will see to it."""
        if self.scaler.is_enabled():
            return
        norm = self._norm()
        if self._is_looked_at(norm):
            return
        if any_rank(not bool(torch.isfinite(norm))):
            self.optimizer.zero_grad(set_to_none=True)
            self._pending = 0
            raise _not_finite(norm.item())

    def _is_looked_at(self, norm: Tensor) -> bool:
        """Whether the end of the step sees that a norm is not finite; fp16 has to know it now."""
        if self.scaler.is_enabled() or here() is not None or not watched():
            return False
        expect(norm, math.isfinite, _not_finite)
        return True

    def _norm(self) -> Tensor:
        grads = [p.grad for p in weights_in(modules_of(self.model)) if p.grad is not None]
        if len({(g.dtype, g.device, g.layout) for g in grads}) == 1 and grads[0].layout == torch.strided:
            # what torch does once it has sorted them by kind
            norm: Tensor = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(grads)))
        else:
            norm = nn.utils.get_total_norm(grads)
        return cast("Tensor", norm.full_tensor()) if hasattr(norm, "full_tensor") else norm  # of all ranks' shares

    def _step(self) -> bool:
        self.scaler.unscale_(self.optimizer)
        norm = self._norm()
        finite = self._is_looked_at(norm) or bool(torch.isfinite(norm))
        if not finite and not self.scaler.is_enabled():
            self.optimizer.zero_grad(set_to_none=True)
            raise _not_finite(norm.item())
        self.grad_norm = norm.detach()
        if self.max_grad_norm is not None:
            nn.utils.clip_grads_with_norm_(self.model.parameters(), self.max_grad_norm, norm)
        try:
            if self._taken_back:
                _check_moments(self.optimizer)
            self.scaler.step(self.optimizer)
        except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
            # What an optimizer remembers is its own affair: that it does not fit shows when it is used.
            if not self._taken_back or isinstance(error, torch.OutOfMemoryError):
                raise
            raise CheckpointError(
                f"{type(self.optimizer).__name__} cannot go on with its state in the checkpoint: {error!r:.300}; take "
                f"the checkpoint of another copy of the folder, or start anew with {setting('overwrite', True, of='')}"
            ) from error
        self._taken_back = False
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        if not finite and self.scaler.get_scale() < SMALLEST_SCALE:
            raise NonFiniteError(
                f"the gradient norm is {norm.item()} at any scale; lower the learning rate or use bf16"
            )
        return finite

    @contextlib.contextmanager
    def virtual(self, restore: Restore = "all") -> Iterator[None]:
        """Look ahead: on exit the learner is as it was on entry.

        Weights, buffers, optimizer, scaler, gathered gradients and the random state come back, also after an error.
        Inside, every ``update`` steps at once, whatever ``accumulate`` says. Learning rates come from ``set_lr`` and
        need no restoring.

        Args:
            restore: ``"parameters"`` brings back the parameters alone, as the code published with FST does (Du et al.
                2022): moments, BatchNorm statistics and the random state of the virtual steps leak out.
        """
        if restore not in ("all", "parameters"):
            raise ValueError(f"restore is {restore!r}; choose 'all' or 'parameters'")
        frozen = [(p, p._version) for p in self.frozen()]
        state = self._snapshot()
        self._virtual, self._pending = True, 0
        for p in self.model.parameters():
            p.grad = None
        try:
            yield
        finally:
            self._virtual, self._pending = False, state["pending"]
            self._rewind(state, restore)
        if any(p._version != before for p, before in frozen):
            raise TrainingError(
                f"a pass changes weights of {type(self.model).__name__} that take no gradient, which a look ahead "
                "cannot bring back; register them with register_buffer instead of as parameters"
            )

    def _snapshot(self) -> dict[str, Any]:
        return {
            "parameters": [p.detach().clone() for p in self._moving()],
            "buffers": _save_buffers(self.model),
            "grads": [p.grad for p in self.model.parameters()],  # moved aside, not copied
            "optimizer": copy.deepcopy(self.optimizer.state_dict()["state"]),
            "scaler": self.scaler.state_dict(),
            "grad_norm": self.grad_norm,
            "pending": self._pending,
            "random": self.random_state(),
        }

    def _moving(self) -> list[Tensor]:
        frozen = {id(p) for p in self.frozen()}
        return [p for p in self.model.parameters() if id(p) not in frozen]

    @torch.no_grad()
    def _rewind(self, state: dict[str, Any], restore: Restore) -> None:
        torch._foreach_copy_([own_part(p) for p in self._moving()], [own_part(p) for p in state["parameters"]])
        for p, grad in zip(self.model.parameters(), state["grads"], strict=True):
            p.grad = grad
        self.grad_norm = state["grad_norm"]
        if restore == "parameters":
            return
        _restore_buffers(self.model, state["buffers"])
        # Rates were set for this step before the look ahead; only the moments come back.
        groups = self.optimizer.state_dict()["param_groups"]
        _load_moments(self.optimizer, {"state": state["optimizer"], "param_groups": groups})
        if self.scaler.is_enabled():
            self.scaler.load_state_dict(state["scaler"])
        self._draw_from(state["random"])

    # -- storage ---------------------------------------------------------------------------------------------------
    def get_extra_state(self) -> dict[str, Any]:
        """What the parameters and buffers do not hold: optimizer, scaler, gradients of an unfinished accumulation."""
        if self._pending:  # those of all ranks, so that whichever stores them stores enough
            mean_gradients(self.model)
        grads = [p.grad for p in self.model.parameters()] if self._pending else []
        return {
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "pending": self._pending,
            "grads": grads,
        }

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Take back what ``get_extra_state`` gave.

        Raises:
            ValueError: it is of another form, or of another optimizer; names the field.
        """
        check(state, _STORED, "the state of the optimizer")
        own = self.optimizer.state_dict()["param_groups"]
        if [group["params"] for group in own] != [group["params"] for group in state["optimizer"]["param_groups"]]:
            raise ValueError(
                f"the optimizer has groups of {[len(group['params']) for group in own]} tensors, not these"
            )
        for key, moments in state["optimizer"]["state"].items():
            if isinstance(key, str):  # what some optimizers have for all weights
                continue
            check(moments, {str: object}, f"the optimizer's state of weight {key!s:.20}")
            for name, value in moments.items():
                if isinstance(value, Tensor):
                    check(value, Tensor, f"{name} of weight {key!s:.20}")
                if name == "step":  # a negative one divides by zero, some steps from here
                    check(
                        value.item() if isinstance(value, Tensor) else value, Number(0), f"step of weight {key!s:.20}"
                    )
        # A setting that the file lacks is as it was given.
        groups = [mine | theirs for mine, theirs in zip(own, state["optimizer"]["param_groups"], strict=True)]
        _load_moments(self.optimizer, {"state": state["optimizer"]["state"], "param_groups": groups})
        self._taken_back = True
        if self.scaler.is_enabled():
            check(state["scaler"], _SCALER, "the scaler of fp16")
            self.scaler.load_state_dict(state["scaler"])
        self._pending = state["pending"]
        grads = state["grads"] if self._pending else [None] * len(list(self.model.parameters()))
        for p, grad in zip(self.model.parameters(), grads, strict=True):
            p.grad = None if grad is None else grad.to(p)


def _load_moments(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Load an optimizer's state; torch gives moments the type of the weights, but those of another type keep theirs."""
    optimizer.load_state_dict(state)
    numbers = [number for group in state["param_groups"] for number in group["params"]]
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    for number, weight in zip(numbers, weights, strict=False):
        moments = state["state"].get(number, {})
        for name, value in moments.items() if isinstance(moments, dict) else ():
            held = optimizer.state[weight].get(name)
            if isinstance(value, Tensor) and isinstance(held, Tensor) and held.dtype != value.dtype:
                optimizer.state[weight][name] = value.to(held.device)


MakeLearner = Callable[[], Learner]


def make_student(make_learner: MakeLearner) -> Learner:
    """A student, if that is what is made.

    Raises:
        ValueError: for something else.
    """
    made = make_learner()
    if not isinstance(made, Learner):
        raise ValueError(f"make_learner returned {shown(made)}; let learner(network) make it")
    return made


def check_trainable(network: nn.Module) -> None:
    """Refuse a network that no optimizer can move.

    Raises:
        DataError: it has no weights, none that takes a gradient, or lazy ones.
    """
    name = type(network).__name__
    lazy = [path for path, weight in network.named_parameters() if nn.parameter.is_lazy(weight)]
    if lazy:
        raise DataError(
            f"weights of {name} such as {lazy[:3]} have no shape before the first input; run it once on two samples "
            "(network(x[:2])) before it becomes a student"
        )
    count = sum(1 for _ in network.parameters())
    if not any(weight.requires_grad for weight in network.parameters()):
        what = f"all {count} weights of {name} are frozen" if count else f"{name} has no weights"
        raise DataError(f"{what}, so nothing can be trained; call requires_grad_(True) on what is to learn")


def check_label_mode(mode: LabelMode) -> LabelMode:
    """The mode, if ``Learner.label`` knows it."""
    if mode not in LABEL_MODES:
        raise ValueError(f"label mode is {mode!r}; choose one of {', '.join(LABEL_MODES)}")
    return mode


def run_network(
    network: Callable[..., Output], x: Tensor, precision: Precision, channels_last: bool, *more: Tensor
) -> Output:
    """Run ``network`` on ``x`` (and more) in the given precision and memory format; the result, or results, are fp32.

    Several processes share the rows out among them, see ``selftrain.runtime.distributed``.
    """
    if here() is None:  # one process, as nearly always: there are no rows to share out
        output = run_alone(network, x, precision, channels_last, *more)
    else:
        with part_together(network):
            output = spread(lambda x, *more: run_alone(network, x, precision, channels_last, *more), x, *more)
    look(output)
    return output


def run_alone(
    network: Callable[..., Output], x: Tensor, precision: Precision, channels_last: bool, *more: Tensor
) -> Output:
    """As ``run_network``, in this process alone."""
    if channels_last and x.dim() == 4:
        x = x.contiguous(memory_format=torch.channels_last)
    dtype = _autocast_dtype(precision, x.device, channels_last)
    try:
        with contextlib.nullcontext() if dtype is None else torch.autocast(x.device.type, dtype=dtype):
            output = network(x, *more)
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise TrainingError(
            f"BatchNorm needs more than 1 value of each channel in training, and the input is {tuple(x.shape)}; raise "
            "the batch size, or take a network without BatchNorm"
        ) from error
    return _widened(output)


def _widened(output: Output) -> Output:
    """Outputs in half precision as fp32: losses sum over many units, which half precision would round away."""
    if isinstance(output, Tensor):
        return output.float() if output.dtype in (torch.bfloat16, torch.float16) else output
    return tuple(map(_widened, output)) if type(output) is tuple else output


def _not_finite(norm: float) -> NonFiniteError:
    return NonFiniteError(f"the gradient norm is {norm}; lower the learning rate or set max_grad_norm")


def _check_finite(loss: Tensor) -> None:
    expect(
        loss.detach(),
        math.isfinite,
        lambda value: NonFiniteError(f"the loss is {value}; lower the learning rate or set max_grad_norm"),
    )


def _check_moments(optimizer: torch.optim.Optimizer) -> None:
    """Refuse moments that are not as large as their weights, which torch's fused kernels read beyond their end."""
    for group in optimizer.param_groups:
        for weight in group["params"] if group.get("fused") else ():
            for name, moment in optimizer.state.get(weight, {}).items():
                if moment.dim() and moment.shape != weight.shape:
                    raise ValueError(f"{name} has shape {tuple(moment.shape)} for weights {tuple(weight.shape)}")


def set_mode(module: nn.Module, training: bool) -> None:
    """Do what ``module.train(training)`` does, several times as fast: a step asks for it again and again."""
    kind = type(module)
    if (
        kind.train is not nn.Module.train
        or kind.__setattr__ is not nn.Module.__setattr__
        or "train" in vars(module)  # put there by whoever keeps a layer at rest
    ):
        module.train(training)
        return
    vars(module)["training"] = training  # which torch's own way looks for among weights, buffers and modules first
    for part in module._modules.values():
        if part is not None:
            set_mode(part, training)


def modules_of(module: nn.Module) -> list[nn.Module]:
    """``module.modules()`` in their order, several times as fast."""
    found = {id(module): module}
    _find_modules(module, found)
    return list(found.values())


def _find_modules(module: nn.Module, found: dict[int, nn.Module]) -> None:
    for part in module._modules.values():
        if part is not None and id(part) not in found:
            found[id(part)] = part
            _find_modules(part, found)


def weights_in(modules: list[nn.Module]) -> list[nn.Parameter]:
    """The weights that ``modules_of`` a network hold, in the order of ``network.parameters()``."""
    return list({id(p): p for module in modules for p in module._parameters.values() if p is not None}.values())


def _autocast_dtype(precision: Precision, device: torch.device, channels_last: bool) -> torch.dtype | None:
    if precision == "auto":
        # on CPUs convolutions gain; small transformers lose more to casts than their products win
        has_bf16 = knows_bf16(device) and (channels_last or device.type != "cpu")
        return torch.bfloat16 if has_bf16 else None
    return {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]


def knows_bf16(device: torch.device) -> bool:
    """Whether a device has instructions for products of bf16."""
    if device.type == "cpu":
        # older versions of torch do not tell
        abilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
        return bool(abilities.get("avx512_bf16", False) or abilities.get("amx_bf16", False))
    return device.type == "cuda" and torch.cuda.is_bf16_supported()


def logits_from(model: nn.Module, x: Tensor) -> Tensor:
    """What a network gives of ``x``, or the logits in it."""
    output = model(x)
    return output if isinstance(output, Tensor) else logits_of(output)


def run_levels(model: nn.Module, x: Tensor, precision: Precision, channels_last: bool) -> tuple[Tensor, ...]:
    """As ``run_network``: logits of ``x``, and those of the network's further levels."""
    return run_network(lambda x: levels_of(model(x)), x, precision, channels_last)


def _save_buffers(network: nn.Module) -> SavedBuffers:
    """Every buffer and its values now, by the module that holds it."""
    return [
        (module, name, buffer, None if buffer is None else buffer.detach().clone())
        for module in network.modules()
        for name, buffer in module._buffers.items()
    ]


@torch.no_grad()
def _restore_buffers(network: nn.Module, saved: SavedBuffers) -> None:
    """Give every buffer the tensor and the values that it had; those that came since go."""
    known = {(module, name) for module, name, _, _ in saved}
    for module in network.modules():
        for name in [name for name in module._buffers if (module, name) not in known]:
            del module._buffers[name]
    for module, name, buffer, values in saved:
        if buffer is not None and values is not None:
            # a module may have put another tensor in its place, or changed its shape
            if buffer.shape == values.shape:
                buffer.copy_(values)
            else:
                buffer.data = values
        module._buffers[name] = buffer
