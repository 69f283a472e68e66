"""Every part by its short name: the one list that estimators, command line, examples and benchmarks read.

``METHODS`` are the strategies, ``RECIPES`` the stages of pretraining, ``PARTS`` the rules, schedules, mixes, alignments
and maskers that are settings of both, ``VIEWS`` the makers of views. What has a name can be written as text: alone, or
called with plain values, as in ``"above(0.9)"``.

>>> make_part("select", "above(0.9)").threshold
0.9
"""

from selftrain.catalog.methods import METHODS, Method, build, default_method, make_strategy, method_of, short_averages
from selftrain.catalog.parts import PARTS, make_part, make_parts, make_rule
from selftrain.catalog.pretraining import EMBEDDING, RECIPES, default_recipe, make_recipe
from selftrain.catalog.views import VIEWS

__all__ = [
    "EMBEDDING",
    "METHODS",
    "PARTS",
    "RECIPES",
    "VIEWS",
    "Method",
    "build",
    "default_method",
    "default_recipe",
    "make_part",
    "make_parts",
    "make_recipe",
    "make_rule",
    "make_strategy",
    "method_of",
    "short_averages",
]
