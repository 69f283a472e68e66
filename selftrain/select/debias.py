"""Take a bias out of the logits that pseudo-labels are made of: one that is watched, or one that is known."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from selftrain.select.alignment import FLOOR, Align
from selftrain.tasks import Task


class Debias(Align):
    """Subtract ``tau`` times the logarithm of the running mean prediction from the logits: pseudo-labels without bias.

    Source: Wang et al., "Debiased Learning from Naturally Imbalanced Pseudo-Labels" (DebiasPL), CVPR 2022,
    arXiv:2201.01490: ``z - tau log p`` with ``p <- m p + (1 - m) mean softmax(z)``, p from uniform on. No
    prior is needed, of labels or of the pile. Differs: p takes the batch in before it judges it; classes below 1e-6
    count as 1e-6. Left out: the marginal loss of the strong view.

    Args:
        task: Kind of output; it needs classes.
        tau: Strength, >= 0; 0.5 is the released code's. 1 is alignment to uniform shares.
        decay: m, in [0, 1).

    Raises:
        ValueError: for keypoints, a negative ``tau``, or a decay outside [0, 1).
    """

    def __init__(self, task: Task, *, tau: float = 0.5, decay: float = 0.999) -> None:
        super().__init__(task, decay=decay)
        self.tau = _checked_tau(tau)

    def _take_in(self, value: Tensor, labeled: Tensor | None) -> None:
        # not as of ``Align``, whose mean is the first batch's at once: here no bias is supposed before it is seen
        self.predicted.lerp_(self._task.presence(value).to(self.predicted), 1 - self.decay)
        self._count.add(self.updates)

    def aligned(self, value: Tensor) -> Tensor:
        """``softmax(z - tau log p)``."""
        return self._task.reweigh(value, self.predicted.clamp(min=FLOOR).pow(-self.tau).to(value))


class AdjustLabels(Align):
    """Subtract ``tau`` times the logarithm of known class shares from the logits that pseudo-labels are made of.

    Source: Menon et al., "Long-tail learning via logit adjustment", ICLR 2021, arXiv:2007.07314, post hoc, on
    the predictions of the pile: for a student that learned its labels by the plain loss. With
    ``Classification(label_counts=...)`` its predictions are adjusted already, and would be twice.

    Args:
        task: Kind of output; it needs classes.
        counts: Labels of each class, or their shares, each above 0; ``None``: the moving mean prediction on the labeled
            batches stands for the shares, as of ``Align(target="labeled")``.
        tau: Strength, >= 0.

    Raises:
        ValueError: for keypoints, counts that are not one a class and above 0, or a negative ``tau``.
    """

    def __init__(self, task: Task, counts: Sequence[float] | None = None, *, tau: float = 1.0) -> None:
        if counts is not None and (len(counts) != task.groups or not min(counts) > 0):
            raise ValueError(f"counts is {list(counts)}; give {task.groups} numbers above 0, the labels of each class")
        shares = None if counts is None else torch.tensor(counts, dtype=torch.float)
        super().__init__(task, target="labeled" if shares is None else shares / shares.sum())
        self.tau = _checked_tau(tau)

    def aligned(self, value: Tensor) -> Tensor:
        """``softmax(z - tau log pi)``."""
        return self._task.reweigh(value, self.expected.clamp(min=FLOOR).pow(-self.tau).to(value))


def _checked_tau(tau: float) -> float:
    if not tau >= 0:
        raise ValueError(f"tau is {tau}; it must be 0 or more")
    return tau
