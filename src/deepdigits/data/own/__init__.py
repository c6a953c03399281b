"""Reads labelled pictures and recordings of any source into 28x28 images."""
