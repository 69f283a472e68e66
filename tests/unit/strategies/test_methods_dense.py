"""What strategies do on pixels and joints that they do not on samples."""

import copy
import inspect

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from zoo import ZOO, batches, build, take_step

import selftrain as st
from selftrain import strategies, toy
from selftrain.mix import CutMixSeg, SourceClassMix, cutmix_seg
from selftrain.networks import Classifier, Segmenter, UNetEncoder
from selftrain.strategies.unimatch import channels_dropped, features_changed
from selftrain.strategies.unimatch_v2 import ComplementaryDropout

MIXING = [name for name, entry in ZOO.items() if "mix" in inspect.signature(entry.make).parameters]
# their one batch holds labeled samples already; or they learn from a frozen table, by parts of the others
OWN = {"mixmatch"}


class Counted(SourceClassMix):
    """A mix that remembers what it was given."""

    def with_labeled(self, x, target, task, labeled):
        made = super().with_labeled(x, target, task, labeled)
        self.given = (x, labeled, made[0])
        return made


@pytest.mark.parametrize("name", [name for name in MIXING if "segmentation" in ZOO[name].kinds])
def test_labeled_pixels_lie_on_unlabeled_pictures_in_every_strategy(name):
    mix = Counted()
    strategy = build(name, "segmentation", mix=mix)
    given = batches(strategy, "segmentation")
    if name in OWN:
        with pytest.raises(ValueError, match="there are none here; take ClassMix"):
            take_step(strategy, given)
        return
    take_step(strategy, given)
    x, labeled, mixed = mix.given
    assert any(labeled.x is batch.labeled.x for batch in given)
    assert (mixed != x).any()


class Head(nn.Module):
    """A network of an encoder and a head, linear in each pixel."""

    def __init__(self):
        super().__init__()
        self.encoder, self.head = nn.Conv2d(1, 4, 1), nn.Conv2d(4, 3, 1)

    def forward(self, x):
        return self.head(self.encoder(x).tanh())


@pytest.mark.parametrize("mu", [0.0, 0.3])
def test_the_loss_of_unimatch_by_hand(mu):
    torch.manual_seed(0)
    first = Head()
    make = st.learner(copy.deepcopy(first), optimizer="sgd", lr=0.1, momentum=0, weight_decay=0)
    strategy = strategies.UniMatch(
        toy.task("segmentation"), make, threshold=0.42, feature_share=mu, unlabeled_weight=0.7, channel_drop=0.0
    )
    (given,) = batches(strategy, "segmentation")
    report = take_step(strategy, [given])
    weak = given.unlabeled["weak"]
    p = first(weak.x).detach().softmax(1)
    sure, decided = (p.amax(1) >= 0.42).float(), p.argmax(1)
    assert 0 < sure.mean() < 1

    def loss(view):  # eq. 6, by plain torch, where the decision has come to lie
        inside = torch.ones_like(sure)
        layers = torch.stack([decided.float(), sure, inside], 1)
        moved = strategy.task.warp(st.types.Target(layers, sure, inside > 0), st.tasks.relative(weak, view))
        label, kept, there = moved.value[:, 0].long(), moved.weight, moved.mask()
        unit = F.cross_entropy(first(view.x), label, reduction="none")
        return (unit * kept * there).sum() / there.sum()

    supervised = strategy.task.loss(first(given.labeled.x), given.labeled.target)
    strong = (loss(given.unlabeled["strong"]) + loss(given.unlabeled["strong2"])) / 2
    total = supervised + 0.7 * ((1 - mu) * strong + mu * loss(weak))
    assert report.scalars["loss/unsupervised"].item() == pytest.approx(((total - supervised) / 0.7).item(), rel=1e-4)
    total.backward()
    for moved, before in zip(strategy.student.model.parameters(), first.parameters(), strict=True):
        assert torch.allclose(moved, before - 0.1 * before.grad, atol=1e-5)


def test_features_lose_whole_channels_where_head_and_encoder_meet():
    torch.manual_seed(0)
    seen = []
    net = Head().eval()
    x = torch.rand(64, 1, 3, 3)
    whole = net.encoder(x).tanh()
    net.head.register_forward_pre_hook(lambda _, given: seen.append(given[-1]))
    with channels_dropped(net, 0.25):
        pass
    assert torch.equal(net(x), net(x))
    seen.clear()
    with channels_dropped(net, 0.25):
        net.head._forward_pre_hooks.move_to_end(next(iter(net.head._forward_pre_hooks)))  # look after the drop
        net(x)
    (features,) = seen
    lost = (features == 0).flatten(2)
    assert torch.equal(lost.any(2), lost.all(2))  # whole channels
    assert abs(lost.all(2).float().mean() - 0.25) < 0.1
    assert torch.allclose(features[~(features == 0)], (whole / 0.75)[~(features == 0)])  # the others make up for it
    dense = Segmenter(UNetEncoder(16, widths=(4, 8)), 2).eval()
    picture, given = torch.rand(2, 3, 16, 16), []
    dense.head.register_forward_hook(lambda _, inputs, __: given.append(inputs))
    with channels_dropped(dense, 0.5):
        dense(picture)
    assert torch.equal(given[0][0], picture)
    assert all((one == 0).flatten(2).all(2).any() for one in given[0][1])
    for plain in (nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2)), Classifier(st.ConvEncoder(8), 2)):
        plain.eval()
        x = torch.rand(5, 3) if isinstance(plain, nn.Sequential) else torch.rand(5, 1, 8, 8)
        with channels_dropped(plain, 0.5):
            assert not torch.equal(plain(x), plain(x))
        assert torch.equal(plain(x), plain(x))


def carried(strategy, decided, sure, weak, view):
    """Decisions and whether they are sure, where they have come to lie in another view; and what lies inside."""
    inside = torch.ones_like(sure)
    layers = torch.stack([decided.float(), sure, inside], 1)
    moved = strategy.task.warp(st.types.Target(layers, sure, inside > 0), st.tasks.relative(weak, view))
    return moved.value[:, 0].long(), moved.weight, moved.mask()


def test_the_loss_of_unimatch_v2_by_hand():
    """The average labels; one strong view reads M times the features, the other 2 - M of the same."""
    torch.manual_seed(0)
    first = Head()
    make = st.learner(copy.deepcopy(first), optimizer="sgd", lr=0.1, momentum=0, weight_decay=0)
    strategy = strategies.UniMatchV2(
        toy.task("segmentation"), make, threshold=0.42, unlabeled_weight=0.7, shared_out=1.0, decay=0.9
    )
    with torch.no_grad():  # a past of its own
        for p in strategy.teacher.model.parameters():
            p.add_(0.1 * torch.randn_like(p))
    teacher = copy.deepcopy(strategy.teacher.model)
    (given,) = batches(strategy, "segmentation")
    masks = []
    strategy.student.model.head.register_forward_pre_hook(lambda _, given: masks.append(given[-1]), prepend=False)
    strategy.student.model.encoder.register_forward_hook(lambda *given: masks.append(given[-1].tanh()))
    report = take_step(strategy, [given])
    weak = given.unlabeled["weak"]
    p = teacher(weak.x).softmax(1)
    sure, decided = (p.amax(1) >= 0.42).float(), p.argmax(1)
    assert 0 < sure.mean() < 1
    torch.manual_seed(3)
    torch.rand(len(weak.x))
    m = 2.0 * (torch.rand(len(weak.x), 4) < 0.5)[:, :, None, None]

    def loss(view, mask):
        label, kept, there = carried(strategy, decided, sure, weak, view)
        unit = F.cross_entropy(first.head(mask * first.encoder(view.x).tanh()), label, reduction="none")
        return (unit * kept * there).sum() / there.sum()

    supervised = strategy.task.loss(first(given.labeled.x), given.labeled.target)
    unsupervised = (loss(given.unlabeled["strong"], m) + loss(given.unlabeled["strong2"], 2 - m)) / 2
    assert report.scalars["loss/unsupervised"].item() == pytest.approx(unsupervised.item(), rel=1e-4)
    (supervised + 0.7 * unsupervised).backward()
    for moved, mean, before, past in zip(
        strategy.student.model.parameters(), strategy.teacher.model.parameters(), first.parameters(),
        teacher.parameters(), strict=True,
    ):  # fmt: skip
        assert torch.allclose(moved, before - 0.1 * before.grad, atol=1e-5)
        assert torch.allclose(mean, 0.5 * past + 0.5 * moved, atol=1e-5)  # the warm start of the first update


def test_two_streams_share_out_the_channels_of_half_of_the_pictures():
    torch.manual_seed(0)
    dense, split, seen = Segmenter(UNetEncoder(16, widths=(4, 8)), 2).eval(), ComplementaryDropout(0.25), []
    x = torch.rand(8, 3, 16, 16)
    dense.head.register_forward_hook(lambda _, inputs, __: seen.append(inputs))
    dense(x)
    for change in (split.first, split.second):
        with features_changed(dense, change):
            dense(x)
    whole, one, other = (inputs[1] for inputs in seen)
    assert len(whole) == 2
    for maps in zip(whole, one, other, strict=True):
        plain, first, second = (part.flatten(2).sum(2) for part in maps)
        assert torch.allclose(first + second, 2 * plain, rtol=1e-4)
        kept = ((first - plain).abs() < 1e-5).all(1)
        assert int(kept.sum()) == 6  # three of four pictures lose nothing
        there = plain[~kept] > 1e-6  # channels that say something at all
        assert ((first[~kept] == 0) != (second[~kept] == 0))[there].all()
    assert torch.equal(seen[1][0], x)


@pytest.mark.parametrize("after", [True, False])
def test_the_released_steps_of_fst_d_on_masks_by_hand(after):
    """Decisions of the 80 % lowest entropy, weighted by all over kept, with boxes; and an average after each step."""
    torch.manual_seed(0)
    first = Head()
    make = st.learner(copy.deepcopy(first), optimizer="sgd", lr=0.1, momentum=0.9, weight_decay=0)
    strategy = strategies.FutureSelfTraining(
        toy.task("segmentation"), make, depth=3, teacher_after=after, faithful="code", decay=0.6, hard=True,
        distance="ce", select=st.select.top(0.8, by="entropy"), unlabeled_weight=1 / 0.8,
        rampup=st.ramp_linear(0), mix=CutMixSeg(0.5),
    )  # fmt: skip
    (given,) = batches(strategy, "segmentation")
    take_step(strategy, [given])
    student, teacher, task = copy.deepcopy(first), copy.deepcopy(first), strategy.task
    optimizer = torch.optim.SGD(student.parameters(), lr=0.1, momentum=0.9, nesterov=True)
    weak, strong, labeled, updates = given.unlabeled["weak"], given.unlabeled["strong"], given.labeled, 0

    def follow():
        nonlocal updates
        updates += 1
        m = min(0.6, 1 - 1 / (updates + 1))
        for mine, theirs in zip(teacher.parameters(), student.parameters(), strict=True):
            mine.data = m * mine.data + (1 - m) * theirs.data

    def step():
        p = teacher(weak.x).detach().softmax(1)
        entropy = -(p * p.log()).sum(1)
        sure = (entropy <= entropy.flatten().sort().values[round(0.8 * entropy.numel()) - 1]).float()
        label, kept, there = carried(strategy, p.argmax(1), sure, weak, strong)
        one_hot = F.one_hot(label, 3).movedim(-1, 1).float()
        x, target = cutmix_seg(strong.x, st.types.Target(one_hot, kept, there > 0), task, probability=0.5)
        unit = F.cross_entropy(student(x), target.value, reduction="none")
        loss = (unit * target.weight * target.mask()).sum() / target.mask().sum() / 0.8
        optimizer.zero_grad()
        (task.loss(student(labeled.x), labeled.target) + loss).backward()
        optimizer.step()

    torch.manual_seed(3)
    today = copy.deepcopy(student.state_dict())
    for _ in range(3):
        follow()
        step()
    follow()
    student.load_state_dict(today)  # and neither the momentum nor what was drawn
    step()
    if after:
        follow()
    for mine, theirs in ((strategy.student.model, student), (strategy.teacher.model, teacher)):
        for p, q in zip(mine.parameters(), theirs.parameters(), strict=True):
            assert torch.allclose(p, q, atol=1e-5)
