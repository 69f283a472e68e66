"""Remedies of the messages of the commands, followed on the command line."""

import contextlib
import io
import shutil
import sys
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from remedies import Row
from torch import nn

import selftrain as st
from selftrain import strategies, toy
from selftrain.cli import main as cli
from selftrain.data import ArraySet, Pile
from selftrain.types import BatchPlan

QUICK = ("--steps", "1", "--plan.labeled", "4", "--progress", "false")
SUPERVISED = ("--strategy", "supervised", "--network", "mlp")
_draws = np.random.RandomState(0)
X, Y = _draws.normal(size=(24, 5)).astype(np.float32), np.where(np.arange(24) < 12, np.arange(24) % 2, -1)


class Refused(Exception):
    """What a command said on standard error when it refused."""


def command(*words):
    """A command that succeeds."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        code = cli.main([str(word) for word in words])
    if code:
        raise Refused(said.getvalue())


def line(*words):
    return lambda: command(*words)


@cache
def _kept():
    return tempfile.TemporaryDirectory()  # as long as this module


@cache
def home():
    """Data of each kind, a run with labels and a run without."""
    place = Path(_kept().name)
    np.savez(place / "a.npz", x=X, y=Y)
    np.savez(place / "tested.npz", x=X, y=Y, x_test=X[:12], y_test=Y[:12])
    np.savez(place / "known.npz", x=X[:12], y=Y[:12])
    np.savez(place / "few.npz", x=X, y=np.where(np.arange(24) < 2, Y, -1))
    np.savez(place / "masks.npz", x=np.zeros((6, 8, 8, 1), np.uint8), y=_draws.randint(0, 2, (6, 8, 8)))
    for name in ("cat/1", "dog/1", "cat/2", "dog/2"):
        (place / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(_draws.randint(0, 255, (8, 8)).astype(np.uint8)).save(place / f"photos/{name}.png")
    (place / "labels.csv").write_text("path,label\ncat/1.png,cat\ndog/1.png,dog\n", encoding="utf-8")
    (place / "odd.csv").write_text("file,class\ncat/1.png,cat\ndog/1.png,dog\n", encoding="utf-8")
    (place / "x.mat").write_bytes(b"1")
    return place


def data(name="a.npz"):
    return ("--data", str(home() / name))


def train(*words, name="a.npz", out="run", quick=QUICK):
    return command("train", *data(name), *SUPERVISED, *quick, "--out", out, *words)


@cache
def trained():
    """A run that tests ask."""
    train(out=home() / "trained")
    return home() / "trained"


@cache
def pretrained():
    command("pretrain", *data(), *QUICK, "--out", home() / "pretrained")
    return home() / "pretrained"


@cache
def in_python():
    """A run that was started in Python, of the arrays' file."""
    pile = st.data.from_arrays_file(home() / "a.npz")
    learner = st.learner(lambda: nn.Linear(5, 2), lr=0.1)
    st.fit(
        strategies.Supervised(st.Classification(2), learner), pile, steps=1, plan=BatchPlan(4), out=home() / "python"
    )
    return home() / "python"


def twelve():
    """Masks as large as those of ``dense``."""
    np.savez(home() / "twelve.npz", x=np.zeros((6, 12, 12, 1), np.uint8), y=np.arange(864).reshape(6, 12, 12) % 2)
    return home() / "twelve.npz"


@cache
def dense():
    """A run that gives a class for each pixel."""
    strategy = strategies.Supervised(toy.task("segmentation"), toy.learner("segmentation"))
    pile = Pile(
        ArraySet(np.zeros((4, 12, 12, 1), np.uint8), torch.zeros(4, 12, 12, dtype=torch.long)), None, classes=["0", "1"]
    )
    st.fit(strategy, pile, steps=1, plan=BatchPlan(2), out=home() / "dense")
    return home() / "dense"


def started(*words):
    """Training of the network that belongs to what it starts from."""
    command("train", *data(), "--strategy", "supervised", *QUICK, "--out", f"started-{len(words)}", *words)


def with_file(tmp, text, name="c.yaml"):
    (tmp / name).write_text(text, encoding="utf-8")
    return train("--config", tmp / name)


def compare(*words, name="tested.npz"):
    given = ("--network", "mlp", *QUICK, "--out", f"compared-{len(words)}-{name}")
    command(
        "compare", *data(name), *given, *([] if "--strategies" in words else ["--strategies", "supervised"]), *words
    )


def labeled(*words):
    command("label", trained(), *words)


def copied(folder):
    shutil.copytree(folder, "copied", dirs_exist_ok=True)
    return "copied"


def own(tmp):
    """A network of one's own, beside the working directory."""
    (tmp / "mine_for_rows.py").write_text(
        "from torch import nn\n\n\ndef net(shape, outputs):\n    return nn.Linear(*shape, outputs)\n"
    )
    with contextlib.ExitStack() as stack:
        sys.path.insert(0, str(tmp))
        stack.callback(sys.path.remove, str(tmp))
        command("train", *data(), "--strategy", "supervised", *QUICK, "--network", "mine_for_rows:net", "--out", "own")


def helped(*words):
    with contextlib.suppress(SystemExit):
        command(*words)


C = "selftrain/cli"
ROWS_OF = {
    "selftrain/front/building.py": [
        Row(
            "leave --task out",
            lambda: train("--task", "segmentation"),
            lambda: train(),
        ),
        Row(
            "brings its own network; leave --network out",
            lambda: train("--init-from", f"pretrained:{pretrained()}"),
            lambda: started("--init-from", f"pretrained:{pretrained()}"),
        ),
        Row(
            "say --init_from {}NAME",
            lambda: started("--frozen", "true"),
            lambda: started("--frozen", "true", "--init-from", f"pretrained:{pretrained()}"),
        ),
    ],
    f"{C}/check_data.py": [
        Row(
            "say which data: selftrain check-data DATA [options]",
            line("check-data"),
            lambda: command("check-data", home() / "a.npz"),
        ),
        Row(
            "the check reads one CSV file with the columns path and label",
            lambda: command("check-data", home() / "photos", "--labels", home() / "labels.csv", home() / "labels.csv"),
            lambda: command("check-data", home() / "photos", "--labels", home() / "labels.csv"),
        ),
    ],
    f"{C}/common.py": [
        Row(
            "selftrain {} --resume --out RUN",
            lambda: command("train", "--resume"),
            lambda: command("train", "--resume", "--out", copied(trained())),
        ),
        Row(
            "leave them out, or say --out",
            lambda: train("--resume", "--training.lr", "0.5", out=copied(trained())),
            lambda: train("--resume", out=copied(trained())),
            lambda: train("--training.lr", "0.5", out="new"),
        ),
    ],
    f"{C}/compare_runs.py": [
        Row(
            "those of {} are masks or joints; leave it out",
            lambda: command("compare", "--data", home() / "masks.npz", "--strategies", "knn", *QUICK, "--out", "masks"),
            lambda: command(
                "compare", "--data", home() / "masks.npz", "--strategies", "supervised", *QUICK, "--out", "m"
            ),
        ),
        Row(
            "a comparison names its runs; known are {}",
            lambda: compare("--strategies", "selftrain.strategies.FixMatch"),
            lambda: compare("--strategies", "supervised"),
        ),
        Row(
            "say --data.validation or label more",
            lambda: compare(name="few.npz"),
            lambda: compare("--data.validation", "0.25", name="a.npz"),
            lambda: compare(name="a.npz"),
        ),
    ],
    f"{C}/evaluate_run.py": [
        Row(
            "say --data with labeled data, or --part labeled",
            lambda: command("evaluate", trained()),
            lambda: command("evaluate", trained(), *data("tested.npz")),
            lambda: command("evaluate", trained(), "--part", "labeled"),
        ),
    ],
    f"{C}/folder.py": [
        Row(
            "say --out with the name of a folder",
            lambda: train(out=home() / "a.npz"),
            lambda: train(out="named"),
        ),
        Row(
            "say --out with a new folder (nothing was changed)",
            lambda: train(out=home() / "photos"),
            lambda: train(out="new"),
        ),
        Row(
            "go on with it in Python",
            lambda: command("train", "--resume", "--out", in_python()),
            lambda: st.open_run(in_python()).evaluate("labeled"),
        ),
    ],
    f"{C}/label.py": [
        Row(
            "say --overwrite, or --{} with another file",
            lambda: (labeled(), labeled()),
            lambda: labeled("--overwrite"),
            lambda: labeled("--out", "other.csv"),
            lambda: train("--label_to", "own.csv", out="and_labeled"),
        ),
        Row(
            "is for masks and joints; leave it out",
            lambda: labeled("--original", "--out", "odd.csv"),
            lambda: labeled("--out", "odd.csv"),
        ),
        Row(
            "say which to label: selftrain label RUN DATA",
            lambda: (train(name="known.npz", out="known"), command("label", "known")),
            lambda: command("label", "known", home() / "a.npz"),
        ),
    ],
    "selftrain/front/naming.py": [
        Row(
            "pass a folder of images, or a file that ends in",
            lambda: command("check-data", home() / "x.mat"),
            lambda: command("check-data", home() / "photos"),
            lambda: command("check-data", home() / "a.npz"),
        ),
        Row(
            "correct the path, or name one of {}",
            lambda: command("check-data", home() / "photo"),
            lambda: command("check-data", home() / "photos"),
            lambda: command("check-data", "digits"),
        ),
        Row(
            "write module:name",
            lambda: train("--network", "torch.nn:Liner"),
            lambda tmp: own(tmp),
        ),
    ],
    f"{C}/opened.py": [
        Row(
            "as it had no validation set; say --which last",
            lambda: command("evaluate", trained(), "--part", "labeled", "--which", "best"),
            lambda: command("evaluate", trained(), "--part", "labeled", "--which", "last"),
        ),
        Row(
            "which knows no classes; train from it first",
            lambda: command("label", pretrained()),
            lambda: (
                command(
                    "train", *data(), "--strategy", "supervised", *QUICK, "--init-from", pretrained(), "--out", "from"
                ),
                command("label", "from"),
            ),
        ),
        Row(
            "ask it in Python: selftrain.open_run({}).predict(data)",
            lambda: command("review", dense(), "--given", "--data", twelve()),
            lambda: st.open_run(dense()).predict(np.zeros((2, 12, 12), np.uint8)),
        ),
        Row(
            "say which run, first of all: selftrain {} RUN [options]",
            line("label"),
            lambda: labeled(),
        ),
    ],
    f"{C}/parser.py": [
        Row(
            "write one 'name: value' a line",
            lambda tmp: with_file(tmp, "- steps\n"),
            lambda tmp: with_file(tmp, "seed: 3\n"),
        ),
        Row("{} needs a {}", line("train", "--config"), lambda tmp: with_file(tmp, "seed: 3\n")),
        Row(
            "{} needs a name, such as {}",
            line("train", "--strategy.help"),
            lambda: helped("train", "--strategy.help", "fixmatch"),
        ),
    ],
    f"{C}/piles.py": [
        Row(
            "no data; say --data PATH, or a named set such as",
            lambda: command("train", *SUPERVISED, *QUICK, "--out", "run"),
            lambda: train(),
            lambda: command("check-data", "digits"),
        ),
        Row(
            "that is for one folder of images, and {}",
            lambda: train("--labels", home() / "labels.csv"),
            lambda: command(
                "train",
                *data("photos"),
                "--strategy",
                "supervised",
                *QUICK,
                "--labels",
                home() / "labels.csv",
                "--out",
                "p",
            ),
        ),
        Row(
            "to use only {} labels, say --data.labels {}",
            lambda: train("--labels", "4"),
            lambda: train("--data.labels", "4"),
        ),
        Row(
            "labels need path and label, reviews id and verdict",
            lambda: command("check-data", home() / "photos", "--labels", home() / "odd.csv"),
            lambda: command("check-data", home() / "photos", "--labels", home() / "labels.csv"),
        ),
    ],
    f"{C}/starts.py": [
        Row(
            "--starts has all that is started from; leave --init_from out",
            lambda: compare("--starts", "scratch", "--init-from", pretrained()),
            lambda: compare("--starts", "scratch", "--strategies", "supervised"),
        ),
        Row(
            "give each once",
            lambda: compare("--starts", "scratch", "scratch"),
            lambda: compare("--starts", "scratch", "--strategies", "supervised"),
        ),
    ],
}
