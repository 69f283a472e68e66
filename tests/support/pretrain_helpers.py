"""Small encoders, images and steps for the tests of the label-free stages."""

import math

import torch

from selftrain.networks.encoders import ConvEncoder
from selftrain.pretrain import IJEPA, MAE, SimCLR, ViT
from selftrain.types import Batch, Clock, Unlabeled, View

STAGES = {"mae": MAE, "ijepa": IJEPA, "simclr": SimCLR}


def vit(seed=0, size=8, patch=2, channels=1, **settings):
    torch.manual_seed(seed)
    return ViT(size, patch, channels, **({"width": 16, "depth": 2, "heads": 2} | settings))


def conv(seed=0, size=16, channels=1):
    torch.manual_seed(seed)
    return ConvEncoder(size, channels, widths=(4, 8), embed_dim=12)


def stage(name, encoder=None, seed=0, **settings):
    torch.manual_seed(seed)
    return STAGES[name](vit() if encoder is None else encoder, **settings)


def images(count=6, channels=1, size=(8, 8), seed=0):
    return torch.randn(count, channels, *size, generator=torch.Generator().manual_seed(seed))


def batch(x, view="weak"):
    """``x`` as one view, and as two strong ones that differ a little."""
    views = {view: View(x)} | ({} if view != "weak" else {"strong": View(x + 0.1), "strong2": View(0.9 * x)})
    return Batch(None, Unlabeled(views, torch.arange(len(x))))


def train(strategy, x, start, end, total=20):
    """Steps as the engine takes them: the random state is set before each; returns the reports' scalars."""
    rows = []
    for step in range(start, end):
        torch.manual_seed(1000 + step)
        strategy.train()
        for learner in strategy.learners():
            learner.set_lr(step / total)
        rows.append(strategy.step(batch(x), Clock(step, 0, total)).scalars)
    return rows


def gratings(count, seed, size=16):
    """Waves of length 4 in four orientations with a random phase, unit variance, (count, 1, size, size)."""
    generator = torch.Generator().manual_seed(seed)
    angle = torch.randint(4, (count, 1, 1), generator=generator) * math.pi / 4
    phase = 2 * math.pi * torch.rand(count, 1, 1, generator=generator)
    row, column = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    wave = torch.sin(2 * math.pi / 4 * (row * angle.cos() + column * angle.sin()) + phase)
    return math.sqrt(2) * wave[:, None]


def perturbed(x, keep, grid):
    """``x`` with other values wherever a patch is not in ``keep`` (B, N)."""
    visible = torch.zeros(len(x), math.prod(grid)).scatter_(1, keep, 1.0).view(-1, 1, *grid)
    for axis, cells in enumerate(grid, 2):
        visible = visible.repeat_interleave(x.shape[axis] // cells, axis)
    return torch.where(visible.bool(), x, 7 - 3 * x)
