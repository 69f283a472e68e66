"""Views by albumentations pipelines, image by image on the CPU, for large images or operations of one's own."""

from __future__ import annotations

import os
import random
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import get_worker_info

from selftrain.data.base.random import keys
from selftrain.data.views.base import Normalizing, Statistic, check_name, unit_range
from selftrain.types import View


class AlbumentationsViews(Normalizing):
    """Views by any albumentations pipeline, the same for any number of loader processes.

    A pipeline of its own draws the same numbers in every process and every epoch; here each sample's generators are
    set from (seed, epoch, index, view) before it is drawn. Pipelines must not normalize: ``mean`` and ``std`` do,
    after scaling to [0, 1]. They may end in ``ToTensorV2``.

    ``View.theta`` is always ``None``: the geometry of a pipeline is not known. Use pipelines that move, turn or mirror
    for classification only, where targets have no places.

    Args:
        weak: ``albumentations.Compose`` of weak views; ``None``: shift by up to 1/8 and mirror.
        strong: The same of strong views; ``None``: the weak geometry, two operations, and a box of one color.
        flip: Whether the default pipelines mirror.
        mean: As in ``TensorViews``.
        std: As in ``TensorViews``.
        seed: Key of the draws.

    Raises:
        ValueError: for a pipeline of another library, or one that normalizes; on a call, for an unknown view, inputs
            that are no images, or a pipeline whose results differ in size or have another scale.
    """

    on_workers = True
    per_channel = (-1, 1, 1)

    def __init__(
        self,
        weak: Any = None,
        strong: Any = None,
        *,
        flip: bool = True,
        mean: Statistic = None,
        std: Statistic = None,
        seed: int = 0,
    ) -> None:
        super().__init__(mean, std, seed)
        self.weak = default_weak(flip) if weak is None else weak
        self.strong = default_strong(flip) if strong is None else strong
        for name, pipeline in (("weak", self.weak), ("strong", self.strong)):
            _check_pipeline(name, pipeline)

    @torch.no_grad()
    def __call__(self, name: str, images: Tensor, index: Tensor, epoch: int) -> View:
        """One view of images (B, C, H, W), uint8 or float in [0, 1], in the pipeline's size; see ``ViewMaker``."""
        recipe = check_name(name)
        if images.ndim != 4:
            raise ValueError(f"inputs have shape {tuple(images.shape)}, not (B, C, H, W); use TableViews for tables")
        x = images
        if recipe != "plain":
            pipeline = self.weak if recipe == "weak" else self.strong
            x = _piped(pipeline, self.spread_out(images), keys(self.seed, epoch, index, name)).to(images.device)
            x = self.narrowed(x)
        return View(self.normalize(unit_range(x)))


def _piped(pipeline: Any, images: Tensor, sample_keys: Tensor) -> Tensor:
    """Run a pipeline on every image with generators of its own."""
    if get_worker_info() is not None:
        import cv2

        cv2.setNumThreads(0)  # OpenCV would start a thread per core in every loader process
    arrays = images.permute(0, 2, 3, 1).cpu().numpy()
    results = []
    # Keys are signed; numpy takes seeds from 0 on.
    for image, key in zip(arrays, [key % (1 << 64) for key in sample_keys.tolist()], strict=True):
        # set_random_state is the fast way, and the only one that reaches every transform of a nested pipeline
        pipeline.set_random_state(np.random.default_rng(key), random.Random(key))
        result = pipeline(image=np.ascontiguousarray(image))["image"]
        if isinstance(result, Tensor):  # ToTensorV2 puts the channels first
            result = (result if result.ndim == 2 else result.movedim(0, -1)).numpy()
        _check_scale(result)
        results.append(result[:, :, None] if result.ndim == 2 else result)
    # pipelines may end in any size, but a batch is one tensor
    sizes = sorted({result.shape for result in results})
    if len(sizes) > 1:
        raise ValueError(f"the pipeline gives images of {sizes[0]} and {sizes[1]}; end it with a crop or a resize")
    return torch.from_numpy(np.stack(results)).permute(0, 3, 1, 2).contiguous()


def _check_pipeline(name: str, pipeline: Any) -> None:
    """Refuse what is no pipeline of albumentations, and one that normalizes: plain views would be on another scale."""
    if not hasattr(pipeline, "set_random_state"):
        raise ValueError(
            f"{name} is a {type(pipeline).__module__.partition('.')[0]} {type(pipeline).__name__}, and no pipeline of "
            "albumentations; pass albumentations.Compose([...]), or take TensorViews for views without that library"
        )
    inside = [pipeline]
    while inside:
        step = inside.pop()
        if type(step).__name__ == "Normalize":
            raise ValueError(
                f"{name} has a Normalize, and views are normalized once more by mean and std, as plain ones are; take "
                "it out (and pass its numbers as AlbumentationsViews(mean=..., std=...) if it must be those)"
            )
        inside += getattr(step, "transforms", None) or []


def _check_scale(result: Any) -> None:
    """Refuse values that are no picture's: the pipeline has normalized them, or changed their scale."""
    if result.dtype.kind == "f" and result.size:
        low, high = float(result.min()), float(result.max())
        if not -0.1 <= low <= high <= 1.1:  # a little over comes of resampling
            raise ValueError(
                f"the pipeline gives values from {low:.3g} to {high:.3g}, where pictures have 0 to 255 or 0.0 to 1.0; "
                "do not normalize in it: mean and std do so afterwards"
            )


def _albumentations() -> Any:
    """Import albumentations without the look-up of newer versions that it makes on the network."""
    # importing it asks a server for newer versions; no import of ours makes a network call
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    import albumentations

    return albumentations


def default_weak(flip: bool = True) -> Any:
    """Shift by up to 1/8 of the side, reflected at the edge, and mirror half of the images where ``flip``."""
    library = _albumentations()
    return library.Compose(_shift_and_mirror(library, flip))


def default_strong(flip: bool = True) -> Any:
    """The weak geometry, two of eight operations at random, and a box of up to half a side filled with one color."""
    library = _albumentations()
    drawn = [
        library.RandomBrightnessContrast(brightness_limit=0.8, contrast_limit=0.0, p=1),
        library.RandomBrightnessContrast(brightness_limit=0.0, contrast_limit=0.8, p=1),
        library.RandomGamma(gamma_limit=(50, 200), p=1),
        library.Posterize(num_bits=(4, 8), p=1),
        library.Solarize(p=1),
        library.Equalize(p=1),
        library.Affine(rotate=(-30, 30), p=1),
        library.Affine(shear=(-17, 17), scale=(0.7, 1.4), p=1),
    ]
    erased = library.CoarseDropout(
        num_holes_range=(1, 1), hole_height_range=(0.1, 0.5), hole_width_range=(0.1, 0.5), fill="random_uniform", p=1
    )
    return library.Compose([*_shift_and_mirror(library, flip), library.SomeOf(drawn, n=2, p=1), erased])


def _shift_and_mirror(library: Any, flip: bool) -> list[Any]:
    import cv2

    shift = library.Affine(translate_percent=(-0.125, 0.125), border_mode=cv2.BORDER_REFLECT_101, p=1)
    return [shift, library.HorizontalFlip(p=0.5)] if flip else [shift]
