"""Scenes composed of digits: exact boxes and masks, whatever else is drawn with them; and the gate that checks them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepdigits.core.errors import UserError
from deepdigits.data.digits.splits import Split
from deepdigits.data.scenes.config import Digits, Scale, SceneStyle
from deepdigits.data.scenes.manifest import describe_scenes
from deepdigits.data.scenes.scenes import (
    Scenes,
    box_iou,
    compose,
    detection_targets,
    load_scenes,
    numbers_in_scene,
    save_scenes,
)
from deepdigits.data.validation.expectations import check
from deepdigits.data.validation.scene_expectations import ROW_NAMES, scene_expectations
from deepdigits.data.validation.scene_frame import digit_frame, mask_boxes, scene_frame, scene_split_frame

LOOK = SceneStyle(
    size=84,
    digits=Digits(least=1, most=6),
    scale=Scale(smallest=0.75, largest=1.4),
    rotate_degrees=15.0,
    max_overlap=0.08,
    faintest_ink=0.6,
    brightest_background=0.3,
    fragments=6,
    noise=0.06,
)
COUNT = 60


@pytest.fixture(scope="module")
def origins(digits: tuple[Split, Split]) -> dict[str, Split]:
    return {"train": digits[0], "test": digits[1]}


@pytest.fixture(scope="module")
def scenes(origins: dict[str, Split]) -> dict[str, Scenes]:
    return {name: compose(split, COUNT, LOOK, [1, number]) for number, (name, split) in enumerate(origins.items())}


def test_boxes_match_the_masks_and_respect_the_overlap_limit(scenes: dict[str, Scenes]) -> None:
    for one in scenes.values():
        boxes, areas = mask_boxes(one)
        assert (boxes == one.boxes).all()
        assert areas.min() >= 12
        counts = np.bincount(one.scene, minlength=COUNT)
        assert counts.min() >= 1
        assert counts.max() <= 6
        for row in range(COUNT):
            own = one.boxes[one.scene == row]
            assert (box_iou(own, own) - np.eye(len(own)) <= LOOK.max_overlap).all()
            digits = set(one.labels[one.scene == row] + 1)
            assert set(np.unique(one.semantic[row])) <= {0} | digits


def test_a_scene_does_not_depend_on_the_scenes_drawn_with_it(
    origins: dict[str, Split], scenes: dict[str, Scenes]
) -> None:
    few = compose(origins["train"], 7, LOOK, [1, 0])
    assert (few.images == scenes["train"].images[:7]).all()
    assert (few.boxes == scenes["train"].boxes[: len(few.boxes)]).all()
    other = compose(origins["train"], 7, LOOK, [2, 0])
    assert (other.images != few.images).any()


def test_scenes_have_the_same_bytes_on_every_processor(scenes: dict[str, Scenes]) -> None:
    """The hash is from an AMD EPYC. When PyTorch rotated the digits, scenes had other bytes there than on a Xeon."""
    origin = {**dict.fromkeys(("name", "title", "source", "sha256"), "digits"), "classes": list("0123456789")}
    content = describe_scenes(origin, scenes)["sha256"]
    assert content == "fea6b1ffeb7f05541c18f03f2c78587784c55418ac100e8248f830efeb29e0aa"


def test_overlapping_digits_keep_both_masks_and_the_topmost_sets_the_class(scenes: dict[str, Scenes]) -> None:
    one = scenes["train"]
    shared = (one.instances & (one.instances - 1) != 0) & (one.instances > 0)
    assert shared.any()
    row, y, x = np.argwhere(shared)[0]
    highest = int(one.instances[row, y, x]).bit_length() - 1
    label = one.labels[one.scene == row][highest]
    assert one.semantic[row, y, x] == 1 + label


@settings(max_examples=20, deadline=None)
@given(
    max_digits=st.integers(1, 20),
    size=st.sampled_from([84, 128]),
    overlap=st.floats(0, 0.5),
    seed=st.integers(0, 10**6),
)
def test_boxes_are_exact_for_any_style(max_digits: int, size: int, overlap: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    images = np.zeros((4, 28, 28), np.uint8)
    images[:, 6:22, 8:20] = rng.integers(150, 256, (4, 16, 12))
    changes = {"size": size, "digits": Digits(least=1, most=max_digits), "max_overlap": overlap}
    one = compose(Split(images, np.arange(4)), 3, LOOK.model_copy(update=changes), [seed])
    boxes, _ = mask_boxes(one)
    assert (boxes == one.boxes).all()
    assert (one.boxes[:, :2] >= 0).all()
    assert (one.boxes[:, :2] + one.boxes[:, 2:] <= size).all()
    assert ((one.semantic > 0) == (one.instances > 0)).all()


def test_targets_contain_every_digit_once(scenes: dict[str, Scenes]) -> None:
    one = scenes["test"]
    targets = detection_targets(one)
    present = targets[..., 0] >= 0
    assert present.sum() == len(one.labels)
    assert (targets[present][:, 0] == one.labels).all()
    assert (targets[present][:, 1:] == one.boxes).all()
    assert (targets[~present] == -1).all()


def test_scenes_round_trip_through_files_and_errors_say_what_to_run(scenes: dict[str, Scenes], tmp_path: Path) -> None:
    save_scenes(scenes["test"], tmp_path / "a.npz")
    save_scenes(load_scenes(tmp_path / "a.npz"), tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    (tmp_path / "a.npz").write_bytes(b"PK\x03\x04 no more")
    with pytest.raises(UserError, match="dvc repro --force compose"):
        load_scenes(tmp_path / "a.npz")
    with pytest.raises(UserError, match="Run: dvc repro compose"):
        load_scenes(tmp_path / "none.npz")


def test_the_manifest_hash_depends_on_the_content(scenes: dict[str, Scenes]) -> None:
    manifest = {"name": "digits", "title": "digits", "source": "here", "sha256": "0", "classes": list("0123456789")}
    described = describe_scenes(manifest, scenes)
    boxes = scenes["test"].boxes.copy()
    boxes[0, 0] += 1
    moved = describe_scenes(manifest, {**scenes, "test": replace(scenes["test"], boxes=boxes)})
    assert described["sha256"] != moved["sha256"]
    assert described["splits"]["train"] == moved["splits"]["train"]


def failed_expectations(scenes: dict[str, Scenes], origins: dict[str, Split]) -> list[str]:
    styles = dict.fromkeys(scenes, LOOK)
    frames = {
        "digits": digit_frame(scenes, origins, styles),
        "scenes": scene_frame(scenes, styles),
        "scene_splits": scene_split_frame(scenes, origins, dict.fromkeys(scenes, COUNT), 10),
    }
    return [outcome.name for outcome in check(frames, scene_expectations(10), ROW_NAMES, 5).failed]


def test_composed_scenes_pass(scenes: dict[str, Scenes], origins: dict[str, Split]) -> None:
    assert failed_expectations(scenes, origins) == []


def changed(name: str, change: Callable[[np.ndarray], None]) -> Callable[[Scenes], Scenes]:
    def apply(one: Scenes) -> Scenes:
        array = getattr(one, name).copy()
        change(array)
        return replace(one, **{name: array})

    return apply


def put(where: object, value: object) -> Callable[[np.ndarray], None]:
    return lambda array: array.__setitem__(where, value)


def one_label(one: Scenes) -> Scenes:
    return replace(one, labels=np.full_like(one.labels, 3))


FAULTS = {
    "a moved box": (changed("boxes", put((0, 0), 1)), "every box is the tightest one around the digit's mask"),
    "a box outside the scene": (changed("boxes", put((0, 2), 90)), "every box lies inside its scene"),
    "a label that is not a digit": (changed("labels", put(0, 10)), "every digit in a scene is one of 0 to 9"),
    "labels swapped": (
        changed("labels", lambda labels: labels.__setitem__(slice(None), np.roll(labels, 1))),
        "every digit has the label of the image it was made from",
    ),
    "a missing mask": (changed("instances", put(0, 0)), "every digit has a mask (12 pixels or more)"),
    "missing semantic masks": (
        changed("semantic", put(0, 0)),
        "semantic and instance masks agree where there are digits",
    ),
    "a blank scene": (changed("images", put(0, 0)), "no scene is blank (pixel deviation of 3 or more)"),
    "a duplicate scene": (
        changed("images", lambda images: images.__setitem__(0, images[1])),
        "no scene appears twice",
    ),
    "only one digit": (one_label, "no digit dominates a split's scenes"),
    "two boxes in one place": (
        lambda one: replace(one, boxes=np.concatenate([one.boxes[:1], one.boxes[:1], one.boxes[2:]])),
        "no two boxes of a scene overlap by more than is allowed",
    ),
    "a missing scene": (
        lambda one: without_last_scene(one),
        "every split has its expected number of scenes",
    ),
}


def without_last_scene(one: Scenes) -> Scenes:
    kept = one.scene < COUNT - 1
    arrays = {name: getattr(one, name)[kept] for name in ("scene", "boxes", "labels", "sources")}
    return Scenes(one.images[:-1], one.semantic[:-1], one.instances[:-1], **arrays)


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_in_scenes_is_named(name: str, scenes: dict[str, Scenes], origins: dict[str, Split]) -> None:
    change, expected = FAULTS[name]
    faulty = {**scenes, "train": change(fullest_scene_first(scenes["train"]))}
    assert expected in failed_expectations(faulty, origins)


def fullest_scene_first(one: Scenes) -> Scenes:
    """Scenes sorted by their number of digits, so that the first two boxes belong to one scene."""
    rows = np.argsort(-np.bincount(one.scene, minlength=COUNT), kind="stable")
    order = np.concatenate([np.flatnonzero(one.scene == row) for row in rows])
    place = np.empty(COUNT, np.int64)
    place[rows] = np.arange(COUNT)
    pixels = {name: getattr(one, name)[rows] for name in ("images", "semantic", "instances")}
    lists = {name: getattr(one, name)[order] for name in ("boxes", "labels", "sources")}
    return Scenes(**pixels, scene=place[one.scene[order]], **lists)


def test_a_test_digit_in_the_training_scenes_is_named(digits: tuple[Split, Split]) -> None:
    train, test = digits
    leaky = Split(np.concatenate([train.images, test.images]), np.concatenate([train.labels, test.labels]))
    origins = {"train": leaky, "test": test}
    scenes = {name: compose(split, COUNT, LOOK, [3]) for name, split in origins.items()}
    assert any("a test digit in train" in name for name in failed_expectations(scenes, origins))


def test_digits_are_numbered_within_each_scene() -> None:
    assert numbers_in_scene(np.array([0, 0, 2, 2, 2, 5])).tolist() == [0, 1, 0, 1, 2, 0]
