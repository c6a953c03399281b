"""Scenes of several digits, composed from single-digit images."""
