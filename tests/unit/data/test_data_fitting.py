"""What a pile is made of fits together, or is refused by name when the pile is made."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

import selftrain as st
from selftrain import data, strategies
from selftrain.data import ArraySet, Pile
from selftrain.data.base.fitting import check_targets
from selftrain.errors import DataError
from selftrain.types import BatchPlan, View

Y = torch.arange(8) % 2
SMALL = BatchPlan(labeled=4, unlabeled_ratio=1)
HALF = torch.where(torch.arange(8) < 4, Y, -1)


def images(*shape: int, n: int = 8) -> Tensor:
    return torch.rand(n, *shape)


def folder(root: Path, name: str, side: int) -> Path:
    for kind in "ab":
        (root / name / kind).mkdir(parents=True)
        for i in range(2):
            Image.new("RGB", (side, side), (30 * i, 9, 9)).save(root / name / kind / f"{i}.png")
    return root / name


def file(root: Path, **arrays: Any) -> Path:
    np.savez(root / "rows.npz", **arrays)
    return root / "rows.npz"


_UNFIT: dict[str, Any] = {
    "sizes of sets": lambda r: Pile(ArraySet(images(1, 12, 12), Y), ArraySet(images(1, 16, 16))),
    "channels of sets": lambda r: Pile(ArraySet(images(1, 12, 12), Y), ArraySet(images(3, 12, 12))),
    "size of validation": lambda r: Pile(ArraySet(images(1, 8, 8), Y), None, ArraySet(images(1, 9, 9), Y)),
    "channels of test": lambda r: Pile(ArraySet(images(1, 8, 8), Y), None, None, ArraySet(images(3, 8, 8), Y)),
    "columns of arrays": lambda r: Pile.from_arrays(images(4), HALF, images(5), Y),
    "channels of series": lambda r: Pile.from_arrays(images(2, 9), HALF, images(1, 9), Y, kind="series"),
    "points": lambda r: Pile.from_arrays(images(9, 3), HALF, images(9, 2), Y, kind="points"),
    "table and images": lambda r: Pile(ArraySet(images(4), Y), ArraySet(images(1, 2, 2))),
    "torch": lambda r: data.from_dataset(
        TensorDataset(images(1, 8, 8), Y),
        unlabeled=TensorDataset(images(3, 8, 8)),
        test=TensorDataset(images(1, 8, 8), Y),
    ),
    "torch, test": lambda r: data.from_dataset(
        TensorDataset(images(1, 8, 8), HALF), test=TensorDataset(images(1, 9, 9), Y)
    ),
    "array file": lambda r: data.from_arrays_file(file(r, x=images(4), y=HALF, x_test=images(5), y_test=Y)),
    "folders": lambda r: data.from_folder(folder(r, "a", 8), test=folder(r, "b", 9)),
    "deferred": lambda r: data.from_folder(folder(r, "a", 8), test=folder(r, "b", 9), on_error="defer"),
}


@pytest.mark.parametrize("door", _UNFIT)
def test_parts_of_other_shapes_are_refused_when_the_pile_is_made(door: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"ha(ve|s) .*(bring|give)"):
        _UNFIT[door](tmp_path)


def test_the_remedies_for_parts_of_other_shapes_work(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="samples have the shape 3x9x9, but the labeled ones the shape 3x8x8; .*size="):
        data.from_folder(folder(tmp_path, "a", 8), test=folder(tmp_path, "b", 9))
    assert len(data.from_folder(tmp_path / "a", test=tmp_path / "b", size=8).test) == 4


class Cropped(data.TensorViews):
    """Brings pictures of any size to one."""

    def __call__(self, name: str, images: Tensor, index: Tensor, epoch: int) -> View:
        return super().__call__(name, F.interpolate(images.float(), (8, 8)), index, epoch)


def test_a_data_set_of_another_library_is_no_set_of_rows() -> None:
    items = TensorDataset(images(1, 8, 8), Y)
    with pytest.raises(DataError, match="unlabeled is a TensorDataset, .* through data.from_dataset"):
        Pile(ArraySet(images(1, 8, 8), Y), items)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="labeled is a ndarray, .* arrays go through Pile.from_arrays"):
        Pile(np.ones((4, 3)), None)  # type: ignore[arg-type]
    assert len(data.from_dataset(items, unlabeled=TensorDataset(images(1, 8, 8))).unlabeled_ids()) == 8  # the remedy


def test_views_may_bring_parts_to_one_size() -> None:
    pile = Pile(ArraySet(images(1, 12, 12), Y), ArraySet(images(1, 16, 16)), views=Cropped(mean=0.5, std=0.2))
    make = st.learner(lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 2)))
    run = st.fit(strategies.FixMatch(st.Classification(2), make), pile, steps=1, plan=SMALL)
    assert run.ledger.seen.sum() == 4  # pictures of the other size were learned from


# ------------------------------------------------------------------ masks

X = torch.rand(6, 1, 8, 8)
INK = (torch.arange(8) < 4).expand(6, 8, 8).long()


def masked(masks: Any, classes: Any = ("background", "object"), **parts: Any) -> Pile:
    return Pile(ArraySet(X, masks), ArraySet(X), classes=None if classes is None else list(classes), **parts)


@pytest.mark.parametrize(
    ("masks", "words", "remedy"),
    [
        (INK * 255, "only 0 and 255, .* the class 'object'; give class numbers: masks // 255", lambda m: m // 255),
        (INK[:, None], r"channel axis; give masks\[:, 0\]", lambda m: m[:, 0]),
        (INK[..., None], r"channel axis; give masks\[\.\.\., 0\]", lambda m: m[..., 0]),
        (INK[..., None].repeat(1, 1, 1, 3) * 9, r"colors, .* color\)\.all\(-1\)", lambda m: (m == 9).all(-1)),
        (INK[:, None].repeat(1, 3, 1, 1) * 9, r"colors, .* color\)\.all\(1\)", lambda m: (m == 9).all(1)),
        (INK[:, :4], "masks of the labeled samples are 4x8, their pictures 8x8", lambda m: m.repeat(1, 2, 1)),
        (INK * 0.7, r"row 0 of the labeled samples holds 0\.7, .*\(masks > 0\.5\)", lambda m: m > 0.5),
        (
            INK * 85 + 85 * INK.transpose(1, 2),
            "hold 85, 170, and classes are 0 to 1; .*np.unique",
            lambda m: np.unique(m, return_inverse=True)[1].reshape(m.shape) // 2,
        ),
    ],
    ids=["255", "axis first", "axis last", "colors", "colors first", "size", "floats", "gray levels"],
)  # fmt: skip
def test_masks_that_do_not_fit_are_refused_and_the_remedy_works(masks: Tensor, words: str, remedy: Any) -> None:
    with pytest.raises(DataError, match=words):
        masked(masks)
    assert masked(remedy(masks)).labeled.annotations.unique().tolist() == [0, 1]


@pytest.mark.parametrize("part", ["validation", "test"])
def test_masks_of_held_out_parts_are_checked_as_well(part: str) -> None:
    with pytest.raises(DataError, match=f"masks of the {part} samples hold only 0 and 255"):
        masked(INK, **{part: ArraySet(X, INK * 255)})
    assert getattr(masked(INK, **{part: ArraySet(X, INK)}), part) is not None


def test_masks_in_a_file_are_checked_as_well(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="only 0 and 255"):
        data.from_arrays_file(file(tmp_path, x=X, y=INK * 255), classes=["background", "object"])


@pytest.mark.parametrize(
    "masks", [INK.float(), INK.bool(), INK.to(torch.uint8), torch.where(INK == 1, INK, 255 * (X[:, 0] > 0.5))]
)
def test_masks_that_mean_class_numbers_pass(masks: Tensor) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        masked(masks)


def test_a_class_that_no_pixel_has_is_named() -> None:
    with pytest.warns(UserWarning, match="no labeled pixel is of class car, dog;"):
        masked(INK, ["sky", "road", "car", "dog"])
    make = st.learner(lambda: nn.Conv2d(1, 3, 1))
    pile = masked(INK, None)
    with pytest.warns(UserWarning, match="no labeled pixel is of class 2;"):
        st.fit(strategies.FixMatch(st.Segmentation(3), make), pile, steps=1, plan=SMALL)


@pytest.mark.parametrize("part", ["validation", "test"])
def test_a_number_that_the_task_does_not_know_is_told_before_the_first_step(part: str) -> None:
    pile = masked(INK, **{part: ArraySet(X, INK * 7)})
    make = st.learner(lambda: nn.Conv2d(1, 2, 1))
    with pytest.raises(DataError, match=f"the {part} samples: label 7"):
        st.fit(strategies.FixMatch(st.Segmentation(2), make), pile, steps=1)
    st.fit(strategies.FixMatch(st.Segmentation(2, void=7), make), pile, steps=1)  # a void of one's own is no fault


def test_a_task_with_too_few_classes_is_told_before_the_first_step() -> None:
    pile = Pile(ArraySet(images(3), Y), None, test=ArraySet(images(3), Y + 1))
    with pytest.raises(DataError, match="the test samples: label 2"):
        st.fit(strategies.FixMatch(st.Classification(2), st.learner(lambda: nn.Linear(3, 2))), pile, steps=1)


def test_annotations_of_another_task_are_refused_before_the_first_step() -> None:
    whole = Pile(ArraySet(X, INK[:, 0, 0] + Y[:6]), ArraySet(X), classes=["a", "b", "c"])
    flat = st.learner(lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 3)))
    with pytest.raises(DataError, match=r"segmentation needs \(B, H, W\), one label a sample Classification"):
        st.fit(strategies.FixMatch(st.Segmentation(3), st.learner(lambda: nn.Conv2d(1, 3, 1))), whole, steps=1)
    st.fit(strategies.FixMatch(st.Classification(3), flat), whole, steps=1, plan=SMALL)
    with pytest.raises(DataError, match="classification needs one a sample, masks need Segmentation"):
        st.fit(strategies.FixMatch(st.Classification(3), flat), masked(INK), steps=1)


def test_a_task_of_ones_own_may_need_whole_masks() -> None:
    class Halved(st.Segmentation):
        def encode(self, annotation: Tensor) -> Any:
            return super().encode(annotation.reshape(-1, 8, 8)[:, ::2, ::2])

        def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
            return (2, 4, 4)

    make = st.learner(lambda: nn.Conv2d(1, 2, 2, stride=2))
    assert st.fit(strategies.FixMatch(Halved(2), make), masked(INK), steps=1, plan=SMALL).skipped == 0


@pytest.mark.parametrize(("given", "own"), [((4,), (3,)), ((3, 8, 8), (1, 8, 8)), ((8, 8), (3,))])
def test_sets_to_evaluate_on_fit_the_pile(given: tuple[int, ...], own: tuple[int, ...]) -> None:
    pile = Pile(ArraySet(images(*own), Y), ArraySet(images(*own)))
    size = int(np.prod(own))
    make = st.learner(lambda: nn.Sequential(nn.Flatten(), nn.Linear(size, 2)))
    strategy = strategies.FixMatch(st.Classification(2), make)
    other = ArraySet(images(*given), Y)
    with pytest.raises(DataError, match="the samples to evaluate on have .*; (give|bring)"):
        st.evaluate(strategy, pile, other)
    with pytest.raises(DataError, match="the samples to evaluate on have"):
        st.fit(strategy, pile, steps=1, evaluation=st.Evaluation(monitor={"other": other}))
    assert st.evaluate(strategy, pile, ArraySet(images(*own), Y))


# ------------------------------------------------------------------ joints

JOINTS = torch.tensor([[2.0, 9.0, 1.0], [4.0, 3.0, 1.0]]).repeat(6, 1, 1)  # in 12 rows and 6 columns

TWICE = torch.tensor([2.0, 2.0, 1.0])


def posed(joints: Tensor) -> Any:
    pile = Pile(ArraySet(torch.rand(6, 1, 24, 12), joints), ArraySet(torch.rand(6, 1, 24, 12)))
    make = st.learner(lambda: nn.Conv2d(1, 2, 2, stride=2))
    return st.fit(strategies.FixMatch(st.Keypoints(2, (12, 6)), make), pile, steps=1, plan=SMALL)


@pytest.mark.parametrize(
    ("joints", "words", "remedy"),
    [
        (JOINTS[..., [1, 0, 2]], "6 of 12 .* outside of the 12x6 cells; as .y, x. .*: swap",
         lambda j: j[..., [1, 0, 2]]),
        (JOINTS * TWICE + torch.tensor([3.0, 0, 0]), "pixels of 24x12 .*: divide x by 2, y by 2",
         lambda j: j / TWICE),
    ],
    ids=["swapped", "pixels"],
)  # fmt: skip
def test_joints_outside_are_refused_and_the_remedy_works(joints: Tensor, words: str, remedy: Any) -> None:
    with pytest.raises(DataError, match=words):
        posed(joints)
    posed(remedy(joints))


def test_a_few_joints_outside_are_counted_and_left_out() -> None:
    joints = JOINTS.clone()
    joints[0, 0, 0] = 40
    with pytest.warns(UserWarning, match="1 of 12 visible joints of the labeled samples lie outside"):
        posed(joints)
    target = st.Keypoints(2, (12, 6)).encode(joints)
    assert target.mask()[0].tolist() == [0, 1]
    assert not target.value[0, 0].any()


def test_joints_as_shares_of_the_picture_are_noticed() -> None:
    with pytest.warns(UserWarning, match="lie within one cell; .*multiply by width and height"):
        posed(JOINTS / torch.tensor([12.0, 12.0, 1.0]))


def test_a_joint_without_a_place_is_missing() -> None:
    joints = JOINTS.clone()
    for place in ([torch.nan, torch.nan, 1], [1, 2, torch.nan]):
        joints[1, 1] = torch.tensor(place)
        run = posed(joints)
        assert run.skipped == 0
        assert run.pile.labeled.annotations[1].tolist() == [[2, 9, 1], [0, 0, 0]]


def test_joints_of_whole_numbers_are_joints_and_so_are_those_without_a_mark() -> None:
    for joints in (JOINTS.long(), JOINTS[..., :2], JOINTS[..., :2].long()):
        run = posed(joints)
        assert run.skipped == 0
        assert torch.equal(run.pile.labeled.annotations, JOINTS)


# ------------------------------------------------------------------ pipelines that normalize


def test_a_data_set_that_normalizes_is_refused_and_the_remedy_works() -> None:
    from torchvision import transforms as T

    pictures = [Image.fromarray(np.full((8, 8, 3), 30 * i, np.uint8)) for i in range(8)]
    steps = [T.ToTensor(), T.Normalize([0.5] * 3, [0.5] * 3)]
    with pytest.raises(DataError, match=r"values run from -1 to -1; .*\(take a Normalize out: views normalize\)"):
        data.from_dataset([(T.Compose(steps)(picture), i % 2) for i, picture in enumerate(pictures)])
    assert len(data.from_dataset([(steps[0](picture), i % 2) for i, picture in enumerate(pictures)]).labeled) == 8


def test_further_parts_of_items_are_told() -> None:
    pile = data.from_dataset([(row, i % 2, f"scan {i}") for i, row in enumerate(images(3))])
    assert "items of the labeled set have 3 parts" in pile.summary.left_out[0]


def test_thousands_of_classes_are_checked_a_part_at_a_time() -> None:
    asked: list[list[int]] = []

    def encode(numbers: Tensor) -> Any:
        asked.append(numbers.tolist())
        return st.Classification(1000).encode(numbers)

    check_targets("labeled", torch.arange(1000).repeat(2), encode, (), ())
    assert max(map(len, asked)) <= 256
    assert sorted(number for part in asked for number in part) == list(range(1000))
    with pytest.raises(DataError, match="the labeled samples"):
        check_targets("labeled", torch.tensor([*range(300), 1000]), encode, (), ())
