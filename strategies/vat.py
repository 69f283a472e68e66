"""VAT: Miyato et al., "Virtual Adversarial Training", TPAMI 2018, arXiv:1704.03976.

Algorithm: 1. a random direction d is turned, by power iteration, into the one in which a small step changes the
prediction most; 2. the prediction at distance eps along d is made to agree with the one at the sample itself, for
labeled and unlabeled samples; 3. optionally the entropy of the predictions is lowered.

Passes: the clean pass, those of the power iteration and the adversarial one are in training mode, each has the
statistics of its own batch (labeled and unlabeled samples together), and all draw the same dropout masks: what differs
between their predictions is the step alone, and a step of 0 changes nothing. Only the clean pass moves the running
statistics.

Left out: nothing. Differs: the divergence is the task's loss between the two predictions, which for classes has the
gradient of KL; the step of the power iteration is 0.01, since the published 1e-6 is lost in float32 (and 0.01 in
bfloat16); in the released code the unlabeled samples have a pass of their own, which moves no running statistics
(``together=False`` gives them the pass).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from selftrain.mix import Mix, cat
from selftrain.networks.ema import Buffers
from selftrain.networks.student import MakeLearner
from selftrain.schedule import Schedule, ramp_linear
from selftrain.select import Selector
from selftrain.select.alignment import Align
from selftrain.strategy.losses import entropy_loss
from selftrain.strategy.pseudo_labeling import Distance, PseudoLabeling
from selftrain.strategy.single import SingleStudent
from selftrain.tasks import Task
from selftrain.types import Batch, Clock, Report, Target

Noise = Literal["same", "fresh"]


class VAT(SingleStudent):
    """Make the prediction constant in the direction in which it changes most.

    Source: the paper's eq. 5 to 12 and algorithm 1. Defaults: eps 6, one power iteration, weight 0.3, entropy weight
    0.06, linear ramp-up over 40 % (the settings for CIFAR-10 in Oliver et al. 2018). The other settings are explained
    in ``PseudoLabeling`` and ``SingleStudent``.

    Args:
        task: Kind of output.
        make_learner: Builds the student.
        eps: Euclidean length of the adversarial step in normalized input units, > 0. It has to fit the input: the
            paper's 6 to 8 are for 32 x 32 x 3 numbers.
        xi: Length of the step of the power iteration, > 0. The default needs fp32: in bf16 the difference that so
            small a step makes is rounded away, and the direction with it; take a larger step there.
        iterations: Power iterations, >= 1; each costs a forward and a backward pass.
        unlabeled_weight: Factor of the adversarial loss, >= 0.
        entropy_weight: Factor of the entropy term, >= 0.
        rampup: Growth of both factors; ``None``: ``ramp_linear(0.4)``.
        noise: Dropout masks and BatchNorm statistics of the attacked passes. ``"same"`` (the paper): the masks of the
            clean pass, and statistics of as many samples. ``"fresh"``: masks of their own, and statistics of the
            attacked samples alone; a part of the loss is then the difference between two masks, a consistency under
            dropout that is no adversarial one (``benchmarks/passes.py`` measures both).
        on_labeled: Whether labeled samples are attacked too, as in eq. 8.
        hard: Whether the clean decision or the clean prediction is the target.
        mix: Mixing of the attacked unlabeled samples with one another; ``None``: none.
        together: One concatenated pass for labeled and clean samples, or two.

    Raises:
        ValueError: for a length that is not positive, fewer than one iteration, a negative weight or unknown ``noise``.
    Gradient: to the student through the adversarial pass; the clean prediction and the direction are held fixed.
    """

    views = ("weak",)

    def __init__(
        self,
        task: Task,
        make_learner: MakeLearner,
        *,
        eps: float = 6.0,
        xi: float = 0.01,
        iterations: int = 1,
        unlabeled_weight: float = 0.3,
        entropy_weight: float = 0.06,
        rampup: Schedule | None = None,
        noise: Noise = "same",
        on_labeled: bool = True,
        hard: bool = False, decay: float | None = 0.999, buffers: Buffers = "ema", select: Selector | None = None,
        temperature: float = 1.0, align: Align | None = None, align_targets: bool = True, mix: Mix | None = None,
        distance: Distance = "ce", together: bool = True,
    ) -> None:  # fmt: skip
        super().__init__(task, make_learner, decay=decay, buffers=buffers)
        if not (eps > 0 and xi > 0 and iterations >= 1 and entropy_weight >= 0):
            raise ValueError(
                f"eps is {eps}, xi {xi}, iterations {iterations}, entropy_weight {entropy_weight}; "
                "lengths must be above 0, iterations at least 1, the weight 0 or more"
            )
        if noise not in ("same", "fresh"):
            raise ValueError(f"noise is {noise!r}; choose 'same' or 'fresh'")
        self.eps, self.xi, self.iterations, self.entropy_weight = eps, xi, iterations, entropy_weight
        self.noise, self.on_labeled = noise, on_labeled
        self.pseudo_labeling = PseudoLabeling(
            task, unlabeled_weight=unlabeled_weight, rampup=rampup or ramp_linear(0.4), distance=distance,
            select=select, hard=hard, temperature=temperature, align=align, align_targets=align_targets, mix=mix,
            together=together,
        )  # fmt: skip

    def step(self, batch: Batch, clock: Clock, *extra: Batch) -> Report:
        """Find the worst direction, then learn not to mind it."""
        given, x = batch.labeled.x, batch.unlabeled["weak"].x
        state = self.student.random_state()
        logits, clean = self.student(given, x, together=self.pseudo_labeling.together)
        # p(y | x, theta^): the clean prediction as a constant (eq. 5)
        known = self.task.probs(logits).detach()
        labeled = known if self.pseudo_labeling.reads_labeled else None
        pseudo = self.pseudo_labeling.make(self.task.probs(clean).detach(), batch.unlabeled.index, labeled)
        # D_l and D_ul (eq. 8): of the labeled samples every unit that exists is attacked, whatever its label says
        exists, first = batch.labeled.target.mask(), len(given) if self.on_labeled else 0
        own = self.pseudo_labeling.target(known, exists, batch.labeled.target.valid)
        rows, every = (torch.cat([given, x]), cat(own, pseudo.target)) if first else (x, pseudo.target)
        # r_vadv and p(y | x + r_vadv, theta) (eq. 6); inputs that nobody will ever see leave no trace in BatchNorm
        attacked = partial(self.attacked, given=given, state=state)
        with self.student.untracked():
            r_vadv = self.eps * self.worst(rows, every, attacked)
            attack, target = self.pseudo_labeling.mixed(x + r_vadv[first:], pseudo.target, batch.labeled, pseudo)
            if first:
                attack, target = torch.cat([given + r_vadv[:first], attack]), cat(own, target)
            answer = attacked(attack)
        # l(D_l, theta) + alpha R_vadv (eq. 8)
        supervised = self.task.loss(logits, batch.labeled.target)
        unsupervised = self.pseudo_labeling.loss(answer, target)
        loss = supervised + self.pseudo_labeling.weight(clock) * unsupervised
        # + the conditional entropy of the clean predictions (the paper's VAT+EntMin), under the same rise
        entropy = entropy_loss(self.task.distribution(self.task.probs(clean)))
        rise = self.pseudo_labeling.rampup(clock.progress)
        if self.student.update(loss + self.entropy_weight * rise * entropy) and self.ema is not None:
            self.ema.update(self.student.model)
        return pseudo.report(supervised=supervised, unsupervised=unsupervised, entropy=entropy)

    def attacked(self, rows: Tensor, *, given: Tensor, state: tuple[Tensor, ...]) -> Tensor:
        """Logits of the attacked rows, with the noise of the clean pass or with their own; gradients flow.

        Args:
            rows: Attacked samples, the labeled ones first if they are attacked too.
            given: The labeled samples as they are: in the clean pass they shared the statistics and masks of the batch.
            state: Random state before the clean pass.
        """
        if self.noise == "fresh" and not self.on_labeled:
            alone: Tensor = self.student(rows)
            return alone
        first = len(given) if self.on_labeled else 0
        same = self.student.same_noise(state) if self.noise == "same" else contextlib.nullcontext()
        with same:
            parts = (rows[:first] if first else given), rows[first:]
            answers = self.student(*parts, together=self.pseudo_labeling.together)
        return torch.cat(answers) if first else answers[1]

    def worst(self, x: Tensor, target: Target, predict: Callable[[Tensor], Tensor]) -> Tensor:
        """Unit directions (B, ...) in which the prediction of ``x`` leaves ``target`` fastest; without gradient."""
        # units that are not kept have a direction too
        every = target.weighted(torch.ones_like(target.weight))
        direction = _unit(torch.randn_like(x))  # d ~ N(0, I)
        for _ in range(self.iterations):
            # d <- grad_r D(p(y | x), p(y | x + r)) at r = xi d, a power iteration of the Hessian (eq. 9 to 12)
            direction.requires_grad_(True)
            change = self.task.loss(predict(x + self.xi * direction), every)
            (gradient,) = torch.autograd.grad(change, direction)
            direction = _unit(gradient)
        return direction


def _unit(x: Tensor) -> Tensor:
    """Each sample at Euclidean length 1 (0 stays 0)."""
    length: Tensor = x.detach().flatten(1).norm(dim=1).clamp(min=1e-12)
    return x.detach() / length.view(-1, *[1] * (x.dim() - 1))
