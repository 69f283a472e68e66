"""Pseudo-labels of pixels and joints as files: masks and confidences as PNG, joints as COCO JSON with scores."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from selftrain.errors import DataError, RunFolderError
from selftrain.storage.atomic import whole_file, write_json
from selftrain.tasks import Task
from selftrain.tasks.geometry import other_side
from selftrain.types import PseudoLabels

MASKS, CONFIDENCE, JOINTS = "masks", "confidence", "keypoints.json"
VOID = 255  # in files, whatever the task calls void
_STRIP = 1 << 24  # probabilities of a picture that are enlarged at a time
Said = Iterable[tuple[PseudoLabels, tuple[int, int]]]
Original = Callable[[int], tuple[int, int, str]]  # height and width of a sample's file, and how it was fitted


def write_maps(
    said: Said,
    task: Task,
    ids: Sequence[str],
    groups: Sequence[str],
    folder: str | Path,
    *,
    original: Original | None = None,
    overwrite: bool = False,
) -> Path:
    """Write what was said of the units of samples; files appear one by one, each whole.

    Args:
        said: Pseudo-labels, and height and width of the pictures.
        task: Of masks or joints.
        ids: Names of all samples.
        groups: Names of the classes or joints.
        folder: For the files, see ``Ledger.to_masks``.
        original: Of which size the file of a row is, and its ``fit``; ``None``: as large as the network sees it.
        overwrite: Replace files that are there.

    Raises:
        DataError: samples that would get one file; more classes than a palette has colors.
        RunFolderError: the folder has such files already.
    """
    folder = Path(folder)
    known = [folder / name for name in ((MASKS, CONFIDENCE) if task.has_classes else (JOINTS,))]
    there = [path for path in known if path.exists()]
    if there and not overwrite:
        raise RunFolderError(f"{there[0]} is there already; choose another folder, or say overwrite=True")
    if task.has_classes:
        _write_masks(said, task, file_names(ids), folder, original)
    else:
        _write_joints(said, task, ids, groups, folder, original)
    return folder


def file_names(ids: Sequence[str]) -> list[str]:
    """Path of each sample's mask in its folder, after its id without ending.

    Raises:
        DataError: two samples with one path; names both.
    """
    first: dict[str, str] = {}
    for name in map(str, ids):
        path = mask_name(name)
        if path in first:
            raise DataError(f"{first[path]!r} and {name!r} would have one mask, {path}; give them other ids")
        first[path] = name
    return list(first)


def mask_name(name: str) -> str:
    """Path of a sample's mask in the folder of masks."""
    path = PurePosixPath(str(name).replace("\\", "/"))
    parts = [part for part in path.parts if part not in ("/", "..")]  # ids may be paths: never beyond the folder
    return str(PurePosixPath(*parts).with_suffix(".png")) if parts else "unnamed.png"


def palette() -> list[int]:
    """256 colors, red, green, blue: those of Pascal VOC, in which each class and void (255) has its own."""
    colors = []
    for number in range(256):
        for channel in range(3):  # the bits of the number, by threes, from the highest bit of each color down
            colors.append(sum(((number >> (3 * place + channel)) & 1) << (7 - place) for place in range(8)))
    return colors


def _write_masks(said: Said, task: Task, names: Sequence[str], folder: Path, original: Original | None) -> None:
    if task.groups > VOID:
        raise DataError(f"there are {task.groups} classes; a mask in a palette has room for {VOID}: write the ledger")
    colors = palette()
    for pseudo, _ in said:
        for row, value, weight in zip(pseudo.index.tolist(), pseudo.value, pseudo.weight, strict=True):
            if original is None:
                label, sure = _decided(task, value[None], weight[None])
            else:
                label, sure = at_original(task, value, weight, *original(row))
            _write(folder / MASKS / names[row], _bytes(label), colors)
            _write(folder / CONFIDENCE / names[row], _bytes(sure), None)


def _decided(task: Task, value: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Class and confidence of the pixels of one picture (1, C, H, W), as bytes have them, (H, W) each."""
    label = task.label(value).where(weight > 0, VOID)
    return label[0], (255 * task.confidence(value)).round().clamp(0, 255)[0]


def at_original(task: Task, value: Tensor, weight: Tensor, height: int, width: int, fit: str) -> tuple[Tensor, Tensor]:
    """Class and confidence of each pixel of a file, from what is said of the picture that was made of it.

    Probabilities are resampled bilinearly, acceptance to the nearest. What was cut off is void, of confidence 0.

    Args:
        task: Of masks.
        value: Probabilities (C, h, w).
        weight: Above 0 where a pixel is accepted, (h, w).
        height: Of the file.
        width: Of the file.
        fit: How it was brought to (h, w), see ``selftrain.data.FileSet``.

    Returns:
        Class numbers, 255 where there is none, and confidence from 0 to 255, (height, width) each.
    """
    (top, rows), (left, columns) = placement((height, width), value.shape[-2:], fit)
    x = 2 * (left + (torch.arange(width) + 0.5) * columns) / value.shape[-1] - 1
    y = 2 * (top + (torch.arange(height) + 0.5) * rows) / value.shape[-2] - 1
    label, sure = torch.full((height, width), VOID), torch.zeros(height, width)
    many = max(1, _STRIP // (width * len(value)))
    for start in range(0, height, many):
        own = y[start : start + many]
        grid = torch.stack(torch.meshgrid(own, x, indexing="ij")[::-1], -1)[None]
        inside = (grid.abs() <= 1).all(-1)[0]
        # of a border half a pixel wide the nearest one: beyond it is cut off
        said = F.grid_sample(value[None].float(), grid, padding_mode="border", align_corners=False)
        taken = F.grid_sample(weight[None, None].float(), grid, "nearest", "border", align_corners=False)[:, 0]
        own_label, own_sure = _decided(task, said, taken)
        label[start : start + many] = own_label.where(inside, VOID)
        sure[start : start + many] = own_sure * inside
    return label, sure


def placement(
    original: Sequence[int], size: Sequence[int], fit: str
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Where a file lies in the picture that was made of it: of rows and of columns start and length of one of its own.

    Args:
        original: Height and width of the file.
        size: Of the picture.
        fit: See ``selftrain.data.FileSet``.
    """
    own = [side / whole for side, whole in zip(size, original, strict=True)]
    if fit == "crop":  # the middle of the side that is too long falls away
        own = [max(own)] * 2
    elif fit == "pad":  # whole pixels, as Pillow has them
        least = min(own)
        own = [round(whole * least) / whole for whole in original]
    lost = [side - whole * scale for side, whole, scale in zip(size, original, own, strict=True)]
    starts = [round(one / 2) if fit == "pad" else one / 2 for one in lost]
    return (starts[0], own[0]), (starts[1], own[1])


def _write_joints(
    said: Said, task: Task, ids: Sequence[str], groups: Sequence[str], folder: Path, original: Original | None
) -> None:
    pictures, found = list[dict[str, Any]](), list[dict[str, Any]]()
    size: Sequence[int] = ()
    for pseudo, (height, width) in said:
        size = pseudo.value.shape[-2:]
        units = task.units(pseudo.value, task.confidence(pseudo.value), pseudo.weight > 0).double()
        # whole numbers of COCO are centers of pixels, as `from_keypoints` reads them
        places = units[..., 3:] * units.new_tensor([width, height]) - 0.5
        for row, unit, place in zip(pseudo.index.tolist(), units, places, strict=True):
            sides = [height, width]
            if original is not None:
                *sides, fit = original(row)
                (top, rows), (left, columns) = placement(sides, (height, width), str(fit))
                place = (place + 0.5 - place.new_tensor([left, top])) / place.new_tensor([columns, rows]) - 0.5
            pictures.append({"id": row, "file_name": str(ids[row]), "width": sides[1], "height": sides[0]})
            used = unit[:, 2] > 0
            # a joint that is not accepted keeps its place, which a person may accept; 0 says that it is no label
            points = torch.cat([place.round(decimals=3), 2.0 * used[:, None]], 1)
            scores = unit[:, 1].tolist()
            found.append(
                {
                    "id": row, "image_id": row, "category_id": 1, "keypoints": points.flatten().tolist(),
                    "num_keypoints": int(used.sum()), "score": round(sum(scores) / len(scores), 4),
                    "keypoint_scores": [round(score, 4) for score in scores],
                }
            )  # fmt: skip
    # cells of the heatmaps, by which labels are counted in a pile
    info = {"heatmap": list(size)}
    kind: dict[str, Any] = {"id": 1, "name": "sample", "keypoints": [str(name) for name in groups]}
    kind["flip_idx"] = other_side(getattr(task, "pairs", None), len(groups))  # names need not tell sides
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / JOINTS, {"info": info, "images": pictures, "annotations": found, "categories": [kind]})


def _bytes(values: torch.Tensor) -> NDArray[np.uint8]:
    return values.cpu().numpy().astype(np.uint8)


def _write(path: Path, pixels: NDArray[np.uint8], colors: list[int] | None) -> None:
    from PIL import Image

    picture = Image.fromarray(pixels)
    if colors is not None:
        picture.putpalette(colors)  # turns gray into a palette, of the same numbers
    with whole_file(path, create=True) as file:
        picture.save(file, format="PNG")
