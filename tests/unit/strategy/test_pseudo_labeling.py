"""Pseudo-labels in the making: alignment, selection, hardening, their weight over the stage and their distance."""

from types import SimpleNamespace

import pytest
import torch
from helpers import all_tasks, same, snapshot, values
from torch.nn import functional as F

from selftrain import select
from selftrain.schedule import ramp_linear
from selftrain.select.alignment import Align
from selftrain.strategy.pseudo_labeling import PseudoLabel, PseudoLabeling
from selftrain.tasks import Classification
from selftrain.types import Clock, PseudoLabels, Target

CASES = all_tasks()
each_task = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
START = Clock(step=0, epoch=0, total_steps=10)


def classification():
    """A task and what a network says of six samples; the labels of four others."""
    said = torch.rand(6, 3, generator=torch.Generator().manual_seed(2)).softmax(1)
    labels = F.one_hot(torch.tensor([0, 1, 2, 0]), 3).float()
    return SimpleNamespace(task=Classification(3), said=said, labels=labels)


# -- pseudo-labels -----------------------------------------------------------------------------------------------------
@each_task
@pytest.mark.parametrize("hard", [True, False])
def test_a_pseudo_label_is_the_decision_or_the_prediction(case, hard):
    value, index = values(case), torch.tensor([4, 7, 9])
    pseudo = PseudoLabeling(case.task, select=select.everything(), hard=hard).make(value, index)
    assert torch.equal(pseudo.target.value, case.task.harden(value) if hard else value)
    assert torch.equal(pseudo.target.weight, torch.ones(3, *case.units))
    assert pseudo.target.valid is None
    assert torch.equal(pseudo.labels.value, value)  # the ledger hears the prediction itself
    assert torch.equal(pseudo.labels.index, index)
    assert pseudo.labels.weight is pseudo.target.weight


@each_task
def test_confidence_decides_the_weight(case):
    value = values(case)
    confidence = case.task.confidence(value)
    threshold = float(confidence.median())
    pseudo = PseudoLabeling(case.task, select=select.above(threshold), hard=True).make(value, torch.arange(3))
    assert torch.equal(pseudo.target.weight, (confidence >= threshold).float())
    assert 0 < pseudo.target.weight.mean() < 1


@each_task
def test_the_rule_hears_the_evidence_of_the_prediction(case):
    heard = []

    class Listening(select.Selector):
        def forward(self, evidence):
            heard.append(evidence)
            return evidence.confidence.new_ones(evidence.confidence.shape)

    value, given, index = values(case), values(case, 2, seed=1), torch.tensor([4, 7, 9])
    PseudoLabeling(case.task, select=Listening(), hard=False).make(value, index, given)
    PseudoLabeling(case.task, select=Listening(), hard=False).make(value, index)
    assert torch.equal(heard[0].confidence, case.task.confidence(value))
    assert torch.equal(heard[0].group, case.task.group(value))
    assert torch.equal(heard[0].presence, case.task.presence(value))
    assert torch.equal(heard[0].index, index)
    assert torch.equal(heard[0].labeled, case.task.confidence(given))
    assert heard[1].labeled is None


@each_task
def test_agreement_goes_to_the_ledger_and_changes_nothing(case):
    value, share = values(case), torch.rand(3, *case.units)
    told = PseudoLabeling(case.task, select=select.top(0.5), hard=True).make(value, torch.arange(3), agreement=share)
    alone = PseudoLabeling(case.task, select=select.top(0.5), hard=True).make(value, torch.arange(3))
    assert told.labels.agreement is share
    assert alone.labels.agreement is None
    assert torch.equal(told.target.value, alone.target.value)
    assert torch.equal(told.target.weight, alone.target.weight)


def test_pseudo_labels_have_no_gradient():
    value = torch.randn(3, 4, requires_grad=True).softmax(1)
    pseudo = PseudoLabeling(Classification(4), select=select.everything(), hard=False, temperature=0.5).make(
        value, torch.arange(3)
    )
    assert not pseudo.target.value.requires_grad
    assert not pseudo.target.weight.requires_grad


def test_a_scaled_label_tells_target_and_ledger_alike():
    pseudo = PseudoLabeling(CASES[0].task, select=select.above(0.4), hard=True).make(values(CASES[0]), torch.arange(3))
    factor = torch.tensor([0.5, 2.0, 0.0])
    made = pseudo.scaled(factor)
    assert torch.equal(made.target.weight, pseudo.target.weight * factor)
    assert torch.equal(made.labels.weight, pseudo.target.weight * factor)
    assert made.target.value is pseudo.target.value
    assert made.labels.value is pseudo.labels.value


# -- reports ---------------------------------------------------------------------------------------------------------
def test_the_report_tells_losses_and_the_share_of_used_units():
    value, weight = torch.rand(4, 3).softmax(1), torch.tensor([0.2, 0.0, 1.0, 1.5])
    pseudo = PseudoLabel(Target(value, weight), PseudoLabels(torch.arange(4), value, weight))
    losses = [torch.tensor(number, requires_grad=True) for number in (2.0, 3.0, 7.0)]
    report = pseudo.report(supervised=losses[0], unsupervised=losses[1], tie=losses[2])
    expected = {"loss/supervised": 2.0, "loss/unsupervised": 3.0, "used": 0.75, "loss/tie": 7.0}
    assert {name: value.item() for name, value in report.scalars.items()} == expected
    assert not any(value.requires_grad for value in report.scalars.values())
    assert report.pseudo_labels is pseudo.labels


# -- weight ------------------------------------------------------------------------------------------------------------
def test_the_weight_grows_with_the_stage():
    labeling = PseudoLabeling(Classification(3), unlabeled_weight=4.0, rampup=ramp_linear(0.5))
    clocks = [Clock(step=s, epoch=0, total_steps=8) for s in (0, 1, 2, 4, 8)]
    assert [labeling.weight(clock) for clock in clocks] == [0.0, 1.0, 2.0, 4.0, 4.0]


def test_without_a_rampup_the_weight_is_there_at_once():
    assert PseudoLabeling(Classification(3), unlabeled_weight=4.0).weight(START) == 4.0
    assert PseudoLabeling(Classification(3)).weight(START) == 1.0


# -- judging -----------------------------------------------------------------------------------------------------------
class Listening(select.Selector):
    """Keep what it hears."""

    def __init__(self):
        super().__init__()
        self.heard = []

    def forward(self, evidence):
        self.heard.append(evidence)
        return evidence.confidence.clone()


def test_alignment_comes_first_then_selection_then_hardening():
    """The prior turns the decision: everything after the alignment is about the aligned prediction."""
    task, rule = Classification(2), Listening()
    prior = torch.tensor([0.2, 0.8])
    labeling = PseudoLabeling(task, select=rule, align=Align(task, target=prior, decay=0.0))
    value = torch.tensor([[0.7, 0.3], [0.5, 0.5]])
    pseudo = labeling.make(value, torch.tensor([3, 8]))
    scaled = value * prior / value.mean(0)
    aligned = scaled / scaled.sum(1, keepdim=True)  # 0.28 : 0.72 and 0.1429 : 0.8571
    assert aligned[0, 1] > 0.6
    assert torch.allclose(rule.heard[0].confidence, aligned.amax(1))
    assert rule.heard[0].group.tolist() == [1, 1]
    assert torch.allclose(rule.heard[0].presence, aligned.mean(0))
    assert rule.heard[0].index.tolist() == [3, 8]
    assert pseudo.target.value.tolist() == [[0, 1], [0, 1]]
    assert torch.allclose(pseudo.target.weight, aligned.amax(1))
    assert torch.allclose(pseudo.labels.value, aligned)  # the ledger hears the aligned prediction, before hardening
    assert pseudo.labels.index.tolist() == [3, 8]


@pytest.mark.parametrize("hard", [True, False])
def test_an_alignment_may_be_for_the_weights_alone(hard):
    """The rule hears the aligned prediction; target, ledger and confidence are those of the prediction as it is."""
    task, rule, prior = Classification(2), Listening(), torch.tensor([0.2, 0.8])
    align = Align(task, target=prior, decay=0.0)
    labeling = PseudoLabeling(task, select=rule, align=align, align_targets=False, hard=hard, temperature=0.5)
    value = torch.tensor([[0.7, 0.3], [0.6, 0.4]])
    pseudo = labeling.make(value, torch.tensor([3, 8]))
    scaled = value * prior / value.mean(0)
    aligned = scaled / scaled.sum(1, keepdim=True)
    assert rule.heard[0].group.tolist() == [1, 1]
    assert torch.allclose(rule.heard[0].confidence, aligned.amax(1))
    assert torch.allclose(rule.heard[0].presence, aligned.mean(0))
    assert torch.allclose(pseudo.target.weight, aligned.amax(1))
    squared = value.square() / value.square().sum(1, keepdim=True)
    assert torch.allclose(pseudo.target.value, torch.tensor([[1.0, 0.0]] * 2) if hard else squared)
    assert torch.equal(pseudo.labels.value, value)
    assert torch.equal(pseudo.labels.weight, pseudo.target.weight)
    assert torch.allclose(align.predicted, value.mean(0))


def test_without_an_alignment_targets_are_as_predicted_either_way():
    rows = [PseudoLabeling(CASES[1].task, select=select.top(0.6), align_targets=b) for b in (True, False)]
    one, other = (labeling.make(values(CASES[1]), torch.arange(3)) for labeling in rows)
    assert torch.equal(one.target.value, other.target.value)
    assert torch.equal(one.target.weight, other.target.weight)


def test_selection_comes_before_sharpening():
    task, rule = Classification(2), Listening()
    labeling = PseudoLabeling(task, select=rule, hard=False, temperature=0.5)
    pseudo = labeling.make(torch.tensor([[0.6, 0.4]]), torch.arange(1))
    assert rule.heard[0].confidence.tolist() == pytest.approx([0.6])
    assert pseudo.target.value[0].tolist() == pytest.approx([0.36 / 0.52, 0.16 / 0.52])
    assert pseudo.labels.value[0].tolist() == pytest.approx([0.6, 0.4])


def test_alignment_comes_before_sharpening():
    task, prior = Classification(2), torch.tensor([0.2, 0.8])
    labeling = PseudoLabeling(task, align=Align(task, target=prior), hard=False, temperature=0.5)
    pseudo = labeling.make(torch.tensor([[0.6, 0.4]]), torch.arange(1))
    # one row is aligned to the prior itself; squared and normalized that is 0.04 : 0.64
    assert pseudo.target.value[0].tolist() == pytest.approx([0.04 / 0.68, 0.64 / 0.68], rel=1e-5)


@each_task
def test_temperature_changes_soft_targets_and_no_hard_ones(case):
    said = values(case)

    def made(hard, temperature):
        labeling = PseudoLabeling(case.task, select=select.top(0.5), hard=hard, temperature=temperature)
        return labeling.make(said, torch.arange(3)).target

    soft, hard = ([made(kind, temperature) for temperature in (1.0, 0.5)] for kind in (False, True))
    assert torch.equal(soft[0].value, said)
    assert torch.equal(soft[1].value, case.task.sharpen(said, 0.5))
    assert not torch.equal(soft[0].value, soft[1].value)
    assert torch.equal(hard[0].value, hard[1].value)
    assert torch.equal(hard[0].value, case.task.harden(said))
    assert torch.equal(soft[0].weight, soft[1].weight)  # confidence is that of the prediction


def test_without_settings_every_decision_counts():
    case = classification()
    pseudo = PseudoLabeling(case.task).make(case.said, torch.arange(6))
    assert torch.equal(pseudo.target.weight, torch.ones(6))
    assert torch.equal(pseudo.target.value, F.one_hot(case.said.argmax(1), 3).float())


def test_judging_has_no_gradient_and_tells_the_agreement():
    case, share = classification(), torch.rand(6)
    value = case.said.clone().requires_grad_()
    labeling = PseudoLabeling(case.task, hard=False, select=select.soft(3), align=Align(case.task))
    pseudo = labeling.make(value, torch.arange(6), agreement=share)
    assert not pseudo.target.value.requires_grad
    assert not pseudo.target.weight.requires_grad
    assert pseudo.labels.agreement is share


READERS = {
    "neither": (None, None),
    "rule": (lambda: select.relative(0.9), None),
    "alignment": (None, lambda task: Align(task, target="labeled", decay=0.0)),
    "both": (lambda: select.relative(0.9), lambda task: Align(task, target="labeled", decay=0.0)),
}


def reading(which, task):
    rule, align = READERS[which]
    return PseudoLabeling(task, select=rule and rule(), align=align and align(task), hard=False)


def test_the_labeled_samples_decide_who_passes():
    """Labels that the network is sure of raise the relative threshold."""
    case, kept = classification(), []
    for sureness in (0.0, 20.0):
        labeling = reading("rule", case.task)
        kept.append(labeling.make(case.said, torch.arange(6), (sureness * case.labels).softmax(1)))
    assert kept[0].target.weight.sum() == 6
    assert kept[1].target.weight.sum() == 0


@pytest.mark.parametrize(("which", "message"), [("rule", "relative threshold needs"), ("alignment", "aligning to the")])
def test_labeled_predictions_that_are_missing_are_named(which, message):
    case = classification()
    with pytest.raises(ValueError, match=message):
        reading(which, case.task).make(case.said, torch.arange(6))


# -- the distance and the mix ------------------------------------------------------------------------------------------
def test_the_distance_is_that_which_was_chosen():
    """Divided by all units, whatever their weight."""
    logits, value = torch.randn(6, 3), classification().said
    weight = torch.tensor([1.0, 0.0, 0.5, 1.0, 0.0, 2.0])
    found = [
        PseudoLabeling(Classification(3), distance=distance).loss(logits, Target(value, weight)).item()
        for distance in ("ce", "mse")
    ]
    entropy = F.cross_entropy(logits, value, reduction="none")
    square = (logits.softmax(1) - value).square().mean(1)
    assert found == pytest.approx([float((weight * unit).sum() / 6) for unit in (entropy, square)], rel=1e-5)


def test_without_a_mix_the_pair_is_passed_on():
    x, target = torch.rand(2, 3), Target(torch.rand(2, 3), torch.ones(2))
    mixed, made = PseudoLabeling(Classification(3)).mixed(x, target)
    assert mixed is x
    assert made is target


# -- standing still ----------------------------------------------------------------------------------------------------
def moving():
    task = Classification(3)
    return PseudoLabeling(task, select=select.free(3, decay=0.5), align=Align(task, decay=0.5))


def test_standing_still_judges_and_moves_nothing():
    case, labeling = classification(), moving()
    labeling.make(case.said, torch.arange(6))
    before = snapshot(labeling)
    with labeling.still():
        first, again = (labeling.make(case.said.flip(1), torch.arange(6)) for _ in range(2))
    assert same(labeling.state_dict(), before)
    assert torch.equal(first.target.weight, again.target.weight)
    assert torch.equal(first.labels.value, again.labels.value)
    labeling.make(case.said.flip(1), torch.arange(6))
    moved = {key for key, value in labeling.state_dict().items() if not torch.equal(value, before[key])}
    assert {"select.level", "select.presence", "align.predicted", "align.updates"} <= moved


def test_after_standing_still_the_mode_is_what_it_was():
    labeling = moving()
    with labeling.still():
        assert not any(module.training for module in labeling.modules())
        with labeling.still():
            pass
        assert not any(module.training for module in labeling.modules())
    assert all(module.training for module in labeling.modules())
    labeling.eval()
    with labeling.still():
        pass
    assert not any(module.training for module in labeling.modules())


def test_an_error_inside_ends_standing_still():
    labeling = moving()
    with pytest.raises(KeyError), labeling.still():
        raise KeyError
    assert all(module.training for module in labeling.modules())


def test_a_stored_labeling_continues_bit_for_bit():
    case, labeling, again = classification(), moving(), moving()
    labeling.make(case.said, torch.arange(6))
    again.load_state_dict(snapshot(labeling))
    made = [part.make(case.said.flip(1), torch.arange(6)) for part in (labeling, again)]
    assert torch.equal(made[0].target.weight, made[1].target.weight)
    assert torch.equal(made[0].labels.value, made[1].labels.value)
    assert same(labeling.state_dict(), again.state_dict())


# -- refusals ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"unlabeled_weight": -1.0}, "unlabeled_weight is -1.0; it must be 0 or more"),
        ({"unlabeled_weight": float("nan")}, "unlabeled_weight is nan"),
        ({"temperature": 0.0}, r"temperature is 0.0; it must be above 0 \(use hard=True for the limit of 0\)"),
        ({"temperature": -0.5}, "temperature is -0.5"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"distance": "kl"}, "distance is 'kl'; choose 'mse' or 'ce'"),
    ],
)
def test_settings_out_of_range_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        PseudoLabeling(Classification(3), **settings)
