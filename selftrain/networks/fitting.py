"""Whether networks and samples fit one another, tried on two samples before anything is made of a run."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from selftrain.errors import DataError, SelftrainError, TrainingError
from selftrain.networks.copying import copy_network
from selftrain.networks.outputs import check_unambiguous, in_words, logits_of
from selftrain.networks.student import Learner, run_alone
from selftrain.runtime.rng import own_randomness

_SQUASHING = {"SoftmaxBackward0": "softmax", "SigmoidBackward0": "sigmoid"}


def check_learner(learner: Learner, x: Tensor, *, classes: bool) -> str:
    """Refuse a network that cannot learn from inputs like these.

    A copy is asked, so that neither weights nor statistics nor random numbers move.

    Args:
        learner: The network and how it is run.
        x: Inputs of two samples, shape (2, ...).
        classes: Whether its outputs are logits of classes.

    Returns:
        What it gives, in words.

    Raises:
        DataError: it does not run, gives no logits, no gradient, or other shapes in training or for a single sample.

    Warns:
        UserWarning: its outputs went through a softmax or sigmoid, which the losses apply themselves; or samples are
            answered by chance, or by the others that are asked with them, in evaluation too.
    """
    network = learner.model
    name = type(network).__name__
    with own_randomness(x.device):
        trial = copy_network(network)
        with torch.no_grad():
            trial.eval()
            output = _asked(trial, x, learner, name)
            check_unambiguous(output)
            logits, alone = logits_of(output), None
            with contextlib.suppress(TrainingError):  # BatchNorm without running statistics has none of a single sample
                alone = logits_of(_asked(trial, x[:1], learner, name))
            again = logits_of(_asked(trial, x, learner, name))
        if x.isnan().any() and logits.isnan().any():
            raise DataError(
                f"{name} gives NaN for series with gaps or of unequal length, which hold NaN where nothing is; pass "
                f"selftrain.networks.FilledGaps({name}(...)), with one channel more, or network='auto'"
            )
        if not logits.is_floating_point():
            raise DataError(f"{name} gives {in_words(logits)}, which are no logits: let it return them, not decisions")
        one = logits[:1] if alone is None else alone
        if one.shape[1:] != logits.shape[1:] or len(one) != 1 or len(logits) != len(x):
            raise DataError(
                f"{name} gives {tuple(logits.shape)} for {len(x)} samples and {tuple(one.shape)} for one; its first "
                "axis must be that of the samples: squeeze() and flatten() are to name the axes that they take away"
            )
        precise = learner.precision == "fp32"  # half precision rounds by the size of the batch
        odd = doubt_of_answers(name, trial, logits, again, alone, 1e-3 if precise else 0.02)
        if odd:
            warnings.warn(odd, stacklevel=5)
        trial.train()
        stored = _stored_shapes(trial)
        with torch.enable_grad():
            trained = logits_of(_asked(trial, x, learner, name))
        changed = [key for key, shape in _stored_shapes(trial).items() if stored.get(key) != shape]
    if changed:
        raise DataError(
            f"a pass changes the shape of what {name} stores: {changed[:3]}; a checkpoint could not be read again: "
            "register such a buffer in its full size, or with persistent=False if it need not be stored"
        )
    if trained.shape != logits.shape:
        raise DataError(
            f"{name} gives {tuple(trained.shape)} in training and {tuple(logits.shape)} in evaluation for the same "
            "samples; both must be logits of one shape"
        )
    if not trained.requires_grad:
        raise DataError(
            f"the outputs of {name} have no gradient, so it cannot learn; take torch.no_grad, detach() and conversions "
            "to numpy out of its forward"
        )
    if classes and logits.dim() > 1:
        _warn_of_probabilities(name, logits, trained)
    return f"{name} gives {tuple(logits.shape)}"


def doubt_of_answers(
    name: str, network: nn.Module, answers: Tensor, again: Tensor, alone: Tensor | None, tolerance: float
) -> str | None:
    """Why the answers of a network at rest are none of a sample alone; ``None``: nothing speaks against them.

    Args:
        name: Of the network, for the message.
        network: In evaluation mode.
        answers: To some samples, (B, ...).
        again: To the same samples, asked once more.
        alone: To the first of them alone, (1, ...); ``None``: it cannot be asked alone.
        tolerance: Difference that is none, as a share of the largest answer.
    """
    near = {"rtol": tolerance, "atol": tolerance * float(answers.float().abs().max())}
    if not torch.allclose(answers.float(), again.float(), equal_nan=True, **near):
        return (
            f"{name} gives other answers each time, in evaluation too; switch dropout and noise off where "
            "self.training is false: F.dropout(x, p, self.training)"
        )
    if alone is not None and torch.allclose(answers[:1].float(), alone.float(), equal_nan=True, **near):
        return None
    norms = [key for key, module in network.named_modules() if _of_the_batch(module)]
    where = f" ({', '.join(norms[:3])})" if norms else ""
    return (
        f"{name} answers a sample by the others that are asked with it{where}; give BatchNorm its running statistics "
        "(track_running_stats=True), or normalize each sample by itself (GroupNorm, LayerNorm)"
    )


def _of_the_batch(module: nn.Module) -> bool:
    """Whether it normalizes by the statistics of a batch in evaluation too."""
    batch = isinstance(module, nn.modules.batchnorm._BatchNorm)
    return batch and getattr(module, "running_mean", None) is None


def as_input(x: Any, network: nn.Module, wanted: tuple[int, ...] | None = None) -> Tensor:
    """Inputs of any array and type of number as a tensor without gradient, of the type and where the weights are.

    Args:
        x: Plain inputs, (B, ...).
        network: With the weights.
        wanted: Shape of one input that was learned from; ``None``: not known.

    Raises:
        DataError: no numbers, complex ones, or ones that are not finite in an array; other columns, channels or axes
            than were learned from; pictures in whole numbers, which no network has seen.
    """
    whole = isinstance(x, Tensor) and not x.is_floating_point()
    if not isinstance(x, Tensor):
        array = _array(x)
        whole = array.dtype.kind in "biu"
        # A copy in the machine's order of bytes and without negative strides, which torch has not.
        x = torch.from_numpy(np.array(array, dtype=np.float32))
    elif x.is_complex():
        raise DataError("x holds complex numbers; pass x.real and x.imag as the columns or channels of training")
    if wanted is not None:
        _check_shape(tuple(x.shape), wanted)
        if len(wanted) == 3 and whole:
            raise DataError(
                "x holds pictures in whole numbers, and the network has learned from what views make of them; "
                'pass run.views("plain", x, torch.arange(len(x)), 0).x'
            )
    weight = next((w for w in network.parameters() if w.is_floating_point()), torch.zeros(()))
    plain: Tensor = x.detach()
    return plain.to(weight)


def asked_for(ask: Callable[[Tensor], Tensor], x: Tensor, wanted: tuple[int, ...] | None) -> Tensor:
    """What ``ask`` gives for inputs ``x`` (B, ...).

    Raises:
        DataError: it fails on another shape than that of one input that was learned from, ``wanted``.
    """
    try:
        return ask(x)
    except RuntimeError as error:
        if wanted in (None, tuple(x.shape[1:])):
            raise
        raise DataError(
            f"x has inputs of shape {tuple(x.shape[1:])}, and those that were learned from have {wanted}; the network "
            f"takes no others: {error}"
        ) from error


def _array(x: Any) -> np.ndarray[Any, Any]:
    try:
        found = np.asarray(x)
        if found.dtype == object and found.ndim:
            found = found.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"x, a {type(x).__name__}, is no array of numbers: {error}; pass rows of one shape") from error
    if found.dtype.kind == "c":
        raise DataError("x holds complex numbers; pass x.real and x.imag as the columns or channels of training")
    if found.dtype.kind not in "biuf" or not found.ndim:
        raise DataError(f"x, a {type(x).__name__} ({found.dtype}), holds no rows of numbers; pass an array (B, ...)")
    if found.dtype.kind == "f" and not np.isfinite(found).all():
        raise DataError("x holds NaN or infinite values; fill them in as for training, or drop their rows")
    return found


def _check_shape(shape: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    """Refuse other axes, columns or channels; sides of pictures, lengths and numbers of points may be others."""
    one = shape[1:]
    # of two axes the first is the channels of series, or the last the coordinates of points
    alike = one[:1] == wanted[:1] or (len(wanted) == 2 and one[1:] == wanted[1:])
    if len(one) != len(wanted) or not alike:
        hint = "; a single one is x[None]" if shape == wanted else ""
        raise DataError(f"x has inputs of shape {one}, and those that were learned from have {wanted}{hint}")


def check_encoder_runs(learner: Learner, encoder: nn.Module, x: Tensor, width: int) -> None:
    """Refuse an encoder that gives something else than features (B, ``width``) of inputs ``x`` (B, ...).

    Raises:
        DataError: it does not run, or gives another shape.
    """
    name = type(encoder).__name__
    with own_randomness(x.device), torch.no_grad():
        output = _asked(copy_network(encoder).eval(), x, learner, name)
    if not isinstance(output, Tensor) or tuple(output.shape) != (len(x), width):
        raise DataError(
            f"{name} gives {in_words(output)} for {len(x)} inputs of shape {tuple(x.shape[1:])}; its forward must give "
            f"features of shape {(len(x), width)}, as its embed_dim says"
        )


def _stored_shapes(network: nn.Module) -> dict[str, torch.Size]:
    return {key: value.shape for key, value in network.state_dict().items() if isinstance(value, Tensor)}


def _asked(network: nn.Module, x: Tensor, learner: Learner, name: str) -> Any:
    """What it makes of ``x``."""
    try:
        return run_alone(network, x, learner.precision, learner.channels_last)
    except SelftrainError:
        raise
    except Exception as error:  # a user's code may raise anything
        kinds = {p.dtype for p in network.parameters() if p.is_floating_point()} - {torch.float32}
        weights = f" (its weights are {[str(kind) for kind in kinds]}: call {name}.float())" if kinds else ""
        raise DataError(
            f"{name} does not run on inputs of shape {tuple(x.shape[1:])}{weights}: {type(error).__name__}: {error}"
        ) from error


def _warn_of_probabilities(name: str, logits: Tensor, trained: Tensor) -> None:
    """Say so where outputs are probabilities already."""
    # The last operation tells for certain; sums of 1 tell of those that are computed otherwise.
    last = getattr(trained.grad_fn, "name", str)()
    ones = torch.ones_like(logits[:, 0])
    sums = logits.shape[1] > 1 and bool((logits >= 0).all()) and torch.allclose(logits.sum(1), ones, atol=1e-4)
    if last in _SQUASHING or sums:
        warnings.warn(
            f"{name} ends in a {_SQUASHING.get(last, 'softmax')}: its outputs are probabilities already, and losses "
            "take the softmax of what they get, so that it learns little; let it return logits",
            stacklevel=2,
        )
