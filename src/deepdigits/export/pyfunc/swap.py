"""Loaded by MLflow as code, never as a pickle: images and digits in, swaps out."""

from __future__ import annotations

import json
import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # ONNX Runtime reads this on import

import mlflow
import numpy as np
import onnxruntime
from mlflow.exceptions import MlflowException
from mlflow.pyfunc.model import PythonModelContext


class SwapModel(mlflow.pyfunc.PythonModel):
    """`images` uint8 `(n, 28, 28)` and `digit` int64 `(n,)`, a class from 0 -> `swapped` uint8 `(n, 28, 28)`."""

    _skip_type_hint_validation = True  # the signature is set when the model is logged; without this, MLflow warns

    def load_context(self, context: PythonModelContext) -> None:
        self.session = onnxruntime.InferenceSession(context.artifacts["onnx"], providers=["CPUExecutionProvider"])
        named = self.session.get_modelmeta().custom_metadata_map.get("classes")
        self.classes = len(json.loads(named)) if named else 10

    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]
        digits = np.asarray(model_input["digit"], dtype=np.int64)
        if ((digits < 0) | (digits >= self.classes)).any():
            raise MlflowException.invalid_parameter_value(
                f"digit must be 0 to {self.classes - 1}, not {digits[(digits < 0) | (digits >= self.classes)][0]}"
            )
        (swapped,) = self.session.run(["swapped"], {"images": np.asarray(model_input["images"]), "digit": digits})
        return {"swapped": (swapped * 255).round().astype(np.uint8)}


mlflow.models.set_model(SwapModel())
