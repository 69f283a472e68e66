"""Parts written as text: names and calls with plain values, for every setting that takes a part."""

from __future__ import annotations

import pytest

from selftrain import select, toy
from selftrain.catalog import PARTS, build, make_part, make_recipe
from selftrain.mix import CutMix
from selftrain.pretrain import MultiBlock, ViT
from selftrain.select.alignment import Align

TASK = toy.task("classification")
SIZES = {"task": TASK, "groups": 3, "unlabeled": 24}


@pytest.mark.parametrize(("setting", "name"), [(setting, name) for setting, names in PARTS.items() for name in names])
def test_every_name_alone_is_a_part(setting, name):
    assert make_part(setting, name, **SIZES) is not None


def test_a_call_sets_what_it_names_and_sizes_are_filled_in():
    assert make_part("select", "flex(threshold=0.8)", **SIZES).threshold == 0.8
    assert make_part("mix", "CutMix(0.5)", **SIZES).alpha == 0.5
    assert make_part("align", "labeled", **SIZES).reads_labeled
    assert make_part("masks", "MultiBlock").__class__ is MultiBlock
    assert [make_part("rampup", "ramp_linear(0.5)")(t) for t in (0, 0.25, 1)] == [0, 0.5, 1]


def test_other_values_and_other_settings_stay_as_they_are():
    rule = select.above(0.5)
    assert make_part("select", rule) is rule
    assert make_part("distance", "mse") == "mse"
    assert make_part("mix", None) is None


@pytest.mark.parametrize(
    ("setting", "text", "message"),
    [
        ("mix", "cutmixx", "mix is 'cutmixx'; known are mixup, cutmix"),
        ("rampup", "ramp_linear(0.4, 0.2, 1)", r"takes 2 value\(s\)"),
        ("align", "labeled(dekay=1)", "dekay"),
        ("masks", "[1]", "a call with plain values"),
    ],
)
def test_what_is_no_part(setting, text, message):
    with pytest.raises(ValueError, match=message):
        make_part(setting, text, **SIZES)


def test_methods_and_recipes_take_text():
    sizes = {"unlabeled": 24, "label_shape": (3,)}
    parts = {"select": "top(0.3)", "mix": "cutmix", "align": "uniform", "rampup": "ramp_sigmoid(0.1)"}
    labeling = build("fixmatch", TASK, toy.learner("classification"), **sizes, **parts).pseudo_labeling
    assert labeling.select.share == 0.3
    assert isinstance(labeling.mix, CutMix)
    assert isinstance(labeling.align, Align)
    assert labeling.rampup(0.1) == 1.0
    stage = make_recipe("ijepa", ViT(8, 2, width=16, depth=1, heads=2), {"masks": "random_mask(0.5)"})
    assert stage.masker.ratio == 0.5
