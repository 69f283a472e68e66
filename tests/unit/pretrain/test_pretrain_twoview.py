"""The stage on two or more views: which embedding is of which view and sample, and what is watched."""

import torch
from pretrain_helpers import images, train, vit
from torch import nn

from selftrain.pretrain import JointEmbedding, UniSiam
from selftrain.types import Batch, Clock, Unlabeled, View

VIEWS = ("strong", "weak", "strong2")


class Listening(nn.Module):
    """Keeps what it is given."""

    needs_predictor = True

    def forward(self, z, q):
        self.heard = (z, q)
        return (z * q).mean(), {"part": z.detach().mean()}


def three_views(count=4):
    """Each sample looks different in each view."""
    return {name: images(count, seed=10 + number) for number, name in enumerate(VIEWS)}


def stage(**settings):
    torch.manual_seed(0)
    return JointEmbedding(vit(), Listening(), **({"projector": (8, 6), "views": VIEWS} | settings))


def look(views):
    """A batch that offers further views, in another order."""
    shown = {name: View(x) for name, x in reversed([("plain", images(4, seed=9)), *views.items()])}
    return Batch(None, Unlabeled(shown, torch.arange(4)))


def test_the_loss_gets_the_embeddings_of_each_view_in_the_order_of_the_views():
    """At rest a network treats each input alone: the embeddings of a view are what it makes of that view."""
    strategy, views = stage().eval(), three_views()
    loss, scalars = strategy.objective(look(views), Clock(0, 0, 10))
    z, q = strategy.loss.heard
    network = strategy.student.model
    assert z.shape == q.shape == (3, 4, 6)
    for number, name in enumerate(VIEWS):
        alone = network.projector(network.encoder(views[name]))
        assert torch.allclose(z[number], alone, atol=1e-6), name
        assert torch.allclose(q[number], network.predictor(alone), atol=1e-6), name
    assert torch.equal(loss, (z * q).mean())
    assert {"loss/views", "loss/part"} <= set(scalars)
    assert torch.equal(scalars["loss/part"], z.detach().mean())


def test_batch_statistics_are_those_of_all_views_together():
    strategy, views = stage().train(), three_views()
    strategy.objective(look(views), Clock(0, 0, 10))
    first = strategy.student.model.projector[0]
    with torch.no_grad():
        inside = first(strategy.student.model.encoder(torch.cat([views[name] for name in VIEWS])))
    norm = strategy.student.model.projector[1]
    assert torch.allclose(norm.running_mean, 0.1 * inside.mean(0), atol=1e-5)
    assert torch.allclose(norm.running_var, 0.9 + 0.1 * inside.var(0), atol=1e-5)


def test_a_predictor_is_built_where_the_loss_asks_for_one():
    assert stage().student.model.predictor[0].out_features == 1  # a quarter of 6
    assert stage(predictor=5).student.model.predictor[0].out_features == 5
    strategy = UniSiam(vit(), projector=(8, 8))
    before = [p.clone() for p in strategy.student.model.predictor.parameters()]
    train(strategy, images(6), 0, 2)
    assert not any(
        torch.equal(p, b) for p, b in zip(strategy.student.model.predictor.parameters(), before, strict=True)
    )
