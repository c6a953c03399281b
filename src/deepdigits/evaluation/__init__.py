"""Pure functions: predictions in, metrics and figures out."""
