import io
import json
import math
import time

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from selftrain.board import Board


def rows(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def events(folder):
    reader = EventAccumulator(str(folder), size_guidance={"images": 0, "scalars": 0, "tensors": 0})
    return reader.Reload()


def shown(folder, name, which=0):
    """A logged picture as an array (H, W, 3)."""
    return np.asarray(Image.open(io.BytesIO(events(folder).Images(name)[which].encoded_image_string)))


def show(folder, images, captions=None):
    with Board(folder) as board:
        board.pictures("look", images, 3, captions)
    return shown(folder, "look")


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
        board.pictures("look", torch.zeros(0, 1, 4, 4), 1)
    assert list(tmp_path.iterdir()) == []


def test_without_a_folder_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Board(None) as board:
        board.scalars({"a": 1.0}, 1)
        board.pictures("look", torch.rand(2, 1, 4, 4), 1)
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


def test_a_resumed_log_is_read_after_the_one_it_continues(tmp_path):
    """TensorBoard reads files in the order of their names, and a name made within the same second may come first."""
    older = tmp_path / f"events.out.tfevents.{int(time.time())}.zzz"
    older.touch()
    with Board(tmp_path, 1) as board:
        board.scalars({"loss": 1.0}, 2)
    (newer,) = set(tmp_path.glob("events.out.tfevents.*")) - {older}
    assert newer.name > older.name


def test_the_log_of_a_run_that_failed_is_closed(tmp_path):
    def fail():
        with Board(tmp_path) as board:
            board.scalars({"a": 1.0}, 1)
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        fail()
    assert len(events(tmp_path).Scalars("a")) == 1


# -- pictures ----------------------------------------------------------------------------------------------------------
def test_small_pictures_are_enlarged_by_whole_factors(tmp_path):
    """8 pixels become 56; every tile has a border of one pixel; the row is filled with white."""
    image = torch.zeros(1, 1, 8, 8)
    image[0, 0, 0, 0] = 1
    picture = show(tmp_path, image)
    assert picture.shape == (58, 8 * 58, 3)
    tile = picture[1:57, 1:57]
    assert (tile[:7, :7] == 255).all()
    assert tile[7:].max() == 0
    assert tile[:, 7:].max() == 0
    assert (picture[0, :58] == 127).all()
    assert (picture[:, 58:] == 255).all()


def test_each_picture_is_scaled_to_its_own_range(tmp_path):
    images = torch.stack([torch.linspace(-5, 5, 64), torch.linspace(0.4, 0.6, 64)]).view(2, 1, 8, 8)
    picture = show(tmp_path, images)
    first, second = picture[1:57, 1:57].astype(int), picture[1:57, 59:115].astype(int)
    assert abs(first - second).max() <= 1
    assert (first.min(), first.max()) == (0, 255)


def test_a_flat_picture_is_no_division_by_zero(tmp_path):
    assert show(tmp_path, torch.full((1, 3, 8, 8), 7.0))[1:57, 1:57].max() == 0


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_any_number_of_channels_can_be_looked_at(tmp_path, channels):
    """Three or more: the first three as red, green, blue; fewer: the first one in gray."""
    image = torch.zeros(1, channels, 8, 8)
    image[0, 0, :4] = 1
    if channels > 1:
        image[0, 1, 4:] = 1
    tile = show(tmp_path, image)[1:57, 1:57]
    assert tile[0, 0].tolist() == ([255, 0, 0] if channels >= 3 else [255, 255, 255])
    assert tile[-1, 0].tolist() == ([0, 255, 0] if channels >= 3 else [0, 0, 0])


def test_captions_stand_below(tmp_path):
    images = torch.zeros(2, 1, 8, 8)
    plain, captioned = show(tmp_path / "a", images), show(tmp_path / "b", images, ["cat 99*", ""])
    assert captioned.shape[0] == plain.shape[0] + 14
    strips = captioned[57:71]
    assert strips[:, 1:57].min() < 128  # ink
    assert strips[:, 59:115].min() == 255  # none
    assert (captioned[1:57] == plain[1:57]).all()


def test_nine_pictures_make_two_rows_in_reading_order(tmp_path):
    images = torch.zeros(9, 1, 2, 8, 8)[:, :, 0]
    images[:, 0, 0, 0] = 1
    images[8, 0] = torch.eye(8)
    picture = show(tmp_path, images)
    assert picture.shape == (2 * 58, 8 * 58, 3)
    assert (picture[59 + 7 * 5, 1 + 7 * 5] == 255).all()  # the diagonal of the ninth
    assert (picture[58:, 58:] == 255).all()  # the rest of the second row is empty


def test_large_and_oblong_pictures_keep_their_shape(tmp_path):
    assert show(tmp_path, torch.rand(1, 3, 60, 100)).shape == (62, 8 * 102, 3)


def test_pictures_that_carry_a_gradient_or_low_precision_are_shown(tmp_path):
    assert show(tmp_path, torch.rand(1, 1, 8, 8, requires_grad=True).bfloat16()).shape == (58, 464, 3)
