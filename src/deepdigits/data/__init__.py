"""Ingesting, checking and serving the images."""
