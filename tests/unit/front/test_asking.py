"""A run answers what a user has: the very answers that its own pile gets, through every door; or a DataError."""

from __future__ import annotations

import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import selftrain as st
from selftrain import data, pretrain, strategies, toy
from selftrain.errors import DataError
from selftrain.front import asking
from selftrain.handlers import Progress, SelfCheck
from selftrain.networks.foundation import Foundation
from selftrain.tensorboard import TensorBoard

QUIET = [Progress(False), SelfCheck(False), TensorBoard(False)]
CPU = torch.device("cpu")
N = 6


class Wide(nn.Module):
    """A linear network on any input; its answers differ for samples that differ."""

    def __init__(self, numbers: int, outputs: int = 3) -> None:
        super().__init__()
        self.flat, self.last = nn.Flatten(), nn.Linear(numbers, outputs)

    def forward(self, x):
        return self.last(self.flat(x.nan_to_num()))


def fitted(pile, out=None, task=None, network=None):
    """A run of two steps on a pile."""
    numbers = int(np.prod(pile.card()["shape"]))
    torch.manual_seed(0)
    task = task or st.Classification(3)
    make = st.learner(network or (lambda: Wide(numbers)), lr=0.1)
    return st.fit(strategies.FixMatch(task, make), pile, steps=2, out=out, plan=st.BatchPlan(labeled=3), handlers=QUIET)


def own(run, part="test"):
    """What the run says of a part of its own pile."""
    with run.strategy.evaluating():
        return np.concatenate([run.strategy.predict(b.x).numpy() for b in run.pile.evaluation(part, 500, CPU)])


def pictures(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (2 * N, *shape), dtype=np.uint8)


LABELS = np.array([0, 1, 2, 0, 1, 2, -1, -1, -1, -1, -1, -1])
TEST = np.arange(2 * N) % 3


def of_arrays(x, **form):
    """A pile of arrays whose test set has all rows."""
    return data.Pile.from_arrays(x, LABELS, x, TEST, **form)


# -- kinds x doors: each gives a pile and the same samples in other forms ---------------------------------------------
def gray(tmp_path):
    x = pictures(8, 8)
    pil = [Image.fromarray(one) for one in x]
    for i, one in enumerate(pil):
        one.save(tmp_path / f"{i:02}.png")
    files = sorted(tmp_path.glob("*.png"))
    np.save(tmp_path / "x.npy", x)
    np.savez(tmp_path / "x.npz", x=x)
    doors = [x, torch.from_numpy(x), list(x), x[:, None], x[..., None], pil, files, [str(f) for f in files]]
    return of_arrays(x), [*doors, tmp_path / "x.npz", tmp_path / "x.npy", [pil[0], files[1], *x[2:]]]


def color(tmp_path):
    x = pictures(8, 6, 3)
    doors = [x, x.transpose(0, 3, 1, 2), torch.from_numpy(x), [Image.fromarray(one) for one in x], tuple(x)]
    torch_set = torch.utils.data.TensorDataset(torch.from_numpy(x).permute(0, 3, 1, 2))
    return of_arrays(x), [*doors, torch_set]


def floats(tmp_path):
    x = (pictures(8, 8) / 255).astype(np.float32)
    return of_arrays(x), [x, x[..., None], torch.from_numpy(x).double(), list(x)]


def limits(tmp_path):
    x = pictures(8, 8).astype(np.int32) * 10 - 500
    return of_arrays(x, limits=(-500, 2050)), [x, x.astype(np.float64), x[:, None]]


def square(tmp_path):
    """Three channels and three columns: the shape tells where the channels are, or what was said of the pile."""
    x = pictures(3, 3, 3)
    return of_arrays(x, channels="last"), [x, list(x)]


def folder(tmp_path):
    x = pictures(12, 9, 3)
    for i, one in enumerate(x):
        for place in (tmp_path / "train" / ("abc"[i % 3] if i < N else "unlabeled"), tmp_path / "test" / "abc"[i % 3]):
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(one).save(place / f"{i:02}.png")
    pile = data.from_folder(tmp_path / "train", size=(6, 8), test=tmp_path / "test", fit="pad")
    order = [int(name[2:4]) for name in pile.test.ids]
    files = [tmp_path / "test" / name for name in pile.test.ids]
    pil = [Image.open(file) for file in files]
    channels_first = x[order].transpose(0, 3, 1, 2)
    doors = [tmp_path / "test", str(tmp_path / "test"), files, pil, x[order], channels_first, list(x[order])]
    return pile, [*doors, [pil[0], files[1], *x[order][2:]]]


def gray_folder(tmp_path):
    x = pictures(5, 5)
    for i, one in enumerate(x):
        for place in (tmp_path / "train" / ("abc"[i % 3] if i < N else "unlabeled"), tmp_path / "test" / "abc"[i % 3]):
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(one).convert("RGBA").save(place / f"{i:02}.png")
    pile = data.from_folder(tmp_path / "train", mode="L", test=tmp_path / "test")
    order = [int(name[2:4]) for name in pile.test.ids]
    rgba = np.stack([np.asarray(Image.fromarray(one).convert("RGBA")) for one in x[order]])
    return pile, [tmp_path / "test", x[order], rgba, rgba[..., :3]]


def table(tmp_path):
    pandas = pytest.importorskip("pandas")
    rng = np.random.default_rng(0)
    sizes = np.where(np.arange(2 * N) % 5 == 4, np.nan, rng.normal(size=2 * N))
    colors = [None if i % 7 == 6 else ["red", "green"][i % 2] for i in range(2 * N)]
    days = pandas.date_range("2024-01-01", periods=2 * N)
    frame = pandas.DataFrame({"size": sizes, "color": colors, "day": days, "ok": np.arange(2 * N) % 2 == 0})
    train = frame.assign(kind=[["a", "b", "c"][i % 3] if i < N else None for i in range(2 * N)])
    test = frame.assign(kind=[["a", "b", "c"][i % 3] for i in range(2 * N)])
    frame.to_csv(tmp_path / "new.csv", index=False)
    rows = [row for _, row in frame.iterrows()]
    doors = [frame, test, frame[["ok", "day", "color", "size"]], tmp_path / "new.csv", frame.to_dict("list"), rows]
    return data.from_table(train, "kind", test=test), [*doors, frame.to_dict("records"), frame.to_numpy()]


def numbers(tmp_path):
    sparse = pytest.importorskip("scipy.sparse")
    pandas = pytest.importorskip("pandas")
    x = np.random.default_rng(0).normal(size=(2 * N, 4)).round(2) * (pictures(4) > 99)
    doors = [x, x.tolist(), torch.from_numpy(x), pandas.DataFrame(x), sparse.csr_matrix(x), sparse.coo_array(x)]
    return of_arrays(x), doors


def series(tmp_path):
    x = np.random.default_rng(0).normal(size=(2 * N, 2, 7)).astype(np.float32)
    return of_arrays(x, kind="series"), [x, list(x), x.tolist(), torch.from_numpy(x)]


def one_channel(tmp_path):
    x = np.random.default_rng(0).normal(size=(2 * N, 1, 7)).astype(np.float32)
    return of_arrays(x, kind="series"), [x, x[:, 0], list(x[:, 0])]


def gaps(tmp_path):
    """Series of unequal length, with gaps; shorter ones than the longest of training may be asked alone."""
    whole = np.random.default_rng(0).normal(size=(2 * N, 7, 2)).astype(np.float32)
    whole[1, 2, 0] = np.nan
    x = [one[: 7 - i % 3] for i, one in enumerate(whole)]
    padded = np.full((2 * N, 2, 7), np.nan, np.float32)
    for i, one in enumerate(x):
        padded[i, :, : len(one)] = one.T
    return of_arrays(x, kind="series", channels="last"), [
        x,
        tuple(x),
        padded.swapaxes(1, 2),
        list(map(torch.from_numpy, x)),
    ]


def points(tmp_path):
    x = np.random.default_rng(0).normal(size=(2 * N, 5, 3)).astype(np.float32)
    return of_arrays(x, kind="points"), [x, list(x)]


KINDS = (gray, color, floats, limits, square, folder, gray_folder, table, numbers, series, one_channel, gaps, points)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_door_gives_the_answers_of_the_pile_bit_for_bit(kind, tmp_path):
    pile, doors = kind(tmp_path)
    run = fitted(pile, tmp_path / "run")
    wanted = own(run)
    assert len(np.unique(wanted.round(5), axis=0)) > N  # a door that mixes samples up would be noticed
    again = st.open_run(tmp_path / "run", network=lambda: Wide(int(np.prod(pile.card()["shape"]))))
    again._build.pile = lambda: pytest.fail("reads the data")  # the record alone says how inputs are read
    for asked, door in [*((run, door) for door in [*doors, pile.test]), *((again, door) for door in doors[:3])]:
        found = asked.predict_proba(door)
        assert found.dtype == np.float32
        assert np.array_equal(found, wanted), (type(door), np.shape(door))
    assert run.predict(doors[0]).tolist() == [pile.classes[i] for i in wanted.argmax(1)]
    many = doors[0] if not isinstance(doors[0], (str, type(tmp_path))) else doors[2]
    one = many.iloc[0] if kind is table else many[0]
    assert np.allclose(run.predict_proba(one), wanted[:1], atol=1e-6)  # one sample is its own batch
    assert (run.strategy.training, again.strategy.training) == (True, False)


class Masks(nn.Module):
    """A logit of each of three classes in each pixel."""

    def __init__(self, outputs: int = 3) -> None:
        super().__init__()
        self.body = nn.Conv2d(1, outputs, 3, padding=1)

    def forward(self, x):
        return self.body(x)


def test_masks_are_maps_and_joints_are_places(tmp_path):
    x = pictures(8, 8)[:, None]
    masks = np.concatenate([np.broadcast_to(np.arange(3)[:, None, None], (3, 8, 8)), np.full((9, 8, 8), -1)])
    np.savez(tmp_path / "masks.npz", x=x, y=masks, x_test=x, y_test=np.abs(masks))
    run = fitted(data.from_arrays_file(tmp_path / "masks.npz"), task=st.Segmentation(3), network=Masks)
    wanted = own(run)
    assert np.array_equal(run.predict_proba(x), wanted)
    assert np.array_equal(run.predict(list(x[:, 0])), wanted.argmax(1))
    assert len(run.label(x).ids) == len(x)

    joints = np.random.default_rng(0).integers(0, 8, (2 * N, 2, 3)).astype(np.float32) + 1
    np.savez(tmp_path / "joints.npz", x=x, y=joints, x_test=x, y_test=joints, x_unlabeled=x)
    task = st.Keypoints(2, (8, 8))
    run = fitted(data.from_arrays_file(tmp_path / "joints.npz"), task=task, network=lambda: Masks(2))
    wanted, found = own(run), run.predict(x)
    assert found.shape == (2 * N, 2, 3)
    for i, j in [(0, 0), (3, 1), (11, 0)]:
        row, column = np.unravel_index(wanted[i, j].argmax(), (8, 8))
        assert found[i, j].tolist() == pytest.approx([column, row, wanted[i, j].max()], abs=0.501)
        assert found[i, j, 2] == wanted[i, j].max()
    # between cells: of what the task draws at a place, that place
    there = torch.tensor([[[2.3, 4.4, 1.0], [5.0, 1.8, 1.0]]])
    said = asking.answers_of(run, task.encode(there).value)
    assert said[0, :, :2] == pytest.approx(there[0, :, :2].numpy(), abs=1e-3)


def test_features_of_a_frozen_encoder_are_made_of_new_inputs_too(tmp_path):
    x = pictures(8, 8)
    torch.manual_seed(1)
    encoder = Foundation(nn.Sequential(nn.Flatten(), nn.Linear(64, 5)), embed_dim=5, modality="image", frozen=True)
    pile = of_arrays(x).encoded(encoder, views=1)
    run = fitted(pile)
    run_encoder = (encoder.eval(), [1, 8, 8])
    type(run).encoder, before = property(lambda self: run_encoder), type(run).encoder
    try:
        assert np.array_equal(run.predict_proba(x), own(run))
        assert np.array_equal(run.predict_proba([Image.fromarray(one) for one in x]), own(run))
    finally:
        type(run).encoder = before


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    """Runs of some kinds, to be asked wrongly."""
    place = tmp_path_factory.mktemp("asked")
    made = {}
    for kind in (gray, color, folder, table, numbers, series, points):
        (place / kind.__name__).mkdir()
        made[kind.__name__] = fitted(kind(place / kind.__name__)[0])
    return made


WRONG = [
    ("gray", lambda: pictures(9, 8), "9, 8.*1x8x8"),
    ("gray", lambda: pictures(8, 8, 3), "8, 8, 3"),
    ("gray", lambda: pictures(8, 8).astype(np.float32), r"from 0 to 255.*x / 255"),
    ("gray", lambda: (pictures(8, 8) / 64 - 2).astype(np.float32), "normalization"),
    ("gray", lambda: Image.new("L", (28, 28)), r"28, 28.*image.resize\(\(8, 8\)\)"),
    ("gray", lambda: [], "of shape"),
    ("gray", lambda: np.zeros((0, 8, 8), np.uint8), "data|shape"),
    ("gray", lambda: None, "None"),
    ("gray", lambda: "cat.png", "cat.png; correct the path"),
    ("gray", lambda: ["cat.png"], "cat.png; correct its path"),
    ("gray", lambda: ["cat.png", 3], "cat.png"),
    ("gray", lambda: 7, "single int"),
    ("gray", lambda: {"x": pictures(8, 8)}, "mapping"),
    ("gray", lambda: np.array(["a", "b"]), "image inputs"),
    ("color", lambda: pictures(8, 6), "image inputs of 3x8x6"),
    ("color", lambda: pictures(6, 8, 3), "6, 8, 3.*3x8x6"),
    ("folder", lambda: pictures(30, 30, 3) / 255, r"give bytes: \(255 \* x\)"),
    ("table", lambda: {"size": [1.0], "color": ["red"]}, "no column"),
    ("table", lambda: np.zeros((2, 3)), "2, 3.*size, color, day, ok"),
    ("table", lambda: pictures(8, 8), "data frame"),
    ("table", lambda: "rows.csv", "rows.csv"),
    ("numbers", lambda: np.zeros((2, 5)), r"2, 5.*table inputs: give an array \(N, 4\)"),
    ("numbers", lambda: np.full((2, 4), np.nan), "nan in column 0"),
    ("numbers", lambda: [["a", "b", "c", "d"]], "text"),
    ("series", lambda: np.zeros((2, 7)) + np.nan, "holds no number"),
    ("series", lambda: np.zeros((3, 2, 8)), "2, 8.*series inputs of 2x7"),
    ("series", lambda: [np.zeros((2, 7)), np.zeros((2, 5))], "gaps .NaN.*fill them in"),
    ("series", lambda: np.zeros((3, 2, 5)), "2, 5.*2x7"),
    ("points", lambda: np.zeros((4, 5, 2)), "points inputs of 5x3"),
]


@pytest.mark.parametrize(("kind", "make", "message"), WRONG, ids=range(len(WRONG)))
def test_another_form_is_refused_with_what_is_there_and_what_is_wanted(asked, kind, make, message):
    for door in (asked[kind].predict, asked[kind].predict_proba, asked[kind].label):
        if door == asked[kind].label and make() is None:
            continue  # its own unlabeled samples
        with pytest.raises(DataError, match=f"(?s){message}"):
            door(make())


def test_the_remedies_for_pictures_are_right(asked):
    run, x = asked["gray"], pictures(8, 8)
    for remedied in (x.astype(np.float32) / 255, x.astype(np.float32).astype("uint8")):
        assert np.allclose(run.predict_proba(remedied), own(run), atol=1e-6)
    big = Image.fromarray(pictures(28, 28)[0])
    assert len(run.predict(big.resize((8, 8)))) == 1
    deep = pictures(30, 30, 3) / 255
    assert len(asked["folder"].predict((255 * deep).round().astype("uint8"))) == 2 * N
    # what was normalized before, and pictures where arrays of other channels or values were
    with pytest.raises(DataError, match="before any normalization"):
        run.predict((x / 255 - 0.5) / 0.2)
    five = np.repeat(x[:, None], 5, 1)
    wide = fitted(of_arrays(five, channels="first"))
    with pytest.raises(DataError, match="learned from 5 channels; pass arrays"):
        wide.predict(Image.fromarray(x[0]))
    assert np.array_equal(wide.predict_proba(five), own(wide))
    dim = fitted(of_arrays(x, limits=(0, 100)))
    with pytest.raises(DataError, match="bytes.*pass arrays"):
        dim.predict(Image.fromarray(x[0]))
    assert np.array_equal(dim.predict_proba(x), own(dim))
    with pytest.warns(UserWarning, match=r"black at 0 and white at 100; if they were normalized"):
        dim.predict(((x - x.mean()) / x.std()).astype(np.float32))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dim.predict(x.astype(np.float32) / 3 - 1)  # an offset of the sensor


def test_stages_and_piles_of_another_kind_say_what_to_do_instead():
    x = pictures(8, 8)
    stage = st.fit(pretrain.MAE(pretrain.ViT(8, 4, width=16, depth=1)), of_arrays(x), steps=1, handlers=QUIET)
    for door in (stage.predict, stage.predict_proba, stage.label):
        with pytest.raises(ValueError, match="MAE has learned without labels.*init_from=run"):
            door(x)
    toys = strategies.Supervised(toy.task("classification"), toy.learner("classification"))
    run = st.fit(toys, toy.pile("classification"), steps=1, handlers=QUIET)
    network = st.learner(st.Classifier(pretrain.ViT(8, 4, width=16, depth=1), 3), init_from=stage)
    started = strategies.Supervised(st.Classification(3), network)
    assert len(st.fit(started, of_arrays(x), steps=1, handlers=QUIET).predict(x)) == len(x)
    with pytest.raises(DataError, match="run.strategy.predict"):
        run.predict(toy.pile("classification").x)
    assert run.strategy.predict(toy.pile("classification").x).shape[1] == 3


def test_a_new_process_answers_alike(tmp_path, asked):
    x = pictures(8, 8)
    make = st.learner(lambda: st.Classifier(st.ConvEncoder(8, 1, widths=(4, 8), embed_dim=16), 3), lr=0.1)
    torch.manual_seed(0)
    run = st.fit(strategies.Supervised(st.Classification(3), make), of_arrays(x), steps=1, out=tmp_path / "run")
    np.save(tmp_path / "x.npy", x)
    script = (
        "import sys, numpy as np, selftrain as st\n"
        f"run = st.open_run({str(tmp_path / 'run')!r})\n"
        f"np.save({str(tmp_path / 'y.npy')!r}, run.predict_proba(np.load({str(tmp_path / 'x.npy')!r})))"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
    assert np.array_equal(np.load(tmp_path / "y.npy"), own(run))


def test_labels_are_accepted_by_a_precision_or_all_of_them_which_is_said(capsys):
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    y = np.arange(600) % 3
    x = (rng.normal(size=(600, 4)) + 1.5 * np.eye(4)[y]).astype(np.float32)
    known = np.where(np.arange(600) < 450, y, -1)
    pile = data.Pile.from_arrays(x, known, validation=300)
    make = st.learner(lambda: Wide(4), lr=0.1)
    run = st.fit(strategies.Supervised(st.Classification(3), make), pile, steps=60, handlers=QUIET)
    ledger = run.label(precision=0.85)
    said = capsys.readouterr().out
    accepted = ledger.accepted.numpy()
    assert "held-out labels that reach it" in said
    assert 10 < accepted.sum() < 150
    truth = y[450:][accepted]
    assert (ledger.label.numpy()[accepted] == truth).mean() >= 0.8
    assert ledger.confidence[accepted].min() > ledger.confidence[~accepted].max()
    # too few to tell, and none
    few = st.fit(
        strategies.Supervised(st.Classification(3), make),
        data.Pile.from_arrays(x, np.where(np.arange(600) < 30, y, -1), validation=9),
        steps=2, handlers=QUIET,
    )  # fmt: skip
    assert few.label().accepted.all()
    said = capsys.readouterr().out
    assert "all are accepted" in said
    assert "threshold=0.9" in said
    assert not few.label(x[:5], threshold=0.9).accepted.all()
    assert "as asked for" in capsys.readouterr().out
    for wrong in ({"threshold": 95}, {"precision": 95}):
        with pytest.raises(ValueError, match=f"{next(iter(wrong))} is 95"):
            few.label(**wrong)
    alone = data.Pile.from_arrays(x[:9], y[:9])
    run = st.fit(strategies.Supervised(st.Classification(3), make), alone, steps=1, handlers=QUIET)
    with pytest.raises(DataError, match=r"run.label\(data\)"):
        run.label()
    assert len(run.label(x)) == 600
