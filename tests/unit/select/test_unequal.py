"""Parts for unequal classes: shares of the pile estimated, a running bias or known shares taken out, DARP, labels."""

import io

import numpy as np
import pytest
import torch
from helpers import same, snapshot
from scipy.optimize import minimize

import selftrain as st
from selftrain import strategies, toy
from selftrain.catalog.parts import make_part
from selftrain.mix import cat, pick
from selftrain.select.alignment import Align
from selftrain.select.darp import Darp, refine_multipliers, refined
from selftrain.select.debias import AdjustLabels, Debias
from selftrain.tasks import Classification, Segmentation

TASK = Classification(3)
COUNTS = [60.0, 30.0, 10.0]
PARTS = {
    "pile": lambda task=TASK: Align(task, target="pile", decay=0.7),
    "debias": lambda task=TASK: Debias(task, tau=0.5, decay=0.7),
    "adjust_labels": lambda task=TASK: AdjustLabels(task, COUNTS),
    "darp": lambda task=TASK: Darp(task, target="labeled", decay=0.7, memory=30, every=2),
}


def said(rows=40, seed=0, shift=(1.0, 0.0, -1.0)):
    noise = torch.randn(rows, 3, generator=torch.Generator().manual_seed(seed))
    return (2 * noise + torch.tensor(shift)).softmax(1)


# -- independent formulas ----------------------------------------------------------------------------------------------
def test_debias_subtracts_the_logarithm_of_the_running_mean():
    part, mean = Debias(TASK, tau=0.5, decay=0.9), np.full(3, 1 / 3)
    for seed in range(4):
        value = said(seed=seed)
        mean = 0.9 * mean + 0.1 * value.numpy().mean(0)
        logits = np.log(value.numpy()) - 0.5 * np.log(mean)
        wanted = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        assert np.allclose(part(value), wanted, atol=1e-5)


def test_known_shares_are_taken_out_of_the_logits():
    value, shares = said().numpy(), np.array(COUNTS) / 100
    wanted = value / shares**0.7
    made = AdjustLabels(TASK, COUNTS, tau=0.7)(torch.tensor(value))
    assert np.allclose(made, wanted / wanted.sum(1, keepdims=True), atol=1e-5)


def test_without_counts_the_predictions_on_labels_stand_for_their_shares():
    value, given = said(), said(6, seed=1)
    wanted = value / given.mean(0)
    assert torch.allclose(AdjustLabels(TASK)(value, given), wanted / wanted.sum(1, keepdim=True), atol=1e-6)


def test_the_shares_of_the_pile_are_found_by_expectation_maximization():
    """Exact posteriors of labels with shares s: EM finds the pile's shares, which the mean prediction does not."""
    generator, s, pi = np.random.default_rng(0), np.array([0.6, 0.3, 0.1]), np.array([0.1, 0.3, 0.6])
    centers = 2.5 * np.eye(3)

    def draw(shares, rows):
        x = centers[generator.choice(3, rows, p=shares)] + generator.normal(size=(rows, 3))
        p = s * np.exp(-0.5 * ((x[:, None] - centers) ** 2).sum(2))
        return torch.tensor(p / p.sum(1, keepdims=True)).float()

    part = Align(TASK, target="pile", decay=0.95)
    for _ in range(400):
        value, given = draw(pi, 100), draw(s, 100)
        part(value, given)
    assert np.abs(part.expected.numpy() - pi).max() < 0.04
    assert np.abs(part.source.numpy() - s).max() < 0.04
    assert np.abs(part.predicted.numpy() - pi).max() > 0.06


def test_the_first_estimate_is_one_step_by_hand():
    value, given = said(5), said(4, seed=1, shift=(0.0, 0.0, 0.0))
    part = Align(TASK, target="pile", decay=0.5)
    part(value, given)
    part(value, given)
    # the first batch sets s and pi = s, so that its posteriors are the predictions; the second moves by a half
    first = value.mean(0)
    posterior = value * first / given.mean(0)
    second = (posterior / posterior.sum(1, keepdim=True)).mean(0)
    assert torch.allclose(part.expected, 0.5 * first + 0.5 * second, atol=1e-6)


def test_darp_solves_the_convex_problem():
    """Against scipy's solution of the problem itself, over the simplex rows, not of its dual."""
    p, shares = said(6, seed=3).double().numpy(), np.array([0.2, 0.3, 0.5])
    weight = 1 / -(p * np.log(p)).sum(1)

    def objective(flat):
        x = np.clip(flat.reshape(p.shape), 1e-12, None)
        return (weight * (x * np.log(x / p)).sum(1)).sum()

    rows = {"type": "eq", "fun": lambda flat: flat.reshape(p.shape).sum(1) - 1}
    columns = {"type": "eq", "fun": lambda flat: (flat.reshape(p.shape).sum(0) - len(p) * shares)[:2]}
    found = minimize(
        objective, p.ravel(), method="SLSQP", bounds=[(1e-9, 1)] * p.size, constraints=[rows, columns],
        options={"maxiter": 500, "ftol": 1e-14},
    )  # fmt: skip
    assert found.success
    nu = refine_multipliers(torch.tensor(p), torch.tensor(shares), iterations=100)
    made = refined(torch.tensor(p), nu)
    assert np.allclose(made, found.x.reshape(p.shape), atol=2e-4)
    assert torch.allclose(made.mean(0), torch.tensor(shares), atol=1e-6)


def test_darp_moves_unsure_predictions_and_sure_ones_hardly():
    value = torch.tensor([[0.999, 0.0005, 0.0005]] * 5 + [[0.4, 0.3, 0.3]] * 5)
    made = refined(value, refine_multipliers(value, torch.tensor([0.55, 0.05, 0.40])))
    assert (made - value)[:5].abs().max() < 0.02
    assert (made - value)[5:].abs().max() > 0.2


def test_shares_that_no_refinement_has_stay_finite():
    value = torch.eye(3)[[0, 0, 0, 1]]
    nu = refine_multipliers(value, torch.tensor([0.0, 0.0, 1.0]))
    assert nu.abs().max() <= 30
    assert torch.isfinite(refined(value, nu)).all()


def test_darp_solves_every_few_steps_for_its_newest_predictions():
    part = Darp(TASK, target=[0.2, 0.3, 0.5], memory=50, every=2)
    first, second = said(40), said(40, seed=1)
    assert torch.allclose(part(first), first, atol=1e-6)  # no solution yet
    made = part(second)
    newest = torch.cat([first, second])[-50:]
    nu = refine_multipliers(newest, torch.tensor([0.2, 0.3, 0.5]))
    assert torch.allclose(part.nu, nu, atol=1e-9)
    assert torch.allclose(made, refined(second, nu))


def test_pixels_are_refined_like_samples():
    value = said(24).view(2, 3, 4, 3).movedim(-1, 1)
    pixels, samples = (Darp(task, target=[0.2, 0.3, 0.5], every=1) for task in (Segmentation(3), TASK))
    made = pixels(value).movedim(1, -1).flatten(0, -2)
    assert torch.allclose(made, samples(said(24)), atol=1e-6)


# -- in a step ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", PARTS)
def test_state_continues_bit_for_bit_and_evaluation_moves_nothing(name):
    part, again = PARTS[name](), PARTS[name]()
    for seed in range(3):
        part(said(seed=seed), said(6, seed=9))
    file = io.BytesIO()
    torch.save(part.state_dict(), file)
    file.seek(0)
    again.load_state_dict(torch.load(file, weights_only=True))
    for seed in range(3, 6):
        assert torch.equal(part(said(seed=seed), said(6, seed=9)), again(said(seed=seed), said(6, seed=9)))
    assert same(part.state_dict(), again.state_dict())
    before = snapshot(part)
    part.eval()
    part(said(seed=7))
    assert same(part.state_dict(), before)


@pytest.mark.parametrize("name", PARTS)
def test_a_part_changes_the_update_and_a_run_goes_on_exactly(name, tmp_path):
    def fit(made, **settings):
        task = toy.task("classification")
        part = None if made is None else made(task)
        strategy = strategies.FixMatch(task, toy.learner("classification"), threshold=0.0, align=part)
        torch.manual_seed(0)
        run = st.fit(strategy, toy.pile("classification"), steps=8, plan=st.BatchPlan(seed=1), **settings)
        return run.strategy.state_dict()

    torch.manual_seed(3)
    make = {
        "pile": lambda task: Align(task, target="pile", decay=0.5),
        "debias": lambda task: Debias(task, tau=2.0, decay=0.5),
        "adjust_labels": lambda task: AdjustLabels(task, [float(90**c) for c in range(task.groups)]),
        "darp": lambda task: Darp(task, target=[0.9] + [0.1 / (task.groups - 1)] * (task.groups - 1), every=2),
    }[name]

    def seeded(made, **settings):
        torch.manual_seed(5)
        return fit(made, **settings)

    with_part, without = seeded(make), seeded(None)
    assert not same({k: v for k, v in with_part.items() if k in without}, without)
    seeded(make, out=tmp_path, checkpoints=st.Checkpoints(stop_after=3))
    assert same(seeded(make, out=tmp_path, resume=True), with_part)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("pile(decay=0.9)", Align),
        ("debias(0.4)", Debias),
        ("adjust_labels([6, 3, 1])", AdjustLabels),
        ("darp(target='pile', every=5)", Darp),
        ("align([0.6, 0.3, 0.1])", Align),
    ],
)
def test_parts_are_named_as_on_the_command_line(text, kind):
    assert type(make_part("align", text, task=TASK)) is kind


# -- the loss of labels ------------------------------------------------------------------------------------------------
def test_only_labels_have_an_adjusted_loss():
    task, plain = Classification(3, label_counts=COUNTS, tau=0.5), TASK
    logits, label = torch.randn(5, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 2, 1, 0, 2])
    shares = torch.tensor(COUNTS) / 100
    each = -torch.log_softmax(logits + 0.5 * shares.log(), 1)[torch.arange(5), label]
    target = task.encode(label)
    assert torch.allclose(task.loss(logits, target), each.mean())
    pseudo = task.decide(target.value, target.weight)
    assert torch.equal(task.loss(logits, pseudo), plain.loss(logits, plain.encode(label)))
    # parts and weights of labels are labels
    assert torch.allclose(task.loss(logits[1:3], pick(target, slice(1, 3)).scaled(2.0)), 2 * each[1:3].mean())
    with pytest.raises(ValueError, match="leave label_counts out, or take a strategy that keeps them apart"):
        cat(target, pseudo)


def test_a_strategy_that_blends_labels_refuses_at_its_first_step():
    task = Classification(toy.task("classification").groups, label_counts=[2.0] * toy.task("classification").groups)
    strategy = strategies.MixMatch(task, toy.learner("classification"))
    with pytest.raises(ValueError, match="joins labels with pseudo-labels"):
        st.fit(strategy, toy.pile("classification"), steps=1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Debias(TASK, tau=-1), "tau is -1; it must be 0 or more"),
        (lambda: AdjustLabels(TASK, [1, 2]), r"counts is \[1, 2\]; give 3 numbers above 0"),
        (lambda: AdjustLabels(TASK, [1, 2, 0]), "give 3 numbers above 0"),
        (lambda: Darp(TASK, memory=0), "memory is 0; it must be at least 1"),
        (lambda: Darp(TASK, every=0), "every is 0"),
        (lambda: Classification(3, label_counts=[1, 2]), r"label_counts is \[1, 2\]; give 3 numbers above 0"),
        (lambda: Classification(3, label_counts=[1, 2, 3], tau=-0.5), "tau is -0.5; it must be 0 or more"),
    ],
)
def test_settings_out_of_range_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
