"""Remedies of the messages of ``selftrain/pretrain``, ``selftrain/evaluation`` and ``selftrain/metrics``."""

from functools import partial
from types import SimpleNamespace

import numpy as np
import pretrain_helpers as made
import timm
import torch
from remedies import Elsewhere, Row, setting
from torch import nn
from torchvision.models import resnet18

import selftrain as st
from selftrain import pretrain, strategies, toy
from selftrain.data import ArraySet, Pile
from selftrain.evaluation import accuracy_estimate, calibration
from selftrain.evaluation.probing import arrays, encoding, few, linear, rivals
from selftrain.metrics import calibration_error, features, intervals
from selftrain.pretrain import draws, losses, maskers, operators, predictor, regularizers, targets
from selftrain.pretrain.maskers import Layout

GRID, LINE, PAIR = Layout((4, 4)), Layout((16,)), Layout((2,))
IMAGES = made.images()
Z = torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(0))


def masked(make, layout=GRID, **settings):
    """Masks that a masker draws."""
    assert make(**settings)(2, layout, 0.5, torch.Generator().manual_seed(0)) is not None


def draw(make, layout=GRID, **settings):
    return partial(masked, make, layout, **settings)


def trained(stage):
    """A step of a stage, whose loss is a number."""
    (row,) = made.train(stage, IMAGES, 0, 1)
    assert all(np.isfinite(value) for value in row.values())


def masked_stage(**settings):
    given = {"masker": maskers.RandomMask(), "target": targets.Pixels(), **settings}
    trained(pretrain.Masked(made.vit(), **given))


def of(name, **settings):
    return trained(made.stage(name, **settings))


def target(make, encoder=None, **settings):
    """Numbers at each place that a target asks for."""
    assert make(**settings).width(made.vit() if encoder is None else encoder) > 0


def finite(value):
    assert torch.isfinite(torch.as_tensor(value[0] if isinstance(value, tuple) else value)).all()


def term(make, z=Z, **settings):
    finite(make(**settings)(z))


def joint(precision="fp32", weight=1.0, network=None):
    """A method and a stage on one encoder."""
    shared = nn.Sequential(nn.Flatten(), nn.Linear(64, 3)) if network is None else network
    strategy = strategies.Supervised(toy.task("classification"), st.learner(shared, lr=1e-3, precision=precision))
    stage = partial(pretrain.MAE, training=st.Training(precision=precision))
    pretrain.Joint(strategy, stage, weight=weight)


def classifier():
    return st.Classifier(made.vit(), 3)


POINTS = pretrain.point_transformer(points=32, groups=8, neighbors=4, width=16, depth=1, heads=2)
FLAT = SimpleNamespace(shape=(1, 8, 8), grid=(16,), token_dim=4)
P = "selftrain/pretrain"
E = "selftrain/evaluation"
M = "selftrain/metrics"
SURE, RIGHT = torch.linspace(0.5, 1, 40), (torch.arange(40) % 4 > 0).double()
ROWS_2 = np.random.RandomState(0).normal(size=(24, 3))
CODES = np.arange(24) % 3
PROBABLE = torch.softmax(torch.tensor(ROWS_2).float(), 1)
CLOUD = Pile.from_arrays(ROWS_2, CODES, labels=12, validation=6)
NO_PILE = Pile(ArraySet(ROWS_2, torch.tensor(CODES)), None)
PICTURES = [(torch.rand(4, 1, 8, 8), torch.tensor([0, 1, 0, 1]), torch.arange(4))]


def batches(rows=4, classes=True):
    return [st.types.Annotated(torch.rand(rows, 3), torch.arange(rows) % 2 if classes else None, torch.arange(rows))]


def normed():
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


def probe(make, **settings):
    make(ROWS_2, CODES, ROWS_2, CODES, **settings)


def guessed(**settings):
    finite(accuracy_estimate.estimate_accuracy(SURE, RIGHT, SURE, **{"draws": 20, **settings}).value)


def precise(**settings):
    calibration.threshold_for_precision(SURE, torch.ones(40), **{"precision": 0.9, **settings})


def episode(**settings):
    few.episodes(ROWS_2, CODES, **{"ways": 2, "queries": 1, "episodes": 2, **settings})


ROWS_OF = {
    f"{P}/base.py": [
        Row(
            "or give it what networks.Encoder lists",
            lambda: pretrain.MAE(resnet18()),
            lambda: pretrain.MAE(pretrain.ConvNetEncoder(resnet18(), (3, 64, 64))),
            lambda: pretrain.MAE(pretrain.TimmEncoder(timm.create_model("vit_tiny_patch16_224", num_classes=0))),
            lambda: pretrain.SimCLR(pretrain.FeatureEncoder(nn.Flatten(), (3, 8, 8))),
            lambda: of("mae"),
        ),
        Row(
            "inputs are {} but the encoder was built for {}",
            lambda: made.train(made.stage("mae"), made.images(size=(16, 16)), 0, 1),
            lambda: made.train(made.stage("mae", made.vit(size=16)), made.images(size=(16, 16)), 0, 1),
            lambda: made.train(made.stage("mae"), made.images(size=(16, 16))[..., ::2, ::2], 0, 1),
        ),
    ],
    f"{P}/draws.py": [
        setting("{} is {}; it must be at least {}", draw(maskers.Blocks, LINE), "length", 0, 1),
        setting("it must rise and lie in (0, {}{}", draw(maskers.Blocks, LINE), "keep", (0.3, 0.2), (0.1, 0.2)),
        Row(
            "give (samples, places, dims)",
            lambda: draws.greedy_order(torch.rand(5, 3)),
            lambda: draws.greedy_order(torch.rand(5, 3)[None]),
        ),
        Row(
            "clean the coordinates",
            lambda: draws.greedy_order(torch.tensor([[[0.0, 1], [np.nan, 2], [1, 1]]])),
            lambda: draws.greedy_order(torch.tensor([[[0.0, 1], [np.nan, 2], [1, 1]]]).nan_to_num()),
        ),
    ],
    f"{P}/joint_embedding.py": [
        setting("give at least two different ones", partial(of, "simclr"), "views", ("strong",), ("strong", "strong2"))
    ],
    f"{P}/joint_mode.py": [
        Row("give one whose network is a Classifier", joint, lambda: joint(network=classifier())),
        setting("weight is {}", partial(joint, network=classifier()), "weight", -1, 0),
        setting(
            "use precision='bf16' or 'fp32'", partial(joint, network=classifier()), "precision", "fp16", "bf16", "fp32"
        ),
    ],
    f"{P}/losses.py": [
        setting("or pass a function", masked_stage, "distance", "l3", "mse", nn.functional.mse_loss),
        *(
            setting("none may be negative", partial(term, losses.VICRegLoss), name, -1, 0)
            for name in ("invariance", "variance", "covariance")
        ),
        setting("must be in [0, 1]", partial(term, losses.LeJEPALoss, slices=4), "weight", 2, 0, 1),
        setting(
            "at least 1 view must make the center", partial(term, losses.LeJEPALoss, slices=4), "global_views", 0, 1
        ),
        setting(
            "but there are {} views; give more or lower it",
            partial(term, losses.LeJEPALoss, slices=4),
            "global_views",
            3,
            2,
        ),
        Row(
            "but there are {} views; give more or lower it",
            lambda: term(losses.LeJEPALoss, slices=4, global_views=3),
            lambda: term(losses.LeJEPALoss, Z.repeat(2, 1, 1), slices=4, global_views=3),
        ),
        setting(
            "weight is {}; it must be 0 or more",
            lambda **given: finite(losses.UniSiamLoss(**given)(Z, Z)),
            "weight",
            -1,
            0,
        ),
        Row(
            "both must be alike",
            lambda: losses.UniSiamLoss()(Z, Z[..., :2]),
            lambda: losses.UniSiamLoss()(Z, Z),
        ),
        Row("with at least 2 views", lambda: term(losses.VICRegLoss, Z[:1]), lambda: term(losses.VICRegLoss, Z)),
    ],
    f"{P}/masked.py": [
        setting("ship is {}", masked_stage, "ship", "target", "student"),
        Row(
            "ship is {}",
            lambda: masked_stage(ship="target"),
            lambda: masked_stage(ship="target", target=targets.EMALatent()),
        ),
        setting(
            "regularizer_weight is {}",
            partial(masked_stage, regularizer=pretrain.SIGReg(4)),
            "regularizer_weight",
            2,
            0,
            1,
        ),
        Row(
            "give a regularizer such as SIGReg()",
            lambda: masked_stage(target=targets.OwnLatent()),
            lambda: masked_stage(target=targets.OwnLatent(), regularizer=pretrain.SIGReg()),
        ),
    ],
    f"{P}/maskers.py": [
        Row(
            "is no series, it has not one axis",
            draw(maskers.Blocks),
            draw(maskers.RandomMask),
            draw(maskers.MultiBlock),
        ),
        Row(
            "progress is {}",
            lambda: maskers.Curriculum(maskers.RandomMask(), maskers.RandomMask())(2, GRID, 1.5),
            lambda: maskers.Curriculum(maskers.RandomMask(), maskers.RandomMask())(2, GRID, 0),
            lambda: maskers.Curriculum(maskers.RandomMask(), maskers.RandomMask())(2, GRID, 1),
        ),
        setting("mask ratio is {}", draw(maskers.RandomMask), "ratio", 1, 0.1, 0.9),
        Row(
            "masking needs 2: use a smaller patch",
            lambda: pretrain.MAE(made.vit(patch=8)),
            lambda: pretrain.MAE(made.vit(patch=4)),
        ),
        Row(
            "use RandomMask, or Blocks for series",
            draw(maskers.MultiBlock, LINE),
            draw(maskers.RandomMask, LINE),
            draw(maskers.Blocks, LINE),
        ),
        setting("lower min_keep or patch", draw(maskers.MultiBlock), "min_keep", 16, 4),
    ],
    f"{P}/methods/lejepa.py": [
        setting(
            "global_views is {}, there are {} views",
            lambda **given: trained(pretrain.LeJEPA(made.vit(), views=("strong", "strong2"), **given)),
            "global_views",
            3,
            2,
        )
    ],
    f"{P}/methods/point_jepa.py": [
        setting("beta is {}", lambda beta: pretrain.PointJEPA(POINTS, beta=beta), "beta", 0, 0.1),
    ],
    f"{P}/operators.py": [
        setting("bins is {}", partial(operators.hog, IMAGES, 4), "bins", 1, 2),
        setting("cell is {}", partial(operators.hog, IMAGES), "cell", 9, 1, 8),
        setting("radii is {}", partial(operators.gradient_ratio, IMAGES), "radii", (0,), (1,)),
        setting("offset is {}", partial(operators.gradient_ratio, IMAGES), "offset", 0, 1e-3),
        Row("they must be (B, channels, H, W)", lambda: operators.hog(IMAGES[0], 4), lambda: operators.hog(IMAGES, 4)),
    ],
    f"{P}/predictor.py": [
        setting("depth is {}; a predictor", partial(predictor.Predictor, made.vit(), 4), "depth", 0, 1),
        setting("convolutions need two axes", partial(predictor.ConvPredictor, made.vit(), 4), "depth", 0, 1),
        setting("widths is empty", partial(predictor.Projector, 4), "widths", (), (8,)),
        setting("noise is {}", partial(predictor.Predictor, made.vit(), 4), "noise", 0, 0.1, None),
    ],
    f"{P}/regularizers.py": [
        setting("slices is {} and points {}", partial(term, regularizers.SIGReg), "slices", 0, 1),
        setting("slices is {} and points {}", partial(term, partial(regularizers.SIGReg, 4)), "points", 1, 2),
        setting("limit is {}", partial(term, partial(regularizers.SIGReg, 4)), "limit", 0, 1),
        setting("target is {} and eps {}", partial(regularizers.variance_term, Z), "target", 0, 1),
        setting("target is {} and eps {}", partial(regularizers.variance_term, Z), "eps", 0, 1e-4),
        Row(
            "uniformity is between samples",
            lambda: regularizers.uniformity_term(Z[:, :1], 1),
            lambda: regularizers.uniformity_term(Z[:, :2], 1),
        ),
        setting("temperature is {}", partial(regularizers.uniformity_term, Z), "temperature", 0, 0.1),
        Row(
            "use larger batches",
            lambda: regularizers.variance_term(Z[:, :1]),
            lambda: regularizers.variance_term(Z[:, :2]),
        ),
    ],
    f"{P}/targets.py": [
        setting("flat is {}", targets.Pixels, "flat", -1, 0),
        Row(
            "predict latents, as EMALatent does",
            lambda: target(targets.Pixels, FLAT),
            lambda: target(targets.EMALatent, FLAT),
        ),
        Elsewhere(
            "or take the target EMALatent",
            "unit/networks/test_convnets.py::test_resolutions_that_the_grid_does_not_divide_have_the_nearest_cell",
        ),
        Row(
            "set normalize=False",
            lambda: target(targets.Pixels, made.vit(patch=1)),
            lambda: target(targets.Pixels, made.vit(patch=1), normalize=False),
        ),
        setting("bins is {} and cells {}", targets.HOG, "bins", 1, 2),
        setting("bins is {} and cells {}", targets.HOG, "cells", 0, 1),
        setting("radii is {}", targets.GradientRatio, "radii", (), (1,)),
        setting("norm is {}", targets.EMALatent, "norm", "l1", "layer", "l2", "none"),
        setting("path is {}", targets.EMALatent, "path", "exp", "linear", "cosine"),
        setting("decay is {}", targets.EMALatent, "decay", (0.9, 2), (0, 1)),
        Row(
            "both must be alike",
            lambda: target(partial(targets.FrozenLatent, made.vit(size=16))),
            lambda: target(partial(targets.FrozenLatent, made.vit())),
        ),
        Row("choose another target", lambda: target(targets.HOG, POINTS), lambda: target(targets.EMALatent, POINTS)),
    ],
    f"{E}/accuracy_estimate.py": [
        setting(
            "with at least one decision to judge",
            partial(accuracy_estimate.estimate_accuracy, SURE, RIGHT, draws=9),
            "confidence",
            SURE[:0],
            SURE[:1],
        ),
        setting("level is {} and draws {}", guessed, "level", 1, 0.5),
        setting("level is {} and draws {}", guessed, "draws", 0, 1),
    ],
    f"{E}/calibration.py": [
        setting("temperature is {}", partial(calibration.apply_temperature, PROBABLE), "temperature", 0, 0.1),
        Row(
            "leave out what has no label",
            lambda: calibration.fit_temperature(PROBABLE, torch.tensor(CODES - 1)),
            lambda: calibration.fit_temperature(PROBABLE[CODES > 0], torch.tensor(CODES - 1)[CODES > 0]),
        ),
        Row(
            "give one right or wrong decision a row",
            lambda: calibration.threshold_for_precision(SURE, torch.full((40,), 0.9), 0.5),
            lambda: calibration.threshold_for_precision(SURE, torch.ones(40), 0.5),
        ),
        Row(
            "lower the precision or improve the strategy",
            lambda: calibration.threshold_for_precision(SURE.repeat(9), RIGHT.flip(0).repeat(9), 0.9),
            lambda: calibration.threshold_for_precision(SURE.repeat(9), RIGHT.flip(0).repeat(9), 0.4),
            lambda: precise(),
        ),
        Row(
            "label more, or lower precision or level",
            lambda: precise(precision=0.99),
            lambda: calibration.threshold_for_precision(SURE.repeat(20), torch.ones(800), 0.99),
            lambda: precise(precision=0.9),
            lambda: precise(precision=0.99, level=0.2),
        ),
        Row(
            "they must be (N, C) and (N,)",
            lambda: calibration.fit_temperature(PROBABLE, torch.tensor(CODES)[:5]),
            lambda: calibration.fit_temperature(PROBABLE, torch.tensor(CODES)),
        ),
        Row(
            "pass probabilities",
            lambda: calibration.fit_temperature(torch.tensor(ROWS_2).float(), torch.tensor(CODES)),
            lambda: calibration.fit_temperature(torch.tensor(ROWS_2).float().softmax(1), torch.tensor(CODES)),
        ),
    ],
    f"{E}/probing/arrays.py": [
        Row(
            "they must be (n, D) with n >= 1",
            lambda: arrays.matrix("x", ROWS_2[:, 0]),
            lambda: arrays.matrix("x", ROWS_2[:, :1]),
        ),
        Row(
            "they must be {} class numbers from {}",
            lambda: arrays.with_classes("x", ROWS_2, CODES - 1),
            lambda: arrays.with_classes("x", ROWS_2, CODES),
            lambda: arrays.with_classes("x", ROWS_2, CODES - 1, unknown=True),
        ),
        Row(
            "a probe needs at least two classes",
            lambda: linear.ridge_probe(ROWS_2, CODES * 0, ROWS_2, CODES),
            lambda: linear.ridge_probe(ROWS_2, np.minimum(CODES, 1), ROWS_2, CODES),
        ),
        Row(
            "both must come from one encoder",
            lambda: linear.ridge_probe(ROWS_2[:, :2], CODES, ROWS_2, CODES),
            lambda: linear.ridge_probe(ROWS_2, CODES, ROWS_2, CODES),
        ),
    ],
    f"{E}/probing/encoding.py": [
        setting(
            "batch_size is {}",
            lambda size: encoding.features_of(nn.Identity(), batches(), batch_size=size),
            "size",
            0,
            1,
        ),
        setting(
            "at least 2 of each are needed",
            lambda **given: encoding.features_of_views(nn.Identity(), CLOUD, **{"count": 2, "samples": 4, **given}),
            "count",
            1,
            2,
        ),
        setting(
            "at least 2 of each are needed",
            lambda **given: encoding.features_of_views(nn.Identity(), CLOUD, **{"count": 2, "samples": 4, **given}),
            "samples",
            1,
            2,
        ),
        setting(
            "raise batch_size", lambda size: encoding.calibrate(normed(), batches(size), batch_size=size), "size", 1, 2
        ),
        Row(
            "pool tokens or cells first",
            lambda: encoding.features_of(nn.Unflatten(1, (1, 3)), batches()),
            lambda: encoding.features_of(nn.Sequential(nn.Unflatten(1, (1, 3)), nn.Flatten()), batches()),
        ),
    ],
    f"{E}/probing/few.py": [
        setting("both must be at least 1", partial(few.label_draws, CODES, draws=1), "per_class", 0, 1),
        setting("both must be at least 1", partial(few.label_draws, CODES, per_class=1), "draws", 0, 1),
        setting("and can be at most that", partial(few.label_draws, CODES), "per_class", 9, 8),
        setting("at least 2 draws (for a spread)", partial(probe, few.few_label, per_class=2), "draws", 1, 2),
        setting("at least 2 draws (for a spread)", partial(probe, few.few_label, per_class=2, draws=2), "C", 0, 0.1),
        *(
            setting("at least 2, 1, 1, 2 are needed", episode, name, least - 1, least)
            for name, least in (("ways", 2), ("shots", 1), ("queries", 1), ("episodes", 2))
        ),
        setting("classifier is {}", episode, "classifier", "knn", "logistic", "centroid"),
        setting("lower ways ({}) or queries ({})", episode, "ways", 4, 3),
        setting("lower ways ({}) or queries ({})", episode, "queries", 8, 7),
    ],
    f"{E}/probing/linear.py": [
        setting("penalty is {}", partial(probe, linear.ridge_probe), "penalty", 0, 0.1),
        setting("C is {}; it must be above 0", partial(probe, linear.logistic_probe), "C", 0, 0.1),
        Row(
            "to choose by, or one alone",
            lambda: probe(linear.logistic_probe, C=[0.1, 1]),
            lambda: probe(linear.logistic_probe, C=[0.1, 1], validation=(ROWS_2, CODES)),
            lambda: probe(linear.logistic_probe, C=1),
        ),
    ],
    f"{E}/probing/rivals.py": [setting("components is {}", partial(rivals.Principal, ROWS_2), "components", 0, 1)],
    f"{M}/calibration_error.py": [
        setting("bins is {}", partial(calibration_error.expected_calibration_error, SURE, RIGHT), "bins", 0, 1),
        setting(
            "they must be the same",
            partial(calibration_error.expected_calibration_error, SURE),
            "correct",
            RIGHT[:3],
            RIGHT,
        ),
    ],
    f"{M}/features.py": [
        setting("spectrum is {}", partial(features.rankme, Z[0]), "spectrum", "log", "singular", "covariance"),
        setting("views have shape {}", features.lidar, "views", Z[0], Z.transpose(0, 1)),
        setting("delta is {}", partial(features.lidar, Z.transpose(0, 1)), "delta", 0, 1e-4),
        setting("at least 2 samples and t above 0", partial(features.uniformity, Z[0]), "t", 0, 1),
        setting("at least 2 samples and t above 0", features.uniformity, "features", Z[0, :1], Z[0]),
        setting("shapes must be equal", partial(features.alignment, Z[0]), "second", Z[1, :2], Z[1]),
        setting("shapes must be equal", partial(features.alignment, Z[0], Z[1]), "power", 0, 1),
        setting("both must be above 0", partial(features.knn_predict, Z[0], torch.arange(6), Z[1]), "neighbors", 0, 1),
        setting(
            "both must be above 0", partial(features.knn_predict, Z[0], torch.arange(6), Z[1]), "temperature", 0, 1
        ),
        setting(
            "class numbers from 0",
            partial(features.knn_predict, Z[0], queries=Z[1]),
            "labels",
            torch.arange(6) - 1,
            torch.arange(6),
        ),
        setting("they must be (n, D) with n >= 1", features.rankme, "features", Z, Z[0]),
    ],
    f"{M}/intervals.py": [
        Row(
            "give 0 <= right <= count", lambda: intervals.clopper_pearson(3, 2), lambda: intervals.clopper_pearson(2, 2)
        ),
        Row(
            "both must be (N,), N >= 1",
            lambda: intervals.checked_decisions(SURE, RIGHT[:3]),
            lambda: intervals.checked_decisions(SURE, RIGHT),
        ),
        Row(
            "it must be in [0, 1]",
            lambda: intervals.checked_decisions(SURE * 2, RIGHT) and intervals.check_shares("sure", np.array([2.0])),
            lambda: intervals.check_shares("sure", np.array([0.0, 1.0])),
        ),
        Row(
            "it must be above 0 and below 1",
            lambda: intervals.check_rate("level", 1),
            lambda: intervals.check_rate("level", 0.5),
        ),
    ],
}
