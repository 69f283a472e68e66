"""The command line as a person meets it: names, config files, refusals, exit codes; no command is trained here."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import selftrain as st
from selftrain import errors
from selftrain.catalog import METHODS, NAMES, RECIPES, make_part
from selftrain.cli import Terminated, UsageError
from selftrain.cli import main as cli
from selftrain.cli.parser import parse, read_config
from selftrain.cli.train import parser
from selftrain.exporting import FORMATS
from selftrain.front import building
from selftrain.front.naming import spec_of


def parsed(*words):
    return parse(parser(), words, {"strategy": "freematch"})


def name_of(settings):
    return settings["strategy"]["class_path"].rpartition(".")[2]


def told(capsys, *words):
    """Exit code and what a command says on standard error."""
    code = cli.main(list(words))
    return code, capsys.readouterr().err


def test_help_does_without_torch():
    script = (
        "import sys\nfrom selftrain.cli.main import main\ncode = main(['--help'])\n"
        "print([m for m in ('torch', 'numpy', 'jsonargparse', 'sklearn') if m in sys.modules], code)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[] 0"
    for word in (*cli.COMMANDS, "exit codes", "143"):
        assert word in done.stdout


def test_public_names_are_loaded_when_asked_for():
    for name in st.__all__:
        assert getattr(st, name) is not None
    assert set(st.__all__) <= set(dir(st))
    script = "import selftrain.learner, selftrain as st; assert callable(st.learner); assert st.select.above(0.9)"
    subprocess.run([sys.executable, "-c", script], check=True)
    with pytest.raises(AttributeError, match="no attribute 'fitt'"):
        st.fitt  # noqa: B018


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_every_command_has_a_help_with_defaults(command, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main([command, "--help"])
    text = capsys.readouterr().out
    assert end.value.code == 0
    assert "exit codes:" in text
    assert "--config FILE" in text
    assert not re.search(r"\\x|default:\s+(?:True|False|None)\b", text)  # what is no text, and no YAML
    assert text.count("default:") > 3


def test_the_settings_of_what_is_chosen_are_options(capsys):
    with pytest.raises(SystemExit):
        cli.main(["train", "--strategy.help", "fst_d"])
    text = " ".join(capsys.readouterr().out.split())
    assert "--strategy.depth" in text
    assert "type: a whole number, default: 3" in text  # that of the name, not of the class
    assert "--strategy.make_learner" not in text
    with pytest.raises(SystemExit):
        cli.main(["train", "--data.help", "digits"])
    text = capsys.readouterr().out
    assert "--data.root" in text
    assert "--data.on_error" not in text
    assert "--data.name" not in text  # that is what --data says
    with pytest.raises(SystemExit):
        cli.main(["train", "--strategy.select.help=flex"])
    text = capsys.readouterr().out
    assert "--strategy.select.threshold" in text
    assert "groups" not in text.replace("groups that", "").replace("of groups", "")  # the problem says how many
    with pytest.raises(SystemExit):
        cli.main(["train", "--help"])
    assert "temporal_ensembling" in capsys.readouterr().out


def test_no_option_lacks_words_and_a_command_line_speaks_of_null(capsys):
    with pytest.raises(SystemExit):
        cli.main(["train", "--help"])
    assert "--data.size" not in capsys.readouterr().out
    with pytest.raises(SystemExit):
        cli.main(["train", "--data", "digits", "--help"])  # the settings of these data, and of no others
    text = capsys.readouterr().out
    assert "--data.root" in text
    assert "--data.on_error" not in text
    bad = [[command, "--help"] for command in cli.COMMANDS]
    bad += [["train", f"--{kind}.help", name] for kind in ("mix", "views", "select") for name in NAMES[kind]]
    wordless = []
    for words in bad:
        with pytest.raises(SystemExit):
            cli.main(words)
        text = capsys.readouterr().out
        wordless += [f"{words}: None"] * ("None" in text)
        for option in re.split(r"\n(?=  -)", text)[1:]:
            said = re.sub(r"\(type:.*", "", " ".join(option.partition("\n\n")[0].split()))
            names = r"^(--?[\w.+]+,? ?(\{\S*\}|\[\S*\]|(FILE|RUN|[A-Z_0-9]+)\b|),? ?(\[FILE \.\.\.\])?)+"
            said = re.sub(names, "", said)
            wordless += [f"{words}: {option.strip()[:40]}"] * (not said.strip())
    assert wordless == []


def test_dashes_switches_and_short_names():
    settings, given = parsed(
        "--strategy", "fst_d", "--strategy.depth=2", "--init-from", "x", "--resume", "--data", "digits"
    )
    assert name_of(settings) == "FutureSelfTraining"
    assert given["strategy"]["init_args"] == {"depth": 2}
    assert (settings["init_from"], settings["resume"], settings["overwrite"]) == ("x", True, False)
    assert settings["data"]["init_args"]["name"] == "digits"
    assert settings["training"]["lr"] == st.Training().lr


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("c.yaml", "strategy: {name: fst_d, depth: 2}\nplan:\n  labeled: 8\nlabels: [a.csv, b.csv]\ninit-from: x\n"),
        ("c.json", '{"strategy": {"name": "fst_d", "depth": 2}, "plan": {"labeled": 8}, "labels": ["a.csv", "b.csv"]}'),
        pytest.param(
            "c.toml",
            'labels = ["a.csv", "b.csv"]\n[strategy]\nname = "fst_d"\ndepth = 2\n[plan]\nlabeled = 8\n',
            marks=pytest.mark.skipif(sys.version_info < (3, 11), reason="tomllib"),
        ),
    ],
)
def test_config_files(name, text, tmp_path):
    path = tmp_path / name
    path.write_text(text)
    settings, given = parsed("--plan.labeled", "4", "--config", str(path))  # the command line wins, wherever it stands
    assert name_of(given) == "FutureSelfTraining"
    assert given["strategy"]["init_args"] == {"depth": 2}
    assert settings["plan"]["labeled"] == 4
    assert settings["labels"] == ["a.csv", "b.csv"]


def test_later_files_win_and_a_name_alone_is_a_choice(tmp_path):
    first, second = tmp_path / "a.yaml", tmp_path / "b.yaml"
    first.write_text("strategy: fixmatch\nsteps: 5\n")
    second.write_text("strategy: mean_teacher\n")
    settings, _ = parsed("--config", str(first), "--config", str(second))
    assert (name_of(settings), settings["steps"]) == ("MeanTeacher", 5)


def test_a_setting_may_stand_before_its_choice():
    settings, _ = parsed("--strategy.depth", "2", "--strategy", "fst_d", "--training.optimizer", "torch.optim.SGD")
    assert settings["strategy"]["init_args"]["depth"] == 2
    assert building.training_of(settings["training"])["optimizer"].__name__ == "SGD"
    settings, _ = parsed("--training.optimizer", "torch.optim.SGD", "--training.optimizer.momentum", "0.5")
    assert building.training_of(settings["training"])["optimizer"].keywords["momentum"] == 0.5


def test_what_is_named_has_settings_of_its_own():
    """A rule as text, as a class, and with settings behind dots; a class by its own name; a network with settings."""
    short, _ = parsed("--strategy", "fixmatch", "--strategy.select", "above(0.9)")
    long = ["--strategy", "FixMatch", "--strategy.select", "Above", "--strategy.select.threshold", "0.9"]
    assert parsed(*long)[0]["strategy"] == short["strategy"]
    settings, _ = parsed("--training.schedule", "cosine(cycles=0.25)", "--training.schedule.warmup", "0.1")
    made = building.training_of(settings["training"])["schedule"]
    assert made == st.cosine(cycles=0.25, warmup=0.1)
    path = "selftrain.networks.vit:ViT"
    settings, _ = parsed("--network", path, "--network.size", "8", "--network.patch", "2", "--network.width", "16")
    assert settings["network"]["init_args"]["width"] == 16


def test_an_average_that_is_given_stays():
    settings, given = parsed("--strategy", "reviewer", "--strategy.decay", "0.5")
    resolved = building.resolved_strategy(settings["strategy"], given["strategy"], 50)["init_args"]
    assert resolved["decay"] == 0.5
    assert resolved["review_decay"] == 0.9  # a fifth of the stage


def test_an_epoch_is_every_unlabeled_sample():
    pile = st.data.Pile.from_arrays(np.eye(70, 4), np.where(np.arange(70) < 9, np.arange(70) % 3, -1))
    settings, _ = parsed("--epochs", "2", "--plan.labeled", "8")
    assert building.steps_of(settings, pile) == 2 * 4  # 61 in batches of 16
    with pytest.raises(UsageError, match="not both"):
        building.steps_of(settings | {"steps": 3}, pile)


@pytest.mark.parametrize(
    ("task", "y"),
    [
        ("Classification", np.arange(6) % 2),
        ("Segmentation", np.arange(180).reshape(6, 5, 6) % 2),
        ("Keypoints", np.ones((6, 2, 3), np.float32)),
    ],
)
def test_the_task_is_what_the_labels_are(task, y, tmp_path):
    np.savez(tmp_path / "d.npz", x=np.zeros((6, 1, 5, 6), np.float32), y=y)
    pile = st.data.from_arrays_file(tmp_path / "d.npz")
    problem = building.Problem.of(pile, 5)
    posed = problem.posed(pile, None).task
    assert posed["class_path"].rpartition(".")[2] == task
    assert make_part("task", posed).output_shape((1, 5, 6))[0] == 2
    for other in ("segmentation", "keypoints", "classification"):
        if other != task.lower():
            with pytest.raises(UsageError, match="leave --task out"):
                problem.posed(pile, spec_of("task", other))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--strateg", "fst"], "unknown option --strateg; did you mean --strategy?"),
        (["--strategy.dekay", "0.5"], "did you mean --strategy.decay?"),
        (["--decay", "0.5"], "did you mean --strategy.decay?"),
        (["--strategy", "fixmach"], "no strategy 'fixmach'; did you mean fixmatch?"),
        (["--strategy.decay", "abc"], "--strategy.decay is 'abc'; it must be a number or null"),
        (["--training.precision", "fp8"], "--training.precision is 'fp8'; it must be one of auto, fp32, bf16, fp16"),
        (["--steps", "1.5"], "--steps is '1.5'; it must be a whole number or null"),
        (
            ["--strategy.hard", "--overwrite", "--seed", "3"],
            "--strategy.hard needs a value; switches say true or false",
        ),
        (["word"], "unrecognized arguments: word"),
        (["--config", "nope.yaml"], "cannot read the config file nope.yaml"),
        (["--strategy", "nowhere:Name"], "cannot load 'nowhere:Name'"),
        (["--resume"], "--resume needs the run"),
        (["--device", "cuda:77"], "device 'cuda:77' cannot be used"),
        (["--steps", "5"], "no data; say --data PATH"),
    ],
)
def test_a_fault_of_usage_is_one_line_and_code_2(words, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, text = told(capsys, "train", *words)
    assert code == 2
    assert message in text
    assert len(text.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_unknown_keys_of_a_config_file_name_the_file(tmp_path, capsys):
    path = tmp_path / "c.yaml"
    path.write_text("strategy: {name: fixmatch, selekt: free}\n")
    code, text = told(capsys, "train", "--config", str(path))
    assert code == 2
    assert "c.yaml: unknown key strategy.selekt; did you mean --strategy.select?" in text
    path.write_text("- 1\n")
    with pytest.raises(UsageError, match="holds a list"):
        read_config(path)


def test_commands_and_their_names(capsys):
    assert told(capsys, "trian")[0] == 2
    assert cli.main([]) == 2
    assert cli.main(["--version"]) == 0
    assert st.__version__ in capsys.readouterr().out
    assert told(capsys, "evaluate")[1].strip().endswith("selftrain evaluate RUN [options]")
    assert told(capsys, "evaluate", "no/run") == (
        1,
        "selftrain: error: there is no run folder no/run; give that of a run, its --out\n",
    )


def test_an_error_has_a_traceback_only_for_debugging(capsys):
    assert cli.main(["check-data", "no/data"]) == 1
    assert "Traceback" not in capsys.readouterr().err
    with pytest.raises(st.DataError):
        cli.main(["check-data", "no/data", "--debug"])


def test_remedies_are_told_in_options(tmp_path, capsys):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.png").write_bytes(b"")
    code, text = told(capsys, "train", "--data", str(tmp_path), "--out", str(tmp_path / "run"))
    assert code == 1
    assert "--data.on_error skip" in text


def test_every_end_has_its_code(capsys, monkeypatch):
    """The signals themselves are tried below; messages name options for as long as a command runs."""
    seen = []

    def ends(with_what):
        def run(words):
            seen.append(errors.as_options)
            raise with_what

        monkeypatch.setattr("selftrain.cli.check_data.run", run)
        return told(capsys, "check-data", "digits")

    assert ends(KeyboardInterrupt()) == (130, "selftrain: interrupted\n")
    assert ends(Terminated()) == (143, "selftrain: terminated\n")
    assert ends(UsageError("no"))[0] == 2
    assert ends(st.DataError("no"))[0] == 1
    assert seen == [True] * 4
    assert errors.as_options is False


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_have_their_codes(number, tmp_path):
    """The process is stopped while it trains; what it leaves can be resumed."""
    words = [
        "train",
        "--data",
        "digits",
        "--steps",
        "100000",
        "--checkpoint_every",
        "2",
        "--out",
        str(tmp_path / "run"),
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "selftrain", *words],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    manifest = tmp_path / "run" / "checkpoints" / "manifest.json"
    until = time.monotonic() + 120
    while not manifest.exists() and time.monotonic() < until:
        time.sleep(0.1)
    process.send_signal(number)
    _, text = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert "go on with: selftrain train --resume --out" in text
    assert "Traceback" not in text
    assert json.loads(manifest.read_text())["checkpoints"]


@pytest.mark.one_in(3)
@pytest.mark.parametrize("name", METHODS)
def test_every_method_is_built_from_what_its_options_resolve_to(name):
    """All settings said at once give what none said gives: so a stored config is the run it was stored with."""
    task = {"class_path": "selftrain.tasks.Classification", "init_args": {"classes": 3}}
    problem = building.Problem("table", (6,), ["a", "b", "c"], 20, 50, task)
    settings, given = parsed("--strategy", name)
    whole = building.resolved_strategy(settings["strategy"], given["strategy"], problem.steps)
    short = building.resolved_strategy(spec_of("strategy", name), given["strategy"], problem.steps)
    common = settings | {"network": "mlp"}
    built = [building.build_strategy(problem, one, common) for one in (whole, short)]
    from selftrain.engine.spec import settings_of

    assert settings_of(built[0]) == settings_of(built[1])


@pytest.mark.parametrize("name", RECIPES)
def test_training_of_a_recipe_can_be_changed_in_part(name):
    import torch

    from selftrain.catalog import make_recipe
    from selftrain.networks.by_name import make_encoder

    kinds = {"tjepa": ("table", (6,)), "ecgjepa": ("series", (2, 40)), "pointjepa": ("points", (32, 3))}
    kind, shape = kinds.get(name, ("image", (1, 16, 16)))
    network = {"image": "conv" if name == "cnnjepa" else "vit"}.get(kind, "transformer")
    settings = {"window": 3} if name == "sarjepa" else {}
    made = []
    for training in (None, {"weight_decay": 0.123}):
        torch.manual_seed(0)
        encoder = make_encoder(network, kind, shape, masked=True)
        made.append(next(iter(make_recipe(name, encoder, settings, training).learners())))
    plain, changed = made
    assert changed.optimizer.param_groups[0]["weight_decay"] == 0.123
    assert changed.base_rates == plain.base_rates
    assert changed.optimizer.defaults["betas"] == plain.optimizer.defaults["betas"]
    assert [changed.schedule(t) for t in (0, 0.5)] == [plain.schedule(t) for t in (0, 0.5)]
    assert changed.max_grad_norm == plain.max_grad_norm
    for one, other in zip(plain.parameters(), changed.parameters(), strict=True):
        assert torch.equal(one, other)


def test_remedies_are_words_of_whoever_reads_them(monkeypatch):
    assert errors.setting("on_error", "skip") == 'on_error="skip"'
    assert errors.setting("size") == "size=..."
    assert errors.setting("resume", True, of="") == "resume=True"
    monkeypatch.setattr(errors, "as_options", True)
    assert errors.setting("on_error", "skip") == "--data.on_error skip"
    assert errors.setting("size") == "--data.size"
    assert errors.setting("resume", True, of="") == "--resume"


def test_a_wrong_one_of_several_values_is_named(capsys):
    code, text = told(capsys, "export", "run", "--formats", "torch", "onnxx")
    assert code == 2
    assert "--formats is 'onnxx'; it must be one of safetensors, onnx, torch" in text


def test_every_format_is_an_option(capsys):
    with pytest.raises(SystemExit):
        cli.main(["export", "--help"])
    text = capsys.readouterr().out
    assert all(name in text for name in FORMATS)
