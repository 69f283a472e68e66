"""One process against two, step by step, and what more would take: measured seconds, counted bytes, and a model.

python benchmarks/scaling.py [--steps 5] [--rounds 3] [--result FILE] [--write]

Both train the same batches (32 labeled, 64 unlabeled images of 28 x 28) with one thread a process. What counts is the
processor time that one of the processes needs for a step, in the best of some rounds: on a machine with free cores it
is the time that passes.
``--write`` puts the tables into docs/distributed.md, from stored results if there are any.

The model: a step takes ``shared / N + common + messages``. ``shared`` is the time that one process spends in networks,
forward and backward, ``common`` the rest of its step; the messages are those of
``volume.py``, at stated bandwidths.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from peers.networks import WideResNet
from volume import Volume, volume

import selftrain as st
from selftrain import catalog, pretrain
from selftrain.data import Pile
from selftrain.engine.loop import versions
from selftrain.handlers import Progress, SelfCheck
from selftrain.networks import student
from selftrain.runtime import distributed
from selftrain.strategies import FixMatch
from selftrain.strategy.base import Strategy
from selftrain.types import BatchPlan

HERE = Path(__file__).resolve()
RESULT = HERE.parent / "results" / "scaling.json"
PAGE = HERE.parent.parent / "docs" / "distributed.md"
LARGE = {"pixels": 224, "classes": 1000, "plan": BatchPlan(16, 7.0), "weights": 25_557_032}  # those of a ResNet-50
TIMED = ("supervised", "fixmatch", "fst_d", "mae", "fixmatch, WRN-28-2")
RECIPES = {"mae": pretrain.MAE, "ijepa": pretrain.IJEPA, "lejepa": pretrain.LeJEPA, "simclr": pretrain.SimCLR}
PLAN, SIZE, CLASSES, WARM = BatchPlan(labeled=32, unlabeled_ratio=2.0), 28, 10, 2
LINKS = {"10 Gbit/s": (1.25e9, 5e-5), "100 Gbit/s": (12.5e9, 2e-5), "900 GB/s": (9e11, 1e-5)}  # bytes/s, s a message
NETWORKS = 0.25  # seconds that a process computes in such a step: assumed, none was measured
MANY = (2, 4, 8, 16)
WIDE_STEPS = 3  # of a WRN-28-2, whose step takes as long as twenty of the others
Row = dict[str, Any]


def main() -> None:
    """Measure, or read what was measured; print the tables and put them into the page."""
    options = _options()
    if options.worker is not None:
        found = json.dumps(timed(options.steps, options.rounds))
        Path(options.worker, f"{distributed.rank()}.json").write_text(found, encoding="utf-8")
        return
    if not (options.write and options.result.exists()):
        command = f"python benchmarks/scaling.py --steps {options.steps} --rounds {options.rounds}"
        content = {"command": command, "versions": versions()}
        content |= {"rows": measured(options.steps, options.rounds), "volumes": volumes(), "large": large()}
        options.result.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    made = tables(json.loads(options.result.read_text(encoding="utf-8")))
    for name, table in made.items():
        print(f"{name}\n\n{table}\n")
    if options.write:
        PAGE.write_text(placed(PAGE.read_text(encoding="utf-8"), made), encoding="utf-8")


def measured(steps: int, rounds: int) -> list[Row]:
    """Seconds of a step of each timed method, with one and with two processes."""
    found = {count: launched(count, steps, rounds) for count in (1, 2)}
    return [
        {"method": name, "processes": count, "rounds": rounds} | row[name]
        for name in TIMED
        for count, row in found.items()
    ]


def launched(count: int, steps: int, rounds: int) -> Row:
    """What the slowest of so many processes needs for each method."""
    with tempfile.TemporaryDirectory() as folder, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
        probe.close()
        command = [sys.executable, str(HERE), "--worker", folder]
        command += ["--steps", str(steps), "--rounds", str(rounds)]
        place = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
        started = [subprocess.Popen(command, env=os.environ | place | {"RANK": str(i)}) for i in range(count)]
        if any(process.wait() for process in started):
            raise SystemExit("a process has failed, see above")
        rows = [json.loads(Path(folder, f"{i}.json").read_text(encoding="utf-8")) for i in range(count)]
    return {name: max((row[name] for row in rows), key=lambda row: row["cpu"]) for name in rows[0]}


def timed(steps: int, rounds: int) -> Row:
    """Of one step of each method in this process: seconds of processor time and of the clock, share of networks."""
    torch.set_num_threads(1)
    return {name: _seconds(name, steps, rounds) for name in TIMED}


def _seconds(name: str, steps: int, rounds: int) -> Row:
    """The best round: what else the machine does makes a step longer, never shorter."""
    wide = "WRN" in name
    strategy, pile, steps = built(name), images(3 if wide else 1), min(steps, WIDE_STEPS) if wide else steps
    handlers = [SelfCheck(False), Progress(False)]
    fixed: dict[str, Any] = {"plan": PLAN, "evaluation": st.Evaluation(10**6), "handlers": handlers}
    st.fit(strategy, pile, steps=WARM, **fixed)
    found = []
    for _ in range(rounds):
        cpu, wall = time.process_time(), time.perf_counter()
        with in_networks() as inside:
            st.fit(strategy, pile, steps=steps, **fixed)
        spent = time.process_time() - cpu
        found.append(
            {
                "steps": steps,
                "cpu": spent / steps,
                "wall": (time.perf_counter() - wall) / steps,
                "shared": inside[0] / spent,
            }
        )
    return min(found, key=lambda row: row["cpu"])


@contextmanager
def in_networks() -> Iterator[list[float]]:
    """Processor seconds spent in networks, forward and backward."""
    spent = [0.0]

    def timing(run: Callable[..., Any]) -> Callable[..., Any]:
        def run_timed(*given: Any, **more: Any) -> Any:
            begun = time.process_time()
            try:
                return run(*given, **more)
            finally:
                spent[0] += time.process_time() - begun

        return run_timed

    with (
        mock.patch("selftrain.networks.student.run_alone", timing(student.run_alone)),
        mock.patch.object(torch.Tensor, "backward", timing(torch.Tensor.backward)),
    ):
        yield spent


def built(name: str) -> Strategy:
    """A method of the catalog, or a recipe, with a network of its usual size."""
    torch.manual_seed(0)
    if name in RECIPES:
        recipe: Any = RECIPES[name]
        made: Strategy = recipe(pretrain.ViT(SIZE, 7, 1))
        return made
    name, _, wide = name.partition(", ")
    method = catalog.METHODS[name]
    make = st.learner(lambda: st.Classifier(st.ConvEncoder(SIZE), CLASSES * method.outputs), lr=1e-3)
    if wide:
        make = st.learner(lambda: WideResNet(CLASSES), lr=1e-3)
    return catalog.build(name, st.Classification(CLASSES), make, unlabeled=512, label_shape=(CLASSES,))


def images(channels: int = 1) -> Pile:
    """576 random images, 64 of them labeled."""
    x = torch.rand(576, channels, SIZE, SIZE, generator=torch.Generator().manual_seed(0)).numpy()
    return Pile.from_arrays(x, torch.where(torch.arange(576) < 64, torch.arange(576) % CLASSES, -1))


def volumes() -> list[Row]:
    """Bytes and messages of one step of every method and of some recipes, and the weights of their networks."""
    rows = []
    for name in (*catalog.METHODS, *RECIPES):
        strategy = built(name)
        counted = volume(strategy, images(), PLAN)
        weights = sum(p.numel() for x in strategy.learners() for p in x.parameters())
        rows.append({"method": name, "weights": weights} | vars(counted))
    return rows


def large() -> Row:
    """Bytes of a FixMatch step that do not depend on the network: 16 + 112 large images a process, many classes."""
    pixels, classes = LARGE["pixels"], LARGE["classes"]
    torch.manual_seed(0)
    make = st.learner(lambda: st.Classifier(st.ConvEncoder(pixels, 3, widths=(2, 2)), classes))
    x = torch.rand(160, 3, pixels, pixels, generator=torch.Generator().manual_seed(0)).numpy()
    pile = Pile.from_arrays(x, torch.where(torch.arange(160) < 32, torch.arange(160), -1))
    return vars(volume(FixMatch(st.Classification(classes), make), pile, LARGE["plan"]))


def tables(content: Row) -> dict[str, str]:
    """Markdown by the name of its marks."""
    return {
        "measured table": _measured_table(content["rows"]),
        "model table": _model_table(content),
        "volume table": _volume_table(content["volumes"]),
        "large table": _large_table(content["large"]),
    }


def pairs(rows: list[Row]) -> dict[str, tuple[float, float]]:
    """Processor seconds of a step with one and with two processes, by method."""
    cpu = {(row["method"], row["processes"]): row["cpu"] for row in rows}
    return {name: (cpu[name, 1], cpu[name, 2]) for name, count in cpu if count == 1}


def modelled(one: float, shared: float, said: Volume, count: int, link: tuple[float, float]) -> float:
    """Seconds of a step with ``count`` processes, of which a share is in networks; see the head of this file."""
    return one * (shared / count + 1 - shared) + said.seconds(count, bandwidth=link[0], latency=link[1])


def _measured_table(rows: list[Row]) -> str:
    lines = [["method", "seconds, 1 process", "of it in networks", "seconds, 2 processes", "two over one"]]
    shared = {row["method"]: row["shared"] for row in rows if row["processes"] == 1}
    for name, (one, two) in pairs(rows).items():
        lines.append([name, f"{one:.3f}", f"{100 * shared[name]:.0f} %", f"{two:.3f}", f"{two / one:.2f}"])
    return _markdown(lines)


def _model_table(content: Row) -> str:
    said = {row["method"]: _said(row) for row in content["volumes"]}
    lines = [["method", "link", *(f"{count} processes" for count in MANY)]]
    for row in content["rows"]:
        for word, link in LINKS.items() if row["processes"] == 1 and row["method"] in said else ():
            one, name = row["cpu"], row["method"]
            ratios = [one / modelled(one, row["shared"], said[name], count, link) for count in MANY]
            lines.append([name, word, *(f"{ratio:.2f}" for ratio in ratios)])
    return _markdown(lines)


def _large_table(counted: Row) -> str:
    lines = [
        ["link", *(f"{count} processes: {word}" for count in (16, 64) for word in ("seconds of messages", "faster"))]
    ]
    for word, (bandwidth, latency) in LINKS.items():
        row = [word]
        for count in (16, 64):
            # Each process brings its own rows: what is said grows with their number, a sum of gradients does not.
            said = Volume(0.0, *(count * counted[kind] for kind in ("inputs", "outputs")), 0.0, counted["waits"])
            gradients = Volume(4.0 * LARGE["weights"], 0.0, 0.0, 0.0, 1.0)
            waited = said.seconds(count, bandwidth=bandwidth, latency=latency)
            summed = gradients.seconds(count, bandwidth=bandwidth, latency=latency)
            # They travel while the rest of the backward pass is computed: half of the networks' time, as is usual.
            waited += max(0.0, summed - NETWORKS / 2)
            row += [f"{waited:.3f}", f"{count * NETWORKS / (NETWORKS + waited):.1f}"]
        lines.append(row)
    return _markdown(lines)


def _volume_table(rows: list[Row]) -> str:
    lines = [["method", "weights", "gradients", "inputs", "outputs", "statistics", "waits", "received by one of 8"]]
    for row in rows:
        kinds = [f"{row[kind] / 1e6:.2f}" for kind in ("gradients", "inputs", "outputs", "statistics")]
        received = f"{_said(row).received(8) / 1e6:.2f}"
        lines.append([row["method"], f"{row['weights']:,}", *kinds, f"{row['waits']:.0f}", received])
    return _markdown(lines)


def _said(row: Row) -> Volume:
    return Volume(*(row[name] for name in ("gradients", "inputs", "outputs", "statistics", "messages", "waits")))


def _markdown(lines: list[list[str]]) -> str:
    head, *rest = lines
    return "\n".join("| " + " | ".join(line) + " |" for line in [head, ["---"] * len(head), *rest])


def placed(text: str, made: dict[str, str]) -> str:
    """The page with each table between its marks ``<!-- NAME -->`` and ``<!-- /NAME -->``."""
    for name, table in made.items():
        pattern = rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)"
        text = re.sub(pattern, lambda m, table=table: f"{m[1]}\n{table}\n\n{m[2]}", text, flags=re.S)
    return text


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=5, help="steps of a round (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds, of which the best counts (default: %(default)s)")
    parser.add_argument("--result", type=Path, default=RESULT, help="where results are stored")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/distributed.md")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
