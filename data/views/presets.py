"""Recipes of weak and strong image views."""

from __future__ import annotations

from dataclasses import dataclass

from selftrain.data.views.image_ops import GEOMETRIC, POINT, Pad
from selftrain.types import plain_settings

_PADS = ("reflect", "edge", "zero")


@plain_settings
@dataclass(frozen=True)
class Weak:
    """Recipe of weak views.

    Args:
        shift: Largest shift as a share of the side, in whole pixels, in [0, 1).
        flip: Mirror half of the views left to right; only for images whose mirror image has the same class.
        crop: Smallest and largest share of the area of a random crop, resized to the full size (side ratio 3/4 to
            4/3); ``None``: no crop.
        pad: What a shift brings in: ``"reflect"``, ``"edge"`` or ``"zero"``.
    """

    # FixMatch's weak view moves by up to 12.5 % of the side.
    shift: float = 0.125
    flip: bool = False
    crop: tuple[float, float] | None = None
    pad: Pad = "reflect"

    def __post_init__(self) -> None:
        if not 0 <= self.shift < 1:
            raise ValueError(f"shift is {self.shift}; it is a share of the side, in [0, 1)")
        if self.crop is not None and not 0 < self.crop[0] <= self.crop[1] <= 1:
            raise ValueError(f"crop is {self.crop}; give smallest and largest share of the area, in (0, 1]")
        _check_pad(self.pad)


@plain_settings
@dataclass(frozen=True)
class Strong:
    """Recipe of strong views: the geometry of the weak recipe, then random operations, then cutout.

    As RandAugment in FixMatch (Sohn et al. 2020, appendix D): each operation and its strength are drawn anew for every
    sample. Differs: no sharpness and color, gamma and scale added, histogram operations are blended by their strength,
    and operations of one kind are composed before they are applied.

    Args:
        operations: Operations a view, drawn with repetition out of ``point``, ``geometric`` and one that does nothing;
            a pair: so many at least and at most, each number equally often (AugSeg, Zhao et al. 2023, arXiv:2212.04976:
            ``operations=(1, 3), geometric=()``, each at any strength).
        magnitude: Largest strength, in [0, 1]; ranges at 1 are in ``selftrain.data.views.image_ops``.
        point: Names of point operations; ``"invert"`` exists too.
        geometric: Names of geometric operations.
        cutout: Largest side of the square that is erased, as a share of the shorter side, in [0, 1].
        pad: What lies outside the image: ``"reflect"``, ``"edge"`` or ``"zero"``.
    """

    operations: int | tuple[int, int] = 2
    magnitude: float = 1.0
    # Draws are places in this tuple and in `geometric`: another order gives other views for the same seed.
    point: tuple[str, ...] = ("brightness", "contrast", "posterize", "solarize", "autocontrast", "equalize", "gamma")
    geometric: tuple[str, ...] = GEOMETRIC
    cutout: float = 0.5
    pad: Pad = "zero"

    def __post_init__(self) -> None:
        least, most = self.numbers
        if not 0 <= least <= most:
            raise ValueError(f"operations is {self.operations}; it must be 0 or more, of a pair the smaller first")
        if not 0 <= self.magnitude <= 1:
            raise ValueError(f"magnitude is {self.magnitude}; it must be in [0, 1]")
        if not 0 <= self.cutout <= 1:
            raise ValueError(f"cutout is {self.cutout}; it is a share of the side, in [0, 1]")
        for given, known in ((self.point, tuple(POINT)), (self.geometric, GEOMETRIC)):
            unknown = [name for name in given if name not in known]
            if unknown:
                raise ValueError(f"no operation {unknown[0]!r}; known are {', '.join(known)}")
        _check_pad(self.pad)

    @property
    def numbers(self) -> tuple[int, int]:
        """Operations of a view, at least and at most."""
        return (self.operations, self.operations) if isinstance(self.operations, int) else self.operations


def _check_pad(pad: str) -> None:
    if pad not in _PADS:
        raise ValueError(f"pad is {pad!r}; known are {', '.join(_PADS)}")
