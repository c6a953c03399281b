"""Compares batches per second: our batched in-memory augmentation, and a DataLoader with per-sample PIL transforms."""

from __future__ import annotations

import random
from functools import partial

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from benchmarks.common import Row, alternate, record, split
from deepdigits.core.compute import use_threads
from deepdigits.core.loading import read_params
from deepdigits.data.digits.splits import Split
from deepdigits.ops.exit import exits_cleanly
from deepdigits.release.params import Params
from deepdigits.tasks.classification.augmentation import augment
from deepdigits.training.batches import ShuffledBatches, epoch_generator

BATCHES, ROUNDS = 40, 3


class PerSample(Dataset[tuple[torch.Tensor, int]]):
    """The same distortion, one image at a time: a PIL affine transform, then a tensor."""

    def __init__(self, data: Split):
        self.data = data

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        image = Image.fromarray(self.data.images[index])
        angle, scale = random.uniform(-0.17, 0.17), random.uniform(0.9, 1.1)
        cos, sin = np.cos(angle) / scale, np.sin(angle) / scale
        move_x, move_y = random.uniform(-2, 2), random.uniform(-2, 2)
        matrix = (cos, -sin, 13.5 - 13.5 * (cos - sin) + move_x, sin, cos, 13.5 - 13.5 * (cos + sin) + move_y)
        moved = image.transform((28, 28), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
        return torch.from_numpy(np.array(moved)).unsqueeze(0).float() / 255, int(self.data.labels[index])


@exits_cleanly
def main() -> None:
    params = read_params(Params)
    use_threads(params.compute.threads)
    data, fit = split("train"), params.train_cnn.fit
    affine_only = fit.augmentation.model_copy(update={"textured_fraction": 0.0})
    images, labels = torch.from_numpy(data.images), torch.from_numpy(data.labels)
    subset = data.take(np.arange(BATCHES * fit.batch_size))

    def ours(augmentation: object) -> None:
        change = partial(augment, config=augmentation)  # type: ignore[arg-type]
        for _batch in ShuffledBatches(images, labels, fit.batch_size, BATCHES, epoch_generator(0, 0), change):
            pass

    def peer(workers: int) -> None:
        for _batch in DataLoader(PerSample(subset), fit.batch_size, shuffle=True, num_workers=workers):
            pass

    taken = alternate(
        {
            "affine": lambda: ours(affine_only),
            "shipped": lambda: ours(fit.augmentation),
            "peer": lambda: peer(0),
            "peer, two workers": lambda: peer(2),
        },
        ROUNDS,
    )
    rate = {name: BATCHES / value for name, value in taken.items()}
    rows = [
        Row(
            f"batches/s of {fit.batch_size}, {title}",
            f"{rate[name]:.0f}",
            f"{rate[peer_name]:.0f} (DataLoader, PIL, {workers})",
            f"{rate[name] / rate[peer_name]:.1f}x",
            ">= 10x" if (name, peer_name) == ("affine", "peer") else "reported",
            (name, peer_name) != ("affine", "peer") or rate[name] / rate[peer_name] >= 10,
        )
        for name, title in (("affine", "affine alone, as the peer"), ("shipped", "the CNN's whole augmentation"))
        for peer_name, workers in (
            ("peer", "in the same process"),
            ("peer, two workers", "two worker processes, on cores that training would need"),
        )
    ]
    record("input", rows)


if __name__ == "__main__":
    main()
