"""The detector of digits in scenes."""
