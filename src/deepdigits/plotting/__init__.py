"""Figures that have equal bytes for equal data."""
