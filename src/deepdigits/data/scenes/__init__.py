"""Scenes of several digits, composed from single ones."""
