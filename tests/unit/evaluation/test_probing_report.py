"""The table that shows an encoder beside its rivals."""

import copy
import re

import numpy as np
import pytest
import torch
from helpers import MemoryPile, pictures, same
from sklearn.decomposition import PCA
from torch import nn

import selftrain as st
from selftrain import toy
from selftrain.evaluation.probing import calibrate, features_of, few_label, from_scratch, report
from selftrain.metrics.features import feature_std, knn_accuracy, rankme
from selftrain.strategies import Supervised

CPU = torch.device("cpu")
FIGURES = {"knn", "logistic", "logistic_sd", "rankme", "rankme_centered", "feature_std"}
SETTINGS = {"per_class": 2, "draws": 3, "components": 5, "supervised": {}}


def small(channels=2, width=6):
    """An encoder with BatchNorm and dropout: (B, c, 8, 8) -> (B, width)."""
    return nn.Sequential(
        nn.Conv2d(channels, width, 3), nn.BatchNorm2d(width), nn.ReLU(), nn.Dropout(0.5), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )  # fmt: skip


def encoder(seed=0):
    torch.manual_seed(seed)
    return small()


def pile(**sizes):
    return MemoryPile(pictures, **sizes)


def parts(given, network, names=("labeled", "validation", "unlabeled")):
    return [features_of(network, given.evaluation(name, 256, CPU)).x for name in names]


def standard(x, reference):
    reference = reference.double()
    spread = reference.std(0, correction=0)
    return (x.double() - reference.mean(0)) / spread


def test_the_rows_are_the_encoder_its_rivals_and_what_was_handed_in():
    handed_in = {"supervised": {"supervised": 0.5, "all labels": 0.75}}
    found = report(encoder(), pile(), fresh=small, **SETTINGS | handed_in)
    names = [
        "encoder",
        "raw input",
        "PCA-5 of raw input",
        "image statistics",
        "random init",
        "supervised",
        "all labels",
    ]
    assert [row.name for row in found.rows] == names
    assert all(set(row.figures) == FIGURES for row in found.rows[:5])
    assert [row.figures for row in found.rows[5:]] == [{"accuracy": 0.5}, {"accuracy": 0.75}]
    assert (found.part, found.judged, found.labels, found.per_class, found.draws, found.free) == (
        "validation", 30, 12, 2, 3, 40,
    )  # fmt: skip


def test_figures_of_the_encoder_are_those_of_its_features():
    given, network = pile(), encoder()
    known, asked, free = parts(given, network)
    figures = report(network, given, fresh=small, standardize=False, seed=3, **SETTINGS)["encoder"]
    y, t = given.parts["labeled"][1], given.parts["validation"][1]
    assert figures["knn"] == knn_accuracy(known, y, asked, t)
    assert figures["rankme"] == pytest.approx(rankme(free))
    assert figures["rankme_centered"] == pytest.approx(rankme(free, center=True))
    assert figures["feature_std"] == pytest.approx(feature_std(free))
    hidden = torch.full((40,), -1)
    few = few_label(torch.cat([known, free]), torch.cat([y, hidden]), asked, t, per_class=2, draws=3, seed=3)
    assert (figures["logistic"], figures["logistic_sd"]) == (few.mean, few.sd)


class Offset(nn.Module):
    """Mean brightness, hidden behind a constant and columns of noise that are the larger the less they say."""

    def forward(self, x):
        mean = x.mean((2, 3))
        return torch.cat([0.01 * mean, 5 * x[:, 0, 0] - 5 * mean[:, :1] + 1000], 1)


def test_features_are_standardized_before_neighbors_are_sought():
    given = pile()
    known, asked, free = parts(given, Offset())
    y, t = given.parts["labeled"][1], given.parts["validation"][1]
    pool = torch.cat([known, free])
    scaled = report(Offset(), given, fresh=small, **SETTINGS)["encoder"]
    assert scaled["knn"] == knn_accuracy(standard(known, pool), y, standard(asked, pool), t)
    plain = report(Offset(), given, fresh=small, standardize=False, **SETTINGS)["encoder"]
    assert plain["knn"] == knn_accuracy(known, y, asked, t)
    assert scaled["knn"] > plain["knn"] + 0.2
    assert scaled["rankme"] == plain["rankme"]  # of features as they are


def test_raw_input_is_flattened_and_standardized_by_all_samples():
    given = pile()
    known, asked, free = parts(given, nn.Flatten())
    pool = torch.cat([known, free])
    known, asked, free = (standard(x, pool) for x in (known, asked, free))
    figures = report(encoder(), given, fresh=small, **SETTINGS)["raw input"]
    y, t = given.parts["labeled"][1], given.parts["validation"][1]
    assert figures["knn"] == knn_accuracy(known, y, asked, t)
    assert figures["rankme"] == pytest.approx(rankme(free), rel=1e-6)
    assert figures["feature_std"] == pytest.approx(feature_std(free), rel=1e-6)


@pytest.mark.parametrize("unlabeled", [20, 300])  # fewer and more samples than the 128 columns
def test_principal_components_are_those_of_scikit_learn(unlabeled):
    given = pile(unlabeled=unlabeled)
    known, asked, free = parts(given, nn.Flatten())
    pool = torch.cat([known, free])
    model = PCA(5, svd_solver="full").fit(standard(pool, pool).numpy())
    known, asked, free = (torch.from_numpy(model.transform(standard(x, pool).numpy())) for x in (known, asked, free))
    figures = report(encoder(), given, fresh=small, **SETTINGS)["PCA-5 of raw input"]
    y, t = given.parts["labeled"][1], given.parts["validation"][1]
    assert figures["rankme"] == pytest.approx(rankme(free), rel=1e-5)
    assert figures["feature_std"] == pytest.approx(feature_std(free), rel=1e-5)
    assert figures["knn"] == pytest.approx(knn_accuracy(known, y, asked, t), abs=0.04)


def test_there_are_no_more_components_than_columns():
    names = [row.name for row in report(nn.Identity(), MemoryPile(), fresh=nn.Identity, supervised={}).rows]
    assert names == ["encoder", "raw input", "PCA-3 of raw input", "random init"]  # a table has no channels


def test_statistics_of_an_image_are_those_of_its_channels():
    given = pile()
    figures = report(encoder(), given, fresh=small, **SETTINGS)["image statistics"]
    x = given.parts["unlabeled"][0].numpy()
    free = np.concatenate([x.mean((2, 3)), x.std((2, 3))], 1)
    assert figures["rankme"] == pytest.approx(rankme(torch.from_numpy(free)), rel=1e-5)


def test_the_untrained_encoder_is_drawn_from_the_seed_and_calibrated():
    given, made = pile(), []

    def fresh():
        made.append(small())
        return made[-1]

    torch.manual_seed(11)
    first = report(encoder(), given, fresh=fresh, seed=1, **SETTINGS)["random init"]
    torch.manual_seed(12)
    before = torch.get_rng_state()
    second = report(copy.deepcopy(made[0]), given, fresh=fresh, seed=1, **SETTINGS)
    assert torch.equal(before, torch.get_rng_state())
    assert second["random init"] == first
    assert second["encoder"] == first  # calibrated as it came out
    assert same(dict(made[0].state_dict()), dict(made[1].state_dict()))
    assert report(encoder(), given, fresh=fresh, seed=2, **SETTINGS)["random init"] != first
    expected = calibrate(copy.deepcopy(made[0]), given.parts["unlabeled"][0])
    assert torch.allclose(made[0][1].running_var, expected[1].running_var)
    assert made[0][1].running_mean.abs().sum() > 0


def test_the_encoder_is_left_as_it_was():
    network = encoder().train()
    before = copy.deepcopy(network.state_dict())
    report(network, pile(), fresh=small, **SETTINGS)
    assert same(dict(before), dict(network.state_dict()))
    assert all(part.training for part in network.modules())


@pytest.mark.parametrize(
    ("change", "row", "figure"),
    [
        ({"part": "test"}, "encoder", "knn"),
        ({"per_class": 1}, "encoder", "logistic"),
        ({"draws": 4}, "encoder", "logistic"),
        ({"C": 1e-4}, "encoder", "logistic_sd"),
        ({"seed": 1}, "encoder", "logistic"),
        ({"precision": "bf16"}, "encoder", "feature_std"),
    ],
)
def test_settings_matter(change, row, figure):
    given = pile(validation=100, test=80)
    usual = report(encoder(), given, fresh=small, **SETTINGS)
    changed = report(encoder(), given, fresh=small, **(SETTINGS | change))
    assert usual[row][figure] != changed[row][figure]


def test_the_batch_size_is_that_of_the_pile():
    sizes = set()

    class Watch(MemoryPile):
        def evaluation(self, part, batch_size, device):
            sizes.add(batch_size)
            return super().evaluation(part, batch_size, device)

    given = Watch(pictures)
    large, small_batches = (report(encoder(), given, fresh=small, batch_size=b, **SETTINGS) for b in (64, 16))
    assert sizes == {64, 16}
    assert large["encoder"] == pytest.approx(small_batches["encoder"], rel=1e-4)


@pytest.mark.parametrize(("labeled", "count"), [(12, 2), (3, 1), (300, 10)])
def test_by_default_draws_differ(labeled, count):
    assert report(encoder(), pile(labeled=labeled), fresh=small, supervised={}).per_class == count


def test_without_unlabeled_samples_the_judged_ones_show_the_rank():
    given = pile(unlabeled=0)
    found = report(encoder(), given, fresh=small, **SETTINGS)
    assert found.free == 30
    assert found["encoder"]["rankme"] == pytest.approx(rankme(parts(given, encoder(), ["validation"])[0]))


def test_the_table_can_be_read():
    found = report(encoder(), pile(), fresh=small, **SETTINGS | {"supervised": {"supervised": 0.5}})
    lines = found.table().splitlines()
    assert lines[0] == (
        "30 samples of validation; kNN: 12 labels; logistic: 2 labels a class, 3 draws; ranks and std: 40 samples"
    )
    titles = re.split(r"  +", lines[1])
    assert titles == ["features", "kNN", "logistic", "accuracy", "RankMe", "centered", "std"]
    figures = found["encoder"]
    assert re.split(r"  +", lines[2]) == [
        "encoder", f"{figures['knn']:.4f}", f"{figures['logistic']:.4f} ± {figures['logistic_sd']:.4f}",
        f"{figures['rankme']:.1f}", f"{figures['rankme_centered']:.1f}", f"{figures['feature_std']:.4f}",
    ]  # fmt: skip
    assert lines[-1].split() == ["supervised", "0.5000"]
    assert lines[-1].index("0.5000") == lines[1].index("accuracy")
    assert lines[2].index(f"{figures['feature_std']:.4f}", lines[1].index("std")) == lines[1].index("std")


# -- the control -------------------------------------------------------------------------------------------------------
def test_the_control_is_trained_and_has_a_row_of_its_own():
    """The network as ``fresh`` builds it, on the labels alone: with enough steps it knows these pictures."""
    given, settings = pile(validation=60), SETTINGS | {"supervised": None}
    few, many = (report(encoder(), given, fresh=small, scratch_steps=n, **settings) for n in (1, 150))
    assert [row.name for row in many.rows][-2:] == ["random init", "supervised from scratch"]
    assert set(many["supervised from scratch"]) == {"accuracy"}
    assert many["supervised from scratch"]["accuracy"] > 0.9 > few["supervised from scratch"]["accuracy"]
    assert [row.figures for row in few.rows[:-1]] == [row.figures for row in many.rows[:-1]]
    assert (few.scratch_steps, many.scratch_steps) == (1, 150)
    head, *lines = many.table().splitlines()
    assert "kNN: 12 labels; from scratch: the same, 150 steps; logistic" in head
    assert lines[-1].split()[-1] == f"{many['supervised from scratch']['accuracy']:.4f}"


def test_a_report_without_a_control_says_so():
    found = report(encoder(), pile(), fresh=small, **SETTINGS)
    lines = found.table().splitlines()
    assert re.split(r"  +", lines[-1]) == ["supervised from scratch", "not given"]
    assert lines[-1].index("not given") == lines[1].index("accuracy")
    assert "steps" not in lines[0]
    assert [row.name for row in found.rows][-1] == "random init"


def test_the_control_follows_the_plain_formula():
    """Supervised training by the engine, with the same settings, ends at the same accuracy."""
    given, make = pile(validation=200), lambda: nn.Sequential(nn.Flatten(), nn.Linear(128, 5), nn.Tanh())
    settings = {"steps": 7, "lr": 0.02, "labeled": 6, "seed": 3}
    found = from_scratch(make, given, **settings)
    torch.manual_seed(3)
    network = nn.Sequential(make(), nn.Linear(5, 3))
    strategy = Supervised(st.Classification(3), st.learner(network, lr=0.02), decay=0.99)
    run = st.fit(strategy, given, steps=7, plan=st.BatchPlan(6, 1.0, 3), self_check=False)
    assert found == run.evaluate("validation", which="last")["accuracy"]
    assert found != from_scratch(make, given, **settings | {"steps": 1})


def test_the_control_reads_labels_only_and_leaves_the_random_state():
    needs = []

    class Watch(MemoryPile):
        def stream(self, wanted, plan, device):
            needs.append(wanted)
            return super().stream(wanted, plan, device)

    torch.manual_seed(4)
    before = torch.get_rng_state()
    first, second = (from_scratch(small, Watch(pictures), steps=3, part="test", seed=s) for s in (0, 0))
    assert first == second
    assert torch.equal(before, torch.get_rng_state())
    assert [tuple(wanted.views) for wanted in needs] == [(), ()]
    assert from_scratch(small, pile(unlabeled=0), steps=2) >= 0  # nor does it need them


@pytest.mark.parametrize(
    ("settings", "message"), [({"steps": 0}, "steps is 0; the control must learn"), ({"part": "test"}, "no test")]
)
def test_a_control_that_cannot_be_trained_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        from_scratch(small, pile(test=0), **settings)


def test_a_row_that_is_not_there_is_named():
    found = report(encoder(), pile(), fresh=small, **SETTINGS)
    with pytest.raises(KeyError, match="no row 'raw'; there are .*raw input"):
        found["raw"]


@pytest.mark.parametrize(
    ("given", "settings", "message"),
    [
        (pile(labeled=0), {}, "the pile has no labeled samples"),
        (pile(validation=0), {}, "the pile has no validation samples"),
        (pile(), {"per_class": 5}, "class 0 has 4 labels; per_class is 5"),
        (pile(), {"components": 0}, "components is 0; it must be at least 1"),
        (toy.pile("segmentation"), {}, "annotations are no class numbers from 0"),
    ],
)
def test_what_cannot_be_judged_is_refused(given, settings, message):
    network = encoder() if isinstance(given, MemoryPile) else nn.Flatten()
    with pytest.raises(ValueError, match=message):
        report(network, given, fresh=small, supervised={}, **settings)
