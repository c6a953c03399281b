"""Serves the champions over HTTP with FastAPI and ONNX Runtime."""
