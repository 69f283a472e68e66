"""The review page in a real browser: clicked through, typed into, and read back."""

import csv
import json
import os
import shutil
import time

import numpy as np
import pytest
import torch
from test_reviewpage import HOSTILE, images, ledger_for, pile_of

import selftrain as st
from selftrain import strategies
from selftrain.data import ArraySet, Pile
from selftrain.labels.page import write_label_review, write_review
from selftrain.labels.review import read_review

BROWSER, DRIVER = (shutil.which(name) for name in ("chromium", "chromedriver"))
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--window-size=1400,900",
)  # fmt: skip
CLASSES = ("ant", "bee", "cow")


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """Chromium without a window, with a profile of its own; it saves files into ``browser.folder``."""
    if not (BROWSER and DRIVER):
        message = "no chromium and chromedriver here (Debian: apt-get install chromium chromium-driver)"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(message)
    from selenium import webdriver

    folder = tmp_path_factory.mktemp("downloads")
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.add_experimental_option("prefs", {"download.default_directory": str(folder)})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))  # named, so that selenium looks for none
    driver.folder = folder
    yield driver
    driver.quit()


class Reader:
    """A page that is open in the browser, as a person uses it."""

    def __init__(self, browser, path, fresh=True):
        self.browser, self.path = browser, path
        browser.get(path.as_uri())
        for _ in range(5):  # what the page before was about to write may come after it was cleared
            if not (fresh and browser.execute_script("return localStorage.length")):
                break
            browser.execute_script("localStorage.clear()")
            browser.get(path.as_uri())
        self.wait("performance.getEntriesByName('usable').length")
        assert self.log() == []

    def js(self, script, *arguments):
        return self.browser.execute_script(f"return {script}", *arguments)

    def wait(self, script):
        for _ in range(400):
            if self.js(script):
                return
            time.sleep(0.025)
        raise AssertionError(f"never true: {script}")

    def log(self):
        """What the browser complains about: errors, and what the policy kept from running."""
        return [entry["message"] for entry in self.browser.get_log("browser") if entry["level"] == "SEVERE"]

    def press(self, *keys, ctrl=False):
        from selenium.webdriver import ActionChains, Keys

        chain = ActionChains(self.browser, 0)
        for key in keys:
            chain = chain.key_down(Keys.CONTROL) if ctrl else chain
            chain = chain.send_keys(getattr(Keys, key) if len(key) > 1 and hasattr(Keys, key) else key)
            chain = chain.key_up(Keys.CONTROL) if ctrl else chain
        chain.perform()

    def click(self, selector):
        self.browser.find_element("css selector", selector).click()

    def set(self, selector, value):
        self.js(
            "(e => { e.value = arguments[1];"
            " e.dispatchEvent(new Event('input', {bubbles: true})); e.dispatchEvent(new Event('change')); })"
            "(document.querySelector(arguments[0]))",
            selector,
            value,
        )

    def text(self, selector):
        return self.js("document.querySelector(arguments[0]).textContent", selector)

    def column(self, key):
        """Texts of the rows that are in the document, from top to bottom."""
        return self.js(
            "[...document.querySelectorAll('#space .row')].sort((a, b) => a.dataset.place - b.dataset.place)"
            ".map(row => row.querySelector('.' + arguments[0]).textContent)",
            key,
        )

    def current(self):
        return self.js("document.querySelector('#space [aria-selected=true] .id').textContent")

    def saved(self, press=True):
        """The bytes of the file that the page saves."""
        for old in self.browser.folder.iterdir():
            old.unlink()
        self.press("s") if press else self.click("#save")
        for _ in range(400):
            (path,) = [*self.browser.folder.glob("*.csv")] or [None]
            if path:
                return path
            time.sleep(0.025)
        raise AssertionError("nothing was saved")

    def load(self, path):
        self.browser.find_element("id", "file").send_keys(str(path))
        self.wait("document.getElementById('file').value === ''")


@pytest.fixture(scope="module")
def pets(tmp_path_factory):
    """A pile with labels and held-out ones, a ledger with labels of every kind, and its page."""
    x = images(160, side=8)
    y = np.arange(160) % 3
    x[np.arange(160), 0, y * 2] = 255
    labeled, held = ArraySet(x[:30], y[:30]), ArraySet(x[30:60], y[30:60])
    unlabeled = ArraySet(x[60:], None, [f"photo-{i}.png" for i in range(100)])
    pile = Pile(labeled, unlabeled, held, classes=CLASSES, truth=torch.from_numpy(y[60:]))
    strategy = strategies.FixMatch(
        st.Classification(3), st.learner(network), decay=0.9
    )  # untrained: it is to be judged
    path, ledger = tmp_path_factory.mktemp("pets") / "page.html", ledger_for(pile)
    return pile, ledger, write_review(ledger, pile, path, name="pets", strategy=strategy)


def network():
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 3))


def by(ledger, key, rows=None):
    """Ids in the order of a column, ties in the order of the ledger."""
    values = getattr(ledger, key).double()
    rows = range(len(ledger)) if rows is None else rows
    return [ledger.ids[row] for row in sorted(rows, key=lambda row: (float(values[row]), row))]


# -- looking -----------------------------------------------------------------------------------------------------------
def test_it_opens_from_disk_and_asks_for_nothing(browser, pets):
    _, ledger, path = pets
    page = Reader(browser, path)
    assert page.browser.title == "Review of pets"
    assert page.text("#run") == "pets \u00b7 100 of 100 samples"
    assert page.column("id") == by(ledger, "margin")[: len(page.column("id"))]
    fetched = "performance.getEntriesByType('resource').map(e => e.name).filter(n => !n.startsWith('data:'))"
    assert page.js(fetched) == []
    assert page.js("document.activeElement.id") == "grid"
    blocked = "fetch('http://127.0.0.1:9/').then(() => 'sent', error => String(error))"
    assert "Failed to fetch" in page.js(blocked)
    assert "Content Security Policy" in " ".join(page.log())
    markup = "(() => { try { document.body.innerHTML = '<b>x</b>' } catch (e) { return e.name } })()"
    assert page.js(markup) == "TypeError"
    assert "TrustedHTML" in " ".join(page.log())


def test_the_picture_is_that_of_the_row(browser, pets):
    pile, ledger, path = pets
    page = Reader(browser, path)
    for place in (0, 3):
        page.wait("!document.querySelector('#space canvas').toDataURL().includes('AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA')")
        cell = "document.querySelector(`[data-place='${arguments[0]}'] canvas`)"
        centers = page.js(
            f"(c => Array.from({{length: 64}}, (_, p) => c.getContext('2d').getImageData("
            f"(c.width - c.height) / 2 + (p % 8 + 0.5) * c.height / 8,"
            f" (Math.floor(p / 8) + 0.5) * c.height / 8, 1, 1).data[0]))({cell})",
            place,
        )
        row = ledger.ids.index(by(ledger, "margin")[place])
        real = pile.unlabeled.images(np.array([row])).flatten().tolist()
        assert np.abs(np.array(centers) - real).max() <= 40  # a sheet of noise is a JPEG


def test_columns_sort_both_ways(browser, pets):
    _, ledger, path = pets
    page = Reader(browser, path)
    shown = len(page.column("id"))
    page.click("[data-sort=confidence]")
    rising = by(ledger, "confidence")
    assert page.column("id") == rising[:shown]
    assert page.js("document.querySelector('[aria-sort]').textContent") == "Confidence"
    page.click("[data-sort=confidence]")
    assert page.column("id")[0] == rising[-1]
    assert page.js("document.querySelector('[aria-sort]').getAttribute('aria-sort')") == "descending"
    page.click("[data-sort=id]")
    assert page.column("id")[:11] == [f"photo-{i}.png" for i in range(11)]  # 9 before 10


def test_filters_by_class_confidence_name_and_use(browser, pets):
    _, ledger, path = pets
    page = Reader(browser, path)

    def expected(keep):
        rows = [row for row in range(100) if keep(row)]
        assert page.text("#shown") == f"{len(rows)} of 100 shown"
        assert page.column("id") == by(ledger, "margin", rows)[: len(page.column("id"))]

    common = int(ledger.label.mode().values)
    page.set("#class", str(common))
    expected(lambda row: ledger.label[row] == common)
    middle = round(float(ledger.confidence.median()), 3)
    page.set("#from", str(middle))
    expected(lambda row: ledger.label[row] == common and ledger.confidence[row] >= middle)
    page.set("#class", "")
    page.set("#to", str(middle + 0.01))
    expected(lambda row: middle <= ledger.confidence[row] <= middle + 0.01)
    page.click("#clear")
    page.set("#find", "PHOTO-7")
    expected(lambda row: "photo-7" in ledger.ids[row])
    page.click("#clear")
    page.set("#used", "1")
    expected(lambda row: bool(ledger.accepted[row]))
    page.set("#find", "no such")
    assert page.text("#shown") == "0 of 100 shown"
    page.browser.execute_script("document.getElementById('grid').focus()")
    page.press("a", "x", "ARROW_DOWN", "c")  # nothing to decide on, and no error
    assert page.log() == []


def test_estimates_are_on_the_page(browser, pets):
    page = Reader(browser, pets[2])
    data = page.js("JSON.parse(document.getElementById('data').textContent).judged")
    e = data["accepted"]
    assert f"{100 * e['value']:.1f} % of the {e['count']} accepted labels" in page.text(".headline")
    assert page.js("document.querySelectorAll('.strip .bin').length") == len(data["bins"]) > 0
    rows = page.js("[...document.querySelectorAll('.estimates tbody tr')].map(r => r.cells[2].textContent)")
    assert rows[0] == f"{100 * data['thresholds'][0]['value']:.1f} %"
    page.js("[...document.querySelectorAll('.estimates button')].find(b => b.textContent === 'bee').click()")
    assert page.js("document.getElementById('class').value") == "1"


def test_what_a_portfolio_has_tried_is_a_table(browser, pets, tmp_path):
    page = Reader(browser, pets[2])
    assert page.js("document.getElementById('tried').hidden")  # one network, of which there is nothing to choose
    told = dict.fromkeys(("accuracy", "standard_error", "loss"))
    tried = [
        {"name": "SVM <b>", "family": "labels alone", "accuracy": 0.91, "standard_error": 0.05, "loss": 0.31,
         "prior": 0.0, "weight": 0.75, "seconds": 0.25, "reason": "blended: loss on 40 labels"},
        {"name": "Poisson", "family": "graph", **told, "prior": 0.1, "weight": 0.25, "seconds": 1.25,
         "reason": "blended: loss on 40 labels"},
        {"name": "mixture", "family": "mixture", "accuracy": 0.5, "standard_error": 0.1, "loss": 1.5,
         "prior": 0.2, "weight": 0.0, "seconds": 0.1, "reason": "left out, below 1%: loss on 40 labels"},
        {"name": "network, freematch", "family": "network", **told, "prior": None, "weight": 0.0, "seconds": 0.0,
         "reason": "not tried: takes about 24 s, more than is left"},
    ]  # fmt: skip
    pile, ledger, _ = pets
    path = write_review(ledger, pile, tmp_path / "page.html", candidates=tried)
    page = Reader(browser, path)
    rows = page.js("[...document.querySelectorAll('#tried tbody tr')].map(r => [...r.cells].map(c => c.textContent))")
    assert rows[0] == ["SVM <b> labels alone", "91.0 ± 5.0", "0.310", "75 %"]
    assert rows[1] == ["Poisson graph", "–", "–", "25 %"]
    assert rows[2] == ["mixture mixture", "50.0 ± 10.0", "1.500", "0 %"]
    assert rows[3] == ["network, freematch network", "not tried: takes about 24 s, more than is left"]
    heard = page.text("#tried")
    assert heard.count("Blended: loss on 40 labels") == 1
    assert "Left out, below 1%: loss on 40 labels" in heard
    assert "1.6 s in all" in heard
    assert page.log() == []


# -- deciding ----------------------------------------------------------------------------------------------------------
def test_keyboard_undo_download_and_the_next_run(browser, pets, tmp_path):
    pile, ledger, path = pets
    page = Reader(browser, path)
    names = by(ledger, "margin")[:6]
    labels = {name: int(ledger.label[ledger.ids.index(name)]) for name in names}
    other = {name: (label + 1) % 3 for name, label in labels.items()}
    page.press("a")  # accept 0
    page.press("x")  # reject 1
    page.press(str(other[names[2]]))  # correct 2
    page.press("c")
    page.press(CLASSES[other[names[3]]], "ENTER")  # correct 3 by name
    page.press("x", "u")  # reject 4, and not
    assert page.current() == names[4]
    assert page.text("#counts").startswith("4 of 100 decided: 1 accepted, 2 corrected, 1 rejected")
    page.press("z", ctrl=True)
    assert page.text("#counts").startswith("3 of 100")
    page.press("y", ctrl=True)
    page.press("U")  # the rejection of 4 again
    assert page.text("#counts").startswith("5 of 100")
    page.press("u", "ARROW_DOWN", "9")  # no such class: nothing happens
    assert page.text("#said") != ""
    review = read_review(page.saved(), pile.classes, set(pile.unlabeled_ids()))
    expected = {names[0]: labels[names[0]], names[1]: -1, names[2]: other[names[2]], names[3]: other[names[3]]}
    assert dict(review) == expected
    assert review.text() == "1 accepted, 2 corrected, 1 rejected"
    after = pile.reviewed(review)
    assert (len(after.labeled), len(after.unlabeled)) == (33, 96)
    again = st.fit(strategies.FixMatch(st.Classification(3), st.learner(network)), after, steps=1)
    assert not set(again.ledger.ids) & set(expected)

    reopened = Reader(browser, path, fresh=False)  # progress is there again
    assert reopened.text("#counts").startswith("4 of 100 decided: 1 accepted, 2 corrected, 1 rejected")
    assert dict(read_review(reopened.saved(press=False), pile.classes)) == expected
    reopened.set("#decided", "corrected")
    assert sorted(reopened.column("id")) == sorted(names[2:4])


def test_keys_work_wherever_the_focus_is_and_on_all_that_is_shown(browser, pets):
    _, ledger, path = pets
    page = Reader(browser, path)
    names = by(ledger, "margin")
    page.browser.execute_script("document.activeElement.blur()")
    page.press("j", "x")  # on the page as a whole
    assert page.text("#counts").startswith("1 of 100 decided: 0 accepted, 0 corrected, 1 rejected")
    assert page.current() == names[2]
    page.browser.execute_script("document.getElementById('save').focus()")
    page.press("a", "z", ctrl=False)
    assert page.text("#counts").startswith("2 of 100 decided: 1 accepted")
    page.set("#find", "photo-7")  # 11 of 100
    page.browser.execute_script("document.getElementById('find').focus()")
    page.press("a", "x", "9")  # typed, not decided
    assert page.text("#counts").startswith("2 of 100")
    page.set("#find", "photo-7")
    shown = {name for name in names if "photo-7" in name}
    before = shown & set(names[1:3])
    page.press("ESCAPE", "A")
    assert page.text("#counts").startswith(f"{2 + 11 - len(before)} of 100 decided: {1 + 11 - len(before)} accepted")
    assert f"accepted all {11 - len(before)} that were shown and open" in page.text("#said")
    page.press("u")
    assert page.text("#counts").startswith("2 of 100")
    page.click("#clear")
    page.click("#reject-shown")
    assert page.text("#counts").startswith("100 of 100 decided: 1 accepted, 0 corrected, 99 rejected")
    page.press("z", ctrl=True)
    assert page.text("#counts").startswith("2 of 100")
    assert page.log() == []


def test_the_focus_is_seen_and_keys_move_it(browser, pets):
    _, ledger, path = pets
    page = Reader(browser, path)
    names = by(ledger, "margin")
    page.press("ARROW_DOWN", "j", "k")
    assert page.current() == names[1]
    style = "getComputedStyle(document.querySelector('#space [aria-selected=true]'))"
    assert page.js(f"[{style}.outlineStyle, {style}.outlineWidth]") == ["solid", "2px"]
    active = "document.getElementById(document.getElementById('grid').getAttribute('aria-activedescendant'))"
    assert page.js(f"{active}.querySelector('.id').textContent") == names[1]
    page.press("END")
    assert page.current() == names[-1]
    box = "document.querySelector('#space [aria-selected=true]').getBoundingClientRect()"
    edge = "document.getElementById('grid').getBoundingClientRect().bottom"
    assert page.js(f"{box}.bottom <= {edge} + 1")
    page.press("HOME")
    assert page.current() == names[0]
    page.press("/")
    page.press("p")  # typed
    page.press("x")  # typed, and not taken for a decision
    page.press("BACKSPACE")
    assert page.js("document.getElementById('find').value") == "p"
    page.press("ESCAPE", "a")
    assert page.text("#counts").startswith("1 of 100")
    page.press("?")
    assert page.js("document.getElementById('help').open")
    page.press("ESCAPE")
    assert page.js("document.activeElement.id") == "grid"


def test_everything_has_a_name(browser, pets):
    page = Reader(browser, pets[2])
    nameless = page.js(
        "[...document.querySelectorAll('button, input:not([hidden]), select, canvas, svg, dialog, [role=grid]')]"
        ".filter(e => !(e.getAttribute('aria-label') || e.getAttribute('aria-labelledby') || e.labels?.length"
        " || e.textContent.trim())).map(e => e.outerHTML)"
    )
    assert nameless == []


def test_tiles_show_the_same(browser, pets):
    _, ledger, path = pets
    page = Reader(browser, path)
    names = by(ledger, "margin")
    page.press("g", "ARROW_RIGHT", "x")
    across = page.js("Number(getComputedStyle(document.getElementById('grid')).getPropertyValue('--across'))")
    assert across > 2
    page.press("ARROW_DOWN", "a")
    states = page.js("[...document.querySelectorAll('.tile.rejected, .tile.accepted')].map(t => t.dataset.place)")
    assert {int(place) for place in states} == {1, 2 + across}
    page.press("g")
    assert page.current() == names[3 + across]


# -- files -------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("samples", [10_000, 40])
def test_the_file_is_the_ledgers_byte_for_byte(browser, tmp_path, samples):
    starts = [
        "=",
        "+",
        "-",
        "@",
        "\t",
        "\r",
        "\n",
        "\uff1d",
        "\uff0b",
        "\uff0d",
        "\uff20",
        "'",
        "'=",
        "''-",
        ",",
        '"',
        " ",
        ";",
    ]
    ids = [f"{c}name" for c in starts] + [
        "-",
        "'",
        "",
        "\udcff\udc80.png",
        "a\r\nb",
        "\U0001f41c",
        "é\u202e",
        "007",
        "1e5",
    ]
    ids += [f"plain-{i}" for i in range(70 - len(ids))]
    classes = ("=ant", 'b"e,e', " cow ", "2")
    pile = pile_of(images(70), ids=ids, classes=classes)
    ledger = ledger_for(pile, labeled=60)
    ledger.agreement[:30] = torch.rand(30, generator=torch.Generator().manual_seed(0))
    ledger.confidence[:4] = torch.tensor([1.0, 1e-7, 0.1, 1 / 3])
    page = Reader(browser, write_review(ledger, pile, tmp_path / "page.html", samples=samples))
    found = page.saved().read_bytes()
    whole = ledger.to_csv(tmp_path / "ledger.csv")
    if samples >= 70:
        assert found == whole.read_bytes()
    else:
        (tmp_path / "part.csv").write_bytes(found)
        with (
            open(whole, newline="", errors="surrogatepass") as a,
            open(tmp_path / "part.csv", newline="", errors="surrogatepass") as b,
        ):
            every, part = list(csv.reader(a)), list(csv.reader(b))
        assert len(part) == 41
        assert [row for row in every if row in part] == part  # the same rows, in the same order


def test_corrections_to_any_class_come_back(browser, tmp_path):
    classes = ("=ant", 'b"e,e', " cow ", "2", "=ant", "", "\u202eelk")  # 4 is called as 0, 5 has no name, 3 is "2"
    pile = pile_of(images(14), ids=[f"-{i}" for i in range(14)], classes=classes)
    ledger = ledger_for(pile, labeled=0)
    page = Reader(browser, write_review(ledger, pile, tmp_path / "page.html"))
    page.press("a")
    assert "never labeled" in page.text("#said")
    for number in range(7):
        page.press(str(number))
    saved = page.saved()
    assert dict(read_review(saved, classes, pile.unlabeled_ids())) == {f"-{i}": i for i in range(7)}
    kept = tmp_path / "kept.csv"
    shutil.copy(saved, kept)
    other = Reader(browser, page.path)
    other.load(kept)
    assert other.text("#counts").startswith("7 of 14 decided: 0 accepted, 7 corrected")
    assert other.saved().read_bytes() == kept.read_bytes()


def test_a_file_from_a_spreadsheet_is_taken_over(browser, pets, tmp_path):
    _, ledger, path = pets
    page = Reader(browser, path)
    page.press("x")
    first = by(ledger, "margin")[0]
    changed = (int(ledger.label[3]) + 1) % 3  # the file is of a run that called it otherwise
    rows = [["\ufeffid", "label", "verdict", "correction"], ["photo-1.png", "", "", "bee"],
            ["photo-2.png", "", "reject", ""],
            ["photo-3.png", changed, "Keep ", ""], ["photo-4.png", int(ledger.label[4]), "accept", ""],
            ["other.png", "", "reject", ""], ["photo-5.png"], [first, "", "", ""]]  # fmt: skip
    file = tmp_path / "sheet.csv"
    file.write_text("\n".join(";".join(map(str, row)) for row in rows), encoding="utf-8")
    page.load(file)
    assert "4 decisions read, 4 of them new; 1 are about samples that are not on this page" in page.text("#said")
    review = read_review(page.saved(), CLASSES)
    right = {
        "photo-1.png": 1,
        "photo-2.png": -1,
        "photo-3.png": changed,
        "photo-4.png": int(ledger.label[4]),
        first: -1,
    }
    assert dict(review) == right | ({first: -1} if first not in right else {})
    page.press("u")  # one step
    assert page.text("#counts").startswith("1 of 100")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("id,label\na,1\n", "no column verdict"),
        ("id,verdict,correction\nphoto-1.png,maybe,\n", "row 2: unknown verdict maybe"),
        ("id,verdict,correction\nphoto-2.png,reject,\nphoto-1.png,,dog\n", 'row 3: no class "dog"'),
        ("id,verdict,correction\nphoto-1.png,reject,bee\n", "rejected and corrected"),
        ("id,verdict,correction\nphoto-1.png,accept,\n", 'no class ""'),
        ("id,verdict,correction\nphoto-1.png,reject,\nphoto-1.png,reject,\n", "occurs twice"),
        ('id,verdict,correction\n"photo-1.png,reject,\n', "no end"),
        (b"id,verdict,correction\n\xff\xfe,reject,\n", "cannot be used"),
    ],
)
def test_a_file_that_is_wrong_changes_nothing(browser, pets, tmp_path, text, words):
    page = Reader(browser, pets[2])
    (tmp_path / "wrong.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    page.load(tmp_path / "wrong.csv")
    assert words in page.text("#said")
    assert page.text("#counts").startswith("0 of 100")
    assert page.log() == []


# -- hostile names -----------------------------------------------------------------------------------------------------
def test_hostile_names_are_only_text(browser, tmp_path):
    ids = [HOSTILE, "<img src=x onerror=window.hit=1>", "'\"><svg/onload=window.hit=1>", 
           "</script><script>hit=1</script>", "javascript:hit=1", "\u202egnp.exe", "a\u0000b\u200b",
           "${hit=1}`", "&lt;b&gt;", "\udcff", "]]>--><!--",
           "</script <img src=x onerror=window.hit=1>"]  # fmt: skip
    classes = [HOSTILE, "</option></select><script>hit=1</script>", "\u2066cow\u202e", "__proto__", "constructor"]
    pile = pile_of(images(len(ids)), ids=ids, classes=classes)
    ledger = ledger_for(pile)
    path = write_review(ledger, pile, tmp_path / "<img src=x onerror=hit=1>.html", name=f"</title>{HOSTILE}")
    page = Reader(browser, path)
    for place in range(len(ids)):
        page.press(str(place % 5))
    page.press("c")
    page.press("script", "ESCAPE", "g", "g", "HOME")
    assert page.js("typeof window.hit") == "undefined"
    assert (
        page.js("document.querySelectorAll('img, iframe, object, embed, b, script[src], [onerror], [onload]').length")
        == 0
    )
    assert page.js("document.querySelectorAll('script').length") == 3
    assert page.log() == []
    texts = page.column("id")
    assert sorted(texts)[-1] == "\u2039U+DCFF\u203a"
    assert {"\u2039U+202E\u203agnp.exe", "a\u2039U+0000\u203ab\u2039U+200B\u203a", "&lt;b&gt;", HOSTILE} < set(texts)
    assert page.browser.title == f"Review of </title>{HOSTILE}"
    found = dict(read_review(page.saved(), classes, ids))
    order = [ids[row] for row in ledger.margin.argsort(stable=True)]
    assert found == {name: place % 5 for place, name in enumerate(order)}
    assert not any(char in next(browser.folder.iterdir()).name for char in "<>=/")


def test_a_spoiled_storage_is_passed_over(browser, pets):
    page = Reader(browser, pets[2])
    key = page.js("JSON.parse(document.getElementById('data').textContent).key")
    for spoiled in (
        "{",
        "[]",
        "null",
        json.dumps({"decisions": {"0": 99, "1": "x", "2": -7, "x": 1, "3": 1, "5000": 2}}),
    ):
        page.js("localStorage.setItem(arguments[0], arguments[1])", key, spoiled)
        again = Reader(browser, pets[2], fresh=False)
        assert again.text("#counts").startswith("1 of 100" if "5000" in spoiled else "0 of 100")


def test_without_storage_the_page_says_so(browser, pets):
    script = "Storage.prototype.setItem = () => { throw new Error('full') }"
    handle = browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": script})
    try:
        page = Reader(browser, pets[2])
        page.press("a")
        assert "keeps nothing" in page.text("#counts")
        assert page.text("#counts").startswith("1 of 100")
        page.saved()  # then the page may be left
    finally:
        browser.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", handle)


# -- many and other samples --------------------------------------------------------------------------------------------
@pytest.mark.slow
def test_ten_thousand_rows_stay_usable(browser, tmp_path):
    x = images(10_000, side=16, channels=3)
    pile = pile_of(
        x, ids=[f"folder {i % 7}/photo-{i}.jpg" for i in range(10_000)], classes=[f"class {c}" for c in range(100)]
    )
    ledger = ledger_for(pile)
    path = write_review(ledger, pile, tmp_path / "page.html", megabytes=6)
    assert path.stat().st_size < 8_000_000
    page = Reader(browser, path)
    assert page.js("performance.getEntriesByName('usable')[0].startTime") < 8000
    assert page.js("document.querySelectorAll('#space .row').length") < 60
    for sort in ("confidence", "id", "flips", "label", "decision"):
        page.click(f"[data-sort={sort}]")
    page.set("#class", "7")
    page.set("#class", "")
    page.set("#find", "photo-99")
    page.set("#find", "")
    page.wait("document.getElementById('shown').textContent === '10,000 of 10,000 shown'")
    times = page.js("performance.getEntriesByName('arrange').map(e => e.duration)")
    assert len(times) >= 10
    assert max(times) < 1000
    page.click("[data-sort=id]")
    page.press("END")
    assert page.current().startswith("folder 6/")
    assert page.js("document.querySelectorAll('#space .row').length") < 60
    page.press("c")
    page.press("class 42", "ENTER")
    assert page.text("#counts").startswith("1 of 10,000 decided: 0 accepted, 1 corrected")
    page.wait("document.querySelector('#sample canvas').getContext('2d').getImageData(150, 110, 1, 1).data[3] === 255")


def test_masks_are_accepted_in_whole_and_in_part_and_rejected(browser, tmp_path):
    from selftrain import toy

    pile = toy.pile("segmentation")
    run = st.fit(strategies.FixMatch(toy.task("segmentation"), toy.learner("segmentation")), pile, steps=1)
    page = Reader(browser, write_review(run, pile, tmp_path / "page.html"))
    assert page.text("#what") == "Review of masks"
    assert page.js("[...document.querySelectorAll('.colors li')].map(one => one.textContent)") == ["0", "1", "2"]
    assert page.js("document.querySelector('.colors .key').style.background") == "rgb(31, 120, 181)"
    assert page.js("document.querySelectorAll('#sample .choice').length") == 2 + 9
    assert page.text("#sort option") == "least sure part"
    first = page.current()
    page.press("x")
    second = page.current()
    page.press("a")
    third = page.current()
    page.press("6")
    assert page.text("#said").endswith("accepted, void below 60 %")
    assert page.text("#counts") == "3 of 24 decided: 1 accepted, 1 in part, 1 rejected"
    page.press("c")  # a mask is corrected in its own file
    saved = page.saved()
    rows = {row["id"]: (row["verdict"], row["correction"]) for row in csv.DictReader(saved.open(newline=""))}
    wanted = {first: ("reject", ""), second: ("accept", ""), third: ("accept", "0.6")}
    assert {name: said for name, said in rows.items() if said[0]} == wanted
    folder = run.ledger.to_masks(tmp_path / "masks")
    found = read_review(saved, pile.classes, masks=folder)
    assert (found[first], found[second]["above"], found[third]["above"]) == (-1, 0, 0.6)
    for _ in range(3):
        page.press("u")
    page.load(saved)
    assert page.text("#counts") == "3 of 24 decided: 1 accepted, 1 in part, 1 rejected"
    wrong = tmp_path / "wrong.csv"
    wrong.write_text(saved.read_text().replace("0.6", "cow"))
    page.load(wrong)
    page.wait("document.getElementById('said').textContent.includes('no confidence from 0 to 1')")
    page.press("A")
    assert page.text("#counts").startswith("24 of 24 decided: 22 accepted")


def test_alike_samples_are_neighbors_and_a_range_is_decided_at_once(browser, tmp_path):
    x = images(60, side=8)
    x[:] = (np.arange(60) % 3 * 100)[:, None, None, None]  # three kinds of pictures
    pile = pile_of(x)
    page = Reader(browser, write_review(ledger_for(pile), pile, tmp_path / "page.html"))
    page.set("#sort", "similar")
    kinds = [int(name.rpartition("/")[2]) % 3 for name in page.column("id")]
    assert sum(a != b for a, b in zip(kinds, kinds[1:], strict=False)) <= 2
    labeled = [label != "never labeled" for label in page.column("label")[:5]]
    page.js("document.getElementById('grid').focus()")
    from selenium.webdriver import ActionChains, Keys

    ActionChains(page.browser, 0).key_down(Keys.SHIFT).send_keys(*[Keys.ARROW_DOWN] * 4).key_up(Keys.SHIFT).perform()
    assert page.text("#said").startswith("5 chosen")
    assert page.js("document.querySelectorAll('#space [aria-selected=true]').length") == 5
    page.press("a")
    assert page.text("#counts").startswith(f"{sum(labeled)} of 60 decided: {sum(labeled)} accepted")
    assert page.js("document.querySelectorAll('#space [aria-selected=true]').length") == 1
    page.press("u")  # one step
    assert page.text("#counts").startswith("0 of 60")


@pytest.mark.parametrize("kind", ["table", "series", "points"])
def test_rows_series_and_clouds_are_drawn(browser, tmp_path, kind):
    from selftrain.data import PointViews

    shape = {"table": (30, 9), "series": (30, 2, 500), "points": (30, 60, 3)}[kind]
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    views = PointViews() if kind == "points" else None
    pile = pile_of(x, None if kind == "table" else kind, views=views)
    columns = [f"<i>{c}" for c in range(9)] if kind == "table" else None
    ledger = ledger_for(pile)
    page = Reader(browser, write_review(ledger, pile, tmp_path / "page.html", columns=columns))
    inked = (
        "[...document.querySelectorAll('canvas')].map(c => c.getContext('2d').getImageData(0, 0, c.width, c.height)"
        ".data.filter((v, i) => i % 4 === 3 && v).length)"
    )
    page.wait(f"Math.min(...{inked}) > 20")
    if kind == "table":
        cells = page.js(
            "[...document.querySelectorAll('.values tr')].map(r => [r.cells[0].textContent, r.cells[1].textContent])"
        )
        row = x[int(ledger.margin.argmin())]
        assert [name for name, _ in cells] == columns
        assert [float(value) for _, value in cells] == pytest.approx(row.tolist(), rel=1e-3)


def test_colors_follow_the_system(browser, pets):
    back = "getComputedStyle(document.body).backgroundColor"
    found = {}
    for scheme in ("light", "dark"):
        feature = {"name": "prefers-color-scheme", "value": scheme}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
        found[scheme] = sum(map(int, Reader(browser, pets[2]).js(f"{back}.match(/\\d+/g)")))
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    assert found["dark"] < 150 < 600 < found["light"]


def test_a_narrow_window_needs_no_sideways_scrolling(browser, pets):
    metrics = {"width": 380, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        page = Reader(browser, pets[2])
        assert page.js("document.documentElement.scrollWidth <= innerWidth")
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@pytest.mark.slow
def test_five_thousand_classes_stay_usable(browser, tmp_path):
    """A key is answered at once; each class is found by its name, and estimates of the largest ones are shown."""
    names = [f"species {c}" for c in range(5000)]
    pile = pile_of(images(2000), classes=names)
    ledger = ledger_for(pile)
    ledger.label[:50] = 4321
    page = Reader(browser, write_review(ledger, pile, tmp_path / "page.html"))
    usable = page.js("performance.getEntriesByName('usable')[0].startTime")
    key = "document.getElementById('grid').dispatchEvent(new KeyboardEvent('keydown', {key: 'x', bubbles: true}))"
    times = []
    for _ in range(5):
        times.append(
            page.browser.execute_script(
                f"const begun = performance.now(); {key}; document.body.getBoundingClientRect();"
                " document.getElementById('judged').offsetHeight; return performance.now() - begun"
            )
        )
    assert usable < 5000
    assert sorted(times)[2] < 500
    assert "5 of 2,000 decided" in page.text("#counts")
    table = page.js("document.querySelectorAll('#judged .estimates')[1].innerText")
    assert table.startswith("By class, of the accepted: the 200 of 5,000 classes with the most labels")
    assert "species 4321" in table.splitlines()[2]
    # every class can be asked for and chosen
    page.set("#class", "4321")
    assert set(page.column("label")) == {"species 4321"}
    page.press("c")
    page.press(*"species 4998", "ENTER")
    assert page.text("#counts").startswith("6 of 2,000 decided: 0 accepted, 1 corrected")


@pytest.mark.slow
def test_given_labels_are_reviewed_by_doubt(browser, pets, tmp_path):
    pile, _, _ = pets
    p = torch.full((30, 3), 0.1)
    p[torch.arange(30), pile.labeled.annotations] = 0.8
    p[4] = p[4].roll(1)  # networks that did not see it say another class
    found = write_label_review(pile, p, tmp_path / "given.html")
    assert found.suspected.nonzero().tolist() == [[4]]
    page = Reader(browser, tmp_path / "given.html")
    assert page.text("#what") == "Review of given labels"
    assert page.current() == "given:4"
    suggested = int(found.suggested[4])
    assert page.column("suggested")[0] == f"{CLASSES[suggested]} 0.800"
    assert "1 of 30 given labels are suspected" in page.text("#judged")
    page.press("t", "a")
    review = read_review(page.saved(), pile.classes, pile.review_ids())
    assert review["given:4"] == suggested
    assert len(review) == 2
    assert pile.reviewed(review).labeled.annotations[4] == suggested
    page.click("[data-sort=suggested]")
    assert page.log() == []
