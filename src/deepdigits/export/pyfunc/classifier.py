"""Loaded by MLflow as code, never as a pickle: images in, label and probabilities out."""

from __future__ import annotations

import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # ONNX Runtime reads this on import

import mlflow
import numpy as np
import onnxruntime
from mlflow.pyfunc.model import PythonModelContext


class DigitClassifier(mlflow.pyfunc.PythonModel):
    """uint8 images `(n, 28, 28)`, ink 255 -> `label` int64 `(n,)`, `probabilities` float32 `(n, 10)`."""

    _skip_type_hint_validation = True  # the signature is set when the model is logged; without this, MLflow warns

    def load_context(self, context: PythonModelContext) -> None:
        self.session = onnxruntime.InferenceSession(context.artifacts["onnx"], providers=["CPUExecutionProvider"])

    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]
        label, probabilities = self.session.run(["label", "probabilities"], {"images": np.asarray(model_input)})
        return {"label": label, "probabilities": probabilities}


mlflow.models.set_model(DigitClassifier())
