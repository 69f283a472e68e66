"""Views of table rows: noise, and features replaced by those of other rows."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from selftrain.data.base.random import normal, uniform
from selftrain.data.base.statistics import coded_columns
from selftrain.data.views.base import Normalizing, Statistic, check_name
from selftrain.types import View


class TableViews(Normalizing):
    """Views of table rows (B, F), standardized per feature; the counterpart of ``TensorViews``.

    Weak: Gaussian noise. Strong: more noise, then each feature is replaced with probability ``replace``, by the
    feature's mean, or by its value in a random row of ``bank`` (the corruption of SCARF, Bahri et al., 2022,
    arXiv:2106.15147). ``View.theta`` is ``None``: there is no geometry.

    Columns of category codes get neither standardization nor noise, and are replaced by the value of a bank's row only
    (a mean of codes means nothing; without a bank they stay). Draws of the other columns do not depend on which are
    categorical.

    Args:
        categorical: Numbers of the columns that hold category codes, counted from 0.
        weak_noise: Standard deviation of the weak noise, in standard deviations of the feature.
        strong_noise: The same for strong views.
        replace: Probability that a feature of a strong view is replaced, in [0, 1].
        bank: Rows to take replacements from, (M, F), before standardization; ``None``: replace by the mean.
        mean: Subtracted, (F,); ``None``: 0 until ``fitted``.
        std: Divided by, (F,); ``None``: 1 until ``fitted``.
        seed: Key of the draws.

    Raises:
        ValueError: a setting out of its range; on a call, for an unknown view, inputs that are no rows, or a
            categorical column that they do not have.
    """

    on_workers = False

    def __init__(
        self,
        *,
        categorical: Sequence[int] = (),
        weak_noise: float = 0.05,
        strong_noise: float = 0.2,
        replace: float = 0.2,
        bank: Tensor | None = None,
        mean: Statistic = None,
        std: Statistic = None,
        seed: int = 0,
    ) -> None:
        for word, noise in (("weak_noise", weak_noise), ("strong_noise", strong_noise)):
            if noise < 0:
                raise ValueError(f"{word} is {noise}; it must be 0 or more")
        if not 0 <= replace <= 1:
            raise ValueError(f"replace is {replace}; it is a probability, in [0, 1]")
        for column in categorical:
            if column < 0:
                raise ValueError(f"categorical holds column {column}; columns are counted from 0")
        super().__init__(mean, std, seed)
        self.categorical = tuple(categorical)
        self.weak_noise, self.strong_noise, self.replace, self.bank = weak_noise, strong_noise, replace, bank

    @torch.no_grad()
    def __call__(self, name: str, images: Tensor, index: Tensor, epoch: int) -> View:
        """One view of rows (B, F); codes stay as they are; see ``ViewMaker``."""
        recipe = check_name(name)
        if images.ndim != 2:
            raise ValueError(f"inputs have shape {tuple(images.shape)}, not (B, F); use TensorViews for images")
        x = self.normalize(images)
        if recipe == "plain":
            return View(x)
        # Drawn for codes too: which columns are codes must not change the draws of the others.
        noise = normal(self.seed, epoch, index, f"{name}/noise", x.shape[1])
        if recipe == "weak":
            return View(self._kept(x, x + self.weak_noise * noise))
        x = self._kept(x, x + self.strong_noise * noise)
        # A place of its own for each feature, as SCARF draws from each feature's values and not whole rows.
        chosen, place = uniform(self.seed, epoch, index, f"{name}/replace", 2 * x.shape[1]).chunk(2, 1)
        if self.bank is None:
            # 0 is the mean, after standardization; codes stay: the mean of codes is no category
            return View(self._kept(x, x.masked_fill(chosen < self.replace, 0.0)))
        bank = self.bank.to(x.device)
        # Here and not once: mean and std may be fitted later than the bank is given; what is drawn, not all of it.
        drawn = self.normalize(bank.gather(0, (place * len(bank)).long()))
        return View(torch.where(chosen < self.replace, drawn, x))

    def normalize(self, x: Tensor) -> Tensor:
        """Standardize all but the columns of codes."""
        return self._kept(x.float(), super().normalize(x))

    def _kept(self, codes: Tensor, x: Tensor) -> Tensor:
        """``x`` with the categorical columns of ``codes``."""
        return torch.where(coded_columns(self.categorical, x), codes, x) if self.categorical else x
