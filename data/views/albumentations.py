"""Views by albumentations pipelines, image by image on the CPU, for large images or operations of one's own."""

from __future__ import annotations

import copy
import os
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import takewhile
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import get_worker_info

from selftrain.data.base.random import keys
from selftrain.data.views.base import Normalizing, Statistic, check_name, unit_range
from selftrain.types import OUTSIDE, View

# beside the image: as what of albumentations a map is resampled
_MAPS = {"pixels": "mask", "places": "masks"}


class AlbumentationsViews(Normalizing):
    """Views by any albumentations pipeline, the same for any number of loader processes.

    A pipeline of its own draws the same numbers in every process and every epoch; here each sample's generators are
    set from (seed, epoch, index, view) before it is drawn. Pipelines must not normalize: ``mean`` and ``std`` do,
    after scaling to [0, 1]. They may end in ``ToTensorV2``.

    ``View.places`` and ``View.pixels`` tell what each pixel of a view shows: a map of columns and rows goes through the
    pipeline beside the image, as a mask that is resampled linearly, and as one that is resampled as the pipeline
    resamples masks. Padding of any kind shows nothing; what a box hides keeps its label. Streams leave the maps out
    where targets have no places.

    Args:
        weak: ``albumentations.Compose`` of weak views; ``None``: shift by up to 1/8 and mirror.
        strong: The same of strong views; ``None``: the weak geometry, two operations, and a box of one color.
        flip: Whether the default pipelines mirror.
        mean: As in ``TensorViews``.
        std: As in ``TensorViews``.
        seed: Key of the draws.
        shared: Whether steps that both pipelines begin with, as the default ones do, draw alike for strong views (also
            ``"strong2"``) and the weak one, so that its pseudo-labels fit them pixel by pixel but for what the strong
            one adds. ``None``: where targets have places (masks, joints), as streams ask for.

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
        shared: bool | None = None,
    ) -> None:
        super().__init__(mean, std, seed)
        self._places, self.shared = True, shared
        self.weak = default_weak(flip) if weak is None else weak
        self.strong = default_strong(flip) if strong is None else strong
        for name, pipeline in (("weak", self.weak), ("strong", self.strong)):
            _check_pipeline(name, pipeline)
        self._mapped = {"weak": _mapped(self.weak), "strong": _mapped(self.strong)}
        both = zip(*(getattr(one, "transforms", []) for one in (self.weak, self.strong)), strict=False)
        self._alike = len(list(takewhile(lambda pair: repr(pair[0]) == repr(pair[1]), both)))

    def placed(self, wanted: bool) -> AlbumentationsViews:
        """The same maker, whose views have ``places``, and if nothing else is set one geometry, where ``wanted``.

        Raises:
            ValueError: a pipeline moves images in a way that masks do not follow.
        """
        for name in self._mapped if wanted else ():
            unknown = next((step for step in _steps(getattr(self, name)) if not _moves_masks(step)), None)
            if unknown is not None:
                kind = type(unknown).__name__
                remedy = "give its mask=... as well" if kind == "Lambda" else "take it out"
                raise ValueError(
                    f"{name} has a {kind}, which changes images in a way that masks and joints do not follow; {remedy}"
                )
        changed = copy.copy(self)
        changed._places = wanted
        changed.shared = wanted if self.shared is None else self.shared
        return changed

    def __call__(self, name: str, images: Tensor, index: Tensor, epoch: int) -> View:
        """One view of images (B, C, H, W), uint8 or float in [0, 1], in the pipeline's size; see ``ViewMaker``."""
        view = self.begun(name, images, index, epoch)
        return replace(view, x=self.finished(view.x))

    @property
    def mirrors(self) -> bool:
        """Whether weak or strong views may be mirror images."""
        kinds = {type(step).__name__ for pipeline in (self.weak, self.strong) for step in _steps(pipeline)}
        return not kinds.isdisjoint({"HorizontalFlip", "VerticalFlip", "Transpose", "D4", "SquareSymmetry"})

    @torch.no_grad()
    def begun(self, name: str, images: Tensor, index: Tensor, epoch: int) -> View:
        """The view as the pipeline leaves it, not normalized: a loader process sends bytes, a quarter of the floats."""
        recipe = check_name(name)
        if images.ndim != 4:
            raise ValueError(f"inputs have shape {tuple(images.shape)}, not (B, C, H, W); use TableViews for tables")
        if recipe == "plain":
            return View(images)
        pipeline = self._mapped[recipe] if self._places else getattr(self, recipe)
        sample_keys, first = keys(self.seed, epoch, index, name), None
        if self.shared and recipe == "strong":
            first = keys(self.seed, epoch, index, "weak"), self._alike
        x, *maps = _piped(pipeline, self.spread_out(images), sample_keys, self._places, first)
        pixels, places = (_places(m.to(images.device), images.shape[2:]) for m in maps) if maps else (None, None)
        return View(self.narrowed(x.to(images.device)), None, places, pixels)

    @torch.no_grad()
    def finished(self, x: Tensor) -> Tensor:
        """What ``begun`` gave, normalized."""
        return self.normalize(x if x.dtype == torch.uint8 else unit_range(x))


def _piped(
    pipeline: Any, images: Tensor, sample_keys: Tensor, places: bool, first: tuple[Tensor, int] | None
) -> list[Tensor]:
    """Run a pipeline on every image with generators of its own: images, and their two maps where ``places``.

    ``first``: keys for so many steps at its beginning, and for its own draws.
    """
    if get_worker_info() is not None:
        import cv2

        cv2.setNumThreads(0)  # OpenCV would start a thread per core in every loader process
    arrays = images.permute(0, 2, 3, 1).cpu().numpy()
    results: list[list[Any]] = []
    height, width = images.shape[2:]
    # column, row, and a constant: where that is gone the view shows nothing of the image
    columns, rows = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    origin = np.stack([columns, rows, np.ones_like(rows)], -1)
    # keys are signed; numpy takes seeds from 0 on
    begun, alike = (sample_keys, None) if first is None else first
    for image, key, own in zip(arrays, *(_unsigned(k) for k in (begun, sample_keys)), strict=True):
        # set_random_state is the fast way, and the only one that reaches every transform of a nested pipeline
        pipeline.set_random_state(np.random.default_rng(key), random.Random(key))
        if alike is not None:
            generators = np.random.default_rng(own), random.Random(own)
            for step in getattr(pipeline, "transforms", [])[alike:]:
                step.set_random_state(*generators)
        more = {"pixels": origin.copy(), "places": origin[None].copy()} if places else {}
        made = pipeline(image=np.ascontiguousarray(image), **more)
        result = made["image"]
        if isinstance(result, Tensor):  # ToTensorV2 puts the channels first
            result = (result if result.ndim == 2 else result.movedim(0, -1)).numpy()
        _check_scale(result)
        maps = [np.asarray(made[name]).reshape(*result.shape[:2], 3) for name in more]
        results.append([result[:, :, None] if result.ndim == 2 else result, *maps])
    # pipelines may end in any size, but a batch is one tensor
    sizes = sorted({result[0].shape for result in results})
    if len(sizes) > 1:
        raise ValueError(f"the pipeline gives images of {sizes[0]} and {sizes[1]}; end it with a crop or a resize")
    stacks = [torch.from_numpy(np.stack(one)) for one in zip(*results, strict=True)]
    return [stacks[0].permute(0, 3, 1, 2).contiguous(), *stacks[1:]]


def _unsigned(sample_keys: Tensor) -> list[int]:
    return [key % (1 << 64) for key in sample_keys.tolist()]


def _places(layers: Tensor, size: Sequence[int]) -> Tensor:
    """A map of columns and rows, (B, H, W, 3), as places from -1 to 1, (B, H, W, 2)."""
    share = layers[..., 2:]
    # blended with the padding beside it a pixel has a part of its numbers and the same part of the constant
    place = layers[..., :2] / share.clamp(min=0.5)
    place = (2 * place + 1) / place.new_tensor([size[1], size[0]]) - 1
    return torch.where(share >= 0.5, place, OUTSIDE)


def _steps(pipeline: Any) -> Iterator[Any]:
    """Every transform of a pipeline, and those inside others."""
    yield pipeline
    for step in getattr(pipeline, "transforms", None) or ():
        yield from _steps(step)


def _moves_masks(step: Any) -> bool:
    """Whether masks go where a transform puts the parts of an image; what only hides or recolors parts moves none."""
    if type(step).__name__ == "Lambda":
        image, mask = (getattr(step.custom_apply_fns[name], "__name__", "") for name in ("image", "mask"))
        return image == "noop" or mask != "noop"
    return type(step).__name__ not in {"Mosaic", "CopyAndPaste", "MaskDropout"}  # other images come in; masks are cut


def _mapped(pipeline: Any) -> Any:
    """A copy of a pipeline that takes the maps ``_MAPS`` beside an image, of which padding leaves nothing."""
    changed = copy.deepcopy(pipeline)
    for step in _steps(changed):
        if type(step).__name__ == "ToTensorV2":
            step.transpose_mask = False
        if hasattr(step, "apply_to_mask") and (hasattr(step, "fill_mask") or hasattr(step, "mask_interpolation")):
            step.apply_to_mask = partial(_with, step, type(step).apply_to_mask, False)
            step.apply_to_masks = partial(_with, step, type(step).apply_to_mask, True)
    changed.add_targets(_MAPS)
    return changed


def _with(step: Any, apply: Any, linear: bool, mask: Any, **drawn: Any) -> Any:
    """A step's own way with a mask, or with several if ``linear``: padding is 0, no hole is cut, values are blended."""
    import cv2

    # A dropout hides a place, it does not move it: None leaves masks alone.
    fill = None if "holes" in drawn else 0.0
    wanted = {"border_mode": cv2.BORDER_CONSTANT, "fill_mask": fill}
    if linear:
        wanted["mask_interpolation"] = cv2.INTER_LINEAR
    own = {name: vars(step)[name] for name in wanted if name in vars(step)}
    vars(step).update({name: wanted[name] for name in own})
    try:
        drawn |= {"fill_mask": fill} if "fill_mask" in drawn else {}
        return np.stack([apply(step, one, **drawn) for one in mask]) if linear else apply(step, mask, **drawn)
    finally:
        vars(step).update(own)


def _check_pipeline(name: str, pipeline: Any) -> None:
    """Refuse what is no pipeline of albumentations, and one that normalizes: plain views would be on another scale."""
    if not hasattr(pipeline, "set_random_state"):
        raise ValueError(
            f"{name} is a {type(pipeline).__module__.partition('.')[0]} {type(pipeline).__name__}, and no pipeline of "
            "albumentations; pass albumentations.Compose([...]), or take TensorViews for views without that library"
        )
    for step in _steps(pipeline):
        if type(step).__name__ == "Normalize":
            raise ValueError(
                f"{name} has a Normalize, and views are normalized once more by mean and std, as plain ones are; take "
                "it out (and pass its numbers as AlbumentationsViews(mean=..., std=...) if it must be those)"
            )


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
