import pytest
import torch
from pretrain_helpers import batch, conv, gratings, images, perturbed, stage, train, vit

from selftrain.build import Training
from selftrain.pretrain import IJEPA, BlockPlan
from selftrain.pretrain.jepa import decay_at
from selftrain.pretrain.masking import multi_block
from selftrain.probes import feature_std
from selftrain.types import Clock


def masks(strategy, count, seed=3):
    return multi_block(count, (4, 4), strategy.student.model.plan, generator=torch.Generator().manual_seed(seed))


# -- predictions -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("make", [vit, conv], ids=["vit", "conv"])
def test_predictions_see_only_the_context(make):
    strategy = IJEPA(make())
    network = strategy.student.model.eval()
    encoder = network.encoder
    x = images(4, size=(encoder.grid[0] * encoder.patch[0],) * 2)
    context, targets = masks(strategy, 4)
    guess = network.guess(x, context, targets)
    assert guess.shape == (*targets.shape, encoder.token_dim)
    assert torch.equal(guess, network.guess(perturbed(x, context, encoder.grid, encoder.patch), context, targets))
    assert not torch.equal(guess, network.guess(x + 1, context, targets))


def test_each_block_is_a_pass_of_its_own():
    strategy, x = stage("ijepa"), images(4)
    network = strategy.student.model
    context, targets = masks(strategy, 4)
    guess = network.guess(x, context, targets)
    for m in range(len(targets)):
        assert torch.allclose(guess[m], network.guess(x, context, targets[m : m + 1])[0], atol=1e-5)


def test_the_masks_of_a_call_are_those_of_the_random_state():
    strategy = stage("ijepa")
    torch.manual_seed(3)
    guess = strategy.student(images(4))
    context, targets = strategy.student.model.masks
    expected = masks(strategy, 4)
    assert torch.equal(context, expected[0])
    assert torch.equal(targets, expected[1])
    assert torch.equal(guess, strategy.student.model.guess(images(4), context, targets))


# -- targets -----------------------------------------------------------------------------------------------------------
def test_targets_are_tokens_of_the_whole_image_normalized_over_their_channels():
    strategy, x = stage("ijepa"), images(5)
    train(strategy, x, 0, 2)
    _, places = masks(strategy, 5)
    target = strategy.target(x, places)
    tokens = strategy.teacher.model.tokens(x)
    for m, sample, n in ((0, 0, 0), (3, 4, 1), (1, 2, -1)):
        token = tokens[sample, places[m, sample, n]]
        expected = (token - token.mean()) / (token.var(correction=0) + 1e-5).sqrt()
        assert torch.allclose(target[m, sample, n], expected, atol=1e-5)
    assert target.var(-1, correction=0).allclose(torch.tensor(1.0), atol=1e-3)
    assert not target.requires_grad


def test_the_loss_is_smooth_l1_with_beta_one_to_the_target_of_the_old_target_encoder():
    strategy, x = stage("ijepa", predictor_width=32), 3 * images(5)
    with torch.no_grad():
        strategy.student.model.predictor.leave.weight.mul_(5)  # so that some errors are above 1
    twin = stage("ijepa", predictor_width=32)
    twin.load_state_dict(strategy.state_dict())
    torch.manual_seed(1000)
    guess = strategy.student(x)
    error = (guess - strategy.target(x, strategy.student.model.masks[1])).abs()
    expected = torch.where(error < 1, 0.5 * error**2, error - 0.5).mean()
    assert (error > 1).any()
    row = train(twin, x, 0, 1)[0]
    assert row["loss/ijepa"].item() == pytest.approx(expected.item(), rel=1e-5)


# -- target encoder ----------------------------------------------------------------------------------------------------
def test_the_target_encoder_is_a_resting_copy_that_no_gradient_reaches():
    strategy = stage("ijepa").train()
    mine, theirs = strategy.student.model.encoder.state_dict(), strategy.teacher.model.state_dict()
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(v, theirs[n]) for n, v in mine.items())
    assert not any(m.training for m in strategy.teacher.modules())
    assert not any(p.requires_grad for p in strategy.teacher.parameters())
    trained = {id(p) for group in strategy.student.optimizer.param_groups for p in group["params"]}
    assert not trained & {id(p) for p in strategy.teacher.parameters()}
    assert trained == {id(p) for p in strategy.student.parameters()}


@pytest.mark.parametrize(
    ("decay", "share"), [((0.9, 1.0), 0.95), ((0.5, 0.5), 0.5), ((0.0, 0.0), 0.0), ((1.0, 1.0), 1.0)]
)
def test_the_target_encoder_follows_after_the_step_by_the_decay_of_the_moment(decay, share):
    strategy, x = stage("ijepa", decay=decay, training=Training(lr=0.01)), images()
    train(strategy, x, 0, 1)
    old = [p.clone() for p in strategy.teacher.parameters()]
    row = train(strategy, x, 10, 11, total=20)[0]  # half-way
    assert row["decay"].item() == pytest.approx(share)
    for was, now, student in zip(
        old, strategy.teacher.parameters(), strategy.student.model.encoder.parameters(), strict=True
    ):
        assert torch.allclose(now, share * was + (1 - share) * student, atol=1e-6)
        if share == 0:
            assert torch.equal(now, student)


def test_decay_moves_along_a_line_or_half_a_cosine():
    for path in ("linear", "cosine"):
        assert decay_at(0.0, (0.9, 1.0), path) == pytest.approx(0.9)
        assert decay_at(0.5, (0.9, 1.0), path) == pytest.approx(0.95)
        assert decay_at(1.0, (0.9, 1.0), path) == pytest.approx(1.0)
    assert decay_at(0.25, (0.9, 1.0), "linear") == pytest.approx(0.925)
    assert decay_at(0.25, (0.9, 1.0), "cosine") == pytest.approx(1 - 0.1 * (1 + 2**-0.5) / 2)


def test_the_target_encoder_waits_for_the_optimizer():
    strategy, x = stage("ijepa", decay=(0.0, 0.0), training=Training(lr=0.01, accumulate=2)), images()
    start = [p.clone() for p in strategy.teacher.parameters()]
    train(strategy, x, 0, 1)
    assert all(torch.equal(p, s) for p, s in zip(strategy.teacher.parameters(), start, strict=True))
    train(strategy, x, 1, 2)
    assert not all(torch.equal(p, s) for p, s in zip(strategy.teacher.parameters(), start, strict=True))


def test_the_target_encoder_takes_the_running_statistics_of_the_student():
    strategy = stage("ijepa", conv())
    train(strategy, images(8, size=(16, 16)), 0, 2)
    mine, theirs = (dict(m.named_buffers()) for m in (strategy.student.model.encoder, strategy.teacher.model))
    assert sum(v.abs().sum() for n, v in mine.items() if n.endswith("running_mean")) > 0
    assert all(torch.equal(v, theirs[n]) for n, v in mine.items())


@pytest.mark.parametrize("ship", ["target", "student"])
def test_what_is_shipped_can_be_chosen(ship):
    strategy, x = stage("ijepa", ship=ship, decay=(0.99, 0.99), training=Training(lr=0.01)), images()
    train(strategy, x, 0, 3)
    student, target = strategy.student.model.encoder, strategy.teacher.model
    assert not torch.equal(student(x), target(x))
    assert torch.equal(strategy.predict(x), (target if ship == "target" else student)(x))
    shipped = strategy.export()
    expected = (target if ship == "target" else student).state_dict()
    assert all(torch.equal(shipped[f"encoder.{n}"], v) for n, v in expected.items())


# -- learning ----------------------------------------------------------------------------------------------------------
def test_a_step_trains_encoder_and_predictor_and_reports_what_to_watch():
    strategy, x = stage("ijepa"), images(8)
    before = {n: p.clone() for n, p in strategy.student.named_parameters()}
    rows = train(strategy, x, 0, 3)
    assert set(rows[0]) == {"loss/ijepa", "decay", "target_std"}
    assert not any(v.requires_grad or v.shape != () for v in rows[0].values())
    assert [n for n, p in strategy.student.named_parameters() if torch.equal(p, before[n])] == []


def test_it_learns_to_predict_gratings_without_collapse():
    torch.manual_seed(0)
    settings = {"predictor_width": 32, "predictor_depth": 1, "masks": BlockPlan(blocks=1, min_keep=6)}
    strategy = IJEPA(vit(size=16, patch=4, width=32), training=Training(lr=3e-3), **settings)
    x = gratings(512, 0)
    for step in range(200):
        train(strategy, x[torch.arange(32 * step, 32 * step + 32) % 512], step, step + 1, 200)
    new = gratings(128, 1)
    assert feature_std(strategy.predict(new)) > 0.05
    context, targets = masks(strategy, 128)
    with torch.no_grad():
        guess = strategy.student.model.guess(new, context, targets)
    target = strategy.target(new, targets)
    everywhere = strategy.target(new, torch.arange(16).expand(1, 128, -1))[0].mean(0)  # the batch mean of each place
    constant = everywhere[targets]
    assert (guess - target).abs().mean() < 0.8 * (constant - target).abs().mean()


@pytest.mark.parametrize(
    "change",
    [
        {"predictor_width": 32},
        {"predictor_depth": 1},
        {"predictor_heads": 2},
        {"masks": BlockPlan(blocks=2)},
        {"decay": (0.5, 1.0)},
        {"decay": (0.99, 0.5)},
        {"path": "cosine"},
        {"training": Training(lr=0.1)},
    ],
    ids=str,
)
def test_every_setting_changes_what_is_learned(change):
    plain, changed, x = stage("ijepa"), stage("ijepa", **change), images()
    first, second = train(plain, x, 0, 4), train(changed, x, 0, 4)
    assert not torch.equal(first[3]["loss/ijepa"], second[3]["loss/ijepa"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"decay": (0.9, 1.1)}, r"decay is \(0.9, 1.1\)"),
        ({"path": "step"}, "path is 'step'"),
        ({"ship": "teacher"}, "ship 'teacher'"),
        ({"predictor_depth": 0}, "depth is 0"),
        ({"predictor_heads": 5}, "width is 64 and heads 5"),
        ({"masks": BlockPlan(min_keep=16)}, r"min_keep is 16 but the grid \(4, 4\) has 16 patches"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        stage("ijepa", **settings)


def test_images_that_do_not_fit_the_encoder_are_refused_at_the_first_step():
    with pytest.raises(ValueError, match=r"images are \(1, 9, 8\)"):
        stage("ijepa").step(batch(images(2, size=(9, 8))), Clock(0, 0, 10))
