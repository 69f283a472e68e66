"""Broken, double, mislabeled and leaking files: found before training, named, and left out where asked."""

import io
import json
import os
import shutil
import struct
import warnings
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

import selftrain as st
from selftrain.data import ArraySet, FileSet, Pile, check, from_folder, from_path
from selftrain.data.readers import known, scanning
from selftrain.data.readers.scanning import scan
from selftrain.errors import DataError
from selftrain.types import BatchPlan, Needs

RANDOM = np.random.default_rng(0)
HOSTILE = "new\nline <img src=x onerror=script> \u202e ünï.png"


def pixels(height=20, width=24):
    return RANDOM.integers(0, 256, (height, width, 3), dtype=np.uint8)


def save(path, image=None, **settings):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = pixels() if image is None else image
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(path, **settings)
    return path


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_bomb(path, width=50_000, height=50_000):
    """A few bytes that claim to be 2.5 billion pixels."""
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    data = zlib.compress(b"\0" * 1000)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b""))


def cut(path, share=0.8):
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])


@pytest.fixture
def photos(tmp_path):
    """Two classes of six, six without label."""
    root = tmp_path / "photos"
    for i in range(6):
        save(root / "ant" / f"{i}.png")
        save(root / "bee" / f"{i}.jpg")
        save(root / "unlabeled" / f"{i}.png")
    return root


DAMAGE = {
    "truncated": ("ant/cut.jpg", lambda path: (save(path), cut(path))),
    "empty": ("ant/empty.png", lambda path: path.write_bytes(b"")),
    "unreadable": ("bee/text.png", lambda path: path.write_text("no picture <b>")),
    "too large": ("unlabeled/bomb.png", png_bomb),
    "missing": ("bee/link.jpg", lambda path: os.symlink("/nowhere/at/all", path)),
}


@pytest.fixture
def damaged(photos):
    for name, make in DAMAGE.values():
        make(photos / name)
    return photos


BAD = sorted(name for name, _ in DAMAGE.values())


# --- one bad file


@pytest.mark.parametrize(("name", "make"), DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_file_is_an_error_before_training_that_names_it(photos, name, make):
    make(photos / name)
    with pytest.raises(DataError, match=f'1 of 19 files in .*on_error="skip":\n  {name}: '):
        from_folder(photos, size=16)


def test_all_damaged_files_are_named_at_once(damaged):
    with pytest.raises(DataError) as caught:
        from_folder(damaged, size=16)
    assert "5 of 23 files" in str(caught.value)
    assert all(f"\n  {name}: " in str(caught.value) for name in BAD)


def test_skipped_files_are_counted_and_listed(damaged):
    with pytest.warns(UserWarning, match=r"5 of 23 files cannot be read .*ant/cut\.jpg: .*see pile\.skipped"):
        pile = from_folder(damaged, size=16, on_error="skip", max_skipped=0.3)
    assert [name for name, _ in pile.skipped] == BAD
    reasons = dict(pile.skipped)
    assert reasons["ant/empty.png"] == "the file is empty"
    assert reasons["bee/text.png"].startswith("it is no image")
    assert "2500000000 pixels" in reasons["unlabeled/bomb.png"]
    assert str(damaged) not in str(pile.skipped)
    assert [len(part) for part in (pile.labeled, pile.unlabeled)] == [12, 6]
    assert not set(BAD) & {*pile.labeled.ids, *pile.unlabeled_ids()}
    assert list(pile.reviewed({"unlabeled/0.png": 1}).skipped) == list(pile.skipped)


def test_what_is_left_is_the_folder_without_those_files(damaged):
    with pytest.warns(UserWarning, match="left out"):
        pile = from_folder(damaged, size=16, labels=6, on_error="skip", max_skipped=0.3)
    for name in BAD:
        (damaged / name).unlink()
    clean = from_folder(damaged, size=16, labels=6)
    assert list(pile.labeled.ids) == list(clean.labeled.ids)
    assert list(pile.unlabeled_ids()) == list(clean.unlabeled_ids())
    assert not clean.skipped


def test_too_many_damaged_files_are_an_error(damaged):
    with pytest.raises(DataError, match=r"5 of 23 files in .* more than max_skipped=0\.2: check the folder"):
        from_folder(damaged, size=16, on_error="skip", max_skipped=0.2)
    for path in damaged.rglob("*.*"):
        path.unlink()
        path.write_bytes(b"")
    with pytest.raises(DataError, match="no image below .* can be read; the first one, ant/0.png: the file is empty"):
        from_folder(damaged, size=16, on_error="skip", max_skipped=1)


def test_files_of_a_large_folder_are_decoded_once(photos, tmp_path, monkeypatch):
    """What is known of a file holds for its size and times; damage and what has changed are looked at again."""
    monkeypatch.setenv("SELFTRAIN_DATA", str(tmp_path / "cache"))
    monkeypatch.setattr(known, "WORTH", 10)
    monkeypatch.setattr(known, "SETTLED", 0)
    save(photos / "ant/deep.png", Image.fromarray(np.arange(480, dtype=np.uint16).reshape(20, 24)))
    names = sorted(path.relative_to(photos).as_posix() for path in photos.rglob("*.*"))
    decoded, alone = [], scanning.scan_file

    def counted(path, id, *more):
        decoded.append(id)
        return alone(path, id, *more)

    def scanned(**settings):
        decoded.clear()
        return scan([photos / name for name in names], names, **settings), [*decoded]

    monkeypatch.setattr(scanning, "scan_file", counted)
    first, read = scanned()
    assert read == names
    assert scanned() == (first, [])
    assert scanned(mode="L")[1] == names  # read in another way
    save(photos / "ant/1.png", pixels(9))
    (photos / "bee/2.jpg").write_bytes(b"")
    again, read = scanned()
    assert read == ["ant/1.png", "bee/2.jpg"]
    assert (again[names.index("ant/1.png")].height, again[names.index("bee/2.jpg")].damage) == (9, "empty")
    assert scanned() == (again, ["bee/2.jpg"])
    monkeypatch.setattr(known, "SETTLED", 10**15)  # all have changed just now
    assert scanned() == (again, names)
    monkeypatch.setattr(known, "SETTLED", 0)
    scanned()
    for kept in (tmp_path / "cache/files").iterdir():
        kept.write_text('{"ant/0.png": 3}')
    assert scanned() == (again, names)
    shutil.rmtree(tmp_path / "cache")
    (tmp_path / "cache").write_text("no folder")
    assert scanned() == scanned() == (again, names)


@pytest.mark.parametrize("threads", [1, 5])
@pytest.mark.parametrize("workers", [0, 2])
def test_threads_and_loader_processes_change_nothing(damaged, threads, workers):
    def batches(threads, workers):
        with pytest.warns(UserWarning, match="left out"):
            pile = from_folder(damaged, size=16, on_error="skip", max_skipped=0.3, workers=threads)
        needs = Needs(views=("weak",), encode=st.Classification(2).encode)
        plan = BatchPlan(4, 1.0, seed=2, workers=workers)
        stream = pile.stream(needs, plan, torch.device("cpu"))
        return [batch.unlabeled["weak"].x for (batch,) in stream.epoch(0)], pile.skipped

    (one, skipped), (other, also) = batches(1, 0), batches(threads, workers)
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    assert skipped == also


def test_deferred_files_are_named_when_they_are_read(damaged):
    (damaged / "bee/link.jpg").unlink()
    with pytest.raises(DataError, match=r"cannot read image .*(bomb|cut|empty|text)"):  # of the mean and deviation
        from_folder(damaged, size=16, on_error="defer")
    with pytest.raises(ValueError, match="on_error is 'ignore'"):
        from_folder(damaged, on_error="ignore")


def test_files_that_a_csv_lists_and_that_are_not_there(photos, tmp_path):
    labels = tmp_path / "labels.csv"
    labels.write_text("path,label\nant/0.png,a\nant/9.png,a\nbee/0.jpg,b\n")
    with pytest.raises(DataError, match=r"line 3: there is no file .*ant/9\.png"):
        from_folder(photos, labels, size=16)
    with pytest.warns(UserWarning, match="1 of 18 files"):
        pile = from_folder(photos, labels, size=16, on_error="skip")
    assert list(pile.skipped) == [("ant/9.png", "it is listed, but not there")]
    assert len(pile.labeled) == 2
    labels.write_text("path,label\n../../etc/passwd,a\nbee/0.jpg,b\n")
    with pytest.raises(DataError, match="leads out of the folder"):  # never a thing to skip
        from_folder(photos, labels, size=16, on_error="skip")


def test_damaged_test_and_validation_files(photos, tmp_path):
    for part in ("held", "out"):
        save(tmp_path / part / "ant" / "0.png")
        save(tmp_path / part / "bee" / "0.png")
        (tmp_path / part / "bee" / "1.png").write_bytes(b"")
    with pytest.raises(DataError, match="1 of 3 files in .*held"):
        from_folder(photos, size=16, test=tmp_path / "held")
    with pytest.warns(UserWarning, match="2 of 24 files"):
        pile = from_folder(
            photos, size=16, test=tmp_path / "held", validation=tmp_path / "out", on_error="skip", max_skipped=0.4
        )
    assert [len(pile.test), len(pile.validation)] == [2, 2]


def test_images_of_several_sizes_are_an_error_before_training(photos):
    save(photos / "bee" / "odd.png", pixels(5, 7))
    with pytest.raises(DataError, match=r"2 sizes: 18 are 20x24, 1 are 5x7, such as bee/odd\.png; pass size="):
        from_folder(photos)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_does_not_block(photos):
    os.mkfifo(photos / "ant" / "pipe.png")
    with pytest.raises(DataError, match="ant/pipe.png: there is no file of this name"):
        from_folder(photos)


def test_links_to_files_and_folders_are_followed(photos, tmp_path):
    save(tmp_path / "elsewhere" / "far.png")
    os.symlink(tmp_path / "elsewhere", photos / "bee" / "deep")
    os.symlink(photos, photos / "bee" / "loop")
    os.symlink(tmp_path / "elsewhere" / "far.png", photos / "ant" / "near.png")
    assert "bee/deep/far.png" in from_folder(photos).labeled.ids
    assert check(photos).of("duplicate") == []
    assert check(photos).of("contradiction") == [["ant/near.png", "bee/deep/far.png"]]


def test_what_a_file_is():
    assert scan([], []) == []
    with pytest.raises(ValueError, match="workers is -1"):
        scan([], [], workers=-1)


# --- the check


def test_a_clean_folder(photos):
    report = check(photos)
    assert report.ok
    assert report.findings == []
    assert report.files == 18
    assert report.parts == {"labeled": 12, "unlabeled": 6, "validation": 0, "test": 0}
    assert report.classes == {"ant": {"labeled": 6}, "bee": {"labeled": 6}}
    assert report.shape == [3, 20, 24]
    assert report.memory == {"sample": 1440, "all": 18 * 1440}
    text = report.text()
    assert "ant 6, bee 6" in text
    assert text.endswith(
        "On training: 12 labeled, 6 unlabeled samples of shape 3x20x24; 25.9 kB if all are held in memory."
    )


def test_damaged_files_by_kind(damaged):
    report = check(damaged)
    assert not report.ok
    for kind, (name, _) in DAMAGE.items():
        assert report.of(kind) == [[name]], kind
    assert "an error before the first step" in report.text()
    skipping = check(damaged, on_error="skip", max_skipped=0.3)
    assert skipping.ok
    assert sorted(name for (name,) in skipping.of("skipped")) == BAD
    assert "5 files left out" in skipping.text()
    crowded = check(damaged, on_error="skip", max_skipped=0.2)
    assert not crowded.ok
    assert "5 of 23 files are more than max_skipped=0.2" in crowded.text()


def test_the_check_agrees_with_training(damaged):
    report = check(damaged, on_error="skip", max_skipped=0.3)
    with pytest.warns(UserWarning, match="left out"):
        pile = from_folder(damaged, size=16, on_error="skip", max_skipped=0.3)
    assert sorted(name for (name,) in report.of("skipped")) == [name for name, _ in pile.skipped]
    assert report.parts["labeled"] == len(pile.labeled)
    assert report.parts["unlabeled"] == len(pile.unlabeled)


def test_copies_contradictions_and_leaks(photos, tmp_path):
    shutil.copy(photos / "ant/0.png", photos / "ant/copy.png")
    shutil.copy(photos / "ant/1.png", photos / "bee/wrong.png")
    shutil.copy(photos / "ant/2.png", photos / "unlabeled/same.png")
    Image.open(photos / "ant/3.png").save(save(tmp_path / "test/ant/leak.bmp"))  # another format, the same pixels
    shutil.copy(photos / "unlabeled/5.png", tmp_path / "test/ant/seen.png")
    shutil.copy(photos / "bee/4.jpg", save(tmp_path / "val/bee/leak.jpg"))
    report = check(photos, test=tmp_path / "test", validation=tmp_path / "val")
    assert report.of("duplicate") == [["ant/0.png", "ant/copy.png"]]
    assert report.of("contradiction") == [["ant/1.png", "bee/wrong.png"]]
    assert report.of("overlap") == [["ant/2.png", "unlabeled/same.png"]]
    assert sorted(report.of("leak")) == [
        ["ant/3.png", "test:ant/leak.bmp"],
        ["bee/4.jpg", "validation:bee/leak.jpg"],
    ]
    assert report.of("leak unlabeled") == [["test:ant/seen.png", "unlabeled/5.png"]]
    assert not report.ok
    assert "ant/1.png = bee/wrong.png: ant or bee" in report.text()
    levels = {finding.kind: finding.level for finding in report.findings}
    assert levels["leak"] == levels["contradiction"] == levels["leak unlabeled"] == "harms"
    assert levels["duplicate"] == levels["overlap"] == "note"


def test_other_modes_sizes_and_endings(photos):
    save(photos / "ant/cmyk.jpg", Image.new("CMYK", (24, 20), (9, 200, 30, 4)))
    save(photos / "ant/palette.png", Image.fromarray(pixels()).convert("P"))
    save(photos / "ant/deep.png", RANDOM.integers(0, 65536, (20, 24), dtype=np.uint16))
    turned = Image.Exif()
    turned[274] = 6
    save(photos / "bee/turned.jpg", pixels(24, 20), exif=turned)
    save(photos / "bee/wide.png", pixels(20, 25))
    Image.fromarray(pixels()).save(photos / "bee/really.png", "BMP")
    report = check(photos, size=16)
    assert sorted(report.of("mode")) == [["ant/cmyk.jpg"], ["ant/deep.png"], ["ant/palette.png"]]
    assert report.of("size") == [["bee/wide.png"]]  # the turned one is of the usual size once it stands upright
    assert report.of("ending") == [["bee/really.png"]]
    assert report.ok
    assert report.shape == [3, 16, 16]
    assert "1 of 24 files stored as 16 or 32 bits a pixel, not RGB; read as RGB, 65535 as 255" in report.text()
    assert not check(photos).ok  # without size= the odd one stops training


def test_lines_of_a_csv_that_cannot_be_used(photos, tmp_path):
    save(tmp_path / "secret.png")
    labels = tmp_path / "labels.csv"
    long = "x" * 5000
    rows = ["ant/0.png,a", "ant/0.png,b", "../secret.png,a", "/etc/passwd,a", "ant/9.png,a", f"{long},a", "bee/0.jpg,b"]
    labels.write_text("\n".join(["path,label", *rows]))
    report = check(photos, labels)
    assert report.of("twice") == [["ant/0.png"]]
    assert "listed twice, as 'a' and as 'b'" in report.text()
    assert report.of("outside") == [["../secret.png"], ["/etc/passwd"]]
    assert report.of("missing") == [["ant/9.png"], [long]]
    assert not report.ok
    assert report.parts["labeled"] == 2
    assert report.parts["unlabeled"] == 16


def test_classes_that_cannot_be_told_apart(photos):
    shutil.copytree(photos / "ant", photos / "Ant ")
    for path in (photos / "Ant ").iterdir():
        save(path)
    (photos / "train").mkdir()
    save(photos / "train" / "0.png")
    (photos / "notes.txt").write_text("x")
    report = check(photos)
    assert report.of("class names") == [["Ant ", "ant"]]
    assert any("the classes train look like parts of a split" in f.text for f in report.findings)
    assert report.of("passed over") == [["notes.txt"]]
    assert not report.ok
    for path in (photos / "bee").iterdir():
        path.write_bytes(b"")
    assert any(f.kind == "no label" and "bee" in f.text for f in check(photos).findings)


def test_names_cannot_break_the_report(photos):
    (photos / "ant" / HOSTILE).write_text("no picture")
    odd = os.fsencode(str(photos / "ant")) + b"/\xff\xfe.png"
    shutil.copy(photos / "ant/0.png", odd)
    report = check(photos)
    text = report.text()
    text.encode("utf-8")
    assert sum("script" in line for line in text.splitlines()) == 1
    assert "\u202e" not in text
    again = json.loads(json.dumps(report.as_dict()))
    assert again["findings"][0]["samples"] == [[f"ant/{HOSTILE}"]]
    assert again["ok"] is False
    with pytest.raises(DataError) as caught:
        from_folder(photos)
    str(caught.value).encode("utf-8")


def test_folders_that_cannot_be_read_are_findings(tmp_path, photos):
    (tmp_path / "none").mkdir()
    report = check(tmp_path / "none")
    assert "no images below" in report.text()
    assert not report.ok
    save(tmp_path / "test" / "wasp" / "0.png")
    report = check(photos, test=tmp_path / "test")
    assert "holds class 'wasp'" in report.text()
    with pytest.raises(ValueError, match="a folder of images takes no label"):
        check(photos, label="y")


def test_threads_change_nothing_in_a_report(damaged):
    assert check(damaged, workers=1) == check(damaged, workers=4)


# --- piles, arrays and tables


def test_a_pile_is_checked_row_by_row():
    x = RANDOM.integers(0, 256, (600, 6, 6), dtype=np.uint8)
    y = np.where(np.arange(600) < 40, np.arange(600) % 2, -1)
    x[1], x[3], x[500], x[2] = x[0], x[5], x[7], x[4]  # contradiction, copy, overlap, copy
    pile = Pile.from_arrays(x, y, x[[9, 450]], [1, 0])
    report = check(pile)
    assert report.of("contradiction") == [["0", "1"]]
    assert sorted(report.of("duplicate")) == [["2", "4"], ["3", "5"]]
    assert report.of("overlap") == [["500", "7"]]
    assert report.of("leak") == [["9", "test:0"]]
    assert report.of("leak unlabeled") == [["450", "test:1"]]
    assert report.parts == {"labeled": 40, "unlabeled": 560, "validation": 0, "test": 2}
    assert report.shape == [1, 6, 6]
    assert report == check(pile, workers=1)
    assert "1 content in training and in validation or test" in report.text()


def test_a_labeled_row_that_is_unlabeled_too_is_no_copy():
    x = RANDOM.integers(0, 256, (10, 6, 6), dtype=np.uint8)
    report = check(Pile.from_arrays(x, np.arange(10) % 2, overlap="include"))
    assert report.ok
    assert report.findings == []


def test_rows_that_cannot_be_used_and_classes_without_labels(tmp_path):
    x = RANDOM.normal(size=(300, 3))
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", np.where(np.arange(300) < 30, 1, -1))
    report = check(tmp_path)
    assert {f.kind for f in report.findings} == {"one class"}
    x[299, 1] = np.nan
    np.save(tmp_path / "x_unlabeled.npy", x)
    for name in ("x", "y"):
        (tmp_path / f"{name}.npy").unlink()
    report = check(tmp_path)
    assert not report.ok
    assert "row 299: holds nan" in report.text()


def test_one_damaged_file_of_a_pile_does_not_hide_the_others(tmp_path):
    places = [save(tmp_path / f"{i}.png") for i in range(4)]
    pile = Pile(FileSet(places, [0, 1, 0, 1]), None, classes=["ant", "bee"])
    cut(places[2], 0.5)
    report = check(pile)
    assert report.of("unreadable") == [[str(places[2])]]
    assert report.classes == {"ant": {"labeled": 1}, "bee": {"labeled": 2}}


def test_tables_and_archives(tmp_path):
    table = tmp_path / "t.csv"
    table.write_text("a,b,y\n1,2,p\n1,2,q\n3,4,\n3,5,p\n")
    report = check(table, label="y")
    assert report.of("contradiction") == [["0", "1"]]
    assert not report.ok
    assert "no column 'z'" in check(table, label="z").text()
    assert not check(tmp_path / "missing.csv").ok
    np.savez(tmp_path / "a.npz", x=RANDOM.normal(size=(6, 2)), y=[0, 1, 0, 1, -1, -1])
    report = check(tmp_path / "a.npz")
    assert report.ok
    assert report.classes == {"0": {"labeled": 2}, "1": {"labeled": 2}}
    assert "no known kind" in check(save(tmp_path / "a.png")).text()


def test_summaries_say_what_would_be_trained():
    x = RANDOM.normal(size=(8, 2))
    only = check(Pile(ArraySet(x, [0, 1] * 4), None))
    assert "training would be supervised only" in only.text()
    none = check(Pile(None, ArraySet(x)))
    assert "only pretraining is possible" in none.text()
    y = np.repeat([0, 1], [40, 2])
    many = check(Pile.from_arrays(RANDOM.normal(size=(42, 2)), y))
    assert many.ok
    assert any(f.kind == "imbalance" and "0 40, 1 2" in f.text for f in many.findings)


def test_from_path_finds_the_kind(photos, tmp_path):
    assert len(from_path(photos).labeled) == 12
    with pytest.raises(DataError, match="there is no file or folder"):
        from_path(tmp_path / "nothing")
    with pytest.raises(DataError, match="no known kind"):
        from_path(save(tmp_path / "a.png"))
    with pytest.raises(TypeError, match="from_folder, which has no setting 'sise'; did you mean 'size'"):
        from_path(photos, sise=8)


# --- bytes at random


def outcome(call):
    """Whether a call succeeds or refuses by name; anything else is a failure of the test."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            call()
    except DataError as error:
        return bool(str(error))
    return True


def mutated(content, random):
    content = bytearray(content)
    for _ in range(random.integers(1, 6)):
        place = int(random.integers(0, len(content)))
        action = random.integers(0, 3)
        if action == 0:
            content[place] = int(random.integers(0, 256))
        elif action == 1:
            del content[place : place + int(random.integers(1, 20))]
        else:
            content[place:place] = random.integers(0, 256, random.integers(1, 20), dtype=np.uint8).tobytes()
        if not content:
            content = bytearray(b"x")
    return bytes(content)


def seeds(tmp_path):
    """A whole file of each kind that is read."""
    image = Image.fromarray(pixels(12, 12))
    for ending in ("png", "jpg", "gif", "bmp", "tif", "webp", "ppm"):
        file = io.BytesIO()
        image.save(file, Image.registered_extensions()[f".{ending}"])
        yield f"a.{ending}", file.getvalue()
    np.save(tmp_path / "seed.npy", pixels(4, 4))
    yield "a.npy", (tmp_path / "seed.npy").read_bytes()
    np.savez_compressed(tmp_path / "seed.npz", x=np.zeros((6, 4)), y=[0, 1, 0, 1, -1, -1], classes=["a", "b"])
    yield "a.npz", (tmp_path / "seed.npz").read_bytes()
    yield "a.csv", b"a,b,y\n1,red,p\n2,blue,q\n,red,\n4,,p\n"
    pandas = pytest.importorskip("pandas")
    pandas.DataFrame({"a": [1.0, None], "b": ["x", "y"], "y": ["p", "q"]}).to_parquet(tmp_path / "seed.parquet")
    yield "a.parquet", (tmp_path / "seed.parquet").read_bytes()


def test_mutated_files_are_read_or_refused_by_name(tmp_path):
    random = np.random.default_rng(1)
    for name, content in seeds(tmp_path):
        for _ in range(20):
            place = tmp_path / "mutated" / name
            place.parent.mkdir(exist_ok=True)
            place.write_bytes(mutated(content, random))
            is_image = not name.endswith(("npy", "npz", "csv", "parquet"))
            settings = {"label": "y"} if name.endswith(("csv", "parquet")) else {}
            if is_image:
                assert outcome(lambda p=place: from_folder(p.parent, size=8))
                scan([place], [name])
            else:
                assert outcome(lambda p=place, s=settings: from_path(p, **s))
            place.unlink()
