"""The scene segmenter."""
