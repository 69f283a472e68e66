"""Three first hours, typed anew: photographs in folders, a table with names and gaps, and a notebook.

python benchmarks/transcripts.py --photographs DIR --keel DIR --work DIR [--only photographs table notebook] [--write]

Makes a new environment in ``--work`` (``python -m venv``, ``pip install`` of this checkout, for the notebook ``pip
install nbclient ipykernel``), and in folders beside it what a new user has and types: each command is a process of its
own that sees that environment and no path of this one. ``--photographs`` is the folder of crops that
benchmarks/photographs.py writes (``nature`` and ``wallpapers`` in it), ``--keel`` holds ``crx.dat``. Eight labels a
class of the photographs, 20 of the table, three of the digits, drawn once with seed 0; nothing was tried on others.
What comes out, accuracies on new rows and the time and size of the installation are kept in
benchmarks/results/transcripts.json and put into docs/transcripts.md by ``--write``. The last command of each part asks
for new raw data in a new process; what takes a second (logistic regression on colors, columns, pixels) learns from the
same labels.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tables import replace

ROOT = Path(__file__).resolve().parent.parent
RESULT = Path(__file__).parent / "results" / "transcripts.json"
PAGE = ROOT / "docs" / "transcripts.md"
HEAD = "sex age debt marital bank job origin years owner employed score license citizen zip income"
WIDTH = 124  # of a line of the page

TRAIN = """
import selftrain as st
from selftrain import data

pile = data.from_folder("photos", size=96)
print(st.fit("auto", pile, out="runs/photos"))
"""
NETWORK = """
import selftrain as st
from selftrain import data

pile = data.from_folder("photos", size=96)
print(st.fit("fixmatch", pile, steps=60, baseline=True, out="runs/network"))
"""
PREDICT = """
import sys
from pathlib import Path

import selftrain as st

files = sorted(Path("new").glob("*/*.png"))
truth = [file.parent.name for file in files]
for folder in sys.argv[1:]:
    print(folder, (st.open_run(folder).predict(files) == truth).mean())
"""
# what takes a second is no part of the transcript
COLORS = """
from pathlib import Path
import numpy as np
from PIL import Image
from sklearn.linear_model import LogisticRegression

def histogram(file):
    pixels = np.asarray(Image.open(file).convert("RGB").resize((96, 96))).reshape(-1, 3) // 32
    return np.sqrt(np.bincount(pixels @ [64, 8, 1], minlength=512) / len(pixels))

known = [file for file in sorted(Path("photos").glob("*/*.png")) if file.parent.name != "unlabeled"]
asked = sorted(Path("new").glob("*/*.png"))
model = LogisticRegression(C=10.0, max_iter=500).fit([histogram(f) for f in known], [f.parent.name for f in known])
print(model.score([histogram(f) for f in asked], [f.parent.name for f in asked]))
"""
TABLE = """
import selftrain as st
from selftrain import data

pile = data.from_table("credit.csv", "decision", id="id")
print(st.fit("auto", pile, out="runs/credit"))
"""
TABLE_NETWORK = """
import selftrain as st
from selftrain import data

pile = data.from_table("credit.csv", "decision", id="id", test="truth.csv")
print(st.fit("fixmatch", pile, baseline=True, out="runs/network"))
"""
TABLE_PREDICT = """
import csv

import selftrain as st

with open("truth.csv") as file:
    truth = [row["decision"] for row in csv.DictReader(file)]
print((st.open_run("runs/credit").predict("new.csv") == truth).mean())
"""
COLUMNS = """
import csv
import numpy as np
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

numbers = "age debt years score zip income".split()
names = "sex marital bank job origin owner employed license citizen".split()
def read(path):
    with open(path) as file:
        rows = [row for row in csv.DictReader(file) if row["decision"]]
    cells = [[float(row[n]) if row[n] else np.nan for n in numbers] + [row[n] for n in names] for row in rows]
    return np.array(cells, object), [row["decision"] for row in rows]
first, last = slice(0, len(numbers)), slice(len(numbers), None)
columns = make_column_transformer((make_pipeline(SimpleImputer(), StandardScaler()), first),
                                  (OneHotEncoder(handle_unknown="ignore"), last))
print(make_pipeline(columns, LogisticRegression(max_iter=1000)).fit(*read("credit.csv")).score(*read("truth.csv")))
"""
CELLS = (
    """
from sklearn.datasets import load_digits
import selftrain as st
from selftrain import data
x, y = load_digits().images[:1500], load_digits().target[:1500].copy()
y[30:] = -1
pile = data.Pile.from_arrays(x, y)
""",
    """
pile = data.Pile.from_arrays(x, y, limits=(0, 16))
pile
""",
    """
run = st.fit("fixmatch", pile, pretrain="mae", baseline=True, out="runs/digits")
run
""",
    "run.ledger.summary()",
)
NEW_CELLS = (
    """
from sklearn.datasets import load_digits
import selftrain as st
x_new, y_new = load_digits().images[1500:], load_digits().target[1500:]
answers = st.open_run("runs/digits").predict(x_new)
answers[:5], (answers.astype(int) == y_new).mean()
""",
    '(st.open_run("runs/digits/baseline").predict(x_new).astype(int) == y_new).mean()',
)
PIXELS = """
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
x, y = load_digits(return_X_y=True)
print(LogisticRegression(max_iter=5000).fit(x[:30], y[:30]).score(x[1500:], y[1500:]))
"""
# runs cells as Jupyter does, and prints what each would show as text
EXECUTE = """
import json, sys
import nbformat
from nbclient import NotebookClient

cells = [nbformat.v4.new_code_cell(text) for text in json.load(sys.stdin)]
notebook = nbformat.v4.new_notebook(cells=cells)
NotebookClient(notebook, timeout=3600, allow_errors=True).execute()
found = []
for cell in notebook.cells:
    shown = [out for out in cell.outputs if out.output_type in ("execute_result", "error")]
    found.append("\\n".join(o.data["text/plain"] if "data" in o else f"{o.ename}: {o.evalue}" for o in shown))
print(json.dumps(found))
"""


class Session:
    """A person at a prompt: an environment, a folder, and what was typed and came out."""

    def __init__(self, environment: Path, folder: Path) -> None:
        self.environment, self.folder, self.lines = environment, folder, list[str]()

    def call(self, command: Sequence[str], *, given: str = "") -> str:
        """Output of a process that sees the new environment alone; errors are output, too."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        kept["PATH"] = f"{self.environment / 'bin'}{os.pathsep}{kept['PATH']}"
        done = subprocess.run(
            command, cwd=self.folder, env=kept, input=given, text=True, capture_output=True, check=False
        )
        return done.stdout + (done.stderr if done.returncode else "")

    def type(self, command: str, *keep: str) -> str:
        """Call it, and note lines that match one of ``keep``."""
        found = self.call(command.split())
        self.note(f"$ {command}")
        self.note(*shown(found, keep))
        return found

    def write(self, name: str, text: str) -> None:
        """A file, shown as it is."""
        (self.folder / name).write_text(text.lstrip(), encoding="utf-8")
        self.note(f"$ cat {name}", *text.strip().splitlines())

    def note(self, *lines: str) -> None:
        """What stands on the page."""
        self.lines += lines

    def cells(self, texts: Sequence[str]) -> list[str]:
        """Run cells of one notebook, and note them with what they show."""
        texts = [text.strip() for text in texts]
        found: list[str] = json.loads(self.call(["python", "-c", EXECUTE], given=json.dumps(texts)).splitlines()[-1])
        for number, (text, answer) in enumerate(zip(texts, found, strict=True), 1):
            first, *others = text.splitlines()
            self.note(f"In [{number}]: {first}", *(f"   ...: {line}" for line in others))
            if answer:
                head, *rest = shown(answer, [""])
                self.note(
                    f"{'' if 'Error' in head else f'Out[{number}]: '}{head}", *(f"        {line}" for line in rest)
                )
        return found


def shown(text: str, keep: Sequence[str]) -> list[str]:
    """Lines that match, cut to the page; ``...`` stands for others."""
    lines: list[str] = []
    for line in text.rstrip().splitlines():
        line = line.rstrip()
        if any(re.search(pattern, line) for pattern in keep):
            lines.append(line if len(line) <= WIDTH else f"{line[: WIDTH - 4]} ...")
        elif lines[-1:] != ["..."]:
            lines.append("...")
    return lines


def share(text: str) -> float:
    """The last number of an output."""
    return float(re.findall(r"[01]\.\d+", text)[-1])


def environment(work: Path) -> tuple[Path, dict[str, float]]:
    """A new environment with this checkout in it; seconds and size."""
    home, begun = work / "environment", time.perf_counter()
    subprocess.run([sys.executable, "-m", "venv", home], check=True)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    pip = [home / "bin" / "python", "-m", "pip", "install", "-q"]
    subprocess.run([*pip, ROOT], env=kept, check=True)
    seconds = time.perf_counter() - begun
    size = sum(file.stat().st_size for file in home.rglob("*") if file.is_file() and not file.is_symlink())
    subprocess.run([*pip, "nbclient", "ipykernel"], env=kept, check=True)
    return home, {"seconds": seconds, "gigabytes": size / 1e9}


def folders(source: Path, out: Path) -> None:
    """Photographs with eight labels a class, the others beside them, and new ones."""
    draw, left = np.random.RandomState(0), list[Path]()
    for kind in sorted(place.name for place in (source / "train").iterdir()):
        files = sorted((source / "train" / kind).glob("*.png"))
        files = [files[i] for i in draw.permutation(len(files))]
        (out / "photos" / kind).mkdir(parents=True)
        for file in files[:8]:
            shutil.copy(file, out / "photos" / kind)
        left += files[8:]
        shutil.copytree(source / "test" / kind, out / "new" / kind)
    (out / "photos" / "unlabeled").mkdir()
    for number, file in enumerate(left):
        shutil.copy(file, out / "photos" / "unlabeled" / f"{number:03d}.png")


def photographs(session: Session, source: Path, *, network: bool) -> dict[str, float]:
    """Folders of photographs with 56 labels."""
    folders(source, session.folder)
    session.type("selftrain check-data photos --data.size 96", "samples read", "labeled  ", "unlabeled  ")
    session.write("train.py", TRAIN)
    session.type("python train.py", "^strategy", "^labels alone", "^blend", "^pile", "^alarms", "^next")
    session.type("selftrain predict runs/photos new", "^Blinds/000", "^BytheWater/000", "all:")
    session.write("predict.py", PREDICT)
    found = {"auto": share(session.type("python predict.py runs/photos", ""))}
    found["colors"] = share(session.call(["python", "-c", COLORS]))
    if network:
        session.write("network.py", NETWORK)
        lines = "^strategy", "^rival", "^out of fold", "^agreement", "^pile", "^alarms"
        session.type("python network.py", *lines)
        said = session.type("python predict.py runs/network runs/network/baseline", "")
        found["network"], found["alone"] = (share(line) for line in said.splitlines()[-2:])
    return found


def credit(source: Path, out: Path) -> None:
    """Approvals of credit with names, a date that is made up and a twelfth of the cells taken out; 200 rows are new."""
    names = HEAD.split()
    words = {"a": "female", "b": "male", "t": "yes", "f": "no"}
    rows = [line.split(",") for line in source.read_text(encoding="utf-8").split("\n") if line and line[0] != "@"]
    draw = np.random.RandomState(0)
    rows = [[cell.strip() for cell in rows[i]] for i in draw.permutation(len(rows))]
    days = [f"{draw.randint(1, 29):02d}.{draw.randint(1, 13):02d}.{draw.randint(2023, 2025)}" for _ in rows]
    labels = [{"positive": "granted", "negative": "refused"}[row[-1]] for row in rows]
    held = {kind: 0 for kind in ("granted", "refused")}
    written: dict[str, list[str]] = {"credit.csv": [], "new.csv": [], "truth.csv": []}
    for number, (row, day, label) in enumerate(zip(rows, days, labels, strict=True)):
        spelled = {"sex", "owner", "employed", "license"}
        cells = [words[cell] if name in spelled else cell for name, cell in zip(names, row, strict=False)]
        text = ",".join([f"c{number:04d}", *("" if draw.rand() < 1 / 12 else cell for cell in [*cells, day])])
        if number >= len(rows) - 200:
            written["new.csv"].append(text)
            written["truth.csv"].append(f"{text},{label}")
        else:
            held[label] += 1
            written["credit.csv"].append(f"{text},{label if held[label] <= 20 else ''}")
    for name, lines in written.items():
        head = ",".join(["id", *names, "applied", *(["decision"] if name != "new.csv" else [])])
        (out / name).write_text("\n".join([head, *lines]) + "\n", encoding="utf-8")


def table(session: Session, source: Path) -> dict[str, float]:
    """A table with names, categories, a date and gaps."""
    credit(source, session.folder)
    session.type("head -3 credit.csv", "")
    check = "selftrain check-data credit.csv --data.label decision"
    said = [line for line in session.call(check.split()).splitlines() if line.strip()]
    session.note(
        f"$ {check}", *(part for line in said for part in textwrap.wrap(line, WIDTH, subsequent_indent="    "))
    )
    session.type(f"{check} --data.id id", "labeled  ", "unlabeled  ", "numbers", "categories", "date")
    session.write("train.py", TABLE)
    session.type("python train.py", "^strategy", "^labels alone", "^blend", "^pile", "^alarms", "^next")
    session.type("selftrain predict runs/credit new.csv", "^c0453", "all:")
    session.write("predict.py", TABLE_PREDICT)
    found = {"auto": share(session.type("python predict.py", ""))}
    found["columns"] = share(session.call(["python", "-c", COLUMNS]))
    session.write("network.py", TABLE_NETWORK)
    said = session.type(
        "python network.py", "^strategy", "^labels alone", "^self-trained", "^rival", "^out of fold", "^alarms"
    )
    percents = re.findall(r"test accuracy ([\d.]+) %", said)
    return found | {"alone": float(percents[0]) / 100, "network": float(percents[1]) / 100}


def notebook(session: Session) -> dict[str, float]:
    """Digits of scikit-learn, cell by cell."""
    session.cells(CELLS)
    session.note("", "(another notebook, another day)")
    *_, first, second = session.cells(NEW_CELLS)
    found = {"network": share(first), "alone": share(second)}
    return found | {"pixels": share(session.call(["python", "-c", PIXELS]))}


def summary(rows: dict[str, Any]) -> str:
    """Accuracy on new rows beside what takes a second."""
    lines = [
        "| data | labels | what takes a second | `auto` | FixMatch | its labels alone |",
        "|---|---|---|---|---|---|",
    ]
    named = (
        ("nature", "photographs, `nature`", 56, "colors"),
        ("wallpapers", "photographs, `wallpapers`", 56, "colors"),
        ("table", "table with names and gaps", 40, "columns"),
        ("notebook", "digits in a notebook", 30, "pixels"),
    )
    for name, title, labels, simple in named:
        found = rows[name]["found"]
        cells = [f"{100 * found[key]:.1f}" if key in found else "" for key in (simple, "auto", "network", "alone")]
        lines.append(f"| {title} | {labels} | {' | '.join(cells)} |")
    size = rows["environment"]["found"]
    lines += [
        "",
        f"`pip install` into the new environment took {size['seconds'] / 60:.0f} minutes beside other programs and ",
    ]
    lines[-1] += f"{size['gigabytes']:.1f} GB."
    return "\n".join(lines)


def written(page: str, rows: dict[str, Any]) -> str:
    """The page with what is stored."""
    page = replace(page, "figures of the transcripts", summary(rows))
    for name in ("nature", "wallpapers", "table", "notebook"):
        page = replace(page, f"transcript {name}", "\n".join(["```", *rows[name]["lines"], "```"]))
    return page


def main() -> None:
    """Type what is missing, or put what is stored onto the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photographs", type=Path)
    parser.add_argument("--keel", type=Path)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--only", nargs="*", default=["nature", "wallpapers", "table", "notebook"])
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    rows: dict[str, Any] = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.exists() else {}
    if options.write:
        PAGE.write_text(written(PAGE.read_text(encoding="utf-8"), rows), encoding="utf-8")
        return
    home = options.work / "environment"
    if not home.is_dir():
        options.work.mkdir(parents=True, exist_ok=True)
        home, found = environment(options.work.resolve())
        rows["environment"] = {"found": found}
    for name in options.only:
        folder = options.work.resolve() / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        session = Session(home.resolve(), folder)
        if name in ("nature", "wallpapers"):
            figures = photographs(session, options.photographs / name, network=name == "nature")
        else:
            figures = table(session, options.keel / "crx.dat") if name == "table" else notebook(session)
        rows[name] = {"found": figures, "lines": session.lines}
        print(name, figures, flush=True)
        RESULT.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
