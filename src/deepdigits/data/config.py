"""The `ingest` and `validate` sections of params.yaml."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, Field, model_validator

from deepdigits.core.sections import Fraction, PositiveFloat, Section

DatasetName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]*$")]
SHIPPED = ("mnist", "digits")
Kind = Literal["idx", "npz", "pictures", "recordings"]


def _require_the_shipped(values: dict[str, Any]) -> dict[str, Any]:
    missing = sorted(set(SHIPPED) - set(values))
    if missing:
        raise ValueError(f"needs an entry for {', '.join(missing)}")
    return values


T = TypeVar("T")
PerDataset = Annotated[dict[DatasetName, T], AfterValidator(_require_the_shipped)]


class Subset(Section):
    """Number of images to keep from each split, stratified by class; null keeps them all."""

    train: Annotated[int, Field(ge=100)]
    validation: Annotated[int, Field(ge=100)]
    test: Annotated[int, Field(ge=100)]


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
        validation, test: shares of the images that are not in another split.
        group: what must not be in two splits, e.g. speaker: a column of the CSV, or the file name up to its first `_`.
    """

    validation: Annotated[float, Field(gt=0, lt=1)]
    test: Annotated[float, Field(gt=0, lt=1)]
    seed: Annotated[int, Field(ge=0)]
    group: str | None = None
    held_out: HeldOut = HeldOut()


class Described(Section):
    """What datasets/NAME.yaml says about data of one's own.

    Attributes:
        path, sha256: a folder or a file, and the identity of its content.
        ink: whether what is shown is bright on dark, as in MNIST, or dark on bright; images are made bright on dark.
        classes: names, in the order of the labels.
        images: the expected number in each split.
        without: images that are left out, by their names in the source.
        glyphs: whether these are strokes on an empty background, as digits are, of which scenes can be composed.
    """

    title: str
    source: str
    kind: Kind
    path: str
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    ink: Literal["bright", "dark"]
    classes: Annotated[tuple[str, ...], Field(min_length=2, max_length=1000)]
    split: Splitting
    images: Counts
    without: tuple[str, ...] = ()
    glyphs: bool = False


class Own(Described):
    name: DatasetName


class Ingest(Section):
    mirrors: tuple[Annotated[str, Field(pattern=r"^https?://\S+$")], ...]
    timeout_seconds: Annotated[float, Field(gt=0, le=600)]
    retries: Annotated[int, Field(ge=0, le=10)]
    offline_fallback: Literal["digits"] | None
    validation_images: PerDataset[Annotated[int, Field(ge=50, le=30_000)]]
    split_seed: Annotated[int, Field(ge=0)]
    subset: Subset | None
    own: Own | None = None


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


class Validate(Section):
    max_off_center_fraction: Fraction
    example_count: Annotated[int, Field(ge=1, le=100)]
    bands: PerDataset[Bands]
