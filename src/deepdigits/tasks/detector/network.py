"""The detector: one network that finds the digits in a scene, and their positions, in a single pass.

It is anchor-free and one-stage, based on FCOS (Tian et al., 2019, arXiv:1904.01355). Its scores are trained to predict
the overlap (IoU) of their box with the digit (Li et al., 2020, arXiv:2006.04388).

Boxes are float32 `(..., 4)` x, y, width, height in pixels of the scene, as in COCO.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from deepdigits.data.scenes.scenes import SCENES_AT_ONCE
from deepdigits.nn.blocks import Backbone, convolution
from deepdigits.nn.loading import load_network
from deepdigits.nn.prediction import to_unit
from deepdigits.tasks.detector.config import DetectorNet

STRIDE = 4  # pixels of the scene per cell of the output map
CENTER_RADIUS = 1.5  # in cells; a cell predicts a digit if their centres are at most this far apart in x and in y
NOTHING = -1  # the label of an empty slot in a list of digits
BOX_WEIGHT = 4.0  # weight of the box loss relative to the score loss
LEAST_SCORE = 0.02  # boxes with a lower score are discarded
PRIOR = 0.01  # the initial score of every cell


class Detector(nn.Module):
    """float32 `(n, 1, height, width)` in [0, 1] -> logits `(n, cells, classes)` and boxes `(n, cells, 4)`.

    There is one prediction per cell of 4 x 4 pixels, row by row; the border may cut off the last row and column.

    The features of the backbone's coarsest level are added to those of the next finer one, which feeds two heads.
    `threshold` is the minimum score for showing a box. It is set after training and stored in the weights file.
    """

    threshold: Tensor

    def __init__(self, config: DetectorNet):
        super().__init__()
        self.max_detections, self.nms_iou = config.max_detections, config.nms_iou
        _, quarter, eighth = config.widths
        self.backbone = Backbone(config.widths)
        self.narrow = convolution(eighth, quarter, kernel=1)
        self.joined = nn.Sequential(convolution(quarter, quarter), convolution(quarter, quarter))
        scores, self.box_head = nn.Conv2d(quarter, config.classes, 1), nn.Conv2d(quarter, 4, 1)
        self.class_head = nn.Sequential(convolution(quarter, quarter), scores)
        for last, bias in ((scores, math.log(PRIOR / (1 - PRIOR))), (self.box_head, 0.0)):
            nn.init.normal_(last.weight, std=0.01)
            nn.init.constant_(last.bias, bias)  # type: ignore[arg-type]
        self.register_buffer("threshold", torch.tensor(0.5))
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        *_, fine, coarse = self.backbone(images)
        maps = self.joined(fine + F.interpolate(self.narrow(coarse), size=fine.shape[2:], mode="nearest"))
        logits = self.class_head(maps).flatten(2).transpose(1, 2)
        raw = self.box_head(maps).flatten(2).transpose(1, 2)
        middle = cell_middles(fine.shape[2], fine.shape[3], raw.device) + raw[..., :2] * STRIDE
        size = STRIDE * raw[..., 2:].clamp(-4, 4).exp() * 4
        return logits, torch.cat([middle - size / 2, size], dim=2)


def cell_middles(rows: int, columns: int, device: torch.device | None = None) -> Tensor:
    """x and y of the centre of every cell in pixels, `(rows * columns, 2)`."""
    y, x = torch.meshgrid(*(torch.arange(count, device=device) for count in (rows, columns)), indexing="ij")
    return (torch.stack([x, y], dim=2).flatten(0, 1) + 0.5) * STRIDE


def iou(first: Tensor, second: Tensor) -> Tensor:
    """Intersection over union of boxes `(..., 4)`, with broadcasting."""
    shared, union, _ = _areas(first, second)
    return shared / union


def generalized_iou(first: Tensor, second: Tensor) -> Tensor:
    """IoU minus the share of the hull that neither box covers, -1 to 1 (Rezatofighi et al., 2019, arXiv:1902.09630)."""
    shared, union, hull = _areas(first, second)
    return shared / union - (hull - union) / hull


def _areas(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    ends, other_ends = first[..., :2] + first[..., 2:], second[..., :2] + second[..., 2:]
    shared = (torch.minimum(ends, other_ends) - torch.maximum(first[..., :2], second[..., :2])).clamp(min=0).prod(-1)
    hull = (torch.maximum(ends, other_ends) - torch.minimum(first[..., :2], second[..., :2])).prod(-1)
    return shared, first[..., 2:].prod(-1) + second[..., 2:].prod(-1) - shared, hull


def assign(middles: Tensor, boxes: Tensor, labels: Tensor) -> Tensor:
    """Assign each cell the digit of its scene that it must predict, int64 `(n, cells)`, or `NOTHING`.

    A cell within reach of several digits is assigned the nearest.

    Args:
        middles: `(cells, 2)`.
        boxes: `(n, digits, 4)`.
        labels: int64 `(n, digits)`, `NOTHING` where there is no digit.
    """
    centres = boxes[..., :2] + boxes[..., 2:] / 2
    distance = (middles[None, :, None] - centres[:, None]).abs().amax(dim=3)  # (n, cells, digits)
    distance = distance.masked_fill((labels == NOTHING)[:, None], float("inf"))
    nearest, which = distance.min(dim=2)
    return which.masked_fill(nearest > CENTER_RADIUS * STRIDE, NOTHING)


def detection_loss(
    logits: Tensor, found: Tensor, boxes: Tensor, labels: Tensor, middles: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The score and box losses, each divided by the number of cells that are assigned a digit, and that number.

    The target score is the IoU of the cell's box with its digit for that digit's class, and 0 for all other classes.
    """
    assigned = assign(middles, boxes, labels)
    answers = assigned != NOTHING
    count = answers.sum().clamp(min=1)
    scene, cell = answers.nonzero(as_tuple=True)
    digit = assigned[scene, cell]
    box_loss = (1 - generalized_iou(found[scene, cell], boxes[scene, digit])).sum() / count
    target = torch.zeros_like(logits)
    target[scene, cell, labels[scene, digit]] = iou(found[scene, cell], boxes[scene, digit]).detach()
    plain = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    score_loss = ((target - logits.sigmoid()).square() * plain).sum() / count
    return score_loss, box_loss, count


def best_cells(scores: Tensor, boxes: Tensor, max_detections: int, nms_iou: float) -> tuple[Tensor, Tensor]:
    """Scores `(n, k, classes)` and boxes `(n, k, 4)` of the `max_detections` best cells of each scene, best first.

    Both are 0 for cells without a box according to `has_box`.
    """
    best, order = scores.amax(dim=2).topk(min(max_detections, scores.shape[1]), dim=1)
    scores, boxes = (each.gather(1, order.unsqueeze(2).expand(-1, -1, each.shape[2])) for each in (scores, boxes))
    better = torch.ones(boxes.shape[1], boxes.shape[1], dtype=torch.bool, device=boxes.device).tril(diagonal=-1)
    kept = has_box(best, boxes, better, nms_iou).unsqueeze(2)
    return scores * kept, boxes * kept


def has_box(best: Tensor, boxes: Tensor, better: Tensor, nms_iou: float) -> Tensor:
    """Whether each cell has a box, bool `(n, k)`.

    It does if its best score, `(n, k)`, is high enough and its box does not overlap a better cell's too much. For
    `boxes` and `better` see `suppressed`.
    """
    return ~suppressed(boxes, better, nms_iou) & (best >= LEAST_SCORE)


def two_guesses(scores: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return each cell's most likely digit, followed by the second guesses of all cells.

    The score of a second guess is that digit's score times (1 - the first guess's score), hence at most 0.25, so a box
    is shown as only one digit. In COCO's metric, a digit that only the second guess gets right counts as found late
    rather than as missed.

    Returns:
        boxes `(n, 2k, 4)`, scores `(n, 2k)` in [0, 1], labels int64 `(n, 2k)`, all 0 where a cell has no box.
    """
    two, labels = scores.topk(2, dim=2)
    first, second = two.unbind(dim=2)
    guesses = torch.cat([first, second * (1 - first)], dim=1)
    return torch.cat([boxes, boxes], dim=1), guesses, torch.cat(labels.unbind(dim=2), dim=1) * (guesses > 0)


def suppressed(boxes: Tensor, better: Tensor, nms_iou: float) -> Tensor:
    """Whether each of `boxes` `(n, k, 4)` overlaps a better one too much, bool `(n, k)`.

    Suppressed boxes still suppress others, which avoids a loop (Fast NMS: Bolya et al., 2019, arXiv:1904.02689).

    Args:
        better: bool, `(k, k)` or `(n, k, k)`; [.., i, j] is true if box j is better than box i.
    """
    return ((iou(boxes[:, :, None], boxes[:, None]) > nms_iou) & better).any(dim=2)


def find_digits(network: Detector, images: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find boxes, scores and labels, as returned by `two_guesses`, in scenes uint8 `(n, height, width)`."""
    boxes, scores, labels = two_guesses(*find_cells(network, images))
    return boxes.numpy(), scores.numpy(), labels.numpy()


@torch.inference_mode()
def find_cells(network: Detector, images: np.ndarray) -> tuple[Tensor, Tensor]:
    """Find scores and boxes, as returned by `best_cells`, in scenes uint8 `(n, height, width)`."""
    network.eval()
    parts = []
    for part in torch.from_numpy(images).split(SCENES_AT_ONCE):
        logits, boxes = network(to_unit(part))
        parts.append(best_cells(logits.sigmoid(), boxes, network.max_detections, network.nms_iou))
    scores, boxes = (torch.cat(arrays) for arrays in zip(*parts, strict=True))
    return scores, boxes


def losses(net: nn.Module, images: Tensor, digits: Tensor) -> dict[str, Tensor]:
    """The training loss and its parts, and the number of cells that they are means over.

    `digits` is float32 `(n, slots, 5)`: label, x, y, width, height; the label is `NOTHING` in an empty slot.
    """
    logits, found = net(images)
    middles = cell_middles(images.shape[2] // STRIDE, images.shape[3] // STRIDE, images.device)
    scores, boxes, count = detection_loss(logits.float(), found, digits[..., 1:], digits[..., 0].long(), middles)
    return {"loss": scores + BOX_WEIGHT * boxes, "score_loss": scores, "box_loss": boxes, "weight": count}


def load_detector(path: Path) -> Detector:
    """Rebuild the network from its file; see `deepdigits.nn.loading.load_network`."""
    return load_network(path, "detector", DetectorNet, Detector)
