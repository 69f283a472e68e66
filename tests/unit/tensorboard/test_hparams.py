"""The settings that runs are compared by."""

from selftrain.tensorboard.hparams import final_figures, in_short, settings_of_run

RUN = {
    "strategy": "FixMatch",
    "total_steps": 5,
    "plan": {"labeled": 4, "workers": 2},
    "learning_rates": [[0.3, 0.1], [0.2]],
    "settings": {"hard": True, "weight": None, "student": {"encoder": {"width": 3}, "decay": 0.9}, "network": {"w": 2}},
}


def test_methods_settings_and_no_sizes_of_layers_are_compared():
    assert settings_of_run(RUN) == {
        "strategy": "FixMatch",
        "steps": 5,
        "labeled": 4,
        "learning_rate": 0.1,
        "with.hard": "True",
        "with.student.decay": 0.9,
    }


def test_names_of_thousands_of_classes_are_not_all_shown():
    names = [f"species {c}" for c in range(5000)]
    assert in_short({"classes": names, "rates": (0.1, 0.2)}) == {
        "classes": [*names[:20], "... 4,980 more"],
        "rates": [0.1, 0.2],
    }
    assert in_short(names[:40]) == names[:40]


def test_every_run_has_one_of_the_five_figures_that_tensorboard_shows():
    # with held-out labels, in a benchmark, with the pile alone, without it, before it has any labels
    with_labels, rest = final_figures(["validation", "mine"], "pck"), final_figures([], "pck")
    assert with_labels[:5] == rest[:5]
    logged = [{"validation/pck"}, {"test/pck"}, {"ledger/accepted"}, {"train/loss/supervised"}, {"unlabeled/rankme"}]
    assert all(run & set(rest[:5]) for run in logged)
    assert "mine/pck" in with_labels
    assert len(with_labels) == len(set(with_labels))
