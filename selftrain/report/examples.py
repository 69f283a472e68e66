"""Samples worth a look, drawn inside the page: pictures as PNG, series as lines, rows of a table as their values."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from markupsafe import Markup
from torch import Tensor

from selftrain.errors import printable
from selftrain.labels.ledger import Ledger
from selftrain.labels.thumbnails import thinned
from selftrain.report.charts import colors, percent, series, short, tag
from selftrain.report.held_out import Judged
from selftrain.strategy.base import SupervisedStrategy
from selftrain.tasks import Task
from selftrain.tensorboard.tiles import COLORS, tiles, with_labels
from selftrain.types import Pile

_SHOWN, _VALUES, _CHANNELS, _PLACES = 8, 6, 4, 128  # samples of a group; values of a row; lanes and points of a series


@dataclass(frozen=True)
class Example:
    """One sample: what shows it, its name, and lines of name and value; ``wrong`` ones are marked."""

    shown: Markup
    name: str
    facts: Sequence[tuple[str, str]]
    wrong: bool = False


@dataclass(frozen=True)
class Group:
    """Samples of one kind under a title that says which, and why they are worth a look."""

    title: str
    about: str
    examples: Sequence[Example]
    legend: Markup | str = ""


class Showing:
    """Draw samples of a pile as a person knows them, not as a network sees them.

    Args:
        pile: The data.
    """

    def __init__(self, pile: Pile) -> None:
        self.pile = pile
        self.columns = list((getattr(pile, "encoding", None) or {}).get("columns", ()))  # of a table that was read
        card: dict[str, Any] = getattr(pile, "card", dict)()  # a pile of the user's own kind has none
        self.mean, self.std = (torch.tensor(card.get(name) or 0.0).flatten() for name in ("mean", "std"))

    def raw(self, part: str, rows: Sequence[int], x: Tensor | None = None) -> Tensor | None:
        """Inputs of rows of a part as its set has them; where it shows none ``x``, what networks see."""
        samples: Any = getattr(self.pile, part, None)
        if hasattr(samples, "images"):
            return torch.as_tensor(samples.images(np.asarray(rows, dtype=np.int64)))
        return x

    def drawn(self, x: Tensor, value: Tensor | None = None, weight: Tensor | None = None) -> list[Markup]:
        """Each of some inputs (N, ...); with predictions of sites (N, C, H, W) these are painted over pictures."""
        if x.dim() == 2:
            return [self._row(row) for row in x.float()]
        if x.dim() == 3 and x.shape[2] > 4:
            lanes = thinned(x.float().nan_to_num(), _PLACES)[:, :_CHANNELS]
            return [series(sample.tolist(), "series") for sample in lanes]
        shown = tiles(x)
        if value is not None and weight is not None:
            shown = with_labels(shown, value, weight, getattr(self.pile, "skeleton", ()))
        return [_png(tile) for tile in shown]

    def _row(self, row: Tensor) -> Markup:
        """The values of a row that are farthest from those of most rows, in the order of the columns."""
        row = row.nan_to_num()
        known = len(self.mean) == len(self.std) == len(row)
        unusual = (row - self.mean) / self.std.clamp(min=1e-12) if known else row.clone()
        for place, column in enumerate(self.columns):
            if column.get("vocabulary") is not None:
                unusual[place] = 1.0  # codes have no order
        far = sorted(unusual.abs().argsort(descending=True)[:_VALUES].tolist())
        cells = [
            tag("div", tag("dt", tag("bdi", name)), tag("dd", text)) for name, text in map(self._cell, far, row[far])
        ]
        return tag("dl", *cells, class_="values")

    def _cell(self, place: int, value: Tensor) -> tuple[str, str]:
        """Name and text of a value, as the table had it."""
        if place >= len(self.columns):
            return f"column {place}", f"{float(value):.4g}"
        column = self.columns[place]
        words = column.get("vocabulary")
        if words is not None:
            text = str(words[int(value) - 1]) if 1 <= int(value) <= len(words) else "missing"
        else:
            text = f"{float(value) * column['std'] + column['mean']:.4g}"
        return printable(str(column["name"])), short(printable(text), 24)


def _png(tile: Tensor) -> Markup:
    """A picture (3, h, w) in [0, 1]."""
    from PIL import Image

    file = io.BytesIO()
    pixels = tile.mul(255).round().byte().permute(1, 2, 0).contiguous().numpy()
    # few colors where they are enough: gray pictures take a third
    Image.fromarray(pixels[:, :, 0] if (pixels == pixels[:, :, :1]).all() else pixels).save(file, "PNG")
    source = f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode('ascii')}"
    return tag("img", src=source, alt="")


def mistakes(strategy: SupervisedStrategy, judged: Judged, showing: Showing, classes: Sequence[str]) -> Group | None:
    """Held-out samples that the run is most sure of and wrong; ``None``: there are none."""
    task, worst = strategy.task, judged.worst[:_SHOWN]
    if not worst:
        return None
    x, value = torch.stack([one.x for one in worst]), torch.stack([one.value for one in worst])
    target = task.encode(torch.stack([one.annotation for one in worst]))
    raw = showing.raw(judged.part, [one.row for one in worst], x)
    assert raw is not None
    if task.one_unit:
        shown, truth, said = showing.drawn(raw), task.label(target.value).tolist(), task.label(value).tolist()
        lines = [
            [("is", classes[t]), ("taken for", classes[s]), ("confidence", percent(one.sure, 0))]
            for one, t, s in zip(worst, truth, said, strict=True)
        ]
        about = "Held-out samples that are wrong, the surest first: a wrong label, or something to learn from."
    else:
        valid = target.mask()
        pairs = zip(showing.drawn(raw, target.value, valid), showing.drawn(raw, value, valid), strict=True)
        shown = [tag("div", *pair, class_="pair") for pair in pairs]
        lines = [[("right", percent(one.share, 0)), ("confidence", percent(one.sure, 0))] for one in worst]
        about = f"Held-out samples with the fewest {unit_of(task)} right: left the truth, right the prediction."
    names = [_name(showing.pile, judged.part, one.row) for one in worst]
    made = [Example(s, n, rows, wrong=True) for s, n, rows in zip(shown, names, lines, strict=True)]
    return Group("Most clearly wrong", about, made, _legend(task, classes))


def unit_of(task: Task) -> str:
    """What is right or wrong, in the plural."""
    return "samples" if task.one_unit else "pixels" if task.has_classes else "joints"


def _legend(task: Task, classes: Sequence[str]) -> Markup | str:
    return "" if task.one_unit else colors(classes, COLORS)


def pseudo_labels(
    strategy: SupervisedStrategy, ledger: Ledger, showing: Showing, classes: Sequence[str]
) -> list[Group]:
    """Unlabeled samples that were learned from: known wrong ones, and the least certain."""
    used, found = ledger.accepted.cpu() & (ledger.seen.cpu() > 0), []
    sure = ledger.confidence.cpu()
    if ledger.truth is not None:
        wrong = used & (ledger.truth.cpu() >= 0) & (ledger.label.cpu() != ledger.truth.cpu())
        order = torch.nonzero(wrong).squeeze(1)
        rows = order[sure[order].argsort(descending=True, stable=True)][:_SHOWN]
        about = "Their truth is known here and was hidden from the training: what the run has taught itself wrongly."
        found.append(("Wrong pseudo-labels, the surest", about, rows))
    order = torch.nonzero(used).squeeze(1)
    rows = order[ledger.margin.cpu()[order].argsort(stable=True)][:_SHOWN]
    about = "Learned from with the smallest lead over the second choice: a person's look helps most here."
    found.append(("Least certain pseudo-labels", about, rows))
    made = (_group(strategy, ledger, showing, classes, *one) for one in found if len(one[2]))
    return [group for group in made if group is not None]


def _group(
    strategy: SupervisedStrategy, ledger: Ledger, showing: Showing, classes: Sequence[str], title: str, about: str,
    rows: Tensor,
) -> Group | None:  # fmt: skip
    raw = showing.raw("unlabeled", rows.tolist())
    if raw is None:
        return None
    one, value, weight = strategy.task.one_unit, None, None
    views = getattr(showing.pile, "views", None)
    if not one and views is not None:
        device = next(strategy.parameters()).device
        with strategy.evaluating():
            value = strategy.predict(views("plain", raw, rows, 0).x.to(device)).cpu()
        weight = torch.ones_like(strategy.task.confidence(value))
    examples = []
    for shown, row in zip(showing.drawn(raw, value, weight), rows.tolist(), strict=True):
        label, lines = int(ledger.label[row]), [("confidence", percent(float(ledger.confidence[row]), 0))]
        truth = -1 if ledger.truth is None else int(ledger.truth[row])
        if one and label < len(classes):
            lines.insert(0, ("label", classes[label]))
        if one and 0 <= truth < len(classes):
            lines.insert(1, ("truth", classes[truth]))
        if int(ledger.flips[row]):
            lines.append(("changed", "once" if ledger.flips[row] == 1 else f"{int(ledger.flips[row])} times"))
        examples.append(Example(shown, printable(str(ledger.ids[row])), lines, wrong=0 <= truth != label))
    return Group(title, about, examples, _legend(strategy.task, classes))


def _name(pile: Pile, part: str, row: int) -> str:
    """The name of a sample of a part: its path, where the set has one, else its number."""
    ids = getattr(getattr(pile, part, None), "ids", None)
    return printable(str(ids[row])) if ids is not None and row < len(ids) else f"{part} {row}"
