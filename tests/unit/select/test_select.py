import copy
import io
import math

import pytest
import torch
from helpers import all_tasks, same, snapshot

from selftrain import select
from selftrain.select import ScoredBatch, score
from selftrain.tasks import Classification, Keypoints, Segmentation

CASES = all_tasks()
GROUPS, ROWS = 4, 9
each_task = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def seen(confidence, group=None, *, groups=GROUPS, presence=None, given=None):
    """ScoredBatch of units with these confidences; all are of group 0 unless told."""
    confidence = torch.as_tensor(confidence)
    group = torch.zeros_like(confidence, dtype=torch.long) if group is None else torch.as_tensor(group)
    presence = torch.full((groups,), 1 / groups) if presence is None else torch.as_tensor(presence)
    return ScoredBatch(confidence, group, presence, torch.arange(len(confidence)), given)


def weigh(rule, confidence):
    return rule(seen(confidence))


def predictions(case, batch, seed, sharpness=2.0):
    """Values whose confidences differ, for joints too."""
    generator = torch.Generator().manual_seed(seed)
    raw = torch.randn(batch, case.channels, *case.sites, generator=generator)
    if case.name != "keypoints":
        return (sharpness * raw).softmax(1)
    return raw.sigmoid() * torch.rand(batch, case.channels, 1, 1, generator=generator)


def evidence(case, number, batch=3):
    """The evidence of one of several batches: rows of the unlabeled set in turn, and labeled samples beside it."""
    index = (torch.arange(batch) + 3 * number) % ROWS
    return score(case.task, predictions(case, batch, number), index, predictions(case, 2, 50 + number))


RULES = {
    "everything": lambda case: select.everything(),
    "above": lambda case: select.above(0.55),
    "top": lambda case: select.top(0.5),
    "quantile": lambda case: select.quantile(0.5, decay=0.5),
    "flex": lambda case: select.flex(ROWS, GROUPS, threshold=0.6, warmup=False, units=case.units),
    "free": lambda case: select.free(GROUPS, decay=0.5),
    "free by quantile": lambda case: select.free(GROUPS, decay=0.5, quantile=0.8, limits=(0.1, 0.9)),
    "soft": lambda case: select.soft(GROUPS, decay=0.5),
    "relative": lambda case: select.relative(0.9),
    "class_wise": lambda case: select.class_wise(GROUPS, threshold=0.7, decay=0.5),
}
MOVING = ["quantile", "flex", "free", "free by quantile", "soft", "class_wise"]
each_rule = pytest.mark.parametrize("name", RULES)
each_moving_rule = pytest.mark.parametrize("name", MOVING)


# -- evidence ----------------------------------------------------------------------------------------------------------
@each_task
def test_evidence_is_what_the_task_says_of_a_prediction(case):
    value, given, index = predictions(case, 3, 0), predictions(case, 2, 1), torch.tensor([4, 0, 7])
    found = score(case.task, value, index, given)
    assert torch.equal(found.confidence, case.task.confidence(value))
    assert torch.equal(found.group, case.task.group(value))
    assert torch.equal(found.presence, case.task.presence(value))
    assert torch.equal(found.labeled, case.task.confidence(given))
    assert found.index is index
    assert score(case.task, value, index).labeled is None


def test_the_lowest_entropies_are_not_the_largest_probabilities():
    value = torch.tensor([[0.6, 0.4, 0.0], [0.62, 0.19, 0.19], [0.4, 0.3, 0.3], [0.9, 0.1, 0.0]])
    rule, task = select.top(0.5, by="entropy"), Classification(3)
    entropy = [-sum(p * math.log(p) for p in row if p) for row in value.tolist()]
    found = score(task, value, torch.arange(4), entropy=True)
    assert torch.allclose(found.entropy, torch.tensor(entropy), atol=1e-5)
    assert rule(found).tolist() == [1, 0, 0, 1]  # by confidence rows 1 and 3
    assert select.top(0.5)(found).tolist() == [0, 1, 0, 1]
    assert score(task, value, torch.arange(4)).entropy is None
    with pytest.raises(ValueError, match=r"has no entropies, by which this rule judges; score\(..., entropy=True\)"):
        rule(score(task, value, torch.arange(4)))
    with pytest.raises(ValueError, match="by is 'margin'; choose 'confidence' or 'entropy'"):
        select.top(by="margin")


def test_evidence_has_no_gradient():
    value = torch.randn(3, 4, requires_grad=True).softmax(1)
    found = score(Classification(4), value, torch.arange(3), value)
    assert not any(t.requires_grad for t in (found.confidence, found.presence, found.labeled))


# -- every rule, every task --------------------------------------------------------------------------------------------
@each_task
@each_rule
def test_a_rule_weighs_the_units_of_every_task(case, name):
    rule, weights = RULES[name](case), []
    for number in range(3):
        weights.append(rule(evidence(case, number)))
        assert weights[-1].shape == (3, *case.units)
        assert weights[-1].dtype == torch.float32
    found = torch.stack(weights)
    assert 0 <= found.min() <= found.max() <= 1
    if name == "everything":
        assert bool((found == 1).all())
        return
    assert found.min() < found.max()
    if rule.rejects:
        assert set(found.unique().tolist()) == {0.0, 1.0}


@pytest.mark.parametrize("name", [name for name in RULES if name != "flex"])
def test_a_pixel_is_judged_like_a_sample(name):
    """A rule that knows units only gives a batch of images what it gives the same pixels as one batch of samples."""
    pixels, samples = RULES[name](CASES[1]), RULES[name](CASES[0])
    for number in range(3):
        image, given = predictions(CASES[1], 3, number), predictions(CASES[1], 2, 50 + number)
        flat, beside = (t.movedim(1, -1).flatten(0, -2) for t in (image, given))
        expected = samples(score(Classification(GROUPS), flat, torch.arange(len(flat)), beside))
        assert torch.equal(pixels(score(Segmentation(GROUPS), image, torch.arange(3), given)).flatten(), expected)


def test_flex_remembers_a_pixel_like_a_sample():
    pixels = select.flex(ROWS, GROUPS, threshold=0.6, units=(5, 6))
    samples = select.flex(ROWS * 30, GROUPS, threshold=0.6)
    kept = []
    for number in range(5):
        image, index = predictions(CASES[1], 3, number, sharpness=4.0), (torch.arange(3) + 2 * number) % ROWS
        flat, rows = image.movedim(1, -1).flatten(0, -2), (index[:, None] * 30 + torch.arange(30)).flatten()
        kept.append(samples(score(Classification(GROUPS), flat, rows)))
        assert torch.equal(pixels(score(Segmentation(GROUPS), image, index)).flatten(), kept[-1])
    assert kept[0].all()
    assert not kept[-1].all()


@each_task
@each_moving_rule
def test_evaluation_judges_and_moves_nothing(case, name):
    rule = RULES[name](case)
    rule(evidence(case, 0))
    before = snapshot(rule)
    rule.eval()
    first, again = rule(evidence(case, 1)), rule(evidence(case, 1))
    assert torch.equal(first, again)
    assert same(rule.state_dict(), before)
    rule.train()
    rule(evidence(case, 1))
    assert not same(rule.state_dict(), before)


@pytest.mark.parametrize("name", sorted(set(RULES) - set(MOVING)))
def test_rules_without_a_memory_have_no_state(name):
    rule = RULES[name](CASES[0])
    first = rule(evidence(CASES[0], 0))
    assert not rule.state_dict()
    rule(evidence(CASES[0], 1))
    assert torch.equal(rule(evidence(CASES[0], 0)), first)


@each_task
@each_moving_rule
def test_a_stored_memory_continues_bit_for_bit(case, name):
    rule, again = RULES[name](case), RULES[name](case)
    for number in range(2):
        rule(evidence(case, number))
    file = io.BytesIO()
    torch.save(rule.state_dict(), file)
    file.seek(0)
    again.load_state_dict(torch.load(file, weights_only=True))
    for number in range(2, 5):
        assert torch.equal(rule(evidence(case, number)), again(evidence(case, number)))
        assert same(rule.state_dict(), again.state_dict())


@each_moving_rule
def test_a_copy_has_a_memory_of_its_own(name):
    rule = RULES[name](CASES[0])
    other, before = copy.deepcopy(rule), snapshot(rule)
    other(evidence(CASES[0], 0))
    assert same(rule.state_dict(), before)
    assert not same(other.state_dict(), before)


@each_rule
def test_no_gradient_leaves_a_rule_or_enters_its_memory(name):
    rule, found = RULES[name](CASES[0]), evidence(CASES[0], 0)
    asked = ScoredBatch(
        found.confidence.requires_grad_(), found.group, found.presence.requires_grad_(), found.index, found.labeled
    )
    assert not rule(asked).requires_grad
    assert not any(buffer.requires_grad for buffer in rule.buffers())


@each_task
@each_rule
def test_an_empty_batch_has_no_weights_and_leaves_no_trace(case, name):
    rule = RULES[name](case)
    rule(evidence(case, 0))
    before = snapshot(rule)
    assert rule(evidence(case, 1, batch=0)).shape == (0, *case.units)
    assert same(rule.state_dict(), before)


@each_task
@each_rule
def test_a_batch_of_one_sample_leaves_a_sound_memory(case, name):
    rule = RULES[name](case)
    for number in range(3):
        weight = rule(evidence(case, number, batch=1))
        assert weight.shape == (1, *case.units)
        assert torch.isfinite(weight).all()
    assert all(torch.isfinite(buffer.double()).all() for buffer in rule.buffers())


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@each_rule
def test_weights_have_the_precision_of_the_confidence(name, dtype):
    rule = RULES[name](CASES[0])
    for number in range(2):
        found = evidence(CASES[0], number)
        given = found.labeled.to(dtype)
        weight = rule(
            ScoredBatch(found.confidence.to(dtype), found.group, found.presence.to(dtype), found.index, given)
        )
        assert weight.dtype == dtype
    assert all(buffer.dtype in (torch.float32, torch.int16, torch.long) for buffer in rule.buffers())


@each_moving_rule
def test_a_memory_moves_with_its_module(name):
    """The engine moves a strategy with ``to``: every tensor of the memory goes along."""
    rule = RULES[name](CASES[0]).to("meta")
    assert all(buffer.is_meta for buffer in rule.buffers())
    assert not [key for key, value in vars(rule).items() if isinstance(value, torch.Tensor)]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@each_task
@each_rule
def test_a_rule_works_where_the_data_are(case, name):
    rule, twin = RULES[name](case).cuda(), RULES[name](case)
    for number in range(3):
        found = evidence(case, number)
        there = ScoredBatch(
            *(getattr(found, f).cuda() for f in ("confidence", "group", "presence", "index", "labeled"))
        )
        assert torch.allclose(rule(there).cpu(), twin(found), atol=1e-6)


@pytest.mark.parametrize("name", ["flex", "free", "soft", "class_wise"])
def test_groups_that_are_not_the_tasks_are_named(name):
    rule = RULES[name](CASES[0])
    with pytest.raises(ValueError, match="the task has 6 groups, the rule 4; set groups=task.groups"):
        rule(seen([0.5, 0.6], groups=6))


def test_only_rules_that_throw_nothing_away_say_so():
    assert [name for name in RULES if not RULES[name](CASES[0]).rejects] == ["everything", "soft"]
    assert [name for name in RULES if RULES[name](CASES[0]).reads_labeled] == ["relative"]


def test_the_base_rule_is_no_rule():
    with pytest.raises(NotImplementedError):
        weigh(select.Selector(), [0.5])


# -- the short names ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("rule", "kind", "settings"),
    [
        (select.above(0.3), select.Above, {"threshold": 0.3}),
        (select.above(), select.Above, {"threshold": 0.95}),
        (select.top(0.2), select.TopShare, {"share": 0.2}),
        (select.top(0.2, by="entropy"), select.TopShare, {"share": 0.2, "by": "entropy"}),
        (
            select.image_share(0.4, border=(0.1, 0.2)),
            select.ImageShare,
            {"threshold": 0.4, "border": (0.1, 0.2)},
        ),
        (select.quantile(0.2, decay=0.7), select.Quantile, {"share": 0.2, "decay": 0.7}),
        (
            select.flex(7, 3, threshold=0.8, warmup=False, mapping="linear"),
            select.Flex,
            {"groups": 3, "threshold": 0.8, "warmup": False, "mapping": "linear"},
        ),
        (
            select.free(3, decay=0.9, quantile=0.8, limits=(0.1, 0.9)),
            select.Free,
            {"decay": 0.9, "quantile": 0.8, "lowest": 0.1, "highest": 0.9},
        ),
        (select.soft(3, decay=0.9, sigmas=3.0), select.Soft, {"decay": 0.9, "sigmas": 3.0}),
        (select.relative(0.8), select.Relative, {"threshold": 0.8}),
        (select.class_wise(3, threshold=0.7, decay=0.8), select.ClassWise, {"threshold": 0.7, "decay": 0.8}),
    ],
)
def test_short_names_pass_their_settings_on(rule, kind, settings):
    assert type(rule) is kind
    assert {name: getattr(rule, name) for name in settings} == settings


# -- everything, above -------------------------------------------------------------------------------------------------
def test_everything_passes():
    assert torch.equal(weigh(select.everything(), torch.rand(2, 3, 4)), torch.ones(2, 3, 4))


def test_the_share_of_sure_units_is_the_weight_of_all():
    confidence = torch.tensor([[[0.9, 0.5], [0.8, 0.1]], [[0.2, 0.3], [0.1, 0.85]]])
    assert weigh(select.image_share(0.8), confidence).tolist() == [[[0.5, 0.5]] * 2, [[0.25, 0.25]] * 2]
    assert weigh(select.image_share(0.8), [0.9, 0.8, 0.7]).tolist() == [1, 1, 0]
    with pytest.raises(ValueError, match="threshold is 95"):
        select.image_share(95)


def test_rows_at_the_border_weigh_nothing_and_count_for_the_share():
    confidence = torch.full((2, 10, 3), 0.9)
    confidence[1, 0] = 0.5
    found = weigh(select.image_share(0.8, border=(0.1, 0.3)), confidence)
    expected = torch.zeros(2, 10, 3)
    expected[0, 1:7], expected[1, 1:7] = 1, 0.9
    assert torch.allclose(found, expected)
    assert torch.equal(
        weigh(select.image_share(0.8, border=(0.0, 0.3)), confidence) > 0,
        found.new_ones(2, 10, 3) * (torch.arange(10)[:, None] < 7) > 0,
    )
    with pytest.raises(
        ValueError, match=r"units of shape \(3,\) have no rows and columns as pixels have; leave it out"
    ):
        weigh(select.image_share(0.8, border=(0.1, 0.3)), torch.rand(2, 3))


def test_the_threshold_itself_passes():
    rule = select.above(0.95)
    just_below = torch.nextafter(torch.tensor(0.95), torch.tensor(0.0))
    assert weigh(rule, torch.stack([torch.tensor(0.95), just_below, torch.tensor(0.96)])).tolist() == [1, 0, 1]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_threshold_passes_in_every_precision(dtype):
    assert weigh(select.above(0.7), torch.tensor([0.7], dtype=dtype)).tolist() == [1]


def test_a_threshold_above_one_lets_nothing_pass():
    assert weigh(select.above(1.01), [1.0, 0.5]).tolist() == [0, 0]


def test_a_threshold_of_zero_lets_all_pass():
    assert weigh(select.above(0.0), [0.0, 1.0]).tolist() == [1, 1]


def test_weights_keep_the_shape_of_the_units():
    confidence = torch.rand(2, 5, 6)
    assert torch.equal(weigh(select.above(0.5), confidence), (confidence >= 0.5).float())


# -- a share of the batch ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("share", "kept"), [(0.25, [0, 0, 1, 0]), (0.5, [0, 1, 1, 0]), (1.0, [1, 1, 1, 1]), (0.01, [0, 0, 1, 0])]
)
def test_the_top_share_is_counted_in_units(share, kept):
    assert weigh(select.top(share), [0.1, 0.8, 0.9, 0.3]).tolist() == kept


def test_ties_at_the_border_all_pass():
    assert weigh(select.top(0.25), [0.5, 0.9, 0.9, 0.1]).tolist() == [0, 1, 1, 0]


def test_the_top_share_is_taken_over_all_units_of_the_batch():
    confidence = torch.tensor([[[0.9, 0.8], [0.7, 0.6]], [[0.1, 0.2], [0.3, 0.4]]])
    assert weigh(select.top(0.5), confidence).tolist() == [[[1, 1], [1, 1]], [[0, 0], [0, 0]]]


# -- a moving quantile -------------------------------------------------------------------------------------------------
def test_the_quantile_follows_the_trace_by_hand():
    """Half of four units: the border is the second largest. It enters with 1, then 1/2, then 1 - 0.6 = 0.4."""
    rule = select.quantile(0.5, decay=0.6)
    assert weigh(rule, [0.2, 0.8, 0.4, 0.6]).tolist() == [0, 1, 0, 1]
    assert rule.threshold.item() == pytest.approx(0.6)
    assert weigh(rule, [0.9, 0.65, 0.8, 0.1]).tolist() == [1, 0, 1, 0]
    assert rule.threshold.item() == pytest.approx(0.5 * 0.6 + 0.5 * 0.8)  # 0.7
    assert weigh(rule, [0.3, 0.2, 0.55, 0.1]).tolist() == [0, 0, 1, 0]
    assert rule.threshold.item() == pytest.approx(0.6 * 0.7 + 0.4 * 0.3)  # 0.54


def test_a_quantile_without_decay_is_the_top_share():
    quantile, top = select.quantile(0.3, decay=0.0), select.top(0.3)
    for seed in range(3):
        confidence = torch.rand(10, generator=torch.Generator().manual_seed(seed))
        assert torch.equal(weigh(quantile, confidence), weigh(top, confidence))


@pytest.mark.parametrize("share", [0.2, 0.7])
def test_a_quantile_keeps_its_share_of_all_units_and_not_of_each_batch(share):
    generator, rule = torch.Generator().manual_seed(0), select.quantile(share, decay=0.95)
    kept = torch.stack([weigh(rule, torch.rand(20, generator=generator)).mean() for _ in range(400)])[100:]
    assert kept.mean().item() == pytest.approx(share, abs=0.04)
    assert kept.std() > 0.05
    top = select.top(share)
    assert torch.stack([weigh(top, torch.rand(20, generator=generator)).mean() for _ in range(9)]).std() < 1e-6


def test_the_quantile_itself_passes():
    assert weigh(select.quantile(0.5, decay=0.0), [0.75, 0.75, 0.5, 0.25]).tolist() == [1, 1, 0, 0]


# -- refusals ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: select.above(-0.1), "threshold is -0.1; it must be 0 or more"),
        (lambda: select.above(float("nan")), "threshold is nan; it must be 0 or more"),
        (lambda: select.top(0.0), r"share is 0.0; it must be in \(0, 1\]"),
        (lambda: select.top(1.1), "share is 1.1"),
        (lambda: select.quantile(0.0), r"share is 0.0; it must be in \(0, 1\]"),
        (lambda: select.quantile(0.5, decay=1.0), r"decay is 1.0; it must be in \[0, 1\)"),
        (lambda: select.flex(0, 3), "unlabeled is 0; it must be at least 1"),
        (lambda: select.flex(3, 0), "groups is 0; it must be at least 1"),
        (lambda: select.flex(3, 3, threshold=0.0), r"threshold is 0.0; it must be in \(0, 1\]"),
        (lambda: select.flex(3, 3, threshold=1.1), "threshold is 1.1"),
        (lambda: select.flex(3, 3, mapping="cubic"), "mapping is 'cubic'; choose one of convex, linear, concave"),
        (lambda: select.free(0), "groups is 0"),
        (lambda: select.free(3, decay=-0.1), r"decay is -0.1; it must be in \[0, 1\)"),
        (lambda: select.free(3, quantile=1.0), r"quantile is 1.0; it must be in \(0, 1\), or None for the mean"),
        (lambda: select.free(3, limits=(0.9, 0.1)), r"limits are \(0.9, 0.1\); give the lowest and the highest"),
        (lambda: select.free(3, limits=(-0.1, 0.1)), r"limits are \(-0.1, 0.1\)"),
        (lambda: select.soft(3, sigmas=0), "sigmas is 0; it must be above 0"),
        (lambda: select.soft(3, sigmas=float("nan")), "sigmas is nan; it must be above 0"),
        (lambda: select.soft(3, decay=2), "decay is 2"),
        (lambda: select.soft(0), "groups is 0"),
        (lambda: select.relative(0.0), r"threshold is 0.0; it must be in \(0, 1\]"),
        (lambda: select.class_wise(0), "groups is 0"),
        (lambda: select.class_wise(3, threshold=2), "threshold is 2"),
        (lambda: select.class_wise(3, decay=1), "decay is 1"),
    ],
)
def test_settings_out_of_range_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_joints_have_thresholds_of_their_own():
    """A joint is its own group, however faint its peak."""
    task = Keypoints(2, (4, 4))
    value = torch.zeros(3, 2, 4, 4)
    value[:, 0, 1, 1], value[:, 1, 2, 2] = 0.9, 0.3
    rule = select.free(2, decay=0.0)  # level 0.6, joint 1 needs 0.6 * 0.3 / 0.9 = 0.2
    assert rule(score(task, value, torch.arange(3))).tolist() == [[1, 1]] * 3
    assert weigh(select.above(0.6), task.confidence(value)).tolist() == [[1, 0]] * 3
