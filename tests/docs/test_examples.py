"""The scripts in examples/ run on small settings, print a result beside the supervised floor, and are listed."""

from __future__ import annotations

import gzip
import io
import re
import runpy
import subprocess
import sys

import numpy as np
import pytest
import torch
from paths import ROOT
from PIL import Image
from scipy.io import wavfile
from sklearn.datasets import load_digits

EXAMPLES = ROOT / "examples"
SHORT = {  # what each writes below --out
    "table": ["train.csv", "test.csv", "fixmatch/pseudo_labels.csv"],
    "segmentation": ["photos/000.png", "masks/003.png", "labels/masks/004.png", "fixmatch/summary.json"],
    "keypoints": ["fixmatch/summary.json"],
    "domain_adaptation": ["adapted/summary.json"],
    "series": ["mean_teacher/summary.json"],
    "text": ["fixmatch/pseudo_labels.csv"],
    "image_folder": ["photos/zero", "photos/unlabeled", "fixmatch/pseudo_labels.csv", "review.html"],
    "photographs": ["photographs/train/unlabeled", "freematch/summary.json"],
    "forest": ["pseudo_labels.csv"],
    "custom_strategy": ["two_looks/pseudo_labels.csv"],
    "generations": ["pipeline/report.json", "supervised/summary.json"],
    "pretraining": ["lejepa/export.safetensors", "lejepa/export.json"],
}
FLOOR = re.compile(r"^\W*supervised\b.*\d\d?\.\d", re.MULTILINE)


def run(name, folder, monkeypatch, *arguments):
    """Run a script in this process, as its own main module."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", [f"{name}.py", *arguments])
    with torch.random.fork_rng():
        runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")


@pytest.mark.slow
@pytest.mark.parametrize("name", SHORT)
@pytest.mark.filterwarnings("ignore::selftrain.SelfTrainingWarning")
def test_short_examples_run(name, tmp_path, monkeypatch, capsys):
    run(name, tmp_path, monkeypatch, "--fast", "--out", "results")
    printed = capsys.readouterr().out
    assert FLOOR.search(printed), printed
    assert [file for file in SHORT[name] if not (tmp_path / "results" / file).exists()] == []


@pytest.mark.slow
def test_the_estimator_example_runs(tmp_path, monkeypatch, capsys):
    run("estimator", tmp_path, monkeypatch, "--fast")
    printed = capsys.readouterr().out
    assert FLOOR.search(printed), printed
    assert re.search(r"(mean_teacher|fixmatch): \d+\.\d % on 450 test images", printed)
    assert (tmp_path / "runs" / "estimator" / "pseudo_labels.csv").exists()


def write_idx(path, array):
    """A file as MNIST's are."""
    head = bytes([0, 0, 8, array.ndim]) + b"".join(int(n).to_bytes(4, "big") for n in array.shape)
    path.write_bytes(gzip.compress(head + array.astype(np.uint8).tobytes()))


@pytest.mark.slow
def test_the_images_example_runs_in_processes(tmp_path):
    """On files like MNIST's, with the digits of scikit-learn in them."""
    digits = load_digits()
    large = np.kron(digits.images * 255 / 16, np.ones((1, 3, 3)))[:, :, :]
    padded = np.pad(large, ((0, 0), (2, 2), (2, 2)))
    for part, rows in (("train", slice(0, 400)), ("t10k", slice(400, 480))):
        write_idx(tmp_path / f"{part}-images-idx3-ubyte.gz", padded[rows])
        write_idx(tmp_path / f"{part}-labels-idx1-ubyte.gz", digits.target[rows])
    settings = ["--dataset", "mnist", "--data", ".", "--seeds", "1", "--steps", "2", "--processes", "1", "--out", "out"]
    command = [sys.executable, str(EXAMPLES / "images.py"), *settings]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(re.findall(r"^mnist +(supervised|mean_teacher|fixmatch|fst_d|soft_labels) ", done.stdout, re.M)) == 5


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::selftrain.SelfTrainingWarning")
def test_the_example_of_pictures_and_a_foundation_model_runs(tmp_path, monkeypatch, capsys):
    """On drawn weights under other names, and drawn pictures."""
    timm = pytest.importorskip("timm")
    state = timm.create_model("tf_efficientnet_lite0").state_dict()
    torch.save({f"_{i}.{name.rpartition('.')[2]}": v for i, (name, v) in enumerate(state.items())}, tmp_path / "w.pth")
    files = [io.BytesIO() for _ in range(120)]
    for i, file in enumerate(files):
        Image.fromarray(np.random.RandomState(i).randint(0, 255, (32, 32, 3), np.uint8)).save(file, "jpeg")
    raw = [np.frombuffer(file.getvalue(), np.uint8) for file in files]
    y, names = np.arange(120) % 10, np.array([f"class {i}" for i in range(10)])
    ends = np.cumsum([0, *map(len, raw)])
    held = np.arange(120) >= 80
    np.savez(tmp_path / "cifar10_jpeg.npz", data=np.concatenate(raw), offsets=ends, y=y, test=held, classes=names)
    settings = ["--weights", "w.pth", "--data", ".", "--fast", "--out", "results"]
    run("foundation_images", tmp_path, monkeypatch, *settings)
    printed = capsys.readouterr().out
    assert FLOOR.search(printed), printed
    assert list((tmp_path / "results" / "features").glob("*.npy"))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::selftrain.SelfTrainingWarning")
def test_the_example_of_texts_and_a_language_model_runs(tmp_path, monkeypatch, capsys):
    """On a model of drawn weights and few words."""
    transformers = pytest.importorskip("transformers")
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "return", "the", "a", "mail", "test", "log"]
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "vocab.txt").write_text("\n".join(words))
    transformers.BertTokenizer(str(tmp_path / "m" / "vocab.txt")).save_pretrained(tmp_path / "m")
    transformers.BertModel(transformers.BertConfig(**small, vocab_size=len(words))).save_pretrained(tmp_path / "m")
    run("foundation_text", tmp_path, monkeypatch, "--model", "m", "--fast", "--out", "results")
    printed = capsys.readouterr().out
    assert FLOOR.search(printed), printed


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::selftrain.SelfTrainingWarning")
def test_the_example_of_sound_and_a_speech_network_runs(tmp_path, monkeypatch, capsys):
    """On drawn weights, and noise of two pitches as two languages."""
    pytest.importorskip("transformers")
    lstm, linear = torch.nn.LSTM(40, 256, 3), torch.nn.Linear(256, 256)
    state = {f"lstm.{name}": value for name, value in lstm.state_dict().items()}
    state |= {f"linear.{name}": value for name, value in linear.state_dict().items()}
    torch.save({"model_state": state | {"similarity_bias": torch.zeros(1)}}, tmp_path / "w.pt")
    for language, width in (("low", 9), ("high", 1)):
        (tmp_path / "sounds" / language / "digits").mkdir(parents=True)
        for prompt in range(16):
            noise = np.random.RandomState(prompt).normal(0, 3000, 3000)
            samples = np.convolve(noise, np.ones(width), "same").astype(np.int16)
            wavfile.write(tmp_path / "sounds" / language / "digits" / f"{prompt}.wav", 8000, samples)
    run("foundation_sound", tmp_path, monkeypatch, "--weights", "w.pt", "--sounds", "sounds", "--fast", "--out", "out")
    printed = capsys.readouterr().out
    assert FLOOR.search(printed), printed
    assert re.search(r"^portfolio +\d", printed, re.M)
    assert len(list((tmp_path / "out" / "features").glob("*.npy"))) == 2  # of the pile and of the test set
    stray = tmp_path / "sounds" / "low" / "stray.wav"
    wavfile.write(stray, 16000, np.zeros(9000, np.int16))
    with pytest.raises(SystemExit, match=r"stray\.wav has 16000 samples a second"):
        run("foundation_sound", tmp_path, monkeypatch, "--weights", "w.pt", "--sounds", "sounds", "--fast")
    stray.unlink()


def test_every_example_is_listed_and_says_how_to_run_it():
    listed = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    for path in EXAMPLES.glob("*.py"):
        if path.name != "common.py":
            assert f"| [{path.name}]({path.name})" in listed
            assert f"python examples/{path.name} " in path.read_text(encoding="utf-8").partition('"""\n\n')[0]
    other = {"quickstart", "images", "estimator", "foundation_images", "foundation_text", "foundation_sound", "common"}
    assert set(SHORT) | other == {path.stem for path in EXAMPLES.glob("*.py")}
