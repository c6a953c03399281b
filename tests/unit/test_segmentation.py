"""The segmenter and its measures."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from deepdigits.data.digits.splits import Split
from deepdigits.data.scenes.scenes import Scenes, compose
from deepdigits.tasks.segmenter.config import SegmenterNet
from deepdigits.tasks.segmenter.metrics import (
    boundary_f1,
    confusions,
    iou_by_class,
    mean_iou,
    overlaps,
    segmentation_measures,
)
from deepdigits.tasks.segmenter.network import Segmenter, losses, name_pixels, segmentation_loss
from tests.unit.test_scenes import LOOK


@pytest.fixture(scope="module")
def scenes(digits: tuple[Split, Split]) -> Scenes:
    return compose(digits[1], 60, LOOK, [5])


def test_iou_matches_a_hand_computed_value() -> None:
    truth, found = np.zeros((2, 4, 4), np.uint8), np.zeros((2, 4, 4), np.uint8)
    truth[0, :2], found[0, 1:3] = 3, 3  # 4 pixels shared, 12 in either
    confusion = confusions(truth, found)
    assert confusion.shape == (2, 4, 4)
    assert confusion.sum() == 32
    by_class = iou_by_class(confusion.sum(axis=0))
    assert by_class[3] == pytest.approx(4 / 12)
    assert np.isnan(by_class[2])
    assert mean_iou(confusion.sum(axis=0)) == pytest.approx(4 / 12)


def test_correct_masks_score_one_and_shifted_ones_less(scenes: Scenes) -> None:
    right = segmentation_measures(scenes, scenes.semantic)
    assert right["miou"] == right["boundary_f1"] == right["pixel_accuracy"] == right["miou_overlap"] == 1
    shifted = segmentation_measures(scenes, np.roll(scenes.semantic, 1, axis=2))
    assert shifted["boundary_f1"] == pytest.approx(1, abs=0.02), "one pixel is within the tolerance"
    assert shifted["miou"] < 0.75
    far = boundary_f1(scenes.semantic, np.roll(scenes.semantic, 6, axis=2))
    assert (far < 0.7).all()


def test_overlaps_are_where_two_digits_have_ink() -> None:
    instances = np.zeros((1, 20, 20), np.uint8)
    instances[0, 5, 5], instances[0, 5, 6], instances[0, 15, 15] = 0b11, 0b1, 0b10
    found = overlaps(instances)
    assert found[0, 3:8, 3:8].all()
    assert found.sum() == 25


def test_the_loss_combines_cross_entropy_with_the_log_dice_of_each_digit() -> None:
    torch.manual_seed(0)
    logits, semantic = torch.randn(3, 11, 5, 6), torch.randint(0, 11, (3, 5, 6))
    found, wanted = logits.softmax(dim=1).movedim(1, 3).flatten(0, 2), F.one_hot(semantic, 11).flatten(0, 2)
    dice = (2 * (found * wanted).sum(dim=0) + 1) / (found.sum(dim=0) + wanted.sum(dim=0) + 1)
    expected = 2 * F.cross_entropy(logits, semantic) - dice[1:].log().mean()
    assert torch.allclose(segmentation_loss(logits, semantic), expected)


def test_the_loss_falls_and_the_answer_has_the_shape_of_the_scene(scenes: Scenes) -> None:
    torch.manual_seed(0)
    net = Segmenter(SegmenterNet(widths=(8, 8, 8)))
    images = torch.from_numpy(scenes.images[:16]).unsqueeze(1).float() / 255
    masks = torch.from_numpy(scenes.semantic[:16])
    optimizer = torch.optim.Adam(net.parameters(), lr=0.02)
    values = []
    for _ in range(20):
        loss = losses(net, images, masks)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        values.append(loss.item())
    assert values[-1] < 0.7 * values[0]
    found = name_pixels(net, scenes.images)
    assert found.shape == scenes.semantic.shape
    assert found.dtype == np.uint8
    assert found.max() <= 10
