"""The space of a sweep: which parameters to vary, in which ranges, and the validation figure to improve."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from optuna import Trial
from pydantic import Field, model_validator

from deepdigits.core.errors import UserError
from deepdigits.core.loading import PARAMS_FILE, check, overlay, read_yaml
from deepdigits.core.sections import Section
from deepdigits.ops.pipeline import find_stage, keys_by_file
from deepdigits.release.params import Params

SPACES = Path("profiles/sweeps")


class Range(Section):
    """Numbers from `low` to `high`, whole if both are. With `log`, each order of magnitude is tried equally often."""

    low: int | float
    high: int | float
    step: int | float | None = None
    log: bool = False

    @model_validator(mode="after")
    def _sound(self) -> Range:
        if self.low >= self.high:
            raise ValueError(f"low ({self.low}) must be below high ({self.high})")
        if self.log and (self.low <= 0 or self.step is not None):
            raise ValueError("log needs a low above 0, and no step")
        return self

    def suggest(self, trial: Trial, key: str) -> Any:
        if isinstance(self.low, int) and isinstance(self.high, int):
            return trial.suggest_int(key, self.low, self.high, step=int(self.step or 1), log=self.log)
        return trial.suggest_float(key, self.low, self.high, step=self.step, log=self.log)

    def ends(self) -> list[Any]:
        return [self.low, self.high]


class Choice(Section):
    """One of some values, of any kind that params.yaml allows."""

    choices: Annotated[tuple[Any, ...], Field(min_length=2)]

    def suggest(self, trial: Trial, key: str) -> Any:
        return self.choices[trial.suggest_categorical(key, range(len(self.choices)))]

    def ends(self) -> list[Any]:
        return list(self.choices)


class Space(Section):
    """The contents of profiles/sweeps/NAME.yaml.

    Attributes:
        objective: a figure on validation data that the stage logs after each epoch, e.g. val/loss.
        space: dotted key of params.yaml -> its range or choices.
    """

    objective: Annotated[str, Field(pattern=r"^val/[a-z_]+$")]
    direction: Literal["minimize", "maximize"]
    space: Annotated[dict[str, Range | Choice], Field(min_length=1)]

    def suggest(self, trial: Trial) -> dict[str, Any]:
        """The changes to params.yaml that `trial` is to make."""
        return nested({key: item.suggest(trial, key) for key, item in self.space.items()})


def read_space(path: Path, stage: str, root: Path) -> Space:
    """Read the space for sweeps of `stage`.

    Raises:
        UserError: the file is missing or malformed, or names a key that params.yaml does not have, that the stage does
            not read, or that cannot take the values.
    """
    if not path.is_file():
        known = ", ".join(sorted(str(found) for found in (root / SPACES).glob("*.yaml")))
        raise UserError(f"{path} is missing, which would say what to vary. Pass one with SPACE=; there are: {known}")
    space = check(read_yaml(path), Space, str(path))
    params = read_yaml(root / PARAMS_FILE)
    read = keys_by_file(find_stage(root, stage).params)[str(PARAMS_FILE)]
    for key, item in space.space.items():
        if not any(key == one or key.startswith(f"{one}.") for one in read):
            raise UserError(f"{path}: {stage} does not read {key}. It reads {', '.join(read)}.")
        if not _has(params, key):
            raise UserError(f"{path}: params.yaml has no key {key}.")
        for value in item.ends():
            check(overlay(params, nested({key: value})), Params, f"params.yaml with {key} from {path}")
    return space


def nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Turn `{"a.b": 1}` into `{"a": {"b": 1}}`."""
    nest: dict[str, Any] = {}
    for key, value in flat.items():
        for part in reversed(key.split(".")):
            value = {part: value}
        nest = overlay(nest, value)
    return nest


def _has(params: Mapping[str, Any], key: str) -> bool:
    value: Any = params
    for part in key.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return False
        value = value[part]
    return True
