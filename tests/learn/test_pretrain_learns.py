"""Stages learn what there is to learn: small problems whose answer is known."""

import pytest
import torch
from torch import nn

from selftrain.evaluation.probing import logistic_probe
from selftrain.metrics.features import knn_accuracy, standardized
from selftrain.networks.optim import Training
from selftrain.pretrain import ECGJEPA, TJEPA, FeatureEncoder, LeJEPA, series_transformer, table_transformer
from selftrain.schedule import cosine
from selftrain.types import Batch, Clock, Unlabeled, View


def learn(strategy, views, samples, steps, size):
    """Steps on random batches; ``views`` makes the views of some rows."""
    generator, rows_of_log = torch.Generator().manual_seed(0), []
    for step in range(steps):
        rows = torch.randint(samples, (size,), generator=generator)
        torch.manual_seed(1000 + step)
        strategy.train()
        strategy.student.set_lr(step / steps)
        shown = {name: View(x) for name, x in views(rows, generator).items()}
        rows_of_log.append(strategy.step(Batch(None, Unlabeled(shown, rows)), Clock(step, 0, steps)).scalars)
    return rows_of_log


# -- LeJEPA ------------------------------------------------------------------------------------------------------------
@pytest.mark.slow
def test_lejepa_finds_the_components_of_a_mixture_behind_what_views_change():
    """Views of a point differ in 8 of 32 directions, where the noise is large: neighbors must learn to look elsewhere.

    SIGReg falls from what a random projector gives towards the 1 that it expects of a Gaussian.
    """
    generator, count = torch.Generator().manual_seed(2), 1000
    centers, y = torch.randn(5, 32, generator=generator), torch.arange(count) % 5
    axes = torch.linalg.qr(torch.randn(32, 32, generator=generator))[0][:, :8]

    def moved(x, generator):
        return x + 2 * torch.randn(len(x), 8, generator=generator) @ axes.T

    def points():
        return moved(centers[y] + 0.3 * torch.randn(count, 32, generator=generator), generator)

    known, asked = points(), points()
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 16))
    strategy = LeJEPA(FeatureEncoder(network, (32,)), slices=64, projector=(64, 16))

    def neighbors():
        few = strategy.predict(known[:25])
        return knn_accuracy(standardized(few, few), y[:25], standardized(strategy.predict(asked), few), y)

    before = neighbors()
    log = learn(
        strategy, lambda rows, g: {"strong": moved(known[rows], g), "strong2": moved(known[rows], g)}, count, 250, 128
    )
    first, last = (torch.stack([row["loss/sigreg"] for row in part]).mean() for part in (log[:3], log[-10:]))
    assert neighbors() > 0.95 > before + 0.1
    assert first > 20
    assert last < 5


# -- T-JEPA ------------------------------------------------------------------------------------------------------------
@pytest.mark.slow
def test_tjepa_predicts_copied_columns_better_than_independent_ones():
    """Five columns say nothing of one another, five are noisy copies of one thing.

    Errors are shares of a token's variance: 1 is what a constant guess achieves. The target moves slowly here, else
    tokens of all columns come to hold what is known of the whole row.
    """
    generator, count = torch.Generator().manual_seed(0), 2000
    one = torch.randn(count, 1, generator=generator)
    copies = (one + 0.2 * torch.randn(count, 5, generator=generator)) / 1.02
    x = torch.cat([torch.randn(count, 5, generator=generator), copies], 1)
    torch.manual_seed(0)
    training = Training(lr=5e-3, weight_decay=0.0, max_grad_norm=1.0, schedule=cosine(warmup=0.05))
    strategy = TJEPA(table_transformer(10, width=16, depth=1), decay=(0.999, 1.0), training=training)
    learn(strategy, lambda rows, _: {"plain": x[rows]}, count, 400, 64)
    strategy.eval()
    held, network = x[:500], strategy.network
    with torch.no_grad():
        every = strategy.target(held, network.encoder, torch.arange(10).expand(1, 500, 10))[0]
        error, seen = torch.zeros(10), torch.zeros(10)
        for seed in range(10):
            torch.manual_seed(seed)
            mask = strategy.draw(held, 0.0)
            wrong = (
                (network(held, *mask.by_row())[0].transpose(0, 1) - strategy.targets(held, mask, held))
                .square()
                .mean(-1)
            )
            error.scatter_add_(0, mask.targets.flatten(), wrong.flatten())
            seen.scatter_add_(0, mask.targets.flatten(), torch.ones(wrong.numel()))
    share = error / seen / every.var(0).mean(-1)
    assert share[:5].min() > 0.8
    assert share[5:].max() < 0.6


# -- ECG-JEPA ----------------------------------------------------------------------------------------------------------
def oscillations(count, seed):
    """Series (count, 1, 100) of an autoregression of second order, three frequencies, the classes; deviation 1."""
    generator, y = torch.Generator().manual_seed(seed), torch.arange(count) % 3
    first, second = 1.6 * torch.tensor([0.5, 0.9, 1.3]).cos()[y], -0.64
    x = torch.zeros(count, 150)
    noise = torch.randn(count, 150, generator=generator)
    for t in range(2, 150):
        x[:, t] = first * x[:, t - 1] + second * x[:, t - 2] + noise[:, t]
    x = x[:, 50:]
    return ((x - x.mean(1, keepdim=True)) / x.std(1, keepdim=True))[:, None], y


@pytest.mark.slow
def test_ecgjepa_tells_oscillations_apart():
    """Raw samples, whose phase is random, tell next to nothing; the pooled tokens of an untrained transformer do."""
    (x, y), (asked, truth) = oscillations(600, 0), oscillations(600, 100)
    torch.manual_seed(0)
    strategy = ECGJEPA(series_transformer(100, 5, 1, width=32, depth=1, pool=1))
    learn(strategy, lambda rows, _: {"weak": x[rows]}, 600, 250, 32)
    accuracy = logistic_probe(strategy.predict(x[:60]), y[:60], strategy.predict(asked), truth)
    raw = logistic_probe(x[:60].flatten(1), y[:60], asked.flatten(1), truth)
    assert accuracy > 1 / 3 + 0.2
    assert raw < 1 / 3 + 0.1
