"""The detector's parts and its measures, against values computed by hand or by pycocotools itself."""

from __future__ import annotations

import contextlib
import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deepdigits.data.digits.splits import Split
from deepdigits.data.scenes.scenes import Scenes, box_iou, compose, detection_targets
from deepdigits.tasks.detector import evaluation
from deepdigits.tasks.detector.config import DetectorNet
from deepdigits.tasks.detector.metrics import (
    THRESHOLDS,
    Detections,
    _judge,
    average_precision,
    best_threshold,
    detection_measures,
    match,
    precision_recall,
)
from deepdigits.tasks.detector.network import (
    NOTHING,
    STRIDE,
    Detector,
    assign,
    best_cells,
    cell_middles,
    find_digits,
    generalized_iou,
    iou,
    losses,
    two_guesses,
)
from tests.unit.test_scenes import LOOK

NET = DetectorNet(widths=(8, 8, 8), max_detections=20, nms_iou=0.5)
COUNT = 40


@pytest.fixture(scope="module")
def scenes(digits: tuple[Split, Split]) -> Scenes:
    return compose(digits[1], COUNT, LOOK, [4])


def guesses(scenes: Scenes, seed: int) -> Detections:
    """Boxes near the true ones, some of them misplaced, mislabelled or duplicated, with random scores."""
    rng = np.random.default_rng(seed)
    targets = np.concatenate([detection_targets(scenes)] * 2, axis=1)
    present = targets[..., 0] >= 0
    boxes = targets[..., 1:] + rng.normal(0, 1.5, targets[..., 1:].shape)
    labels = np.where(rng.uniform(size=present.shape) < 0.9, targets[..., 0], rng.integers(10, size=present.shape))
    return Detections(boxes, present * rng.uniform(0.05, 1, present.shape), labels.astype(np.int64).clip(0))


def perfect(scenes: Scenes) -> Detections:
    targets = detection_targets(scenes)
    return Detections(targets[..., 1:], (targets[..., 0] >= 0).astype(float), targets[..., 0].astype(np.int64))


@pytest.mark.parametrize("seed", range(3))
def test_average_precision_matches_pycocotools(scenes: Scenes, seed: int) -> None:
    found = guesses(scenes, seed)
    judged = _judge(scenes, found, {"all": (0.0, 1e5)})
    with contextlib.redirect_stdout(io.StringIO()):
        judged.accumulate()
    expected = judged.eval["precision"][:, :, :, 0, 0].mean(axis=1)
    assert average_precision(match(scenes, found)) == pytest.approx(expected, abs=1e-9)


def test_scene_weights_act_as_repetitions(scenes: Scenes) -> None:
    found = guesses(scenes, 0)
    times = np.random.default_rng(1).integers(0, 3, COUNT)
    rows = np.repeat(np.arange(COUNT), times)
    parts = [np.flatnonzero(scenes.scene == row) for row in rows]
    order = np.concatenate(parts)
    repeated = Scenes(
        scenes.images[rows], scenes.semantic[rows], scenes.instances[rows],
        np.repeat(np.arange(len(rows)), [len(part) for part in parts]),
        scenes.boxes[order], scenes.labels[order], scenes.sources[order],
    )  # fmt: skip
    copied = Detections(found.boxes[rows], found.scores[rows], found.labels[rows])
    expected = average_precision(match(repeated, copied))
    assert average_precision(match(scenes, found), times) == pytest.approx(expected, abs=1e-9, nan_ok=True)


def test_a_perfect_detector_scores_one_and_a_blind_one_zero(scenes: Scenes) -> None:
    right = detection_measures(scenes, perfect(scenes), 0.5)
    assert right["map"] == right["map_50"] == right["count_accuracy"] == right["f1"] == pytest.approx(1)
    blind = replace(perfect(scenes), scores=np.zeros_like(perfect(scenes).scores))
    nothing = detection_measures(scenes, blind, 0.5)
    assert nothing["map"] == nothing["recall"] == nothing["count_accuracy"] == 0


def test_a_duplicate_box_is_a_false_positive_and_spoils_the_count(scenes: Scenes) -> None:
    right = perfect(scenes)
    duplicated = Detections(
        np.concatenate([right.boxes, right.boxes[:, :1]], axis=1),
        np.concatenate([right.scores, np.full((COUNT, 1), 0.6)], axis=1),
        np.concatenate([right.labels, right.labels[:, :1]], axis=1),
    )
    measures = detection_measures(scenes, duplicated, 0.5)
    assert measures["count_accuracy"] == 0
    assert measures["recall"] == 1
    assert measures["precision"] == pytest.approx(len(scenes.labels) / (len(scenes.labels) + COUNT))
    assert detection_measures(scenes, duplicated, 0.7)["count_accuracy"] == 1
    assert best_threshold(match(scenes, duplicated)) == 1
    recall, precision = precision_recall(match(scenes, duplicated), 0)
    assert recall[-1] == 1
    assert precision[0] == 1
    assert precision[-1] < 1


BOX = st.tuples(*[st.integers(0, 60)] * 2, *[st.integers(1, 40)] * 2)


@settings(max_examples=50, deadline=None)
@given(st.lists(BOX, min_size=1, max_size=6), st.lists(BOX, min_size=1, max_size=6))
def test_both_implementations_of_iou_agree(first: list[tuple[int, ...]], second: list[tuple[int, ...]]) -> None:
    a, b = np.array(first), np.array(second)
    expected = box_iou(a, b)
    found = iou(torch.tensor(a)[:, None].float(), torch.tensor(b)[None].float())
    assert found.numpy() == pytest.approx(expected, abs=1e-6)
    general = generalized_iou(torch.tensor(a)[:, None].float(), torch.tensor(b)[None].float()).numpy()
    assert (general <= expected + 1e-6).all()
    assert (general > -1).all()


def test_a_cell_is_assigned_the_nearest_digit_within_reach() -> None:
    boxes = torch.tensor([[[6.0, 6.0, 8.0, 8.0], [30.0, 30.0, 20.0, 20.0], [0.0, 0.0, 4.0, 4.0]]])
    labels = torch.tensor([[3, 7, NOTHING]])
    assigned = assign(cell_middles(21, 21), boxes, labels).reshape(21, 21)
    assert assigned[2, 2] == 0  # its centre is (10, 10), like that of the first box
    assert assigned[9, 9] == 1
    assert assigned[0, 0] == NOTHING  # an empty slot attracts no cell
    assert set(assigned.unique().tolist()) == {NOTHING, 0, 1}
    rows, columns = torch.nonzero(assigned == 1, as_tuple=True)
    assert (torch.stack([rows, columns]) - 9.5).abs().max() <= 1.5 + 0.5
    assert STRIDE * 21 == 84


def test_the_better_of_two_boxes_on_one_digit_is_kept() -> None:
    boxes = torch.tensor([[[0.0, 0, 20, 20], [1.0, 0, 20, 20], [50.0, 50, 20, 20]]])
    logits = torch.full((1, 3, 10), -9.0)
    logits[0, 0, 4], logits[0, 1, 4], logits[0, 2, 6] = 1.0, 2.0, 0.0
    found, scores, labels = two_guesses(*best_cells(logits.sigmoid(), boxes, max_detections=3, nms_iou=0.5))
    assert scores[0, :3].tolist() == pytest.approx([torch.tensor(2.0).sigmoid().item(), 0, 0.5])
    assert labels[0, :3].tolist() == [4, 0, 6]
    assert found[0, 0].tolist() == [1, 0, 20, 20]
    assert found[0, 1].tolist() == [0, 0, 0, 0]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(-40, 40), min_size=10, max_size=10, unique=True))
def test_the_second_guess_is_scaled_by_the_chance_that_the_first_is_wrong(quarters: list[int]) -> None:
    logits = np.array(quarters) / 4
    boxes, scores, labels = two_guesses(torch.tensor(logits).sigmoid()[None, None], torch.tensor([[[1.0, 2, 3, 4]]]))
    best, second = np.argsort(logits)[:-3:-1]
    first, other = 1 / (1 + np.exp(-logits[[best, second]]))
    assert scores[0].tolist() == pytest.approx([first, other * (1 - first)], abs=1e-6)
    assert scores[0, 1] <= 0.25
    assert labels[0].tolist() == [best, second]
    assert boxes[0].tolist() == [[1, 2, 3, 4]] * 2


def test_the_loss_falls_and_stays_finite_for_a_batch_without_digits(scenes: Scenes) -> None:
    torch.manual_seed(0)
    net = Detector(NET)
    images = torch.from_numpy(scenes.images[:16]).unsqueeze(1).float() / 255
    digits = torch.from_numpy(detection_targets(scenes)[:16])
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    values = []
    for _ in range(25):
        loss = losses(net, images, digits)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        values.append(loss.item())
    assert values[-1] < 0.7 * values[0]
    empty = losses(net, images, torch.full_like(digits, NOTHING))
    assert torch.isfinite(empty["loss"])
    boxes, scores, labels = find_digits(net, scenes.images)
    assert boxes.shape == (COUNT, 2 * NET.max_detections, 4)
    assert ((scores >= 0) & (scores <= 1)).all()
    assert len(THRESHOLDS) == 10
    assert labels.dtype == np.int64


def test_multi_scale_detection_finds_a_large_digit_in_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """The network is replaced by one that finds a single box, 20 pixels high, in the copy at a quarter of the size."""

    def find(_network: Detector, images: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        scores, boxes = torch.zeros(1, 20, 10), torch.zeros(1, 20, 4)
        if images.shape == (1, 21, 21):
            boxes[0, 0] = torch.tensor([1.0, 2, 10, 20])
            scores[0, 0, 6] = 0.75
        return scores, boxes

    monkeypatch.setattr(evaluation, "find_cells", find)
    boxes, scores, labels = evaluation.find_at_scales(Detector(NET), np.zeros((1, 84, 84), np.uint8))
    assert boxes[0, 0].tolist() == [4, 8, 40, 80]
    assert scores[0, 0] == pytest.approx(0.75)
    assert labels[0, 0] == 6
    assert not scores[0, 1:].any()
