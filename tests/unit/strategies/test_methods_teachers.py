"""Two-headed mean teacher, reviewed teacher, and future self-training with moving rules and mixes, traced by hand."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
import zoo
from helpers import normed, shown
from test_methods_consistency import (
    TASK,
    alike,
    batch_of,
    calm,
    cross_entropy,
    descend,
    make,
    net,
    shipped_after,
    supervised,
)
from test_methods_thresholds import AlignByHand, FreeByHand, sure_net
from torch import Tensor, nn
from torch.nn import functional as F
from zoo import take_step

import selftrain as st
from selftrain import mix, select, strategies, toy
from selftrain.errors import DataError
from selftrain.networks import PoseNet, UNetEncoder
from selftrain.select.alignment import Align
from selftrain.strategy.pseudo_labeling import PseudoLabel
from selftrain.types import Batch, Clock, PseudoLabels, Target

DECAY = 0.6
ALWAYS: dict[str, Any] = {"decay": DECAY, "rampup": lambda progress: 1.0}
HARD = ALWAYS | {"unlabeled_weight": 1.0, "distance": "ce", "hard": True}


class Follower:
    """A moving average by hand: weights and BatchNorm statistics keep min(decay, 1 - 1 / (t + 1)) of the old."""

    def __init__(self, start: nn.Module, decay: float = DECAY) -> None:
        self.model, self.decay, self.count = copy.deepcopy(start), decay, 0

    @torch.no_grad()
    def follow(self, *sources: nn.Module, counts: bool = True) -> None:
        keep = min(self.decay, 1 - 1 / (self.count + 2))
        rows = [source.state_dict() for source in sources]
        for name, value in self.model.state_dict().items():
            if value.is_floating_point():
                value.copy_(keep * value + (1 - keep) * torch.stack([row[name] for row in rows]).mean(0))
            else:
                value.copy_(rows[0][name])
        self.count += counts

    def says(self, x: Tensor) -> Tensor:
        return calm(self.model, x).softmax(1)


def joint_logits(model: nn.Module, batch: Batch) -> Tensor:
    """Of four labeled samples and the strong view, in one pass in training mode."""
    return model.train()(torch.cat([batch.labeled.x, batch.unlabeled["strong"].x]))


# -- two heads ---------------------------------------------------------------------------------------------------------
def two_outputs() -> nn.Module:
    return normed(classes=6, dropout=0.0)


@pytest.mark.parametrize("tie", [0.01, 2.0])
def test_one_head_learns_labels_and_the_other_the_teachers_label_head(tie):
    """CE(first head) + w MSE(second head, teacher's first head) + tie x mean squared difference of their logits."""
    strategy = strategies.TwoHeadedMeanTeacher(TASK, make(two_outputs()), tie_weight=tie, **ALWAYS)
    hand, teacher = two_outputs(), Follower(two_outputs())
    for step in range(1, 5):
        batch = batch_of(step)
        taught = calm(teacher.model, batch.unlabeled["weak"].x)[:, :3].softmax(1)
        logits = joint_logits(hand, batch)
        first, second = logits[:, :3], logits[:, 3:]
        apart = (second[4:].softmax(1) - taught).square().mean()
        bound = (first - second).square().mean()
        report = take_step(strategy, [batch])
        assert torch.allclose(report.scalars["loss/tie"], bound, atol=1e-6)
        descend(hand, supervised(first[:4]) + 10 * apart + tie * bound)
        teacher.follow(hand)
        assert alike(strategy.student.model, hand), step
        assert alike(strategy.teacher.model, teacher.model), step
    x = torch.linspace(-1, 1, 12).view(4, 3)
    assert torch.allclose(strategy.predict(x), calm(teacher.model, x)[:, :3].softmax(1), atol=1e-6)


@pytest.mark.parametrize("labels", [True, False])
def test_without_a_tie_each_head_moves_for_its_own_loss_alone(labels):
    """The body hears both, the last layer's rows of a head only what that head learns."""
    weight = 0.0 if labels else 10.0
    settings = {"tie_weight": 0.0, "unlabeled_weight": weight, "rampup": lambda t: 1.0}
    strategy = strategies.TwoHeadedMeanTeacher(TASK, make(two_outputs()), **settings)
    start = two_outputs()[4].weight
    batch = batch_of(1)
    if not labels:
        batch = Batch(replace(batch.labeled, target=batch.labeled.target.scaled(0.0)), batch.unlabeled)
    take_step(strategy, [batch])
    moved = (strategy.student.model[4].weight != start).any(1)
    assert moved.tolist() == [labels] * 3 + [not labels] * 3


def test_a_labeled_step_moves_the_label_head_alone():
    strategy, hand = strategies.TwoHeadedMeanTeacher(TASK, make(two_outputs())), two_outputs()
    batch = batch_of(1)
    descend(hand, supervised(hand.train()(batch.labeled.x)[:, :3]))
    strategy.train()
    strategy.step_labeled(batch, Clock(0, 0, 10))
    assert alike(strategy.student.model, hand)
    assert torch.equal(strategy.student.model[4].weight[3:], two_outputs()[4].weight[3:])
    assert int(strategy.teacher.updates) == 1


def test_the_tie_pulls_the_heads_together():
    def distance(tie: float) -> float:
        strategy = strategies.TwoHeadedMeanTeacher(TASK, make(two_outputs()), tie_weight=tie)
        for step in range(1, 6):
            take_step(strategy, [batch_of(step)])
        first, second = calm(strategy.student.model, batch_of(9).unlabeled["weak"].x).chunk(2, 1)
        return float((first - second).square().mean())

    assert distance(1.0) < 0.6 * distance(0.0)


def test_a_network_with_one_head_is_refused():
    strategy = strategies.TwoHeadedMeanTeacher(TASK, make())
    with pytest.raises(ValueError, match="gives 3 channels; two heads need 6"):
        take_step(strategy, [batch_of(1)])


# -- teacher and reviewer ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("rule", [None, select.above(0.45)])
@pytest.mark.parametrize(("distance", "hard"), [("mse", False), ("ce", False), ("ce", True)])
@pytest.mark.parametrize("follows", ["student", "teacher"])
def test_the_student_learns_from_teacher_and_reviewer_then_both_follow(follows, distance, hard, rule):
    """Sum of two losses of weights 1 and ``review``; the reviewer takes in the student, or the teacher after it."""
    settings = ALWAYS | {"decay": 0.3, "review_decay": 0.6, "distance": distance, "hard": hard, "select": rule}
    strategy = strategies.ReviewedTeacher(TASK, make(sure_net()), follows=follows, review=0.5, **settings)
    hand, teacher, reviewer = sure_net(), Follower(sure_net(), 0.3), Follower(sure_net(), 0.6)
    for step in range(1, 5):
        batch = batch_of(step)
        logits = joint_logits(hand, batch)
        loss = supervised(logits[:4])
        for follower, share in ((teacher, 1.0), (reviewer, 0.5)):
            value = follower.says(batch.unlabeled["weak"].x)
            kept = torch.ones(6) if rule is None else (value.amax(1) >= 0.45).float()
            target = F.one_hot(value.argmax(1), 3).float() if hard else value
            apart = (logits[4:].softmax(1) - target).square().mean(1)
            apart = apart if distance == "mse" else cross_entropy(target, logits[4:])
            loss = loss + 10 * share * (kept * apart).mean()
        descend(hand, loss)
        take_step(strategy, [batch])
        teacher.follow(hand)
        reviewer.follow(hand if follows == "student" else teacher.model)
        assert alike(strategy.student.model, hand), step
        assert alike(strategy.teacher.model, teacher.model), step
        assert alike(strategy.reviewer.model, reviewer.model), step


def _guess(value: Tensor, weight: Tensor) -> PseudoLabel:
    return PseudoLabel(Target(value, weight), PseudoLabels(torch.arange(len(value)), value, weight))


@pytest.mark.parametrize("kind", toy.KINDS)
@pytest.mark.parametrize("distance", ["loss", "consistency"])
def test_the_joint_target_has_the_gradient_of_both(kind, distance):
    """Also where only one of them counts, or none."""
    task, generator = toy.task(kind), torch.Generator().manual_seed(0)
    strategy = strategies.ReviewedTeacher(task, toy.learner(kind), review=0.7)
    shape = toy.learner(kind)()(toy.pile(kind).x[:5]).shape
    logits, *raw = (torch.randn(shape, generator=generator) for _ in range(3))
    values = [task.probs(r) for r in raw]
    units = task.confidence(values[0]).shape
    weights = [torch.rand(units, generator=generator) * (torch.rand(units, generator=generator) > 0.4) for _ in values]
    first, second = (_guess(v, w) for v, w in zip(values, weights, strict=True))
    joint = strategy.joint(first, second)
    assert torch.allclose(joint.labels.weight, weights[0] + 0.7 * weights[1])

    def slope(*targets: tuple[float, Target]) -> Tensor:
        x = logits.clone().requires_grad_(True)
        (found,) = torch.autograd.grad(sum(share * getattr(task, distance)(x, t) for share, t in targets), x)
        return found

    wanted = slope((1.0, first.target), (0.7, second.target))
    assert wanted.abs().max() > 1e-4
    assert torch.allclose(slope((1.0, joint.target)), wanted, atol=1e-6)


@pytest.mark.parametrize("settings", [{}, {"select": select.top(0.5)}, {"distance": "ce", "hard": True}])
def test_without_a_review_it_is_mean_teacher(settings):
    reviewed = strategies.ReviewedTeacher(TASK, make(), review=0.0, **settings, **ALWAYS)
    plain = strategies.MeanTeacher(TASK, make(), **settings, **ALWAYS)
    for step in range(1, 4):
        said = [take_step(s, [batch_of(step)]).scalars for s in (reviewed, plain)]
        assert said[0] == said[1]
    assert not zoo.differences(reviewed.student.state_dict(), plain.student.state_dict())
    assert not zoo.differences(reviewed.teacher.state_dict(), plain.teacher.state_dict())


def test_teacher_and_reviewer_have_thresholds_of_their_own():
    settings = HARD | {"select": select.free(3, decay=0.6), "decay": 0.2}
    strategy = strategies.ReviewedTeacher(TASK, make(sure_net()), review_decay=0.99, **settings)
    teacher, reviewer = FreeByHand(decay=0.6), FreeByHand(decay=0.6)
    for step in range(1, 4):
        batch = batch_of(step)
        x = batch.unlabeled["weak"].x
        values = [calm(s.model, x).softmax(1).double().numpy() for s in (strategy.teacher, strategy.reviewer)]
        (_, kept), (_, reviewed) = teacher.judge(values[0], [], values[0]), reviewer.judge(values[1], [], values[1])
        said = take_step(strategy, [batch]).pseudo_labels
        assert said.weight.tolist() == (kept + reviewed).tolist()
        assert float(strategy.pseudo_labeling.select.level) == pytest.approx(teacher.tau, abs=1e-6)
        assert float(strategy.reviewer_labeling.select.level) == pytest.approx(reviewer.tau, abs=1e-6)
    assert teacher.tau != reviewer.tau


def test_a_labeled_step_moves_the_reviewer_too():
    strategy = strategies.ReviewedTeacher(TASK, make(), review_decay=0.5)
    strategy.step_labeled(batch_of(1), Clock(0, 0, 10))
    assert int(strategy.teacher.updates) == int(strategy.reviewer.updates) == 1
    assert set(strategy.predictors()) == {"teacher", "student", "reviewer"}
    x = batch_of(2).unlabeled["weak"].x
    assert torch.equal(strategy.predictors()["reviewer"](x), calm(strategy.reviewer.model, x).softmax(1))


class Levels(nn.Module):
    """A network of two levels: the logits and one beside them, under the names of torchvision or ours."""

    def __init__(self, name: str = "logits", lone: bool = True) -> None:
        super().__init__()
        self.body, self.name, self.lone = normed(classes=6, dropout=0.0), name, lone

    def forward(self, x: Tensor) -> dict[str, Any]:
        first, second = self.body(x).mul(4).chunk(2, 1)
        return {self.name: first, "aux": second if self.lone else (second,)}


def both_levels(model: nn.Module, x: Tensor) -> list[Tensor]:
    with torch.no_grad():
        said = copy.deepcopy(model).eval()(x)
    return [said["logits"], said["aux"]]


@pytest.mark.parametrize("lone", [True, False])
@pytest.mark.parametrize("together", [True, False])
def test_each_level_learns_labels_and_what_both_teachers_say_at_that_level(together, lone):
    """Of two levels, 1 and 0.3: the moving averages have the second head too, and judge it by its own confidence."""
    settings = ALWAYS | {"decay": 0.3, "review_decay": 0.6, "select": select.above(0.45), "together": together}
    strategy = strategies.ReviewedTeacher(TASK, make(Levels(lone=lone)), review=0.5, levels=(0.3,), **settings)
    hand, teacher, reviewer = Levels(), Follower(Levels(), 0.3), Follower(Levels(), 0.6)
    kept_at = []
    for step in range(1, 5):
        batch, loss = batch_of(step), torch.zeros(())
        labeled, strong = batch.labeled.x, batch.unlabeled["strong"].x
        if together:
            said = hand.train()(torch.cat([labeled, strong]))
            parts = [(said[name][:4], said[name][4:]) for name in ("logits", "aux")]
        else:
            first, second = hand.train()(labeled), hand(strong)
            parts = [(first[name], second[name]) for name in ("logits", "aux")]
        for level, ((own, seen), weight) in enumerate(zip(parts, (1.0, 0.3), strict=True)):
            loss = loss + weight * supervised(own)
            for follower, share in ((teacher, 1.0), (reviewer, 0.5)):
                value = both_levels(follower.model, batch.unlabeled["weak"].x)[level].softmax(1)
                kept = (value.amax(1) >= 0.45).float()
                kept_at.append(tuple(kept.tolist()))
                apart = (seen.softmax(1) - value).square().mean(1)
                loss = loss + weight * 10 * share * (kept * apart).mean()
        descend(hand, loss)
        report = take_step(strategy, [batch])
        teacher.follow(hand)
        reviewer.follow(hand)
        for mine, theirs in ((strategy.student, hand), (strategy.teacher, teacher.model)):
            assert alike(mine.model, theirs), step
        assert alike(strategy.reviewer.model, reviewer.model), step
    assert len(set(kept_at)) > 4
    last = both_levels(strategy.teacher.model, strong)[0].softmax(1)
    assert torch.allclose(strategy.predict(strong), last, atol=1e-6)
    assert report.pseudo_labels.value.shape == (6, 3)


def test_levels_without_a_weight_are_left_aside():
    plain = strategies.ReviewedTeacher(TASK, make(Levels()), **ALWAYS)
    strategies_of = [plain, strategies.ReviewedTeacher(TASK, make(Levels("out")), **ALWAYS)]
    for step in range(1, 3):
        for strategy in strategies_of:
            take_step(strategy, [batch_of(step)])
            strategy.step_labeled(batch_of(step), Clock(0, 0, 10))
    assert not zoo.differences(*(s.state_dict() for s in strategies_of))
    start = Levels().body[4].weight
    moved = (plain.student.model.body[4].weight != start).any(1)
    assert moved.tolist() == [True] * 3 + [False] * 3


def test_levels_have_rules_of_their_own_and_a_labeled_step_learns_them():
    settings = HARD | {"select": select.free(3, decay=0.6), "decay": 0.2}
    strategy = strategies.ReviewedTeacher(TASK, make(Levels()), levels=(1.0,), **settings)
    hands = [FreeByHand(decay=0.6) for _ in range(4)]
    for step in range(1, 3):
        x, said = batch_of(step).unlabeled["weak"].x, []
        for network in (strategy.teacher, strategy.reviewer):
            said += [value.softmax(1).double().numpy() for value in both_levels(network.model, x)]
        for hand, value in zip(hands, said, strict=True):
            hand.judge(value, [], value)
        take_step(strategy, [batch_of(step)])
    (rules,) = strategy.level_labelings
    each = (strategy.pseudo_labeling, rules[0], strategy.reviewer_labeling, rules[1])
    assert [float(rule.select.level) for rule in each] == pytest.approx([hand.tau for hand in hands], abs=1e-6)
    assert len({hand.tau for hand in hands}) == 4
    before = strategy.student.model.body[4].weight.clone()
    strategy.step_labeled(batch_of(2), Clock(0, 0, 10))
    assert (strategy.student.model.body[4].weight != before).any(1).all()


def test_a_pose_network_learns_at_its_levels_and_resumes_bit_for_bit(tmp_path):
    def run(**settings: Any) -> st.Run:
        torch.manual_seed(0)
        net = PoseNet(UNetEncoder(toy.SIDE, 1, widths=(4, 4, 8)), toy.JOINTS, levels=3)
        reviewed = strategies.ReviewedTeacher(toy.task("keypoints"), st.learner(net, lr=0.01), levels=(0.5, 0.25))
        return st.fit(reviewed, toy.pile("keypoints"), steps=4, plan=st.BatchPlan(4, 2.0), **settings)

    whole = run()
    run(out=tmp_path / "run", checkpoints=st.Checkpoints(stop_after=2))
    resumed = run(out=tmp_path / "run", resume=True)
    assert not zoo.differences(whole.strategy.state_dict(), resumed.strategy.state_dict())
    opened = st.open_run(tmp_path / "run", pile=toy.pile("keypoints"))
    assert opened.evaluate("validation") == resumed.evaluate("validation")


def test_networks_with_other_levels_are_refused_before_the_first_step():
    reviewed = strategies.ReviewedTeacher(TASK, make(Levels()), levels=(0.5, 0.25))
    with pytest.raises(DataError, match="answers at 2 levels, and levels has 2 weights beside that of the logits"):
        reviewed.check_networks(torch.zeros(2, 3))
    with pytest.raises(ValueError, match="each weight must be 0 or more"):
        strategies.ReviewedTeacher(TASK, make(), levels=(0.5, -1.0))


# -- future self-training with rules that move -------------------------------------------------------------------------
def still(rule: FreeByHand) -> FreeByHand:
    """The rule as a virtual step sees it: nothing is taken in."""
    held = copy.copy(rule)
    held.decay = 1.0
    return held


def free_loss(student: nn.Module, teacher: Follower, batch: Batch, rule: FreeByHand) -> Tensor:
    """CE on labels and on the teacher's decisions that pass."""
    value = teacher.says(batch.unlabeled["weak"].x)
    _, kept = rule.judge(value.double().numpy(), [], value.numpy())
    logits = joint_logits(student, batch)
    apart = F.cross_entropy(logits[4:], value.argmax(1), reduction="none")
    return supervised(logits[:4]) + (torch.tensor(kept).float() * apart).mean()


@pytest.mark.parametrize("depth", [1, 3])
def test_fst_with_free_thresholds_follows_the_trace_by_hand(depth):
    """Virtual steps use the thresholds as they are; the real step moves them, with what the future teacher says."""
    rule = FreeByHand(decay=0.6)
    settings = HARD | {"select": select.free(3, decay=0.6)}
    strategy = strategies.FutureSelfTraining(TASK, make(sure_net()), depth=depth, **settings)
    hand, teacher = sure_net(), Follower(sure_net())
    for step in range(1, 5):
        batch = batch_of(step)
        teacher.follow(hand)
        ahead = copy.deepcopy(hand)
        for _ in range(depth):
            descend(ahead, free_loss(ahead, teacher, batch, still(rule)))
            teacher.follow(ahead, counts=False)
        descend(hand, free_loss(hand, teacher, batch, rule))
        take_step(strategy, [batch])
        assert alike(strategy.student.model, hand), step
        assert alike(strategy.teacher.model, teacher.model), step
        assert float(strategy.pseudo_labeling.select.level) == pytest.approx(rule.tau, abs=1e-6)
        assert strategy.pseudo_labeling.select.presence.tolist() == pytest.approx(rule.p.tolist(), abs=1e-5)


@pytest.mark.parametrize("width", [1, 3])
def test_fst_w_with_free_thresholds_follows_the_trace_by_hand(width):
    rule = FreeByHand(decay=0.6)
    settings = HARD | {"select": select.free(3, decay=0.6)}
    strategy = strategies.WideFutureSelfTraining(TASK, make(sure_net()), width=width, **settings)
    hand, teacher = sure_net(), Follower(sure_net())
    for step in range(1, 5):
        batch, *extra = [batch_of(step + i) for i in range(1 + width)]
        futures = [copy.deepcopy(hand) for _ in extra]
        for future, ahead in zip(futures, extra, strict=True):
            descend(future, free_loss(future, teacher, ahead, still(rule)))
        teacher.follow(*futures, counts=False)
        descend(hand, free_loss(hand, teacher, batch, rule))
        teacher.follow(hand)
        take_step(strategy, [batch, *extra])
        assert alike(strategy.student.model, hand), step
        assert alike(strategy.teacher.model, teacher.model), step
        assert float(strategy.pseudo_labeling.select.level) == pytest.approx(rule.tau, abs=1e-6)


MOVING = {
    "free": lambda: select.free(3, decay=0.5),
    "flex": lambda: select.flex(60, 3, threshold=0.5),
    "soft": lambda: select.soft(3, decay=0.5),
    "quantile": lambda: select.quantile(0.5, decay=0.5),
    "class_wise": lambda: select.class_wise(3, threshold=0.5, decay=0.5),
}
FUTURES = [(strategies.FutureSelfTraining, {"depth": 3}), (strategies.WideFutureSelfTraining, {"width": 2})]
future_kinds = pytest.mark.parametrize(("cls", "how"), FUTURES, ids=["depth", "width"])


@future_kinds
@pytest.mark.parametrize("faithful", ["paper", "code"])
@pytest.mark.parametrize("name", list(MOVING))
def test_a_moving_rule_moves_once_a_step(name, cls, how, faithful):
    """A copy of the rule that hears each real step's pseudo-labels once is in the same state."""
    strategy = cls(TASK, make(sure_net()), select=MOVING[name](), faithful=faithful, **how, **HARD)
    beside = MOVING[name]().train()
    for step in range(1, 4):
        before = copy.deepcopy(beside.state_dict())
        given = [
            batch_of(step + i, rows=range(6 * (step + i), 6 * (step + i) + 6))
            for i in range(1 + strategy.extra_batches)
        ]
        said = take_step(strategy, given).pseudo_labels
        assert torch.equal(beside(select.score(TASK, said.value, said.index)), said.weight)
        assert not zoo.differences(strategy.pseudo_labeling.select.state_dict(), beside.state_dict()), step
        assert zoo.differences(before, beside.state_dict())
        assert strategy.pseudo_labeling.training


@future_kinds
def test_the_alignment_moves_once_a_step(cls, how):
    strategy = cls(TASK, make(sure_net()), align=Align(TASK, target="labeled", decay=0.5), **how, **HARD)
    beside = AlignByHand(0.5)
    for step in range(1, 4):
        given = [batch_of(step + i) for i in range(1 + strategy.extra_batches)]
        heard: list[Tensor] = []
        handle = strategy.teacher.register_forward_hook(lambda *call, heard=heard: heard.append(call[-1].softmax(1)))
        take_step(strategy, given)
        handle.remove()
        value, labeled = (v.double().numpy() for v in heard[-2:])  # those of the real step
        beside.align(value, labeled)
        assert int(strategy.pseudo_labeling.align.updates) == step
        assert strategy.pseudo_labeling.align.predicted.tolist() == pytest.approx(beside.predicted.tolist(), abs=1e-6)
        assert strategy.pseudo_labeling.align.expected.tolist() == pytest.approx(beside.expected.tolist(), abs=1e-6)


# -- future self-training with mixes -----------------------------------------------------------------------------------
def mixed_step(student: nn.Module, teacher: Follower, batch: Batch) -> None:
    """One step on mixtures of the strong view, targets mixed alike."""
    value = teacher.says(batch.unlabeled["weak"].x)
    target, x = F.one_hot(value.argmax(1), 3).float(), batch.unlabeled["strong"].x
    share, partner = float(torch.distributions.Beta(0.5, 0.5).sample()), torch.randperm(6)
    blended = [share * t + (1 - share) * t[partner] for t in (x, target)]
    logits = student.train()(torch.cat([batch.labeled.x, blended[0]]))
    descend(student, supervised(logits[:4]) + cross_entropy(blended[1], logits[4:]).mean())


def test_fst_with_mixup_follows_the_trace_by_hand():
    """Virtual steps mix too. What they draw at random comes back with the rest, so the real step draws it again."""
    strategy = strategies.FutureSelfTraining(TASK, make(), depth=2, mix=mix.Mixup(0.5), **HARD)
    hand, teacher = net(), Follower(net())
    for step in range(1, 4):
        batch = batch_of(step)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(step)
            teacher.follow(hand)
            ahead = copy.deepcopy(hand)
            for _ in range(2):
                mixed_step(ahead, teacher, batch)
                teacher.follow(ahead, counts=False)
            torch.manual_seed(step)
            mixed_step(hand, teacher, batch)
        take_step(strategy, [batch], seed=step)
        assert alike(strategy.student.model, hand), step
        assert alike(strategy.teacher.model, teacher.model), step


MIXES = [
    ("classification", mix.Mixup(1.0)),
    ("classification", mix.CutMix(1.0)),
    ("segmentation", mix.Mixup(1.0)),
    ("segmentation", mix.CutMix(1.0)),
    ("segmentation", mix.ClassMix()),
    ("keypoints", mix.Mixup(1.0)),
    ("keypoints", mix.CutMix(1.0)),
    ("keypoints", mix.KeypointMix(0.4, pairs=3)),
]


@pytest.mark.parametrize("name", ["fst_d", "fst_w"])
@pytest.mark.parametrize(("kind", "how"), MIXES, ids=lambda v: v if isinstance(v, str) else type(v).__name__)
def test_every_mix_works_in_every_step_and_leaves_the_rule_alone(kind, how, name, monkeypatch):
    groups = toy.task(kind).groups

    def started(**settings: Any) -> Any:
        return zoo.build(name, kind, select=select.free(groups, decay=0.1), **HARD, **settings)

    strategy, plain, calls = started(mix=how), started(), []
    forward = type(how).forward
    monkeypatch.setattr(type(how), "forward", lambda *args: calls.append(1) or forward(*args))
    beside = select.free(groups, decay=0.1).train()
    for step in range(2):
        given = zoo.batches(strategy, kind, step=step)
        said = take_step(strategy, given).pseudo_labels
        take_step(plain, given)
        beside(select.score(toy.task(kind), said.value, said.index))
        assert not zoo.differences(strategy.pseudo_labeling.select.state_dict(), beside.state_dict())
    assert len(calls) == 2 * (4 if name == "fst_d" else 3)
    assert not torch.equal(zoo.weights(strategy), zoo.weights(plain))


# -- settings ----------------------------------------------------------------------------------------------------------
TWO: dict[str, Any] = {"make": make(two_outputs())}
OPTIONS: list[tuple[type, dict[str, Any], list[dict[str, Any]]]] = [
    (
        strategies.TwoHeadedMeanTeacher,
        TWO,
        [{"tie_weight": 0.5}, {"tie_weight": 0.0}, {"unlabeled_weight": 3.0}, {"distance": "ce"}, {"decay": 0.2}],
    ),
    (
        strategies.ReviewedTeacher,
        {"review_decay": 0.7, "decay": 0.3},
        [{"review_decay": 0.2}, {"follows": "teacher"}, {"review": 0.3}, {"decay": 0.9}, {"buffers": "copy"}],
    ),
    (
        strategies.FutureSelfTraining,
        {},
        [
            {"depth": 0}, {"depth": 3}, {"teacher_after": True}, {"faithful": "code"}, {"select": select.top(0.4)},
            {"mix": mix.Mixup(1.0)}, {"align": Align(TASK)}, {"temperature": 0.5},
        ],
    ),
    (strategies.WideFutureSelfTraining, {}, [{"width": 1}, {"faithful": "code"}, {"mix": mix.Mixup(1.0)}]),
]  # fmt: skip
EACH = [(cls, base, change) for cls, base, changes in OPTIONS for change in changes]


@pytest.mark.parametrize(("cls", "base", "change"), EACH, ids=shown)
def test_every_setting_changes_what_is_learned(cls, base, change):
    assert not torch.allclose(shipped_after(cls, dict(base)), shipped_after(cls, base | change), atol=1e-6)


NAN = float("nan")
BAD: list[tuple[type, dict[str, Any], str]] = [
    (strategies.TwoHeadedMeanTeacher, {"tie_weight": -0.1}, "tie_weight is -0.1"),
    (strategies.TwoHeadedMeanTeacher, {"tie_weight": NAN}, "tie_weight is nan"),
    (strategies.TwoHeadedMeanTeacher, {"decay": None}, "decay is None"),
    (strategies.ReviewedTeacher, {"review": -1.0}, "review is -1.0"),
    (strategies.ReviewedTeacher, {"review": NAN}, "review is nan"),
    (strategies.ReviewedTeacher, {"follows": "nobody"}, "follows is 'nobody'"),
    (strategies.ReviewedTeacher, {"review_decay": 1.5}, "decay is 1.5"),
    (strategies.ReviewedTeacher, {"buffers": "mean"}, "buffers is 'mean'"),
    (strategies.FutureSelfTraining, {"depth": -1}, "depth is -1"),
    (strategies.FutureSelfTraining, {"faithful": "roughly"}, "faithful is 'roughly'"),
    (strategies.WideFutureSelfTraining, {"width": 0}, "width is 0"),
    (strategies.WideFutureSelfTraining, {"faithful": "roughly"}, "faithful is 'roughly'"),
]


@pytest.mark.parametrize(("cls", "settings", "said"), BAD)
def test_senseless_settings_are_refused_by_their_value(cls, settings, said):
    with pytest.raises(ValueError, match=said):
        cls(TASK, make(), **settings)
