import pytest
import torch
from pretrain_helpers import batch, conv, gratings, images, perturbed, stage, train, vit
from torch import nn

from selftrain.build import Training
from selftrain.pretrain import MAE, random_mask
from selftrain.types import Clock

SHAPES = {"square": (1, (8, 8), 2), "oblong color": (3, (6, 8), (3, 2))}


def fill(network, x, seed=3):
    torch.manual_seed(seed)
    return network.fill(x)


def mask(network, count, seed=3):
    torch.manual_seed(seed)
    return random_mask(count, network.grid, network.mask_ratio)


# -- target ------------------------------------------------------------------------------------------------------------
def test_targets_are_patches_standardized_by_their_own_mean_and_variance():
    network, x = stage("mae", flat=0.5).student.model, images(3)
    hidden = torch.tensor([[0, 5], [15, 2], [7, 8]])
    target = network.target(x, hidden)
    for sample in range(3):
        for n, place in enumerate(hidden[sample].tolist()):
            row, column = 2 * (place // 4), 2 * (place % 4)
            pixels = x[sample, 0, row : row + 2, column : column + 2].flatten()
            variance = ((pixels - pixels.mean()) ** 2).sum() / 3  # unbiased: 4 pixels
            assert torch.allclose(target[sample, n], (pixels - pixels.mean()) / (variance + 0.5).sqrt(), atol=1e-5)


def test_targets_of_any_patch_have_mean_zero_and_variance_at_most_one():
    network = stage("mae").student.model
    x = torch.stack([images(1)[0] * scale + 5 for scale in (0.0, 1e-4, 1.0, 50.0)])
    target = network.target(x, torch.arange(16).expand(4, -1))
    assert target.mean(-1).abs().max() < 1e-2
    assert target.var(-1).max() <= 1 + 1e-5
    assert target[0].abs().max() < 1e-4  # constant patches ask for nothing
    assert target[1].abs().max() < 1e-2  # almost constant ones are not blown up
    assert target[3].var(-1).mean() == pytest.approx(1, abs=0.01)


def test_flat_images_give_finite_gradients():
    strategy = stage("mae", flat=0.0)
    strategy.student.update(strategy.student(images(4)).mean())
    strategy = stage("mae")
    loss = strategy.student(torch.full((4, 1, 8, 8), 2.0)).mean()
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad.isfinite().all() for p in strategy.student.parameters() if p.grad is not None)


# -- loss --------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("channels", "size", "patch"), SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("normalize", [True, False])
def test_the_loss_is_the_mean_squared_error_over_hidden_patches_alone(channels, size, patch, normalize):
    network = MAE(vit(size=size, patch=patch, channels=channels), normalize=normalize).student.model
    x = images(3, channels, size)
    guess, hidden = fill(network, x)
    torch.manual_seed(3)
    loss = network(x)
    rows, columns = network.patch
    for sample in range(3):
        errors = []
        for n, place in enumerate(hidden[sample].tolist()):
            top, left = rows * (place // network.grid[1]), columns * (place % network.grid[1])
            pixels = x[sample, :, top : top + rows, left : left + columns].flatten()
            wanted = (pixels - pixels.mean()) / (pixels.var() + 1e-2).sqrt() if normalize else pixels
            errors.append(((guess[sample, n] - wanted) ** 2).mean())
        assert loss[sample].item() == pytest.approx(torch.stack(errors).mean().item(), rel=1e-4)
    assert len(errors) == network.grid[0] * network.grid[1] * 3 // 4


@pytest.mark.parametrize("make", [vit, lambda: conv(size=16)], ids=["vit", "conv"])
def test_predictions_see_nothing_of_hidden_patches_and_something_of_visible_ones(make):
    strategy = MAE(make())
    network = strategy.student.model.eval()
    contract = network.encoder
    x = images(4, size=(contract.grid[0] * contract.patch[0],) * 2)
    keep, hidden = mask(network, 4)
    guess, places = fill(network, x)
    assert torch.equal(places, hidden)
    assert torch.equal(guess, fill(network, perturbed(x, keep, contract.grid, contract.patch))[0])
    assert not torch.equal(guess, fill(network, perturbed(x, hidden, contract.grid, contract.patch))[0])


def test_every_hidden_place_gets_a_prediction_of_its_own():
    network = stage("mae").student.model
    guess, _ = fill(network, images(2))
    assert len(guess[0].unique(dim=0)) == 12


# -- a step ------------------------------------------------------------------------------------------------------------
def test_a_step_trains_encoder_and_decoder_and_reports_its_loss():
    strategy, x = stage("mae"), images(8)
    before = {n: p.clone() for n, p in strategy.named_parameters()}
    rows = train(strategy, x, 0, 3)
    assert set(rows[0]) == {"loss/mae"}
    assert rows[0]["loss/mae"].shape == ()
    assert not rows[0]["loss/mae"].requires_grad
    still = [n for n, p in strategy.named_parameters() if torch.equal(p, before[n])]
    assert still == []


def test_it_learns_to_fill_in_gratings():
    """Masked patches of new images: at least 30 % better than the best constant guess, the patch mean."""
    torch.manual_seed(0)
    strategy = MAE(vit(size=16, patch=4, width=32), mask_ratio=0.5, training=Training(lr=3e-3, beta2=0.95))
    x = gratings(512, 0)
    for step in range(200):
        train(strategy, x[torch.arange(32 * step, 32 * step + 32) % 512], step, step + 1, 200)
    network, new = strategy.student.model.eval(), gratings(128, 1)
    with torch.no_grad():
        guess, hidden = fill(network, new)
        target = network.target(new, hidden)
    assert (guess - target).square().mean() < 0.7 * target.square().mean()


@pytest.mark.parametrize(
    "change",
    [
        {"mask_ratio": 0.5},
        {"decoder_width": 32},
        {"decoder_depth": 2},
        {"decoder_heads": 2},
        {"normalize": False},
        {"flat": 1.0},
        {"training": Training(lr=0.1)},
    ],
    ids=str,
)
def test_every_setting_changes_what_is_learned(change):
    plain, changed, x = stage("mae"), stage("mae", **change), images()
    first, second = train(plain, x, 0, 2), train(changed, x, 0, 2)
    assert not torch.equal(first[1]["loss/mae"], second[1]["loss/mae"])


def test_the_encoder_is_copied():
    encoder = vit()
    before = [p.clone() for p in encoder.parameters()]
    train(MAE(encoder), images(), 0, 2)
    assert all(torch.equal(p, b) for p, b in zip(encoder.parameters(), before, strict=True))


# -- pictures ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("normalize", [True, False])
def test_pictures_show_originals_what_was_seen_and_predictions_in_pixels(normalize, monkeypatch):
    strategy, x = stage("mae", normalize=normalize, flat=0.1), images(10) * 4 + 3
    network = strategy.student.model
    hidden = mask(network, 8)[1]
    monkeypatch.setattr(network, "fill", lambda seen: (network.target(seen, hidden), hidden))  # a perfect guess
    shown = strategy.pictures(batch(x))["reconstruction"]
    assert shown.shape == (24, 1, 8, 8)
    original, masked, filled = shown.split(8)
    low, high = x[:8].amin(), x[:8].amax()
    assert torch.allclose(original, (x[:8] - low) / (high - low), atol=1e-5)
    assert torch.allclose(filled, original, atol=1e-5)
    blanked = (
        torch.zeros(8, 16).scatter_(1, hidden, 1.0).view(8, 1, 4, 4).repeat_interleave(2, 2).repeat_interleave(2, 3)
    )
    assert torch.allclose(masked, torch.where(blanked.bool(), torch.tensor(0.5), original), atol=1e-5)


def test_pictures_leave_training_as_it_is():
    strategy = stage("mae", conv(), training=Training(lr=0.01)).train()
    before = {n: v.clone() for n, v in strategy.state_dict().items() if torch.is_tensor(v)}
    shown = strategy.pictures(batch(images(3, size=(16, 16))))["reconstruction"]
    assert shown.shape == (9, 1, 16, 16)
    assert 0 <= shown.min() <= shown.max() <= 1
    assert all(m.training for m in strategy.modules())
    assert all(torch.equal(v, strategy.state_dict()[n]) for n, v in before.items())


# -- bad input ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"mask_ratio": 1.0}, "mask ratio is 1.0"),
        ({"flat": -1.0}, "flat is -1.0"),
        ({"decoder_depth": 0}, "depth is 0"),
        ({"decoder_width": 30}, "width is 30"),
        ({"decoder_heads": 3}, "width is 64 and heads 3"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        stage("mae", **settings)


def test_encoders_that_cannot_be_masked_are_refused_before_training():
    with pytest.raises(ValueError, match=r"Linear lacks \['embed_dim'.*'tokens'\]"):
        MAE(nn.Linear(3, 3))
    with pytest.raises(ValueError, match="1 value"):
        MAE(vit(size=4, patch=1))
    assert MAE(vit(size=4, patch=1), normalize=False).student(images(2, size=(4, 4))).isfinite().all()
    with pytest.raises(ValueError, match="smaller patch"):
        MAE(vit(size=4, patch=4))


def test_images_that_do_not_fit_the_encoder_are_refused_at_the_first_step():
    with pytest.raises(ValueError, match=r"images are \(1, 9, 8\) but the encoder has a grid of \(4, 4\)"):
        stage("mae").step(batch(images(2, size=(9, 8))), Clock(0, 0, 10))
    with pytest.raises(ValueError, match=r"images are \(3, 16, 16\)"):
        stage("mae", conv()).step(batch(images(2, 3, (16, 16))), Clock(0, 0, 10))
