"""``--strategy auto``: a run without a network, which every command opens, and what it says of all that was tried."""

from __future__ import annotations

import json
import pickle
import re
import shutil
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import selftrain as st
from selftrain import strategies
from selftrain.cli import main as cli
from selftrain.estimator.strategy import PortfolioStrategy
from selftrain.portfolio import Portfolio
from selftrain.storage import checkpoint
from selftrain.storage.run_dir import CANDIDATES, CHECKPOINTS

BUDGET = ["--strategy", "auto", "--strategy.budget", "0.2"]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Tables and pictures of two classes, and a run of each kind of data."""
    place = tmp_path_factory.mktemp("home")
    rng, y = np.random.default_rng(0), np.arange(80) % 2
    names = np.array(["a", "b"])[y]
    numbers, colors = rng.normal(4.0 * y, 1.0), rng.choice(["red", "green", "blue"], 80)
    for name, rows in (("train.csv", range(60)), ("test.csv", range(60, 80)), ("more.csv", range(60, 80))):
        lines = [f"{numbers[i]:.6f},{colors[i]},{names[i] if i < 16 or i >= 60 else ''}" for i in rows]
        (place / name).write_text("\n".join(["size,color,label", *lines]) + "\n", encoding="utf-8")
    x = (rng.random((80, 8, 8)) / 2 + 0.5 * y[:, None, None]).astype(np.float32)
    np.savez(place / "a.npz", x=x[:60], y=np.where(np.arange(60) < 16, y[:60], -1), x_test=x[60:], y_test=y[60:])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(import_module("selftrain.portfolio.candidates"), "TREES", 2)
        patch.chdir(place)
        table = ["--data", "train.csv", "--data.label", "label", "--data.test", "test.csv"]
        assert cli.main(["train", *table, *BUDGET, "--out", "runs/table", "--seed", "3"]) == 0
        assert cli.main(["train", "--data", "a.npz", *BUDGET, "--out", "runs/pictures"]) == 0
        yield place


@pytest.fixture(autouse=True)
def _there(home, monkeypatch):
    monkeypatch.chdir(home)
    monkeypatch.setattr(import_module("selftrain.portfolio.candidates"), "TREES", 2)


def test_the_run_is_the_portfolio_of_its_rows(home):
    run = st.open_run("runs/table")
    assert run.evaluate("test")["accuracy"] > 0.7
    pile = run.pile
    rows, pool, asked = (
        torch.cat([batch.x for batch in pile.evaluation(part, 100, torch.device("cpu"))]).numpy()
        for part in ("labeled", "pile", "test")
    )
    codes = np.concatenate([pile.labeled.annotations.numpy(), np.full(len(pool), -1)])
    # standardized sizes as they are, and a column for each color, with one for a color that was never seen
    place = [column.name for column in st.data.TableEncoding.from_dict(pile.encoding).columns].index("color")

    def numbers(x):
        others = np.delete(x, place, 1)
        return np.hstack([others, (x[:, place, None] == np.arange(4)).astype(np.float32)])

    found = Portfolio(0.2, seed=3).fit(numbers(np.concatenate([rows, pool])), codes)
    np.testing.assert_allclose(
        run.strategy.predict(torch.from_numpy(asked)), found.predict_proba(numbers(asked)), atol=1e-6
    )
    told = json.loads(Path("runs/table", CANDIDATES).read_text())["candidates"]
    tried = [row["name"] for row in told if row["family"] != "network"]
    assert tried == [row["name"] for row in found.records_]
    assert len(told) > len(tried)  # networks are candidates for who gives them time
    assert run.strategy.shipped.records == told
    kept = run.strategy.shipped.get_extra_state()["rows"].numpy()
    np.testing.assert_array_equal(kept, np.concatenate([rows, pool]))  # in the order of the pile
    ledger = run.ledger
    assert bool(ledger.accepted.all())
    np.testing.assert_allclose(ledger.confidence, found.predict_proba(numbers(pool)).max(1), rtol=1e-5)
    assert 0 < float(ledger.agreement.min()) <= 1


def test_every_command_opens_it(home, tmp_path, capsys):
    for line in (
        ["evaluate", "runs/table", "--json", str(tmp_path / "figures.json")],
        ["evaluate", "runs/pictures"],
        ["label", "runs/table", "more.csv", "--out", str(tmp_path / "more.csv")],
        ["label", "runs/pictures", "--out", str(tmp_path / "pile.csv")],
        ["review", "runs/table", "--out", str(tmp_path / "page.html")],
        ["train", "--resume", "--out", "runs/table"],
    ):
        assert cli.main(line) == 0, line
    assert len((tmp_path / "more.csv").read_text().splitlines()) == 21
    content = (tmp_path / "page.html").read_text().partition('id="data">')[2].partition("</script>")[0]
    assert json.loads(content)["tried"] == json.loads(Path("runs/table", CANDIDATES).read_text())["candidates"]
    said = capsys.readouterr().out
    assert "tried" in said
    assert "judged on labels that it did not see: runs/table/candidates.md" in said
    # what a person has decided is learned from, and the settings of the run hold
    again = [
        "train",
        "--config",
        "runs/table",
        "--labels",
        "runs/table/pseudo_labels.csv",
        "--out",
        str(tmp_path / "r"),
    ]
    assert cli.main(again) == 0
    assert json.loads((tmp_path / "r" / "rebuild.json").read_text())["strategy"]["settings"]["budget"] == 0.2


def test_black_is_black_where_rows_are_compared_by_their_direction(home):
    card = st.read_card("runs/pictures")
    assert card["input"]["mean"] == [0.0]
    assert card["input"]["std"] == [1.0]
    rows = st.open_run("runs/pictures").strategy.shipped.get_extra_state()["rows"]
    assert 0 <= float(rows.min()) < float(rows.max()) <= 1


def test_pictures_in_color_are_told_by_their_colors(home, tmp_path, capsys):
    """Of pixels at random places none tells anything alone."""
    rng, y = np.random.RandomState(0), np.arange(60) % 2
    colors = np.array([[[1, 0, 0], [0, 1, 1]], [[0, 1, 0], [1, 0, 1]]], np.float32)
    x = colors[y[:, None, None], rng.randint(2, size=(60, 16, 16))].transpose(0, 3, 1, 2)
    np.savez(tmp_path / "c.npz", x=x[:40], y=np.where(np.arange(40) < 16, y[:40], -1))
    assert cli.main(["train", "--data", str(tmp_path / "c.npz"), *BUDGET, "--out", str(tmp_path / "run")]) == 0
    said = capsys.readouterr().out  # where nothing is held out, too
    assert re.search(r"^alone      [\d.]+ ± [\d.]+ % of labels that were hidden from it: ", said, re.MULTILINE)
    assert "nothing tells" not in said
    run = st.open_run(tmp_path / "run")
    assert repr(run).startswith(f"strategy     auto, {len(run.strategy.candidates)} ways in ")
    assert (run.predict(x[40:]).astype(int) == y[40:]).mean() > 0.9


def test_there_is_no_network_to_export_or_to_start_from(home, tmp_path, capsys):
    assert cli.main(["export", "runs/pictures"]) == 1
    told = capsys.readouterr().err
    assert "has no network to export; label data with its run (selftrain label RUN DATA" in told
    assert cli.main(["label", "runs/pictures", "a.npz", "--out", str(tmp_path / "l.csv")]) == 0  # the remedies
    line = ["train", "--data", "a.npz", "--strategy", "freematch", "--steps", "2", "--out", str(tmp_path / "net")]
    assert cli.main([*line, "--init-from", "runs/pictures"]) == 1
    assert "has no weights: what it ships is no network; start from a run that trained one" in capsys.readouterr().err
    assert cli.main(line) == 0
    assert cli.main(["export", str(tmp_path / "net")]) == 0
    assert cli.main([*line[:-1], str(tmp_path / "next"), "--init-from", str(tmp_path / "net")]) == 0


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--steps", "5", "--training.lr", "0.1"], "leave out --training.lr, --steps, or name another strategy"),
        (["--network", "conv"], "leave out --network"),
        (["--plan.labeled", "4", "--plan.workers", "0"], "leave out --plan.labeled, or"),
        (["--on-alarm", "stop", "--baseline"], "leave out --baseline, --on_alarm"),
        (["--strategy.budget", "-1"], "budget is -1.0; give 'fast', 'thorough' or seconds of at least 0"),
        (["--strategy.budget", "slow"], "budget"),
        (["--frozen"], "--frozen is for an encoder that is pretrained"),
    ],
)
def test_what_only_networks_have_is_refused(words, told, home, tmp_path, capsys):
    assert cli.main(["train", "--data", "a.npz", *BUDGET, "--out", str(tmp_path / "a"), *words]) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "a").exists()
    if "or name another strategy" in told:
        line = ["train", "--data", "a.npz", "--strategy", "supervised", "--out", str(tmp_path / "a"), *words]
        assert cli.main(line) == 0


def test_torchrun_is_for_networks_and_masks_for_other_strategies(home, tmp_path, monkeypatch, capsys):
    line = ["train", "--data", "a.npz", *BUDGET, "--out", str(tmp_path / "a")]
    with monkeypatch.context() as patch:
        patch.setattr(import_module("selftrain.front.automatic"), "launched", lambda: True)
        assert cli.main(line) == 2
        assert "--strategy auto runs in one process; torchrun is for strategies" in capsys.readouterr().err
    assert cli.main(line) == 0
    task = st.Segmentation(2)
    with pytest.raises(ValueError, match="one class a sample, and Segmentation more; name a strategy"):
        PortfolioStrategy(task)
    make = st.learner(lambda: torch.nn.Conv2d(1, 2, 1))
    assert strategies.FixMatch(task, make).predict(torch.zeros(1, 1, 4, 4)).shape == (1, 2, 4, 4)


def test_more_rows_than_memory_are_refused_and_features_of_a_start_are_read(home, tmp_path, monkeypatch, capsys):
    limits = import_module("selftrain.estimator.strategy")
    monkeypatch.setattr(limits, "MOST", 60 * 63)
    line = ["train", "--data", "a.npz", *BUDGET, "--out", str(tmp_path / "runs" / "a")]
    assert cli.main(line) == 2
    assert (
        "60 of 64 numbers do not fit: of pictures say --init_from with an encoder (pretrained:NAME)"
        in capsys.readouterr().err
    )
    stage = ["pretrain", "--data", "a.npz", "--recipe", "mae", "--steps", "1", "--plan.labeled", "4"]
    assert cli.main([*stage, "--out", str(tmp_path / "runs" / "mae")]) == 0
    for i, color in enumerate(["black", "white"] * 6):
        place = tmp_path / "photos" / ("unlabeled" if i > 7 else color) / f"{i}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), color).save(place)
    photos = ["train", "--data", str(tmp_path / "photos"), *BUDGET, "--out", str(tmp_path / "runs" / "photos")]
    monkeypatch.setattr(limits, "MOST", 12 * 48)
    assert cli.main([*photos, "--data.size", "8"]) == 2
    assert "(--data.size 32)" in capsys.readouterr().err
    assert cli.main([*photos, "--data.size", "4"]) == 0
    table = ["train", "--data", "train.csv", "--data.label", "label", *BUDGET, "--out", str(tmp_path / "table")]
    monkeypatch.setattr(limits, "MOST", 60 * 5)  # size and color are numbers, and four codes one each
    assert cli.main(table) == 2
    assert "leave out columns of names (--data.drop '[NAME]')" in capsys.readouterr().err
    assert cli.main([*table, "--data.drop", "[color]"]) == 0
    monkeypatch.setattr(limits, "MOST", 60 * 192)
    assert cli.main([*line, "--init-from", str(tmp_path / "runs" / "mae")]) == 0
    run = st.open_run(tmp_path / "runs" / "a")
    assert run.pile.encoder is not None
    assert run.strategy.shipped.get_extra_state()["rows"].shape[1] == run.inputs["shape"][0]
    assert cli.main(["label", str(tmp_path / "runs" / "a"), "a.npz", "--out", str(tmp_path / "l.csv")]) == 0


def test_a_state_that_does_not_fit_is_refused(home, tmp_path):
    state = checkpoint.load_newest(Path("runs/table", CHECKPOINTS))["strategy"]["shipped._extra_state"]
    run = st.open_run("runs/table")
    for change in (
        {"codes": state["codes"][1:]},
        {"codes": state["codes"].clamp(max=0)},
        {"rows": torch.full_like(state["rows"], torch.nan)},
        {"rows": state["rows"].long()},
        {"answers": state["answers"][:, 1:]},
        {"members": []},
        {"members": [{"name": "SVM"}]},
        {"rows": state["rows"][:, :1]},  # without the column of the codes
        {"rows": state["rows"][:1].expand(10**9, -1), "codes": state["codes"][:1].expand(10**9)},
    ):
        with pytest.raises(st.CheckpointError):
            import_module("selftrain.engine.run").take_state(
                run.strategy, {**run.strategy.state_dict(), "shipped._extra_state": {**state, **change}}
            )
    shipped, x = run.strategy.shipped, state["rows"][:2]
    for change, told in (
        ({"members": [{**state["members"][0], "name": "nobody"}]}, "'nobody' is no candidate; known are logistic"),
        ({"answers": 1 - state["answers"]}, "use these versions, or train it again"),
    ):
        shipped.set_extra_state({**state, **change})
        with pytest.raises(st.CheckpointError, match=told):
            shipped(x)
        shipped.set_extra_state(state)  # by the versions that are here, with candidates that are known
        said = shipped(x)
    shipped.learn(state["rows"], state["codes"])  # trained again
    np.testing.assert_allclose(shipped(x), said, atol=1e-5)
    shipped.set_extra_state({})  # as before the first step
    np.testing.assert_allclose(shipped(x).exp(), 0.5)


def test_a_network_in_the_blend_has_its_weights_from_the_file(home, tmp_path, monkeypatch):
    monkeypatch.setattr(import_module("selftrain.estimator.automatic"), "NETWORKS", ("supervised",))
    monkeypatch.setattr(import_module("selftrain.estimator.classifier"), "STEPS", 5)
    # nothing but the network has weight
    alone = import_module("selftrain.portfolio.portfolio")
    monkeypatch.setattr(alone, "SPLITS", 2)
    monkeypatch.setattr(alone, "blend_weights", lambda scored, prior: np.eye(len(scored))[-1])
    line = ["train", "--data", "a.npz", "--strategy", "auto", "--strategy.budget", "100", "--out", str(tmp_path / "a")]
    assert cli.main(line) == 0
    first = st.open_run(tmp_path / "a")
    members = first.strategy.shipped.get_extra_state()["members"]
    assert [member["name"] for member in members] == ["network, supervised"]
    monkeypatch.setattr(import_module("selftrain.estimator.classifier"), "STEPS", 1)
    x = torch.rand(4, 1, 8, 8)
    tensors = members[0]["tensors"]
    said = first.strategy.predict(x)
    tensors[next(name for name in tensors if name.endswith("weight"))].zero_()
    first.strategy.shipped.set_extra_state(first.strategy.shipped.get_extra_state())
    with pytest.raises(st.CheckpointError, match="off by"):
        first.strategy.predict(x)
    np.testing.assert_allclose(st.open_run(tmp_path / "a").strategy.predict(x), said, atol=1e-6)


def test_a_comparison_has_it_beside_labels_alone_and_on_features_of_each_start(home, tmp_path, capsys):
    stage = ["pretrain", "--data", "a.npz", "--recipe", "mae", "--steps", "1", "--plan.labeled", "4"]
    assert cli.main([*stage, "--out", str(tmp_path / "runs" / "mae")]) == 0
    out = tmp_path / "runs" / "compare"
    line = ["compare", "--data", "a.npz", "--strategies", "linear", "auto", "--auto.budget", "0", "--steps", "1"]
    assert cli.main([*line, "--starts", "scratch", str(tmp_path / "runs" / "mae"), "--out", str(out)]) == 0
    found = json.loads((out / "compare.json").read_text())
    rows = {row["strategy"]: row for row in found["rows"]}
    assert {rows[f"auto.{start}"]["role"] for start in ("scratch", "mae")} == {"method"}
    assert rows["auto.mae"]["over"] in ("supervised.mae", "linear.mae")
    assert rows["auto.mae"]["low"] <= rows["auto.mae"]["gain"] <= rows["auto.mae"]["high"]
    assert "self-training pays here" in found["answer"].lower()
    assert found["settings"]["auto"]["init_args"] == {"budget": 0.0}
    for start, shape in (("scratch", [1, 8, 8]), ("mae", None)):
        run = st.open_run(out / "draw-0" / "seed-0" / f"auto.{start}")
        assert (run.pile.encoder is None) == (start == "scratch")
        assert shape in (None, run.inputs["shape"])
        told = {cell["strategy"]: cell["accuracy"] for cell in found["runs"]}
        assert run.evaluate("test")["accuracy"] == pytest.approx(told[f"auto.{start}"])
    capsys.readouterr()
    assert cli.main(["compare", "--resume", "--out", str(out)]) == 0
    assert "kept       auto.mae" in capsys.readouterr().out
    assert cli.main(["compare", "--data", "a.npz", "--strategies", "autoo"]) == 2
    assert "did you mean auto?" in capsys.readouterr().err


def test_the_folder_of_an_estimator_says_what_to_do(home, tmp_path, capsys):
    with np.load("a.npz") as data:
        x, y = data["x"], data["y"]
    fitted = st.SelfTrainClassifier(budget=0, random_state=0, out=tmp_path / "estimator").fit(x, y)
    assert cli.main(["label", str(tmp_path / "estimator")]) == 1
    assert "keep the fitted estimator itself (pickle), or train with the command line (--strategy auto)" in (
        capsys.readouterr().err
    )
    assert np.array_equal(pickle.loads(pickle.dumps(fitted)).predict(x), fitted.predict(x))
    assert cli.main(["train", "--data", "a.npz", *BUDGET, "--out", str(tmp_path / "run")]) == 0
    assert cli.main(["label", str(tmp_path / "run"), "--out", str(tmp_path / "l.csv")]) == 0


@pytest.mark.parametrize("kind", ["series", "points"])
def test_curves_and_clouds_are_rows_too(kind, home, tmp_path):
    rng, y = np.random.default_rng(0), np.arange(40) % 2
    size = (40, 2, 9) if kind == "series" else (40, 9, 3)
    x = (rng.normal(size=size) * (1 + y[:, None, None] * np.arange(1, size[2] + 1))).astype(np.float32)
    np.savez(tmp_path / "a.npz", x=x, y=np.where(np.arange(40) < 16, y, -1), x_test=x, y_test=y)
    data = ["--data", str(tmp_path / "a.npz"), "--data.kind", kind]
    assert cli.main(["train", *data, *BUDGET, "--out", str(tmp_path / "a")]) == 0
    run = st.open_run(tmp_path / "a")
    assert run.evaluate("test")["accuracy"] > 0.8
    assert run.strategy.arguments["kind"] == kind


def test_a_record_may_not_ask_for_more_than_memory(home, tmp_path):
    """A small file that says that a column has very many codes."""
    shutil.copytree("runs/table", tmp_path / "run")
    record = json.loads((tmp_path / "run" / "rebuild.json").read_text())
    said = json.dumps(record["strategy"])
    assert "[1, 4]" in said or '"tuple": [1, 4]' in said
    record["strategy"] = json.loads(said.replace("[1, 4]", "[1, 1000000000]"))
    (tmp_path / "run" / "rebuild.json").write_text(json.dumps(record))
    with pytest.raises(st.CheckpointError, match="do not fit one another"):
        st.open_run(tmp_path / "run")
