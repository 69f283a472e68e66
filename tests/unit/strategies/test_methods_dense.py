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
from selftrain.mix import SourceClassMix
from selftrain.networks import Classifier, Segmenter, UNetEncoder
from selftrain.strategies.unimatch import channels_dropped

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
