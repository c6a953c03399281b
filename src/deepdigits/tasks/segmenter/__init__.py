"""The segmenter of scenes."""
