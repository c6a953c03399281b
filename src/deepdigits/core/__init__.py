"""Files, paths, parameters, errors: what everything may use."""
