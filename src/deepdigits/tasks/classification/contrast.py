"""How the classifiers become independent of an image's brightness and contrast."""

from __future__ import annotations

from torch import Tensor

from deepdigits.nn.contrast import local_contrast
from deepdigits.tasks.classification.config import Contrast


def normalize(images: Tensor, contrast: Contrast) -> Tensor:
    """Compare each pixel with its neighbourhood (`local`) or with the whole image (`image`).

    The first keeps strokes and edges and also removes slow shading; the second keeps which large areas are bright or
    dark.

    float32 `(n, 1, 28, 28)` -> the same shape.
    """
    if contrast == "local":
        return local_contrast(images)
    centred = images - images.mean(dim=(2, 3), keepdim=True)
    return centred / (centred.std(dim=(2, 3), keepdim=True) + 0.02)
