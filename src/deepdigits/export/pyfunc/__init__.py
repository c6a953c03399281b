"""The code shipped with a registered model. It needs MLflow, NumPy, pandas and ONNX Runtime, but not this package."""
