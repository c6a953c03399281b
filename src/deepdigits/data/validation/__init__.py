"""Data validation: the expectations that the data must meet before training."""
