"""Remedies of the messages of what stands before the engine: names, and devices."""

from functools import cache, partial

import numpy as np
import torch
from remedies import Elsewhere, Row
from torch import nn

import selftrain as st
from selftrain import strategies
from selftrain.data import Pile
from selftrain.handlers import DataSummary
from selftrain.runtime.devices import find_device

X = np.random.RandomState(0).normal(size=(16, 3)).astype(np.float32)
Y = np.where(np.arange(16) < 8, np.arange(16) % 2, -1)


@cache
def pile():
    return Pile.from_arrays(X, Y)


def fit(strategy="supervised", data=None, **settings):
    return st.fit(strategy, data or pile(), steps=1, handlers=[DataSummary(False)], **settings)


def plain():
    """A run whose network has no encoder."""
    return fit(strategies.Supervised(st.Classification(2), st.learner(lambda: nn.Linear(3, 2))))


DENSE = "unit/networks/test_dense.py"
DOOR = "unit/front/test_door.py::test_"
ROWS_OF = {
    "selftrain/_compat.py": [
        Elsewhere(says, f"{DOOR}fit_has_twelve_settings_and_old_ones_mean_what_they_did")
        for says in ("give pretrain alone", "pass pretrain=... with the run")
    ],
    "selftrain/front/door.py": [
        Elsewhere("whose features are of whole pictures", f"{DENSE}::test_by_name_masks_get_a_unet_and_its_stage"),
        Row(
            "is a stage; say pretrain={} beside a strategy",
            lambda: fit("vicreg"),
            lambda: fit("fixmatch", pretrain="vicreg"),
        ),
        Row("no {} {}; give a name such as", lambda: fit("null"), lambda: fit("fixmatch")),
        Row(
            "give a selftrain.data.Pile, such as",
            lambda: fit(data=st.toy.pile("classification")),
            lambda: fit(data=Pile.from_arrays(X, Y)),
        ),
        Row(
            "a class, or functools.partial(CLASS, SETTING=VALUE)",
            lambda: fit(3),
            lambda: fit("fixmatch"),
            lambda: fit(strategies.FixMatch),
            lambda: fit(partial(strategies.FixMatch, decay=0.9)),
        ),
        Row(
            "has no encoder to start from; take another run",
            lambda: fit(pretrain=plain()),
            lambda: fit(pretrain=fit()),
        ),
        Elsewhere(
            "without this stage before it; leave pretrain out",
            f"{DOOR}a_run_by_its_name_says_what_was_chosen_and_is_rebuilt_and_resumed",
        ),
        Elsewhere("build it with learner(init_from=stage)", f"{DOOR}a_strategy_that_is_built_needs_its_own_start"),
    ],
    "selftrain/runtime/devices.py": [
        Row(
            "cannot be used: {}; there is {}: say",
            lambda: find_device("cuda:77"),
            lambda: find_device("auto"),
            lambda: torch.empty(1, device=find_device("auto")),
        ),
    ],
}
