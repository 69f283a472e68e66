"""Pseudo-labels of pixels and joints as files: masks and confidences as PNG, joints as COCO JSON with scores."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from selftrain.errors import DataError, RunFolderError
from selftrain.storage.atomic import whole_file, write_json
from selftrain.tasks import Task
from selftrain.types import PseudoLabels

MASKS, CONFIDENCE, JOINTS = "masks", "confidence", "keypoints.json"
VOID = 255  # in files, whatever the task calls void
Said = Iterable[tuple[PseudoLabels, tuple[int, int]]]


def write_maps(
    said: Said, task: Task, ids: Sequence[str], groups: Sequence[str], folder: str | Path, *, overwrite: bool = False
) -> Path:
    """Write what was said of the units of samples; files appear one by one, each whole.

    Args:
        said: Pseudo-labels, and height and width of the pictures.
        task: Of masks or joints.
        ids: Names of all samples.
        groups: Names of the classes or joints.
        folder: For the files, see ``Ledger.to_masks``.
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
        _write_masks(said, task, file_names(ids), folder)
    else:
        _write_joints(said, task, ids, groups, folder)
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


def _write_masks(said: Said, task: Task, names: Sequence[str], folder: Path) -> None:
    if task.groups > VOID:
        raise DataError(f"there are {task.groups} classes; a mask in a palette has room for {VOID}: write the ledger")
    colors = palette()
    for pseudo, _ in said:
        label = task.label(pseudo.value).where(pseudo.weight > 0, VOID)
        sure = (255 * task.confidence(pseudo.value)).round().clamp(0, 255)
        for row, mask, confidence in zip(pseudo.index.tolist(), _bytes(label), _bytes(sure), strict=True):
            _write(folder / MASKS / names[row], mask, colors)
            _write(folder / CONFIDENCE / names[row], confidence, None)


def _write_joints(said: Said, task: Task, ids: Sequence[str], groups: Sequence[str], folder: Path) -> None:
    pictures, found = list[dict[str, Any]](), list[dict[str, Any]]()
    size: Sequence[int] = ()
    for pseudo, (height, width) in said:
        size = pseudo.value.shape[-2:]
        units = task.units(pseudo.value, task.confidence(pseudo.value), pseudo.weight > 0).double()
        # whole numbers of COCO are centers of pixels, as `from_keypoints` reads them
        places = units[..., 3:] * units.new_tensor([width, height]) - 0.5
        for row, unit, place in zip(pseudo.index.tolist(), units, places, strict=True):
            pictures.append({"id": row, "file_name": str(ids[row]), "width": width, "height": height})
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
    kinds = [{"id": 1, "name": "sample", "keypoints": [str(name) for name in groups], "skeleton": []}]
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / JOINTS, {"info": info, "images": pictures, "annotations": found, "categories": kinds})


def _bytes(values: torch.Tensor) -> NDArray[np.uint8]:
    return values.cpu().numpy().astype(np.uint8)


def _write(path: Path, pixels: NDArray[np.uint8], colors: list[int] | None) -> None:
    from PIL import Image

    picture = Image.fromarray(pixels)
    if colors is not None:
        picture.putpalette(colors)  # turns gray into a palette, of the same numbers
    with whole_file(path, create=True) as file:
        picture.save(file, format="PNG")
