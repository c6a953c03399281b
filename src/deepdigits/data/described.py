"""datasets/NAME.yaml: what a data set is, where it comes from, and what is normal in it."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, model_validator

from deepdigits.core.errors import UserError
from deepdigits.core.loading import check, read_yaml
from deepdigits.core.sections import Fraction, PositiveFloat, Section

FOLDER = Path("datasets")

DatasetName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]*$")]
Kind = Literal["idx", "npz", "pictures", "recordings", "bundled"]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Url = Annotated[str, Field(pattern=r"^https?://\S+$")]
Amount = Annotated[int, Field(ge=1)] | Annotated[float, Field(gt=0, lt=1)]


class Counts(Section):
    """Images per split."""

    train: Annotated[int, Field(ge=1)]
    validation: Annotated[int, Field(ge=1)]
    test: Annotated[int, Field(ge=1)]


class HeldOut(Section):
    """The groups, such as speakers, that validation and test consist of; if there are none, groups are drawn."""

    validation: tuple[str, ...] = ()
    test: tuple[str, ...] = ()


class Splitting(Section):
    """How images are assigned to splits that the source does not give.

    Attributes:
        validation, test: how many images, or which share of those that are not in another split.
        group: what must not be in two splits, e.g. speaker: a column of the CSV, or the file name up to its first `_`.
    """

    validation: Amount = 0.1
    test: Amount = 0.2
    seed: Annotated[int, Field(ge=0)]
    group: str | None = None
    held_out: HeldOut = HeldOut()


class Band(Section):
    low: float
    high: float

    @model_validator(mode="after")
    def _ordered(self) -> Band:
        if self.low >= self.high:
            raise ValueError(f"low ({self.low}) must be below high ({self.high})")
        return self


class Bands(Section):
    """Normal ranges for one dataset. Pixel values are on the 0 to 255 scale, centres in pixels from the top left."""

    pixel_mean: Band
    pixel_std: Band
    ink_fraction: Band
    image_mean: Band
    center: Band
    class_share: Band
    max_class_shift: PositiveFloat
    min_class_separation: PositiveFloat
    max_label_disagreement: Fraction
    darkest: Annotated[int, Field(ge=0, le=255)] = 0  # every image has a pixel as dark as this
    brightest: Annotated[int, Field(ge=0, le=255)] = 200  # and one as bright as this
    contrast: Annotated[float, Field(ge=0)] = 10.0  # least deviation of an image's pixels


class Where(Section):
    """Where the data are; empty if they are bundled.

    Attributes:
        path, sha256: a folder or a file on this machine, and the identity of its content.
        urls, files: addresses that each serve all files, and the SHA-256 of each decompressed file by its name.
        offline: the data set that replaces this one if no address answers.
    """

    path: str | None = None
    sha256: Sha256 | None = None
    urls: tuple[Url, ...] = ()
    files: dict[str, Sha256] = Field(default_factory=dict)
    offline: DatasetName | None = None

    @model_validator(mode="after")
    def _one_place(self) -> Where:
        local, remote = (self.path, self.sha256), (self.urls, self.files)
        if any(local) != all(local) or any(remote) != all(remote) or (any(local) and any(remote)):
            raise ValueError("needs either path and sha256, or urls and files")
        return self


class Described(Section):
    """What `ingest` reads of a description.

    Attributes:
        kind: `bundled` comes with scikit-learn; for the others, see docs/own-data.md.
        ink: whether what is shown is bright on dark, as in MNIST, or dark on bright; images are made bright on dark.
        uploads: how the server prepares pictures. `fitted`: reduced to fit and centred, as `ingest` does it; `centred`:
            the one digit is found, scaled and centred by mass, as MNIST's were.
        glyphs: whether these are strokes on an empty background, as digits are, of which scenes can be composed.
        classes: names, in the order of the labels.
        without: images that are left out, by their names in the source.
    """

    title: str
    source: str
    kind: Kind
    where: Where
    ink: Literal["bright", "dark"]
    uploads: Literal["fitted", "centred"]
    glyphs: bool
    classes: Annotated[tuple[str, ...], Field(min_length=2, max_length=1000)]
    split: Splitting
    without: tuple[str, ...]

    @model_validator(mode="after")
    def _placed(self) -> Described:
        if bool(self.where.path or self.where.urls) == (self.kind == "bundled"):
            raise ValueError("where needs path and sha256, or urls and files, unless the data are bundled")
        if self.where.urls and self.kind != "idx" and len(self.where.files) != 1:
            raise ValueError(f"{self.kind} from urls must be one file, such as a ZIP archive")
        if self.kind == "recordings" and self.uploads == "centred":
            raise ValueError("recordings have nothing to centre; uploads must be fitted")
        return self


class Expected(Section):
    """What `validate` reads: the number of images in each split, and the normal ranges."""

    images: Counts
    bands: Bands


D = TypeVar("D", bound=Section)


def read_described(root: Path, name: str) -> dict[str, Any]:
    """The contents of datasets/NAME.yaml, checked as a whole.

    Raises:
        UserError: the file is missing or invalid.
    """
    path = root / FOLDER / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(found.stem for found in path.parent.glob("*.yaml"))) or "none"
        raise UserError(
            f"{path} is missing. Datasets: {known}. To describe a new one: deepdigits dataset add {name} --from PATH"
        )
    data = read_yaml(path)
    # Imported by name, because a stage does not depend on the parts that it does not read: this can only reject.
    check(data, importlib.import_module("deepdigits.release.datasets").Dataset, str(path))
    return data


def described(model: type[D], name: str) -> D:
    """The part that a model declares of datasets/NAME.yaml, below the current folder.

    Raises:
        UserError: see `read_described`.
    """
    return part(read_described(Path.cwd(), name), model, f"{FOLDER}/{name}.yaml")


def part(data: Mapping[str, Any], model: type[D], source: str) -> D:
    """The part of a description that a model declares."""
    return check({key: value for key, value in data.items() if key in model.model_fields}, model, source)
