import pytest
import torch
from helpers import all_tasks, values

from selftrain.mix import blend, cat, cutmix, mixup
from selftrain.tasks import Classification, Keypoints, Segmentation
from selftrain.types import Target

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


@pytest.mark.parametrize("mix", [mixup, cutmix])
def test_a_negative_alpha_is_named(mix):
    with pytest.raises(ValueError, match="alpha is -1; it must be 0 or more"):
        mix(torch.rand(2, 1, 4, 4), Target(torch.rand(2, 3), torch.ones(2)), Classification(3), alpha=-1)


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
