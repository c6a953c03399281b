"""deepdigits: a reproducible MNIST pipeline of CNN, RNN and GAN."""

import gc
import os
import tempfile
from pathlib import Path

# Set before any of these libraries is imported: they send nothing unless the user opts in.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")

# Some of them fail on import if the user has no home directory, as in a container run under an arbitrary UID.
try:
    Path.home()
except RuntimeError:
    os.environ["HOME"] = tempfile.gettempdir()

# The libraries create half a million objects on import, and all of them live until exit. Python's default scans for
# garbage every 700 new objects, which takes most of a second per stage.
gc.set_threshold(10_000)
