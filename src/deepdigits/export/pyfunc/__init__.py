"""The code that travels with a registered model: it needs MLflow, NumPy, pandas and ONNX Runtime, nothing of ours."""
