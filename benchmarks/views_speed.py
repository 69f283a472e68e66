"""Weak and strong views of pictures: pairs a second on one core, beside torchvision, Pillow and albumentations.

    python benchmarks/views_speed.py [SIZE ...]

The four take turns in one process, by its processor time, one thread; each gives a batch of weak and one of strong
views, normalized. Weak: a shift by up to 1/8. Strong: the same shift, two operations drawn out of those of
``selftrain.data.Strong``, and a square that is erased. The others change one picture after the other: torchvision v2
and albumentations with their own operations, Pillow with its own between a crop, ``ToTensor`` and ``Normalize`` of
torchvision, as the published code of most methods has it. Writes benchmarks/results/views_speed.json; with sizes, such
as 32x32x3, their rows alone are measured, and the others stay.
"""

from __future__ import annotations

import json
import random
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import albumentations as A
import cv2
import numpy as np
import torch
from PIL import Image, ImageDraw, ImageEnhance, ImageOps
from torch import Tensor
from torchvision import transforms as v1
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as TF

from selftrain.data import TensorViews
from selftrain.engine.loop import versions

RESULT = Path(__file__).parent / "results" / "views_speed.json"
SIZES = ((28, 1, 112), (32, 3, 112), (64, 3, 64), (96, 3, 48), (128, 3, 32), (160, 3, 32), (224, 3, 32))
ROUNDS = 9
MEAN, STD = 0.45, 0.25
Pairs = Callable[[int], Any]


def selftrain_pairs(images: Tensor) -> Pairs:
    """Views of the library, of the whole batch."""
    views, index = TensorViews(mean=MEAN, std=STD), torch.arange(len(images))
    return lambda turn: (views("weak", images, index, turn), views("strong", images, index, turn))


def torchvision_pairs(images: Tensor) -> Pairs:
    """Transforms v2 on tensors of bytes; a crop out of the padded picture is a shift."""
    side, channels = images.shape[2], images.shape[1]
    drawn = [
        v2.ColorJitter(brightness=(0.1, 1.9)),
        v2.ColorJitter(contrast=(0.1, 1.9)),
        v2.RandomPosterize(4, p=1),
        v2.RandomSolarize(128, p=1),
        v2.RandomAutocontrast(p=1),
        v2.RandomEqualize(p=1),
        v2.Lambda(lambda x: TF.adjust_gamma(x, random.uniform(0.5, 2))),
        v2.RandomAffine(30),
        v2.RandomAffine(0, shear=(-17, 17)),
        v2.RandomAffine(0, shear=(0, 0, -17, 17)),
        v2.RandomAffine(0, translate=(0.3, 0)),
        v2.RandomAffine(0, translate=(0, 0.3)),
        v2.RandomAffine(0, scale=(0.7, 1.4)),
        v2.Identity(),
    ]
    shift = v2.RandomCrop(side, padding=side // 8, padding_mode="reflect")
    end = [v2.ToDtype(torch.float32, scale=True), v2.Normalize([MEAN] * channels, [STD] * channels)]
    erased = v2.RandomErasing(p=1, scale=(0.01, 0.25), ratio=(1, 1))
    weak = v2.Compose([shift, *end])
    strong = v2.Compose([shift, v2.RandomChoice(drawn), v2.RandomChoice(drawn), *end, erased])
    return lambda turn: [torch.stack([view(image) for image in images]) for view in (weak, strong)]


def pillow_pairs(images: Tensor) -> Pairs:
    """Operations of Pillow on pictures of Pillow."""
    side = images.shape[2]
    arrays = images.permute(0, 2, 3, 1).numpy()
    pictures = [Image.fromarray(array[:, :, 0] if array.shape[2] == 1 else array) for array in arrays]
    draw = random.Random(0)

    def affine(a: float, b: float, c: float, d: float, e: float, f: float) -> Callable[[Image.Image], Image.Image]:
        return lambda x: x.transform(x.size, Image.Transform.AFFINE, (a, b, c, d, e, f), Image.Resampling.BILINEAR)

    def zoomed(scale: float) -> Callable[[Image.Image], Image.Image]:
        return affine(scale, 0, side / 2 * (1 - scale), 0, scale, side / 2 * (1 - scale))

    drawn: list[Callable[[], Callable[[Image.Image], Image.Image]]] = [
        lambda: lambda x: ImageEnhance.Brightness(x).enhance(draw.uniform(0.1, 1.9)),
        lambda: lambda x: ImageEnhance.Contrast(x).enhance(draw.uniform(0.1, 1.9)),
        lambda: lambda x: ImageOps.posterize(x, draw.randint(4, 8)),
        lambda: lambda x: ImageOps.solarize(x, draw.randint(0, 256)),
        lambda: ImageOps.autocontrast,
        lambda: ImageOps.equalize,
        lambda: lambda x: x.point([255 * (v / 255) ** draw.uniform(0.5, 2) for v in range(256)] * len(x.getbands())),
        lambda: lambda x: x.rotate(draw.uniform(-30, 30), Image.Resampling.BILINEAR),
        lambda: affine(1, draw.uniform(-0.3, 0.3), 0, 0, 1, 0),
        lambda: affine(1, 0, 0, draw.uniform(-0.3, 0.3), 1, 0),
        lambda: affine(1, 0, draw.uniform(-0.3, 0.3) * side, 0, 1, 0),
        lambda: affine(1, 0, 0, 0, 1, draw.uniform(-0.3, 0.3) * side),
        lambda: zoomed(draw.uniform(0.7, 1.4)),
        lambda: lambda x: x,
    ]

    shift = v1.RandomCrop(side, padding=side // 8, padding_mode="reflect")
    end = v1.Compose([v1.ToTensor(), v1.Normalize([MEAN] * images.shape[1], [STD] * images.shape[1])])

    def strong(picture: Image.Image) -> Tensor:
        changed: Image.Image = shift(picture)
        for _ in range(2):
            changed = draw.choice(drawn)()(changed)
        half, x, y = draw.uniform(0, side / 4), draw.uniform(0, side), draw.uniform(0, side)
        gray: Any = 115 if changed.mode == "L" else (115, 115, 115)
        changed = changed.copy()
        ImageDraw.Draw(changed).rectangle((x - half, y - half, x + half, y + half), gray)
        result: Tensor = end(changed)
        return result

    weak = v1.Compose([shift, end])
    return lambda turn: [torch.stack([view(picture) for picture in pictures]) for view in (weak, strong)]


def albumentations_pairs(images: Tensor) -> Pairs:
    """A pipeline on arrays of bytes; a crop out of the padded picture is a shift."""
    arrays = [np.ascontiguousarray(array) for array in images.permute(0, 2, 3, 1).numpy()]
    side = images.shape[2]
    drawn = [
        A.RandomBrightnessContrast(brightness_limit=0.9, contrast_limit=0.0, p=1),
        A.RandomBrightnessContrast(brightness_limit=0.0, contrast_limit=0.9, p=1),
        A.Posterize(num_bits=(4, 8), p=1),
        A.Solarize(threshold_range=(0, 1), p=1),
        A.AutoContrast(p=1),
        A.Equalize(p=1),
        A.RandomGamma(gamma_limit=(50, 200), p=1),
        A.Affine(rotate=(-30, 30), p=1),
        A.Affine(shear={"x": (-17, 17), "y": (0, 0)}, p=1),
        A.Affine(shear={"x": (0, 0), "y": (-17, 17)}, p=1),
        A.Affine(translate_percent={"x": (-0.3, 0.3), "y": (0, 0)}, p=1),
        A.Affine(translate_percent={"x": (0, 0), "y": (-0.3, 0.3)}, p=1),
        A.Affine(scale=(0.7, 1.4), p=1),
        A.NoOp(p=1),
    ]
    shift = A.RandomCrop(side, side, pad_if_needed=False, p=1)
    margin = side // 8
    padded = A.Pad(padding=margin, border_mode=cv2.BORDER_REFLECT, p=1)
    end = [A.Normalize((MEAN,), (STD,), p=1), A.ToTensorV2(p=1)]
    hole = A.CoarseDropout(
        num_holes_range=(1, 1), hole_height_range=(0.01, 0.5), hole_width_range=(0.01, 0.5), fill=115, p=1
    )
    weak = A.Compose([padded, shift, *end])
    strong = A.Compose([padded, shift, A.SomeOf(drawn, n=2, replace=True, p=1), hole, *end])
    return lambda turn: [torch.stack([view(image=array)["image"] for array in arrays]) for view in (weak, strong)]


MAKERS = {
    "selftrain": selftrain_pairs,
    "torchvision": torchvision_pairs,
    "pillow": pillow_pairs,
    "albumentations": albumentations_pairs,
}


def main() -> None:
    """Run all, print pairs a second, write the result."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    names, rows = [f"{side}x{side}x{channels}" for side, channels, _ in SIZES], list[dict[str, Any]]()
    asked = sys.argv[1:] or names
    if len(asked) < len(names):
        rows = [row for row in json.loads(RESULT.read_text(encoding="utf-8"))["rows"] if row["size"] not in asked]
    for size, (side, channels, batch) in zip(names, SIZES, strict=True):
        if size not in asked:
            continue
        images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (batch, channels, side, side), np.uint8))
        makers = {name: make(images) for name, make in MAKERS.items()}
        spent: dict[str, list[float]] = {name: [] for name in MAKERS}
        for turn in range(ROUNDS + 1):
            for name, pairs in makers.items():
                begun = time.process_time()
                for again in range(3 if name == "selftrain" else 1):
                    pairs(3 * turn + again)
                seconds = (time.process_time() - begun) / (3 if name == "selftrain" else 1)
                spent[name] += [seconds] if turn else []  # the first turn finds what is loaded late
        for name, seconds_each in spent.items():
            rate = [batch / seconds for seconds in seconds_each]
            ratios = [other / mine for other, mine in zip(seconds_each, spent["selftrain"], strict=True)]
            rows.append(
                {
                    "size": size,
                    "batch": batch,
                    "library": name,
                    "pairs_a_second": statistics.median(rate),
                }
                | {"times_as_long": [min(ratios), statistics.median(ratios), max(ratios)]}
            )
            print(rows[-1], flush=True)
    rows.sort(key=lambda row: names.index(row["size"]))
    content = {"command": "python benchmarks/views_speed.py", "versions": versions(), "rows": rows}
    RESULT.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
