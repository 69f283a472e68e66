import math

import pytest

from selftrain.schedule import constant, cosine, ramp_linear, ramp_sigmoid

PLACES = [0.0, 0.1, 0.25, 0.5, 0.75, 0.99, 1.0]


@pytest.mark.parametrize("progress", PLACES)
def test_constant_stays_at_one(progress):
    assert constant()(progress) == 1.0


@pytest.mark.parametrize("progress", PLACES)
def test_cosine_is_half_a_cosine(progress):
    assert cosine()(progress) == pytest.approx((1 + math.cos(math.pi * progress)) / 2)


def test_cosine_at_start_middle_and_end():
    factor = cosine()
    assert [factor(0), factor(0.5), factor(1)] == pytest.approx([1, 0.5, 0])


@pytest.mark.parametrize("progress", PLACES)
def test_seven_sixteenths_is_fixmatch(progress):
    assert cosine(cycles=7 / 32)(progress) == pytest.approx(math.cos(7 * math.pi * progress / 16))


def test_fixmatch_ends_near_a_fifth():
    assert cosine(cycles=7 / 32)(1.0) == pytest.approx(0.195, abs=1e-3)


def test_final_is_a_floor_that_half_a_cycle_ends_at():
    factor = cosine(final=0.2)
    assert [factor(0), factor(0.5), factor(1)] == pytest.approx([1, 0.6, 0.2])


def test_final_cuts_partial_cycles():
    assert cosine(cycles=7 / 32, final=0.5)(1.0) == 0.5
    assert cosine(cycles=7 / 32, final=0.5)(0.2) == pytest.approx(math.cos(7 * math.pi * 0.2 / 16))
    assert cosine(cycles=0.4)(1.0) == 0.0  # the cosine is below zero there


@pytest.mark.parametrize("after", [constant, cosine])
def test_warmup_rises_in_a_line_and_never_stands_still(after):
    factor = after(warmup=0.2)
    assert factor(0.0) == pytest.approx(0.01)
    assert factor(0.1) == pytest.approx(0.505)
    assert factor(0.2 - 1e-9) == pytest.approx(1, abs=1e-6)
    assert factor(0.2) == 1.0


def test_the_schedule_fills_what_warmup_leaves():
    assert cosine(warmup=0.2)(0.6) == pytest.approx(0.5)
    assert cosine(warmup=0.2)(1.0) == pytest.approx(0.0)


def test_linear_ramp():
    ramp = ramp_linear(0.4)
    assert [ramp(0), ramp(0.1), ramp(0.2), ramp(0.4), ramp(1)] == pytest.approx([0, 0.25, 0.5, 1, 1])


def test_linear_ramp_starts_late():
    ramp = ramp_linear(0.4, start=0.2)
    assert [ramp(0), ramp(0.2), ramp(0.4), ramp(0.6), ramp(1)] == pytest.approx([0, 0, 0.5, 1, 1])


def test_linear_ramp_of_no_length_is_a_switch():
    assert [ramp_linear(0)(p) for p in (0.0, 0.5, 1.0)] == [1, 1, 1]
    assert [ramp_linear(0, start=0.5)(p) for p in (0.0, 0.49, 0.5, 1.0)] == [0, 0, 1, 1]


def test_sigmoid_ramp_is_that_of_temporal_ensembling():
    ramp = ramp_sigmoid(0.4)
    assert [ramp(0.0), ramp(0.2), ramp(0.4), ramp(1.0)] == pytest.approx([math.exp(-5), math.exp(-5 / 4), 1, 1])
    assert ramp_sigmoid(0)(0.0) == 1.0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: constant(warmup=1.0), r"warmup is 1.0; it is a share of the stage in \[0, 1\)"),
        (lambda: cosine(warmup=-0.1), "warmup is -0.1"),
        (lambda: cosine(cycles=0), r"cycles is 0; it must be in \(0, 0.5\]"),
        (lambda: cosine(cycles=0.6), "cycles is 0.6"),
        (lambda: cosine(final=1.5), r"final is 1.5; it must be in \[0, 1\]"),
    ],
)
def test_settings_out_of_range_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
