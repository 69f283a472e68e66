"""What a comparison may say: intervals against simulation, pairing, many strategies, and its cautions."""

from __future__ import annotations

import numpy as np
import pytest

from selftrain.cli import verdict
from selftrain.cli.compare_runs import _unjudged
from selftrain.cli.starts import entrants
from selftrain.cli.verdict import Cell
from selftrain.data import Pile
from selftrain.tasks import Classification

RNG = np.random.default_rng(0)


def judged(cells):
    return verdict.judged(cells, entrants(None, list(cells)))


def cells(name, rates, samples=400, part="test"):
    """One cell for each rate of right answers, all on one set of samples."""
    return [
        Cell(name, draw, 0, part, (RNG.random(samples) < rate).astype(float), 10) for draw, rate in enumerate(rates)
    ]


def test_a_clear_gain_pays_and_a_clear_loss_hurts():
    found = judged({"supervised": cells("supervised", [0.6] * 3), "good": cells("good", [0.9] * 3)})
    assert [row.answer for row in found.rows] == ["floor", "pays"]
    assert found.answer().startswith("Self-training pays here: good gains")
    found = judged({"supervised": cells("supervised", [0.9] * 3), "bad": cells("bad", [0.6] * 3)})
    assert found.rows[1].answer == "hurts"
    assert found.answer() == "Self-training does not pay here: all that was tried is worse than supervised."


def test_draws_that_disagree_cannot_be_told():
    found = judged({"supervised": cells("supervised", [0.6] * 3), "odd": cells("odd", [0.9, 0.6, 0.4])})
    assert found.rows[1].answer == "cannot be told"
    assert "cannot be told" in found.answer()


def test_answers_are_paired_sample_by_sample():
    """Two that are right on the same samples but for a few differ by little more than nothing, surely."""
    right = (RNG.random(1000) < 0.7).astype(float)
    better = right.copy()
    better[np.flatnonzero(right == 0)[:20]] = 1
    pair = {"supervised": [Cell("supervised", 0, 0, "test", right, 1)], "m": [Cell("m", 0, 0, "test", better, 1)]}
    row = judged(pair).rows[1]
    assert row.gain == pytest.approx(0.02)
    assert row.answer == "pays"
    shuffled = RNG.permutation(better)
    pair["m"] = [Cell("m", 0, 0, "test", shuffled, 1)]
    assert judged(pair).rows[1].answer == "cannot be told"


@pytest.mark.parametrize("part", ["test", "validation"])
def test_intervals_hold_what_they_promise(part):
    """Of equal strategies hardly one in twenty seems to pay or to hurt, though draws differ."""
    wrong = 0
    for _ in range(400):
        rates = 0.7 + 0.03 * RNG.normal(size=4)
        other = rates + 0.02 * RNG.normal(size=4)  # each draw suits one or the other
        pair = {"supervised": cells("supervised", rates, 200, part), "m": cells("m", other, 200, part)}
        wrong += judged(pair).rows[1].answer != "cannot be told"
    assert wrong / 400 < 0.06


def test_many_strategies_have_wider_intervals_each():
    base, one = cells("supervised", [0.7] * 3), cells("a", [0.72] * 3)
    few = judged({"supervised": base, "a": one}).rows[1]
    many = judged({"supervised": base, "a": one, **{f"b{i}": one for i in range(9)}}).rows[1]
    assert few.gain == many.gain
    assert many.high - many.low > few.high - few.low


def test_cautions_are_told():
    pair = {"supervised": cells("supervised", [0.7], 25, "validation"), "m": cells("m", [0.7], 25, "validation")}
    text = judged(pair).text()
    for words in ("few draws", "judged on labels that were taken from the training", "20 points at best"):
        assert words in text
    assert judged(pair).as_dict()["runs"][1]["strategy"] == "m"


def test_classes_that_are_not_judged_are_named_until_the_test_has_some():
    x, y = np.arange(12.0)[:, None], np.arange(12) % 3
    seen = []
    for asked in ([0, 0], [0, 2], [0, 1, 2]):  # follows the remedy
        pile = Pile.from_arrays(x, y, x[: len(asked)], np.array(asked), classes=["cat", "dog", "emu"])
        pair = {"supervised": cells("supervised", [0.7] * 3)}
        found = verdict.judged(pair, entrants(None, list(pair)), _unjudged(pile, Classification(3)))
        seen.append([line for line in found.cautions() if "not judged" in line])
        assert found.as_dict()["unjudged"] == _unjudged(pile, Classification(3))
    words = "their answers are not judged; add some"
    assert seen == [[f"no test sample is of dog, emu: {words}"], [f"no test sample is of dog: {words}"], []]
