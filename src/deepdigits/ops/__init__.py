"""MLflow runs, lineage and process exit. No output depends on this package."""
