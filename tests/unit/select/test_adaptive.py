"""Golden traces: three batches through each rule with a memory, against numbers worked out apart from the library."""

import math

import numpy as np
import pytest
import torch
from helpers import all_tasks

from selftrain import select
from selftrain.select import ScoredBatch, score
from selftrain.tasks import Classification, Keypoints, Segmentation

CASES = all_tasks()
each_task = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)

# three batches of four predictions over three classes
TRACE = [
    [[0.90, 0.06, 0.04], [0.10, 0.70, 0.20], [0.25, 0.30, 0.45], [0.60, 0.30, 0.10]],
    [[0.20, 0.50, 0.30], [0.85, 0.10, 0.05], [0.40, 0.35, 0.25], [0.08, 0.12, 0.80]],
    [[0.34, 0.33, 0.33], [0.05, 0.90, 0.05], [0.70, 0.20, 0.10], [0.15, 0.25, 0.60]],
]


def judged(rule, value, index=None, given=None):
    """Weights of a batch of class probabilities, as a list."""
    value = torch.as_tensor(value)
    index = torch.arange(len(value)) if index is None else torch.as_tensor(index)
    given = None if given is None else torch.as_tensor(given)
    return rule(score(Classification(value.shape[1]), value, index, given)).tolist()


def sure(confidence, group, index=None, groups=3):
    """ScoredBatch of bare numbers: confidence and group of each unit."""
    confidence, group = torch.tensor(confidence), torch.tensor(group)
    index = torch.arange(len(confidence)) if index is None else torch.tensor(index)
    return ScoredBatch(confidence, group, torch.full((groups,), 1 / groups), index)


def levels(rule, groups=3, units=()):
    """The threshold of each group, found from outside by halving: the least confidence that passes."""
    was, found = rule.training, []
    rule.eval()
    for group in range(groups):
        low, high = 0.0, 2.0
        for _ in range(30):
            middle = (low + high) / 2
            evidence = sure(np.full((1, *units), middle).tolist(), np.full((1, *units), group).tolist(), groups=groups)
            low, high = (low, middle) if bool(rule(evidence).all()) else (middle, high)
        found.append(high)
    rule.train(was)
    return found


def close(numbers):
    return pytest.approx(numbers, abs=1e-6)


# -- Flex --------------------------------------------------------------------------------------------------------------
# six samples, threshold 0.8; three batches of (rows, confidence, class)
STEPS = [
    ([0, 1, 2, 3], [0.90, 0.85, 0.50, 0.95], [0, 0, 1, 1]),
    ([2, 3, 4, 5], [0.45, 0.82, 0.15, 0.05], [0, 2, 1, 2]),
    ([0, 1, 2, 5], [0.30, 0.99, 0.80, 0.14], [0, 1, 2, 2]),
]


def test_flex_follows_the_trace_by_hand():
    """With warm-up and the convex map; beta = count / max(largest count, unused), M = beta / (2 - beta)."""
    rule = select.flex(6, 3, threshold=0.8)
    kept = []
    assert levels(rule) == close([0, 0, 0])
    # nothing is known: all pass. Known afterwards: rows 0 and 1 of class 0, row 3 of class 1; unused: 3
    kept.append(rule(sure(STEPS[0][1], STEPS[0][2], STEPS[0][0])).tolist())
    assert rule.progress().tolist() == pytest.approx([2 / 3, 1 / 3, 0])
    assert levels(rule) == close([0.8 * 1 / 2, 0.8 * 1 / 5, 0])
    # levels 0.4, 0.16, 0. Row 3 moves to class 2, no other is sure: counts 2, 0, 1; unused 3
    kept.append(rule(sure(STEPS[1][1], STEPS[1][2], STEPS[1][0])).tolist())
    assert levels(rule) == close([0.4, 0, 0.8 * 1 / 5])
    # levels 0.4, 0, 0.16. Row 0 stays of class 0, row 1 moves to 1, row 2 (exactly sure) is of 2: counts 1, 1, 2
    kept.append(rule(sure(STEPS[2][1], STEPS[2][2], STEPS[2][0])).tolist())
    assert levels(rule) == close([0.8 * 1 / 3, 0.8 * 1 / 3, 0.8])
    assert kept == [[1, 1, 1, 1], [1, 1, 0, 1], [0, 1, 1, 0]]


MAPS = {"convex": lambda b: b / (2 - b), "linear": lambda b: b, "concave": lambda b: math.log(b + 1) / math.log(2)}


def flex_by_hand(steps, unlabeled, groups, threshold, warmup, mapping):
    """Weights of each batch and the thresholds after it, in plain Python."""
    memory, out = {}, []
    for rows, confidences, labels in steps:
        counts = [list(memory.values()).count(group) for group in range(groups)]
        rival = max(counts + [unlabeled - len(memory)]) if warmup else max(counts)
        bars = [threshold * MAPS[mapping](c / rival) if rival and memory else 0 for c in counts]
        out.append([float(c >= bars[k]) for c, k in zip(confidences, labels, strict=True)])
        for row, confidence, label in zip(rows, confidences, labels, strict=True):
            if confidence >= threshold:
                memory[row] = label
    return out


@pytest.mark.parametrize("mapping", MAPS)
@pytest.mark.parametrize("warmup", [True, False])
def test_flex_by_loops(warmup, mapping):
    """A long trace of random evidence, for every map and both denominators."""
    generator, steps = np.random.default_rng(3), []
    for _ in range(12):
        rows = generator.permutation(30)[:8].tolist()
        labels = generator.choice(3, 8, p=[0.6, 0.3, 0.1]).tolist()
        steps.append((rows, generator.uniform(0.0, 1, 8).round(3).tolist(), labels))
    rule = select.flex(30, 3, threshold=0.7, warmup=warmup, mapping=mapping)
    found = [rule(sure(confidence, label, rows)).tolist() for rows, confidence, label in steps]
    assert found == flex_by_hand(steps, 30, 3, 0.7, warmup, mapping)


@pytest.mark.parametrize(
    ("warmup", "mapping", "bars"),
    [
        (True, "convex", [0.4, 0.16, 0]),
        (True, "linear", [0.8 * 2 / 3, 0.8 / 3, 0]),
        (True, "concave", [0.8 * 0.7369656, 0.8 * 0.4150375, 0]),  # log2(5/3), log2(4/3)
        (False, "convex", [0.8, 0.8 / 3, 0]),
        (False, "linear", [0.8, 0.4, 0]),
        (False, "concave", [0.8, 0.8 * 0.5849625, 0]),  # log2(3/2)
    ],
)
def test_warmup_and_mapping_set_the_thresholds(warmup, mapping, bars):
    """After the first batch the counts are 2, 1, 0 and three samples are unused."""
    rule = select.flex(6, 3, threshold=0.8, warmup=warmup, mapping=mapping)
    rows, confidence, label = STEPS[0]
    rule(sure(confidence, label, rows))
    assert levels(rule) == close(bars)


def test_all_pass_while_nothing_is_known():
    rule = select.flex(6, 3, threshold=0.8)
    for _ in range(3):
        assert rule(sure([0.1, 0.79, 0.4], [0, 1, 2])).tolist() == [1, 1, 1]
    assert bool((rule.known == -1).all())


def test_a_batch_is_judged_before_it_is_counted():
    rule = select.flex(2, 2, threshold=0.8)
    everything_of_one_class = sure([0.9, 0.9], [0, 0], groups=2)
    assert rule(everything_of_one_class).tolist() == [1, 1]
    unsure = sure([0.5, 0.5], [0, 1], groups=2)
    assert rule(unsure).tolist() == [0, 1]  # class 0 is learned, class 1 is not


def test_a_row_remembers_the_last_group_it_was_sure_of():
    rule = select.flex(3, 3, threshold=0.8)
    rule(sure([0.9, 0.9], [0, 1], [0, 2]))
    assert rule.known.tolist() == [0, -1, 1]
    rule(sure([0.7, 0.7], [2, 2], [0, 1]))
    assert rule.known.tolist() == [0, -1, 1]
    rule(sure([0.8, 0.7], [2, 2], [0, 1]))
    assert rule.known.tolist() == [2, -1, 1]


def test_a_row_that_a_batch_holds_twice_keeps_what_it_was_sure_of():
    """The last batch of a small pile is filled up with rows that it holds already."""
    rule = select.flex(3, 3, threshold=0.8)
    rule(sure([0.9, 0.6, 0.6, 0.9], [2, 0, 1, 1], [0, 0, 2, 2]))
    assert rule.known.tolist() == [2, -1, 1]
    assert rule.progress().tolist() == [0, 1, 1]


def test_counts_stay_those_of_the_memory():
    """The counts follow each batch; counted anew they are the same, for pixels too."""
    generator = torch.Generator().manual_seed(0)
    rule = select.flex(5, 4, threshold=0.5, units=(3, 2))
    for step in range(20):
        index = torch.randint(5, (4,), generator=generator)
        confidence = torch.rand(4, 3, 2, generator=generator)
        group = torch.randint(4, (4, 3, 2), generator=generator)
        rule(ScoredBatch(confidence, group, torch.full((4,), 0.25), index))
        counts = [int((rule.known == g).sum()) for g in range(4)]
        unused = int((rule.known == -1).sum())
        assert rule.progress().tolist() == pytest.approx([c / max(*counts, unused) for c in counts]), step
    assert unused == 0


def test_a_learned_group_asks_for_the_threshold_and_no_more():
    """At full progress the threshold itself passes and is remembered, in every precision."""
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        for threshold in (0.7, 0.8, 0.9, 0.95):
            rule = select.flex(1, 2, threshold=threshold)
            for _ in range(2):
                there = torch.tensor([threshold], dtype=dtype)
                kept = rule(ScoredBatch(there, torch.zeros(1, dtype=torch.long), torch.ones(2), torch.arange(1)))
                assert kept.tolist() == [1], (dtype, threshold)
            assert rule.known.tolist() == [0]
            assert rule(sure([threshold - 0.01], [0], groups=2)).tolist() == [0]


def test_many_classes_fit_into_the_memory():
    rule = select.flex(2, 40_000, threshold=0.5)
    rule(sure([0.9], [39_999], [1], groups=40_000))
    assert rule.known.tolist() == [-1, 39_999]


def test_pixels_have_a_memory_of_their_own():
    task = Segmentation(2)
    rule = select.flex(3, 2, threshold=0.8, units=(1, 2))
    first = torch.tensor([[[[0.9, 0.3]], [[0.1, 0.7]]]])  # left pixel sure of 0, right one of 1 by 0.7
    assert rule(score(task, first, torch.tensor([1]))).tolist() == [[[1, 1]]]
    assert rule.known.tolist() == [[[-1, -1]], [[0, -1]], [[-1, -1]]]
    assert rule.progress().tolist() == pytest.approx([1 / 5, 0])  # one pixel known, five not


def test_joints_have_a_memory_of_their_own():
    task = Keypoints(3, (4, 4))
    rule = select.flex(4, 3, threshold=0.6, units=(3,), warmup=False)
    value = torch.zeros(2, 3, 4, 4)
    value[0, 0, 1, 1], value[0, 1, 1, 1], value[1, 0, 2, 2] = 0.9, 0.5, 0.7
    assert rule(score(task, value, torch.tensor([3, 0]))).tolist() == [[1] * 3] * 2
    assert rule.known.tolist() == [[0, -1, -1], [-1] * 3, [-1] * 3, [0, -1, -1]]
    assert rule.progress().tolist() == [1, 0, 0]
    assert rule(score(task, 0.5 * value, torch.tensor([3, 0]))).tolist() == [[0, 1, 1], [0, 1, 1]]


@pytest.mark.parametrize("row", [6, -1, 99])
def test_rows_outside_the_memory_are_named(row):
    rule = select.flex(6, 3)
    with pytest.raises(ValueError, match=rf"row {row} is outside 6; set unlabeled=len\(pile.unlabeled\)"):
        rule(sure([0.9, 0.9], [0, 1], [0, row]))
    assert bool((rule.known == -1).all())


def test_units_that_are_not_the_samples_are_named():
    value = torch.rand(1, 3, 2, 2).softmax(1)
    with pytest.raises(ValueError, match=r"a sample has units \(2, 2\), the rule \(\)"):
        select.flex(6, 3)(score(Segmentation(3), value, torch.arange(1)))


# -- Free --------------------------------------------------------------------------------------------------------------
def free_by_hand(batches, decay, quantile=None, limits=(0.0, math.inf)):
    """FreeMatch, eq. 5, 7 and 8 in numpy: state and weights after each batch."""
    tau, p, h, out = 1 / 3, np.full(3, 1 / 3), np.full(3, 1 / 3), []
    for batch in batches:
        value = np.asarray(batch)
        confidence, label = value.max(1), value.argmax(1)
        level = confidence.mean() if quantile is None else np.quantile(confidence, quantile)
        tau = decay * tau + (1 - decay) * level
        p = decay * p + (1 - decay) * value.mean(0)
        h = decay * h + (1 - decay) * np.bincount(label, minlength=3) / len(label)
        bars = np.clip(tau, *limits) * p / p.max()
        out.append((tau, p, h, (confidence >= bars[label]).astype(float).tolist()))
    return out


@pytest.mark.parametrize("quantile", [None, 0.8, 0.3])
@pytest.mark.parametrize("decay", [0.0, 0.5, 0.999])
def test_free_follows_the_equations(decay, quantile):
    rule = select.free(3, decay=decay, quantile=quantile)
    for batch, (tau, p, h, kept) in zip(TRACE, free_by_hand(TRACE, decay, quantile), strict=True):
        assert judged(rule, batch) == kept
        assert rule.level.item() == pytest.approx(tau, rel=1e-5)
        assert rule.presence.tolist() == pytest.approx(p.tolist(), rel=1e-5)
        assert rule.histogram.tolist() == pytest.approx(h.tolist(), rel=1e-5)
        assert levels(rule) == close((tau * p / p.max()).tolist())


def test_free_follows_the_trace_by_hand():
    """Decay 1/2. Confidences of the first batch: 0.9, 0.7, 0.45, 0.6, mean 0.6625; classes 0, 1, 2, 0."""
    rule = select.free(3, decay=0.5)
    kept = judged(rule, TRACE[0])
    assert rule.level.item() == pytest.approx((1 / 3 + 0.6625) / 2)  # 0.497917
    # mean probabilities 0.4625, 0.34, 0.1975: shares 1, 0.846073, 0.667016 of the level
    assert rule.presence.tolist() == pytest.approx([(1 / 3 + m) / 2 for m in (0.4625, 0.34, 0.1975)])
    assert rule.histogram.tolist() == pytest.approx([(1 / 3 + m) / 2 for m in (0.5, 0.25, 0.25)])
    assert levels(rule) == close([0.4979167, 0.4212740, 0.3321182])
    assert kept == [1, 1, 1, 1]
    assert judged(rule, TRACE[1]) == [1, 1, 0, 1]  # 0.40 misses the level of class 0
    assert rule.level.item() == pytest.approx((0.4979167 + 0.6375) / 2)


def test_free_takes_a_batch_in_before_it_judges():
    """Judged with the memory as it was (1/3), 0.4 would pass; the batch lifts the level first."""
    assert judged(select.free(3, decay=0.5), [[0.4, 0.3, 0.3], [1.0, 0.0, 0.0]]) == [0, 1]  # level (1/3 + 0.7) / 2


def test_limits_hold_the_level_and_leave_its_memory():
    for limits in [(0.0, 0.4), (0.7, 0.9), (0.3, 0.95)]:
        rule = select.free(3, decay=0.5, limits=limits)
        for batch, (tau, _, _, kept) in zip(TRACE, free_by_hand(TRACE, 0.5, limits=limits), strict=True):
            assert judged(rule, batch) == kept
            assert rule.level.item() == pytest.approx(tau, rel=1e-5)
            assert max(levels(rule)) == pytest.approx(min(max(tau, limits[0]), limits[1]), abs=1e-6)


def test_the_level_itself_passes():
    assert judged(select.free(2, decay=0.0), [[0.75, 0.25], [0.75, 0.25]]) == [1, 1]
    assert judged(select.class_wise(2, threshold=0.75, decay=0.0), [[0.75, 0.25]] * 2) == [1, 1]
    assert judged(select.relative(0.5), [[0.625, 0.375], [0.375, 0.625]], given=[[1.25, 0.0]]) == [1, 1]


# -- Soft --------------------------------------------------------------------------------------------------------------
def soft_by_hand(batches, decay, sigmas):
    """SoftMatch, eq. 6 to 8 in plain Python: mean, unbiased variance and weights after each batch."""
    mean, variance, out = 1 / 3, 1.0, []
    for batch in batches:
        confidence = [max(row) for row in batch]
        middle = sum(confidence) / len(confidence)
        spread = sum((c - middle) ** 2 for c in confidence) / (len(confidence) - 1)
        mean, variance = decay * mean + (1 - decay) * middle, decay * variance + (1 - decay) * spread
        short = [min(c - mean, 0) for c in confidence]
        out.append((mean, variance, [math.exp(-(s**2) / (2 * variance / sigmas**2)) for s in short]))
    return out


@pytest.mark.parametrize("sigmas", [1.0, 2.0, 3.0])
@pytest.mark.parametrize("decay", [0.0, 0.5, 0.999])
def test_soft_follows_the_equations(decay, sigmas):
    rule = select.soft(3, decay=decay, sigmas=sigmas)
    for batch, (mean, variance, weights) in zip(TRACE, soft_by_hand(TRACE, decay, sigmas), strict=True):
        assert judged(rule, batch) == pytest.approx(weights, rel=1e-4)
        assert rule.mean.item() == pytest.approx(mean, rel=1e-5)
        assert rule.variance.item() == pytest.approx(variance, rel=1e-5)


def test_soft_follows_the_trace_by_hand():
    """Decay 0: confidences 0.9, 0.7, 0.45, 0.6 have the mean 0.6625 and the unbiased variance 0.0356250."""
    rule = select.soft(3, decay=0.0)
    weights = judged(rule, TRACE[0])
    assert rule.mean.item() == pytest.approx(0.6625)
    assert rule.variance.item() == pytest.approx(0.035625)
    # exp(-0.2125^2 / (2 * 0.035625 / 4)) = exp(-2.535088), exp(-0.0625^2 / 0.0178125) = exp(-0.219298)
    assert weights == pytest.approx([1, 1, 0.0792547, 0.8030824], rel=1e-4)


def test_soft_weighs_1_above_the_mean():
    rule = select.soft(3, decay=0.0)
    weights = torch.tensor(judged(rule, TRACE[1]))
    confidence = torch.tensor(TRACE[1]).amax(1)
    above = confidence > rule.mean
    assert above.sum() == 2
    assert torch.equal(weights[above], torch.ones(2))
    assert bool((weights[~above] < 1).all())
    assert bool((weights > 0).all())


def test_a_single_unit_has_no_variance_and_is_not_taken_in():
    rule = select.soft(3, decay=0.5)
    assert judged(rule, [[0.6, 0.3, 0.1]]) == [1]
    assert (rule.mean.item(), rule.variance.item()) == (pytest.approx(1 / 3), 1)


def test_confidences_without_spread_weigh_1():
    rule = select.soft(2, decay=0.0)
    assert judged(rule, [[0.75, 0.25]] * 4) == [1, 1, 1, 1]
    rule.eval()
    assert judged(rule, [[0.7, 0.3]]) == [0]


# -- Relative ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("threshold", "kept"), [(0.9, [1, 1, 0, 0]), (0.75, [1, 1, 0, 1]), (1.0, [1, 0, 0, 0])])
def test_relative_follows_the_trace_by_hand(threshold, kept):
    """Mean confidence of the labeled samples: (0.9 + 0.56 + 0.82) / 3 = 0.76; times 0.9 is 0.684."""
    given = [[0.9, 0.1, 0.0], [0.24, 0.2, 0.56], [0.1, 0.82, 0.08]]
    assert judged(select.relative(threshold), TRACE[0], given=given) == kept


def test_relative_has_no_memory():
    rule = select.relative(0.9)
    high, low = [[1.0, 0.0, 0.0]], [[0.4, 0.3, 0.3]]
    assert judged(rule, TRACE[0], given=high) == [1, 0, 0, 0]
    assert judged(rule, TRACE[0], given=low) == [1, 1, 1, 1]
    assert judged(rule, TRACE[0], given=high) == [1, 0, 0, 0]


def test_relative_needs_labeled_predictions():
    with pytest.raises(ValueError, match="needs the confidence of the labeled batch; pass it as `labeled`"):
        judged(select.relative(), TRACE[0])


# -- ClassWise ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("decay", [0.0, 0.5, 0.9])
def test_class_wise_follows_the_equations(decay):
    rule, status = select.class_wise(3, threshold=0.8, decay=decay), np.full(3, 1 / 3)
    for batch in TRACE:
        value = np.asarray(batch)
        status = decay * status + (1 - decay) * value.mean(0)
        bars = 0.8 * status / status.max()
        assert judged(rule, batch) == (value.max(1) >= bars[value.argmax(1)]).astype(float).tolist()
        assert rule.status.tolist() == pytest.approx(status.tolist(), rel=1e-5)
        assert levels(rule) == close(bars.tolist())


def test_class_wise_follows_the_trace_by_hand():
    """Decay 0: mean probabilities 0.4625, 0.34, 0.1975, so the levels are 0.8, 0.588108, 0.341622."""
    rule = select.class_wise(3, threshold=0.8, decay=0.0)
    assert judged(rule, TRACE[0]) == [1, 1, 1, 0]
    assert levels(rule) == close([0.8, 0.8 * 0.34 / 0.4625, 0.8 * 0.1975 / 0.4625])
    assert judged(rule, TRACE[1]) == [0, 1, 0, 1]  # means 0.3825, 0.2675, 0.35: 0.8, 0.559477, 0.732026


# -- both kinds of group -----------------------------------------------------------------------------------------------
@each_task
def test_thresholds_of_groups_follow_their_presence(case):
    """Whatever the groups are: the present one has the highest threshold, in the ratio of the presences."""
    generator = torch.Generator().manual_seed(0)
    value = case.task.probs(torch.randn(5, 4, *case.sites, generator=generator)) * 0.9
    presence = case.task.presence(value)
    for rule, top in [(select.free(4, decay=0.0), None), (select.class_wise(4, threshold=0.6, decay=0.0), 0.6)]:
        rule(score(case.task, value, torch.arange(5)))
        highest = case.task.confidence(value).mean().item() if top is None else top
        assert levels(rule, 4) == close((highest * presence / presence.max()).tolist())
