"""The settings that runs are compared by."""

from selftrain.tensorboard.hparams import settings_of_run

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
