"""Figures with equal bytes for equal data."""
