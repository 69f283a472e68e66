import copy
import math
import shutil

import pytest
import torch
from helpers import adam_learner, convnet, mlp, normed, same, sgd_learner, snapshot, weights
from torch import nn
from torch.nn import functional as F

from selftrain.errors import TrainingError
from selftrain.networks import optim
from selftrain.networks.student import Learner, modules_of, set_mode, weights_in
from selftrain.schedule import cosine


def data(n=8, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, 3, generator=generator), torch.randint(3, (n,), generator=generator)


def loss_of(learner, rows=slice(None), seed=0):
    x, y = data(seed=seed)
    return F.cross_entropy(learner(x[rows]), y[rows])


def distance(before, after):
    return math.sqrt(sum(float((a - b).square().sum()) for a, b in zip(before, after, strict=True)))


# -- forward -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("together", [True, False])
def test_several_inputs_go_through_one_pass_over_the_joined_batch_or_a_pass_each(together):
    learner = sgd_learner(normed(dropout=0.0))
    parts = torch.randn(4, 3), torch.randn(6, 3) + 2
    reference = copy.deepcopy(learner.model)
    first, second = learner(*parts, together=together)
    wanted = reference(torch.cat(parts)) if together else torch.cat([reference(part) for part in parts])
    assert torch.equal(torch.cat([first, second]), wanted)
    assert (len(first), len(second)) == (4, 6)
    assert int(learner.model[1].num_batches_tracked) == (1 if together else 2)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_low_precision_computes_low_and_answers_in_fp32(precision):
    torch.manual_seed(0)
    x = torch.randn(16, 3)
    exact, low = sgd_learner(mlp())(x), sgd_learner(mlp(), precision=precision)(x)
    assert low.dtype == torch.float32
    assert torch.allclose(exact, low, atol=0.05)
    assert not torch.equal(exact, low)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_low_precision_training_stays_near_the_exact_one(precision):
    exact, low = sgd_learner(mlp()), sgd_learner(mlp(), precision=precision)
    start = weights(exact)
    for _ in range(5):
        for learner in (exact, low):
            learner.update(loss_of(learner))
    moved = distance(start, weights(exact))
    assert distance(weights(exact), weights(low)) < 0.05 * moved
    assert low.grad_norm.item() == pytest.approx(exact.grad_norm.item(), rel=0.05)  # the scale of fp16 is out of it
    assert next(low.parameters()).dtype == torch.float32


@pytest.mark.parametrize(
    ("network", "bf16", "low"),
    [(mlp, True, False), (convnet, True, True), (convnet, False, False)],
    ids=["no convolutions", "convolutions", "convolutions without instructions"],
)
def test_auto_precision_on_cpu_is_bf16_for_convolutions_where_the_cpu_computes_in_it(network, bf16, low, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": bf16}, raising=False)
    x = torch.randn(4, 2, 8, 8) if network is convnet else torch.randn(4, 3)
    model = network()
    exact, auto, half = (sgd_learner(copy.deepcopy(model), precision=p)(x) for p in ("fp32", "auto", "bf16"))
    assert torch.equal(auto, half if low else exact)
    assert not torch.equal(half, exact)


def test_fp16_leaves_out_a_step_that_overflows_and_says_that_the_weights_stayed():
    learner = sgd_learner(mlp(), precision="fp16")
    before, scale = weights(learner), learner.scaler.get_scale()
    assert learner.update(loss_of(learner) * 1e30) is False
    assert same(before, weights(learner))
    assert learner.scaler.get_scale() == scale / 2
    assert learner.update(loss_of(learner)) is True
    assert not same(before, weights(learner))


def test_channels_last_changes_the_layout_and_not_the_result():
    x = torch.randn(4, 2, 8, 8)
    by_default, off = sgd_learner(convnet()), sgd_learner(convnet(), channels_last=False)
    assert by_default.channels_last
    assert by_default.model[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert not off.channels_last
    assert torch.allclose(by_default(x), off(x), atol=1e-5)
    for learner in (by_default, off):
        learner.update(learner(x).square().mean())
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(weights(by_default), weights(off), strict=True))


def test_channels_last_reaches_the_input():
    seen = []
    learner = sgd_learner(convnet())
    learner.model[0].register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    learner(torch.randn(4, 2, 8, 8))
    assert seen[0].is_contiguous(memory_format=torch.channels_last)


def test_networks_without_convolutions_keep_their_layout():
    assert not sgd_learner(mlp()).channels_last


@pytest.mark.slow
@pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="torch.compile needs a C++ compiler")
def test_a_compiled_learner_gives_the_same_result():
    plain, compiled = sgd_learner(mlp()), sgd_learner(mlp(), compile=True)
    assert plain.state_dict().keys() == compiled.state_dict().keys()
    called = []
    compiled.model.forward = _counted(compiled.model.forward, called)
    for _ in range(3):
        losses = [loss_of(learner) for learner in (plain, compiled)]
        assert losses[0].item() == pytest.approx(losses[1].item(), rel=1e-5)
        for learner, loss in zip((plain, compiled), losses, strict=True):
            learner.update(loss)
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(weights(plain), weights(compiled), strict=True))
    assert len(called) < 3  # Python was left after the first passes


def _counted(function, calls):
    def counted(x):
        if not torch.compiler.is_compiling():
            calls.append(1)
        return function(x)

    return counted


# -- labels ------------------------------------------------------------------------------------------------------------
def label_twice(mode, was_training=True):
    """Two labelings in a row and the network before and after."""
    learner = sgd_learner(normed()).train(was_training)
    x = torch.randn(32, 3) + 1
    reference, before = copy.deepcopy(learner.model), snapshot(learner.model)
    torch.manual_seed(0)
    first, second = learner.label(x, mode), learner.label(x, mode)
    assert learner.training is was_training
    assert all(module.training is was_training for module in learner.modules())
    assert not first.requires_grad
    return first, second, reference, x, before, learner.model


def by_batch_statistics(network, x):
    """The network's output with BatchNorm by this batch and without dropout, from the formulas."""
    hidden = network[0](x)
    hidden = (hidden - hidden.mean(0)) / (hidden.var(0, correction=0) + 1e-5).sqrt()
    return network[4]((hidden * network[1].weight + network[1].bias).relu())


@pytest.mark.parametrize("was_training", [True, False])
def test_labels_of_mode_eval_move_nothing_and_use_running_statistics(was_training):
    first, second, reference, x, before, model = label_twice("eval", was_training)
    assert torch.equal(first, reference.eval()(x))
    assert torch.equal(first, second)
    assert same(before, model.state_dict())


@pytest.mark.parametrize("was_training", [True, False])
def test_labels_of_mode_batch_use_this_batch_without_dropout_and_move_the_statistics(was_training):
    first, second, reference, x, before, model = label_twice("batch", was_training)
    assert torch.allclose(first, by_batch_statistics(reference, x), atol=1e-5)
    assert torch.allclose(first, second)
    assert not torch.equal(before["1.running_mean"], model[1].running_mean)
    assert int(model[1].num_batches_tracked) == 2


@pytest.mark.parametrize("was_training", [True, False])
def test_labels_of_mode_frozen_use_this_batch_and_dropout_but_move_nothing(was_training):
    first, second, reference, x, before, model = label_twice("frozen", was_training)
    assert not torch.equal(first, second)  # dropout
    torch.manual_seed(0)
    assert torch.equal(first, reference.train()(x))  # as in training
    assert same(before, model.state_dict())


@pytest.mark.parametrize("was_training", [True, False])
def test_labels_of_mode_train_are_those_of_training(was_training):
    first, second, reference, x, before, model = label_twice("train", was_training)
    torch.manual_seed(0)
    assert torch.equal(first, reference.train()(x))
    assert not torch.equal(first, second)
    assert int(model[1].num_batches_tracked) == 2


def test_an_unknown_label_mode_is_named():
    with pytest.raises(ValueError, match="label mode is 'test'; choose one of eval, batch, frozen, train"):
        sgd_learner().label(torch.randn(2, 3), "test")


@pytest.mark.parametrize("mode", ["eval", "frozen"])
def test_a_network_that_fails_while_labeling_is_put_back(mode):
    learner = sgd_learner(normed()).train()
    before = snapshot(learner.model)
    with pytest.raises(RuntimeError):
        learner.label(torch.randn(4, 99), mode)
    assert all(module.training for module in learner.modules())
    assert same(before, learner.model.state_dict())


# -- update ------------------------------------------------------------------------------------------------------------
def test_an_update_is_a_step_of_the_optimizer():
    learner, reference = sgd_learner(mlp(), lr=0.3, momentum=0), mlp()
    x, y = data()
    F.cross_entropy(reference(x), y).backward()
    expected = [p.detach() - 0.3 * p.grad for p in reference.parameters()]
    assert learner.update(loss_of(learner)) is True
    assert all(torch.allclose(a, b, atol=1e-7) for a, b in zip(expected, weights(learner), strict=True))
    assert all(p.grad is None for p in learner.parameters())


@pytest.mark.parametrize(("limit", "clipped"), [(0.01, True), (100.0, False), (None, False)])
def test_clipping_bounds_the_step_and_reports_the_norm_before(limit, clipped):
    learner = sgd_learner(mlp(), lr=1.0, momentum=0, max_grad_norm=limit)
    before = weights(learner)
    gradient = torch.autograd.grad(loss_of(learner), list(learner.parameters()))
    norm = math.sqrt(sum(float(g.square().sum()) for g in gradient))
    learner.update(loss_of(learner))
    assert distance(before, weights(learner)) == pytest.approx(0.01 if clipped else norm, rel=1e-3)
    assert learner.grad_norm.item() == pytest.approx(norm, rel=1e-5)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_clipping_does_not_depend_on_the_precision(precision):
    learner = sgd_learner(mlp(), lr=1.0, momentum=0, max_grad_norm=0.01, precision=precision)
    before = weights(learner)
    learner.update(loss_of(learner))
    assert distance(before, weights(learner)) == pytest.approx(0.01, rel=1e-2)


@pytest.mark.parametrize("parts", [2, 4])
def test_accumulation_equals_a_big_batch(parts):
    whole, pieces = adam_learner(mlp()), adam_learner(mlp(), accumulate=parts)
    for step in range(3):
        whole.update(loss_of(whole, seed=step))
        before = weights(pieces)
        moved = [
            pieces.update(loss_of(pieces, slice(i * 8 // parts, (i + 1) * 8 // parts), seed=step)) for i in range(parts)
        ]
        assert moved == [False] * (parts - 1) + [True]
        assert not same(before, weights(pieces))
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(weights(whole), weights(pieces), strict=True))
    assert pieces.grad_norm.item() == pytest.approx(whole.grad_norm.item(), rel=1e-4)


def test_weights_stay_while_gradients_gather():
    learner = sgd_learner(mlp(), accumulate=3)
    before, gathering = weights(learner), [learner.gathering]
    for _ in range(2):
        learner.update(loss_of(learner))
        gathering.append(learner.gathering)
    assert same(before, weights(learner))
    learner.update(loss_of(learner))
    assert [*gathering, learner.gathering] == [False, True, True, False]


def test_pace_sets_each_groups_rate_from_its_own_peak():
    model = mlp()
    groups = [{"params": model[0].parameters(), "lr": 1.0}, {"params": model[2].parameters(), "lr": 0.1}]
    learner = Learner(model, torch.optim.SGD(groups), schedule=cosine())
    for progress, factor in [(0.0, 1.0), (0.5, 0.5), (0.5, 0.5), (1.0, 0.0), (0.0, 1.0)]:
        learner.set_lr(progress)
        assert [g["lr"] for g in learner.optimizer.param_groups] == pytest.approx([factor, 0.1 * factor])


def test_without_a_schedule_the_rate_stays():
    learner = sgd_learner(lr=0.3)
    learner.set_lr(0.7)
    assert learner.optimizer.param_groups[0]["lr"] == 0.3


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_loss_that_is_no_number_stops_before_the_weights(bad, precision):
    learner = sgd_learner(mlp(), precision=precision)
    before = snapshot(learner)
    with pytest.raises(TrainingError, match=f"the loss is {bad}; lower the learning rate or set max_grad_norm"):
        learner.update(loss_of(learner) * bad)
    assert same(before, learner.state_dict())


@pytest.mark.parametrize("limit", [None, 1.0])
def test_a_gradient_that_is_no_number_stops_before_the_weights(limit):
    learner = sgd_learner(mlp(), max_grad_norm=limit)
    learner.update(loss_of(learner))
    before = snapshot(learner)
    zero = (next(learner.model.parameters()) * 0).sum()
    with pytest.raises(TrainingError, match="the gradient norm is nan"):
        learner.update(torch.sqrt(zero))  # 0, with an infinite slope times 0
    assert same(before, learner.state_dict())
    learner.update(loss_of(learner))
    assert all(torch.isfinite(p).all() for p in learner.parameters())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"accumulate": 0}, "accumulate is 0; it must be at least 1"),
        ({"max_grad_norm": 0.0}, "max_grad_norm is 0.0; it must be above 0, or None"),
        ({"precision": "fp8"}, "precision is 'fp8'; choose auto, fp32, bf16 or fp16"),
    ],
)
def test_settings_out_of_range_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        sgd_learner(**settings)


# -- looking ahead -----------------------------------------------------------------------------------------------------
def busy(make, **settings):
    """A learner in the middle of things: with moments, statistics, a gradient norm and half-gathered gradients."""
    learner = make(normed(), accumulate=2, **settings).train()
    for _ in range(3):
        learner.update(loss_of(learner))
    return learner


def everything(learner):
    state = copy.deepcopy(learner.state_dict())
    grads = [None if p.grad is None else p.grad.clone() for p in learner.parameters()]
    return [state, grads, learner.grad_norm.clone(), torch.get_rng_state()]


@pytest.mark.parametrize("make", [sgd_learner, adam_learner])
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_virtual_steps_leave_no_trace(make, precision):
    learner = busy(make, precision=precision)
    before, start = everything(learner), weights(learner)
    with learner.virtual():
        for seed in range(3):
            assert learner.update(loss_of(learner, seed=seed)) is True  # each one steps, whatever `accumulate` says
        assert not same(start, weights(learner))
    assert same(before, everything(learner))


def test_virtual_steps_before_the_first_real_one_leave_no_moments():
    learner = adam_learner(mlp())
    with learner.virtual():
        learner.update(loss_of(learner))
        assert learner.optimizer.state_dict()["state"]
    assert learner.optimizer.state_dict()["state"] == {}


def test_real_steps_after_virtual_ones_are_the_same():
    plain, ahead = busy(adam_learner), busy(adam_learner)
    with ahead.virtual():
        ahead.update(loss_of(ahead, seed=9))
    for learner in (plain, ahead):
        torch.manual_seed(3)
        learner.update(loss_of(learner, seed=4))
        learner.update(loss_of(learner, seed=5))
    assert same(plain.state_dict(), ahead.state_dict())


def test_looking_ahead_comes_back_after_an_error():
    learner = busy(sgd_learner)
    before = everything(learner)

    def stumble():
        with learner.virtual():
            learner.update(loss_of(learner))
            learner.update(loss_of(learner) * math.nan)

    with pytest.raises(TrainingError):
        stumble()
    assert same(before, everything(learner))


def test_restoring_parameters_alone_lets_the_rest_leak():
    learner = adam_learner(normed()).train()
    learner.update(loss_of(learner))
    before, start, random = snapshot(learner), weights(learner), torch.get_rng_state()
    with learner.virtual("parameters"):
        learner.update(loss_of(learner, seed=1))
    after = learner.state_dict()
    assert same(start, weights(learner))
    assert torch.equal(before["grad_norm"], after["grad_norm"])
    assert not same(before["_extra_state"]["optimizer"], after["_extra_state"]["optimizer"])
    assert not torch.equal(before["model.1.running_mean"], after["model.1.running_mean"])
    assert not torch.equal(random, torch.get_rng_state())  # dropout has drawn


def test_an_unknown_restore_is_named():
    learner = sgd_learner()
    with (
        pytest.raises(ValueError, match="restore is 'weights'; choose 'all' or 'parameters'"),
        learner.virtual("weights"),
    ):
        pass


# -- storage -----------------------------------------------------------------------------------------------------------
def test_the_state_names_each_weight_once():
    names = sgd_learner(mlp()).state_dict().keys()
    assert names == {f"model.{name}" for name in mlp().state_dict()} | {"_extra_state", "grad_norm"}


@pytest.mark.parametrize("make", [sgd_learner, adam_learner])
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_learner_continues_from_its_state_bit_for_bit(make, precision, tmp_path):
    first = busy(make, precision=precision)
    torch.save(first.state_dict(), tmp_path / "state.pt")
    second = make(normed(seed=7), accumulate=2, precision=precision).train()
    second.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    for learner in (first, second):
        for step in range(3):
            torch.manual_seed(step)
            learner.update(loss_of(learner, seed=step))
    assert same(first.state_dict(), second.state_dict())


def test_a_state_without_gathered_gradients_clears_those_of_the_learner():
    fresh, gathering = sgd_learner(mlp(), accumulate=2), sgd_learner(mlp(), accumulate=2)
    gathering.update(loss_of(gathering))
    gathering.load_state_dict(fresh.state_dict())
    assert all(p.grad is None for p in gathering.parameters())
    assert gathering.update(loss_of(gathering)) is False


def test_a_state_that_lacks_a_weight_is_refused():
    state = sgd_learner(mlp()).state_dict()
    del state["model.0.weight"]
    with pytest.raises(RuntimeError, match="model.0.weight"):
        sgd_learner(mlp()).load_state_dict(state)


# -- moving ------------------------------------------------------------------------------------------------------------
def test_moving_keeps_the_scale_of_fp16():
    learner = sgd_learner(mlp(), precision="fp16")
    learner.update(loss_of(learner) * 1e30)  # halves the scale
    before = learner.scaler.state_dict()
    learner.to("cpu")
    assert learner.scaler.state_dict() == before
    assert learner.scaler.is_enabled()


def test_the_scaler_is_on_the_device_of_the_network():
    learner = sgd_learner(mlp(), precision="fp16").to("meta")
    assert learner.scaler._device == "meta"


def test_the_optimizer_follows_where_the_network_goes():
    learner = adam_learner(mlp())
    learner.update(loss_of(learner))
    learner.double()
    x, y = data()
    learner.update(F.cross_entropy(learner(x.double()), y))
    moments = learner.optimizer.state_dict()["state"][0]
    assert moments["exp_avg"].dtype == torch.float64
    assert float(moments["step"]) == 2


def test_a_network_without_weights_has_no_learner():
    with pytest.raises(ValueError, match="empty parameter list"):
        sgd_learner(nn.ReLU())


def test_modes_and_weights_are_those_that_torch_finds():
    """Faster walks: layers at rest stay so, whoever keeps them there, and tied weights are found once."""

    class Resting(nn.Module):
        def train(self, mode=True):
            return super().train(False)

    tied = nn.Linear(2, 2)
    network = nn.Sequential(tied, Resting(), nn.Sequential(nn.BatchNorm1d(2), tied), nn.ParameterList([tied.bias]))
    network.add_module("none", None)
    kept = network[2][0].eval()
    kept.train = lambda mode=True: kept
    twin = copy.deepcopy(network)
    twin[2][0].train = lambda mode=True: twin[2][0]
    for training in (False, True):
        set_mode(network, training)
        twin.train(training)
        assert [m.training for m in network.modules()] == [m.training for m in twin.modules()]
    assert [*map(id, modules_of(network))] == [*map(id, network.modules())]
    assert [*map(id, weights_in(modules_of(network)))] == [*map(id, network.parameters())]


@pytest.mark.parametrize("format", [torch.contiguous_format, torch.channels_last])
def test_the_fused_optimizer_differs_by_rounding(format):
    """Also from weights of another memory format, and from a state that the other kernel has left."""
    x, y = torch.randn(8, 3, 6, 6), torch.arange(8) % 4
    made = []
    for fused in (True, False):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU(), nn.Conv2d(5, 4, 1), nn.Flatten(), nn.Linear(64, 4))
        own = optim.learner(network, lr=0.01, channels_last=format is torch.channels_last)()
        assert own.optimizer.param_groups[0]["fused"]
        own.optimizer.param_groups[0]["fused"] = own.optimizer.param_groups[1]["fused"] = fused
        for step in range(6):
            if step == 3:
                own.load_state_dict(copy.deepcopy(own.state_dict()))
            own.update(nn.functional.cross_entropy(own(x), y))
        made.append([p.detach() for p in network.parameters()])
    for one, other in zip(*made, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
    complex = optim.learner(nn.Sequential(nn.Linear(2, 2, dtype=torch.cfloat)))()
    assert complex.optimizer.param_groups[0]["fused"] is None  # torch's own choice
