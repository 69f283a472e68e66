"""Several processes against one with the joined batch, method by method; the seams; what happens when a rank fails.

Two processes are started once and play all scenes of ``ranks_scenes``; this one plays them alone.
"""

from __future__ import annotations

import json
import os
import runpy
import socket
import subprocess
import sys
import time
from functools import cache
from pathlib import Path

import pytest
import ranks_scenes
import torch
from paths import ROOT
from ranks_scenes import FAULTS, PLAN, RUNS, SCENES, build, half_gathered, own_pile
from volume import Volume, volume

from selftrain import toy
from selftrain.runtime import distributed
from selftrain.runtime.distributed import group
from selftrain.runtime.distributed.sync_batchnorm import sharing_norms

TOLERANCE = {"rtol": 1e-4, "atol": 2e-6}  # float32, other order of sums
GRADIENT = {"rtol": 1e-3, "atol": 2e-5}  # norms of gradients, which nothing has scaled down yet
SCRIPT = Path(ranks_scenes.__file__)
pytestmark = pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="needs gloo")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def play(folder, *names):
    """Two ranks play scenes; what each returns."""
    port, processes = free_port(), []
    meeting = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "RANKS_FOLDER": str(folder)}
    for rank in ("0", "1"):
        place = meeting | {"RANK": rank, "LOCAL_RANK": rank}
        command = [sys.executable, str(SCRIPT), str(folder), *names]
        output = subprocess.PIPE if rank == "0" else subprocess.STDOUT
        processes.append(subprocess.Popen(command, env=os.environ | place | {"OMP_NUM_THREADS": "1"}, stderr=output))
    texts = [process.communicate(timeout=600)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], texts[0].decode()
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("ranks")


@pytest.fixture(scope="module")
def pair(folder):
    results = play(folder)
    assert [result.keys() for result in results] == [SCENES.keys()] * 2, [r for r in results if "failed" in str(r)]
    return results


@cache
def alone(name):
    return SCENES[name]()


def unlike(first, second, tolerance=None):
    """Names of what two results do not share, within rounding."""
    assert first.keys() == second.keys()
    return [name for name, value in first.items() if not close(name, value, second[name], tolerance)]


def close(name, first, second, tolerance=None):
    tolerance = GRADIENT if "grad_norm" in name else tolerance or TOLERANCE
    one, two = torch.as_tensor(first), torch.as_tensor(second)
    return torch.allclose(one.double(), two.double(), **tolerance)


# -- whole runs --------------------------------------------------------------------------------------------------------
@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_two_ranks_are_one_process_with_the_joined_batch(pair, name):
    first, second = (result[name] for result in pair)
    assert all(torch.equal(torch.as_tensor(v), torch.as_tensor(first[k])) for k, v in second.items())  # bit for bit
    # the direction of VAT is a difference over a step of 0.01, so that rounding weighs a hundred times as much in it
    assert unlike(first, alone(name), GRADIENT if name == "vat" else TOLERANCE) == []


@pytest.mark.slow
@pytest.mark.parametrize("stopped", ["stopped", "stopped_in_shares"])
def test_one_process_goes_on_where_two_have_stopped(pair, folder, tmp_path, stopped):
    continued = half_gathered(folder / stopped, seed=9, resume=True)
    assert unlike(continued, half_gathered(tmp_path / "whole")) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_noticed(pair, name):
    expected = FAULTS[name][1]()
    assert any(unlike(result[f"fault: {name}"], expected) for result in pair)


# -- the seams ---------------------------------------------------------------------------------------------------------
@pytest.mark.slow
def test_what_ranks_say_arrives(pair):
    for rank, result in enumerate(pair):
        seams = result["seams"]
        assert seams["texts"] == ["rank 0 ", "rank 1 ä"]
        assert seams["any"] == [True, False]
        for dtype in (torch.int16, torch.bool, torch.float64):
            assert torch.equal(seams[f"rows {dtype}"], torch.tensor([[1, 1], [1, 1], [2, 2]]).to(dtype))
        assert torch.equal(seams["no rows"], torch.full((1, 3), 4.0))
        assert seams["first"]["rank"] == 0
        assert seams["first"]["x"].tolist() == [0, 1, 2]
        told = "" if rank == 0 else "RankError: rank 0 stopped: "
        assert seams["first fails"].startswith(f"{told}ValueError: invalid literal")
        assert "unlabeled samples is 25 on rank 1 and 24 on rank 0" in seams["unlike"]


@pytest.mark.slow
def test_ranks_start_alike_and_share_one_gradient(pair):
    first, second = (result["seams"] for result in pair)
    assert torch.equal(first["start"][0], second["start"][0])
    assert second["start"][1].tolist() == [0, 1, 2, 3]
    assert torch.equal(first["apart"], torch.full((1, 2), 3.0))  # each its own
    assert torch.equal(second["apart"], torch.full((1, 2), 5.0))
    for seams in (first, second):
        found = {name: None if grad is None else grad.tolist() for name, grad in seams["gradients"].items()}
        assert found == {
            "used": [[12.0, 12.0]],  # 3 (3 + 5) / 2
            "first": [[1.5, 1.5]],  # one rank had none
            "before": [[4.0, 4.0]],  # of a pass before
            "never": None,  # no rank had one
        }
        assert seams["left"].tolist() == [[4.0, 4.0]]
        assert seams["own error"].startswith("RuntimeError: one of the variables needed for gradient")


@pytest.mark.slow
def test_a_network_on_shared_rows_has_the_gradients_of_one_on_all(pair):
    expected = SCENES["networks"]()
    for result in pair:
        assert result["networks"].keys() == expected.keys()
        for name, values in expected.items():
            for mine, whole in zip(result["networks"][name], values, strict=True):
                assert torch.allclose(mine.double(), whole.double(), rtol=1e-10, atol=1e-12), name


@pytest.mark.slow
def test_norms_of_own_rows_move_the_running_statistics_of_all(pair):
    x = torch.randn(6, 3, generator=torch.Generator().manual_seed(1)) + 1
    whole = torch.nn.functional.batch_norm
    mean, var = torch.zeros(3), torch.ones(3)
    whole(x, mean, var, training=True)
    for result in pair:
        found = result["norms"]
        own = torch.cat([whole(part, None, None, training=True) for part in x.split(3)])
        assert torch.allclose(found["own"], own, atol=1e-6)
        assert torch.allclose(found["running"][0], mean, atol=1e-6)
        assert torch.allclose(found["running"][1], var, atol=1e-6)
        assert found["half"].dtype == torch.bfloat16
        assert torch.allclose(found["half"].float(), whole(x, None, None, training=True), atol=0.03)
        assert torch.allclose(found["evaluating"], whole(x, mean, var), atol=1e-6)


@pytest.mark.slow
def test_runs_with_norms_of_own_rows_are_alike_on_all_ranks_and_another_run(pair):
    first, second = (result["own norms"] for result in pair)
    assert all(torch.equal(torch.as_tensor(v), torch.as_tensor(second[k])) for k, v in first.items())
    assert unlike(first, alone("fixmatch"))


@pytest.mark.slow
def test_runs_whose_mixes_are_of_own_rows_are_alike_on_all_ranks_and_another_run(pair):
    first, second = (result["own mix"] for result in pair)
    assert all(torch.equal(torch.as_tensor(v), torch.as_tensor(second[k])) for k, v in first.items())
    assert unlike(first, alone("mixmatch_in_shares"))


@pytest.mark.slow
@pytest.mark.parametrize("accumulate", [1, 2])
def test_an_overflow_on_one_rank_is_left_out_by_all(pair, accumulate):
    """The second optimizer step of four; alone, the same steps are left out at the same scales."""
    first, second, whole = (scene[f"accumulate={accumulate}"] for scene in (*(r["half"] for r in pair), alone("half")))
    moved = [False] * (accumulate - 1) + [True]
    assert whole["moved"] == moved + [False] * accumulate + 2 * moved
    assert whole["scales"][-1] == whole["scales"][0] / 2
    assert torch.equal(first["weights"], second["weights"])
    for mine in (first, second):
        assert (mine["moved"], mine["scales"]) == (whole["moved"], whole["scales"])
        assert torch.equal(mine["weights"][accumulate - 1], mine["weights"][2 * accumulate - 1])
        assert torch.allclose(mine["weights"], whole["weights"], rtol=1e-4, atol=1e-5)
    assert (whole["weights"][-1] - whole["weights"][0]).abs().max() > 1e-3


@pytest.mark.slow
def test_runs_in_half_precision_are_alike_on_all_ranks_and_near_that_of_one(pair):
    first, second = (result["half precision"] for result in pair)
    assert all(torch.equal(torch.as_tensor(v), torch.as_tensor(second[k])) for k, v in first.items())
    whole = alone("half precision")
    moved = [name for name, value in whole.items() if name.endswith("weight") and isinstance(value, torch.Tensor)]
    assert len(moved) > 3
    for name in moved:
        assert torch.allclose(first[name], whole[name], rtol=1e-3, atol=2e-4), name


@pytest.mark.slow
def test_each_rank_drops_other_features_and_goes_on_drawing_alike(pair):
    first, second = (result["dropping"] for result in pair)
    assert all(torch.equal(a, b) for a, b in zip(first["masks"], second["masks"], strict=True))
    mask, again = first["masks"]
    assert not torch.equal(mask[:4], mask[4:])  # ranks
    assert not torch.equal(mask, again)  # passes
    assert torch.equal(first["outside"], second["outside"])
    torch.manual_seed(3)
    assert torch.equal(first["nothing drawn"], torch.rand(3))


# -- failures ----------------------------------------------------------------------------------------------------------
@pytest.mark.slow
def test_an_error_on_one_rank_stops_the_others_with_its_words(pair):
    first, second = (result["failing"] for result in pair)
    assert second["error"] == "ValueError: the third step is too much"
    assert first["error"] == "RankError: rank 1 stopped: ValueError: the third step is too much"
    assert first["waited"] < 60
    assert unlike({k: v for k, v in first.items() if k not in ("error", "waited")}, alone("pseudo_label")) == []


@pytest.mark.slow
def test_a_rank_that_hangs_is_given_up(pair):
    assert all(result["hanging"]["error"].startswith("RankError: another rank has died, or did not") for result in pair)


@pytest.mark.slow
def test_ranks_with_other_settings_or_samples_are_refused(pair):
    for result in pair:
        found = result["refused"]
        assert "settings.unlabeled_weight is 2.0 on rank 1 and 1.0 on rank 0" in found["settings"]
        assert "unlabeled samples is 25 on rank 1 and 24 on rank 0" in found["samples"]
        assert found["share"].startswith("ValueError: a batch of 1 rows cannot be shared among 2 processes")


# -- one process -------------------------------------------------------------------------------------------------------
def test_alone_nothing_is_said():
    assert (
        distributed.rank(),
        distributed.size(),
        distributed.is_first(),
        distributed.launched(),
        distributed.here(),
    ) == (0, 1, True, False, None)
    assert distributed.any_rank(True)
    assert not distributed.any_rank(False)
    assert distributed.from_first(lambda: 3) == 3
    with distributed.joined(distributed.Ranks(timeout=1), torch.device("cpu")) as group:
        assert group is None


def test_a_channel_that_is_the_same_everywhere_has_variance_zero():
    class Alone:  # a group of one rank
        size, rank, options = 1, 0, distributed.Ranks()

        def all_rows(self, mine, rows, kind):
            return mine

    x = torch.tensor([[1.0, 0.0], [2.0, 0.0], [4.0, 0.0]])
    shared, plain = torch.nn.BatchNorm1d(2), torch.nn.BatchNorm1d(2)
    with sharing_norms(Alone()):
        said = shared(x)
    assert torch.allclose(said, plain(x))
    assert torch.allclose(shared.running_var, plain.running_var)


@pytest.mark.parametrize("settings", [{"batchnorm": "synced"}, {"timeout": 0}, {"mix": "all"}])
def test_settings_of_ranks_are_checked(settings):
    with pytest.raises(ValueError, match=f"{next(iter(settings))} is {next(iter(settings.values()))!r}"):
        distributed.Ranks(**settings)


def test_the_page_has_the_stored_figures():
    scaling = runpy.run_path(str(ROOT / "benchmarks" / "scaling.py"))
    page = (ROOT / "docs" / "distributed.md").read_text(encoding="utf-8")
    made = scaling["tables"](json.loads((ROOT / "benchmarks/results/scaling.json").read_text(encoding="utf-8")))
    assert scaling["placed"](page, made) == page
    assert all(table in page for table in made.values())


def test_the_model_shares_out_networks_and_adds_messages():
    modelled = runpy.run_path(str(ROOT / "benchmarks" / "scaling.py"))["modelled"]
    silent = Volume(0.0, 0.0, 0.0, 0.0, 0.0)
    assert modelled(2.0, 0.6, silent, 1, (1.0, 1.0)) == pytest.approx(2.0)
    assert modelled(2.0, 0.6, silent, 4, (1.0, 1.0)) == pytest.approx(0.3 + 0.8)
    assert modelled(2.0, 0.6, Volume(100.0, 0.0, 0.0, 0.0, 2.0), 2, (50.0, 0.5)) == pytest.approx(1.4 + 2 + 1)


# -- volume ------------------------------------------------------------------------------------------------------------
def weights(strategy):
    return sum(p.numel() for p in next(iter(strategy.learners())).parameters())


@pytest.mark.parametrize(
    ("name", "steps", "passes"),
    [
        ("supervised", 1, 5),
        ("fixmatch", 1, 7 + 5 + 7),  # label the weak view, learn labels and strong view
        ("fst", 2, 2 * (7 + 5 + 7)),  # one virtual step
        ("fst_d", 4, 4 * (7 + 5 + 7)),
        ("fst_w", 4, 4 * (7 + 5 + 7)),
        ("cps", 2, 2 * (7 + 5 + 5 + 7)),
    ],
)
def test_volume_counts_weights_and_answers(name, steps, passes):
    strategy = build(name)
    counted = volume(strategy, toy.pile("classification"), PLAN)
    assert counted.gradients == 4 * steps * weights(strategy)
    assert counted.outputs == 4 * 3 * passes
    assert counted.inputs == 0  # every rank makes the batches of a toy


def test_gradients_are_averaged_once_an_optimizer_step():
    strategy = build("pseudo_label", student={"accumulate": 3})
    counted = volume(strategy, toy.pile("classification"), PLAN, steps=3)
    assert 3 * counted.gradients == 4 * weights(strategy)


COUNTS = json.loads((ROOT / "tests" / "support" / "ranks_counts.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", sorted(COUNTS))
def test_messages_and_bytes_of_a_step_are_those_of_the_table(name):
    """Beside gradients and the statistics of BatchNorm: one for the batch, one for each pass of a network."""
    strategy = build(name)
    counted = volume(strategy, own_pile(), PLAN)
    found = {kind: int(getattr(counted, kind)) for kind in ("inputs", "outputs", "waits")}
    assert found == COUNTS[name]
    small = name != "vat"  # which reads inputs outside of networks
    assert not small or (found["inputs"] + found["outputs"]) / (PLAN.labeled + PLAN.unlabeled) <= 1000
    assert name != "fixmatch" or found["waits"] <= 3


def test_volume_of_vat_holds_the_gradients_of_its_inputs():
    counted = volume(build("vat"), toy.pile("classification"), PLAN)
    assert counted.outputs == 4 * (3 * (3 * (5 + 7)) + (5 + 7) * 144)


def test_volume_of_inputs_and_the_strategy_left_alone():
    strategy = build("supervised")
    before = {name: t.clone() for name, t in strategy.state_dict().items() if isinstance(t, torch.Tensor)}
    counted = volume(strategy, own_pile(), PLAN)
    assert counted.inputs == 5 * (4 * 3 + 4 + 8)  # target, weight, row number; views stay where they are made
    assert all(torch.equal(t, strategy.state_dict()[name]) for name, t in before.items())


def test_received_bytes_and_seconds_of_several_ranks():
    said = Volume(gradients=800.0, inputs=300.0, outputs=100.0, statistics=10.0, messages=3.0)
    assert said.received(1) == 0
    assert said.received(2) == 800 + 200 + 10
    assert said.received(4) == pytest.approx(0.75 * 2000 + 30)
    assert said.seconds(1, bandwidth=100.0, latency=1.0) == 0
    assert said.seconds(4, bandwidth=100.0, latency=0.5) == pytest.approx(15.3 + 3 * 0.5 * 2)


@pytest.mark.slow
def test_volume_is_what_ranks_really_say(pair):
    counted = volume(build("fst"), own_pile(), PLAN, steps=2)
    for result in pair:
        sent = result["sent"]
        for kind in ("gradients", "outputs"):
            assert sent[kind] == 2 * getattr(counted, kind), kind
        # shares of 3 and 2, 4 and 3 rows are filled up to the larger: a row of either part more
        assert sent["inputs"] == 2 * (counted.inputs + (12 + 4 + 8) + (2 * 24 + 8))
        messages = sum(count for kind, count in sent.items() if kind.endswith("/calls"))
        assert messages == pytest.approx(2 * counted.messages, abs=1)


def test_a_store_that_does_not_answer_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(group, "PATIENCE", 0.1)
    monkeypatch.setattr(group, "_store", lambda: time.sleep(4))
    begun = time.monotonic()
    assert "did not answer in time" in group._reason("a word", RuntimeError("timed out"))
    assert time.monotonic() - begun < 3
