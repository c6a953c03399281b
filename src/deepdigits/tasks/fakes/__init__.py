"""The detector of fakes."""
