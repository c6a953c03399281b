"""deepdigits: a reproducible MNIST pipeline of CNN, RNN and GAN."""

import gc
import os
import tempfile
from pathlib import Path

# Before any of these libraries is imported: nothing is sent anywhere unless the user asks for it.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")

# Some of them fail on import where the user has no home, as in a container run under any user's number.
try:
    Path.home()
except RuntimeError:
    os.environ["HOME"] = tempfile.gettempdir()

# The libraries make half a million objects on import, and they all stay: to look for garbage among them every 700
# objects, as Python does, takes the better part of a second of each stage.
gc.set_threshold(10_000)
