"""Files, paths, parameters and errors: what every other package may use."""
