"""A portfolio as a strategy of the engine: one step learns from all rows, and the run folder keeps what it takes.

What is stored is what the answers follow from: rows and labels, the members with their weights in the blend, and the
weights of those that are networks. All other members are fitted again when they are first asked, as they were: by the
same rows, labels and seed. So a file holds numbers alone, and reading it runs no code of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from selftrain.errors import CheckpointError
from selftrain.networks.fitting import as_input
from selftrain.storage.fields import Number, check
from selftrain.strategy.base import Predictor, SupervisedStrategy
from selftrain.tasks import Task
from selftrain.types import Batch, BatchPlan, Clock, InputKind, PseudoLabels, Report

if TYPE_CHECKING:
    from selftrain.portfolio import Portfolio

Budget = float | Literal["fast", "thorough"]
MOST = 10**9  # numbers that all rows may have together: 8 GB in double precision
_ASKED, _NEAR = 100, 1e-3  # rows that are asked again, and how far answers may be from those before
_RECORD = {
    **dict.fromkeys(("name", "family", "reason"), str),
    **dict.fromkeys(("accuracy", "standard_error", "loss", "prior"), (Number(), None)),
    **dict.fromkeys(("weight", "seconds"), Number(0)),
}
_STATE = {
    "rows": Tensor,
    "codes": Tensor,
    "power": Number(0),
    "members": [{"name": str, "power": Number(0), "weight": Number(0, 1), "tensors": {str: Tensor}}],
    "records": [_RECORD],
    "answers": Tensor,
    "versions": {str: str},
}


class Blend(nn.Module):
    """Log-probabilities (B, C) of plain inputs (B, ...) by a portfolio; equal ones until it is fitted.

    Args:
        classes: C.
        kind: Of the inputs.
        categories: Place and number of codes of each column that holds codes of categories, of a table.
        budget: See ``selftrain.portfolio.Portfolio``.
        seed: Of everything drawn.
    """

    def __init__(
        self, classes: int, kind: InputKind, categories: Sequence[Sequence[int]], budget: Budget, seed: int
    ) -> None:
        super().__init__()
        self.classes, self.kind, self.categories = classes, kind, [(int(at), int(codes)) for at, codes in categories]
        self.budget, self.seed, self.verbose = budget, seed, False
        self.place = nn.Parameter(torch.zeros(1), requires_grad=False)  # a network has a device, and this none else
        self._state: dict[str, Any] = {}
        self._portfolio: Portfolio | None = None

    def learn(self, x: Tensor, codes: Tensor) -> None:
        """Try the candidates on rows (N, ...) and classes (N,), -1 where there is none."""
        import sklearn

        from selftrain.portfolio import Portfolio

        self._state = {"rows": x.cpu(), "codes": codes.cpu()}
        self._portfolio = Portfolio(self.budget, seed=self.seed, verbose=self.verbose).fit(**self._problem())
        members = self._portfolio.stored()
        self._state |= {"power": self._portfolio.power_, "members": members, "records": self._portfolio.records_}
        self._state |= {"answers": self._ask(self._sample()), "versions": {"scikit-learn": str(sklearn.__version__)}}

    @property
    def records(self) -> list[dict[str, Any]]:
        """What was tried, see ``selftrain.portfolio.Portfolio``."""
        return list(self._state.get("records", []))

    def forward(self, x: Tensor) -> Tensor:
        """Log-probabilities, (B, C), float32."""
        return self.asked(x)[0].log()

    @torch.no_grad()
    def asked(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Probabilities (B, C), and the weight of the members that decide alike (B,)."""
        if not self._state:
            even = torch.full((len(x), self.classes), 1 / self.classes, device=x.device)
            return even, torch.ones(len(x), device=x.device)
        found, alike = self._fitted().asked(self._numbers(x))
        return torch.from_numpy(found).float().to(x.device), torch.from_numpy(alike).float().clamp(0, 1).to(x.device)

    def get_extra_state(self) -> dict[str, Any]:
        """See the module."""
        return self._state

    def set_extra_state(self, state: Any) -> None:
        """Take what was stored, and may be a stranger's; members are fitted when they are asked.

        Raises:
            ValueError: it does not fit.
        """
        if not state:
            self._state, self._portfolio = {}, None
            return
        check(state, _STATE, "the state of the portfolio")
        rows, codes, answers = state["rows"], state["codes"], state["answers"]
        fits = (
            rows.is_floating_point() and rows.dim() > 1 and len(rows) == len(codes) and codes.dtype == torch.long
            and codes.dim() == 1 and set(codes.unique().tolist()) - {-1} == set(range(self.classes))
            and answers.shape == (len(rows[:: _step(rows)]), self.classes) and bool(state["members"])
            and bool(rows.isfinite().all() and answers.isfinite().all())
            and all(0 <= at < rows.shape[1] for at, _ in self.categories)
            and len(rows) * (rows[0].numel() + sum(codes for _, codes in self.categories)) <= MOST
        )  # fmt: skip
        if not fits:
            raise ValueError("rows, labels and answers of the portfolio do not fit one another")
        self._state, self._portfolio = dict(state), None

    def _fitted(self) -> Portfolio:
        """The portfolio, fitted again if it came from a file."""
        if self._portfolio is None:
            from selftrain.portfolio import Portfolio

            state, found = self._state, Portfolio(self.budget, seed=self.seed)
            try:
                self._portfolio = found.restore(state["members"], state["power"], **self._problem())
            except ValueError as error:
                raise CheckpointError(f"the portfolio cannot be fitted again: {error}; train it again") from error
            off = float((self._ask(self._sample()) - state["answers"]).abs().max())
            if not off <= _NEAR:
                self._portfolio = None
                was = ", ".join(f"{name} {version}" for name, version in state["versions"].items())
                raise CheckpointError(
                    f"the portfolio, fitted again, gives answers that are off by {off:.2g}: it was made with {was}; "
                    "use these versions, or train it again"
                )
        return self._portfolio

    def _problem(self) -> dict[str, Any]:
        """Rows, labels and networks as a portfolio takes them."""
        from selftrain.estimator.automatic import networks, of_pictures
        from selftrain.estimator.classifier import SelfTrainClassifier

        rows = self._numbers(self._state["rows"])
        channels = "first" if self.kind == "image" else None
        model = SelfTrainClassifier(kind=self.kind, channels=channels, random_state=self.seed)
        model._learn_rows(rows)
        pictures = of_pictures(model.inputs_, rows) if self.kind == "image" else {}
        return {"X": rows, "codes": self._state["codes"].numpy(), "more": networks(model, rows), **pictures}

    def _numbers(self, x: Tensor) -> np.ndarray[Any, Any]:
        """Inputs in float32; each code of more than two of a category is a column, 1 where it is this one."""
        from selftrain.portfolio.forms import widened

        return widened(x.cpu().float().numpy(), self.categories)

    def _sample(self) -> Tensor:
        rows: Tensor = self._state["rows"]
        return rows[:: _step(rows)]

    def _ask(self, x: Tensor) -> Tensor:
        return self.asked(x)[0]


class PortfolioStrategy(SupervisedStrategy):
    """Try many ways to learn from few labels, judge each on labels that it did not see, ship their blend.

    What ``SelfTrainClassifier()`` does, for ``fit``: ``steps=1``, and a plan whose batch is all rows, labeled and
    unlabeled ones, see ``whole_plan``. Views are plain; inputs that are not normalized tell most where rows are
    compared by their direction (more than 100 numbers in a row).

    Args:
        task: Classification.
        kind: ``"table"``, ``"image"``, ``"series"`` or ``"points"``.
        categories: Place and number of codes of each column of a table that holds codes of categories.
        budget: ``"fast"``: 2 seconds and 6 for each 1,000 rows; ``"thorough"``: 20 times as many, enough for networks;
            or seconds on one core, which are estimated, not taken, so that results repeat.
        seed: Of everything drawn.

    Attributes:
        shipped: The blend.

    Raises:
        ValueError: for masks and joints, or another budget.
    """

    views, labeled_view = ("plain",), "plain"

    def __init__(
        self,
        task: Task,
        *,
        kind: InputKind = "table",
        categories: Sequence[Sequence[int]] = (),
        budget: Budget = "fast",
        seed: int = 0,
    ) -> None:
        from selftrain.portfolio.portfolio import seconds

        super().__init__(task)
        if not (task.has_classes and task.one_unit):
            raise ValueError(f"a portfolio gives one class a sample, and {type(task).__name__} more; name a strategy")
        seconds(budget, 0)
        # no weights of a best step: there is one step, and the state would be there twice
        self.monitor = ""
        self.shipped = Blend(int(task.output_shape((1,))[0]), kind, categories, budget, seed)

    def step(self, batch: Batch, clock: Clock, *extra: Batch) -> Report:
        """Learn from all rows at once."""
        labeled = batch.labeled
        place, first = np.unique(labeled.index.cpu().numpy(), return_index=True)
        rows, codes = labeled.x[first], self.task.label(labeled.target.value)[first]
        if not batch.has_unlabeled:
            self.shipped.learn(rows, codes)
            return Report({})
        order = batch.unlabeled.index.argsort()
        pile = batch.unlabeled["plain"].x[order]
        self.shipped.learn(torch.cat([rows, pile]), torch.cat([codes, codes.new_full((len(pile),), -1)]))
        value, alike = self.shipped.asked(pile)
        weight = torch.ones(len(pile), device=pile.device)
        return Report({"used": weight.mean()}, PseudoLabels(batch.unlabeled.index[order], value, weight, alike))

    def step_labeled(self, batch: Batch, clock: Clock) -> Report:
        """The same without unlabeled rows."""
        return self.step(batch, clock)

    @property
    def candidates(self) -> list[dict[str, Any]]:
        """What was tried, see ``selftrain.portfolio.Portfolio``."""
        return self.shipped.records

    def predictors(self) -> dict[str, Predictor]:
        """The blend."""
        return {"blend": lambda x: self.shipped.asked(as_input(x, self))[0]}

    def export(self) -> dict[str, Tensor]:
        """Nothing: no network can start from it."""
        return {}


def whole_plan(labeled: int, unlabeled: int, **more: Any) -> BatchPlan:
    """The plan of a run with one step, on so many labeled and unlabeled rows: all."""
    return BatchPlan(labeled=labeled, unlabeled_ratio=max(1, unlabeled) / labeled, **more)


def _step(rows: Tensor) -> int:
    """Every so manieth row makes a sample of at most 100."""
    return max(1, -(-len(rows) // _ASKED))
