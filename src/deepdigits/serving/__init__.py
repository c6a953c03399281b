"""The champions over HTTP: FastAPI and ONNX Runtime."""
