"""DARP.

Kim et al., "Distribution Aligning Refinery of Pseudo-label for Imbalanced Semi-supervised Learning", NeurIPS 2020,
arXiv:2007.08844.
"""

from __future__ import annotations

import torch
from torch import Tensor

from selftrain.select.alignment import FLOOR, Align, Shares
from selftrain.tasks import Task

_NEWTON = 10  # steps of the inner problem; its function is convex, and 5 leave an error below 1e-6
_LIMIT = 30.0  # of the multipliers: where no refinement has these shares there is no solution, and they would run off


@torch.no_grad()
def refine_multipliers(value: Tensor, shares: Tensor, start: Tensor | None = None, *, iterations: int = 10) -> Tensor:
    """The multipliers nu that bring predictions to class shares with the least change: DARP's convex problem.

    Source: DARP's problem: ``min_X sum_n w_n KL(x_n || p_n)`` so that each row of X sums to 1 and column c to
    ``N shares_c``, with ``w_n = 1 / H(p_n)``: what is sure hardly moves. Its solution is ``x_nc ~ p_nc exp(nu_c H_n)``.
    As in the paper rows and columns are solved in turn: rows by their sum, columns by Newton's method, here on the
    logarithm of the column's sum and for all columns at once.

    Args:
        value: Predictions p, shape (N, C), rows sum to 1.
        shares: Wanted shares, shape (C,), sum to 1.
        start: Multipliers to begin with; ``None``: 0.
        iterations: Turns; the paper's code has 10.

    Returns:
        nu, shape (C,), in double precision, at most 30 in size.
    Gradient: none.
    """
    value = value.double().clamp(min=1e-12)
    entropy = -(value * value.log()).sum(1, keepdim=True)
    wanted = (shares.double().clamp(min=FLOOR) * len(value)).log()
    nu = torch.zeros_like(wanted) if start is None else start.double()
    for _ in range(iterations):
        row = (value.log() + nu * entropy).logsumexp(1, keepdim=True)  # logarithm of each row's sum
        for _ in range(_NEWTON):
            term = value.log() - row + nu * entropy
            total = term.logsumexp(0)
            slope = ((term - total).exp() * entropy).sum(0)
            nu = (nu - (total - wanted) / slope.clamp(min=1e-6)).clamp(-_LIMIT, _LIMIT)
    return nu


@torch.no_grad()
def refined(value: Tensor, nu: Tensor) -> Tensor:
    """``p_c exp(nu_c H(p))``, normalized, of predictions (B, C, *S); see ``refine_multipliers``."""
    p = value.double().clamp(min=1e-12)
    entropy = -(p * p.log()).sum(1, keepdim=True)
    return (p.log() + nu.view(1, -1, *[1] * (p.dim() - 2)) * entropy).softmax(1).to(value)


class Darp(Align):
    """Move unsure pseudo-labels, and sure ones hardly, until the shares of the classes are those that are expected.

    Source: the paper's problem and iterations, see ``refine_multipliers``. The shares are given, estimated, or those of
    the labels; where the pile has others than the labels, ``target="labeled"`` does harm. Differs: the problem is
    solved for the newest predictions of ``memory`` units and not for a pass over the pile; until the first solution
    predictions stay as they are (the released commands wait for 200 of 500 epochs). Left out: the removal of small
    entries of a class before.

    Args:
        task: Kind of output; it needs classes.
        target: Expected shares, as of ``Align``.
        decay: As of ``Align``.
        memory: Units whose newest predictions are kept, at least 1.
        every: Steps from one solution to the next, at least 1; 10 in the released code.
        iterations: Turns of each solution.

    Attributes:
        nu: Multipliers of the last solution, shape (classes,).

    Raises:
        ValueError: as ``Align`` does, or for a size below 1.
    """

    nu: Tensor
    rows: Tensor

    def __init__(
        self,
        task: Task,
        *,
        target: Shares = "labeled",
        decay: float = 0.999,
        memory: int = 2048,
        every: int = 10,
        iterations: int = 10,
    ) -> None:
        super().__init__(task, target=target, decay=decay)
        for name, size in (("memory", memory), ("every", every), ("iterations", iterations)):
            if size < 1:
                raise ValueError(f"{name} is {size}; it must be at least 1")
        self.memory, self.every, self.iterations = memory, every, iterations
        self.register_buffer("nu", torch.zeros(task.groups, dtype=torch.double))
        self.register_buffer("rows", torch.full((memory, task.groups), -1.0))

    def _take_in(self, value: Tensor, labeled: Tensor | None) -> None:
        super()._take_in(value, labeled)
        new = self._task.distribution(value).flatten(0, -2)[-self.memory :].to(self.rows)
        # Newest last; a ring would need a place that the host knows.
        self.rows.copy_(torch.cat([self.rows[len(new) :], new]))
        if self._count.read(self.updates) % self.every == 0:
            known = self.rows[self.rows[:, 0] >= 0]
            self.nu.copy_(refine_multipliers(known, self.expected, self.nu, iterations=self.iterations))

    def aligned(self, value: Tensor) -> Tensor:
        """Refined predictions."""
        return refined(value, self.nu)
