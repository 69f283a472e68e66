"""What a run leaves for others: snapshots along the way, a card with its weights, and a start for a further run."""

import json

import pytest
import torch
from helpers import MemoryPile, mlp, pictures, sgd_learner
from pretrain_helpers import conv, vit
from safetensors.torch import load_file

import selftrain as st
from selftrain import data, strategies
from selftrain.handlers.snapshots import log_spaced, read
from selftrain.pretrain import IJEPA, MAE
from selftrain.types import BatchPlan

PLAN = BatchPlan(6, 2.0)


def fixmatch(lr=0.1):
    torch.manual_seed(0)
    return strategies.FixMatch(st.Classification(3), lambda: sgd_learner(mlp(), lr=lr), decay=0.9)


def stage(make=IJEPA, encoder=None, seed=0, **settings):
    torch.manual_seed(seed)
    return make(vit(channels=2) if encoder is None else encoder, **settings)


def weights(strategy):
    return {k: v for k, v in strategy.state_dict().items() if torch.is_tensor(v)}


# -- snapshots ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("total", "count", "steps"),
    [
        (1000, 3, {10, 100, 1000}),
        (1000, 1, {1000}),
        (1000, 0, set()),
        (20, 2, {1, 20}),
        (3, 8, {1, 2, 3}),
        (6400, 4, {64, 297, 1379, 6400}),
    ],
)
def test_moments_are_like_multiples_of_one_another_and_the_last_is_the_end(total, count, steps):
    assert log_spaced(total, count) == steps


def test_snapshots_are_the_exports_of_their_moments_with_their_figures(tmp_path):
    settings = {"plan": PLAN, "steps": 12, "eval_every": 12}
    run = st.fit(stage(), MemoryPile(pictures), out=tmp_path / "run", snapshots=3, **settings)
    rows = read(run.out)
    assert [row["step"] for row in rows] == sorted(log_spaced(12, 3))
    for row in rows:
        kept = load_file(run.out / "snapshots" / row["file"])
        cut = st.fit(stage(), MemoryPile(pictures), stop_after=row["step"], **settings)
        assert all(torch.equal(v, kept[k]) for k, v in cut.export().items())
        figures = st.evaluate(cut.strategy, cut.pile, "validation")
        assert row["figures"]["validation"] == pytest.approx(figures, rel=1e-5)


def test_a_resumed_run_has_the_snapshots_of_the_whole_one(tmp_path):
    settings = {"plan": PLAN, "steps": 12, "snapshots": 4, "checkpoint_every": 5}
    whole = st.fit(stage(), MemoryPile(pictures), out=tmp_path / "whole", **settings)
    st.fit(stage(), MemoryPile(pictures), out=tmp_path / "cut", stop_after=8, **settings)
    rest = st.fit(stage(), MemoryPile(pictures), out=tmp_path / "cut", resume=True, **settings)
    assert read(whole.out) == read(rest.out)
    for row in read(whole.out):
        one, other = (load_file(run.out / "snapshots" / row["file"]) for run in (whole, rest))
        assert all(torch.equal(v, other[k]) for k, v in one.items())


def test_overwriting_removes_snapshots_and_nothing_of_the_users(tmp_path):
    settings = {"plan": PLAN, "steps": 4, "out": tmp_path / "run"}
    st.fit(stage(), MemoryPile(pictures), snapshots=2, **settings)
    (tmp_path / "run" / "snapshots" / "mine.txt").write_text("keep")
    st.fit(stage(), MemoryPile(pictures), overwrite=True, **settings)
    assert read(tmp_path / "run") == []
    assert [p.name for p in (tmp_path / "run" / "snapshots").iterdir()] == ["mine.txt"]


def test_snapshots_need_a_folder():
    with pytest.raises(ValueError, match="snapshots is 3 but there is no run folder"):
        st.fit(stage(), MemoryPile(pictures), plan=PLAN, steps=4, snapshots=3)
    with pytest.raises(ValueError, match="snapshots is -1"):
        log_spaced(10, -1)


def written(folder, figures):
    (folder / "snapshots").mkdir()
    rows = [{"step": i, "file": f"{i}.safetensors", "figures": f} for i, f in enumerate(figures)]
    (folder / "snapshots" / "snapshots.json").write_text(json.dumps(rows))
    return folder


@pytest.mark.parametrize(
    ("settings", "chosen"),
    [
        ({}, 2),
        ({"use": "frozen"}, 1),
        ({"use": "frozen", "figure": "rankme"}, 0),
        ({"use": "frozen", "part": "test"}, 2),
    ],
)
def test_the_choice_follows_the_use(tmp_path, settings, chosen):
    figures = [
        {"validation": {"knn": knn, "rankme": rank}, "test": {"knn": test}}
        for knn, rank, test in ((0.5, 9.0, 0.1), (0.7, 8.0, 0.2), (0.6, 7.0, 0.3))
    ]
    path = st.select_snapshot(written(tmp_path, figures), **settings)
    assert path == tmp_path / "snapshots" / f"{chosen}.safetensors"


def test_without_labels_the_rank_chooses(tmp_path):
    figures = [{"unlabeled": {"rankme_centered": r, "rankme": -r}} for r in (3.0, 5.0, 4.0)]
    assert st.select_snapshot(written(tmp_path, figures), "frozen").name == "1.safetensors"


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"use": "test"}, ValueError, "use is 'test'"),
        (
            {"use": "frozen", "figure": "accuracy"},
            st.RunFolderError,
            r"no figure accuracy of .* \['knn', 'std'\]",
        ),
    ],
)
def test_a_choice_that_cannot_be_made_is_refused(tmp_path, settings, error, message):
    with pytest.raises(error, match=message):
        st.select_snapshot(written(tmp_path, [{"validation": {"knn": 1.0, "std": None}}]), **settings)


def test_a_folder_without_snapshots_is_refused(tmp_path):
    with pytest.raises(st.RunFolderError, match="holds no snapshots"):
        st.select_snapshot(tmp_path)
    written(tmp_path, [])
    (tmp_path / "snapshots" / "snapshots.json").write_text("[{}]")
    with pytest.raises(st.RunFolderError, match="cannot be read"):
        st.select_snapshot(tmp_path)


# -- going on from another run -----------------------------------------------------------------------------------------
@pytest.mark.parametrize("from_folder", [False, True])
def test_a_run_goes_on_from_all_parts_of_another_with_a_new_optimizer(tmp_path, from_folder):
    first = st.fit(stage(), MemoryPile(pictures), plan=PLAN, steps=6, out=tmp_path / "first")
    before = {k: v.clone() for k, v in weights(first.strategy).items()}
    fresh, seen = stage(seed=5), []
    step = fresh.step
    fresh.step = lambda *given: (seen.append({k: v.clone() for k, v in weights(fresh).items()}), step(*given))[1]
    source = tmp_path / "first" if from_folder else first
    run = st.fit(fresh, MemoryPile(pictures), plan=PLAN, steps=4, pretrain=source)
    assert all(torch.equal(v, seen[0][k]) for k, v in before.items())  # encoder, predictor and target encoder
    assert run.before == {part: pytest.approx(f, rel=1e-5) for part, f in first.last.items()}  # the control: step 0
    assert run.last != run.before
    assert fresh.student.optimizer.state_dict()["state"][0]["step"] == 4


def test_a_run_that_continues_another_can_be_resumed(tmp_path):
    first = st.fit(fixmatch(), MemoryPile(), plan=PLAN, steps=6)
    settings = {"plan": PLAN, "steps": 6, "pretrain": first, "checkpoint_every": 2}
    whole = st.fit(fixmatch(0.01), MemoryPile(), out=tmp_path / "whole", **settings)
    st.fit(fixmatch(0.01), MemoryPile(), out=tmp_path / "cut", stop_after=4, **settings)
    rest = st.fit(fixmatch(0.01), MemoryPile(), out=tmp_path / "cut", resume=True, **settings)
    assert whole.before == rest.before != None  # noqa: E711
    assert all(torch.equal(v, weights(rest.strategy)[k]) for k, v in weights(whole.strategy).items())
    assert json.loads((tmp_path / "cut" / "summary.json").read_text())["before"] == whole.before
    rows = [json.loads(line) for line in (tmp_path / "cut" / "metrics.jsonl").read_text().splitlines()]
    assert rows[0]["step"] == 0


def test_a_run_of_its_own_has_no_control_before():
    assert st.fit(fixmatch(), MemoryPile(), plan=PLAN, steps=2).before is None


@pytest.mark.parametrize("other", [lambda: stage(MAE), lambda: stage(encoder=vit(channels=2, width=32)), fixmatch])
def test_another_method_or_network_cannot_go_on(other):
    first = st.fit(stage(), MemoryPile(pictures), plan=PLAN, steps=1)
    with pytest.raises(st.CheckpointError, match="build it with the same method, encoder and sizes"):
        st.fit(other(), MemoryPile() if other is fixmatch else MemoryPile(pictures), plan=PLAN, steps=1,
               pretrain=first)  # fmt: skip


def test_a_folder_without_a_checkpoint_cannot_be_continued(tmp_path):
    with pytest.raises(st.CheckpointError, match="holds no checkpoint"):
        st.fit(stage(), MemoryPile(pictures), plan=PLAN, steps=1, pretrain=tmp_path)


# -- the card ----------------------------------------------------------------------------------------------------------
def image_pile(scale=1.0):
    x = torch.randint(0, 256, (30, 2, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    y = torch.arange(30) % 3
    return data.Pile.from_arrays((x * scale).to(torch.uint8).numpy(), y.numpy(), channels="first", labels=6)


def test_size_and_normalization_travel_with_the_weights(tmp_path):
    pile = image_pile()
    st.fit(stage(), pile, plan=PLAN, steps=1, out=tmp_path / "run")
    for source in (tmp_path / "run", tmp_path / "run" / "export.safetensors"):
        card = st.read_card(source)
        assert card["input"] == {
            "shape": [2, 8, 8],
            "mean": pytest.approx(pile.views.mean.flatten().tolist()),
            "std": pytest.approx(pile.views.std.flatten().tolist()),
        }
        assert card["encoder"] == {
            "class": "ViT", "shape": [2, 8, 8], "grid": [4, 4], "embed_dim": 64, "token_dim": 16
        }  # fmt: skip
        assert (card["strategy"], card["steps"]) == ("IJEPA", 1)
        assert card["versions"]["torch"] == torch.__version__


def test_the_card_travels_with_every_snapshot_and_with_a_run_that_was_cut(tmp_path):
    pile, settings = image_pile(), {"plan": PLAN, "steps": 12, "snapshots": 3, "checkpoint_every": 2}
    st.fit(stage(), pile, out=tmp_path / "run", stop_after=4, **settings)  # the first two of three snapshots
    assert not (tmp_path / "run" / "export.safetensors").exists()
    cut = st.read_card(tmp_path / "run")
    early = st.read_card(st.select_snapshot(tmp_path / "run"))
    assert (cut["steps"], early["steps"]) == (4, 3)
    for card in (cut, early):
        assert card["input"]["shape"] == [2, 8, 8]
        assert card["input"]["mean"] == pytest.approx(pile.views.mean.flatten().tolist())
        assert card["encoder"]["class"] == "ViT"
    assert image_pile(0.5).normalized_as(early["input"]).card()["mean"] == card["input"]["mean"]
    st.fit(stage(), pile, out=tmp_path / "run", resume=True, **settings)
    files = [row["file"] for row in read(tmp_path / "run")]
    cards = [st.read_card(tmp_path / "run" / "snapshots" / file) for file in files]
    assert [card["steps"] for card in cards] == [1, 3, 12]
    assert cards[-1] == st.read_card(tmp_path / "run")
    st.fit(stage(), pile, out=tmp_path / "run", overwrite=True, plan=PLAN, steps=1)
    assert list((tmp_path / "run" / "snapshots").iterdir()) == []


def test_the_card_of_a_classifier_is_of_its_encoder(tmp_path):
    network = st.Classifier(conv(channels=1, size=8), 3)
    x = torch.rand(20, 8, 8).numpy()
    pile = data.Pile.from_arrays(x, (torch.arange(20) % 3).numpy(), labels=6)
    strategy = strategies.FixMatch(st.Classification(3), st.learner(network), decay=0.9)
    st.fit(strategy, pile, plan=PLAN, steps=1, out=tmp_path / "run")
    assert st.read_card(tmp_path / "run")["encoder"]["class"] == "ConvEncoder"


def test_a_pile_takes_the_normalization_of_an_encoder():
    bright, dark = image_pile(), image_pile(0.5)
    card, index = bright.card(), torch.arange(4)
    changed = dark.normalized_as(card)
    assert changed.card() == card != dark.card()
    x = dark.unlabeled.images(index.numpy())
    expected = (x / 255 - bright.views.mean) / bright.views.std
    assert torch.allclose(changed.views("plain", x, index, 0).x, expected, atol=1e-5)
    with pytest.raises(st.DataError, match=r"inputs are \[2, 8, 8\], the encoder was trained on \[2, 9, 9\]"):
        dark.normalized_as(card | {"shape": [2, 9, 9]})


def test_a_pile_without_a_normalization_of_its_own_says_so():
    pile = image_pile()

    class Own:
        on_workers = False

        def __call__(self, *given):
            return pile.views(*given)

    plain = data.Pile(None, pile.unlabeled)
    plain.views = Own()
    assert plain.card() == {"shape": [2, 8, 8], "mean": None, "std": None}
    with pytest.raises(st.DataError, match="Own take no mean and std"):
        plain.normalized_as(pile.card())


def test_clouds_are_normalized_each_on_its_own():
    """Neither the encoder nor the pile has a mean and a deviation: there is nothing to take over."""
    x = torch.randn(12, 16, 3, generator=torch.Generator().manual_seed(0))
    pile = data.Pile.from_arrays(x.numpy(), (torch.arange(12) % 3).numpy(), labels=6, kind="points")
    card = pile.card()
    assert card == {"shape": [16, 3], "mean": None, "std": None}
    assert pile.normalized_as(card).card() == card
    with pytest.raises(st.DataError, match="PointViews take no mean and std"):
        pile.normalized_as(card | {"mean": [0.5]})
    with pytest.raises(st.DataError, match=r"inputs are \[16, 3\], the encoder was trained on \[8, 3\]"):
        pile.normalized_as(card | {"shape": [8, 3]})


@pytest.mark.parametrize("content", [None, "{", "[]", '{"strategy": 1}'])
def test_a_card_that_is_none_is_refused(tmp_path, content):
    if content is not None:
        (tmp_path / "export.json").write_text(content)
    with pytest.raises(st.RunFolderError, match="card"):
        st.read_card(tmp_path)
