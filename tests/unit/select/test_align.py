import io

import numpy as np
import pytest
import torch
from helpers import same, snapshot

import selftrain as st
from selftrain import strategies, toy
from selftrain.select.alignment import Align
from selftrain.tasks import Classification, Keypoints, Segmentation

TASK = Classification(3)
TRACE = [
    [[0.90, 0.06, 0.04], [0.10, 0.70, 0.20], [0.25, 0.30, 0.45], [0.60, 0.30, 0.10]],
    [[0.20, 0.50, 0.30], [0.85, 0.10, 0.05], [0.40, 0.35, 0.25], [0.08, 0.12, 0.80]],
    [[0.34, 0.33, 0.33], [0.05, 0.90, 0.05], [0.70, 0.20, 0.10], [0.15, 0.25, 0.60]],
]
GIVEN = [
    [[0.8, 0.1, 0.1], [0.7, 0.2, 0.1]],
    [[0.2, 0.2, 0.6], [0.5, 0.4, 0.1]],
    [[0.1, 0.8, 0.1], [0.3, 0.3, 0.4]],
]
PRIOR = [0.5, 0.3, 0.2]


def by_hand(target, decay):
    """ReMixMatch, section 3.1, in numpy: aligned predictions of each batch, the batch being in the mean already."""
    predicted, expected, out = np.full(3, 1 / 3), np.full(3, 1 / 3), []
    if target == "prior":
        expected = np.array(PRIOR)
    for t, (batch, given) in enumerate(zip(TRACE, GIVEN, strict=True)):
        stays = min(decay, 1 - 1 / (t + 1))
        value = np.array(batch)
        predicted = stays * predicted + (1 - stays) * value.mean(0)
        if target == "labeled":
            expected = stays * expected + (1 - stays) * np.array(given).mean(0)
        scaled = value * np.maximum(expected, 1e-6) / np.maximum(predicted, 1e-6)
        out.append((predicted, expected, scaled / scaled.sum(1, keepdims=True)))
    return out


def aligner(target, decay=0.999, task=TASK):
    return Align(task, target=torch.tensor(PRIOR) if target == "prior" else target, decay=decay)


# -- traces ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("decay", [0.0, 0.6, 0.999])
@pytest.mark.parametrize("target", ["uniform", "labeled", "prior"])
def test_alignment_follows_the_equations(target, decay):
    align = aligner(target, decay)
    for batch, given, (predicted, expected, value) in zip(TRACE, GIVEN, by_hand(target, decay), strict=True):
        made = align(torch.tensor(batch), torch.tensor(given))
        assert align.predicted.tolist() == pytest.approx(predicted.tolist(), rel=1e-5)
        assert align.expected.tolist() == pytest.approx(expected.tolist(), rel=1e-5)
        assert np.allclose(made, value, atol=1e-6)
        assert torch.allclose(made.sum(1), torch.ones(4))


def test_alignment_follows_the_trace_by_hand():
    """Decay 0.6: the first batch enters with 1, the second with 1/2, the third with 0.4."""
    align = aligner("uniform", 0.6)
    made = align(torch.tensor(TRACE[0]))
    assert align.predicted.tolist() == pytest.approx([0.4625, 0.34, 0.1975])
    # 0.6 / 0.4625, 0.3 / 0.34, 0.1 / 0.1975 = 1.297297, 0.882353, 0.506329, which sum to 2.685979
    assert made[3].tolist() == pytest.approx([0.482989, 0.328503, 0.188508], abs=1e-5)
    align(torch.tensor(TRACE[1]))
    assert align.predicted.tolist() == pytest.approx([0.4225, 0.30375, 0.27375])
    align(torch.tensor(TRACE[2]))
    assert align.predicted.tolist() == pytest.approx([0.6 * 0.4225 + 0.4 * 0.31, 0.6 * 0.30375 + 0.4 * 0.42, 0.27225])


def test_a_batch_is_in_the_mean_before_it_is_aligned():
    """Equal rows come out as the expected shares at once; a mean that came late would leave the first batch alone."""
    align = aligner("uniform", 0.0)
    value = torch.tensor([[0.8, 0.1, 0.1]] * 5)
    for _ in range(2):
        assert torch.allclose(align(value), torch.full((5, 3), 1 / 3))


def test_alignment_to_the_labeled_samples_moves_towards_them():
    value, given = torch.tensor([[1 / 3, 1 / 3, 1 / 3]]), torch.tensor([[0.5, 0.3, 0.2]])
    assert torch.allclose(aligner("labeled")(value, given), given)
    assert torch.allclose(aligner("uniform")(value, given), value)


def test_a_class_that_is_not_expected_vanishes_and_one_never_predicted_stays_finite():
    align = Align(TASK, target=torch.tensor([0.5, 0.5, 0.0]), decay=0.0)
    made = align(torch.tensor([[0.5, 0.3, 0.2]]))
    assert made[0, 2] < 1e-5
    assert torch.isfinite(aligner("uniform", 0.0)(torch.tensor([[0.7, 0.3, 0.0]]))).all()


def test_floors_hold_where_a_share_is_zero():
    """A class with a mean prediction of 0 is divided by 1e-6, not by 0."""
    align = aligner("uniform", 0.0)
    align(torch.tensor([[0.5, 0.5, 0.0]]))
    align.eval()
    made = align(torch.tensor([[0.5, 0.5 - 1e-6, 1e-6]]))
    factors = np.array([1 / 3 / 0.5, 1 / 3 / 0.5, 1 / 3 / 1e-6])
    scaled = np.array([0.5, 0.5 - 1e-6, 1e-6]) * factors
    assert made[0].tolist() == pytest.approx((scaled / scaled.sum()).tolist(), rel=1e-4)


def test_pixels_are_aligned_like_samples():
    generator = torch.Generator().manual_seed(0)
    pixels, samples = aligner("labeled", 0.5, Segmentation(3)), aligner("labeled", 0.5)
    for _ in range(3):
        value, given = (torch.randn(2, 3, 4, 5, generator=generator).softmax(1) for _ in range(2))
        made = pixels(value, given)
        flat, beside = (t.movedim(1, -1).flatten(0, -2) for t in (value, given))
        assert torch.allclose(made.movedim(1, -1).flatten(0, -2), samples(flat, beside), atol=1e-6)
        assert made.shape == value.shape


# -- state -------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("target", ["uniform", "labeled", "prior"])
def test_evaluation_aligns_and_moves_nothing(target):
    align = aligner(target, 0.5)
    align(torch.tensor(TRACE[0]), torch.tensor(GIVEN[0]))
    before = snapshot(align)
    align.eval()
    value = torch.tensor(TRACE[1])
    first = align(value)  # labeled predictions are not needed to judge
    assert torch.equal(first, align(value, torch.tensor(GIVEN[1])))
    factor = before["expected"] / before["predicted"]
    assert torch.allclose(first, value * factor / (value * factor).sum(1, keepdim=True))
    assert same(align.state_dict(), before)
    align.train()
    align(value, torch.tensor(GIVEN[1]))
    assert not same(align.state_dict(), before)


def test_before_the_first_batch_nothing_is_aligned():
    align = aligner("labeled").eval()
    assert torch.allclose(align(torch.tensor(TRACE[0])), torch.tensor(TRACE[0]))


@pytest.mark.parametrize("target", ["uniform", "labeled", "prior"])
def test_a_stored_memory_continues_bit_for_bit(target):
    align, again = aligner(target, 0.7), aligner(target, 0.7)
    for batch, given in zip(TRACE[:2], GIVEN[:2], strict=True):
        align(torch.tensor(batch), torch.tensor(given))
    file = io.BytesIO()
    torch.save(align.state_dict(), file)
    file.seek(0)
    again.load_state_dict(torch.load(file, weights_only=True))
    last = torch.tensor(TRACE[2]), torch.tensor(GIVEN[2])
    assert torch.equal(align(*last), again(*last))
    assert same(align.state_dict(), again.state_dict())


@pytest.mark.parametrize("target", ["uniform", "labeled"])
def test_an_empty_batch_leaves_no_trace(target):
    align = aligner(target, 0.5)
    align(torch.tensor(TRACE[0]), torch.tensor(GIVEN[0]))
    before = snapshot(align)
    assert align(torch.zeros(0, 3), torch.tensor(GIVEN[1])).shape == (0, 3)
    assert same(align.state_dict(), before)


def test_a_single_sample_is_aligned_to_the_expected_shares():
    assert torch.allclose(aligner("prior")(torch.tensor([[0.2, 0.7, 0.1]])), torch.tensor([PRIOR]))


def test_alignment_has_no_gradient():
    value = torch.randn(4, 3, requires_grad=True).softmax(1)
    align = aligner("labeled")
    assert not align(value, value).requires_grad
    assert not align.predicted.requires_grad
    assert not align.expected.requires_grad


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_predictions_keep_their_precision_and_the_memory_its_own(dtype):
    align = aligner("prior")
    assert align(torch.tensor(TRACE[0], dtype=dtype)).dtype == dtype
    assert {align.predicted.dtype, align.expected.dtype} == {torch.float32}
    assert all(buffer.is_meta for buffer in align.to("meta").buffers())


def test_the_prior_is_a_copy():
    prior = torch.tensor(PRIOR)
    align = Align(TASK, target=prior)
    prior.zero_()
    assert align.expected.tolist() == pytest.approx(PRIOR)


# -- refusals ----------------------------------------------------------------------------------------------------------
def test_only_alignment_to_labeled_samples_reads_them():
    assert [aligner(target).reads_labeled for target in ("uniform", "labeled", "prior")] == [False, True, False]


def test_missing_labeled_predictions_are_named_before_anything_moves():
    align = aligner("labeled")
    before = snapshot(align)
    with pytest.raises(ValueError, match="needs the predictions on them; pass them as `labeled`"):
        align(torch.tensor(TRACE[0]))
    assert same(align.state_dict(), before)


def test_joints_have_no_prior():
    with pytest.raises(ValueError, match="keypoints have no class prior to align to; leave out align"):
        Align(Keypoints(3, (4, 4)))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"decay": 1.0}, r"decay is 1.0; it must be in \[0, 1\)"),
        ({"decay": -0.5}, "decay is -0.5"),
        ({"target": "even"}, "target is 'even'; choose 'uniform', 'labeled', 'pile' or a tensor of class shares"),
        ({"target": torch.tensor([0.5, 0.5])}, r"target is \[0.5, 0.5\]; give 3 shares that sum to 1"),
        ({"target": torch.tensor([0.5, 0.25, 0.5])}, r"target is \[0.5, 0.25, 0.5\]; give 3 shares that sum to 1"),
        ({"target": torch.tensor([1.5, -0.5, 0.0])}, "give 3 shares that sum to 1"),
        ({"target": torch.tensor([float("nan"), 0.5, 0.5])}, "give 3 shares that sum to 1"),
    ],
)
def test_settings_out_of_range_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        Align(TASK, **settings)


@pytest.mark.parametrize("other", ["uniform", "labeled", torch.tensor([0.2, 0.3, 0.5])])
def test_a_run_is_not_resumed_with_another_prior(tmp_path, other):
    """The stored shares would win over the new ones, without a word."""

    def fit(target, **settings):
        task = toy.task("classification")
        align = Align(task, target=target)
        strategy = strategies.FixMatch(task, toy.learner("classification"), align=align)
        st.fit(strategy, toy.pile("classification"), steps=4, out=tmp_path, **settings)

    fit(torch.tensor([0.5, 0.3, 0.2]), stop_after=2)
    with pytest.raises(st.RunFolderError, match="target"):
        fit(other, resume=True)
    fit(torch.tensor([0.5, 0.3, 0.2]), resume=True)
