"""The masked stage: what is seen, what is learned, what follows, with any choice of parts."""

from functools import partial

import pytest
import torch
from pretrain_helpers import batch, conv, gratings, images, perturbed, train, vit
from torch import nn

from selftrain.metrics.features import feature_std
from selftrain.networks.optim import Training
from selftrain.networks.token_grid import Layout, Mask
from selftrain.networks.vit import point_transformer
from selftrain.pretrain import IJEPA, MAE
from selftrain.pretrain.losses import DISTANCES, smooth_l1
from selftrain.pretrain.masked import Masked
from selftrain.pretrain.maskers import LocalWindows, MultiBlock, RandomMask, Runs
from selftrain.pretrain.predictor import Predictor
from selftrain.pretrain.regularizers import SIGReg
from selftrain.pretrain.targets import HOG, EMALatent, FrozenLatent, OwnLatent, Pixels, normalized
from selftrain.types import Clock

FAST = Training(lr=0.01)


def masked(encoder=None, seed=0, **parts):
    torch.manual_seed(seed)
    defaults = {"masker": RandomMask(), "target": Pixels(), "distance": "mse"}
    return Masked(vit() if encoder is None else encoder, **(defaults | parts))


def ema(**settings):
    return {"target": EMALatent(**settings), "masker": MultiBlock(), "distance": "smooth_l1"}


def own(**settings):
    return ema() | {"target": OwnLatent(), "regularizer": SIGReg(slices=8), "projector": (8, 4)} | settings


def masks(strategy, x, seed=3):
    torch.manual_seed(seed)
    return strategy.draw(x, 0.0)


def guesses(strategy, x, mask):
    return strategy.network(x, *mask.by_row())[0].transpose(0, 1)


# -- what is seen ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("make", [vit, conv], ids=["vit", "conv"])
@pytest.mark.parametrize("masker", [RandomMask(), MultiBlock(), LocalWindows(size=3)], ids=str)
def test_predictions_see_nothing_of_what_is_hidden_and_something_of_what_is_seen(make, masker):
    encoder = make()
    strategy = masked(encoder, masker=masker).eval()
    x = images(4, size=encoder.shape[1:])
    mask = masks(strategy, x)
    guess = guesses(strategy, x, mask)
    if len(mask.context) == 1:
        assert torch.equal(guess, guesses(strategy, perturbed(x, mask.context[0], (4, 4)), mask))
    else:  # each window is a look of its own
        for look in range(len(mask.context)):
            other = guesses(strategy, perturbed(x, mask.context[look], (4, 4)), mask)
            assert torch.equal(guess[look], other[look])
    assert not torch.allclose(guess, guesses(strategy, x.flip(0), mask))


@pytest.mark.parametrize("masker", [RandomMask(), MultiBlock(), LocalWindows(size=3)], ids=str)
def test_the_encoder_computes_seen_tokens_only(masker):
    strategy, x = masked(masker=masker), images(4)
    counts = []
    for block in strategy.network.encoder.blocks:
        block.register_forward_hook(lambda module, given, result: counts.append(given[0].shape[:2].numel()))
    mask = masks(strategy, x)
    guesses(strategy, x, mask)
    assert set(counts) == {mask.context.numel()}
    assert mask.context.numel() < 4 * 16 * len(mask.context)


@pytest.mark.parametrize("make", [vit, lambda: cloud_transformer()], ids=["vit", "cloud"])
def test_the_student_computes_seen_tokens_and_the_target_all_of_them_once(make):
    encoder = make()
    x = clouds() if len(encoder.grid) == 1 else images(4)
    strategy = masked(encoder, **ema() | {"masker": Runs() if len(encoder.grid) == 1 else MultiBlock()})
    counts = {"student": [], "target": []}
    for name, network in (("student", strategy.network.encoder), ("target", strategy.target.teacher.model)):
        for block in network.blocks:
            block.register_forward_hook(
                lambda module, given, result, name=name: counts[name].append(given[0].shape[:2].numel())
            )
    torch.manual_seed(1000)
    mask = strategy.draw(x, 0.0)
    torch.manual_seed(1000)
    strategy.step(batch(x), Clock(0, 0, 10))
    blocks, tokens = len(encoder.blocks), len(x) * Layout(encoder.grid).count
    assert counts == {"student": [mask.context.numel()] * blocks, "target": [tokens] * blocks}
    assert mask.context.numel() < tokens


def cloud_transformer():
    torch.manual_seed(0)
    return point_transformer(24, groups=16, neighbors=4, width=16, depth=2, heads=2)


def clouds(count=4):
    return torch.randn(count, 24, 3, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("make", "data", "masker"), [(vit, images, MultiBlock()), (cloud_transformer, clouds, Runs())], ids=["vit", "cloud"]
)
def test_each_target_set_is_a_pass_of_its_own_from_its_own_look(make, data, masker):
    """Of clouds each pass also has to know the places of its own sample."""
    strategy, x = masked(make(), **ema() | {"masker": masker}).eval(), data(4)
    mask = masks(strategy, x)
    guess = guesses(strategy, x, mask)
    for m in range(4):
        assert torch.allclose(guess[m], guesses(strategy, x, Mask(mask.context, mask.targets[m : m + 1]))[0], atol=1e-5)
    context = torch.stack([mask.context[0], mask.context[0].flip(0).contiguous()])
    both = guesses(strategy, x, Mask(context, mask.targets))
    assert torch.allclose(both[:2], guess[:2], atol=1e-5)
    for m in (2, 3):
        alone = guesses(strategy, x, Mask(context[1:], mask.targets[m : m + 1]))[0]
        assert torch.allclose(both[m], alone, atol=1e-5)
        assert not torch.allclose(both[m], guess[m], atol=1e-5)


def test_masks_are_drawn_where_the_tokens_of_each_sample_are():
    """Runs follow the places of a cloud's groups; in raster order they would be scattered."""
    encoder, x = cloud_transformer(), clouds()
    strategy = masked(encoder, **ema() | {"masker": Runs()})
    drawn = masks(strategy, x)
    torch.manual_seed(3)
    expected = Runs()(len(x), encoder.layout(x))
    torch.manual_seed(3)
    raster = Runs()(len(x), Layout(encoder.grid))
    assert torch.equal(drawn.context, expected.context)
    assert torch.equal(drawn.targets, expected.targets)
    assert not torch.equal(drawn.targets, raster.targets)


def test_sets_that_cannot_be_shared_out_among_looks_are_refused():
    with pytest.raises(ValueError, match="3 target sets cannot be shared out among 2 looks"):
        Mask(torch.zeros(2, 1, 1), torch.zeros(3, 1, 1))


def test_every_hidden_place_gets_a_prediction_of_its_own():
    strategy = masked().eval()
    x = images(2)
    assert len(guesses(strategy, x, masks(strategy, x))[0, 0].unique(dim=0)) == 12


# -- the loss ----------------------------------------------------------------------------------------------------------
FORMULAS = {
    "mse": lambda p, y: ((p - y) ** 2).mean(),
    "l1": lambda p, y: (p - y).abs().mean(),
    "smooth_l1": lambda p, y: torch.where((p - y).abs() < 1, (p - y) ** 2 / 2, (p - y).abs() - 0.5).mean(),
    "cosine": lambda p, y: (1 - (p * y).sum(-1) / (p.norm(dim=-1) * y.norm(dim=-1))).mean(),
    "unit_smooth_l1": lambda p, y: (
        ((p / p.norm(dim=-1, keepdim=True) - y / y.norm(dim=-1, keepdim=True)) ** 2 / 2).sum(-1).mean()
    ),  # no difference of two unit vectors' coordinates here is above 1
}


@pytest.mark.parametrize("name", DISTANCES)
def test_the_loss_is_the_distance_between_predictions_and_targets(name):
    strategy, x = masked(**(ema() | {"distance": name})), images(5)
    with torch.no_grad():
        strategy.network.predictor.leave.weight.mul_(3)  # so that some errors are above 1
        strategy.target.teacher.model.norm.weight.mul_(torch.linspace(0.2, 3, 16))  # tokens that are not normalized yet
    twin = masked(seed=1, **(ema() | {"distance": name}))
    twin.load_state_dict(strategy.state_dict())
    torch.manual_seed(1000)
    mask = strategy.draw(x, 0.0)
    guess = guesses(strategy, x, mask)
    tokens = strategy.target.teacher.model.tokens(x)
    tokens = (tokens - tokens.mean(-1, keepdim=True)) / (tokens.var(-1, correction=0, keepdim=True) + 1e-5).sqrt()
    aim = torch.stack([torch.stack([t[i] for t, i in zip(tokens, s, strict=True)]) for s in mask.targets])
    expected = FORMULAS[name](guess, aim)
    assert train(twin, x, 0, 1)[0]["loss/masked"].item() == pytest.approx(expected.item(), rel=1e-4)


@pytest.mark.parametrize("beta", [1.0, 2.0, 0.5])
def test_smooth_l1_is_squared_below_beta_and_absolute_beyond(beta):
    r = torch.tensor([0.0, 0.3, -0.7, 1.5, -1.9, 2.5, -6.0])
    expected = [abs(v) - beta / 2 if abs(v) >= beta else v * v / (2 * beta) for v in r.tolist()]
    guess = torch.tensor([3.0, -1.0, 0.5, 0.0, 2.0, -4.0, 1.0])
    for one, value in zip(r, expected, strict=True):
        assert smooth_l1(one, torch.tensor(0.0), beta=beta).item() == pytest.approx(value, abs=1e-6)
    assert smooth_l1(guess + r, guess, beta=beta).item() == pytest.approx(sum(expected) / 7, abs=1e-6)


def test_targets_are_normalized_before_or_after_they_are_chosen():
    """The norm is over the channels of a token, so it does not matter; over tokens it would."""
    tokens, where = torch.randn(3, 16, 6) * 4 + 1, torch.tensor([[0, 5, 9], [1, 2, 3], [15, 4, 7]])
    chosen = torch.stack([rows[i] for rows, i in zip(tokens, where, strict=True)])
    for norm in ("layer", "l2"):
        assert torch.allclose(OwnLatent(norm=norm).at(tokens, where[None])[0], normalized(chosen, norm), atol=1e-6)


def test_any_function_can_be_the_distance():
    strategy = masked(distance=lambda guess, aim: 7 * (guess - aim).abs().amax())
    assert train(strategy, images(), 0, 1)[0]["loss/masked"] > 0
    with pytest.raises(ValueError, match="distance is 'far'; choose one of mse, l1"):
        masked(distance="far")


def test_a_step_trains_every_part_and_reports_what_to_watch():
    for parts, words in (({}, {"loss/masked"}), (ema(), {"loss/masked", "decay", "target_std"})):
        strategy, x = masked(**parts), images(8)
        before = {n: p.clone() for n, p in strategy.student.named_parameters()}
        rows = train(strategy, x, 0, 3)
        assert set(rows[0]) == words
        assert not any(v.requires_grad or v.shape != () for v in rows[0].values())
        moved = {n for n, p in strategy.student.named_parameters() if not torch.equal(p, before[n])}
        assert moved == {n for n, p in before.items() if p.numel()}


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_flat_inputs_give_finite_gradients(precision):
    for parts in ({}, {"target": HOG(cells=1)}, ema()):
        strategy = masked(training=Training(precision=precision), **parts)
        train(strategy, torch.full((4, 1, 8, 8), 2.0), 0, 1)
        assert all(p.isfinite().all() for p in strategy.parameters())


@pytest.mark.parametrize(
    "change",
    [
        {"masker": RandomMask(0.5)},
        {"target": Pixels(normalize=False)},
        {"target": HOG(cells=1)},
        {"target": EMALatent()},
        {"target": FrozenLatent(vit(seed=4))},
        {"predictor": partial(Predictor, depth=1)},
        {"predictor": partial(Predictor, noise=0.3)},
        {"distance": "l1"},
        {"regularizer": SIGReg(slices=8)},
        {"training": Training(lr=0.1)},
    ],
    ids=str,
)
def test_every_part_changes_what_is_learned(change):
    plain, changed, x = masked(), masked(**change), images()
    train(plain, x, 0, 2)
    train(changed, x, 0, 2)
    first, second = plain.export(), changed.export()
    assert not all(torch.equal(v, second[n]) for n, v in first.items())


# -- targets that follow -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("decay", "share"), [((0.9, 1.0), 0.925), ((0.5, 0.5), 0.5), ((0.0, 0.0), 0.0), ((1.0, 1.0), 1.0)]
)
def test_the_target_encoder_follows_after_the_step_by_the_decay_of_the_moment(decay, share):
    strategy, x = masked(training=FAST, **ema(decay=decay)), images()
    train(strategy, x, 0, 1)
    teacher = strategy.target.teacher
    old = [p.clone() for p in teacher.parameters()]
    row = train(strategy, x, 5, 6, total=20)[0]  # at a quarter of the stage: from either end it is another moment
    assert row["decay"].item() == pytest.approx(share)
    for was, now, student in zip(old, teacher.parameters(), strategy.network.encoder.parameters(), strict=True):
        assert torch.allclose(now, share * was + (1 - share) * student, atol=1e-6)
        if share == 0:
            assert torch.equal(now, student)


def test_the_target_encoder_waits_for_the_optimizer():
    strategy, x = masked(training=Training(lr=0.01, accumulate=2), **ema(decay=(0.0, 0.0))), images()
    teacher = strategy.target.teacher
    start = [p.clone() for p in teacher.parameters()]
    assert "decay" not in train(strategy, x, 0, 1)[0]
    assert all(torch.equal(p, s) for p, s in zip(teacher.parameters(), start, strict=True))
    train(strategy, x, 1, 2)
    assert not all(torch.equal(p, s) for p, s in zip(teacher.parameters(), start, strict=True) if p.numel())


def test_the_target_encoder_is_a_resting_copy_that_no_gradient_reaches():
    strategy = masked(**ema()).train()
    teacher = strategy.target.teacher
    mine, theirs = strategy.network.encoder.state_dict(), teacher.model.state_dict()
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(v, theirs[n]) for n, v in mine.items())
    assert not any(m.training for m in teacher.modules())
    trained = {id(p) for group in strategy.student.optimizer.param_groups for p in group["params"]}
    assert not trained & {id(p) for p in teacher.parameters()}
    assert trained == {id(p) for p in strategy.student.parameters()}


def test_the_target_encoder_takes_the_running_statistics_of_the_student():
    strategy = masked(conv(), **ema())
    train(strategy, images(8, size=(16, 16)), 0, 2)
    mine, theirs = (dict(m.named_buffers()) for m in (strategy.network.encoder, strategy.target.teacher.model))
    assert sum(v.abs().sum() for n, v in mine.items() if n.endswith("running_mean")) > 0
    assert all(torch.equal(v, theirs[n]) for n, v in mine.items())


def test_a_target_may_be_given_to_several_stages():
    """Each has a target encoder of its own, which follows its own student."""
    target = EMALatent(decay=(0.5, 0.5))
    first, second = (masked(vit(seed), training=FAST, **ema() | {"target": target}) for seed in (0, 1))
    assert first.target.teacher is not second.target.teacher
    for strategy, seed in ((first, 0), (second, 1)):
        assert all(torch.equal(v, vit(seed).state_dict()[k]) for k, v in strategy.shipped().state_dict().items())
    before = [p.clone() for p in first.target.teacher.parameters()]
    train(second, images(), 0, 2)
    assert all(torch.equal(p, b) for p, b in zip(first.target.teacher.parameters(), before, strict=True))
    assert not hasattr(target, "teacher")


@pytest.mark.parametrize("ship", ["target", "student", None])
def test_what_is_shipped_can_be_chosen(ship):
    strategy, x = masked(ship=ship, training=FAST, **ema(decay=(0.99, 0.99))), images()
    train(strategy, x, 0, 3)
    student, target = strategy.network.encoder, strategy.target.teacher.model
    assert not torch.equal(student(x), target(x))
    shipped = student if ship == "student" else target
    assert torch.equal(strategy.predict(x), shipped(x))
    assert all(torch.equal(strategy.export()[f"encoder.{n}"], v) for n, v in shipped.state_dict().items())


# -- own latents and regularizers --------------------------------------------------------------------------------------
def test_own_latents_let_gradients_through_both_sides():
    """The target is the student's own: with its gradient stopped the update would be another."""
    stopped = own()
    stopped["target"].at = lambda tokens, positions: OwnLatent().at(tokens.detach(), positions)
    results = []
    for parts in (own(), stopped):
        strategy = masked(**parts)
        train(strategy, images(8), 0, 1)
        results.append(strategy.export()["encoder.norm.weight"])
    assert not torch.equal(*results)


def test_the_regularizer_acts_on_projected_means_and_takes_its_share_of_the_loss():
    heard = []

    class Listening(nn.Module):
        def forward(self, z):
            heard.append(z)
            return z.square().mean()

    for parts, whole in ((own(), True), (ema(), False)):
        heard.clear()
        settings = parts | {"regularizer": Listening(), "projector": (8, 4)}
        strategy, x = masked(regularizer_weight=0.25, **settings), images(6)
        network, losses = strategy.network, []
        torch.manual_seed(1000)
        mask = strategy.draw(x, 0.0)
        tokens = network.encoder.tokens(x) if whole else network.encode(x, mask)
        expected = network.projector(tokens.mean(1))
        update = strategy.student.update
        strategy.student.update = lambda loss, losses=losses, update=update: (losses.append(loss), update(loss))[1]
        row = train(strategy, x, 0, 1)[0]
        assert torch.allclose(heard[0], expected, atol=1e-5)
        assert row["loss/regularizer"].item() == pytest.approx(expected.square().mean().item(), rel=1e-4)
        total = 0.75 * row["loss/masked"] + 0.25 * row["loss/regularizer"]
        assert losses[0].item() == pytest.approx(total.item(), rel=1e-5)


# -- learning ----------------------------------------------------------------------------------------------------------
@pytest.mark.slow
def test_it_learns_to_fill_in_gratings():
    """Masked patches of new images: at least 30 % better than the best constant guess, the patch mean."""
    torch.manual_seed(0)
    strategy = MAE(vit(size=16, patch=4, width=32), mask_ratio=0.5, training=Training(lr=3e-3, beta2=0.95))
    x = gratings(512, 0)
    for step in range(200):
        train(strategy, x[torch.arange(32 * step, 32 * step + 32) % 512], step, step + 1, 200)
    new = gratings(128, 1)
    with torch.no_grad():
        mask = masks(strategy.eval(), new)
        guess, aim = guesses(strategy, new, mask), strategy.target(new, strategy.network.encoder, mask.targets)
    assert (guess - aim).square().mean() < 0.7 * aim.square().mean()


@pytest.mark.slow
def test_it_learns_to_predict_latents_of_gratings_without_collapse():
    torch.manual_seed(0)
    settings = {"predictor_width": 32, "predictor_depth": 1, "masks": MultiBlock(blocks=1, min_keep=6)}
    strategy = IJEPA(vit(size=16, patch=4, width=32), training=Training(lr=3e-3), **settings)
    x = gratings(512, 0)
    for step in range(200):
        train(strategy, x[torch.arange(32 * step, 32 * step + 32) % 512], step, step + 1, 200)
    new = gratings(128, 1)
    assert feature_std(strategy.predict(new)) > 0.05
    mask, encoder = masks(strategy.eval(), new), strategy.network.encoder
    with torch.no_grad():
        guess = guesses(strategy, new, mask)
    aim = strategy.target(new, encoder, mask.targets)
    everywhere = strategy.target(new, encoder, torch.arange(16).expand(1, 128, -1))[0].mean(0)  # mean of each place
    constant = everywhere[mask.targets]
    assert (guess - aim).abs().mean() < 0.8 * (constant - aim).abs().mean()


def test_the_encoder_is_copied():
    encoder = vit()
    before = [p.clone() for p in encoder.parameters()]
    train(masked(encoder), images(), 0, 2)
    assert all(torch.equal(p, b) for p, b in zip(encoder.parameters(), before, strict=True))


# -- pictures ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("normalize", [True, False])
def test_pictures_show_originals_what_was_seen_and_predictions_in_pixels(normalize, monkeypatch):
    strategy, x = masked(target=Pixels(normalize=normalize, flat=0.1)), images(10) * 4 + 3
    mask, encoder = masks(strategy, x[:8]), strategy.network.encoder
    monkeypatch.setattr(strategy, "draw", lambda seen, progress: mask)
    perfect = strategy.target(x[:8], encoder, mask.targets)
    monkeypatch.setattr(strategy.network, "predict", lambda *given: perfect)
    shown = strategy.pictures(batch(x))["reconstruction"]
    assert shown.shape == (24, 1, 8, 8)
    original, seen, filled = shown.split(8)
    low, high = x[:8].amin(), x[:8].amax()
    assert torch.allclose(original, (x[:8] - low) / (high - low), atol=1e-5)
    assert torch.allclose(filled, original, atol=1e-5)
    gray = torch.zeros(8, 16).scatter_(1, mask.targets[0], 1.0).view(8, 1, 4, 4)
    gray = gray.repeat_interleave(2, 2).repeat_interleave(2, 3)
    assert torch.allclose(seen, torch.where(gray.bool(), torch.tensor(0.5), original), atol=1e-5)


def test_pictures_leave_training_as_it_is():
    strategy = masked(conv(), training=FAST).train()
    before = {n: v.clone() for n, v in strategy.state_dict().items() if torch.is_tensor(v)}
    shown = strategy.pictures(batch(images(3, size=(16, 16))))["reconstruction"]
    assert shown.shape == (9, 1, 16, 16)
    assert 0 <= shown.min() <= shown.max() <= 1
    assert all(m.training for m in strategy.modules())
    assert all(torch.equal(v, strategy.state_dict()[n]) for n, v in before.items())
    assert masked(**ema()).pictures(batch(images())) == {}


# -- bad input ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"ship": "target"}, "ship is 'target'"),
        ({"ship": "teacher"}, "ship is 'teacher'"),
        ({"regularizer_weight": 1.5}, "regularizer_weight is 1.5"),
        ({"target": OwnLatent()}, "collapse; give a regularizer"),
        ({"predictor": partial(Predictor, depth=0)}, "depth is 0"),
        ({"predictor": partial(Predictor, heads=5)}, "width is 64 and heads 5"),
        ({"predictor": partial(Predictor, width=30)}, "width is 30"),
        ({"masker": MultiBlock(min_keep=16)}, "min_keep is 16"),
    ],
)
def test_settings_out_of_range_are_refused(parts, message):
    with pytest.raises(ValueError, match=message):
        masked(**parts)


def test_encoders_that_cannot_be_masked_are_refused_before_training():
    with pytest.raises(ValueError, match=r"Linear lacks \['embed_dim'.*'tokens'\]"):
        masked(nn.Linear(3, 3))
    with pytest.raises(ValueError, match="smaller patch"):
        masked(vit(size=4, patch=4))


def test_inputs_that_do_not_fit_the_encoder_are_refused_at_the_first_step():
    with pytest.raises(ValueError, match=r"inputs are \(1, 9, 8\) but the encoder was built for \(1, 8, 8\)"):
        masked().step(batch(images(2, size=(9, 8))), Clock(0, 0, 10))
    with pytest.raises(ValueError, match=r"inputs are \(3, 16, 16\)"):
        masked(conv()).step(batch(images(2, 3, (16, 16))), Clock(0, 0, 10))


def test_a_layout_counts_its_tokens():
    assert Layout((3, 4)).count == 12
