"""Remedies of the messages of ``data/base``: what is read and how, before anything is trained."""

from functools import partial

import numpy as np
import torch
from PIL import Image
from remedies import Elsewhere, Row, setting
from scipy import sparse
from torch.utils.data import TensorDataset
from torchvision.transforms import InterpolationMode, functional

from selftrain import fit, pretrain
from selftrain.data import FileSet, Pile, TableViews, from_dataset
from selftrain.data.base.joined import Joined
from selftrain.data.base.samples import ArraySet
from selftrain.data.base.splits import split
from selftrain.types import BatchPlan

_draws = np.random.RandomState(0)
X = _draws.normal(size=(8, 3)).astype(np.float32)
Y = np.array([0, 1, 0, 1, 0, 1, -1, -1])
PICTURES = _draws.randint(0, 255, (6, 8, 10, 1)).astype(np.uint8)
NAMES = np.array(["cat", "dog", "cat", "dog", "cat", "dog", "", ""])
FAR = X.astype(float)
FAR[0, 0] = -9999


def pile(x=X, y=Y, **settings):
    """A pile whose rows are there and finite."""
    made = Pile.from_arrays(x, y, **settings)
    assert (made.labeled or made.unlabeled).images(np.arange(1)).isfinite().all()
    return made


def learned(x=X, y=Y, **settings):
    """A pile that a classifier can be trained on."""
    made = pile(x, y, **settings)
    made.require_labels()
    return made


def of(part, **settings):
    """One array as rows."""
    return pile(x=part, **settings)


def masked(masks, size=(8, 10), classes=None):
    """A pile of pictures with these masks."""
    return Pile(ArraySet(np.zeros((len(masks), *size, 1), np.uint8), torch.as_tensor(masks)), None, classes=classes)


def jointed(joints):
    """A pile of pictures with these joints."""
    return Pile(ArraySet(np.zeros((len(joints), 8, 8, 1), np.uint8), torch.as_tensor(joints)), None)


def files(tmp, modes=("L", "L"), sides=(8, 8), **settings):
    """A pile of a labeled and an unlabeled picture."""
    paths = [tmp / "0.png", tmp / "1.png"]
    for path, mode, side in zip(paths, modes, sides, strict=True):
        Image.new(mode, (side, side)).save(path)
    given = [{"mode": mode} | settings for mode in modes]
    return Pile(FileSet(paths[:1], [0], **given[0]), FileSet(paths[1:], **given[1]))


def pretrained(made):
    """Learn without labels, as ``selftrain.pretrain`` says."""
    fit(pretrain.TJEPA(pretrain.table_transformer(columns=3)), made, steps=1, plan=BatchPlan(4))


MASKS = _draws.randint(0, 2, (4, 8, 10))
JOINTS = np.ones((4, 2, 3), np.float32)
COMPLEX = X + 1j * X
COLORS = MASKS[..., None].repeat(3, -1) * 200
HIDDEN = np.ma.masked_greater(X, 1)
ONE_HOT = np.eye(3, dtype=int)[np.maximum(Y, 0)] * (Y >= 0)[:, None]
RAGGED = [torch.rand(1, 5), torch.rand(1, 4), torch.rand(1, 5), torch.rand(1, 6)]
NESTED = torch.nested.nested_tensor(RAGGED)

BASE = "data/base"
SPARSE = "unit/data/test_data_sparse.py::test_what_is_no_matrix_of_numbers_is_refused_by_name"
ROWS_OF = {
    f"{BASE}/sparse.py": [
        Elsewhere("give (N, F) of numbers, F above 0", SPARSE),
        Elsewhere("remove such rows, or correct them", SPARSE),
        Elsewhere("but x is a sparse matrix, which is a table; leave {} out", SPARSE),
    ],
    f"{BASE}/dense.py": [
        Row(
            "are masked; fill them in",
            lambda: of(HIDDEN),
            lambda: of(HIDDEN.filled(0)),
            lambda: of(HIDDEN[~HIDDEN.mask.any(1)], y=Y[~HIDDEN.mask.any(1)]),
        ),
        Row(
            "is a sparse matrix of shape {}; pass {}.toarray()",
            lambda: ArraySet(sparse.csr_matrix(X)),
            lambda: ArraySet(sparse.csr_matrix(X).toarray()),
        ),
        Row(
            "cut or pad all rows to one shape",
            lambda: of(RAGGED, y=[0, 1, 0, 1]),
            lambda: of(np.stack([row[..., :4] for row in RAGGED]), y=[0, 1, 0, 1]),
            lambda: of([torch.nn.functional.pad(row, (0, 6 - row.shape[1])) for row in RAGGED], y=[0, 1, 0, 1]),
            lambda: Pile.from_arrays(RAGGED, [0, 1, 0, 1], kind="series").gaps,
        ),
        Row(
            "is a nested tensor",
            lambda: of(NESTED, y=[0, 1, 0, 1], kind="series"),
            lambda: of(torch.nested.to_padded_tensor(NESTED, 0.0), y=[0, 1, 0, 1], kind="series"),
        ),
        Row(
            "pass {}.to_dense()",
            lambda: of(torch.tensor(X).to_sparse()),
            lambda: of(torch.tensor(X).to_sparse().to_dense()),
        ),
        Row(
            "is quantized",
            lambda: of(torch.quantize_per_tensor(torch.tensor(X), 0.1, 0, torch.qint8)),
            lambda: of(torch.quantize_per_tensor(torch.tensor(X), 0.1, 0, torch.qint8).dequantize()),
        ),
        Row("is on the device meta", lambda: of(torch.tensor(X, device="meta")), lambda: of(torch.tensor(X))),
        Row(
            "whose imaginary parts would be lost",
            lambda: of(COMPLEX),
            lambda: of(np.concatenate([COMPLEX.real, COMPLEX.imag], 1)),
            lambda: of(abs(COMPLEX)),
        ),
    ],
    f"{BASE}/fitting.py": [
        Row(
            "which has no rows that can be asked for",
            lambda: Pile(X, None),
            lambda: Pile.from_arrays(X, Y),
            lambda: from_dataset(TensorDataset(torch.tensor(X[:6]), torch.tensor(Y[:6]))),
        ),
        Row(
            "give each part the columns of training",
            lambda: Pile(ArraySet(X[:6], torch.tensor(Y[:6])), ArraySet(X[:, :2])),
            lambda: Pile(ArraySet(X[:6], torch.tensor(Y[:6])), ArraySet(X)),
        ),
        Row(
            "bring all to one size",
            lambda: Pile(ArraySet(PICTURES, torch.tensor(Y[:6])), ArraySet(PICTURES[:, :, :8])),
            lambda: Pile(
                ArraySet(PICTURES, torch.tensor(Y[:6])), ArraySet(np.resize(PICTURES[:, :, :8], PICTURES.shape))
            ),
            lambda tmp: files(tmp, sides=(8, 12), size=8),
        ),
        Row(
            "bring all to as many channels",
            lambda: Pile(ArraySet(PICTURES, torch.tensor(Y[:6])), ArraySet(PICTURES.repeat(3, -1))),
            lambda: Pile(ArraySet(PICTURES.repeat(3, -1), torch.tensor(Y[:6])), ArraySet(PICTURES.repeat(3, -1))),
            lambda tmp: files(tmp, ("L", "RGB"), mode="L"),
            lambda tmp: files(tmp, ("L", "RGB"), mode="RGB"),
        ),
        Row(
            "bring all parts to one shape",
            lambda: Pile(ArraySet(X[:6], torch.tensor(Y[:6])), ArraySet(PICTURES)),
            lambda: Pile(ArraySet(X[:6], torch.tensor(Y[:6])), ArraySet(PICTURES.reshape(6, -1)[:, :3].astype(float))),
        ),
        Row("give class numbers: masks // 255", lambda: masked(MASKS * 255), lambda: masked(MASKS * 255 // 255)),
        Row(
            "only one other number can mean",
            lambda: masked(MASKS * 100 + 50, classes=["sky", "earth"]),
            lambda masks=MASKS * 100 + 50: masked(
                np.unique(masks, return_inverse=True)[1].reshape(masks.shape), classes=["sky", "earth"]
            ),
        ),
        Row(
            "no labeled pixel is of class",
            lambda: masked(MASKS, classes=["sky", "earth", "sea"]),
            lambda: masked(np.where(np.eye(8, 10, dtype=bool), 2, MASKS), classes=["sky", "earth", "sea"]),
            lambda: masked(MASKS, classes=["sky", "earth"]),
        ),
        Row(
            "with a channel axis; give {}",
            lambda: masked(MASKS[..., None]),
            lambda masks=MASKS[..., None]: masked(masks[..., 0]),
        ),
        Row(
            "colors, not class numbers",
            lambda: masked(COLORS),
            lambda: masked((COLORS == (200, 200, 200)).all(-1).astype(int)),
        ),
        Row(
            "colors, not class numbers",
            lambda: masked(COLORS.transpose(0, 3, 1, 2)),
            lambda: masked((COLORS.transpose(0, 3, 1, 2) == 200).all(1).astype(int)),
        ),
        Row("masks are (N, H, W)", lambda: masked(MASKS[..., None].repeat(5, -1)), lambda: masked(MASKS)),
        Row(
            "bring both to one size, masks without mixing",
            lambda: masked(MASKS, size=(16, 20)),
            lambda: masked(functional.resize(torch.tensor(MASKS), [16, 20], InterpolationMode.NEAREST), (16, 20)),
        ),
        Row(
            "which is no class number; give whole numbers",
            lambda: masked(MASKS * 0.7),
            lambda masks=MASKS * 0.7: masked((masks > 0.5).astype(int)),
            lambda masks=MASKS * 0.7: masked(masks > 0.5),
        ),
        Row(
            "give NaN, or set visible to 0, where a joint has none",
            lambda: jointed(np.where(np.arange(3) < 2, np.inf, JOINTS)),
            lambda: jointed(np.where(np.arange(3) < 2, np.nan, JOINTS)),
            lambda: jointed(np.where(np.arange(3) < 2, np.inf, JOINTS) * [1, 1, 0]),
        ),
    ],
    f"{BASE}/far.py": [
        Row(
            "if they mark what is missing, fill in the mean of the others",
            lambda: of(FAR),
            lambda: of(np.where(FAR == -9999, np.mean(FAR[FAR != -9999]), FAR)),
        ),
        Row(
            "else cut them off or take the logarithm",
            lambda: of(np.append(np.arange(1.0, 200), 1e6)[:, None], y=np.arange(200) % 2),
            lambda: of(np.append(np.arange(1.0, 200), 250)[:, None], y=np.arange(200) % 2),
            lambda: of(np.log(np.append(np.arange(1.0, 200), 1e6))[:, None], y=np.arange(200) % 2),
        ),
    ],
    f"{BASE}/joined.py": [
        Row(
            "bring both sets to one shape",
            lambda: Joined(ArraySet(X), ArraySet(X[:, :2]), None),
            lambda: Joined(ArraySet(X[:, :2]), ArraySet(X[:, :2]), None),
        )
    ],
    f"{BASE}/labels.py": [
        Row("are {}; give one label for each row", lambda: pile(y="cat"), lambda: pile(y=["cat", "dog"] * 4)),
        Row(
            "of one-hot rows",
            lambda: pile(y=ONE_HOT),
            lambda: learned(y=np.where(ONE_HOT.sum(1) == 0, -1, ONE_HOT.argmax(1))),
        ),
        Row(
            "give a class name or number, -1 where unlabeled",
            lambda: pile(y=[(0, 1), 1, 0, 1, 0, 1, -1, -1]),
            lambda: pile(y=[0, 1, 0, 1, 0, 1, -1, -1]),
            lambda: pile(y=["a", "b", "a", "b", "a", "b", "-1", "-1"]),
        ),
        setting("which says not which name", learned, "classes", {"cat", "dog"}, ["cat", "dog"]),
        Row(
            "more than once; give each class a name",
            lambda: pile(classes=["cat", "cat"]),
            lambda: pile(classes=["cat", "dog"]),
        ),
        Row(
            "repeat a name that labels go by",
            lambda: pile(y=NAMES, classes=["cat", "dog", "dog"]),
            lambda: pile(y=NAMES, classes=["cat", "dog", "cow"]),
        ),
        Row(
            "label {} is no class ({})",
            lambda: pile(y=NAMES, classes=["cat", "cow"]),
            lambda: pile(y=np.where(NAMES == "dog", "cow", NAMES), classes=["cat", "cow"]),
            lambda: pile(y=NAMES, classes=["cat", "cow", "dog"]),
        ),
        Row(
            "is outside the {} classes {}; correct it",
            lambda: pile(y=np.where(Y == 1, 2, Y), classes=["cat", "dog"]),
            lambda: pile(y=np.where(Y == 1, 1, Y), classes=["cat", "dog"]),
            lambda: pile(y=np.where(Y == 1, 2, Y), classes=["cat", "dog", "cow"]),
        ),
        Row(
            "is what -1 becomes in an unsigned type; if it means no label say",
            lambda: pile(y=Y.astype(np.uint8)),
            lambda: learned(y=Y.astype(np.uint8), no_label=[-1, 255]),
            lambda: learned(y=Y.astype(np.uint8), no_label=[-1]),
        ),
        Row(
            "is no number; pass classes=names",
            lambda: split(NAMES),
            lambda: pile(y=NAMES, classes=["cat", "dog"]),
        ),
        Row(
            "use 0, 1, ... for classes and -1 for unlabeled",
            lambda: pile(y=Y - 1),
            lambda: pile(y=Y),
            lambda: pile(y=Y - 1, no_label=[-1, -2]),
        ),
        Row(
            "class numbers have gaps",
            lambda: learned(y=np.where(Y == 1, 900, Y)),
            lambda: learned(y=np.where(Y == 1, 1, Y)),
            lambda: learned(y=np.where(Y == 1, 900, Y), classes=[str(i) for i in range(901)]),
        ),
        Row(
            "label rows of another class",
            lambda: learned(y=np.where(Y == 1, 0, -1)),
            lambda: learned(y=np.where(Y == 1, 0, 1)),
        ),
        Row(
            "label rows of another class",
            lambda: learned(y=np.where(Y == 1, 1, -1)),
            lambda: learned(y=np.where(Y == 1, 1, -1), no_label=None),
        ),
        setting("classes are {}; give a list of names", pile, "classes", "cat", ["cat", "dog"]),
        setting(
            "map each name to its number", pile, "classes", {"cat": "dog"}, {"cat": 0, "dog": 1}, {0: "cat", 1: "dog"}
        ),
        setting("classes hold a missing name", pile, "classes", ["cat", None], ["cat", "dog"]),
        setting("to several names; give each its own", pile, "classes", {"cat": 0, "dog": 0}, {"cat": 0, "dog": 1}),
        setting("give names or numbers", pile, "classes", [("cat", 0), ("dog", 1)], ["cat", "dog"], [0, 1]),
    ],
    f"{BASE}/samples.py": [
        Row("give one for each sample", lambda: pile(y=Y[:7]), lambda: pile(y=Y)),
        Row("give one for each sample", lambda: pile(ids=["a"]), lambda: pile(ids=list("abcdefgh"))),
        setting("limits are {}, but only images", pile, "limits", (0, 1), None),
        Row(
            "give (N, F), (N, H, W), (N, H, W, C) or (N, C, H, W)",
            lambda: of(X[:, 0]),
            lambda: of(X),
            lambda: of(X[:, :1]),
            lambda: of(PICTURES[..., 0], y=Y[:6]),
            lambda: of(PICTURES, y=Y[:6]),
            lambda: of(PICTURES.transpose(0, 3, 1, 2), y=Y[:6]),
        ),
        Row(
            "is larger than any number that can be used",
            lambda: of(np.array([[2**64 - 1], [1]], np.uint64), y=[0, 1]),
            lambda: of(np.array([[2**63 - 1], [1]], np.uint64), y=[0, 1]),
        ),
        setting("kind is {}", partial(pile, X[:, None]), "kind", "sound", "series"),
        Row(
            "kind is {}",
            lambda: pile(X.reshape(8, 1, 3), kind="cloud"),
            lambda: pile(X.reshape(8, 1, 3), kind="points"),
        ),
        Row(
            "remove such rows or fill in the values",
            lambda: of(np.where(X > 1, np.nan, X)),
            lambda: of(X[~(X > 1).any(1)], y=Y[~(X > 1).any(1)]),
            lambda: of(np.nan_to_num(np.where(X > 1, np.nan, X))),
        ),
        setting(
            "the channel axis of {} is unclear",
            partial(pile, np.zeros((8, 3, 9, 3), np.uint8)),
            "channels",
            None,
            "first",
            "last",
        ),
        setting("give two numbers: (black, white)", partial(pile, PICTURES, Y[:6]), "limits", 5, (0, 200)),
        setting("the first must be below the second", partial(pile, PICTURES, Y[:6]), "limits", (5, 5), (0, 200)),
        Row(
            "give uint8, floats in [0, 1], or",
            lambda: of(PICTURES * 257.0, y=Y[:6]),
            lambda: of(PICTURES, y=Y[:6]),
            lambda: of(PICTURES / 255, y=Y[:6]),
            lambda: of(PICTURES * 257.0, y=Y[:6], limits=(0, 65535)),
        ),
    ],
    f"{BASE}/splits.py": [
        setting("overlap is {}", pile, "overlap", "both", "exclude", "include"),
        Row(
            "is outside the {} classes (0 to {})",
            lambda: split(Y + 1, classes=2),
            lambda: split(Y, classes=2),
            lambda: split(Y + 1, classes=3),
        ),
        Row(
            "no label for class {}",
            lambda: learned(classes=["cat", "dog", "cow"]),
            lambda: learned(y=[0, 1, 2, 1, 0, 1, -1, -1], classes=["cat", "dog", "cow"]),
        ),
        Row(
            "ids stand for several",
            lambda: pile(y=np.full(8, -1), ids=["a"] * 8),
            lambda: pile(y=np.full(8, -1), ids=list("abcdefgh")),
            lambda: pile(y=np.full(8, -1)),
        ),
        Row(
            "no sample has a label; learn without labels first",
            lambda: pile(y=np.full(8, -1), labels=3),
            lambda: pretrained(pile(y=np.full(8, -1))),
        ),
        setting("labels asked for", pile, "labels", 9, 5, 6),
        setting("validation is {}", pile, "validation", -1, 2, 0.5),
        setting("leaves none to train on; take fewer", pile, "validation", 6, 2),
    ],
    f"{BASE}/statistics.py": [
        Row(
            "too far to calculate with; correct them",
            lambda: of(np.where(np.eye(8, 3, -5) == 1, 1e300, 1)),
            lambda: of(np.where(np.eye(8, 3, -5) == 1, 0, 1)),
        ),
        Row(
            "rows have columns 0 to {}",
            lambda: of(X, views=TableViews(categorical=[3])),
            lambda: of(np.round(abs(X)), views=TableViews(categorical=[2])),
        ),
    ],
}
