"""Units and origins: what does not change the meaning of numbers changes no result, and what would is said."""

from __future__ import annotations

import json
import re
import struct
import warnings
import zlib
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from PIL import Image

import selftrain as st
from selftrain import data, errors
from selftrain.cli import OK
from selftrain.cli.check_data import run as check_data
from selftrain.data import ArraySet, Pile
from selftrain.data.base.far import far_values
from selftrain.errors import DataError

RANDOM = np.random.default_rng(0)
Y = np.array([0, 1, 0, 1, -1, -1, -1, -1])
CT = RANDOM.integers(-1000, 3000, (8, 8, 8)).astype(np.int16)


def said_limits(text: object) -> tuple[float, float]:
    """The limits that a message names."""
    found = re.search(r"limits=\((-?[\d.]+), (-?[\d.]+)\)", str(text))
    assert found is not None, text
    return float(found[1]), float(found[2])


def linear(shape, outputs):
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(int(np.prod(shape)), outputs))


class Means(torch.nn.Module):
    """The smallest encoder."""

    embed_dim = 4

    def __init__(self, shape):
        super().__init__()
        self.shape = shape
        self.map = torch.nn.Linear(1, 4)

    def forward(self, x):
        return self.map(x.flatten(1)[:, :1])


class Pictures:
    """A map-style set of pairs."""

    def __init__(self, x, y=Y):
        self.x, self.y = x, y

    def __len__(self):
        return len(self.x)

    def __getitem__(self, row):
        return self.x[row], int(self.y[row])


@pytest.fixture
def dim(tmp_path):
    """16-bit files that use the lowest 8 bits, one pixel of each but for a sensor's dead one."""
    for number, label in enumerate(("cat", "dog") * 3):
        (tmp_path / label).mkdir(exist_ok=True)
        levels = RANDOM.integers(0, 256, (40, 40)).astype(np.uint16)
        levels[0, 0] = 65535
        Image.fromarray(levels).save(tmp_path / label / f"{number}.tif")
    return tmp_path


@contextmanager
def no_warning(words):
    with warnings.catch_warnings():
        warnings.filterwarnings("error", words)
        yield


def array_doors(tmp_path):
    """Every door that takes images as arrays, as a function of further settings that gives the images it read."""
    np.savez(tmp_path / "ct.npz", x=CT, y=Y)
    np.save(tmp_path / "x.npy", CT)
    np.save(tmp_path / "y.npy", Y)
    rows = np.arange(4)
    return {
        "from_arrays": lambda **more: Pile.from_arrays(CT, Y, **more).labeled.images(rows),
        "npz": lambda **more: data.from_arrays_file(tmp_path / "ct.npz", **more).labeled.images(rows),
        "npy": lambda **more: data.from_arrays_file(tmp_path, **more).labeled.images(rows),
        "path": lambda **more: data.from_path(tmp_path, **more).labeled.images(rows),
        "dataset": lambda **more: data.from_dataset(Pictures(CT), **more).labeled.images(rows),
        "set": lambda **more: ArraySet(CT[:4], **more).images(rows),
    }


def test_every_door_of_arrays_takes_the_limits_that_its_error_names(tmp_path):
    for door, read in array_doors(tmp_path).items():
        with pytest.raises(DataError, match=r"limits=\(black, white\)"):
            read()
        x = read(limits=(-1000, 2999))
        expected = (torch.from_numpy(CT[[0, 1, 2, 3]].astype(np.float64))[:, None] + 1000) / 3999
        assert torch.allclose(x, expected.float()), door
        # a window of CT: what lies beyond is black or white
        assert (read(limits=(0, 1)) == torch.from_numpy(CT[:4] > 0)[:, None]).all(), door
    with pytest.raises(ValueError, match=r"limits is 'dark'; give two numbers or None"):
        Pile.from_arrays(CT, Y, limits="dark")
    for kind, x in (("series", CT), ("points", CT[:, :, :3]), (None, CT[:, 0])):
        with pytest.raises(ValueError, match="only images have black and white"):
            Pile.from_arrays(x, Y, kind=kind, limits=(0, 1))


def test_the_estimator_reads_pictures_of_any_type_by_one_pair_of_limits():
    model = st.SelfTrainClassifier(steps=1, random_state=0, network=linear).fit(CT, Y)
    assert model.inputs_.limits == (CT.min(), CT.max())
    assert torch.equal(model.inputs_.read(CT), model.inputs_.read(CT.astype(np.float64)))
    # later rows by the same black and white, not by their own
    assert torch.equal(model.inputs_.read(CT[:1]), model.inputs_.read(CT)[:1])
    window = st.SelfTrainClassifier(steps=1, random_state=0, limits=(0, 400), network=linear).fit(CT, Y)
    assert window.inputs_.limits == (0, 400)
    assert (window.inputs_.read(CT) == 1).any()
    with pytest.raises(ValueError, match="table data have no black and white"):
        st.SelfTrainClassifier(limits=(0, 1)).fit(np.ones((8, 2)), Y)


def test_deep_files_that_use_few_levels_are_told_with_a_remedy_that_keeps_them(dim):
    rows = np.arange(6)
    with pytest.warns(UserWarning, match="6 pictures of more than 8 bits .* 2 gray levels of 256 are left") as told:
        pile = data.from_folder(dim, mode="L")
    assert len(pile.labeled.images(rows).unique()) == 3
    [finding] = [f for f in data.check(dim).findings if f.kind == "gray levels"]
    assert finding.level == "harms"
    for text in (told[0].message, finding.text):
        with no_warning(".*gray level"):
            kept = data.from_folder(dim, mode="L", limits=said_limits(text))
        assert len(kept.labeled.images(rows).unique()) > 200
        assert not data.check(dim, limits=said_limits(text)).of("gray levels")
    # all parts, and a run that is opened again, by one pair
    held = data.from_folder(dim, mode="L", limits=(0, 255), test=dim, validation=dim)
    assert torch.equal(held.test.images(rows), held.validation.images(rows))
    assert held.origin["settings"]["limits"] == (0, 255)


def test_colors_of_16_bits_that_use_few_levels_are_told(tmp_path):
    for number, label in enumerate("abab"):
        (tmp_path / label).mkdir(exist_ok=True)
        color = RANDOM.integers(0, 256 if number < 3 else 65536, (9, 9, 3))
        (tmp_path / label / f"{number}.png").write_bytes(png_of_16_bits(color))
    with pytest.warns(UserWarning, match="4 pictures have 16 bits a color.* 1 of 256 levels of a color remain") as told:
        data.from_folder(tmp_path)
    [finding] = [f for f in data.check(tmp_path).findings if f.kind == "color levels"]
    assert finding.level == "harms"
    assert finding.text == str(told[0].message)


def png_of_16_bits(color):
    """Pillow writes none."""

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", color.shape[1], color.shape[0], 16, 2, 0, 0, 0)
    lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in color)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        [chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(lines)), chunk(b"IEND", b"")]
    )


def test_the_command_line_takes_the_limits_that_it_names(dim, capsys, monkeypatch):
    monkeypatch.setattr(errors, "as_options", True)
    check_data([str(dim)])
    found = re.search(r'--data\.limits "(\[0, \d+\])"', capsys.readouterr().out)
    assert found is not None
    assert check_data([str(dim), "--data.limits", found[1]]) == OK
    assert "gray level" not in capsys.readouterr().out


def test_limits_are_for_deep_files(tmp_path):
    for label in "ab":
        (tmp_path / label).mkdir()
        Image.fromarray(RANDOM.integers(0, 256, (4, 4)).astype(np.uint8)).save(tmp_path / label / "0.png")
    with pytest.raises(DataError, match="no gray files of more than 8 bits"):
        data.from_folder(tmp_path, limits=(0, 255))
    Image.fromarray(RANDOM.normal(300, 1, (4, 4)).astype(np.float32)).save(tmp_path / "a/1.tif")
    with pytest.raises(DataError, match=r"say which are black and white: limits=\(black, white\)"):
        data.from_folder(tmp_path)
    levels = data.from_folder(tmp_path, mode="L", limits=(295, 305)).labeled.images(np.array([0, 1, 2]))
    assert all(len(picture.unique()) > 8 for picture in levels)


def test_pictures_of_a_data_set_of_more_than_8_bits_are_told_and_kept_too(dim):
    pictures = [Image.open(file) for file in sorted(dim.rglob("*.tif"))]
    with pytest.warns(UserWarning, match="gray levels of 256 are left") as told:
        data.from_dataset(Pictures(pictures, Y), mode="L")
    with no_warning(".*gray level"):
        pile = data.from_dataset(Pictures(pictures, Y), mode="L", limits=said_limits(told[0].message))
    assert len(pile.labeled.images(np.arange(4)).unique()) > 200


# Rows, series and clouds whose unit or origin is another one: what a network sees of them must be the same.
UNITS = {
    "micro": (1e-6, 0.0),
    "atto": (1e-18, 0.0),
    "denormal in float32": (1e-42, 0.0),
    "giga": (1e9, 0.0),
    "beyond float32": (1e45, 0.0),
    "seconds since 1970": (30.0, 1.7e9),
    "map coordinates": (2.0, 4.5e6),
    "a small step far away": (1e-4, -3.2e5),
}
LABELS = np.where(np.arange(60) < 20, np.arange(60) % 2, -1)
KINDS = {
    None: RANDOM.normal(size=(60, 3)) + 2 * (np.arange(60) % 2)[:, None],
    "series": RANDOM.normal(size=(60, 2, 16)) * (1 + (np.arange(60) % 2))[:, None, None],
    "points": RANDOM.normal(size=(60, 8, 3)) * np.array([1, 1, 0.3]),
}


def in_unit(x, unit, origin):
    return x * unit + origin


def lazily(kind, x, folder):
    """By every door that takes this kind, a function that makes a pile of the same rows."""
    yield "arrays", lambda: Pile.from_arrays(x, LABELS, kind=kind)
    yield "tensors", lambda: Pile.from_arrays(torch.from_numpy(x), LABELS, kind=kind)
    yield "data set", lambda: data.from_dataset(Pictures(x, LABELS), kind=kind)
    known, views = LABELS >= 0, data.PointViews() if kind == "points" else None
    parts = ArraySet(x[known], LABELS[known], kind=kind), ArraySet(x[~known], kind=kind)
    yield "two sets", lambda: Pile(*parts, views=views)
    np.savez(folder / "all.npz", x=x, y=LABELS)
    yield "npz", lambda: data.from_path(folder / "all.npz", kind=kind)
    (folder / "npy").mkdir(exist_ok=True)
    np.save(folder / "npy/x.npy", x)
    np.save(folder / "npy/y.npy", LABELS)
    yield "npy", lambda: data.from_path(folder / "npy", kind=kind)
    if kind is None:
        columns = {str(i): x[:, i] for i in range(x.shape[1])}
        yield "mapping", lambda: data.from_table(columns | {"y": LABELS}, "y")
        rows = [",".join(map(repr, [*map(float, row), int(y)])) for row, y in zip(x, LABELS, strict=True)]
        (folder / "t.csv").write_text("\n".join(["a,b,c,y", *rows]))
        yield "csv", lambda: data.from_path(folder / "t.csv", label="y")


def doors(kind, x, folder):
    """The same, the piles."""
    for door, make in lazily(kind, x, folder):
        yield door, make()


def seen(pile):
    """Every view that training and evaluation make of a pile."""
    plain = next(iter(pile.evaluation("pile", 100, torch.device("cpu")))).x
    needs = st.types.Needs(encode=lambda y: st.types.Target(y, torch.ones(len(y))), views=("weak", "strong"))
    stream = pile.stream(needs, st.types.BatchPlan(labeled=4, unlabeled_ratio=4), torch.device("cpu"))
    [batch] = next(iter(stream.epoch(0)))
    return [plain, batch.labeled.x, *(view.x for view in batch.unlabeled.views.values())]


@pytest.mark.parametrize("kind", KINDS)
def test_no_door_changes_what_is_seen_when_the_unit_or_the_origin_changes(kind, tmp_path):
    x = KINDS[kind]
    expected = {door: seen(pile) for door, pile in doors(kind, x, tmp_path)}
    for name, unit in UNITS.items():
        for door, pile in doors(kind, in_unit(x, *unit), tmp_path):
            for ours, theirs in zip(seen(pile), expected[door], strict=True):
                assert ours.dtype == torch.float32
                assert torch.allclose(ours, theirs, atol=2e-4), (name, door)


@pytest.mark.parametrize("kind", KINDS)
def test_estimators_give_the_same_answers_in_every_unit(kind):
    x = KINDS[kind]
    classifier = {"network": linear, "steps": 5}
    encoder = {"recipe": "vicreg", "network": Means, "steps": 2, "batch_size": 8}
    for make, ask, settings in (
        (st.SelfTrainClassifier, "predict_proba", classifier),
        (st.PretrainedEncoder, "transform", encoder),
    ):
        form = {"kind": kind, "random_state": 0, **settings}
        plain = getattr(make(**form).fit(x, LABELS), ask)(x)
        for name in ("micro", "beyond float32", "seconds since 1970"):
            moved = in_unit(x, *UNITS[name])
            model = make(**form).fit(moved, LABELS)
            assert np.allclose(getattr(model, ask)(moved), plain, atol=0.05), (
                make,
                name,
            )  # Adam's first steps have no size
            # a row alone is read like all
            assert np.allclose(getattr(model, ask)(moved[:1]), getattr(model, ask)(moved)[:1], atol=1e-6)


def test_integers_and_halves_keep_what_tells_them_apart():
    steps = np.arange(60) % 4
    exact = {"int64": 2**40 + steps, "int32": 2**30 + steps, "uint64": (2**40 + steps).astype(np.uint64)}
    for x in (*exact.values(), (60000 + 32 * steps).astype(np.float16)):
        for kind, shape in ((None, (60, 1)), ("series", (60, 1, 1))):
            pile = Pile.from_arrays(x.reshape(shape), LABELS, kind=kind)
            assert len(next(iter(pile.evaluation("pile", 100, torch.device("cpu")))).x.unique()) == 4
            model = st.SelfTrainClassifier(kind=kind, steps=1, random_state=0).fit(x.reshape(shape), LABELS)
            assert np.isfinite(model.predict_proba(x.reshape(shape))).all()


def test_columns_that_never_change_are_not_blown_up():
    x = np.ones((60, 6))
    x[:, :] = [0, 5, 0.1, 1.7e9, 1e-9, 0]
    x[::2, 2] += 1e-17 + 2e-16  # the last digit
    x[:, 5] = 1e-20 * np.arange(60)
    views = Pile.from_arrays(x, LABELS).views
    assert views.std[:5].tolist() == pytest.approx([1, 5, 0.1, 1.7e9, 1e-9])
    assert views("plain", torch.from_numpy(x), torch.arange(60), 0).x.abs().amax(0)[:5].max() < 1e-6
    assert data.from_table({"a": x[:, 2], "b": x[:, 5]}).unlabeled.images(np.arange(60)).std(
        0
    ).tolist() == pytest.approx([0, 1], abs=0.01)


def test_rows_that_differ_behind_single_precision_are_no_copies(tmp_path):
    x = 1.7e9 + np.arange(60.0)[:, None]
    assert not data.check(Pile.from_arrays(x, LABELS)).of("duplicate")


def test_infinite_values_are_named_with_column_and_count():
    x = np.ones((60, 3))
    x[[7, 9, 30], 1] = np.inf
    with pytest.raises(DataError, match="sample 7 holds inf in column 1; so do 2 others"):
        Pile.from_arrays(x, LABELS)


def test_a_cell_is_shown_with_the_digits_that_tell_it_from_others():
    pile = data.from_table({"time": 1.7e9 + np.arange(60.0)})
    encoding = data.TableEncoding.from_dict(pile.encoding)
    shown = [encoding.decode(row)["time"] for row in pile.unlabeled.images(np.arange(60)).tolist()]
    assert shown[:3] == ["1700000000", "1700000001", "1700000002"]


def test_an_exported_network_and_another_pile_center_alike():
    x = in_unit(KINDS[None], *UNITS["seconds since 1970"])
    pile = Pile.from_arrays(x, LABELS)
    card = pile.card()
    other = Pile.from_arrays(x[::-1].copy() + 5, LABELS).normalized_as(card)
    one, two = (p.views("plain", torch.from_numpy(x), torch.arange(60), 0).x for p in (pile, other))
    assert torch.equal(one, two)
    from selftrain.exporting.network import Deployed

    network = Deployed(torch.nn.Identity(), card["mean"], card["std"], 1)
    assert torch.equal(network(torch.from_numpy(x)), one)


def test_values_too_far_to_calculate_with_are_named():
    x = np.ones((60, 3))
    x[37, 1] = 1e300
    with pytest.raises(DataError, match=r"values of column 1 go to 1e\+300, too far to calculate with"):
        Pile.from_arrays(x, LABELS)


# Pictures of low contrast: dim ones, and ones that differ little from a gray.
GRAYS = RANDOM.random((60, 12, 12))
GRAYS[:, 0, :2] = 0, 1
CONTRASTS = {"dim": (4e-3, 0.0), "a gray": (0.02, 0.5), "dark": (1e-7, 0.0), "hardly": (1e-6, 0.7)}


def picture_doors(x, folder):
    yield "arrays", Pile.from_arrays(x, LABELS)
    yield "data set", data.from_dataset(Pictures(x[..., None], LABELS))
    np.savez(folder / "all.npz", x=x, y=LABELS)
    yield "npz", data.from_path(folder / "all.npz")
    (folder / "npy").mkdir(exist_ok=True)
    np.save(folder / "npy/x.npy", x)
    np.save(folder / "npy/y.npy", LABELS)
    yield "npy", data.from_path(folder / "npy")


def test_plain_pictures_of_low_contrast_are_seen_like_others(tmp_path):
    expected = seen(Pile.from_arrays(GRAYS, LABELS))[:2]
    for name, unit in CONTRASTS.items():
        for door, pile in picture_doors(in_unit(GRAYS, *unit), tmp_path):
            assert torch.allclose(seen(pile)[0], expected[0], atol=1e-3), (name, door)


@pytest.mark.parametrize("maker", [data.TensorViews, data.AlbumentationsViews])
def test_weak_and_strong_views_fit_pictures_of_low_contrast(maker):
    views = maker(weak=data.Weak(pad="zero", crop=(0.5, 1))) if maker is data.TensorViews else maker()
    # the wide span of the first is that of the others: of 0.26 of the range each view is as ever
    wide, small = in_unit(GRAYS, 0.26, 0.0), in_unit(GRAYS, 0.2, 0.0)
    assert Pile.from_arrays(wide, LABELS, views=views).views.span == (0, 1)
    expected = seen(Pile.from_arrays(small, LABELS, views=views))
    for name, unit in CONTRASTS.items():
        pile = Pile.from_arrays(in_unit(GRAYS, *unit), LABELS, views=views)
        assert pile.views.span == pytest.approx((unit[1], sum(unit)), abs=1e-12)
        for ours, theirs in zip(seen(pile), expected, strict=True):
            # rounding to 256 grays falls either way
            assert (ours - theirs).abs().mean() < 0.02, name
            assert ours.abs().max() < 5  # and nothing is many deviations away
    bytes_ = (100 + 20 * GRAYS).round().astype(np.uint8)
    strong = seen(Pile.from_arrays(bytes_, LABELS, views=views))
    assert all(x.abs().max() < 5 for x in strong)


def test_the_estimator_learns_pictures_of_any_contrast():
    y = np.arange(60) % 2
    x = GRAYS / 2
    x[y == 1, 3:9] += 0.4
    for unit, origin in ((1, 0), (1e-4, 0), (1e-3, 0.5), (0.01, 300)):
        model = st.SelfTrainClassifier(network=linear, steps=30, lr=0.01, random_state=0).fit(x * unit + origin, LABELS)
        assert model.score(x * unit + origin, y) > 0.9, (unit, origin)


FILLS = (9.96920996838687e36, -9999.0, 1e20, -999.0)


@pytest.mark.parametrize("fill", FILLS)
def test_fill_values_are_told_with_their_column_and_count_at_every_door(fill, tmp_path):
    x = KINDS[None].copy()
    x[5::6, 1] = fill
    told = rf"{re.escape(f'{fill:.9g}')} 10 times, others from -?[\d.]+ to [\d.]+"
    for door, make in lazily(None, x, tmp_path):
        name = {"csv": "b", "mapping": "1"}.get(door, "column 1")
        with pytest.warns(UserWarning, match="numbers lie far from all others") as warned:
            pile = make()
        [text] = [str(w.message) for w in warned if "far from all" in str(w.message)]
        assert re.search(rf"{name}:? \(?{told}", text), (door, text)
        assert pile.summary.doubts == [text]
        assert [f.text for f in data.check(pile).findings if f.kind == "reading" and f.level == "harms"] == [text]
        # told, and no damage: what is seen is finite
        assert all(part.isfinite().all() for part in seen(pile)), door
    # the remedy: such cells are missing
    for table in (tmp_path / "t.csv", {name: x[:, i] for i, name in enumerate("abc")} | {"y": LABELS}):
        with pytest.warns(UserWarning, match="far from all") as warned:
            data.from_table(table, "y")
        [text] = [str(w.message) for w in warned if "far from all" in str(w.message)]
        found = re.search(r"say missing=(\[[^\]]*\])", text)
        with no_warning(".*far from all"):
            pile = data.from_table(table, "y", missing=json.loads(found[1].replace("'", '"')))
        assert "b?missing" in data.TableEncoding.from_dict(pile.encoding).features
    # and that of arrays: the mean of the others
    x[x == fill] = x[x != fill].mean()
    with no_warning(".*far from all"):
        Pile.from_arrays(x, LABELS)


def test_channels_and_coordinates_with_fill_values_are_told_and_pictures_with_no_data():
    x = KINDS["series"].copy()
    x[::3, 1, :4] = -9999
    with pytest.warns(UserWarning, match=r"channel 1: -9999 80 times, others from"):
        Pile.from_arrays(x, LABELS, kind="series")
    x = KINDS["points"].copy()
    x[::5, 7, 2] = 1e10
    with pytest.warns(UserWarning, match=r"coordinate 2: 1e\+10 12 times, others from"):
        Pile.from_arrays(x, LABELS, kind="points")
    x = GRAYS * 30
    x[::4, 3, 3] = -9999
    with pytest.warns(UserWarning, match=r"-9999 16 times.* say limits=\(0, 30\)") as told:
        st.SelfTrainClassifier(network=linear, steps=1).fit(x, LABELS)
    limits = said_limits(next(w.message for w in told if "far from" in str(w.message)))
    with no_warning(".*far from all"):
        st.SelfTrainClassifier(network=linear, steps=1, limits=limits).fit(x, LABELS)


def test_ordinary_columns_are_not_told():
    n = 2000
    columns = {
        "normal": RANDOM.normal(size=n),
        "heavy tails": RANDOM.lognormal(0, 2.5, n),
        "cauchy": RANDOM.standard_cauchy(n),
        "counts": RANDOM.poisson(0.5, n),
        "zeros and amounts": np.where(RANDOM.random(n) < 0.95, 0, RANDOM.lognormal(8, 1, n)),
        "two groups": np.where(RANDOM.random(n) < 0.1, 1000, 0) + RANDOM.normal(size=n),
        "yes or no": RANDOM.integers(0, 2, n),
        "constant": np.ones(n),
        "three": RANDOM.choice([0, 1, 1000], n),
    }
    for name, values in columns.items():
        assert far_values(values.astype(np.float64)) is None, name


@pytest.mark.parametrize("kind", [torch.uint8, torch.float32])
def test_normalizing_leaves_what_it_is_given(kind):
    x = torch.arange(2 * 3 * 4 * 4).view(2, 3, 4, 4).to(kind)
    given, mean, std = (
        x.clone(),
        torch.tensor([0.1, 0.2, 0.3]).view(3, 1, 1),
        torch.tensor([0.5, 0.6, 0.7]).view(3, 1, 1),
    )
    found = data.TensorViews(mean=mean, std=std).normalize(x)
    assert torch.equal(x, given)
    assert torch.equal(found, ((x.float() / 255 if kind == torch.uint8 else x) - mean) / std)
