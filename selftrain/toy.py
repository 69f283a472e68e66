"""Tiny problems, networks and a pile in memory, on which every method runs in milliseconds: for tests and docs.

The pictures show a bright and a dark square on noise. The same pictures pose three tasks: in which third of the height
the bright square is (classification), which pixels belong to which square (segmentation), and where the two centers are
(keypoints). ``moons`` and ``clouds`` are tables of numbers on which self-training shows its use within a second.

>>> from selftrain import toy
>>> pile, task = toy.pile("segmentation"), toy.task("segmentation")
>>> toy.learner("segmentation")()(pile.x[:4]).shape
torch.Size([4, 3, 12, 12])
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from selftrain.networks.optim import learner as make_learner
from selftrain.networks.student import MakeLearner
from selftrain.tasks import Classification, Keypoints, Segmentation, Task
from selftrain.types import Annotated, Batch, BatchPlan, Labeled, Needs, Unlabeled, View

Kind = Literal["classification", "segmentation", "keypoints"]
MakeView = Callable[[Tensor, torch.Generator], View]
KINDS: tuple[Kind, ...] = ("classification", "segmentation", "keypoints")
SIDE = 12  # pixels
CLASSES, JOINTS, VOID = 3, 2, 255


# -- networks ----------------------------------------------------------------------------------------------------------
def task(kind: Kind) -> Task:
    """The task of a kind of toy: 3 classes, or 2 joints on a 12 x 12 heatmap."""
    tasks: dict[Kind, Callable[[], Task]] = {
        "classification": lambda: Classification(CLASSES),
        "segmentation": lambda: Segmentation(CLASSES, void=VOID),
        "keypoints": lambda: Keypoints(JOINTS, (SIDE, SIDE), sigma=1.0),
    }
    return tasks[kind]()


def network(kind: Kind, *, norm: bool = True, dropout: float = 0.1, kernel: int = 3, outputs: int = 1) -> nn.Module:
    """A network of a few hundred weights: pictures (B, 1, 12, 12) -> logits (B, 3), (B, 3, 12, 12) or (B, 2, 12, 12).

    It is an odd function of its input while its BatchNorm is fresh, ``f(-x) = -f(x)``: even untrained it decides
    differently for different pictures, which a network with ReLU and average pooling often does not.

    Args:
        kind: What it predicts.
        norm: With BatchNorm.
        dropout: Share of features dropped, in [0, 1).
        kernel: Width of the convolution; 1 treats every pixel alike, wherever it is.
        outputs: Channels for each class or joint: 2 for networks with two heads.
    """
    width, classes, joints = 6, outputs * CLASSES, outputs * JOINTS
    body = [nn.Conv2d(1, width, kernel, padding=kernel // 2, bias=False)]
    middle = [nn.BatchNorm2d(width)] if norm else []
    heads: dict[Kind, list[nn.Module]] = {
        "classification": [nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(width * 16, classes, bias=False)],
        "segmentation": [nn.Conv2d(width, classes, 1, bias=False)],
        "keypoints": [nn.Conv2d(width, joints, 1, bias=False)],
    }
    return nn.Sequential(*body, *middle, nn.Tanh(), nn.Dropout(dropout), *heads[kind])


def mlp(inputs: int = 2, classes: int = 2, *, width: int = 64) -> nn.Module:
    """Two hidden layers for tables such as ``moons``: (B, inputs) -> logits (B, classes)."""
    hidden = [nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()]
    return nn.Sequential(*hidden, nn.Linear(width, classes))


def learner(
    kind: Kind, *, norm: bool = True, dropout: float = 0.1, kernel: int = 3, outputs: int = 1, **training: Any
) -> MakeLearner:
    """Builder of students of a kind: SGD with momentum 0.9 and rate 0.05; ``training`` overrides, see ``Training``."""
    settings: dict[str, Any] = {"optimizer": "sgd", "lr": 0.05, "weight_decay": 0.0} | training
    return make_learner(lambda: network(kind, norm=norm, dropout=dropout, kernel=kernel, outputs=outputs), **settings)


# -- problems ----------------------------------------------------------------------------------------------------------
def pile(kind: Kind, *, labeled: int = 8, unlabeled: int = 24, held_out: int = 12, seed: int = 0) -> ToyPile:
    """Pictures of the two squares, cut into labeled, unlabeled, validation and test rows.

    Views: ``plain``; ``weak`` with some pictures mirrored and a little noise; ``strong`` with more noise and, where the
    labels can follow, quarter turns.

    Args:
        kind: Which annotation the pictures carry.
        labeled: Rows with labels.
        unlabeled: Rows without; 0: none.
        held_out: Rows of validation and of test.
        seed: Key of the pictures.
    """
    generator = torch.Generator().manual_seed(seed)
    x, annotations = _squares(labeled + unlabeled + 2 * held_out, generator)
    turn = _mirror if kind == "classification" else _quarter_turn  # a quarter turn would change the class
    views = {"plain": _shown(0.0), "weak": _shown(0.05, _mirror), "strong": _shown(0.3, turn)}
    parts = _cut(labeled=labeled, unlabeled=unlabeled, validation=held_out, test=held_out)
    names = [] if kind == "keypoints" else [str(c) for c in range(CLASSES)]
    return ToyPile(x, annotations[kind], parts, names, views)


def moons(*, labels: int = 8, unlabeled: int = 400, held_out: int = 300, noise: float = 0.08, seed: int = 0) -> ToyPile:
    """Two interleaved half circles: a few labeled points, spread evenly over both, and many unlabeled ones.

    Views: ``plain`` and ``weak`` show the point, ``strong`` moves it at random by 0.2 (standard deviation).

    Args:
        labels: Labeled points, an even number.
        unlabeled: Unlabeled points.
        held_out: Points of validation and of test.
        noise: Standard deviation of the points around the half circles.
        seed: Key of the points.
    """
    generator = torch.Generator().manual_seed(seed)
    parts = _cut(labeled=labels, unlabeled=unlabeled, validation=held_out, test=held_out)
    share = torch.rand(labels + unlabeled + 2 * held_out, generator=generator)
    share[:labels] = (torch.arange(labels) // 2 + share[:labels]) / (labels // 2)
    # Classes in turn: every even number of first rows, as the labels are, is balanced.
    y, angle = torch.arange(len(share)) % 2, math.pi * share
    upper, lower = torch.stack([angle.cos(), angle.sin()], 1), torch.stack([1 - angle.cos(), 0.5 - angle.sin()], 1)
    x = torch.where(y[:, None] == 0, upper, lower) + noise * torch.randn(len(y), 2, generator=generator)
    return ToyPile(x, y, parts, ["upper", "lower"], _table_views(0.2))


def clouds(
    *, labels: int = 8, unlabeled: int = 400, held_out: int = 300, width: int = 30, gap: float = 2.0, seed: int = 0
) -> ToyPile:
    """Two Gaussian clouds in many dimensions: few labels do not tell the direction between them, many points do.

    The best possible accuracy is the normal distribution at ``gap``: 0.977 for 2.

    Views: ``plain`` and ``weak`` show the point, ``strong`` moves it at random by 1 (standard deviation).

    Args:
        labels: Labeled points, an even number.
        unlabeled: Unlabeled points.
        held_out: Points of validation and of test.
        width: Number of dimensions.
        gap: Distance of the centers from the middle, in standard deviations of a cloud.
        seed: Key of the points.
    """
    generator = torch.Generator().manual_seed(seed)
    parts = _cut(labeled=labels, unlabeled=unlabeled, validation=held_out, test=held_out)
    x = torch.randn(labels + unlabeled + 2 * held_out, width, generator=generator)
    y = torch.arange(len(x)) % 2
    x[:, 0] += gap * (2 * y - 1)
    return ToyPile(x, y, parts, ["left", "right"], _table_views(1.0))


@dataclass(frozen=True)
class ToyPile:
    """Samples in memory that the engine can train on (``selftrain.types.Pile``), without the data package.

    Args:
        x: All inputs, shape (N, ...).
        annotation: All annotations, shape (N, ...).
        parts: Rows of ``"labeled"``, ``"unlabeled"``, ``"validation"`` and ``"test"``.
        classes: Names of the classes.
        views: Maker of each view: inputs (B, ...) and a random generator -> view.
    """

    x: Tensor
    annotation: Tensor
    parts: Mapping[str, Tensor]
    classes: Sequence[str]
    views: Mapping[str, MakeView]

    def stream(self, needs: Needs, plan: BatchPlan, device: torch.device) -> ToyStream:
        """The training batches of a strategy; ``plan.workers`` is not used."""
        return ToyStream(self, needs, plan, device)

    def evaluation(self, part: object, batch_size: int, device: torch.device) -> Iterable[Annotated] | None:
        """Plain samples of a part (``"pile"``: all unlabeled ones) or of rows (a tensor); ``None`` if empty."""
        rows = self.parts["unlabeled" if part == "pile" else part] if isinstance(part, str) else torch.as_tensor(part)
        if not len(rows):
            return None
        batches = rows.split(batch_size)
        return [Annotated(self.x[i].to(device), self.annotation[i].to(device), i.to(device)) for i in batches]

    def unlabeled_ids(self) -> Sequence[str]:
        """Row numbers as text."""
        return [str(row) for row in self.parts["unlabeled"].tolist()]

    def unlabeled_truth(self) -> Tensor | None:
        """Class of every unlabeled row; ``None`` for pixels and joints."""
        return self.annotation[self.parts["unlabeled"]] if self.annotation.dim() == 1 else None


class ToyStream:
    """Batches that depend on (seed, epoch, step) alone; labeled rows are drawn anew for each, with repeats if few.

    Args:
        pile: The samples.
        needs: What the strategy needs.
        plan: Batch sizes and seed.
        device: Where batches go.
    """

    def __init__(self, pile: ToyPile, needs: Needs, plan: BatchPlan, device: torch.device) -> None:
        self.pile, self.needs, self.plan, self.device = pile, needs, plan, device
        size, rows = (plan.unlabeled, "unlabeled") if len(pile.parts["unlabeled"]) else (plan.labeled, "labeled")
        self.steps_per_epoch = -(-len(pile.parts[rows]) // size)

    def epoch(self, number: int, start: int = 0) -> Iterator[Sequence[Batch]]:
        """Batches of epoch ``number`` from step ``start`` on, each with the ``needs.extra_batches`` that follow it."""
        for step in range(start, self.steps_per_epoch):
            ahead = range(step, step + 1 + self.needs.extra_batches)
            yield [self.batch(number, place % self.steps_per_epoch) for place in ahead]

    def batch(self, epoch: int, step: int) -> Batch:
        """The batch of one step."""
        # The order is keyed by the epoch and the draws by the step: a run can be entered at any step, and a pass still
        # meets every row.
        order = torch.Generator().manual_seed(self.plan.seed * 1_000_003 + epoch)
        generator = torch.Generator().manual_seed((self.plan.seed * 1_000_003 + epoch) * 1_009 + step + 1)
        return Batch(self._labeled(generator), self._unlabeled(step, order, generator))

    def _labeled(self, generator: torch.Generator) -> Labeled | None:
        if self.needs.encode is None:
            return None
        rows = self.pile.parts["labeled"]
        chosen = torch.randperm(len(rows), generator=generator)[torch.arange(self.plan.labeled) % len(rows)]
        view = self._view(self.needs.labeled_view, rows[chosen], generator)
        target = self.needs.encode(self.pile.annotation[rows[chosen]].to(self.device))
        return Labeled(view.x, self.needs.warp(target, view) if self.needs.warp else target, chosen.to(self.device))

    def _unlabeled(self, step: int, order: torch.Generator, generator: torch.Generator) -> Unlabeled | None:
        rows, size = self.pile.parts["unlabeled"], self.plan.unlabeled
        if not len(rows) or not self.needs.views:
            return None
        chosen = torch.randperm(len(rows), generator=order)[torch.arange(step * size, (step + 1) * size) % len(rows)]
        views = {name: self._view(name, rows[chosen], generator) for name in self.needs.views}
        return Unlabeled(views, chosen.to(self.device))

    def _view(self, name: str, rows: Tensor, generator: torch.Generator) -> View:
        # weak2 is made like weak; the generator has gone on, so its draws are others.
        view = self.pile.views[name.rstrip("0123456789")](self.pile.x[rows], generator)
        return view.each(lambda tensor: tensor.to(self.device))


# -- pictures and views ------------------------------------------------------------------------------------------------
def move(x: Tensor, theta: Tensor) -> Tensor:
    """Show images (B, c, H, W) through affine maps (B, 2, 3); quarter turns and mirror images are exact."""
    grid = F.affine_grid(theta, list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, mode="nearest", padding_mode="zeros", align_corners=False)


def turned(quarters: Tensor) -> Tensor:
    """Affine maps (B, 2, 3) of views turned by a number of quarters each, shape (B,)."""
    angle = quarters * (math.pi / 2)
    # Rounded: cos(pi / 2) is not quite 0, and the nearest pixel could be the neighbor.
    cos, sin, zero = angle.cos().round(), angle.sin().round(), torch.zeros(len(quarters))
    return torch.stack([torch.stack([cos, -sin, zero], 1), torch.stack([sin, cos, zero], 1)], 1)


def _table_views(jitter: float) -> dict[str, MakeView]:
    return {"plain": _shown(0.0), "weak": _shown(0.0), "strong": _shown(jitter)}


def _mirror(n: int, generator: torch.Generator) -> Tensor:
    theta = torch.eye(2, 3).repeat(n, 1, 1)
    theta[:, 0, 0] = 1.0 - 2.0 * torch.randint(2, (n,), generator=generator)
    return theta


def _quarter_turn(n: int, generator: torch.Generator) -> Tensor:
    return turned(torch.randint(4, (n,), generator=generator))


def _shown(noise: float, place: Callable[[int, torch.Generator], Tensor] | None = None) -> MakeView:
    """Maker of a view: moved by ``place``, then with Gaussian noise of this standard deviation."""

    def make(x: Tensor, generator: torch.Generator) -> View:
        theta = None if place is None else place(len(x), generator)
        shown = x if theta is None else move(x, theta)
        return View(shown + noise * torch.randn(x.shape, generator=generator), theta)

    return make


def _squares(n: int, generator: torch.Generator) -> tuple[Tensor, dict[Kind, Tensor]]:
    """Pictures (n, 1, 12, 12), and their annotations for each task; some pixels are void, some joints unlabeled."""
    third = torch.randint(CLASSES, (n,), generator=generator)
    bright_row = 4 * third + torch.randint(1, 3, (n,), generator=generator)
    # Three rows apart or more, also across the edge: the squares must not cover each other.
    dark_row = (bright_row + torch.randint(3, SIDE - 4, (n,), generator=generator) - 1) % (SIDE - 2) + 1
    columns = torch.randint(1, SIDE - 1, (2, n), generator=generator)
    inside = [_square(row, column) for row, column in zip((bright_row, dark_row), columns, strict=True)]
    mask = torch.where(inside[0], 1, torch.where(inside[1], 2, 0))
    x = (mask == 1).float() - (mask == 2).float() + 0.1 * torch.randn(mask.shape, generator=generator)
    mask[torch.rand(mask.shape, generator=generator) < 0.05] = VOID
    centers = torch.stack([columns.T, torch.stack([bright_row, dark_row], 1)], -1).float()
    seen = (torch.rand(n, JOINTS, 1, generator=generator) < 0.9).float()
    points = torch.cat([centers, seen], -1)  # (n, 2, 3): column, row, visible
    return x[:, None], {"classification": third, "segmentation": mask, "keypoints": points}


def _square(row: Tensor, column: Tensor) -> Tensor:
    """Whether each pixel lies in the 3 x 3 square around (row, column), (n, 12, 12)."""
    places = torch.arange(SIDE)
    near_row = (places - row[:, None]).abs() <= 1
    near_column = (places - column[:, None]).abs() <= 1
    return near_row[:, :, None] & near_column[:, None, :]


def _cut(**sizes: int) -> dict[str, Tensor]:
    """Consecutive rows for each part."""
    rows = torch.arange(sum(sizes.values())).split(list(sizes.values()))
    return dict(zip(sizes, rows, strict=True))
