"""params.yaml as strict, frozen models, one file per part of the pipeline, so that a stage depends on its own."""
