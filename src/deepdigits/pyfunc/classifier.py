"""Loaded by MLflow as code, never as a pickle: images in, label and probabilities out."""

from __future__ import annotations

from typing import Any

import mlflow
import numpy as np
import onnxruntime
from mlflow.pyfunc.model import PythonModelContext


class DigitClassifier(mlflow.pyfunc.PythonModel):
    """uint8 images `(n, 28, 28)`, ink 255 on background 0 -> `label` int64 `(n,)`, `probabilities` float32 `(n, 10)`."""

    def load_context(self, context: PythonModelContext) -> None:
        self.session = onnxruntime.InferenceSession(context.artifacts["onnx"], providers=["CPUExecutionProvider"])

    def predict(self, context: PythonModelContext, model_input: Any, params: dict[str, Any] | None = None) -> Any:
        label, probabilities = self.session.run(["label", "probabilities"], {"images": np.asarray(model_input)})
        return {"label": label, "probabilities": probabilities}


mlflow.models.set_model(DigitClassifier())
