"""TensorBoard itself on a run, in a real browser: every page is opened and read back."""

import os
import re
import subprocess
import sys
import time

import pytest
from helpers import MemoryPile, convnet, pictures, sgd_learner
from test_reviewpage_browser import BROWSER, DRIVER, FLAGS

import selftrain as st
from selftrain.mix import Mixup
from selftrain.strategies import FixMatch
from selftrain.tensorboard import Dashboard
from selftrain.tensorboard.tags import CLASSES, LEARNING, PILE, SPEED, TEACHER, WRONG, placed
from selftrain.types import BatchPlan

pytestmark = pytest.mark.slow
DRAWN = (
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist",
)  # the projector needs WebGL
PATIENCE = 60  # seconds for a page; idle machines need three
TAB = """
const tabs = [...document.querySelectorAll('[role=tab]')].filter(tab => tab.offsetParent);
return tabs.find(tab => tab.textContent.trim().toLowerCase() === arguments[0]);
"""
WALK = """
const found = [];
const visit = node => {
  if (!node) return;  // a page within the page that is still loading
  if (node.nodeType === 3 && node.textContent.trim()) found.push(node.textContent.trim());
  if (['STYLE', 'SCRIPT', 'TEMPLATE'].includes(node.nodeName)) return;
  if (node.nodeName === 'IMG' && node.naturalWidth) found.push(`${node.naturalWidth}x${node.naturalHeight} pixels`);
  if (node.nodeName === 'IFRAME' && node.contentDocument) visit(node.contentDocument.body);
  for (const child of [...(node.shadowRoot ? [node.shadowRoot] : []), ...node.childNodes]) visit(child);
};
visit(document.body);
return found.join('\\n');
"""  # TensorBoard is made of components with documents of their own, one inside the other


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A short run of which everything is drawn."""
    method = FixMatch(
        st.Classification(3), lambda: sgd_learner(convnet()), decay=0.9, select=st.select.above(0.4), mix=Mixup()
    )
    out = tmp_path_factory.mktemp("runs") / "first"
    settings = {"steps": 20, "eval_every": 10, "log_every": 5, "plan": BatchPlan(labeled=4, unlabeled_ratio=2.0)}
    return st.fit(
        method, MemoryPile(pictures), out=out, monitor={"test": "test"}, dashboard=Dashboard(every=10), **settings
    )


@pytest.fixture(scope="module")
def address(run):
    """Where TensorBoard serves the folder of the run, on a free port of this machine."""
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(run.out.parent), "--port", "0"]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    try:
        said = ""
        while (found := re.search(r"http://\S+?:(\d+)/", said)) is None:
            line = server.stderr.readline()
            assert line, f"TensorBoard ended: {said}"
            said += line
        yield f"http://localhost:{found[1]}/"
    finally:
        server.terminate()
        server.wait(20)
        server.stderr.close()


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """Chromium without a window, with a profile of its own."""
    if not (BROWSER and DRIVER):
        message = "no chromium and chromedriver here (Debian: apt-get install chromium chromium-driver)"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(message)
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    profile = f"--user-data-dir={tmp_path_factory.mktemp('profile')}"
    for flag in (*(flag for flag in FLAGS if flag != "--disable-gpu"), *DRAWN, profile):
        options.add_argument(flag)
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    driver.set_window_size(1700, 1000)
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def board(browser, address):
    """The browser with TensorBoard open."""
    browser.get(address)
    return browser


def wait(ready, complaint):
    end = time.monotonic() + PATIENCE
    while not (found := ready()):
        assert time.monotonic() < end, complaint()
        time.sleep(0.2)
    return found


def read(board, page, *expected):
    """What a page says once it is opened and says all of this."""
    wait(lambda: board.execute_script(TAB, page), lambda: f"TensorBoard has no page {page}").click()
    said = [""]

    def complete():
        said[0] = board.execute_script(WALK)
        return all(text in said[0] for text in expected)

    wait(complete, lambda: f"{page} never says {[text for text in expected if text not in said[0]]}: {said[0][-3000:]}")
    if os.environ.get("SCREENSHOTS"):
        time.sleep(3)
        board.save_screenshot(os.path.join(os.environ["SCREENSHOTS"], f"{page}.png"))
    return said[0]


def test_scalars_are_grouped(board):
    # the first two groups are open: the figure and the pile
    said = read(board, "scalars", "1_learning/validation/accuracy", "3_pile/ledger/accepted", "8_speed", "6_teacher")
    groups = list(dict.fromkeys(line for line in said.splitlines() if re.fullmatch(r"\d_[a-z_]+", line)))
    assert groups == sorted(groups)
    assert "3_pile" in groups


def test_charts_stand_below_the_questions(board):
    questions = (LEARNING, PILE, CLASSES, WRONG, TEACHER, SPEED)
    said = read(board, "custom scalars", *questions, "Matches (2)", "train/loss/unsupervised (first)")
    lines = said.splitlines()
    assert sorted(questions, key=lines.index) == list(questions)
    assert "lead of the teacher" in lines


def test_pictures_and_figures_are_loaded(board):
    figures = [placed(f"figures/{name}", "images") for name in ("classes", "confusion", "reliability")]
    said = read(board, "images", *figures, "350x512 pixels")
    assert {"3_pile/mixed", "3_pile/pseudo_labels", "20"} <= set(said.splitlines())


def test_confidence_of_each_class_is_spread_out(board, run):
    decided = {run.pile.classes[label] for label in run.ledger.label.tolist()}
    read(board, "histograms", "3_pile/confidence/all", *(f"4_classes/confidence/{name}" for name in decided))


def test_curves_are_of_the_last_step(board):
    read(
        board, "pr curves", "3_pile/pr/right", "4_classes/pr/red", "4_classes/pr/green", "4_classes/pr/blue", "step 20"
    )


def test_settings_and_alarms_can_be_read(board):
    read(board, "text", "1_learning/settings", "3_pile/quality", "FixMatch")


def test_runs_are_compared_by_settings_and_final_figures(board, run):
    accuracy = run.last["validation"]["accuracy"]
    read(board, "hparams", "learning_rate", "FixMatch", "1_learning/validation/accuracy", f"{accuracy:.5g}")


def test_points_have_thumbnails_and_labels(board):
    board.refresh()  # the server looks for points once it was asked, and tells the next page
    said = read(board, "projector", "features at step 20", "70x4", "decided")
    assert "WebGL" not in said
    assert {"true", "part", "decided", "right"} <= set(said.splitlines())
