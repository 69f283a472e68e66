"""Views of table rows: noise, and features replaced by those of other rows."""

from __future__ import annotations

import torch
from torch import Tensor

from selftrain.data.keyed import normal, uniform
from selftrain.data.samples import Samples
from selftrain.data.statistics import statistics
from selftrain.data.views import Statistic, check_name
from selftrain.types import View


class TableViews:
    """Views of table rows (B, F), standardized per feature; the counterpart of ``TensorViews``.

    Weak: Gaussian noise. Strong: more noise, then each feature is replaced with probability ``replace``, by the
    feature's mean, or by its value in a random row of ``bank`` (the corruption of SCARF, Bahri et al., 2022,
    arXiv:2106.15147). ``View.theta`` is ``None``: there is no geometry.

    Args:
        weak_noise: Standard deviation of the weak noise, in standard deviations of the feature.
        strong_noise: The same for strong views.
        replace: Probability that a feature of a strong view is replaced, in [0, 1].
        bank: Rows to take replacements from, (M, F), before standardization; ``None``: replace by the mean.
        mean: Subtracted, (F,); ``None``: 0 until ``fitted``.
        std: Divided by, (F,); ``None``: 1 until ``fitted``.
        seed: Key of the draws.
    """

    on_workers = False

    def __init__(
        self,
        *,
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
        self.weak_noise, self.strong_noise, self.replace, self.bank = weak_noise, strong_noise, replace, bank
        self.mean = None if mean is None else torch.as_tensor(mean, dtype=torch.float32)
        self.std = None if std is None else torch.as_tensor(std, dtype=torch.float32)
        self.seed = seed

    def seeded(self, seed: int) -> TableViews:
        """The same recipes with another key."""
        return self._like(self.mean, self.std, seed)

    def fitted(self, samples: Samples) -> TableViews:
        """The same recipes, standardizing by ``samples`` where no mean or std was given."""
        if self.mean is not None and self.std is not None:
            return self
        mean, std = statistics(samples)
        return self._like(mean if self.mean is None else self.mean, std if self.std is None else self.std, self.seed)

    def _like(self, mean: Statistic, std: Statistic, seed: int) -> TableViews:
        return TableViews(
            weak_noise=self.weak_noise,
            strong_noise=self.strong_noise,
            replace=self.replace,
            bank=self.bank,
            mean=mean,
            std=std,
            seed=seed,
        )

    @torch.no_grad()
    def __call__(self, name: str, images: Tensor, index: Tensor, epoch: int) -> View:
        """One view of a batch.

        Args:
            name: Name of the view.
            images: Rows of the table, (B, F).
            index: Sample numbers, the keys of the draws, (B,), on the device of ``images``.
            epoch: Epoch number, a key as well.

        Returns:
            Float input (B, F), standardized.
        """
        recipe = check_name(name)
        if images.ndim != 2:
            raise ValueError(f"inputs have shape {tuple(images.shape)}, not (B, F); use TensorViews for images")
        x = self._standardize(images.float())
        if recipe == "plain":
            return View(x)
        noise = normal(self.seed, epoch, index, f"{name}/noise", x.shape[1])
        if recipe == "weak":
            return View(x + self.weak_noise * noise)
        return View(self._replaced(x + self.strong_noise * noise, name, index, epoch))

    def _standardize(self, x: Tensor) -> Tensor:
        x = x if self.mean is None else x - self.mean.to(x)
        return x if self.std is None else x / self.std.to(x)

    def _replaced(self, x: Tensor, name: str, index: Tensor, epoch: int) -> Tensor:
        draws = uniform(self.seed, epoch, index, f"{name}/replace", 2 * x.shape[1])
        chosen, place = draws.chunk(2, 1)
        if self.bank is None:
            return x.masked_fill(chosen < self.replace, 0.0)  # the mean, after standardization
        bank = self._standardize(self.bank.to(x))
        return torch.where(chosen < self.replace, bank.gather(0, (place * len(bank)).long()), x)
