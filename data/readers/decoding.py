"""Decoding of image files and of the formats that data sets come in."""

from __future__ import annotations

import contextlib
import gzip
import io
import math
import os
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from selftrain.data.base.memory import machine_memory
from selftrain.data.base.samples import Limits, limits_setting
from selftrain.errors import DataError

Mode = Literal["RGB", "L"]
Fit = Literal["crop", "stretch", "pad"]
Bytes = NDArray[np.uint8]
IMAGE_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")  # no other decoder sees a file, whatever its name


def read_idx(path: Path) -> Bytes:
    """Read an IDX file of bytes, as it is or, with ``.gz`` added to its name, compressed.

    Raises:
        DataError: the file is missing or damaged.
    """
    packed = path.with_name(path.name + ".gz")
    try:
        if path.is_file():
            content = path.read_bytes()
        else:
            with gzip.open(packed) as file:
                content = _unpacked_idx(file)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"cannot read {path} (or {packed.name}): {error}") from error
    axes = content[3] if len(content) > 3 and content[:3] == b"\0\0\x08" else 0
    shape = [int.from_bytes(content[4 + 4 * i : 8 + 4 * i], "big") for i in range(axes)]
    values = np.frombuffer(content, np.uint8, offset=min(len(content), 4 + 4 * axes))
    # one byte too many or too few is damage: nothing of such a file can be trusted
    if not axes or len(values) != np.prod(shape):
        raise DataError(f"{path} is no whole IDX file of bytes; fetch it again")
    # A copy: what frombuffer gives is read-only, and torch warns of undefined behavior.
    whole: Bytes = values.reshape(shape).copy()
    return whole


def _unpacked_idx(file: io.BufferedIOBase) -> bytes:
    """The content up to one byte more than its head announces: an archive may unpack to anything."""
    head = file.read(4)
    axes = file.read(4 * head[3]) if len(head) == 4 else b""
    sizes = [int.from_bytes(axes[i : i + 4], "big") for i in range(0, len(axes), 4)]
    size = math.prod(sizes)
    if size > machine_memory():
        raise OSError(f"its head announces {size:,} bytes, more than this machine's memory")
    return head + axes + file.read(size + 1)


def encoded_images(data: Bytes, offsets: NDArray[np.int64], source: str) -> Bytes:
    """Decode image files of one size that lie one behind another, to RGB (N, H, W, 3)."""
    pieces = [data[start:end].tobytes() for start, end in zip(offsets[:-1], offsets[1:], strict=True)]
    return np.stack([decode(io.BytesIO(piece), "RGB", f"image {i} of {source}") for i, piece in enumerate(pieces)])


def decode(
    file: Any,
    mode: Mode,
    name: str,
    size: tuple[int, int] | None = None,
    fit: Fit = "crop",
    limits: Limits | None = None,
) -> Bytes:
    """Decode an image file to 8 bits a channel.

    The orientation that a camera noted is applied, transparency is laid on white, 16-bit gray is scaled by 255/65535.

    Args:
        file: Path or open file.
        mode: ``"RGB"`` or ``"L"`` (gray).
        name: What messages call it.
        size: Height and width to bring it to; ``None``: as it is.
        fit: ``"crop"`` scales until the image covers ``size`` and cuts what is over, centered; ``"stretch"`` changes
            the side ratio; ``"pad"`` keeps all of it and fills the rest with black.
        limits: Values of gray images of more than 8 bits that mean black and white; ``None``: 0 and 65535.

    Returns:
        (H, W, 3) or (H, W).

    Raises:
        DataError: the file is of none of ``IMAGE_FORMATS``, unreadable, damaged, cut short, or has more pixels than
            ``PIL.Image.MAX_IMAGE_PIXELS``.
    """
    from PIL import Image

    with named(name), Image.open(file, formats=IMAGE_FORMATS) as opened:
        return _converted(opened, mode, name, size, fit, limits)


def to_bytes(
    image: Any,
    mode: Mode,
    name: str,
    size: tuple[int, int] | None = None,
    fit: Fit = "crop",
    limits: Limits | None = None,
) -> Bytes:
    """Bring a picture of Pillow to 8 bits a channel; arguments, result and errors as of ``decode``."""
    with named(name):
        return _converted(image, mode, name, size, fit, limits)


@contextlib.contextmanager
def named(name: str) -> Iterator[None]:
    """Errors inside are of the picture of this name; the pixels are read there, so damage shows there."""
    try:
        yield
    except DataError:
        raise
    except MemoryError as error:  # which is no fault of the picture
        words = f"memory is too short to decode image {name}; read with fewer workers, or free memory"
        raise MemoryError(words) from error
    except Exception as error:  # a decoder that is fed with garbage may raise anything
        reason = str(error) or type(error).__name__
        raise DataError(f"cannot read image {name}: {reason}; repair or remove it") from error


def _converted(
    opened: Any, mode: Mode, name: str, size: tuple[int, int] | None, fit: Fit, limits: Limits | None
) -> Bytes:
    from PIL import Image, ImageOps

    # Pillow itself only warns up to twice this limit.
    most = Image.MAX_IMAGE_PIXELS
    if most is not None and opened.width * opened.height > most:
        raise DataError(
            f"image {name} has {opened.width} x {opened.height} pixels, more than the {most:,} that Pillow takes for "
            "safe; shrink it, or raise PIL.Image.MAX_IMAGE_PIXELS if you trust it"
        )
    # before anything is looked at: Pillow reads lazily, and damage must show here
    opened.load()
    # Turned first: an image made anew from an array has lost the note of its orientation.
    image = _opaque(_eight_bits(ImageOps.exif_transpose(opened), name, limits)).convert(mode)
    return np.array(image if size is None else fitted(image, size, fit, Image.Resampling.BICUBIC, 0))


def fitted(image: Any, size: tuple[int, int], fit: Fit, method: Any, fill: int) -> Any:
    """A picture of Pillow, or a mask, in another size; ``fill`` is what ``"pad"`` adds."""
    from PIL import ImageOps

    target = (size[1], size[0])
    if fit == "stretch":
        return image.resize(target, method)
    return ImageOps.fit(image, target, method) if fit == "crop" else ImageOps.pad(image, target, method, fill)


def extent_of(picture: Any) -> tuple[int, int]:
    """Height and width of a file, or a picture of Pillow, as it is shown: cameras note that one is turned."""
    from PIL import Image

    with Image.open(picture) if isinstance(picture, str | os.PathLike) else contextlib.nullcontext(picture) as opened:
        turned = opened.getexif().get(0x0112, 1) >= 5  # by a quarter
        width, height = opened.size[::-1] if turned else opened.size
    return height, width


def is_deep(image: Any) -> bool:
    """Whether a picture is gray with more than 8 bits."""
    return bool(image.mode == "F" or image.mode.startswith("I"))


def used_range(image: Any) -> tuple[float, float] | None:
    """Between which values all but a thousandth of the pixels lie at each end; ``None``: a picture of 8 bits."""
    # a sensor has pixels that are always white: by the extremes every dim picture would use the full range
    return tuple(np.percentile(np.asarray(image), (0.1, 99.9)).tolist()) if is_deep(image) else None


def few_levels(ranges: Sequence[tuple[float, float]], limits: Limits | None) -> str:
    """What to say of pictures whose ``used_range`` leaves few gray levels; empty: there are enough."""
    if not ranges:
        return ""
    black, white = limits or (0, 65535)
    used = np.clip((np.array(ranges) - black) * (255 / (white - black)), 0, 255).round()
    left, had = (int(np.median(np.diff(pair))) + 1 for pair in (used, np.array(ranges)))
    if left >= min(had, 100):
        return ""
    low, high = math.floor(min(low for low, _ in ranges)), math.ceil(max(high for _, high in ranges))
    return (
        f"{len(ranges):,} pictures of more than 8 bits hold values from {low} to {high}: with {black:g} as black and "
        f"{white:g} as white {left} gray level{'' if left == 1 else 's'} of {had:,} are left; say "
        f"{limits_setting(low, high)}"
    )


def is_cut(opened: Any) -> bool:
    """Whether a picture that is not decoded yet has 16 bits a color, of which Pillow reads the upper 8."""
    return not is_deep(opened) and any(";16" in str(tile[-1]) for tile in opened.tile)


def few_upper_levels(levels: Sequence[int]) -> str:
    """What to say of ``is_cut`` pictures that have so many levels after that; empty: there are enough."""
    left = int(np.median(levels)) if levels else 256
    if left >= 100:
        return ""
    return (
        f"{len(levels):,} pictures have 16 bits a color, of which the upper 8 are read, and use so few of them that "
        f"{left} of 256 levels of a color remain; save them with 8 bits, brightened first"
    )


def _eight_bits(image: Any, name: str, limits: Limits | None) -> Any:
    """Scale modes of more than 8 bits; Pillow's own conversion cuts their values off at 255."""
    from PIL import Image

    if not is_deep(image):
        return image
    low, high = float(np.min(image)), float(np.max(image))
    if not np.isfinite(high - low):
        raise DataError(f"image {name} holds values that are not finite; repair or remove it")
    if limits is not None:
        black, white = limits
        levels = (np.asarray(image, np.float64) - black) * (255 / (white - black))
        return Image.fromarray(levels.clip(0, 255).round().astype(np.uint8))
    if image.mode == "F" or low < 0 or high > 65535:
        raise DataError(
            f"image {name} holds values from {low:g} to {high:g}; say which are black and white: {limits_setting()}"
        )
    # rounded in whole numbers, so that black and white stay exact
    return Image.fromarray(((np.asarray(image).astype(np.int64) * 255 + 32767) // 65535).astype(np.uint8))


def transparency(image: Any) -> Literal["none", "some", "all"]:
    """Whether a picture has places that are not opaque; ``"all"``: nothing is left of it when it is laid on white."""
    if not has_alpha(image):
        return "none"
    colored = image.convert("RGBA")
    if colored.getchannel("A").getextrema()[0] == 255:
        return "none"
    # one color is a picture of its own if it was one before
    seen = all(low == high for low, high in _opaque(colored).convert("RGB").getextrema())
    return "all" if seen and len(set(colored.getchannel("A").getextrema())) > 1 else "some"


def has_alpha(image: Any) -> bool:
    """Whether a picture may have transparency."""
    return image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info


def _opaque(image: Any) -> Any:
    """Lay transparency on white; what lies under transparent pixels is arbitrary."""
    from PIL import Image

    if not has_alpha(image):
        return image
    colored = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", colored.size, "white"), colored)
