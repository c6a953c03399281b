"""Loaded by MLflow as code, never as a pickle: images in, all outputs of the network out."""

from __future__ import annotations

import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # ONNX Runtime reads this on import

import mlflow
import numpy as np
import onnxruntime
from mlflow.pyfunc.model import PythonModelContext


class ImageModel(mlflow.pyfunc.PythonModel):
    """uint8 images `(n, height, width)` -> the outputs of the ONNX file by name."""

    _skip_type_hint_validation = True  # the signature is set when the model is logged; without this, MLflow warns

    def load_context(self, context: PythonModelContext) -> None:
        self.session = onnxruntime.InferenceSession(context.artifacts["onnx"], providers=["CPUExecutionProvider"])

    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]
        answers = self.session.run(None, {"images": np.asarray(model_input)})
        return dict(zip((output.name for output in self.session.get_outputs()), answers, strict=True))


mlflow.models.set_model(ImageModel())
