import pytest
import torch
from helpers import all_tasks, values

from selftrain.mix import (
    ClassMix,
    CutMix,
    CutMixSeg,
    JointOcclusion,
    KeypointMix,
    LabelInjection,
    Mix,
    Mixup,
    SourceClassMix,
    blend,
    cat,
    classmix,
    cutmix,
    cutmix_seg,
    joint_occlusion,
    keypoint_mix,
    label_injection,
    mixup,
    source_classmix,
)
from selftrain.tasks import Classification, Keypoints, Segmentation
from selftrain.types import Labeled, Target

CASES = all_tasks()
each_task = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
with_sites = pytest.mark.parametrize("case", CASES[1:], ids=lambda case: case.name)


def target_of(case, batch=6, *, seed=0, valid=True):
    generator = torch.Generator().manual_seed(100 + seed)
    units = (batch, *case.units)
    weight = torch.rand(units, generator=generator) * (torch.rand(units, generator=generator) > 0.2)
    exists = torch.rand(units, generator=generator) > 0.3 if valid else None
    return Target(values(case, batch, seed=seed), weight, exists)


def unit_loss(case, logits, value):
    """A loss that is linear in its target, a number a unit, in plain torch."""
    product = -(value * logits)
    return product.sum((2, 3)) if case.name == "keypoints" else product.sum(1)


def total(case, logits, target):
    valid = 1.0 if target.valid is None else target.valid.float()
    return unit_loss(case, logits, target.value) * target.weight * valid


# -- joining -----------------------------------------------------------------------------------------------------------
@each_task
def test_joining_keeps_values_weights_and_validity(case):
    first, second = target_of(case, 2), target_of(case, 3, seed=1, valid=False)
    joined = cat(first, second)
    assert torch.equal(joined.value, torch.cat([first.value, second.value]))
    assert torch.equal(joined.weight, torch.cat([first.weight, second.weight]))
    assert torch.equal(joined.valid[:2], first.valid)
    assert joined.valid[2:].all()
    assert cat(second, second).valid is None


# -- mixup -------------------------------------------------------------------------------------------------------------
@each_task
@pytest.mark.parametrize("valid", [True, False])
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_a_linear_loss_of_a_blend_is_the_blend_of_the_losses(case, valid, share):
    first, second = target_of(case, valid=valid), target_of(case, seed=1, valid=valid)
    logits = torch.randn(6, 4, *case.sites)
    mixed = total(case, logits, blend(first, second, share, case.task))
    expected = share * total(case, logits, first) + (1 - share) * total(case, logits, second)
    assert torch.allclose(mixed, expected, atol=1e-5)


@each_task
def test_a_unit_of_a_blend_exists_where_either_does(case):
    first, second = target_of(case), target_of(case, seed=1)
    assert torch.equal(blend(first, second, 0.5, case.task).valid, first.valid | second.valid)
    none = Target(second.value, second.weight)
    assert blend(none, none, 0.5, case.task).valid is None
    assert blend(first, none, 0.5, case.task).valid.all()


def test_a_blend_of_units_without_weight_is_still_a_distribution():
    target = Target(torch.tensor([[0.2, 0.8]]), torch.zeros(1))
    other = Target(torch.tensor([[0.6, 0.4]]), torch.zeros(1))
    mixed = blend(target, other, 0.25, Classification(2))
    assert mixed.weight.tolist() == [0]
    assert torch.allclose(mixed.value, torch.tensor([[0.5, 0.5]]))


@each_task
def test_mixup_mixes_inputs_and_targets_by_one_share(case):
    """With distinct scalars as inputs, share and partner of every sample can be read off the mixed input."""
    target = target_of(case)
    x = torch.tensor([1.0, 10.0, 100.0, 1e3, 1e4, 1e5]).double()
    torch.manual_seed(1)
    mixed, made = mixup(x, target, case.task, alpha=1.0)
    torch.manual_seed(1)
    share = float(torch.distributions.Beta(1.0, 1.0).sample())
    partner = torch.randperm(6)
    assert torch.allclose(mixed, share * x + (1 - share) * x[partner])
    picked = Target(target.value[partner], target.weight[partner], target.valid[partner])
    expected = blend(target, picked, share, case.task)
    assert torch.equal(made.value, expected.value)
    assert torch.equal(made.weight, expected.weight)
    assert torch.equal(made.valid, expected.valid)


def test_the_task_loss_of_mixup_is_that_of_the_paper():
    task = Classification(3)
    x, y, logits = torch.rand(5, 2), torch.randint(3, (5,)), torch.randn(5, 3)
    torch.manual_seed(4)
    _, made = mixup(x, task.encode(y), task, alpha=0.7)
    torch.manual_seed(4)
    share = float(torch.distributions.Beta(0.7, 0.7).sample())
    partner = torch.randperm(5)
    loss = torch.nn.functional.cross_entropy
    expected = share * loss(logits, y) + (1 - share) * loss(logits, y[partner])
    assert task.loss(logits, made).item() == pytest.approx(expected.item(), rel=1e-5)


@each_task
def test_biased_mixup_gives_each_row_the_larger_share(case):
    """MixMatch, eq. 8 to 11: max(lambda, 1 - lambda) of the row itself, inputs and targets alike."""
    target, x = target_of(case), torch.tensor([1.0, 10.0, 100.0, 1e3, 1e4, 1e5]).double()
    drawn = []
    for seed in range(20):
        torch.manual_seed(seed)
        mixed, made = mixup(x, target, case.task, alpha=0.75, biased=True)
        torch.manual_seed(seed)
        drawn.append(float(torch.distributions.Beta(0.75, 0.75).sample()))
        share, partner = max(drawn[-1], 1 - drawn[-1]), torch.randperm(6)
        assert torch.allclose(mixed, share * x + (1 - share) * x[partner])
        picked = Target(target.value[partner], target.weight[partner], target.valid[partner])
        expected = blend(target, picked, share, case.task)
        assert torch.equal(made.value, expected.value)
        assert torch.equal(made.weight, expected.weight)
        assert torch.equal(made.valid, expected.valid)
    assert min(drawn) < 0.5 < max(drawn)  # both kinds of draw occurred


def row_of(target, row):
    return Target(target.value[row : row + 1], target.weight[row : row + 1], target.valid[row : row + 1])


@each_task
@pytest.mark.parametrize("biased", [False, True])
def test_each_pair_may_have_a_share_of_its_own(case, biased):
    """MixMatch, eq. 8 to 11: lambda is drawn for a pair; every row of a batch is then a mixup of its own share."""
    target, x = target_of(case), torch.tensor([1.0, 10.0, 100.0, 1e3, 1e4, 1e5]).double()
    torch.manual_seed(1)
    mixed, made = mixup(x, target, case.task, alpha=0.75, biased=biased, per_sample=True)
    torch.manual_seed(1)
    drawn = torch.distributions.Beta(0.75, 0.75).sample((6,)).tolist()
    shares = [max(share, 1 - share) if biased else share for share in drawn]
    partner = torch.randperm(6).tolist()
    assert len(set(shares)) == 6
    assert min(drawn) < 0.5 < max(drawn)
    for row, (share, other) in enumerate(zip(shares, partner, strict=True)):
        assert mixed[row].item() == pytest.approx(share * x[row].item() + (1 - share) * x[other].item(), rel=1e-6)
        expected, found = blend(row_of(target, row), row_of(target, other), share, case.task), row_of(made, row)
        assert torch.allclose(found.value, expected.value, atol=1e-6)
        assert torch.allclose(found.weight, expected.weight, atol=1e-6)
        assert torch.equal(found.valid, expected.valid)


@pytest.mark.parametrize("shape", [(8, 3), (8, 3, 4, 4), (8, 3, 2, 4, 4)])
def test_shares_of_pairs_fit_inputs_of_any_shape(shape):
    x, task = torch.rand(shape), Classification(2)
    target = task.encode(torch.tensor([0, 1] * 4))
    torch.manual_seed(2)
    mixed, made = mixup(x, target, task, per_sample=True)
    torch.manual_seed(2)
    share, partner = torch.distributions.Beta(1.0, 1.0).sample((8,)), torch.randperm(8)
    for row in range(8):
        assert torch.allclose(mixed[row], share[row] * x[row] + (1 - share[row]) * x[partner[row]], atol=1e-6)
        value = share[row] * target.value[row] + (1 - share[row]) * target.value[partner[row]]
        assert torch.allclose(made.value[row], value, atol=1e-6)


@pytest.mark.parametrize("per_sample", [False, True])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_mixed_inputs_keep_their_number_format(dtype, per_sample):
    task = Classification(2)
    x, target = torch.rand(4, 3).to(dtype), task.encode(torch.tensor([0, 1, 0, 1]))
    mixed, made = mixup(x, target, task, per_sample=per_sample)
    assert mixed.dtype == dtype
    assert made.value.dtype == made.weight.dtype == torch.float32


@each_task
@pytest.mark.parametrize("valid", [True, False])
def test_a_linear_loss_of_a_blend_by_rows_is_the_blend_of_the_losses(case, valid):
    first, second = target_of(case, valid=valid), target_of(case, seed=1, valid=valid)
    logits, share = torch.randn(6, 4, *case.sites), torch.tensor([0.0, 0.2, 0.4, 0.6, 0.8, 1.0])
    mixed = total(case, logits, blend(first, second, share, case.task))
    rows = share.view(-1, *[1] * len(case.units))
    expected = rows * total(case, logits, first) + (1 - rows) * total(case, logits, second)
    assert torch.allclose(mixed, expected, atol=1e-5)


def test_alpha_shapes_the_share():
    """Beta(a, a) has the variance 1 / (4 (2a + 1)): small for a large alpha."""
    task, x = Classification(2), torch.tensor([0.0, 1.0]).double()
    spread = []
    for alpha in (0.1, 1.0, 50.0):
        torch.manual_seed(0)
        shares = []
        for _ in range(300):
            mixed, _ = mixup(x, task.encode(torch.tensor([0, 1])), task, alpha=alpha)
            shares.append(mixed[0].item())
        moved = [s for s in shares if s > 0]  # otherwise a sample was its own partner
        spread.append(torch.tensor(moved).var().item())
        assert spread[-1] == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.25)
    assert spread[0] > spread[1] > spread[2]


def test_gradients_flow_through_a_mixed_input():
    x = torch.rand(4, 3, requires_grad=True)
    task = Classification(2)
    mixup(x, task.encode(torch.tensor([0, 1, 0, 1])), task)[0].sum().backward()
    assert torch.allclose(x.grad, torch.ones(4, 3))


@pytest.mark.parametrize("mix", [mixup, cutmix])
def test_alpha_zero_leaves_everything(mix):
    x, target = torch.rand(2, 1, 4, 4), Target(torch.rand(2, 3), torch.ones(2))
    mixed, made = mix(x, target, Classification(3), alpha=0)
    assert mixed is x
    assert made is target


@pytest.mark.parametrize("alpha", [-1, float("nan"), float("inf")])
@pytest.mark.parametrize("mix", [mixup, cutmix])
def test_an_alpha_that_no_distribution_has_is_named(mix, alpha):
    with pytest.raises(ValueError, match=f"alpha is {alpha}; it must be 0 or more, and finite"):
        mix(torch.rand(2, 1, 4, 4), Target(torch.rand(2, 3), torch.ones(2)), Classification(3), alpha=alpha)
    with pytest.raises(ValueError, match=f"alpha is {alpha}"):
        {mixup: Mixup, cutmix: CutMix}[mix](alpha)


# -- CutMix ------------------------------------------------------------------------------------------------------------
def cut(target, task, size=(8, 8), seed=0, batch=6):
    """CutMix of images whose pixels hold the number of their sample; returns which sample each pixel came from."""
    x = torch.arange(float(batch))[:, None, None, None].expand(batch, 1, *size)
    torch.manual_seed(seed)
    mixed, made = cutmix(x, target, task)
    return mixed[:, 0].long(), made


def test_cutmix_pastes_one_rectangle_at_one_place_for_all():
    for seed in range(20):
        source, _ = cut(Target(torch.rand(6, 3), torch.ones(6)), Classification(3), seed=seed)
        own = torch.arange(6)[:, None, None]
        pasted = (source != own).any(0)
        rows, columns = pasted.any(1).nonzero(), pasted.any(0).nonzero()
        if len(rows):
            assert pasted[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
            assert pasted.sum() == (rows[-1] - rows[0] + 1) * (columns[-1] - columns[0] + 1)
        for sample in range(6):
            assert len(set(source[sample][pasted].tolist())) <= 1  # one partner each


def test_labels_without_sites_are_blended_by_the_share_of_the_pixels():
    value = torch.eye(6)
    for seed in range(20):
        source, made = cut(Target(value, torch.ones(6)), Classification(6), seed=seed)
        counts = torch.stack([(source == c).float().mean((1, 2)) for c in range(6)], 1)
        assert torch.allclose(made.value, counts, atol=1e-6)


def test_the_cut_area_follows_alpha():
    """The share that is cut is near 1/2 for a large alpha, where no rectangle is clipped."""
    task, target, shares = Classification(6), Target(torch.eye(6), torch.ones(6)), []
    for seed in range(200):
        torch.manual_seed(seed)
        _, made = cutmix(torch.rand(6, 1, 40, 40), target, task, alpha=2000.0)
        shares.append(1 - made.value.diag().min().item())
    assert 0.45 < max(shares) < 0.55
    assert min(shares) > 0.1  # a corner keeps a quarter of the rectangle


@with_sites
def test_targets_with_sites_are_pasted_like_the_image(case):
    value = torch.arange(6.0)[:, None, None, None].expand(6, 4, 8, 8) / 10
    units = (6, 8, 8) if case.name == "segmentation" else (6, 4)
    source, made = cut(Target(value, torch.ones(units)), case.task)
    assert torch.equal((made.value * 10).round().long(), source[:, None].expand(6, 4, 8, 8))


@pytest.mark.parametrize("valid", [True, False])
def test_weights_and_validity_of_pixels_are_pasted_too(valid):
    numbers = torch.arange(6.0)[:, None, None].expand(6, 8, 8)
    exists = numbers % 2 == 0 if valid else None
    source, made = cut(Target(torch.rand(6, 3, 8, 8), numbers / 10, exists), Segmentation(3))
    assert torch.equal((made.weight * 10).round().long(), source)
    assert made.valid is None if not valid else torch.equal(made.valid, source % 2 == 0)


def test_a_joint_counts_where_both_images_have_it():
    weight = torch.tensor([[1.0, 0.5], [0.25, 1.0]])
    valid = torch.tensor([[True, True], [False, True]])
    target = Target(torch.rand(2, 2, 8, 8), weight, valid)
    for seed in range(20):
        source, made = cut(target, Keypoints(2, (8, 8)), seed=seed, batch=2)
        if (source[0] == 1).any():  # the two were mixed
            assert made.weight.tolist() == [[0.25, 0.5], [0.25, 0.5]]
            assert made.valid.tolist() == [[False, True], [False, True]]
            return
    pytest.fail("no seed mixed the two samples")


@pytest.mark.parametrize("case", ["segmentation", "keypoints"])
def test_targets_of_another_resolution_are_pasted_at_the_same_place(case):
    """Images of 16 x 16 with maps of 8 x 8 cells: a cell takes the sample its pixels are from."""
    value = torch.arange(6.0)[:, None, None, None].expand(6, 4, 8, 8) / 10
    task, units = (Segmentation(4), (6, 8, 8)) if case == "segmentation" else (Keypoints(4, (8, 8)), (6, 4))
    for seed in range(10):
        source, made = cut(Target(value, torch.ones(units)), task, size=(16, 16), seed=seed)
        cells = (made.value[:, 0] * 10).round().long()
        pure = torch.stack([source[:, a::2, b::2] for a in (0, 1) for b in (0, 1)])
        whole = (pure == pure[0]).all(0)  # cells whose four pixels are of one sample
        assert torch.equal(cells[whole], pure[0][whole])


def test_cutmix_wants_images():
    with pytest.raises(ValueError, match=r"cutmix needs images \(B, c, H, W\), got shape \(2, 5\)"):
        cutmix(torch.rand(2, 5), Target(torch.rand(2, 3), torch.ones(2)), Classification(3))


def test_a_linear_loss_of_pasted_labels_is_the_sum_of_both_by_area():
    """Labels without sites, with weights and validity: area times the one's loss plus the rest times the other's."""
    case, logits = CASES[0], torch.randn(6, 4)
    target = target_of(case)
    alone = total(case, logits, target)
    mixed = 0
    for seed in range(20):
        source, made = cut(target, case.task, seed=seed)
        area = torch.stack([(source == c).float().mean((1, 2)) for c in range(6)], 1)  # (sample, where from)
        losses = unit_loss(case, logits[:, None].expand(6, 6, 4).flatten(0, 1), target.value.repeat(6, 1)).view(6, 6)
        expected = (area * losses * (target.weight * target.valid)).sum(1)
        assert torch.allclose(total(case, logits, made), expected, atol=1e-5)
        mixed += int(not torch.allclose(expected, alone))
    assert mixed > 10


# -- ClassMix ----------------------------------------------------------------------------------------------------------
def numbered(batch, *size):
    """Images whose pixels hold the number of their sample."""
    return torch.arange(float(batch)).view(batch, 1, 1, 1).expand(batch, 1, *size).clone()


def maps(classes=7, batch=5, size=(6, 8), seed=0):
    """Label maps that show different numbers of classes: image i only those below i + 2."""
    generator = torch.Generator().manual_seed(seed)
    rows = [torch.randint(min(i + 2, classes), size, generator=generator) for i in range(batch)]
    return torch.stack(rows)


def partners(seed, batch):
    torch.manual_seed(seed)
    return torch.randperm(batch)


@pytest.mark.parametrize("valid", [True, False])
def test_classmix_pastes_half_of_the_partners_classes(valid):
    """What was pasted is read off the image; targets, weights and validity have to tell the same story."""
    labels, task, pasted_counts = maps(), Segmentation(7), set()
    number = torch.arange(5.0)[:, None, None].expand(5, 6, 8)
    exists = torch.rand(5, 6, 8, generator=torch.Generator().manual_seed(9)) > 0.2 if valid else None
    target = Target(task.encode(labels).value, (number + 1) / 10, exists)
    for seed in range(10):
        partner = partners(seed, 5)
        torch.manual_seed(seed)
        mixed, made = classmix(numbered(5, 6, 8), target, task)
        source = mixed[:, 0].long()
        for i, j in enumerate(partner.tolist()):
            assert set(source[i].unique().tolist()) <= {i, j}
            if i == j:
                continue
            there = exists[j] if valid else torch.ones(6, 8, dtype=torch.bool)
            shown, pasted = set(labels[j][there].tolist()), source[i] == j
            chosen = set(labels[j][pasted].tolist())
            assert len(chosen) == len(shown) // 2
            whole = torch.isin(labels[j], torch.tensor(sorted(chosen), dtype=torch.long)) & there
            assert torch.equal(pasted, whole)  # every pixel of a chosen class and no other
            pasted_counts.add(len(chosen))
            if valid:
                assert torch.equal(made.valid[i], torch.where(pasted, exists[j], exists[i]))
        expected = torch.where((source == number.long()), labels, labels[partner])
        assert torch.equal(made.value.argmax(1), expected)
        assert torch.allclose(made.weight, (source + 1) / 10)
        assert valid or made.valid is None
    assert pasted_counts == {1, 2, 3}


def test_soft_values_are_pasted_as_they_are():
    value = torch.rand(4, 3, 5, 5, generator=torch.Generator().manual_seed(1)).softmax(1)
    torch.manual_seed(2)
    mixed, made = classmix(numbered(4, 5, 5), Target(value, torch.ones(4, 5, 5)), Segmentation(3))
    rows = mixed[:, 0].long()
    expected = torch.stack([torch.stack([value[rows[b, r, c], :, r, c] for r in range(5) for c in range(5)], 1)
                            for b in range(4)]).view(4, 3, 5, 5)  # fmt: skip
    assert torch.equal(made.value, expected)
    assert not torch.equal(made.value, value)


def test_all_images_draw_their_own_classes():
    """Each partner shows all four classes; the halves that are pasted differ from image to image."""
    labels = torch.arange(4).repeat(12, 4, 1)
    torch.manual_seed(0)
    mixed, _ = classmix(numbered(12, 4, 4), Segmentation(4).encode(labels), Segmentation(4))
    own = torch.arange(12)[:, None]
    halves = {tuple(row.tolist()) for row in (mixed[:, 0, 0].long() != own)}
    assert len(halves) > 3
    assert {sum(half) for half in halves} <= {0, 2}


def test_pixels_without_a_label_are_no_class_and_stay_where_they_are():
    """A void pixel has no class, though its empty value would be class 0: two classes shown, one is pasted."""
    task, void = Segmentation(3), 255
    labels = torch.tensor([[[1, 1, 2, void]], [[2, 1, void, 1]]])
    target, seen = task.encode(labels), set()
    for seed in range(20):
        if partners(seed, 2).tolist() == [0, 1]:
            continue
        torch.manual_seed(seed)
        mixed, made = classmix(numbered(2, 1, 4), target, task)
        for i in range(2):
            pasted = mixed[i, 0].long() != i
            classes = labels[1 - i][pasted].tolist()
            assert len(set(classes)) == 1
            assert void not in classes
            seen |= set(classes)
            assert torch.equal(made.valid[i], torch.where(pasted, target.valid[1 - i], target.valid[i]))
    assert seen == {1, 2}


def test_images_larger_than_their_maps_are_pasted_at_the_same_place():
    labels = maps(size=(4, 4))
    for seed in range(5):
        partner = partners(seed, 5)
        torch.manual_seed(seed)
        mixed, made = classmix(numbered(5, 12, 8), Segmentation(7).encode(labels), Segmentation(7))
        source = mixed[:, 0].long()
        cells = source[:, ::3, ::2]
        assert torch.equal(source, cells.repeat_interleave(3, 1).repeat_interleave(2, 2))
        own = torch.arange(5)[:, None, None]
        assert torch.equal(made.value.argmax(1), torch.where(cells == own, labels, labels[partner]))


# -- Keypoint-Mix ------------------------------------------------------------------------------------------------------
POSE = Keypoints(3, (8, 8))


def pose(*joints, batch=1):
    """Targets of joints at (column, row) of an 8 x 8 heatmap."""
    rows = [[float(x), float(y), 1.0] for x, y in joints]
    return Keypoints(len(joints), (8, 8)).encode(torch.tensor([rows] * batch))


def patched(before, after, starts, ends, side):
    """Which (start, end) explains the image: the patch of ``before`` around start stands around end, all else stays."""
    found = []
    for start in starts:
        for end in ends:
            expected = before.clone()
            for row in range(-(side // 2), side - side // 2):
                for column in range(-(side // 2), side - side // 2):
                    here = start[0] + row, start[1] + column
                    there = end[0] + row, end[1] + column
                    if all(0 <= v < s for v, s in zip(here + there, before.shape[1:] * 2, strict=True)):
                        expected[:, there[0], there[1]] = before[:, here[0], here[1]]
            if torch.equal(after, expected):
                found.append((start, end))
    return found


@pytest.mark.parametrize(("size", "side"), [(0.01, 1), (0.25, 2), (0.4, 3), (1.0, 8)])
@pytest.mark.parametrize("joints", [((1, 2), (5, 6), (6, 1)), ((0, 0), (7, 7), (7, 0))], ids=["inside", "corners"])
def test_a_patch_of_one_joint_stands_on_another(joints, size, side):
    """Image and heatmap have 8 x 8 cells, so a joint (x, y) is at pixel (y, x); patches are cut at the borders."""
    target, places = pose(*joints, batch=6), [(y, x) for x, y in joints]
    x = torch.rand(6, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(1)
    mixed, made = keypoint_mix(x, target, POSE, size=size)
    assert made is target
    explained = [patched(before, after, places, places, side) for before, after in zip(x, mixed, strict=True)]
    assert all(len(found) == 1 for found in explained)
    assert all(start != end for ((start, end),) in explained)
    assert len({found[0] for found in explained}) > 1  # drawn anew for each image


def test_places_are_scaled_to_the_image():
    """Heatmaps of 8 x 8 cells, images of 16 x 32 pixels: a cell is 2 rows and 4 columns."""
    target = pose((1, 2), (5, 6))
    x = torch.rand(1, 1, 16, 32, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    mixed, _ = keypoint_mix(x, target, Keypoints(2, (8, 8)), size=0.25)
    places = [(5, 6), (13, 22)]  # the middle of the cells
    assert patched(x[0], mixed[0], places, places, 4)
    assert not torch.equal(mixed, x)


def test_more_pairs_change_more():
    x = torch.rand(20, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    target, changed = pose((1, 1), (1, 6), (6, 1), (6, 6), batch=20), []
    for pairs in (1, 4):
        torch.manual_seed(0)
        mixed, _ = keypoint_mix(x, target, Keypoints(4, (8, 8)), size=0.25, pairs=pairs)
        changed.append(int((mixed != x).sum()))
    assert changed[0] == 20 * 4
    assert changed[1] > 1.5 * changed[0]


def test_patches_come_from_the_image_as_it_was():
    """Two pairs of two joints can swap them; if the second copied what the first had written, they never would."""
    target, x, seen = pose((1, 1), (6, 6)), torch.zeros(1, 1, 8, 8), set()
    x[0, 0, 1, 1], x[0, 0, 6, 6] = 1.0, 2.0
    for seed in range(20):
        torch.manual_seed(seed)
        mixed, _ = keypoint_mix(x, target, Keypoints(2, (8, 8)), size=0.01, pairs=2)
        seen.add((mixed[0, 0, 1, 1].item(), mixed[0, 0, 6, 6].item()))
    assert seen == {(2.0, 1.0), (1.0, 1.0), (2.0, 2.0)}


@pytest.mark.parametrize("how", ["weight", "valid"])
def test_joints_that_do_not_count_take_no_part(how):
    """An unlabeled joint has an empty heatmap; its peak, cell 0, is no place."""
    whole = pose((2, 2), (5, 5), (0, 0), batch=30)
    counts = torch.tensor([[True, True, False]]).expand(30, 3)
    target = Target(whole.value, counts.float()) if how == "weight" else Target(whole.value, torch.ones(30, 3), counts)
    x = torch.rand(30, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    mixed, _ = keypoint_mix(x, target, POSE, size=0.25)
    for before, after in zip(x, mixed, strict=True):
        assert patched(before, after, [(2, 2), (5, 5)], [(2, 2), (5, 5)], 2)


@pytest.mark.parametrize("counted", [0, 1])
def test_an_image_with_fewer_than_two_joints_stays(counted):
    weight = (torch.arange(3) < counted).float().expand(2, 3)
    x = torch.rand(2, 1, 8, 8)
    mixed, made = keypoint_mix(x, Target(pose((1, 1), (2, 2), (3, 3), batch=2).value, weight), POSE)
    assert torch.equal(mixed, x)
    assert torch.equal(made.weight, weight)


@pytest.mark.parametrize(("size", "side"), [(0.25, 2), (0.4, 3)])
def test_a_sure_joint_is_hidden_behind_a_patch_of_another_place(size, side):
    """The third joint is not valid, the fourth weighs nothing, the fifth is unsure: they stay."""
    whole = pose((2, 2), (5, 5), (1, 6), (6, 1), (3, 6), batch=40)
    value = whole.value.clone()
    value[:, 4] *= 0.8
    counts = torch.tensor([1.0, 1.0, 1.0, 0.0, 1.0]).expand(40, 5)
    target = Target(value, counts, torch.tensor([True, True, False, True, True]).expand(40, 5))
    x, anywhere = torch.rand(40, 2, 8, 8), [(row, column) for row in range(8) for column in range(8)]
    mixed, made = joint_occlusion(x, target, POSE, probability=1.0, size=size)
    assert made is target
    hidden = set()
    for before, after in zip(x, mixed, strict=True):
        if not torch.equal(before, after):  # the patch may be of the joint itself
            found = patched(before, after, anywhere, [(2, 2), (5, 5)], side)
            assert found
            hidden |= {end for _, end in found}
    assert hidden == {(2, 2), (5, 5)}
    unsure = Target(torch.full_like(value, 0.5), counts)
    assert torch.equal(joint_occlusion(x, unsure, POSE, probability=1.0)[0], x)
    lower = joint_occlusion(x, unsure, POSE, probability=1.0, threshold=0.5)[0]
    assert not torch.equal(lower, x)
    assert torch.equal(joint_occlusion(x, target, POSE, probability=0.0)[0], x)
    changed = (joint_occlusion(x, target, POSE, probability=0.5, size=size)[0] != x).flatten(1).any(1).sum()
    assert 8 < int(changed) < 32


@pytest.mark.parametrize("settings", [{"probability": 1.5}, {"threshold": float("nan")}, {"size": 0.0}])
def test_occlusions_out_of_range_are_named(settings):
    for make in (JointOcclusion, lambda **given: joint_occlusion(IMAGES, JOINTS, CASES[2].task, **given)):
        with pytest.raises(ValueError, match=r"all must be in \[0, 1\], and size above 0"):
            make(**settings)


def test_gradients_reach_what_is_shown():
    """Every pixel that is shown gets its gradient: the copied patch twice, the covered one not at all."""
    x = torch.rand(1, 1, 8, 8, requires_grad=True)
    torch.manual_seed(0)
    keypoint_mix(x, pose((1, 1), (6, 6)), Keypoints(2, (8, 8)), size=0.25)[0].sum().backward()
    patches = sorted([x.grad[0, 0, :2, :2].unique().item(), x.grad[0, 0, 5:7, 5:7].unique().item()])
    assert patches == [0, 2]
    assert x.grad.sum() == 64
    labels = maps()
    x = numbered(5, 6, 8).requires_grad_()
    classmix(x, Segmentation(7).encode(labels), Segmentation(7))[0].sum().backward()
    assert x.grad.sum() == 5 * 48


# -- modules and refusals ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("module", "function", "case"),
    [
        (Mixup(0.4), lambda *a: mixup(*a, alpha=0.4), 0),
        (Mixup(), lambda *a: mixup(*a, alpha=1.0), 2),
        (Mixup(0.4, biased=True), lambda *a: mixup(*a, alpha=0.4, biased=True), 1),
        (Mixup(0.4, biased=True, per_sample=True), lambda *a: mixup(*a, alpha=0.4, biased=True, per_sample=True), 2),
        (CutMix(0.4), lambda *a: cutmix(*a, alpha=0.4), 1),
        (CutMix(), lambda *a: cutmix(*a, alpha=1.0), 0),
        (ClassMix(), classmix, 1),
        (KeypointMix(), lambda *a: keypoint_mix(*a, size=0.15, pairs=1), 2),
        (KeypointMix(0.5, pairs=3), lambda *a: keypoint_mix(*a, size=0.5, pairs=3), 2),
        (
            JointOcclusion(0.8, threshold=0.1, size=0.3),
            lambda *a: joint_occlusion(*a, probability=0.8, threshold=0.1, size=0.3),
            2,
        ),
    ],
)
def test_a_module_is_its_function_with_settings(module, function, case):
    case = CASES[case]
    x, target = torch.rand(6, 3, 10, 12), target_of(case)
    changed = 0
    for seed in range(3):
        torch.manual_seed(seed)
        mixed, made = module(x, target, case.task)
        torch.manual_seed(seed)
        expected, wanted = function(x, target, case.task)
        assert torch.equal(mixed, expected)
        assert torch.equal(made.value, wanted.value)
        assert torch.equal(made.weight, wanted.weight)
        assert (made.valid is None) == (wanted.valid is None)
        assert made.valid is None or torch.equal(made.valid, wanted.valid)
        changed += int(not torch.equal(mixed, x))
    assert changed
    assert not module.state_dict()


def test_the_base_mix_is_no_mix():
    with pytest.raises(NotImplementedError):
        Mix()(torch.rand(2, 3), Target(torch.rand(2, 3), torch.ones(2)), Classification(3))


CLASSES, PIXELS, JOINTS = (target_of(case, 2) for case in CASES)
IMAGES = torch.rand(2, 1, 10, 12)


@pytest.mark.parametrize(
    ("mix", "x", "target", "message"),
    [
        (CutMix(), torch.rand(2, 5), CLASSES, r"cutmix needs images \(B, c, H, W\), got shape \(2, 5\)"),
        (ClassMix(), IMAGES, CLASSES, r"classmix needs a class for each pixel, got targets \(2, 4\) for inputs"),
        (ClassMix(), IMAGES, JOINTS, r"classmix needs a class for each pixel, got targets \(2, 4, 5, 6\) for inputs"),
        (ClassMix(), torch.rand(2, 5), PIXELS, r"got targets \(2, 4, 5, 6\) for inputs \(2, 5\); use cutmix or mixup"),
        (KeypointMix(), IMAGES, CLASSES, r"keypoint_mix needs heatmaps \(B, K, h, w\) of images, got targets \(2, 4\)"),
        (KeypointMix(), IMAGES, PIXELS, r"keypoint_mix needs heatmaps .* got targets \(2, 4, 5, 6\)"),
        (KeypointMix(), torch.rand(2, 5), JOINTS, r"got targets \(2, 4, 5, 6\) for inputs \(2, 5\)"),
        (JointOcclusion(), IMAGES, PIXELS, r"joint_occlusion needs heatmaps .* got targets \(2, 4, 5, 6\)"),
    ],
)
def test_inputs_that_a_mix_cannot_mix_are_named(mix, x, target, message):
    task = next(c.task for c, t in zip(CASES, (CLASSES, PIXELS, JOINTS), strict=True) if t is target)
    with pytest.raises(ValueError, match=message):
        mix(x, target, task)


@pytest.mark.parametrize(("size", "pairs"), [(0.0, 1), (-0.1, 1), (1.5, 1), (float("nan"), 1), (0.2, 0)])
def test_patches_out_of_range_are_named(size, pairs):
    message = rf"size is {size} and pairs {pairs}; size must be in \(0, 1\] and pairs at least 1"
    with pytest.raises(ValueError, match=message):
        KeypointMix(size, pairs=pairs)
    with pytest.raises(ValueError, match=message):
        keypoint_mix(IMAGES, JOINTS, CASES[2].task, size=size, pairs=pairs)


# -- boxes and sources of segmentation ---------------------------------------------------------------------------------
def test_boxes_are_one_a_picture_inside_it_of_another_picture_and_as_large_as_asked():
    torch.manual_seed(0)
    x = torch.arange(1.0, 5.0).view(4, 1, 1, 1).expand(4, 1, 20, 30)
    task, boxes = Segmentation(5), []
    target = task.encode(x[:, 0].long())
    for _ in range(200):
        mixed, made = cutmix_seg(x, target, task)
        assert torch.equal(made.label.float(), mixed[:, 0])  # labels go with their pixels
        for row, picture in enumerate(mixed[:, 0]):
            other = picture != row + 1
            if not other.any():
                boxes.append((row, 0, 0.0, 0.0))
                continue
            rows, columns = other.any(1).nonzero().flatten(), other.any(0).nonzero().flatten()
            height, width = (int(sides[-1] - sides[0]) + 1 for sides in (rows, columns))
            assert other.sum() == height * width  # a full rectangle
            assert len(picture[other].unique()) == 1  # of one other picture
            boxes.append((row, picture[other][0].item(), height, width))
    pasted = [box for box in boxes if box[1]]
    assert abs(len(pasted) / len(boxes) - 0.5) < 0.06
    assert {box[:2] for box in pasted} == {(a, b + 1) for a in range(4) for b in range(4) if a != b}
    shares = torch.tensor([height * width / 600 for *_, height, width in pasted])
    assert shares.min() < 0.06
    assert 0.35 < shares.max() < 0.44
    assert abs(shares.mean() - 0.21) < 0.02
    half = cutmix_seg(x, target, task, probability=1.0, area=(0.5, 0.5), aspect=1.0)[0] != x
    assert half.float().mean() == pytest.approx(14 * 21 / 600, abs=0.01)
    for alone in ((x[:1], task.encode(x[:1, 0].long())), (x, target)):
        assert torch.equal(cutmix_seg(*alone, task, probability=0.0)[0], alone[0])
    labels = Classification(4).encode(torch.arange(4))
    mixed, made = cutmix_seg(x, labels, Classification(4), probability=1.0)
    own = (mixed[:, 0] == x[:, 0]).float().mean((1, 2))
    assert torch.allclose(made.value.diag(), own, atol=1e-6)
    for wrong in ({"probability": 2}, {"area": (0.4, 0.2)}, {"aspect": 0}):
        with pytest.raises(ValueError, match=f"{[*wrong][0]}"):
            CutMixSeg(**wrong)


@pytest.mark.parametrize("classes", ["picture", "batch"])
def test_half_of_a_labeled_pictures_classes_lie_on_an_unlabeled_one_with_their_labels(classes):
    torch.manual_seed(0)
    task = Segmentation(6)
    masks = torch.tensor([[[0, 1], [2, 255]], [[3, 3], [3, 4]]])
    x_labeled = torch.stack([10.0 + masks, 20.0 + masks], 1)
    labeled = Labeled(x_labeled, task.encode(masks), torch.arange(2))
    x = torch.zeros(4, 2, 2, 2)
    own = Target(torch.full((4, 6, 2, 2), 1 / 6), torch.full((4, 2, 2), 0.25))
    seen, counts = set(), set()
    for _ in range(60):
        mixed, made = source_classmix(x, own, task, labeled, classes=classes)
        pasted = mixed[:, 0] > 0
        assert torch.equal(made.weight, torch.where(pasted, 1.0, 0.25))
        for row in range(4):
            known = mixed[row, 0][pasted[row]] - 10
            assert torch.equal(made.value[row].argmax(0)[pasted[row]].float(), known)
            assert torch.allclose(made.value[row][:, ~pasted[row]], torch.tensor(1 / 6))
            assert 245 not in known.tolist()  # void pixels have no class and stay where they are
            found = set(known.int().tolist())
            source = 1 if found & {3, 4} else 0
            assert not found & ({3, 4} if source == 0 else {0, 1, 2})
            seen |= {(source, *sorted(found))}
            counts |= {(source, len(found))}
    if classes == "picture":  # of three classes two, of two one: rounded up
        assert counts == {(0, 2), (1, 1)}
        assert seen == {(0, 0, 1), (0, 0, 2), (0, 1, 2), (1, 3), (1, 4)}
    else:  # three of five for all: a picture shows none to three of them
        assert {(0, 0), (0, 1), (0, 2), (0, 3), (1, 1), (1, 2)} == counts
    mix = SourceClassMix(classes)
    torch.manual_seed(1)
    one = mix.with_labeled(x, own, task, labeled)
    torch.manual_seed(1)
    assert torch.equal(one[0], source_classmix(x, own, task, labeled, classes=classes)[0])
    with pytest.raises(ValueError, match="there are none here; take ClassMix"):
        mix(x, own, task)
    ClassMix()(x, own, task)
    with pytest.raises(ValueError, match="give views of one size"):
        mix.with_labeled(torch.zeros(4, 2, 4, 4), own, task, labeled)


# -- several targets of one mixture ------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "make",
    [
        Mixup,
        CutMix,
        lambda: CutMixSeg(1.0),
        ClassMix,
        SourceClassMix,
        LabelInjection,
        KeypointMix,
        lambda: JointOcclusion(1.0, threshold=0.0),
    ],
)
def test_targets_of_several_networks_are_mixed_alike(make):
    """Pictures and the second target say of which picture each pixel is: they must agree, whatever the first one is."""
    mix, rows = make(), 5
    joints = isinstance(mix, (KeypointMix, JointOcclusion))
    task = Keypoints(2, (8, 8)) if joints else Segmentation(2)
    torch.manual_seed(0)
    x = torch.rand(rows, 1, 8, 8) if joints else torch.arange(float(rows)).view(-1, 1, 1, 1).expand(-1, 1, 8, 8)
    value = torch.rand(rows, 2, 8, 8)
    ones = torch.ones((rows, 2) if joints else (rows, 8, 8))
    first = Target(value if joints else value / value.sum(1, keepdim=True), ones)
    share = x.expand(-1, 2, -1, -1) / 10
    second = Target(value.flip(0) if joints else torch.cat([share[:, :1], 1 - share[:, :1]], 1), ones)
    there = torch.where(torch.arange(8) < 4, 1 + share[:, :1], 9 - share[:, :1])  # both classes
    labeled = Labeled(there, Target(torch.cat([there / 10, 1 - there / 10], 1), ones), torch.arange(rows))

    def one(target):
        torch.manual_seed(3)
        made = mix.in_step(x, target, task, labeled, first.value)
        return *made, torch.rand(3)

    alone, own, after = one(first)
    torch.manual_seed(3)
    (x_first, of_first), (x_second, of_second) = mix.alike(x, [first, second], task, labeled, first.value)
    assert torch.equal(torch.rand(3), after)  # what is drawn later is as if one had been mixed
    assert torch.equal(x_first, alone)
    assert torch.equal(of_first.value, own.value)
    assert torch.equal(x_second, alone)
    assert not torch.equal(alone, x)
    if joints:
        assert torch.equal(of_second.value, second.value)
    else:
        assert torch.allclose(of_second.value[:, :1], alone / 10, atol=1e-6)


# -- labels injected by confidence -------------------------------------------------------------------------------------
def test_the_less_sure_an_image_is_the_more_often_a_labeled_box_lies_in_what_it_lends():
    """By the mean over pixels of p_max (1 - H / log C); every pixel has the target of the image that it shows."""
    rows, task = 400, Segmentation(3)
    torch.manual_seed(0)
    x = torch.arange(float(rows)).view(-1, 1, 1, 1).expand(-1, 1, 10, 14)  # each image is its number
    labeled = Labeled(
        1000 + x[:7], Target(one_hot_of(torch.full((7, 10, 14), 2)), torch.ones(7, 10, 14)), torch.arange(7)
    )
    target = Target(one_hot_of((x[:, 0] % 2).long()), torch.full((rows, 10, 14), 0.5))
    sure = torch.tensor([0.98, 0.01, 0.01])
    value = torch.stack([sure if i % 2 else torch.full((3,), 1 / 3) for i in range(rows)])
    value = value[:, :, None, None].expand(-1, -1, 10, 14)
    mixed, made = label_injection(x, target, task, labeled, value)
    foreign, lent = mixed != x, mixed >= 1000
    share = foreign.float().mean((1, 2, 3))
    assert abs(share.mean() - 0.5) < 0.04  # 1 - Beta(4, 4)
    # a box lies within its image: one of so many rows and columns, all of it there
    assert all(bool((box.any(1)[:, None] & box.any(0) == box).all()) for box in foreign[:, 0])
    # what was lent: a pixel of one other image, or of a labeled one that lay on it
    for i in range(rows):
        others = mixed[i][foreign[i] & ~lent[i]].unique()
        assert len(others) <= 1
        assert i not in others
    # half of the images know nothing, and lend a labeled box wherever it meets theirs; the others in 1 - rho of cases
    owner = torch.tensor(
        [mixed[i][foreign[i] & ~lent[i]].max() if (foreign[i] & ~lent[i]).any() else -1 for i in range(rows)]
    )
    unsure = lent.flatten(1).any(1)[(owner >= 0) & (owner % 2 == 0)].float().mean()
    certain = lent.flatten(1).any(1)[(owner >= 0) & (owner % 2 == 1)].float().mean()
    rho = float(sure.max() * (1 + (sure * sure.log()).sum() / torch.tensor(3.0).log()))
    assert unsure > 0.6
    assert certain / unsure == pytest.approx(1 - rho, abs=0.06)
    wanted = torch.where(lent[:, 0], 2, mixed[:, 0].long() % 2)
    assert torch.equal(task.label(made.value), wanted)
    assert torch.equal(made.weight, torch.where(lent[:, 0], 1.0, 0.5))


def one_hot_of(classes):
    return torch.nn.functional.one_hot(classes, 3).movedim(-1, 1).float()


def test_the_areas_of_injected_and_pasted_boxes_follow_their_distributions():
    task, rows = Segmentation(2), 300
    torch.manual_seed(0)
    x, ones = torch.zeros(rows, 1, 30, 30), torch.ones(rows, 30, 30)
    labeled = Labeled(torch.ones(5, 1, 30, 30), Target(torch.ones(5, 2, 30, 30) / 2, ones[:5]), torch.arange(5))
    value = torch.full((rows, 2, 30, 30), 0.5)  # nothing is known: every image gets a labeled box
    target = Target(value, ones)
    mixed, _ = label_injection(x, target, task, labeled, value, injected=(2.0, 8.0), pasted=(1.0, 1e6))
    assert abs(mixed.mean() - 0.8) < 0.02  # 1 - Beta(2, 8); all of the image is lent
    (alone, told) = label_injection(x[:1], Target(value[:1], ones[:1]), task, labeled, value[:1], injected=(1.0, 1e6))
    assert alone.all()  # with no other image the labeled box stays
    assert torch.equal(told.value, labeled.target.value[:1])


def test_a_mix_that_injects_labels_says_what_it_lacks():
    mix, x, task = LabelInjection(), torch.rand(4, 1, 6, 6), Segmentation(2)
    target = Target(torch.full((4, 2, 6, 6), 0.5), torch.ones(4, 6, 6))
    labeled = Labeled(x, target, torch.arange(4))
    with pytest.raises(ValueError, match="there are none here; take CutMixSeg"):
        mix(x, target, task)
    with pytest.raises(ValueError, match="needs the predictions that labels are made of; take CutMixSeg"):
        mix.with_labeled(x, target, task, labeled)
    with pytest.raises(ValueError, match=r"needs images \(B, c, H, W\)"):
        label_injection(x[0], target, task, labeled, target.value)
    CutMixSeg()(x, target, task)
    mix.in_step(x, target, task, labeled, target.value)


def test_a_joint_of_an_image_without_a_box_counts_as_before():
    x, target = torch.rand(6, 1, 8, 8), Target(torch.rand(6, 2, 8, 8), torch.rand(6, 2), torch.rand(6, 2) > 0.3)
    _, made = cutmix_seg(x, target, Keypoints(2, (8, 8)), probability=0.0)
    assert torch.equal(made.weight, target.weight)
    assert torch.equal(made.valid, target.valid)
