"""Splits of single digits and their manifest."""
