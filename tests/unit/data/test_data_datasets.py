"""Named data sets and folders. Nothing here touches the network: downloads are replaced."""

import gzip
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from selftrain.data import from_folder, load, names
from selftrain.errors import DataError

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (60, 28, 28), dtype=np.uint8)
LABELS = (np.arange(60) % 10).astype(np.uint8)


def everything(samples):
    return samples.images(np.arange(len(samples)))


# --- digits


def test_digits_hold_out_a_quarter_and_keep_few_labels():
    pile = load("digits", labels=20, seed=1)
    assert [len(part) for part in (pile.labeled, pile.unlabeled, pile.test)] == [20, 1327, 450]
    assert np.bincount(pile.labeled.annotations).tolist() == [2] * 10
    assert abs(np.bincount(pile.test.annotations) - 45).max() <= 2
    pixels = everything(pile.unlabeled)
    assert pixels.dtype == torch.uint8
    assert pixels.shape[1:] == (1, 8, 8)
    assert (int(pixels.min()), int(pixels.max())) == (0, 255)
    assert len(pile.unlabeled_truth()) == 1327
    assert pile.views.weak.flip is False
    assert "scikit-learn" in repr(pile)


def test_digits_test_set_does_not_depend_on_the_seed():
    first, second = load("digits", 20, seed=0), load("digits", 20, seed=1)
    assert torch.equal(everything(first.test), everything(second.test))
    assert set(first.labeled.ids) != set(second.labeled.ids)


def test_validation_and_overlap_reach_the_split():
    pile = load("digits", labels=40, validation=10, overlap="include")
    assert [len(part) for part in (pile.labeled, pile.validation, pile.unlabeled)] == [30, 10, 1337]


# --- files


def write_idx(path, array, packed):
    content = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape) + array.tobytes()
    if packed:
        path.with_name(path.name + ".gz").write_bytes(gzip.compress(content))
    else:
        path.write_bytes(content)


def idx_folder(folder, packed=False):
    folder.mkdir(parents=True, exist_ok=True)
    for part, rows in (("train", slice(40)), ("t10k", slice(40, 60))):
        write_idx(folder / f"{part}-images-idx3-ubyte", IMAGES[rows], packed)
        write_idx(folder / f"{part}-labels-idx1-ubyte", LABELS[rows], packed)


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize(("name", "below"), [("fashion_mnist", ""), ("mnist", ""), ("mnist", "MNIST/raw")])
def test_idx_files_in_a_folder(tmp_path, packed, name, below):
    idx_folder(tmp_path / below, packed)
    pile = load(name, labels=10, root=tmp_path)
    assert torch.equal(everything(pile.test), torch.from_numpy(IMAGES[40:, None]))
    assert pile.test.annotations.tolist() == LABELS[40:].tolist()
    assert len(pile.unlabeled) == 30
    assert pile.source == f"IDX files in {tmp_path / below}"
    assert pile.views.weak.flip == (name == "fashion_mnist")
    assert ("ankle boot" in pile.classes) == (name == "fashion_mnist")


def test_mnist_npz(tmp_path):
    np.savez(tmp_path / "mnist70k.npz", X=IMAGES, y=LABELS, test=np.arange(60) >= 45)
    pile = load("mnist", labels=10, root=tmp_path)
    assert torch.equal(everything(pile.test), torch.from_numpy(IMAGES[45:, None]))
    assert len(pile.labeled) + len(pile.unlabeled) == 45
    assert pile.source == str(tmp_path / "mnist70k.npz")


def test_cifar_npz_of_image_files(tmp_path):
    color = RANDOM.integers(0, 256, (60, 32, 32, 3), dtype=np.uint8)
    pieces = []
    for i, image in enumerate(color):
        Image.fromarray(image).save(tmp_path / f"{i}.png")
        pieces.append((tmp_path / f"{i}.png").read_bytes())
    offsets = np.cumsum([0, *map(len, pieces)])
    classes = [f"class {i}" for i in range(10)]
    np.savez(
        tmp_path / "cifar10_jpeg.npz",
        data=np.frombuffer(b"".join(pieces), np.uint8),
        offsets=offsets,
        y=LABELS,
        test=np.arange(60) >= 45,
        classes=classes,
    )
    pile = load("cifar10", labels=10, root=tmp_path)
    assert np.array_equal(everything(pile.test).permute(0, 2, 3, 1).numpy(), color[45:])
    assert list(pile.classes) == classes
    assert pile.views.weak.flip


SHAPES = {
    "cifar10": ("CIFAR10", (20, 32, 32, 3), "targets"),
    "cifar100": ("CIFAR100", (20, 32, 32, 3), "targets"),
    "svhn": ("SVHN", (20, 3, 32, 32), "labels"),
    "stl10": ("STL10", (20, 3, 96, 96), "labels"),
    "mnist": ("MNIST", (20, 28, 28), "targets"),
    "fashion_mnist": ("FashionMNIST", (20, 28, 28), "targets"),
}


@pytest.mark.parametrize("name", list(SHAPES))
def test_sets_that_torchvision_downloads(tmp_path, monkeypatch, name):
    import torchvision.datasets

    kind, shape, labels = SHAPES[name]
    asked = []

    def fake(root, download, **part):
        asked.append((root, download, part))
        y = np.arange(20) % 10
        if part == {"split": "train+unlabeled"}:
            y[10:] = -1
        y = torch.from_numpy(y) if kind == "MNIST" else y.tolist()
        data = RANDOM.integers(0, 256, shape, dtype=np.uint8)
        data = torch.from_numpy(data) if kind == "MNIST" else data
        return SimpleNamespace(data=data, classes=[str(i) for i in range(10)], **{labels: y})

    monkeypatch.setattr(torchvision.datasets, kind, fake)
    pile = load(name, labels=10, root=tmp_path)
    assert pile.source == f"torchvision {kind} in {tmp_path}"
    assert [part for _, _, part in asked] == (
        [{"split": "train"}, {"split": "test"}]
        if name == "svhn"
        else [{"split": "train+unlabeled"}, {"split": "test"}]
        if name == "stl10"
        else [{"train": True}, {"train": False}]
    )
    assert all(root == tmp_path and download for root, download, _ in asked)
    assert len(pile.unlabeled) == 10
    assert (pile.unlabeled_truth() is None) == (name == "stl10")
    assert pile.views.weak.flip == (name not in ("svhn", "mnist"))


def test_a_download_that_fails_is_explained(tmp_path, monkeypatch):
    import torchvision.datasets

    def fail(root, download, train):
        raise RuntimeError("Error downloading")

    monkeypatch.setattr(torchvision.datasets, "CIFAR10", fail)
    monkeypatch.setenv("SELFTRAIN_DATA", str(tmp_path))
    with pytest.raises(DataError, match=rf"CIFAR10 is not in {tmp_path}.*Error downloading.*root="):
        load("cifar10")


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match="no data set 'imagenet'; known are cifar10, cifar100, digits"):
        load("imagenet")
    assert len(names()) == 7


# --- folders


@pytest.fixture
def photos(tmp_path):
    """Two classes of three images, two unlabeled ones, and things to pass over."""
    root = tmp_path / "my photos"
    for i, name in enumerate(
        [
            "bee/1.png",
            "bee/2.PNG",
            "bee/deep/er/3.png",
            "ant/1.png",
            "ant/2.png",
            "ant/ü.png",
            "unlabeled/x.png",
            "y.png",
        ]
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((6 + i, 6, 3), i, np.uint8)).save(root / name, "png")
    (root / "bee" / ".hidden.png").write_bytes(b"?")
    (root / ".thumbs").mkdir()
    (root / ".thumbs" / "1.png").write_bytes(b"?")
    (root / "bee" / "notes.txt").write_text("no image")
    (root / "bee" / "loop").symlink_to(root)
    return root


def test_class_folders(photos):
    pile = from_folder(photos, size=4, test=photos)
    assert list(pile.classes) == ["ant", "bee"]
    assert list(pile.labeled.ids) == [
        "ant/1.png",
        "ant/2.png",
        "ant/ü.png",
        "bee/1.png",
        "bee/2.PNG",
        "bee/deep/er/3.png",
    ]
    assert pile.labeled.annotations.tolist() == [0, 0, 0, 1, 1, 1]
    assert list(pile.unlabeled_ids()) == ["unlabeled/x.png", "y.png"]
    assert everything(pile.labeled)[:, 0, 0, 0].tolist() == [3, 4, 5, 0, 1, 2]
    assert pile.unlabeled_truth() is None
    assert list(pile.test.ids) == list(pile.labeled.ids)
    assert pile.source == str(photos)


def test_folder_options(photos):
    pile = from_folder(photos, size=(4, 5), mode="L", labels=4, validation=2, cache=True)
    assert everything(pile.unlabeled).shape == (4, 1, 4, 5)
    assert [len(part) for part in (pile.labeled, pile.validation)] == [2, 2]
    assert sorted(pile.unlabeled_truth().tolist()) == [-1, -1, 0, 1]
    assert from_folder(photos, size=4, overlap="include").unlabeled is not None
    with pytest.raises(DataError, match="pass size="):
        from_folder(photos)


def test_a_folder_without_classes_is_all_unlabeled(tmp_path):
    for i in range(3):
        Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / f"{i}.png")
    pile = from_folder(tmp_path)
    assert pile.labeled is None
    assert len(pile.unlabeled) == 3


def write_csv(path, *lines, head="path,label"):
    path.write_text("\n".join([head, *lines]) + "\n", encoding="utf-8")
    return path


def test_a_csv_of_labels(photos, tmp_path):
    labels = write_csv(
        tmp_path / "labels.csv",
        "7,bee/1.png,insect",
        "8,y.png,other",
        "9,ant/ü.png,insect",
        "10,ant/1.png,",
        head="number,path,label",
    )
    pile = from_folder(photos, labels, size=4)
    assert list(pile.classes) == ["insect", "other"]
    assert dict(zip(pile.labeled.ids, pile.labeled.annotations.tolist(), strict=True)) == {
        "ant/ü.png": 0,
        "bee/1.png": 0,
        "y.png": 1,
    }
    assert "ant/1.png" in pile.unlabeled_ids()
    assert len(pile.unlabeled) == 5


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("../secret.png,a", r"line 3: '\.\./secret\.png' leads out of the folder"),
        ("bee/../../secret.png,a", "leads out of the folder"),
        ("/etc/passwd,a", "leads out of the folder"),
        (r"..\secret.png,a", "leads out of the folder"),
        (r"C:\secret.png,a", "leads out of the folder"),
        ("bee/9.png,a", r"line 3: there is no file .*9\.png"),
        ("bee/1.png,a", r"line 3: bee/1\.png is listed twice"),
        ("./bee//1.png,a", "listed twice"),
        (",a", "there is no file"),
    ],
)
def test_wrong_lines_of_a_csv_are_named(photos, tmp_path, line, words):
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "secret.png")
    with pytest.raises(DataError, match=words):
        from_folder(photos, write_csv(tmp_path / "labels.csv", "bee/1.png,a", line), size=4)


@pytest.mark.parametrize(("mark", "name"), [(";", "l.csv"), ("\t", "l.csv"), ("\t", "l.tsv")])
def test_lists_of_labels_are_read_as_spreadsheets_save_them(photos, tmp_path, mark, name):
    lines = [line.replace(",", mark) for line in ("bee/1.png,a", "", "ant/2.png,b")]
    other = write_csv(tmp_path / name, *lines, head=f"path{mark}label")
    one = from_folder(photos, write_csv(tmp_path / "labels.csv", "bee/1.png,a", "ant/2.png,b"), size=4)
    two = from_folder(photos, other, size=4)
    assert one.labeled.annotations.tolist() == two.labeled.annotations.tolist()
    assert one.labeled.ids == two.labeled.ids


def test_a_csv_needs_its_columns(photos, tmp_path):
    with pytest.raises(DataError, match="needs path and label"):
        from_folder(photos, write_csv(tmp_path / "labels.csv", "bee/1.png,a", head="file,label"), size=4)
    with pytest.raises(DataError, match=r"there is no file .*missing\.csv"):
        from_folder(photos, tmp_path / "missing.csv", size=4)


def test_folders_that_do_not_fit(photos, tmp_path):
    with pytest.raises(DataError, match="is no folder"):
        from_folder(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no images below"):
        from_folder(tmp_path / "empty")
    (tmp_path / "strange" / "wasp").mkdir(parents=True)
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "strange" / "wasp" / "1.png")
    with pytest.raises(DataError, match="holds class 'wasp'"):
        from_folder(photos, size=4, test=tmp_path / "strange")
