"""Splits of single-digit images and their manifest."""
