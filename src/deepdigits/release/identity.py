"""What ties the files of a package together.

`package.json` names the weights, the figures and the hash of every file. The ONNX file, the golden examples and the
model card also name the weights, so each of them can be identified on its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from deepdigits.core.arrays import read_arrays
from deepdigits.core.errors import UserError
from deepdigits.core.files import file_sha256, read_json, write_json
from deepdigits.export.runtime import WEIGHTS_SHA256, open_session

CONTENTS = "package.json"
FILES = ("model.onnx", "model.json", "golden.npz", "model_card.md")
FILE_TAG = "sha256/"  # plus a file's path: the tag of a registered version that holds the file's SHA-256

Sha256 = Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]
FileName = Annotated[str, StringConstraints(pattern=r"^\w[\w.-]*$")]


class Contents(BaseModel):
    """The contents of package.json.

    Attributes:
        weights_sha256: the SHA-256 of models/NAME/model.safetensors.
        files: name and SHA-256 of each of `FILES`, and of the code file that MLflow loads to serve the model.
        measures: the figures on the test data, `test/NAME`, as registered with the version.
        judged_by: the models that judged those figures, each with the SHA-256 of its weights.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    weights_sha256: Sha256
    files: dict[FileName, Sha256]
    measures: dict[str, float]
    judged_by: dict[str, Sha256]

    @property
    def code(self) -> str:
        """The name of the code file that MLflow loads to serve the model."""
        (name,) = self.files.keys() - set(FILES)
        return name


def write_contents(
    directory: Path, code: Path, weights_sha256: str, measures: Mapping[str, float], judged_by: Mapping[str, str]
) -> None:
    """Write package.json, the last file of a package."""
    files = {path.name: file_sha256(path) for path in (*(directory / name for name in FILES), code)}
    contents = Contents(weights_sha256=weights_sha256, files=files, measures=dict(measures), judged_by=dict(judged_by))
    write_json(directory / CONTENTS, contents.model_dump())


def read_contents(directory: Path) -> Contents:
    """Read package.json.

    Raises:
        UserError: the file is missing or malformed.
    """
    found = read_json(directory / CONTENTS)
    try:
        contents = Contents.model_validate(found)
    except ValidationError as error:
        raise UserError(f"{directory / CONTENTS} is malformed ({error.errors()[0]['msg']}). Run: dvc repro") from None
    if len(contents.files) != len(FILES) + 1 or not contents.files.keys() > set(FILES):
        raise UserError(f"{directory / CONTENTS} does not list exactly the files of a package. Run: dvc repro")
    return contents


def find_fault(directory: Path, code: Path, weights_sha256: str) -> str | None:
    """Check that the files in `directory` and the serving code in the folder `code` are one package of these weights.

    Returns:
        The first mismatch, as a sentence; None if there is none.

    Raises:
        UserError: package.json is missing or malformed.
    """
    contents = read_contents(directory)
    if contents.weights_sha256 != weights_sha256:
        return f"{CONTENTS} names weights {contents.weights_sha256[:12]}, but the weights are {weights_sha256[:12]}."
    for name, packaged in contents.files.items():
        path = (directory if name in FILES else code) / name
        found = file_sha256(path) if path.is_file() else "missing"
        if found != packaged:
            return f"{name} is {found[:12]}, but {packaged[:12]} was packaged with weights {weights_sha256[:12]}."
    for name, found in named_weights(directory).items():
        if found != weights_sha256:
            return f"{name} names weights {found[:12]}, but the weights are {weights_sha256[:12]}."
    return None


def named_weights(directory: Path) -> dict[str, str]:
    """The SHA-256 of the weights that each file of a package names, by file; "none" if it names none."""
    golden = read_arrays(directory / "golden.npz").get(WEIGHTS_SHA256, np.array("none"))
    card = (directory / "model_card.md").read_text(encoding="utf-8").partition("Weights: SHA-256 `")[2]
    metadata = open_session(directory / "model.onnx", 1).get_modelmeta().custom_metadata_map
    return {
        "model.onnx": metadata.get(WEIGHTS_SHA256, "none"),
        "golden.npz": str(golden),
        "model_card.md": card[:64] or "none",
    }
