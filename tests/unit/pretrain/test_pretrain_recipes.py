"""Methods with a name: each is the parts its paper says, trains on its kind of data, and no setting is ignored."""

import functools
import inspect
from functools import partial
from typing import NamedTuple

import pytest
import torch
from pretrain_helpers import conv, images, vit
from torch import nn

from selftrain import pretrain
from selftrain.engine.spec import settings_of
from selftrain.networks.optim import Training
from selftrain.pretrain.losses import DISTANCES, InfoNCE, LeJEPALoss, UniSiamLoss, VICRegLoss
from selftrain.pretrain.maskers import (
    Blocks,
    Curriculum,
    FeatureSubset,
    LocalWindows,
    Mixture,
    MultiBlock,
    RandomMask,
    Runs,
    TimeFrequency,
)
from selftrain.pretrain.predictor import ConvPredictor, Predictor
from selftrain.pretrain.targets import EMALatent, GradientRatio, Pixels
from selftrain.types import Batch, Clock, Unlabeled, View

SMALL = {"width": 16, "depth": 1, "heads": 2}


def clouds(count=6):
    return torch.randn(count, 24, 3, generator=torch.Generator().manual_seed(0))


def rows(count=6):
    return torch.randn(count, 8, generator=torch.Generator().manual_seed(0))


def series(count=6):
    return torch.randn(count, 2, 40, generator=torch.Generator().manual_seed(0))


KINDS = {
    "image": (lambda: vit(size=16, patch=4), lambda: images(6, size=(16, 16))),
    "cells": (conv, lambda: images(6, size=(16, 16))),
    "spectrogram": (lambda: vit(size=(16, 32), patch=4), lambda: images(6, size=(16, 32))),
    "series": (lambda: pretrain.series_transformer(40, 2, 2, **SMALL), series),
    "table": (lambda: pretrain.table_transformer(8, **SMALL), rows),
    "points": (lambda: pretrain.point_transformer(24, groups=12, neighbors=4, **SMALL), clouds),
}
RECIPES = {
    "MAE": "image", "SARJEPA": "image", "IJEPA": "image", "StoP": "image", "CNNJEPA": "cells", "AJEPA": "spectrogram",
    "ECGJEPA": "series", "TJEPA": "table", "PointJEPA": "points", "LeJEPA": "cells", "SimCLR": "cells",
    "VICReg": "cells", "UniSiam": "cells",
}  # fmt: skip
MASKED = [name for name in RECIPES if name not in ("LeJEPA", "SimCLR", "VICReg", "UniSiam")]
SETTINGS = {
    "MAE": [{"mask_ratio": 0.5}, {"decoder_width": 32}, {"decoder_depth": 2}, {"decoder_heads": 2},
            {"normalize": False}, {"flat": 1.0}],
    "SARJEPA": [{"windows": 2}, {"window": 3}, {"mask_ratio": 0.5}, {"radii": (1,)}, {"decoder_width": 32},
                {"decoder_depth": 2}, {"decoder_heads": 2}],
    "IJEPA": [{"predictor_width": 32}, {"predictor_depth": 1}, {"predictor_heads": 2}, {"noise": 0.5},
              {"masks": MultiBlock(blocks=2)}, {"decay": (0.5, 1.0)}, {"decay": (0.99, 0.5)}, {"path": "cosine"}],
    "StoP": [{"noise": 2.0}, {"predictor_width": 32}, {"path": "cosine"}],
    "CNNJEPA": [{"depth": 1}, {"noise": 0.5}, {"masks": RandomMask(0.5)}, {"decay": (0.5, 1.0)}, {"path": "linear"},
                {"signed": True}],
    "AJEPA": [{"predictor_width": 32}, {"predictor_depth": 1}, {"predictor_heads": 2}, {"noise": 0.5}, {"start": 1.0},
              {"masks": RandomMask(0.5)}, {"decay": (0.5, 1.0)}],
    "ECGJEPA": [{"predictor_width": 16}, {"predictor_depth": 1}, {"predictor_heads": 2}, {"noise": 0.5},
                {"masks": RandomMask(0.5)}, {"decay": (0.5, 1.0)}],
    "TJEPA": [{"predictor_width": 32}, {"predictor_depth": 1}, {"predictor_heads": 2}, {"noise": 0.5},
              {"masks": RandomMask(0.5)}, {"decay": (0.5, 1.0)}, {"view": "weak"}],
    "PointJEPA": [{"predictor_width": 24}, {"predictor_depth": 1}, {"predictor_heads": 2}, {"noise": 0.5},
                  {"masks": RandomMask(0.5)}, {"decay": (0.5, 1.0)}, {"beta": 0.1}],
    "LeJEPA": [{"weight": 0.5}, {"slices": 8}, {"projector": (16, 8)}, {"views": ("strong", "weak")},
               {"views": ("strong", "strong2", "weak")}, {"global_views": 1}],
    "SimCLR": [{"temperature": 1.0}, {"projector": (16, 8)}, {"views": ("strong", "weak")}],
    "VICReg": [{"invariance": 1.0}, {"variance": 1.0}, {"covariance": 9.0}, {"projector": (16, 8)},
               {"views": ("strong", "weak")}],
    "UniSiam": [{"weight": 5.0}, {"temperature": 0.5}, {"projector": (16, 8)}, {"predictor": 3},
                {"views": ("strong", "weak")}],
}  # fmt: skip
each = pytest.mark.parametrize("name", RECIPES)


def build(name, seed=0, **settings):
    torch.manual_seed(seed)
    encoder = KINDS[RECIPES[name]][0]()
    torch.manual_seed(seed)
    return getattr(pretrain, name)(encoder, **settings)


def train(strategy, x, start, end, total=20):
    views = {"plain": x, "weak": x + 0.01, "strong": 1.1 * x, "strong2": x - 0.1}
    batch = Batch(None, Unlabeled({k: View(v) for k, v in views.items()}, torch.arange(len(x))))
    reports = []
    for step in range(start, end):
        torch.manual_seed(1000 + step)
        strategy.train()
        strategy.student.set_lr(step / total)
        reports.append(strategy.step(batch, Clock(step, 0, total)).scalars)
    return reports


def data(name):
    return KINDS[RECIPES[name]][1]()


@pytest.mark.one_in(3)
@each
def test_every_recipe_trains_all_its_weights_and_goes_on_bit_for_bit(name):
    x, through, first = data(name), build(name), build(name)
    before = {k: v.clone() for k, v in through.student.named_parameters() if v.numel()}
    scalars = train(through, x, 0, 6)[-1]
    assert scalars[f"loss/{through.name}"].isfinite()
    still = [k for k, v in through.student.named_parameters() if v.numel() and torch.equal(v, before[k])]
    assert [k for k in still if "encoder.read." not in k or name not in MASKED] == []  # masking reaches tokens alone
    train(first, x, 0, 3)
    second = build(name, seed=7)
    second.load_state_dict(first.state_dict())
    train(second, x, 3, 6)
    straight, resumed = through.state_dict(), second.state_dict()
    assert all(torch.equal(v, resumed[k]) for k, v in straight.items() if torch.is_tensor(v))


@pytest.mark.slow
@each
def test_the_loss_falls_on_the_same_samples(name):
    """A hundred steps on one batch: the mean of the last ten is below that of steps 5 to 15 (or, for a moving target,
    predictions are better than those of an untrained predictor)."""
    strategy, x = build(name, training=Training(lr=3e-3)), data(name)
    losses = [float(row[f"loss/{strategy.name}"]) for row in train(strategy, x, 0, 60, 60)]
    assert sum(losses[-10:]) < sum(losses[:10])


@pytest.mark.one_in(3, "IJEPA-{'masks'", "VICReg-{'covariance'")
@pytest.mark.parametrize(("name", "change"), [(n, c) for n, changes in SETTINGS.items() for c in changes], ids=str)
def test_every_setting_changes_what_is_learned(name, change):
    changed = learned(name, **change)
    assert not all(torch.equal(v, changed[k]) for k, v in learned_by_default(name).items())


def learned(name, **settings):
    strategy = build(name, **settings)
    train(strategy, data(name), 0, 3)
    return strategy.student.model.encoder.state_dict()


learned_by_default = functools.cache(learned)


@pytest.mark.parametrize("name", MASKED)
def test_the_view_of_masked_methods_can_be_chosen(name):
    assert build(name, view="strong").views == ("strong",)
    assert build(name).views == ("plain" if name == "TJEPA" else "weak",)


@pytest.mark.parametrize("name", [n for n in MASKED if n not in ("MAE", "SARJEPA")])
def test_what_is_shipped_can_be_chosen(name):
    for ship in ("target", "student"):
        strategy = build(name, ship=ship)
        teacher = strategy.target.teacher.model
        assert strategy.shipped() is (teacher if ship == "target" else strategy.network.encoder)
    assert build(name).ship == ("student" if name == "PointJEPA" else "target")


@each
def test_how_to_train_can_be_chosen(name):
    rates = [build(name, **given).student.base_rates[0] for given in ({}, {"training": Training(lr=0.123)})]
    assert rates[1] == 0.123 != rates[0]


# -- the parts the papers say ------------------------------------------------------------------------------------------
class Rates(NamedTuple):
    """How a recipe trains: AdamW's second beta, peak learning rate, weight decay, and the norm gradients are cut to."""

    beta2: float = 0.999
    lr: float = 1e-3
    weight_decay: float = 0.05
    clip: float | None = None


WINDOWS = LocalWindows(windows=4, size=7, ratio=0.8)
UNION = Mixture(MultiBlock(context_scale=(1.0, 1.0), union=True), RandomMask(0.6), share=0.75)
GROWING = Curriculum(MultiBlock(), TimeFrequency(), start=0.01)
COLUMNS = FeatureSubset(context=(0.3, 0.5), target=(0.2, 0.4), sets=4)
STRETCHES = Blocks(keep=(0.15, 0.25), length=3)
RUNS = Runs(sets=4, target=(0.15, 0.2), context=(0.4, 0.75))
PIXELS = (Pixels, {"normalize": True, "flat": 1e-2})
RATIOS = (GradientRatio, {"radii": (1, 2, 3)})
FILLING = Rates(beta2=0.95, lr=1.5e-3)


def follows(norm, path, *decay):
    return EMALatent, {"norm": norm, "path": path, "decay": decay}


# masker; target and its settings; distance and its settings; predictor and its noise; training
PARTS = {
    "MAE": (RandomMask(0.75), PIXELS, ("mse", {}), Predictor, FILLING),
    "SARJEPA": (WINDOWS, RATIOS, ("mse", {}), Predictor, FILLING),
    "IJEPA": (MultiBlock(), follows("layer", "linear", 0.99, 1.0), ("smooth_l1", {}), Predictor, Rates()),
    "StoP": (MultiBlock(), follows("layer", "linear", 0.99, 1.0), ("smooth_l1", {}), Predictor, Rates()),
    "CNNJEPA": (UNION, follows("l2", "cosine", 0.99, 1.0), ("unit_smooth_l1", {}), ConvPredictor,
                Rates(lr=2e-3, weight_decay=0.01)),
    "AJEPA": (GROWING, follows("layer", "linear", 0.99, 1.0), ("mse", {}), Predictor, Rates()),
    "ECGJEPA": (STRETCHES, follows("none", "linear", 0.99, 0.9995), ("l1", {}), Predictor, Rates(beta2=0.99)),
    "TJEPA": (COLUMNS, follows("none", "linear", 0.99, 1.0), ("mse", {}), Predictor, Rates(weight_decay=0.0, clip=1.0)),
    "PointJEPA": (RUNS, follows("layer", "linear", 0.995, 1.0), ("smooth_l1", {"beta": 2.0}), Predictor, Rates()),
}  # fmt: skip
LOSSES = {
    "LeJEPA": (LeJEPALoss, {"weight": 0.05, "global_views": 2}, [512, 128]),
    "SimCLR": (InfoNCE, {"temperature": 0.2}, [512, 128]),
    "VICReg": (VICRegLoss, {"invariance": 25.0, "variance": 25.0, "covariance": 1.0}, [512, 512]),
    "UniSiam": (UniSiamLoss, {"weight": 0.1, "temperature": 2.0}, [512, 512, 128]),
}


def trained(student):
    """How a student is trained, read from its optimizer."""
    groups = student.optimizer.param_groups
    (decay,) = {g["weight_decay"] for g in groups if g["params"][0].dim() > 1}
    assert {g["weight_decay"] for g in groups if g["params"][0].dim() < 2} == {0.0}  # biases and norms
    ((beta1, beta2),), (rate,) = {g["betas"] for g in groups}, set(student.base_rates)
    assert (type(student.optimizer), beta1) == (torch.optim.AdamW, 0.9)
    return Rates(beta2, rate, decay, student.max_grad_norm)


def held(part, settings):
    return {name: getattr(part, name) for name in settings}


def test_every_recipe_has_a_row_of_parts():
    assert [*PARTS, *LOSSES] == list(RECIPES)


@pytest.mark.parametrize("name", PARTS)
def test_parts_are_those_of_the_papers(name):
    masker, (target, settings), (distance, details), predictor, training = PARTS[name]
    strategy = build(name)
    assert strategy.masker == masker
    assert (type(strategy.target), held(strategy.target, settings)) == (target, settings)
    compare = strategy.distance
    assert (getattr(compare, "func", compare), getattr(compare, "keywords", {})) == (DISTANCES[distance], details)
    assert type(strategy.network.predictor) is predictor
    assert strategy.network.predictor.noise == (0.25 if name == "StoP" else None)
    assert strategy.regularizer is None
    assert trained(strategy.student) == training


@pytest.mark.parametrize("name", LOSSES)
def test_losses_and_heads_are_those_of_the_papers(name):
    loss, settings, widths = LOSSES[name]
    strategy = build(name)
    network = strategy.student.model
    assert (type(strategy.loss), held(strategy.loss, settings)) == (loss, settings)
    assert [layer.out_features for layer in network.projector if isinstance(layer, nn.Linear)] == widths
    last = network.projector[-1]
    if name == "UniSiam":
        assert isinstance(last, nn.BatchNorm1d)
        assert not last.affine
        assert network.predictor[0].out_features == 32
        assert isinstance(network.predictor[-1], nn.Linear)
    else:
        assert isinstance(last, nn.Linear)
        assert network.predictor is None
    if name == "LeJEPA":
        assert strategy.loss.sigreg.slices == 256
    assert trained(strategy.student) == Rates(lr=2e-3)


@each
def test_the_rate_rises_for_a_twentieth_of_the_stage_and_falls_to_zero(name):
    schedule = build(name).student.schedule
    assert [schedule(p) for p in (0.025, 0.05, 0.525, 1.0)] == pytest.approx(
        [0.505, 1.0, 0.5, 0.0], abs=1e-6
    )  # starts at 0.01


def test_the_curriculum_follows_the_stage():
    strategy, x = build("AJEPA"), data("AJEPA")
    late, seen = strategy.masker.late, []
    masker = Curriculum(strategy.masker.early, lambda *given: (seen.append(1), late(*given))[1])
    strategy.masker = masker
    train(strategy, x, 0, 10, 1000)
    start = len(seen)
    train(strategy, x, 990, 1000, 1000)
    assert (start, len(seen) - start) == (pytest.approx(0, abs=3), pytest.approx(10, abs=2))


def test_the_register_of_a_table_is_never_masked_nor_handed_to_the_predictor():
    strategy, x = build("TJEPA"), data("TJEPA")
    encoder, widths = strategy.network.encoder, []
    assert encoder.registers.shape[0] == 1
    encoder.blocks[0].register_forward_hook(lambda m, given, result: widths.append(given[0].shape[1]))
    strategy.network.predictor.enter.register_forward_hook(lambda m, given, result: widths.append(given[0].shape[1]))
    mask = strategy.draw(x, 0.0)
    strategy.network(x, *mask.by_row())
    assert widths == [mask.context.shape[2] + 1, mask.context.shape[2]]


# -- settings of a run -------------------------------------------------------------------------------------------------
def test_the_settings_of_a_run_name_the_parts():
    """So that a run is not resumed with another masker, and is with the same one, in any process."""
    plain = settings_of(build("IJEPA"))
    assert plain == settings_of(build("IJEPA"))
    assert settings_of(build("IJEPA", masks=MultiBlock(blocks=4)))["settings"]["masks"]["blocks"] == 4
    assert plain != settings_of(build("IJEPA", masks=MultiBlock(blocks=2)))
    assert plain != settings_of(build("IJEPA", decay=(0.5, 1.0)))
    points = settings_of(build("PointJEPA"))
    assert points["settings"]["beta"] == 2.0
    assert "0x" not in str(points)
    assert points != settings_of(build("PointJEPA", beta=1.0))


def test_a_refusal_names_the_value():
    with pytest.raises(ValueError, match="beta is 0"):
        build("PointJEPA", beta=0)
    with pytest.raises(ValueError, match=r"views is \('strong',\)"):
        build("SimCLR", views=("strong",))
    with pytest.raises(ValueError, match="is no series"):
        pretrain.ECGJEPA(vit())
    with pytest.raises(ValueError, match="has not two axes"):
        pretrain.IJEPA(pretrain.table_transformer(8, **SMALL))


# -- a new mix of the parts --------------------------------------------------------------------------------------------
def test_any_parts_make_a_method():
    torch.manual_seed(0)
    strategy = pretrain.Masked(
        vit(size=16, patch=4),
        masker=pretrain.Mixture(pretrain.LocalWindows(size=3), pretrain.RandomMask(0.6)),
        target=pretrain.HOG(cells=2),
        predictor=partial(pretrain.ConvPredictor, depth=2, noise=0.1, signed=True),
        distance="cosine",
        regularizer=pretrain.SIGReg(slices=16),
        projector=(16, 8),
    )
    losses = [float(row["loss/masked"]) for row in train(strategy, images(6, size=(16, 16)), 0, 40, 40)]
    assert sum(losses[-5:]) < sum(losses[:5])


# -- settings in the signature -----------------------------------------------------------------------------------------
@each
def test_a_misspelled_setting_names_the_method_and_the_nearest_setting(name):
    setting = next(iter(SETTINGS[name][1]))
    with pytest.raises(TypeError, match=rf"{name} has no setting '{setting[:-1]}'; did you mean '{setting}'"):
        build(name, **{setting[:-1]: 1})


@each
def test_the_signature_names_all_that_a_method_takes(name):
    given = inspect.signature(getattr(pretrain, name)).parameters.values()
    assert all(p.kind is p.KEYWORD_ONLY for p in given if p.name != "encoder")
    assert build(name).arguments.keys() == {p.name for p in given}


@each
def test_a_method_can_be_built_again_from_its_arguments(name):
    first = build(name)
    torch.manual_seed(0)
    again = type(first)(**first.arguments)
    assert type(again).__name__ == name
    assert [*first.state_dict()] == [*again.state_dict()]
