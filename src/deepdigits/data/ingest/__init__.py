"""Ingest MNIST from its mirrors, or the digits bundled with scikit-learn."""
