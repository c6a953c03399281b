"""Runs in MLflow, lineage, how a process ends: no output depends on it."""
