"""Loaded by MLflow as code, never as a pickle: digits and seeds in, images out."""

from __future__ import annotations

import json
import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # ONNX Runtime reads this on import

import mlflow
import numpy as np
import onnxruntime
from mlflow.exceptions import MlflowException
from mlflow.pyfunc.model import PythonModelContext


class DigitGenerator(mlflow.pyfunc.PythonModel):
    """Columns `digit` (a class, from 0) and `seed` (0 or more) -> `images` uint8 `(n, 28, 28)`.

    A seed and a digit always give the same image, whatever else is in the batch.
    """

    _skip_type_hint_validation = True  # the signature is set when the model is logged; without this, MLflow warns

    def load_context(self, context: PythonModelContext) -> None:
        self.session = onnxruntime.InferenceSession(context.artifacts["onnx"], providers=["CPUExecutionProvider"])
        named = self.session.get_modelmeta().custom_metadata_map.get("classes")
        self.classes = len(json.loads(named)) if named else 10
        self.noise_dim = self.session.get_inputs()[0].shape[1]

    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]
        digits, seeds = (np.asarray(model_input[name], dtype=np.int64) for name in ("digit", "seed"))
        if ((digits < 0) | (digits >= self.classes)).any():
            raise MlflowException.invalid_parameter_value(
                f"digit must be 0 to {self.classes - 1}, not {digits[(digits < 0) | (digits >= self.classes)][0]}"
            )
        if (seeds < 0).any():
            raise MlflowException.invalid_parameter_value(f"seed must be 0 or more, not {seeds[seeds < 0][0]}")
        noise = np.stack([np.random.default_rng(seed).standard_normal(self.noise_dim, np.float32) for seed in seeds])
        (images,) = self.session.run(["images"], {"noise": noise, "digit": digits})
        return {"images": (images * 255).round().astype(np.uint8)}


mlflow.models.set_model(DigitGenerator())
