"""``"auto"`` as a strategy: many ways to learn from the rows, judged and blended, in place of a network.

What Python and the command line share: which settings mean nothing here, what the rows are, and the one step that
learns from all of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from selftrain import errors
from selftrain.catalog import make_part
from selftrain.data import Pile, TableEncoding
from selftrain.data.base.sparse import is_sparse
from selftrain.errors import UsageError, setting
from selftrain.front import building
from selftrain.runtime.distributed import launched
from selftrain.types import BatchPlan


def check_settings(changed: Sequence[str]) -> None:
    """Refuse settings that mean nothing where no network is trained, and several processes.

    Args:
        changed: Their names, as their user writes them.

    Raises:
        UsageError: names them.
    """
    said = setting("strategy", "auto", of="")
    if changed:
        raise UsageError(f"{said} trains no network of yours: leave out {', '.join(changed)}, or name another strategy")
    if launched():
        raise UsageError(f"{said} runs in one process; torchrun is for strategies that train a network")


def rows_of(pile: Pile) -> Pile:
    """The pile as rows: inputs keep their black and white.

    Args:
        pile: As it was read, or features of it.

    Raises:
        UsageError: there are more numbers than fit into memory.
    """
    from selftrain.estimator.strategy import MOST
    from selftrain.portfolio.forms import WIDE

    card = pile.card()
    rows, columns = len(pile.labeled or ()) + len(pile.unlabeled or ()), math.prod(card["shape"])
    numbers = columns + sum(codes for _, codes in _categories(pile))
    if rows * numbers > MOST // 100 and any(is_sparse(part) for part in (pile.labeled, pile.unlabeled) if part):
        raise UsageError(
            f"{setting('strategy', 'auto', of='')} makes all rows dense, and there are {rows:,} sparse ones of "
            f"{numbers:,} numbers; SelfTrainClassifier().fit(x, y) reads them as they are, and any other strategy a "
            "batch at a time"
        )
    if rows * numbers > MOST:
        start = "--init_from with an encoder (pretrained:NAME)" if errors.as_options else 'pretrain="frozen:NAME"'
        drop = "--data.drop '[NAME]'" if errors.as_options else "drop=[NAME]"
        raise UsageError(
            f"{setting('strategy', 'auto', of='')} reads all rows at once, and {rows:,} of {numbers:,} numbers do not "
            f"fit: of pictures say {start}, whose features it reads, or make them smaller ({setting('size', 32)}); of "
            f"a table leave out columns of names ({drop})"
        )
    if building.kind_of(pile) == "table" and columns <= WIDE:
        return pile  # far from 0 single precision has few digits; all that reads so few columns standardizes anyway
    # by a direction rows are compared from black, and not from the mean
    plain = {
        key: None if card[key] is None else [value] * len(card[key]) for key, value in (("mean", 0.0), ("std", 1.0))
    }
    return pile.normalized_as(card | plain)


def build(problem: building.Problem, pile: Pile, settings: Mapping[str, Any], seed: int) -> Any:
    """The strategy for a pile of ``rows_of``."""
    from selftrain.estimator.strategy import PortfolioStrategy

    own: dict[str, Any] = {"kind": problem.kind, "categories": _categories(pile), "seed": seed}
    with building.settings_checked():
        return PortfolioStrategy(make_part("task", problem.task), **own, **settings)


def whole_plan(pile: Pile, given: BatchPlan) -> BatchPlan:
    """The plan whose one step reads all rows, with the seed, loader processes and patience of another."""
    from selftrain.estimator.strategy import whole_plan as of_rows

    rows = len(pile.labeled or ()), len(pile.unlabeled or ())
    return of_rows(*rows, seed=given.seed, workers=given.workers, timeout=given.timeout)


def _categories(pile: Pile) -> list[tuple[int, int]]:
    """Place and number of codes of each column that holds codes of categories."""
    return [] if pile.encoding is None else sorted(TableEncoding.from_dict(pile.encoding).cardinalities.items())
