"""The numbers of README.md are those of the stored results, and the results are whole."""

import importlib.util
import json
import statistics
import sys

import pytest
import torch
from paths import ROOT

from selftrain.catalog import RECIPES, default_method

spec = importlib.util.spec_from_file_location("tables", ROOT / "benchmarks" / "tables.py")
BY_NAME = "supervised, by name"
tables = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tables)


@pytest.mark.parametrize(("name", "table"), tables.tables().items())
def test_the_readme_shows_the_stored_results(name, table):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"<!-- {name} -->\n\n{table}\n\n<!-- /{name} -->" in text


def test_the_page_of_passes_shows_the_stored_results():
    page = (ROOT / "docs" / "passes.md").read_text(encoding="utf-8")
    found = {}
    for row in tables.load("passes.json")["rows"]:
        found.setdefault(row["row"], []).append(100 * row["accuracy"])
    assert found
    for name, values in found.items():
        assert len(values) == 3
        assert f"| {statistics.mean(values):.1f} ± {statistics.stdev(values):.1f} |" in page, name


@pytest.mark.parametrize(
    ("file", "keys", "count"),
    [
        ("quickstart.json", ("pretraining", "strategy"), 15),
        ("images-mnist.json", ("dataset", "strategy"), 5),
        ("images-fashion_mnist.json", ("dataset", "strategy"), 5),
    ],
)
def test_every_cell_has_three_seeds_and_a_floor(file, keys, count):
    stored = tables.load(file)
    groups = {}
    for row in stored["rows"]:
        groups.setdefault(tuple(row[key] for key in keys), set()).add(row["seed"])
        assert 0 <= row["test_accuracy"] <= 1
    assert len(groups) == count
    assert set(map(frozenset, groups.values())) == {frozenset({0, 1, 2})}
    assert {first for first, name in groups if name == "supervised"} == {first for first, _ in groups}
    assert stored["command"].startswith("python examples/")


def test_a_cell_is_mean_and_standard_deviation_in_percent():
    assert tables.cell([0.5, 0.6, 0.7]) == "60.0 ± 10.0"
    assert tables.cell([0.5]) == "50.0"


def script(name):
    """A script of benchmarks/, which imports others of that folder."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))


@pytest.fixture(scope="module")
def methods_page():
    return script("methods_page")


def test_the_page_of_methods_shows_the_stored_results(methods_page):
    rows = tables.load("methods.json")["rows"]
    assert methods_page.PAGE.read_text(encoding="utf-8") == methods_page.page(rows)


def test_the_page_of_speed_shows_the_stored_results():
    speed = script("performance_page")
    text = speed.PAGE.read_text(encoding="utf-8")
    assert speed.page(text) == text


def test_the_transcripts_show_what_was_typed_and_their_first_recipe_is_above_what_takes_a_second():
    typed = script("transcripts")
    text, rows = typed.PAGE.read_text(encoding="utf-8"), json.loads(typed.RESULT.read_text(encoding="utf-8"))
    assert typed.written(text, rows) == text
    found = {name: row["found"] for name, row in rows.items()}
    assert all(found[name]["auto"] > found[name]["colors"] for name in ("nature", "wallpapers"))
    assert found["table"]["auto"] > found["table"]["columns"]
    assert found["notebook"]["network"] > found["notebook"]["pixels"]


def test_the_stored_methods_are_the_rows_of_the_benchmark(methods_page):
    """Every planned run, once, and no other."""
    planned = [tuple(job) for job in methods_page.jobs()]
    stored = [(r["dataset"], r["labels"], r["strategy"], r["seed"]) for r in tables.load("methods.json")["rows"]]
    assert len(set(planned)) == len(planned)
    assert sorted(set(planned) - set(stored)) == []  # first what is missing, as it reads well
    assert sorted(stored) == sorted(planned)


def test_the_page_of_graphs_shows_the_stored_results():
    graphs = script("graphs")
    rows = tables.load("graphs.json")["rows"]
    assert [tuple(row[key] for key in graphs.Job._fields) for row in rows] == [tuple(job) for job in graphs.jobs()]
    page = (ROOT / "docs" / "graphs.md").read_text(encoding="utf-8")
    assert f"<!-- graphs -->\n\n{graphs.report(rows)}\n\n<!-- /graphs -->" in page


def test_the_page_of_foundation_models_shows_the_stored_results():
    made = script("foundation")
    rows = tables.load("foundation.json")["rows"]
    page = made.PAGE.read_text(encoding="utf-8")
    assert f"<!-- frozen features -->\n\n{made.table(rows)}\n\n<!-- /frozen features -->" in page


def test_the_page_of_reliability_shows_the_stored_memory():
    memory = script("memory")
    rows, text = tables.load("memory.json")["rows"], memory.PAGE.read_text(encoding="utf-8")
    assert memory.page(text, rows) == text
    pile, ledger, evaluation = rows
    assert (pile["images"], pile["steps"], ledger["rows"]) == (1_000_000, 2_000, 10_000_000)
    assert pile["growth_mib"] < 20
    assert ledger["written_peak_mib"] < 1024
    assert evaluation["peak_mib"] < 2048


@pytest.fixture(scope="module")
def together():
    return script("complementary_page")


@pytest.mark.parametrize("name", ["complementary_page", "pretraining_page"])
def test_a_page_of_pretraining_shows_the_stored_results(name):
    made = script(name)
    page = made.page(made.load())
    assert "missing" not in page
    assert made.PAGE.read_text(encoding="utf-8") == page


def test_the_page_of_unequal_classes_shows_the_stored_results():
    unequal = script("unequal")
    text = unequal.PAGE.read_text(encoding="utf-8")
    assert unequal.MARKS[0] + "\n" + unequal.figures(tables.load("unequal.json")["rows"]) + "\n" in text


def test_the_stored_starts_are_the_rows_of_the_benchmark(together):
    planned = [tuple(job) for job in together.jobs()]
    rows = tables.load("complementary.json")["rows"]
    stored = [(r["dataset"], r["labels"], r["pretraining"], r["strategy"], r["seed"]) for r in rows]
    assert sorted(set(planned) - set(stored)) == []
    assert sorted(stored) == sorted(planned)
    assert all(0 < row["test_accuracy"] < 1 and row["seconds"] >= 0 for row in rows)


@pytest.mark.parametrize("problem", [("fashion_mnist", 40), ("mnist", 20)])
def test_pretraining_and_self_training_add_up(together, problem):
    """The claim of README.md: the best of both is above the best of either alone."""
    found = together.best(tables.load("complementary.json")["rows"], *problem)
    gain = {kind: sum(values) / len(values) for kind, (_, values) in found.items()}
    assert gain["both"] > max(gain["pretraining"], gain["self-training"]) > 0


def test_validation_picks_the_candidate_that_it_finds_best(together):
    """Two starts on two seeds, by hand: what is best on validation gains 5 points and loses 10."""
    key = {"dataset": "mnist", "labels": 20, "strategy": "supervised"}
    test = {("none", 0): 0.5, ("mae", 0): 0.55, ("ijepa", 0): 0.7, ("none", 1): 0.6, ("mae", 1): 0.9, ("ijepa", 1): 0.5}
    held = {("mae", 0): 0.9, ("ijepa", 0): 0.4, ("mae", 1): 0.2, ("ijepa", 1): 0.3}
    rows = [
        key | {"pretraining": start, "seed": seed, "test_accuracy": figure, "validation_accuracy": held.get(place, 1.0)}
        for place, figure in test.items()
        for start, seed in [place]
    ]
    assert together.candidates("mnist", 20)["pretraining"][:2] == [
        ("mae", "supervised"),
        ("ijepa", "supervised"),
    ]
    others = {"strategy": "fixmatch", "test_accuracy": 0.8, "validation_accuracy": 0.5}
    rows += [row | others for row in rows]
    found = together.picked(rows, "mnist", 20)
    assert found["pretraining"] == pytest.approx([5.0, -10.0])
    assert found["self-training"] == found["both"] == pytest.approx([30.0, 20.0])


def test_what_a_start_adds_is_paired_by_method_and_seed(together):
    figures = {("none", "fixmatch"): (0.5, 0.6), ("mae", "fixmatch"): (0.6, 0.5)}
    figures |= {("none", "fst_d"): (0.7, 0.7), ("mae", "fst_d"): (0.75, 0.9), ("mae", "supervised"): (0.1, 0.1)}
    rows = [
        {"dataset": "mnist", "labels": 20, "pretraining": start, "strategy": name, "seed": seed, "test_accuracy": test}
        for (start, name), tests in figures.items()
        for seed, test in enumerate(tests)
    ]
    assert together.over_none(rows, "mnist", 20, "mae") == pytest.approx([5.0, 20.0, 10.0, -10.0])
    assert "| MNIST, 20 | `mae` | +6.2 ± 12.5 | 3 of 4 |" in together.added(rows)


@pytest.fixture(scope="module")
def stages():
    return script("pretraining_page")


def test_the_stored_stages_are_the_rows_of_the_benchmark(stages):
    """Every recipe has a row, and every row its rivals on the same draws."""
    rows = tables.load("pretraining.json")["rows"]
    assert [row["case"] for row in rows] == list(stages.pretraining.cases())
    assert {row["stage"] for row in rows} == {make.__name__ for make in RECIPES.values()}
    for row in rows:
        names = {part["features"] for part in row["rows"]}
        assert {"encoder", "raw input", "random init", "supervised from scratch"} <= names, row["case"]
        assert row["alarms"] == []


def test_a_stage_that_does_not_beat_its_rivals_is_named_on_the_page(stages):
    """What the table shows as lost is told in words."""
    rows = tables.load("pretraining.json")["rows"]
    lost = {(row["stage"], row["dataset"]) for row in rows if stages.lost(row)}
    told = stages.NOTES.read_text(encoding="utf-8")
    assert [(stage, name) for stage, name in lost if f"`{stage}` on {name}" not in told] == []


def test_places_are_judged_for_every_stage_with_latent_targets(stages):
    rows = tables.load("place_share.json")["rows"]
    latent = {"IJEPA", "StoP", "CNNJEPA", "AJEPA", "ECGJEPA", "TJEPA", "PointJEPA"}
    asked = [name for name, case in stages.pretraining.cases().items() if case.stage in latent]
    assert [row["case"] for row in rows] == asked
    assert all(0 < row["share"] < 1 for row in rows)


def test_a_share_is_all_where_the_place_tells_everything_and_nothing_where_it_tells_nothing():
    explained = script("place_share").explained
    generator = torch.Generator().manual_seed(0)
    places, noise = (torch.randn(400, 4, size, generator=generator) for size in (2, 3))
    grid = torch.arange(4.0)[:, None].expand(400, 4, 3)  # of variance 1.25
    assert explained(grid) == pytest.approx(1)
    assert explained(noise) == pytest.approx(0, abs=0.03)
    assert explained(grid + noise) == pytest.approx(1.25 / 2.25, abs=0.03)
    assert explained(places[..., :1]) == pytest.approx(0, abs=0.03)  # nothing of the kind on a grid
    assert explained(places[..., :1], places) > 0.95


def test_a_step_is_measured_beside_its_passes_for_every_kind_of_stage(stages):
    rows = tables.load("pretrain_speed.json")["rows"]
    assert [row["stage"] for row in rows] == list(script("pretrain_speed").STAGES)
    assert all(0 < row["ratio"] <= 1.1 for row in rows)


def test_a_stored_method_tells_all_that_was_asked_for():
    stored = tables.load("methods.json")
    assert {"command", "machine", "versions", "rows"} <= stored.keys()
    kinds = {
        "dataset": str, "labels": int, "strategy": str, "seed": int, "steps": int, "test_accuracy": float,
        "validation_accuracy": float, "used": float | None, "pseudo_label_accuracy": float | None, "seconds": float,
    }  # fmt: skip
    for row in stored["rows"]:
        assert {key for key, kind in kinds.items() if key not in row or not isinstance(row[key], kind)} == set(), row
        assert row["dataset"] in ("mnist", "fashion_mnist", "cifar10")
        shares = [row[key] for key, kind in kinds.items() if kind in (float, float | None) and key != "seconds"]
        assert all(0 <= share <= 1 for share in shares if share is not None)
        assert min(row["steps"], row["seconds"]) > 0


def test_the_page_of_masks_and_joints_shows_the_stored_results():
    """No row but planned ones, each once and with a floor on its labels."""
    made = script("dense_page")
    rows = made.load("dense")
    assert made.PAGE.read_text(encoding="utf-8") == made.page(rows, made.load("choose_dense"))
    dense = script("dense")
    found = [tuple(row[key] for key in dense.Job._fields) for row in rows]
    planned = [tuple(job) for job in dense.jobs()]
    assert len(set(planned)) == len(planned)
    assert [job for job in planned if job in found] == found
    of_labels = {(r["dataset"], r["labels"], r["seed"]) for r in rows if r["strategy"].startswith("supervised")}
    for row in rows:
        assert row["strategy"].startswith("full") or (row["dataset"], row["labels"], row["seed"]) in of_labels, row
        assert all(0 < row[key] < 1 for key in ("score", "nme") if key in row)
        assert ("nme" in row) == (row["task"] == "keypoints")
        assert row["passes"] == row["steps"] * dense.PASSES[dense.method_of(dense.Job(*found[rows.index(row)]))[0]]
    assert {row["seed"] for row in rows}.isdisjoint({row["seed"] for row in made.load("choose_dense")})


@pytest.mark.parametrize(("dataset", "labels", "goal"), [("kpt64", 200, 0.065), ("openfield4", 20, 0.025)])
def test_joints_by_default_settings_reach_their_goal(dataset, labels, goal):
    rows = tables.load("dense.json")["rows"]
    found = [r["nme"] for r in rows if (r["dataset"], r["labels"], r["strategy"]) == (dataset, labels, BY_NAME)]
    assert found
    assert max(found) <= goal


def test_a_gain_on_masks_is_paired_by_seed():
    over = script("dense_page").over
    assert over({0: 50.0, 1: 60.0, 2: 42.0}, {0: 40.0, 1: 40.0, 2: 42.0}) == "+10.0 ± 10.0"
    assert over({0: 50.0, 7: 90.0}, {0: 40.0, 1: 40.0}) == "+10.0 (1)"


@pytest.fixture(scope="module")
def tables_compare():
    return script("tables_compare")


def test_the_page_of_tables_shows_the_stored_results(tables_compare):
    rows = tables.load("tables_compare.json")["rows"]
    assert [tables_compare.Job(*(row[key] for key in tables_compare.Job._fields)) for row in rows] == sorted(
        tables_compare.jobs(5), key=lambda job: tables_compare.place(job._asdict())
    )
    assert tables_compare.PAGE.read_text(encoding="utf-8") == tables_compare.page(rows)


def test_the_default_was_chosen_on_other_draws(tables_compare):
    chosen = tables.load("choose_tables.json")["rows"]
    assert {row["seed"] for row in chosen}.isdisjoint(
        {row["seed"] for row in tables.load("tables_compare.json")["rows"]}
    )
    candidates, sets = {row["candidate"] for row in chosen}, {row["dataset"] for row in chosen}
    assert (
        len(chosen)
        == len({(r["dataset"], r["candidate"], r["seed"]) for r in chosen})
        == 2 * len(candidates) * len(sets)
    )
    means = {name: sum(row["accuracy"] for row in chosen if row["candidate"] == name) for name in candidates}
    assert max(means, key=means.get) == default_method()


def test_the_first_block_of_the_readme_gains_what_is_said_of_it():
    rows = [row for row in tables.load("first_screen.json")["rows"] if row["draw"] >= 10]
    assert len(rows) == 5
    gains = [row["self_training"] - max(row["labels_alone"], row["logistic"]) for row in rows]
    assert min(gains) > 0
    assert statistics.mean(row["seconds"] for row in rows) < 25  # of the processor
