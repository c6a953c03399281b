"""Floors, model cards, report and registration."""
