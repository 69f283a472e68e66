"""Every part by its short name: the one list that estimators, command line, examples and benchmarks read.

``METHODS`` are the strategies, ``RECIPES`` the stages of pretraining, ``PARTS`` the rules, schedules, mixes, alignments
and maskers that are settings of both, ``VIEWS`` the makers of views, ``NAMES`` all of them. What has a name can be
written as text: alone, or called with plain values, as in ``"above(0.9)"``.

>>> make_part("select", "above(0.9)").threshold
0.9
"""

from collections.abc import Mapping
from functools import partial

from selftrain.catalog.methods import (
    METHODS,
    Method,
    build,
    default_method,
    default_settings,
    make_strategy,
    method_of,
    short_averages,
)
from selftrain.catalog.parts import (
    PARTS,
    SIZES,
    TASKS,
    VIEWS,
    Names,
    make_part,
    make_parts,
    make_rule,
    named,
    path_of,
    sizes_of,
)
from selftrain.catalog.pretraining import EMBEDDING, RECIPES, default_recipe, make_recipe

NAMES: Mapping[str, Names] = {
    # a preset stays a partial: by the settings in it `fst_d` is told from its class, in help and in stored settings
    "strategy": {name: partial(m.make, **m.settings) if m.settings else m.make for name, m in METHODS.items()},
    "recipe": RECIPES,
    "views": VIEWS,
    "task": TASKS,
    **PARTS,
}

__all__ = [
    "EMBEDDING",
    "METHODS",
    "NAMES",
    "PARTS",
    "RECIPES",
    "SIZES",
    "TASKS",
    "VIEWS",
    "Method",
    "build",
    "default_method",
    "default_settings",
    "default_recipe",
    "make_part",
    "make_parts",
    "make_recipe",
    "make_rule",
    "make_strategy",
    "method_of",
    "named",
    "path_of",
    "short_averages",
    "sizes_of",
]
