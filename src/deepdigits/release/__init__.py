"""Floors, cards, report, registration."""
