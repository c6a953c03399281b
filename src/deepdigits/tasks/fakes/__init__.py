"""The fake detector."""
