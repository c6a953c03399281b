"""Own pictures and recordings: every form that a source may have, and every fault, which ends in one clear message."""

from __future__ import annotations

import io
import wave
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from typer.testing import CliRunner

from deepdigits.cli.app import commands
from deepdigits.core.errors import UserError
from deepdigits.core.loading import check, parse_yaml
from deepdigits.data.described import Kind
from deepdigits.data.digits.splits import Split
from deepdigits.data.ingest.idx import encode_idx
from deepdigits.data.own import labelled
from deepdigits.data.own.arrays import read_npz, to_images, to_labels
from deepdigits.data.own.decoding import SUFFIXES, Ink, Undecodable, decode
from deepdigits.data.own.findings import examine, pairs_alike
from deepdigits.data.own.labelled import Labelled, bright
from deepdigits.data.own.pictures import read_tree
from deepdigits.data.own.preparing import input_of
from deepdigits.data.own.preparing import prepare as prepare_file
from deepdigits.data.own.reading import read_source
from deepdigits.data.own.recordings import SUFFIXES as WAV
from deepdigits.data.own.recordings import mel_filters, picture_of_sound
from deepdigits.data.own.splitting import rows_of, split_rows
from deepdigits.data.validation.expectations import ROW_NAMES, expectations
from deepdigits.data.validation.expectations import check as expect
from deepdigits.data.validation.frame import class_frame, image_frame, split_frame
from deepdigits.data.validation.neighbours import label_disagreement
from deepdigits.release.datasets import read_dataset
from deepdigits.release.generated import generated
from deepdigits.release.params import Params
from deepdigits.release.workspace import prepare
from tests.conftest import ROOT

GREY = np.zeros((40, 20), np.uint8)
GREY[:, :10] = 200


def encoded(picture: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def save(folder: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def pictures(*names: str) -> dict[str, bytes]:
    """Different pictures under the given names."""
    rng = np.random.default_rng(0)
    return {name: encoded(Image.fromarray(rng.integers(0, 256, (28, 28), np.uint8))) for name in names}


def read(folder: Path) -> Labelled:
    return read_tree(folder, SUFFIXES, lambda data: decode(data, "bright"), "pictures")


# Pictures


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


# Folders and archives


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


# Arrays

IMAGES = np.random.default_rng(2).integers(0, 256, (6, 28, 28), np.uint8)
LABELS = np.array([0, 1, 2, 0, 1, 2])


def npz(folder: Path, **arrays: Any) -> Path:
    np.savez(folder / "set.npz", **arrays)
    return folder / "set.npz"


def test_medmnists_layout_gives_the_splits(tmp_path: Path) -> None:
    parts = {f"{name}_{kind}": array for name in ("train", "val", "test") for kind, array in
             (("images", IMAGES), ("labels", LABELS[:, None]))}  # fmt: skip
    found = read_npz(npz(tmp_path, **parts), "bright")
    assert found.splits is not None
    assert found.splits.tolist() == ["train"] * 6 + ["validation"] * 6 + ["test"] * 6
    assert list(found.classes) == ["0", "1", "2"]
    assert found.names[7] == "val_images[1]"
    assert np.array_equal(found.images[6:12], IMAGES)


@pytest.mark.parametrize(
    ("images", "note"),
    [
        (IMAGES, ""),
        (IMAGES[..., None], ""),
        (IMAGES[:, None], ""),
        (IMAGES / 255, "floats in 0 to 1"),
        ((IMAGES / 255).astype(np.float32), "floats in 0 to 1"),
        (IMAGES / 127.5 - 1, "floats in -1 to 1"),
        (np.repeat(IMAGES[..., None], 3, axis=3), "luminance"),
        (np.repeat(IMAGES[:, None], 3, axis=1), "luminance"),
    ],
    ids=["plain", "channel last", "channel first", "float", "float32", "signed float", "colour last", "colour first"],
)
def test_every_layout_of_images_gives_the_same_bytes(images: np.ndarray, note: str, tmp_path: Path) -> None:
    found = read_npz(npz(tmp_path, images=images, labels=LABELS), "bright")
    assert np.array_equal(found.images, IMAGES)
    assert found.splits is None
    assert note in " ".join(found.notes)


def test_larger_images_are_reduced_and_that_is_said(tmp_path: Path) -> None:
    found = read_npz(npz(tmp_path, images=IMAGES.repeat(2, axis=1).repeat(2, axis=2), labels=LABELS), "bright")
    assert found.images.shape == (6, 28, 28)
    assert "56x56 pixels were reduced" in " ".join(found.notes)


def test_every_layout_of_labels_gives_the_same_numbers() -> None:
    for array in (LABELS, LABELS[:, None], np.eye(3)[LABELS], LABELS.astype(np.uint8), LABELS.astype(float)):
        assert to_labels(array, "x").tolist() == LABELS.tolist()


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": IMAGES, "labels": LABELS + 1}, "labels are 1 to 3, but must begin with 0. Subtract 1"),
        ({"images": IMAGES, "labels": LABELS * 2}, "no image has the label 1"),
        ({"images": IMAGES, "labels": LABELS - 1}, "labels are -1 to 1"),
        ({"images": IMAGES, "labels": np.zeros(6, int)}, "only '0' as classes"),
        ({"images": IMAGES, "labels": LABELS[:5]}, "6 images, but labels has 5 labels"),
        ({"images": IMAGES, "labels": np.ones((6, 3))}, "not one-hot"),
        ({"images": IMAGES, "labels": LABELS + 0.5}, "expected whole numbers"),
        ({"images": IMAGES}, "has no array labels"),
        ({"pictures": IMAGES}, "has no array images.*it has pictures"),
        ({"images": IMAGES.astype(np.int32), "labels": LABELS}, "dtype int32"),
        ({"images": IMAGES * 1.0, "labels": LABELS}, "floats from .* convert to uint8"),
        ({"images": IMAGES / np.nan, "labels": LABELS}, "not finite"),
        ({"images": IMAGES[0], "labels": LABELS}, "has shape"),
        ({"images": np.zeros((6, 28, 28, 2), np.uint8), "labels": LABELS}, "has shape"),
        ({"images": np.array([{}] * 6), "labels": LABELS}, "contains Python objects"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(arrays: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        read_npz(npz(tmp_path, **arrays), "bright")


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04rubbish", b"\x80\x04N.", b"text"])
def test_files_that_are_no_archives_are_refused(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "set.npz").write_bytes(data)
    with pytest.raises(UserError, match=r"set.npz"):
        read_npz(tmp_path / "set.npz", "bright")


def test_idx_files_give_train_and_test(tmp_path: Path) -> None:
    for prefix in ("train", "t10k"):
        save(tmp_path, {f"{prefix}-images-idx3-ubyte": encode_idx(IMAGES)})
        save(tmp_path, {f"{prefix}-labels-idx1-ubyte": encode_idx(LABELS.astype(np.uint8))})
    found = read_source(tmp_path, "idx", "bright")
    assert found.splits is not None
    assert found.splits.tolist() == ["train"] * 6 + ["test"] * 6
    (tmp_path / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(UserError, match="contains neither t10k-labels-idx1-ubyte.gz nor"):
        read_source(tmp_path, "idx", "bright")


def test_colours_become_luminance() -> None:
    red = np.zeros((1, 28, 28, 3), np.uint8)
    red[..., 0] = 255
    assert (to_images(red, "x", "bright", set()) == 76).all()


# Recordings


def tone(hertz: float, seconds: float = 0.5, rate: int = 8000, silence: float = 0.2) -> np.ndarray:
    time = np.arange(int(seconds * rate)) / rate
    quiet = np.zeros(int(silence * rate))
    return np.concatenate([quiet, 0.5 * np.sin(2 * np.pi * hertz * time), quiet])


def wav(signal: np.ndarray, rate: int = 8000, width: int = 2, channels: int = 1) -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setparams((channels, width, rate, 0, "NONE", ""))
        if width == 1:
            file.writeframes((signal * 127 + 128).astype(np.uint8).repeat(channels).tobytes())
        else:
            kind = {2: np.int16, 4: np.int32}[width]
            file.writeframes((signal * np.iinfo(kind).max).astype(kind).repeat(channels).tobytes())
    return buffer.getvalue()


def test_a_higher_tone_is_higher_in_the_picture() -> None:
    rows = [int(picture_of_sound(wav(tone(hertz))).mean(axis=1).argmax()) for hertz in (200, 500, 1000, 2000, 3500)]
    assert rows == sorted(rows, reverse=True)
    assert len(set(rows)) == 5


def test_time_runs_from_left_to_right_and_silence_is_cut_off() -> None:
    picture = picture_of_sound(wav(np.concatenate([tone(300, silence=0), tone(3000, silence=0)])))
    low, high = picture[18:].max(axis=0), picture[:10].max(axis=0)
    assert low[:12].mean() > low[16:].mean() + 50
    assert high[16:].mean() > high[:12].mean() + 50
    short, padded = (picture_of_sound(wav(tone(800, silence=quiet))) for quiet in (0.0, 0.5))
    assert np.abs(short.astype(int) - padded).mean() < 12


@pytest.mark.parametrize(("rate", "width", "channels"), [(16000, 2, 1), (44100, 2, 2), (8000, 1, 1), (22050, 4, 1)])
def test_rate_depth_and_channels_do_not_matter(rate: int, width: int, channels: int) -> None:
    plain = picture_of_sound(wav(tone(700)))
    other = picture_of_sound(wav(tone(700, rate=rate), rate, width, channels))
    assert plain[:, 3:25].mean(axis=1).argmax() == other[:, 3:25].mean(axis=1).argmax()
    if width > 1:
        assert np.abs(plain.astype(int) - other).mean() < 15


def test_unusable_recordings_say_why() -> None:
    for data, why in (
        (b"RIFF", "not a WAV file"),
        (b"", "not a WAV file"),
        (wav(np.zeros(8000)), "silent"),
        (wav(tone(500, 0.01, silence=0)), "shorter than 32 ms"),
        (wav(np.zeros(61 * 8000)), "expected up to 60 s"),
    ):
        with pytest.raises(Undecodable, match=why):
            picture_of_sound(data)


@given(st.binary(max_size=200))
def test_no_bytes_of_a_recording_cause_another_error(data: bytes) -> None:
    for whole in (data, wav(tone(500))[:44] + data):
        try:
            picture_of_sound(whole)
        except Undecodable:
            continue


def test_each_mel_band_hears_something_and_all_weigh_the_same() -> None:
    filters = mel_filters()
    assert filters.shape == (28, 129)
    assert np.allclose(filters.sum(axis=1), 1)
    assert (np.diff(filters.argmax(axis=1)) >= 0).all()


def test_recordings_are_read_from_class_folders(tmp_path: Path) -> None:
    save(tmp_path, {"yes/1.wav": wav(tone(400)), "no/1.wav": wav(tone(900)), "no/1.txt": b"no"})
    found = read_tree(tmp_path, WAV, picture_of_sound, "recordings")
    assert list(found.classes) == ["no", "yes"]
    assert len(found) == 2


# Splits


def data(count: int = 60, classes: int = 3, **columns: Any) -> Labelled:
    images = np.random.default_rng(3).integers(0, 256, (count, 28, 28), np.uint8)
    labels = np.arange(count) % classes
    return Labelled(images, labels, [str(n) for n in range(classes)], [f"{n}.png" for n in range(count)], **columns)


SHARES = {"validation": 0.2, "test": 0.25}


def test_shares_are_stratified_and_complete() -> None:
    rows = split_rows(data(), SHARES, seed=1)
    assert sorted(np.concatenate(list(rows.values()))) == list(range(60))
    assert (len(rows["test"]), len(rows["validation"]), len(rows["train"])) == (15, 9, 36)
    for part in rows.values():
        counts = np.bincount(part % 3)
        assert counts.max() - counts.min() <= 1
    assert all(np.array_equal(a, b) for a, b in zip(rows.values(), split_rows(data(), SHARES, 1).values(), strict=True))


def test_given_splits_are_kept_and_the_missing_one_is_split_off_train() -> None:
    given = np.array(["train"] * 40 + ["test"] * 20)
    rows = split_rows(data(splits=given), SHARES, seed=1)
    assert rows["test"].tolist() == list(range(40, 60))
    assert len(rows["validation"]) == 8
    assert set(rows["validation"]) | set(rows["train"]) == set(range(40))


@given(st.integers(3, 12), st.integers(0, 5))
def test_no_group_is_in_two_splits(groups: int, seed: int) -> None:
    source = data(groups=np.array([f"g{n % groups}" for n in range(60)]))
    rows = split_rows(source, SHARES, seed)
    assert source.groups is not None
    held = [set(source.groups[part]) for part in rows.values()]
    assert all(held)
    assert sum(map(len, held)) == groups


def test_named_groups_are_held_out() -> None:
    source = data(groups=np.array([f"s{n % 6}" for n in range(60)]))
    rows = split_rows(source, SHARES, 0, {"test": ["s4"], "validation": ["s2"]})
    assert source.groups is not None
    assert set(source.groups[rows["test"]]) == {"s4"}
    assert set(source.groups[rows["validation"]]) == {"s2"}
    with pytest.raises(UserError, match="There is no group 's9'"):
        split_rows(source, SHARES, 0, {"test": ["s9"]})


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (lambda: data(splits=np.array(["test"] * 60)), "has none to train on"),
        (lambda: data(groups=np.array(["one"] * 60)), "only 'one' is left"),
        (lambda: data(count=9), "cannot be split off"),
        (lambda: Labelled(IMAGES, np.array([0, 0, 0, 0, 0, 1]), ["a", "b"], [""] * 6), "class 'b' has only one image"),
    ],
)
def test_data_that_cannot_be_split_are_refused(source: Callable[[], Labelled], message: str) -> None:
    with pytest.raises(UserError, match=message):
        split_rows(source(), SHARES, 0)


# Descriptions


@pytest.fixture
def described(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A root with datasets/shapes.yaml, as `dataset add` drafts it."""
    save(tmp_path, pictures(*(f"pictures/{name}/s{n % 3}_{n}.png" for name in ("a", "b") for n in range(30))))
    monkeypatch.chdir(tmp_path)
    done = run("add", "shapes", "--from", "pictures", "--group", "speaker")
    assert done.exit_code == 0, done.output
    for name in ("params.yaml", "profiles", "datasets/mnist.yaml", "datasets/digits.yaml"):
        (tmp_path / name).symlink_to(ROOT / name)
    return tmp_path


def run(*arguments: str) -> Any:
    return CliRunner().invoke(commands, ["dataset", *arguments])


def test_a_draft_is_valid_and_its_data_are_in_its_bands(described: Path) -> None:
    files = generated(described, "default", "shapes")
    params = check(parse_yaml(files["params.yaml"], "x"), Params, "x")
    assert params.dataset == "shapes"
    own = read_dataset(described, "shapes")
    assert own.where.path
    assert (own.classes, own.split.group, own.ink) == (("a", "b"), "speaker", "bright")
    assert Path(own.where.path) == described / "pictures"
    assert sum(own.images.model_dump().values()) == 60
    data = read_source(described / "pictures", "pictures", "bright", "speaker")
    rows = rows_of(data, own.split)
    assert {name: len(part) for name, part in rows.items()} == own.images.model_dump()
    frames = {"images": image_frame(parts := {name: data.take(part) for name, part in rows.items()})}
    frames["classes"] = class_frame(parts, 2)
    frames["splits"] = split_frame(frames["images"], own.images.model_dump(), label_disagreement(parts))
    suites = expectations(own.bands, 0.001, own.classes)
    assert [outcome.name for outcome in expect(frames, suites, ROW_NAMES, 3).failed] == []


def test_changes_to_params_and_floors_are_applied_and_checked(described: Path) -> None:
    path = described / "datasets/shapes.yaml"
    drafted = path.read_text()
    assert "steps_per_epoch: 20" in drafted  # since there are few images
    text = drafted[: drafted.index("params:")]
    changes = "params: {train_rnn: {net: {reads: columns}}, train_cnn: {fit: {balance: loss}}}"
    path.write_text(text.replace("floors: {}", "floors: {cnn: {min_roc_auc: 0.8}}") + changes)
    params = check(parse_yaml(generated(described, "default", "shapes")["params.yaml"], "x"), Params, "x")
    assert read_dataset(described, "shapes").floors.cnn.min_roc_auc == 0.8
    assert (params.train_rnn.net.reads, params.train_cnn.fit.balance) == ("columns", "loss")
    for wrong, message in (
        ("params: {train_cnn: {fit: {epoch: 3}}}", "epoch: unknown key"),
        ("params: {dataset: mnist}", "cannot change dataset"),
        ("params: {}\nflors: {}", "flors: unknown key; did you mean floors"),
    ):
        path.write_text(text + wrong)
        with pytest.raises(UserError, match=message):
            generated(described, "default", "shapes")


def test_scenes_are_made_only_of_data_that_are_declared_to_be_glyphs(described: Path) -> None:
    with pytest.raises(UserError, match=r"shapes\.yaml does not say glyphs: true"):
        prepare(described, described / "build/shapes", "default", "shapes", glyphs=True)
    assert not (described / "build").exists()


def test_check_says_what_has_changed(described: Path) -> None:
    assert run("check", "shapes").exit_code == 0
    data = pictures("x")["x"]
    (described / "pictures/a/s1_99.png").write_bytes(encoded(Image.fromarray(GREY)))
    (described / "pictures/c").mkdir()
    (described / "pictures/c/s1_98.png").write_bytes(data[:-1] + b"x")
    done = run("check", "shapes")
    assert isinstance(done.exception, UserError)
    assert "there are 3 classes, described are 2" in str(done.exception)
    assert "the content has changed" in str(done.exception)


@pytest.mark.parametrize(("kind", "ink"), [("pictures", "bright"), ("pictures", "dark"), ("recordings", "bright")])
def test_one_file_is_prepared_as_the_data_set_was(kind: Kind, ink: Ink, tmp_path: Path) -> None:
    """The server prepares single files; `ingest` prepares whole sources."""
    if kind == "recordings":
        files = {f"{name}/{n}.wav": wav(tone(300 + 40 * n)) for name in "ab" for n in range(3)}
    else:
        picture = Image.fromarray(np.random.default_rng(1).integers(0, 256, (40, 60, 4), np.uint8), "RGBA")
        files = {f"{name}/{n}.png": encoded(picture.rotate(n)) for name in "ab" for n in range(3)}
    save(tmp_path, files)
    data = read_source(tmp_path, kind, ink)
    rows = np.arange(len(data))
    expected = dict(zip(data.names, bright(data.take(rows), ink).images, strict=True))
    for name, content in files.items():
        assert (prepare_file(content, input_of(kind, ink)) == expected[name]).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["add", "shapes", "--from", "pictures"], "shapes.yaml exists"),
        (["add", "mnist", "--from", "pictures"], "mnist.yaml exists"),
        (["add", "My Set", "--from", "pictures"], "cannot be the name"),
        (["add", "other", "--from", "missing"], "does not exist|neither"),
        (["add", "other", "--from", "pictures", "--kind", "video"], "--kind is idx"),
        (["add", "other", "--from", "pictures", "--kind", "npz"], "is not a NumPy archive|is a directory"),
        (["add", "other", "--from", "datasets"], "has neither IDX files"),
        (["check", "other"], "deepdigits dataset add other --from PATH"),
    ],
)
def test_wrong_arguments_write_nothing(arguments: list[str], message: str, described: Path) -> None:
    before = [path.name for path in (described / "datasets").iterdir()]
    done = run(*arguments)
    assert done.exit_code != 0
    with pytest.raises(UserError, match=message):
        raise done.exception
    assert [path.name for path in (described / "datasets").iterdir()] == before


def test_duplicates_are_refused_until_they_are_left_out(described: Path) -> None:
    twice = (described / "pictures/a/s0_0.png").read_bytes()
    (described / "pictures/b/s0_77.png").write_bytes(twice)
    done = run("add", "other", "--from", "pictures")
    assert isinstance(done.exception, UserError)
    assert "1 image appears with different labels: a/s0_0.png and b/s0_77.png" in str(done.exception)
    assert run("add", "other", "--from", "pictures", "--without", "b/s0_77.png").exit_code == 0
    assert "without: [b/s0_77.png]" in (described / "datasets/other.yaml").read_text()
    done = run("add", "third", "--from", "pictures", "--without", "b/none.png")
    assert "has no image 'b/none.png' to leave out" in str(done.exception)


# Findings


def test_duplicates_are_named_by_kind() -> None:
    images = data(40).images.copy()
    images[1], images[3], images[6] = images[0], images[2], images[4]
    labels = np.array([0, 1] * 20)
    splits = np.array(["train"] * 6 + ["test"] * 34)
    found = examine(Labelled(images, labels, ["a", "b"], [f"{n}.png" for n in range(40)], splits))
    assert [error.split(":")[0] for error in found.errors] == [
        "2 images appear with different labels", "1 image appears in two splits",
    ]  # fmt: skip
    assert "0.png and 1.png" in found.errors[0]
    assert "4.png and 6.png" in found.errors[1]


def test_a_test_split_that_is_a_copy_of_train_is_an_error() -> None:
    images = np.concatenate([data(30).images] * 2)
    splits = np.repeat(["train", "test"], 30)
    source = Labelled(images, np.tile(np.arange(30) % 3, 2), ["0", "1", "2"], [str(n) for n in range(60)], splits)
    (error,) = examine(source).errors
    assert error.startswith("30 images appear in two splits")


def test_images_that_look_alike_are_found_and_others_are_not(digits: tuple[Split, Split]) -> None:
    images = digits[0].images[:200].copy()
    nearly = images[5].copy()
    nearly[0, 0] = 3
    pairs = pairs_alike(np.concatenate([images, nearly[None]]))
    assert [5, 200] in pairs.tolist()
    assert len(pairs) < 20


def test_small_and_uneven_classes_are_warned_of() -> None:
    labels = np.array([0] * 50 + [1] * 10)
    found = examine(Labelled(data().images, labels, ["many", "few"], [""] * 60))
    assert found.counts == {"many": 50, "few": 10}
    assert any("'few' has only 10 images" in warning for warning in found.warnings)
    assert any("always answering 'many' would be right for 83.3%" in warning for warning in found.warnings)
