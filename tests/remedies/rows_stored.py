"""Remedies of the messages about what is stored: checkpoints, records, version 0.1, tables, sizes."""

import json
import shutil
import zipfile
from functools import cache
from unittest import mock

import numpy as np
import pytest
import torch
from remedies import Elsewhere, Row, brings
from torch import nn

import selftrain as st
from selftrain import data, strategies
from selftrain.cli.parser import read_config
from selftrain.data import Pile
from selftrain.engine import spec
from selftrain.engine.state import TrainState
from selftrain.exporting import formats
from selftrain.labels.ledger import Ledger
from selftrain.pipeline import Labeling, Stage, complementary, run_pipeline
from selftrain.storage import checkpoint, untrusted
from selftrain.storage.tables import read_notes
from selftrain.types import BatchPlan, PseudoLabels

X = np.random.RandomState(0).normal(size=(16, 3)).astype(np.float32)
Y = np.where(np.arange(16) < 8, np.arange(16) % 2, -1)
TASK, PLAN = st.Classification(2), BatchPlan(4)


@cache
def pile(validation=2):
    return Pile.from_arrays(X, Y, validation=validation)


def network():
    return nn.Linear(3, 2)


def strategy(**learning):
    return strategies.Supervised(TASK, st.learner(network, **learning))


def fit(out=None, made=None, made_of=None, **settings):
    return st.fit(made or strategy(), made_of or pile(), **{"steps": 2, "plan": PLAN, "out": out, **settings})


def begun(tmp):
    """The folder of a run that was stopped after a step."""
    if not (tmp / "run").exists():
        fit(tmp / "run", checkpoints=st.Checkpoints(stop_after=1))
    return tmp / "run"


def resumed(tmp, change=lambda folder: None):
    """A run that goes on after its folder was changed."""
    folder = begun(tmp)
    change(folder)
    fit(folder, resume=True)


def anew(tmp):
    fit(tmp / "run", overwrite=True)


def without_lists(folder):
    """No list says which checkpoints are whole."""
    for path in (folder / "checkpoints").glob("manifest*.json"):
        path.unlink()


def stored(tmp, form=checkpoint.FORMAT):
    """Read a checkpoint that has this format."""
    with mock.patch.object(checkpoint, "FORMAT", form):
        checkpoint.save(tmp / "c", {"a": torch.ones(2)}, 1)
    return checkpoint.load_newest(tmp / "c")


def newer(tmp):
    """The version that wrote it reads it."""
    with mock.patch.object(checkpoint, "FORMAT", 99):
        return checkpoint.load_newest(tmp / "c")


def manifests(tmp, *, damaged):
    """Read checkpoints whose lists are damaged, or are those of a copy of the folder."""
    if not (tmp / "c").exists():
        checkpoint.save(tmp / "c", {"a": torch.ones(2)}, 1)
        shutil.copytree(tmp / "c", tmp / "copy")
    for path in (tmp / "c").glob("manifest*.json"):
        path.write_text("{" if damaged else (tmp / "copy" / path.name).read_text())
    return checkpoint.load_newest(tmp / "c")


def of_version_0_1(tmp):
    """A run of version 0.1, which had no record and no format."""
    folder = begun(tmp)
    fit(folder, resume=True) if not (folder / "export.safetensors").exists() else None
    (folder / "rebuild.json").unlink(missing_ok=True)
    settings = json.loads((folder / "run.json").read_text())
    settings.pop("format", None)
    (folder / "run.json").write_text(json.dumps(settings))
    return folder


def from_its_weights(tmp):
    fit(made=strategy(init_from=str(of_version_0_1(tmp))))


def another_format(tmp):
    folder = begun(tmp)
    record = json.loads((folder / "rebuild.json").read_text())
    (folder / "rebuild.json").write_text(json.dumps(record | {"format": 99}))
    return spec.read_record(folder)


def by_its_version(tmp):
    with mock.patch.object(spec, "FORMAT", 99):
        return spec.read_record(tmp / "run")


def removed(tmp):
    """Something else moves the folder as a checkpoint is made."""
    state_dict = TrainState.state_dict

    def moving(self):
        self.out.rename(tmp / "moved")
        return state_dict(self)

    with mock.patch.object(TrainState, "state_dict", moving):
        fit(tmp / "run")


def spoiled_moments(state):
    """The state of an optimizer with moments of another shape, as a damaged checkpoint may hold."""
    for moments in state["_extra_state"]["optimizer"]["state"].values():
        moments["exp_avg"] = torch.zeros(7)
    return state


def taken_up(spoil):
    learner = st.learner(network)()
    learner.update(learner(torch.ones(2, 3)).sum())
    again = st.learner(network)()
    again.load_state_dict(spoil(learner.state_dict()))
    again.update(again(torch.ones(2, 3)).sum())


def ledger(names=("ant", "bee")):
    made = Ledger(["a"], names)
    made.write(PseudoLabels(torch.tensor([0]), torch.tensor([[0.9, 0.1]]), torch.ones(1)), TASK, 0)
    return made


def arrow():
    return pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")


def notes(tmp, text):
    """What is noted in a table of which something else wrote the notes."""
    pa, pq = arrow()
    schema = pa.schema([("a", pa.int32())]).with_metadata({b"selftrain": text})
    pq.write_table(pa.table({"a": [1]}, schema=schema), tmp / "n.parquet")
    return read_notes(tmp / "n.parquet")


def equal_rows(tmp):
    pa, pq = arrow()
    from selftrain.labels.ledger import COLUMNS

    none = pa.array(np.zeros(1_000_000, np.int8))
    pq.write_table(pa.table(dict.fromkeys(COLUMNS, none)), tmp / "e.parquet")
    Ledger.read(tmp / "e.parquet")


def lacking(module, do):
    """As if a package was not installed."""
    with mock.patch.dict("sys.modules", {module: None}):
        return do()


def nothing_found(do):
    with mock.patch.object(formats, "find_spec", return_value=None):
        return do()


def larger(name, do):
    """As if less was allowed."""
    with mock.patch.object(untrusted, name, 10):
        return do()


def numbers(tmp):
    (tmp / "n.json").write_text("[1, 2, 3, 4, 5]")
    return tmp / "n.json"


def config(tmp, name, text):
    (tmp / name).write_text(text)
    return read_config(tmp / name)


def archive(tmp, **more):
    np.savez(tmp / "a.npz", x=X, y=Y, **more)
    return tmp / "a.npz"


def short(do, module="selftrain.data.readers.arrays"):
    with mock.patch(f"{module}.machine_memory", return_value=10):
        return do()


def in_files(tmp):
    """The arrays as .npy files."""
    (tmp / "npy").mkdir(exist_ok=True)
    for name, values in (("x", X), ("y", Y)):
        np.save(tmp / "npy" / f"{name}.npy", values)
    assert data.from_arrays_file(tmp / "npy").labeled.images(np.arange(2)).isfinite().all()


def no_array(tmp):
    with zipfile.ZipFile(archive(tmp), "a") as file:
        file.writestr("x_test", b"no array")
    data.from_arrays_file(tmp / "a.npz")


def no_memory(tmp):
    with mock.patch("numpy.lib.npyio.NpzFile.__getitem__", side_effect=MemoryError):
        data.from_arrays_file(archive(tmp))


@cache
def clipped():
    made = Pile.from_arrays(X[:, None].repeat(3, 2), Y, kind="series", views=data.SeriesViews(clip=0.5))
    learner = st.learner(lambda: nn.Sequential(nn.Flatten(), nn.Linear(9, 2)))
    return st.fit(strategies.Supervised(TASK, learner), made, steps=1, plan=PLAN)


def stages(which="last"):
    return [
        Stage("teach", lambda past: strategy(), 1, plan=PLAN, which=which),
        Labeling("label", by="teach"),
        Stage("learn", lambda past: strategy(), 1, plan=PLAN),
    ]


def preset(restart):
    steps = {"pretrain": 1, "finetune": 1, "retrain": 1}
    complementary(TASK, st.learner, pretrain=strategy, steps=steps, restart=restart)


def piped(tmp, change=lambda folder: None, folder="p", made=None, **settings):
    if not (tmp / "p").exists():
        run_pipeline(stages()[:2], pile(), tmp / "p")
    change(tmp / "p")
    run_pipeline(made or stages()[:2], pile(), tmp / folder, **settings)


ROWS_OF = {
    "selftrain/cli/parser.py": [
        Row(
            "TOML needs Python 3.11 or later",
            lambda tmp: lacking("tomllib", lambda: config(tmp, "c.toml", "steps = 1")),
            lambda tmp: lacking("tomllib", lambda: config(tmp, "c.yaml", "steps: 1")),
            lambda tmp: lacking("tomllib", lambda: config(tmp, "c.json", '{"steps": 1}')),
        ),
    ],
    "selftrain/engine/spec.py": [
        Elsewhere(
            "start it again with {}",
            "unit/storage/test_runfolder.py::test_a_run_that_was_stopped_before_its_record_says_so",
        ),
        Row(
            "holds a run of selftrain 0.1",
            lambda tmp: st.open_run(of_version_0_1(tmp)),
            from_its_weights,
        ),
        Row("use the version that wrote it", another_format, by_its_version),
    ],
    "selftrain/engine/state.py": [
        Row("removed or renamed during the run", removed, lambda tmp: fit(tmp / "run")),
        Elsewhere(
            "weights cannot be sharded here", "unit/runtime/test_sharded.py::test_what_cannot_be_sharded_is_refused"
        ),
    ],
    "selftrain/exporting/formats.py": [
        Row(
            "pip install 'selftrain[onnx]'",
            lambda tmp: nothing_found(lambda: st.export(fit(), tmp / "e", formats=["onnx"])),
            lambda: brings("onnx", "onnx", "onnxscript"),
        ),
    ],
    "selftrain/exporting/write.py": [
        Elsewhere(
            "choose another format",
            "unit/exporting/test_exporting.py::test_a_network_that_cannot_be_written_says_so",
        ),
        Row(
            "export plain weights with run.export() instead",
            lambda tmp: st.export(clipped(), tmp / "e"),
            lambda: nn.Sequential(nn.Flatten(), nn.Linear(9, 2)).load_state_dict(clipped().export()),
        ),
    ],
    "selftrain/networks/student.py": [
        Row(
            "take the checkpoint of another copy of the folder",
            lambda: taken_up(spoiled_moments),
            lambda: taken_up(lambda state: state),
            lambda tmp: anew(tmp),
        ),
    ],
    "selftrain/pipeline/folder.py": [
        Row(
            "begin the pipeline in another folder",
            lambda tmp: piped(tmp, lambda folder: (folder / "pipeline.json").write_text("{"), resume=True),
            lambda tmp: piped(tmp, folder="q"),
        ),
    ],
    "selftrain/pipeline/labeling.py": [
        Row(
            "delete {}, and the labels are made again",
            lambda tmp: piped(tmp, lambda folder: (folder / "02-label" / "summary.json").write_text("{}"), resume=True),
            lambda tmp: piped(tmp, lambda folder: next((folder / "02-label").glob("labels.*")).unlink(), resume=True),
        ),
    ],
    "selftrain/pipeline/rebalancing.py": [
        Elsewhere(
            "there must be at least 1 generation",
            "unit/pipeline/test_rebalancing.py::test_settings_out_of_range_are_named",
        ),
        Elsewhere("which crest sets itself", "unit/pipeline/test_rebalancing.py::test_settings_out_of_range_are_named"),
        Elsewhere("no label of {}", "unit/pipeline/test_rebalancing.py::test_every_class_needs_a_label"),
        Elsewhere(
            "give a pile whose labels are classes", "unit/pipeline/test_rebalancing.py::test_every_class_needs_a_label"
        ),
    ],
    "selftrain/pipeline/presets.py": [
        Row(
            "choose 'pretrained' or 'scratch'",
            lambda: preset("none"),
            lambda: preset("pretrained"),
            lambda: preset("scratch"),
        ),
    ],
    "selftrain/storage/checkpoint.py": [
        Elsewhere(
            "check the disk",
            "unit/storage/test_checkpoint.py::test_a_disk_that_stores_something_else_costs_no_older_checkpoint",
        ),
        Row("holds no checkpoint; start anew with", lambda tmp: resumed(tmp, without_lists), anew),
        Row(
            "finish the run with version 0.1",
            lambda tmp: stored(tmp, 1),
            lambda tmp: (begun(tmp), anew(tmp)),
        ),
        Row("it is of a newer version", lambda tmp: stored(tmp, 99), newer),
        Row(
            "restore the file from a copy of the folder",
            lambda tmp: manifests(tmp, damaged=True),
            lambda tmp: manifests(tmp, damaged=False),
        ),
    ],
    "selftrain/storage/run_dir.py": [
        Row(
            "start it without resume",
            lambda tmp: ((tmp / "run").mkdir(exist_ok=True), fit(tmp / "run", resume=True)),
            lambda tmp: fit(tmp / "run"),
        ),
        Row(
            "start anew in another folder",
            lambda tmp: resumed(tmp, lambda folder: (folder / "run.json").write_text("{")),
            lambda tmp: fit(tmp / "other"),
        ),
        Row(
            "whose steps are not these",
            lambda tmp: fit(of_version_0_1(tmp), resume=True),
            from_its_weights,
        ),
    ],
    "selftrain/storage/tables.py": [
        Row(
            "the notes in {} cannot be read",
            lambda tmp: notes(tmp, b"{"),
            lambda tmp: Ledger.read(ledger().to_parquet(tmp / "n.parquet")),
        ),
        Row(
            "which cannot all differ; write it anew",
            equal_rows,
            lambda tmp: Ledger.read(ledger().to_parquet(tmp / "e.parquet")),
        ),
        *(
            Row(
                says,
                lambda tmp: lacking("pyarrow", lambda: ledger().to_parquet(tmp / "l.parquet")),
                lambda: brings("table", "pyarrow"),
                lambda tmp: lacking("pyarrow", lambda: Ledger.read(ledger().to_csv(tmp / "l.csv"))),
            )
            for says in ("install it with: pip install 'selftrain[table]'", "{} needs pyarrow; {}")
        ),
    ],
    "selftrain/storage/untrusted.py": [
        Row(
            "it has {} bytes",
            lambda tmp: larger("_LARGEST", lambda: untrusted.read_json(numbers(tmp))),
            lambda tmp: untrusted.read_json(numbers(tmp)),
        ),
        Row(
            "it has {} characters",
            lambda: larger("_LONGEST", lambda: untrusted.from_yaml("[1, 2, 3, 4, 5]")),
            lambda: larger("_LONGEST", lambda: untrusted.from_yaml("[1, 2]")),
        ),
    ],
    "data/readers/arrays.py": [
        Row(
            "{} unpacks to {} GiB",
            lambda tmp: short(lambda: data.from_arrays_file(archive(tmp))),
            lambda tmp: short(lambda: in_files(tmp)),
        ),
        Row("memory is too short; save it as .npy", no_memory, in_files),
        Row("is no array; save the file with numpy.savez", no_array, lambda tmp: data.from_arrays_file(archive(tmp))),
    ],
    "data/readers/tabular.py": [
        Elsewhere("as a table {} GiB", "unit/data/test_bombs.py::test_a_parquet_table_that_is_larger_than_the_memory"),
        Elsewhere("each would be looked at for minutes", "unit/data/test_bombs.py::test_a_table_of_endless_columns"),
    ],
}
