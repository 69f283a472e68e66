"""Data sets of other libraries: Hugging Face's interface by a stand-in, torch's own classes, and the real package."""

import io
import random
import warnings

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from torch.utils.data import Dataset, IterableDataset, Subset, TensorDataset

import selftrain as st
from selftrain.data import DatasetSet, SeriesViews, TableViews, TensorViews, check, from_dataset
from selftrain.data.readers.wrapped import labels_of
from selftrain.errors import DataError
from selftrain.types import BatchPlan, Needs

RANDOM = np.random.default_rng(0)
PIXELS = RANDOM.integers(0, 256, (12, 10, 8, 3), dtype=np.uint8)


def picture(i, mode="RGB"):
    return Image.fromarray(PIXELS[i]).convert(mode)


class ClassLabel:
    """Stand-in of the feature that knows names."""

    def __init__(self, names):
        self.names = names


class Table:
    """Stand-in of ``datasets.Dataset``: rows are mappings, a text gives a column, a list of rows a mapping of lists."""

    def __init__(self, columns, features=None):
        self.columns = columns
        self.features = features or {}
        self.decoded = []

    @property
    def column_names(self):
        return list(self.columns)

    def __len__(self):
        return len(next(iter(self.columns.values())))

    def __getitem__(self, key):
        if isinstance(key, str):
            return self.columns[key]
        self.decoded.append(key)
        return {name: cells[key] for name, cells in self.columns.items()}

    def __getitems__(self, keys):
        return [self[key] for key in keys]


class Pairs(Dataset):
    """A plain torch data set."""

    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        return self.items[index]


def pictures(n, start=0, labels=None, names=("ant", "bee")):
    columns = {"image": [picture(start + i) for i in range(n)]}
    if labels is not None:
        columns["label"] = list(labels)
    return Table(columns, {"label": ClassLabel(list(names))})


def everything(samples):
    return samples.images(np.arange(len(samples)))


# --- Hugging Face


def test_columns_names_and_splits():
    splits = {
        "train": pictures(6, labels=[0, 1, -1, 0, None, 1]),
        "unsupervised": pictures(2, 6, labels=[-1, -1]),
        "validation": pictures(2, 8, labels=[0, 1]),
        "test": pictures(2, 10, labels=[1, 0]),
    }
    pile = from_dataset(splits)
    assert list(pile.classes) == ["ant", "bee"]
    assert pile.labeled.annotations.tolist() == [0, 1, 0, 1]
    assert list(pile.unlabeled_ids()) == ["2", "4", "unlabeled/0", "unlabeled/1"]
    assert [len(part) for part in (pile.validation, pile.test)] == [2, 2]
    expected = torch.from_numpy(PIXELS[[2, 4, 6, 7]]).permute(0, 3, 1, 2)
    assert torch.equal(everything(pile.unlabeled), expected)
    assert pile.source == "Table (labeled) + Table (test) + Table (unlabeled) + Table (validation)"


def test_labels_are_read_without_decoding_a_picture():
    table = pictures(6, labels=[0, 1, 0, 1, 0, 1])
    assert labels_of(table) == [0, 1, 0, 1, 0, 1]
    assert not table.decoded


def test_names_as_labels_and_other_columns():
    table = Table({"photo": [picture(i) for i in range(4)], "kind": ["bee", "ant", "", None]})
    pile = from_dataset(table, column="photo", label="kind", mode="L", size=(6, 4))
    assert list(pile.classes) == ["ant", "bee"]
    assert pile.labeled.annotations.tolist() == [1, 0]
    assert everything(pile.unlabeled).shape == (2, 1, 6, 4)


def test_numbers_and_series_in_columns():
    rows = Table({"x": RANDOM.normal(size=(5, 4)).tolist(), "y": [0, 1, 0, 1, -1]})
    assert isinstance(from_dataset(rows).views, TableViews)
    series = Table({"series": RANDOM.normal(size=(5, 2, 30)).tolist(), "y": [0, 1, 0, 1, -1]})
    pile = from_dataset(series, kind="series")
    assert isinstance(pile.views, SeriesViews)
    assert everything(pile.labeled).shape == (4, 2, 30)


def test_the_real_package_if_it_is_there():
    datasets = pytest.importorskip("datasets")
    pngs = []
    for i in range(6):
        file = io.BytesIO()
        picture(i).save(file, "PNG")
        pngs.append({"bytes": file.getvalue(), "path": None})
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["ant", "bee"])})
    real = datasets.Dataset.from_dict({"image": pngs, "label": [0, 1, 0, 1, 0, 1]}, features=features)
    pile = from_dataset(datasets.DatasetDict({"train": real}), validation=2)
    assert list(pile.classes) == ["ant", "bee"]
    assert len(pile.labeled) == 4
    assert torch.equal(everything(DatasetSet(real)), torch.from_numpy(PIXELS[:6]).permute(0, 3, 1, 2))


# --- torch


def test_pairs_images_alone_and_tensors():
    x = torch.from_numpy(PIXELS).permute(0, 3, 1, 2).float() / 255
    labeled, unlabeled = Pairs([(x[i], i % 2) for i in range(4)]), Pairs(list(x[4:8]))
    pile = from_dataset(labeled, unlabeled, TensorDataset(x[8:], torch.tensor([0, 1, 0, 1])))
    assert list(pile.classes) == ["0", "1"]
    assert torch.equal(everything(pile.labeled), x[:4])
    assert torch.equal(everything(pile.unlabeled), x[4:8])
    assert pile.test.annotations.tolist() == [0, 1, 0, 1]
    assert len(from_dataset(TensorDataset(x[:4], torch.tensor([0, 1, 0, 1])), TensorDataset(x)).unlabeled) == 12
    assert from_dataset(None, unlabeled).labeled is None


class Known(Pairs):
    """Like torchvision's sets: labels and names are attributes."""

    classes = ["ant", "bee"]

    def __init__(self, items):
        super().__init__(items)
        self.targets = [y for _, y in items]
        self.read = 0

    def __getitem__(self, index):
        self.read += 1
        return super().__getitem__(index)


def test_labels_and_names_of_torchvision_also_below_subsets():
    known = Known([(picture(i), i % 2) for i in range(8)])
    assert labels_of(Subset(known, [1, 2])) == [1, 0]
    assert not known.read
    pile = from_dataset(Subset(Subset(known, [7, 5, 3, 1, 0]), [0, 4]), Subset(known, [2, 4, 6]))
    assert list(pile.classes) == ["ant", "bee"]
    assert pile.labeled.annotations.tolist() == [1, 0]
    assert torch.equal(everything(pile.labeled), torch.from_numpy(PIXELS[[7, 0]]).permute(0, 3, 1, 2))


def test_a_target_transform_is_obeyed():
    known = Known([(picture(i), i % 2) for i in range(4)])
    known.target_transform = lambda y: 1 - y
    known.items = [(x, 1 - y) for x, y in known.items]
    assert from_dataset(known).labeled.annotations.tolist() == [1, 0, 1, 0]


@pytest.mark.parametrize("workers", [0, 2])
def test_loader_processes_read_the_same(workers):
    pile = from_dataset(Pairs([(picture(i), i % 2) for i in range(4)]), Pairs([picture(i) for i in range(4, 12)]))
    plan = BatchPlan(2, 2.0, seed=1, workers=workers)
    needs = Needs(views=("weak",), encode=st.Classification(2).encode)
    batches = [batch for (batch,) in pile.stream(needs, plan, torch.device("cpu")).epoch(0)]
    assert len(batches) == 2
    rows = torch.cat([batch.unlabeled.index for batch in batches])
    assert sorted(rows.tolist()) == list(range(8))


# --- what cannot be used


def test_random_transforms_are_noticed():
    class Noisy(Pairs):
        def __getitem__(self, index):
            return torch.rand(1, 8, 8), 0

    with pytest.warns(UserWarning, match="another input each time.*take its random transforms out"):
        from_dataset(Noisy([0] * 4))


class Random(Pairs):
    """Rows that are fixed, but for what ``draw`` does with them."""

    def __init__(self, draw, rows):
        super().__init__([0] * rows)
        self.draw = draw

    def __getitem__(self, index):
        return self.draw(torch.linspace(0, 1, 64).reshape(1, 8, 8).roll(index), index), index % 2


OWN = np.random.default_rng(0)
DRAWS = {
    "a flip of torch": lambda x, _: x.flip(2) if torch.rand(()) < 0.5 else x,
    "a rare one": lambda x, _: x * 0 if torch.rand(()) < 0.01 else x,
    "a flip of numpy": lambda x, _: x.flip(2) if np.random.rand() < 0.5 else x,
    "a rare one of numpy": lambda x, _: x * 0 if np.random.rand() < 0.01 else x,
    "a flip of Python": lambda x, _: x.flip(2) if random.random() < 0.5 else x,
    "a generator of its own": lambda x, _: x.flip(2) if OWN.random() < 0.5 else x,
    "a fresh generator": lambda x, _: x.flip(2) if np.random.default_rng().random() < 0.5 else x,
    "torchvision": lambda x, _: torchvision.transforms.RandomHorizontalFlip()(x),
}


def seeded_by_row(x, index):
    torch.manual_seed(index)
    return x * torch.rand(())


@pytest.mark.parametrize("rows", [1, 2, 200])
@pytest.mark.parametrize("draw", DRAWS)
def test_random_transforms_are_noticed_whatever_they_draw_from(draw, rows):
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    with pytest.warns(UserWarning, match="draws at random, .*take its random transforms out"):
        DatasetSet(Random(DRAWS[draw], rows))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()
    assert random.getstate() == before[2]


@pytest.mark.parametrize("draw", [lambda x, _: x, seeded_by_row, lambda x, i: x * np.random.default_rng(i).random()])
def test_what_gives_the_same_each_time_is_no_random_transform(draw):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        DatasetSet(Random(draw, 40))


class Broken(Pairs):
    def __getitem__(self, index):
        if index == 3:
            raise OSError("disk on fire")
        return super().__getitem__(index)


def test_a_row_that_cannot_be_read_is_named():
    broken = Broken([picture(i) for i in range(6)])
    with pytest.raises(DataError, match="cannot read row 3 of the unlabeled set: OSError: disk on fire"):
        from_dataset(None, broken)
    pile = from_dataset(None, broken, views=TensorViews(mean=0.5, std=0.2))  # nothing to measure first
    with pytest.raises(DataError, match="cannot read row 3 of the labeled set: OSError: disk on fire"):
        from_dataset(Broken([(picture(i), 0) for i in range(6)]))
    assert check(pile).of("unreadable") == [["unlabeled/3"]]


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([picture(0), picture(1).resize((5, 5))], r"row 1 of the unlabeled set has shape \(5, 5, 3\).*pass size="),
        (
            [torch.zeros(1, 5, 5), torch.full((1, 5, 5), 3.0)],
            "row 1 of the unlabeled set: image values run from 3 to 3",
        ),
        ([torch.zeros(3), torch.tensor([1, float("nan"), 2])], "row 1 of the unlabeled set: holds nan"),
        ([torch.zeros(1, 5, 5), "x"], "row 1 of the unlabeled set is 'x', no picture and no array"),
    ],
)
def test_inputs_that_cannot_be_used_are_named(items, message):
    samples = DatasetSet(Pairs(items), name="the unlabeled set")
    with pytest.raises(DataError, match=message):
        everything(samples)


class Endless(IterableDataset):
    def __iter__(self):
        yield from ()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((None, Endless()), "Endless.* has no len"),
        ((Endless(),), "Endless.* has no len"),
        ((None, Pairs([])), "has no rows"),
        ((Pairs([picture(0)]),), "row 0 of the labeled set has no label"),
        ((Pairs([({"a": 1}, 0)]),), "no picture and no array"),
        ((Table({"image": [picture(0)]}),), "the labeled set has none of label, .*only image; say label="),
        ((None, Table({"photo": [picture(0)]})), "row 0 of the unlabeled set has none of image, .*say column="),
        (({"a": Pairs([]), "b": Pairs([])},), "the splits are a, b; none is called train"),
        ((pictures(3, labels=[0, 1, 2]),), "label 2 at row 2 is outside the 2 classes"),
    ],
)
def test_sets_that_cannot_be_used(arguments, message):
    with pytest.raises(DataError, match=message):
        from_dataset(*arguments)
