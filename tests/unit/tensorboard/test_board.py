import io
import json
import math
import time

import numpy as np
import pytest
import torch
from PIL import Image
from plain_events import PlainEvents as EventAccumulator
from tensorboard.backend.event_processing import plugin_event_accumulator
from tensorboard.plugins.custom_scalar.layout_pb2 import Layout
from tensorboard.plugins.hparams.api_pb2 import Status
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from tensorboard.util.tensor_util import make_ndarray

import selftrain as st
from selftrain.engine.state import TrainState
from selftrain.errors import RunFolderError
from selftrain.handlers import MetricsLog
from selftrain.strategies import Supervised
from selftrain.tensorboard import TensorBoard

PARTS = ("experiment", "session_start_info", "session_end_info")

SETTINGS = {"strategy": "Supervised", "total_steps": 9, "plan": {}, "learning_rates": [], "settings": {}}


class Board:
    """The two logs of a run, and nothing of a run but its folder."""

    def __init__(self, folder, resume_at=None):
        strategy = Supervised(st.Classification(2), st.learner(torch.nn.Linear(2, 2)))
        self.shown = TensorBoard(False)
        self.state = TrainState(
            strategy=strategy, pile=None, ledger=None, out=folder, folder=folder, device=torch.device("cpu"), seed=0,
            total=9, steps_per_epoch=1, evaluate_every=1, parts=(), settings=SETTINGS, stream=None, monitor={},
            checkpoint_every=1, handlers=[MetricsLog(), self.shown], start=1, resumed_at=resume_at,
        )  # fmt: skip
        self.inside = self.state.handled()

    def __enter__(self):
        self.inside.__enter__()
        return self

    def __exit__(self, *error):
        return self.inside.__exit__(*error)

    def scalars(self, values, step):
        self.state.log_scalars(values, step)

    def text(self, name, content, step):
        self.state.log_text(name, content, step)

    def alarm(self, kind, content, step):
        self.state.log_alarm(kind, content, step)

    def timings(self, values, step):
        self.shown.writer.scalars(values, step)

    def __getattr__(self, name):
        return getattr(self.shown.writer, name)


def rows(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def events(folder):
    reader = EventAccumulator(str(folder), size_guidance={"images": 0, "scalars": 0, "tensors": 0, "histograms": 0})
    return reader.Reload()


def test_scalars_reach_both_logs(tmp_path):
    with Board(tmp_path) as board:
        board.scalars({"train/loss": 0.5, "lr": 0.1}, 10)
        board.scalars({"train/loss": 0.25}, 20)
    assert rows(tmp_path) == [{"step": 10, "train/loss": 0.5, "lr": 0.1}, {"step": 20, "train/loss": 0.25}]
    reader = events(tmp_path)
    assert [(e.step, e.value) for e in reader.Scalars("train/loss")] == [(10, 0.5), (20, 0.25)]
    assert [(e.step, e.value) for e in reader.Scalars("lr")] == [(10, pytest.approx(0.1))]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_none_are_null_in_the_lines(tmp_path, value):
    with Board(tmp_path) as board:
        board.scalars({"a": value, "b": 1.0}, 1)
    assert rows(tmp_path) == [{"step": 1, "a": None, "b": 1.0}]


def test_no_values_no_row(tmp_path):
    with Board(tmp_path) as board:
        board.scalars({}, 1)
        board.histogram("spread", torch.zeros(0), 1)
    assert list(tmp_path.iterdir()) == []


def test_without_a_folder_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Board(None) as board:
        board.scalars({"a": 1.0}, 1)
        board.timings({"a": 1.0}, 1)
        board.image("look", torch.rand(3, 4, 4), 1)
        board.histogram("spread", torch.rand(9), 1)
        board.curve("right", torch.ones(9, dtype=torch.bool), torch.rand(9), 1)
        board.layout({"page": {"chart": ["a"]}})
        board.hparams({"rate": 0.1}, ["a"])
        board.finished()
        board.text("note", "hello", 1)
        board.alarm("collapse", "hello", 1)
    assert list(tmp_path.iterdir()) == []


def test_text_is_logged(tmp_path):
    with Board(tmp_path) as board:
        board.text("note", "*hello*", 4)
    (event,) = events(tmp_path).Tensors("note/text_summary")
    assert event.step == 4
    assert event.tensor_proto.string_val == [b"*hello*"]


def test_an_alarm_reaches_both_logs(tmp_path):
    with Board(tmp_path) as board:
        board.alarm("teacher_worse", "It lags. Do this.", 4)
    assert rows(tmp_path) == [{"step": 4, "alarm": "teacher_worse", "text": "It lags. Do this."}]
    (event,) = events(tmp_path).Tensors("alarm/teacher_worse/text_summary")
    assert (event.step, event.tensor_proto.string_val) == (4, [b"It lags. Do this."])


def test_an_alarm_that_is_raised_again_after_resuming_has_one_row(tmp_path):
    for resume_at in (None, 3):  # the first run died after step 4, its checkpoint is of step 3
        with Board(tmp_path, resume_at) as board:
            board.alarm("teacher_worse", "It lags. Do this.", 4)
    assert [row["step"] for row in rows(tmp_path)] == [4]


def test_a_resumed_log_has_one_value_a_step(tmp_path):
    """The first run got to step 40; its checkpoint is of step 20, so that 30 and 40 are run again."""
    with Board(tmp_path) as board:
        for step in (10, 20, 30, 40):
            board.scalars({"loss": float(step)}, step)
    with Board(tmp_path, resume_at=20) as board:
        for step in (30, 40, 50):
            board.scalars({"loss": step + 0.5}, step)
    expected = [(10, 10.0), (20, 20.0), (30, 30.5), (40, 40.5), (50, 50.5)]
    assert [(row["step"], row["loss"]) for row in rows(tmp_path)] == expected
    assert [(e.step, e.value) for e in events(tmp_path).Scalars("loss")] == expected


def test_resuming_drops_later_lines_even_if_nothing_follows(tmp_path):
    with Board(tmp_path) as board:
        board.scalars({"a": 1.0}, 1)
        board.scalars({"a": 2.0}, 2)
    with Board(tmp_path, resume_at=1):
        pass
    assert [row["step"] for row in rows(tmp_path)] == [1]


@pytest.mark.parametrize("torn", ['{"step": 2, "a"', '{"step": 2, "a": 0.5', "3", "{}", "\x00\x00"])
def test_a_line_that_a_crash_cut_short_is_dropped(tmp_path, torn):
    with Board(tmp_path) as board:
        board.scalars({"a": 1.0}, 1)
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write(torn)
    with Board(tmp_path, resume_at=5) as board:
        board.scalars({"a": 6.0}, 6)
    assert [row["step"] for row in rows(tmp_path)] == [1, 6]


def test_resuming_without_a_log_starts_one(tmp_path):
    with Board(tmp_path, resume_at=5) as board:
        board.scalars({"a": 1.0}, 6)
    assert rows(tmp_path) == [{"step": 6, "a": 1.0}]


@pytest.mark.parametrize("name", ["{now}.zzz", "{later}.host.1.0", "99999999999", "copy", "{later}.host.bak", "~", "é"])
def test_a_log_is_read_after_every_other_one(name, tmp_path):
    """Files of the same second, of a clock that was set back, of another tool: TensorBoard reads in order of names."""
    others = tmp_path / f"events.out.tfevents.{name.format(now=int(time.time()), later=int(time.time()) + 10**6)}"
    others.touch()
    for step, resume_at in enumerate((None, 1, 2, 3), 1):
        before = set(tmp_path.glob("events.out.tfevents.*"))
        with Board(tmp_path, resume_at) as board:
            board.scalars({"loss": float(step)}, step)
            board.scalars({"loss": 9.0}, step + 1)  # of a step that is taken again
        (newer,) = set(tmp_path.glob("events.out.tfevents.*")) - before
        assert newer > max(before)
        assert len(newer.name) < len(others.name) + 20
    found = [(e.step, e.value) for e in events(tmp_path).Scalars("loss")]
    assert found == [(1, 1.0), (2, 2.0), (3, 3.0), (4, 4.0), (5, 9.0)]


def test_the_log_of_a_run_that_failed_is_closed(tmp_path):
    def fail():
        with Board(tmp_path) as board:
            board.scalars({"a": 1.0}, 1)
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        fail()
    assert len(events(tmp_path).Scalars("a")) == 1


def test_what_no_two_runs_share_is_in_tensorboard_alone(tmp_path):
    with Board(tmp_path) as board:
        board.timings({"speed/steps_per_second": 3.0}, 5)
    assert not (tmp_path / "metrics.jsonl").exists()
    assert [(e.step, e.value) for e in events(tmp_path).Scalars("speed/steps_per_second")] == [(5, 3.0)]


def test_a_picture_is_written_as_it_is(tmp_path):
    picture = torch.rand(3, 5, 7, generator=torch.Generator().manual_seed(0))
    with Board(tmp_path) as board:
        board.image("look", picture, 3)
    (event,) = events(tmp_path).Images("look")
    found = torch.from_numpy(np.array(Image.open(io.BytesIO(event.encoded_image_string)))).permute(2, 0, 1)
    assert event.step == 3
    assert (found / 255 - picture).abs().max() < 1 / 255


def test_a_histogram_counts_confidence_in_twenty_bins(tmp_path):
    values = torch.tensor([0.01, 0.02, 0.52, 0.97, 1.0])
    with Board(tmp_path) as board:
        board.histogram("confidence", values, 2)
    (event,) = events(tmp_path).Histograms("confidence")
    found = event.histogram_value
    counts = {round(edge, 2): n for edge, n in zip(found.bucket_limit, found.bucket, strict=True) if n}
    assert (event.step, found.num, counts) == (2, 5, {0.05: 2, 0.55: 1, 1.0: 2})


def test_a_curve_has_precision_and_recall_of_each_threshold(tmp_path):
    right, confidence = torch.tensor([True, True, False, True]), torch.tensor([0.9, 0.8, 0.7, 0.2])
    with Board(tmp_path) as board:
        board.curve("pr/right", right, confidence, 4)
    (event,) = events(tmp_path).Tensors("pr/right")
    rows = make_ndarray(event.tensor_proto)  # true and false positives, true and false negatives, precision, recall
    at = int(0.75 * (rows.shape[1] - 1))  # thresholds are evenly spaced
    assert event.step == 4
    assert rows[:, at].tolist() == pytest.approx([2, 0, 1, 1, 1, 2 / 3])
    assert rows[[0, 1], 0].tolist() == [3, 1]


def test_settings_and_final_figures_are_of_the_run_itself(tmp_path):
    with Board(tmp_path) as board:
        board.hparams({"strategy": "FixMatch", "rate": 0.1}, ["validation/accuracy"])
        board.scalars({"validation/accuracy": 0.5}, 3)
        board.finished()
    assert [p for p in tmp_path.iterdir() if p.is_dir()] == []
    content = events(tmp_path).PluginTagToContent("hparams")
    experiment, start, end = (HParamsPluginData.FromString(content[f"_hparams_/{part}"]) for part in PARTS)
    assert [m.name.tag for m in experiment.experiment.metric_infos] == ["1_learning/validation/accuracy"]
    assert {h.name for h in experiment.experiment.hparam_infos} == {"strategy", "rate"}
    chosen = start.session_start_info.hparams
    assert (chosen["strategy"].string_value, chosen["rate"].number_value) == ("FixMatch", 0.1)
    assert end.session_end_info.status == Status.Value("STATUS_SUCCESS")


def test_the_page_of_custom_scalars_has_the_charts(tmp_path):
    with Board(tmp_path) as board:
        board.layout({"Is it learning?": {"loss": ["train/loss/.+$"], "rate": ["train/lr$"]}})
    (event,) = events(tmp_path).Tensors("custom_scalars__config__")
    (page,) = Layout.FromString(event.tensor_proto.string_val[0]).category
    charts = [(chart.title, list(chart.multiline.tag)) for chart in page.chart]
    assert (page.title, charts) == ("Is it learning?", [("loss", ["train/loss/.+$"]), ("rate", ["train/lr$"])])


def test_what_was_drawn_after_the_checkpoint_is_drawn_again_once(tmp_path):
    for resume_at in (None, 2):  # the first run got to step 4, its checkpoint is of step 2
        with Board(tmp_path, resume_at) as board:
            for step in (2, 4) if resume_at is None else (4,):
                board.image("look", torch.rand(3, 4, 4), step)
                board.histogram("spread", torch.rand(9), step)
                board.curve("right", torch.ones(9, dtype=torch.bool), torch.rand(9), step)
    reader = plugin_event_accumulator.EventAccumulator(str(tmp_path)).Reload()  # as the server reads it
    assert {tag: [e.step for e in reader.Tensors(tag)] for tag in ("look", "spread", "right")} == dict.fromkeys(
        ("look", "spread", "right"), [2, 4]
    )


def removed_while_open(folder, noticed):
    folder.mkdir()
    with Board(folder) as board:
        board.text("a", "first", 0)
        board._tensorboard().flush()
        folder.rename(folder.parent / "elsewhere")
        board.text("a", "second", 1)
        for step in range(2, 500 if noticed == "on a later call" else 0):  # TensorBoard writes in a thread of its own
            board.text("a", "more", step)
            board._tensorboard().flush()
            time.sleep(0.01)
        if noticed == "by another writer":
            (folder / "points").write_text("1")


@pytest.mark.parametrize("noticed", ["on a later call", "at the end", "by another writer"])
def test_a_folder_that_is_gone_is_named(tmp_path, noticed):
    with pytest.raises(RunFolderError, match=f"cannot write into {tmp_path / 'run'}: "):
        removed_while_open(tmp_path / "run", noticed)
    assert not (tmp_path / "run").exists()


def inside(folder, act):
    """Log something and do something else, in a run."""
    with Board(folder) as board:
        board.text("a", "first", 0)
        act(board)


def test_a_disk_that_is_full_at_the_end_is_named(tmp_path, monkeypatch):
    def fill(board, error=None):
        close = lambda: (_ for _ in ()).throw(OSError(28, "No space left"))  # noqa: E731
        monkeypatch.setattr(board.shown.writer._tensorboard(), "close", close)
        if error:
            raise error

    with pytest.raises(RunFolderError, match="No space left"):
        inside(tmp_path, fill)
    with pytest.raises(ValueError, match="says more"):
        inside(tmp_path, lambda board: fill(board, ValueError("this says more")))


@pytest.mark.parametrize("logged", [True, False])
def test_errors_of_other_files_pass_the_board(tmp_path, logged):
    with pytest.raises(FileNotFoundError, match="mine"):
        inside(tmp_path if logged else None, lambda board: (tmp_path / "mine").read_text())
