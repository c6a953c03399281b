"""Exports networks to ONNX files and runs these in ONNX Runtime."""
