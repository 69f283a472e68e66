"""Sets in memory and on disk: axes, value ranges, modes, damage, and what messages name."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from selftrain.data import ArraySet, FileSet, Subset
from selftrain.data.readers.decoding import decode, read_idx
from selftrain.errors import DataError

RANDOM = np.random.default_rng(0)


def rows(*numbers):
    return np.array(numbers)


# --- arrays


@pytest.mark.parametrize(
    ("shape", "channels", "expected"),
    [
        ((5, 8, 9), None, (5, 1, 8, 9)),
        ((5, 8, 9, 3), None, (5, 3, 8, 9)),
        ((5, 8, 9, 1), None, (5, 1, 8, 9)),
        ((5, 3, 8, 9), None, (5, 3, 8, 9)),
        ((5, 3, 8, 3), "first", (5, 3, 8, 3)),
        ((5, 3, 8, 3), "last", (5, 3, 3, 8)),
        ((5, 2, 8, 9), "first", (5, 2, 8, 9)),
    ],
)
def test_axes_are_brought_into_order(shape, channels, expected):
    x = RANDOM.integers(0, 256, shape, dtype=np.uint8)
    images = ArraySet(x, channels=channels).images(np.arange(5))
    assert images.shape == expected
    assert images.dtype == torch.uint8
    if len(shape) == 4 and shape[1:] != expected[1:]:
        assert np.array_equal(images.permute(0, 2, 3, 1).numpy(), x)


@pytest.mark.parametrize("shape", [(5, 3, 8, 3), (5, 7, 8, 9)])
def test_an_unclear_channel_axis_asks_for_the_argument(shape):
    with pytest.raises(DataError, match=r'channels="first" or channels="last"'):
        ArraySet(np.zeros(shape, np.uint8))


@pytest.mark.parametrize("shape", [(4,), (1, 2, 3, 4, 5)])
def test_other_shapes_are_refused_with_the_shape(shape):
    with pytest.raises(DataError, match=str(shape[0])):
        ArraySet(np.zeros(shape))


def test_tables_stay_tables_of_floats():
    values = ArraySet([[1, 2000, -3], [4, 5, 6]]).images(rows(1, 0))
    assert values.dtype == torch.float32
    assert values.tolist() == [[4, 5, 6], [1, 2000, -3]]


def test_pixels_keep_or_get_their_type():
    levels = np.array([[[0, 255]]])
    assert ArraySet(levels.astype(np.int64)).images(rows(0)).dtype == torch.uint8
    assert ArraySet(levels > 0).images(rows(0)).flatten().tolist() == [0, 255]
    assert ArraySet(levels / 255).images(rows(0)).dtype == torch.float32
    assert ArraySet(torch.tensor(levels, dtype=torch.float16) / 255).images(rows(0)).dtype == torch.float32
    assert ArraySet(levels.astype(np.uint16)).images(rows(0)).flatten().tolist() == [0, 255]


def test_limits_map_black_and_white():
    scan = np.array([[[-1000.0, 1000.0, 3000.0]]])
    assert ArraySet(scan, limits=(-1000, 3000)).images(rows(0)).flatten().tolist() == [0.0, 0.5, 1.0]
    with pytest.raises(ValueError, match="3, 3"):
        ArraySet(scan, limits=(3, 3))


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (np.full((2, 4, 4), 16.0), "to 16; give uint8"),
        (np.full((2, 4, 4), -0.5), "from -0.5"),
        (np.full((2, 4, 4), 256), "to 256"),
        (np.array([["a", "b"]]), "holds text, such as 'a'"),
        (np.array([[None, 1]]), "1 values of x are None"),
    ],
)
def test_values_that_are_no_pixels_are_refused(x, words):
    with pytest.raises(DataError, match=words):
        ArraySet(x)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("shape", [(6000, 4), (6000, 2, 2)])
def test_a_value_that_is_not_finite_is_named_with_its_row(value, shape):
    x = np.zeros(shape)
    x[5017].flat[2] = value
    with pytest.raises(DataError, match=f"sample 5017 holds {value}"):
        ArraySet(x)


def test_annotations_and_ids_belong_to_rows():
    x = np.zeros((3, 4, 4), np.uint8)
    assert ArraySet(x, np.array([0, 1, -1], np.int8)).annotations.dtype == torch.int64
    assert ArraySet(x, np.zeros((3, 2), np.float64)).annotations.dtype == torch.float32
    assert list(ArraySet(x).ids) == ["0", "1", "2"]
    assert list(ArraySet(x, ids=["a", "b", "c"]).ids) == ["a", "b", "c"]
    with pytest.raises(DataError, match="3 samples but 2 annotations"):
        ArraySet(x, [0, 1])
    with pytest.raises(DataError, match="3 samples but 1 ids"):
        ArraySet(x, ids=["a"])


def test_fetched_rows_are_a_copy():
    samples = ArraySet(np.zeros((2, 4, 4), np.uint8))
    samples.images(rows(0)).fill_(7)
    assert int(samples.images(rows(0)).max()) == 0


def test_a_subset_carries_rows_annotations_and_ids():
    base = ArraySet(np.arange(4 * 4, dtype=np.uint8).reshape(4, 2, 2), [5, 6, 7, 8])
    part = Subset(Subset(base, [3, 1, 0]), [2, 0])
    assert len(part) == 2
    assert part.annotations.tolist() == [5, 8]
    assert list(part.ids) == ["0", "3"]
    assert torch.equal(part.images(rows(1, 0)), base.images(rows(3, 0)))
    assert Subset(base, [0], annotated=False).annotations is None
    with pytest.raises(DataError, match="row 4 is outside the set, which has 4 rows"):
        Subset(base, [0, 4])


# --- files


def save(path, array, mode=None, **options):
    Image.fromarray(array, mode).save(path, **options) if mode else Image.fromarray(array).save(path, **options)
    return path


@pytest.fixture
def color():
    return RANDOM.integers(0, 256, (6, 8, 3), dtype=np.uint8)


def test_files_are_decoded_in_the_mode_asked_for(tmp_path, color):
    paths = [save(tmp_path / "ä image.png", color), save(tmp_path / "b.png", 255 - color)]
    samples = FileSet(paths, [1, -1])
    assert np.array_equal(samples.images(rows(1, 0))[1].permute(1, 2, 0).numpy(), color)
    assert samples.annotations.tolist() == [1, -1]
    assert list(samples.ids) == [str(path) for path in paths]
    gray = FileSet(paths, mode="L").images(rows(0))
    assert gray.shape == (1, 1, 6, 8)
    luma = color @ np.array([0.299, 0.587, 0.114])
    assert abs(gray[0, 0].numpy() - luma).max() <= 1


@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_sixteen_bits_are_scaled_and_not_cut_off(tmp_path, suffix):
    deep = np.array([[0, 128, 257, 32896, 65535]], np.uint16)
    path = save(tmp_path / f"deep.{suffix}", deep)
    assert FileSet([path], mode="L").images(rows(0)).flatten().tolist() == [0, 0, 1, 128, 255]
    assert FileSet([path]).images(rows(0))[0, :, 0, 3].tolist() == [128] * 3


def test_a_file_of_floats_is_refused(tmp_path):
    path = save(tmp_path / "floats.tiff", np.ones((3, 3), np.float32))
    with pytest.raises(DataError, match="say which are black and white: limits="):
        FileSet([path]).images(rows(0))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16"])
def test_every_mode_becomes_rgb(tmp_path, mode):
    plain = Image.fromarray(np.full((4, 4, 3), 255, np.uint8))
    image = Image.fromarray(np.full((4, 4), 65535, np.uint16)) if mode == "I;16" else plain.convert(mode)
    path = tmp_path / ("white.tiff" if mode == "CMYK" else "white.png")
    image.save(path)
    assert FileSet([path]).images(rows(0)).unique().tolist() == [255]


def test_transparency_is_laid_on_white(tmp_path):
    pixels = np.zeros((1, 2, 4), np.uint8)
    pixels[0, :, 0], pixels[0, 1, 3] = 200, 255
    path = save(tmp_path / "clear.png", pixels)
    assert FileSet([path]).images(rows(0))[0, :, 0, 0].tolist() == [255, 255, 255]
    assert FileSet([path]).images(rows(0))[0, :, 0, 1].tolist() == [200, 0, 0]


def test_the_orientation_a_camera_noted_is_applied(tmp_path, color):
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    Image.fromarray(color).save(tmp_path / "turned.png", exif=exif)
    images = FileSet([tmp_path / "turned.png"]).images(rows(0))
    assert np.array_equal(images[0].permute(1, 2, 0).numpy(), np.rot90(color, -1))


def test_size_and_fit(tmp_path):
    wide = np.zeros((10, 30, 3), np.uint8)
    wide[:, 10:20] = 255  # a white middle third
    path = save(tmp_path / "wide.png", wide)
    assert FileSet([path], size=10).images(rows(0)).float().mean() > 240
    stretched = FileSet([path], size=10, fit="stretch").images(rows(0))
    assert stretched.shape == (1, 3, 10, 10)
    assert abs(stretched.float().mean() - 85) < 10
    assert FileSet([path], size=(4, 6)).images(rows(0)).shape == (1, 3, 4, 6)


def test_different_sizes_are_named(tmp_path):
    paths = [save(tmp_path / f"{side}.png", np.zeros((side, 5, 3), np.uint8)) for side in (5, 6)]
    with pytest.raises(DataError, match=r"6\.png is 6x5 but .*5\.png is 5x5; pass size="):
        FileSet(paths).images(rows(0, 1))


def test_arguments_are_checked(tmp_path, color):
    path = save(tmp_path / "a.png", color)
    for options in ({"mode": "BGR"}, {"fit": "zoom"}, {"size": 0}):
        with pytest.raises(ValueError, match=str(next(iter(options.values())))):
            FileSet([path], **options)
    with pytest.raises(DataError, match=r"no file .*missing\.png"):
        FileSet([path, tmp_path / "missing.png"])
    with pytest.raises(DataError, match="1 samples but 2 annotations"):
        FileSet([path], [0, 1])


def damaged(kind, color):
    if kind == "empty":
        return b""
    if kind == "text":
        return b"not an image at all"
    file = io.BytesIO()
    Image.fromarray(np.kron(color, np.ones((9, 9, 1), np.uint8))).save(file, "jpeg" if "jpeg" in kind else "png")
    content = bytearray(file.getvalue())
    if "short" in kind:
        return bytes(content[: len(content) // 2])
    content[len(content) // 2] ^= 0xFF
    return bytes(content)


@pytest.mark.parametrize("kind", ["empty", "text", "png short", "jpeg short", "png flipped"])
def test_a_damaged_file_is_an_error_that_names_it(tmp_path, color, kind):
    path = tmp_path / "bad file.img"
    path.write_bytes(damaged(kind, color))
    with pytest.raises(DataError, match=r"cannot read image .*bad file\.img"):
        FileSet([path]).images(rows(0))


def test_the_cache_spares_the_second_reading(tmp_path, color):
    path = save(tmp_path / "a.png", color)
    kept, fresh = FileSet([path], cache=True), FileSet([path])
    first = kept.images(rows(0))
    path.unlink()
    assert torch.equal(kept.images(rows(0)), first)
    with pytest.raises(DataError, match=r"a\.png"):
        fresh.images(rows(0))


# --- IDX files


def idx(array):
    head = bytes([0, 0, 8, array.ndim]) + b"".join(int(n).to_bytes(4, "big") for n in array.shape)
    return head + array.tobytes()


def test_idx_files_are_read_plain_and_compressed(tmp_path):
    import gzip

    array = RANDOM.integers(0, 256, (3, 4, 5), dtype=np.uint8)
    (tmp_path / "plain").write_bytes(idx(array))
    (tmp_path / "packed.gz").write_bytes(gzip.compress(idx(array)))
    assert np.array_equal(read_idx(tmp_path / "plain"), array)
    assert np.array_equal(read_idx(tmp_path / "packed"), array)


@pytest.mark.parametrize("content", [b"", b"\0\0", b"text file", idx(np.zeros((3, 4), np.uint8))[:-1]])
def test_a_damaged_idx_file_is_named(tmp_path, content):
    (tmp_path / "cut").write_bytes(content)
    with pytest.raises(DataError, match="cut is no whole IDX file"):
        read_idx(tmp_path / "cut")
    with pytest.raises(DataError, match="cannot read"):
        read_idx(tmp_path / "missing")


def test_decode_names_what_it_was_given():
    with pytest.raises(DataError, match="image 3 of archive"):
        decode(io.BytesIO(b"?"), "RGB", "image 3 of archive")


def test_images_that_are_kept_in_memory_are_those_of_their_rows(tmp_path):
    places = [tmp_path / f"{i}.png" for i in range(3)]
    for place in places:
        Image.fromarray(RANDOM.integers(0, 256, (6, 5, 3), dtype=np.uint8)).save(place)
    fresh, kept = FileSet(places), FileSet(places, cache=True)
    kept.images(rows(2, 0, 1))
    for place in places:
        place.unlink()
    assert torch.equal(kept.images(rows(0, 1, 2)), kept.images(rows(2, 1, 0)).flip(0))
    assert not torch.equal(kept.images(rows(0)), kept.images(rows(1)))
    with pytest.raises(DataError, match="0.png"):
        fresh.images(rows(0))
