"""The table of a frozen teacher's labels: how it is made, refined, read and stored."""

import json
import os

import numpy as np
import pytest
import torch
from helpers import MemoryPile, all_tasks, mlp, normed, same, sgd_learner, values

import selftrain as st
from selftrain import data, toy
from selftrain.errors import CheckpointError, DataError
from selftrain.labels.table import PseudoLabelTable
from selftrain.labels.teacher_pass import figure_above, label_pile
from selftrain.strategies import Supervised
from selftrain.types import Annotated, BatchPlan, Needs

TASK = st.Classification(3)
by_task = pytest.mark.parametrize("case", all_tasks(), ids=lambda case: case.name)


def table(*confidences, label=None, classes=3):
    """A table with these confidences, each for the class ``label`` says (0 without)."""
    label = torch.zeros(len(confidences), dtype=torch.long) if label is None else torch.tensor(label)
    sure = torch.tensor(confidences)
    value = ((1 - sure) / (classes - 1))[:, None].repeat(1, classes)
    value[torch.arange(len(sure)), label] = sure
    return PseudoLabelTable(st.Classification(classes), value)


def random_table(n, seed=0, classes=3):
    value = torch.randn(n, classes, generator=torch.Generator().manual_seed(seed)).mul(2).softmax(1)
    return PseudoLabelTable(st.Classification(classes), value)


def teacher(seed=0):
    return Supervised(TASK, lambda: sgd_learner(normed(seed)), decay=None)


# -- making ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", toy.KINDS)
def test_every_unlabeled_row_gets_what_the_teacher_ships(kind):
    pile, strategy = toy.pile(kind), Supervised(toy.task(kind), toy.learner(kind))
    labels = label_pile(strategy, pile, batch_size=7)
    rows = pile.x[pile.parts["unlabeled"]]
    assert torch.allclose(labels.value, strategy.predict(rows), atol=1e-6)
    assert torch.allclose(labels.confidence, strategy.task.confidence(strategy.predict(rows)), atol=1e-6)
    assert torch.equal(labels.weight, torch.ones_like(labels.confidence))
    assert not labels.value.requires_grad


def test_rows_of_the_table_are_rows_of_the_stream():
    """The data package numbers unlabeled samples alike in both."""
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(60, 3)).astype(np.float32), np.arange(60) % 3
    y[generator.permutation(60)[:45]] = -1
    pile, strategy = data.Pile.from_arrays(x, y, classes=["a", "b", "c"]), teacher()
    labels = label_pile(strategy, pile, batch_size=16)
    assert len(labels) == 45
    needs = Needs(views=("plain",), encode=TASK.encode, warp=TASK.warp)
    for (batch,) in pile.stream(needs, BatchPlan(labeled=4, unlabeled_ratio=2.0), torch.device("cpu")).epoch(0):
        shown = strategy.predict(batch.unlabeled["plain"].x)
        assert torch.allclose(labels.pseudo_label(batch.unlabeled.index).target.value, shown, atol=1e-6)


def test_annotations_are_never_read():
    class Blind(MemoryPile):
        def evaluation(self, part, batch_size, device):
            assert part == "pile"
            return [Annotated(b.x, None, None) for b in super().evaluation(part, batch_size, device)]

        def unlabeled_truth(self):
            raise AssertionError("the truth is for figures")

    assert len(label_pile(teacher(), Blind())) == 40


def test_the_teacher_predicts_in_evaluation_mode_without_gradient_and_is_left_as_it_was():
    class Plain(Supervised):
        def predict(self, x):
            assert not torch.is_grad_enabled()
            return self.student.model(x).softmax(1)

    strategy, pile = Plain(TASK, lambda: sgd_learner(normed()), decay=None), MemoryPile()
    network = strategy.student.model
    expected = network.eval()(pile.parts["unlabeled"][0]).softmax(1).detach()
    x, y = pile.parts["validation"]
    right = float((network(x).argmax(1) == y).double().mean())
    for mode in (True, False):
        strategy.train(mode)
        before = {name: t.clone() for name, t in network.state_dict().items()}
        assert torch.allclose(label_pile(strategy, pile, batch_size=11).value, expected, atol=1e-6)
        assert figure_above(strategy, pile, 0.0, batch_size=11) == pytest.approx(right)
        assert same(before, dict(network.state_dict()))
        assert strategy.training is network.training is mode


def test_half_precision_rounds_values_and_keeps_confidences():
    pile, strategy = MemoryPile(), teacher()
    whole, half = (label_pile(strategy, pile, dtype=dtype) for dtype in (torch.float32, torch.float16))
    assert half.value.dtype == torch.float16
    assert torch.equal(half.value, whole.value.half())
    assert torch.equal(half.confidence, whole.confidence)
    assert not torch.equal(half.confidence, TASK.confidence(half.value.float()))
    read = half.pseudo_label(torch.tensor([3, 1]))
    assert read.target.value.dtype == torch.float32
    assert torch.equal(read.target.value, half.value[[3, 1]].float())
    assert half.hard().value.dtype == half.sharpened(0.5).value.dtype == torch.float16


def test_a_pile_or_teacher_that_cannot_label_is_refused():
    with pytest.raises(DataError, match="no unlabeled samples to label"):
        label_pile(teacher(), MemoryPile(unlabeled=0))
    with pytest.raises(ValueError, match="batch_size is 0"):
        label_pile(teacher(), MemoryPile(), batch_size=0)

    class Features(st.Strategy):
        pass

    with pytest.raises(ValueError, match="Features predicts no targets"):
        label_pile(Features(), MemoryPile())

    class Short(MemoryPile):
        def unlabeled_ids(self):
            return super().unlabeled_ids() + ["one more"]

    with pytest.raises(DataError, match="shows 40 samples to label and names 41"):
        label_pile(teacher(), Short())
    broken = teacher()
    torch.nn.init.constant_(broken.student.model[-1].bias, float("nan"))
    with pytest.raises(ValueError, match="confidence of row 0 is nan"):
        label_pile(broken, MemoryPile())


# -- thresholds and percentiles ----------------------------------------------------------------------------------------
def test_the_threshold_itself_passes():
    labels = table(0.4, 0.5, 0.75, 0.9)
    assert labels.above(0.5).weight.tolist() == [0, 1, 1, 1]
    assert labels.above(0.0).kept.all()
    assert not labels.above(2.0).kept.any()
    assert labels.weight.tolist() == [1, 1, 1, 1]  # a refinement returns a new table


@pytest.mark.parametrize("n", [1, 2, 7, 100, 1203])
@pytest.mark.parametrize("percent", [1, 20, 33.3, 60, 100])
def test_percentiles_are_those_of_numpy(n, percent):
    labels = random_table(n, seed=n)
    confidence = labels.confidence.numpy()
    expected = confidence >= np.percentile(confidence.astype(np.float64), 100 - percent)
    assert expected.any()
    assert np.array_equal(labels.top_percent(percent).weight.numpy(), expected.astype(np.float32))


def test_percentiles_are_taken_over_all_units_whatever_was_dropped_before():
    """Ten confidences 0.05, 0.15, ..., 0.95; the upper fifth stays the same two after a threshold dropped half."""
    labels = PseudoLabelTable(TASK, torch.full((10, 3), 1 / 3), confidence=torch.arange(10) / 10 + 0.05)
    assert labels.top_percent(20).kept.nonzero().flatten().tolist() == [8, 9]
    assert labels.above(0.5).top_percent(20).kept.nonzero().flatten().tolist() == [8, 9]
    assert labels.above(0.5).top_percent(100).kept.nonzero().flatten().tolist() == [5, 6, 7, 8, 9]


def test_equal_confidences_at_the_border_are_all_kept():
    assert table(0.9, 0.5, 0.5, 0.5, 0.4).top_percent(40).weight.tolist() == [1, 1, 1, 1, 0]


@pytest.mark.parametrize("percent", [0, -5, 100.5, float("nan")])
def test_a_senseless_percent_is_refused(percent):
    with pytest.raises(ValueError, match=f"percent is {percent}"):
        table(0.5).top_percent(percent)


def test_a_senseless_threshold_is_refused():
    with pytest.raises(ValueError, match="threshold is -0.1"):
        table(0.5).above(-0.1)


# -- balance -----------------------------------------------------------------------------------------------------------
def balanced_by_hand(confidence, label, kept, quota, classes):
    """Row by row: sort a class, cut it at the quota, or share the quota among its rows."""
    weight = np.zeros(len(confidence))
    for c in range(classes):
        rows = [i for i in range(len(label)) if label[i] == c and kept[i]]
        rows.sort(key=lambda i: (-confidence[i], i))
        for i in rows[:quota]:
            weight[i] = max(1.0, quota / len(rows))
    return weight


@pytest.mark.parametrize("quota", [1, 5, 17, 400])
def test_classes_are_cut_or_repeated_to_one_size(quota):
    labels = random_table(120, seed=4, classes=4).above(0.45)
    expected = balanced_by_hand(labels.confidence.numpy(), labels.label.numpy(), labels.kept.numpy(), quota, classes=4)
    made = labels.balanced(quota)
    assert np.allclose(made.weight.numpy(), expected)
    totals = [float(made.weight[labels.label == c].sum()) for c in range(4)]
    assert totals == pytest.approx([quota] * 4)
    assert (made.weight[~labels.kept] == 0).all()


def test_a_balance_by_hand():
    """Class 0: the two surest of three; class 1: one unit for two; class 2: nothing to repeat."""
    labels = table(0.6, 0.8, 0.7, 0.9, label=[0, 0, 0, 1])
    assert labels.balanced(2).weight.tolist() == [0, 1, 1, 2]
    assert labels.balanced(5, max_copies=3).weight.tolist() == pytest.approx([5 / 3, 5 / 3, 5 / 3, 3])
    assert labels.balanced().weight.tolist() == [0, 1, 0, 1]  # 4 units of 3 classes: 1 each


def test_of_equally_sure_units_the_earlier_stay():
    assert table(0.5, 0.8, 0.8, 0.8, 0.8).balanced(2).weight.tolist() == [0, 1, 1, 0, 0]


def test_pixels_are_balanced_by_their_own_class():
    task, generator = st.Segmentation(3), torch.Generator().manual_seed(0)
    labels = PseudoLabelTable(task, torch.randn(5, 3, 4, 6, generator=generator).softmax(1)).above(0.4)
    flat = [t.flatten().numpy() for t in (labels.confidence, labels.label, labels.kept)]
    made = labels.balanced(34)
    assert made.weight.shape == (5, 4, 6)
    assert np.allclose(made.weight.flatten().numpy(), balanced_by_hand(*flat, 34, classes=3))
    assert (made.weight > 1).any()
    assert made.counts() == [int(((labels.label == c) & made.kept).sum()) for c in range(3)]


def test_joints_have_no_class_to_balance():
    labels = PseudoLabelTable(toy.task("keypoints"), torch.rand(4, 2, 12, 12))
    with pytest.raises(ValueError, match="keypoints cannot be balanced"):
        labels.balanced(3)
    assert labels.counts() == []
    assert "largest_class" not in labels.summary()
    assert labels.above(0.5).weight.shape == (4, 2)
    assert labels.top_percent(50).kept.any()


@pytest.mark.parametrize(("settings", "shown"), [({"per_class": 0}, "per_class is 0"), ({"max_copies": 0.5}, "0.5")])
def test_a_senseless_balance_is_refused(settings, shown):
    with pytest.raises(ValueError, match=shown):
        table(0.5, 0.6).balanced(**settings)


def gradient(model, x, target, weight, count):
    """Of the cross-entropy, each sample with its weight, over ``count`` samples."""
    model.zero_grad()
    loss = -(target * model(x).log_softmax(1)).sum(1)
    ((loss * weight).sum() / count).backward()
    return torch.cat([p.grad.flatten() for p in model.parameters()]).clone()


def test_a_weight_is_worth_as_many_copies():
    """Five rows of class 0, two of class 1, one too unsure: copies of the paper against weights, over a whole pass."""
    labels = table(0.9, 0.8, 0.7, 0.95, 0.85, 0.9, 0.8, 0.4, label=[0, 0, 0, 0, 0, 1, 1, 2]).above(0.5)
    x, model = torch.randn(8, 3, generator=torch.Generator().manual_seed(0)), mlp()
    copies = torch.tensor([3, 0, 4, 1, 5, 6, 5, 6])  # the four surest of class 0, each of class 1 twice
    expected = gradient(model, x[copies], labels.value[copies], torch.ones(8), 8)
    made = labels.balanced(4)
    mean = made.weight.mean()
    assert torch.allclose(gradient(model, x, labels.value, made.weight, 8), expected * mean, atol=1e-6)
    assert torch.allclose(gradient(model, x, labels.value, made.normalized().weight, 8), expected, atol=1e-6)


def test_normalized_weights_have_mean_one():
    labels = random_table(50).above(0.6)
    made = labels.normalized().weight
    assert float(made.mean()) == pytest.approx(1)
    assert torch.allclose(made / made.max(), labels.weight)
    assert not labels.above(2.0).normalized().weight.any()


# -- values ------------------------------------------------------------------------------------------------------------
@by_task
def test_hard_and_sharpened_values_are_those_of_the_task(case):
    value = values(case, batch=600)  # more than are worked on at a time
    labels = PseudoLabelTable(case.task, value)
    assert torch.allclose(labels.hard().value, case.task.harden(value))
    assert torch.allclose(labels.sharpened(0.5).value, case.task.sharpen(value, 0.5))
    assert torch.equal(labels.label, case.task.label(value))
    assert labels.weight.shape == (600, *case.units)


def test_a_temperature_by_hand():
    """p^(1/T) normalized: (0.6, 0.3, 0.1) at T = 0.5 is (36, 9, 1) / 46."""
    labels = PseudoLabelTable(TASK, torch.tensor([[0.6, 0.3, 0.1]]))
    assert labels.sharpened(0.5).value[0].tolist() == pytest.approx([36 / 46, 9 / 46, 1 / 46])
    with pytest.raises(ValueError, match="temperature is 0"):
        labels.sharpened(0)


def test_the_order_of_refinements_does_not_matter_for_what_is_kept():
    labels = random_table(80)
    for change in (PseudoLabelTable.hard, lambda t: t.sharpened(0.3), lambda t: t.sharpened(4.0)):
        assert torch.equal(change(labels).above(0.6).weight, change(labels.above(0.6)).weight)
        assert torch.equal(change(labels).confidence, labels.confidence)


def test_a_recipe_tells_what_was_done():
    labels = table(0.5, 0.9, 0.8)
    made = labels.above(0.3).balanced(130, max_copies=2).normalized().hard().top_percent(20).sharpened(0.5)
    assert made.recipe == ("above(0.3).balanced(130, max_copies=2).normalized().hard().top_percent(20).sharpened(0.5)")
    assert labels.recipe == ""
    assert labels.balanced().recipe == "balanced(1)"


# -- reading -----------------------------------------------------------------------------------------------------------
@by_task
def test_rows_are_read_with_their_weights(case):
    value = values(case, batch=6)
    weight = torch.rand(6, *case.units)
    labels, rows = PseudoLabelTable(case.task, value, weight=weight), torch.tensor([4, 0, 4])
    soft, hard = labels.pseudo_label(rows), labels.pseudo_label(rows, hard=True)
    assert torch.equal(soft.target.value, value[rows])
    assert torch.equal(hard.target.value, case.task.harden(value[rows]))
    for guess in (soft, hard):
        assert torch.equal(guess.target.weight, weight[rows])
        assert torch.equal(guess.labels.index, rows)
        assert torch.equal(guess.labels.value, value[rows])  # the ledger hears the soft prediction
        assert torch.equal(guess.labels.weight, weight[rows])
        assert guess.target.valid is None


def test_a_row_beyond_the_table_is_refused():
    with pytest.raises(ValueError, match="row 3 is outside the labels of 3 samples"):
        table(0.5, 0.6, 0.7).pseudo_label(torch.tensor([0, 3]))
    assert len(table(0.5).pseudo_label(torch.tensor([], dtype=torch.long)).target.value) == 0


# -- figures -----------------------------------------------------------------------------------------------------------
def test_a_summary_by_hand():
    labels = table(0.9, 0.6, 0.8, 0.5, label=[0, 0, 1, 2]).above(0.6)
    figures = labels.summary(torch.tensor([0, 1, 1, -1]))
    assert figures == {
        "samples": 4,
        "units": 4,
        "kept": 3,
        "used": 0.75,
        "weight": 0.75,
        "confidence": pytest.approx((0.9 + 0.6 + 0.8) / 3),
        "floor": pytest.approx(0.6),
        "largest_class": pytest.approx(2 / 3),
        "smallest_class": 0,
        "pseudo_label_accuracy": pytest.approx(2 / 3),
        "prediction_accuracy": pytest.approx(2 / 3),
    }
    assert labels.counts() == [2, 1, 0]
    assert "pseudo_label_accuracy" not in labels.summary(torch.full((4,), -1))
    assert "pseudo_label_accuracy" not in labels.summary()


def test_a_table_without_kept_units_has_no_confidence():
    labels = table(0.9, 0.6).above(2.0)
    assert np.isnan(labels.floor)
    figures = labels.summary(torch.tensor([0, 0]))
    assert figures["kept"] == figures["used"] == 0
    assert np.isnan(figures["confidence"])
    assert "pseudo_label_accuracy" not in figures
    assert figures["prediction_accuracy"] == 1


def test_the_expected_accuracy_is_that_of_equally_sure_validation_samples():
    pile, strategy = MemoryPile(), teacher(3)
    x, y = pile.parts["validation"]
    confidence, label = strategy.predict(x).max(1)
    floors = confidence.sort().values
    for floor in (0.0, float(floors[10]), float(floors[-1])):
        sure = confidence >= floor
        expected = float((label == y)[sure].double().mean())
        assert figure_above(strategy, pile, floor, batch_size=7) == pytest.approx(expected)
    assert figure_above(strategy, pile, 2.0) is None
    assert figure_above(strategy, pile, float("nan")) is None
    assert figure_above(strategy, MemoryPile(validation=0), 0.0) is None


@pytest.mark.parametrize("kind", ["segmentation", "keypoints"])
def test_the_expected_figure_of_pixels_and_joints_is_the_tasks(kind):
    pile, strategy = toy.pile(kind), Supervised(toy.task(kind), toy.learner(kind))
    whole = st.evaluate(strategy, pile, "validation")[strategy.task.monitor]
    assert figure_above(strategy, pile, 0.0) == pytest.approx(whole)


# -- storage -----------------------------------------------------------------------------------------------------------
def test_a_table_is_stored_and_read_back_whole(tmp_path):
    labels = label_pile(teacher(), MemoryPile(), dtype=torch.float16).above(0.4).balanced(9)
    path = labels.save(tmp_path / "deep" / "labels.safetensors")
    read = PseudoLabelTable.load(path, TASK)
    assert same(dict(read.named_buffers()), dict(labels.named_buffers()))
    assert (read.recipe, read.digest) == (labels.recipe, labels.digest)
    assert [p.name for p in path.parent.iterdir()] == ["labels.safetensors"]
    assert torch.equal(read.hard().value, labels.hard().value)


def test_a_table_is_on_the_disk_before_it_takes_its_place(tmp_path, monkeypatch):
    done = []
    replace = os.replace
    monkeypatch.setattr(os, "fsync", lambda file: done.append(os.fstat(file).st_size))
    monkeypatch.setattr(os, "replace", lambda *paths: (done.append("in place"), replace(*paths)))
    path = label_pile(teacher(), MemoryPile()).save(tmp_path / "labels.safetensors")
    assert done == [path.stat().st_size, "in place"]


def test_the_digest_tells_tables_apart():
    labels = random_table(20)
    tables = [labels, labels.above(0.6), labels.hard(), random_table(20, seed=1), random_table(19)]
    tables.append(PseudoLabelTable(TASK, labels.value.half(), confidence=labels.confidence))
    assert len({t.digest for t in tables}) == len(tables)
    assert labels.digest == random_table(20).digest


@pytest.mark.parametrize("damage", ["cut", "flip", "other", "missing", "text"])
def test_a_file_that_is_no_whole_table_is_refused(damage, tmp_path):
    path = random_table(20).save(tmp_path / "labels.safetensors")
    content = bytearray(path.read_bytes())
    if damage == "cut":
        path.write_bytes(content[:-8])
    elif damage == "flip":
        content[-3] ^= 1
        path.write_bytes(content)
    elif damage == "other":
        from safetensors.torch import save_file

        save_file({"value": torch.ones(2, 3)}, path)
    elif damage == "text":
        path.write_text(json.dumps({"value": 1}))
    else:
        path.unlink()
    with pytest.raises(CheckpointError, match="labels.safetensors"):
        PseudoLabelTable.load(path, TASK)


def test_a_table_that_cannot_be_written_is_an_error_of_ours(tmp_path):
    (tmp_path / "labels").write_text("a file where a folder should be")
    with pytest.raises(CheckpointError, match="cannot write"):
        random_table(3).save(tmp_path / "labels" / "table.safetensors")


def test_the_state_names_the_table_and_refuses_another():
    labels = random_table(20)
    state = labels.state_dict()
    assert not any(isinstance(value, torch.Tensor) for value in state.values())
    random_table(20).load_state_dict(state)
    with pytest.raises(ValueError, match="started with other pseudo-labels"):
        labels.above(0.6).load_state_dict(state)
    with pytest.raises(RuntimeError, match="Missing key"):
        labels.load_state_dict({})


# -- bad tables --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("settings", "shown"),
    [
        ({"value": torch.ones(0, 3)}, r"shape \(0, 3\)"),
        ({"value": torch.ones(4)}, r"shape \(4,\)"),
        ({"value": torch.ones(4, 3).double()}, "float64"),
        ({"confidence": torch.ones(5)}, r"\(5,\)"),
        ({"weight": torch.ones(4, 1)}, r"\(4, 1\)"),
        ({"weight": torch.tensor([1.0, 1, -2, 1])}, "weight of row 2 is -2"),
        ({"confidence": torch.tensor([1.0, float("inf"), 1, 1])}, "confidence of row 1 is inf"),
    ],
)
def test_a_table_that_makes_no_sense_is_refused(settings, shown):
    with pytest.raises(ValueError, match=shown):
        PseudoLabelTable(TASK, **({"value": torch.full((4, 3), 1 / 3)} | settings))
