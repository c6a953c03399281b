import deepdigits  # noqa: F401  # before ONNX Runtime and MLflow, since it switches their telemetry off
