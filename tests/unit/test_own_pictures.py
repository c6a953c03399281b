"""Reading pictures, in folders, archives and named by a CSV file."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from deepdigits.core.errors import UserError
from deepdigits.data.own import labelled
from deepdigits.data.own.decoding import Undecodable, decode
from deepdigits.data.own.reading import read_source
from tests.unit.own_sources import GREY, encoded, pictures, read, save


def test_a_tall_picture_is_reduced_to_fit_and_centred() -> None:
    found = decode(encoded(Image.fromarray(GREY)), "bright")
    assert found.shape == (28, 28)
    assert found[:, 8:12].mean() > 180
    assert not found[:, :6].any()
    assert not found[:, 22:].any()
    assert (decode(encoded(Image.fromarray(GREY)), "dark")[:, :6] == 255).all()


def test_a_picture_of_the_right_size_is_not_resampled() -> None:
    image = np.random.default_rng(1).integers(0, 256, (28, 28), np.uint8)
    assert np.array_equal(decode(encoded(Image.fromarray(image)), "bright"), image)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "TIFF", "WEBP"])
def test_every_file_format_gives_about_the_same_picture(kind: str) -> None:
    found = decode(encoded(Image.fromarray(GREY).convert("RGB"), kind), "bright")
    plain = decode(encoded(Image.fromarray(GREY)), "bright")
    assert np.abs(found.astype(int) - plain).mean() < 6


def test_sixteen_bits_become_eight() -> None:
    deep = Image.fromarray(GREY.astype(np.uint16) * 257)
    assert (
        np.abs(decode(encoded(deep), "bright").astype(int) - decode(encoded(Image.fromarray(GREY)), "bright")).max()
        <= 1
    )


@pytest.mark.parametrize("mode", ["P", "1", "CMYK", "LA", "RGBA"])
def test_every_mode_keeps_bright_and_dark_apart(mode: str) -> None:
    picture = Image.fromarray(GREY).convert("RGB").convert(mode)
    found = decode(encoded(picture, "TIFF"), "bright")
    assert found[14, 9] > found[14, 18] + 100


def test_what_is_transparent_becomes_background() -> None:
    layered = Image.new("RGBA", (28, 28), (255, 255, 255, 0))
    layered.paste((0, 0, 0, 255), (10, 10, 18, 18))
    dark = decode(encoded(layered), "dark")
    assert (dark[0, 0], dark[14, 14]) == (255, 0)
    light = Image.new("RGBA", (28, 28), (0, 0, 0, 0))
    light.paste((255, 255, 255, 255), (10, 10, 18, 18))
    bright = decode(encoded(light), "bright")
    assert (bright[0, 0], bright[14, 14]) == (0, 255)


def test_a_picture_is_turned_as_its_exif_data_say() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by a quarter, clockwise
    turned = decode(encoded(Image.fromarray(GREY).convert("RGB"), "JPEG", exif=exif), "bright")
    assert turned[8:13].mean() > 90
    assert turned[15:20].mean() < 20


def test_what_is_changed_about_pictures_is_said(tmp_path: Path) -> None:
    grey, colour = Image.new("L", (28, 28), 9), Image.new("RGBA", (40, 30), (200, 30, 60, 128))
    deep = Image.fromarray(np.full((28, 28), 300, np.uint16))
    turned = grey.copy()
    turned.getexif()[0x0112] = 6
    files = {"a/1.png": encoded(grey), "a/2.png": encoded(colour), "b/3.png": encoded(deep)}
    files["b/4.png"] = encoded(turned, exif=turned.getexif())
    found = read_source(save(tmp_path, files), "pictures", "bright")
    assert found.notes == [
        "1 of 4 pictures: 16 bits reduced to 8",
        "1 of 4 pictures: colours turned into luminance",
        "1 of 4 pictures: put on an empty background",
        "1 of 4 pictures: scaled to fit 28x28",
        "1 of 4 pictures: turned as the EXIF data say",
    ]


def test_unusable_pictures_say_why() -> None:
    frames = [Image.fromarray(GREY), Image.fromarray(255 - GREY)]
    animated = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    whole = encoded(Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 300), np.uint8)))
    floats = encoded(Image.fromarray(GREY.astype(np.float32)), "TIFF")
    for data, why in (
        (animated, "animated"),
        (whole[: len(whole) // 2], "cannot be read"),
        (b"no picture", "not a picture"),
        (b"", "not a picture"),
        (floats, "floating-point"),
    ):
        with pytest.raises(Undecodable, match=why):
            decode(data, "bright")


@given(st.binary(max_size=400))
@settings(max_examples=200)
def test_no_bytes_cause_another_error(data: bytes) -> None:
    for start in (b"", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"\xff\xd8\xff\xe0", b"II*\x00"):
        try:
            decode(start + data, "bright")
        except Undecodable:
            continue


def test_class_folders_in_any_order_with_unicode_and_spaces(tmp_path: Path) -> None:
    save(tmp_path, pictures("Ärmel/1.png", "Ärmel/2.JPG", "T-shirt & top/1.png", "10/1.png", "9/1.png"))
    (tmp_path / "Ärmel/2.JPG").write_bytes(encoded(Image.fromarray(GREY), "JPEG"))
    save(tmp_path, {"README.txt": b"no picture", ".DS_Store": b"", "9/.hidden.png": b"broken"})
    found = read(tmp_path)
    assert list(found.classes) == ["9", "10", "T-shirt & top", "Ärmel"]
    assert len(found) == 5
    assert found.splits is None
    assert found.names[0] == "10/1.png"
    assert found.classes[found.labels[0]] == "10"


def test_split_folders_give_the_splits(tmp_path: Path) -> None:
    save(
        tmp_path,
        pictures("train/a/1.png", "train/b/1.png", "val/a/2.png", "val/b/2.png", "test/a/3.png", "test/b/3.png"),
    )
    found = read(tmp_path)
    assert list(found.classes) == ["a", "b"]
    assert found.splits is not None
    assert sorted(set(found.splits)) == ["test", "train", "validation"]


def test_a_csv_names_files_splits_and_groups(tmp_path: Path) -> None:
    save(tmp_path, pictures("x/1.png", "x/2.png", "3.png"))
    table = "path,label,split,group\nx/1.png,cat,train,p1\nx/2.png,dog,train,p2\n3.png,cat,test,p3\n"
    save(tmp_path, {"labels.csv": b"\xef\xbb\xbf" + table.encode()})
    found = read(tmp_path)
    assert list(found.classes) == ["cat", "dog"]
    assert found.splits is not None
    assert found.groups is not None
    assert found.splits.tolist() == ["train", "train", "test"]
    assert found.groups.tolist() == ["p1", "p2", "p3"]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("path,label\nx/9.png,cat\nx/1.png,dog\n", "names files that do not exist: x/9.png"),
        ("path,class\nx/1.png,cat\n", "needs the columns path and label"),
        ("path,label\nx/1.png,\n", "line 2: path or label is empty"),
        ("path,label,split\nx/1.png,cat,training\nx/2.png,dog,holdout\n", "line 3: the split 'holdout'"),
        ("path,label,group\nx/1.png,cat,p1\nx/2.png,dog,\n", "1 of 2 files have no group"),
        ("path,label\nx/1.png,cat\nx/2.png,cat\n", "only 'cat' as classes"),
        ("", "needs the columns path and label"),
    ],
)
def test_a_wrong_csv_is_refused(table: str, message: str, tmp_path: Path) -> None:
    save(tmp_path, {**pictures("x/1.png", "x/2.png"), "labels.csv": table.encode()})
    with pytest.raises(UserError, match=message):
        read(tmp_path)


def test_a_csv_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    save(tmp_path, {**pictures("1.png"), "labels.csv": "path,label\n1.png,Ä\n".encode("latin-1")})
    with pytest.raises(UserError, match="not UTF-8"):
        read(tmp_path)


def test_unusable_files_are_all_named(tmp_path: Path) -> None:
    save(tmp_path, {**pictures("a/1.png", "b/1.png"), "a/broken.png": b"no", "b/half.png": pictures("x")["x"][:60]})
    with pytest.raises(
        UserError, match=r"(?s)2 of 4 pictures cannot be used.*a/broken.png: it is not a picture.*b/half.png"
    ):
        read(tmp_path)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["1.png", "2.png"], "has no pictures in class folders"),
        ([], "has no pictures in class folders"),
        (["a/1.png", "a/2.png"], "only 'a' as classes"),
        ([f"{number}/1.png" for number in range(1001)], "1,001 as classes; there must be 2 to 1,000"),
    ],
    ids=["no class folders", "nothing", "one class", "too many classes"],
)
def test_sources_without_usable_classes_are_refused(files: list[str], message: str, tmp_path: Path) -> None:
    one = pictures("x")["x"]
    with pytest.raises(UserError, match=message):
        read(save(tmp_path, dict.fromkeys(files, one)))


def test_an_archive_is_read_like_a_folder(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for name, data in pictures("top/a/1.png", "top/b/1.png", "__MACOSX/top/a/1.png").items():
            archive.writestr(name, data)
    found = read(tmp_path / "set.zip")
    assert list(found.classes) == ["a", "b"]
    assert list(found.names) == ["a/1.png", "b/1.png"]


@pytest.mark.parametrize("name", ["../outside/1.png", "/a/1.png", "a/../../1.png", "..\\a\\1.png"])
def test_an_archive_that_leads_out_of_itself_is_refused(name: str, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        archive.writestr(name, b"")
    with pytest.raises(UserError, match="leads out of the archive"):
        read(tmp_path / "set.zip")
    assert [path.name for path in tmp_path.iterdir()] == ["set.zip"]


def test_what_is_neither_folder_nor_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    for path in (tmp_path / "file", tmp_path / "missing"):
        with pytest.raises(UserError, match="neither a folder nor a ZIP archive"):
            read(path)


def test_a_set_that_does_not_fit_into_memory_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path, dict.fromkeys(("a/1.png", "b/1.png"), b"never opened"))
    little = psutil.virtual_memory()._replace(available=labelled.BYTES_PER_IMAGE)
    monkeypatch.setattr(labelled.psutil, "virtual_memory", lambda: little)
    with pytest.raises(UserError, match=r"has 2 images. The 0.0 GiB of free memory are enough for 1"):
        read(tmp_path)
