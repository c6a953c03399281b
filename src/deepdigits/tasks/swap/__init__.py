"""The identity swap."""
