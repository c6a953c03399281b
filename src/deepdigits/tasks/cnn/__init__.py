"""The convolutional classifier."""
