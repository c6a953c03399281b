import deepdigits  # noqa: F401  # before ONNX Runtime and MLflow, to disable their telemetry
