"""MNIST from its mirrors, or the digits that scikit-learn bundles."""
