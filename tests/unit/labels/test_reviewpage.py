"""The review page as a file: which samples are in it, how they are shown, what is estimated, and that it is safe."""

import base64
import hashlib
import html
import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from PIL import Image

import selftrain as st
from selftrain import pretrain, strategies, toy
from selftrain.data import ArraySet, Pile
from selftrain.errors import CheckpointError, DataError, RunFolderError
from selftrain.evaluation.accuracy_estimate import estimate_accuracy
from selftrain.evaluation.calibration import predictions
from selftrain.evaluation.judging import judged
from selftrain.labels.ledger import Ledger
from selftrain.labels.page import html as page_html
from selftrain.labels.page import write_review
from selftrain.labels.page.html import json_text
from selftrain.labels.page.pictures import ACROSS, make_pictures
from selftrain.labels.page.source import Painted, inputs_of
from selftrain.labels.page.write import chosen, digest
from selftrain.metrics.intervals import clopper_pearson
from selftrain.tensorboard.tiles import tiles, with_heat, with_labels
from selftrain.types import PseudoLabels

NAMES = ("ant", "bee", "cow")
HOSTILE = '</script><img src=x onerror="window.hit=1">'


def pile_of(x, kind=None, ids=None, classes=NAMES, **more):
    """A pile whose samples are all unlabeled."""
    return Pile(None, ArraySet(x, None, ids, kind=kind), classes=classes, **more)


def images(n, side=8, channels=1, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, channels, side, side), dtype=np.uint8)


def ledger_for(pile, seed=0, labeled=None):
    """A ledger with random labels; rows from ``labeled`` on were never labeled."""
    n = len(pile.unlabeled_ids())
    ledger = Ledger(pile.unlabeled_ids(), pile.classes)
    index = torch.arange(n if labeled is None else labeled)
    for step in range(3 if len(index) else 0):
        generator = torch.Generator().manual_seed(seed + step)
        value = torch.rand(len(index), len(pile.classes), generator=generator).pow(3).clamp(min=1e-4)
        value = value / value.sum(1, keepdim=True)
        said = PseudoLabels(index, value, (value.amax(1) > 0.6).float())
        ledger.write(said, st.Classification(len(pile.classes)), step)
    return ledger


class Page(HTMLParser):
    """The elements of a page, and the text of its scripts and style."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.texts = [], {}
        self.feed(path.read_text(encoding="utf-8"))
        self.data = json.loads(self.texts["data"])
        self.blobs = [text for name, text in self.texts.items() if name.startswith("blob-")]

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, text):
        tag, attributes = self.tags[-1] if self.tags else ("", {})
        if tag in ("script", "style", "title"):
            self.texts.setdefault(attributes.get("id", tag), text)


# -- what is refused ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"samples": 0}, "samples is 0; a page holds 1 to 200,000"),
        ({"samples": 200_001}, "samples is 200001"),
        ({"choose": "entropy"}, "choose is 'entropy'; choose 'margin' or 'random'"),
        ({"thumbnail": 4}, "thumbnail is 4; it must be from 8"),
        ({"megabytes": 0.0}, "megabytes is 0.0; it must be above 0"),
        ({"megabytes": float("nan")}, "megabytes is nan"),
        ({"megabytes": 0.001}, r"megabytes, more than 0.001; show fewer \(samples=...\)"),
    ],
)
def test_settings_out_of_range_are_refused(tmp_path, setting, words):
    pile = pile_of(images(40))
    with pytest.raises(ValueError, match=words):
        write_review(ledger_for(pile), pile, tmp_path / "page.html", **setting)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["segmentation", "keypoints"])
def test_pixels_and_joints_are_painted_beside_their_pictures(tmp_path, kind):
    torch.manual_seed(0)
    pile = toy.pile(kind)
    run = st.fit(strategies.FixMatch(toy.task(kind), toy.learner(kind)), pile, steps=1)
    read = Page(write_review(run, pile, tmp_path / "page.html")).data
    unit, names = ("masks", ["0", "1", "2"]) if kind == "segmentation" else ("joints", ["joint 0", "joint 1"])
    assert (read["painted"]["unit"], read["painted"]["names"]) == (unit, names)
    # what is painted is what the strategy says of the sample of that row
    rows = np.array(read["rows"]["row"])
    painted = Painted(pile, rows, points=False, strategy=run.strategy, side=64)
    x = pile.x[pile.parts["unlabeled"]][rows]
    with run.strategy.evaluating():
        value = run.strategy.predict(x)
    shown = torch.cat([*painted.batches()])
    sure = run.strategy.task.confidence(value)
    overlay = with_labels(tiles(x), value, torch.ones_like(sure))
    panels = [tiles(x), overlay] + ([with_heat(tiles(x), 1 - sure)] if kind == "segmentation" else [])
    assert torch.allclose(
        shown, torch.cat(panels, 3), atol=1e-6
    )  # the picture, what is said of it, and where it is doubtful
    assert not torch.equal(overlay, tiles(x))
    # the sample with the least sure class or joint comes first
    doubt = [float(one) for one in read["rows"]["doubt"]]
    assert doubt == sorted(doubt)
    units = run.ledger.units[rows[0]].float()
    assert doubt[0] == pytest.approx(float(units[units[:, 0] >= 0.01, 1].min()), abs=1e-3)
    assert torch.allclose(torch.cat([*painted.some(3).batches()]), shown[::8], atol=1e-6)
    with pytest.raises(ValueError, match="pass the run, its folder or strategy=..."):
        write_review(run.ledger, pile, tmp_path / "page.html")


def test_a_run_without_pseudo_labels_is_refused(tmp_path):
    pile = pile_of(images(20))
    run = st.fit(pretrain.MAE(pretrain.ViT(8, 4, width=16, depth=1)), pile, steps=1)
    with pytest.raises(ValueError, match="makes no pseudo-labels to review"):
        write_review(run, pile, tmp_path / "page.html")


def test_a_folder_without_a_finished_run_is_refused(tmp_path):
    with pytest.raises(RunFolderError, match="holds no run"):
        write_review(tmp_path, pile_of(images(4)), tmp_path / "page.html")


def test_a_ledger_of_another_pile_is_refused(tmp_path):
    pile = pile_of(images(6), ids=list("abcdef"))
    with pytest.raises(DataError, match="no unlabeled sample has the id 'f'"):
        write_review(ledger_for(pile), pile_of(images(6), ids=list("abcdeg")), tmp_path / "page.html")
    with pytest.raises(DataError, match="several unlabeled samples have the id 'a'"):
        write_review(ledger_for(pile), pile_of(images(7), ids=list("aabcdef")), tmp_path / "page.html")


def test_a_file_that_stood_there_survives_an_error(tmp_path):
    (tmp_path / "page.html").write_text("before")
    pile = pile_of(np.zeros((3, 5), np.float32))
    with pytest.raises(ValueError, match="columns has 1 names, rows have 5 values"):
        write_review(ledger_for(pile), pile, tmp_path / "page.html", columns=["one"])
    assert (tmp_path / "page.html").read_text() == "before"


# -- which samples -----------------------------------------------------------------------------------------------------
def test_the_least_certain_come_first_and_the_never_labeled_last():
    ledger = ledger_for(pile_of(images(50)), labeled=30)
    rows = chosen(ledger, 40, "margin", 0)
    margins = ledger.margin[rows[:30]].tolist()
    assert margins == sorted(margins)
    assert sorted(rows[:30].tolist()) == list(range(30))
    assert set(rows[30:].tolist()) < set(range(30, 50))
    assert chosen(ledger, 5, "margin", 0).tolist() == rows[:5].tolist()


def test_random_samples_are_keyed_and_fair():
    ledger = ledger_for(pile_of(images(100)), labeled=80)
    first, again, other = (chosen(ledger, 40, "random", seed).tolist() for seed in (0, 0, 1))
    assert first == again != other
    assert max(first) < 80
    means = [float(ledger.margin[chosen(ledger, 40, "random", seed)].mean()) for seed in range(40)]
    assert np.mean(means) == pytest.approx(float(ledger.margin[:80].mean()), abs=0.02)


def test_the_page_has_the_rows_of_the_ledger(tmp_path):
    pile = pile_of(images(30), ids=[f"photo-{i}.png" for i in range(30)])
    ledger = ledger_for(pile)
    data = Page(write_review(ledger, pile, tmp_path / "page.html", samples=7, name="mine")).data
    rows, shown = data["rows"]["row"], data["rows"]
    assert rows == chosen(ledger, 7, "margin", 0).tolist()
    assert (data["run"], data["total"], data["classes"]) == ("mine", 30, list(NAMES))
    assert shown["id"] == [ledger.ids[row] for row in rows]
    assert shown["label"] == ledger.label[rows].tolist()
    assert torch.equal(torch.tensor([float(c) for c in shown["confidence"]]), ledger.confidence[rows])
    assert shown["agreement"] == [""] * 7
    assert shown["first"] == ledger.first_accepted[rows].tolist()


def test_truth_is_never_written(tmp_path):
    truth = torch.randint(3, (30,))
    pile = pile_of(images(30), truth=truth)
    ledger = ledger_for(pile)
    plain = write_review(ledger, pile, tmp_path / "plain.html").read_bytes()
    ledger.truth = truth
    assert write_review(ledger, pile, tmp_path / "known.html", name="ledger").read_bytes() == plain


def test_a_ledger_in_another_order_still_shows_the_right_pictures(tmp_path):
    x = images(20)
    pile, turned = pile_of(x, ids=list("abcdefghijklmnopqrst")), pile_of(x[::-1], ids=list("tsrqponmlkjihgfedcba"))
    ledger = ledger_for(pile)
    pages = [Page(write_review(ledger, p, tmp_path / "page.html")).blobs for p in (pile, turned)]
    assert pages[0] == pages[1]


def test_run_folder_and_file_make_the_same_page(tmp_path):
    pile = toy.pile("classification")

    def fresh(seed=0):
        torch.manual_seed(seed)
        return strategies.FixMatch(toy.task("classification"), toy.learner("classification"))

    run = st.fit(fresh(), pile, steps=4, out=tmp_path / "run")
    other = fresh(seed=1)
    pages = [
        Page(write_review(source, pile, tmp_path / "page.html", strategy=strategy)).data
        for source, strategy in ((run, None), (tmp_path / "run", other), (tmp_path / "run", None))
    ]
    assert pages[0] == pages[1]  # the weights of the checkpoint were taken
    assert pages[0]["judged"]["held_out"] == 12
    assert pages[0]["run"] == "run"
    assert pages[2] == pages[0]  # it was built again
    by_file = Page(write_review(tmp_path / "run" / "pseudo_labels.csv", pile, tmp_path / "page.html")).data
    assert by_file["key"] == pages[0]["key"]
    assert "without the strategy" in by_file["judged"]["why"]
    assert by_file["rows"] == pages[0]["rows"]
    wrong = strategies.FixMatch(toy.task("classification"), toy.learner("classification", norm=False))
    with pytest.raises(CheckpointError, match="does not fit its strategy"):
        write_review(tmp_path / "run", pile, tmp_path / "page.html", strategy=wrong)


def test_the_key_is_that_of_the_labels():
    pile = pile_of(images(30))
    assert digest(ledger_for(pile)) == digest(ledger_for(pile))
    assert digest(ledger_for(pile)) != digest(ledger_for(pile, seed=1))
    renamed = Ledger([f"x{i}" for i in range(30)], NAMES)
    renamed.load_state_dict(ledger_for(pile).state_dict())
    assert digest(renamed) != digest(ledger_for(pile))


# -- how samples are shown ---------------------------------------------------------------------------------------------
def sheets(pictures):
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(blob)))) for blob in pictures.blobs]


@pytest.mark.parametrize("channels", [1, 3])
def test_every_picture_is_in_its_place(channels):
    x = images(300, channels=channels)
    x = np.kron(x[:, :, :2, :2] // 128 * 255, np.ones((4, 4), np.uint8))  # PNG, which loses nothing, is the smaller one
    rows = np.random.default_rng(1).permutation(300)
    pictures = make_pictures(inputs_of(pile_of(x), rows), 128, 10**6)
    assert (pictures.form["type"], len(pictures.blobs)) == ("png", 2)
    assert (pictures.form["width"], pictures.form["height"]) == (8, 8)
    found = sheets(pictures)
    for place, row in enumerate(rows):
        sheet, inside = divmod(place, ACROSS**2)
        y, left = inside // ACROSS * 8, inside % ACROSS * 8
        tile = found[sheet][y : y + 8, left : left + 8].reshape(8, 8, -1)
        assert (tile == x[row].transpose(1, 2, 0)).all()


def test_photos_are_scaled_and_keep_to_the_limit():
    x = images(280, side=96, channels=3)  # noise, which no format packs well
    for limit in (5 * 10**5, 2 * 10**5):
        pictures = make_pictures(inputs_of(pile_of(x), np.arange(280)), 64, limit)
        assert sum(map(len, pictures.blobs)) <= limit
        assert pictures.form["width"] == pictures.form["height"] < 64
        assert sheets(pictures)[0].shape[1] == ACROSS * -(-pictures.form["width"] // 8) * 8
    wide = make_pictures(inputs_of(pile_of(np.zeros((2, 3, 40, 160), np.uint8)), np.arange(2)), 80, 10**6)
    assert (wide.form["height"], wide.form["width"]) == (20, 80)


def test_a_picture_takes_no_color_from_its_neighbor():
    x = np.zeros((256, 3, 21, 21), np.uint8)
    x[::2, 0], x[1::2, 2] = 255, 255
    x[:, :, 10, 10] = images(256, side=1, channels=3)[:, :, 0, 0]  # so that JPEG is the smaller one
    x = np.maximum(x, images(256, side=21, channels=3) // 16)
    pictures = make_pictures(inputs_of(pile_of(x), np.arange(256)), 64, 10**6)
    assert pictures.form["type"] == "jpeg"
    sheet = sheets(pictures)[0].astype(int)
    for place in range(ACROSS):
        edge = sheet[:21, place * 24 : place * 24 + 21][:, [0, -1]]
        assert (edge[..., 0] > 180).all() == (edge[..., 2] < 80).all() == (place % 2 == 0)


def test_images_of_any_range_are_brought_to_bytes():
    x = torch.linspace(0, 1, 64).view(1, 1, 8, 8)
    float_pile, plain = pile_of(x), toy.pile("classification")
    sheet = sheets(make_pictures(inputs_of(float_pile, np.arange(1)), 8, 10**6))[0]
    assert (sheet[:8, :8].ravel() == np.round(255 * np.linspace(0, 1, 64, dtype=np.float32))).all()
    shown = sheets(make_pictures(inputs_of(plain, np.array([3])), 12, 10**6))[0]
    assert (shown[:12, :12].min(), shown[:12, :12].max()) == (0, 255)  # of a view with negative values


def test_rows_of_a_table_are_kept_exactly():
    x = np.random.default_rng(0).normal(size=(50, 70)).astype(np.float32)
    pictures = make_pictures(inputs_of(pile_of(x), np.array([4, 2])), 64, 10**6)
    numbers = np.frombuffer(base64.b64decode(pictures.blobs[0]), "<f4").reshape(2, 64)
    assert (numbers == x[[4, 2], :64]).all()
    assert (pictures.form["all"], len(pictures.form["columns"])) == (70, 64)


def test_no_peak_of_a_series_is_lost():
    x = np.zeros((3, 2, 1000), np.float32)
    x[0, 0, 777], x[1, 1, 3], x[2, 0] = 9.0, -5.0, np.linspace(0, 1, 1000)
    form, blobs = (p := make_pictures(inputs_of(pile_of(x, "series"), np.arange(3)), 64, 10**6)).form, p.blobs
    assert (form["channels"], form["places"], form["length"]) == (2, 128, 1000)
    raw = base64.b64decode(blobs[0])
    low, high = np.frombuffer(raw[:48], "<f4").reshape(2, 3, 2)
    assert (high[0, 0], low[1, 1]) == (9.0, -5.0)
    places = np.frombuffer(raw[48:], np.uint8).reshape(3, 2, 128)
    assert places[0, 0].max() == 255
    assert places[0, 0].argmax() // 2 == 777 * 64 // 1000
    assert places[1, 1].min() == 0
    assert (np.diff(places[2, 0].astype(int)) >= 0).all()


@pytest.mark.parametrize("axes", [2, 3])
def test_clouds_keep_their_shape(axes):
    from selftrain.data import PointViews

    x = np.random.default_rng(0).normal(size=(4, 300, axes)).astype(np.float32) * [1, 4, 1][:axes] + 7
    pictures = make_pictures(inputs_of(pile_of(x, "points", views=PointViews()), np.arange(4)), 64, 10**6)
    assert (pictures.form["kind"], pictures.form["points"]) == ("points", 100)
    found = np.frombuffer(base64.b64decode(pictures.blobs[0]), np.uint8).reshape(4, 100, axes).astype(float)
    for cloud, original in zip(found, x[:, ::3], strict=True):
        scale = (original.max(0) - original.min(0)).max() / 255
        middle = (original.max(0) + original.min(0)) / 2
        assert np.abs((cloud - 127.5) * scale + middle - original).max() <= scale


# -- what is estimated -------------------------------------------------------------------------------------------------
def test_estimates_are_those_of_the_library():
    pile = toy.clouds(labels=8, unlabeled=200, held_out=150)
    strategy = strategies.FixMatch(st.Classification(2), st.learner(lambda: toy.mlp(30), lr=0.01), decay=0.9)
    run = st.fit(strategy, pile, steps=12)
    found = judged(strategy, pile, run.ledger, "validation", seed=3)
    (value, target), *rest = list(predictions(strategy, pile, "validation"))
    assert not rest
    sure, said = value.max(1)
    right = said == target.value.argmax(1)
    assert found["held_out"] == 150
    for row in found["thresholds"]:
        asked = run.ledger.confidence[run.ledger.confidence >= row["at"]]
        assert row["count"] == len(asked)
        e = estimate_accuracy(sure.double(), right.double(), asked.double(), draws=200, seed=3)
        assert (row["value"], row["low"], row["high"]) == pytest.approx((e.value, e.low, e.high))
    for c, row in enumerate(found["classes"]):
        asked = run.ledger.confidence[run.ledger.accepted & (run.ledger.label == c)]
        assert (row["accepted"], row["held"]) == (len(asked), int((said == c).sum()))
        if len(asked):
            e = estimate_accuracy(
                sure[said == c].double(), right[said == c].double(), asked.double(), draws=200, seed=3
            )
            assert row["value"] == pytest.approx(e.value)
    for row in found["bins"]:
        k = round(row["value"] * row["count"])
        assert (row["low"], row["high"]) == clopper_pearson(k, row["count"], 0.975)
        assert row["low"] <= row["value"] <= row["high"]
    assert sum(row["count"] for row in found["bins"]) == 150
    bars = found["bars"]
    assert (sum(bars["accepted"]), sum(bars["others"])) == (
        int(run.ledger.accepted.sum()),
        int((~run.ledger.accepted & (run.ledger.seen > 0)).sum()),
    )
    assert bars["others"][:10] == [0] * 10  # of two classes none has a confidence below a half


def test_without_held_out_labels_the_page_says_why(tmp_path):
    pile = pile_of(images(12))
    strategy = strategies.Supervised(
        st.Classification(3), st.learner(lambda: st.Classifier(st.ConvEncoder(8, channels=1, embed_dim=8), 3))
    )
    found = judged(strategy, pile, ledger_for(pile), "validation")
    assert "no held-out labels" in found["why"]
    assert found["bins"] == []
    assert all("value" not in row for row in (*found["thresholds"], *found["classes"]))


# -- that it is safe ---------------------------------------------------------------------------------------------------
def test_nothing_but_its_own_script_may_run(tmp_path):
    pile = pile_of(
        images(4), ids=[HOSTILE, "--><script>hit=1</script>", "{{script}}", "\u2028'\"`${hit}"], classes=(HOSTILE, "b")
    )
    path = write_review(ledger_for(pile), pile, tmp_path / "page.html", name=f"</title>{HOSTILE}")
    page = Page(path)
    policy = dict(page.tags[3][1])
    assert policy["http-equiv"] == "Content-Security-Policy"  # before anything it must cover
    for name, directive in (("script", "script-src"), ("style", "style-src")):
        found = base64.b64encode(hashlib.sha256(page.texts[name].encode()).digest()).decode()
        assert f"{directive} 'sha256-{found}';" in policy["content"]
    assert policy["content"].startswith("default-src 'none';")
    assert "unsafe" not in policy["content"]
    kinds = [attributes.get("type") for tag, attributes in page.tags if tag == "script"]
    assert kinds == ["application/json", None, "text/plain"]
    assert "img" not in {tag for tag, _ in page.tags}
    assert not any(name.startswith("on") or name == "style" for _, attributes in page.tags for name in attributes)
    assert page.data["rows"]["id"] == [pile.unlabeled_ids()[row] for row in page.data["rows"]["row"]]
    assert page.texts["title"] == f"Review of </title>{HOSTILE}"


def test_the_page_asks_for_nothing_from_elsewhere(tmp_path):
    pile = pile_of(images(4))
    text = write_review(ledger_for(pile), pile, tmp_path / "page.html").read_text(encoding="utf-8")
    assert set(re.findall(r"\w+://[^\s'\"]+", text)) == {"http://www.w3.org/2000/svg"}  # a name, not an address
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", text)


def test_json_cannot_end_a_script():
    text = json_text({"a": "</script><!--&\u2028\udc80é"})
    assert re.fullmatch(r"[ -~]+", text)
    assert not set("<>&") & set(text)
    assert json.loads(html.unescape(text)) == {"a": "</script><!--&\u2028\udc80é"}


def colors(scheme):
    css = page_html.style() + page_html._part("page.css")
    parts = css.split("prefers-color-scheme: dark")
    light = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", parts[0]))
    return light if scheme == "light" else light | dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", parts[1]))


def luminance(color):
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_the_contrast_of_wcag(scheme):
    found = colors(scheme)
    pairs = [(text, back) for text in ("text", "faint", "blue") for back in ("back", "panel", "blue-soft")]
    pairs += [(state, f"{state}-soft") for state in ("accepted", "corrected", "rejected")] + [("on-blue", "blue")]
    for text, back in pairs:
        high, low = sorted((luminance(found[text]), luminance(found[back])), reverse=True)
        assert (high + 0.05) / (low + 0.05) >= 4.5, (text, back)
