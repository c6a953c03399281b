"""The command `deepdigits`."""
