"""params.yaml as strict, frozen models: an unknown key, a wrong type or a value out of range is refused."""

from __future__ import annotations

import difflib
import json
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from deepdigits.errors import UserError

PARAMS_FILE = Path("params.yaml")

Positive = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(ge=0, le=1)]
PositiveFloat = Annotated[float, Field(gt=0)]
DatasetName = Literal["mnist", "digits"]


def _of_every_dataset(values: dict[str, Any]) -> dict[str, Any]:
    missing = sorted(set(get_args(DatasetName)) - set(values))
    if missing:
        raise ValueError(f"needs an entry for {', '.join(missing)}")
    return values


T = TypeVar("T")
PerDataset = Annotated[dict[DatasetName, T], AfterValidator(_of_every_dataset)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Compute(_Section):
    threads: Annotated[int, Field(ge=1, le=256)]


class Subset(_Section):
    """Images kept of each split, stratified by class; null keeps them all."""

    train: Annotated[int, Field(ge=100)]
    validation: Annotated[int, Field(ge=100)]
    test: Annotated[int, Field(ge=100)]


class Ingest(_Section):
    mirrors: tuple[Annotated[str, Field(pattern=r"^https?://\S+$")], ...]
    timeout_seconds: Annotated[float, Field(gt=0, le=600)]
    retries: Annotated[int, Field(ge=0, le=10)]
    offline_fallback: Literal["digits"] | None
    validation_images: PerDataset[Annotated[int, Field(ge=50, le=30_000)]]
    split_seed: Annotated[int, Field(ge=0)]
    subset: Subset | None


class Band(_Section):
    low: float
    high: float

    @model_validator(mode="after")
    def _ordered(self) -> Band:
        if self.low >= self.high:
            raise ValueError(f"low ({self.low}) must be below high ({self.high})")
        return self


class Bands(_Section):
    """What is normal for one dataset; pixels on the 0 to 255 scale, centres in pixels from the top left."""

    pixel_mean: Band
    pixel_std: Band
    ink_fraction: Band
    image_mean: Band
    center: Band
    class_share: Band
    max_class_shift: PositiveFloat
    min_class_separation: PositiveFloat


class Validate(_Section):
    max_off_center_fraction: Fraction
    example_count: Annotated[int, Field(ge=1, le=100)]
    bands: PerDataset[Bands]


class Augmentation(_Section):
    rotate_degrees: Annotated[float, Field(ge=0, le=45)]
    translate_pixels: Annotated[float, Field(ge=0, le=7)]
    scale_fraction: Annotated[float, Field(ge=0, le=0.5)]
    shear_degrees: Annotated[float, Field(ge=0, le=45)]
    textured_fraction: Fraction


class CnnNet(_Section):
    widths: Annotated[tuple[Positive, ...], Field(min_length=5, max_length=5)]


class RnnNet(_Section):
    cell: Literal["gru", "lstm", "s4d"]
    hidden: Annotated[int, Field(ge=1, le=2048)]
    layers: Annotated[int, Field(ge=1, le=8)]
    bidirectional: bool
    dropout: Annotated[float, Field(ge=0, lt=1)]

    @model_validator(mode="after")
    def _causal(self) -> RnnNet:
        if self.cell == "s4d" and (self.bidirectional or self.hidden % 2):
            raise ValueError(
                "cell s4d reads forwards only and halves its width: bidirectional must be false, hidden even"
            )
        return self


class Fit(_Section):
    """How one classifier is trained."""

    epochs: Annotated[int, Field(ge=1, le=1000)]
    steps_per_epoch: Annotated[int, Field(ge=1, le=1_000_000)]
    batch_size: Annotated[int, Field(ge=2, le=8192)]
    max_learning_rate: Annotated[float, Field(gt=0, le=10)]
    weight_decay: Annotated[float, Field(ge=0, le=1)]
    label_smoothing: Annotated[float, Field(ge=0, lt=1)]
    gradient_clip: Annotated[float, Field(ge=0)]
    seed: Annotated[int, Field(ge=0, lt=2**32)]
    augmentation: Augmentation


class TrainCnn(_Section):
    net: CnnNet
    fit: Fit


class TrainRnn(_Section):
    net: RnnNet
    fit: Fit


class GanNet(_Section):
    noise_dim: Positive
    generator_widths: Annotated[tuple[Positive, ...], Field(min_length=2, max_length=2)]
    discriminator_widths: Annotated[tuple[Positive, ...], Field(min_length=4, max_length=4)]


class GanStop(_Section):
    fool_rate: Fraction
    diversity: Annotated[float, Field(ge=0)]
    patience: Positive


class TrainGan(_Section):
    net: GanNet
    stop: GanStop
    max_epochs: Annotated[int, Field(ge=1, le=1000)]
    steps_per_epoch: Annotated[int, Field(ge=1, le=1_000_000)]
    batch_size: Annotated[int, Field(ge=2, le=8192)]
    learning_rate: Annotated[float, Field(gt=0, le=1)]
    r1_gamma: Annotated[float, Field(ge=0)]
    r1_every: Positive
    ema_decay: Annotated[float, Field(ge=0, lt=1)]
    samples_per_class: Annotated[int, Field(ge=10, le=10_000)]
    seed: Annotated[int, Field(ge=0, lt=2**32)]


class Synthetic(_Section):
    """The classifier that is trained on generated images alone."""

    images: Annotated[int, Field(ge=1000, le=1_000_000)]
    net: CnnNet
    fit: Fit


class FreshDiscriminator(_Section):
    """The discriminator that is trained anew, on images which the GAN has not seen."""

    steps: Annotated[int, Field(ge=1, le=1_000_000)]
    batch_size: Annotated[int, Field(ge=2, le=8192)]
    learning_rate: Annotated[float, Field(gt=0, le=1)]


class Evaluate(_Section):
    calibration_bins: Annotated[int, Field(ge=2, le=100)]
    worst_mistakes: Annotated[int, Field(ge=1, le=100)]
    explained_mistakes: Annotated[int, Field(ge=1, le=20)]
    fgsm_epsilons: Annotated[tuple[Fraction, ...], Field(min_length=1, max_length=20)]
    disputed_confidence: Fraction
    gan_samples: Annotated[int, Field(ge=100, le=50_000)]
    neighbours: Annotated[int, Field(ge=1, le=50)]
    synthetic: Synthetic
    fresh_discriminator: FreshDiscriminator
    seed: Annotated[int, Field(ge=0, lt=2**32)]


class ClassifierFloor(_Section):
    min_accuracy: Fraction
    min_class_recall: Fraction
    max_calibration_error: Fraction
    min_corrupted_accuracy: Fraction


class GanFloor(_Section):
    max_fid_ratio: PositiveFloat
    min_coverage: Fraction
    min_diversity: Annotated[float, Field(ge=0)]
    min_class_accuracy: Fraction
    min_synthetic_accuracy: Fraction
    min_novelty: Annotated[float, Field(ge=0)]


class DatasetGates(_Section):
    cnn: ClassifierFloor
    rnn: ClassifierFloor
    gan: GanFloor


class Package(_Section):
    golden_examples: Annotated[int, Field(ge=2, le=1000)]
    onnx_tolerance: Annotated[float, Field(gt=0, le=0.01)]


class Params(_Section):
    profile: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]*$")]
    compute: Compute
    ingest: Ingest
    validate_: Annotated[Validate, Field(alias="validate")]
    train_cnn: TrainCnn
    train_rnn: TrainRnn
    train_gan: TrainGan
    evaluate: Evaluate
    package: Package
    gates: PerDataset[DatasetGates]


def load_params(path: Path = PARAMS_FILE) -> Params:
    """Read and check `path`.

    Raises:
        UserError: the file is missing, is no YAML mapping, or holds a key or value that is not allowed;
            the message names each key, its value and what is allowed.
    """
    return check_params(read_yaml(path), source=str(path))


def read_yaml(path: Path) -> dict[str, Any]:
    """Read one YAML 1.2 mapping, as DVC does (so that `1e-3` is a number and a repeated key an error)."""
    try:
        data = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(
            f"{path} is missing. Run from the repository's root, or restore it: git checkout {path}"
        ) from None
    except (YAMLError, UnicodeDecodeError, ValueError) as error:
        raise UserError(f"{path} cannot be read as YAML: {error}") from None
    if not isinstance(data, dict):
        raise UserError(f"{path} must hold a mapping of keys to values, not {type(data).__name__}.")
    return data


def check_params(data: dict[str, Any], source: str) -> Params:
    """Check a parsed mapping; see `load_params`."""
    try:
        # JSON mode: strict about scalars, yet a YAML list may become a tuple.
        return Params.model_validate_json(json.dumps(data))
    except ValidationError as error:
        lines = [_explain(item) for item in error.errors()]
        raise UserError("\n".join([f"{source}: {len(lines)} value(s) not allowed", *lines])) from None
    except (TypeError, ValueError) as error:
        raise UserError(
            f"{source}: only text, numbers, true/false, null, lists and mappings are allowed: {error}"
        ) from None


def overlay(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return `base` with the keys of `changes` put over it, mapping by mapping; lists are replaced whole."""
    merged = dict(base)
    for key, value in changes.items():
        below = merged.get(key)
        merged[key] = overlay(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def _explain(item: Any) -> str:
    path = [str(part) for part in item["loc"]]
    key = ".".join(path)
    if item["type"] == "missing":
        return f"  {key}: is missing"
    if item["type"] == "extra_forbidden":
        return f"  {key}: no such key{_did_you_mean(path)}"
    return f"  {key} = {json.dumps(item['input'], default=str)[:200]}: {item['msg']}"


def _did_you_mean(path: list[str]) -> str:
    model: Any = Params
    for part in path[:-1]:
        fields = {field.alias or name: field.annotation for name, field in model.model_fields.items()}
        model = fields.get(part)
        if not (isinstance(model, type) and issubclass(model, BaseModel)):
            return ""
    known = [field.alias or name for name, field in model.model_fields.items()]
    close = difflib.get_close_matches(path[-1], known, n=1)
    return f"; did you mean {close[0]}?" if close else f"; allowed here: {', '.join(known)}"
